/* test_virtio_legacy.c - transitional devices through their legacy interface (ports), by the notes
 * on legacy interfaces of virtio 1.2: identity, queues as one piece, drivers of old, hostile ones,
 * and a modern driver after them. */
#include "vt_blk.h"

#include "base/props.h"
#include "net/net.h"

#include <glib/gstdio.h>

enum { BASE = 0xc000, SLOT = 6, HEADER_OLD = 10, HEADER_MRG = 12, FRAME_MIN = 42 };
enum {
    L_HOST = 0,
    L_GUEST = 4,
    L_PAGE = 8,
    L_SIZE = 12,
    L_SELECT = 14,
    L_KICK = 16,
    L_STATUS = 18,
    L_ISR = 19,
    L_CONFIG_VECTOR = 20,
    L_QUEUE_VECTOR = 22,
    L_CONFIG = 20,
    L_CONFIG_MSIX = 24,
};
enum { ACK = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
#define LEGACY_ONLY (BIT64(24) | BIT64(27))
#define F_EVENT     BIT64(29)
#define F_MRG       BIT64(15)

struct legacy {
    struct vt_board *board;
    struct vt_bus *bus;
    struct vt_dev dev; /* for the queues, which know a bus by it */
    uint8_t devfn;
    unsigned config;
};

static struct virtio_place place(struct vt_board *b)
{
    return (struct virtio_place){.bus = vt_board_pci(b)->root,
                                 .devfn = PCI_DEVFN(SLOT, 0),
                                 .id = "d0",
                                 .clock = vt_board_clock(b),
                                 .legacy = true};
}

static void out(struct legacy *l, unsigned reg, unsigned size, uint32_t val)
{
    l->bus->out(l->bus, (uint16_t)(BASE + reg), size, val);
}

static uint32_t in(struct legacy *l, unsigned reg, unsigned size)
{
    return l->bus->in(l->bus, (uint16_t)(BASE + reg), size);
}

/* Ports on, a reset, ACKNOWLEDGE and DRIVER, features.  Bus mastering is not asked for. */
static void driver(struct legacy *l, uint8_t devfn, bool msix, uint64_t wanted)
{
    l->dev.bus = l->bus;
    l->devfn = devfn;
    vt_config_write(l->bus, devfn, 0x10, 4, BASE);
    if (msix)
        g_assert_cmpuint(vt_msix_open(l->bus, devfn), >=, 2);
    vt_config_write(l->bus, devfn, PCI_COMMAND, 2, msix ? 7 : 1);
    l->config = msix ? L_CONFIG_MSIX : L_CONFIG;
    out(l, L_STATUS, 1, 0);
    g_assert_cmphex(in(l, L_STATUS, 1), ==, 0);
    out(l, L_STATUS, 1, ACK);
    out(l, L_STATUS, 1, ACK | DRIVER);
    out(l, L_GUEST, 4, in(l, L_HOST, 4) & (uint32_t)wanted);
    if (msix) {
        out(l, L_CONFIG_VECTOR, 2, 0);
        g_assert_cmphex(in(l, L_CONFIG_VECTOR, 2), ==, 0);
    }
}

static void queue(struct legacy *l, struct vt_queue *q, uint16_t index, bool msix)
{
    uint8_t zero[4096] = {0};

    out(l, L_SELECT, 2, index);
    *q = (struct vt_queue){.dev = &l->dev, .index = index, .size = (uint16_t)in(l, L_SIZE, 2)};
    g_assert_cmpuint(q->size, >, 0);
    g_assert_cmphex(in(l, L_PAGE, 4), ==, 0);
    q->desc = vt_alloc(l->bus, 65536, 4096);
    for (unsigned i = 0; i < 16; i++)
        l->bus->mem_write(l->bus, q->desc + 4096ull * i, zero, sizeof(zero));
    q->avail = q->desc + 16ull * q->size;
    q->used = ALIGN_UP(q->avail + 2ull * (3 + q->size), 4096ull);
    out(l, L_PAGE, 4, (uint32_t)(q->desc >> 12));
    g_assert_cmphex(in(l, L_PAGE, 4), ==, q->desc >> 12);
    if (msix) {
        out(l, L_QUEUE_VECTOR, 2, 1);
        g_assert_cmphex(in(l, L_QUEUE_VECTOR, 2), ==, 1);
    }
}

static void kick(struct legacy *l, struct vt_queue *q)
{
    out(l, L_KICK, 2, q->index);
}

static uint32_t done(struct vt_queue *q)
{
    uint32_t len = 0;

    g_assert_true(vt_wait(q, NULL, &len));
    return len;
}

/* ---- identity ---- */

static struct device *make(struct vt_board *b, unsigned kind, struct blk_node *node)
{
    struct virtio_net_config net = {.place = place(b)};
    struct virtio_blk_config blk = {.place = place(b), .node = node};
    struct virtio_balloon_config balloon = {.place = place(b)};
    struct virtio_serial_config serial = {.place = place(b)};
    struct virtio_scsi_config scsi = {.place = place(b)};
    struct virtio_rng_config rng = {.place = place(b)};

