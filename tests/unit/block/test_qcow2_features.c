/* test_qcow2_features.c - each thing that a qcow2 image can have or have done to it; what was made
 * here is looked at by qemu-img too, where it is installed. */
#include "qcow2_bed.h"

#include "base/util.h"
#include "qcow2/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 4 << 20, CLUSTER = 65536, HALF = SIZE / 2 };

struct bed {
    char *dir, *image, *other;
    uint8_t *data, *in;
    struct blk_node *n;
};

static void fill(uint8_t *p, uint64_t len, unsigned seed)
{
    GRand *r = g_rand_new_with_seed(seed);
    uint32_t v = g_rand_int(r);

    for (uint64_t i = 0; i < len; i++)
        p[i] = (uint8_t)((v = v * 1664525 + 1013904223) >> 24);
    g_rand_free(r);
}

static void make(const char *path, const struct qcow2_create *how)
{
    GError *why = NULL;
    struct qcow2_create c = *how;

    c.size_bytes = c.size_bytes ? c.size_bytes : SIZE;
    c.version = c.version ? c.version : 3;
    c.cluster_bytes = c.cluster_bytes ? c.cluster_bytes : CLUSTER;
    qcow2_create(path, &c, &why);
    g_assert_no_error(why);
}

static void bed_open(struct bed *b, const struct qcow2_create *how)
{
    *b = (struct bed){.dir = g_dir_make_tmp("hanok-qcow2-XXXXXX", NULL)};
    b->image = g_build_filename(b->dir, "disk.qcow2", NULL);
    b->other = g_build_filename(b->dir, "other.img", NULL);
    b->data = g_malloc0(2 * SIZE);
    b->in = g_malloc0(2 * SIZE);
    fill(b->data, SIZE, 1);
    if (how)
        make(b->image, how);
}

static void bed_close(struct bed *b)
{
    blk_close(b->n);
    remove_tree(b->dir);
    g_free(b->dir);
    g_free(b->image);
    g_free(b->other);
    g_free(b->data);
    g_free(b->in);
}

static void reopen(struct bed *b, const char *more)
{
    blk_close(b->n);
    b->n = NULL;
    b->n = open_ok(b->image, more);
}

static void settle(struct bed *b) /* closed, and clean in everybody's eyes */
{
    g_autofree char *qemu = g_find_program_in_path("qemu-img");

    blk_close(b->n);
    b->n = NULL;
    own_check(b->image, false);
    if (qemu)
        g_assert_cmpint(QEMU_IMG("check", "-q", b->image), ==, 0);
}

static void write_all(struct bed *b, const uint8_t *data, uint64_t from, uint64_t len)
{
    g_assert_cmpint(io(b->n, BLK_WRITE, from, (void *)(uintptr_t)(data + from), len, 0), ==, 0);
}

static void expect(struct bed *b, const uint8_t *data, uint64_t from, uint64_t len)
{
    memset(b->in, 0xa5, len);
    g_assert_cmpint(io(b->n, BLK_READ, from, b->in, len, 0), ==, 0);
    for (uint64_t i = 0; i < len; i += 512) {
        if (memcmp(b->in + i, data + from + i, MIN_OF(len - i, (uint64_t)512)))
            g_error("the image differs at %" G_GUINT64_FORMAT, (guint64)(from + i));
    }
}

static uint64_t host_bytes(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return (uint64_t)st.st_blocks * 512;
}

#define OK(call)                                                                                   \
    do {                                                                                           \
        GError *err = NULL;                                                                        \
        bool ok_ = (call);                                                                         \
        g_assert_no_error(err);                                                                    \
        g_assert_true(ok_);                                                                        \
    } while (0)

static void refused(bool ok, GError **err, const char *word)
{
    g_assert_false(ok);
    g_assert_nonnull(*err);
    if (!strstr((*err)->message, word))
        g_error("'%s' lacks '%s'", (*err)->message, word);
    g_clear_error(err);
}

/* ---- snapshots ---- */

static void snapshots_with(const struct qcow2_create *how)
{
    struct bed b;
    uint32_t count;

    bed_open(&b, how);
    g_autofree uint8_t *one = g_memdup2(b.data, SIZE), *two = g_memdup2(b.data, SIZE);
    fill(two + CLUSTER / 2, HALF, 2);
    memset(two + HALF + CLUSTER, 0, CLUSTER);
    reopen(&b, ",discard=unmap");
    write_all(&b, one, 0, SIZE - CLUSTER);
    memset(one + SIZE - CLUSTER, 0, CLUSTER);
    OK(qcow2_snapshot_create(b.n, "one", &err));
    write_all(&b, two, 0, HALF + CLUSTER);
    write_all(&b, one, 0, CLUSTER / 2);
    memcpy(two, one, CLUSTER / 2);
    g_assert_cmpint(io(b.n, BLK_WRITE_ZEROES, HALF + CLUSTER, NULL, CLUSTER, BLK_REQ_UNMAP), ==, 0);
    memcpy(two + SIZE - CLUSTER, one + SIZE - CLUSTER, CLUSTER);
    expect(&b, two, 0, SIZE);
    OK(qcow2_snapshot_create(b.n, "two", &err));
    settle(&b);
    reopen(&b, "");
    OK(qcow2_snapshot_apply(b.n, "one", &err));
    expect(&b, one, 0, SIZE);
    write_all(&b, two, 0, CLUSTER); /* does not reach the snapshot */
    OK(qcow2_snapshot_apply(b.n, "1", &err));
    expect(&b, one, 0, SIZE);
    settle(&b);
    reopen(&b, "");
    OK(qcow2_snapshot_delete(b.n, "one", &err));
    const struct qcow2_snapshot *s = qcow2_snapshots(b.n, &count);
    g_assert_cmpuint(count, ==, 1);
    g_assert_cmpstr(s[0].name, ==, "two");
    g_assert_cmpuint(s[0].disk_bytes, ==, SIZE);
    expect(&b, one, 0, SIZE);
    settle(&b);
    reopen(&b, ",read-only=on");
    OK(qcow2_snapshot_show(b.n, "two", &err));
    expect(&b, two, 0, SIZE);
    reopen(&b, "");
    OK(qcow2_snapshot_apply(b.n, "two", &err));
    OK(qcow2_snapshot_delete(b.n, "2", &err));
    expect(&b, two, 0, SIZE);
    settle(&b);
    bed_close(&b);
}

