/* boot_image.h - what the loaders share; private to src/machine.
 *
 * A format is a row: probe() looks at the file's bytes, place() writes guest memory and the first
 * vcpu's registers.  The file's bytes are hostile: every offset is checked against its length
 * before use.
 *
 * Low memory the loaders use (the substitute leaves it free, see machine/loader.h):
 *   0x10000 boot_params or hvm_start_info     0x20000 command line     0x30000 page tables */
#ifndef MACHINE_BOOT_IMAGE_H
#define MACHINE_BOOT_IMAGE_H

#include "base/types.h"
#include "machine/loader.h"

#define BOOT_PARAMS_GPA      0x10000ull
#define BOOT_GDT_GPA         0x18000ull
#define BOOT_CMDLINE_GPA     0x20000ull
#define BOOT_CMDLINE_MAX     0x10000ull
#define BOOT_PAGE_TABLES_GPA 0x30000ull

/* A file that stays open; its bytes are in memory only while they are looked at. */
struct boot_blob {
    const char *path, *what;
    uint64_t max_bytes;
    int fd;        /* -1: there is none */
    uint8_t *data; /* NULL: not loaded */
    size_t len;    /* when last loaded */
    size_t mapped;
};

struct boot_image;
struct boot_format {
    const char *name;
    /* True: the file is of this format.  False with *err: it claims to be, but is broken. */
    bool (*probe)(struct boot_image *img, GError **err);
    bool (*place)(struct boot_image *img, const struct boot_env *env, GError **err);
    void (*add_fw_cfg)(struct boot_image *img, struct fw_cfg *f); /* may be NULL */
};
extern const struct boot_format boot_multiboot, boot_pvh, boot_bzimage;

struct boot_image {
    const struct boot_format *format;
    char *path, *initrd_path, *append;
    struct boot_blob kernel, initrd;
    uint64_t entry_gpa;   /* pvh, multiboot */
    size_t header_offset; /* multiboot: the header in the file */
    uint64_t initrd_gpa;  /* where the last place() put it */
};

/* Segments and control registers for a flat entry; everything else keeps its reset value. */
void boot_regs_protected32(struct x86_state *s);
bool boot_regs_long64(struct x86_state *s, struct guest_mem *mem,
                      GError **err); /* identity-maps 4 GiB */

/* Copies into guest RAM; the error says that memory is too small and for what. */
bool boot_put(const struct boot_image *img, const struct boot_env *env, uint64_t gpa,
              const void *data, uint64_t len_bytes, const char *what, GError **err);
bool boot_zero(const struct boot_image *img, const struct boot_env *env, uint64_t gpa,
               uint64_t len_bytes, const char *what, GError **err);
/* Highest page-aligned place for the initrd below limit that does not touch [avoid, avoid_end). */
bool boot_place_initrd(struct boot_image *img, const struct boot_env *env, uint64_t limit,
                       uint64_t avoid, uint64_t avoid_end, GError **err);

/* One loadable part of an ELF file (either class), already checked against the file's length. */
struct elf_segment {
    uint64_t paddr, vaddr, file_offset, file_size, mem_size;
};
struct elf_info {
    bool is64;
    uint16_t machine;
    uint64_t entry;
    unsigned segments;
    struct elf_segment segment[16];
    uint64_t note_offset[8], note_size[8];
    unsigned notes;
};
/* False without *err: not an ELF file.  False with *err: broken. */
bool elf_parse(const struct boot_blob *file, const char *path, struct elf_info *out, GError **err);
/* Loads all segments at their physical addresses; *end is the highest byte + 1. */
bool elf_place(const struct boot_image *img, const struct elf_info *elf, const struct boot_env *env,
               uint64_t *end, GError **err);

#endif
