/* pci_assign.c - gives every function an address, as firmware does before the kernel runs.
 *
 * Buses are numbered depth first.  For each kind of resource the tree is measured bottom up
 * (largest alignment first, so that nothing is wasted) and placed top down.  Everything goes below
 * 4 GiB while it fits, because 32-bit kernels cannot reach more; prefetchable 64-bit BARs move
 * above when it does not. */
#include "machine_internal.h"

#include "base/log.h"
#include "base/util.h"

#include <inttypes.h>

enum resource { RES_IO, RES_MEM, RES_PREF, RES_COUNT };

#define IO_FIRST        UINT64_C(0xc000) /* below it ISA cards and the chip set's own blocks */
#define IO_LIMIT        UINT64_C(0x10000)
#define HOTPLUG_RESERVE (2 * MiB) /* memory kept behind an empty slot */

struct need { /* one BAR or one bridge window */
    struct pci_dev *dev;
    int bar; /* -1: the window */
    uint64_t size, align;
};

static enum resource resource_of(const struct pci_bar *b)
{
    if (b->kind == PCI_BAR_IO)
        return RES_IO;
    return b->kind == PCI_BAR_MEM64 && b->prefetch ? RES_PREF : RES_MEM;
}

static struct pci_bus *bus_behind(const struct pci_dev *d)
{
    for (struct pci_bus *b = d->bus->host->buses; b; b = b->next)
        if (b->bridge == d)
            return b;
    return NULL;
}

static uint64_t bus_size(struct pci_bus *b, enum resource res, uint64_t *align);

static struct need window_need(struct pci_dev *bridge, enum resource res)
{
    struct pci_bus *behind = bus_behind(bridge);
    uint64_t granule = res == RES_IO ? 4 * KiB : MiB;
    struct need n = {bridge, -1, 0, granule};

    if (!behind)
        return n;
    n.size = bus_size(behind, res, &n.align);
    if (behind->hotplug && res != RES_IO)
        n.size = MAX_OF(n.size, HOTPLUG_RESERVE);
    n.size = ALIGN_UP(n.size, granule);
    return n;
}

static gint need_compare(gconstpointer a, gconstpointer b)
{
    const struct need *x = a, *y = b;
    return x->align < y->align ? 1 : x->align > y->align ? -1 : 0;
}

/* What the functions of one bus need of one resource, largest alignment first. */
static GArray *bus_needs(struct pci_bus *b, enum resource res)
{
    GArray *needs = g_array_new(false, true, sizeof(struct need));

    for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++) {
        struct pci_dev *d = b->slot[i];
        if (!d)
            continue;
        for (int k = 0; k < PCI_BAR_COUNT; k++) {
            const struct pci_bar *bar = &d->bar[k];
            if (bar->kind == PCI_BAR_NONE || resource_of(bar) != res)
                continue;
            /* A page of its own for each: so guests can map it without its neighbours. */
            uint64_t size =
                res == RES_IO ? bar->region->size_bytes : MAX_OF(bar->region->size_bytes, 4 * KiB);
            struct need n = {d, k, size, size};
            g_array_append_val(needs, n);
        }
        if (d->is_bridge) {
            struct need n = window_need(d, res);
            if (n.size)
                g_array_append_val(needs, n);
        }
    }
    g_array_sort(needs, need_compare);
    return needs;
}

/* Bytes when the bus starts at a multiple of *align, which is raised to its largest need. */
static uint64_t bus_size(struct pci_bus *b, enum resource res, uint64_t *align)
{
    g_autoptr(GArray) needs = bus_needs(b, res);
    uint64_t size = 0;

    for (guint i = 0; i < needs->len; i++) {
        const struct need *n = &g_array_index(needs, struct need, i);
        size = ALIGN_UP(size, n->align) + n->size;
        *align = MAX_OF(*align, n->align);
    }
    return size;
}

static void window_write(struct pci_dev *d, enum resource res, uint64_t base, uint64_t last)
{
    if (res == RES_IO) {
        pci_config_write(d, PCI_IO_BASE, 1, (base >> 8) & 0xf0);
        pci_config_write(d, PCI_IO_LIMIT, 1, (last >> 8) & 0xf0);
    } else if (res == RES_MEM) {
        pci_config_write(d, PCI_MEM_BASE, 2, (base >> 16) & 0xfff0);
        pci_config_write(d, PCI_MEM_LIMIT, 2, (last >> 16) & 0xfff0);
    } else {
        pci_config_write(d, PCI_PREF_BASE, 2, (base >> 16) & 0xfff0);
        pci_config_write(d, PCI_PREF_LIMIT, 2, (last >> 16) & 0xfff0);
        pci_config_write(d, PCI_PREF_BASE_HIGH, 4, (uint32_t)(base >> 32));
        pci_config_write(d, PCI_PREF_LIMIT_HIGH, 4, (uint32_t)(last >> 32));
    }
}

