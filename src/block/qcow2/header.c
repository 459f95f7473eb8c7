/* header.c - opening: the header and its extensions (spec "Header") and the tables that stay in
 * memory.  Everything read here is hostile. */
#include "qcow2.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { HEADER_V2 = 72, HEADER_V3 = 104, FEATURE_BYTES = 48, FEATURE_NAME = 46 };
#define KNOWN                                                                                      \
    (Q2_INCOMPAT_DIRTY | Q2_INCOMPAT_CORRUPT | Q2_INCOMPAT_DATA_FILE | Q2_INCOMPAT_ZSTD |          \
     Q2_INCOMPAT_EXTL2)

const char *q2_name(const struct qcow2 *q)
{
    return blk_filename(q->node);
}

static const char *name_of(const struct qcow2 *q)
{
    return q2_name(q);
}

/* By the names that the image itself gives to them, where it does. */
static bool check_features(struct qcow2 *q, GError **err)
{
    uint64_t rest = q->info.incompatible & ~KNOWN;
    g_autoptr(GString) names = g_string_new(NULL);

    if (!rest)
        return true;
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(rest & BIT64(bit)))
            continue;
        g_string_append(names, names->len ? ", " : "");
        if (q->features[bit])
            g_string_append_printf(names, "'%s'", q->features[bit]);
        else
            g_string_append_printf(names, "bit %u", bit);
    }
    return error_set(err, HANOK_ERROR_UNSUPPORTED,
                     "'%s' uses qcow2 features that this version does not know: %s.", name_of(q),
                     names->str);
}

static bool check_encryption(struct qcow2 *q, uint32_t method, GError **err)
{
    static const char *const names[] = {NULL, "AES", "LUKS"};

    if (method == 0)
        return true;
    if (method < ARRAY_SIZE(names))
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "'%s' is encrypted with %s, which this version cannot read; decrypt it "
                         "with 'qemu-img convert' first.",
                         name_of(q), names[method]);
    return error_set(err, HANOK_ERROR_UNSUPPORTED,
                     "'%s' is encrypted by a method that this version does not know (%u).",
                     name_of(q), method);
}

/* An image that may be read but not written. */
static bool check_writable(struct qcow2 *q, GError **err)
{
    const char *why = NULL;

    if (q->node->read_only || q->for_check)
        return true;
    if (q->info.corrupt)
        why = "is marked as corrupt; repair it with 'hanok-img check -r all'";
    if (!why)
        return true;
    if (q->node->auto_read_only) {
        q->node->read_only = true;
        return true;
    }
    return error_set(err, HANOK_ERROR_UNSUPPORTED, "'%s' %s; or open it with read-only=on.",
                     name_of(q), why);
}

static bool corrupt(struct qcow2 *q, const char *what, GError **err)
{
    return error_set(err, HANOK_ERROR_CORRUPT, "'%s' is no usable qcow2 image: %s.", name_of(q),
                     what);
}

static void read_features(struct qcow2 *q, const uint8_t *p, uint32_t len)
{
    for (; len >= FEATURE_BYTES; p += FEATURE_BYTES, len -= FEATURE_BYTES) {
        if (p[0] != 0 || p[1] >= 64 || q->features[p[1]])
            continue;
        char *name = q->features[p[1]] = g_strndup((const char *)p + 2, FEATURE_NAME);
        for (char *c = name; *c; c++) /* it goes into a sentence */
            *c = g_ascii_isprint(*c) ? *c : '?';
    }
}

static bool read_extension(struct qcow2 *q, uint32_t type, const uint8_t *p, uint32_t len,
                           GError **err)
{
    char **text = type == Q2_EXT_BACKING_FORMAT ? &q->info.backing_format : &q->info.data_file;

    switch (type) {
    case Q2_EXT_BACKING_FORMAT:
    case Q2_EXT_DATA_FILE:
        if (len > Q2_NAME_MAX)
            return corrupt(q, "a name in its header is too long", err);
        if (!*text)
            *text = g_strndup((const char *)p, len);
        return true;
    case Q2_EXT_FEATURES:
        read_features(q, p, len);
        return true;
    case Q2_EXT_BITMAPS:
        if (!(q->info.autoclear & Q2_AUTOCLEAR_BITMAPS))
            return true; /* written since by one who does not know them: void */
        if (len != 24)
            return corrupt(q, "its bitmap extension has a bad length", err);
        q->info.has_bitmaps = true;
        q->info.bitmap_count = be32_get(p);
        q->bitmap_dir_bytes = be64_get(p + 8);
        q->bitmap_dir_offset = be64_get(p + 16);
        return true;
    case Q2_EXT_CRYPTO:
        return true;
    default: {
        uint8_t head[8], pad[8] = {0};
        be32_put(head, type);
        be32_put(head + 4, len);
        g_byte_array_append(q->other_extensions, head, sizeof(head));
        g_byte_array_append(q->other_extensions, p, len);
        g_byte_array_append(q->other_extensions, pad, (8 - len % 8) % 8);
        return true;
    }
    }
}

