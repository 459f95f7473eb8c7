/* ranges.c - UNMAP and WRITE SAME: commands that are several block requests (SBC-3 §5.28, §5.42).
 *
 * WRITE SAME of zeroes, or with UNMAP, is a write-zeroes.  Of other data it is written from a
 * buffer of up to 512 KiB that holds the block many times: the one command here that allocates. */
#include "scsi_int.h"

#include <glib.h>
#include <string.h>

enum { RANGE_BYTES = 16, UNMAP_HEAD = 8, SAME_UNMAP = 0x08, SAME_NO_DATA = 0x01 };
#define PATTERN_MAX (512 * KiB)

static void range_set(struct scsi_task *t, enum blk_op op, uint64_t lba, uint64_t count)
{
    t->blk.op = op;
    t->blk.flags = 0;
    t->blk.offset_bytes = lba * t->lun->block_bytes;
    t->blk.len_bytes = count * t->lun->block_bytes;
    t->blk.iov_count = 0;
}

/* ---- UNMAP ---- */

static bool next_unmap(struct scsi_task *t)
{
    while (t->range < t->ranges) {
        const uint8_t *e = t->unmap + (size_t)t->range++ * RANGE_BYTES;
        if (be32_get(e + 8) == 0)
            continue;
        range_set(t, BLK_DISCARD, be64_get(e), be32_get(e + 8));
        scsi_submit(t);
        return true;
    }
    return false;
}

void scsi_unmap_start(struct scsi_task *t)
{
    struct scsi_lun *l = t->lun;
    uint8_t list[UNMAP_HEAD + sizeof(t->unmap)];
    uint32_t said = be16_get(t->cdb + 7);
    uint32_t got = scsi_received(t, list, MIN_OF(said, (uint32_t)sizeof(list)));

    if (!l->can_discard || (t->cdb[1] & 1)) { /* anchored blocks are not known */
        scsi_fail(t, KEY_ILLEGAL, l->can_discard ? ASC_BAD_FIELD : ASC_BAD_COMMAND);
        return;
    }
    if (l->read_only) {
        scsi_fail(t, KEY_PROTECT, ASC_WRITE_PROTECTED);
        return;
    }
    if (said == 0) {
        scsi_end(t);
        return;
    }
    if (got < UNMAP_HEAD || said > sizeof(list) || got < said) {
        scsi_fail(t, KEY_ILLEGAL, said > sizeof(list) ? ASC_BAD_PARAMETER : ASC_PARAMETER_LENGTH);
        return;
    }
    t->ranges = MIN_OF(be16_get(list + 2), got - UNMAP_HEAD) / RANGE_BYTES;
    memcpy(t->unmap, list + UNMAP_HEAD, (size_t)t->ranges * RANGE_BYTES);
    for (unsigned i = 0; i < t->ranges; i++) {
        const uint8_t *e = t->unmap + (size_t)i * RANGE_BYTES;
        if (be64_get(e) > l->blocks || be32_get(e + 8) > l->blocks - be64_get(e)) {
            t->ranges = 0;
            scsi_fail(t, KEY_ILLEGAL, ASC_BAD_LBA);
            return;
        }
    }
    if (!next_unmap(t))
        scsi_end(t);
}

/* ---- WRITE SAME ---- */

static void same_submit(struct scsi_task *t)
{
    uint64_t n = MIN_OF(t->same_left, PATTERN_MAX);

    t->pattern_iov = (struct iovec){t->pattern, n};
    t->blk.op = BLK_WRITE;
    t->blk.flags = t->lun->write_cache ? 0 : BLK_REQ_FUA;
    t->blk.offset_bytes = t->same_at;
    t->blk.len_bytes = n;
    t->blk.iov = &t->pattern_iov;
    t->blk.iov_count = 1;
    t->same_at += n;
    t->same_left -= n;
    scsi_submit(t);
}

/* Fills a buffer with copies of one block; the request then writes from it. */
static bool pattern_make(struct scsi_task *t, const uint8_t *block, uint64_t bytes)
{
    uint64_t n = MIN_OF(bytes, PATTERN_MAX);

    t->pattern = g_try_malloc(n);
    for (uint64_t at = 0; t->pattern && at < n; at += t->lun->block_bytes)
        memcpy(t->pattern + at, block, t->lun->block_bytes);
    return t->pattern != NULL;
}

static bool all_zero(const uint8_t *p, uint32_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

void scsi_write_same_start(struct scsi_task *t)
{
    struct scsi_lun *l = t->lun;
    bool sixteen = t->cdb[0] == 0x93, unmap = t->cdb[1] & SAME_UNMAP;
    bool no_data = sixteen && (t->cdb[1] & SAME_NO_DATA);
    uint64_t lba = sixteen ? be64_get(t->cdb + 2) : be32_get(t->cdb + 2);
    uint64_t count = sixteen ? be32_get(t->cdb + 10) : be16_get(t->cdb + 7);
    uint8_t block[SCSI_SCRATCH_BYTES] = {0};

    if (count == 0 || (t->cdb[1] & 0xf6 & ~(unsigned)SAME_UNMAP)) { /* all blocks; LBDATA, ... */
        scsi_fail(t, KEY_ILLEGAL, ASC_BAD_FIELD);
    } else if (lba > l->blocks || count > l->blocks - lba) {
        scsi_fail(t, KEY_ILLEGAL, ASC_BAD_LBA);
    } else if (l->read_only) {
        scsi_fail(t, KEY_PROTECT, ASC_WRITE_PROTECTED);
    } else if (!no_data && scsi_received(t, block, l->block_bytes) < l->block_bytes) {
        t->overrun = true;
        scsi_end(t);
    } else if (all_zero(block, l->block_bytes)) {
        range_set(t, BLK_WRITE_ZEROES, lba, count);
        t->blk.flags = (unmap ? BLK_REQ_UNMAP : 0u) | (l->write_cache ? 0u : BLK_REQ_FUA);
        scsi_submit(t);
    } else if (!pattern_make(t, block, count * l->block_bytes)) {
        scsi_fail(t, KEY_PROTECT, ASC_SPACE_FAILED);
    } else {
        t->same_at = lba * l->block_bytes;
        t->same_left = count * l->block_bytes;
        same_submit(t);
    }
}

bool scsi_next_range(struct scsi_task *t)
{
    if (t->same_left) {
        same_submit(t);
        return true;
    }
    return next_unmap(t);
}
