/* The xHCI controller by its registers and rings, with a keyboard, a tablet and a hub. */
#include "xhci_driver.h"

#include "display/input.h"

static void up(struct xd *x, gconstpointer unused)
{
    xd_open(x, NULL);
    usb_hid_new(xd_connector(x, "1"), USB_HID_TABLET, "tablet", NULL);
    usb_hid_new(xd_connector(x, "2"), USB_HID_KEYBOARD, "kbd", NULL);
    xd_map(x);
}

static void down(struct xd *x, gconstpointer unused)
{
    xd_close(x);
}

static void started(struct xd *x, gconstpointer unused)
{
    up(x, NULL);
    xd_start(x);
}

static void test_what_a_driver_finds(struct xd *x, gconstpointer unused)
{
    g_assert_cmphex(vt_config_read(x->bus, XD_DEVFN, 0, 4), ==, 0x000d1b36);
    g_assert_cmphex(vt_config_read(x->bus, XD_DEVFN, 8, 4) >> 8, ==, 0x0c0330);
    g_assert_cmphex(vt_config_read(x->bus, XD_DEVFN, 0x60, 1), ==, 0x30);
    g_assert_cmphex(x->bus->read(x->bus, XD_BAR, 1), ==, 0x40);
    g_assert_cmphex(xd_get(x, XD_BAR) >> 16, ==, 0x0100);
    g_assert_cmpuint(xd_get(x, XD_BAR + 4) >> 24, ==, 8);
    g_assert_cmphex(xd_get(x, XD_BAR + 0x14), ==, 0x2000);
    g_assert_cmphex(xd_get(x, XD_BAR + 0x18), ==, 0x1000);
    /* protocols: the ports of USB 2 come after those of USB 3 */
    g_assert_cmphex(xd_get(x, XD_BAR + 0x20), ==, 0x02000402);
    g_assert_cmphex(xd_get(x, XD_BAR + 0x28), ==, 0x0405);
    g_assert_cmphex(xd_get(x, XD_BAR + 0x30), ==, 0x03000002);
    g_assert_cmphex(xd_get(x, XD_BAR + 0x38), ==, 0x0401);
    g_assert_cmphex(xd_get(x, XD_OPER + 4) & 1, ==, 1);
    /* a tablet of high speed, connected, not enabled; nothing at the other side of the connector */
    g_assert_cmphex(xd_get(x, xd_portsc(5)), ==, 0x20ee1);
    g_assert_cmphex(xd_get(x, xd_portsc(1)), ==, 0x2a0);
    xd_set(x, xd_portsc(5), 0x210);
    g_assert_cmphex(xd_get(x, xd_portsc(5)), ==, 0x220e03);
    xd_set(x, xd_portsc(5), 0x220200);
    g_assert_cmphex(xd_get(x, xd_portsc(5)), ==, 0xe03);
    xd_set(x, xd_portsc(5), 0x202); /* disables it */
    g_assert_cmphex(xd_get(x, xd_portsc(5)) & 2, ==, 0);
}

static void test_port_events_come_when_it_starts(struct xd *x, gconstpointer unused)
{
    xd_start(x);
    for (unsigned port = 5; port <= 6; port++) {
        struct xd_event e = xd_wait(x);
        g_assert_cmpuint(xd_type(&e), ==, 34);
        g_assert_cmphex(e.param, ==, port << 24);
    }
    xd_none(x);
    usb_hid_new(xd_connector(x, "4"), USB_HID_MOUSE, NULL, NULL);
    struct xd_event e = xd_wait(x);
    g_assert_cmphex(e.param, ==, 8u << 24);
}

