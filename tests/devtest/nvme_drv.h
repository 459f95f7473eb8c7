/* nvme_drv.h - an NVMe driver for tests: an admin queue pair, I/O queue pairs, commands one by one.
 */
#ifndef TESTS_DEVTEST_NVME_DRV_H
#define TESTS_DEVTEST_NVME_DRV_H

#include "block/block.h"
#include "bus/pci.h"
#include "nvme/nvme.h"
#include "vt.h"
#include "vt_blk.h"

#include <stdio.h>

enum {
    ND_DEVFN = 5 << 3,
    ND_SIZE = 16, /* entries of a queue */
    ND_QUEUES = 4,
    ND_DISK = 4 << 20,
    ND_WAIT = 50000,
    ND_NOTHING = 0xfffff, /* nothing came in time: no status has so many bits */
};

struct nd_queue {
    uint64_t sq, cq;
    uint32_t tail, head;
    bool phase;
};

struct nd {
    struct vt_board *board;
    struct vt_bus *bus;
    struct blk_node *node;
    struct pci_dev *pci;
    char *path;
    uint64_t bar, data, list; /* data: 1 MiB; list: two pages */
    struct nd_queue q[ND_QUEUES];
    uint16_t cid;
    uint32_t result;
};

static inline uint32_t nd_reg(struct nd *d, unsigned off)
{
    return (uint32_t)d->bus->read(d->bus, d->bar + off, 4);
}

static inline void nd_reg_set(struct nd *d, unsigned off, uint64_t v)
{
    d->bus->write(d->bus, d->bar + off, 4, v);
}

static inline void nd_doorbell(struct nd *d, unsigned qid, bool cq, uint32_t v)
{
    nd_reg_set(d, 0x1000 + 8 * qid + (cq ? 4 : 0), v);
}

/* CSTS.RDY as wanted, or a failed test. */
static inline void nd_wait_ready(struct nd *d, bool ready)
{
    for (int i = 0; i < ND_WAIT && (nd_reg(d, 0x1c) & 1) != ready; i++)
        vt_pump(d->bus, 1);
    g_assert_cmpuint(nd_reg(d, 0x1c) & 1, ==, ready);
}

static inline void nd_disable(struct nd *d)
{
    nd_reg_set(d, 0x14, 0);
    nd_wait_ready(d, false);
}

static inline void nd_enable(struct nd *d, uint32_t cc)
{
    uint8_t zero[ND_SIZE * 16] = {0};

    for (unsigned i = 0; i < ND_QUEUES; i++) {
        d->q[i].head = d->q[i].tail = 0;
        d->q[i].phase = true;
        d->bus->mem_write(d->bus, d->q[i].cq, zero, sizeof(zero));
    }
    nd_reg_set(d, 0x24, (ND_SIZE - 1) | (ND_SIZE - 1) << 16);
    nd_reg_set(d, 0x28, d->q[0].sq);
    nd_reg_set(d, 0x2c, d->q[0].sq >> 32);
    nd_reg_set(d, 0x30, d->q[0].cq);
    nd_reg_set(d, 0x34, d->q[0].cq >> 32);
    nd_reg_set(d, 0x14, cc);
}

/* 64-byte and 16-byte entries, 4 KiB pages, enabled. */
#define ND_CC 0x00460001u

static inline void nd_up(struct nd *d, const char *json, const struct nvme_config *extra)
{
    struct nvme_config c = extra ? *extra : (struct nvme_config){0};
    GError *err = NULL;

    *d = (struct nd){.board = vt_board_new()};
    d->bus = vt_board_bus(d->board);
    d->path = vt_blk_image(ND_DISK);
    g_autofree char *text = g_strdup_printf(json ? json : RAW_FILE, d->path);
    d->node = vt_blk_node(text);
    c.bus = vt_board_pci(d->board)->root;
    c.devfn = ND_DEVFN;
    c.id = "nvme0";
    c.clock = vt_board_clock(d->board);
    c.node = d->node;
    c.serial = c.serial ? c.serial : "S-1";
    d->pci = nvme_new(&c, &err);
    g_assert_no_error(err);
    d->data = vt_alloc(d->bus, 1 << 20, 4096);
    d->list = vt_alloc(d->bus, 8192, 4096);
    for (unsigned i = 0; i < ND_QUEUES; i++) {
        d->q[i].sq = vt_alloc(d->bus, ND_SIZE * 64, 4096);
        d->q[i].cq = vt_alloc(d->bus, ND_SIZE * 16, 4096);
    }
    d->bar = vt_map_bar(d->bus, ND_DEVFN, 0, 8192);
    vt_msix_open(d->bus, ND_DEVFN);
}

