/* PCI core: config space by both mechanisms, BARs, bridges, INTx, MSI-X, hostile accesses, state.
 */
#include "base/state.h"
#include "base/util.h"
#include "bus/pci.h"

#include <glib.h>

/* ---- a chip set that remembers what it was told ---- */

struct fake_chip {
    struct irqchip base; /* first */
    bool level[IRQ_GSI_COUNT];
    uint64_t msi_addr;
    uint32_t msi_data;
    unsigned msi_count;
};

static void fake_set_gsi(struct irqchip *c, unsigned gsi, bool level)
{
    ((struct fake_chip *)c)->level[gsi] = level;
}

static void fake_send_msi(struct irqchip *c, uint64_t addr, uint32_t data)
{
    struct fake_chip *f = (struct fake_chip *)c;
    f->msi_addr = addr;
    f->msi_data = data;
    f->msi_count++;
}

static const struct irqchip_ops fake_ops = {.set_gsi = fake_set_gsi, .send_msi = fake_send_msi};

/* ---- a function with a memory BAR, an I/O BAR and MSI-X ---- */

struct card {
    struct pci_dev pci; /* first */
    struct io_region mem, io;
    uint32_t value;
};

static uint64_t card_read(struct io_region *r, uint64_t off, unsigned size)
{
    return 0x1234;
}

static void card_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
}

static const struct io_ops card_io = {.read = card_read, .write = card_write};

static void card_reset(struct device *d)
{
    struct card *c = container_of(d, struct card, pci.dev);
    c->value = 0;
    pci_dev_reset(&c->pci);
}

static void card_destroy(struct device *d)
{
    struct card *c = container_of(d, struct card, pci.dev);
    pci_dev_unplug(&c->pci);
    msix_fini(&c->pci);
    g_free(c);
}

static const struct state_field card_fields[] = {STATE_STRUCT(struct card, pci, pci_dev_state),
                                                 STATE_U32(struct card, value), STATE_END};
static const struct state_desc card_state = {.name = "card", .version = 1, .fields = card_fields};
static const struct pci_dev_ops card_ops = {
    .dev = {.type = "card", .reset = card_reset, .destroy = card_destroy, .state = &card_state}};

static void bridge_destroy(struct device *d)
{
    struct pci_dev *p = container_of(d, struct pci_dev, dev);
    for (struct pci_bus *b = p->bus->host->buses; b; b = b->next) {
        if (b->bridge == p) {
            pci_bus_free(b);
            break;
        }
    }
    pci_dev_unplug(p);
    g_free(p);
}

static void bridge_reset(struct device *d)
{
    pci_dev_reset(container_of(d, struct pci_dev, dev));
}

static const struct pci_dev_ops bridge_ops = {
    .dev = {.type = "bridge", .reset = bridge_reset, .destroy = bridge_destroy}};

/* ---- the board ---- */

struct board {
    struct device_list devices;
    struct io_space *pio, *mmio;
    struct fake_chip chip;
    struct pci_host host;
    int isa_irq; /* what route_intx_pic answers */
};

static unsigned route(struct pci_host *h, uint8_t slot, unsigned pin)
{
    return 16 + (slot + pin) % 8;
}

static int route_pic(struct pci_host *h, uint8_t slot, unsigned pin)
{
    return container_of(h, struct board, host)->isa_irq;
}

static struct board *board_new(void)
{
    struct board *b = g_new0(struct board, 1);
    b->isa_irq = -1;
    device_list_init(&b->devices);
    b->pio = io_space_new("pio", 0x10000);
    b->mmio = io_space_new("mmio", UINT64_C(1) << 52);
    irqchip_init(&b->chip.base, &fake_ops);
    b->host.route_intx = route;
    b->host.route_intx_pic = route_pic;
    pci_host_init(&b->host, &b->devices, b->pio, b->mmio, &b->chip.base, NULL);
    return b;
}

static void board_free(struct board *b)
{
    device_list_fini(&b->devices);
    pci_host_fini(&b->host);
    irqchip_fini(&b->chip.base);
    io_space_free(b->pio);
    io_space_free(b->mmio);
    g_free(b);
}

