/* virtio_pci_legacy.c - the interface of before virtio 1.0, at ports (§4.1.4.10, and the notes on
 * legacy interfaces of §2 and §4.1).  Board lock held.
 *
 *   0x00 features offered   0x04 taken   0x08 page number of the queue   0x0c its size
 *   0x0e queue selected     0x10 kick    0x12 status                     0x13 ISR
 *   0x14 vectors of configuration and queue, while MSI-X is on; then the device's configuration
 *
 * A queue is one piece: descriptors, available ring, and on the next page the used ring. */
#include "virtio_pci_internal.h"

enum {
    L_HOST_FEATURES = 0x00,
    L_GUEST_FEATURES = 0x04,
    L_QUEUE_PAGE = 0x08,
    L_QUEUE_SIZE = 0x0c,
    L_QUEUE_SELECT = 0x0e,
    L_KICK = 0x10,
    L_STATUS = 0x12,
    L_ISR = 0x13,
    L_CONFIG_VECTOR = 0x14,
    L_QUEUE_VECTOR = 0x16,
    L_CONFIG = 0x14,
    L_CONFIG_MSIX = 0x18,
    PAGE_SHIFT = 12,
    BAR_LEGACY = 0,
};
#define ID_NONE 0xff

/* Ids of transitional devices, from 0x1000 on (§4.1.2), by device type. */
static uint8_t legacy_id(uint16_t type)
{
    static const uint8_t id[] = {[1] = 0, [2] = 1, [3] = 3, [4] = 5, [5] = 2, [8] = 4};

    return type == 1 || (type < ARRAY_SIZE(id) && id[type]) ? id[type] : ID_NONE;
}

static unsigned config_at(const struct virtio_pci *p)
{
    return msix_enabled(&p->pci) ? L_CONFIG_MSIX : L_CONFIG;
}

/* ---- reading ---- */

static void header_image(struct virtio_pci *p, uint8_t *c)
{
    struct virtio_dev *d = p->dev;
    struct virtq *q = virtio_pci_selected(p);

    le32_put(c + L_HOST_FEATURES, (uint32_t)virtio_legacy_features(d));
    le32_put(c + L_GUEST_FEATURES, (uint32_t)d->guest_features);
    le32_put(c + L_QUEUE_PAGE, q && q->enabled ? (uint32_t)(q->desc_gpa.v >> PAGE_SHIFT) : 0);
    le16_put(c + L_QUEUE_SIZE, q ? q->size_max : 0);
    le16_put(c + L_QUEUE_SELECT, p->queue_select);
    c[L_STATUS] = virtio_legacy_status_read(d);
    le16_put(c + L_CONFIG_VECTOR, d->config_vector);
    le16_put(c + L_QUEUE_VECTOR, q ? q->vector : VIRTIO_NO_VECTOR);
}

static uint64_t legacy_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct virtio_pci *p = container_of(r, struct virtio_pci, legacy_bar);
    uint8_t image[L_CONFIG_MSIX + VIRTIO_CONFIG_BYTES_MAX + 4] = {0};
    unsigned config = config_at(p);
    uint64_t val = 0;

    if (off == L_ISR && size == 1)
        return virtio_pci_isr_take(p);
    header_image(p, image);
    if (p->dev->ops->config_len) {
        memset(image + config, 0, sizeof(image) - config);
        p->dev->ops->get_config(p->dev, image + config);
    }
    if (off + size <= config + p->dev->ops->config_len)
        memcpy(&val, image + off, size);
    return val;
}

/* ---- writing ---- */

static void queue_place(struct virtio_pci *p, struct virtq *q, uint32_t page)
{
    uint64_t at = (uint64_t)page << PAGE_SHIFT;

    if (page == 0) {
        virtio_queue_reset(p->dev, q);
        return;
    }
    if (q->enabled || !p->dev->legacy)
        return;
    q->size = q->size_max;
    q->desc_gpa = GPA(at);
    q->avail_gpa = GPA(at + 16ull * q->size);
    q->used_gpa = GPA(ALIGN_UP(q->avail_gpa.v + 2ull * (3 + q->size), 1ull << PAGE_SHIFT));
    q->enabled = true;
    if (virtio_driver_ok(p->dev) && virtq_start(q))
        virtq_self_kick(q);
}

