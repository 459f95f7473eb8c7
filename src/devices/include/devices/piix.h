/* piix.h - the functions every i440FX board has: host bridge, PIIX3 ISA bridge, PIIX4 power
 * management.
 *
 *   i440fx (0:0.0)   PAM and SMRAM steer the first megabyte (shadow.h)
 *   piix3 (0:1.0)    PIRQ A-D to ISA interrupts; the interrupt goes to the 8259 and to the IOAPIC
 *                    pin of the same number
 *   piix4 (0:1.3)    where the acpi_pm block lies; an SMBus on which no device answers
 *
 * Owner:   the bus.   Threads: config space under the board lock.
 * Spec:    Intel 82441FX data sheet §3.2; 82371SB (PIIX3) §2.2; 82371AB (PIIX4) ch. 7. */
#ifndef DEVICES_PIIX_H
#define DEVICES_PIIX_H

#include "bus/pci.h"

struct acpi_pm;
struct shadow;

enum {
    I440FX_PAM0 = 0x59, /* 7 bytes */
    I440FX_SMRAM = 0x72,
    PIIX3_PIRQA_ROUT = 0x60, /* 4 bytes: A-D */
    PIIX4_PMBASE = 0x40,     /* bits 15:6 */
    PIIX4_PMREGMISC = 0x80,
    PIIX4_PM_ENABLE = 0x01,
    PIIX4_SMBBASE = 0x90, /* bits 15:4 */
    PIIX4_SMBHSTCFG = 0xd2,
    PIIX4_SMB_ENABLE = 0x01,
};

/* shadow may be NULL: then PAM and SMRAM are stored only. */
struct pci_dev *i440fx_new(struct pci_host *h, struct shadow *shadow, GError **err);
/* Takes over host->route_intx_pic. */
struct pci_dev *piix3_new(struct pci_host *h, GError **err);
/* pm outlives the function. */
struct pci_dev *piix4_pm_new(struct pci_host *h, struct acpi_pm *pm, GError **err);
/* PIRQ (0 = A .. 3 = D) that a root-bus slot's pin is wired to: what _PRT says. */
unsigned piix3_pirq(unsigned slot, unsigned pin);

#endif
