/* virtio-scsi with a disk and a CD-ROM drive: commands, task management, events, hostile drivers.
 */
#include "vscsi_drv.h"

#include "base/evloop.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

static void set_up(struct vd *d, gconstpointer unused)
{
    vd_set_up(d, NULL, NULL);
}

static void tear_down(struct vd *d, gconstpointer unused)
{
    vd_free(d);
}

static uint8_t byte(struct vd *d, unsigned off)
{
    return (uint8_t)vt_get(d->bus, d->data + off, 1);
}

static uint32_t be32(struct vd *d, unsigned off)
{
    return GUINT32_FROM_BE((uint32_t)vt_get(d->bus, d->data + off, 4));
}

static void test_inquiry(struct vd *d, gconstpointer unused)
{
    uint8_t b[96];

    g_assert_cmphex(vd_hd(d, VD_CDB(0x12, 0, 0, 0, 255, 0), 255, false), ==, 0);
    d->bus->mem_read(d->bus, d->data, b, sizeof(b));
    g_assert_cmpuint(b[0], ==, 0);
    g_assert_cmpmem(b + 8, 22, "HANOK   HANOK HARDDISK", 22);
    g_assert_cmpuint(vd_residual(d), ==, 255 - 96);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x12, 0, 0, 0, 5, 0), 255, false), ==, 0);
    g_assert_cmpuint(vd_residual(d), ==, 250);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x12, 1, 0, 0, 255, 0), 255, false), ==, 0);
    g_assert_cmpuint(byte(d, 3), ==, 6);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x12, 1, 0x80, 0, 255, 0), 255, false), ==, 0);
    d->bus->mem_read(d->bus, d->data, b, sizeof(b));
    g_assert_cmpmem(b + 4, 3, "S-7", 3);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x12, 1, 0x83, 0, 255, 0), 255, false), ==, 0);
    g_assert_cmphex(be32(d, 4 + 7 + 4), ==, 0x5000c500); /* after the name of 3 bytes */
    g_assert_cmphex(vd_hd(d, VD_CDB(0x12, 1, 0xb0, 0, 255, 0), 255, false), ==, 0);
    g_assert_cmpuint(be32(d, 24), ==, SCSI_UNMAP_MAX);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x12, 1, 0xb2, 0, 255, 0), 255, false), ==, 0);
    g_assert_cmphex(byte(d, 5), ==, 0xe0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x12, 1, 0x99, 0, 255, 0), 255, false), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x052400);
    g_assert_cmphex(vd_cd(d, VD_CDB(0x12, 0, 0, 0, 255, 0), 255), ==, 0);
    g_assert_cmphex(byte(d, 0), ==, 5);
    g_assert_cmphex(byte(d, 3), ==, 0x12);
}

static void test_capacity_and_modes(struct vd *d, gconstpointer unused)
{
    g_assert_cmphex(vd_hd(d, VD_CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 8, false), ==, 0);
    g_assert_cmpuint(be32(d, 0), ==, VD_DISK / 512 - 1);
    g_assert_cmpuint(be32(d, 4), ==, 512);
    g_assert_cmphex(
        vd_hd(d, VD_CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0), 32, false), ==, 0);
    g_assert_cmpuint(be32(d, 4), ==, VD_DISK / 512 - 1);
    g_assert_cmphex(byte(d, 14), ==, 0x80);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x1a, 8, 0x08, 0, 255, 0), 255, false), ==, 0);
    g_assert_cmphex(byte(d, 2), ==, 0x10); /* DPO and FUA, not write-protected */
    g_assert_cmphex(byte(d, 4 + 2), ==, 4);
    /* the write cache off by MODE SELECT, then on by a reset */
    uint8_t select[24] = {0};
    select[4] = 8;
    select[5] = 18;
    d->bus->mem_write(d->bus, d->data, select, sizeof(select));
    g_assert_cmphex(vd_hd(d, VD_CDB(0x15, 0x10, 0, 0, 24, 0), 24, true), ==, 0);
    g_assert_cmpuint(vd_residual(d), ==, 0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255, 0), 255, false), ==, 0);
    g_assert_cmphex(byte(d, 8 + 8 + 12 + 2), ==, 0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x15, 0x10, 0, 0, 24, 0), 12, true), ==, 0x02);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x1a, 8, 0xc8, 0, 255, 0), 255, false), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x053900);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x77, 0, 0, 0, 0, 0), 0, false), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x052000);
}

