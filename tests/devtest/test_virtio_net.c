/* test_virtio_net.c - virtio-net with the user network behind it, under good and hostile drivers.
 */
#include "vt.h"

#include "base/error.h"
#include "base/props.h"
#include "bus/pci.h"
#include "net/net.h"
#include "virtio/devices.h"

#include <glib/gstdio.h>

enum { DEVFN = 4 << 3, RX = 0, TX = 1, CTRL = 2, QSIZE = 64, HDR = 12 };
#define F_MRG      BIT64(15)
#define F_CSUM     BIT64(0)
#define F_STATUS   BIT64(16)
#define F_CTRL     (BIT64(17) | BIT64(18) | BIT64(19) | BIT64(20) | BIT64(23))
#define F_ANNOUNCE BIT64(21)
#define F_MQ       BIT64(22)
#define F_RING     (BIT64(28) | BIT64(29))

static const uint8_t guest_mac[6] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc};

struct fixture {
    struct vt_board *board;
    struct vt_bus *bus;
    struct net_backend *net;
    struct device *device;
    struct vt_dev dev;
    struct vt_queue rx, tx, ctrl;
    uint64_t rx_mem, tx_mem, ctrl_mem;
    uint32_t rx_len;
};

static void board_up(struct fixture *f, const struct virtio_net_config *extra)
{
    GError *err = NULL;
    struct virtio_net_config c = extra ? *extra : (struct virtio_net_config){0};

    f->board = vt_board_new();
    f->bus = vt_board_bus(f->board);
    vt_board_place(f->board, &c.place, DEVFN, "net0");
    c.backend = f->net;
    c.have_mac = true;
    memcpy(c.mac, guest_mac, 6);
    f->device = virtio_net_new(&c, &err);
    g_assert_no_error(err);
    g_assert_nonnull(f->device);
    f->rx_mem = vt_alloc(f->bus, 65536, 4096);
    f->tx_mem = vt_alloc(f->bus, 65536, 4096);
    f->ctrl_mem = vt_alloc(f->bus, 4096, 4096);
}

static void give_rx(struct fixture *f, unsigned count, uint32_t len)
{
    for (unsigned i = 0; i < count; i++) {
        struct vt_buf b = {f->rx_mem + (uint64_t)(f->rx.avail_idx % 32) * 2048, len, true};
        vt_add(&f->rx, &b, 1, false);
    }
    f->rx_len = len;
    vt_kick(&f->rx);
}

static void start(struct fixture *f, uint64_t features)
{
    vt_dev_open(&f->dev, f->bus, DEVFN, true);
    vt_negotiate(&f->dev, features | F_RING);
    vt_queue_open(&f->rx, &f->dev, RX, QSIZE);
    vt_queue_open(&f->tx, &f->dev, TX, QSIZE);
    if (f->dev.features & BIT64(17))
        vt_queue_open(&f->ctrl, &f->dev, CTRL, 64);
    vt_driver_ok(&f->dev);
}

static void set_up(struct fixture *f, const char *netdev, const struct virtio_net_config *extra,
                   uint64_t features)
{
    GError *err = NULL;
    PROPS_AUTO p = props_parse(netdev, "type", &err);

    memset(f, 0, sizeof(*f));
    g_assert_no_error(err);
    f->net = net_open(p, &err);
    g_assert_no_error(err);
    board_up(f, extra);
    start(f, features);
}

static void tear_down(struct fixture *f)
{
    vt_board_free(f->board);
    net_close(f->net);
}

static void post_flags(struct fixture *f, const uint8_t *frame, size_t len, uint8_t flags,
                       uint16_t csum_start, uint16_t csum_offset)
{
    uint8_t hdr[HDR] = {flags};

    le16_put(hdr + 6, csum_start);
    le16_put(hdr + 8, csum_offset);
    f->bus->mem_write(f->bus, f->tx_mem, hdr, HDR);
    f->bus->mem_write(f->bus, f->tx_mem + HDR, frame, len);
    struct vt_buf b[] = {{f->tx_mem, HDR, false}, {f->tx_mem + HDR, (uint32_t)len, false}};
    vt_add(&f->tx, b, 2, false);
    vt_kick(&f->tx);
}

