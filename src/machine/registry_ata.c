/* registry_ata.c - SATA and IDE controllers and their drives, as users write them. */
#include "registry.h"

#include "ata/ahci.h"
#include "ata/ide.h"
#include "base/error.h"
#include "base/util.h"
#include "block/block.h"
#include "firmware.h"

#include <jansson.h>

const struct prop_desc props_ahci[] = {{NULL, PROP_STR, NULL, NULL}};

bool create_ahci(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    struct device_place place;

    return device_place_read(m, p, &place, err) &&
           ahci_new(place.bus, place.devfn, place.multifunction, place.id, m->clock, err);
}

const struct prop_desc props_ide_drive[] = {
    {"drive", PROP_DRIVE, NULL, "block node or drive; a CD-ROM drive may be empty"},
    {"unit", PROP_U32, NULL, "0 or 1 on an IDE cable; a SATA port has one drive: 0"},
    {"serial", PROP_STR, NULL, "serial number, at most 20 bytes"},
    {"model", PROP_STR, NULL, "model, at most 40 bytes"},
    {"ver", PROP_STR, NULL, "firmware version, at most 8 bytes"},
    {"logical_block_size", PROP_SIZE, "512", "bytes"},
    {"physical_block_size", PROP_SIZE, NULL, "bytes; default: the image's"},
    {"write-cache", PROP_ONOFFAUTO, "auto", "start with the write cache on"},
    {"discard_granularity", PROP_SIZE, NULL, "accepted"},
    {"rotation_rate", PROP_U32, NULL, "accepted"},
    {"wwn", PROP_U64, NULL, "accepted"},
    {"rerror", PROP_STR, "report", "report: errors go to the guest"},
    {"werror", PROP_STR, "report", "report: errors go to the guest"},
    {"share-rw", PROP_BOOL, "off", "others may write to the image (no lock is taken)"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_ide(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    struct device_place place;

    return device_place_read(m, p, &place, err) &&
           ide_new(place.bus, place.devfn, place.multifunction, place.id, m->clock, err);
}

/* Where a drive goes: bus N of a controller and a unit on it. */
struct drive_place {
    struct pci_dev *controller;
    unsigned bus, unit;
};

static bool is_controller(const struct pci_dev *d)
{
    return ahci_is(d) || ide_is(d);
}

/* A controller by the name of its buses: "ide" is the board's. */
static struct pci_dev *controller_find(struct machine *m, const char *name)
{
    if (strcmp(name, "ide") == 0)
        return m->drives;
    for (struct pci_bus *b = m->pci.buses; b; b = b->next)
        for (size_t i = 0; i < ARRAY_SIZE(b->slot); i++)
            if (b->slot[i] && is_controller(b->slot[i]) && b->slot[i]->dev.id &&
                strcmp(b->slot[i]->dev.id, name) == 0)
                return b->slot[i];
    return NULL;
}

static unsigned buses_of(const struct pci_dev *d)
{
    return ahci_is(d) ? AHCI_PORTS : IDE_CHANNELS;
}

static unsigned units_of(const struct pci_dev *d)
{
    return ahci_is(d) ? 1 : IDE_UNITS;
}

static bool taken(const struct drive_place *at)
{
    return ahci_is(at->controller) ? ahci_port_taken(at->controller, at->bus)
                                   : ide_unit_taken(at->controller, at->bus, at->unit);
}

/* Of what the user did not say, the first that is free. */
static bool place_choose(struct drive_place *at, bool any_bus, bool any_unit)
{
    unsigned buses = any_bus ? buses_of(at->controller) : at->bus + 1;
    unsigned units = any_unit ? units_of(at->controller) : at->unit + 1;
    struct drive_place try = *at;

    for (; try.bus < buses; try.bus++)
        for (try.unit = any_unit ? 0 : at->unit; try.unit < units; try.unit++)
            if (!taken(&try)) {
                *at = try;
                return true;
            }
    return false;
}

static bool place_find(struct machine *m, const char *bus, struct props *p, struct drive_place *at,
                       GError **err)
{
    g_autofree char *name = g_strdup(bus ? bus : "ide");
    char *dot = bus ? strrchr(name, '.') : NULL;
    bool any_unit = !props_has(p, "unit");
    guint64 n = 0;

    *at = (struct drive_place){0};
    if (dot)
        *dot++ = 0;
    at->controller = controller_find(m, name);
    if (!at->controller)
        return error_set(
            err, HANOK_ERROR_NOT_FOUND,
            "there is no controller '%s' for disks; the board's buses are named ide.0, "
            "ide.1 ...",
            name);
    if (dot && !g_ascii_string_to_unsigned(dot, 10, 0, buses_of(at->controller) - 1, &n, NULL))
        return error_set(err, HANOK_ERROR_INVALID, "bus=%s: the buses are numbered 0 to %u", bus,
                         buses_of(at->controller) - 1);
    at->bus = (unsigned)n;
    if (!props_get_u32(p, "unit", &at->unit, err))
        return false;
    if (at->unit >= units_of(at->controller))
        return error_set(err, HANOK_ERROR_INVALID,
                         ahci_is(at->controller) ? "unit=%u: a SATA port has one drive, unit 0"
                                                 : "unit=%u: a cable has two drives, units 0 and 1",
                         at->unit);
    return place_choose(at, !dot, any_unit) ||
           error_set(err, HANOK_ERROR_BUSY, "the place on bus '%s' already has a drive",
                     bus ? bus : "ide.*");
}

static void tray_moved(void *opaque, const char *id, bool open)
{
    g_autofree char *path = id ? g_strdup_printf("/machine/peripheral/%s", id) : g_strdup("");

    machine_emit(
        opaque, "DEVICE_TRAY_MOVED",
        json_pack("{s:s, s:s, s:b}", "device", "", "id", id ? id : path, "tray-open", open));
}

static bool policies_check(struct props *p, GError **err)
{
    static const char *const names[] = {"report", "auto", "enospc", NULL};
    unsigned pick = 0;

    /* enospc and auto would stop the machine when the host's disk is full; here the guest is told
     */
    return props_get_enum(p, "rerror", names, &pick, err) &&
           props_get_enum(p, "werror", names, &pick, err);
}

static bool sizes_read(struct props *p, struct ata_drive_config *cfg, GError **err)
{
    uint64_t logical = 0, physical = 0;

    if (!props_get_size(p, "logical_block_size", &logical, err) ||
        !props_get_size(p, "physical_block_size", &physical, err))
        return false;
    if (logical > MiB || physical > MiB)
        return error_set(err, HANOK_ERROR_INVALID, "a block size is too large");
    cfg->logical_block_bytes = (uint32_t)logical;
    cfg->physical_block_bytes = (uint32_t)physical;
    return true;
}

static bool boot_add(struct machine *m, struct props *p, const struct drive_place *at, GError **err)
{
    g_autofree char *path = firmware_pci_path(at->controller);
    uint32_t index = 0;

    if (!props_has(p, "bootindex"))
        return true;
    return props_get_u32(p, "bootindex", &index, err) &&
           firmware_boot_add(m, index,
                             g_strdup_printf("%s/drive@%u/disk@%u", path, at->bus, at->unit), err);
}

static bool create_drive(struct machine *m, struct props *p, bool cdrom, GError **err)
{
    static const char *const caches[] = {"off", "on", "auto", NULL};
    struct ata_drive_config cfg = {.cdrom = cdrom, .tray_moved = tray_moved, .opaque = m};
    const char *bus = NULL, *drive = NULL;
    struct drive_place at;
    unsigned cache = 2;

    if (!props_get_str(p, "bus", &bus, err) || !props_get_str(p, "drive", &drive, err) ||
        !props_get_str(p, "id", &cfg.id, err) || !props_get_str(p, "serial", &cfg.serial, err) ||
        !props_get_str(p, "model", &cfg.model, err) ||
        !props_get_str(p, "ver", &cfg.version, err) ||
        !props_get_enum(p, "write-cache", caches, &cache, err) || !sizes_read(p, &cfg, err) ||
        !policies_check(p, err) || !place_find(m, bus, p, &at, err))
        return false;
    cfg.no_write_cache = cache == 0;
    if (drive && *drive) {
        cfg.node = blk_find(drive);
        if (!cfg.node)
            return error_set(err, HANOK_ERROR_NOT_FOUND,
                             "there is no block node or drive '%s'; give -blockdev or -drive first",
                             drive);
    }
    return (ahci_is(at.controller) ? ahci_attach(at.controller, at.bus, &cfg, err)
                                   : ide_attach(at.controller, at.bus, at.unit, &cfg, err)) &&
           boot_add(m, p, &at, err);
}

bool create_ide_hd(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    return create_drive(m, p, false, err);
}

bool create_ide_cd(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    return create_drive(m, p, true, err);
}
