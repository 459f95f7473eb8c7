/* input.c - events from the host's input to the guest's queue; making and ending. */
#include "input.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

#include <glib.h>
#include <linux/input-event-codes.h>

enum { Q_EVENTS, Q_STATUS, QUEUES, QUEUE_SIZE = 64, EVENT_BYTES = 8, ELEM_IOVS = 4 };

static struct virtio_input *input_of(struct virtio_dev *d)
{
    return container_of(d, struct virtio_input, p.dev);
}

/* ---- to the guest: main loop ---- */

static bool oldest(struct virtio_input *v, struct vinput_event *e)
{
    pthread_mutex_lock(&v->lock);
    bool any = v->count;
    if (any)
        *e = v->pending[v->head];
    pthread_mutex_unlock(&v->lock);
    return any;
}

static void oldest_done(struct virtio_input *v)
{
    pthread_mutex_lock(&v->lock);
    if (v->count) { /* a reset may have been faster */
        v->head = (uint16_t)((v->head + 1) % VINPUT_PENDING);
        v->count--;
    }
    pthread_mutex_unlock(&v->lock);
}

static bool events_service(struct virtq *q)
{
    struct virtio_input *v = input_of(q->dev);
    struct vinput_event e;
    uint8_t bytes[EVENT_BYTES];

    if (!oldest(v, &e) || virtq_pop(q, &v->elem) <= 0)
        return false;
    if (v->elem.out_count || v->elem.in_bytes < EVENT_BYTES) {
        virtio_dev_broken(q->dev, "a buffer for events that is readable or too small");
        virtq_detach(&v->elem);
        return false;
    }
    le16_put(bytes, e.type);
    le16_put(bytes + 2, e.code);
    le32_put(bytes + 4, e.value);
    virtq_copy_in(&v->elem, 0, bytes, sizeof(bytes));
    virtq_push(&v->elem, EVENT_BYTES);
    oldest_done(v);
    return true;
}

static void kick(struct virtq *q)
{
    uint64_t before = q->stats.requests;

    virtq_service(q);
    if (q->stats.requests != before)
        virtq_notify(q);
}

/* The driver sets LEDs; nobody here has any. */
static bool status_service(struct virtq *q)
{
    struct virtio_input *v = input_of(q->dev);

    if (virtq_pop(q, &v->elem) <= 0)
        return false;
    if (v->elem.in_count) {
        virtio_dev_broken(q->dev, "a writable buffer in the status queue");
        virtq_detach(&v->elem);
        return false;
    }
    virtq_push(&v->elem, 0);
    return true;
}

/* ---- from the host: main thread ---- */

static struct vinput_event *newest_locked(struct virtio_input *v, unsigned back)
{
    return v->count > back ? &v->pending[(v->head + v->count - 1u - back) % VINPUT_PENDING] : NULL;
}

static void put_locked(struct virtio_input *v, uint16_t type, uint16_t code, uint32_t value)
{
    v->pending[(v->head + v->count) % VINPUT_PENDING] =
        (struct vinput_event){.type = type, .code = code, .value = value};
    v->count++;
}

static bool room_locked(struct virtio_input *v, unsigned events, bool release)
{
    return v->count + events + 1 + (release ? 0 : VINPUT_RESERVED) <= VINPUT_PENDING;
}

static void flush(struct virtio_input *v)
{
    struct virtio_dev *d = &v->p.dev;

    if (!virtio_running(d))
        virtio_defer_to_resume(d);
    else if (virtio_driver_ok(d) && d->transport->may_dma(d))
        kick(&d->queue[Q_EVENTS]);
}

static void key_event(void *opaque, const struct input_key *key, bool down)
{
    struct virtio_input *v = opaque;
    uint16_t code = vinput_key_code(key);

    if (!code)
        return;
    pthread_mutex_lock(&v->lock);
    if (room_locked(v, 1, !down)) {
        put_locked(v, EV_KEY, code, down);
        put_locked(v, EV_SYN, SYN_REPORT, 0);
    }
    pthread_mutex_unlock(&v->lock);
    flush(v);
}

