/* scsi_ctrl.c - virtio-scsi's control queue (aborts and resets) and event queue (§5.6.6.2, .3). */
#include "scsi.h"

#include "base/evloop.h"

enum {
    T_TMF = 0,
    T_AN_QUERY = 1,
    T_AN_SUBSCRIBE = 2,
    TMF_ABORT_TASK = 0,
    TMF_ABORT_TASK_SET = 1,
    TMF_CLEAR_ACA = 2,
    TMF_CLEAR_TASK_SET = 3,
    TMF_NEXUS_RESET = 4,
    TMF_LUN_RESET = 5,
    TMF_QUERY_TASK = 6,
    TMF_QUERY_TASK_SET = 7,
    TMF_BYTES = 24,     /* type, subtype, address, tag */
    AN_BYTES = 16,      /* type, address, event mask */
    AN_REPLY_BYTES = 5, /* actual events, response */
    EVENT_BYTES = 16,
};
#define E_TRANSPORT_RESET  1u
#define E_PARAM_CHANGE     3u
#define E_MISSED           0x80000000u
#define R_RESCAN           1u
#define R_REMOVED          2u
#define R_CAPACITY_CHANGED (0x2au | 0x09u << 8) /* sense code and qualifier */

/* ---- task management ---- */

static void tmf_reply(struct virtq *q, struct virtq_elem *e, uint8_t response)
{
    virtq_copy_in(e, 0, &response, 1);
    virtq_push(e, 1);
    virtq_notify(q);
}

void vscsi_tmf_step(struct virtio_scsi *s, struct vscsi_tmf *m)
{
    if (--m->waits)
        return;
    tmf_reply(&s->p.dev.queue[VSCSI_CONTROL], &m->elem, m->response);
    m->used = false;
}

static bool named(const struct vscsi_req *r, uint32_t subtype, const uint8_t *address, uint64_t tag)
{
    if (!r->busy || virtq_elem_stale(&r->elem))
        return false;
    if (subtype == TMF_NEXUS_RESET) /* the whole target */
        return r->address[0] == address[0] && r->address[1] == address[1];
    return memcmp(r->address, address, VSCSI_LUN_BYTES) == 0 &&
           ((subtype != TMF_ABORT_TASK && subtype != TMF_QUERY_TASK) || r->tag == tag);
}

/* How many commands under way the function names; m: they end because of it. */
static unsigned each_named(struct virtio_scsi *s, uint32_t subtype, const uint8_t *address,
                           uint64_t tag, struct vscsi_tmf *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i + VSCSI_REQUESTS < s->p.dev.queue_count; i++) {
        for (unsigned j = 0; j < s->q[i].fresh; j++) {
            struct vscsi_req *r = &s->q[i].reqs[j];
            if (!named(r, subtype, address, tag) || (m && r->tmf))
                continue;
            n++;
            if (!m)
                continue;
            r->tmf = m;
            r->ended_by = subtype == TMF_LUN_RESET || subtype == TMF_NEXUS_RESET ? VSCSI_RESET
                                                                                 : VSCSI_ABORTED;
        }
    }
    return n;
}

/* Those that wait for the machine to go on end now. */
static void end_parked(struct virtio_scsi *s, struct vscsi_tmf *m)
{
    struct vscsi_req *mine = NULL;

    pthread_mutex_lock(&s->lock);
    for (struct vscsi_req **at = &s->parked; *at;) {
        struct vscsi_req *r = *at;
        if (r->tmf != m) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        r->next = mine;
        mine = r;
    }
    pthread_mutex_unlock(&s->lock);
    while (mine) {
        struct vscsi_req *r = mine;
        mine = r->next;
        scsi_drop(&r->task);
        vscsi_finish(r, r->ended_by);
    }
}

static void luns_reset(struct virtio_scsi *s, uint32_t subtype, struct scsi_lun *lun, int target)
{
    if (subtype == TMF_LUN_RESET) {
        scsi_lun_reset(lun);
        return;
    }
    for (unsigned n = 0; subtype == TMF_NEXUS_RESET && n < SCSI_LUNS; n++) {
        struct scsi_lun *l = scsi_lun_find(&s->bus, (unsigned)target, n);
        if (l)
            scsi_lun_reset(l);
    }
}

static struct vscsi_tmf *tmf_take(struct virtio_scsi *s, const struct virtq_elem *e)
{
    for (unsigned i = 0; i < VSCSI_CONTROL_SIZE; i++) {
        struct vscsi_tmf *m = &s->tmf[i];
        if (m->used)
            continue;
        m->used = true;
        m->waits = 1; /* this function, until it has named all */
        m->elem.q = e->q;
        m->elem.gen = e->gen;
        m->elem.head = e->head;
        m->elem.out_count = e->out_count;
        m->elem.in_count = e->in_count;
        m->elem.out_bytes = e->out_bytes;
        m->elem.in_bytes = e->in_bytes;
        unsigned n = e->out_count + e->in_count;
        memcpy(m->elem.iov, e->iov, n * sizeof(*e->iov));
        memcpy(m->elem.gpa, e->gpa, n * sizeof(*e->gpa));
        return m;
    }
    return NULL;
}

