/* test_virtio_mmio.c - the memory-mapped transport by its registers: what they say, how a driver
 * starts and stops, the interrupt, and what nonsense does. */
#include "vt.h"

#include "bus/device.h"
#include "virtio/devices.h"

enum {
    MAGIC = 0x000,
    VERSION = 0x004,
    DEVICE_ID = 0x008,
    VENDOR_ID = 0x00c,
    HOST_FEATURE = 0x010,
    HOST_FEATURE_SELECT = 0x014,
    GUEST_FEATURE = 0x020,
    GUEST_FEATURE_SELECT = 0x024,
    QUEUE_SELECT = 0x030,
    QUEUE_SIZE_MAX = 0x034,
    QUEUE_SIZE = 0x038,
    QUEUE_READY = 0x044,
    QUEUE_NOTIFY = 0x050,
    INTERRUPT_STATUS = 0x060,
    INTERRUPT_ACK = 0x064,
    STATUS = 0x070,
    QUEUE_DESC = 0x080,
    SHM_LEN_LOW = 0x0b0,
    QUEUE_RESET = 0x0c0,
    GENERATION = 0x0fc,
    CONFIG = 0x100,
};
enum { RNG_SLOT, NET_SLOT, RNG_QUEUE_MAX = 8, ST_FEATURES_OK = 8, ST_NEEDS_RESET = 0x40 };

struct fixture {
    struct vt_board *board;
    struct vt_bus *bus;
    struct vt_dev dev;
    struct vt_queue q;
    struct device *rng;
    uint64_t base, mem;
};

static uint32_t get(struct fixture *f, unsigned off)
{
    return (uint32_t)f->bus->read(f->bus, f->base + off, 4);
}

static void put(struct fixture *f, unsigned off, uint32_t val)
{
    f->bus->write(f->bus, f->base + off, 4, val);
}

static void board_up(struct fixture *f)
{
    struct virtio_rng_config rng = {.place.id = "rng0", .max_bytes = 1024};
    struct virtio_net_config net = {.have_mac = true, .mac = {2, 0, 0, 1, 2, 3}};
    GError *err = NULL;

    memset(f, 0, sizeof(*f));
    f->board = vt_board_new();
    f->bus = vt_board_bus(f->board);
    f->dev.bus = f->bus;
    rng.place.clock = net.place.clock = vt_board_clock(f->board);
    rng.place.slot = vt_board_slot(f->board, RNG_SLOT);
    net.place.slot = vt_board_slot(f->board, NET_SLOT);
    f->rng = virtio_rng_new(&rng, &err);
    g_assert_no_error(err);
    g_assert_nonnull(virtio_net_new(&net, &err));
    g_assert_no_error(err);
    f->base = rng.place.slot->base;
    f->mem = vt_alloc(f->bus, 4096, 4096);
}

static void negotiate(struct fixture *f)
{
    put(f, STATUS, 0);
    put(f, STATUS, 1 | 2);
    for (unsigned half = 0; half < 2; half++) {
        put(f, HOST_FEATURE_SELECT, half);
        put(f, GUEST_FEATURE_SELECT, half);
        put(f, GUEST_FEATURE, get(f, HOST_FEATURE));
    }
    put(f, STATUS, 1 | 2 | ST_FEATURES_OK);
    g_assert_cmphex(get(f, STATUS), ==, 1 | 2 | ST_FEATURES_OK);
}

static void queue_up(struct fixture *f)
{
    uint64_t areas[3];

    vt_queue_make(&f->q, &f->dev, 0, RNG_QUEUE_MAX);
    f->q.kick_bytes = 4;
    f->q.notify_addr = f->base + QUEUE_NOTIFY;
    areas[0] = f->q.desc;
    areas[1] = f->q.avail;
    areas[2] = f->q.used;
    put(f, QUEUE_SELECT, 0);
    put(f, QUEUE_SIZE, RNG_QUEUE_MAX);
    for (unsigned i = 0; i < 3; i++) {
        put(f, QUEUE_DESC + 16 * i, (uint32_t)areas[i]);
        put(f, QUEUE_DESC + 16 * i + 4, (uint32_t)(areas[i] >> 32));
    }
    put(f, QUEUE_READY, 1);
    g_assert_cmpuint(get(f, QUEUE_READY), ==, 1);
}

