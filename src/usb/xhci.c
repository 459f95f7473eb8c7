/* xhci.c - the controller's registers, its work in the main thread, state (xHCI 1.1 §5). */
#include "xhci_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/state.h"

#include <assert.h>

enum {
    CAPS_BYTES = 0x40,
    PORTS_AT = 0x400, /* in the operational registers */
    RUNTIME_AT = 0x1000,
    INTERRUPTERS_AT = 0x20,
    DOORBELLS_AT = 0x2000,
    BAR_BYTES = 0x4000,
    VERSION_1_0 = 0x0100,
    PROTOCOLS_AT = 0x20, /* extended capabilities, in the capability registers */
    MICROFRAME_NS = 125000,
    MFINDEX_MASK = 0x3fff,
    RELEASE_AT = 0x60, /* in config space, §5.2.3 */
    CAPABILITIES_AT = 0x70,
    BUDGET_BYTES = 1 << 20, /* moved before others get the board lock */
};

struct guest_mem *xhci_memory(struct xhci *x)
{
    return x->pci.bus->host->mem;
}

bool xhci_running(const struct xhci *x)
{
    return !(x->usbsts & (STS_HALTED | STS_HSE | STS_HCE));
}

void xhci_kick(struct xhci *x)
{
    timer_set(x->kick, vm_clock_ns(x->clock));
}

void xhci_die(struct xhci *x, const char *why)
{
    log_guest("xHCI: %s: the controller stops", why);
    x->usbsts |= STS_HCE | STS_HALTED;
    x->usbcmd &= ~CMD_RUN;
}

/* ---- the work ---- */

static void xhci_run(void *opaque)
{
    struct xhci *x = opaque;
    pthread_mutex_t *lock = &x->pci.dev.list->lock;
    uint32_t budget = BUDGET_BYTES;
    bool more;

    pthread_mutex_lock(lock);
    if (!xhci_running(x) || !pci_bus_master(&x->pci)) {
        pthread_mutex_unlock(lock);
        return;
    }
    xhci_port_events(x);
    more = xhci_commands_run(x);
    for (unsigned n = 1; n <= XHCI_SLOTS && xhci_running(x); n++)
        if (x->slot[n - 1].enabled && x->slot[n - 1].kicked)
            more |= xhci_slot_run(x, n, &budget);
    if (more)
        xhci_kick(x);
    pthread_mutex_unlock(lock);
}

static void kick_all(struct xhci *x)
{
    for (unsigned i = 0; i < XHCI_SLOTS; i++)
        if (x->slot[i].enabled)
            x->slot[i].kicked = UINT32_MAX;
    xhci_kick(x);
}

/* ---- resets ---- */

static void controller_reset(struct xhci *x)
{
    x->usbcmd = x->dnctrl = x->config = x->command_high = 0;
    x->usbsts = STS_HALTED;
    x->crcr_pointer = x->dcbaap = 0;
    x->mfindex_start_ns = vm_clock_ns(x->clock);
    x->command_running = x->command_stopped = false;
    x->command = (struct xhci_ring){0};
    for (unsigned i = 0; i < XHCI_SLOTS; i++)
        xhci_slot_free(x, i);
    memset(x->intr, 0, sizeof(x->intr));
    for (unsigned i = 0; i < XHCI_INTRS; i++)
        x->intr[i].imod = 4000; /* 1 ms, §5.5.2.2; interrupts are not held back for it */
    xhci_ports_reset(x);
    xhci_irq_update(x);
}

/* ---- capability registers, §5.3 and §7.2 ---- */

static uint32_t protocol_read(const struct xhci *x, unsigned off)
{
    bool third = off >= 0x10;
    unsigned first = third ? 1 : x->p3 + 1, count = third ? x->p3 : x->p2;

    switch (off & 15) {
    case 0: /* supported protocol; the second is the last */
        return (third ? 0x03000002u : 0x02000402u);
    case 4:
        return 0x20425355; /* "USB " */
    case 8:
        return first | count << 8;
    }
    return 0;
}

