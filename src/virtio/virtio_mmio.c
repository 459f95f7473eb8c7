/* virtio_mmio.c - the registers of the memory-mapped transport, its interrupt, kicks and state. */
#include "carrier.h"

#include "base/error.h"
#include "base/state.h"

#include <glib.h>
#include <inttypes.h>

/* Virtio 1.2 §4.2.2; 32 bits each. */
enum {
    M_MAGIC = 0x000,
    M_VERSION = 0x004,
    M_DEVICE_ID = 0x008,
    M_VENDOR_ID = 0x00c,
    M_HOST_FEATURE = 0x010,
    M_HOST_FEATURE_SELECT = 0x014,
    M_GUEST_FEATURE = 0x020,
    M_GUEST_FEATURE_SELECT = 0x024,
    M_QUEUE_SELECT = 0x030,
    M_QUEUE_SIZE_MAX = 0x034,
    M_QUEUE_SIZE = 0x038,
    M_QUEUE_READY = 0x044,
    M_QUEUE_NOTIFY = 0x050,
    M_INTERRUPT_STATUS = 0x060,
    M_INTERRUPT_ACK = 0x064,
    M_STATUS = 0x070,
    M_QUEUE_DESC = 0x080,
    M_QUEUE_AVAIL = 0x090,
    M_QUEUE_USED = 0x0a0,
    M_SHM_LEN = 0x0b0, /* to the end of SHMBase: all ones, there is no shared memory */
    M_SHM_END = 0x0c0,
    M_QUEUE_RESET = 0x0c0,
    M_GENERATION = 0x0fc,
    M_CONFIG = 0x100,
};
enum {
    MAGIC = 0x74726976, /* "virt" */
    VERSION = 2,
    VENDOR = 0x554d4551, /* what drivers know, "QEMU" */
    ISR_QUEUE = 1,
    ISR_CONFIG = 2,
};

static struct virtio_mmio *mmio_of(struct virtio_dev *d)
{
    return &container_of(d, struct virtio_carrier, dev)->mmio;
}

/* ---- interrupts (any thread) ---- */

static void isr_change(struct virtio_mmio *m, uint32_t set, uint32_t clear)
{
    pthread_mutex_lock(&m->isr_lock);
    m->isr = (m->isr | set) & ~clear;
    if (m->slot)
        irq_set(&m->irq, m->isr != 0);
    pthread_mutex_unlock(&m->isr_lock);
}

static void queue_irq(struct virtio_dev *d, uint16_t vector)
{
    isr_change(mmio_of(d), ISR_QUEUE, 0);
}

static void config_irq(struct virtio_dev *d)
{
    isr_change(mmio_of(d), ISR_CONFIG, 0);
}

static bool may_dma(struct virtio_dev *d)
{
    return true;
}

const struct virtio_transport virtio_mmio_transport = {
    .queue_irq = queue_irq,
    .config_irq = config_irq,
    .may_dma = may_dma,
};

/* ---- reading ---- */

static struct virtq *selected(const struct virtio_mmio *m)
{
    return m->queue_select < m->dev->queue_count ? &m->dev->queue[m->queue_select] : NULL;
}

static uint32_t half(uint64_t v, uint32_t select)
{
    return select == 0 ? (uint32_t)v : select == 1 ? (uint32_t)(v >> 32) : 0;
}

static uint32_t queue_read(const struct virtio_mmio *m, unsigned off)
{
    const struct virtq *q = selected(m);

    if (!q)
        return 0; /* QueueNumMax 0: no such queue */
    switch (off) {
    case M_QUEUE_SIZE_MAX:
        return q->size_max;
    case M_QUEUE_READY:
        return q->enabled;
    case M_QUEUE_RESET:
        return virtio_queue_resetting(m->dev, (struct virtq *)q) && !q->enabled;
    default:
        return 0;
    }
}

