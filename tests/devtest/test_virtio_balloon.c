/* test_virtio_balloon.c - the balloon: pages go, statistics come, hostile lists hurt nobody. */
#include "vt.h"

#include "bus/pci.h"
#include "virtio/devices.h"

enum { DEVFN = 6 << 3, QSIZE = 32, INFLATE = 0, DEFLATE = 1, STATS = 2, REPORT = 3 };
#define F_STATS  BIT64(1)
#define F_POISON BIT64(4)
#define F_REPORT BIT64(5)
#define F_RING   (BIT64(28) | BIT64(29))

struct fixture {
    struct vt_board *board;
    struct vt_bus *bus;
    struct device *device;
    struct vt_dev dev;
    struct vt_queue q[4];
    uint64_t mem;
    uint64_t changed_to;
};

static void on_change(void *opaque, struct device *d, uint64_t actual)
{
    ((struct fixture *)opaque)->changed_to = actual;
}

static void board_up(struct fixture *f)
{
    GError *err = NULL;
    struct virtio_balloon_config c = {.free_page_reporting = true,
                                      .page_poison = true,
                                      .deflate_on_oom = true,
                                      .on_change = on_change,
                                      .on_change_opaque = f};

    f->board = vt_board_new();
    f->bus = vt_board_bus(f->board);
    vt_board_place(f->board, &c.place, DEVFN, "balloon0");
    f->device = virtio_balloon_new(&c, &err);
    g_assert_no_error(err);
    g_assert_true(virtio_balloon_find(vt_board_devices(f->board)) == f->device);
    f->mem = vt_alloc(f->bus, 65536, 4096);
}

static void start(struct fixture *f, uint64_t features)
{
    vt_dev_open(&f->dev, f->bus, DEVFN, true);
    vt_negotiate(&f->dev, features | F_RING);
    for (uint16_t i = 0; i < 4; i++)
        vt_queue_open(&f->q[i], &f->dev, i, QSIZE);
    vt_driver_ok(&f->dev);
}

static void set_up(struct fixture *f, uint64_t features)
{
    memset(f, 0, sizeof(*f));
    board_up(f);
    start(f, features);
}

static void post(struct fixture *f, unsigned queue, uint64_t gpa, uint32_t len, bool write)
{
    struct vt_buf b = {gpa, len, write};

    vt_add(&f->q[queue], &b, 1, false);
    vt_kick(&f->q[queue]);
}

static void inflate(struct fixture *f, const uint32_t *pfn, uint32_t count)
{
    f->bus->mem_write(f->bus, f->mem, pfn, 4ull * count);
    post(f, INFLATE, f->mem, 4 * count, false);
    g_assert_true(vt_wait(&f->q[INFLATE], NULL, NULL));
}

static void dirty(struct fixture *f, uint64_t gpa)
{
    vt_put(f->bus, gpa, 0x1122334455667788, 8);
}

static bool is_gone(struct fixture *f, uint64_t gpa)
{
    return vt_get(f->bus, gpa, 8) == 0;
}

static void test_inflate(void)
{
    struct fixture f;
    uint64_t page = VT_RAM_HIGH + 0x100000;
    uint32_t up[] = {(uint32_t)(page >> 12), (uint32_t)(page >> 12) + 1};
    uint32_t down[] = {(uint32_t)(page >> 12) + 5, (uint32_t)(page >> 12) + 4};
    uint32_t odd[] = {0xffffffff, 0x30000, (uint32_t)(page >> 12) + 8, 0, 0xfffffffe};

    set_up(&f, F_STATS);
    for (int i = 0; i < 9; i++)
        dirty(&f, page + 4096ull * i);
    inflate(&f, up, 2);
    inflate(&f, down, 2);
    for (int i = 0; i < 6; i++)
        g_assert_cmpint(is_gone(&f, page + 4096ull * i), ==, i != 2 && i != 3);
    odd[3] = (uint32_t)(page >> 12) + 6;
    inflate(&f, odd, 5); /* what is not RAM is passed over */
    g_assert_true(is_gone(&f, page + 8 * 4096));
    g_assert_true(is_gone(&f, page + 6 * 4096));
    g_assert_false(is_gone(&f, page + 7 * 4096));
    post(&f, DEFLATE, f.mem, 8, false);
    g_assert_true(vt_wait(&f.q[DEFLATE], NULL, NULL));
    post(&f, INFLATE, f.mem, 3, false); /* not even one number */
    g_assert_true(vt_wait(&f.q[INFLATE], NULL, NULL));
    vt_board_free(f.board);
}

