/* ring32.c - 32-bit protection: segment limits and types, call gates with parameters, conforming
 * code, returns to outer rings, 16-bit segments. */
#include "guest.h"

#define SEL(n) (SEL_FREE + (n)*8)

struct farptr {
    uint32_t offset;
    uint16_t sel;
} __attribute__((packed));

static uint64_t call_gate(uint16_t sel, void *target, unsigned params, unsigned dpl, unsigned type)
{
    uint32_t t = (uint32_t)target;
    return (t & 0xffff) | (uint64_t)sel << 16 | (uint64_t)params << 32 |
           (uint64_t)(0x80 | dpl << 5 | type) << 40 | (uint64_t)(t >> 16) << 48;
}

/* ---- limits and types ---- */

static uint8_t small[64];

static void limits(void)
{
    uint32_t base = (uint32_t)small;
    gdt[SEL(0) / 8] = gdt_entry(base, 15, 0x4093); /* read/write, 16 bytes */
    gdt[SEL(1) / 8] = gdt_entry(base, 15, 0x4091); /* read-only */
    gdt[SEL(2) / 8] = gdt_entry(base, 15, 0x4097); /* expand-down: offsets above 15 */
    gdt[SEL(3) / 8] = gdt_entry(base, 15, 0x4099); /* execute-only code */
    __asm__ volatile("mov %w0, %%fs" ::"r"(SEL(0)));
    EXPECT_OK("movl $1, %%fs:12", );
    EXPECT_FAULT(GP, 0, "movl $1, %%fs:13", );
    EXPECT_FAULT(GP, 0, "movb $1, %%fs:16", );
    EXPECT_FAULT(GP, 0, "movl %%fs:-2, %%eax", : "eax");
    CHECK_EQ(*(uint32_t *)(small + 12), 1);
    __asm__ volatile("mov %w0, %%fs" ::"r"(SEL(1)));
    EXPECT_OK("movl %%fs:0, %%eax", : "eax");
    EXPECT_FAULT(GP, 0, "movl $1, %%fs:0", );
    __asm__ volatile("mov %w0, %%fs" ::"r"(SEL(2)));
    EXPECT_OK("movl $5, %%fs:16", );
    EXPECT_FAULT(GP, 0, "movl $5, %%fs:15", );
    EXPECT_FAULT(GP, SEL(3), "mov %w0, %%fs", "r"(SEL(3)));
    __asm__ volatile("mov %w0, %%fs" ::"r"(0));
    EXPECT_FAULT(GP, 0, "movl %%fs:0, %%eax", : "eax");
    EXPECT_FAULT(GP, 0, "mov %w0, %%ss", "r"(0));
    EXPECT_FAULT(GP, SEL(1), "mov %w0, %%ss", "r"(SEL(1)));
    EXPECT_FAULT(GP, SEL_CODE, "mov %w0, %%ss", "r"(SEL_CODE));
    CHECK_EQ(gdt[SEL(0) / 8] >> 40 & 1, 1);
    /* BOUND, INTO, ARPL. */
    static struct {
        int32_t lo, hi;
    } range = {-3, 7};
    EXPECT_OK("bound %0, %1", "r"(7), "m"(range));
    EXPECT_FAULT(BR, 0, "bound %0, %1", "r"(8), "m"(range));
    EXPECT_FAULT(OF, 0, "mov $0x7f, %%al\n inc %%al\n into", : "eax", "cc");
    uint32_t sel = 0x10;
    uint8_t zf;
    __asm__ volatile("arpl %w2, %w0; setz %1" : "+r"(sel), "=q"(zf) : "r"(3));
    CHECK_EQ(sel, 0x13);
    CHECK_EQ(zf, 1);
}

/* ---- call gates ---- */

extern char gate_fn[], gate16_fn[], conforming_fn[];
volatile uint32_t gate_cs, gate_ss, gate_a, gate_b, gate_ran, conf_cs;
__asm__("gate_fn:\n" /* two parameters, released by the return */
        "mov %cs, %ss:gate_cs\n"
        "mov %ss, %ss:gate_ss\n"
        "mov 8(%esp), %eax\n"
        "mov %eax, %ss:gate_a\n"
        "mov 12(%esp), %eax\n"
        "mov %eax, %ss:gate_b\n"
        "incl %ss:gate_ran\n"
        "lret $8\n"
        "conforming_fn:\n"
        "push %eax\n"
        "mov %cs, %ax\n"
        "mov %ax, conf_cs\n"
        "pop %eax\n"
        "lret\n");

