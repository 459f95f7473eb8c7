/* ahci.c - the controller's registers, resets, interrupt and state. */
#include "ahci_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/util.h"
#include "bus/irq.h"

#include <assert.h>
#include <glib.h>

enum {
    ABAR_BYTES = 4096,
    INDEX_BYTES = 32,
    HBA_CAP = 0x00,
    HBA_GHC = 0x04,
    HBA_IS = 0x08,
    HBA_PI = 0x0c,
    HBA_VS = 0x10,
    PORT_BASE = 0x100,
    VERSION_1_0 = 0x00010000,
    SIG_DISK = 0x00000101,
    SIG_CDROM = 0xeb140101,
    SSTS_UP_GEN1 = 0x113, /* device, 1.5 Gb/s, active */
    TFD_NONE = 0x7f,
};
#define GHC_HR BIT(0)
#define GHC_IE BIT(1)
#define GHC_AE BIT(31)
/* 64-bit, NCQ, activity LED off, 1.5 Gb/s, 32 slots, AHCI only */
#define CAP_VALUE                                                                                  \
    (BIT(31) | BIT(30) | BIT(18) | 1u << 20 | (AHCI_SLOTS - 1u) << 8 | (AHCI_PORTS - 1u))
#define IS_VALID 0xfdc000ffu

static struct ahci *ahci_of(struct pci_dev *d)
{
    return container_of(d, struct ahci, pci);
}

void ahci_irq_update(struct ahci *h)
{
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        if (h->port[i].is & h->port[i].ie)
            h->is |= BIT(i);
    if (!msi_enabled(&h->pci)) {
        h->told = 0;
        pci_intx_set(&h->pci, (h->ghc & GHC_IE) && h->is);
        return;
    }
    /* A message for each bit that has come up, and again for what is set after software cleared it
     * (§10.6.2.2). */
    uint32_t asking = h->ghc & GHC_IE ? h->is : 0, news = asking & ~h->told;
    h->told = asking;
    pci_intx_set(&h->pci, false);
    if (news)
        msi_notify(&h->pci);
}

void ahci_port_raise(struct ahci_port *p, uint32_t is_bits)
{
    p->is |= is_bits;
    ahci_irq_update(p->hba);
}

/* ---- resets ---- */

static void port_forget(struct ahci_port *p)
{
    p->generation++;
    p->ci = p->sact = p->taken = 0;
    p->failed = false;
}

static void port_link_up(struct ahci_port *p)
{
    if (!p->drive.present) {
        p->ssts = 0;
        p->sig = UINT32_MAX;
        p->tfd = TFD_NONE;
        return;
    }
    p->ssts = SSTS_UP_GEN1;
    p->sig = p->drive.cdrom ? SIG_CDROM : SIG_DISK;
    p->tfd = 0x0100 | (p->drive.cdrom ? 0 : ATA_DRDY | ATA_DSC);
}

static void port_reset(struct ahci_port *p)
{
    port_forget(p);
    p->clb = p->clbu = p->fb = p->fbu = p->is = p->ie = p->sctl = p->serr = 0;
    p->cmd = CMD_SUD | CMD_POD;
    p->soft_reset = false;
    if (p->drive.present)
        ata_drive_reset(&p->drive);
    port_link_up(p);
}

static void hba_reset(struct ahci *h)
{
    h->ghc = GHC_AE;
    h->is = h->index = 0;
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        port_reset(&h->port[i]);
    ahci_irq_update(h);
}

/* ---- port registers ---- */

static uint32_t port_read(struct ahci_port *p, unsigned reg)
{
    switch (reg) {
    case PX_CLB:
        return p->clb;
    case PX_CLBU:
        return p->clbu;
    case PX_FB:
        return p->fb;
    case PX_FBU:
        return p->fbu;
    case PX_IS:
        return p->is;
    case PX_IE:
        return p->ie;
    case PX_CMD:
        return p->cmd;
    case PX_TFD:
        return p->tfd;
    case PX_SIG:
        return p->sig;
    case PX_SSTS:
        return p->ssts;
    case PX_SCTL:
        return p->sctl;
    case PX_SERR:
        return p->serr;
    case PX_SACT:
        return p->sact;
    case PX_CI:
        return p->ci;
    }
    return 0;
}

