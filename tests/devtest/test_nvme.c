/* The NVMe controller by its registers: enabling, queues, commands, events, errors, nonsense,
 * state. */
#include "nvme_drv.h"

#include "base/evloop.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

enum { READ = 2, WRITE = 1, FLUSH = 0, ZEROES = 8, DATASET = 9 };

static void set_up(struct nd *d, gconstpointer unused)
{
    nd_up(d, NULL, NULL);
    nd_start(d);
}

static void tear_down(struct nd *d, gconstpointer unused)
{
    nd_down(d);
}

static void fill(struct nd *d, uint64_t gpa, uint32_t blocks, uint32_t tag)
{
    for (uint32_t i = 0; i < blocks; i++)
        vt_put(d->bus, gpa + 512ull * i, tag + i, 4);
}

static void test_what_a_driver_finds(struct nd *d, gconstpointer unused)
{
    uint8_t b[4096];

    g_assert_cmphex(vt_config_read(d->bus, ND_DEVFN, 8, 4) >> 8, ==, 0x010802);
    g_assert_cmphex(nd_reg(d, 0x00) & 0xffff, ==, 2047);
    g_assert_cmphex(nd_reg(d, 0x04) & 0x20, ==, 0x20); /* NVM command set */
    g_assert_cmphex(nd_reg(d, 0x08), ==, 0x00010400);
    g_assert_cmphex(d->bus->read(d->bus, d->bar, 8), ==,
                    nd_reg(d, 0) | (uint64_t)nd_reg(d, 4) << 32);
    g_assert_cmphex(nd_run(d, 0, 0x06, 0, d->data, 0, ND_DW(1)), ==, 0);
    d->bus->mem_read(d->bus, d->data, b, sizeof(b));
    g_assert_cmpmem(b + 4, 4, "S-1 ", 4);
    g_assert_cmpuint(le32_get(b + 516), ==, 1);
    g_assert_cmphex(nd_run(d, 0, 0x06, 1, d->data, 0, ND_DW(0)), ==, 0);
    d->bus->mem_read(d->bus, d->data, b, sizeof(b));
    g_assert_cmpuint(le64_get(b), ==, ND_DISK / 512);
    g_assert_cmpuint(b[130], ==, 9);
    g_assert_cmphex(nd_run(d, 0, 0x06, 0, d->data, 0, ND_DW(2)), ==, 0);
    g_assert_cmpuint(vt_get(d->bus, d->data, 8), ==, 1);
    g_assert_cmphex(nd_run(d, 0, 0x06, 1, d->data, 0, ND_DW(3)), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data, 2), ==, 0x0801);
    g_assert_cmphex(nd_run(d, 0, 0x06, 2, d->data, 0, ND_DW(0)), ==, 0x0b);
    g_assert_cmphex(nd_run(d, 0, 0x06, 0, d->data, 0, ND_DW(0x77)), ==, 0x02);
}

static void test_logs_and_features(struct nd *d, gconstpointer unused)
{
    g_assert_cmphex(nd_run(d, 0, 0x02, UINT32_MAX, d->data, 0, ND_DW(2 | 127 << 16)), ==, 0);
    g_assert_cmpuint(vt_get(d->bus, d->data + 1, 2), ==, 0x143);
    g_assert_cmphex(nd_run(d, 0, 0x02, 0, d->data, 0, ND_DW(0x99 | 127 << 16)), ==, 0x109);
    g_assert_cmphex(nd_run(d, 0, 0x02, 0, d->data, 0, ND_DW(2 | 127 << 16, 0, 512)), ==, 0x02);
    for (uint8_t log = 1; log <= 5; log++)
        g_assert_cmphex(nd_run(d, 0, 0x02, 0, d->data, 0, ND_DW(log | 15 << 16)), ==, 0);
    g_assert_cmphex(nd_run(d, 0, 0x0a, 0, 0, 0, ND_DW(6)), ==, 0); /* the write cache: on */
    g_assert_cmphex(d->result, ==, 1);
    g_assert_cmphex(nd_run(d, 0, 0x09, 0, 0, 0, ND_DW(6, 0)), ==, 0);
    g_assert_cmphex(nd_run(d, 0, 0x0a, 0, 0, 0, ND_DW(6)), ==, 0);
    g_assert_cmphex(d->result, ==, 0);
    g_assert_cmphex(nd_run(d, 0, 0x0a, 0, 0, 0, ND_DW(6 | 1 << 8)), ==, 0); /* its default */
    g_assert_cmphex(d->result, ==, 1);
    g_assert_cmphex(nd_run(d, 0, 0x09, 0, 0, 0, ND_DW(6 | 1u << 31)), ==, 0x10d);
    g_assert_cmphex(nd_run(d, 0, 0x09, 0, 0, 0, ND_DW(7, 0x00030003)), ==, 0x0c); /* too late */
    g_assert_cmphex(nd_run(d, 0, 0x0a, 0, 0, 0, ND_DW(7)), ==, 0);
    g_assert_cmphex(d->result, ==, 0x003f003f);
    g_assert_cmphex(nd_run(d, 0, 0x09, 0, 0, 0, ND_DW(9, 3 | 1 << 16)), ==, 0);
    g_assert_cmphex(nd_run(d, 0, 0x0a, 0, 0, 0, ND_DW(9, 3)), ==, 0);
    g_assert_cmphex(d->result, ==, 0x00010003);
    g_assert_cmphex(nd_run(d, 0, 0x0a, 0, 0, 0, ND_DW(0xc0)), ==, 0x02);
    g_assert_cmphex(nd_run(d, 0, 0x0c + 0x40, 0, 0, 0, ND_DW(0)), ==, 0x01);
    g_assert_cmphex(nd_run(d, 0, 0x08, 0, 0, 0, ND_DW(1)), ==, 0);
    g_assert_cmphex(d->result, ==, 1);
}

