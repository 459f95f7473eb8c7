/* console_port.c - a port of virtio-serial: guest buffers on one side, a chardev on the other. */
#include "console.h"

#include "base/error.h"

#include <glib.h>

#define CHUNK 4096u

struct virtq *vcon_rx_queue(struct virtio_console *c, unsigned port)
{
    return &c->p.dev.queue[port ? 2 * port + 2 : 0];
}

struct virtq *vcon_tx_queue(struct virtio_console *c, unsigned port)
{
    return &c->p.dev.queue[port ? 2 * port + 3 : 1];
}

struct vcon_port *vcon_port_of_queue(struct virtio_console *c, const struct virtq *q)
{
    unsigned nr = q->index < 2 ? 0 : q->index / 2u - 1;
    return nr < VCON_PORTS_MAX ? c->port[nr] : NULL;
}

/* --- guest to host --- */

/* Writes the buffer from tx_done on; false: the chardev takes no more for now. */
static bool write_buffer(struct vcon_port *p, const struct virtq_elem *e)
{
    uint8_t buf[CHUNK];
    size_t n;

    while ((n = virtq_copy_out(e, p->tx_done, buf, sizeof(buf)))) {
        size_t taken = p->fe ? chardev_write(p->fe, buf, n) : n;
        p->tx_done += (uint32_t)taken;
        if (taken < n)
            return false;
    }
    return true;
}

bool vcon_tx(struct vcon_port *p, struct virtq *q)
{
    struct virtq_elem *e = &p->con->elem;

    if (virtq_pop(q, e) <= 0)
        return false;
    if (!write_buffer(p, e)) {
        virtq_unpop(e); /* CHARDEV_WRITABLE brings us back */
        return false;
    }
    p->tx_done = 0;
    virtq_push(e, 0);
    return true;
}

/* --- host to guest --- */

static bool guest_listens(struct vcon_port *p)
{
    struct virtio_dev *d = &p->con->p.dev;

    if (!virtio_driver_ok(d))
        return false;
    /* Without multiport there is one console, open as soon as there is a driver. */
    return virtio_has(d, VCON_F_MULTIPORT) ? __atomic_load_n(&p->guest_open, __ATOMIC_RELAXED)
                                           : p->nr == 0;
}

static int pop_rx(struct vcon_port *p, struct virtq *q)
{
    struct virtq_elem *e = &p->con->elem;
    int r = virtq_pop(q, e);

    if (r == 0) {
        virtq_want_kicks(q, true);
        r = virtq_pop(q, e);
    }
    if (r > 0 && (e->in_bytes == 0 || e->out_count)) {
        virtio_dev_broken(&p->con->p.dev, "an input buffer that is empty or readable");
        virtq_detach(e);
        return -1;
    }
    return r;
}

static size_t fe_can_read(void *fe)
{
    struct vcon_port *p = fe;
    struct virtio_dev *d = &p->con->p.dev;

    if (!guest_listens(p))
        return 0;
    if (!virtio_running(d)) {
        virtio_defer_to_resume(d);
        return 0;
    }
    if (!d->transport->may_dma(d) || pop_rx(p, vcon_rx_queue(p->con, p->nr)) <= 0)
        return 0;
    size_t room = p->con->elem.in_bytes;
    virtq_unpop(&p->con->elem);
    return room;
}

static void fe_read(void *fe, const uint8_t *buf, size_t len)
{
    struct vcon_port *p = fe;
    struct virtq *q = vcon_rx_queue(p->con, p->nr);

    /* can_read() saw room for all of it; a guest that changed the buffer since loses input. */
    while (len && pop_rx(p, q) > 0) {
        size_t n = virtq_copy_in(&p->con->elem, 0, buf, len);
        virtq_push(&p->con->elem, (uint32_t)n);
        buf += n;
        len -= n;
    }
    virtq_notify(q);
}

void vcon_rx_kick(struct vcon_port *p)
{
    if (p->fe)
        chardev_accept_input(p->fe);
}

static void fe_event(void *fe, enum chardev_event ev)
{
    struct vcon_port *p = fe;

    switch (ev) {
    case CHARDEV_OPENED:
    case CHARDEV_CLOSED:
        if (!p->console)
            vcon_send(p->con, p->nr, VCON_PORT_OPEN, ev == CHARDEV_OPENED);
        break;
    case CHARDEV_WRITABLE:
        virtq_self_kick(vcon_tx_queue(p->con, p->nr));
        break;
    case CHARDEV_BREAK:
    case CHARDEV_MUX_IN:
    case CHARDEV_MUX_OUT:
        break;
    }
}

