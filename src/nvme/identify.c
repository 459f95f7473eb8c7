/* identify.c - what the controller says about itself: Identify, Get Log Page (§5.14, §5.15). */
#include "nvme_int.h"

#include "base/evloop.h"

#include <stdio.h>

enum {
    CNS_NAMESPACE = 0x00,
    CNS_CONTROLLER = 0x01,
    CNS_ACTIVE_LIST = 0x02,
    CNS_DESCRIPTORS = 0x03,
    LOG_ERRORS = 0x01,
    LOG_HEALTH = 0x02,
    LOG_FIRMWARE = 0x03,
    LOG_CHANGED = 0x04,
    LOG_EFFECTS = 0x05,
    HEALTH_BYTES = 512,
    FIRMWARE_BYTES = 512,
    ERROR_BYTES = 64,
    KELVIN_NOW = 0x143,
    UNITS_PER_READ = 1000 * 512,
};
#define LOG_KEEP BIT(15) /* do not let further events of this kind come yet */

static void text_put(uint8_t *at, const char *text, size_t room)
{
    memset(at, ' ', room);
    memcpy(at, text, MIN_OF(strlen(text), room));
}

/* ---- Identify ---- */

static void controller(struct nvme *n, uint8_t *b)
{
    le16_put(b + 0, le16_get(n->pci.config + PCI_VENDOR));
    le16_put(b + 2, le16_get(n->pci.config + PCI_SUBSYS_VENDOR));
    text_put(b + 4, n->serial, 20);
    text_put(b + 24, "Hanok NVMe Ctrl", 40);
    text_put(b + 64, "1.0", 8);
    b[72] = 6; /* recommended burst: 64 commands */
    b[77] = (uint8_t)n->cfg.mdts;
    le32_put(b + 80, NVME_VERSION);
    le32_put(b + 92, BIT(8)); /* events: a namespace has changed */
    b[111] = 1;               /* an I/O controller */
    b[258] = 3;               /* abort limit, from 0 */
    b[259] = NVME_AERS_MAX - 1;
    b[260] = 0x03; /* one firmware slot, read-only */
    b[261] = 0x07; /* logs: per namespace, effects, offsets */
    le16_put(b + 266, 0x157);
    le16_put(b + 268, 0x175);
    b[512] = 0x66; /* entries of 64 and 16 bytes */
    b[513] = 0x44;
    le32_put(b + 516, 1);                        /* namespaces */
    le16_put(b + 520, BIT(2) | BIT(3) | BIT(4)); /* deallocation, zeroes, select of features */
    b[525] = 0x07;                               /* write cache; flush takes all namespaces too */
    snprintf((char *)b + 768, 256, "nqn.2026-01.org.hanok:nvme:%s", n->serial);
    le16_put(b + 2048, 2500); /* power state 0: 25 W, in and out at once */
    le32_put(b + 2048 + 4, 16);
    le32_put(b + 2048 + 8, 4);
}

static void namespace(struct nvme *n, uint8_t *b)
{
    uint32_t physical = n->physical_bytes / n->block_bytes;

    for (unsigned at = 0; at <= 16; at += 8) /* size, capacity, use */
        le64_put(b + at, n->blocks);
    b[24] = 0; /* thin provisioning is not told */
    if (physical > 1) {
        b[24] |= BIT(4); /* the fields below count */
        for (unsigned at = 64; at <= 72; at += 2)
            le16_put(b + at, (uint16_t)(physical - 1));
    }
    b[33] = BIT(3);       /* write zeroes may deallocate */
    b[99] = n->read_only; /* write protected */
    b[128 + 2] = (uint8_t)__builtin_ctz(n->block_bytes);
}

