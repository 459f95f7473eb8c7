/* apic64.c - local APIC seen from a CPU: timer in all modes, priorities, interrupt shadow, HLT, and
 * that an endless loop and a long REP are interrupted. */
#include "guest.h"

#define APIC ((volatile uint32_t *)0xfee00000)
#define TPR  (0x80 / 4)
#define EOI  (0xb0 / 4)
#define SVR  (0xf0 / 4)
#define IRR1 (0x210 / 4) /* vectors 32..63 */
#define ICR0 (0x300 / 4)
#define LVTT (0x320 / 4)
#define INIT (0x380 / 4)
#define CUR  (0x390 / 4)
#define DIV  (0x3e0 / 4)

#define VEC_TIMER 0x40
#define VEC_SELF  0x31

static volatile unsigned ticks, selfs;
static volatile uint64_t tick_ip;
static volatile bool x2apic, leave_loop;

static void eoi(void)
{
    if (x2apic)
        wrmsr(0x80b, 0);
    else
        APIC[EOI] = 0;
}

static void on_tick(struct frame *f)
{
    ticks++;
    tick_ip = f->ip;
    if (leave_loop && resume_ip) {
        f->ip = resume_ip;
        resume_ip = 0;
    }
    eoi();
}

static void on_self(struct frame *f)
{
    (void)f;
    selfs++;
    eoi();
}

static void wait_ticks(unsigned n)
{
    unsigned until = ticks + n;
    while ((int)(ticks - until) < 0)
        __asm__ volatile("sti; hlt; cli");
}

static void timer(void)
{
    APIC[DIV] = 0xb;
    APIC[LVTT] = VEC_TIMER;
    APIC[INIT] = 20000000;
    CHECK(APIC[CUR] > 0);
    wait_ticks(1);
    CHECK_EQ(ticks, 1);
    CHECK_EQ(APIC[CUR], 0);
    APIC[LVTT] = VEC_TIMER | 1 << 17;
    APIC[INIT] = 500000;
    wait_ticks(5);
    CHECK(ticks >= 6); /* more, when a busy host was away for a period */
    APIC[LVTT] = 1 << 16;
    APIC[INIT] = 0;
    __asm__ volatile("sti; nop; cli"); /* one that still waits */
    ticks = 0;
}

static void arm(uint32_t count)
{
    APIC[LVTT] = VEC_TIMER;
    APIC[INIT] = count;
}

/* IF=1 and nothing but a jump to itself: the tick must come in. */
static void endless_loop(void)
{
    leave_loop = true;
    arm(2000000);
    resume_ip = 0;
    __asm__ volatile("movq $1f, resume_ip\n"
                     "sti\n"
                     "2: jmp 2b\n"
                     "1: cli\n" ::
                         : "memory");
    CHECK_EQ(ticks, 1);
    ticks = 0;
}

/* A long REP is interrupted with its registers saying how far it has come. */
static void long_rep(void)
{
    uint64_t left, di;
    arm(2000000);
    __asm__ volatile("movq $1f, resume_ip\n"
                     "cld\n"
                     "sti\n"
                     "rep stosb\n"
                     "1: cli\n"
                     : "=c"(left), "=D"(di)
                     : "c"(0x40000000ull), "D"(0x800000), "a"(0)
                     : "memory");
    CHECK_EQ(left + di, 0x40000000ull + 0x800000);
    if (ticks == 0) /* faster than the timer: nothing learnt, but not wrong */
        CHECK_EQ(left, 0);
    leave_loop = false;
    resume_ip = 0;
    wait_ticks(ticks ? 0 : 1);
    ticks = 0;
}

static void self_ipi(void)
{
    APIC[ICR0] = 0x40000 | VEC_SELF;
}

static void priorities(void)
{
    APIC[TPR] = 0x30; /* same class: held back */
    self_ipi();
    __asm__ volatile("sti; nop; nop; cli");
    CHECK_EQ(selfs, 0);
    CHECK_EQ(APIC[IRR1] >> (VEC_SELF - 32) & 1, 1);
    CHECK_EQ(READ_CR(8), 3);
    WRITE_CR(8, 2);
    CHECK_EQ(APIC[TPR], 0x20);
    __asm__ volatile("sti; nop; nop; cli");
    CHECK_EQ(selfs, 1);
    APIC[TPR] = 0;
    /* IF=0 holds it back as well. */
    self_ipi();
    __asm__ volatile("nop; nop");
    CHECK_EQ(selfs, 1);
    __asm__ volatile("sti; nop; cli");
    CHECK_EQ(selfs, 2);
}

