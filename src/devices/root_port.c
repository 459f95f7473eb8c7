/* root_port.c - pcie-root-port, 1b36:000c: bridge header, slot registers, hot-plug events.
 *
 * A slot's events (attention button, presence change, link change) are level-triggered: INTx is
 * high while hot-plug interrupts are on and an enabled event bit is set.  Commands complete at
 * once, which the "no command completed support" bit says. */
#include "devices/root_port.h"
#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

#include <glib.h>

/* Offsets in the PCI Express capability and bits (PCIe 4.0 §7.5.3). */
enum {
    LINK_STATUS = 0x12,
    LINK_ACTIVE = 1 << 13,
    SLOT_CAPS = 0x14,
    SLOT_CTL = 0x18,
    SLOT_STATUS = 0x1a,
    ROOT_CTL = 0x1c,
    ROOT_STATUS = 0x20,
    CAPS_SLOT_IMPLEMENTED = 1 << 8,
    LINK_CAPS_ACTIVE_REPORTING = 1 << 20,
    SC_ATTENTION_BUTTON = 1 << 0,
    SC_POWER_CONTROLLER = 1 << 1,
    SC_ATTENTION_LED = 1 << 3,
    SC_POWER_LED = 1 << 4,
    SC_HOTPLUG = 1 << 6,
    SC_NO_COMMAND_COMPLETED = 1 << 18,
    CTL_BUTTON = 1 << 0,
    CTL_PRESENCE = 1 << 3,
    CTL_INTERRUPT = 1 << 5,
    CTL_LED_ATTENTION_OFF = 3 << 6,
    CTL_LED_POWER_ON = 1 << 8,
    CTL_LED_POWER_OFF = 3 << 8,
    CTL_POWER_OFF = 1 << 10,
    CTL_LINK = 1 << 12,
    CTL_WMASK = 0x17ff,
    ST_BUTTON = 1 << 0,
    ST_PRESENCE_CHANGED = 1 << 3,
    ST_PRESENT = 1 << 6,
    ST_LINK_CHANGED = 1 << 8,
    ST_W1C = 0x11f,
    ROOT_STATUS_PME = 1 << 16,
};

struct root_port {
    struct pci_dev pci; /* first */
    struct pci_bus *bus;
    bool hotplug;
    uint16_t slot_control_before; /* as of the last write, to see edges */
    bool ejecting;
    void (*eject)(void *opaque);
    void *opaque;
};

static uint8_t *cap(struct root_port *p, unsigned off)
{
    return p->pci.config + p->pci.pcie_cap + off;
}

static bool slot_occupied(const struct root_port *p)
{
    for (unsigned i = 0; i < 8; i++)
        if (p->bus->slot[i])
            return true;
    return false;
}

static void irq_update(struct root_port *p)
{
    uint16_t control = le16_get(cap(p, SLOT_CTL)), status = le16_get(cap(p, SLOT_STATUS));
    bool event = ((control & CTL_BUTTON) && (status & ST_BUTTON)) ||
                 ((control & CTL_PRESENCE) && (status & ST_PRESENCE_CHANGED)) ||
                 ((control & CTL_LINK) && (status & ST_LINK_CHANGED));

    pci_intx_set(&p->pci, (control & CTL_INTERRUPT) && event);
}

/* Presence and link bits follow what sits in the slot. */
static void presence_update(struct root_port *p, bool present)
{
    uint16_t status = le16_get(cap(p, SLOT_STATUS)), link = le16_get(cap(p, LINK_STATUS));

    le16_put(cap(p, SLOT_STATUS), (uint16_t)((status & ~ST_PRESENT) | (present ? ST_PRESENT : 0)));
    le16_put(cap(p, LINK_STATUS), (uint16_t)((link & ~LINK_ACTIVE) | (present ? LINK_ACTIVE : 0)));
}

static void slot_event(struct root_port *p, uint16_t bits)
{
    le16_put(cap(p, SLOT_STATUS), le16_get(cap(p, SLOT_STATUS)) | bits);
    irq_update(p);
}

static void bus_changed(struct pci_bus *b, struct pci_dev *d, bool in)
{
    struct root_port *p = container_of(b->bridge, struct root_port, pci);

    presence_update(p, in);
    p->ejecting = false;
    if (p->hotplug && b->host->devices->vm_running)
        slot_event(p, ST_PRESENCE_CHANGED | ST_LINK_CHANGED);
}

static bool slot_released(uint16_t control)
{
    return (control & (CTL_POWER_OFF | CTL_LED_POWER_OFF)) == (CTL_POWER_OFF | CTL_LED_POWER_OFF);
}

static void port_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct root_port *p = container_of(d, struct root_port, pci);
    uint16_t before = p->slot_control_before, now = le16_get(cap(p, SLOT_CTL));

    p->slot_control_before = now;
    irq_update(p);
    /* Power off and its light out, in whichever order: the guest has let go of the function. */
    if (slot_released(now) && !slot_released(before) && slot_occupied(p)) {
        p->ejecting = true;
        if (p->eject)
            p->eject(p->opaque);
    }
}

