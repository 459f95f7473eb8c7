/* acpi_ssdt.c - the definition block of this one machine: windows, _PRT, sleep states, CPUs. */
#include "acpi_internal.h"
#include "aml.h"

#include "base/util.h"

enum { SLOTS = 32, PINS = 4, PIRQ_GSI_FIRST = 16 };

static void int_name(GByteArray *to, const char *name, uint64_t v)
{
    aml_name(to, name);
    aml_int(to, v);
}

/* ACPI 6.4 §6.2.13: {address, pin, link or 0, index or GSI} for every pin of every slot. */
static void prt(GByteArray *to, const char *name, const struct acpi_config *cfg, bool apic)
{
    GByteArray *rows = g_byte_array_new();

    for (unsigned slot = 0; slot < SLOTS; slot++) {
        for (unsigned pin = 0; pin < PINS; pin++) {
            GByteArray *row = g_byte_array_new();
            unsigned pirq = cfg->pirq(slot, pin);
            char link[] = "\\_SB.LNKA";
            aml_int(row, slot << 16 | 0xffff);
            aml_int(row, pin);
            link[sizeof(link) - 2] = (char)('A' + pirq);
            if (apic)
                aml_int(row, 0);
            else
                aml_path(row, link);
            aml_int(row, apic ? PIRQ_GSI_FIRST + pirq : 0);
            aml_package(rows, 4, row);
        }
    }
    aml_name(to, name);
    aml_package(to, SLOTS * PINS, rows);
}

static void sleep_state(GByteArray *to, const char *name, unsigned slp_typ)
{
    GByteArray *values = g_byte_array_new();

    for (unsigned i = 0; i < 4; i++)
        aml_int(values, i < 2 ? slp_typ : 0);
    aml_name(to, name);
    aml_package(to, 4, values);
}

/* Method (name, args) { [Return] (target (i, Arg0, ...)) } of processor i; target is in the DSDT.
 */
static void forward(GByteArray *to, const char *name, unsigned args, bool value, const char *target,
                    unsigned i)
{
    GByteArray *body = g_byte_array_new();

    if (value)
        aml_return(body);
    aml_path(body, target);
    aml_int(body, i);
    for (unsigned n = 0; args > 1 && n < args; n++)
        aml_arg(body, n);
    aml_method(to, name, args, body);
}

/* Processor devices carry the MADT's processor ids.  What they do is in the DSDT's \_SB.CPUS. */
static void cpus(GByteArray *to, const struct acpi_config *cfg)
{
    GByteArray *scope = g_byte_array_new(), *tell = g_byte_array_new();

    for (unsigned i = 0; i < cfg->cpu_count; i++) {
        GByteArray *dev = g_byte_array_new(), *notify = g_byte_array_new();
        uint8_t mat[16];
        char name[8];
        aml_name(dev, "_HID");
        aml_string(dev, "ACPI0007");
        int_name(dev, "_UID", i);
        aml_name(dev, "_MAT");
        aml_buffer(dev, mat, acpi_madt_cpu(mat, i, cfg->apic_id[i], true));
        forward(dev, "_STA", 0, true, "CSTA", i);
        if (i > 0) /* the boot processor stays */
            forward(dev, "_EJ0", 1, false, "CEJ0", i);
        forward(dev, "_OST", 3, false, "COST", i);
        g_snprintf(name, sizeof(name), "C%03X", i & 0xfff);
        aml_device(scope, name, dev);
        aml_notify_arg(notify, name, 1);
        aml_if_arg(tell, 0, i, notify);
    }
    aml_method(scope, "CTFY", 2, tell);
    aml_scope(to, "\\_SB.CPUS", scope);
}

/* The port by which guests tell of a panic; the name is the one their drivers look for. */
static void pvpanic(GByteArray *to, uint16_t port)
{
    /* ACPI 6.4 §6.4.2.5: one port, all 16 address lines; end tag */
    const uint8_t crs[] = {
        0x47, 0x01, (uint8_t)port, (uint8_t)(port >> 8), (uint8_t)port, (uint8_t)(port >> 8), 1, 1,
        0x79, 0};
    GByteArray *dev = g_byte_array_new(), *scope = g_byte_array_new();

    aml_name(dev, "_HID");
    aml_string(dev, "QEMU0001");
    int_name(dev, "_STA", 0x0f);
    aml_name(dev, "_CRS");
    aml_buffer(dev, crs, sizeof(crs));
    aml_device(scope, "PEVT", dev);
    aml_scope(to, "\\_SB", scope);
}

static uint64_t last_of(const struct acpi_range *r)
{
    return r->size_bytes ? r->base + r->size_bytes - 1 : 0;
}

/* Memory and an interrupt by level, which others may have too. */
static void virtio(GByteArray *to, const struct acpi_virtio *v)
{
    /* ACPI 6.4 §6.4.3.4, §6.4.3.6; end tag */
    uint8_t crs[] = {0x86,      9, 0, 1, 0, 0, 0, 0, 0, 0,         0, 0,
                     /**/ 0x89, 6, 0, 9, 1, 0, 0, 0, 0, /**/ 0x79, 0};
    GByteArray *dev = g_byte_array_new(), *scope = g_byte_array_new();
    char name[8];

    le32_put(crs + 4, v->base);
    le32_put(crs + 8, v->size_bytes);
    le32_put(crs + 17, v->gsi);
    aml_name(dev, "_HID");
    aml_string(dev, "LNRO0005");
    int_name(dev, "_UID", v->uid);
    aml_name(dev, "_CRS");
    aml_buffer(dev, crs, sizeof(crs));
    g_snprintf(name, sizeof(name), "VR%02u", v->uid % 100);
    aml_device(scope, name, dev);
    aml_scope(to, "\\_SB", scope);
}

static void pci(GByteArray *to, const struct acpi_config *cfg)
{
    int_name(to, "\\_SB.PCI0.M32B", cfg->pci32.base);
    int_name(to, "\\_SB.PCI0.M32L", last_of(&cfg->pci32));
    int_name(to, "\\_SB.PCI0.M64B", cfg->pci64.base);
    int_name(to, "\\_SB.PCI0.M64L", last_of(&cfg->pci64));
    if (cfg->chipset == ACPI_CHIPSET_Q35) {
        int_name(to, "\\_SB.ECMB", cfg->ecam.base);
        int_name(to, "\\_SB.ECML", cfg->ecam.size_bytes);
    }
    int_name(to, "\\_SB.HPEN", cfg->hpet);
    prt(to, "\\_SB.PCI0.PRTP", cfg, false);
    if (cfg->chipset == ACPI_CHIPSET_Q35)
        prt(to, "\\_SB.PCI0.PRTA", cfg, true);
}

void acpi_ssdt_body(GByteArray *to, const struct acpi_config *cfg)
{
    if (cfg->chipset != ACPI_CHIPSET_NO_PCI)
        pci(to, cfg);
    int_name(to, "\\_SB.COMM", cfg->com_mask);
    for (unsigned i = 0; i < cfg->virtio_count; i++)
        virtio(to, &cfg->virtio[i]);
    if (cfg->sleep_s3)
        sleep_state(to, "\\_S3", 1);
    if (cfg->sleep_s4)
        sleep_state(to, "\\_S4", 2);
    if (cfg->pvpanic_port)
        pvpanic(to, cfg->pvpanic_port);
    cpus(to, cfg);
}
