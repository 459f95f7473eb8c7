/* sha256.c - FIPS 180-4 SHA-256 in plain C: rotates, adds, a long dependency chain. */
#include "bench.h"

#include <string.h>

enum { BLOCK = 64, BUFFER = 1 << 16 };

static uint32_t round_constants[64];
static unsigned char buffer[BUFFER];

static uint32_t rotate(uint32_t x, int by)
{
    return x >> by | x << (32 - by);
}

/* The first 32 fraction bits of the cube root of p, by integer bisection: r^3 <= p * 2^96. */
static uint32_t cube_root_fraction(uint64_t p)
{
    uint64_t low = 0, high = 8ull << 32;
    while (high - low > 1) {
        uint64_t middle = (low + high) / 2;
        unsigned __int128 square = (unsigned __int128)middle * middle;
        unsigned __int128 limit = ((unsigned __int128)p << 96) / middle;
        if (square <= limit)
            low = middle;
        else
            high = middle;
    }
    return (uint32_t)low;
}

static void setup(uint64_t n)
{
    uint64_t seed = 2;
    int found = 0;
    (void)n;
    for (uint64_t p = 2; found < 64; p++) {
        int prime = 1;
        for (uint64_t d = 2; d * d <= p; d++)
            prime &= p % d != 0;
        if (prime)
            round_constants[found++] = cube_root_fraction(p);
    }
    for (int i = 0; i < BUFFER; i++)
        buffer[i] = (unsigned char)bench_random(&seed);
}

static __attribute__((noinline, optimize("O3"))) void compress(uint32_t state[8],
                                                               const unsigned char *block)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++) {
        memcpy(&w[i], block + i * 4, 4);
        w[i] = __builtin_bswap32(w[i]);
    }
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] +
               (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i += 8)
        for (int k = 0; k < 8; k++) { /* unrolled: the state rotates by names, not by moves */
            uint32_t *r[8];
            for (int j = 0; j < 8; j++)
                r[j] = &s[(j - k) & 7];
            uint32_t t = *r[7] + (rotate(*r[4], 6) ^ rotate(*r[4], 11) ^ rotate(*r[4], 25)) +
                         ((*r[4] & *r[5]) ^ (~*r[4] & *r[6])) + round_constants[i + k] + w[i + k];
            *r[3] += t;
            *r[7] = t + (rotate(*r[0], 2) ^ rotate(*r[0], 13) ^ rotate(*r[0], 22)) +
                    ((*r[0] & *r[1]) ^ (*r[0] & *r[2]) ^ (*r[1] & *r[2]));
        }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

static uint64_t run(uint64_t n)
{
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (uint64_t i = 0; i < n; i++)
        for (int at = 0; at < BUFFER; at += BLOCK)
            compress(state, buffer + at);
    return bench_mix_bytes(0, state, sizeof state);
}

const struct bench_test bench_sha256_c = {
    .name = "crypto/sha256-c", .setup = setup, .run = run, .work = 500, .minimum = 1, .cpus = 1};
