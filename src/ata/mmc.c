/* mmc.c - the packet commands of a CD-ROM drive with one data track (MMC-5, SPC-3). */
#include "drive.h"

#include "base/util.h"

#include <glib.h>

enum {
    KEY_NONE = 0,
    KEY_NOT_READY = 2,
    KEY_MEDIUM_ERROR = 3,
    KEY_ILLEGAL = 5,
    KEY_ATTENTION = 6,
    ASC_NO_MEDIUM = 0x3a,
    ASC_MEDIUM_CHANGED = 0x28,
    ASC_REMOVAL_PREVENTED = 0x53,
    ASC_BAD_COMMAND = 0x20,
    ASC_BAD_LBA = 0x21,
    ASC_BAD_FIELD = 0x24,
    ASC_READ_ERROR = 0x11,
    EVENT_EJECT_REQUEST = 1,
    EVENT_NEW_MEDIA = 2,
    EVENT_MEDIA_REMOVAL = 3,
    PROFILE_CD_ROM = 0x0008,
    PROFILE_DVD_ROM = 0x0010,
    CD_SECTORS_MAX = 450000, /* 100 minutes: what is longer is a DVD */
    LEADOUT = 0xaa,
};

static void be16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void be32(uint8_t *p, uint32_t v)
{
    be16(p, v >> 16);
    be16(p + 2, v & 0xffff);
}

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) << 16 | get16(p + 2);
}

static void fail(struct ata_drive *d, struct ata_op *op, uint8_t key, uint8_t asc, uint8_t ascq)
{
    d->sense_key = key;
    d->asc = asc;
    d->ascq = ascq;
    op->kind = ATA_OP_FAIL;
    op->error = mmc_error_register(d);
}

uint8_t mmc_error_register(const struct ata_drive *d)
{
    return (uint8_t)(d->sense_key << 4) | (d->sense_key == KEY_ILLEGAL ? ATA_E_ABORT : 0);
}

void mmc_media_error(struct ata_drive *d)
{
    d->sense_key = KEY_MEDIUM_ERROR;
    d->asc = ASC_READ_ERROR;
    d->ascq = 0;
}

static void reply(struct ata_op *op, uint32_t len, uint32_t allowed)
{
    op->kind = len && allowed ? ATA_OP_DATA_IN : ATA_OP_DONE;
    op->len = MIN_OF(len, allowed);
}

static bool has_disc(const struct ata_drive *d)
{
    return d->node && !d->tray_open;
}

static uint32_t disc_sectors(const struct ata_drive *d)
{
    return has_disc(d) ? (uint32_t)MIN_OF(ata_sectors(d), (uint64_t)INT32_MAX) : 0;
}

