/* test_block.c - nodes over files: requests, windows, tails, errors, locks, options. */
#include "block/block.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/props.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IMAGE_BYTES = 1 << 20 };

static char *make_image(off_t bytes)
{
    char *path = NULL;
    int fd = g_file_open_tmp("hanok-block-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, bytes), ==, 0);
    close(fd);
    return path;
}

static struct blk_node *try_open(const char *text, GError **err)
{
    PROPS_AUTO p = props_parse(text, NULL, err);
    return p ? blk_open(p, err) : NULL;
}

static struct blk_node *open_ok(const char *fmt, const char *path)
{
    GError *err = NULL;
    g_autofree char *text = g_strdup_printf(fmt, path);
    struct blk_node *n = try_open(text, &err);

    g_assert_no_error(err);
    return n;
}

static void refused(const char *text, const char *word)
{
    GError *err = NULL;

    g_assert_null(try_open(text, &err));
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(err->message, word));
    g_clear_error(&err);
}

struct wait {
    struct blk_req req;
    int ret;
    bool ended;
};

static void on_done(struct blk_req *req, int ret)
{
    struct wait *w = container_of(req, struct wait, req);

    g_assert_false(w->ended);
    w->ret = ret;
    w->ended = true;
}

static void submit(struct wait *w, struct blk_node *n, enum blk_op op, uint64_t off, uint64_t len,
                   struct iovec *iov, int count)
{
    memset(w, 0, sizeof(*w));
    w->req = (struct blk_req){.op = op,
                              .offset_bytes = off,
                              .len_bytes = len,
                              .iov = iov,
                              .iov_count = count,
                              .done = on_done,
                              .node = n};
    blk_submit(&w->req);
    g_assert_false(w->ended); /* never from inside submit */
}

static int finish(struct wait *w)
{
    while (!w->ended)
        g_main_context_iteration(NULL, TRUE);
    return w->ret;
}

static int io(struct blk_node *n, enum blk_op op, uint64_t off, void *buf, size_t len)
{
    struct iovec iov = {buf, len};
    struct wait w;

    submit(&w, n, op, off, len, &iov, buf ? 1 : 0);
    return finish(&w);
}

static void fill(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 13 + seed + (i >> 8));
}

#define FILE_NODE "driver=raw,node-name=n,file.driver=file,file.filename=%s"

static void check_transfers(struct blk_node *n)
{
    uint8_t out[20000 / 512 * 512], in[sizeof(out)];
    struct iovec three[3] = {{in, 1}, {in + 1, 511}, {in + 512, sizeof(in) - 512}};
    struct wait w;

    fill(out, sizeof(out), 3);
    g_assert_cmpint(io(n, BLK_WRITE, 4096, out, sizeof(out)), ==, 0);
    g_assert_cmpint(io(n, BLK_FLUSH, 0, NULL, 0), ==, 0);
    memset(in, 0xaa, sizeof(in));
    submit(&w, n, BLK_READ, 4096, sizeof(in), three, 3);
    g_assert_cmpint(finish(&w), ==, 0);
    g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    memset(in, 0xaa, sizeof(in));
    g_assert_cmpint(io(n, BLK_READ, 512, in, 512), ==, 0);
    for (int i = 0; i < 512; i++)
        g_assert_cmpuint(in[i], ==, 0);
}

static void test_transfers(gconstpointer options)
{
    g_autofree char *path = make_image(IMAGE_BYTES);
    g_autofree char *fmt = g_strconcat(FILE_NODE, options, NULL);
    struct blk_node *n = open_ok(fmt, path);
    struct blk_stats s;

    check_transfers(n);
    blk_stats(n, &s);
    g_assert_cmpuint(s.ops[BLK_WRITE], ==, 1);
    g_assert_cmpuint(s.ops[BLK_READ], ==, 2);
    g_assert_cmpuint(s.ops[BLK_FLUSH], ==, 1);
    g_assert_cmpuint(s.bytes[BLK_READ], ==, 20000 / 512 * 512 + 512);
    g_assert_cmpuint(s.errors[BLK_READ], ==, 0);
    blk_close(n);
    g_unlink(path);
}

