/* disk.c - commands of a disk (SBC-3, SPC-4). */
#include "scsi_int.h"

#include <string.h>

enum { READ = 1, WRITE = 2, VERIFY = 4, FUA = 8, FUA_BIT = 0x08, PROTECT = 0xe0 };

static const struct media_row {
    uint8_t command, flags;
} media_rows[] = {
    {0x08, READ},        {0x0a, WRITE},       {0x28, READ},   {0x2a, WRITE},       {0xa8, READ},
    {0xaa, WRITE},       {0x88, READ},        {0x8a, WRITE},  {0x2e, WRITE | FUA}, /* and verify */
    {0xae, WRITE | FUA}, {0x8e, WRITE | FUA}, {0x2f, VERIFY}, {0xaf, VERIFY},      {0x8f, VERIFY},
};

/* Address and count by the length of the command, which its group tells (SPC-4 §4.2.5). */
static void extent(const uint8_t *c, uint64_t *lba, uint64_t *count)
{
    switch (c[0] >> 5) {
    case 0:
        *lba = be32_get(c) & 0x1fffff;
        *count = c[4] ? c[4] : 256;
        break;
    case 5:
        *lba = be32_get(c + 2);
        *count = be32_get(c + 6);
        break;
    case 4:
        *lba = be64_get(c + 2);
        *count = be32_get(c + 10);
        break;
    default:
        *lba = be32_get(c + 2);
        *count = be16_get(c + 7);
    }
}

static void media(struct scsi_task *t, const struct media_row *row)
{
    struct scsi_lun *l = t->lun;
    bool write = row->flags & WRITE, short_form = t->cdb[0] < 0x20;
    uint64_t lba, count, bytes;

    extent(t->cdb, &lba, &count);
    bytes = count * l->block_bytes;
    if (!short_form && ((t->cdb[1] & PROTECT) || ((row->flags & VERIFY) && (t->cdb[1] & 6)))) {
        scsi_fail(t, KEY_ILLEGAL, ASC_BAD_FIELD);
    } else if (lba > l->blocks || count > l->blocks - lba) {
        scsi_fail(t, KEY_ILLEGAL, ASC_BAD_LBA);
    } else if (write && l->read_only) {
        scsi_fail(t, KEY_PROTECT, ASC_WRITE_PROTECTED);
    } else if (count == 0 || (row->flags & VERIFY)) {
        scsi_end(t);
    } else if (bytes > t->room_bytes || write != t->to_host) {
        t->overrun = true;
        scsi_end(t);
    } else {
        bool through = (row->flags & FUA) || (!short_form && (t->cdb[1] & FUA_BIT)) ||
                       !__atomic_load_n(&l->write_cache, __ATOMIC_RELAXED);
        t->blk.op = write ? BLK_WRITE : BLK_READ;
        t->blk.flags = write && through ? BLK_REQ_FUA : 0;
        t->blk.offset_bytes = lba * l->block_bytes;
        scsi_transfer(t, bytes);
    }
}

/* ---- what is answered at once; lock held where the scratch buffer is used ---- */

static void locked_reply(struct scsi_task *t, uint32_t len, uint32_t allowed, uint16_t missing)
{
    struct scsi_lun *l = t->lun;
    uint8_t copy[SCSI_SCRATCH_BYTES];

    memcpy(copy, l->scratch, len);
    pthread_mutex_unlock(&l->lock);
    if (len)
        scsi_reply(t, copy, len, allowed);
    else
        scsi_fail(t, KEY_ILLEGAL, missing);
}

static void inquiry(struct scsi_task *t)
{
    struct scsi_lun *l = t->lun;
    bool page = t->cdb[1] & 1;

    pthread_mutex_lock(&l->lock);
    uint32_t len = page ? scsi_inquiry_page(l, t->cdb[2]) : scsi_inquiry_standard(l);
    if (!page && t->cdb[2])
        len = 0;
    locked_reply(t, len, be16_get(t->cdb + 3), ASC_BAD_FIELD);
}

