/* Linux bzImage: Documentation/arch/x86/boot.rst of the kernel; 64-bit entry (XLF_KERNEL_64) or
 * 32-bit. */
#include "boot_image.h"

#include "base/error.h"
#include "base/util.h"
#include "bus/fw_cfg.h"
#include "cpu/x86_state.h"
#include "mem/guest_mem.h"

#include <glib.h>
#include <string.h>

/* Offsets in the setup header, the same in the file and in boot_params. */
enum {
    BP_ACPI_RSDP = 0x070,
    BP_EXT_RAMDISK_IMAGE = 0x0c0,
    BP_EXT_RAMDISK_SIZE = 0x0c4,
    BP_E820_ENTRIES = 0x1e8,
    BP_SETUP_SECTS = 0x1f1,
    BP_VID_MODE = 0x1fa,
    BP_BOOT_FLAG = 0x1fe,
    BP_HEADER_END = 0x201, /* offset of the header's length byte */
    BP_HEADER = 0x202,
    BP_VERSION = 0x206,
    BP_TYPE_OF_LOADER = 0x210,
    BP_LOADFLAGS = 0x211,
    BP_RAMDISK_IMAGE = 0x218,
    BP_RAMDISK_SIZE = 0x21c,
    BP_HEAP_END_PTR = 0x224,
    BP_CMD_LINE_PTR = 0x228,
    BP_INITRD_ADDR_MAX = 0x22c,
    BP_XLOADFLAGS = 0x236,
    BP_CMDLINE_SIZE = 0x238,
    BP_PREF_ADDRESS = 0x258,
    BP_INIT_SIZE = 0x260,
    BP_E820_TABLE = 0x2d0,
    BP_SIZE = 4096,
};
#define XLF_KERNEL_64 BIT(0)
#define LOADED_HIGH   BIT(0)
#define CAN_USE_HEAP  BIT(7)
#define HDRS          0x53726448u
#define VERSION_MIN   0x206 /* has cmdline_size; kernels since 2.6.22 */
#define LOW_LOAD_GPA  (1 * MiB)

static size_t setup_bytes(const uint8_t *k)
{
    unsigned sects = k[BP_SETUP_SECTS] ? k[BP_SETUP_SECTS] : 4;
    return (sects + 1) * 512u;
}

static bool bzimage_probe(struct boot_image *img, GError **err)
{
    const uint8_t *k = img->kernel.data;
    if (img->kernel.len < 0x268 || le16_get(k + BP_BOOT_FLAG) != 0xaa55 ||
        le32_get(k + BP_HEADER) != HDRS)
        return false;
    if (le16_get(k + BP_VERSION) < VERSION_MIN || !(k[BP_LOADFLAGS] & LOADED_HIGH))
        return error_set(
            err, HANOK_ERROR_UNSUPPORTED,
            "could not load kernel '%s': boot protocol %u.%02u is too old (2.06 is needed)",
            img->path, k[BP_VERSION + 1], k[BP_VERSION]);
    if (setup_bytes(k) >= img->kernel.len)
        return error_set(
            err, HANOK_ERROR_INVALID,
            "could not load kernel '%s': the file ends before the kernel proper; it is cut short",
            img->path);
    uint32_t max = le32_get(k + BP_CMDLINE_SIZE);
    if (strlen(img->append) > max)
        return error_set(
            err, HANOK_ERROR_INVALID,
            "the kernel command line (-append) is %zu bytes long; kernel '%s' takes at most %u",
            strlen(img->append), img->path, max);
    return true;
}

/* Where the kernel proper goes, and what it needs from there.  No lower than the preferred address:
 * a relocatable kernel loaded below it moves itself up to it (boot.rst, pref_address). */
static bool load_address(const struct boot_image *img, const struct boot_env *env, uint64_t *gpa,
                         uint64_t *need, GError **err)
{
    const uint8_t *k = img->kernel.data;
    bool modern = le16_get(k + BP_VERSION) >= 0x20a;
    uint64_t body = img->kernel.len - setup_bytes(k);
    uint64_t usable = env->ram_low_usable;

    *need = modern ? MAX_OF((uint64_t)le32_get(k + BP_INIT_SIZE), body) : body;
    *gpa = modern ? MAX_OF(le64_get(k + BP_PREF_ADDRESS), (uint64_t)LOW_LOAD_GPA) : LOW_LOAD_GPA;
    if (*gpa < usable && *need <= usable - *gpa)
        return true;
    return error_set(err, HANOK_ERROR_INVALID,
                     "the guest's memory is too small for kernel '%s': it needs %llu MiB from "
                     "address %llu MiB, and "
                     "%llu MiB are usable; give more with -m",
                     img->path, (unsigned long long)(*need / MiB + 1),
                     (unsigned long long)(*gpa / MiB), (unsigned long long)(usable / MiB));
}