static void test_every_length_of_read_and_write(struct vd *d, gconstpointer unused)
{
    vt_put(d->bus, d->data, 0x11111111, 4);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x0a, 0, 0, 9, 1, 0), 512, true), ==, 0);
    vt_put(d->bus, d->data, 0x22222222, 4);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x2a, 8, 0, 0, 0, 10, 0, 0, 1, 0), 512, true), ==, 0);
    vt_put(d->bus, d->data, 0x33333333, 4);
    g_assert_cmphex(vd_hd(d, VD_CDB(0xaa, 0, 0, 0, 0, 11, 0, 0, 0, 1, 0, 0), 512, true), ==, 0);
    vt_put(d->bus, d->data, 0x44444444, 4);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0), 512, true),
                    ==, 0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, false), ==, 0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x08, 0, 0, 9, 4, 0), 2048, false), ==, 0);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmphex(vt_get(d->bus, d->data + 512 * i, 4), ==, 0x11111111u * (i + 1));
    g_assert_cmphex(vd_hd(d, VD_CDB(0x28, 0, 0, 0, 0, 12, 0, 0, 1, 0), 1024, false), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data, 4), ==, 0x44444444);
    g_assert_cmpuint(vd_residual(d), ==, 512);
    g_assert_cmphex(vd_hd(d, VD_CDB(0xa8, 0, 0, 0, 0, 11, 0, 0, 0, 1, 0, 0), 512, false), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data, 4), ==, 0x33333333);
    g_assert_cmphex(
        vd_hd(d, VD_CDB(0x88, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 1, 0, 0), 512, false), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data, 4), ==, 0x22222222);
    /* past the end; a buffer that is too small; the wrong direction; nothing at all */
    g_assert_cmphex(vd_hd(d, VD_CDB(0x28, 0, 0, 0, 0x1f, 0xff, 0, 0, 2, 0), 1024, false), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x052100);
    g_assert_cmphex(vd_hd(d,
                          VD_CDB(0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                 0xff, 0xff, 0xff, 0, 0),
                          512, false),
                    ==, 0x02);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0), 512, false), ==, 0x100);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), 512, true), ==, 0x100);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, false), ==, 0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x2f, 0, 0, 0, 0, 0, 0, 0, 8, 0), 0, false), ==, 0);
}

static uint32_t block(struct vd *d, uint8_t lba)
{
    g_assert_cmphex(vd_hd(d, VD_CDB(0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0), 512, false), ==, 0);
    return (uint32_t)vt_get(d->bus, d->data, 4);
}