static const struct chardev_fe_ops fe_ops = {
    .can_read = fe_can_read,
    .read = fe_read,
    .event = fe_event,
};

void vcon_tell_open(struct vcon_port *p)
{
    bool open = __atomic_load_n(&p->guest_open, __ATOMIC_RELAXED);

    if (p->on_open && open != p->told_open)
        p->on_open(p->on_open_opaque, &p->dev, open);
    p->told_open = open;
}

void vcon_set_guest_open(struct vcon_port *p, bool open)
{
    __atomic_store_n(&p->guest_open, open, __ATOMIC_RELAXED);
    vcon_tell_open(p);
    if (!p->fe)
        return;
    chardev_set_open(p->fe, open);
    if (open)
        chardev_accept_input(p->fe);
}

/* --- making and ending --- */

void vcon_port_destroy(struct device *d)
{
    struct vcon_port *p = container_of(d, struct vcon_port, dev);
    struct virtio_console *c = p->con;

    if (c->port[p->nr] == p) {
        c->port[p->nr] = NULL;
        vcon_send(c, p->nr, VCON_PORT_REMOVE, 1);
    }
    if (d->list) {
        struct device_list *list = d->list;
        pthread_mutex_lock(&list->lock);
        device_remove(list, d);
        pthread_mutex_unlock(&list->lock);
    }
    if (p->fe && p->guest_open)
        chardev_set_open(p->fe, false);
    chardev_detach(p->fe);
    g_free(p->name);
    g_free(p);
}

static const struct device_ops port_ops = {.type = "virtserialport", .destroy = vcon_port_destroy};
static const struct device_ops console_ops = {.type = "virtconsole", .destroy = vcon_port_destroy};

static bool choose_number(struct virtio_console *c, const struct virtio_port_config *cfg,
                          unsigned *nr, GError **err)
{
    unsigned first = cfg->console ? 0 : 1; /* port 0 is the console a driver may have alone */

    *nr = cfg->nr;
    for (unsigned i = first; !cfg->nr && i < c->max_ports; i++) {
        if (!c->port[i]) {
            *nr = i;
            return true;
        }
    }
    if (!cfg->nr)
        return error_set(err, HANOK_ERROR_BUSY, "All %u ports of '%s' are in use.", c->max_ports,
                         c->p.device.id ? c->p.device.id : "virtio-serial");
    if (*nr >= c->max_ports)
        return error_set(err, HANOK_ERROR_INVALID, "nr=%u: the last port is %u.", *nr,
                         c->max_ports - 1);
    if (c->port[*nr])
        return error_set(err, HANOK_ERROR_BUSY, "nr=%u: this port is in use.", *nr);
    return true;
}

struct device *virtio_port_new(struct device *serial, const struct virtio_port_config *cfg,
                               GError **err)
{
    struct virtio_console *c = container_of(serial, struct virtio_console, p.device);
    struct device_list *list = serial->list;
    unsigned nr;

    if (cfg->name && strlen(cfg->name) > VCON_NAME_MAX) {
        error_set(err, HANOK_ERROR_INVALID, "name= is longer than %u bytes.", VCON_NAME_MAX);
        return NULL;
    }
    if (!choose_number(c, cfg, &nr, err))
        return NULL;
    struct vcon_port *p = g_new0(struct vcon_port, 1);
    p->con = c;
    p->nr = nr;
    p->console = cfg->console;
    p->name = g_strdup(cfg->name);
    p->chardev = cfg->chardev;
    p->on_open = cfg->on_open;
    p->on_open_opaque = cfg->on_open_opaque;
    if (cfg->chardev && !(p->fe = chardev_attach(cfg->chardev, &fe_ops, p, err))) {
        vcon_port_destroy(&p->dev);
        return NULL;
    }
    g_autofree char *path = g_strdup_printf("%s/port%u", serial->path, nr);
    c->port[nr] = p;
    pthread_mutex_lock(&list->lock);
    device_add(list, &p->dev, cfg->console ? &console_ops : &port_ops, cfg->id, path);
    pthread_mutex_unlock(&list->lock);
    vcon_send(c, nr, VCON_PORT_ADD, 1);
    return &p->dev;
}
