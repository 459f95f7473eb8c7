/* chase.c - dependent loads around a random cycle: in the first-level cache, beyond the second, in
 * memory. */
#include "bench.h"

static void **cycle;

/* One cycle through `count` nodes of 64 bytes (Sattolo's shuffle). */
static void make_cycle(size_t bytes)
{
    size_t count = bytes / 64, stride = 64 / sizeof(void *);
    uint32_t *order = bench_memory(count * sizeof *order, 0);
    uint64_t seed = 31337;
    cycle = bench_memory(bytes, 1);
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = bench_random(&seed) % i;
        uint32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (size_t i = 0; i < count; i++)
        cycle[order[i] * stride] = &cycle[order[(i + 1) % count] * stride];
}

static void setup_16k(uint64_t n)
{
    (void)n;
    make_cycle(16 << 10);
}

static void setup_4m(uint64_t n)
{
    (void)n;
    make_cycle(4 << 20);
}

static void setup_64m(uint64_t n)
{
    (void)n;
    make_cycle(64 << 20);
}

static uint64_t run(uint64_t n)
{
    void **at = cycle;
    for (uint64_t i = 0; i < n; i++)
        at = *at;
    return (uint64_t)(at - cycle);
}

const struct bench_test bench_chase_16k = {.name = "memory/chase-16k",
                                           .setup = setup_16k,
                                           .run = run,
                                           .work = 100000000,
                                           .minimum = 1,
                                           .cpus = 1};
const struct bench_test bench_chase_4m = {.name = "memory/chase-4m",
                                          .setup = setup_4m,
                                          .run = run,
                                          .work = 6000000,
                                          .minimum = 1,
                                          .cpus = 1};
const struct bench_test bench_chase_64m = {.name = "memory/chase-64m",
                                           .setup = setup_64m,
                                           .run = run,
                                           .work = 1500000,
                                           .minimum = 1,
                                           .cpus = 1};