/* O_DIRECT with memory, offsets and lengths that it does not take as they are. */
static void test_direct(void)
{
    g_autofree char *path = make_image(IMAGE_BYTES);
    int fd = open(path, O_RDWR | O_DIRECT);
    uint8_t *buf = NULL, in[4096];

    if (fd < 0) {
        g_test_skip("the file system of the temporary directory has no O_DIRECT");
        return;
    }
    close(fd);
    struct blk_node *n = open_ok(FILE_NODE ",file.cache.direct=on,cache.direct=on", path);
    check_transfers(n);
    g_assert_cmpint(posix_memalign((void **)&buf, 4096, 8192), ==, 0);
    fill(buf, 4096, 9);
    g_assert_cmpint(io(n, BLK_WRITE, 8192, buf, 4096), ==, 0); /* aligned */
    g_assert_cmpint(io(n, BLK_READ, 8192, in, 4096), ==, 0);   /* into a stack buffer */
    g_assert_cmpmem(in, 4096, buf, 4096);
    memmove(buf + 1, buf, 4096);
    g_assert_cmpint(io(n, BLK_WRITE, 16384, buf + 1, 4096), ==, 0); /* odd memory */
    g_assert_cmpint(io(n, BLK_READ, 16384 + 512, in, 1024), ==, 0); /* odd place */
    g_assert_cmpmem(in, 1024, buf + 1 + 512, 1024);
    free(buf);
    blk_close(n);
    g_unlink(path);
}

static void test_tail_of_an_odd_file_reads_as_zero(gconstpointer options)
{
    g_autofree char *path = make_image(0);
    g_autofree char *fmt = g_strconcat(FILE_NODE, options, NULL);
    uint8_t in[1024];
    struct blk_limits l;

    g_assert_true(g_file_set_contents(path, "0123456789", 10, NULL));
    struct blk_node *n = open_ok(fmt, path);
    blk_limits(n, &l);
    g_assert_cmpuint(l.size_bytes, ==, 512);
    memset(in, 0xaa, sizeof(in));
    g_assert_cmpint(io(n, BLK_READ, 0, in, 512), ==, 0);
    g_assert_cmpmem(in, 10, "0123456789", 10);
    for (int i = 10; i < 512; i++)
        g_assert_cmpuint(in[i], ==, 0);
    g_assert_cmpint(io(n, BLK_READ, 0, in, 1024), ==, -EIO);
    blk_close(n);
    g_unlink(path);
}

static void test_window(void)
{
    g_autofree char *path = make_image(IMAGE_BYTES);
    uint8_t out[512], in[512];
    struct blk_limits l;
    struct blk_node *n = open_ok(FILE_NODE ",offset=64K,size=4K", path);

    blk_limits(n, &l);
    g_assert_cmpuint(l.size_bytes, ==, 4096);
    fill(out, sizeof(out), 1);
    g_assert_cmpint(io(n, BLK_WRITE, 512, out, 512), ==, 0);
    g_assert_cmpint(io(n, BLK_WRITE, 4096, out, 512), ==, -EIO);
    g_assert_cmpint(io(n, BLK_WRITE, UINT64_MAX - 511, out, 512), ==, -EIO);
    int fd = open(path, O_RDONLY);
    g_assert_cmpint(pread(fd, in, 512, 65536 + 512), ==, 512);
    close(fd);
    g_assert_cmpmem(in, 512, out, 512);
    blk_close(n);
    g_unlink(path);
}

