#include "boot_image.h"

#include "base/error.h"
#include "base/util.h"
#include "bus/fw_cfg.h"
#include "cpu/x86_state.h"
#include "machine/config.h"
#include "mem/guest_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KERNEL_FILE_MAX (1ull * GiB)
#define INITRD_FILE_MAX (3ull * GiB)

static const struct boot_format *const boot_formats[] = {&boot_multiboot, &boot_pvh, &boot_bzimage};

static bool blob_read(const char *path, uint64_t max_bytes, const char *what, struct boot_blob *out,
                      GError **err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "could not load %s '%s'", what, path);
    struct stat st;
    bool ok = fstat(fd, &st) == 0;
    if (!ok) {
        error_errno(err, errno, "could not load %s '%s'", what, path);
    } else if (!S_ISREG(st.st_mode)) {
        ok = error_set(err, HANOK_ERROR_INVALID, "could not load %s '%s': it is not a regular file",
                       what, path);
    } else if ((uint64_t)st.st_size > max_bytes) {
        ok = error_set(err, HANOK_ERROR_INVALID,
                       "could not load %s '%s': %llu bytes is more than the %llu allowed", what,
                       path, (unsigned long long)st.st_size, (unsigned long long)max_bytes);
    }
    size_t done = 0, want = ok ? (size_t)st.st_size : 0;
    out->data = g_try_malloc(want ? want : 1);
    while (ok && out->data && done < want) {
        ssize_t n = read(fd, out->data + done, want - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            ok = error_errno(err, errno, "could not load %s '%s'", what, path);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (ok && !out->data)
        ok = error_set(err, HANOK_ERROR_IO, "could not load %s '%s': not enough host memory", what,
                       path);
    out->len = done;
    close(fd);
    return ok;
}

static bool detect_format(struct boot_image *img, GError **err)
{
    for (size_t i = 0; i < ARRAY_SIZE(boot_formats); i++) {
        GError *broken = NULL;
        if (boot_formats[i]->probe(img, &broken)) {
            img->format = boot_formats[i];
            return true;
        }
        if (broken) {
            g_propagate_error(err, broken);
            return false;
        }
    }
    return error_set(
        err, HANOK_ERROR_INVALID,
        "could not load kernel '%s': it is neither a bzImage, nor an ELF file with a PVH "
        "note, nor a multiboot image",
        img->path);
}

struct boot_image *boot_image_open(const struct vm_config *cfg, GError **err)
{
    struct boot_image *img = g_new0(struct boot_image, 1);
    img->path = g_strdup(cfg->kernel);
    img->initrd_path = g_strdup(cfg->initrd);
    img->append = g_strdup(cfg->append ? cfg->append : "");
    bool ok = blob_read(img->path, KERNEL_FILE_MAX, "kernel", &img->kernel, err);
    if (ok && img->initrd_path)
        ok = blob_read(img->initrd_path, INITRD_FILE_MAX, "initrd", &img->initrd, err);
    if (ok && strlen(img->append) >= BOOT_CMDLINE_MAX)
        ok = error_set(
            err, HANOK_ERROR_INVALID,
            "the kernel command line (-append) is %zu bytes long; at most %llu are possible",
            strlen(img->append), BOOT_CMDLINE_MAX - 1);
    if (ok && detect_format(img, err))
        return img;
    boot_image_free(img);
    return NULL;
}

void boot_image_free(struct boot_image *img)
{
    if (!img)
        return;
    g_free(img->path);
    g_free(img->initrd_path);
    g_free(img->append);
    g_free(img->kernel.data);
    g_free(img->initrd.data);
    g_free(img);
}

bool boot_image_place(struct boot_image *img, const struct boot_env *env, GError **err)
{
    return img->format->place(img, env, err);
}

void boot_image_add_fw_cfg(struct boot_image *img, struct fw_cfg *f)
{
    fw_cfg_add_u32(f, FW_CFG_CMDLINE_ADDR, BOOT_CMDLINE_GPA);
    fw_cfg_add_u32(f, FW_CFG_CMDLINE_SIZE, (uint32_t)strlen(img->append) + 1);
    fw_cfg_add_bytes(f, FW_CFG_CMDLINE_DATA, img->append, strlen(img->append) + 1);
    fw_cfg_add_u32(f, FW_CFG_INITRD_ADDR, (uint32_t)img->initrd_gpa);
    fw_cfg_add_u32(f, FW_CFG_INITRD_SIZE, (uint32_t)img->initrd.len);
    if (img->initrd.len)
        fw_cfg_add_bytes(f, FW_CFG_INITRD_DATA, img->initrd.data, img->initrd.len);
    if (img->format->add_fw_cfg)
        img->format->add_fw_cfg(img, f);
}

/* ---- registers ---- */

#define CR0_PE   BIT64(0)
#define CR0_ET   BIT64(4)
#define CR0_PG   BIT64(31)
#define CR4_PAE  BIT64(5)
#define EFER_LME BIT64(8)
#define EFER_LMA BIT64(10)

static const uint64_t boot_gdt[4] = {
    0, 0, 0x00cf9b000000ffffull, /* 0x10: 32-bit code, flat */
    0x00cf93000000ffffull,       /* 0x18: data, flat */
};

static void flat_segments(struct x86_state *s, bool long64)
{
    struct x86_seg data = {
        .limit = 0xffffffff, .attr = 0x3 | SEG_S | SEG_P | SEG_DB | SEG_G, .sel = 0x18};
    for (int i = 0; i < SEG_COUNT; i++)
        s->seg[i] = data;
    s->seg[SEG_CS] = (struct x86_seg){
        .limit = 0xffffffff,
        .attr = 0xb | SEG_S | SEG_P | SEG_G | (long64 ? SEG_L : SEG_DB),
        .sel = 0x10,
    };
    s->tr = (struct x86_seg){.limit = 0xffff, .attr = 0xb | SEG_P};
    s->ldt = (struct x86_seg){.limit = 0, .attr = SEG_UNUSABLE};
    s->rflags = 2;
}

void boot_regs_protected32(struct x86_state *s)
{
    flat_segments(s, false);
    s->cr0 = CR0_PE | CR0_ET;
    s->cr4 = 0;
    s->efer = 0;
}

bool boot_regs_long64(struct x86_state *s, struct guest_mem *mem, GError **err)
{
    /* PML4, PDPT, then four page directories of 2 MiB pages: 4 GiB mapped one to one. */
    g_autofree uint64_t *tables = g_new0(uint64_t, 6 * 512);
    tables[0] = (BOOT_PAGE_TABLES_GPA + 0x1000) | 3;
    for (uint64_t i = 0; i < 4; i++)
        tables[512 + i] = (BOOT_PAGE_TABLES_GPA + 0x2000 + i * 0x1000) | 3;
    for (uint64_t i = 0; i < 4 * 512; i++)
        tables[1024 + i] = (i << 21) | 0x83;
    uint64_t gdt[4];
    memcpy(gdt, boot_gdt, sizeof(gdt));
    gdt[2] = 0x00af9b000000ffffull; /* 64-bit code */
    if (guest_mem_write(mem, GPA(BOOT_PAGE_TABLES_GPA), tables, 6 * 4096) ||
        guest_mem_write(mem, GPA(BOOT_GDT_GPA), gdt, sizeof(gdt)))
        return error_set(err, HANOK_ERROR_INVALID, "the guest needs at least 1 MiB of memory (-m)");
    flat_segments(s, true);
    s->gdt = (struct x86_dtr){.base = BOOT_GDT_GPA, .limit = sizeof(gdt) - 1};
    s->cr3 = BOOT_PAGE_TABLES_GPA;
    s->cr0 = CR0_PE | CR0_ET | CR0_PG;
    s->cr4 = CR4_PAE;
    s->efer = EFER_LME | EFER_LMA;
    return true;
}

/* ---- memory ---- */

static bool too_small(const struct boot_image *img, const struct boot_env *env, const char *what,
                      uint64_t end, GError **err)
{
    return error_set(
        err, HANOK_ERROR_INVALID,
        "the guest's memory is too small for %s of '%s': it reaches to %llu MiB, and %llu MiB "
        "are usable; give more with -m",
        what, img->path, (unsigned long long)((end + MiB - 1) / MiB),
        (unsigned long long)(env->ram_low_usable / MiB));
}

static bool range_fits(const struct boot_env *env, uint64_t gpa, uint64_t len)
{
    return len <= env->ram_low_usable && gpa <= env->ram_low_usable - len;
}

bool boot_put(const struct boot_image *img, const struct boot_env *env, uint64_t gpa,
              const void *data, uint64_t len_bytes, const char *what, GError **err)
{
    if (!range_fits(env, gpa, len_bytes) || guest_mem_write(env->mem, GPA(gpa), data, len_bytes))
        return too_small(img, env, what, gpa + len_bytes, err);
    return true;
}

bool boot_zero(const struct boot_image *img, const struct boot_env *env, uint64_t gpa,
               uint64_t len_bytes, const char *what, GError **err)
{
    static const uint8_t zeroes[64 * KiB];
    if (!range_fits(env, gpa, len_bytes))
        return too_small(img, env, what, gpa + len_bytes, err);
    while (len_bytes) {
        uint64_t n = MIN_OF(len_bytes, sizeof(zeroes));
        if (guest_mem_write(env->mem, GPA(gpa), zeroes, n))
            return too_small(img, env, what, gpa + n, err);
        gpa += n;
        len_bytes -= n;
    }
    return true;
}

bool boot_place_initrd(struct boot_image *img, const struct boot_env *env, uint64_t limit,
                       uint64_t avoid, uint64_t avoid_end, GError **err)
{
    img->initrd_gpa = 0;
    if (!img->initrd.len)
        return true;
    uint64_t top = MIN_OF(limit, env->ram_low_usable);
    uint64_t size = ALIGN_UP((uint64_t)img->initrd.len, GUEST_PAGE_SIZE);
    uint64_t gpa = size <= top ? ALIGN_DOWN(top - size, GUEST_PAGE_SIZE) : 0;
    if (gpa < avoid_end && gpa + size > avoid)
        gpa = size <= avoid ? ALIGN_DOWN(avoid - size, GUEST_PAGE_SIZE) : 0;
    if (gpa < 1 * MiB)
        return error_set(
            err, HANOK_ERROR_INVALID,
            "the guest's memory is too small: kernel '%s' and initrd '%s' (%llu MiB) do not fit "
            "together; give more with -m",
            img->path, img->initrd_path, (unsigned long long)(size / MiB));
    img->initrd_gpa = gpa;
    return boot_put(img, env, gpa, img->initrd.data, img->initrd.len, "the initrd", err);
}
