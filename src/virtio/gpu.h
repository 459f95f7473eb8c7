/* gpu.h - virtio-gpu's parts: the device (gpu.c), commands (gpu_cmd.c), resources (gpu_resource.c),
 * the picture (gpu_draw.c), saving (gpu_state.c).
 *
 *   guest pages --TRANSFER--> resource (host memory) --FLUSH: damage--> surface, when a viewer asks
 *
 * 2D only, one scanout.  The cursor is drawn into the surface, so that every viewer and screendump
 * has it - unless all viewers show it themselves.
 *
 * Threads: commands and drawing in the main loop; a reset comes from a vCPU, so everything that
 *          changes is under `lock` (board lock -> lock -> queue lock).
 * Spec:    virtio 1.2 §5.7. */
#ifndef VIRTIO_GPU_H
#define VIRTIO_GPU_H

#include "carrier.h"
#include "display/console.h"

enum {
    GPU_F_EDID = 1,
    GPU_RESOURCES_MAX = 4096,
    GPU_PIECES_MAX = 16384, /* of a resource's backing; 64 MiB in single pages */
    GPU_SIDE_MAX = 16384,
    GPU_ELEM_IOVS = 512,
    GPU_CURSOR_SIDE = 64,
    GPU_HEADER = 24,
};

struct gpu_piece {
    uint64_t gpa;
    uint32_t bytes;
};

struct gpu_resource {
    uint32_t id, format, width, height;
    uint32_t *pixels; /* as the guest's format has them */
    struct gpu_piece *piece;
    uint32_t pieces;
};

struct gpu_cursor {
    bool visible;
    int32_t x, y; /* of its upper left corner, on the scanout */
    uint32_t hot_x, hot_y;
    uint32_t argb[GPU_CURSOR_SIDE * GPU_CURSOR_SIDE];
};

struct virtio_gpu {
    struct virtio_carrier p; /* first */
    /* immutable */
    uint64_t hostmem_max;
    const struct virtio_gpu_vga_ops *vga_ops; /* NULL: none */
    void *vga;
    struct console *console;
    /* main loop */
    struct virtq_elem elem;
    bool drawn; /* the surface shows the scanout, not VGA */
    /* under lock */
    pthread_mutex_t lock;
    GHashTable *resources; /* id -> struct gpu_resource */
    uint64_t hostmem;
    uint32_t scanout;   /* resource; 0: off */
    struct rect view;   /* of it */
    struct rect damage; /* of the view; empty: none */
    struct gpu_cursor cursor;
    bool cursor_apart, cursor_changed,
        cursor_moved; /* how viewers see it; what they do not know yet */
    uint32_t events;
    uint32_t want_width, want_height; /* the size viewers wish for */
};

static inline struct virtio_gpu *gpu_of(struct virtio_dev *d)
{
    return container_of(d, struct virtio_gpu, p.dev);
}

/* gpu_resource.c; all under lock */
bool gpu_format_known(uint32_t format);
uint32_t gpu_pixel_argb(uint32_t format, uint32_t pixel);
struct gpu_resource *gpu_resource_find(struct virtio_gpu *g, uint32_t id);
/* NULL: no memory, or more than hostmem_max. */
struct gpu_resource *gpu_resource_new(struct virtio_gpu *g, uint32_t id, uint32_t format,
                                      uint32_t width, uint32_t height);
void gpu_resource_drop(struct virtio_gpu *g, struct gpu_resource *r);
void gpu_resource_free(void *r);
uint64_t gpu_resource_bytes(uint32_t width, uint32_t height);
bool gpu_rect_inside(const struct rect *r, uint32_t width, uint32_t height);
/* Copies r of the resource from its backing, whose byte `offset` is r's first pixel. */
bool gpu_resource_fill(struct virtio_gpu *g, struct gpu_resource *res, const struct rect *r,
                       uint64_t offset);

/* gpu_cmd.c */
bool gpu_control(struct virtq *q);
bool gpu_cursor(struct virtq *q);
void gpu_scanout_set(struct virtio_gpu *g, uint32_t resource, const struct rect *view);

/* gpu_draw.c */
void gpu_update(void *opaque, struct console *c, bool all);
void gpu_damage(struct virtio_gpu *g, int64_t x, int64_t y, int64_t width, int64_t height);
void gpu_damage_cursor(struct virtio_gpu *g);

/* gpu_state.c */
extern const struct state_desc gpu_state;

#endif