static void test_zeroes_and_discard(void)
{
    g_autofree char *path = make_image(IMAGE_BYTES);
    uint8_t buf[8192];
    struct stat before, after;
    struct blk_node *n =
        open_ok(FILE_NODE ",discard=unmap,file.discard=unmap,detect-zeroes=unmap", path);

    fill(buf, sizeof(buf), 5);
    g_assert_cmpint(io(n, BLK_WRITE, 0, buf, sizeof(buf)), ==, 0);
    g_assert_cmpint(blk_flush_sync(n), ==, 0);
    g_assert_cmpint(stat(path, &before), ==, 0);
    struct wait w;
    submit(&w, n, BLK_WRITE_ZEROES, 0, 4096, NULL, 0);
    g_assert_cmpint(finish(&w), ==, 0);
    submit(&w, n, BLK_DISCARD, 4096, 4096, NULL, 0);
    g_assert_cmpint(finish(&w), ==, 0);
    g_assert_cmpint(io(n, BLK_READ, 0, buf, 4096), ==, 0);
    for (int i = 0; i < 4096; i++)
        g_assert_cmpuint(buf[i], ==, 0);
    g_assert_cmpint(stat(path, &after), ==, 0);
    g_assert_cmpint(after.st_blocks, <, before.st_blocks);
    /* zeroes that are written become a hole too */
    fill(buf, sizeof(buf), 5);
    g_assert_cmpint(io(n, BLK_WRITE, 16384, buf, 8192), ==, 0);
    memset(buf, 0, sizeof(buf));
    g_assert_cmpint(io(n, BLK_WRITE, 16384, buf, 8192), ==, 0);
    blk_flush_sync(n);
    g_assert_cmpint(stat(path, &after), ==, 0);
    g_assert_cmpint(after.st_blocks, <, before.st_blocks);
    blk_close(n);
    g_unlink(path);
}

static void test_many_at_once_and_drain(gconstpointer options)
{
    enum { COUNT = 500 };
    g_autofree char *path = make_image(IMAGE_BYTES);
    g_autofree char *fmt = g_strconcat(FILE_NODE, options, NULL);
    struct blk_node *n = open_ok(fmt, path);
    g_autofree struct wait *w = g_new0(struct wait, COUNT);
    g_autofree uint8_t *buf = g_malloc(COUNT * 512);
    struct iovec iov[COUNT];

    for (unsigned i = 0; i < COUNT; i++) {
        memset(buf + 512 * i, (int)i, 512);
        iov[i] = (struct iovec){buf + 512 * i, 512};
    }
    blk_plug(n);
    for (unsigned i = 0; i < COUNT; i++)
        submit(&w[i], n, BLK_WRITE, 512ull * i, 512, &iov[i], 1);
    blk_unplug(n);
    blk_drain(n);
    for (unsigned i = 0; i < COUNT; i++) {
        g_assert_true(w[i].ended);
        g_assert_cmpint(w[i].ret, ==, 0);
    }
    int fd = open(path, O_RDONLY);
    for (unsigned i = 0; i < COUNT; i++) {
        uint8_t b;
        g_assert_cmpint(pread(fd, &b, 1, 512 * i), ==, 1);
        g_assert_cmpuint(b, ==, (uint8_t)i);
    }
    close(fd);
    blk_close(n);
    g_unlink(path);
}

/* More than one batch of the writer's, some of them to the disk itself. */
static void test_batches_of_writes(gconstpointer options)
{
    enum { COUNT = 200, PAGE = 4096 };
    g_autofree char *path = make_image(COUNT * PAGE);
    g_autofree char *fmt = g_strconcat(FILE_NODE, options, NULL);
    struct blk_node *n = open_ok(fmt, path);
    g_autofree struct wait *w = g_new0(struct wait, COUNT);
    g_autofree struct iovec *iov = g_new0(struct iovec, COUNT);
    g_autofree uint8_t *out = g_malloc(COUNT * PAGE), *in = g_malloc(COUNT * PAGE);

    fill(out, COUNT * PAGE, 9);
    blk_plug(n);
    for (unsigned i = 0; i < COUNT; i++) {
        iov[i] = (struct iovec){out + i * PAGE, PAGE};
        w[i].req = (struct blk_req){.op = BLK_WRITE,
                                    .flags = i % 3 ? 0 : BLK_REQ_FUA,
                                    .offset_bytes = i * PAGE,
                                    .len_bytes = PAGE,
                                    .iov = &iov[i],
                                    .iov_count = 1,
                                    .done = on_done,
                                    .node = n};
        blk_submit(&w[i].req);
    }
    blk_unplug(n);
    for (unsigned i = 0; i < COUNT; i++)
        g_assert_cmpint(finish(&w[i]), ==, 0);
    g_assert_cmpuint(w[0].req.flags, ==, BLK_REQ_FUA); /* who tries again needs it again */
    g_assert_cmpint(io(n, BLK_READ, 0, in, COUNT * PAGE), ==, 0);
    g_assert_cmpmem(in, COUNT * PAGE, out, COUNT * PAGE);
    blk_close(n);
    g_unlink(path);
}

