/* memory_map.h - where RAM and the windows of a board lie, as a function of the RAM's size.  A q35:
 *
 *   0 .. low          RAM (all of it below 2.75 GiB, else 2 GiB)
 *   0xb0000000        ECAM, 256 MiB
 *   0xc0000000        32-bit PCI window, up to the IOAPIC at 0xfec00000
 *   4 GiB (or 1 TiB)  the rest of RAM
 *   above that        64-bit PCI window
 *
 * A pc has no ECAM: RAM up to 3.5 GiB lies below 4 GiB in one piece, more is cut at 3 GiB; the
 * 32-bit window begins at 2, 3 or 3.5 GiB, whichever is first at or above the RAM's end - where
 * firmware begins it too.
 *
 * AMD processors keep 0xfd00000000-0xffffffffff for HyperTransport (BKDG, "system address map"):
 * on AMD models nothing lies there. */
#ifndef MACHINE_MEMORY_MAP_H
#define MACHINE_MEMORY_MAP_H

#include "base/types.h"
#include "bus/acpi.h"
#include "machine/loader.h"

struct memory_map {
    uint64_t low_bytes;
    uint64_t high_base, high_bytes; /* bytes 0: no RAM there */
    struct acpi_range ecam, pci32, pci64;
    uint64_t highest_gpa; /* last address that means something */
    bool amd;
};

bool memory_map_plan(uint64_t ram_bytes, bool amd, struct memory_map *out, GError **err);
bool memory_map_plan_pc(uint64_t ram_bytes, bool amd, struct memory_map *out, GError **err);
/* The map guests read: RAM except what firmware keeps (from low_usable up to low_bytes, the first
 * megabyte's holes), and the reserved windows.  Returns the count. */
unsigned memory_map_e820(const struct memory_map *m, uint64_t low_usable,
                         struct e820_entry out[E820_MAX]);

#endif
