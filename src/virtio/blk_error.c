/* blk_error.c - what happens when the image reports an error: rerror= and werror=.
 *
 * A request that stops the machine is parked: still the device's, not with the block layer.  The
 * owner is told in the main thread and pauses the machine; on resume the request is tried again.
 * Parked requests are saved as their heads and fetched again after a load. */
#include "blk.h"

#include "base/evloop.h"
#include "base/util.h"

enum { STATUS_IOERR = 1, STATUS_OK = 0 };

bool vblk_error(struct vblk_req *r, int errnum)
{
    struct virtio_blk *b = r->b;
    enum blk_error_action action = BLK_ERROR_REPORT;

    pthread_mutex_lock(&b->lock);
    /* reset meanwhile: vblk_drop_parked() may have run already */
    if (!virtq_elem_stale(&r->elem))
        action = blk_errors_judge(&b->errors, r->blk.op != BLK_READ, errnum);
    if (action == BLK_ERROR_STOP) {
        r->next = b->parked;
        b->parked = r;
        b->parked_errnum = errnum;
    }
    pthread_mutex_unlock(&b->lock);
    if (action == BLK_ERROR_IGNORE)
        vblk_finish(r, STATUS_OK);
    return action != BLK_ERROR_REPORT;
}

int virtio_blk_stop_errnum(struct device *d)
{
    struct virtio_blk *b = container_of(d, struct virtio_blk, p.device);

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

static void told(void *opaque, bool is_write, int errnum, enum blk_error_action action)
{
    struct virtio_blk *b = opaque;

    b->cfg.on_error(b->cfg.on_error_opaque, &b->p.device, is_write, errnum, action);
}

static void settle(void *opaque)
{
    struct virtio_blk *b = opaque;

    if (virtio_running(&b->p.dev))
        evloop_call(b->loop, report_all, b); /* not paused after all: the guest must know */
    else
        virtio_defer_to_resume(&b->p.dev);
}

void vblk_errors_init(struct virtio_blk *b)
{
    b->errors = (struct blk_errors){.rerror = b->cfg.rerror,
                                    .werror = b->cfg.werror,
                                    .told = b->cfg.on_error ? told : NULL,
                                    .settle = settle,
                                    .opaque = b};
    blk_errors_init(&b->errors);
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