/* Drivers of before Linux 2.6.34 never ask for bus mastering. */
static void let_master(struct virtio_pci *p)
{
    p->pci.config[PCI_COMMAND] |= PCI_CMD_MASTER;
}

static void status_write(struct virtio_pci *p, uint8_t val)
{
    if (val & VIRTIO_STATUS_DRIVER_OK)
        let_master(p);
    virtio_legacy_status_write(p->dev, val);
    if (val == 0)
        virtio_pci_isr_take(p);
}

static void kick(struct virtio_pci *p, unsigned index)
{
    if (index >= p->dev->queue_count)
        return;
    if (!virtio_driver_ok(p->dev)) {
        let_master(p);
        virtio_legacy_early(p->dev);
    }
    virtq_guest_kick(&p->dev->queue[index]);
}

/* Drivers write each byte on its own: a word is told of when its last byte has come. */
static void config_write(struct virtio_pci *p, unsigned at, unsigned size, uint32_t val)
{
    const struct virtio_ops *ops = p->dev->ops;

    if (!ops->set_config || at >= ops->config_len || size > ops->config_len - at)
        return;
    ops->set_config(p->dev, at, size, val);
    if (size != 1 || (at % 4 && at != p->legacy_next)) {
        p->legacy_next = 0;
        return;
    }
    p->legacy_word = p->legacy_word >> 8 | val << 24;
    p->legacy_next = (uint8_t)(at + 1);
    if (at % 4 == 3)
        ops->set_config(p->dev, at - 3, 4, p->legacy_word);
}

static void legacy_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val64)
{
    struct virtio_pci *p = container_of(r, struct virtio_pci, legacy_bar);
    struct virtq *q = virtio_pci_selected(p);
    uint32_t val = (uint32_t)val64;

    if (off >= config_at(p))
        config_write(p, (unsigned)off - config_at(p), size, val);
    else if (off == L_GUEST_FEATURES && size == 4)
        virtio_legacy_features_write(p->dev, val);
    else if (off == L_QUEUE_PAGE && size == 4 && q)
        queue_place(p, q, val);
    else if (off == L_QUEUE_SELECT && size == 2)
        p->queue_select = (uint16_t)val;
    else if (off == L_KICK && size == 2)
        kick(p, val);
    else if (off == L_STATUS && size == 1)
        status_write(p, (uint8_t)val);
    else if (off == L_CONFIG_VECTOR && size == 2)
        p->dev->config_vector = virtio_pci_valid_vector(p, val);
    else if (off == L_QUEUE_VECTOR && size == 2 && q)
        q->vector = virtio_pci_valid_vector(p, val);
}

const struct io_ops virtio_pci_legacy_ops = {
    .read = legacy_read, .write = legacy_write, .min_size = 1, .max_size = 4};

/* ---- making ---- */

bool virtio_pci_legacy_has(uint16_t type)
{
    return legacy_id(type) != ID_NONE;
}

void virtio_pci_legacy_init(struct virtio_pci *p, pthread_mutex_t *lock)
{
    uint16_t type = p->dev->ops->type;
    unsigned bytes = 32;

    while (bytes < L_CONFIG_MSIX + p->dev->ops->config_len)
        bytes *= 2;
    le16_put(p->pci.config + PCI_DEVICE, (uint16_t)(0x1000 + legacy_id(type)));
    le16_put(p->pci.config + PCI_SUBSYS_VENDOR + 2, type);
    p->pci.config[PCI_REVISION] = 0; /* §4.1.2.3 */
    p->legacy_bar = (struct io_region){
        .ops = &virtio_pci_legacy_ops, .name = p->dev->name, .size_bytes = bytes, .lock = lock};
    pci_bar_set(&p->pci, BAR_LEGACY, PCI_BAR_IO, false, &p->legacy_bar);
}