static bool read_extensions(struct qcow2 *q, const uint8_t *h, uint32_t at, GError **err)
{
    uint64_t end = q->cluster_bytes;

    while (at + 8 <= end) {
        uint32_t type = be32_get(h + at), len = be32_get(h + at + 4);
        at += 8;
        if (type == 0)
            return true;
        if (len > end - at)
            return corrupt(q, "a header extension is too long", err);
        if (!read_extension(q, type, h + at, len, err))
            return false;
        if (ALIGN_UP(len, 8) > end - at)
            return true;
        at += ALIGN_UP(len, 8);
    }
    return true;
}

static bool read_backing_name(struct qcow2 *q, const uint8_t *h, GError **err)
{
    uint64_t at = be64_get(h + 8);
    uint32_t len = be32_get(h + 16);

    if (at == 0)
        return true;
    if (len == 0 || len > Q2_NAME_MAX || at > q->cluster_bytes - len)
        return corrupt(q, "the name of its backing file lies outside the header", err);
    q->info.backing_file = g_strndup((const char *)h + at, len);
    q->name_from = at;
    q->name_to = at + len;
    return true;
}

static bool read_v3_fields(struct qcow2 *q, const uint8_t *h, uint32_t *length, GError **err)
{
    q->info.incompatible = be64_get(h + 72);
    q->info.compatible = be64_get(h + 80);
    q->info.autoclear = be64_get(h + 88);
    *length = be32_get(h + 100);
    if (be32_get(h + 96) > 6)
        return corrupt(q, "its refcounts have an impossible width", err);
    q->info.refcount_bits = 1u << be32_get(h + 96);
    if (*length < HEADER_V3 || *length > q->cluster_bytes)
        return corrupt(q, "its header has an impossible length", err);
    if (*length > Q2_HEADER_BYTES)
        g_byte_array_append(q->header_tail, h + Q2_HEADER_BYTES, *length - Q2_HEADER_BYTES);
    q->info.dirty = (q->info.incompatible & Q2_INCOMPAT_DIRTY) != 0;
    q->info.corrupt = (q->info.incompatible & Q2_INCOMPAT_CORRUPT) != 0;
    q->info.extended_l2 = (q->info.incompatible & Q2_INCOMPAT_EXTL2) != 0;
    q->info.lazy_refcounts = (q->info.compatible & Q2_COMPAT_LAZY) != 0;
    q->info.data_file_raw = (q->info.autoclear & Q2_AUTOCLEAR_RAW_DATA) != 0 &&
                            (q->info.incompatible & Q2_INCOMPAT_DATA_FILE) != 0;
    if (q->info.incompatible & Q2_INCOMPAT_ZSTD) {
        if (*length < 105 || h[104] > 1)
            return error_set(err, HANOK_ERROR_UNSUPPORTED,
                             "'%s' is compressed by a method that this version does not know.",
                             name_of(q));
        q->info.zstd = h[104] == 1;
    }
    return true;
}

static bool read_geometry(struct qcow2 *q, const uint8_t *h, GError **err)
{
    uint64_t size = be64_get(h + 24);

    q->l1_entries = be32_get(h + 36);
    q->l1_offset = be64_get(h + 40);
    q->reftable_offset = be64_get(h + 48);
    uint64_t reftable_bytes = (uint64_t)be32_get(h + 56) << q->cluster_bits;
    q->info.snapshots = be32_get(h + 60);
    q->snapshots_offset = be64_get(h + Q2_HEADER_SNAPSHOTS + 4);
    q->subs = q->info.extended_l2 ? Q2_SUBS : 1;
    q->l2_entry_bytes = q->info.extended_l2 ? 16 : 8;
    q->l2_bits = q->cluster_bits - (q->info.extended_l2 ? 4 : 3);
    q->sub_bits = q->cluster_bits - (q->info.extended_l2 ? 5 : 0);
    q->sub_bytes = BIT64(q->sub_bits);
    q->refcount_order = (uint32_t)__builtin_ctz(q->info.refcount_bits);
    q->refblock_bits = q->cluster_bits + 3 - q->refcount_order;
    if (q->sub_bits < 9)
        return corrupt(q, "extended L2 entries need clusters of 16 KiB or more", err);
    if (size > INT64_MAX - BLK_SECTOR_BYTES)
        return corrupt(q, "its size is impossible", err);
    q->virtual_bytes = ALIGN_UP(size, BLK_SECTOR_BYTES);
    uint32_t need = q2_l1_need(q, q->virtual_bytes);
    if ((uint64_t)q->l1_entries * 8 > Q2_L1_BYTES_MAX || q->l1_entries < need)
        return corrupt(q, "its L1 table does not fit its size", err);
    if (q->l1_entries && !q2_offset_ok(q, q->l1_offset))
        return corrupt(q, "its L1 table lies outside the file", err);
    if (reftable_bytes == 0 || reftable_bytes > Q2_REFTABLE_BYTES_MAX ||
        !q2_offset_ok(q, q->reftable_offset))
        return corrupt(q, "its refcount table lies outside the file or has a bad size", err);
    q->reftable_entries = (uint32_t)(reftable_bytes / 8);
    return true;
}

