/* virtio_pci.h - the PCI transport (virtio 1.2 §4.1).
 *
 *   BAR 1: MSI-X      BAR 4 (64-bit): 0x0000 common   0x1000 ISR   0x2000 device   0x3000 notify
 *   BAR 0 (ports), transitional devices only: the legacy interface (§4.1.4.10)
 *
 * A kick is a write into the notify page; an ioeventfd takes it to the queue's loop under either
 * accelerator.  Interrupts are MSI-X, or INTx with the ISR register while MSI-X is off.
 *
 * Owner: the PCI bus.  Threads: config and BAR accesses under the board lock; interrupts any. */
#ifndef VIRTIO_PCI_H
#define VIRTIO_PCI_H

#include "bus/pci.h"
#include "virtio.h"
#include "virtio/devices.h"

struct virtio_pci {
    struct pci_dev pci; /* first */
    struct virtio_dev *dev;
    struct io_region bar, legacy_bar;
    /* board lock */
    uint32_t legacy_word; /* of the configuration, written byte by byte */
    uint8_t legacy_next;  /* where its next byte is expected */
    uint32_t host_feature_select, guest_feature_select;
    uint16_t queue_select;
    uint64_t kicks_at; /* where the notify page's eventfds are registered; UINT64_MAX: nowhere */
    uint8_t pci_cfg_cap;
    bool plugged;
    unsigned vectors; /* MSI-X; 0: INTx only */
    /* under isr_lock */
    pthread_mutex_t isr_lock;
    uint8_t isr;
};

/* The PCI side of a device type's ops. */
#define VIRTIO_PCI_OPS(type_name, state_table)                                                     \
    {                                                                                              \
        .dev = {.type = (type_name),                                                               \
                .reset = virtio_pci_reset,                                                         \
                .drain = virtio_carrier_drain,                                                     \
                .destroy = virtio_carrier_destroy,                                                 \
                .state = &(state_table)},                                                          \
        .config_written = virtio_pci_config_written, .config_read = virtio_pci_config_read,        \
        .bar_moved = virtio_pci_bar_moved,                                                         \
    }
void virtio_pci_reset(struct device *d);
void virtio_pci_config_written(struct pci_dev *d, unsigned off, unsigned size);
uint32_t virtio_pci_config_read(struct pci_dev *d, unsigned off, unsigned size);
void virtio_pci_bar_moved(struct pci_dev *d, unsigned bar);

/* For the carrier (carrier.h). */
void virtio_pci_init(struct virtio_pci *p, const struct pci_dev_ops *ops, struct virtio_dev *dev,
                     uint16_t type, unsigned queues);
bool virtio_pci_plug(struct virtio_pci *p, const struct virtio_place *place, GError **err);
void virtio_pci_unplug(struct virtio_pci *p); /* no more accesses and kicks */
void virtio_pci_fini(struct virtio_pci *p);

extern const struct virtio_transport virtio_pci_transport;
extern const struct state_desc virtio_pci_state;

#endif
