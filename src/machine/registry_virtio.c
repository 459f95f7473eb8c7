/* registry_virtio.c - the virtio devices as users write them. */
#include "registry.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "block/block.h"
#include "net/net.h"
#include "virtio/devices.h"

#include <jansson.h>

/* Whether the device is a transitional one: as its name says, else as disable-legacy= does; "auto"
 * are those that are not behind a PCI Express port, where an I/O window would have to be. */
static bool has_legacy(struct props *p, const struct pci_bus *bus, unsigned no_legacy)
{
    const char *driver = "";

    props_get_str(p, "driver", &driver, NULL);
    if (g_str_has_suffix(driver, "-non-transitional"))
        return false;
    if (g_str_has_suffix(driver, "-transitional"))
        return true;
    return no_legacy == 2 ? !bus->hotplug : no_legacy == 0;
}

/* The place that bus= names, else the first that is free. */
static struct virtio_mmio_slot *slot_find(struct machine *m, const char *bus, GError **err)
{
    for (unsigned i = 0; i < m->slot_count; i++) {
        g_autofree char *name = g_strdup_printf("virtio-mmio-bus.%u", i);
        if (bus ? strcmp(bus, name) == 0 : !m->slots[i].device)
            return &m->slots[i];
    }
    if (!m->slots)
        error_set(err, HANOK_ERROR_UNSUPPORTED,
                  "machine %s has no bus for it: virtio devices are on PCI there, as "
                  "virtio-blk-pci",
                  m->type->name);
    else if (bus)
        error_set(err, HANOK_ERROR_NOT_FOUND,
                  "there is no bus '%s'; there are virtio-mmio-bus.0 to virtio-mmio-bus.%u", bus,
                  m->slot_count - 1);
    else
        error_set(err, HANOK_ERROR_BUSY, "all %u places for virtio devices are taken",
                  m->slot_count);
    return NULL;
}

static bool mmio_read(struct machine *m, struct props *p, struct virtio_place *out, GError **err)
{
    const char *bus = NULL;

    *out = (struct virtio_place){.clock = m->clock};
    return props_get_str(p, "bus", &bus, err) && props_get_str(p, "id", &out->id, err) &&
           (out->slot = slot_find(m, bus, err));
}

bool virtio_common_read(struct machine *m, const struct device_class *cls, struct props *p,
                        struct virtio_place *out, GError **err)
{
    static const char *const on_off_auto[] = {"off", "on", "auto", NULL};
    struct device_place place;
    bool no_modern = false, ats = false;
    unsigned no_legacy = 2;
    uint32_t vectors = UINT32_MAX;

    if (cls->bus && strcmp(cls->bus, VIRTIO_MMIO_BUS) == 0)
        return mmio_read(m, p, out, err);
    if (!device_place_read(m, p, &place, err) ||
        !props_get_bool(p, "disable-modern", &no_modern, err) ||
        !props_get_bool(p, "ats", &ats, err) || !props_get_u32(p, "vectors", &vectors, err))
        return false;
    if (props_has(p, "disable-legacy") &&
        !props_get_enum(p, "disable-legacy", on_off_auto, &no_legacy, err))
        return false;
    if (ats)
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "ats=on is not possible");
    if (vectors != UINT32_MAX && vectors > 2048)
        return error_set(err, HANOK_ERROR_INVALID, "vectors=%u is too many; at most 2048", vectors);
    *out = (struct virtio_place){.bus = place.bus,
                                 .devfn = place.devfn,
                                 .multifunction = place.multifunction,
                                 .id = place.id,
                                 .clock = m->clock,
                                 .vectors = vectors == UINT32_MAX ? 0 : vectors,
                                 .no_msix = vectors == 0,
                                 .legacy = has_legacy(p, place.bus, no_legacy),
                                 .no_modern = no_modern};
    return true;
}

/* An on/off property whose absence means on; *off says that it was turned off. */
static bool flag_off(struct props *p, const char *key, bool *off, GError **err)
{
    bool on = true;

    if (!props_get_bool(p, key, &on, err))
        return false;
    *off = !on;
    return true;
}

