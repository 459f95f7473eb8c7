/* map.c - from guest offsets to the file: L1, L2 and what their entries mean (spec "Cluster
 * mapping").  Entries are hostile: an offset is used only after q2_offset_ok(). */
#include "qcow2.h"

#include <errno.h>

bool q2_offset_ok(const struct qcow2 *q, uint64_t offset)
{
    return offset != 0 && (offset & (q->cluster_bytes - 1)) == 0 &&
           offset < ALIGN_UP(q->file_end, q->cluster_bytes);
}

void q2_packed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *len)
{
    uint32_t x = 62 - (q->cluster_bits - 8);
    uint64_t sectors = (entry & (Q2_COMPRESSED - 1)) >> x;

    *offset = entry & (BIT64(x) - 1);
    *len = (sectors + 1) * 512 - (*offset & 511);
}

/* May guest data lie at host?  An external data file holds a byte where the guest has it. */
static bool data_ok(const struct qcow2 *q, uint64_t host)
{
    if (q->data == q->file)
        return q2_offset_ok(q, host);
    return (host & (q->cluster_bytes - 1)) == 0 &&
           host < ALIGN_UP(MAX_OF(q->virtual_bytes, q->data->size_bytes), q->cluster_bytes);
}

/* Of one subcluster of a standard entry, by its bit in each half of the bitmap (spec "Extended L2
 * Entries"). */
static bool decode_sub(uint64_t bitmap, uint32_t sub, struct extent *e)
{
    bool allocated = (bitmap >> sub) & 1, zero = (bitmap >> (Q2_SUBS + sub)) & 1;

    e->kind = allocated ? Q2_NORMAL : zero ? Q2_ZEROES : Q2_UNALLOCATED;
    return !(allocated && (zero || !e->has_host));
}

/* Entry `index` of a table, its subcluster `sub`.  False: the entry makes no sense. */
static bool decode(const struct qcow2 *q, const uint8_t *l2, uint64_t index, uint32_t sub,
                   struct extent *e)
{
    uint64_t entry = be64_get(l2 + index * q->l2_entry_bytes);

    *e = (struct extent){.entry = entry, .copied = (entry & Q2_COPIED) != 0};
    if (entry & Q2_COMPRESSED) {
        uint64_t len;
        q2_packed_place(q, entry, &e->host_bytes, &len);
        e->kind = Q2_DEFLATED;
        e->copied = false;
        return q->data == q->file && e->host_bytes >= q->cluster_bytes &&
               e->host_bytes < q->file_end;
    }
    uint64_t host = entry & Q2_OFFSET_MASK;
    e->has_host = host != 0 || (q->data != q->file && e->copied);
    if ((entry & Q2_RESERVED) || (e->has_host && !data_ok(q, host)))
        return false;
    e->host_bytes = e->has_host ? host + ((uint64_t)sub << q->sub_bits) : 0;
    if (q->subs > 1)
        return !(entry & Q2_ZERO) &&
               decode_sub(be64_get(l2 + index * q->l2_entry_bytes + 8), sub, e);
    if (entry & Q2_ZERO) {
        e->kind = Q2_ZEROES;
        return q->info.version >= 3;
    }
    e->kind = e->has_host ? Q2_NORMAL : Q2_UNALLOCATED;
    return true;
}

/* Does `next` go on where an extent of so many subclusters ends? */
static bool continues(const struct qcow2 *q, const struct extent *first, uint64_t subs,
                      const struct extent *next)
{
    return next->kind == first->kind && first->kind != Q2_DEFLATED &&
           next->copied == first->copied && next->has_host == first->has_host &&
           (!first->has_host || next->host_bytes == first->host_bytes + (subs << q->sub_bits));
}

static bool map_packed(const struct qcow2 *q, uint64_t offset, uint64_t len, struct extent *out)
{
    out->len_bytes = MIN_OF(len, q->cluster_bytes - (offset & (q->cluster_bytes - 1)));
    return true;
}

static bool map_in_table(const struct qcow2 *q, const uint8_t *l2, uint64_t offset, uint64_t len,
                         struct extent *out)
{
    uint64_t within = offset & (q->sub_bytes - 1), subs = 1;
    uint32_t sub_shift = q->cluster_bits - q->sub_bits;
    uint64_t at = (offset >> q->sub_bits) & (BIT64(q->l2_bits + sub_shift) - 1);
    struct extent next;

