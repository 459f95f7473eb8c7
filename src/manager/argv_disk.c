/* argv_disk.c - disks: the nodes of -blockdev and the devices in front of them. */
#include "argv_int.h"

#include "base/util.h"

#include <string.h>

static const char *cache_mode(const struct disk *k)
{
    if (k->driver.cache && !word_is(k->driver.cache, "default")) {
        return k->driver.cache;
    }
    return k->shareable && !k->readonly ? "none" : NULL; /* others must see what is written */
}

static void json_cache(json_t *o, const struct disk *k)
{
    const char *mode = cache_mode(k);
    if (mode) {
        json_object_set_new(o, "cache",
                            json_pack("{sbsb}", "direct",
                                      word_is(mode, "none") || word_is(mode, "directsync"),
                                      "no-flush", word_is(mode, "unsafe")));
    }
}

static bool json_storage(json_t *o, int type, const struct disk_source *s, GError **err)
{
    const struct source_host *h = s->hosts->len ? s->hosts->pdata[0] : NULL;
    switch (type) {
    case DISK_FILE:
        json_str(o, "driver", "file");
        json_str(o, "filename", s->file);
        return true;
    case DISK_BLOCK:
        json_str(o, "driver", "host_device");
        json_str(o, "filename", s->dev);
        return true;
    case DISK_NETWORK:
        if (!word_is(s->protocol, "nbd") || !h) {
            return error_set(err, HANOK_ERROR_UNSUPPORTED,
                             "network disks are reached by protocol='nbd', not '%s'", s->protocol);
        }
        json_str(o, "driver", "nbd");
        json_object_set_new(o, "server",
                            word_is(h->transport, "unix")
                                ? json_pack("{ssss}", "type", "unix", "path", h->socket)
                                : json_pack("{ssssss}", "type", "inet", "host", h->name, "port",
                                            h->port ? h->port : "10809"));
        json_str(o, "export", s->name);
        return true;
    default:
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "a disk's type is file, block or network here; find the file of a volume "
                         "with 'hanok vol-path'");
    }
}

static json_t *storage_node(const struct disk *k, int type, const struct disk_source *s,
                            const char *name, GError **err)
{
    json_t *o = json_object();
    if (!json_storage(o, type, s, err)) {
        json_decref(o);
        return NULL;
    }
    json_str(o, "aio", k->driver.io);
    json_str(o, "node-name", name);
    json_cache(o, k);
    json_object_set_new(o, "auto-read-only", json_true());
    json_str(o, "discard", "unmap");
    return o;
}

static json_t *format_node(const struct disk *k, const char *format, bool top, const char *name,
                           const char *file, const char *backing, bool no_backing)
{
    json_t *o = json_object();
    json_str(o, "node-name", name);
    json_object_set_new(o, "read-only", json_boolean(!top || k->readonly));
    if (top) {
        json_str(o, "discard", k->driver.discard);
        json_str(o, "detect-zeroes",
                 word_is(k->driver.detect_zeroes, "off") ? NULL : k->driver.detect_zeroes);
    }
    json_cache(o, k);
    json_str(o, "driver", format && !word_is(format, "iso") ? format : "raw");
    json_str(o, "file", file);
    if (backing) {
        json_str(o, "backing", backing);
    } else if (no_backing) {
        json_object_set_new(o, "backing", json_null());
    }
    return o;
}

void argv_disk_number(struct disk *k, unsigned node)
{
    xml_num_set(&k->source.index, node);
    for (struct backing_store *b = k->backing; b && b->type; b = b->next) {
        xml_num_set(&b->index, ++node);
    }
}

unsigned argv_disk_depth(const struct disk *k)
{
    unsigned n = 1;
    for (const struct backing_store *b = k->backing; b && b->type; b = b->next) {
        n++;
    }
    return n;
}