static uint32_t config_read(struct virtio_dev *d, unsigned at, unsigned size)
{
    uint8_t image[VIRTIO_CONFIG_BYTES_MAX] = {0};
    uint32_t v = 0;

    if (at >= d->ops->config_len)
        return 0;
    d->ops->get_config(d, image);
    memcpy(&v, image + at, MIN_OF(size, d->ops->config_len - at));
    return v;
}

static uint64_t regs_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct virtio_mmio *m = container_of(r, struct virtio_mmio, regs);
    struct virtio_dev *d = m->dev;

    if (off >= M_CONFIG)
        return config_read(d, (unsigned)off - M_CONFIG, size);
    if (size != 4) /* §4.2.2.2: registers are read and written whole */
        return 0;
    if (off >= M_SHM_LEN && off < M_SHM_END)
        return UINT32_MAX;
    switch (off) {
    case M_MAGIC:
        return MAGIC;
    case M_VERSION:
        return VERSION;
    case M_DEVICE_ID:
        return d->ops->type;
    case M_VENDOR_ID:
        return VENDOR;
    case M_HOST_FEATURE:
        return half(d->host_features, m->host_feature_select);
    case M_INTERRUPT_STATUS:
        return __atomic_load_n(&m->isr, __ATOMIC_ACQUIRE);
    case M_STATUS:
        return virtio_status_read(d);
    case M_GENERATION:
        return __atomic_load_n(&d->config_generation, __ATOMIC_ACQUIRE);
    default:
        return queue_read(m, (unsigned)off);
    }
}

/* ---- writing ---- */

static void queue_area(struct virtq *q, unsigned off, uint32_t val)
{
    gpa_t *area[] = {&q->desc_gpa, &q->avail_gpa, &q->used_gpa};
    gpa_t *a = area[(off - M_QUEUE_DESC) / 16];
    unsigned shift = off % 16 ? 32 : 0;

    a->v = (a->v & ~(0xffffffffull << shift)) | (uint64_t)val << shift;
}

static void queue_write(struct virtio_mmio *m, struct virtq *q, unsigned off, uint32_t val)
{
    if (off == M_QUEUE_READY) {
        if (val == 1)
            virtio_queue_enable(m->dev, q);
        else if (val == 0 && q->enabled)
            virtio_queue_reset(m->dev, q);
    } else if (off == M_QUEUE_RESET) {
        if (val == 1 && virtio_has(m->dev, VIRTIO_F_RING_RESET))
            virtio_queue_reset(m->dev, q);
    } else if (q->enabled) {
        return; /* the rest is fixed while the queue is on */
    } else if (off == M_QUEUE_SIZE) {
        virtio_queue_resize(q, val);
    } else if (off >= M_QUEUE_DESC && off < M_SHM_LEN - 4 && off % 16 < 8) {
        queue_area(q, off, val);
    }
}

static void config_write(struct virtio_dev *d, unsigned at, unsigned size, uint32_t val)
{
    if (d->ops->set_config && at < d->ops->config_len && size <= d->ops->config_len - at)
        d->ops->set_config(d, at, size, val);
}

static void regs_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val64)
{
    struct virtio_mmio *m = container_of(r, struct virtio_mmio, regs);
    struct virtio_dev *d = m->dev;
    uint32_t val = (uint32_t)val64;
    struct virtq *q = selected(m);

    if (off >= M_CONFIG) {
        config_write(d, (unsigned)off - M_CONFIG, size, val);
        return;
    }
    if (size != 4)
        return;
    switch (off) {
    case M_HOST_FEATURE_SELECT:
        m->host_feature_select = val;
        break;
    case M_GUEST_FEATURE_SELECT:
        m->guest_feature_select = val;
        break;
    case M_GUEST_FEATURE:
        virtio_features_write(d, m->guest_feature_select, val);
        break;
    case M_QUEUE_SELECT:
        m->queue_select = val;
        break;
    case M_QUEUE_NOTIFY: /* kicks of queues that exist end at their eventfds */
        break;
    case M_INTERRUPT_ACK:
        isr_change(m, 0, val);
        break;
    case M_STATUS:
        virtio_status_write(d, (uint8_t)val);
        if ((uint8_t)val == 0)
            isr_change(m, 0, UINT32_MAX);
        break;
    default:
        if (q && !d->resetting)
            queue_write(m, q, (unsigned)off, val);
        break;
    }
}

