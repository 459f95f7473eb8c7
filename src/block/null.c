/* null.c - "null-co": a disk that forgets what is written; for tests and for measuring the path. */
#include "block_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>

struct null_disk {
    bool read_zeroes;
    uint64_t latency_ns;
    struct timer *timer;
    struct blk_req *waiting, **tail; /* in order of their end: the latency is the same for all */
};

enum { NULL_SCRATCH_DUE = 1 }; /* [0] is blk_complete_later's */

static void null_arm(struct null_disk *d)
{
    if (d->waiting)
        timer_set(d->timer, d->waiting->driver[NULL_SCRATCH_DUE]);
}

static void null_timer(void *opaque)
{
    struct blk_node *n = opaque;
    struct null_disk *d = n->priv;
    uint64_t now = host_clock_ns();

    while (d->waiting && d->waiting->driver[NULL_SCRATCH_DUE] <= now) {
        struct blk_req *req = d->waiting;
        d->waiting = req->next;
        if (!d->waiting)
            d->tail = &d->waiting;
        blk_complete(req, 0);
    }
    blk_batch_done(n);
    null_arm(d);
}

static bool null_open(struct blk_node *n, struct props *p, GError **err)
{
    struct null_disk *d = n->priv = g_new0(struct null_disk, 1);

    d->tail = &d->waiting;
    n->size_bytes = 1 * GiB;
    if (!props_get_size(p, "size", &n->size_bytes, err) ||
        !props_get_bool(p, "read-zeroes", &d->read_zeroes, err) ||
        !props_get_u64(p, "latency-ns", &d->latency_ns, err))
        return false;
    if (d->latency_ns > 10000000000ull)
        return error_set(err, HANOK_ERROR_INVALID, "latency-ns= is at most 10 seconds.");
    return true;
}

static void null_close(struct blk_node *n)
{
    struct null_disk *d = n->priv;

    if (d)
        timer_free(d->timer);
    g_free(d);
}

static void null_limits(struct blk_node *n, struct blk_limits *out)
{
}

static bool null_resize(struct blk_node *n, uint64_t size_bytes, GError **err)
{
    __atomic_store_n(&n->size_bytes, size_bytes, __ATOMIC_RELAXED);
    return true;
}

static void null_attach(struct blk_node *n, struct evloop *loop)
{
    struct null_disk *d = n->priv;

    timer_free(d->timer);
    d->timer = timer_new(loop, NULL, null_timer, n);
}

static void null_submit(struct blk_node *n, struct blk_req *req)
{
    struct null_disk *d = n->priv;

    if (req->op == BLK_READ && d->read_zeroes)
        blk_iov_zero(req->iov, req->iov_count, 0);
    if (!d->latency_ns) {
        blk_complete_later(n, req, 0);
        return;
    }
    req->driver[NULL_SCRATCH_DUE] = host_clock_ns() + d->latency_ns;
    req->next = NULL;
    *d->tail = req;
    d->tail = &req->next;
    if (d->waiting == req)
        null_arm(d);
}

static void null_poll(struct blk_node *n)
{
    struct null_disk *d = n->priv;
    uint64_t now = host_clock_ns();

    if (d->waiting && d->waiting->driver[NULL_SCRATCH_DUE] > now)
        poll(NULL, 0, (int)((d->waiting->driver[NULL_SCRATCH_DUE] - now) / 1000000 + 1));
    null_timer(n);
}

const struct blk_driver blk_driver_null = {
    .name = "null-co",
    .open = null_open,
    .close = null_close,
    .limits = null_limits,
    .resize = null_resize,
    .attach = null_attach,
    .submit = null_submit,
    .poll = null_poll,
};
