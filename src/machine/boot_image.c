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
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KERNEL_FILE_MAX (1ull * GiB)
#define INITRD_FILE_MAX (3ull * GiB)

static const struct boot_format *const boot_formats[] = {&boot_multiboot, &boot_pvh, &boot_bzimage};

static bool blob_error(const struct boot_blob *b, const char *why, GError **err)
{
    return error_set(err, HANOK_ERROR_INVALID, "could not load %s '%s': %s", b->what, b->path, why);
}

static bool blob_errno(const struct boot_blob *b, GError **err)
{
    return error_errno(err, errno, "could not load %s '%s'", b->what, b->path);
}

static bool blob_measure(struct boot_blob *b, GError **err)
{
    struct stat st;

    if (fstat(b->fd, &st) != 0)
        return blob_errno(b, err);
    if (!S_ISREG(st.st_mode))
        return blob_error(b, "it is not a regular file", err);
    if ((uint64_t)st.st_size > b->max_bytes)
        return error_set(err, HANOK_ERROR_INVALID,
                         "could not load %s '%s': %llu bytes is more than the %llu allowed",
                         b->what, b->path, (unsigned long long)st.st_size,
                         (unsigned long long)b->max_bytes);
    b->len = (size_t)st.st_size;
    return true;
}

static void blob_unload(struct boot_blob *b)
{
    if (b->data)
        munmap(b->data, b->mapped);
    b->data = NULL;
}

/* The file as it is now.  A copy, because the bytes are looked at more than once. */
static bool blob_load(struct boot_blob *b, GError **err)
{
    if (b->data || b->fd < 0)
        return true;
    if (!blob_measure(b, err))
        return false;
    b->mapped = MAX_OF(b->len, (size_t)1);
    void *p = mmap(NULL, b->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return blob_error(b, "not enough host memory", err);
    b->data = p;
    for (size_t done = 0; done < b->len;) {
        ssize_t n = pread(b->fd, b->data + done, b->len - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            bool ok = n < 0 ? blob_errno(b, err) : blob_error(b, "it is being changed", err);
            blob_unload(b);
            return ok;
        }
        done += (size_t)n;
    }
    return true;
}

static bool blob_open(struct boot_blob *b, const char *path, const char *what, uint64_t max_bytes,
                      GError **err)
{
    b->path = path;
    b->what = what;
    b->max_bytes = max_bytes;
    b->fd = open(path, O_RDONLY | O_CLOEXEC);
    return b->fd < 0 ? blob_errno(b, err) : blob_load(b, err);
}

static void blob_close(struct boot_blob *b)
{
    blob_unload(b);
    if (b->fd >= 0)
        close(b->fd);
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
    img->kernel.fd = img->initrd.fd = -1;
    bool ok = blob_open(&img->kernel, img->path, "kernel", KERNEL_FILE_MAX, err);
    if (ok && img->initrd_path)
        ok = blob_open(&img->initrd, img->initrd_path, "initrd", INITRD_FILE_MAX, err);
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
    blob_close(&img->kernel);
    blob_close(&img->initrd);
    g_free(img->path);
    g_free(img->initrd_path);
    g_free(img->append);
    g_free(img);
}

void boot_image_unload(struct boot_image *img)
{
    blob_unload(&img->kernel);
    blob_unload(&img->initrd);
}

bool boot_image_place(struct boot_image *img, const struct boot_env *env, GError **err)
{
    bool known = img->kernel.data;
    bool ok = blob_load(&img->kernel, err) && blob_load(&img->initrd, err) &&
              (known || detect_format(img, err)) && img->format->place(img, env, err);

    boot_image_unload(img);
    return ok;
}

bool boot_image_under_firmware(const struct boot_image *img, GError **err)
{
    return img->format == &boot_bzimage ||
           error_set(err, HANOK_ERROR_UNSUPPORTED,
                     "kernel '%s' is a %s image, which firmware does not start: leave out -bios "
                     "and pflash, or give a bzImage",
                     img->path, img->format->name);
}

void boot_image_add_fw_cfg(struct boot_image *img, struct fw_cfg *f)
{
    fw_cfg_add_u32(f, FW_CFG_CMDLINE_ADDR, BOOT_CMDLINE_GPA);
    fw_cfg_add_u32(f, FW_CFG_CMDLINE_SIZE, (uint32_t)strlen(img->append) + 1);
    fw_cfg_add_bytes(f, FW_CFG_CMDLINE_DATA, img->append, strlen(img->append) + 1);
    fw_cfg_add_u32(f, FW_CFG_INITRD_ADDR, (uint32_t)img->initrd_gpa);
    fw_cfg_add_u32(f, FW_CFG_INITRD_SIZE, (uint32_t)img->initrd.len);
    if (img->initrd.len)
        fw_cfg_add_part(f, FW_CFG_INITRD_DATA, img->initrd.fd, 0, img->initrd.len);
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
