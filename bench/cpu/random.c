/* random.c - updates at random places of 256 MiB, and one access per page in page order. */
#include "bench.h"

enum { WORDS = (256 << 20) / 8, PAGE_WORDS = 512 };

static uint64_t *area;

static void setup(uint64_t n)
{
    (void)n;
    area = bench_memory((size_t)WORDS * 8, 1);
}

static uint64_t run_update(uint64_t n)
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

static uint64_t run_walk(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t page = 0; page < WORDS; page += PAGE_WORDS)
            sum += area[page + (page >> 9 & 63) * 8]++;
    return sum;
}

const struct bench_test bench_random_256m = {.name = "memory/random-256m",
                                             .setup = setup,
                                             .run = run_update,
                                             .work = 8000000,
                                             .minimum = 1,
                                             .cpus = 1};
const struct bench_test bench_tlb_walk = {.name = "memory/tlb-walk",
                                          .setup = setup,
                                          .run = run_walk,
                                          .work = 200,
                                          .minimum = 1,
                                          .cpus = 1};
