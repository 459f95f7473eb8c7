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

/* False: the entry makes no sense. */
static bool decode(const struct qcow2 *q, uint64_t entry, struct extent *e)
{
    *e = (struct extent){.entry = entry, .copied = (entry & Q2_COPIED) != 0};
    if (entry & Q2_COMPRESSED) {
        uint64_t len;
        q2_packed_place(q, entry, &e->host_bytes, &len);
        e->kind = Q2_DEFLATED;
        e->copied = false;
        return e->host_bytes >= q->cluster_bytes && e->host_bytes < q->file_end;
    }
    e->host_bytes = entry & Q2_OFFSET_MASK;
    if (entry & Q2_RESERVED)
        return false;
    if (entry & Q2_ZERO) {
        e->kind = Q2_ZEROES;
        return q->info.version >= 3 && (!e->host_bytes || q2_offset_ok(q, e->host_bytes));
    }
    e->kind = e->host_bytes ? Q2_NORMAL : Q2_UNALLOCATED;
    return !e->host_bytes || q2_offset_ok(q, e->host_bytes);
}

/* Does the entry go on where an extent of `clusters` clusters ends? */
static bool continues(const struct qcow2 *q, const struct extent *first, uint64_t clusters,
                      const struct extent *next)
{
    if (next->kind != first->kind || next->copied != first->copied)
        return false;
    if (first->kind == Q2_NORMAL)
        return next->host_bytes == first->host_bytes + clusters * q->cluster_bytes;
    return first->kind == Q2_UNALLOCATED ||
           (first->kind == Q2_ZEROES && !first->host_bytes && !next->host_bytes);
}

static bool map_in_table(const struct qcow2 *q, const uint8_t *l2, uint64_t offset, uint64_t len,
                         struct extent *out)
{
    uint64_t within = offset & (q->cluster_bytes - 1), clusters = 1;
    uint64_t index = (offset >> q->cluster_bits) & (BIT64(q->l2_bits) - 1);
    struct extent next;

    if (!decode(q, be64_get(l2 + index * 8), out))
        return false;
    while (clusters * q->cluster_bytes - within < len && index + clusters < BIT64(q->l2_bits) &&
           decode(q, be64_get(l2 + (index + clusters) * 8), &next) &&
           continues(q, out, clusters, &next))
        clusters++;
    if (out->kind == Q2_NORMAL)
        out->host_bytes += within;
    out->len_bytes = MIN_OF(len, clusters * q->cluster_bytes - within);
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
    if (!q2_offset_ok(q, place))
        return q2_corrupt(q, "an L1 entry points outside the file");
    int r = q2_l2_load(q, place, false, &t);
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
