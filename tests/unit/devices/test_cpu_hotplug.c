/* CPU hotplug block: what a guest's AML reads and writes, and what the board learns from it. */
#include "devices/acpi_pm.h"
#include "devices/cpu_hotplug.h"
#include "fixture.h"

enum { CPUS = 4, SELECTOR = CPU_HOTPLUG_PORT, CONTROL = CPU_HOTPLUG_PORT + 4 };
enum { COMMAND = CPU_HOTPLUG_PORT + 5, DATA = CPU_HOTPLUG_PORT + 8 };

static struct cpu_hotplug *block;
static int looks;

static void look(void *opaque)
{
    looks++;
}

static struct fixture *block_fixture(void)
{
    static const uint32_t ids[CPUS] = {0, 1, 4, 5};
    struct fixture *f = fixture_new();
    struct cpu_hotplug_config cfg = {.cpus_max = CPUS, .apic_id = ids, .look = look};
    cfg.pm = acpi_pm_new(&f->devices, f->pio, &f->chip, f->clock, &f->req, ACPI_PM_ICH9);
    acpi_pm_map(cfg.pm, 0x600, true);
    outb(f, ACPI_PM_SMI_CMD, ACPI_PM_CMD_ENABLE);
    outb(f, 0x600 + ACPI_PM_OFF_GPE0 + 8, BIT(CPU_HOTPLUG_GPE));
    block = cpu_hotplug_new(&f->devices, f->pio, &cfg);
    cpu_hotplug_set(block, 0, true, false);
    looks = 0;
    return f;
}

static void outl(struct fixture *f, uint16_t port, uint32_t v)
{
    io_space_write(f->pio, port, 4, v);
}

static uint32_t inl(struct fixture *f, uint16_t port)
{
    return io_space_read(f->pio, port, 4);
}

static void set(struct fixture *f, unsigned cpu, bool present)
{
    pthread_mutex_lock(&f->devices.lock);
    cpu_hotplug_set(block, cpu, present, true);
    pthread_mutex_unlock(&f->devices.lock);
}

/* What firmware does to find out that the block speaks the modern mode, and how many there are. */
static void test_firmware_counts_processors(void)
{
    struct fixture *f = block_fixture();
    unsigned present = 0;
    outl(f, SELECTOR, 0);
    outl(f, SELECTOR, 0);
    outb(f, COMMAND, 0);
    g_assert_cmphex(inl(f, SELECTOR), ==, 0);
    for (uint32_t i = 0; i < CPUS; i++) {
        outl(f, SELECTOR, i);
        outb(f, COMMAND, 0);
        g_assert_cmpuint(inl(f, DATA), ==, i); /* no event: the selector stays */
        present += inb(f, CONTROL) & 1;
    }
    g_assert_cmpuint(present, ==, 1);
    outl(f, SELECTOR, CPUS); /* the end of the list */
    g_assert_cmphex(inl(f, DATA), ==, 0);
    g_assert_cmphex(inb(f, CONTROL), ==, 0);
    outl(f, SELECTOR, 2);
    outb(f, COMMAND, 3);
    g_assert_cmphex(inl(f, DATA), ==, 4); /* its APIC id */
    g_assert_cmphex(inl(f, SELECTOR), ==, 0);
    fixture_free(f);
}

static void test_insertion_is_told_once(void)
{
    struct fixture *f = block_fixture();
    set(f, 3, true);
    g_assert_true(f->level[9]);
    outb(f, 0x600 + ACPI_PM_OFF_GPE0, BIT(CPU_HOTPLUG_GPE));
    g_assert_false(f->level[9]);
    outb(f, COMMAND, 0);
    g_assert_cmpuint(inl(f, DATA), ==, 3);
    g_assert_cmphex(inb(f, CONTROL), ==, 3); /* present, inserting */
    outb(f, CONTROL, 2);
    g_assert_cmphex(inb(f, CONTROL), ==, 1);
    outb(f, CONTROL, 4); /* clears another event than it has */
    g_assert_cmphex(inb(f, CONTROL), ==, 1);
    g_assert_cmpint(looks, ==, 0);
    fixture_free(f);
}

