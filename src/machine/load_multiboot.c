/* Multiboot 1 (Multiboot Specification 0.6.96): ELF32 kernels, or any file with the header's
 * address fields. */
#include "boot_image.h"

#include "base/error.h"
#include "base/util.h"
#include "bus/fw_cfg.h"
#include "cpu/x86_state.h"
#include "mem/guest_mem.h"

#include <elf.h>
#include <glib.h>
#include <string.h>

#define HEADER_MAGIC    0x1badb002u
#define LOADER_MAGIC    0x2badb002u
#define HEADER_SEARCH   8192
#define FLAG_ADDRESSES  BIT(16)
#define FLAGS_MUST_KNOW 0xffffu /* bits 0-15: unknown ones must be refused */
#define FLAGS_KNOWN     0x7u    /* page-aligned modules, memory info, video mode (we offer none) */

enum {
    MBI_MEMORY = BIT(0),
    MBI_BOOT_DEVICE = BIT(1),
    MBI_CMDLINE = BIT(2),
    MBI_MODULES = BIT(3),
    MBI_MMAP = BIT(6),
    MBI_LOADER_NAME = BIT(9)
};

struct mbi {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4],
        mmap_length, mmap_addr, drives[2], config_table, boot_loader_name, apm_table, vbe[4];
};
struct mb_module {
    uint32_t start, end, string, reserved;
};
struct mb_mmap {
    uint32_t size;
    uint64_t base, len;
    uint32_t type;
} __attribute__((packed));

/* Everything that is told to the kernel, in one block, so that one free place serves. */
struct mb_block {
    struct mbi mbi;
    struct mb_module module;
    struct mb_mmap map[E820_MAX];
    char loader_name[8];
    char strings[]; /* command line, then the module's */
};

static bool find_header(const struct boot_blob *file, size_t *at)
{
    size_t limit = MIN_OF(file->len, (size_t)HEADER_SEARCH);
    for (size_t i = 0; i + 12 <= limit; i += 4) {
        uint32_t magic = le32_get(file->data + i);
        if (magic == HEADER_MAGIC &&
            magic + le32_get(file->data + i + 4) + le32_get(file->data + i + 8) == 0) {
            *at = i;
            return true;
        }
    }
    return false;
}

static bool multiboot_probe(struct boot_image *img, GError **err)
{
    if (!find_header(&img->kernel, &img->header_offset))
        return false;
    uint32_t flags = le32_get(img->kernel.data + img->header_offset + 4);
    if (flags & FLAGS_MUST_KNOW & ~FLAGS_KNOWN)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "could not load kernel '%s': its multiboot header asks for unknown "
                         "features (flags 0x%x)",
                         img->path, flags);
    if (flags & FLAG_ADDRESSES)
        return img->header_offset + 32 <= img->kernel.len
                   ? true
                   : error_set(
                         err, HANOK_ERROR_INVALID,
                         "could not load kernel '%s': the file ends inside its multiboot header",
                         img->path);
    struct elf_info elf;
    GError *broken = NULL;
    if (!elf_parse(&img->kernel, img->path, &elf, &broken)) {
        if (!broken)
            error_set(&broken, HANOK_ERROR_INVALID,
                      "could not load kernel '%s': a multiboot image without address fields must "
                      "be an ELF file",
                      img->path);
        g_propagate_error(err, broken);
        return false;
    }
    if (elf.is64 || elf.machine != EM_386)
        return error_set(
            err, HANOK_ERROR_INVALID,
            "could not load kernel '%s': a multiboot kernel must be a 32-bit ELF file (objcopy -O "
            "elf32-i386 makes one of a 64-bit file)",
            img->path);
    return true;
}

/* The header's own address fields (§3.1.3) instead of ELF headers. */
static bool place_by_addresses(struct boot_image *img, const struct boot_env *env, uint64_t *end,
                               GError **err)
{
    const uint8_t *h = img->kernel.data + img->header_offset;
    uint32_t header = le32_get(h + 12), load = le32_get(h + 16), load_end = le32_get(h + 20),
             bss_end = le32_get(h + 24);
    uint64_t before = (uint64_t)header - load;
    if (load > header || before > img->header_offset || (load_end && load_end < load))
        return error_set(err, HANOK_ERROR_INVALID,
                         "could not load kernel '%s': the addresses in its multiboot header "
                         "contradict each other",
                         img->path);
    size_t start = img->header_offset - before;
    uint64_t size = load_end ? load_end - load : img->kernel.len - start;
    if (size > img->kernel.len - start)
        return error_set(
            err, HANOK_ERROR_INVALID,
            "could not load kernel '%s': its multiboot header names more bytes than the file has",
            img->path);
    if (!boot_put(img, env, load, img->kernel.data + start, size, "the kernel", err))
        return false;
    *end = load + size;
    if (bss_end > *end) {
        if (!boot_zero(img, env, *end, bss_end - *end, "the kernel's zeroed data", err))
            return false;
        *end = bss_end;
    }
    img->entry_gpa = le32_get(h + 28);
    return true;
}