static void test_unmap_and_write_same(struct vd *d, gconstpointer unused)
{
    uint8_t list[8 + 32] = {0, 38, 0, 32};

    for (unsigned i = 0; i < 64; i++)
        vt_put(d->bus, d->data + 512 * i, 0x100 + i, 4);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 64, 0), 32768, true), ==, 0);
    list[8 + 7] = 8; /* 8 blocks from 8 */
    list[8 + 11] = 8;
    list[24 + 7] = 24; /* 8 blocks from 24 */
    list[24 + 11] = 8;
    d->bus->mem_write(d->bus, d->data, list, sizeof(list));
    g_assert_cmphex(vd_hd(d, VD_CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), 40, true), ==, 0);
    g_assert_cmphex(block(d, 7), ==, 0x107);
    g_assert_cmphex(block(d, 8), ==, 0);
    g_assert_cmphex(block(d, 15), ==, 0);
    g_assert_cmphex(block(d, 16), ==, 0x110);
    g_assert_cmphex(block(d, 31), ==, 0);
    list[8 + 6] = 0x40; /* past the end: nothing happens */
    list[24 + 7] = 32;
    d->bus->mem_write(d->bus, d->data, list, sizeof(list));
    g_assert_cmphex(vd_hd(d, VD_CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), 40, true), ==, 0x02);
    g_assert_cmphex(block(d, 32), ==, 0x120);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), 20, true), ==, 0x02);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x42, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0), 4096, true), ==, 0x02);
    /* the same block 3 times; zeroes with and without UNMAP; no block at all */
    vt_put(d->bus, d->data, 0xabcdef01, 4);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x41, 0, 0, 0, 0, 40, 0, 0, 3, 0), 512, true), ==, 0);
    g_assert_cmphex(block(d, 40), ==, 0xabcdef01);
    g_assert_cmphex(block(d, 42), ==, 0xabcdef01);
    g_assert_cmphex(block(d, 43), ==, 0x12b);
    uint8_t zero[512] = {0};
    d->bus->mem_write(d->bus, d->data, zero, sizeof(zero));
    g_assert_cmphex(vd_hd(d, VD_CDB(0x41, 8, 0, 0, 0, 41, 0, 0, 1, 0), 512, true), ==, 0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x93, 1, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 1, 0, 0), 0, false),
                    ==, 0);
    g_assert_cmphex(block(d, 40), ==, 0xabcdef01);
    g_assert_cmphex(block(d, 41), ==, 0);
    g_assert_cmphex(block(d, 42), ==, 0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x41, 0, 0, 0, 0x20, 0, 0, 0, 1, 0), 512, true), ==, 0x02);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0), 100, true), ==, 0x100);
}

/* 1 MiB of one pattern, more than is written at once. */
static void test_long_write_same(struct vd *d, gconstpointer unused)
{
    vt_put(d->bus, d->data, 0x5a5a0001, 4);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x41, 0, 0, 0, 0, 0, 0, 8, 1, 0), 512, true), ==, 0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x28, 0, 0, 0, 8, 0, 0, 0, 2, 0), 1024, false), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data, 4), ==, 0x5a5a0001);
    g_assert_cmphex(vt_get(d->bus, d->data + 512, 4), ==, 0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x28, 0, 0, 0, 4, 0, 0, 0, 1, 0), 512, false), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data, 4), ==, 0x5a5a0001);
}

static void test_addresses(struct vd *d, gconstpointer unused)
{
    g_assert_cmphex(vd_run(d, 9, 0, VD_CDB(0x12, 0, 0, 0, 36, 0), 36, false), ==, 0x300);
    /* target 2 has only lun 3: others are told so, and the list still names it */
    g_assert_cmphex(vd_run(d, 2, 0, VD_CDB(0x12, 0, 0, 0, 36, 0), 36, false), ==, 0);
    g_assert_cmphex(byte(d, 0), ==, 0x7f);
    g_assert_cmphex(vd_run(d, 2, 0, VD_CDB(0, 0, 0, 0, 0, 0), 0, false), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x052500);
    g_assert_cmphex(vd_run(d, 2, 0, VD_CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0), 255, false),
                    ==, 0);
    g_assert_cmpuint(be32(d, 0), ==, 16);
    g_assert_cmphex(be32(d, 16), ==, 0x00030000);
    g_assert_cmphex(vd_run(d, 1, 0, VD_CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0), 255, false),
                    ==, 0);
    g_assert_cmpuint(be32(d, 0), ==, 8);
    /* an address of another kind */
    uint8_t h[VD_REQ] = {0xc1, 1};
    vd_put(d, 0, 1, 0, VD_CDB(0, 0, 0, 0, 0, 0), 0, 0, false);
    d->bus->mem_write(d->bus, d->req, h, 8);
    vt_kick(&d->q);
    g_assert_true(vt_wait(&d->q, NULL, NULL));
    g_assert_cmphex(vd_result(d, 0), ==, 0x300);
}

