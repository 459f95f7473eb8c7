/* ramfb.c - what firmware writes to etc/ramfb, and the picture that it describes. */
#include "devices/ramfb.h"

#include "base/state.h"
#include "base/util.h"
#include "display/console.h"
#include "mem/guest_mem.h"

#include <glib.h>

enum { FILE_BYTES = 28, BYTES_PER_PIXEL = 4, SIDE_MIN = 16 };
enum { DRM_XRGB8888 = 0x34325258, DRM_ARGB8888 = 0x34325241 };
#define COLOR_MASK 0x00ffffffu

struct ramfb {
    struct device dev; /* first */
    /* immutable */
    struct guest_mem *mem;
    struct fw_cfg *fw_cfg;
    struct console *console;
    /* board lock */
    uint8_t file[FILE_BYTES]; /* as written last */
    bool changed;             /* and not drawn yet */
};

struct picture {
    uint64_t gpa;
    unsigned width, height, line_bytes;
};

/* False: it describes none. */
static bool picture_of(const struct ramfb *r, struct picture *p)
{
    uint32_t word[FILE_BYTES / 4];

    for (unsigned i = 0; i < ARRAY_SIZE(word); i++) {
        memcpy(&word[i], r->file + 4 * i, 4);
        word[i] = GUINT32_FROM_BE(word[i]);
    }
    if ((word[2] != DRM_XRGB8888 && word[2] != DRM_ARGB8888) || word[4] < SIDE_MIN ||
        word[4] > CONSOLE_WIDTH_MAX || word[5] < SIDE_MIN || word[5] > CONSOLE_HEIGHT_MAX)
        return false;
    *p = (struct picture){.gpa = (uint64_t)word[0] << 32 | word[1],
                          .width = word[4],
                          .height = word[5],
                          .line_bytes = word[6] ? word[6] : word[4] * BYTES_PER_PIXEL};
    return p->line_bytes >= p->width * BYTES_PER_PIXEL && p->gpa % BYTES_PER_PIXEL == 0 &&
           p->line_bytes % BYTES_PER_PIXEL == 0;
}

/* ---- drawing ---- */

static bool line_draw(uint32_t *to, const uint32_t *from, unsigned width)
{
    uint32_t differs = 0;

    for (unsigned x = 0; x < width; x++) {
        uint32_t color = from[x] & COLOR_MASK;
        differs |= color ^ to[x];
        to[x] = color;
    }
    return differs != 0;
}

static void draw(struct console *c, const struct picture *p, const uint8_t *from, bool all)
{
    const struct surface *s = console_surface(c);
    unsigned first = p->height;

    for (unsigned y = 0; y <= p->height; y++) {
        if (y < p->height &&
            (line_draw(s->pixels + (size_t)y * s->width,
                       (const uint32_t *)(from + (size_t)y * p->line_bytes), p->width) ||
             all)) {
            first = MIN_OF(first, y);
        } else if (first < y) {
            console_changed(c, &(struct rect){0, first, p->width, y - first});
            first = p->height;
        }
    }
}

static void blank(struct console *c)
{
    const struct surface *s = console_surface(c);

    memset(s->pixels, 0, (size_t)s->width * s->height * BYTES_PER_PIXEL);
    console_changed(c, &(struct rect){0, 0, s->width, s->height});
}

static void update(void *opaque, struct console *c, bool all)
{
    struct ramfb *r = opaque;
    struct picture p;
    const uint8_t *from = NULL;

    pthread_mutex_lock(&r->dev.list->lock);
    bool have = picture_of(r, &p);
    all |= r->changed;
    r->changed = false;
    pthread_mutex_unlock(&r->dev.list->lock);
    if (have)
        from = guest_mem_ptr(
            r->mem, GPA(p.gpa),
            (uint64_t)(p.height - 1) * p.line_bytes + (uint64_t)p.width * BYTES_PER_PIXEL, false);
    if (from) {
        console_resize(c, p.width, p.height);
        draw(c, &p, from, all);
    } else if (all) {
        blank(c);
    }
}

/* ---- device ---- */

static void written(void *opaque, const uint8_t *data)
{
    struct ramfb *r = opaque;

    memcpy(r->file, data, sizeof(r->file));
    r->changed = true;
}

static void file_show(struct ramfb *r)
{
    r->changed = true;
    fw_cfg_add_writable_file(r->fw_cfg, "etc/ramfb", r->file, sizeof(r->file), written, r);
}

static void ramfb_reset(struct device *d)
{
    struct ramfb *r = container_of(d, struct ramfb, dev);

    memset(r->file, 0, sizeof(r->file));
    file_show(r);
}

static void ramfb_destroy(struct device *d)
{
    struct ramfb *r = container_of(d, struct ramfb, dev);

    console_free(r->console);
    device_remove(d->list, d);
    g_free(r);
}

static bool post_load(void *obj, uint32_t version, GError **err)
{
    file_show(obj);
    return true;
}

static const struct state_field fields[] = {
    STATE_BYTES(struct ramfb, file),
    STATE_END,
};
static const struct state_desc ramfb_state = {
    .name = "ramfb", .version = 1, .fields = fields, .post_load = post_load};
static const struct device_ops ramfb_ops = {
    .type = "ramfb", .reset = ramfb_reset, .destroy = ramfb_destroy, .state = &ramfb_state};

void ramfb_new(struct device_list *devices, struct fw_cfg *f, struct guest_mem *mem, const char *id)
{
    struct ramfb *r = g_new0(struct ramfb, 1);

    r->mem = mem;
    r->fw_cfg = f;
    device_add(devices, &r->dev, &ramfb_ops, id, "ramfb");
    file_show(r);
    r->console = console_new(&(struct console_source){.update = update, .opaque = r});
}