static struct card *card_new(struct pci_bus *bus, uint8_t devfn)
{
    static const struct pci_id id = {
        .vendor = 0x1af4, .device = 0x1041, .subsys_vendor = 0x1af4, .subsys = 7, .base_class = 2};
    struct card *c = g_new0(struct card, 1);
    c->mem = (struct io_region){.ops = &card_io, .name = "mem", .size_bytes = 0x4000};
    c->io = (struct io_region){.ops = &card_io, .name = "io", .size_bytes = 0x40};
    pci_dev_init(&c->pci, &card_ops, &id);
    c->pci.config[PCI_INT_PIN] = 1;
    pci_bar_set(&c->pci, 0, PCI_BAR_IO, false, &c->io);
    pci_bar_set(&c->pci, 4, PCI_BAR_MEM64, true, &c->mem);
    g_assert_true(msix_init(&c->pci, 1, 3, NULL));
    pcie_cap_add(&c->pci, PCIE_ENDPOINT, 0);
    g_assert_true(pci_dev_plug(&c->pci, bus, devfn, NULL, NULL));
    return c;
}

static struct pci_dev *bridge_new(struct board *b, uint8_t devfn, const char *name)
{
    static const struct pci_id id = {
        .vendor = 0x1b36, .device = 0xc, .subclass = 4, .base_class = 6};
    struct pci_dev *p = g_new0(struct pci_dev, 1);
    pci_dev_init(p, &bridge_ops, &id);
    pci_bridge_init(p);
    pcie_cap_add(p, PCIE_ROOT_PORT, 1);
    g_assert_true(pci_dev_plug(p, b->host.root, devfn, name, NULL));
    pci_bus_new(&b->host, p, name)->hotplug = true;
    return p;
}

static uint32_t cfg_read(struct board *b, unsigned bus, unsigned devfn, unsigned off, unsigned size)
{
    io_space_write(b->pio, 0xcf8, 4, 1u << 31 | bus << 16 | devfn << 8 | (off & 0xfc));
    return (uint32_t)io_space_read(b->pio, 0xcfc + (off & 3), size);
}

static void cfg_write(struct board *b, unsigned bus, unsigned devfn, unsigned off, unsigned size,
                      uint32_t v)
{
    io_space_write(b->pio, 0xcf8, 4, 1u << 31 | bus << 16 | devfn << 8 | (off & 0xfc));
    io_space_write(b->pio, 0xcfc + (off & 3), size, v);
}

/* ---- tests ---- */

static void test_config_ports_find_functions(void)
{
    struct board *b = board_new();
    card_new(b->host.root, PCI_DEVFN(3, 0));
    g_assert_cmphex(cfg_read(b, 0, PCI_DEVFN(3, 0), 0, 4), ==, 0x10411af4);
    g_assert_cmphex(cfg_read(b, 0, PCI_DEVFN(3, 0), 2, 2), ==, 0x1041);
    g_assert_cmphex(cfg_read(b, 0, PCI_DEVFN(3, 0), 3, 1), ==, 0x10);
    g_assert_cmphex(cfg_read(b, 0, PCI_DEVFN(4, 0), 0, 4), ==, 0xffffffff);
    g_assert_cmphex(cfg_read(b, 1, PCI_DEVFN(3, 0), 0, 2), ==, 0xffff);
    /* disabled: nobody answers; the address register reads back without reserved bits */
    io_space_write(b->pio, 0xcf8, 4, 0x7f001803);
    g_assert_cmphex(io_space_read(b->pio, 0xcf8, 4), ==, 0x00001800);
    g_assert_cmphex(io_space_read(b->pio, 0xcfc, 4), ==, 0xffffffff);
    board_free(b);
}

static unsigned reset_port_writes;

static void reset_port_write(struct io_region *r, uint64_t off, unsigned size, uint64_t v)
{
    reset_port_writes += v == 6;
}

static uint64_t reset_port_read(struct io_region *r, uint64_t off, unsigned size)
{
    return 0x5a;
}

