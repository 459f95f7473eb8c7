/* read.c - reading what is not simply there: holes, backing images, compressed clusters. */
#include "qcow2.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

static bool inflate_cluster(uint8_t *out, uint64_t out_len, uint8_t *in, uint64_t in_len)
{
    z_stream z = {
        .next_in = in, .avail_in = (uInt)in_len, .next_out = out, .avail_out = (uInt)out_len};

    if (inflateInit2(&z, -12) != Z_OK) /* raw deflate, window of 4 KiB (spec) */
        return false;
    int r = inflate(&z, Z_FINISH);
    bool full = z.avail_out == 0;
    inflateEnd(&z);
    /* The stored length is rounded up to sectors: bytes may be left over. */
    return full && (r == Z_STREAM_END || r == Z_BUF_ERROR);
}

static bool unzstd_cluster(uint8_t *out, uint64_t out_len, const uint8_t *in, uint64_t in_len)
{
    ZSTD_DCtx *d = ZSTD_createDCtx();
    ZSTD_inBuffer from = {in, in_len, 0};
    ZSTD_outBuffer to = {out, out_len, 0};
    size_t r = 1;

    while (d && to.pos < to.size) {
        size_t before_in = from.pos, before_out = to.pos;
        r = ZSTD_decompressStream(d, &to, &from);
        if (ZSTD_isError(r) || (from.pos == before_in && to.pos == before_out))
            break;
    }
    ZSTD_freeDCtx(d);
    return !ZSTD_isError(r) && to.pos == to.size;
}

/* Makes q->unpacked hold the cluster that entry describes. */
static int unpack(struct qcow2 *q, uint64_t entry)
{
    uint64_t offset, len;

    if (q->unpacked_entry == entry)
        return 0;
    q->unpacked_entry = 0;
    q2_packed_place(q, entry, &offset, &len);
    len = MIN_OF(len, 2 * q->cluster_bytes);
    int r = q2_io(q->file, BLK_READ, offset, q->packed, len);
    if (r < 0)
        return r;
    bool ok = q->info.zstd ? unzstd_cluster(q->unpacked, q->cluster_bytes, q->packed, len)
                           : inflate_cluster(q->unpacked, q->cluster_bytes, q->packed, len);
    if (!ok)
        return -EIO;
    q->unpacked_entry = entry;
    return 0;
}

static void iov_put(const struct iovec *iov, int count, uint64_t skip, const uint8_t *from,
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
        iov_put(iov, count, skip + there, NULL, len - there);
    return r;
}

static int read_extent(struct qcow2 *q, uint64_t offset, const struct extent *e,
                       const struct iovec *iov, int count, uint64_t skip)
{
    int r;

    switch (e->kind) {
    case Q2_ZEROES:
        iov_put(iov, count, skip, NULL, e->len_bytes);
        return 0;
    case Q2_UNALLOCATED:
        return read_backing(q, offset, iov, count, skip, e->len_bytes);
    case Q2_NORMAL:
        return q2_io_iov(q->file, BLK_READ, e->host_bytes, iov, count, skip, e->len_bytes);
    case Q2_DEFLATED:
        r = unpack(q, e->entry);
        if (r == 0)
            iov_put(iov, count, skip, q->unpacked + (offset & (q->cluster_bytes - 1)),
                    e->len_bytes);
        return r;
    }
    return -EIO;
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
