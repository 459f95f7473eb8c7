/* drive.c - what each ATA command means. */
#include "drive.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/util.h"
#include "block/block.h"

#include <glib.h>

enum {
    DEV_LBA = 0x40,
    HEADS = 16,
    SECTORS_PER_TRACK = 63,
    F_WRITE_CACHE_ON = 0x02,
    F_TRANSFER_MODE = 0x03,
    F_READ_AHEAD_OFF = 0x55,
    F_WRITE_CACHE_OFF = 0x82,
    F_READ_AHEAD_ON = 0xaa,
    LOG_DIRECTORY = 0x00,
    LOG_NCQ_ERROR = 0x10,
    DSM_TRIM = 0x01,
    MULTIPLE_MAX = 16,
};

uint64_t ata_sectors(const struct ata_drive *d)
{
    struct blk_limits l;

    if (!d->node)
        return 0;
    blk_limits(d->node, &l);
    return l.size_bytes / (d->cdrom ? CD_SECTOR : ATA_SECTOR);
}

uint16_t ata_signature(const struct ata_drive *d)
{
    return d->cdrom ? 0xeb14 : 0x0000;
}

/* ---- rows: one per media command ---- */

enum { PIO = 1, EXT = 2, WRITES = 4, FUA = 8, NCQ = 16, VERIFY = 32 };
static const struct media_row {
    uint8_t command, flags;
} media_rows[] = {
    {0x20, PIO},
    {0x21, PIO},
    {0x24, PIO | EXT},
    {0xc4, PIO},
    {0x29, PIO | EXT},
    {0xc8, 0},
    {0xc9, 0},
    {0x25, EXT},
    {0x60, EXT | NCQ},
    {0x30, PIO | WRITES},
    {0x31, PIO | WRITES},
    {0x34, PIO | EXT | WRITES},
    {0xc5, PIO | WRITES},
    {0x39, PIO | EXT | WRITES},
    {0xca, WRITES},
    {0xcb, WRITES},
    {0x35, EXT | WRITES},
    {0x61, EXT | NCQ | WRITES},
    {0x3d, EXT | WRITES | FUA},
    {0xce, PIO | EXT | WRITES | FUA},
    {0x40, VERIFY},
    {0x41, VERIFY},
    {0x42, VERIFY | EXT},
};

bool ata_is_multiple(uint8_t command)
{
    return command == 0xc4 || command == 0x29 || command == 0xc5 || command == 0x39 ||
           command == 0xce;
}

static uint64_t first_sector(const struct ata_taskfile *tf, bool ext)
{
    uint64_t low = tf->lba & 0xffffff;

    if (ext)
        return tf->lba;
    if (tf->device & DEV_LBA)
        return low | (uint64_t)(tf->device & 15) << 24;
    /* cylinder, head, sector: sectors count from 1 */
    return ((low >> 8) * HEADS + (tf->device & 15)) * SECTORS_PER_TRACK + (low & 0xff) - 1;
}

static void op_fail(struct ata_op *op, uint8_t error)
{
    op->kind = ATA_OP_FAIL;
    op->error = error;
}

static void media_decode(struct ata_drive *d, const struct media_row *row,
                         const struct ata_taskfile *tf, struct ata_op *op)
{
    bool ext = row->flags & EXT;
    uint32_t count = row->flags & NCQ ? tf->features : tf->count, limit = ext ? 65536 : 256;
    uint64_t first = first_sector(tf, ext), total = ata_sectors(d);

    op->ncq = row->flags & NCQ;
    if (!ext)
        count &= 0xff;
    if (count == 0)
        count = limit;
    if (ata_is_multiple(row->command) && d->multiple == 0) {
        op_fail(op, ATA_E_ABORT);
        return;
    }
    if (first >= total || count > total - first) {
        op_fail(op, ATA_E_IDNF | (row->flags & NCQ ? ATA_E_ABORT : 0));
        return;
    }
    if ((row->flags & WRITES) && d->read_only) {
        op_fail(op, ATA_E_ABORT);
        return;
    }
    op->pio = row->flags & PIO;
    op->lba48 = ext;
    op->offset_bytes = first * ATA_SECTOR;
    op->len = count * ATA_SECTOR;
    op->kind = row->flags & VERIFY ? ATA_OP_DONE : row->flags & WRITES ? ATA_OP_WRITE : ATA_OP_READ;
    /* FPDMA has FUA in the device register */
    op->fua =
        (row->flags & WRITES) &&
        ((row->flags & FUA) || ((row->flags & NCQ) && (tf->device & 0x80)) || !d->write_cache);
    if (op->kind == ATA_OP_DONE) {
        op->lba = tf->lba;
        op->count = 0;
    }
}

