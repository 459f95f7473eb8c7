/* gpu_state.c - resources with their pixels, the scanout, the cursor. */
#include "gpu.h"

#include "base/error.h"
#include "base/state.h"

static void resource_save(struct state_writer *w, const struct gpu_resource *r)
{
    state_put_u32(w, r->id);
    state_put_u32(w, r->format);
    state_put_u32(w, r->width);
    state_put_u32(w, r->height);
    state_put_u32(w, r->pieces);
    for (uint32_t i = 0; i < r->pieces; i++) {
        state_put_u64(w, r->piece[i].gpa);
        state_put_u32(w, r->piece[i].bytes);
    }
    state_put_bytes(w, r->pixels, gpu_resource_bytes(r->width, r->height));
}

static gint by_id(gconstpointer a, gconstpointer b)
{
    return GPOINTER_TO_UINT(a) < GPOINTER_TO_UINT(b) ? -1 : 1;
}

/* In the order of their ids, so that equal states are equal bytes. */
static void resources_save(struct state_writer *w, const void *obj)
{
    const struct virtio_gpu *g = obj;
    g_autoptr(GList) ids = g_list_sort(g_hash_table_get_keys(g->resources), by_id);

    state_put_u32(w, g_hash_table_size(g->resources));
    for (GList *at = ids; at; at = at->next)
        resource_save(w, g_hash_table_lookup(g->resources, at->data));
}

static bool pieces_load(struct state_reader *r, struct gpu_resource *res, uint32_t n)
{
    if (n > GPU_PIECES_MAX || (uint64_t)n * 12 > state_left(r))
        return false;
    if (n == 0)
        return true;
    res->piece = g_new(struct gpu_piece, n);
    res->pieces = n;
    for (uint32_t i = 0; i < n; i++) {
        res->piece[i].gpa = state_get_u64(r);
        res->piece[i].bytes = state_get_u32(r);
    }
    return true;
}

static bool resource_load(struct state_reader *r, struct virtio_gpu *g)
{
    uint32_t id = state_get_u32(r), format = state_get_u32(r);
    uint32_t width = state_get_u32(r), height = state_get_u32(r), pieces = state_get_u32(r);
    struct gpu_resource *res;

    if (id == 0 || gpu_resource_find(g, id) || !gpu_format_known(format) || width == 0 ||
        height == 0 || width > GPU_SIDE_MAX || height > GPU_SIDE_MAX ||
        gpu_resource_bytes(width, height) > state_left(r))
        return false;
    res = gpu_resource_new(g, id, format, width, height);
    return res && pieces_load(r, res, pieces) &&
           state_get_bytes(r, res->pixels, gpu_resource_bytes(width, height));
}

static bool resources_load(struct state_reader *r, void *obj, GError **err)
{
    struct virtio_gpu *g = obj;
    uint32_t n = state_get_u32(r);

    g_hash_table_remove_all(g->resources);
    g->hostmem = 0;
    if (n > GPU_RESOURCES_MAX)
        return error_set(err, HANOK_ERROR_CORRUPT, "%u pictures in the graphics card", n);
    for (uint32_t i = 0; i < n; i++)
        if (!resource_load(r, g))
            return error_set(err, HANOK_ERROR_CORRUPT,
                             "picture %u of the graphics card does not fit", i);
    return true;
}

static bool post_load(void *obj, uint32_t version, GError **err)
{
    struct virtio_gpu *g = obj;
    struct rect view = g->view;
    g->cursor_changed = true;
    struct gpu_resource *r = g->scanout ? gpu_resource_find(g, g->scanout) : NULL;

    if (g->vga)
        g->vga_ops->config_written(g->vga, PCI_COMMAND, 2);
    if (!g->scanout) {
        gpu_scanout_set(g, 0, NULL);
        return true;
    }
    if (!r || !gpu_rect_inside(&view, r->width, r->height) || view.width > CONSOLE_WIDTH_MAX ||
        view.height > CONSOLE_HEIGHT_MAX) {
        gpu_scanout_set(g, 0, NULL);
        return error_set(err, HANOK_ERROR_CORRUPT, "the screen is outside of its picture");
    }
    gpu_scanout_set(g, g->scanout, &view);
    return true;
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct virtio_gpu, p, virtio_carrier_state),
    STATE_CUSTOM("resources", resources_save, resources_load),
    STATE_U32(struct virtio_gpu, scanout),
    STATE_U32(struct virtio_gpu, view.x),
    STATE_U32(struct virtio_gpu, view.y),
    STATE_U32(struct virtio_gpu, view.width),
    STATE_U32(struct virtio_gpu, view.height),
    STATE_BOOL(struct virtio_gpu, cursor.visible),
    STATE_U32(struct virtio_gpu, cursor.x),
    STATE_U32(struct virtio_gpu, cursor.y),
    STATE_U32(struct virtio_gpu, cursor.hot_x),
    STATE_U32(struct virtio_gpu, cursor.hot_y),
    STATE_UINT_ARRAY(struct virtio_gpu, cursor.argb),
    STATE_U32(struct virtio_gpu, events),
    STATE_END,
};
const struct state_desc gpu_state = {
    .name = "virtio-gpu", .version = 1, .fields = fields, .post_load = post_load};
