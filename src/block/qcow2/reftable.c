/* reftable.c - the refcount table and its blocks: finding, making, writing, replacing them. */
#include "qcow2.h"

#include <errno.h>

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
    r = q2_table_write(q, q->reftable_offset, q->reftable, from, to);
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
            q2_count_put(q->cow, i - b * per_block, q->refcount_order, 1);
        table[q->reftable_entries + b] = at + (b << q->cluster_bits);
        int r = q2_io(q->file, BLK_WRITE, at + (b << q->cluster_bits), q->cow, q->cluster_bytes);
        if (r < 0)
            return r;
    }
    return q2_table_write(q, at + (g->blocks << q->cluster_bits), table, 0, (uint32_t)g->entries);
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
int q2_refblock_for(struct qcow2 *q, uint64_t cluster, bool make, struct table **out)
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
    q2_count_put((*out)->data, 0, q->refcount_order, 1);
    q->reftable[index] = place;
    pthread_mutex_lock(&q->tables);
    reftable_touch(q, (uint32_t)index);
    q->file_end = MAX_OF(q->file_end, place + q->cluster_bytes);
    pthread_mutex_unlock(&q->tables);
    return 0;
}

/* Blocks where there are none yet, behind everything, lying in the first clusters that they count:
 * *first is the first of them. */
int q2_refblocks_make(struct qcow2 *q, uint64_t blocks, uint64_t *first)
{
    uint64_t index = q->reftable_entries, span = q->cluster_bits + q->refblock_bits;
    int r = 0;

    while (index && !q->reftable[index - 1])
        index--;
    for (;;) { /* a longer table comes to lie behind everything itself */
        index = MAX_OF(index, (q->file_end >> span) + ((q->file_end & (BIT64(span) - 1)) != 0));
        if (index + blocks <= q->reftable_entries)
            break;
        r = reftable_grow(q, index + blocks - 1);
        if (r < 0)
            return r;
    }
    *first = index << q->refblock_bits;
    if ((*first + blocks) << q->cluster_bits >> 55)
        return -EFBIG;
    for (uint64_t i = 0; r == 0 && i < blocks; i++) {
        struct table *t;
        uint64_t place = (*first + i) << q->cluster_bits;
        r = q2_refblock_load(q, place, true, &t);
        if (r < 0)
            return r;
        q->reftable[index + i] = place;
        pthread_mutex_lock(&q->tables);
        reftable_touch(q, (uint32_t)(index + i));
        q->file_end = MAX_OF(q->file_end, place + q->cluster_bytes);
        pthread_mutex_unlock(&q->tables);
    }
    for (uint64_t i = 0; r == 0 && i < blocks; i++) {
        struct table *t;
        r = q2_refblock_for(q, *first + i, false, &t);
        if (r < 0)
            return r;
        q2_count_put(t->data, i & (BIT64(q->refblock_bits) - 1), q->refcount_order, 1);
        q2_table_touch(q, &q->refblocks, t);
    }
    return r;
}

/* ---- all anew ---- */

struct rebuild {
    const uint32_t *counts;
    uint64_t clusters; /* that counts describes */
    uint64_t first;    /* cluster: the new blocks begin here, */
    uint64_t table;    /* then the new table, */
    uint64_t end;      /* up to here */
    uint64_t entries, per_block;
    uint32_t order;
};

static uint64_t rebuilt_count(const struct rebuild *b, uint64_t cluster)
{
    if (cluster < b->clusters && b->counts[cluster])
        return b->counts[cluster];
    return cluster >= b->first && cluster < b->end;
}

static bool block_needed(const struct rebuild *b, uint64_t index)
{
    uint64_t from = index * b->per_block, to = from + b->per_block;

    if (from < b->end && to > b->first)
        return true;
    for (uint64_t i = from; i < MIN_OF(to, b->clusters); i++) {
        if (b->counts[i])
            return true;
    }
    return false;
}

static bool plan_rebuild(const struct qcow2 *q, struct rebuild *b)
{
    uint64_t blocks = 0;

    b->per_block = q->cluster_bytes * 8 >> b->order;
    b->end = b->first;
    for (uint64_t before = UINT64_MAX; before != b->end;) { /* the blocks count themselves too */
        before = b->end;
        b->entries = ALIGN_UP((b->end + b->per_block - 1) / b->per_block, q->cluster_bytes / 8);
        if (b->entries * 8 > Q2_REFTABLE_BYTES_MAX)
            return false;
        blocks = 0;
        for (uint64_t i = 0; i < b->entries; i++)
            blocks += block_needed(b, i);
        b->table = b->first + blocks;
        b->end = b->table + b->entries * 8 / q->cluster_bytes;
    }
    return b->end << q->cluster_bits >> 55 == 0;
}

