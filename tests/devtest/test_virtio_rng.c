/* test_virtio_rng.c - the entropy device: bytes come, at the asked rate, and bad rings break it. */
#include "vt.h"

#include "base/evloop.h"
#include "bus/pci.h"
#include "virtio/devices.h"

#include <glib/gstdio.h>

enum { DEVFN = 5 << 3, QSIZE = 8 };

struct fixture {
    struct vt_board *board;
    struct vt_bus *bus;
    struct vt_dev dev;
    struct vt_queue q;
    uint64_t mem;
};

static void board_up(struct fixture *f, const struct virtio_rng_config *extra)
{
    GError *err = NULL;
    struct virtio_rng_config c = extra ? *extra : (struct virtio_rng_config){0};

    f->board = vt_board_new();
    f->bus = vt_board_bus(f->board);
    vt_board_place(f->board, &c.place, DEVFN, "rng0");
    g_assert_nonnull(virtio_rng_new(&c, &err));
    g_assert_no_error(err);
    f->mem = vt_alloc(f->bus, 65536, 4096);
}

static void start(struct fixture *f)
{
    vt_dev_open(&f->dev, f->bus, DEVFN, true);
    vt_negotiate(&f->dev, UINT64_MAX);
    vt_queue_open(&f->q, &f->dev, 0, QSIZE);
    vt_driver_ok(&f->dev);
}

static void set_up(struct fixture *f, const struct virtio_rng_config *extra)
{
    memset(f, 0, sizeof(*f));
    board_up(f, extra);
    start(f);
}

static uint32_t ask(struct fixture *f, uint32_t len)
{
    struct vt_buf b = {f->mem, len, true};
    uint32_t used = 0;

    vt_add(&f->q, &b, 1, false);
    vt_kick(&f->q);
    g_assert_true(vt_wait(&f->q, NULL, &used));
    return used;
}

static void test_bytes(void)
{
    struct fixture f;
    uint8_t a[64], b[64];

    set_up(&f, NULL);
    g_assert_cmpuint(ask(&f, 64), ==, 64);
    f.bus->mem_read(f.bus, f.mem, a, sizeof(a));
    g_assert_cmpuint(ask(&f, 64), ==, 64);
    f.bus->mem_read(f.bus, f.mem, b, sizeof(b));
    g_assert_cmpint(memcmp(a, b, sizeof(a)), !=, 0);
    g_assert_cmpuint(ask(&f, 1), ==, 1);
    vt_board_free(f.board);
}

static void test_file_source(void)
{
    struct fixture f;
    char text[5] = {0};
    char *path = NULL;

    g_close(g_file_open_tmp("hanok-rng-XXXXXX", &path, NULL), NULL);
    g_assert_true(g_file_set_contents(path, "four", 4, NULL));
    set_up(&f, &(struct virtio_rng_config){.filename = path});
    g_assert_cmpuint(ask(&f, 4), ==, 4);
    f.bus->mem_read(f.bus, f.mem, text, 4);
    g_assert_cmpstr(text, ==, "four");
    g_assert_cmpuint(ask(&f, 16), ==, 16); /* the file has ended: the kernel goes on */
    vt_board_free(f.board);
    g_unlink(path);
    g_free(path);
}

static void test_rate(void)
{
    struct fixture f;
    struct vt_buf b;

    set_up(&f, &(struct virtio_rng_config){.max_bytes = 32, .period_ms = 100});
    g_assert_cmpuint(ask(&f, 64), ==, 32);
    b = (struct vt_buf){f.mem, 16, true};
    vt_add(&f.q, &b, 1, false);
    uint64_t from = host_clock_ns();
    vt_kick(&f.q);
    vt_pump(f.bus, 20);
    g_assert_cmpuint(vt_used_idx(&f.q), ==, 1);
    g_assert_true(vt_wait(&f.q, NULL, NULL));
    g_assert_cmpuint(host_clock_ns() - from, >, 50000000);
    vt_board_free(f.board);
}

static void test_hostile(void)
{
    struct fixture f;
    struct vt_buf b;

    set_up(&f, NULL);
    b = (struct vt_buf){f.mem, 16, false};
    vt_add(&f.q, &b, 1, false);
    vt_kick(&f.q);
    g_assert_true(vt_needs_reset(&f.dev));
    start(&f);
    b = (struct vt_buf){0x30000000, 16, true};
    vt_add(&f.q, &b, 1, false);
    vt_kick(&f.q);
    g_assert_true(vt_needs_reset(&f.dev));
    start(&f);
    g_assert_cmpuint(ask(&f, 0), ==, 0);
    g_assert_cmpuint(ask(&f, 100), ==, 100);
    vt_board_free(f.board);
}

static void test_save_load(void)
{
    struct fixture f;

    set_up(&f, &(struct virtio_rng_config){.max_bytes = 1024});
    g_assert_cmpuint(ask(&f, 100), ==, 100);
    vt_board_pause(f.board);
    g_autoptr(GBytes) first = vt_board_save(f.board);
    vt_board_free(f.board);
    struct vt_dev dev = f.dev;
    board_up(&f, &(struct virtio_rng_config){.max_bytes = 1024});
    vt_board_load_same(f.board, first);
    vt_board_resume(f.board);
    f.dev = dev;
    f.dev.bus = f.bus;
    g_assert_cmpuint(ask(&f, 2000), ==, 924);
    vt_board_free(f.board);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-rng/bytes", test_bytes);
    g_test_add_func("/virtio-rng/file-source", test_file_source);
    g_test_add_func("/virtio-rng/rate", test_rate);
    g_test_add_func("/virtio-rng/hostile", test_hostile);
    g_test_add_func("/virtio-rng/save-load", test_save_load);
    return g_test_run();
}
