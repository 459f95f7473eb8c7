/* write.c - everything that changes an image.
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
 *  6. A cluster is not uncounted while a request that the loop's thread let through may still be
 *     on its way to it: q2_flush() waits until these have ended.
 *  7. Data is written in place only where the entry says COPIED, and never over the header, the L1
 *     table or the refcount table, whatever an entry says.
 *  8. A guest's flush ends after a barrier behind everything above; a write with FUA likewise.
 *  9. After a failed barrier, or tables that contradict themselves, nothing is written any more. */
#include "qcow2.h"

#include <errno.h>

enum { PENDING_MAX = 4096, ZERO_BYTES = 64 * 1024 };
static uint8_t zeroes[ZERO_BYTES];

/* ---- flushing ---- */

static int write_l1(struct qcow2 *q)
{
    uint32_t from = q->l1_dirty_from, to = q->l1_dirty_to;

    if (from >= to)
        return 0;
    int r = q2_barrier(q); /* the L2 tables it points to */
    if (r < 0)
        return r;
    g_autofree uint64_t *be = g_try_new(uint64_t, to - from);
    if (!be)
        return -ENOMEM;
    for (uint32_t i = from; i < to; i++)
        be64_put(&be[i - from], q->l1[i]);
    r = q2_io(q->file, BLK_WRITE, q->l1_offset + (uint64_t)from * 8, be, (uint64_t)(to - from) * 8);
    if (r < 0)
        return r;
    q->l1_dirty_from = UINT32_MAX;
    q->l1_dirty_to = 0;
    return 0;
}

/* Rule 6.  False: they have not ended, and this thread may be the one that ends them. */
static bool wait_fast(struct qcow2 *q, bool may_wait)
{
    pthread_mutex_lock(&q->tables);
    q->quiesce = may_wait;
    while (may_wait && q->fast_inflight)
        pthread_cond_wait(&q->fast_idle, &q->tables);
    bool idle = q->fast_inflight == 0;
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
    for (guint i = 0; i < list->len; i++) {
        struct range *range = &g_array_index(list, struct range, i);
        int r = q2_free_now(q, range->offset_bytes, range->clusters);
        if (r < 0)
            return r; /* the rest leaks */
    }
    return q2_refcounts_write(q);
}

int q2_flush(struct qcow2 *q, bool may_wait)
{
    if (q->failed)
        return -EIO;
    if (q->corrupt || !q->meta_dirty)
        return q2_barrier(q);
    bool tables = q->l2.dirty || q->l1_dirty_from < q->l1_dirty_to;
    int r = q2_refcounts_write(q);
    if (r == 0 && tables)
        r = q2_barrier(q);
    if (r == 0)
        r = q2_cache_write(q, &q->l2);
    if (r == 0)
        r = write_l1(q);
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

/* ---- L2 tables to write to ---- */

static int l2_new(struct qcow2 *q, uint64_t l1_index, uint64_t old, struct table **out)
{
    uint64_t host, got;
    struct table *from = NULL;
    int r = q2_alloc(q, 1, &host, &got);

    if (r == 0)
        r = q2_l2_load(q, host, true, out);
    if (r == 0 && old) { /* a snapshot's too: copied, the entries keep their clear COPIED bits */
        r = q2_offset_ok(q, old) ? q2_l2_load(q, old, false, &from)
                                 : q2_corrupt(q, "an L1 entry points outside the file");
        if (r == 0) /* loading may have moved the new one out of the cache */
            r = q2_l2_load(q, host, false, out);
    }
    if (r < 0)
        return r;
    pthread_mutex_lock(&q->tables);
    if (from) {
        memcpy((*out)->data, from->data, q->cluster_bytes);
        q->l2.dirty += !(*out)->dirty;
        (*out)->dirty = true;
    }
    q->l1[l1_index] = host | Q2_COPIED;
    q->l1_dirty_from = MIN_OF(q->l1_dirty_from, (uint32_t)l1_index);
    q->l1_dirty_to = MAX_OF(q->l1_dirty_to, (uint32_t)l1_index + 1);
    q->meta_dirty = true;
    pthread_mutex_unlock(&q->tables);
    if (old)
        q2_free_later(q, old, 1);
    return 0;
}

static int l2_writable(struct qcow2 *q, uint64_t offset, struct table **out)
{
    uint64_t l1_index = offset >> (q->cluster_bits + q->l2_bits);
    uint64_t entry = q->l1[l1_index], place = entry & Q2_OFFSET_MASK;

    if (!place || !(entry & Q2_COPIED))
        return l2_new(q, l1_index, place, out);
    if (!q2_offset_ok(q, place) || q2_is_metadata(q, place, q->cluster_bytes))
        return q2_corrupt(q, "an L1 entry points to an impossible place");
    return q2_l2_load(q, place, false, out);
}

static void free_entry(struct qcow2 *q, uint64_t entry)
{
    uint64_t offset = entry & Q2_OFFSET_MASK, len = q->cluster_bytes;

    if (entry & Q2_COMPRESSED)
        q2_packed_place(q, entry, &offset, &len);
    if (!offset)
        return;
    uint64_t first = offset >> q->cluster_bits, last = (offset + len - 1) >> q->cluster_bits;
    q2_free_later(q, first << q->cluster_bits, last - first + 1);
}

/* Entries of `count` clusters from offset on: host|bits rising by a cluster, or the same bits for
 * all when host is 0.  What they pointed to is let go. */
static int l2_set(struct qcow2 *q, uint64_t offset, uint64_t count, uint64_t host, uint64_t bits)
{
    uint64_t index = (offset >> q->cluster_bits) & (BIT64(q->l2_bits) - 1);
    struct table *t;
    int r = l2_writable(q, offset, &t);

    if (r < 0)
        return r;
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *p = t->data + (index + i) * 8;
        uint64_t old = be64_get(p), now = host ? (host + (i << q->cluster_bits)) | bits : bits;
        pthread_mutex_lock(&q->tables);
        be64_put(p, now);
        pthread_mutex_unlock(&q->tables);
        if ((old & Q2_COMPRESSED) || (old & Q2_OFFSET_MASK) != (now & Q2_OFFSET_MASK))
            free_entry(q, old);
    }
    pthread_mutex_lock(&q->tables);
    q->l2.dirty += !t->dirty;
    t->dirty = true;
    q->meta_dirty = true;
    pthread_mutex_unlock(&q->tables);
    return 0;
}

