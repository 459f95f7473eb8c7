/* test_virtio_console.c - virtio-serial: the control protocol, data both ways, and its abuse. */
#include "vt.h"

#include "base/error.h"
#include "bus/pci.h"
#include "chardev/chardev.h"
#include "virtio/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DEVFN = 7 << 3, QSIZE = 32, CTRL_RX = 2, CTRL_TX = 3 };
enum { READY = 0, ADD = 1, PORT_READY = 3, CONSOLE = 4, OPEN = 6, NAME = 7 };
#define F_MULTIPORT BIT64(1)
#define F_RING      (BIT64(28) | BIT64(29))

struct fixture {
    struct vt_board *board;
    struct vt_bus *bus;
    struct device *device;
    struct vt_dev dev;
    struct vt_queue crx, ctx, rx0, tx0, rx1, tx1;
    struct chardev *console, *port;
    char *path;
    unsigned tellings;
    bool told_open;
    uint64_t mem;
};

static struct chardev *open_chardev(const char *spec, const char *id)
{
    GError *err = NULL;
    struct chardev *c = chardev_open_legacy(spec, id, false, &err);
    g_assert_no_error(err);
    return c;
}

static void on_open(void *opaque, struct device *port, bool open)
{
    struct fixture *f = opaque;

    g_assert_cmpstr(port->id, ==, "channel0");
    f->told_open = open;
    f->tellings++;
}

static void board_up(struct fixture *f)
{
    GError *err = NULL;
    struct virtio_serial_config c = {.max_ports = 4};

    f->board = vt_board_new();
    f->bus = vt_board_bus(f->board);
    vt_board_place(f->board, &c.place, DEVFN, "virtio-serial0");
    f->device = virtio_serial_new(&c, &err);
    g_assert_no_error(err);
    g_assert_true(virtio_serial_find(vt_board_devices(f->board), "virtio-serial0.0", &err) ==
                  f->device);
    g_assert_true(virtio_serial_find(vt_board_devices(f->board), NULL, &err) == f->device);
    g_assert_nonnull(virtio_port_new(
        f->device, &(struct virtio_port_config){.console = true, .chardev = f->console}, &err));
    g_assert_nonnull(virtio_port_new(f->device,
                                     &(struct virtio_port_config){.id = "channel0",
                                                                  .name = "org.test.0",
                                                                  .chardev = f->port,
                                                                  .on_open = on_open,
                                                                  .on_open_opaque = f},
                                     &err));
    f->mem = vt_alloc(f->bus, 65536, 4096);
}

static void give(struct fixture *f, struct vt_queue *q, unsigned count, uint32_t len)
{
    for (unsigned i = 0; i < count; i++) {
        struct vt_buf b = {f->mem + 0x4000 + 0x400ull * q->index + 64ull * (q->avail_idx % 16), len,
                           true};
        vt_add(q, &b, 1, false);
    }
    vt_kick(q);
}

static void start(struct fixture *f, uint64_t features)
{
    vt_dev_open(&f->dev, f->bus, DEVFN, true);
    vt_negotiate(&f->dev, features | F_RING);
    vt_queue_open(&f->rx0, &f->dev, 0, QSIZE);
    vt_queue_open(&f->tx0, &f->dev, 1, QSIZE);
    vt_queue_open(&f->crx, &f->dev, CTRL_RX, QSIZE);
    vt_queue_open(&f->ctx, &f->dev, CTRL_TX, QSIZE);
    vt_queue_open(&f->rx1, &f->dev, 4, QSIZE);
    vt_queue_open(&f->tx1, &f->dev, 5, QSIZE);
    vt_driver_ok(&f->dev);
}

static void set_up(struct fixture *f, uint64_t features)
{
    static unsigned running;

    memset(f, 0, sizeof(*f));
    f->path = g_strdup_printf("%s/hanok-vcon-%d-%u.sock", g_get_tmp_dir(), getpid(), running++);
    g_autofree char *spec = g_strdup_printf("unix:%s,server=on,wait=off", f->path);
    f->console = open_chardev("null", "con");
    f->port = open_chardev(spec, "chan");
    board_up(f);
    start(f, features);
}

static void tear_down(struct fixture *f)
{
    vt_board_free(f->board);
    chardev_close(f->console);
    chardev_close(f->port);
    unlink(f->path);
    g_free(f->path);
}