    switch (kind) {
    case 0:
        return virtio_net_new(&net, NULL);
    case 1:
        return virtio_blk_new(&blk, NULL);
    case 2:
        return virtio_balloon_new(&balloon, NULL);
    case 3:
        return virtio_serial_new(&serial, NULL);
    case 4:
        return virtio_scsi_new(&scsi, NULL);
    default:
        return virtio_rng_new(&rng, NULL);
    }
}

static void test_identity(void)
{
    static const uint8_t type[] = {1, 2, 5, 3, 8, 4}; /* of 0x1000 and up */
    struct blk_node *node = vt_blk_node("{\"driver\":\"null-co\",\"node-name\":\"n\"}");

    for (unsigned k = 0; k < ARRAY_SIZE(type); k++) {
        struct legacy l = {.board = vt_board_new()};
        l.bus = vt_board_bus(l.board);
        g_assert_nonnull(make(l.board, k, node));
        g_assert_cmphex(vt_config_read(l.bus, SLOT << 3, 0, 4), ==, 0x10001af4 + (k << 16));
        g_assert_cmphex(vt_config_read(l.bus, SLOT << 3, PCI_REVISION, 1), ==, 0);
        g_assert_cmphex(vt_config_read(l.bus, SLOT << 3, 0x2c, 4), ==, 0x1af4 | type[k] << 16);
        g_assert_cmphex(vt_config_read(l.bus, SLOT << 3, 0x10, 4) & 3, ==, 1);
        driver(&l, SLOT << 3, false, 0);
        uint32_t offered = in(&l, L_HOST, 4);
        g_assert_cmphex(offered & LEGACY_ONLY, ==, LEGACY_ONLY);
        for (unsigned q = 0; q < 3; q++) {
            out(&l, L_SELECT, 2, q);
            g_assert_cmphex(in(&l, L_SELECT, 2), ==, q);
            if (k == 5 && q > 0) /* it has one */
                g_assert_cmpuint(in(&l, L_SIZE, 2), ==, 0);
            else if (k != 1 && k != 5)
                g_assert_cmpuint(in(&l, L_SIZE, 2), >=, 8);
        }
        /* the modern interface is there, too, and does not offer what is legacy's */
        struct vt_dev d;
        vt_dev_open(&d, l.bus, SLOT << 3, false);
        vt_reset(&d);
        g_assert_cmphex(vt_host_features(&d) & (LEGACY_ONLY | BIT64(32)), ==, BIT64(32));
        vt_board_free(l.board);
    }
    blk_close(node);
}

static void test_only_some_are_transitional(void)
{
    struct vt_board *b = vt_board_new();
    struct virtio_input_config in_cfg = {.place = place(b)};
    struct virtio_rng_config rng = {.place = place(b)};
    g_autoptr(GError) err = NULL;

    in_cfg.place.no_modern = true;
    g_assert_null(virtio_input_new(&in_cfg, &err));
    g_assert_nonnull(strstr(err->message, "disable-legacy=off"));
    rng.place.no_modern = true;
    g_assert_nonnull(virtio_rng_new(&rng, NULL));
    g_assert_cmphex(vt_config_read(vt_board_bus(b), SLOT << 3, 0x20, 4), ==, 0); /* BAR 4 */
    vt_board_free(b);
}

/* ---- entropy: interrupts both ways, reset, the modern driver after it ---- */

static void rng_up(struct legacy *l)
{
    *l = (struct legacy){.board = vt_board_new()};
    l->bus = vt_board_bus(l->board);
    g_assert_nonnull(make(l->board, 5, NULL));
}

static uint32_t rng_ask(struct legacy *l, struct vt_queue *q)
{
    struct vt_buf b = {vt_alloc(l->bus, 64, 64), 64, true};

    vt_add(q, &b, 1, false);
    kick(l, q);
    return done(q);
}

static void test_interrupts(void)
{
    struct legacy l;
    struct vt_queue q;

    rng_up(&l);
    driver(&l, SLOT << 3, false, 0);
    queue(&l, &q, 0, false);
    out(&l, L_STATUS, 1, ACK | DRIVER | DRIVER_OK);
    g_assert_cmphex(in(&l, L_STATUS, 1), ==, ACK | DRIVER | DRIVER_OK);
    g_assert_cmphex(vt_config_read(l.bus, l.devfn, PCI_COMMAND, 1), ==, 5); /* it may do DMA */
    g_assert_cmpuint(rng_ask(&l, &q), ==, 64);
    g_assert_true(vt_board_intx(l.board));
    g_assert_cmphex(in(&l, L_ISR, 1), ==, 1);
    g_assert_cmphex(in(&l, L_ISR, 1), ==, 0);
    g_assert_false(vt_board_intx(l.board));
    /* with the flag for "no interrupts", one comes all the same when the ring has run empty, if
     * the driver asked for that */
    vt_put(l.bus, q.avail, 1, 2);
    g_assert_cmpuint(rng_ask(&l, &q), ==, 64);
    g_assert_cmphex(in(&l, L_ISR, 1), ==, 0);
    driver(&l, SLOT << 3, false, BIT64(24));
    queue(&l, &q, 0, false);
    vt_put(l.bus, q.avail, 1, 2);
    out(&l, L_STATUS, 1, ACK | DRIVER | DRIVER_OK);
    g_assert_cmpuint(rng_ask(&l, &q), ==, 64);
    g_assert_cmphex(in(&l, L_ISR, 1), ==, 1);
    driver(&l, SLOT << 3, true, F_EVENT);
    queue(&l, &q, 0, true);
    out(&l, L_STATUS, 1, ACK | DRIVER | DRIVER_OK);
    g_assert_cmpuint(rng_ask(&l, &q), ==, 64);
    g_assert_cmpuint(vt_board_msi_count(l.board, 1), ==, 1);
    vt_board_free(l.board);
}

static void test_modern_after_legacy_and_back(void)
{
    struct legacy l;
    struct vt_queue q;
    struct vt_dev d;
    struct vt_buf b;

    rng_up(&l);
    for (unsigned round = 0; round < 2; round++) {
        driver(&l, SLOT << 3, false, F_EVENT);
        queue(&l, &q, 0, false);
        out(&l, L_STATUS, 1, ACK | DRIVER | FEATURES_OK | DRIVER_OK); /* which it does not know */
        g_assert_cmphex(in(&l, L_STATUS, 1), ==, ACK | DRIVER | DRIVER_OK);
        g_assert_cmpuint(rng_ask(&l, &q), ==, 64);
        out(&l, L_STATUS, 1, 0);
        g_assert_cmphex(in(&l, L_PAGE, 4), ==, 0);
        g_assert_cmphex(in(&l, L_GUEST, 4), ==, 0);
        vt_dev_open(&d, l.bus, SLOT << 3, false);
        vt_set_status(&d, ACK | DRIVER | FEATURES_OK); /* without VERSION_1: not granted */
        g_assert_cmphex(vt_status(&d), ==, ACK | DRIVER);
        vt_negotiate(&d, UINT64_MAX);
        vt_queue_open(&q, &d, 0, 8);
        vt_driver_ok(&d);
        b = (struct vt_buf){vt_alloc(l.bus, 64, 64), 64, true};
        vt_add(&q, &b, 1, false);
        vt_kick(&q);
        g_assert_cmpuint(done(&q), ==, 64);
    }
    vt_board_free(l.board);
}

/* ---- disk ---- */

static void test_disk_while_probing(void)
{
    struct vt_blk f = {.path = vt_blk_image(DISK_BYTES)};
    struct virtio_blk_config c = {.place.legacy = true};
    g_autofree char *json = g_strdup_printf(RAW_FILE, f.path);
    struct legacy l;

    f.node = vt_blk_node(json);
    vt_blk_board(&f, &c);
    l = (struct legacy){.board = f.board, .bus = f.bus};
    driver(&l, DEVFN, false, 0);
    g_assert_cmpuint(in(&l, L_CONFIG, 4), ==, DISK_BYTES / 512);
    g_assert_cmpuint(in(&l, L_CONFIG + 4, 4), ==, 0);
    queue(&l, &f.q, 0, false);
    /* a kick before DRIVER_OK, by a function that is no bus master */
    vt_put(f.bus, f.data, 0x1122334455667788, 8);
    vt_blk_header(&f, T_OUT, 5);
    struct vt_buf b[] = {{f.header, 16, false}, {f.data, 512, false}, {f.status, 1, true}};
    vt_add(&f.q, b, 3, false);
    kick(&l, &f.q);
    g_assert_cmpuint(done(&f.q), ==, 1);
    g_assert_cmpuint(vt_get(f.bus, f.status, 1), ==, 0);
    g_assert_cmphex(in(&l, L_STATUS, 1), ==, ACK | DRIVER); /* as the driver left it */
    out(&l, L_STATUS, 1, ACK | DRIVER | DRIVER_OK);
    vt_put(f.bus, f.data, 0, 8);
    vt_blk_header(&f, T_IN, 5);
    b[1].write = true;
    vt_add(&f.q, b, 3, false);
    kick(&l, &f.q);
    g_assert_cmpuint(done(&f.q), ==, 513);
    g_assert_cmphex(vt_get(f.bus, f.data, 8), ==, 0x1122334455667788);
    /* with MSI-X the configuration is four bytes further */
    driver(&l, DEVFN, true, 0);
    g_assert_cmpuint(in(&l, L_CONFIG_MSIX, 4), ==, DISK_BYTES / 512);
    vt_blk_tear_down(&f);
}

/* ---- network: the header without num_buffers ---- */

static void arp_request(uint8_t *frame)
{
    static const uint8_t head[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2,
                                   3,    0x08, 0x06, 0,    1,    8,    0,    6,    4, 0, 1,
                                   0x52, 0x54, 0,    1,    2,    3,    10,   0,    2, 15};

    memset(frame, 0, FRAME_MIN);
    memcpy(frame, head, sizeof(head));
    memcpy(frame + 38, (uint8_t[]){10, 0, 2, 2}, 4);
}

static void test_network_headers(void)
{
    static const struct {
        uint64_t features;
        unsigned header;
    } form[] = {{0, HEADER_OLD}, {F_MRG, HEADER_MRG}};
    GError *err = NULL;
    PROPS_AUTO p = props_parse("user,id=n0", "type", &err);
    struct net_backend *net = net_open(p, &err);
    struct legacy l = {.board = vt_board_new()};
    struct virtio_net_config c = {.place = place(l.board), .backend = net};
    struct vt_queue rx, tx;
    uint8_t frame[64];

    g_assert_no_error(err);
    l.bus = vt_board_bus(l.board);
    g_assert_nonnull(virtio_net_new(&c, NULL));
    uint64_t mem = vt_alloc(l.bus, 8192, 4096);
    for (unsigned i = 0; i < ARRAY_SIZE(form); i++) {
        driver(&l, SLOT << 3, false, form[i].features);
        queue(&l, &rx, 0, false);
        queue(&l, &tx, 1, false);
        out(&l, L_STATUS, 1, ACK | DRIVER | DRIVER_OK);
        struct vt_buf in_buf = {mem, 2048, true};
        vt_add(&rx, &in_buf, 1, false);
        kick(&l, &rx);
        arp_request(frame);
        l.bus->mem_write(l.bus, mem + 4096, (uint8_t[HEADER_MRG]){0}, HEADER_MRG);
        l.bus->mem_write(l.bus, mem + 4096 + form[i].header, frame, FRAME_MIN);
        struct vt_buf out_buf = {mem + 4096, form[i].header + FRAME_MIN, false};
        vt_add(&tx, &out_buf, 1, false);
        kick(&l, &tx);
        done(&tx);
        g_assert_cmpuint(done(&rx), >=, form[i].header + FRAME_MIN);
        l.bus->mem_read(l.bus, mem + form[i].header, frame, FRAME_MIN);
        g_assert_cmphex(frame[12] << 8 | frame[13], ==, 0x0806);
        g_assert_cmphex(frame[21], ==, 2); /* the answer */
    }
    vt_board_free(l.board);
    net_close(net);
}

/* ---- balloon: a word of the configuration, written byte by byte ---- */

static void test_configuration_by_bytes(void)
{
    struct legacy l = {.board = vt_board_new()};
    struct device *balloon;

    l.bus = vt_board_bus(l.board);
    balloon = make(l.board, 2, NULL);
    driver(&l, SLOT << 3, false, 0);
    uint64_t before = virtio_balloon_actual(balloon);
    uint32_t pages = 0x123;
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpuint(virtio_balloon_actual(balloon), ==, before);
        out(&l, L_CONFIG + 4 + i, 1, pages >> (8 * i) & 0xff);
    }
    g_assert_cmpuint(virtio_balloon_actual(balloon), ==, before - ((uint64_t)pages << 12));
    g_assert_cmpuint(in(&l, L_CONFIG + 4, 4), ==, pages);
    /* out of order it is no word */
    out(&l, L_CONFIG + 4, 1, 1);
    out(&l, L_CONFIG + 6, 1, 1);
    out(&l, L_CONFIG + 7, 1, 1);
    g_assert_cmpuint(in(&l, L_CONFIG + 4, 4), ==, pages);
    vt_board_free(l.board);
}

