/* ehci.c - EHCI: registers, ports and who owns them, frames (EHCI 1.0 §2, §4). */
#include "ehci_int.h"

#include "base/error.h"
#include "base/log.h"

enum {
    CAPS_BYTES = 0x20,
    BAR_BYTES = 0x1000,
    USBCMD = 0x00,
    USBSTS = 0x04,
    USBINTR = 0x08,
    FRINDEX = 0x0c,
    PERIODICBASE = 0x14,
    ASYNCLIST = 0x18,
    CONFIGFLAG = 0x40,
    PORTSC = 0x44,
    CMD_DEFAULT = 8 << 16, /* interrupts each millisecond at most */
    RELEASE = 0x60,
};
#define PORT_CCS    BIT(0)
#define PORT_CSC    BIT(1)
#define PORT_PED    BIT(2)
#define PORT_PEDC   BIT(3)
#define PORT_RESUME BIT(6)
#define PORT_SUSP   BIT(7)
#define PORT_RESET  BIT(8)
#define PORT_PP     BIT(12)
#define PORT_OWNER  BIT(13)
#define PORT_WAKES  (7u << 20)

/* ---- interrupt ---- */

void ehci_irq_update(struct ehci *e)
{
    pci_intx_set(&e->pci, (e->sts & e->intr & 0x3f) != 0);
}

void ehci_raise(struct ehci *e, uint32_t sts)
{
    e->sts |= sts;
    ehci_irq_update(e);
}

/* ---- frames ---- */

static void host_error(struct ehci *e)
{
    log_guest("EHCI: a schedule that cannot be followed: the controller stops");
    e->cmd &= ~ECMD_RUN;
    e->sts |= ESTS_HALTED;
    e->sts &= ~(ESTS_PERIODIC | ESTS_ASYNC);
    usb_pace_stop(&e->pace);
    ehci_raise(e, ESTS_HSE);
}

/* Schedules follow their bits in the command register. */
static void schedules_update(struct ehci *e)
{
    bool on = !(e->sts & ESTS_HALTED);

    e->sts &= ~(ESTS_PERIODIC | ESTS_ASYNC);
    if (on && (e->cmd & ECMD_PERIODIC))
        e->sts |= ESTS_PERIODIC;
    if (on && (e->cmd & ECMD_ASYNC))
        e->sts |= ESTS_ASYNC;
    if (on && (e->cmd & (ECMD_PERIODIC | ECMD_ASYNC)))
        usb_pace_hurry(&e->pace);
}

static void frames_run(void *opaque)
{
    struct ehci *e = opaque;
    pthread_mutex_t *lock = &e->pci.dev.list->lock;
    bool moved = false, ok = true;
    uint64_t from;

    pthread_mutex_lock(lock);
    if (e->pace.running && pci_bus_master(&e->pci)) {
        unsigned count = usb_pace_take(&e->pace, &from);
        for (unsigned i = 0; i < count && ok && (e->cmd & ECMD_PERIODIC); i++)
            ok = ehci_frame_run(e, (uint32_t)(from + i), &moved);
        if (ok && (e->cmd & ECMD_ASYNC))
            ok = ehci_async_run(e, &moved);
        if (!ok)
            host_error(e);
        if (e->cmd & ECMD_DOORBELL) { /* nothing of what was taken out is held here */
            e->cmd &= ~ECMD_DOORBELL;
            ehci_raise(e, ESTS_ADVANCE);
        }
        if (e->cmd & (ECMD_PERIODIC | ECMD_ASYNC))
            usb_pace_next(&e->pace, moved);
    }
    pthread_mutex_unlock(lock);
}

/* ---- ports ---- */

struct usb_device *ehci_device(struct ehci *e, uint8_t address)
{
    struct usb_device *d = NULL;

    for (unsigned i = 0; i < EHCI_PORTS && !d; i++)
        if ((e->port[i].portsc & (PORT_PED | PORT_OWNER)) == PORT_PED)
            d = usb_device_by_address(&e->usb_port[i], address);
    return d;
}

static void port_changed(struct ehci *e, struct ehci_port *p, uint32_t bits)
{
    p->portsc |= bits;
    ehci_raise(e, ESTS_PORT);
}

