/* snapshot.c - internal snapshots (spec "Snapshots"): an L1 table of its own for each, and a table
 * of them.
 *
 * Making, applying and deleting one changes the counts of many clusters before, or after, the one
 * header write that makes it so.  Killed in between, no count is below what the tables need: the
 * image has leaked clusters, whose COPIED flags may say less than they could; version 3 has its
 * dirty bit set meanwhile, and the next to open it for writing makes all of that good. */
#include "qcow2.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

enum { RECORD = 40, EXTRA_MAX = 1024, EXTRA_OURS = 24 };
#define TABLE_BYTES_MAX (64 * MiB)

/* ---- the table ---- */

static void free_one(struct qcow2_snapshot *s, struct q2_snapshot_place *p)
{
    g_free(s->id);
    g_free(s->name);
    g_free(p->extra);
}

void q2_snapshots_free(struct qcow2 *q)
{
    for (uint32_t i = 0; q->snapshots && i < q->info.snapshots; i++)
        free_one(&q->snapshots[i], &q->snapshot_places[i]);
    g_free(g_steal_pointer(&q->snapshots));
    g_free(g_steal_pointer(&q->snapshot_places));
}

static void decode(const struct qcow2 *q, const uint8_t *h, const uint8_t *rest,
                   struct qcow2_snapshot *s, struct q2_snapshot_place *p)
{
    uint32_t id = be16_get(h + 12), name = be16_get(h + 14);

    p->l1_offset = be64_get(h);
    p->l1_entries = be32_get(h + 8);
    p->extra_bytes = be32_get(h + 36);
    p->extra = g_memdup2(rest, p->extra_bytes);
    s->id = g_strndup((const char *)rest + p->extra_bytes, id);
    s->name = g_strndup((const char *)rest + p->extra_bytes + id, name);
    s->date_seconds = be32_get(h + 16);
    s->date_ns = be32_get(h + 20);
    s->vm_clock_ns = be64_get(h + 24);
    s->vm_state_bytes = p->extra_bytes >= 8 ? be64_get(rest) : be32_get(h + 32);
    s->disk_bytes = p->extra_bytes >= 16 ? be64_get(rest + 8) : q->virtual_bytes;
    s->icount = p->extra_bytes >= 24 ? be64_get(rest + 16) : UINT64_MAX;
}

static int read_record(struct qcow2 *q, uint64_t *at, uint32_t index)
{
    uint8_t h[RECORD];
    uint64_t end = ALIGN_UP(q->file_end, q->cluster_bytes);

    if (*at > end || end - *at < RECORD)
        return -EINVAL;
    int r = q2_io(q->file, BLK_READ, *at, h, sizeof(h));
    if (r < 0)
        return r;
    uint32_t extra = be32_get(h + 36), rest = extra + be16_get(h + 12) + be16_get(h + 14);
    if (extra > EXTRA_MAX || end - *at - RECORD < rest)
        return -EINVAL;
    g_autofree uint8_t *text = g_malloc(rest + 1);
    r = q2_io(q->file, BLK_READ, *at + RECORD, text, rest);
    if (r < 0)
        return r;
    decode(q, h, text, &q->snapshots[index], &q->snapshot_places[index]);
    *at = ALIGN_UP(*at + RECORD + rest, 8);
    return 0;
}

bool q2_snapshots_read(struct qcow2 *q, GError **err)
{
    uint32_t count = q->info.snapshots;
    uint64_t at = q->snapshots_offset;
    int r = 0;

    if (count == 0)
        return true;
    if (count > Q2_SNAPSHOTS_MAX || !q2_offset_ok(q, at))
        r = -EINVAL;
    for (q->info.snapshots = 0; r == 0 && q->info.snapshots < count; q->info.snapshots++) {
        if (q->info.snapshots % 64 == 0) { /* room as they prove to be there */
            q->snapshots = g_renew(struct qcow2_snapshot, q->snapshots, q->info.snapshots + 64);
            q->snapshot_places =
                g_renew(struct q2_snapshot_place, q->snapshot_places, q->info.snapshots + 64);
        }
        r = read_record(q, &at, q->info.snapshots);
        if (r < 0)
            break;
        if (at - q->snapshots_offset > TABLE_BYTES_MAX)
            r = -EINVAL;
    }
    q->snapshots_bytes = at - q->snapshots_offset;
    if (r == -EINVAL)
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "'%s' is no usable qcow2 image: its snapshot table lies outside the file "
                         "or makes no sense.",
                         q2_name(q));
    return r == 0 || error_errno(err, -r, "Could not read the snapshots of '%s'", q2_name(q));
}

