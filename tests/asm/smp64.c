/* smp64.c - application processors: INIT/SIPI, IPIs, NMI, locked operations, TLB shoot-down, code
 * changed under another processor's feet. Works with one processor, too: then it only waits. */
#include "guest.h"

#define APIC ((volatile uint32_t *)0xfee00000)
#define EOI  (0xb0 / 4)
#define SVR  (0xf0 / 4)
#define ICR0 (0x300 / 4)
#define ICR1 (0x310 / 4)

#define VEC_CALL 0x41
#define MAX_CPUS 8

extern char trampoline[], trampoline_end[];
__asm__(".code16\n"
        "trampoline:\n"
        "cli\n"
        "mov %cs, %ax\n"
        "mov %ax, %ds\n"
        "lgdtl trampoline_gdtr - trampoline\n"
        "mov %cr0, %eax\n"
        "or $1, %eax\n"
        "mov %eax, %cr0\n"
        "ljmpl $0x30, $trampoline32\n"
        "trampoline_gdtr: .word 511\n"
        ".long gdt\n"
        "trampoline_end:\n"
        ".code32\n"
        "trampoline32:\n"
        "mov $0x10, %eax\n"
        "mov %eax, %ds\n"
        "mov %eax, %ss\n"
        "mov $1, %edi\n"
        "lock xadd %edi, cpus_started\n"
        "mov %edi, %ebx\n"
        "shl $12, %ebx\n"
        "lea ap_stacks(%ebx), %esp\n"
        "call enable_long\n"
        "ljmp $8, $ap_start64\n"
        ".code64\n"
        "ap_start64:\n"
        "mov $0x10, %eax\n"
        "mov %eax, %es\n"
        "call ap_main\n");

volatile uint32_t cpus_started = 1;
uint8_t ap_stacks[(MAX_CPUS + 1) * 4096] __attribute__((aligned(4096)));
static volatile uint32_t cpus_ready = 1, nmis, calls;
static volatile uint32_t phase, done;
static volatile uint64_t counter, narrow;
static volatile uint8_t lock_area[128] __attribute__((aligned(64)));
extern uint64_t pml4[512];

void ap_main(unsigned index);

/* ---- the window both sides look through ---- */
#define WINDOW 0x10000000000ull
#define PAGE   __attribute__((aligned(4096)))
static PAGE uint64_t t_pdpt[512], t_pd[512], t_pt[512];
static PAGE volatile uint32_t frame_a[1024], frame_b[1024];
static volatile uint32_t *const window = (void *)WINDOW;

static void on_nmi(struct frame *f)
{
    (void)f;
    __atomic_fetch_add(&nmis, 1, __ATOMIC_SEQ_CST);
}

static void on_call(struct frame *f)
{
    (void)f;
    __asm__ volatile("invlpg (%0)" ::"r"(window) : "memory");
    __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST);
    APIC[EOI] = 0;
}

static void ipi(uint32_t command)
{
    APIC[ICR1] = 0;
    APIC[ICR0] = command;
    while (APIC[ICR0] & 1 << 12)
        ;
}

#define ALL_BUT_SELF 0xc0000

static bool wait_for(volatile uint32_t *v, uint32_t want)
{
    uint64_t until = rdtsc() + 80000000000ull; /* a loaded host is slow */
    while (__atomic_load_n(v, __ATOMIC_SEQ_CST) != want)
        if (rdtsc() > until)
            return false;
        else
            __asm__ volatile("pause");
    return true;
}

/* All processors do this at once. */
static void work(unsigned index)
{
    for (unsigned i = 0; i < 20000; i++) {
        __asm__ volatile("lock incq %0" : "+m"(counter));
        __asm__ volatile("lock incl %0" : "+m"(*(volatile uint32_t *)(lock_area + 62))); /* split */
    }
    for (unsigned i = 0; i < 20000;) {
        uint64_t old = narrow, seen;
        __asm__ volatile("lock cmpxchgq %2, %1"
                         : "=a"(seen), "+m"(narrow)
                         : "r"(old + 1), "0"(old)
                         : "memory");
        i += seen == old;
    }
    (void)index;
}

/* Code another processor rewrites while this one calls it: MOV $imm32, %eax; RET. */
static PAGE uint8_t code[64] = {0xb8, 0, 0, 0, 0, 0xc3};
static volatile uint32_t code_version;

static uint32_t call_code(void)
{
    uint32_t v;
    __asm__ volatile("call *%1" : "=a"(v) : "r"(code) : "memory");
    return v;
}

/* Pages that all others call for the first time while this one, which may store to them, does. */
#define FRESH 200
static PAGE uint8_t fresh[FRESH][4096];
static volatile uint32_t turn, agreed;

static uint32_t call_fresh(unsigned n)
{
    uint32_t v;
    __asm__ volatile("call *%1" : "=a"(v) : "r"(fresh[n]) : "memory");
    return v;
}

static void store_fresh(unsigned n, uint32_t v)
{
    *(volatile uint32_t *)(fresh[n] + 1) = v;
}

