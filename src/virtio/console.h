/* console.h - virtio-serial's parts: the device (console.c), ports and their data (console_port.c),
 * the control protocol (console_ctrl.c).
 *
 *   queues: rx0 tx0 | control-rx control-tx | rx1 tx1 | rx2 tx2 ...       (virtio 1.2 §5.3.2)
 *
 *   guest DEVICE_READY -> PORT_ADD each -> guest PORT_READY -> CONSOLE_PORT, PORT_NAME, PORT_OPEN
 *   guest PORT_OPEN <-> chardev_set_open      chardev opened/closed -> PORT_OPEN
 *
 * Flow: output the chardev does not take stays in the guest's buffer (tx_done says how far we are);
 * input is taken from the chardev only while the guest has a buffer for it.
 *
 * Threads: main loop; a reset, which comes from a vCPU, only touches what is under `lock` and
 * atomics. Spec:    virtio 1.2 §5.3. */
#ifndef VIRTIO_CONSOLE_H
#define VIRTIO_CONSOLE_H

#include "carrier.h"
#include "chardev/chardev.h"

#define VCON_PORTS_MAX    31u
#define VCON_QUEUE_SIZE   128u
#define VCON_ELEM_IOVS    160u
#define VCON_MESSAGES_MAX 256u /* waiting for the guest's control buffers */
#define VCON_NAME_MAX     128u

enum { VCON_F_MULTIPORT = 1 };
enum {
    VCON_DEVICE_READY = 0,
    VCON_PORT_ADD = 1,
    VCON_PORT_REMOVE = 2,
    VCON_PORT_READY = 3,
    VCON_CONSOLE_PORT = 4,
    VCON_PORT_OPEN = 6,
    VCON_PORT_NAME = 7,
};

struct vcon_message {
    uint32_t id;
    uint16_t event, value;
};

struct virtio_console;
struct vcon_port {
    struct device dev; /* first */
    struct virtio_console *con;
    unsigned nr;
    char *name;
    bool console;
    struct chardev *chardev; /* NULL: output vanishes */
    struct chardev_fe *fe;
    void (*on_open)(void *opaque, struct device *port, bool open);
    void *on_open_opaque;
    bool guest_open;  /* atomic */
    bool told_open;   /* main thread: what on_open() was told last */
    uint32_t tx_done; /* bytes of the first waiting buffer that are written already */
};

struct virtio_console {
    struct virtio_carrier p; /* first */
    unsigned max_ports;
    struct vcon_port *port[VCON_PORTS_MAX];
    struct virtq_elem elem;
    struct timer *reset_timer;
    /* under lock */
    pthread_mutex_t lock;
    struct vcon_message message[VCON_MESSAGES_MAX];
    uint32_t message_first, message_count;
};

static inline struct virtio_console *vcon_of(struct virtio_dev *d)
{
    return container_of(d, struct virtio_console, p.dev);
}

/* console_port.c */
struct virtq *vcon_rx_queue(struct virtio_console *c, unsigned port);
struct virtq *vcon_tx_queue(struct virtio_console *c, unsigned port);
struct vcon_port *vcon_port_of_queue(struct virtio_console *c, const struct virtq *q);
bool vcon_tx(struct vcon_port *p, struct virtq *q);
void vcon_rx_kick(struct vcon_port *p);
void vcon_set_guest_open(struct vcon_port *p, bool open);
void vcon_tell_open(struct vcon_port *p); /* main thread */
void vcon_port_destroy(struct device *d);
/* console_ctrl.c */
void vcon_send(struct virtio_console *c, unsigned port, uint16_t event, uint16_t value);
void vcon_send_pending(struct virtio_console *c);
bool vcon_ctrl(struct virtio_console *c, struct virtq *q);

#endif
