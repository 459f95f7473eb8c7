/* scsi_req.c - one virtio-scsi command from its descriptors to its response. */
#include "scsi.h"

#include "base/evloop.h"

#include <glib.h>

enum {
    REQ_CDB = 19,   /* where the CDB is: after address, tag, attribute, priority, CRN */
    RESP_HEAD = 12, /* sense length, residual, qualifier, status, response; then sense */
    RESP_STATUS = 10,
    RESP_RESPONSE = 11,
};

/* ---- request memory ---- */

void vscsi_queue_init(struct vscsi_queue *q, unsigned size)
{
    q->cap = size + VSCSI_SLACK_IOVS;
    q->reqs = g_new0(struct vscsi_req, size);
    q->iov = g_new0(struct iovec, 2 * (size_t)size * q->cap);
    q->gpa = g_new0(uint64_t, (size_t)size * q->cap);
}

void vscsi_queue_fini(struct vscsi_queue *q)
{
    g_free(q->reqs);
    g_free(q->iov);
    g_free(q->gpa);
}

static void req_free(struct vscsi_req *r)
{
    struct vscsi_queue *q = &r->s->q[r->elem.q->index - VSCSI_REQUESTS];

    r->busy = false;
    r->next = q->free;
    q->free = r;
}

static struct vscsi_req *req_alloc(struct virtio_scsi *s, struct virtq *vq)
{
    struct vscsi_queue *q = &s->q[vq->index - VSCSI_REQUESTS];
    struct vscsi_req *r;

    pthread_mutex_lock(&s->lock);
    struct vscsi_req *back = s->recycled;
    s->recycled = NULL;
    pthread_mutex_unlock(&s->lock);
    while (back) {
        r = back;
        back = r->next;
        req_free(r);
    }
    r = q->free;
    if (r) {
        q->free = r->next;
    } else if (q->fresh < vq->size_max) {
        size_t i = q->fresh++;
        r = &q->reqs[i];
        r->s = s;
        r->elem.cap = q->cap;
        r->elem.iov = q->iov + 2 * i * q->cap;
        r->data = r->elem.iov + q->cap;
        r->elem.gpa = q->gpa + i * q->cap;
    } else {
        return NULL;
    }
    r->elem.q = vq;
    r->busy = false;
    r->tmf = NULL;
    r->ended_by = 0;
    return r;
}

/* ---- the end of a command ---- */

void vscsi_notify_all(struct virtio_scsi *s)
{
    uint64_t which = s->notify;

    s->notify = 0;
    for (unsigned i = 0; which; i++, which >>= 1)
        if (which & 1)
            virtq_notify(&s->p.dev.queue[i + VSCSI_REQUESTS]);
}

static uint32_t data_in_bytes(const struct vscsi_req *r)
{
    return r->task.to_host ? 0 : r->task.done_bytes;
}

void vscsi_finish(struct vscsi_req *r, uint8_t response)
{
    struct virtio_scsi *s = r->s;
    struct scsi_task *t = &r->task;
    uint8_t head[RESP_HEAD + SCSI_SENSE_BYTES] = {0};
    struct vscsi_tmf *tmf = r->tmf;
    uint32_t sense = 0, sense_room = s->sense_bytes;

    if (r->ended_by)
        response = r->ended_by;
    if (response == VSCSI_OK && t->overrun)
        response = VSCSI_OVERRUN;
    if (response == VSCSI_OK) {
        head[RESP_STATUS] = (uint8_t)t->status;
        sense =
            t->status == SCSI_CHECK_CONDITION ? MIN_OF((uint32_t)SCSI_SENSE_BYTES, sense_room) : 0;
        le32_put(head, sense);
        le32_put(head + 4, t->room_bytes - t->done_bytes);
        memcpy(head + RESP_HEAD, t->sense, sense);
    }
    head[RESP_RESPONSE] = response;
    virtq_copy_in(&r->elem, 0, head, RESP_HEAD + sense);
    virtq_push(&r->elem, RESP_HEAD + sense_room + data_in_bytes(r));
    s->notify |= BIT64(r->elem.q->index - VSCSI_REQUESTS);
    req_free(r);
    if (tmf)
        vscsi_tmf_step(s, tmf);
}

static void ended(struct scsi_task *t)
{
    vscsi_finish(container_of(t, struct vscsi_req, task), VSCSI_OK);
}

/* ---- its beginning ---- */

struct scsi_lun *vscsi_lun(struct virtio_scsi *s, const uint8_t a[VSCSI_LUN_BYTES], int *target)
{
    unsigned number = (a[2] & 0x3fu) << 8 | a[3];

    *target = -1;
    if (a[0] != 1 || (a[2] >> 6) > 1) /* §5.6.6.1: 1, target, single level number */
        return NULL;
    *target = a[1];
    return scsi_lun_find(&s->bus, a[1], number);
}

/* The buffers of one direction without their first bytes. */
static void data_take(struct vscsi_req *r, const struct iovec *iov, unsigned count, uint32_t skip,
                      uint32_t bytes)
{
    struct scsi_task *t = &r->task;

    t->iov = r->data;
    t->iov_count = 0;
    t->room_bytes = bytes;
    for (unsigned i = 0; i < count; i++) {
        size_t n = MIN_OF((size_t)skip, iov[i].iov_len);
        skip -= (uint32_t)n;
        if (iov[i].iov_len > n)
            t->iov[t->iov_count++] =
                (struct iovec){(char *)iov[i].iov_base + n, iov[i].iov_len - n};
    }
}