static int write_rebuilt(struct qcow2 *q, const struct rebuild *b, uint64_t *table)
{
    uint64_t at = b->first << q->cluster_bits;
    uint64_t max = b->order == 6 ? UINT64_MAX : BIT64(1u << b->order) - 1;
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < b->entries; i++) {
        if (!block_needed(b, i))
            continue;
        memset(q->cow, 0, q->cluster_bytes);
        for (uint64_t k = 0; k < b->per_block; k++) {
            uint64_t n = rebuilt_count(b, i * b->per_block + k);
            if (n > max)
                return -EOVERFLOW;
            if (n)
                q2_count_put(q->cow, k, b->order, n);
        }
        table[i] = at;
        r = q2_io(q->file, BLK_WRITE, at, q->cow, q->cluster_bytes);
        at += q->cluster_bytes;
    }
    return r < 0 ? r : q2_table_write(q, at, table, 0, (uint32_t)b->entries);
}

/* The header's first sector changes in one write. */
static int switch_rebuilt(struct qcow2 *q, const struct rebuild *b)
{
    uint8_t sector[BLK_SECTOR_BYTES];
    int r = q2_barrier(q);

    if (r == 0)
        r = q2_io(q->file, BLK_READ, 0, sector, sizeof(sector));
    if (r < 0)
        return r;
    be64_put(sector + Q2_HEADER_REFTABLE, b->table << q->cluster_bits);
    be32_put(sector + Q2_HEADER_REFTABLE + 8, (uint32_t)(b->entries * 8 >> q->cluster_bits));
    if (q->info.version >= 3)
        be32_put(sector + 96, b->order);
    r = q2_io(q->file, BLK_WRITE, 0, sector, sizeof(sector));
    return r < 0 ? r : q2_barrier(q);
}

/* Behind everything there is; on a device, whose end says nothing, behind everything in use. */
static uint64_t free_tail(const struct qcow2 *q, const uint32_t *counts, uint64_t clusters)
{
    uint64_t n = clusters, used = q->reftable_offset + (uint64_t)q->reftable_entries * 8;

    if (q->regular_file)
        return MAX_OF(clusters, ALIGN_UP(q->file_end, q->cluster_bytes) >> q->cluster_bits);
    for (uint32_t i = 0; i < q->reftable_entries; i++) { /* the old ones stand until the switch */
        uint64_t place = q->reftable[i] & ~511ull;
        if (q2_offset_ok(q, place))
            used = MAX_OF(used, place + q->cluster_bytes);
    }
    while (n && !counts[n - 1])
        n--;
    return MAX_OF(n, ALIGN_UP(used, q->cluster_bytes) >> q->cluster_bits);
}

int q2_refcounts_rebuild(struct qcow2 *q, const uint32_t *counts, uint64_t clusters, uint32_t order)
{
    struct rebuild b = {.counts = counts,
                        .clusters = clusters,
                        .first = free_tail(q, counts, clusters),
                        .order = order};

    if (!plan_rebuild(q, &b))
        return -EFBIG;
    g_autofree uint64_t *table = g_try_new0(uint64_t, b.entries);
    if (!table)
        return -ENOMEM;
    int r = write_rebuilt(q, &b, table);
    if (r == 0)
        r = switch_rebuilt(q, &b);
    if (r < 0)
        return r;
    g_free(q->reftable);
    q->reftable = g_steal_pointer(&table);
    pthread_mutex_lock(&q->tables);
    q->reftable_offset = b.table << q->cluster_bits;
    q->reftable_entries = (uint32_t)b.entries;
    q->file_end = MAX_OF(q->file_end, b.end << q->cluster_bits);
    pthread_mutex_unlock(&q->tables);
    q->refcount_order = order;
    q->info.refcount_bits = 1u << order;
    q->refblock_bits = q->cluster_bits + 3 - order;
    q->reftable_dirty_from = UINT32_MAX;
    q->reftable_dirty_to = 0;
    q->free_hint = q->packed_at = 0;
    q2_cache_free(&q->refblocks);
    q2_cache_init(&q->refblocks, q->cluster_bytes, q->refblock_budget);
    return 0;
}
