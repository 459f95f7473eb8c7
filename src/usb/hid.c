/* hid.c - keyboard, mouse and tablet: events in, reports out, class requests (HID 1.11 §7).
 *
 * A device listens to the host's input while the guest has it configured; before that, whoever
 * listened before (the PS/2 pair) hears of it.  Moves that were not yet reported become one event;
 * a full queue loses what comes later, never half of a click. */
#include "hid_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"

enum { REPORT_EP = 0x81, IDLE_UNIT_NS = 4000000 };
enum {
    HID_GET_REPORT = 1,
    HID_GET_IDLE = 2,
    HID_GET_PROTOCOL = 3,
    HID_SET_REPORT = 9,
    HID_SET_IDLE = 10,
    HID_SET_PROTOCOL = 11,
};

static struct hid *hid_of(struct usb_device *d)
{
    return container_of(d, struct hid, usb);
}

static pthread_mutex_t *lock_of(struct hid *h)
{
    return &h->usb.dev.list->lock;
}

/* ---- events: main thread, board lock not held ---- */

static struct hid_event *newest(struct hid *h)
{
    return h->count ? &h->queue[(h->head + h->count - 1) % HID_QUEUE] : NULL;
}

/* NULL: the queue is full. */
static struct hid_event *event_new(struct hid *h)
{
    const struct hid_event *last = newest(h);
    struct hid_event *e;

    if (h->count == HID_QUEUE)
        return NULL;
    e = &h->queue[(h->head + h->count++) % HID_QUEUE];
    *e = (struct hid_event){0};
    if (h->kind == USB_HID_TABLET) {
        e->x = last ? last->x : h->x;
        e->y = last ? last->y : h->y;
    }
    e->buttons = last ? last->buttons : h->buttons;
    return e;
}

/* Not the oldest one, which may be half reported, unless it is the only one. */
static struct hid_event *event_for_move(struct hid *h)
{
    struct hid_event *e = newest(h);

    return e && h->count > 1 && !e->dz &&
                   h->queue[(h->head + h->count - 2) % HID_QUEUE].buttons == e->buttons
               ? e
               : event_new(h);
}

static void key_event(void *opaque, const struct input_key *key, bool down)
{
    struct hid *h = opaque;
    uint8_t usage = hid_usage(key);
    struct hid_event *e;

    pthread_mutex_lock(lock_of(h));
    e = usage ? event_new(h) : NULL;
    if (e) {
        e->usage = usage;
        e->down = down;
        usb_wakeup(&h->usb, REPORT_EP);
    }
    pthread_mutex_unlock(lock_of(h));
}

static uint16_t add_clamped(uint16_t a, int b)
{
    int v = (int16_t)a + b;

    return (uint16_t)(v < -4096 ? -4096 : v > 4096 ? 4096 : v);
}

static void move_event(void *opaque, int dx, int dy)
{
    struct hid *h = opaque;
    struct hid_event *e;

    pthread_mutex_lock(lock_of(h));
    e = event_for_move(h);
    if (e) {
        e->x = add_clamped(e->x, dx);
        e->y = add_clamped(e->y, dy);
        usb_wakeup(&h->usb, REPORT_EP);
    }
    pthread_mutex_unlock(lock_of(h));
}

static void move_to_event(void *opaque, unsigned x, unsigned y)
{
    struct hid *h = opaque;
    struct hid_event *e;

    pthread_mutex_lock(lock_of(h));
    e = event_for_move(h);
    if (e) {
        e->x = (uint16_t)x;
        e->y = (uint16_t)y;
        usb_wakeup(&h->usb, REPORT_EP);
    }
    pthread_mutex_unlock(lock_of(h));
}

static void buttons_event(void *opaque, unsigned buttons)
{
    struct hid *h = opaque;
    struct hid_event *e;

    pthread_mutex_lock(lock_of(h));
    e = event_new(h);
    if (e) {
        e->buttons = (uint8_t)((buttons & INPUT_LEFT ? 1 : 0) | (buttons & INPUT_RIGHT ? 2 : 0) |
                               (buttons & INPUT_MIDDLE ? 4 : 0) | (buttons & INPUT_SIDE ? 8 : 0) |
                               (buttons & INPUT_EXTRA ? 16 : 0));
        e->dz =
            (uint16_t)((buttons & INPUT_WHEEL_UP ? 1 : 0) - (buttons & INPUT_WHEEL_DOWN ? 1 : 0));
        usb_wakeup(&h->usb, REPORT_EP);
    }
    pthread_mutex_unlock(lock_of(h));
}

