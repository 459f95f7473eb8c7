/* cmd_block.c - QMP: disks, their images, statistics and limits. */
#include "commands.h"

#include "ata/drives.h"
#include "block/block.h"
#include "block/throttle.h"
#include "bus/pci.h"
#include "machine/machine.h"
#include "nvme/nvme.h"
#include "scsi/scsi.h"
#include "usb/devices.h"
#include "virtio/devices.h"
#include "virtio/stats.h"

#include <errno.h>
#include <jansson.h>
#include <sys/stat.h>

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

/* The names that QMP gives the limits, in the order of enum throttle_kind. */
static const char *const limit_names[THROTTLE_KINDS] = {"bps",  "bps_rd",  "bps_wr",
                                                        "iops", "iops_rd", "iops_wr"};

static char *limit_key(unsigned kind, const char *suffix)
{
    return g_strconcat(limit_names[kind], suffix, NULL);
}

static void add_limit(json_t *o, unsigned kind, const char *suffix, uint64_t value)
{
    g_autofree char *key = limit_key(kind, suffix);
    json_object_set_new(o, key, json_integer((json_int_t)value));
}

static void add_limits(json_t *o, const struct blk_node *n)
{
    struct throttle_limits l = {.iops_size_bytes = 0};
    const char *group = blk_get_throttle(n, &l);
    for (unsigned k = 0; k < THROTTLE_KINDS; k++) {
        add_limit(o, k, "", l.of[k].avg);
        if (group) {
            add_limit(o, k, "_max", l.of[k].max);
            add_limit(o, k, "_max_length", MAX_OF(l.of[k].length_s, (uint64_t)1));
        }
    }
    if (group) {
        json_object_set_new(o, "iops_size", json_integer((json_int_t)l.iops_size_bytes));
        json_object_set_new(o, "group", json_string(group));
    }
}

static json_t *node_info(struct blk_node *n)
{
    struct blk_limits l;
    const char *file = blk_filename(n);
    blk_limits(n, &l);
    json_t *o = json_pack("{sssssbsssisbso}", "file", file ? file : "", "node-name",
                          blk_node_name(n) ? blk_node_name(n) : "", "ro", l.read_only, "drv",
                          blk_driver_name(n), "backing_file_depth", 0, "encrypted", 0, "image",
                          image_info(n));
    json_object_set_new(o, "detect_zeroes", json_string(l.detect_zeroes));
    json_object_set_new(o, "write_threshold", json_integer(0));
    json_object_set_new(o, "cache",
                        json_pack("{sbsbsb}", "writeback", l.write_cache, "direct", l.direct,
                                  "no-flush", l.no_flush));
    add_limits(o, n);
    return o;
}

/* The image of a device that is a disk; NULL: it is none. */
static struct blk_node *disk_of(struct device *d)
{
    struct blk_node *n = virtio_blk_node(d);
    return n ? n : nvme_node(d);
}

char *qdev_path(struct device *d)
{
    const char *below = virtio_queue_count(d) ? "/virtio-backend" : "";
    return d->id ? g_strdup_printf("/machine/peripheral/%s%s", d->id, below)
                 : g_strdup_printf("/machine/peripheral-anon/%s", d->path);
}

struct lister {
    struct machine *m;
    json_t *list;
};

static void add_disk(struct device *d, void *opaque)
{
    struct lister *l = opaque;
    struct blk_node *n = disk_of(d);
    if (!n) {
        return;
    }
    int errnum = virtio_blk_node(d) ? virtio_blk_stop_errnum(d) : nvme_stop_errnum(d);
    const char *status = errnum == 0 ? "ok" : errnum == ENOSPC ? "nospace" : "failed";
    g_autofree char *path = qdev_path(d);
    json_array_append_new(l->list, json_pack("{sssssssbsbssso}", "device", "", "qdev", path, "type",
                                             "unknown", "removable", 0, "locked", 0, "io-status",
                                             status, "inserted", node_info(n)));
}

/* Calls fn for each drive on a SCSI bus. */
static void foreach_scsi_lun(struct machine *m,
                             void (*fn)(struct scsi_lun *l, const char *path, void *opaque),
                             void *opaque)
{
    struct device_list *all = machine_devices(m);
    for (struct device *d = all ? all->first : NULL; d; d = d->next) {
        struct scsi_lun *l = scsi_lun_of_device(d);
        if (l) {
            g_autofree char *path = d->id ? g_strdup_printf("/machine/peripheral/%s", d->id)
                                          : g_strdup_printf("/machine/peripheral-anon/%s", d->path);
            fn(l, path, opaque);
        }
    }
}

