/* io.c - blocking transfers on what lies below, for the holder of serial. */
#include "qcow2.h"

#include <errno.h>
#include <limits.h>

enum { PARTS_MAX = 64 };

static int run(struct blk_node *n, enum blk_op op, uint64_t offset, struct iovec *iov, int count,
               uint64_t len)
{
    struct blk_req req = {.op = op,
                          .offset_bytes = offset,
                          .len_bytes = len,
                          .iov = iov,
                          .iov_count = count,
                          .node = n};
    return n->drv->sync ? n->drv->sync(n, &req) : -ENOTSUP;
}

int q2_io(struct blk_node *n, enum blk_op op, uint64_t offset, void *buf, uint64_t len)
{
    struct iovec iov = {buf, len};
    return run(n, op, offset, &iov, buf ? 1 : 0, len);
}

int q2_io_iov(struct blk_node *n, enum blk_op op, uint64_t offset, const struct iovec *iov,
              int iov_count, uint64_t skip, uint64_t len)
{
    while (len) {
        struct iovec part[PARTS_MAX];
        int parts;
        uint64_t bytes = blk_iov_slice(iov, iov_count, skip, part, PARTS_MAX, &parts);
        if (bytes == 0)
            return -EINVAL;
        for (; bytes > len;) { /* the last parts reach further than wanted */
            uint64_t over = bytes - len, cut = MIN_OF(over, (uint64_t)part[parts - 1].iov_len);
            part[parts - 1].iov_len -= cut;
            bytes -= cut;
            if (part[parts - 1].iov_len == 0)
                parts--;
        }
        int r = run(n, op, offset, part, parts, bytes);
        if (r < 0)
            return r;
        offset += bytes;
        skip += bytes;
        len -= bytes;
    }
    return 0;
}

int q2_table_write(struct qcow2 *q, uint64_t offset, const uint64_t *table, uint32_t from,
                   uint32_t to)
{
    g_autofree uint64_t *be = g_try_new(uint64_t, to - from);

    if (!be)
        return -ENOMEM;
    for (uint32_t i = from; i < to; i++)
        be64_put(&be[i - from], table[i]);
    return q2_io(q->file, BLK_WRITE, offset + (uint64_t)from * 8, be, (uint64_t)(to - from) * 8);
}

int q2_barrier(struct qcow2 *q)
{
    if (q->failed)
        return -EIO;
    if (q->node->no_flush)
        return 0;
    int r = q2_io(q->file, BLK_FLUSH, 0, NULL, 0);
    if (r == 0 && q->data != q->file)
        r = q2_io(q->data, BLK_FLUSH, 0, NULL, 0);
    if (r < 0) {
        /* The kernel reports a failed write-back once and then calls the pages clean: a later
         * success would prove nothing. */
        pthread_mutex_lock(&q->tables);
        q->failed = true;
        pthread_mutex_unlock(&q->tables);
    }
    return r;
}
