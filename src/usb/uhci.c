/* uhci.c - UHCI: registers, ports, and the walk through a frame's queues (UHCI 1.1).
 *
 *   frame list --> queue heads and transfer descriptors --> one packet each --> status back
 *
 * A frame ends when its time on the wire is used up, when a round through the queues has moved
 * nothing, or after a bounded number of links. */
#include "companion.h"
#include "pace.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "mem/guest_mem.h"

enum {
    IO_BYTES = 32,
    USBCMD = 0x00,
    USBSTS = 0x02,
    USBINTR = 0x04,
    FRNUM = 0x06,
    FLBASE = 0x08,
    SOFMOD = 0x0c,
    PORTSC = 0x10,
    LEGACY = 0xc0, /* in config space */
    RELEASE = 0x60,
};
enum { CMD_RS = 1, CMD_HCRESET = 2, CMD_GRESET = 4, CMD_EGSM = 8, CMD_FGR = 16 };
enum { STS_INT = 1, STS_ERROR = 2, STS_RESUME = 4, STS_HSE = 8, STS_HCPE = 16, STS_HALTED = 32 };
enum { INTR_ERROR = 1, INTR_RESUME = 2, INTR_IOC = 4, INTR_SHORT = 8 };
enum { WHY_IOC = 1, WHY_SHORT = 2 };
enum {
    PORT_CCS = 0x001,
    PORT_CSC = 0x002,
    PORT_PED = 0x004,
    PORT_PEDC = 0x008,
    PORT_RESUME = 0x040,
    PORT_ONE = 0x080, /* always */
    PORT_LOW = 0x100,
    PORT_RESET = 0x200,
    PORT_SUSPEND = 0x1000,
};
/* Descriptors, §3.2 */
enum {
    LINK_END = 1,
    LINK_QH = 2,
    LINK_DEPTH = 4,
    FRAME_BYTES = 1280,
    PACKET_OVERHEAD = 13,
    LINKS_MAX = 512,
    LEN_NONE = 0x7ff,
};
#define TD_LEN     0x7ffu
#define TD_TIMEOUT BIT(18)
#define TD_NAK     BIT(19)
#define TD_BABBLE  BIT(20)
#define TD_STALLED BIT(22)
#define TD_ACTIVE  BIT(23)
#define TD_IOC     BIT(24)
#define TD_ISO     BIT(25)
#define TD_CERR    (3u << 27)
#define TD_SPD     BIT(29)

struct uhci_port {
    uint16_t ctrl;
    bool here; /* a companion: the device of port is this controller's */
    struct usb_port *port;
};

struct uhci {
    struct pci_dev pci; /* first */
    struct io_region io;
    struct usb_bus own_bus, *master;
    struct usb_port own_port[UHCI_PORTS];
    struct usb_pace pace;
    /* board lock */
    uint16_t cmd, sts, intr;
    uint8_t sofmod, why; /* why: what STS_INT stands for */
    uint32_t flbase;
    struct uhci_port port[UHCI_PORTS];
};

struct td {
    uint32_t link, ctrl, token, buffer;
};

/* ---- interrupt ---- */

static void irq_update(struct uhci *u)
{
    bool level = ((u->why & WHY_IOC) && (u->intr & INTR_IOC)) ||
                 ((u->why & WHY_SHORT) && (u->intr & INTR_SHORT)) ||
                 ((u->sts & STS_ERROR) && (u->intr & INTR_ERROR)) ||
                 ((u->sts & STS_RESUME) && (u->intr & INTR_RESUME)) ||
                 (u->sts & (STS_HSE | STS_HCPE));

    pci_intx_set(&u->pci, level);
}

static void halt(struct uhci *u, uint16_t why)
{
    u->cmd &= (uint16_t)~CMD_RS;
    u->sts |= (uint16_t)(why | STS_HALTED);
    usb_pace_stop(&u->pace);
}

/* ---- a transfer descriptor ---- */

enum outcome { STAYS, ADVANCES, BROKEN };

static struct guest_mem *memory(const struct uhci *u)
{
    return u->pci.bus->host->mem;
}

static struct usb_device *uhci_device(struct uhci *u, uint8_t address)
{
    struct usb_device *d = NULL;