static void tmf(struct virtio_scsi *s, struct virtq_elem *e, const uint8_t *req)
{
    uint32_t subtype = le32_get(req + 4);
    const uint8_t *address = req + 8;
    uint64_t tag = le64_get(req + 16);
    int target;
    struct scsi_lun *lun = vscsi_lun(s, address, &target);
    struct vscsi_tmf *m;

    if (target < 0 || !s->bus.target[target]) {
        tmf_reply(e->q, e, VSCSI_BAD_TARGET);
    } else if (!lun && subtype != TMF_NEXUS_RESET) {
        tmf_reply(e->q, e, VSCSI_INCORRECT_LUN);
    } else if (subtype == TMF_QUERY_TASK || subtype == TMF_QUERY_TASK_SET) {
        bool found = each_named(s, subtype, address, tag, NULL) > 0;
        tmf_reply(e->q, e, found ? VSCSI_FUNCTION_SUCCEEDED : VSCSI_OK);
    } else if (subtype > TMF_LUN_RESET || subtype == TMF_CLEAR_ACA ||
               !(m = tmf_take(s, e))) { /* no auto contingent allegiance; or too many wait */
        tmf_reply(e->q, e, VSCSI_FUNCTION_REJECTED);
    } else {
        m->response = VSCSI_OK;
        m->waits += each_named(s, subtype, address, tag, m);
        end_parked(s, m);
        luns_reset(s, subtype, lun, target);
        vscsi_tmf_step(s, m);
        vscsi_notify_all(s);
    }
}

bool vscsi_control(struct virtq *q)
{
    struct virtio_scsi *s = vscsi_of(q->dev);
    struct virtq_elem *e = &s->plain_elem;
    uint8_t req[TMF_BYTES] = {0}, none[AN_REPLY_BYTES] = {0};

    if (virtq_pop(q, e) <= 0)
        return false;
    size_t got = virtq_copy_out(e, 0, req, sizeof(req));
    uint32_t type = le32_get(req);
    if (got >= 4 && type == T_TMF && got == TMF_BYTES && e->in_bytes >= 1) {
        tmf(s, e, req);
    } else if (got >= AN_BYTES && (type == T_AN_QUERY || type == T_AN_SUBSCRIBE) &&
               e->in_bytes >= AN_REPLY_BYTES) { /* no asynchronous notification */
        virtq_copy_in(e, 0, none, sizeof(none));
        virtq_push(e, sizeof(none));
        virtq_notify(q);
    } else {
        virtio_dev_broken(q->dev, "a control request that is none");
        virtq_detach(e);
        return false;
    }
    return true;
}

/* ---- events ---- */

static bool event_put(struct virtio_scsi *s, const struct vscsi_event *ev)
{
    uint8_t b[EVENT_BYTES] = {0};
    struct virtq *q = &s->p.dev.queue[VSCSI_EVENTS];

    if (virtq_pop(q, &s->event_elem) <= 0)
        return false;
    le32_put(b, ev->event | (s->missed ? E_MISSED : 0));
    memcpy(b + 4, ev->address, VSCSI_LUN_BYTES);
    le32_put(b + 12, ev->reason);
    size_t n = virtq_copy_in(&s->event_elem, 0, b, sizeof(b));
    virtq_push(&s->event_elem, (uint32_t)n);
    virtq_notify(q);
    s->missed = false;
    return true;
}

/* Loop: what waits, as far as the driver has given buffers. */
void vscsi_events_send(struct virtio_scsi *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->events && virtio_driver_ok(&s->p.dev) && event_put(s, &s->event[0]))
        memmove(s->event, s->event + 1, --s->events * sizeof(s->event[0]));
    pthread_mutex_unlock(&s->lock);
}

static void send_now(void *opaque)
{
    vscsi_events_send(opaque);
}

void vscsi_event(struct scsi_lun *l, enum scsi_event e)
{
    struct virtio_scsi *s = container_of(scsi_lun_bus(l), struct virtio_scsi, bus);
    bool change = e == SCSI_LUN_RESIZED;
    unsigned number = scsi_lun_number(l);
    struct vscsi_event ev = {.event = change ? E_PARAM_CHANGE : E_TRANSPORT_RESET,
                             .reason = change                ? R_CAPACITY_CHANGED
                                       : e == SCSI_LUN_ADDED ? R_RESCAN
                                                             : R_REMOVED,
                             .address = {1, (uint8_t)scsi_lun_target(l),
                                         (uint8_t)(number >> 8 | 0x40), (uint8_t)number}};

    if (s->dying || !virtio_driver_ok(&s->p.dev) ||
        !virtio_has(&s->p.dev, change ? VSCSI_F_CHANGE : VSCSI_F_HOTPLUG))
        return; /* nobody listens: the driver will scan */
    pthread_mutex_lock(&s->lock);
    if (s->events < VSCSI_EVENTS_MAX)
        s->event[s->events++] = ev;
    else
        s->missed = true;
    pthread_mutex_unlock(&s->lock);
    evloop_call(s->loop, send_now, s);
}
