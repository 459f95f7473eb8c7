/* clock64.c - TSC and its adjustment, APIC timer modes against the TSC, kvmclock, wall clock, steal
 * time, hypercalls. */
#include "pc.h"

#define MSR_TSC         0x10
#define MSR_TSC_ADJUST  0x3b
#define MSR_DEADLINE    0x6e0
#define MSR_WALL        0x4b564d00
#define MSR_SYSTEM_TIME 0x4b564d01
#define MSR_STEAL       0x4b564d03
#define VEC             0x40

struct pv_time {
    uint32_t version, pad;
    uint64_t tsc, ns;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad2[2];
};
static volatile struct pv_time pv __attribute__((aligned(64)));
static volatile uint32_t wall[4] __attribute__((aligned(64)));
static volatile uint32_t steal[16] __attribute__((aligned(64)));
static volatile uint32_t ticks;
static volatile uint64_t tick_tsc;

static void on_tick(struct frame *f)
{
    (void)f;
    tick_tsc = rdtsc();
    ticks++;
    lapic_write(LAPIC_EOI, 0);
}

static void adjust(void)
{
    uint32_t r[4];
    uint64_t before, after;

    cpuid(7, 0, r);
    if (!(r[1] & 2)) {
        EXPECT_FAULT(GP, 0, "rdmsr", "c"(MSR_TSC_ADJUST) : "rax", "rdx");
        return;
    }
    CHECK_EQ(rdmsr(MSR_TSC_ADJUST), 0);
    before = rdtsc();
    wrmsr(MSR_TSC_ADJUST, 1ull << 44);
    after = rdtsc();
    CHECK(after - before >= 1ull << 44 && after - before < 1ull << 45);
    CHECK_EQ(rdmsr(MSR_TSC_ADJUST), 1ull << 44);
    wrmsr(MSR_TSC_ADJUST, 0);
    CHECK(rdtsc() - before < 1ull << 44);
    /* Writing the TSC moves the adjustment along. */
    before = rdtsc();
    wrmsr(MSR_TSC, before + (1ull << 44));
    CHECK(rdtsc() >= before + (1ull << 44));
    uint64_t a = rdmsr(MSR_TSC_ADJUST);
    CHECK(a <= 1ull << 44 && a > (1ull << 44) - (1ull << 40));
    wrmsr(MSR_TSC_ADJUST, 0);
    wrmsr(MSR_TSC, 0);
    CHECK(rdtsc() < 1ull << 36);
    wrmsr(MSR_TSC_ADJUST, 0);
}

static void apic_timer(void)
{
    uint32_t r[4];
    uint64_t t0;

    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_TIMER_DIV, 0xb);
    lapic_write(LAPIC_LVT_TIMER, VEC);
    ticks = 0;
    lapic_write(LAPIC_TIMER_INIT, 100000);
    CHECK(lapic_read(LAPIC_TIMER_NOW) <= 100000);
    CHECK(soon(&ticks, 1));
    breathe();
    CHECK_EQ(ticks, 1);
    CHECK_EQ(lapic_read(LAPIC_TIMER_NOW), 0);
    lapic_write(LAPIC_LVT_TIMER, VEC | 1 << 17);
    lapic_write(LAPIC_TIMER_INIT, 100000);
    while (ticks < 20)
        breathe();
    /* From periodic to one-shot without a new count: the running period is the last. */
    lapic_write(LAPIC_LVT_TIMER, VEC);
    while (lapic_read(LAPIC_TIMER_NOW))
        breathe();
    breathe_long();
    uint32_t then = ticks;
    breathe_long();
    CHECK_EQ(ticks, then);
    /* Masked it still counts. */
    lapic_write(LAPIC_LVT_TIMER, VEC | 1 << 16);
    lapic_write(LAPIC_TIMER_INIT, 10000);
    while (lapic_read(LAPIC_TIMER_NOW))
        ;
    breathe_long();
    CHECK_EQ(ticks, then);
    lapic_write(LAPIC_TIMER_INIT, 0);
    cpuid(1, 0, r);
    if (!(r[2] & 1u << 24)) {
        CHECK(!arg_number("deadline", 0));
        return;
    }
    lapic_write(LAPIC_LVT_TIMER, VEC | 2 << 17);
    __asm__ volatile("mfence");
    CHECK_EQ(rdmsr(MSR_DEADLINE), 0);
    for (unsigned i = 0; i < 10; i++) {
        ticks = 0;
        t0 = rdtsc();
        wrmsr(MSR_DEADLINE, t0 + 200000);
        CHECK(soon(&ticks, 1));
        CHECK(tick_tsc >= t0 + 200000);
        CHECK_EQ(rdmsr(MSR_DEADLINE), 0);
    }
    wrmsr(MSR_DEADLINE, rdtsc() + (1ull << 36));
    lapic_write(LAPIC_LVT_TIMER, VEC); /* another mode disarms it */
    CHECK_EQ(rdmsr(MSR_DEADLINE), 0);
}

