/* The three loaders on images made here: where things land, what the registers say, and what is
 * refused. */
#include "base/util.h"
#include "cpu/x86_state.h"
#include "machine/config.h"
#include "machine/loader.h"
#include "mem/guest_mem.h"

#include <elf.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <unistd.h>

#define RAM_BYTES (64 * MiB)
#define USABLE    (RAM_BYTES - 128 * KiB)

struct fixture {
    struct guest_mem *mem;
    struct ram_block *ram;
    struct x86_state *bsp;
    struct vm_config cfg;
    char *dir;
};

static const struct e820_entry e820[] = {
    {0, 0x9fc00, E820_RAM},
    {0x9fc00, 0x400, E820_RESERVED},
    {1 * MiB, USABLE - 1 * MiB, E820_RAM},
};

static void setup(struct fixture *f, gconstpointer unused)
{
    f->mem = guest_mem_new();
    f->ram = ram_block_new("pc.ram", RAM_BYTES, false, false, NULL);
    guest_mem_map(f->mem, GPA(0), f->ram, 0, RAM_BYTES, GUEST_RAM);
    f->bsp = g_new0(struct x86_state, 1);
    f->dir = g_dir_make_tmp("hanok-loaders-XXXXXX", NULL);
    f->cfg = (struct vm_config){0};
}

static void teardown(struct fixture *f, gconstpointer unused)
{
    for (int i = 0; i < 2; i++) {
        char *path = i ? f->cfg.initrd : f->cfg.kernel;
        if (path)
            g_unlink(path);
        g_free(path);
    }
    g_rmdir(f->dir);
    g_free(f->dir);
    g_free(f->bsp);
    guest_mem_free(f->mem);
    ram_block_free(f->ram);
}

static char *write_file(struct fixture *f, const char *name, const void *data, size_t len)
{
    char *path = g_build_filename(f->dir, name, NULL);
    g_assert_true(g_file_set_contents(path, data, (gssize)len, NULL));
    return path;
}

static struct boot_env boot_env(struct fixture *f)
{
    return (struct boot_env){
        .mem = f->mem,
        .e820 = e820,
        .e820_count = ARRAY_SIZE(e820),
        .rsdp_gpa = 0xf5a00,
        .ram_low_usable = USABLE,
        .ram_low_end = RAM_BYTES,
        .bsp = f->bsp,
    };
}

static bool load(struct fixture *f, GError **err)
{
    struct boot_env env = boot_env(f);
    struct boot_image *img = boot_image_open(&f->cfg, err);
    bool ok = img && boot_image_place(img, &env, err);
    boot_image_free(img);
    return ok;
}

static void load_refused(struct fixture *f, const char *sentence)
{
    GError *err = NULL;
    g_assert_false(load(f, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, sentence))
        g_error("expected '%s' in: %s", sentence, err->message);
    g_error_free(err);
}

static uint32_t guest_u32(struct fixture *f, uint64_t gpa)
{
    uint32_t v = 0;
    g_assert_cmpint(guest_mem_read(f->mem, GPA(gpa), &v, 4), ==, 0);
    return v;
}

static char *guest_string(struct fixture *f, uint64_t gpa)
{
    char text[256] = "";
    g_assert_cmpint(guest_mem_read(f->mem, GPA(gpa), text, sizeof(text) - 1), ==, 0);
    return g_strdup(text);
}

/* ---- multiboot ---- */

#define MB_LOAD 0x400000u

