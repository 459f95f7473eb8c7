/* bench.h - one benchmark: a fixed amount of work with a checksum as its result.
 *
 * Every test is a `const struct bench_test` in its own file; main.c has the one list.  A test is
 * one process: setup(n) makes its data (not measured), run(n) does n units of work (measured) and
 * returns a checksum that depends on all of it.  The same n gives the same checksum on every
 * correct CPU; the driver (bench/cpu.py) compares guests with the host.  Nothing here depends on
 * time, addresses, libm or random numbers other than bench_random(). */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

struct bench_test {
    const char *name;            /* group/test */
    void (*setup)(uint64_t n);   /* may be NULL */
    uint64_t (*run)(uint64_t n); /* the checksum */
    uint64_t (*finish)(void); /* may be NULL: a checksum of results left in files, not measured */
    uint64_t work;            /* n at scale 1 */
    uint64_t minimum;         /* the smallest n that makes sense */
    int cpus;                 /* virtual processors of the machine it is meant for */
};

/* Keeps the compiler from knowing a value, so that work cannot be folded away or hoisted. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))

/* Ends the process with a sentence: the benchmark itself cannot go on. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_fail(const char *format, ...);

/* Zeroed memory of whole pages, never huge ones when small_pages: NULL is never returned. */
void *bench_memory(size_t size, int small_pages);

/* Starts argv[0] with standard input and output as given (NULL: /dev/null); waits; must exit with
 * 0. */
void bench_command(const char *input, const char *output, char *const argv[]);

/* A writable directory for files in memory; where commands leave what is checked, and its checksum.
 */
#define BENCH_TMP    "/tmp"
#define BENCH_OUTPUT BENCH_TMP "/output"
uint64_t bench_output_sum(void);

/* A test of commands that write BENCH_OUTPUT: setup_ID and run_ID exist. */
#define BENCH_COMMAND_TEST(id, test, amount, least)                                                \
    const struct bench_test bench_##id = {.name = test,                                            \
                                          .setup = setup_##id,                                     \
                                          .run = run_##id,                                         \
                                          .finish = bench_output_sum,                              \
                                          .work = amount,                                          \
                                          .minimum = least,                                        \
                                          .cpus = 1}

static inline uint64_t bench_mix(uint64_t sum, uint64_t value)
{
    sum = (sum ^ value) * 0x9e3779b97f4a7c15u;
    return sum ^ sum >> 29;
}

static inline uint64_t bench_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

uint64_t bench_mix_bytes(uint64_t sum, const void *data, size_t size);

#endif
