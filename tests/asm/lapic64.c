/* lapic64.c - the local APIC's less travelled registers: global and software disable, reserved bits
 * of IA32_APIC_BASE, error status, timer mode changed while it counts, what x2APIC does not have,
 * IOAPIC identification.  SDM vol. 3, chapter "Advanced Programmable Interrupt Controller". */
#include "pc.h"

#define APIC_BASE 0x1b
#define VEC       0x60

static volatile uint32_t ticks;

static void on_tick(struct frame *f)
{
    (void)f;
    ticks++;
    lapic_write(LAPIC_EOI, 0);
}

static bool cpuid_has_apic(void)
{
    uint32_t r[4];

    cpuid(1, 0, r);
    return r[3] >> 9 & 1;
}

static void global_disable(void)
{
    uint64_t base = rdmsr(APIC_BASE);
    uint32_t version = lapic_read(LAPIC_VERSION), r[4];

    CHECK_EQ(base, 0xfee00900); /* enabled, boot processor */
    CHECK(cpuid_has_apic());
    wrmsr(APIC_BASE, base & ~0x800ull);
    CHECK(!cpuid_has_apic());
    CHECK(lapic_read(LAPIC_VERSION) != version);
    wrmsr(APIC_BASE, base);
    CHECK(cpuid_has_apic());
    CHECK_EQ(lapic_read(LAPIC_VERSION), version);
    /* as after power-up: software-disabled, everything masked */
    CHECK_EQ(lapic_read(LAPIC_SVR) & 0x1ff, 0xff);
    CHECK_EQ(lapic_read(LAPIC_LINT0), 0x10000);
    CHECK_EQ(lapic_read(LAPIC_LVT_TIMER), 0x10000);
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(APIC_BASE), "a"((uint32_t)base | 0x200), "d"(0));
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(APIC_BASE), "a"((uint32_t)base | 1), "d"(0));
    cpuid(0x80000008, 0, r);
    if ((r[0] & 0xff) < 52)
        EXPECT_FAULT(GP, 0, "wrmsr", "c"(APIC_BASE), "a"((uint32_t)base),
                     "d"(1u << ((r[0] & 0xff) - 32)));
    EXPECT_OK("wrmsr", "c"(APIC_BASE), "a"((uint32_t)base), "d"(0));
}

static void software_disable(void)
{
    CHECK_EQ(lapic_read(LAPIC_SVR) & 0x100, 0);
    lapic_write(LAPIC_LVT_TIMER, VEC);
    CHECK_EQ(lapic_read(LAPIC_LVT_TIMER), 0x10000 | VEC); /* the mask cannot be cleared */
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LVT_TIMER, VEC);
    CHECK_EQ(lapic_read(LAPIC_LVT_TIMER), VEC);
    lapic_write(LAPIC_SVR, 0xff);
    CHECK_EQ(lapic_read(LAPIC_LVT_TIMER), 0x10000 | VEC);
    lapic_write(LAPIC_SVR, 0x1ff);
}

static void error_status(void)
{
    lapic_write(0x280, 0);
    lapic_write(0x280, 0);
    CHECK_EQ(lapic_read(0x280), 0);
    lapic_icr(ICR_SELF | ICR_ASSERT | 0x05, 0); /* vectors below 16 cannot be sent */
    CHECK_EQ(lapic_read(0x280), 0);             /* shows after a write */
    lapic_write(0x280, 0);
    CHECK(lapic_read(0x280) & 0x60);
    lapic_write(0x280, 0);
    CHECK_EQ(lapic_read(0x280), 0);
}

static uint32_t count(void)
{
    return lapic_read(LAPIC_TIMER_NOW);
}

