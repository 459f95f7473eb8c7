/* block.h - one layer of a disk image and the requests that flow through it.
 *
 *   virtio-blk --blk_submit(req)--> node (format) --> node (file) --> io_uring / thread pool
 *                                                     ... completion ... --> req->done(req)
 *
 * A request is a small state machine embedded in the submitter's per-queue array: no allocation per
 * I/O, and a debugger always shows where it is.  done() is called exactly once, in the io loop's
 * thread.
 *
 * Owner:   the machine owns root nodes; a format node owns its file node.
 * Threads: blk_submit/flush from the node's io loop thread only; open, close, drain, info from
 * main. Errors:  cold calls fill GError; hot ones return 0 or -errno through done(). */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "base/types.h"

#include <sys/uio.h>

struct evloop;
struct blk_node;
struct props;

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES };
enum {
    BLK_REQ_FUA = 1,
    BLK_REQ_UNMAP = 2,      /* write-zeroes may deallocate */
    BLK_REQ_COMPRESSED = 4, /* WRITE of whole clusters (or up to the image's end); else -EINVAL */
};
enum blk_prealloc {
    BLK_PREALLOC_OFF,
    BLK_PREALLOC_METADATA,
    BLK_PREALLOC_FALLOC,
    BLK_PREALLOC_FULL
};

struct blk_req {
    /* set by the submitter, before each submit: layers may change them on the way */
    enum blk_op op;
    uint32_t flags;
    uint64_t offset_bytes, len_bytes;
    struct iovec *iov; /* READ/WRITE: covers len_bytes; valid until done */
    int iov_count;
    void (*done)(struct blk_req *req, int ret); /* ret 0 or -errno */
    uint32_t merged; /* how many further requests of the guest this one carries */
    /* owned by the block layer while in flight */
    uint32_t id; /* for tracing */
    struct blk_node *node;
    struct blk_req *next;
    uint64_t driver[14]; /* the layers' scratch: block_int.h */
};

struct blk_limits {
    uint64_t size_bytes;
    uint32_t logical_block_bytes; /* 512 unless O_DIRECT on 4Kn */
    uint32_t physical_block_bytes;
    uint64_t max_transfer_bytes;
    bool can_discard, can_write_zeroes, read_only;
    bool direct, no_flush;     /* cache.direct (of the file below), cache.no-flush */
    const char *detect_zeroes; /* "off", "on" or "unmap" */
    bool write_cache; /* cache.writeback: what a device shows its guest unless told otherwise */
};

/* props is one -blockdev object (driver, node-name, filename/file, read-only, cache, aio, discard,
 * ...). */
struct blk_node *blk_open(struct props *p, GError **err); /* and locks, as a tool does */
/* For a tool that reads a whole image and wants it to stay as it is meanwhile. */
bool blk_exclude_writers(struct blk_node *n, GError **err);
/* For machines: a raw image is not locked before a device claims it. */
struct blk_node *blk_open_idle(struct props *p, GError **err);
/* The node a file name stands for: a path, "json:{...}", "nbd://HOST/EXPORT", "nbd:HOST:PORT", ...
 * A new JSON object, protocol or (json: only) more. */
json_t *blk_describe_file(const char *name, GError **err);
struct blk_node *blk_open_file(const char *path, bool read_only, GError **err); /* raw over file */
void blk_close(struct blk_node *n); /* drains, flushes; accepts NULL */
struct blk_node *blk_find(const char *node_name);
const char *blk_node_name(const struct blk_node *n);
const char *blk_driver_name(const struct blk_node *n);
const char *blk_filename(const struct blk_node *n);
const struct blk_node *blk_child(const struct blk_node *n); /* what a format lies on, or NULL */
void blk_limits(const struct blk_node *n, struct blk_limits *out);
bool blk_resize(struct blk_node *n, uint64_t size_bytes, GError **err); /* drains */
/* One device uses a root node at a time: false names the user, or the process that has the image
 * locked.  share_rw: others may write to a raw image meanwhile. */
