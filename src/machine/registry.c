/* registry.c - -device: the table of all devices, and adding and removing one.
 *
 * Create functions and property tables are in registry_virtio.c and registry_board.c; the list is
 * written down here, so that nothing is registered behind the reader's back. */
#include "registry.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "chardev/chardev.h"
#include "cpu/vcpu.h"
#include "devices/root_port.h"
#include "firmware.h"
#include "net/net.h"
#include "scsi/scsi.h"
#include "usb/usb.h"

#include <jansson.h>

#define ROW(n, b, h, p, c)                                                                         \
    &(const struct device_class)                                                                   \
    {                                                                                              \
        .name = (n), .bus = (b), .help = (h), .props = (p), .create = (c)                          \
    }
#define ALIASED(n, a, b, h, p, c)                                                                  \
    &(const struct device_class)                                                                   \
    {                                                                                              \
        .name = (n), .alias = (a), .bus = (b), .help = (h), .props = (p), .create = (c)            \
    }
/* The three spellings of a virtio function; registry_virtio.c knows the difference. */
#define VIRTIO(n, a, h, p, c)                                                                      \
    ALIASED(n, a, "PCI", h, p, c), ROW(n "-transitional", "PCI", h, p, c),                         \
        ROW(n "-non-transitional", "PCI", h, p, c)
/* The same at a memory address, of a board without PCI; the properties of PCI are left out. */
#define MMIO(n, h, p, c) ROW(n "-device", VIRTIO_MMIO_BUS, h, (p) + VIRTIO_COMMON_COUNT, c)
#define USB2(n)          ROW(n, "PCI", "USB 2 controller", props_ehci, create_ehci)
#define USB1(n)          ROW(n, "PCI", "USB 1 controller", props_uhci, create_uhci)
#define LATER(n, b, h)                                                                             \
    &(const struct device_class)                                                                   \
    {                                                                                              \
        .name = (n), .bus = (b), .help = (h), .accepted_only = true                                \
    }

