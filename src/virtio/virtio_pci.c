/* virtio_pci.c - making the PCI function: capabilities, MSI-X, interrupts, kicks, state. */
#include "virtio_pci_internal.h"

#include "base/error.h"
#include "base/state.h"

#include <assert.h>
#include <glib.h>

enum {
    VENDOR = 0x1af4,
    DEVICE_BASE = 0x1040,
    SUBSYS = 0x1100,
    BAR_MSIX = 1,
    BAR_MODERN = 4,
    CAP_COMMON = 1,
    CAP_NOTIFY = 2,
    CAP_ISR = 3,
    CAP_DEVICE = 4,
    CAP_PCI = 5,
    ISR_QUEUE = 1,
    ISR_CONFIG = 2,
    NOTIFY_MULTIPLIER = 4,
};

static struct virtio_pci *pci_of(struct virtio_dev *d)
{
    return &container_of(d, struct virtio_carrier, dev)->pci;
}

/* --- interrupts (any thread) --- */

static void raise_intx(struct virtio_pci *p, uint8_t bits)
{
    pthread_mutex_lock(&p->isr_lock);
    p->isr |= bits;
    pci_intx_set(&p->pci, true);
    pthread_mutex_unlock(&p->isr_lock);
}

uint8_t virtio_pci_isr_take(struct virtio_pci *p)
{
    pthread_mutex_lock(&p->isr_lock);
    uint8_t isr = p->isr;
    p->isr = 0;
    pci_intx_set(&p->pci, false);
    pthread_mutex_unlock(&p->isr_lock);
    return isr;
}

static void queue_irq(struct virtio_dev *d, uint16_t vector)
{
    struct virtio_pci *p = pci_of(d);

    if (!msix_enabled(&p->pci))
        raise_intx(p, ISR_QUEUE);
    else if (vector != VIRTIO_NO_VECTOR)
        msix_notify(&p->pci, vector);
}

static void config_irq(struct virtio_dev *d)
{
    struct virtio_pci *p = pci_of(d);

    if (!msix_enabled(&p->pci))
        raise_intx(p, ISR_CONFIG);
    else if (d->config_vector != VIRTIO_NO_VECTOR)
        msix_notify(&p->pci, d->config_vector);
}

static bool may_dma(struct virtio_dev *d)
{
    struct virtio_pci *p = pci_of(d);

    if (pci_bus_master(&p->pci))
        return true;
    __atomic_fetch_add(&p->pci.dma_denied, 1, __ATOMIC_RELAXED);
    return false;
}

const struct virtio_transport virtio_pci_transport = {
    .queue_irq = queue_irq,
    .config_irq = config_irq,
    .may_dma = may_dma,
};

/* --- kicks --- */

static void kick_eventfds(struct virtio_pci *p, bool add)
{
    struct io_space *mmio = p->pci.bus->host->mmio;

    for (unsigned i = 0; i < p->dev->queue_count; i++) {
        struct io_eventfd e = {
            .addr = p->kicks_at + (uint64_t)i * NOTIFY_MULTIPLIER,
            .fd = p->dev->queue[i].kick_fd,
        };
        if (add)
            io_space_eventfd_add(mmio, &e);
        else
            io_space_eventfd_del(mmio, &e);
    }
}

void virtio_pci_bar_moved(struct pci_dev *d, unsigned bar)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, pci);

    if (bar != BAR_MODERN)
        return;
    if (p->kicks_at != UINT64_MAX)
        kick_eventfds(p, false);
    p->kicks_at = d->bar[bar].mapped_at;
    if (p->kicks_at != UINT64_MAX) {
        p->kicks_at += VIRTIO_PCI_NOTIFY_OFFSET;
        kick_eventfds(p, true);
    }
}

/* --- config space --- */

/* The window of §4.1.4.9: BAR accesses for those who cannot map BARs. */
static bool pci_cfg_window(struct virtio_pci *p, unsigned off, unsigned size, uint32_t *at,
                           uint32_t *len)
{
    const uint8_t *c = p->pci.config + p->pci_cfg_cap;

    if (!p->pci_cfg_cap || off < p->pci_cfg_cap + 16u || off + size > p->pci_cfg_cap + 20u)
        return false;
    *at = le32_get(c + 8);
    *len = le32_get(c + 12);
    return c[4] == BAR_MODERN && (*len == 1 || *len == 2 || *len == 4) && *at % *len == 0 &&
           *at < VIRTIO_PCI_BAR_BYTES && *len <= VIRTIO_PCI_BAR_BYTES - *at;
}

void virtio_pci_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, pci);
    uint32_t at, len;

    if (pci_cfg_window(p, off, size, &at, &len))
        p->bar.ops->write(&p->bar, at, len, le32_get(d->config + p->pci_cfg_cap + 16));
    /* Kicks that came while the function was no bus master were not served. */
    if (off <= PCI_COMMAND && off + size > PCI_COMMAND && pci_bus_master(d) &&
        virtio_driver_ok(p->dev))
        virtio_kick_all(p->dev);
}

uint32_t virtio_pci_config_read(struct pci_dev *d, unsigned off, unsigned size)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, pci);
    uint32_t at, len;

    if (pci_cfg_window(p, off, size, &at, &len))
        le32_put(d->config + p->pci_cfg_cap + 16, (uint32_t)p->bar.ops->read(&p->bar, at, len));
    return pci_config_read_plain(d, off, size);
}

static uint8_t add_cap(struct virtio_pci *p, uint8_t type, uint32_t offset, uint32_t len,
                       uint8_t cap_len)
{
    uint8_t at = pci_cap_add(&p->pci, PCI_CAP_VENDOR, cap_len);
    uint8_t *c = p->pci.config + at;

    c[2] = cap_len;
    c[3] = type;
    c[4] = BAR_MODERN;
    le32_put(c + 8, offset);
    le32_put(c + 12, len);
    return at;
}

