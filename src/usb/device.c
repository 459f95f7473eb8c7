/* device.c - what all USB devices do: plugging, endpoint 0's stages, state. */
#include "usb_int.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

#include <assert.h>

void usb_device_init(struct usb_device *d, const struct usb_device_ops *ops, uint8_t speeds,
                     const char *fw_name)
{
    d->ops = ops;
    d->speeds = speeds;
    d->fw_name = fw_name;
}

void usb_device_plug(struct usb_device *d, struct usb_port *p, const char *id)
{
    struct device_list *list = p->bus->list->devices;
    g_autofree char *path = g_strdup_printf("%s/%s", p->bus->name, p->path);

    pthread_mutex_lock(&list->lock);
    device_add(list, &d->dev, &d->ops->dev, id, path);
    d->port = p;
    p->dev = d;
    d->speed = (uint8_t)usb_speed_best(d->speeds & p->speeds);
    p->ops->attached(p);
    pthread_mutex_unlock(&list->lock);
}

void usb_device_unplug(struct usb_device *d)
{
    struct usb_port *p = d->port;
    struct device_list *list = d->dev.list;

    if (!p)
        return;
    pthread_mutex_lock(&list->lock);
    p->ops->detached(p);
    p->dev = NULL;
    d->port = NULL;
    device_remove(list, &d->dev);
    pthread_mutex_unlock(&list->lock);
}

bool usb_device_is(const struct device *d)
{
    return g_str_has_prefix(d->ops->type, "usb-");
}

void usb_device_bus_reset(struct usb_device *d)
{
    bool was = d->configuration;

    d->address = d->new_address = d->configuration = 0;
    d->remote_wakeup = false;
    d->halted = 0;
    d->stage = EP0_IDLE;
    if (was && d->ops->configured)
        d->ops->configured(d);
    if (d->ops->bus_reset)
        d->ops->bus_reset(d);
}

enum usb_speed usb_speed_best(uint8_t mask)
{
    return mask & USB_SUPER  ? USB_SPEED_SUPER
           : mask & USB_HIGH ? USB_SPEED_HIGH
           : mask & USB_FULL ? USB_SPEED_FULL
                             : USB_SPEED_LOW;
}

void usb_wakeup(struct usb_device *d, uint8_t ep)
{
    struct usb_port *p = d->port;

    if (!p)
        return;
    while (p->parent)
        p = p->parent;
    p->ops->wakeup(p, d, ep);
}

struct usb_device *usb_device_by_address(struct usb_port *p, uint8_t address)
{
    if (!p->dev)
        return NULL;
    if (p->dev->address == address)
        return p->dev;
    for (unsigned i = 1; i <= USB_PORTS_MAX; i++) {
        struct usb_port *below = usb_port_below(p->dev, i);
        if (!below)
            break;
        struct usb_device *d =
            usb_hub_port_enabled(below) ? usb_device_by_address(below, address) : NULL;
        if (d)
            return d;
    }
    return NULL;
}

/* ---- endpoint 0: setup, data, status (USB 2.0 §8.5.3) ---- */

static enum usb_result ep0_refuse(struct usb_device *d)
{
    d->stage = EP0_IDLE;
    return USB_STALL;
}

/* The request of an IN transfer, as soon as it is there. */
static enum usb_result ep0_ask(struct usb_device *d)
{
    enum usb_result r;

    d->ep0_at = 0;
    d->ep0_len = MIN_OF((uint32_t)d->setup.length, (uint32_t)USB_EP0_BYTES);
    r = usb_control(d, &d->setup, d->ep0, &d->ep0_len);
    assert(d->ep0_len <= USB_EP0_BYTES);
    d->stage = r == USB_OK ? EP0_IN : r == USB_NAK ? EP0_IN_ASKED : EP0_IDLE;
    return r;
}

static enum usb_result ep0_setup(struct usb_device *d, const uint8_t *p, uint32_t len,
                                 uint32_t *moved)
{
    if (len != 8)
        return ep0_refuse(d);
    *moved = 8;
    d->setup = (struct usb_setup){p[0], p[1], le16_get(p + 2), le16_get(p + 4), le16_get(p + 6)};
    d->ep0_at = 0;
    d->new_address = d->address;
    if ((d->setup.type & TYPE_IN) && d->setup.length) {
        ep0_ask(d); /* a refusal is told in the next stage */
    } else {
        d->ep0_len = d->setup.length;
        d->stage = d->ep0_len <= USB_EP0_BYTES ? EP0_OUT : EP0_IDLE;
    }
    return USB_OK;
}