static void test_write_then_read(struct nd *d, gconstpointer unused)
{
    unsigned irqs = vt_board_msi_count(d->board, 1);
    uint32_t magic = 0;

    fill(d, d->data, 8, 0x1000);
    g_assert_cmphex(nd_io(d, WRITE, 100, 8, d->data, 0), ==, 0);
    g_assert_cmphex(nd_io(d, FLUSH, 0, 1, 0, 0), ==, 0);
    g_assert_cmphex(nd_io(d, READ, 103, 1, d->data + 0x10000, 0), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data + 0x10000, 4), ==, 0x1003);
    g_assert_cmpuint(vt_board_msi_count(d->board, 1), >=, irqs + 3);
    FILE *f = fopen(d->path, "rb");
    g_assert_cmpint(fseek(f, 107 * 512, SEEK_SET), ==, 0);
    g_assert_cmpuint(fread(&magic, 4, 1, f), ==, 1);
    fclose(f);
    g_assert_cmphex(magic, ==, 0x1007);
    /* to the last block, and not beyond */
    g_assert_cmphex(nd_io(d, READ, ND_DISK / 512 - 8, 8, d->data, 0), ==, 0);
    g_assert_cmphex(nd_io(d, READ, ND_DISK / 512 - 7, 8, d->data, 0), ==, 0x80);
    g_assert_cmphex(nd_io(d, READ, UINT64_MAX, 8, d->data, 0), ==, 0x80);
}

/* Every way to say where the data lies: one page, two, a list, a list in two parts. */
static void test_data_pointers(struct nd *d, gconstpointer unused)
{
    uint64_t second = d->list + 4096;

    for (uint32_t i = 0; i < 1024; i++)
        fill(d, d->data + 512ull * i, 1, 0x7000 + i);
    /* from the middle of a page: 1 KiB + 4 KiB */
    g_assert_cmphex(nd_io(d, WRITE, 0, 10, d->data + 3072, d->data + 4096), ==, 0);
    g_assert_cmphex(nd_io(d, READ, 2, 1, d->data + 0x90000, 0), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data + 0x90000, 4), ==, 0x7008);
    /* 512 KiB by a list whose last but two entries lie at the end of its page; pages backwards */
    for (int i = 0; i < 127; i++)
        vt_put(d->bus, i < 2 ? d->list + 4096 - 24 + 8 * i : second + 8 * (i - 2),
               d->data + 4096ull * (126 - i), 8);
    vt_put(d->bus, d->list + 4096 - 8, second, 8);
    g_assert_cmphex(nd_io(d, WRITE, 1000, 1024, d->data + 127 * 4096, d->list + 4096 - 24), ==, 0);
    g_assert_cmphex(nd_io(d, READ, 1000 + 8 * 127, 1, d->data + 0x90000, 0), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data + 0x90000, 4), ==, 0x7000);
    g_assert_cmphex(nd_io(d, READ, 1000 + 8 * 3, 1, d->data + 0x90000, 0), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data + 0x90000, 4), ==, 0x7000 + 8 * 124);
    /* across the border of two memory regions */
    fill(d, VT_RAM_SPLIT - 4096, 16, 0x9000);
    g_assert_cmphex(nd_io(d, WRITE, 0, 16, VT_RAM_SPLIT - 4096, VT_RAM_SPLIT), ==, 0);
    g_assert_cmphex(nd_io(d, READ, 15, 1, VT_RAM_HIGH, 0), ==, 0);
    g_assert_cmphex(vt_get(d->bus, VT_RAM_HIGH, 4), ==, 0x900f);
}

