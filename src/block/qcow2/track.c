/* track.c - dirty bitmaps that track changes (spec "Bitmaps", flag auto) while an image is written.
 *
 * Open: each is read; one that cannot be kept true for certain keeps the image from being written.
 *
 * Change: before the first one "in use" is on the disk, so that a bitmap says itself that it is
 * void when we are killed from here on.  Then each change sets bits in memory, before it is begun.
 *
 * Close: the bits go to the bitmap's clusters, where they were or to new ones; when these are
 * counted, written and pointed to, "in use" is taken back.
 *
 * Threads: loaded and stored by the main thread; marked by the holder of serial, seen under tables;
 * bits are set by whoever begins a change, with atomic operations. */
#include "qcow2.h"

#include "base/error.h"
#include "base/log.h"

#include <errno.h>

enum { TYPE_DIRTY = 1, EXTRA_COMPATIBLE = 4 };
#define TRACK_BYTES_MAX (64 * MiB) /* of all bitmaps of an image, in memory */
#define ENTRY_RESERVED  0xff000000000001feull
#define ENTRY_ONES      BIT64(0)

struct q2_track {
    uint64_t flags_at; /* in the file */
    uint32_t flags, entries, shift;
    uint64_t table_offset;
    uint64_t *table; /* host byte order */
    uint64_t *bits;  /* as in the file, where the lowest comes first */
};

/* ---- changes ---- */

static int put_flags(struct qcow2 *q, const struct q2_track *t, uint32_t flags)
{
    uint8_t field[4];

    be32_put(field, flags);
    return q2_io(q->file, BLK_WRITE, t->flags_at, field, sizeof(field));
}

int q2_tracks_mark(struct qcow2 *q)
{
    int r = 0;

    q->tracks_touched = true;
    for (uint32_t i = 0; r == 0 && i < q->track_count; i++)
        r = put_flags(q, &q->tracks[i], q->tracks[i].flags | Q2_BITMAP_IN_USE);
    if (r == 0)
        r = q2_barrier(q);
    if (r < 0)
        return r;
    pthread_mutex_lock(&q->tables);
    q->tracks_marked = true;
    pthread_mutex_unlock(&q->tables);
    return 0;
}

static void set_bits(uint64_t *bits, uint64_t first, uint64_t last)
{
    for (uint64_t word = first / 64; word <= last / 64; word++) {
        uint64_t mask = UINT64_MAX;
        if (word == first / 64)
            mask &= UINT64_MAX << first % 64;
        if (word == last / 64)
            mask &= UINT64_MAX >> (63 - last % 64);
        if ((__atomic_load_n(&bits[word], __ATOMIC_RELAXED) & mask) != mask)
            __atomic_fetch_or(&bits[word], mask, __ATOMIC_RELAXED);
    }
}

void q2_track(struct qcow2 *q, uint64_t offset, uint64_t len)
{
    for (uint32_t i = 0; len && i < q->track_count; i++) {
        const struct q2_track *t = &q->tracks[i];
        set_bits(t->bits, offset >> t->shift, (offset + len - 1) >> t->shift);
    }
}

/* ---- opening ---- */

static uint32_t entries_needed(const struct qcow2 *q, uint32_t shift)
{
    uint64_t bits = (q->virtual_bytes >> shift) + ((q->virtual_bytes & (BIT64(shift) - 1)) != 0);
    uint64_t entries = (bits + 8 * q->cluster_bytes - 1) / (8 * q->cluster_bytes);

    return (uint32_t)MIN_OF(entries, (uint64_t)UINT32_MAX);
}

static bool place_ok(const struct qcow2 *q, uint64_t offset, uint64_t len)
{
    return q2_offset_ok(q, offset) && !q2_is_metadata(q, offset, len);
}

/* One cluster of bits. */
static int read_bits(struct qcow2 *q, uint64_t entry, void *to)
{
    uint64_t place = entry & Q2_OFFSET_MASK;

    if ((entry & ENTRY_RESERVED) ||
        (place && ((entry & ENTRY_ONES) || !place_ok(q, place, q->cluster_bytes))))
        return -EINVAL;
    if (place)
        return q2_io(q->file, BLK_READ, place, to, q->cluster_bytes);
    memset(to, entry & ENTRY_ONES ? 0xff : 0, q->cluster_bytes);
    return 0;
}

static int read_track(struct qcow2 *q, struct q2_track *t)
{
    uint64_t len = (uint64_t)t->entries * q->cluster_bytes;
    int r = 0;

    t->table = q2_table_read(q, t->table_offset, t->entries, &r);
    t->bits = g_try_malloc(len);
    if (r == 0 && !t->bits)
        r = -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < t->entries; i++)
        r = read_bits(q, t->table[i], (uint8_t *)t->bits + (uint64_t)i * q->cluster_bytes);
    return r;
}

