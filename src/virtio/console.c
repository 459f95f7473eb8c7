/* console.c - the virtio console device, known as virtio-serial (virtio 1.2 §5.3). */
#include "console.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

#include <glib.h>

enum { CFG_MAX_PORTS = 4, CFG_BYTES = 12, CTRL_RX = 2, CTRL_TX = 3 };

static void get_config(struct virtio_dev *d, uint8_t *c)
{
    le32_put(c + CFG_MAX_PORTS, vcon_of(d)->max_ports);
}

static bool is_ctrl(const struct virtq *q)
{
    return q->index == CTRL_RX || q->index == CTRL_TX;
}

static bool service(struct virtq *q)
{
    struct virtio_console *c = vcon_of(q->dev);

    if (q->index == CTRL_TX)
        return vcon_ctrl(c, q);
    if (is_ctrl(q) || q->index % 2 == 0)
        return false;
    struct vcon_port *p = vcon_port_of_queue(c, q);
    if (p)
        return vcon_tx(p, q);
    /* Output of a port that is not there goes nowhere. */
    if (virtq_pop(q, &c->elem) <= 0)
        return false;
    virtq_push(&c->elem, 0);
    return true;
}

static void kick(struct virtq *q)
{
    struct virtio_console *c = vcon_of(q->dev);
    struct vcon_port *p = is_ctrl(q) ? NULL : vcon_port_of_queue(c, q);

    if (q->index == CTRL_RX) {
        vcon_send_pending(c);
    } else if (q->index % 2 == 0) {
        if (p)
            vcon_rx_kick(p);
    } else {
        virtq_service(q);
        virtq_notify(q);
    }
}

/* Main thread, after a reset: the other ends learn that the guest has let go. */
static void reset_timer(void *opaque)
{
    struct virtio_console *c = opaque;

    for (unsigned i = 0; i < c->max_ports; i++) {
        struct vcon_port *p = c->port[i];
        if (!p || __atomic_load_n(&p->guest_open, __ATOMIC_RELAXED))
            continue;
        if (p->fe)
            chardev_set_open(p->fe, false);
        vcon_tell_open(p);
    }
}

static void reset(struct virtio_dev *d)
{
    struct virtio_console *c = vcon_of(d);

    pthread_mutex_lock(&c->lock);
    c->message_first = c->message_count = 0;
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->max_ports; i++) {
        struct vcon_port *p = c->port[i];
        if (!p)
            continue;
        __atomic_store_n(&p->guest_open, false, __ATOMIC_RELAXED);
        __atomic_store_n(&p->tx_done, 0, __ATOMIC_RELAXED);
    }
    timer_set(c->reset_timer, host_clock_ns());
}

static void resume(struct virtio_dev *d)
{
    struct virtio_console *c = vcon_of(d);

    vcon_send_pending(c);
    for (unsigned i = 0; i < c->max_ports; i++) {
        if (c->port[i])
            vcon_rx_kick(c->port[i]);
    }
}

static void destroy(struct virtio_dev *d)
{
    struct virtio_console *c = vcon_of(d);

    for (unsigned i = 0; i < c->max_ports; i++) {
        if (c->port[i])
            vcon_port_destroy(&c->port[i]->dev);
    }
    virtio_carrier_fini(&c->p);
    timer_free(c->reset_timer);
    virtq_elem_free(&c->elem);
    pthread_mutex_destroy(&c->lock);
    g_free(c);
}

static const struct virtio_ops vops = {
    .type = 3,
    .config_len = CFG_BYTES,
    .get_config = get_config,
    .reset = reset,
    .resume = resume,
    .destroy = destroy,
};

/* --- state --- */

static void ports_save(struct state_writer *w, const void *obj)
{
    const struct virtio_console *c = obj;

    for (unsigned i = 0; i < c->max_ports; i++) {
        const struct vcon_port *p = c->port[i];
        state_put_u32(w, p ? 1u | (uint32_t)p->guest_open << 1 : 0);
        state_put_u32(w, p ? p->tx_done : 0);
    }
    state_put_u32(w, c->message_count);
    for (unsigned i = 0; i < c->message_count; i++) {
        const struct vcon_message *m = &c->message[(c->message_first + i) % VCON_MESSAGES_MAX];
        state_put_u32(w, m->id);
        state_put_u32(w, m->event | (uint32_t)m->value << 16);
    }
}