/* Gives the device to whoever owns the port. */
static void port_connect(struct ehci *e, unsigned i)
{
    struct ehci_port *p = &e->port[i];
    struct usb_device *d = e->usb_port[i].dev;

    if (!d)
        return;
    if ((p->portsc & PORT_OWNER) && p->companion) {
        uhci_companion_attach(p->companion, p->companion_port, &e->usb_port[i]);
        return;
    }
    if (p->portsc & PORT_OWNER)
        return; /* nobody is there */
    d->speed = (uint8_t)usb_speed_best(d->speeds & (USB_LOW | USB_FULL | USB_HIGH));
    p->portsc |= PORT_CCS;
    port_changed(e, p, PORT_CSC);
}

static void port_disconnect(struct ehci *e, unsigned i)
{
    struct ehci_port *p = &e->port[i];

    if (p->companion)
        uhci_companion_detach(p->companion, p->companion_port);
    if (!(p->portsc & PORT_CCS))
        return;
    if (p->portsc & PORT_PED)
        p->portsc |= PORT_PEDC;
    p->portsc &= ~(PORT_CCS | PORT_PED | PORT_SUSP | PORT_RESUME);
    port_changed(e, p, PORT_CSC);
    usb_pace_hurry(&e->pace);
}

static void owner_set(struct ehci *e, unsigned i, bool companion)
{
    struct ehci_port *p = &e->port[i];

    if (companion == !!(p->portsc & PORT_OWNER))
        return;
    port_disconnect(e, i);
    if (companion)
        p->portsc |= PORT_OWNER;
    else
        p->portsc &= ~PORT_OWNER;
    port_connect(e, i);
}

static void attached(struct usb_port *u)
{
    port_connect(u->owner, u->index);
}

static void detached(struct usb_port *u)
{
    struct ehci *e = u->owner;
    struct ehci_port *p = &e->port[u->index];

    port_disconnect(e, u->index);
    if (e->configured) /* the next device is ours to look at first, §4.2.2 */
        p->portsc &= ~PORT_OWNER;
}

static void wakeup(struct usb_port *u, struct usb_device *d, uint8_t ep)
{
    struct ehci *e = u->owner;
    struct ehci_port *p = &e->port[u->index];

    if (p->portsc & PORT_OWNER) {
        if (p->companion)
            uhci_companion_wakeup(p->companion, p->companion_port, d);
        return;
    }
    if ((p->portsc & PORT_SUSP) && d->remote_wakeup && !(p->portsc & PORT_RESUME))
        port_changed(e, p, PORT_RESUME);
    usb_pace_hurry(&e->pace);
}

static const struct usb_port_ops port_ops = {attached, detached, wakeup};

/* The end of a reset enables the port for a device of high speed; others are a companion's. */
static void port_reset_write(struct ehci *e, unsigned i, uint32_t val)
{
    struct ehci_port *p = &e->port[i];
    struct usb_device *d = e->usb_port[i].dev;

    if ((val & PORT_RESET) && !(p->portsc & PORT_RESET)) {
        p->portsc = (p->portsc & ~PORT_PED) | PORT_RESET;
        if (d && (p->portsc & PORT_CCS))
            usb_device_bus_reset(d);
    } else if (!(val & PORT_RESET) && (p->portsc & PORT_RESET)) {
        p->portsc &= ~PORT_RESET;
        if (d && (p->portsc & PORT_CCS) && d->speed == USB_SPEED_HIGH)
            p->portsc |= PORT_PED;
    }
}

static void port_write(struct ehci *e, unsigned i, uint32_t val)
{
    struct ehci_port *p = &e->port[i];

    p->portsc &= ~(val & (PORT_CSC | PORT_PEDC));
    p->portsc = (p->portsc & ~PORT_WAKES) | (val & PORT_WAKES);
    if (e->configured)
        owner_set(e, i, val & PORT_OWNER);
    if (p->portsc & PORT_OWNER)
        return;
    if (!(val & PORT_PED))
        p->portsc &= ~PORT_PED;
    if ((val & PORT_SUSP) && (p->portsc & PORT_PED))
        p->portsc |= PORT_SUSP;
    if (val & PORT_RESUME)
        p->portsc |= PORT_RESUME;
    else if (p->portsc & PORT_RESUME) /* the resume is over */
        p->portsc &= ~(PORT_RESUME | PORT_SUSP);
    port_reset_write(e, i, val);
}

/* Without software that knows EHCI the companions have all ports. */
static void configured_write(struct ehci *e, uint32_t val)
{
    e->configured = val & 1;
    for (unsigned i = 0; i < EHCI_PORTS; i++)
        owner_set(e, i, !e->configured);
}

/* ---- registers ---- */