static void test_bad_data_pointers_end_the_command(struct nd *d, gconstpointer unused)
{
    g_assert_cmphex(nd_io(d, READ, 0, 1, d->data + 2, 0), ==, 0x13);
    g_assert_cmphex(nd_io(d, READ, 0, 16, d->data, d->data + 512), ==, 0x13);
    g_assert_cmphex(nd_io(d, READ, 0, 1, 0x50000000, 0), ==, 0x04);
    g_assert_cmphex(nd_io(d, READ, 0, 1, UINT64_MAX & ~4095ull, 0), ==, 0x04);
    g_assert_cmphex(nd_io(d, READ, 0, 1024, d->data, 0x50000000), ==, 0x04);
    g_assert_cmphex(nd_io(d, READ, 0, 1024, d->data, d->list + 4), ==, 0x13);
    vt_put(d->bus, d->list, d->data + 512, 8); /* an entry with an offset */
    g_assert_cmphex(nd_io(d, READ, 0, 24, d->data, d->list), ==, 0x13);
    vt_put(d->bus, d->list + 4088, d->list + 4088, 8); /* a list that points into itself */
    g_assert_cmphex(nd_io(d, READ, 0, 24, d->data, d->list + 4088), ==, 0x13);
    g_assert_cmphex(nd_io(d, READ, 0, 1025, d->data, d->list), ==, 0x02); /* over MDTS */
    g_assert_cmphex(nd_io(d, READ, 0, 8, d->data, 0), ==, 0);
}

static void test_zeroes_and_deallocation(struct nd *d, gconstpointer unused)
{
    uint8_t ranges[32] = {0};

    fill(d, d->data, 64, 0x4000);
    vt_put(d->bus, d->list, d->data + 4096, 8);
    for (int i = 0; i < 7; i++)
        vt_put(d->bus, d->list + 8 * i, d->data + 4096ull * (i + 1), 8);
    g_assert_cmphex(nd_io(d, WRITE, 0, 64, d->data, d->list), ==, 0);
    g_assert_cmphex(nd_run(d, 1, ZEROES, 1, 0, 0, ND_DW(8, 0, 7)), ==, 0);
    g_assert_cmphex(nd_run(d, 1, ZEROES, 1, 0, 0, ND_DW(16, 0, 7 | 1u << 25)), ==, 0);
    g_assert_cmphex(nd_run(d, 1, ZEROES, 1, 0, 0, ND_DW(ND_DISK / 512, 0, 0)), ==, 0x80);
    le32_put(ranges + 4, 8);
    le64_put(ranges + 8, 24);
    le32_put(ranges + 20, 8);
    le64_put(ranges + 24, 40);
    d->bus->mem_write(d->bus, d->data, ranges, sizeof(ranges));
    g_assert_cmphex(nd_run(d, 1, DATASET, 1, d->data, 0, ND_DW(1, 4)), ==, 0);
    for (unsigned block = 0; block < 64; block += 8) {
        bool gone = block == 8 || block == 16 || block == 24 || block == 40;
        g_assert_cmphex(nd_io(d, READ, block + 1, 1, d->data + 0x8000, 0), ==, 0);
        g_assert_cmphex(vt_get(d->bus, d->data + 0x8000, 4), ==, gone ? 0 : 0x4001 + block);
    }
    le64_put(ranges + 8, ND_DISK / 512 - 4); /* over the end: nothing is done */
    d->bus->mem_write(d->bus, d->data, ranges, sizeof(ranges));
    g_assert_cmphex(nd_run(d, 1, DATASET, 1, d->data, 0, ND_DW(0, 4)), ==, 0x80);
    g_assert_cmphex(nd_run(d, 1, DATASET, 1, d->data, 0, ND_DW(255, 2)), ==, 0); /* a hint */
}

static void test_many_commands_at_once(struct nd *d, gconstpointer unused)
{
    uint32_t seen = 0;

    for (int round = 0; round < 40; round++) { /* around the ring several times */
        uint16_t first = d->cid + 1, cid = 0;
        for (uint32_t i = 0; i < ND_SIZE - 1; i++)
            nd_put(d, 1, READ, 1, d->data + 512ull * i, 0, ND_DW(i));
        nd_doorbell(d, 1, false, d->q[1].tail);
        seen = 0;
        for (uint32_t i = 0; i < ND_SIZE - 1; i++) {
            g_assert_cmphex(nd_next(d, 1, &cid), ==, 0);
            seen |= BIT(cid - first);
        }
        g_assert_cmphex(seen, ==, BIT(ND_SIZE - 1) - 1);
    }
}

