/* acpi_tables.c - the fixed tables, one function each, in one blob.
 *
 * Offsets are those of ACPI 6.4 ch. 5; pointers and checksums are left to the loader commands. */
#include "acpi_internal.h"

#include "base/util.h"
#include "bus/fw_cfg.h"

#include "dsdt_microvm.hex"
#include "dsdt_piix.hex"
#include "dsdt_q35.hex"

#include <assert.h>

enum {
    HEADER = 36,
    OFF_LENGTH = 4,
    OFF_CHECKSUM = 9,
    FADT_BYTES = 244,
    FACS_BYTES = 64,
    PM1_CNT = 4, /* in the PM block (ICH9 §13.8.3, PIIX4 §7.2) */
    PM_TMR = 8,
    SCI = 9,
};

static const struct {
    const unsigned char *dsdt;
    size_t dsdt_bytes;
    uint8_t gpe0, gpe0_bytes; /* in the PM block */
} chipsets[] = {
    [ACPI_CHIPSET_Q35] = {dsdt_q35_aml_code, sizeof(dsdt_q35_aml_code), 0x20, 16},
    [ACPI_CHIPSET_PIIX] = {dsdt_piix_aml_code, sizeof(dsdt_piix_aml_code), 0x0c, 4},
    [ACPI_CHIPSET_NO_PCI] = {dsdt_microvm_aml_code, sizeof(dsdt_microvm_aml_code), 0x20, 16},
};

struct tables {
    const struct acpi_config *cfg;
    GByteArray *blob, *loader;
    uint32_t xsdt_entry[16]; /* offsets of what the root tables list */
    unsigned entries;
};

static uint32_t table_begin(struct tables *t, const char *signature, uint8_t revision)
{
    uint8_t h[HEADER] = {0};
    uint32_t at = t->blob->len;

    memcpy(h, signature, 4);
    h[8] = revision;
    memcpy(h + 10, "HANOK ", 6);
    memcpy(h + 16, "HANOKVM ", 8);
    le32_put(h + 24, 1);
    memcpy(h + 28, "HNOK", 4);
    le32_put(h + 32, 1);
    g_byte_array_append(t->blob, h, sizeof(h));
    return at;
}

static void table_end(struct tables *t, uint32_t at, bool listed)
{
    uint32_t len = t->blob->len - at;

    le32_put(t->blob->data + at + OFF_LENGTH, len);
    acpi_command_checksum(t->loader, ACPI_FILE_TABLES, at + OFF_CHECKSUM, at, len);
    if (listed) {
        assert(t->entries < ARRAY_SIZE(t->xsdt_entry));
        t->xsdt_entry[t->entries++] = at;
    }
    g_byte_array_set_size(t->blob, ALIGN_UP(t->blob->len, 8u));
    memset(t->blob->data + at + len, 0, t->blob->len - at - len);
}

static void put(struct tables *t, const void *p, size_t len)
{
    g_byte_array_append(t->blob, p, (guint)len);
}

static void put_u8(struct tables *t, uint8_t v)
{
    put(t, &v, 1);
}

static void put_u16(struct tables *t, uint16_t v)
{
    put(t, &v, 2);
}

static void put_u32(struct tables *t, uint32_t v)
{
    put(t, &v, 4);
}

static void put_u64(struct tables *t, uint64_t v)
{
    put(t, &v, 8);
}

/* A pointer field at blob offset at, to blob offset target. */
static void pointer(struct tables *t, uint32_t at, uint8_t size, uint32_t target)
{
    memcpy(t->blob->data + at, &(uint64_t){target}, size);
    acpi_command_pointer(t->loader, ACPI_FILE_TABLES, at, size, ACPI_FILE_TABLES);
}

/* §5.2.10: 64-byte aligned, no checksum. */
static uint32_t facs(struct tables *t)
{
    uint8_t b[FACS_BYTES] = {'F', 'A', 'C', 'S', FACS_BYTES};
    uint32_t at = t->blob->len;

    assert(at % 64 == 0);
    b[32] = 1; /* version */
    put(t, b, sizeof(b));
    return at;
}

static uint32_t dsdt(struct tables *t)
{
    uint32_t at = t->blob->len;

    put(t, chipsets[t->cfg->chipset].dsdt, chipsets[t->cfg->chipset].dsdt_bytes);
    t->blob->data[at + OFF_CHECKSUM] = 0;
    table_end(t, at, false);
    return at;
}

static void ssdt(struct tables *t)
{
    uint32_t at = table_begin(t, "SSDT", 2);

    acpi_ssdt_body(t->blob, t->cfg);
    table_end(t, at, true);
}

