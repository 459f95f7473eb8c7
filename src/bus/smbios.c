/* smbios.c - the machine's inventory: SMBIOS structures and their anchor.
 *
 * 2.8 with a 32-bit anchor while the structures fit its 16-bit length, else 3.0.
 * Spec: DMTF DSP0134. */
#include "acpi_internal.h"

#include "base/error.h"
#include "base/util.h"
#include "bus/fw_cfg.h"
#include "mem/guest_mem.h"

#define FILE_TABLES "etc/smbios/smbios-tables"
#define FILE_ANCHOR "etc/smbios/smbios-anchor"

enum {
    HANDLE_BIOS = 0x000,
    HANDLE_SYSTEM = 0x100,
    HANDLE_BOARD = 0x200,
    HANDLE_CHASSIS = 0x300,
    HANDLE_CPU = 0x400,
    HANDLE_STRINGS = 0xe00,
    HANDLE_ARRAY = 0x1000,
    HANDLE_DIMM = 0x1100,
    HANDLE_MAPPED = 0x1300,
    HANDLE_BOOT = 0x2000,
    HANDLE_END = 0x7f00,
    ANCHOR_28_BYTES = 31,
    ANCHOR_30_BYTES = 24,
};
#define DIMM_BYTES (16 * GiB)

struct smbios {
    GByteArray *blob;
    unsigned count, largest_bytes;
    uint32_t at; /* of the structure being made */
    uint8_t strings;
    GString *text;
};

static void put(struct smbios *s, const void *p, size_t len)
{
    g_byte_array_append(s->blob, p, (guint)len);
}

static void put_u8(struct smbios *s, uint8_t v)
{
    put(s, &v, 1);
}

static void put_u16(struct smbios *s, uint16_t v)
{
    put(s, &v, 2);
}

static void put_u32(struct smbios *s, uint32_t v)
{
    put(s, &v, 4);
}

static void put_u64(struct smbios *s, uint64_t v)
{
    put(s, &v, 8);
}

static void begin(struct smbios *s, uint8_t type, uint16_t handle)
{
    s->at = s->blob->len;
    s->strings = 0;
    g_string_truncate(s->text, 0);
    put_u8(s, type);
    put_u8(s, 0);
    put_u16(s, handle);
}

/* A string field: its number, 0 when there is none. */
static void put_str(struct smbios *s, const char *text)
{
    if (!text || !*text) {
        put_u8(s, 0);
        return;
    }
    put_u8(s, ++s->strings);
    g_string_append_len(s->text, text, (gssize)strlen(text) + 1);
}

static void end(struct smbios *s)
{
    s->blob->data[s->at + 1] = (uint8_t)(s->blob->len - s->at);
    put(s, s->text->str, s->text->len);
    put(s, "\0", s->strings ? 1 : 2);
    s->largest_bytes = MAX_OF(s->largest_bytes, s->blob->len - s->at);
    s->count++;
}

static const char *text_or(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static void bios(struct smbios *s, const struct smbios_config *cfg)
{
    bool said = cfg->bios.major || cfg->bios.minor;

    begin(s, 0, HANDLE_BIOS);
    put_str(s, text_or(cfg->bios.vendor, "Hanok"));
    put_str(s, text_or(cfg->bios.version, "0.1"));
    put_u16(s, 0xe800); /* start segment */
    put_str(s, text_or(cfg->bios.date, "11/23/2026"));
    put_u8(s, 0);         /* 64 KiB */
    put_u64(s, BIT64(3)); /* characteristics not supported */
    put_u8(s, 0);
    put_u8(s, BIT(2) | BIT(4)); /* targeted content distribution; a virtual machine */
    put_u8(s, said ? (uint8_t)cfg->bios.major : 0);
    put_u8(s, said ? (uint8_t)cfg->bios.minor : 1);
    put(s, "\xff\xff", 2); /* no embedded controller */
    end(s);
}

/* Since 2.6 the first three UUID fields are little-endian (§7.2.1). */
static void put_uuid(struct smbios *s, const uint8_t *uuid)
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

    for (unsigned i = 0; i < 16; i++)
        put_u8(s, uuid ? uuid[order[i]] : 0);
}

