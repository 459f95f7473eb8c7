/* The PCI functions of the board: ECAM switch, PIRQ routing, PM block, root port slot, test device.
 */
#include "bus/pci.h"
#include "devices/acpi_pm.h"
#include "devices/chipset.h"
#include "devices/pci_testdev.h"
#include "devices/root_port.h"
#include "fixture.h"

struct board {
    struct fixture *f;
    struct pci_host host;
    struct pci_dev *lpc, *mch;
    unsigned ejects;
};

static struct board *board_new(void)
{
    struct board *b = g_new0(struct board, 1);
    b->f = fixture_new();
    pci_host_init(&b->host, &b->f->devices, b->f->pio, b->f->mmio, &b->f->chip, NULL);
    struct acpi_pm *pm =
        acpi_pm_new(&b->f->devices, b->f->pio, &b->f->chip, b->f->clock, &b->f->req, ACPI_PM_ICH9);
    b->lpc = lpc_new(&b->host, pm, NULL);
    b->mch = mch_new(&b->host, NULL, NULL, NULL);
    device_list_reset(&b->f->devices);
    return b;
}

static void board_free(struct board *b)
{
    destroy_all(b->f);
    pci_host_fini(&b->host);
    fixture_free(b->f);
    g_free(b);
}

static void on_eject(void *opaque)
{
    ((struct board *)opaque)->ejects++;
}

static void test_pciexbar_sizes(void)
{
    struct board *b = board_new();
    g_assert_null(io_space_find(b->f->mmio, 0xb0000000));
    pci_config_write(b->mch, MCH_PCIEXBAR, 4, 0xb0000001);
    g_assert_cmphex(io_space_read(b->f->mmio, 0xb0000000, 4), ==, 0x29c08086);
    g_assert_nonnull(io_space_find(b->f->mmio, 0xbfffffff));
    pci_config_write(b->mch, MCH_PCIEXBAR, 4, 0xb0000005); /* 64 MiB: buses 0-63 */
    g_assert_nonnull(io_space_find(b->f->mmio, 0xb3ffffff));
    g_assert_null(io_space_find(b->f->mmio, 0xb4000000));
    pci_config_write(b->mch, MCH_PCIEXBAR, 4, 0xb0000007); /* reserved size */
    g_assert_null(io_space_find(b->f->mmio, 0xb0000000));
    pci_config_write(b->mch, MCH_PCIEXBAR, 4, 1); /* over RAM at 0: refused */
    g_assert_null(io_space_find(b->f->mmio, 0));
    pci_config_write(b->mch, MCH_PCIEXBAR, 4, 0xc0000001);
    device_list_reset(&b->f->devices);
    g_assert_null(io_space_find(b->f->mmio, 0xc0000000));
    board_free(b);
}

static void test_pm_block_follows_pmbase(void)
{
    struct board *b = board_new();
    g_assert_null(io_space_find(b->f->pio, 0x608));
    pci_config_write(b->lpc, LPC_PMBASE, 4, 0x600);
    g_assert_null(io_space_find(b->f->pio, 0x608));
    pci_config_write(b->lpc, LPC_ACPI_CNTL, 1, LPC_ACPI_ENABLE);
    g_assert_nonnull(io_space_find(b->f->pio, 0x608));
    pci_config_write(b->lpc, LPC_PMBASE, 4, 0xb000);
    g_assert_null(io_space_find(b->f->pio, 0x608));
    g_assert_nonnull(io_space_find(b->f->pio, 0xb008));
    g_assert_cmphex(pci_config_read(b->lpc, LPC_PMBASE, 4), ==, 0xb001);
    board_free(b);
}

static void test_pirqs_reach_pic_and_ioapic(void)
{
    struct board *b = board_new();
    struct pci_dev *d = pci_testdev_new(b->host.root, PCI_DEVFN(3, 0), NULL, NULL);
    g_assert_cmpuint(lpc_pirq_default(3, 0), ==, 7); /* slot 3, INTA: PIRQH */
    d->config[PCI_INT_PIN] = 1;
    pci_host_reroute_intx(&b->host);
    pci_intx_set(d, true);
    g_assert_true(b->f->level[23]);
    pci_config_write(b->lpc, LPC_PIRQE_ROUT + 3, 1, 11);
    g_assert_true(b->f->level[11] && b->f->level[23]);
    pci_config_write(b->lpc, LPC_PIRQE_ROUT + 3, 1, 8); /* reserved: routes nowhere */
    g_assert_false(b->f->level[11] || b->f->level[8]);
    pci_config_write(b->lpc, LPC_PIRQE_ROUT + 3, 1, 0x8b); /* off */
    g_assert_false(b->f->level[11]);
    pci_intx_set(d, false);
    g_assert_false(b->f->level[23]);
    board_free(b);
}

