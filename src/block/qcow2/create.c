/* create.c - a new, empty image: header, refcount table, refcount blocks, L1 table, in this order
 * in the file.  The header is written last: before that the file is no image of any format. */
#include "qcow2.h"

#include "base/error.h"
#include "base/props.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <unistd.h>

struct layout {
    uint32_t cluster_bits, refcount_order, l2_entry_bytes;
    uint64_t cluster_bytes, per_block;
    uint64_t reftable_clusters, blocks, l1_entries, l1_clusters, total;
};

static uint64_t div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* Words as qemu-img has them: who reads them wrote the option. */
static bool check_options(const struct qcow2_create *c, uint32_t refcount_bits, GError **err)
{
    uint64_t cb = c->cluster_bytes;

    if (c->version != 2 && c->version != 3)
        return error_set(err, HANOK_ERROR_INVALID, "qcow2 has the versions 2 and 3, not %u.",
                         c->version);
    if (cb < 512 || cb > 2 * MiB || (cb & (cb - 1)))
        return error_set(
            err, HANOK_ERROR_INVALID,
            "The cluster size must be a power of two between 512 and 2M, not %" PRIu64 ".", cb);
    if (refcount_bits > 64 || (refcount_bits & (refcount_bits - 1)))
        return error_set(err, HANOK_ERROR_INVALID,
                         "refcount_bits must be a power of two between 1 and 64, not %u.",
                         refcount_bits);
    if (c->version == 2 &&
        (refcount_bits != 16 || c->zstd || c->lazy_refcounts || c->extended_l2 || c->data_file))
        return error_set(err, HANOK_ERROR_INVALID,
                         "compression_type=zstd, lazy_refcounts=on, extended_l2=on, data_file= and "
                         "refcount_bits other than 16 need compat=1.1.");
    if (c->extended_l2 && cb < 16 * KiB)
        return error_set(err, HANOK_ERROR_INVALID,
                         "extended_l2=on needs a cluster_size of 16k or more.");
    if (c->data_file_raw && (!c->data_file || c->backing_file))
        return error_set(err, HANOK_ERROR_INVALID,
                         "data_file_raw=on needs data_file=, and no backing file.");
    if (c->preallocation && c->backing_file && !c->extended_l2)
        return error_set(err, HANOK_ERROR_INVALID,
                         "preallocation= with a backing file needs extended_l2=on: the clusters "
                         "would hide the backing file.");
    return true;
}

static void plan_counts(struct layout *l, uint64_t other_clusters)
{
    for (l->blocks = 1;; l->blocks++) {
        l->reftable_clusters = div_up(l->blocks * 8, l->cluster_bytes);
        l->total = 1 + l->reftable_clusters + l->blocks + other_clusters;
        if (l->total <= l->blocks * l->per_block)
            return;
        l->blocks = MAX_OF(l->blocks, l->total / l->per_block - 1);
    }
}

static bool plan(const struct qcow2_create *c, struct layout *l, GError **err)
{
    uint64_t cb = c->cluster_bytes;
    uint32_t refcount_bits = c->refcount_bits ? c->refcount_bits : 16;

    if (!check_options(c, refcount_bits, err))
        return false;
    *l = (struct layout){.cluster_bytes = cb,
                         .cluster_bits = (uint32_t)__builtin_ctzll(cb),
                         .refcount_order = (uint32_t)__builtin_ctz(refcount_bits),
                         .l2_entry_bytes = c->extended_l2 ? 16 : 8,
                         .per_block = cb * 8 / refcount_bits};
    l->l1_entries = div_up(c->size_bytes, cb * (cb / l->l2_entry_bytes));
    l->l1_clusters = div_up(l->l1_entries * 8, cb);
    if (c->size_bytes > INT64_MAX - MiB || l->l1_entries * 8 > Q2_L1_BYTES_MAX)
        return error_set(err, HANOK_ERROR_INVALID,
                         "An image of %" PRIu64 " bytes is too large for clusters of %" PRIu64
                         " bytes; say a larger cluster_size.",
                         c->size_bytes, cb);
    plan_counts(l, l->l1_clusters);
    return true;
}

