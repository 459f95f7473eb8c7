/* pc_testdev.c - the ISA test device bare-metal x86 test kernels expect.
 *
 *   0xe0-0xe3      a register, any width and byte offset       0xe4  "flush page": nothing to
 * flush, 0xe8-0xeb      the same register, bytewise                       nothing caches host
 * mappings 0x2000-0x2017  byte: level of GSI (port - 0x2000)          0xff000000  64 KiB of device
 * memory */
#include "devices/ports.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/irq.h"

#include <glib.h>

#define MEMORY_BASE  0xff000000ull
#define MEMORY_BYTES 65536

struct pc_testdev {
    struct device dev; /* first */
    struct io_region echo, flush, echo_bytes, irqs, memory;
    struct irq_line line[IRQ_GSI_COUNT];
    /* board lock */
    uint8_t reg[4];
    bool level[IRQ_GSI_COUNT];
    uint8_t bytes[MEMORY_BYTES];
};

static uint64_t bytes_get(const uint8_t *p, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, p, size);
    return v;
}

static uint64_t echo_read(struct io_region *r, uint64_t off, unsigned size)
{
    return bytes_get(container_of(r, struct pc_testdev, echo)->reg + off, size);
}

static void echo_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    memcpy(container_of(r, struct pc_testdev, echo)->reg + off, &val, size);
}

static uint64_t echo_bytes_read(struct io_region *r, uint64_t off, unsigned size)
{
    return container_of(r, struct pc_testdev, echo_bytes)->reg[off];
}

static void echo_bytes_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    container_of(r, struct pc_testdev, echo_bytes)->reg[off] = val;
}

static void irqs_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct pc_testdev *t = container_of(r, struct pc_testdev, irqs);

    t->level[off] = val != 0;
    irq_set(&t->line[off], t->level[off]);
}

static uint64_t memory_read(struct io_region *r, uint64_t off, unsigned size)
{
    return bytes_get(container_of(r, struct pc_testdev, memory)->bytes + off, size);
}

static void memory_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    memcpy(container_of(r, struct pc_testdev, memory)->bytes + off, &val, size);
}

static const struct io_ops echo_ops = {echo_read, echo_write, 1, 4};
static const struct io_ops flush_ops = {NULL, NULL, 1, 4};
static const struct io_ops echo_bytes_ops = {echo_bytes_read, echo_bytes_write, 1, 1};
static const struct io_ops irqs_ops = {NULL, irqs_write, 1, 1};
static const struct io_ops memory_ops = {memory_read, memory_write, 1, 8};

static void lines_drive(struct pc_testdev *t)
{
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
        irq_set(&t->line[i], t->level[i]);
}

static void testdev_reset(struct device *d)
{
    struct pc_testdev *t = container_of(d, struct pc_testdev, dev);

    memset(t->reg, 0, sizeof(t->reg));
    memset(t->bytes, 0, sizeof(t->bytes));
    memset(t->level, 0, sizeof(t->level));
    lines_drive(t);
}

static bool testdev_post_load(void *obj, uint32_t version, GError **err)
{
    lines_drive(obj);
    return true;
}

static const struct state_field testdev_fields[] = {
    STATE_BYTES(struct pc_testdev, reg),
    STATE_BOOL_ARRAY(struct pc_testdev, level),
    STATE_BYTES(struct pc_testdev, bytes),
    STATE_END,
};
static const struct state_desc testdev_state = {
    .name = "pc-testdev", .version = 1, .fields = testdev_fields, .post_load = testdev_post_load};

static void testdev_destroy(struct device *d)
{
    struct pc_testdev *t = container_of(d, struct pc_testdev, dev);

    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
        irq_disconnect(&t->line[i]);
    device_remove(d->list, d);
    g_free(t);
}

static const struct device_ops testdev_device_ops = {.type = "pc-testdev",
                                                     .reset = testdev_reset,
                                                     .destroy = testdev_destroy,
                                                     .state = &testdev_state};

static void region_add(struct io_space *s, struct io_region *r, const struct io_ops *ops,
                       uint64_t base, uint64_t size, pthread_mutex_t *lock)
{
    *r = (struct io_region){.ops = ops, .name = "pc-testdev", .size_bytes = size, .lock = lock};
    io_space_add(s, r, base);
}

bool pc_testdev_new(struct device_list *devices, struct io_space *pio, struct io_space *mmio,
                    struct irqchip *irqchip, const char *id, GError **err)
{
    struct pc_testdev *t;

    if (io_space_find(pio, 0x2000))
        return error_set(err, HANOK_ERROR_BUSY,
                         "A pc-testdev is not possible: I/O port 0x2000 is in use.");
    t = g_new0(struct pc_testdev, 1);
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
        irq_connect(&t->line[i], irqchip, i);
    device_add(devices, &t->dev, &testdev_device_ops, id, "pc-testdev");
    region_add(pio, &t->echo, &echo_ops, 0xe0, 4, &devices->lock);
    region_add(pio, &t->flush, &flush_ops, 0xe4, 4, &devices->lock);
    region_add(pio, &t->echo_bytes, &echo_bytes_ops, 0xe8, 4, &devices->lock);
    region_add(pio, &t->irqs, &irqs_ops, 0x2000, IRQ_GSI_COUNT, &devices->lock);
    region_add(mmio, &t->memory, &memory_ops, MEMORY_BASE, MEMORY_BYTES, &devices->lock);
    return true;
}
