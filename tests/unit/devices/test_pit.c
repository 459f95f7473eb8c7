/* i8254: every mode, latches and read-back against a clock that stands where we put it. */
#include "devices/pit.h"
#include "fixture.h"

#define HZ 1193182ull

static uint64_t ticks(uint64_t n)
{
    return (n * 1000000000ull + HZ - 1) / HZ;
}

static unsigned out2(struct fixture *f)
{
    return inb(f, 0x61) >> 5 & 1;
}

static unsigned read16(struct fixture *f, unsigned counter)
{
    unsigned lo = inb(f, 0x40 + counter);
    return lo | inb(f, 0x40 + counter) << 8;
}

static void load16(struct fixture *f, unsigned counter, uint8_t mode, uint16_t count)
{
    outb(f, 0x43, counter << 6 | 0x30 | mode << 1);
    outb(f, 0x40 + counter, count & 0xff);
    outb(f, 0x40 + counter, count >> 8);
}

static struct fixture *pit_fixture(void)
{
    struct fixture *f = fixture_new();
    pit_new(&f->devices, f->pio, &f->chip, f->clock);
    return f;
}

static void test_mode0_counts_down_once(void)
{
    struct fixture *f = pit_fixture();
    outb(f, 0x61, 1);
    load16(f, 2, 0, 1000);
    g_assert_cmpuint(out2(f), ==, 0);
    clock_to(f, ticks(400));
    g_assert_cmpuint(read16(f, 2), ==, 600);
    outb(f, 0x61, 0); /* gate holds it */
    clock_to(f, ticks(900));
    g_assert_cmpuint(read16(f, 2), ==, 600);
    outb(f, 0x61, 1);
    clock_to(f, ticks(900) + ticks(599));
    g_assert_cmpuint(out2(f), ==, 0);
    clock_to(f, ticks(900) + ticks(601));
    g_assert_cmpuint(out2(f), ==, 1);
    g_assert_cmpuint(read16(f, 2), >, 65000); /* runs on below zero */
    fixture_free(f);
}

static void test_mode2_and_3_outputs(void)
{
    struct fixture *f = pit_fixture();
    outb(f, 0x61, 1);
    load16(f, 2, 2, 100);
    clock_to(f, ticks(98));
    g_assert_cmpuint(out2(f), ==, 1);
    clock_to(f, ticks(99));
    g_assert_cmpuint(out2(f), ==, 0);
    g_assert_cmpuint(read16(f, 2), ==, 1);
    clock_to(f, ticks(100));
    g_assert_cmpuint(out2(f), ==, 1);
    g_assert_cmpuint(read16(f, 2), ==, 100);
    outb(f, 0x61, 0);
    g_assert_cmpuint(out2(f), ==, 1);
    outb(f, 0x61, 1);
    clock_to(f, ticks(100) + ticks(10));
    g_assert_cmpuint(read16(f, 2), ==, 90); /* the gate edge started it anew */
    load16(f, 2, 3, 100);
    g_assert_cmpuint(out2(f), ==, 1);
    clock_to(f, ticks(110) + ticks(51));
    g_assert_cmpuint(out2(f), ==, 0);
    clock_to(f, ticks(110) + ticks(101));
    g_assert_cmpuint(out2(f), ==, 1);
    fixture_free(f);
}

static void test_new_count_waits_for_the_cycle(void)
{
    struct fixture *f = pit_fixture();
    load16(f, 1, 2, 100);
    clock_to(f, ticks(50));
    outb(f, 0x41, 10);
    outb(f, 0x41, 0);
    g_assert_cmpuint(read16(f, 1), ==, 50);
    clock_to(f, ticks(100) + ticks(3));
    g_assert_cmpuint(read16(f, 1), <=, 7);
    fixture_free(f);
}

static void test_modes_1_4_5(void)
{
    struct fixture *f = pit_fixture();
    load16(f, 2, 1, 50);
    clock_to(f, ticks(100));
    g_assert_cmpuint(out2(f), ==, 1); /* not triggered yet */
    outb(f, 0x61, 1);
    g_assert_cmpuint(out2(f), ==, 0);
    clock_to(f, ticks(151));
    g_assert_cmpuint(out2(f), ==, 1);
    load16(f, 2, 4, 20);
    clock_to(f, ticks(151) + ticks(20) + 100);
    g_assert_cmpuint(out2(f), ==, 0);
    clock_to(f, ticks(151) + ticks(22));
    g_assert_cmpuint(out2(f), ==, 1);
    outb(f, 0x61, 0);
    load16(f, 2, 5, 20);
    clock_to(f, ticks(300));
    g_assert_cmpuint(out2(f), ==, 1);
    outb(f, 0x61, 1);
    clock_to(f, ticks(300) + ticks(20) + 100);
    g_assert_cmpuint(out2(f), ==, 0);
    fixture_free(f);
}

