/* quicksort.c - sorting 64 Ki random words: unpredictable branches, short loops over memory. */
#include "bench.h"

#include <string.h>

enum { COUNT = 1 << 16 };

static uint32_t source[COUNT], sorted[COUNT];

static void quicksort(uint32_t *a, int64_t lo, int64_t hi)
{
    while (lo < hi) {
        uint32_t pivot = a[(lo + hi) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                uint32_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        quicksort(a, lo, j);
        lo = i;
    }
}

static void setup(uint64_t n)
{
    uint64_t seed = 88172645463325252u;
    (void)n;
    for (int i = 0; i < COUNT; i++)
        source[i] = (uint32_t)bench_random(&seed);
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        memcpy(sorted, source, sizeof sorted);
        sorted[i % COUNT] ^= (uint32_t)i;
        quicksort(sorted, 0, COUNT - 1);
        sum = bench_mix(sum, sorted[i * 977 % COUNT]);
    }
    return bench_mix_bytes(sum, sorted, sizeof sorted);
}

const struct bench_test bench_quicksort = {
    .name = "integer/quicksort", .setup = setup, .run = run, .work = 50, .minimum = 1, .cpus = 1};
