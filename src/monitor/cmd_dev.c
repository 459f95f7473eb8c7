/* cmd_dev.c - what disks, networks, chardevs and PCI functions are and do. */
#include "commands.h"

#include "ata/ahci.h"
#include "block/block.h"
#include "bus/pci.h"
#include "chardev/chardev.h"
#include "net/net.h"
#include "virtio/devices.h"

#include <errno.h>
#include <sys/stat.h>

/* ---- PCI ---- */

void foreach_pci_dev(struct machine *m, void (*fn)(struct pci_dev *d, void *opaque), void *opaque)
{
    struct pci_host *h = machine_pci(m);
    for (struct pci_bus *b = h ? h->buses : NULL; b; b = b->next) {
        for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++) {
            if (b->slot[i]) {
                fn(b->slot[i], opaque);
            }
        }
    }
}

static json_t *pci_regions(struct pci_dev *d)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
        struct pci_bar *bar = &d->bar[i];
        if (bar->kind == PCI_BAR_NONE || !bar->region) {
            continue;
        }
        json_t *o = json_pack(
            "{sisssIsI}", "bar", (int)i, "type", bar->kind == PCI_BAR_IO ? "io" : "memory",
            "address", (json_int_t)bar->mapped_at, "size", (json_int_t)bar->region->size_bytes);
        if (bar->kind != PCI_BAR_IO) {
            json_object_set_new(o, "prefetch", json_boolean(bar->prefetch));
            json_object_set_new(o, "mem_type_64", json_boolean(bar->kind == PCI_BAR_MEM64));
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *pci_devices(struct pci_host *h, struct pci_bus *b);

static json_t *pci_bridge_info(struct pci_host *h, struct pci_dev *d)
{
    struct pci_bus *behind = NULL;
    for (struct pci_bus *b = h->buses; b && !behind; b = b->next) {
        behind = b->bridge == d ? b : NULL;
    }
    const uint8_t *c = d->config;
    json_int_t io = (c[0x1c] & 0xf0) << 8, io_end = ((c[0x1d] & 0xf0) << 8) | 0xfff;
    json_int_t mem = (json_int_t)(le16_get(c + 0x20) & 0xfff0) << 16,
               mem_end = ((json_int_t)(le16_get(c + 0x22) & 0xfff0) << 16) | 0xfffff;
    json_int_t pf = ((json_int_t)le32_get(c + 0x28) << 32) |
                    ((json_int_t)(le16_get(c + 0x24) & 0xfff0) << 16),
               pf_end = ((json_int_t)le32_get(c + 0x2c) << 32) |
                        ((json_int_t)(le16_get(c + 0x26) & 0xfff0) << 16) | 0xfffff;
    json_t *bus = json_pack("{sisisis{sIsI}s{sIsI}s{sIsI}}", "number", (int)c[0x18], "secondary",
                            (int)c[0x19], "subordinate", (int)c[0x1a], "io_range", "base", io,
                            "limit", io_end, "memory_range", "base", mem, "limit", mem_end,
                            "prefetchable_range", "base", pf, "limit", pf_end);
    json_t *info = json_pack("{so}", "bus", bus);
    if (behind) {
        json_object_set_new(info, "devices", pci_devices(h, behind));
    }
    return info;
}

static json_t *pci_device(struct pci_host *h, struct pci_bus *b, struct pci_dev *d)
{
    unsigned class = le16_get(d->config + 0x0a);
    json_t *id = json_pack("{sisi}", "device", (int)le16_get(d->config + 2), "vendor",
                           (int)le16_get(d->config));
    if (!d->is_bridge) {
        json_object_set_new(id, "subsystem-vendor", json_integer(le16_get(d->config + 0x2c)));
        json_object_set_new(id, "subsystem", json_integer(le16_get(d->config + 0x2e)));
    }
    json_t *o =
        json_pack("{sisisis{siss}sosissso}", "bus", (int)b->number, "slot", (int)(d->devfn >> 3),
                  "function", (int)(d->devfn & 7), "class_info", "class", (int)class, "desc",
                  d->dev.ops->type, "id", id, "irq_pin", (int)d->config[0x3d], "qdev_id",
                  d->dev.id ? d->dev.id : "", "regions", pci_regions(d));
    if (d->config[0x3d]) {
        json_object_set_new(o, "irq", json_integer(d->config[0x3c]));
    }
    if (d->is_bridge) {
        json_object_set_new(o, "pci_bridge", pci_bridge_info(h, d));
    }
    return o;
}

static json_t *pci_devices(struct pci_host *h, struct pci_bus *b)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++) {
        if (b->slot[i]) {
            json_array_append_new(list, pci_device(h, b, b->slot[i]));
        }
    }
    return list;
}

