/* diff_native.c - the host side: a forked child enters each case by sigreturn and leaves it by a
 * single-step trap or a fault, all inside one signal handler. */
#include "diff.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define FL_TF           0x100u
#define FL_NOT_RESTORED 0x204000ull /* ID, NT */

struct shared {
    unsigned count;
    volatile unsigned current; /* case being run; also the restart point after a crash */
};

struct diff_native {
    struct shared *shared;
    struct diff_case *cases;
    struct diff_result *results;
    size_t bytes;
    uint8_t *code_rw; /* writable alias of CODE_BASE */
};

/* The child's handler has no other way to find them. */
static struct diff_native *child;
static unsigned steps, last_offset;

static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};

/* ---- in the child's handler ---- */

static const int greg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15};

static void copy_bytes(void *to, const void *from, size_t n)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
}

static void frame_load(ucontext_t *uc, struct diff_case *t)
{
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t bv = diff_components();

    /* The kernel leaves these as the last case's POPF set them: then that is the input. */
    t->in.rflags = (t->in.rflags & ~FL_NOT_RESTORED) | ((uint64_t)g[REG_EFL] & FL_NOT_RESTORED);
    for (unsigned k = 0; k < 16; k++)
        g[greg_of[k]] = (greg_t)t->in.gpr[k];
    g[REG_RIP] = (greg_t)(CODE_BASE + t->code_offset);
    g[REG_EFL] = (greg_t)(t->in.rflags | FL_TF);
    /* cs, gs, fs, ss in one word */
    g[REG_CSGSFS] = (greg_t)((t->code32 ? SEL_CODE32 : SEL_CODE64) | (uint64_t)SEL_DATA << 48);
    copy_bytes(fp, t->in.xsave, 416);
    for (unsigned k = 0; k < XSAVE_PARTS; k++) {
        const struct xsave_part *p = &xsave_parts()[k];
        if (bv >> p->bit & 1)
            copy_bytes(fp + p->offset, t->in.xsave + p->offset, p->size);
    }
    copy_bytes(fp + 512, &bv, 8);
    copy_bytes((void *)DATA_BASE, t->data, DATA_RW);
    for (unsigned k = 0; k < sizeof(t->bytes); k++)
        child->code_rw[last_offset + k] = 0xcc;
    copy_bytes(child->code_rw + t->code_offset, t->bytes, t->len);
    last_offset = t->code_offset;
    steps = 0;
}

static void frame_store(const ucontext_t *uc, struct diff_result *r, int trap)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t bv;

    for (unsigned k = 0; k < 16; k++)
        r->out.gpr[k] = (uint64_t)g[greg_of[k]];
    r->out.rip = (uint64_t)g[REG_RIP];
    r->out.rflags = (uint64_t)g[REG_EFL];
    r->trap = trap;
    r->error = (uint64_t)g[REG_ERR];
    r->cr2 = (uint64_t)g[REG_CR2];
    copy_bytes(r->out.xsave, fp, 416);
    copy_bytes(&bv, fp + 512, 8);
    bv &= diff_components();
    for (unsigned k = 0; k < XSAVE_PARTS; k++) {
        const struct xsave_part *p = &xsave_parts()[k];
        if (bv >> p->bit & 1)
            copy_bytes(r->out.xsave + p->offset, fp + p->offset, p->size);
        else
            for (unsigned b = 0; b < p->size; b++)
                r->out.xsave[p->offset + b] = 0;
    }
    copy_bytes(r->data, (const void *)DATA_BASE, DATA_BYTES);
    r->done = true;
}

/* True when the case is over. */
static bool case_over(ucontext_t *uc, const struct diff_case *t, int sig, int *trap)
{
    greg_t *g = uc->uc_mcontext.gregs;
    uint64_t start = CODE_BASE + t->code_offset;

    *trap = (int)g[REG_TRAPNO];
    if (sig != SIGTRAP)
        return true;
    if (*trap == 3 && t->bytes[0] != 0xcc) {
        /* The instruction cleared TF and ran into the INT3 behind it. */
        g[REG_RIP]--;
        *trap = TRAP_NONE;
        return true;
    }
    if (*trap != 1)
        return true;
    *trap = TRAP_NONE;
    if (t->count > 1)
        return ++steps >= t->count;
    return (uint64_t)g[REG_RIP] != start || ++steps >= STEPS_MAX;
}

