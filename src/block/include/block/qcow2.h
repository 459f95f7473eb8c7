/* qcow2.h - what tools ask of qcow2 images beyond reading and writing them: making, describing,
 * checking, changing them, and their internal snapshots.
 *
 * Threads: main, and nothing else in flight on the node (blk_drain first).  Errors: GError.
 * Whatever fails in the midst leaves an image that is whole or has leaked clusters: see the rules
 * at the top of qcow2/write.c. */
#ifndef BLOCK_BLOCK_QCOW2_H
#define BLOCK_BLOCK_QCOW2_H

#include "block/block.h"

struct qcow2_bitmap {
    char *name;
    uint64_t granularity_bytes;
    bool in_use, enabled; /* spec: flags in_use, auto */
};

struct qcow2_info {
    uint32_t version, refcount_bits, snapshots;
    uint64_t cluster_bytes;
    uint64_t incompatible, compatible, autoclear;
    bool zstd; /* of compressed clusters; else deflate */
    bool lazy_refcounts, dirty, corrupt, has_bitmaps, extended_l2, data_file_raw;
    char *backing_file, *backing_format; /* as the header has them; NULL: none */
    char *data_file;                     /* external data file, likewise */
    struct qcow2_bitmap *bitmaps;
    uint32_t bitmap_count;
};

struct qcow2_create {
    uint64_t size_bytes;
    uint32_t version;       /* 2 or 3 */
    uint64_t cluster_bytes; /* a power of two, 512 bytes to 2 MiB */
    uint32_t refcount_bits; /* 1, 2, 4 .. 64; 0: 16 */
    bool lazy_refcounts, zstd, extended_l2, data_file_raw;
    bool no_sync; /* the disk is not waited for: nobody uses the image before it is filled */
    enum blk_prealloc preallocation;
    const char *backing_file, *backing_format; /* NULL: none */
    const char *data_file;                     /* NULL: none; made, or emptied, with the image */
};

/* Replaces what is at path.  The caller holds the image's lock through a node that it closes
 * afterwards.  Contradictory options are refused before anything is touched. */
bool qcow2_create(const char *path, const struct qcow2_create *c, GError **err);
/* How long the file of an image made like c becomes with so many bytes of data in it, and with all
 * of them (qemu-img measure). */
struct qcow2_measure {
    uint64_t required_bytes, full_bytes;
};
bool qcow2_measure(const struct qcow2_create *c, uint64_t data_bytes, struct qcow2_measure *out,
                   GError **err);
/* NULL when n is no qcow2 node. */
const struct qcow2_info *qcow2_info(const struct blk_node *n);
const struct blk_node *qcow2_backing(const struct blk_node *n); /* the opened one, or NULL */

/* ---- check ---- */

enum { QCOW2_FIX_LEAKS = 1, QCOW2_FIX_ERRORS = 2 };
struct qcow2_check {
    uint64_t leaks, corruptions, leaks_fixed, corruptions_fixed;
    uint64_t allocated_clusters, total_clusters, compressed_clusters, fragmented_clusters;
    uint64_t end_bytes;
};
/* report is called with one line about each finding.  To repair, open the image writable with
 * for-check=on: damaged images are then opened too, and guest writes refused. */
bool qcow2_check(struct blk_node *n, unsigned fix,
                 void (*report)(void *opaque, bool is_leak, const char *text), void *opaque,
                 struct qcow2_check *out, GError **err);

/* ---- changing ---- */

/* blk_resize() with preallocation of what is added. */
bool qcow2_resize(struct blk_node *n, uint64_t size_bytes, enum blk_prealloc how, GError **err);
/* Other names in the header; the opened backing image stays what it was.  file NULL: none. */
bool qcow2_set_backing(struct blk_node *n, const char *file, const char *format, GError **err);
/* All clusters are given up: every byte is the backing image's again, or zero. */
bool qcow2_make_empty(struct blk_node *n, GError **err);

struct qcow2_amend {
    uint32_t version;                                      /* 0: as it is */
    uint32_t refcount_bits;                                /* 0: as it is */
    int lazy_refcounts, data_file_raw;                     /* -1: as it is */
    const char *backing_file, *backing_format, *data_file; /* NULL: as it is; "": none */
    uint64_t size_bytes;                                   /* UINT64_MAX: as it is */
};
#define QCOW2_AMEND_NOTHING                                                                        \
    (struct qcow2_amend)                                                                           \
    {                                                                                              \
        .lazy_refcounts = -1, .data_file_raw = -1, .size_bytes = UINT64_MAX                        \
    }
bool qcow2_amend(struct blk_node *n, const struct qcow2_amend *a, blk_progress_fn progress,
                 void *opaque, GError **err);

/* ---- internal snapshots ---- */

struct qcow2_snapshot {
    char *id, *name;
    uint64_t date_seconds, vm_clock_ns, vm_state_bytes, icount, disk_bytes; /* icount ~0: none */
    uint32_t date_ns;
};
/* Valid until the next change of the snapshots; *count 0: NULL. */
const struct qcow2_snapshot *qcow2_snapshots(const struct blk_node *n, uint32_t *count);
/* which: an ID, else a name. */
bool qcow2_snapshot_create(struct blk_node *n, const char *name, GError **err);
bool qcow2_snapshot_apply(struct blk_node *n, const char *which, GError **err);
bool qcow2_snapshot_delete(struct blk_node *n, const char *which, GError **err);
/* A read-only node shows the snapshot's disk from now on (convert -l). */
bool qcow2_snapshot_show(struct blk_node *n, const char *which, GError **err);

#endif