static void system_info(struct smbios *s, const struct smbios_config *cfg)
{
    begin(s, 1, HANDLE_SYSTEM);
    put_str(s, cfg->manufacturer ? cfg->manufacturer : "Hanok");
    put_str(s, cfg->product ? cfg->product : "Standard PC (Q35 + ICH9, 2009)");
    put_str(s, cfg->version);
    put_str(s, cfg->serial);
    put_uuid(s, cfg->uuid);
    put_u8(s, 6); /* woken by the power switch */
    put_str(s, cfg->sku);
    put_str(s, cfg->family);
    end(s);
}

static void base_board(struct smbios *s, const struct smbios_config *cfg)
{
    const __typeof__(cfg->board) *b = &cfg->board;

    if (!b->manufacturer && !b->product && !b->version && !b->serial && !b->asset && !b->location)
        return;
    begin(s, 2, HANDLE_BOARD);
    put_str(s, text_or(b->manufacturer, "Hanok"));
    put_str(s, b->product);
    put_str(s, b->version);
    put_str(s, b->serial);
    put_str(s, b->asset);
    put_u8(s, BIT(0)); /* it holds the processors */
    put_str(s, b->location);
    put_u16(s, HANDLE_CHASSIS);
    put_u8(s, 10); /* motherboard */
    put_u8(s, 0);
    end(s);
}

static void strings(struct smbios *s, const struct smbios_config *cfg)
{
    uint8_t count = 0;

    while (cfg->strings && cfg->strings[count] && count < UINT8_MAX)
        count++;
    if (!count)
        return;
    begin(s, 11, HANDLE_STRINGS);
    put_u8(s, count);
    for (unsigned i = 0; i < count; i++) /* not fields: they follow one another */
        g_string_append_len(s->text, cfg->strings[i], (gssize)strlen(cfg->strings[i]) + 1);
    s->strings = count;
    end(s);
}

static void chassis(struct smbios *s, const struct smbios_config *cfg)
{
    begin(s, 3, HANDLE_CHASSIS);
    put_str(s, text_or(cfg->chassis.manufacturer, text_or(cfg->manufacturer, "Hanok")));
    put_u8(s, 1); /* other */
    put_str(s, text_or(cfg->chassis.version, cfg->version));
    put_str(s, cfg->chassis.serial);
    put_str(s, cfg->chassis.asset);
    put(s, "\x03\x03\x03\x02", 4); /* boot-up, power, thermal safe; security unknown */
    put_u32(s, 0);
    put(s, "\0\0\0\0", 4); /* height, cords, no contained elements */
    put_str(s, cfg->chassis.sku);
    end(s);
}

static void processor(struct smbios *s, const struct smbios_config *cfg, unsigned socket)
{
    char name[16];
    unsigned threads = cfg->cores_per_socket * cfg->threads_per_socket;

    g_snprintf(name, sizeof(name), "CPU %u", socket);
    begin(s, 4, (uint16_t)(HANDLE_CPU + socket));
    put_str(s, name);
    put_u8(s, 3); /* central processor */
    put_u8(s, 1); /* family: other */
    put_str(s, cfg->cpu_vendor);
    put_u32(s, cfg->cpuid_signature);
    put_u32(s, cfg->cpuid_features);
    put_str(s, cfg->cpu_brand);
    put_u8(s, 0);
    put_u16(s, 0); /* clocks unknown */
    put_u16(s, 0);
    put_u16(s, 0);
    put_u8(s, 0x41); /* populated, enabled */
    put_u8(s, 1);    /* upgrade: other */
    put_u16(s, 0xffff);
    put_u16(s, 0xffff);
    put_u16(s, 0xffff); /* caches are not described */
    put_str(s, NULL);
    put_str(s, NULL);
    put_str(s, NULL);
    put_u8(s, (uint8_t)MIN_OF(cfg->cores_per_socket, 255u));
    put_u8(s, (uint8_t)MIN_OF(cfg->cores_per_socket, 255u));
    put_u8(s, (uint8_t)MIN_OF(threads, 255u));
    put_u16(s, BIT(2)); /* 64-bit capable */
    put_u16(s, 1);
    put_u16(s, (uint16_t)cfg->cores_per_socket);
    put_u16(s, (uint16_t)cfg->cores_per_socket);
    put_u16(s, (uint16_t)threads);
    end(s);
}

