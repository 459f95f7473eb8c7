/* registry_board.c - ports, ISA devices and test devices as users write them. */
#include "registry.h"

#include "base/error.h"
#include "base/util.h"
#include "bus/fw_cfg.h"
#include "devices/pci_bridge.h"
#include "devices/pci_testdev.h"
#include "devices/ports.h"
#include "devices/pvpanic.h"
#include "devices/root_port.h"
#include "devices/uart.h"
#include "devices/vmcoreinfo.h"
#include "devices/watchdog.h"

/* ---- pcie-root-port ---- */

const struct prop_desc props_root_port[] = {
    {"port", PROP_U32, "0", "port number in the link capabilities"},
    {"chassis", PROP_U32, "0", "chassis number"},
    {"slot", PROP_U32, "0", "physical slot number"},
    {"hotplug", PROP_BOOL, "on", "functions may come and go while the machine runs"},
    {NULL, PROP_STR, NULL, NULL},
};

static void slot_powered_off(void *opaque)
{
    machine_request_ejects(opaque);
}

bool create_root_port(struct machine *m, const struct device_class *cls, struct props *p,
                      GError **err)
{
    struct root_port_config cfg = {.eject = slot_powered_off, .opaque = m};
    struct device_place place;
    uint32_t port = 0, chassis = 0, slot = 0;
    bool hotplug = true;

    if (!m->map.ecam.size_bytes)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "machine %s has no PCI Express: put devices on bus %s", m->type->name,
                         m->pci.root->name);
    if (!device_place_read(m, p, &place, err) || !props_get_u32(p, "port", &port, err) ||
        !props_get_u32(p, "chassis", &chassis, err) || !props_get_u32(p, "slot", &slot, err) ||
        !props_get_bool(p, "hotplug", &hotplug, err))
        return false;
    if (port > 255 || chassis > 255 || slot > 8191)
        return error_set(err, HANOK_ERROR_INVALID,
                         "port and chassis go up to 255, slot up to 8191");
    cfg.id = place.id;
    cfg.port = (uint8_t)port;
    cfg.chassis = (uint16_t)chassis;
    cfg.slot = (uint16_t)slot;
    cfg.multifunction = place.multifunction;
    cfg.no_hotplug = !hotplug;
    return root_port_new(place.bus, place.devfn, &cfg, err) != NULL;
}

/* ---- bridges to conventional buses ---- */

const struct prop_desc props_pci_bridge[] = {
    {"chassis_nr", PROP_U32, NULL, "accepted"},
    {"shpc", PROP_BOOL, "off", "accepted: nothing is plugged while the machine runs"},
    {"msi", PROP_ONOFFAUTO, "auto", "accepted"},
    {NULL, PROP_STR, NULL, NULL},
};

static bool bridge_create(struct machine *m, struct props *p, bool express, GError **err)
{
    struct device_place place;

    return device_place_read(m, p, &place, err) &&
           pci_bridge_new(place.bus, place.devfn, express, place.multifunction, place.id, err);
}

bool create_pcie_pci_bridge(struct machine *m, const struct device_class *cls, struct props *p,
                            GError **err)
{
    return bridge_create(m, p, true, err);
}

bool create_pci_bridge(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    return bridge_create(m, p, false, err);
}

/* ---- test devices ---- */

const struct prop_desc props_pci_testdev[] = {{NULL, PROP_STR, NULL, NULL}};

bool create_pci_testdev(struct machine *m, const struct device_class *cls, struct props *p,
                        GError **err)
{
    struct device_place place;

    return device_place_read(m, p, &place, err) &&
           pci_testdev_new(place.bus, place.devfn, place.id, err);
}

const struct prop_desc props_pc_testdev[] = {{NULL, PROP_STR, NULL, NULL}};

bool create_pc_testdev(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    const char *id = NULL;

    return props_get_str(p, "id", &id, err) &&
           pc_testdev_new(&m->devices, m->pio, m->mmio, m->irqchip, id, err);
}

/* ---- ISA ports ---- */

static bool port_read(struct props *p, uint16_t *iobase, GError **err)
{
    uint32_t v = *iobase;

    if (!props_get_u32(p, "iobase", &v, err))
        return false;
    if (v > UINT16_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "iobase=0x%x is not a port", v);
    *iobase = (uint16_t)v;
    return true;
}