static void port_kick(struct ahci_port *p)
{
    if ((p->cmd & CMD_ST) && p->ci && p->drive.present)
        timer_set(p->kick, vm_clock_ns(p->hba->clock));
}

static void cmd_write(struct ahci_port *p, uint32_t val)
{
    const uint32_t writable = CMD_ST | CMD_SUD | CMD_POD | CMD_FRE | 0xf7000000u;
    bool was_started = p->cmd & CMD_ST, fre = p->cmd & CMD_FRE;

    p->cmd = (p->cmd & ~writable) | (val & writable);
    p->cmd = (p->cmd & ~CMD_FR) | (p->cmd & CMD_FRE ? CMD_FR : 0);
    p->cmd = (p->cmd & ~CMD_CR) | (p->cmd & CMD_ST ? CMD_CR : 0);
    if (val & CMD_CLO)
        p->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
    if (was_started && !(p->cmd & CMD_ST))
        port_forget(p);
    if (!fre && (p->cmd & CMD_FRE) && p->drive.present)
        ahci_port_signature(p);
}

/* DET: 1 holds the link in reset, 0 after it brings it up; 4 switches it off (§3.3.11). */
static void sctl_write(struct ahci_port *p, uint32_t val)
{
    unsigned was = p->sctl & 15, now = val & 15;

    p->sctl = val & 0xfff;
    if (now == 1 || now == 4) {
        port_forget(p);
        p->ssts = now == 4 ? 4 : 0;
        p->tfd = TFD_NONE;
    } else if (was == 1 || was == 4) {
        if (p->drive.present)
            ata_drive_reset(&p->drive);
        port_link_up(p);
        if (p->drive.present) {
            p->serr |= BIT(26); /* exchanged */
            ahci_port_signature(p);
            ahci_port_raise(p, IS_PC);
        }
    }
}

static void port_write(struct ahci_port *p, unsigned reg, uint32_t val)
{
    switch (reg) {
    case PX_CLB:
        p->clb = val & ~0x3ffu;
        break;
    case PX_CLBU:
        p->clbu = val;
        break;
    case PX_FB:
        p->fb = val & ~0xffu;
        break;
    case PX_FBU:
        p->fbu = val;
        break;
    case PX_IS:
        p->is &= ~val;
        break;
    case PX_IE:
        p->ie = val & IS_VALID;
        break;
    case PX_CMD:
        cmd_write(p, val);
        break;
    case PX_SCTL:
        sctl_write(p, val);
        break;
    case PX_SERR:
        p->serr &= ~val;
        break;
    case PX_SACT:
        if (p->cmd & CMD_ST)
            p->sact |= val;
        break;
    case PX_CI:
        if (p->cmd & CMD_ST)
            p->ci |= val;
        break;
    }
    port_kick(p);
    ahci_irq_update(p->hba);
}

/* ---- the controller ---- */

static uint32_t hba_read(struct ahci *h, unsigned off)
{
    if (off >= PORT_BASE && off < PORT_BASE + AHCI_PORTS * PX_BYTES)
        return port_read(&h->port[(off - PORT_BASE) / PX_BYTES], (off - PORT_BASE) % PX_BYTES);
    switch (off) {
    case HBA_CAP:
        return CAP_VALUE;
    case HBA_GHC:
        return h->ghc;
    case HBA_IS:
        return h->is;
    case HBA_PI:
        return BIT(AHCI_PORTS) - 1;
    case HBA_VS:
        return VERSION_1_0;
    }
    return 0;
}