bool blk_claim(struct blk_node *n, const char *user, GError **err);
bool blk_claim_shared(struct blk_node *n, const char *user, bool share_rw, GError **err);
void blk_release(struct blk_node *n);
const char *blk_user(const struct blk_node *n); /* who claimed it, or NULL */
/* The same, or the name of the node that stands on this one. */
const char *blk_in_use_by(const struct blk_node *n);
void blk_attach(struct blk_node *n, struct evloop *loop); /* drained; before the first submit */

/* fn is called in the loop's thread after done() of a batch of requests: one interrupt for many. */
void blk_on_batch(struct blk_node *n, void (*fn)(void *opaque), void *opaque);

void blk_submit(struct blk_req *req); /* req->node set; queues */
void blk_plug(struct blk_node *n); /* batch: submissions until unplug become one io_uring_submit */
void blk_unplug(struct blk_node *n); /* may call done() of what has ended at once */
void blk_drain(struct blk_node *n);  /* main thread; after return nothing is in flight */
int blk_flush_sync(struct blk_node *n);

/* Blocking, from any thread, several at once; 0 or -errno.  Not counted in the statistics, and not
 * seen by blk_drain().  For tools and for work beside a machine's queues. */
int blk_pread(struct blk_node *n, uint64_t offset, void *buf, uint64_t len);
int blk_pwrite(struct blk_node *n, uint64_t offset, const void *buf, uint64_t len, uint32_t flags);
int blk_pzero(struct blk_node *n, uint64_t offset, uint64_t len, uint32_t flags);
int blk_pdiscard(struct blk_node *n, uint64_t offset, uint64_t len);
int blk_pflush(struct blk_node *n);

/* What is known about a range without reading it. */
enum {
    BLK_STATUS_ALLOCATED = 1,  /* this layer says what it holds, not its backing image */
    BLK_STATUS_DATA = 2,       /* bytes are stored for it */
    BLK_STATUS_ZERO = 4,       /* reads as zeroes */
    BLK_STATUS_OFFSET = 8,     /* host, host_bytes are valid: uncompressed bytes lie there */
    BLK_STATUS_COMPRESSED = 16 /* qcow2's compressed clusters */
};
struct blk_status {
    uint32_t flags;
    uint64_t len_bytes;    /* from the offset asked for on; > 0 */
    uint64_t host_bytes;   /* offset in host */
    uint64_t packed_bytes; /* COMPRESSED: where in host the cluster's packed bytes lie, at most */
    struct blk_node *host; /* the file node */
    unsigned depth;        /* of the layer that answers: 0 = n; what nobody has is the last's */
};
/* Of layer n alone.  Blocking, any thread.  0 or -errno.  holes: allocated data is looked up in the
 * file below too, so that its holes are known as zeroes (convert wants that, map does not). */
int blk_status(struct blk_node *n, uint64_t offset, uint64_t len, bool holes,
               struct blk_status *out);
/* Of n and the images below it, down to but without base (NULL: all of them).  What no layer has
 * is !ALLOCATED, and ZERO when base is NULL. */
int blk_status_above(struct blk_node *n, const struct blk_node *base, uint64_t offset, uint64_t len,
                     bool holes, struct blk_status *out);
struct blk_node *blk_backing(const struct blk_node *n); /* the opened backing image, or NULL */

/* Copies what the layers from top down to, without, base hold into base, which is an image of top's
 * chain opened writable and is made longer when it is shorter than top.  Main thread.  progress may
 * be NULL; it returns false to stop. */
typedef bool (*blk_progress_fn)(void *opaque, uint64_t done_bytes, uint64_t total_bytes);
bool blk_commit(struct blk_node *top, struct blk_node *base, blk_progress_fn progress, void *opaque,
                GError **err);

struct blk_stats {
    uint64_t ops[5], bytes[5], errors[5], ns[5], merged[5]; /* by enum blk_op; merged ones count */
    uint64_t submissions; /* system calls that gave the host's ring requests */
    uint64_t syncs; /* times the host was told to make data durable: fdatasync, RWF_DSYNC writes */
};
void blk_stats(const struct blk_node *n, struct blk_stats *out);
void blk_foreach(void (*fn)(struct blk_node *n, void *opaque), void *opaque);

#endif