static size_t multiboot_image(uint8_t *out, uint32_t flags, uint16_t machine)
{
    Elf32_Ehdr *e = (Elf32_Ehdr *)out;
    Elf32_Phdr *p = (Elf32_Phdr *)(out + sizeof(*e));
    memset(out, 0, 4096);
    memcpy(e->e_ident, ELFMAG, SELFMAG);
    e->e_ident[EI_CLASS] = ELFCLASS32;
    e->e_ident[EI_DATA] = ELFDATA2LSB;
    e->e_machine = machine;
    e->e_entry = MB_LOAD + 12;
    e->e_phoff = sizeof(*e);
    e->e_phentsize = sizeof(*p);
    e->e_phnum = 1;
    *p = (Elf32_Phdr){
        .p_type = PT_LOAD, .p_offset = 0xb0, .p_paddr = MB_LOAD, .p_filesz = 64, .p_memsz = 0x2000};
    le32_put(out + 0xb0, 0x1badb002);
    le32_put(out + 0xb4, flags);
    le32_put(out + 0xb8, -(0x1badb002u + flags));
    return 4096;
}

static void multiboot_gets_information_and_module(struct fixture *f, gconstpointer unused)
{
    uint8_t image[4096];
    f->cfg.kernel = write_file(f, "test.flat", image, multiboot_image(image, 0, EM_386));
    f->cfg.initrd = write_file(f, "env", "NR_CPUS=2\n", 10);
    f->cfg.append = (char *)"one two";
    uint8_t dirt[32];
    memset(dirt, 0xaa, sizeof(dirt));
    guest_mem_write(f->mem, GPA(MB_LOAD + 0x1000), dirt, sizeof(dirt));

    GError *err = NULL;
    g_assert_true(load(f, &err));
    g_assert_no_error(err);
    g_assert_cmphex(f->bsp->rip, ==, MB_LOAD + 12);
    g_assert_cmphex(f->bsp->gpr[R_RAX], ==, 0x2badb002);
    g_assert_cmphex(f->bsp->cr0 & 0x80000001u, ==, 1);
    g_assert_cmphex(guest_u32(f, MB_LOAD), ==, 0x1badb002);
    g_assert_cmphex(guest_u32(f, MB_LOAD + 0x1000), ==,
                    0); /* data beyond the file's part is zeroed */

    uint64_t mbi = f->bsp->gpr[R_RBX];
    g_assert_cmphex(mbi, >=, 0x1000);
    g_assert_cmphex(guest_u32(f, mbi) & 0x4f, ==, 0x4f);
    g_assert_cmpuint(guest_u32(f, mbi + 4), ==, 639);
    g_assert_cmpuint(guest_u32(f, mbi + 8), ==, (USABLE - 1 * MiB) / KiB);
    g_autofree char *cmdline = guest_string(f, guest_u32(f, mbi + 16));
    g_assert_true(g_str_has_suffix(cmdline, "test.flat one two"));
    g_assert_cmpuint(guest_u32(f, mbi + 20), ==, 1);
    uint32_t module = guest_u32(f, guest_u32(f, mbi + 24));
    g_assert_cmphex(module, >=, MB_LOAD + 0x2000);
    g_autofree char *env = guest_string(f, module);
    g_assert_true(g_str_has_prefix(env, "NR_CPUS=2\n"));
    g_assert_cmpuint(guest_u32(f, mbi + 44), ==, 24 * ARRAY_SIZE(e820));
    g_assert_cmphex(guest_u32(f, guest_u32(f, mbi + 48) + 4), ==, 0);
}

static void multiboot_refuses_what_it_cannot_honour(struct fixture *f, gconstpointer unused)
{
    uint8_t image[4096];
    f->cfg.kernel = write_file(f, "k", image, multiboot_image(image, 0x8000, EM_386));
    load_refused(f, "unknown features");
    g_free(f->cfg.kernel);
    f->cfg.kernel = write_file(f, "k", image, multiboot_image(image, 0, EM_X86_64));
    load_refused(f, "32-bit ELF");
    g_free(f->cfg.kernel);
    size_t len = multiboot_image(image, 0, EM_386);
    Elf32_Phdr *p = (Elf32_Phdr *)(image + sizeof(Elf32_Ehdr));
    p->p_memsz = RAM_BYTES;
    f->cfg.kernel = write_file(f, "k", image, len);
    load_refused(f, "memory is too small");
}

