/* debug_ports.c - debugcon and isa-debug-exit: how firmware and test kernels talk to the outside.
 */
#include "devices/ports.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "chardev/chardev.h"

#include <glib.h>

static bool ports_fit(const char *what, uint16_t iobase, unsigned size, GError **err)
{
    if (size && iobase + size <= 0x10000)
        return true;
    return error_set(err, HANOK_ERROR_INVALID,
                     "%s cannot have %u ports at 0x%x: it needs at least one, and the last port is "
                     "0xffff.",
                     what, size, iobase);
}

/* ---- debugcon ---- */

#define DEBUGCON_BYTES 4096

struct debugcon {
    struct device dev; /* first */
    struct io_region region;
    struct chardev_fe *fe;
    uint8_t readback;
    /* board lock */
    uint8_t out[DEBUGCON_BYTES]; /* what the chardev has not taken yet */
    uint32_t out_count;
};

static void debugcon_flush(struct debugcon *c)
{
    size_t taken = c->out_count ? chardev_write(c->fe, c->out, c->out_count) : 0;

    c->out_count -= taken;
    memmove(c->out, c->out + taken, c->out_count);
}

/* The port has no way to say "wait": what does not fit is lost. */
static void debugcon_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct debugcon *c = container_of(r, struct debugcon, region);

    if (c->out_count == DEBUGCON_BYTES)
        return;
    c->out[c->out_count++] = val;
    debugcon_flush(c);
}

static uint64_t debugcon_read(struct io_region *r, uint64_t off, unsigned size)
{
    return container_of(r, struct debugcon, region)->readback;
}

static const struct io_ops debugcon_ops = {debugcon_read, debugcon_write, 1, 1};

static size_t debugcon_can_read(void *fe)
{
    return 0;
}

static void debugcon_input(void *fe, const uint8_t *buf, size_t len)
{
}

static void debugcon_event(void *fe, enum chardev_event ev)
{
    struct debugcon *c = fe;

    if (ev != CHARDEV_WRITABLE && ev != CHARDEV_OPENED)
        return;
    pthread_mutex_lock(&c->dev.list->lock);
    debugcon_flush(c);
    pthread_mutex_unlock(&c->dev.list->lock);
}

static const struct chardev_fe_ops debugcon_fe_ops = {debugcon_can_read, debugcon_input,
                                                      debugcon_event};

static bool debugcon_post_load(void *obj, uint32_t version, GError **err)
{
    struct debugcon *c = obj;

    if (c->out_count > DEBUGCON_BYTES)
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "The saved state of the debug console has more bytes than it holds.");
    debugcon_flush(c);
    return true;
}

static const struct state_field debugcon_fields[] = {
    STATE_BYTES(struct debugcon, out),
    STATE_U32(struct debugcon, out_count),
    STATE_END,
};
static const struct state_desc debugcon_state = {.name = "isa-debugcon",
                                                 .version = 1,
                                                 .fields = debugcon_fields,
                                                 .post_load = debugcon_post_load};

static void debugcon_destroy(struct device *d)
{
    struct debugcon *c = container_of(d, struct debugcon, dev);

    chardev_detach(c->fe);
    device_remove(d->list, d);
    g_free(c);
}

/* Nothing a reset would change: the bytes on their way out still belong to the user. */
static const struct device_ops debugcon_device_ops = {
    .type = "isa-debugcon", .destroy = debugcon_destroy, .state = &debugcon_state};

bool debugcon_new(struct device_list *devices, struct io_space *pio, struct chardev *backend,
                  uint16_t iobase, uint8_t readback, const char *id, GError **err)
{
    g_autofree char *path = g_strdup_printf("debugcon@%x", iobase);
    struct debugcon *c = g_new0(struct debugcon, 1);

    c->readback = readback;
    c->region = (struct io_region){
        .ops = &debugcon_ops, .name = "debugcon", .size_bytes = 1, .lock = &devices->lock};
    device_add(devices, &c->dev, &debugcon_device_ops, id, path);
    c->fe = chardev_attach(backend, &debugcon_fe_ops, c, err);
    if (!c->fe) {
        debugcon_destroy(&c->dev);
        return false;
    }
    io_space_add(pio, &c->region, iobase);
    return true;
}

/* ---- isa-debug-exit ---- */

struct debug_exit {
    struct device dev; /* first */
    struct io_region region;
    const struct board_requests *req;
};

static void debug_exit_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct debug_exit *e = container_of(r, struct debug_exit, region);

    e->req->debug_exit(e->req->opaque, (int)((uint32_t)val << 1 | 1));
}

static uint64_t debug_exit_read(struct io_region *r, uint64_t off, unsigned size)
{
    return 0;
}

static const struct io_ops debug_exit_ops = {debug_exit_read, debug_exit_write, 1, 4};

static void debug_exit_destroy(struct device *d)
{
    device_remove(d->list, d);
    g_free(container_of(d, struct debug_exit, dev));
}

static const struct device_ops debug_exit_device_ops = {.type = "isa-debug-exit",
                                                        .destroy = debug_exit_destroy};

bool isa_debug_exit_new(struct device_list *devices, struct io_space *pio,
                        const struct board_requests *req, uint16_t iobase, unsigned iosize,
                        const char *id, GError **err)
{
    g_autofree char *path = g_strdup_printf("isa-debug-exit@%x", iobase);
    struct debug_exit *e;

    if (!ports_fit("isa-debug-exit", iobase, iosize, err))
        return false;
    e = g_new0(struct debug_exit, 1);
    e->req = req;
    e->region = (struct io_region){.ops = &debug_exit_ops,
                                   .name = "isa-debug-exit",
                                   .size_bytes = iosize,
                                   .lock = &devices->lock};
    device_add(devices, &e->dev, &debug_exit_device_ops, id, path);
    io_space_add(pio, &e->region, iobase);
    return true;
}