static void hba_write(struct ahci *h, unsigned off, uint32_t val)
{
    if (off >= PORT_BASE && off < PORT_BASE + AHCI_PORTS * PX_BYTES) {
        port_write(&h->port[(off - PORT_BASE) / PX_BYTES], (off - PORT_BASE) % PX_BYTES, val);
        return;
    }
    if (off == HBA_GHC && (val & GHC_HR)) {
        hba_reset(h);
    } else if (off == HBA_GHC) {
        h->ghc = GHC_AE | (val & GHC_IE);
        ahci_irq_update(h);
    } else if (off == HBA_IS) {
        h->is &= ~val;
        h->told &= ~val;
        ahci_irq_update(h);
    }
}

/* Registers are dwords; narrower reads see their part, narrower writes are not defined. */
static uint64_t mmio_read(struct io_region *r, uint64_t off, unsigned size)
{
    return hba_read(container_of(r, struct ahci, mmio), (unsigned)off);
}

static void mmio_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    hba_write(container_of(r, struct ahci, mmio), (unsigned)off, (uint32_t)val);
}

static const struct io_ops mmio_ops = {mmio_read, mmio_write, 4, 4};

/* The index-data pair in I/O space (§8), at offsets 0x10 and 0x14 of ICH9's BAR. */
static uint64_t index_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct ahci *h = container_of(r, struct ahci, index_data);

    return off == 0x10 ? h->index : off == 0x14 ? hba_read(h, h->index) : 0;
}

static void index_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct ahci *h = container_of(r, struct ahci, index_data);

    if (off == 0x10)
        h->index = (uint32_t)val & (ABAR_BYTES - 4);
    else if (off == 0x14)
        hba_write(h, h->index, (uint32_t)val);
}

static const struct io_ops index_ops = {index_read, index_write, 4, 4};

/* ---- device ---- */

static void ahci_reset(struct device *dev)
{
    struct ahci *h = container_of(dev, struct ahci, pci.dev);

    pci_dev_reset(&h->pci);
    hba_reset(h);
}

static void ahci_drain(struct device *dev)
{
    struct ahci *h = container_of(dev, struct ahci, pci.dev);

    for (unsigned i = 0; i < AHCI_PORTS; i++)
        if (h->port[i].drive.node)
            blk_drain(h->port[i].drive.node);
}

static void port_destroy(struct ahci_port *p)
{
    timer_free(p->kick);
    for (unsigned i = 0; p->slot && i < AHCI_SLOTS; i++)
        g_free(p->slot[i].bounce);
    g_free(p->slot);
    ata_drive_fini(&p->drive);
}

static void ahci_destroy(struct device *dev)
{
    struct ahci *h = container_of(dev, struct ahci, pci.dev);

    ahci_drain(dev);
    pci_dev_unplug(&h->pci);
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        port_destroy(&h->port[i]);
    g_free(h);
}

static bool port_post_load(void *obj, uint32_t version, GError **err)
{
    struct ahci_port *p = obj;

    p->clb &= ~0x3ffu;
    p->fb &= ~0xffu;
    p->generation++;
    p->taken = 0; /* what was saved was drained: commands still in PxCI start again */
    return true;
}

static bool ahci_post_load(void *obj, uint32_t version, GError **err)
{
    struct ahci *h = obj;

    h->index &= ABAR_BYTES - 4;
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        port_kick(&h->port[i]);
    ahci_irq_update(h);
    return true;
}

#define PORT_U32(f) STATE_U32(struct ahci_port, f)
static const struct state_field port_fields[] = {
    STATE_STRUCT(struct ahci_port, drive, ata_drive_state),
    PORT_U32(clb),
    PORT_U32(clbu),
    PORT_U32(fb),
    PORT_U32(fbu),
    PORT_U32(is),
    PORT_U32(ie),
    PORT_U32(cmd),
    PORT_U32(tfd),
    PORT_U32(sig),
    PORT_U32(ssts),
    PORT_U32(sctl),
    PORT_U32(serr),
    PORT_U32(sact),
    PORT_U32(ci),
    STATE_BOOL(struct ahci_port, failed),
    STATE_BOOL(struct ahci_port, soft_reset),
    STATE_END,
};
static const struct state_desc port_state = {
    .name = "ahci-port", .version = 1, .fields = port_fields, .post_load = port_post_load};
