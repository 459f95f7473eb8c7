/* stick.c - what each command of a disk means. */
#include "stick.h"

#include "base/util.h"

#include <errno.h>

enum {
    TEST_UNIT_READY = 0x00,
    REQUEST_SENSE = 0x03,
    READ_6 = 0x08,
    WRITE_6 = 0x0a,
    INQUIRY = 0x12,
    MODE_SELECT_6 = 0x15,
    MODE_SENSE_6 = 0x1a,
    START_STOP = 0x1b,
    PREVENT_REMOVAL = 0x1e,
    READ_FORMAT_CAPACITIES = 0x23,
    READ_CAPACITY_10 = 0x25,
    READ_10 = 0x28,
    WRITE_10 = 0x2a,
    SEEK_10 = 0x2b,
    VERIFY_10 = 0x2f,
    SYNCHRONIZE_10 = 0x35,
    UNMAP = 0x42,
    MODE_SELECT_10 = 0x55,
    MODE_SENSE_10 = 0x5a,
    READ_16 = 0x88,
    WRITE_16 = 0x8a,
    SYNCHRONIZE_16 = 0x91,
    SERVICE_IN_16 = 0x9e,
    REPORT_LUNS = 0xa0,
    READ_12 = 0xa8,
    WRITE_12 = 0xaa,
};
enum { READ_CAPACITY_16 = 0x10 /* service action */ };
enum {
    KEY_NONE = 0,
    KEY_NOT_READY = 2,
    KEY_MEDIUM = 3,
    KEY_ILLEGAL = 5,
    KEY_PROTECT = 7,
};
enum {
    ASC_WRITE_ERROR = 0x0c,
    ASC_READ_ERROR = 0x11,
    ASC_BAD_COMMAND = 0x20,
    ASC_BAD_LBA = 0x21,
    ASC_BAD_FIELD = 0x24,
    ASC_PROTECTED = 0x27,
    ASC_NO_SPACE = 0x27, /* with qualifier 7: space allocation failed */
    ASC_NO_MEDIUM = 0x3a,
};
enum { UNMAP_HEAD = 8, UNMAP_RANGE = 16, UNMAP_RANGES_MAX = 255 };

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) << 16 | get16(p + 2);
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

static void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)(v >> 32));
    put32(p + 4, (uint32_t)v);
}

static void fail(struct stick *d, struct stick_op *op, uint8_t key, uint8_t asc, uint8_t ascq)
{
    d->key = key;
    d->asc = asc;
    d->ascq = ascq;
    op->kind = STICK_FAIL;
}

static void bad_field(struct stick *d, struct stick_op *op)
{
    fail(d, op, KEY_ILLEGAL, ASC_BAD_FIELD, 0);
}

void stick_media_failed(struct stick *d, int errnum, bool write)
{
    bool full = errnum == ENOSPC;

    d->key = full ? KEY_PROTECT : KEY_MEDIUM;
    d->asc = full ? ASC_NO_SPACE : write ? ASC_WRITE_ERROR : ASC_READ_ERROR;
    d->ascq = full ? 7 : 0;
}

void stick_reset(struct stick *d)
{
    d->key = d->asc = d->ascq = 0;
    d->stopped = false;
}

static void reply(struct stick_op *op, uint32_t len, uint32_t allowed)
{
    op->len = MIN_OF(len, allowed);
    op->kind = op->len ? STICK_REPLY : STICK_DONE;
}

static uint64_t blocks(const struct stick *d)
{
    return d->size_bytes / d->block_bytes;
}

/* ---- who it is ---- */

