/* prealloc.c - clusters given to a guest before it writes. */
#include "qcow2.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* One run of the range that has no place yet; *done: how far. */
static int give_run(struct qcow2 *q, uint64_t offset, uint64_t end, uint64_t *done)
{
    uint64_t mask = q->cluster_bytes - 1, host, got;
    enum q2_state state = Q2_SET_DATA;
    struct extent e;
    int r = q2_map(q, offset, end - offset, &e);

    uint64_t len = e.len_bytes & ~mask; /* 0: its subclusters differ, which a place would blur */
    *done = MAX_OF(ALIGN_DOWN(e.len_bytes, q->cluster_bytes), q->cluster_bytes);
    if (r < 0 || e.has_host || e.kind == Q2_DEFLATED || len == 0)
        return r;
    if (q->subs > 1 && e.kind == Q2_UNALLOCATED && q->backing)
        state = Q2_SET_NONE; /* a place, but the backing image still shows */
    if (e.kind == Q2_ZEROES || !q->regular_file)
        state = Q2_SET_ZERO; /* what lies there is not known to be zeroes */
    if (q->data != q->file) {
        host = offset;
    } else {
        r = q2_alloc(q, len >> q->cluster_bits, &host, &got);
        if (r < 0)
            return r;
        *done = got << q->cluster_bits;
    }
    return q2_l2_set(q, offset, *done, host, state);
}

static bool reserve(struct blk_node *n, uint64_t from, uint64_t to, GError **err)
{
    int fd = open(blk_filename(n), O_RDWR | O_CLOEXEC);
    int e = fd < 0 ? errno : posix_fallocate(fd, (off_t)from, (off_t)(to - from));

    if (fd >= 0)
        close(fd);
    return e == 0 || error_errno(err, e, "Could not preallocate '%s'", blk_filename(n));
}

/* Zeroes on the disk, where they are read as zeroes already. */
static int write_zeroes(struct qcow2 *q, uint64_t from, uint64_t end)
{
    enum { PIECE = 1 << 20 };
    g_autofree uint8_t *zeroes = g_malloc0(PIECE);
    int r = 0;

    while (r == 0 && from < end) {
        struct extent e;
        r = q2_map(q, from, MIN_OF(end - from, (uint64_t)PIECE), &e);
        if (r == 0 && e.has_host)
            r = q2_io(q->data, BLK_WRITE, e.host_bytes, zeroes, e.len_bytes);
        from += e.len_bytes;
    }
    return r;
}

bool q2_preallocate(struct qcow2 *q, uint64_t from, uint64_t to, enum blk_prealloc how,
                    GError **err)
{
    uint64_t hint = q->free_hint, old_end = ALIGN_UP(q->file_end, q->cluster_bytes), done;
    uint64_t end = ALIGN_UP(to, q->cluster_bytes);
    uint64_t at =
        q->backing ? ALIGN_UP(from, q->cluster_bytes) : ALIGN_DOWN(from, q->cluster_bytes);
    int r = 0;

    if (q->regular_file) /* where the file reads as zeroes */
        q->free_hint = MAX_OF(hint, old_end >> q->cluster_bits);
    for (; r == 0 && at < end; at += done)
        r = give_run(q, at, end, &done);
    q->free_hint = hint;
    if (r == 0)
        r = q2_flush(q, false);
    if (r < 0)
        return error_errno(err, -r, "Could not preallocate '%s'", q2_name(q));
    bool external = q->data != q->file;
    uint64_t file_end = ALIGN_UP(q->file_end, q->cluster_bytes);
    if (q->regular_file && file_end > q->file->size_bytes && !blk_resize(q->file, file_end, err))
        return false;
    if (external && q->data->size_bytes < to && !blk_resize(q->data, to, err))
        return false;
    if (how == BLK_PREALLOC_METADATA)
        return true;
    if (how == BLK_PREALLOC_FALLOC)
        return external ? from == to || reserve(q->data, from, to, err)
                        : old_end == file_end || reserve(q->file, old_end, file_end, err);
    r = write_zeroes(q, ALIGN_UP(from, q->cluster_bytes), end);
    return r == 0 || error_errno(err, -r, "Could not preallocate '%s'", q2_name(q));
}
