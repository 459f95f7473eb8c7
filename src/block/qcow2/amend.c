/* amend.c - an image's own properties: names, version, width of its counts; and emptying it. */
#include "check.h"

#include "base/error.h"

#include <errno.h>

static struct qcow2 *writable(struct blk_node *n, GError **err)
{
    struct qcow2 *q = n->drv == &blk_driver_qcow2 ? n->priv : NULL;

    if (!q || n->read_only) {
        error_set(err, HANOK_ERROR_INVALID, "'%s' is no qcow2 image opened for writing.",
                  blk_filename(n));
        return NULL;
    }
    blk_drain(n);
    return q;
}

static bool said(const struct qcow2 *q, int r, GError **err)
{
    if (r == -ENAMETOOLONG)
        return error_set(err, HANOK_ERROR_INVALID, "The header of '%s' has no room for the name.",
                         q2_name(q));
    return r == 0 || error_errno(err, -r, "Could not change '%s'", q2_name(q));
}

/* The header as `now` describes it; q->info keeps what is on the disk when that fails. */
static int put_info(struct qcow2 *q, const struct qcow2_info *now)
{
    struct qcow2_info before = q->info;

    q->info = *now;
    int r = q2_may_write(q);
    if (r == 0)
        r = q2_flush(q, false);
    if (r == 0)
        r = q2_header_write(q);
    if (r < 0)
        q->info = before;
    return r;
}

/* ---- the backing image's name ---- */

static int put_backing(struct qcow2 *q, const char *file, const char *format)
{
    struct qcow2_info now = q->info;

    now.backing_file = file && *file ? g_strdup(file) : NULL;
    now.backing_format = now.backing_file && format && *format ? g_strdup(format) : NULL;
    char *old_file = q->info.backing_file, *old_format = q->info.backing_format;
    int r = put_info(q, &now);
    g_free(r < 0 ? now.backing_file : old_file);
    g_free(r < 0 ? now.backing_format : old_format);
    return r;
}

bool qcow2_set_backing(struct blk_node *n, const char *file, const char *format, GError **err)
{
    struct qcow2 *q = writable(n, err);

    if (!q)
        return false;
    if (file && *file && q->info.data_file_raw)
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' keeps its data in a raw external file, and such an image has no "
                         "backing file.",
                         q2_name(q));
    pthread_mutex_lock(&q->serial);
    int r = put_backing(q, file, format);
    pthread_mutex_unlock(&q->serial);
    return said(q, r, err);
}

/* ---- emptying ---- */

static int make_empty(struct qcow2 *q)
{
    uint32_t entries = q->l1_entries;
    g_autofree uint64_t *old = g_try_new0(uint64_t, MAX_OF(entries, 1u));
    g_autofree uint64_t *none = g_try_new0(uint64_t, MAX_OF(entries, 1u));
    int r = old && none ? q2_may_write(q) : -ENOMEM;

    if (r == 0)
        r = q2_flush(q, false);
    if (r == 0)
        r = q2_dirty_begin(q);
    if (r < 0)
        return r;
    memcpy(old, q->l1, (size_t)entries * 8);
    r = q2_l1_replace(q, none, entries, q->virtual_bytes);
    if (r == 0)
        r = q2_tree(q, old, entries, Q2_TREE_DROP);
    q->unpacked_entry = 0;
    if (r == 0)
        r = q2_flush(q, false);
    return q2_dirty_end(q, r);
}

bool qcow2_make_empty(struct blk_node *n, GError **err)
{
    struct qcow2 *q = writable(n, err);

    if (!q)
        return false;
    pthread_mutex_lock(&q->serial);
    q->freeing = Q2_FREE_ALWAYS;
    int r = make_empty(q);
    q->freeing = Q2_FREE_REQUEST;
    pthread_mutex_unlock(&q->serial);
    return said(q, r, err);
}

/* ---- versions ---- */