/* ---- hostile ---- */

static void test_hostile(void)
{
    struct legacy l;
    struct vt_queue q;

    rng_up(&l);
    /* a queue that is not in RAM breaks the device, a reset heals it */
    driver(&l, SLOT << 3, false, 0);
    out(&l, L_SELECT, 2, 0);
    out(&l, L_PAGE, 4, 0xfffffff0);
    out(&l, L_STATUS, 1, ACK | DRIVER | DRIVER_OK);
    out(&l, L_KICK, 2, 0);
    vt_pump(l.bus, 10);
    driver(&l, SLOT << 3, false, 0);
    queue(&l, &q, 0, false);
    /* placed twice: the first place counts until it is taken away */
    out(&l, L_PAGE, 4, 1);
    g_assert_cmphex(in(&l, L_PAGE, 4), ==, q.desc >> 12);
    out(&l, L_STATUS, 1, ACK | DRIVER | DRIVER_OK);
    for (unsigned reg = 0; reg < 32; reg++)
        for (unsigned size = 1; size <= 4; size *= 2) {
            in(&l, reg, size);
            if (reg != L_STATUS && reg + size <= 32)
                out(&l, reg, size, 0xffffffff);
        }
    vt_pump(l.bus, 10);
    driver(&l, SLOT << 3, false, 0);
    queue(&l, &q, 0, false);
    out(&l, L_STATUS, 1, ACK | DRIVER | DRIVER_OK);
    g_assert_cmpuint(rng_ask(&l, &q), ==, 64);
    /* taken away while it works, and placed again */
    out(&l, L_PAGE, 4, 0);
    vt_avail(&q, 0);
    kick(&l, &q);
    vt_pump(l.bus, 10);
    g_assert_cmpuint(vt_used_idx(&q), ==, 1);
    queue(&l, &q, 0, false);
    g_assert_cmpuint(rng_ask(&l, &q), ==, 64);
    vt_board_free(l.board);
}

