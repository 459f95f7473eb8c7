/* ACPI and SMBIOS: loader commands executed, every pointer followed, every sum checked, AML read by
 * the reference disassembler. */
#include "base/util.h"
#include "bus/acpi.h"
#include "bus/fw_cfg.h"
#include "mem/guest_mem.h"

#include <glib.h>
#include <glib/gstdio.h>

#define RAM_BYTES (2 * MiB)

struct board {
    struct acpi_placer placer; /* first */
    struct device_list devices;
    struct io_space *pio;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct fw_cfg *f;
    uint64_t high, fseg;
    struct acpi_placed placed;
};

static uint64_t alloc(struct acpi_placer *p, enum acpi_zone zone, uint64_t size, uint64_t align)
{
    struct board *b = (struct board *)p;
    if (zone == ACPI_ZONE_FSEG) {
        uint64_t at = ALIGN_UP(b->fseg, align);
        b->fseg = at + size;
        return at;
    }
    return size > b->high ? UINT64_MAX : (b->high = ALIGN_DOWN(b->high - size, align));
}

static unsigned pirq(unsigned slot, unsigned pin)
{
    return slot >= 25 ? pin : 4 + (slot + pin) % 4;
}

static unsigned pirq_of_four(unsigned slot, unsigned pin)
{
    return (slot + pin) % 4;
}

static struct board *board_new(void)
{
    struct board *b = g_new0(struct board, 1);
    device_list_init(&b->devices);
    b->pio = io_space_new("pio", 0x10000);
    b->mem = guest_mem_new();
    b->ram = ram_block_new("ram", RAM_BYTES, false, false, NULL);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, RAM_BYTES, GUEST_RAM);
    b->f = fw_cfg_new(&b->devices, b->pio, b->mem);
    b->placer = (struct acpi_placer){.alloc = alloc, .mem = b->mem};
    b->high = RAM_BYTES;
    b->fseg = 0xf0000;
    return b;
}

static void board_free(struct board *b)
{
    device_list_fini(&b->devices);
    io_space_free(b->pio);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
    g_free(b);
}

static void tables_build_for(struct board *b, enum acpi_chipset chipset, unsigned cpus)
{
    g_autofree uint32_t *ids = g_new(uint32_t, cpus);
    for (unsigned i = 0; i < cpus; i++)
        ids[i] = i;
    struct acpi_config cfg = {.chipset = chipset,
                              .cpu_count = cpus,
                              .apic_id = ids,
                              .ecam = {0xb0000000, chipset == ACPI_CHIPSET_Q35 ? 256 * MiB : 0},
                              .pci32 = {0xc0000000, 0x3ec00000},
                              .pci64 = {0x400000000, 32 * GiB},
                              .pm_base = 0x600,
                              .com_mask = 1,
                              .hpet = true,
                              .sleep_s3 = true,
                              .pirq = chipset == ACPI_CHIPSET_Q35 ? pirq : pirq_of_four};
    acpi_build(b->f, &cfg);
    g_assert_true(acpi_load(b->f, &b->placer, &b->placed, NULL));
}

static void tables_build(struct board *b, unsigned cpus)
{
    tables_build_for(b, ACPI_CHIPSET_Q35, cpus);
}

static const uint8_t *at(struct board *b, uint64_t gpa, uint64_t len)
{
    const uint8_t *p = guest_mem_ptr(b->mem, GPA(gpa), len, false);
    g_assert_nonnull(p);
    return p;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;
    while (len--)
        s = (uint8_t)(s + *p++);
    return s;
}

/* The table the XSDT lists under that signature, checked; NULL when there is none. */
static const uint8_t *table(struct board *b, const char *signature, uint32_t *len)
{
    uint64_t xsdt = le64_get(at(b, b->placed.rsdp, 36) + 24);
    const uint8_t *x = at(b, xsdt, 36);
    uint32_t bytes = le32_get(x + 4);
    x = at(b, xsdt, bytes);
    g_assert_cmpmem(x, 4, "XSDT", 4);
    g_assert_cmpint(sum(x, bytes), ==, 0);
    for (uint32_t i = 36; i < bytes; i += 8) {
        uint64_t where = le64_get(x + i);
        const uint8_t *t = at(b, where, 36);
        *len = le32_get(t + 4);
        t = at(b, where, *len);
        g_assert_cmpint(sum(t, *len), ==, 0);
        if (memcmp(t, signature, 4) == 0)
            return t;
    }
    return NULL;
}

