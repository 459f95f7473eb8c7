/* EHCI and UHCI by their registers and schedules: queues, errors, who owns a port, what idleness
 * costs. */
#include "uhci_driver.h"

#include "display/input.h"

static void up(struct ud *x, gconstpointer unused)
{
    ud_open(x);
    usb_hid_new(ud_port(x, "1"), USB_HID_TABLET, "tablet", NULL);
    ud_map(x);
}

static void down(struct ud *x, gconstpointer unused)
{
    ud_close(x);
}

/* ---- who owns a port ---- */

static void test_ports_belong_to_the_companion_first(struct ud *x, gconstpointer unused)
{
    g_assert_cmphex(ud_ehci(x, 0x04 - 0x20), ==, 0x1206);
    g_assert_cmphex(ud_ehci(x, UD_PORT), ==, 0x3000);
    g_assert_cmphex(ud_uhci(x, 0x10, 2), ==, 0x83); /* a full-speed device has come */
    ud_ehci_set(x, 0x40, 1);                        /* software that knows EHCI */
    g_assert_cmphex(ud_ehci(x, UD_PORT), ==, 0x1003);
    g_assert_cmphex(ud_uhci(x, 0x10, 2), ==, 0x82);
    g_assert_cmphex(ud_ehci(x, 0x04) & 4, ==, 4);
    ud_ehci_set(x, UD_PORT, 0x3000); /* gives it back */
    g_assert_cmphex(ud_uhci(x, 0x10, 2) & 1, ==, 1);
    g_assert_cmphex(ud_ehci(x, UD_PORT) & 0x2001, ==, 0x2000);
    /* gone and come again: EHCI looks first */
    struct usb_device *d = x->bus_of->ports->dev;
    d->dev.ops->destroy(&d->dev);
    g_assert_cmphex(ud_uhci(x, 0x10, 2) & 3, ==, 2);
    usb_hid_new(ud_port(x, "1"), USB_HID_MOUSE, NULL, NULL);
    g_assert_cmphex(ud_ehci(x, UD_PORT) & 0x2001, ==, 1);
}