json_t *cmd_query_pci(struct qmp_call *call, json_t *args, GError **err)
{
    struct pci_host *h = machine_pci(call->m);
    struct device_list *devices = machine_devices(call->m);
    json_t *list = json_array();
    if (h && h->root) {
        pthread_mutex_lock(&devices->lock); /* the guest may be moving BARs */
        json_t *on_root = pci_devices(h, h->root);
        pthread_mutex_unlock(&devices->lock);
        json_array_append_new(list,
                              json_pack("{siso}", "bus", (int)h->root->number, "devices", on_root));
    }
    return list;
}

/* ---- disks ---- */

static json_t *image_info(struct blk_node *n)
{
    struct blk_limits l;
    struct stat st;
    const char *file = blk_filename(n);
    blk_limits(n, &l);
    json_t *o = json_pack("{sssssI}", "filename", file ? file : "", "format", blk_driver_name(n),
                          "virtual-size", (json_int_t)l.size_bytes);
    if (file && !stat(file, &st)) {
        json_object_set_new(o, "actual-size", json_integer((json_int_t)st.st_blocks * 512));
    }
    return o;
}

/* What the user asked of a node; the block layer keeps only what it acts on. */
static struct props *asked_of_node(struct machine *m, struct blk_node *n)
{
    GPtrArray *list = machine_config(m)->blockdevs;
    const char *wanted = blk_node_name(n);
    for (unsigned i = 0; wanted && i < list->len; i++) {
        const char *name = NULL;
        props_get_str(g_ptr_array_index(list, i), "node-name", &name, NULL);
        if (name && !strcmp(name, wanted)) {
            return g_ptr_array_index(list, i);
        }
    }
    return NULL;
}

static json_t *node_info(struct machine *m, struct blk_node *n)
{
    static const char *const throttles[] = {"bps",  "bps_rd",  "bps_wr",
                                            "iops", "iops_rd", "iops_wr"};
    struct blk_limits l;
    struct props *asked = asked_of_node(m, n);
    const char *file = blk_filename(n), *zeroes = "off";
    bool direct = false, no_flush = false;
    blk_limits(n, &l);
    if (asked) {
        props_get_bool(asked, "cache.direct", &direct, NULL);
        props_get_bool(asked, "cache.no-flush", &no_flush, NULL);
        props_get_str(asked, "detect-zeroes", &zeroes, NULL);
    }
    json_t *o = json_pack("{sssssbsssisbso}", "file", file ? file : "", "node-name",
                          blk_node_name(n) ? blk_node_name(n) : "", "ro", l.read_only, "drv",
                          blk_driver_name(n), "backing_file_depth", 0, "encrypted", 0, "image",
                          image_info(n));
    json_object_set_new(o, "detect_zeroes", json_string(zeroes));
    json_object_set_new(o, "write_threshold", json_integer(0));
    json_object_set_new(
        o, "cache",
        json_pack("{sbsbsb}", "writeback", l.write_cache, "direct", direct, "no-flush", no_flush));
    for (size_t i = 0; i < ARRAY_SIZE(throttles); i++) {
        json_object_set_new(o, throttles[i], json_integer(0));
    }
    return o;
}

static char *qdev_path(struct pci_dev *d)
{
    return d->dev.id ? g_strdup_printf("/machine/peripheral/%s/virtio-backend", d->dev.id)
                     : g_strdup_printf("/machine/peripheral-anon/%s", d->dev.path);
}

struct lister {
    struct machine *m;
    json_t *list;
};

static void add_disk(struct pci_dev *d, void *opaque)
{
    struct lister *l = opaque;
    struct blk_node *n = virtio_blk_node(d);
    if (!n) {
        return;
    }
    int errnum = virtio_blk_stop_errnum(d);
    const char *status = errnum == 0 ? "ok" : errnum == ENOSPC ? "nospace" : "failed";
    g_autofree char *path = qdev_path(d);
    json_array_append_new(l->list, json_pack("{sssssssbsbssso}", "device", "", "qdev", path, "type",
                                             "unknown", "removable", 0, "locked", 0, "io-status",
                                             status, "inserted", node_info(l->m, n)));
}

