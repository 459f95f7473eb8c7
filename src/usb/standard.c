/* standard.c - requests every device answers (USB 2.0 §9.4, USB 3.2 §9.4). */
#include "usb_int.h"

#include "base/util.h"

enum { FEATURE_HALT = 0, FEATURE_REMOTE_WAKEUP = 1, CONFIG_SELF_POWERED = 0x40 };

static enum usb_result reply(const void *what, uint32_t have, uint8_t *data, uint32_t *len)
{
    *len = MIN_OF(*len, have);
    memcpy(data, what, *len);
    return USB_OK;
}

/* String 0 lists the languages: US English. */
static enum usb_result string_descriptor(const struct usb_descriptors *desc, uint8_t index,
                                         uint8_t *data, uint32_t *len)
{
    uint8_t out[2 + 2 * 126] = {4, DESC_STRING, 0x09, 0x04};
    size_t n;

    if (index == 0)
        return reply(out, 4, data, len);
    for (unsigned i = 0; i < index; i++)
        if (!desc->strings[i])
            return USB_STALL;
    n = MIN_OF(strlen(desc->strings[index - 1]), (size_t)126);
    for (size_t i = 0; i < n; i++)
        le16_put(out + 2 + 2 * i, (uint8_t)desc->strings[index - 1][i]);
    out[0] = (uint8_t)(2 + 2 * n);
    return reply(out, out[0], data, len);
}

/* What the device is at the other of full and high speed (§9.6.2, §9.6.4). */
static enum usb_result other_speed(struct usb_device *d, uint8_t type, uint8_t *data, uint32_t *len)
{
    bool high = d->speed == USB_SPEED_HIGH;
    enum usb_speed other = high ? USB_SPEED_FULL : USB_SPEED_HIGH;
    const struct usb_descriptors *desc;
    uint8_t q[10] = {sizeof(q), DESC_QUALIFIER};

    if (d->speed > USB_SPEED_HIGH || !(d->speeds & BIT(other)))
        return USB_STALL;
    desc = d->ops->describe(d, other);
    if (type == DESC_OTHER_SPEED) {
        reply(desc->config, le16_get(desc->config + 2), data, len);
        if (*len > 1)
            data[1] = DESC_OTHER_SPEED;
        return USB_OK;
    }
    memcpy(q + 2, desc->device + 2, 6); /* version, class, packet size */
    q[8] = desc->device[17];
    return reply(q, sizeof(q), data, len);
}

static enum usb_result descriptor(struct usb_device *d, const struct usb_setup *s, uint8_t *data,
                                  uint32_t *len)
{
    const struct usb_descriptors *desc = d->ops->describe(d, d->speed);

    switch (s->value >> 8) {
    case DESC_DEVICE:
        return reply(desc->device, 18, data, len);
    case DESC_CONFIG:
        return (s->value & 0xff) ? USB_STALL
                                 : reply(desc->config, le16_get(desc->config + 2), data, len);
    case DESC_STRING:
        return string_descriptor(desc, (uint8_t)s->value, data, len);
    case DESC_QUALIFIER:
    case DESC_OTHER_SPEED:
        return other_speed(d, (uint8_t)(s->value >> 8), data, len);
    case DESC_BOS:
        return desc->bos ? reply(desc->bos, le16_get(desc->bos + 2), data, len) : USB_STALL;
    }
    return USB_STALL;
}

static enum usb_result device_request(struct usb_device *d, const struct usb_setup *s,
                                      uint8_t *data, uint32_t *len)
{
    const uint8_t *config = d->ops->describe(d, d->speed)->config;
    uint8_t status[2] = {0};

    switch (s->request) {
    case REQ_GET_STATUS:
        status[0] = (uint8_t)((config[7] & CONFIG_SELF_POWERED ? 1 : 0) | d->remote_wakeup << 1);
        return reply(status, 2, data, len);
    case REQ_CLEAR_FEATURE:
    case REQ_SET_FEATURE:
        if (s->value == FEATURE_REMOTE_WAKEUP)
            d->remote_wakeup = s->request == REQ_SET_FEATURE;
        else if (d->speed != USB_SPEED_SUPER) /* there: U1 and U2, which nothing follows from */
            return USB_STALL;
        return USB_OK;
    case REQ_SET_ADDRESS:
        if (s->value > 127)
            return USB_STALL;
        d->new_address = (uint8_t)s->value;
        return USB_OK;
    case REQ_GET_DESCRIPTOR:
        return descriptor(d, s, data, len);
    case REQ_GET_CONFIGURATION:
        return reply(&d->configuration, 1, data, len);
    case REQ_SET_CONFIGURATION:
        if (s->value && s->value != config[5])
            return USB_STALL;
        d->configuration = (uint8_t)s->value;
        d->halted = 0;
        if (d->ops->configured)
            d->ops->configured(d);
        return USB_OK;
    case REQ_SET_SEL:
    case REQ_SET_ISOCH_DELAY:
        return d->speed == USB_SPEED_SUPER ? USB_OK : USB_STALL;
    }
    return USB_STALL;
}

/* Devices here have no alternate settings. */
static enum usb_result interface_request(struct usb_device *d, const struct usb_setup *s,
                                         uint8_t *data, uint32_t *len)
{
    uint8_t interfaces = d->ops->describe(d, d->speed)->config[4], zero[2] = {0};

    if (s->index >= interfaces || !d->configuration)
        return USB_STALL;
    switch (s->request) {
    case REQ_GET_STATUS:
        return reply(zero, 2, data, len);
    case REQ_GET_INTERFACE:
        return reply(zero, 1, data, len);
    case REQ_SET_INTERFACE:
        return s->value ? USB_STALL : USB_OK;
    case REQ_SET_FEATURE:
    case REQ_CLEAR_FEATURE:
        return d->speed == USB_SPEED_SUPER ? USB_OK : USB_STALL; /* function suspend */
    }
    return USB_STALL;
}

static enum usb_result endpoint_request(struct usb_device *d, const struct usb_setup *s,
                                        uint8_t *data, uint32_t *len)
{
    uint32_t bit = usb_halt_bit((uint8_t)s->index);
    uint8_t status[2] = {0};

    switch (s->request) {
    case REQ_GET_STATUS:
        status[0] = (d->halted & bit) != 0;
        return reply(status, 2, data, len);
    case REQ_CLEAR_FEATURE:
    case REQ_SET_FEATURE:
        if (s->value != FEATURE_HALT || (s->index & 15) == 0)
            return s->value == FEATURE_HALT ? USB_OK : USB_STALL;
        d->halted = s->request == REQ_SET_FEATURE ? d->halted | bit : d->halted & ~bit;
        if (s->request == REQ_CLEAR_FEATURE)
            usb_wakeup(d, (uint8_t)s->index);
        return USB_OK;
    }
    return USB_STALL;
}

enum usb_result usb_control(struct usb_device *d, const struct usb_setup *s, uint8_t *data,
                            uint32_t *len)
{
    enum usb_result r = USB_STALL;

    if (d->ops->takes_all && d->ops->takes_all(d) && s->request != REQ_SET_ADDRESS)
        return d->ops->control(d, s, data, len);
    switch (s->type & 0x7f) {
    case 0:
        r = device_request(d, s, data, len);
        break;
    case TYPE_INTERFACE:
        r = interface_request(d, s, data, len);
        break;
    case TYPE_ENDPOINT:
        r = endpoint_request(d, s, data, len);
        break;
    }
    if (r == USB_STALL && d->ops->control)
        r = d->ops->control(d, s, data, len);
    return r;
}
