/* quicksort.c - sorting 64 Ki random words: unpredictable branches, short loops over memory. */
#include "bench.h"

#include <string.h>

enum { COUNT = 1 << 16 };

static uint32_t source[COUNT], sorted[COUNT];

static void exchange(uint32_t *a, uint32_t *b)
{
    uint32_t t = *a;
    *a = *b;
    *b = t;
}

/* Sorts first..last: the middle of three as pivot, short ranges by insertion. */
static void quicksort(uint32_t *first, uint32_t *last)
{
    while (last - first > 12) {
        uint32_t *middle = first + (last - first) / 2, *left = first, *right = last;
        if (*middle < *first)
            exchange(middle, first);
        if (*last < *first)
            exchange(last, first);
        if (*last < *middle)
            exchange(last, middle);
        for (uint32_t pivot = *middle; left <= right;) {
            for (; *left < pivot; left++)
                ;
            for (; *right > pivot; right--)
                ;
            if (left <= right)
                exchange(left++, right--);
        }
        quicksort(first, right);
        first = left;
    }
    for (uint32_t *at = first + 1; at <= last; at++) {
        uint32_t value = *at, *hole = at;
        for (; hole > first && hole[-1] > value; hole--)
            *hole = hole[-1];
        *hole = value;
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
        quicksort(sorted, sorted + COUNT - 1);
        sum = bench_mix(sum, sorted[i * 977 % COUNT]);
    }
    return bench_mix_bytes(sum, sorted, sizeof sorted);
}

const struct bench_test bench_quicksort = {
    .name = "integer/quicksort", .setup = setup, .run = run, .work = 60, .minimum = 1, .cpus = 1};
