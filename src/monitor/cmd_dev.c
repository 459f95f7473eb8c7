/* cmd_dev.c - what networks, chardevs and PCI functions are and do. */
#include "commands.h"

#include "bus/pci.h"
#include "chardev/chardev.h"
#include "net/net.h"
#include "virtio/devices.h"

#include <errno.h>

void foreach_device(struct machine *m, void (*fn)(struct device *d, void *opaque), void *opaque)
{
    struct device_list *all = machine_devices(m);
    for (struct device *d = all ? all->first : NULL; d; d = d->next) {
        fn(d, opaque);
    }
}

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
