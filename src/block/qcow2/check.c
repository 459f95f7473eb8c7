/* check.c - counts who points to every cluster and compares with the refcounts.
 *
 * Memory: four bytes a cluster of the file, asked for with a limit.  Time: every L1 table once, and
 * every L2 table once for each L1 table that leads to it. */
#include "check.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

#define COUNT_CLUSTERS_MAX (1ull << 30)

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

static bool in_file(const struct check *c, uint64_t offset, uint64_t len)
{
    return len == 0 ||
           (len <= UINT64_MAX - offset && (offset + len - 1) >> c->q->cluster_bits < c->clusters);
}

static void add(struct check *c, uint64_t offset, uint64_t len, int by)
{
    for (uint64_t i = offset >> c->q->cluster_bits;
         len && i <= (offset + len - 1) >> c->q->cluster_bits; i++) {
        if (by < 0)
            c->counts[i] -= c->counts[i] > 0;
        else if (c->counts[i] < UINT32_MAX)
            c->counts[i]++;
    }
}

/* False when the range is not in the file. */
static bool count(struct check *c, const char *what, uint64_t offset, uint64_t len)
{
    if (!in_file(c, offset, len)) {
        say(c, false, "ERROR: %s at 0x%" PRIx64 " lies outside the file", what, offset);
        return false;
    }
    add(c, offset, len, 1);
    return true;
}

int q2_stored_count(struct qcow2 *q, uint64_t cluster, uint64_t *n)
{
    uint64_t index = cluster >> q->refblock_bits;
    struct table *t;

    *n = 0;
    uint64_t place = index < q->reftable_entries ? q->reftable[index] & ~511ull : 0;
    if (!q2_offset_ok(q, place))
        return 0;
    int r = q2_refblock_load(q, place, false, &t);
    if (r == 0)
        *n = q2_count_get(t->data, cluster & (BIT64(q->refblock_bits) - 1), q->refcount_order);
    return r;
}

/* ---- the guest's data ---- */

static void count_packed(struct check *c, uint64_t entry, bool active)
{
    uint64_t offset, len;

    q2_packed_place(c->q, entry, &offset, &len);
    if (entry & Q2_COPIED)
        say(c, false, "ERROR: a compressed cluster at 0x%" PRIx64 " has the COPIED flag", offset);
    c->out->compressed_clusters += active;
    c->out->allocated_clusters += active;
    c->out->fragmented_clusters += active;
    uint64_t end = c->clusters << c->q->cluster_bits;
    if (in_file(c, offset, 1) && offset + len > end)
        len = end - offset; /* the length is rounded up */
    count(c, "a compressed cluster", offset, len);
}

static void count_entry(struct check *c, const uint8_t *p, bool active)
{
    struct qcow2 *q = c->q;
    uint64_t entry = be64_get(p), offset = entry & Q2_OFFSET_MASK;

    if (entry & Q2_COMPRESSED) {
        count_packed(c, entry, active);
        return;
    }
    if (q->subs > 1) {
        uint64_t bitmap = be64_get(p + 8), data = bitmap & Q2_ALL_SUBS;
        if ((data & bitmap >> Q2_SUBS) ||
            (data && !offset && !(q->data != q->file && (entry & Q2_COPIED))))
            say(c, false, "ERROR: an L2 entry 0x%" PRIx64 " has an impossible bitmap 0x%" PRIx64,
                entry, bitmap);
    }
    if (q->data != q->file) {
        c->out->allocated_clusters += active && (entry & Q2_COPIED);
        return;
    }
    if (!offset)
        return;
    c->out->allocated_clusters += active;
    c->out->fragmented_clusters += active && c->next_data && offset != c->next_data;
    if (active)
        c->next_data = offset + q->cluster_bytes;
    if (offset & (q->cluster_bytes - 1))
        say(c, false, "ERROR: the data cluster 0x%" PRIx64 " is not aligned", offset);
    else
        count(c, "a data cluster", offset, q->cluster_bytes);
}

