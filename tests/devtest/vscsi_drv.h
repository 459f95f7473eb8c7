/* vscsi_drv.h - a virtio-scsi driver for tests: one command at a time, aborts, events. */
#ifndef TESTS_DEVTEST_VSCSI_DRV_H
#define TESTS_DEVTEST_VSCSI_DRV_H

#include "scsi/scsi.h"
#include "vt.h"
#include "vt_blk.h"

#include <stdio.h>

enum {
    VD_DEVFN = 7 << 3,
    VD_DISK = 4 << 20,
    VD_DISC = 300 * 2048,
    VD_REQ = 51, /* header with a CDB of 32 bytes */
    VD_RESP = 108,
    VD_NOTHING = 0xffff,
};

struct vd {
    struct vt_board *board;
    struct vt_bus *bus;
    struct blk_node *disk, *disc;
    struct device *device;
    struct scsi_bus *scsi;
    struct scsi_lun *hd, *cd;
    char *disk_path, *disc_path;
    struct vt_dev dev;
    struct vt_queue ctrl, events, q;
    uint64_t req, resp, data, tmf;
    uint8_t out[VD_RESP]; /* the last response */
    int trays;
};

static inline struct blk_node *vd_node(const char *name, const char *path, bool ro)
{
    g_autofree char *json = g_strdup_printf(
        "{\"driver\":\"raw\",\"node-name\":\"%s\",\"read-only\":%s,\"discard\":\"unmap\",\"file\":"
        "{\"driver\":\"file\",\"aio\":\"threads\",\"discard\":\"unmap\",\"read-only\":%s,"
        "\"filename\":\"%s\"}}",
        name, ro ? "true" : "false", ro ? "true" : "false", path);
    return vt_blk_node(json);
}

static inline void vd_tray(void *opaque, const char *id, bool open)
{
    ((struct vd *)opaque)->trays += open ? 1 : 100;
}

/* A disk at 1:0 and a CD-ROM drive at 2:3. */
static inline void vd_board(struct vd *d, const struct virtio_scsi_config *extra,
                            const struct scsi_config *extra_disk)
{
    struct virtio_scsi_config c = extra ? *extra : (struct virtio_scsi_config){0};
    struct scsi_config hd = extra_disk ? *extra_disk : (struct scsi_config){0};
    struct scsi_config cd = {
        .id = "cd0", .target = 2, .lun = 3, .cdrom = true, .tray_moved = vd_tray, .opaque = d};
    GError *err = NULL;

    *d = (struct vd){.board = vt_board_new()};
    d->bus = vt_board_bus(d->board);
    d->disk_path = vt_blk_image(VD_DISK);
    d->disc_path = vt_blk_image(VD_DISC);
    hd.node = d->disk = vd_node("vd-disk", d->disk_path, false);
    cd.node = d->disc = vd_node("vd-disc", d->disc_path, true);
    c.place.bus = vt_board_pci(d->board)->root;
    c.place.devfn = VD_DEVFN;
    c.place.id = "scsi0";
    c.place.clock = vt_board_clock(d->board);
    d->device = virtio_scsi_new(&c, &err);
    g_assert_no_error(err);
    d->scsi = virtio_scsi_bus(d->device);
    hd.id = "hd0";
    hd.target = 1;
    hd.serial = "S-7";
    hd.wwn = 0x5000c50015ea71ad;
    d->hd = scsi_lun_new(d->scsi, &hd, &err);
    g_assert_no_error(err);
    d->cd = scsi_lun_new(d->scsi, &cd, &err);
    g_assert_no_error(err);
    d->req = vt_alloc(d->bus, 4096, 4096);
    d->resp = vt_alloc(d->bus, 4096, 4096);
    d->tmf = vt_alloc(d->bus, 4096, 4096);
    d->data = vt_alloc(d->bus, 1 << 20, 4096);
}

static inline void vd_start(struct vd *d, uint64_t features)
{
    vt_dev_open(&d->dev, d->bus, VD_DEVFN, true);
    vt_negotiate(&d->dev, features);
    vt_queue_open(&d->ctrl, &d->dev, 0, 16);
    vt_queue_open(&d->events, &d->dev, 1, 16);
    vt_queue_open(&d->q, &d->dev, 2, 64);
    vt_driver_ok(&d->dev);
}

static inline void vd_free(struct vd *d)
{
    vt_board_free(d->board);
    blk_close(d->disk);
    blk_close(d->disc);
    remove(d->disk_path);
    remove(d->disc_path);
    g_free(d->disk_path);
    g_free(d->disc_path);
}

