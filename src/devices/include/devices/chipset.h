/* chipset.h - the q35 host bridge and the ICH9 LPC bridge: the two functions every q35 has.
 *
 *   mch (0:0.0)   PCIEXBAR switches ECAM on; PAM and SMRAM steer the first megabyte (shadow.h);
 *                 TSEG registers are stored
 *   lpc (0:1f.0)  PIRQ routing, PMBASE/ACPI_CNTL (the acpi_pm block), RCBA (DxxIR routing)
 *
 * Owner:   the bus.   Threads: config space under the board lock.
 * Spec:    Intel 3 Series (82G33/82Q35) data sheet ch. 5; Intel ICH9 data sheet ch. 10, 13. */
#ifndef DEVICES_CHIPSET_H
#define DEVICES_CHIPSET_H

#include "bus/pci.h"

struct acpi_pm;
struct shadow;

enum {
    MCH_PCIEXBAR = 0x60, /* 64 bits: bit 0 enable, 2:1 size, 35:26 base */
    MCH_PAM0 = 0x90,     /* 7 bytes */
    MCH_EXT_TSEG = 0x50, /* MiB that TSEG_SZ 3 stands for */
    MCH_SMRAM = 0x9d,
    MCH_ESMRAMC = 0x9e,
    MCH_GBSM = 0xa4, /* bits 31:20, as in the next two */
    MCH_BGSM = 0xa8,
    MCH_TSEGMB = 0xac,
    MCH_TOLUD = 0xb0,  /* bits 15:4 */
    LPC_PMBASE = 0x40, /* bits 15:7 */
    LPC_ACPI_CNTL = 0x44,
    LPC_ACPI_ENABLE = 0x80,
    LPC_PIRQA_ROUT = 0x60, /* 4 bytes: A-D */
    LPC_PIRQE_ROUT = 0x68, /* 4 bytes: E-H */
    LPC_GEN_PMCON_1 = 0xa0,
    LPC_SMI_LOCK = 0x10,
    LPC_RCBA = 0xf0, /* bits 31:14, bit 0 enable */
};

struct smram;
/* shadow may be NULL: then PAM and SMRAM are stored only.  smram NULL: no memory is hidden. */
struct pci_dev *mch_new(struct pci_host *h, struct shadow *shadow, struct smram *smram,
                        GError **err);
/* Takes over host->route_intx.  pm outlives the bridge. */
struct pci_dev *lpc_new(struct pci_host *h, struct acpi_pm *pm, GError **err);
/* The strap that keeps the TCO watchdog from acting: software cannot clear NO_REBOOT then. */
void lpc_strap_no_reboot(struct pci_dev *d);
/* PIRQ (0 = A .. 7 = H) of a root-bus slot's pin as hardware wires it at reset: what _PRT says. */
unsigned lpc_pirq_default(unsigned slot, unsigned pin);

#endif
