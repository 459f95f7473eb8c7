/* vt_blk.c - see vt_blk.h. */
#include "vt_blk.h"

#include "base/props.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

char *vt_blk_image(size_t bytes)
{
    char *path = NULL;
    int fd = g_file_open_tmp("hanok-blk-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t)bytes), ==, 0);
    close(fd);
    return path;
}

struct blk_node *vt_blk_node(const char *json)
{
    GError *err = NULL;
    PROPS_AUTO p = props_parse(json, NULL, &err);
    g_assert_no_error(err);
    struct blk_node *n = blk_open(p, &err);
    g_assert_no_error(err);
    return n;
}

void vt_blk_board(struct vt_blk *f, const struct virtio_blk_config *extra)
{
    GError *err = NULL;
    struct virtio_blk_config c = extra ? *extra : (struct virtio_blk_config){0};

    f->board = vt_board_new();
    f->bus = vt_board_bus(f->board);
    vt_board_place(f->board, &c.place, DEVFN, "disk0");
    c.node = f->node;
    if (!c.serial)
        c.serial = "serial-1234";
    f->device = virtio_blk_new(&c, &err);
    g_assert_no_error(err);
    g_assert_nonnull(f->device);
    f->header = vt_alloc(f->bus, 16, 16);
    f->status = vt_alloc(f->bus, 1, 1);
    f->data = vt_alloc(f->bus, 65536, 4096);
}

void vt_blk_start(struct vt_blk *f, uint64_t features)
{
    vt_dev_open(&f->dev, f->bus, DEVFN, true);
    vt_negotiate(&f->dev, features);
    vt_queue_open(&f->q, &f->dev, 0, QSIZE);
    vt_driver_ok(&f->dev);
}

void vt_blk_set_up(struct vt_blk *f, const char *node_json, const struct virtio_blk_config *extra)
{
    memset(f, 0, sizeof(*f));
    f->path = vt_blk_image(DISK_BYTES);
    g_autofree char *json = g_strdup_printf(node_json, f->path);
    f->node = vt_blk_node(json);
    vt_blk_board(f, extra);
    vt_blk_start(f, F_ALL);
}

void vt_blk_tear_down(struct vt_blk *f)
{
    vt_board_free(f->board);
    blk_close(f->node);
    if (f->path)
        g_unlink(f->path);
    g_free(f->path);
}

void vt_blk_header(struct vt_blk *f, uint32_t type, uint64_t sector)
{
    vt_put(f->bus, f->header, type, 4);
    vt_put(f->bus, f->header + 4, 0, 4);
    vt_put(f->bus, f->header + 8, sector, 8);
    vt_put(f->bus, f->status, 0xee, 1);
}

unsigned vt_blk_request(struct vt_blk *f, uint32_t type, uint64_t sector, uint64_t data,
                        uint32_t len, bool to_guest, bool indirect, uint32_t *used_len)
{
    struct vt_buf b[3] = {{f->header, 16, false}};
    unsigned n = 1;

    vt_blk_header(f, type, sector);
    if (len)
        b[n++] = (struct vt_buf){data, len, to_guest};
    b[n++] = (struct vt_buf){f->status, 1, true};
    uint32_t head = vt_add(&f->q, b, n, indirect), got, used;
    vt_kick(&f->q);
    g_assert_true(vt_wait(&f->q, &got, &used));
    g_assert_cmpuint(got, ==, head);
    if (used_len)
        *used_len = used;
    return (unsigned)vt_get(f->bus, f->status, 1);
}