static unsigned profile(const struct ata_drive *d)
{
    uint32_t n = disc_sectors(d);

    return n == 0 ? 0 : n > CD_SECTORS_MAX ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

/* ---- what needs no disc ---- */

static void inquiry(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    uint8_t *b = d->buffer;

    if (cdb[1] & 1) { /* vital product data: the list of pages, and the serial number */
        size_t n = strlen(d->serial);
        if (cdb[2] != 0x00 && cdb[2] != 0x80) {
            fail(d, op, KEY_ILLEGAL, ASC_BAD_FIELD, 0);
            return;
        }
        memset(b, 0, 64);
        b[0] = 5;
        b[1] = cdb[2];
        b[3] = cdb[2] ? (uint8_t)n : 2;
        b[5] = 0x80; /* of the list: pages 0x00 and 0x80 */
        if (cdb[2])
            memcpy(b + 4, d->serial, n);
        reply(op, 4u + b[3], get16(cdb + 3));
        return;
    }
    memset(b, 0, 36);
    b[0] = 5;    /* CD-ROM */
    b[1] = 0x80; /* removable */
    b[2] = 5;    /* SPC-3 */
    b[3] = 0x21; /* ATAPI, response format */
    b[4] = 31;
    memcpy(b + 8, "HANOK   ", 8);
    memcpy(b + 16, d->model + (strncmp(d->model, "HANOK ", 6) ? 0 : 6), 16);
    memcpy(b + 32, d->version, 4);
    reply(op, 36, get16(cdb + 3));
}

static void request_sense(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    uint8_t *b = d->buffer;

    memset(b, 0, 18);
    if (d->sense_key == KEY_NONE && d->attention) {
        d->sense_key = KEY_ATTENTION;
        d->asc = ASC_MEDIUM_CHANGED;
        d->attention = false;
    }
    b[0] = 0x70;
    b[2] = d->sense_key;
    b[7] = 10;
    b[12] = d->asc;
    b[13] = d->ascq;
    d->sense_key = d->asc = d->ascq = 0;
    reply(op, 18, cdb[4]);
}

static unsigned mode_page(struct ata_drive *d, uint8_t page, uint8_t *b)
{
    switch (page) {
    case 0x01: /* error recovery */
        memset(b, 0, 12);
        b[0] = 0x01;
        b[1] = 10;
        b[3] = 5;
        return 12;
    case 0x2a: /* capabilities */
        memset(b, 0, 22);
        b[0] = 0x2a;
        b[1] = 20;
        b[2] = 0x3b;                                     /* reads CD-R, CD-RW, DVD-ROM, DVD-R */
        b[4] = 0x70;                                     /* mode 2 forms, sessions */
        b[6] = (uint8_t)(0x29 | (d->locked ? 0x02 : 0)); /* tray, eject, lock */
        be16(b + 8, 706);                                /* 4x, kB/s */
        be16(b + 10, 2);                                 /* volume levels */
        be16(b + 12, 512);                               /* buffer, KiB */
        be16(b + 14, 706);
        return 22;
    }
    return 0;
}

static void mode_sense(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    bool ten = cdb[0] == 0x5a;
    unsigned head = ten ? 8 : 4, len = head;
    uint8_t page = cdb[2] & 0x3f, *b = d->buffer;

    if (cdb[2] >> 6 == 3) {
        fail(d, op, KEY_ILLEGAL, 0x39, 0); /* values are not saved */
        return;
    }
    memset(b, 0, head);
    if (page == 0x3f) {
        len += mode_page(d, 0x01, b + len);
        len += mode_page(d, 0x2a, b + len);
    } else {
        unsigned n = mode_page(d, page, b + len);
        if (n == 0) {
            fail(d, op, KEY_ILLEGAL, ASC_BAD_FIELD, 0);
            return;
        }
        len += n;
    }
    uint8_t type = d->tray_open ? 0x71 : !d->node ? 0x70 : 0x01;
    if (ten) {
        be16(b, len - 2);
        b[2] = type;
    } else {
        b[0] = (uint8_t)(len - 1);
        b[1] = type;
    }
    reply(op, len, ten ? get16(cdb + 7) : cdb[4]);
}

static unsigned feature(uint8_t *b, unsigned code, unsigned version_flags, unsigned len)
{
    memset(b, 0, 4 + len);
    be16(b, code);
    b[2] = (uint8_t)version_flags;
    b[3] = (uint8_t)len;
    return 4 + len;
}

static void get_configuration(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    uint8_t *b = d->buffer, *f = b + 8;
    unsigned now = profile(d);

    memset(b, 0, 8);
    be16(b + 6, now);
    f += feature(f, 0x0000, 0x03, 8); /* profile list */
    be16(f - 8, PROFILE_DVD_ROM);
    f[-6] = now == PROFILE_DVD_ROM;
    be16(f - 4, PROFILE_CD_ROM);
    f[-2] = now == PROFILE_CD_ROM;
    f += feature(f, 0x0001, 0x0b, 8); /* core: ATAPI */
    f[-5] = 2;
    f[-4] = 1;
    f += feature(f, 0x0003, 0x03, 4); /* removable: tray, eject, lock */
    f[-4] = 0x29;
    f += feature(f, 0x0010, (unsigned)(now ? 0x01 : 0x00), 8); /* random readable */
    be32(f - 8, CD_SECTOR);
    be16(f - 4, 1);
    f += feature(f, 0x001e, (unsigned)(now == PROFILE_CD_ROM ? 0x09 : 0x08), 4);  /* CD read */
    f += feature(f, 0x001f, (unsigned)(now == PROFILE_DVD_ROM ? 0x01 : 0x00), 0); /* DVD read */
    be32(b, (uint32_t)(f - b) - 4);
    reply(op, (uint32_t)(f - b), get16(cdb + 7));
}

static void get_event_status(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    uint8_t *b = d->buffer;

    if (!(cdb[1] & 1)) { /* asynchronous notification is not for ATAPI */
        fail(d, op, KEY_ILLEGAL, ASC_BAD_FIELD, 0);
        return;
    }
    memset(b, 0, 8);
    b[3] = 0x10; /* media events are what there is */
    if (!(cdb[4] & 0x10)) {
        be16(b, 2);
        b[2] = 0x80;
        reply(op, 4, get16(cdb + 7));
        return;
    }
    be16(b, 6);
    b[2] = 4;
    b[4] = d->event;
    b[5] = (uint8_t)((d->tray_open ? 1 : 0) | (has_disc(d) ? 2 : 0));
    d->event = 0;
    reply(op, 8, get16(cdb + 7));
}

static void start_stop(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    bool start = cdb[4] & 1, load_eject = cdb[4] & 2;

    if (!load_eject || (cdb[4] & 0xf0))
        return; /* spinning is not modelled */
    if (!start && d->locked) {
        fail(d, op, has_disc(d) ? KEY_ILLEGAL : KEY_NOT_READY, ASC_REMOVAL_PREVENTED, 2);
        return;
    }
    if (d->tray_open == start) {
        d->tray_open = !start;
        d->tray_news = true;
        d->attention = start && d->node;
    }
}

static void mechanism_status(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    memset(d->buffer, 0, 8);
    d->buffer[1] = d->tray_open ? 0x10 : 0;
    d->buffer[5] = 1;
    reply(op, 8, get16(cdb + 8));
}

/* ---- what needs one ---- */

static void read_capacity(struct ata_drive *d, struct ata_op *op)
{
    be32(d->buffer, disc_sectors(d) - 1);
    be32(d->buffer + 4, CD_SECTOR);
    reply(op, 8, 8);
}

static void address(uint8_t *b, uint32_t lba, bool msf)
{
    if (!msf) {
        be32(b, lba);
        return;
    }
    lba += 150;
    b[0] = 0;
    b[1] = (uint8_t)(lba / 75 / 60);
    b[2] = (uint8_t)(lba / 75 % 60);
    b[3] = (uint8_t)(lba % 75);
}

static unsigned toc_entry(uint8_t *b, uint8_t track, uint32_t lba, bool msf)
{
    memset(b, 0, 8);
    b[1] = 0x14; /* data track, position */
    b[2] = track;
    address(b + 4, lba, msf);
    return 8;
}

/* Format 2: the raw table: first track, last track, lead-out, then the track (MMC-5 §6.26.3). */
static unsigned toc_full(struct ata_drive *d, uint8_t *b)
{
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};

    for (unsigned i = 0; i < ARRAY_SIZE(points); i++, b += 11) {
        memset(b, 0, 11);
        b[0] = 1;
        b[1] = 0x14;
        b[3] = points[i];
        if (points[i] == 0xa2 || points[i] == 1) {
            uint8_t msf[4];
            address(msf, points[i] == 1 ? 0 : disc_sectors(d), true);
            memcpy(b + 8, msf + 1, 3);
        } else {
            b[8] = 1;
        }
    }
    return 11 * ARRAY_SIZE(points);
}