static void gas(uint8_t *p, bool io, uint8_t bits, uint8_t access, uint64_t addr)
{
    p[0] = io;
    p[1] = bits;
    p[3] = access; /* 1 byte, 2 word, 3 dword */
    le64_put(p + 4, addr);
}

/* IA-PC boot architecture flags, §5.2.9.3. */
static uint16_t boot_flags(const struct acpi_config *cfg)
{
    enum { LEGACY_DEVICES = BIT(0), I8042 = BIT(1), NO_VGA = BIT(2), NO_CMOS_RTC = BIT(5) };

    if (cfg->chipset != ACPI_CHIPSET_NO_PCI)
        return LEGACY_DEVICES | I8042;
    return NO_VGA | (cfg->com_mask ? LEGACY_DEVICES : 0) | (cfg->no_rtc ? NO_CMOS_RTC : 0);
}

/* §5.2.9, revision 3. */
static void fadt(struct tables *t, uint32_t facs_at, uint32_t dsdt_at)
{
    uint32_t at = table_begin(t, "FACP", 3), pm = t->cfg->pm_base;
    uint32_t gpe0 = chipsets[t->cfg->chipset].gpe0;
    uint8_t gpe0_bytes = chipsets[t->cfg->chipset].gpe0_bytes;
    uint8_t *b;

    g_byte_array_set_size(t->blob, at + FADT_BYTES);
    b = t->blob->data + at;
    memset(b + HEADER, 0, FADT_BYTES - HEADER);
    le16_put(b + 46, SCI);
    le32_put(b + 48, 0xb2); /* SMI command port; 2 and 3 turn ACPI on and off */
    b[52] = 2;
    b[53] = 3;
    le32_put(b + 56, pm);
    le32_put(b + 64, pm + PM1_CNT);
    le32_put(b + 76, pm + PM_TMR);
    le32_put(b + 80, pm + gpe0);
    b[88] = 4;
    b[89] = 2;
    b[91] = 4;
    b[92] = gpe0_bytes;
    le16_put(b + 96, 0xfff); /* no C2, no C3 */
    le16_put(b + 98, 0xfff);
    b[108] = t->cfg->no_rtc ? 0 : 0x32; /* century */
    le16_put(b + 109, boot_flags(t->cfg));
    /* WBINVD, C1, sleep button absent, RTC not in fixed space for S4, reset register; a flat
     * logical APIC destination has 8 bits (§5.2.9.3). */
    le32_put(b + 112,
             BIT(0) | BIT(2) | BIT(5) | BIT(7) | BIT(10) | (t->cfg->cpu_count > 8 ? BIT(18) : 0));
    gas(b + 116, true, 8, 1, 0xcf9);
    b[128] = 0x0f;
    gas(b + 148, true, 32, 2, pm);
    gas(b + 172, true, 16, 2, pm + PM1_CNT);
    gas(b + 208, true, 32, 3, pm + PM_TMR);
    gas(b + 220, true, (uint8_t)(8 * gpe0_bytes), 1, pm + gpe0);
    pointer(t, at + 36, 4, facs_at);
    pointer(t, at + 40, 4, dsdt_at);
    pointer(t, at + 140, 8, dsdt_at);
    table_end(t, at, true);
}

/* Ids above 254 only fit in x2APIC entries. */
uint8_t acpi_madt_cpu(uint8_t out[16], unsigned uid, uint32_t apic_id, bool enabled)
{
    memset(out, 0, 16);
    if (apic_id < 255 && uid < 255) {
        memcpy(out, (uint8_t[]){0, 8, (uint8_t)uid, (uint8_t)apic_id, enabled}, 5);
        return 8;
    }
    memcpy(out, (uint8_t[]){9, 16}, 2);
    le32_put(out + 4, apic_id);
    out[8] = enabled;
    le32_put(out + 12, uid);
    return 16;
}

static void madt_override(struct tables *t, uint8_t isa_irq, uint32_t gsi, uint16_t flags)
{
    put(t, (uint8_t[]){2, 10, 0, isa_irq}, 4);
    put_u32(t, gsi);
    put_u16(t, flags);
}