static enum usb_result ep0_in(struct usb_device *d, uint8_t *data, uint32_t len, uint32_t *moved)
{
    enum usb_result r;

    switch (d->stage) {
    case EP0_IN_ASKED:
        r = ep0_ask(d);
        if (r != USB_OK)
            return r;
        /* fall through */
    case EP0_IN:
        *moved = MIN_OF(len, d->ep0_len - d->ep0_at);
        memcpy(data, d->ep0 + d->ep0_at, *moved);
        d->ep0_at += *moved;
        return USB_OK;
    case EP0_OUT: /* the status stage: now it is carried out */
        if (d->ep0_at < d->ep0_len)
            return ep0_refuse(d);
        r = usb_control(d, &d->setup, d->ep0, &d->ep0_len);
        if (r == USB_NAK)
            return r;
        d->stage = EP0_IDLE;
        if (r == USB_OK)
            d->address = d->new_address;
        return r;
    }
    return ep0_refuse(d);
}

static enum usb_result ep0_out(struct usb_device *d, const uint8_t *data, uint32_t len,
                               uint32_t *moved)
{
    switch (d->stage) {
    case EP0_IN: /* the status stage; early when the host has heard enough */
    case EP0_IN_ASKED:
        if (len)
            return ep0_refuse(d);
        d->stage = EP0_IDLE;
        return USB_OK;
    case EP0_OUT:
        if (len > d->ep0_len - d->ep0_at)
            return ep0_refuse(d);
        memcpy(d->ep0 + d->ep0_at, data, len);
        d->ep0_at += len;
        *moved = len;
        return USB_OK;
    }
    return ep0_refuse(d);
}

enum usb_result usb_transfer(struct usb_device *d, enum usb_pid pid, unsigned ep, uint8_t *data,
                             uint32_t len, uint32_t *moved)
{
    uint8_t address = (uint8_t)(ep | (pid == USB_PID_IN ? 0x80 : 0));
    enum usb_result r;

    *moved = 0;
    if (ep == 0)
        return pid == USB_PID_SETUP ? ep0_setup(d, data, len, moved)
               : pid == USB_PID_IN  ? ep0_in(d, data, len, moved)
                                    : ep0_out(d, data, len, moved);
    if (pid == USB_PID_SETUP || !d->configuration || !d->ops->transfer ||
        (d->halted & usb_halt_bit(address)))
        return USB_STALL;
    r = d->ops->transfer(d, address, data, len, moved);
    assert(*moved <= len);
    if (r == USB_STALL)
        d->halted |= usb_halt_bit(address);
    return r;
}

/* ---- state ---- */

static bool device_post_load(void *obj, uint32_t version, GError **err)
{
    struct usb_device *d = obj;

    if (d->speed > USB_SPEED_SUPER || !(d->speeds & BIT(d->speed)) || d->address > 127 ||
        d->new_address > 127 || d->stage >= EP0_STAGES || d->ep0_len > USB_EP0_BYTES ||
        d->ep0_at > d->ep0_len)
        return error_set(err, HANOK_ERROR_CORRUPT, "its USB state contradicts itself");
    if (d->ops->configured)
        d->ops->configured(d);
    return true;
}

static const struct state_field setup_fields[] = {
    STATE_U8(struct usb_setup, type),    STATE_U8(struct usb_setup, request),
    STATE_U16(struct usb_setup, value),  STATE_U16(struct usb_setup, index),
    STATE_U16(struct usb_setup, length), STATE_END,
};
static const struct state_desc setup_state = {
    .name = "usb-setup", .version = 1, .fields = setup_fields};
static const struct state_field device_fields[] = {
    STATE_U8(struct usb_device, speed),
    STATE_U8(struct usb_device, address),
    STATE_U8(struct usb_device, configuration),
    STATE_U8(struct usb_device, new_address),
    STATE_BOOL(struct usb_device, remote_wakeup),
    STATE_U32(struct usb_device, halted),
    STATE_U8(struct usb_device, stage),
    STATE_STRUCT(struct usb_device, setup, setup_state),
    STATE_U32(struct usb_device, ep0_len),
    STATE_U32(struct usb_device, ep0_at),
    STATE_BYTES(struct usb_device, ep0),
    STATE_END,
};
const struct state_desc usb_device_state = {
    .name = "usb-device", .version = 1, .fields = device_fields, .post_load = device_post_load};
