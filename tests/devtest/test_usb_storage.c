/* A disk on xHCI by its command and status wrappers: SCSI commands, phases, errors, resets. */
#include "xhci_driver.h"

#include "base/props.h"
#include "block/block.h"

#include <glib/gstdio.h>
#include <unistd.h>

enum { SECTORS = 4096, IN = 3, OUT = 4, CBW = XD_DATA + 0x100000, CSW = CBW + 64 };

struct stick {
    struct xd x; /* first */
    char *path;
    struct blk_node *node;
    unsigned slot;
    uint32_t tag, residue;
};

static struct blk_node *image_open(struct stick *s)
{
    static unsigned names;
    g_autofree char *text = NULL;
    int fd = g_file_open_tmp("hanok-usb-XXXXXX", &s->path, NULL);
    uint8_t sector[512] = {0};
    GError *err = NULL;

    for (unsigned i = 0; i < SECTORS; i++) {
        le32_put(sector, 0x51000000 + i);
        g_assert_cmpint(write(fd, sector, sizeof(sector)), ==, sizeof(sector));
    }
    close(fd);
    text =
        g_strdup_printf("{\"driver\":\"raw\",\"node-name\":\"stick%u\",\"discard\":\"unmap\","
                        "\"file\":{\"driver\":\"file\",\"filename\":\"%s\",\"discard\":\"unmap\"}}",
                        names++, s->path);
    struct props *p = props_parse(text, NULL, NULL);
    struct blk_node *n = blk_open(p, &err);
    g_assert_no_error(err);
    props_free(p);
    return n;
}

static void configured(struct stick *s)
{
    struct xd *x = &s->x;

    s->slot = xd_address(x, 1, 4, 0);
    g_assert_cmpuint(xd_control(x, s->slot, 0x00, 9, 1, 0, 0, NULL), ==, 1);
    xd_input(x, 0, 1 | 1u << IN | 1u << OUT);
    vt_put(x->bus, XD_INPUT + 32, 4u << 27, 4);
    xd_input_ep(x, s->slot, IN, 6, 1024);
    xd_input_ep(x, s->slot, OUT, 2, 1024);
    g_assert_cmpuint(xd_command(x, 12, XD_INPUT, s->slot << 24, NULL), ==, 1);
}

static void up(struct stick *s, gconstpointer unused)
{
    struct usb_storage_config cfg = {.serial = "S123", .id = "stick"};
    GError *err = NULL;

    xd_open(&s->x, NULL);
    cfg.node = s->node = image_open(s);
    usb_storage_new(xd_connector(&s->x, "1"), &cfg, &err);
    g_assert_no_error(err);
    xd_map(&s->x);
    xd_start(&s->x);
    configured(s);
}

static void down(struct stick *s, gconstpointer unused)
{
    xd_close(&s->x);
    blk_close(s->node);
    g_unlink(s->path);
    g_free(s->path);
}

static void send_cbw(struct stick *s, const uint8_t *cdb, unsigned len, uint32_t bytes, bool in)
{
    uint8_t cbw[31] = {'U', 'S', 'B', 'C'};

    le32_put(cbw + 4, ++s->tag);
    le32_put(cbw + 8, bytes);
    cbw[12] = in ? 0x80 : 0;
    cbw[14] = (uint8_t)len;
    memcpy(cbw + 15, cdb, len);
    s->x.bus->mem_write(s->x.bus, CBW, cbw, sizeof(cbw));
    struct xd_event e = xd_transfer(&s->x, s->slot, OUT, CBW, 31);
    g_assert_cmpuint(xd_code(&e), ==, 1);
}

static unsigned csw(struct stick *s)
{
    uint8_t b[13];
    struct xd_event e = xd_transfer(&s->x, s->slot, IN, CSW, 13);

    g_assert_cmpuint(xd_code(&e), ==, 1);
    s->x.bus->mem_read(s->x.bus, CSW, b, sizeof(b));
    g_assert_cmpmem(b, 4, "USBS", 4);
    g_assert_cmpuint(le32_get(b + 4), ==, s->tag);
    s->residue = le32_get(b + 8);
    return b[12];
}

