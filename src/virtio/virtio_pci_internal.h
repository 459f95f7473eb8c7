/* virtio_pci_internal.h - between virtio_pci.c (the function), virtio_pci_bar.c (its registers)
 * and virtio_pci_legacy.c (those of the legacy interface). */
#ifndef VIRTIO_PCI_INTERNAL_H
#define VIRTIO_PCI_INTERNAL_H

#include "carrier.h"

#define VIRTIO_PCI_PART_BYTES    0x1000u
#define VIRTIO_PCI_COMMON_OFFSET 0x0000u
#define VIRTIO_PCI_ISR_OFFSET    0x1000u
#define VIRTIO_PCI_DEVICE_OFFSET 0x2000u
#define VIRTIO_PCI_NOTIFY_OFFSET 0x3000u
#define VIRTIO_PCI_BAR_BYTES     0x4000u

extern const struct io_ops virtio_pci_bar_ops, virtio_pci_legacy_ops;
bool virtio_pci_legacy_has(uint16_t type); /* whether such a device can be transitional */
/* Makes the function a transitional one: ids and BAR 0.  Before the plug. */
void virtio_pci_legacy_init(struct virtio_pci *p, pthread_mutex_t *lock);

static inline struct virtq *virtio_pci_selected(struct virtio_pci *p)
{
    return p->queue_select < p->dev->queue_count ? &p->dev->queue[p->queue_select] : NULL;
}
static inline uint16_t virtio_pci_valid_vector(const struct virtio_pci *p, uint32_t val)
{
    /* A vector that cannot be given reads back as none (§4.1.5.1.2). */
    return val < p->vectors ? (uint16_t)val : VIRTIO_NO_VECTOR;
}
uint8_t virtio_pci_isr_take(struct virtio_pci *p); /* reads and clears, lowers INTx */

#endif
