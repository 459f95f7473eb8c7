/* qcow2.h - the parts of the qcow2 format driver and the state they share.
 *
 *   submit --(all mapped, contiguous, cached)--> the same request goes on to the file node
 *         \--(anything else)--> queue --> one worker: q2_read / q2_write / ... --> done list
 *
 * Whatever needs a table that is not in memory, allocates, frees, decompresses or reads a backing
 * image is blocking code in a worker, one request at a time: there a debugger shows a plain call
 * stack, and the order of writes is the order of the lines.  The file format is described in
 * QEMU's docs/interop/qcow2.txt, whose terms are used here ("spec" below).
 *
 * Threads: fields say who may touch them.  `serial` is held by whoever runs blocking code (the
 * worker, the main thread's flush_sync, or the worker of an image that this one backs); only its
 * holder changes tables.  `tables` is held for the moment of a change, and by the loop's thread
 * while it looks at them; the holder of `serial` may read without it.
 * Errors:  open says a sentence; requests end with -errno.  Tables that contradict themselves are
 * -EIO, mark a writable image as corrupt, and stop all further writes. */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include "../block_int.h"

#include "base/util.h"
#include "block/qcow2.h"

#include <glib.h>

#define Q2_COPIED             BIT64(63) /* refcount is exactly one: may be written in place */
#define Q2_COMPRESSED         BIT64(62)
#define Q2_ZERO               BIT64(0)
#define Q2_OFFSET_MASK        0x00fffffffffffe00ull
#define Q2_RESERVED           0x3f000000000001feull /* of a standard L2 entry */
#define Q2_INCOMPAT_DIRTY     BIT64(0)
#define Q2_INCOMPAT_CORRUPT   BIT64(1)
#define Q2_L1_BYTES_MAX       (32 * MiB)
#define Q2_REFTABLE_BYTES_MAX (8 * MiB)
#define Q2_HEADER_REFTABLE    48 /* byte offsets in the header */
#define Q2_HEADER_INCOMPAT    72
#define Q2_CACHE_WAYS         8u

struct table {
    uint64_t offset; /* in the file; 0: empty */
    uint8_t *data;   /* big-endian, as on disk */
    uint32_t stamp;
    bool dirty;
};

struct table_cache {
    struct table *slots; /* sets * Q2_CACHE_WAYS */
    uint32_t sets, stamp, dirty;
};

struct range {
    uint64_t offset_bytes, clusters;
};

enum q2_kind { Q2_UNALLOCATED, Q2_ZEROES, Q2_NORMAL, Q2_DEFLATED };

struct extent {
    enum q2_kind kind;
    bool copied;
    uint64_t host_bytes; /* NORMAL: of the first byte; ZEROES: of the kept cluster, or 0 */
    uint64_t entry;      /* the first cluster's L2 entry */
    uint64_t len_bytes;
};

struct qcow2 {
    /* immutable after open */
    struct blk_node *node, *file, *backing; /* backing: NULL when there is none */
    bool owns_backing, regular_file;
    struct qcow2_info info;
    uint32_t cluster_bits, l2_bits, refblock_bits;
    uint64_t cluster_bytes, virtual_bytes;
    uint64_t l1_offset;
    uint32_t l1_entries;
    /* changed by the holder of serial, under tables; read by the loop's thread under tables */
    uint64_t *l1; /* host byte order */
    struct table_cache l2;
    bool meta_dirty, corrupt, quiesce;
    unsigned fast_inflight; /* requests that went on to the file node */
    uint64_t reftable_offset, file_end;
    uint32_t reftable_entries;
    /* holder of serial only */
    uint64_t *reftable;
    struct table_cache refblocks;
    uint32_t l1_dirty_from, l1_dirty_to, reftable_dirty_from, reftable_dirty_to;
    uint64_t free_hint; /* no free cluster has a smaller index */
    GArray *pending;    /* struct range: unlinked, but still counted */
    uint64_t pending_clusters;
    uint8_t *cow, *unpacked, *packed; /* unpacked, cow: a cluster; packed: two */
    uint64_t unpacked_entry;          /* what `unpacked` holds, 0: nothing */
    bool failed;                      /* a flush failed: what is on disk is unknown */
    pthread_mutex_t serial, tables;
    pthread_cond_t fast_idle; /* with tables */
    /* under queue_lock */
    pthread_mutex_t queue_lock;
    pthread_cond_t worker_left;
    struct blk_work work;
    struct blk_req *queue, **queue_tail, *done;
    bool worker_active;
    /* loop thread */
    struct evloop_fd *done_watch;
    int done_fd;
};

