/* bitmap.c - persistent dirty bitmaps (spec "Bitmaps"): listed and counted.
 *
 * Those that are switched off, or already void (in use), stay as they are while the image is
 * written; those that track changes are track.c's. */
#include "qcow2.h"

#include "base/error.h"

#include <errno.h>

enum { ENTRY = 24, BITMAPS_MAX = 65535, FLAG_AUTO = 2 };
#define DIRECTORY_BYTES_MAX (64 * MiB)
#define TABLE_ENTRIES_MAX   (MiB * 16)

/* False: it makes no sense, or fn says so. */
static bool walk(struct qcow2 *q, const uint8_t *dir, q2_bitmap_fn *fn, void *opaque)
{
    uint64_t at = 0, end = q->bitmap_dir_bytes;

    for (uint32_t i = 0; i < q->info.bitmap_count; i++) {
        if (end - at < ENTRY)
            return false;
        const uint8_t *e = dir + at;
        uint64_t len = ENTRY + (uint64_t)be32_get(e + 20) + be16_get(e + 18);
        if (len > end - at || e[17] > 31 || !fn(q, e, i, q->bitmap_dir_offset + at, opaque))
            return false;
        at = MIN_OF(end, ALIGN_UP(at + len, 8));
    }
    return true;
}

static uint8_t *read_directory(struct qcow2 *q)
{
    uint64_t len = q->bitmap_dir_bytes, end = ALIGN_UP(q->file_end, q->cluster_bytes);

    if (len == 0 || len > DIRECTORY_BYTES_MAX || !q2_offset_ok(q, q->bitmap_dir_offset) ||
        len > end - q->bitmap_dir_offset)
        return NULL;
    uint8_t *dir = g_try_malloc(len);
    if (dir && q2_io(q->file, BLK_READ, q->bitmap_dir_offset, dir, len) < 0)
        g_free(g_steal_pointer(&dir));
    return dir;
}

static bool describe(struct qcow2 *q, const uint8_t *e, uint32_t index, uint64_t at, void *opaque)
{
    struct qcow2_bitmap *b = &q->info.bitmaps[index];
    uint32_t flags = be32_get(e + 12);

    *b = (struct qcow2_bitmap){
        .name = g_strndup((const char *)e + ENTRY + be32_get(e + 20), be16_get(e + 18)),
        .granularity_bytes = BIT64(e[17]),
        .in_use = (flags & Q2_BITMAP_IN_USE) != 0,
        .enabled = (flags & FLAG_AUTO) != 0};
    return true;
}

bool q2_bitmaps_read(struct qcow2 *q, GError **err)
{
    if (!q->info.has_bitmaps)
        return true;
    g_autofree uint8_t *dir = q->info.bitmap_count <= BITMAPS_MAX ? read_directory(q) : NULL;
    q->info.bitmaps = dir ? g_new0(struct qcow2_bitmap, q->info.bitmap_count) : NULL;
    if (dir && walk(q, dir, describe, NULL))
        return true;
    return error_set(err, HANOK_ERROR_CORRUPT,
                     "'%s' is no usable qcow2 image: its bitmap directory lies outside the file or "
                     "makes no sense.",
                     q2_name(q));
}

struct visit {
    void (*fn)(void *opaque, uint64_t offset, uint64_t len);
    void *opaque;
    uint64_t table_bytes; /* read so far: tables that lie on one another would have no end */
    int r;
};

static bool visit_one(struct qcow2 *q, const uint8_t *e, uint32_t index, uint64_t at, void *opaque)
{
    struct visit *v = opaque;
    uint64_t offset = be64_get(e);
    uint32_t entries = be32_get(e + 8);

    v->fn(v->opaque, offset, (uint64_t)entries * 8);
    if (entries == 0 || entries > TABLE_ENTRIES_MAX || !q2_offset_ok(q, offset))
        return true; /* said by fn */
    v->table_bytes += (uint64_t)entries * 8;
    if (v->table_bytes > q->file_end)
        v->r = -EIO;
    if (v->r < 0)
        return false;
    g_autofree uint64_t *table = q2_table_read(q, offset, entries, &v->r);
    for (uint32_t i = 0; table && i < entries; i++) {
        uint64_t place = table[i] & Q2_OFFSET_MASK;
        if (place)
            v->fn(v->opaque, place, q->cluster_bytes);
    }
    return v->r == 0;
}

bool q2_bitmaps_walk(struct qcow2 *q, q2_bitmap_fn *fn, void *opaque)
{
    g_autofree uint8_t *dir = read_directory(q);
    return dir && walk(q, dir, fn, opaque);
}

int q2_bitmaps_visit(struct qcow2 *q, void (*fn)(void *opaque, uint64_t offset, uint64_t len),
                     void *opaque)
{
    struct visit v = {.fn = fn, .opaque = opaque};

    if (!q->info.has_bitmaps)
        return 0;
    g_autofree uint8_t *dir = read_directory(q);
    if (!dir)
        return -EIO;
    fn(opaque, q->bitmap_dir_offset, q->bitmap_dir_bytes);
    walk(q, dir, visit_one, &v);
    return v.r;
}