/* A driver that never moves its completion queue's head gets no more than there is room for. */
static void test_full_completion_queue_waits(struct nd *d, gconstpointer unused)
{
    uint8_t e[ND_SIZE * 16];

    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < ND_SIZE - 1; i++)
            nd_put(d, 1, READ, 1, d->data, 0, ND_DW(i));
        nd_doorbell(d, 1, false, d->q[1].tail);
        vt_pump(d->bus, 200);
    }
    d->bus->mem_read(d->bus, d->q[1].cq, e, sizeof(e));
    g_assert_cmphex(le16_get(e + 16 * (ND_SIZE - 1) + 14) & 1, ==, 0); /* the last is free */
    for (uint32_t i = 0; i < ND_SIZE - 1; i++)
        g_assert_cmphex(nd_next(d, 1, NULL), ==, 0);
    for (uint32_t i = 0; i < ND_SIZE - 1; i++)
        g_assert_cmphex(nd_next(d, 1, NULL), ==, 0);
}

static void test_queues_are_checked(struct nd *d, gconstpointer unused)
{
    uint64_t cq = d->q[2].cq, sq = d->q[2].sq;

    g_assert_cmphex(nd_run(d, 0, 0x05, 0, cq, 0, ND_DW(0 | 15 << 16, 3)), ==, 0x101);
    g_assert_cmphex(nd_run(d, 0, 0x05, 0, cq, 0, ND_DW(1 | 15 << 16, 3)), ==, 0x101);
    g_assert_cmphex(nd_run(d, 0, 0x05, 0, cq, 0, ND_DW(65 | 15 << 16, 3)), ==, 0x101);
    g_assert_cmphex(nd_run(d, 0, 0x05, 0, cq, 0, ND_DW(2, 3)), ==, 0x102);
    g_assert_cmphex(nd_run(d, 0, 0x05, 0, cq, 0, ND_DW(2 | 2048 << 16, 3)), ==, 0x102);
    g_assert_cmphex(nd_run(d, 0, 0x05, 0, cq, 0, ND_DW(2 | 15 << 16, 2)), ==, 0x02);
    g_assert_cmphex(nd_run(d, 0, 0x05, 0, cq + 16, 0, ND_DW(2 | 15 << 16, 3)), ==, 0x13);
    g_assert_cmphex(nd_run(d, 0, 0x05, 0, cq, 0, ND_DW(2 | 15 << 16, 3 | 65 << 16)), ==, 0x108);
    g_assert_cmphex(nd_run(d, 0, 0x01, 0, sq, 0, ND_DW(2 | 15 << 16, 1 | 2 << 16)), ==, 0x100);
    g_assert_cmphex(nd_run(d, 0, 0x04, 0, 0, 0, ND_DW(1)), ==, 0x10c); /* still used */
    g_assert_cmphex(nd_run(d, 0, 0x00, 0, 0, 0, ND_DW(7)), ==, 0x101);
    g_assert_cmphex(nd_run(d, 0, 0x00, 0, 0, 0, ND_DW(1)), ==, 0);
    g_assert_cmphex(nd_run(d, 0, 0x04, 0, 0, 0, ND_DW(1)), ==, 0);
    g_assert_cmphex(nd_create(d, 2, 2), ==, 0);
    g_assert_cmphex(nd_run(d, 2, READ, 1, d->data, 0, ND_DW(0)), ==, 0);
    g_assert_cmpuint(vt_board_msi_count(d->board, 2), ==, 1);
}

/* The queue goes only when its commands have ended, and no end is lost or told twice. */
static void test_queue_deleted_under_load(struct nd *d, gconstpointer unused)
{
    unsigned ended = 0;

    for (uint32_t i = 0; i < ND_SIZE - 1; i++)
        nd_put(d, 1, READ, 1, d->data, 0, ND_DW(i));
    nd_doorbell(d, 1, false, d->q[1].tail);
    g_assert_cmphex(nd_run(d, 0, 0x00, 0, 0, 0, ND_DW(1)), ==, 0);
    for (; ended < ND_SIZE - 1; ended++) {
        uint8_t e[16];
        d->bus->mem_read(d->bus, d->q[1].cq + 16 * ended, e, sizeof(e));
        if (!(e[14] & 1))
            break;
    }
    vt_pump(d->bus, 100);
    uint8_t after[16];
    d->bus->mem_read(d->bus, d->q[1].cq + 16 * ended, after, sizeof(after));
    g_assert_cmphex(after[14] & 1, ==, 0);
    g_assert_cmphex(nd_run(d, 0, 0x04, 0, 0, 0, ND_DW(1)), ==, 0);
}