static void test_snapshots(void)
{
    snapshots_with(&(struct qcow2_create){0});
    snapshots_with(&(struct qcow2_create){.version = 2});
    snapshots_with(&(struct qcow2_create){.extended_l2 = true, .refcount_bits = 64});
    snapshots_with(&(struct qcow2_create){.cluster_bytes = 512, .refcount_bits = 4});
    snapshots_with(&(struct qcow2_create){.lazy_refcounts = true, .refcount_bits = 8});
}

static void test_snapshot_keeps_the_size(void)
{
    struct bed b;

    bed_open(&b, &(struct qcow2_create){.cluster_bytes = 4096});
    reopen(&b, "");
    write_all(&b, b.data, 0, SIZE);
    OK(qcow2_snapshot_create(b.n, "short", &err));
    OK(blk_resize(b.n, 2 * SIZE, &err));
    write_all(&b, b.data, SIZE, SIZE);
    OK(qcow2_snapshot_create(b.n, "long", &err));
    OK(qcow2_snapshot_apply(b.n, "short", &err));
    struct blk_limits l;
    blk_limits(b.n, &l);
    g_assert_cmpuint(l.size_bytes, ==, SIZE);
    expect(&b, b.data, 0, SIZE);
    OK(qcow2_snapshot_apply(b.n, "long", &err));
    expect(&b, b.data, 0, 2 * SIZE);
    settle(&b);
    bed_close(&b);
}

static void test_snapshot_refusals(void)
{
    struct bed b;
    GError *why = NULL;

    bed_open(&b, &(struct qcow2_create){.refcount_bits = 1});
    reopen(&b, "");
    write_all(&b, b.data, 0, CLUSTER);
    refused(qcow2_snapshot_create(b.n, "x", &why), &why, "too little");
    refused(qcow2_snapshot_apply(b.n, "x", &why), &why, "no snapshot 'x'");
    refused(qcow2_snapshot_delete(b.n, "x", &why), &why, "no snapshot 'x'");
    settle(&b);
    reopen(&b, ",read-only=on");
    refused(qcow2_snapshot_create(b.n, "x", &why), &why, "read-only");
    bed_close(&b);
}

/* ---- sizes ---- */

static void test_resize(void)
{
    static const uint64_t clusters[] = {512, 4096, CLUSTER};
    struct bed b;

    for (size_t i = 0; i < ARRAY_SIZE(clusters); i++) {
        bed_open(&b,
                 &(struct qcow2_create){.cluster_bytes = clusters[i], .size_bytes = HALF + 512});
        reopen(&b, ",discard=unmap");
        write_all(&b, b.data, 0, HALF + 512);
        OK(blk_resize(b.n, SIZE, &err));
        memset(b.data + HALF + 512, 0, HALF - 512);
        expect(&b, b.data, 0, SIZE);
        settle(&b);
        uint64_t before = host_bytes(b.image);
        reopen(&b, "");
        OK(blk_resize(b.n, CLUSTER + 1024, &err));
        settle(&b);
        g_assert_cmpuint(host_bytes(b.image), <, before / 2);
        reopen(&b, "");
        OK(blk_resize(b.n, SIZE, &err));
        memset(b.data + CLUSTER + 1024, 0, SIZE - CLUSTER - 1024);
        expect(&b, b.data, 0, SIZE);
        settle(&b);
        bed_close(&b);
    }
}

/* Tables longer than what a refcount block counts: 64 clusters of 512 bytes. */
static void test_long_tables(void)
{
    struct bed b;
    uint64_t size = 200ull << 20;

    bed_open(&b, NULL);
    struct qcow2_create c = {
        .size_bytes = size, .cluster_bytes = 512, .version = 3, .refcount_bits = 64};
    make(b.image, &c);
    reopen(&b, "");
    write_all(&b, b.data, 0, CLUSTER);
    OK(blk_resize(b.n, 1 << 30, &err));
    OK(qcow2_snapshot_create(b.n, "one", &err));
    write_all(&b, b.data, CLUSTER, SIZE - CLUSTER);
    expect(&b, b.data, 0, SIZE);
    OK(blk_resize(b.n, 3ull << 30, &err));
    OK(qcow2_snapshot_create(b.n, "two", &err));
    settle(&b);
    reopen(&b, "");
    OK(qcow2_snapshot_delete(b.n, "one", &err));
    expect(&b, b.data, 0, SIZE);
    settle(&b);
    bed_close(&b);
}