static void test_reset_control_lies_inside_the_address_register(void)
{
    static const struct io_ops ops = {reset_port_read, reset_port_write, 1, 1};
    struct io_region rc = {.ops = &ops, .name = "rc", .size_bytes = 1};
    struct board *b = board_new();
    io_space_add(b->pio, &rc, 0xcf9);
    b->host.reset_control = &rc;
    reset_port_writes = 0;
    io_space_write(b->pio, 0xcf8, 4, 0x80000600);
    g_assert_cmpuint(reset_port_writes, ==, 0);
    g_assert_cmphex(io_space_read(b->pio, 0xcf8, 4), ==, 0x80000600);
    io_space_write(b->pio, 0xcf9, 1, 6);
    g_assert_cmpuint(reset_port_writes, ==, 1);
    g_assert_cmphex(io_space_read(b->pio, 0xcf9, 1), ==, 0x5a);
    io_space_del(b->pio, &rc);
    board_free(b);
}

static void test_ecam_sees_extended_space(void)
{
    struct board *b = board_new();
    struct card *c = card_new(b->host.root, PCI_DEVFN(3, 0));
    uint64_t at = 0xb0000000 + ((uint64_t)PCI_DEVFN(3, 0) << 12);
    g_assert_cmphex(io_space_read(b->mmio, at, 4), ==, 0xffffffff);
    pci_host_ecam(&b->host, 0xb0000000, 256);
    g_assert_cmphex(io_space_read(b->mmio, at, 4), ==, 0x10411af4);
    g_assert_cmpuint(pci_ext_cap_add(&c->pci, 1, 2, 0x48), ==, 0x100);
    g_assert_cmpuint(pci_ext_cap_add(&c->pci, 3, 1, 12), ==, 0x148);
    g_assert_cmphex(io_space_read(b->mmio, at + 0x100, 4), ==, 0x14820001);
    g_assert_cmphex(io_space_read(b->mmio, at + 0x148, 4), ==, 0x00010003);
    pci_host_ecam(&b->host, 0xb0000000, 0);
    g_assert_cmphex(io_space_read(b->mmio, at, 4), ==, 0xffffffff);
    board_free(b);
}

static void test_bar_sizing_and_decoding(void)
{
    struct board *b = board_new();
    card_new(b->host.root, PCI_DEVFN(3, 0));
    unsigned f = PCI_DEVFN(3, 0);
    cfg_write(b, 0, f, 0x10, 4, 0xffffffff);
    g_assert_cmphex(cfg_read(b, 0, f, 0x10, 4), ==, 0xffffffc1);
    cfg_write(b, 0, f, 0x20, 4, 0xffffffff);
    cfg_write(b, 0, f, 0x24, 4, 0xffffffff);
    g_assert_cmphex(cfg_read(b, 0, f, 0x20, 4), ==, 0xffffc00c);
    g_assert_cmphex(cfg_read(b, 0, f, 0x24, 4), ==, 0xffffffff);
    cfg_write(b, 0, f, 0x10, 4, 0xc040);
    cfg_write(b, 0, f, 0x20, 4, 0x80000000);
    cfg_write(b, 0, f, 0x24, 4, 0x8);
    g_assert_null(io_space_find(b->pio, 0xc040));
    cfg_write(b, 0, f, PCI_COMMAND, 2, PCI_CMD_IO);
    g_assert_nonnull(io_space_find(b->pio, 0xc07f));
    g_assert_null(io_space_find(b->pio, 0xc080));
    g_assert_null(io_space_find(b->mmio, 0x880000000));
    cfg_write(b, 0, f, PCI_COMMAND, 2, PCI_CMD_MEM);
    g_assert_null(io_space_find(b->pio, 0xc040));
    g_assert_cmphex(io_space_read(b->mmio, 0x880003ffc, 4), ==, 0x1234);
    cfg_write(b, 0, f, 0x24, 4, 0x9); /* moves while decoded */
    g_assert_null(io_space_find(b->mmio, 0x880000000));
    g_assert_nonnull(io_space_find(b->mmio, 0x980000000));
    board_free(b);
}