/* STI lets one more instruction pass: STI; CLI never opens a window. */
static void shadow(void)
{
    unsigned before = selfs;
    self_ipi();
    __asm__ volatile("sti; cli; nop");
    CHECK_EQ(selfs, before);
    __asm__ volatile("sti; nop; cli");
    CHECK_EQ(selfs, before + 1);
    /* ... and STI; HLT cannot lose the wake-up. */
    for (unsigned i = 0; i < 100; i++) {
        self_ipi();
        __asm__ volatile("sti; hlt; cli");
    }
    CHECK_EQ(selfs, before + 101);
    /* Before ordinary code, with and without something that waits; arithmetic flags stay. */
    for (unsigned i = 0; i < 100; i++) {
        uint64_t flags;
        if (i & 1)
            self_ipi();
        before = selfs;
        __asm__ volatile("cmp %1, %1; sti; mov $1, %0; mov $2, %0; pushfq; pop %0; cli"
                         : "=&r"(flags)
                         : "r"(i)
                         : "cc", "memory");
        CHECK_EQ(flags & 0x240, 0x240); /* IF, ZF */
        CHECK_EQ(selfs, before + (i & 1));
    }
    before = selfs - 101;
    /* MOV SS too. */
    uint64_t ss;
    self_ipi();
    __asm__ volatile("mov %%ss, %0\n"
                     "pushfq; pop %%rcx; or $0x200, %%ecx; push %%rcx\n"
                     "mov %0, %%ss; popfq\n"
                     "cli\n"
                     : "=&r"(ss)
                     :
                     : "rcx", "memory", "cc");
    CHECK_EQ(selfs, before + 102);
}

static void deadline(void)
{
    uint32_t r[4];
    cpuid(1, 0, r);
    if (!(r[2] & 1u << 24))
        return;
    ticks = 0;
    APIC[LVTT] = VEC_TIMER | 2 << 17;
    __asm__ volatile("mfence");
    uint64_t start = rdtsc();
    wrmsr(0x6e0, start + 3000000);
    uint64_t armed = rdmsr(0x6e0); /* zero when a busy host was away for so long */
    CHECK(armed == start + 3000000 || (armed == 0 && rdtsc() >= start + 3000000));
    wait_ticks(1);
    CHECK(rdtsc() >= start + 3000000);
    CHECK_EQ(rdmsr(0x6e0), 0);
    wrmsr(0x6e0, 1); /* in the past: at once */
    wait_ticks(1);
    APIC[LVTT] = 1 << 16;
    ticks = 0;
}

static void x2(void)
{
    uint32_t r[4];
    cpuid(1, 0, r);
    EXPECT_FAULT(GP, 0, "rdmsr", "c"(0x802) : "rax", "rdx"); /* still xAPIC */
    if (!(r[2] & 1u << 21))
        return;
    uint64_t base = rdmsr(0x1b);
    uint32_t id = APIC[0x20 / 4] >> 24;
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0x1b), "a"(0xfee00400), "d"(0)); /* EXTD without EN */
    wrmsr(0x1b, base | 0x400);
    x2apic = true;
    CHECK_EQ(rdmsr(0x802), id);
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0x802), "a"(1), "d"(0));
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0x80b), "a"(1), "d"(0));
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0x1b), "a"((uint32_t)base & ~0x400u), "d"(0));
    unsigned before = selfs;
    wrmsr(0x83f, VEC_SELF);
    __asm__ volatile("sti; nop; cli");
    CHECK_EQ(selfs, before + 1);
    wrmsr(0x83e, 0xb);
    wrmsr(0x832, VEC_TIMER);
    wrmsr(0x838, 1000000);
    wait_ticks(1);
    CHECK_EQ(ticks, 1);
    /* The page is memory (or nothing) again: not the APIC. */
    CHECK(APIC[0x30 / 4] != rdmsr(0x803) || APIC[SVR] != rdmsr(0x80f));
}

void guest_main(void)
{
    /* No 8259 interrupts. */
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    handlers[VEC_TIMER] = on_tick;
    handlers[VEC_SELF] = on_self;
    APIC[SVR] = 0x1ff;
    timer();
    endless_loop();
    long_rep();
    priorities();
    shadow();
    deadline();
    x2();
}
