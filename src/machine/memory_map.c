/* memory_map.c - lays out RAM and windows. */
#include "memory_map.h"

#include "base/error.h"
#include "base/util.h"

#include <inttypes.h>

#define LOW_ALL_BELOW  UINT64_C(0xb0000000) /* RAM smaller than this needs no split */
#define LOW_SPLIT      UINT64_C(0x80000000)
#define ECAM_BASE      UINT64_C(0xb0000000)
#define PCI32_BASE     UINT64_C(0xc0000000)
#define IOAPIC_BASE    UINT64_C(0xfec00000)
#define PC_ALL_BELOW   UINT64_C(0xe0000000)
#define PC_SPLIT       UINT64_C(0xc0000000)
#define RCBA_BASE      UINT64_C(0xfed1c000)
#define KVM_PAGES_BASE UINT64_C(0xfeffc000) /* KVM's TSS and identity map pages on old hosts */
#define HT_BASE        UINT64_C(0xfd00000000)
#define HT_END         UINT64_C(0x10000000000)
#define PCI64_BYTES    (32 * GiB)
#define PCI64_ALIGN    (16 * GiB) /* small models have 36 physical bits: stay low when we can */
#define PHYS_LIMIT     (UINT64_C(1) << 52)
#define EBDA_BASE      UINT64_C(0x9fc00)
#define VGA_BASE       UINT64_C(0xa0000)
#define BIOS_BASE      UINT64_C(0xe0000)

/* The first place at or after base, outside what must stay empty. */
static uint64_t avoid_ht(bool amd, uint64_t base, uint64_t size)
{
    return amd && base < HT_END && base + size > HT_BASE ? HT_END : base;
}

/* RAM smaller than all_below lies in one piece, more is cut at split. */
static bool plan(uint64_t ram_bytes, bool amd, uint64_t all_below, uint64_t split,
                 struct memory_map *out, GError **err)
{
    struct memory_map m = {.amd = amd};
    uint64_t top;

    if (ram_bytes < MiB || ram_bytes % 4096)
        return error_set(err, HANOK_ERROR_INVALID,
                         "a machine cannot have %" PRIu64 " bytes of memory; give -m at least 1M, "
                         "in steps of 4K",
                         ram_bytes);
    if (ram_bytes > PHYS_LIMIT / 4)
        return error_set(err, HANOK_ERROR_INVALID, "-m can be at most %" PRIu64 "T",
                         (uint64_t)(PHYS_LIMIT / 4 / TiB));
    m.low_bytes = ram_bytes < all_below ? ram_bytes : split;
    m.high_bytes = ram_bytes - m.low_bytes;
    m.high_base = avoid_ht(amd, 4 * GiB, m.high_bytes);
    top = m.high_bytes ? m.high_base + m.high_bytes : 4 * GiB;
    m.pci64.size_bytes = PCI64_BYTES;
    m.pci64.base = avoid_ht(amd, ALIGN_UP(top, (uint64_t)PCI64_ALIGN), PCI64_BYTES);
    m.highest_gpa = m.pci64.base + m.pci64.size_bytes - 1;
    *out = m;
    return true;
}

bool memory_map_plan(uint64_t ram_bytes, bool amd, struct memory_map *out, GError **err)
{
    if (!plan(ram_bytes, amd, LOW_ALL_BELOW, LOW_SPLIT, out, err))
        return false;
    out->ecam = (struct acpi_range){ECAM_BASE, 256 * MiB};
    out->pci32 = (struct acpi_range){PCI32_BASE, IOAPIC_BASE - PCI32_BASE};
    return true;
}

bool memory_map_plan_pc(uint64_t ram_bytes, bool amd, struct memory_map *out, GError **err)
{
    uint64_t base;

    if (!plan(ram_bytes, amd, PC_ALL_BELOW, PC_SPLIT, out, err))
        return false;
    base = out->low_bytes <= 2 * GiB    ? 2 * GiB
           : out->low_bytes <= PC_SPLIT ? PC_SPLIT
                                        : PC_ALL_BELOW;
    out->pci32 = (struct acpi_range){base, IOAPIC_BASE - base};
    return true;
}

static void entry(struct e820_entry *out, unsigned *n, uint64_t base, uint64_t end,
                  enum e820_type type)
{
    if (end > base)
        out[(*n)++] = (struct e820_entry){base, end - base, type};
}

unsigned memory_map_e820(const struct memory_map *m, uint64_t low_usable,
                         struct e820_entry out[E820_MAX])
{
    unsigned n = 0;

    entry(out, &n, 0, MIN_OF(EBDA_BASE, low_usable), E820_RAM);
    entry(out, &n, EBDA_BASE, VGA_BASE, E820_RESERVED);
    entry(out, &n, BIOS_BASE, MiB, E820_RESERVED);
    entry(out, &n, MiB, low_usable, E820_RAM);
    entry(out, &n, MAX_OF(low_usable, (uint64_t)MiB), m->low_bytes, E820_RESERVED);
    entry(out, &n, m->ecam.base, m->ecam.base + m->ecam.size_bytes, E820_RESERVED);
    if (m->ecam.size_bytes)
        entry(out, &n, RCBA_BASE, RCBA_BASE + 16 * KiB, E820_RESERVED);
    entry(out, &n, KVM_PAGES_BASE, KVM_PAGES_BASE + 16 * KiB, E820_RESERVED);
    if (m->amd && m->high_base >= HT_END)
        entry(out, &n, HT_BASE, HT_END, E820_RESERVED);
    entry(out, &n, m->high_base, m->high_base + m->high_bytes, E820_RAM);
    return n;
}