/* The whole of a command with its data at XD_DATA; its status. */
static unsigned scsi(struct stick *s, const uint8_t *cdb, unsigned len, uint32_t bytes, bool in)
{
    send_cbw(s, cdb, len, bytes, in);
    if (bytes)
        xd_transfer(&s->x, s->slot, in ? IN : OUT, XD_DATA, bytes);
    return csw(s);
}

static unsigned sense(struct stick *s)
{
    static const uint8_t cdb[6] = {3, 0, 0, 0, 18};
    uint8_t b[18];

    g_assert_cmpuint(scsi(s, cdb, 6, 18, true), ==, 0);
    s->x.bus->mem_read(s->x.bus, XD_DATA, b, 18);
    return (unsigned)b[2] << 16 | (unsigned)b[12] << 8 | b[13];
}

static void rw10(uint8_t cdb[10], uint8_t op, uint32_t lba, uint16_t count)
{
    memset(cdb, 0, 10);
    cdb[0] = op;
    cdb[3] = (uint8_t)(lba >> 16);
    cdb[4] = (uint8_t)(lba >> 8);
    cdb[5] = (uint8_t)lba;
    cdb[7] = (uint8_t)(count >> 8);
    cdb[8] = (uint8_t)count;
}

static uint32_t word(struct stick *s, uint64_t off)
{
    return (uint32_t)vt_get(s->x.bus, XD_DATA + off, 4);
}

static void test_who_it_is(struct stick *s, gconstpointer unused)
{
    static const uint8_t inquiry[6] = {0x12, 0, 0, 0, 36}, serial[6] = {0x12, 1, 0x80, 0, 64};
    static const uint8_t capacity[10] = {0x25}, long_capacity[16] = {0x9e, 0x10, [13] = 32};
    uint8_t b[64];
    unsigned got = 0;

    g_assert_cmpuint(scsi(s, inquiry, 6, 36, true), ==, 0);
    s->x.bus->mem_read(s->x.bus, XD_DATA, b, 36);
    g_assert_cmpmem(b + 8, 24, "HANOK   USB DISK        ", 24);
    g_assert_cmpuint(scsi(s, serial, 6, 64, true), ==, 0);
    g_assert_cmpuint(s->residue, ==, 64 - 8);
    s->x.bus->mem_read(s->x.bus, XD_DATA, b, 8);
    g_assert_cmpmem(b + 4, 4, "S123", 4);
    g_assert_cmpuint(scsi(s, capacity, 10, 8, true), ==, 0);
    g_assert_cmphex(word(s, 0), ==, GUINT32_SWAP_LE_BE(SECTORS - 1));
    g_assert_cmphex(word(s, 4), ==, GUINT32_SWAP_LE_BE(512));
    g_assert_cmpuint(scsi(s, long_capacity, 16, 32, true), ==, 0);
    g_assert_cmphex(word(s, 4), ==, GUINT32_SWAP_LE_BE(SECTORS - 1));
    /* SuperSpeed's own descriptors; one logical unit */
    g_assert_cmpuint(xd_control(&s->x, s->slot, 0x80, 6, 0x0f00, 0, 64, &got), ==, 1);
    g_assert_cmpuint(got, ==, 22);
    g_assert_cmpuint(xd_control(&s->x, s->slot, 0xa1, 0xfe, 0, 0, 1, &got), ==, 1);
    g_assert_cmpuint(vt_get(s->x.bus, XD_DATA, 1), ==, 0);
}

/* One descriptor of several TRBs; its event. */
static struct xd_event chained(struct stick *s, unsigned dci, uint64_t gpa, uint32_t bytes)
{
    for (uint32_t at = 0, n; at < bytes; at += n) {
        n = MIN(65536, bytes - at);
        xd_put(&s->x, &s->x.ring[s->slot][dci], gpa + at, n,
               1u << 10 | (at + n == bytes ? 0x20 : 0x10));
    }
    xd_ring_bell(&s->x, s->slot, dci);
    return xd_wait_result(&s->x);
}

