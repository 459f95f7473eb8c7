/* System management mode as the chip set has it: SMRAM that opens, hides, locks and comes back by a
 * reset; SMIs by the command port, and the lock on their enable. */
#include "bus/pci.h"
#include "devices/acpi_pm.h"
#include "devices/chipset.h"
#include "devices/shadow.h"
#include "devices/smram.h"
#include "fixture.h"
#include "mem/layout.h"

#define LOW      (UINT64_C(64) << 20)
#define PM_BASE  0x600
#define SMI_EN   (PM_BASE + ACPI_PM_OFF_SMI_EN)
#define ENABLE   SHADOW_SMRAM_ENABLE
#define TSEG(sz) (ESMRAMC_T_EN | (sz) << 1)

struct board {
    struct fixture *f;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct pci_host host;
    struct pci_dev *mch, *lpc;
    unsigned smis;
};

static void on_change(void *opaque)
{
}

static void on_smi(void *opaque)
{
    ((struct board *)opaque)->smis++;
}

static void board_up(struct board *b, gconstpointer with_smm)
{
    b->f = fixture_new();
    b->f->req.map_changed = on_change;
    b->f->req.opaque = b;
    b->f->req.smi = with_smm ? on_smi : NULL;
    b->mem = guest_mem_new();
    b->ram = ram_block_new("pc.ram", LOW, false, false, NULL);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, 640 * KiB, GUEST_RAM);
    guest_mem_map(b->mem, GPA(MiB), b->ram, MiB, LOW - MiB - SMRAM_TAIL_BYTES, GUEST_RAM);
    struct shadow *shadow =
        shadow_new(&b->f->devices, b->mem, b->f->mmio, b->ram, NULL, false, &b->f->req);
    struct smram *smram = smram_new(&b->f->devices, b->mem, b->ram, LOW, &b->f->req);
    pci_host_init(&b->host, &b->f->devices, b->f->pio, b->f->mmio, &b->f->chip, NULL);
    struct acpi_pm *pm =
        acpi_pm_new(&b->f->devices, b->f->pio, &b->f->chip, b->f->clock, &b->f->req, ACPI_PM_ICH9);
    b->lpc = lpc_new(&b->host, pm, NULL);
    b->mch = mch_new(&b->host, shadow, smram, NULL);
    device_list_reset(&b->f->devices);
    mem_layouts_apply(b->mem);
    pci_config_write(b->lpc, LPC_PMBASE, 4, PM_BASE);
    pci_config_write(b->lpc, LPC_ACPI_CNTL, 1, LPC_ACPI_ENABLE);
}

static void board_down(struct board *b, gconstpointer with_smm)
{
    b->f->req = (struct board_requests){0};
    destroy_all(b->f);
    pci_host_fini(&b->host);
    fixture_free(b->f);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
}

static void steer(struct board *b, uint8_t smram, uint8_t esmramc)
{
    pci_config_write(b->mch, MCH_ESMRAMC, 1, esmramc);
    pci_config_write(b->mch, MCH_SMRAM, 1, smram);
    mem_layouts_apply(b->mem);
}

/* What a device finds there. */
static bool seen(struct board *b, uint64_t gpa)
{
    uint8_t v;
    bool read = guest_mem_read(b->mem, GPA(gpa), &v, 1) == 0;

    g_assert_cmpint(guest_mem_write(b->mem, GPA(gpa), &v, 1) == 0, ==, read);
    g_assert_cmpint(guest_mem_ptr(b->mem, GPA(gpa), 1, true) != NULL, ==, read);
    return read;
}

static bool hidden(struct board *b, uint64_t gpa)
{
    g_assert_false(seen(b, GUEST_MEM_HIDDEN + gpa)); /* devices never get there */
    const struct guest_region *r = guest_mem_find(b->mem, GPA(GUEST_MEM_HIDDEN + gpa));
    if (r)
        g_assert_true(r->host + (GUEST_MEM_HIDDEN + gpa - r->gpa) == ram_block_host(b->ram) + gpa);
    return r != NULL;
}

static void test_tseg_is_the_top_of_low_memory(struct board *b, gconstpointer unused)
{
    static const unsigned mib[] = {1, 2, 8, 16};

    g_assert_cmpuint(pci_config_read(b->mch, MCH_EXT_TSEG, 2), ==, 16);
    g_assert_true(seen(b, LOW - 1) && !hidden(b, LOW - 1));
    for (uint8_t sz = 0; sz < 4; sz++) {
        uint64_t base = LOW - mib[sz] * MiB;
        steer(b, ENABLE, TSEG(sz));
        g_assert_true(!seen(b, base) && hidden(b, base) && !seen(b, LOW - 1) && hidden(b, LOW - 1));
        g_assert_true(seen(b, base - 1) && !hidden(b, base - 1));
        steer(b, 0, TSEG(sz)); /* nothing is hidden without G_SMRAME */
        g_assert_true(seen(b, base) && !hidden(b, base));
    }
}

