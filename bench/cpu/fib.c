/* fib.c - naive recursion: calls, returns, the stack. */
#include "bench.h"

static __attribute__((noinline)) uint64_t fib(uint64_t n)
{
    OPAQUE(n); /* no inlining of the recursion into itself */
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum = bench_mix(sum, fib(24 + i % 3));
    return sum;
}

const struct bench_test bench_fib = {
    .name = "integer/fib", .run = run, .work = 1200, .minimum = 1, .cpus = 1};