static void test_cdrom(struct vd *d, gconstpointer unused)
{
    GError *err = NULL;

    g_assert_cmphex(vd_cd(d, VD_CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 8), ==, 0);
    g_assert_cmpuint(be32(d, 0), ==, 299);
    g_assert_cmpuint(be32(d, 4), ==, 2048);
    vt_put(d->bus, d->data, 0x99, 4);
    g_assert_cmphex(vd_cd(d, VD_CDB(0x28, 0, 0, 0, 0, 200, 0, 0, 2, 0), 4096), ==, 0);
    g_assert_cmphex(vt_get(d->bus, d->data, 4), ==, 0);
    g_assert_cmphex(vd_cd(d, VD_CDB(0x28, 0, 0, 0, 0, 200, 0, 0, 2, 0), 2048), ==, 0x100);
    g_assert_cmphex(vd_cd(d, VD_CDB(0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0), 255), ==, 0);
    g_assert_cmphex(vd_cd(d, VD_CDB(0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255, 0), 255), ==, 0);
    g_assert_cmphex(vd_cd(d, VD_CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0), 2048), ==, 0x02);
    /* locked, forced open, another disc */
    g_assert_cmphex(vd_cd(d, VD_CDB(0x1e, 0, 0, 0, 1, 0), 0), ==, 0);
    g_assert_false(scsi_lun_eject(d->cd, false, &err));
    g_clear_error(&err);
    g_assert_true(scsi_lun_eject(d->cd, true, NULL));
    g_assert_cmpint(d->trays, ==, 1);
    g_assert_null(blk_user(d->disc));
    g_assert_cmphex(vd_cd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x023a02);
    g_assert_true(scsi_lun_insert(d->cd, d->disc, NULL));
    g_assert_cmpint(d->trays, ==, 101);
    g_assert_cmphex(vd_cd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x062800);
    g_assert_cmphex(vd_cd(d, VD_CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), 2048), ==, 0);
    /* the guest opens and closes it */
    g_assert_cmphex(vd_cd(d, VD_CDB(0x1b, 0, 0, 0, 2, 0), 0), ==, 0);
    vt_pump(d->bus, 5);
    g_assert_cmpint(d->trays, ==, 102);
    g_assert_cmphex(vd_cd(d, VD_CDB(0x1b, 0, 0, 0, 3, 0), 0), ==, 0);
    vt_pump(d->bus, 5);
    g_assert_cmpint(d->trays, ==, 202);
    g_assert_false(scsi_lun_eject(d->hd, true, &err));
    g_clear_error(&err);
}

static void test_task_management(struct vd *d, gconstpointer unused)
{
    g_assert_cmpuint(vd_tmf(d, 0, 1, 0, 77), ==, 0); /* no such command: gone, it is complete */
    g_assert_cmpuint(vd_tmf(d, 6, 1, 0, 77), ==, 0); /* query: not there */
    g_assert_cmpuint(vd_tmf(d, 2, 1, 0, 0), ==, 11); /* CLEAR ACA */
    g_assert_cmpuint(vd_tmf(d, 99, 1, 0, 0), ==, 11);
    g_assert_cmpuint(vd_tmf(d, 5, 1, 5, 0), ==, 12); /* no such lun */
    g_assert_cmpuint(vd_tmf(d, 5, 44, 0, 0), ==, 3); /* no such target */
    g_assert_cmpuint(vd_tmf(d, 5, 1, 0, 0), ==, 0);
    g_assert_cmphex(vd_hd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0, false), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x062900);
    g_assert_cmphex(vd_hd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0, false), ==, 0);
    g_assert_cmpuint(vd_tmf(d, 4, 2, 3, 0), ==, 0); /* nexus reset: all luns of the target */
    g_assert_cmphex(vd_cd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0), ==, 0x02);
    /* an asynchronous notification query is answered with none */
    uint8_t query[20] = {1};
    d->bus->mem_write(d->bus, d->tmf, query, sizeof(query));
    struct vt_buf b[] = {{d->tmf, 20, false}, {d->tmf + 64, 5, true}};
    vt_add(&d->ctrl, b, 2, false);
    vt_kick(&d->ctrl);
    g_assert_true(vt_wait(&d->ctrl, NULL, NULL));
}