static void append_record(GByteArray *out, const struct qcow2_snapshot *s,
                          const struct q2_snapshot_place *p)
{
    uint8_t h[RECORD] = {0}, pad[8] = {0};
    uint32_t id = (uint32_t)strlen(s->id), name = (uint32_t)strlen(s->name);

    be64_put(h, p->l1_offset);
    be32_put(h + 8, p->l1_entries);
    be16_put(h + 12, (uint16_t)id);
    be16_put(h + 14, (uint16_t)name);
    be32_put(h + 16, (uint32_t)s->date_seconds);
    be32_put(h + 20, s->date_ns);
    be64_put(h + 24, s->vm_clock_ns);
    be32_put(h + 32, s->vm_state_bytes > UINT32_MAX ? 0 : (uint32_t)s->vm_state_bytes);
    be32_put(h + 36, p->extra_bytes);
    g_byte_array_append(out, h, sizeof(h));
    g_byte_array_append(out, p->extra, p->extra_bytes);
    g_byte_array_append(out, (const uint8_t *)s->id, id);
    g_byte_array_append(out, (const uint8_t *)s->name, name);
    g_byte_array_append(out, pad, (8 - out->len % 8) % 8);
}

/* A new table on the disk, then the header that points there; the old one is given up. */
static int switch_table(struct qcow2 *q, const struct qcow2_snapshot *s,
                        const struct q2_snapshot_place *p, uint32_t count)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    uint8_t fields[12];
    uint64_t host = 0;
    int r = 0;

    for (uint32_t i = 0; i < count; i++)
        append_record(bytes, &s[i], &p[i]);
    uint64_t clusters = (bytes->len + q->cluster_bytes - 1) >> q->cluster_bits;
    if (clusters) {
        r = q2_alloc_contiguous(q, clusters, &host);
        if (r == 0)
            r = q2_io(q->file, BLK_WRITE, host, bytes->data, bytes->len);
        if (r == 0)
            r = q2_refcounts_write(q);
    }
    be32_put(fields, count);
    be64_put(fields + 4, host);
    if (r == 0)
        r = q2_header_put(q, Q2_HEADER_SNAPSHOTS, fields, sizeof(fields));
    if (r < 0)
        return r;
    uint64_t old = q->snapshots_offset;
    uint64_t old_clusters = (q->snapshots_bytes + q->cluster_bytes - 1) >> q->cluster_bits;
    q->snapshots_offset = host;
    q->snapshots_bytes = bytes->len;
    return old_clusters ? q2_free_now(q, old, old_clusters) : 0;
}

int q2_snapshot_l1(struct qcow2 *q, uint32_t index, uint64_t **l1)
{
    const struct q2_snapshot_place *p = &q->snapshot_places[index];
    int r = 0;

    *l1 = NULL;
    if ((uint64_t)p->l1_entries * 8 > Q2_L1_BYTES_MAX ||
        (p->l1_entries && !q2_offset_ok(q, p->l1_offset)))
        return -EINVAL;
    *l1 = q2_table_read(q, p->l1_offset, p->l1_entries, &r);
    return r;
}

static int find(const struct qcow2 *q, const char *which)
{
    for (unsigned by_name = 0; by_name < 2; by_name++) {
        for (uint32_t i = 0; i < q->info.snapshots; i++) {
            if (!strcmp(by_name ? q->snapshots[i].name : q->snapshots[i].id, which))
                return (int)i;
        }
    }
    return -1;
}

/* ---- what is asked for (main thread) ---- */

static struct qcow2 *usable(struct blk_node *n, bool write, GError **err)
{
    struct qcow2 *q = n->drv == &blk_driver_qcow2 ? n->priv : NULL;

