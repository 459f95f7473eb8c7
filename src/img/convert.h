/* convert.h - what the parts of the verb convert share.
 *
 *   convert.c       options; opens both sides
 *   convert_copy.c  deals out the source in pieces, to threads
 *   convert_put.c   what a thread does with a piece: zeroes found, clusters packed, written
 *
 *   main thread --starts--> worker: take a slot and a piece (lock) -> read -> scan, compress
 *                                   -> ready; place all that are ready, in order -> write -> next
 *
 * The target is filled by one of three: a new plain qcow2 image by block/qcow2_build.h; a raw one,
 * and every image that was there before, by requests to its node. */
#ifndef IMG_CONVERT_H
#define IMG_CONVERT_H

#include "img.h"

#include "block/qcow2_build.h"

#include <pthread.h>

enum { CONVERT_PIECE_BYTES = 1 << 20, CONVERT_THREADS_MIN = 4, CONVERT_THREADS_MAX = 16 };

struct source {
    const char *path;
    struct blk_node *node;
    uint64_t start_bytes, size_bytes; /* in the target; size rounded up to sectors */
};

enum piece_kind { PIECE_SKIP, PIECE_ZERO, PIECE_DATA };

/* What the source says of a range: from one answer about its status. */
struct segment {
    enum piece_kind kind;
    uint64_t at, end;
    struct blk_node *host; /* DATA: where the bytes lie as they are, or NULL */
    uint64_t host_at;      /* of `at` */
};

struct piece {
    enum piece_kind kind;
    uint64_t at, len, ticket;
    struct blk_node *host;
    uint64_t host_at;
};

struct convert {
    /* what was asked for */
    struct img_open from, into;
    struct img_target to;
    const char *target, *snapshot;
    struct source *sources;
    unsigned source_count, threads;
    bool progress, quiet, no_create, target_is_zero, compress, out_of_order, salvage;
    bool target_image_opts, has_backing, offload, help;
    char *snapshot_text;
    uint64_t sparse_bytes, rate; /* rate: bytes a second, 0: no limit */
    /* set up before the threads start */
    struct blk_node *out;
    struct qcow2_build *build; /* NULL: by requests to out */
    uint64_t size, grain;      /* pieces begin and end at multiples of grain */
    uint64_t backing_size;     /* has_backing: of the target's backing image */
    bool existed, made;        /* the target: before; by us, so it is ours to remove */
    bool zstd;
    bool in_order; /* pieces take turns, for a file in the guest's order */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t freed, ended; /* a slot; a thread */
    uint64_t next, done, tickets, turn, copied;
    struct slot *slots;
    unsigned slot_count;
    bool placing; /* somebody takes the turns of all that are ready */
    struct segment segment;
    unsigned running;
    uint64_t started_ns;
    int failed; /* -errno of the first failure */
    bool failed_reading;
    uint64_t failed_at;
};

/* One piece's memory, from the taking of it to the end of its writing.  There are more than
 * threads: who has to wait for a turn leaves the piece, ready, to the one whose turn it is, and
 * takes another. */
struct slot {
    struct piece p;
    bool used, ready, failed; /* under lock; failed: nothing to write */
    uint8_t *buf, *packed;    /* packed: convert -c */
    struct qcow2_piece *list; /* what p becomes in a new qcow2 image */
    size_t count;
};

/* One thread's tools. */
struct copier {
    struct convert *c;
    pthread_t thread;
    struct slot *slot;                         /* what it works on */
    struct qcow2_packer *packer, *unpacker[2]; /* unpacker: deflate, zstd; when first needed */
    uint8_t *raw;                              /* a packed cluster, then it unpacked */
};

/* convert_copy.c */
bool convert_copy(struct convert *c, GError **err);

/* convert_put.c */
bool copier_init(struct copier *w, struct convert *c);
void copier_clear(struct copier *w);
bool slot_init(struct slot *s, const struct convert *c);
void slot_clear(struct slot *s);
/* buf holds p's bytes when it is DATA.  Prepare and write: any thread; place: in turn.  The host
 * lets one thread at a time write to a cached file, and lays out best what comes in order: then the
 * writing is a part of placing. */
void slot_prepare(struct copier *w, struct slot *s);
int slot_place(struct convert *c, struct slot *s);
int slot_write(struct convert *c, struct slot *s);

#endif
