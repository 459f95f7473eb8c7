/* node.c - the list of nodes, opening them from properties, and the way of a request through them.
 */
#include "throttle.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/props.h"
#include "base/trace.h"
#include "base/util.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct blk_node *nodes; /* main thread */

static const struct {
    const char *name;
    const struct blk_driver *drv; /* NULL: known, but not in this version */
} drivers[] = {
    {"file", &blk_driver_file},
    {"host_device", &blk_driver_file},
    {"host_cdrom", &blk_driver_file},
    {"raw", &blk_driver_raw},
    {"null-co", &blk_driver_null},
    {"null-aio", &blk_driver_null},
    {"qcow2", &blk_driver_qcow2},
    {"qcow", NULL},
    {"qed", NULL},
    {"vmdk", NULL},
    {"vdi", NULL},
    {"vpc", NULL},
    {"vhdx", NULL},
    {"luks", NULL},
    {"nbd", &blk_driver_nbd},
    {"http", NULL},
    {"https", NULL},
    {"ssh", NULL},
    {"rbd", NULL},
    {"iscsi", NULL},
    {"nvme", NULL},
    {"throttle", &blk_driver_throttle},
    {"copy-on-read", NULL},
    {"blkdebug", NULL},
};

static const struct blk_driver *driver_find(const char *name, GError **err)
{
    const char *names[ARRAY_SIZE(drivers)];
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (drivers[i].drv)
            names[count++] = drivers[i].name;
        if (strcmp(drivers[i].name, name))
            continue;
        if (!drivers[i].drv)
            error_set(err, HANOK_ERROR_UNSUPPORTED,
                      "The block driver '%s' is not available in this version; "
                      "use a raw image instead.",
                      name);
        return drivers[i].drv;
    }
    g_autofree char *near = error_nearest(name, names, count);
    error_set(err, HANOK_ERROR_INVALID, "Unknown block driver '%s'; did you mean %s?", name, near);
    return NULL;
}

static bool read_cache_options(struct blk_node *n, struct props *p, GError **err)
{
    struct props *cache = props_get_sub(p, "cache");
    bool writeback = true;
    if (!cache)
        return true;
    /* cache.direct is the file driver's: it reads it again. */
    props_mark_used(cache, "direct");
    if (!props_get_bool(cache, "no-flush", &n->no_flush, err) ||
        !props_get_bool(cache, "writeback", &writeback, err))
        return false;
    n->write_through = !writeback;
    return props_check_unused(cache, "cache of -blockdev", NULL, err);
}

static const char *const detect_names[] = {"off", "on", "unmap", NULL};

static bool read_common_options(struct blk_node *n, struct props *p, GError **err)
{
    static const char *const discard[] = {"ignore", "off", "unmap", "on", NULL};
    unsigned d = 0, z = 0;
    const char *name = NULL;

    if (!props_get_str(p, "node-name", &name, err) ||
        !props_get_bool(p, "read-only", &n->read_only, err) ||
        !props_get_bool(p, "auto-read-only", &n->auto_read_only, err) ||
        !props_get_bool(p, "force-share", &n->force_share, err) ||
        !props_get_enum(p, "discard", discard, &d, err) ||
        !props_get_enum(p, "detect-zeroes", detect_names, &z, err) ||
        !read_cache_options(n, p, err))
        return false;
    if (n->force_share && !n->read_only)
        return error_set(err, HANOK_ERROR_INVALID,
                         "force-share=on goes with read-only=on only: writing needs the image's "
                         "lock.");
    n->unmap = d >= 2;
    n->detect_zeroes = z;
    if (z == BLK_DETECT_UNMAP && !n->unmap)
        return error_set(err, HANOK_ERROR_INVALID,
                         "detect-zeroes=unmap needs discard=unmap on the same node.");
    if (name && blk_find(name))
        return error_set(err, HANOK_ERROR_INVALID, "The node name '%s' is already in use.", name);
    static unsigned running;
    n->name = name ? g_strdup(name) : g_strdup_printf("#block%03u", running++);
    return true;
}

static void node_unlink(struct blk_node *n)
{
    for (struct blk_node **p = &nodes; *p; p = &(*p)->next) {
        if (*p == n) {
            *p = n->next;
            return;
        }
    }
}

static void later_ready(void *opaque, int fd, uint32_t events);

static void node_free(struct blk_node *n)
{
    if (n->drv)
        n->drv->close(n);
    evloop_fd_del(n->watch);
    if (n->later_fd >= 0)
        close(n->later_fd);
    throttle_leave(n->throttle);
    if (n->file) {
        n->file->parent = NULL;
        if (n->owns_file)
            blk_close(n->file);
    }
    node_unlink(n);
    g_free(n->name);
    g_free(n->filename);
    g_free(n->user);
    g_free(n);
}

