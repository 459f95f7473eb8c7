/* io.c - commands of the namespace: read, write, flush, zeroes, deallocation (§6). */
#include "nvme_int.h"

#include <errno.h>

enum {
    OP_FLUSH = 0x00,
    OP_WRITE = 0x01,
    OP_READ = 0x02,
    OP_WRITE_ZEROES = 0x08,
    OP_DATASET = 0x09,
    FLAG_TRANSFER = 0xc0, /* PSDT: SGLs */
    FLAG_FUSED = 0x03,
    DATASET_DEALLOCATE = BIT(2),
    RANGE_BYTES = 16,
};
#define DW12_FUA  BIT(30)
#define DW12_DEAC BIT(25)

/* ---- ends ---- */

static uint16_t status_of(const struct nvme_req *r, int ret)
{
    if (ret == 0)
        return NVME_OK;
    if (ret == -ENOSPC || ret == -EDQUOT)
        return NVME_CAPACITY_EXCEEDED;
    if (r->blk.op == BLK_READ)
        return NVME_READ_ERROR;
    return r->blk.op == BLK_FLUSH ? NVME_INTERNAL_ERROR : NVME_WRITE_FAULT;
}

static void io_done(struct blk_req *blk, int ret);

static void submit(struct nvme_req *r)
{
    r->blk.node = r->n->cfg.node;
    r->blk.done = io_done;
    r->n->submitted++;
    blk_submit(&r->blk);
}

/* The next range of a dataset management command: false when there is none left. */
static bool next_range(struct nvme_req *r)
{
    struct nvme *n = r->n;

    while (r->range < r->ranges) {
        const uint8_t *e = r->range_data + (size_t)r->range++ * RANGE_BYTES;
        uint32_t count = le32_get(e + 4);
        if (count == 0)
            continue;
        r->blk.op = BLK_DISCARD;
        r->blk.flags = 0;
        r->blk.offset_bytes = le64_get(e + 8) * n->block_bytes;
        r->blk.len_bytes = (uint64_t)count * n->block_bytes;
        r->blk.iov_count = 0;
        return true;
    }
    return false;
}

static void failed(struct nvme_req *r, int errnum)
{
    struct nvme *n = r->n;

    switch (blk_errors_judge(&n->errors, r->blk.op != BLK_READ, errnum)) {
    case BLK_ERROR_IGNORE:
        nvme_complete(r, NVME_OK);
        break;
    case BLK_ERROR_STOP:
        r->next = n->parked;
        n->parked = r;
        n->parked_errnum = errnum;
        break;
    case BLK_ERROR_REPORT:
        nvme_complete(r, status_of(r, -errnum));
        break;
    }
}

static void io_done(struct blk_req *blk, int ret)
{
    struct nvme_req *r = container_of(blk, struct nvme_req, blk);
    struct nvme *n = r->n;

    pthread_mutex_lock(&n->lock);
    n->submitted--;
    if (r->generation != n->generation) { /* the controller was reset: nobody waits for this */
        nvme_req_put(r);
        nvme_reset_end_if_idle(n);
    } else if (ret < 0) {
        failed(r, -ret);
    } else if (next_range(r)) {
        submit(r);
    } else {
        if (r->blk.op == BLK_READ)
            nvme_wrote(r);
        nvme_complete(r, NVME_OK);
    }
    pthread_mutex_unlock(&n->lock);
}

/* ---- beginnings ---- */

static uint16_t range_of(struct nvme_req *r)
{
    struct nvme *n = r->n;
    uint64_t first = r->cmd.dw[0] | (uint64_t)r->cmd.dw[1] << 32;
    uint64_t count = (r->cmd.dw[2] & 0xffff) + 1u;

    if (count > n->blocks || first > n->blocks - count)
        return NVME_BAD_LBA;
    r->blk.offset_bytes = first * n->block_bytes;
    r->blk.len_bytes = count * n->block_bytes;
    return NVME_OK;
}

static bool write_through(const struct nvme_req *r)
{
    return (r->cmd.dw[2] & DW12_FUA) || !(r->n->feature[NVME_F_WRITE_CACHE] & 1);
}

static uint16_t transfer(struct nvme_req *r, bool write)
{
    struct nvme *n = r->n;
    uint16_t s;

    if ((r->cmd.dw[2] & 0xffff) >= (NVME_MIN_PAGE << n->cfg.mdts) / n->block_bytes)
        return NVME_BAD_FIELD;
    s = range_of(r);
    if (!s && write && n->read_only)
        s = NVME_WRITE_PROTECTED;
    if (!s)
        s = nvme_map(r, r->blk.len_bytes);
    r->blk.op = write ? BLK_WRITE : BLK_READ;
    r->blk.flags = write && write_through(r) ? BLK_REQ_FUA : 0;
    r->blk.iov = r->iov;
    r->blk.iov_count = (int)r->iov_count;
    return s;
}

static uint16_t write_zeroes(struct nvme_req *r)
{
    uint16_t s = range_of(r);

    r->blk.op = BLK_WRITE_ZEROES;
    r->blk.flags =
        (write_through(r) ? BLK_REQ_FUA : 0u) | (r->cmd.dw[2] & DW12_DEAC ? BLK_REQ_UNMAP : 0u);
    return !s && r->n->read_only ? NVME_WRITE_PROTECTED : s;
}

