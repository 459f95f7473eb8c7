/* header.c - opening: the header and its extensions (spec "Header"), the tables that stay in
 * memory, the backing image.  Everything read here is hostile. */
#include "qcow2.h"

#include "base/error.h"
#include "base/props.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { HEADER_V2 = 72, HEADER_V3 = 104, NAME_MAX_BYTES = 1023, CHAIN_MAX = 200 };
enum { EXT_END = 0 };
#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_BITMAPS        0x23852875u

static const struct {
    uint64_t bit;
    const char *what;
} not_here[] = {
    {BIT64(2), "an external data file"},
    {BIT64(4), "extended L2 entries (subclusters)"},
};

static const char *name_of(const struct qcow2 *q)
{
    return blk_filename(q->node);
}

static bool check_features(struct qcow2 *q, uint32_t encryption, GError **err)
{
    uint64_t rest = q->info.incompatible & ~(Q2_INCOMPAT_DIRTY | Q2_INCOMPAT_CORRUPT | BIT64(3));

    if (encryption)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "'%s' is encrypted (method %u), which is not available in this version.",
                         name_of(q), encryption);
    for (size_t i = 0; i < ARRAY_SIZE(not_here); i++) {
        if (rest & not_here[i].bit)
            return error_set(err, HANOK_ERROR_UNSUPPORTED,
                             "'%s' uses %s, which is not available in this version.", name_of(q),
                             not_here[i].what);
    }
    if (rest)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "'%s' uses qcow2 features that this version does not know (bits 0x%" PRIx64
                         ").",
                         name_of(q), rest);
    return true;
}

