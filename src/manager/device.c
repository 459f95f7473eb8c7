/* device.c - devices that come and go. */
#include "manager/device.h"

#include "base/util.h"
#include "chain.h"
#include "manager/argv.h"
#include "passt.h"
#include "tap.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum { UNPLUG_WAIT_MS = 20000 };

/* Where each kind's list is, and its info in the struct. */
static const struct {
    const struct xml_element *element;
    size_t list, info;
} kinds[DEVICE_KINDS] = {
#define KIND(k, e, l, t) [k] = {&(e), offsetof(struct devices, l), offsetof(struct t, info)}
    KIND(DEVICE_DISK, disk_element, disks, disk),
    KIND(DEVICE_INTERFACE, interface_element, interfaces, interface),
    KIND(DEVICE_CONTROLLER, controller_element, controllers, controller),
    KIND(DEVICE_RNG, rng_element, rngs, rng),
    KIND(DEVICE_INPUT, input_element, inputs, input),
    KIND(DEVICE_HOSTDEV, hostdev_element, hostdevs, hostdev),
    KIND(DEVICE_WATCHDOG, watchdog_element, watchdogs, watchdog),
    KIND(DEVICE_CHANNEL, chr_channel_element, channels, chr),
    KIND(DEVICE_SERIAL, chr_serial_element, serials, chr),
    KIND(DEVICE_SOUND, sound_element, sounds, sound),
    KIND(DEVICE_FILESYSTEM, filesystem_element, filesystems, filesystem),
};

static GPtrArray *list_of(const struct domain *d, enum device_kind k)
{
    return *(GPtrArray *const *)((const char *)&d->devices + kinds[k].list);
}

static struct dev_info *info_of(const struct device *dev)
{
    return (struct dev_info *)((char *)dev->data + kinds[dev->kind].info);
}

bool device_parse(const char *text, struct device *out, GError **err)
{
    xmlDoc *doc = xml_read(text, strlen(text), "the device's XML", err);
    if (!doc) {
        return false;
    }
    xmlNode *root = xmlDocGetRootElement(doc);
    out->kind = DEVICE_KINDS;
    for (int k = 0; k < DEVICE_KINDS; k++) {
        if (!strcmp(kinds[k].element->name, (const char *)root->name)) {
            out->kind = (enum device_kind)k;
        }
    }
    if (out->kind == DEVICE_KINDS) {
        error_set(
            err, HANOK_ERROR_UNSUPPORTED,
            "<%s> is not a device that can be put in by itself; disk, interface, controller, rng, "
            "input, hostdev, watchdog, channel, serial, sound and filesystem are",
            (const char *)root->name);
        xmlFreeDoc(doc);
        return false;
    }
    out->data = xml_map_new(kinds[out->kind].element);
    bool ok = xml_map_parse(root, kinds[out->kind].element, out->data, NULL, err);
    xmlFreeDoc(doc);
    if (!ok) {
        device_clear(out);
    }
    return ok;
}

void device_clear(struct device *dev)
{
    if (dev->data) {
        xml_map_free(kinds[dev->kind].element, dev->data);
        dev->data = NULL;
    }
}

bool device_insert(struct domain *d, struct device *dev, GError **err)
{
    GPtrArray *list = list_of(d, dev->kind);
    g_ptr_array_add(list, dev->data);
    if (domain_post_parse(d, err) && domain_validate(d, err)) {
        return true;
    }
    g_ptr_array_remove(list, dev->data); /* stays the caller's */
    return false;
}

/* ---- finding ---- */

struct disk *domain_find_disk(const struct domain *d, const char *what)
{
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        struct disk *k = d->devices.disks->pdata[i];
        g_autofree char *source = disk_source_text(k);
        if (!strcmp(k->target.dev, what) || !g_strcmp0(source, what)) {
            return k;
        }
    }
    return NULL;
}

static bool same_address(const struct address *a, const struct address *b)
{
    return a->type == ADDRESS_PCI && b->type == ADDRESS_PCI && a->bus.v == b->bus.v &&
           a->slot.v == b->slot.v && a->function.v == b->function.v;
}

static bool describes(const struct device *dev, void *other)
{
    struct device o = {dev->kind, other};
    const struct dev_info *a = info_of(dev), *b = info_of(&o);
    /* a definition has no aliases but the user's own; the running machine's XML may name it */
    if (a->alias.name && (b->alias.name || g_str_has_prefix(a->alias.name, "ua-"))) {
        return !g_strcmp0(a->alias.name, b->alias.name);
    }
    if (dev->kind == DEVICE_DISK) {
        const struct disk *want = dev->data, *have = other;
        return want->target.dev && !strcmp(want->target.dev, have->target.dev);
    }
    if (dev->kind == DEVICE_INTERFACE) {
        const struct interface *want = dev->data, *have = other;
        return want->mac.address && !g_ascii_strcasecmp(want->mac.address, have->mac.address);
    }
    if (dev->kind == DEVICE_CONTROLLER) {
        const struct controller *want = dev->data, *have = other;
        return want->type == have->type && want->index.set && want->index.v == have->index.v;
    }
    return same_address(&a->address, &b->address);
}

