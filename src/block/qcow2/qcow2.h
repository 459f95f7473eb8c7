/* qcow2.h - the parts of the qcow2 format driver and the state they share.
 *
 *   submit --(all mapped, contiguous, cached)--> the same request goes on to the file node
 *         \--(anything else)--> queue --> workers: q2_read / q2_write / ... --> done list
 *
 * Whatever needs a table that is not in memory, allocates, frees, decompresses or reads a backing
 * image is blocking code in a worker: there a debugger shows a plain call stack, and the order of
 * writes is the order of the lines.  Tables are looked at and changed under `serial`; transfers of
 * guest data, and decompression, run without it, several at once.  Who changes entries claims the
 * clusters of its range first, so that what it found out stays true while it lets go.  The file
 * format is described in QEMU's docs/interop/qcow2.txt, whose terms are used here ("spec" below).
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
#define Q2_INCOMPAT_DATA_FILE BIT64(2)
#define Q2_INCOMPAT_ZSTD      BIT64(3)
#define Q2_INCOMPAT_EXTL2     BIT64(4)
#define Q2_COMPAT_LAZY        BIT64(0)
#define Q2_AUTOCLEAR_BITMAPS  BIT64(0)
#define Q2_AUTOCLEAR_RAW_DATA BIT64(1)
#define Q2_EXT_BACKING_FORMAT 0xe2792acau
#define Q2_EXT_FEATURES       0x6803f857u
#define Q2_EXT_BITMAPS        0x23852875u
#define Q2_EXT_CRYPTO         0x0537be77u
#define Q2_EXT_DATA_FILE      0x44415441u
#define Q2_L1_BYTES_MAX       (32 * MiB)
#define Q2_REFTABLE_BYTES_MAX (8 * MiB)
#define Q2_SNAPSHOTS_MAX      65536u
#define Q2_HEADER_BYTES       112 /* that this program writes in version 3; 72 in version 2 */
#define Q2_HEADER_SIZE        24  /* byte offsets in the header */
#define Q2_HEADER_L1          36
#define Q2_HEADER_REFTABLE    48
#define Q2_HEADER_SNAPSHOTS   60
#define Q2_HEADER_INCOMPAT    72
#define Q2_HEADER_AUTOCLEAR   88
#define Q2_CACHE_WAYS         8u
#define Q2_SUBS               32u /* subclusters of a cluster, with extended L2 entries */
#define Q2_ALL_SUBS           0xffffffffull
#define Q2_NAME_MAX           1023u
#define Q2_WORKERS            4u /* of one image */
#define Q2_BITMAP_IN_USE      1u /* flag of a dirty bitmap: void, unless its writer takes it back */

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

enum q2_free { Q2_FREE_REQUEST, Q2_FREE_SNAPSHOT, Q2_FREE_OTHER, Q2_FREE_ALWAYS };

struct extent {
    enum q2_kind kind;
    bool copied;
    bool has_host;       /* NORMAL always; UNALLOCATED, ZEROES: a place is kept */
    uint64_t host_bytes; /* of the first byte, when has_host */
    uint64_t entry;      /* the first cluster's L2 entry */
    uint64_t len_bytes;
};

/* On the stack of whoever changes the entries of a range and lets go of serial meanwhile. */
struct q2_claim {
    uint64_t first, end;
    struct q2_claim *next;
};

struct q2_worker {
    struct blk_work work;
    struct qcow2 *q;
    bool active;
};