static void test_rom_is_read_where_both_enables_say(void)
{
    struct board *b = board_new();
    struct card *c = card_new(b->host.root, PCI_DEVFN(3, 0));
    unsigned f = PCI_DEVFN(3, 0);
    static const uint8_t image[3000] = {0x55, 0xaa, 6, [2999] = 0x42};

    cfg_write(b, 0, f, PCI_ROM, 4, 0xffffffff);
    g_assert_cmphex(cfg_read(b, 0, f, PCI_ROM, 4), ==, 0); /* none yet */
    pci_rom_set(&c->pci, image, sizeof(image));
    g_assert_cmpuint(pci_rom_bytes(&c->pci), ==, 4096);
    cfg_write(b, 0, f, PCI_ROM, 4, 0xfffff800);
    g_assert_cmphex(cfg_read(b, 0, f, PCI_ROM, 4), ==, 0xfffff000);
    cfg_write(b, 0, f, PCI_ROM, 4, 0x80000001);
    g_assert_null(io_space_find(b->mmio, 0x80000000));
    cfg_write(b, 0, f, PCI_COMMAND, 2, PCI_CMD_MEM);
    g_assert_cmphex(io_space_read(b->mmio, 0x80000000, 4), ==, 0x0006aa55);
    g_assert_cmphex(io_space_read(b->mmio, 0x80000bb6, 2), ==, 0x4200);
    g_assert_cmphex(io_space_read(b->mmio, 0x80000fff, 1), ==, 0xff); /* padding */
    io_space_write(b->mmio, 0x80000000, 4, 0);
    g_assert_cmphex(io_space_read(b->mmio, 0x80000000, 4), ==, 0x0006aa55);
    cfg_write(b, 0, f, PCI_ROM, 4, 0x90000001); /* moves while decoded */
    g_assert_null(io_space_find(b->mmio, 0x80000000));
    g_assert_nonnull(io_space_find(b->mmio, 0x90000000));
    cfg_write(b, 0, f, PCI_ROM, 4, 0xfffff801); /* being sized, although enabled */
    cfg_write(b, 0, f, PCI_ROM, 4, 1);
    g_assert_null(io_space_find(b->mmio, 0));
    cfg_write(b, 0, f, PCI_ROM, 4, 0x90000001);
    pthread_mutex_lock(&b->devices.lock);
    device_list_reset(&b->devices);
    pthread_mutex_unlock(&b->devices.lock);
    g_assert_cmphex(cfg_read(b, 0, f, PCI_ROM, 4), ==, 0);
    g_assert_null(io_space_find(b->mmio, 0x90000000));
    board_free(b);
}

static void test_bar_at_impossible_addresses_is_not_decoded(void)
{
    struct board *b = board_new();
    struct card *c = card_new(b->host.root, PCI_DEVFN(3, 0));
    unsigned f = PCI_DEVFN(3, 0);
    cfg_write(b, 0, f, PCI_COMMAND, 2, PCI_CMD_IO | PCI_CMD_MEM);
    g_assert_false(c->mem.added);         /* address 0 */
    cfg_write(b, 0, f, 0x10, 4, 0x1ffc0); /* beyond 64 KiB of ports */
    g_assert_false(c->io.added);
    cfg_write(b, 0, f, 0x24, 4, 0xffffffff); /* beyond 52 bits */
    g_assert_false(c->mem.added);
    cfg_write(b, 0, f, 0x20, 4, 0xffffffff); /* the sizing pattern */
    g_assert_false(c->mem.added);
    board_free(b);
}

static void test_board_chips_win_over_bars(void)
{
    struct io_region chip = {.ops = &card_io, .name = "chip", .size_bytes = 0x1000};
    struct board *b = board_new();
    card_new(b->host.root, PCI_DEVFN(3, 0));
    unsigned f = PCI_DEVFN(3, 0);
    io_space_add(b->mmio, &chip, 0xfec00000);
    cfg_write(b, 0, f, 0x20, 4, 0xfec00000);
    cfg_write(b, 0, f, PCI_COMMAND, 2, PCI_CMD_MEM);
    g_assert_true(io_space_find(b->mmio, 0xfec00000) == &chip);
    g_assert_nonnull(io_space_find(b->mmio, 0xfec01000));
    io_space_del(b->mmio, &chip);
    board_free(b);
}

static void bridge_setup(struct board *b, unsigned f, unsigned secondary, uint16_t mem_base,
                         uint16_t mem_limit)
{
    cfg_write(b, 0, f, PCI_PRIMARY_BUS, 4, secondary << 16 | secondary << 8);
    cfg_write(b, 0, f, PCI_MEM_BASE, 2, mem_base);
    cfg_write(b, 0, f, PCI_MEM_LIMIT, 2, mem_limit);
    cfg_write(b, 0, f, PCI_PREF_BASE, 2, 0xfff0);
    cfg_write(b, 0, f, PCI_PREF_LIMIT, 2, 0);
    cfg_write(b, 0, f, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_MASTER);
}