static void idle_over(void *opaque)
{
    struct hid *h = opaque;

    pthread_mutex_lock(lock_of(h));
    usb_wakeup(&h->usb, REPORT_EP);
    pthread_mutex_unlock(lock_of(h));
}

/* ---- the guest's side ---- */

static const struct usb_descriptors *hid_descriptors(struct usb_device *d, enum usb_speed speed)
{
    return &hid_of(d)->desc[speed == USB_SPEED_HIGH];
}

static void listen(struct hid *h, bool on)
{
    if (on && !h->listening)
        input_add(&h->input);
    else if (!on && h->listening)
        input_remove(&h->input);
    h->listening = on;
}

/* The list of listeners is the main thread's, a port's reset may come in a vcpu's. */
static void listen_later(void *opaque)
{
    struct hid *h = opaque;
    bool on;

    pthread_mutex_lock(lock_of(h));
    h->listen_due = false;
    on = h->usb.configuration;
    pthread_mutex_unlock(lock_of(h));
    listen(h, on);
}

static void hid_configured(struct usb_device *d)
{
    struct hid *h = hid_of(d);

    if (!h->listen_due)
        evloop_defer(evloop_main(), listen_later, h);
    h->listen_due = true;
}

static void hid_bus_reset(struct usb_device *d)
{
    struct hid *h = hid_of(d);

    h->protocol = 1;
    h->idle = 0;
    h->leds = 0;
    h->head = h->count = 0;
    h->buttons = h->modifiers = h->keys_down = 0;
    timer_cancel(h->idle_timer);
}

static enum usb_result hid_transfer(struct usb_device *d, uint8_t ep, uint8_t *data, uint32_t len,
                                    uint32_t *moved)
{
    struct hid *h = hid_of(d);
    uint64_t due = h->reported_ns + (uint64_t)h->idle * IDLE_UNIT_NS;
    uint8_t report[HID_REPORT_BYTES];
    unsigned n;

    if (ep != REPORT_EP)
        return USB_STALL;
    if (!h->count && (!h->idle || vm_clock_ns(h->clock) < due)) {
        if (h->idle)
            timer_set(h->idle_timer, due);
        return USB_NAK;
    }
    n = hid_report(h, report);
    h->reported_ns = vm_clock_ns(h->clock);
    *moved = MIN_OF(n, len);
    memcpy(data, report, *moved);
    return n > len ? USB_BABBLE : USB_OK;
}

static enum usb_result answer(const void *what, uint32_t have, uint8_t *data, uint32_t *len)
{
    *len = MIN_OF(*len, have);
    memcpy(data, what, *len);
    return USB_OK;
}

static enum usb_result descriptor(struct hid *h, const struct usb_setup *s, uint8_t *data,
                                  uint32_t *len)
{
    const uint8_t *report;
    uint16_t n;

    switch (s->value >> 8) {
    case DESC_HID:
        return answer(hid_class_descriptor(h), 9, data, len);
    case DESC_REPORT:
        report = hid_report_descriptor(h->kind, &n);
        return answer(report, n, data, len);
    }
    return USB_STALL;
}

static enum usb_result hid_control(struct usb_device *d, const struct usb_setup *s, uint8_t *data,
                                   uint32_t *len)
{
    struct hid *h = hid_of(d);
    uint8_t report[HID_REPORT_BYTES];

    if (s->type == (TYPE_IN | TYPE_INTERFACE) && s->request == REQ_GET_DESCRIPTOR)
        return descriptor(h, s, data, len);
    if ((s->type & 0x7f) != (TYPE_CLASS | TYPE_INTERFACE))
        return USB_STALL;
    switch (s->request) {
    case HID_GET_REPORT:
        return answer(report, hid_report(h, report), data, len);
    case HID_GET_IDLE:
        return answer(&h->idle, 1, data, len);
    case HID_GET_PROTOCOL:
        return answer(&h->protocol, 1, data, len);
    case HID_SET_REPORT:
        if (h->kind != USB_HID_KEYBOARD || *len < 1)
            return USB_STALL;
        h->leds = data[0];
        return USB_OK;
    case HID_SET_IDLE:
        h->idle = (uint8_t)(s->value >> 8);
        usb_wakeup(d, REPORT_EP);
        return USB_OK;
    case HID_SET_PROTOCOL:
        if (s->value > 1 || h->kind == USB_HID_TABLET)
            return USB_STALL;
        h->protocol = (uint8_t)s->value;
        return USB_OK;
    }
    return USB_STALL;
}