static bool layer(const struct disk *k, unsigned number, int type, const struct disk_source *s,
                  const char *format, const struct backing_store *below, bool top, json_t *nodes,
                  GError **err)
{
    g_autofree char *storage = g_strdup_printf("libvirt-%u-storage", number);
    g_autofree char *name = g_strdup_printf("libvirt-%u-format", number);
    g_autofree char *backing =
        below && below->type ? g_strdup_printf("libvirt-%u-format", number + 1) : NULL;
    json_t *first = storage_node(k, type, s, storage, err);
    if (!first) {
        return false;
    }
    bool can_back = word_is(format, "qcow2") || word_is(format, "qed");
    json_array_append_new(nodes, first);
    json_array_append_new(nodes, format_node(k, format, top, name, storage, backing,
                                             can_back && below && !below->type));
    return true;
}

bool argv_disk_nodes(const struct disk *k, unsigned node, json_t *nodes, GError **err)
{
    unsigned depth = argv_disk_depth(k);
    for (unsigned level = depth - 1; level > 0; level--) {
        const struct backing_store *b = k->backing;
        for (unsigned i = 1; i < level; i++) {
            b = b->next;
        }
        if (!layer(k, node + level, b->type, &b->source, b->format.type, b->next, false, nodes,
                   err)) {
            return false;
        }
    }
    return layer(k, node, k->type, &k->source, k->driver.type, k->backing, true, nodes, err);
}

static void drive_place(const struct domain *d, json_t *o, const struct disk *k, bool lsi)
{
    const struct address *a = &k->info.address;
    char bus[48];
    unsigned controller = a->controller.v, unit = a->unit.v;
    switch (k->target.bus) {
    case DISK_BUS_SATA:
        if (controller) {
            g_snprintf(bus, sizeof(bus), "sata%u.%u", controller, unit);
        } else {
            g_snprintf(bus, sizeof(bus), "ide.%u", unit);
        }
        json_str(o, "bus", bus);
        break;
    case DISK_BUS_IDE:
        g_snprintf(bus, sizeof(bus), "ide.%d", (int)a->bus.v);
        json_str(o, "bus", bus);
        json_int(o, "unit", unit);
        break;
    case DISK_BUS_SCSI:
        g_snprintf(bus, sizeof(bus), "scsi%u.0", controller);
        json_str(o, "bus", bus);
        if (!lsi) {
            json_int(o, "channel", 0);
            json_int(o, "scsi-id", a->target.v);
            json_int(o, "lun", unit);
        } else {
            json_int(o, "scsi-id", unit);
        }
        break;
    case DISK_BUS_FDC:
        json_str(o, "bus", "fdc.0");
        json_int(o, "unit", unit);
        break;
    default:
        json_place(d, o, a);
    }
}

static char *disk_driver_of(const struct disk *k)
{
    bool cd = k->device == DISK_CDROM;
    switch (k->target.bus) {
    case DISK_BUS_VIRTIO:
        return virtio_driver_name("virtio-blk", k->model);
    case DISK_BUS_SCSI:
        return g_strdup(cd ? "scsi-cd" : k->device == DISK_LUN ? "scsi-block" : "scsi-hd");
    case DISK_BUS_USB:
        return g_strdup("usb-storage");
    case DISK_BUS_FDC:
        return g_strdup("floppy");
    default:
        return g_strdup(cd ? "ide-cd" : "ide-hd");
    }
}

static bool uses_lsi(const struct domain *d, const struct disk *k)
{
    for (unsigned i = 0; i < d->devices.controllers->len; i++) {
        const struct controller *c = d->devices.controllers->pdata[i];
        if (c->type == CONTROLLER_SCSI && c->index.v == xml_num_or(k->info.address.controller, 0)) {
            return word_is(c->model, "lsilogic");
        }
    }
    return false;
}

/* The disk of its kind that <os><boot dev> means: the first. */
static bool first_of_kind(const struct domain *d, const struct disk *k)
{
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        const struct disk *other = d->devices.disks->pdata[i];
        if (other->device == k->device) {
            return other == k;
        }
    }
    return false;
}

