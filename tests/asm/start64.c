/* start64.c - processors started as bare-metal test kernels do it: page 0 overwritten, one INIT and
 * one SIPI with vector 0 to all but self, no delay between.  Then who gets which interrupt, in
 * xAPIC (flat, cluster) and x2APIC mode, and their order.  cpus= says how many there must be;
 * slow=1 that the processor is. */
#include "pc.h"

#define VEC_CALL 0x41
#define VEC_LOW  0x45
#define VEC_HIGH 0x85
#define MAX_CPUS 8
#define GSI      0x0e

extern char ap_boot[], ap_boot_end[];
__asm__(".code16\n"
        "ap_boot:\n"
        "cli\n"
        "mov %cs, %ax\n"
        "mov %ax, %ds\n"
        "lgdtl ap_gdtr - ap_boot\n"
        "mov %cr0, %eax\n"
        "or $1, %eax\n"
        "mov %eax, %cr0\n"
        "ljmpl $0x30, $ap_boot32\n"
        "ap_gdtr: .word 511\n"
        ".long gdt\n"
        "ap_boot_end:\n"
        ".code32\n"
        "ap_boot32:\n"
        "mov $0x10, %eax\n"
        "mov %eax, %ds\n"
        "mov %eax, %ss\n"
        "mov $1, %edi\n"
        "lock xadd %edi, next_cpu\n"
        "mov %edi, %ebx\n"
        "shl $12, %ebx\n"
        "lea ap_stack(%ebx), %esp\n"
        "call enable_long\n"
        "ljmp $8, $ap_boot64\n"
        ".code64\n"
        "ap_boot64:\n"
        "mov $0x10, %eax\n"
        "mov %eax, %es\n"
        "call ap_main\n");

volatile uint32_t next_cpu = 1;
uint8_t ap_stack[(MAX_CPUS + 1) * 4096] __attribute__((aligned(4096)));
static volatile uint32_t online = 1, in_x2apic, ldr_set, flat_ldr, total, got[256], nmis;
static volatile uint32_t order[8], ordered, nmi_nested;
static volatile bool nmi_again;

static uint32_t patience = 20000; /* for interrupts that should not come */

void ap_main(unsigned index);

static void on_call(struct frame *f)
{
    (void)f;
    __atomic_fetch_add(&got[lapic_id() & 255], 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&total, 1, __ATOMIC_SEQ_CST);
    lapic_write(LAPIC_EOI, 0);
}

static void on_order(struct frame *f)
{
    if (ordered < 8)
        order[ordered] = (uint32_t)f->vector;
    ordered++;
    lapic_write(LAPIC_EOI, 0);
}

static void on_nmi(struct frame *f)
{
    (void)f;
    CHECK_EQ(nmi_nested, 0);
    nmi_nested = 1;
    if (nmi_again) {
        nmi_again = false;
        /* While one is handled, any number more are one more, after the IRET. */
        lapic_icr(ICR_NMI | ICR_ASSERT, lapic_id());
        lapic_icr(ICR_NMI | ICR_ASSERT, lapic_id());
        for (volatile unsigned i = 0; i < 1000; i++)
            ;
    }
    nmi_nested = 0;
    __atomic_fetch_add(&nmis, 1, __ATOMIC_SEQ_CST);
}

void ap_main(unsigned index)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) i = {sizeof(idt) - 1, (uint64_t)idt};
    uint32_t mode = 0, ldr = 0;

    __asm__ volatile("lidt %0" ::"m"(i));
    lapic_write(LAPIC_SVR, 0x1ff);
    if (index == 0 || rdmsr(0x1b) & 0x100)
        check_failed(__FILE__, __LINE__, "an application processor", rdmsr(0x1b), index);
    __atomic_fetch_add(&online, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        if (ldr != flat_ldr) {
            ldr = flat_ldr;
            lapic_write(LAPIC_DFR, ldr == 1 ? 0xffffffff : 0x0fffffff);
            lapic_write(LAPIC_LDR, ldr == 1 ? 1u << (24 + lapic_id())
                                            : (lapic_id() / 2) << 28 | 1u << (24 + lapic_id() % 2));
            __atomic_fetch_add(&ldr_set, 1, __ATOMIC_SEQ_CST);
        }
        if (mode != in_x2apic) {
            mode = in_x2apic;
            x2apic_enable();
            __atomic_fetch_add(&ldr_set, 1, __ATOMIC_SEQ_CST);
        }
        __asm__ volatile("sti; pause; cli" ::: "memory");
    }
}

