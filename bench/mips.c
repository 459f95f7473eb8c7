/* mips.c - how fast the software CPU's interpreter is on integer code.
 *
 * The guest programs are functions of this file: host and guest speak the same instruction set, so
 * their bytes are copied into a small guest and also run here, for the ratio.  Each gets a scratch
 * area and a size; they call nothing outside their section and use no constants in memory. */
#include "../tests/unit/cpu/flat.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define GUEST_CODE __attribute__((section("guest_code"), noinline, used, no_stack_protector))

extern const uint8_t __start_guest_code[], __stop_guest_code[];

GUEST_CODE static uint64_t guest_sum(void *area, uint64_t n)
{
    uint64_t s = 0;
    for (uint64_t i = 0; i < n; i++) {
        s += i * 3;
        s ^= s >> 7;
    }
    return s;
}

GUEST_CODE static uint64_t guest_sieve(void *area, uint64_t n)
{
    uint8_t *composite = area;
    uint64_t primes = 0;
    for (uint64_t i = 0; i < n; i++)
        composite[i] = (uint8_t)(i & 2);
    for (uint64_t i = 2; i < n; i++) {
        if (composite[i] & 1)
            continue;
        primes++;
        for (uint64_t j = i * 2; j < n; j += i)
            composite[j] |= 1;
    }
    return primes;
}

GUEST_CODE static void quicksort(uint32_t *a, int64_t lo, int64_t hi)
{
    while (lo < hi) {
        uint32_t pivot = a[(lo + hi) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                uint32_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        quicksort(a, lo, j);
        lo = i;
    }
}

GUEST_CODE static uint64_t guest_sort(void *area, uint64_t n)
{
    uint32_t *a = area, x = 12345;
    uint64_t inversions = 0;
    for (uint64_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        a[i] = x;
    }
    quicksort(a, 0, (int64_t)n - 1);
    for (uint64_t i = 1; i < n; i++)
        inversions += a[i - 1] > a[i];
    return inversions;
}

GUEST_CODE static uint64_t fibonacci(uint64_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

GUEST_CODE static uint64_t guest_calls(void *area, uint64_t n)
{
    return fibonacci(n);
}

GUEST_CODE static uint64_t guest_hash(void *area, uint64_t n)
{
    uint64_t *table = area, h = 1469598103934665603ull, r = 0;
    for (uint64_t i = 0; i < n; i++) {
        h = (h ^ (i & 255)) * 1099511628211ull;
        uint64_t k = h >> 50;
        if (table[k] == h)
            r++;
        else if (table[k] < h)
            table[k] = h;
        else
            r ^= table[k] + i;
    }
    return r;
}

GUEST_CODE static uint64_t guest_strings(void *area, uint64_t n)
{
    uint8_t *text = area;
    uint64_t found = 0;
    for (uint64_t i = 0; i < n; i++)
        text[i] = (uint8_t)("the quick brown fox"[0] + (i * 7 + i / 13) % 23);
    for (uint64_t i = 0; i + 3 < n; i++)
        if (text[i] == 'v' && text[i + 1] > 't' && text[i + 2] != text[i])
            found += text[i + 3];
    return found;
}

struct program {
    const char *name;
    uint64_t (*fn)(void *area, uint64_t n);
    uint64_t n;
};
static const struct program programs[] = {
    {"sum", guest_sum, 20000000},  {"sieve", guest_sieve, 4000000},
    {"sort", guest_sort, 500000},  {"calls", guest_calls, 30},
    {"hash", guest_hash, 5000000}, {"strings", guest_strings, 6000000},
};

/* Of this thread: what other programs take does not count. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static double seconds_since(uint64_t start)
{
    return (double)(cpu_ns() - start) / 1e9;
}

/* The return address is an OUT to the exit port. */
static uint64_t run_in_guest(struct flat *f, const struct program *p, double *seconds,
                             uint64_t *instructions)
{
    static const uint8_t leave[] = {0xe6, FLAT_EXIT_PORT};
    struct jit_cpu *c = flat_cpu(f);
    uint64_t at = FLAT_CODE_AT + ((uintptr_t)__start_guest_code & (GUEST_PAGE_SIZE - 1));

    flat_load(f, FLAT_STACK, leave, leave + sizeof(leave));
    flat_load(f, at, __start_guest_code, __stop_guest_code);
    memset(flat_ram(f) + FLAT_DATA, 0, FLAT_HOLE - FLAT_DATA);
    c->st.gpr[R_RSP] = FLAT_STACK - 8;
    le64_put(flat_ram(f) + FLAT_STACK - 8, FLAT_STACK);
    c->st.gpr[R_RDI] = FLAT_DATA;
    c->st.gpr[R_RSI] = p->n;
    c->st.rip = at + (uint64_t)((const uint8_t *)(uintptr_t)p->fn - __start_guest_code);
    c->instructions = 0;
    uint64_t start = cpu_ns();
    if (!flat_run(f)) {
        fprintf(stderr, "%s: the guest failed at rip %#lx\n", p->name, c->st.rip);
        exit(1);
    }
    *seconds = seconds_since(start);
    *instructions = c->instructions;
    return c->st.gpr[R_RAX];
}

int main(void)
{
    struct flat *f = flat_new();
    double log_sum = 0;
    int status = 0;

    printf("%-8s %10s %10s %8s\n", "program", "MIPS", "native", "ratio");
    for (unsigned k = 0; k < ARRAY_SIZE(programs); k++) {
        const struct program *p = &programs[k];
        void *area = calloc(1, FLAT_HOLE - FLAT_DATA);
        double guest_s;
        uint64_t n;

        uint64_t got = run_in_guest(f, p, &guest_s, &n);
        uint64_t start = cpu_ns();
        uint64_t want = p->fn(area, p->n);
        double native_s = seconds_since(start);
        free(area);
        printf("%-8s %10.1f %10.1f %8.1f%s\n", p->name, (double)n / guest_s / 1e6,
               (double)n / native_s / 1e6, guest_s / native_s, got == want ? "" : "  WRONG RESULT");
        status |= got != want;
        log_sum += __builtin_log((double)n / guest_s / 1e6);
    }
    printf("%-8s %10.1f\n", "mean", __builtin_exp(log_sum / ARRAY_SIZE(programs)));
    flat_free(f);
    return status;
}