static const struct farptr gate_user = {0, SEL(8) + 3}, gate_kernel = {0, SEL(9) + 3};
static struct farptr conforming = {0, SEL(10) + 3};
static volatile int user_vector;
static volatile uint32_t user_error, sp_before, sp_after;

static void user_call_gate(void)
{
    __asm__ volatile("mov %%esp, %0\n"
                     "push $0x222\n"
                     "push $0x111\n"
                     "lcall *%2\n"
                     "mov %%esp, %1\n"
                     : "=m"(sp_before), "=m"(sp_after)
                     : "m"(gate_user)
                     : "eax", "memory");
    user_vector = EXPECT("lcall *%0", "m"(gate_kernel) : "memory");
    user_error = caught.error;
    USER_EXIT();
}

static void user_conforming(void)
{
    __asm__ volatile("lcall *%0" ::"m"(conforming) : "memory", "eax");
    USER_EXIT();
}

static void call_gates(void)
{
    gdt[SEL(8) / 8] = call_gate(SEL_CODE, gate_fn, 2, 3, 12);
    gdt[SEL(9) / 8] = call_gate(SEL_CODE, gate_fn, 2, 0, 12);
    run_user(user_call_gate);
    CHECK_EQ(gate_ran, 1);
    CHECK_EQ(gate_cs, SEL_CODE);
    CHECK_EQ(gate_ss, SEL_DATA);
    CHECK_EQ(gate_a, 0x111);
    CHECK_EQ(gate_b, 0x222);
    CHECK_EQ(sp_before, sp_after);
    CHECK_EQ(user_vector, GP);
    CHECK_EQ(user_error, SEL(9));

    conforming.offset = (uint32_t)conforming_fn;
    gdt[SEL(10) / 8] = gdt_entry(0, 0xffffffff, 0xc09f);
    run_user(user_conforming);
    CHECK_EQ(conf_cs, SEL(10) + 3);

    /* A gate to a bad stack: #TS names the selector, with EXT clear. */
    uint32_t ss0 = *(uint32_t *)(tss + 8);
    (void)ss0;
    struct farptr bad = {0, SEL(11)};
    gdt[SEL(11) / 8] = call_gate(SEL_DATA, gate_fn, 0, 3, 12);
    EXPECT_FAULT(GP, SEL_DATA, "lcall *%0", "m"(bad) : "memory");
    gdt[SEL(11) / 8] = call_gate(0, gate_fn, 0, 3, 12);
    EXPECT_FAULT(GP, 0, "lcall *%0", "m"(bad) : "memory");
    gdt[SEL(11) / 8] = call_gate(SEL_CODE, gate_fn, 0, 3, 12) & ~(1ull << 47);
    EXPECT_FAULT(NP, SEL(11), "lcall *%0", "m"(bad) : "memory");
    bad.sel = 0xfff8;
    EXPECT_FAULT(GP, 0xfff8, "ljmp *%0", "m"(bad) : "memory");
    bad.sel = 0;
    EXPECT_FAULT(GP, 0, "ljmp *%0", "m"(bad) : "memory");
    bad.sel = SEL_UCODE;
    EXPECT_FAULT(GP, SEL_UCODE & ~3, "ljmp *%0", "m"(bad) : "memory");
}

/* ---- data segments after a return to ring 3 ---- */

static volatile uint32_t seen_fs, seen_gs;
static void user_segments(void)
{
    __asm__ volatile("mov %%fs, %0\n mov %%gs, %1" : "=r"(seen_fs), "=r"(seen_gs));
    USER_EXIT();
}

static void outer_return(void)
{
    __asm__ volatile("mov %w0, %%fs\n mov %w1, %%gs" ::"r"(SEL_DATA), "r"(SEL_UDATA));
    run_user(user_segments);
    CHECK_EQ(seen_fs, 0);
    CHECK_EQ(seen_gs, SEL_UDATA);
}

/* ---- ring 3 and I/O ---- */

static volatile int io_denied, io_allowed, cli_vector;
static void user_io(void)
{
    io_denied = EXPECT("inb $0x61, %%al", : "eax");
    io_allowed = EXPECT("outb %%al, $0xe9", "a"(' '));
    cli_vector = EXPECT("cli", );
    USER_EXIT();
}

