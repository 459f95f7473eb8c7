/* x87.c - long double arithmetic on the x87 stack: Horner polynomials, square roots, FXCH, loads
 * and stores. */
#include "bench.h"

static long double root(long double x)
{
    __asm__("fsqrt" : "+t"(x));
    return x;
}

static uint64_t run(uint64_t n)
{
    static const long double factors[] = {0.5L, -0.25L, 0.125L, 1.0L, -0.75L, 0.3125L};
    long double x = 0.3L, sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        long double p = factors[0];
        for (int k = 1; k < 6; k++)
            p = p * x + factors[k];
        sum += root(p * p + 1.0L);
        x = p * 0.5L + (long double)(int32_t)(i & 1023) / 4096.0L;
    }
    union {
        long double value;
        struct {
            uint64_t mantissa;
            uint16_t exponent;
        } parts;
    } bits = {.value = sum};
    return bench_mix(bits.parts.mantissa, bits.parts.exponent);
}

const struct bench_test bench_x87 = {
    .name = "fp/x87", .run = run, .work = 8000000, .minimum = 1, .cpus = 1};