/* ---- device ---- */

static void hid_reset(struct device *dev)
{
    struct hid *h = container_of(dev, struct hid, usb.dev);

    usb_device_bus_reset(&h->usb);
    h->x = h->y = 0;
    h->reported_ns = 0;
}

static void hid_destroy(struct device *dev)
{
    struct hid *h = container_of(dev, struct hid, usb.dev);

    evloop_undefer(evloop_main(), listen_later, h);
    listen(h, false);
    usb_device_unplug(&h->usb);
    timer_free(h->idle_timer);
    g_free(h->serial);
    g_free(h);
}

static bool hid_post_load(void *obj, uint32_t version, GError **err)
{
    struct hid *h = obj;

    if (h->head >= HID_QUEUE || h->count > HID_QUEUE || h->keys_down > HID_KEYS_DOWN ||
        h->protocol > 1)
        return error_set(err, HANOK_ERROR_CORRUPT, "its input queue contradicts itself");
    return true;
}

static const struct state_field event_fields[] = {
    STATE_U16(struct hid_event, x),
    STATE_U16(struct hid_event, y),
    STATE_U16(struct hid_event, dz),
    STATE_U8(struct hid_event, buttons),
    STATE_U8(struct hid_event, usage),
    STATE_BOOL(struct hid_event, down),
    STATE_END,
};
static const struct state_desc event_state = {
    .name = "hid-event", .version = 1, .fields = event_fields};
static const struct state_field hid_fields[] = {
    STATE_STRUCT(struct hid, usb, usb_device_state),
    STATE_U8(struct hid, protocol),
    STATE_U8(struct hid, idle),
    STATE_U8(struct hid, leds),
    STATE_U8(struct hid, head),
    STATE_U8(struct hid, count),
    STATE_STRUCT_ARRAY(struct hid, queue, event_state),
    STATE_U16(struct hid, x),
    STATE_U16(struct hid, y),
    STATE_U8(struct hid, buttons),
    STATE_U8(struct hid, modifiers),
    STATE_U8(struct hid, keys_down),
    STATE_BYTES(struct hid, keys),
    STATE_U64(struct hid, reported_ns),
    STATE_END,
};
static const struct state_desc hid_state = {
    .name = "usb-hid", .version = 1, .fields = hid_fields, .post_load = hid_post_load};

#define HID_OPS(name)                                                                              \
    {                                                                                              \
        .dev = {.type = (name), .reset = hid_reset, .destroy = hid_destroy, .state = &hid_state},  \
        .describe = hid_descriptors, .control = hid_control, .transfer = hid_transfer,             \
        .configured = hid_configured, .bus_reset = hid_bus_reset                                   \
    }
static const struct usb_device_ops hid_ops[] = {
    [USB_HID_TABLET] = HID_OPS("usb-tablet"),
    [USB_HID_MOUSE] = HID_OPS("usb-mouse"),
    [USB_HID_KEYBOARD] = HID_OPS("usb-kbd"),
};

struct usb_device *usb_hid_new(struct usb_port *p, enum usb_hid_kind kind, const char *id,
                               const char *serial)
{
    struct hid *h = g_new0(struct hid, 1);

    h->kind = kind;
    h->clock = p->bus->list->clock;
    h->serial = g_strdup(serial ? serial : "1");
    h->input = (struct input_handler){.name = hid_ops[kind].dev.type, .opaque = h};
    if (kind == USB_HID_KEYBOARD) {
        h->input.key = key_event;
    } else {
        h->input.move = kind == USB_HID_MOUSE ? move_event : NULL;
        h->input.move_to = kind == USB_HID_TABLET ? move_to_event : NULL;
        h->input.buttons = buttons_event;
    }
    h->idle_timer = timer_new(evloop_main(), h->clock, idle_over, h);
    hid_describe(h);
    usb_device_init(&h->usb, &hid_ops[kind], USB_HID_SPEEDS, "input");
    h->protocol = 1;
    usb_device_plug(&h->usb, p, id);
    return &h->usb;
}
