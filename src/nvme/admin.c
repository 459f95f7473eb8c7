/* admin.c - commands of the admin queue (§5). */
#include "nvme_int.h"

enum {
    OP_DELETE_SQ = 0x00,
    OP_CREATE_SQ = 0x01,
    OP_GET_LOG = 0x02,
    OP_DELETE_CQ = 0x04,
    OP_CREATE_CQ = 0x05,
    OP_IDENTIFY = 0x06,
    OP_ABORT = 0x08,
    OP_SET_FEATURES = 0x09,
    OP_GET_FEATURES = 0x0a,
    OP_ASYNC_EVENT = 0x0c,
    QUEUE_CONTIGUOUS = 1,
    CQ_INTERRUPTS = 2,
};

/* What both kinds of queues must be: a free number, a size, whole pages in one piece. */
static uint16_t queue_check(const struct nvme_req *r, bool taken)
{
    uint32_t id = r->cmd.dw[0] & 0xffff, size = (r->cmd.dw[0] >> 16) + 1;

    if (id == 0 || id >= r->n->queues || taken)
        return NVME_BAD_QID;
    if (size < NVME_ENTRIES_MIN || size > NVME_ENTRIES_MAX)
        return NVME_BAD_QSIZE;
    if (!(r->cmd.dw[1] & QUEUE_CONTIGUOUS))
        return NVME_BAD_FIELD;
    if (r->cmd.prp1 & (r->n->page_bytes - 1))
        return NVME_BAD_PRP;
    return NVME_OK;
}

static uint16_t create_cq(struct nvme_req *r)
{
    struct nvme *n = r->n;
    uint32_t id = r->cmd.dw[0] & 0xffff, vector = r->cmd.dw[1] >> 16;
    uint16_t s = queue_check(r, id < n->queues && n->cq[id].live);

    if (s)
        return s;
    if ((n->cc >> 20 & 15) != 4) /* CC.IOCQES: entries of 16 bytes */
        return NVME_BAD_QSIZE;
    if (vector >= (msix_enabled(&n->pci) ? n->cfg.vectors : 1))
        return NVME_BAD_VECTOR;
    n->cq[id] = (struct nvme_cq){.live = true,
                                 .irq = r->cmd.dw[1] & CQ_INTERRUPTS,
                                 .phase = true,
                                 .vector = (uint16_t)vector,
                                 .size = (r->cmd.dw[0] >> 16) + 1,
                                 .gpa = r->cmd.prp1};
    return NVME_OK;
}

static uint16_t create_sq(struct nvme_req *r)
{
    struct nvme *n = r->n;
    uint32_t id = r->cmd.dw[0] & 0xffff, cqid = r->cmd.dw[1] >> 16;
    uint16_t s;

    if (cqid == 0 || cqid >= n->queues || !n->cq[cqid].live)
        return NVME_NO_SUCH_CQ;
    s = queue_check(r, id < n->queues && n->sq[id].live);
    if (s)
        return s;
    if ((n->cc >> 16 & 15) != 6) /* CC.IOSQES: entries of 64 bytes */
        return NVME_BAD_QSIZE;
    n->sq[id] = (struct nvme_sq){
        .live = true, .cqid = (uint16_t)cqid, .size = (r->cmd.dw[0] >> 16) + 1, .gpa = r->cmd.prp1};
    n->cq[cqid].users++;
    return NVME_OK;
}

static uint16_t delete_cq(struct nvme_req *r)
{
    struct nvme *n = r->n;
    uint32_t id = r->cmd.dw[0] & 0xffff;

    if (id == 0 || id >= n->queues || !n->cq[id].live)
        return NVME_BAD_QID;
    if (n->cq[id].users)
        return NVME_BAD_QUEUE_DELETION;
    n->cq[id] = (struct nvme_cq){0};
    nvme_irq_update(n);
    return NVME_OK;
}

void nvme_sq_deleted(struct nvme *n, uint16_t sqid)
{
    struct nvme_req *by = n->sq[sqid].delete_by;

    n->cq[n->sq[sqid].cqid].users--;
    n->sq[sqid] = (struct nvme_sq){0};
    nvme_complete(by, NVME_OK);
}

/* Commands that are under way come to their ends first. */
static uint16_t delete_sq(struct nvme_req *r)
{
    struct nvme *n = r->n;
    uint32_t id = r->cmd.dw[0] & 0xffff;

    if (id == 0 || id >= n->queues || !n->sq[id].live || n->sq[id].delete_by)
        return NVME_BAD_QID;
    if (n->sq[id].in_flight) {
        n->sq[id].delete_by = r;
        nvme_end_parked(n, (int)id, NVME_ABORTED_SQ_DELETED);
        return NVME_PENDING;
    }
    n->cq[n->sq[id].cqid].users--;
    n->sq[id] = (struct nvme_sq){0};
    return NVME_OK;
}

/* It stays with the controller, outside its queue's count of commands under way. */
static uint16_t async_event(struct nvme_req *r)
{
    struct nvme *n = r->n;

    if (n->aers == NVME_AERS_MAX)
        return NVME_TOO_MANY_AERS;
    n->aer[n->aers++] = r->cmd.cid;
    n->sq[0].in_flight--;
    n->cq[0].in_flight--;
    nvme_req_put(r);
    return NVME_PENDING;
}

uint16_t nvme_admin(struct nvme_req *r)
{
    if (r->cmd.flags & 0xc3) /* SGLs, fused */
        return NVME_BAD_FIELD;
    switch (r->cmd.opcode) {
    case OP_DELETE_SQ:
        return delete_sq(r);
    case OP_CREATE_SQ:
        return create_sq(r);
    case OP_GET_LOG:
        return nvme_get_log(r);
    case OP_DELETE_CQ:
        return delete_cq(r);
    case OP_CREATE_CQ:
        return create_cq(r);
    case OP_IDENTIFY:
        return nvme_identify(r);
    case OP_ABORT:
        r->result = 1; /* not aborted: commands end soon anyway */
        return NVME_OK;
    case OP_SET_FEATURES:
        return nvme_set_feature(r);
    case OP_GET_FEATURES:
        return nvme_get_feature(r);
    case OP_ASYNC_EVENT:
        return async_event(r);
    default:
        return NVME_BAD_OPCODE;
    }
}
