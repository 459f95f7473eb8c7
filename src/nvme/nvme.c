/* nvme.c - making, resetting and ending the controller. */
#include "nvme_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

#include <glib.h>

enum {
    BAR_REGS = 0,
    BAR_MSIX = 4,
    REGS_BYTES = 8192,
    QUEUE_PAIRS = 64,
    VECTORS = 65,
};

static struct nvme *nvme_of(struct device *d)
{
    return container_of(d, struct nvme, pci.dev);
}

static void size_read(struct nvme *n)
{
    struct blk_limits l;

    blk_limits(n->cfg.node, &l);
    n->blocks = l.size_bytes / n->block_bytes;
}

static void nvme_reset(struct device *dev)
{
    struct nvme *n = nvme_of(dev);

    pthread_mutex_lock(&n->lock);
    n->cc = n->aqa = 0;
    n->asq = n->acq = 0;
    nvme_reset_begin(n);
    pthread_mutex_unlock(&n->lock);
    pci_dev_reset(&n->pci);
}

static void nvme_drain(struct device *dev)
{
    blk_drain(nvme_of(dev)->cfg.node);
}

static void nvme_destroy(struct device *dev)
{
    struct nvme *n = nvme_of(dev);

    if (n->claimed)
        nvme_drain(dev);
    if (n->plugged)
        pci_dev_unplug(&n->pci);
    msix_fini(&n->pci);
    timer_free(n->kick);
    if (n->claimed) {
        blk_on_batch(n->cfg.node, NULL, NULL);
        blk_release(n->cfg.node);
    }
    blk_errors_fini(&n->errors);
    pthread_mutex_destroy(&n->lock);
    g_free(n->sq);
    g_free(n->cq);
    g_free(n->reqs);
    g_free(n);
}

/* Bus mastering may have come on, MSI-X may have taken the pin's place. */
static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct nvme *n = container_of(d, struct nvme, pci);

    pthread_mutex_lock(&n->lock);
    nvme_irq_update(n);
    nvme_kick(n);
    pthread_mutex_unlock(&n->lock);
}

static const struct pci_dev_ops nvme_ops = {
    .dev = {.type = "nvme",
            .reset = nvme_reset,
            .drain = nvme_drain,
            .destroy = nvme_destroy,
            .state = &nvme_state},
    .config_written = config_written,
};

/* ---- making ---- */

static void told(void *opaque, bool is_write, int errnum, enum blk_error_action action)
{
    struct nvme *n = opaque;

    n->cfg.on_error(n->cfg.on_error_opaque, &n->pci, is_write, errnum, action);
}

static bool config_check(const struct nvme_config *c, GError **err)
{
    size_t len = c->serial ? strlen(c->serial) : 0;

    if (len == 0)
        return error_set(err, HANOK_ERROR_INVALID, "it needs serial=");
    if (len > NVME_SERIAL_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "serial= has at most %u bytes", NVME_SERIAL_MAX);
    if (c->queue_pairs > NVME_QUEUE_PAIRS_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "max_ioqpairs= is at most %u",
                         NVME_QUEUE_PAIRS_MAX);
    if (c->vectors > NVME_VECTORS_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "msix_qsize= is at most %u", NVME_VECTORS_MAX);
    if (c->mdts > NVME_MDTS_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "mdts= is at most %d (512 KiB)", NVME_MDTS_MAX);
    return true;
}

static bool blocks_check(struct nvme *n, GError **err)
{
    struct blk_limits l;
    uint32_t lo, ph;

    blk_limits(n->cfg.node, &l);
    n->read_only = l.read_only;
    lo = n->cfg.logical_block_bytes ? n->cfg.logical_block_bytes : l.logical_block_bytes;
    ph = n->cfg.physical_block_bytes ? n->cfg.physical_block_bytes : l.physical_block_bytes;
    ph = MAX_OF(ph, lo);
    if (lo < 512 || lo > 4096 || (lo & (lo - 1)) || (ph & (ph - 1)) || ph / lo > 65536)
        return error_set(err, HANOK_ERROR_INVALID,
                         "logical_block_size must be 512, 1024, 2048 or 4096, and "
                         "physical_block_size a power of two not below it");
    if (lo < l.logical_block_bytes)
        return error_set(err, HANOK_ERROR_INVALID,
                         "this disk's blocks have %u bytes: logical_block_size cannot be less",
                         l.logical_block_bytes);
    n->block_bytes = lo;
    n->physical_bytes = ph;
    return true;
}