/* All commands of a reset lun end, once each, before the reset is reported. */
static void test_reset_of_a_busy_lun(struct vd *d, gconstpointer unused)
{
    for (int round = 0; round < 10; round++) {
        unsigned resets = 0;
        for (unsigned i = 0; i < 8; i++)
            vd_put(d, i, 1, 0, VD_CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0), d->data + 4096 * i, 4096,
                   false);
        vt_kick(&d->q);
        vt_pump(d->bus, (unsigned)round % 4);
        g_assert_cmpuint(vd_tmf(d, round & 1 ? 5 : 1, 1, 0, 0), ==, 0);
        for (unsigned i = 0; i < 8; i++)
            g_assert_true(vt_wait(&d->q, NULL, NULL));
        for (unsigned i = 0; i < 8; i++) {
            unsigned r = vd_result(d, i);
            g_assert_true(r == 0 || r == 0x400 || r == 0x200 || r == 0x02);
            resets += r != 0;
        }
        (void)vd_hd(d, VD_CDB(0x03, 0, 0, 0, 18, 0), 18, false);
        g_assert_cmphex(vd_hd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0, false), ==, 0);
    }
}

static void event_buffer(struct vd *d, unsigned i)
{
    struct vt_buf b = {d->tmf + 256 + 16 * i, 16, true};

    vt_add(&d->events, &b, 1, false);
    vt_kick(&d->events);
}

static void test_events(struct vd *d, gconstpointer unused)
{
    GError *err = NULL;
    uint64_t at = d->tmf + 256;
    g_autofree char *path = vt_blk_image(VD_DISK);
    struct blk_node *more = vd_node("vd-more", path, false);
    struct scsi_config c = {.id = "hd1", .target = 5, .lun = 300, .node = more};

    event_buffer(d, 0);
    g_assert_true(blk_resize(d->disk, 2 * VD_DISK, &err));
    scsi_lun_resized(d->hd);
    g_assert_true(vt_wait(&d->events, NULL, NULL));
    g_assert_cmphex(vt_get(d->bus, at, 4), ==, 3);
    g_assert_cmphex(vt_get(d->bus, at + 12, 4), ==, 0x092a);
    g_assert_cmphex(vd_hd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0, false), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x062a09);
    g_assert_cmphex(vd_hd(d, VD_CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 8, false), ==, 0);
    g_assert_cmpuint(be32(d, 0), ==, 2 * VD_DISK / 512 - 1);
    /* a disk comes while the driver has no buffer, and goes again */
    struct scsi_lun *l = scsi_lun_new(d->scsi, &c, &err);
    g_assert_no_error(err);
    event_buffer(d, 1);
    g_assert_true(vt_wait(&d->events, NULL, NULL));
    g_assert_cmphex(vt_get(d->bus, at + 16, 4), ==, 1);
    g_assert_cmphex(vt_get(d->bus, at + 16 + 4, 4), ==, 0x2c410501);
    g_assert_cmphex(vt_get(d->bus, at + 16 + 12, 4), ==, 1);
    g_assert_cmphex(vd_run(d, 5, 300, VD_CDB(0x12, 0, 0, 0, 36, 0), 36, false), ==, 0);
    g_assert_null(scsi_lun_new(d->scsi, &c, &err)); /* the place is taken */
    g_clear_error(&err);
    event_buffer(d, 2);
    scsi_lun_device(l)->ops->destroy(scsi_lun_device(l));
    g_assert_true(vt_wait(&d->events, NULL, NULL));
    g_assert_cmphex(vt_get(d->bus, at + 32 + 12, 4), ==, 2);
    g_assert_cmphex(vd_run(d, 5, 300, VD_CDB(0x12, 0, 0, 0, 36, 0), 36, false), ==, 0x300);
    g_assert_null(blk_user(more));
    blk_close(more);
    remove(path);
}