static uint32_t caps_read(const struct xhci *x, unsigned off)
{
    switch (off) {
    case 0x00:
        return VERSION_1_0 << 16 | CAPS_BYTES;
    case 0x04: /* slots, interrupters, ports */
        return XHCI_SLOTS | XHCI_INTRS << 8 | x->ports << 24;
    case 0x08: /* event ring segments; scheduling threshold */
        return XHCI_SEGMENTS_LOG2 << 4 | 0xf;
    case 0x10: /* 64-bit addresses; where protocols are described */
        return PROTOCOLS_AT / 4 << 16 | 1;
    case 0x14:
        return DOORBELLS_AT;
    case 0x18:
        return RUNTIME_AT;
    }
    return off >= PROTOCOLS_AT && off < PROTOCOLS_AT + 0x20 ? protocol_read(x, off - PROTOCOLS_AT)
                                                            : 0;
}

/* ---- operational registers, §5.4 ---- */

static uint32_t operational_read(const struct xhci *x, unsigned off)
{
    if (off >= PORTS_AT)
        return (off - PORTS_AT) / 16 < x->ports && off % 16 == 0
                   ? x->port[(off - PORTS_AT) / 16].portsc
                   : 0;
    switch (off) {
    case 0x00:
        return x->usbcmd;
    case 0x04:
        return x->usbsts;
    case 0x08:
        return 1; /* pages of 4 KiB */
    case 0x14:
        return x->dnctrl;
    case 0x18:
        return x->command_running ? CRCR_RUNNING : 0; /* the rest reads as zero */
    case 0x30:
        return (uint32_t)x->dcbaap;
    case 0x34:
        return (uint32_t)(x->dcbaap >> 32);
    case 0x38:
        return x->config;
    }
    return 0;
}

static void usbcmd_write(struct xhci *x, uint32_t val)
{
    bool was = x->usbcmd & CMD_RUN;

    if (val & CMD_RESET) {
        controller_reset(x);
        return;
    }
    x->usbcmd = val & 0xc0f;
    if (was && !(val & CMD_RUN)) {
        x->usbsts |= STS_HALTED;
        x->command_running = false;
    } else if (!was && (val & CMD_RUN) && !(x->usbsts & (STS_HSE | STS_HCE))) {
        x->usbsts &= ~STS_HALTED;
        x->mfindex_start_ns = vm_clock_ns(x->clock);
        kick_all(x);
    }
    xhci_irq_update(x);
}

static void set_low(uint64_t *v, uint32_t val)
{
    *v = (*v & ~UINT64_C(0xffffffff)) | val;
}

static void set_high(uint64_t *v, uint32_t val)
{
    *v = (*v & 0xffffffff) | (uint64_t)val << 32;
}

/* The pointer is taken while the ring stands still (§5.4.5). */
static void crcr_low_write(struct xhci *x, uint32_t val)
{
    if (x->command_running) {
        if (val & (CRCR_STOP | CRCR_ABORT)) {
            x->command_stopped = true;
            xhci_kick(x);
        }
        return;
    }
    set_low(&x->crcr_pointer, val & ~0x3fu);
    x->command = (struct xhci_ring){x->crcr_pointer, val & CRCR_RCS};
}

static void operational_write(struct xhci *x, unsigned off, uint32_t val)
{
    if (off >= PORTS_AT) {
        if ((off - PORTS_AT) / 16 < x->ports && off % 16 == 0)
            xhci_port_write(x, (off - PORTS_AT) / 16, val);
        return;
    }
    switch (off) {
    case 0x00:
        usbcmd_write(x, val);
        break;
    case 0x04:
        x->usbsts &= ~(val & (STS_HSE | STS_EINT | STS_PCD));
        break;
    case 0x14:
        x->dnctrl = val & 0xffff;
        break;
    case 0x18:
        crcr_low_write(x, val);
        break;
    case 0x1c:
        if (!x->command_running) {
            set_high(&x->crcr_pointer, val);
            x->command.dequeue = x->crcr_pointer;
        }
        break;
    case 0x30:
        set_low(&x->dcbaap, val & ~0x3fu);
        break;
    case 0x34:
        set_high(&x->dcbaap, val);
        break;
    case 0x38:
        x->config = val & 0x3ff;
        break;
    }
}

/* ---- runtime registers, §5.5 ---- */