static void madt(struct tables *t)
{
    enum { LEVEL_HIGH = 0xd };
    static const uint8_t level_irqs[] = {5, SCI, 10, 11}; /* SCI and what PIRQ links can use */
    uint32_t at = table_begin(t, "APIC", 3);
    bool wide = false;

    put_u32(t, 0xfee00000);
    put_u32(t, !t->cfg->no_pic); /* 8259 pair present */
    for (unsigned i = 0; i < t->cfg->cpu_count; i++) {
        uint8_t entry[16];
        bool there = !t->cfg->cpu_there || t->cfg->cpu_there[i];
        put(t, entry, acpi_madt_cpu(entry, i, t->cfg->apic_id[i], there));
        wide |= t->cfg->apic_id[i] >= 255 || i >= 255;
    }
    put(t, (uint8_t[]){1, 12, 0, 0}, 4);
    put_u32(t, 0xfec00000);
    put_u32(t, 0);
    madt_override(t, 0, 2, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(level_irqs); i++)
        madt_override(t, level_irqs[i], level_irqs[i], LEVEL_HIGH);
    put(t, (uint8_t[]){4, 6, 0xff, 0, 0, 1}, 6); /* NMI on LINT1 of all */
    if (wide) {
        put(t, (uint8_t[]){10, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, 12);
    }
    table_end(t, at, true);
}

static void mcfg(struct tables *t)
{
    uint32_t at = table_begin(t, "MCFG", 1);

    put_u64(t, 0);
    put_u64(t, t->cfg->ecam.base);
    put_u16(t, 0);
    put_u8(t, 0);
    put_u8(t, (uint8_t)((t->cfg->ecam.size_bytes >> 20) - 1));
    put_u32(t, 0);
    table_end(t, at, true);
}

static void hpet(struct tables *t)
{
    uint32_t at = table_begin(t, "HPET", 1);
    uint8_t addr[12] = {0};

    gas(addr, false, 0, 0, 0xfed00000);
    put_u32(t, 0x8086a201); /* event timer block id: the device's general capabilities */
    put(t, addr, sizeof(addr));
    put_u8(t, 0);
    put_u16(t, 0);
    put_u8(t, 0);
    table_end(t, at, true);
}

/* Windows ACPI Emulated devices Table: the PM timer reads right the first time. */
static void waet(struct tables *t)
{
    uint32_t at = table_begin(t, "WAET", 1);

    put_u32(t, BIT(1));
    table_end(t, at, true);
}

static uint32_t root_table(struct tables *t, const char *signature, uint8_t entry_bytes)
{
    uint32_t at = table_begin(t, signature, 1);

    for (unsigned i = 0; i < t->entries; i++)
        put(t, &(uint64_t){0}, entry_bytes);
    for (unsigned i = 0; i < t->entries; i++)
        pointer(t, at + HEADER + i * entry_bytes, entry_bytes, t->xsdt_entry[i]);
    table_end(t, at, false);
    return at;
}

/* §5.2.5.3 */
static void rsdp(struct fw_cfg *f, GByteArray *loader, uint32_t rsdt_at, uint32_t xsdt_at)
{
    uint8_t b[36] = {0};

    memcpy(b, "RSD PTR ", 8);
    memcpy(b + 9, "HANOK ", 6);
    b[15] = 2;
    le32_put(b + 16, rsdt_at);
    le32_put(b + 20, sizeof(b));
    le64_put(b + 24, xsdt_at);
    acpi_command_pointer(loader, ACPI_FILE_RSDP, 16, 4, ACPI_FILE_TABLES);
    acpi_command_pointer(loader, ACPI_FILE_RSDP, 24, 8, ACPI_FILE_TABLES);
    acpi_command_checksum(loader, ACPI_FILE_RSDP, 8, 0, 20);
    acpi_command_checksum(loader, ACPI_FILE_RSDP, 32, 0, sizeof(b));
    fw_cfg_add_file(f, ACPI_FILE_RSDP, b, sizeof(b));
}

void acpi_build(struct fw_cfg *f, const struct acpi_config *cfg)
{
    struct tables t = {.cfg = cfg, .blob = g_byte_array_new(), .loader = g_byte_array_new()};
    uint32_t facs_at, dsdt_at, rsdt_at, xsdt_at;

    acpi_command_allocate(t.loader, ACPI_FILE_RSDP, 16, ACPI_ZONE_FSEG);
    acpi_command_allocate(t.loader, ACPI_FILE_TABLES, 64, ACPI_ZONE_HIGH);
    facs_at = facs(&t);
    dsdt_at = dsdt(&t);
    fadt(&t, facs_at, dsdt_at);
    ssdt(&t);
    madt(&t);
    if (cfg->ecam.size_bytes)
        mcfg(&t);
    if (cfg->hpet)
        hpet(&t);
    waet(&t);
    rsdt_at = root_table(&t, "RSDT", 4);
    xsdt_at = root_table(&t, "XSDT", 8);
    rsdp(f, t.loader, rsdt_at, xsdt_at);
    fw_cfg_add_file(f, ACPI_FILE_TABLES, t.blob->data, t.blob->len);
    fw_cfg_add_file(f, ACPI_FILE_LOADER, t.loader->data, t.loader->len);
    g_byte_array_free(t.blob, true);
    g_byte_array_free(t.loader, true);
}
