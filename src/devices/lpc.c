/* lpc.c - the ICH9 LPC bridge, 8086:2918: PIRQ routing, and where ACPI PM and RCBA lie. */
#include "base/error.h"
#include "base/state.h"
#include "base/util.h"
#include "devices/acpi_pm.h"
#include "devices/chipset.h"

#include <glib.h>

enum {
    PIRQ_GSI_FIRST = 16, /* PIRQA# is IOAPIC pin 16 (ICH9 §5.9.2) */
    PIRQ_OFF = 0x80,
    ISA_VALID = 0xdef8, /* 3-7, 9-12, 14, 15 */
    FIRST_ROUTED_SLOT = 25,
    RCBA_BYTES = 16 * 1024,
    RCBA_ENABLE = 1,
    RCBA_IR_DEFAULT = 0x3210, /* INTA->PIRQA .. INTD->PIRQD */
    GCS_NO_REBOOT = 0x20,
};

/* Offsets of the interrupt route registers in RCRB (ICH9 §10.1), by slot from 25. */
static const uint16_t ir_offset[] = {0x3150, 0x314c, 0x3148, 0x3146, 0x3144, 0x3142, 0x3140};

struct lpc {
    struct pci_dev pci; /* first */
    struct pci_host *host;
    struct acpi_pm *pm;
    struct io_region rcba_region;
    uint16_t ir[ARRAY_SIZE(ir_offset)];
    uint32_t gcs, hptc; /* general control, HPET configuration: stored */
    bool smi_locked;    /* SMI_LOCK, as last taken */
    bool strapped;      /* NO_REBOOT cannot be cleared */
};

unsigned lpc_pirq_default(unsigned slot, unsigned pin)
{
    return slot >= FIRST_ROUTED_SLOT ? pin : 4 + (slot + pin) % 4;
}

static unsigned pirq_of(const struct lpc *l, unsigned slot, unsigned pin)
{
    if (slot < FIRST_ROUTED_SLOT)
        return lpc_pirq_default(slot, pin);
    return (l->ir[slot - FIRST_ROUTED_SLOT] >> (4 * pin)) & 7;
}

static unsigned lpc_route_intx(struct pci_host *h, uint8_t slot, unsigned pin)
{
    return PIRQ_GSI_FIRST + pirq_of(h->route_opaque, slot, pin);
}

static int lpc_route_intx_pic(struct pci_host *h, uint8_t slot, unsigned pin)
{
    const struct lpc *l = h->route_opaque;
    unsigned pirq = pirq_of(l, slot, pin);
    uint8_t rout = l->pci.config[pirq < 4 ? LPC_PIRQA_ROUT + pirq : LPC_PIRQE_ROUT + pirq - 4];

    return !(rout & PIRQ_OFF) && (ISA_VALID >> (rout & 15) & 1) ? rout & 15 : -1;
}

static unsigned sci_gsi(const struct lpc *l)
{
    static const uint8_t gsi[8] = {9, 10, 11, 9, 20, 21, 9, 9}; /* ICH9 §13.1.12 */
    return gsi[l->pci.config[LPC_ACPI_CNTL] & 7];
}

static void pm_update(struct lpc *l)
{
    acpi_pm_map(l->pm, le16_get(l->pci.config + LPC_PMBASE) & 0xff80,
                l->pci.config[LPC_ACPI_CNTL] & LPC_ACPI_ENABLE);
    acpi_pm_set_sci(l->pm, sci_gsi(l));
}

/* ---- RCRB: the registers software looks at, the rest reads as zero ---- */

static uint64_t rcba_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct lpc *l = container_of(r, struct lpc, rcba_region);

    for (unsigned i = 0; i < ARRAY_SIZE(ir_offset); i++)
        if (off == ir_offset[i])
            return l->ir[i];
    return off == 0x3410 ? l->gcs : off == 0x3404 ? l->hptc : 0;
}

static void gcs_set(struct lpc *l, uint32_t val)
{
    l->gcs = val | (l->strapped ? GCS_NO_REBOOT : 0);
    acpi_pm_no_reboot(l->pm, l->gcs & GCS_NO_REBOOT);
}

static void rcba_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct lpc *l = container_of(r, struct lpc, rcba_region);

    for (unsigned i = 0; i < ARRAY_SIZE(ir_offset); i++) {
        if (off == ir_offset[i] && size >= 2) {
            l->ir[i] = (uint16_t)val & 0x7777;
            pci_host_reroute_intx(l->host);
            return;
        }
    }
    if (off == 0x3410)
        gcs_set(l, (uint32_t)val);
    else if (off == 0x3404)
        l->hptc = (uint32_t)val & 0x83;
}

static const struct io_ops rcba_ops = {
    .read = rcba_read, .write = rcba_write, .min_size = 1, .max_size = 4};

static void rcba_update(struct lpc *l)
{
    uint32_t v = le32_get(l->pci.config + LPC_RCBA);
    uint64_t base = ALIGN_DOWN(v, (uint32_t)RCBA_BYTES);
    bool on = (v & RCBA_ENABLE) && base;

    if (l->rcba_region.added && on && l->rcba_region.base == base)
        return;
    io_space_del(l->host->mmio, &l->rcba_region);
    if (on)
        io_space_add(l->host->mmio, &l->rcba_region, base);
}

/* ---- the function ---- */

static bool touches(unsigned off, unsigned size, unsigned reg, unsigned len)
{
    return off < reg + len && reg < off + size;
}