/* ---- the rest ---- */

static void set_features(struct ata_drive *d, const struct ata_taskfile *tf, struct ata_op *op)
{
    switch (tf->features & 0xff) {
    case F_WRITE_CACHE_ON:
    case F_WRITE_CACHE_OFF:
        d->write_cache = (tf->features & 0xff) == F_WRITE_CACHE_ON;
        break;
    case F_READ_AHEAD_ON:
    case F_READ_AHEAD_OFF:
        d->read_ahead = (tf->features & 0xff) == F_READ_AHEAD_ON;
        break;
    case F_TRANSFER_MODE:
        /* PIO default and flow control, multiword and Ultra DMA: what identify offers */
        if ((tf->count & 0xf8) > 0x40 || ((tf->count & 0xf8) == 0x40 && (tf->count & 7) > 6))
            op_fail(op, ATA_E_ABORT);
        break;
    case 0x05: /* advanced power management, accepted */
    case 0x85:
    case 0x42: /* acoustic management */
    case 0xc2:
    case 0x66: /* power-on defaults */
    case 0xcc:
    case 0x10: /* SATA features */
    case 0x90:
        break;
    default:
        op_fail(op, ATA_E_ABORT);
    }
}

static void read_log(struct ata_drive *d, const struct ata_taskfile *tf, struct ata_op *op)
{
    unsigned log = tf->lba & 0xff, page = (tf->lba >> 8 & 0xff) | (tf->lba >> 32 & 0xff) << 8;

    if (tf->count != 1 || page != 0 || (log != LOG_DIRECTORY && log != LOG_NCQ_ERROR)) {
        op_fail(op, ATA_E_ABORT);
        return;
    }
    memset(d->buffer, 0, ATA_SECTOR);
    if (log == LOG_DIRECTORY) {
        le16_put(d->buffer, 1);
        le16_put(d->buffer + 2 * LOG_NCQ_ERROR, 1);
    } else {
        d->buffer[0] = d->failed_tag;
        d->buffer[2] = ATA_DRDY | ATA_ERR;
        d->buffer[3] = d->failed_error;
        uint8_t sum = 0;
        for (unsigned i = 0; i < ATA_SECTOR - 1; i++)
            sum += d->buffer[i];
        d->buffer[ATA_SECTOR - 1] = (uint8_t)-sum;
    }
    op->kind = ATA_OP_DATA_IN;
    op->pio = tf->command == 0x2f;
    op->len = ATA_SECTOR;
}

static void data_in(struct ata_op *op, uint32_t len)
{
    op->kind = ATA_OP_DATA_IN;
    op->pio = true;
    op->len = len;
}

static void native_max(struct ata_drive *d, bool ext, struct ata_op *op)
{
    uint64_t last = ata_sectors(d) - 1;

    op->lba48 = ext;
    op->lba = ext ? last : MIN_OF(last, UINT64_C(0xfffffff));
}

static void trim(struct ata_drive *d, const struct ata_taskfile *tf, struct ata_op *op)
{
    struct blk_limits l;

    blk_limits(d->node, &l);
    if (!(tf->features & DSM_TRIM) || tf->count == 0 || tf->count > ATA_BUFFER_BYTES / ATA_SECTOR ||
        d->read_only || !l.can_discard) {
        op_fail(op, ATA_E_ABORT);
        return;
    }
    op->kind = ATA_OP_TRIM;
    op->lba48 = true;
    op->len = tf->count * ATA_SECTOR;
}