/* Why it cannot be used; NULL: it can. */
static const char *load_track(struct qcow2 *q, const uint8_t *e, uint64_t at, uint64_t *budget)
{
    struct q2_track *t = &q->tracks[q->track_count++];

    t->table_offset = be64_get(e);
    t->entries = be32_get(e + 8);
    t->flags = be32_get(e + 12);
    t->flags_at = at + 12;
    t->shift = e[17];
    uint64_t len = (uint64_t)t->entries * q->cluster_bytes;
    if (e[16] != TYPE_DIRTY || (be32_get(e + 20) && !(t->flags & EXTRA_COMPATIBLE)))
        return "is of a kind that this version does not know";
    if (t->shift < 9 || t->entries != entries_needed(q, t->shift) ||
        !place_ok(q, t->table_offset, (uint64_t)t->entries * 8))
        return "does not fit the image";
    if (len > *budget)
        return "is too large";
    *budget -= len;
    int r = read_track(q, t);
    return r == -EINVAL ? "points outside the image" : r < 0 ? g_strerror(-r) : NULL;
}

struct loading {
    uint64_t budget;
    const char *why, *name;
};

static bool load_one(struct qcow2 *q, const uint8_t *e, uint32_t index, uint64_t at, void *opaque)
{
    struct loading *l = opaque;
    const struct qcow2_bitmap *b = &q->info.bitmaps[index];

    if (b->enabled && !b->in_use)
        l->why = load_track(q, e, at, &l->budget);
    l->name = b->name;
    return !l->why;
}

bool q2_tracks_load(struct qcow2 *q, GError **err)
{
    struct loading l = {.budget = TRACK_BYTES_MAX};

    if (!q->info.bitmap_count)
        return true;
    q->tracks = g_new0(struct q2_track, q->info.bitmap_count);
    if (q2_bitmaps_walk(q, load_one, &l))
        return true;
    bool named = l.why != NULL;
    q2_tracks_free(q); /* the image may still be read */
    return error_set(
        err, HANOK_ERROR_UNSUPPORTED,
        "'%s' cannot be written: its dirty bitmap '%s', which tracks changes, %s (switch "
        "it off with 'qemu-img bitmap --disable', remove it, or open the image with "
        "read-only=on).",
        q2_name(q), named ? l.name : "?", named ? l.why : "could not be read");
}

void q2_tracks_free(struct qcow2 *q)
{
    for (uint32_t i = 0; i < q->track_count; i++) {
        g_free(q->tracks[i].table);
        g_free(q->tracks[i].bits);
    }
    g_free(q->tracks);
    q->tracks = NULL;
    q->track_count = 0;
}

/* ---- closing ---- */

static bool all_bytes(const void *p, uint64_t len, uint8_t value)
{
    const uint8_t *b = p;
    return b[0] == value && memcmp(b, b + 1, len - 1) == 0;
}

/* Clusters stay the bitmap's, whatever is in them: they are written where they lie. */
static int store_bits(struct qcow2 *q, uint64_t *entry, void *bits)
{
    uint64_t host = *entry & Q2_OFFSET_MASK, got;
    bool zeroes = all_bytes(bits, q->cluster_bytes, 0);

    if (!host && (zeroes || all_bytes(bits, q->cluster_bytes, 0xff))) {
        *entry = zeroes ? 0 : ENTRY_ONES;
        return 0;
    }
    int r = host ? 0 : q2_alloc(q, 1, &host, &got);
    if (r < 0)
        return r;
    if (q2_is_metadata(q, host, q->cluster_bytes))
        return q2_corrupt(q, "a bitmap lies on other tables");
    *entry = host;
    return q2_io(q->file, BLK_WRITE, host, bits, q->cluster_bytes);
}

static int store_all(struct qcow2 *q)
{
    int r = q2_flush(q, false);

    for (uint32_t n = 0; n < q->track_count; n++) {
        struct q2_track *t = &q->tracks[n];
        for (uint32_t i = 0; r == 0 && i < t->entries; i++)
            r = store_bits(q, &t->table[i], (uint8_t *)t->bits + (uint64_t)i * q->cluster_bytes);
    }
    if (r == 0)
        r = q2_refcounts_write(q);
    if (r == 0)
        r = q2_barrier(q);
    for (uint32_t n = 0; r == 0 && n < q->track_count; n++) {
        struct q2_track *t = &q->tracks[n];
        r = q2_table_write(q, t->table_offset, t->table, 0, t->entries);
    }
    if (r == 0)
        r = q2_barrier(q);
    for (uint32_t n = 0; r == 0 && n < q->track_count; n++)
        r = put_flags(q, &q->tracks[n], q->tracks[n].flags);
    return r < 0 ? r : q2_barrier(q);
}

void q2_tracks_store(struct qcow2 *q)
{
    if (!q->track_count || !q->tracks_touched)
        return;
    int r = q->failed || q->corrupt ? -EIO : store_all(q);
    if (r < 0)
        log_warning("%s: its dirty bitmaps could not be written and are void: %s", q2_name(q),
                    g_strerror(-r));
}