/* Vital product data: SPC-3 §7.6, SBC-3 §6.5. */
static unsigned vital_page(const struct stick *d, uint8_t page, uint8_t *b)
{
    static const uint8_t pages[] = {0x00, 0x80, 0x83, 0xb0, 0xb2};
    size_t n = strlen(d->serial);

    switch (page) {
    case 0x00:
        memcpy(b, pages, sizeof(pages));
        return sizeof(pages);
    case 0x80:
        memcpy(b, d->serial, n);
        return (unsigned)n;
    case 0x83: /* T10 vendor identification, ASCII */
        b[0] = 2;
        b[1] = 1;
        b[3] = (uint8_t)(8 + n);
        memcpy(b + 4, "HANOK   ", 8);
        memcpy(b + 12, d->serial, n);
        return (unsigned)(12 + n);
    case 0xb0: /* block limits */
        put16(b + 2, 1);
        put32(b + 16, d->can_unmap ? UINT32_MAX : 0);
        put32(b + 20, d->can_unmap ? UNMAP_RANGES_MAX : 0);
        put32(b + 24, d->physical_bytes / d->block_bytes);
        return 60;
    case 0xb2: /* logical block provisioning: UNMAP; what it leaves reads as zeroes */
        b[1] = d->can_unmap ? 0x84 : 0;
        b[2] = d->can_unmap ? 2 : 0;
        return 4;
    }
    return 0;
}

static void inquiry(struct stick *d, const uint8_t *cdb, struct stick_op *op)
{
    uint8_t *b = d->reply;
    uint32_t allowed = get16(cdb + 3);

    memset(b, 0, sizeof(d->reply));
    if (cdb[1] & 1) {
        unsigned n = vital_page(d, cdb[2], b + 4);
        if (n == 0) {
            bad_field(d, op);
            return;
        }
        b[1] = cdb[2];
        put16(b + 2, n);
        reply(op, n + 4, allowed);
        return;
    }
    if (cdb[2]) {
        bad_field(d, op);
        return;
    }
    b[1] = d->removable ? 0x80 : 0;
    b[2] = 5; /* SPC-3 */
    b[3] = 2;
    b[4] = 31;
    memcpy(b + 8, "HANOK   ", 8);
    memcpy(b + 16, "USB DISK        ", 16);
    memcpy(b + 32, "1.0 ", 4);
    reply(op, 36, allowed);
}

static void request_sense(struct stick *d, const uint8_t *cdb, struct stick_op *op)
{
    uint8_t *b = d->reply;

    memset(b, 0, 18);
    b[0] = 0x70;
    b[2] = d->key;
    b[7] = 10;
    b[12] = d->asc;
    b[13] = d->ascq;
    d->key = d->asc = d->ascq = 0;
    reply(op, 18, cdb[4]);
}

/* ---- mode pages, SBC-3 §6.4 ---- */

static unsigned mode_page(const struct stick *d, uint8_t page, uint8_t *b)
{
    switch (page) {
    case 0x01: /* error recovery */
        b[0] = 0x01;
        b[1] = 10;
        b[2] = 0x80;
        return 12;
    case 0x08: /* caching */
        b[0] = 0x08;
        b[1] = 18;
        b[2] = d->write_cache ? 4 : 0;
        return 20;
    }
    return 0;
}

static void mode_sense(struct stick *d, const uint8_t *cdb, struct stick_op *op)
{
    bool ten = cdb[0] == MODE_SENSE_10, descriptor = !(cdb[1] & 8);
    unsigned head = ten ? 8 : 4, len = head + (descriptor ? 8u : 0);
    uint8_t page = cdb[2] & 0x3f, *b = d->reply;

    if (cdb[2] >> 6 == 3) {
        fail(d, op, KEY_ILLEGAL, 0x39, 0); /* values are not saved */
        return;
    }
    memset(b, 0, sizeof(d->reply));
    if (descriptor) {
        put32(b + head, (uint32_t)MIN_OF(blocks(d), (uint64_t)0xffffff));
        b[head] = 0;
        put32(b + head + 4, d->block_bytes);
    }
    if (page == 0x3f) {
        len += mode_page(d, 0x01, b + len);
        len += mode_page(d, 0x08, b + len);
    } else if (page != 0) {
        unsigned n = mode_page(d, page, b + len);
        if (n == 0) {
            bad_field(d, op);
            return;
        }
        len += n;
    }
    if (ten) {
        put16(b, len - 2);
        b[3] = d->read_only ? 0x80 : 0x10; /* write protection; FUA is understood */
        b[7] = descriptor ? 8 : 0;
    } else {
        b[0] = (uint8_t)(len - 1);
        b[2] = d->read_only ? 0x80 : 0x10;
        b[3] = descriptor ? 8 : 0;
    }
    reply(op, len, ten ? get16(cdb + 7) : cdb[4]);
}