/* Its own prologue must not trust AC, DF or DS. */
static void on_signal(int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    struct shared *s = child->shared;
    int trap = 0;

    __asm__ volatile("pushfq; andq $~0x40400, (%%rsp); popfq" ::: "memory", "cc");
    (void)info;
    if (sig == SIGUSR1) {
        s->current = s->current; /* enter the first case */
    } else {
        if (!case_over(uc, &child->cases[s->current], sig, &trap))
            return;
        frame_store(uc, &child->results[s->current], trap);
        s->current++;
    }
    if (s->current >= s->count)
        _exit(0);
    frame_load(uc, &child->cases[s->current]);
}

/* ---- the child ---- */

static void child_main(struct diff_native *n, int code_fd)
{
    static uint8_t alt[256 * 1024] __attribute__((aligned(64)));
    stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)};
    struct sigaction sa = {.sa_sigaction = on_signal,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

    child = n;
    (void)diff_components(); /* asked in the handler, where nothing may be initialised */
    (void)xsave_parts();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mmap((void *)CODE_BASE, PAGE, PROT_READ | PROT_EXEC,
             MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, code_fd, 0) == MAP_FAILED ||
        mmap((void *)DATA_BASE, DATA_BYTES, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0) == MAP_FAILED)
        _exit(2);
    memcpy((void *)DATA_BASE, n->cases[n->shared->current].data, DATA_BYTES);
    mprotect((void *)(DATA_BASE + DATA_RW), PAGE, PROT_READ);
    sigaltstack(&ss, NULL);
    for (unsigned k = 0; k < sizeof(signals) / sizeof(signals[0]); k++)
        sigaction(signals[k], &sa, NULL);
    sigaction(SIGUSR1, &sa, NULL);
    alarm(20);
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"(SEL_DATA));
    /* The GS base is free in user space; FS is the C library's. */
    raise(SIGUSR1);
    _exit(3);
}

struct diff_native *diff_native_new(unsigned max_cases)
{
    struct diff_native *n = calloc(1, sizeof(*n));
    size_t head = 4096;

    assert(n);
    n->bytes = head + (sizeof(struct diff_case) + sizeof(struct diff_result)) * max_cases;
    uint8_t *p = mmap(NULL, n->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(p != MAP_FAILED);
    n->shared = (struct shared *)p;
    n->cases = (struct diff_case *)(p + head);
    n->results = (struct diff_result *)(n->cases + max_cases);
    return n;
}

void diff_native_free(struct diff_native *n)
{
    munmap(n->shared, n->bytes);
    free(n);
}

struct diff_case *diff_native_cases(struct diff_native *n)
{
    return n->cases;
}

const struct diff_result *diff_native_results(struct diff_native *n)
{
    return n->results;
}

static void run_child(struct diff_native *n)
{
    int fd = memfd_create("diff-code", MFD_CLOEXEC), status;

    assert(fd >= 0 && ftruncate(fd, PAGE) == 0);
    n->code_rw = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert(n->code_rw != MAP_FAILED);
    memset(n->code_rw, 0xcc, PAGE);
    pid_t pid = fork();
    assert(pid >= 0);
    if (pid == 0)
        child_main(n, fd);
    close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    munmap(n->code_rw, PAGE);
}

void diff_native_run(struct diff_native *n, unsigned count)
{
    for (unsigned k = 0; k < count; k++)
        n->results[k].done = false;
    n->shared->count = count;
    n->shared->current = 0;
    while (n->shared->current < count) {
        unsigned before = n->shared->current;

        run_child(n);
        if (n->shared->current < count)
            n->shared->current++; /* the case at hand killed it */
        assert(n->shared->current > before);
    }
}
