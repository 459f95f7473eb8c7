/* resize.c - a longer or shorter disk: the header's size field changes in one write, after what the
 * longer disk needs is there, and before what the shorter one gives up is let go. */
#include "qcow2.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

uint32_t q2_l1_need(const struct qcow2 *q, uint64_t virtual_bytes)
{
    uint32_t span = q->cluster_bits + q->l2_bits;

    return (uint32_t)MIN_OF((virtual_bytes >> span) + ((virtual_bytes & (BIT64(span) - 1)) != 0),
                            (uint64_t)UINT32_MAX);
}

int q2_l1_replace(struct qcow2 *q, const uint64_t *l1, uint32_t entries, uint64_t virtual_bytes)
{
    uint64_t clusters = ((uint64_t)entries * 8 + q->cluster_bytes - 1) >> q->cluster_bits, host = 0;
    uint64_t old = q->l1_offset;
    uint64_t old_clusters = ((uint64_t)q->l1_entries * 8 + q->cluster_bytes - 1) >> q->cluster_bits;
    g_autofree uint64_t *be = g_try_new0(uint64_t, clusters * q->cluster_bytes / 8 + 1);
    g_autofree uint64_t *own = g_try_new0(uint64_t, MAX_OF(entries, 1u));
    uint8_t fields[24] = {0};
    int r = be && own ? 0 : -ENOMEM;

    if (r == 0 && clusters)
        r = q2_alloc_contiguous(q, clusters, &host);
    for (uint32_t i = 0; r == 0 && i < entries; i++)
        be64_put(&be[i], l1[i]);
    if (r == 0 && clusters)
        r = q2_io(q->file, BLK_WRITE, host, be, clusters << q->cluster_bits);
    if (r == 0)
        r = q2_refcounts_write(q);
    be64_put(fields, virtual_bytes);
    be32_put(fields + 12, entries);
    be64_put(fields + 16, host);
    if (r == 0)
        r = q2_header_put(q, Q2_HEADER_SIZE, fields, sizeof(fields));
    if (r < 0)
        return r;
    memcpy(own, l1, (size_t)entries * 8);
    pthread_mutex_lock(&q->tables);
    g_free(q->l1);
    q->l1 = g_steal_pointer(&own);
    q->l1_entries = entries;
    q->l1_offset = host;
    q->l1_dirty_from = UINT32_MAX;
    q->l1_dirty_to = 0;
    q->virtual_bytes = virtual_bytes;
    pthread_mutex_unlock(&q->tables);
    __atomic_store_n(&q->node->size_bytes, virtual_bytes, __ATOMIC_RELAXED);
    return old_clusters ? q2_free_now(q, old, old_clusters) : 0;
}

static int put_size(struct qcow2 *q, uint64_t size)
{
    uint8_t field[8];

    be64_put(field, size);
    int r = q2_header_put(q, Q2_HEADER_SIZE, field, sizeof(field));
    if (r < 0)
        return r;
    pthread_mutex_lock(&q->tables);
    q->virtual_bytes = size;
    pthread_mutex_unlock(&q->tables);
    __atomic_store_n(&q->node->size_bytes, size, __ATOMIC_RELAXED);
    return 0;
}

static int grow_l1(struct qcow2 *q, uint32_t need)
{
    g_autofree uint64_t *l1 = g_try_new0(uint64_t, need);

    if (!l1)
        return -ENOMEM;
    memcpy(l1, q->l1, (size_t)q->l1_entries * 8);
    return q2_l1_replace(q, l1, need, q->virtual_bytes);
}

/* What appears reads as zeroes, whatever lies in the last cluster's tail or in a longer backing
 * image. */
static int grow(struct qcow2 *q, uint64_t size)
{
    uint64_t old = q->virtual_bytes, zero_to = ALIGN_UP(old, q->cluster_bytes);
    uint32_t need = q2_l1_need(q, size);
    int r = need > q->l1_entries ? grow_l1(q, need) : 0;

    if (q->backing && q->backing->size_bytes > old)
        zero_to = ALIGN_UP(MIN_OF(size, q->backing->size_bytes), q->cluster_bytes);
    if (r == 0 && zero_to > old)
        r = q2_write_zeroes(q, old, zero_to - old, false);
    if (r == 0)
        r = q2_flush(q, false);
    return r < 0 ? r : put_size(q, size);
}

/* The clusters of one L2 table from `offset` on. */
static int drop_table_tail(struct qcow2 *q, uint64_t offset)
{
    uint64_t index = (offset >> q->cluster_bits) & (BIT64(q->l2_bits) - 1);
    uint64_t place = q->l1[offset >> (q->cluster_bits + q->l2_bits)] & Q2_OFFSET_MASK;
    uint64_t len = (BIT64(q->l2_bits) - index) << q->cluster_bits;

    return place ? q2_l2_set(q, offset, len, Q2_NO_HOST, Q2_SET_NONE) : 0;
}