static inline void vd_address(uint8_t a[8], unsigned target, unsigned lun)
{
    memset(a, 0, 8);
    a[0] = 1;
    a[1] = (uint8_t)target;
    a[2] = (uint8_t)(0x40 | lun >> 8);
    a[3] = (uint8_t)lun;
}

/* Makes a command available; request and response lie at slot's place. */
static inline void vd_put(struct vd *d, unsigned slot, unsigned target, unsigned lun,
                          const uint8_t *cdb, unsigned cdb_len, uint64_t data, uint32_t len,
                          bool to_host)
{
    uint8_t h[VD_REQ] = {0}, none[VD_RESP];
    uint64_t req = d->req + 64 * slot, resp = d->resp + 128 * slot;

    vd_address(h, target, lun);
    h[8] = (uint8_t)(slot + 1); /* tag */
    memcpy(h + 19, cdb, cdb_len);
    memset(none, 0xee, sizeof(none));
    d->bus->mem_write(d->bus, req, h, sizeof(h));
    d->bus->mem_write(d->bus, resp, none, sizeof(none));
    struct vt_buf in[] = {{req, VD_REQ, false}, {resp, VD_RESP, true}, {data, len, true}};
    struct vt_buf out[] = {{req, VD_REQ, false}, {data, len, false}, {resp, VD_RESP, true}};
    vt_add(&d->q, to_host && len ? out : in, len ? 3 : 2, false);
}

/* response << 8 | status of the command in that slot. */
static inline unsigned vd_result(struct vd *d, unsigned slot)
{
    d->bus->mem_read(d->bus, d->resp + 128 * slot, d->out, VD_RESP);
    return (unsigned)d->out[11] << 8 | d->out[10];
}

static inline unsigned vd_run(struct vd *d, unsigned target, unsigned lun, const uint8_t *cdb,
                              unsigned cdb_len, uint32_t len, bool to_host)
{
    vd_put(d, 0, target, lun, cdb, cdb_len, d->data, len, to_host);
    vt_kick(&d->q);
    return vt_wait(&d->q, NULL, NULL) ? vd_result(d, 0) : VD_NOTHING;
}

/* key << 16 | code << 8 | qualifier of the last response */
static inline unsigned vd_sense(const struct vd *d)
{
    return (unsigned)d->out[12 + 2] << 16 | (unsigned)d->out[12 + 12] << 8 | d->out[12 + 13];
}

static inline uint32_t vd_residual(const struct vd *d)
{
    return le32_get(d->out + 4);
}

#define VD_CDB(...) (const uint8_t[]){__VA_ARGS__}, (unsigned)sizeof((const uint8_t[]){__VA_ARGS__})

static inline unsigned vd_hd(struct vd *d, const uint8_t *cdb, unsigned cdb_len, uint32_t len,
                             bool to_host)
{
    return vd_run(d, 1, 0, cdb, cdb_len, len, to_host);
}

static inline unsigned vd_cd(struct vd *d, const uint8_t *cdb, unsigned cdb_len, uint32_t len)
{
    return vd_run(d, 2, 3, cdb, cdb_len, len, false);
}

/* Both luns hear of their power-on first. */
static inline void vd_set_up(struct vd *d, const struct virtio_scsi_config *extra,
                             const struct scsi_config *disk)
{
    vd_board(d, extra, disk);
    vd_start(d, UINT64_MAX);
    g_assert_cmphex(vd_hd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0, false), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x062900);
    g_assert_cmphex(vd_cd(d, VD_CDB(0, 0, 0, 0, 0, 0), 0), ==, 0x02);
    g_assert_cmphex(vd_sense(d), ==, 0x062900);
}

static inline unsigned vd_tmf(struct vd *d, uint32_t subtype, unsigned target, unsigned lun,
                              uint64_t tag)
{
    uint8_t r[24] = {0};

    le32_put(r + 4, subtype);
    vd_address(r + 8, target, lun);
    le64_put(r + 16, tag);
    d->bus->mem_write(d->bus, d->tmf, r, sizeof(r));
    struct vt_buf b[] = {{d->tmf, sizeof(r), false}, {d->tmf + 64, 1, true}};
    vt_add(&d->ctrl, b, 2, false);
    vt_kick(&d->ctrl);
    return vt_wait(&d->ctrl, NULL, NULL) ? (unsigned)vt_get(d->bus, d->tmf + 64, 1) : VD_NOTHING;
}

#endif