/* The backing image is longer: growing does not let it through. */
static void test_growing_hides_the_backing_image(void)
{
    struct bed b;

    bed_open(&b, NULL);
    g_assert_true(g_file_set_contents(b.other, (char *)b.data, SIZE, NULL));
    for (unsigned version = 2; version <= 3; version++) {
        make(b.image, &(struct qcow2_create){.size_bytes = CLUSTER + 4096,
                                             .version = version,
                                             .backing_file = "other.img",
                                             .backing_format = "raw"});
        reopen(&b, "");
        OK(blk_resize(b.n, SIZE, &err));
        g_autofree uint8_t *now = g_malloc0(SIZE);
        memcpy(now, b.data, CLUSTER + 4096);
        expect(&b, now, 0, SIZE);
        settle(&b);
    }
    bed_close(&b);
}

static void test_preallocation(void)
{
    struct bed b;

    for (unsigned how = BLK_PREALLOC_METADATA; how <= BLK_PREALLOC_FULL; how++) {
        struct qcow2_create c = {.preallocation = (enum blk_prealloc)how};
        struct blk_status s;
        bed_open(&b, &c);
        memset(b.data, 0, SIZE);
        if (how >= BLK_PREALLOC_FALLOC)
            g_assert_cmpuint(host_bytes(b.image), >=, SIZE);
        else
            g_assert_cmpuint(host_bytes(b.image), <, HALF);
        reopen(&b, "");
        g_assert_cmpint(blk_status(b.n, 0, SIZE, false, &s), ==, 0);
        g_assert_cmpuint(s.flags & BLK_STATUS_OFFSET, !=, 0);
        expect(&b, b.data, 0, SIZE);
        OK(qcow2_resize(b.n, SIZE + 3 * CLUSTER, (enum blk_prealloc)how, &err));
        expect(&b, b.data, 0, SIZE + 3 * CLUSTER);
        fill(b.data, SIZE, 4);
        write_all(&b, b.data, 0, SIZE);
        expect(&b, b.data, 0, SIZE);
        settle(&b);
        bed_close(&b);
    }
}

/* What is added lies behind the backing image's end, or was made zero: a place hides nothing. */
static void test_preallocated_growth_over_a_backing_image(void)
{
    struct bed b;

    bed_open(&b, NULL);
    g_assert_true(g_file_set_contents(b.other, (char *)b.data, HALF, NULL));
    memset(b.data + HALF, 0, HALF);
    for (unsigned extended = 0; extended < 2; extended++) {
        make(b.image, &(struct qcow2_create){.size_bytes = HALF / 2 + 512,
                                             .extended_l2 = extended,
                                             .backing_file = "other.img",
                                             .backing_format = "raw"});
        reopen(&b, "");
        OK(qcow2_resize(b.n, SIZE, BLK_PREALLOC_FALLOC, &err));
        g_autofree uint8_t *now = g_malloc0(SIZE);
        memcpy(now, b.data, HALF / 2 + 512);
        expect(&b, now, 0, SIZE);
        settle(&b);
        g_assert_cmpuint(host_bytes(b.image), >=, SIZE - HALF / 2 - 2 * CLUSTER);
    }
    bed_close(&b);
}

/* ---- compressed clusters ---- */

struct packer {
    pthread_t thread;
    struct bed *b;
    uint64_t from;
};

static void *pack_some(void *opaque)
{
    struct packer *p = opaque;

    for (uint64_t at = p->from; at < SIZE; at += 4ull * CLUSTER)
        g_assert_cmpint(blk_pwrite(p->b->n, at, p->b->data + at, CLUSTER, BLK_REQ_COMPRESSED), ==,
                        0);
    return NULL;
}