static void test_bridge_routes_config_and_windows(void)
{
    struct board *b = board_new();
    bridge_new(b, PCI_DEVFN(1, 0), "pci.1");
    struct card *c = card_new(pci_bus_find(&b->host, "pci.1"), 0);
    g_assert_cmphex(cfg_read(b, 5, 0, 0, 4), ==, 0xffffffff);
    bridge_setup(b, PCI_DEVFN(1, 0), 5, 0xc000, 0xc010);
    g_assert_cmphex(cfg_read(b, 5, 0, 0, 4), ==, 0x10411af4);
    cfg_write(b, 5, 0, 0x20, 4, 0xc0100000);
    cfg_write(b, 5, 0, PCI_COMMAND, 2, PCI_CMD_MEM);
    g_assert_true(c->mem.added);
    cfg_write(b, 0, PCI_DEVFN(1, 0), PCI_MEM_LIMIT, 2, 0xc000); /* window shrinks */
    g_assert_false(c->mem.added);
    cfg_write(b, 0, PCI_DEVFN(1, 0), PCI_MEM_LIMIT, 2, 0xc010);
    g_assert_true(c->mem.added);
    cfg_write(b, 0, PCI_DEVFN(1, 0), PCI_COMMAND, 2, 0); /* bridge stops decoding */
    g_assert_false(c->mem.added);
    cfg_write(b, 0, PCI_DEVFN(1, 0), PCI_COMMAND, 2, PCI_CMD_MEM);
    c->value = 99;
    cfg_write(b, 0, PCI_DEVFN(1, 0), PCI_BRIDGE_CONTROL, 2, 0x40); /* hot reset */
    g_assert_cmpuint(c->value, ==, 0);
    g_assert_false(c->mem.added);
    g_assert_cmphex(cfg_read(b, 5, 0, PCI_COMMAND, 2), ==, 0);
    board_free(b);
}

static void test_bus_numbers_that_overlap_end(void)
{
    struct board *b = board_new();
    bridge_new(b, PCI_DEVFN(1, 0), "pci.1");
    bridge_new(b, PCI_DEVFN(2, 0), "pci.2");
    card_new(pci_bus_find(&b->host, "pci.1"), 0);
    /* Both claim 1-255 with secondary 1; then a secondary of 0 that must not shadow the root. */
    cfg_write(b, 0, PCI_DEVFN(1, 0), PCI_PRIMARY_BUS, 4, 0x00ff0100);
    cfg_write(b, 0, PCI_DEVFN(2, 0), PCI_PRIMARY_BUS, 4, 0x00ff0100);
    g_assert_cmphex(cfg_read(b, 1, 0, 0, 2), ==, 0x1af4);
    for (unsigned bus = 0; bus < 256; bus++)
        cfg_read(b, bus, 0, 0, 4);
    cfg_write(b, 0, PCI_DEVFN(1, 0), PCI_PRIMARY_BUS, 4, 0x00ff0000);
    g_assert_cmphex(cfg_read(b, 0, PCI_DEVFN(1, 0), 0, 2), ==, 0x1b36);
    g_assert_cmphex(cfg_read(b, 0, 0, 0, 4), ==, 0xffffffff);
    board_free(b);
}

static void test_intx_routes_and_reroutes(void)
{
    struct board *b = board_new();
    struct card *c = card_new(b->host.root, PCI_DEVFN(3, 0));
    pci_intx_set(&c->pci, true);
    g_assert_true(b->chip.level[19]);
    g_assert_cmphex(cfg_read(b, 0, PCI_DEVFN(3, 0), PCI_STATUS, 2) & PCI_STATUS_INTX, !=, 0);
    b->isa_irq = 11;
    pci_host_reroute_intx(&b->host);
    g_assert_true(b->chip.level[11]);
    b->isa_irq = 10;
    pci_host_reroute_intx(&b->host);
    g_assert_false(b->chip.level[11]);
    g_assert_true(b->chip.level[10] && b->chip.level[19]);
    cfg_write(b, 0, PCI_DEVFN(3, 0), PCI_COMMAND, 2, PCI_CMD_INTX_OFF);
    g_assert_false(b->chip.level[10] || b->chip.level[19]);
    cfg_write(b, 0, PCI_DEVFN(3, 0), PCI_COMMAND, 2, 0);
    g_assert_true(b->chip.level[19]);
    pci_intx_set(&c->pci, false);
    g_assert_false(b->chip.level[19]);
    board_free(b);
}