static void test_events(struct nd *d, gconstpointer unused)
{
    for (int i = 0; i < 4; i++) {
        nd_put(d, 0, 0x0c, 0, 0, 0, ND_DW(0));
        nd_doorbell(d, 0, false, d->q[0].tail);
    }
    g_assert_cmphex(nd_run(d, 0, 0x0c, 0, 0, 0, ND_DW(0)), ==, 0x105); /* one too many */
    g_assert_cmphex(nd_run(d, 0, 0x09, 0, 0, 0, ND_DW(0x0b, 0x100)), ==, 0);
    GError *err = NULL;
    g_assert_true(blk_resize(d->node, 2 * ND_DISK, &err));
    nvme_resized(&d->pci->dev);
    nvme_resized(&d->pci->dev); /* told once until the log has been read */
    g_assert_cmphex(nd_next(d, 0, NULL), ==, 0);
    g_assert_cmphex(d->result, ==, 0x00040002);
    vt_pump(d->bus, 50);
    g_assert_cmphex(nd_run(d, 0, 0x02, UINT32_MAX, d->data, 0, ND_DW(4 | 1023 << 16)), ==, 0);
    g_assert_cmpuint(vt_get(d->bus, d->data, 4), ==, 1);
    g_assert_cmphex(nd_io(d, READ, ND_DISK / 512 + 5, 1, d->data, 0), ==, 0);
    nd_doorbell(d, 9, false, 1); /* no such queue */
    g_assert_cmphex(nd_next(d, 0, NULL), ==, 0);
    g_assert_cmphex(d->result, ==, 0x00010000);
    g_assert_cmphex(nd_run(d, 0, 0x02, 0, d->data, 0, ND_DW(1 | 15 << 16)), ==, 0);
    nd_doorbell(d, 1, false, ND_SIZE); /* a tail outside the queue */
    g_assert_cmphex(nd_next(d, 0, NULL), ==, 0);
    g_assert_cmphex(d->result, ==, 0x00010100);
}

static void test_reset_with_commands_under_way(struct nd *d, gconstpointer unused)
{
    for (int round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < ND_SIZE - 1; i++)
            nd_put(d, 1, round & 1 ? WRITE : READ, 1, d->data, 0, ND_DW(i));
        nd_doorbell(d, 1, false, d->q[1].tail);
        vt_pump(d->bus, (unsigned)round % 3);
        nd_disable(d);
        uint64_t sum = vt_get(d->bus, d->q[1].cq, 8);
        vt_pump(d->bus, 20);
        g_assert_cmphex(vt_get(d->bus, d->q[1].cq, 8), ==, sum); /* silence after RDY = 0 */
        nd_start(d);
        g_assert_cmphex(nd_io(d, READ, 0, 1, d->data, 0), ==, 0);
    }
    /* a driver that does not wait for RDY = 0 */
    for (uint32_t i = 0; i < ND_SIZE - 1; i++)
        nd_put(d, 1, READ, 1, d->data, 0, ND_DW(i));
    nd_doorbell(d, 1, false, d->q[1].tail);
    vt_pump(d->bus, 1);
    nd_reg_set(d, 0x14, 0);
    nd_reg_set(d, 0x14, ND_CC);
    nd_wait_ready(d, true);
    nd_disable(d);
    nd_start(d);
}

static void test_shutdown_flushes(struct nd *d, gconstpointer unused)
{
    struct blk_stats before, after;

    blk_stats(d->node, &before);
    nd_reg_set(d, 0x14, ND_CC | 1 << 14);
    for (int i = 0; i < ND_WAIT && (nd_reg(d, 0x1c) & 0xc) != 8; i++)
        vt_pump(d->bus, 1);
    g_assert_cmphex(nd_reg(d, 0x1c) & 0xc, ==, 8);
    blk_stats(d->node, &after);
    g_assert_cmpuint(after.ops[BLK_FLUSH], ==, before.ops[BLK_FLUSH] + 1);
    nd_disable(d);
    g_assert_cmphex(nd_reg(d, 0x1c), ==, 0);
    nd_start(d);
}

static void check_fatal(struct nd *d, uint32_t cc)
{
    nd_disable(d);
    nd_enable(d, cc);
    vt_pump(d->bus, 50);
    g_assert_cmphex(nd_reg(d, 0x1c) & 2, ==, 2);
}

