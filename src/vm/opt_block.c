/* opt_block.c - -blockdev as it is, and -drive taken apart into block nodes and a device.
 *
 * -drive file=F,if=virtio,format=raw,id=d0 becomes
 *     -blockdev {"driver":"raw","node-name":"d0","file":{"driver":"file","filename":"F"}}
 *     -device   {"driver":"virtio-blk-pci","drive":"d0"}
 * What belongs to a layer (file.*, backing.*, and some of the formats' options) is handed on to it.
 * rerror= and werror= of a drive that a -device names later go to that device; snapshot=on is a
 * wish on the node, which the machine grants by putting a temporary image on top. */
#include "opt_int.h"

#include "block/block.h"
#include "machine/machine.h"

#include <fcntl.h>
#include <unistd.h>

enum drive_if { IF_NONE, IF_VIRTIO, IF_IDE, IF_SCSI, IF_FLOPPY, IF_PFLASH, IF_SD, IF_MTD };
#define INDEX_KEY "drive-index" /* of a device, until finish_drives() */

static const char *const if_names[] = {"none",   "virtio", "ide", "scsi", "floppy",
                                       "pflash", "sd",     "mtd", NULL};

/* What cache= means: whether the host's page cache is used, whether flushes reach the disk, and
 * whether the guest's disk has a write cache. */
static const struct {
    const char *name;
    bool direct, no_flush, write_cache;
} cache_modes[] = {
    {"writeback", false, false, true},     {"none", true, false, true},
    {"writethrough", false, false, false}, {"directsync", true, false, false},
    {"unsafe", false, true, true},
};
static const char *const cache_names[] = {"writeback",  "none",   "writethrough",
                                          "directsync", "unsafe", NULL};
static const char *const aio_names[] = {"threads", "native", "io_uring", NULL};
static const char *const media_names[] = {"disk", "cdrom", NULL};
static const char *const discard_names[] = {"ignore", "off", "unmap", "on", NULL};
static const char *const zero_names[] = {"off", "on", "unmap", NULL};
static const char *const error_names[] = {"ignore", "stop", "report", "enospc", "auto", NULL};

/* Options of a format's node that -drive hands on as they are. */
static const char *const format_options[] = {"backing",
                                             "cache-clean-interval",
                                             "cache-size",
                                             "data-file",
                                             "encrypt",
                                             "force-share",
                                             "l2-cache-entry-size",
                                             "l2-cache-size",
                                             "lazy-refcounts",
                                             "offset",
                                             "overlap-check",
                                             "pass-discard-other",
                                             "pass-discard-request",
                                             "pass-discard-snapshot",
                                             "refcount-cache-size",
                                             "size",
                                             NULL};

/* Older spellings of throttling.*, still in use. */
static const struct {
    const char *old, *now;
} old_limits[] = {
    {"bps", "bps-total"},
    {"bps_rd", "bps-read"},
    {"bps_wr", "bps-write"},
    {"iops", "iops-total"},
    {"iops_rd", "iops-read"},
    {"iops_wr", "iops-write"},
    {"bps_max", "bps-total-max"},
    {"bps_rd_max", "bps-read-max"},
    {"bps_wr_max", "bps-write-max"},
    {"iops_max", "iops-total-max"},
    {"iops_rd_max", "iops-read-max"},
    {"iops_wr_max", "iops-write-max"},
    {"iops_size", "iops-size"},
    {"group", "group"},
};

struct drive {
    const char *file, *format, *id, *serial;
    unsigned iface, aio, media, discard, zeroes, werror, rerror;
    bool direct, no_flush, write_cache;
    bool read_only, auto_read_only, snapshot, has_snapshot, has_aio;
    uint32_t index;
    struct props *all; /* what was said; NULL for -hda and the like */
};

