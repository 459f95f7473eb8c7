/* tools.c - the distribution's cryptography and compressors, over the corpus.  n is KiB of input.
 */
#include "bench.h"
#include "corpus.h"

#include <unistd.h>

static const char input[] = BENCH_TMP "/corpus";

/* One run over a short file brings the program and its libraries into memory; then the real input.
 */
static void prepare(char *const argv[], uint64_t kib)
{
    corpus_write(input, 10000);
    bench_command(input, BENCH_OUTPUT, argv);
    unlink(BENCH_OUTPUT);
    corpus_write(input, kib * 1024);
}

/* A test that filters the corpus through a command. */
#define FILTER(id, test, amount, ...)                                                              \
    static char *const argv_##id[] = {__VA_ARGS__, NULL};                                          \
    static void setup_##id(uint64_t n)                                                             \
    {                                                                                              \
        prepare(argv_##id, n);                                                                     \
    }                                                                                              \
    static uint64_t run_##id(uint64_t n)                                                           \
    {                                                                                              \
        bench_command(input, BENCH_OUTPUT, argv_##id);                                             \
        return n;                                                                                  \
    }                                                                                              \
    BENCH_COMMAND_TEST(id, test, amount, 16)

FILTER(sha256_openssl, "crypto/sha256-openssl", 96 << 10, "/usr/bin/openssl", "dgst", "-sha256");
FILTER(aes_openssl, "crypto/aes-openssl", 64 << 10, "/usr/bin/openssl", "enc", "-aes-128-cbc", "-K",
       "00112233445566778899aabbccddeeff", "-iv", "0102030405060708090a0b0c0d0e0f10");
FILTER(gzip, "crypto/gzip", 4 << 10, "/usr/bin/gzip", "-6", "-c", "-n");
FILTER(xz, "crypto/xz", 512, "/usr/bin/xz", "-6", "-c", "-T1");
FILTER(zstd, "crypto/zstd", 20 << 10, "/usr/bin/zstd", "-3", "-c", "-q", "--single-thread",
       "--no-asyncio");