const struct device_class *const device_classes[] = {
    VIRTIO("virtio-blk-pci", "virtio-blk", "disk", props_virtio_blk, create_virtio_blk),
    VIRTIO("virtio-scsi-pci", "virtio-scsi", "SCSI controller for scsi-hd and scsi-cd",
           props_virtio_scsi, create_virtio_scsi),
    ROW("scsi-hd", "SCSI", "disk on a SCSI controller", props_scsi_drive, create_scsi_hd),
    ROW("scsi-cd", "SCSI", "CD-ROM drive on a SCSI controller", props_scsi_drive, create_scsi_cd),
    VIRTIO("virtio-net-pci", "virtio-net", "network card", props_virtio_net, create_virtio_net),
    ALIASED("e1000", "e1000-82540em", "PCI", "Intel gigabit network card", props_e1000,
            create_e1000),
    ROW("e1000e", "PCI", "Intel gigabit network card, PCI Express", props_e1000e, create_e1000e),
    VIRTIO("virtio-serial-pci", "virtio-serial", "carrier of virtserialport and virtconsole",
           props_virtio_serial, create_virtio_serial),
    VIRTIO("virtio-rng-pci", "virtio-rng", "random numbers", props_virtio_rng, create_virtio_rng),
    VIRTIO("virtio-balloon-pci", "virtio-balloon", "memory balloon", props_virtio_balloon,
           create_virtio_balloon),
    MMIO("virtio-blk", "disk", props_virtio_blk, create_virtio_blk),
    MMIO("virtio-scsi", "SCSI controller for scsi-hd and scsi-cd", props_virtio_scsi,
         create_virtio_scsi),
    MMIO("virtio-net", "network card", props_virtio_net, create_virtio_net),
    MMIO("virtio-serial", "carrier of virtserialport and virtconsole", props_virtio_serial,
         create_virtio_serial),
    MMIO("virtio-rng", "random numbers", props_virtio_rng, create_virtio_rng),
    MMIO("virtio-balloon", "memory balloon", props_virtio_balloon, create_virtio_balloon),
    MMIO("virtio-gpu", "graphics card", props_virtio_gpu, create_virtio_gpu),
    MMIO("virtio-keyboard", "keyboard", props_virtio_input, create_virtio_input),
    MMIO("virtio-mouse", "mouse", props_virtio_input, create_virtio_input),
    MMIO("virtio-tablet", "absolute pointer", props_virtio_input, create_virtio_input),
    ROW("virtserialport", "virtio-serial-bus", "named byte channel", props_virtio_port,
        create_virtserialport),
    ROW("virtconsole", "virtio-serial-bus", "console", props_virtio_port, create_virtconsole),
    ROW("pcie-root-port", "PCI", "PCI Express port with one hot-pluggable slot", props_root_port,
        create_root_port),
    ROW("pcie-pci-bridge", "PCI", "bridge to a conventional PCI bus", props_pci_bridge,
        create_pcie_pci_bridge),
    ROW("pci-bridge", "PCI", "bridge from a conventional PCI bus to another", props_pci_bridge,
        create_pci_bridge),
    ROW("isa-serial", "ISA", "16550A serial port", props_isa_serial, create_isa_serial),
    ROW("i6300esb", "PCI", "watchdog", props_i6300esb, create_i6300esb),
    ROW("pvpanic", "ISA", "port that tells of a panic", props_pvpanic, create_pvpanic),
    ROW("pvpanic-pci", "PCI", "tells of a panic", props_pvpanic_pci, create_pvpanic_pci),
    ROW("intel-hda", "PCI", "sound controller", props_hda, create_intel_hda),
    ROW("ich9-intel-hda", "PCI", "sound controller", props_hda, create_ich9_intel_hda),
    ROW("hda-output", "HDA", "line out; nobody hears it", props_hda_codec, create_hda_output),
    ROW("hda-duplex", "HDA", "line out and in; nobody hears it", props_hda_codec,
        create_hda_duplex),
    ROW("hda-micro", "HDA", "speaker and microphone; nobody hears it", props_hda_codec,
        create_hda_micro),
    ROW("vmcoreinfo", NULL, "where the guest says its crash notes are", props_vmcoreinfo,
        create_vmcoreinfo),
    ROW("isa-debugcon", "ISA", "debug console port", props_debugcon, create_debugcon),
    ROW("isa-debug-exit", "ISA", "a write ends the process", props_debug_exit, create_debug_exit),
    ROW("pc-testdev", "ISA", "test device of bare-metal test kernels", props_pc_testdev,
        create_pc_testdev),
    ROW("pci-testdev", "PCI", "test device of bare-metal test kernels", props_pci_testdev,
        create_pci_testdev),
    ALIASED("ich9-ahci", "ahci", "PCI", "SATA controller with six ports", props_ahci, create_ahci),
    ROW("piix3-ide", "PCI", "IDE controller with two cables", props_ahci, create_ide),
    ROW("ide-hd", "IDE", "disk on a SATA port or an IDE cable", props_ide_drive, create_ide_hd),
    ROW("ide-cd", "IDE", "CD-ROM drive on a SATA port or an IDE cable", props_ide_drive,
        create_ide_cd),
    ROW("nvme", "PCI", "NVMe controller with one disk", props_nvme, create_nvme),
    ROW("VGA", "PCI", "standard graphics card", props_vga, create_vga),
    ROW("bochs-display", "PCI", "graphics card, without VGA: a framebuffer by BARs", props_bochs,
        create_bochs),
    ALIASED("virtio-gpu-pci", "virtio-gpu", "PCI", "graphics card, without VGA", props_virtio_gpu,
            create_virtio_gpu),
    ROW("virtio-vga", "PCI", "graphics card, VGA compatible", props_virtio_vga, create_virtio_vga),
    ROW("ramfb", NULL, "screen in the guest's memory, for firmware", props_ramfb, create_ramfb),
    ALIASED("virtio-keyboard-pci", "virtio-keyboard", "PCI", "keyboard", props_virtio_input,
            create_virtio_input),
    ALIASED("virtio-mouse-pci", "virtio-mouse", "PCI", "mouse", props_virtio_input,
            create_virtio_input),
    ALIASED("virtio-tablet-pci", "virtio-tablet", "PCI", "absolute pointer", props_virtio_input,
            create_virtio_input),
    ROW("MODEL" CPU_DEVICE_SUFFIX, NULL, "one more processor of the machine's model", props_cpu,
        create_cpu),
    ROW("qemu-xhci", "PCI", "USB 3 controller", props_xhci, create_xhci),
    ROW("nec-usb-xhci", "PCI", "USB 3 controller of another maker", props_xhci, create_xhci),
    USB2("ich9-usb-ehci1"),
    USB2("ich9-usb-ehci2"),
    USB2("usb-ehci"),
    USB1("ich9-usb-uhci1"),
    USB1("ich9-usb-uhci2"),
    USB1("ich9-usb-uhci3"),
    USB1("ich9-usb-uhci4"),
    USB1("ich9-usb-uhci5"),
    USB1("ich9-usb-uhci6"),
    USB1("piix3-usb-uhci"),
    USB1("piix4-usb-uhci"),
    ROW("usb-tablet", "usb-bus", "absolute pointer", props_usb_hid, create_usb_hid),
    ROW("usb-mouse", "usb-bus", "mouse", props_usb_hid, create_usb_hid),
    ROW("usb-kbd", "usb-bus", "keyboard", props_usb_hid, create_usb_hid),
    ROW("usb-hub", "usb-bus", "hub", props_usb_hub, create_usb_hub),
    ROW("usb-storage", "usb-bus", "disk", props_usb_storage, create_usb_storage),
    ROW("usb-host", "usb-bus", "a device of the host", props_usb_host, create_usb_host),
    LATER("usb-redir", "usb-bus", "redirected device"),
    LATER("qxl-vga", "PCI", "graphics card"),
    LATER("hyperv-testdev", "ISA", "test device of bare-metal test kernels"),
    LATER("intel-iommu", NULL, "DMA and interrupt remapping"),
    LATER("edu", "PCI", "test device of bare-metal test kernels"),
    NULL,
};

