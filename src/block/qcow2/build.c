/* build.c - filling a new image from front to back (block/qcow2_build.h).
 *
 * Invariants: 1. refs[] counts every cluster below `end`, and nothing lies above it.  2. An L2
 * table is written once, when place() has gone past it and all that was placed in it is written.
 * 3. The L1 table, the refcounts and then the magic number are written by finish(), in this order.
 */
#include "block/qcow2_build.h"

#include "qcow2.h"

#include "base/error.h"

#include <assert.h>
#include <errno.h>

struct l2 {
    uint64_t placed, written; /* clusters */
    uint8_t data[];
};

struct qcow2_build {
    /* immutable */
    struct blk_node *file;
    uint32_t cluster_bits, l2_bits, refcount_bits;
    uint64_t cluster_bytes, l1_offset, l1_entries;
    uint16_t ref_max;
    bool sparse;
    /* under lock */
    pthread_mutex_t lock;
    uint64_t *l1; /* host byte order */
    struct l2 **l2;
    uint64_t l2_first;               /* those below are written */
    uint64_t frontier;               /* guest bytes: placed so far */
    uint64_t end;                    /* clusters of the file */
    uint64_t packed_at, packed_room; /* bytes: where the next packed cluster may go */
    uint16_t *refs;
    uint64_t refs_size;
    uint64_t reftable_offset;
    uint32_t reftable_clusters;
};

/* ---- beginning ---- */

static bool read_header(struct qcow2_build *b, GError **err)
{
    uint8_t h[112] = {0};
    int r = q2_io(b->file, BLK_READ, 0, h, sizeof(h));

    if (r < 0)
        return error_errno(err, -r, "Could not read '%s'", blk_filename(b->file));
    assert(!memcmp(h, "QFI\xfb", 4)); /* the caller has just made it */
    b->cluster_bits = be32_get(h + 20);
    b->cluster_bytes = BIT64(b->cluster_bits);
    b->l2_bits = b->cluster_bits - 3;
    b->l1_entries = be32_get(h + 36);
    b->l1_offset = be64_get(h + 40);
    b->reftable_offset = be64_get(h + 48);
    b->reftable_clusters = be32_get(h + 56);
    b->refcount_bits = be32_get(h + 4) >= 3 ? 1u << be32_get(h + 96) : 16;
    b->ref_max = b->refcount_bits >= 16 ? UINT16_MAX : (uint16_t)(BIT(b->refcount_bits) - 1);
    return true;
}

/* n more clusters at the end of the file, each counted once. */
static int extend(struct qcow2_build *b, uint64_t n, uint64_t *first)
{
    if (b->end + n > b->refs_size) {
        uint64_t size = MAX_OF(b->end + n, b->refs_size * 2);
        uint16_t *more = g_try_renew(uint16_t, b->refs, size);
        if (!more)
            return -ENOMEM;
        b->refs = more;
        b->refs_size = size;
    }
    for (uint64_t i = 0; i < n; i++)
        b->refs[b->end + i] = 1;
    *first = b->end;
    b->end += n;
    return (b->end << b->cluster_bits) > Q2_OFFSET_MASK ? -EFBIG : 0;
}

struct qcow2_build *qcow2_build_new(struct blk_node *file, bool sparse, GError **err)
{
    struct qcow2_build *b = g_new0(struct qcow2_build, 1);
    struct blk_limits l;
    uint8_t none[4] = {0};
    uint64_t first;

    b->file = file;
    b->sparse = sparse;
    pthread_mutex_init(&b->lock, NULL);
    blk_limits(file, &l);
    if (!read_header(b, err)) {
        qcow2_build_free(b);
        return NULL;
    }
    b->l1 = g_try_new0(uint64_t, b->l1_entries + 1);
    b->l2 = g_try_new0(struct l2 *, b->l1_entries + 1);
    int r = b->l1 && b->l2
                ? extend(b, (l.size_bytes + b->cluster_bytes - 1) >> b->cluster_bits, &first)
                : -ENOMEM;
    if (r == 0)
        r = q2_io(file, BLK_WRITE, 0, none, sizeof(none));
    if (r == 0)
        return b;
    error_errno(err, -r, "Could not write '%s'", blk_filename(file));
    qcow2_build_free(b);
    return NULL;
}

void qcow2_build_free(struct qcow2_build *b)
{
    if (!b)
        return;
    for (uint64_t i = 0; b->l2 && i < b->l1_entries; i++)
        g_free(b->l2[i]);
    g_free(b->l2);
    g_free(b->l1);
    g_free(b->refs);
    pthread_mutex_destroy(&b->lock);
    g_free(b);
}

