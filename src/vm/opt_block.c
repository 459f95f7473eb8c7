/* opt_block.c - -blockdev as it is, and -drive taken apart into block nodes and a device.
 *
 * -drive file=F,if=virtio,format=raw,id=d0 becomes
 *     -blockdev {"driver":"raw","node-name":"d0","file":{"driver":"file","filename":"F"}}
 *     -device   {"driver":"virtio-blk-pci","drive":"d0"} */
#include "opt_int.h"

#include "machine/machine.h"

#include <fcntl.h>
#include <unistd.h>

enum drive_if { IF_NONE, IF_VIRTIO, IF_IDE, IF_SCSI, IF_FLOPPY, IF_PFLASH, IF_SD, IF_MTD };
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

struct drive {
    const char *file, *format, *id, *serial;
    unsigned iface, cache, aio, media, discard, zeroes, werror, rerror;
    bool read_only, snapshot, has_aio;
    uint32_t index;
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

static bool read_drive(struct props *p, struct drive *d, GError **err)
{
    bool cor = false;
    d->has_aio = props_has(p, "aio");
    if (props_has(p, "read-only") && !props_get_bool(p, "read-only", &d->read_only, err)) {
        return false;
    }
    return props_get_str(p, "file", &d->file, err) && props_get_str(p, "format", &d->format, err) &&
           props_get_str(p, "driver", &d->format, err) && props_get_id(p, &d->id, err) &&
           props_get_str(p, "serial", &d->serial, err) &&
           props_pick(p, "if", if_names, &d->iface, err) &&
           props_pick(p, "cache", cache_names, &d->cache, err) &&
           props_pick(p, "aio", aio_names, &d->aio, err) &&
           props_pick(p, "media", media_names, &d->media, err) &&
           props_pick(p, "discard", discard_names, &d->discard, err) &&
           props_pick(p, "detect-zeroes", zero_names, &d->zeroes, err) &&
           props_pick(p, "werror", error_names, &d->werror, err) &&
           props_pick(p, "rerror", error_names, &d->rerror, err) &&
           props_get_u32(p, "index", &d->index, err) &&
           props_get_bool(p, "readonly", &d->read_only, err) &&
           props_get_bool(p, "snapshot", &d->snapshot, err) &&
           props_get_bool(p, "copy-on-read", &cor, err) &&
           (!cor || error_set(err, HANOK_ERROR_UNSUPPORTED, "copy-on-read=on is not possible yet"));
}

/* Which interface words lead somewhere. */
static bool check_interface(const struct drive *d, GError **err)
{
    const struct device_class *sata = device_class_find("ide-hd");
    switch (d->iface) {
    case IF_NONE:
    case IF_VIRTIO:
    case IF_PFLASH:
        return true;
    case IF_IDE:
        if (sata && !sata->accepted_only) {
            return true;
        }
        return error_set(
            err, HANOK_ERROR_UNSUPPORTED,
            "disks on the SATA controller (if=ide, which is also the default) come with "
            "a later version: say if=virtio");
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

static json_t *drive_node(const struct drive *d, const char *id)
{
    json_t *file = json_object(), *node = json_object();
    const char *path = g_str_has_prefix(d->file, "file:") ? d->file + 5 : d->file;
    bool direct = cache_modes[d->cache].direct, no_flush = cache_modes[d->cache].no_flush;
    json_object_set_new(file, "driver", json_string("file"));
    json_object_set_new(file, "filename", json_string(path));
    if (d->has_aio) {
        json_object_set_new(file, "aio", json_string(aio_names[d->aio]));
    }
    json_object_set_new(node, "driver", json_string(d->format ? d->format : probe_format(path)));
    json_object_set_new(node, "node-name", json_string(id));
    json_t *both[] = {file, node};
    for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
        json_object_set_new(both[i], "read-only", json_boolean(d->read_only));
        json_object_set_new(both[i], "cache",
                            json_pack("{sbsb}", "direct", direct, "no-flush", no_flush));
        if (d->discard >= 2) {
            json_object_set_new(both[i], "discard", json_string("unmap"));
        }
    }
    if (d->zeroes) {
        json_object_set_new(node, "detect-zeroes", json_string(zero_names[d->zeroes]));
    }
    json_object_set_new(node, "file", file);
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
    if (ide && d->index != UINT32_MAX) {
        json_object_set_new(dev, "bus", json_sprintf("ide.%u", d->index));
    }
    if (d->serial) {
        json_object_set_new(dev, "serial", json_string(d->serial));
    }
    if (!cache_modes[d->cache].write_cache) {
        json_object_set_new(dev, "write-cache", json_string("off"));
    }
    set_policy(dev, "werror", d->werror, 4);
    set_policy(dev, "rerror", d->rerror, 4);
    add_device(o, dev);
}

static bool check_drive(const struct drive *d, GError **err)
{
    if (!d->file || !*d->file) {
        return error_set(err, HANOK_ERROR_INVALID, "file= is needed: the disk image");
    }
    if (d->snapshot) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "snapshot=on is not possible yet: say readonly=on, or copy the image");
    }
    return check_interface(d, err);
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
    json_t *node = drive_node(d, id);
    g_ptr_array_add(o->cfg->blockdevs, props_from_json(node));
    json_decref(node);
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
    return p && read_drive(p, &d, err) && props_check_unused(p, "-drive", NULL, err) &&
           add_drive(o, &d, err);
}

static bool simple_drive(struct vm_options *o, const char *file, uint32_t index, bool cdrom,
                         GError **err)
{
    struct drive d = {.file = file,
                      .iface = IF_IDE,
                      .index = index,
                      .media = cdrom,
                      .format = cdrom ? "raw" : NULL,
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
