/* virtio_pci_internal.h - between virtio_pci.c (the function) and virtio_pci_bar.c (its registers).
 */
#ifndef VIRTIO_PCI_INTERNAL_H
#define VIRTIO_PCI_INTERNAL_H

#include "virtio_pci.h"

#define VIRTIO_PCI_PART_BYTES    0x1000u
#define VIRTIO_PCI_COMMON_OFFSET 0x0000u
#define VIRTIO_PCI_ISR_OFFSET    0x1000u
#define VIRTIO_PCI_DEVICE_OFFSET 0x2000u
#define VIRTIO_PCI_NOTIFY_OFFSET 0x3000u
#define VIRTIO_PCI_BAR_BYTES     0x4000u

extern const struct io_ops virtio_pci_bar_ops;
uint8_t virtio_pci_isr_take(struct virtio_pci *p); /* reads and clears, lowers INTx */

#endif