/* ---- disk ---- */

const struct prop_desc props_virtio_blk[] = {
    VIRTIO_COMMON,
    {"drive", PROP_DRIVE, NULL, "block node or drive"},
    {"serial", PROP_STR, NULL, "serial number, at most 20 bytes"},
    {"num-queues", PROP_U32, NULL, "request queues; default: one per CPU"},
    {"queue-size", PROP_U32, "256", "entries of a queue"},
    {"iothread", PROP_LINK, NULL, "iothread that serves it"},
    {"logical_block_size", PROP_SIZE, NULL, "bytes; default: the image's"},
    {"physical_block_size", PROP_SIZE, NULL, "bytes; default: the image's"},
    {"min_io_size", PROP_SIZE, "0", "best smallest request"},
    {"opt_io_size", PROP_SIZE, "0", "best request"},
    {"discard_granularity", PROP_SIZE, NULL, "bytes; default: a logical block"},
    {"max-discard-sectors", PROP_U32, "4194304", "most of one discard, in 512 bytes"},
    {"max-write-zeroes-sectors", PROP_U32, "4194304", "most of one write-zeroes"},
    {"write-cache", PROP_ONOFFAUTO, "auto", "offer a write cache"},
    {"config-wce", PROP_BOOL, "on", "the guest may switch the write cache"},
    {"discard", PROP_BOOL, "on", "offer discard"},
    {"write-zeroes", PROP_BOOL, "on", "offer write zeroes"},
    {"request-merging", PROP_BOOL, "on", "join requests that touch"},
    {"rerror", PROP_STR, "auto", "report, ignore or stop"},
    {"werror", PROP_STR, "auto", "report, ignore, stop or enospc"},
    {"share-rw", PROP_BOOL, "off", "others may write to the image, too"},
    {"scsi", PROP_BOOL, "off", "SCSI passthrough (refused)"},
    {NULL, PROP_STR, NULL, NULL},
};

static void blk_error(void *opaque, struct device *d, bool is_write, int errnum,
                      enum blk_error_action action)
{
    device_disk_error(opaque, d->id, virtio_blk_node(d), is_write, errnum, action);
}

static bool blk_geometry(struct props *p, struct virtio_blk_config *cfg, GError **err)
{
    uint64_t logical = 0, physical = 0, min_io = 0, opt_io = 0, discard = 0;

    if (!props_get_size(p, "logical_block_size", &logical, err) ||
        !props_get_size(p, "physical_block_size", &physical, err) ||
        !props_get_size(p, "min_io_size", &min_io, err) ||
        !props_get_size(p, "opt_io_size", &opt_io, err) ||
        !props_get_size(p, "discard_granularity", &discard, err) ||
        !props_get_u32(p, "max-discard-sectors", &cfg->max_discard_sectors, err) ||
        !props_get_u32(p, "max-write-zeroes-sectors", &cfg->max_zeroes_sectors, err))
        return false;
    if (cfg->max_discard_sectors > 1u << 22 || cfg->max_zeroes_sectors > 1u << 22)
        return error_set(err, HANOK_ERROR_INVALID,
                         "max-discard-sectors and max-write-zeroes-sectors are at most 4194304");
    if (discard > UINT32_MAX || logical > 2 * MiB || physical > 2 * MiB || min_io > UINT32_MAX ||
        opt_io > UINT32_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "a block or I/O size is too large");
    cfg->logical_block_bytes = (uint32_t)logical;
    cfg->physical_block_bytes = (uint32_t)physical;
    cfg->min_io_bytes = (uint32_t)min_io;
    cfg->opt_io_bytes = (uint32_t)opt_io;
    cfg->discard_bytes = (uint32_t)discard;
    return true;
}

static bool blk_backend(struct machine *m, struct props *p, struct virtio_blk_config *cfg,
                        GError **err)
{
    const char *iothread = NULL;
    struct blk_limits limits;

    if (!device_disk_node(p, false, &cfg->node, err) ||
        !props_get_str(p, "iothread", &iothread, err))
        return false;
    if (iothread && !(cfg->loop = machine_iothread(m, iothread, err)))
        return false;
    blk_limits(cfg->node, &limits);
    cfg->read_only = limits.read_only;
    cfg->no_write_cache = !limits.write_cache;
    return true;
}