static int has_zero_entries(struct qcow2 *q, const uint64_t *l1, uint32_t entries, bool *found)
{
    for (uint32_t i = 0; i < entries && !*found; i++) {
        uint64_t place = l1[i] & Q2_OFFSET_MASK;
        struct table *t;
        if (!place)
            continue;
        int r = q2_offset_ok(q, place) ? q2_l2_load(q, place, false, &t) : -EIO;
        if (r < 0)
            return r;
        for (uint64_t k = 0; k < BIT64(q->l2_bits); k++) {
            uint64_t entry = be64_get(t->data + k * 8);
            *found |= !(entry & Q2_COMPRESSED) && (entry & Q2_ZERO);
        }
    }
    return 0;
}

/* Version 2 cannot say in a table that a cluster reads as zeroes. */
static int expand_zeroes(struct qcow2 *q, blk_progress_fn progress, void *opaque)
{
    uint64_t end = q->virtual_bytes;
    int r = q2_may_write(q);

    for (uint64_t at = 0; r == 0 && at < end;) {
        struct extent e;
        r = q2_map(q, at, end - at, &e);
        if (r < 0)
            return r;
        if (e.kind == Q2_ZEROES && q->backing)
            r = q2_write(q, at, NULL, 0, 0, e.len_bytes);
        else if (e.kind == Q2_ZEROES)
            r = q2_l2_set(q, at, e.len_bytes, Q2_NO_HOST, Q2_SET_NONE);
        at += e.len_bytes;
        if (progress && !progress(opaque, at, end))
            return -ECANCELED;
        r = q2_end_of_change(q, r);
    }
    return r < 0 ? r : q2_flush(q, false);
}

static bool may_be_v2(struct qcow2 *q, GError **err)
{
    const char *what = NULL;

    if (q->info.refcount_bits != 16)
        what = "refcounts that are not 16 bits wide";
    else if (q->info.incompatible & ~(Q2_INCOMPAT_DIRTY | Q2_INCOMPAT_CORRUPT))
        what = q->info.extended_l2 ? "extended L2 entries"
               : q->info.zstd      ? "zstd compression"
                                   : "an external data file";
    else if (q->info.has_bitmaps)
        what = "dirty bitmaps";
    return !what || error_set(err, HANOK_ERROR_INVALID,
                              "'%s' has %s, which compat=0.10 cannot have.", q2_name(q), what);
}

static bool downgrade(struct qcow2 *q, blk_progress_fn progress, void *opaque, GError **err)
{
    struct qcow2_info now = q->info;
    bool zeroes = false;
    int r = 0;

    for (uint32_t i = 0; r == 0 && !zeroes && i < q->info.snapshots; i++) {
        g_autofree uint64_t *l1 = NULL;
        r = q2_snapshot_l1(q, i, &l1);
        if (r == 0)
            r = has_zero_entries(q, l1, q->snapshot_places[i].l1_entries, &zeroes);
    }
    if (zeroes)
        return error_set(err, HANOK_ERROR_INVALID,
                         "Snapshots of '%s' have zero clusters, which compat=0.10 cannot have; "
                         "delete them first.",
                         q2_name(q));
    q->keep_refcounts_lazy = false;
    if (r == 0)
        r = expand_zeroes(q, progress, opaque);
    if (r == 0)
        r = q2_dirty_end(q, 0);
    now.version = 2;
    now.incompatible = now.compatible = now.autoclear = 0;
    now.lazy_refcounts = now.dirty = false;
    if (r == 0)
        r = put_info(q, &now);
    return said(q, r, err);
}

static bool upgrade(struct qcow2 *q, GError **err)
{
    struct qcow2_info now = q->info;

    now.version = 3;
    return said(q, put_info(q, &now), err);
}

/* ---- the width of the counts ---- */

static void unheard(void *opaque, bool is_leak, const char *text)
{
}

static bool set_width(struct qcow2 *q, uint32_t bits, GError **err)
{
    struct qcow2_check found = {0};
    struct check c = {.q = q, .report = unheard, .out = &found};
    int r = q2_flush(q, false);

    if (r == 0)
        r = q2_refcounts_write(q);
    c.clusters = ALIGN_UP(q->file_end, q->cluster_bytes) >> q->cluster_bits;
    g_autofree uint32_t *counts = g_try_new0(uint32_t, c.clusters);
    c.counts = counts;
    if (r == 0 && !counts)
        r = -ENOMEM;
    if (r < 0)
        return said(q, r, err);
    if (!q2_check_locked(&c, err))
        return false;
    if (found.corruptions)
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "'%s' is damaged; repair it with 'hanok-img check -r all' first.",
                         q2_name(q));
    q2_count_structures(&c, -1);
    r = q2_refcounts_rebuild(q, counts, c.clusters, (uint32_t)__builtin_ctz(bits));
    if (r == -EOVERFLOW)
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' has clusters that are used more often than %u bits can count.",
                         q2_name(q), bits);
    return said(q, r, err);
}