static void test_the_low_segment_opens_and_closes(struct board *b, gconstpointer unused)
{
    g_assert_true(!seen(b, 0xa0000) && !hidden(b, 0xa0000));
    steer(b, ENABLE | SHADOW_SMRAM_OPEN, 0);
    g_assert_true(seen(b, 0xa0000) && !hidden(b, 0xbffff));
    steer(b, ENABLE, 0);
    g_assert_true(!seen(b, 0xa0000) && hidden(b, 0xa0000) && hidden(b, 0xbffff));
}

static void test_lock_lasts_until_a_reset(struct board *b, gconstpointer unused)
{
    steer(b, ENABLE | SHADOW_SMRAM_LOCK | SHADOW_SMRAM_OPEN, TSEG(2));
    g_assert_cmphex(pci_config_read(b->mch, MCH_SMRAM, 1), ==, ENABLE | SHADOW_SMRAM_LOCK | 2);
    for (unsigned i = 0; i < 256; i++) {
        steer(b, (uint8_t)i, (uint8_t)~i);
        pci_config_write(b->mch, MCH_SMRAM - 1, 4, i << 8 | i << 16);
        mem_layouts_apply(b->mem);
        g_assert_true(!seen(b, LOW - 8 * MiB) && hidden(b, 0xa0000));
    }
    device_list_reset(&b->f->devices);
    mem_layouts_apply(b->mem);
    g_assert_true(seen(b, LOW - 1) && !hidden(b, LOW - 1) && !hidden(b, 0xa0000));
    steer(b, ENABLE | SHADOW_SMRAM_OPEN, 0);
    g_assert_true(seen(b, 0xa0000));
}

static void test_smi_by_the_command_port(struct board *b, gconstpointer unused)
{
    io_space_write(b->f->pio, ACPI_PM_SMI_CMD, 1, 0x42);
    g_assert_cmpuint(b->smis, ==, 0);
    io_space_write(b->f->pio, SMI_EN, 4, 0x21);
    io_space_write(b->f->pio, ACPI_PM_SMI_CMD + 1, 1, 1); /* data only */
    g_assert_cmpuint(b->smis, ==, 0);
    io_space_write(b->f->pio, ACPI_PM_SMI_CMD, 1, 0x42);
    g_assert_cmpuint(b->smis, ==, 1);
    g_assert_cmphex(io_space_read(b->f->pio, PM_BASE + ACPI_PM_OFF_SMI_STS, 4), ==, 0x20);
    io_space_write(b->f->pio, PM_BASE + ACPI_PM_OFF_SMI_STS, 4, 0x20);
    g_assert_cmphex(io_space_read(b->f->pio, PM_BASE + ACPI_PM_OFF_SMI_STS, 4), ==, 0);
    pci_config_write(b->lpc, LPC_GEN_PMCON_1, 1, LPC_SMI_LOCK);
    pci_config_write(b->lpc, LPC_GEN_PMCON_1, 1, 0); /* stays */
    io_space_write(b->f->pio, SMI_EN, 4, 0x20);
    g_assert_cmphex(io_space_read(b->f->pio, SMI_EN, 4), ==, 0x21);
    device_list_reset(&b->f->devices);
    g_assert_cmphex(pci_config_read(b->lpc, LPC_GEN_PMCON_1, 1), ==, 0);
}

static void test_without_smm_all_looks_set_up(struct board *b, gconstpointer unused)
{
    g_assert_cmphex(io_space_read(b->f->pio, SMI_EN, 4) & 0x20, ==, 0x20);
    io_space_write(b->f->pio, SMI_EN, 4, 0x21);
    io_space_write(b->f->pio, ACPI_PM_SMI_CMD, 1, 0x42);
    g_assert_cmpuint(b->smis, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn, smm)                                                                         \
    g_test_add("/smram/" name, struct board, GINT_TO_POINTER(smm), board_up, fn, board_down)
    ADD("tseg", test_tseg_is_the_top_of_low_memory, 1);
    ADD("low", test_the_low_segment_opens_and_closes, 1);
    ADD("lock", test_lock_lasts_until_a_reset, 1);
    ADD("smi", test_smi_by_the_command_port, 1);
    ADD("none", test_without_smm_all_looks_set_up, 0);
    return g_test_run();
}
