/* e1000.c - the PCI functions: making, resetting, saving. */
#include "e1000_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "frame.h"

#include <glib.h>

enum { REGISTERS_BYTES = 128 * 1024, FLASH_BYTES = 128 * 1024, PORTS_BYTES = 64 };

static const struct e1000_model models[] = {
    {.name = "e1000",
     .id = {.vendor = 0x8086,
            .device = 0x100e,
            .subsys_vendor = 0x1af4,
            .subsys = 0x1100,
            .revision = 3,
            .base_class = 0x02},
     .phy_id2 = 0x0c20,
     .queues = 1},
    {.name = "e1000e",
     .id = {.vendor = 0x8086,
            .device = 0x10d3,
            .subsys_vendor = 0x8086,
            .subsys = 0x0000,
            .base_class = 0x02},
     .phy_id2 = 0x0cb1,
     .queues = E1000_QUEUES,
     .pcie = true},
};

/* ---- reset, state, end ---- */

static void nic_reset(struct device *dev)
{
    struct e1000 *e = container_of(dev, struct e1000, pci.dev);

    pthread_mutex_lock(&e->lock);
    e1000_reset_locked(e, true);
    pthread_mutex_unlock(&e->lock);
    pci_dev_reset(&e->pci);
}

/* MSI-X on or off: the line follows, or the messages do. */
static void nic_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct e1000 *e = e1000_of(d);

    pthread_mutex_lock(&e->lock);
    e1000_irq_update_locked(e);
    pthread_mutex_unlock(&e->lock);
    if (off <= PCI_COMMAND && off + size > PCI_COMMAND)
        timer_set(e->tx_timer, vm_clock_ns(e->clock)); /* DMA may have been allowed */
}

static void nic_free(struct e1000 *e)
{
    timer_free(e->tx_timer);
    timer_free(e->rx_timer);
    timer_free(e->irq_timer);
    for (unsigned i = 0; i < E1000_QUEUES; i++)
        g_free(e->tx[i].data);
    g_free(e->segment);
    g_free(e->stage);
    pthread_mutex_destroy(&e->lock);
    g_free(e);
}

static void nic_destroy(struct device *dev)
{
    struct e1000 *e = container_of(dev, struct e1000, pci.dev);

    if (e->claimed)
        net_release(e->backend);
    pci_dev_unplug(&e->pci);
    if (e->model->pcie)
        msix_fini(&e->pci);
    nic_free(e);
}

static bool nic_post_load(void *obj, uint32_t version, GError **err)
{
    struct e1000 *e = obj;
    bool up = !e->backend || net_link_up(e->backend);

    e->epoch++;
    e->causes_sent = 0;
    memset(e->next_ns, 0, sizeof(e->next_ns));
    e->rx_starved = true; /* look at what the backend has, when the clock runs */
    timer_set(e->rx_timer, 0);
    timer_set(e->tx_timer, 0);
    pthread_mutex_lock(&e->lock);
    if (up != e->link_up) {
        e->link_up = up;
        *e1000_reg(e, ICR) |= INT_LSC;
    }
    e->intx_level = e->pci.intx_level; /* as the line has just been driven */
    e1000_irq_update_locked(e);
    pthread_mutex_unlock(&e->lock);
    return true;
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct e1000, pci, pci_dev_state),
    STATE_UINT_ARRAY(struct e1000, reg),
    STATE_UINT_ARRAY(struct e1000, phy),
    STATE_U32(struct e1000, io_addr),
    STATE_BOOL(struct e1000, link_up),
    STATE_BOOL(struct e1000, bmsr_link_low),
    STATE_U32(struct e1000, ee_bits),
    STATE_U32(struct e1000, ee_in),
    STATE_BOOL(struct e1000, ee_do),
    STATE_STRUCT_ARRAY(struct e1000, tx, e1000_tx_state),
    STATE_END,
};
/* One section name a model: a state of the one is not taken for one of the other. */
static const struct state_desc states[] = {
    {.name = "e1000", .version = 1, .fields = fields, .post_load = nic_post_load},
    {.name = "e1000e", .version = 1, .fields = fields, .post_load = nic_post_load},
};

