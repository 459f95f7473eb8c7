/* balloon_stats.c - the guest's memory statistics (virtio 1.2 §5.5.6.3). */
#include "balloon.h"

#include "base/evloop.h"

#include <time.h>

#define STATS_MAX     64u /* entries looked at in one buffer */
#define NS_PER_SECOND 1000000000ull

struct stat_entry {
    uint16_t tag;
    uint64_t value;
} __attribute__((packed));

struct virtq *vballoon_stats_queue(struct virtio_balloon *b)
{
    return virtio_has(&b->p.dev, VBALLOON_F_STATS) ? &b->p.dev.queue[2] : NULL;
}

void vballoon_stats_forget(struct virtio_balloon *b)
{
    b->stats_held = false;
    memset(b->stats.value, 0xff, sizeof(b->stats.value));
    b->stats.last_update_s = 0;
}

static void return_buffer(struct virtio_balloon *b, struct virtq *q)
{
    if (!b->stats_held)
        return;
    b->stats_held = false;
    virtq_push_head(q, b->stats_gen, b->stats_head);
    virtq_notify(q);
}

bool vballoon_stats(struct virtio_balloon *b, struct virtq *q)
{
    struct stat_entry s;
    struct virtq_elem *e = &b->elem;

    if (virtq_pop(q, e) <= 0)
        return false;
    for (unsigned i = 0; i < STATS_MAX; i++) {
        if (virtq_copy_out(e, i * sizeof(s), &s, sizeof(s)) < sizeof(s))
            break;
        if (s.tag < VIRTIO_BALLOON_STAT_COUNT)
            b->stats.value[s.tag] = s.value;
    }
    b->stats.last_update_s = (uint64_t)time(NULL);
    return_buffer(b, q); /* a driver that gives two has the first one back at once */
    b->stats_held = true;
    b->stats_head = e->head;
    b->stats_gen = e->gen;
    virtq_detach(e);
    return true;
}

void vballoon_poll_arm(struct virtio_balloon *b)
{
    struct vm_clock *c = b->p.dev.clock;

    if (b->poll_interval_s)
        timer_set(b->poll_timer,
                  (c ? vm_clock_ns(c) : host_clock_ns()) + b->poll_interval_s * NS_PER_SECOND);
    else
        timer_cancel(b->poll_timer);
}

void vballoon_poll_timer(void *opaque)
{
    struct virtio_balloon *b = opaque;
    struct virtq *q = vballoon_stats_queue(b);

    if (q && virtio_driver_ok(&b->p.dev))
        return_buffer(b, q);
    vballoon_poll_arm(b);
}