bool opt_blockdev(struct vm_options *o, const char *arg, GError **err)
{
    const char *name = NULL;
    if (!append_props(o->cfg->blockdevs, arg, "driver", err) ||
        !props_get_str(g_ptr_array_index(o->cfg->blockdevs, o->cfg->blockdevs->len - 1),
                       "node-name", &name, err)) {
        return false;
    }
    return (name && *name) || error_set(err, HANOK_ERROR_INVALID,
                                        "a node-name= is needed, which -device names as drive=");
}

/* ---- reading ---- */

/* cache=MODE, of which cache.direct= and the others change a part. */
static bool read_cache(struct props *p, struct drive *d, GError **err)
{
    unsigned mode = 0;
    if (!json_is_object(json_object_get(props_json(p), "cache")) &&
        !props_pick(p, "cache", cache_names, &mode, err)) {
        return false;
    }
    d->direct = cache_modes[mode].direct;
    d->no_flush = cache_modes[mode].no_flush;
    d->write_cache = cache_modes[mode].write_cache;
    return props_get_bool(p, "cache.direct", &d->direct, err) &&
           props_get_bool(p, "cache.no-flush", &d->no_flush, err) &&
           props_get_bool(p, "cache.writeback", &d->write_cache, err);
}

static bool read_access(struct props *p, struct drive *d, GError **err)
{
    bool cor = false;
    d->has_snapshot = props_has(p, "snapshot");
    return props_get_bool(p, "read-only", &d->read_only, err) &&
           props_get_bool(p, "readonly", &d->read_only, err) &&
           props_get_bool(p, "auto-read-only", &d->auto_read_only, err) &&
           props_get_bool(p, "snapshot", &d->snapshot, err) &&
           props_get_bool(p, "copy-on-read", &cor, err) &&
           (!cor || error_set(err, HANOK_ERROR_UNSUPPORTED, "copy-on-read=on is not possible yet"));
}

static bool read_place(struct props *p, struct drive *d, GError **err)
{
    uint32_t bus = 0, unit = UINT32_MAX;
    if (!props_get_id(p, &d->id, err) || !props_pick(p, "if", if_names, &d->iface, err) ||
        !props_pick(p, "media", media_names, &d->media, err) ||
        !props_get_u32(p, "index", &d->index, err) || !props_get_u32(p, "bus", &bus, err) ||
        !props_get_u32(p, "unit", &unit, err)) {
        return false;
    }
    if (unit != UINT32_MAX || bus) {
        d->index = bus * 2 + (unit == UINT32_MAX ? 0 : unit);
    }
    return true;
}

static bool read_drive(struct props *p, struct drive *d, GError **err)
{
    d->all = p;
    d->has_aio = props_has(p, "aio");
    if (!json_is_object(json_object_get(props_json(p), "file")) &&
        !props_get_str(p, "file", &d->file, err)) {
        return false;
    }
    return props_get_str(p, "format", &d->format, err) &&
           props_get_str(p, "driver", &d->format, err) &&
           props_get_str(p, "serial", &d->serial, err) && read_place(p, d, err) &&
           read_cache(p, d, err) && read_access(p, d, err) &&
           props_pick(p, "aio", aio_names, &d->aio, err) &&
           props_pick(p, "discard", discard_names, &d->discard, err) &&
           props_pick(p, "detect-zeroes", zero_names, &d->zeroes, err) &&
           props_pick(p, "werror", error_names, &d->werror, err) &&
           props_pick(p, "rerror", error_names, &d->rerror, err);
}

/* ---- what is handed on to a layer ---- */

static void merge_missing(json_t *into, json_t *from)
{
    const char *key;
    json_t *v;
    json_object_foreach(from, key, v)
    {
        json_object_set(into, key, v);
    }
}

/* file.locking=off and the like; with file=PATH they stay flat keys of the whole. */
static void take_file_options(const struct drive *d, json_t *file)
{
    const char *key;
    json_t *v;
    if (!d->all) {
        return;
    }
    props_mark_used(d->all, "file");
    merge_missing(file, json_object_get(props_json(d->all), "file"));
    json_object_foreach(props_json(d->all), key, v)
    {
        if (g_str_has_prefix(key, "file.")) {
            json_object_set(file, key + 5, v);
            props_mark_used(d->all, key);
        }
    }
}

