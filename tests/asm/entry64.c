/* entry64.c - interrupt gates, IST, double faults, SYSCALL/SYSENTER, MSR and CR rules, 32-bit code
 * in long mode. */
#include "guest.h"

static uint8_t ist_stack[4096] __attribute__((aligned(16)));
extern uint8_t stubs[];

/* ---- IST and double fault ---- */

static volatile uint64_t handler_sp, handler_error;

static void note_sp(struct frame *f)
{
    handler_sp = (uint64_t)f;
    handler_error = f->error;
    f->ip = resume_ip;
    resume_ip = 0;
}

static bool on_ist(void)
{
    return handler_sp >= (uint64_t)ist_stack &&
           handler_sp < (uint64_t)ist_stack + sizeof(ist_stack);
}

static void ist(void)
{
    *(uint64_t *)(tss + 36) = (uint64_t)ist_stack + sizeof(ist_stack); /* IST1 */
    idt_set(UD, (uint64_t)stubs + UD * 16, SEL_CODE, 0x0e, 1);
    handlers[UD] = note_sp;
    EXPECT("ud2", );
    CHECK(on_ist());
    handlers[UD] = 0;
    idt_set(UD, (uint64_t)stubs + UD * 16, SEL_CODE, 0x0e, 0);

    /* #NP while delivering #GP: both contributory, so #DF with error code 0. */
    idt_set(DF, (uint64_t)stubs + DF * 16, SEL_CODE, 0x0e, 1);
    idt[GP].lo &= ~(1ull << 47);
    handlers[DF] = note_sp;
    handler_error = 1;
    handler_sp = 0;
    EXPECT("mov %w0, %%ds", "r"(0xfff8));
    CHECK(on_ist());
    CHECK_EQ(handler_error, 0);
    idt[GP].lo |= 1ull << 47;
    handlers[DF] = 0;

    /* #NP while delivering a software interrupt is just #NP, naming the gate, without EXT. */
    idt_set(0x91, (uint64_t)stubs, SEL_CODE, 0x0e, 0);
    idt[0x91].lo &= ~(1ull << 47);
    EXPECT_FAULT(NP, 0x91 * 8 + 2, "int $0x91", );
    /* While delivering #UD (benign), too, but with EXT. */
    idt[UD].lo &= ~(1ull << 47);
    EXPECT_FAULT(NP, UD * 8 + 3, "ud2", );
    idt[UD].lo |= 1ull << 47;
    /* Gate to a data segment, to a null one, beyond the limit. */
    idt_set(0x91, (uint64_t)stubs, SEL_DATA, 0x0e, 0);
    EXPECT_FAULT(GP, SEL_DATA, "int $0x91", );
    idt_set(0x91, (uint64_t)stubs, 0, 0x0e, 0);
    EXPECT_FAULT(GP, 0, "int $0x91", );
    idt_set(0x91, (uint64_t)stubs, SEL_CODE, 0x05, 0);
    EXPECT_FAULT(GP, 0x91 * 8 + 2, "int $0x91", );
}

/* ---- interrupt against trap gate ---- */

static volatile uint64_t gate_flags;
static void note_flags(struct frame *f)
{
    (void)f;
    __asm__ volatile("pushfq; pop %0" : "=r"(gate_flags));
}

static void gate_types(void)
{
    handlers[0x92] = note_flags;
    idt_set(0x92, (uint64_t)stubs + 0x92 * 16, SEL_CODE, 0x0f, 0);
    __asm__ volatile("sti; int $0x92; cli");
    CHECK_EQ(gate_flags & 0x200, 0x200);
    idt_set(0x92, (uint64_t)stubs + 0x92 * 16, SEL_CODE, 0x0e, 0);
    __asm__ volatile("sti; int $0x92; cli");
    CHECK_EQ(gate_flags & 0x200, 0);
}

/* ---- SYSCALL and SYSRET ---- */

