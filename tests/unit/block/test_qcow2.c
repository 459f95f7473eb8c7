/* test_qcow2.c - the qcow2 driver against a plain buffer, against qemu-img, against hostile bytes.
 */
#include "qcow2_bed.h"

#include "base/error.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DISK_BYTES = 3 * 1024 * 1024 + 512 * 5 };

struct bed {
    char *dir, *image, *raw, *base;
    uint8_t *shadow;
    struct blk_node *node;
    uint32_t cluster, version;
    bool backed;
    GRand *rand;
};

static void bed_open(struct bed *b, const char *seed_name)
{
    guint32 seed = g_test_rand_int();

    *b = (struct bed){.dir = g_dir_make_tmp("hanok-qcow2-XXXXXX", NULL)};
    g_assert_nonnull(b->dir);
    b->image = g_build_filename(b->dir, "disk.qcow2", NULL);
    b->raw = g_build_filename(b->dir, "disk.raw", NULL);
    b->base = g_build_filename(b->dir, "base.img", NULL);
    b->shadow = g_malloc0(DISK_BYTES);
    b->rand = g_rand_new_with_seed(seed);
    g_test_message("%s: seed %u", seed_name, seed);
}

static void bed_close(struct bed *b)
{
    blk_close(b->node);
    remove_tree(b->dir);
    g_rand_free(b->rand);
    g_free(b->shadow);
    g_free(b->dir);
    g_free(b->image);
    g_free(b->raw);
    g_free(b->base);
}

static void create(struct bed *b, const char *path, const char *backing, const char *format)
{
    GError *err = NULL;
    struct qcow2_create c = {.size_bytes = DISK_BYTES,
                             .version = b->version,
                             .cluster_bytes = b->cluster,
                             .backing_file = backing,
                             .backing_format = format};

    qcow2_create(path, &c, &err);
    g_assert_no_error(err);
}

static void check_equal(struct blk_node *n, const uint8_t *shadow)
{
    g_autofree uint8_t *in = g_malloc(DISK_BYTES);

    memset(in, 0xa5, DISK_BYTES);
    g_assert_cmpint(io(n, BLK_READ, 0, in, DISK_BYTES, 0), ==, 0);
    for (uint64_t i = 0; i < DISK_BYTES; i += 512) {
        if (memcmp(in + i, shadow + i, 512))
            g_error("the image differs at %" G_GUINT64_FORMAT, (guint64)i);
    }
}

static void check_file_equal(const char *raw, const uint8_t *shadow)
{
    g_autofree char *text = NULL;
    gsize len = 0;

    g_assert_true(g_file_get_contents(raw, &text, &len, NULL));
    g_assert_cmpuint(len, ==, DISK_BYTES);
    g_assert_cmpint(memcmp(text, shadow, len), ==, 0);
}

static void fill_random(struct bed *b, uint8_t *p, uint64_t len)
{
    guint32 v = g_rand_int(b->rand);

    for (uint64_t i = 0; i < len; i++)
        p[i] = (uint8_t)((v = v * 1664525 + 1013904223) >> 24);
}

static void pick_range(struct bed *b, uint64_t *off, uint64_t *len)
{
    uint64_t sectors = DISK_BYTES / 512, most = g_rand_int(b->rand) % 3 ? 40 : 900;
    uint64_t at = g_rand_int(b->rand) % sectors;
    uint64_t n = 1 + g_rand_int(b->rand) % most;

    *off = at * 512;
    *len = MIN_OF(n, sectors - at) * 512;
}

static void do_discard(struct bed *b, uint64_t off, uint64_t len)
{
    uint64_t from = ALIGN_UP(off, b->cluster), to = off + len;

    if (to != DISK_BYTES)
        to = ALIGN_DOWN(to, b->cluster);
    g_assert_cmpint(io(b->node, BLK_DISCARD, off, NULL, len, 0), ==, 0);
    if (from < to && !(b->backed && b->version == 2))
        memset(b->shadow + from, 0, to - from);
}