const struct device_class *device_class_find(const char *name)
{
    bool cpu = g_str_has_suffix(name, CPU_DEVICE_SUFFIX);

    for (const struct device_class *const *c = device_classes; *c; c++)
        if (strcmp((*c)->name, name) == 0 || (cpu && (*c)->create == create_cpu) ||
            ((*c)->alias && strcmp((*c)->alias, name) == 0))
            return *c;
    return NULL;
}

static bool no_such_driver(const char *name, GError **err)
{
    GPtrArray *names = g_ptr_array_new();

    for (const struct device_class *const *c = device_classes; *c; c++)
        g_ptr_array_add(names, (gpointer)(*c)->name);
    g_autofree char *near = error_nearest(name, (const char *const *)names->pdata, names->len);
    g_ptr_array_free(names, true);
    return error_set(err, HANOK_ERROR_NOT_FOUND,
                     "there is no device '%s'; did you mean %s? -device help lists all", name,
                     near);
}

/* ---- what create functions share ---- */

bool device_place_read(struct machine *m, struct props *p, struct device_place *out, GError **err)
{
    const char *bus = m->pci.root ? m->pci.root->name : NULL, *addr = NULL;
    uint32_t slot = 0;
    json_t *typed;

    *out = (struct device_place){0};
    if (!bus)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "machine %s has no PCI; its devices are those whose names end in -device, "
                         "as virtio-blk-device",
                         m->type->name);
    if (!props_get_str(p, "bus", &bus, err) || !props_get_str(p, "id", &out->id, err) ||
        !props_get_bool(p, "multifunction", &out->multifunction, err))
        return false;
    out->bus = pci_bus_find(&m->pci, bus);
    if (!out->bus)
        return error_set(err, HANOK_ERROR_NOT_FOUND,
                         "there is no PCI bus '%s'; the root bus is '%s', and each "
                         "pcie-root-port makes one named after its id",
                         bus, m->pci.root->name);
    /* JSON may say the slot as a number: devfn as QEMU's schema has it. */
    typed = props_get_json(p, "addr");
    if (typed && json_is_integer(typed)) {
        if (!props_get_u32(p, "addr", &slot, err))
            return false;
        if (slot > 255)
            return error_set(err, HANOK_ERROR_INVALID, "addr=%u is not a PCI address", slot);
        out->devfn = (uint8_t)slot;
        return true;
    }
    return props_get_str(p, "addr", &addr, err) && pci_addr_parse(out->bus, addr, &out->devfn, err);
}

bool device_chardev(struct props *p, struct chardev **out, GError **err)
{
    const char *id = NULL;

    if (!props_get_str(p, "chardev", &id, err))
        return false;
    if (!id)
        return true;
    *out = chardev_find(id);
    return *out || error_set(err, HANOK_ERROR_NOT_FOUND,
                             "there is no chardev '%s'; give -chardev first", id);
}