static void test_intx_swizzles_behind_bridges(void)
{
    struct board *b = board_new();
    struct pci_dev *p = bridge_new(b, PCI_DEVFN(2, 0), "pci.1");
    struct pci_bus *bus = pci_bus_find(&b->host, "pci.1");
    bus->hotplug = false;
    struct card *c = card_new(bus, PCI_DEVFN(3, 0));
    pci_intx_set(&c->pci, true); /* pin A in slot 3 -> pin D of the bridge in slot 2 */
    g_assert_true(b->chip.level[16 + 2 + 3]);
    g_assert_true(p->is_bridge);
    pci_dev_unplug(&c->pci);
    g_assert_false(b->chip.level[16 + 2 + 3]);
    g_assert_true(pci_dev_plug(&c->pci, bus, 0, NULL, NULL));
    board_free(b);
}

static uint64_t msix_bar_map(struct board *b, unsigned f)
{
    cfg_write(b, 0, f, 0x14, 4, 0xc0000000);
    cfg_write(b, 0, f, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_MASTER);
    return 0xc0000000;
}

static void test_msix_delivers_masks_and_remembers(void)
{
    struct board *b = board_new();
    struct card *c = card_new(b->host.root, PCI_DEVFN(3, 0));
    unsigned f = PCI_DEVFN(3, 0), cap = 0x40;
    uint64_t table = msix_bar_map(b, f);
    g_assert_cmphex(cfg_read(b, 0, f, cap, 1), ==, PCI_CAP_MSIX);
    g_assert_cmphex(cfg_read(b, 0, f, cap + 2, 2), ==, 2);
    msix_notify(&c->pci, 1); /* off: lost */
    cfg_write(b, 0, f, cap + 2, 2, 0x8000);
    g_assert_true(msix_enabled(&c->pci));
    g_assert_cmphex(io_space_read(b->mmio, table + 28, 4), ==, 1); /* masked after reset */
    msix_notify(&c->pci, 1);
    g_assert_cmpuint(b->chip.msi_count, ==, 0);
    g_assert_cmphex(io_space_read(b->mmio, table + 2048, 8), ==, 2);
    io_space_write(b->mmio, table + 16, 8, 0xfee01000);
    io_space_write(b->mmio, table + 24, 8, 0x4041); /* data, and vector control 0: unmasks */
    g_assert_cmpuint(b->chip.msi_count, ==, 1);
    g_assert_cmphex(b->chip.msi_addr, ==, 0xfee01000);
    g_assert_cmphex(b->chip.msi_data, ==, 0x4041);
    g_assert_cmphex(io_space_read(b->mmio, table + 2048, 8), ==, 0);
    cfg_write(b, 0, f, cap + 2, 2, 0xc000); /* function mask */
    msix_notify(&c->pci, 1);
    g_assert_cmpuint(b->chip.msi_count, ==, 1);
    cfg_write(b, 0, f, cap + 2, 2, 0x8000);
    g_assert_cmpuint(b->chip.msi_count, ==, 2);
    cfg_write(b, 0, f, PCI_COMMAND, 2, PCI_CMD_MEM); /* no bus mastering: no memory writes */
    msix_notify(&c->pci, 1);
    g_assert_cmpuint(b->chip.msi_count, ==, 2);
    cfg_write(b, 0, f, PCI_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_MASTER);
    g_assert_cmpuint(b->chip.msi_count, ==, 3);
    msix_notify(&c->pci, 3); /* beyond the table */
    msix_notify(&c->pci, UINT32_MAX);
    g_assert_cmpuint(b->chip.msi_count, ==, 3);
    board_free(b);
}