static void test_descriptors(struct xd *x, gconstpointer unused)
{
    uint8_t d[64];
    unsigned got = 0, slot = xd_address(x, 5, 3, 0);

    g_assert_cmphex(vt_get(x->bus, xd_context(slot) + 12, 4), ==, 2u << 27 | slot);
    g_assert_cmpuint(xd_control(x, slot, 0x80, 6, 0x0100, 0, 64, &got), ==, 1);
    g_assert_cmpuint(got, ==, 18);
    x->bus->mem_read(x->bus, XD_DATA, d, 18);
    g_assert_cmpmem(d, 2, "\x12\x01", 2);
    g_assert_cmphex(le16_get(d + 8), ==, 0x0627);
    g_assert_cmpuint(xd_control(x, slot, 0x80, 6, 0x0302, 0x409, 64, &got), ==, 1);
    x->bus->mem_read(x->bus, XD_DATA, d, 14);
    g_assert_cmpmem(d, 14, "\x0e\x03T\0a\0b\0l\0e\0t\0", 14);
    g_assert_cmpuint(xd_control(x, slot, 0x80, 6, 0x0200, 0, 9, &got), ==, 1);
    g_assert_cmpuint(vt_get(x->bus, XD_DATA + 2, 2), ==, 34);
    g_assert_cmpuint(xd_control(x, slot, 0x81, 6, 0x2200, 0, 200, &got), ==, 1);
    g_assert_cmpuint(got, ==, 72);
    /* what is not there stalls, and endpoint 0 comes back */
    g_assert_cmpuint(xd_control(x, slot, 0x80, 6, 0x0309, 0x409, 64, &got), ==, 6);
    g_assert_cmphex(vt_get(x->bus, xd_context(slot) + 32, 4) & 7, ==, 2);
    xd_recover(x, slot, 1);
    g_assert_cmpuint(xd_control(x, slot, 0x80, 8, 0, 0, 1, &got), ==, 1);
}

static unsigned hid_up(struct xd *x, unsigned port)
{
    unsigned slot = xd_address(x, port, 3, 0);

    g_assert_cmpuint(xd_control(x, slot, 0x00, 9, 1, 0, 0, NULL), ==, 1);
    xd_input(x, 0, 1 | 1u << 3);
    vt_put(x->bus, XD_INPUT + 32, 3u << 27, 4);
    xd_input_ep(x, slot, 3, 7, 8);
    g_assert_cmpuint(xd_command(x, 12, XD_INPUT, slot << 24, NULL), ==, 1);
    g_assert_cmphex(vt_get(x->bus, xd_context(slot) + 12, 4) >> 27, ==, 3);
    vt_pump(x->bus, 3); /* the device begins to listen */
    return slot;
}

static void test_tablet_reports_positions(struct xd *x, gconstpointer unused)
{
    unsigned slot = hid_up(x, 5);
    uint8_t report[8];
    struct xd_event e;

    g_assert_true(input_absolute());
    xd_put(x, &x->ring[slot][3], XD_DATA, 8, 1u << 10 | 0x24);
    xd_ring_bell(x, slot, 3);
    xd_none(x); /* nothing has happened yet */
    input_move_to(0x1234, 0x7fff);
    e = xd_wait_result(x);
    g_assert_cmpuint(xd_code(&e), ==, 13);
    g_assert_cmpuint(e.status & 0xffffff, ==, 2);
    g_assert_cmpuint(e.control >> 16 & 31, ==, 3);
    x->bus->mem_read(x->bus, XD_DATA, report, 6);
    g_assert_cmpmem(report, 6, "\0\x34\x12\xff\x7f\0", 6);
    input_buttons(INPUT_LEFT | INPUT_RIGHT);
    input_buttons(INPUT_WHEEL_DOWN);
    e = xd_transfer(x, slot, 3, XD_DATA, 6);
    g_assert_cmpuint(xd_code(&e), ==, 1);
    x->bus->mem_read(x->bus, XD_DATA, report, 6);
    g_assert_cmpmem(report, 6, "\3\x34\x12\xff\x7f\0", 6);
    xd_transfer(x, slot, 3, XD_DATA, 6);
    x->bus->mem_read(x->bus, XD_DATA, report, 6);
    g_assert_cmpmem(report, 6, "\0\x34\x12\xff\x7f\xff", 6);
}