/* Until the second version is seen, however many of the first were. */
static void run_fresh(void)
{
    for (unsigned n = 0; n < FRESH; n++) {
        while (turn <= n)
            __asm__ volatile("pause");
        while (call_fresh(n) != 2)
            __asm__ volatile("pause");
        __atomic_fetch_add(&agreed, 1, __ATOMIC_SEQ_CST);
    }
}

static void change_fresh(unsigned cpus)
{
    for (unsigned n = 0; n < FRESH; n++) {
        fresh[n][0] = 0xb8; /* mov $1, %eax; ret */
        store_fresh(n, 1);
        fresh[n][5] = 0xc3;
        agreed = 0;
        __atomic_store_n(&turn, n + 1, __ATOMIC_SEQ_CST);
        for (volatile unsigned i = 0; i < n * 7 % 1024; i++)
            ;
        store_fresh(n, 2);
        CHECK(wait_for(&agreed, cpus - 1));
    }
}

void ap_main(unsigned index)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) i = {sizeof(idt) - 1, (uint64_t)idt};
    __asm__ volatile("lidt %0" ::"m"(i));
    APIC[SVR] = 0x1ff;
    __atomic_fetch_add(&cpus_ready, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        uint32_t now = phase;
        if (now == 1) {
            work(index);
            __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
            while (phase == 1)
                __asm__ volatile("pause");
        } else if (now == 2) {
            /* Shoot-down: keeps reading until the IPI has dropped the entry. */
            uint32_t v = *window;
            __asm__ volatile("sti; nop; cli");
            if (v == 2) {
                __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
                while (phase == 2)
                    __asm__ volatile("sti; pause; cli");
            }
        } else if (now == 3) {
            /* What was stored before the version must be what is executed after it. */
            uint32_t version = code_version;
            uint32_t r[4];
            cpuid(0, 0, r); /* serializes */
            uint32_t got = call_code();
            if (got < version)
                check_failed(__FILE__, __LINE__, "code version", got, version);
            if (version == 1000) {
                __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
                while (phase == 3)
                    __asm__ volatile("pause");
            }
        } else if (now == 4) {
            run_fresh();
            while (phase == 4)
                __asm__ volatile("pause");
        } else {
            __asm__ volatile("sti; hlt; cli");
        }
    }
}

static void start(unsigned cpus)
{
    gdt[6] = gdt_entry(0, 0xffffffff, 0xc09b); /* 0x30: 32-bit code for the trampoline */
    memcpy((void *)0x8000, trampoline, (unsigned long)(trampoline_end - trampoline));
    APIC[SVR] = 0x1ff;
    ipi(ALL_BUT_SELF | 0x4500);
    ipi(ALL_BUT_SELF | 0x4608);
    CHECK(wait_for(&cpus_ready, cpus));
    CHECK_EQ(cpus_started, cpus);
    /* A second SIPI to a running processor is ignored. */
    ipi(ALL_BUT_SELF | 0x4608);
}

static void next_phase(uint32_t p)
{
    done = 0;
    __atomic_store_n(&phase, p, __ATOMIC_SEQ_CST);
    ipi(ALL_BUT_SELF | VEC_CALL); /* wakes them from HLT */
}

void guest_main(void)
{
    uint32_t r[4];
    cpuid(1, 0, r);
    unsigned cpus = r[1] >> 16 & 0xff;
    if (cpus == 0)
        cpus = 1;
    pml4[WINDOW >> 39 & 511] = (uint64_t)t_pdpt | 3;
    t_pdpt[0] = (uint64_t)t_pd | 3;
    t_pd[0] = (uint64_t)t_pt | 3;
    t_pt[0] = (uint64_t)frame_a | 3;
    frame_a[0] = 1;
    frame_b[0] = 2;
    handlers[NMI] = on_nmi;
    handlers[VEC_CALL] = on_call;
    start(cpus);

    next_phase(1);
    work(0);
    CHECK(wait_for(&done, cpus - 1));
    CHECK_EQ(counter, 20000ull * cpus);
    CHECK_EQ(*(volatile uint32_t *)(lock_area + 62), 20000 * cpus);
    CHECK_EQ(narrow, 20000ull * cpus);

    next_phase(2);
    for (volatile unsigned n = 0; n < 100000; n++)
        ;
    t_pt[0] = (uint64_t)frame_b | 3;
    ipi(ALL_BUT_SELF | VEC_CALL);
    CHECK(wait_for(&done, cpus - 1));

    code_version = 0;
    next_phase(3);
    for (uint32_t v = 1; v <= 1000; v++) {
        *(volatile uint32_t *)(code + 1) = v;
        code_version = v;
        if (v % 64 == 0)
            CHECK_EQ(call_code(), v);
    }
    CHECK(wait_for(&done, cpus - 1));

    next_phase(4);
    change_fresh(cpus);
    phase = 5;

    nmis = 0;
    ipi(ALL_BUT_SELF | 0x400);
    CHECK(wait_for(&nmis, cpus - 1));
}