bool device_netdev(struct props *p, struct net_backend **out, GError **err)
{
    const char *id = NULL;

    if (!props_get_str(p, "netdev", &id, err))
        return false;
    if (!id)
        return true;
    *out = net_find(id);
    return *out ||
           error_set(err, HANOK_ERROR_NOT_FOUND, "there is no netdev '%s'; give -netdev first", id);
}

/* ---- -global ---- */

/* Several names mean one class: what is set for any of them counts. */
static bool names_class(const struct device_class *cls, const char *driver)
{
    return device_class_find(driver) == cls;
}

static bool globals_apply(struct machine *m, const struct device_class *cls, struct props *p,
                          GError **err)
{
    for (guint i = 0; i < m->cfg->globals->len; i++) {
        struct props *g = g_ptr_array_index(m->cfg->globals, i);
        const char *driver = "", *property = "", *value = "";
        if (!props_get_str(g, "driver", &driver, err) ||
            !props_get_str(g, "property", &property, err) ||
            !props_get_str(g, "value", &value, err))
            return false;
        /* Not props_has(), which would take the property for known. */
        if (names_class(cls, driver) && !json_object_get(props_json(p), property))
            props_set_str(p, property, value);
    }
    return true;
}

/* Those that name nothing on this board: said once, when the machine is made. */
bool globals_check(struct machine *m, GError **err)
{
    /* Read by the board itself, or the policy it has anyway: ticks a guest misses are not made up.
     */
    static const char *const board[] = {"ICH9-LPC.disable_s3",
                                        "ICH9-LPC.disable_s4",
                                        "ICH9-LPC.noreboot",
                                        "PIIX4_PM.disable_s3",
                                        "PIIX4_PM.disable_s4",
                                        "kvm-pit.lost_tick_policy",
                                        "mc146818rtc.lost_tick_policy",
                                        NULL};

    for (guint i = 0; i < m->cfg->globals->len; i++) {
        struct props *g = g_ptr_array_index(m->cfg->globals, i);
        const char *driver = "", *property = "";
        if (!props_get_str(g, "driver", &driver, err) ||
            !props_get_str(g, "property", &property, err))
            return false;
        g_autofree char *name = g_strdup_printf("%s.%s", driver, property);
        if (!device_class_find(driver) && !g_strv_contains(board, name))
            log_warning("-global %s has no effect in this version", name);
    }
    return true;
}

/* ---- adding ---- */

/* Properties of every device, and of every PCI function, that create functions need not list.
 * bootindex matters to firmware only; acpi-index names cards in the guest. */
static const char *const common_props[] = {"driver",        "id",         "bus",    "addr",
                                           "bootindex",     "acpi-index", "rombar", "romfile",
                                           "multifunction", NULL};

/* Before anything is made, so that a misspelt property makes nothing. */
static bool names_check(const struct device_class *cls, struct props *p, GError **err)
{
    g_autofree char *what = g_strdup_printf("device '%s'", cls->name);

    for (size_t i = 0; common_props[i]; i++)
        props_mark_used(p, common_props[i]);
    for (const struct prop_desc *d = cls->props; d && d->name; d++)
        props_mark_used(p, d->name);
    return props_check_unused(p, what, NULL, err);
}

static bool id_check(struct machine *m, struct props *p, GError **err)
{
    const char *id = NULL;

    if (!props_get_id(p, &id, err))
        return false;
    if (!id)
        return true;
    return !device_find(&m->devices, id) ||
           error_set(err, HANOK_ERROR_INVALID, "there is already a device with id '%s'", id);
}

struct pci_dev *machine_pci_dev_of(struct machine *m, const struct device *d)
{
    for (struct pci_bus *b = m->pci.buses; b; b = b->next)
        for (size_t i = 0; i < ARRAY_SIZE(b->slot); i++)
            if (b->slot[i] && &b->slot[i]->dev == d)
                return b->slot[i];
    return NULL;
}

/* bootindex and option ROM of the PCI function just made, if one was made since the list ended at
 * before; drives on a cable tell the firmware themselves. */