static void test_rcba_routes_the_high_slots(void)
{
    struct board *b = board_new();
    struct pci_dev *d = pci_testdev_new(b->host.root, PCI_DEVFN(0x1c, 0), NULL, NULL);
    d->config[PCI_INT_PIN] = 2;
    pci_host_reroute_intx(&b->host);
    pci_intx_set(d, true);
    g_assert_true(b->f->level[17]);
    pci_config_write(b->lpc, LPC_RCBA, 4, 0xfed1c001);
    g_assert_cmphex(io_space_read(b->f->mmio, 0xfed1c000 + 0x3146, 2), ==, 0x3210);
    io_space_write(b->f->mmio, 0xfed1c000 + 0x3146, 2, 0x3270); /* INTB -> PIRQH */
    g_assert_true(b->f->level[23] && !b->f->level[17]);
    pci_intx_set(d, false);
    board_free(b);
}

static struct pci_dev *port_new(struct board *b, bool no_hotplug)
{
    struct root_port_config cfg = {.id = "pci.1",
                                   .slot = 5,
                                   .port = 9,
                                   .no_hotplug = no_hotplug,
                                   .eject = on_eject,
                                   .opaque = b};
    return root_port_new(b->host.root, PCI_DEVFN(2, 0), &cfg, NULL);
}

static uint16_t slot_status(struct pci_dev *port)
{
    return (uint16_t)pci_config_read(port, port->pcie_cap + 0x1au, 2);
}

static void test_root_port_tells_of_plugging(void)
{
    struct board *b = board_new();
    struct pci_dev *port = port_new(b, false);
    struct pci_bus *bus = pci_bus_find(&b->host, "pci.1");
    unsigned control = port->pcie_cap + 0x18u, status = port->pcie_cap + 0x1au;
    device_list_reset(&b->f->devices);
    g_assert_cmphex(slot_status(port) & 0x40, ==, 0);
    g_assert_cmphex(pci_config_read(port, port->pcie_cap + 0x14u, 4) >> 19, ==, 5);
    b->f->devices.vm_running = true;
    pci_config_write(port, control, 2, 0x1029 | 0x5c0);
    struct pci_dev *d = pci_testdev_new(bus, 0, "t", NULL);
    g_assert_cmphex(slot_status(port) & 0x148, ==, 0x148); /* present, presence and link changed */
    g_assert_true(b->f->level[22]);                        /* slot 2, INTA: PIRQG */
    pci_config_write(port, status, 2, 0x108);
    g_assert_false(b->f->level[22]);
    g_assert_cmphex(slot_status(port), ==, 0x40);

    GError *err = NULL;
    g_assert_true(root_port_request_eject(port, &err));
    g_assert_cmphex(slot_status(port) & 1, ==, 1);
    g_assert_true(b->f->level[22]);
    pci_config_write(port, status, 2, 1);
    g_assert_false(root_port_ejecting(port));
    pci_config_write(port, control, 2, 0x1029 | 0x1c0); /* power on, light on */
    pci_config_write(port, control, 2, 0x1029 | 0x5c0); /* power off, light still on */
    g_assert_false(root_port_ejecting(port));
    pci_config_write(port, control, 2, 0x1029 | 0x7c0); /* light off */
    g_assert_true(root_port_ejecting(port));
    g_assert_cmpuint(b->ejects, ==, 1);
    d->dev.ops->destroy(&d->dev);
    g_assert_false(root_port_ejecting(port));
    g_assert_cmphex(slot_status(port) & 0x148, ==, 0x108);
    board_free(b);
}

