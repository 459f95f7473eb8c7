/* guest.c - run-time of the self-checking guests. */
#include "guest.h"

#define COM1 0x3f8

uint64_t gdt[64] __attribute__((aligned(16)));
struct idt_entry idt[256] __attribute__((aligned(16)));
uint8_t tss[4096] __attribute__((aligned(4096)));
volatile struct caught caught;
volatile uword resume_ip;
void (*handlers[256])(struct frame *f);

extern uint8_t stubs[];
extern void user_return(void);
extern uword user_return_sp;
static uint8_t ring0_stack[8192] __attribute__((aligned(16)));
static unsigned failures;

void exception(struct frame *f);
void guest_start(void);

void print(const char *s)
{
    for (; *s; s++) {
        outb(0xe9, (uint8_t)*s);
        for (unsigned n = 0; n < 1000 && !(inb(COM1 + 5) & 0x20); n++)
            ;
        outb(COM1, (uint8_t)*s);
    }
}

void print_hex(uint64_t v)
{
    char text[19] = "0x", *p = text + 2;

    for (int shift = 60; shift >= 0; shift -= 4)
        if (v >> shift || shift == 0)
            *p++ = "0123456789abcdef"[(v >> shift) & 15];
    *p = 0;
    print(text);
}

void guest_exit(uint32_t verdict)
{
    outl(0xf4, verdict);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void check_failed(const char *file, int line, const char *what, uint64_t got, uint64_t want)
{
    failures++;
    print(file);
    print(":");
    print_hex((uint64_t)line);
    print(": ");
    print(what);
    print(" is ");
    print_hex(got);
    print(", not ");
    print_hex(want);
    print("\n");
    if (failures > 20)
        guest_exit(1);
}

static void unexpected(struct frame *f)
{
    print("unexpected exception ");
    print_hex(f->vector);
    print(" error ");
    print_hex(f->error);
    print(" at ");
    print_hex(f->cs);
    print(":");
    print_hex(f->ip);
    print(" cr2 ");
    print_hex(READ_CR(2));
    print("\n");
    guest_exit(1);
}

void exception(struct frame *f)
{
    if (handlers[f->vector]) {
        handlers[f->vector](f);
        return;
    }
    if (f->vector == 0x81) {
        f->ip = (uword)user_return;
        f->cs = SEL_CODE;
        f->ss = SEL_DATA;
        f->sp = user_return_sp;
        return;
    }
    if (!resume_ip)
        unexpected(f);
    caught =
        (struct caught){(int)f->vector, f->error, READ_CR(2), f->ip, f->cs, f->flags, READ_DR(6)};
    f->ip = resume_ip;
    resume_ip = 0;
    f->flags &= ~(uword)0x100;
}

uint64_t gdt_entry(uint32_t base, uint32_t limit, uint16_t attr)
{
    if (attr & 0x8000)
        limit >>= 12;
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attr & 0xff) << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(attr >> 12) << 52 |
           (uint64_t)(base >> 24) << 56;
}

void idt_set(unsigned vector, uword handler, uint16_t sel, unsigned type_dpl, unsigned ist)
{
    uint64_t h = handler;

    idt[vector].lo = (h & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 |
                     (uint64_t)(0x80 | type_dpl) << 40 | (h >> 16 & 0xffff) << 48;
#ifdef __x86_64__
    idt[vector].hi = h >> 32;
#endif
}

struct table {
    uint16_t limit;
    uword base;
} __attribute__((packed));

static void tables(void)
{
    struct table g = {sizeof(gdt) - 1, (uword)gdt}, i = {sizeof(idt) - 1, (uword)idt};
    uword top = (uword)ring0_stack + sizeof(ring0_stack);

#ifdef __x86_64__
    gdt[1] = gdt_entry(0, 0xffffffff, 0xa09b);
    gdt[3] = gdt_entry(0, 0xffffffff, 0xa0fb);
    *(uint64_t *)(tss + 4) = top;
#else
    gdt[1] = gdt_entry(0, 0xffffffff, 0xc09b);
    gdt[3] = gdt_entry(0, 0xffffffff, 0xc0fb);
    *(uint32_t *)(tss + 4) = top;
    *(uint32_t *)(tss + 8) = SEL_DATA;
#endif
    gdt[2] = gdt_entry(0, 0xffffffff, 0xc093);
    gdt[4] = gdt_entry(0, 0xffffffff, 0xc0f3);
    gdt[SEL_TSS / 8] = gdt_entry((uint32_t)(uword)tss, 0x67 + 256, 0x89);
    gdt[SEL_TSS / 8 + 1] = 0;
    *(uint16_t *)(tss + 102) = 0x68; /* I/O map: all ports denied */
    for (unsigned n = 0; n < 256; n++)
        tss[0x68 + n] = 0xff;
    for (unsigned v = 0; v < 256; v++)
        idt_set(v, (uword)stubs + v * 16, SEL_CODE, v == 0x81 || v == 3 || v == 4 ? 0x6e : 0x0e, 0);
    __asm__ volatile("lgdt %0; lidt %1; ltr %w2" ::"m"(g), "m"(i), "r"(SEL_TSS));
    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" ::"r"(SEL_DATA));
}

void guest_start(void)
{
    tables();
    guest_main();
    print(failures ? "FAIL\n" : "PASS\n");
    guest_exit(failures ? 1 : 0);
}

void *memset(void *p, int v, unsigned long n)
{
    uint8_t *b = p;
    while (n--)
        *b++ = (uint8_t)v;
    return p;
}
void *memcpy(void *d, const void *s, unsigned long n)
{
    uint8_t *a = d;
    const uint8_t *b = s;
    while (n--)
        *a++ = *b++;
    return d;
}