static inline void nd_down(struct nd *d)
{
    vt_board_free(d->board);
    blk_close(d->node);
    remove(d->path);
    g_free(d->path);
}

/* Puts a command into the queue; its id. */
static inline uint16_t nd_put(struct nd *d, unsigned qid, uint8_t opcode, uint32_t nsid,
                              uint64_t prp1, uint64_t prp2, const uint32_t dw[6])
{
    struct nd_queue *q = &d->q[qid];
    uint8_t e[64] = {opcode};

    le16_put(e + 2, ++d->cid);
    le32_put(e + 4, nsid);
    le64_put(e + 24, prp1);
    le64_put(e + 32, prp2);
    for (int i = 0; i < 6; i++)
        le32_put(e + 40 + 4 * i, dw[i]);
    d->bus->mem_write(d->bus, q->sq + 64 * q->tail, e, sizeof(e));
    q->tail = (q->tail + 1) % ND_SIZE;
    return d->cid;
}

/* The next completion's status, its DNR bit taken off; ND_NOTHING when none comes. */
static inline uint32_t nd_next(struct nd *d, unsigned qid, uint16_t *cid)
{
    struct nd_queue *q = &d->q[qid];
    uint8_t e[16];

    for (int i = 0; i < ND_WAIT; i++) {
        d->bus->mem_read(d->bus, q->cq + 16 * q->head, e, sizeof(e));
        if ((le16_get(e + 14) & 1) == q->phase) {
            g_assert_cmpuint(le16_get(e + 10), ==, qid);
            if (++q->head == ND_SIZE) {
                q->head = 0;
                q->phase = !q->phase;
            }
            nd_doorbell(d, qid, true, q->head);
            d->result = le32_get(e);
            if (cid)
                *cid = le16_get(e + 12);
            return le16_get(e + 14) >> 1 & 0x3fff;
        }
        vt_pump(d->bus, 1);
    }
    return ND_NOTHING;
}

static inline uint32_t nd_run(struct nd *d, unsigned qid, uint8_t opcode, uint32_t nsid,
                              uint64_t prp1, uint64_t prp2, const uint32_t dw[6])
{
    uint16_t id = nd_put(d, qid, opcode, nsid, prp1, prp2, dw), cid = 0;

    nd_doorbell(d, qid, false, d->q[qid].tail);
    uint32_t status = nd_next(d, qid, &cid);
    if (status != ND_NOTHING)
        g_assert_cmpuint(cid, ==, id);
    return status;
}

#define ND_DW(...)                                                                                 \
    (const uint32_t[6])                                                                            \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static inline uint32_t nd_create(struct nd *d, unsigned qid, unsigned vector)
{
    uint32_t id = qid | (ND_SIZE - 1) << 16;
    uint32_t s = nd_run(d, 0, 0x05, 0, d->q[qid].cq, 0, ND_DW(id, 3 | vector << 16));

    return s ? s : nd_run(d, 0, 0x01, 0, d->q[qid].sq, 0, ND_DW(id, 1 | qid << 16));
}

static inline void nd_start(struct nd *d)
{
    nd_enable(d, ND_CC);
    nd_wait_ready(d, true);
    g_assert_cmphex(nd_create(d, 1, 1), ==, 0);
}

/* Read (2), write (1) and their kin on queue 1. */
static inline uint32_t nd_io(struct nd *d, uint8_t opcode, uint64_t lba, uint32_t blocks,
                             uint64_t prp1, uint64_t prp2)
{
    return nd_run(d, 1, opcode, 1, prp1, prp2,
                  ND_DW((uint32_t)lba, (uint32_t)(lba >> 32), blocks - 1));
}

#endif
