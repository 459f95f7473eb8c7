/* qcow2.c - the driver: requests that need no thought go on to the file node as they are; the rest
 * waits for the worker.  No memory is allocated per request. */
#include "qcow2.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/props.h"
#include "block/qcow2_build.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SCRATCH_RET = 0, SCRATCH_DONE = BLK_SCRATCH_FORMAT, SCRATCH_SELF };

/* ---- blocking requests ---- */

static int change_locked(struct qcow2 *q, struct blk_req *req)
{
    uint64_t offset = req->offset_bytes, len = req->len_bytes;
    bool durable = (req->flags & BLK_REQ_FUA) != 0;
    struct q2_claim claim;
    int r;

    q->durable += durable;
    q2_track(q, offset, len);
    q2_claim(q, &claim, offset, len);
    if (req->op == BLK_WRITE)
        r = q2_write(q, offset, req->iov, req->iov_count, 0, len);
    else if (req->op == BLK_WRITE_ZEROES)
        r = q2_write_zeroes(q, offset, len, (req->flags & BLK_REQ_UNMAP) != 0);
    else
        r = q2_discard(q, offset, len);
    q2_unclaim(q, &claim);
    return durable ? q2_flush_shared(q, r) : r;
}

static int run_locked(struct qcow2 *q, struct blk_req *req)
{
    if (req->op == BLK_READ)
        return q2_read(q, req->offset_bytes, req->iov, req->iov_count, 0, req->len_bytes);
    return req->op == BLK_FLUSH ? q2_flush(q, true) : change_locked(q, req);
}

static int qcow2_sync(struct blk_node *n, struct blk_req *req)
{
    struct qcow2 *q = n->priv;

    if (req->op == BLK_WRITE && (req->flags & BLK_REQ_COMPRESSED))
        return q2_write_packed(q, req);
    pthread_mutex_lock(&q->serial);
    int r = run_locked(q, req);
    pthread_mutex_unlock(&q->serial);
    return r;
}

static struct blk_req *next_locked(struct q2_worker *w)
{
    struct qcow2 *q = w->q;
    struct blk_req *req = q->queue;

    if (req) {
        q->queue = req->next;
        if (!q->queue)
            q->queue_tail = &q->queue;
        return req;
    }
    w->active = false;
    q->active_workers--;
    pthread_cond_broadcast(&q->worker_left);
    return NULL;
}

static void work_fn(struct blk_work *w)
{
    struct q2_worker *self = container_of(w, struct q2_worker, work);
    struct qcow2 *q = self->q;
    struct blk_req *req;
    uint64_t one = 1;

    pthread_mutex_lock(&q->queue_lock);
    while ((req = next_locked(self))) {
        pthread_mutex_unlock(&q->queue_lock);
        int r = qcow2_sync(q->node, req);
        pthread_mutex_lock(&q->queue_lock);
        req->driver[SCRATCH_RET] = (uint64_t)(int64_t)r;
        req->next = q->done;
        q->done = req;
        if (write(q->done_fd, &one, sizeof(one)) < 0)
            assert(errno == EAGAIN);
    }
    pthread_mutex_unlock(&q->queue_lock);
}

static void done_ready(void *opaque, int fd, uint32_t events)
{
    struct blk_node *n = opaque;
    struct qcow2 *q = n->priv;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN || errno == EINTR);
    pthread_mutex_lock(&q->queue_lock);
    struct blk_req *req = q->done;
    q->done = NULL;
    pthread_mutex_unlock(&q->queue_lock);
    while (req) {
        struct blk_req *next = req->next;
        blk_complete(req, (int)(int64_t)req->driver[SCRATCH_RET]);
        req = next;
    }
    blk_batch_done(n);
}

static void to_worker(struct qcow2 *q, struct blk_req *req)
{
    struct q2_worker *start = NULL;

    req->next = NULL;
    pthread_mutex_lock(&q->queue_lock);
    *q->queue_tail = req;
    q->queue_tail = &req->next;
    for (unsigned i = 0; !start && i < Q2_WORKERS; i++)
        start = q->workers[i].active ? NULL : &q->workers[i];
    if (start) {
        *start = (struct q2_worker){.work.fn = work_fn, .q = q, .active = true};
        q->active_workers++;
    }
    pthread_mutex_unlock(&q->queue_lock);
    if (start)
        blk_workers_push(&start->work);
}

/* ---- requests that go straight on (loop thread) ---- */

enum way { WAY_WORKER, WAY_FILE, WAY_NOW };

/* Holding tables. */
static enum way way_of(struct qcow2 *q, const struct blk_req *req, uint64_t *host)
{
    struct extent e;