/* "throttling": limits on this node, as -drive says them. */
static bool read_throttling(struct blk_node *n, struct props *p, GError **err)
{
    struct props *sub = props_get_sub(p, "throttling");
    struct throttle_limits limits = {.iops_size_bytes = 0};
    const char *group = NULL;

    return !sub || (props_get_str(sub, "group", &group, err) &&
                    throttle_limits_read(sub, "", &limits, err) &&
                    blk_set_throttle(n, group, &limits, err));
}

/* Fills in n; what it leaves half done, node_free() undoes. */
static bool node_open(struct blk_node *n, const struct blk_driver *drv, struct props *p,
                      GError **err)
{
    n->later_tail = &n->later;
    n->later_fd = -1;
    if (!read_common_options(n, p, err))
        return false;
    n->later_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (n->later_fd < 0)
        return error_errno(err, errno, "Cannot create an event descriptor");
    n->drv = drv;
    if (!drv->open(n, p, err) || !read_throttling(n, p, err))
        return false;
    g_autofree char *what = g_strdup_printf("block driver '%s'", drv->name);
    return props_check_unused(p, what, NULL, err);
}

struct blk_node *blk_open_idle(struct props *p, GError **err)
{
    const char *driver = NULL;

    if (!props_get_str(p, "driver", &driver, err))
        return NULL;
    if (!driver) {
        error_set(err, HANOK_ERROR_INVALID, "A block node needs driver=.");
        return NULL;
    }
    const struct blk_driver *drv = driver_find(driver, err);
    if (!drv)
        return NULL;

    struct blk_node *n = g_new0(struct blk_node, 1);
    if (!node_open(n, drv, p, err)) {
        node_free(n);
        return NULL;
    }
    n->next = nodes;
    nodes = n;
    blk_attach(n, evloop_main());
    return n;
}

struct blk_node *blk_open(struct props *p, GError **err)
{
    struct blk_node *n = blk_open_idle(p, err);

    if (n && !blk_perm_as_tool(n, err)) {
        blk_close(n);
        return NULL;
    }
    return n;
}

/* What a nested description does not say itself. */
static void inherit_options(const struct blk_node *n, struct props *sub)
{
    if (n->read_only && !props_has(sub, "read-only"))
        props_set_str(sub, "read-only", "on");
    if (n->force_share && !props_has(sub, "force-share"))
        props_set_str(sub, "force-share", "on");
}

bool blk_open_child(struct blk_node *n, struct props *p, GError **err)
{
    json_t *file = props_get_json(p, "file");

    if (json_is_string(file)) {
        const char *name = json_string_value(file);
        n->file = blk_find(name);
        if (!n->file)
            return error_set(err, HANOK_ERROR_NOT_FOUND,
                             "There is no block node '%s' for file= to refer to.", name);
        if (n->file->parent || n->file->user) {
            n->file = NULL;
            return error_set(err, HANOK_ERROR_BUSY, "The block node '%s' is already in use.", name);
        }
    } else {
        struct props *sub = props_get_sub(p, "file");
        if (!sub)
            return error_set(err, HANOK_ERROR_INVALID, "The block driver '%s' needs file=.",
                             n->drv->name);
        inherit_options(n, sub);
        n->file = blk_open_idle(sub, err);
        if (!n->file)
            return false;
        n->owns_file = true;
    }
    n->file->parent = n;
    /* Tables are read only once nobody else writes them. */
    return !blk_has_tables(n) || blk_perm_to_child(n, err);
}

struct blk_node *blk_open_file(const char *path, bool read_only, GError **err)
{
    json_t *o = json_pack("{s:s, s:b, s:{s:s, s:s, s:b}}", "driver", "raw", "read-only", read_only,
                          "file", "driver", "file", "filename", path, "read-only", read_only);
    if (!o) {
        error_set(err, HANOK_ERROR_INVALID, "The file name of an image must be valid UTF-8.");
        return NULL;
    }
    PROPS_AUTO p = props_from_json(o);
    json_decref(o);
    return blk_open(p, err);
}

void blk_close(struct blk_node *n)
{
    if (!n)
        return;
    assert(!n->parent);
    blk_drain(n);
    if (!n->read_only)
        blk_flush_sync(n);
    node_free(n);
}

struct blk_node *blk_find(const char *node_name)
{
    for (struct blk_node *n = nodes; n; n = n->next) {
        if (!strcmp(n->name, node_name))
            return n;
    }
    return NULL;
}

const char *blk_node_name(const struct blk_node *n)
{
    return n->name;
}

