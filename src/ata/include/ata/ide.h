/* ide.h - the PIIX3's IDE function: two cables with two drives each, PIO and bus-master DMA.
 *
 *   ports 0x1f0, 0x170 --> task file --> ata_decode() --> buffer --> PIO, or the PRD list (DMA)
 *
 * Owner:   the PCI bus owns the controller, the controller its drives.
 * Threads: registers under the board lock; requests start and end in the main thread.
 * Spec:    Intel 82371SB (PIIX3) data sheet §2.3; "Programming Interface for Bus Master IDE
 *          Controller" 1.0; ATA/ATAPI-6 (T13/1410D) for the cable; SFF-8020i for packets. */
#ifndef ATA_IDE_H
#define ATA_IDE_H

#include "ata/drives.h"

struct vm_clock;

enum { IDE_CHANNELS = 2, IDE_UNITS = 2 };

/* At the ports and interrupts of a PC: one in a machine. */
struct pci_dev *ide_new(struct pci_bus *bus, uint8_t devfn, bool multifunction, const char *id,
                        struct vm_clock *clock, GError **err);
bool ide_is(const struct pci_dev *d);
bool ide_unit_taken(const struct pci_dev *d, unsigned channel, unsigned unit);
/* Before the machine runs. */
bool ide_attach(struct pci_dev *d, unsigned channel, unsigned unit,
                const struct ata_drive_config *cfg, GError **err);

#endif
