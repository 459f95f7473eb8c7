/* refcount.c - which clusters of the file are in use, and by how many (spec "Host cluster
 * management").  A count is 1 to 64 bits wide; narrower than a byte, the first lies in the low
 * bits. */
#include "qcow2.h"

#include "base/log.h"

#include <errno.h>

int q2_corrupt(struct qcow2 *q, const char *what)
{
    if (q->corrupt)
        return -EIO;
    pthread_mutex_lock(&q->tables);
    q->corrupt = true;
    pthread_mutex_unlock(&q->tables);
    log_warning("'%s' is corrupt: %s; it is not written to any more", blk_filename(q->node), what);
    if (!q->node->read_only && q->info.version >= 3) {
        uint8_t bits[8];
        be64_put(bits, q->info.incompatible | Q2_INCOMPAT_CORRUPT);
        /* The mark is for the next one who opens the image; without it nothing gets worse. */
        if (q2_io(q->file, BLK_WRITE, Q2_HEADER_INCOMPAT, bits, sizeof(bits)) < 0)
            log_warning("'%s' could not be marked as corrupt", blk_filename(q->node));
    }
    return -EIO;
}

static bool overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a < b + b_len && b < a + a_len;
}

/* The parts whose place is known without reading: header, L1, refcount and snapshot table. */
bool q2_is_metadata(const struct qcow2 *q, uint64_t offset, uint64_t len)
{
    return overlaps(offset, len, 0, q->cluster_bytes) ||
           overlaps(offset, len, q->l1_offset, (uint64_t)q->l1_entries * 8) ||
           overlaps(offset, len, q->reftable_offset, (uint64_t)q->reftable_entries * 8) ||
           (q->snapshots_bytes && overlaps(offset, len, q->snapshots_offset, q->snapshots_bytes));
}

/* ---- counts ---- */

uint64_t q2_ref_max(const struct qcow2 *q)
{
    return q->refcount_order == 6 ? UINT64_MAX : BIT64(1u << q->refcount_order) - 1;
}

uint64_t q2_count_get(const uint8_t *block, uint64_t index, uint32_t order)
{
    switch (order) {
    case 3:
        return block[index];
    case 4:
        return be16_get(block + index * 2);
    case 5:
        return be32_get(block + index * 4);
    case 6:
        return be64_get(block + index * 8);
    default: {
        uint32_t per_byte = 3 - order, bits = 1u << order;
        uint32_t shift = (uint32_t)(index & (BIT64(per_byte) - 1)) * bits;
        return (block[index >> per_byte] >> shift) & ((1u << bits) - 1);
    }
    }
}

void q2_count_put(uint8_t *block, uint64_t index, uint32_t order, uint64_t count)
{
    switch (order) {
    case 3:
        block[index] = (uint8_t)count;
        return;
    case 4:
        be16_put(block + index * 2, (uint16_t)count);
        return;
    case 5:
        be32_put(block + index * 4, (uint32_t)count);
        return;
    case 6:
        be64_put(block + index * 8, count);
        return;
    default: {
        uint32_t per_byte = 3 - order, bits = 1u << order;
        uint32_t shift = (uint32_t)(index & (BIT64(per_byte) - 1)) * bits;
        uint32_t mask = ((1u << bits) - 1) << shift;
        uint8_t *p = &block[index >> per_byte];
        *p = (uint8_t)((*p & ~mask) | ((uint32_t)count << shift));
    }
    }
}

static uint64_t count_of(const struct qcow2 *q, const struct table *t, uint64_t cluster)
{
    return q2_count_get(t->data, cluster & (BIT64(q->refblock_bits) - 1), q->refcount_order);
}

static void set_count(struct qcow2 *q, struct table *t, uint64_t cluster, uint64_t count)
{
    q2_count_put(t->data, cluster & (BIT64(q->refblock_bits) - 1), q->refcount_order, count);
    q2_table_touch(q, &q->refblocks, t);
}

int q2_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
    struct table *t;
    int r = q2_refblock_for(q, cluster, false, &t);

    *count = r == 0 && t ? count_of(q, t, cluster) : 0;
    return r;
}

int q2_ref_add(struct qcow2 *q, uint64_t cluster)
{
    struct table *t;
    int r = q2_refblock_for(q, cluster, false, &t);

    if (r < 0)
        return r;
    uint64_t count = t ? count_of(q, t, cluster) : 0;
    if (count == 0)
        return q2_corrupt(q, "a cluster in use has the refcount 0");
    if (count == q2_ref_max(q))
        return -EOVERFLOW;
    set_count(q, t, cluster, count + 1);
    return 0;
}

/* ---- giving out ---- */

/* A piece of at most want free clusters at *cluster or behind it. */
static int next_free(struct qcow2 *q, uint64_t *cluster, uint64_t want, struct table **out,
                     uint64_t *got)
{
    uint64_t per_block = BIT64(q->refblock_bits);

    for (;;) {
        if ((*cluster << q->cluster_bits) >> 55)
            return -EFBIG;
        int r = q2_refblock_for(q, *cluster, true, out);
        if (r < 0)
            return r;
        uint64_t index = *cluster & (per_block - 1), n = 0;
        while (index < per_block && q2_count_get((*out)->data, index, q->refcount_order) != 0) {
            index++;
            ++*cluster;
        }
        while (n < want && index + n < per_block &&
               q2_count_get((*out)->data, index + n, q->refcount_order) == 0)
            n++;
        *got = n;
        if (n)
            return 0;
    }
}