    for (unsigned i = 0; i < UHCI_PORTS && !d; i++)
        if (u->port[i].here && (u->port[i].ctrl & PORT_PED))
            d = usb_device_by_address(u->port[i].port, address);
    return d;
}

/* What a packet's end means for its descriptor (§3.2.2, §3.4). */
static enum outcome td_end(struct uhci *u, struct td *t, enum usb_result r, uint32_t len,
                           uint32_t moved)
{
    bool in = (t->token & 0xff) == USB_PID_IN;

    if (r == USB_NAK && moved == 0) {
        t->ctrl |= TD_NAK;
        return STAYS;
    }
    t->ctrl &= ~(TD_ACTIVE | TD_LEN | TD_NAK);
    t->ctrl |= (moved - 1) & TD_LEN;
    if (r == USB_STALL || r == USB_BABBLE || r == USB_ERROR) {
        t->ctrl = (t->ctrl & ~TD_CERR) | TD_STALLED |
                  (r == USB_BABBLE  ? TD_BABBLE
                   : r == USB_ERROR ? TD_TIMEOUT
                                    : 0);
        u->sts |= STS_ERROR;
        if (t->ctrl & TD_IOC) {
            u->sts |= STS_INT;
            u->why |= WHY_IOC;
        }
        return STAYS;
    }
    if (t->ctrl & TD_IOC) {
        u->sts |= STS_INT;
        u->why |= WHY_IOC;
    }
    if (in && moved < len && (t->ctrl & TD_SPD)) { /* the queue waits for software */
        u->sts |= STS_INT;
        u->why |= WHY_SHORT;
        return STAYS;
    }
    return ADVANCES;
}

static enum outcome td_run(struct uhci *u, uint64_t at, struct td *t, uint32_t *budget)
{
    uint32_t len = ((t->token >> 21) + 1) & TD_LEN, moved = 0;
    enum usb_pid pid = (enum usb_pid)(t->token & 0xff);
    struct usb_device *d = uhci_device(u, t->token >> 8 & 127);
    enum usb_result r = USB_ERROR;
    enum outcome out;
    uint8_t data[FRAME_BYTES];

    if ((pid != USB_PID_IN && pid != USB_PID_OUT && pid != USB_PID_SETUP) || len > FRAME_BYTES)
        return BROKEN; /* the schedule makes no sense: §3.2.2, host controller process error */
    *budget -= MIN_OF(*budget, len + PACKET_OVERHEAD);
    if (pid != USB_PID_IN && guest_mem_read(memory(u), GPA(t->buffer), data, len) != 0)
        return BROKEN;
    if (d && !(t->ctrl & TD_ISO))
        r = usb_transfer(d, pid, t->token >> 15 & 15, data, len, &moved);
    if (pid == USB_PID_IN && moved && guest_mem_write(memory(u), GPA(t->buffer), data, moved) != 0)
        return BROKEN;
    out = td_end(u, t, r, len, moved);
    return guest_mem_write(memory(u), GPA(at + 4), &t->ctrl, 4) == 0 ? out : BROKEN;
}

/* ---- a frame ---- */

struct walk {
    uint32_t budget;
    unsigned links;
    uint32_t mark;  /* a queue head seen earlier: here again without a move, all have been asked */
    unsigned until; /* links before the next mark */
    bool moved_since, moved, active;
};

/* The element at the head of a queue, and those after it while they say depth first. */
static bool queue_run(struct uhci *u, struct walk *w, uint64_t qh, uint32_t *next)
{
    uint32_t head[2];

    if (guest_mem_read(memory(u), GPA(qh), head, sizeof(head)) != 0)
        return false;
    *next = head[0];
    while (!(head[1] & (LINK_END | LINK_QH)) && w->budget && w->links++ < LINKS_MAX) {
        uint64_t at = head[1] & ~15u;
        struct td t;
        enum outcome out;
        if (guest_mem_read(memory(u), GPA(at), &t, sizeof(t)) != 0)
            return false;
        if (!(t.ctrl & TD_ACTIVE))
            return true;
        w->active = true;
        out = td_run(u, at, &t, &w->budget);
        if (out != ADVANCES) {
            w->moved |= !(t.ctrl & TD_ACTIVE);
            return out == STAYS;
        }
        w->moved = w->moved_since = true;
        head[1] = t.link;
        if (guest_mem_write(memory(u), GPA(qh + 4), &head[1], 4) != 0)
            return false;
        if (!(t.link & LINK_DEPTH))
            return true;
    }
    return true;
}

