/* registry_nvme.c - NVMe disks as users write them. */
#include "base/error.h"
#include "nvme/nvme.h"
#include "registry.h"

const struct prop_desc props_nvme[] = {
    {"drive", PROP_DRIVE, NULL, "block node or drive"},
    {"serial", PROP_STR, NULL, "serial number, 1 to 20 bytes; needed"},
    {"max_ioqpairs", PROP_U32, "64", "I/O queue pairs, at most 511"},
    {"num_queues", PROP_U32, NULL, "the same, the admin queue counted too"},
    {"msix_qsize", PROP_U32, "65", "MSI-X vectors"},
    {"mdts", PROP_U32, "7", "most data of a command: 4 KiB << mdts"},
    {"logical_block_size", PROP_SIZE, NULL, "bytes; default: the image's"},
    {"physical_block_size", PROP_SIZE, NULL, "bytes; default: the image's"},
    {"min_io_size", PROP_SIZE, NULL, "accepted"},
    {"opt_io_size", PROP_SIZE, NULL, "accepted"},
    {"discard_granularity", PROP_SIZE, NULL, "accepted"},
    {"write-cache", PROP_ONOFFAUTO, "auto", "start with the write cache on"},
    {"use-intel-id", PROP_BOOL, "off", "PCI ids 8086:5845"},
    {"rerror", PROP_STR, "auto", "report, ignore or stop"},
    {"werror", PROP_STR, "auto", "report, ignore, stop or enospc"},
    {"share-rw", PROP_BOOL, "off", "others may write to the image, too"},
    {NULL, PROP_STR, NULL, NULL},
};

static void on_error(void *opaque, struct pci_dev *d, bool is_write, int errnum,
                     enum blk_error_action action)
{
    device_disk_error(opaque, d->dev.id, nvme_node(&d->dev), is_write, errnum, action);
}

static bool queues_read(struct props *p, struct nvme_config *cfg, GError **err)
{
    uint32_t pairs = 64, all = 0, vectors = 65, mdts = 7;

    if (!props_get_u32(p, "max_ioqpairs", &pairs, err) ||
        !props_get_u32(p, "num_queues", &all, err) ||
        !props_get_u32(p, "msix_qsize", &vectors, err) || !props_get_u32(p, "mdts", &mdts, err))
        return false;
    if (props_has(p, "num_queues"))
        pairs = all ? all - 1 : 0;
    if (pairs == 0 || vectors == 0 || mdts == 0)
        return error_set(
            err, HANOK_ERROR_INVALID,
            "max_ioqpairs=, msix_qsize= and mdts= must be at least 1 (num_queues=: 2)");
    cfg->queue_pairs = pairs;
    cfg->vectors = vectors;
    cfg->mdts = mdts;
    return true;
}

bool create_nvme(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    static const char *const on_off_auto[] = {"off", "on", "auto", NULL};
    struct nvme_config cfg = {.clock = m->clock, .on_error = on_error, .on_error_opaque = m};
    struct device_place place;
    struct blk_limits limits;
    unsigned cache = 2;

    if (!device_place_read(m, p, &place, err) || !device_disk_node(p, false, &cfg.node, err) ||
        !props_get_str(p, "serial", &cfg.serial, err) || !queues_read(p, &cfg, err) ||
        !device_disk_blocks(p, &cfg.logical_block_bytes, &cfg.physical_block_bytes, err) ||
        !device_disk_policies(p, &cfg.rerror, &cfg.werror, err) ||
        !props_get_enum(p, "write-cache", on_off_auto, &cache, err) ||
        !props_get_bool(p, "use-intel-id", &cfg.intel_id, err) ||
        !props_get_bool(p, "share-rw", &cfg.share_rw, err))
        return false;
    blk_limits(cfg.node, &limits);
    cfg.no_write_cache = cache == 2 ? !limits.write_cache : cache == 0;
    cfg.bus = place.bus;
    cfg.devfn = place.devfn;
    cfg.multifunction = place.multifunction;
    cfg.id = place.id;
    return nvme_new(&cfg, err) != NULL;
}