static void compressed_with(const struct qcow2_create *how)
{
    struct packer p[4];
    struct blk_status s;
    struct bed b;

    bed_open(&b, how);
    for (uint64_t i = 0; i < SIZE; i++) /* half of it becomes short, a piece does not */
        b.data[i] = i % 3 && (i < 3 * CLUSTER || i > 5 * CLUSTER) ? 7 : b.data[i];
    reopen(&b, "");
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (struct packer){.b = &b, .from = i * CLUSTER};
        g_assert_cmpint(pthread_create(&p[i].thread, NULL, pack_some, &p[i]), ==, 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(p[i].thread, NULL);
    g_assert_cmpint(blk_status(b.n, 0, CLUSTER, false, &s), ==, 0);
    g_assert_cmpuint(s.flags & BLK_STATUS_COMPRESSED, !=, 0);
    expect(&b, b.data, 0, SIZE);
    g_assert_cmpint(io(b.n, BLK_WRITE, 512, b.data, CLUSTER, BLK_REQ_COMPRESSED), ==, -EINVAL);
    settle(&b);
    if (how->refcount_bits != 1)
        g_assert_cmpuint(host_bytes(b.image), <, SIZE * 3 / 4);
    reopen(&b, ",discard=unmap");
    expect(&b, b.data, 0, SIZE);
    fill(b.data + CLUSTER / 2, HALF, 3); /* written over, and packed over */
    write_all(&b, b.data, CLUSTER / 2, HALF);
    g_assert_cmpint(io(b.n, BLK_WRITE, HALF, b.data + HALF, HALF, BLK_REQ_COMPRESSED), ==, 0);
    expect(&b, b.data, 0, SIZE);
    settle(&b);
    bed_close(&b);
}

static void test_compressed(void)
{
    compressed_with(&(struct qcow2_create){0});
    compressed_with(&(struct qcow2_create){.version = 2});
    compressed_with(&(struct qcow2_create){.zstd = true});
    compressed_with(&(struct qcow2_create){.refcount_bits = 1});
    compressed_with(&(struct qcow2_create){.refcount_bits = 2, .extended_l2 = true});
}

/* ---- many at once ---- */

enum { THREADS = 5, ROUNDS = 250, OWNERS = THREADS + 1 };

struct owner {
    pthread_t thread;
    struct bed *b;
    unsigned number;
    bool by_loop; /* through the queue, as a device does */
};

static int one_request(struct owner *o, enum blk_op op, uint64_t off, void *buf)
{
    if (o->by_loop)
        return io(o->b->n, op, off, buf, 512, BLK_REQ_UNMAP);
    switch (op) {
    case BLK_READ:
        return blk_pread(o->b->n, off, buf, 512);
    case BLK_WRITE:
        return blk_pwrite(o->b->n, off, buf, 512, 0);
    case BLK_FLUSH:
        return blk_pflush(o->b->n);
    default:
        return blk_pzero(o->b->n, off, 512, BLK_REQ_UNMAP);
    }
}

/* Every owner has sectors in every cluster, and looks after them only. */
static void *look_after(void *opaque)
{
    struct owner *o = opaque;
    GRand *r = g_rand_new_with_seed(o->number);
    uint8_t buf[512];

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t sector = (uint64_t)g_rand_int_range(r, 0, HALF / 512 / OWNERS) * OWNERS;
        uint64_t off = (sector + o->number) * 512;
        uint8_t *mine = o->b->data + off;
        unsigned what = (unsigned)g_rand_int_range(r, 0, 12);
        if (what < 6) {
            memset(mine, g_rand_int_range(r, 1, 256), 512);
            g_assert_cmpint(one_request(o, BLK_WRITE, off, mine), ==, 0);
        } else if (what < 7) {
            memset(mine, 0, 512);
            g_assert_cmpint(one_request(o, BLK_WRITE_ZEROES, off, NULL), ==, 0);
        } else if (what < 8) {
            g_assert_cmpint(one_request(o, BLK_FLUSH, 0, NULL), ==, 0);
        }
        g_assert_cmpint(one_request(o, BLK_READ, off, buf), ==, 0);
        g_assert_cmpint(memcmp(buf, mine, 512), ==, 0);
    }
    g_rand_free(r);
    return NULL;
}

static void threads_with(const struct qcow2_create *how)
{
    struct owner o[OWNERS];
    struct bed b;

    bed_open(&b, NULL);
    make(b.other, &(struct qcow2_create){.zstd = true});
    b.n = open_ok(b.other, "");
    memset(b.data + CLUSTER, 9, 4 * CLUSTER);
    g_assert_cmpint(io(b.n, BLK_WRITE, 0, b.data, HALF, BLK_REQ_COMPRESSED), ==, 0);
    memset(b.data + HALF, 0, HALF);
    make(b.image, how);
    reopen(&b, ",discard=unmap,file.discard=unmap");
    write_all(&b, b.data, 8 * CLUSTER, CLUSTER);
    OK(qcow2_snapshot_create(b.n, "below", &err));
    for (unsigned i = 0; i < OWNERS; i++) {
        o[i] = (struct owner){.b = &b, .number = i, .by_loop = i == THREADS};
        if (i < THREADS)
            g_assert_cmpint(pthread_create(&o[i].thread, NULL, look_after, &o[i]), ==, 0);
    }
    look_after(&o[THREADS]);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(o[i].thread, NULL);
    expect(&b, b.data, 0, SIZE);
    settle(&b);
    bed_close(&b);
}

static void test_threads(void)
{
    struct qcow2_create c = {.backing_file = "other.img", .backing_format = "qcow2"};

    threads_with(&c);
    c.extended_l2 = true;
    threads_with(&c);
    c = (struct qcow2_create){
        .backing_file = "other.img", .backing_format = "qcow2", .cluster_bytes = 512};
    threads_with(&c);
}

/* ---- subclusters ---- */

