/* blk_merge.c - the reads or writes of one kick, put in order and joined where they touch.
 *
 * Guests split what they transfer (at segment limits, at pages of their cache) and hand the pieces
 * over together: one system call for the host's disk is then cheaper than several.  A joined
 * request that fails is tried again piece by piece, so that only the bad piece fails.  The structs
 * are made with the queue, half as many as it has entries: each joins at least two.
 *
 * What goes through the page cache is copied by a processor, not by a disk: joining saves little,
 * and the guest should work on what is there while the rest is copied.  So it is handed over, and
 * ends, in parts. */
#include "blk.h"

#include "base/trace.h"

#include <glib.h>

#define MERGED_BYTES_MAX (4u * MiB)

struct vblk_merge {
    struct blk_req blk; /* first */
    struct vblk_queue *vq;
    struct vblk_req *members; /* by their next */
    struct vblk_merge *next;  /* free list */
    struct iovec *iov;        /* vq->cap of them */
};

void vblk_merges_init(struct vblk_queue *vq, unsigned size)
{
    unsigned count = size / 2;

    vq->merges = g_new0(struct vblk_merge, count);
    vq->merge_iov = g_new0(struct iovec, (size_t)count * vq->cap);
    vq->merge_count = count;
}

void vblk_merges_fini(struct vblk_queue *vq)
{
    g_free(vq->merges);
    g_free(vq->merge_iov);
}

static struct vblk_merge *merge_alloc(struct vblk_queue *vq)
{
    struct vblk_merge *m = vq->free_merge;

    if (m) {
        vq->free_merge = m->next;
        return m;
    }
    if (vq->fresh_merge == vq->merge_count)
        return NULL;
    unsigned i = vq->fresh_merge++;
    m = &vq->merges[i];
    m->vq = vq;
    m->iov = vq->merge_iov + (size_t)i * vq->cap;
    return m;
}

static void merged_done(struct blk_req *blk, int ret)
{
    struct vblk_merge *m = container_of(blk, struct vblk_merge, blk);
    struct vblk_req *r = m->members;

    m->next = m->vq->free_merge;
    m->vq->free_merge = m;
    while (r) {
        struct vblk_req *next = r->next;
        if (ret < 0)
            vblk_submit(r);
        else
            r->blk.done(&r->blk, 0);
        r = next;
    }
}

static void submit_merged(struct vblk_merge *m, struct vblk_req *const *run, unsigned count)
{
    struct virtio_blk *b = run[0]->b;
    struct vblk_req **end = &m->members;

    m->blk = (struct blk_req){.op = run[0]->blk.op,
                              .flags = run[0]->blk.flags,
                              .offset_bytes = run[0]->blk.offset_bytes,
                              .iov = m->iov,
                              .done = merged_done,
                              .merged = count - 1,
                              .node = b->cfg.node};
    for (unsigned i = 0; i < count; i++) {
        struct vblk_req *r = run[i];
        memcpy(m->iov + m->blk.iov_count, r->blk.iov, (size_t)r->blk.iov_count * sizeof(*m->iov));
        m->blk.iov_count += r->blk.iov_count;
        m->blk.len_bytes += r->blk.len_bytes;
        vblk_prepare(r);
        TRACE(virtio_blk, VIRTQ_TRACE " head %u blk %p", VIRTQ_TRACE_ARGS(r->elem.q), r->elem.head,
              (void *)&m->blk);
        *end = r;
        end = &r->next;
    }
    *end = NULL;
    blk_submit(&m->blk);
}

/* How many requests from the first on can go as one. */
static unsigned run_length(const struct vblk_queue *vq, struct vblk_req *const *reqs,
                           unsigned count)
{
    uint64_t most = reqs[0]->b->limits.direct ? MERGED_BYTES_MAX : VBLK_PART_BYTES;
    uint64_t len = reqs[0]->blk.len_bytes;
    int iovs = reqs[0]->blk.iov_count;
    unsigned n = 1;

    for (; n < count; n++) {
        const struct blk_req *r = &reqs[n]->blk;
        len += r->len_bytes;
        iovs += r->iov_count;
        if (r->offset_bytes != reqs[0]->blk.offset_bytes + len - r->len_bytes || len > most ||
            iovs > (int)vq->cap)
            break;
    }
    return n;
}

/* Another n requests are about to be submitted. */
static void begin_part(struct vblk_queue *vq, struct vblk_req *const *reqs, unsigned n)
{
    struct blk_node *node = reqs[0]->b->cfg.node;

    if (vq->part_bytes >= VBLK_PART_BYTES && !reqs[0]->b->limits.direct) {
        blk_unplug(node);
        blk_plug(node);
        vq->part_bytes = 0;
    }
    for (unsigned i = 0; i < n; i++)
        vq->part_bytes += reqs[i]->blk.len_bytes;
}

void vblk_batch_submit(struct vblk_queue *vq)
{
    for (unsigned i = 0; i < vq->batched;) {
        unsigned n = run_length(vq, vq->batch + i, vq->batched - i);
        begin_part(vq, vq->batch + i, n);
        struct vblk_merge *m = n > 1 ? merge_alloc(vq) : NULL;
        if (m) {
            submit_merged(m, vq->batch + i, n);
        } else {
            n = 1;
            vblk_submit(vq->batch[i]);
        }
        i += n;
    }
    vq->batched = 0;
}

void vblk_batch_add(struct vblk_queue *vq, struct vblk_req *r)
{
    struct vblk_req **b = vq->batch;

    if (vq->batched && (vq->batched == VBLK_BATCH_MAX || b[0]->blk.op != r->blk.op ||
                        b[0]->blk.flags != r->blk.flags))
        vblk_batch_submit(vq);
    unsigned i = vq->batched++;
    for (; i > 0 && b[i - 1]->blk.offset_bytes > r->blk.offset_bytes; i--)
        b[i] = b[i - 1];
    b[i] = r;
}