/* A window whose base is above its limit forwards nothing. */
static void windows_close(struct pci_bus *b)
{
    for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++) {
        struct pci_dev *d = b->slot[i];
        if (!d || !d->is_bridge)
            continue;
        window_write(d, RES_IO, 0xf000, 0);
        window_write(d, RES_MEM, 0xfff00000, 0);
        window_write(d, RES_PREF, 0xfff00000, 0);
        if (bus_behind(d))
            windows_close(bus_behind(d));
    }
}

static void bar_write(struct pci_dev *d, int bar, uint64_t addr)
{
    pci_config_write(d, PCI_BAR0 + 4u * (unsigned)bar, 4, (uint32_t)addr);
    if (d->bar[bar].kind == PCI_BAR_MEM64)
        pci_config_write(d, PCI_BAR0 + 4u * (unsigned)bar + 4, 4, (uint32_t)(addr >> 32));
}

/* False: it does not fit below end, and nothing was written. */
static bool bus_place(struct pci_bus *b, enum resource res, uint64_t base, uint64_t end)
{
    g_autoptr(GArray) needs = bus_needs(b, res);
    uint64_t at = base;

    for (int pass = 0; pass < 2; pass++) {
        at = base;
        for (guint i = 0; i < needs->len; i++) {
            const struct need *n = &g_array_index(needs, struct need, i);
            at = ALIGN_UP(at, n->align);
            if (n->size > end || at > end - n->size)
                return false;
            if (pass == 1 && n->bar >= 0) {
                bar_write(n->dev, n->bar, at);
            } else if (pass == 1) {
                window_write(n->dev, res, at, at + n->size - 1);
                bus_place(bus_behind(n->dev), res, at, at + n->size);
            }
            at += n->size;
        }
    }
    return true;
}

static unsigned number_buses(struct pci_bus *b, unsigned number)
{
    unsigned last = number;

    for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++) {
        struct pci_dev *d = b->slot[i];
        struct pci_bus *behind = d && d->is_bridge ? bus_behind(d) : NULL;
        if (!behind || last >= 255)
            continue;
        pci_config_write(d, PCI_PRIMARY_BUS, 1, number);
        pci_config_write(d, PCI_SECONDARY_BUS, 1, last + 1);
        pci_config_write(d, PCI_SUBORDINATE_BUS, 1, 255);
        last = number_buses(behind, last + 1);
        pci_config_write(d, PCI_SUBORDINATE_BUS, 1, last);
    }
    return last;
}

static unsigned isa_irq_of(const struct pci_dev *d)
{
    struct pci_host *h = d->bus->host;
    unsigned pin = d->config[PCI_INT_PIN] - 1u, slot = d->devfn >> 3;
    int irq;

    for (struct pci_bus *b = d->bus; b->bridge; b = b->bridge->bus) {
        pin = (pin + slot) % 4;
        slot = b->bridge->devfn >> 3;
    }
    irq = h->route_intx_pic ? h->route_intx_pic(h, (uint8_t)slot, pin) : -1;
    return irq < 0 ? 0xff : (unsigned)irq;
}

static void functions_enable(struct pci_bus *b)
{
    for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++) {
        struct pci_dev *d = b->slot[i];
        if (!d)
            continue;
        pci_config_write(d, PCI_COMMAND, 2,
                         PCI_CMD_IO | PCI_CMD_MEM | (d->is_bridge ? PCI_CMD_MASTER : 0));
        if (d->config[PCI_INT_PIN])
            pci_config_write(d, PCI_INT_LINE, 1, isa_irq_of(d));
        if (d->is_bridge && bus_behind(d))
            functions_enable(bus_behind(d));
    }
}

void pci_assign(struct pci_host *h, const struct acpi_range *pci32, const struct acpi_range *pci64)
{
    uint64_t end32 = pci32->base + pci32->size_bytes;
    uint64_t align = MiB, pref = pci32->base + bus_size(h->root, RES_MEM, &align);

    number_buses(h->root, 0);
    windows_close(h->root);
    if (!bus_place(h->root, RES_IO, IO_FIRST, IO_LIMIT))
        log_warning("the PCI devices' I/O BARs do not fit into the port space: left unassigned");
    if (!bus_place(h->root, RES_MEM, pci32->base, end32))
        log_warning("the PCI devices' 32-bit BARs need more than %" PRIu64 " MiB: left unassigned",
                    (uint64_t)(pci32->size_bytes / MiB));
    if (!bus_place(h->root, RES_PREF, pref, end32) &&
        !bus_place(h->root, RES_PREF, pci64->base, pci64->base + pci64->size_bytes))
        log_warning("the PCI devices' 64-bit BARs do not fit into the 64-bit window: left "
                    "unassigned");
    functions_enable(h->root);
}