    if (q->quiesce)
        return WAY_WORKER;
    if (req->op == BLK_FLUSH && q->data != q->file)
        return q->node->no_flush && !q->meta_dirty && !q->failed ? WAY_NOW : WAY_WORKER;
    if (req->op == BLK_FLUSH)
        return q->meta_dirty || q->failed ? WAY_WORKER : q->node->no_flush ? WAY_NOW : WAY_FILE;
    if (req->op != BLK_READ && req->op != BLK_WRITE)
        return WAY_WORKER;
    if (req->flags & BLK_REQ_COMPRESSED)
        return WAY_WORKER;
    if (!q2_map_cached(q, req->offset_bytes, req->len_bytes, &e) || e.len_bytes < req->len_bytes)
        return WAY_WORKER;
    *host = e.host_bytes;
    if (req->op == BLK_READ && (e.kind == Q2_ZEROES || (e.kind == Q2_UNALLOCATED && !q->backing)))
        return WAY_NOW;
    if (e.kind != Q2_NORMAL)
        return WAY_WORKER;
    if (req->op == BLK_READ)
        return WAY_FILE;
    bool plain = e.copied && !q->corrupt && !q->failed && !q->for_check &&
                 !((req->flags & BLK_REQ_FUA) && q->meta_dirty) &&
                 (!q->track_count || q->tracks_marked) &&
                 (q->data != q->file || !q2_is_metadata(q, *host, req->len_bytes));
    if (plain)
        q2_track(q, req->offset_bytes, req->len_bytes);
    return plain ? WAY_FILE : WAY_WORKER;
}

static void fast_done(struct blk_req *req, int ret)
{
    struct qcow2 *q = (struct qcow2 *)(uintptr_t)req->driver[SCRATCH_SELF];

    pthread_mutex_lock(&q->tables);
    if (--q->fast_inflight == 0)
        pthread_cond_broadcast(&q->fast_idle);
    if (req->op == BLK_FLUSH && ret < 0)
        q->failed = true;
    pthread_mutex_unlock(&q->tables);
    req->done = (void (*)(struct blk_req *, int))(uintptr_t)req->driver[SCRATCH_DONE];
    req->done(req, ret);
}

static void qcow2_submit(struct blk_node *n, struct blk_req *req)
{
    struct qcow2 *q = n->priv;
    uint64_t host = 0;

    /* Whoever holds the tables now is about to change them: the worker is the place to wait. */
    if (pthread_mutex_trylock(&q->tables)) {
        to_worker(q, req);
        return;
    }
    enum way way = way_of(q, req, &host);
    q->fast_inflight += way == WAY_FILE;
    pthread_mutex_unlock(&q->tables);
    if (way == WAY_WORKER) {
        to_worker(q, req);
    } else if (way == WAY_NOW) { /* zeroes, or nothing to flush */
        blk_iov_zero(req->iov, req->iov_count, 0);
        blk_complete_later(n, req, 0);
    } else {
        req->driver[SCRATCH_DONE] = (uint64_t)(uintptr_t)req->done;
        req->driver[SCRATCH_SELF] = (uint64_t)(uintptr_t)q;
        req->done = fast_done;
        req->offset_bytes = host;
        struct blk_node *to = req->op == BLK_FLUSH ? q->file : q->data;
        to->drv->submit(to, req);
    }
}

static void qcow2_poll(struct blk_node *n)
{
    struct qcow2 *q = n->priv;
    struct blk_node *leaf = q->data;

    pthread_mutex_lock(&q->tables);
    bool fast = q->fast_inflight > 0;
    pthread_mutex_unlock(&q->tables);
    if (fast) { /* these end by themselves; the worker may be waiting for them */
        while (leaf->file)
            leaf = leaf->file;
        leaf->drv->poll(leaf);
        return;
    }
    struct pollfd p = {.fd = q->done_fd, .events = POLLIN};
    if (poll(&p, 1, -1) > 0)
        done_ready(n, q->done_fd, EPOLLIN);
}

/* ---- opening and closing (main thread) ---- */

static bool prepare(struct blk_node *n, struct qcow2 *q, GError **err)
{
    q->node = n;
    q->done_fd = -1;
    q->queue_tail = &q->queue;
    q->other_extensions = g_byte_array_new();
    q->header_tail = g_byte_array_new();
    q->pending = g_array_new(FALSE, FALSE, sizeof(struct range));
    pthread_mutex_init(&q->serial, NULL);
    pthread_mutex_init(&q->tables, NULL);
    pthread_mutex_init(&q->queue_lock, NULL);
    pthread_cond_init(&q->fast_idle, NULL);
    pthread_cond_init(&q->unclaimed, NULL);
    pthread_cond_init(&q->flush_due, NULL);
    pthread_cond_init(&q->worker_left, NULL);
    q->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return q->done_fd >= 0 || error_errno(err, errno, "Cannot create an event descriptor");
}

