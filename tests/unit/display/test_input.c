/* The keyboard's table and who hears of keys and pointers. */
#include "base/util.h"
#include "display/input.h"

#include <glib.h>

struct ear {
    struct input_handler handler; /* first */
    const struct input_key *key;
    int dx, dy;
    unsigned x, y, buttons, calls;
};

static void on_key(void *opaque, const struct input_key *key, bool down)
{
    ((struct ear *)opaque)->key = key;
    ((struct ear *)opaque)->calls++;
}
static void on_move(void *opaque, int dx, int dy)
{
    ((struct ear *)opaque)->dx += dx;
    ((struct ear *)opaque)->dy += dy;
}
static void on_move_to(void *opaque, unsigned x, unsigned y)
{
    ((struct ear *)opaque)->x = x;
    ((struct ear *)opaque)->y = y;
}
static void on_buttons(void *opaque, unsigned buttons)
{
    ((struct ear *)opaque)->buttons = buttons;
}

static void test_every_key_is_found_by_each_of_its_names(void)
{
    size_t n;
    const struct input_key *keys = input_keys(&n);
    bool shift;
    g_assert_cmpuint(n, >=, 100);
    for (size_t i = 0; i < n; i++) {
        g_assert_true(input_key_by_name(keys[i].name) == &keys[i]);
        g_assert_true(input_key_by_code(keys[i].code) == &keys[i]);
        g_assert_true(keys[i].keysym == 0 || input_key_by_sym(keys[i].keysym, &shift) == &keys[i]);
        g_assert_cmphex(keys[i].set2, !=, 0);
    }
    g_assert_cmpstr(input_key_by_sym('A', &shift)->name, ==, "a");
    g_assert_true(shift);
    g_assert_cmpstr(input_key_by_sym('7', &shift)->name, ==, "7");
    g_assert_false(shift);
    g_assert_null(input_key_by_sym(0, &shift));
    g_assert_null(input_key_by_name("any"));
    g_assert_null(input_key_by_code(0x7f));
}

static void test_the_last_device_added_hears(void)
{
    struct ear ps2 = {.handler = {.key = on_key, .move = on_move, .buttons = on_buttons}};
    struct ear tablet = {.handler = {.move_to = on_move_to, .buttons = on_buttons}};
    input_key(input_key_by_name("a"), true); /* nobody there */
    ps2.handler.opaque = &ps2;
    tablet.handler.opaque = &tablet;
    input_add(&ps2.handler);
    g_assert_false(input_absolute());
    input_move(3, -4);
    input_buttons(INPUT_LEFT);
    g_assert_cmpuint(ps2.buttons, ==, INPUT_LEFT);
    input_add(&tablet.handler);
    g_assert_true(input_absolute());
    input_move_to(100, INPUT_ABS_MAX + 5);
    g_assert_cmpuint(tablet.x, ==, 100);
    g_assert_cmpuint(tablet.y, ==, INPUT_ABS_MAX);
    input_buttons(INPUT_RIGHT);
    g_assert_cmpuint(tablet.buttons, ==, INPUT_RIGHT);
    g_assert_cmpuint(ps2.buttons, ==, INPUT_LEFT);
    input_key(input_key_by_name("f12"), true);
    g_assert_cmpstr(ps2.key->name, ==, "f12");
    input_remove(&tablet.handler);
    g_assert_false(input_absolute());
    g_assert_cmpint(ps2.dx, ==, 3);
    g_assert_cmpint(ps2.dy, ==, -4);
    input_remove(&ps2.handler);
    input_buttons(0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/input/keys", test_every_key_is_found_by_each_of_its_names);
    g_test_add_func("/input/handlers", test_the_last_device_added_hears);
    return g_test_run();
}