extern char syscall_entry[], syscall_back[], sysenter_entry[];
volatile uint64_t syscall_rcx, syscall_r11, syscall_cs, syscall_flags, syscall_sp, user_cs_after,
    user_ss_after;

__asm__("syscall_entry:\n"
        "mov %rcx, syscall_rcx\n"
        "mov %r11, syscall_r11\n"
        "mov %cs, syscall_cs\n"
        "mov %rsp, syscall_sp\n"
        "mov $stack_top - 256, %rsp\n"
        "pushfq\n"
        "popq syscall_flags\n"
        "mov syscall_sp, %rsp\n"
        "mov syscall_rcx, %rcx\n"
        "mov syscall_r11, %r11\n"
        "sysretq\n"
        "sysenter_entry:\n"
        "mov %cs, syscall_cs\n"
        "mov $user_sysexit, %rdx\n"
        "mov %rbp, %rcx\n"
        "sysexitq\n");

static void user_syscall(void)
{
    __asm__ volatile("stc\n"
                     "syscall\n"
                     "syscall_back:\n"
                     "setc user_carry\n"
                     "mov %%cs, user_cs_after\n"
                     "mov %%ss, user_ss_after\n" ::
                         : "rcx", "r11", "cc", "memory");
    USER_EXIT();
}
volatile uint8_t user_carry;

static void syscalls(void)
{
    gdt[SEL_FREE / 8] = gdt[1];
    wrmsr(0xc0000081, (uint64_t)SEL_CODE << 32 | 0x13ull << 48); /* CS 0x23, SS 0x1b for SYSRET */
    gdt[3] = gdt_entry(0, 0xffffffff, 0xc0f3);
    gdt[4] = gdt_entry(0, 0xffffffff, 0xa0fb);
    wrmsr(0xc0000082, (uint64_t)syscall_entry);
    wrmsr(0xc0000084, 0x1);
    /* The user segments have changed places for this test: enter ring 3 by hand. */
    gdt[SEL_FREE / 8 + 1] = gdt_entry(0, 0xffffffff, 0xa0fb);
    gdt[SEL_FREE / 8 + 2] = gdt_entry(0, 0xffffffff, 0xc0f3);
    gdt[3] = gdt[SEL_FREE / 8 + 1];
    gdt[4] = gdt[SEL_FREE / 8 + 2];
    wrmsr(0xc0000081, (uint64_t)SEL_CODE << 32 | (uint64_t)(0x1b - 16) << 48);
    run_user(user_syscall);
    CHECK_EQ(syscall_rcx, (uint64_t)syscall_back);
    CHECK_EQ(syscall_cs, SEL_CODE);
    CHECK_EQ(syscall_r11 & 1, 1);
    CHECK_EQ(syscall_flags & 1, 0); /* SFMASK */
    CHECK_EQ(user_carry, 1);
    CHECK_EQ(user_cs_after, SEL_UCODE);
    CHECK_EQ(user_ss_after, SEL_UCODE - 8);
    /* Off: #UD. */
    wrmsr(0xc0000080, rdmsr(0xc0000080) & ~1ull);
    EXPECT_FAULT(UD, 0, "syscall", : "rcx", "r11");
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
}

static bool intel;
volatile uint64_t sysexit_cs;
static void user_sysenter(void)
{
    __asm__ volatile("mov %%rsp, %%rbp\n"
                     "sysenter\n"
                     ".globl user_sysexit\n"
                     "user_sysexit:\n"
                     "mov %%cs, sysexit_cs\n" ::
                         : "rcx", "rdx", "rbp", "memory");
    USER_EXIT();
}

