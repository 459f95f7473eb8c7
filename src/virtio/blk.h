/* blk.h - virtio-blk's parts: requests (blk_req.c), joining them (blk_merge.c), the device (blk.c),
 * errors that wait (blk_error.c).
 *
 *   kick -> plug -> service: pop, parse, batch ... -> blk_submit, joined -> unplug
 *   done -> status byte, used entry            batch end -> one interrupt per queue
 *
 * Requests live in per-queue arrays, as many as the queue has entries: nothing is allocated per
 * I/O. Pages of requests that were never needed are never touched.
 *
 * Threads: everything about requests in the loop's thread; the parked list under `lock`.
 * Spec:    virtio 1.2 §5.2. */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include "block/block.h"
#include "carrier.h"

#define VBLK_QUEUES_MAX  64u
#define VBLK_SLACK_IOVS  16u       /* header, status, buffers split at region borders */
#define VBLK_DISCARD_MAX 0x400000u /* sectors of one discard or write-zeroes, default: 2 GiB */
#define VBLK_BATCH_MAX   32u
#define VBLK_PART_BYTES  (128u * KiB) /* through the page cache: what is handed over at once */

/* Features, §5.2.3. */
enum {
    VBLK_F_SEG_MAX = 2,
    VBLK_F_RO = 5,
    VBLK_F_BLK_SIZE = 6,
    VBLK_F_FLUSH = 9,
    VBLK_F_TOPOLOGY = 10,
    VBLK_F_CONFIG_WCE = 11,
    VBLK_F_MQ = 12,
    VBLK_F_DISCARD = 13,
    VBLK_F_WRITE_ZEROES = 14,
};

struct vblk_req {
    struct blk_req blk; /* first */
    struct virtio_blk *b;
    struct virtq_elem elem;
    uint8_t *status; /* in guest RAM */
    uint64_t status_gpa;
    uint32_t type, written_bytes;
    struct vblk_req *next; /* free, parked, recycled or merged list */
};

struct vblk_queue {
    struct vblk_req *reqs; /* size_max of them */
    struct iovec *iov;     /* their scatter lists, cap each */
    uint64_t *gpa;
    unsigned cap, fresh; /* reqs[fresh..] were never used */
    struct vblk_req *free;
    struct vblk_merge *merges, *free_merge; /* merge_count of them, fresh_merge were used */
    struct iovec *merge_iov;
    unsigned merge_count, fresh_merge;
    struct vblk_req *batch[VBLK_BATCH_MAX]; /* of one kick, one operation, by offset */
    unsigned batched;
    uint64_t part_bytes; /* submitted since the plug */
    bool notify;         /* something was pushed in this batch */
};

struct virtio_blk {
    struct virtio_carrier p; /* first */
    /* immutable */
    struct virtio_blk_config cfg;
    struct blk_limits limits; /* size_bytes: ask blk_limits() again */
    struct evloop *loop;
    char serial[VIRTIO_BLK_SERIAL_MAX];
    struct vblk_queue *q;
    struct blk_errors errors;
    bool claimed;
    /* atomic */
    bool write_cache;
    /* under lock */
    pthread_mutex_t lock;
    struct vblk_req *parked, *recycled;
    int parked_errnum; /* of the request parked last */
};

static inline struct virtio_blk *vblk_of(struct virtio_dev *d)
{
    return container_of(d, struct virtio_blk, p.dev);
}

/* blk_req.c */
void vblk_queue_init(struct vblk_queue *vq, unsigned size);
void vblk_queue_fini(struct vblk_queue *vq);
bool vblk_service(struct virtq *q);
void vblk_prepare(struct vblk_req *r);                /* node and done() of its blk */
void vblk_submit(struct vblk_req *r);                 /* parsed: to the block layer */
void vblk_finish(struct vblk_req *r, uint8_t status); /* status byte, used entry, free */
bool vblk_refetch(struct virtio_blk *b, unsigned queue, uint16_t head); /* parks it */
void vblk_notify_all(struct virtio_blk *b);
/* blk_merge.c: loop thread */
void vblk_merges_init(struct vblk_queue *vq, unsigned size);
void vblk_merges_fini(struct vblk_queue *vq);
void vblk_batch_add(struct vblk_queue *vq, struct vblk_req *r); /* a parsed read or write */
void vblk_batch_submit(struct vblk_queue *vq);                  /* all of the batch */
/* blk_error.c */
bool vblk_error(struct vblk_req *r, int errnum); /* true: parked; loop thread */
void vblk_retry_parked(struct virtio_blk *b);    /* main thread */
void vblk_drop_parked(struct virtio_blk *b);     /* any thread, queues stopped */
void vblk_errors_init(struct virtio_blk *b);
struct vblk_req *vblk_recycle(struct virtio_blk *b);

#endif