static bool firmware_props_apply(struct machine *m, const struct device_class *cls,
                                 struct device **before, struct props *p, GError **err)
{
    struct device *d = container_of(m->devices.last, struct device, next);
    struct pci_dev *pci = m->devices.last != before ? machine_pci_dev_of(m, d) : NULL;
    uint32_t index = 0;

    if (!pci)
        return true;
    if (!option_rom_add(m, cls, p, pci, err))
        return false;
    return !props_has(p, "bootindex") ||
           (props_get_u32(p, "bootindex", &index, err) && firmware_boot_pci(m, index, pci, err));
}

/* "virtio-blk" is the device that the board has a place for. */
static const struct device_class *board_class_find(struct machine *m, const char *name)
{
    const struct device_class *cls = device_class_find(name);

    if (!m->slots || !cls || !cls->alias || strcmp(cls->alias, name) != 0)
        return cls;
    g_autofree char *other = g_strconcat(name, "-device", NULL);
    const struct device_class *here = device_class_find(other);
    return here ? here : cls;
}

bool machine_device_add(struct machine *m, struct props *p, GError **err)
{
    struct device **before = m->devices.last;
    const char *driver = NULL;
    const struct device_class *cls;

    if (!props_get_str(p, "driver", &driver, err))
        return false;
    if (!driver)
        return error_set(err, HANOK_ERROR_INVALID, "the name of a device (driver=) is missing");
    cls = board_class_find(m, driver);
    if (!cls)
        return no_such_driver(driver, err);
    if (!m->board)
        return error_set(err, HANOK_ERROR_INVALID,
                         "a machine of type none has no place for device '%s'", driver);
    if (cls->accepted_only) {
        log_warning("device '%s' (%s) is accepted, but comes with a later version: none appears",
                    cls->name, cls->help);
        return true;
    }
    if (!globals_apply(m, cls, p, err) || !names_check(cls, p, err))
        return false;
    if (id_check(m, p, err) && cls->create(m, cls, p, err) &&
        firmware_props_apply(m, cls, before, p, err))
        return true;
    g_prefix_error(err, "device '%s': ", driver);
    return false;
}

/* ---- removing ---- */

void machine_device_destroy(struct machine *m, struct device *d)
{
    g_autofree char *id = g_strdup(d->id);
    g_autofree char *path = id ? g_strconcat("/machine/peripheral/", id, NULL) : g_strdup(d->path);
    json_t *data;

    if (d->ops->drain)
        d->ops->drain(d);
    d->ops->destroy(d);
    data = json_pack("{s:s}", "path", path);
    if (id)
        json_object_set_new(data, "device", json_string(id));
    machine_emit(m, "DEVICE_DELETED", data);
}

bool machine_device_del(struct machine *m, const char *id, GError **err)
{
    struct device *d = device_find(&m->devices, id);
    struct pci_dev *pci = d ? machine_pci_dev_of(m, d) : NULL;
    bool ok;

    if (!d)
        return error_set(err, HANOK_ERROR_NOT_FOUND, "there is no device '%s'", id);
    if (strcmp(d->ops->type, "virtserialport") == 0 || strcmp(d->ops->type, "virtconsole") == 0 ||
        scsi_lun_of_device(d) || usb_device_is(d)) {
        machine_device_destroy(m, d);
        return true;
    }
    if (machine_cpu_request_removal(m, d))
        return true;
    if (!pci || !pci->bus->hotplug)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "device '%s' cannot be removed: it is not in the slot of a "
                         "pcie-root-port",
                         id);
    pthread_mutex_lock(&m->devices.lock);
    ok = root_port_request_eject(pci->bus->bridge, err);
    pthread_mutex_unlock(&m->devices.lock);
    return ok;
}

/* Main thread; a vcpu could be inside the function's handlers, so all of them wait. */
void machine_grant_ejects(struct machine *m)
{
    bool running = m->state == RUN_RUNNING && m->cpus;

    if (running)
        cpu_set_pause(m->cpus);
    for (struct pci_bus *b = m->pci.buses; b; b = b->next) {
        if (!b->hotplug || !root_port_ejecting(b->bridge))
            continue;
        for (unsigned fn = 0; fn < 8; fn++)
            if (b->slot[fn])
                machine_device_destroy(m, &b->slot[fn]->dev);
    }
    machine_grant_cpu_ejects(m);
    if (running)
        cpu_set_resume(m->cpus);
}
