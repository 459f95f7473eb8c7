/* PVH: an ELF file whose note XEN_ELFNOTE_PHYS32_ENTRY names a 32-bit entry point (Xen's x86/HVM
 * direct boot ABI, "hvm_start_info" version 1). */
#include "boot_image.h"

#include "base/error.h"
#include "base/util.h"
#include "cpu/x86_state.h"

#include <glib.h>
#include <string.h>

#define NOTE_PHYS32_ENTRY 18
#define HVM_START_MAGIC   0x336ec578

struct hvm_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules_gpa, cmdline_gpa, rsdp_gpa, memmap_gpa;
    uint32_t memmap_entries, reserved;
};
struct hvm_module {
    uint64_t gpa, size_bytes, cmdline_gpa, reserved;
};
struct hvm_memmap {
    uint64_t gpa, size_bytes;
    uint32_t type, reserved;
};

/* Notes are name size, descriptor size, type, then both padded to 4 bytes. */
static bool entry_from_notes(const uint8_t *p, uint64_t len, uint64_t *entry)
{
    while (len >= 12) {
        uint64_t name = ALIGN_UP((uint64_t)le32_get(p), 4), desc = le32_get(p + 4);
        uint32_t type = le32_get(p + 8);
        uint64_t total = 12 + name + ALIGN_UP(desc, 4);
        if (total > len)
            return false;
        if (type == NOTE_PHYS32_ENTRY && le32_get(p) == 4 && memcmp(p + 12, "Xen", 4) == 0 &&
            desc >= 4) {
            *entry = desc >= 8 ? le64_get(p + 12 + name) : le32_get(p + 12 + name);
            return true;
        }
        p += total;
        len -= total;
    }
    return false;
}

static bool pvh_probe(struct boot_image *img, GError **err)
{
    struct elf_info elf;
    if (!elf_parse(&img->kernel, img->path, &elf, err))
        return false;
    for (unsigned i = 0; i < elf.notes; i++) {
        if (entry_from_notes(img->kernel.data + elf.note_offset[i], elf.note_size[i],
                             &img->entry_gpa)) {
            if (img->entry_gpa < 4 * GiB)
                return true;
            return error_set(err, HANOK_ERROR_INVALID,
                             "could not load kernel '%s': its PVH entry point lies above 4 GiB",
                             img->path);
        }
    }
    return error_set(err, HANOK_ERROR_INVALID,
                     "could not load kernel '%s': this ELF file has no PVH note (a Linux vmlinux "
                     "needs CONFIG_PVH) "
                     "and no multiboot header; give the bzImage",
                     img->path);
}

static bool pvh_place(struct boot_image *img, const struct boot_env *env, GError **err)
{
    struct elf_info elf;
    uint64_t end = 0;
    if (!elf_parse(&img->kernel, img->path, &elf, err) || !elf_place(img, &elf, env, &end, err) ||
        !boot_place_initrd(img, env, 4 * GiB, 0, end, err))
        return false;
    struct {
        struct hvm_start_info info;
        struct hvm_module module;
        struct hvm_memmap map[E820_MAX];
    } boot = {
        .info =
            {
                .magic = HVM_START_MAGIC,
                .version = 1,
                .module_count = img->initrd.len ? 1 : 0,
                .modules_gpa = BOOT_PARAMS_GPA + sizeof(struct hvm_start_info),
                .cmdline_gpa = BOOT_CMDLINE_GPA,
                .rsdp_gpa = env->rsdp_gpa,
                .memmap_gpa =
                    BOOT_PARAMS_GPA + sizeof(struct hvm_start_info) + sizeof(struct hvm_module),
                .memmap_entries = env->e820_count,
            },
        .module = {.gpa = img->initrd_gpa, .size_bytes = img->initrd.len},
    };
    g_assert(env->e820_count <= E820_MAX);
    for (unsigned i = 0; i < env->e820_count; i++)
        boot.map[i] =
            (struct hvm_memmap){env->e820[i].base, env->e820[i].size_bytes, env->e820[i].type, 0};
    if (!boot_put(img, env, BOOT_PARAMS_GPA, &boot, sizeof(boot), "the start info", err) ||
        !boot_put(img, env, BOOT_CMDLINE_GPA, img->append, strlen(img->append) + 1,
                  "the command line", err))
        return false;
    boot_regs_protected32(env->bsp);
    env->bsp->rip = img->entry_gpa;
    env->bsp->gpr[R_RBX] = BOOT_PARAMS_GPA;
    return true;
}

const struct boot_format boot_pvh = {.name = "PVH ELF", .probe = pvh_probe, .place = pvh_place};
