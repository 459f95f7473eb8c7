/* drives.h - the drives on the controllers of this folder: how they are made, what monitors ask of
 * them and do to them.
 *
 * A drive is named by its controller and a place: the port of an AHCI controller, or 2 * channel +
 * unit of an IDE controller.
 *
 * Threads: main. */
#ifndef ATA_DRIVES_H
#define ATA_DRIVES_H

#include "bus/pci.h"

struct blk_node;

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

struct ata_drive_info {
    const char *id;
    struct blk_node *node;
    bool cdrom, tray_open, locked;
};

/* How many places a controller has; 0: it is no controller of these. */
unsigned ata_places(const struct pci_dev *d);
/* False when no drive is there. */
bool ata_drive_info(struct pci_dev *d, unsigned place, struct ata_drive_info *out);
/* Opens the tray (force: even when the guest has locked it) and takes the disc out; without force a
 * locked tray only tells the guest that somebody pressed the button: BUSY. */
bool ata_drive_eject(struct pci_dev *d, unsigned place, bool force, GError **err);
/* Puts a disc in and closes the tray; node NULL: closes it empty. */
bool ata_drive_insert(struct pci_dev *d, unsigned place, struct blk_node *node, GError **err);

#endif