/* Features that a writer may not know are to be switched off before the first change (spec
 * "autoclear_features"); bitmaps that are left alone stay true. */
static bool clear_autoclear(struct qcow2 *q, GError **err)
{
    uint64_t keep = q->info.autoclear & (Q2_AUTOCLEAR_BITMAPS | Q2_AUTOCLEAR_RAW_DATA);
    uint8_t field[8];

    if (q->node->read_only || q->info.autoclear == keep)
        return true;
    be64_put(field, keep);
    int r = q2_header_put(q, Q2_HEADER_AUTOCLEAR, field, sizeof(field));
    q->info.autoclear = keep;
    return r == 0 || error_errno(err, -r, "Could not write to '%s'", q2_name(q));
}

static bool read_options(struct qcow2 *q, struct props *p, GError **err)
{
    static const char *const overlap[] = {"none", "constant", "cached", "all", NULL};
    uint64_t both = 0, entry = 0;
    uint32_t interval = 0; /* as entry: how QEMU's cache works, ours is bounded without */
    unsigned checks = 2;   /* what is always checked is what QEMU calls constant, and more */

    q->l2_budget = 32 * MiB;
    q->refblock_budget = 4 * MiB;
    q->pass_discard[Q2_FREE_REQUEST] = q->node->unmap;
    q->pass_discard[Q2_FREE_SNAPSHOT] = q->pass_discard[Q2_FREE_ALWAYS] = true;
    if (!props_get_bool(p, "for-check", &q->for_check, err) ||
        !props_get_bool(p, "lazy-refcounts", &q->keep_refcounts_lazy, err) ||
        !props_get_bool(p, "pass-discard-request", &q->pass_discard[Q2_FREE_REQUEST], err) ||
        !props_get_bool(p, "pass-discard-snapshot", &q->pass_discard[Q2_FREE_SNAPSHOT], err) ||
        !props_get_bool(p, "pass-discard-other", &q->pass_discard[Q2_FREE_OTHER], err) ||
        !props_get_enum(p, "overlap-check", overlap, &checks, err) ||
        !props_get_size(p, "cache-size", &both, err) ||
        !props_get_size(p, "l2-cache-entry-size", &entry, err) ||
        !props_get_u32(p, "cache-clean-interval", &interval, err))
        return false;
    if (both) { /* a quarter of what L2 tables get is enough for the refcounts */
        q->l2_budget = both / 5 * 4;
        q->refblock_budget = both / 5;
    }
    return props_get_size(p, "l2-cache-size", &q->l2_budget, err) &&
           props_get_size(p, "refcount-cache-size", &q->refblock_budget, err);
}

static bool load(struct qcow2 *q, struct props *p, GError **err)
{
    bool lazy = q->keep_refcounts_lazy;

    q->keep_refcounts_lazy = false;
    if (!q2_header_read(q, err) || !q2_data_open(q, p, err) || !q2_tables_read(q, err) ||
        !q2_backing_open(q, p, err))
        return false;
    if (q->info.data_file_raw && q->info.backing_file)
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "'%s' has a backing file and a raw external data file, which exclude each "
                         "other.",
                         q2_name(q));
    if (q->for_check || q->node->read_only)
        return true;
    if (!q2_tracks_load(q, q->node->auto_read_only ? NULL : err)) {
        q->node->read_only = q->node->auto_read_only;
        return q->node->read_only;
    }
    if (!clear_autoclear(q, err) || (q->info.dirty && !q2_repair_dirty(q, err)))
        return false;
    q->keep_refcounts_lazy = (lazy || q->info.lazy_refcounts) && q->info.version >= 3;
    return true;
}

static bool qcow2_open(struct blk_node *n, struct props *p, GError **err)
{
    struct qcow2 *q = n->priv = g_new0(struct qcow2, 1);

    if (!prepare(n, q, err) || !blk_open_child(n, p, err))
        return false;
    q->file = n->file;
    if (!q->file->drv->sync)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "The block driver '%s' cannot be below qcow2.", q->file->drv->name);
    if (n->auto_read_only && n->file->read_only)
        n->read_only = true;
    if (!n->read_only && n->file->read_only)
        return error_set(err, HANOK_ERROR_INVALID,
                         "The block node '%s' is writable, but '%s' below it is read-only.",
                         n->name, n->file->name);
    q->file_end = n->file->size_bytes;
    if (!read_options(q, p, err) || !load(q, p, err))
        return false;
    n->size_bytes = q->virtual_bytes;
    return true;
}

