/* gpu_resource.c - pictures in host memory and the guest pages behind them. */
#include "gpu.h"

#include "mem/guest_mem.h"

/* Formats by the order of their bytes in memory (virtio 1.2 §5.7.6.8). */
enum {
    B8G8R8A8 = 1,
    B8G8R8X8 = 2,
    A8R8G8B8 = 3,
    X8R8G8B8 = 4,
    R8G8B8A8 = 67,
    X8B8G8R8 = 68,
    A8B8G8R8 = 121,
    R8G8B8X8 = 134,
};

bool gpu_format_known(uint32_t format)
{
    return (format >= B8G8R8A8 && format <= X8R8G8B8) || format == R8G8B8A8 || format == X8B8G8R8 ||
           format == A8B8G8R8 || format == R8G8B8X8;
}

uint32_t gpu_pixel_argb(uint32_t format, uint32_t p)
{
    switch (format) {
    case A8R8G8B8:
        return __builtin_bswap32(p);
    case X8R8G8B8:
        return __builtin_bswap32(p) | 0xff000000;
    case R8G8B8A8:
        return (p & 0xff00ff00) | (p & 0xff) << 16 | (p >> 16 & 0xff);
    case R8G8B8X8:
        return 0xff000000 | (p & 0xff00) | (p & 0xff) << 16 | (p >> 16 & 0xff);
    case A8B8G8R8:
        return p >> 8 | p << 24;
    case X8B8G8R8:
        return p >> 8 | 0xff000000;
    case B8G8R8X8:
        return p | 0xff000000;
    default:
        return p;
    }
}

uint64_t gpu_resource_bytes(uint32_t width, uint32_t height)
{
    return (uint64_t)width * height * 4;
}

bool gpu_rect_inside(const struct rect *r, uint32_t width, uint32_t height)
{
    return r->width && r->height && r->x < width && r->width <= width - r->x && r->y < height &&
           r->height <= height - r->y;
}

struct gpu_resource *gpu_resource_find(struct virtio_gpu *g, uint32_t id)
{
    return g_hash_table_lookup(g->resources, GUINT_TO_POINTER(id));
}

struct gpu_resource *gpu_resource_new(struct virtio_gpu *g, uint32_t id, uint32_t format,
                                      uint32_t width, uint32_t height)
{
    uint64_t bytes = gpu_resource_bytes(width, height);
    struct gpu_resource *r;

    if (bytes > g->hostmem_max - g->hostmem || g_hash_table_size(g->resources) >= GPU_RESOURCES_MAX)
        return NULL;
    r = g_new0(struct gpu_resource, 1);
    *r = (struct gpu_resource){.id = id, .format = format, .width = width, .height = height};
    r->pixels = g_try_malloc0(bytes);
    if (!r->pixels) {
        g_free(r);
        return NULL;
    }
    g->hostmem += bytes;
    g_hash_table_insert(g->resources, GUINT_TO_POINTER(id), r);
    return r;
}

void gpu_resource_free(void *resource)
{
    struct gpu_resource *r = resource;

    g_free(r->pixels);
    g_free(r->piece);
    g_free(r);
}

void gpu_resource_drop(struct virtio_gpu *g, struct gpu_resource *r)
{
    g->hostmem -= gpu_resource_bytes(r->width, r->height);
    if (g->scanout == r->id)
        gpu_scanout_set(g, 0, NULL);
    g_hash_table_remove(g->resources, GUINT_TO_POINTER(r->id));
}

/* A place in the backing; reading moves on, so that rows do not search from the start. */
struct place {
    uint32_t piece;
    uint64_t at; /* bytes before the piece */
};

static bool backing_read(struct virtio_gpu *g, const struct gpu_resource *r, struct place *p,
                         uint64_t offset, void *out, uint64_t len)
{
    uint8_t *to = out;

    while (len) {
        while (p->piece < r->pieces && offset - p->at >= r->piece[p->piece].bytes)
            p->at += r->piece[p->piece++].bytes;
        if (p->piece == r->pieces)
            return false;
        uint64_t skip = offset - p->at, n = MIN_OF(len, r->piece[p->piece].bytes - skip);
        if (guest_mem_read(g->p.dev.mem, GPA(r->piece[p->piece].gpa + skip), to, n))
            return false;
        to += n;
        offset += n;
        len -= n;
    }
    return true;
}

bool gpu_resource_fill(struct virtio_gpu *g, struct gpu_resource *res, const struct rect *r,
                       uint64_t offset)
{
    uint64_t stride = (uint64_t)res->width * 4;
    struct place p = {0, 0};

    if (offset > UINT64_MAX / 2)
        return false;
    if (r->width == res->width)
        return backing_read(g, res, &p, offset, res->pixels + (size_t)r->y * res->width,
                            stride * r->height);
    for (unsigned row = 0; row < r->height; row++)
        if (!backing_read(g, res, &p, offset + row * stride,
                          res->pixels + (size_t)(r->y + row) * res->width + r->x,
                          (uint64_t)r->width * 4))
            return false;
    return true;
}
