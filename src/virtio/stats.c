/* stats.c - reading what the queues count. */
#include "carrier.h"

static struct virtio_dev *dev_of(struct device *d)
{
    /* Every virtio device ends this way, and nothing else does. */
    if (d->ops->destroy != virtio_carrier_destroy)
        return NULL;
    return &container_of(d, struct virtio_carrier, device)->dev;
}

unsigned virtio_queue_count(struct device *d)
{
    const struct virtio_dev *v = dev_of(d);
    return v ? v->queue_count : 0;
}

void virtio_queue_stats(struct device *d, unsigned index, struct virtio_queue_stats *out)
{
    struct virtq *q = &dev_of(d)->queue[index];

    pthread_mutex_lock(&q->lock);
    *out = q->stats;
    pthread_mutex_unlock(&q->lock);
    uint64_t own = __atomic_load_n(&q->self_kicks, __ATOMIC_RELAXED),
             all = __atomic_load_n(&q->kicks, __ATOMIC_RELAXED);
    out->kicks = all > own ? all - own : 0; /* our own are counted before they arrive */
    out->batches = __atomic_load_n(&q->runs, __ATOMIC_RELAXED);
    out->inflight = __atomic_load_n(&q->inflight, __ATOMIC_RELAXED);
    out->size = q->size;
}