/* True: the round through the queues has moved nothing since the mark. */
static bool round_over(struct walk *w, uint32_t qh)
{
    if (qh == w->mark && !w->moved_since)
        return true;
    if (qh == w->mark || w->until-- == 0) {
        w->mark = qh;
        w->until = w->links;
        w->moved_since = false;
    }
    return false;
}

static bool frame_run(struct uhci *u, struct walk *w, uint32_t frame)
{
    uint32_t link;

    *w = (struct walk){.budget = FRAME_BYTES, .moved = w->moved};
    if (guest_mem_read(memory(u), GPA(u->flbase + 4 * (frame & 0x3ff)), &link, 4) != 0)
        return false;
    while (!(link & LINK_END) && w->budget && w->links++ < LINKS_MAX) {
        uint64_t at = link & ~15u;
        if (link & LINK_QH) {
            if (round_over(w, link))
                break;
            if (!queue_run(u, w, at, &link))
                return false;
        } else { /* a descriptor of its own: isochronous */
            struct td t;
            if (guest_mem_read(memory(u), GPA(at), &t, sizeof(t)) != 0)
                return false;
            if ((t.ctrl & TD_ACTIVE) && td_run(u, at, &t, &w->budget) == BROKEN)
                return false;
            link = t.link;
        }
    }
    return true;
}

static void frames_run(void *opaque)
{
    struct uhci *u = opaque;
    pthread_mutex_t *lock = &u->pci.dev.list->lock;
    struct walk w = {0};
    uint64_t from;

    pthread_mutex_lock(lock);
    if (u->pace.running && pci_bus_master(&u->pci)) {
        unsigned count = usb_pace_take(&u->pace, &from);
        for (unsigned i = 0; i < count && u->pace.running; i++) {
            if (!frame_run(u, &w, (uint32_t)(from + i))) {
                log_guest("UHCI: a schedule that cannot be followed: the controller stops");
                halt(u, STS_HCPE);
            }
        }
        irq_update(u);
    }
    usb_pace_next(&u->pace, w.moved);
    pthread_mutex_unlock(lock);
}

/* ---- ports ---- */

/* While everything sleeps a change wakes the system, §2.1.1 global suspend. */
static void resume(struct uhci *u)
{
    if (!(u->cmd & CMD_EGSM))
        return;
    u->cmd |= CMD_FGR;
    u->sts |= STS_RESUME;
    irq_update(u);
}

static void port_show(struct uhci_port *p)
{
    p->ctrl = PORT_ONE;
    if (p->here)
        p->ctrl |=
            (uint16_t)(PORT_CCS | PORT_CSC | (p->port->dev->speed == USB_SPEED_LOW ? PORT_LOW : 0));
}

void uhci_companion_attach(struct uhci *u, unsigned i, struct usb_port *port)
{
    struct uhci_port *p = &u->port[i];

    p->port = port;
    p->here = true;
    port->dev->speed = (uint8_t)usb_speed_best(port->dev->speeds & (USB_LOW | USB_FULL));
    port_show(p);
    resume(u);
}

void uhci_companion_detach(struct uhci *u, unsigned i)
{
    struct uhci_port *p = &u->port[i];

    if (!p->here)
        return;
    p->here = false;
    p->ctrl = (uint16_t)(PORT_ONE | PORT_CSC | (p->ctrl & PORT_PED ? PORT_PEDC : 0));
    resume(u);
    usb_pace_hurry(&u->pace);
}

void uhci_companion_wakeup(struct uhci *u, unsigned i, struct usb_device *d)
{
    if (u->port[i].here && (u->port[i].ctrl & PORT_SUSPEND) && d->remote_wakeup)
        u->port[i].ctrl |= PORT_RESUME;
    resume(u);
    usb_pace_hurry(&u->pace);
}

static void own_attached(struct usb_port *p)
{
    uhci_companion_attach(p->owner, p->index, p);
}

