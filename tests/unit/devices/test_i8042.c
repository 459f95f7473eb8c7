/* Keyboard controller: what firmware and Linux's driver ask, in their order; then nonsense. */
#include "devices/i8042.h"
#include "fixture.h"

static struct i8042 *kbc;

static struct fixture *i8042_fixture(void)
{
    struct fixture *f = fixture_new();
    kbc = i8042_new(&f->devices, f->pio, &f->chip, &f->req);
    return f;
}

static int get(struct fixture *f)
{
    uint8_t status = inb(f, 0x64);
    if (!(status & 1))
        return -1;
    return inb(f, 0x60) | (status & 0x20) << 3; /* 0x100: from the mouse */
}

static void command(struct fixture *f, uint8_t c)
{
    outb(f, 0x64, c);
}

static void command_with(struct fixture *f, uint8_t c, uint8_t data)
{
    outb(f, 0x64, c);
    outb(f, 0x60, data);
}

static void test_controller_commands(void)
{
    struct fixture *f = i8042_fixture();
    g_assert_cmpint(get(f), ==, -1);
    command(f, 0xaa);
    g_assert_cmphex(get(f), ==, 0x55);
    command(f, 0xab);
    g_assert_cmphex(get(f), ==, 0x00);
    command_with(f, 0x60, 0x74);
    command(f, 0x20);
    g_assert_cmphex(get(f), ==, 0x74);
    command_with(f, 0x65, 0x99);
    command(f, 0x25);
    g_assert_cmphex(get(f), ==, 0x99);
    command(f, 0xd0);
    g_assert_cmphex(get(f), ==, 0x03);
    g_assert_true(f->a20);
    command(f, 0xdd);
    g_assert_false(f->a20);
    command_with(f, 0xd1, 0x03);
    g_assert_true(f->a20);
    g_assert_cmpint(f->resets, ==, 0);
    command(f, 0xff); /* pulses nothing */
    g_assert_cmpint(f->resets, ==, 0);
    command(f, 0xfe);
    g_assert_cmpint(f->resets, ==, 1);
    g_assert_cmpint(f->reset_cause, ==, BOARD_RESET_KBC);
    command_with(f, 0xd1, 0x02); /* line 0 low by the output port */
    g_assert_cmpint(f->resets, ==, 2);
    g_assert_cmphex(inb(f, 0x64) & 0x08, ==, 0x00);
    command(f, 0xae);
    g_assert_cmphex(inb(f, 0x64) & 0x08, ==, 0x08);
    fixture_free(f);
}

/* The steps of Linux's i8042_check_aux(): loop, test, disable, enable, interrupt. */
static void test_linux_aux_probe(void)
{
    struct fixture *f = i8042_fixture();
    int was;
    command_with(f, 0xd3, 0x5a);
    g_assert_cmphex(get(f), ==, 0x15a);
    command(f, 0xa9);
    g_assert_cmphex(get(f), ==, 0x00);
    command(f, 0xa7);
    command(f, 0x20);
    g_assert_cmphex(get(f) & 0x20, ==, 0x20);
    command(f, 0xa8);
    command(f, 0x20);
    g_assert_cmphex(get(f) & 0x20, ==, 0x00);
    command_with(f, 0x60, 0x42 | 0x05);
    was = f->edges[12];
    command_with(f, 0xd3, 0xa5);
    g_assert_cmpint(f->edges[12], ==, was + 1);
    g_assert_cmphex(get(f), ==, 0x1a5);
    g_assert_false(f->level[12]);
    command_with(f, 0xd4, 0xf2); /* mouse: identify */
    g_assert_cmphex(get(f), ==, 0x1fa);
    g_assert_cmphex(get(f), ==, 0x100);
    command_with(f, 0xd4, 0xff);
    g_assert_cmphex(get(f), ==, 0x1fa);
    g_assert_cmphex(get(f), ==, 0x1aa);
    g_assert_cmphex(get(f), ==, 0x100);
    command_with(f, 0xd4, 0xf3);
    command_with(f, 0xd4, 200);
    command_with(f, 0xd4, 0xe9);
    g_assert_cmphex(get(f), ==, 0x1fa);
    g_assert_cmphex(get(f), ==, 0x1fa);
    g_assert_cmphex(get(f), ==, 0x1fa);
    g_assert_cmphex(get(f), ==, 0x100);
    g_assert_cmphex(get(f), ==, 0x102);
    g_assert_cmphex(get(f), ==, 0x100 | 200);
    command_with(f, 0xd4, 0x12); /* no such command */
    g_assert_cmphex(get(f), ==, 0x1fe);
    g_assert_cmpint(get(f), ==, -1);
    fixture_free(f);
}