static void test_writes_and_reads(struct stick *s, gconstpointer unused)
{
    static const uint8_t flush[10] = {0x35};
    uint8_t cdb[10];

    for (unsigned i = 0; i < 600; i++)
        vt_put(s->x.bus, XD_DATA + 512 * i, 0xa5000000 + i, 4);
    rw10(cdb, 0x2a, 100, 600); /* more than a buffer, in TRBs of 64 KiB */
    send_cbw(s, cdb, 10, 600 * 512, false);
    struct xd_event e = chained(s, OUT, XD_DATA, 600 * 512);
    g_assert_cmpuint(xd_code(&e), ==, 1);
    g_assert_cmpuint(csw(s), ==, 0);
    g_assert_cmpuint(scsi(s, flush, 10, 0, false), ==, 0);
    rw10(cdb, 0x28, 99, 602);
    g_assert_cmpuint(scsi(s, cdb, 10, 0x1fe00 /* less */, true), ==, 2);
    send_cbw(s, cdb, 10, 602 * 512, true);
    e = chained(s, IN, XD_DATA + 0x80000, 602 * 512);
    g_assert_cmpuint(xd_code(&e), ==, 1);
    g_assert_cmpuint(csw(s), ==, 0);
    g_assert_cmphex(word(s, 0x80000), ==, 0x51000000 + 99);
    g_assert_cmphex(word(s, 0x80000 + 512), ==, 0xa5000000);
    g_assert_cmphex(word(s, 0x80000 + 512 * 600), ==, 0xa5000000 + 599);
    g_assert_cmphex(word(s, 0x80000 + 512 * 601), ==, 0x51000000 + 700);
}

static void test_unmap_leaves_zeroes(struct stick *s, gconstpointer unused)
{
    static const uint8_t unmap[10] = {0x42, [8] = 40};
    uint8_t list[40] = {0, 38, 0, 32}, cdb[10];

    list[8 + 7] = 10;
    list[8 + 11] = 5;
    memset(list + 24, 0xff, 12); /* nowhere: ignored */
    s->x.bus->mem_write(s->x.bus, XD_DATA, list, sizeof(list));
    g_assert_cmpuint(scsi(s, unmap, 10, 40, false), ==, 0);
    rw10(cdb, 0x28, 9, 7);
    g_assert_cmpuint(scsi(s, cdb, 10, 7 * 512, true), ==, 0);
    g_assert_cmphex(word(s, 0), ==, 0x51000009);
    g_assert_cmphex(word(s, 512), ==, 0);
    g_assert_cmphex(word(s, 512 * 5), ==, 0);
    g_assert_cmphex(word(s, 512 * 6), ==, 0x5100000f);
}

static void test_refusals_say_why(struct stick *s, gconstpointer unused)
{
    static const uint8_t unknown[10] = {0xff}, select[6] = {0x15, 0, 0, 0, 200};
    uint8_t cdb[10];

    g_assert_cmpuint(scsi(s, unknown, 10, 0, true), ==, 1);
    g_assert_cmphex(sense(s), ==, 0x052000);
    rw10(cdb, 0x28, SECTORS - 1, 2);
    g_assert_cmpuint(scsi(s, cdb, 10, 1024, true), ==, 1);
    g_assert_cmpuint(s->residue, ==, 1024);
    g_assert_cmphex(sense(s), ==, 0x052100);
    g_assert_cmphex(sense(s), ==, 0);
    rw10(cdb, 0x2a, SECTORS, 1);
    g_assert_cmpuint(scsi(s, cdb, 10, 512, false), ==, 1);
    rw10(cdb, 0x28, 0, 1);
    g_assert_cmpuint(scsi(s, cdb, 10, 512, false), ==, 2); /* the other direction */
    g_assert_cmpuint(scsi(s, select, 6, 200, false), ==, 0);
    g_assert_cmpuint(s->residue, ==, 0);
}