static void sysenter(void)
{
    if (!intel) {
        EXPECT_FAULT(UD, 0, "sysenter", );
        return;
    }
    wrmsr(0x174, 0);
    EXPECT_FAULT(GP, 0, "sysenter", );
    /* CS, SS, then 32-bit user CS, SS, 64-bit user CS, SS: eight descriptors in a row. */
    gdt[SEL_FREE / 8 + 8] = gdt_entry(0, 0xffffffff, 0xa09b);
    gdt[SEL_FREE / 8 + 9] = gdt_entry(0, 0xffffffff, 0xc093);
    gdt[SEL_FREE / 8 + 12] = gdt_entry(0, 0xffffffff, 0xa0fb);
    gdt[SEL_FREE / 8 + 13] = gdt_entry(0, 0xffffffff, 0xc0f3);
    wrmsr(0x174, SEL_FREE + 64);
    wrmsr(0x175, (uint64_t)ist_stack + 2048);
    wrmsr(0x176, (uint64_t)sysenter_entry);
    run_user(user_sysenter);
    CHECK_EQ(syscall_cs, SEL_FREE + 64);
    CHECK_EQ(sysexit_cs, SEL_FREE + 96 + 3);
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0x176), "a"(0), "d"(0x80000000));
}

/* ---- compatibility mode ---- */

extern char compat_entry[];
volatile uint32_t compat_ok, compat_sp;
__asm__(".code32\n"
        "compat_entry:\n"
        "mov $0x12345678, %eax\n"
        "inc %eax\n" /* 0x40: a REX prefix in 64-bit mode */
        "push %eax\n"
        "mov %esp, compat_sp\n"
        "pop compat_ok\n"
        "lret\n"
        ".code64\n");

static void compatibility(void)
{
    uint64_t before, after;
    struct {
        uint32_t offset;
        uint16_t sel;
    } __attribute__((packed)) target = {(uint32_t)(uint64_t)compat_entry, SEL_FREE + 0x80};
    gdt[SEL_FREE / 8 + 16] = gdt_entry(0, 0xffffffff, 0xc09b);
    /* 32-bit code needs real segments; a return to ring 3 has made null ones of them. */
    __asm__ volatile("mov %2, %%ss\n"
                     "mov %2, %%ds\n"
                     "mov %%rsp, %0\n"
                     "lcall *%3\n"
                     "mov %%rsp, %1\n"
                     : "=&r"(before), "=&r"(after)
                     : "r"(SEL_DATA), "m"(target)
                     : "rax", "memory");
    CHECK_EQ(before, after);
    CHECK_EQ(compat_ok, 0x12345679);
    /* L and D together. */
    gdt[SEL_FREE / 8 + 16] = gdt_entry(0, 0xffffffff, 0xe09b);
    EXPECT_FAULT(GP, SEL_FREE + 0x80, "lcall *%0", "m"(target) : "memory");
}

/* ---- call gates in long mode ---- */

extern char gate_target[];
volatile uint64_t gate_cs, gate_ss, gate_ran;
__asm__("gate_target:\n"
        "mov %cs, gate_cs\n"
        "mov %ss, gate_ss\n"
        "incq gate_ran\n"
        "lretq\n");

static const struct {
    uint32_t offset;
    uint16_t sel;
} __attribute__((packed)) through_gate = {0, SEL_FREE + 0x90 + 3};

static void user_gate(void)
{
    __asm__ volatile("lcall *%0" ::"m"(through_gate) : "memory");
    USER_EXIT();
}

static void call_gates(void)
{
    uint64_t t = (uint64_t)gate_target;
    uint64_t *gate = &gdt[(SEL_FREE + 0x90) / 8];
    gate[0] = (t & 0xffff) | SEL_CODE << 16 | 0xecull << 40 | (t >> 16 & 0xffff) << 48;
    gate[1] = t >> 32;
    run_user(user_gate);
    CHECK_EQ(gate_ran, 1);
    CHECK_EQ(gate_cs, SEL_CODE);
    CHECK_EQ(gate_ss, 0); /* null, RPL 0 */
    EXPECT_FAULT(-1ull, caught.error, "lcall *%0", "m"(through_gate) : "memory");
    CHECK_EQ(gate_ran, 2);
    gate[0] &= ~(1ull << 47);
    EXPECT_FAULT(NP, SEL_FREE + 0x90, "lcall *%0", "m"(through_gate) : "memory");
    gate[0] |= 1ull << 47;
    gate[1] |= 5ull << 40;
    EXPECT_FAULT(GP, SEL_FREE + 0x90, "lcall *%0", "m"(through_gate) : "memory");
    gate[1] = 0;
}

