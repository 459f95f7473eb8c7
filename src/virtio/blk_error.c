/* blk_error.c - what happens when the image reports an error: rerror= and werror=.
 *
 * A request that stops the machine is parked: still the device's, not with the block layer.  The
 * owner is told in the main thread and pauses the machine; on resume the request is tried again.
 * Parked requests are saved as their heads and fetched again after a load. */
#include "blk.h"

#include "base/evloop.h"
#include "base/util.h"

#include <errno.h>

enum { STATUS_IOERR = 1, STATUS_OK = 0 };

static enum virtio_blk_error_action decide(const struct virtio_blk *b, bool is_write, int errnum)
{
    switch (is_write ? b->cfg.werror : b->cfg.rerror) {
    case VIRTIO_BLK_ON_ERROR_IGNORE:
        return VIRTIO_BLK_ACTION_IGNORE;
    case VIRTIO_BLK_ON_ERROR_STOP:
        return VIRTIO_BLK_ACTION_STOP;
    case VIRTIO_BLK_ON_ERROR_ENOSPC:
        return errnum == ENOSPC ? VIRTIO_BLK_ACTION_STOP : VIRTIO_BLK_ACTION_REPORT;
    case VIRTIO_BLK_ON_ERROR_DEFAULT:
        return is_write && errnum == ENOSPC ? VIRTIO_BLK_ACTION_STOP : VIRTIO_BLK_ACTION_REPORT;
    case VIRTIO_BLK_ON_ERROR_REPORT:
        break;
    }
    return VIRTIO_BLK_ACTION_REPORT;
}

bool vblk_error(struct vblk_req *r, int errnum)
{
    struct virtio_blk *b = r->b;
    bool is_write = r->blk.op != BLK_READ;
    enum virtio_blk_error_action action = decide(b, is_write, errnum);

    if (!b->cfg.on_error && action == VIRTIO_BLK_ACTION_STOP)
        action = VIRTIO_BLK_ACTION_REPORT; /* nobody could pause the machine */
    pthread_mutex_lock(&b->lock);
    if (virtq_elem_stale(&r->elem)) /* reset meanwhile; vblk_drop_parked() may have run already */
        action = VIRTIO_BLK_ACTION_REPORT;
    else if (b->notices < VBLK_NOTICES_MAX)
        b->notice[b->notices++] = (struct vblk_notice){is_write, errnum, action};
    if (action == VIRTIO_BLK_ACTION_STOP) {
        r->next = b->parked;
        b->parked = r;
        b->parked_errnum = errnum;
    }
    pthread_mutex_unlock(&b->lock);
    if (b->cfg.on_error)
        timer_set(b->error_timer, host_clock_ns());
    if (action == VIRTIO_BLK_ACTION_IGNORE)
        vblk_finish(r, STATUS_OK);
    return action != VIRTIO_BLK_ACTION_REPORT;
}

int virtio_blk_stop_errnum(struct pci_dev *d)
{
    struct virtio_blk *b = container_of(d, struct virtio_blk, p.pci);

    pthread_mutex_lock(&b->lock);
    int errnum = b->parked ? b->parked_errnum : 0;
    pthread_mutex_unlock(&b->lock);
    return errnum;
}

static struct vblk_req *take_parked(struct virtio_blk *b)
{
    pthread_mutex_lock(&b->lock);
    struct vblk_req *r = b->parked;
    b->parked = NULL;
    pthread_mutex_unlock(&b->lock);
    return r;
}

static void report_all(void *opaque)
{
    struct virtio_blk *b = opaque;

    for (struct vblk_req *r = take_parked(b), *next; r; r = next) {
        next = r->next;
        vblk_finish(r, STATUS_IOERR);
    }
    vblk_notify_all(b);
}

/* Main thread: tells the owner, who pauses the machine if it was asked to. */
void vblk_error_timer(void *opaque)
{
    struct virtio_blk *b = opaque;
    struct vblk_notice notice[VBLK_NOTICES_MAX];

    pthread_mutex_lock(&b->lock);
    unsigned n = b->notices;
    memcpy(notice, b->notice, sizeof(notice));
    b->notices = 0;
    pthread_mutex_unlock(&b->lock);
    for (unsigned i = 0; i < n; i++)
        b->cfg.on_error(b->cfg.on_error_opaque, &b->p.pci, notice[i].is_write, notice[i].errnum,
                        notice[i].action);
    if (virtio_running(&b->p.dev))
        evloop_call(b->loop, report_all, b); /* not paused after all: the guest must know */
    else
        virtio_defer_to_resume(&b->p.dev);
}

static void retry_all(void *opaque)
{
    struct virtio_blk *b = opaque;

    blk_plug(b->cfg.node);
    for (struct vblk_req *r = take_parked(b), *next; r; r = next) {
        next = r->next;
        vblk_submit(r);
    }
    blk_unplug(b->cfg.node);
}

void vblk_retry_parked(struct virtio_blk *b)
{
    evloop_call(b->loop, retry_all, b);
}

void vblk_drop_parked(struct virtio_blk *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->parked) {
        struct vblk_req *r = b->parked;
        b->parked = r->next;
        virtq_detach(&r->elem);
        r->next = b->recycled;
        b->recycled = r;
    }
    pthread_mutex_unlock(&b->lock);
}

struct vblk_req *vblk_recycle(struct virtio_blk *b)
{
    pthread_mutex_lock(&b->lock);
    struct vblk_req *r = b->recycled;
    b->recycled = NULL;
    pthread_mutex_unlock(&b->lock);
    return r;
}
