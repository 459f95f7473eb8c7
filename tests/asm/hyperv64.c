/* hyperv64.c - Hyper-V's interface by its MSRs and hypercalls (TLFS 6.0b), where CPUID tells of it;
 * where it does not, none of its MSRs is there. */
#include "guest.h"

enum {
    GUEST_OS_ID = 0x40000000,
    HYPERCALL,
    VP_INDEX,
    RESET,
    VP_RUNTIME = 0x40000010,
    TIME_REF_COUNT = 0x40000020,
    REFERENCE_TSC,
    TSC_FREQUENCY,
    APIC_FREQUENCY,
    EOI = 0x40000070,
    ICR,
    TPR,
    VP_ASSIST,
    CRASH_P0 = 0x40000100,
    CRASH_CTL = 0x40000105,
};
enum { VEC = 0x50, FAST = 1 << 16, OK = 0, BAD_CODE = 2, BAD_INPUT, BAD_ALIGNMENT, BAD_PARAMETER };
#define PAGE   __attribute__((aligned(4096)))
#define SVR    (*(volatile uint32_t *)0xfee000f0)
#define WINDOW 0x10000000000ull

static PAGE volatile uint8_t call_page[4096];
static PAGE volatile struct {
    uint32_t sequence, reserved;
    uint64_t scale;
    int64_t offset;
    uint8_t rest[4072];
} time_page;
static PAGE volatile uint64_t input[512];
static PAGE uint64_t t_pdpt[512], t_pd[512], t_pt[512];
static PAGE volatile uint32_t frame_a[1024], frame_b[1024];
static volatile uint32_t interrupts;
extern uint64_t pml4[512];

static void refused(uint32_t msr, bool read)
{
    if (read)
        EXPECT_FAULT(GP, 0, "rdmsr", "c"(msr) : "rax", "rdx");
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(msr), "a"(0x100), "d"(0));
}

static void nothing_there(void)
{
    static const uint32_t msrs[] = {GUEST_OS_ID,    HYPERCALL,     VP_INDEX,      RESET, VP_RUNTIME,
                                    TIME_REF_COUNT, REFERENCE_TSC, TSC_FREQUENCY, EOI,   TPR,
                                    CRASH_P0,       CRASH_CTL};

    for (unsigned i = 0; i < sizeof(msrs) / 4; i++)
        refused(msrs[i], true);
}

static bool shown(void)
{
    uint32_t r[4];

    cpuid(0x40000000, 0, r);
    if (r[1] != 0x7263694d || r[2] != 0x666f736f || r[3] != 0x76482074)
        return false;
    CHECK_EQ(r[0], 0x40000005);
    cpuid(0x40000001, 0, r);
    CHECK_EQ(r[0], 0x31237648);
    cpuid(0x40000003, 0, r);
    CHECK_EQ(r[0], 0xaf3);
    CHECK_EQ(r[3], 0x500);
    cpuid(0x40000004, 0, r);
    CHECK_EQ(r[0], 0xc2c);
    CHECK_EQ(r[1], 0x1fff);
    cpuid(0x40000100, 0, r); /* KVM's own, behind */
    CHECK_EQ(r[0], 0x40000101);
    CHECK_EQ(r[1], 0x4b4d564b);
    return true;
}

static uint64_t call(uint64_t control, uint64_t in, uint64_t out)
{
    uint64_t result;
    register uint64_t r8 __asm__("r8") = out;

    __asm__ volatile("call *%4"
                     : "=a"(result), "+c"(control), "+d"(in), "+r"(r8)
                     : "r"(call_page)
                     : "memory", "r9", "r10", "r11", "cc");
    return result;
}