bool device_remove(struct domain *d, const struct device *dev, struct device *out, GError **err)
{
    GPtrArray *list = list_of(d, dev->kind);
    for (unsigned i = 0; i < list->len; i++) {
        if (describes(dev, list->pdata[i])) {
            out->kind = dev->kind;
            out->data = g_ptr_array_remove_index(list, i);
            return true;
        }
    }
    return error_set(
        err, HANOK_ERROR_NOT_FOUND,
        "domain '%s' has no such <%s>; it is found by its target, MAC, alias or address", d->name,
        kinds[dev->kind].element->name);
}

/* ---- plugging ---- */

/* Steps that a failure undoes, in reverse. */
struct undo {
    struct qmp *q;
    const char *dir;     /* the machine's run directory */
    GPtrArray *commands; /* "command\0key\0value" pairs as JSON */
};

static void undo_note(struct undo *u, const char *command, const char *key, const char *value)
{
    g_ptr_array_add(u->commands,
                    json_pack("{sss{ss}}", "command", command, "arguments", key, value));
}

static void undo_all(struct undo *u)
{
    for (unsigned i = u->commands->len; i > 0; i--) {
        json_t *o = u->commands->pdata[i - 1];
        qmp_call(u->q, json_string_value(json_object_get(o, "command")),
                 json_incref(json_object_get(o, "arguments")), NULL, NULL);
    }
}

static bool plug_nodes(struct undo *u, const struct disk *k, unsigned node, GError **err)
{
    json_t *nodes = json_array(), *one;
    size_t i;
    bool ok = argv_disk_nodes(k, node, nodes, err);
    json_array_foreach(nodes, i, one)
    {
        ok = ok && qmp_call(u->q, "blockdev-add", json_incref(one), NULL, err);
        if (ok) {
            undo_note(u, "blockdev-del", "node-name",
                      json_string_value(json_object_get(one, "node-name")));
        }
    }
    json_decref(nodes);
    return ok;
}

static unsigned free_node(const struct domain *d, const struct disk *mine)
{
    unsigned next = 1;
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        const struct disk *k = d->devices.disks->pdata[i];
        if (k != mine && k->source.index.set) {
            next = MAX_OF(next, (unsigned)k->source.index.v + argv_disk_depth(k));
        }
    }
    return next;
}

static bool plug_disk(struct undo *u, struct domain *d, struct disk *k, GError **err)
{
    unsigned node = free_node(d, k);
    if (k->target.bus != DISK_BUS_VIRTIO && k->target.bus != DISK_BUS_SCSI &&
        k->target.bus != DISK_BUS_USB) {
        return error_set(
            err, HANOK_ERROR_UNSUPPORTED,
            "disks on this bus are not plugged into a running machine; use --targetbus virtio, or "
            "--config");
    }
    if (!chain_find(d, err)) {
        return false;
    }
    argv_disk_number(k, node);
    return plug_nodes(u, k, node, err) &&
           qmp_call(u->q, "device_add", argv_disk_device(d, k, node), NULL, err);
}

static bool plug_interface(struct undo *u, struct domain *d, struct interface *n, GError **err)
{
    if (tap_wanted(n)) {
        return error_set(
            err, HANOK_ERROR_UNSUPPORTED,
            "only <interface type='user'/> is plugged into a running machine; --config puts "
            "others into the definition");
    }
    if (passt_wanted(n) && !passt_start(n, u->dir, err)) {
        return false;
    }
    json_t *backend = argv_net_backend(n, -1, u->dir, err);
    g_autofree char *id = g_strdup_printf("host%s", n->info.alias.name);
    if (!backend || !qmp_call(u->q, "netdev_add", backend, NULL, err)) {
        return false;
    }
    undo_note(u, "netdev_del", "id", id);
    return qmp_call(u->q, "device_add", argv_net_device(d, n), NULL, err);
}

static bool plug_rng(struct undo *u, struct domain *d, struct rng *r, GError **err)
{
    g_autofree char *id = g_strdup_printf("obj%s", r->info.alias.name);
    if (!qmp_call(u->q, "object-add", argv_rng_object(r), NULL, err)) {
        return false;
    }
    undo_note(u, "object-del", "id", id);
    return qmp_call(u->q, "device_add", argv_rng_device(d, r), NULL, err);
}

