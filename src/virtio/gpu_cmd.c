/* gpu_cmd.c - commands of the control and cursor queues (virtio 1.2 §5.7.6.7, §5.7.6.10). */
#include "gpu.h"

#include "base/trace.h"
#include "display/edid.h"

enum {
    GET_DISPLAY_INFO = 0x0100,
    RESOURCE_CREATE_2D,
    RESOURCE_UNREF,
    SET_SCANOUT,
    RESOURCE_FLUSH,
    TRANSFER_TO_HOST_2D,
    RESOURCE_ATTACH_BACKING,
    RESOURCE_DETACH_BACKING,
    GET_CAPSET_INFO,
    GET_CAPSET,
    GET_EDID,
    UPDATE_CURSOR = 0x0300,
    MOVE_CURSOR,
    OK_NODATA = 0x1100,
    OK_DISPLAY_INFO,
    OK_EDID = 0x1104,
    ERR_UNSPEC = 0x1200,
    ERR_OUT_OF_MEMORY,
    ERR_SCANOUT_ID,
    ERR_RESOURCE_ID,
    ERR_PARAMETER = 0x1205,
};
enum { FLAG_FENCE = 1, SCANOUTS_SHOWN = 16, EDID_FIELD = 1024, REQUEST_MAX = 64, ENTRY = 16 };
enum { DISPLAY_INFO_BYTES = GPU_HEADER + SCANOUTS_SHOWN * 24, EDID_BYTES_MAX = 32 + EDID_FIELD };

/* A command: its fixed part, and the answer that grows. */
struct cmd {
    uint8_t in[REQUEST_MAX];
    size_t in_len; /* how much of in was there */
    uint8_t out[EDID_BYTES_MAX];
    uint32_t out_len;
};

static struct rect rect_get(const uint8_t *p)
{
    return (struct rect){le32_get(p), le32_get(p + 4), le32_get(p + 8), le32_get(p + 12)};
}

/* ---- what the display is ---- */

static uint32_t display_info(struct virtio_gpu *g, struct cmd *c)
{
    uint8_t *mode = c->out + GPU_HEADER;

    c->out_len = DISPLAY_INFO_BYTES;
    le32_put(mode + 8, g->want_width);
    le32_put(mode + 12, g->want_height);
    le32_put(mode + 16, 1); /* enabled */
    return OK_DISPLAY_INFO;
}

static uint32_t edid(struct virtio_gpu *g, struct cmd *c)
{
    if (le32_get(c->in + GPU_HEADER) != 0)
        return ERR_SCANOUT_ID;
    c->out_len = EDID_BYTES_MAX;
    le32_put(c->out + GPU_HEADER, EDID_BYTES);
    edid_make(c->out + GPU_HEADER + 8, g->want_width, g->want_height);
    return OK_EDID;
}

/* ---- resources ---- */

static uint32_t create(struct virtio_gpu *g, struct cmd *c)
{
    uint32_t id = le32_get(c->in + 24), format = le32_get(c->in + 28);
    uint32_t width = le32_get(c->in + 32), height = le32_get(c->in + 36);

    if (id == 0 || gpu_resource_find(g, id))
        return ERR_RESOURCE_ID;
    if (!gpu_format_known(format) || width == 0 || height == 0 || width > GPU_SIDE_MAX ||
        height > GPU_SIDE_MAX)
        return ERR_PARAMETER;
    return gpu_resource_new(g, id, format, width, height) ? OK_NODATA : ERR_OUT_OF_MEMORY;
}

static uint32_t unref(struct virtio_gpu *g, struct cmd *c)
{
    struct gpu_resource *r = gpu_resource_find(g, le32_get(c->in + 24));

    if (!r)
        return ERR_RESOURCE_ID;
    gpu_resource_drop(g, r);
    return OK_NODATA;
}