static void add_caps(struct virtio_pci *p)
{
    add_cap(p, CAP_COMMON, VIRTIO_PCI_COMMON_OFFSET, VIRTIO_PCI_PART_BYTES, 16);
    add_cap(p, CAP_ISR, VIRTIO_PCI_ISR_OFFSET, VIRTIO_PCI_PART_BYTES, 16);
    if (p->dev->ops->config_len)
        add_cap(p, CAP_DEVICE, VIRTIO_PCI_DEVICE_OFFSET, VIRTIO_PCI_PART_BYTES, 16);
    uint8_t n = add_cap(p, CAP_NOTIFY, VIRTIO_PCI_NOTIFY_OFFSET, VIRTIO_PCI_PART_BYTES, 20);
    le32_put(p->pci.config + n + 16, NOTIFY_MULTIPLIER);
    p->pci_cfg_cap = add_cap(p, CAP_PCI, 0, 0, 20);
    p->pci.config[p->pci_cfg_cap + 4] = 0;
    memset(p->pci.wmask + p->pci_cfg_cap + 4, 0xff, 1);  /* bar */
    memset(p->pci.wmask + p->pci_cfg_cap + 8, 0xff, 12); /* offset, length, data */
}

/* --- making and ending --- */

static struct pci_id make_id(uint16_t type)
{
    struct pci_id id = {.vendor = VENDOR,
                        .device = (uint16_t)(DEVICE_BASE + type),
                        .subsys_vendor = VENDOR,
                        .subsys = SUBSYS,
                        .revision = 1};
    switch (type) {
    case 1:
        id.base_class = 0x02; /* network, Ethernet */
        break;
    case 2:
    case 8:
        id.base_class = 0x01; /* storage, SCSI: what drivers expect of virtio-blk, too */
        break;
    case 3:
        id.base_class = 0x07; /* communication, other */
        id.subclass = 0x80;
        break;
    default:
        id.subclass = 0xff; /* unclassified */
        break;
    }
    return id;
}

void virtio_pci_init(struct virtio_pci *p, const struct pci_dev_ops *ops, struct virtio_dev *dev,
                     uint16_t type, unsigned queues)
{
    struct pci_id id = make_id(type);

    assert(queues * NOTIFY_MULTIPLIER <= VIRTIO_PCI_PART_BYTES);
    pci_dev_init(&p->pci, ops, &id);
    p->dev = dev;
    p->kicks_at = UINT64_MAX;
    pthread_mutex_init(&p->isr_lock, NULL);
}

static void modern_init(struct virtio_pci *p, pthread_mutex_t *lock)
{
    add_caps(p);
    p->bar = (struct io_region){.ops = &virtio_pci_bar_ops,
                                .name = p->dev->name,
                                .size_bytes = VIRTIO_PCI_BAR_BYTES,
                                .lock = lock};
    pci_bar_set(&p->pci, BAR_MODERN, PCI_BAR_MEM64, true, &p->bar);
}

bool virtio_pci_plug(struct virtio_pci *p, const struct virtio_place *cfg, GError **err)
{
    struct pci_host *h = cfg->bus->host;

    p->pci.config[PCI_INT_PIN] = 1;
    p->pci.multifunction = cfg->multifunction;
    if (cfg->bus->bridge)
        pcie_cap_add(&p->pci, PCIE_ENDPOINT, 0);
    if (!cfg->no_msix) {
        p->vectors = cfg->vectors ? cfg->vectors : p->dev->queue_count + 1;
        if (!msix_init(&p->pci, BAR_MSIX, p->vectors, err))
            return false;
    }
    if (cfg->legacy && virtio_pci_legacy_has(p->dev->ops->type))
        virtio_pci_legacy_init(p, &h->devices->lock);
    else if (cfg->no_modern)
        return error_set(
            err, HANOK_ERROR_UNSUPPORTED,
            "without its modern interface it needs the legacy one: disable-legacy=off");
    if (!cfg->no_modern)
        modern_init(p, &h->devices->lock);
    virtio_dev_attach(p->dev, h->mem, &h->devices->vm_running, cfg->clock);
    p->plugged = pci_dev_plug(&p->pci, cfg->bus, cfg->devfn, cfg->id, err);
    return p->plugged;
}

void virtio_pci_unplug(struct virtio_pci *p)
{
    if (p->plugged)
        pci_dev_unplug(&p->pci);
    p->plugged = false;
}

void virtio_pci_fini(struct virtio_pci *p)
{
    msix_fini(&p->pci);
    pthread_mutex_destroy(&p->isr_lock);
}

void virtio_pci_reset(struct device *d)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, pci.dev);

    virtio_dev_reset(p->dev);
    p->host_feature_select = p->guest_feature_select = 0;
    p->queue_select = 0;
    p->legacy_next = 0;
    virtio_pci_isr_take(p);
    pci_dev_reset(&p->pci);
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct virtio_pci, pci, pci_dev_state),
    STATE_U32(struct virtio_pci, host_feature_select),
    STATE_U32(struct virtio_pci, guest_feature_select),
    STATE_U16(struct virtio_pci, queue_select),
    STATE_U8(struct virtio_pci, isr),
    STATE_U32(struct virtio_pci, legacy_word),
    STATE_U8(struct virtio_pci, legacy_next),
    STATE_END,
};
const struct state_desc virtio_pci_state = {
    .name = "virtio-pci",
    .version = 2,
    .min_version = 2,
    .fields = fields,
};