struct qcow2 {
    /* immutable after open, but for the main thread's cold operations on a drained node */
    struct blk_node *node, *file, *backing; /* backing: NULL when there is none */
    struct blk_node *data;                  /* where guest data lies: file, or an external file */
    bool owns_backing, owns_data, regular_file, for_check, keep_refcounts_lazy;
    bool pass_discard[4]; /* by enum q2_free: is the host's space given back? */
    struct qcow2_info info;
    char *features[64]; /* names that the image gives to incompatible features, or NULL */
    uint32_t cluster_bits, l2_bits, refblock_bits, refcount_order;
    uint32_t sub_bits, subs, l2_entry_bytes; /* without extended L2: a cluster, 1, 8 */
    uint64_t cluster_bytes, sub_bytes, virtual_bytes;
    uint64_t l2_budget, refblock_budget; /* of the caches, bytes */
    uint64_t bitmap_dir_offset, bitmap_dir_bytes;
    struct q2_track *tracks; /* track_count of them: dirty bitmaps that track changes */
    uint32_t track_count;
    struct qcow2_snapshot *snapshots;
    struct q2_snapshot_place *snapshot_places; /* beside each of them */
    uint64_t snapshots_offset, snapshots_bytes;
    GByteArray *other_extensions, *header_tail; /* of the header: kept as they are */
    uint64_t name_from, name_to;                /* where the backing name stands in it */
    /* changed by the holder of serial, under tables; read by the loop's thread under tables */
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint64_t *l1; /* host byte order */
    struct table_cache l2;
    bool meta_dirty, corrupt, quiesce;
    bool tracks_touched;    /* their flags may have changed on the disk: to be stored at the end */
    bool tracks_marked;     /* all of them say on the disk that they are in use */
    unsigned fast_inflight; /* requests that went on to the file node */
    unsigned slow_inflight; /* transfers of workers that let go of serial meanwhile */
    uint64_t reftable_offset, file_end;
    uint32_t reftable_entries;
    /* holder of serial only */
    uint64_t *reftable;
    struct table_cache refblocks;
    uint32_t l1_dirty_from, l1_dirty_to, reftable_dirty_from, reftable_dirty_to;
    uint64_t free_hint; /* no free cluster has a smaller index */
    uint64_t packed_at; /* where the next compressed cluster may go on; 0: nowhere */
    GArray *pending;    /* struct range: unlinked, but still counted */
    uint64_t pending_clusters;
    enum q2_free freeing;        /* what is going on */
    uint8_t *cow, *unpacked;     /* a cluster each */
    struct qcow2_packer *packer; /* for reading; NULL: not needed yet, or somebody has it */
    uint64_t unpacked_entry;     /* what `unpacked` holds, 0: nothing */
    uint64_t frees;              /* how often clusters were given back: what is older may lie */
    struct q2_claim *claims;     /* ranges whose entries somebody is changing */
    unsigned durable;            /* changes under way that end with a flush */
    uint64_t changes, flushed;   /* such changes that are done; and of these, by a flush */
    bool failed;                 /* a flush failed: what is on disk is unknown */
    bool marked_dirty;           /* the dirty bit on the disk is ours, */
    bool leave_dirty;            /* and stays: the next to open the image repairs it */
    pthread_mutex_t serial, tables;
    pthread_cond_t fast_idle; /* with tables */
    pthread_cond_t unclaimed; /* with serial */
    pthread_cond_t flush_due; /* with serial */
    /* under queue_lock */
    pthread_mutex_t queue_lock;
    pthread_cond_t worker_left;
    struct q2_worker workers[Q2_WORKERS];
    struct blk_req *queue, **queue_tail, *done;
    unsigned active_workers;
    /* loop thread */
    struct evloop_fd *done_watch;
    int done_fd;
};

