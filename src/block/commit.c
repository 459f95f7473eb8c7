/* commit.c - what the upper layers of a chain hold goes into a lower one. */
#include "block_int.h"

#include "base/error.h"
#include "base/util.h"

#include <errno.h>
#include <glib.h>
#include <stdlib.h>

enum { PIECE = 2 << 20 };

static int copy_range(struct blk_node *top, struct blk_node *base, uint64_t at,
                      const struct blk_status *s, uint8_t *buf)
{
    if (!(s->flags & BLK_STATUS_ALLOCATED))
        return 0;
    if (s->flags & BLK_STATUS_ZERO)
        return blk_pzero(base, at, s->len_bytes, BLK_REQ_UNMAP);
    int r = blk_pread(top, at, buf, s->len_bytes);
    return r < 0 ? r : blk_pwrite(base, at, buf, s->len_bytes, 0);
}

static int copy_all(struct blk_node *top, struct blk_node *base, blk_progress_fn progress,
                    void *opaque)
{
    uint64_t end = top->size_bytes;
    uint8_t *buf = NULL;
    int r = posix_memalign((void **)&buf, 4096, PIECE) ? -ENOMEM : 0;

    for (uint64_t at = 0; r == 0 && at < end;) {
        struct blk_status s;
        r = blk_status_above(top, base, at, MIN_OF(end - at, (uint64_t)PIECE), false, &s);
        if (r == 0)
            r = copy_range(top, base, at, &s, buf);
        at += s.len_bytes;
        if (r == 0 && progress && !progress(opaque, at, end))
            r = -ECANCELED;
    }
    free(buf);
    return r < 0 ? r : blk_pflush(base);
}

bool blk_commit(struct blk_node *top, struct blk_node *base, blk_progress_fn progress, void *opaque,
                GError **err)
{
    struct blk_node *below = blk_backing(top);

    while (below && below != base)
        below = blk_backing(below);
    if (!below)
        return error_set(err, HANOK_ERROR_INVALID, "'%s' is not in the backing chain of '%s'.",
                         blk_filename(base), blk_filename(top));
    if (base->read_only)
        return error_set(err, HANOK_ERROR_INVALID, "'%s' was opened read-only.",
                         blk_filename(base));
    blk_drain(top);
    if (base->size_bytes < top->size_bytes && !blk_resize(base, top->size_bytes, err))
        return false;
    int r = copy_all(top, base, progress, opaque);
    return r == 0 || error_errno(err, -r, "Could not commit '%s' into '%s'", blk_filename(top),
                                 blk_filename(base));
}