static bool claim(struct nvme *n, GError **err)
{
    g_autofree char *user = g_strdup_printf("nvme device '%s'", n->cfg.id ? n->cfg.id : "(no id)");

    n->claimed = blk_claim_shared(n->cfg.node, user, n->cfg.share_rw, err);
    if (!n->claimed)
        return false;
    blk_attach(n->cfg.node, evloop_main());
    blk_on_batch(n->cfg.node, nvme_batch_end, n);
    return true;
}

static bool plug(struct nvme *n, GError **err)
{
    if (!msix_init(&n->pci, BAR_MSIX, n->cfg.vectors, err))
        return false;
    n->pci.config[PCI_INT_PIN] = 1;
    n->pci.multifunction = n->cfg.multifunction;
    if (n->cfg.bus->bridge)
        pcie_cap_add(&n->pci, PCIE_ENDPOINT, 0);
    n->regs = (struct io_region){.ops = &nvme_reg_ops, .name = "nvme", .size_bytes = REGS_BYTES};
    pci_bar_set(&n->pci, BAR_REGS, PCI_BAR_MEM64, false, &n->regs);
    n->plugged = pci_dev_plug(&n->pci, n->cfg.bus, n->cfg.devfn, n->cfg.id, err);
    return n->plugged;
}

static void memory_make(struct nvme *n)
{
    n->sq = g_new0(struct nvme_sq, n->queues);
    n->cq = g_new0(struct nvme_cq, n->queues);
    n->reqs = g_new0(struct nvme_req, NVME_REQS);
    n->free_count = NVME_REQS;
}

struct pci_dev *nvme_new(const struct nvme_config *cfg, GError **err)
{
    struct pci_id ids = {.vendor = (uint16_t)(cfg->intel_id ? 0x8086 : 0x1b36),
                         .device = (uint16_t)(cfg->intel_id ? 0x5845 : 0x0010),
                         .subsys_vendor = 0x1af4,
                         .subsys = 0x1100,
                         .revision = 2,
                         .prog_if = 2,
                         .subclass = 0x08,
                         .base_class = 0x01};
    struct nvme *n;

    if (!config_check(cfg, err))
        return NULL;
    n = g_new0(struct nvme, 1);
    n->cfg = *cfg;
    n->cfg.queue_pairs = cfg->queue_pairs ? cfg->queue_pairs : QUEUE_PAIRS;
    n->cfg.vectors = cfg->vectors ? cfg->vectors : VECTORS;
    n->cfg.mdts = cfg->mdts ? cfg->mdts : NVME_MDTS_MAX;
    n->queues = n->cfg.queue_pairs + 1;
    g_strlcpy(n->serial, cfg->serial, sizeof(n->serial));
    pthread_mutex_init(&n->lock, NULL);
    n->mem = cfg->bus->host->mem;
    n->kick = timer_new(evloop_main(), cfg->clock, nvme_service, n);
    n->errors = (struct blk_errors){.rerror = cfg->rerror,
                                    .werror = cfg->werror,
                                    .told = cfg->on_error ? told : NULL,
                                    .settle = nvme_settle,
                                    .opaque = n};
    blk_errors_init(&n->errors);
    memory_make(n);
    pci_dev_init(&n->pci, &nvme_ops, &ids);
    if (!blocks_check(n, err) || !claim(n, err) || !plug(n, err)) {
        nvme_destroy(&n->pci.dev);
        return NULL;
    }
    size_read(n);
    nvme_features_reset(n);
    n->cfg.id = n->cfg.serial = NULL; /* the caller's strings */
    return &n->pci;
}

struct blk_node *nvme_node(struct device *d)
{
    return d->ops == &nvme_ops.dev ? container_of(d, struct nvme, pci.dev)->cfg.node : NULL;
}

void nvme_resized(struct device *d)
{
    struct nvme *n;

    if (d->ops != &nvme_ops.dev)
        return;
    n = container_of(d, struct nvme, pci.dev);
    pthread_mutex_lock(&n->lock);
    size_read(n);
    n->resized = true;
    if (n->feature[NVME_F_EVENTS] & BIT(8))
        nvme_event(n, 2, 0, 4); /* notice, namespace attributes, changed namespaces' log */
    pthread_mutex_unlock(&n->lock);
}