static unsigned dimm_count(uint64_t ram)
{
    return (unsigned)((ram + DIMM_BYTES - 1) / DIMM_BYTES);
}

static void memory_array(struct smbios *s, uint64_t ram)
{
    begin(s, 16, HANDLE_ARRAY);
    put(s, "\x01\x03\x06", 3); /* other location, system memory, multi-bit ECC */
    put_u32(s, 0x80000000);    /* see extended capacity */
    put_u16(s, 0xfffe);        /* no error information */
    put_u16(s, (uint16_t)dimm_count(ram));
    put_u64(s, ram);
    end(s);
}

static void dimm(struct smbios *s, unsigned index, uint64_t bytes)
{
    uint64_t mib = bytes / MiB;
    char name[16];

    g_snprintf(name, sizeof(name), "DIMM %u", index);
    begin(s, 17, (uint16_t)(HANDLE_DIMM + index));
    put_u16(s, HANDLE_ARRAY);
    put_u16(s, 0xfffe);
    put_u16(s, 0xffff);
    put_u16(s, 0xffff); /* widths unknown */
    put_u16(s, mib < 0x7fff ? (uint16_t)mib : 0x7fff);
    put_u8(s, 9); /* DIMM */
    put_u8(s, 0);
    put_str(s, name);
    put_str(s, NULL);
    put_u8(s, 7);       /* RAM */
    put_u16(s, BIT(1)); /* other */
    put_u16(s, 0);
    put_str(s, "Hanok");
    put_str(s, NULL);
    put_str(s, NULL);
    put_str(s, NULL);
    put_u8(s, 0);
    put_u32(s, mib < 0x7fff ? 0 : (uint32_t)mib);
    put(s, "\0\0\0\0\0\0\0\0", 8); /* speed, voltages unknown */
    end(s);
}

static void mapped(struct smbios *s, unsigned index, const struct acpi_range *r)
{
    uint64_t last = r->base + r->size_bytes - 1;
    bool fits = last / KiB < UINT32_MAX;

    if (!r->size_bytes)
        return;
    begin(s, 19, (uint16_t)(HANDLE_MAPPED + index));
    put_u32(s, fits ? (uint32_t)(r->base / KiB) : UINT32_MAX);
    put_u32(s, fits ? (uint32_t)(last / KiB) : UINT32_MAX);
    put_u16(s, HANDLE_ARRAY);
    put_u8(s, 1);
    put_u64(s, fits ? 0 : r->base);
    put_u64(s, fits ? 0 : last);
    end(s);
}

static void memory(struct smbios *s, const struct smbios_config *cfg)
{
    uint64_t ram = cfg->ram_low.size_bytes + cfg->ram_high.size_bytes;
    unsigned dimms = dimm_count(ram);

    memory_array(s, ram);
    for (unsigned i = 0; i < dimms; i++)
        dimm(s, i, i + 1 < dimms ? DIMM_BYTES : ram - i * DIMM_BYTES);
    mapped(s, 0, &cfg->ram_low);
    mapped(s, 1, &cfg->ram_high);
}

static void boot_and_end(struct smbios *s)
{
    begin(s, 32, HANDLE_BOOT);
    put(s, "\0\0\0\0\0\0\0", 7);
    end(s);
    begin(s, 127, HANDLE_END);
    end(s);
}

