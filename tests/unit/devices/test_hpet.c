/* HPET: counter, one-shot, periodic, level, legacy replacement, widths. */
#include "devices/hpet.h"
#include "fixture.h"

static uint64_t rd(struct fixture *f, unsigned off, unsigned size)
{
    return io_space_read(f->mmio, HPET_BASE + off, size);
}

static void wr(struct fixture *f, unsigned off, unsigned size, uint64_t v)
{
    io_space_write(f->mmio, HPET_BASE + off, size, v);
}

static bool irq0_on = true, irq8_on = true;
static void set_irq0(void *opaque, bool on)
{
    irq0_on = on;
}
static void set_irq8(void *opaque, bool on)
{
    irq8_on = on;
}

static struct fixture *hpet_fixture(void)
{
    struct fixture *f = fixture_new();
    struct hpet_legacy legacy = {NULL, set_irq0, set_irq8};
    hpet_new(&f->devices, f->mmio, &f->chip, f->clock, &legacy);
    return f;
}

static void test_counter(void)
{
    struct fixture *f = hpet_fixture();
    g_assert_cmphex(rd(f, 0, 8), ==, 10000000ull << 32 | 0x8086a201);
    g_assert_cmphex(rd(f, 4, 4), ==, 10000000);
    clock_to(f, 1000);
    g_assert_cmpuint(rd(f, 0xf0, 8), ==, 0); /* halted */
    wr(f, 0xf0, 8, 0x1fffffff0ull);
    wr(f, 0x10, 4, 1);
    clock_to(f, 1000 + 320);
    g_assert_cmphex(rd(f, 0xf0, 8), ==, 0x200000010ull);
    g_assert_cmphex(rd(f, 0xf0, 4), ==, 0x10);
    g_assert_cmphex(rd(f, 0xf4, 4), ==, 2);
    wr(f, 0xf0, 8, 0); /* running: ignored */
    g_assert_cmphex(rd(f, 0xf4, 4), ==, 2);
    wr(f, 0x10, 4, 0);
    clock_to(f, 5000);
    g_assert_cmphex(rd(f, 0xf0, 8), ==, 0x200000010ull);
    wr(f, 0xf4, 4, 7); /* halves are written apart */
    g_assert_cmphex(rd(f, 0xf0, 8), ==, 0x700000010ull);
    g_assert_cmphex(rd(f, 0x3f8, 8), ==, 0);
    fixture_free(f);
}

static void test_capabilities_are_fixed(void)
{
    struct fixture *f = hpet_fixture();
    wr(f, 0x100, 8, UINT64_MAX);
    g_assert_cmphex(rd(f, 0x100, 8), ==, 0x00ff0104ull << 32 | 0x30 | 0x3f4e);
    wr(f, 0x10, 8, UINT64_MAX);
    g_assert_cmphex(rd(f, 0x10, 8), ==, 3);
    fixture_free(f);
}

static void test_oneshot_edge_and_level(void)
{
    struct fixture *f = hpet_fixture();
    vm_clock_start(f->clock);
    wr(f, 0x10, 4, 1);
    wr(f, 0x120, 4, 20 << 9 | 4); /* timer 1 to GSI 20, edge */
    wr(f, 0x128, 4, (uint32_t)rd(f, 0xf0, 4) + 100000);
    wr(f, 0x12c, 4, 0);
    wait_change(&f->edges[20], 0);
    g_assert_false(f->level[20]);
    g_assert_cmphex(rd(f, 0x20, 8), ==, 0);
    wr(f, 0x140, 4, 21 << 9 | 4 | 2); /* timer 2 to GSI 21, level */
    wr(f, 0x148, 8, rd(f, 0xf0, 8) + 1000);
    wait_change(&f->edges[21], 0);
    g_assert_true(f->level[21]);
    g_assert_cmphex(rd(f, 0x20, 8), ==, 4);
    wr(f, 0x20, 4, 3);
    g_assert_true(f->level[21]);
    wr(f, 0x20, 4, 4);
    g_assert_false(f->level[21]);
    g_assert_cmpint(f->edges[20], ==, 1);
    fixture_free(f);
}