/* A move that is still pending is changed instead of followed by another. */
static void pair_event(struct virtio_input *v, uint16_t type, uint32_t x, uint32_t y)
{
    struct vinput_event *ex, *ey;

    pthread_mutex_lock(&v->lock);
    ey = newest_locked(v, 1);
    ex = newest_locked(v, 2);
    if (ex && ex->type == type && ex->code == REL_X && ey->type == type && ey->code == REL_Y) {
        ex->value = type == EV_REL ? ex->value + x : x;
        ey->value = type == EV_REL ? ey->value + y : y;
    } else if (room_locked(v, 2, false)) {
        put_locked(v, type, REL_X, x);
        put_locked(v, type, REL_Y, y);
        put_locked(v, EV_SYN, SYN_REPORT, 0);
    }
    pthread_mutex_unlock(&v->lock);
    flush(v);
}
_Static_assert(REL_X == ABS_X && REL_Y == ABS_Y, "one pair of codes for both kinds of moves");

static void move_event(void *opaque, int dx, int dy)
{
    pair_event(opaque, EV_REL, (uint32_t)dx, (uint32_t)dy);
}

static void move_to_event(void *opaque, unsigned x, unsigned y)
{
    pair_event(opaque, EV_ABS, x, y);
}

static void buttons_event(void *opaque, unsigned buttons)
{
    static const struct {
        uint8_t button;
        uint16_t code;
    } map[] = {{INPUT_LEFT, BTN_LEFT},
               {INPUT_RIGHT, BTN_RIGHT},
               {INPUT_MIDDLE, BTN_MIDDLE},
               {INPUT_SIDE, BTN_SIDE},
               {INPUT_EXTRA, BTN_EXTRA}};
    struct virtio_input *v = opaque;
    unsigned wheel = buttons & (INPUT_WHEEL_UP | INPUT_WHEEL_DOWN);

    pthread_mutex_lock(&v->lock);
    unsigned changed = buttons ^ v->buttons, pressed = changed & buttons;
    if ((changed || wheel) && room_locked(v, ARRAY_SIZE(map) + 1, !pressed && !wheel)) {
        uint16_t before = v->count;
        for (size_t i = 0; i < ARRAY_SIZE(map); i++)
            if (changed & map[i].button)
                put_locked(v, EV_KEY, map[i].code, buttons & map[i].button ? 1 : 0);
        if (wheel)
            put_locked(v, EV_REL, REL_WHEEL, wheel == INPUT_WHEEL_UP ? 1 : UINT32_MAX);
        if (v->count != before)
            put_locked(v, EV_SYN, SYN_REPORT, 0);
        v->buttons = (uint8_t)(buttons & ~wheel);
    }
    pthread_mutex_unlock(&v->lock);
    flush(v);
}

/* ---- whether to listen ---- */

/* The list of listeners is the main thread's; drivers come and go in a vcpu's. */
static void listen_now(void *opaque)
{
    struct virtio_input *v = opaque;
    bool on = virtio_driver_ok(&v->p.dev);

    if (on && !v->listening)
        input_add(&v->handler);
    else if (!on && v->listening)
        input_remove(&v->handler);
    v->listening = on;
}

static void activate(struct virtio_dev *d)
{
    evloop_defer(evloop_main(), listen_now, input_of(d));
}

static void reset(struct virtio_dev *d)
{
    struct virtio_input *v = input_of(d);

    pthread_mutex_lock(&v->lock);
    v->head = v->count = 0;
    v->buttons = 0;
    pthread_mutex_unlock(&v->lock);
    v->select = v->subselect = 0;
    evloop_defer(evloop_main(), listen_now, v);
}

/* ---- configuration ---- */

static void get_config(struct virtio_dev *d, uint8_t *c)
{
    struct virtio_input *v = input_of(d);

    c[0] = v->select;
    c[1] = v->subselect;
    c[2] = (uint8_t)vinput_answer(v, c + VINPUT_CONFIG_HEAD);
}

static void set_config(struct virtio_dev *d, unsigned off, unsigned size, uint32_t val)
{
    struct virtio_input *v = input_of(d);

    for (; size; size--, off++, val >>= 8) {
        if (off == 0)
            v->select = (uint8_t)val;
        else if (off == 1)
            v->subselect = (uint8_t)val;
    }
}

