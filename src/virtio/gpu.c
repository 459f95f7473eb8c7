/* gpu.c - the virtio graphics card (virtio 1.2 §5.7): queues, configuration, making and ending. */
#include "gpu.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

enum { Q_CONTROL, Q_CURSOR, QUEUES };
enum { EVENT_DISPLAY = 1, CFG_EVENTS = 0, CFG_CLEAR = 4, CFG_SCANOUTS = 8, CFG_BYTES = 16 };
#define HOSTMEM_DEFAULT (256 * MiB)

static void get_config(struct virtio_dev *d, uint8_t *c)
{
    struct virtio_gpu *g = gpu_of(d);

    pthread_mutex_lock(&g->lock);
    le32_put(c + CFG_EVENTS, g->events);
    pthread_mutex_unlock(&g->lock);
    le32_put(c + CFG_CLEAR, 0);
    le32_put(c + CFG_SCANOUTS, 1);
    le32_put(c + 12, 0); /* no capability sets */
}

static void set_config(struct virtio_dev *d, unsigned off, unsigned size, uint32_t val)
{
    struct virtio_gpu *g = gpu_of(d);

    if (off != CFG_CLEAR || size != 4)
        return;
    pthread_mutex_lock(&g->lock);
    g->events &= ~val;
    pthread_mutex_unlock(&g->lock);
}

static void control_kick(struct virtq *q)
{
    virtq_service(q);
    virtq_notify(q);
}

/* The guest's pictures are gone; what viewers wish for stays. */
static void reset(struct virtio_dev *d)
{
    struct virtio_gpu *g = gpu_of(d);

    pthread_mutex_lock(&g->lock);
    gpu_scanout_set(g, 0, NULL);
    g_hash_table_remove_all(g->resources);
    g->hostmem = 0;
    g->cursor.visible = false;
    g->cursor_changed = true;
    g->events = 0;
    pthread_mutex_unlock(&g->lock);
}

static void destroy(struct virtio_dev *d)
{
    struct virtio_gpu *g = gpu_of(d);

    console_free(g->console);
    virtio_carrier_fini(&g->p);
    if (g->vga)
        g->vga_ops->destroy(g->vga);
    virtq_elem_free(&g->elem);
    g_hash_table_unref(g->resources);
    pthread_mutex_destroy(&g->lock);
    g_free(g);
}

static const struct virtio_ops vops = {
    .type = 16,
    .config_len = CFG_BYTES,
    .get_config = get_config,
    .set_config = set_config,
    .reset = reset,
    .destroy = destroy,
};

/* ---- the function: virtio, and VGA when there is one ---- */

static struct virtio_gpu *of_pci(struct pci_dev *d)
{
    return container_of(d, struct virtio_gpu, p.pci.pci);
}

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct virtio_gpu *g = of_pci(d);

    virtio_pci_config_written(d, off, size);
    if (g->vga)
        g->vga_ops->config_written(g->vga, off, size);
}

static void bar_moved(struct pci_dev *d, unsigned bar)
{
    struct virtio_gpu *g = of_pci(d);

    virtio_pci_bar_moved(d, bar);
    if (g->vga)
        g->vga_ops->bar_moved(g->vga, bar);
}

static void vga_reset(struct device *d)
{
    virtio_pci_reset(d);
    config_written(container_of(d, struct pci_dev, dev), PCI_COMMAND, 2);
}

static const struct virtio_type gpu_type = VIRTIO_TYPE("virtio-gpu", gpu_state);
static const struct virtio_type vga_type = {
    .pci =
        {
            .dev = {.type = "virtio-vga",
                    .reset = vga_reset,
                    .drain = virtio_carrier_drain,
                    .destroy = virtio_carrier_destroy,
                    .state = &gpu_state},
            .config_written = config_written,
            .config_read = virtio_pci_config_read,
            .bar_moved = bar_moved,
        },
};

/* ---- viewers ---- */

/* A viewer's window has another size: the driver is told, and asks for the new one. */
static void wish_size(void *opaque, unsigned width, unsigned height)
{
    struct virtio_gpu *g = opaque;
    bool changed;

    pthread_mutex_lock(&g->lock);
    changed = width != g->want_width || height != g->want_height;
    g->want_width = width;
    g->want_height = height;
    if (changed)
        g->events |= EVENT_DISPLAY;
    pthread_mutex_unlock(&g->lock);
    if (changed)
        virtio_config_changed(&g->p.dev);
}

/* ---- making ---- */

static bool check_config(const struct virtio_gpu_config *c, GError **err)
{
    if (c->width > CONSOLE_WIDTH_MAX || c->height > CONSOLE_HEIGHT_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "xres= and yres= are at most %u",
                         CONSOLE_WIDTH_MAX);
    return true;
}

struct device *virtio_gpu_new(const struct virtio_gpu_config *cfg, GError **err)
{
    if (!check_config(cfg, err))
        return NULL;
    struct virtio_gpu *g = g_new0(struct virtio_gpu, 1);
    g->hostmem_max = cfg->hostmem_bytes ? cfg->hostmem_bytes : HOSTMEM_DEFAULT;
    g->want_width = cfg->width ? cfg->width : 1280;
    g->want_height = cfg->height ? cfg->height : 800;
    g->vga_ops = cfg->vga;
    pthread_mutex_init(&g->lock, NULL);
    g->resources = g_hash_table_new_full(NULL, NULL, NULL, gpu_resource_free);
    virtq_elem_alloc(&g->elem, GPU_ELEM_IOVS);
    virtio_carrier_init(&g->p, cfg->vga ? &vga_type : &gpu_type, &cfg->place, &vops, QUEUES);
    /* VGA; another display controller */
    virtio_carrier_set_class(&g->p, 0x03, cfg->vga ? 0x00 : 0x80);
    virtio_queue(&g->p.dev, Q_CONTROL, 256, evloop_main(), gpu_control, control_kick);
    virtio_queue(&g->p.dev, Q_CURSOR, 16, evloop_main(), gpu_cursor, control_kick);
    if (!cfg->no_edid)
        g->p.dev.host_features |= BIT64(GPU_F_EDID);
    if ((cfg->vga &&
         !(g->vga = cfg->vga->attach(cfg->vga_opaque, &g->p.pci.pci, cfg->place.bus, err))) ||
        !virtio_carrier_plug(&g->p, &cfg->place, err)) {
        virtio_carrier_destroy(&g->p.device);
        return NULL;
    }
    g->console = console_new(
        &(struct console_source){.update = gpu_update, .wish_size = wish_size, .opaque = g});
    return &g->p.device;
}