static void test_hostile_requests_break_the_device(struct vd *d, gconstpointer unused)
{
    struct vt_buf small[] = {{d->req, 20, false}, {d->resp, VD_RESP, true}};
    struct vt_buf no_room[] = {{d->req, VD_REQ, false}, {d->resp, 11, true}};
    struct vt_buf junk[] = {{d->req, 3, false}, {d->resp, 4, true}};

    vt_add(&d->q, small, 2, false);
    vt_kick(&d->q);
    g_assert_true(vt_needs_reset(&d->dev));
    vt_reset(&d->dev);
    vd_start(d, UINT64_MAX);
    vt_add(&d->q, no_room, 2, false);
    vt_kick(&d->q);
    g_assert_true(vt_needs_reset(&d->dev));
    vt_reset(&d->dev);
    vd_start(d, UINT64_MAX);
    vt_add(&d->ctrl, junk, 2, false);
    vt_kick(&d->ctrl);
    g_assert_true(vt_needs_reset(&d->dev));
    vt_reset(&d->dev);
    vd_start(d, UINT64_MAX);
    g_assert_cmphex(vd_hd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0, false), ==, 0);
    /* data both ways at once: refused, nothing breaks */
    struct vt_buf both[] = {{d->req, VD_REQ, false},
                            {d->data, 512, false},
                            {d->resp, VD_RESP, true},
                            {d->data + 512, 512, true}};
    vd_put(d, 1, 1, 0, VD_CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), 0, 0, false);
    vt_kick(&d->q);
    g_assert_true(vt_wait(&d->q, NULL, NULL));
    vt_add(&d->q, both, 4, false);
    vt_kick(&d->q);
    g_assert_true(vt_wait(&d->q, NULL, NULL));
    g_assert_cmphex(vd_result(d, 0) >> 8, ==, 9);
}

static void test_smaller_sense(void)
{
    struct vd d;

    vd_board(&d, NULL, NULL);
    vt_dev_open(&d.dev, d.bus, VD_DEVFN, true);
    vt_negotiate(&d.dev, UINT64_MAX);
    g_assert_cmpuint(vt_cfg(&d.dev, 20, 4), ==, 96);
    vt_cfg_write(&d.dev, 20, 4, 8);
    vt_cfg_write(&d.dev, 24, 4, 0); /* no CDB at all: refused */
    g_assert_cmpuint(vt_cfg(&d.dev, 20, 4), ==, 8);
    g_assert_cmpuint(vt_cfg(&d.dev, 24, 4), ==, 32);
    g_assert_cmpuint(vt_cfg(&d.dev, 0, 4), ==, 1);
    vt_queue_open(&d.q, &d.dev, 2, 64);
    vt_driver_ok(&d.dev);
    struct vt_buf b[] = {{d.req, VD_REQ, false}, {d.resp, 12 + 8, true}};
    vd_address(d.out, 1, 0);
    d.bus->mem_write(d.bus, d.req, d.out, 8);
    vt_add(&d.q, b, 2, false);
    vt_kick(&d.q);
    g_assert_true(vt_wait(&d.q, NULL, NULL));
    g_assert_cmphex(vd_result(&d, 0), ==, 0x02);
    g_assert_cmpuint(le32_get(d.out), ==, 8);
    vd_free(&d);
}