static void test_periodic_as_linux_sets_it(void)
{
    struct fixture *f = hpet_fixture();
    vm_clock_start(f->clock);
    wr(f, 0x10, 4, 3); /* legacy replacement */
    g_assert_false(irq0_on);
    g_assert_false(irq8_on);
    wr(f, 0x100, 4, 4 | 8 | 0x40 | 0x100);
    wr(f, 0x108, 4, (uint32_t)rd(f, 0xf0, 4) + 100000);
    wr(f, 0x108, 4, 100000); /* 1 ms */
    for (int i = 0; i < 5; i++)
        wait_change(&f->edges[0], f->edges[0]);
    wr(f, 0x108, 4, 1); /* hostile period: bounded */
    for (int i = 0; i < 20; i++)
        wait_change(&f->edges[0], f->edges[0]);
    wr(f, 0x10, 4, 0);
    g_assert_true(irq0_on);
    g_assert_true(irq8_on);
    fixture_free(f);
}

static void test_forbidden_route_is_silent(void)
{
    struct fixture *f = hpet_fixture();
    vm_clock_start(f->clock);
    wr(f, 0x10, 4, 1);
    wr(f, 0x100, 4, 5 << 9 | 4); /* GSI 5 is not among the capabilities */
    wr(f, 0x108, 8, rd(f, 0xf0, 8) + 1000);
    for (int i = 0; i < 20; i++) {
        g_main_context_iteration(NULL, false);
        g_usleep(200);
    }
    for (int i = 0; i < IRQ_GSI_COUNT; i++)
        g_assert_cmpint(f->edges[i], ==, 0);
    fixture_free(f);
}

static void poke(struct fixture *f)
{
    for (unsigned off = 0; off < 0x400; off += 8)
        rd(f, off, 8);
    wr(f, 0x20, 8, 7);
}

static void test_state(void)
{
    struct fixture *a = hpet_fixture(), *b = hpet_fixture();
    clock_to(a, 12345670);
    clock_to(b, 12345670);
    wr(a, 0x10, 4, 3);
    wr(a, 0x100, 4, 4 | 8 | 0x40);
    wr(a, 0x108, 8, 1ull << 40);
    irq0_on = true;
    check_state_moves(a, b);
    g_assert_false(irq0_on);
    g_assert_cmpuint(rd(a, 0xf0, 8), ==, rd(b, 0xf0, 8));
    check_state_hostile(a, poke);
    fixture_free(a);
    fixture_free(b);
}

static void test_random(void)
{
    struct fixture *f = hpet_fixture();
    vm_clock_start(f->clock);
    for (int i = 0; i < 100000; i++) {
        uint32_t v = g_test_rand_int();
        unsigned off = v & 0x1ff, size = 1u << (v >> 30);
        if (v & 0x200)
            wr(f, off, size, (uint64_t)g_test_rand_int() << (v >> 20 & 31));
        else
            rd(f, off, size);
        if (i % 64 == 0)
            g_main_context_iteration(NULL, false);
    }
    reset_all(f);
    g_assert_cmphex(rd(f, 0x10, 8), ==, 0);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hpet/counter", test_counter);
    g_test_add_func("/hpet/capabilities", test_capabilities_are_fixed);
    g_test_add_func("/hpet/oneshot", test_oneshot_edge_and_level);
    g_test_add_func("/hpet/periodic", test_periodic_as_linux_sets_it);
    g_test_add_func("/hpet/forbidden-route", test_forbidden_route_is_silent);
    g_test_add_func("/hpet/state", test_state);
    g_test_add_func("/hpet/random", test_random);
    return g_test_run();
}