static void add_scsi_drive(struct scsi_lun *lun, const char *path, void *opaque)
{
    struct lister *l = opaque;
    struct scsi_lun_info info;
    scsi_lun_info(lun, &info);
    json_t *o = json_pack("{sssssssbsb}", "device", "", "qdev", path, "type", "unknown",
                          "removable", info.cdrom, "locked", info.locked);
    if (info.cdrom) {
        json_object_set_new(o, "tray_open", json_boolean(info.tray_open));
    }
    if (info.node) {
        int errnum = scsi_lun_stop_errnum(lun);
        json_object_set_new(o, "io-status",
                            json_string(!errnum            ? "ok"
                                        : errnum == ENOSPC ? "nospace"
                                                           : "failed"));
        json_object_set_new(o, "inserted", node_info(info.node));
    }
    json_array_append_new(l->list, o);
}

/* Drives on SATA ports and IDE cables; an empty CD-ROM drive has nothing inserted. */
static void add_ata_drives(struct pci_dev *d, void *opaque)
{
    struct lister *l = opaque;
    struct ata_drive_info info;
    for (unsigned i = 0; i < ata_places(d); i++) {
        if (!ata_drive_info(d, i, &info)) {
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
            json_object_set_new(o, "inserted", node_info(info.node));
        }
        json_array_append_new(l->list, o);
    }
}

static void add_usb_disks(struct lister *l)
{
    for (struct device *d = machine_devices(l->m)->first; d; d = d->next) {
        struct blk_node *n = usb_storage_node(d);
        if (!n) {
            continue;
        }
        g_autofree char *path = d->id ? g_strdup_printf("/machine/peripheral/%s", d->id)
                                      : g_strdup_printf("/machine/peripheral-anon/%s", d->path);
        json_array_append_new(l->list, json_pack("{sssssssbsbssso}", "device", "", "qdev", path,
                                                 "type", "unknown", "removable", 0, "locked", 0,
                                                 "io-status", "ok", "inserted", node_info(n)));
    }
}

json_t *cmd_query_block(struct qmp_call *call, json_t *args, GError **err)
{
    struct lister l = {.m = call->m, .list = json_array()};
    foreach_device(call->m, add_disk, &l);
    foreach_pci_dev(call->m, add_ata_drives, &l);
    foreach_scsi_lun(call->m, add_scsi_drive, &l);
    add_usb_disks(&l);
    return l.list;
}

static void add_node(struct blk_node *n, void *opaque)
{
    struct lister *l = opaque;
    json_array_append_new(l->list, node_info(n));
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
            {"invalid_%s_operations", 0},          {"%s_merged", s.merged[ops[i].op]},
            {"%s_total_time_ns", s.ns[ops[i].op]}, {"%s_bytes", s.bytes[ops[i].op]}};
        for (size_t k = 0; k < ARRAY_SIZE(values) - !ops[i].bytes; k++) {
            GString *key = g_string_new(values[k].form);
            g_string_replace(key, "%s", ops[i].word, 1);
            json_object_set_new(o, key->str, json_integer((json_int_t)values[k].value));
            g_string_free(key, TRUE);
        }
    }
    json_object_set_new(o, "x-submissions", json_integer((json_int_t)s.submissions));
    json_object_set_new(o, "x-syncs", json_integer((json_int_t)s.syncs));
    json_object_set_new(o, "wr_highest_offset", json_integer(0));
    json_object_set_new(o, "account_invalid", json_true());
    json_object_set_new(o, "account_failed", json_true());
    json_object_set_new(o, "timed_stats", json_array());
    return o;
}

/* What the requests cost beside the image: the driver's notifications (each is an exit), rounds of
 * the queue, interrupts. */
static void add_ring_stats(struct device *d, json_t *stats)
{
    struct virtio_queue_stats sum = {0};
    for (unsigned i = 0; i < virtio_queue_count(d); i++) {
        struct virtio_queue_stats q;
        virtio_queue_stats(d, i, &q);
        sum.kicks += q.kicks;
        sum.batches += q.batches;
        sum.interrupts += q.interrupts;
        sum.requests += q.requests;
    }
    json_object_set_new(stats, "x-kicks", json_integer((json_int_t)sum.kicks));
    json_object_set_new(stats, "x-batches", json_integer((json_int_t)sum.batches));
    json_object_set_new(stats, "x-interrupts", json_integer((json_int_t)sum.interrupts));
    json_object_set_new(stats, "x-requests", json_integer((json_int_t)sum.requests));
}

static void add_disk_stats(struct device *d, void *opaque)
{
    struct blk_node *n = disk_of(d);
    if (!n) {
        return;
    }
    g_autofree char *path = qdev_path(d);
    json_t *stats = stats_of(n);
    if (virtio_blk_node(d)) {
        add_ring_stats(d, stats);
    }
    json_array_append_new(opaque,
                          json_pack("{ssssssso}", "device", "", "qdev", path, "node-name",
                                    blk_node_name(n) ? blk_node_name(n) : "", "stats", stats));
}