static void test_keyboard_reports_keys(struct xd *x, gconstpointer unused)
{
    unsigned slot = hid_up(x, 6);
    uint8_t report[8];

    input_key(input_key_by_name("shift"), true);
    input_key(input_key_by_name("a"), true);
    input_key(input_key_by_name("right"), true);
    for (unsigned i = 0; i < 3; i++)
        xd_transfer(x, slot, 3, XD_DATA, 8);
    x->bus->mem_read(x->bus, XD_DATA, report, 8);
    g_assert_cmpmem(report, 8, "\2\0\x04\x4f\0\0\0\0", 8);
    input_key(input_key_by_name("a"), false);
    xd_transfer(x, slot, 3, XD_DATA, 8);
    x->bus->mem_read(x->bus, XD_DATA, report, 8);
    g_assert_cmpmem(report, 8, "\2\0\x4f\0\0\0\0\0", 8);
    /* seven keys are too many to say */
    for (const char *k = "bcdefg"; *k; k++)
        input_key(input_key_by_name((const char[]){*k, 0}), true);
    for (unsigned i = 0; i < 6; i++)
        xd_transfer(x, slot, 3, XD_DATA, 8);
    x->bus->mem_read(x->bus, XD_DATA, report, 8);
    g_assert_cmpmem(report, 8, "\2\0\1\1\1\1\1\1", 8);
    /* an idle rate repeats the report without news */
    g_assert_cmpuint(xd_control(x, slot, 0x21, 10, 1 << 8, 0, 0, NULL), ==, 1);
    xd_transfer(x, slot, 3, XD_DATA, 8);
    xd_transfer(x, slot, 3, XD_DATA, 8);
    /* lights */
    vt_put(x->bus, XD_DATA, 2, 1);
    g_assert_cmpuint(xd_control(x, slot, 0x21, 9, 0x200, 0, 1, NULL), ==, 1);
    g_assert_cmpuint(xd_control(x, slot, 0xa1, 3, 0, 0, 1, NULL), ==, 1);
    g_assert_cmpuint(vt_get(x->bus, XD_DATA, 1), ==, 1); /* report protocol */
}

static void test_a_queue_that_nobody_reads_is_bounded(struct xd *x, gconstpointer unused)
{
    unsigned slot = hid_up(x, 6);

    for (unsigned i = 0; i < 1000; i++)
        input_key(input_key_by_name("a"), i % 2 == 0);
    for (unsigned i = 0; i < 32; i++)
        xd_transfer(x, slot, 3, XD_DATA, 8);
    xd_put(x, &x->ring[slot][3], XD_DATA, 8, 1u << 10 | 0x24);
    xd_ring_bell(x, slot, 3);
    xd_none(x);
}

static void test_stop_and_move_the_dequeue_pointer(struct xd *x, gconstpointer unused)
{
    unsigned slot = hid_up(x, 5);
    struct xd_ring *r = &x->ring[slot][3];
    struct xd_event e;

    xd_put(x, r, XD_DATA, 6, 1u << 10 | 0x24);
    xd_ring_bell(x, slot, 3);
    xd_none(x);
    xd_put(x, &x->commands, 0, 0, 15u << 10 | slot << 24 | 3u << 16);
    xd_set(x, XD_DOORBELL, 0);
    e = xd_wait_result(x);
    g_assert_cmpuint(xd_type(&e), ==, 32);
    g_assert_cmpuint(xd_code(&e), ==, 26); /* stopped */
    g_assert_cmphex(e.param, ==, r->base);
    e = xd_wait_result(x);
    g_assert_cmpuint(xd_type(&e), ==, 33);
    g_assert_cmphex(vt_get(x->bus, xd_context(slot) + 32 * 3, 4) & 7, ==, 3);
    input_move_to(5, 5);
    xd_none(x);
    g_assert_cmpuint(xd_command(x, 16, (r->base + 16) | 1, slot << 24 | 3u << 16, NULL), ==, 1);
    e = xd_transfer(x, slot, 3, XD_DATA + 64, 6);
    g_assert_cmphex(e.param, ==, r->base + 16);
    /* neither while it runs */
    g_assert_cmpuint(xd_command(x, 16, r->base | 1, slot << 24 | 3u << 16, NULL), ==, 19);
    g_assert_cmpuint(xd_command(x, 14, 0, slot << 24 | 3u << 16, NULL), ==, 19);
}

static void test_unplugging_fails_what_is_under_way(struct xd *x, gconstpointer unused)
{
    unsigned slot = hid_up(x, 5);
    struct usb_device *d = usb_bus_find(&x->buses, NULL)->ports->dev;
    struct xd_event e;

    xd_put(x, &x->ring[slot][3], XD_DATA, 6, 1u << 10 | 0x24);
    xd_ring_bell(x, slot, 3);
    xd_none(x);
    d->dev.ops->destroy(&d->dev);
    e = xd_wait_result(x);
    g_assert_cmpuint(xd_code(&e), ==, 4);
    g_assert_cmphex(xd_get(x, xd_portsc(5)) & 0x20003, ==, 0x20000);
    g_assert_cmpuint(xd_command(x, 10, 0, slot << 24, NULL), ==, 1);
    g_assert_false(input_absolute());
}

