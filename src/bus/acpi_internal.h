/* acpi_internal.h - shared by the files that build and place tables. */
#ifndef BUS_ACPI_INTERNAL_H
#define BUS_ACPI_INTERNAL_H

#include "bus/acpi.h"

#include <glib.h>

#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_RSDP   "etc/acpi/rsdp"
#define ACPI_FILE_LOADER "etc/table-loader"

/* One 128-byte loader command; numbers are little-endian. */
enum acpi_command_kind {
    ACPI_CMD_ALLOCATE = 1,
    ACPI_CMD_ADD_POINTER = 2,
    ACPI_CMD_ADD_CHECKSUM = 3,
};
#define ACPI_FILE_NAME_BYTES 56
struct acpi_command {
    uint32_t kind;
    union {
        uint8_t bytes[124]; /* first: all of it starts as zeros */
        struct {
            char file[ACPI_FILE_NAME_BYTES];
            uint32_t align;
            uint8_t zone;
        } __attribute__((packed)) allocate;
        struct {
            char in_file[ACPI_FILE_NAME_BYTES], to_file[ACPI_FILE_NAME_BYTES];
            uint32_t offset;
            uint8_t size;
        } __attribute__((packed)) pointer;
        struct {
            char file[ACPI_FILE_NAME_BYTES];
            uint32_t offset, start, length;
        } __attribute__((packed)) checksum;
    };
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_command) == 128, "loader commands are 128 bytes");

void acpi_command_allocate(GByteArray *loader, const char *file, uint32_t align,
                           enum acpi_zone zone);
void acpi_command_pointer(GByteArray *loader, const char *in_file, uint32_t offset, uint8_t size,
                          const char *to_file);
void acpi_command_checksum(GByteArray *loader, const char *file, uint32_t offset, uint32_t start,
                           uint32_t length);

uint8_t acpi_checksum(const uint8_t *p, size_t len); /* the byte that makes the sum 0 */
/* One processor as the MADT and _MAT describe it (§5.2.12.2, .12); returns its bytes: 8 or 16. */
uint8_t acpi_madt_cpu(uint8_t out[16], unsigned uid, uint32_t apic_id, bool enabled);
void acpi_ssdt_body(GByteArray *to, const struct acpi_config *cfg);

#endif
