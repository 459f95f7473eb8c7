/* loader.h - what -kernel brings: one boot image, opened once, placed at every start and reset.
 *
 *   machine_new  --> boot_image_open()          reads and checks the files, which stay open
 *   each reset   --> firmware substitute        tables, BARs, e820 (firmware_substitute.c)
 *                --> boot_image_place(env)      guest memory + the first vcpu's registers
 *
 * Formats: bzImage (64-bit protocol, or 32-bit without XLF_KERNEL_64), ELF with a PVH note,
 * multiboot 1.  The substitute has used these places before place() is called, and the e820 map
 * says so: page 0 (IVT and BDA), 0x9fc00-0x9ffff (EBDA), 0xe0000-0xfffff (RSDP, SMBIOS anchor,
 * real-mode stubs), and the ACPI/SMBIOS tables from ram_low_usable up to ram_low_end.
 *
 * Owner:   the machine.   Threads: main, vcpus paused.
 * Errors:  open() and place() fill GError with one sentence naming the file; place() fails on too
 *          little memory, and when a file has been written to meanwhile and is no kernel any more.
 *
 * Between resets no copy of the files is kept: a reset reads them again.  Replacing a file (a new
 * one under the old name) does not touch a machine that runs, writing into it does, at its reset.
 */
#ifndef MACHINE_LOADER_H
#define MACHINE_LOADER_H

#include "base/types.h"

struct boot_image;
struct fw_cfg;
struct guest_mem;
struct vm_config;
struct x86_state;

enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };

struct e820_entry {
    uint64_t base, size_bytes;
    uint32_t type; /* enum e820_type */
};
#define E820_MAX 16

struct boot_env {
    struct guest_mem *mem;
    const struct e820_entry *e820; /* sorted, no overlaps */
    unsigned e820_count;
    uint64_t rsdp_gpa;
    uint64_t ram_low_usable; /* loader may use RAM below this (and not the places above) */
    uint64_t ram_low_end;    /* end of RAM below 4 GiB */
    uint64_t ram_high_base;  /* RAM above 4 GiB: [base, end), empty when equal */
    uint64_t ram_high_end;   /* on AMD models base may be 1 TiB */
    struct x86_state *bsp;   /* power-on state with MTRRs and LAPIC set; edit in place */
};

/* cfg->kernel is not NULL; initrd and append may be. */
struct boot_image *boot_image_open(const struct vm_config *cfg, GError **err);
bool boot_image_place(struct boot_image *img, const struct boot_env *env, GError **err);
/* That firmware can start it: a bzImage.  Otherwise a sentence. */
bool boot_image_under_firmware(const struct boot_image *img, GError **err);
/* Gives back what open() has read; place() does that itself. */
void boot_image_unload(struct boot_image *img);
/* The kernel, initrd and command-line items of fw_cfg (keys 0x07..0x18); img must outlive f. */
void boot_image_add_fw_cfg(struct boot_image *img, struct fw_cfg *f);
void boot_image_free(struct boot_image *img); /* accepts NULL */

#endif