static void test_save_load(void)
{
    struct legacy l, old;
    struct vt_queue q;

    rng_up(&l);
    driver(&l, SLOT << 3, false, F_EVENT);
    queue(&l, &q, 0, false);
    out(&l, L_STATUS, 1, ACK | DRIVER | DRIVER_OK);
    g_assert_cmpuint(rng_ask(&l, &q), ==, 64);
    vt_board_pause(l.board);
    g_autoptr(GBytes) first = vt_board_save(l.board);
    vt_board_free(l.board);
    old = l;
    rng_up(&l);
    l.bus->next_mem = 0x100000;
    vt_board_load_same(l.board, first);
    vt_board_resume(l.board);
    l.dev.bus = l.bus;
    l.devfn = old.devfn;
    q.dev = &l.dev;
    g_assert_cmphex(in(&l, L_STATUS, 1), ==, ACK | DRIVER | DRIVER_OK);
    g_assert_cmpuint(rng_ask(&l, &q), ==, 64);
    vt_board_free(l.board);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-legacy/identity", test_identity);
    g_test_add_func("/virtio-legacy/only-some-are-transitional", test_only_some_are_transitional);
    g_test_add_func("/virtio-legacy/interrupts", test_interrupts);
    g_test_add_func("/virtio-legacy/modern-after-legacy", test_modern_after_legacy_and_back);
    g_test_add_func("/virtio-legacy/disk-while-probing", test_disk_while_probing);
    g_test_add_func("/virtio-legacy/network-headers", test_network_headers);
    g_test_add_func("/virtio-legacy/configuration-by-bytes", test_configuration_by_bytes);
    g_test_add_func("/virtio-legacy/hostile", test_hostile);
    g_test_add_func("/virtio-legacy/save-load", test_save_load);
    return g_test_run();
}