static void test_state_moves(struct vd *d, gconstpointer unused)
{
    GError *err = NULL;

    g_assert_cmphex(vd_cd(d, VD_CDB(0x1e, 0, 0, 0, 1, 0), 0), ==, 0); /* lock */
    vt_board_pause(d->board);
    g_autoptr(GBytes) saved = vt_board_save(d->board);
    vt_board_reset(d->board);
    vt_board_pause(d->board);
    g_assert_true(vt_board_load(d->board, saved, &err));
    g_assert_no_error(err);
    g_autoptr(GBytes) again = vt_board_save(d->board);
    g_assert_true(g_bytes_equal(saved, again));
    vt_board_resume(d->board);
    g_assert_cmphex(vd_hd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0, false), ==, 0);
    struct scsi_lun_info info;
    scsi_lun_info(d->cd, &info);
    g_assert_true(info.locked);
}

struct error_log {
    struct vt_board *board;
    unsigned calls;
    enum blk_error_action action;
};

static void on_error(void *opaque, struct scsi_lun *l, bool is_write, int errnum,
                     enum blk_error_action action)
{
    struct error_log *log = opaque;

    log->calls++;
    log->action = action;
    if (action == BLK_ERROR_STOP)
        vt_board_pause(log->board);
}

static void limit_files(bool on, const struct rlimit *old)
{
    struct rlimit small = *old;

    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, on ? &small : old), ==, 0);
}

/* A write fails; what then: told to the guest, or kept until the machine goes on. */
static void check_error(enum blk_on_error policy, bool abort)
{
    struct error_log log = {0};
    struct rlimit old;
    GError *err = NULL;
    struct vd d;

    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &old), ==, 0);
    vd_set_up(&d, NULL,
              &(struct scsi_config){.werror = policy, .on_error = on_error, .opaque = &log});
    log.board = d.board;
    vt_put(d.bus, d.data, 0x777, 4);
    vd_put(&d, 0, 1, 0, VD_CDB(0x2a, 0, 0, 0, 0, 100, 0, 0, 1, 0), d.data, 512, true);
    limit_files(true, &old);
    vt_kick(&d.q);
    for (int i = 0; i < 20000 && !log.calls; i++)
        vt_pump(d.bus, 1);
    limit_files(false, &old);
    g_assert_cmpuint(log.calls, ==, 1);
    if (policy == BLK_ON_ERROR_REPORT) {
        g_assert_true(vt_wait(&d.q, NULL, NULL));
        g_assert_cmphex(vd_result(&d, 0), ==, 0x02);
        g_assert_cmphex(vd_sense(&d), ==, 0x030c00);
        vd_free(&d);
        return;
    }
    vt_pump(d.bus, 20);
    g_assert_cmpint(scsi_lun_stop_errnum(d.hd), ==, EFBIG);
    g_autoptr(GBytes) saved = vt_board_save(d.board);
    g_assert_true(vt_board_load(d.board, saved, &err));
    g_assert_no_error(err);
    g_autoptr(GBytes) again = vt_board_save(d.board);
    g_assert_true(g_bytes_equal(saved, again));
    if (abort) /* a reset of the whole machine drops it */
        vt_board_reset(d.board);
    vt_board_resume(d.board);
    if (abort) {
        vd_start(&d, UINT64_MAX);
    } else {
        g_assert_true(vt_wait(&d.q, NULL, NULL));
        g_assert_cmphex(vd_result(&d, 0), ==, 0);
        g_assert_cmphex(block(&d, 100), ==, 0x777);
    }
    g_assert_cmpint(scsi_lun_stop_errnum(d.hd), ==, 0);
    vd_free(&d);
}

static void test_errors(void)
{
    check_error(BLK_ON_ERROR_REPORT, false);
    check_error(BLK_ON_ERROR_STOP, false);
}

static void test_dropped_by_a_reset(void)
{
    check_error(BLK_ON_ERROR_STOP, true);
}