/* All is on the disk: the image needs no repair. */
static void close_marks(struct qcow2 *q)
{
    if (!q->marked_dirty || q->leave_dirty || q->failed || q->corrupt)
        return;
    int r = q2_flush(q, false);
    q->keep_refcounts_lazy = false;
    if (r == 0)
        q2_dirty_end(q, q->pending->len ? -EBUSY : 0);
}

static void qcow2_close(struct blk_node *n)
{
    struct qcow2 *q = n->priv;

    if (!q)
        return;
    pthread_mutex_lock(&q->queue_lock);
    while (q->active_workers)
        pthread_cond_wait(&q->worker_left, &q->queue_lock);
    pthread_mutex_unlock(&q->queue_lock);
    q2_tracks_store(q);
    close_marks(q);
    evloop_fd_del(q->done_watch);
    if (q->done_fd >= 0)
        close(q->done_fd);
    if (q->backing)
        q->backing->parent = NULL;
    if (q->owns_backing)
        blk_close(q->backing);
    if (q->data && q->data != q->file)
        q->data->parent = NULL;
    if (q->owns_data)
        blk_close(q->data);
    q2_tracks_free(q);
    q2_snapshots_free(q);
    for (size_t i = 0; i < ARRAY_SIZE(q->features); i++)
        g_free(q->features[i]);
    for (uint32_t i = 0; q->info.bitmaps && i < q->info.bitmap_count; i++)
        g_free(q->info.bitmaps[i].name);
    g_free(q->info.bitmaps);
    g_byte_array_free(q->other_extensions, TRUE);
    g_byte_array_free(q->header_tail, TRUE);
    q2_cache_free(&q->l2);
    q2_cache_free(&q->refblocks);
    pthread_mutex_destroy(&q->serial);
    pthread_mutex_destroy(&q->tables);
    pthread_mutex_destroy(&q->queue_lock);
    pthread_cond_destroy(&q->fast_idle);
    pthread_cond_destroy(&q->unclaimed);
    pthread_cond_destroy(&q->flush_due);
    pthread_cond_destroy(&q->worker_left);
    g_array_free(q->pending, TRUE);
    g_free(q->l1);
    g_free(q->reftable);
    qcow2_packer_free(q->packer);
    free(q->cow);
    free(q->unpacked);
    g_free(q->info.backing_file);
    g_free(q->info.backing_format);
    g_free(q->info.data_file);
    g_free(q);
}

static void qcow2_limits(struct blk_node *n, struct blk_limits *out)
{
    blk_limits(n->file, out);
}

static void qcow2_attach(struct blk_node *n, struct evloop *loop)
{
    struct qcow2 *q = n->priv;

    evloop_fd_del(q->done_watch);
    q->done_watch = evloop_fd_add(loop, q->done_fd, EPOLLIN, done_ready, n);
    if (q->backing)
        blk_attach(q->backing, loop);
    if (q->data && q->data != q->file)
        blk_attach(q->data, loop);
}

static void qcow2_plug(struct blk_node *n)
{
    struct qcow2 *q = n->priv;

    if (q->data != q->file)
        blk_plug(q->data);
}

static void qcow2_unplug(struct blk_node *n)
{
    struct qcow2 *q = n->priv;

    if (q->data != q->file)
        blk_unplug(q->data);
}

static struct blk_node *backing_of(const struct blk_node *n)
{
    return ((const struct qcow2 *)n->priv)->backing;
}

static int qcow2_flush_sync(struct blk_node *n)
{
    struct qcow2 *q = n->priv;

    if (!q->l1) /* never opened */
        return 0;
    pthread_mutex_lock(&q->serial);
    int r = q2_flush(q, false);
    if (r == 0 && q->refblocks.dirty)
        r = q2_refcounts_write(q);
    pthread_mutex_unlock(&q->serial);
    return r;
}

const struct qcow2_info *qcow2_info(const struct blk_node *n)
{
    return n->drv == &blk_driver_qcow2 ? &((const struct qcow2 *)n->priv)->info : NULL;
}

const struct blk_node *qcow2_backing(const struct blk_node *n)
{
    return n->drv == &blk_driver_qcow2 ? ((const struct qcow2 *)n->priv)->backing : NULL;
}

const struct blk_driver blk_driver_qcow2 = {
    .name = "qcow2",
    .open = qcow2_open,
    .close = qcow2_close,
    .limits = qcow2_limits,
    .attach = qcow2_attach,
    .flush_sync = qcow2_flush_sync,
    .submit = qcow2_submit,
    .sync = qcow2_sync,
    .plug = qcow2_plug,
    .unplug = qcow2_unplug,
    .poll = qcow2_poll,
    .status = q2_status,
    .backing = backing_of,
    .resize = q2_resize,
};
