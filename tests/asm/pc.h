/* pc.h - the PC around the processor, for guests that test whole machines: what the loader said,
 * ports and buses, interrupt controllers, ACPI tables.  See guest.h for the rest. */
#ifndef PC_H
#define PC_H

#include "guest.h"

static inline void outw(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
static inline uint16_t inw(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint32_t inl(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

/* ---- what the loader said (Multiboot Specification 0.6.96 §3.3) ---- */
struct mbi {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4],
        mmap_length, mmap_addr, drives[2], config_table, boot_loader_name;
};
struct mb_module {
    uint32_t start, end, string, reserved;
};
struct mb_mmap {
    uint32_t size;
    uint64_t base, len;
    uint32_t type;
} __attribute__((packed));
extern uint32_t boot_magic, boot_info;

static inline const struct mbi *mbi(void)
{
    return (const struct mbi *)(uword)boot_info;
}
/* Word n of the command line starts here (NULL: there are fewer). */
const char *word_nth(unsigned n);
bool word_is(const char *word, const char *text);
/* NAME=VALUE among the words; numbers are decimal. */
const char *arg_text(const char *name);
uint64_t arg_number(const char *name, uint64_t fallback);

uint64_t fw_cfg_number(uint16_t key, unsigned bytes);

/* ---- PCI, configuration mechanism 1 ---- */
uint32_t pci_read(unsigned devfn, unsigned off);
void pci_write(unsigned devfn, unsigned off, uint32_t v);
int pci_find(uint32_t vendor_device); /* devfn on bus 0, or -1 */

/* ---- local APIC in whichever mode it is, IOAPIC ---- */
enum {
    LAPIC_ID = 0x20,
    LAPIC_VERSION = 0x30,
    LAPIC_TPR = 0x80,
    LAPIC_EOI = 0xb0,
    LAPIC_LDR = 0xd0,
    LAPIC_DFR = 0xe0,
    LAPIC_SVR = 0xf0,
    LAPIC_ICR = 0x300,
    LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_LINT0 = 0x350,
    LAPIC_LINT1 = 0x360,
    LAPIC_TIMER_INIT = 0x380,
    LAPIC_TIMER_NOW = 0x390,
    LAPIC_TIMER_DIV = 0x3e0
};
#define ICR_LOGICAL      0x800
#define ICR_ASSERT       0x4000
#define ICR_NMI          0x400
#define ICR_INIT         0x500
#define ICR_SIPI         0x600
#define ICR_SELF         0x40000
#define ICR_ALL          0x80000
#define ICR_ALL_BUT_SELF 0xc0000
bool x2apic_on(void);
uint32_t lapic_read(unsigned reg);
void lapic_write(unsigned reg, uint32_t v);
void lapic_icr(uint32_t command, uint32_t dest);
uint32_t lapic_id(void);
void x2apic_enable(void);

#define REDIR_LOGICAL    (1u << 11)
#define REDIR_LOW        (1u << 13)
#define REDIR_REMOTE_IRR (1u << 14)
#define REDIR_LEVEL      (1u << 15)
#define REDIR_MASKED     (1u << 16)
uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t v);
void ioapic_route(unsigned pin, uint32_t low, unsigned dest);
void line_set(unsigned gsi, unsigned level); /* pc-testdev */

/* ---- ACPI ---- */
struct acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));
const uint8_t *acpi_rsdp(void);
const struct acpi_header *acpi_find(const char *signature); /* by way of the RSDT */
uint8_t sum_bytes(const void *p, unsigned n);
uint32_t get32(const void *p);
bool same(const void *a, const void *b, unsigned n);

uint8_t cmos(uint8_t reg);
void cmos_write(uint8_t reg, uint8_t v);

/* Waits with interrupts open until *v reaches want; false after a few seconds. */
bool soon(volatile uint32_t *v, uint32_t want);
/* Interrupts open for as long as a pending one needs to come in; and longer, for one that another
 * party may still be about to send. */
void breathe(void);
void breathe_long(void);
#endif