static uint64_t pv_now(void)
{
    uint32_t version;
    uint64_t ns, delta;

    do {
        version = pv.version;
        delta = rdtsc() - pv.tsc;
        delta = pv.shift >= 0 ? delta << pv.shift : delta >> -pv.shift;
        ns = pv.ns + (uint64_t)((unsigned __int128)delta * pv.mul >> 32);
    } while (version != pv.version || version & 1);
    return ns;
}

static void kvmclock(uint32_t features)
{
    uint64_t a, b;

    if (!(features & 1 << 3)) {
        CHECK(!arg_number("kvmclock", 0));
        return;
    }
    wrmsr(MSR_SYSTEM_TIME, (uint64_t)&pv | 1);
    CHECK(pv.version >= 2 && !(pv.version & 1));
    CHECK(pv.mul != 0);
    a = pv_now();
    for (unsigned i = 0; i < 10000; i++) {
        b = pv_now();
        CHECK((int64_t)(b - a) >= 0);
        a = b;
    }
    /* against the PM timer, roughly: 50 ms */
    uint32_t pm = inl(0x608) & 0xffffff;
    a = pv_now();
    while (((inl(0x608) - pm) & 0xffffff) < 178977)
        ;
    b = pv_now() - a;
    CHECK(b > 49000000);
    wrmsr(MSR_WALL, (uint64_t)wall);
    CHECK(wall[0] && !(wall[0] & 1));
    CHECK(wall[1] > 1600000000); /* September 2020 */
    CHECK(wall[2] < 1000000000);
    wrmsr(MSR_SYSTEM_TIME, 0);
    pv.ns = pv.version = 7;
    breathe();
    CHECK_EQ(pv.ns, 7);
}

static void steal_time(uint32_t features)
{
    if (!(features & 1 << 5))
        return;
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(MSR_STEAL), "a"((uint32_t)(uint64_t)steal | 3), "d"(0));
    wrmsr(MSR_STEAL, (uint64_t)steal | 1);
    CHECK_EQ(rdmsr(MSR_STEAL), (uint64_t)steal | 1);
    breathe();
    CHECK_EQ(steal[2] & 1, 0); /* version */
    CHECK_EQ(steal[3], 0);
    wrmsr(MSR_STEAL, 0);
}

/* Either vendor's instruction will do; an unknown call is answered, not faulted. */
static void hypercalls(void)
{
    uint64_t intel, amd;

    __asm__ volatile("vmcall" : "=a"(intel) : "0"(~0ull) : "memory");
    __asm__ volatile("vmmcall" : "=a"(amd) : "0"(~0ull) : "memory");
    CHECK_EQ(intel, (uint64_t)-1000);
    CHECK_EQ(amd, (uint64_t)-1000);
}

void guest_main(void)
{
    uint32_t r[4], sign[4] = {0};

    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    handlers[VEC] = on_tick;
    adjust();
    apic_timer();
    cpuid(0x40000000, 0, r);
    sign[0] = r[1], sign[1] = r[2], sign[2] = r[3];
    if (!same(sign, "KVMKVMKVM\0\0\0", 12)) {
        CHECK(!arg_number("kvmclock", 0));
        return;
    }
    CHECK(r[0] >= 0x40000001);
    cpuid(0x40000001, 0, r);
    kvmclock(r[0]);
    steal_time(r[0]);
    hypercalls();
}
