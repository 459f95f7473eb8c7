/* tree.c - all that an L1 table leads to: its L2 tables and the clusters they name, counted up or
 * down, or their COPIED flags made true.  For snapshots, and for repair. */
#include "qcow2.h"

#include <errno.h>

/* One way through a tree.  A cluster that holds several compressed ones is met once for each: those
 * whose count could overflow by that are remembered by Q2_TREE_TEST_ADD, with how often. */
struct walk {
    enum q2_tree_op op;
    GHashTable *crowded; /* cluster -> times met; NULL: none yet */
};

/* Whether one more, after those before it, can be counted. */
static int test_add(struct qcow2 *q, uint64_t cluster, struct walk *w)
{
    uint64_t count, met = 0;
    int r = q2_ref_get(q, cluster, &count);

    /* What a tree holds of a cluster is a part of its count. */
    if (r < 0 || count <= q2_ref_max(q) / 2)
        return r;
    if (!w->crowded)
        w->crowded = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    uint64_t *times = g_hash_table_lookup(w->crowded, &cluster);
    if (times)
        met = ++*times;
    else
        g_hash_table_insert(w->crowded, g_memdup2(&cluster, sizeof(cluster)),
                            g_memdup2(&met, sizeof(met)));
    return met >= q2_ref_max(q) - count ? -EOVERFLOW : 0;
}

static int for_cluster(struct qcow2 *q, uint64_t cluster, struct walk *w)
{
    switch (w->op) {
    case Q2_TREE_TEST_ADD:
        return test_add(q, cluster, w);
    case Q2_TREE_ADD:
        return q2_ref_add(q, cluster);
    case Q2_TREE_DROP:
        return q2_free_now(q, cluster << q->cluster_bits, 1);
    case Q2_TREE_FLAGS:
        break;
    }
    return 0;
}

/* COPIED means: counted exactly once. */
static int true_flag(struct qcow2 *q, uint64_t *entry)
{
    uint64_t count;
    int r = q2_ref_get(q, (*entry & Q2_OFFSET_MASK) >> q->cluster_bits, &count);

    *entry = (*entry & ~Q2_COPIED) | (r == 0 && count == 1 ? Q2_COPIED : 0);
    return r;
}

/* FLAGS changes *entry. */
static int for_entry(struct qcow2 *q, uint64_t *entry, struct walk *w)
{
    uint64_t offset = *entry & Q2_OFFSET_MASK, len = 1;
    int r = 0;

    if (*entry & Q2_COMPRESSED) {
        *entry &= ~Q2_COPIED;
        q2_packed_place(q, *entry, &offset, &len);
    } else if (!offset || q->data != q->file) {
        return 0; /* external data is not counted */
    } else if (!q2_offset_ok(q, offset)) {
        return w->op == Q2_TREE_FLAGS ? 0 : q2_corrupt(q, "an L2 entry points outside the file");
    } else if (w->op == Q2_TREE_FLAGS) {
        return true_flag(q, entry);
    }
    for (uint64_t c = offset >> q->cluster_bits;
         r == 0 && c <= (offset + len - 1) >> q->cluster_bits; c++)
        r = for_cluster(q, c, w);
    return r;
}

static int for_table(struct qcow2 *q, uint64_t place, struct walk *w)
{
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < BIT64(q->l2_bits); i++) {
        struct table *t; /* anew for each entry: counting may have moved it out of the cache */
        r = q2_l2_load(q, place, false, &t);
        if (r < 0)
            return r;
        uint8_t *p = t->data + i * q->l2_entry_bytes;
        uint64_t old = be64_get(p), now = old;
        r = for_entry(q, &now, w);
        if (r == 0 && w->op == Q2_TREE_FLAGS && now != old) {
            pthread_mutex_lock(&q->tables);
            be64_put(p, now);
            pthread_mutex_unlock(&q->tables);
            q2_table_touch(q, &q->l2, t);
        }
    }
    return r;
}

static int for_tree(struct qcow2 *q, uint64_t *l1, uint32_t entries, struct walk *w)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < entries; i++) {
        uint64_t place = l1[i] & Q2_OFFSET_MASK, now = l1[i];
        if (!place)
            continue;
        if (!q2_offset_ok(q, place) && w->op == Q2_TREE_FLAGS)
            continue; /* a repair does what it can */
        if (!q2_offset_ok(q, place))
            return q2_corrupt(q, "an L1 entry points outside the file");
        r = for_table(q, place, w); /* before its own count falls */
        if (r == 0)
            r = w->op == Q2_TREE_FLAGS ? true_flag(q, &now)
                                       : for_cluster(q, place >> q->cluster_bits, w);
        if (r == 0 && now != l1[i]) {
            pthread_mutex_lock(&q->tables);
            l1[i] = now;
            if (l1 == q->l1) {
                q->l1_dirty_from = MIN_OF(q->l1_dirty_from, i);
                q->l1_dirty_to = MAX_OF(q->l1_dirty_to, i + 1);
                q->meta_dirty = true;
            }
            pthread_mutex_unlock(&q->tables);
        }
    }
    return r;
}

int q2_tree(struct qcow2 *q, uint64_t *l1, uint32_t entries, enum q2_tree_op op)
{
    struct walk w = {.op = op};
    int r = for_tree(q, l1, entries, &w);

    if (w.crowded)
        g_hash_table_destroy(w.crowded);
    return r;
}