static void test_subclusters(void)
{
    struct blk_status s;
    struct bed b;

    bed_open(&b, NULL);
    g_assert_true(g_file_set_contents(b.other, (char *)b.data, SIZE, NULL));
    make(b.image, &(struct qcow2_create){
                      .extended_l2 = true, .backing_file = "other.img", .backing_format = "raw"});
    reopen(&b, "");
    fill(b.data + 10 * 2048 + 512, 1024, 5);
    write_all(&b, b.data, 10 * 2048 + 512, 1024);
    expect(&b, b.data, 0, SIZE);
    /* only the one subcluster is this image's */
    g_assert_cmpint(blk_status(b.n, 0, CLUSTER, false, &s), ==, 0);
    g_assert_cmpuint(s.flags, ==, 0);
    g_assert_cmpuint(s.len_bytes, ==, 10 * 2048);
    g_assert_cmpint(blk_status(b.n, 10 * 2048, CLUSTER, false, &s), ==, 0);
    g_assert_cmpuint(s.flags & BLK_STATUS_DATA, !=, 0);
    g_assert_cmpuint(s.len_bytes, ==, 2048);
    g_assert_cmpint(io(b.n, BLK_WRITE_ZEROES, 9 * 2048, NULL, 4 * 2048, 0), ==, 0);
    memset(b.data + 9 * 2048, 0, 4 * 2048);
    expect(&b, b.data, 0, SIZE);
    g_assert_cmpint(blk_status(b.n, 9 * 2048, CLUSTER, false, &s), ==, 0);
    g_assert_cmpuint(s.flags, ==, BLK_STATUS_ALLOCATED | BLK_STATUS_ZERO);
    g_assert_cmpuint(s.len_bytes, ==, 4 * 2048);
    settle(&b);
    bed_close(&b);
}

/* ---- damage and repair ---- */

static void repair(struct bed *b, unsigned fix, struct qcow2_check *found)
{
    blk_close(b->n);
    b->n = open_ok(b->image, ",for-check=on,backing=");
    OK(qcow2_check(b->n, fix, on_finding, NULL, found, &err));
    blk_close(b->n);
    b->n = NULL;
}

static uint64_t be64_at(const char *path, off_t at)
{
    uint64_t v;
    int fd = open(path, O_RDONLY);

    g_assert_cmpint(pread(fd, &v, 8, at), ==, 8);
    close(fd);
    return __builtin_bswap64(v);
}