static void say(struct fixture *f, uint32_t id, uint16_t event, uint16_t value)
{
    struct vt_buf b = {f->mem + 32ull * (f->ctx.avail_idx % QSIZE), 8, false};

    vt_put(f->bus, b.gpa, id, 4);
    vt_put(f->bus, b.gpa + 4, event, 2);
    vt_put(f->bus, b.gpa + 6, value, 2);
    vt_add(&f->ctx, &b, 1, false);
    vt_kick(&f->ctx);
    g_assert_true(vt_wait(&f->ctx, NULL, NULL));
}

static void expect(struct fixture *f, uint32_t id, uint16_t event, uint16_t value)
{
    uint32_t head, len;

    g_assert_true(vt_wait(&f->crx, &head, &len));
    uint64_t at = vt_get(f->bus, f->crx.desc + 16ull * head, 8);
    g_assert_cmpuint(len, >=, 8);
    g_assert_cmpuint(vt_get(f->bus, at, 4), ==, id);
    g_assert_cmpuint(vt_get(f->bus, at + 4, 2), ==, event);
    g_assert_cmpuint(vt_get(f->bus, at + 6, 2), ==, value);
    if (event == NAME) {
        char name[32] = {0};
        f->bus->mem_read(f->bus, at + 8, name, len - 8);
        g_assert_cmpstr(name, ==, "org.test.0");
    }
}

static bool quiet(struct fixture *f)
{
    vt_pump(f->bus, 30);
    return vt_used_idx(&f->crx) == f->crx.last_used;
}

static int connect_peer(struct fixture *f)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(a.sun_path, f->path, sizeof(a.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&a, sizeof(a)), ==, 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    vt_pump(f->bus, 10);
    return fd;
}

static void handshake(struct fixture *f)
{
    give(f, &f->crx, 16, 64);
    say(f, 0, READY, 1);
    expect(f, 0, ADD, 1);
    expect(f, 1, ADD, 1);
    say(f, 0, PORT_READY, 1);
    expect(f, 0, CONSOLE, 1);
    expect(f, 0, OPEN, 1);
    say(f, 1, PORT_READY, 1);
    expect(f, 1, NAME, 1);
}

static size_t read_peer(struct fixture *f, int fd, char *buf, size_t size, size_t want)
{
    size_t n = 0;

    for (int i = 0; i < 5000 && n < want; i++) {
        ssize_t r = read(fd, buf + n, size - n);
        if (r > 0)
            n += (size_t)r;
        vt_pump(f->bus, 1);
    }
    return n;
}

static void test_ports(void)
{
    struct fixture f;
    char buf[64] = {0};
    uint32_t head, len;

    set_up(&f, F_MULTIPORT);
    g_assert_cmpuint(vt_cfg(&f.dev, 4, 4), ==, 4);
    handshake(&f);
    g_assert_true(quiet(&f)); /* nobody at the socket: port 1 is not open */
    int fd = connect_peer(&f);
    expect(&f, 1, OPEN, 1);
    g_assert_false(chardev_fe_open(f.port));
    say(&f, 1, OPEN, 1);
    g_assert_true(chardev_fe_open(f.port));

    /* host to guest */
    give(&f, &f.rx1, 2, 4);
    g_assert_cmpint(write(fd, "hello!", 6), ==, 6);
    g_assert_true(vt_wait(&f.rx1, &head, &len));
    g_assert_cmpuint(len, ==, 4);
    f.bus->mem_read(f.bus, vt_get(f.bus, f.rx1.desc + 16ull * head, 8), buf, 4);
    g_assert_cmpstr(buf, ==, "hell");
    g_assert_true(vt_wait(&f.rx1, &head, &len));
    g_assert_cmpuint(len, ==, 2);
    /* no buffers: the rest waits until there are some */
    g_assert_cmpint(write(fd, "more", 4), ==, 4);
    vt_pump(f.bus, 30);
    g_assert_cmpuint(vt_used_idx(&f.rx1), ==, 2);
    give(&f, &f.rx1, 1, 32);
    g_assert_true(vt_wait(&f.rx1, &head, &len));
    g_assert_cmpuint(len, ==, 4);

    /* guest to host */
    f.bus->mem_write(f.bus, f.mem + 0x1000, "to the host", 11);
    struct vt_buf b = {f.mem + 0x1000, 11, false};
    vt_add(&f.tx1, &b, 1, false);
    vt_kick(&f.tx1);
    g_assert_true(vt_wait(&f.tx1, NULL, NULL));
    memset(buf, 0, sizeof(buf));
    g_assert_cmpuint(read_peer(&f, fd, buf, sizeof(buf), 11), ==, 11);
    g_assert_cmpstr(buf, ==, "to the host");

    say(&f, 1, OPEN, 0);
    g_assert_false(chardev_fe_open(f.port));
    close(fd);
    expect(&f, 1, OPEN, 0);
    tear_down(&f);
}