    if (!decode(q, l2, at >> sub_shift, (uint32_t)(at & (q->subs - 1)), out))
        return false;
    if (out->kind == Q2_DEFLATED)
        return map_packed(q, offset, len, out);
    for (; (subs << q->sub_bits) - within < len; subs++) {
        uint64_t i = at + subs;
        if (i >> sub_shift >= BIT64(q->l2_bits) ||
            !decode(q, l2, i >> sub_shift, (uint32_t)(i & (q->subs - 1)), &next) ||
            !continues(q, out, subs, &next))
            break;
    }
    if (out->has_host)
        out->host_bytes += within;
    out->len_bytes = MIN_OF(len, (subs << q->sub_bits) - within);
    return true;
}

/* Where the L2 table for offset lies: 0 when there is none. */
static uint64_t l2_place(const struct qcow2 *q, uint64_t offset)
{
    return q->l1[offset >> (q->cluster_bits + q->l2_bits)] & Q2_OFFSET_MASK;
}

static void map_nothing(const struct qcow2 *q, uint64_t offset, uint64_t len, struct extent *out)
{
    uint64_t span = BIT64(q->cluster_bits + q->l2_bits);

    *out = (struct extent){.kind = Q2_UNALLOCATED,
                           .len_bytes = MIN_OF(len, span - (offset & (span - 1)))};
}

int q2_map(struct qcow2 *q, uint64_t offset, uint64_t len, struct extent *out)
{
    uint64_t place = l2_place(q, offset);
    struct table *t;

    if (!place) {
        map_nothing(q, offset, len, out);
        return 0;
    }
    int r = q2_l2_at(q, place, &t);
    if (r < 0)
        return r;
    return map_in_table(q, t->data, offset, len, out)
               ? 0
               : q2_corrupt(q, "an L2 entry has an impossible value");
}

bool q2_map_cached(struct qcow2 *q, uint64_t offset, uint64_t len, struct extent *out)
{
    uint64_t place = l2_place(q, offset);

    if (!place) {
        map_nothing(q, offset, len, out);
        return true;
    }
    struct table *t = q2_cache_find(&q->l2, place, q->cluster_bits);
    return t && map_in_table(q, t->data, offset, len, out);
}

int q2_status(struct blk_node *n, uint64_t offset, uint64_t len, bool holes, struct blk_status *out)
{
    struct qcow2 *q = n->priv;
    struct extent e;

    pthread_mutex_lock(&q->serial);
    int r = q2_map(q, offset, len, &e);
    for (struct extent next; r == 0 && e.len_bytes < len; e.len_bytes += next.len_bytes) {
        /* across tables, and whatever the difference does not show */
        r = q2_map(q, offset + e.len_bytes, len - e.len_bytes, &next);
        if (r < 0 || next.kind != e.kind || e.kind == Q2_DEFLATED ||
            (e.kind == Q2_NORMAL && next.host_bytes != e.host_bytes + e.len_bytes))
            break;
    }
    pthread_mutex_unlock(&q->serial);
    if (r < 0)
        return r;
    out->len_bytes = e.len_bytes;
    if (e.kind == Q2_UNALLOCATED) {
        out->flags = q->backing ? 0 : BLK_STATUS_ZERO;
    } else if (e.kind == Q2_ZEROES) {
        out->flags = BLK_STATUS_ALLOCATED | BLK_STATUS_ZERO;
    } else if (e.kind == Q2_DEFLATED) {
        out->flags = BLK_STATUS_ALLOCATED | BLK_STATUS_DATA | BLK_STATUS_COMPRESSED;
        out->host = q->file;
        q2_packed_place(q, e.entry, &out->host_bytes, &out->packed_bytes);
    } else {
        out->flags = BLK_STATUS_ALLOCATED | BLK_STATUS_DATA | BLK_STATUS_OFFSET;
        out->host = q->data;
        out->host_bytes = e.host_bytes;
        struct blk_status below;
        if (holes && e.host_bytes + e.len_bytes <= q->data->size_bytes &&
            blk_status(q->data, e.host_bytes, e.len_bytes, true, &below) == 0) {
            out->len_bytes = below.len_bytes;
            out->flags |= below.flags & BLK_STATUS_ZERO;
            if (out->flags & BLK_STATUS_ZERO)
                out->flags &= ~(uint32_t)BLK_STATUS_DATA;
        }
    }
    return 0;
}
