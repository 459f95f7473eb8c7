/* i440fx.c - the i440FX board on one page: a PCI host bridge, and in slot 1 the PIIX3's ISA
 * bridge and IDE with the PM function of a PIIX4. */
#include "board.h"

#include "ata/ide.h"
#include "devices/piix.h"
#include "devices/shadow.h"

static bool chipset(struct machine *m, GError **err)
{
    m->isa_bridge = piix3_new(&m->pci, err);
    m->host_bridge = m->isa_bridge ? i440fx_new(&m->pci, m->shadow, err) : NULL;
    if (m->host_bridge)
        m->drives = ide_new(m->pci.root, PCI_DEVFN(1, 1), false, NULL, m->clock, err);
    m->pm_function = m->drives ? piix4_pm_new(&m->pci, m->pm, err) : NULL;
    return m->pm_function;
}

static void firmware_setup(struct machine *m)
{
    static const uint8_t pirq_irq[4] = {10, 10, 11, 11};

    pci_config_write(m->host_bridge, I440FX_PAM0, 1, 0x30); /* shadow RAM everywhere */
    for (unsigned i = 1; i < SHADOW_PAM_COUNT; i++)
        pci_config_write(m->host_bridge, I440FX_PAM0 + i, 1, 0x33);
    for (unsigned i = 0; i < 4; i++)
        pci_config_write(m->isa_bridge, PIIX3_PIRQA_ROUT + i, 1, pirq_irq[i]);
    pci_config_write(m->pm_function, PIIX4_PMBASE, 4, BOARD_PM_BASE | 1);
    pci_config_write(m->pm_function, PIIX4_PMREGMISC, 1, PIIX4_PM_ENABLE);
}

const struct board board_i440fx = {
    .root_bus = "pci.0",
    .pm_driver = "PIIX4_PM",
    .pm = ACPI_PM_PIIX4,
    .acpi = ACPI_CHIPSET_PIIX,
    .pirq = piix3_pirq,
    .memory_plan = memory_map_plan_pc,
    .chipset = chipset,
    .firmware_setup = firmware_setup,
};
