/* pvpanic.c - the byte, at a port and in a BAR. */
#include "devices/pvpanic.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

#include <glib.h>

enum { PCI_BYTES = 16 };

struct panic_byte {
    struct io_region region; /* first */
    const struct board_requests *req;
    uint8_t events;
};

static uint64_t byte_read(struct io_region *r, uint64_t off, unsigned size)
{
    return off == 0 ? container_of(r, struct panic_byte, region)->events : 0;
}

static void byte_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct panic_byte *b = container_of(r, struct panic_byte, region);

    if (off != 0)
        return;
    if (val & b->events & PVPANIC_PANICKED)
        b->req->panicked(b->req->opaque, false);
    else if (val & b->events & PVPANIC_CRASH_LOADED)
        b->req->panicked(b->req->opaque, true);
}

static const struct io_ops byte_ops = {byte_read, byte_write, 1, 1};

static void byte_init(struct panic_byte *b, const struct board_requests *req, uint8_t events,
                      uint64_t size_bytes, pthread_mutex_t *lock)
{
    *b = (struct panic_byte){
        .region = {.ops = &byte_ops, .name = "pvpanic", .size_bytes = size_bytes, .lock = lock},
        .req = req,
        .events = events};
}

/* ---- the port ---- */

struct panic_port {
    struct device dev; /* first */
    struct panic_byte byte;
};

static void port_destroy(struct device *d)
{
    device_remove(d->list, d);
    g_free(container_of(d, struct panic_port, dev));
}

static const struct device_ops port_ops = {.type = "pvpanic", .destroy = port_destroy};

bool pvpanic_isa_new(struct device_list *devices, struct io_space *pio,
                     const struct board_requests *req, uint16_t port, uint8_t events,
                     const char *id, GError **err)
{
    g_autofree char *path = g_strdup_printf("pvpanic@%x", port);
    struct panic_port *p;

    for (struct device *d = devices->first; d; d = d->next)
        if (d->ops == &port_ops)
            return error_set(err, HANOK_ERROR_BUSY, "a machine has one pvpanic port");
    p = g_new0(struct panic_port, 1);
    byte_init(&p->byte, req, events, 1, &devices->lock);
    device_add(devices, &p->dev, &port_ops, id, path);
    io_space_add(pio, &p->byte.region, port);
    return true;
}

/* ---- the PCI function ---- */

struct panic_pci {
    struct pci_dev pci; /* first */
    struct panic_byte byte;
};

static void pci_reset(struct device *d)
{
    pci_dev_reset(container_of(d, struct pci_dev, dev));
}

static void pci_destroy(struct device *d)
{
    struct panic_pci *p = container_of(d, struct panic_pci, pci.dev);

    pci_dev_unplug(&p->pci);
    g_free(p);
}

static const struct state_field pci_fields[] = {
    STATE_STRUCT(struct panic_pci, pci, pci_dev_state),
    STATE_END,
};
static const struct state_desc pci_state = {
    .name = "pvpanic-pci", .version = 1, .fields = pci_fields};
static const struct pci_dev_ops pci_ops = {
    .dev = {.type = "pvpanic-pci", .reset = pci_reset, .destroy = pci_destroy, .state = &pci_state},
};

struct pci_dev *pvpanic_pci_new(struct pci_bus *b, uint8_t devfn, bool multifunction,
                                const char *id, const struct board_requests *req, uint8_t events,
                                GError **err)
{
    static const struct pci_id ids = {.vendor = 0x1b36,
                                      .device = 0x0011,
                                      .subsys_vendor = 0x1af4,
                                      .subsys = 0x1100,
                                      .revision = 1,
                                      .subclass = 0x80,
                                      .base_class = 0x08};
    struct panic_pci *p = g_new0(struct panic_pci, 1);

    pci_dev_init(&p->pci, &pci_ops, &ids);
    p->pci.multifunction = multifunction;
    byte_init(&p->byte, req, events, PCI_BYTES, &b->host->devices->lock);
    pci_bar_set(&p->pci, 0, PCI_BAR_MEM32, false, &p->byte.region);
    if (pci_dev_plug(&p->pci, b, devfn, id, err))
        return &p->pci;
    g_free(p);
    return NULL;
}
