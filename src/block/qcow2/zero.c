/* zero.c - zeroes and holes.
 *
 * In version 3 a cluster (with extended L2 entries: a subcluster) can say that it reads as zeroes;
 * in version 2 zeroes are written, or left to a hole where no backing image would show through. */
#include "qcow2.h"

#include <errno.h>

static int zero_in_place(struct qcow2 *q, const struct extent *e)
{
    if (q->data == q->file && q2_is_metadata(q, e->host_bytes, e->len_bytes))
        return q2_corrupt(q, "an L2 entry points to metadata");
    return q2_io(q->data, BLK_WRITE_ZEROES, e->host_bytes, NULL, e->len_bytes);
}

static bool reads_as_zero(const struct qcow2 *q, const struct extent *e)
{
    return e->kind == Q2_ZEROES || (e->kind == Q2_UNALLOCATED && !q->backing);
}

/* Less than what an entry can say. */
static int zero_part(struct qcow2 *q, uint64_t offset, const struct extent *e)
{
    if (reads_as_zero(q, e))
        return 0;
    if (e->kind == Q2_NORMAL && e->copied)
        return zero_in_place(q, e);
    return q2_write(q, offset, NULL, 0, 0, e->len_bytes);
}

/* A raw external file must read as the guest reads: the zeroes are its own. */
static int zero_raw_data(struct qcow2 *q, uint64_t offset, const struct extent *e, bool unmap)
{
    struct blk_req req = {.op = BLK_WRITE_ZEROES,
                          .flags = unmap ? BLK_REQ_UNMAP : 0,
                          .offset_bytes = offset,
                          .len_bytes = e->len_bytes,
                          .node = q->data};

    return reads_as_zero(q, e) ? 0 : q->data->drv->sync(q->data, &req);
}

/* External data is let go at once: it is not given to anybody else. */
static void discard_external(struct qcow2 *q, const struct extent *e, uint64_t len)
{
    if (q->data != q->file && e->has_host && q->node->unmap)
        q2_io(q->data, BLK_DISCARD, e->host_bytes, NULL, len);
}

/* Whole clusters; e describes the first of them, and all when it is that long. */
static int zero_clusters(struct qcow2 *q, uint64_t offset, const struct extent *e, uint64_t len,
                         bool unmap)
{
    bool uniform = e->len_bytes >= len;

    if (uniform && e->kind == Q2_ZEROES && (!e->has_host || !unmap))
        return 0;
    if (uniform && e->kind == Q2_UNALLOCATED && !q->backing && !e->has_host)
        return 0;
    if (e->kind != Q2_DEFLATED && e->has_host && e->copied && !unmap)
        return q2_l2_set(q, offset, ALIGN_UP(len, q->cluster_bytes), Q2_KEEP_HOST, Q2_SET_ZERO);
    if (unmap)
        discard_external(q, e, len);
    return q2_l2_set(q, offset, ALIGN_UP(len, q->cluster_bytes), Q2_NO_HOST, Q2_SET_ZERO);
}

static int zero_v2(struct qcow2 *q, uint64_t offset, const struct extent *e, bool unmap)
{
    bool whole = ((offset | e->len_bytes) & (q->cluster_bytes - 1)) == 0;

    if (unmap && whole && !q->backing && e->kind != Q2_UNALLOCATED)
        return q2_l2_set(q, offset, e->len_bytes, Q2_NO_HOST, Q2_SET_NONE);
    return zero_part(q, offset, e);
}

/* One step: whole clusters, or subclusters, or less.  *done: how far it went. */
static int zero_step(struct qcow2 *q, uint64_t offset, uint64_t end, bool unmap, uint64_t *done)
{
    uint64_t mask = q->cluster_bytes - 1, want = end - offset;
    bool to_end = end == q->virtual_bytes;
    bool whole = (offset & mask) == 0 && (want > mask || to_end);
    struct extent e;

    if (offset & mask)
        want = MIN_OF(want, q->cluster_bytes - (offset & mask));
    else if (want > mask && !to_end)
        want &= ~mask;
    int r = q2_map(q, offset, want, &e);
    *done = e.len_bytes;
    if (r < 0)
        return r;
    if (q->info.data_file_raw)
        return zero_raw_data(q, offset, &e, unmap);
    if (q->info.version < 3)
        return zero_v2(q, offset, &e, unmap);
    if (whole) {
        *done = MIN_OF(want, MAX_OF(ALIGN_DOWN(e.len_bytes, q->cluster_bytes), q->cluster_bytes));
        if (to_end && e.len_bytes == want)
            *done = want;
        return zero_clusters(q, offset, &e, *done, unmap);
    }
    bool subs = (offset & (q->sub_bytes - 1)) == 0 && e.len_bytes >= q->sub_bytes;
    if (q->subs == 1 || !subs || e.kind == Q2_DEFLATED) {
        uint64_t to_sub = q->sub_bytes - (offset & (q->sub_bytes - 1));
        if (e.kind != Q2_DEFLATED) /* so that the next step may be of whole subclusters */
            e.len_bytes = *done = MIN_OF(e.len_bytes, to_sub);
        return zero_part(q, offset, &e);
    }
    *done = e.len_bytes &= ~(q->sub_bytes - 1);
    return reads_as_zero(q, &e) ? 0 : q2_l2_set(q, offset, *done, Q2_KEEP_HOST, Q2_SET_ZERO);
}

int q2_write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t len, bool unmap)
{
    uint64_t end = offset + len;
    int r = q2_may_write(q);

    while (r == 0 && offset < end) {
        uint64_t done;
        r = zero_step(q, offset, end, unmap, &done);
        offset += done;
    }
    return q2_end_of_change(q, r);
}

static int discard_clusters(struct qcow2 *q, uint64_t offset, const struct extent *e, uint64_t len)
{
    bool uniform = e->len_bytes >= len;

    if (uniform && !e->has_host && e->kind == (q->backing ? Q2_ZEROES : Q2_UNALLOCATED))
        return 0;
    discard_external(q, e, len);
    return q2_l2_set(q, offset, ALIGN_UP(len, q->cluster_bytes), Q2_NO_HOST,
                     q->backing ? Q2_SET_ZERO : Q2_SET_NONE);
}

int q2_discard(struct qcow2 *q, uint64_t offset, uint64_t len)
{
    uint64_t mask = q->cluster_bytes - 1, end = offset + len;
    int r = q2_may_write(q);

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
        uint64_t n = e.len_bytes;
        if (offset + n != end)
            n = MAX_OF(n & ~mask, MIN_OF(q->cluster_bytes, end - offset));
        r = q->info.data_file_raw ? zero_raw_data(q, offset, &e, q->node->unmap)
                                  : discard_clusters(q, offset, &e, n);
        offset += q->info.data_file_raw ? e.len_bytes : n;
    }
    return q2_end_of_change(q, r);
}
