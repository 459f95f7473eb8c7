/* test_qcow2_features.c - snapshots, sizes, other files and properties of qcow2 images; what was
 * made here is looked at by qemu-img too, where it is installed. */
#include "qcow2_disk.h"

#include "base/util.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

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
    refused(qcow2_snapshot_apply(b.n, "beside", &why), &why, "bitmaps");
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
    g_test_add_func("/qcow2/data-file", test_data_file);
    g_test_add_func("/qcow2/bitmaps", test_bitmaps);
    g_test_add_func("/qcow2/set-backing-and-commit", test_set_backing_and_commit);
    g_test_add_func("/qcow2/amend", test_amend);
    g_test_add_func("/qcow2/width-must-hold-the-counts", test_width_must_hold_the_counts);
    g_test_add_func("/qcow2/small-caches", test_small_caches);
    g_test_add_func("/qcow2/create-refusals", test_create_refusals);
    return g_test_run();
}
