/* vm86.c - virtual-8086 mode: entry by IRET, exit by faults and interrupts, IOPL rules, VME. */
#include "guest.h"

#define CODE_SEG 0x7000
#define CODE     ((uint8_t *)0x70000)

static volatile uint32_t gp_count, last_op, out_flags, out_ax, out_ds, hits21;
static volatile bool stop;
uword return_sp;
extern void vm86_run(uint32_t eflags);
extern char vm86_return[];
__asm__("vm86_run:\n"
        "mov 4(%esp), %eax\n"
        "pusha\n"
        "mov %esp, return_sp\n"
        "push $0x1111\n" /* GS FS DS ES */
        "push $0x2222\n"
        "push $0x3333\n"
        "push $0x4444\n"
        "push $0x7800\n" /* SS:ESP */
        "push $0x1000\n"
        "push %eax\n"
        "push $0x7000\n"
        "push $0\n"
        "mov $0x5a5a, %eax\n"
        "iret\n"
        "vm86_return:\n"
        "mov %ss:return_sp, %esp\n"
        "mov $0x10, %eax\n" /* the entry has left null selectors */
        "mov %eax, %ds\n"
        "mov %eax, %es\n"
        "popa\n"
        "ret\n");

#define FL_VM  0x20000u
#define FL_VIF 0x80000u
#define FL_VIP 0x100000u

static void leave(struct frame *f)
{
    out_flags = f->flags;
    out_ax = f->ax;
    f->ip = (uword)vm86_return;
    f->cs = SEL_CODE;
    f->flags = 2;
    /* Same ring: IRET takes neither SP nor SS. */
}

/* HLT (f4) ends a run; other instructions that fault are counted and skipped. */
static void on_gp(struct frame *f)
{
    if (!(f->flags & FL_VM)) {
        print("GP outside vm86\n");
        guest_exit(1);
    }
    last_op = *(uint8_t *)((f->cs & 0xffff) * 16 + (f->ip & 0xffff));
    CHECK_EQ(f->error, 0);
    out_ds = ((uword *)(&f->ss))[2]; /* ES, DS follow */
    if (last_op == 0xf4) {
        leave(f);
        return;
    }
    gp_count++;
    f->ip += last_op == 0xcd || last_op == 0xe4 ? 2 : 1;
}

static void run(const uint8_t *code, unsigned n, uint32_t flags)
{
    gp_count = 0;
    for (unsigned i = 0; i < n; i++)
        CODE[i] = code[i];
    CODE[n] = 0xf4;
    vm86_run(flags | FL_VM | 2);
}
#define RUN(flags, ...)                                                                            \
    do {                                                                                           \
        static const uint8_t code_[] = {__VA_ARGS__};                                              \
        run(code_, sizeof(code_), flags);                                                          \
    } while (0)

static void on_21(struct frame *f)
{
    hits21++;
    CHECK(f->flags & FL_VM);
    CHECK_EQ(f->cs, CODE_SEG);
    CHECK_EQ(((uword *)(&f->ss))[4], 0x1111); /* ES DS FS GS */
}

static void plain(void)
{
    /* mov ax, ds; mov bx, 0x1234; add ax, bx */
    RUN(0x3000, 0x8c, 0xd8, 0xbb, 0x34, 0x12, 0x01, 0xd8);
    CHECK_EQ(out_ax & 0xffff, 0x3333 + 0x1234);
    CHECK_EQ(gp_count, 0);
    CHECK_EQ(out_flags & FL_VM, FL_VM);
    /* mov ax, 0x7100; mov ds, ax; mov byte [5], 0x77 */
    RUN(0x3000, 0xb8, 0x00, 0x71, 0x8e, 0xd8, 0xc6, 0x06, 0x05, 0x00, 0x77);
    CHECK_EQ(*(volatile uint8_t *)0x71005, 0x77);
}

static void iopl_rules(void)
{
    /* IOPL 3: CLI, PUSHF, POPF and INT work as in real mode, INT through the IDT. */
    hits21 = 0;
    RUN(0x3000, 0xfa, 0x9c, 0x9d, 0xcd, 0x21);
    CHECK_EQ(gp_count, 0);
    CHECK_EQ(hits21, 1);
    CHECK_EQ(out_flags & 0x3000, 0x3000);
    /* IOPL 0: each of them faults: CLI STI PUSHF POPF INT IRET. */
    RUN(0, 0xfa, 0xfb, 0x9c, 0x9d, 0xcd, 0x21, 0xcf);
    CHECK_EQ(gp_count, 6);
    CHECK_EQ(hits21, 1);
    /* I/O goes by the bitmap, whatever IOPL says. */
    RUN(0x3000, 0xe4, 0x61);
    CHECK_EQ(gp_count, 1);
    /* #UD: not known in this mode (LLDT, LAR). */
    caught.vector = -1;
}

static void on_ud(struct frame *f)
{
    gp_count += 100;
    f->ip += 3;
}

static void undefined(void)
{
    handlers[UD] = on_ud;
    RUN(0x3000, 0x0f, 0x00, 0xd0, 0x0f, 0x02, 0xc0);
    CHECK_EQ(gp_count, 200);
}

/* VME: with IOPL < 3 the task has a virtual interrupt flag, and INT n may go through its own IVT.
 */
static void vme(void)
{
    uint32_t r[4];
    cpuid(1, 0, r);
    if (!(r[3] & 2))
        return;
    WRITE_CR(4, READ_CR(4) | 1);
    RUN(0, 0xfb); /* STI: VIF */
    CHECK_EQ(gp_count, 0);
    CHECK_EQ(out_flags & FL_VIF, FL_VIF);
    RUN(FL_VIF, 0xfa);
    CHECK_EQ(gp_count, 0);
    CHECK_EQ(out_flags & FL_VIF, 0);
    RUN(FL_VIP, 0xfb); /* STI with VIP: #GP */
    CHECK_EQ(gp_count, 1);
    /* PUSHF; POP AX shows VIF as IF and IOPL as 3. */
    RUN(FL_VIF, 0x9c, 0x58);
    CHECK_EQ(gp_count, 0);
    CHECK_EQ(out_ax & 0x3200, 0x3200);
    /* INT 21h redirected: bitmap bit clear, IVT entry to 7000:0100, which does MOV AX,55AA; IRET.
     */
    *(uint16_t *)(tss + 102) = 0x68 + 32;
    for (unsigned n = 0; n < 32; n++)
        tss[0x68 + n] = 0xff;
    tss[0x68 + 0x21 / 8] &= (uint8_t) ~(1u << (0x21 % 8));
    *(volatile uint16_t *)(0x21 * 4) = 0x100;
    *(volatile uint16_t *)(0x21 * 4 + 2) = CODE_SEG;
    CODE[0x100] = 0xb8;
    CODE[0x101] = 0xaa;
    CODE[0x102] = 0x55;
    CODE[0x103] = 0xcf;
    hits21 = 0;
    RUN(FL_VIF, 0xcd, 0x21);
    CHECK_EQ(hits21, 0);
    CHECK_EQ(gp_count, 0);
    CHECK_EQ(out_ax & 0xffff, 0x55aa);
    CHECK_EQ(out_flags & FL_VIF, FL_VIF);
    WRITE_CR(4, READ_CR(4) & ~1ul);
}

void guest_main(void)
{
    handlers[GP] = on_gp;
    handlers[0x21] = on_21;
    idt[0x21].lo |= 3ull << 45;
    plain();
    iopl_rules();
    undefined();
    vme();
}
