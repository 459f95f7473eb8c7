/* state.c - what a saved machine keeps of the controller.  Saved when drained: no command is with
 * the block layer; commands that wait for the machine to go on are kept as their entries. */
#include "nvme_int.h"

#include "base/error.h"
#include "base/state.h"

#include <glib.h>

static void queues_save(struct state_writer *w, const void *obj)
{
    const struct nvme *n = obj;

    state_put_u32(w, n->queues);
    for (unsigned i = 0; i < n->queues; i++) {
        const struct nvme_sq *s = &n->sq[i];
        const struct nvme_cq *c = &n->cq[i];
        state_put_u32(w, (uint32_t)s->live | (uint32_t)c->live << 1 | (uint32_t)c->irq << 2 |
                             (uint32_t)c->phase << 3);
        state_put_u32(w, s->cqid | (uint32_t)c->vector << 16);
        state_put_u32(w, s->size);
        state_put_u32(w, s->head);
        state_put_u32(w, s->tail);
        state_put_u64(w, s->gpa);
        state_put_u32(w, c->size);
        state_put_u32(w, c->head);
        state_put_u32(w, c->tail);
        state_put_u64(w, c->gpa);
    }
}

static bool size_ok(uint32_t size, uint32_t head, uint32_t tail)
{
    return size >= NVME_ENTRIES_MIN && size <= NVME_ENTRIES_MAX && head < size && tail < size;
}

static void queue_load(struct state_reader *r, struct nvme_sq *s, struct nvme_cq *c)
{
    uint32_t flags = state_get_u32(r), ids = state_get_u32(r);

    s->live = flags & 1;
    s->cqid = (uint16_t)ids;
    s->size = state_get_u32(r);
    s->head = state_get_u32(r);
    s->tail = state_get_u32(r);
    s->gpa = state_get_u64(r);
    c->live = flags & 2;
    c->irq = flags & 4;
    c->phase = flags & 8;
    c->vector = (uint16_t)(ids >> 16);
    c->size = state_get_u32(r);
    c->head = state_get_u32(r);
    c->tail = state_get_u32(r);
    c->gpa = state_get_u64(r);
}

static bool queues_check(struct nvme *n)
{
    for (unsigned i = 0; i < n->queues; i++) {
        struct nvme_sq *s = &n->sq[i];
        struct nvme_cq *c = &n->cq[i];
        if (c->live && (!size_ok(c->size, c->head, c->tail) || c->vector >= n->cfg.vectors))
            return false;
        if (!s->live)
            continue;
        if (!size_ok(s->size, s->head, s->tail) || s->cqid >= n->queues || !n->cq[s->cqid].live ||
            (s->cqid == 0) != (i == 0))
            return false;
        n->cq[s->cqid].users++;
    }
    return n->sq[0].live == n->cq[0].live;
}

static bool queues_load(struct state_reader *r, void *obj, GError **err)
{
    struct nvme *n = obj;

    if (state_get_u32(r) != n->queues)
        return error_set(err, HANOK_ERROR_CORRUPT, "it has another number of queues");
    memset(n->sq, 0, n->queues * sizeof(*n->sq));
    memset(n->cq, 0, n->queues * sizeof(*n->cq));
    for (unsigned i = 0; i < n->queues; i++)
        queue_load(r, &n->sq[i], &n->cq[i]);
    return queues_check(n) || error_set(err, HANOK_ERROR_CORRUPT, "a queue contradicts itself");
}

static void parked_save(struct state_writer *w, const void *obj)
{
    const struct nvme *n = obj;
    uint32_t count = 0;

    for (const struct nvme_req *r = n->parked; r; r = r->next)
        count++;
    state_put_u32(w, count);
    for (const struct nvme_req *r = n->parked; r; r = r->next) {
        state_put_u32(w, r->sqid);
        state_put_bytes(w, r->cmd.raw, sizeof(r->cmd.raw));
    }
}

