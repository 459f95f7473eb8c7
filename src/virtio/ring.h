/* ring.h - split virtqueues: where descriptors become scatter lists and results become used
 * entries.
 *
 *     driver                            device
 *     avail ring  -- virtq_pop() -->    struct virtq_elem (iovecs into guest RAM)
 *     used ring   <- virtq_push() --    guest_mem_wrote() first, then the index, then
 * virtq_notify()
 *
 * Every value read from guest memory is read once and checked; every loop is bounded by the queue
 * size or the element's capacity.  Guest nonsense breaks the device (virtio_dev_broken), pop then
 * returns -EIO and later calls do nothing.
 *
 * Threads: pop, push, notify from the queue's loop thread; start, stop, reset from any thread.  The
 *          queue's lock is held only inside these calls, never across device work.
 * Reset:   an element popped before a reset carries an older generation: pushing it later only
 *          releases it.  A reset is complete when no element is in flight.
 * Spec:    virtio 1.2 §2.7. */
#ifndef VIRTIO_RING_H
#define VIRTIO_RING_H

#include "base/types.h"
#include "virtio/stats.h"

#include <pthread.h>
#include <sys/uio.h>

#define VIRTQ_SIZE_MAX 1024u
#define VIRTQ_SG_MAX   1024u /* longest chain, whatever the queue size */

/* Which queue, for trace events: device type and the queue's descriptor make it unique. */
#define VIRTQ_TRACE         "%s.%d queue %u"
#define VIRTQ_TRACE_ARGS(q) (q)->dev->name, (q)->kick_fd, (q)->index

struct evloop;
struct evloop_fd;
struct virtio_dev;

struct virtq_elem {
    struct virtq *q;
    uint32_t gen;
    uint16_t head;
    unsigned out_count, in_count; /* device reads iov[0..out_count), writes the in_count after */
    uint32_t out_bytes, in_bytes;
    uint64_t popped_ns; /* host clock */
    /* the owner's memory */
    unsigned cap;
    struct iovec *iov;
    uint64_t *gpa; /* of each iov */
};

struct virtq {
    /* immutable */
    struct virtio_dev *dev;
    uint16_t index, size_max;
    struct evloop *loop;
    int kick_fd;
    struct evloop_fd *watch;
    void (*kick)(struct virtq *q);    /* buffers may have come; loop thread; see virtio_queue() */
    bool (*service)(struct virtq *q); /* pop one and handle it; false = nothing there */
    /* the driver's setup, under the board lock until enabled */
    uint16_t size, vector;
    bool enabled;
    gpa_t desc_gpa, avail_gpa, used_gpa;
    /* under lock */
    pthread_mutex_t lock;
    bool live; /* DRIVER_OK, enabled, mapped */
    uint32_t gen, map_gen;
    const uint8_t *desc, *avail;
    uint8_t *used;
    uint16_t last_avail, used_idx, signalled_used, inuse;
    bool signalled_valid, notify_wanted;
    struct virtio_queue_stats stats; /* written under lock, but for: */
    uint64_t kicks, runs;            /* loop thread */
    /* atomic */
    uint64_t self_kicks; /* signals of kick_fd that are ours */
    uint32_t inflight;   /* popped elements, of any generation, that may touch guest memory */
};

void virtq_init(struct virtq *q, struct virtio_dev *dev, uint16_t index, uint16_t size,
                struct evloop *loop);
void virtq_fini(struct virtq *q);
bool virtq_start(struct virtq *q); /* after the setup is complete; false: the device is broken */
void virtq_stop(struct virtq *q);  /* nothing new is popped or published */
void virtq_reset(struct virtq *q); /* stop, and back to defaults */

/* 1 = got one, 0 = nothing there, -EIO = the device broke (now or before). */
int virtq_pop(struct virtq *q, struct virtq_elem *e);
/* The element of a head that was popped before a save and is still in use (post_load). */
bool virtq_refetch(struct virtq *q, uint16_t head, struct virtq_elem *e);
void virtq_unpop(struct virtq_elem *e); /* the element popped last goes back */
void virtq_push(struct virtq_elem *e, uint32_t written_bytes);
/* Several elements that must appear at once: fill slot 0, 1, ..., then publish their number. */
void virtq_fill(struct virtq_elem *e, uint32_t written_bytes, uint16_t slot);
void virtq_publish(struct virtq *q, uint16_t count);
/* Takes back count elements that were popped and filled, but not published. */
void virtq_rewind(struct virtq *q, uint32_t gen, uint16_t count);
/* Gives the buffers up without returning them: they are no longer touched, and the head is returned
 * later by virtq_push_head() (balloon statistics). */
void virtq_detach(struct virtq_elem *e);
void virtq_push_head(struct virtq *q, uint32_t gen, uint16_t head);
/* A counter with one writer at a time, read by others. */
static inline void virtq_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}
/* The queue was reset since e was popped. */
static inline bool virtq_elem_stale(const struct virtq_elem *e)
{
    return e->gen != __atomic_load_n(&e->q->gen, __ATOMIC_ACQUIRE);
}
void virtq_notify(struct virtq *q); /* interrupt, unless the driver does not want one */
bool virtq_empty(struct virtq *q);
/* Whether the driver should kick for new buffers; re-check virtq_empty() after switching on. */
void virtq_want_kicks(struct virtq *q, bool on);
void virtq_self_kick(struct virtq *q);  /* any thread: runs the queue again soon */
void virtq_guest_kick(struct virtq *q); /* the same for a kick that came by no ioeventfd */
/* Pops and handles with q->service until empty; at most one queue size per call, then self-kicks.
 */
void virtq_service(struct virtq *q);

/* Elements with room for cap iovecs. */
void virtq_elem_alloc(struct virtq_elem *e, unsigned cap);
void virtq_elem_free(struct virtq_elem *e);

/* Copies between a scatter list and a buffer; return bytes copied. */
size_t virtq_copy_out(const struct virtq_elem *e, size_t skip_bytes, void *buf, size_t len);
size_t virtq_copy_in(const struct virtq_elem *e, size_t skip_bytes, const void *buf, size_t len);

#endif
