/* random.c - updates at random places of 256 MiB: few cache and TLB hits. */
#include "bench.h"

enum { WORDS = (256 << 20) / 8 };

static uint64_t *area;

static void setup(uint64_t n)
{
    (void)n;
    area = bench_memory((size_t)WORDS * 8, 1);
}

static uint64_t run(uint64_t n)
{
    uint64_t seed = 5, sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t r = bench_random(&seed);
        area[r % WORDS] ^= r;
    }
    for (uint64_t i = 0; i < WORDS; i += 4099)
        sum = bench_mix(sum, area[i]);
    return sum;
}

const struct bench_test bench_random_256m = {.name = "memory/random-256m",
                                             .setup = setup,
                                             .run = run,
                                             .work = 8000000,
                                             .minimum = 1,
                                             .cpus = 1};
