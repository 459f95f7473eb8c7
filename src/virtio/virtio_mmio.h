/* virtio_mmio.h - the memory-mapped transport (virtio 1.2 §4.2, version 2).
 *
 *   slot base + 0x000: registers, 32 bits each      + 0x100: the device's configuration
 *
 * A kick is a write of the queue's number to QueueNotify; an ioeventfd for each number takes it to
 * the queue's loop.  There is one interrupt, by level: InterruptStatus says why, InterruptACK takes
 * it back.  No driver of before virtio 1.0 finds the device (version 1 is not spoken).
 *
 * Owner: the device list.  Threads: registers under the board lock; interrupts any. */
#ifndef VIRTIO_MMIO_H
#define VIRTIO_MMIO_H

#include "bus/device.h"
#include "bus/io.h"
#include "bus/irq.h"
#include "virtio.h"
#include "virtio/devices.h"

struct virtio_mmio {
    struct device device; /* first */
    struct virtio_dev *dev;
    struct virtio_mmio_slot *slot; /* NULL: not plugged */
    struct io_region regs;
    struct irq_line irq;
    /* board lock */
    uint32_t host_feature_select, guest_feature_select, queue_select;
    /* under isr_lock */
    pthread_mutex_t isr_lock;
    uint32_t isr;
};

/* For the carrier (carrier.h). */
void virtio_mmio_init(struct virtio_mmio *m, const struct device_ops *ops, struct virtio_dev *dev);
bool virtio_mmio_plug(struct virtio_mmio *m, const struct virtio_place *place, GError **err);
void virtio_mmio_unplug(struct virtio_mmio *m);
void virtio_mmio_fini(struct virtio_mmio *m);
void virtio_mmio_reset(struct device *d);

extern const struct virtio_transport virtio_mmio_transport;
extern const struct state_desc virtio_mmio_state;

#endif
