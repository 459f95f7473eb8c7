/* vt_gpu.h - a virtio-gpu on a board in the test's process, and commands for it.
 *
 *     struct vt_gpu f;
 *     vt_gpu_set_up(&f, NULL);   ... vt_gpu_create(&f, ...) ...   vt_gpu_tear_down(&f); */
#ifndef TESTS_DEVTEST_VT_GPU_H
#define TESTS_DEVTEST_VT_GPU_H

#include "vt.h"

#include "bus/pci.h"
#include "display/console.h"
#include "virtio/devices.h"

enum { GPU_DEVFN = 6 << 3, GPU_CONTROL = 0, GPU_CURSOR = 1, BGRX = 2, BGRA = 1 };
enum {
    GPU_DISPLAY_INFO = 0x100,
    GPU_CREATE,
    GPU_UNREF,
    GPU_SCANOUT,
    GPU_FLUSH,
    GPU_TRANSFER,
    GPU_ATTACH,
    GPU_DETACH,
    GPU_EDID = 0x10a,
    GPU_CURSOR_UPDATE = 0x300,
    GPU_CURSOR_MOVE,
    GPU_OK = 0x1100,
    GPU_OK_INFO,
    GPU_OK_EDID = 0x1104,
    GPU_ERR = 0x1200,
    GPU_ERR_MEMORY,
    GPU_ERR_SCANOUT,
    GPU_ERR_RESOURCE,
    GPU_ERR_PARAMETER = 0x1205,
};

struct vt_gpu {
    struct vt_board *board;
    struct vt_bus *bus;
    struct device *device;
    struct vt_dev dev;
    struct vt_queue ctrl, cursor;
    uint64_t in, out, pixels; /* guest memory: a request, its answer, a picture */
};

void vt_gpu_set_up(struct vt_gpu *f, const struct virtio_gpu_config *extra);
void vt_gpu_board(struct vt_gpu *f, const struct virtio_gpu_config *extra);
void vt_gpu_start(struct vt_gpu *f);
void vt_gpu_tear_down(struct vt_gpu *f);
/* A command of `words` 32-bit words after the header; returns the answer's type. */
unsigned vt_gpu_command(struct vt_gpu *f, uint32_t type, const uint32_t *word, unsigned words);
#define VT_GPU(f, type, ...)                                                                       \
    vt_gpu_command(f, type, (const uint32_t[]){__VA_ARGS__},                                       \
                   sizeof((const uint32_t[]){__VA_ARGS__}) / 4)
void vt_gpu_cursor(struct vt_gpu *f, uint32_t type, uint32_t x, uint32_t y, uint32_t resource);
uint32_t vt_gpu_dot(unsigned x, unsigned y); /* of the screen, after a refresh */

#endif