/* ---- control registers and MSRs ---- */

static void control(void)
{
    EXPECT_FAULT(GP, 0, "mov %0, %%cr0", "r"(1ul << 32 | READ_CR(0)));
    EXPECT_FAULT(GP, 0, "mov %0, %%cr0", "r"(READ_CR(0) & ~1ul));
    EXPECT_FAULT(GP, 0, "mov %0, %%cr0", "r"((READ_CR(0) | 0x20000000) & ~0x40000000ul));
    EXPECT_FAULT(GP, 0, "mov %0, %%cr0", "r"(READ_CR(0) & ~0x80000000ul)); /* in 64-bit code */
    EXPECT_FAULT(GP, 0, "mov %0, %%cr4", "r"(READ_CR(4) & ~0x20ul));
    EXPECT_FAULT(GP, 0, "mov %0, %%cr4", "r"(READ_CR(4) | 1ul << 31));
    EXPECT_FAULT(GP, 0, "mov %0, %%cr8", "r"(16ul));
    EXPECT_FAULT(UD, 0, ".byte 0x0f, 0x20, 0xc8", : "rax"); /* CR1 */
    EXPECT_FAULT(GP, 0, "rdmsr", "c"(0xdeadbeef) : "rax", "rdx");
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0xdeadbeef), "a"(0), "d"(0));
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0xc0000080), "a"(0x0), "d"(0)); /* LME while paging */
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0xc0000100), "a"(0), "d"(0x80000000));
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0x277), "a"(0x02020202), "d"(0));
    uint64_t tsc = rdtsc();
    CHECK(rdtsc() > tsc);
    wrmsr(0x10, 1ull << 40);
    tsc = rdtsc();
    CHECK(tsc >= 1ull << 40 && tsc < (1ull << 40) + (1ull << 36));
    wrmsr(0xc0000101, 0x1111);
    wrmsr(0xc0000102, 0x2222);
    __asm__ volatile("swapgs");
    CHECK_EQ(rdmsr(0xc0000101), 0x2222);
    CHECK_EQ(rdmsr(0xc0000102), 0x1111);
}

static volatile uint64_t umip_vector, umip_value;
static void user_sgdt(void)
{
    static uint8_t image[10];
    umip_vector = EXPECT("sgdt %0", "m"(image) : "memory");
    umip_value = *(uint16_t *)image;
    USER_EXIT();
}

static void umip(void)
{
    uint32_t r[4];
    run_user(user_sgdt);
    CHECK_EQ(umip_vector, -1ull);
    CHECK_EQ(umip_value, sizeof(gdt) - 1);
    cpuid(7, 0, r);
    if (!(r[2] & 4))
        return;
    WRITE_CR(4, READ_CR(4) | 1 << 11);
    run_user(user_sgdt);
    CHECK_EQ(umip_vector, GP);
    WRITE_CR(4, READ_CR(4) & ~(1ul << 11));
}