static void test_nonsense_stops_the_controller(struct nd *d, gconstpointer unused)
{
    check_fatal(d, ND_CC | 7 << 4);  /* command set */
    check_fatal(d, ND_CC | 9 << 7);  /* pages of 2 MiB */
    check_fatal(d, ND_CC | 1 << 11); /* arbitration */
    check_fatal(d, ND_CC | 4 << 7);  /* queues that are no multiple of 64 KiB pages */
    nd_disable(d);
    /* queues that are not memory */
    nd_enable(d, 0);
    nd_reg_set(d, 0x28, 0x50000000);
    nd_reg_set(d, 0x14, ND_CC);
    nd_doorbell(d, 0, false, 1);
    vt_pump(d->bus, 50);
    g_assert_cmphex(nd_reg(d, 0x1c) & 2, ==, 2);
    nd_disable(d);
    nd_enable(d, 0);
    nd_reg_set(d, 0x30, 0x50000000);
    nd_reg_set(d, 0x14, ND_CC);
    nd_put(d, 0, 0x08, 0, 0, 0, ND_DW(0));
    nd_doorbell(d, 0, false, 1);
    vt_pump(d->bus, 50);
    g_assert_cmphex(nd_reg(d, 0x1c) & 2, ==, 2);
    nd_disable(d);
    nd_start(d);
    g_assert_cmphex(nd_run(d, 1, READ, 7, d->data, 0, ND_DW(0)), ==, 0x0b);
    g_assert_cmphex(nd_run(d, 1, 0x05, 1, d->data, 0, ND_DW(0)), ==, 0x01);
    g_assert_cmphex(nd_io(d, READ, 0, 1, d->data, 0), ==, 0);
}

static void test_no_dma_without_bus_mastering(struct nd *d, gconstpointer unused)
{
    vt_config_write(d->bus, ND_DEVFN, 4, 2, 2);
    nd_put(d, 1, READ, 1, d->data, 0, ND_DW(0));
    nd_doorbell(d, 1, false, d->q[1].tail);
    vt_pump(d->bus, 50);
    g_assert_cmphex(vt_get(d->bus, d->q[1].cq + 14, 2), ==, 0);
    vt_config_write(d->bus, ND_DEVFN, 4, 2, 6);
    g_assert_cmphex(nd_next(d, 1, NULL), ==, 0);
}

/* Without MSI-X the pin is high until the driver has seen what was posted, or masks it. */
static void test_pin_interrupt(void)
{
    struct nd d;

    nd_up(&d, NULL, NULL);
    for (unsigned cap = vt_config_read(d.bus, ND_DEVFN, 0x34, 1); cap;
         cap = vt_config_read(d.bus, ND_DEVFN, cap + 1, 1))
        if (vt_config_read(d.bus, ND_DEVFN, cap, 1) == 0x11)
            vt_config_write(d.bus, ND_DEVFN, cap + 2, 2, 0);
    nd_enable(&d, ND_CC);
    nd_wait_ready(&d, true);
    nd_put(&d, 0, 0x08, 0, 0, 0, ND_DW(0));
    nd_doorbell(&d, 0, false, 1);
    for (int i = 0; i < ND_WAIT && !vt_board_intx(d.board); i++)
        vt_pump(d.bus, 1);
    g_assert_true(vt_board_intx(d.board));
    nd_reg_set(&d, 0x0c, 1);
    g_assert_false(vt_board_intx(d.board));
    nd_reg_set(&d, 0x10, 1);
    g_assert_true(vt_board_intx(d.board));
    g_assert_cmphex(nd_next(&d, 0, NULL), ==, 0);
    g_assert_false(vt_board_intx(d.board));
    g_assert_cmphex(nd_run(&d, 0, 0x05, 0, d.q[1].cq, 0, ND_DW(1 | 15 << 16, 3 | 1 << 16)), ==,
                    0x108);
    nd_down(&d);
}

static void test_read_only_image(void)
{
    struct nd d;

    nd_up(&d,
          "{\"driver\":\"raw\",\"node-name\":\"d0\",\"read-only\":true,\"file\":{\"driver\":"
          "\"file\",\"read-only\":true,\"filename\":\"%s\"}}",
          NULL);
    nd_start(&d);
    g_assert_cmphex(nd_io(&d, WRITE, 0, 1, d.data, 0), ==, 0x20);
    g_assert_cmphex(nd_run(&d, 1, ZEROES, 1, 0, 0, ND_DW(0)), ==, 0x20);
    g_assert_cmphex(nd_run(&d, 1, DATASET, 1, d.data, 0, ND_DW(0, 4)), ==, 0x20);
    g_assert_cmphex(nd_io(&d, READ, 0, 1, d.data, 0), ==, 0);
    nd_down(&d);
}