static void test_root_pointer_and_tables(void)
{
    struct board *b = board_new();
    uint32_t len;
    tables_build(b, 4);
    const uint8_t *rsdp = at(b, b->placed.rsdp, 36);
    g_assert_cmpint(b->placed.rsdp % 16, ==, 0);
    g_assert_cmpmem(rsdp, 8, "RSD PTR ", 8);
    g_assert_cmpint(sum(rsdp, 20), ==, 0);
    g_assert_cmpint(sum(rsdp, 36), ==, 0);
    const uint8_t *rsdt = at(b, le32_get(rsdp + 16), 36);
    g_assert_cmpmem(rsdt, 4, "RSDT", 4);
    g_assert_cmpint(sum(rsdt, le32_get(rsdt + 4)), ==, 0);

    const uint8_t *fadt = table(b, "FACP", &len);
    g_assert_cmpuint(len, ==, 244);
    g_assert_cmphex(le32_get(fadt + 76), ==, 0x608);
    g_assert_cmphex(le64_get(fadt + 116 + 4), ==, 0xcf9);
    uint32_t facs = le32_get(fadt + 36), dsdt = le32_get(fadt + 40);
    g_assert_cmphex(facs % 64, ==, 0);
    g_assert_cmphex(facs, ==, b->placed.facs);
    g_assert_cmpmem(at(b, facs, 64), 4, "FACS", 4);
    g_assert_cmphex(le64_get(fadt + 140), ==, dsdt);
    const uint8_t *d = at(b, dsdt, 36);
    g_assert_cmpmem(d, 4, "DSDT", 4);
    g_assert_cmpint(sum(at(b, dsdt, le32_get(d + 4)), le32_get(d + 4)), ==, 0);

    const uint8_t *mcfg = table(b, "MCFG", &len);
    g_assert_cmphex(le64_get(mcfg + 44), ==, 0xb0000000);
    g_assert_cmpint(mcfg[55], ==, 255);
    g_assert_nonnull(table(b, "HPET", &len));
    g_assert_nonnull(table(b, "SSDT", &len));
    g_assert_nonnull(table(b, "WAET", &len));
    board_free(b);
}

static void test_madt_uses_wide_entries_beyond_255(void)
{
    struct board *b = board_new();
    unsigned narrow = 0, wide = 0, overrides = 0, ioapics = 0;
    uint32_t len;
    tables_build(b, 300);
    const uint8_t *t = table(b, "APIC", &len);
    for (uint32_t i = 44; i < len; i += t[i + 1]) {
        g_assert_cmpint(t[i + 1], >=, 2);
        narrow += t[i] == 0;
        wide += t[i] == 9;
        overrides += t[i] == 2;
        ioapics += t[i] == 1;
        if (t[i] == 9)
            g_assert_cmpuint(le32_get(t + i + 4), >=, 255);
    }
    g_assert_cmpuint(narrow, ==, 255);
    g_assert_cmpuint(wide, ==, 45);
    g_assert_cmpuint(overrides, ==, 5);
    g_assert_cmpuint(ioapics, ==, 1);
    board_free(b);
}

