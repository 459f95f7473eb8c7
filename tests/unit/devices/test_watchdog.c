/* What guests tell of their own trouble: the i6300ESB's watchdog, and pvpanic as port and function.
 */
#include "fixture.h"

#include "bus/pci.h"
#include "devices/pci_bridge.h"
#include "devices/pvpanic.h"
#include "devices/watchdog.h"
#include "mem/guest_mem.h"

enum { BAR = 0x10000000, GSI = 17 };

struct board {
    struct fixture *f;
    struct pci_host host;
    struct guest_mem *mem;
    struct pci_dev *esb;
};

static unsigned route(struct pci_host *h, uint8_t slot, unsigned pin)
{
    return GSI;
}

static void board_up(struct board *b)
{
    *b = (struct board){.f = fixture_new(), .mem = guest_mem_new()};
    b->host.route_intx = route;
    pci_host_init(&b->host, &b->f->devices, b->f->pio, b->f->mmio, &b->f->chip, b->mem);
    b->esb =
        i6300esb_new(b->host.root, PCI_DEVFN(4, 0), false, "wd0", b->f->clock, &b->f->req, NULL);
    reset_all(b->f);
    pci_config_write(b->esb, PCI_BAR0, 4, BAR);
    pci_config_write(b->esb, PCI_COMMAND, 2, 2);
}

static void board_down(struct board *b)
{
    device_list_fini(&b->f->devices);
    pci_host_fini(&b->host);
    fixture_free(b->f);
    guest_mem_free(b->mem);
}

static void set_up(struct board *b, gconstpointer unused)
{
    board_up(b);
}

static void tear_down(struct board *b, gconstpointer unused)
{
    board_down(b);
}

static void wr(struct board *b, unsigned off, uint32_t v)
{
    io_space_write(b->f->mmio, BAR + 0x0c, 2, 0x80);
    io_space_write(b->f->mmio, BAR + 0x0c, 2, 0x86);
    io_space_write(b->f->mmio, BAR + off, off < 8 ? 4 : 2, v);
}

static uint32_t rd(struct board *b, unsigned off)
{
    return (uint32_t)io_space_read(b->f->mmio, BAR + off, 2);
}

/* The clock stands until it is told; timers see it when the loop turns. */
static void clock_on(struct board *b, uint64_t ns)
{
    clock_to(b->f, vm_clock_ns(b->f->clock) + ns);
    vm_clock_start(b->f->clock);
    for (int i = 0; i < 10; i++) {
        g_main_context_iteration(NULL, false);
        g_usleep(500);
    }
    vm_clock_stop(b->f->clock);
}

/* Both stages of the 1 kHz clock: 8191 counts are 8.05 s, long against what a busy host delays. */
#define STAGE UINT64_C(8050000000)

static void start(struct board *b, uint16_t control, uint8_t lock)
{
    pci_config_write(b->esb, 0x60, 2, control);
    wr(b, 0x00, 8191);
    wr(b, 0x04, 8191);
    pci_config_write(b->esb, 0x68, 1, lock);
}

static void test_two_stages(struct board *b, gconstpointer unused)
{
    g_assert_cmphex(pci_config_read(b->esb, 0, 4), ==, 0x25ab8086);
    start(b, 0x00, 2);
    clock_on(b, STAGE / 2);
    g_assert_cmphex(rd(b, 0x08), ==, 0);
    clock_on(b, STAGE * 3 / 4);
    g_assert_cmphex(rd(b, 0x08), ==, 1); /* the first: an interrupt */
    g_assert_true(b->f->level[GSI]);
    wr(b, 0x08, 1);
    g_assert_false(b->f->level[GSI]);
    g_assert_cmpint(b->f->watchdogs, ==, 0);
    clock_on(b, STAGE * 5 / 4);
    g_assert_cmpint(b->f->watchdogs, ==, 1);
    g_assert_cmphex(rd(b, 0x0c), ==, 0x200);
    reset_all(b->f); /* which it has caused: the next start can tell */
    pci_config_write(b->esb, PCI_BAR0, 4, BAR);
    pci_config_write(b->esb, PCI_COMMAND, 2, 2);
    g_assert_cmphex(rd(b, 0x0c), ==, 0x200);
    wr(b, 0x0c, 0x200);
    g_assert_cmphex(rd(b, 0x0c), ==, 0);
    clock_on(b, STAGE * 10);
    g_assert_cmpint(b->f->watchdogs, ==, 1); /* off after a reset */
}

