/* test_qcow2_oracle.c - random sequences of everything that can be done to an image, by turns here
 * and with qemu-img and qemu-io on the same file.  After each turn both sides check the image and
 * read it, and what they read is what a plain buffer says.
 *
 * HANOK_TEST_SEQUENCES: how many images (default 12).  HANOK_TEST_SEED: this one, whose number a
 * failure printed. */
#include "qcow2_bed.h"

#include "base/util.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE_MAX_BYTES = 3 << 20, SNAPSHOTS = 4, TURNS = 6, OPS = 8 };

struct snap {
    char name[16];
    uint8_t *data;
    uint64_t size;
};

struct world {
    GRand *rand;
    char *dir, *image, *raw;
    struct qcow2_create how;
    uint64_t size;
    uint8_t *data, *in; /* what the disk holds; what was read */
    struct snap snaps[SNAPSHOTS];
    unsigned snap_count, snap_names;
    struct blk_node *n; /* while it is our turn */
    GString *log;
};

static uint32_t pick(struct world *w, uint32_t of)
{
    return (uint32_t)g_rand_int_range(w->rand, 0, (gint32)of);
}

static void failed(struct world *w, const char *what)
{
    g_error("%s\n%s", what, w->log->str);
}

static void note(struct world *w, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void note(struct world *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_string_append_vprintf(w->log, fmt, ap);
    va_end(ap);
    g_string_append_c(w->log, '\n');
}

/* ---- the two sides ---- */

static bool try_qemu_io(struct world *w, const char *command)
{
    const char *const argv[] = {"qemu-io", "-f",    "qcow2",  "-d", "unmap",
                                "-c",      command, w->image, NULL};
    g_autofree char *out = NULL;

    return try_run(argv, &out) == 0 && out && !strstr(out, "failed");
}

static void qemu_io(struct world *w, const char *command)
{
    if (!try_qemu_io(w, command))
        failed(w, command);
}

static void qemu_img(struct world *w, const char *verb, const char *option, const char *name)
{
    if (run((const char *const[]){"qemu-img", verb, option, name, w->image, NULL}, NULL))
        failed(w, name);
}

static void must(struct world *w, bool ok, GError **err, const char *what)
{
    note(w, "%s: %s", what, ok ? "ok" : (*err)->message);
    if (!ok)
        failed(w, what);
}

/* ---- operations ---- */

static void range(struct world *w, uint64_t *off, uint64_t *len, bool clusters)
{
    uint64_t unit = clusters ? w->how.cluster_bytes : 512, units = w->size / unit;
    uint64_t most = pick(w, 3) ? 20 : 400, at = units ? pick(w, (uint32_t)units) : 0;

    uint64_t count = 1 + pick(w, (uint32_t)most);

    *off = at * unit;
    *len = MIN_OF(count, MIN_OF(units - at, clusters ? 20ull : 6000ull)) * unit;
}

static void op_write(struct world *w, bool packed)
{
    uint64_t off, len;
    unsigned pattern = pick(w, 256);

    range(w, &off, &len, packed);
    if (len == 0)
        return;
    note(w, "write%s %lu %lu -P %u", packed ? " -c" : "", off, len, pattern);
    if (w->n) {
        memset(w->data + off, (int)pattern, len);
        if (io(w->n, BLK_WRITE, off, w->data + off, len, packed ? BLK_REQ_COMPRESSED : 0))
            failed(w, "write");
        return;
    }
    for (uint64_t step = packed ? w->how.cluster_bytes : len; len; off += step, len -= step) {
        g_autofree char *c =
            g_strdup_printf("write %s -P %u %lu %lu", packed ? "-c" : "", pattern, off, step);
        /* qemu-io writes no compressed cluster over one that is in use */
        if (try_qemu_io(w, c))
            memset(w->data + off, (int)pattern, step);
        else if (!packed)
            failed(w, c);
    }
}

static void op_zero(struct world *w)
{
    bool unmap = pick(w, 2);
    uint64_t off, len;

    range(w, &off, &len, pick(w, 2));
    if (len == 0)
        return;
    memset(w->data + off, 0, len);
    note(w, "zero %lu %lu unmap %d", off, len, unmap);
    if (w->n) {
        if (io(w->n, BLK_WRITE_ZEROES, off, NULL, len, unmap ? BLK_REQ_UNMAP : 0))
            failed(w, "zero");
        return;
    }
    g_autofree char *c = g_strdup_printf("write -z %s %lu %lu", unmap ? "-u" : "", off, len);
    qemu_io(w, c);
}

static void op_discard(struct world *w)
{
    uint64_t off, len, cb = w->how.cluster_bytes;

    range(w, &off, &len, pick(w, 2));
    if (len == 0)
        return;
    uint64_t from = ALIGN_UP(off, cb), to = off + len;
    to = to == w->size ? to : ALIGN_DOWN(to, cb);
    note(w, "discard %lu %lu", off, len);
    if (from < to && !(w->how.backing_file && w->how.version == 2))
        memset(w->data + from, 0, to - from);
    if (w->n) {
        if (io(w->n, BLK_DISCARD, off, NULL, len, 0))
            failed(w, "discard");
        return;
    }
    g_autofree char *c = g_strdup_printf("discard %lu %lu", off, len);
    qemu_io(w, c);
}

static void op_snapshot(struct world *w)
{
    if (w->snap_count == SNAPSHOTS || w->how.data_file || w->how.refcount_bits < 16)
        return;
    struct snap *s = &w->snaps[w->snap_count++];
    snprintf(s->name, sizeof(s->name), "s%u", w->snap_names++);
    s->data = g_memdup2(w->data, SIZE_MAX_BYTES);
    s->size = w->size;
    note(w, "snapshot %s", s->name);
    if (!w->n) {
        qemu_img(w, "snapshot", "-c", s->name);
        return;
    }
    GError *err = NULL;
    must(w, qcow2_snapshot_create(w->n, s->name, &err), &err, "create");
}

static void op_apply(struct world *w)
{
    struct snap *s = w->snap_count ? &w->snaps[pick(w, w->snap_count)] : NULL;

    /* what qemu-img does where the sizes differ depends on its version */
    if (!s || (!w->n && s->size != w->size) || (w->how.version == 2 && s->size != w->size))
        return;
    note(w, "apply %s", s->name);
    memcpy(w->data, s->data, SIZE_MAX_BYTES);
    w->size = s->size;
    if (!w->n) {
        qemu_img(w, "snapshot", "-a", s->name);
        return;
    }
    GError *err = NULL;
    must(w, qcow2_snapshot_apply(w->n, s->name, &err), &err, "apply");
}

static void op_delete(struct world *w)
{
    unsigned i = w->snap_count ? pick(w, w->snap_count) : 0;

    if (w->snap_count == 0)
        return;
    note(w, "delete %s", w->snaps[i].name);
    if (w->n) {
        GError *err = NULL;
        must(w, qcow2_snapshot_delete(w->n, w->snaps[i].name, &err), &err, "delete");
    } else {
        qemu_img(w, "snapshot", "-d", w->snaps[i].name);
    }
    g_free(w->snaps[i].data);
    w->snaps[i] = w->snaps[--w->snap_count];
}

static void op_resize(struct world *w)
{
    uint64_t size = (1 + pick(w, SIZE_MAX_BYTES / 512)) * 512ull;

    /* an old snapshot does not say how long the disk was */
    if (w->snap_count && w->how.version == 2)
        return;
    /* qemu-img shows again what a cluster held behind the end of a shorter disk */
    if (!w->n && size > w->size && w->size % w->how.cluster_bytes)
        return;
    /* and has no zero clusters to hide the backing file with in version 2: it refuses */
    if (!w->n && size > w->size && w->how.version == 2 && w->how.backing_file)
        return;
    note(w, "resize %lu", size);
    if (size < w->size)
        memset(w->data + size, 0, w->size - size);
    w->size = size;
    if (w->n) {
        GError *err = NULL;
        must(w, blk_resize(w->n, size, &err), &err, "resize");
        return;
    }
    g_autofree char *text = g_strdup_printf("%lu", size);
    if (QEMU_IMG("resize", "-q", "-f", "qcow2", "--shrink", w->image, text))
        failed(w, "resize");
}

static void op_amend(struct world *w)
{
    static const uint32_t widths[] = {16, 32, 64};
    uint32_t bits = widths[pick(w, ARRAY_SIZE(widths))];

    /* qemu-img 7.2 does not come back from some of these, with images of its own too */
    if (w->how.version == 2 || !w->n)
        return;
    note(w, "refcount_bits %u", bits);
    w->how.refcount_bits = bits;
    GError *err = NULL;
    struct qcow2_amend a = QCOW2_AMEND_NOTHING;
    a.refcount_bits = bits;
    must(w, qcow2_amend(w->n, &a, NULL, NULL, &err), &err, "amend");
}

static const char *const open_as[] = {",discard=unmap", ",discard=unmap,file.discard=unmap"};

static void reopen(struct world *w, const char *more)
{
    blk_close(w->n);
    w->n = NULL;
    w->n = open_ok(w->image, more);
}

/* Into the backing image; a snapshot would see other bytes through its holes then. */
static void op_commit(struct world *w)
{
    bool keep = pick(w, 2);

    if (!w->how.backing_file || w->snap_count)
        return;
    note(w, "commit%s", keep ? " -d" : "");
    if (!w->n) {
        if (run((const char *const[]){"qemu-img", "commit", "-q", keep ? "-d" : "-q", w->image,
                                      NULL},
                NULL))
            failed(w, "commit");
        return;
    }
    GError *err = NULL;
    g_autofree char *more = g_strdup_printf(",backing.driver=raw,backing.read-only=off,"
                                            "backing.file.driver=file,backing.file.filename=%s/%s",
                                            w->dir, w->how.backing_file);
    reopen(w, more);
    must(w, blk_commit(w->n, blk_backing(w->n), NULL, NULL, &err), &err, "commit");
    if (!keep)
        must(w, qcow2_make_empty(w->n, &err), &err, "empty");
    reopen(w, open_as[pick(w, 2)]);
}

/* Onto a copy of the backing image, whose name is longer or shorter. */
static void op_rebase(struct world *w)
{
    static const char *const names[] = {"base.img", "another-name-of-the-base.img", "b"};
    const char *name = names[pick(w, ARRAY_SIZE(names))];

    if (!w->how.backing_file || !strcmp(name, w->how.backing_file))
        return;
    g_autofree char *from = g_build_filename(w->dir, w->how.backing_file, NULL);
    g_autofree char *to = g_build_filename(w->dir, name, NULL);
    copy_file(from, to);
    g_unlink(from);
    w->how.backing_file = name;
    note(w, "rebase -u %s", name);
    if (!w->n) {
        if (run((const char *const[]){"qemu-img", "rebase", "-u", "-b", name, "-F", "raw", w->image,
                                      NULL},
                NULL))
            failed(w, "rebase");
        return;
    }
    GError *err = NULL;
    must(w, qcow2_set_backing(w->n, name, "raw", &err), &err, "rebase");
    reopen(w, open_as[pick(w, 2)]);
}

static void step(struct world *w)
{
    switch (pick(w, 18)) {
    case 0:
    case 1:
        op_zero(w);
        break;
    case 2:
    case 3:
        op_discard(w);
        break;
    case 4:
    case 5:
        op_snapshot(w);
        break;
    case 6:
        op_apply(w);
        break;
    case 7:
        op_delete(w);
        break;
    case 8:
        op_resize(w);
        break;
    case 9:
        op_amend(w);
        break;
    case 10:
    case 11:
        op_write(w, !w->how.data_file);
        break;
    case 16:
        op_commit(w);
        break;
    case 17:
        op_rebase(w);
        break;
    case 12:
        if (w->n && io(w->n, BLK_FLUSH, 0, NULL, 0, 0))
            failed(w, "flush");
        break;
    default:
        op_write(w, false);
    }
}

/* ---- both sides look ---- */

static void compare(struct world *w, const uint8_t *got, const char *who)
{
    for (uint64_t i = 0; i < w->size; i += 512) {
        if (memcmp(got + i, w->data + i, 512)) {
            note(w, "%s reads other bytes at %lu: %u, not %u", who, i, got[i], w->data[i]);
            failed(w, who);
        }
    }
}

static void look_here(struct world *w)
{
    struct qcow2_check found;
    GError *err = NULL;
    struct blk_limits l;
    struct blk_node *n = open_ok(w->image, ",read-only=on");

    blk_limits(n, &l);
    if (l.size_bytes != w->size)
        failed(w, "size");
    if (io(n, BLK_READ, 0, w->in, w->size, 0))
        failed(w, "read");
    compare(w, w->in, "Hanok");
    must(w, qcow2_check(n, 0, on_finding, NULL, &found, &err), &err, "check");
    if (found.corruptions || found.leaks)
        failed(w, "Hanok's check finds something");
    for (unsigned i = 0; i < w->snap_count; i++) {
        must(w, qcow2_snapshot_show(n, w->snaps[i].name, &err), &err, "show");
        blk_limits(n, &l);
        if (l.size_bytes != w->snaps[i].size || io(n, BLK_READ, 0, w->in, l.size_bytes, 0) ||
            memcmp(w->in, w->snaps[i].data, l.size_bytes))
            failed(w, w->snaps[i].name);
    }
    blk_close(n);
}

static void look_there(struct world *w)
{
    g_autofree char *bytes = NULL;
    gsize len;

    if (QEMU_IMG("check", "-q", w->image))
        failed(w, "qemu-img's check finds something");
    if (QEMU_IMG("convert", "-f", "qcow2", "-O", "raw", w->image, w->raw) ||
        !g_file_get_contents(w->raw, &bytes, &len, NULL) || len != w->size)
        failed(w, "convert");
    compare(w, (const uint8_t *)bytes, "qemu-img");
}

/* ---- images ---- */

static void choose(struct world *w)
{
    static const uint64_t clusters[] = {512, 4096, 16384, 65536, 65536, 262144, 2 << 20};
    static const uint32_t widths[] = {1, 2, 4, 8, 16, 16, 16, 32, 64};
    struct qcow2_create *c = &w->how;

    *c = (struct qcow2_create){.size_bytes = (1 + pick(w, SIZE_MAX_BYTES / 512)) * 512ull,
                               .cluster_bytes = clusters[pick(w, ARRAY_SIZE(clusters))],
                               .version = pick(w, 4) ? 3 : 2,
                               .refcount_bits = 16};
    if (c->version == 3) {
        c->refcount_bits = widths[pick(w, ARRAY_SIZE(widths))];
        c->zstd = pick(w, 2);
        c->lazy_refcounts = pick(w, 3) == 0;
        c->extended_l2 = c->cluster_bytes >= 16384 && pick(w, 2);
        if (pick(w, 6) == 0) {
            c->data_file = g_build_filename(w->dir, "data", NULL);
            c->data_file_raw = pick(w, 2);
            c->zstd = false;
        }
    }
    if (pick(w, 2) && !c->data_file_raw) {
        c->backing_file = "base.img";
        c->backing_format = "raw";
    } else {
        c->preallocation = (enum blk_prealloc)pick(w, 4);
    }
    w->size = c->size_bytes;
    note(w,
         "size %lu cluster %lu version %u refcount_bits %u zstd %d lazy %d extended %d data %s raw "
         "%d backing %d prealloc %d",
         c->size_bytes, c->cluster_bytes, c->version, c->refcount_bits, c->zstd, c->lazy_refcounts,
         c->extended_l2, c->data_file, c->data_file_raw, c->backing_file != NULL, c->preallocation);
}

static void make_base(struct world *w)
{
    g_autofree char *path = g_build_filename(w->dir, "base.img", NULL);
    uint64_t len = (1 + pick(w, SIZE_MAX_BYTES / 512)) * 512ull;

    for (uint64_t i = 0; i < len; i += 512)
        memset(w->data + i, (int)(1 + pick(w, 255)), 512);
    g_assert_true(g_file_set_contents(path, (char *)w->data, (gssize)len, NULL));
    if (len > w->size)
        memset(w->data + w->size, 0, len - w->size);
}

static void world_free(struct world *w)
{
    for (unsigned i = 0; i < w->snap_count; i++)
        g_free(w->snaps[i].data);
    remove_tree(w->dir);
    g_free(w->dir);
    g_free(w->image);
    g_free(w->raw);
    g_free((char *)(uintptr_t)w->how.data_file);
    g_free(w->data);
    g_free(w->in);
    g_string_free(w->log, TRUE);
    g_rand_free(w->rand);
}

static void sequence(guint32 seed)
{
    struct world w = {.rand = g_rand_new_with_seed(seed), .log = g_string_new(NULL)};
    GError *err = NULL;

    w.dir = g_dir_make_tmp("hanok-oracle-XXXXXX", NULL);
    w.image = g_build_filename(w.dir, "disk.qcow2", NULL);
    w.raw = g_build_filename(w.dir, "disk.raw", NULL);
    w.data = g_malloc0(SIZE_MAX_BYTES);
    w.in = g_malloc0(SIZE_MAX_BYTES);
    note(&w, "seed %u", seed);
    choose(&w);
    if (w.how.backing_file)
        make_base(&w);
    must(&w, qcow2_create(w.image, &w.how, &err), &err, "create");
    for (unsigned turn = 0; turn < TURNS; turn++) {
        bool ours = pick(&w, 3) != 0;
        note(&w, "-- %s", ours ? "Hanok" : "qemu");
        w.n = ours ? open_ok(w.image,
                             pick(&w, 2) ? ",discard=unmap" : ",discard=unmap,file.discard=unmap")
                   : NULL;
        for (unsigned i = 0; i < (ours ? OPS * 3 : OPS); i++)
            step(&w);
        blk_close(w.n);
        w.n = NULL;
        look_here(&w);
        look_there(&w);
    }
    world_free(&w);
}

static void test_sequences(void)
{
    const char *wanted = g_getenv("HANOK_TEST_SEQUENCES"), *one = g_getenv("HANOK_TEST_SEED");
    unsigned count = wanted ? (unsigned)strtoul(wanted, NULL, 10) : 12;

    if (!have_qemu_img())
        return;
    if (one) {
        sequence((guint32)strtoul(one, NULL, 10));
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        guint32 seed = (guint32)g_test_rand_int();
        g_test_message("HANOK_TEST_SEED=%u", seed);
        sequence(seed);
    }
}

int main(int argc, char **argv)
{
    if (g_access("/dev/shm", W_OK) == 0) /* thousands of flushes, which nobody's power cut tests */
        g_setenv("TMPDIR", "/dev/shm", FALSE);
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK);
    g_test_add_func("/qcow2/sequences-on-both-sides", test_sequences);
    return g_test_run();
}
