/* qcow2_build.h - filling a new qcow2 image from front to back, by many threads.
 *
 *     guest:   |aaaa|    |bbbb|cccc|            one thread a piece, any number of threads
 *     file:    header, refcounts, L1 | L2 | aaaa | bbbb | cccc | ... | L2 | more refcounts
 *
 * What convert needs and a running machine does not: clusters are placed in guest order, one behind
 * the other; tables stay in memory until all they describe is written.  From qcow2_build_new() to
 * the end of qcow2_build_finish() the file has no magic number: a copy that was cut off is no image
 * of any format, whatever cut it off.
 *
 * Owner:   the caller, who also owns file, a writable node on an image that qcow2_create() has just
 *          made, empty, of the plain kind: no external data file, no extended L2 entries.
 * Threads: new, finish and free: main.  place: one thread at a time, guest offsets rising.  write:
 *          any thread, after place.
 * Errors:  GError, or -errno; after an error only free is left to call. */
#ifndef BLOCK_QCOW2_BUILD_H
#define BLOCK_QCOW2_BUILD_H

#include "block/block.h"

struct qcow2_build;

enum qcow2_piece_kind { QCOW2_PIECE_PLAIN, QCOW2_PIECE_PACKED, QCOW2_PIECE_ZERO };

struct qcow2_piece {
    enum qcow2_piece_kind kind;
    uint64_t guest_bytes, clusters; /* PACKED: one cluster */
    const uint8_t *data;            /* PLAIN: whole clusters; PACKED: packed_bytes; ZERO: NULL */
    uint64_t packed_bytes;
    uint64_t host_bytes; /* set by place */
};

/* sparse: zero blocks of plain clusters are left as holes. */
struct qcow2_build *qcow2_build_new(struct blk_node *file, bool sparse, GError **err);
uint64_t qcow2_build_cluster_bytes(const struct qcow2_build *b);
int qcow2_build_place(struct qcow2_build *b, struct qcow2_piece *pieces, size_t count);
int qcow2_build_write(struct qcow2_build *b, const struct qcow2_piece *pieces, size_t count);
/* sync: the disk is waited for, before the magic number and after it. */
bool qcow2_build_finish(struct qcow2_build *b, bool sync, GError **err);
void qcow2_build_free(struct qcow2_build *b); /* accepts NULL */

/* One thread's tools to compress and decompress clusters: deflate or zstd. */
struct qcow2_packer;
struct qcow2_packer *qcow2_packer_new(bool zstd);
void qcow2_packer_free(struct qcow2_packer *p); /* accepts NULL */
/* The packed length, or 0 when that would not be shorter than room. */
uint64_t qcow2_pack(struct qcow2_packer *p, const uint8_t *in, uint64_t len, uint8_t *out,
                    uint64_t room);
/* False: in does not begin with a whole packed cluster of out_len bytes. */
bool qcow2_unpack(struct qcow2_packer *p, const uint8_t *in, uint64_t len, uint8_t *out,
                  uint64_t out_len);

#endif
