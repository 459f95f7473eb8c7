/* registry_scsi.c - SCSI disks and CD-ROM drives, as users write them. */
#include "base/error.h"
#include "base/util.h"
#include "firmware.h"
#include "registry.h"
#include "scsi/scsi.h"
#include "virtio/devices.h"

#include <jansson.h>

const struct prop_desc props_scsi_drive[] = {
    {"drive", PROP_DRIVE, NULL, "block node or drive; a CD-ROM drive may be empty"},
    {"channel", PROP_U32, "0", "there is one: 0"},
    {"scsi-id", PROP_U32, NULL, "target, 0 to 255; default: the first free one"},
    {"lun", PROP_U32, "0", "logical unit, 0 to 16383"},
    {"serial", PROP_STR, NULL, "serial number, at most 36 bytes"},
    {"device_id", PROP_STR, NULL, "name in page 0x83; default: the serial number, or the id"},
    {"wwn", PROP_U64, NULL, "world-wide name"},
    {"port_wwn", PROP_U64, NULL, "accepted"},
    {"port_index", PROP_U32, NULL, "accepted"},
    {"vendor", PROP_STR, "HANOK", "at most 8 bytes"},
    {"product", PROP_STR, NULL, "at most 16 bytes"},
    {"ver", PROP_STR, NULL, "at most 4 bytes"},
    {"rotation_rate", PROP_U32, "0", "1: does not rotate"},
    {"removable", PROP_BOOL, "off", "say that the medium can be taken out"},
    {"dpofua", PROP_BOOL, "on", "accepted: FUA is always offered"},
    {"scsi_version", PROP_U32, NULL, "accepted"},
    {"max_unmap_size", PROP_SIZE, NULL, "accepted"},
    {"max_io_size", PROP_SIZE, NULL, "accepted"},
    {"logical_block_size", PROP_SIZE, NULL, "bytes; default: the image's"},
    {"physical_block_size", PROP_SIZE, NULL, "bytes; default: the image's"},
    {"min_io_size", PROP_SIZE, NULL, "accepted"},
    {"opt_io_size", PROP_SIZE, NULL, "accepted"},
    {"discard_granularity", PROP_SIZE, NULL, "bytes; default: a logical block"},
    {"write-cache", PROP_ONOFFAUTO, "auto", "start with the write cache on"},
    {"rerror", PROP_STR, "auto", "report, ignore or stop"},
    {"werror", PROP_STR, "auto", "report, ignore, stop or enospc"},
    {"share-rw", PROP_BOOL, "off", "others may write to the image, too"},
    {NULL, PROP_STR, NULL, NULL},
};

/* ---- where ---- */

struct scsi_place {
    struct device *hba;
    struct scsi_bus *bus;
};

/* "ID.0" names the one bus of device ID. */
static bool bus_find(struct machine *m, struct props *p, struct scsi_place *out, GError **err)
{
    g_autoptr(GString) known = g_string_new(NULL);
    const char *bus = NULL;

    if (!props_get_str(p, "bus", &bus, err))
        return false;
    for (struct device *d = m->devices.first; d; d = d->next) {
        struct scsi_bus *s = virtio_scsi_bus(d);
        const char *id = d->id ? d->id : "scsi";
        if (!s)
            continue;
        g_autofree char *name = g_strconcat(id, ".0", NULL);
        if (!bus || strcmp(bus, name) == 0 || strcmp(bus, id) == 0) {
            *out = (struct scsi_place){d, s};
            return true;
        }
        g_string_append_printf(known, "%s'%s'", known->len ? ", " : "", name);
    }
    if (!known->len)
        return error_set(err, HANOK_ERROR_NOT_FOUND,
                         "there is no SCSI bus; give -device virtio-scsi-pci before it");
    return error_set(err, HANOK_ERROR_NOT_FOUND, "there is no SCSI bus '%s'; there is %s", bus,
                     known->str);
}

static bool address_read(struct props *p, struct scsi_bus *bus, struct scsi_config *cfg,
                         GError **err)
{
    uint32_t channel = 0, target = 0, lun = 0;

    if (!props_get_u32(p, "channel", &channel, err) || !props_get_u32(p, "scsi-id", &target, err) ||
        !props_get_u32(p, "lun", &lun, err))
        return false;
    if (channel)
        return error_set(err, HANOK_ERROR_INVALID, "channel=%u: there is one channel, 0", channel);
    while (!props_has(p, "scsi-id") && target < SCSI_TARGETS - 1 && scsi_lun_find(bus, target, lun))
        target++;
    cfg->target = target;
    cfg->lun = lun;
    return true;
}

/* ---- what ---- */

static void on_error(void *opaque, struct scsi_lun *l, bool is_write, int errnum,
                     enum blk_error_action action)
{
    struct scsi_lun_info info;