static void test_companions_are_checked(struct ud *x, gconstpointer unused)
{
    static const struct usb_hcd_model model = {"uhci", 0x8086, 0x2935, 3, 2};
    struct uhci_config cfg = {.at = {.bus = vt_board_pci(x->board)->root, .devfn = UD_SPARE},
                              .model = &model,
                              .master = x->bus_of};
    GError *err = NULL;

    g_assert_null(uhci_new(&cfg, &x->buses, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    cfg.first = 5;
    g_assert_null(uhci_new(&cfg, &x->buses, &err));
    g_clear_error(&err);
}

/* ---- UHCI ---- */

static void uhci_started(struct ud *x, gconstpointer unused)
{
    up(x, NULL);
    ud_uhci_start(x);
}

static void test_uhci_control_transfer(struct ud *x, gconstpointer unused)
{
    uint8_t d[18];

    g_assert_cmphex(ud_uhci_control(x, 0, 0x80, 6, 0x0100, 0, 18), ==, 0);
    x->bus->mem_read(x->bus, UD_DATA, d, 18);
    g_assert_cmpmem(d, 2, "\x12\x01", 2);
    g_assert_cmphex(le16_get(d + 8), ==, 0x0627);
    /* an address takes effect after its own transfer */
    g_assert_cmphex(ud_uhci_control(x, 0, 0, 5, 9, 0, 0), ==, 0);
    g_assert_cmphex(ud_uhci_control(x, 9, 0x80, 6, 0x0100, 0, 18), ==, 0);
    g_assert_cmphex(ud_uhci_control(x, 0, 0x80, 6, 0x0100, 0, 18), ==, 0x44); /* nobody */
    g_assert_cmphex(ud_uhci(x, 2, 2) & 2, ==, 2);
    g_assert_cmphex(ud_uhci_control(x, 9, 0x80, 6, 0x0909, 0, 18), ==, 0x40); /* a stall */
}

static void test_uhci_interrupts(struct ud *x, gconstpointer unused)
{
    ud_uhci_set(x, 4, 2, 4);
    ud_uhci_control(x, 0, 0x80, 6, 0x0100, 0, 18);
    g_assert_cmphex(ud_uhci(x, 2, 2) & 1, ==, 1);
    g_assert_true(vt_board_intx(x->board));
    ud_uhci_set(x, 2, 2, 1);
    g_assert_false(vt_board_intx(x->board));
}

static void test_uhci_waits_with_nak(struct ud *x, gconstpointer unused)
{
    uint8_t report[6];

    ud_uhci_control(x, 0, 0, 9, 1, 0, 0);
    vt_pump(x->bus, 3);
    ud_td(x, 0, UD_TD + 0x200, 1, 0x69, 0, 1, 6, UD_DATA);
    ud_uhci_queue(x, UD_TD + 0x200);
    vt_pump(x->bus, 100);
    g_assert_cmphex(vt_get(x->bus, UD_TD + 0x204, 4) & 0x00880000, ==, 0x00880000);
    input_move_to(3, 4);
    ud_until(x, UD_TD + 0x204, 0x00800000, 0);
    x->bus->mem_read(x->bus, UD_DATA, report, 6);
    g_assert_cmpmem(report, 6, "\0\3\0\4\0\0", 6);
}

static void test_uhci_survives_schedules_that_make_no_sense(struct ud *x, gconstpointer unused)
{
    /* two queues that point at each other, nothing in them */
    vt_put(x->bus, UD_QH, UD_QH + 0x42, 4);
    vt_put(x->bus, UD_QH + 4, 1, 4);
    vt_put(x->bus, UD_QH + 0x40, UD_QH | 2, 4);
    vt_put(x->bus, UD_QH + 0x44, 1, 4);
    vt_pump(x->bus, 50);
    g_assert_cmphex(ud_uhci(x, 2, 2) & 0x20, ==, 0);
    /* a descriptor that is its own successor */
    ud_td(x, UD_TD + 0x204, UD_TD + 0x200, 1, 0x69, 0, 5, 6, UD_DATA);
    ud_uhci_queue(x, UD_TD + 0x200);
    vt_pump(x->bus, 50);
    /* a packet identifier that is none: the controller halts, and comes back */
    ud_td(x, 0, UD_TD + 0x200, 1, 0x11, 0, 0, 6, UD_DATA);
    ud_uhci_queue(x, UD_TD + 0x200);
    vt_pump(x->bus, 50);
    g_assert_cmphex(ud_uhci(x, 2, 2) & 0x30, ==, 0x30);
    ud_uhci_start(x);
    g_assert_cmphex(ud_uhci_control(x, 0, 0x80, 6, 0x0100, 0, 18), ==, 0);
    /* a frame list outside of memory */
    ud_uhci_set(x, 8, 2, 0);
    ud_uhci_set(x, 10, 2, 0x7000);
    vt_pump(x->bus, 50);
    g_assert_cmphex(ud_uhci(x, 2, 2) & 0x30, ==, 0x30);
}

/* ---- EHCI ---- */

static void ehci_started(struct ud *x, gconstpointer unused)
{
    up(x, NULL);
    ud_ehci_start(x);
}

static void test_ehci_control_transfer(struct ud *x, gconstpointer unused)
{
    uint8_t d[18];

    g_assert_cmphex(ud_ehci_control(x, 0, 0x80, 6, 0x0100, 0, 18), ==, 0);
    x->bus->mem_read(x->bus, UD_DATA, d, 18);
    g_assert_cmpmem(d, 2, "\x12\x01", 2);
    g_assert_cmphex(ud_ehci_control(x, 0, 0, 5, 9, 0, 0), ==, 0);
    g_assert_cmphex(ud_ehci_control(x, 9, 0x80, 6, 0x0600, 0, 10), ==, 0); /* qualifier */
    g_assert_cmphex(ud_ehci_control(x, 0, 0x80, 6, 0x0100, 0, 18), ==, 0x48);
    g_assert_cmphex(ud_ehci(x, 0x04) & 2, ==, 2);
    g_assert_cmphex(ud_ehci_control(x, 9, 0x80, 6, 0x0909, 0, 18), ==, 0x40);
}

static void test_ehci_periodic_queue(struct ud *x, gconstpointer unused)
{
    uint8_t report[6];

    ud_ehci_control(x, 0, 0, 9, 1, 0, 0);
    vt_pump(x->bus, 3);
    ud_qtd(x, UD_TD, 1, 1, 1, 8, UD_DATA);
    ud_ehci_queue(x, UD_QH + 0x100, UD_QH + 0x102, 0, 1, 0xff, UD_TD);
    for (unsigned i = 0; i < 1024; i++)
        vt_put(x->bus, UD_FRAMES + 4 * i, (UD_QH + 0x100) | 2, 4);
    vt_put(x->bus, UD_QH + 0x100, 1, 4);
    ud_ehci_set(x, 0x14, UD_FRAMES);
    ud_ehci_set(x, 0, 0x80031);
    vt_pump(x->bus, 100);
    g_assert_cmphex(vt_get(x->bus, UD_QH + 0x118, 1), ==, 0x80);
    input_move_to(3, 4);
    ud_until(x, UD_TD + 8, 0x80, 0);
    g_assert_cmpuint(vt_get(x->bus, UD_TD + 10, 2) & 0x7fff, ==, 2); /* a short packet */
    g_assert_cmphex(ud_ehci(x, 0x04) & 1, ==, 1);
    x->bus->mem_read(x->bus, UD_DATA, report, 6);
    g_assert_cmpmem(report, 6, "\0\3\0\4\0\0", 6);
}

static void test_ehci_doorbell_and_intx(struct ud *x, gconstpointer unused)
{
    ud_ehci_set(x, 0x04, 0x3f);
    ud_ehci_set(x, 0x08, 0x20);
    ud_ehci_set(x, 0, 0x80061);
    for (unsigned i = 0; i < 1000 && !vt_board_intx(x->board); i++)
        vt_pump(x->bus, 1);
    g_assert_true(vt_board_intx(x->board));
    g_assert_cmphex(ud_ehci(x, 0) & 0x40, ==, 0);
    ud_ehci_set(x, 0x04, 0x20);
    g_assert_false(vt_board_intx(x->board));
}

static void test_ehci_survives_schedules_that_make_no_sense(struct ud *x, gconstpointer unused)
{
    ud_qtd(x, UD_TD, UD_TD, 1, 1, 8, UD_DATA); /* its own successor */
    ud_ehci_queue(x, UD_QH, UD_QH | 2, 0, 5, 0, UD_TD);
    vt_pump(x->bus, 50);
    g_assert_cmphex(ud_ehci(x, 0x04) & 0x1000, ==, 0);
    /* data outside of memory halts the queue only */
    ud_qtd(x, UD_TD, 1, 2, 1, 8, 0x70000000);
    ud_ehci_queue(x, UD_QH, UD_QH | 2, 0, 0, 0, UD_TD);
    ud_until(x, UD_TD + 8, 0x80, 0);
    g_assert_cmphex(vt_get(x->bus, UD_TD + 8, 1), ==, 0x60);
    /* the list: the controller halts, and comes back */
    ud_ehci_set(x, 0x18, 0x70000000);
    for (unsigned i = 0; i < 1000 && !(ud_ehci(x, 0x04) & 0x10); i++)
        vt_pump(x->bus, 1);
    g_assert_cmphex(ud_ehci(x, 0x04) & 0x1010, ==, 0x1010);
    ud_ehci_start(x);
    g_assert_cmphex(ud_ehci_control(x, 0, 0x80, 6, 0x0100, 0, 18), ==, 0);
}

/* ---- idleness, state ---- */

static void test_a_stopped_controller_has_no_timer(struct ud *x, gconstpointer unused)
{
    ud_ehci_start(x);
    ud_ehci_set(x, 0, 0x80001); /* runs, no schedule */
    ud_uhci_set(x, 0, 2, 0);
    for (unsigned i = 0; i < 20; i++)
        vt_pump(x->bus, 1);
    unsigned looks = 0;
    for (unsigned i = 0; i < 100; i++) {
        looks += g_main_context_iteration(NULL, FALSE);
        g_usleep(200);
    }
    g_assert_cmpuint(looks, ==, 0);
    uint32_t was = ud_ehci(x, 0x0c);
    g_usleep(2000);
    g_assert_cmphex(ud_ehci(x, 0x0c), !=, was); /* and its frames are counted all the same */
}

static void test_state(struct ud *x, gconstpointer unused)
{
    g_autoptr(GBytes) state = NULL, again = NULL;
    struct ud other;
    GError *err = NULL;

    ud_ehci_start(x);
    ud_ehci_control(x, 0, 0, 5, 9, 0, 0);
    vt_board_pause(x->board);
    state = vt_board_save(x->board);
    up(&other, NULL);
    vt_board_pause(other.board);
    g_assert_true(vt_board_load(other.board, state, &err));
    g_assert_no_error(err);
    again = vt_board_save(other.board);
    g_assert_true(g_bytes_equal(state, again));
    vt_board_resume(other.board);
    g_assert_cmphex(ud_ehci_control(&other, 9, 0x80, 6, 0x0100, 0, 18), ==, 0);
    ud_close(&other);
    vt_board_resume(x->board);
}

static void test_hostile_state(struct ud *x, gconstpointer unused)
{
    g_autoptr(GBytes) state = NULL;
    gsize len;

    ud_ehci_start(x);
    vt_board_pause(x->board);
    state = vt_board_save(x->board);
    const uint8_t *data = g_bytes_get_data(state, &len);
    for (gsize i = 0; i < len; i += 1 + len / 300) {
        g_autofree uint8_t *copy = g_memdup2(data, len);
        copy[i] ^= 0xff;
        if (!vt_board_load_devices(x->board, copy, len, NULL))
            vt_board_reset(x->board);
        vt_board_resume(x->board);
        vt_pump(x->bus, 1);
        vt_board_pause(x->board);
    }
    vt_board_resume(x->board);
    vt_board_reset(x->board);
    ud_map(x);
    ud_ehci_start(x);
    g_assert_cmphex(ud_ehci_control(x, 0, 0x80, 6, 0x0100, 0, 18), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, setup, fn) g_test_add("/usb/" name, struct ud, NULL, setup, fn, down)
    TEST("owner", up, test_ports_belong_to_the_companion_first);
    TEST("companions", up, test_companions_are_checked);
    TEST("uhci/control", uhci_started, test_uhci_control_transfer);
    TEST("uhci/interrupt", uhci_started, test_uhci_interrupts);
    TEST("uhci/nak", uhci_started, test_uhci_waits_with_nak);
    TEST("uhci/nonsense", uhci_started, test_uhci_survives_schedules_that_make_no_sense);
    TEST("ehci/control", ehci_started, test_ehci_control_transfer);
    TEST("ehci/periodic", ehci_started, test_ehci_periodic_queue);
    TEST("ehci/doorbell", ehci_started, test_ehci_doorbell_and_intx);
    TEST("ehci/nonsense", ehci_started, test_ehci_survives_schedules_that_make_no_sense);
    TEST("idle", up, test_a_stopped_controller_has_no_timer);
    TEST("state", up, test_state);
    TEST("hostile-state", up, test_hostile_state);
    return g_test_run();
}