/* Drives on SATA ports; an empty CD-ROM drive has nothing inserted. */
static void add_sata_drives(struct pci_dev *d, void *opaque)
{
    struct lister *l = opaque;
    struct ata_drive_info info;
    for (unsigned i = 0; ahci_is(d) && i < AHCI_PORTS; i++) {
        if (!ahci_drive_info(d, i, &info)) {
            continue;
        }
        g_autofree char *path = info.id ? g_strdup_printf("/machine/peripheral/%s", info.id)
                                        : g_strdup_printf("/machine/unattached/ide.%u", i);
        json_t *o = json_pack("{sssssssbsb}", "device", "", "qdev", path, "type", "unknown",
                              "removable", info.cdrom, "locked", info.locked);
        if (info.cdrom) {
            json_object_set_new(o, "tray_open", json_boolean(info.tray_open));
        }
        if (info.node) {
            json_object_set_new(o, "io-status", json_string("ok"));
            json_object_set_new(o, "inserted", node_info(l->m, info.node));
        }
        json_array_append_new(l->list, o);
    }
}

json_t *cmd_query_block(struct qmp_call *call, json_t *args, GError **err)
{
    struct lister l = {.m = call->m, .list = json_array()};
    foreach_pci_dev(call->m, add_disk, &l);
    foreach_pci_dev(call->m, add_sata_drives, &l);
    return l.list;
}

static void add_node(struct blk_node *n, void *opaque)
{
    struct lister *l = opaque;
    json_array_append_new(l->list, node_info(l->m, n));
}

json_t *cmd_query_named_block_nodes(struct qmp_call *call, json_t *args, GError **err)
{
    struct lister l = {.m = call->m, .list = json_array()};
    blk_foreach(add_node, &l);
    return l.list;
}

static json_t *stats_of(struct blk_node *n)
{
    static const struct {
        const char *word;
        enum blk_op op;
        bool bytes;
    } ops[] = {{"rd", BLK_READ, true},
               {"wr", BLK_WRITE, true},
               {"flush", BLK_FLUSH, false},
               {"unmap", BLK_DISCARD, true}};
    struct blk_stats s;
    blk_stats(n, &s);
    json_t *o = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        const struct {
            const char *form;
            uint64_t value;
        } values[] = {
            {"%s_operations", s.ops[ops[i].op]},   {"failed_%s_operations", s.errors[ops[i].op]},
            {"invalid_%s_operations", 0},          {"%s_merged", 0},
            {"%s_total_time_ns", s.ns[ops[i].op]}, {"%s_bytes", s.bytes[ops[i].op]}};
        for (size_t k = 0; k < ARRAY_SIZE(values) - !ops[i].bytes; k++) {
            GString *key = g_string_new(values[k].form);
            g_string_replace(key, "%s", ops[i].word, 1);
            json_object_set_new(o, key->str, json_integer((json_int_t)values[k].value));
            g_string_free(key, TRUE);
        }
    }
    json_object_set_new(o, "wr_highest_offset", json_integer(0));
    json_object_set_new(o, "account_invalid", json_true());
    json_object_set_new(o, "account_failed", json_true());
    json_object_set_new(o, "timed_stats", json_array());
    return o;
}

static void add_disk_stats(struct pci_dev *d, void *opaque)
{
    struct blk_node *n = virtio_blk_node(d);
    if (!n) {
        return;
    }
    g_autofree char *path = qdev_path(d);
    json_array_append_new(opaque, json_pack("{ssssssso}", "device", "", "qdev", path, "node-name",
                                            blk_node_name(n) ? blk_node_name(n) : "", "stats",
                                            stats_of(n)));
}

static void add_node_stats(struct blk_node *n, void *opaque)
{
    json_array_append_new(opaque,
                          json_pack("{ssso}", "node-name", blk_node_name(n) ? blk_node_name(n) : "",
                                    "stats", stats_of(n)));
}