static void test_target_and_actual(void)
{
    struct fixture f;
    uint64_t ram = 2 * VT_RAM_END;
    GError *err = NULL;

    set_up(&f, F_STATS);
    g_assert_cmpuint(virtio_balloon_actual(f.device), ==, ram);
    unsigned irqs = vt_board_msi_count(f.board, 0);
    g_assert_true(virtio_balloon_set_target(f.device, ram - 1024 * 4096, &err));
    g_assert_cmpuint(vt_cfg(&f.dev, 0, 4), ==, 1024);
    g_assert_cmpuint(vt_board_msi_count(f.board, 0), ==, irqs + 1);
    vt_cfg_write(&f.dev, 4, 4, 1024);
    vt_pump(f.bus, 20);
    g_assert_cmpuint(f.changed_to, ==, ram - 1024 * 4096);
    g_assert_cmpuint(virtio_balloon_actual(f.device), ==, f.changed_to);
    vt_cfg_write(&f.dev, 4, 4, 0xffffffff); /* a lie */
    g_assert_cmpuint(virtio_balloon_actual(f.device), ==, 0);
    g_assert_false(virtio_balloon_set_target(f.device, 0, &err));
    g_clear_error(&err);
    vt_board_free(f.board);
}

static void put_stat(struct fixture *f, unsigned at, uint16_t tag, uint64_t value)
{
    vt_put(f->bus, f->mem + 10 * at, tag, 2);
    vt_put(f->bus, f->mem + 10 * at + 2, value, 8);
}

static void test_stats(void)
{
    struct fixture f;
    struct virtio_balloon_stats s;

    set_up(&f, F_STATS);
    virtio_balloon_get_stats(f.device, &s);
    g_assert_cmpuint(s.last_update_s, ==, 0);
    g_assert_cmpuint(s.value[VIRTIO_BALLOON_STAT_TOTAL], ==, UINT64_MAX);
    put_stat(&f, 0, VIRTIO_BALLOON_STAT_TOTAL, 1000);
    put_stat(&f, 1, 999, 7); /* unknown tag */
    put_stat(&f, 2, VIRTIO_BALLOON_STAT_FREE, 500);
    post(&f, STATS, f.mem, 30, false);
    vt_pump(f.bus, 20);
    g_assert_cmpuint(vt_used_idx(&f.q[STATS]), ==, 0); /* held until the next poll */
    virtio_balloon_get_stats(f.device, &s);
    g_assert_cmpuint(s.value[VIRTIO_BALLOON_STAT_TOTAL], ==, 1000);
    g_assert_cmpuint(s.value[VIRTIO_BALLOON_STAT_FREE], ==, 500);
    virtio_balloon_poll(f.device, 1);
    g_assert_cmpuint(virtio_balloon_poll_interval(f.device), ==, 1);
    g_assert_true(vt_wait(&f.q[STATS], NULL, NULL));
    put_stat(&f, 0, VIRTIO_BALLOON_STAT_TOTAL, 2000);
    post(&f, STATS, f.mem, 10, false);
    vt_pump(f.bus, 20);
    virtio_balloon_get_stats(f.device, &s);
    g_assert_cmpuint(s.value[VIRTIO_BALLOON_STAT_TOTAL], ==, 2000);
    /* a second buffer while one is held: the first comes back */
    post(&f, STATS, f.mem, 10, false);
    g_assert_true(vt_wait(&f.q[STATS], NULL, NULL));
    /* a reset lets go of the held one at once */
    vt_set_status(&f.dev, 0);
    g_assert_cmphex(vt_status(&f.dev), ==, 0);
    vt_board_free(f.board);
}