static void test_msix(struct xd *x, gconstpointer unused)
{
    unsigned cap = vt_config_read(x->bus, XD_DEVFN, 0x34, 1);

    while (vt_config_read(x->bus, XD_DEVFN, cap, 1) != 0x11)
        cap = vt_config_read(x->bus, XD_DEVFN, cap + 1, 1);
    x->bus->write(x->bus, XD_TABLE, 4, 0xfee00000);
    x->bus->write(x->bus, XD_TABLE + 8, 4, 33);
    x->bus->write(x->bus, XD_TABLE + 12, 4, 0);
    vt_config_write(x->bus, XD_DEVFN, cap + 2, 2, 0x8000);
    unsigned was = vt_board_msi_count(x->board, 33);
    g_assert_cmpuint(xd_command(x, 23, 0, 0, NULL), ==, 1);
    g_assert_cmpuint(vt_board_msi_count(x->board, 33), >, was);
    g_assert_false(vt_board_intx(x->board));
}

/* The same by MSI, which stands back while MSI-X is on. */
static void test_msi(struct xd *x, gconstpointer unused)
{
    unsigned cap = vt_config_read(x->bus, XD_DEVFN, 0x34, 1);

    while (vt_config_read(x->bus, XD_DEVFN, cap, 1) != 0x05)
        cap = vt_config_read(x->bus, XD_DEVFN, cap + 1, 1);
    vt_config_write(x->bus, XD_DEVFN, cap + 4, 4, 0xfee00000);
    vt_config_write(x->bus, XD_DEVFN, cap + 12, 2, 35);
    vt_config_write(x->bus, XD_DEVFN, cap + 2, 2, 1);
    unsigned was = vt_board_msi_count(x->board, 35);
    g_assert_cmpuint(xd_command(x, 23, 0, 0, NULL), ==, 1);
    g_assert_cmpuint(vt_board_msi_count(x->board, 35), >, was);
    g_assert_false(vt_board_intx(x->board));
    vt_pump(x->bus, 20);
    was = vt_board_msi_count(x->board, 35);
    test_msix(x, NULL);
    g_assert_cmpuint(vt_board_msi_count(x->board, 35), ==, was);
}

static void test_intx(struct xd *x, gconstpointer unused)
{
    g_assert_cmpuint(xd_command(x, 23, 0, 0, NULL), ==, 1);
    g_assert_true(vt_board_intx(x->board));
    xd_set(x, XD_RUNTIME + 0x20, 3);
    g_assert_false(vt_board_intx(x->board));
}

static void test_no_event_is_lost_when_the_ring_is_full(struct xd *x, gconstpointer unused)
{
    struct xd_event e;

    while (xd_poll(x, &e))
        ;
    vt_pump(x->bus, 20);
    while (xd_poll(x, &e))
        ;
    for (unsigned i = 0; i < 200; i++)
        xd_put(x, &x->commands, 0, 0, 23u << 10);
    xd_set(x, XD_DOORBELL, 0);
    vt_pump(x->bus, 200);
    for (unsigned i = 0; i < 200; i++) {
        e = xd_wait_result(x);
        g_assert_cmphex(e.param, ==, XD_COMMANDS + 16 * i);
    }
    xd_none(x);
}

static void test_hub(struct xd *x, gconstpointer unused)
{
    struct usb_port *third = xd_connector(x, "3");
    unsigned hub, mouse, got = 0;

    usb_hub_new(third, 4, "hub");
    usb_hid_new(xd_connector(x, "3.2"), USB_HID_MOUSE, "mouse", NULL);
    hub = xd_address(x, 7, 1, 0);
    g_assert_cmpuint(xd_control(x, hub, 0x00, 9, 1, 0, 0, NULL), ==, 1);
    g_assert_cmpuint(xd_control(x, hub, 0xa0, 6, 0x2900, 0, 9, &got), ==, 1);
    g_assert_cmpuint(vt_get(x->bus, XD_DATA + 2, 1), ==, 4);
    g_assert_cmpuint(xd_control(x, hub, 0xa3, 0, 0, 2, 4, &got), ==, 1);
    g_assert_cmphex(vt_get(x->bus, XD_DATA, 4), ==, 0x00010101);
    g_assert_cmpuint(xd_control(x, hub, 0x23, 3, 4, 2, 0, NULL), ==, 1); /* reset */
    mouse = xd_address(x, 7, 1, 2);
    g_assert_cmpuint(xd_control(x, mouse, 0x80, 6, 0x0302, 0x409, 64, &got), ==, 1);
    g_assert_cmphex(vt_get(x->bus, XD_DATA, 4), ==, 0x004d030c); /* 'M' */
    /* the hub goes, and all behind it */
    third->dev->dev.ops->destroy(&third->dev->dev);
    g_assert_cmpuint(xd_control(x, mouse, 0x80, 6, 0x0100, 0, 18, &got), ==, 4);
}

