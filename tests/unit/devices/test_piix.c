/* The functions of an i440FX board: PAM, SMRAM and its lock, PIRQ routing, PM block, SMBus. */
#include "bus/pci.h"
#include "devices/acpi_pm.h"
#include "devices/pci_testdev.h"
#include "devices/piix.h"
#include "devices/shadow.h"
#include "fixture.h"
#include "mem/guest_mem.h"
#include "mem/layout.h"

struct board {
    struct fixture *f;
    struct pci_host host;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct acpi_pm *pm_block;
    struct pci_dev *bridge, *isa, *pm;
};

static void up(struct board *b, const void *unused)
{
    b->f = fixture_new();
    b->mem = guest_mem_new();
    b->ram = ram_block_new("ram", 2 * MiB, false, false, NULL);
    b->host.root_name = "pci.0";
    struct shadow *shadow =
        shadow_new(&b->f->devices, b->mem, b->f->mmio, b->ram, NULL, false, &b->f->req);
    pci_host_init(&b->host, &b->f->devices, b->f->pio, b->f->mmio, &b->f->chip, b->mem);
    b->pm_block =
        acpi_pm_new(&b->f->devices, b->f->pio, &b->f->chip, b->f->clock, &b->f->req, ACPI_PM_PIIX4);
    b->isa = piix3_new(&b->host, NULL);
    b->bridge = i440fx_new(&b->host, shadow, NULL);
    b->pm = piix4_pm_new(&b->host, b->pm_block, NULL);
    g_assert_true(b->isa && b->bridge && b->pm);
    reset_all(b->f);
}

static void down(struct board *b, const void *unused)
{
    destroy_all(b->f);
    pci_host_fini(&b->host);
    fixture_free(b->f);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
}

static bool is_ram(struct board *b, uint64_t gpa)
{
    mem_layouts_apply(b->mem);
    return guest_mem_ptr(b->mem, GPA(gpa), 1, true) != NULL;
}

static void test_functions_are_where_guests_look(struct board *b, const void *unused)
{
    g_assert_cmphex(pci_host_read(&b->host, 0, PCI_DEVFN(0, 0), 0, 4), ==, 0x12378086);
    g_assert_cmphex(pci_host_read(&b->host, 0, PCI_DEVFN(1, 0), 0, 4), ==, 0x70008086);
    g_assert_cmphex(pci_host_read(&b->host, 0, PCI_DEVFN(1, 0), 0x0e, 1), ==, 0x80);
    g_assert_cmphex(pci_host_read(&b->host, 0, PCI_DEVFN(1, 3), 0, 4), ==, 0x71138086);
    g_assert_cmpstr(b->host.root->name, ==, "pci.0");
}

static void test_pam_makes_ram(struct board *b, const void *unused)
{
    g_assert_false(is_ram(b, 0xc8000));
    pci_config_write(b->bridge, I440FX_PAM0 + 2, 1, 0x33); /* 0xc8000, 0xcc000 */
    g_assert_true(is_ram(b, 0xc8000) && is_ram(b, 0xcc000));
    g_assert_false(is_ram(b, 0xd0000) || is_ram(b, 0xf0000));
    pci_config_write(b->bridge, I440FX_PAM0, 1, 0xff); /* the low half does not exist */
    g_assert_true(is_ram(b, 0xf0000));
    g_assert_cmphex(pci_config_read(b->bridge, I440FX_PAM0, 1), ==, 0x30);
    reset_all(b->f);
    g_assert_false(is_ram(b, 0xc8000) || is_ram(b, 0xf0000));
}

static void test_smram_opens_until_locked(struct board *b, const void *unused)
{
    pci_config_write(b->bridge, I440FX_SMRAM, 1, 0x48);
    g_assert_true(is_ram(b, 0xa0000));
    pci_config_write(b->bridge, I440FX_SMRAM, 1, 0x68); /* closed wins */
    g_assert_false(is_ram(b, 0xa0000));
    pci_config_write(b->bridge, I440FX_SMRAM, 1, 0x58); /* open and lock: closes */
    g_assert_false(is_ram(b, 0xa0000));
    pci_config_write(b->bridge, I440FX_SMRAM, 1, 0x48);
    g_assert_cmphex(pci_config_read(b->bridge, I440FX_SMRAM, 1), ==, 0x1a);
    g_assert_false(is_ram(b, 0xa0000));
    reset_all(b->f);
    pci_config_write(b->bridge, I440FX_SMRAM, 1, 0x48);
    g_assert_true(is_ram(b, 0xa0000));
}

