/* carrier.c - what devices need of their transport, whichever it is. */
#include "carrier.h"

#include "base/error.h"
#include "base/state.h"

#include <glib.h>

static struct virtio_carrier *carrier_of(struct device *d)
{
    return container_of(d, struct virtio_carrier, device);
}

void virtio_carrier_init(struct virtio_carrier *c, const struct virtio_type *t,
                         const struct virtio_place *place, const struct virtio_ops *vops,
                         unsigned queues)
{
    c->on_mmio = place->slot;
    virtio_dev_init(&c->dev, vops, c->on_mmio ? &virtio_mmio_transport : &virtio_pci_transport,
                    c->on_mmio ? t->mmio.type : t->pci.dev.type, queues);
    if (c->on_mmio)
        virtio_mmio_init(&c->mmio, &t->mmio, &c->dev);
    else
        virtio_pci_init(&c->pci, &t->pci, &c->dev, vops->type, queues);
}

void virtio_carrier_set_class(struct virtio_carrier *c, uint8_t base_class, uint8_t subclass)
{
    if (c->on_mmio)
        return;
    c->pci.pci.config[PCI_CLASS] = subclass;
    c->pci.pci.config[PCI_CLASS + 1] = base_class;
}

bool virtio_carrier_plug(struct virtio_carrier *c, const struct virtio_place *place, GError **err)
{
    return c->on_mmio ? virtio_mmio_plug(&c->mmio, place, err)
                      : virtio_pci_plug(&c->pci, place, err);
}

void virtio_carrier_fini(struct virtio_carrier *c)
{
    if (c->on_mmio)
        virtio_mmio_unplug(&c->mmio);
    else
        virtio_pci_unplug(&c->pci);
    virtio_dev_fini(&c->dev);
    if (c->on_mmio)
        virtio_mmio_fini(&c->mmio);
    else
        virtio_pci_fini(&c->pci);
}

struct device_list *virtio_place_devices(const struct virtio_place *place)
{
    return place->slot ? place->slot->devices : place->bus->host->devices;
}

void virtio_carrier_drain(struct device *d)
{
    virtio_dev_drain(&carrier_of(d)->dev);
}

void virtio_carrier_destroy(struct device *d)
{
    struct virtio_dev *v = &carrier_of(d)->dev;

    v->ops->destroy(v);
}

/* ---- state: that of the transport, then the device's ---- */

static void transport_save(struct state_writer *w, const void *obj)
{
    const struct virtio_carrier *c = obj;

    if (c->on_mmio)
        state_put_struct(w, &virtio_mmio_state, &((struct virtio_carrier *)obj)->mmio);
    else
        state_put_struct(w, &virtio_pci_state, &((struct virtio_carrier *)obj)->pci);
}

static bool transport_load(struct state_reader *r, void *obj, GError **err)
{
    struct virtio_carrier *c = obj;

    return c->on_mmio ? state_get_struct(r, &virtio_mmio_state, &c->mmio, err)
                      : state_get_struct(r, &virtio_pci_state, &c->pci, err);
}

static const struct state_field fields[] = {
    STATE_CUSTOM("transport", transport_save, transport_load),
    STATE_STRUCT(struct virtio_carrier, dev, virtio_dev_state),
    STATE_END,
};
const struct state_desc virtio_carrier_state = {
    .name = "virtio-carrier",
    .version = 2, /* 1 was PCI only */
    .min_version = 2,
    .fields = fields,
};