static void test_read_only_and_auto(void)
{
    g_autofree char *path = make_image(IMAGE_BYTES);
    uint8_t buf[512] = {0};
    struct blk_limits l;
    struct blk_node *n = open_ok(FILE_NODE ",read-only=on", path);

    blk_limits(n, &l);
    g_assert_true(l.read_only);
    g_assert_cmpint(io(n, BLK_WRITE, 0, buf, 512), ==, -EROFS);
    g_assert_cmpint(io(n, BLK_READ, 0, buf, 512), ==, 0);
    g_assert_cmpint(io(n, BLK_FLUSH, 0, NULL, 0), ==, 0);
    blk_close(n);
    g_unlink(path);
}

static void test_claims_and_names(void)
{
    g_autofree char *path = make_image(IMAGE_BYTES);
    GError *err = NULL;
    struct blk_node *file = open_ok("driver=file,node-name=f,filename=%s", path);
    struct blk_node *raw = open_ok("driver=raw,node-name=r,file=f%s", "");

    g_assert_true(blk_find("r") == raw);
    g_assert_true(blk_child(raw) == file);
    g_assert_cmpstr(blk_filename(raw), ==, path);
    g_assert_cmpstr(blk_driver_name(raw), ==, "raw");
    g_assert_true(blk_claim(raw, "device 'a'", &err));
    g_assert_false(blk_claim(raw, "device 'b'", &err));
    g_assert_nonnull(strstr(err->message, "device 'a'"));
    g_clear_error(&err);
    g_assert_false(blk_claim(file, "device 'b'", &err));
    g_clear_error(&err);
    refused("driver=raw,node-name=x,file=f", "already in use");
    refused("driver=null-co,node-name=r", "already in use");
    blk_release(raw);
    blk_close(raw);
    blk_close(file);
    g_assert_null(blk_find("f"));
    g_unlink(path);
}

static void test_refusals(void)
{
    refused("node-name=x", "driver=");
    refused("driver=vmdk,file.driver=file,file.filename=/x", "not available");
    refused("driver=rwa", "'raw'");
    refused("driver=file", "filename=");
    refused("driver=file,filename=/no/such/file", "No such file");
    refused("driver=file,filename=/dev/null", "neither");
    refused("driver=file,filename=/", "Could not open");
    refused("driver=raw", "file=");
    refused("driver=raw,file=nobody", "nobody");
    refused("driver=null-co,sise=1", "size");
    refused("driver=null-co,size=12Q", "12Q");
    refused("driver=null-co,discard=sometimes", "unmap");
    refused("driver=null-co,detect-zeroes=unmap", "discard=unmap");
    refused("driver=null-co,cache.no-flsh=on", "no-flush");
}

static void test_resize(void)
{
    g_autofree char *path = make_image(IMAGE_BYTES);
    GError *err = NULL;
    struct blk_limits l;
    struct blk_node *n = open_ok(FILE_NODE, path);
    uint8_t buf[512] = {1};

    g_assert_true(blk_resize(n, 2 * IMAGE_BYTES, &err));
    blk_limits(n, &l);
    g_assert_cmpuint(l.size_bytes, ==, 2 * IMAGE_BYTES);
    g_assert_cmpint(io(n, BLK_WRITE, IMAGE_BYTES, buf, 512), ==, 0);
    blk_close(n);
    n = open_ok(FILE_NODE ",size=4K", path);
    g_assert_false(blk_resize(n, 8192, &err));
    g_clear_error(&err);
    blk_close(n);
    g_unlink(path);
}