/* The count goes on over changes of mode; only a new initial count starts it again. */
static void mode_changes(void)
{
    const uint32_t initial = 200000000; /* so much that a busy host does not miss a half */
    uint32_t last, now;

    lapic_write(LAPIC_TIMER_DIV, 0xb);
    lapic_write(LAPIC_LVT_TIMER, VEC | 0x10000);
    lapic_write(LAPIC_TIMER_INIT, initial);
    CHECK_EQ(lapic_read(LAPIC_TIMER_INIT), initial);
    CHECK(count() != 0 && count() <= initial);
    while (count() > initial / 2)
        ;
    lapic_write(LAPIC_LVT_TIMER, VEC | 0x10000 | 1 << 17); /* periodic */
    CHECK(count() < initial / 2);
    for (last = count(); (now = count()) <= last; last = now)
        ;
    CHECK(now > initial / 2); /* begun again by itself */
    while (count() > initial / 2)
        ;
    lapic_write(LAPIC_LVT_TIMER, VEC | 0x10000); /* one-shot again */
    CHECK(count() <= initial / 2);
    while (count())
        ;
    breathe();
    CHECK_EQ(count(), 0);
    lapic_write(LAPIC_LVT_TIMER, VEC | 0x10000 | 1 << 17);
    CHECK_EQ(count(), 0); /* nothing to begin from until a count is written */
    lapic_write(LAPIC_LVT_TIMER, VEC);
    /* a divisor changed on the way */
    ticks = 0;
    lapic_write(LAPIC_TIMER_INIT, 1000000);
    lapic_write(LAPIC_TIMER_DIV, 0x3); /* by 16 */
    CHECK(count() <= 1000000);
    lapic_write(LAPIC_TIMER_DIV, 0xb);
    CHECK(soon(&ticks, 1));
    /* an initial count of zero stops it */
    lapic_write(LAPIC_TIMER_INIT, 1000000000);
    CHECK(count() != 0);
    lapic_write(LAPIC_TIMER_INIT, 0);
    CHECK_EQ(count(), 0);
}

static void ioapic(void)
{
    uint32_t version = ioapic_read(1);

    CHECK_EQ(version >> 16 & 0xff, 23);
    ioapic_write(0, 0x0f000000);
    CHECK_EQ(ioapic_read(0), 0x0f000000);
    ioapic_write(0, 0xffffffff);
    CHECK_EQ(ioapic_read(0), 0x0f000000);
    ioapic_write(0, 0);
    ioapic_write(1, 0); /* read-only */
    CHECK_EQ(ioapic_read(1), version);
    /* delivery status and remote IRR are read-only */
    ioapic_write(0x10 + 2 * 20, REDIR_MASKED | REDIR_REMOTE_IRR | 1 << 12 | VEC);
    CHECK_EQ(ioapic_read(0x10 + 2 * 20), REDIR_MASKED | VEC);
}

static void x2apic_registers(void)
{
    static const uint16_t absent[] = {0x80e, 0x831, 0x809, 0x800, 0x840, 0x8ff};
    static const uint16_t write_only[] = {0x80b, 0x83f};
    static const uint16_t read_only[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x818, 0x820, 0x839};
    uint32_t r[4];

    cpuid(1, 0, r);
    if (!(r[2] & 1u << 21))
        return;
    x2apic_enable();
    for (unsigned i = 0; i < sizeof(absent) / 2; i++) {
        EXPECT_FAULT(GP, 0, "rdmsr", "c"((uint32_t)absent[i]) : "rax", "rdx");
        EXPECT_FAULT(GP, 0, "wrmsr", "c"((uint32_t)absent[i]), "a"(0), "d"(0));
    }
    for (unsigned i = 0; i < sizeof(write_only) / 2; i++)
        EXPECT_FAULT(GP, 0, "rdmsr", "c"((uint32_t)write_only[i]) : "rax", "rdx");
    for (unsigned i = 0; i < sizeof(read_only) / 2; i++) {
        EXPECT_OK("rdmsr", "c"((uint32_t)read_only[i]) : "rax", "rdx");
        EXPECT_FAULT(GP, 0, "wrmsr", "c"((uint32_t)read_only[i]), "a"(0), "d"(0));
    }
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0x83f), "a"(0x100 | VEC), "d"(0)); /* self IPI: 8 bits */
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0x828), "a"(1), "d"(0));           /* ESR: only zero */
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0x808), "a"(0x100), "d"(0));       /* TPR: 8 bits */
    CHECK_EQ(lapic_read(LAPIC_SVR), 0x1ff);                             /* kept over the change */
    /* By way of disabled back to xAPIC. */
    uint64_t base = rdmsr(APIC_BASE);
    wrmsr(APIC_BASE, base & ~0xc00ull);
    CHECK(!cpuid_has_apic());
    EXPECT_FAULT(GP, 0, "rdmsr", "c"(0x803) : "rax", "rdx");
    wrmsr(APIC_BASE, base & ~0x400ull);
    CHECK(!x2apic_on());
    CHECK(cpuid_has_apic());
}

void guest_main(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    handlers[VEC] = on_tick;
    global_disable();
    software_disable();
    error_status();
    mode_changes();
    ioapic();
    x2apic_registers();
}
