/* iov.c - walking scatter lists without allocating. */
#include "block_int.h"

#include "base/util.h"

size_t blk_iov_slice(const struct iovec *in, int in_count, uint64_t skip_bytes, struct iovec *out,
                     int out_max, int *out_count)
{
    size_t bytes = 0;
    int n = 0;

    for (int i = 0; i < in_count && n < out_max; i++) {
        if (skip_bytes >= in[i].iov_len) {
            skip_bytes -= in[i].iov_len;
            continue;
        }
        out[n].iov_base = (char *)in[i].iov_base + skip_bytes;
        out[n].iov_len = in[i].iov_len - skip_bytes;
        bytes += out[n++].iov_len;
        skip_bytes = 0;
    }
    *out_count = n;
    return bytes;
}

void blk_iov_zero(const struct iovec *iov, int count, uint64_t skip_bytes)
{
    for (int i = 0; i < count; i++) {
        if (skip_bytes >= iov[i].iov_len) {
            skip_bytes -= iov[i].iov_len;
            continue;
        }
        memset((char *)iov[i].iov_base + skip_bytes, 0, iov[i].iov_len - skip_bytes);
        skip_bytes = 0;
    }
}

static bool is_zero(const uint8_t *p, size_t len)
{
    /* The first bytes by hand, then the buffer compared with itself shifted by eight. */
    size_t head = MIN_OF(len, (size_t)8);
    for (size_t i = 0; i < head; i++) {
        if (p[i])
            return false;
    }
    return len <= 8 || memcmp(p, p + 8, len - 8) == 0;
}

bool blk_iov_is_zero(const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++) {
        if (!is_zero(iov[i].iov_base, iov[i].iov_len))
            return false;
    }
    return true;
}

bool blk_iov_aligned(const struct iovec *iov, int count, uint32_t align)
{
    for (int i = 0; i < count; i++) {
        if (((uintptr_t)iov[i].iov_base | iov[i].iov_len) & (align - 1))
            return false;
    }
    return true;
}

void blk_iov_to_buf(const struct iovec *iov, int count, void *buf)
{
    char *p = buf;
    for (int i = 0; i < count; i++) {
        memcpy(p, iov[i].iov_base, iov[i].iov_len);
        p += iov[i].iov_len;
    }
}

void blk_iov_from_buf(const struct iovec *iov, int count, const void *buf)
{
    const char *p = buf;
    for (int i = 0; i < count; i++) {
        memcpy(iov[i].iov_base, p, iov[i].iov_len);
        p += iov[i].iov_len;
    }
}