static void own_detached(struct usb_port *p)
{
    uhci_companion_detach(p->owner, p->index);
}

static void own_wakeup(struct usb_port *p, struct usb_device *d, uint8_t ep)
{
    uhci_companion_wakeup(p->owner, p->index, d);
}

static const struct usb_port_ops port_ops = {own_attached, own_detached, own_wakeup};

static void port_write(struct uhci_port *p, uint16_t val)
{
    const uint16_t writable = PORT_PED | PORT_RESUME | PORT_RESET | PORT_SUSPEND;

    if (p->here && (val & PORT_RESET) && !(p->ctrl & PORT_RESET))
        usb_device_bus_reset(p->port->dev);
    p->ctrl =
        (uint16_t)((p->ctrl & ~writable & ~(val & (PORT_CSC | PORT_PEDC))) | (val & writable));
    if (!p->here || (val & PORT_RESET))
        p->ctrl &= (uint16_t)~PORT_PED;
}

/* ---- registers, §2 ---- */

static void controller_reset(struct uhci *u)
{
    usb_pace_stop(&u->pace);
    u->pace.first = u->pace.done = 0;
    u->cmd = u->intr = 0;
    u->sts = STS_HALTED;
    u->why = 0;
    u->flbase = 0;
    u->sofmod = 64;
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
        if (u->port[i].here)
            usb_device_bus_reset(u->port[i].port->dev);
        port_show(&u->port[i]);
    }
    irq_update(u);
}

static void cmd_write(struct uhci *u, uint16_t val)
{
    if (val & CMD_HCRESET) {
        controller_reset(u);
        return;
    }
    if ((val & CMD_GRESET) && !(u->cmd & CMD_GRESET)) {
        controller_reset(u);
        u->cmd = CMD_GRESET;
        return;
    }
    u->cmd = val & 0xff;
    if (val & CMD_RS) {
        u->sts &= (uint16_t)~STS_HALTED;
        usb_pace_start(&u->pace, u->pace.first);
    } else {
        u->sts |= STS_HALTED;
        usb_pace_stop(&u->pace);
    }
}

static void reg_write(struct uhci *u, unsigned off, uint16_t val)
{
    switch (off) {
    case USBCMD:
        cmd_write(u, val);
        break;
    case USBSTS:
        u->sts &= (uint16_t) ~(val & 0x1f);
        if (val & STS_INT)
            u->why = 0;
        break;
    case USBINTR:
        u->intr = val & 15;
        break;
    case FRNUM:
        if (!u->pace.running)
            u->pace.first = u->pace.done = val & 0x7ff;
        break;
    case FLBASE:
        u->flbase = (u->flbase & 0xffff0000u) | (val & 0xf000);
        break;
    case FLBASE + 2:
        u->flbase = (u->flbase & 0xffffu) | (uint32_t)val << 16;
        break;
    case PORTSC:
    case PORTSC + 2:
        port_write(&u->port[(off - PORTSC) / 2], val);
        break;
    }
    irq_update(u);
}

static uint16_t reg_read(struct uhci *u, unsigned off)
{
    switch (off) {
    case USBCMD:
        return u->cmd;
    case USBSTS:
        return u->sts;
    case USBINTR:
        return u->intr;
    case FRNUM:
        return usb_pace_eighths(&u->pace) / 8 & 0x7ff;
    case FLBASE:
        return (uint16_t)u->flbase;
    case FLBASE + 2:
        return (uint16_t)(u->flbase >> 16);
    case SOFMOD:
        return u->sofmod;
    case PORTSC:
    case PORTSC + 2:
        return u->port[(off - PORTSC) / 2].ctrl;
    }
    return 0xff7f; /* no further ports */
}

static uint64_t io_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct uhci *u = container_of(r, struct uhci, io);
    uint16_t v = reg_read(u, (unsigned)off & ~1u);

    return size == 1 && (off & 1) ? v >> 8 : v;
}

/* Registers are words, but for SOFMOD. */
static void io_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct uhci *u = container_of(r, struct uhci, io);

    if (off == SOFMOD)
        u->sofmod = val & 0x7f;
    else if (size == 2)
        reg_write(u, (unsigned)off, (uint16_t)val);
}