static bool ports_load(struct state_reader *r, void *obj, GError **err)
{
    struct virtio_console *c = obj;

    for (unsigned i = 0; i < c->max_ports; i++) {
        uint32_t flags = state_get_u32(r), done = state_get_u32(r);
        struct vcon_port *p = c->port[i];
        if ((flags & 1) != (p != NULL))
            return error_set(err, HANOK_ERROR_CORRUPT, "port %u is on one side only", i);
        if (!p)
            continue;
        p->tx_done = done;
        vcon_set_guest_open(p, flags & 2);
    }
    uint32_t n = state_get_u32(r);
    if (n > VCON_MESSAGES_MAX)
        return error_set(err, HANOK_ERROR_CORRUPT, "too many control messages");
    c->message_first = 0;
    c->message_count = n;
    for (unsigned i = 0; i < n; i++) {
        uint32_t id = state_get_u32(r), v = state_get_u32(r);
        c->message[i] = (struct vcon_message){id, (uint16_t)v, (uint16_t)(v >> 16)};
    }
    return true;
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct virtio_console, p, virtio_carrier_state),
    STATE_CUSTOM("ports", ports_save, ports_load),
    STATE_END,
};
static const struct state_desc console_state = {
    .name = "virtio-serial",
    .version = 1,
    .fields = fields,
};

/* --- making --- */

static const struct virtio_type type = VIRTIO_TYPE("virtio-serial", console_state);

struct device *virtio_serial_new(const struct virtio_serial_config *cfg, GError **err)
{
    unsigned ports = cfg->max_ports ? cfg->max_ports : VCON_PORTS_MAX;
    struct virtio_place place = cfg->place;

    if (ports > VCON_PORTS_MAX) {
        error_set(err, HANOK_ERROR_INVALID, "max_ports= is at most %u.", VCON_PORTS_MAX);
        return NULL;
    }
    struct virtio_console *c = g_new0(struct virtio_console, 1);
    c->max_ports = ports;
    pthread_mutex_init(&c->lock, NULL);
    c->reset_timer = timer_new(evloop_main(), NULL, reset_timer, c);
    virtq_elem_alloc(&c->elem, VCON_ELEM_IOVS);
    virtio_carrier_init(&c->p, &type, &cfg->place, &vops, 2 * ports + 2);
    for (unsigned i = 0; i < 2 * ports + 2; i++)
        virtio_queue(&c->p.dev, i, VCON_QUEUE_SIZE, evloop_main(), service, kick);
    c->p.dev.host_features |= BIT64(VCON_F_MULTIPORT);
    if (!place.vectors)
        place.vectors = 3; /* most ports are idle: they share */
    if (!virtio_carrier_plug(&c->p, &place, err)) {
        virtio_carrier_destroy(&c->p.device);
        return NULL;
    }
    return &c->p.device;
}

/* "ID.0" names the one bus of device ID. */
static bool names_bus(const struct device *d, const char *bus_name)
{
    size_t n = d->id ? strlen(d->id) : 0;

    return n && !strncmp(d->id, bus_name, n) && (!bus_name[n] || !strcmp(bus_name + n, ".0"));
}

struct device *virtio_serial_find(struct device_list *l, const char *bus_name, GError **err)
{
    g_autoptr(GString) known = g_string_new(NULL);

    for (struct device *d = l->first; d; d = d->next) {
        if (!virtio_is(d, &type))
            continue;
        if (!bus_name || names_bus(d, bus_name))
            return d;
        g_string_append_printf(known, "%s'%s.0'", known->len ? ", " : "", d->id ? d->id : "?");
    }
    if (!known->len)
        error_set(err, HANOK_ERROR_NOT_FOUND,
                  "There is no virtio-serial device to put the port on; add one before it.");
    else
        error_set(err, HANOK_ERROR_NOT_FOUND, "There is no virtio-serial bus '%s'; there is %s.",
                  bus_name, known->str);
    return NULL;
}