bool ata_trim_range(const struct ata_drive *d, const uint8_t entry[8], uint64_t *offset_bytes,
                    uint64_t *len_bytes)
{
    uint64_t v = le64_get(entry), first = v & UINT64_C(0xffffffffffff), total = ata_sectors(d);
    uint64_t count = MIN_OF(v >> 48, first < total ? total - first : 0);

    *offset_bytes = first * ATA_SECTOR;
    *len_bytes = count * ATA_SECTOR;
    return count != 0;
}

static void disk_decode(struct ata_drive *d, const struct ata_taskfile *tf, struct ata_op *op)
{
    switch (tf->command) {
    case 0xec:
        ata_identify(d);
        data_in(op, ATA_SECTOR);
        break;
    case 0xe7:
    case 0xea:
        op->kind = ATA_OP_FLUSH;
        op->lba48 = tf->command == 0xea;
        break;
    case 0xc6: /* a power of two, or off */
        if ((tf->count & 0xff) > MULTIPLE_MAX || (tf->count & (tf->count - 1) & 0xff))
            op_fail(op, ATA_E_ABORT);
        else
            d->multiple = (uint8_t)tf->count;
        break;
    case 0x27:
    case 0xf8:
        native_max(d, tf->command == 0x27, op);
        break;
    case 0x06:
        trim(d, tf, op);
        break;
    case 0x2f:
    case 0x47:
        read_log(d, tf, op);
        break;
    case 0x91: /* initialize device parameters */
    case 0xf5: /* security freeze lock: there is no security */
        break;
    default:
        if ((tf->command & 0xf0) != 0x10 && (tf->command & 0xf0) != 0x70) /* recalibrate, seek */
            op_fail(op, ATA_E_ABORT);
    }
}

static void cd_decode(struct ata_drive *d, const struct ata_taskfile *tf, struct ata_op *op)
{
    switch (tf->command) {
    case 0xa0:
        op->kind = ATA_OP_PACKET;
        break;
    case 0xa1:
        ata_identify_packet(d);
        data_in(op, ATA_SECTOR);
        break;
    case 0x08: /* device reset */
        ata_drive_reset(d);
        op->lba = (uint64_t)ata_signature(d) << 8 | 1;
        op->count = 1;
        break;
    default: /* a disk's commands are aborted, with the signature that tells what this is */
        op_fail(op, ATA_E_ABORT);
        op->lba = (uint64_t)ata_signature(d) << 8 | 1;
        op->count = 1;
    }
}

void ata_decode(struct ata_drive *d, const struct ata_taskfile *tf, struct ata_op *op)
{
    *op = (struct ata_op){.kind = ATA_OP_DONE, .lba = tf->lba, .count = tf->count};
    switch (tf->command) {
    case 0x90: /* diagnostics: passed */
        op->lba = (uint64_t)ata_signature(d) << 8 | 1;
        op->count = 1;
        return;
    case 0xef:
        set_features(d, tf, op);
        return;
    case 0xe5: /* power mode: active */
    case 0x98:
        op->count = 0xff;
        return;
    case 0xe0: /* standby and idle, at once or later; sleep: never asleep */
    case 0xe1:
    case 0xe2:
    case 0xe3:
    case 0xe6:
        return;
    }
    if (d->cdrom) {
        cd_decode(d, tf, op);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(media_rows); i++) {
        if (media_rows[i].command == tf->command) {
            media_decode(d, &media_rows[i], tf, op);
            return;
        }
    }
    disk_decode(d, tf, op);
}

/* ---- life ---- */

void ata_drive_reset(struct ata_drive *d)
{
    d->multiple = 0;
    d->read_ahead = true;
    d->sense_key = d->asc = d->ascq = 0;
    d->locked = false;
    d->attention = d->cdrom && d->node;
    d->event = 0;
}