static void boot_params_fill(uint8_t *bp, const struct boot_image *img, const struct boot_env *env)
{
    const uint8_t *k = img->kernel.data;
    size_t header_end = MIN_OF((size_t)BP_HEADER + k[BP_HEADER_END], (size_t)0x290);
    header_end = MIN_OF(header_end, img->kernel.len);
    memcpy(bp + BP_SETUP_SECTS, k + BP_SETUP_SECTS, header_end - BP_SETUP_SECTS);
    bp[BP_TYPE_OF_LOADER] = 0xff; /* no registered number */
    bp[BP_LOADFLAGS] |= CAN_USE_HEAP;
    le16_put(bp + BP_HEAP_END_PTR, 0xfe00);
    le16_put(bp + BP_VID_MODE, 0xffff);
    le32_put(bp + BP_CMD_LINE_PTR, BOOT_CMDLINE_GPA);
    le32_put(bp + BP_RAMDISK_IMAGE, (uint32_t)img->initrd_gpa);
    le32_put(bp + BP_RAMDISK_SIZE, (uint32_t)img->initrd.len);
    le32_put(bp + BP_EXT_RAMDISK_IMAGE, (uint32_t)(img->initrd_gpa >> 32));
    le32_put(bp + BP_EXT_RAMDISK_SIZE, (uint32_t)((uint64_t)img->initrd.len >> 32));
    le64_put(bp + BP_ACPI_RSDP, env->rsdp_gpa);
    g_assert(env->e820_count <= E820_MAX);
    bp[BP_E820_ENTRIES] = (uint8_t)env->e820_count;
    for (unsigned i = 0; i < env->e820_count; i++) {
        uint8_t *e = bp + BP_E820_TABLE + i * 20;
        le64_put(e, env->e820[i].base);
        le64_put(e + 8, env->e820[i].size_bytes);
        le32_put(e + 16, env->e820[i].type);
    }
}

static bool bzimage_place(struct boot_image *img, const struct boot_env *env, GError **err)
{
    const uint8_t *k = img->kernel.data;
    size_t setup = setup_bytes(k);
    uint64_t gpa, need, initrd_max = le32_get(k + BP_INITRD_ADDR_MAX);
    if (!load_address(img, env, &gpa, &need, err) ||
        !boot_put(img, env, gpa, k + setup, img->kernel.len - setup, "the kernel", err) ||
        !boot_place_initrd(img, env, initrd_max + 1, gpa, gpa + need, err))
        return false;

    g_autofree uint8_t *bp = g_malloc0(BP_SIZE);
    boot_params_fill(bp, img, env);
    if (!boot_put(img, env, BOOT_PARAMS_GPA, bp, BP_SIZE, "the boot parameters", err) ||
        !boot_put(img, env, BOOT_CMDLINE_GPA, img->append, strlen(img->append) + 1,
                  "the command line", err))
        return false;

    bool entry64 =
        le16_get(k + BP_VERSION) >= 0x20c && (le16_get(k + BP_XLOADFLAGS) & XLF_KERNEL_64);
    if (entry64) {
        if (!boot_regs_long64(env->bsp, env->mem, err))
            return false;
        env->bsp->rip = gpa + 0x200;
    } else {
        boot_regs_protected32(env->bsp);
        env->bsp->rip = gpa;
    }
    env->bsp->gpr[R_RSI] = BOOT_PARAMS_GPA;
    return true;
}

/* What firmware's own linuxboot code wants: setup and body apart. */
static void bzimage_add_fw_cfg(struct boot_image *img, struct fw_cfg *f)
{
    size_t setup = setup_bytes(img->kernel.data);
    fw_cfg_add_u32(f, FW_CFG_SETUP_ADDR, BOOT_PARAMS_GPA);
    fw_cfg_add_u32(f, FW_CFG_SETUP_SIZE, (uint32_t)setup);
    fw_cfg_add_part(f, FW_CFG_SETUP_DATA, img->kernel.fd, 0, setup);
    fw_cfg_add_u32(f, FW_CFG_KERNEL_ADDR, LOW_LOAD_GPA);
    fw_cfg_add_u32(f, FW_CFG_KERNEL_SIZE, (uint32_t)(img->kernel.len - setup));
    fw_cfg_add_part(f, FW_CFG_KERNEL_DATA, img->kernel.fd, setup, img->kernel.len - setup);
}

const struct boot_format boot_bzimage = {
    .name = "bzImage",
    .probe = bzimage_probe,
    .place = bzimage_place,
    .add_fw_cfg = bzimage_add_fw_cfg,
};
