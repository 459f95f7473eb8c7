/* test_virtio_input.c - keyboard, mouse and tablet: what they say they are, events in order and
 * whole, floods, pauses, bad buffers, state. */
#include "vt.h"

#include "base/evloop.h"
#include "bus/pci.h"
#include "display/input.h"
#include "virtio/devices.h"

#include <linux/input.h>

enum { DEVFN = 5 << 3, QSIZE = 64, EVENT_BYTES = 8 };

struct fixture {
    struct vt_board *board;
    struct vt_bus *bus;
    struct vt_dev dev;
    struct vt_queue events, status;
    uint64_t mem;
};

static void board_up(struct fixture *f, enum virtio_input_kind kind)
{
    GError *err = NULL;
    struct virtio_input_config c = {.kind = kind, .serial = "HK7"};

    f->board = vt_board_new();
    f->bus = vt_board_bus(f->board);
    vt_board_place(f->board, &c.place, DEVFN, "in0");
    g_assert_nonnull(virtio_input_new(&c, &err));
    g_assert_no_error(err);
    f->mem = vt_alloc(f->bus, 4096, 4096);
}

static void give(struct fixture *f, unsigned buffers)
{
    for (unsigned i = 0; i < buffers; i++) {
        struct vt_buf b = {f->mem + (f->events.next_desc % QSIZE) * EVENT_BYTES, EVENT_BYTES, true};
        vt_add(&f->events, &b, 1, false);
    }
    vt_kick(&f->events);
    vt_pump(f->bus, 5);
}

static void start(struct fixture *f, unsigned buffers)
{
    vt_dev_open(&f->dev, f->bus, DEVFN, true);
    vt_negotiate(&f->dev, UINT64_MAX);
    vt_queue_open(&f->events, &f->dev, 0, QSIZE);
    vt_queue_open(&f->status, &f->dev, 1, QSIZE);
    vt_driver_ok(&f->dev);
    give(f, buffers);
}

static void set_up(struct fixture *f, enum virtio_input_kind kind, unsigned buffers)
{
    memset(f, 0, sizeof(*f));
    board_up(f, kind);
    start(f, buffers);
}

static void expect(struct fixture *f, uint16_t type, uint16_t code, uint32_t value)
{
    uint32_t head, len;

    g_assert_true(vt_wait(&f->events, &head, &len));
    g_assert_cmpuint(len, ==, EVENT_BYTES);
    uint64_t at = f->mem + head * EVENT_BYTES;
    g_assert_cmpuint(vt_get(f->bus, at, 2), ==, type);
    g_assert_cmpuint(vt_get(f->bus, at + 2, 2), ==, code);
    g_assert_cmpuint(vt_get(f->bus, at + 4, 4), ==, value);
}

static void expect_report(struct fixture *f)
{
    expect(f, EV_SYN, SYN_REPORT, 0);
}

static void expect_nothing(struct fixture *f)
{
    vt_pump(f->bus, 20);
    g_assert_cmpuint(vt_used_idx(&f->events), ==, f->events.last_used);
}

static void key(const char *name, bool down)
{
    input_key(input_key_by_name(name), down);
}

/* ---- what they are ---- */

static unsigned ask(struct fixture *f, uint8_t select, uint8_t subselect, uint8_t *out)
{
    vt_cfg_write(&f->dev, 0, 1, select);
    vt_cfg_write(&f->dev, 1, 1, subselect);
    unsigned len = (unsigned)vt_cfg(&f->dev, 2, 1);
    for (unsigned i = 0; i < 128; i++)
        out[i] = (uint8_t)vt_cfg(&f->dev, 8 + i, 1);
    return len;
}

static bool offers(struct fixture *f, uint8_t type, unsigned code)
{
    uint8_t map[128];
    unsigned len = ask(f, 0x11, type, map);

    return code / 8 < len && map[code / 8] >> code % 8 & 1;
}

static void test_keyboard_identity(void)
{
    struct fixture f;
    uint8_t out[128];
    size_t count;
    const struct input_key *keys = input_keys(&count);

    set_up(&f, VIRTIO_INPUT_KEYBOARD, 0);
    g_assert_cmphex(vt_config_read(f.bus, DEVFN, 0, 4), ==, 0x10521af4);
    g_assert_cmphex(vt_config_read(f.bus, DEVFN, PCI_CLASS, 2), ==, 0x0900);
    g_assert_cmpuint(ask(&f, 1, 0, out), ==, strlen("Hanok Virtio Keyboard"));
    g_assert_cmpmem(out, 21, "Hanok Virtio Keyboard", 21);
    g_assert_cmpuint(ask(&f, 2, 0, out), ==, 3);
    g_assert_cmpmem(out, 3, "HK7", 3);
    g_assert_cmpuint(ask(&f, 3, 0, out), ==, 8);
    g_assert_cmpuint(le16_get(out), ==, BUS_VIRTUAL);
    /* each key of the host's list has a number of its own */
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        key(keys[i].name, true);
        give(&f, 2);
        uint32_t head;
        g_assert_true(vt_wait(&f.events, &head, NULL));
        unsigned code = (unsigned)vt_get(f.bus, f.mem + head * EVENT_BYTES + 2, 2);
        g_assert_true(offers(&f, EV_KEY, code));
        g_assert_true(g_hash_table_add(seen, GUINT_TO_POINTER(code)) ||
                      code == KEY_SYSRQ /* alone, and with Alt */);
        expect_report(&f);
    }
    g_assert_true(offers(&f, EV_REP, REP_DELAY));
    g_assert_true(offers(&f, EV_LED, LED_CAPSL));
    g_assert_false(offers(&f, EV_REL, REL_X));
    vt_board_free(f.board);
}

