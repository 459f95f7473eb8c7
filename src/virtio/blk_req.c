/* blk_req.c - one virtio-blk request from its descriptors to its status byte. */
#include "blk.h"

#include "base/trace.h"

#include <assert.h>
#include <errno.h>
#include <glib.h>

enum {
    T_IN = 0,
    T_OUT = 1,
    T_FLUSH = 4,
    T_GET_ID = 8,
    T_DISCARD = 11,
    T_WRITE_ZEROES = 13,
    S_OK = 0,
    S_IOERR = 1,
    S_UNSUPP = 2,
    WZ_UNMAP = 1,
    SECTOR = 512,
};

struct req_header {
    uint32_t type, reserved;
    uint64_t sector;
};
struct discard_range {
    uint64_t sector;
    uint32_t sectors, flags;
};

/* --- request memory --- */

void vblk_queue_init(struct vblk_queue *vq, unsigned size)
{
    vq->cap = size + VBLK_SLACK_IOVS;
    vq->reqs = g_new0(struct vblk_req, size);
    vq->iov = g_new0(struct iovec, (size_t)size * vq->cap);
    vq->gpa = g_new0(uint64_t, (size_t)size * vq->cap);
    vblk_merges_init(vq, size);
}

void vblk_queue_fini(struct vblk_queue *vq)
{
    g_free(vq->reqs);
    g_free(vq->iov);
    g_free(vq->gpa);
    vblk_merges_fini(vq);
}

static void req_free(struct vblk_req *r)
{
    struct vblk_queue *vq = &r->b->q[r->elem.q->index];

    r->next = vq->free;
    vq->free = r;
}

static struct vblk_req *req_alloc(struct virtio_blk *b, struct virtq *q)
{
    struct vblk_queue *vq = &b->q[q->index];
    struct vblk_req *r = vq->free;

    if (r) {
        vq->free = r->next;
        return r;
    }
    if (vq->fresh < q->size_max) {
        unsigned i = vq->fresh++;
        r = &vq->reqs[i];
        r->b = b;
        r->elem.cap = vq->cap;
        r->elem.iov = vq->iov + (size_t)i * vq->cap;
        r->elem.gpa = vq->gpa + (size_t)i * vq->cap;
        r->elem.q = q;
        return r;
    }
    for (r = vblk_recycle(b); r;) {
        struct vblk_req *next = r->next;
        req_free(r);
        r = next;
    }
    r = vq->free;
    if (r)
        vq->free = r->next;
    return r;
}

/* --- the end of a request --- */

void vblk_finish(struct vblk_req *r, uint8_t status)
{
    struct virtio_blk *b = r->b;
    struct virtq *q = r->elem.q;

    *r->status = status;
    guest_mem_wrote(b->p.dev.mem, GPA(r->status_gpa), 1);
    virtq_push(&r->elem, status == S_OK ? r->written_bytes : 1);
    b->q[q->index].notify = true;
    req_free(r);
}

void vblk_notify_all(struct virtio_blk *b)
{
    for (unsigned i = 0; i < b->p.dev.queue_count; i++) {
        if (b->q[i].notify) {
            b->q[i].notify = false;
            virtq_notify(&b->p.dev.queue[i]);
        }
    }
}

/* errno -> status, for every request type (§5.2.6). */
static uint8_t status_of(int ret)
{
    if (ret == 0)
        return S_OK;
    return ret == -EOPNOTSUPP || ret == -ENOSYS ? S_UNSUPP : S_IOERR;
}

static void req_done(struct blk_req *blk, int ret)
{
    struct vblk_req *r = container_of(blk, struct vblk_req, blk);

    if (ret < 0 && vblk_error(r, -ret))
        return;
    vblk_finish(r, status_of(ret));
}

/* --- its beginning --- */

/* Takes the header off the front of the readable part. */
static void skip_header(struct vblk_req *r)
{
    size_t skip = sizeof(struct req_header);

    r->blk.iov = r->elem.iov;
    r->blk.iov_count = (int)r->elem.out_count;
    while (skip) {
        size_t n = MIN_OF(skip, r->blk.iov->iov_len);
        r->blk.iov->iov_base = (char *)r->blk.iov->iov_base + n;
        r->blk.iov->iov_len -= n;
        skip -= n;
        if (r->blk.iov->iov_len == 0) {
            r->blk.iov++;
            r->blk.iov_count--;
        }
    }
}

/* Takes the status byte off the end of the writable part. */
static void take_status(struct vblk_req *r)
{
    struct virtq_elem *e = &r->elem;
    unsigned last = e->out_count + e->in_count - 1;

    while (e->iov[last].iov_len == 0)
        last--;
    size_t n = --e->iov[last].iov_len;
    r->status = (uint8_t *)e->iov[last].iov_base + n;
    r->status_gpa = e->gpa[last] + n;
}

static uint8_t prepare_transfer(struct vblk_req *r, uint64_t sector, uint64_t len)
{
    struct virtio_blk *b = r->b;
    uint64_t unit = b->limits.logical_block_bytes;

    if (len % unit || sector > UINT64_MAX / SECTOR || sector * SECTOR % unit)
        return S_IOERR;
    r->blk.offset_bytes = sector * SECTOR;
    r->blk.len_bytes = len;
    r->blk.flags = 0;
    return S_OK;
}

static uint8_t prepare_in(struct vblk_req *r, uint64_t sector)
{
    struct virtq_elem *e = &r->elem;

    r->blk.op = BLK_READ;
    r->blk.iov = e->iov + e->out_count;
    r->blk.iov_count = (int)e->in_count;
    r->written_bytes = e->in_bytes;
    return prepare_transfer(r, sector, e->in_bytes - 1);
}