static void take_format_options(const struct drive *d, json_t *node)
{
    for (const char *const *key = format_options; d->all && *key; key++) {
        json_t *v = json_object_get(props_json(d->all), *key);
        if (v) {
            json_object_set(node, *key, v);
            props_mark_used(d->all, *key);
        }
    }
}

static void take_limits(const struct drive *d, json_t *node)
{
    json_t *limits = json_object();
    if (d->all) {
        json_t *now = json_object_get(props_json(d->all), "throttling");
        if (now) {
            props_mark_used(d->all, "throttling");
            merge_missing(limits, now);
        }
        for (size_t i = 0; i < ARRAY_SIZE(old_limits); i++) {
            json_t *v = json_object_get(props_json(d->all), old_limits[i].old);
            if (v) {
                props_mark_used(d->all, old_limits[i].old);
                json_object_set(limits, old_limits[i].now, v);
            }
        }
    }
    if (json_object_size(limits)) {
        json_object_set(node, "throttling", limits);
    }
    json_decref(limits);
}

/* Which interface words lead somewhere. */
static bool check_interface(const struct drive *d, GError **err)
{
    switch (d->iface) {
    case IF_NONE:
    case IF_VIRTIO:
    case IF_IDE:
    case IF_PFLASH:
        return true;
    default:
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "if=%s is not possible: there is no such controller, use if=virtio",
                         if_names[d->iface]);
    }
}

/* The first bytes tell qcow2; nothing tells raw, and a guest could make a raw disk look like
 * another format, so guessing is said aloud. */
static const char *probe_format(const char *file)
{
    char magic[4] = "";
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, magic, sizeof(magic)) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n == sizeof(magic) && !memcmp(magic, "QFI\xfb", sizeof(magic))) {
        return "qcow2";
    }
    if (fd >= 0) {
        log_warning("-drive: no format was given for '%s', it is taken as raw; say format=raw.",
                    file);
    }
    return "raw";
}

/* Access and cache of a layer; what the user said of just this layer stays. */
static void set_access(const struct drive *d, json_t *layer)
{
    json_t *cache = json_pack("{sbsb}", "direct", d->direct, "no-flush", d->no_flush);
    json_t *said[] = {json_pack("{sb}", "read-only", d->read_only),
                      json_pack("{so}", "cache", cache)};
    for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
        json_object_update_missing(layer, said[i]);
        json_decref(said[i]);
    }
    if (d->discard >= 2 && !json_object_get(layer, "discard")) {
        json_object_set_new(layer, "discard", json_string("unmap"));
    }
    if (d->auto_read_only) {
        json_object_set_new(layer, "auto-read-only", json_true());
    }
}

/* The layer that reads the file, or (json:) everything. */
static json_t *file_layer(const struct drive *d, GError **err)
{
    json_t *file = d->file ? blk_describe_file(d->file, err) : json_object();
    if (!file) {
        return NULL;
    }
    take_file_options(d, file);
    if (!json_object_get(file, "driver")) {
        json_object_set_new(file, "driver", json_string("file"));
    }
    const char *driver = json_string_value(json_object_get(file, "driver"));
    if (d->has_aio && driver && (!strcmp(driver, "file") || g_str_has_prefix(driver, "host_"))) {
        json_object_set_new(file, "aio", json_string(aio_names[d->aio]));
    }
    return file;
}