static void read_toc(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    uint8_t format = cdb[2] & 15, *b = d->buffer;
    bool msf = cdb[1] & 2;
    unsigned len = 4;

    if (format == 0)
        format = cdb[9] >> 6;
    b[2] = b[3] = 1;
    switch (format) {
    case 0:
        if (cdb[6] > 1 && cdb[6] != LEADOUT) {
            fail(d, op, KEY_ILLEGAL, ASC_BAD_FIELD, 0);
            return;
        }
        if (cdb[6] <= 1)
            len += toc_entry(b + len, 1, 0, msf);
        len += toc_entry(b + len, LEADOUT, disc_sectors(d), msf);
        break;
    case 1: /* sessions: one */
        len += toc_entry(b + len, 1, 0, msf);
        break;
    case 2:
        len += toc_full(d, b + len);
        break;
    default:
        fail(d, op, KEY_ILLEGAL, ASC_BAD_FIELD, 0);
        return;
    }
    be16(b, len - 2);
    reply(op, len, get16(cdb + 7));
}

static void read_sectors(struct ata_drive *d, uint32_t lba, uint32_t count, struct ata_op *op)
{
    uint32_t total = disc_sectors(d);

    if (lba >= total || count > total - lba) {
        fail(d, op, KEY_ILLEGAL, ASC_BAD_LBA, 0);
        return;
    }
    if (count == 0)
        return;
    /* Larger than any host asks for; the guest must not make the process allocate at will. */
    if (count > 65536 / (CD_SECTOR / ATA_SECTOR)) {
        fail(d, op, KEY_ILLEGAL, ASC_BAD_FIELD, 0);
        return;
    }
    op->kind = ATA_OP_READ;
    op->offset_bytes = (uint64_t)lba * CD_SECTOR;
    op->len = count * CD_SECTOR;
}

static void read_cd(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    uint32_t count = (uint32_t)cdb[6] << 16 | get16(cdb + 7);

    if ((cdb[9] & 0xf8) == 0 || count == 0)
        return;                    /* nothing of each sector: a seek */
    if ((cdb[9] & 0xf8) != 0x10) { /* user data only: the image has nothing else */
        fail(d, op, KEY_ILLEGAL, ASC_BAD_FIELD, 0);
        return;
    }
    read_sectors(d, get32(cdb + 2), count, op);
}

