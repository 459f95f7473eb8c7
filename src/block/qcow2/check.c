/* check.c - counts who points to every cluster and compares with the refcounts.
 *
 * Memory: two bytes a cluster of the file, asked for with a limit. */
#include "qcow2.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

enum { SNAPSHOT_HEADER = 40 };
#define COUNT_CLUSTERS_MAX (1ull << 30)

struct check {
    struct qcow2 *q;
    uint16_t *counts;
    uint64_t clusters;
    void (*report)(void *opaque, bool is_leak, const char *text);
    void *opaque;
    struct qcow2_check *out;
};

static void say(struct check *c, bool is_leak, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
static void say(struct check *c, bool is_leak, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    c->out->leaks += is_leak;
    c->out->corruptions += !is_leak;
    c->report(c->opaque, is_leak, text);
}

/* False when the range is not in the file. */
static bool count(struct check *c, const char *what, uint64_t offset, uint64_t len)
{
    if (len == 0)
        return true;
    uint64_t first = offset >> c->q->cluster_bits;
    if (len > UINT64_MAX - offset || (offset + len - 1) >> c->q->cluster_bits >= c->clusters) {
        say(c, false, "%s at 0x%" PRIx64 " lies outside the file", what, offset);
        return false;
    }
    for (uint64_t i = first; i <= (offset + len - 1) >> c->q->cluster_bits; i++) {
        if (c->counts[i] < UINT16_MAX)
            c->counts[i]++;
    }
    return true;
}

static int refcount_of(struct qcow2 *q, uint64_t cluster, uint16_t *n)
{
    uint64_t index = cluster >> q->refblock_bits;
    struct table *t;

    *n = 0;
    uint64_t place = index < q->reftable_entries ? q->reftable[index] & ~511ull : 0;
    if (!q2_offset_ok(q, place))
        return 0;
    int r = q2_refblock_load(q, place, false, &t);
    if (r == 0)
        *n = be16_get(t->data + (cluster & (BIT64(q->refblock_bits) - 1)) * 2);
    return r;
}

static void check_copied(struct check *c, const char *what, uint64_t entry, uint64_t offset)
{
    uint16_t n = 0;

    if (refcount_of(c->q, offset >> c->q->cluster_bits, &n) == 0 &&
        ((entry & Q2_COPIED) != 0) != (n == 1))
        say(c, false, "%s at 0x%" PRIx64 ": the COPIED flag contradicts the refcount %u", what,
            offset, n);
}

static void check_l2_entry(struct check *c, uint64_t entry, bool active)
{
    uint64_t offset = entry & Q2_OFFSET_MASK, len = c->q->cluster_bytes;

    if (entry & Q2_COMPRESSED) {
        q2_packed_place(c->q, entry, &offset, &len);
        if (entry & Q2_COPIED)
            say(c, false, "a compressed cluster at 0x%" PRIx64 " has the COPIED flag", offset);
        c->out->compressed_clusters += active;
        c->out->allocated_clusters += active;
        count(c, "a compressed cluster", offset, len);
        return;
    }
    if (!offset)
        return;
    c->out->allocated_clusters += active;
    if (offset & (c->q->cluster_bytes - 1)) {
        say(c, false, "the data cluster 0x%" PRIx64 " is not aligned", offset);
        return;
    }
    if (count(c, "a data cluster", offset, len) && active)
        check_copied(c, "a data cluster", entry, offset);
}

static bool check_l1(struct check *c, const char *what, uint64_t offset, uint32_t entries,
                     bool active, GError **err)
{
    struct qcow2 *q = c->q;

    if ((uint64_t)entries * 8 > Q2_L1_BYTES_MAX || !count(c, what, offset, (uint64_t)entries * 8))
        return true;
    g_autofree uint64_t *l1 = g_try_new(uint64_t, MAX_OF(entries, 1u));
    g_autofree uint8_t *l2 = g_malloc(q->cluster_bytes);
    int r = l1 ? q2_io(q->file, BLK_READ, offset, l1, (uint64_t)entries * 8) : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < entries; i++) {
        uint64_t entry = be64_get(&l1[i]), place = entry & Q2_OFFSET_MASK;
        if (!place)
            continue;
        if (!q2_offset_ok(q, place)) {
            say(c, false, "an L2 table at 0x%" PRIx64 " lies outside the file or between clusters",
                place);
            continue;
        }
        count(c, "an L2 table", place, q->cluster_bytes);
        if (active)
            check_copied(c, "an L2 table", entry, place);
        r = q2_io(q->file, BLK_READ, place, l2, q->cluster_bytes);
        for (uint64_t k = 0; r == 0 && k < BIT64(q->l2_bits); k++)
            check_l2_entry(c, be64_get(l2 + k * 8), active);
    }
    return r == 0 ||
           error_errno(err, -r, "Could not read the tables of '%s'", blk_filename(q->node));
}