static const struct state_field ahci_fields[] = {
    STATE_STRUCT(struct ahci, pci, pci_dev_state),
    STATE_U32(struct ahci, ghc),
    STATE_U32(struct ahci, is),
    STATE_U32(struct ahci, index),
    STATE_STRUCT_ARRAY(struct ahci, port, port_state),
    STATE_END,
};
static const struct state_desc ahci_state = {
    .name = "ich9-ahci", .version = 1, .fields = ahci_fields, .post_load = ahci_post_load};
static void ahci_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    ahci_irq_update(ahci_of(d)); /* MSI may be on or off now */
}

static const struct pci_dev_ops ahci_ops = {
    .dev = {.type = "ich9-ahci",
            .reset = ahci_reset,
            .drain = ahci_drain,
            .destroy = ahci_destroy,
            .state = &ahci_state},
    .config_written = ahci_config_written,
};

struct pci_dev *ahci_new(struct pci_bus *bus, uint8_t devfn, bool multifunction, const char *id,
                         struct vm_clock *clock, GError **err)
{
    static const struct pci_id ids = {.vendor = 0x8086,
                                      .device = 0x2922,
                                      .subsys_vendor = 0x1af4,
                                      .subsys = 0x1100,
                                      .revision = 2,
                                      .prog_if = 1,
                                      .subclass = 0x06,
                                      .base_class = 0x01};
    struct ahci *h = g_new0(struct ahci, 1);
    pthread_mutex_t *lock = &bus->host->devices->lock;

    h->clock = clock;
    h->mmio = (struct io_region){
        .ops = &mmio_ops, .name = "ahci", .size_bytes = ABAR_BYTES, .lock = lock};
    h->index_data = (struct io_region){
        .ops = &index_ops, .name = "ahci-index", .size_bytes = INDEX_BYTES, .lock = lock};
    pci_dev_init(&h->pci, &ahci_ops, &ids);
    h->pci.multifunction = multifunction;
    h->pci.config[PCI_INT_PIN] = 1;
    msi_init(&h->pci);
    pci_bar_set(&h->pci, 4, PCI_BAR_IO, false, &h->index_data);
    pci_bar_set(&h->pci, 5, PCI_BAR_MEM32, false, &h->mmio);
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        h->port[i].hba = h;
        h->port[i].index = i;
        h->port[i].kick = timer_new(evloop_main(), clock, ahci_port_run, &h->port[i]);
    }
    if (pci_dev_plug(&h->pci, bus, devfn, id, err)) {
        hba_reset(h);
        return &h->pci;
    }
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        port_destroy(&h->port[i]);
    g_free(h);
    return NULL;
}

bool ahci_is(const struct pci_dev *d)
{
    return d->ops == &ahci_ops;
}

bool ahci_port_taken(const struct pci_dev *d, unsigned port)
{
    return container_of(d, const struct ahci, pci)->port[port].drive.present;
}

bool ahci_attach(struct pci_dev *d, unsigned port, const struct ata_drive_config *cfg, GError **err)
{
    struct ahci_port *p = &ahci_of(d)->port[port];

    assert(port < AHCI_PORTS && !p->drive.present);
    if (!ata_drive_init(&p->drive, cfg, err)) {
        ata_drive_fini(&p->drive);
        return false;
    }
    p->slot = g_new0(struct ahci_slot, AHCI_SLOTS);
    for (unsigned i = 0; i < AHCI_SLOTS; i++)
        p->slot[i].port = p;
    port_reset(p);
    return true;
}

struct ata_drive *ahci_drive(struct pci_dev *d, unsigned port)
{
    return &ahci_of(d)->port[port].drive;
}