static void test_lazy_refcounts(void)
{
    struct bed b;
    g_autofree char *killed = NULL;

    bed_open(&b, &(struct qcow2_create){.lazy_refcounts = true});
    killed = g_build_filename(b.dir, "killed.qcow2", NULL);
    reopen(&b, "");
    g_assert_cmpuint(be64_at(b.image, 72) & 1, ==, 0);
    write_all(&b, b.data, 0, SIZE);
    g_assert_cmpint(io(b.n, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    copy_file(b.image, killed);
    g_assert_cmpuint(be64_at(killed, 72) & 1, ==, 1);
    settle(&b);
    g_assert_cmpuint(be64_at(b.image, 72) & 1, ==, 0);
    g_free(b.image);
    b.image = g_steal_pointer(&killed);
    reopen(&b, ",read-only=on"); /* is read as it is */
    expect(&b, b.data, 0, SIZE);
    reopen(&b, ""); /* and repaired before it is written */
    expect(&b, b.data, 0, SIZE);
    settle(&b);
    g_assert_cmpuint(be64_at(b.image, 72) & 1, ==, 0);
    bed_close(&b);
}

static void test_repair(void)
{
    static const uint32_t widths[] = {1, 2, 8, 16, 64};
    struct qcow2_check found;
    struct bed b;
    uint8_t none[4096] = {0}, all[256];

    memset(all, 0xff, sizeof(all));
    for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
        bed_open(&b, &(struct qcow2_create){.refcount_bits = widths[i], .cluster_bytes = 4096});
        reopen(&b, "");
        write_all(&b, b.data, 0, HALF);
        settle(&b);
        uint64_t table = be64_at(b.image, 48), block = be64_at(b.image, (off_t)table);
        poke(b.image, (off_t)block + 64 * widths[i] / 8, none, 16); /* lost counts */
        repair(&b, 0, &found);
        g_assert_cmpuint(found.corruptions, >, 0);
        repair(&b, QCOW2_FIX_ERRORS | QCOW2_FIX_LEAKS, &found);
        g_assert_cmpuint(found.corruptions, ==, found.corruptions_fixed);
        settle(&b);
        table = be64_at(b.image, 48);
        poke(b.image, (off_t)table, all, 8); /* a block that is nowhere */
        repair(&b, QCOW2_FIX_ERRORS | QCOW2_FIX_LEAKS, &found);
        settle(&b);
        reopen(&b, "");
        expect(&b, b.data, 0, HALF);
        write_all(&b, b.data, HALF, HALF);
        settle(&b);
        bed_close(&b);
    }
}

/* A device has an end of its own: nothing is put behind it. */
static void test_repair_and_growth_on_a_device(void)
{
    enum { DEVICE = 6 << 20 };
    struct qcow2_check found;
    struct bed b;
    uint8_t none[16] = {0}, junk[4096];
    struct stat st;

    memset(junk, 0xee, sizeof(junk));
    bed_open(&b, &(struct qcow2_create){.size_bytes = HALF});
    reopen(&b, "");
    write_all(&b, b.data, 0, HALF / 2);
    settle(&b);
    g_assert_cmpint(truncate(b.image, DEVICE), ==, 0);
    for (off_t at = 2 << 20; at < DEVICE; at += sizeof(junk)) /* what somebody left there */
        poke(b.image, at, junk, sizeof(junk));
    uint64_t table = be64_at(b.image, 48), block = be64_at(b.image, (off_t)table);
    poke(b.image, (off_t)block + 16, none, sizeof(none));
    b.n = open_ok(b.image, ",for-check=on");
    ((struct qcow2 *)b.n->priv)->regular_file = false;
    OK(qcow2_check(b.n, QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS, on_finding, NULL, &found, &err));
    reopen(&b, "");
    ((struct qcow2 *)b.n->priv)->regular_file = false;
    memset(b.data + HALF / 2, 0, SIZE - HALF / 2);
    OK(qcow2_resize(b.n, HALF + HALF / 2, BLK_PREALLOC_METADATA, &err));
    expect(&b, b.data, 0, HALF + HALF / 2);
    memset(b.data + HALF / 2 + 512, 6, HALF - 1024);
    write_all(&b, b.data, HALF / 2 + 512, HALF - 1024);
    expect(&b, b.data, 0, HALF + HALF / 2);
    settle(&b);
    g_assert_cmpint(stat(b.image, &st), ==, 0);
    g_assert_cmpuint(st.st_size, ==, DEVICE);
    bed_close(&b);
}

static void test_empty_disk(void)
{
    struct bed b;
    GError *why = NULL;

    bed_open(&b, NULL);
    struct qcow2_create c = {.version = 3, .cluster_bytes = CLUSTER}; /* of no bytes */
    qcow2_create(b.image, &c, &why);
    g_assert_no_error(why);
    reopen(&b, "");
    OK(qcow2_snapshot_create(b.n, "nothing", &err));
    OK(blk_resize(b.n, SIZE, &err));
    write_all(&b, b.data, 0, SIZE);
    OK(qcow2_snapshot_create(b.n, "all", &err));
    OK(qcow2_snapshot_apply(b.n, "nothing", &err));
    settle(&b);
    reopen(&b, "");
    OK(qcow2_snapshot_apply(b.n, "all", &err));
    expect(&b, b.data, 0, SIZE);
    settle(&b);
    bed_close(&b);
}

static void test_leaks_are_freed(void)
{
    struct qcow2_check found;
    struct bed b;
    uint8_t count[2] = {0, 1};

    bed_open(&b, &(struct qcow2_create){0});
    uint64_t table = be64_at(b.image, 48), block = be64_at(b.image, (off_t)table);
    for (unsigned i = 5; i < 9; i++)
        poke(b.image, (off_t)block + i * 2, count, 2);
    g_assert_cmpint(truncate(b.image, 12 * CLUSTER), ==, 0);
    repair(&b, QCOW2_FIX_LEAKS, &found);
    g_assert_cmpuint(found.leaks, ==, 4);
    g_assert_cmpuint(found.leaks_fixed, ==, 4);
    settle(&b);
    bed_close(&b);
}

static void test_corrupt_mark_goes_with_repair(void)
{
    struct qcow2_check found;
    GError *why = NULL;
    struct bed b;
    uint8_t mark = 2;

    bed_open(&b, &(struct qcow2_create){0});
    poke(b.image, 79, &mark, 1);
    g_assert_null(try_open(b.image, "", &why));
    g_assert_nonnull(strstr(why->message, "check -r all"));
    g_clear_error(&why);
    b.n = open_ok(b.image, ",for-check=on");
    g_assert_cmpint(io(b.n, BLK_WRITE, 0, b.data, 512, 0), <, 0); /* nothing but repair */
    repair(&b, QCOW2_FIX_ERRORS | QCOW2_FIX_LEAKS, &found);
    reopen(&b, "");
    write_all(&b, b.data, 0, SIZE);
    settle(&b);
    bed_close(&b);
}

/* ---- other files ---- */

static void test_data_file(void)
{
    g_autofree char *bytes = NULL;
    gsize len = 0;
    struct bed b;

    for (unsigned raw = 0; raw < 2; raw++) {
        bed_open(&b, NULL);
        make(b.image, &(struct qcow2_create){.data_file = b.other, .data_file_raw = raw});
        reopen(&b, ",discard=unmap");
        write_all(&b, b.data, 4096, SIZE - 8192);
        memset(b.data, 0, 4096);
        memset(b.data + SIZE - 4096, 0, 4096);
        g_assert_cmpint(io(b.n, BLK_WRITE_ZEROES, 3 * CLUSTER, NULL, 2 * CLUSTER + 512, 0), ==, 0);
        memset(b.data + 3 * CLUSTER, 0, 2 * CLUSTER + 512);
        g_assert_cmpint(io(b.n, BLK_DISCARD, 8 * CLUSTER, NULL, 2 * CLUSTER, 0), ==, 0);
        memset(b.data + 8 * CLUSTER, 0, 2 * CLUSTER);
        fill(b.data + 9 * CLUSTER, 1024, 6);
        write_all(&b, b.data, 9 * CLUSTER, 1024);
        g_assert_cmpint(io(b.n, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
        expect(&b, b.data, 0, SIZE);
        g_assert_cmpint(io(b.n, BLK_WRITE, 0, b.data, CLUSTER, BLK_REQ_COMPRESSED), ==, -ENOTSUP);
        GError *why = NULL;
        refused(qcow2_snapshot_create(b.n, "x", &why), &why, "external");
        OK(blk_resize(b.n, SIZE + CLUSTER, &err));
        expect(&b, b.data, 0, SIZE);
        settle(&b);
        g_assert_cmpuint(host_bytes(b.image), <, SIZE / 4);
        g_clear_pointer(&bytes, g_free);
        g_assert_true(g_file_get_contents(b.other, &bytes, &len, NULL));
        g_assert_true(!raw || (len == SIZE + CLUSTER && !memcmp(bytes, b.data, SIZE)));
        reopen(&b, ",read-only=on");
        expect(&b, b.data, 0, SIZE);
        bed_close(&b);
    }
}

static void test_bitmaps(void)
{
    GError *why = NULL;
    struct bed b;

    if (!have_qemu_img())
        return;
    bed_open(&b, &(struct qcow2_create){0});
    g_assert_cmpint(QEMU_IMG("bitmap", "--add", b.image, "b0"), ==, 0);
    g_assert_null(try_open(b.image, "", &why));
    g_assert_nonnull(strstr(why->message, "dirty bitmaps"));
    g_clear_error(&why);
    reopen(&b, ",read-only=on");
    g_assert_cmpuint(qcow2_info(b.n)->bitmap_count, ==, 1);
    g_assert_cmpstr(qcow2_info(b.n)->bitmaps[0].name, ==, "b0");
    blk_close(b.n);
    b.n = NULL;
    g_assert_cmpint(QEMU_IMG("bitmap", "--disable", b.image, "b0"), ==, 0);
    reopen(&b, "");
    write_all(&b, b.data, 0, SIZE);
    refused(blk_resize(b.n, 2 * SIZE, &why), &why, "bitmaps");
    OK(qcow2_snapshot_create(b.n, "beside", &err));
    OK(qcow2_set_backing(b.n, "other.img", "raw", &err));
    g_assert_true(g_file_set_contents(b.other, "", 0, NULL));
    settle(&b);
    g_assert_cmpint(QEMU_IMG("bitmap", "--enable", b.image, "b0"), ==, 0); /* still there */
    bed_close(&b);
}

static void test_set_backing_and_commit(void)
{
    struct bed b;

    bed_open(&b, NULL);
    g_autofree char *base = g_build_filename(b.dir, "base.qcow2", NULL);
    g_autofree char *more =
        g_strdup_printf(",backing.driver=qcow2,backing.read-only=off,backing.file.driver=file,"
                        "backing.file.filename=%s",
                        base);
    make(base, &(struct qcow2_create){.size_bytes = HALF});
    make(b.image, &(struct qcow2_create){0});
    reopen(&b, "");
    OK(qcow2_set_backing(b.n, "a-name-that-is-not-there", "raw", &err));
    OK(qcow2_set_backing(b.n, "base.qcow2", "qcow2", &err));
    reopen(&b, "");
    g_assert_cmpstr(qcow2_info(b.n)->backing_file, ==, "base.qcow2");
    write_all(&b, b.data, CLUSTER, SIZE - CLUSTER);
    g_assert_cmpint(io(b.n, BLK_WRITE_ZEROES, 5 * CLUSTER, NULL, CLUSTER, 0), ==, 0);
    memset(b.data, 0, CLUSTER);
    memset(b.data + 5 * CLUSTER, 0, CLUSTER);
    reopen(&b, more);
    OK(blk_commit(b.n, blk_backing(b.n), NULL, NULL, &err));
    OK(qcow2_make_empty(b.n, &err));
    expect(&b, b.data, 0, SIZE);
    settle(&b);
    g_assert_cmpuint(host_bytes(b.image), <, SIZE / 4);
    g_free(b.image);
    b.image = g_steal_pointer(&base);
    reopen(&b, "");
    expect(&b, b.data, 0, SIZE);
    settle(&b);
    bed_close(&b);
}

/* ---- amend ---- */

static void test_amend(void)
{
    static const uint32_t widths[] = {64, 1, 32, 2, 8, 4, 16};
    struct qcow2_amend a;
    GError *why = NULL;
    struct bed b;

    bed_open(&b, &(struct qcow2_create){.cluster_bytes = 4096});
    reopen(&b, "");
    write_all(&b, b.data, 0, HALF);
    g_assert_cmpint(io(b.n, BLK_WRITE_ZEROES, 4096, NULL, 65536, 0), ==, 0);
    memset(b.data + 4096, 0, 65536);
    memset(b.data + HALF, 0, HALF);
    for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
        a = QCOW2_AMEND_NOTHING;
        a.refcount_bits = widths[i];
        reopen(&b, "");
        OK(qcow2_amend(b.n, &a, NULL, NULL, &err));
        write_all(&b, b.data, 0, 4096);
        settle(&b);
        reopen(&b, "");
        g_assert_cmpuint(qcow2_info(b.n)->refcount_bits, ==, widths[i]);
        expect(&b, b.data, 0, SIZE);
    }
    a = QCOW2_AMEND_NOTHING;
    a.lazy_refcounts = 1;
    OK(qcow2_amend(b.n, &a, NULL, NULL, &err));
    a = QCOW2_AMEND_NOTHING;
    a.version = 2;
    OK(qcow2_amend(b.n, &a, NULL, NULL, &err));
    settle(&b);
    reopen(&b, "");
    g_assert_cmpuint(qcow2_info(b.n)->version, ==, 2);
    expect(&b, b.data, 0, SIZE);
    a.version = 0;
    a.lazy_refcounts = 1;
    refused(qcow2_amend(b.n, &a, NULL, NULL, &why), &why, "compat=1.1");
    a.version = 3;
    a.size_bytes = SIZE + 4096;
    OK(qcow2_amend(b.n, &a, NULL, NULL, &err));
    settle(&b);
    reopen(&b, "");
    g_assert_true(qcow2_info(b.n)->lazy_refcounts);
    expect(&b, b.data, 0, SIZE);
    bed_close(&b);
}

static void test_width_must_hold_the_counts(void)
{
    struct qcow2_amend a = QCOW2_AMEND_NOTHING;
    GError *why = NULL;
    struct bed b;

    bed_open(&b, &(struct qcow2_create){0});
    reopen(&b, "");
    write_all(&b, b.data, 0, SIZE);
    OK(qcow2_snapshot_create(b.n, "x", &err));
    a.refcount_bits = 1;
    refused(qcow2_amend(b.n, &a, NULL, NULL, &why), &why, "more often");
    a.refcount_bits = 2;
    OK(qcow2_amend(b.n, &a, NULL, NULL, &err));
    expect(&b, b.data, 0, SIZE);
    settle(&b);
    bed_close(&b);
}

/* Fewer tables fit into memory than are written to: they go out and come back. */
static void test_small_caches(void)
{
    struct bed b;

    bed_open(&b, &(struct qcow2_create){.cluster_bytes = 512});
    reopen(&b, ",l2-cache-size=4k,refcount-cache-size=4k,overlap-check=constant,lazy-refcounts=on,"
               "cache-clean-interval=60,pass-discard-request=on");
    for (uint64_t i = 0; i < SIZE / 512; i++) { /* each in another table */
        uint64_t sector = i * 67 % (SIZE / 512);
        if (i % 7 == 0)
            memset(b.data + sector * 512, 0, 512);
        else
            write_all(&b, b.data, sector * 512, 512);
    }
    expect(&b, b.data, 0, SIZE);
    settle(&b);
    reopen(&b, ",cache-size=1M");
    expect(&b, b.data, 0, SIZE);
    settle(&b);
    bed_close(&b);
}

static void test_create_refusals(void)
{
    static const struct {
        struct qcow2_create c;
        const char *word;
    } bad[] = {
        {{.version = 3, .cluster_bytes = 1000}, "cluster size"},
        {{.version = 3, .cluster_bytes = CLUSTER, .refcount_bits = 3}, "refcount_bits"},
        {{.version = 2, .cluster_bytes = CLUSTER, .refcount_bits = 8}, "compat=1.1"},
        {{.version = 2, .cluster_bytes = CLUSTER, .extended_l2 = true}, "compat=1.1"},
        {{.version = 3, .cluster_bytes = 8192, .extended_l2 = true}, "16k"},
        {{.version = 3, .cluster_bytes = CLUSTER, .data_file_raw = true}, "data_file="},
        {{.version = 3,
          .cluster_bytes = CLUSTER,
          .backing_file = "x",
          .preallocation = BLK_PREALLOC_METADATA},
         "hide"},
        {{.version = 3, .cluster_bytes = 512, .size_bytes = 1ull << 50}, "too large"},
    };
    GError *why = NULL;
    struct bed b;

    bed_open(&b, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        refused(qcow2_create(b.image, &bad[i].c, &why), &why, bad[i].word);
        g_assert_false(g_file_test(b.image, G_FILE_TEST_EXISTS));
    }
    bed_close(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK);
    g_test_add_func("/qcow2/snapshots", test_snapshots);
    g_test_add_func("/qcow2/snapshot-keeps-the-size", test_snapshot_keeps_the_size);
    g_test_add_func("/qcow2/snapshot-refusals", test_snapshot_refusals);
    g_test_add_func("/qcow2/resize", test_resize);
    g_test_add_func("/qcow2/long-tables", test_long_tables);
    g_test_add_func("/qcow2/growing-hides-the-backing-image", test_growing_hides_the_backing_image);
    g_test_add_func("/qcow2/preallocation", test_preallocation);
    g_test_add_func("/qcow2/preallocated-growth-over-a-backing-image",
                    test_preallocated_growth_over_a_backing_image);
    g_test_add_func("/qcow2/compressed", test_compressed);
    g_test_add_func("/qcow2/threads", test_threads);
    g_test_add_func("/qcow2/subclusters", test_subclusters);
    g_test_add_func("/qcow2/lazy-refcounts", test_lazy_refcounts);
    g_test_add_func("/qcow2/repair", test_repair);
    g_test_add_func("/qcow2/repair-and-growth-on-a-device", test_repair_and_growth_on_a_device);
    g_test_add_func("/qcow2/empty-disk", test_empty_disk);
    g_test_add_func("/qcow2/leaks-are-freed", test_leaks_are_freed);
    g_test_add_func("/qcow2/corrupt-mark-goes-with-repair", test_corrupt_mark_goes_with_repair);
    g_test_add_func("/qcow2/data-file", test_data_file);
    g_test_add_func("/qcow2/bitmaps", test_bitmaps);
    g_test_add_func("/qcow2/set-backing-and-commit", test_set_backing_and_commit);
    g_test_add_func("/qcow2/amend", test_amend);
    g_test_add_func("/qcow2/width-must-hold-the-counts", test_width_must_hold_the_counts);
    g_test_add_func("/qcow2/small-caches", test_small_caches);
    g_test_add_func("/qcow2/create-refusals", test_create_refusals);
    return g_test_run();
}
