/* sieve.c - the sieve of Eratosthenes over 1 Mi bytes: simple strided stores. */
#include "bench.h"

#include <string.h>

enum { LIMIT = 1 << 20 };

static uint8_t composite[LIMIT];

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t round = 0; round < n; round++) {
        uint64_t primes = 0;
        memset(composite, 0, sizeof composite);
        for (uint64_t i = 2; i < LIMIT; i++) {
            if (composite[i])
                continue;
            primes++;
            for (uint64_t j = i * 2; j < LIMIT; j += i)
                composite[j] = 1;
        }
        sum = bench_mix(sum, primes);
    }
    return bench_mix_bytes(sum, composite, sizeof composite);
}

const struct bench_test bench_sieve = {
    .name = "integer/sieve", .run = run, .work = 50, .minimum = 1, .cpus = 1};
