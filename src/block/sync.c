/* sync.c - blocking requests from any thread. */
#include "block_int.h"

#include <errno.h>

static int run(struct blk_node *n, enum blk_op op, uint64_t offset, void *buf, uint64_t len,
               uint32_t flags)
{
    struct iovec iov = {buf, len};
    struct blk_req req = {.op = op,
                          .flags = flags,
                          .offset_bytes = offset,
                          .len_bytes = len,
                          .iov = &iov,
                          .iov_count = buf ? 1 : 0,
                          .node = n};
    int now = blk_check_request(n, &req);

    if (now)
        return now < 0 ? now : 0;
    return n->drv->sync ? n->drv->sync(n, &req) : -ENOTSUP;
}

int blk_pread(struct blk_node *n, uint64_t offset, void *buf, uint64_t len)
{
    return run(n, BLK_READ, offset, buf, len, 0);
}

int blk_pwrite(struct blk_node *n, uint64_t offset, const void *buf, uint64_t len, uint32_t flags)
{
    return run(n, BLK_WRITE, offset, (void *)(uintptr_t)buf, len, flags);
}

int blk_pzero(struct blk_node *n, uint64_t offset, uint64_t len, uint32_t flags)
{
    return run(n, BLK_WRITE_ZEROES, offset, NULL, len, flags);
}

int blk_pdiscard(struct blk_node *n, uint64_t offset, uint64_t len)
{
    return run(n, BLK_DISCARD, offset, NULL, len, 0);
}

int blk_pflush(struct blk_node *n)
{
    return run(n, BLK_FLUSH, 0, NULL, 0, 0);
}