uint64_t qcow2_build_cluster_bytes(const struct qcow2_build *b)
{
    return b->cluster_bytes;
}

/* ---- placing ---- */

/* Writes the tables that place() has gone past, in order, as far as they are complete. */
static int retire_l2(struct qcow2_build *b, uint64_t before)
{
    for (; b->l2_first < before; b->l2_first++) {
        struct l2 *t = b->l2[b->l2_first];
        if (!t)
            continue;
        if (t->placed != t->written)
            return 0;
        int r = q2_io(b->file, BLK_WRITE, b->l1[b->l2_first] & Q2_OFFSET_MASK, t->data,
                      b->cluster_bytes);
        if (r < 0)
            return r;
        g_free(t);
        b->l2[b->l2_first] = NULL;
    }
    return 0;
}

static int need_l2(struct qcow2_build *b, uint64_t index)
{
    uint64_t cluster;

    if (b->l2[index])
        return 0;
    int r = extend(b, 1, &cluster);
    if (r < 0)
        return r;
    b->l2[index] = g_try_malloc0(sizeof(struct l2) + b->cluster_bytes);
    b->l1[index] = (cluster << b->cluster_bits) | Q2_COPIED;
    return b->l2[index] ? 0 : -ENOMEM;
}

/* A packed cluster may begin anywhere, and reach into the next cluster when that is the new end. */
static int place_packed(struct qcow2_build *b, struct qcow2_piece *p)
{
    uint64_t need = p->packed_bytes, at = b->packed_at >> b->cluster_bits, new;
    bool at_end = b->packed_room && at + 1 == b->end,
         full = b->packed_room && b->refs[at] >= b->ref_max;

    if (!b->packed_room || full || (need > b->packed_room && !at_end)) {
        int r = extend(b, 1, &new);
        if (r < 0)
            return r;
        b->packed_at = new << b->cluster_bits;
        b->packed_room = b->cluster_bytes;
        b->refs[new] = 0;
        at = new;
    }
    if (need > b->packed_room) { /* less than a cluster: one more is enough */
        int r = extend(b, 1, &new);
        if (r < 0)
            return r;
        b->packed_room += b->cluster_bytes;
    }
    b->refs[at]++;
    p->host_bytes = b->packed_at;
    b->packed_at += need;
    b->packed_room -= need;
    return 0;
}

static int place_one(struct qcow2_build *b, struct qcow2_piece *p)
{
    uint64_t span = b->cluster_bits + b->l2_bits, bytes = p->clusters << b->cluster_bits;
    uint64_t first = p->guest_bytes >> span, last = (p->guest_bytes + bytes - 1) >> span, cluster;

    assert(p->guest_bytes >= b->frontier && last < b->l1_entries && bytes);
    b->frontier = p->guest_bytes + bytes;
    for (uint64_t i = first; i <= last; i++) {
        int r = need_l2(b, i);
        if (r < 0)
            return r;
        uint64_t from = MAX_OF(p->guest_bytes, i << span),
                 to = MIN_OF(b->frontier, (i + 1) << span);
        b->l2[i]->placed += (to - from) >> b->cluster_bits;
    }
    if (p->kind == QCOW2_PIECE_PACKED)
        return place_packed(b, p);
    p->host_bytes = 0;
    if (p->kind == QCOW2_PIECE_ZERO)
        return 0;
    int r = extend(b, p->clusters, &cluster);
    p->host_bytes = cluster << b->cluster_bits;
    return r;
}

int qcow2_build_place(struct qcow2_build *b, struct qcow2_piece *pieces, size_t count)
{
    int r = 0;

    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < count && r == 0; i++)
        r = place_one(b, &pieces[i]);
    if (r == 0)
        r = retire_l2(b, b->frontier >> (b->cluster_bits + b->l2_bits));
    pthread_mutex_unlock(&b->lock);
    return r;
}

/* ---- writing ---- */

static bool block_is_zero(const uint8_t *p, uint64_t len)
{
    return p[0] == 0 && !memcmp(p, p + 1, len - 1);
}

static uint64_t piece_entry(const struct qcow2_build *b, const struct qcow2_piece *p, uint64_t nth)
{
    if (p->kind == QCOW2_PIECE_ZERO)
        return Q2_ZERO;
    if (p->kind == QCOW2_PIECE_PLAIN)
        return (p->host_bytes + (nth << b->cluster_bits)) | Q2_COPIED;
    uint64_t sectors = ((p->host_bytes + p->packed_bytes - 1) >> 9) - (p->host_bytes >> 9);
    return Q2_COMPRESSED | sectors << (62 - (b->cluster_bits - 8)) | p->host_bytes;
}

