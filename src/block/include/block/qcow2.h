/* qcow2.h - what tools ask of qcow2 images beyond reading and writing them: making, describing and
 * checking.
 *
 * Threads: main.  Errors: GError. */
#ifndef BLOCK_BLOCK_QCOW2_H
#define BLOCK_BLOCK_QCOW2_H

#include "block/block.h"

struct qcow2_info {
    uint32_t version, refcount_bits, snapshots;
    uint64_t cluster_bytes;
    uint64_t incompatible, compatible, autoclear;
    bool zstd; /* of compressed clusters; else deflate */
    bool lazy_refcounts, dirty, corrupt, has_bitmaps;
    char *backing_file, *backing_format; /* as the header has them; NULL: none */
};

struct qcow2_create {
    uint64_t size_bytes;
    uint32_t version;       /* 2 or 3 */
    uint64_t cluster_bytes; /* a power of two, 512 bytes to 2 MiB */
    bool lazy_refcounts, zstd;
    const char *backing_file, *backing_format; /* NULL: none */
};

/* Replaces what is at path.  The caller holds the image's lock. */
bool qcow2_create(const char *path, const struct qcow2_create *c, GError **err);
/* NULL when n is no qcow2 node. */
const struct qcow2_info *qcow2_info(const struct blk_node *n);
const struct blk_node *qcow2_backing(const struct blk_node *n); /* the opened one, or NULL */

struct qcow2_check {
    uint64_t leaks, corruptions, leaks_fixed;
    uint64_t allocated_clusters, total_clusters, compressed_clusters, end_bytes;
};
/* report is called with one line about each finding. */
bool qcow2_check(struct blk_node *n, bool fix_leaks,
                 void (*report)(void *opaque, bool is_leak, const char *text), void *opaque,
                 struct qcow2_check *out, GError **err);

#endif