static void test_nonsense_on_the_wire_stalls(struct stick *s, gconstpointer unused)
{
    struct xd_event e = xd_transfer(&s->x, s->slot, OUT, XD_DATA, 31);
    uint8_t cdb[10];

    g_assert_cmpuint(xd_code(&e), ==, 6);
    xd_recover(&s->x, s->slot, OUT);
    e = xd_transfer(&s->x, s->slot, OUT, XD_DATA, 31); /* the device is still halted */
    g_assert_cmpuint(xd_code(&e), ==, 6);
    xd_recover(&s->x, s->slot, OUT);
    g_assert_cmpuint(xd_control(&s->x, s->slot, 0x21, 0xff, 0, 0, 0, NULL), ==, 1);
    g_assert_cmpuint(xd_control(&s->x, s->slot, 0x02, 1, 0, 0x02, 0, NULL), ==, 1);
    rw10(cdb, 0x28, 7, 1);
    g_assert_cmpuint(scsi(s, cdb, 10, 512, true), ==, 0);
    g_assert_cmphex(word(s, 0), ==, 0x51000007);
}

static void test_a_reset_forgets_the_command(struct stick *s, gconstpointer unused)
{
    uint8_t cdb[10];

    rw10(cdb, 0x28, 0, 200);
    send_cbw(s, cdb, 10, 200 * 512, true);
    xd_set(&s->x, xd_portsc(1), 0x210); /* while the block request is under way */
    g_assert_cmpuint(xd_command(&s->x, 17, 0, s->slot << 24, NULL), ==, 1);
    g_assert_cmpuint(xd_command(&s->x, 10, 0, s->slot << 24, NULL), ==, 1);
    configured(s);
    rw10(cdb, 0x28, 3, 1);
    g_assert_cmpuint(scsi(s, cdb, 10, 512, true), ==, 0);
    g_assert_cmphex(word(s, 0), ==, 0x51000003);
}

static void test_state_in_the_middle_of_a_read(struct stick *s, gconstpointer unused)
{
    g_autoptr(GBytes) state = NULL;
    struct stick other = {0};
    uint8_t cdb[10];
    GError *err = NULL;

    rw10(cdb, 0x28, 50, 400);
    send_cbw(s, cdb, 10, 400 * 512, true);
    xd_transfer(&s->x, s->slot, IN, XD_DATA, 512);
    vt_board_pause(s->x.board);
    state = vt_board_save(s->x.board);
    up(&other, NULL);
    vt_board_pause(other.x.board);
    g_assert_true(vt_board_load(other.x.board, state, &err));
    g_assert_no_error(err);
    vt_board_resume(other.x.board);
    memcpy(other.x.ring, s->x.ring, sizeof(s->x.ring));
    other.x.event_at = s->x.event_at;
    other.x.event_cycle = s->x.event_cycle;
    other.tag = s->tag;
    chained(&other, IN, XD_DATA, 399 * 512);
    g_assert_cmphex(word(&other, 0), ==, 0x51000000 + 51);
    g_assert_cmphex(word(&other, 398 * 512), ==, 0x51000000 + 449);
    g_assert_cmpuint(csw(&other), ==, 0);
    down(&other, NULL);
    vt_board_resume(s->x.board);
}

static void test_unplug_with_a_request_under_way(struct stick *s, gconstpointer unused)
{
    struct usb_device *d = usb_bus_find(&s->x.buses, NULL)->ports->dev;
    uint8_t cdb[10];

    rw10(cdb, 0x28, 0, 200);
    send_cbw(s, cdb, 10, 200 * 512, true);
    xd_put(&s->x, &s->x.ring[s->slot][IN], XD_DATA, 65536, 1u << 10 | 0x24);
    d->dev.ops->destroy(&d->dev);
    xd_ring_bell(&s->x, s->slot, IN);
    struct xd_event e = xd_wait_result(&s->x);
    g_assert_cmpuint(xd_code(&e), ==, 4);
    g_assert_null(blk_user(s->node));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, fn) g_test_add("/usb-storage/" name, struct stick, NULL, up, fn, down)
    TEST("identity", test_who_it_is);
    TEST("transfer", test_writes_and_reads);
    TEST("unmap", test_unmap_leaves_zeroes);
    TEST("refusals", test_refusals_say_why);
    TEST("nonsense", test_nonsense_on_the_wire_stalls);
    TEST("reset", test_a_reset_forgets_the_command);
    TEST("state", test_state_in_the_middle_of_a_read);
    TEST("unplug", test_unplug_with_a_request_under_way);
    return g_test_run();
}