static void selectors(void)
{
    uint64_t v = 0;
    uint8_t zf;
    EXPECT_FAULT(GP, SEL_TSS, "mov %w0, %%ds", "r"(SEL_TSS));
    EXPECT_FAULT(GP, SEL_DATA, "ltr %w0", "r"(SEL_DATA));
    EXPECT_FAULT(GP, SEL_TSS, "ltr %w0", "r"(SEL_TSS)); /* busy */
    gdt[SEL_FREE / 8 + 30] = gdt_entry(0, 0xfff, 0x13); /* not present */
    EXPECT_FAULT(NP, SEL_FREE + 240, "mov %w0, %%es", "r"(SEL_FREE + 240));
    EXPECT_FAULT(SS, SEL_FREE + 240, "mov %w0, %%ss", "r"(SEL_FREE + 240));
    EXPECT_FAULT(GP, SEL_UDATA & ~3, "mov %w0, %%ss", "r"(SEL_UDATA));
    __asm__("lsl %w2, %k0; setz %1" : "+r"(v), "=r"(zf) : "r"(SEL_DATA));
    CHECK_EQ(zf, 1);
    CHECK_EQ(v, 0xffffffff);
    __asm__("lar %w2, %k0; setz %1" : "+r"(v), "=r"(zf) : "r"(SEL_CODE));
    CHECK_EQ(zf, 1);
    CHECK_EQ(v & 0xf0ff00, 0xa09b00);
    __asm__("verw %w1; setz %0" : "=r"(zf) : "r"(SEL_CODE));
    CHECK_EQ(zf, 0);
    __asm__("verr %w1; setz %0" : "=r"(zf) : "r"(SEL_CODE));
    CHECK_EQ(zf, 1);
    __asm__("lsl %w2, %k0; setz %1" : "+r"(v), "=r"(zf) : "r"(0xfff8));
    CHECK_EQ(zf, 0);
}

/* IRETQ without a change of ring still pops SS:RSP; NT faults. */
static void iretq(void)
{
    uint64_t sp;
    __asm__ volatile("mov %%rsp, %%rax\n"
                     "push %1\n"
                     "push %%rax\n"
                     "pushfq\n"
                     "push %2\n"
                     "push $1f\n"
                     "iretq\n"
                     "1: mov %%rsp, %0\n"
                     "sub %%rax, %0\n"
                     : "=&r"(sp)
                     : "r"((uint64_t)SEL_DATA), "r"((uint64_t)SEL_CODE)
                     : "rax", "memory");
    CHECK_EQ(sp, 0);
    EXPECT_FAULT(GP, 0,
                 "pushfq; orl $0x4000, (%%rsp); popfq; mov %%rsp, %%rax\n"
                 "iretq",
                 : "rax", "memory");
    __asm__ volatile("pushfq; andl $~0x4000, (%%rsp); popfq" ::: "memory", "cc");
}

static void hypercall(void)
{
    uint32_t r[4];
    uint64_t v;
    cpuid(0x40000000, 0, r);
    if (r[1] != 0x4b4d564b)
        return;
    __asm__ volatile(".byte 0x0f, 0x01, 0xc1" : "=a"(v) : "a"(0x7fffffff) : "memory");
    CHECK_EQ(v, -1000ull);
    __asm__ volatile(".byte 0x0f, 0x01, 0xd9" : "=a"(v) : "a"(0x7fffffff) : "memory");
    CHECK_EQ(v, -1000ull);
    cpuid(0x40000001, 0, r);
    if (!(r[0] & 1 << 7))
        return;
    /* KVM_HC_KICK_CPU that comes before the HLT is not lost, and nothing else could end that. */
    cpuid(1, 0, r);
    __asm__ volatile(".byte 0x0f, 0x01, 0xc1"
                     : "=a"(v)
                     : "a"(5), "b"(0ull), "c"((uint64_t)(r[1] >> 24))
                     : "memory");
    CHECK_EQ(v, 0);
    for (volatile unsigned n = 0; n < 1000; n++)
        ;
    __asm__ volatile("cli; hlt");
}

void guest_main(void)
{
    uint32_t r[4];
    cpuid(0, 0, r);
    intel = r[1] == 0x756e6547;
    ist();
    gate_types();
    syscalls();
    sysenter();
    compatibility();
    call_gates();
    control();
    umip();
    selectors();
    iretq();
    hypercall();
}