/* A free place for the information block: high in the first 640 KiB, unless the image is there. */
static uint64_t block_place(const struct elf_info *elf, uint64_t len, uint64_t image_end)
{
    uint64_t gpa = ALIGN_DOWN(0x9f000 - len, GUEST_PAGE_SIZE);
    for (unsigned i = 0; i < elf->segments; i++) {
        const struct elf_segment *s = &elf->segment[i];
        if (s->paddr < gpa + len && s->paddr + s->mem_size > gpa)
            return ALIGN_UP(image_end, GUEST_PAGE_SIZE);
    }
    return gpa;
}

static void block_fill(struct mb_block *b, const struct boot_image *img, const struct boot_env *env,
                       uint64_t at, const char *cmdline, const char *module_string)
{
    uint32_t strings = (uint32_t)(at + offsetof(struct mb_block, strings));
    memcpy(b->loader_name, "hanok", 6);
    memcpy(b->strings, cmdline, strlen(cmdline) + 1);
    memcpy(b->strings + strlen(cmdline) + 1, module_string, strlen(module_string) + 1);
    for (unsigned i = 0; i < env->e820_count; i++)
        b->map[i] = (struct mb_mmap){.size = sizeof(struct mb_mmap) - 4,
                                     .base = env->e820[i].base,
                                     .len = env->e820[i].size_bytes,
                                     .type = env->e820[i].type};
    b->module = (struct mb_module){
        .start = (uint32_t)img->initrd_gpa,
        .end = (uint32_t)(img->initrd_gpa + img->initrd.len),
        .string = strings + (uint32_t)strlen(cmdline) + 1,
    };
    b->mbi = (struct mbi){
        .flags =
            MBI_MEMORY | MBI_BOOT_DEVICE | MBI_CMDLINE | MBI_MODULES | MBI_MMAP | MBI_LOADER_NAME,
        .mem_lower = 639,
        .mem_upper = (uint32_t)((env->ram_low_usable - 1 * MiB) / KiB),
        .boot_device = 0x8000ffff,
        .cmdline = strings,
        .mods_count = img->initrd.len ? 1 : 0,
        .mods_addr = (uint32_t)(at + offsetof(struct mb_block, module)),
        .mmap_length = env->e820_count * (uint32_t)sizeof(struct mb_mmap),
        .mmap_addr = (uint32_t)(at + offsetof(struct mb_block, map)),
        .boot_loader_name = (uint32_t)(at + offsetof(struct mb_block, loader_name)),
    };
}

static bool place_kernel(struct boot_image *img, struct elf_info *elf, const struct boot_env *env,
                         uint64_t *end, GError **err)
{
    uint32_t flags = le32_get(img->kernel.data + img->header_offset + 4);
    if (flags & FLAG_ADDRESSES) {
        if (!place_by_addresses(img, env, end, err))
            return false;
        elf->segments = 1;
        elf->segment[0].paddr = le32_get(img->kernel.data + img->header_offset + 16);
        elf->segment[0].mem_size = *end - elf->segment[0].paddr;
        return true;
    }
    if (!elf_parse(&img->kernel, img->path, elf, err) || !elf_place(img, elf, env, end, err))
        return false;
    img->entry_gpa = elf->entry;
    return true;
}

static bool multiboot_place(struct boot_image *img, const struct boot_env *env, GError **err)
{
    struct elf_info elf = {0};
    uint64_t end = 0;
    if (!place_kernel(img, &elf, env, &end, err))
        return false;
    g_autofree char *cmdline =
        *img->append ? g_strdup_printf("%s %s", img->path, img->append) : g_strdup(img->path);
    const char *module_string = img->initrd_path ? img->initrd_path : "";
    size_t len = sizeof(struct mb_block) + strlen(cmdline) + strlen(module_string) + 2;
    g_assert(env->e820_count <= E820_MAX);

    uint64_t at = block_place(&elf, len, end);
    if (at >= end)
        end = at + len;
    img->initrd_gpa = ALIGN_UP(MAX_OF(end, 1 * MiB), GUEST_PAGE_SIZE);
    if (img->initrd.len &&
        !boot_put(img, env, img->initrd_gpa, img->initrd.data, img->initrd.len, "the module", err))
        return false;
    g_autofree struct mb_block *b = g_malloc0(len);
    block_fill(b, img, env, at, cmdline, module_string);
    if (!boot_put(img, env, at, b, len, "the multiboot information", err))
        return false;

    boot_regs_protected32(env->bsp);
    env->bsp->rip = img->entry_gpa;
    env->bsp->gpr[R_RAX] = LOADER_MAGIC;
    env->bsp->gpr[R_RBX] = at;
    return true;
}

/* Test kernels read key 0x11 as a number and expect the image from its header on. */
static void multiboot_add_fw_cfg(struct boot_image *img, struct fw_cfg *f)
{
    fw_cfg_add_u32(f, FW_CFG_KERNEL_SIZE, (uint32_t)(img->kernel.len - img->header_offset));
    fw_cfg_add_u32(f, FW_CFG_KERNEL_ENTRY, (uint32_t)img->entry_gpa);
    fw_cfg_add_part(f, FW_CFG_KERNEL_DATA, img->kernel.fd, img->header_offset,
                    img->kernel.len - img->header_offset);
}

const struct boot_format boot_multiboot = {
    .name = "multiboot",
    .probe = multiboot_probe,
    .place = multiboot_place,
    .add_fw_cfg = multiboot_add_fw_cfg,
};