json_t *cmd_query_blockstats(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *list = json_array();
    if (qmp_flag(args, "query-nodes", false)) {
        blk_foreach(add_node_stats, list);
    } else {
        foreach_pci_dev(call->m, add_disk_stats, list);
    }
    return list;
}

struct resized {
    struct blk_node *node;
};

static void tell_resized(struct pci_dev *d, void *opaque)
{
    struct resized *r = opaque;
    if (virtio_blk_node(d) == r->node) {
        virtio_blk_resized(d);
    }
}

json_t *cmd_block_resize(struct qmp_call *call, json_t *args, GError **err)
{
    const char *name = qmp_text(args, "node-name");
    int64_t size = qmp_number(args, "size", -1);
    struct resized r = {.node = name ? blk_find(name) : NULL};
    if (!name) {
        return qmp_fail(err, "Parameter 'node-name' is missing");
    }
    if (!r.node) {
        return qmp_fail(err, "Cannot find node '%s'", name);
    }
    if (size < 0) {
        return qmp_fail(err, "Parameter 'size' expects a size not less than 0");
    }
    if (!blk_resize(r.node, size, err)) {
        return NULL;
    }
    foreach_pci_dev(call->m, tell_resized, &r);
    return qmp_ok();
}

/* ---- chardevs ---- */

static void add_chardev(struct chardev *c, void *opaque)
{
    g_autofree char *name = chardev_filename(c);
    json_array_append_new(opaque, json_pack("{sssssb}", "label", chardev_id(c), "filename", name,
                                            "frontend-open", chardev_fe_open(c)));
}

json_t *cmd_query_chardev(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *list = json_array();
    chardev_foreach(add_chardev, list);
    return list;
}

json_t *cmd_query_chardev_backends(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *list = json_array();
    for (const char *const *n = chardev_backends(); *n; n++) {
        json_array_append_new(list, json_pack("{ss}", "name", *n));
    }
    return list;
}

static struct chardev *find_ringbuf(json_t *args, GError **err)
{
    const char *id = qmp_text(args, "device");
    struct chardev *c = chardev_find(id);
    if (!c) {
        qmp_fail(err, "Device '%s' not found", id);
        return NULL;
    }
    if (!chardev_is_ringbuf(c)) {
        qmp_fail(err, "'%s' is not a ringbuf chardev", id);
        return NULL;
    }
    return c;
}

json_t *cmd_ringbuf_read(struct qmp_call *call, json_t *args, GError **err)
{
    const char *format = qmp_text(args, "format");
    struct chardev *c = find_ringbuf(args, err);
    int64_t size = qmp_number(args, "size", 0);
    if (!c) {
        return NULL;
    }
    if (size <= 0) {
        return qmp_fail(err, "size must be greater than zero");
    }
    g_autofree uint8_t *buf = g_malloc(MIN_OF(size, (int64_t)(64 * MiB)));
    size_t n = chardev_ringbuf_read(c, buf, MIN_OF(size, (int64_t)(64 * MiB)));
    g_autofree char *text = format && !strcmp(format, "base64")
                                ? g_base64_encode(buf, n)
                                : g_utf8_make_valid((const char *)buf, n);
    return json_string(text);
}

/* ---- networks ---- */

/* name is a card's id or its back end's. */
bool set_link(struct machine *m, const char *name, bool up)
{
    struct net_backend *b = net_find(name);
    GPtrArray *devices = machine_config(m)->devices;
    for (unsigned i = 0; !b && i < devices->len; i++) {
        struct props *p = g_ptr_array_index(devices, i);
        const char *id = NULL, *netdev = NULL;
        props_get_str(p, "id", &id, NULL);
        props_get_str(p, "netdev", &netdev, NULL);
        b = id && netdev && !strcmp(id, name) ? net_find(netdev) : NULL;
    }
    if (b) {
        net_set_link(b, up);
    }
    return b != NULL;
}

json_t *cmd_set_link(struct qmp_call *call, json_t *args, GError **err)
{
    const char *name = qmp_text(args, "name");
    if (!set_link(call->m, name, qmp_flag(args, "up", true))) {
        call->error_class = "DeviceNotFound";
        return qmp_fail(err, "Device '%s' not found", name);
    }
    return qmp_ok();
}

json_t *cmd_query_rx_filter(struct qmp_call *call, json_t *args, GError **err)
{
    return qmp_fail(err, "The network cards here have no receive filter to tell of");
}