/* Appended, so that a save of what was loaded is the same. */
static bool parked_one(struct state_reader *r, struct nvme *n, struct nvme_req **last)
{
    uint32_t sqid = state_get_u32(r);
    uint8_t raw[NVME_SQE_BYTES] = {0};
    struct nvme_req *q =
        sqid && sqid < n->queues && n->sq[sqid].live ? nvme_req_get(n, false) : NULL;

    if (!q)
        return false;
    q->sqid = (uint16_t)sqid;
    q->next = NULL;
    n->sq[sqid].in_flight++;
    n->cq[n->sq[sqid].cqid].in_flight++;
    if (*last)
        (*last)->next = q;
    else
        n->parked = q;
    *last = q;
    if (!state_get_bytes(r, raw, sizeof(raw)))
        return false;
    nvme_cmd_decode(&q->cmd, raw);
    return true;
}

static bool parked_load(struct state_reader *r, void *obj, GError **err)
{
    struct nvme *n = obj;
    struct nvme_req *last = NULL;
    uint32_t count = state_get_u32(r);

    if (count > NVME_REQS)
        return error_set(err, HANOK_ERROR_CORRUPT, "too many commands wait");
    while (n->parked) { /* whatever was there before; its queues are gone */
        struct nvme_req *next = n->parked->next;
        nvme_req_put(n->parked);
        n->parked = next;
    }
    n->generation++;
    while (count--)
        if (!parked_one(r, n, &last))
            return error_set(err, HANOK_ERROR_CORRUPT, "a waiting command has no queue");
    n->retry = n->parked != NULL;
    return true;
}

static bool post_load(void *obj, uint32_t version, GError **err)
{
    struct nvme *n = obj;
    unsigned mps = n->cc >> 7 & 15;

    n->resetting = n->shutdown_busy = false;
    n->aers = MIN_OF(n->aers, (uint8_t)NVME_AERS_MAX);
    n->events = MIN_OF(n->events, (uint8_t)NVME_EVENTS_MAX);
    if (mps > NVME_MPS_MAX)
        return error_set(err, HANOK_ERROR_CORRUPT, "its page size is not possible");
    n->page_bytes = NVME_MIN_PAGE << mps;
    for (unsigned i = 0; i < NVME_EVENTS_MAX; i++)
        n->event[i].type &= 7;
    if (!n->cq[0].live && (n->csts & NVME_CSTS_RDY))
        return error_set(err, HANOK_ERROR_CORRUPT, "it is enabled and has no admin queue");
    nvme_irq_update(n);
    nvme_kick(n);
    return true;
}

static const struct state_field event_fields[] = {
    STATE_U8(struct nvme_event, type),
    STATE_U8(struct nvme_event, info),
    STATE_U8(struct nvme_event, log),
    STATE_END,
};
static const struct state_desc event_state = {
    .name = "nvme-event", .version = 1, .fields = event_fields};

static const struct state_field fields[] = {
    STATE_STRUCT(struct nvme, pci, pci_dev_state),
    STATE_U32(struct nvme, cc),
    STATE_U32(struct nvme, csts),
    STATE_U32(struct nvme, aqa),
    STATE_U32(struct nvme, intms),
    STATE_U64(struct nvme, asq),
    STATE_U64(struct nvme, acq),
    STATE_UINT_ARRAY(struct nvme, feature),
    STATE_UINT_ARRAY(struct nvme, uncoalesced),
    STATE_UINT_ARRAY(struct nvme, aer),
    STATE_U8(struct nvme, aers),
    STATE_U8(struct nvme, events),
    STATE_U8(struct nvme, masked),
    STATE_STRUCT_ARRAY(struct nvme, event, event_state),
    STATE_BOOL(struct nvme, resized),
    STATE_BOOL(struct nvme, shutdown_wanted),
    STATE_CUSTOM("queues", queues_save, queues_load),
    STATE_CUSTOM("parked", parked_save, parked_load),
    STATE_END,
};
const struct state_desc nvme_state = {
    .name = "nvme", .version = 1, .fields = fields, .post_load = post_load};
