/* repmovs.c - REP MOVSB and REP STOSB, as kernels use them: mixed sizes up to 16 KiB, any
 * alignment. */
#include "bench.h"

enum { AREA = 1 << 18 };

static unsigned char *area;

static void setup(uint64_t n)
{
    uint64_t seed = 1234;
    (void)n;
    area = bench_memory(AREA, 0);
    for (int i = 0; i < AREA; i++)
        area[i] = (unsigned char)bench_random(&seed);
}

static size_t size_at(uint64_t i)
{
    return i % 8 == 7 ? 16384 - i % 64 : 256 + i % 1024;
}

static uint64_t run_movsb(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        unsigned char *to = area + AREA / 2 + i * 13 % 8192, *from = area + i * 29 % 8192;
        size_t size = size_at(i);
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
        area[i * 29 % 8192] += (unsigned char)i;
    }
    return bench_mix_bytes(0, area, AREA);
}

static uint64_t run_stosb(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        unsigned char *to = area + i * 13 % (AREA - 16384);
        size_t size = size_at(i);
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"((int)i) : "memory");
    }
    return bench_mix_bytes(0, area, AREA);
}

const struct bench_test bench_rep_movsb = {.name = "strings/rep-movsb",
                                           .setup = setup,
                                           .run = run_movsb,
                                           .work = 1000000,
                                           .minimum = 1,
                                           .cpus = 1};
const struct bench_test bench_rep_stosb = {.name = "strings/rep-stosb",
                                           .setup = setup,
                                           .run = run_stosb,
                                           .work = 1500000,
                                           .minimum = 1,
                                           .cpus = 1};
