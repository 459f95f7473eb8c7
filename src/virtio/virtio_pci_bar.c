/* virtio_pci_bar.c - the registers in BAR 4 (virtio 1.2 §4.1.4).  Board lock held. */
#include "virtio_pci_internal.h"

/* Common configuration, §4.1.4.3. */
enum {
    C_HOST_FEATURE_SELECT = 0x00,
    C_HOST_FEATURE = 0x04,
    C_GUEST_FEATURE_SELECT = 0x08,
    C_GUEST_FEATURE = 0x0c,
    C_CONFIG_VECTOR = 0x10,
    C_QUEUE_COUNT = 0x12,
    C_STATUS = 0x14,
    C_GENERATION = 0x15,
    C_QUEUE_SELECT = 0x16,
    C_QUEUE_SIZE = 0x18,
    C_QUEUE_VECTOR = 0x1a,
    C_QUEUE_ENABLE = 0x1c,
    C_QUEUE_NOTIFY_OFF = 0x1e,
    C_QUEUE_DESC = 0x20,
    C_QUEUE_AVAIL = 0x28,
    C_QUEUE_USED = 0x30,
    C_QUEUE_NOTIFY_DATA = 0x38,
    C_QUEUE_RESET = 0x3a,
    COMMON_BYTES = 0x3c,
};

static uint32_t feature_half(uint64_t features, uint32_t select)
{
    return select == 0 ? (uint32_t)features : select == 1 ? (uint32_t)(features >> 32) : 0;
}

/* The structure as it reads now; any access width then works. */
static void common_image(struct virtio_pci *p, uint8_t *c)
{
    struct virtio_dev *d = p->dev;
    struct virtq *q = virtio_pci_selected(p);

    memset(c, 0, COMMON_BYTES);
    le32_put(c + C_HOST_FEATURE_SELECT, p->host_feature_select);
    le32_put(c + C_HOST_FEATURE, feature_half(d->host_features, p->host_feature_select));
    le32_put(c + C_GUEST_FEATURE_SELECT, p->guest_feature_select);
    le32_put(c + C_GUEST_FEATURE, feature_half(d->guest_features, p->guest_feature_select));
    le16_put(c + C_CONFIG_VECTOR, d->config_vector);
    le16_put(c + C_QUEUE_COUNT, (uint16_t)d->queue_count);
    c[C_STATUS] = virtio_status_read(d);
    c[C_GENERATION] = __atomic_load_n(&d->config_generation, __ATOMIC_ACQUIRE);
    le16_put(c + C_QUEUE_SELECT, p->queue_select);
    if (!q)
        return; /* queue_size 0: no such queue */
    le16_put(c + C_QUEUE_SIZE, q->size);
    le16_put(c + C_QUEUE_VECTOR, q->vector);
    le16_put(c + C_QUEUE_ENABLE, q->enabled);
    le16_put(c + C_QUEUE_NOTIFY_OFF, q->index);
    le64_put(c + C_QUEUE_DESC, q->desc_gpa.v);
    le64_put(c + C_QUEUE_AVAIL, q->avail_gpa.v);
    le64_put(c + C_QUEUE_USED, q->used_gpa.v);
    le16_put(c + C_QUEUE_NOTIFY_DATA, q->index);
    le16_put(c + C_QUEUE_RESET, virtio_queue_resetting(d, q) && !q->enabled);
}

