/* block_int.h - what the block drivers share with node.c and nobody else.
 *
 * A driver sees requests already checked (inside the node's size, iov covers len) and ends each one
 * with blk_complete(), never from inside its submit(): the submitter may still be using its own
 * state when submit() returns.  Use blk_complete_later() when the result is known at once.
 *
 * Scratch: req->driver[0..BLK_SCRATCH_NODE-1] belongs to the driver that ends the request,
 * the next two to node.c, the last two to the format that sent it on. */
#ifndef BLOCK_INT_H
#define BLOCK_INT_H

#include "block/block.h"

#include <pthread.h>

#define BLK_SECTOR_BYTES   512u
#define BLK_SCRATCH_NODE   10 /* driver[10], driver[11]: node.c's */
#define BLK_SCRATCH_FORMAT 12 /* driver[12], driver[13]: a format that lets a request through */

/* What a user does with an image, and what it does not want others to do meanwhile: the bits are
 * QEMU's lock bytes (lock.h). */
enum {
    BLK_PERM_READ = 1, /* consistently */
    BLK_PERM_WRITE = 2,
    BLK_PERM_WRITE_UNCHANGED = 4,
    BLK_PERM_RESIZE = 8,
};

struct blk_driver {
    const char *name;
    /* cold, main thread */
    bool (*open)(struct blk_node *n, struct props *p, GError **err);
    void (*close)(struct blk_node *n); /* must accept a half-open node */
    void (*limits)(struct blk_node *n, struct blk_limits *out);
    bool (*resize)(struct blk_node *n, uint64_t size_bytes, GError **err); /* NULL: refused */
    /* BLK_PERM_*; NULL: not this driver's business, what is below is asked */
    bool (*lock)(struct blk_node *n, unsigned used, unsigned unshared, GError **err);
    void (*attach)(struct blk_node *n, struct evloop *loop);
    int (*flush_sync)(struct blk_node *n);
    /* Any thread, blocking: for the layer above that works in threads; NULL: not possible.  The
     * request is not counted and its done() not called. */
    int (*sync)(struct blk_node *n, struct blk_req *req);
    /* Any thread; NULL: all of it is data.  offset, len lie in the node and len > 0; *out is
     * zeroed, and what is set never reaches past len. */
    int (*status)(struct blk_node *n, uint64_t offset, uint64_t len, bool holes,
                  struct blk_status *out);
    struct blk_node *(*backing)(const struct blk_node *n); /* NULL: drivers without */
    /* hot, loop thread */
    void (*submit)(struct blk_node *n, struct blk_req *req);
    void (*plug)(struct blk_node *n);
    void (*unplug)(struct blk_node *n);
    void (*poll)(struct blk_node *n); /* waits for and handles at least one completion */
};

struct blk_node {
    /* immutable after open */
    const struct blk_driver *drv;
    char *name, *filename;
    struct blk_node *file; /* what a format lies on; NULL for protocol drivers */
    bool owns_file, read_only, auto_read_only, no_flush, write_through, unmap, force_share;
    enum { BLK_DETECT_OFF, BLK_DETECT_ON, BLK_DETECT_UNMAP } detect_zeroes;
    void *priv; /* the driver's */
    /* main thread */
    struct evloop *loop;
    char *user;
    unsigned perm_used, perm_unshared;
    struct throttle_member *throttle; /* NULL: no limits; changed by the main thread in the loop */
    struct blk_node *parent;
    struct blk_node *next;
    void (*batch_fn)(void *opaque);
    void *batch_opaque;
    /* loop thread */
    uint32_t inflight, next_id;
    struct blk_req *later, **later_tail; /* ended, done() still to be called */
    struct evloop_fd *watch;
    int later_fd;
    uint64_t size_bytes;    /* atomic; set by the driver */
    struct blk_stats stats; /* read by the main thread: relaxed atomics */
};

extern const struct blk_driver blk_driver_file, blk_driver_raw, blk_driver_null, blk_driver_qcow2,
    blk_driver_throttle, blk_driver_nbd;

/* Reads "file" of p: a node's name or a nested description. */
bool blk_open_child(struct blk_node *n, struct props *p, GError **err);
void blk_complete(struct blk_req *req, int ret);
/* After the last blk_complete() of a wake-up. */
void blk_batch_done(struct blk_node *n);
void blk_complete_later(struct blk_node *n, struct blk_req *req, int ret);

/* What ends a request before its driver sees it: 0 nothing, 1 success at once, else -errno. */
int blk_check_request(struct blk_node *n, struct blk_req *req);

/* workers.c: blocking work off the loop.  fn runs in a worker thread; one item is queued once. */
struct blk_work {
    struct blk_work *next;
    void (*fn)(struct blk_work *w);
};
void blk_workers_push(struct blk_work *w);      /* may wait for leaf work */
void blk_workers_push_leaf(struct blk_work *w); /* waits for no other work */

/* iov.c */
size_t blk_iov_slice(const struct iovec *in, int in_count, uint64_t skip_bytes, struct iovec *out,
                     int out_max, int *out_count); /* returns bytes covered */
void blk_iov_zero(const struct iovec *iov, int count, uint64_t skip_bytes);
bool blk_iov_is_zero(const struct iovec *iov, int count);
bool blk_iov_aligned(const struct iovec *iov, int count, uint32_t align);
void blk_iov_to_buf(const struct iovec *iov, int count, void *buf);
void blk_iov_from_buf(const struct iovec *iov, int count, const void *buf);

/* A format that holds back tables writes them at every flush, and needs its file to itself. */
static inline bool blk_has_tables(const struct blk_node *n)
{
    return n->file && n->drv->flush_sync;
}

/* perm.c: main thread.  False: somebody else's use of the image does not go with this one. */
bool blk_set_perm(struct blk_node *n, unsigned used, unsigned unshared, GError **err);
bool blk_perm_to_child(struct blk_node *n, GError **err);
bool blk_perm_as_tool(struct blk_node *n, GError **err);

#endif