static void test_kept_alive(struct board *b, gconstpointer unused)
{
    start(b, 0x03, 2);
    for (int i = 0; i < 5; i++) {
        clock_on(b, STAGE / 2);
        wr(b, 0x0c, 0x100);
    }
    g_assert_cmphex(rd(b, 0x08), ==, 0);
    io_space_write(b->f->mmio, BAR + 0x0c, 2, 0x100); /* without the sequence: nothing */
    io_space_write(b->f->mmio, BAR + 0x0c, 2, 0x86);
    io_space_write(b->f->mmio, BAR + 0x0c, 2, 0x100);
    clock_on(b, STAGE * 3 / 2);
    g_assert_false(b->f->level[GSI]); /* control said: no interrupt */
    clock_on(b, STAGE * 3 / 2);
    g_assert_cmpint(b->f->watchdogs, ==, 1);
}

static void test_lock_and_options(struct board *b, gconstpointer unused)
{
    start(b, 0x23, 2 | 4); /* no reboot, free running */
    for (int i = 0; i < 6; i++)
        clock_on(b, STAGE * 5 / 4);
    g_assert_cmpint(b->f->watchdogs, ==, 0);
    pci_config_write(b->esb, 0x60, 2, 0x07); /* 1 MHz, reboots: 8191 counts are 7.9 ms */
    for (int i = 0; i < 8; i++)
        clock_on(b, STAGE * 5 / 4);
    g_assert_cmpint(b->f->watchdogs, >=, 1);
    pci_config_write(b->esb, 0x68, 1, 2 | 1); /* locked */
    pci_config_write(b->esb, 0x68, 1, 0);
    g_assert_cmphex(pci_config_read(b->esb, 0x68, 1), ==, 3);
    reset_all(b->f);
    g_assert_cmphex(pci_config_read(b->esb, 0x68, 1), ==, 0);
    pci_config_write(b->esb, 0x68, 1, 2);
    pci_config_write(b->esb, 0x68, 1, 0);
    g_assert_cmphex(pci_config_read(b->esb, 0x68, 1), ==, 0);
}

static void test_state_moves(struct board *b, gconstpointer unused)
{
    struct board other;

    board_up(&other);
    start(b, 0x00, 3);
    clock_on(b, STAGE * 5 / 4);
    wr(b, 0x04, 77);
    check_state_moves(b->f, other.f);
    g_assert_cmphex(pci_config_read(other.esb, 0x68, 1), ==, 3);
    pci_config_write(other.esb, 0x68, 1, 0);
    g_assert_cmphex(pci_config_read(other.esb, 0x68, 1), ==, 3); /* still locked */
    clock_to(other.f, vm_clock_ns(b->f->clock));
    clock_on(&other, STAGE * 5 / 4);
    g_assert_cmpint(other.f->watchdogs, ==, 1);
    board_down(&other);
}

static void poke(struct fixture *f)
{
    for (unsigned off = 0; off < 16; off += 2) {
        io_space_write(f->mmio, BAR + off, 2, 0xffff);
        io_space_read(f->mmio, BAR + off, 2);
    }
}

static void test_hostile_state(struct board *b, gconstpointer unused)
{
    start(b, 0x00, 2);
    check_state_hostile(b->f, poke);
}

/* Behind a bridge whose bus number and window the guest sets; its pin is the root slot's, rotated.
 */