/* ---- bzImage ---- */

#define BZ_PREF      0x1000000ull
#define BZ_INIT_SIZE (8 * MiB)

static size_t bzimage(uint8_t *out, bool entry64)
{
    memset(out, 0, 8192);
    out[0x1f1] = 1;
    le16_put(out + 0x1fe, 0xaa55);
    out[0x201] = 0x66;
    memcpy(out + 0x202, "HdrS", 4);
    le16_put(out + 0x206, 0x20f);
    out[0x211] = 1;
    le32_put(out + 0x22c, 0x7fffffff);
    out[0x234] = 1;
    le16_put(out + 0x236, entry64 ? 1 : 0);
    le32_put(out + 0x238, 2047);
    le64_put(out + 0x258, BZ_PREF);
    le32_put(out + 0x260, BZ_INIT_SIZE);
    memset(out + 1024, 0xc3, 8192 - 1024);
    return 8192;
}

static void bzimage_enters_64_bit_with_boot_params(struct fixture *f, gconstpointer unused)
{
    uint8_t image[8192];
    f->cfg.kernel = write_file(f, "vmlinuz", image, bzimage(image, true));
    f->cfg.initrd = write_file(f, "initrd", "0123456789", 10);
    f->cfg.append = (char *)"console=ttyS0";
    GError *err = NULL;
    g_assert_true(load(f, &err));
    g_assert_no_error(err);
    g_assert_cmphex(f->bsp->rip, ==, BZ_PREF + 0x200);
    g_assert_cmphex(f->bsp->efer & 0x500, ==, 0x500);
    g_assert_cmphex(f->bsp->seg[SEG_CS].attr & SEG_L, ==, SEG_L);
    uint64_t bp = f->bsp->gpr[R_RSI];
    g_assert_cmphex(guest_u32(f, bp + 0x70), ==, 0xf5a00);
    g_assert_cmpuint(guest_u32(f, bp + 0x1e8) & 0xff, ==, ARRAY_SIZE(e820));
    g_assert_cmphex(guest_u32(f, bp + 0x2d0 + 40), ==, 1 * MiB);
    g_autofree char *cmdline = guest_string(f, guest_u32(f, bp + 0x228));
    g_assert_cmpstr(cmdline, ==, "console=ttyS0");
    uint32_t initrd = guest_u32(f, bp + 0x218);
    g_assert_cmpuint(guest_u32(f, bp + 0x21c), ==, 10);
    g_assert_cmphex(initrd, >=, BZ_PREF + BZ_INIT_SIZE);
    g_assert_cmphex(initrd + 10, <=, USABLE);
    g_assert_cmphex(guest_u32(f, initrd), ==, 0x33323130);
    /* the page tables map 4 GiB one to one */
    uint64_t entry = 0;
    guest_mem_read(f->mem, GPA(f->bsp->cr3 + 0x2000 + 8 * 511), &entry, 8);
    g_assert_cmphex(entry, ==, (511ull << 21) | 0x83);
}

static void bzimage_without_xlf_kernel_64_enters_32_bit(struct fixture *f, gconstpointer unused)
{
    uint8_t image[8192];
    f->cfg.kernel = write_file(f, "vmlinuz", image, bzimage(image, false));
    GError *err = NULL;
    g_assert_true(load(f, &err));
    g_assert_cmphex(f->bsp->rip, ==, BZ_PREF);
    g_assert_cmphex(f->bsp->efer, ==, 0);
    g_assert_cmphex(f->bsp->cr0 >> 31, ==, 0);
    g_assert_cmpuint(f->bsp->seg[SEG_CS].sel, ==, 0x10);
}