/* Writes a table to a file, has iasl disassemble it, returns the text. */
static char *disassemble(const char *dir, const char *name, const uint8_t *t, uint32_t len,
                         const char *externals)
{
    g_autofree char *aml = g_strdup_printf("%s/%s.aml", dir, name);
    g_autofree char *dsl = g_strdup_printf("%s/%s.dsl", dir, name);
    char *argv[] = {"iasl", "-d", aml, NULL},
         *argv_ext[] = {"iasl", "-e", (char *)externals, "-d", aml, NULL};
    g_autofree char *out = NULL, *errors = NULL;
    char *text = NULL;
    int status = 0;
    g_assert_true(g_file_set_contents(aml, (const char *)t, len, NULL));
    g_assert_true(g_spawn_sync(NULL, externals ? argv_ext : argv, NULL, G_SPAWN_SEARCH_PATH, NULL,
                               NULL, &out, &errors, &status, NULL));
    g_test_message("%s%s", out, errors);
    g_assert_true(g_spawn_check_wait_status(status, NULL));
    g_assert_null(strstr(errors, "Error"));
    g_assert_true(g_file_get_contents(dsl, &text, NULL, NULL));
    g_unlink(dsl);
    return text;
}

static unsigned occurrences(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

/* Where the disassembler finds the tables. */
struct files {
    char *dir, *ssdt, *dsdt;
};

static struct files files_new(void)
{
    char *dir = g_dir_make_tmp("acpi-XXXXXX", NULL);

    return (struct files){dir, g_strdup_printf("%s/ssdt.aml", dir),
                          g_strdup_printf("%s/dsdt.aml", dir)};
}

static void files_free(struct files *f)
{
    g_unlink(f->ssdt);
    g_unlink(f->dsdt);
    g_rmdir(f->dir);
    g_free(f->ssdt);
    g_free(f->dsdt);
    g_free(f->dir);
}

static void test_aml_is_read_by_the_reference_disassembler(void)
{
    g_autofree char *iasl = g_find_program_in_path("iasl");
    if (!iasl) {
        g_test_skip("iasl is not installed");
        return;
    }
    struct board *b = board_new();
    struct files files = files_new();
    uint32_t len;
    tables_build(b, 20);
    const uint8_t *ssdt = table(b, "SSDT", &len);
    g_autofree char *s = disassemble(files.dir, "ssdt", ssdt, len, NULL);
    g_assert_cmpuint(occurrences(s, "ACPI0007"), ==, 20);
    g_assert_cmpuint(occurrences(s, "Name (_MAT, Buffer"), ==, 20);
    g_assert_cmpuint(occurrences(s, "Method (_EJ0"), ==, 19); /* the boot processor stays */
    g_assert_cmpuint(occurrences(s, "Notify (C0"), ==, 20);
    g_assert_nonnull(strstr(s, "Method (CTFY, 2"));
    g_assert_nonnull(strstr(s, "COST (0x13, Arg0, Arg1, Arg2)"));
    g_assert_nonnull(strstr(s, "Name (\\_S3"));
    g_assert_null(strstr(s, "Name (\\_S4"));
    g_assert_nonnull(strstr(s, "Name (\\_SB.PCI0.M64B, 0x0000000400000000)"));
    g_assert_nonnull(strstr(s, "Name (\\_SB.PCI0.M32L, 0xFEBFFFFF)"));
    g_assert_cmpuint(occurrences(s, "FFFF, "), >=, 256); /* two routing tables of 128 rows */
    g_assert_nonnull(strstr(s, "\\_SB.LNKH"));
    const uint8_t *fadt = table(b, "FACP", &len);
    uint64_t dsdt = le32_get(fadt + 40);
    len = le32_get(at(b, dsdt, 36) + 4);
    g_autofree char *d = disassemble(files.dir, "dsdt", at(b, dsdt, len), len, files.ssdt);
    g_assert_nonnull(strstr(d, "PNP0A08"));
    g_assert_nonnull(strstr(d, "Name (_S5"));
    g_assert_nonnull(strstr(d, "Method (_E02"));
    files_free(&files);
    board_free(b);
}

/* A pc has links in both interrupt modes, no ECAM, and the PIIX4's general-purpose events. */
static void test_piix_tables(void)
{
    struct board *b = board_new();
    struct files files = files_new();
    g_autofree char *iasl = g_find_program_in_path("iasl");
    uint32_t len;
    tables_build_for(b, ACPI_CHIPSET_PIIX, 2);
    g_assert_null(table(b, "MCFG", &len));
    const uint8_t *fadt = table(b, "FACP", &len);
    g_assert_cmphex(le32_get(fadt + 80), ==, 0x60c);
    g_assert_cmpuint(fadt[92], ==, 4);
    uint64_t dsdt = le32_get(fadt + 40);
    const uint8_t *ssdt = table(b, "SSDT", &len);
    if (!iasl) {
        g_test_skip("iasl is not installed");
    } else {
        g_autofree char *s = disassemble(files.dir, "ssdt", ssdt, len, NULL);
        g_assert_null(strstr(s, "PRTA"));
        g_assert_null(strstr(s, "LNKE"));
        g_assert_cmpuint(occurrences(s, "LNKD"), >=, 32);
        len = le32_get(at(b, dsdt, 36) + 4);
        g_autofree char *d = disassemble(files.dir, "dsdt", at(b, dsdt, len), len, files.ssdt);
        g_assert_nonnull(strstr(d, "PNP0A03"));
        g_assert_null(strstr(d, "PNP0A08"));
        g_assert_nonnull(strstr(d, "Name (_ADR, 0x00010000)"));
        g_assert_nonnull(strstr(d, "Device (COM4)"));
    }
    files_free(&files);
    board_free(b);
}

/* Without PCI: virtio devices by name, address and interrupt; nothing that needs a bridge. */
static void test_tables_without_pci(void)
{
    struct board *b = board_new();
    struct files files = files_new();
    g_autofree char *iasl = g_find_program_in_path("iasl");
    const struct acpi_virtio virtio[] = {{0, 16, 0xfeb00000, 512}, {11, 19, 0xfeb01600, 512}};
    uint32_t len, id = 0;
    struct acpi_config cfg = {.chipset = ACPI_CHIPSET_NO_PCI,
                              .cpu_count = 1,
                              .apic_id = &id,
                              .pm_base = 0x600,
                              .com_mask = 1,
                              .no_rtc = true,
                              .no_pic = true,
                              .virtio = virtio,
                              .virtio_count = ARRAY_SIZE(virtio)};
    acpi_build(b->f, &cfg);
    g_assert_true(acpi_load(b->f, &b->placer, &b->placed, NULL));
    g_assert_null(table(b, "MCFG", &len));
    g_assert_null(table(b, "HPET", &len));
    const uint8_t *fadt = table(b, "FACP", &len), *madt = table(b, "APIC", &len);
    g_assert_cmphex(le16_get(fadt + 109), ==, 0x25); /* legacy devices, no VGA, no clock */
    g_assert_cmphex(le32_get(madt + 40), ==, 0);     /* no 8259 pair */
    uint64_t dsdt = le32_get(fadt + 40);
    const uint8_t *ssdt = table(b, "SSDT", &len);
    if (!iasl) {
        g_test_skip("iasl is not installed");
    } else {
        g_autofree char *s = disassemble(files.dir, "ssdt", ssdt, len, NULL);
        g_assert_null(strstr(s, "PCI0"));
        g_assert_cmpuint(occurrences(s, "LNRO0005"), ==, 2);
        g_assert_nonnull(strstr(s, "Device (VR11)"));
        g_assert_nonnull(strstr(s, "0xFEB01600"));
        g_assert_cmpuint(occurrences(s, "Interrupt (ResourceConsumer, Level, ActiveHigh, Shared"),
                         ==, 2);
        g_assert_nonnull(strstr(s, "0x00000013,"));
        len = le32_get(at(b, dsdt, 36) + 4);
        g_autofree char *d = disassemble(files.dir, "dsdt", at(b, dsdt, len), len, files.ssdt);
        g_assert_null(strstr(d, "PCI0"));
        g_assert_null(strstr(d, "PNP0303"));
        g_assert_nonnull(strstr(d, "Device (COM1)"));
    }
    files_free(&files);
    board_free(b);
}

static void test_malformed_commands_are_refused(void)
{
    struct board *b = board_new();
    g_autofree uint8_t *copy = NULL;
    GError *err = NULL;
    size_t len;
    tables_build(b, 1);
    const uint8_t *loader = fw_cfg_file(b->f, "etc/table-loader", &len);
    copy = g_memdup2(loader, len);
    for (size_t i = 0; i < len; i += 3) {
        uint8_t kept = copy[i];
        copy[i] ^= 0xff;
        b->high = RAM_BYTES;
        b->fseg = 0xf0000;
        fw_cfg_add_file(b->f, "etc/table-loader", copy, len);
        acpi_load(b->f, &b->placer, &b->placed, &err); /* may succeed: an offset can move */
        g_clear_error(&err);
        copy[i] = kept;
    }
    fw_cfg_add_file(b->f, "etc/table-loader", copy, len - 1);
    g_assert_false(acpi_load(b->f, &b->placer, &b->placed, &err));
    g_assert_nonnull(strstr(err->message, "malformed"));
    g_clear_error(&err);
    b->high = 100;
    fw_cfg_add_file(b->f, "etc/table-loader", copy, len);
    g_assert_false(acpi_load(b->f, &b->placer, &b->placed, &err));
    g_assert_nonnull(strstr(err->message, "too little memory"));
    g_clear_error(&err);
    board_free(b);
}

static const uint8_t *smbios_find(const uint8_t *p, uint32_t len, uint8_t type, unsigned skip)
{
    for (const uint8_t *end = p + len; p < end;) {
        if (p[0] == type && skip-- == 0)
            return p;
        p += p[1];
        while (p[0] || p[1])
            p++;
        p += 2;
    }
    return NULL;
}

static const uint8_t *smbios_make(struct board *b, uint64_t ram_high, unsigned sockets,
                                  uint32_t *len)
{
    static const uint8_t uuid[16] = {0x95, 0x4c, 0x1f, 0x7e, 0x50, 0xa1, 0x48, 0x80,
                                     0x84, 0xdb, 0x4f, 0x1f, 0xa5, 0x41, 0xcc, 0xf9};
    struct smbios_config cfg = {.uuid = uuid,
                                .serial = "S-1",
                                .sockets = sockets,
                                .cores_per_socket = 2,
                                .threads_per_socket = 2,
                                .ram_low = {0, 2 * GiB},
                                .ram_high = {4 * GiB, ram_high},
                                .cpu_brand = "A processor",
                                .cpu_vendor = "AuthenticAMD"};
    smbios_build(b->f, &cfg);
    g_assert_true(smbios_load(b->f, &b->placer, NULL));
    const uint8_t *anchor = at(b, 0xf0000, 31);
    if (memcmp(anchor, "_SM3_", 5) == 0) {
        g_assert_cmpint(sum(anchor, 24), ==, 0);
        *len = le32_get(anchor + 12);
        return at(b, le64_get(anchor + 16), *len);
    }
    g_assert_cmpmem(anchor, 4, "_SM_", 4);
    g_assert_cmpint(sum(anchor, 31), ==, 0);
    g_assert_cmpint(sum(anchor + 16, 15), ==, 0);
    *len = le16_get(anchor + 22);
    return at(b, le32_get(anchor + 24), *len);
}

static void test_smbios_describes_a_terabyte(void)
{
    struct board *b = board_new();
    uint32_t len;
    uint64_t total = 0;
    const uint8_t *t = smbios_make(b, TiB - 2 * GiB, 2, &len), *s;
    s = smbios_find(t, len, 1, 0);
    g_assert_cmpmem(s + 8, 16, "\x7e\x1f\x4c\x95\xa1\x50\x80\x48\x84\xdb\x4f\x1f\xa5\x41\xcc\xf9",
                    16);
    s = smbios_find(t, len, 16, 0);
    g_assert_cmphex(le64_get(s + 15), ==, TiB);
    for (unsigned i = 0; (s = smbios_find(t, len, 17, i)); i++)
        total += (le16_get(s + 12) == 0x7fff ? le32_get(s + 28) : le16_get(s + 12)) * MiB;
    g_assert_cmphex(total, ==, TiB);
    s = smbios_find(t, len, 19, 1);
    g_assert_cmphex(le32_get(s + 4), ==, 4 * GiB / KiB);
    g_assert_cmphex(le32_get(s + 8), ==, (TiB + 2 * GiB) / KiB - 1);
    g_assert_nonnull(smbios_find(t, len, 4, 1));
    g_assert_null(smbios_find(t, len, 4, 2));
    g_assert_nonnull(smbios_find(t, len, 127, 0));
    board_free(b);
}

/* The n-th string of a structure, from 1. */
static const char *smbios_string(const uint8_t *s, unsigned n)
{
    const char *at = (const char *)s + s[1];
    while (--n)
        at += strlen(at) + 1;
    return at;
}

static void test_smbios_says_what_it_was_told(void)
{
    static const char *const oem[] = {"first", "second", NULL};
    struct board *b = board_new();
    struct smbios_config cfg = {
        .sockets = 1,
        .ram_low = {0, GiB},
        .bios = {.vendor = "V", .date = "01/02/2003", .major = 4, .minor = 2},
        .board = {.product = "P", .location = "slot 7"},
        .chassis = {.asset = "A-1"},
        .strings = oem};
    smbios_build(b->f, &cfg);
    g_assert_true(smbios_load(b->f, &b->placer, NULL));
    const uint8_t *anchor = at(b, 0xf0000, 31);
    uint32_t len = le16_get(anchor + 22);
    const uint8_t *t = at(b, le32_get(anchor + 24), len), *s = smbios_find(t, len, 0, 0);
    g_assert_cmpstr(smbios_string(s, s[4]), ==, "V");
    g_assert_cmpstr(smbios_string(s, s[8]), ==, "01/02/2003");
    g_assert_cmpint(s[20], ==, 4);
    g_assert_cmpint(s[21], ==, 2);
    s = smbios_find(t, len, 2, 0);
    g_assert_cmpint(s[1], ==, 15);
    g_assert_cmpstr(smbios_string(s, s[5]), ==, "P");
    g_assert_cmpstr(smbios_string(s, s[10]), ==, "slot 7");
    s = smbios_find(t, len, 3, 0);
    g_assert_cmphex(le16_get(smbios_find(t, len, 2, 0) + 11), ==, le16_get(s + 2));
    g_assert_cmpstr(smbios_string(s, s[8]), ==, "A-1");
    s = smbios_find(t, len, 11, 0);
    g_assert_cmpint(s[4], ==, 2);
    g_assert_cmpstr(smbios_string(s, 2), ==, "second");
    board_free(b);
}

static void test_smbios_grows_to_3_0(void)
{
    struct board *b = board_new();
    uint32_t len;
    const uint8_t *t = smbios_make(b, 32 * TiB, 8, &len);
    g_assert_cmpuint(len, >, 65535);
    g_assert_cmpmem(at(b, 0xf0000, 5), 5, "_SM3_", 5);
    const uint8_t *s = smbios_find(t, len, 19, 1);
    g_assert_cmphex(le32_get(s + 4), ==, UINT32_MAX);
    g_assert_cmphex(le64_get(s + 15), ==, 4 * GiB);
    board_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/acpi/piix", test_piix_tables);
    g_test_add_func("/acpi/no-pci", test_tables_without_pci);
    g_test_add_func("/acpi/tables", test_root_pointer_and_tables);
    g_test_add_func("/acpi/madt-wide", test_madt_uses_wide_entries_beyond_255);
    g_test_add_func("/acpi/disassembly", test_aml_is_read_by_the_reference_disassembler);
    g_test_add_func("/acpi/malformed-commands", test_malformed_commands_are_refused);
    g_test_add_func("/smbios/terabyte", test_smbios_describes_a_terabyte);
    g_test_add_func("/smbios/3.0", test_smbios_grows_to_3_0);
    g_test_add_func("/smbios/says-what-it-was-told", test_smbios_says_what_it_was_told);
    return g_test_run();
}
