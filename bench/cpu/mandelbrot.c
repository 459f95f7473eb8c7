/* mandelbrot.c - the escape-time loop, point by point: scalar double arithmetic and compares. */
#include "bench.h"

static __attribute__((noinline)) unsigned escape(double cx, double cy)
{
    double x = 0, y = 0;
    unsigned i;
    for (i = 0; i < 200 && x * x + y * y < 4; i++) {
        double t = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = t;
    }
    return i;
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t row = 0; row < n; row++)
        for (int column = 0; column < 256; column++)
            sum = sum * 31 + escape(column / 100.0 - 2, (double)(row % 256) / 128.0 - 1);
    return sum;
}

const struct bench_test bench_mandelbrot = {
    .name = "fp/mandelbrot", .run = run, .work = 3500, .minimum = 1, .cpus = 1};
