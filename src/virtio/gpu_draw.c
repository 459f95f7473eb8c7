/* gpu_draw.c - from the scanout's resource to the console's surface: what was flushed, when a
 * viewer asks. */
#include "gpu.h"

/* Adds a part of the view, cut to it. */
void gpu_damage(struct virtio_gpu *g, int64_t x, int64_t y, int64_t width, int64_t height)
{
    struct rect *d = &g->damage;
    int64_t x2 = MIN_OF(x + width, (int64_t)g->view.width);
    int64_t y2 = MIN_OF(y + height, (int64_t)g->view.height);

    x = MAX_OF(x, 0);
    y = MAX_OF(y, 0);
    if (x >= x2 || y >= y2)
        return;
    if (d->width) {
        x = MIN_OF(x, (int64_t)d->x);
        y = MIN_OF(y, (int64_t)d->y);
        x2 = MAX_OF(x2, (int64_t)d->x + d->width);
        y2 = MAX_OF(y2, (int64_t)d->y + d->height);
    }
    *d = (struct rect){(unsigned)x, (unsigned)y, (unsigned)(x2 - x), (unsigned)(y2 - y)};
}

void gpu_damage_cursor(struct virtio_gpu *g)
{
    if (g->cursor.visible && !g->cursor_apart)
        gpu_damage(g, g->cursor.x, g->cursor.y, GPU_CURSOR_SIDE, GPU_CURSOR_SIDE);
}

/* Premultiplied alpha over an opaque pixel. */
static uint32_t blend(uint32_t argb, uint32_t under)
{
    uint32_t keep = 255 - (argb >> 24), out = 0;

    for (unsigned shift = 0; shift < 24; shift += 8) {
        uint32_t v = (argb >> shift & 255) + (under >> shift & 255) * keep / 255;
        out |= MIN_OF(v, 255u) << shift;
    }
    return out;
}

static void cursor_draw(const struct virtio_gpu *g, const struct surface *s, const struct rect *d)
{
    const struct gpu_cursor *c = &g->cursor;

    for (int64_t row = 0; c->visible && row < GPU_CURSOR_SIDE; row++) {
        int64_t y = c->y + row;
        if (y < d->y || y >= (int64_t)d->y + d->height)
            continue;
        for (int64_t col = 0; col < GPU_CURSOR_SIDE; col++) {
            int64_t x = c->x + col;
            uint32_t argb = c->argb[row * GPU_CURSOR_SIDE + col];
            if (argb && x >= d->x && x < (int64_t)d->x + d->width) {
                uint32_t *p = &s->pixels[(size_t)y * s->width + (size_t)x];
                *p = blend(argb, *p);
            }
        }
    }
}

/* To viewers that show it themselves: its place, and what it looks like when that has changed. */
static void cursor_tell(struct virtio_gpu *g, struct console *c)
{
    struct cursor told = {.visible = g->cursor.visible,
                          .x = g->cursor.x,
                          .y = g->cursor.y,
                          .width = GPU_CURSOR_SIDE,
                          .height = GPU_CURSOR_SIDE,
                          .hot_x = MIN_OF(g->cursor.hot_x, GPU_CURSOR_SIDE - 1u),
                          .hot_y = MIN_OF(g->cursor.hot_y, GPU_CURSOR_SIDE - 1u),
                          .argb = g->cursor_changed ? g->cursor.argb : NULL};

    if (g->cursor_changed || g->cursor_moved)
        console_cursor(c, &told);
    g->cursor_changed = g->cursor_moved = false;
}

/* In the picture, or apart from it: what it covered is drawn anew when that changes. */
static void cursor_choose(struct virtio_gpu *g, struct console *c)
{
    bool apart = console_cursor_apart(c);

    if (apart == g->cursor_apart)
        return;
    gpu_damage_cursor(g); /* one of these two does something */
    g->cursor_apart = apart;
    g->cursor_changed = true;
    gpu_damage_cursor(g);
}

static void picture_draw(const struct virtio_gpu *g, const struct gpu_resource *r,
                         const struct surface *s, const struct rect *d)
{
    for (unsigned y = d->y; y < d->y + d->height; y++) {
        const uint32_t *from = r->pixels + (size_t)(g->view.y + y) * r->width + g->view.x;
        uint32_t *to = s->pixels + (size_t)y * s->width;
        for (unsigned x = d->x; x < d->x + d->width; x++)
            to[x] = gpu_pixel_argb(r->format, from[x]) & 0xffffff;
    }
}

static void blank(struct virtio_gpu *g, struct console *c)
{
    const struct surface *s = console_surface(c);

    if (!g->drawn)
        return;
    memset(s->pixels, 0, (size_t)s->width * s->height * 4);
    console_changed(c, &(struct rect){0, 0, s->width, s->height});
}

void gpu_update(void *opaque, struct console *c, bool all)
{
    struct virtio_gpu *g = opaque;
    struct gpu_resource *r;
    struct rect d;

    pthread_mutex_lock(&g->lock);
    r = g->scanout ? gpu_resource_find(g, g->scanout) : NULL;
    if (!r) {
        if (g->cursor_apart)
            console_cursor(c, &(struct cursor){.visible = false});
        g->cursor_apart = false;
        pthread_mutex_unlock(&g->lock);
        if (g->vga)
            g->vga_ops->update(g->vga, c, all || g->drawn);
        else
            blank(g, c);
        g->drawn = false;
        return;
    }
    const struct surface *s = console_surface(c);
    if (s->width != g->view.width || s->height != g->view.height) {
        console_resize(c, g->view.width, g->view.height);
        all = true;
    }
    if (all || !g->drawn)
        gpu_damage(g, 0, 0, g->view.width, g->view.height);
    cursor_choose(g, c);
    d = g->damage;
    g->damage = (struct rect){0};
    if (d.width) {
        picture_draw(g, r, s, &d);
        if (!g->cursor_apart)
            cursor_draw(g, s, &d);
    }
    if (g->cursor_apart)
        cursor_tell(g, c);
    g->drawn = true;
    pthread_mutex_unlock(&g->lock);
    console_changed(c, &d);
}