static void text_set(char *out, size_t room, const char *text)
{
    size_t n = MIN_OF(strlen(text), room - 1);

    memset(out, ' ', room - 1);
    memcpy(out, text, n);
    out[room - 1] = 0;
}

static bool node_claim(struct ata_drive *d, GError **err)
{
    g_autofree char *user = g_strdup_printf("drive '%s'", d->id ? d->id : "(no id)");

    if (!blk_claim(d->node, user, err))
        return false;
    d->claimed = true;
    blk_attach(d->node, evloop_main());
    return true;
}

static bool blocks_check(struct ata_drive *d, const struct ata_drive_config *cfg, GError **err)
{
    struct blk_limits l;

    blk_limits(cfg->node, &l);
    if (cfg->logical_block_bytes && cfg->logical_block_bytes != ATA_SECTOR)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "logical_block_size must be 512: these drives have no other");
    d->logical_bytes = ATA_SECTOR;
    d->physical_bytes =
        cfg->physical_block_bytes ? cfg->physical_block_bytes : l.physical_block_bytes;
    if (d->physical_bytes < ATA_SECTOR || d->physical_bytes > 64 * KiB ||
        (d->physical_bytes & (d->physical_bytes - 1)))
        return error_set(err, HANOK_ERROR_INVALID,
                         "physical_block_size must be a power of two from 512 to 65536");
    d->read_only = cfg->read_only || l.read_only;
    return true;
}

bool ata_drive_init(struct ata_drive *d, const struct ata_drive_config *cfg, GError **err)
{
    d->node = cfg->node;
    d->cdrom = cfg->cdrom;
    d->read_only = cfg->cdrom;
    d->id = g_strdup(cfg->id);
    d->tray_moved = cfg->tray_moved;
    d->opaque = cfg->opaque;
    d->write_cache = !cfg->no_write_cache;
    text_set(d->serial, sizeof(d->serial), cfg->serial ? cfg->serial : "HK00001");
    text_set(d->model, sizeof(d->model),
             cfg->model ? cfg->model
             : d->cdrom ? "HANOK DVD-ROM"
                        : "HANOK HARDDISK");
    text_set(d->version, sizeof(d->version), cfg->version ? cfg->version : "1.0");
    if (!d->cdrom && !d->node)
        return error_set(err, HANOK_ERROR_INVALID, "a disk needs drive=");
    if (!d->cdrom && !blocks_check(d, cfg, err))
        return false;
    if (d->node && !node_claim(d, err))
        return false;
    d->present = true;
    ata_drive_reset(d);
    return true;
}

void ata_drive_fini(struct ata_drive *d)
{
    if (d->claimed)
        blk_release(d->node);
    d->claimed = d->present = false;
    g_free(d->id);
    d->id = NULL;
}

static bool drive_post_load(void *obj, uint32_t version, GError **err)
{
    struct ata_drive *d = obj;

    if (d->multiple > MULTIPLE_MAX)
        return error_set(err, HANOK_ERROR_CORRUPT, "a drive's multiple count is too large");
    return true;
}

static const struct state_field drive_fields[] = {
    STATE_BOOL(struct ata_drive, write_cache),
    STATE_BOOL(struct ata_drive, read_ahead),
    STATE_U8(struct ata_drive, multiple),
    STATE_U8(struct ata_drive, failed_tag),
    STATE_U8(struct ata_drive, failed_error),
    STATE_U8(struct ata_drive, sense_key),
    STATE_U8(struct ata_drive, asc),
    STATE_U8(struct ata_drive, ascq),
    STATE_BOOL(struct ata_drive, tray_open),
    STATE_BOOL(struct ata_drive, locked),
    STATE_BOOL(struct ata_drive, attention),
    STATE_U8(struct ata_drive, event),
    STATE_END,
};
const struct state_desc ata_drive_state = {
    .name = "ata-drive", .version = 1, .fields = drive_fields, .post_load = drive_post_load};
