/* pci_bridge.c - the type 1 header: windows, bus numbers, secondary bus reset. */
#include "pci_internal.h"

#include "base/util.h"

#include <assert.h>

enum { BRIDGE_CTL_WMASK = 0x0bff, BRIDGE_CTL_RESET = 0x40 };

void pci_bridge_init(struct pci_dev *d)
{
    uint8_t *w = d->wmask;

    d->is_bridge = true;
    d->config[PCI_HEADER_TYPE] = 1;
    /* A bridge has no subsystem id in its header; those bytes are window registers. */
    memset(d->config + PCI_BAR0, 0, PCI_CAP_POINTER - PCI_BAR0);
    w[PCI_PRIMARY_BUS] = w[PCI_SECONDARY_BUS] = w[PCI_SUBORDINATE_BUS] = 0xff;
    w[0x1b] = 0xff; /* secondary latency timer: kept, means nothing */
    w[PCI_IO_BASE] = w[PCI_IO_LIMIT] = 0xf0;
    le16_put(d->w1c + 0x1e, 0xf900); /* secondary status */
    le16_put(w + PCI_MEM_BASE, 0xfff0);
    le16_put(w + PCI_MEM_LIMIT, 0xfff0);
    le16_put(w + PCI_PREF_BASE, 0xfff0);
    le16_put(w + PCI_PREF_LIMIT, 0xfff0);
    le16_put(d->config + PCI_PREF_BASE, 1); /* 64-bit addressing */
    le16_put(d->config + PCI_PREF_LIMIT, 1);
    le32_put(w + PCI_PREF_BASE_HIGH, UINT32_MAX);
    le32_put(w + PCI_PREF_LIMIT_HIGH, UINT32_MAX);
    le16_put(w + PCI_BRIDGE_CONTROL, BRIDGE_CTL_WMASK);
}

struct pci_bus *pci_bridge_bus(const struct pci_dev *d)
{
    if (!d->bus)
        return NULL;
    for (struct pci_bus *b = d->bus->host->buses; b; b = b->next)
        if (b->bridge == d)
            return b;
    return NULL;
}

static bool inside(uint64_t base, uint64_t size, uint64_t first, uint64_t last)
{
    return first <= last && base >= first && size <= last - first + 1 &&
           base - first <= last - first + 1 - size;
}

/* Windows are [base, limit] with the low bits of limit all ones; base > limit closes them (bridge
 * spec 1.2 §3.2.5). */
bool pci_bridge_forwards(const struct pci_dev *d, bool io, uint64_t base, uint64_t size_bytes)
{
    const uint8_t *c = d->config;
    uint64_t first, last;

    if (!(le16_get(c + PCI_COMMAND) & (io ? PCI_CMD_IO : PCI_CMD_MEM)))
        return false;
    if (io)
        return inside(base, size_bytes, (c[PCI_IO_BASE] & 0xf0u) << 8,
                      (c[PCI_IO_LIMIT] & 0xf0u) << 8 | 0xfff);
    first = (uint64_t)(le16_get(c + PCI_MEM_BASE) & 0xfff0) << 16;
    last = (uint64_t)(le16_get(c + PCI_MEM_LIMIT) & 0xfff0) << 16 | 0xfffff;
    if (inside(base, size_bytes, first, last))
        return true;
    first = (uint64_t)(le16_get(c + PCI_PREF_BASE) & 0xfff0) << 16 |
            (uint64_t)le32_get(c + PCI_PREF_BASE_HIGH) << 32;
    last = (uint64_t)(le16_get(c + PCI_PREF_LIMIT) & 0xfff0) << 16 | 0xfffff |
           (uint64_t)le32_get(c + PCI_PREF_LIMIT_HIGH) << 32;
    return inside(base, size_bytes, first, last);
}

/* Hot reset of everything behind the bridge (bridge spec 1.2 §11.1). */
static void secondary_reset(struct pci_bus *bus)
{
    for (unsigned devfn = 0; devfn < ARRAY_SIZE(bus->slot); devfn++) {
        struct pci_dev *d = bus->slot[devfn];
        if (!d)
            continue;
        if (d->ops->dev.reset)
            d->ops->dev.reset(&d->dev);
        if (d->is_bridge && pci_bridge_bus(d))
            secondary_reset(pci_bridge_bus(d));
    }
}

void pci_bridge_changed(struct pci_dev *d)
{
    struct pci_bus *bus = pci_bridge_bus(d);

    if (!bus)
        return;
    bus->number = d->config[PCI_SECONDARY_BUS];
    pci_bus_bars_update(bus);
}

void pci_bridge_written(struct pci_dev *d, unsigned off, unsigned size, uint16_t control_before)
{
    struct pci_bus *bus = pci_bridge_bus(d);
    uint16_t control = le16_get(d->config + PCI_BRIDGE_CONTROL);

    if (!bus)
        return;
    if ((control & ~control_before) & BRIDGE_CTL_RESET)
        secondary_reset(bus);
    if (pci_overlaps(off, size, PCI_COMMAND, 2) ||
        pci_overlaps(off, size, PCI_PRIMARY_BUS, PCI_CAP_POINTER - PCI_PRIMARY_BUS))
        pci_bridge_changed(d);
}