static void test_pointer_identity(void)
{
    struct fixture f;
    uint8_t out[128];

    set_up(&f, VIRTIO_INPUT_TABLET, 0);
    g_assert_cmphex(vt_config_read(f.bus, DEVFN, PCI_CLASS, 2), ==, 0x0980);
    g_assert_true(offers(&f, EV_ABS, ABS_Y));
    g_assert_true(offers(&f, EV_KEY, BTN_EXTRA));
    g_assert_true(offers(&f, EV_REL, REL_WHEEL));
    g_assert_false(offers(&f, EV_REL, REL_X));
    g_assert_cmpuint(ask(&f, 0x12, ABS_X, out), ==, 20);
    g_assert_cmpuint(le32_get(out), ==, 0);
    g_assert_cmpuint(le32_get(out + 4), ==, INPUT_ABS_MAX);
    g_assert_cmpuint(ask(&f, 0x12, ABS_Z, out), ==, 0);
    g_assert_cmpuint(ask(&f, 0x77, 0, out), ==, 0);
    g_assert_cmpuint(le64_get(out), ==, 0);
    vt_board_free(f.board);
    set_up(&f, VIRTIO_INPUT_MOUSE, 0);
    g_assert_cmphex(vt_config_read(f.bus, DEVFN, PCI_CLASS, 2), ==, 0x0902);
    g_assert_true(offers(&f, EV_REL, REL_Y));
    g_assert_false(offers(&f, EV_ABS, ABS_X));
    vt_board_free(f.board);
}

/* ---- events ---- */

static void test_keys(void)
{
    struct fixture f;

    set_up(&f, VIRTIO_INPUT_KEYBOARD, QSIZE);
    key("a", true);
    expect(&f, EV_KEY, KEY_A, 1);
    expect_report(&f);
    g_assert_cmpuint(vt_board_msi_count(f.board, 1), >, 0);
    key("a", false);
    expect(&f, EV_KEY, KEY_A, 0);
    expect_report(&f);
    key("kp_enter", true);
    expect(&f, EV_KEY, KEY_KPENTER, 1);
    expect_report(&f);
    vt_board_free(f.board);
}

static void test_tablet(void)
{
    struct fixture f;

    set_up(&f, VIRTIO_INPUT_TABLET, QSIZE);
    g_assert_true(input_absolute());
    input_move_to(100, INPUT_ABS_MAX);
    expect(&f, EV_ABS, ABS_X, 100);
    expect(&f, EV_ABS, ABS_Y, INPUT_ABS_MAX);
    expect_report(&f);
    input_buttons(INPUT_LEFT | INPUT_RIGHT);
    expect(&f, EV_KEY, BTN_LEFT, 1);
    expect(&f, EV_KEY, BTN_RIGHT, 1);
    expect_report(&f);
    input_buttons(INPUT_RIGHT | INPUT_WHEEL_DOWN);
    expect(&f, EV_KEY, BTN_LEFT, 0);
    expect(&f, EV_REL, REL_WHEEL, UINT32_MAX);
    expect_report(&f);
    input_buttons(INPUT_RIGHT); /* the wheel has no release */
    expect_nothing(&f);
    vt_board_free(f.board);
    g_assert_false(input_absolute());
}

static void test_mouse(void)
{
    struct fixture f;

    set_up(&f, VIRTIO_INPUT_MOUSE, QSIZE);
    input_move(-3, 5);
    expect(&f, EV_REL, REL_X, (uint32_t)-3);
    expect(&f, EV_REL, REL_Y, 5);
    expect_report(&f);
    vt_board_free(f.board);
}

