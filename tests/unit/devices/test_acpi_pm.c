/* ICH9 PM block: timer, SCI, buttons, sleep, GPE, APM, TCO, in every access width. */
#include "devices/acpi_pm.h"
#include "fixture.h"

#define BASE 0x600

static struct acpi_pm *pm;

static struct fixture *pm_fixture(void)
{
    struct fixture *f = fixture_new();
    pm = acpi_pm_new(&f->devices, f->pio, &f->chip, f->clock, &f->req, ACPI_PM_ICH9);
    acpi_pm_map(pm, BASE, true);
    return f;
}

static uint32_t rd(struct fixture *f, unsigned off, unsigned size)
{
    return io_space_read(f->pio, BASE + off, size);
}

static void wr(struct fixture *f, unsigned off, unsigned size, uint32_t v)
{
    io_space_write(f->pio, BASE + off, size, v);
}

static void button(struct fixture *f)
{
    pthread_mutex_lock(&f->devices.lock);
    acpi_pm_power_button(pm);
    pthread_mutex_unlock(&f->devices.lock);
}

static void test_timer(void)
{
    struct fixture *f = pm_fixture();
    g_assert_cmphex(rd(f, 8, 4), ==, 0);
    clock_to(f, 1000000000);
    g_assert_cmpuint(rd(f, 8, 4), ==, 3579545);
    clock_to(f, 4690000000ull); /* wraps at 24 bits after 4.687 s */
    g_assert_cmpuint(rd(f, 8, 4), ==, 16788066 - (1 << 24));
    g_assert_cmphex(rd(f, 0, 2), ==, 1); /* its top bit has toggled */
    wr(f, 0, 2, 1);
    g_assert_cmphex(rd(f, 0, 2), ==, 0);
    wr(f, 8, 4, 5); /* read-only */
    g_assert_cmpuint(rd(f, 8, 4), ==, 16788066 - (1 << 24));
    fixture_free(f);
}

static void test_power_button_sci(void)
{
    struct fixture *f = pm_fixture();
    wr(f, 2, 2, 0x100);
    button(f);
    g_assert_false(f->level[9]); /* SCI_EN is off */
    outb(f, ACPI_PM_SMI_CMD, ACPI_PM_CMD_ENABLE);
    g_assert_cmphex(rd(f, 4, 2), ==, 1);
    g_assert_true(f->level[9]);
    g_assert_cmphex(rd(f, 0, 4), ==, 0x01000100);
    wr(f, 1, 1, 0x01); /* clears by a byte write to the upper half */
    g_assert_false(f->level[9]);
    pthread_mutex_lock(&f->devices.lock);
    acpi_pm_set_sci(pm, 20);
    acpi_pm_power_button(pm);
    pthread_mutex_unlock(&f->devices.lock);
    g_assert_true(f->level[20]);
    g_assert_true(acpi_pm_wake_allowed(pm));
    outb(f, ACPI_PM_SMI_CMD, ACPI_PM_CMD_DISABLE);
    g_assert_false(f->level[20]);
    reset_all(f);
    g_assert_cmphex(rd(f, 0, 4), ==, 0);
    fixture_free(f);
}

static void test_sleep_states(void)
{
    struct fixture *f = pm_fixture();
    wr(f, 4, 2, 0x0400); /* SLP_TYP alone does nothing */
    g_assert_cmpint(f->sleeps, ==, 0);
    wr(f, 4, 2, 0x2400);
    g_assert_cmpint(f->sleeps, ==, 1);
    g_assert_cmpint(f->sleep_state, ==, 3);
    wr(f, 4, 2, 0x2800);
    g_assert_cmpint(f->sleep_state, ==, 4);
    wr(f, 4, 2, 0x3c00); /* no such state */
    g_assert_cmpint(f->sleeps, ==, 2);
    wr(f, 5, 1, 0x20); /* S5, by its upper byte as ACPICA may */
    g_assert_cmpint(f->shutdowns, ==, 1);
    g_assert_cmphex(rd(f, 4, 2) & 0x2000, ==, 0);
    fixture_free(f);
}

static void test_gpe(void)
{
    struct fixture *f = pm_fixture();
    outb(f, ACPI_PM_SMI_CMD, ACPI_PM_CMD_ENABLE);
    wr(f, 0x28 + 4, 1, 0x02); /* GPE 33 */
    pthread_mutex_lock(&f->devices.lock);
    acpi_pm_gpe_raise(pm, 32);
    g_assert_false(f->level[9]);
    acpi_pm_gpe_raise(pm, 33);
    pthread_mutex_unlock(&f->devices.lock);
    g_assert_true(f->level[9]);
    g_assert_cmphex(rd(f, 0x24, 1), ==, 0x03);
    wr(f, 0x24, 1, 0x02);
    g_assert_false(f->level[9]);
    g_assert_cmphex(rd(f, 0x24, 4), ==, 0x01);
    fixture_free(f);
}

