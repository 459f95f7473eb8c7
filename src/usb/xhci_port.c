/* xhci_port.c - root ports: what is plugged in, resets, link states (xHCI 1.1 §4.19, §5.4.8).
 *
 * A connector, which users number from 1, has a port for SuperSpeed and one for the slower speeds.
 * SuperSpeed ports come first, so that firmware finds a fast disk under its connector's number. */
#include "xhci_int.h"

static const uint8_t speed_id[] = {
    [USB_SPEED_FULL] = 1, [USB_SPEED_LOW] = 2, [USB_SPEED_HIGH] = 3, [USB_SPEED_SUPER] = 4};

struct usb_port *xhci_port_connector(struct xhci *x, unsigned number)
{
    return number >= 1 && number <= x->ports ? &x->connector[x->port[number - 1].connector] : NULL;
}

static struct usb_device *port_device(struct xhci *x, const struct xhci_port *p)
{
    struct usb_device *d = x->connector[p->connector].dev;

    return d && (p->speeds & BIT(d->speed)) ? d : NULL;
}

/* The event follows from the main thread; while the controller stands still, when it starts. */
static void port_changed(struct xhci *x, struct xhci_port *p, uint32_t bits)
{
    if ((p->portsc & bits) == bits)
        return;
    p->portsc |= bits;
    p->news = true;
    x->usbsts |= STS_PCD;
    if (xhci_running(x))
        xhci_kick(x);
}

void xhci_port_events(struct xhci *x)
{
    uint32_t size;

    for (unsigned n = 0; n < x->ports; n++) {
        if (!x->port[n].news)
            continue;
        if (xhci_event_room(x, 0, &size) == 0)
            return;
        x->port[n].news = false;
        xhci_event(x, 0, TRB_PORT_EVENT, (uint64_t)(n + 1) << 24, (uint32_t)CC_SUCCESS << 24, 0,
                   true);
    }
}

static void link_state(struct xhci_port *p, unsigned pls)
{
    p->portsc = (p->portsc & ~PORT_PLS_MASK) | pls << PORT_PLS_SHIFT;
}

/* What the port shows of its device, without telling of changes. */
static void port_show(struct xhci *x, struct xhci_port *p)
{
    struct usb_device *d = port_device(x, p);
    bool super = p->speeds & USB_SUPER;

    p->portsc &= ~(PORT_CCS | PORT_PED | PORT_SPEED_MASK);
    p->portsc |= PORT_PP;
    if (!d) {
        link_state(p, PLS_RX_DETECT);
        return;
    }
    p->portsc |= PORT_CCS | (uint32_t)speed_id[d->speed] << PORT_SPEED_SHIFT;
    if (super)
        p->portsc |= PORT_PED; /* the link has trained itself */
    link_state(p, super ? PLS_U0 : PLS_POLLING);
}

static void port_reset(struct xhci *x, struct xhci_port *p, bool warm)
{
    struct usb_device *d = port_device(x, p);

    if (!d)
        return;
    usb_device_bus_reset(d);
    p->portsc |= PORT_PED;
    link_state(p, PLS_U0);
    port_changed(x, p, PORT_PRC | (warm ? PORT_WRC : 0));
}

static void link_write(struct xhci *x, struct xhci_port *p, unsigned want)
{
    unsigned now = (p->portsc & PORT_PLS_MASK) >> PORT_PLS_SHIFT;

    switch (want) {
    case PLS_U0:
        if (now != PLS_U0 && (p->portsc & PORT_PED)) {
            link_state(p, PLS_U0);
            port_changed(x, p, PORT_PLC);
        }
        break;
    case PLS_U3:
        if (now < PLS_U3 && (p->portsc & PORT_PED))
            link_state(p, PLS_U3);
        break;
    case PLS_RESUME:
        if (now == PLS_U3)
            link_state(p, PLS_RESUME);
        break;
    case PLS_RX_DETECT:
        if (now == PLS_DISABLED)
            port_show(x, p);
        break;
    }
}

void xhci_port_write(struct xhci *x, unsigned n, uint32_t val)
{
    struct xhci_port *p = &x->port[n];
    bool super = p->speeds & USB_SUPER;

    p->portsc &= ~(val & PORT_CHANGES);
    p->portsc = (p->portsc & ~PORT_WAKES) | (val & PORT_WAKES);
    if ((val & PORT_PED) && (p->portsc & PORT_PED)) { /* writing 1 disables */
        p->portsc &= ~PORT_PED;
        link_state(p, super ? PLS_DISABLED : PLS_POLLING);
    }
    if (val & PORT_LWS)
        link_write(x, p, (val & PORT_PLS_MASK) >> PORT_PLS_SHIFT);
    if (super && (val & PORT_WPR))
        port_reset(x, p, true);
    else if (val & PORT_PR)
        port_reset(x, p, false);
}

void xhci_ports_reset(struct xhci *x)
{
    for (unsigned n = 0; n < x->ports; n++) {
        struct xhci_port *p = &x->port[n];
        p->portsc = 0;
        p->news = false;
        port_show(x, p);
        if (p->portsc & PORT_CCS)
            port_changed(x, p, PORT_CSC);
    }
}

static void attached(struct usb_port *c)
{
    struct xhci *x = c->owner;

    for (unsigned n = 0; n < x->ports; n++) {
        struct xhci_port *p = &x->port[n];
        if (&x->connector[p->connector] == c && port_device(x, p)) {
            port_show(x, p);
            port_changed(x, p, PORT_CSC);
        }
    }
}

static void detached(struct usb_port *c)
{
    struct xhci *x = c->owner;
    struct usb_device *d = c->dev;

    for (unsigned n = 0; n < x->ports; n++) {
        struct xhci_port *p = &x->port[n];
        if (&x->connector[p->connector] != c || !(p->portsc & PORT_CCS))
            continue;
        c->dev = NULL;
        port_show(x, p);
        c->dev = d;
        port_changed(x, p, PORT_CSC);
    }
    /* what is under way at the device fails when it is looked at */
    for (unsigned i = 0; i < XHCI_SLOTS; i++)
        if (x->slot[i].enabled && xhci_port_connector(x, x->slot[i].port) == c)
            x->slot[i].kicked = UINT32_MAX;
    if (xhci_running(x))
        xhci_kick(x);
}

static void wakeup(struct usb_port *c, struct usb_device *d, uint8_t ep)
{
    struct xhci *x = c->owner;
    unsigned index = ep & 15 ? (ep & 15u) * 2 + (ep >> 7) : 1;

    for (unsigned n = 0; n < x->ports; n++) {
        struct xhci_port *p = &x->port[n];
        if (&x->connector[p->connector] == c && port_device(x, p) && d->remote_wakeup &&
            (p->portsc & PORT_PLS_MASK) >> PORT_PLS_SHIFT == PLS_U3) {
            link_state(p, PLS_RESUME);
            port_changed(x, p, PORT_PLC);
        }
    }
    for (unsigned i = 0; i < XHCI_SLOTS; i++) {
        struct xhci_slot *s = &x->slot[i];
        if (s->enabled && s->ep[index - 1].tried && xhci_slot_device(x, s) == d) {
            s->kicked |= BIT(index);
            xhci_kick(x);
        }
    }
}

const struct usb_port_ops xhci_port_ops = {attached, detached, wakeup};
