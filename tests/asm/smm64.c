/* smm64.c - an SMI from the local APIC: entry state, save map, SMBASE relocation, RSM back to
 * 64-bit code, HLT ended and resumed. */
#include "guest.h"

#define APIC   ((volatile uint32_t *)0xfee00000)
#define SVR    (0xf0 / 4)
#define ICR0   (0x300 / 4)
#define ICR1   (0x310 / 4)
#define SMBASE 0x30000ul
#define OTHER  0x40000ul

/* What the handler leaves behind, at 0x5000. */
static volatile uint32_t *const note = (void *)0x5000;

extern char handler[], handler_end[];
__asm__(".code16\n"
        "handler:\n"
        "mov %cs, %ax\n"
        "movzx %ax, %eax\n"
        "mov %eax, %ds:0x5000\n"
        "mov %cr0, %eax\n"
        "mov %eax, %ds:0x5004\n"
        "pushfl\n" /* SP is the interrupted one: 16 bits of it in low memory */
        "popl %eax\n"
        "mov %eax, %ds:0x5008\n"
        "incl %ds:0x500c\n"
        "addr32 mov %cs:0xfefc, %eax\n" /* revision */
        "mov %eax, %ds:0x5010\n"
        "addr32 mov %cs:0xfff8, %eax\n" /* saved RAX, low half */
        "mov %eax, %ds:0x5014\n"
        "addr32 movl $0x40000, %cs:0xff00\n" /* SMBASE from the next SMI on */
        "rsm\n"
        "handler_end:\n"
        ".code64\n");

static void smi(void)
{
    APIC[ICR1] = APIC[0x20 / 4] & 0xff000000;
    APIC[ICR0] = 0x4200; /* SMI, physical, own id */
}

static volatile unsigned nmis;
static void on_nmi(struct frame *f)
{
    (void)f;
    nmis++;
}

void guest_main(void)
{
    uint64_t rax = 0x1122334455667788, rbx = 0x99aabbccddeeff00, flags;
    unsigned long size = (unsigned long)(handler_end - handler);

    APIC[SVR] = 0x1ff;
    memcpy((void *)(SMBASE + 0x8000), handler, size);
    memcpy((void *)(OTHER + 0x8000), handler, size);
    EXPECT_FAULT(UD, 0, "rsm", );
    note[3] = 0;
    uint64_t cr0 = READ_CR(0), cr3 = READ_CR(3), cr4 = READ_CR(4);
    APIC[ICR1] = APIC[0x20 / 4] & 0xff000000;
    __asm__ volatile("std\n"
                     "movl $0x4200, (%3)\n"
                     "nop\n nop\n nop\n"
                     "jmp 1f\n"
                     "1: pushfq\n"
                     "popq %2\n"
                     "cld\n"
                     : "+a"(rax), "+b"(rbx), "=r"(flags)
                     : "r"(&APIC[ICR0])
                     : "memory", "cc");
    CHECK_EQ(note[3], 1);
    CHECK_EQ(note[0], SMBASE >> 4);
    CHECK_EQ(note[1] & 0x80000001, 0);
    CHECK_EQ(note[2] & 0x600, 0); /* IF and DF are clear inside */
    CHECK_EQ(note[4], 0x20064);
    CHECK_EQ(note[5], 0x55667788);
    CHECK_EQ(rax, 0x1122334455667788);
    CHECK_EQ(rbx, 0x99aabbccddeeff00);
    CHECK_EQ(flags & 0x400, 0x400);
    CHECK_EQ(READ_CR(0), cr0);
    CHECK_EQ(READ_CR(3), cr3);
    CHECK_EQ(READ_CR(4), cr4);
    CHECK_EQ(rdmsr(0xc0000080) & 0x500, 0x500);

    smi();
    __asm__ volatile("nop; jmp 1f; 1: nop");
    CHECK_EQ(note[3], 2);
    CHECK_EQ(note[0], OTHER >> 4);

    /* NMIs are as they were: not blocked. */
    handlers[NMI] = on_nmi;
    APIC[ICR1] = APIC[0x20 / 4] & 0xff000000;
    APIC[ICR0] = 0x4400;
    __asm__ volatile("nop; jmp 1f; 1: nop");
    CHECK_EQ(nmis, 1);
}