static void start(uint32_t cpus)
{
    uint8_t *page0 = (uint8_t *)0;

    __asm__ volatile("" : "+r"(page0)); /* an address like any other here */
    gdt[6] = gdt_entry(0, 0xffffffff, 0xc09b);
    memset(page0, 0xcc, 4096);
    memcpy(page0, ap_boot, (unsigned long)(ap_boot_end - ap_boot));
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_icr(ICR_ALL_BUT_SELF | ICR_INIT | ICR_ASSERT, 0);
    lapic_icr(ICR_ALL_BUT_SELF | ICR_SIPI, 0);
    CHECK(soon(&online, cpus));
    CHECK(rdmsr(0x1b) & 0x100);
}

/* The processors of the set - and nobody else - get one interrupt. */
static void expect_set(uint32_t set)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < MAX_CPUS; i++)
        n += set >> i & 1;
    CHECK(soon(&total, n));
    for (volatile unsigned i = 0; i < patience; i++)
        ;
    breathe();
    for (unsigned i = 0; i < MAX_CPUS; i++)
        CHECK_EQ(got[i], set >> i & 1);
    total = 0;
    for (unsigned i = 0; i < MAX_CPUS; i++)
        got[i] = 0;
}

static uint32_t all(uint32_t cpus)
{
    return (1u << cpus) - 1;
}

static void shorthands(uint32_t cpus)
{
    lapic_icr(ICR_SELF | ICR_ASSERT | VEC_CALL, 0);
    expect_set(1);
    lapic_icr(ICR_ALL_BUT_SELF | ICR_ASSERT | VEC_CALL, 0);
    expect_set(all(cpus) & ~1u);
    lapic_icr(ICR_ALL | ICR_ASSERT | VEC_CALL, 0);
    expect_set(all(cpus));
    for (unsigned i = 0; i < cpus; i++) {
        lapic_icr(ICR_ASSERT | VEC_CALL, i);
        expect_set(1u << i);
    }
    lapic_icr(ICR_ASSERT | VEC_CALL, x2apic_on() ? 0xffffffff : 0xff);
    expect_set(all(cpus));
    lapic_icr(ICR_ASSERT | VEC_CALL, MAX_CPUS + 1); /* nobody */
    expect_set(0);
}

static void logical_flat(uint32_t cpus)
{
    ldr_set = 1;
    flat_ldr = 1;
    lapic_write(LAPIC_DFR, 0xffffffff);
    lapic_write(LAPIC_LDR, 1u << 24);
    CHECK(soon(&ldr_set, cpus));
    for (uint32_t set = 0; set <= all(cpus); set++) {
        lapic_icr(ICR_LOGICAL | ICR_ASSERT | VEC_CALL, set);
        expect_set(set);
    }
    for (uint32_t set = 1; set <= all(cpus); set++) {
        ioapic_route(GSI, VEC_CALL | REDIR_LOGICAL, set);
        line_set(GSI, 1), line_set(GSI, 0);
        expect_set(set);
    }
    /* lowest priority: exactly one of them */
    ioapic_route(GSI, VEC_CALL | REDIR_LOGICAL | 0x100, all(cpus));
    line_set(GSI, 1), line_set(GSI, 0);
    CHECK(soon(&total, 1));
    for (volatile unsigned i = 0; i < patience; i++)
        ;
    breathe();
    CHECK_EQ(total, 1);
    total = 0;
    for (unsigned i = 0; i < MAX_CPUS; i++)
        got[i] = 0;
    for (unsigned i = 0; i < cpus; i++) {
        ioapic_route(GSI, VEC_CALL, i);
        line_set(GSI, 1), line_set(GSI, 0);
        expect_set(1u << i);
    }
}