/* Every register of every function and of the MSI-X BAR, with random values: nothing breaks. */
static void test_random_config_traffic_survives(void)
{
    guint32 seed = g_test_rand_int();
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    struct board *b = board_new();
    bridge_new(b, PCI_DEVFN(1, 0), "pci.1");
    struct card *near = card_new(b->host.root, PCI_DEVFN(3, 0));
    struct card *far = card_new(pci_bus_find(&b->host, "pci.1"), 0);
    pci_host_ecam(&b->host, 0xb0000000, 256);
    g_test_message("seed %u", seed);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned bus = g_rand_int_range(rand, 0, 3), size = 1u << g_rand_int_range(rand, 0, 3);
        unsigned devfn = g_rand_int_range(rand, 0, 32),
                 off = g_rand_int_range(rand, 0, 4097 - size);
        uint32_t v = g_rand_int(rand);
        uint64_t at = 0xb0000000 + ((uint64_t)bus << 20 | devfn << 12 | off);
        if (i & 1)
            io_space_write(b->mmio, at, size, v);
        else
            cfg_write(b, bus, devfn, off & 0xff, 4 - (off & 3) < size ? 1 : size, v);
        io_space_read(b->mmio, at, size);
        msix_notify(&near->pci, i % 4);
        pci_intx_set(&far->pci, v & 1);
        if (near->pci.bar[1].mapped_at != UINT64_MAX)
            io_space_write(b->mmio, near->pci.bar[1].mapped_at + off % 4096, size, v);
    }
    g_assert_cmphex(pci_config_read(&near->pci, 0, 4), ==, 0x10411af4);
    g_assert_cmphex(pci_config_read(&far->pci, 0, 4), ==, 0x10411af4);
    board_free(b);
}

static void test_reset_restores_and_unmaps(void)
{
    struct board *b = board_new();
    struct card *c = card_new(b->host.root, PCI_DEVFN(3, 0));
    uint8_t before[PCI_CONFIG_SIZE];
    memcpy(before, c->pci.config, sizeof(before));
    uint64_t table = msix_bar_map(b, PCI_DEVFN(3, 0));
    cfg_write(b, 0, PCI_DEVFN(3, 0), 0x42, 2, 0x8000);
    io_space_write(b->mmio, table + 12, 4, 0);
    pci_intx_set(&c->pci, true);
    device_list_reset(&b->devices);
    g_assert_cmpmem(before, sizeof(before), c->pci.config, sizeof(before));
    g_assert_false(b->chip.level[19]);
    g_assert_null(io_space_find(b->mmio, table));
    msix_bar_map(b, PCI_DEVFN(3, 0));
    g_assert_cmphex(io_space_read(b->mmio, table + 12, 4), ==, 1);
    board_free(b);
}

static void test_state_moves_to_another_board(void)
{
    struct board *b = board_new(), *to = board_new();
    struct card *c = card_new(b->host.root, PCI_DEVFN(3, 0));
    struct card *d = card_new(to->host.root, PCI_DEVFN(3, 0));
    struct state_writer *w = state_writer_new();
    uint64_t table = msix_bar_map(b, PCI_DEVFN(3, 0));
    size_t len;
    cfg_write(b, 0, PCI_DEVFN(3, 0), 0x42, 2, 0x8000);
    io_space_write(b->mmio, table, 8, 0xfee00000);
    io_space_write(b->mmio, table + 8, 4, 0x31);
    msix_notify(&c->pci, 0); /* masked: pending */
    pci_intx_set(&c->pci, true);
    c->value = 7;
    device_list_save(&b->devices, w);
    const uint8_t *data = state_writer_data(w, &len);
    struct state_reader *r = state_reader_new(data, len, NULL);
    g_assert_true(device_list_load(&to->devices, r, NULL));
    g_assert_cmpuint(d->value, ==, 7);
    g_assert_cmpmem(c->pci.config, PCI_CONFIG_SIZE, d->pci.config, PCI_CONFIG_SIZE);
    g_assert_true(to->chip.level[19]);
    g_assert_cmphex(io_space_read(to->mmio, table + 2048, 4), ==, 1);
    io_space_write(to->mmio, table + 12, 4, 0);
    g_assert_cmphex(to->chip.msi_data, ==, 0x31);
    state_reader_free(r);
    state_writer_free(w);
    board_free(b);
    board_free(to);
}

