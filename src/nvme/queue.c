/* queue.c - from submission entry to completion entry, events and interrupts (§4.1, §4.6, §5.2). */
#include "nvme_int.h"

#include "base/evloop.h"

/* Commands taken in one go before others in this thread get their turn. */
enum { SERVICE_MAX = 1024 };

/* ---- request memory ---- */

struct nvme_req *nvme_req_get(struct nvme *n, bool admin)
{
    struct nvme_req *r = n->free;

    if (n->free_count <= (admin ? 0u : NVME_ADMIN_RESERVED))
        return NULL;
    n->free_count--;
    if (r) {
        n->free = r->next;
    } else {
        r = &n->reqs[n->fresh++];
        r->n = n;
    }
    r->generation = n->generation;
    r->result = 0;
    r->ranges = r->range = r->iov_count = 0;
    return r;
}

void nvme_req_put(struct nvme_req *r)
{
    r->next = r->n->free;
    r->n->free = r;
    r->n->free_count++;
}

void nvme_cmd_decode(struct nvme_cmd *c, const uint8_t raw[NVME_SQE_BYTES])
{
    memcpy(c->raw, raw, sizeof(c->raw));
    c->opcode = raw[0];
    c->flags = raw[1];
    c->cid = le16_get(raw + 2);
    c->nsid = le32_get(raw + 4);
    c->prp1 = le64_get(raw + 24);
    c->prp2 = le64_get(raw + 32);
    for (unsigned i = 0; i < ARRAY_SIZE(c->dw); i++)
        c->dw[i] = le32_get(raw + 40 + 4 * i);
}

/* ---- interrupts ---- */

/* The pin, for drivers without MSI-X: high while a queue on vector 0 has entries to be seen. */
void nvme_irq_update(struct nvme *n)
{
    bool level = false;

    if (!msix_enabled(&n->pci))
        for (unsigned i = 0; i < n->queues && !level; i++) {
            const struct nvme_cq *q = &n->cq[i];
            level = q->live && q->irq && q->head != q->tail && q->vector < 32 &&
                    !(n->intms & BIT(q->vector));
        }
    if (level || __atomic_load_n(&n->pci.intx_level, __ATOMIC_RELAXED))
        pci_intx_set(&n->pci, level);
}

static void notify(struct nvme *n)
{
    bool msix = msix_enabled(&n->pci), pin = false;

    for (unsigned i = 0; i < n->queues; i++) {
        struct nvme_cq *q = &n->cq[i];
        if (!q->notify)
            continue;
        q->notify = false;
        pin = true;
        if (msix && q->irq)
            msix_notify(&n->pci, q->vector);
    }
    if (pin && !msix)
        nvme_irq_update(n);
}

/* ---- ends ---- */

uint32_t nvme_cq_room(const struct nvme_cq *q)
{
    uint32_t used = (q->tail + q->size - q->head) % q->size, most = q->size - 1;

    return used + q->in_flight >= most ? 0 : most - used - q->in_flight;
}

