/* header_write.c - the header as it is written: by create, and whenever names or features change.
 *
 * Its fields lie in the first sector and change in one write.  A new backing name is put beside the
 * old one and on the disk before the first sector names it. */
#include "qcow2.h"

#include <errno.h>

static const struct {
    uint8_t type, bit; /* type 0: incompatible, 1: compatible, 2: autoclear */
    const char *name;
} features[] = {
    {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
    {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},          {2, 1, "raw external data"},
};
enum { FEATURE_BYTES = 48, FEATURE_NAME = 46, EXTENSION = 8 };

struct out {
    uint8_t *h;
    uint64_t at, end;
    bool fits;
};

static uint8_t *put_extension(struct out *o, uint32_t type, uint64_t len)
{
    uint64_t bytes = EXTENSION + ALIGN_UP(len, 8);

    if (!o->fits || bytes > o->end - o->at) {
        o->fits = false;
        return NULL;
    }
    uint8_t *p = o->h + o->at;
    be32_put(p, type);
    be32_put(p + 4, (uint32_t)len);
    o->at += bytes;
    return p + EXTENSION;
}

static void put_text(struct out *o, uint32_t type, const char *text)
{
    uint8_t *p = text && *text ? put_extension(o, type, strlen(text)) : NULL;

    if (p)
        memcpy(p, text, strlen(text));
}

/* Left out where there is no room: the names are a help, no more. */
static void put_features(struct out *o)
{
    uint64_t len = ARRAY_SIZE(features) * FEATURE_BYTES;

    if (!o->fits || o->end - o->at < len + 2 * EXTENSION + Q2_NAME_MAX)
        return;
    uint8_t *p = put_extension(o, Q2_EXT_FEATURES, len);
    for (size_t i = 0; i < ARRAY_SIZE(features); i++, p += FEATURE_BYTES) {
        p[0] = features[i].type;
        p[1] = features[i].bit;
        memcpy(p + 2, features[i].name, MIN_OF(strlen(features[i].name), (size_t)FEATURE_NAME));
    }
}

static void put_bitmaps(struct out *o, const struct q2_header *in)
{
    uint8_t *p = in->info->has_bitmaps ? put_extension(o, Q2_EXT_BITMAPS, 24) : NULL;

    if (!p)
        return;
    be32_put(p, in->info->bitmap_count);
    be64_put(p + 8, in->bitmap_dir_bytes);
    be64_put(p + 16, in->bitmap_dir_offset);
}

static bool put_name(struct out *o, const struct q2_header *in)
{
    const char *name = in->info->backing_file;
    uint64_t len = name ? strlen(name) : 0;

    if (len == 0)
        return true;
    if (o->at < in->old_name_to && o->at + len > in->old_name_from && o->end >= 4096)
        o->at = in->old_name_to;
    if (len > Q2_NAME_MAX || len > o->end - o->at)
        return false;
    be64_put(o->h + 8, o->at);
    be32_put(o->h + 16, (uint32_t)len);
    memcpy(o->h + o->at, name, len);
    return true;
}

static void put_fields(const struct q2_header *in, uint8_t *h)
{
    const struct qcow2_info *info = in->info;

    memcpy(h, "QFI\xfb", 4);
    be32_put(h + 4, info->version);
    be32_put(h + 20, in->cluster_bits);
    be64_put(h + Q2_HEADER_SIZE, in->size_bytes);
    be32_put(h + Q2_HEADER_L1, in->l1_entries);
    be64_put(h + Q2_HEADER_L1 + 4, in->l1_offset);
    be64_put(h + Q2_HEADER_REFTABLE, in->reftable_offset);
    be32_put(h + Q2_HEADER_REFTABLE + 8, in->reftable_clusters);
    be32_put(h + Q2_HEADER_SNAPSHOTS, info->snapshots);
    be64_put(h + Q2_HEADER_SNAPSHOTS + 4, in->snapshots_offset);
    if (info->version < 3)
        return;
    be64_put(h + Q2_HEADER_INCOMPAT, info->incompatible);
    be64_put(h + 80, info->compatible);
    be64_put(h + Q2_HEADER_AUTOCLEAR, info->autoclear);
    be32_put(h + 96, in->refcount_order);
    be32_put(h + 100, Q2_HEADER_BYTES + (in->tail ? in->tail->len : 0));
    h[104] = info->zstd;
}

bool q2_header_make(const struct q2_header *in, uint8_t *h)
{
    struct out o = {.h = h, .at = 72, .end = BIT64(in->cluster_bits), .fits = true};

    put_fields(in, h);
    if (in->info->version >= 3) {
        o.at = Q2_HEADER_BYTES;
        if (in->tail && in->tail->len) {
            if (in->tail->len > o.end - o.at)
                return false;
            memcpy(h + o.at, in->tail->data, in->tail->len);
            o.at += in->tail->len;
        }
    }
    put_text(&o, Q2_EXT_BACKING_FORMAT, in->info->backing_format);
    put_text(&o, Q2_EXT_DATA_FILE, in->info->data_file);
    put_bitmaps(&o, in);
    if (in->other_extensions && o.fits) {
        o.fits = in->other_extensions->len <= o.end - o.at;
        if (o.fits && in->other_extensions->len)
            memcpy(h + o.at, in->other_extensions->data, in->other_extensions->len);
        o.at += in->other_extensions->len;
    }
    if (in->info->version >= 3)
        put_features(&o);
    put_extension(&o, 0, 0);
    return o.fits && put_name(&o, in);
}

int q2_header_write(struct qcow2 *q)
{
    struct q2_header in = {
        .info = &q->info,
        .cluster_bits = q->cluster_bits,
        .l1_entries = q->l1_entries,
        .reftable_clusters = (uint32_t)((uint64_t)q->reftable_entries * 8 >> q->cluster_bits),
        .refcount_order = q->refcount_order,
        .size_bytes = q->virtual_bytes,
        .l1_offset = q->l1_offset,
        .reftable_offset = q->reftable_offset,
        .snapshots_offset = q->snapshots_offset,
        .bitmap_dir_offset = q->bitmap_dir_offset,
        .bitmap_dir_bytes = q->bitmap_dir_bytes,
        .other_extensions = q->other_extensions,
        .tail = q->header_tail,
        .old_name_from = q->name_from,
        .old_name_to = q->name_to,
    };
    g_autofree uint8_t *h = g_malloc0(q->cluster_bytes);

    if (!q2_header_make(&in, h))
        return -ENAMETOOLONG;
    uint64_t rest = q->cluster_bytes - BLK_SECTOR_BYTES;
    int r = rest ? q2_io(q->file, BLK_WRITE, BLK_SECTOR_BYTES, h + BLK_SECTOR_BYTES, rest) : 0;
    if (r == 0)
        r = q2_barrier(q);
    if (r == 0)
        r = q2_io(q->file, BLK_WRITE, 0, h, BLK_SECTOR_BYTES);
    if (r == 0)
        r = q2_barrier(q);
    if (r == 0) {
        q->name_from = be64_get(h + 8);
        q->name_to = q->name_from + be32_get(h + 16);
    }
    return r;
}

/* Fields that change together lie together: one write, and on the disk. */
int q2_header_put(struct qcow2 *q, uint32_t at, const void *fields, uint32_t len)
{
    int r = q2_barrier(q);

    if (r == 0)
        r = q2_io(q->file, BLK_WRITE, at, (void *)(uintptr_t)fields, len);
    return r < 0 ? r : q2_barrier(q);
}

int q2_set_incompatible(struct qcow2 *q, uint64_t bits)
{
    uint8_t field[8];

    be64_put(field, bits);
    int r = q2_header_put(q, Q2_HEADER_INCOMPAT, field, sizeof(field));
    if (r < 0)
        return r;
    q->info.incompatible = bits;
    q->info.dirty = (bits & Q2_INCOMPAT_DIRTY) != 0;
    q->info.corrupt = (bits & Q2_INCOMPAT_CORRUPT) != 0;
    return 0;
}

int q2_dirty_begin(struct qcow2 *q)
{
    if (q->info.version < 3 || q->marked_dirty)
        return 0;
    int r = q2_set_incompatible(q, q->info.incompatible | Q2_INCOMPAT_DIRTY);
    q->marked_dirty = r == 0;
    return r;
}

int q2_dirty_end(struct qcow2 *q, int r)
{
    q->leave_dirty |= r < 0;
    if (r < 0 || q->info.version < 3 || !q->marked_dirty || q->leave_dirty || q->corrupt)
        return r;
    r = q2_refcounts_write(q);
    if (r == 0)
        r = q2_set_incompatible(q, q->info.incompatible & ~Q2_INCOMPAT_DIRTY);
    q->marked_dirty = r < 0;
    return r;
}
