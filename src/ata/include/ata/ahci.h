/* ahci.h - the ICH9's SATA controller and the drives on its six ports.
 *
 *   guest: PxCI --> command list --> command FIS --> ata_decode() --> blk_submit
 *   done:  FIS into guest memory, PxIS, interrupt
 *
 * Owner:   the PCI bus owns the controller, the controller its drives.
 * Threads: registers under the board lock; requests start and end in the main thread, which takes
 * it. Spec:    Serial ATA AHCI 1.3.1; ATA8-ACS; MMC-5 for CD-ROM drives. */
#ifndef ATA_AHCI_H
#define ATA_AHCI_H

#include "ata/drives.h"

struct vm_clock;

enum { AHCI_PORTS = 6 };

struct pci_dev *ahci_new(struct pci_bus *bus, uint8_t devfn, bool multifunction, const char *id,
                         struct vm_clock *clock, GError **err);
bool ahci_is(const struct pci_dev *d);
/* Before the machine runs.  port < AHCI_PORTS, and free. */
bool ahci_attach(struct pci_dev *d, unsigned port, const struct ata_drive_config *cfg,
                 GError **err);
bool ahci_port_taken(const struct pci_dev *d, unsigned port);

#endif