static const struct io_ops regs_ops = {
    .read = regs_read, .write = regs_write, .min_size = 1, .max_size = 4};

/* ---- making and ending ---- */

static void kick_eventfds(struct virtio_mmio *m, bool add)
{
    for (unsigned i = 0; i < m->dev->queue_count; i++) {
        struct io_eventfd e = {
            .addr = m->slot->base + M_QUEUE_NOTIFY,
            .size = 4,
            .match = true,
            .data = i,
            .fd = m->dev->queue[i].kick_fd,
        };
        if (add)
            io_space_eventfd_add(m->slot->mmio, &e);
        else
            io_space_eventfd_del(m->slot->mmio, &e);
    }
}

void virtio_mmio_init(struct virtio_mmio *m, const struct device_ops *ops, struct virtio_dev *dev)
{
    m->device.ops = ops;
    m->dev = dev;
    pthread_mutex_init(&m->isr_lock, NULL);
}

bool virtio_mmio_plug(struct virtio_mmio *m, const struct virtio_place *place, GError **err)
{
    struct virtio_mmio_slot *s = place->slot;
    g_autofree char *path = g_strdup_printf("virtio-mmio/%u", s->index);

    if (s->device)
        return error_set(err, HANOK_ERROR_INVALID, "virtio-mmio-bus.%u has a device already",
                         s->index);
    m->regs = (struct io_region){.ops = &regs_ops,
                                 .name = m->dev->name,
                                 .size_bytes = VIRTIO_MMIO_BYTES,
                                 .lock = &s->devices->lock};
    virtio_dev_attach(m->dev, s->mem, &s->devices->vm_running, place->clock);
    m->slot = s;
    s->device = &m->device;
    irq_connect(&m->irq, s->irqchip, s->gsi);
    device_add(s->devices, &m->device, m->device.ops, place->id, path);
    kick_eventfds(m, true);
    io_space_add(s->mmio, &m->regs, s->base);
    return true;
}

void virtio_mmio_unplug(struct virtio_mmio *m)
{
    struct virtio_mmio_slot *s = m->slot;

    if (!s)
        return;
    io_space_del(s->mmio, &m->regs);
    kick_eventfds(m, false);
    pthread_mutex_lock(&m->isr_lock);
    m->slot = NULL;
    irq_disconnect(&m->irq);
    pthread_mutex_unlock(&m->isr_lock);
    s->device = NULL;
    device_remove(s->devices, &m->device);
}

void virtio_mmio_fini(struct virtio_mmio *m)
{
    pthread_mutex_destroy(&m->isr_lock);
}

void virtio_mmio_reset(struct device *d)
{
    struct virtio_mmio *m = container_of(d, struct virtio_mmio, device);

    virtio_dev_reset(m->dev);
    m->host_feature_select = m->guest_feature_select = m->queue_select = 0;
    isr_change(m, 0, UINT32_MAX);
}

/* ---- state ---- */

static bool post_load(void *obj, uint32_t version, GError **err)
{
    struct virtio_mmio *m = obj;

    if (m->isr & ~(uint32_t)(ISR_QUEUE | ISR_CONFIG))
        return error_set(err, HANOK_ERROR_CORRUPT, "its interrupt has reason 0x%" PRIx32, m->isr);
    isr_change(m, 0, 0);
    return true;
}

static const struct state_field fields[] = {
    STATE_U32(struct virtio_mmio, host_feature_select),
    STATE_U32(struct virtio_mmio, guest_feature_select),
    STATE_U32(struct virtio_mmio, queue_select),
    STATE_U32(struct virtio_mmio, isr),
    STATE_END,
};
const struct state_desc virtio_mmio_state = {
    .name = "virtio-mmio",
    .version = 1,
    .fields = fields,
    .post_load = post_load,
};