bool create_virtio_blk(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    static const char *const on_off_auto[] = {"off", "on", "auto", NULL};
    struct virtio_blk_config cfg = {.on_error = blk_error, .on_error_opaque = m};
    unsigned cache = 2;
    uint32_t queues = 0, queue_size = 0;
    bool scsi = false;

    if (!virtio_common_read(m, cls, p, &cfg.place, err) || !blk_backend(m, p, &cfg, err) ||
        !blk_geometry(p, &cfg, err) || !device_disk_policies(p, &cfg.rerror, &cfg.werror, err) ||
        !props_get_str(p, "serial", &cfg.serial, err) ||
        !props_get_u32(p, "num-queues", &queues, err) ||
        !props_get_u32(p, "queue-size", &queue_size, err) ||
        !props_get_enum(p, "write-cache", on_off_auto, &cache, err) ||
        !flag_off(p, "config-wce", &cfg.no_config_wce, err) ||
        !flag_off(p, "discard", &cfg.no_discard, err) ||
        !flag_off(p, "write-zeroes", &cfg.no_write_zeroes, err) ||
        !flag_off(p, "request-merging", &cfg.no_merging, err) ||
        !props_get_bool(p, "share-rw", &cfg.share_rw, err) ||
        !props_get_bool(p, "scsi", &scsi, err))
        return false;
    if (props_has(p, "num-queues") && queues == 0)
        return error_set(err, HANOK_ERROR_INVALID, "num-queues= must be at least 1");
    if (cfg.serial && strlen(cfg.serial) > VIRTIO_BLK_SERIAL_MAX)
        log_warning("device '%s': the guest sees only the first %u bytes of serial=%s", cls->name,
                    VIRTIO_BLK_SERIAL_MAX, cfg.serial);
    if (scsi)
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "scsi=on is not possible");
    if (cache != 2)
        cfg.no_write_cache = cache == 0;
    cfg.queues = queues ? queues : MIN_OF(m->cfg->topology.cpus, 64u);
    cfg.queue_size = queue_size;
    return virtio_blk_new(&cfg, err) != NULL;
}

/* ---- SCSI controller ---- */

