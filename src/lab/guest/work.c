/* work.c - what keeps a processor busy: loops, system calls, page faults, context switches. */
#include "guest.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS_MAX 5000u
#define PAGE      4096u

/* A loop that no compiler shortens: each round needs the one before. */
static uint64_t spin(uint64_t rounds)
{
    uint64_t x = 88172645463325252ull;
    while (rounds--) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}
static volatile uint64_t sink;

static void calibrate(FILE *out, char **word)
{
    uint64_t ms = strtoull(word[0], NULL, 10), rounds = 0, start = guest_now_ns(), now;
    uint64_t best = UINT64_MAX;
    do { /* the fastest piece: the others were disturbed */
        uint64_t before = guest_now_ns();
        sink = spin(100000);
        now = guest_now_ns();
        best = now - before < best ? now - before : best;
        rounds += 100000;
    } while (now - start < ms * 1000000u);
    guest_number(out, "rounds_per_ms", 100000ull * 1000000u / (best ? best : 1));
    guest_number(out, "rounds", rounds);
}

static void progress(FILE *out, char **word)
{
    static uint64_t at[STEPS_MAX + 1];
    uint64_t rounds = strtoull(word[0], NULL, 10), steps = strtoull(word[1], NULL, 10);
    steps = steps < STEPS_MAX ? steps : STEPS_MAX;
    at[0] = guest_now_ns();
    for (uint64_t i = 1; i <= steps; i++) {
        sink = spin(rounds);
        at[i] = guest_now_ns();
    }
    for (uint64_t i = 0; i <= steps; i++)
        fprintf(out, "step %llu %llu\n", (unsigned long long)i, (unsigned long long)at[i]);
}

/* ---- loops beside the commands ---- */

static pid_t loops[64];
static unsigned loop_count;

static void loop_start(FILE *out, char **word)
{
    unsigned n = (unsigned)strtoul(word[0], NULL, 10);
    while (n-- && loop_count < sizeof(loops) / sizeof(loops[0])) {
        pid_t pid = fork();
        if (pid == 0) {
            for (;;)
                sink = spin(1000000);
        }
        if (pid < 0) {
            guest_error(out, "fork");
            return;
        }
        loops[loop_count++] = pid;
        guest_number(out, "pid", (uint64_t)pid);
    }
}

static void loop_stop(FILE *out, char **word)
{
    (void)word;
    for (unsigned i = 0; i < loop_count; i++) {
        kill(loops[i], SIGKILL);
        waitpid(loops[i], NULL, 0);
    }
    guest_number(out, "stopped", loop_count);
    loop_count = 0;
}

/* User and system ticks of the loops. */
static uint64_t loop_ticks(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < loop_count; i++) {
        char path[64], text[512];
        unsigned long user = 0, system = 0;
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)loops[i]);
        FILE *f = fopen(path, "r");
        size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
        text[n] = 0;
        char *at = strrchr(text, ')');
        if (at && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                         &system) == 2)
            sum += user + system;
        if (f)
            fclose(f);
    }
    return sum;
}

static void read_stat(unsigned long long v[8])
{
    FILE *f = fopen("/proc/stat", "r");
    memset(v, 0, 8 * sizeof(v[0]));
    if (f && fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
                    &v[4], &v[5], &v[6], &v[7]) != 8)
        memset(v, 0, 8 * sizeof(v[0]));
    if (f)
        fclose(f);
}

/* What sar would show of that many milliseconds, in ticks. */
static void cpu(FILE *out, char **word)
{
    static const char *const names[8] = {"user",   "nice", "system",  "idle",
                                         "iowait", "irq",  "softirq", "steal"};
    unsigned long long before[8], after[8];
    uint64_t ticks = loop_ticks(), start = guest_now_ns();
    read_stat(before);
    usleep((useconds_t)strtoul(word[0], NULL, 10) * 1000);
    read_stat(after);
    for (unsigned i = 0; i < 8; i++)
        guest_number(out, names[i], after[i] - before[i]);
    guest_number(out, "loop_ticks", loop_ticks() - ticks);
    guest_number(out, "ns", guest_now_ns() - start);
}

/* ---- what things cost ---- */

static uint64_t cpu_of(int who)
{
    struct rusage u;
    getrusage(who, &u);
    return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000u;
}

/* This process's CPU time and that of children it has waited for. */
static uint64_t cpu_now_ns(void)
{
    return cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN);
}

struct span {
    uint64_t ns, cpu_ns;
};

static struct span begin(void)
{
    return (struct span){guest_now_ns(), cpu_now_ns()};
}

static void timed(FILE *out, struct span start, uint64_t count)
{
    guest_number(out, "ns", guest_now_ns() - start.ns);
    guest_number(out, "cpu_ns", cpu_now_ns() - start.cpu_ns);
    guest_number(out, "count", count);
}

static void compute(FILE *out, char **word)
{
    uint64_t n = strtoull(word[0], NULL, 10);
    struct span start = begin();
    sink = spin(n);
    timed(out, start, n);
}

static void syscalls(FILE *out, char **word)
{
    uint64_t n = strtoull(word[0], NULL, 10);
    struct span start = begin();
    for (uint64_t i = 0; i < n; i++)
        syscall(SYS_getppid);
    timed(out, start, n);
}

static void faults(FILE *out, char **word)
{
    uint64_t n = strtoull(word[0], NULL, 10);
    struct span start = begin();
    unsigned char *p =
        mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        guest_error(out, "mmap");
        return;
    }
    madvise(p, n * PAGE, MADV_NOHUGEPAGE);
    for (uint64_t i = 0; i < n; i++)
        p[i * PAGE] = 1;
    timed(out, start, n);
    munmap(p, n * PAGE);
}

static void pass_bytes(int from, int to, uint64_t n)
{
    char c = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (read(from, &c, 1) != 1 || write(to, &c, 1) != 1)
            _exit(1);
    }
}

/* Two processes hand a byte to and fro: two switches a round, on one CPU. */
static void switches(FILE *out, char **word)
{
    uint64_t n = strtoull(word[0], NULL, 10);
    int there[2], back[2];
    if (pipe(there) || pipe(back)) {
        guest_error(out, "pipe");
        return;
    }
    struct span start = begin();
    pid_t pid = fork();
    if (pid == 0) {
        pass_bytes(there[0], back[1], n);
        _exit(0);
    }
    if (write(there[1], "x", 1) == 1)
        pass_bytes(back[0], there[1], n - 1);
    char c;
    if (read(back[0], &c, 1) != 1)
        guest_error(out, "read");
    waitpid(pid, NULL, 0);
    timed(out, start, 2 * n);
    for (unsigned i = 0; i < 2; i++) {
        close(there[i]);
        close(back[i]);
    }
}

static void clock_now(FILE *out, char **word)
{
    (void)word;
    guest_number(out, "ns", guest_now_ns());
}

const struct guest_command work_commands[] = {
    {"clock", 0, clock_now},
    {"calibrate", 1, calibrate},
    {"progress", 2, progress},
    {"loop-start", 1, loop_start},
    {"loop-stop", 0, loop_stop},
    {"cpu", 1, cpu},
    {"compute", 1, compute},
    {"syscalls", 1, syscalls},
    {"faults", 1, faults},
    {"switches", 1, switches},
    {NULL, 0, NULL},
};