/* ---- device ---- */

static void destroy(struct virtio_dev *d)
{
    struct virtio_input *v = input_of(d);

    virtio_carrier_fini(&v->p);
    evloop_undefer(evloop_main(), listen_now, v);
    if (v->listening)
        input_remove(&v->handler);
    virtq_elem_free(&v->elem);
    pthread_mutex_destroy(&v->lock);
    g_free(v->serial);
    g_free(v);
}

static const struct virtio_ops vops = {
    .type = 18,
    .config_len = VINPUT_CONFIG_HEAD + VINPUT_CONFIG_DATA,
    .get_config = get_config,
    .set_config = set_config,
    .activate = activate,
    .reset = reset,
    .destroy = destroy,
};

static bool post_load(void *obj, uint32_t version, GError **err)
{
    struct virtio_input *v = obj;

    if (v->head >= VINPUT_PENDING || v->count > VINPUT_PENDING)
        return error_set(err, HANOK_ERROR_CORRUPT, "its pending events contradict themselves");
    return true;
}

static const struct state_field event_fields[] = {
    STATE_U16(struct vinput_event, type),
    STATE_U16(struct vinput_event, code),
    STATE_U32(struct vinput_event, value),
    STATE_END,
};
static const struct state_desc event_state = {
    .name = "virtio-input-event", .version = 1, .fields = event_fields};
static const struct state_field fields[] = {
    STATE_STRUCT(struct virtio_input, p, virtio_carrier_state),
    STATE_U8(struct virtio_input, select),
    STATE_U8(struct virtio_input, subselect),
    STATE_STRUCT_ARRAY(struct virtio_input, pending, event_state),
    STATE_U16(struct virtio_input, head),
    STATE_U16(struct virtio_input, count),
    STATE_U8(struct virtio_input, buttons),
    STATE_END,
};
static const struct state_desc input_state = {
    .name = "virtio-input", .version = 1, .fields = fields, .post_load = post_load};

static const struct virtio_type types[] = {
    [VIRTIO_INPUT_KEYBOARD] = VIRTIO_TYPE("virtio-keyboard", input_state),
    [VIRTIO_INPUT_MOUSE] = VIRTIO_TYPE("virtio-mouse", input_state),
    [VIRTIO_INPUT_TABLET] = VIRTIO_TYPE("virtio-tablet", input_state),
};

struct device *virtio_input_new(const struct virtio_input_config *cfg, GError **err)
{
    static const uint8_t subclass[] = {[VIRTIO_INPUT_KEYBOARD] = 0x00, /* PCI code and ID 1.11 */
                                       [VIRTIO_INPUT_MOUSE] = 0x02,
                                       [VIRTIO_INPUT_TABLET] = 0x80};
    struct virtio_input *v = g_new0(struct virtio_input, 1);

    v->kind = cfg->kind;
    v->serial = g_strdup(cfg->serial);
    pthread_mutex_init(&v->lock, NULL);
    virtq_elem_alloc(&v->elem, ELEM_IOVS);
    v->handler = (struct input_handler){.name = types[cfg->kind].pci.dev.type, .opaque = v};
    if (cfg->kind == VIRTIO_INPUT_KEYBOARD) {
        v->handler.key = key_event;
    } else {
        v->handler.move = cfg->kind == VIRTIO_INPUT_MOUSE ? move_event : NULL;
        v->handler.move_to = cfg->kind == VIRTIO_INPUT_TABLET ? move_to_event : NULL;
        v->handler.buttons = buttons_event;
    }
    virtio_carrier_init(&v->p, &types[cfg->kind], &cfg->place, &vops, QUEUES);
    virtio_carrier_set_class(&v->p, 0x09, subclass[cfg->kind]); /* input */
    virtio_queue(&v->p.dev, Q_EVENTS, QUEUE_SIZE, evloop_main(), events_service, kick);
    virtio_queue(&v->p.dev, Q_STATUS, QUEUE_SIZE, evloop_main(), status_service, kick);
    if (!virtio_carrier_plug(&v->p, &cfg->place, err)) {
        virtio_carrier_destroy(&v->p.device);
        return NULL;
    }
    return &v->p.device;
}
