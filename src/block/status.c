/* status.c - what is known about a range of an image without reading it. */
#include "block_int.h"

#include "base/util.h"

#include <errno.h>

struct blk_node *blk_backing(const struct blk_node *n)
{
    return n->drv->backing ? n->drv->backing(n) : NULL;
}

int blk_status(struct blk_node *n, uint64_t offset, uint64_t len, bool holes,
               struct blk_status *out)
{
    *out = (struct blk_status){.flags = BLK_STATUS_ALLOCATED | BLK_STATUS_DATA, .len_bytes = len};
    if (len == 0 || offset >= n->size_bytes || len > n->size_bytes - offset)
        return -EINVAL;
    if (!n->drv->status)
        return 0;
    *out = (struct blk_status){0};
    return n->drv->status(n, offset, len, holes, out);
}

int blk_status_above(struct blk_node *n, const struct blk_node *base, uint64_t offset, uint64_t len,
                     bool holes, struct blk_status *out)
{
    for (unsigned depth = 0;; depth++) {
        if (offset >= n->size_bytes) { /* shorter than what lies on it */
            *out = (struct blk_status){.flags = BLK_STATUS_ZERO | BLK_STATUS_ALLOCATED,
                                       .len_bytes = len};
        } else {
            int r = blk_status(n, offset, MIN_OF(len, n->size_bytes - offset), holes, out);
            if (r < 0)
                return r;
        }
        out->depth = depth;
        if (out->flags & BLK_STATUS_ALLOCATED)
            return 0;
        struct blk_node *below = blk_backing(n);
        if (!below || below == base) {
            if (!base)
                out->flags |= BLK_STATUS_ZERO;
            return 0;
        }
        len = out->len_bytes;
        n = below;
    }
}