    scsi_lun_info(l, &info);
    device_disk_error(opaque, scsi_lun_device(l)->id, info.node, is_write, errnum, action);
}

static void tray_moved(void *opaque, const char *id, bool open)
{
    machine_emit(opaque, "DEVICE_TRAY_MOVED",
                 json_pack("{s:s, s:s, s:b}", "device", "", "id", id ? id : "", "tray-open", open));
}

static bool texts_read(struct props *p, struct scsi_config *cfg, GError **err)
{
    return props_get_str(p, "id", &cfg->id, err) && props_get_str(p, "serial", &cfg->serial, err) &&
           props_get_str(p, "device_id", &cfg->device_id, err) &&
           props_get_str(p, "vendor", &cfg->vendor, err) &&
           props_get_str(p, "product", &cfg->product, err) &&
           props_get_str(p, "ver", &cfg->version, err);
}

/* libvirt writes the name as hexadecimal digits without 0x. */
static bool wwn_read(struct props *p, uint64_t *out, GError **err)
{
    const char *text = NULL;
    json_t *j = props_get_json(p, "wwn");
    guint64 v = 0;

    if (j && json_is_integer(j)) {
        *out = (uint64_t)json_integer_value(j);
        return true;
    }
    if (!props_get_str(p, "wwn", &text, err))
        return false;
    if (!text)
        return true;
    if (g_str_has_prefix(text, "0x"))
        text += 2;
    if (!g_ascii_string_to_unsigned(text, 16, 0, G_MAXUINT64, &v, NULL))
        return error_set(err, HANOK_ERROR_INVALID,
                         "wwn=%s is not a number of 16 hexadecimal digits", text);
    *out = v;
    return true;
}

static bool sizes_read(struct props *p, struct scsi_config *cfg, GError **err)
{
    uint64_t discard = 0;
    uint32_t rate = 0;

    if (!device_disk_blocks(p, &cfg->logical_block_bytes, &cfg->physical_block_bytes, err) ||
        !props_get_size(p, "discard_granularity", &discard, err) ||
        !props_get_u32(p, "rotation_rate", &rate, err))
        return false;
    if (discard > UINT32_MAX || rate > UINT16_MAX)
        return error_set(err, HANOK_ERROR_INVALID,
                         "discard_granularity or rotation_rate is too large");
    cfg->discard_bytes = (uint32_t)discard;
    cfg->rotation_rate = (uint16_t)rate;
    return true;
}

static bool boot_add(struct machine *m, struct props *p, const struct scsi_place *place,
                     const struct scsi_config *cfg, GError **err)
{
    struct pci_dev *hba = machine_pci_dev_of(m, place->hba);
    uint32_t index = 0;

    if (!props_has(p, "bootindex") || !hba) /* without PCI, no firmware looks for disks */
        return true;
    g_autofree char *path = firmware_pci_path(hba);
    return props_get_u32(p, "bootindex", &index, err) &&
           firmware_boot_add(
               m, index, g_strdup_printf("%s/channel@0/disk@%x,%x", path, cfg->target, cfg->lun),
               err);
}

static bool create_drive(struct machine *m, struct props *p, bool cdrom, GError **err)
{
    static const char *const on_off_auto[] = {"off", "on", "auto", NULL};
    struct scsi_config cfg = {
        .cdrom = cdrom, .on_error = on_error, .tray_moved = tray_moved, .opaque = m};
    struct scsi_place place = {NULL, NULL};
    struct blk_limits limits = {.write_cache = true};
    unsigned cache = 2;

    if (!bus_find(m, p, &place, err) || !address_read(p, place.bus, &cfg, err) ||
        !device_disk_node(p, cdrom, &cfg.node, err) || !texts_read(p, &cfg, err) ||
        !wwn_read(p, &cfg.wwn, err) || !sizes_read(p, &cfg, err) ||
        !device_disk_policies(p, &cfg.rerror, &cfg.werror, err) ||
        !props_get_bool(p, "removable", &cfg.removable, err) ||
        !props_get_bool(p, "share-rw", &cfg.share_rw, err) ||
        !props_get_enum(p, "write-cache", on_off_auto, &cache, err))
        return false;
    if (cfg.node)
        blk_limits(cfg.node, &limits);
    cfg.no_write_cache = cache == 2 ? !limits.write_cache : cache == 0;
    return scsi_lun_new(place.bus, &cfg, err) && boot_add(m, p, &place, &cfg, err);
}

bool create_scsi_hd(struct machine *m, const struct device_class *cls, struct props *p,
                    GError **err)
{
    return create_drive(m, p, false, err);
}

bool create_scsi_cd(struct machine *m, const struct device_class *cls, struct props *p,
                    GError **err)
{
    return create_drive(m, p, true, err);
}
