/* qcow2_disk.c - see the header. */
#include "qcow2_disk.h"

#include "base/util.h"

#include <string.h>
#include <sys/stat.h>

void fill(uint8_t *p, uint64_t len, unsigned seed)
{
    GRand *r = g_rand_new_with_seed(seed);
    uint32_t v = g_rand_int(r);

    for (uint64_t i = 0; i < len; i++)
        p[i] = (uint8_t)((v = v * 1664525 + 1013904223) >> 24);
    g_rand_free(r);
}

void make(const char *path, const struct qcow2_create *how)
{
    GError *why = NULL;
    struct qcow2_create c = *how;

    c.size_bytes = c.size_bytes ? c.size_bytes : SIZE;
    c.version = c.version ? c.version : 3;
    c.cluster_bytes = c.cluster_bytes ? c.cluster_bytes : CLUSTER;
    qcow2_create(path, &c, &why);
    g_assert_no_error(why);
}

void bed_open(struct bed *b, const struct qcow2_create *how)
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

void bed_close(struct bed *b)
{
    blk_close(b->n);
    remove_tree(b->dir);
    g_free(b->dir);
    g_free(b->image);
    g_free(b->other);
    g_free(b->data);
    g_free(b->in);
}

void reopen(struct bed *b, const char *more)
{
    blk_close(b->n);
    b->n = NULL;
    b->n = open_ok(b->image, more);
}

void settle(struct bed *b)
{
    g_autofree char *qemu = g_find_program_in_path("qemu-img");

    blk_close(b->n);
    b->n = NULL;
    own_check(b->image, false);
    if (qemu)
        g_assert_cmpint(QEMU_IMG("check", "-q", b->image), ==, 0);
}

void write_all(struct bed *b, const uint8_t *data, uint64_t from, uint64_t len)
{
    g_assert_cmpint(io(b->n, BLK_WRITE, from, (void *)(uintptr_t)(data + from), len, 0), ==, 0);
}

void expect(struct bed *b, const uint8_t *data, uint64_t from, uint64_t len)
{
    memset(b->in, 0xa5, len);
    g_assert_cmpint(io(b->n, BLK_READ, from, b->in, len, 0), ==, 0);
    for (uint64_t i = 0; i < len; i += 512) {
        if (memcmp(b->in + i, data + from + i, MIN_OF(len - i, (uint64_t)512)))
            g_error("the image differs at %" G_GUINT64_FORMAT, (guint64)(from + i));
    }
}

uint64_t host_bytes(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return (uint64_t)st.st_blocks * 512;
}

void refused(bool ok, GError **err, const char *word)
{
    g_assert_false(ok);
    g_assert_nonnull(*err);
    if (!strstr((*err)->message, word))
        g_error("'%s' lacks '%s'", (*err)->message, word);
    g_clear_error(err);
}