bool root_port_ejecting(struct pci_dev *port)
{
    return container_of(port, struct root_port, pci)->ejecting;
}

bool root_port_request_eject(struct pci_dev *port, GError **err)
{
    struct root_port *p = container_of(port, struct root_port, pci);

    if (!p->hotplug)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "PCI Express port '%s' was made with hotplug=off", p->bus->name);
    if (!(le16_get(cap(p, SLOT_CTL)) & CTL_BUTTON))
        return error_set(err, HANOK_ERROR_BUSY,
                         "the guest does not listen to the slot of PCI Express port '%s' (yet)",
                         p->bus->name);
    slot_event(p, ST_BUTTON);
    return true;
}

static void port_reset(struct device *dev)
{
    struct root_port *p = container_of(dev, struct root_port, pci.dev);
    bool present = slot_occupied(p);

    pci_dev_reset(&p->pci);
    if (p->hotplug)
        le16_put(cap(p, SLOT_CTL), present
                                       ? CTL_LED_ATTENTION_OFF | CTL_LED_POWER_ON
                                       : CTL_LED_ATTENTION_OFF | CTL_LED_POWER_OFF | CTL_POWER_OFF);
    p->slot_control_before = le16_get(cap(p, SLOT_CTL));
    p->ejecting = false;
    le16_put(cap(p, SLOT_STATUS), 0);
    presence_update(p, present);
    irq_update(p);
}

static void port_destroy(struct device *dev)
{
    struct root_port *p = container_of(dev, struct root_port, pci.dev);

    pci_bus_free(p->bus);
    pci_dev_unplug(&p->pci);
    g_free(p);
}

static bool port_post_load(void *obj, uint32_t version, GError **err)
{
    struct root_port *p = obj;

    p->slot_control_before = le16_get(cap(p, SLOT_CTL));
    presence_update(p, slot_occupied(p));
    irq_update(p);
    return true;
}

static const struct state_field port_fields[] = {
    STATE_STRUCT(struct root_port, pci, pci_dev_state),
    STATE_END,
};
static const struct state_desc port_state = {
    .name = "pcie-root-port", .version = 1, .fields = port_fields, .post_load = port_post_load};
static const struct pci_dev_ops port_ops = {
    .dev = {.type = "pcie-root-port",
            .reset = port_reset,
            .destroy = port_destroy,
            .state = &port_state},
    .config_written = port_config_written,
};

static void slot_registers_init(struct root_port *p, const struct root_port_config *cfg)
{
    uint8_t *w = p->pci.wmask + p->pci.pcie_cap;
    uint32_t caps = SC_NO_COMMAND_COMPLETED | (uint32_t)(cfg->slot & 0x1fff) << 19;

    le16_put(cap(p, 0x02), le16_get(cap(p, 0x02)) | CAPS_SLOT_IMPLEMENTED);
    le32_put(cap(p, 0x0c), le32_get(cap(p, 0x0c)) | LINK_CAPS_ACTIVE_REPORTING);
    if (p->hotplug) {
        caps |= SC_ATTENTION_BUTTON | SC_POWER_CONTROLLER | SC_ATTENTION_LED | SC_POWER_LED |
                SC_HOTPLUG;
        le16_put(w + SLOT_CTL, CTL_WMASK);
        le16_put(p->pci.w1c + p->pci.pcie_cap + SLOT_STATUS, ST_W1C);
    }
    le32_put(cap(p, SLOT_CAPS), caps);
    le16_put(w + ROOT_CTL, 0x1f);
    le32_put(p->pci.w1c + p->pci.pcie_cap + ROOT_STATUS, ROOT_STATUS_PME);
}

struct pci_dev *root_port_new(struct pci_bus *b, uint8_t devfn, const struct root_port_config *cfg,
                              GError **err)
{
    static const struct pci_id id = {
        .vendor = 0x1b36, .device = 0x000c, .subclass = 0x04, .base_class = 0x06};
    struct root_port *p = g_new0(struct root_port, 1);
    g_autofree char *name = cfg->id
                                ? g_strdup(cfg->id)
                                : g_strdup_printf("%s/%02x.%x", b->name, devfn >> 3, devfn & 7u);

    if (pci_bus_find(b->host, name)) {
        g_free(p);
        error_set(err, HANOK_ERROR_INVALID, "there is already a PCI bus named '%s'", name);
        return NULL;
    }
    p->hotplug = !cfg->no_hotplug;
    p->eject = cfg->eject;
    p->opaque = cfg->opaque;
    pci_dev_init(&p->pci, &port_ops, &id);
    p->pci.multifunction = cfg->multifunction;
    pci_bridge_init(&p->pci);
    p->pci.config[PCI_INT_PIN] = 1;
    pcie_cap_add(&p->pci, PCIE_ROOT_PORT, cfg->port);
    slot_registers_init(p, cfg);
    if (!pci_dev_plug(&p->pci, b, devfn, cfg->id, err)) {
        g_free(p);
        return NULL;
    }
    p->bus = pci_bus_new(b->host, &p->pci, name);
    p->bus->hotplug = true;
    p->bus->changed = bus_changed;
    return &p->pci;
}