static void controller_reset(struct ehci *e)
{
    usb_pace_stop(&e->pace);
    e->pace.first = e->pace.done = 0;
    e->cmd = CMD_DEFAULT;
    e->sts = ESTS_HALTED;
    e->intr = e->periodic_base = e->async_at = e->configured = 0;
    for (unsigned i = 0; i < EHCI_PORTS; i++) {
        port_disconnect(e, i);
        e->port[i].portsc = PORT_PP | PORT_OWNER;
        port_connect(e, i);
    }
    e->sts = ESTS_HALTED;
    ehci_irq_update(e);
}

static void cmd_write(struct ehci *e, uint32_t val)
{
    if (val & ECMD_RESET) {
        controller_reset(e);
        return;
    }
    e->cmd = (val & 0x00ff0fb3) | ((val | e->cmd) & ECMD_DOORBELL) | (val & 0xc);
    if (val & ECMD_RUN) {
        e->sts &= ~ESTS_HALTED;
        usb_pace_start(&e->pace, e->pace.first);
    } else {
        e->sts |= ESTS_HALTED;
        usb_pace_stop(&e->pace);
    }
    schedules_update(e);
    if (e->cmd & ECMD_DOORBELL)
        usb_pace_hurry(&e->pace);
}

static void reg_write(struct ehci *e, unsigned off, uint32_t val)
{
    if (off >= PORTSC && off < PORTSC + 4 * EHCI_PORTS) {
        port_write(e, (off - PORTSC) / 4, val);
        return;
    }
    switch (off) {
    case USBCMD:
        cmd_write(e, val);
        break;
    case USBSTS:
        e->sts &= ~(val & 0x3f);
        break;
    case USBINTR:
        e->intr = val & 0x3f;
        break;
    case FRINDEX:
        if (!e->pace.running)
            e->pace.first = e->pace.done = (val & 0x3fff) / 8;
        break;
    case PERIODICBASE:
        e->periodic_base = val & ~0xfffu;
        break;
    case ASYNCLIST:
        e->async_at = val & ~31u;
        break;
    case CONFIGFLAG:
        configured_write(e, val);
        break;
    }
    ehci_irq_update(e);
}

static uint32_t reg_read(struct ehci *e, unsigned off)
{
    if (off >= PORTSC && off < PORTSC + 4 * EHCI_PORTS)
        return e->port[(off - PORTSC) / 4].portsc;
    switch (off) {
    case USBCMD:
        return e->cmd;
    case USBSTS:
        return e->sts;
    case USBINTR:
        return e->intr;
    case FRINDEX:
        return usb_pace_eighths(&e->pace) & 0x3fff;
    case PERIODICBASE:
        return e->periodic_base;
    case ASYNCLIST:
        return e->async_at;
    case CONFIGFLAG:
        return e->configured;
    }
    return 0;
}

static uint32_t caps_read(const struct ehci *e, unsigned off)
{
    switch (off) {
    case 0x00:
        return 0x0100u << 16 | CAPS_BYTES;
    case 0x04: /* companions, ports of each, ports */
        return EHCI_PORTS | (e->companions ? UHCI_PORTS << 8 | e->companions << 12 : 0);
    case 0x08:
        return 0x80; /* a frame's descriptors may be held for a frame; lists have 1024 entries */
    }
    return 0;
}

static uint64_t mmio_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct ehci *e = container_of(r, struct ehci, mmio);

    return off < CAPS_BYTES ? caps_read(e, (unsigned)off) : reg_read(e, (unsigned)off - CAPS_BYTES);
}

static void mmio_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    if (off >= CAPS_BYTES)
        reg_write(container_of(r, struct ehci, mmio), (unsigned)off - CAPS_BYTES, (uint32_t)val);
}

static const struct io_ops mmio_ops = {mmio_read, mmio_write, 4, 4};

/* ---- device ---- */

static void ehci_reset(struct device *dev)
{
    struct ehci *e = container_of(dev, struct ehci, pci.dev);

    pci_dev_reset(&e->pci);
    controller_reset(e);
}

static void ehci_free(struct ehci *e)
{
    usb_pace_fini(&e->pace);
    g_free(e);
}

static void ehci_destroy(struct device *dev)
{
    struct ehci *e = container_of(dev, struct ehci, pci.dev);

    usb_bus_fini(&e->bus);
    pci_dev_unplug(&e->pci);
    ehci_free(e);
}

