/* carrier.h - a virtio device on the board: what its type is, and the transport that carries it.
 *
 *     struct virtio_carrier = struct virtio_dev (status, features, queues)
 *                           + struct virtio_pci (virtio_pci.h), or struct virtio_mmio
 * (virtio_mmio.h)
 *
 * A device's struct embeds it first, and does not know which of the two it is:
 *     struct virtio_rng { struct virtio_carrier p; ... };
 * Its state table begins with STATE_STRUCT(struct virtio_rng, p, virtio_carrier_state).
 *
 * Owner: the device list; on PCI also the bus.  Threads: main, except where the transports say
 * otherwise. */
#ifndef VIRTIO_CARRIER_H
#define VIRTIO_CARRIER_H

#include "virtio.h"
#include "virtio/devices.h"
#include "virtio_mmio.h"
#include "virtio_pci.h"

struct virtio_carrier {
    union {
        struct device device; /* first, in each of them */
        struct virtio_pci pci;
        struct virtio_mmio mmio;
    };
    struct virtio_dev dev;
    bool on_mmio;
};

/* The device ops of one kind of device, by transport.  No mmio.type: it comes on PCI only. */
struct virtio_type {
    struct pci_dev_ops pci;
    struct device_ops mmio;
};
#define VIRTIO_TYPE(name, state_table)                                                             \
    {                                                                                              \
        .pci = VIRTIO_PCI_OPS(name "-pci", state_table),                                           \
        .mmio = {.type = name "-device",                                                           \
                 .reset = virtio_mmio_reset,                                                       \
                 .drain = virtio_carrier_drain,                                                    \
                 .destroy = virtio_carrier_destroy,                                                \
                 .state = &(state_table)},                                                         \
    }
static inline bool virtio_is(const struct device *d, const struct virtio_type *t)
{
    return d->ops == &t->pci.dev || d->ops == &t->mmio;
}

/* Constructor, first half: the device then adds its queues and features, ... */
void virtio_carrier_init(struct virtio_carrier *c, const struct virtio_type *t,
                         const struct virtio_place *place, const struct virtio_ops *vops,
                         unsigned queues);
/* ... PCI class code, where there is one, ... */
void virtio_carrier_set_class(struct virtio_carrier *c, uint8_t base_class, uint8_t subclass);
/* ... second half: the guest can find it.  On false the caller calls virtio_carrier_destroy(). */
bool virtio_carrier_plug(struct virtio_carrier *c, const struct virtio_place *place, GError **err);
/* To be called by virtio_ops.destroy, before freeing the struct. */
void virtio_carrier_fini(struct virtio_carrier *c);

struct device_list *virtio_place_devices(const struct virtio_place *place);

/* Device ops. */
void virtio_carrier_drain(struct device *d);
void virtio_carrier_destroy(struct device *d);

extern const struct state_desc virtio_carrier_state;

#endif