static void test_port_without_hotplug_is_quiet(void)
{
    struct board *b = board_new();
    struct pci_dev *port = port_new(b, true);
    GError *err = NULL;
    b->f->devices.vm_running = true;
    pci_config_write(port, port->pcie_cap + 0x18u, 2, 0xffff);
    g_assert_cmphex(pci_config_read(port, port->pcie_cap + 0x18u, 2), ==, 0);
    pci_testdev_new(pci_bus_find(&b->host, "pci.1"), 0, "t", NULL);
    g_assert_cmphex(slot_status(port), ==, 0x40);
    g_assert_false(root_port_request_eject(port, &err));
    g_assert_nonnull(strstr(err->message, "hotplug=off"));
    g_clear_error(&err);
    board_free(b);
}

static void test_testdev_counts(void)
{
    struct board *b = board_new();
    struct pci_dev *d = pci_testdev_new(b->host.root, PCI_DEVFN(3, 0), NULL, NULL);
    pci_config_write(d, PCI_BAR0, 4, 0xc0000000);
    pci_config_write(d, PCI_BAR0 + 4, 4, 0xc000);
    pci_config_write(d, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_IO);
    for (unsigned test = 0; test < 3; test++) {
        struct io_space *space[] = {b->f->mmio, b->f->pio};
        uint64_t base[] = {0xc0000000, 0xc000};
        for (unsigned k = 0; k < 2; k++) {
            io_space_write(space[k], base[k], 1, test);
            uint64_t at = base[k] + io_space_read(space[k], base[k] + 4, 4);
            uint64_t data = io_space_read(space[k], base[k] + 8, 1);
            g_assert_cmphex(data, ==, test == 2 ? 0xfa : 0xce);
            g_assert_cmpuint(at - base[k], ==, k ? 128 + 3 + test : 2048 + test);
            for (unsigned i = 0; i < 5; i++)
                io_space_write(space[k], at, 1, data);
            io_space_write(space[k], at, 1, data ^ 1);
            g_assert_cmpuint(io_space_read(space[k], base[k] + 12, 4), ==, test == 2 ? 5 : 6);
        }
    }
    /* The eventfd moves with its BAR. */
    pci_config_write(d, PCI_BAR0, 4, 0xd0000000);
    io_space_write(b->f->mmio, 0xd0000000 + 2050, 1, 0xfa);
    g_assert_cmpuint(io_space_read(b->f->mmio, 0xd000000c, 4), ==, 6);
    io_space_write(b->f->mmio, 0xd0000000, 1, 3); /* no such test */
    g_assert_cmphex(io_space_read(b->f->mmio, 0xd0000000, 4), ==, 0xff);
    board_free(b);
}

static void test_state_comes_back(void)
{
    struct board *a = board_new(), *b = board_new();
    pci_config_write(a->mch, MCH_PCIEXBAR, 4, 0xb0000001);
    pci_config_write(a->lpc, LPC_PMBASE, 4, 0x600);
    pci_config_write(a->lpc, LPC_ACPI_CNTL, 1, LPC_ACPI_ENABLE);
    pci_config_write(a->lpc, LPC_RCBA, 4, 0xfed1c001);
    io_space_write(a->f->mmio, 0xfed1c000 + 0x3140, 2, 0x7654);
    check_state_moves(a->f, b->f);
    g_assert_cmphex(io_space_read(b->f->mmio, 0xb0000000, 4), ==, 0x29c08086);
    g_assert_cmphex(io_space_read(b->f->mmio, 0xfed1c000 + 0x3140, 2), ==, 0x7654);
    g_assert_nonnull(io_space_find(b->f->pio, 0x608));
    board_free(a);
    board_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chipset/pciexbar", test_pciexbar_sizes);
    g_test_add_func("/chipset/pmbase", test_pm_block_follows_pmbase);
    g_test_add_func("/chipset/pirq", test_pirqs_reach_pic_and_ioapic);
    g_test_add_func("/chipset/rcba", test_rcba_routes_the_high_slots);
    g_test_add_func("/chipset/root-port", test_root_port_tells_of_plugging);
    g_test_add_func("/chipset/root-port-fixed", test_port_without_hotplug_is_quiet);
    g_test_add_func("/chipset/testdev", test_testdev_counts);
    g_test_add_func("/chipset/state", test_state_comes_back);
    return g_test_run();
}