static void io_map(void)
{
    tss[0x68 + 0xe9 / 8] &= (uint8_t) ~(1u << (0xe9 % 8));
    run_user(user_io);
    CHECK_EQ(io_denied, GP);
    CHECK_EQ(io_allowed, -1);
    CHECK_EQ(cli_vector, GP);
    tss[0x68 + 0xe9 / 8] |= 1u << (0xe9 % 8);
    /* IOPL 3: everything allowed, CLI too. */
    __asm__ volatile("pushf; orl $0x3000, (%%esp); popf" ::: "memory", "cc");
    run_user(user_io);
    __asm__ volatile("pushf; andl $~0x3000, (%%esp); popf; cli" ::: "memory", "cc");
    CHECK_EQ(io_denied, -1);
    CHECK_EQ(cli_vector, -1);
}

/* ---- a 16-bit code segment and real mode ---- */

extern char code16[];
volatile uint32_t result16;
__asm__(".code16\n"
        "code16:\n"
        "mov $0x1234, %ax\n"
        "push %ax\n"
        "pop %bx\n"
        "add %bx, %ax\n"
        "mov %ax, %cx\n"
        "addr32 mov %eax, result16\n"
        "lretl\n"
        ".code32\n");

static void sixteen(void)
{
    struct farptr f = {0, SEL(12)};
    gdt[SEL(12) / 8] = gdt_entry((uint32_t)code16, 0xffff, 0x009b);
    __asm__ volatile("xor %%eax, %%eax\n lcall *%0" ::"m"(f) : "eax", "ebx", "ecx", "memory");
    CHECK_EQ(result16, 0x2468);
    /* Beyond its limit. */
    gdt[SEL(12) / 8] = gdt_entry((uint32_t)code16, 1, 0x009b);
    f.offset = 2;
    EXPECT_FAULT(GP, 0, "lcall *%0", "m"(f) : "memory");
}

extern char real_code[], real_end[];
__asm__(".code16\n"
        "real_code:\n" /* at 0x7000:0 = linear 0x70000 */
        "mov %cr0, %eax\n"
        "and $~1, %al\n"
        "mov %eax, %cr0\n"
        "ljmp $0x7000, $1f - real_code\n"
        "1: xor %ax, %ax\n"
        "mov %ax, %ds\n"
        "mov %ax, %ss\n"
        "mov $0x6000, %sp\n"
        "movw $2f - real_code, 0x90*4\n"
        "movw $0x7000, 0x90*4+2\n"
        "lidt %cs:4f - real_code\n"
        "int $0x90\n"
        "mov %cr0, %eax\n"
        "or $1, %al\n"
        "mov %eax, %cr0\n"
        "ljmpl $8, $real_back\n"
        "2: pushf\n"
        "pop %ax\n"
        "mov %ax, 0x6100\n"
        "movw $0x5aa5, 0x6102\n"
        "iret\n"
        ".align 4\n"
        "4: .word 0x3ff\n .long 0\n"
        "real_end:\n"
        ".code32\n"
        "enter_real:\n"
        "pusha\n"
        "mov %esp, real_sp\n"
        "sidt real_idtr\n"
        "mov $0x10, %eax\n"
        "ljmp $0xa8, $0\n"
        "real_back:\n"
        "mov $0x10, %eax\n"
        "mov %eax, %ds\n"
        "mov %eax, %es\n"
        "mov %eax, %ss\n"
        "mov real_sp, %esp\n"
        "lidt real_idtr\n"
        "popa\n"
        "ret\n");
uint32_t real_sp;
uint8_t real_idtr[8];
void enter_real(void);

static void real_mode(void)
{
    memcpy((void *)0x70000, real_code, (unsigned long)(real_end - real_code));
    gdt[0xa8 / 8] = gdt_entry(0x70000, 0xffff, 0x009b);
    enter_real();
    CHECK_EQ(*(volatile uint16_t *)0x6102, 0x5aa5);
    CHECK_EQ(*(volatile uint16_t *)0x6100 & 0x300, 0);
}

void guest_main(void)
{
    limits();
    call_gates();
    outer_return();
    io_map();
    sixteen();
    real_mode();
}