static void test_blocks_of_4096(void)
{
    struct nd d;

    nd_up(&d, NULL, &(struct nvme_config){.logical_block_bytes = 4096});
    nd_start(&d);
    fill(&d, d.data, 8, 0x600);
    g_assert_cmphex(nd_io(&d, WRITE, ND_DISK / 4096 - 1, 1, d.data, 0), ==, 0);
    g_assert_cmphex(nd_io(&d, READ, ND_DISK / 4096 - 1, 1, d.data + 4096, 0), ==, 0);
    g_assert_cmphex(vt_get(d.bus, d.data + 4096 + 512, 4), ==, 0x601);
    g_assert_cmphex(nd_io(&d, READ, ND_DISK / 4096, 1, d.data, 0), ==, 0x80);
    nd_down(&d);
}

static void test_bad_configuration_is_refused(void)
{
    struct nvme_config bad[] = {{.serial = ""},
                                {.serial = "a serial number of more than 20 bytes"},
                                {.serial = "x", .queue_pairs = 512},
                                {.serial = "x", .mdts = 8},
                                {.serial = "x", .vectors = 513},
                                {.serial = "x", .logical_block_bytes = 8192}};
    struct vt_board *board = vt_board_new();
    g_autofree char *path = vt_blk_image(ND_DISK), *text = g_strdup_printf(RAW_FILE, path);
    struct blk_node *node = vt_blk_node(text);

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        GError *err = NULL;
        bad[i].bus = vt_board_pci(board)->root;
        bad[i].devfn = ND_DEVFN;
        bad[i].clock = vt_board_clock(board);
        bad[i].node = node;
        g_assert_null(nvme_new(&bad[i], &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
    g_assert_null(blk_user(node));
    vt_board_free(board);
    blk_close(node);
    remove(path);
}

static void test_state_moves(struct nd *d, gconstpointer unused)
{
    GError *err = NULL;

    nd_put(d, 0, 0x0c, 0, 0, 0, ND_DW(0));
    nd_doorbell(d, 0, false, d->q[0].tail);
    g_assert_cmphex(nd_create(d, 2, 2), ==, 0);
    fill(d, d->data, 8, 0x2000);
    g_assert_cmphex(nd_io(d, WRITE, 64, 8, d->data, 0), ==, 0);
    vt_board_pause(d->board);
    nd_put(d, 1, READ, 1, d->data, 0, ND_DW(64)); /* while it stands */
    nd_doorbell(d, 1, false, d->q[1].tail);
    vt_pump(d->bus, 20);
    g_autoptr(GBytes) saved = vt_board_save(d->board);
    vt_board_reset(d->board);
    vt_board_pause(d->board);
    g_assert_true(vt_board_load(d->board, saved, &err));
    g_assert_no_error(err);
    g_autoptr(GBytes) again = vt_board_save(d->board);
    g_assert_true(g_bytes_equal(saved, again));
    vt_board_resume(d->board);
    g_assert_cmphex(nd_next(d, 1, NULL), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data, 4), ==, 0x2000);
    g_assert_cmphex(nd_run(d, 2, READ, 1, d->data, 0, ND_DW(71)), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data, 4), ==, 0x2007);
    nd_doorbell(d, 9, false, 1); /* the event command came along */
    g_assert_cmphex(nd_next(d, 0, NULL), ==, 0);
}

/* Each byte of a state in turn turned over: refused or taken, and a reset heals. */
static void test_hostile_state(struct nd *d, gconstpointer unused)
{
    g_autoptr(GBytes) saved = NULL;
    gsize all;

    vt_board_pause(d->board);
    saved = vt_board_save(d->board);
    const uint8_t *p = g_bytes_get_data(saved, &all);
    uint64_t len = le64_get(p);
    g_autofree uint8_t *copy = g_memdup2(p + 8, len);
    for (uint64_t i = 0; i < len; i++) {
        copy[i] ^= (uint8_t)(i % 3 == 0 ? 0xff : 0x81);
        (void)vt_board_load_devices(d->board, copy, len, NULL);
        vt_board_resume(d->board);
        vt_pump(d->bus, 1);
        vt_board_pause(d->board);
        copy[i] = p[8 + i];
    }
    vt_board_reset(d->board);
    d->bar = vt_map_bar(d->bus, ND_DEVFN, 0, 8192);
    vt_msix_open(d->bus, ND_DEVFN);
    nd_start(d);
    g_assert_cmphex(nd_io(d, READ, 0, 1, d->data, 0), ==, 0);
}

struct error_log {
    struct vt_board *board;
    unsigned calls;
    int errnum;
    enum blk_error_action action;
};

static void on_error(void *opaque, struct pci_dev *d, bool is_write, int errnum,
                     enum blk_error_action action)
{
    struct error_log *l = opaque;

    l->calls++;
    l->errnum = errnum;
    l->action = action;
    if (action == BLK_ERROR_STOP)
        vt_board_pause(l->board);
}