static void hypercall_page(void)
{
    uint64_t at = (uint64_t)(uintptr_t)call_page;

    wrmsr(HYPERCALL, at | 1); /* nobody is known yet */
    CHECK_EQ(rdmsr(HYPERCALL) & 1, 0);
    wrmsr(GUEST_OS_ID, 0x8100000000000000);
    CHECK_EQ(rdmsr(GUEST_OS_ID), 0x8100000000000000);
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(HYPERCALL), "a"(1), "d"(0xff)); /* no memory there */
    wrmsr(HYPERCALL, at | 1);
    CHECK_EQ(rdmsr(HYPERCALL), at | 1);
    CHECK(call_page[0] == 0x0f && call_page[1] == 0x01 && call_page[3] == 0xc3);
    wrmsr(GUEST_OS_ID, 0);
    CHECK_EQ(rdmsr(HYPERCALL) & 1, 0);
    wrmsr(GUEST_OS_ID, 0x8100000000000000);
    wrmsr(HYPERCALL, at | 1);
    CHECK_EQ(call(0x8 | FAST, 1, 0), OK);
    CHECK_EQ(call(0x7fff | FAST, 0, 0), BAD_CODE);
    CHECK_EQ(call(0x8 | FAST | 1ull << 32, 0, 0), BAD_INPUT); /* it has no repetitions */
    CHECK_EQ(call(0x2, 4, 0), BAD_ALIGNMENT);
    CHECK_EQ(call(0x2, 0xffffffffff000, 0), BAD_ALIGNMENT); /* no memory there */
}

static void on_interrupt(struct frame *f)
{
    (void)f;
    interrupts++;
    wrmsr(EOI, 0);
}

static void taken(uint32_t count)
{
    __asm__ volatile("sti; nop; nop; cli" ::: "memory");
    for (unsigned i = 0; i < 1000000 && interrupts < count; i++)
        __asm__ volatile("sti; nop; nop; cli" ::: "memory");
    CHECK_EQ(interrupts, count);
}

static void apic(void)
{
    handlers[VEC] = on_interrupt;
    SVR = 0x1ff;
    wrmsr(ICR, 0x40000 | VEC); /* to itself */
    taken(1);
    CHECK_EQ(rdmsr(ICR) & 0xff, VEC);
    wrmsr(TPR, 0x60);
    CHECK_EQ(rdmsr(TPR), 0x60);
    CHECK_EQ(READ_CR(8), 6);
    wrmsr(ICR, 0x40000 | VEC);
    __asm__ volatile("sti; nop; nop; cli" ::: "memory");
    CHECK_EQ(interrupts, 1); /* below the priority */
    wrmsr(TPR, 0);
    taken(2);
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(TPR), "a"(0x100), "d"(0));
    EXPECT_FAULT(GP, 0, "rdmsr", "c"(EOI) : "rax", "rdx");
}

static void interrupts_by_call(void)
{
    CHECK_EQ(call(0xb | FAST, VEC, 1), OK);
    taken(3);
    CHECK_EQ(call(0xb | FAST, VEC, 2), OK); /* nobody has that number */
    CHECK_EQ(call(0xb | FAST, 5, 1), BAD_PARAMETER);
    input[0] = VEC;
    input[1] = 1;
    CHECK_EQ(call(0xb, (uint64_t)(uintptr_t)input, 0), OK);
    taken(4);
    input[1] = 0; /* a sparse set of banks 0 and 3 */
    input[2] = 0x9;
    input[3] = 1;
    input[4] = ~0ull;
    CHECK_EQ(call(0x15 | 2 << 17, (uint64_t)(uintptr_t)input, 0), OK);
    taken(5);
    CHECK_EQ(call(0x15 | 1 << 17, (uint64_t)(uintptr_t)input, 0), BAD_INPUT);
    input[1] = 1; /* all */
    CHECK_EQ(call(0x15, (uint64_t)(uintptr_t)input, 0), OK);
    taken(6);
    input[1] = 7;
    CHECK_EQ(call(0x15, (uint64_t)(uintptr_t)input, 0), BAD_PARAMETER);
}

static void map(volatile uint32_t *frame)
{
    *(volatile uint64_t *)&t_pt[0] = (uint64_t)(uintptr_t)frame | 3;
}