/* Spec "Snapshots": a table of records of varying length. */
static bool check_snapshots(struct check *c, GError **err)
{
    uint8_t place[8], h[SNAPSHOT_HEADER];
    int r = q2_io(c->q->file, BLK_READ, 64, place, sizeof(place));
    uint64_t start = be64_get(place), at = start;

    for (uint32_t i = 0; r == 0 && i < c->q->info.snapshots; i++) {
        if (at >= c->q->file_end) {
            say(c, false, "the snapshot table lies outside the file");
            return true;
        }
        r = q2_io(c->q->file, BLK_READ, at, h, sizeof(h));
        if (r < 0)
            break;
        if (!check_l1(c, "a snapshot's L1 table", be64_get(h), be32_get(h + 8), false, err))
            return false;
        at += SNAPSHOT_HEADER + (uint64_t)be32_get(h + 36) + be16_get(h + 12) + be16_get(h + 14);
        at = ALIGN_UP(at, 8);
    }
    count(c, "the snapshot table", start, at - start);
    return r == 0 || error_errno(err, -r, "Could not read the snapshots");
}

static bool compare(struct check *c, bool fix, GError **err)
{
    struct qcow2 *q = c->q;

    for (uint64_t i = 0; i < c->clusters; i++) {
        uint16_t n;
        int r = refcount_of(q, i, &n);
        if (r < 0)
            return error_errno(err, -r, "Could not read the refcounts");
        if (n || c->counts[i])
            c->out->end_bytes = (i + 1) << q->cluster_bits;
        if (n == c->counts[i])
            continue;
        say(c, n > c->counts[i], "%s cluster %" PRIu64 " refcount=%u reference=%u",
            n > c->counts[i] ? "Leaked" : "ERROR", i, n, c->counts[i]);
    }
    for (uint64_t i = 0; fix && !c->out->corruptions && i < c->clusters; i++) {
        uint16_t n;
        int r = refcount_of(q, i, &n);
        c->out->leaks_fixed += r == 0 && n > c->counts[i];
        for (; r == 0 && n > c->counts[i]; n--)
            r = q2_free_now(q, i << q->cluster_bits, 1);
        if (r < 0)
            return error_errno(err, -r, "Could not repair the refcounts");
    }
    return true;
}

static bool check_refblocks(struct check *c)
{
    for (uint32_t i = 0; i < c->q->reftable_entries; i++) {
        uint64_t place = c->q->reftable[i] & ~511ull;
        if (place && !q2_offset_ok(c->q, place))
            say(c, false, "a refcount block at 0x%" PRIx64 " lies outside the file", place);
        else if (place)
            count(c, "a refcount block", place, c->q->cluster_bytes);
    }
    return true;
}

static bool check_all(struct check *c, bool fix, GError **err)
{
    struct qcow2 *q = c->q;

    count(c, "the header", 0, q->cluster_bytes);
    count(c, "the refcount table", q->reftable_offset, (uint64_t)q->reftable_entries * 8);
    return check_refblocks(c) &&
           check_l1(c, "the L1 table", q->l1_offset, q->l1_entries, true, err) &&
           check_snapshots(c, err) && compare(c, fix, err);
}

/* A read-only node has no refcount table in memory. */
static bool need_reftable(struct qcow2 *q, GError **err)
{
    if (q->reftable)
        return true;
    q->reftable = g_try_new(uint64_t, q->reftable_entries);
    int r = q->reftable ? q2_io(q->file, BLK_READ, q->reftable_offset, q->reftable,
                                (uint64_t)q->reftable_entries * 8)
                        : -ENOMEM;
    if (r < 0) {
        g_free(g_steal_pointer(&q->reftable));
        return error_errno(err, -r, "Could not read the refcount table");
    }
    for (uint32_t i = 0; i < q->reftable_entries; i++)
        q->reftable[i] = be64_get(&q->reftable[i]);
    return true;
}

bool qcow2_check(struct blk_node *n, unsigned fix,
                 void (*report)(void *opaque, bool is_leak, const char *text), void *opaque,
                 struct qcow2_check *out, GError **err)
{
    struct qcow2 *q = n->drv == &blk_driver_qcow2 ? n->priv : NULL;

    *out = (struct qcow2_check){0};
    if (!q || q->info.refcount_bits != 16 || q->info.has_bitmaps)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "This version checks qcow2 images with 16-bit refcounts and without "
                         "bitmaps only.");
    struct check c = {.q = q, .report = report, .opaque = opaque, .out = out};
    c.clusters = ALIGN_UP(q->file_end, q->cluster_bytes) >> q->cluster_bits;
    if (c.clusters > COUNT_CLUSTERS_MAX)
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "The file is too long to be checked.");
    g_autofree uint16_t *counts = g_try_new0(uint16_t, c.clusters);
    if (!counts)
        return error_errno(err, ENOMEM, "Not enough memory to check the image");
    c.counts = counts;
    out->total_clusters = (q->virtual_bytes + q->cluster_bytes - 1) >> q->cluster_bits;
    pthread_mutex_lock(&q->serial);
    bool ok = need_reftable(q, err) && check_all(&c, fix & QCOW2_FIX_LEAKS, err);
    pthread_mutex_unlock(&q->serial);
    return ok;
}
