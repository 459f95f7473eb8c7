/* strlen.c - the C library's strlen, strcmp and strchr over strings of mixed length. */
#include "bench.h"

#include <string.h>

enum { STRINGS = 512, LONGEST = 200 };

static char strings[STRINGS][LONGEST + 1];

static void setup(uint64_t n)
{
    uint64_t seed = 4711;
    (void)n;
    for (int i = 0; i < STRINGS; i++) {
        uint64_t length = bench_random(&seed) % LONGEST;
        for (uint64_t j = 0; j < length; j++)
            strings[i][j] = (char)('a' + (j < length / 2 ? j % 7 : bench_random(&seed) % 20));
        strings[i][length] = 0;
    }
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        const char *a = strings[i * 31 % STRINGS], *b = strings[i * 17 % STRINGS];
        OPAQUE(a);
        int order = strcmp(a, b);
        const char *z = strchr(a, 's');
        sum = sum * 3 + strlen(a) +
              (order < 0   ? 1
               : order > 0 ? 2
                           : 0) +
              (z ? (uint64_t)(z - a) : 0);
    }
    return sum;
}

const struct bench_test bench_strlen = {.name = "strings/strlen-strcmp",
                                        .setup = setup,
                                        .run = run,
                                        .work = 12000000,
                                        .minimum = 1,
                                        .cpus = 1};