/* An image that may be read but not written. */
static bool check_writable(struct qcow2 *q, GError **err)
{
    const char *why = NULL;

    if (q->node->read_only)
        return true;
    if (q->info.dirty)
        why = "was not closed properly and its refcounts may be wrong; repair it with "
              "'qemu-img check -r all'";
    else if (q->info.corrupt)
        why = "is marked as corrupt; repair it with 'qemu-img check -r all'";
    else if (q->info.refcount_bits != 16)
        why = "has refcounts that are not 16 bits wide, which this version only reads";
    else if (q->info.has_bitmaps)
        why = "has dirty bitmaps, which writing would make wrong";
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

static bool read_extensions(struct qcow2 *q, const uint8_t *h, uint32_t at, GError **err)
{
    uint64_t end = q->cluster_bytes;

    while (at + 8 <= end) {
        uint32_t type = be32_get(h + at), len = be32_get(h + at + 4);
        at += 8;
        if (type == EXT_END)
            return true;
        if (len > end - at)
            return corrupt(q, "a header extension is too long", err);
        if (type == EXT_BACKING_FORMAT && len <= NAME_MAX_BYTES && !q->info.backing_format)
            q->info.backing_format = g_strndup((const char *)h + at, len);
        if (type == EXT_BITMAPS)
            q->info.has_bitmaps = (q->info.autoclear & 1) != 0;
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
    if (len == 0 || len > NAME_MAX_BYTES || at > q->cluster_bytes - len)
        return corrupt(q, "the name of its backing file lies outside the header", err);
    q->info.backing_file = g_strndup((const char *)h + at, len);
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
    q->info.dirty = (q->info.incompatible & Q2_INCOMPAT_DIRTY) != 0;
    q->info.corrupt = (q->info.incompatible & Q2_INCOMPAT_CORRUPT) != 0;
    q->info.lazy_refcounts = (q->info.compatible & 1) != 0;
    if (q->info.incompatible & BIT64(3)) {
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
    q->l2_bits = q->cluster_bits - 3;
    q->refblock_bits = q->cluster_bits - 1;
    if (size > INT64_MAX - BLK_SECTOR_BYTES)
        return corrupt(q, "its size is impossible", err);
    q->virtual_bytes = ALIGN_UP(size, BLK_SECTOR_BYTES);
    uint32_t span = q->cluster_bits + q->l2_bits;
    uint64_t need = (q->virtual_bytes >> span) + ((q->virtual_bytes & (BIT64(span) - 1)) != 0);
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
    return check_features(q, be32_get(h + 32), err) && read_geometry(q, h, err) &&
           read_extensions(q, h, length, err) && read_backing_name(q, h, err) &&
           check_writable(q, err);
}

static uint64_t *read_table(struct qcow2 *q, uint64_t offset, uint32_t entries, GError **err)
{
    uint64_t *t = g_try_new(uint64_t, MAX_OF(entries, 1u));
    int r = t ? q2_io(q->file, BLK_READ, offset, t, (uint64_t)entries * 8) : -ENOMEM;

    if (r < 0) {
        g_free(t);
        error_errno(err, -r, "Could not read the tables of '%s'", name_of(q));
        return NULL;
    }
    for (uint32_t i = 0; i < entries; i++)
        t[i] = be64_get(&t[i]);
    return t;
}

bool q2_tables_read(struct qcow2 *q, GError **err)
{
    struct stat st;

    q->l1 = read_table(q, q->l1_offset, q->l1_entries, err);
    if (!q->l1)
        return false;
    if (!q->node->read_only) {
        q->reftable = read_table(q, q->reftable_offset, q->reftable_entries, err);
        if (!q->reftable)
            return false;
    }
    q->regular_file = stat(name_of(q), &st) == 0 && S_ISREG(st.st_mode);
    q->l1_dirty_from = q->reftable_dirty_from = UINT32_MAX;
    q2_cache_init(&q->l2, q->cluster_bytes, 32 * MiB);
    q2_cache_init(&q->refblocks, q->cluster_bytes, 4 * MiB);
    if (posix_memalign((void **)&q->cow, 4096, q->cluster_bytes) ||
        posix_memalign((void **)&q->unpacked, 4096, q->cluster_bytes) ||
        posix_memalign((void **)&q->packed, 4096, 2 * q->cluster_bytes))
        return error_errno(err, ENOMEM, "'%s'", name_of(q));
    return true;
}

/* ---- the backing image ---- */

static char *backing_path(struct qcow2 *q, GError **err)
{
    const char *name = q->info.backing_file, *colon = strchr(name, ':'), *slash = strchr(name, '/');

    if (g_str_has_prefix(name, "file:")) {
        name += 5;
    } else if (colon && (!slash || colon < slash)) {
        error_set(err, HANOK_ERROR_UNSUPPORTED,
                  "The backing file '%s' of '%s' is not a plain file name, which this version does "
                  "not open.",
                  name, name_of(q));
        return NULL;
    }
    if (g_path_is_absolute(name))
        return g_strdup(name);
    g_autofree char *dir = g_path_get_dirname(name_of(q));
    return g_build_filename(dir, name, NULL);
}

/* Without a recorded format only what proves itself is opened: a raw image's guest may write any
 * header into its first sector. */
static const char *backing_format(struct qcow2 *q, const char *path, GError **err)
{
    const char *format = q->info.backing_format;
    char magic[4] = "";

    if (format && *format)
        return format;
    FILE *f = fopen(path, "re");
    if (!f) {
        error_errno(err, errno, "Could not open the backing file '%s' of '%s'", path, name_of(q));
        return NULL;
    }
    size_t n = fread(magic, 1, sizeof(magic), f);
    fclose(f);
    if (n == sizeof(magic) && !memcmp(magic, "QFI\xfb", sizeof(magic)))
        return "qcow2";
    error_set(err, HANOK_ERROR_INVALID,
              "'%s' does not say which format its backing file '%s' has; record it with 'qemu-img "
              "rebase -u -F raw -b %s %s'.",
              name_of(q), path, q->info.backing_file, name_of(q));
    return NULL;
}

static struct blk_node *open_backing(struct qcow2 *q, GError **err)
{
    static unsigned depth; /* main thread: a chain may end in itself */
    g_autofree char *path = backing_path(q, err);
    const char *format = path ? backing_format(q, path, err) : NULL;

    if (!format)
        return NULL;
    if (depth >= CHAIN_MAX) {
        error_set(err, HANOK_ERROR_INVALID, "The backing chain of '%s' is longer than %d images.",
                  name_of(q), CHAIN_MAX);
        return NULL;
    }
    json_t *o = json_pack("{s:s, s:b, s:b, s:{s:s, s:s, s:b, s:b}}", "driver", format, "read-only",
                          1, "force-share", q->node->force_share, "file", "driver", "file",
                          "filename", path, "read-only", 1, "force-share", q->node->force_share);
    if (!o) {
        error_set(err, HANOK_ERROR_INVALID, "The backing file name in '%s' is not valid UTF-8.",
                  name_of(q));
        return NULL;
    }
    PROPS_AUTO p = props_from_json(o);
    json_decref(o);
    depth++;
    struct blk_node *n = blk_open(p, err);
    depth--;
    if (!n)
        g_prefix_error(err, "The backing file of '%s': ", name_of(q));
    return n;
}

static struct blk_node *named_backing(struct qcow2 *q, const char *name, GError **err)
{
    struct blk_node *n = blk_find(name);

    if (!n)
        error_set(err, HANOK_ERROR_NOT_FOUND,
                  "There is no block node '%s' for backing= to refer to.", name);
    else if (n->parent || n->user)
        error_set(err, HANOK_ERROR_BUSY, "The block node '%s' is already in use.", name);
    else
        return n;
    return NULL;
}

bool q2_backing_open(struct qcow2 *q, struct props *p, GError **err)
{
    json_t *given = props_get_json(p, "backing");

    if (json_is_null(given) || (json_is_string(given) && !*json_string_value(given)) ||
        (!given && !q->info.backing_file))
        return true;
    if (json_is_string(given)) {
        q->backing = named_backing(q, json_string_value(given), err);
    } else {
        struct props *sub = given ? props_get_sub(p, "backing") : NULL;
        if (sub && !props_has(sub, "read-only"))
            props_set_str(sub, "read-only", "on");
        q->backing = given ? (sub ? blk_open(sub, err) : NULL) : open_backing(q, err);
        q->owns_backing = q->backing != NULL;
        if (given && !sub)
            error_set(err, HANOK_ERROR_INVALID, "backing= is a node's name, an object or null.");
    }
    if (!q->backing)
        return false;
    q->backing->parent = q->node;
    if (!blk_set_perm(q->backing, BLK_PERM_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE,
                      BLK_PERM_WRITE | BLK_PERM_RESIZE, err))
        return false;
    if (!q->backing->drv->sync)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "The block driver '%s' cannot be below qcow2.", q->backing->drv->name);
    return true;
}