static void send_flags(struct fixture *f, const uint8_t *frame, size_t len, uint8_t flags,
                       uint16_t csum_start, uint16_t csum_offset)
{
    post_flags(f, frame, len, flags, csum_start, csum_offset);
    g_assert_true(vt_wait(&f->tx, NULL, NULL));
}

static void arp_request(uint8_t frame[42])
{
    static const uint8_t rest[] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1};

    memset(frame, 0, 42);
    memset(frame, 0xff, 6);
    memcpy(frame + 6, guest_mac, 6);
    memcpy(frame + 12, rest, sizeof(rest));
    memcpy(frame + 22, guest_mac, 6);
    memcpy(frame + 28, (uint8_t[]){10, 0, 2, 15}, 4);
    memcpy(frame + 38, (uint8_t[]){10, 0, 2, 2}, 4);
}

static void send_arp(struct fixture *f)
{
    uint8_t frame[42];

    arp_request(frame);
    send_flags(f, frame, sizeof(frame), 0, 0, 0);
}

/* Without waiting for its end: its answer may break the device. */
static void post_arp(struct fixture *f)
{
    uint8_t frame[42];

    arp_request(frame);
    post_flags(f, frame, sizeof(frame), 0, 0, 0);
}

/* The next received frame, gathered from num_buffers buffers; 0 when none comes. */
static size_t receive(struct fixture *f, uint8_t *out, size_t size)
{
    uint32_t head, len;
    size_t n = 0;
    unsigned buffers = 1;

    for (unsigned i = 0; i < buffers; i++) {
        if (!vt_wait(&f->rx, &head, &len))
            return 0;
        uint64_t at = vt_get(f->bus, f->rx.desc + 16ull * head, 8);
        unsigned skip = i == 0 ? HDR : 0;
        if (i == 0)
            buffers = (unsigned)vt_get(f->bus, at + 10, 2);
        g_assert_cmpuint(len, >=, skip);
        g_assert_cmpuint(n + len - skip, <=, size);
        f->bus->mem_read(f->bus, at + skip, out + n, len - skip);
        n += len - skip;
    }
    return n;
}

static void check_arp_reply(struct fixture *f)
{
    uint8_t in[2048];
    size_t n = receive(f, in, sizeof(in));

    g_assert_cmpuint(n, >=, 42);
    g_assert_cmpmem(in, 6, guest_mac, 6);
    g_assert_cmpuint(in[21], ==, 2); /* reply */
    g_assert_cmpmem(in + 28, 4, ((uint8_t[]){10, 0, 2, 2}), 4);
}

static bool nothing_received(struct fixture *f)
{
    vt_pump(f->bus, 50);
    return vt_used_idx(&f->rx) == f->rx.last_used;
}

static void test_arp(void)
{
    struct fixture f;

    set_up(&f, "user,id=n0", NULL, F_MRG | F_STATUS);
    g_assert_cmpuint(vt_cfg(&f.dev, 6, 2), ==, 1);
    g_assert_cmpuint(vt_cfg(&f.dev, 0, 4), ==, le32_get(guest_mac));
    give_rx(&f, 8, 2048);
    send_arp(&f);
    check_arp_reply(&f);
    tear_down(&f);
}

/* No buffer, then buffers: the frame that waited arrives. */
static void test_frame_waits_for_a_buffer(void)
{
    struct fixture f;

    set_up(&f, "user,id=n0", NULL, 0);
    send_arp(&f);
    g_assert_true(nothing_received(&f));
    give_rx(&f, 1, 2048);
    check_arp_reply(&f);
    tear_down(&f);
}

/* UDP to the TFTP server with the checksum left to the device; the data block needs several
 * mergeable buffers. */