static void queue_write(struct virtio_pci *p, struct virtq *q, unsigned off, unsigned size,
                        uint32_t val)
{
    if (off == C_QUEUE_VECTOR && size == 2)
        q->vector = virtio_pci_valid_vector(p, val);
    else if (off == C_QUEUE_ENABLE && size == 2 && val == 1)
        virtio_queue_enable(p->dev, q);
    else if (off == C_QUEUE_RESET && size == 2 && val == 1 &&
             virtio_has(p->dev, VIRTIO_F_RING_RESET))
        virtio_queue_reset(p->dev, q);
    if (q->enabled)
        return; /* the rest is fixed while the queue is on */
    if (off == C_QUEUE_SIZE && size == 2) {
        virtio_queue_resize(q, val);
    } else if (off >= C_QUEUE_DESC && off < C_QUEUE_NOTIFY_DATA && size == 4) {
        gpa_t *area[] = {&q->desc_gpa, &q->avail_gpa, &q->used_gpa};
        gpa_t *a = area[(off - C_QUEUE_DESC) / 8];
        unsigned shift = off % 8 ? 32 : 0;
        a->v = (a->v & ~(0xffffffffull << shift)) | (uint64_t)val << shift;
    }
}

static void common_write(struct virtio_pci *p, unsigned off, unsigned size, uint32_t val)
{
    struct virtq *q = virtio_pci_selected(p);

    if (off == C_HOST_FEATURE_SELECT && size == 4)
        p->host_feature_select = val;
    else if (off == C_GUEST_FEATURE_SELECT && size == 4)
        p->guest_feature_select = val;
    else if (off == C_GUEST_FEATURE && size == 4)
        virtio_features_write(p->dev, p->guest_feature_select, val);
    else if (off == C_CONFIG_VECTOR && size == 2)
        p->dev->config_vector = virtio_pci_valid_vector(p, val);
    else if (off == C_STATUS && size == 1)
        virtio_status_write(p->dev, (uint8_t)val);
    else if (off == C_QUEUE_SELECT && size == 2)
        p->queue_select = (uint16_t)val;
    else if (off >= C_QUEUE_SIZE && q && !p->dev->resetting)
        queue_write(p, q, off, size, val);
    if (off == C_STATUS && val == 0)
        virtio_pci_isr_take(p);
}

static uint64_t take(const uint8_t *image, unsigned len, unsigned off, unsigned size)
{
    uint64_t v = 0;

    if (off < len)
        memcpy(&v, image + off, MIN_OF(size, len - off));
    return v;
}

static uint64_t bar_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct virtio_pci *p = container_of(r, struct virtio_pci, bar);
    uint8_t image[VIRTIO_CONFIG_BYTES_MAX];
    unsigned at = (unsigned)off % VIRTIO_PCI_PART_BYTES;

    switch ((unsigned)off - at) {
    case VIRTIO_PCI_COMMON_OFFSET:
        if (at >= COMMON_BYTES)
            return 0;
        common_image(p, image);
        return take(image, COMMON_BYTES, at, size);
    case VIRTIO_PCI_ISR_OFFSET:
        return at == 0 ? virtio_pci_isr_take(p) : 0;
    case VIRTIO_PCI_DEVICE_OFFSET:
        if (at >= p->dev->ops->config_len)
            return 0;
        memset(image, 0, sizeof(image));
        p->dev->ops->get_config(p->dev, image);
        return take(image, p->dev->ops->config_len, at, size);
    default:
        return 0; /* the notify page */
    }
}

static void bar_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct virtio_pci *p = container_of(r, struct virtio_pci, bar);
    unsigned at = (unsigned)off % VIRTIO_PCI_PART_BYTES;

    switch ((unsigned)off - at) {
    case VIRTIO_PCI_COMMON_OFFSET:
        common_write(p, at, size, (uint32_t)val);
        break;
    case VIRTIO_PCI_DEVICE_OFFSET:
        if (p->dev->ops->set_config && at < p->dev->ops->config_len &&
            size <= p->dev->ops->config_len - at)
            p->dev->ops->set_config(p->dev, at, size, (uint32_t)val);
        break;
    case VIRTIO_PCI_NOTIFY_OFFSET:
        /* Kicks normally end at the ioeventfd; this one came through the config window. */
        if (at / 4 < p->dev->queue_count)
            virtq_guest_kick(&p->dev->queue[at / 4]);
        break;
    default:
        break;
    }
}

const struct io_ops virtio_pci_bar_ops = {
    .read = bar_read, .write = bar_write, .min_size = 1, .max_size = 4};
