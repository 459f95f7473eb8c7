/* create.c - a new, empty image: header, refcount table, refcount blocks, L1 table, in this order
 * in the file.  The header is written last: before that the file is no image of any format. */
#include "qcow2.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

struct layout {
    uint32_t cluster_bits;
    uint64_t cluster_bytes, reftable_clusters, blocks, l1_entries, l1_clusters, total;
};

static uint64_t div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static bool plan(const struct qcow2_create *c, struct layout *l, GError **err)
{
    uint64_t cb = l->cluster_bytes = c->cluster_bytes;

    if (cb < 512 || cb > 2 * MiB || (cb & (cb - 1)))
        return error_set(
            err, HANOK_ERROR_INVALID,
            "The cluster size must be a power of two between 512 and 2M, not %" PRIu64 ".", cb);
    l->cluster_bits = (uint32_t)__builtin_ctzll(cb);
    l->l1_entries = div_up(c->size_bytes, cb * (cb / 8));
    l->l1_clusters = div_up(l->l1_entries * 8, cb);
    if (c->size_bytes > INT64_MAX - MiB || l->l1_entries * 8 > Q2_L1_BYTES_MAX)
        return error_set(err, HANOK_ERROR_INVALID,
                         "An image of %" PRIu64 " bytes is too large for clusters of %" PRIu64
                         " bytes; say a larger cluster_size.",
                         c->size_bytes, cb);
    for (l->blocks = 1;; l->blocks++) {
        l->reftable_clusters = div_up(l->blocks * 8, cb);
        l->total = 1 + l->reftable_clusters + l->blocks + l->l1_clusters;
        if (l->total <= l->blocks * (cb / 2))
            return true;
    }
}

static void put_extension(uint8_t *h, uint64_t *at, uint32_t type, const char *text)
{
    size_t len = strlen(text);

    be32_put(h + *at, type);
    be32_put(h + *at + 4, (uint32_t)len);
    memcpy(h + *at + 8, text, len);
    *at += 8 + ALIGN_UP(len, (size_t)8);
}

static bool make_header(const struct qcow2_create *c, const struct layout *l, uint8_t *h,
                        GError **err)
{
    uint64_t at = c->version == 2 ? 72 : 112;
    size_t name = c->backing_file ? strlen(c->backing_file) : 0;
    size_t format = c->backing_format ? strlen(c->backing_format) : 0;

    if (name > 1023 || at + 16 + ALIGN_UP(format, (size_t)8) + 8 + name > l->cluster_bytes)
        return error_set(err, HANOK_ERROR_INVALID, "The name of the backing file is too long.");
    memcpy(h, "QFI\xfb", 4);
    be32_put(h + 4, c->version);
    be32_put(h + 20, l->cluster_bits);
    be64_put(h + 24, c->size_bytes);
    be32_put(h + 36, (uint32_t)l->l1_entries);
    be64_put(h + 40, (1 + l->reftable_clusters + l->blocks) << l->cluster_bits);
    be64_put(h + 48, l->cluster_bytes);
    be32_put(h + 56, (uint32_t)l->reftable_clusters);
    if (c->version >= 3) {
        be64_put(h + 72, c->zstd ? BIT64(3) : 0);
        be64_put(h + 80, c->lazy_refcounts ? 1 : 0);
        be32_put(h + 96, 4);
        be32_put(h + 100, 112);
        h[104] = c->zstd;
    }
    if (format)
        put_extension(h, &at, 0xe2792aca, c->backing_format);
    at += 8; /* the end of the extensions: zeroes */
    if (name) {
        be64_put(h + 8, at);
        be32_put(h + 16, (uint32_t)name);
        memcpy(h + at, c->backing_file, name);
    }
    return true;
}

static bool write_at(int fd, const void *buf, uint64_t len, uint64_t at)
{
    for (uint64_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (uint64_t)n;
    }
    return true;
}

static bool write_tables(int fd, const struct layout *l)
{
    g_autofree uint8_t *table = g_malloc0(l->reftable_clusters << l->cluster_bits);
    g_autofree uint8_t *block = g_malloc(l->cluster_bytes);
    uint64_t first = 1 + l->reftable_clusters, per_block = l->cluster_bytes / 2;

    for (uint64_t b = 0; b < l->blocks; b++) {
        be64_put(table + b * 8, (first + b) << l->cluster_bits);
        memset(block, 0, l->cluster_bytes);
        for (uint64_t i = b * per_block; i < MIN_OF(l->total, (b + 1) * per_block); i++)
            be16_put(block + (i - b * per_block) * 2, 1);
        if (!write_at(fd, block, l->cluster_bytes, (first + b) << l->cluster_bits))
            return false;
    }
    return write_at(fd, table, l->reftable_clusters << l->cluster_bits, l->cluster_bytes);
}

bool qcow2_create(const char *path, const struct qcow2_create *c, GError **err)
{
    struct layout l = {0};

    if (!plan(c, &l, err))
        return false;
    g_autofree uint8_t *h = g_malloc0(l.cluster_bytes);
    if (!make_header(c, &l, h, err))
        return false;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_errno(err, errno, "Could not create '%s'", path);
    bool ok = ftruncate(fd, (off_t)(l.total << l.cluster_bits)) == 0 && write_tables(fd, &l) &&
              fdatasync(fd) == 0 && write_at(fd, h, l.cluster_bytes, 0) && fdatasync(fd) == 0;
    int saved = errno;
    close(fd);
    return ok || error_errno(err, saved, "Could not write '%s'", path);
}
