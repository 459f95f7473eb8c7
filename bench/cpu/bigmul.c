/* bigmul.c - 2048-bit multiplications as public-key cryptography does them: MUL, ADD, ADC. */
#include "bench.h"

#include <string.h>

enum { LIMBS = 2048 / 64 };

static __attribute__((noinline)) void multiply(uint64_t out[2 * LIMBS], const uint64_t a[LIMBS],
                                               const uint64_t b[LIMBS])
{
    memset(out, 0, 2 * LIMBS * sizeof *out);
    for (int i = 0; i < LIMBS; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < LIMBS; j++) {
            unsigned __int128 t = (unsigned __int128)a[i] * b[j] + out[i + j] + carry;
            out[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
        out[i + LIMBS] = carry;
    }
}

static uint64_t run(uint64_t n)
{
    uint64_t a[LIMBS], b[LIMBS], product[2 * LIMBS], seed = 42;
    for (int i = 0; i < LIMBS; i++) {
        a[i] = bench_random(&seed);
        b[i] = bench_random(&seed);
    }
    for (uint64_t i = 0; i < n; i++) {
        multiply(product, a, b);
        for (int k = 0; k < LIMBS; k++)
            a[k] = product[k] ^ product[k + LIMBS];
    }
    return bench_mix_bytes(0, product, sizeof product);
}

const struct bench_test bench_bigmul = {
    .name = "integer/bigmul", .run = run, .work = 160000, .minimum = 1, .cpus = 1};
