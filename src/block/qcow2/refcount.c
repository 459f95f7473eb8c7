/* refcount.c - which clusters of the file are in use, and by how many (spec "Host cluster
 * management").  Widths other than 16 bits are read by nobody here: such images open read-only. */
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

/* The parts whose place is known without reading: header, L1 table, refcount table. */
bool q2_is_metadata(const struct qcow2 *q, uint64_t offset, uint64_t len)
{
    return overlaps(offset, len, 0, q->cluster_bytes) ||
           overlaps(offset, len, q->l1_offset, (uint64_t)q->l1_entries * 8) ||
           overlaps(offset, len, q->reftable_offset, (uint64_t)q->reftable_entries * 8);
}

/* ---- the refcount table ---- */

static void reftable_touch(struct qcow2 *q, uint32_t index)
{
    q->reftable_dirty_from = MIN_OF(q->reftable_dirty_from, index);
    q->reftable_dirty_to = MAX_OF(q->reftable_dirty_to, index + 1);
    q->meta_dirty = true;
}

/* Blocks before the table that points to them. */
int q2_refcounts_write(struct qcow2 *q)
{
    uint32_t from = q->reftable_dirty_from, to = q->reftable_dirty_to;
    int r = q2_cache_write(q, &q->refblocks);

    if (r < 0 || from >= to)
        return r;
    r = q2_barrier(q);
    if (r < 0)
        return r;
    g_autofree uint64_t *be = g_try_new(uint64_t, to - from);
    if (!be)
        return -ENOMEM;
    for (uint32_t i = from; i < to; i++)
        be64_put(&be[i - from], q->reftable[i]);
    r = q2_io(q->file, BLK_WRITE, q->reftable_offset + (uint64_t)from * 8, be,
              (uint64_t)(to - from) * 8);
    if (r < 0)
        return r;
    q->reftable_dirty_from = UINT32_MAX;
    q->reftable_dirty_to = 0;
    return 0;
}

struct growth {
    uint64_t first;  /* cluster: the first that no block counts yet */
    uint64_t blocks; /* new refcount blocks at `first`, */
    uint64_t tables; /* then the new table */
    uint64_t entries;
};

static bool plan_growth(const struct qcow2 *q, uint64_t need, struct growth *g)
{
    uint64_t per_cluster = q->cluster_bytes / 8, per_block = BIT64(q->refblock_bits);
    uint64_t entries = MAX_OF(need + 1, (uint64_t)q->reftable_entries * 3 / 2);

    g->first = (uint64_t)q->reftable_entries << q->refblock_bits;
    g->blocks = 0;
    do {
        g->blocks++;
        g->entries = ALIGN_UP(MAX_OF(entries, q->reftable_entries + g->blocks), per_cluster);
        g->tables = g->entries / per_cluster;
    } while (g->blocks * per_block < g->blocks + g->tables);
    return g->entries * 8 <= Q2_REFTABLE_BYTES_MAX;
}

/* Writes what the plan says; nothing of it is in use before the header points there. */
static int write_growth(struct qcow2 *q, const struct growth *g, uint64_t *table)
{
    uint64_t per_block = BIT64(q->refblock_bits), used = g->blocks + g->tables;
    uint64_t at = g->first << q->cluster_bits;

    for (uint64_t b = 0; b < g->blocks; b++) {
        memset(q->cow, 0, q->cluster_bytes);
        for (uint64_t i = b * per_block; i < MIN_OF(used, (b + 1) * per_block); i++)
            be16_put(q->cow + (i - b * per_block) * 2, 1);
        table[q->reftable_entries + b] = at + (b << q->cluster_bits);
        int r = q2_io(q->file, BLK_WRITE, at + (b << q->cluster_bits), q->cow, q->cluster_bytes);
        if (r < 0)
            return r;
    }
    g_autofree uint64_t *be = g_try_new(uint64_t, g->entries);
    if (!be)
        return -ENOMEM;
    for (uint64_t i = 0; i < g->entries; i++)
        be64_put(&be[i], table[i]);
    return q2_io(q->file, BLK_WRITE, at + (g->blocks << q->cluster_bits), be, g->entries * 8);
}

static int switch_table(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
    uint8_t fields[12];
    int r = q2_barrier(q);

    if (r < 0)
        return r;
    be64_put(fields, offset);
    be32_put(fields + 8, (uint32_t)clusters);
    r = q2_io(q->file, BLK_WRITE, Q2_HEADER_REFTABLE, fields, sizeof(fields));
    return r < 0 ? r : q2_barrier(q);
}