static void test_keyboard_commands_and_keys(void)
{
    struct fixture *f = i8042_fixture();
    int was;
    command_with(f, 0x60, 0x05); /* no translation */
    outb(f, 0x60, 0xf2);
    g_assert_true(f->level[1]);
    g_assert_cmphex(get(f), ==, 0xfa);
    g_assert_true(f->level[1]); /* the next byte moved in: a new edge */
    g_assert_cmphex(get(f), ==, 0xab);
    g_assert_cmphex(get(f), ==, 0x83);
    g_assert_false(f->level[1]);
    outb(f, 0x60, 0xff);
    g_assert_cmphex(get(f), ==, 0xfa);
    g_assert_cmphex(get(f), ==, 0xaa);
    outb(f, 0x60, 0xed);
    outb(f, 0x60, 0x07);
    g_assert_cmphex(get(f), ==, 0xfa);
    g_assert_cmphex(get(f), ==, 0xfa);
    outb(f, 0x60, 0xee);
    g_assert_cmphex(get(f), ==, 0xee);
    outb(f, 0x60, 0xf0);
    outb(f, 0x60, 0x00);
    g_assert_cmphex(get(f), ==, 0xfa);
    g_assert_cmphex(get(f), ==, 0xfa);
    g_assert_cmphex(get(f), ==, 0x02);
    was = f->edges[1];
    i8042_key(kbc, 0x1c, false, true); /* 'a' */
    i8042_key(kbc, 0x1c, false, false);
    i8042_key(kbc, 0x75, true, true); /* up */
    g_assert_cmpint(f->edges[1], ==, was + 1);
    g_assert_cmphex(get(f), ==, 0x1c);
    g_assert_cmphex(get(f), ==, 0xf0);
    g_assert_cmphex(get(f), ==, 0x1c);
    g_assert_cmphex(get(f), ==, 0xe0);
    g_assert_cmphex(get(f), ==, 0x75);
    command_with(f, 0x60, 0x45); /* translated */
    i8042_key(kbc, 0x1c, false, true);
    i8042_key(kbc, 0x1c, false, false);
    g_assert_cmphex(get(f), ==, 0x1e);
    g_assert_cmphex(get(f), ==, 0x9e);
    command(f, 0xad); /* interface off: keys wait */
    i8042_key(kbc, 0x1c, false, true);
    g_assert_cmpint(get(f), ==, -1);
    command(f, 0xae);
    g_assert_cmphex(get(f), ==, 0x1e);
    outb(f, 0x60, 0xf5); /* scanning off: keys are lost */
    g_assert_cmphex(get(f), ==, 0xfa);
    i8042_key(kbc, 0x1c, false, true);
    g_assert_cmpint(get(f), ==, -1);
    outb(f, 0x60, 0xf4);
    g_assert_cmphex(get(f), ==, 0xfa);
    for (int i = 0; i < 1000; i++) /* nobody reads: bounded, whole keys */
        i8042_key(kbc, 0x75, true, true);
    for (int i = 0; get(f) == 0xe0; i++) {
        g_assert_cmphex(get(f), ==, 0x48);
        g_assert_cmpint(i, <, 100);
    }
    fixture_free(f);
}

static void poke(struct fixture *f)
{
    for (int i = 0; i < 80; i++)
        get(f);
    outb(f, 0x60, 0xf2);
    get(f);
}

static void test_state(void)
{
    struct fixture *a = i8042_fixture(), *b;
    struct i8042 *first = kbc;
    b = i8042_fixture();
    command_with(a, 0x60, 0x47);
    i8042_key(first, 0x1c, false, true);
    i8042_key(first, 0x32, false, true);
    command(a, 0xd4); /* waits for its byte */
    check_state_moves(a, b);
    outb(b, 0x60, 0xf2);
    g_assert_cmphex(get(b), ==, 0x1e);
    g_assert_cmphex(get(b), ==, 0x30);
    g_assert_cmphex(get(b), ==, 0x1fa);
    check_state_hostile(a, poke);
    fixture_free(a);
    fixture_free(b);
}

static void test_random(void)
{
    struct fixture *f = i8042_fixture();
    for (int i = 0; i < 300000; i++) {
        uint32_t v = g_test_rand_int();
        uint16_t port = v & 1 ? 0x60 : 0x64;
        if (v & 6)
            outb(f, port, v >> 16);
        else
            inb(f, port);
    }
    reset_all(f);
    g_assert_cmpint(get(f), ==, -1);
    command(f, 0xaa);
    g_assert_cmphex(get(f), ==, 0x55);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8042/commands", test_controller_commands);
    g_test_add_func("/i8042/linux-aux-probe", test_linux_aux_probe);
    g_test_add_func("/i8042/keyboard", test_keyboard_commands_and_keys);
    g_test_add_func("/i8042/state", test_state);
    g_test_add_func("/i8042/random", test_random);
    return g_test_run();
}