/* Hints other than deallocation are heard and need nothing done. */
static uint16_t dataset(struct nvme_req *r)
{
    unsigned ranges = (r->cmd.dw[0] & 0xff) + 1;
    uint8_t list[NVME_RANGES_BYTES];
    uint16_t s;

    if (!(r->cmd.dw[1] & DATASET_DEALLOCATE))
        return NVME_OK;
    if (r->n->read_only)
        return NVME_WRITE_PROTECTED;
    /* the list shares its memory with the pieces it is read by */
    s = nvme_from_guest(r, list, ranges * RANGE_BYTES);
    if (s)
        return s;
    memcpy(r->range_data, list, (size_t)ranges * RANGE_BYTES);
    for (unsigned i = 0; i < ranges; i++) {
        uint64_t count = le32_get(list + i * RANGE_BYTES + 4);
        uint64_t first = le64_get(list + i * RANGE_BYTES + 8);
        if (count > r->n->blocks || first > r->n->blocks - count)
            return NVME_BAD_LBA;
    }
    r->ranges = ranges;
    r->range = 0;
    return next_range(r) ? NVME_PENDING : NVME_OK;
}

/* NVME_PENDING: r->blk is to be submitted. */
uint16_t nvme_io_parse(struct nvme_req *r)
{
    uint16_t s;

    r->blk.flags = 0;
    r->blk.iov_count = 0;
    if (r->cmd.flags & (FLAG_TRANSFER | FLAG_FUSED))
        return NVME_BAD_FIELD;
    if (r->cmd.nsid != NVME_NSID &&
        !(r->cmd.opcode == OP_FLUSH && r->cmd.nsid == (uint32_t)NVME_ALL_NS))
        return NVME_BAD_NAMESPACE;
    switch (r->cmd.opcode) {
    case OP_FLUSH:
        r->blk.op = BLK_FLUSH;
        r->blk.offset_bytes = r->blk.len_bytes = 0;
        s = NVME_OK;
        break;
    case OP_READ:
    case OP_WRITE:
        s = transfer(r, r->cmd.opcode == OP_WRITE);
        break;
    case OP_WRITE_ZEROES:
        s = write_zeroes(r);
        break;
    case OP_DATASET:
        return dataset(r);
    default:
        s = NVME_BAD_OPCODE;
    }
    return s ? s : NVME_PENDING;
}

uint16_t nvme_io(struct nvme_req *r)
{
    uint16_t s = nvme_io_parse(r);

    if (s == NVME_PENDING)
        submit(r);
    return s;
}

/* ---- commands that wait for the machine to go on ---- */

void nvme_retry_parked(struct nvme *n)
{
    struct nvme_req *all = n->parked, *next;

    if (!n->retry)
        return;
    n->retry = false;
    n->parked = NULL;
    for (struct nvme_req *r = all; r; r = next) {
        next = r->next;
        uint16_t s = nvme_io(r); /* anew: layers may have changed the block request */
        if (s != NVME_PENDING)
            nvme_complete(r, s);
    }
}

void nvme_end_parked(struct nvme *n, int sqid, uint16_t status)
{
    struct nvme_req *all = n->parked, *next;

    n->parked = NULL;
    for (struct nvme_req *r = all; r; r = next) {
        next = r->next;
        if (sqid < 0 || r->sqid == sqid) {
            nvme_complete(r, status);
        } else {
            r->next = n->parked;
            n->parked = r;
        }
    }
}

/* Main thread, after the owner has heard of errors. */
void nvme_settle(void *opaque)
{
    struct nvme *n = opaque;

    pthread_mutex_lock(&n->lock);
    if (n->pci.dev.list->vm_running) /* not paused after all: the guest must know */
        nvme_end_parked(n, -1, NVME_INTERNAL_ERROR);
    else
        n->retry = n->parked != NULL;
    nvme_kick(n); /* on resume, if it is paused */
    pthread_mutex_unlock(&n->lock);
}

int nvme_stop_errnum(struct device *d)
{
    struct nvme *n = container_of(d, struct nvme, pci.dev);

    pthread_mutex_lock(&n->lock);
    int errnum = n->parked ? n->parked_errnum : 0;
    pthread_mutex_unlock(&n->lock);
    return errnum;
}

/* ---- shutdown ---- */

static void flush_done(struct blk_req *blk, int ret)
{
    struct nvme *n = container_of(blk, struct nvme, flush);

    pthread_mutex_lock(&n->lock);
    n->submitted--;
    n->shutdown_busy = false;
    if (n->cc & NVME_CC_SHN)
        n->csts = (n->csts & ~NVME_SHST) | 2u << 2;
    nvme_reset_end_if_idle(n);
    pthread_mutex_unlock(&n->lock);
}

/* A driver that shuts the controller down expects its writes to be on the disk (§7.6.2). */
void nvme_shutdown_flush(struct nvme *n)
{
    if (!n->shutdown_wanted || n->shutdown_busy)
        return;
    n->shutdown_wanted = false;
    n->shutdown_busy = true;
    n->flush = (struct blk_req){.op = BLK_FLUSH, .node = n->cfg.node, .done = flush_done};
    n->submitted++;
    blk_submit(&n->flush);
}