static void bzimage_refuses_small_memory_long_lines_and_cut_files(struct fixture *f,
                                                                  gconstpointer unused)
{
    uint8_t image[8192];
    size_t len = bzimage(image, true);
    le32_put(image + 0x260, (uint32_t)RAM_BYTES);
    f->cfg.kernel = write_file(f, "k", image, len);
    load_refused(f, "memory is too small for kernel");
    g_free(f->cfg.kernel);
    /* Would fit from 1 MiB up, but the kernel moves itself to its preferred address. */
    le32_put(image + 0x260, (uint32_t)(USABLE - BZ_PREF + 4096));
    f->cfg.kernel = write_file(f, "k", image, len);
    load_refused(f, "from address 16 MiB");
    g_free(f->cfg.kernel);
    bzimage(image, true);
    f->cfg.kernel = write_file(f, "k", image, 1024);
    load_refused(f, "cut short");
    g_free(f->cfg.kernel);
    f->cfg.kernel = write_file(f, "k", image, len);
    g_autofree char *line = g_strnfill(3000, 'x');
    f->cfg.append = line;
    load_refused(f, "takes at most 2047");
}

static void write_into(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "we");
    g_assert_nonnull(file);
    g_assert_cmpuint(fwrite(data, 1, len, file), ==, len);
    g_assert_cmpint(fclose(file), ==, 0);
}

/* Nothing of the files is kept between resets. */
static void a_reset_reads_the_open_files_again(struct fixture *f, gconstpointer unused)
{
    uint8_t image[8192], before[1024] = {0}, after[1024];
    f->cfg.kernel = write_file(f, "vmlinuz", image, bzimage(image, true));
    f->cfg.initrd = write_file(f, "initrd", "0123456789", 10);
    GError *err = NULL;
    struct boot_env env = boot_env(f);
    struct boot_image *img = boot_image_open(&f->cfg, &err);
    g_assert_no_error(err);
    for (unsigned turn = 0; turn < 3; turn++) {
        if (turn == 1) /* a new file under the old name: not ours */
            g_free(write_file(f, "vmlinuz", "text", 4));
        if (turn == 2)
            write_into(f->cfg.initrd, "abcd", 4);
        guest_mem_write(f->mem, GPA(BZ_PREF), before, sizeof(before));
        g_assert_true(boot_image_place(img, &env, &err));
        guest_mem_read(f->mem, GPA(BZ_PREF), after, sizeof(after));
        g_assert_cmpmem(after, sizeof(after), image + 1024, sizeof(after));
        uint64_t bp = f->bsp->gpr[R_RSI];
        g_assert_cmpuint(guest_u32(f, bp + 0x21c), ==, turn == 2 ? 4 : 10);
        g_assert_cmphex(guest_u32(f, guest_u32(f, bp + 0x218)), ==,
                        turn == 2 ? 0x64636261 : 0x33323130);
    }
    boot_image_free(img);
}

static void a_kernel_that_was_spoilt_meanwhile_is_refused_at_reset(struct fixture *f,
                                                                   gconstpointer unused)
{
    uint8_t image[8192];
    f->cfg.kernel = write_file(f, "vmlinuz", image, bzimage(image, true));
    GError *err = NULL;
    struct boot_env env = boot_env(f);
    struct boot_image *img = boot_image_open(&f->cfg, &err);
    g_assert_true(boot_image_place(img, &env, &err));
    write_into(f->cfg.kernel, image, 1024);
    g_assert_false(boot_image_place(img, &env, &err));
    g_assert_nonnull(strstr(err->message, "cut short"));
    g_clear_error(&err);
    write_into(f->cfg.kernel, "", 0);
    g_assert_false(boot_image_place(img, &env, &err));
    g_assert_nonnull(strstr(err->message, f->cfg.kernel));
    g_error_free(err);
    boot_image_free(img);
}

/* ---- PVH ---- */