    if (!q)
        error_set(err, HANOK_ERROR_UNSUPPORTED,
                  "'%s' is not in qcow2 format, and only that has internal snapshots.",
                  blk_filename(n));
    else if (write && n->read_only)
        error_set(err, HANOK_ERROR_INVALID, "'%s' was opened read-only.", blk_filename(n));
    else if (q->data != q->file)
        error_set(err, HANOK_ERROR_UNSUPPORTED,
                  "'%s' keeps its data in an external file, which has no internal snapshots.",
                  blk_filename(n));
    else
        return q;
    return NULL;
}

static int usable_snapshot(const struct qcow2 *q, const char *which, GError **err)
{
    int i = find(q, which);

    if (i < 0)
        error_set(err, HANOK_ERROR_NOT_FOUND, "'%s' has no snapshot '%s'.", q2_name(q), which);
    return i;
}

static bool said(const struct qcow2 *q, int r, const char *what, GError **err)
{
    if (r == -EOVERFLOW)
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' counts with %u bits, which is too little for one more snapshot; "
                         "make them wider with 'hanok-img amend -o refcount_bits=16'.",
                         q2_name(q), q->info.refcount_bits);
    return r == 0 || error_errno(err, -r, "Could not %s of '%s'", what, q2_name(q));
}

const struct qcow2_snapshot *qcow2_snapshots(const struct blk_node *n, uint32_t *count)
{
    const struct qcow2 *q = n->drv == &blk_driver_qcow2 ? n->priv : NULL;

    *count = q ? q->info.snapshots : 0;
    return *count ? q->snapshots : NULL;
}

static void new_record(struct qcow2 *q, const char *name, uint64_t l1_offset,
                       struct qcow2_snapshot *s, struct q2_snapshot_place *p)
{
    struct timespec now;
    unsigned long id = 0;

