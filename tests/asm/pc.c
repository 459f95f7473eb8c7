/* pc.c - see pc.h. */
#include "pc.h"

const char *word_nth(unsigned n)
{
    const char *p = (const char *)(uword)mbi()->cmdline;

    for (;;) {
        while (*p == ' ')
            p++;
        if (!*p)
            return 0;
        if (n-- == 0)
            return p;
        while (*p && *p != ' ')
            p++;
    }
}

bool word_is(const char *word, const char *text)
{
    for (; *text; word++, text++)
        if (*word != *text)
            return false;
    return *word == 0 || *word == ' ';
}

const char *arg_text(const char *name)
{
    const char *w;

    for (unsigned n = 1; (w = word_nth(n)); n++) {
        const char *p = name;
        while (*p && *p == *w)
            p++, w++;
        if (!*p && *w == '=')
            return w + 1;
    }
    return 0;
}

uint64_t arg_number(const char *name, uint64_t fallback)
{
    const char *p = arg_text(name);
    uint64_t v = 0;

    if (!p)
        return fallback;
    for (; *p >= '0' && *p <= '9'; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    return v;
}

uint64_t fw_cfg_number(uint16_t key, unsigned bytes)
{
    uint64_t v = 0;

    outw(0x510, key);
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)inb(0x511) << (8 * i);
    return v;
}

/* ---- PCI ---- */

uint32_t pci_read(unsigned devfn, unsigned off)
{
    outl(0xcf8, 0x80000000u | devfn << 8 | (off & 0xfc));
    return inl(0xcfc);
}

void pci_write(unsigned devfn, unsigned off, uint32_t v)
{
    outl(0xcf8, 0x80000000u | devfn << 8 | (off & 0xfc));
    outl(0xcfc, v);
}

int pci_find(uint32_t vendor_device)
{
    for (unsigned devfn = 0; devfn < 256; devfn++)
        if (pci_read(devfn, 0) == vendor_device)
            return (int)devfn;
    return -1;
}

/* ---- interrupt controllers ---- */

bool x2apic_on(void)
{
    return rdmsr(0x1b) >> 10 & 1;
}

uint32_t lapic_read(unsigned reg)
{
    return x2apic_on() ? (uint32_t)rdmsr(0x800 + reg / 16)
                       : *(volatile uint32_t *)(0xfee00000ul + reg);
}

void lapic_write(unsigned reg, uint32_t v)
{
    if (x2apic_on())
        wrmsr(0x800 + reg / 16, v);
    else
        *(volatile uint32_t *)(0xfee00000ul + reg) = v;
}

void lapic_icr(uint32_t command, uint32_t dest)
{
    if (x2apic_on()) {
        wrmsr(0x830, (uint64_t)dest << 32 | command);
        return;
    }
    lapic_write(LAPIC_ICR_HIGH, dest << 24);
    lapic_write(LAPIC_ICR, command);
    while (lapic_read(LAPIC_ICR) & 1 << 12)
        ;
}

uint32_t lapic_id(void)
{
    return x2apic_on() ? lapic_read(LAPIC_ID) : lapic_read(LAPIC_ID) >> 24;
}

void x2apic_enable(void)
{
    wrmsr(0x1b, rdmsr(0x1b) | 0x400);
}

uint32_t ioapic_read(unsigned reg)
{
    *(volatile uint32_t *)0xfec00000ul = reg;
    return *(volatile uint32_t *)0xfec00010ul;
}

void ioapic_write(unsigned reg, uint32_t v)
{
    *(volatile uint32_t *)0xfec00000ul = reg;
    *(volatile uint32_t *)0xfec00010ul = v;
}

void ioapic_route(unsigned pin, uint32_t low, unsigned dest)
{
    ioapic_write(0x10 + 2 * pin, REDIR_MASKED);
    ioapic_write(0x11 + 2 * pin, dest << 24);
    ioapic_write(0x10 + 2 * pin, low);
}

void line_set(unsigned gsi, unsigned level)
{
    outb((uint16_t)(0x2000 + gsi), (uint8_t)level);
}

/* ---- ACPI ---- */

uint8_t sum_bytes(const void *p, unsigned n)
{
    const uint8_t *b = p;
    uint8_t sum = 0;

    while (n--)
        sum = (uint8_t)(sum + *b++);
    return sum;
}

uint32_t get32(const void *p)
{
    const uint8_t *b = p;

    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

bool same(const void *a, const void *b, unsigned n)
{
    const uint8_t *x = a, *y = b;

    for (unsigned i = 0; i < n; i++)
        if (x[i] != y[i])
            return false;
    return true;
}

const uint8_t *acpi_rsdp(void)
{
    for (uword at = 0xe0000; at < 0x100000; at += 16)
        if (same((const void *)at, "RSD PTR ", 8) && sum_bytes((const void *)at, 20) == 0)
            return (const uint8_t *)at;
    return 0;
}

const struct acpi_header *acpi_find(const char *signature)
{
    const uint8_t *rsdp = acpi_rsdp();
    const struct acpi_header *rsdt = rsdp ? (const void *)(uword)get32(rsdp + 16) : 0;

    for (unsigned off = sizeof(*rsdt); rsdt && off + 4 <= rsdt->length; off += 4) {
        const struct acpi_header *t = (const void *)(uword)get32((const uint8_t *)rsdt + off);
        if (same(t->signature, signature, 4))
            return t;
    }
    return 0;
}

uint8_t cmos(uint8_t reg)
{
    outb(0x70, reg);
    return inb(0x71);
}

void cmos_write(uint8_t reg, uint8_t v)
{
    outb(0x70, reg);
    outb(0x71, v);
}

/* The port read leaves a processor that is emulated in batches, too. */
void breathe(void)
{
    for (unsigned i = 0; i < 20; i++)
        __asm__ volatile("sti; nop; inb $0x61, %%al; nop; cli" ::: "eax", "memory");
}

void breathe_long(void)
{
    uint64_t start = rdtsc();

    while (rdtsc() - start < 20000000)
        breathe();
}

bool soon(volatile uint32_t *v, uint32_t want)
{
    uint64_t until = rdtsc() + 20000000000ull;

    while (__atomic_load_n(v, __ATOMIC_SEQ_CST) != want) {
        if (rdtsc() > until)
            return false;
        breathe();
    }
    return true;
}