static size_t pvh_image(uint8_t *out, uint32_t note_type)
{
    memset(out, 0, 4096);
    Elf64_Ehdr *e = (Elf64_Ehdr *)out;
    Elf64_Phdr *p = (Elf64_Phdr *)(out + sizeof(*e));
    memcpy(e->e_ident, ELFMAG, SELFMAG);
    e->e_ident[EI_CLASS] = ELFCLASS64;
    e->e_ident[EI_DATA] = ELFDATA2LSB;
    e->e_machine = EM_X86_64;
    e->e_phoff = sizeof(*e);
    e->e_phentsize = sizeof(*p);
    e->e_phnum = 2;
    p[0] = (Elf64_Phdr){
        .p_type = PT_LOAD, .p_offset = 0x800, .p_paddr = 0x200000, .p_filesz = 256, .p_memsz = 512};
    p[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 0x400, .p_filesz = 40, .p_memsz = 40};
    /* an unrelated note first: name "Xen", 4 bytes */
    le32_put(out + 0x400, 4);
    le32_put(out + 0x404, 4);
    le32_put(out + 0x408, 7);
    memcpy(out + 0x40c, "Xen", 4);
    le32_put(out + 0x414, 4);
    le32_put(out + 0x418, 4);
    le32_put(out + 0x41c, note_type);
    memcpy(out + 0x420, "Xen", 4);
    le32_put(out + 0x424, 0x200040);
    return 4096;
}

static void pvh_enters_by_its_note(struct fixture *f, gconstpointer unused)
{
    uint8_t image[4096];
    f->cfg.kernel = write_file(f, "vmlinux", image, pvh_image(image, 18));
    f->cfg.initrd = write_file(f, "initrd", "abcd", 4);
    f->cfg.append = (char *)"root=/dev/vda";
    GError *err = NULL;
    g_assert_true(load(f, &err));
    g_assert_no_error(err);
    g_assert_cmphex(f->bsp->rip, ==, 0x200040);
    uint64_t info = f->bsp->gpr[R_RBX];
    g_assert_cmphex(guest_u32(f, info), ==, 0x336ec578);
    g_assert_cmpuint(guest_u32(f, info + 12), ==, 1);
    g_assert_cmphex(guest_u32(f, guest_u32(f, guest_u32(f, info + 16))), ==, 0x64636261);
    g_autofree char *cmdline = guest_string(f, guest_u32(f, info + 24));
    g_assert_cmpstr(cmdline, ==, "root=/dev/vda");
    g_assert_cmphex(guest_u32(f, info + 32), ==, 0xf5a00);
    g_assert_cmpuint(guest_u32(f, info + 48), ==, ARRAY_SIZE(e820));
}

static void pvh_without_the_note_is_refused(struct fixture *f, gconstpointer unused)
{
    uint8_t image[4096];
    f->cfg.kernel = write_file(f, "vmlinux", image, pvh_image(image, 5));
    load_refused(f, "no PVH note");
    g_free(f->cfg.kernel);
    f->cfg.kernel = write_file(f, "vmlinux", "just text", 9);
    load_refused(f, "neither a bzImage");
    g_free(f->cfg.kernel);
    f->cfg.kernel = g_strdup("/nonexistent/vmlinux");
    load_refused(f, "could not load kernel '/nonexistent/vmlinux': No such file");
}

#define ADD(name) g_test_add("/loaders/" #name, struct fixture, NULL, setup, name, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(multiboot_gets_information_and_module);
    ADD(multiboot_refuses_what_it_cannot_honour);
    ADD(bzimage_enters_64_bit_with_boot_params);
    ADD(bzimage_without_xlf_kernel_64_enters_32_bit);
    ADD(bzimage_refuses_small_memory_long_lines_and_cut_files);
    ADD(a_reset_reads_the_open_files_again);
    ADD(a_kernel_that_was_spoilt_meanwhile_is_refused_at_reset);
    ADD(pvh_enters_by_its_note);
    ADD(pvh_without_the_note_is_refused);
    return g_test_run();
}