static void post(struct nvme *n, uint16_t sqid, uint16_t cid, uint32_t result, uint16_t status)
{
    struct nvme_sq *sq = &n->sq[sqid];
    struct nvme_cq *cq = &n->cq[sq->cqid];
    uint64_t gpa = cq->gpa + (uint64_t)cq->tail * NVME_CQE_BYTES;
    uint8_t e[NVME_CQE_BYTES] = {0};

    le32_put(e, result);
    le16_put(e + 8, (uint16_t)sq->head);
    le16_put(e + 10, sqid);
    le16_put(e + 12, cid);
    le16_put(e + 14, (uint16_t)(status << 1 | cq->phase));
    /* the dword with the phase bit last: it is what the driver looks at */
    if (guest_mem_write(n->mem, GPA(gpa), e, 12) != 0) {
        nvme_fatal(n);
        return;
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (guest_mem_write(n->mem, GPA(gpa + 12), e + 12, 4) != 0) {
        nvme_fatal(n);
        return;
    }
    if (++cq->tail == cq->size) {
        cq->tail = 0;
        cq->phase = !cq->phase;
    }
    cq->notify = true;
}

void nvme_complete(struct nvme_req *r, uint16_t status)
{
    struct nvme *n = r->n;
    uint16_t sqid = r->sqid;
    struct nvme_sq *sq = &n->sq[sqid];

    sq->in_flight--;
    n->cq[sq->cqid].in_flight--;
    post(n, sqid, r->cmd.cid, r->result, status);
    nvme_req_put(r);
    if (sq->delete_by && sq->in_flight == 0)
        nvme_sq_deleted(n, sqid);
}

/* ---- asynchronous events ---- */

void nvme_events_post(struct nvme *n)
{
    while (n->events && n->aers && n->cq[0].live && nvme_cq_room(&n->cq[0])) {
        struct nvme_event e = n->event[0];
        uint16_t cid = n->aer[0];
        memmove(n->event, n->event + 1, --n->events * sizeof(n->event[0]));
        memmove(n->aer, n->aer + 1, --n->aers * sizeof(n->aer[0]));
        post(n, 0, cid, e.type | (uint32_t)e.info << 8 | (uint32_t)e.log << 16, NVME_OK);
    }
}

/* One event of a type until its log page has been read (§5.2). */
void nvme_event(struct nvme *n, uint8_t type, uint8_t info, uint8_t log)
{
    if ((n->masked & BIT(type)) || n->events == NVME_EVENTS_MAX || !(n->csts & NVME_CSTS_RDY))
        return;
    n->masked |= (uint8_t)BIT(type);
    n->event[n->events++] = (struct nvme_event){type, info, log};
    nvme_kick(n);
}

/* ---- service ---- */

/* On the machine's clock, which stands still while the machine is stopped. */
void nvme_kick(struct nvme *n)
{
    timer_set(n->kick, vm_clock_ns(n->cfg.clock));
}

static bool may_run(const struct nvme *n)
{
    return n->pci.dev.list->vm_running && pci_bus_master(&n->pci) &&
           (n->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == NVME_CSTS_RDY && !n->resetting;
}

/* Takes one command; false when there is none that may be taken. */
static bool fetch(struct nvme *n, unsigned sqid)
{
    struct nvme_sq *sq = &n->sq[sqid];
    struct nvme_cq *cq = &n->cq[sq->cqid];
    uint8_t raw[NVME_SQE_BYTES];
    struct nvme_req *r;

    if (!sq->live || sq->delete_by || sq->head == sq->tail)
        return false;
    if (nvme_cq_room(cq) == 0) {
        cq->stalled = true;
        return false;
    }
    if (guest_mem_read(n->mem, GPA(sq->gpa + (uint64_t)sq->head * NVME_SQE_BYTES), raw,
                       sizeof(raw)) != 0) {
        nvme_fatal(n);
        return false;
    }
    r = nvme_req_get(n, sqid == 0);
    if (!r)
        return false;
    if (++sq->head == sq->size)
        sq->head = 0;
    sq->in_flight++;
    cq->in_flight++;
    r->sqid = (uint16_t)sqid;
    nvme_cmd_decode(&r->cmd, raw);
    uint16_t status = sqid == 0 ? nvme_admin(r) : nvme_io(r);
    if (status != NVME_PENDING)
        nvme_complete(r, status);
    return true;
}

/* One command of each queue in turn. */
static void fetch_all(struct nvme *n)
{
    unsigned taken = 0;
    bool more = true;

    while (more && may_run(n)) {
        more = false;
        for (unsigned i = 0; i < n->queues && may_run(n); i++)
            if (fetch(n, i)) {
                more = true;
                taken++;
            }
        if (more && taken >= SERVICE_MAX) {
            nvme_kick(n);
            break;
        }
    }
}

void nvme_service(void *opaque)
{
    struct nvme *n = opaque;

    blk_plug(n->cfg.node);
    pthread_mutex_lock(&n->lock);
    if (n->pci.dev.list->vm_running) {
        nvme_retry_parked(n);
        nvme_shutdown_flush(n);
    }
    fetch_all(n);
    if (may_run(n))
        nvme_events_post(n);
    pthread_mutex_unlock(&n->lock);
    blk_unplug(n->cfg.node);
    pthread_mutex_lock(&n->lock);
    notify(n);
    pthread_mutex_unlock(&n->lock);
}

/* Completions have freed requests and queue entries: what waited for them goes on. */
void nvme_batch_end(void *opaque)
{
    struct nvme *n = opaque;
    bool waiting = false;

    pthread_mutex_lock(&n->lock);
    notify(n);
    for (unsigned i = 0; i < n->queues && !waiting; i++)
        waiting = n->sq[i].live && n->sq[i].head != n->sq[i].tail;
    if (waiting)
        nvme_kick(n);
    pthread_mutex_unlock(&n->lock);
}