static void start(struct fixture *f)
{
    negotiate(f);
    queue_up(f);
    put(f, STATUS, 1 | 2 | 4 | ST_FEATURES_OK);
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

static bool broken(struct fixture *f)
{
    for (int i = 0; i < 200; i++) {
        if (get(f, STATUS) & ST_NEEDS_RESET)
            return true;
        vt_pump(f->bus, 1);
    }
    return false;
}

static void test_registers(void)
{
    struct fixture f;

    board_up(&f);
    g_assert_cmphex(get(&f, MAGIC), ==, 0x74726976);
    g_assert_cmpuint(get(&f, VERSION), ==, 2);
    g_assert_cmpuint(get(&f, DEVICE_ID), ==, 4);
    g_assert_cmphex(get(&f, STATUS), ==, 0);
    put(&f, HOST_FEATURE_SELECT, 1);
    g_assert_cmphex(get(&f, HOST_FEATURE) & 1, ==, 1); /* VERSION_1 */
    put(&f, HOST_FEATURE_SELECT, 2);
    g_assert_cmphex(get(&f, HOST_FEATURE), ==, 0);
    g_assert_cmpuint(get(&f, QUEUE_SIZE_MAX), ==, RNG_QUEUE_MAX);
    put(&f, QUEUE_SELECT, 1);
    g_assert_cmpuint(get(&f, QUEUE_SIZE_MAX), ==, 0);
    put(&f, QUEUE_SELECT, UINT32_MAX);
    g_assert_cmpuint(get(&f, QUEUE_SIZE_MAX), ==, 0);
    g_assert_cmphex(get(&f, SHM_LEN_LOW), ==, UINT32_MAX); /* §4.2.2: no such region */
    g_assert_cmphex(f.bus->read(f.bus, f.base + MAGIC, 2), ==, 0);
    f.base = vt_board_slot(f.board, NET_SLOT)->base;
    g_assert_cmpuint(get(&f, DEVICE_ID), ==, 1);
    g_assert_cmphex(f.bus->read(f.bus, f.base + CONFIG, 1), ==, 2); /* its address, by bytes */
    g_assert_cmphex(f.bus->read(f.bus, f.base + CONFIG + 4, 2), ==, 0x0302);
    vt_board_free(f.board);
}

static void test_bytes_and_interrupt(void)
{
    struct fixture f;
    uint8_t a[64], b[64];

    board_up(&f);
    start(&f);
    g_assert_false(vt_board_intx(f.board));
    g_assert_cmpuint(ask(&f, 64), ==, 64);
    f.bus->mem_read(f.bus, f.mem, a, sizeof(a));
    g_assert_true(vt_board_intx(f.board));
    g_assert_cmphex(get(&f, INTERRUPT_STATUS), ==, 1);
    put(&f, INTERRUPT_ACK, 2); /* another reason: this one stays */
    g_assert_true(vt_board_intx(f.board));
    put(&f, INTERRUPT_ACK, 1);
    g_assert_false(vt_board_intx(f.board));
    g_assert_cmphex(get(&f, INTERRUPT_STATUS), ==, 0);
    g_assert_cmpuint(ask(&f, 64), ==, 64);
    f.bus->mem_read(f.bus, f.mem, b, sizeof(b));
    g_assert_cmpint(memcmp(a, b, sizeof(a)), !=, 0);
    put(&f, STATUS, 0);
    g_assert_false(vt_board_intx(f.board));
    vt_board_free(f.board);
}

static void test_queue_off_and_on(void)
{
    struct fixture f;

    board_up(&f);
    start(&f);
    g_assert_cmpuint(ask(&f, 8), ==, 8);
    put(&f, QUEUE_SIZE, 4); /* fixed while it is on */
    put(&f, QUEUE_READY, 0);
    g_assert_cmpuint(get(&f, QUEUE_READY), ==, 0);
    vt_kick(&f.q);
    vt_pump(f.bus, 20);
    queue_up(&f);
    g_assert_cmpuint(ask(&f, 8), ==, 8);
    put(&f, QUEUE_RESET, 1); /* RING_RESET was negotiated */
    g_assert_cmpuint(get(&f, QUEUE_RESET), ==, 0);
    g_assert_cmpuint(get(&f, QUEUE_READY), ==, 0);
    queue_up(&f);
    g_assert_cmpuint(ask(&f, 8), ==, 8);
    vt_board_free(f.board);
}

static void test_features_are_needed(void)
{
    struct fixture f;

    board_up(&f);
    put(&f, STATUS, 1 | 2);
    put(&f, STATUS, 1 | 2 | ST_FEATURES_OK); /* without VERSION_1 */
    g_assert_cmphex(get(&f, STATUS), ==, 1 | 2);
    put(&f, QUEUE_READY, 1);
    g_assert_cmpuint(get(&f, QUEUE_READY), ==, 0);
    put(&f, STATUS, 1 | 2 | 4);
    g_assert_cmphex(get(&f, STATUS), ==, 1 | 2);
    vt_board_free(f.board);
}

static void test_hostile(void)
{
    struct fixture f;
    struct vt_buf b;

    board_up(&f);
    start(&f);
    b = (struct vt_buf){f.mem, 16, false};
    vt_add(&f.q, &b, 1, false);
    vt_kick(&f.q);
    g_assert_true(broken(&f));
    g_assert_cmphex(get(&f, INTERRUPT_STATUS) & 2, ==, 2); /* the configuration changed: status */
    start(&f);
    b = (struct vt_buf){0x30000000, 16, true};
    vt_add(&f.q, &b, 1, false);
    vt_kick(&f.q);
    g_assert_true(broken(&f));
    negotiate(&f);
    put(&f, QUEUE_DESC + 4, 0xffffffff); /* rings where nothing is */
    put(&f, QUEUE_READY, 1);
    put(&f, STATUS, 1 | 2 | 4 | ST_FEATURES_OK);
    g_assert_true(broken(&f));
    for (unsigned off = 0; off < VIRTIO_MMIO_BYTES; off++)
        for (unsigned size = 1; size <= 8; size *= 2) {
            f.bus->write(f.bus, f.base + off, size, UINT64_C(0xa5a5a5a5a5a5a5a5) >> off % 7);
            f.bus->read(f.bus, f.base + off, size);
        }
    for (unsigned queue = 0; queue < 200; queue++) /* kicks of queues that are not there */
        put(&f, QUEUE_NOTIFY, queue);
    start(&f);
    g_assert_cmpuint(ask(&f, 100), ==, 100);
    vt_board_free(f.board);
}

static void test_places(void)
{
    struct fixture f;
    struct virtio_rng_config rng = {0};
    GError *err = NULL;

    board_up(&f);
    rng.place.slot = vt_board_slot(f.board, RNG_SLOT);
    g_assert_null(virtio_rng_new(&rng, &err));
    g_assert_nonnull(strstr(err->message, "virtio-mmio-bus.0"));
    g_clear_error(&err);
    g_assert_cmpuint(get(&f, DEVICE_ID), ==, 4); /* who was there still is */
    f.rng->ops->destroy(f.rng);
    g_assert_cmphex(get(&f, MAGIC), ==, UINT32_MAX);
    g_assert_nonnull(virtio_rng_new(&rng, &err));
    start(&f);
    g_assert_cmpuint(ask(&f, 8), ==, 8);
    vt_board_free(f.board);
}

static void test_save_load(void)
{
    struct fixture f;

    board_up(&f);
    start(&f);
    g_assert_cmpuint(ask(&f, 100), ==, 100);
    struct vt_queue q = f.q;
    vt_board_pause(f.board);
    g_autoptr(GBytes) first = vt_board_save(f.board);
    vt_board_free(f.board);
    board_up(&f);
    vt_board_load_same(f.board, first);
    vt_board_resume(f.board);
    g_assert_true(vt_board_intx(f.board)); /* was not taken back before */
    g_assert_cmphex(get(&f, STATUS), ==, 1 | 2 | 4 | ST_FEATURES_OK);
    q.dev = &f.dev;
    f.q = q;
    g_assert_cmpuint(ask(&f, 2000), ==, 924);
    vt_board_free(f.board);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-mmio/registers", test_registers);
    g_test_add_func("/virtio-mmio/bytes-and-interrupt", test_bytes_and_interrupt);
    g_test_add_func("/virtio-mmio/queue-off-and-on", test_queue_off_and_on);
    g_test_add_func("/virtio-mmio/features-are-needed", test_features_are_needed);
    g_test_add_func("/virtio-mmio/hostile", test_hostile);
    g_test_add_func("/virtio-mmio/places", test_places);
    g_test_add_func("/virtio-mmio/save-load", test_save_load);
    return g_test_run();
}