/* The image shrinks under the device: what is written past the limit fails with EFBIG. */
static void limit_files(bool on, struct rlimit *old)
{
    struct rlimit small = *old;

    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, on ? &small : old), ==, 0);
}

static void test_stop_on_error_parks_the_command(void)
{
    struct error_log log = {0};
    struct rlimit old;
    struct nd d;
    GError *err = NULL;

    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &old), ==, 0);
    nd_up(&d, RAW_THREADS,
          &(struct nvme_config){
              .werror = BLK_ON_ERROR_STOP, .on_error = on_error, .on_error_opaque = &log});
    log.board = d.board;
    nd_start(&d);
    fill(&d, d.data, 1, 0x777);
    nd_put(&d, 1, WRITE, 1, d.data, 0, ND_DW(100));
    limit_files(true, &old);
    nd_doorbell(&d, 1, false, d.q[1].tail);
    for (int i = 0; i < ND_WAIT && !log.calls; i++)
        vt_pump(d.bus, 1);
    limit_files(false, &old);
    g_assert_cmpuint(log.calls, ==, 1);
    g_assert_cmpint(log.errnum, ==, EFBIG);
    g_assert_cmpint(nvme_stop_errnum(&d.pci->dev), ==, EFBIG);
    vt_pump(d.bus, 20);
    g_autoptr(GBytes) saved = vt_board_save(d.board);
    g_assert_true(vt_board_load(d.board, saved, &err));
    g_assert_no_error(err);
    g_autoptr(GBytes) again = vt_board_save(d.board);
    g_assert_true(g_bytes_equal(saved, again));
    vt_board_resume(d.board);
    g_assert_cmphex(nd_next(&d, 1, NULL), ==, 0);
    g_assert_cmpint(nvme_stop_errnum(&d.pci->dev), ==, 0);
    g_assert_cmphex(nd_io(&d, READ, 100, 1, d.data + 4096, 0), ==, 0);
    g_assert_cmphex(vt_get(d.bus, d.data + 4096, 4), ==, 0x777);
    nd_down(&d);
}

static void test_errors_are_reported(void)
{
    struct error_log log = {0};
    struct rlimit old;
    struct nd d;

    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &old), ==, 0);
    nd_up(&d, RAW_THREADS, &(struct nvme_config){.on_error = on_error, .on_error_opaque = &log});
    nd_start(&d);
    limit_files(true, &old);
    g_assert_cmphex(nd_io(&d, WRITE, 100, 1, d.data, 0), ==, 0x280);
    limit_files(false, &old);
    vt_pump(d.bus, 5);
    g_assert_cmpuint(log.calls, ==, 1);
    g_assert_cmpint(log.action, ==, BLK_ERROR_REPORT);
    g_assert_cmphex(nd_io(&d, WRITE, 100, 1, d.data, 0), ==, 0);
    nd_down(&d);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(struct nd *d, gconstpointer unused);
    } tests[] = {
        {"what-a-driver-finds", test_what_a_driver_finds},
        {"logs-and-features", test_logs_and_features},
        {"write-then-read", test_write_then_read},
        {"data-pointers", test_data_pointers},
        {"bad-data-pointers", test_bad_data_pointers_end_the_command},
        {"zeroes-and-deallocation", test_zeroes_and_deallocation},
        {"many-at-once", test_many_commands_at_once},
        {"full-completion-queue", test_full_completion_queue_waits},
        {"queues-are-checked", test_queues_are_checked},
        {"queue-deleted-under-load", test_queue_deleted_under_load},
        {"events", test_events},
        {"reset-under-load", test_reset_with_commands_under_way},
        {"shutdown-flushes", test_shutdown_flushes},
        {"nonsense", test_nonsense_stops_the_controller},
        {"no-bus-mastering", test_no_dma_without_bus_mastering},
        {"state-moves", test_state_moves},
        {"hostile-state", test_hostile_state},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *path = g_strconcat("/nvme/", tests[i].name, NULL);
        g_test_add(path, struct nd, NULL, set_up, tests[i].fn, tear_down);
    }
    g_test_add_func("/nvme/pin-interrupt", test_pin_interrupt);
    g_test_add_func("/nvme/read-only", test_read_only_image);
    g_test_add_func("/nvme/blocks-of-4096", test_blocks_of_4096);
    g_test_add_func("/nvme/bad-configuration", test_bad_configuration_is_refused);
    g_test_add_func("/nvme/stop-on-error", test_stop_on_error_parks_the_command);
    g_test_add_func("/nvme/errors-are-reported", test_errors_are_reported);
    return g_test_run();
}