static void test_checksum_and_mergeable(void)
{
    struct fixture f;
    GError *err = NULL;
    g_autofree char *dir = g_dir_make_tmp("hanok-tftp-XXXXXX", &err);
    g_autofree char *file = g_build_filename(dir, "hello", NULL);
    g_autofree char *netdev = g_strdup_printf("user,id=n0,tftp=%s", dir);
    static const char rrq[] = "\0\1hello\0octet";
    uint8_t frame[256] = {0}, in[2048], content[500];
    size_t udp = 8 + sizeof(rrq), total = 14 + 20 + udp;
    uint32_t sum = 0;

    for (unsigned i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i * 3);
    g_assert_true(g_file_set_contents(file, (char *)content, sizeof(content), &err));
    set_up(&f, netdev, NULL, F_MRG | F_CSUM);
    g_assert_true(f.dev.features & F_CSUM);
    give_rx(&f, 16, 2048);
    send_arp(&f); /* so that the host knows who we are */
    check_arp_reply(&f);
    give_rx(&f, 32, 200);

    memcpy(frame, (uint8_t[]){0x52, 0x55, 10, 0, 2, 2}, 6);
    memcpy(frame + 6, guest_mac, 6);
    frame[12] = 8;
    uint8_t *ip = frame + 14, *u = ip + 20;
    memcpy(ip,
           (uint8_t[]){0x45, 0, 0, (uint8_t)(20 + udp), 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 2, 15, 10,
                       0,    2, 2},
           20);
    for (int i = 0; i < 20; i += 2)
        sum += (uint32_t)ip[i] << 8 | ip[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    ip[10] = (uint8_t)(~sum >> 8);
    ip[11] = (uint8_t)~sum;
    memcpy(u, (uint8_t[]){0x10, 0, 0, 69, 0, (uint8_t)udp}, 6);
    memcpy(u + 8, rrq, sizeof(rrq));
    /* the pseudo header's sum, as a driver leaves it */
    sum = (10 << 8) + (2 << 8 | 15) + (10 << 8) + (2 << 8 | 2) + 17 + (uint32_t)udp;
    sum = (sum & 0xffff) + (sum >> 16);
    u[6] = (uint8_t)(sum >> 8);
    u[7] = (uint8_t)sum;
    send_flags(&f, frame, total, 1, 34, 6);
    /* the 2048-byte buffers come first; use them up so that the small ones are merged */
    size_t n = receive(&f, in, sizeof(in));
    g_assert_cmpuint(n, ==, 14 + 20 + 8 + 4 + 500);
    g_assert_cmpmem(in + 46, sizeof(content), content, sizeof(content));
    /* a wrong place for the checksum is not followed */
    send_flags(&f, frame, total, 1, 65000, 6);
    send_flags(&f, frame, total, 1, 34, 65000);
    tear_down(&f);
    g_unlink(file);
    g_rmdir(dir);
}

static void test_mergeable_small_buffers(void)
{
    struct fixture f;

    set_up(&f, "user,id=n0", NULL, F_MRG);
    give_rx(&f, 2, 20); /* too few: the frame waits */
    send_arp(&f);
    g_assert_true(nothing_received(&f));
    give_rx(&f, 10, 20);
    check_arp_reply(&f);
    g_assert_cmpuint(f.rx.last_used, >=, 3);
    tear_down(&f);
}

static unsigned ctrl(struct fixture *f, uint8_t class, uint8_t cmd, const void *data, size_t len)
{
    vt_put(f->bus, f->ctrl_mem, class, 1);
    vt_put(f->bus, f->ctrl_mem + 1, cmd, 1);
    f->bus->mem_write(f->bus, f->ctrl_mem + 2, data, len);
    vt_put(f->bus, f->ctrl_mem + 2048, 0xee, 1);
    struct vt_buf b[] = {{f->ctrl_mem, (uint32_t)(2 + len), false}, {f->ctrl_mem + 2048, 1, true}};
    vt_add(&f->ctrl, b, 2, false);
    vt_kick(&f->ctrl);
    g_assert_true(vt_wait(&f->ctrl, NULL, NULL));
    return (unsigned)vt_get(f->bus, f->ctrl_mem + 2048, 1);
}

static void test_filter(void)
{
    struct fixture f;
    static const uint8_t other[6] = {0x52, 0x54, 0, 1, 2, 3};
    uint8_t table[8 + 6] = {0};

    set_up(&f, "user,id=n0", NULL, F_CTRL);
    give_rx(&f, 16, 2048);
    g_assert_cmpuint(ctrl(&f, 0, 0, "\0", 1), ==, 0); /* promiscuous off */
    send_arp(&f);
    check_arp_reply(&f);
    g_assert_cmpuint(ctrl(&f, 1, 1, other, 6), ==, 0); /* another address */
    g_assert_cmpuint(vt_cfg(&f.dev, 0, 4), ==, le32_get(other));
    send_arp(&f); /* replies go to guest_mac, which is nobody now */
    g_assert_true(nothing_received(&f));
    le32_put(table, 1);
    memcpy(table + 4, guest_mac, 6);
    g_assert_cmpuint(ctrl(&f, 1, 0, table, sizeof(table)), ==, 0);
    send_arp(&f);
    check_arp_reply(&f);
    g_assert_cmpuint(ctrl(&f, 0, 4, "\1", 1), ==, 0); /* no unicast */
    send_arp(&f);
    g_assert_true(nothing_received(&f));
    /* nonsense is answered, not obeyed */
    le32_put(table, UINT32_MAX);
    g_assert_cmpuint(ctrl(&f, 1, 0, table, sizeof(table)), ==, 1);
    g_assert_cmpuint(ctrl(&f, 1, 0, table, 3), ==, 1);
    g_assert_cmpuint(ctrl(&f, 0, 99, "\1", 1), ==, 1);
    g_assert_cmpuint(ctrl(&f, 99, 0, "\1", 1), ==, 1);
    g_assert_cmpuint(ctrl(&f, 2, 0, "\xff\xff", 2), ==, 1);
    g_assert_cmpuint(ctrl(&f, 4, 0, "\1\0", 2), ==, 1); /* MQ was not negotiated */
    tear_down(&f);
}

static void test_link_and_announce(void)
{
    struct fixture f;

    set_up(&f, "user,id=n0", NULL, F_STATUS | F_CTRL | F_ANNOUNCE);
    unsigned irqs = vt_board_msi_count(f.board, 0);
    net_set_link(f.net, false);
    g_assert_cmpuint(vt_cfg(&f.dev, 6, 2), ==, 0);
    g_assert_cmpuint(vt_board_msi_count(f.board, 0), ==, irqs + 1);
    give_rx(&f, 4, 2048);
    send_arp(&f); /* swallowed by the cut wire */
    g_assert_true(nothing_received(&f));
    net_set_link(f.net, true);
    g_assert_cmpuint(vt_cfg(&f.dev, 6, 2), ==, 1);
    virtio_net_announce(f.device);
    g_assert_cmpuint(vt_cfg(&f.dev, 6, 2), ==, 3);
    g_assert_cmpuint(ctrl(&f, 3, 0, "", 0), ==, 0);
    g_assert_cmpuint(vt_cfg(&f.dev, 6, 2), ==, 1);
    tear_down(&f);
}

static void test_multiqueue(void)
{
    struct fixture f;
    struct virtio_net_config c = {.queue_pairs = 2};
    GError *err = NULL;
    PROPS_AUTO p = props_parse("user,id=n0", "type", &err);

    memset(&f, 0, sizeof(f));
    f.net = net_open(p, &err);
    g_assert_no_error(err);
    board_up(&f, &c);
    vt_dev_open(&f.dev, f.bus, DEVFN, true);
    vt_negotiate(&f.dev, F_MQ | F_CTRL | F_RING);
    g_assert_cmpuint(vt_cfg(&f.dev, 8, 2), ==, 2);
    vt_queue_open(&f.rx, &f.dev, 0, QSIZE);
    vt_queue_open(&f.tx, &f.dev, 3, QSIZE);
    vt_queue_open(&f.ctrl, &f.dev, 4, 64);
    vt_driver_ok(&f.dev);
    g_assert_cmpuint(ctrl(&f, 4, 0, "\2\0", 2), ==, 0);
    g_assert_cmpuint(ctrl(&f, 4, 0, "\3\0", 2), ==, 1);
    g_assert_cmpuint(ctrl(&f, 4, 0, "\0\0", 2), ==, 1);
    g_assert_cmpuint(ctrl(&f, 4, 0, "\1\0", 2), ==, 0);
    give_rx(&f, 4, 2048);
    send_arp(&f);
    check_arp_reply(&f);
    tear_down(&f);
}

/* --- hostile --- */

typedef void hostile_fn(struct fixture *f);

static void tx_short(struct fixture *f)
{
    struct vt_buf b = {f->tx_mem, HDR - 1, false};
    vt_add(&f->tx, &b, 1, false);
    vt_kick(&f->tx);
}
static void tx_writable(struct fixture *f)
{
    struct vt_buf b = {f->tx_mem, 100, true};
    vt_add(&f->tx, &b, 1, false);
    vt_kick(&f->tx);
}
static void rx_readable(struct fixture *f)
{
    struct vt_buf b = {f->rx_mem, 2048, false};
    vt_add(&f->rx, &b, 1, false);
    vt_kick(&f->rx);
    post_arp(f);
}
static void rx_tiny(struct fixture *f)
{
    struct vt_buf b = {f->rx_mem, HDR - 1, true};
    vt_add(&f->rx, &b, 1, false);
    vt_kick(&f->rx);
    post_arp(f);
}
static void rx_second_empty(struct fixture *f)
{
    struct vt_buf a = {f->rx_mem, HDR, true}, b = {f->rx_mem + 64, 0, true};
    vt_add(&f->rx, &a, 1, false);
    vt_add(&f->rx, &b, 1, false);
    vt_kick(&f->rx);
    post_arp(f);
}
static void rx_hole(struct fixture *f)
{
    struct vt_buf b = {0x20000000, 2048, true};
    vt_add(&f->rx, &b, 1, false);
    vt_kick(&f->rx);
    post_arp(f);
}
static void rx_loop(struct fixture *f)
{
    vt_desc(&f->rx, 0, f->rx_mem, 16, VT_NEXT | VT_WRITE, 0);
    vt_avail(&f->rx, 0);
    vt_kick(&f->rx);
    post_arp(f);
}
static void ctrl_short(struct fixture *f)
{
    struct vt_buf b[] = {{f->ctrl_mem, 1, false}, {f->ctrl_mem + 8, 1, true}};
    vt_add(&f->ctrl, b, 2, false);
    vt_kick(&f->ctrl);
}
static void ctrl_no_ack(struct fixture *f)
{
    struct vt_buf b = {f->ctrl_mem, 3, false};
    vt_add(&f->ctrl, &b, 1, false);
    vt_kick(&f->ctrl);
}
static const struct {
    const char *name;
    hostile_fn *fn;
} hostile[] = {
    {"tx-short", tx_short}, {"tx-writable", tx_writable},         {"rx-readable", rx_readable},
    {"rx-tiny", rx_tiny},   {"rx-second-empty", rx_second_empty}, {"rx-hole", rx_hole},
    {"rx-loop", rx_loop},   {"ctrl-short", ctrl_short},           {"ctrl-no-ack", ctrl_no_ack},
};

static void test_hostile(gconstpointer fn)
{
    struct fixture f;

    set_up(&f, "user,id=n0", NULL, F_MRG | F_CTRL);
    ((hostile_fn *)fn)(&f);
    g_assert_true(vt_needs_reset(&f.dev));
    start(&f, F_MRG);
    give_rx(&f, 8, 2048);
    send_arp(&f);
    check_arp_reply(&f);
    tear_down(&f);
}

/* Odd frames go nowhere and hurt nobody. */
static void test_odd_frames(void)
{
    struct fixture f;
    uint8_t junk[1500];

    set_up(&f, "user,id=n0", NULL, F_CSUM);
    give_rx(&f, 30, 2048);
    for (int i = 0; i < 300; i++) {
        size_t len = (size_t)g_test_rand_int_range(1, sizeof(junk));
        for (size_t k = 0; k < len; k++)
            junk[k] = (uint8_t)g_test_rand_int();
        memcpy(junk, (uint8_t[]){0x52, 0x55, 10, 0, 2, 2}, 6);
        junk[12] = 8;
        junk[13] = (uint8_t)(i % 2 ? 6 : 0);
        junk[14] = 0x45;
        send_flags(&f, junk, len, (uint8_t)(i % 3), (uint16_t)g_test_rand_int(),
                   (uint16_t)g_test_rand_int());
    }
    g_assert_cmphex(vt_status(&f.dev) & 0x40, ==, 0);
    tear_down(&f);
}

static void test_pause_and_save(void)
{
    struct fixture f;

    set_up(&f, "user,id=n0", NULL, F_CTRL | F_MRG);
    g_assert_cmpuint(ctrl(&f, 0, 0, "\0", 1), ==, 0);
    give_rx(&f, 8, 2048);
    uint8_t frame[42];
    arp_request(frame);
    vt_board_pause(f.board);
    g_autoptr(GBytes) first = vt_board_save(f.board);
    vt_board_free(f.board);

    struct vt_dev dev = f.dev;
    struct vt_queue rx = f.rx, tx = f.tx, ct = f.ctrl;
    board_up(&f, NULL);
    vt_board_load_same(f.board, first);
    vt_board_resume(f.board);
    f.dev = dev;
    f.dev.bus = f.bus;
    f.rx = rx;
    f.tx = tx;
    f.ctrl = ct;
    f.rx.dev = f.tx.dev = f.ctrl.dev = &f.dev;
    send_arp(&f);
    check_arp_reply(&f);
    tear_down(&f);
}

/* What arrives while the machine is paused is delivered on resume. */
static void test_pause_holds_frames(void)
{
    struct fixture f;

    set_up(&f, "user,id=n0", NULL, 0);
    send_arp(&f); /* the reply waits: no buffers */
    vt_board_pause(f.board);
    struct vt_buf b = {f.rx_mem, 2048, true};
    vt_add(&f.rx, &b, 1, false);
    vt_kick(&f.rx);
    g_assert_true(nothing_received(&f));
    vt_board_resume(f.board);
    check_arp_reply(&f);
    tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-net/arp", test_arp);
    g_test_add_func("/virtio-net/frame-waits", test_frame_waits_for_a_buffer);
    g_test_add_func("/virtio-net/checksum", test_checksum_and_mergeable);
    g_test_add_func("/virtio-net/mergeable", test_mergeable_small_buffers);
    g_test_add_func("/virtio-net/filter", test_filter);
    g_test_add_func("/virtio-net/link-and-announce", test_link_and_announce);
    g_test_add_func("/virtio-net/multiqueue", test_multiqueue);
    for (unsigned i = 0; i < ARRAY_SIZE(hostile); i++) {
        g_autofree char *name = g_strdup_printf("/virtio-net/hostile/%s", hostile[i].name);
        g_test_add_data_func(name, (gconstpointer)hostile[i].fn, test_hostile);
    }
    g_test_add_func("/virtio-net/odd-frames", test_odd_frames);
    g_test_add_func("/virtio-net/save-load", test_pause_and_save);
    g_test_add_func("/virtio-net/pause-holds-frames", test_pause_holds_frames);
    return g_test_run();
}
