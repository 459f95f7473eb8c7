/* raw.c - the "raw" format: a window [offset, offset+size) of what it lies on. */
#include "block_int.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>

struct raw {
    uint64_t offset_bytes;
    bool fixed_size; /* size= was given: the window does not follow the file */
};

static bool raw_open(struct blk_node *n, struct props *p, GError **err)
{
    struct raw *r = n->priv = g_new0(struct raw, 1);
    uint64_t size = 0;

    if (!props_get_size(p, "offset", &r->offset_bytes, err) ||
        !props_get_size(p, "size", &size, err) || !blk_open_child(n, p, err))
        return false;
    r->fixed_size = size != 0;
    if ((r->offset_bytes | size) % BLK_SECTOR_BYTES)
        return error_set(err, HANOK_ERROR_INVALID,
                         "offset= and size= of a raw image must be multiples of 512.");
    uint64_t below = n->file->size_bytes;
    if (r->offset_bytes > below || size > below - r->offset_bytes)
        return error_set(err, HANOK_ERROR_INVALID,
                         "The raw window (offset %" PRIu64 ", size %" PRIu64
                         ") reaches past the end of '%s' (%" PRIu64 " bytes).",
                         r->offset_bytes, size, blk_filename(n->file), below);
    if (n->auto_read_only && n->file->read_only)
        n->read_only = true;
    if (!n->read_only && n->file->read_only)
        return error_set(err, HANOK_ERROR_INVALID,
                         "The block node '%s' is writable, but '%s' below it is read-only.",
                         n->name, n->file->name);
    n->size_bytes = r->fixed_size ? size : below - r->offset_bytes;
    return true;
}

static void raw_close(struct blk_node *n)
{
    g_free(n->priv);
}

static void raw_limits(struct blk_node *n, struct blk_limits *out)
{
    blk_limits(n->file, out);
}

static bool raw_resize(struct blk_node *n, uint64_t size_bytes, GError **err)
{
    struct raw *r = n->priv;

    if (r->fixed_size || r->offset_bytes)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "The block node '%s' shows a window of its file; its size is fixed.",
                         n->name);
    if (!blk_resize(n->file, size_bytes, err))
        return false;
    __atomic_store_n(&n->size_bytes, n->file->size_bytes, __ATOMIC_RELAXED);
    return true;
}

static void raw_submit(struct blk_node *n, struct blk_req *req)
{
    struct raw *r = n->priv;

    req->offset_bytes += r->offset_bytes;
    n->file->drv->submit(n->file, req);
}

static int raw_sync(struct blk_node *n, struct blk_req *req)
{
    struct raw *r = n->priv;

    req->offset_bytes += r->offset_bytes;
    return n->file->drv->sync ? n->file->drv->sync(n->file, req) : -ENOTSUP;
}

static int raw_status(struct blk_node *n, uint64_t offset, uint64_t len, bool holes,
                      struct blk_status *out)
{
    struct raw *r = n->priv;

    if (offset + r->offset_bytes >= n->file->size_bytes)
        return -EIO;
    return blk_status(n->file, offset + r->offset_bytes, len, holes, out);
}

const struct blk_driver blk_driver_raw = {
    .name = "raw",
    .open = raw_open,
    .close = raw_close,
    .limits = raw_limits,
    .resize = raw_resize,
    .submit = raw_submit,
    .sync = raw_sync,
    .status = raw_status,
};
