/* vt_gpu.c - see vt_gpu.h. */
#include "vt_gpu.h"

void vt_gpu_board(struct vt_gpu *f, const struct virtio_gpu_config *extra)
{
    struct virtio_gpu_config c = extra ? *extra : (struct virtio_gpu_config){0};
    GError *err = NULL;

    f->board = vt_board_new();
    f->bus = vt_board_bus(f->board);
    vt_board_place(f->board, &c.place, GPU_DEVFN, "gpu0");
    f->device = virtio_gpu_new(&c, &err);
    g_assert_no_error(err);
    f->in = vt_alloc(f->bus, 65536, 4096);
    f->out = vt_alloc(f->bus, 4096, 4096);
    f->pixels = vt_alloc(f->bus, 0x100000, 4096);
}

void vt_gpu_start(struct vt_gpu *f)
{
    vt_dev_open(&f->dev, f->bus, GPU_DEVFN, true);
    vt_negotiate(&f->dev, BIT64(1) | BIT64(28));
    vt_queue_open(&f->ctrl, &f->dev, GPU_CONTROL, 64);
    vt_queue_open(&f->cursor, &f->dev, GPU_CURSOR, 16);
    vt_driver_ok(&f->dev);
}

void vt_gpu_set_up(struct vt_gpu *f, const struct virtio_gpu_config *extra)
{
    memset(f, 0, sizeof(*f));
    vt_gpu_board(f, extra);
    vt_gpu_start(f);
}

void vt_gpu_tear_down(struct vt_gpu *f)
{
    vt_board_free(f->board);
}

static void header(struct vt_gpu *f, uint32_t type)
{
    static const uint8_t zero[64];

    f->bus->mem_write(f->bus, f->in, zero, sizeof(zero));
    vt_put(f->bus, f->in, type, 4);
}

unsigned vt_gpu_command(struct vt_gpu *f, uint32_t type, const uint32_t *word, unsigned words)
{
    header(f, type);
    vt_put(f->bus, f->in + 4, 1, 4); /* fence */
    vt_put(f->bus, f->in + 8, 0x1234567890abcdef, 8);
    f->bus->mem_write(f->bus, f->in + 24, word, 4 * words);
    vt_put(f->bus, f->out, 0, 4);
    struct vt_buf b[] = {{f->in, 24 + 4 * words, false}, {f->out, 2048, true}};
    vt_add(&f->ctrl, b, 2, false);
    vt_kick(&f->ctrl);
    g_assert_true(vt_wait(&f->ctrl, NULL, NULL));
    g_assert_cmphex(vt_get(f->bus, f->out + 4, 4), ==, 1);
    g_assert_cmphex(vt_get(f->bus, f->out + 8, 8), ==, 0x1234567890abcdef);
    return (unsigned)vt_get(f->bus, f->out, 4);
}

void vt_gpu_cursor(struct vt_gpu *f, uint32_t type, uint32_t x, uint32_t y, uint32_t resource)
{
    header(f, type);
    vt_put(f->bus, f->in + 28, x, 4);
    vt_put(f->bus, f->in + 32, y, 4);
    vt_put(f->bus, f->in + 40, resource, 4);
    struct vt_buf b = {f->in, 56, false};
    vt_add(&f->cursor, &b, 1, false);
    vt_kick(&f->cursor);
    g_assert_true(vt_wait(&f->cursor, NULL, NULL));
}

uint32_t vt_gpu_dot(unsigned x, unsigned y)
{
    const struct surface *s;

    console_refresh(console_first(), false);
    s = console_surface(console_first());
    g_assert_cmpuint(x, <, s->width);
    g_assert_cmpuint(y, <, s->height);
    return s->pixels[(size_t)y * s->width + x];
}