struct q2_snapshot_place {
    uint64_t l1_offset;
    uint32_t l1_entries, extra_bytes;
    uint8_t *extra; /* as it stands in the table; bytes that we do not know are kept */
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
int q2_tables_alloc(struct qcow2 *q); /* caches and buffers for the geometry in q */
const char *q2_name(const struct qcow2 *q);
uint64_t *q2_table_read(struct qcow2 *q, uint64_t offset, uint32_t entries, int *error);
uint32_t q2_l1_need(const struct qcow2 *q, uint64_t virtual_bytes);
/* header_write.c: from what q says now */
int q2_header_write(struct qcow2 *q);
int q2_header_put(struct qcow2 *q, uint32_t at, const void *fields, uint32_t len);
int q2_set_incompatible(struct qcow2 *q, uint64_t bits);
/* Around what changes many counts and COPIED flags: killed meanwhile, the image says so. */
int q2_dirty_begin(struct qcow2 *q);
int q2_dirty_end(struct qcow2 *q, int r); /* r < 0: it stays dirty; returns r or worse */
/* Fills a cluster of zeroes; false: the names do not fit. */
struct q2_header {
    const struct qcow2_info *info;
    uint32_t cluster_bits, l1_entries, reftable_clusters, refcount_order;
    uint64_t size_bytes, l1_offset, reftable_offset, snapshots_offset;
    uint64_t bitmap_dir_offset, bitmap_dir_bytes;
    const GByteArray *other_extensions, *tail; /* may be NULL */
    uint64_t old_name_from, old_name_to;       /* bytes that the new backing name keeps off */
};
bool q2_header_make(const struct q2_header *in, uint8_t *h);
/* links.c */
bool q2_backing_open(struct qcow2 *q, struct props *p, GError **err);
bool q2_data_open(struct qcow2 *q, struct props *p, GError **err);
/* bitmap.c */
bool q2_bitmaps_read(struct qcow2 *q, GError **err);
/* at: where the entry lies in the file.  False: the walk ends. */
typedef bool q2_bitmap_fn(struct qcow2 *q, const uint8_t *entry, uint32_t index, uint64_t at,
                          void *opaque);
bool q2_bitmaps_walk(struct qcow2 *q, q2_bitmap_fn *fn, void *opaque);
int q2_bitmaps_visit(struct qcow2 *q, void (*fn)(void *opaque, uint64_t offset, uint64_t len),
                     void *opaque);

/* track.c */
bool q2_tracks_load(struct qcow2 *q, GError **err); /* before the image is written */
int q2_tracks_mark(struct qcow2 *q);                /* holder of serial */
void q2_tracks_store(struct qcow2 *q);
void q2_tracks_free(struct qcow2 *q);
/* Any thread, before a change of these bytes is begun. */
void q2_track(struct qcow2 *q, uint64_t offset, uint64_t len);

/* io.c: blocking transfers on the file node, or any node */
int q2_io(struct blk_node *n, enum blk_op op, uint64_t offset, void *buf, uint64_t len);
int q2_io_iov(struct blk_node *n, enum blk_op op, uint64_t offset, const struct iovec *iov,
              int iov_count, uint64_t skip, uint64_t len);
/* Entries [from, to) of a table in host byte order that lies at offset. */
int q2_table_write(struct qcow2 *q, uint64_t offset, const uint64_t *table, uint32_t from,
                   uint32_t to);
int q2_barrier(struct qcow2 *q); /* what was written is on the disk */

/* cache.c */
void q2_cache_init(struct table_cache *c, uint64_t cluster_bytes, uint64_t budget_bytes);
void q2_cache_free(struct table_cache *c);
void q2_cache_drop(struct table_cache *c, uint64_t offset, uint32_t cluster_bits);
struct table *q2_cache_find(struct table_cache *c, uint64_t offset, uint32_t cluster_bits);
/* The table at offset: from the cache, from the file, or (fresh) all zeroes and dirty. */
int q2_l2_load(struct qcow2 *q, uint64_t offset, bool fresh, struct table **out);
int q2_refblock_load(struct qcow2 *q, uint64_t offset, bool fresh, struct table **out);
int q2_cache_write(struct qcow2 *q, struct table_cache *c); /* all that is dirty */
void q2_table_touch(struct qcow2 *q, struct table_cache *c, struct table *t);

/* map.c */
bool q2_offset_ok(const struct qcow2 *q, uint64_t offset); /* a cluster of the file */
/* The part of [offset, offset+len) that is of one kind and contiguous.  Holder of serial. */
int q2_map(struct qcow2 *q, uint64_t offset, uint64_t len, struct extent *out);
/* Loop thread, holding tables: false when a table is not in memory, or an entry makes no sense. */
bool q2_map_cached(struct qcow2 *q, uint64_t offset, uint64_t len, struct extent *out);
void q2_packed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *len);
int q2_status(struct blk_node *n, uint64_t offset, uint64_t len, bool holes,
              struct blk_status *out);

/* l2.c: holder of serial */
enum q2_state { Q2_SET_NONE, Q2_SET_ZERO, Q2_SET_DATA };
#define Q2_NO_HOST   UINT64_MAX
#define Q2_KEEP_HOST (UINT64_MAX - 1)
/* [offset, offset+len) in whole subclusters: host is where the first cluster lies, then rising;
 * or no place; or the places they have.  What they pointed to before is let go. */
int q2_l2_set(struct qcow2 *q, uint64_t offset, uint64_t len, uint64_t host, enum q2_state state);
int q2_l2_at(struct qcow2 *q, uint64_t place, struct table **out); /* where an L1 entry points */
int q2_l2_set_packed(struct qcow2 *q, uint64_t offset, uint64_t entry);
int q2_l2_writable(struct qcow2 *q, uint64_t offset, struct table **out);
void q2_free_entry(struct qcow2 *q, uint64_t entry);
int q2_l1_write(struct qcow2 *q);