static uint32_t attach(struct virtio_gpu *g, struct cmd *c)
{
    struct gpu_resource *r = gpu_resource_find(g, le32_get(c->in + 24));
    uint32_t n = le32_get(c->in + 28);
    uint8_t entry[ENTRY];

    if (!r)
        return ERR_RESOURCE_ID;
    if (r->piece)
        return ERR_UNSPEC;
    if (n == 0 || n > GPU_PIECES_MAX || g->elem.out_bytes < 32 + (uint64_t)n * ENTRY)
        return ERR_PARAMETER;
    r->piece = g_try_new(struct gpu_piece, n);
    if (!r->piece)
        return ERR_OUT_OF_MEMORY;
    r->pieces = n;
    for (uint32_t i = 0; i < n; i++) {
        virtq_copy_out(&g->elem, 32 + (size_t)i * ENTRY, entry, ENTRY);
        r->piece[i] = (struct gpu_piece){le64_get(entry), le32_get(entry + 8)};
    }
    return OK_NODATA;
}

static uint32_t detach(struct virtio_gpu *g, struct cmd *c)
{
    struct gpu_resource *r = gpu_resource_find(g, le32_get(c->in + 24));

    if (!r)
        return ERR_RESOURCE_ID;
    g_clear_pointer(&r->piece, g_free);
    r->pieces = 0;
    return OK_NODATA;
}

static uint32_t transfer(struct virtio_gpu *g, struct cmd *c)
{
    struct rect rect = rect_get(c->in + 24);
    uint64_t offset = le64_get(c->in + 40);
    struct gpu_resource *r = gpu_resource_find(g, le32_get(c->in + 48));

    if (!r)
        return ERR_RESOURCE_ID;
    if (!r->piece)
        return ERR_UNSPEC;
    if (!gpu_rect_inside(&rect, r->width, r->height) || !gpu_resource_fill(g, r, &rect, offset))
        return ERR_PARAMETER;
    return OK_NODATA;
}

/* ---- the scanout ---- */

void gpu_scanout_set(struct virtio_gpu *g, uint32_t resource, const struct rect *view)
{
    g->scanout = resource;
    g->view = view ? *view : (struct rect){0};
    g->damage = (struct rect){0};
    if (view)
        gpu_damage(g, 0, 0, view->width, view->height);
}

static uint32_t scanout(struct virtio_gpu *g, struct cmd *c)
{
    struct rect rect = rect_get(c->in + 24);
    uint32_t id = le32_get(c->in + 44);
    struct gpu_resource *r = gpu_resource_find(g, id);

    if (le32_get(c->in + 40) != 0)
        return ERR_SCANOUT_ID;
    if (id == 0) {
        gpu_scanout_set(g, 0, NULL);
        return OK_NODATA;
    }
    if (!r)
        return ERR_RESOURCE_ID;
    if (!gpu_rect_inside(&rect, r->width, r->height) || rect.width > CONSOLE_WIDTH_MAX ||
        rect.height > CONSOLE_HEIGHT_MAX)
        return ERR_PARAMETER;
    gpu_scanout_set(g, id, &rect);
    return OK_NODATA;
}

static uint32_t flush(struct virtio_gpu *g, struct cmd *c)
{
    struct rect rect = rect_get(c->in + 24);
    struct gpu_resource *r = gpu_resource_find(g, le32_get(c->in + 40));

    if (!r)
        return ERR_RESOURCE_ID;
    if (!gpu_rect_inside(&rect, r->width, r->height))
        return ERR_PARAMETER;
    if (g->scanout == r->id)
        gpu_damage(g, (int64_t)rect.x - g->view.x, (int64_t)rect.y - g->view.y, rect.width,
                   rect.height);
    return OK_NODATA;
}

/* ---- the queues ---- */

static const struct {
    uint32_t type;
    uint8_t bytes; /* of the fixed part */
    uint32_t (*run)(struct virtio_gpu *g, struct cmd *c);
} commands[] = {
    {GET_DISPLAY_INFO, 24, display_info},
    {RESOURCE_CREATE_2D, 40, create},
    {RESOURCE_UNREF, 32, unref},
    {SET_SCANOUT, 48, scanout},
    {RESOURCE_FLUSH, 48, flush},
    {TRANSFER_TO_HOST_2D, 56, transfer},
    {RESOURCE_ATTACH_BACKING, 32, attach},
    {RESOURCE_DETACH_BACKING, 32, detach},
    {GET_EDID, 32, edid},
};

