/* test_qcow2_data.c - compressed clusters, many requests at once, subclusters; damaged images and
 * their repair. */
#include "qcow2_disk.h"

#include "base/util.h"
#include "qcow2/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK);
    g_test_add_func("/qcow2/compressed", test_compressed);
    g_test_add_func("/qcow2/threads", test_threads);
    g_test_add_func("/qcow2/subclusters", test_subclusters);
    g_test_add_func("/qcow2/lazy-refcounts", test_lazy_refcounts);
    g_test_add_func("/qcow2/repair", test_repair);
    g_test_add_func("/qcow2/repair-and-growth-on-a-device", test_repair_and_growth_on_a_device);
    g_test_add_func("/qcow2/empty-disk", test_empty_disk);
    g_test_add_func("/qcow2/leaks-are-freed", test_leaks_are_freed);
    g_test_add_func("/qcow2/corrupt-mark-goes-with-repair", test_corrupt_mark_goes_with_repair);
    return g_test_run();
}