/* compress.c */
/* Holder of serial, who lets go meanwhile.  Bytes [from, from+len) of the cluster of this entry. */
int q2_unpack(struct qcow2 *q, uint64_t entry, uint64_t from, const struct iovec *iov, int count,
              uint64_t skip, uint64_t len);
int q2_write_packed(struct qcow2 *q, const struct blk_req *req); /* takes serial by itself */

/* claim.c: holder of serial */
void q2_claim(struct qcow2 *q, struct q2_claim *c, uint64_t offset, uint64_t len); /* may wait */
void q2_unclaim(struct qcow2 *q, struct q2_claim *c);
/* Around a transfer: serial is let go of, and clusters that were in use stay what they are. */
void q2_let_go(struct qcow2 *q);
void q2_take_back(struct qcow2 *q);

/* read.c: holder of serial, who lets go of it meanwhile */
int q2_read(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
            uint64_t len);

/* refcount.c: holder of serial */
int q2_alloc(struct qcow2 *q, uint64_t want, uint64_t *host, uint64_t *got);
/* All of want in one piece, or nothing. */
int q2_alloc_contiguous(struct qcow2 *q, uint64_t want, uint64_t *host);
int q2_free_now(struct qcow2 *q, uint64_t offset, uint64_t clusters);
void q2_free_later(struct qcow2 *q, uint64_t offset, uint64_t clusters);
int q2_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *count);
int q2_ref_add(struct qcow2 *q, uint64_t cluster); /* -EOVERFLOW: as high as it can be */
uint64_t q2_ref_max(const struct qcow2 *q);
uint64_t q2_count_get(const uint8_t *block, uint64_t index, uint32_t order);
void q2_count_put(uint8_t *block, uint64_t index, uint32_t order, uint64_t count);
bool q2_is_metadata(const struct qcow2 *q, uint64_t offset, uint64_t len);
int q2_corrupt(struct qcow2 *q, const char *what); /* returns -EIO */
/* reftable.c: holder of serial */
int q2_refcounts_write(struct qcow2 *q);
int q2_refblock_for(struct qcow2 *q, uint64_t cluster, bool make, struct table **out);
int q2_refblocks_make(struct qcow2 *q, uint64_t blocks, uint64_t *first);
/* New refcount structures behind everything there is, from counts[0..clusters). */
int q2_refcounts_rebuild(struct qcow2 *q, const uint32_t *counts, uint64_t clusters,
                         uint32_t order);

void q2_iov_put(const struct iovec *iov, int count, uint64_t skip, const uint8_t *from,
                uint64_t len); /* from NULL: zeroes */

/* write.c: holder of serial, who lets go meanwhile; and of a claim on the range */
int q2_write(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iov_count,
             uint64_t skip, uint64_t len); /* iov NULL: zeroes */
/* may_wait: not on the thread that ends the requests in flight. */
int q2_flush(struct qcow2 *q, bool may_wait);
/* The end of a change that was counted in `durable`, with the result r, and unclaimed: what it
 * changed is on the disk, perhaps by the flush of another that ended meanwhile. */
int q2_flush_shared(struct qcow2 *q, int r);
int q2_may_write(struct qcow2 *q); /* before the first change of a request */
int q2_end_of_change(struct qcow2 *q, int r);
/* zero.c: as write.c */
int q2_write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t len, bool unmap);
int q2_discard(struct qcow2 *q, uint64_t offset, uint64_t len);

/* prealloc.c: holder of serial */
bool q2_preallocate(struct qcow2 *q, uint64_t from, uint64_t to, enum blk_prealloc how,
                    GError **err);

/* snapshot.c */
int q2_snapshot_l1(struct qcow2 *q, uint32_t index, uint64_t **l1);
bool q2_snapshots_read(struct qcow2 *q, GError **err);
void q2_snapshots_free(struct qcow2 *q);
/* tree.c: what an L1 table leads to; holder of serial */
enum q2_tree_op { Q2_TREE_TEST_ADD, Q2_TREE_ADD, Q2_TREE_DROP, Q2_TREE_FLAGS };
int q2_tree(struct qcow2 *q, uint64_t *l1, uint32_t entries, enum q2_tree_op op);

/* resize.c */
bool q2_resize(struct blk_node *n, uint64_t size_bytes, GError **err);
int q2_l1_replace(struct qcow2 *q, const uint64_t *l1, uint32_t entries, uint64_t virtual_bytes);
/* repair.c: the main thread, at open */
bool q2_repair_dirty(struct qcow2 *q, GError **err);

#endif