/* ---- all together ---- */

static bool check_wishes(struct qcow2 *q, const struct qcow2_amend *a, GError **err)
{
    uint32_t version = a->version ? a->version : q->info.version;
    uint32_t bits = a->refcount_bits;

    if (version != 2 && version != 3)
        return error_set(err, HANOK_ERROR_INVALID, "qcow2 has the versions 2 and 3, not %u.",
                         version);
    if (bits > 64 || (bits & (bits - 1)))
        return error_set(err, HANOK_ERROR_INVALID,
                         "refcount_bits must be a power of two between 1 and 64, not %u.", bits);
    if (version == 2 && (a->lazy_refcounts == 1 || (bits && bits != 16)))
        return error_set(err, HANOK_ERROR_INVALID,
                         "lazy_refcounts=on and refcount_bits other than 16 need compat=1.1.");
    bool external = (q->info.incompatible & Q2_INCOMPAT_DATA_FILE) != 0;
    if ((a->data_file || a->data_file_raw == 1) && !external)
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' has no external data file; one can be chosen when an image is made.",
                         q2_name(q));
    if (a->data_file_raw == 1 && !q->info.data_file_raw)
        return error_set(err, HANOK_ERROR_INVALID,
                         "data_file_raw=on can be chosen when an image is made only.");
    if (a->backing_file && *a->backing_file && q->info.data_file_raw)
        return error_set(err, HANOK_ERROR_INVALID,
                         "An image with a raw external data file has no backing file.");
    return true;
}

static int put_names(struct qcow2 *q, const struct qcow2_amend *a)
{
    struct qcow2_info now = q->info;
    int r = 0;

    if (a->backing_file || a->backing_format)
        r = put_backing(q, a->backing_file ? a->backing_file : q->info.backing_file,
                        a->backing_format ? a->backing_format : q->info.backing_format);
    if (r < 0)
        return r;
    now = q->info;
    if (a->lazy_refcounts >= 0) {
        now.lazy_refcounts = a->lazy_refcounts == 1;
        now.compatible = (now.compatible & ~Q2_COMPAT_LAZY) | (uint64_t)now.lazy_refcounts;
    }
    if (a->data_file_raw == 0) {
        now.data_file_raw = false;
        now.autoclear &= ~Q2_AUTOCLEAR_RAW_DATA;
    }
    char *old = q->info.data_file;
    if (a->data_file)
        now.data_file = *a->data_file ? g_strdup(a->data_file) : NULL;
    if (a->lazy_refcounts >= 0 || a->data_file_raw == 0 || a->data_file)
        r = put_info(q, &now);
    if (a->data_file)
        g_free(r < 0 ? now.data_file : old);
    return r;
}

bool qcow2_amend(struct blk_node *n, const struct qcow2_amend *a, blk_progress_fn progress,
                 void *opaque, GError **err)
{
    struct qcow2 *q = writable(n, err);

    if (!q || !check_wishes(q, a, err))
        return false;
    pthread_mutex_lock(&q->serial);
    bool ok = (a->version != 3 || q->info.version == 3 || upgrade(q, err)) &&
              said(q, put_names(q, a), err) &&
              (!a->refcount_bits || a->refcount_bits == q->info.refcount_bits ||
               set_width(q, a->refcount_bits, err));
    pthread_mutex_unlock(&q->serial);
    if (ok && a->size_bytes != UINT64_MAX)
        ok = blk_resize(n, a->size_bytes, err);
    if (!ok || a->version != 2 || q->info.version == 2)
        return ok;
    pthread_mutex_lock(&q->serial);
    ok = may_be_v2(q, err) && downgrade(q, progress, opaque, err);
    pthread_mutex_unlock(&q->serial);
    return ok;
}