static void add_scsi_stats(struct scsi_lun *l, const char *path, void *opaque)
{
    struct scsi_lun_info info;
    scsi_lun_info(l, &info);
    if (info.node) {
        json_array_append_new(opaque,
                              json_pack("{ssssssso}", "device", "", "qdev", path, "node-name",
                                        blk_node_name(info.node), "stats", stats_of(info.node)));
    }
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
        foreach_device(call->m, add_disk_stats, list);
        foreach_scsi_lun(call->m, add_scsi_stats, list);
    }
    return list;
}

struct finder {
    const char *wanted;
    struct blk_node *node;
};

static void match_disk(struct device *d, void *opaque)
{
    struct finder *f = opaque;
    struct blk_node *n = disk_of(d);
    g_autofree char *path = qdev_path(d);
    if (n && (!strcmp(path, f->wanted) || (d->id && !strcmp(d->id, f->wanted)))) {
        f->node = n;
    }
}

static void match_scsi(struct scsi_lun *l, const char *path, void *opaque)
{
    struct finder *f = opaque;
    struct scsi_lun_info info;
    const char *id = scsi_lun_device(l)->id;
    if (!strcmp(path, f->wanted) || (id && !strcmp(id, f->wanted))) {
        scsi_lun_info(l, &info);
        f->node = info.node;
    }
}

/* By node-name=, by id= (of a device, or its path), or by device= (what -drive called it). */
static struct blk_node *named_node(struct qmp_call *call, json_t *args, GError **err)
{
    const char *node = qmp_text(args, "node-name"), *id = qmp_text(args, "id"),
               *device = qmp_text(args, "device");
    struct finder f = {.wanted = id ? id : device};
    if (!node + !id + !device != 2) {
        return (void *)qmp_fail(err, "Exactly one of 'device', 'node-name' or 'id' names a disk");
    }
    if (node || device) {
        f.node = blk_find(node ? node : device);
    }
    if (!f.node && f.wanted) {
        foreach_device(call->m, match_disk, &f);
        foreach_scsi_lun(call->m, match_scsi, &f);
    }
    if (!f.node) {
        qmp_fail(err, "Cannot find %s '%s'", node ? "node" : "device", node ? node : f.wanted);
    }
    return f.node;
}

static bool read_limits(json_t *args, struct throttle_limits *l)
{
    for (unsigned k = 0; k < THROTTLE_KINDS; k++) {
        g_autofree char *max = limit_key(k, "_max"), *length = limit_key(k, "_max_length");
        int64_t values[] = {qmp_number(args, limit_names[k], 0), qmp_number(args, max, 0),
                            qmp_number(args, length, 0)};
        if (values[0] < 0 || values[1] < 0 || values[2] < 0) {
            return false;
        }
        l->of[k].avg = (uint64_t)values[0];
        l->of[k].max = (uint64_t)values[1];
        l->of[k].length_s = (uint64_t)values[2];
    }
    l->iops_size_bytes = (uint64_t)MAX_OF(qmp_number(args, "iops_size", 0), (int64_t)0);
    return true;
}

json_t *cmd_block_set_io_throttle(struct qmp_call *call, json_t *args, GError **err)
{
    struct throttle_limits l = {.iops_size_bytes = 0};
    struct blk_node *n = named_node(call, args, err);
    if (!n) {
        return NULL;
    }
    if (!read_limits(args, &l)) {
        return qmp_fail(err, "bps and iops limits are numbers not less than 0");
    }
    return blk_set_throttle(n, qmp_text(args, "group"), &l, err) ? qmp_ok() : NULL;
}

json_t *cmd_blockdev_add(struct qmp_call *call, json_t *args, GError **err)
{
    PROPS_AUTO p = props_from_json(args);
    return machine_blockdev_add(call->m, p, err) ? qmp_ok() : NULL;
}

json_t *cmd_blockdev_del(struct qmp_call *call, json_t *args, GError **err)
{
    return machine_blockdev_del(call->m, qmp_text(args, "node-name"), err) ? qmp_ok() : NULL;
}

struct resized {
    struct blk_node *node;
};

static void tell_resized(struct device *d, void *opaque)
{
    struct resized *r = opaque;
    if (disk_of(d) == r->node) {
        virtio_blk_resized(d);
        nvme_resized(d);
    }
}

static void tell_scsi_resized(struct scsi_lun *l, const char *path, void *opaque)
{
    struct resized *r = opaque;
    struct scsi_lun_info info;
    scsi_lun_info(l, &info);
    if (info.node == r->node) {
        scsi_lun_resized(l);
    }
}

json_t *cmd_block_resize(struct qmp_call *call, json_t *args, GError **err)
{
    int64_t size = qmp_number(args, "size", -1);
    struct resized r = {.node = named_node(call, args, err)};
    if (!r.node) {
        return NULL;
    }
    if (size < 0) {
        return qmp_fail(err, "Parameter 'size' expects a size not less than 0");
    }
    if (!blk_resize(r.node, size, err)) {
        return NULL;
    }
    foreach_device(call->m, tell_resized, &r);
    foreach_scsi_lun(call->m, tell_scsi_resized, &r);
    return qmp_ok();
}