static void test_state(struct xd *x, gconstpointer unused)
{
    struct xd other;
    unsigned slot = hid_up(x, 5);
    g_autoptr(GBytes) state = NULL;
    GError *err = NULL;
    uint8_t report[6];

    input_move_to(77, 78);
    vt_board_pause(x->board);
    state = vt_board_save(x->board);
    up(&other, NULL);
    vt_board_pause(other.board);
    g_assert_true(vt_board_load(other.board, state, &err));
    g_assert_no_error(err);
    vt_board_resume(other.board);
    other.event_at = x->event_at;
    other.event_cycle = x->event_cycle;
    memcpy(other.ring, x->ring, sizeof(x->ring));
    xd_transfer(&other, slot, 3, XD_DATA, 6);
    other.bus->mem_read(other.bus, XD_DATA, report, 6);
    g_assert_cmpmem(report, 6, "\0\x4d\0\x4e\0\0", 6);
    xd_close(&other);
    vt_board_resume(x->board);
}

/* ---- a guest that breaks the rules ---- */

static void test_rings_that_are_not_in_memory(struct xd *x, gconstpointer unused)
{
    unsigned slot = hid_up(x, 5);
    struct xd_event e;

    input_move_to(1, 1);
    e = xd_transfer(x, slot, 3, 0x7000000000ull, 6); /* data */
    g_assert_cmpuint(xd_code(&e), ==, 2);
    g_assert_cmpuint(xd_command(x, 14, 0, slot << 24 | 3u << 16, NULL), ==, 1);
    g_assert_cmpuint(xd_command(x, 16, 0x7000000001ull, slot << 24 | 3u << 16, NULL), ==, 1);
    xd_ring_bell(x, slot, 3);
    e = xd_wait_result(x);
    g_assert_cmpuint(xd_code(&e), ==, 5);
    g_assert_cmpuint(xd_command(x, 12, 0x7000000000ull, slot << 24, NULL), ==, 17);
    /* the command ring: the controller stops, and a reset brings it back */
    xd_put(x, &x->commands, 0x7000000000ull, 0, 6u << 10);
    xd_set(x, XD_DOORBELL, 0);
    vt_pump(x->bus, 20);
    g_assert_cmphex(xd_get(x, XD_OPER + 4) & 0x1001, ==, 0x1001);
    xd_start(x);
    g_assert_cmpuint(xd_command(x, 23, 0, 0, NULL), ==, 1);
    /* the event ring */
    vt_put(x->bus, XD_ERST, 0x7000000000ull, 8);
    xd_set(x, XD_RUNTIME + 0x34, 0);
    xd_set(x, XD_RUNTIME + 0x38, 0);
    xd_set(x, XD_RUNTIME + 0x3c, 0x70);
    xd_set(x, xd_portsc(5), 0x210);
    vt_pump(x->bus, 20);
    g_assert_cmphex(xd_get(x, XD_OPER + 4) & 0x1000, ==, 0x1000);
    xd_start(x);
    vt_put(x->bus, XD_ERST, XD_EVENTS, 8);
    xd_start(x);
    g_assert_cmpuint(xd_command(x, 23, 0, 0, NULL), ==, 1);
}

static void test_links_and_chains_without_end(struct xd *x, gconstpointer unused)
{
    unsigned slot = hid_up(x, 5);
    struct xd_ring *r = &x->ring[slot][3];
    struct xd_event e;

    vt_put(x->bus, r->base, r->base, 8); /* a link to itself */
    vt_put(x->bus, r->base + 12, 6u << 10 | 1, 4);
    xd_ring_bell(x, slot, 3);
    e = xd_wait_result(x);
    g_assert_cmpuint(xd_code(&e), ==, 5);
    xd_recover(x, slot, 3);
    for (unsigned i = 0; i < XD_RING_TRBS; i++)
        xd_put(x, r, XD_DATA, 64, 1u << 10 | 0x10);
    /* the link does not toggle the cycle: a chain that never ends, round and round */
    vt_put(x->bus, r->base + 16 * XD_RING_TRBS + 12, 6u << 10 | 0x11, 4);
    xd_ring_bell(x, slot, 3);
    e = xd_wait_result(x);
    g_assert_cmpuint(xd_code(&e), ==, 5);
    /* a setup stage where it has no place, a data stage without one */
    xd_put(x, &x->ring[slot][1], XD_DATA, 8, 3u << 10 | 0x10020);
    xd_ring_bell(x, slot, 1);
    e = xd_wait_result(x);
    g_assert_cmpuint(xd_code(&e), ==, 6);
}

