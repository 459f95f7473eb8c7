/* hub.c - a full-speed hub (USB 2.0 §11): ports for devices of low and full speed.
 *
 * Its descriptors and port numbers are those every hub driver knows; it has one interrupt endpoint
 * that tells which ports have changed.  There is no power switching and no over-current. */
#include "usb_int.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"
#include "usb/devices.h"

enum { STATUS_EP = 0x81, HUB_GET_STATUS = 0, HUB_CLEAR_FEATURE = 1, HUB_SET_FEATURE = 3 };
/* Port status and change bits, and the features named after them (table 11-17, 11-21). */
enum {
    PS_CONNECTION = 0x001,
    PS_ENABLE = 0x002,
    PS_SUSPEND = 0x004,
    PS_POWER = 0x100,
    PS_LOW_SPEED = 0x200,
    PC_CONNECTION = 0x01,
    PC_ENABLE = 0x02,
    PC_SUSPEND = 0x04,
    PC_RESET = 0x10,
    FEATURE_ENABLE = 1,
    FEATURE_SUSPEND = 2,
    FEATURE_RESET = 4,
    FEATURE_POWER = 8,
    FEATURE_C_FIRST = 16,
    FEATURE_C_LAST = 20,
};

struct hub_port {
    struct usb_port port; /* first */
    uint16_t status, change;
};

struct hub {
    struct usb_device usb; /* first */
    unsigned ports;
    struct hub_port port[USB_PORTS_MAX];
};

static const uint8_t device_desc[] = {18,          DESC_DEVICE, U16(0x0110), 9, 0, 0, 64,
                                      U16(0x0409), U16(0x55aa), U16(0x0101), 1, 2, 0, 1};
static const uint8_t config_desc[] = {
    9, DESC_CONFIG, U16(25), 1, 1, 0, 0xe0,          0,         9, DESC_INTERFACE, 0,  0,
    1, 9,           0,       0, 0, 7, DESC_ENDPOINT, STATUS_EP, 3, U16(2),         255};
static const char *const strings[] = {"Hanok", "USB Hub", NULL};
static const struct usb_descriptors descriptors = {
    .device = device_desc, .config = config_desc, .strings = strings};

static const struct usb_descriptors *hub_describe(struct usb_device *d, enum usb_speed speed)
{
    return &descriptors;
}

static struct hub *hub_of(struct usb_device *d)
{
    return container_of(d, struct hub, usb);
}

bool usb_hub_port_enabled(const struct usb_port *p)
{
    return container_of(p, const struct hub_port, port)->status & PS_ENABLE;
}

static void changed(struct hub *h, struct hub_port *p, uint16_t bits)
{
    p->change |= bits;
    usb_wakeup(&h->usb, STATUS_EP);
}

/* ---- ports ---- */

static void connect(struct hub_port *p)
{
    bool low = p->port.dev->speed == USB_SPEED_LOW;

    p->status = (uint16_t)((p->status & ~(PS_ENABLE | PS_SUSPEND | PS_LOW_SPEED)) | PS_CONNECTION |
                           (low ? PS_LOW_SPEED : 0));
}

static void attached(struct usb_port *port)
{
    struct hub_port *p = container_of(port, struct hub_port, port);

    connect(p);
    changed(port->owner, p, PC_CONNECTION);
}

static void detached(struct usb_port *port)
{
    struct hub_port *p = container_of(port, struct hub_port, port);

    /* what the guest has under way there fails when it is tried again */
    for (uint8_t ep = 0; ep < USB_ENDPOINTS; ep++) {
        usb_wakeup(port->dev, ep);
        usb_wakeup(port->dev, ep | 0x80);
    }
    p->status &= PS_POWER;
    changed(port->owner, p, PC_CONNECTION);
}

/* Never called: usb_wakeup() goes to the root port. */
static const struct usb_port_ops port_ops = {attached, detached, NULL};

static void port_reset(struct hub *h, struct hub_port *p)
{
    if (!p->port.dev)
        return;
    usb_device_bus_reset(p->port.dev);
    p->status |= PS_ENABLE;
    p->status &= (uint16_t)~PS_SUSPEND;
    changed(h, p, PC_RESET);
}

static enum usb_result feature_set(struct hub *h, struct hub_port *p, unsigned feature)
{
    switch (feature) {
    case FEATURE_RESET:
        port_reset(h, p);
        return USB_OK;
    case FEATURE_SUSPEND:
        if (p->status & PS_ENABLE)
            p->status |= PS_SUSPEND;
        return USB_OK;
    case FEATURE_POWER:
        p->status |= PS_POWER;
        return USB_OK;
    }
    return USB_STALL;
}

static enum usb_result feature_clear(struct hub *h, struct hub_port *p, unsigned feature)
{
    if (feature >= FEATURE_C_FIRST && feature <= FEATURE_C_LAST) {
        p->change &= (uint16_t)~BIT(feature - FEATURE_C_FIRST);
        return USB_OK;
    }
    switch (feature) {
    case FEATURE_ENABLE:
        p->status &= (uint16_t)~PS_ENABLE;
        return USB_OK;
    case FEATURE_SUSPEND:
        if (p->status & PS_SUSPEND) {
            p->status &= (uint16_t)~PS_SUSPEND;
            changed(h, p, PC_SUSPEND);
        }
        return USB_OK;
    case FEATURE_POWER: /* ports are not switched, §11.11 */
        return USB_OK;
    }
    return USB_STALL;
}

