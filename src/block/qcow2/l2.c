/* l2.c - changing L1 and L2 entries in memory; they reach the disk in q2_flush() only. */
#include "qcow2.h"

#include <assert.h>
#include <errno.h>

int q2_l1_write(struct qcow2 *q)
{
    uint32_t from = q->l1_dirty_from, to = q->l1_dirty_to;

    if (from >= to)
        return 0;
    int r = q2_barrier(q); /* the L2 tables it points to */
    if (r < 0)
        return r;
    r = q2_table_write(q, q->l1_offset, q->l1, from, to);
    if (r < 0)
        return r;
    q->l1_dirty_from = UINT32_MAX;
    q->l1_dirty_to = 0;
    return 0;
}

int q2_l2_at(struct qcow2 *q, uint64_t place, struct table **out)
{
    return q2_offset_ok(q, place) ? q2_l2_load(q, place, false, out)
                                  : q2_corrupt(q, "an L1 entry points outside the file");
}

static int l2_new(struct qcow2 *q, uint64_t l1_index, uint64_t old, struct table **out)
{
    uint64_t host, got;
    struct table *from = NULL;
    int r = q2_alloc(q, 1, &host, &got);

    if (r == 0)
        r = q2_l2_load(q, host, true, out);
    if (r == 0 && old) { /* a snapshot's too: copied, the entries keep their clear COPIED bits */
        r = q2_l2_at(q, old, &from);
        if (r == 0) /* loading may have moved the new one out of the cache */
            r = q2_l2_load(q, host, false, out);
    }
    if (r < 0)
        return r;
    pthread_mutex_lock(&q->tables);
    if (from) {
        memcpy((*out)->data, from->data, q->cluster_bytes);
        q->l2.dirty += !(*out)->dirty;
        (*out)->dirty = true;
    }
    q->l1[l1_index] = host | Q2_COPIED;
    q->l1_dirty_from = MIN_OF(q->l1_dirty_from, (uint32_t)l1_index);
    q->l1_dirty_to = MAX_OF(q->l1_dirty_to, (uint32_t)l1_index + 1);
    q->meta_dirty = true;
    pthread_mutex_unlock(&q->tables);
    if (old)
        q2_free_later(q, old, 1);
    return 0;
}

int q2_l2_writable(struct qcow2 *q, uint64_t offset, struct table **out)
{
    uint64_t l1_index = offset >> (q->cluster_bits + q->l2_bits);
    uint64_t entry = q->l1[l1_index], place = entry & Q2_OFFSET_MASK;

    if (!place || !(entry & Q2_COPIED))
        return l2_new(q, l1_index, place, out);
    if (!q2_offset_ok(q, place) || q2_is_metadata(q, place, q->cluster_bytes))
        return q2_corrupt(q, "an L1 entry points to an impossible place");
    return q2_l2_load(q, place, false, out);
}

/* Data in an external file is not counted. */
void q2_free_entry(struct qcow2 *q, uint64_t entry)
{
    uint64_t offset = entry & Q2_OFFSET_MASK, len = q->cluster_bytes;

    if (entry & Q2_COMPRESSED)
        q2_packed_place(q, entry, &offset, &len);
    if (!offset || q->data != q->file)
        return;
    uint64_t first = offset >> q->cluster_bits, last = (offset + len - 1) >> q->cluster_bits;
    q2_free_later(q, first << q->cluster_bits, last - first + 1);
}

static void entry_put(struct qcow2 *q, uint8_t *p, uint64_t entry, uint64_t bitmap)
{
    pthread_mutex_lock(&q->tables);
    be64_put(p, entry);
    if (q->subs > 1)
        be64_put(p + 8, bitmap);
    pthread_mutex_unlock(&q->tables);
}

/* One cluster's entry; the subclusters in mask get the new state. */
static void set_one(struct qcow2 *q, uint8_t *p, uint64_t host, uint64_t mask, enum q2_state state)
{
    uint64_t old = be64_get(p), bitmap = q->subs > 1 ? be64_get(p + 8) : 0, now;

    if (mask == Q2_ALL_SUBS)
        bitmap = 0;
    bitmap &= ~(mask | mask << Q2_SUBS);
    bitmap |= state == Q2_SET_DATA ? mask : state == Q2_SET_ZERO ? mask << Q2_SUBS : 0;
    if (host == Q2_KEEP_HOST)
        now = old & (Q2_OFFSET_MASK | Q2_COPIED);
    else
        now = host == Q2_NO_HOST ? 0 : host | Q2_COPIED;
    if (q->subs == 1 && state == Q2_SET_ZERO)
        now |= Q2_ZERO;
    entry_put(q, p, now, bitmap);
    if ((old & Q2_COMPRESSED) || (old & Q2_OFFSET_MASK) != (now & Q2_OFFSET_MASK)) {
        /* bytes that stayed behind would be lost */
        assert(q->subs == 1 || mask == Q2_ALL_SUBS || !(old & Q2_OFFSET_MASK));
        q2_free_entry(q, old);
    }
}

int q2_l2_set(struct qcow2 *q, uint64_t offset, uint64_t len, uint64_t host, enum q2_state state)
{
    uint64_t index = (offset >> q->cluster_bits) & (BIT64(q->l2_bits) - 1);
    uint64_t cluster_mask = q->cluster_bytes - 1;
    struct table *t;
    int r = q2_l2_writable(q, offset, &t);

    if (r < 0)
        return r;
    for (; len; index++) {
        uint64_t n = MIN_OF(len, q->cluster_bytes - (offset & cluster_mask)), mask = Q2_ALL_SUBS;
        if (q->subs > 1) {
            uint32_t first = (uint32_t)((offset & cluster_mask) >> q->sub_bits);
            uint32_t count = (uint32_t)((n + q->sub_bytes - 1) >> q->sub_bits);
            mask = (BIT64(count) - 1) << first;
        }
        set_one(q, t->data + index * q->l2_entry_bytes, host, mask, state);
        if (host < Q2_KEEP_HOST)
            host += q->cluster_bytes;
        offset += n;
        len -= n;
    }
    q2_table_touch(q, &q->l2, t);
    return 0;
}

int q2_l2_set_packed(struct qcow2 *q, uint64_t offset, uint64_t entry)
{
    uint64_t index = (offset >> q->cluster_bits) & (BIT64(q->l2_bits) - 1);
    struct table *t;
    int r = q2_l2_writable(q, offset, &t);

    if (r < 0)
        return r;
    uint8_t *p = t->data + index * q->l2_entry_bytes;
    uint64_t old = be64_get(p);
    entry_put(q, p, entry, 0);
    q2_free_entry(q, old);
    q2_table_touch(q, &q->l2, t);
    return 0;
}