static void test_removal_ends_with_the_guests_eject(void)
{
    struct fixture *f = block_fixture();
    set(f, 2, true);
    outl(f, SELECTOR, 2);
    outb(f, CONTROL, 2);
    pthread_mutex_lock(&f->devices.lock);
    cpu_hotplug_request_removal(block, 2);
    pthread_mutex_unlock(&f->devices.lock);
    outl(f, SELECTOR, 0);
    outb(f, COMMAND, 0);
    g_assert_cmpuint(inl(f, DATA), ==, 2);
    g_assert_cmphex(inb(f, CONTROL), ==, 5);
    outb(f, CONTROL, 4);
    g_assert_false(cpu_hotplug_ejecting(block, 2));
    outb(f, CONTROL, 8);
    g_assert_true(cpu_hotplug_ejecting(block, 2));
    g_assert_cmpint(looks, ==, 1);
    set(f, 2, false);
    g_assert_false(cpu_hotplug_ejecting(block, 2));
    g_assert_cmphex(inb(f, CONTROL), ==, 0);
    fixture_free(f);
}

static void test_nonsense_changes_nothing(void)
{
    struct fixture *f = block_fixture();
    outb(f, CONTROL, 8); /* the boot processor */
    outl(f, SELECTOR, 1);
    outb(f, CONTROL, 8); /* one that is not there */
    outl(f, SELECTOR, UINT32_MAX);
    outb(f, CONTROL, 0xff);
    outb(f, COMMAND, 1);
    outl(f, DATA, 7);
    for (unsigned i = 0; i < CPU_HOTPLUG_BYTES; i++)
        inl(f, (uint16_t)(CPU_HOTPLUG_PORT + i));
    outl(f, SELECTOR, 0);
    outb(f, COMMAND, 0xff);
    g_assert_cmpuint(inl(f, DATA), ==, 0);
    for (unsigned i = 0; i < CPUS; i++)
        g_assert_false(cpu_hotplug_ejecting(block, i));
    g_assert_cmpint(looks, ==, 0);
    fixture_free(f);
}

static void test_ost_is_kept_for_whoever_asks(void)
{
    struct fixture *f = block_fixture();
    outl(f, SELECTOR, 3);
    outb(f, COMMAND, 1);
    outl(f, DATA, 3);
    outb(f, COMMAND, 2);
    outl(f, DATA, 0x81);
    g_assert_cmpint(looks, ==, 1);
    struct cpu_hotplug_report r = cpu_hotplug_report(block, 3);
    g_assert_true(r.fresh && r.event == 3 && r.status == 0x81);
    g_assert_false(cpu_hotplug_report(block, 3).fresh);
    fixture_free(f);
}

static void test_state_moves_but_not_who_is_there(void)
{
    struct fixture *a = block_fixture();
    set(a, 3, true);
    outl(a, SELECTOR, 3);
    outb(a, COMMAND, 3);
    struct fixture *b = block_fixture();
    cpu_hotplug_set(block, 3, true, false);
    check_state_moves(a, b);
    g_assert_cmphex(inl(b, DATA), ==, 5);
    g_assert_cmphex(inb(b, CONTROL), ==, 3);
    reset_all(b); /* a guest that starts anew finds it by itself */
    outl(b, SELECTOR, 3);
    g_assert_cmphex(inb(b, CONTROL), ==, 1);
    fixture_free(a);
    fixture_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu_hotplug/firmware_counts", test_firmware_counts_processors);
    g_test_add_func("/cpu_hotplug/insertion", test_insertion_is_told_once);
    g_test_add_func("/cpu_hotplug/removal", test_removal_ends_with_the_guests_eject);
    g_test_add_func("/cpu_hotplug/nonsense", test_nonsense_changes_nothing);
    g_test_add_func("/cpu_hotplug/ost", test_ost_is_kept_for_whoever_asks);
    g_test_add_func("/cpu_hotplug/state", test_state_moves_but_not_who_is_there);
    return g_test_run();
}
