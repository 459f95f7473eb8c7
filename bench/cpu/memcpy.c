/* memcpy.c - the C library's memcpy: small blocks of mixed sizes, and 64 KiB ones. */
#include "bench.h"

#include <string.h>

enum { AREA = 1 << 20, BLOCK = 1 << 16 };

static unsigned char *area;

static void setup(uint64_t n)
{
    uint64_t seed = 77;
    (void)n;
    area = bench_memory(AREA + BLOCK, 0);
    for (int i = 0; i < AREA + BLOCK; i += 8) {
        uint64_t word = bench_random(&seed);
        memcpy(area + i, &word, 8);
    }
}

static uint64_t run_small(uint64_t n)
{
    uint64_t seed = 99;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t r = bench_random(&seed);
        size_t size = r & 127;
        /* both ends within the first 32 KiB, so that the copies and not the cache are measured */
        memcpy(area + (r >> 8 & 0x3fff), area + 0x4100 + (r >> 24 & 0x3fff), size);
    }
    return bench_mix_bytes(0, area, AREA);
}

static uint64_t run_64k(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        size_t from = i * 4099 % (BLOCK / 4), to = BLOCK * 2 + i * 1031 % (BLOCK / 4);
        memcpy(area + to, area + from, BLOCK);
        area[from + i % BLOCK] ^= (unsigned char)i;
    }
    return bench_mix_bytes(0, area, AREA);
}

const struct bench_test bench_memcpy_small = {.name = "strings/memcpy-small",
                                              .setup = setup,
                                              .run = run_small,
                                              .work = 20000000,
                                              .minimum = 1,
                                              .cpus = 1};
const struct bench_test bench_memcpy_64k = {.name = "strings/memcpy-64k",
                                            .setup = setup,
                                            .run = run_64k,
                                            .work = 30000,
                                            .minimum = 1,
                                            .cpus = 1};