/* Checksums and the address are filled in when the structures are placed. */
static void anchor(struct fw_cfg *f, const struct smbios *s)
{
    uint8_t a[ANCHOR_28_BYTES] = {0};

    if (s->blob->len > UINT16_MAX || s->count > UINT16_MAX) {
        memcpy(a, "_SM3_", 5);
        a[6] = ANCHOR_30_BYTES;
        a[7] = 3;
        a[10] = 1;
        le32_put(a + 12, s->blob->len);
        fw_cfg_add_file(f, FILE_ANCHOR, a, ANCHOR_30_BYTES);
        return;
    }
    memcpy(a, "_SM_", 4);
    a[5] = ANCHOR_28_BYTES;
    a[6] = 2;
    a[7] = 8;
    le16_put(a + 8, (uint16_t)s->largest_bytes);
    memcpy(a + 16, "_DMI_", 5);
    le16_put(a + 22, (uint16_t)s->blob->len);
    le16_put(a + 28, (uint16_t)s->count);
    a[30] = 0x28;
    fw_cfg_add_file(f, FILE_ANCHOR, a, ANCHOR_28_BYTES);
}

void smbios_build(struct fw_cfg *f, const struct smbios_config *cfg)
{
    struct smbios s = {.blob = g_byte_array_new(), .text = g_string_new(NULL)};

    bios(&s, cfg);
    system_info(&s, cfg);
    base_board(&s, cfg);
    chassis(&s, cfg);
    strings(&s, cfg);
    for (unsigned i = 0; i < cfg->sockets; i++)
        processor(&s, cfg, i);
    memory(&s, cfg);
    boot_and_end(&s);
    fw_cfg_add_file(f, FILE_TABLES, s.blob->data, s.blob->len);
    anchor(f, &s);
    g_byte_array_free(s.blob, true);
    g_string_free(s.text, true);
}

static void anchor_finish(uint8_t *a, uint64_t tables_gpa)
{
    if (a[3] == '3') {
        le64_put(a + 16, tables_gpa);
        a[5] = 0;
        a[5] = acpi_checksum(a, ANCHOR_30_BYTES);
        return;
    }
    le32_put(a + 24, (uint32_t)tables_gpa);
    a[21] = 0;
    a[21] = acpi_checksum(a + 16, 15);
    a[4] = 0;
    a[4] = acpi_checksum(a, ANCHOR_28_BYTES);
}

bool smbios_load(struct fw_cfg *f, struct acpi_placer *p, GError **err)
{
    size_t tables_len = 0, anchor_len = 0;
    const uint8_t *tables = fw_cfg_file(f, FILE_TABLES, &tables_len);
    const uint8_t *from = fw_cfg_file(f, FILE_ANCHOR, &anchor_len);
    uint8_t a[ANCHOR_28_BYTES] = {0};
    uint64_t at, anchor_at;

    if (!tables || !from || anchor_len > sizeof(a))
        return error_set(err, HANOK_ERROR_CORRUPT, "the SMBIOS tables are malformed");
    at = p->alloc(p, ACPI_ZONE_HIGH, tables_len, 16);
    anchor_at = p->alloc(p, ACPI_ZONE_FSEG, anchor_len, 16);
    if (at == UINT64_MAX || anchor_at == UINT64_MAX)
        return error_set(err, HANOK_ERROR_INVALID,
                         "the machine has too little memory for its ACPI and SMBIOS tables; give "
                         "it more with -m");
    memcpy(a, from, anchor_len);
    anchor_finish(a, at);
    if (guest_mem_write_rom(p->mem, GPA(at), tables, tables_len) ||
        guest_mem_write_rom(p->mem, GPA(anchor_at), a, anchor_len))
        return error_set(err, HANOK_ERROR_CORRUPT, "the SMBIOS tables have no memory to go to");
    return true;
}
