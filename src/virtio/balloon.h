/* balloon.h - virtio-balloon's parts: the device (balloon.c), pages (balloon_pages.c), statistics
 * (balloon_stats.c).
 *
 *   inflateq: page numbers the guest gives up     -> guest_mem_discard
 *   deflateq: page numbers it takes back          -> nothing to do, they come back on touch
 *   statsq:   one buffer of numbers, returned when the next ones are wanted
 *   reporting: ranges that are free just now      -> guest_mem_discard
 *
 * A queue's index follows from the features in use: absent ones do not leave a gap (§5.5.2).
 *
 * Threads: main loop; config registers under the board lock.
 * Spec:    virtio 1.2 §5.5. */
#ifndef VIRTIO_BALLOON_H
#define VIRTIO_BALLOON_H

#include "carrier.h"

#define VBALLOON_PAGE_SHIFT 12
#define VBALLOON_ELEM_IOVS  256u

enum {
    VBALLOON_F_STATS = 1,
    VBALLOON_F_DEFLATE_ON_OOM = 2,
    VBALLOON_F_PAGE_POISON = 4,
    VBALLOON_F_REPORTING = 5,
};

struct virtio_balloon {
    struct virtio_carrier p; /* first */
    struct virtio_balloon_config cfg;
    struct timer *poll_timer, *change_timer;
    /* board lock */
    uint32_t target_pages, actual_pages, poison_value;
    uint64_t next_change_ns; /* atomic: not before this is the next on_change */
    /* main loop */
    struct virtq_elem elem;
    uint32_t poll_interval_s;
    bool stats_held; /* the guest's buffer is with us */
    uint16_t stats_head;
    uint32_t stats_gen;
    struct virtio_balloon_stats stats;
};

static inline struct virtio_balloon *vballoon_of(struct virtio_dev *d)
{
    return container_of(d, struct virtio_balloon, p.dev);
}

/* balloon_pages.c */
bool vballoon_inflate(struct virtio_balloon *b, struct virtq *q);
bool vballoon_deflate(struct virtio_balloon *b, struct virtq *q);
bool vballoon_report(struct virtio_balloon *b, struct virtq *q);
/* balloon_stats.c */
void vballoon_stats_forget(struct virtio_balloon *b); /* what an earlier driver said */
bool vballoon_stats(struct virtio_balloon *b, struct virtq *q);
void vballoon_poll_timer(void *opaque);
void vballoon_poll_arm(struct virtio_balloon *b);
struct virtq *vballoon_stats_queue(struct virtio_balloon *b); /* NULL: not in use */

#endif