static inline uint64_t be64_get(const void *p)
{
    return __builtin_bswap64(le64_get(p));
}
static inline void be64_put(void *p, uint64_t v)
{
    le64_put(p, __builtin_bswap64(v));
}
static inline uint32_t be32_get(const void *p)
{
    return __builtin_bswap32(le32_get(p));
}
static inline void be32_put(void *p, uint32_t v)
{
    le32_put(p, __builtin_bswap32(v));
}
static inline uint16_t be16_get(const void *p)
{
    return __builtin_bswap16(le16_get(p));
}
static inline void be16_put(void *p, uint16_t v)
{
    le16_put(p, __builtin_bswap16(v));
}

/* header.c */
bool q2_header_read(struct qcow2 *q, GError **err);
bool q2_tables_read(struct qcow2 *q, GError **err);
bool q2_backing_open(struct qcow2 *q, struct props *p, GError **err);

/* io.c: blocking transfers on the file node, or any node */
int q2_io(struct blk_node *n, enum blk_op op, uint64_t offset, void *buf, uint64_t len);
int q2_io_iov(struct blk_node *n, enum blk_op op, uint64_t offset, const struct iovec *iov,
              int iov_count, uint64_t skip, uint64_t len);
int q2_barrier(struct qcow2 *q); /* what was written is on the disk */

/* cache.c */
void q2_cache_init(struct table_cache *c, uint64_t cluster_bytes, uint64_t budget_bytes);
void q2_cache_free(struct table_cache *c);
struct table *q2_cache_find(struct table_cache *c, uint64_t offset, uint32_t cluster_bits);
/* The table at offset: from the cache, from the file, or (fresh) all zeroes and dirty. */
int q2_l2_load(struct qcow2 *q, uint64_t offset, bool fresh, struct table **out);
int q2_refblock_load(struct qcow2 *q, uint64_t offset, bool fresh, struct table **out);
int q2_cache_write(struct qcow2 *q, struct table_cache *c); /* all that is dirty */

/* map.c */
bool q2_offset_ok(const struct qcow2 *q, uint64_t offset); /* a cluster of the file */
/* The part of [offset, offset+len) that is of one kind and contiguous.  Holder of serial. */
int q2_map(struct qcow2 *q, uint64_t offset, uint64_t len, struct extent *out);
/* Loop thread, holding tables: false when a table is not in memory, or an entry makes no sense. */
bool q2_map_cached(struct qcow2 *q, uint64_t offset, uint64_t len, struct extent *out);
void q2_packed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *len);

/* read.c: holder of serial */
int q2_read(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
            uint64_t len);

/* refcount.c: holder of serial */
int q2_alloc(struct qcow2 *q, uint64_t want, uint64_t *host, uint64_t *got);
int q2_free_now(struct qcow2 *q, uint64_t offset, uint64_t clusters);
void q2_free_later(struct qcow2 *q, uint64_t offset, uint64_t clusters);
int q2_refcounts_write(struct qcow2 *q);
bool q2_is_metadata(const struct qcow2 *q, uint64_t offset, uint64_t len);
int q2_corrupt(struct qcow2 *q, const char *what); /* returns -EIO */

/* write.c: holder of serial */
int q2_write(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iov_count,
             uint64_t skip, uint64_t len); /* iov NULL: zeroes */
int q2_write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t len, bool unmap);
int q2_discard(struct qcow2 *q, uint64_t offset, uint64_t len);
/* may_wait: not on the thread that ends the requests in flight. */
int q2_flush(struct qcow2 *q, bool may_wait);

#endif
