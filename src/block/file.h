/* file.h - the file driver's parts: opening (file.c), blocking requests (file_sync.c) and the
 * io_uring engine (file_uring.c).
 *
 *   file_submit --> uring_queue --> kernel --> uring_reap  --> file_done
 *              \--> worker: file_sync --> done list, eventfd --/
 *
 * Whatever io_uring does not finish in one piece (short transfer, EAGAIN) goes on in a worker. */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include "lock.h"

#include <liburing.h>

#define FILE_RING_ENTRIES 128u
#define FILE_BOUNCE_SIZES 12u /* 4 KiB << 0..11 */
#define FILE_SPARE_BYTES  (16u * 1024 * 1024)

struct file {
    /* immutable after open */
    int fd;
    int buffered_fd; /* without O_DIRECT: for requests whose offset or length is unaligned */
    bool direct, is_blkdev;
    bool batch_writes; /* file_batch.c; those with FUA always when not direct */
    uint32_t align;    /* O_DIRECT: of offset, length and memory */
    uint32_t logical_bytes, physical_bytes;
    bool zero_range_bad, punch_bad; /* worker threads, atomic: the host refused once */
    struct image_lock lock_state;   /* main thread */
    /* loop thread */
    struct io_uring ring;
    bool ring_ok;
    unsigned plugged, in_ring, unsubmitted;
    struct blk_req *pending, **pending_tail; /* the ring was full */
    struct evloop_fd *ring_watch, *done_watch;
    struct spare_buf {
        struct spare_buf *next;
    } * spare[FILE_BOUNCE_SIZES]; /* bounce buffers to be used again, by size */
    size_t spare_bytes;
    int done_fd;
    /* under lock */
    pthread_mutex_t lock;
    uint64_t data_from, data_to; /* file_status(): data without a hole */
    struct blk_req *done;
    struct blk_req *writes, **writes_tail;
    bool writer_runs;
    struct blk_work writer;
};

/* Lies in req->driver. */
struct file_req {
    struct blk_work work; /* first */
    struct blk_node *node;
    uint64_t progress_bytes;
    void *bounce;
    struct iovec one;
    int ret;
};
_Static_assert(sizeof(struct file_req) <= BLK_SCRATCH_NODE * sizeof(uint64_t), "scratch");

static inline struct file_req *file_req(struct blk_req *req)
{
    return (struct file_req *)req->driver;
}

/* file_batch.c: loop thread */
bool batch_suits(const struct file *f);
void batch_queue(struct file *f, struct blk_req *req); /* a write */
void batch_start(struct file *f);
/* file_bounce.c: aligned memory for requests whose own is not */
bool bounce_make(struct file *f, struct blk_req *req, bool spares); /* spares: loop thread */
void bounce_end(struct file *f, struct blk_req *req, int ret, bool spares);
void bounce_free_spares(struct file *f);
/* file.c */
void file_done(struct blk_req *req, int ret); /* loop thread: ends the request */
void file_to_worker(struct blk_req *req);
/* file_sync.c: worker thread (or any, for one request) */
int file_sync(struct blk_node *n, struct blk_req *req);
/* Any thread: what the host's file system knows about holes. */
int file_status(struct blk_node *n, uint64_t offset, uint64_t len, bool holes,
                struct blk_status *out);
/* The request's memory as the kernel shall see it: the submitter's list or the bounce buffer. */
const struct iovec *file_req_iov(struct blk_req *req, int *count);
/* Any thread: the host is told to make n's data durable. */
static inline void file_count_sync(struct blk_node *n)
{
    __atomic_fetch_add(&n->stats.syncs, 1, __ATOMIC_RELAXED);
}
/* file_uring.c: loop thread */
bool uring_open(struct file *f, int *errnum);
void uring_close(struct file *f);
void uring_queue(struct blk_node *n, struct blk_req *req);
void uring_flush(struct blk_node *n); /* hands queued entries to the kernel */
void uring_reap(struct blk_node *n);

#endif
