/* write.c - the order in which changes reach the disk, and writing.
 *
 * Killed at any point, after any subset of the writes since the last barrier has reached the disk,
 * an image is whole or has leaked clusters, and holds every write that was flushed.  Rules:
 *  1. A cluster is counted on the disk before anything on the disk points to it: refcount blocks,
 *     barrier, refcount table; barrier; then L2; barrier; then L1.
 *  2. A new data cluster is complete on the disk, copied head and tail included, before the L2
 *     entry that makes it visible: the barrier between refcounts and L2 covers data too.
 *  3. L2 tables and the L1 table reach the disk in q2_flush() only.  An L2 table that must leave
 *     the cache causes a flush.
 *  4. A cluster that is no longer wanted keeps its count until no entry on the disk points to it:
 *     it waits in `pending`, and is uncounted after the barrier behind the L1 table.
 *  5. Hence a refcount block in memory never says less than the disk needs: it may be written at
 *     any time.
 *  6. A cluster is not uncounted while a request that the loop's thread let through, or a
 *     worker's transfer, may still be on its way to it: q2_flush() waits until these have ended.
 *  7. Data is written in place only where the entry says COPIED, and never over the header, the L1
 *     table or the refcount table, whatever an entry says.
 *  8. A guest's flush ends after a barrier behind everything above; a write with FUA likewise.
 *     Writes with FUA that several workers do at the same time share it: the last of them flushes.
 *  9. Of two changes to one cluster's entry the second begins when the first is done: who lets go
 *     of `serial` during a transfer has claimed the clusters of its range.
 * 10. Snapshots, sizes, widths of counts and emptying switch over by one write of the header's
 *     first sector, behind a barrier; what only the old or only the new state needs stays counted
 *     until another barrier behind it.  While counts and COPIED flags of many clusters change the
 *     dirty bit is on the disk (version 3).
 * 11. With lazy refcounts the dirty bit is on the disk before the first change and goes after the
 *     last; meanwhile counts are written when it suits.
 * 12. After a failed barrier, or tables that contradict themselves, nothing is written any more. */
#include "qcow2.h"

#include <errno.h>
#include <stdlib.h>

enum { PENDING_MAX = 4096, ZERO_BYTES = 64 * 1024 };
static uint8_t zeroes[ZERO_BYTES];

/* ---- flushing ---- */

/* Rule 6.  False: they have not ended, and this thread may be the one that ends them. */
static bool wait_fast(struct qcow2 *q, bool may_wait)
{
    pthread_mutex_lock(&q->tables);
    q->quiesce = may_wait;
    while (may_wait && (q->fast_inflight || q->slow_inflight))
        pthread_cond_wait(&q->fast_idle, &q->tables);
    bool idle = q->fast_inflight == 0 && q->slow_inflight == 0;
    q->quiesce = false;
    pthread_mutex_unlock(&q->tables);
    return idle;
}

static int free_pending(struct qcow2 *q, bool may_wait)
{
    if (!q->pending->len || !wait_fast(q, may_wait))
        return 0;
    g_autoptr(GArray) list = q->pending;
    q->pending = g_array_new(FALSE, FALSE, sizeof(struct range));
    q->pending_clusters = 0;
    q->unpacked_entry = 0;
    q->frees++;
    for (guint i = 0; i < list->len; i++) {
        struct range *range = &g_array_index(list, struct range, i);
        int r = q2_free_now(q, range->offset_bytes, range->clusters);
        if (r < 0)
            return r; /* the rest leaks */
    }
    return q->keep_refcounts_lazy ? 0 : q2_refcounts_write(q);
}

int q2_flush(struct qcow2 *q, bool may_wait)
{
    if (q->failed)
        return -EIO;
    if (q->corrupt || !q->meta_dirty)
        return q2_barrier(q);
    bool tables = q->l2.dirty || q->l1_dirty_from < q->l1_dirty_to;
    int r = q->keep_refcounts_lazy ? 0 : q2_refcounts_write(q);
    if (r == 0 && tables)
        r = q2_barrier(q);
    if (r == 0)
        r = q2_cache_write(q, &q->l2);
    if (r == 0)
        r = q2_l1_write(q);
    if (r == 0)
        r = q2_barrier(q);
    if (r == 0)
        r = free_pending(q, may_wait);
    if (r < 0)
        return r;
    pthread_mutex_lock(&q->tables);
    q->meta_dirty = q->pending->len > 0;
    pthread_mutex_unlock(&q->tables);
    return 0;
}

int q2_flush_shared(struct qcow2 *q, int r)
{
    q->durable--;
    uint64_t mine = r == 0 ? ++q->changes : 0;
    while (r == 0 && q->durable && q->flushed < mine)
        pthread_cond_wait(&q->flush_due, &q->serial);
    if (r == 0 && q->flushed < mine) {
        uint64_t all = q->changes;
        r = q2_flush(q, true);
        q->flushed = r == 0 ? all : q->flushed;
    }
    pthread_cond_broadcast(&q->flush_due); /* flushed, or each by itself */
    return r;
}

/* ---- writing ---- */

/* Before the first change: bitmaps that track it say so on the disk, with lazy refcounts the image
 * itself (spec "Dirty bit"). */
int q2_may_write(struct qcow2 *q)
{
    if (q->corrupt || q->failed)
        return -EIO;
    if (q->for_check)
        return -EPERM;
    int r = q->track_count && !q->tracks_marked ? q2_tracks_mark(q) : 0;
    if (r < 0)
        return r;
    if (!q->keep_refcounts_lazy || q->marked_dirty)
        return 0;
    r = q2_set_incompatible(q, q->info.incompatible | Q2_INCOMPAT_DIRTY);
    q->marked_dirty = r == 0;
    return r;
}

