/* read.c - reading what is not simply there: holes, backing images, compressed clusters. */
#include "qcow2.h"

#include <errno.h>

void q2_iov_put(const struct iovec *iov, int count, uint64_t skip, const uint8_t *from,
                uint64_t len)
{
    for (int i = 0; i < count && len; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        uint64_t n = MIN_OF((uint64_t)iov[i].iov_len - skip, len);
        if (from) {
            memcpy((uint8_t *)iov[i].iov_base + skip, from, n);
            from += n;
        } else {
            memset((uint8_t *)iov[i].iov_base + skip, 0, n);
        }
        len -= n;
        skip = 0;
    }
}

static int read_backing(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int count,
                        uint64_t skip, uint64_t len)
{
    uint64_t below = q->backing ? q->backing->size_bytes : 0;
    uint64_t there = offset < below ? MIN_OF(len, below - offset) : 0;
    int r = there ? q2_io_iov(q->backing, BLK_READ, offset, iov, count, skip, there) : 0;

    if (r == 0 && there < len) /* a backing image may be shorter: zeroes behind its end */
        q2_iov_put(iov, count, skip + there, NULL, len - there);
    return r;
}

static int read_extent(struct qcow2 *q, uint64_t offset, const struct extent *e,
                       const struct iovec *iov, int count, uint64_t skip)
{
    int r = -EIO;

    if (e->kind == Q2_ZEROES) {
        q2_iov_put(iov, count, skip, NULL, e->len_bytes);
        return 0;
    }
    if (e->kind == Q2_DEFLATED)
        return q2_unpack(q, e->entry, offset & (q->cluster_bytes - 1), iov, count, skip,
                         e->len_bytes);
    q2_let_go(q);
    if (e->kind == Q2_UNALLOCATED)
        r = read_backing(q, offset, iov, count, skip, e->len_bytes);
    else if (e->kind == Q2_NORMAL)
        r = q2_io_iov(q->data, BLK_READ, e->host_bytes, iov, count, skip, e->len_bytes);
    q2_take_back(q);
    return r;
}

int q2_read(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
            uint64_t len)
{
    while (len) {
        struct extent e;
        int r = q2_map(q, offset, len, &e);
        if (r == 0)
            r = read_extent(q, offset, &e, iov, iov_count, skip);
        if (r < 0)
            return r;
        offset += e.len_bytes;
        skip += e.len_bytes;
        len -= e.len_bytes;
    }
    return 0;
}
