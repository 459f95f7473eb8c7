/* acpi.h - ACPI and SMBIOS tables as relocatable blobs, and the commands that put them in place.
 *
 *   acpi_build() --> "etc/acpi/tables", "etc/acpi/rsdp", "etc/table-loader" (fw_cfg files)
 *   firmware, or the firmware substitute through acpi_load(): allocate, patch pointers, checksum
 *
 * In the blobs a pointer field holds the offset of its target in the target's blob; the commands
 * say where pointers and checksums are (the layout is the one guests' firmware knows from QEMU).
 *
 * Threads: main, machine stopped.  Spec: ACPI 6.4 (FADT revision 3), SMBIOS 2.8 / 3.0. */
#ifndef BUS_ACPI_H
#define BUS_ACPI_H

#include "base/types.h"

struct fw_cfg;
struct guest_mem;

struct acpi_range {
    uint64_t base, size_bytes; /* size 0: there is none */
};

enum acpi_chipset { ACPI_CHIPSET_Q35, ACPI_CHIPSET_PIIX, ACPI_CHIPSET_NO_PCI };

/* A virtio device at a memory address (Linux finds it by its name, LNRO0005). */
struct acpi_virtio {
    unsigned uid, gsi;
    uint32_t base, size_bytes;
};

struct acpi_config {
    enum acpi_chipset chipset;
    unsigned cpu_count;      /* those that can be plugged in included */
    const uint32_t *apic_id; /* cpu_count of them */
    const bool *cpu_there;   /* cpu_count of them; NULL: all */
    struct acpi_range ecam, pci32, pci64;
    uint16_t pm_base;      /* the PM block's port */
    uint8_t com_mask;      /* bit n: COM(n+1) is there */
    uint16_t pvpanic_port; /* 0: none */
    bool hpet, sleep_s3, sleep_s4;
    bool no_rtc, no_pic; /* not there, or nobody is to know */
    const struct acpi_virtio *virtio;
    unsigned virtio_count;
    unsigned (*pirq)(unsigned slot,
                     unsigned pin); /* 0 = PIRQ A, 1 = B ...: becomes _PRT; NULL without PCI */
};

/* Adds or replaces the three ACPI files. */
void acpi_build(struct fw_cfg *f, const struct acpi_config *cfg);

/* What a table-loader interpreter needs from its caller. */
enum acpi_zone { ACPI_ZONE_HIGH = 1, ACPI_ZONE_FSEG = 2 };
struct acpi_placer {
    /* Guest memory for a blob; UINT64_MAX: no room. */
    uint64_t (*alloc)(struct acpi_placer *p, enum acpi_zone zone, uint64_t size_bytes,
                      uint64_t align_bytes);
    struct guest_mem *mem;
};
struct acpi_placed {
    uint64_t rsdp; /* where "etc/acpi/rsdp" went */
    uint64_t facs; /* the start of "etc/acpi/tables" */
};
/* Executes "etc/table-loader" of f. */
bool acpi_load(struct fw_cfg *f, struct acpi_placer *p, struct acpi_placed *out, GError **err);

/* A string that is NULL: what this machine says of itself, or nothing.  The first ones are type
 * 1's. */
struct smbios_config {
    const char *manufacturer, *product, *version, *serial, *sku, *family;
    struct {
        const char *vendor, *version, *date;
        unsigned major, minor; /* of release=; both 0: not said */
    } bios;
    struct {
        const char *manufacturer, *product, *version, *serial, *asset, *location;
    } board; /* left out when nothing of it is said */
    struct {
        const char *manufacturer, *version, *serial, *asset, *sku;
    } chassis;
    const char *const *strings; /* of type 11, ends with NULL; may be NULL */
    const uint8_t *uuid;        /* 16 bytes in the order they are written down, or NULL */
    unsigned sockets, cores_per_socket, threads_per_socket;
    struct acpi_range ram_low, ram_high;
    uint32_t cpuid_signature, cpuid_features; /* CPUID.1 EAX, EDX */
    const char *cpu_brand, *cpu_vendor;
};
/* Adds "etc/smbios/smbios-tables" and "etc/smbios/smbios-anchor". */
void smbios_build(struct fw_cfg *f, const struct smbios_config *cfg);
/* Places both; the anchor goes to the F segment. */
bool smbios_load(struct fw_cfg *f, struct acpi_placer *p, GError **err);

#endif