static void test_state_of_another_device_is_refused(void)
{
    struct board *b = board_new(), *to = board_new();
    card_new(b->host.root, PCI_DEVFN(3, 0))->pci.config[PCI_DEVICE] = 0x42;
    card_new(to->host.root, PCI_DEVFN(3, 0));
    struct state_writer *w = state_writer_new();
    size_t len;
    GError *err = NULL;
    device_list_save(&b->devices, w);
    const uint8_t *data = state_writer_data(w, &len);
    struct state_reader *r = state_reader_new(data, len, NULL);
    g_assert_false(device_list_load(&to->devices, r, &err));
    g_assert_nonnull(strstr(err->message, "another device"));
    g_clear_error(&err);
    state_reader_free(r);
    state_writer_free(w);
    board_free(b);
    board_free(to);
}

static void test_addresses_parse(void)
{
    static const struct {
        const char *text;
        int devfn;
    } cases[] = {{"2", 0x10}, {"1f.3", 0xfb}, {"0x2.0x1", 0x11}, {"0x1e", 0xf0},
                 {"20", -1},  {"1.8", -1},    {"", -1},          {"x", -1},
                 {"1.", -1},  {"1.2.3", -1},  {"-1", -1},        {" 2", -1}};
    struct board *b = board_new();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t devfn = 0;
        GError *err = NULL;
        bool ok = pci_addr_parse(b->host.root, cases[i].text, &devfn, &err);
        g_test_message("'%s'", cases[i].text);
        g_assert_cmpint(ok, ==, cases[i].devfn >= 0);
        if (ok)
            g_assert_cmpint(devfn, ==, cases[i].devfn);
        g_clear_error(&err);
    }
    uint8_t devfn = 0;
    card_new(b->host.root, PCI_DEVFN(1, 0));
    g_assert_true(pci_addr_parse(b->host.root, NULL, &devfn, NULL));
    g_assert_cmphex(devfn, ==, PCI_DEVFN(2, 0));
    bridge_new(b, PCI_DEVFN(2, 0), "pci.1");
    g_assert_false(pci_addr_parse(pci_bus_find(&b->host, "pci.1"), "1", &devfn, NULL));
    board_free(b);
}

static void test_functions_need_multifunction(void)
{
    struct board *b = board_new();
    struct card *c = card_new(b->host.root, PCI_DEVFN(3, 0));
    struct pci_dev extra;
    GError *err = NULL;
    pci_dev_init(&extra, &card_ops, &(struct pci_id){.vendor = 1});
    g_assert_false(pci_dev_plug(&extra, b->host.root, PCI_DEVFN(3, 1), NULL, &err));
    g_assert_nonnull(strstr(err->message, "multifunction=on"));
    g_clear_error(&err);
    g_assert_false(pci_dev_plug(&extra, b->host.root, PCI_DEVFN(3, 0), NULL, &err));
    g_assert_nonnull(strstr(err->message, "in use"));
    g_clear_error(&err);
    g_assert_cmphex(c->pci.config[PCI_HEADER_TYPE], ==, 0);
    board_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci/config-ports", test_config_ports_find_functions);
    g_test_add_func("/pci/reset-control", test_reset_control_lies_inside_the_address_register);
    g_test_add_func("/pci/ecam", test_ecam_sees_extended_space);
    g_test_add_func("/pci/bar-sizing", test_bar_sizing_and_decoding);
    g_test_add_func("/pci/rom", test_rom_is_read_where_both_enables_say);
    g_test_add_func("/pci/bar-impossible", test_bar_at_impossible_addresses_is_not_decoded);
    g_test_add_func("/pci/bar-priority", test_board_chips_win_over_bars);
    g_test_add_func("/pci/bridge", test_bridge_routes_config_and_windows);
    g_test_add_func("/pci/bridge-overlap", test_bus_numbers_that_overlap_end);
    g_test_add_func("/pci/intx", test_intx_routes_and_reroutes);
    g_test_add_func("/pci/intx-swizzle", test_intx_swizzles_behind_bridges);
    g_test_add_func("/pci/msix", test_msix_delivers_masks_and_remembers);
    g_test_add_func("/pci/random", test_random_config_traffic_survives);
    g_test_add_func("/pci/reset", test_reset_restores_and_unmaps);
    g_test_add_func("/pci/state", test_state_moves_to_another_board);
    g_test_add_func("/pci/state-hostile", test_state_of_another_device_is_refused);
    g_test_add_func("/pci/address", test_addresses_parse);
    g_test_add_func("/pci/multifunction", test_functions_need_multifunction);
    return g_test_run();
}
