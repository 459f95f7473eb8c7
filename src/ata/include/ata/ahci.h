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

#include "bus/pci.h"

struct blk_node;
struct vm_clock;

enum { AHCI_PORTS = 6 };

struct ata_drive_config {
    struct blk_node *node; /* NULL: a CD-ROM drive without a disc */
    bool cdrom, read_only, no_write_cache;
    const char *serial, *model, *version;               /* NULL: defaults; copied */
    uint32_t logical_block_bytes, physical_block_bytes; /* 0: the image's */
    const char *id; /* the user's, for messages and tray events; copied */
    /* The guest moved the tray (main thread); may be NULL. */
    void (*tray_moved)(void *opaque, const char *id, bool open);
    void *opaque;
};

struct pci_dev *ahci_new(struct pci_bus *bus, uint8_t devfn, bool multifunction, const char *id,
                         struct vm_clock *clock, GError **err);
bool ahci_is(const struct pci_dev *d);
/* Before the machine runs.  port < AHCI_PORTS, and free. */
bool ahci_attach(struct pci_dev *d, unsigned port, const struct ata_drive_config *cfg,
                 GError **err);
bool ahci_port_taken(const struct pci_dev *d, unsigned port);

/* What monitors ask: one drive by number of port; false when none is there. */
struct ata_drive_info {
    const char *id;
    struct blk_node *node;
    bool cdrom, tray_open, locked;
};
bool ahci_drive_info(struct pci_dev *d, unsigned port, struct ata_drive_info *out);
/* Main thread.  Opens the tray (force: even when the guest has locked it) and takes the disc out;
 * without force a locked tray only tells the guest that somebody pressed the button: BUSY. */
bool ahci_eject(struct pci_dev *d, unsigned port, bool force, GError **err);
/* Puts a disc in and closes the tray; node NULL: closes it empty. */
bool ahci_insert(struct pci_dev *d, unsigned port, struct blk_node *node, GError **err);

#endif