static json_t *drive_node(const struct drive *d, const char *id, GError **err)
{
    json_t *file = file_layer(d, err), *node = file;
    if (!file) {
        return NULL;
    }
    if (!json_object_get(file, "file")) { /* no whole description: the format goes on top */
        const char *path = json_string_value(json_object_get(file, "filename"));
        node = json_object();
        json_object_set_new(node, "driver",
                            json_string(d->format ? d->format
                                        : path    ? probe_format(path)
                                                  : "raw"));
        set_access(d, file);
        json_object_set_new(node, "file", file);
    }
    take_format_options(d, node);
    take_limits(d, node);
    json_object_set_new(node, "node-name", json_string(id));
    set_access(d, node);
    if (!d->write_cache) {
        json_object_set_new(json_object_get(node, "cache"), "writeback", json_false());
    }
    if (d->zeroes) {
        json_object_set_new(node, "detect-zeroes", json_string(zero_names[d->zeroes]));
    }
    if (d->snapshot) {
        json_object_set_new(node, "snapshot", json_true());
    }
    return node;
}

static void set_policy(json_t *dev, const char *key, unsigned value, unsigned fallback)
{
    if (value != fallback) {
        json_object_set_new(dev, key, json_string(error_names[value]));
    }
}

static void drive_device(struct vm_options *o, const struct drive *d, const char *id)
{
    bool ide = d->iface == IF_IDE;
    const char *driver = !ide ? "virtio-blk-pci" : d->media ? "ide-cd" : "ide-hd";
    json_t *dev = json_pack("{ssss}", "driver", driver, "drive", id);
    if (!ide) {
        json_object_set_new(dev, ANY_BUS_KEY, json_true());
    }
    if (ide && d->index != UINT32_MAX) { /* a bus and a unit, once the board is known */
        json_object_set_new(dev, INDEX_KEY, json_integer(d->index));
    }
    if (d->serial) {
        json_object_set_new(dev, "serial", json_string(d->serial));
    }
    set_policy(dev, "werror", d->werror, 4);
    set_policy(dev, "rerror", d->rerror, 4);
    add_device(o, dev);
}

static bool check_drive(const struct drive *d, GError **err)
{
    bool described = d->all && json_is_object(json_object_get(props_json(d->all), "file"));
    if (!described && (!d->file || !*d->file)) {
        return error_set(err, HANOK_ERROR_INVALID, "file= is needed: the disk image");
    }
    if (d->snapshot && d->read_only) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "snapshot=on and readonly=on exclude each other");
    }
    return check_interface(d, err);
}

/* What a -device that names this drive later takes from it. */
static void remember_policies(struct vm_options *o, const struct drive *d, const char *id)
{
    json_t *hints = json_pack("{ss}", "drive", id);
    set_policy(hints, "werror", d->werror, 4);
    set_policy(hints, "rerror", d->rerror, 4);
    if (d->snapshot || d->read_only || d->media || d->has_snapshot || d->iface == IF_PFLASH) {
        json_object_set_new(hints, "no-snapshot", json_true());
    }
    g_ptr_array_add(o->drive_hints, props_from_json(hints));
    json_decref(hints);
}

static bool add_drive(struct vm_options *o, struct drive *d, GError **err)
{
    if (!check_drive(d, err)) {
        return false;
    }
    if (d->media) { /* CD-ROM */
        d->read_only = true;
    }
    g_autofree char *made =
        d->id ? NULL : g_strdup_printf("%s%u", if_names[d->iface], o->drive_count++);
    const char *id = d->id ? d->id : made;
    json_t *node = drive_node(d, id, err);
    if (!node) {
        return false;
    }
    g_ptr_array_add(o->cfg->blockdevs, props_from_json(node));
    json_decref(node);
    if (d->all && !props_check_unused(d->all, "-drive", NULL, err)) {
        return false;
    }
    remember_policies(o, d, id);
    if (d->iface == IF_PFLASH) {
        g_autofree char *slot =
            g_strdup_printf("pflash%u", d->index != UINT32_MAX                  ? d->index
                                        : props_has(o->cfg->machine, "pflash0") ? 1u
                                                                                : 0u);
        props_set_str(o->cfg->machine, slot, id);
    } else if (d->iface != IF_NONE) {
        drive_device(o, d, id);
    }
    return true;
}