/* A block device of the host: a loop device over an image, with sectors of 4 KiB. */
static void test_block_device(void)
{
    g_autofree char *path = make_image(IMAGE_BYTES);
    const char *const argv[] = {"losetup", "-b", "4096", "-f", "--show", path, NULL};
    g_autofree char *dev = NULL;
    g_autofree char *said = NULL;
    int status = -1;
    struct blk_limits l;
    uint8_t buf[8192];

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &dev, &said,
                      &status, NULL) ||
        status != 0 || !g_str_has_prefix(g_strchomp(dev), "/dev/loop")) {
        g_test_skip("no loop device can be made here (it needs root)");
        g_unlink(path);
        return;
    }
    struct blk_node *n = open_ok(FILE_NODE ",discard=unmap,file.discard=unmap,cache.direct=on,"
                                           "file.cache.direct=on",
                                 dev);
    blk_limits(n, &l);
    g_assert_cmpuint(l.size_bytes, ==, IMAGE_BYTES);
    g_assert_cmpuint(l.logical_block_bytes, ==, 4096);
    fill(buf, sizeof(buf), 7);
    g_assert_cmpint(io(n, BLK_WRITE, 8192, buf, 8192), ==, 0);
    struct wait w;
    submit(&w, n, BLK_WRITE_ZEROES, 8192, 4096, NULL, 0);
    g_assert_cmpint(finish(&w), ==, 0);
    submit(&w, n, BLK_DISCARD, 12288, 4096, NULL, 0);
    g_assert_cmpint(finish(&w), ==, 0);
    g_assert_cmpint(io(n, BLK_FLUSH, 0, NULL, 0), ==, 0);
    g_assert_cmpint(io(n, BLK_READ, 8192, buf, 8192), ==, 0);
    for (int i = 0; i < 8192; i++)
        g_assert_cmpuint(buf[i], ==, 0);
    blk_close(n);
    const char *const detach[] = {"losetup", "-d", dev, NULL};
    g_assert_true(g_spawn_sync(NULL, (char **)detach, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                               NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
    g_unlink(path);
}

static void test_io_thread(void)
{
    g_autofree char *path = make_image(IMAGE_BYTES);
    GError *err = NULL;
    struct evloop *loop = evloop_new("iothread-test", &err);
    struct blk_node *n = open_ok(FILE_NODE, path);

    g_assert_no_error(err);
    blk_attach(n, loop);
    blk_drain(n);
    blk_attach(n, evloop_main());
    check_transfers(n);
    blk_close(n);
    evloop_free(loop);
    g_unlink(path);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/block/transfers/default", "", test_transfers);
    g_test_add_data_func("/block/transfers/threads", ",file.aio=threads", test_transfers);
    g_test_add_data_func("/block/transfers/io_uring", ",file.aio=io_uring", test_transfers);
    g_test_add_func("/block/direct", test_direct);
    g_test_add_data_func("/block/tail/default", "", test_tail_of_an_odd_file_reads_as_zero);
    g_test_add_data_func("/block/tail/threads", ",file.aio=threads",
                         test_tail_of_an_odd_file_reads_as_zero);
    g_test_add_func("/block/window", test_window);
    g_test_add_func("/block/zeroes-and-discard", test_zeroes_and_discard);
    g_test_add_data_func("/block/many/default", "", test_many_at_once_and_drain);
    g_test_add_data_func("/block/many/threads", ",file.aio=threads", test_many_at_once_and_drain);
    g_test_add_data_func("/block/batches/default", "", test_batches_of_writes);
    g_test_add_data_func("/block/batches/threads", ",file.aio=threads", test_batches_of_writes);
    g_test_add_func("/block/read-only", test_read_only_and_auto);
    g_test_add_func("/block/claims-and-names", test_claims_and_names);
    g_test_add_func("/block/refusals", test_refusals);
    g_test_add_func("/block/resize", test_resize);
    g_test_add_func("/block/block-device", test_block_device);
    g_test_add_func("/block/io-thread", test_io_thread);
    return g_test_run();
}