static bool make_header(const struct qcow2_create *c, const struct layout *l, uint8_t *h,
                        GError **err)
{
    struct qcow2_info info = {
        .version = c->version,
        .zstd = c->zstd,
        .incompatible = (c->data_file ? Q2_INCOMPAT_DATA_FILE : 0) |
                        (c->zstd ? Q2_INCOMPAT_ZSTD : 0) | (c->extended_l2 ? Q2_INCOMPAT_EXTL2 : 0),
        .compatible = c->lazy_refcounts ? Q2_COMPAT_LAZY : 0,
        .autoclear = c->data_file_raw ? Q2_AUTOCLEAR_RAW_DATA : 0,
        .backing_file = (char *)(uintptr_t)c->backing_file,
        .backing_format = (char *)(uintptr_t)c->backing_format,
        .data_file = (char *)(uintptr_t)c->data_file,
    };
    struct q2_header in = {.info = &info,
                           .cluster_bits = l->cluster_bits,
                           .l1_entries = (uint32_t)l->l1_entries,
                           .reftable_clusters = (uint32_t)l->reftable_clusters,
                           .refcount_order = l->refcount_order,
                           .size_bytes = c->size_bytes,
                           .l1_offset = (1 + l->reftable_clusters + l->blocks) << l->cluster_bits,
                           .reftable_offset = l->cluster_bytes};

    return q2_header_make(&in, h) ||
           error_set(err, HANOK_ERROR_INVALID,
                     "The names of the backing file or the data file are too long for a cluster.");
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
    uint64_t first = 1 + l->reftable_clusters, per_block = l->per_block;

    for (uint64_t b = 0; b < l->blocks; b++) {
        be64_put(table + b * 8, (first + b) << l->cluster_bits);
        memset(block, 0, l->cluster_bytes);
        for (uint64_t i = b * per_block; i < MIN_OF(l->total, (b + 1) * per_block); i++)
            q2_count_put(block, i - b * per_block, l->refcount_order, 1);
        if (!write_at(fd, block, l->cluster_bytes, (first + b) << l->cluster_bits))
            return false;
    }
    return write_at(fd, table, l->reftable_clusters << l->cluster_bits, l->cluster_bytes);
}

static bool make_image(const char *path, const struct layout *l, const uint8_t *h, bool sync,
                       GError **err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        return error_errno(err, errno, "Could not create '%s'", path);
    bool ok = ftruncate(fd, (off_t)(l->total << l->cluster_bits)) == 0 && write_tables(fd, l) &&
              (!sync || fdatasync(fd) == 0) && write_at(fd, h, l->cluster_bytes, 0) &&
              (!sync || fdatasync(fd) == 0);
    int saved = errno;
    close(fd);
    return ok || error_errno(err, saved, "Could not write '%s'", path);
}

/* Emptied under its lock, so that a machine that uses it keeps it. */
static bool make_data_file(const struct qcow2_create *c, GError **err)
{
    int fd = open(c->data_file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0)
        return error_errno(err, errno, "Could not create '%s'", c->data_file);
    close(fd);
    struct blk_node *n = blk_open_file(c->data_file, false, err);
    bool ok = n && blk_resize(n, 0, err) &&
              (!c->data_file_raw || blk_resize(n, ALIGN_UP(c->size_bytes, BLK_SECTOR_BYTES), err));
    blk_close(n);
    return ok;
}

/* The caller holds the lock. */
static bool preallocate(const char *path, const struct qcow2_create *c, GError **err)
{
    json_t *o = json_pack("{s:s, s:{s:s, s:s, s:s}}", "driver", "qcow2", "file", "driver", "file",
                          "filename", path, "locking", "off");

    if (!o)
        return error_set(err, HANOK_ERROR_INVALID,
                         "The file name of an image must be valid UTF-8.");
    PROPS_AUTO p = props_from_json(o);
    json_decref(o);
    struct blk_node *n = blk_open(p, err);
    if (!n)
        return false;
    struct qcow2 *q = n->priv;
    pthread_mutex_lock(&q->serial);
    bool ok = q2_preallocate(q, 0, q->virtual_bytes, c->preallocation, err);
    pthread_mutex_unlock(&q->serial);
    int r = ok ? blk_flush_sync(n) : 0;
    blk_close(n);
    return ok && (r == 0 || error_errno(err, -r, "Could not write '%s'", path));
}

bool qcow2_create(const char *path, const struct qcow2_create *c, GError **err)
{
    struct layout l;

    if (!plan(c, &l, err))
        return false;
    g_autofree uint8_t *h = g_malloc0(l.cluster_bytes);
    return make_header(c, &l, h, err) && (!c->data_file || make_data_file(c, err)) &&
           make_image(path, &l, h, !c->no_sync, err) &&
           (!c->preallocation || preallocate(path, c, err));
}

bool qcow2_measure(const struct qcow2_create *c, uint64_t data_bytes, struct qcow2_measure *out,
                   GError **err)
{
    struct layout l;

    if (!plan(c, &l, err))
        return false;
    uint64_t clusters = div_up(c->size_bytes, l.cluster_bytes);
    uint64_t l2 = div_up(clusters * l.l2_entry_bytes, l.cluster_bytes);
    uint64_t data = MIN_OF(clusters, div_up(data_bytes, l.cluster_bytes));

    if (c->data_file)
        clusters = data = 0;
    plan_counts(&l, l.l1_clusters + l2 + clusters);
    out->full_bytes = l.total << l.cluster_bits;
    /* With the tables that all of the disk would need: where the data will lie is not said. */
    out->required_bytes = c->preallocation >= BLK_PREALLOC_FALLOC
                              ? out->full_bytes
                              : out->full_bytes - ((clusters - data) << l.cluster_bits);
    return true;
}
