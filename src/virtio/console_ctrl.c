/* console_ctrl.c - the multiport control protocol (virtio 1.2 §5.3.6.2). */
#include "console.h"

#include <glib.h>

#define CTRL_RX       2
#define MESSAGE_BYTES 8u
_Static_assert(sizeof(struct vcon_message) == MESSAGE_BYTES, "message layout");

/* --- to the guest --- */

static bool take_message(struct virtio_console *c, struct vcon_message *m)
{
    pthread_mutex_lock(&c->lock);
    bool any = c->message_count > 0;
    if (any)
        *m = c->message[c->message_first];
    pthread_mutex_unlock(&c->lock);
    return any;
}

static void drop_message(struct virtio_console *c)
{
    pthread_mutex_lock(&c->lock);
    if (c->message_count) { /* a reset may have emptied the queue meanwhile */
        c->message_first = (c->message_first + 1) % VCON_MESSAGES_MAX;
        c->message_count--;
    }
    pthread_mutex_unlock(&c->lock);
}

static bool send_one(struct virtio_console *c, struct virtq *q, const struct vcon_message *m)
{
    uint8_t text[MESSAGE_BYTES + VCON_NAME_MAX];
    struct vcon_port *p = m->id < VCON_PORTS_MAX ? c->port[m->id] : NULL;
    size_t len = MESSAGE_BYTES;

    int r = virtq_pop(q, &c->elem);
    if (r == 0) {
        virtq_want_kicks(q, true);
        r = virtq_pop(q, &c->elem);
    }
    if (r <= 0)
        return false;
    memcpy(text, m, MESSAGE_BYTES);
    if (m->event == VCON_PORT_NAME && p && p->name) {
        size_t n = MIN_OF(strlen(p->name), (size_t)VCON_NAME_MAX);
        memcpy(text + len, p->name, n);
        len += n;
    }
    if (c->elem.in_bytes < len || c->elem.out_count) {
        virtio_dev_broken(&c->p.dev, "a control buffer that is too small or readable");
        virtq_detach(&c->elem);
        return false;
    }
    virtq_copy_in(&c->elem, 0, text, len);
    virtq_push(&c->elem, (uint32_t)len);
    return true;
}

void vcon_send_pending(struct virtio_console *c)
{
    struct virtq *q = &c->p.dev.queue[CTRL_RX];
    struct vcon_message m;
    bool any = false;

    if (!virtio_running(&c->p.dev)) {
        virtio_defer_to_resume(&c->p.dev);
        return;
    }
    while (take_message(c, &m) && send_one(c, q, &m)) {
        drop_message(c);
        any = true;
    }
    if (any)
        virtq_notify(q);
}

void vcon_send(struct virtio_console *c, unsigned port, uint16_t event, uint16_t value)
{
    bool full;

    if (!virtio_driver_ok(&c->p.dev) || !virtio_has(&c->p.dev, VCON_F_MULTIPORT))
        return;
    pthread_mutex_lock(&c->lock);
    full = c->message_count == VCON_MESSAGES_MAX;
    if (!full) {
        unsigned at = (c->message_first + c->message_count++) % VCON_MESSAGES_MAX;
        c->message[at] = (struct vcon_message){port, event, value};
    }
    pthread_mutex_unlock(&c->lock);
    if (full) /* it asks and asks, and takes no answer */
        virtio_dev_broken(&c->p.dev, "too many control messages wait for buffers");
    else
        vcon_send_pending(c);
}

/* --- from the guest --- */

static void device_ready(struct virtio_console *c, uint16_t ok)
{
    if (!ok)
        return;
    for (unsigned i = 0; i < c->max_ports; i++) {
        if (c->port[i])
            vcon_send(c, i, VCON_PORT_ADD, 1);
    }
}

static bool host_open(const struct vcon_port *p)
{
    return p->console || !p->chardev || chardev_is_open(p->chardev);
}

static void port_ready(struct virtio_console *c, struct vcon_port *p, uint16_t ok)
{
    if (!ok)
        return;
    if (p->console)
        vcon_send(c, p->nr, VCON_CONSOLE_PORT, 1);
    if (p->name)
        vcon_send(c, p->nr, VCON_PORT_NAME, 1);
    if (host_open(p))
        vcon_send(c, p->nr, VCON_PORT_OPEN, 1);
}

static void dispatch(struct virtio_console *c, const struct vcon_message *m)
{
    struct vcon_port *p = m->id < c->max_ports ? c->port[m->id] : NULL;

    if (m->event == VCON_DEVICE_READY)
        device_ready(c, m->value);
    else if (m->event == VCON_PORT_READY && p)
        port_ready(c, p, m->value);
    else if (m->event == VCON_PORT_OPEN && p)
        vcon_set_guest_open(p, m->value != 0);
    /* Others are the host's to say; a guest that says them is not heard. */
}

bool vcon_ctrl(struct virtio_console *c, struct virtq *q)
{
    struct vcon_message m;

    if (virtq_pop(q, &c->elem) <= 0)
        return false;
    if (virtq_copy_out(&c->elem, 0, &m, sizeof(m)) < sizeof(m)) {
        virtio_dev_broken(&c->p.dev, "a control message of %u bytes", c->elem.out_bytes);
        virtq_detach(&c->elem);
        return false;
    }
    virtq_push(&c->elem, 0);
    dispatch(c, &m);
    return true;
}