static void test_read_only_and_4096(void)
{
    struct vd d;

    vd_set_up(&d, NULL, &(struct scsi_config){.read_only = true, .logical_block_bytes = 4096});
    g_assert_cmphex(vd_hd(&d, VD_CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 8, false), ==, 0);
    g_assert_cmpuint(be32(&d, 0), ==, VD_DISK / 4096 - 1);
    g_assert_cmpuint(be32(&d, 4), ==, 4096);
    g_assert_cmphex(vd_hd(&d, VD_CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0), 4096, true), ==, 0x02);
    g_assert_cmphex(vd_sense(&d), ==, 0x072700);
    g_assert_cmphex(vd_hd(&d, VD_CDB(0x1a, 0, 0x3f, 0, 255, 0), 255, false), ==, 0);
    g_assert_cmphex(byte(&d, 2), ==, 0x90);
    vd_free(&d);
}

static void test_two_queues_in_an_io_thread(void)
{
    GError *err = NULL;
    struct evloop *loop = evloop_new("iothread-scsi", &err);
    struct vd d;

    g_assert_no_error(err);
    vd_set_up(&d, &(struct virtio_scsi_config){.queues = 2, .loop = loop}, NULL);
    g_assert_cmpuint(vt_cfg(&d.dev, 0, 4), ==, 2);
    vt_put(d.bus, d.data, 0x31415926, 4);
    g_assert_cmphex(vd_hd(&d, VD_CDB(0x2a, 0, 0, 0, 0, 3, 0, 0, 1, 0), 512, true), ==, 0);
    g_assert_cmphex(block(&d, 3), ==, 0x31415926);
    g_assert_cmphex(vd_cd(&d, VD_CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), 2048), ==, 0);
    g_assert_true(scsi_lun_eject(d.cd, true, NULL));
    g_assert_cmpuint(vd_tmf(&d, 5, 1, 0, 0), ==, 0);
    vd_free(&d);
    evloop_free(loop);
}

static void test_bad_configuration(void)
{
    struct vt_board *board = vt_board_new();
    struct virtio_scsi_config c = {.place = {.bus = vt_board_pci(board)->root,
                                             .devfn = VD_DEVFN,
                                             .id = "s",
                                             .clock = vt_board_clock(board)}};
    struct scsi_config bad[] = {{.target = 256},
                                {.lun = 16384},
                                {.cdrom = false},
                                {.vendor = "more than eight", .cdrom = true},
                                {.serial = "more than 36 bytes of a serial number", .cdrom = true}};
    GError *err = NULL;

    c.queues = 65;
    g_assert_null(virtio_scsi_new(&c, &err));
    g_clear_error(&err);
    c.queues = 1;
    struct device *pci = virtio_scsi_new(&c, &err);
    g_assert_no_error(err);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        g_assert_null(scsi_lun_new(virtio_scsi_bus(pci), &bad[i], &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
    vt_board_free(board);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(struct vd *d, gconstpointer unused);
    } tests[] = {
        {"inquiry", test_inquiry},
        {"capacity-and-modes", test_capacity_and_modes},
        {"read-and-write", test_every_length_of_read_and_write},
        {"unmap-and-write-same", test_unmap_and_write_same},
        {"long-write-same", test_long_write_same},
        {"addresses", test_addresses},
        {"cdrom", test_cdrom},
        {"task-management", test_task_management},
        {"reset-of-a-busy-lun", test_reset_of_a_busy_lun},
        {"events", test_events},
        {"hostile-requests", test_hostile_requests_break_the_device},
        {"state-moves", test_state_moves},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
        g_autofree char *path = g_strconcat("/virtio-scsi/", tests[i].name, NULL);
        g_test_add(path, struct vd, NULL, set_up, tests[i].fn, tear_down);
    }
    g_test_add_func("/virtio-scsi/smaller-sense", test_smaller_sense);
    g_test_add_func("/virtio-scsi/errors", test_errors);
    g_test_add_func("/virtio-scsi/dropped-by-a-reset", test_dropped_by_a_reset);
    g_test_add_func("/virtio-scsi/read-only-and-4096", test_read_only_and_4096);
    g_test_add_func("/virtio-scsi/io-thread", test_two_queues_in_an_io_thread);
    g_test_add_func("/virtio-scsi/bad-configuration", test_bad_configuration);
    return g_test_run();
}