static void test_pins_follow_the_links(struct board *b, const void *unused)
{
    struct pci_dev *d = pci_testdev_new(b->host.root, PCI_DEVFN(4, 0), NULL, NULL);
    g_assert_cmpuint(piix3_pirq(1, 0), ==, 0);
    g_assert_cmpuint(piix3_pirq(4, 1), ==, 0);
    d->config[PCI_INT_PIN] = 2;
    pci_host_reroute_intx(&b->host);
    pci_intx_set(d, true);
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
        g_assert_false(b->f->level[i]);
    pci_config_write(b->isa, PIIX3_PIRQA_ROUT, 1, 11);
    g_assert_true(b->f->level[11]);
    pci_config_write(b->isa, PIIX3_PIRQA_ROUT, 4, 0x80808005);
    g_assert_true(b->f->level[5] && !b->f->level[11]);
    pci_config_write(b->isa, PIIX3_PIRQA_ROUT, 1, 13); /* reserved */
    g_assert_false(b->f->level[5] || b->f->level[13]);
    pci_config_write(b->isa, PIIX3_PIRQA_ROUT, 1, 10);
    g_assert_true(b->f->level[10]);
    reset_all(b->f);
    g_assert_false(b->f->level[10]);
}

static void test_pm_block_has_half_the_size_and_its_own_events(struct board *b, const void *unused)
{
    struct fixture *f = b->f;
    pci_config_write(b->pm, PIIX4_PMBASE, 4, 0xffff0641);
    g_assert_null(io_space_find(f->pio, 0x648));
    pci_config_write(b->pm, PIIX4_PMREGMISC, 1, PIIX4_PM_ENABLE);
    g_assert_nonnull(io_space_find(f->pio, 0x67f));
    g_assert_null(io_space_find(f->pio, 0x680));
    g_assert_cmphex(pci_config_read(b->pm, PIIX4_PMBASE, 4), ==, 0x641);
    outb(f, ACPI_PM_SMI_CMD, ACPI_PM_CMD_ENABLE);
    io_space_write(f->pio, 0x64e, 2, 0x0003); /* enable events 0 and 1 */
    pthread_mutex_lock(&f->devices.lock);
    acpi_pm_gpe_raise(b->pm_block, 1);
    pthread_mutex_unlock(&f->devices.lock);
    g_assert_true(f->level[9]);
    g_assert_cmphex(io_space_read(f->pio, 0x64c, 4), ==, 0x00030002);
    io_space_write(f->pio, 0x64c, 2, 0x0002);
    g_assert_false(f->level[9]);
    g_assert_cmphex(io_space_read(f->pio, 0x660, 4), ==, 0); /* where the ICH9's lie: nothing */
    io_space_write(f->pio, 0x644, 2, 0x2400);
    g_assert_cmpint(f->sleep_state, ==, 3);
}

static void test_nobody_answers_on_the_smbus(struct board *b, const void *unused)
{
    struct fixture *f = b->f;
    pci_config_write(b->pm, PIIX4_SMBBASE, 4, 0x701);
    pci_config_write(b->pm, PIIX4_SMBHSTCFG, 1, 0x09);
    g_assert_cmphex(inb(f, 0x700), ==, 0);
    outb(f, 0x704, 0xa1);
    outb(f, 0x702, 0x48);
    g_assert_cmphex(inb(f, 0x700), ==, 0x04); /* no acknowledge, and not busy */
    outb(f, 0x700, 0xff);
    g_assert_cmphex(inb(f, 0x700), ==, 0);
    pci_config_write(b->pm, PIIX4_SMBHSTCFG, 1, 0);
    g_assert_null(io_space_find(f->pio, 0x700));
}

static void test_state_comes_back(struct board *b, const void *unused)
{
    struct board c = {0};
    up(&c, NULL);
    pci_config_write(b->bridge, I440FX_PAM0 + 1, 1, 0x33);
    pci_config_write(b->bridge, I440FX_SMRAM, 1, 0x18);
    pci_config_write(b->isa, PIIX3_PIRQA_ROUT, 4, 0x0b0b0a0a);
    pci_config_write(b->pm, PIIX4_PMBASE, 4, 0x600);
    pci_config_write(b->pm, PIIX4_PMREGMISC, 1, PIIX4_PM_ENABLE);
    io_space_write(b->f->pio, 0x60c, 4, 0x00070000);
    io_space_write(b->f->pio, 0xcf8, 4, 0x80000810);
    check_state_moves(b->f, c.f);
    g_assert_true(is_ram(&c, 0xc0000));
    pci_config_write(c.bridge, I440FX_SMRAM, 1, 0x48); /* still locked */
    g_assert_false(is_ram(&c, 0xa0000));
    g_assert_cmphex(io_space_read(c.f->pio, 0x60c, 4), ==, 0x00070000);
    g_assert_cmphex(io_space_read(c.f->pio, 0xcf8, 4), ==, 0x80000810);
    down(&c, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, fn) g_test_add("/piix/" name, struct board, NULL, up, fn, down)
    TEST("places", test_functions_are_where_guests_look);
    TEST("pam", test_pam_makes_ram);
    TEST("smram", test_smram_opens_until_locked);
    TEST("pirq", test_pins_follow_the_links);
    TEST("pm-block", test_pm_block_has_half_the_size_and_its_own_events);
    TEST("smbus", test_nobody_answers_on_the_smbus);
    TEST("state", test_state_comes_back);
    return g_test_run();
}