static void read_dvd_structure(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    uint8_t *b = d->buffer;
    uint32_t last = disc_sectors(d) - 1;

    if (profile(d) != PROFILE_DVD_ROM || cdb[7] != 0 || cdb[6] != 0) {
        fail(d, op, KEY_ILLEGAL, profile(d) == PROFILE_DVD_ROM ? ASC_BAD_FIELD : 0x30, 0);
        return;
    }
    memset(b, 0, 2052); /* physical format: one layer */
    be16(b, 2050);
    b[4] = 1;
    b[5] = 0x0f;
    b[6] = 1;
    be32(b + 8, 0x030000);
    be32(b + 12, 0x030000 + last);
    reply(op, 2052, get16(cdb + 8));
}

static void disc_information(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    uint8_t *b = d->buffer;

    memset(b, 0, 34);
    be16(b, 32);
    b[2] = 0x0e; /* complete, last session closed */
    b[3] = b[4] = b[5] = b[6] = 1;
    b[7] = 0x20;
    reply(op, 34, get16(cdb + 7));
}

/* ---- which command ---- */

static bool needs_disc(uint8_t command)
{
    switch (command) {
    case 0x00: /* test unit ready */
    case 0x25:
    case 0x28:
    case 0xa8:
    case 0x2b:
    case 0x42:
    case 0x43:
    case 0x51:
    case 0xad:
    case 0xbe:
        return true;
    }
    return false;
}

/* These are answered even when a unit attention waits. */
static bool passes_attention(uint8_t command)
{
    return command == 0x12 || command == 0x03 || command == 0x46 || command == 0x4a;
}

static bool may_run(struct ata_drive *d, uint8_t command, struct ata_op *op)
{
    if (d->attention && !passes_attention(command)) {
        d->attention = false;
        fail(d, op, KEY_ATTENTION, ASC_MEDIUM_CHANGED, 0);
        return false;
    }
    if (needs_disc(command) && !has_disc(d)) {
        fail(d, op, KEY_NOT_READY, ASC_NO_MEDIUM, d->tray_open ? 2 : 1);
        return false;
    }
    return true;
}

static void disc_command(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    switch (cdb[0]) {
    case 0x25:
        read_capacity(d, op);
        break;
    case 0x28:
        read_sectors(d, get32(cdb + 2), get16(cdb + 7), op);
        break;
    case 0xa8:
        read_sectors(d, get32(cdb + 2), get32(cdb + 6), op);
        break;
    case 0x2b: /* seek */
        if (get32(cdb + 2) >= disc_sectors(d))
            fail(d, op, KEY_ILLEGAL, ASC_BAD_LBA, 0);
        break;
    case 0x43:
        read_toc(d, cdb, op);
        break;
    case 0x51:
        disc_information(d, cdb, op);
        break;
    case 0xad:
        read_dvd_structure(d, cdb, op);
        break;
    case 0xbe:
        read_cd(d, cdb, op);
        break;
    case 0x00:
        break;
    default:
        fail(d, op, KEY_ILLEGAL, ASC_BAD_COMMAND, 0);
    }
}

void mmc_command(struct ata_drive *d, const uint8_t *cdb, struct ata_op *op)
{
    *op = (struct ata_op){.kind = ATA_OP_DONE};
    if (!may_run(d, cdb[0], op))
        return;
    if (cdb[0] != 0x03)
        d->sense_key = d->asc = d->ascq = 0;
    switch (cdb[0]) {
    case 0x03:
        request_sense(d, cdb, op);
        break;
    case 0x12:
        inquiry(d, cdb, op);
        break;
    case 0x1a:
    case 0x5a:
        mode_sense(d, cdb, op);
        break;
    case 0x1b:
        start_stop(d, cdb, op);
        break;
    case 0x1e:
        d->locked = cdb[4] & 1;
        break;
    case 0x46:
        get_configuration(d, cdb, op);
        break;
    case 0x4a:
        get_event_status(d, cdb, op);
        break;
    case 0xbb: /* set speed */
        break;
    case 0xbd:
        mechanism_status(d, cdb, op);
        break;
    default:
        disc_command(d, cdb, op);
    }
}

void mmc_button(struct ata_drive *d)
{
    d->event = EVENT_EJECT_REQUEST;
}

void mmc_medium_changed(struct ata_drive *d, bool inserted)
{
    d->event = inserted ? EVENT_NEW_MEDIA : EVENT_MEDIA_REMOVAL;
    d->attention = inserted;
}
