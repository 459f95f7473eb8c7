/* drives.c - what monitors ask of a drive, and the hand that presses its button. */
#include "ata/drives.h"

#include "ata/ahci.h"
#include "ata/ide.h"
#include "base/error.h"
#include "base/evloop.h"
#include "block/block.h"
#include "drive.h"

unsigned ata_places(const struct pci_dev *d)
{
    return ahci_is(d) ? AHCI_PORTS : ide_is(d) ? IDE_CHANNELS * IDE_UNITS : 0;
}

static struct ata_drive *drive_at(struct pci_dev *d, unsigned place)
{
    return ahci_is(d) ? ahci_drive(d, place) : ide_drive(d, place);
}

bool ata_drive_info(struct pci_dev *d, unsigned place, struct ata_drive_info *out)
{
    struct ata_drive *v = drive_at(d, place);

    if (!v->present)
        return false;
    pthread_mutex_lock(&d->dev.list->lock);
    *out = (struct ata_drive_info){v->id, v->node, v->cdrom, v->tray_open, v->locked};
    pthread_mutex_unlock(&d->dev.list->lock);
    return true;
}

/* A vcpu may look at the disc under the lock: it is out of the drive before it is let go. */
static void disc_take(struct pci_dev *d, struct ata_drive *v)
{
    struct blk_node *node;

    pthread_mutex_lock(&d->dev.list->lock);
    node = v->node;
    v->node = NULL;
    v->claimed = false;
    pthread_mutex_unlock(&d->dev.list->lock);
    if (!node)
        return;
    blk_drain(node);
    blk_release(node);
}

bool ata_drive_eject(struct pci_dev *d, unsigned place, bool force, GError **err)
{
    struct ata_drive *v = drive_at(d, place);
    bool held, opened;

    if (!v->present || !v->cdrom)
        return error_set(err, HANOK_ERROR_INVALID, "this drive has no tray");
    pthread_mutex_lock(&d->dev.list->lock);
    held = v->locked && !force && !v->tray_open;
    opened = !held && !v->tray_open;
    if (held) {
        mmc_button(v);
    } else {
        v->tray_open = true;
        v->locked = false;
        mmc_medium_changed(v, false);
    }
    pthread_mutex_unlock(&d->dev.list->lock);
    if (held)
        return error_set(err, HANOK_ERROR_BUSY,
                         "the guest has locked the tray of drive '%s'; it has been asked to let go "
                         "(force=true opens it all the same)",
                         v->id ? v->id : "");
    disc_take(d, v);
    if (opened && v->tray_moved)
        v->tray_moved(v->opaque, v->id, true);
    return true;
}

bool ata_drive_insert(struct pci_dev *d, unsigned place, struct blk_node *node, GError **err)
{
    struct ata_drive *v = drive_at(d, place);
    bool closed;

    if (!v->present || !v->cdrom)
        return error_set(err, HANOK_ERROR_INVALID, "this drive takes no other disc");
    if (node && v->node)
        return error_set(err, HANOK_ERROR_BUSY, "there is a disc in the drive; eject it first");
    if (node && !blk_claim(node, v->id ? v->id : "CD-ROM drive", err))
        return false;
    if (node)
        blk_attach(node, evloop_main());
    pthread_mutex_lock(&d->dev.list->lock);
    if (node) {
        v->node = node;
        v->claimed = true;
    }
    closed = v->tray_open;
    v->tray_open = false;
    if (v->node)
        mmc_medium_changed(v, true);
    pthread_mutex_unlock(&d->dev.list->lock);
    if (closed && v->tray_moved)
        v->tray_moved(v->opaque, v->id, false);
    return true;
}