static const struct io_ops io_ops = {io_read, io_write, 1, 2};

/* ---- device ---- */

static void uhci_reset(struct device *dev)
{
    struct uhci *u = container_of(dev, struct uhci, pci.dev);

    pci_dev_reset(&u->pci);
    controller_reset(u);
}

static void uhci_free(struct uhci *u)
{
    usb_pace_fini(&u->pace);
    g_free(u);
}

static void uhci_destroy(struct device *dev)
{
    struct uhci *u = container_of(dev, struct uhci, pci.dev);

    if (u->master)
        ehci_companion_remove(u->master, u);
    usb_bus_fini(&u->own_bus);
    pci_dev_unplug(&u->pci);
    uhci_free(u);
}

static bool uhci_post_load(void *obj, uint32_t version, GError **err)
{
    struct uhci *u = obj;

    for (unsigned i = 0; i < UHCI_PORTS; i++)
        if (u->port[i].here && (!u->port[i].port || !u->port[i].port->dev))
            return error_set(err, HANOK_ERROR_CORRUPT, "its ports have other devices");
    usb_pace_hurry(&u->pace);
    irq_update(u);
    return true;
}

static const struct state_field port_fields[] = {STATE_U16(struct uhci_port, ctrl),
                                                 STATE_BOOL(struct uhci_port, here), STATE_END};
static const struct state_desc port_state = {
    .name = "uhci-port", .version = 1, .fields = port_fields};
static const struct state_field uhci_fields[] = {
    STATE_STRUCT(struct uhci, pci, pci_dev_state),
    STATE_STRUCT(struct uhci, pace, usb_pace_state),
    STATE_U16(struct uhci, cmd),
    STATE_U16(struct uhci, sts),
    STATE_U16(struct uhci, intr),
    STATE_U8(struct uhci, sofmod),
    STATE_U8(struct uhci, why),
    STATE_U32(struct uhci, flbase),
    STATE_STRUCT_ARRAY(struct uhci, port, port_state),
    STATE_END,
};
static const struct state_desc uhci_state = {
    .name = "uhci", .version = 1, .fields = uhci_fields, .post_load = uhci_post_load};
static const struct pci_dev_ops uhci_ops = {
    .dev = {.type = "uhci", .reset = uhci_reset, .destroy = uhci_destroy, .state = &uhci_state},
};

static bool ports_make(struct uhci *u, const struct uhci_config *cfg, struct usb_buses *buses,
                       GError **err)
{
    if (cfg->master)
        return ehci_companion_add(cfg->master, cfg->first, u, err);
    usb_bus_init(&u->own_bus, buses, &u->pci, cfg->at.id);
    usb_hcd_ports_add(&u->own_bus, u->own_port, UHCI_PORTS, &port_ops, u, USB_LOW | USB_FULL);
    return true;
}

struct pci_dev *uhci_new(const struct uhci_config *cfg, struct usb_buses *buses, GError **err)
{
    const struct usb_hcd_model *model = cfg->model;
    struct pci_id ids = usb_hcd_pci_id(model, 0x00);
    struct uhci *u = g_new0(struct uhci, 1);

    usb_pace_init(&u->pace, buses->clock, frames_run, u);
    u->io = (struct io_region){.ops = &io_ops,
                               .name = "uhci",
                               .size_bytes = IO_BYTES,
                               .lock = &cfg->at.bus->host->devices->lock};
    pci_dev_init(&u->pci, &uhci_ops, &ids);
    u->pci.multifunction = cfg->at.multifunction;
    u->pci.config[PCI_INT_PIN] = model->pin;
    u->pci.config[RELEASE] = 0x10;
    le16_put(u->pci.wmask + LEGACY, 0xffff); /* keyboard traps of old, which nothing springs */
    pci_bar_set(&u->pci, 4, PCI_BAR_IO, false, &u->io);
    if (!pci_dev_plug(&u->pci, cfg->at.bus, cfg->at.devfn, cfg->at.id, err)) {
        uhci_free(u);
        return NULL;
    }
    controller_reset(u);
    if (ports_make(u, cfg, buses, err)) {
        u->master = cfg->master;
        return &u->pci;
    }
    uhci_destroy(&u->pci.dev);
    return NULL;
}
