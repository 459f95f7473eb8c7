/* pci_bridge.c - a bridge that does nothing but forward. */
#include "devices/pci_bridge.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

#include <glib.h>

struct bridge {
    struct pci_dev pci; /* first */
    struct pci_bus *bus;
};

static void bridge_reset(struct device *d)
{
    pci_dev_reset(container_of(d, struct pci_dev, dev));
}

static void bridge_destroy(struct device *d)
{
    struct bridge *b = container_of(d, struct bridge, pci.dev);

    pci_bus_free(b->bus);
    pci_dev_unplug(&b->pci);
    g_free(b);
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct bridge, pci, pci_dev_state),
    STATE_END,
};
static const struct state_desc bridge_state = {
    .name = "pci-bridge", .version = 1, .fields = fields};

#define BRIDGE_OPS(name)                                                                           \
    {                                                                                              \
        .dev = {.type = (name),                                                                    \
                .reset = bridge_reset,                                                             \
                .destroy = bridge_destroy,                                                         \
                .state = &bridge_state},                                                           \
    }
static const struct pci_dev_ops plain_ops = BRIDGE_OPS("pci-bridge"),
                                express_ops = BRIDGE_OPS("pcie-pci-bridge");

struct pci_dev *pci_bridge_new(struct pci_bus *on, uint8_t devfn, bool express, bool multifunction,
                               const char *id, GError **err)
{
    struct pci_id ids = {.vendor = 0x1b36,
                         .device = express ? 0x000e : 0x0001,
                         .subclass = 0x04,
                         .base_class = 0x06};
    struct bridge *b;
    g_autofree char *name =
        id ? g_strdup(id) : g_strdup_printf("%s/%02x.%x", on->name, devfn >> 3, devfn & 7u);

    if (pci_bus_find(on->host, name)) {
        error_set(err, HANOK_ERROR_INVALID, "there is already a PCI bus named '%s'", name);
        return NULL;
    }
    b = g_new0(struct bridge, 1);
    pci_dev_init(&b->pci, express ? &express_ops : &plain_ops, &ids);
    b->pci.multifunction = multifunction;
    pci_bridge_init(&b->pci);
    if (express)
        pcie_cap_add(&b->pci, PCIE_TO_PCI_BRIDGE, 0);
    if (!pci_dev_plug(&b->pci, on, devfn, id, err)) {
        g_free(b);
        return NULL;
    }
    b->bus = pci_bus_new(on->host, &b->pci, name);
    return &b->pci;
}