bool q2_header_read(struct qcow2 *q, GError **err)
{
    uint32_t length = HEADER_V2;
    uint8_t fixed[HEADER_V3];
    int r = q2_io(q->file, BLK_READ, 0, fixed, sizeof(fixed));

    if (r < 0)
        return error_errno(err, -r, "Could not read the header of '%s'", name_of(q));
    if (memcmp(fixed, "QFI\xfb", 4))
        return error_set(err, HANOK_ERROR_INVALID, "'%s' is not in qcow2 format.", name_of(q));
    q->info.version = be32_get(fixed + 4);
    if (q->info.version != 2 && q->info.version != 3)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "'%s' is qcow version %u; this version knows 2 and 3.", name_of(q),
                         q->info.version);
    q->cluster_bits = be32_get(fixed + 20);
    if (q->cluster_bits < 9 || q->cluster_bits > 21)
        return corrupt(q, "its cluster size is not between 512 bytes and 2 MiB", err);
    q->cluster_bytes = q->info.cluster_bytes = BIT64(q->cluster_bits);
    q->info.refcount_bits = 16;
    g_autofree uint8_t *h = g_malloc(q->cluster_bytes);
    r = q2_io(q->file, BLK_READ, 0, h, q->cluster_bytes);
    if (r < 0)
        return error_errno(err, -r, "Could not read the header of '%s'", name_of(q));
    if (q->info.version == 3 && !read_v3_fields(q, h, &length, err))
        return false;
    if (!check_encryption(q, be32_get(h + 32), err) || !read_extensions(q, h, length, err))
        return false;
    return check_features(q, err) && read_geometry(q, h, err) && read_backing_name(q, h, err) &&
           q2_bitmaps_read(q, err) && q2_snapshots_read(q, err) && check_writable(q, err);
}

uint64_t *q2_table_read(struct qcow2 *q, uint64_t offset, uint32_t entries, int *error)
{
    uint64_t *t = g_try_new(uint64_t, MAX_OF(entries, 1u));
    int r = t && entries ? q2_io(q->file, BLK_READ, offset, t, (uint64_t)entries * 8) : 0;

    *error = t ? r : -ENOMEM;
    if (*error < 0) {
        g_free(t);
        return NULL;
    }
    for (uint32_t i = 0; i < entries; i++)
        t[i] = be64_get(&t[i]);
    return t;
}

int q2_tables_alloc(struct qcow2 *q)
{
    q2_cache_init(&q->l2, q->cluster_bytes, q->l2_budget);
    q2_cache_init(&q->refblocks, q->cluster_bytes, q->refblock_budget);
    if (posix_memalign((void **)&q->cow, 4096, q->cluster_bytes) ||
        posix_memalign((void **)&q->unpacked, 4096, q->cluster_bytes))
        return -ENOMEM;
    return 0;
}

bool q2_tables_read(struct qcow2 *q, GError **err)
{
    struct stat st;
    int r;

    q->l1 = q2_table_read(q, q->l1_offset, q->l1_entries, &r);
    if (r == 0)
        q->reftable = q2_table_read(q, q->reftable_offset, q->reftable_entries, &r);
    if (r == 0)
        r = q2_tables_alloc(q);
    if (r < 0)
        return error_errno(err, -r, "Could not read the tables of '%s'", name_of(q));
    q->regular_file = stat(name_of(q), &st) == 0 && S_ISREG(st.st_mode);
    q->l1_dirty_from = q->reftable_dirty_from = UINT32_MAX;
    return true;
}