static uint32_t runtime_read(struct xhci *x, unsigned off)
{
    const struct xhci_intr *i;

    if (off == 0)
        return xhci_running(x)
                   ? (vm_clock_ns(x->clock) - x->mfindex_start_ns) / MICROFRAME_NS & MFINDEX_MASK
                   : 0;
    if (off < INTERRUPTERS_AT || (off - INTERRUPTERS_AT) / 32 >= XHCI_INTRS)
        return 0;
    i = &x->intr[(off - INTERRUPTERS_AT) / 32];
    switch (off % 32) {
    case 0x00:
        return i->iman;
    case 0x04:
        return i->imod;
    case 0x08:
        return i->erstsz;
    case 0x10:
        return (uint32_t)i->erstba;
    case 0x14:
        return (uint32_t)(i->erstba >> 32);
    case 0x18:
        return (uint32_t)i->erdp;
    case 0x1c:
        return (uint32_t)(i->erdp >> 32);
    }
    return 0;
}

static void erdp_low_write(struct xhci *x, unsigned n, uint32_t val)
{
    struct xhci_intr *i = &x->intr[n];
    uint32_t busy = (uint32_t)i->erdp & ERDP_BUSY & ~val;

    set_low(&i->erdp, (val & ~ERDP_BUSY) | busy);
    xhci_erdp_written(x, n);
}

static void runtime_write(struct xhci *x, unsigned off, uint32_t val)
{
    unsigned n = (off - INTERRUPTERS_AT) / 32;
    struct xhci_intr *i;

    if (off < INTERRUPTERS_AT || n >= XHCI_INTRS)
        return;
    i = &x->intr[n];
    switch (off % 32) {
    case 0x00:
        i->iman = (i->iman & ~(val & IMAN_IP) & ~IMAN_IE) | (val & IMAN_IE);
        xhci_irq_update(x);
        break;
    case 0x04:
        i->imod = val;
        break;
    case 0x08:
        i->erstsz = val & 0xffff;
        break;
    case 0x10:
        set_low(&i->erstba, val & ~0x3fu);
        break;
    case 0x14:
        set_high(&i->erstba, val);
        xhci_intr_open(x, n);
        break;
    case 0x18:
        erdp_low_write(x, n, val);
        break;
    case 0x1c:
        set_high(&i->erdp, val);
        xhci_erdp_written(x, n);
        break;
    }
}

/* ---- doorbells, §5.6 ---- */

static void doorbell(struct xhci *x, unsigned n, uint32_t val)
{
    unsigned target = val & 0xff;
    struct xhci_slot *s;

    if (!xhci_running(x))
        return;
    if (n == 0) {
        if (target == 0) {
            x->command_running = true;
            xhci_kick(x);
        }
        return;
    }
    s = &x->slot[n - 1];
    if (n > XHCI_SLOTS || !s->enabled || target == 0 || target > XHCI_EPS)
        return;
    if (s->ep[target - 1].state == EP_STOPPED)
        xhci_ep_show(x, s, target - 1, EP_RUNNING);
    s->kicked |= BIT(target);
    xhci_kick(x);
}

/* ---- dispatch ---- */

static uint64_t mmio_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct xhci *x = container_of(r, struct xhci, mmio);

    if (off < CAPS_BYTES)
        return caps_read(x, (unsigned)off);
    if (off < RUNTIME_AT)
        return operational_read(x, (unsigned)off - CAPS_BYTES);
    if (off < DOORBELLS_AT)
        return runtime_read(x, (unsigned)off - RUNTIME_AT);
    return 0;
}

static void mmio_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct xhci *x = container_of(r, struct xhci, mmio);

    if (off < CAPS_BYTES)
        return;
    if (off < RUNTIME_AT)
        operational_write(x, (unsigned)off - CAPS_BYTES, (uint32_t)val);
    else if (off < DOORBELLS_AT)
        runtime_write(x, (unsigned)off - RUNTIME_AT, (uint32_t)val);
    else if ((off - DOORBELLS_AT) / 4 <= XHCI_SLOTS)
        doorbell(x, (unsigned)(off - DOORBELLS_AT) / 4, (uint32_t)val);
}

static const struct io_ops mmio_ops = {mmio_read, mmio_write, 4, 4};

/* ---- state ---- */

static bool intr_valid(const struct xhci_intr *i)
{
    if (i->segments > XHCI_SEGMENTS || (i->segments ? i->at_segment >= i->segments : i->at_segment))
        return false;
    for (unsigned k = 0; k < i->segments; k++)
        if (i->segment[k].trbs < 16 || i->segment[k].trbs > 4096)
            return false;
    return i->segments ? i->at_trb < i->segment[i->at_segment].trbs : i->at_trb == 0;
}

