/* triad.c - a[i] = b[i] + s * c[i] over three arrays of 16 MiB: memory bandwidth. */
#include "bench.h"

enum { COUNT = (16 << 20) / 8 };

static double *a, *b, *c;

static void setup(uint64_t n)
{
    (void)n;
    a = bench_memory(COUNT * sizeof *a, 0);
    b = bench_memory(COUNT * sizeof *b, 0);
    c = bench_memory(COUNT * sizeof *c, 0);
    for (int i = 0; i < COUNT; i++) {
        b[i] = i % 1000;
        c[i] = i % 77;
    }
}

static __attribute__((noinline)) void triad(double *restrict out, const double *restrict x,
                                            const double *restrict y, double s)
{
    for (int i = 0; i < COUNT; i++)
        out[i] = x[i] + s * y[i];
}

static uint64_t run(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        triad(a, b, c, (double)(i % 3));
        double *t = a;
        a = b;
        b = t;
    }
    return bench_mix_bytes(0, a, 4096) + bench_mix_bytes(0, b, COUNT * sizeof *b / 16);
}

const struct bench_test bench_triad = {
    .name = "memory/triad", .setup = setup, .run = run, .work = 80, .minimum = 1, .cpus = 1};
