/* q35.c - the Q35 board on one page: a PCI Express host bridge and the chips of the ICH9. */
#include "board.h"

#include "ata/ahci.h"
#include "devices/chipset.h"
#include "devices/shadow.h"

static bool chipset(struct machine *m, GError **err)
{
    bool sata = true;

    m->isa_bridge = lpc_new(&m->pci, m->pm, err);
    if (m->isa_bridge && m->no_reboot_strap)
        lpc_strap_no_reboot(m->isa_bridge);
    m->host_bridge =
        m->isa_bridge ? mch_new(&m->pci, m->shadow, m->requests.smi ? m->smram : NULL, err) : NULL;
    if (!m->host_bridge || !props_get_bool(m->cfg->machine, "sata", &sata, err))
        return false;
    if (sata)
        m->drives = ahci_new(m->pci.root, PCI_DEVFN(0x1f, 2), true, NULL, m->clock, err);
    return !sata || m->drives;
}

static void firmware_setup(struct machine *m)
{
    enum { RCBA_BASE = 0xfed1c000 };
    static const uint8_t pirq_irq[8] = {10, 10, 11, 11, 10, 10, 11, 11};
    struct pci_dev *mch = m->host_bridge, *lpc = m->isa_bridge;

    pci_config_write(mch, MCH_PCIEXBAR + 4, 4, (uint32_t)(m->map.ecam.base >> 32));
    pci_config_write(mch, MCH_PCIEXBAR, 4, (uint32_t)m->map.ecam.base | 1);
    pci_config_write(mch, MCH_PAM0, 1, 0x30); /* shadow RAM everywhere */
    for (unsigned i = 1; i < SHADOW_PAM_COUNT; i++)
        pci_config_write(mch, MCH_PAM0 + i, 1, 0x33);
    pci_config_write(lpc, LPC_PMBASE, 4, BOARD_PM_BASE | 1);
    pci_config_write(lpc, LPC_ACPI_CNTL, 1, LPC_ACPI_ENABLE); /* SCI is IRQ 9 */
    for (unsigned i = 0; i < 8; i++)
        pci_config_write(lpc, i < 4 ? LPC_PIRQA_ROUT + i : LPC_PIRQE_ROUT + i - 4, 1, pirq_irq[i]);
    pci_config_write(lpc, LPC_RCBA, 4, RCBA_BASE | 1u);
}

const struct board board_q35 = {
    .root_bus = "pcie.0",
    .pm_driver = "ICH9-LPC",
    .pm = ACPI_PM_ICH9,
    .acpi = ACPI_CHIPSET_Q35,
    .pirq = lpc_pirq_default,
    .memory_plan = memory_map_plan,
    .chipset = chipset,
    .firmware_setup = firmware_setup,
};
