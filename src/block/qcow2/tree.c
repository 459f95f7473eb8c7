/* tree.c - all that an L1 table leads to: its L2 tables and the clusters they name, counted up or
 * down, or their COPIED flags made true.  For snapshots, and for repair. */
#include "qcow2.h"

#include <errno.h>

static int for_cluster(struct qcow2 *q, uint64_t cluster, enum q2_tree_op op)
{
    uint64_t count;
    int r;

    switch (op) {
    case Q2_TREE_TEST_ADD:
        r = q2_ref_get(q, cluster, &count);
        return r == 0 && count == q2_ref_max(q) ? -EOVERFLOW : r;
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
static int for_entry(struct qcow2 *q, uint64_t *entry, enum q2_tree_op op)
{
    uint64_t offset = *entry & Q2_OFFSET_MASK, len = 1;
    int r = 0;

    if (*entry & Q2_COMPRESSED) {
        *entry &= ~Q2_COPIED;
        q2_packed_place(q, *entry, &offset, &len);
    } else if (!offset || q->data != q->file) {
        return 0; /* external data is not counted */
    } else if (!q2_offset_ok(q, offset)) {
        return op == Q2_TREE_FLAGS ? 0 : q2_corrupt(q, "an L2 entry points outside the file");
    } else if (op == Q2_TREE_FLAGS) {
        return true_flag(q, entry);
    }
    for (uint64_t c = offset >> q->cluster_bits;
         r == 0 && c <= (offset + len - 1) >> q->cluster_bits; c++)
        r = for_cluster(q, c, op);
    return r;
}

static int for_table(struct qcow2 *q, uint64_t place, enum q2_tree_op op)
{
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < BIT64(q->l2_bits); i++) {
        struct table *t; /* anew for each entry: counting may have moved it out of the cache */
        r = q2_l2_load(q, place, false, &t);
        if (r < 0)
            return r;
        uint8_t *p = t->data + i * q->l2_entry_bytes;
        uint64_t old = be64_get(p), now = old;
        r = for_entry(q, &now, op);
        if (r == 0 && op == Q2_TREE_FLAGS && now != old) {
            pthread_mutex_lock(&q->tables);
            be64_put(p, now);
            pthread_mutex_unlock(&q->tables);
            q2_table_touch(q, &q->l2, t);
        }
    }
    return r;
}

int q2_tree(struct qcow2 *q, uint64_t *l1, uint32_t entries, enum q2_tree_op op)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < entries; i++) {
        uint64_t place = l1[i] & Q2_OFFSET_MASK, now = l1[i];
        if (!place)
            continue;
        if (!q2_offset_ok(q, place) && op == Q2_TREE_FLAGS)
            continue; /* a repair does what it can */
        if (!q2_offset_ok(q, place))
            return q2_corrupt(q, "an L1 entry points outside the file");
        r = for_table(q, place, op); /* before its own count falls */
        if (r == 0)
            r = op == Q2_TREE_FLAGS ? true_flag(q, &now)
                                    : for_cluster(q, place >> q->cluster_bits, op);
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