const struct prop_desc props_virtio_scsi[] = {
    VIRTIO_COMMON,
    {"num_queues", PROP_U32, NULL, "request queues; default: one per CPU"},
    {"virtqueue_size", PROP_U32, "256", "entries of a request queue"},
    {"seg_max_adjust", PROP_BOOL, "on", "accepted: a command may have a queue's length of pieces"},
    {"max_sectors", PROP_U32, "65535", "most of one command, in 512 bytes"},
    {"cmd_per_lun", PROP_U32, "128", "commands at once for a disk, told to the guest"},
    {"hotplug", PROP_BOOL, "on", "tell of disks that come and go"},
    {"param_change", PROP_BOOL, "on", "tell of disks that change"},
    {"iothread", PROP_LINK, NULL, "iothread that serves it"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_virtio_scsi(struct machine *m, const struct device_class *cls, struct props *p,
                        GError **err)
{
    struct virtio_scsi_config cfg = {.loop = NULL};
    const char *iothread = NULL;
    uint32_t queues = 0, size = 0;

    if (!virtio_common_read(m, cls, p, &cfg.place, err) ||
        !props_get_str(p, "iothread", &iothread, err) ||
        !props_get_u32(p, "num_queues", &queues, err) ||
        !props_get_u32(p, "virtqueue_size", &size, err) ||
        !props_get_u32(p, "max_sectors", &cfg.max_sectors, err) ||
        !props_get_u32(p, "cmd_per_lun", &cfg.cmd_per_lun, err) ||
        !flag_off(p, "hotplug", &cfg.no_hotplug, err) ||
        !flag_off(p, "param_change", &cfg.no_param_change, err))
        return false;
    if (props_has(p, "num_queues") && queues == 0)
        return error_set(err, HANOK_ERROR_INVALID, "num_queues= must be at least 1");
    if (iothread && !(cfg.loop = machine_iothread(m, iothread, err)))
        return false;
    cfg.queues = queues ? queues : MIN_OF(m->cfg->topology.cpus, 64u);
    cfg.queue_size = size;
    return virtio_scsi_new(&cfg, err) != NULL;
}

/* ---- network ---- */

const struct prop_desc props_virtio_net[] = {
    VIRTIO_COMMON,
    {"netdev", PROP_NETDEV, NULL, "network backend"},
    {"mac", PROP_MAC, NULL, "address, 52:54:00:12:34:56 and up by default"},
    {"mq", PROP_BOOL, "off", "queue pairs: the backend's queues=, or one per CPU"},
    {"rx_queue_size", PROP_U32, "256", "entries of a receive queue"},
    {"tx_queue_size", PROP_U32, "256", "entries of a transmit queue"},
    {"host_mtu", PROP_U32, "0", "MTU told to the guest"},
    {"speed", PROP_U32, NULL, "Mbit/s told to the guest"},
    {"duplex", PROP_STR, NULL, "full"},
    {"mrg_rxbuf", PROP_BOOL, "on", "offer mergeable receive buffers"},
    {"guest_announce", PROP_BOOL, "on", "offer announcements"},
    {"ctrl_vq", PROP_BOOL, "on", "offer a control queue"},
    {NULL, PROP_STR, NULL, NULL},
};

static bool net_numbers(struct props *p, struct virtio_net_config *cfg, GError **err)
{
    static const char *const duplexes[] = {"full", NULL};
    uint32_t rx = 0, tx = 0, mtu = 0;
    unsigned duplex = 0;

    if (!props_get_u32(p, "rx_queue_size", &rx, err) ||
        !props_get_u32(p, "tx_queue_size", &tx, err) || !props_get_u32(p, "host_mtu", &mtu, err) ||
        !props_get_u32(p, "speed", &cfg->speed_mbit, err) ||
        !props_get_enum(p, "duplex", duplexes, &duplex, err))
        return false;
    if (mtu > UINT16_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "host_mtu=%u is too large; at most 65535", mtu);
    cfg->rx_queue_size = rx;
    cfg->tx_queue_size = tx;
    cfg->mtu = (uint16_t)mtu;
    return true;
}

bool create_virtio_net(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    struct virtio_net_config cfg = {.queue_pairs = 0};
    bool mq = false;

    if (!virtio_common_read(m, cls, p, &cfg.place, err) || !device_netdev(p, &cfg.backend, err) ||
        !device_mac_read(p, cfg.mac, &cfg.have_mac, err) || !net_numbers(p, &cfg, err) ||
        !props_get_bool(p, "mq", &mq, err) || !flag_off(p, "mrg_rxbuf", &cfg.no_mrg_rxbuf, err) ||
        !flag_off(p, "guest_announce", &cfg.no_guest_announce, err) ||
        !flag_off(p, "ctrl_vq", &cfg.no_ctrl_vq, err))
        return false;
    if (mq)
        cfg.queue_pairs = cfg.backend && net_queues(cfg.backend)
                              ? net_queues(cfg.backend)
                              : MIN_OF(m->cfg->topology.cpus, 16u);
    return virtio_net_new(&cfg, err) != NULL;
}

/* ---- serial bus and its ports ---- */

const struct prop_desc props_virtio_serial[] = {
    VIRTIO_COMMON,
    {"max_ports", PROP_U32, "31", "ports it can carry"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_virtio_serial(struct machine *m, const struct device_class *cls, struct props *p,
                          GError **err)
{
    struct virtio_serial_config cfg = {.max_ports = 0};
    uint32_t ports = 0;

    if (!virtio_common_read(m, cls, p, &cfg.place, err) ||
        !props_get_u32(p, "max_ports", &ports, err))
        return false;
    if (props_has(p, "max_ports") && ports == 0)
        return error_set(err, HANOK_ERROR_INVALID, "max_ports= must be at least 1");
    cfg.max_ports = ports;
    return virtio_serial_new(&cfg, err) != NULL;
}

const struct prop_desc props_virtio_port[] = {
    {"chardev", PROP_CHARDEV, NULL, "where the bytes go"},
    {"name", PROP_STR, NULL, "name the guest finds it by"},
    {"nr", PROP_U32, NULL, "port number"},
    {NULL, PROP_STR, NULL, NULL},
};

static void port_open(void *opaque, struct device *port, bool open)
{
    if (port->id) /* without one nobody could tell which */
        machine_emit(opaque, "VSERPORT_CHANGE", json_pack("{sssb}", "id", port->id, "open", open));
}

static bool port_create(struct machine *m, struct props *p, bool console, GError **err)
{
    struct virtio_port_config cfg = {.console = console, .on_open = port_open, .on_open_opaque = m};
    const char *bus = NULL;
    uint32_t nr = 0;
    struct device *carrier;

    if (!props_get_str(p, "bus", &bus, err) || !props_get_str(p, "id", &cfg.id, err) ||
        !props_get_str(p, "name", &cfg.name, err) || !props_get_u32(p, "nr", &nr, err) ||
        !device_chardev(p, &cfg.chardev, err))
        return false;
    cfg.nr = nr;
    carrier = virtio_serial_find(&m->devices, bus, err);
    return carrier && virtio_port_new(carrier, &cfg, err) != NULL;
}

bool create_virtserialport(struct machine *m, const struct device_class *cls, struct props *p,
                           GError **err)
{
    return port_create(m, p, false, err);
}

bool create_virtconsole(struct machine *m, const struct device_class *cls, struct props *p,
                        GError **err)
{
    return port_create(m, p, true, err);
}

/* ---- random numbers ---- */

const struct prop_desc props_virtio_rng[] = {
    VIRTIO_COMMON,
    {"rng", PROP_LINK, NULL, "rng-random or rng-builtin object"},
    {"max-bytes", PROP_U64, "0", "limit per period, 0: none"},
    {"period", PROP_U32, "65536", "milliseconds"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_virtio_rng(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    struct virtio_rng_config cfg = {.filename = NULL};
    const char *rng = NULL;

    return virtio_common_read(m, cls, p, &cfg.place, err) && props_get_str(p, "rng", &rng, err) &&
           (!rng || machine_rng_source(m, rng, &cfg.filename, err)) &&
           props_get_u64(p, "max-bytes", &cfg.max_bytes, err) &&
           props_get_u32(p, "period", &cfg.period_ms, err) && virtio_rng_new(&cfg, err);
}

/* ---- balloon ---- */

const struct prop_desc props_virtio_balloon[] = {
    VIRTIO_COMMON,
    {"deflate-on-oom", PROP_BOOL, "off", "the guest takes memory back before it runs out"},
    {"free-page-reporting", PROP_BOOL, "off", "free pages of the guest go back to the host"},
    {"page-poison", PROP_BOOL, "on", "the guest can tell its poison value"},
    {NULL, PROP_STR, NULL, NULL},
};

static void balloon_changed(void *opaque, struct device *d, uint64_t actual_bytes)
{
    machine_emit(opaque, "BALLOON_CHANGE", json_pack("{s:I}", "actual", (json_int_t)actual_bytes));
}

bool create_virtio_balloon(struct machine *m, const struct device_class *cls, struct props *p,
                           GError **err)
{
    struct virtio_balloon_config cfg = {.page_poison = true,
                                        .ram_bytes = m->cfg->ram_bytes,
                                        .on_change = balloon_changed,
                                        .on_change_opaque = m};

    return virtio_common_read(m, cls, p, &cfg.place, err) &&
           props_get_bool(p, "deflate-on-oom", &cfg.deflate_on_oom, err) &&
           props_get_bool(p, "free-page-reporting", &cfg.free_page_reporting, err) &&
           props_get_bool(p, "page-poison", &cfg.page_poison, err) && virtio_balloon_new(&cfg, err);
}