static uint32_t command_run(struct virtio_gpu *g, struct cmd *c)
{
    uint32_t type = le32_get(c->in);

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (commands[i].type != type)
            continue;
        if (c->in_len < commands[i].bytes)
            return ERR_PARAMETER;
        return commands[i].run(g, c);
    }
    return ERR_UNSPEC;
}

bool gpu_control(struct virtq *q)
{
    struct virtio_gpu *g = gpu_of(q->dev);
    struct virtq_elem *e = &g->elem;
    struct cmd c = {.out_len = GPU_HEADER};

    if (virtq_pop(q, e) <= 0)
        return false;
    if (e->out_bytes < GPU_HEADER || e->in_bytes < GPU_HEADER) {
        virtio_dev_broken(q->dev, "a command without a header, or without room for an answer");
        virtq_detach(e);
        return false;
    }
    c.in_len = virtq_copy_out(e, 0, c.in, sizeof(c.in));
    pthread_mutex_lock(&g->lock);
    uint32_t answer = virtq_elem_stale(e) ? ERR_UNSPEC : command_run(g, &c);
    pthread_mutex_unlock(&g->lock);
    TRACE(gpu_command, "%s: %04x = %04x", q->dev->name, le32_get(c.in), answer);
    le32_put(c.out, answer);
    if (le32_get(c.in + 4) & FLAG_FENCE) { /* all is done when it is answered */
        le32_put(c.out + 4, FLAG_FENCE);
        memcpy(c.out + 8, c.in + 8, 16); /* fence, context, ring */
    }
    size_t n = virtq_copy_in(e, 0, c.out, c.out_len);
    virtq_push(e, (uint32_t)n);
    return true;
}

/* The picture is copied: the resource may change or go. */
static void cursor_load(struct virtio_gpu *g, const struct gpu_resource *r)
{
    memset(g->cursor.argb, 0, sizeof(g->cursor.argb));
    for (uint32_t y = 0; y < MIN_OF(r->height, (uint32_t)GPU_CURSOR_SIDE); y++)
        for (uint32_t x = 0; x < MIN_OF(r->width, (uint32_t)GPU_CURSOR_SIDE); x++)
            g->cursor.argb[y * GPU_CURSOR_SIDE + x] =
                gpu_pixel_argb(r->format, r->pixels[(size_t)y * r->width + x]);
}

static void cursor_command(struct virtio_gpu *g, const uint8_t *in)
{
    uint32_t type = le32_get(in), id = le32_get(in + 40);
    struct gpu_resource *r = gpu_resource_find(g, id);

    if ((type != UPDATE_CURSOR && type != MOVE_CURSOR) || le32_get(in + 24) != 0)
        return;
    gpu_damage_cursor(g);
    g->cursor_moved = true;
    if (type == UPDATE_CURSOR) {
        g->cursor.visible = r != NULL;
        g->cursor_changed = true;
        g->cursor.hot_x = le32_get(in + 44);
        g->cursor.hot_y = le32_get(in + 48);
        if (r)
            cursor_load(g, r);
    }
    /* The position is the picture's corner; Linux has taken the hot spot off already. */
    g->cursor.x = (int32_t)le32_get(in + 28);
    g->cursor.y = (int32_t)le32_get(in + 32);
    gpu_damage_cursor(g);
}

bool gpu_cursor(struct virtq *q)
{
    struct virtio_gpu *g = gpu_of(q->dev);
    struct virtq_elem *e = &g->elem;
    uint8_t in[56];

    if (virtq_pop(q, e) <= 0)
        return false;
    if (e->out_bytes < sizeof(in)) {
        virtio_dev_broken(q->dev, "a cursor command that is too short");
        virtq_detach(e);
        return false;
    }
    virtq_copy_out(e, 0, in, sizeof(in));
    pthread_mutex_lock(&g->lock);
    if (!virtq_elem_stale(e))
        cursor_command(g, in);
    pthread_mutex_unlock(&g->lock);
    virtq_push(e, 0);
    return true;
}
