/* registry_usb.c - USB controllers and devices as users write them. */
#include "registry.h"

#include "base/error.h"
#include "base/util.h"
#include "block/block.h"
#include "firmware.h"
#include "usb/devices.h"
#include "usb/hcd.h"

/* ---- controllers ---- */

static bool hcd_place_read(struct machine *m, struct props *p, struct usb_hcd_place *out,
                           GError **err)
{
    struct device_place place;

    if (!device_place_read(m, p, &place, err))
        return false;
    *out = (struct usb_hcd_place){place.bus, place.devfn, place.multifunction, place.id};
    return true;
}

const struct prop_desc props_xhci[] = {
    {"p2", PROP_U32, "4", "ports for devices of USB 2 and older, at most 15"},
    {"p3", PROP_U32, "4", "ports for devices of USB 3, at most 15"},
    {"intrs", PROP_U32, "16", "accepted: there are always 16"},
    {"slots", PROP_U32, "64", "accepted: there are always 64"},
    {"msi", PROP_ONOFFAUTO, "auto", "offer MSI"},
    {"msix", PROP_ONOFFAUTO, "auto", "offer MSI-X"},
    {"streams", PROP_BOOL, "off", "accepted: there are none"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_xhci(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    static const char *const on_off_auto[] = {"off", "on", "auto", NULL};
    struct xhci_config cfg = {.nec = strcmp(cls->name, "nec-usb-xhci") == 0};
    uint32_t p2 = 4, p3 = 4;
    unsigned msi = 2, msix = 2;

    if (!hcd_place_read(m, p, &cfg.at, err) || !props_get_u32(p, "p2", &p2, err) ||
        !props_get_u32(p, "p3", &p3, err) || !props_get_enum(p, "msi", on_off_auto, &msi, err) ||
        !props_get_enum(p, "msix", on_off_auto, &msix, err))
        return false;
    if (p2 > USB_PORTS_MAX || p3 > USB_PORTS_MAX || p2 + p3 == 0)
        return error_set(err, HANOK_ERROR_INVALID,
                         "p2=%u,p3=%u: each is at most %d, one at least 1", p2, p3, USB_PORTS_MAX);
    cfg.p2 = p2;
    cfg.p3 = p3;
    cfg.no_msi = msi == 0;
    cfg.no_msix = msix == 0;
    return xhci_new(&cfg, &m->usb, err) != NULL;
}

static const struct usb_hcd_model ehci_models[] = {
    {"ich9-usb-ehci1", 0x8086, 0x293a, 3, 4},
    {"ich9-usb-ehci2", 0x8086, 0x293c, 3, 3},
    {"usb-ehci", 0x8086, 0x24cd, 0x10, 4},
};
static const struct usb_hcd_model uhci_models[] = {
    {"ich9-usb-uhci1", 0x8086, 0x2934, 3, 1}, {"ich9-usb-uhci2", 0x8086, 0x2935, 3, 2},
    {"ich9-usb-uhci3", 0x8086, 0x2936, 3, 3}, {"ich9-usb-uhci4", 0x8086, 0x2937, 3, 1},
    {"ich9-usb-uhci5", 0x8086, 0x2938, 3, 2}, {"ich9-usb-uhci6", 0x8086, 0x2939, 3, 3},
    {"piix3-usb-uhci", 0x8086, 0x7020, 1, 4}, {"piix4-usb-uhci", 0x8086, 0x7112, 1, 4},
};

static const struct usb_hcd_model *model_find(const struct usb_hcd_model *list, size_t n,
                                              const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

const struct prop_desc props_ehci[] = {
    {"maxframes", PROP_U32, "128", "accepted"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_ehci(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    struct ehci_config cfg = {.model = model_find(ehci_models, ARRAY_SIZE(ehci_models), cls->name)};

    return hcd_place_read(m, p, &cfg.at, err) && ehci_new(&cfg, &m->usb, err);
}

const struct prop_desc props_uhci[] = {
    {"masterbus", PROP_STR, NULL, "bus of the USB 2 controller whose slower devices it serves"},
    {"firstport", PROP_U32, "0", "the first of its two ports there, from 0"},
    {"bandwidth", PROP_U32, "1280", "accepted"},
    {"maxframes", PROP_U32, "128", "accepted"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_uhci(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    struct uhci_config cfg = {.model = model_find(uhci_models, ARRAY_SIZE(uhci_models), cls->name)};
    const char *master = NULL;
    uint32_t first = 0;

    if (!hcd_place_read(m, p, &cfg.at, err) || !props_get_str(p, "masterbus", &master, err) ||
        !props_get_u32(p, "firstport", &first, err))
        return false;
    cfg.first = first;
    cfg.master = master ? usb_bus_find(&m->usb, master) : NULL;
    if (master && !cfg.master)
        return error_set(err, HANOK_ERROR_NOT_FOUND,
                         "there is no USB bus '%s'; give the USB 2 controller first, as in -device "
                         "ich9-usb-ehci1,id=usb",
                         master);
    return uhci_new(&cfg, &m->usb, err) != NULL;
}

/* -usb and -machine usb=on: what the ICH9 has in slot 1d. */
bool machine_usb_add(struct machine *m, GError **err)
{
    struct ehci_config ehci = {.at = {.bus = m->pci.root, .devfn = PCI_DEVFN(0x1d, 7)},
                               .model = &ehci_models[0]};
    struct uhci_config uhci = {.at = {.bus = m->pci.root}};
    bool usb = false;

    if (!props_get_bool(m->cfg->machine, "usb", &usb, err))
        return false;
    if (!usb)
        return true;
    if (!ehci_new(&ehci, &m->usb, err))
        return false;
    uhci.master = usb_bus_find(&m->usb, NULL);
    for (unsigned i = 0; i < EHCI_PORTS / UHCI_PORTS; i++) {
        uhci.at.devfn = PCI_DEVFN(0x1d, i);
        uhci.at.multifunction = i == 0;
        uhci.first = i * UHCI_PORTS;
        uhci.model = &uhci_models[i];
        if (!uhci_new(&uhci, &m->usb, err))
            return false;
    }
    return true;
}

/* ---- devices ---- */

static struct usb_bus *bus_read(struct machine *m, struct props *p, GError **err)
{
    const char *name = NULL;
    struct usb_bus *bus;

    if (!props_get_str(p, "bus", &name, err))
        return NULL;
    bus = usb_bus_find(&m->usb, name);
    if (!bus && name)
        error_set(
            err, HANOK_ERROR_NOT_FOUND,
            "there is no USB bus '%s'; a controller's bus is named after its id, as in 'xhci.0'",
            name);
    else if (!bus)
        error_set(err, HANOK_ERROR_NOT_FOUND,
                  "there is no USB controller to plug it into; give -device qemu-xhci first");
    return bus;
}

static struct usb_port *port_read(struct machine *m, struct props *p, uint8_t speeds, GError **err)
{
    struct usb_bus *bus = bus_read(m, p, err);
    const char *path = NULL;

    return bus && props_get_str(p, "port", &path, err) ? usb_port_find(bus, path, speeds, err)
                                                       : NULL;
}

#define USB_DEVICE_COMMON                                                                          \
    {"port", PROP_STR, NULL, "port of the bus, as in 1 or 1.2; default: the first that suits"},    \
        {"serial", PROP_STR, NULL, "serial number"}, {"usb_version", PROP_U32, "2", "accepted"},   \
        {"msos-desc", PROP_BOOL, "on", "accepted: there are no such descriptors"},                 \
    {                                                                                              \
        "full-path", PROP_BOOL, "on", "accepted"                                                   \
    }

const struct prop_desc props_usb_hid[] = {
    USB_DEVICE_COMMON,
    {"display", PROP_STR, NULL, "accepted: there is one screen"},
    {"head", PROP_U32, "0", "accepted"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_usb_hid(struct machine *m, const struct device_class *cls, struct props *p,
                    GError **err)
{
    enum usb_hid_kind kind = strcmp(cls->name, "usb-kbd") == 0     ? USB_HID_KEYBOARD
                             : strcmp(cls->name, "usb-mouse") == 0 ? USB_HID_MOUSE
                                                                   : USB_HID_TABLET;
    const char *id = NULL, *serial = NULL;
    struct usb_port *port;

    if (!props_get_str(p, "id", &id, err) || !props_get_str(p, "serial", &serial, err))
        return false;
    port = port_read(m, p, USB_HID_SPEEDS, err);
    return port && usb_hid_new(port, kind, id, serial);
}

const struct prop_desc props_usb_hub[] = {
    USB_DEVICE_COMMON,
    {"ports", PROP_U32, "8", "1 to 15"},
    {NULL, PROP_STR, NULL, NULL},
};

static unsigned hub_depth(const struct usb_port *p)
{
    unsigned n = 0;

    for (; p->parent; p = p->parent)
        n++;
    return n;
}

bool create_usb_hub(struct machine *m, const struct device_class *cls, struct props *p,
                    GError **err)
{
    uint32_t ports = USB_HUB_PORTS_DEFAULT;
    const char *id = NULL;
    struct usb_port *port;

    if (!props_get_str(p, "id", &id, err) || !props_get_u32(p, "ports", &ports, err))
        return false;
    if (ports == 0 || ports > USB_PORTS_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "ports=%u: 1 to %d", ports, USB_PORTS_MAX);
    port = port_read(m, p, USB_HUB_SPEEDS, err);
    if (!port)
        return false;
    if (hub_depth(port) == USB_DEPTH_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "hubs can be %d deep", USB_DEPTH_MAX);
    return usb_hub_new(port, ports, id) != NULL;
}

/* ---- disks ---- */

const struct prop_desc props_usb_storage[] = {
    USB_DEVICE_COMMON,
    {"drive", PROP_DRIVE, NULL, "block node or drive"},
    {"removable", PROP_BOOL, "off", "say that the medium can be taken out"},
    {"write-cache", PROP_ONOFFAUTO, "auto", "offer a write cache"},
    {"share-rw", PROP_BOOL, "off", "others may write to the image, too"},
    {"logical_block_size", PROP_SIZE, NULL, "bytes; default: the image's"},
    {"physical_block_size", PROP_SIZE, NULL, "bytes; default: the image's"},
    {"min_io_size", PROP_SIZE, "0", "accepted"},
    {"opt_io_size", PROP_SIZE, "0", "accepted"},
    {"discard_granularity", PROP_SIZE, NULL, "accepted"},
    {"rerror", PROP_STR, "report", "report"},
    {"werror", PROP_STR, "report", "report"},
    {NULL, PROP_STR, NULL, NULL},
};

static bool storage_sizes(struct props *p, struct usb_storage_config *cfg, GError **err)
{
    uint64_t logical = 0, physical = 0;

    if (!props_get_size(p, "logical_block_size", &logical, err) ||
        !props_get_size(p, "physical_block_size", &physical, err))
        return false;
    cfg->logical_block_bytes = (uint32_t)MIN_OF(logical, (uint64_t)UINT32_MAX);
    cfg->physical_block_bytes = (uint32_t)MIN_OF(physical, (uint64_t)UINT32_MAX);
    return true;
}

/* enospc and auto would stop the machine when the host's disk is full; here the guest is told. */
static bool storage_policies(struct props *p, GError **err)
{
    static const char *const names[] = {"report", "auto", "enospc", NULL};
    unsigned pick = 0;

    return props_get_enum(p, "rerror", names, &pick, err) &&
           props_get_enum(p, "werror", names, &pick, err);
}

static struct blk_node *storage_drive(struct props *p, GError **err)
{
    const char *drive = NULL;
    struct blk_node *n;

    if (!props_get_str(p, "drive", &drive, err))
        return NULL;
    n = drive ? blk_find(drive) : NULL;
    if (!drive)
        error_set(err, HANOK_ERROR_INVALID, "it needs drive=");
    else if (!n)
        error_set(err, HANOK_ERROR_NOT_FOUND,
                  "there is no drive or block node '%s'; give -blockdev or -drive first", drive);
    return n;
}

/* ".../usb@4/hub@3/storage@2/channel@0/disk@0,0" */
static bool storage_boot_add(struct machine *m, struct props *p, const struct usb_port *port,
                             GError **err)
{
    g_autoptr(GString) path = g_string_new(NULL);
    g_autofree char *controller = firmware_pci_path(port->bus->controller);
    g_auto(GStrv) ports = g_strsplit(port->path, ".", -1);
    uint32_t index = 0;

    if (!props_has(p, "bootindex"))
        return true;
    g_string_append(path, controller);
    for (char **n = ports; *n; n++)
        g_string_append_printf(path, "/%s@%x", n[1] ? "hub" : "storage",
                               (unsigned)g_ascii_strtoull(*n, NULL, 10));
    g_string_append(path, "/channel@0/disk@0,0");
    return props_get_u32(p, "bootindex", &index, err) &&
           firmware_boot_add(m, index, g_strdup(path->str), err);
}

bool create_usb_storage(struct machine *m, const struct device_class *cls, struct props *p,
                        GError **err)
{
    static const char *const on_off_auto[] = {"off", "on", "auto", NULL};
    struct usb_storage_config cfg = {0};
    struct usb_port *port;
    unsigned cache = 2;

    if (!props_get_str(p, "id", &cfg.id, err) || !props_get_str(p, "serial", &cfg.serial, err) ||
        !props_get_bool(p, "removable", &cfg.removable, err) ||
        !props_get_bool(p, "share-rw", &cfg.share_rw, err) ||
        !props_get_enum(p, "write-cache", on_off_auto, &cache, err) ||
        !storage_sizes(p, &cfg, err) || !storage_policies(p, err))
        return false;
    cfg.no_write_cache = cache == 0;
    cfg.node = storage_drive(p, err);
    port = cfg.node ? port_read(m, p, USB_STORAGE_SPEEDS, err) : NULL;
    return port && usb_storage_new(port, &cfg, err) && storage_boot_add(m, p, port, err);
}

/* ---- devices of the host ---- */

const struct prop_desc props_usb_host[] = {
    USB_DEVICE_COMMON,
    {"vendorid", PROP_U32, "0", "as lsusb writes it; 0: any"},
    {"productid", PROP_U32, "0", "as lsusb writes it; 0: any"},
    {"hostbus", PROP_U32, "0", "number of the host's bus; 0: any"},
    {"hostaddr", PROP_U32, "0", "address on that bus; 0: any"},
    {"guest-reset", PROP_BOOL, "on", "accepted: the guest's resets do not reach the device"},
    {"guest-resets-all", PROP_BOOL, "off", "accepted"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_usb_host(struct machine *m, const struct device_class *cls, struct props *p,
                     GError **err)
{
    struct usb_host_config cfg = {0};
    uint32_t vendor = 0, product = 0, host_bus = 0, address = 0;
    const char *path = NULL;
    struct usb_bus *bus;

    if (!props_get_str(p, "id", &cfg.id, err) || !props_get_str(p, "port", &path, err) ||
        !props_get_u32(p, "vendorid", &vendor, err) ||
        !props_get_u32(p, "productid", &product, err) ||
        !props_get_u32(p, "hostbus", &host_bus, err) ||
        !props_get_u32(p, "hostaddr", &address, err))
        return false;
    if (vendor > UINT16_MAX || product > UINT16_MAX || host_bus > 255 || address > 127)
        return error_set(
            err, HANOK_ERROR_INVALID,
            "vendorid and productid have 16 bits, hostbus is at most 255, hostaddr 127");
    if (!vendor && !product && !host_bus && !address)
        return error_set(err, HANOK_ERROR_INVALID,
                         "it needs vendorid= and productid=, or hostbus= and hostaddr=");
    cfg.vendor = (uint16_t)vendor;
    cfg.product = (uint16_t)product;
    cfg.bus = (uint8_t)host_bus;
    cfg.address = (uint8_t)address;
    bus = bus_read(m, p, err);
    return bus && usb_host_new(bus, path, &cfg, err);
}
