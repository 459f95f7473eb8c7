/* ring_internal.h - between ring.c and ring_chain.c. */
#ifndef VIRTIO_RING_INTERNAL_H
#define VIRTIO_RING_INTERNAL_H

#include "virtio.h"

#define VRING_DESC_BYTES 16u

/* Follows the chain from head and fills in e; caller holds q->lock.  NULL, or what is wrong. */
const char *virtq_map_chain(struct virtq *q, uint16_t head, struct virtq_elem *e);

#endif