static void test_commands_for_nobody(struct xd *x, gconstpointer unused)
{
    unsigned slot = 0;

    g_assert_cmpuint(xd_command(x, 11, XD_INPUT, 7u << 24, NULL), ==, 11);
    g_assert_cmpuint(xd_command(x, 15, 0, 65u << 24 | 1u << 16, NULL), ==, 11);
    g_assert_cmpuint(xd_command(x, 63, 0, 0, NULL), ==, 5);
    g_assert_cmpuint(xd_command(x, 9, 0, 0, &slot), ==, 1);
    g_assert_cmpuint(xd_command(x, 15, 0, slot << 24 | 5u << 16, NULL), ==, 12);
    g_assert_cmpuint(xd_command(x, 15, 0, slot << 24, NULL), ==, 5);
    xd_input(x, 0, 3);
    vt_put(x->bus, XD_INPUT + 36, 200u << 16, 4); /* no such port */
    xd_input_ep(x, slot, 1, 4, 64);
    g_assert_cmpuint(xd_command(x, 11, XD_INPUT, slot << 24, NULL), ==, 5);
    vt_put(x->bus, XD_INPUT + 36, 3u << 16, 4); /* nothing there */
    g_assert_cmpuint(xd_command(x, 11, XD_INPUT, slot << 24, NULL), ==, 4);
    for (unsigned i = 1; i < 64; i++)
        g_assert_cmpuint(xd_command(x, 9, 0, 0, NULL), ==, 1);
    g_assert_cmpuint(xd_command(x, 9, 0, 0, NULL), ==, 9);
}

static void test_hostile_state(struct xd *x, gconstpointer unused)
{
    g_autoptr(GBytes) state = NULL;
    gsize len;

    hid_up(x, 5);
    vt_board_pause(x->board);
    state = vt_board_save(x->board);
    const uint8_t *data = g_bytes_get_data(state, &len);
    for (gsize i = 0; i < len; i += i < 700 ? 7 : len / 80) {
        g_autofree uint8_t *copy = g_memdup2(data, len);
        copy[i] ^= 0xff;
        if (!vt_board_load_devices(x->board, copy, len, NULL))
            vt_board_reset(x->board);
        vt_board_resume(x->board);
        xd_set(x, XD_RUNTIME + 0x38, XD_EVENTS | 8);
        xd_ring_bell(x, 1, 3);
        vt_pump(x->bus, 1);
        vt_board_pause(x->board);
    }
    vt_board_resume(x->board);
    vt_board_reset(x->board);
    xd_map(x);
    xd_start(x);
    g_assert_cmpuint(xd_command(x, 23, 0, 0, NULL), ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, setup, fn) g_test_add("/usb-xhci/" name, struct xd, NULL, setup, fn, down)
    TEST("registers", up, test_what_a_driver_finds);
    TEST("port-events", up, test_port_events_come_when_it_starts);
    TEST("descriptors", started, test_descriptors);
    TEST("tablet", started, test_tablet_reports_positions);
    TEST("keyboard", started, test_keyboard_reports_keys);
    TEST("queue", started, test_a_queue_that_nobody_reads_is_bounded);
    TEST("stop", started, test_stop_and_move_the_dequeue_pointer);
    TEST("unplug", started, test_unplugging_fails_what_is_under_way);
    TEST("msix", started, test_msix);
    TEST("msi", started, test_msi);
    TEST("intx", started, test_intx);
    TEST("event-ring-full", started, test_no_event_is_lost_when_the_ring_is_full);
    TEST("hub", started, test_hub);
    TEST("state", started, test_state);
    TEST("no-memory", started, test_rings_that_are_not_in_memory);
    TEST("endless", started, test_links_and_chains_without_end);
    TEST("nobody", started, test_commands_for_nobody);
    TEST("hostile-state", started, test_hostile_state);
    return g_test_run();
}