/* The table is too short for block `need`: a longer one, behind everything there is. */
static int reftable_grow(struct qcow2 *q, uint64_t need)
{
    struct growth g;
    int r = q2_refcounts_write(q); /* the new table names blocks that must be there */

    if (r < 0)
        return r;
    if (!plan_growth(q, need, &g))
        return -EFBIG;
    g_autofree uint64_t *table = g_try_new0(uint64_t, g.entries);
    if (!table)
        return -ENOMEM;
    memcpy(table, q->reftable, (size_t)q->reftable_entries * 8);
    uint64_t place = (g.first + g.blocks) << q->cluster_bits;
    if (place >> 55)
        return -EFBIG;
    r = write_growth(q, &g, table);
    if (r == 0)
        r = switch_table(q, place, g.tables);
    if (r < 0)
        return r;
    uint64_t old = q->reftable_offset, old_bytes = (uint64_t)q->reftable_entries * 8;
    pthread_mutex_lock(&q->tables);
    q->reftable_offset = place;
    q->reftable_entries = (uint32_t)g.entries;
    q->file_end = MAX_OF(q->file_end, place + g.entries * 8);
    pthread_mutex_unlock(&q->tables);
    g_free(q->reftable);
    q->reftable = g_steal_pointer(&table);
    q2_free_later(q, old, ALIGN_UP(old_bytes, q->cluster_bytes) >> q->cluster_bits);
    return 0;
}

/* ---- blocks ---- */

/* The block that counts `cluster`; a missing one is made in the first cluster it counts itself,
 * which nobody can be using. */
static int block_for(struct qcow2 *q, uint64_t cluster, bool make, struct table **out)
{
    uint64_t index = cluster >> q->refblock_bits;

    *out = NULL;
    if (index >= q->reftable_entries) {
        int r = make ? reftable_grow(q, index) : 0;
        if (r < 0 || !make)
            return r;
    }
    uint64_t place = q->reftable[index] & ~511ull;
    if (place)
        return q2_offset_ok(q, place) && !q2_is_metadata(q, place, q->cluster_bytes)
                   ? q2_refblock_load(q, place, false, out)
                   : q2_corrupt(q, "the refcount table points to an impossible place");
    if (!make)
        return 0;
    place = (index << q->refblock_bits) << q->cluster_bits;
    if (place == 0 || q2_is_metadata(q, place, q->cluster_bytes))
        return q2_corrupt(q, "metadata lies in clusters without a refcount");
    int r = q2_refblock_load(q, place, true, out);
    if (r < 0)
        return r;
    be16_put((*out)->data, 1);
    q->reftable[index] = place;
    pthread_mutex_lock(&q->tables);
    reftable_touch(q, (uint32_t)index);
    q->file_end = MAX_OF(q->file_end, place + q->cluster_bytes);
    pthread_mutex_unlock(&q->tables);
    return 0;
}

static void block_touch(struct qcow2 *q, struct table *t)
{
    pthread_mutex_lock(&q->tables);
    q->refblocks.dirty += !t->dirty;
    t->dirty = true;
    q->meta_dirty = true;
    pthread_mutex_unlock(&q->tables);
}

/* Takes free clusters from `index` of the block on, at most want. */
static uint64_t take(struct table *t, uint64_t index, uint64_t end, uint64_t want)
{
    uint64_t n = 0;

    while (n < want && index + n < end && be16_get(t->data + (index + n) * 2) == 0)
        be16_put(t->data + (index + n++) * 2, 1);
    return n;
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

int q2_alloc(struct qcow2 *q, uint64_t want, uint64_t *host, uint64_t *got)
{
    uint64_t per_block = BIT64(q->refblock_bits);

    for (uint64_t cluster = q->free_hint;;) {
        struct table *t;
        if ((cluster << q->cluster_bits) >> 55)
            return -EFBIG;
        int r = block_for(q, cluster, true, &t);
        if (r < 0)
            return r;
        uint64_t index = cluster & (per_block - 1), first = index;
        while (index < per_block && be16_get(t->data + index * 2) != 0)
            index++;
        cluster += index - first;
        if (index == per_block)
            continue;
        *host = cluster << q->cluster_bits;
        *got = take(t, index, per_block, want);
        block_touch(q, t);
        if (!may_be_given_out(q, *host, *got << q->cluster_bits))
            return q2_corrupt(q, "clusters that hold tables are counted as free");
        q->free_hint = cluster + *got;
        pthread_mutex_lock(&q->tables);
        q->file_end = MAX_OF(q->file_end, *host + (*got << q->cluster_bits));
        pthread_mutex_unlock(&q->tables);
        return 0;
    }
}

static int drop_one(struct qcow2 *q, uint64_t cluster)
{
    struct table *t;
    int r = block_for(q, cluster, false, &t);

    if (r < 0)
        return r;
    uint8_t *count = t ? t->data + (cluster & (BIT64(q->refblock_bits) - 1)) * 2 : NULL;
    if (!count || be16_get(count) == 0)
        return q2_corrupt(q, "a cluster in use has the refcount 0");
    be16_put(count, (uint16_t)(be16_get(count) - 1));
    block_touch(q, t);
    if (be16_get(count) > 0)
        return 0;
    q->free_hint = MIN_OF(q->free_hint, cluster);
    if (q->node
            ->unmap) /* advice: what the file system does not give back is merely not given back */
        q2_io(q->file, BLK_DISCARD, cluster << q->cluster_bits, NULL, q->cluster_bytes);
    return 0;
}

int q2_free_now(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
    for (uint64_t i = 0; i < clusters; i++) {
        int r = drop_one(q, (offset >> q->cluster_bits) + i);
        if (r < 0)
            return r;
    }
    return 0;
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