static bool slot_valid(const struct xhci *x, const struct xhci_slot *s)
{
    for (unsigned i = 0; i < XHCI_EPS; i++)
        if (s->ep[i].type > EPT_INT_IN || s->ep[i].state > EP_ERROR)
            return false;
    return s->state <= SLOT_CONFIGURED && s->port <= x->ports && s->intr < XHCI_INTRS &&
           s->route <= 0xfffff;
}

static bool xhci_post_load(void *obj, uint32_t version, GError **err)
{
    struct xhci *x = obj;
    bool ok = true;

    for (unsigned i = 0; i < XHCI_INTRS; i++)
        ok = ok && intr_valid(&x->intr[i]);
    for (unsigned i = 0; i < XHCI_SLOTS; i++)
        ok = ok && slot_valid(x, &x->slot[i]);
    if (!ok)
        return error_set(err, HANOK_ERROR_CORRUPT, "its rings or slots contradict themselves");
    if (xhci_running(x))
        kick_all(x);
    xhci_irq_update(x);
    return true;
}

static const struct state_field ring_fields[] = {STATE_U64(struct xhci_ring, dequeue),
                                                 STATE_BOOL(struct xhci_ring, cycle), STATE_END};
static const struct state_desc ring_state = {
    .name = "xhci-ring", .version = 1, .fields = ring_fields};
static const struct state_field ep_fields[] = {
    STATE_U8(struct xhci_ep, type),
    STATE_U8(struct xhci_ep, state),
    STATE_BOOL(struct xhci_ep, tried),
    STATE_U32(struct xhci_ep, done),
    STATE_STRUCT(struct xhci_ep, ring, ring_state),
    STATE_END,
};
static const struct state_desc ep_state = {.name = "xhci-ep", .version = 1, .fields = ep_fields};
static const struct state_field slot_fields[] = {
    STATE_BOOL(struct xhci_slot, enabled),
    STATE_U8(struct xhci_slot, state),
    STATE_U8(struct xhci_slot, port),
    STATE_U32(struct xhci_slot, route),
    STATE_U64(struct xhci_slot, context),
    STATE_U16(struct xhci_slot, intr),
    STATE_U32(struct xhci_slot, kicked),
    STATE_STRUCT_ARRAY(struct xhci_slot, ep, ep_state),
    STATE_END,
};
static const struct state_desc slot_state = {
    .name = "xhci-slot", .version = 1, .fields = slot_fields};
static const struct state_field segment_fields[] = {
    STATE_U64(struct xhci_segment, base), STATE_U32(struct xhci_segment, trbs), STATE_END};
static const struct state_desc segment_state = {
    .name = "xhci-segment", .version = 1, .fields = segment_fields};
static const struct state_field intr_fields[] = {
    STATE_U32(struct xhci_intr, iman),
    STATE_U32(struct xhci_intr, imod),
    STATE_U32(struct xhci_intr, erstsz),
    STATE_U64(struct xhci_intr, erstba),
    STATE_U64(struct xhci_intr, erdp),
    STATE_STRUCT_ARRAY(struct xhci_intr, segment, segment_state),
    STATE_U32(struct xhci_intr, segments),
    STATE_U32(struct xhci_intr, at_segment),
    STATE_U32(struct xhci_intr, at_trb),
    STATE_BOOL(struct xhci_intr, cycle),
    STATE_END,
};
static const struct state_desc intr_state = {
    .name = "xhci-interrupter", .version = 1, .fields = intr_fields};
static const struct state_field port_fields[] = {STATE_U32(struct xhci_port, portsc),
                                                 STATE_BOOL(struct xhci_port, news), STATE_END};
static const struct state_desc port_state = {
    .name = "xhci-port", .version = 1, .fields = port_fields};
static const struct state_field xhci_fields[] = {
    STATE_STRUCT(struct xhci, pci, pci_dev_state),
    STATE_U32(struct xhci, usbcmd),
    STATE_U32(struct xhci, usbsts),
    STATE_U32(struct xhci, dnctrl),
    STATE_U32(struct xhci, config),
    STATE_U64(struct xhci, crcr_pointer),
    STATE_U64(struct xhci, dcbaap),
    STATE_U64(struct xhci, mfindex_start_ns),
    STATE_BOOL(struct xhci, command_running),
    STATE_BOOL(struct xhci, command_stopped),
    STATE_STRUCT(struct xhci, command, ring_state),
    STATE_STRUCT_ARRAY(struct xhci, port, port_state),
    STATE_STRUCT_ARRAY(struct xhci, slot, slot_state),
    STATE_STRUCT_ARRAY(struct xhci, intr, intr_state),
    STATE_END,
};
static const struct state_desc xhci_state = {
    .name = "xhci", .version = 1, .fields = xhci_fields, .post_load = xhci_post_load};