static bool may_be_given_out(struct qcow2 *q, uint64_t host, uint64_t len)
{
    if (q2_is_metadata(q, host, len))
        return false;
    for (uint64_t at = host; at < host + len; at += q->cluster_bytes) {
        if (q2_cache_find(&q->refblocks, at, q->cluster_bits))
            return false;
        pthread_mutex_lock(&q->tables);
        bool l2 = q2_cache_find(&q->l2, at, q->cluster_bits) != NULL;
        pthread_mutex_unlock(&q->tables);
        if (l2)
            return false;
    }
    return true;
}

static int take(struct qcow2 *q, uint64_t cluster, uint64_t count, uint64_t *host)
{
    *host = cluster << q->cluster_bits;
    for (uint64_t i = 0; i < count; i++) {
        struct table *t;
        int r = q2_refblock_for(q, cluster + i, false, &t);
        if (r < 0)
            return r;
        set_count(q, t, cluster + i, 1);
    }
    if (!may_be_given_out(q, *host, count << q->cluster_bits))
        return q2_corrupt(q, "clusters that hold tables are counted as free");
    pthread_mutex_lock(&q->tables);
    q->file_end = MAX_OF(q->file_end, *host + (count << q->cluster_bits));
    pthread_mutex_unlock(&q->tables);
    return 0;
}

int q2_alloc(struct qcow2 *q, uint64_t want, uint64_t *host, uint64_t *got)
{
    uint64_t cluster = q->free_hint;
    struct table *t;
    int r = next_free(q, &cluster, want, &t, got);

    if (r < 0)
        return r;
    q->free_hint = cluster + *got;
    return take(q, cluster, *got, host);
}

/* A run longer than what one refcount block counts besides itself: behind everything, with the
 * blocks that count it in one piece before it. */
static int alloc_long_run(struct qcow2 *q, uint64_t want, uint64_t *host)
{
    uint64_t per_block = BIT64(q->refblock_bits), blocks = 1, first;

    while (blocks * per_block < blocks + want)
        blocks++;
    int r = q2_refblocks_make(q, blocks, &first);
    return r < 0 ? r : take(q, first + blocks, want, host);
}

int q2_alloc_contiguous(struct qcow2 *q, uint64_t want, uint64_t *host)
{
    uint64_t start = q->free_hint, have = 0;

    if (want >= BIT64(q->refblock_bits) - 1)
        return alloc_long_run(q, want, host);
    while (have < want) { /* across refcount blocks; one made on the way begins a new run */
        uint64_t cluster = start + have, n;
        struct table *t;
        int r = next_free(q, &cluster, want - have, &t, &n);
        if (r < 0)
            return r;
        if (cluster != start + have) {
            start = cluster;
            have = 0;
        }
        have += n;
    }
    return take(q, start, want, host);
}

/* Advice: what the file system does not give back is merely not given back. */
static void give_back(struct qcow2 *q, const struct range *free)
{
    if (free->clusters && q->pass_discard[q->freeing])
        q2_io(q->file, BLK_DISCARD, free->offset_bytes, NULL, free->clusters << q->cluster_bits);
}

static int drop_one(struct qcow2 *q, uint64_t cluster, struct range *free)
{
    struct table *t;
    int r = q2_refblock_for(q, cluster, false, &t);

    if (r < 0)
        return r;
    uint64_t count = t ? count_of(q, t, cluster) : 0;
    if (count == 0)
        return q2_corrupt(q, "a cluster in use has the refcount 0");
    set_count(q, t, cluster, count - 1);
    if (count > 1)
        return 0;
    q->free_hint = MIN_OF(q->free_hint, cluster);
    if (q->packed_at >> q->cluster_bits == cluster)
        q->packed_at = 0;
    uint64_t offset = cluster << q->cluster_bits;
    q2_cache_drop(&q->refblocks, offset, q->cluster_bits);
    pthread_mutex_lock(&q->tables);
    q2_cache_drop(&q->l2, offset, q->cluster_bits);
    pthread_mutex_unlock(&q->tables);
    if (free->offset_bytes + (free->clusters << q->cluster_bits) != offset) {
        give_back(q, free);
        *free = (struct range){offset, 0};
    }
    free->clusters++;
    return 0;
}

int q2_free_now(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
    struct range free = {0, 0};
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < clusters; i++)
        r = drop_one(q, (offset >> q->cluster_bits) + i, &free);
    give_back(q, &free);
    return r;
}

void q2_free_later(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
    struct range *last =
        q->pending->len ? &g_array_index(q->pending, struct range, q->pending->len - 1) : NULL;

    q->pending_clusters += clusters;
    pthread_mutex_lock(&q->tables);
    q->meta_dirty = true;
    pthread_mutex_unlock(&q->tables);
    if (last && last->offset_bytes + (last->clusters << q->cluster_bits) == offset) {
        last->clusters += clusters;
        return;
    }
    struct range range = {offset, clusters};
    g_array_append_val(q->pending, range);
}