#define E1000_OPS(i)                                                                               \
    {                                                                                              \
        .dev = {.type = (i) ? "e1000e" : "e1000",                                                  \
                .reset = nic_reset,                                                                \
                .destroy = nic_destroy,                                                            \
                .state = &states[i]},                                                              \
        .config_written = nic_config_written,                                                      \
    }
static const struct pci_dev_ops pci_ops[] = {E1000_OPS(0), E1000_OPS(1)};

/* ---- making ---- */

static void regions_init(struct e1000 *e)
{
    e->mmio = (struct io_region){.ops = &e1000_mmio_ops,
                                 .name = e->model->name,
                                 .size_bytes = REGISTERS_BYTES,
                                 .lock = &e->lock};
    e->io = (struct io_region){.ops = &e1000_io_ops,
                               .name = "e1000-io",
                               .size_bytes = e->model->pcie ? PORTS_BYTES / 2 : PORTS_BYTES,
                               .lock = &e->lock};
    e->flash = (struct io_region){.ops = &e1000_flash_ops,
                                  .name = "e1000-flash",
                                  .size_bytes = FLASH_BYTES,
                                  .lock = &e->lock};
}

/* 82540EM: registers, ports.  82574: registers, flash, ports, MSI-X (DS §9.1.4). */
static bool function_init(struct e1000 *e, const struct e1000_config *cfg, GError **err)
{
    struct pci_dev *d = &e->pci;

    pci_dev_init(d, &pci_ops[cfg->pcie], &e->model->id);
    d->multifunction = cfg->multifunction;
    d->config[PCI_INT_PIN] = 1;
    pci_bar_set(d, 0, PCI_BAR_MEM32, false, &e->mmio);
    if (!cfg->pcie) {
        pci_bar_set(d, 1, PCI_BAR_IO, false, &e->io);
        return true;
    }
    pci_bar_set(d, 1, PCI_BAR_MEM32, false, &e->flash);
    pci_bar_set(d, 2, PCI_BAR_IO, false, &e->io);
    pcie_cap_add(d, cfg->bus->bridge ? PCIE_ENDPOINT : PCIE_RC_INTEGRATED, 0);
    return msix_init(d, 3, E1000_VECTORS, err);
}

static bool set_up(struct e1000 *e, const struct e1000_config *cfg, GError **err)
{
    if (cfg->backend && !(e->claimed = net_claim(cfg->backend, &e1000_peer_ops, e, err)))
        return false;
    if (function_init(e, cfg, err) && pci_dev_plug(&e->pci, cfg->bus, cfg->devfn, cfg->id, err)) {
        pthread_mutex_lock(&e->lock);
        e1000_reset_locked(e, true);
        pthread_mutex_unlock(&e->lock);
        return true;
    }
    if (e->claimed)
        net_release(cfg->backend);
    if (cfg->pcie)
        msix_fini(&e->pci);
    return false;
}

struct pci_dev *e1000_new(const struct e1000_config *cfg, GError **err)
{
    struct e1000 *e = g_new0(struct e1000, 1);

    e->model = &models[cfg->pcie];
    e->clock = cfg->clock;
    e->backend = cfg->backend;
    e->link_up = !cfg->backend || net_link_up(cfg->backend);
    memcpy(e->mac, cfg->mac, sizeof(e->mac));
    pthread_mutex_init(&e->lock, NULL);
    e->segment = g_malloc(E1000_FRAME_MAX + VLAN_TAG + 64);
    e->stage = g_malloc(E1000_RX_MAX + 64);
    for (unsigned i = 0; i < E1000_QUEUES; i++)
        e->tx[i].data = g_malloc0(E1000_FRAME_MAX + VLAN_TAG + 64);
    e->tx_timer = timer_new(evloop_main(), cfg->clock, e1000_tx_run, e);
    e->rx_timer = timer_new(evloop_main(), cfg->clock, e1000_rx_ready, e);
    e->irq_timer = timer_new(evloop_main(), cfg->clock, e1000_irq_timer, e);
    e1000_nvm_init(e);
    regions_init(e);
    if (set_up(e, cfg, err))
        return &e->pci;
    nic_free(e);
    return NULL;
}