/* ---- writing ---- */

static int write_data(struct qcow2 *q, uint64_t host, const struct iovec *iov, int count,
                      uint64_t skip, uint64_t len)
{
    if (iov)
        return q2_io_iov(q->file, BLK_WRITE, host, iov, count, skip, len);
    while (len) {
        uint64_t n = MIN_OF(len, (uint64_t)ZERO_BYTES);
        int r = q2_io(q->file, BLK_WRITE, host, zeroes, n);
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
    struct iovec iov = {q->cow, len};

    if (len == 0)
        return 0;
    int r = q2_read(q, offset, &iov, 1, 0, len);
    if (r < 0 || (fresh && blk_iov_is_zero(&iov, 1)))
        return r;
    return q2_io(q->file, BLK_WRITE, host, q->cow, len);
}

struct target {
    uint64_t host, clusters;
    bool fresh;  /* lies where the file never reached: reads as zeroes */
    bool reused; /* a zero cluster that kept its place */
};

static int find_target(struct qcow2 *q, const struct extent *e, uint64_t clusters, struct target *t)
{
    uint64_t end = q->file_end;

    *t = (struct target){.host = e->host_bytes, .clusters = 1};
    if (e->kind == Q2_ZEROES && e->host_bytes && e->copied) {
        t->reused = true;
        return q2_is_metadata(q, t->host, q->cluster_bytes)
                   ? q2_corrupt(q, "an L2 entry points to metadata")
                   : 0;
    }
    int r = q2_alloc(q, clusters, &t->host, &t->clusters);
    t->fresh = q->regular_file && t->host >= ALIGN_UP(end, q->cluster_bytes);
    return r;
}

/* Writes to the start of extent e, which cannot be written in place.  *done: how much. */
static int write_new(struct qcow2 *q, uint64_t offset, const struct extent *e,
                     const struct iovec *iov, int count, uint64_t skip, uint64_t *done)
{
    uint64_t first = ALIGN_DOWN(offset, q->cluster_bytes), head = offset - first;
    struct target t;
    struct table *l2;
    int r = l2_writable(q, offset, &l2); /* first: may flush, may fail */

    if (r == 0)
        r = find_target(q, e, (head + e->len_bytes + q->cluster_bytes - 1) >> q->cluster_bits, &t);
    if (r < 0)
        return r;
    uint64_t end = MIN_OF(offset + e->len_bytes, first + (t.clusters << q->cluster_bits));
    *done = end - offset;
    uint64_t host_end = t.host + (end - first);
    r = copy_part(q, first, t.host, head, t.fresh);
    if (r == 0)
        r = copy_part(q, end, host_end, ALIGN_UP(end, q->cluster_bytes) - end, t.fresh);
    if (r == 0)
        r = write_data(q, t.host + head, iov, count, skip, *done);
    if (r == 0)
        r = l2_set(q, first, t.clusters, t.host, Q2_COPIED);
    else if (!t.reused)
        q2_free_now(q, t.host, t.clusters); /* nothing points there yet */
    return r;
}

static int may_write(const struct qcow2 *q)
{
    return q->corrupt || q->failed ? -EIO : 0;
}

/* Host space comes back, and memory stays bounded, without waiting for a guest's flush. */
static int end_of_change(struct qcow2 *q, int r)
{
    return r == 0 && q->pending_clusters > PENDING_MAX ? q2_flush(q, true) : r;
}

int q2_write(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iov_count,
             uint64_t skip, uint64_t len)
{
    int r = may_write(q);

    while (r == 0 && len) {
        struct extent e;
        uint64_t done = 0;
        r = q2_map(q, offset, len, &e);
        if (r < 0)
            return r;
        if (e.kind == Q2_NORMAL && e.copied) {
            done = e.len_bytes;
            r = q2_is_metadata(q, e.host_bytes, done)
                    ? q2_corrupt(q, "an L2 entry points to metadata")
                    : write_data(q, e.host_bytes, iov, iov_count, skip, done);
        } else {
            r = write_new(q, offset, &e, iov, iov_count, skip, &done);
        }
        offset += done;
        skip += done;
        len -= done;
    }
    return end_of_change(q, r);
}

/* ---- zeroes and holes ---- */

static bool reads_as_zero(const struct qcow2 *q, const struct extent *e)
{
    return e->kind == Q2_ZEROES || (e->kind == Q2_UNALLOCATED && !q->backing);
}

static int zero_part(struct qcow2 *q, uint64_t offset, const struct extent *e)
{
    if (reads_as_zero(q, e))
        return 0;
    if (e->kind == Q2_NORMAL && e->copied && q2_is_metadata(q, e->host_bytes, e->len_bytes))
        return q2_corrupt(q, "an L2 entry points to metadata");
    if (e->kind == Q2_NORMAL && e->copied)
        return q2_io(q->file, BLK_WRITE_ZEROES, e->host_bytes, NULL, e->len_bytes);
    return q2_write(q, offset, NULL, 0, 0, e->len_bytes);
}

static int zero_clusters(struct qcow2 *q, uint64_t offset, const struct extent *e, uint64_t count,
                         bool unmap)
{
    if (q->info.version < 3)
        return zero_part(q, offset, e);
    if (e->kind == Q2_ZEROES && (!e->host_bytes || !unmap))
        return 0;
    if (e->kind == Q2_UNALLOCATED && !q->backing)
        return 0;
    if (e->kind == Q2_NORMAL && e->copied && !unmap)
        return l2_set(q, offset, count, e->host_bytes, Q2_COPIED | Q2_ZERO);
    return l2_set(q, offset, count, 0, Q2_ZERO);
}

int q2_write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t len, bool unmap)
{
    uint64_t end = offset + len, mask = q->cluster_bytes - 1;
    int r = may_write(q);

    while (r == 0 && offset < end) {
        struct extent e;
        uint64_t want = end - offset;
        bool whole = (offset & mask) == 0 && (want > mask || end == q->virtual_bytes);
        if ((offset & mask) != 0)
            want = MIN_OF(want, q->cluster_bytes - (offset & mask));
        else if (want > mask && end != q->virtual_bytes)
            want &= ~mask;
        r = q2_map(q, offset, want, &e);
        if (r < 0)
            return r;
        r = whole ? zero_clusters(q, offset, &e, (e.len_bytes + mask) >> q->cluster_bits, unmap)
                  : zero_part(q, offset, &e);
        offset += e.len_bytes;
    }
    return end_of_change(q, r);
}

int q2_discard(struct qcow2 *q, uint64_t offset, uint64_t len)
{
    uint64_t mask = q->cluster_bytes - 1, end = offset + len;
    int r = may_write(q);

    if (q->backing && q->info.version < 3)
        return r; /* a hole would show the backing image's old bytes */
    offset = ALIGN_UP(offset, q->cluster_bytes);
    if (end != q->virtual_bytes)
        end &= ~mask;
    while (r == 0 && offset < end) {
        struct extent e;
        r = q2_map(q, offset, end - offset, &e);
        if (r < 0)
            return r;
        if (e.kind != Q2_UNALLOCATED && !(e.kind == Q2_ZEROES && !e.host_bytes))
            r = l2_set(q, offset, (e.len_bytes + mask) >> q->cluster_bits, 0,
                       q->backing ? Q2_ZERO : 0);
        else if (e.kind == Q2_UNALLOCATED && q->backing)
            r = l2_set(q, offset, (e.len_bytes + mask) >> q->cluster_bits, 0, Q2_ZERO);
        offset += e.len_bytes;
    }
    return end_of_change(q, r);
}