static void set_entries(struct qcow2_build *b, const struct qcow2_piece *p)
{
    uint64_t cluster = p->guest_bytes >> b->cluster_bits;

    for (uint64_t i = 0; i < p->clusters; i++) {
        struct l2 *t = b->l2[(cluster + i) >> b->l2_bits];
        be64_put(t->data + ((cluster + i) & (BIT64(b->l2_bits) - 1)) * 8, piece_entry(b, p, i));
        t->written++;
    }
}

/* The file reads as zeroes where it was never written: runs of zero blocks are left out. */
static int write_plain(struct qcow2_build *b, const struct qcow2_piece *p)
{
    uint64_t len = p->clusters << b->cluster_bits, unit = MIN_OF(b->cluster_bytes, (uint64_t)4096);

    if (!b->sparse)
        return q2_io(b->file, BLK_WRITE, p->host_bytes, (uint8_t *)p->data, len);
    for (uint64_t from = 0, to; from < len; from = to) {
        bool zero = block_is_zero(p->data + from, unit);
        for (to = from + unit; to < len && block_is_zero(p->data + to, unit) == zero;)
            to += unit;
        int r = zero ? 0
                     : q2_io(b->file, BLK_WRITE, p->host_bytes + from, (uint8_t *)p->data + from,
                             to - from);
        if (r < 0)
            return r;
    }
    return 0;
}

/* From pieces[*i] on, as many as are neighbours in the file: one write. */
static int write_packed(struct qcow2_build *b, const struct qcow2_piece *pieces, size_t count,
                        size_t *i)
{
    enum { PARTS = 64 };
    struct iovec parts[PARTS];
    uint64_t at = pieces[*i].host_bytes, len = 0;
    int n = 0;

    while (*i < count && n < PARTS && pieces[*i].kind == QCOW2_PIECE_PACKED &&
           pieces[*i].host_bytes == at + len) {
        parts[n++] = (struct iovec){(uint8_t *)pieces[*i].data, pieces[*i].packed_bytes};
        len += pieces[*i].packed_bytes;
        ++*i;
    }
    return q2_io_iov(b->file, BLK_WRITE, at, parts, n, 0, len);
}

int qcow2_build_write(struct qcow2_build *b, const struct qcow2_piece *pieces, size_t count)
{
    int r = 0;

    for (size_t i = 0; i < count && r == 0;) {
        if (pieces[i].kind == QCOW2_PIECE_PACKED) {
            r = write_packed(b, pieces, count, &i);
            continue;
        }
        if (pieces[i].kind == QCOW2_PIECE_PLAIN)
            r = write_plain(b, &pieces[i]);
        i++;
    }
    if (r < 0)
        return r;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < count; i++)
        set_entries(b, &pieces[i]);
    pthread_mutex_unlock(&b->lock);
    return 0;
}

/* ---- finishing ---- */

static void put_count(uint8_t *block, uint64_t index, uint32_t bits, uint16_t count)
{
    if (bits < 8)
        block[index * bits / 8] |= (uint8_t)(count << (index * bits % 8));
    else if (bits == 8)
        block[index] = (uint8_t)count;
    else /* big-endian: the low 16 bits come last */
        be16_put(block + (index + 1) * (bits / 8) - 2, count);
}

static uint64_t div_up(uint64_t a, uint64_t n)
{
    return a / n + (a % n != 0);
}

struct refplan {
    uint64_t per_block, blocks, old_blocks, new_first; /* clusters */
    uint64_t *table;                                   /* big-endian, as on disk */
};