static int write_data(struct qcow2 *q, uint64_t host, const struct iovec *iov, int count,
                      uint64_t skip, uint64_t len)
{
    if (iov)
        return q2_io_iov(q->data, BLK_WRITE, host, iov, count, skip, len);
    while (len) {
        uint64_t n = MIN_OF(len, (uint64_t)ZERO_BYTES);
        int r = q2_io(q->data, BLK_WRITE, host, zeroes, n);
        if (r < 0)
            return r;
        host += n;
        len -= n;
    }
    return 0;
}

/* The guest's bytes [offset, offset+len), less than a cluster, as they were, to host. */
static int copy_part(struct qcow2 *q, uint64_t offset, uint64_t host, uint64_t len, bool fresh)
{
    struct iovec iov = {NULL, len};

    if (len == 0)
        return 0;
    if (posix_memalign(&iov.iov_base, 4096, len))
        return -ENOMEM;
    int r = q2_read(q, offset, &iov, 1, 0, len);
    if (r == 0 && !(fresh && blk_iov_is_zero(&iov, 1))) {
        q2_let_go(q);
        r = q2_io(q->data, BLK_WRITE, host, iov.iov_base, len);
        q2_take_back(q);
    }
    free(iov.iov_base);
    return r;
}

/* Guest data, or zeroes when iov is NULL. */
static int transfer(struct qcow2 *q, uint64_t host, const struct iovec *iov, int count,
                    uint64_t skip, uint64_t len)
{
    q2_let_go(q);
    int r = write_data(q, host, iov, count, skip, len);
    q2_take_back(q);
    return r;
}

struct target {
    uint64_t host; /* of the first cluster */
    uint64_t clusters;
    uint64_t grain; /* what must be complete: a cluster, or a subcluster */
    bool fresh;     /* lies where the file never reached: reads as zeroes */
    bool reused;    /* a place that was kept */
};

static int guard(struct qcow2 *q, uint64_t host, uint64_t len)
{
    return q->data == q->file && q2_is_metadata(q, host, len)
               ? q2_corrupt(q, "an L2 entry points to metadata")
               : 0;
}

static int find_target(struct qcow2 *q, uint64_t offset, const struct extent *e, uint64_t clusters,
                       struct target *t)
{
    uint64_t end = q->file_end;

    *t = (struct target){.clusters = clusters, .grain = q->sub_bytes};
    if (e->kind != Q2_NORMAL && e->has_host && e->copied) {
        t->reused = true;
        t->host = e->host_bytes - (offset & (q->cluster_bytes - 1));
        return guard(q, t->host, clusters << q->cluster_bits);
    }
    if (e->has_host || e->kind == Q2_DEFLATED)
        t->grain = q->cluster_bytes; /* the rest of the cluster moves too */
    if (q->data != q->file) {        /* where the guest has it; what is there is not known */
        t->host = ALIGN_DOWN(offset, q->cluster_bytes);
        return 0;
    }
    int r = q2_alloc(q, clusters, &t->host, &t->clusters);
    t->fresh = q->regular_file && t->host >= ALIGN_UP(end, q->cluster_bytes);
    return r;
}

/* Writes to the start of extent e, which cannot be written in place.  *done: how much. */
static int write_new(struct qcow2 *q, uint64_t offset, const struct extent *e,
                     const struct iovec *iov, int count, uint64_t skip, uint64_t *done)
{
    uint64_t first = ALIGN_DOWN(offset, q->cluster_bytes);
    uint64_t want = offset - first + e->len_bytes;
    struct target t;
    struct table *l2;
    int r = q2_l2_writable(q, offset, &l2); /* first: may flush, may fail */

    if (r == 0)
        r = find_target(q, offset, e, (want + q->cluster_bytes - 1) >> q->cluster_bits, &t);
    if (r < 0)
        return r;
    uint64_t end = MIN_OF(offset + e->len_bytes, first + (t.clusters << q->cluster_bits));
    uint64_t from = ALIGN_DOWN(offset, t.grain), to = ALIGN_UP(end, t.grain);
    *done = end - offset;
    r = copy_part(q, from, t.host + (from - first), offset - from, t.fresh);
    if (r == 0)
        r = copy_part(q, end, t.host + (end - first), to - end, t.fresh);
    if (r == 0)
        r = transfer(q, t.host + (offset - first), iov, count, skip, *done);
    if (r == 0)
        r = q2_l2_set(q, from, to - from, t.host, Q2_SET_DATA);
    else if (!t.reused && q->data == q->file)
        q2_free_now(q, t.host, t.clusters); /* nothing points there yet */
    return r;
}

/* Host space comes back, and memory stays bounded, without waiting for a guest's flush. */
int q2_end_of_change(struct qcow2 *q, int r)
{
    return r == 0 && q->pending_clusters > PENDING_MAX ? q2_flush(q, true) : r;
}

int q2_write(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iov_count,
             uint64_t skip, uint64_t len)
{
    int r = q2_may_write(q);

    while (r == 0 && len) {
        struct extent e;
        uint64_t done = 0;
        r = q2_map(q, offset, len, &e);
        if (r < 0)
            return r;
        if (e.kind == Q2_NORMAL && e.copied) {
            done = e.len_bytes;
            r = guard(q, e.host_bytes, done);
            if (r == 0)
                r = transfer(q, e.host_bytes, iov, iov_count, skip, done);
        } else {
            r = write_new(q, offset, &e, iov, iov_count, skip, &done);
        }
        offset += done;
        skip += done;
        len -= done;
    }
    return q2_end_of_change(q, r);
}