const char *blk_driver_name(const struct blk_node *n)
{
    return n->drv->name;
}

const char *blk_filename(const struct blk_node *n)
{
    while (!n->filename && n->file)
        n = n->file;
    return n->filename ? n->filename : "";
}

const struct blk_node *blk_child(const struct blk_node *n)
{
    return n->file;
}

void blk_limits(const struct blk_node *n, struct blk_limits *out)
{
    *out = (struct blk_limits){
        .logical_block_bytes = BLK_SECTOR_BYTES,
        .physical_block_bytes = BLK_SECTOR_BYTES,
        .max_transfer_bytes = 1 * GiB,
        .can_discard = true,
        .can_write_zeroes = true,
    };
    n->drv->limits((struct blk_node *)n, out);
    out->size_bytes = __atomic_load_n(&n->size_bytes, __ATOMIC_RELAXED);
    out->read_only = n->read_only;
    out->write_cache = !n->write_through;
    out->no_flush = n->no_flush;
    out->detect_zeroes = detect_names[n->detect_zeroes];
}

bool blk_resize(struct blk_node *n, uint64_t size_bytes, GError **err)
{
    if (n->read_only)
        return error_set(err, HANOK_ERROR_INVALID, "The block node '%s' is read-only.", n->name);
    if (!n->drv->resize)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "The block driver '%s' cannot change an image's size.", n->drv->name);
    bool root = !n->parent;
    unsigned used = n->perm_used, unshared = n->perm_unshared;
    if (root && !blk_set_perm(n, used | BLK_PERM_RESIZE, unshared, err))
        return false;
    blk_drain(n);
    bool ok = n->drv->resize(n, size_bytes, err);
    if (root)
        blk_set_perm(n, used, unshared, NULL);
    return ok;
}

void blk_attach(struct blk_node *n, struct evloop *loop)
{
    for (; n; n = n->file) {
        assert(n->inflight == 0);
        evloop_fd_del(n->watch);
        n->loop = loop;
        n->watch = evloop_fd_add(loop, n->later_fd, EPOLLIN, later_ready, n);
        if (n->throttle)
            throttle_attach(n->throttle, loop);
        if (n->drv->attach)
            n->drv->attach(n, loop);
    }
}

static void stats_add(struct blk_node *n, const struct blk_req *req, int ret)
{
    struct blk_stats *s = &n->stats;
    uint64_t *ops = ret < 0 ? &s->errors[req->op] : &s->ops[req->op];
    uint64_t requests = 1 + (uint64_t)req->merged;

    if (ret < 0 && req->merged) /* its parts are tried, and counted, one by one */
        return;
    __atomic_fetch_add(ops, requests, __ATOMIC_RELAXED);
    if (ret == 0)
        __atomic_fetch_add(&s->bytes[req->op], req->len_bytes, __ATOMIC_RELAXED);
    if (req->merged)
        __atomic_fetch_add(&s->merged[req->op], req->merged, __ATOMIC_RELAXED);
    __atomic_fetch_add(&s->ns[req->op],
                       requests * (host_clock_ns() - req->driver[BLK_SCRATCH_NODE]),
                       __ATOMIC_RELAXED);
}

void blk_complete(struct blk_req *req, int ret)
{
    struct blk_node *n = req->node;

    assert(n->inflight > 0);
    n->inflight--;
    stats_add(n, req, ret);
    TRACE(blk_done, "req %u ret %d blk %p", req->id, ret, (void *)req);
    req->done(req, ret);
}

void blk_on_batch(struct blk_node *n, void (*fn)(void *opaque), void *opaque)
{
    n->batch_fn = fn;
    n->batch_opaque = opaque;
}

void blk_batch_done(struct blk_node *n)
{
    while (n->parent)
        n = n->parent;
    if (n->batch_fn)
        n->batch_fn(n->batch_opaque);
}

void blk_complete_later(struct blk_node *n, struct blk_req *req, int ret)
{
    uint64_t one = 1;

    req->driver[0] = (uint64_t)(int64_t)ret;
    req->next = NULL;
    if (!n->later && write(n->later_fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN); /* the counter is already far above zero */
    *n->later_tail = req;
    n->later_tail = &req->next;
}

static void run_later(struct blk_node *n)
{
    struct blk_req *req = n->later;

    n->later = NULL;
    n->later_tail = &n->later;
    while (req) {
        struct blk_req *next = req->next;
        blk_complete(req, (int)(int64_t)req->driver[0]);
        req = next;
    }
    blk_batch_done(n);
}

static void later_ready(void *opaque, int fd, uint32_t events)
{
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN || errno == EINTR);
    run_later(opaque);
}