static void json_device_options(json_t *o, const struct disk *k)
{
    const char *mode = cache_mode(k);
    json_num(o, "logical_block_size", k->blockio.logical);
    json_num(o, "physical_block_size", k->blockio.physical);
    json_str(o, "wwn", k->wwn);
    json_num(o, "rotation_rate", k->target.rotation_rate);
    json_str(o, "vendor", k->vendor);
    json_str(o, "product", k->product);
    if (k->target.bus == DISK_BUS_USB) {
        json_object_set_new(o, "removable", json_boolean(word_is(k->target.removable, "on")));
    }
    if (mode) {
        json_str(o, "write-cache",
                 word_is(mode, "writethrough") || word_is(mode, "directsync") ? "off" : "on");
    }
    json_str(o, "serial", k->serial);
    if (k->driver.error_policy) {
        json_str(o, "werror",
                 word_is(k->driver.error_policy, "enospace") ? "enospc" : k->driver.error_policy);
    }
    if (k->driver.rerror_policy || k->driver.error_policy) {
        const char *r = k->driver.rerror_policy ? k->driver.rerror_policy : k->driver.error_policy;
        json_str(o, "rerror", word_is(r, "enospace") ? "report" : r);
    }
}

json_t *argv_disk_device(const struct domain *d, const struct disk *k, unsigned node)
{
    json_t *o = json_object();
    g_autofree char *driver = disk_driver_of(k);
    bool lsi = k->target.bus == DISK_BUS_SCSI && uses_lsi(d, k);
    json_str(o, "driver", driver);
    if (k->target.bus == DISK_BUS_VIRTIO) {
        char iothread[32];
        g_snprintf(iothread, sizeof(iothread), "iothread%d", (int)k->driver.iothread.v);
        json_str(o, "iothread", k->driver.iothread.set ? iothread : NULL);
        json_str(o, "ioeventfd", k->driver.ioeventfd);
        json_str(o, "event_idx", k->driver.event_idx);
        json_virtio(o, k->driver.iommu, k->driver.ats, k->driver.packed);
        json_num(o, "num-queues", k->driver.queues);
        json_num(o, "queue-size", k->driver.queue_size);
    }
    drive_place(d, o, k, lsi);
    if (k->target.bus == DISK_BUS_SCSI && !lsi && k->device == DISK_DISK && k->serial) {
        json_str(o, "device_id", k->serial);
    }
    if (k->shareable) {
        json_object_set_new(o, "share-rw", json_true());
    }
    if (node) {
        g_autofree char *drive = g_strdup_printf("libvirt-%u-format", node);
        json_str(o, "drive", drive);
    }
    json_str(o, "id", k->info.alias.name);
    json_bootindex(d, o, &k->info,
                   k->device == DISK_CDROM    ? "cdrom"
                   : k->device == DISK_FLOPPY ? "fd"
                                              : "hd",
                   first_of_kind(d, k));
    json_device_options(o, k);
    return o;
}

/* libvirt numbers the nodes from the last disk to the first, drives without a medium included. */
bool argv_disks(struct argv *a)
{
    GPtrArray *disks = a->d->devices.disks;
    for (unsigned i = 0; i < disks->len; i++) {
        struct disk *k = disks->pdata[i];
        unsigned node = 1;
        for (unsigned j = i + 1; j < disks->len; j++) {
            node += argv_disk_depth(disks->pdata[j]);
        }
        g_autofree char *text = disk_source_text(k);
        if (text) {
            argv_disk_number(k, node);
            json_t *nodes = json_array();
            bool ok = argv_disk_nodes(k, node, nodes, a->err);
            size_t n;
            json_t *one;
            json_array_foreach(nodes, n, one)
            {
                argv_json(a, "-blockdev", json_incref(one));
            }
            json_decref(nodes);
            if (!ok) {
                return false;
            }
        }
        argv_json(a, "-device", argv_disk_device(a->d, k, text ? node : 0));
    }
    return true;
}