static void test_overflow_interrupt_and_moving(void)
{
    struct fixture *f = pm_fixture();
    outb(f, ACPI_PM_SMI_CMD, ACPI_PM_CMD_ENABLE);
    clock_to(f, 2343000000ull); /* the first toggle is at 2.3435 s */
    wr(f, 2, 2, 1);
    vm_clock_start(f->clock);
    wait_change(&f->edges[9], 0);
    vm_clock_stop(f->clock);
    acpi_pm_map(pm, 0xb000, true);
    g_assert_cmphex(rd(f, 0, 4), ==, 0xffffffff);
    g_assert_cmphex(io_space_read(f->pio, 0xb000, 4), ==, 0x00010001);
    acpi_pm_map(pm, 0xb000, false);
    g_assert_cmphex(io_space_read(f->pio, 0xb000, 4), ==, 0xffffffff);
    fixture_free(f);
}

static void test_tco(void)
{
    struct fixture *f = pm_fixture();
    g_assert_cmphex(rd(f, 0x68, 2), ==, 0x0800); /* halted */
    wr(f, 0x72, 2, 2);
    wr(f, 0x60, 2, 1);
    g_assert_cmpuint(rd(f, 0x60, 2), ==, 2);
    wr(f, 0x62, 1, 0xab);
    g_assert_cmphex(rd(f, 0x62, 1), ==, 0xab);
    vm_clock_start(f->clock);
    wr(f, 0x68, 2, 0);
    for (int i = 0; i < 30 && !(rd(f, 0x64, 2) & 8); i++) {
        g_main_context_iteration(NULL, false);
        g_usleep(50000);
    }
    g_assert_cmphex(rd(f, 0x64, 2), ==, 8);
    wr(f, 0x64, 2, 8);
    g_assert_cmphex(rd(f, 0x64, 2), ==, 0);
    g_assert_cmpint(f->resets, ==, 0);
    fixture_free(f);
}

static void tco_start(struct fixture *f)
{
    wr(f, 0x72, 2, 2);
    wr(f, 0x60, 2, 1);
    vm_clock_start(f->clock);
    wr(f, 0x68, 2, 0);
}

/* The second timeout without a reload tells the board, unless NO_REBOOT is set, as it is at first.
 */
static void test_tco_watchdog(void)
{
    struct fixture *quiet = pm_fixture(), *f = pm_fixture();
    acpi_pm_no_reboot(pm, false);
    tco_start(quiet);
    tco_start(f);
    for (int i = 0; i < 400 && !(rd(f, 0x66, 2) & rd(quiet, 0x66, 2) & 2); i++) {
        g_main_context_iteration(NULL, false);
        g_usleep(20000);
    }
    g_assert_cmphex(rd(f, 0x66, 2) & rd(quiet, 0x66, 2) & 2, ==, 2);
    g_assert_cmpint(f->watchdogs, >=, 1);
    g_assert_cmpint(quiet->watchdogs, ==, 0);
    fixture_free(quiet);
    fixture_free(f);
}

static void poke(struct fixture *f)
{
    for (unsigned off = 0; off < 128; off += 4)
        rd(f, off, 4);
}

static void test_state(void)
{
    struct fixture *a = pm_fixture(), *b = pm_fixture();
    outb(a, ACPI_PM_SMI_CMD, ACPI_PM_CMD_ENABLE);
    wr(a, 2, 2, 0x100);
    wr(a, 0x28, 4, 0x12345678);
    wr(a, 0x6c, 4, 0xaabbccdd);
    check_state_moves(a, b);
    check_state_hostile(a, poke);
    fixture_free(a);
    fixture_free(b);
}

static void test_random(void)
{
    struct fixture *f = pm_fixture();
    uint64_t now = 0;
    for (int i = 0; i < 100000; i++) {
        uint32_t v = g_test_rand_int();
        if (v & 0x100)
            wr(f, v & 0x7f, 1u << (v >> 9 & 3) % 3, g_test_rand_int());
        else
            rd(f, v & 0x7f, 1u << (v >> 9 & 3) % 3);
        clock_to(f, now += v >> 8);
    }
    reset_all(f);
    g_assert_cmphex(rd(f, 4, 2), ==, 0);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/acpi-pm/timer", test_timer);
    g_test_add_func("/acpi-pm/power-button", test_power_button_sci);
    g_test_add_func("/acpi-pm/sleep", test_sleep_states);
    g_test_add_func("/acpi-pm/gpe", test_gpe);
    g_test_add_func("/acpi-pm/overflow-and-moving", test_overflow_interrupt_and_moving);
    g_test_add_func("/acpi-pm/tco", test_tco);
    g_test_add_func("/acpi-pm/tco-watchdog", test_tco_watchdog);
    g_test_add_func("/acpi-pm/state", test_state);
    g_test_add_func("/acpi-pm/random", test_random);
    return g_test_run();
}
