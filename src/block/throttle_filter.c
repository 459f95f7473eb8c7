/* throttle_filter.c - the "throttle" driver: a filter node whose requests wait for its group. */
#include "throttle.h"

#include "base/error.h"
#include "base/props.h"

#include <errno.h>

static void go_on(struct blk_node *n, struct blk_req *req)
{
    n->file->drv->submit(n->file, req);
}

static bool filter_open(struct blk_node *n, struct props *p, GError **err)
{
    const char *name = NULL;

    if (!props_get_str(p, "throttle-group", &name, err) || !blk_open_child(n, p, err))
        return false;
    if (!name)
        return error_set(err, HANOK_ERROR_INVALID, "A throttle node needs throttle-group=.");
    struct throttle_group *g = throttle_group_find(name);
    if (!g)
        return error_set(
            err, HANOK_ERROR_NOT_FOUND,
            "There is no throttle group '%s'; give -object throttle-group,id=%s first.", name,
            name);
    n->throttle = throttle_join(n, g, go_on);
    n->read_only |= n->auto_read_only && n->file->read_only;
    n->size_bytes = n->file->size_bytes;
    return true;
}

static void filter_close(struct blk_node *n)
{
}

static void filter_limits(struct blk_node *n, struct blk_limits *out)
{
    blk_limits(n->file, out);
}

static bool filter_resize(struct blk_node *n, uint64_t size_bytes, GError **err)
{
    if (!blk_resize(n->file, size_bytes, err))
        return false;
    __atomic_store_n(&n->size_bytes, n->file->size_bytes, __ATOMIC_RELAXED);
    return true;
}

static void filter_submit(struct blk_node *n, struct blk_req *req)
{
    if (throttle_pass(n->throttle, req))
        go_on(n, req);
}

static int filter_sync(struct blk_node *n, struct blk_req *req)
{
    throttle_sleep(n->throttle, req);
    return n->file->drv->sync ? n->file->drv->sync(n->file, req) : -ENOTSUP;
}

static int filter_status(struct blk_node *n, uint64_t offset, uint64_t len, bool holes,
                         struct blk_status *out)
{
    return blk_status(n->file, offset, len, holes, out);
}

const struct blk_driver blk_driver_throttle = {
    .name = "throttle",
    .open = filter_open,
    .close = filter_close,
    .limits = filter_limits,
    .resize = filter_resize,
    .submit = filter_submit,
    .sync = filter_sync,
    .status = filter_status,
};