bool device_plug(struct vm *vm, struct domain *d, const struct device *dev, GError **err)
{
    struct undo u = {.q = vm_qmp(vm, err), .dir = vm->dir};
    bool ok = false;
    if (!u.q) {
        return false;
    }
    u.commands = g_ptr_array_new_with_free_func((GDestroyNotify)json_decref);
    switch (dev->kind) {
    case DEVICE_DISK:
        ok = plug_disk(&u, d, dev->data, err);
        break;
    case DEVICE_INTERFACE:
        ok = plug_interface(&u, d, dev->data, err);
        break;
    case DEVICE_RNG:
        ok = plug_rng(&u, d, dev->data, err);
        break;
    default:
        error_set(
            err, HANOK_ERROR_UNSUPPORTED,
            "a <%s> is not plugged into a running machine; --config puts it into the definition",
            kinds[dev->kind].element->name);
    }
    if (!ok) {
        undo_all(&u);
    }
    g_ptr_array_free(u.commands, TRUE);
    qmp_close(u.q);
    return ok;
}

static void drop_nodes(struct qmp *q, unsigned first, unsigned depth)
{
    for (unsigned node = first; node < first + depth; node++) {
        g_autofree char *format = g_strdup_printf("libvirt-%u-format", node);
        g_autofree char *storage = g_strdup_printf("libvirt-%u-storage", node);
        qmp_call(q, "blockdev-del", json_pack("{ss}", "node-name", format), NULL, NULL);
        qmp_call(q, "blockdev-del", json_pack("{ss}", "node-name", storage), NULL, NULL);
    }
}

/* What stood behind a device that is gone; the machine may keep it, that is no reason to fail. */
static void drop_backend(struct qmp *q, const struct device *dev)
{
    const struct dev_info *info = info_of(dev);
    g_autofree char *host = g_strdup_printf("host%s", info->alias.name);
    g_autofree char *object = g_strdup_printf("obj%s", info->alias.name);
    if (dev->kind == DEVICE_INTERFACE) {
        qmp_call(q, "netdev_del", json_pack("{ss}", "id", host), NULL, NULL);
    } else if (dev->kind == DEVICE_RNG) {
        qmp_call(q, "object-del", json_pack("{ss}", "id", object), NULL, NULL);
    } else if (dev->kind == DEVICE_DISK) {
        const struct disk *k = dev->data;
        if (k->source.index.set) {
            drop_nodes(q, (unsigned)k->source.index.v, argv_disk_depth(k));
        }
    }
}

bool device_unplug(struct vm *vm, const struct domain *d, const struct device *dev, GError **err)
{
    const char *id = info_of(dev)->alias.name;
    struct qmp *q = vm_qmp(vm, err);
    bool ok = q && qmp_call(q, "device_del", json_pack("{ss}", "id", id ? id : ""), NULL, err);
    if (ok && !qmp_wait_event(q, "DEVICE_DELETED", id, UNPLUG_WAIT_MS)) {
        ok = error_set(err, HANOK_ERROR_BUSY,
                       "the guest of '%s' does not give up '%s'; it is asked, and may do so later",
                       d->name, id);
    }
    if (ok) {
        drop_backend(q, dev);
    }
    qmp_close(q);
    return ok;
}

/* ---- media ---- */

void disk_set_source(struct disk *k, const char *path)
{
    bool block = path && g_str_has_prefix(path, "/dev/");
    g_clear_pointer(&k->source.file, g_free);
    g_clear_pointer(&k->source.dev, g_free);
    *(block ? &k->source.dev : &k->source.file) = g_strdup(path);
    k->type = block ? DISK_BLOCK : DISK_FILE;
    k->source.node.present = path != NULL;
    k->source.index.set = false;
}

static bool tray(struct qmp *q, const char *command, const struct disk *k, GError **err)
{
    return qmp_call(q, command, json_pack("{ss}", "id", k->info.alias.name), NULL, err);
}

static bool take_medium_out(struct qmp *q, const struct disk *k, GError **err)
{
    return qmp_call(q, "blockdev-open-tray",
                    json_pack("{sssb}", "id", k->info.alias.name, "force", 1), NULL, err) &&
           tray(q, "blockdev-remove-medium", k, err);
}

bool device_change_medium(struct vm *vm, struct domain *d, struct disk *k, const char *path,
                          GError **err)
{
    struct undo u = {.q = vm_qmp(vm, err)};
    unsigned node = free_node(d, NULL), old = (unsigned)xml_num_or(k->source.index, 0);
    unsigned old_depth = argv_disk_depth(k);
    if (!u.q) {
        return false;
    }
    u.commands = g_ptr_array_new_with_free_func((GDestroyNotify)json_decref);
    disk_set_source(k, path);
    g_autofree char *top = g_strdup_printf("libvirt-%u-format", node);
    bool ok = (!path || plug_nodes(&u, k, node, err)) && take_medium_out(u.q, k, err) &&
              (!path || (qmp_call(u.q, "blockdev-insert-medium",
                                  json_pack("{ssss}", "id", k->info.alias.name, "node-name", top),
                                  NULL, err) &&
                         tray(u.q, "blockdev-close-tray", k, err)));
    if (!ok) {
        undo_all(&u);
    } else {
        drop_nodes(u.q, old, old ? old_depth : 0);
    }
    if (ok && path) {
        xml_num_set(&k->source.index, node);
    }
    g_ptr_array_free(u.commands, TRUE);
    qmp_close(u.q);
    return ok;
}
