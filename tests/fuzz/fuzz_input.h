/* fuzz_input.h - the fuzzer's bytes as a stream of little-endian numbers; zeroes past the end. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include "base/util.h"

#include <stdint.h>
#include <string.h>

struct input {
    const uint8_t *p;
    size_t left;
};

static inline uint64_t take(struct input *in, unsigned n)
{
    uint64_t v = 0;

    n = (unsigned)MIN_OF((size_t)n, in->left);
    memcpy(&v, in->p, n);
    in->p += n;
    in->left -= n;
    return v;
}

#endif