/* The refcount blocks that are there stay; more of them, and a larger table, go to the end. */
static int plan_refcounts(struct qcow2_build *b, struct refplan *p)
{
    uint64_t per_table = b->cluster_bytes / 8, entries = b->reftable_clusters * per_table;
    uint64_t blocks = p->old_blocks, table = 0, need_blocks, need_table;

    for (;; blocks = need_blocks, table = need_table) { /* both only grow */
        uint64_t total = b->end + blocks - p->old_blocks + table;
        need_blocks = MAX_OF(div_up(total, p->per_block), blocks);
        need_table = need_blocks > entries ? div_up(need_blocks, per_table) : 0;
        if (need_blocks == blocks && need_table == table)
            break;
    }
    int r = extend(b, blocks - p->old_blocks + table, &p->new_first);
    p->blocks = blocks;
    if (r == 0 && table) {
        uint64_t *larger = g_try_renew(uint64_t, p->table, table * per_table);
        if (!larger)
            return -ENOMEM;
        p->table = larger;
        memset(larger + entries, 0, (table * per_table - entries) * 8);
        for (uint32_t i = 0; i < b->reftable_clusters; i++)
            b->refs[(b->reftable_offset >> b->cluster_bits) + i] = 0;
        b->reftable_offset = (p->new_first + blocks - p->old_blocks) << b->cluster_bits;
        b->reftable_clusters = (uint32_t)table;
    }
    for (uint64_t i = p->old_blocks; r == 0 && i < blocks; i++)
        be64_put(&p->table[i], (p->new_first + i - p->old_blocks) << b->cluster_bits);
    return r;
}

static int write_refblocks(struct qcow2_build *b, const struct refplan *p)
{
    g_autofree uint8_t *block = g_malloc(b->cluster_bytes);

    for (uint64_t i = 0; i < p->blocks; i++) {
        uint64_t first = i * p->per_block, last = MIN_OF(b->end, first + p->per_block);
        memset(block, 0, b->cluster_bytes);
        for (uint64_t c = first; c < last; c++)
            put_count(block, c - first, b->refcount_bits, b->refs[c]);
        int r = q2_io(b->file, BLK_WRITE, be64_get(&p->table[i]), block, b->cluster_bytes);
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_refcounts(struct qcow2_build *b)
{
    struct refplan p = {.per_block = b->cluster_bytes * 8 / b->refcount_bits};
    uint64_t bytes = (uint64_t)b->reftable_clusters << b->cluster_bits;
    uint8_t place[12];

    p.table = g_try_malloc(bytes);
    int r = p.table ? q2_io(b->file, BLK_READ, b->reftable_offset, p.table, bytes) : -ENOMEM;
    while (r == 0 && p.old_blocks < bytes / 8 && p.table[p.old_blocks])
        p.old_blocks++;
    if (r == 0)
        r = plan_refcounts(b, &p);
    if (r == 0)
        r = write_refblocks(b, &p);
    if (r == 0)
        r = q2_io(b->file, BLK_WRITE, b->reftable_offset, p.table,
                  (uint64_t)b->reftable_clusters << b->cluster_bits);
    g_free(p.table);
    be64_put(place, b->reftable_offset);
    be32_put(place + 8, b->reftable_clusters);
    return r == 0 ? q2_io(b->file, BLK_WRITE, Q2_HEADER_REFTABLE, place, sizeof(place)) : r;
}

static int write_l1(struct qcow2_build *b)
{
    g_autofree uint64_t *be = g_try_new(uint64_t, b->l1_entries + 1);

    if (!be)
        return -ENOMEM;
    for (uint64_t i = 0; i < b->l1_entries; i++)
        be64_put(&be[i], b->l1[i]);
    return b->l1_entries ? q2_io(b->file, BLK_WRITE, b->l1_offset, be, b->l1_entries * 8) : 0;
}

/* The last packed cluster, or one that was never written, may lie behind the end of the file. */
static int fill_up(struct qcow2_build *b)
{
    static const uint8_t zero;
    uint64_t last = (b->end << b->cluster_bits) - 1;
    uint8_t byte;
    int r = q2_io(b->file, BLK_READ, last, &byte, 1); /* zero behind the end */

    return r == 0 && byte == zero ? q2_io(b->file, BLK_WRITE, last, &byte, 1) : r;
}

bool qcow2_build_finish(struct qcow2_build *b, bool sync, GError **err)
{
    uint8_t magic[4] = {'Q', 'F', 'I', 0xfb};

    pthread_mutex_lock(&b->lock);
    int r = retire_l2(b, b->l1_entries);
    assert(r < 0 || b->l2_first == b->l1_entries); /* all that was placed is written */
    if (r == 0)
        r = write_l1(b);
    if (r == 0)
        r = write_refcounts(b);
    if (r == 0)
        r = fill_up(b);
    if (r == 0 && sync)
        r = q2_io(b->file, BLK_FLUSH, 0, NULL, 0);
    if (r == 0)
        r = q2_io(b->file, BLK_WRITE, 0, magic, sizeof(magic));
    if (r == 0 && sync)
        r = q2_io(b->file, BLK_FLUSH, 0, NULL, 0);
    pthread_mutex_unlock(&b->lock);
    return r == 0 || error_errno(err, -r, "Could not write '%s'", blk_filename(b->file));
}