static void test_latch_readback_bcd(void)
{
    struct fixture *f = pit_fixture();
    load16(f, 0, 2, 0x1234);
    clock_to(f, ticks(0x34));
    outb(f, 0x43, 0x00); /* latch counter 0 */
    clock_to(f, ticks(0x100));
    outb(f, 0x43, 0x00); /* the first latch stays */
    g_assert_cmphex(inb(f, 0x40), ==, 0x00);
    g_assert_cmphex(inb(f, 0x40), ==, 0x12);
    g_assert_cmphex(read16(f, 0), ==, 0x1134);
    outb(f, 0x43, 0xc2); /* status and count of counter 0: status comes first */
    g_assert_cmphex(inb(f, 0x40), ==, 0x80 | 0x30 | 2 << 1);
    g_assert_cmphex(read16(f, 0), ==, 0x1134);
    outb(f, 0x43, 0x70 | 1); /* counter 1, mode 0, BCD */
    outb(f, 0x43, 0xe4);     /* status: count is null */
    g_assert_cmphex(inb(f, 0x41), ==, 0x40 | 0x30 | 1);
    outb(f, 0x41, 0x00);
    outb(f, 0x41, 0x10);
    clock_to(f, ticks(0x100) + ticks(1));
    g_assert_cmphex(read16(f, 1), ==, 0x0999);
    outb(f, 0x43, 0x14); /* counter 0: low byte only */
    outb(f, 0x40, 200);
    g_assert_cmpuint(inb(f, 0x40), ==, 200);
    g_assert_cmphex(inb(f, 0x43), ==, 0xff);
    fixture_free(f);
}

static void test_irq0(void)
{
    struct fixture *f = fixture_new();
    struct pit *p = pit_new(&f->devices, f->pio, &f->chip, f->clock);
    int was;
    vm_clock_start(f->clock);
    load16(f, 0, 2, 1193); /* 1 kHz */
    was = f->edges[0];
    for (int i = 0; i < 5; i++)
        wait_change(&f->edges[0], f->edges[0]);
    g_assert_cmpint(f->edges[0], >=, was + 5);
    load16(f, 0, 2, 1); /* hostile: bounded, still serviceable */
    for (int i = 0; i < 20; i++)
        wait_change(&f->edges[0], f->edges[0]);
    load16(f, 0, 0, 100); /* one shot: line rises once and stays */
    wait_change(&f->edges[0], f->edges[0]);
    g_assert_true(f->level[0]);
    pthread_mutex_lock(&f->devices.lock);
    pit_irq_enable(p, false);
    pthread_mutex_unlock(&f->devices.lock);
    g_assert_false(f->level[0]);
    fixture_free(f);
}

static void poke(struct fixture *f)
{
    for (unsigned c = 0; c < 3; c++) {
        outb(f, 0x43, 0xc2 | BIT(c + 1));
        inb(f, 0x40 + c);
        read16(f, c);
    }
    inb(f, 0x61);
}

static void test_state(void)
{
    struct fixture *a = pit_fixture(), *b = pit_fixture();
    load16(a, 0, 3, 5000);
    load16(a, 2, 1, 77);
    outb(a, 0x61, 3);
    outb(a, 0x42, 0x12); /* half a count */
    check_state_moves(a, b);
    check_state_hostile(b, poke);
    fixture_free(a);
    fixture_free(b);
}

static void test_random(void)
{
    struct fixture *f = pit_fixture();
    uint64_t now = 0;
    for (int i = 0; i < 200000; i++) {
        uint32_t v = g_test_rand_int();
        uint16_t port = v % 5 == 4 ? 0x61 : 0x40 + v % 4;
        if (v & 0x100)
            outb(f, port, v >> 16);
        else
            inb(f, port);
        clock_to(f, now += v >> 12);
    }
    reset_all(f);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pit/mode0", test_mode0_counts_down_once);
    g_test_add_func("/pit/mode2-3", test_mode2_and_3_outputs);
    g_test_add_func("/pit/new-count", test_new_count_waits_for_the_cycle);
    g_test_add_func("/pit/mode1-4-5", test_modes_1_4_5);
    g_test_add_func("/pit/latch-readback-bcd", test_latch_readback_bcd);
    g_test_add_func("/pit/irq0", test_irq0);
    g_test_add_func("/pit/state", test_state);
    g_test_add_func("/pit/random", test_random);
    return g_test_run();
}