/* ---- how large it is ---- */

static void read_capacity_10(struct stick *d, struct stick_op *op)
{
    put32(d->reply, (uint32_t)MIN_OF(blocks(d) - 1, (uint64_t)UINT32_MAX));
    put32(d->reply + 4, d->block_bytes);
    reply(op, 8, 8);
}

static unsigned log2_of(uint32_t v)
{
    return (unsigned)__builtin_ctz(v);
}

static void read_capacity_16(struct stick *d, const uint8_t *cdb, struct stick_op *op)
{
    uint8_t *b = d->reply;

    if ((cdb[1] & 31) != READ_CAPACITY_16) {
        bad_field(d, op);
        return;
    }
    memset(b, 0, 32);
    put64(b, blocks(d) - 1);
    put32(b + 8, d->block_bytes);
    b[13] = (uint8_t)log2_of(d->physical_bytes / d->block_bytes);
    b[14] = d->can_unmap ? 0xc0 : 0; /* may be unmapped, reads as zeroes then */
    reply(op, 32, get32(cdb + 10));
}

static void read_format_capacities(struct stick *d, const uint8_t *cdb, struct stick_op *op)
{
    uint8_t *b = d->reply;

    memset(b, 0, 12);
    b[3] = 8;
    put32(b + 4, (uint32_t)MIN_OF(blocks(d), (uint64_t)UINT32_MAX));
    put32(b + 8, d->block_bytes);
    b[8] = 2; /* formatted */
    reply(op, 12, get16(cdb + 7));
}

/* ---- media ---- */

static bool in_range(struct stick *d, uint64_t lba, uint64_t count, struct stick_op *op)
{
    if (lba <= blocks(d) && count <= blocks(d) - lba)
        return true;
    fail(d, op, KEY_ILLEGAL, ASC_BAD_LBA, 0);
    return false;
}

static bool may_write(struct stick *d, struct stick_op *op)
{
    if (!d->read_only)
        return true;
    fail(d, op, KEY_PROTECT, ASC_PROTECTED, 0);
    return false;
}

static void media(struct stick *d, struct stick_op *op, bool write, uint64_t lba, uint32_t count)
{
    if (!in_range(d, lba, count, op) || (write && !may_write(d, op)) || count == 0)
        return;
    op->bytes = (uint64_t)count * d->block_bytes;
    if (op->bytes > UINT32_MAX) {
        bad_field(d, op);
        return;
    }
    op->kind = write ? STICK_WRITE : STICK_READ;
    op->offset_bytes = lba * d->block_bytes;
}

bool stick_unmap_range(const struct stick *d, const uint8_t *list, uint32_t len, unsigned i,
                       uint64_t *offset_bytes, uint64_t *bytes)
{
    uint32_t at = UNMAP_HEAD + i * UNMAP_RANGE, all = len >= UNMAP_HEAD ? get16(list + 2) : 0;
    uint64_t lba, count;

    if (i >= UNMAP_RANGES_MAX || at + UNMAP_RANGE > MIN_OF(all + UNMAP_HEAD, len))
        return false;
    lba = get64(list + at);
    count = get32(list + at + 8);
    if (lba > blocks(d) || count > blocks(d) - lba)
        count = 0;
    *offset_bytes = lba * d->block_bytes;
    *bytes = count * d->block_bytes;
    return true;
}

