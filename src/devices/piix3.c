/* piix3.c - the PIIX3's ISA bridge, 8086:7000: where the PCI interrupts go. */
#include "base/error.h"
#include "base/state.h"
#include "base/util.h"
#include "devices/piix.h"

#include <glib.h>

enum {
    PIRQS = 4,
    PIRQ_OFF = 0x80,
    ISA_VALID = 0xdef8, /* 3-7, 9-12, 14, 15 (§2.2.7) */
};

struct piix3 {
    struct pci_dev pci; /* first */
    struct pci_host *host;
};

/* The board turns the pins by one from slot to slot, slot 1's INTA being PIRQA. */
unsigned piix3_pirq(unsigned slot, unsigned pin)
{
    return (slot + pin + PIRQS - 1) % PIRQS;
}

static int route_intx(struct pci_host *h, uint8_t slot, unsigned pin)
{
    const struct piix3 *b = h->route_opaque;
    uint8_t rout = b->pci.config[PIIX3_PIRQA_ROUT + piix3_pirq(slot, pin)];

    return !(rout & PIRQ_OFF) && (ISA_VALID >> (rout & 15) & 1) ? rout & 15 : -1;
}

static void piix3_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    if (off < PIIX3_PIRQA_ROUT + PIRQS && off + size > PIIX3_PIRQA_ROUT)
        pci_host_reroute_intx(container_of(d, struct piix3, pci)->host);
}

static void piix3_reset(struct device *dev)
{
    struct piix3 *b = container_of(dev, struct piix3, pci.dev);

    pci_dev_reset(&b->pci);
    pci_host_reroute_intx(b->host);
}

static void piix3_destroy(struct device *dev)
{
    struct piix3 *b = container_of(dev, struct piix3, pci.dev);

    pci_dev_unplug(&b->pci);
    g_free(b);
}

static bool piix3_post_load(void *obj, uint32_t version, GError **err)
{
    pci_host_reroute_intx(((struct piix3 *)obj)->host);
    return true;
}

static const struct state_field piix3_fields[] = {
    STATE_STRUCT(struct piix3, pci, pci_dev_state),
    STATE_END,
};
static const struct state_desc piix3_state = {
    .name = "piix3", .version = 1, .fields = piix3_fields, .post_load = piix3_post_load};
static const struct pci_dev_ops piix3_ops = {
    .dev = {.type = "PIIX3", .reset = piix3_reset, .destroy = piix3_destroy, .state = &piix3_state},
    .config_written = piix3_config_written,
};

/* Reset values and writable bits of §2.2; but for the routes they are stored only. */
static void registers_init(struct pci_dev *d)
{
    static const struct {
        uint8_t at, value, writable;
    } reg[] = {
        {0x4c, 0x4d, 0x7f}, {0x4e, 0x03, 0xff}, {0x4f, 0x00, 0x01}, {0x69, 0x02, 0xfe},
        {0x6a, 0x00, 0x04}, {0x70, 0x80, 0xef}, {0x71, 0x00, 0xef}, {0x76, 0x0c, 0x8f},
        {0x77, 0x0c, 0x8f}, {0x78, 0x02, 0xff}, {0x79, 0x00, 0xff}, {0x80, 0x00, 0x7f},
        {0x82, 0x00, 0x0f}, {0xa0, 0x08, 0x1f}, {0xa2, 0x00, 0xff}, {0xa3, 0x00, 0x01},
        {0xa8, 0x0f, 0xff}, {0xaa, 0x00, 0xff},
    };

    for (size_t i = 0; i < ARRAY_SIZE(reg); i++) {
        d->config[reg[i].at] = reg[i].value;
        d->wmask[reg[i].at] = reg[i].writable;
    }
    memset(d->config + PIIX3_PIRQA_ROUT, PIRQ_OFF, PIRQS);
    memset(d->wmask + PIIX3_PIRQA_ROUT, 0x8f, PIRQS);
}

struct pci_dev *piix3_new(struct pci_host *h, GError **err)
{
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x7000,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .subclass = 0x01,
                                     .base_class = 0x06};
    struct piix3 *b = g_new0(struct piix3, 1);

    b->host = h;
    pci_dev_init(&b->pci, &piix3_ops, &id);
    b->pci.multifunction = true;
    registers_init(&b->pci);
    h->route_intx_pic = route_intx;
    h->route_opaque = b;
    if (pci_dev_plug(&b->pci, h->root, PCI_DEVFN(1, 0), NULL, err))
        return &b->pci;
    h->route_intx_pic = NULL;
    g_free(b);
    return NULL;
}
