/* stats.h - what each virtqueue counts.
 *
 * Plain stores under the queue's lock or in its loop's thread, which are there anyway; readers may
 * see a number one request old.  Threads: read from any.  Latency: from the moment a request is
 * taken off the ring until its result is put there. */
#ifndef VIRTIO_STATS_H
#define VIRTIO_STATS_H

#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_LATENCY_BUCKETS                                                                     \
    36u /* bucket n: [2^(n-1), 2^n) ns; 0: below 1 ns; last: all above                             \
         */

struct virtio_queue_stats {
    uint64_t kicks;      /* notifications of the driver; each is an exit of the guest */
    uint64_t batches;    /* times the queue was looked at */
    uint64_t requests;   /* taken off the ring */
    uint64_t out_bytes;  /* that the device may read: requests, what is written or sent */
    uint64_t in_bytes;   /* written into the guest's buffers: what is read or received */
    uint64_t interrupts; /* raised */
    uint64_t interrupts_suppressed; /* not raised, because the driver did not want one */
    uint64_t latency_ns;            /* sum */
    uint64_t latency[VIRTIO_LATENCY_BUCKETS];
    uint32_t inflight; /* now */
    uint16_t size;
};

struct device;
/* Number of queues; 0 when d is no virtio device. */
unsigned virtio_queue_count(struct device *d);
void virtio_queue_stats(struct device *d, unsigned index, struct virtio_queue_stats *out);

#endif