    for (uint32_t i = 0; i < q->info.snapshots; i++) {
        unsigned long n = strtoul(q->snapshots[i].id, NULL, 10);
        id = n < ULONG_MAX ? MAX_OF(id, n) : id;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    *s = (struct qcow2_snapshot){.id = g_strdup_printf("%lu", id + 1),
                                 .name = g_strdup(name),
                                 .date_seconds = (uint64_t)now.tv_sec,
                                 .date_ns = (uint32_t)now.tv_nsec,
                                 .icount = UINT64_MAX,
                                 .disk_bytes = q->virtual_bytes};
    *p = (struct q2_snapshot_place){.l1_offset = l1_offset,
                                    .l1_entries = q->l1_entries,
                                    .extra_bytes = EXTRA_OURS,
                                    .extra = g_malloc0(EXTRA_OURS)};
    be64_put(p->extra + 8, s->disk_bytes);
    be64_put(p->extra + 16, s->icount);
}

static int copy_l1(struct qcow2 *q, uint64_t *host)
{
    uint64_t bytes = (uint64_t)q->l1_entries * 8;
    uint64_t clusters = (bytes + q->cluster_bytes - 1) >> q->cluster_bits;

    *host = 0;
    if (clusters == 0)
        return 0;
    g_autofree uint64_t *be = g_try_new(uint64_t, q->l1_entries);
    if (!be)
        return -ENOMEM;
    int r = q2_alloc_contiguous(q, clusters, host);
    for (uint32_t i = 0; i < q->l1_entries; i++)
        be64_put(&be[i], q->l1[i] & ~Q2_COPIED);
    return r < 0 ? r : q2_io(q->file, BLK_WRITE, *host, be, bytes);
}

static int make_snapshot(struct qcow2 *q, const char *name)
{
    uint32_t count = q->info.snapshots;
    uint64_t host = 0;
    int r = q2_tree(q, q->l1, q->l1_entries, Q2_TREE_TEST_ADD);

    if (r == 0)
        r = q2_dirty_begin(q);
    if (r < 0)
        return r;
    r = copy_l1(q, &host);
    if (r == 0)
        r = q2_tree(q, q->l1, q->l1_entries, Q2_TREE_ADD);
    if (r == 0)
        r = q2_refcounts_write(q);
    if (r == 0)
        r = q2_barrier(q);
    if (r == 0)
        r = q2_tree(q, q->l1, q->l1_entries, Q2_TREE_FLAGS);
    if (r == 0)
        r = q2_flush(q, false);
    if (r < 0)
        return q2_dirty_end(q, r);
    q->snapshots = g_renew(struct qcow2_snapshot, q->snapshots, count + 1);
    q->snapshot_places = g_renew(struct q2_snapshot_place, q->snapshot_places, count + 1);
    new_record(q, name, host, &q->snapshots[count], &q->snapshot_places[count]);
    r = switch_table(q, q->snapshots, q->snapshot_places, count + 1);
    if (r == 0)
        q->info.snapshots++;
    else
        free_one(&q->snapshots[count], &q->snapshot_places[count]);
    return q2_dirty_end(q, r);
}

bool qcow2_snapshot_create(struct blk_node *n, const char *name, GError **err)
{
    struct qcow2 *q = usable(n, true, err);

    if (!q)
        return false;
    if (strlen(name) > UINT16_MAX || !*name)
        return error_set(err, HANOK_ERROR_INVALID, "A snapshot's name has 1 to 65535 bytes.");
    if (q->info.snapshots >= Q2_SNAPSHOTS_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "'%s' has %u snapshots, and no room for more.",
                         q2_name(q), q->info.snapshots);
    blk_drain(n);
    pthread_mutex_lock(&q->serial);
    int r = q2_may_write(q);
    if (r == 0)
        r = q2_flush(q, false);
    if (r == 0)
        r = make_snapshot(q, name);
    pthread_mutex_unlock(&q->serial);
    return said(q, r, "make a snapshot", err);
}

static int apply_snapshot(struct qcow2 *q, uint32_t index)
{
    const struct qcow2_snapshot *s = &q->snapshots[index];
    uint32_t have = q->snapshot_places[index].l1_entries;
    uint32_t entries = MAX_OF(have, q2_l1_need(q, s->disk_bytes));
    uint32_t old_entries = q->l1_entries;
    g_autofree uint64_t *then = NULL, *l1 = NULL, *old = NULL;

    if (s->disk_bytes > INT64_MAX || (uint64_t)entries * 8 > Q2_L1_BYTES_MAX)
        return -EINVAL;
    int r = q2_snapshot_l1(q, index, &then);
    l1 = g_try_new0(uint64_t, MAX_OF(entries, 1u));
    old = g_try_new0(uint64_t, MAX_OF(old_entries, 1u));
    if (r == 0 && (!l1 || !old))
        r = -ENOMEM;
    if (r == 0)
        r = q2_tree(q, then, have, Q2_TREE_TEST_ADD);
    if (r == 0)
        r = q2_dirty_begin(q);
    if (r < 0)
        return r;
    memcpy(l1, then, (size_t)have * 8);
    memcpy(old, q->l1, (size_t)old_entries * 8);
    r = q2_tree(q, l1, have, Q2_TREE_ADD);
    if (r == 0)
        r = q2_tree(q, l1, have, Q2_TREE_FLAGS);
    if (r == 0)
        r = q2_flush(q, false);
    if (r == 0)
        r = q2_refcounts_write(q);
    if (r == 0)
        r = q2_l1_replace(q, l1, entries, s->disk_bytes);
    if (r == 0)
        r = q2_tree(q, old, old_entries, Q2_TREE_DROP);
    if (r == 0)
        r = q2_flush(q, false);
    return q2_dirty_end(q, r);
}

static int drop_snapshot(struct qcow2 *q, uint32_t index)
{
    struct qcow2_snapshot gone = q->snapshots[index];
    struct q2_snapshot_place place = q->snapshot_places[index];
    uint32_t behind = q->info.snapshots - index - 1;
    g_autofree uint64_t *l1 = NULL;
    int r = q2_snapshot_l1(q, index, &l1);

    if (r == 0)
        r = q2_dirty_begin(q);
    if (r < 0)
        return r;
    memmove(&q->snapshots[index], &q->snapshots[index + 1], behind * sizeof(gone));
    memmove(&q->snapshot_places[index], &q->snapshot_places[index + 1], behind * sizeof(place));
    r = switch_table(q, q->snapshots, q->snapshot_places, q->info.snapshots - 1);
    if (r < 0) {
        memmove(&q->snapshots[index + 1], &q->snapshots[index], behind * sizeof(gone));
        memmove(&q->snapshot_places[index + 1], &q->snapshot_places[index], behind * sizeof(place));
        q->snapshots[index] = gone;
        q->snapshot_places[index] = place;
        return q2_dirty_end(q, r);
    }
    q->info.snapshots--;
    r = q2_tree(q, l1, place.l1_entries, Q2_TREE_DROP);
    if (r == 0 && place.l1_entries)
        r = q2_free_now(q, place.l1_offset,
                        ((uint64_t)place.l1_entries * 8 + q->cluster_bytes - 1) >> q->cluster_bits);
    if (r == 0)
        r = q2_refcounts_write(q);
    if (r == 0)
        r = q2_tree(q, q->l1, q->l1_entries, Q2_TREE_FLAGS);
    if (r == 0)
        r = q2_flush(q, false);
    free_one(&gone, &place);
    return q2_dirty_end(q, r);
}

static bool with_snapshot(struct blk_node *n, const char *which,
                          int (*fn)(struct qcow2 *q, uint32_t index), const char *what,
                          GError **err)
{
    struct qcow2 *q = usable(n, true, err);
    int i = q ? usable_snapshot(q, which, err) : -1;

    if (i < 0)
        return false;
    blk_drain(n);
    pthread_mutex_lock(&q->serial);
    int r = q2_may_write(q);
    if (r == 0)
        r = q2_flush(q, false);
    q->freeing = Q2_FREE_SNAPSHOT;
    if (r == 0)
        r = fn(q, (uint32_t)i);
    q->freeing = Q2_FREE_REQUEST;
    q->unpacked_entry = 0;
    pthread_mutex_unlock(&q->serial);
    return said(q, r, what, err);
}

bool qcow2_snapshot_apply(struct blk_node *n, const char *which, GError **err)
{
    const struct qcow2_info *info = qcow2_info(n);

    if (info && info->bitmap_count)
        return error_set(
            err, HANOK_ERROR_UNSUPPORTED,
            "'%s' has dirty bitmaps, which applying a snapshot would make wrong; remove "
            "them first ('qemu-img bitmap --remove').",
            blk_filename(n));
    return with_snapshot(n, which, apply_snapshot, "apply a snapshot", err);
}

bool qcow2_snapshot_delete(struct blk_node *n, const char *which, GError **err)
{
    return with_snapshot(n, which, drop_snapshot, "delete a snapshot", err);
}

bool qcow2_snapshot_show(struct blk_node *n, const char *which, GError **err)
{
    struct qcow2 *q = usable(n, false, err);
    int i = q ? usable_snapshot(q, which, err) : -1;
    uint64_t *l1;

    if (i < 0)
        return false;
    if (!n->read_only)
        return error_set(err, HANOK_ERROR_INVALID,
                         "A snapshot can be looked at when '%s' is opened read-only.", q2_name(q));
    const struct q2_snapshot_place *p = &q->snapshot_places[i];
    uint64_t size = ALIGN_UP(q->snapshots[i].disk_bytes, BLK_SECTOR_BYTES);
    int r = q2_snapshot_l1(q, (uint32_t)i, &l1);
    if (r == 0 && (size > INT64_MAX || q2_l1_need(q, size) > p->l1_entries))
        r = -EINVAL;
    if (r < 0) {
        g_free(l1);
        return said(q, r, "read a snapshot", err);
    }
    blk_drain(n);
    pthread_mutex_lock(&q->serial);
    pthread_mutex_lock(&q->tables);
    g_free(q->l1);
    q->l1 = l1;
    q->l1_entries = p->l1_entries;
    q->l1_offset = p->l1_offset;
    q->virtual_bytes = size;
    q->unpacked_entry = 0;
    pthread_mutex_unlock(&q->tables);
    pthread_mutex_unlock(&q->serial);
    __atomic_store_n(&n->size_bytes, size, __ATOMIC_RELAXED);
    return true;
}