static void test_behind_a_bridge(struct board *b, gconstpointer unused)
{
    struct pci_dev *bridge =
        pci_bridge_new(b->host.root, PCI_DEVFN(6, 0), true, false, "pci.4", NULL);
    struct pci_bus *bus = pci_bus_find(&b->host, "pci.4");
    GError *err = NULL;

    g_assert_nonnull(bus);
    g_assert_null(pci_bridge_new(b->host.root, PCI_DEVFN(7, 0), false, false, "pci.4", &err));
    g_clear_error(&err);
    g_assert_cmphex(pci_config_read(bridge, 8, 4) >> 8, ==, 0x060400);
    struct pci_dev *d =
        i6300esb_new(bus, PCI_DEVFN(31, 0), false, NULL, b->f->clock, &b->f->req, NULL);
    g_assert_nonnull(d); /* 32 slots */
    g_assert_cmphex(pci_host_read(&b->host, 9, PCI_DEVFN(31, 0), 0, 4), ==, UINT32_MAX);
    pci_config_write(bridge, PCI_PRIMARY_BUS, 4, 0x00090900);
    g_assert_cmphex(pci_host_read(&b->host, 9, PCI_DEVFN(31, 0), 0, 4), ==, 0x25ab8086);
    pci_config_write(bridge, PCI_MEM_BASE, 4, 0x20002000);
    pci_config_write(bridge, PCI_COMMAND, 2, 7);
    pci_config_write(d, PCI_BAR0, 4, 0x20000000);
    pci_config_write(d, PCI_COMMAND, 2, 2);
    g_assert_nonnull(io_space_find(b->f->mmio, 0x20000000));
    pci_config_write(bridge, PCI_MEM_BASE, 4, 0x30003000); /* the window moves away */
    g_assert_null(io_space_find(b->f->mmio, 0x20000000));
}

static void test_panic_port(void)
{
    struct fixture *f = fixture_new();
    GError *err = NULL;

    g_assert_true(pvpanic_isa_new(&f->devices, f->pio, &f->req, 0x505, 3, "p", NULL));
    g_assert_false(pvpanic_isa_new(&f->devices, f->pio, &f->req, 0x506, 3, "q", &err));
    g_clear_error(&err);
    g_assert_cmphex(inb(f, 0x505), ==, 3);
    outb(f, 0x505, 0xfc); /* events nobody offered */
    g_assert_cmpint(f->panics + f->crash_kernels, ==, 0);
    outb(f, 0x505, 1);
    g_assert_cmpint(f->panics, ==, 1);
    outb(f, 0x505, 2);
    g_assert_cmpint(f->crash_kernels, ==, 1);
    fixture_free(f);
}

static void test_panic_function(struct board *b, gconstpointer unused)
{
    struct pci_dev *d =
        pvpanic_pci_new(b->host.root, PCI_DEVFN(5, 0), false, NULL, &b->f->req, 1, NULL);

    g_assert_cmphex(pci_config_read(d, 0, 4), ==, 0x00111b36);
    pci_config_write(d, PCI_BAR0, 4, BAR + 0x1000);
    pci_config_write(d, PCI_COMMAND, 2, 2);
    g_assert_cmphex(io_space_read(b->f->mmio, BAR + 0x1000, 1), ==, 1);
    io_space_write(b->f->mmio, BAR + 0x1000, 1, 2); /* not offered */
    io_space_write(b->f->mmio, BAR + 0x1001, 1, 1);
    g_assert_cmpint(b->f->panics + b->f->crash_kernels, ==, 0);
    io_space_write(b->f->mmio, BAR + 0x1000, 1, 1);
    g_assert_cmpint(b->f->panics, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name, fn) g_test_add("/watchdog/" name, struct board, NULL, set_up, fn, tear_down)
    T("two-stages", test_two_stages);
    T("kept-alive", test_kept_alive);
    T("lock-and-options", test_lock_and_options);
    T("state-moves", test_state_moves);
    T("hostile-state", test_hostile_state);
    T("panic-function", test_panic_function);
    T("behind-a-bridge", test_behind_a_bridge);
    g_test_add_func("/watchdog/panic-port", test_panic_port);
    return g_test_run();
}
