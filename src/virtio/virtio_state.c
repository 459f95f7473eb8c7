/* virtio_state.c - saving and loading what the driver has set up (virtio 1.2 §2). */
#include "virtio.h"

#include "base/error.h"
#include "base/state.h"

#include <glib.h>
#include <inttypes.h>

static void queues_save(struct state_writer *w, const void *obj)
{
    const struct virtio_dev *d = obj;

    state_put_u32(w, d->queue_count);
    for (unsigned i = 0; i < d->queue_count; i++) {
        const struct virtq *q = &d->queue[i];
        state_put_u32(w, q->size | (uint32_t)q->vector << 16);
        state_put_u32(w, (uint32_t)q->enabled | (uint32_t)q->signalled_valid << 1 |
                             (uint32_t)q->inuse << 16);
        state_put_u32(w, q->last_avail | (uint32_t)q->used_idx << 16);
        state_put_u32(w, q->signalled_used);
        state_put_u64(w, q->desc_gpa.v);
        state_put_u64(w, q->avail_gpa.v);
        state_put_u64(w, q->used_gpa.v);
    }
}

static bool queue_valid(const struct virtq *q)
{
    return q->size > 0 && q->size <= q->size_max && (q->size & (q->size - 1)) == 0 &&
           q->inuse <= q->size;
}

static bool queues_load(struct state_reader *r, void *obj, GError **err)
{
    struct virtio_dev *d = obj;

    if (state_get_u32(r) != d->queue_count)
        return error_set(err, HANOK_ERROR_CORRUPT, "it has another number of queues");
    for (unsigned i = 0; i < d->queue_count; i++) {
        struct virtq *q = &d->queue[i];
        uint32_t a = state_get_u32(r), b = state_get_u32(r), c = state_get_u32(r);
        uint32_t s = state_get_u32(r);

        virtq_reset(q);
        q->size = (uint16_t)a;
        q->vector = (uint16_t)(a >> 16);
        q->enabled = b & 1;
        q->inuse = (uint16_t)(b >> 16);
        q->last_avail = (uint16_t)c;
        q->used_idx = (uint16_t)(c >> 16);
        q->signalled_used = (uint16_t)s;
        q->desc_gpa = GPA(state_get_u64(r));
        q->avail_gpa = GPA(state_get_u64(r));
        q->used_gpa = GPA(state_get_u64(r));
        if (!queue_valid(q))
            return error_set(err, HANOK_ERROR_CORRUPT, "queue %u has impossible values", i);
        q->signalled_valid = (b >> 1) & 1;
    }
    return true;
}

static void pre_save(void *obj)
{
    virtio_status_read(obj); /* drained: completes a reset that waited for requests */
}

/* virtq_start() forgets what was signalled; a state load must not. */
static bool restart_queues(struct virtio_dev *d, GError **err)
{
    for (unsigned i = 0; i < d->queue_count; i++) {
        struct virtq *q = &d->queue[i];
        bool valid = q->signalled_valid;
        if (!q->enabled)
            continue;
        if (!virtq_start(q))
            return error_set(err, HANOK_ERROR_CORRUPT, "queue %u is not in this machine's RAM", i);
        q->signalled_valid = valid;
    }
    return true;
}

static bool post_load(void *obj, uint32_t version, GError **err)
{
    struct virtio_dev *d = obj;

    uint64_t offered = d->legacy ? virtio_legacy_features(d) : d->host_features;

    if (d->guest_features & ~offered)
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "it was used with features this device does not offer (0x%" PRIx64 ")",
                         d->guest_features & ~offered);
    if ((d->status & VIRTIO_STATUS_DRIVER_OK) && !d->broken && !restart_queues(d, err))
        return false;
    if (virtio_driver_ok(d)) {
        if (d->ops->activate)
            d->ops->activate(d);
        virtio_defer_to_resume(d);
    }
    return true;
}

static const struct state_field fields[] = {
    STATE_U8(struct virtio_dev, status),
    STATE_U8(struct virtio_dev, config_generation),
    STATE_BOOL(struct virtio_dev, broken),
    STATE_U16(struct virtio_dev, config_vector),
    STATE_U64(struct virtio_dev, guest_features),
    STATE_BOOL(struct virtio_dev, legacy),
    STATE_BOOL(struct virtio_dev, early),
    STATE_CUSTOM("queues", queues_save, queues_load),
    STATE_END,
};
const struct state_desc virtio_dev_state = {
    .name = "virtio",
    .version = 1,
    .fields = fields,
    .pre_save = pre_save,
    .post_load = post_load,
};