static void logical_cluster(uint32_t cpus)
{
    ldr_set = 1;
    flat_ldr = 2;
    lapic_write(LAPIC_DFR, 0x0fffffff);
    lapic_write(LAPIC_LDR, 1u << 24);
    CHECK(soon(&ldr_set, cpus));
    for (uint32_t cluster = 0; cluster < 2; cluster++)
        for (uint32_t set = 1; set < 4; set++) {
            lapic_icr(ICR_LOGICAL | ICR_ASSERT | VEC_CALL, cluster << 4 | set);
            expect_set((set << (2 * cluster)) & all(cpus));
        }
    lapic_icr(ICR_LOGICAL | ICR_ASSERT | VEC_CALL, 0xff);
    expect_set(all(cpus));
}

static void to_x2apic(uint32_t cpus)
{
    ldr_set = 1;
    in_x2apic = 1;
    x2apic_enable();
    CHECK(soon(&ldr_set, cpus));
    CHECK_EQ(lapic_read(LAPIC_LDR), 1);
    for (uint32_t set = 0; set <= all(cpus); set++) {
        lapic_icr(ICR_LOGICAL | ICR_ASSERT | VEC_CALL, set);
        expect_set(set);
    }
    lapic_icr(ICR_LOGICAL | ICR_ASSERT | VEC_CALL, 0x10001); /* another cluster */
    expect_set(0);
    for (uint32_t set = 1; set <= all(cpus); set++) {
        ioapic_route(GSI, VEC_CALL | REDIR_LOGICAL, set);
        line_set(GSI, 1), line_set(GSI, 0);
        expect_set(set);
    }
}

/* Two vectors raised behind closed doors come in by priority, not by age. */
static void orders(void)
{
    ordered = 0;
    lapic_icr(ICR_SELF | ICR_ASSERT | VEC_LOW, 0);
    lapic_icr(ICR_SELF | ICR_ASSERT | VEC_HIGH, 0);
    lapic_icr(ICR_SELF | ICR_ASSERT | VEC_HIGH, 0);
    CHECK_EQ(ordered, 0);
    CHECK(soon(&ordered, 2));
    breathe();
    CHECK_EQ(ordered, 2);
    CHECK_EQ(order[0], VEC_HIGH);
    CHECK_EQ(order[1], VEC_LOW);
    /* An NMI does not care about IF; and it is taken before the next instruction of note. */
    nmis = 0;
    lapic_icr(ICR_NMI | ICR_ASSERT, lapic_id());
    for (volatile unsigned i = 0; i < 1000 && !nmis; i++)
        ;
    CHECK_EQ(nmis, 1);
    nmis = 0;
    nmi_again = true;
    lapic_icr(ICR_NMI | ICR_ASSERT, lapic_id());
    for (volatile unsigned i = 0; i < 10000 && nmis < 2; i++)
        ;
    for (volatile unsigned i = 0; i < 10000; i++)
        ;
    CHECK_EQ(nmis, 2);
}

void guest_main(void)
{
    uint32_t r[4], cpus = (uint32_t)arg_number("cpus", 1);

    if (arg_number("slow", 0))
        patience = 200;
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    handlers[VEC_CALL] = on_call;
    handlers[VEC_LOW] = handlers[VEC_HIGH] = on_order;
    handlers[NMI] = on_nmi;
    CHECK_EQ(fw_cfg_number(5, 2), cpus);
    start(cpus);
    shorthands(cpus);
    logical_flat(cpus);
    logical_cluster(cpus);
    orders();
    cpuid(1, 0, r);
    if (!(r[2] & 1u << 21)) {
        CHECK(!arg_number("x2apic", 0));
        return;
    }
    to_x2apic(cpus);
    shorthands(cpus);
    orders();
}