/* Returns 0, or -errno of reading. */
static int count_table(struct check *c, uint64_t place, bool active)
{
    struct qcow2 *q = c->q;
    g_autofree uint8_t *l2 = g_malloc(q->cluster_bytes);

    if (!q2_offset_ok(q, place)) {
        say(c, false,
            "ERROR: an L2 table at 0x%" PRIx64 " lies outside the file or between clusters", place);
        return 0;
    }
    if (c->counts[place >> q->cluster_bits] >= c->l1_tables) {
        say(c, false, "ERROR: the L2 table at 0x%" PRIx64 " is something else too", place);
        add(c, place, 1, 1);
        return 0;
    }
    add(c, place, 1, 1);
    int r = q2_io(q->file, BLK_READ, place, l2, q->cluster_bytes);
    for (uint64_t k = 0; r == 0 && k < BIT64(q->l2_bits); k++)
        count_entry(c, l2 + k * q->l2_entry_bytes, active);
    return r;
}

static int count_l1(struct check *c, const char *what, uint64_t offset, uint32_t entries,
                    bool active)
{
    struct qcow2 *q = c->q;
    uint64_t bytes = (uint64_t)entries * 8;
    int r;

    if (bytes > Q2_L1_BYTES_MAX || (entries && !q2_offset_ok(q, offset)) ||
        !in_file(c, offset, bytes)) {
        say(c, false, "ERROR: %s at 0x%" PRIx64 " lies outside the file", what, offset);
        return 0;
    }
    if (entries && c->counts[offset >> q->cluster_bits]) {
        say(c, false, "ERROR: %s at 0x%" PRIx64 " is something else too", what, offset);
        return 0;
    }
    add(c, offset, bytes, 1);
    c->l1_tables++;
    g_autofree uint64_t *l1 = q2_table_read(q, offset, entries, &r);
    for (uint32_t i = 0; r == 0 && i < entries; i++) {
        if (l1[i] & Q2_OFFSET_MASK)
            r = count_table(c, l1[i] & Q2_OFFSET_MASK, active);
    }
    return r;
}

static int count_snapshots(struct check *c)
{
    struct qcow2 *q = c->q;
    int r = 0;

    count(c, "the snapshot table", q->snapshots_offset, q->snapshots_bytes);
    for (uint32_t i = 0; r == 0 && i < q->info.snapshots; i++)
        r = count_l1(c, "a snapshot's L1 table", q->snapshot_places[i].l1_offset,
                     q->snapshot_places[i].l1_entries, false);
    return r;
}

static void count_bitmap_part(void *opaque, uint64_t offset, uint64_t len)
{
    count(opaque, "a bitmap", offset, len);
}

/* ---- the refcounts ---- */

void q2_count_structures(struct check *c, int by)
{
    struct qcow2 *q = c->q;

    if (in_file(c, q->reftable_offset, (uint64_t)q->reftable_entries * 8))
        add(c, q->reftable_offset, (uint64_t)q->reftable_entries * 8, by);
    for (uint32_t i = 0; i < q->reftable_entries; i++) {
        uint64_t place = q->reftable[i] & ~511ull;
        if (q2_offset_ok(q, place))
            add(c, place, q->cluster_bytes, by);
    }
}

static void check_structures(struct check *c)
{
    struct qcow2 *q = c->q;
    uint64_t before = c->out->corruptions;

    if (!in_file(c, q->reftable_offset, (uint64_t)q->reftable_entries * 8))
        say(c, false, "ERROR: the refcount table lies outside the file");
    q2_count_structures(c, 1);
    for (uint32_t i = 0; i < q->reftable_entries; i++) {
        uint64_t place = q->reftable[i] & ~511ull;
        if (place && !q2_offset_ok(q, place))
            say(c, false, "ERROR: the refcount block %u at 0x%" PRIx64 " lies outside the file", i,
                place);
        else if (place && c->counts[place >> q->cluster_bits] != 1)
            say(c, false, "ERROR: the refcount block %u at 0x%" PRIx64 " is something else too", i,
                place);
    }
    c->bad_structures = c->out->corruptions - before;
    c->bad_structure = c->bad_structures > 0;
}

static int compare(struct check *c)
{
    struct qcow2 *q = c->q;

    for (uint64_t i = 0; i < c->clusters; i++) {
        uint64_t n;
        int r = q2_stored_count(q, i, &n);
        if (r < 0)
            return r;
        if (n || c->counts[i])
            c->out->end_bytes = (i + 1) << q->cluster_bits;
        if (n == c->counts[i])
            continue;
        c->low += n < c->counts[i];
        say(c, n > c->counts[i], "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%u",
            n > c->counts[i] ? "Leaked" : "ERROR", i, n, c->counts[i]);
    }
    return 0;
}