/* ---- requests ---- */

static enum usb_result hub_descriptor(const struct hub *h, uint8_t *data, uint32_t *len)
{
    unsigned mask = (h->ports + 8) / 8;
    uint8_t d[7 + 4] = {(uint8_t)(7 + 2 * mask), DESC_HUB, (uint8_t)h->ports, 0x0a, 0, 1, 0};

    memset(d + 7 + mask, 0xff, mask);
    *len = MIN_OF(*len, (uint32_t)d[0]);
    memcpy(data, d, *len);
    return USB_OK;
}

static enum usb_result hub_control(struct usb_device *d, const struct usb_setup *s, uint8_t *data,
                                   uint32_t *len)
{
    struct hub *h = hub_of(d);
    bool for_port = (s->type & 0x1f) == TYPE_OTHER;
    unsigned n = (s->index & 0xff) - 1u;
    uint8_t status[4] = {0};

    if ((s->type & 0x60) != TYPE_CLASS || (for_port && n >= h->ports))
        return USB_STALL;
    switch (s->request) {
    case HUB_GET_STATUS:
        if (for_port) {
            le16_put(status, h->port[n].status);
            le16_put(status + 2, h->port[n].change);
        }
        *len = MIN_OF(*len, 4u);
        memcpy(data, status, *len);
        return USB_OK;
    case REQ_GET_DESCRIPTOR:
        return for_port ? USB_STALL : hub_descriptor(h, data, len);
    case HUB_SET_FEATURE:
        return for_port ? feature_set(h, &h->port[n], s->value) : USB_OK;
    case HUB_CLEAR_FEATURE:
        return for_port ? feature_clear(h, &h->port[n], s->value) : USB_OK;
    }
    return USB_STALL;
}

static enum usb_result hub_transfer(struct usb_device *d, uint8_t ep, uint8_t *data, uint32_t len,
                                    uint32_t *moved)
{
    struct hub *h = hub_of(d);
    unsigned bytes = (h->ports + 8) / 8;
    uint8_t map[2] = {0};

    if (ep != STATUS_EP)
        return USB_STALL;
    for (unsigned i = 0; i < h->ports; i++)
        if (h->port[i].change)
            map[(i + 1) / 8] |= (uint8_t)BIT((i + 1) % 8);
    if (!map[0] && !map[1])
        return USB_NAK;
    *moved = MIN_OF(bytes, len);
    memcpy(data, map, *moved);
    return bytes > len ? USB_BABBLE : USB_OK;
}

static void hub_bus_reset(struct usb_device *d)
{
    struct hub *h = hub_of(d);

    for (unsigned i = 0; i < h->ports; i++) {
        struct hub_port *p = &h->port[i];
        p->status = PS_POWER;
        p->change = 0;
        if (!p->port.dev)
            continue;
        connect(p);
        p->change = PC_CONNECTION;
    }
}

/* ---- device ---- */

static void hub_reset(struct device *dev)
{
    usb_device_bus_reset(container_of(dev, struct usb_device, dev));
}

static void hub_destroy(struct device *dev)
{
    struct hub *h = container_of(dev, struct hub, usb.dev);

    for (unsigned i = 0; i < h->ports; i++) {
        struct usb_device *below = h->port[i].port.dev;
        if (below)
            below->dev.ops->destroy(&below->dev);
    }
    for (unsigned i = 0; i < h->ports; i++)
        usb_port_remove(&h->port[i].port);
    usb_device_unplug(&h->usb);
    g_free(h);
}

static const struct state_field port_fields[] = {STATE_U16(struct hub_port, status),
                                                 STATE_U16(struct hub_port, change), STATE_END};
static const struct state_desc port_state = {
    .name = "usb-hub-port", .version = 1, .fields = port_fields};
static const struct state_field hub_fields[] = {
    STATE_STRUCT(struct hub, usb, usb_device_state),
    STATE_STRUCT_ARRAY(struct hub, port, port_state),
    STATE_END,
};
static const struct state_desc hub_state = {.name = "usb-hub", .version = 1, .fields = hub_fields};

static const struct usb_device_ops hub_ops = {
    .dev = {.type = "usb-hub", .reset = hub_reset, .destroy = hub_destroy, .state = &hub_state},
    .describe = hub_describe,
    .control = hub_control,
    .transfer = hub_transfer,
    .bus_reset = hub_bus_reset,
};

struct usb_device *usb_hub_new(struct usb_port *p, unsigned ports, const char *id)
{
    struct hub *h = g_new0(struct hub, 1);

    h->ports = MIN_OF(ports, (unsigned)USB_PORTS_MAX);
    usb_device_init(&h->usb, &hub_ops, USB_HUB_SPEEDS, "hub");
    usb_device_plug(&h->usb, p, id);
    for (unsigned i = 0; i < h->ports; i++) {
        struct usb_port *own = &h->port[i].port;
        own->ops = &port_ops;
        own->owner = h;
        own->index = i;
        own->parent = p;
        own->hub = &h->usb;
        own->speeds = USB_LOW | USB_FULL;
        h->port[i].status = PS_POWER;
        usb_port_add(p->bus, own);
    }
    return &h->usb;
}