/* False: the device is broken.  *response: VSCSI_OK when the command may start. */
static bool parse(struct vscsi_req *r, uint8_t *response)
{
    struct virtio_scsi *s = r->s;
    struct virtq_elem *e = &r->elem;
    uint32_t head = REQ_CDB + s->cdb_bytes, tail = RESP_HEAD + s->sense_bytes;
    uint8_t h[REQ_CDB];
    int target;

    if (e->out_bytes < head || e->in_bytes < tail) {
        virtio_dev_broken(&s->p.dev, "a command without header or response");
        return false;
    }
    virtq_copy_out(e, 0, h, sizeof(h));
    memcpy(r->address, h, VSCSI_LUN_BYTES);
    r->tag = le64_get(h + VSCSI_LUN_BYTES);
    memset(r->task.cdb, 0, sizeof(r->task.cdb));
    virtq_copy_out(e, REQ_CDB, r->task.cdb, MIN_OF(s->cdb_bytes, (uint32_t)SCSI_CDB_MAX));
    r->task.to_host = e->out_bytes > head;
    if (r->task.to_host)
        data_take(r, e->iov, e->out_count, head, e->out_bytes - head);
    else
        data_take(r, e->iov + e->out_count, e->in_count, tail, e->in_bytes - tail);
    r->task.ended = ended;
    r->task.lun = vscsi_lun(s, r->address, &target);
    r->task.done_bytes = 0;
    r->task.overrun = false;
    *response = VSCSI_OK;
    if (r->task.to_host && e->in_bytes > tail) /* both ways at once is not offered */
        *response = VSCSI_FAILURE;
    else if (target < 0 || (!r->task.lun && !s->bus.target[target]))
        *response = VSCSI_BAD_TARGET;
    return true;
}

static void start(struct vscsi_req *r)
{
    if (r->task.lun)
        scsi_start(&r->task);
    else
        scsi_start_no_lun(&r->s->bus, r->address[1], &r->task);
}

bool vscsi_service(struct virtq *q)
{
    struct virtio_scsi *s = vscsi_of(q->dev);
    struct vscsi_req *r = req_alloc(s, q);
    uint8_t response;

    if (!r)
        return false; /* all in flight: only a driver that reuses buffers too early comes here */
    if (virtq_pop(q, &r->elem) <= 0) {
        r->elem.q = q;
        req_free(r);
        return false;
    }
    r->busy = true;
    if (!parse(r, &response)) {
        virtq_detach(&r->elem);
        req_free(r);
    } else if (response != VSCSI_OK) {
        vscsi_finish(r, response);
    } else {
        start(r);
    }
    return true;
}

/* ---- commands that wait for the machine to go on ---- */

void vscsi_park(struct scsi_task *t, int errnum)
{
    struct vscsi_req *r = container_of(t, struct vscsi_req, task);
    struct virtio_scsi *s = r->s;
    bool over = r->ended_by || virtq_elem_stale(&r->elem);

    if (!over) {
        pthread_mutex_lock(&s->lock);
        r->next = s->parked;
        s->parked = r;
        s->parked_errnum = errnum;
        pthread_mutex_unlock(&s->lock);
        return;
    }
    scsi_drop(t); /* nobody waits for its success */
    vscsi_finish(r, VSCSI_FAILURE);
}

static struct vscsi_req *take_parked(struct virtio_scsi *s)
{
    pthread_mutex_lock(&s->lock);
    struct vscsi_req *r = s->parked;
    s->parked = NULL;
    pthread_mutex_unlock(&s->lock);
    return r;
}

static void report_all(void *opaque)
{
    struct virtio_scsi *s = opaque;

    for (struct vscsi_req *r = take_parked(s), *next; r; r = next) {
        next = r->next;
        scsi_drop(&r->task);
        vscsi_finish(r, VSCSI_FAILURE);
    }
    vscsi_notify_all(s);
}

void vscsi_settle(struct scsi_bus *b)
{
    struct virtio_scsi *s = container_of(b, struct virtio_scsi, bus);

    if (virtio_running(&s->p.dev))
        evloop_call(s->loop, report_all, s); /* not paused after all: the guest must know */
    else
        virtio_defer_to_resume(&s->p.dev);
}

static void retry_all(void *opaque)
{
    struct virtio_scsi *s = opaque;

    scsi_bus_plug(&s->bus);
    for (struct vscsi_req *r = take_parked(s), *next; r; r = next) {
        next = r->next;
        start(r);
    }
    scsi_bus_unplug(&s->bus);
    vscsi_notify_all(s);
}

void vscsi_retry_parked(struct virtio_scsi *s)
{
    evloop_call(s->loop, retry_all, s);
}

void vscsi_drop_parked(struct virtio_scsi *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->parked) {
        struct vscsi_req *r = s->parked;
        s->parked = r->next;
        scsi_drop(&r->task);
        virtq_detach(&r->elem);
        r->next = s->recycled;
        s->recycled = r;
    }
    pthread_mutex_unlock(&s->lock);
}

bool vscsi_refetch(struct virtio_scsi *s, unsigned queue, uint16_t head)
{
    struct virtq *q = &s->p.dev.queue[queue];
    struct vscsi_req *r = req_alloc(s, q);
    uint8_t response;

    if (!r || !virtq_refetch(q, head, &r->elem) || !parse(r, &response) || response != VSCSI_OK)
        return false;
    r->busy = true;
    r->next = s->parked;
    s->parked = r;
    return true;
}
