/* corpus.h - deterministic text for compressors, ciphers and scripts. */
#ifndef CORPUS_H
#define CORPUS_H

#include <stdint.h>

/* Writes `size` bytes to the file: prose of invented words (frequent ones more often), records of
 * numbers, and now and then bytes that do not compress. */
void corpus_write(const char *path, uint64_t size);

#endif