/* ---- device ---- */

static void xhci_reset(struct device *dev)
{
    struct xhci *x = container_of(dev, struct xhci, pci.dev);

    pci_dev_reset(&x->pci);
    controller_reset(x);
}

static void xhci_destroy(struct device *dev)
{
    struct xhci *x = container_of(dev, struct xhci, pci.dev);

    usb_bus_fini(&x->bus);
    pci_dev_unplug(&x->pci);
    msix_fini(&x->pci);
    timer_free(x->kick);
    g_free(x);
}

static const struct pci_dev_ops xhci_ops = {
    .dev = {.type = "xhci", .reset = xhci_reset, .destroy = xhci_destroy, .state = &xhci_state},
};

static void ports_make(struct xhci *x)
{
    for (unsigned n = 0; n < x->ports; n++) {
        bool super = n < x->p3;
        x->port[n].speeds = super ? USB_SUPER : USB_LOW | USB_FULL | USB_HIGH;
        x->port[n].connector = (uint8_t)(super ? n : n - x->p3);
    }
    for (unsigned i = 0; i < MAX_OF(x->p2, x->p3); i++) {
        struct usb_port *c = &x->connector[i];
        c->ops = &xhci_port_ops;
        c->owner = x;
        c->index = i;
        c->speeds = (uint8_t)((i < x->p2 ? USB_LOW | USB_FULL | USB_HIGH : 0) |
                              (i < x->p3 ? USB_SUPER : 0));
        usb_port_add(&x->bus, c);
    }
}

struct pci_dev *xhci_new(const struct xhci_config *cfg, struct usb_buses *buses, GError **err)
{
    struct pci_id ids = {.vendor = cfg->nec ? 0x1033 : 0x1b36,
                         .device = cfg->nec ? 0x0194 : 0x000d,
                         .subsys_vendor = 0x1af4,
                         .subsys = 0x1100,
                         .revision = cfg->nec ? 3 : 1,
                         .prog_if = 0x30,
                         .subclass = 0x03,
                         .base_class = 0x0c};
    struct xhci *x = g_new0(struct xhci, 1);

    assert(cfg->p2 <= USB_PORTS_MAX && cfg->p3 <= USB_PORTS_MAX && cfg->p2 + cfg->p3 > 0);
    x->clock = buses->clock;
    x->p2 = cfg->p2;
    x->p3 = cfg->p3;
    x->ports = cfg->p2 + cfg->p3;
    x->nec = cfg->nec;
    x->mmio = (struct io_region){.ops = &mmio_ops,
                                 .name = "xhci",
                                 .size_bytes = BAR_BYTES,
                                 .lock = &cfg->at.bus->host->devices->lock};
    pci_dev_init(&x->pci, &xhci_ops, &ids);
    x->pci.multifunction = cfg->at.multifunction;
    x->pci.config[PCI_INT_PIN] = 1;
    x->pci.config[RELEASE_AT] = 0x30;     /* of the USB specification: 3.0 */
    x->pci.config[RELEASE_AT + 1] = 0x20; /* frame length: 60000 bit times */
    pci_bar_set(&x->pci, 0, PCI_BAR_MEM64, false, &x->mmio);
    x->pci.cap_next_free = CAPABILITIES_AT;
    if (cfg->at.bus->bridge)
        pcie_cap_add(&x->pci, PCIE_ENDPOINT, 0);
    if (!cfg->no_msi)
        msi_init(&x->pci);
    if ((cfg->no_msix || msix_init(&x->pci, 2, XHCI_INTRS, err)) &&
        pci_dev_plug(&x->pci, cfg->at.bus, cfg->at.devfn, cfg->at.id, err)) {
        x->kick = timer_new(evloop_main(), x->clock, xhci_run, x);
        usb_bus_init(&x->bus, buses, &x->pci, cfg->at.id);
        ports_make(x);
        controller_reset(x);
        return &x->pci;
    }
    msix_fini(&x->pci);
    g_free(x);
    return NULL;
}