const struct prop_desc props_debug_exit[] = {
    {"iobase", PROP_U32, "0x501", "port"},
    {"iosize", PROP_U32, "2", "bytes: 1, 2 or 4"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_debug_exit(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    uint16_t iobase = 0x501;
    uint32_t iosize = 2;
    const char *id = NULL;

    if (!port_read(p, &iobase, err) || !props_get_u32(p, "iosize", &iosize, err) ||
        !props_get_str(p, "id", &id, err))
        return false;
    if (iosize != 1 && iosize != 2 && iosize != 4)
        return error_set(err, HANOK_ERROR_INVALID, "iosize=%u is not 1, 2 or 4", iosize);
    return isa_debug_exit_new(&m->devices, m->pio, &m->requests, iobase, iosize, id, err);
}

const struct prop_desc props_debugcon[] = {
    {"chardev", PROP_CHARDEV, NULL, "where the bytes go"},
    {"iobase", PROP_U32, "0xe9", "port"},
    {"readback", PROP_U32, "0xe9", "what reading it gives"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_debugcon(struct machine *m, const struct device_class *cls, struct props *p,
                     GError **err)
{
    struct chardev *c = NULL;
    uint16_t iobase = 0xe9;
    uint32_t readback = 0xe9;
    const char *id = NULL;

    if (!device_chardev(p, &c, err) || !port_read(p, &iobase, err) ||
        !props_get_u32(p, "readback", &readback, err) || !props_get_str(p, "id", &id, err))
        return false;
    if (!c)
        return error_set(err, HANOK_ERROR_INVALID, "it needs chardev=");
    return debugcon_new(&m->devices, m->pio, c, iobase, (uint8_t)readback, id, err);
}

const struct prop_desc props_isa_serial[] = {
    {"chardev", PROP_CHARDEV, NULL, "where the bytes go"},
    {"index", PROP_U32, NULL, "0 to 3: COM1 to COM4; default: the first free"},
    {"iobase", PROP_U32, NULL, "port; default: by index"},
    {"irq", PROP_U32, NULL, "ISA interrupt; default: by index"},
    {NULL, PROP_STR, NULL, NULL},
};

bool create_isa_serial(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    static const uint16_t ports[MACHINE_SERIALS_MAX] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    static const uint8_t irqs[MACHINE_SERIALS_MAX] = {4, 3, 4, 3};
    struct uart_config cfg = {.iobase = 0};
    struct chardev *c = NULL;
    uint32_t index = 0, irq;

    while (index < MACHINE_SERIALS_MAX && (m->com_mask & BIT(index)))
        index++;
    if (!props_get_u32(p, "index", &index, err) || !device_chardev(p, &c, err))
        return false;
    if (index >= MACHINE_SERIALS_MAX || (m->com_mask & BIT(index)))
        return error_set(err, HANOK_ERROR_BUSY,
                         "a machine has at most %d serial ports, each index once",
                         MACHINE_SERIALS_MAX);
    cfg.iobase = ports[index];
    irq = irqs[index];
    if (!port_read(p, &cfg.iobase, err) || !props_get_u32(p, "irq", &irq, err) ||
        !props_get_str(p, "id", &cfg.id, err))
        return false;
    if (irq > 15)
        return error_set(err, HANOK_ERROR_INVALID, "irq=%u is not an ISA interrupt", irq);
    cfg.gsi = irq;
    if (!uart_new(&m->devices, m->pio, m->irqchip, m->clock, c, &cfg, err))
        return false;
    m->com_mask |= (uint8_t)BIT(index);
    return true;
}

/* ---- watchdog, panics ---- */

const struct prop_desc props_i6300esb[] = {{NULL, PROP_STR, NULL, NULL}};

bool create_i6300esb(struct machine *m, const struct device_class *cls, struct props *p,
                     GError **err)
{
    struct device_place place;

    return device_place_read(m, p, &place, err) &&
           i6300esb_new(place.bus, place.devfn, place.multifunction, place.id, m->clock,
                        &m->requests, err);
}

const struct prop_desc props_pvpanic[] = {
    {"ioport", PROP_U32, "0x505", "port"},
    {"events", PROP_U32, "3", "1: a panic, 2: a crash kernel takes over"},
    {NULL, PROP_STR, NULL, NULL},
};
const struct prop_desc props_pvpanic_pci[] = {
    {"events", PROP_U32, "3", "1: a panic, 2: a crash kernel takes over"},
    {NULL, PROP_STR, NULL, NULL},
};

static bool panic_events(struct props *p, uint32_t *out, GError **err)
{
    *out = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
    return props_get_u32(p, "events", out, err) &&
           (*out <= 3 || error_set(err, HANOK_ERROR_INVALID, "events=%u: there are 1 and 2", *out));
}

bool create_pvpanic(struct machine *m, const struct device_class *cls, struct props *p,
                    GError **err)
{
    uint32_t port = PVPANIC_PORT, events;
    const char *id = NULL;

    if (!props_get_u32(p, "ioport", &port, err) || !panic_events(p, &events, err) ||
        !props_get_str(p, "id", &id, err))
        return false;
    if (port == 0 || port > UINT16_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "ioport=0x%x is not a port", port);
    if (!pvpanic_isa_new(&m->devices, m->pio, &m->requests, (uint16_t)port, (uint8_t)events, id,
                         err))
        return false;
    m->pvpanic_port = (uint16_t)port;
    return true;
}

bool create_pvpanic_pci(struct machine *m, const struct device_class *cls, struct props *p,
                        GError **err)
{
    struct device_place place;
    uint32_t events;

    return device_place_read(m, p, &place, err) && panic_events(p, &events, err) &&
           pvpanic_pci_new(place.bus, place.devfn, place.multifunction, place.id, &m->requests,
                           (uint8_t)events, err);
}

/* ---- vmcoreinfo ---- */

const struct prop_desc props_vmcoreinfo[] = {
    {NULL, PROP_STR, NULL, NULL},
};

bool create_vmcoreinfo(struct machine *m, const struct device_class *cls, struct props *p,
                       GError **err)
{
    const char *id = NULL;
    size_t len;

    if (!props_get_str(p, "id", &id, err))
        return false;
    if (fw_cfg_file(m->fw_cfg, VMCOREINFO_FILE, &len))
        return error_set(err, HANOK_ERROR_BUSY, "a machine has one vmcoreinfo");
    vmcoreinfo_new(&m->devices, m->fw_cfg, id);
    return true;
}