static void eui64(const struct nvme *n, uint8_t *id)
{
    /* A locally administered identifier from the serial number (FNV-1a). */
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (const char *c = n->serial; *c; c++)
        h = (h ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    for (unsigned i = 0; i < 8; i++)
        id[i] = (uint8_t)(h >> (56 - 8 * i));
    id[0] = (uint8_t)((id[0] & ~1u) | 2u);
}

static uint16_t nsid_check(uint32_t nsid)
{
    return nsid == 0 || nsid > NVME_NSID ? NVME_BAD_NAMESPACE : NVME_OK;
}

uint16_t nvme_identify(struct nvme_req *r)
{
    struct nvme *n = r->n;
    uint8_t *b = n->scratch;
    uint16_t s = NVME_OK;

    memset(b, 0, sizeof(n->scratch));
    switch (r->cmd.dw[0] & 0xff) {
    case CNS_NAMESPACE:
        s = r->cmd.nsid == (uint32_t)NVME_ALL_NS ? NVME_OK : nsid_check(r->cmd.nsid);
        namespace(n, b);
        eui64(n, b + 120);
        break;
    case CNS_CONTROLLER:
        controller(n, b);
        break;
    case CNS_ACTIVE_LIST: /* those above the one named */
        if (r->cmd.nsid >= UINT32_MAX - 1)
            s = NVME_BAD_NAMESPACE;
        else if (r->cmd.nsid < NVME_NSID)
            le32_put(b, NVME_NSID);
        break;
    case CNS_DESCRIPTORS:
        s = nsid_check(r->cmd.nsid);
        b[0] = 1; /* EUI-64 */
        b[1] = 8;
        eui64(n, b + 4);
        break;
    default:
        s = NVME_BAD_FIELD;
    }
    return s ? s : nvme_to_guest(r, b, NVME_IDENTIFY_BYTES);
}

/* ---- Get Log Page ---- */

static void health(struct nvme *n, uint8_t *b)
{
    struct blk_stats st;

    blk_stats(n->cfg.node, &st);
    le16_put(b + 1, KELVIN_NOW);
    b[3] = 100; /* spare, per cent */
    b[4] = 10;
    le64_put(b + 32, (st.bytes[BLK_READ] + UNITS_PER_READ - 1) / UNITS_PER_READ);
    le64_put(b + 48, (st.bytes[BLK_WRITE] + UNITS_PER_READ - 1) / UNITS_PER_READ);
    le64_put(b + 64, st.ops[BLK_READ]);
    le64_put(b + 80, st.ops[BLK_WRITE]);
    le64_put(b + 112, 1); /* power cycles */
    le64_put(b + 128, vm_clock_ns(n->cfg.clock) / UINT64_C(3600000000000));
    le64_put(b + 160, st.errors[BLK_READ] + st.errors[BLK_WRITE]);
}

static void effects(uint8_t *b)
{
    static const uint8_t admin[] = {0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x0c};
    static const uint8_t io[] = {0x00, 0x02};
    static const uint8_t io_changes[] = {0x01, 0x08, 0x09};

    for (unsigned i = 0; i < sizeof(admin); i++)
        le32_put(b + 4 * admin[i], 1);
    for (unsigned i = 0; i < sizeof(io); i++)
        le32_put(b + 1024 + 4 * io[i], 1);
    for (unsigned i = 0; i < sizeof(io_changes); i++)
        le32_put(b + 1024 + 4 * io_changes[i], 3); /* supported, changes the contents */
}

/* Fills the log; its size, 0 when there is none of that number.  type: of the events it answers. */
static uint32_t log_fill(struct nvme *n, uint8_t id, bool keep, unsigned *type)
{
    uint8_t *b = n->scratch;

    memset(b, 0, sizeof(n->scratch));
    switch (id) {
    case LOG_ERRORS:
        *type = 0;
        return ERROR_BYTES;
    case LOG_HEALTH:
        *type = 1;
        health(n, b);
        return HEALTH_BYTES;
    case LOG_FIRMWARE:
        b[0] = 1;
        text_put(b + 8, "1.0", 8);
        return FIRMWARE_BYTES;
    case LOG_CHANGED:
        *type = 2;
        if (n->resized)
            le32_put(b, NVME_NSID);
        n->resized &= keep;
        return NVME_IDENTIFY_BYTES;
    case LOG_EFFECTS:
        effects(b);
        return NVME_IDENTIFY_BYTES;
    }
    return 0;
}

uint16_t nvme_get_log(struct nvme_req *r)
{
    struct nvme *n = r->n;
    bool keep = r->cmd.dw[0] & LOG_KEEP;
    uint64_t dwords = (r->cmd.dw[0] >> 16 | (uint64_t)(r->cmd.dw[1] & 0xffff) << 16) + 1;
    uint64_t offset = r->cmd.dw[2] | (uint64_t)r->cmd.dw[3] << 32;
    unsigned type = UINT8_MAX;
    uint32_t size = log_fill(n, (uint8_t)r->cmd.dw[0], keep, &type);

    if (size == 0)
        return NVME_BAD_LOG;
    if (offset >= size || (offset & 3))
        return NVME_BAD_FIELD;
    if (type != UINT8_MAX && !keep)
        n->masked &= (uint8_t)~BIT(type);
    return nvme_to_guest(r, n->scratch + offset, (uint32_t)MIN_OF(dwords * 4, size - offset));
}