bool opt_drive(struct vm_options *o, const char *arg, GError **err)
{
    struct drive d = {.iface = IF_IDE, .index = UINT32_MAX, .werror = 4, .rerror = 4};
    PROPS_AUTO p = props_parse(arg, NULL, err);
    return p && read_drive(p, &d, err) && add_drive(o, &d, err);
}

bool opt_snapshot(struct vm_options *o, const char *arg, GError **err)
{
    o->snapshot_all = true;
    return true;
}

static struct props *find_by(GPtrArray *list, const char *key, const char *value)
{
    for (guint i = 0; i < list->len; i++) {
        struct props *p = g_ptr_array_index(list, i);
        json_t *v = json_object_get(props_json(p), key);
        if (json_is_string(v) && !strcmp(json_string_value(v), value)) {
            return p;
        }
    }
    return NULL;
}

static unsigned drives_per_bus(struct vm_options *o)
{
    const struct machine_type *t = chosen_machine(o);
    return t && t->drives_per_bus ? t->drives_per_bus : 1;
}

static void place_drive(struct props *dev, unsigned per_bus)
{
    json_t *said = props_json(dev), *v = json_object_get(said, INDEX_KEY);
    if (!v) {
        return;
    }
    unsigned index = (unsigned)json_integer_value(v);
    json_object_set_new(said, "bus", json_sprintf("ide.%u", index / per_bus));
    json_object_set_new(said, "unit", json_integer(index % per_bus));
    json_object_del(said, INDEX_KEY);
}

/* After all options: where IDE drives are, a drive's policies to the device that names it,
 * -snapshot to all drives. */
void finish_drives(struct vm_options *o)
{
    for (guint i = 0; i < o->cfg->devices->len; i++) {
        place_drive(g_ptr_array_index(o->cfg->devices, i), drives_per_bus(o));
    }
    for (guint i = 0; i < o->drive_hints->len; i++) {
        json_t *hints = props_json(g_ptr_array_index(o->drive_hints, i));
        const char *id = json_string_value(json_object_get(hints, "drive"));
        struct props *dev = find_by(o->cfg->devices, "drive", id);
        struct props *node = find_by(o->cfg->blockdevs, "node-name", id);
        for (const char *const *key = (const char *const[]){"werror", "rerror", NULL}; *key;
             key++) {
            json_t *v = json_object_get(hints, *key);
            if (v && dev && !props_has(dev, *key)) {
                props_set_str(dev, *key, json_string_value(v));
            }
        }
        if (o->snapshot_all && node && !json_object_get(hints, "no-snapshot")) {
            json_object_set_new(props_json(node), "snapshot", json_true());
        }
    }
}

static bool simple_drive(struct vm_options *o, const char *file, uint32_t index, bool cdrom,
                         GError **err)
{
    struct drive d = {.file = file,
                      .iface = IF_IDE,
                      .index = index,
                      .media = cdrom,
                      .format = cdrom ? "raw" : NULL,
                      .write_cache = true,
                      .werror = 4,
                      .rerror = 4};
    return add_drive(o, &d, err);
}

bool opt_hda(struct vm_options *o, const char *arg, GError **err)
{
    return simple_drive(o, arg, 0, false, err);
}

bool opt_hdb(struct vm_options *o, const char *arg, GError **err)
{
    return simple_drive(o, arg, 1, false, err);
}

bool opt_hdc(struct vm_options *o, const char *arg, GError **err)
{
    return simple_drive(o, arg, 2, false, err);
}

bool opt_hdd(struct vm_options *o, const char *arg, GError **err)
{
    return simple_drive(o, arg, 3, false, err);
}

bool opt_cdrom(struct vm_options *o, const char *arg, GError **err)
{
    return simple_drive(o, arg, 2, true, err);
}

bool opt_pflash(struct vm_options *o, const char *arg, GError **err)
{
    struct drive d = {.file = arg,
                      .iface = IF_PFLASH,
                      .index = UINT32_MAX,
                      .format = "raw",
                      .werror = 4,
                      .rerror = 4};
    return add_drive(o, &d, err);
}