static void random_step(struct bed *b)
{
    uint64_t off, len;
    uint32_t pick = g_rand_int(b->rand) % 16;

    pick_range(b, &off, &len);
    g_autofree uint8_t *buf = g_malloc(len);
    if (pick < 8) {
        fill_random(b, b->shadow + off, len);
        g_assert_cmpint(
            io(b->node, BLK_WRITE, off, b->shadow + off, len, pick == 7 ? BLK_REQ_FUA : 0), ==, 0);
    } else if (pick < 10) {
        memset(b->shadow + off, 0, len);
        g_assert_cmpint(io(b->node, BLK_WRITE_ZEROES, off, NULL, len, pick & 1 ? BLK_REQ_UNMAP : 0),
                        ==, 0);
    } else if (pick < 12) {
        do_discard(b, off, len);
    } else if (pick < 13) {
        g_assert_cmpint(io(b->node, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    } else {
        g_assert_cmpint(io(b->node, BLK_READ, off, buf, len, 0), ==, 0);
        g_assert_cmpint(memcmp(buf, b->shadow + off, len), ==, 0);
    }
}

/* What a kill would leave: the file as it is now. */
static void check_snapshot_of_file(struct bed *b)
{
    g_autofree char *copy = g_build_filename(b->dir, "killed.qcow2", NULL), *bytes = NULL;
    gsize len;

    g_assert_true(g_file_get_contents(b->image, &bytes, &len, NULL));
    g_assert_true(g_file_set_contents(copy, bytes, (gssize)len, NULL));
    own_check(copy, true);
}

/* A kill right after a flush loses nothing. */
static void check_flushed(struct bed *b)
{
    g_autofree char *copy = g_build_filename(b->dir, "killed.qcow2", NULL);

    g_assert_cmpint(io(b->node, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    check_snapshot_of_file(b);
    struct blk_node *n = open_ok(copy, ",read-only=on");
    check_equal(n, b->shadow);
    blk_close(n);
}

static void make_base(struct bed *b, const char *format)
{
    fill_random(b, b->shadow, DISK_BYTES / 2 / 512 * 512);
    if (!strcmp(format, "raw")) {
        /* shorter than what lies on it */
        g_assert_true(
            g_file_set_contents(b->base, (char *)b->shadow, DISK_BYTES / 2 / 512 * 512, NULL));
        return;
    }
    create(b, b->base, NULL, NULL);
    struct blk_node *n = open_ok(b->base, "");
    g_assert_cmpint(io(n, BLK_WRITE, 0, b->shadow, DISK_BYTES / 2 / 512 * 512, 0), ==, 0);
    blk_close(n);
}

struct variant {
    const char *name, *base, *more;
    uint32_t cluster, version;
};

static void test_random(gconstpointer data)
{
    const struct variant *v = data;
    struct bed b;

    bed_open(&b, v->name);
    b.cluster = v->cluster;
    b.version = v->version;
    b.backed = v->base != NULL;
    if (v->base)
        make_base(&b, v->base);
    create(&b, b.image, v->base ? "base.img" : NULL, v->base);
    for (unsigned round = 0; round < 3; round++) {
        b.node = open_ok(b.image, v->more);
        for (unsigned i = 0; i < 120; i++) {
            random_step(&b);
            if (i % 40 == 39)
                check_snapshot_of_file(&b);
            if (i % 40 == 19)
                check_flushed(&b);
        }
        check_equal(b.node, b.shadow);
        blk_close(b.node);
        b.node = NULL;
        own_check(b.image, false);
        g_autofree char *path = g_find_program_in_path("qemu-img");
        if (!path)
            continue;
        g_assert_cmpint(QEMU_IMG("check", "-q", b.image), ==, 0);
        g_assert_cmpint(QEMU_IMG("convert", "-O", "raw", b.image, b.raw), ==, 0);
        check_file_equal(b.raw, b.shadow);
    }
    bed_close(&b);
}

/* Many requests at once, so that those that pass and those that wait cross each other. */
static void test_many_at_once(void)
{
    enum { COUNT = 400, PIECE = 4096 };
    struct bed b;
    g_autofree struct wait *w = g_new0(struct wait, COUNT);
    g_autofree struct iovec *iov = g_new0(struct iovec, COUNT);

    bed_open(&b, "many");
    b.cluster = 65536;
    b.version = 3;
    create(&b, b.image, NULL, NULL);
    b.node = open_ok(b.image, ",discard=unmap");
    for (unsigned round = 0; round < 4; round++) {
        fill_random(&b, b.shadow, COUNT * PIECE);
        blk_plug(b.node);
        for (unsigned i = 0; i < COUNT; i++) {
            bool discard = round == 2 && i % 16 == 0;
            iov[i] = (struct iovec){b.shadow + i * PIECE, PIECE};
            w[i].ret = 1;
            w[i].req = (struct blk_req){.op = discard ? BLK_WRITE_ZEROES : BLK_WRITE,
                                        .flags = discard ? BLK_REQ_UNMAP : 0,
                                        .offset_bytes = i * PIECE,
                                        .len_bytes = PIECE,
                                        .iov = &iov[i],
                                        .iov_count = 1,
                                        .done = on_done,
                                        .node = b.node};
            if (discard)
                memset(b.shadow + i * PIECE, 0, PIECE);
            blk_submit(&w[i].req);
        }
        blk_unplug(b.node);
        blk_drain(b.node);
        for (unsigned i = 0; i < COUNT; i++)
            g_assert_cmpint(w[i].ret, ==, 0);
        check_equal(b.node, b.shadow);
    }
    blk_close(b.node);
    b.node = NULL;
    own_check(b.image, false);
    bed_close(&b);
}

static void test_discard_frees_host_space(void)
{
    struct bed b;
    struct stat before, after;

    bed_open(&b, "discard");
    b.cluster = 65536;
    b.version = 3;
    create(&b, b.image, NULL, NULL);
    b.node = open_ok(b.image, ",discard=unmap,file.discard=unmap");
    fill_random(&b, b.shadow, DISK_BYTES);
    g_assert_cmpint(io(b.node, BLK_WRITE, 0, b.shadow, DISK_BYTES, 0), ==, 0);
    g_assert_cmpint(io(b.node, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    g_assert_cmpint(stat(b.image, &before), ==, 0);
    do_discard(&b, 0, DISK_BYTES);
    g_assert_cmpint(io(b.node, BLK_FLUSH, 0, NULL, 0, 0), ==, 0);
    g_assert_cmpint(stat(b.image, &after), ==, 0);
    g_assert_cmpint(after.st_blocks, <, before.st_blocks / 2);
    /* and the clusters are used again */
    fill_random(&b, b.shadow, DISK_BYTES);
    g_assert_cmpint(io(b.node, BLK_WRITE, 0, b.shadow, DISK_BYTES, 0), ==, 0);
    check_equal(b.node, b.shadow);
    blk_close(b.node);
    b.node = NULL;
    g_assert_cmpint(stat(b.image, &after), ==, 0);
    g_assert_cmpint(after.st_size, <=, before.st_size + 4 * 65536);
    own_check(b.image, false);
    bed_close(&b);
}

/* Clusters of 512 bytes: the first refcount table counts 8 MiB of file. */
static void test_refcount_table_grows(void)
{
    enum { BIG = 24 << 20, STEP = 96 << 10 };
    struct bed b;
    GError *err = NULL;

    bed_open(&b, "refcount table");
    struct qcow2_create c = {.size_bytes = BIG, .version = 3, .cluster_bytes = 512};
    g_assert_true(qcow2_create(b.image, &c, &err));
    g_autofree uint8_t *out = g_malloc(BIG), *in = g_malloc(BIG);
    fill_random(&b, out, BIG);
    b.node = open_ok(b.image, "");
    for (uint64_t at = 0; at < BIG; at += STEP) {
        uint64_t n = MIN_OF((uint64_t)STEP, BIG - at);
        g_assert_cmpint(io(b.node, BLK_WRITE, at, out + at, n, 0), ==, 0);
        if (at == STEP * 90ull)
            check_snapshot_of_file(&b);
    }
    check_snapshot_of_file(&b);
    blk_close(b.node);
    b.node = open_ok(b.image, "");
    g_assert_cmpint(io(b.node, BLK_READ, 0, in, BIG, 0), ==, 0);
    g_assert_cmpint(memcmp(in, out, BIG), ==, 0);
    blk_close(b.node);
    b.node = NULL;
    own_check(b.image, false);
    g_autofree char *path = g_find_program_in_path("qemu-img");
    if (path)
        g_assert_cmpint(QEMU_IMG("check", "-q", b.image), ==, 0);
    bed_close(&b);
}

static void test_made_by_qemu(gconstpointer options)
{
    struct bed b;

    if (!have_qemu_img())
        return;
    bed_open(&b, options);
    fill_random(&b, b.shadow, DISK_BYTES / 3);
    for (unsigned i = 0; i < DISK_BYTES / 3; i += 3) /* compressible */
        b.shadow[i] = 7;
    g_assert_true(g_file_set_contents(b.raw, (char *)b.shadow, DISK_BYTES, NULL));
    bool packed = strstr(options, "compression_type") != NULL;
    int r = packed ? QEMU_IMG("convert", "-O", "qcow2", "-c", "-o", options, b.raw, b.image)
                   : QEMU_IMG("convert", "-O", "qcow2", "-o", options, b.raw, b.image);
    g_assert_cmpint(r, ==, 0);
    b.node = open_ok(b.image, ",read-only=on");
    check_equal(b.node, b.shadow);
    blk_close(b.node);
    b.node = NULL;
    b.cluster = 65536;
    b.version = strstr(options, "0.10") ? 2 : 3;
    b.node = open_ok(b.image, ",discard=unmap");
    for (unsigned i = 0; i < 60; i++)
        random_step(&b);
    check_equal(b.node, b.shadow);
    blk_close(b.node);
    b.node = NULL;
    g_assert_cmpint(QEMU_IMG("check", "-q", b.image), ==, 0);
    g_assert_cmpint(QEMU_IMG("compare", "-q", "-f", "raw", "-F", "qcow2", b.raw, b.image), ==,
                    1 << 8);
    bed_close(&b);
}

/* Writing under a snapshot leaves the snapshot as it was. */
static void test_internal_snapshot(void)
{
    struct bed b;

    if (!have_qemu_img())
        return;
    bed_open(&b, "snapshot");
    b.cluster = 65536;
    b.version = 3;
    create(&b, b.image, NULL, NULL);
    b.node = open_ok(b.image, "");
    fill_random(&b, b.shadow, DISK_BYTES);
    g_assert_cmpint(io(b.node, BLK_WRITE, 0, b.shadow, DISK_BYTES, 0), ==, 0);
    blk_close(b.node);
    g_assert_cmpint(QEMU_IMG("snapshot", "-c", "one", b.image), ==, 0);
    g_autofree uint8_t *then = g_memdup2(b.shadow, DISK_BYTES);
    b.node = open_ok(b.image, ",discard=unmap");
    for (unsigned i = 0; i < 100; i++)
        random_step(&b);
    check_equal(b.node, b.shadow);
    blk_close(b.node);
    b.node = NULL;
    own_check(b.image, false);
    g_assert_cmpint(QEMU_IMG("check", "-q", b.image), ==, 0);
    g_assert_cmpint(QEMU_IMG("snapshot", "-a", "one", b.image), ==, 0);
    b.node = open_ok(b.image, "");
    check_equal(b.node, then);
    bed_close(&b);
}

/* ---- refusals and hostile bytes ---- */

static void refused_with(struct bed *b, off_t at, unsigned byte, const char *more, const char *word)
{
    GError *err = NULL;
    uint8_t v = (uint8_t)byte;

    create(b, b->image, NULL, NULL);
    poke(b->image, at, &v, 1);
    g_assert_null(try_open(b->image, more, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, word))
        g_error("'%s' lacks '%s'", err->message, word);
    g_clear_error(&err);
}

/* The image's own table of names: the first entry is made one for bit 5. */
static void named_feature_is_refused_by_name(struct bed *b)
{
    GError *err = NULL;
    uint8_t bit = 5, flag = 32;

    create(b, b->image, NULL, NULL);
    poke(b->image, 112 + 8 + 1, &bit, 1);
    poke(b->image, 112 + 8 + 2, "a future thing", 15);
    poke(b->image, 79, &flag, 1);
    g_assert_null(try_open(b->image, "", &err));
    g_assert_nonnull(strstr(err->message, "'a future thing'"));
    g_clear_error(&err);
}

static void test_refusals(void)
{
    struct bed b;
    GError *err = NULL;

    bed_open(&b, "refusals");
    b.cluster = 65536;
    b.version = 3;
    refused_with(&b, 0, 'X', "", "not in qcow2 format");
    refused_with(&b, 7, 4, "", "version 4");
    refused_with(&b, 35, 1, "", "encrypted with AES");
    refused_with(&b, 35, 2, "", "encrypted with LUKS");
    refused_with(&b, 35, 3, "", "does not know (3)");
    refused_with(&b, 23, 30, "", "cluster size");
    refused_with(&b, 79, 2, "", "marked as corrupt");
    refused_with(&b, 79, 4, "", "does not name");
    refused_with(&b, 79, 32, "", "bit 5");
    refused_with(&b, 99, 7, "", "impossible width");
    refused_with(&b, 40, 9, "", "L1 table");
    refused_with(&b, 48, 9, "", "refcount table");
    refused_with(&b, 24, 0x70, "", "L1 table");
    refused_with(&b, 103, 4, "", "length");
    refused_with(&b, 63, 1, "", "snapshot table");
    named_feature_is_refused_by_name(&b);
    for (unsigned bit = 1; bit <= 2; bit++) { /* dirty, corrupt: still read */
        uint8_t v = (uint8_t)bit;
        create(&b, b.image, NULL, NULL);
        poke(b.image, 79, &v, 1);
        b.node = open_ok(b.image, ",read-only=on");
        check_equal(b.node, b.shadow);
        blk_close(b.node);
    }
    create(&b, b.image, "base.img", NULL);
    g_assert_true(g_file_set_contents(b.base, "raw bytes", 9, NULL));
    b.node = try_open(b.image, "", &err);
    g_assert_null(b.node);
    g_assert_nonnull(strstr(err->message, "which format"));
    g_clear_error(&err);
    create(&b, b.image, "disk.qcow2", "qcow2"); /* backed by itself */
    g_assert_null(try_open(b.image, ",read-only=on,file.read-only=on", &err));
    g_assert_nonnull(strstr(err->message, "longer than"));
    g_clear_error(&err);
    bed_close(&b);
}

/* An entry that points at the header: reading is harmless, writing marks the image. */
static void test_contradiction_marks_the_image(void)
{
    struct bed b;
    uint8_t sector[512] = {1}, header[512], entry[8] = {0x80};
    char *text;
    gsize len;

    bed_open(&b, "contradiction");
    b.cluster = 65536;
    b.version = 3;
    create(&b, b.image, NULL, NULL);
    b.node = open_ok(b.image, "");
    g_assert_cmpint(io(b.node, BLK_WRITE, 0, sector, 512, 0), ==, 0);
    blk_close(b.node);
    g_assert_true(g_file_get_contents(b.image, &text, &len, NULL));
    uint64_t l1 = __builtin_bswap64(le64_get(text + 40));
    uint64_t l2 = __builtin_bswap64(le64_get(text + l1)) & 0xfffffffffffe00ull;
    memcpy(header, text, 512);
    g_free(text);
    le64_put(entry, __builtin_bswap64(l1 | BIT64(63))); /* the L1 table as data */
    poke(b.image, (off_t)l2, entry, 8);
    b.node = open_ok(b.image, "");
    g_assert_cmpint(io(b.node, BLK_READ, 0, sector, 512, 0), ==, 0);
    g_assert_cmpint(io(b.node, BLK_WRITE, 0, sector, 512, 0), ==, -EIO);
    g_assert_cmpint(io(b.node, BLK_WRITE, 1 << 20, sector, 512, 0), ==, -EIO);
    blk_close(b.node);
    b.node = open_ok(b.image, ",read-only=on");
    g_assert_true(qcow2_info(b.node)->corrupt);
    bed_close(&b);
}

static void hostile_use(struct bed *b)
{
    GError *err = NULL;
    struct stat st;
    struct blk_limits l;
    uint8_t *buf = g_malloc(1 << 20);
    struct blk_node *n = try_open(b->image, ",discard=unmap", &err);

    g_clear_error(&err);
    for (unsigned i = 0; n && i < 12; i++) {
        blk_limits(n, &l);
        uint64_t off = l.size_bytes ? g_rand_int(b->rand) % MIN_OF(l.size_bytes, 4 * MiB) : 0;
        off = ALIGN_DOWN(off, 512);
        uint64_t len = MIN_OF(l.size_bytes - off, (uint64_t)65536);
        io(n, (enum blk_op)(i % 5), off, i % 5 < 2 ? buf : NULL, len, 0);
    }
    blk_close(n);
    g_free(buf);
    g_assert_cmpint(stat(b->image, &st), ==, 0);
    g_assert_cmpint(st.st_size, <, 64 << 20);
}

static void test_hostile_tables(void)
{
    struct bed b;
    char *good = NULL;
    gsize len;

    bed_open(&b, "hostile");
    b.cluster = 4096;
    b.version = 3;
    create(&b, b.image, NULL, NULL);
    b.node = open_ok(b.image, "");
    for (unsigned i = 0; i < 20; i++)
        random_step(&b);
    blk_close(b.node);
    b.node = NULL;
    g_assert_true(g_file_get_contents(b.image, &good, &len, NULL));
    for (unsigned round = 0; round < 150; round++) {
        g_assert_true(g_file_set_contents(b.image, good, (gssize)len, NULL));
        for (unsigned i = 0; i < 6; i++) {
            uint8_t v = (uint8_t)g_rand_int(b.rand);
            bool header = round % 3 == 0;
            off_t at = (off_t)(g_rand_int(b.rand) % (header ? 112 : MIN_OF(len, (gsize)8 * 4096)));
            poke(b.image, at, &v, 1);
        }
        hostile_use(&b);
    }
    g_free(good);
    bed_close(&b);
}

static const struct variant variants[] = {
    {"/qcow2/random/v3-64k", NULL, ",discard=unmap", 65536, 3},
    {"/qcow2/random/v3-512", NULL, ",discard=unmap,file.discard=unmap", 512, 3},
    {"/qcow2/random/v3-2m", NULL, ",discard=unmap", 2 << 20, 3},
    {"/qcow2/random/v3-4k-threads", NULL, ",discard=unmap,file.aio=threads", 4096, 3},
    {"/qcow2/random/v2-64k", NULL, ",discard=unmap", 65536, 2},
    {"/qcow2/random/v3-raw-base", "raw", ",discard=unmap", 65536, 3},
    {"/qcow2/random/v2-raw-base", "raw", ",discard=unmap", 16384, 2},
    {"/qcow2/random/v3-qcow2-base", "qcow2", ",discard=unmap,detect-zeroes=unmap", 32768, 3},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK);
    for (size_t i = 0; i < ARRAY_SIZE(variants); i++)
        g_test_add_data_func(variants[i].name, &variants[i], test_random);
    g_test_add_func("/qcow2/many-at-once", test_many_at_once);
    g_test_add_func("/qcow2/discard-frees-host-space", test_discard_frees_host_space);
    g_test_add_func("/qcow2/refcount-table-grows", test_refcount_table_grows);
    g_test_add_data_func("/qcow2/qemu/plain", "cluster_size=64k", test_made_by_qemu);
    g_test_add_data_func("/qcow2/qemu/v2", "compat=0.10", test_made_by_qemu);
    g_test_add_data_func("/qcow2/qemu/deflate", "compression_type=zlib", test_made_by_qemu);
    g_test_add_data_func("/qcow2/qemu/zstd", "compression_type=zstd", test_made_by_qemu);
    g_test_add_data_func("/qcow2/qemu/metadata", "preallocation=metadata", test_made_by_qemu);
    g_test_add_data_func("/qcow2/qemu/refcounts-1", "refcount_bits=1", test_made_by_qemu);
    g_test_add_data_func("/qcow2/qemu/refcounts-64", "refcount_bits=64", test_made_by_qemu);
    g_test_add_data_func("/qcow2/qemu/subclusters", "extended_l2=on", test_made_by_qemu);
    g_test_add_data_func("/qcow2/qemu/lazy", "lazy_refcounts=on", test_made_by_qemu);
    g_test_add_func("/qcow2/internal-snapshot", test_internal_snapshot);
    g_test_add_func("/qcow2/refusals", test_refusals);
    g_test_add_func("/qcow2/contradiction-marks-the-image", test_contradiction_marks_the_image);
    g_test_add_func("/qcow2/hostile-tables", test_hostile_tables);
    return g_test_run();
}