/* Whoever follows the port hears of each change once: by the guest, by a reset. */
static void test_openings_are_told(void)
{
    struct fixture f;

    set_up(&f, F_MULTIPORT);
    handshake(&f);
    g_assert_cmpuint(f.tellings, ==, 0);
    say(&f, 1, OPEN, 1);
    say(&f, 1, OPEN, 1);
    g_assert_cmpuint(f.tellings, ==, 1);
    g_assert_true(f.told_open);
    say(&f, 1, OPEN, 0);
    g_assert_cmpuint(f.tellings, ==, 2);
    g_assert_false(f.told_open);
    say(&f, 1, OPEN, 1);
    vt_reset(&f.dev);
    vt_pump(f.bus, 30);
    g_assert_cmpuint(f.tellings, ==, 4);
    g_assert_false(f.told_open);
    tear_down(&f);
}

/* The peer does not read: the guest's buffers stay its, nothing is lost, nothing grows. */
static void test_flow_control(void)
{
    struct fixture f;
    enum { BUFFERS = 24, BYTES = 65536 };
    g_autofree char *all = g_malloc((size_t)BUFFERS * BYTES);
    uint64_t big;

    set_up(&f, F_MULTIPORT);
    handshake(&f);
    int fd = connect_peer(&f);
    say(&f, 1, OPEN, 1);
    big = VT_RAM_HIGH + 0x100000;
    for (uint32_t i = 0; i < BUFFERS * BYTES / 4; i++)
        le32_put(all + 4 * i, i);
    f.bus->mem_write(f.bus, big, all, (size_t)BUFFERS * BYTES);
    for (unsigned i = 0; i < BUFFERS; i++) {
        struct vt_buf b = {big + (uint64_t)i * BYTES, BYTES, false};
        vt_add(&f.tx1, &b, 1, false);
    }
    vt_kick(&f.tx1);
    vt_pump(f.bus, 200);
    g_assert_cmpuint(vt_used_idx(&f.tx1), <, BUFFERS);
    memset(all, 0, (size_t)BUFFERS * BYTES);
    size_t n = read_peer(&f, fd, all, (size_t)BUFFERS * BYTES, (size_t)BUFFERS * BYTES);
    g_assert_cmpuint(n, ==, (size_t)BUFFERS * BYTES);
    for (uint32_t i = 0; i < BUFFERS * BYTES / 4; i++)
        g_assert_cmpuint(le32_get(all + 4 * i), ==, i);
    vt_pump(f.bus, 20);
    g_assert_cmpuint(vt_used_idx(&f.tx1), ==, BUFFERS);
    close(fd);
    tear_down(&f);
}

static void test_single_port_driver(void)
{
    struct fixture f;

    set_up(&f, 0);
    struct vt_buf b = {f.mem, 5, false};
    vt_add(&f.tx0, &b, 1, false);
    vt_kick(&f.tx0);
    g_assert_true(vt_wait(&f.tx0, NULL, NULL));
    g_assert_true(quiet(&f));
    tear_down(&f);
}

