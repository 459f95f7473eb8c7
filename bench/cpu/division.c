/* division.c - DIV and IDIV of all widths, remainders, and greatest common divisors. */
#include "bench.h"

static __attribute__((noinline)) uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0, seed = 123456789;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t a = bench_random(&seed), b = bench_random(&seed) | 1;
        sum += gcd(a, b >> 30);
        sum ^= a / ((b & 0xffff) + 1);
        sum += (uint64_t)((int64_t)a / (int64_t)(b >> 40 | 1));
        sum ^= (uint32_t)a % ((uint32_t)b | 1);
        sum += (uint64_t)(int64_t)((int32_t)a / ((int32_t)b | 1));
        sum += (uint64_t)((unsigned __int128)a * b % 0xffffffffffffffc5u);
    }
    return sum;
}

const struct bench_test bench_division = {
    .name = "integer/division", .run = run, .work = 3000000, .minimum = 1, .cpus = 1};
