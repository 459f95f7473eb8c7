/* debug64.c - single-step, breakpoints, DR6/DR7, RF and the MOV SS shadow. */
#include "guest.h"

#define DR6_CLEAR 0xffff0ff0ul
#define BS        0x4000
#define BD        0x2000
#define TF        0x100
#define RF        0x10000

static volatile unsigned hits;
static volatile uint64_t hit_ip[16], hit_dr6[16];
static volatile bool set_rf;

static void on_debug(struct frame *f)
{
    if (hits < 16) {
        hit_ip[hits] = f->ip;
        hit_dr6[hits] = READ_DR(6);
    }
    hits++;
    WRITE_DR(6, DR6_CLEAR);
    if (set_rf)
        f->flags |= RF;
}

static void reset(void)
{
    hits = 0;
    set_rf = false;
    WRITE_DR(7, 0x400);
    WRITE_DR(6, DR6_CLEAR);
}

extern char s0[], s1[], s2[], s3[], m0[], b0[], b1[], w1[], r1[];

static void single_step(void)
{
    reset();
    __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq\n"
                     "s0: nop\n" /* the step that POPF armed traps after this one */
                     "s1: inc %%ecx\n"
                     "s2: pushfq; andl $~0x100, (%%rsp); popfq\n"
                     "s3: nop\n" ::
                         : "rcx", "cc", "memory");
    CHECK_EQ(hits, 5);
    CHECK_EQ(hit_ip[0], (uint64_t)s1);
    CHECK_EQ(hit_ip[1], (uint64_t)s2);
    CHECK_EQ(hit_ip[4], (uint64_t)s3);
    CHECK_EQ(hit_dr6[0], DR6_CLEAR | BS);
}

/* A load of SS holds the trap back until the next instruction is done. */
static void mov_ss(void)
{
    reset();
    __asm__ volatile("mov %%ss, %%ecx\n"
                     "pushfq; orl $0x100, (%%rsp); popfq\n"
                     "mov %%ecx, %%ss\n"
                     "nop\n"
                     "m0: pushfq; andl $~0x100, (%%rsp); popfq\n" ::
                         : "rcx", "cc", "memory");
    CHECK_EQ(hit_ip[0], (uint64_t)m0);
}

static void code_breakpoint(void)
{
    reset();
    set_rf = true;
    WRITE_DR(0, b0);
    WRITE_DR(7, 0x402);
    __asm__ volatile("nop\n"
                     "b0: nop\n"
                     "b1: nop\n");
    CHECK_EQ(hits, 1);
    CHECK_EQ(hit_ip[0], (uint64_t)b0);
    CHECK_EQ(hit_dr6[0] & 0xf, 1);
    CHECK_EQ(hit_dr6[0] & BS, 0);
    WRITE_DR(7, 0x400);
}

static volatile uint64_t watched[4] __attribute__((aligned(64)));

static void data_breakpoint(void)
{
    reset();
    watched[1] = 0;
    WRITE_DR(1, &watched[1]);
    WRITE_DR(7, 0x400 | 8 | 9u << 20); /* DR1: 8 bytes long (10), writes (01) */
    __asm__ volatile("mov %0, %%rax\n"
                     "movb $5, 3+%0\n"
                     "w1: nop\n"
                     : "+m"(watched[1])
                     :
                     : "rax");
    CHECK_EQ(hits, 1);
    CHECK_EQ(hit_ip[0], (uint64_t)w1);
    CHECK_EQ(hit_dr6[0] & 0xf, 2);
    CHECK_EQ(watched[1], 0x5000000);
    watched[0] = 1;
    watched[2] = 1;
    CHECK_EQ(hits, 1);
    WRITE_DR(7, 0x400 | 8 | 0xbu << 20); /* reads and writes */
    __asm__ volatile("mov %0, %%rax\n"
                     "r1: nop\n"
                     : "+m"(watched[1])
                     :
                     : "rax");
    CHECK_EQ(hits, 2);
    CHECK_EQ(hit_ip[1], (uint64_t)r1);
    WRITE_DR(7, 0x400);
    watched[1] = 2;
    CHECK_EQ(hits, 2);
}

static void registers(void)
{
    reset();
    CHECK_EQ(READ_DR(7), 0x400);
    WRITE_DR(6, 0);
    CHECK_EQ(READ_DR(6) & 0xfff, 0xff0);
    EXPECT_FAULT(GP, 0, "mov %0, %%db7", "r"(1ul << 32));
    EXPECT_FAULT(GP, 0, "mov %0, %%db6", "r"(1ul << 32));
    CHECK_EQ(EXPECT("mov %%db4, %%rax", : "rax"), -1); /* alias of DR6 */
    WRITE_CR(4, READ_CR(4) | 8);
    EXPECT_FAULT(UD, 0, "mov %%db4, %%rax", : "rax");
    WRITE_CR(4, READ_CR(4) & ~8ul);
    /* General detect: any access faults, and the handler sees GD cleared. */
    hits = 0;
    WRITE_DR(7, 0x2400);
    __asm__ volatile("mov %%db0, %%rax" ::: "rax");
    CHECK_EQ(hits, 1);
    CHECK_EQ(hit_dr6[0] & BD, BD);
    CHECK_EQ(READ_DR(7), 0x400);
}

static void icebp(void)
{
    reset();
    __asm__ volatile(".byte 0xf1");
    CHECK_EQ(hits, 1);
}

/* TF across SYSCALL-free user code: INT clears it, IRET brings it back. */
static volatile unsigned int_hits;
static void on_int(struct frame *f)
{
    int_hits++;
    CHECK_EQ(f->flags & TF, TF);
    uint64_t flags;
    __asm__ volatile("pushfq; pop %0" : "=r"(flags));
    CHECK_EQ(flags & TF, 0);
}
static void step_over_int(void)
{
    reset();
    handlers[0x90] = on_int;
    __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq\n"
                     "int $0x90\n"
                     "nop\n"
                     "pushfq; andl $~0x100, (%%rsp); popfq\n" ::
                         : "cc", "memory");
    CHECK_EQ(int_hits, 1);
    CHECK(hits >= 3);
}

void guest_main(void)
{
    handlers[DB] = on_debug;
    single_step();
    mov_ss();
    code_breakpoint();
    data_breakpoint();
    registers();
    icebp();
    step_over_int();
}
