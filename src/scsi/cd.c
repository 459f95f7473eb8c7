/* cd.c - CD-ROM drives: those of src/ata, whose packets are SCSI commands, on another cable. */
#include "scsi_int.h"

#include "base/error.h"
#include "base/evloop.h"

#include <glib.h>

static void node_here(struct scsi_lun *l)
{
    blk_attach(l->cd.node, l->bus->loop);
    blk_on_batch(l->cd.node, scsi_batch_end, l);
}

bool scsi_cd_init(struct scsi_lun *l, const struct scsi_config *cfg, GError **err)
{
    struct ata_drive_config c = {.node = cfg->node,
                                 .cdrom = true,
                                 .serial = cfg->serial,
                                 .model = l->product,
                                 .version = l->version,
                                 .id = cfg->id,
                                 .tray_moved = cfg->tray_moved,
                                 .opaque = cfg->opaque};

    if (!ata_drive_init(&l->cd, &c, err))
        return false;
    l->cd.attention = false;
    if (l->cd.node)
        node_here(l);
    return true;
}

/* ---- commands ---- */

/* What INQUIRY says of the cable: this is not ATAPI. */
static void inquiry_adapt(struct scsi_lun *l, uint8_t *b)
{
    b[2] = 5;
    b[3] = 0x12;
    b[7] = 0x02;
    memcpy(b + 8, l->vendor, 8);
    memcpy(b + 16, l->product, 16);
    memcpy(b + 32, l->version, 4);
}

static void tray_tell(void *opaque)
{
    struct scsi_lun *l = opaque;

    pthread_mutex_lock(&l->lock);
    bool open = l->cd.tray_open;
    pthread_mutex_unlock(&l->lock);
    if (l->cd.tray_moved)
        l->cd.tray_moved(l->cd.opaque, l->cd.id, open);
}

void scsi_cd_start(struct scsi_task *t)
{
    struct scsi_lun *l = t->lun;
    struct ata_op op;
    uint8_t data[ATA_BUFFER_BYTES];
    uint8_t key;
    uint16_t asc;

    pthread_mutex_lock(&l->lock);
    mmc_command(&l->cd, t->cdb, &op);
    if (op.kind == ATA_OP_DATA_IN) {
        if (t->cdb[0] == 0x12 && !(t->cdb[1] & 1))
            inquiry_adapt(l, l->cd.buffer);
        memcpy(data, l->cd.buffer, op.len);
    }
    key = l->cd.sense_key;
    asc = (uint16_t)(l->cd.asc << 8 | l->cd.ascq);
    if (op.kind == ATA_OP_FAIL) /* told with the status */
        l->cd.sense_key = l->cd.asc = l->cd.ascq = 0;
    if (l->cd.tray_news)
        evloop_defer(evloop_main(), tray_tell, l);
    l->cd.tray_news = false;
    pthread_mutex_unlock(&l->lock);
    if (op.kind == ATA_OP_FAIL) {
        scsi_fail(t, key, asc);
    } else if (op.kind == ATA_OP_DATA_IN) {
        scsi_reply(t, data, op.len, op.len);
    } else if (op.kind != ATA_OP_READ) {
        scsi_end(t);
    } else if (op.len > t->room_bytes || t->to_host) {
        t->overrun = true;
        scsi_end(t);
    } else {
        t->blk.op = BLK_READ;
        t->blk.flags = 0;
        t->blk.offset_bytes = op.offset_bytes;
        scsi_transfer(t, op.len);
    }
}

void scsi_cd_fini(struct scsi_lun *l)
{
    evloop_undefer(evloop_main(), tray_tell, l);
    ata_drive_fini(&l->cd);
}

/* ---- monitors ---- */

static bool has_tray(const struct scsi_lun *l, GError **err)
{
    return l->cdrom || error_set(err, HANOK_ERROR_INVALID, "this drive has no tray");
}

static void nothing(void *unused)
{
}

/* The tray is open, so no command starts to read; one that has begun to comes to its request. */
static void disc_take(struct scsi_lun *l)
{
    struct blk_node *node = l->cd.node;

    if (!node)
        return;
    evloop_call(l->bus->loop, nothing, NULL);
    blk_drain(node);
    blk_on_batch(node, NULL, NULL);
    blk_attach(node, evloop_main());
    pthread_mutex_lock(&l->lock);
    l->cd.node = NULL;
    l->cd.claimed = false;
    pthread_mutex_unlock(&l->lock);
    blk_release(node);
}

bool scsi_lun_eject(struct scsi_lun *l, bool force, GError **err)
{
    struct ata_drive *v = &l->cd;

    if (!has_tray(l, err))
        return false;
    pthread_mutex_lock(&l->lock);
    bool held = v->locked && !force && !v->tray_open, opened = !held && !v->tray_open;
    if (held) {
        mmc_button(v);
    } else {
        v->tray_open = true;
        v->locked = false;
        mmc_medium_changed(v, false);
    }
    pthread_mutex_unlock(&l->lock);
    if (held)
        return error_set(err, HANOK_ERROR_BUSY,
                         "the guest has locked the tray of drive '%s'; it has been asked to let go "
                         "(force=true opens it all the same)",
                         v->id ? v->id : "");
    disc_take(l);
    if (opened)
        tray_tell(l);
    return true;
}

bool scsi_lun_insert(struct scsi_lun *l, struct blk_node *node, GError **err)
{
    struct ata_drive *v = &l->cd;

    if (!has_tray(l, err))
        return false;
    if (node && v->node)
        return error_set(err, HANOK_ERROR_BUSY, "there is a disc in the drive; eject it first");
    if (node && !blk_claim(node, v->id ? v->id : "CD-ROM drive", err))
        return false;
    pthread_mutex_lock(&l->lock);
    if (node) {
        v->node = node;
        v->claimed = true;
        node_here(l);
    }
    bool closed = v->tray_open;
    v->tray_open = false;
    if (v->node)
        mmc_medium_changed(v, true);
    pthread_mutex_unlock(&l->lock);
    if (closed)
        tray_tell(l);
    return true;
}