static uint8_t prepare_out(struct vblk_req *r, uint64_t sector)
{
    uint8_t s = prepare_transfer(r, sector, r->elem.out_bytes - sizeof(struct req_header));

    r->blk.op = BLK_WRITE;
    skip_header(r);
    if (!__atomic_load_n(&r->b->write_cache, __ATOMIC_RELAXED))
        r->blk.flags = BLK_REQ_FUA;
    return virtio_has(&r->b->p.dev, VBLK_F_RO) || r->b->limits.read_only ? S_IOERR : s;
}

/* Discard and write-zeroes carry one range each: max_*_seg is 1. */
static uint8_t prepare_range(struct vblk_req *r, bool discard)
{
    struct discard_range range;
    uint32_t most = discard ? r->b->cfg.max_discard_sectors : r->b->cfg.max_zeroes_sectors;
    unsigned feature = discard ? VBLK_F_DISCARD : VBLK_F_WRITE_ZEROES;

    if (!(r->b->p.dev.host_features & BIT64(feature)))
        return S_UNSUPP;
    if (r->elem.out_bytes != sizeof(struct req_header) + sizeof(range))
        return S_IOERR;
    virtq_copy_out(&r->elem, sizeof(struct req_header), &range, sizeof(range));
    if (range.flags & (discard ? ~0u : ~(uint32_t)WZ_UNMAP))
        return S_UNSUPP;
    if (range.sectors > most || r->b->limits.read_only)
        return S_IOERR;
    r->blk.op = discard ? BLK_DISCARD : BLK_WRITE_ZEROES;
    r->blk.iov_count = 0;
    uint8_t s = prepare_transfer(r, range.sector, (uint64_t)range.sectors * SECTOR);
    if (range.flags & WZ_UNMAP)
        r->blk.flags |= BLK_REQ_UNMAP;
    if (!__atomic_load_n(&r->b->write_cache, __ATOMIC_RELAXED))
        r->blk.flags |= BLK_REQ_FUA;
    return s;
}

static uint8_t get_id(struct vblk_req *r)
{
    size_t room = MIN_OF((size_t)r->elem.in_bytes - 1, (size_t)VIRTIO_BLK_SERIAL_MAX);

    r->written_bytes = (uint32_t)virtq_copy_in(&r->elem, 0, r->b->serial, room) + 1;
    return S_OK;
}

/* False when the device broke; else *status tells, or the request is ready to be submitted. */
static bool parse(struct vblk_req *r, uint8_t *status, bool *submit)
{
    struct req_header h;

    if (r->elem.out_bytes < sizeof(h) || r->elem.in_bytes < 1) {
        virtio_dev_broken(&r->b->p.dev, "a request without header or status byte");
        return false;
    }
    virtq_copy_out(&r->elem, 0, &h, sizeof(h));
    take_status(r);
    r->type = h.type;
    r->written_bytes = 1;
    *submit = true;
    switch (h.type) {
    case T_IN:
        *status = prepare_in(r, h.sector);
        break;
    case T_OUT:
        *status = prepare_out(r, h.sector);
        break;
    case T_FLUSH:
        r->blk.op = BLK_FLUSH;
        r->blk.flags = 0;
        r->blk.offset_bytes = r->blk.len_bytes = 0;
        r->blk.iov_count = 0;
        *status = S_OK;
        break;
    case T_DISCARD:
    case T_WRITE_ZEROES:
        *status = prepare_range(r, h.type == T_DISCARD);
        break;
    case T_GET_ID:
        *status = get_id(r);
        *submit = false;
        break;
    default:
        *status = S_UNSUPP;
        break;
    }
    return true;
}

void vblk_prepare(struct vblk_req *r)
{
    r->blk.node = r->b->cfg.node;
    r->blk.done = req_done;
}

void vblk_submit(struct vblk_req *r)
{
    vblk_prepare(r);
    TRACE(virtio_blk, VIRTQ_TRACE " head %u blk %p", VIRTQ_TRACE_ARGS(r->elem.q), r->elem.head,
          (void *)&r->blk);
    blk_submit(&r->blk);
}

static void send(struct vblk_req *r)
{
    struct vblk_queue *vq = &r->b->q[r->elem.q->index];
    bool transfer = r->blk.op == BLK_READ || r->blk.op == BLK_WRITE;

    if (transfer && !r->b->cfg.no_merging)
        vblk_batch_add(vq, r);
    else
        vblk_submit(r);
}

static void start(struct vblk_req *r)
{
    uint8_t status = S_OK;
    bool submit = false;

    if (!parse(r, &status, &submit)) {
        virtq_detach(&r->elem);
        req_free(r);
    } else if (submit && status == S_OK) {
        send(r);
    } else {
        vblk_finish(r, status);
    }
}

bool vblk_service(struct virtq *q)
{
    struct virtio_blk *b = vblk_of(q->dev);
    struct vblk_req *r = req_alloc(b, q);

    if (!r)
        return false; /* all in flight: only a driver that reuses buffers too early comes here */
    if (virtq_pop(q, &r->elem) <= 0) {
        r->elem.q = q;
        req_free(r);
        return false;
    }
    start(r);
    return true;
}

bool vblk_refetch(struct virtio_blk *b, unsigned queue, uint16_t head)
{
    struct virtq *q = &b->p.dev.queue[queue];
    struct vblk_req *r = req_alloc(b, q);
    uint8_t status = S_OK;
    bool submit = false;

    if (!r || !virtq_refetch(q, head, &r->elem) || !parse(r, &status, &submit) || !submit ||
        status != S_OK)
        return false;
    r->next = b->parked;
    b->parked = r;
    return true;
}
