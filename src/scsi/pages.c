/* pages.c - what a disk says about itself: INQUIRY and MODE SENSE (SPC-4 §6.4, §7.5, §7.8; SBC-3
 * §6). */
#include "scsi_int.h"

#include <string.h>

enum {
    VPD_LIST = 0x00,
    VPD_SERIAL = 0x80,
    VPD_IDS = 0x83,
    VPD_LIMITS = 0xb0,
    VPD_CHARACTERISTICS = 0xb1,
    VPD_PROVISIONING = 0xb2,
    PAGE_ERRORS = 0x01,
    PAGE_CACHING = 0x08,
    PAGE_ALL = 0x3f,
    PAGE_CONTROL_CHANGEABLE = 1,
    WRITE_CACHE = 0x04,
    READ_ONLY = 0x80,
    DPO_FUA = 0x10,
    TRANSFER_MAX = 0xffff, /* blocks of one command */
    ZEROES_MAX = 0x400000, /* of one WRITE SAME */
};

/* ---- INQUIRY ---- */

uint32_t scsi_inquiry_standard(struct scsi_lun *l)
{
    uint8_t *b = l->scratch;

    memset(b, 0, 96);
    b[1] = l->removable ? 0x80 : 0;
    b[2] = 5;    /* SPC-3 */
    b[3] = 0x12; /* hierarchical numbers, response format */
    b[4] = 91;
    b[7] = 0x02; /* command queuing */
    memcpy(b + 8, l->vendor, 8);
    memcpy(b + 16, l->product, 16);
    memcpy(b + 32, l->version, 4);
    be16_put(b + 58, 0x00a0); /* SAM-5, SPC-4, SBC-3 */
    be16_put(b + 60, 0x0460);
    be16_put(b + 62, 0x04c0);
    return 96;
}

static uint8_t *designator(uint8_t *p, uint8_t code_set, uint8_t type, const void *id, size_t len)
{
    p[0] = code_set;
    p[1] = type;
    p[3] = (uint8_t)len;
    memcpy(p + 4, id, len);
    return p + 4 + len;
}

static uint32_t ids(struct scsi_lun *l, uint8_t *b)
{
    uint8_t *p = b + 4, naa[8];

    if (l->device_id[0])
        p = designator(p, 2, 0, l->device_id, strlen(l->device_id));
    if (l->wwn) {
        be64_put(naa, l->wwn);
        p = designator(p, 1, 3, naa, sizeof(naa));
    }
    return (uint32_t)(p - b);
}

static void limits(struct scsi_lun *l, uint8_t *b)
{
    uint32_t grain = l->discard_bytes / l->block_bytes;

    b[4] = 1;                                            /* WRITE SAME without data counts */
    be16_put(b + 6, l->physical_bytes / l->block_bytes); /* granularity of transfers */
    be32_put(b + 8, TRANSFER_MAX);
    if (l->can_discard) {
        be32_put(b + 20, UINT32_MAX); /* blocks of one UNMAP */
        be32_put(b + 24, SCSI_UNMAP_MAX);
        be32_put(b + 28, MAX_OF(grain, 1u));
    }
    be64_put(b + 36, ZEROES_MAX);
}

uint32_t scsi_inquiry_page(struct scsi_lun *l, uint8_t page)
{
    static const uint8_t list[] = {VPD_LIST,   VPD_SERIAL,          VPD_IDS,
                                   VPD_LIMITS, VPD_CHARACTERISTICS, VPD_PROVISIONING};
    uint8_t *b = l->scratch;
    uint32_t len = 64;

    memset(b, 0, SCSI_SCRATCH_BYTES);
    switch (page) {
    case VPD_LIST:
        len = 4 + sizeof(list);
        memcpy(b + 4, list, sizeof(list));
        if (!l->serial[0]) { /* without a serial number there is no such page */
            len--;
            memmove(b + 5, list + 2, sizeof(list) - 2);
        }
        break;
    case VPD_SERIAL:
        if (!l->serial[0])
            return 0;
        len = 4 + (uint32_t)strlen(l->serial);
        memcpy(b + 4, l->serial, len - 4);
        break;
    case VPD_IDS:
        len = ids(l, b);
        break;
    case VPD_LIMITS:
        limits(l, b);
        break;
    case VPD_CHARACTERISTICS:
        be16_put(b + 4, l->rotation_rate);
        break;
    case VPD_PROVISIONING:
        len = 8;
        b[5] = l->can_discard ? 0xe0 : 0; /* UNMAP, WRITE SAME of both sizes */
        b[6] = l->can_discard ? 2 : 0;    /* thin */
        break;
    default:
        return 0;
    }
    b[1] = page;
    be16_put(b + 2, len - 4);
    return len;
}

/* ---- MODE SENSE ---- */

static uint32_t mode_page(const struct scsi_lun *l, uint8_t page, bool changeable, uint8_t *p)
{
    uint32_t len = page == PAGE_ERRORS ? 12 : 20;

    memset(p, 0, len);
    p[0] = page;
    p[1] = (uint8_t)(len - 2);
    if (page == PAGE_ERRORS && !changeable)
        p[2] = 0x80; /* writes are moved to other blocks by themselves */
    if (page == PAGE_CACHING && (changeable || l->write_cache))
        p[2] = WRITE_CACHE;
    return len;
}

static uint32_t block_descriptor(const struct scsi_lun *l, uint8_t *p)
{
    be32_put(p, (uint32_t)MIN_OF(l->blocks, (uint64_t)0xffffff));
    p[0] = 0;
    be32_put(p + 4, l->block_bytes);
    return 8;
}

uint32_t scsi_mode_pages(struct scsi_lun *l, const uint8_t *cdb)
{
    bool ten = cdb[0] == 0x5a, changeable = cdb[2] >> 6 == PAGE_CONTROL_CHANGEABLE;
    uint8_t page = cdb[2] & 0x3f, *b = l->scratch;
    uint32_t head = ten ? 8 : 4, len = head, descriptors = 0;

    memset(b, 0, head);
    if (!(cdb[1] & 8)) /* DBD */
        descriptors = block_descriptor(l, b + len);
    len += descriptors;
    if (page == PAGE_ERRORS || page == PAGE_ALL)
        len += mode_page(l, PAGE_ERRORS, changeable, b + len);
    if (page == PAGE_CACHING || page == PAGE_ALL)
        len += mode_page(l, PAGE_CACHING, changeable, b + len);
    if (len == head + descriptors && page != 0)
        return 0;
    b[ten ? 3 : 2] = (uint8_t)(DPO_FUA | (l->read_only ? READ_ONLY : 0));
    if (ten) {
        be16_put(b, len - 2);
        be16_put(b + 6, descriptors);
    } else {
        b[0] = (uint8_t)(len - 1);
        b[3] = (uint8_t)descriptors;
    }
    return len;
}