int blk_check_request(struct blk_node *n, struct blk_req *req)
{
    uint64_t size = n->size_bytes;

    /* Tables are written out even with cache.no-flush=on, which saves the waiting only. */
    if (req->op == BLK_FLUSH)
        return n->read_only || (n->no_flush && !blk_has_tables(n)) ? 1 : 0;
    if (req->offset_bytes > size || req->len_bytes > size - req->offset_bytes)
        return -EIO;
    if (req->op != BLK_READ && n->read_only)
        return -EROFS;
    if (req->op == BLK_DISCARD && !n->unmap)
        return 1; /* discard=ignore */
    if (req->op == BLK_WRITE_ZEROES && !n->unmap)
        req->flags &= ~(uint32_t)BLK_REQ_UNMAP;
    return req->len_bytes == 0 ? 1 : 0;
}

void blk_submit(struct blk_req *req)
{
    struct blk_node *n = req->node;

    req->id = n->next_id++;
    req->driver[BLK_SCRATCH_NODE] = host_clock_ns();
    n->inflight++;
    TRACE(blk_submit, "req %u op %d off %llu len %llu blk %p", req->id, req->op,
          (unsigned long long)req->offset_bytes, (unsigned long long)req->len_bytes, (void *)req);
    if (n->detect_zeroes != BLK_DETECT_OFF && req->op == BLK_WRITE &&
        blk_iov_is_zero(req->iov, req->iov_count)) {
        req->op = BLK_WRITE_ZEROES;
        if (n->detect_zeroes == BLK_DETECT_UNMAP)
            req->flags |= BLK_REQ_UNMAP;
    }
    int now = blk_check_request(n, req);
    if (now)
        blk_complete_later(n, req, now < 0 ? now : 0);
    else if (!n->throttle || n->drv == &blk_driver_throttle || throttle_pass(n->throttle, req))
        n->drv->submit(n, req);
}

void blk_plug(struct blk_node *n)
{
    for (; n; n = n->file) {
        if (n->drv->plug)
            n->drv->plug(n);
    }
}

void blk_unplug(struct blk_node *n)
{
    for (; n; n = n->file) {
        if (n->drv->unplug)
            n->drv->unplug(n);
    }
}

static void drain_in_loop(void *opaque)
{
    struct blk_node *root = opaque;

    for (struct blk_node *n = root; n; n = n->file) {
        if (n->throttle)
            throttle_drain_begin(n->throttle);
    }
    while (root->inflight) {
        bool progress = false;
        struct blk_node *poller = NULL; /* the topmost that polls knows about those below */
        for (struct blk_node *n = root; n; n = n->file) {
            if (!poller && n->drv->poll)
                poller = n;
            if (n->later) {
                run_later(n);
                progress = true;
            }
        }
        if (!progress && root->inflight)
            poller->drv->poll(poller);
    }
    for (struct blk_node *n = root; n; n = n->file) {
        if (n->throttle)
            throttle_drain_end(n->throttle);
    }
}

void blk_drain(struct blk_node *n)
{
    if (n->loop)
        evloop_call(n->loop, drain_in_loop, n);
}

int blk_flush_sync(struct blk_node *n)
{
    bool no_flush = n->no_flush;

    if (n->read_only)
        return 0;
    while (n->file && !n->drv->flush_sync)
        n = n->file;
    if (no_flush && !blk_has_tables(n))
        return 0;
    return n->drv->flush_sync ? n->drv->flush_sync(n) : 0;
}

void blk_stats(const struct blk_node *n, struct blk_stats *out)
{
    for (unsigned i = 0; i < ARRAY_SIZE(out->ops); i++) {
        out->ops[i] = __atomic_load_n(&n->stats.ops[i], __ATOMIC_RELAXED);
        out->bytes[i] = __atomic_load_n(&n->stats.bytes[i], __ATOMIC_RELAXED);
        out->errors[i] = __atomic_load_n(&n->stats.errors[i], __ATOMIC_RELAXED);
        out->ns[i] = __atomic_load_n(&n->stats.ns[i], __ATOMIC_RELAXED);
        out->merged[i] = __atomic_load_n(&n->stats.merged[i], __ATOMIC_RELAXED);
    }
    while (n->file)
        n = n->file;
    out->submissions = __atomic_load_n(&n->stats.submissions, __ATOMIC_RELAXED);
    out->syncs = __atomic_load_n(&n->stats.syncs, __ATOMIC_RELAXED);
}

void blk_foreach(void (*fn)(struct blk_node *n, void *opaque), void *opaque)
{
    for (struct blk_node *n = nodes, *next; n; n = next) {
        next = n->next;
        fn(n, opaque);
    }
}