static bool ehci_post_load(void *obj, uint32_t version, GError **err)
{
    struct ehci *e = obj;

    e->configured &= 1;
    usb_pace_hurry(&e->pace);
    ehci_irq_update(e);
    return true;
}

static const struct state_field port_fields[] = {STATE_U32(struct ehci_port, portsc), STATE_END};
static const struct state_desc port_state = {
    .name = "ehci-port", .version = 1, .fields = port_fields};
static const struct state_field ehci_fields[] = {
    STATE_STRUCT(struct ehci, pci, pci_dev_state),
    STATE_STRUCT(struct ehci, pace, usb_pace_state),
    STATE_U32(struct ehci, cmd),
    STATE_U32(struct ehci, sts),
    STATE_U32(struct ehci, intr),
    STATE_U32(struct ehci, periodic_base),
    STATE_U32(struct ehci, async_at),
    STATE_U32(struct ehci, configured),
    STATE_STRUCT_ARRAY(struct ehci, port, port_state),
    STATE_END,
};
static const struct state_desc ehci_state = {
    .name = "ehci", .version = 1, .fields = ehci_fields, .post_load = ehci_post_load};
static const struct pci_dev_ops ehci_ops = {
    .dev = {.type = "ehci", .reset = ehci_reset, .destroy = ehci_destroy, .state = &ehci_state},
};

/* ---- companions ---- */

bool ehci_companion_add(struct usb_bus *bus, unsigned first, struct uhci *u, GError **err)
{
    struct ehci *e = container_of(bus->controller, struct ehci, pci);
    pthread_mutex_t *lock = &bus->list->devices->lock;

    if (bus->controller->ops != &ehci_ops)
        return error_set(err, HANOK_ERROR_INVALID,
                         "masterbus=%s is not the bus of a USB 2 controller such as ich9-usb-ehci1",
                         bus->name);
    if (first > EHCI_PORTS - UHCI_PORTS || e->port[first].companion || e->port[first + 1].companion)
        return error_set(err, HANOK_ERROR_INVALID,
                         "firstport=%u: USB bus '%s' has ports 0 to %d, each with one companion",
                         first, bus->name, EHCI_PORTS - 1);
    pthread_mutex_lock(lock);
    e->companions++;
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
        e->port[first + i].companion = u;
        e->port[first + i].companion_port = i;
        e->usb_port[first + i].speeds = USB_LOW | USB_FULL | USB_HIGH;
        port_connect(e, first + i);
    }
    pthread_mutex_unlock(lock);
    return true;
}

void ehci_companion_remove(struct usb_bus *bus, struct uhci *u)
{
    struct ehci *e = container_of(bus->controller, struct ehci, pci);
    pthread_mutex_t *lock = &bus->list->devices->lock;

    pthread_mutex_lock(lock);
    for (unsigned i = 0; i < EHCI_PORTS; i++)
        if (e->port[i].companion == u)
            e->port[i].companion = NULL;
    e->companions--;
    pthread_mutex_unlock(lock);
}

struct pci_dev *ehci_new(const struct ehci_config *cfg, struct usb_buses *buses, GError **err)
{
    const struct usb_hcd_model *model = cfg->model;
    struct pci_id ids = usb_hcd_pci_id(model, 0x20);
    struct ehci *e = g_new0(struct ehci, 1);

    usb_pace_init(&e->pace, buses->clock, frames_run, e);
    e->mmio = (struct io_region){.ops = &mmio_ops,
                                 .name = "ehci",
                                 .size_bytes = BAR_BYTES,
                                 .lock = &cfg->at.bus->host->devices->lock};
    pci_dev_init(&e->pci, &ehci_ops, &ids);
    e->pci.multifunction = cfg->at.multifunction;
    e->pci.config[PCI_INT_PIN] = model->pin;
    e->pci.config[RELEASE] = 0x20;
    e->pci.config[RELEASE + 1] = 0x20; /* frame length: 60000 bit times */
    pci_bar_set(&e->pci, 0, PCI_BAR_MEM32, false, &e->mmio);
    if (!pci_dev_plug(&e->pci, cfg->at.bus, cfg->at.devfn, cfg->at.id, err)) {
        ehci_free(e);
        return NULL;
    }
    usb_bus_init(&e->bus, buses, &e->pci, cfg->at.id);
    usb_hcd_ports_add(&e->bus, e->usb_port, EHCI_PORTS, &port_ops, e, USB_HIGH);
    controller_reset(e);
    return &e->pci;
}