static int drop_whole_table(struct qcow2 *q, uint32_t l1_index)
{
    uint64_t place = q->l1[l1_index] & Q2_OFFSET_MASK;
    struct table *t;

    if (!place)
        return 0;
    int r = q2_l2_at(q, place, &t);
    if (r < 0)
        return r;
    for (uint64_t i = 0; i < BIT64(q->l2_bits); i++)
        q2_free_entry(q, be64_get(t->data + i * q->l2_entry_bytes));
    q2_free_later(q, place, 1);
    pthread_mutex_lock(&q->tables);
    q->l1[l1_index] = 0;
    q->l1_dirty_from = MIN_OF(q->l1_dirty_from, l1_index);
    q->l1_dirty_to = MAX_OF(q->l1_dirty_to, l1_index + 1);
    q->meta_dirty = true;
    pthread_mutex_unlock(&q->tables);
    return q2_end_of_change(q, 0);
}

static int shrink(struct qcow2 *q, uint64_t size)
{
    uint64_t from = ALIGN_UP(size, q->cluster_bytes);
    uint64_t span = BIT64(q->cluster_bits + q->l2_bits);
    uint64_t index = from / span;
    int r = put_size(q, size);

    if (r == 0 && from % span && index < q->l1_entries) {
        r = drop_table_tail(q, from);
        index++;
    }
    for (; r == 0 && index < q->l1_entries; index++)
        r = drop_whole_table(q, (uint32_t)index);
    return r < 0 ? r : q2_flush(q, false);
}

/* The file ends where its last used cluster ends. */
static void cut_file(struct qcow2 *q)
{
    uint64_t clusters = ALIGN_UP(q->file_end, q->cluster_bytes) >> q->cluster_bits, count = 0;

    while (clusters > 1 && q2_ref_get(q, clusters - 1, &count) == 0 && count == 0)
        clusters--;
    if (clusters << q->cluster_bits >= q->file_end)
        return;
    if (!blk_resize(q->file, clusters << q->cluster_bits, NULL))
        return; /* space only */
    pthread_mutex_lock(&q->tables);
    q->file_end = clusters << q->cluster_bits;
    pthread_mutex_unlock(&q->tables);
}

static bool may_resize(struct qcow2 *q, uint64_t size, enum blk_prealloc how, GError **err)
{
    if (q->info.has_bitmaps)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "'%s' has dirty bitmaps, which another size would make wrong; remove them "
                         "first ('qemu-img bitmap --remove').",
                         q2_name(q));
    if (size < q->virtual_bytes && q->info.version < 3 && q->info.snapshots)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "'%s' is of version 2 and has snapshots, so it cannot be made shorter.",
                         q2_name(q));
    if (size > INT64_MAX - MiB || (uint64_t)q2_l1_need(q, size) * 8 > Q2_L1_BYTES_MAX)
        return error_set(err, HANOK_ERROR_INVALID,
                         "An image of %" PRIu64 " bytes is too large for clusters of %" PRIu64
                         " bytes.",
                         size, q->cluster_bytes);
    if (size < q->virtual_bytes && how != BLK_PREALLOC_OFF)
        return error_set(err, HANOK_ERROR_INVALID,
                         "Only what is added to an image can be preallocated.");
    return true;
}

static int resize_locked(struct qcow2 *q, uint64_t size)
{
    int r = q2_may_write(q);

    if (r == 0)
        r = q2_flush(q, false);
    q->freeing = Q2_FREE_ALWAYS;
    if (r == 0)
        r = size > q->virtual_bytes ? grow(q, size) : shrink(q, size);
    if (r == 0)
        r = q2_flush(q, false);
    q->freeing = Q2_FREE_REQUEST;
    return r;
}

bool qcow2_resize(struct blk_node *n, uint64_t size_bytes, enum blk_prealloc how, GError **err)
{
    struct qcow2 *q = n->drv == &blk_driver_qcow2 ? n->priv : NULL;
    uint64_t size = ALIGN_UP(size_bytes, BLK_SECTOR_BYTES);

    if (!q || n->read_only)
        return error_set(err, HANOK_ERROR_INVALID, "'%s' is no qcow2 image opened for writing.",
                         blk_filename(n));
    if (!may_resize(q, size_bytes, how, err))
        return false;
    uint64_t old = q->virtual_bytes;
    if (size == old)
        return true;
    blk_drain(n);
    if (q->data != q->file && size > old && !blk_resize(q->data, size, err))
        return false;
    pthread_mutex_lock(&q->serial);
    int r = resize_locked(q, size);
    bool ok =
        r == 0 && (size < old || how == BLK_PREALLOC_OFF || q2_preallocate(q, old, size, how, err));
    q->unpacked_entry = 0;
    if (r == 0 && size < old)
        cut_file(q);
    pthread_mutex_unlock(&q->serial);
    if (r == 0 && q->data != q->file && size < old && !blk_resize(q->data, size, err))
        return false;
    return r < 0 ? error_errno(err, -r, "Could not resize '%s'", q2_name(q)) : ok;
}

bool q2_resize(struct blk_node *n, uint64_t size_bytes, GError **err)
{
    return qcow2_resize(n, size_bytes, BLK_PREALLOC_OFF, err);
}