/* Write once (ICH9 §13.8.1.1). */
static void smi_lock_follow(struct lpc *l)
{
    if (l->smi_locked)
        l->pci.config[LPC_GEN_PMCON_1] |= LPC_SMI_LOCK;
    l->smi_locked = l->pci.config[LPC_GEN_PMCON_1] & LPC_SMI_LOCK;
    acpi_pm_smi_lock(l->pm, l->smi_locked);
}

static void lpc_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct lpc *l = container_of(d, struct lpc, pci);

    if (touches(off, size, LPC_PMBASE, LPC_ACPI_CNTL + 1 - LPC_PMBASE))
        pm_update(l);
    if (touches(off, size, LPC_RCBA, 4))
        rcba_update(l);
    if (touches(off, size, LPC_GEN_PMCON_1, 1))
        smi_lock_follow(l);
    if (touches(off, size, LPC_PIRQA_ROUT, 4) || touches(off, size, LPC_PIRQE_ROUT, 4))
        pci_host_reroute_intx(l->host);
}

static void lpc_reset(struct device *dev)
{
    struct lpc *l = container_of(dev, struct lpc, pci.dev);

    for (unsigned i = 0; i < ARRAY_SIZE(l->ir); i++)
        l->ir[i] = RCBA_IR_DEFAULT;
    gcs_set(l, GCS_NO_REBOOT);
    l->hptc = 0;
    pci_dev_reset(&l->pci);
    l->smi_locked = false;
    smi_lock_follow(l);
    pm_update(l);
    rcba_update(l);
    pci_host_reroute_intx(l->host);
}

static void lpc_destroy(struct device *dev)
{
    struct lpc *l = container_of(dev, struct lpc, pci.dev);

    io_space_del(l->host->mmio, &l->rcba_region);
    pci_dev_unplug(&l->pci);
    g_free(l);
}

static bool lpc_post_load(void *obj, uint32_t version, GError **err)
{
    struct lpc *l = obj;

    for (unsigned i = 0; i < ARRAY_SIZE(l->ir); i++)
        if (l->ir[i] & ~0x7777u)
            return error_set(err, HANOK_ERROR_CORRUPT, "an interrupt route register is malformed");
    gcs_set(l, l->gcs);
    l->smi_locked = false;
    smi_lock_follow(l);
    pm_update(l);
    rcba_update(l);
    pci_host_reroute_intx(l->host);
    return true;
}

static const struct state_field lpc_fields[] = {
    STATE_STRUCT(struct lpc, pci, pci_dev_state),
    STATE_UINT_ARRAY(struct lpc, ir),
    STATE_U32(struct lpc, gcs),
    STATE_U32(struct lpc, hptc),
    STATE_END,
};
static const struct state_desc lpc_state = {
    .name = "ich9-lpc", .version = 1, .fields = lpc_fields, .post_load = lpc_post_load};
static const struct pci_dev_ops lpc_ops = {
    .dev = {.type = "ICH9-LPC", .reset = lpc_reset, .destroy = lpc_destroy, .state = &lpc_state},
    .config_written = lpc_config_written,
};

static void lpc_registers_init(struct pci_dev *d)
{
    uint8_t *c = d->config, *w = d->wmask;

    c[LPC_PMBASE] = 1;
    le32_put(w + LPC_PMBASE, 0xff80);
    w[LPC_ACPI_CNTL] = 0x87;
    c[0x48] = 1; /* GPIOBASE: stored, no GPIO block answers */
    le16_put(w + 0x48, 0xff80);
    w[0x4c] = 0x10;
    memset(c + LPC_PIRQA_ROUT, PIRQ_OFF, 4);
    memset(w + LPC_PIRQA_ROUT, 0x8f, 4);
    c[0x64] = 0x10; /* serial IRQ control */
    w[0x64] = 0xf0;
    memset(c + LPC_PIRQE_ROUT, PIRQ_OFF, 4);
    memset(w + LPC_PIRQE_ROUT, 0x8f, 4);
    le32_put(w + 0x80, 0x3f0f1377); /* LPC_IODEC, LPC_EN */
    le16_put(w + LPC_GEN_PMCON_1, 0x1fff);
    w[0xa2] = 0xff;
    w[0xa4] = 0x7f;
    w[0xdc] = 0x1f; /* BIOS_CNTL */
    le32_put(w + LPC_RCBA, 0xffffc001);
}

void lpc_strap_no_reboot(struct pci_dev *d)
{
    struct lpc *l = container_of(d, struct lpc, pci);

    l->strapped = true;
    gcs_set(l, l->gcs);
}

struct pci_dev *lpc_new(struct pci_host *h, struct acpi_pm *pm, GError **err)
{
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x2918,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .revision = 2,
                                     .subclass = 0x01,
                                     .base_class = 0x06};
    struct lpc *l = g_new0(struct lpc, 1);

    l->host = h;
    l->pm = pm;
    gcs_set(l, GCS_NO_REBOOT);
    l->rcba_region = (struct io_region){
        .ops = &rcba_ops, .name = "rcba", .size_bytes = RCBA_BYTES, .lock = &h->devices->lock};
    for (unsigned i = 0; i < ARRAY_SIZE(l->ir); i++)
        l->ir[i] = RCBA_IR_DEFAULT;
    pci_dev_init(&l->pci, &lpc_ops, &id);
    l->pci.multifunction = true;
    lpc_registers_init(&l->pci);
    h->route_intx = lpc_route_intx;
    h->route_intx_pic = lpc_route_intx_pic;
    h->route_opaque = l;
    if (pci_dev_plug(&l->pci, h->root, PCI_DEVFN(0x1f, 0), NULL, err))
        return &l->pci;
    h->route_intx = NULL;
    h->route_intx_pic = NULL;
    g_free(l);
    return NULL;
}