static void flush_by_call(void)
{
    volatile uint32_t *window = (void *)WINDOW;

    pml4[WINDOW >> 39 & 511] = (uint64_t)(uintptr_t)t_pdpt | 3;
    t_pdpt[WINDOW >> 30 & 511] = (uint64_t)(uintptr_t)t_pd | 3;
    t_pd[0] = (uint64_t)(uintptr_t)t_pt | 3;
    frame_a[0] = 0xaaaa;
    frame_b[0] = 0xbbbb;
    map(frame_a);
    CHECK_EQ(window[0], 0xaaaa);
    map(frame_b);
    input[0] = READ_CR(3);
    input[1] = 0;
    input[2] = 1; /* processor 0 */
    CHECK_EQ(call(0x2, (uint64_t)(uintptr_t)input, 0), OK);
    CHECK_EQ(window[0], 0xbbbb);
    map(frame_a);
    input[1] = 1; /* all processors */
    input[2] = 0;
    input[3] = WINDOW;
    CHECK_EQ(call(0x3 | 1ull << 32, (uint64_t)(uintptr_t)input, 0), 1ull << 32);
    CHECK_EQ(window[0], 0xaaaa);
    map(frame_b);
    input[1] = 0;
    input[2] = 0; /* sparse: bank 0, processor 0 */
    input[3] = 1;
    input[4] = 1;
    CHECK_EQ(call(0x13 | 1 << 17, (uint64_t)(uintptr_t)input, 0), OK);
    CHECK_EQ(window[0], 0xbbbb);
    CHECK_EQ(call(0x3, (uint64_t)(uintptr_t)input, 0), BAD_INPUT); /* a list of nothing */
}

static uint64_t page_time(void)
{
    for (;;) {
        uint32_t sequence = time_page.sequence;
        uint64_t scale = time_page.scale, tsc = rdtsc();
        int64_t offset = time_page.offset;
        if (!sequence)
            return rdmsr(TIME_REF_COUNT);
        if (time_page.sequence == sequence)
            return (uint64_t)((unsigned __int128)tsc * scale >> 64) + (uint64_t)offset;
    }
}

static void clocks(void)
{
    uint64_t last = 0, run = rdmsr(VP_RUNTIME);

    refused(TIME_REF_COUNT, false);
    refused(TSC_FREQUENCY, false);
    CHECK(rdmsr(TSC_FREQUENCY) >= 1000000);
    CHECK_EQ(rdmsr(APIC_FREQUENCY), 1000000000);
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(REFERENCE_TSC), "a"(1), "d"(0xff)); /* no memory there */
    wrmsr(REFERENCE_TSC, (uint64_t)(uintptr_t)&time_page | 1);
    CHECK_EQ(rdmsr(REFERENCE_TSC), (uint64_t)(uintptr_t)&time_page | 1);
    CHECK(time_page.sequence != 0 && time_page.scale != 0);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t before = rdmsr(TIME_REF_COUNT), now = page_time(), after = rdmsr(TIME_REF_COUNT);
        CHECK(before >= last && before <= now && now <= after);
        last = after;
    }
    uint32_t sequence = time_page.sequence;
    wrmsr(0x10, rdtsc() + (1ull << 40)); /* the TSC is another one: so is the page */
    CHECK(time_page.sequence != sequence);
    uint64_t now = page_time();
    CHECK(now >= last && now - last < 600000000); /* a minute */
    CHECK(rdmsr(VP_RUNTIME) >= run);
    refused(VP_RUNTIME, false);
}

static void crash_and_others(void)
{
    for (unsigned i = 0; i < 5; i++)
        wrmsr(CRASH_P0 + i, 0x1111111111111111ull * (i + 1));
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(rdmsr(CRASH_P0 + i), 0x1111111111111111ull * (i + 1));
    CHECK_EQ(rdmsr(CRASH_CTL), 1ull << 63);
    CHECK_EQ(rdmsr(VP_INDEX), 0);
    refused(VP_INDEX, false);
    CHECK_EQ(rdmsr(RESET), 0);
    wrmsr(RESET, 0);
    wrmsr(VP_ASSIST, (uint64_t)(uintptr_t)input | 1);
    CHECK_EQ(rdmsr(VP_ASSIST), (uint64_t)(uintptr_t)input | 1);
    refused(0x40000080, true); /* SCONTROL: no synthetic interrupt controller is shown */
    refused(0x400000b0, true);
    wrmsr(HYPERCALL, rdmsr(HYPERCALL) | 2); /* locked: */
    wrmsr(HYPERCALL, 0);
    CHECK_EQ(rdmsr(HYPERCALL) & 3, 3);
}

void guest_main(void)
{
    if (!shown()) {
        nothing_there();
        return;
    }
    hypercall_page();
    apic();
    interrupts_by_call();
    flush_by_call();
    clocks();
    crash_and_others();
}