static void media_command(struct stick *d, const uint8_t *cdb, struct stick_op *op)
{
    op->fua = cdb[1] & 8;
    switch (cdb[0]) {
    case READ_6:
    case WRITE_6:
        op->fua = false;
        media(d, op, cdb[0] == WRITE_6, get32(cdb) & 0x1fffff, cdb[4] ? cdb[4] : 256);
        break;
    case READ_10:
    case WRITE_10:
        media(d, op, cdb[0] == WRITE_10, get32(cdb + 2), get16(cdb + 7));
        break;
    case READ_12:
    case WRITE_12:
        media(d, op, cdb[0] == WRITE_12, get32(cdb + 2), get32(cdb + 6));
        break;
    case READ_16:
    case WRITE_16:
        media(d, op, cdb[0] == WRITE_16, get64(cdb + 2), get32(cdb + 10));
        break;
    case VERIFY_10: /* without data to compare with */
        if (cdb[1] & 2)
            bad_field(d, op);
        else
            (void)in_range(d, get32(cdb + 2), get16(cdb + 7), op);
        break;
    case SEEK_10:
        (void)in_range(d, get32(cdb + 2), 0, op);
        break;
    case SYNCHRONIZE_10:
    case SYNCHRONIZE_16:
        op->kind = STICK_FLUSH;
        break;
    case UNMAP:
        if (!d->can_unmap || !may_write(d, op))
            bad_field(d, op);
        else if ((op->len = get16(cdb + 7)))
            op->kind = STICK_UNMAP;
        break;
    default:
        fail(d, op, KEY_ILLEGAL, ASC_BAD_COMMAND, 0);
    }
}

static void report_luns(struct stick *d, const uint8_t *cdb, struct stick_op *op)
{
    memset(d->reply, 0, 16);
    put32(d->reply, 8);
    reply(op, 16, get32(cdb + 6));
}

static void take(struct stick_op *op, uint32_t len)
{
    op->len = len;
    op->kind = len ? STICK_TAKE : STICK_DONE;
}

static bool ready(struct stick *d, uint8_t command, struct stick_op *op)
{
    if (!d->stopped || command == START_STOP || command == PREVENT_REMOVAL)
        return true;
    fail(d, op, KEY_NOT_READY, ASC_NO_MEDIUM, 0);
    return false;
}

void stick_command(struct stick *d, const uint8_t cdb[16], struct stick_op *op)
{
    *op = (struct stick_op){.kind = STICK_DONE};
    if (cdb[0] != REQUEST_SENSE)
        d->key = d->asc = d->ascq = 0;
    switch (cdb[0]) {
    case REQUEST_SENSE:
        request_sense(d, cdb, op);
        return;
    case INQUIRY:
        inquiry(d, cdb, op);
        return;
    case REPORT_LUNS:
        report_luns(d, cdb, op);
        return;
    case MODE_SENSE_6:
    case MODE_SENSE_10:
        mode_sense(d, cdb, op);
        return;
    case MODE_SELECT_6:
    case MODE_SELECT_10: /* nothing can be changed */
        take(op, cdb[0] == MODE_SELECT_6 ? cdb[4] : get16(cdb + 7));
        return;
    }
    if (!ready(d, cdb[0], op))
        return;
    switch (cdb[0]) {
    case TEST_UNIT_READY:
    case PREVENT_REMOVAL:
        break;
    case START_STOP: /* load and eject are those of removable media */
        if ((cdb[4] & 2) && d->removable)
            d->stopped = !(cdb[4] & 1);
        break;
    case READ_CAPACITY_10:
        read_capacity_10(d, op);
        break;
    case SERVICE_IN_16:
        read_capacity_16(d, cdb, op);
        break;
    case READ_FORMAT_CAPACITIES:
        read_format_capacities(d, cdb, op);
        break;
    default:
        media_command(d, cdb, op);
    }
}
