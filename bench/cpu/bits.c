/* bits.c - shifts, rotates, bit tests, population counts in plain C and with BMI and POPCNT. */
#include "bench.h"

static uint64_t plain(uint64_t x)
{
    uint64_t v = x - (x >> 1 & 0x5555555555555555u);
    v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
    v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    v = v * 0x0101010101010101u >> 56;
    v += (uint64_t)__builtin_ctzll(x | 1ull << 63) + (uint64_t)__builtin_clzll(x | 1);
    v ^= (x << (v & 63)) | (x >> (-v & 63));
    v ^= __builtin_bswap64(x) + (x >> (x & 31));
    return v;
}

static uint64_t reverse(uint64_t x)
{
    x = (x >> 1 & 0x5555555555555555u) | (x & 0x5555555555555555u) << 1;
    x = (x >> 2 & 0x3333333333333333u) | (x & 0x3333333333333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0f0f0f0f0fu) | (x & 0x0f0f0f0f0f0f0f0fu) << 4;
    return __builtin_bswap64(x);
}

static __attribute__((target("bmi,bmi2,popcnt,lzcnt"))) uint64_t with_bmi(uint64_t x)
{
    uint64_t v = (uint64_t)__builtin_popcountll(x) + (uint64_t)__builtin_ia32_lzcnt_u64(x);
    v += __builtin_ia32_pext_di(x, 0x00ff00ff12345678u);
    v ^= __builtin_ia32_pdep_di(x, 0xf0f0aaaa5555cccc);
    v += (x & -x) + (x & (x - 1)) + (~x & v);
    return v;
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0, seed = 2463534242u, bitmap[64] = {0};
    for (uint64_t i = 0; i < n; i++) {
        uint64_t x = bench_random(&seed);
        sum += plain(x) ^ reverse(x + sum);
        sum ^= with_bmi(x);
        bitmap[x >> 58] ^= 1ull << (x >> 20 & 63);
        sum += bitmap[x >> 10 & 63] >> (x & 63) & 1;
    }
    return sum;
}

const struct bench_test bench_bits = {
    .name = "integer/bits", .run = run, .work = 15000000, .minimum = 1, .cpus = 1};
