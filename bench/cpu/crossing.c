/* crossing.c - loads and stores that cross cache lines and pages, mixed with aligned ones. */
#include "bench.h"

#include <string.h>

enum { PAGES = 64, PAGE = 4096 };

static unsigned char *area;

static void setup(uint64_t n)
{
    (void)n;
    area = bench_memory((PAGES + 1) * PAGE, 1);
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        unsigned char *edge = area + (i % PAGES + 1) * PAGE;
        uint64_t word;
        memcpy(&word, edge - 1 - i % 7, 8);
        sum += word;
        word += i;
        memcpy(edge - 3, &word, 8);
        uint32_t half;
        memcpy(&half, edge - 2, 4);
        sum ^= half;
        edge[64] = (unsigned char)sum;
    }
    return bench_mix_bytes(sum, area, (PAGES + 1) * PAGE);
}

const struct bench_test bench_crossing = {.name = "memory/page-crossing",
                                          .setup = setup,
                                          .run = run,
                                          .work = 8000000,
                                          .minimum = 1,
                                          .cpus = 1};