static void test_reporting(void)
{
    struct fixture f;
    uint64_t page = VT_RAM_HIGH + 0x200000;

    set_up(&f, F_STATS | F_REPORT | F_POISON);
    dirty(&f, page);
    dirty(&f, page + 4096);
    dirty(&f, page + 2 * 4096);
    post(&f, REPORT, page - 100, 4096 + 200, true); /* whole pages only */
    g_assert_true(vt_wait(&f.q[REPORT], NULL, NULL));
    g_assert_true(is_gone(&f, page));
    g_assert_false(is_gone(&f, page + 4096));
    vt_cfg_write(&f.dev, 12, 4, 0xaaaaaaaa); /* the guest poisons: its pages stay */
    post(&f, REPORT, page + 4096, 4096, true);
    g_assert_true(vt_wait(&f.q[REPORT], NULL, NULL));
    g_assert_false(is_gone(&f, page + 4096));
    /* without statistics the reporting queue moves down */
    start(&f, F_REPORT);
    post(&f, 2, page + 4096, 4096, true);
    g_assert_true(vt_wait(&f.q[2], NULL, NULL));
    g_assert_true(is_gone(&f, page + 4096));
    vt_board_free(f.board);
}

static void test_hostile(void)
{
    struct fixture f;
    uint64_t table;

    set_up(&f, F_STATS | F_REPORT);
    post(&f, REPORT, 0x30000000, 4096, true);
    g_assert_true(vt_needs_reset(&f.dev));
    start(&f, F_STATS);
    /* the same 16 MiB of page numbers twice: longer than any driver's list */
    table = vt_alloc(f.bus, 32, 16);
    for (unsigned i = 0; i < 2; i++) {
        vt_put(f.bus, table + 16 * i, VT_RAM_HIGH, 8);
        vt_put(f.bus, table + 16 * i + 8, VT_RAM_END, 4);
        vt_put(f.bus, table + 16 * i + 12, i ? 0 : VT_NEXT | 1 << 16, 4);
    }
    vt_desc(&f.q[INFLATE], 0, table, 32, VT_INDIRECT, 0);
    vt_avail(&f.q[INFLATE], 0);
    vt_kick(&f.q[INFLATE]);
    g_assert_true(vt_needs_reset(&f.dev));
    start(&f, F_STATS);
    post(&f, STATS, f.mem, 4, false); /* a cut entry */
    vt_pump(f.bus, 20);
    g_assert_cmphex(vt_status(&f.dev) & 0x40, ==, 0);
    vt_board_free(f.board);
}

static void test_save_load(void)
{
    struct fixture f, *pf = &f;

    set_up(&f, F_STATS);
    virtio_balloon_set_target(f.device, VT_RAM_END, NULL);
    vt_cfg_write(&f.dev, 4, 4, 77);
    put_stat(&f, 0, VIRTIO_BALLOON_STAT_TOTAL, 4711);
    post(&f, STATS, f.mem, 10, false);
    vt_pump(f.bus, 20);
    vt_board_pause(f.board);
    g_autoptr(GBytes) first = vt_board_save(f.board);
    vt_board_free(f.board);
    struct vt_queue q = f.q[STATS];
    struct vt_dev dev = f.dev;
    board_up(pf);
    vt_board_load_same(f.board, first);
    vt_board_resume(f.board);
    g_assert_cmpuint(virtio_balloon_actual(f.device), ==, 2 * VT_RAM_END - 77 * 4096);
    /* the held buffer comes back from the new machine */
    f.dev = dev;
    f.dev.bus = f.bus;
    f.q[STATS] = q;
    f.q[STATS].dev = &f.dev;
    virtio_balloon_poll(f.device, 1);
    g_assert_true(vt_wait(&f.q[STATS], NULL, NULL));
    vt_board_free(f.board);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-balloon/inflate", test_inflate);
    g_test_add_func("/virtio-balloon/target-and-actual", test_target_and_actual);
    g_test_add_func("/virtio-balloon/stats", test_stats);
    g_test_add_func("/virtio-balloon/reporting", test_reporting);
    g_test_add_func("/virtio-balloon/hostile", test_hostile);
    g_test_add_func("/virtio-balloon/save-load", test_save_load);
    return g_test_run();
}
