/* avx512_guest.c - runs inside a guest: AVX-512 state across context switches, signals and fork.
 *
 * Several processes fill all vector and opmask registers with a pattern of their own, give the
 * processor away, take timer signals whose handler fills the registers with something else, and
 * look whether theirs are still there.  Prints one line; the status says the same. */
#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 3
#define ROUNDS    400

struct registers {
    uint8_t zmm[32][64];
    uint64_t k[8];
} __attribute__((aligned(64)));

static volatile unsigned signals;
static struct registers junk;

#define FOR_MASKS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define FOR_10(X, t) X(t##0) X(t##1) X(t##2) X(t##3) X(t##4) X(t##5) X(t##6) X(t##7) X(t##8) X(t##9)
#define FOR_ALL(X)   FOR_10(X, ) FOR_10(X, 1) FOR_10(X, 2) X(30) X(31)
#define LOAD(n)      "vmovdqu64 " #n "*64(%[r]), %%zmm" #n "\n\t"
#define STORE(n)     "vmovdqu64 %%zmm" #n ", " #n "*64(%[r])\n\t"
#define LOAD_K(n)    "kmovq 2048+" #n "*8(%[r]), %%k" #n "\n\t"
#define STORE_K(n)   "kmovq %%k" #n ", 2048+" #n "*8(%[r])\n\t"
#define CLOBBERS                                                                                   \
    "memory", "cc", "rax", "rcx", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",   \
        "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16",     \
        "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",  \
        "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"

static void load(const struct registers *r)
{
    __asm__ volatile(FOR_ALL(LOAD) FOR_MASKS(LOAD_K)::[r] "r"(r) : CLOBBERS);
}

static void on_alarm(int sig)
{
    (void)sig;
    signals++;
    load(&junk);
}

/* Load, spin through system calls without touching a register by C code, store. */
static void hold(const struct registers *in, struct registers *out, long call, long times)
{
    __asm__ volatile(FOR_ALL(LOAD)
                         FOR_MASKS(LOAD_K) "1:\n\tmovl %k[call], %%eax\n\tsyscall\n\t"
                                           "movl $2000, %%ecx\n\t2: decl %%ecx\n\tjnz 2b\n\t"
                                           "decq %[times]\n\tjnz 1b\n\t"
                                           "movq %[out], %[r]\n\t" FOR_ALL(STORE) FOR_MASKS(STORE_K)
                     : [times] "+r"(times)
                     : [r] "D"(in), [out] "r"(out), [call] "b"(call)
                     : CLOBBERS);
}

static void fill(struct registers *r, unsigned seed)
{
    uint8_t *p = (uint8_t *)r;

    for (unsigned k = 0; k < sizeof(*r); k++) {
        seed = seed * 1103515245 + 12345;
        p[k] = (uint8_t)(seed >> 16);
    }
}

static int worker(unsigned number)
{
    static struct registers in, out;
    struct itimerval timer = {{0, 3000}, {0, 1000}};

    signal(SIGALRM, on_alarm);
    fill(&junk, 99 + number);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (unsigned round = 0; round < ROUNDS || signals < 20; round++) {
        fill(&in, number * 7919 + round);
        if (round % 3 == 0) /* a component goes out of use */
            memset(in.zmm[16], 0, sizeof(in.zmm[0]) * 16);
        memset(&out, 0, sizeof(out));
        hold(&in, &out, round % 2 ? SYS_sched_yield : SYS_getpid, 20);
        if (memcmp(&in, &out, sizeof(in)) != 0) {
            unsigned at = 0;
            while (((uint8_t *)&in)[at] == ((uint8_t *)&out)[at])
                at++;
            fprintf(
                stderr,
                "process %u round %u after %u signals: byte %u (zmm%u or k%u) is %02x, not %02x\n",
                number, round, signals, at, at / 64, at >= 2048 ? (at - 2048) / 8 : 0,
                ((uint8_t *)&out)[at], ((uint8_t *)&in)[at]);
            return 1;
        }
    }
    return 0;
}

int main(void)
{
    int failed = 0, status;

    for (unsigned k = 0; k < PROCESSES; k++)
        if (fork() == 0)
            _exit(worker(k));
    while (wait(&status) > 0)
        failed += status != 0;
    printf("avx512: %d of %d processes failed\n", failed, PROCESSES);
    return failed != 0;
}