static void test_hostile(void)
{
    struct fixture f;
    struct vt_buf b;

    set_up(&f, F_MULTIPORT);
    b = (struct vt_buf){f.mem, 7, false}; /* a cut message */
    vt_add(&f.ctx, &b, 1, false);
    vt_kick(&f.ctx);
    g_assert_true(vt_needs_reset(&f.dev));

    start(&f, F_MULTIPORT); /* answers that do not fit */
    give(&f, &f.crx, 1, 7);
    struct vt_buf ready = {f.mem, 8, false};
    vt_put(f.bus, f.mem, 0, 4);
    vt_put(f.bus, f.mem + 4, READY | 1 << 16, 4);
    vt_add(&f.ctx, &ready, 1, false);
    vt_kick(&f.ctx);
    g_assert_true(vt_needs_reset(&f.dev));

    start(&f, F_MULTIPORT); /* asks and asks, and takes no answer */
    for (int i = 0; i < 200 && !(vt_status(&f.dev) & 0x40); i++) {
        vt_add(&f.ctx, &ready, 1, false);
        vt_kick(&f.ctx);
        vt_pump(f.bus, 3);
    }
    g_assert_true(vt_needs_reset(&f.dev));

    start(&f, F_MULTIPORT); /* ports and events that do not exist */
    say(&f, 99, PORT_READY, 1);
    say(&f, 0xffffffff, OPEN, 1);
    say(&f, 3, PORT_READY, 1);
    say(&f, 0, 0xffff, 1);
    say(&f, 1, NAME, 1);
    g_assert_true(quiet(&f));
    g_assert_cmphex(vt_status(&f.dev) & 0x40, ==, 0);
    handshake(&f);
    int fd = connect_peer(&f);
    expect(&f, 1, OPEN, 1);
    say(&f, 1, OPEN, 1);
    give(&f, &f.rx1, 1, 0); /* an input buffer without room */
    g_assert_cmpint(write(fd, "x", 1), ==, 1);
    g_assert_true(vt_needs_reset(&f.dev));
    close(fd);
    vt_pump(f.bus, 20);
    start(&f, F_MULTIPORT);
    handshake(&f);
    tear_down(&f);
}

static void test_reset_closes(void)
{
    struct fixture f;

    set_up(&f, F_MULTIPORT);
    handshake(&f);
    say(&f, 1, OPEN, 1);
    g_assert_true(chardev_fe_open(f.port));
    vt_reset(&f.dev);
    vt_pump(f.bus, 10);
    g_assert_false(chardev_fe_open(f.port));
    tear_down(&f);
}

static void test_save_load(void)
{
    struct fixture f;

    set_up(&f, F_MULTIPORT);
    give(&f, &f.crx, 3, 64); /* too few: a message waits at save */
    say(&f, 0, READY, 1);
    expect(&f, 0, ADD, 1);
    expect(&f, 1, ADD, 1);
    say(&f, 0, PORT_READY, 1);
    expect(&f, 0, CONSOLE, 1);
    say(&f, 1, OPEN, 1);
    vt_board_pause(f.board);
    g_autoptr(GBytes) first = vt_board_save(f.board);
    vt_board_free(f.board);
    struct vt_queue crx = f.crx;
    struct vt_dev dev = f.dev;
    board_up(&f);
    vt_board_load_same(f.board, first);
    g_assert_true(chardev_fe_open(f.port));
    vt_board_resume(f.board);
    f.dev = dev;
    f.dev.bus = f.bus;
    f.crx = crx;
    f.crx.dev = &f.dev;
    give(&f, &f.crx, 4, 64);
    expect(&f, 0, OPEN, 1);
    tear_down(&f);
}

static void test_port_numbers(void)
{
    struct fixture f;
    GError *err = NULL;

    set_up(&f, F_MULTIPORT);
    g_assert_null(virtio_port_new(f.device, &(struct virtio_port_config){.nr = 1}, &err));
    g_assert_error(err, HANOK_ERROR, HANOK_ERROR_BUSY);
    g_clear_error(&err);
    g_assert_null(virtio_port_new(f.device, &(struct virtio_port_config){.nr = 4}, &err));
    g_assert_error(err, HANOK_ERROR, HANOK_ERROR_INVALID);
    g_clear_error(&err);
    handshake(&f);
    struct device *d = virtio_port_new(f.device, &(struct virtio_port_config){.id = "late"}, &err);
    g_assert_no_error(err);
    expect(&f, 2, ADD, 1);
    g_assert_true(device_find(vt_board_devices(f.board), "late") == d);
    d->ops->destroy(d);
    expect(&f, 2, 2, 1);
    g_assert_null(virtio_serial_find(vt_board_devices(f.board), "other.0", &err));
    g_assert_nonnull(strstr(err->message, "virtio-serial0.0"));
    g_clear_error(&err);
    tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-console/ports", test_ports);
    g_test_add_func("/virtio-console/openings-are-told", test_openings_are_told);
    g_test_add_func("/virtio-console/flow-control", test_flow_control);
    g_test_add_func("/virtio-console/single-port-driver", test_single_port_driver);
    g_test_add_func("/virtio-console/hostile", test_hostile);
    g_test_add_func("/virtio-console/reset-closes", test_reset_closes);
    g_test_add_func("/virtio-console/save-load", test_save_load);
    g_test_add_func("/virtio-console/port-numbers", test_port_numbers);
    return g_test_run();
}