/* Without buffers moves join, and a flood of presses cannot keep a release out. */
static void test_flood(void)
{
    struct fixture f;

    set_up(&f, VIRTIO_INPUT_MOUSE, 0);
    for (unsigned i = 0; i < 1000; i++)
        input_move(1, -1);
    give(&f, 8);
    expect(&f, EV_REL, REL_X, 1000);
    expect(&f, EV_REL, REL_Y, (uint32_t)-1000);
    expect_report(&f);
    expect_nothing(&f);
    vt_board_free(f.board);

    set_up(&f, VIRTIO_INPUT_KEYBOARD, 0);
    for (unsigned i = 0; i < 1000; i++)
        key("a", true);
    key("a", false);
    unsigned presses = 0, value;
    do {
        uint32_t head;
        give(&f, 2);
        g_assert_true(vt_wait(&f.events, &head, NULL));
        value = (unsigned)vt_get(f.bus, f.mem + head * EVENT_BYTES + 4, 4);
        presses += value;
        expect_report(&f);
    } while (value);
    g_assert_cmpuint(presses, >, 10);
    g_assert_cmpuint(presses, <, 100);
    vt_board_free(f.board);
}

static void test_only_a_driver_is_told(void)
{
    struct fixture f;

    set_up(&f, VIRTIO_INPUT_TABLET, QSIZE);
    vt_reset(&f.dev);
    vt_pump(f.bus, 20);
    g_assert_false(input_absolute());
    input_move_to(1, 2);
    start(&f, QSIZE);
    g_assert_true(input_absolute());
    expect_nothing(&f);
    vt_board_free(f.board);
}

static void test_pause(void)
{
    struct fixture f;

    set_up(&f, VIRTIO_INPUT_KEYBOARD, QSIZE);
    vt_board_pause(f.board);
    key("b", true);
    key("b", false);
    expect_nothing(&f);
    vt_board_resume(f.board);
    expect(&f, EV_KEY, KEY_B, 1);
    expect_report(&f);
    expect(&f, EV_KEY, KEY_B, 0);
    expect_report(&f);
    vt_board_free(f.board);
}

static void test_leds_are_taken(void)
{
    struct fixture f;
    struct vt_buf b;

    set_up(&f, VIRTIO_INPUT_KEYBOARD, QSIZE);
    b = (struct vt_buf){f.mem, EVENT_BYTES, false};
    vt_add(&f.status, &b, 1, false);
    vt_kick(&f.status);
    g_assert_true(vt_wait(&f.status, NULL, NULL));
    b.write = true;
    vt_add(&f.status, &b, 1, false);
    vt_kick(&f.status);
    g_assert_true(vt_needs_reset(&f.dev));
    vt_board_free(f.board);
}

static void test_bad_buffers(void)
{
    static const struct vt_buf bad[] = {{0, EVENT_BYTES - 1, true}, {0, EVENT_BYTES, false}};
    struct fixture f;

    set_up(&f, VIRTIO_INPUT_KEYBOARD, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vt_buf b = bad[i];
        b.gpa = f.mem;
        vt_add(&f.events, &b, 1, false);
        vt_kick(&f.events);
        vt_pump(f.bus, 5);
        key("a", true);
        g_assert_true(vt_needs_reset(&f.dev));
        key("a", false); /* nobody is hurt */
        start(&f, 0);
    }
    give(&f, 2);
    key("a", true);
    expect(&f, EV_KEY, KEY_A, 1);
    vt_board_free(f.board);
}

static void test_save_load(void)
{
    struct fixture f;

    set_up(&f, VIRTIO_INPUT_TABLET, 0);
    input_buttons(INPUT_LEFT);
    input_move_to(7, 8);
    vt_board_pause(f.board);
    g_autoptr(GBytes) first = vt_board_save(f.board);
    vt_board_free(f.board);
    struct fixture old = f;
    board_up(&f, VIRTIO_INPUT_TABLET);
    vt_board_load_same(f.board, first);
    vt_board_resume(f.board);
    f.dev = old.dev;
    f.dev.bus = f.bus;
    f.events = old.events;
    f.events.dev = &f.dev;
    f.mem = old.mem;
    give(&f, QSIZE);
    g_assert_true(input_absolute());
    expect(&f, EV_KEY, BTN_LEFT, 1);
    expect_report(&f);
    expect(&f, EV_ABS, ABS_X, 7);
    expect(&f, EV_ABS, ABS_Y, 8);
    expect_report(&f);
    vt_board_free(f.board);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-input/keyboard-identity", test_keyboard_identity);
    g_test_add_func("/virtio-input/pointer-identity", test_pointer_identity);
    g_test_add_func("/virtio-input/keys", test_keys);
    g_test_add_func("/virtio-input/tablet", test_tablet);
    g_test_add_func("/virtio-input/mouse", test_mouse);
    g_test_add_func("/virtio-input/flood", test_flood);
    g_test_add_func("/virtio-input/only-a-driver-is-told", test_only_a_driver_is_told);
    g_test_add_func("/virtio-input/pause", test_pause);
    g_test_add_func("/virtio-input/leds-are-taken", test_leds_are_taken);
    g_test_add_func("/virtio-input/bad-buffers", test_bad_buffers);
    g_test_add_func("/virtio-input/save-load", test_save_load);
    return g_test_run();
}