/* A flag is judged where the count is right; a wrong count was said already. */
static int check_flag(struct check *c, const char *what, uint64_t entry)
{
    uint64_t offset = entry & Q2_OFFSET_MASK, cluster = offset >> c->q->cluster_bits, n;

    if (!q2_offset_ok(c->q, offset))
        return 0;
    int r = q2_stored_count(c->q, cluster, &n);
    bool copied = (entry & Q2_COPIED) != 0;
    bool dangerous = copied && c->counts[cluster] > 1;
    if (r == 0 && (dangerous || (n == c->counts[cluster] && copied != (n == 1)))) {
        c->flags++;
        say(c, false, "ERROR OFLAG_COPIED %s: entry=%" PRIx64 " refcount=%" PRIu64, what, entry, n);
    }
    return r;
}

static int check_flags(struct check *c)
{
    struct qcow2 *q = c->q;
    g_autofree uint8_t *l2 = g_malloc(q->cluster_bytes);
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < q->l1_entries; i++) {
        uint64_t place = q->l1[i] & Q2_OFFSET_MASK;
        if (!place || !q2_offset_ok(q, place))
            continue;
        r = check_flag(c, "L2 cluster", q->l1[i]);
        if (r == 0)
            r = q2_io(q->file, BLK_READ, place, l2, q->cluster_bytes);
        for (uint64_t k = 0; r == 0 && q->data == q->file && k < BIT64(q->l2_bits); k++) {
            uint64_t entry = be64_get(l2 + k * q->l2_entry_bytes);
            if (!(entry & Q2_COMPRESSED) && (entry & Q2_OFFSET_MASK))
                r = check_flag(c, "data cluster", entry);
        }
    }
    return r;
}

bool q2_check_locked(struct check *c, GError **err)
{
    struct qcow2 *q = c->q;

    count(c, "the header", 0, q->cluster_bytes);
    int r = count_l1(c, "the L1 table", q->l1_offset, q->l1_entries, true);
    if (r == 0)
        r = count_snapshots(c);
    if (r == 0)
        r = q2_bitmaps_visit(q, count_bitmap_part, c);
    check_structures(c);
    if (r == 0)
        r = compare(c);
    if (r == 0)
        r = check_flags(c);
    return r == 0 || error_errno(err, -r, "Could not read the tables of '%s'", q2_name(q));
}

bool qcow2_check(struct blk_node *n, unsigned fix,
                 void (*report)(void *opaque, bool is_leak, const char *text), void *opaque,
                 struct qcow2_check *out, GError **err)
{
    struct qcow2 *q = n->drv == &blk_driver_qcow2 ? n->priv : NULL;

    *out = (struct qcow2_check){0};
    if (!q)
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "'%s' is not in qcow2 format.",
                         blk_filename(n));
    if (fix && n->read_only)
        return error_set(err, HANOK_ERROR_INVALID, "'%s' was opened read-only.", blk_filename(n));
    struct check c = {.q = q, .report = report, .opaque = opaque, .out = out};
    blk_drain(n);
    pthread_mutex_lock(&q->serial);
    int r = n->read_only ? 0 : q2_flush(q, false);
    if (r == 0 && !n->read_only)
        r = q2_refcounts_write(q);
    c.clusters = ALIGN_UP(q->file_end, q->cluster_bytes) >> q->cluster_bits;
    if (r == 0 && c.clusters > COUNT_CLUSTERS_MAX)
        r = -EFBIG;
    g_autofree uint32_t *counts = r == 0 ? g_try_new0(uint32_t, c.clusters) : NULL;
    c.counts = counts;
    if (r == 0 && !counts)
        r = -ENOMEM;
    out->total_clusters = (q->virtual_bytes + q->cluster_bytes - 1) >> q->cluster_bits;
    bool ok = r == 0 ? q2_check_locked(&c, err) && (!fix || q2_repair(&c, fix, err))
                     : error_errno(err, -r, "Could not check '%s'", q2_name(q));
    pthread_mutex_unlock(&q->serial);
    return ok;
}