static void mode_sense(struct scsi_task *t)
{
    struct scsi_lun *l = t->lun;

    if (t->cdb[2] >> 6 == 3) {
        scsi_fail(t, KEY_ILLEGAL, ASC_NOT_SAVED);
        return;
    }
    pthread_mutex_lock(&l->lock);
    uint32_t len = scsi_mode_pages(l, t->cdb);
    locked_reply(t, len, t->cdb[0] == 0x5a ? be16_get(t->cdb + 7) : t->cdb[4], ASC_BAD_FIELD);
}

/* The write cache is what can be changed. */
static void mode_select(struct scsi_task *t)
{
    bool ten = t->cdb[0] == 0x55;
    uint32_t said = ten ? be16_get(t->cdb + 7) : t->cdb[4], head = ten ? 8 : 4;
    uint8_t b[256] = {0};
    uint32_t got = scsi_received(t, b, MIN_OF(said, (uint32_t)sizeof(b)));
    uint32_t at = head + (ten ? be16_get(b + 6) : b[3]);

    if (said == 0) {
        scsi_end(t);
        return;
    }
    if (said > sizeof(b) || got < said || at > got || !(t->cdb[1] & 0x10)) {
        scsi_fail(t, KEY_ILLEGAL, ASC_PARAMETER_LENGTH);
        return;
    }
    while (at + 2 <= got) {
        uint32_t len = 2u + b[at + 1], page = b[at] & 0x3f;
        if ((page != 0x01 && page != 0x08) || len > got - at || len < 3) {
            scsi_fail(t, KEY_ILLEGAL, ASC_BAD_PARAMETER);
            return;
        }
        if (page == 0x08)
            __atomic_store_n(&t->lun->write_cache, (b[at + 2] & 4) != 0, __ATOMIC_RELAXED);
        at += len;
    }
    scsi_end(t);
}

static void read_capacity_10(struct scsi_task *t)
{
    uint8_t b[8];

    be32_put(b, (uint32_t)MIN_OF(t->lun->blocks - 1, (uint64_t)UINT32_MAX));
    be32_put(b + 4, t->lun->block_bytes);
    scsi_reply(t, b, sizeof(b), sizeof(b));
}

static void read_capacity_16(struct scsi_task *t)
{
    struct scsi_lun *l = t->lun;
    uint8_t b[32] = {0};

    if ((t->cdb[1] & 31) != 0x10) {
        scsi_fail(t, KEY_ILLEGAL, ASC_BAD_FIELD);
        return;
    }
    be64_put(b, l->blocks - 1);
    be32_put(b + 8, l->block_bytes);
    b[13] = (uint8_t)__builtin_ctz(l->physical_bytes / l->block_bytes);
    b[14] = l->can_discard ? 0x80 : 0; /* LBPME */
    scsi_reply(t, b, sizeof(b), be32_get(t->cdb + 10));
}

static void flush(struct scsi_task *t)
{
    t->blk.op = BLK_FLUSH;
    t->blk.flags = 0;
    t->blk.offset_bytes = t->blk.len_bytes = 0;
    t->blk.iov_count = 0;
    scsi_submit(t);
}

void scsi_disk_start(struct scsi_task *t)
{
    for (size_t i = 0; i < ARRAY_SIZE(media_rows); i++) {
        if (media_rows[i].command == t->cdb[0]) {
            media(t, &media_rows[i]);
            return;
        }
    }
    switch (t->cdb[0]) {
    case 0x00: /* test unit ready */
    case 0x16: /* reserve, release: there is one initiator */
    case 0x17:
    case 0x1b: /* start, stop: always turning */
    case 0x1d: /* diagnostics: passed */
    case 0x1e: /* prevent removal: nobody takes it out */
    case 0x34: /* pre-fetch */
    case 0x90:
        scsi_end(t);
        break;
    case 0x12:
        inquiry(t);
        break;
    case 0x15:
    case 0x55:
        mode_select(t);
        break;
    case 0x1a:
    case 0x5a:
        mode_sense(t);
        break;
    case 0x25:
        read_capacity_10(t);
        break;
    case 0x9e:
        read_capacity_16(t);
        break;
    case 0x35:
    case 0x91:
        flush(t);
        break;
    case 0x41:
    case 0x93:
        scsi_write_same_start(t);
        break;
    case 0x42:
        scsi_unmap_start(t);
        break;
    default:
        scsi_fail(t, KEY_ILLEGAL, ASC_BAD_COMMAND);
    }
}
