/* host.c - a device of the host given to the guest, through libusb.
 *
 *   guest's transfer --first time--> libusb transfer, NAK ... its end --usb_wakeup--> asked again:
 * result
 *
 * Each endpoint has one transfer under way, in a buffer of its own.  The host's kernel keeps the
 * device's address, toggles and bandwidth; requests that change configuration, interface or a halt
 * go through the calls libusb has for them, which wait for the device a moment. */
#include "usb_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/state.h"
#include "base/util.h"
#include "usb/devices.h"

#include <libusb.h>
#include <poll.h>

enum { PIPES = 32, TRANSFER_MAX = 65536, INTERFACES_MAX = 32, FEATURE_HALT = 0 };
enum pipe_state { PIPE_IDLE, PIPE_BUSY, PIPE_DONE };

struct host;

/* One endpoint's transfer; pipe 0 is endpoint 0's, n and n + 16 are OUT n and IN n. */
struct pipe {
    struct host *host;
    struct libusb_transfer *transfer;
    enum pipe_state state;
    bool stale; /* nobody waits for what is under way */
    enum usb_result result;
    uint32_t asked, actual, given;
    uint8_t *buffer;
};

struct host {
    struct usb_device usb; /* first */
    libusb_device_handle *handle;
    bool gone, claimed[INTERFACES_MAX];
    struct usb_setup setup; /* of the control transfer under way or done */
    unsigned under_way;
    struct pipe pipe[PIPES];
};

/* ---- libusb in the main loop ---- */

static libusb_context *context;
static GHashTable *watches; /* fd -> struct evloop_fd */

static void events_come(void *opaque, int fd, uint32_t events)
{
    struct timeval now = {0};

    libusb_handle_events_timeout_completed(context, &now, NULL);
}

static void fd_added(int fd, short events, void *opaque)
{
    g_hash_table_insert(watches, GINT_TO_POINTER(fd),
                        evloop_fd_add(evloop_main(), fd, (uint32_t)events, events_come, NULL));
}

static void fd_removed(int fd, void *opaque)
{
    evloop_fd_del(g_hash_table_lookup(watches, GINT_TO_POINTER(fd)));
    g_hash_table_remove(watches, GINT_TO_POINTER(fd));
}

static bool context_open(GError **err)
{
    int r = context ? 0 : libusb_init(&context);
    const struct libusb_pollfd **fds;

    if (r < 0)
        return error_set(err, HANOK_ERROR_IO, "libusb cannot start here: %s", libusb_strerror(r));
    if (watches)
        return true;
    watches = g_hash_table_new(NULL, NULL);
    fds = libusb_get_pollfds(context);
    for (size_t i = 0; fds && fds[i]; i++)
        fd_added(fds[i]->fd, fds[i]->events, NULL);
    libusb_free_pollfds(fds);
    libusb_set_pollfd_notifiers(context, fd_added, fd_removed, NULL);
    return true;
}

/* ---- transfers ---- */

static struct host *host_of(struct usb_device *d)
{
    return container_of(d, struct host, usb);
}

static enum usb_result result_of(enum libusb_transfer_status s)
{
    switch (s) {
    case LIBUSB_TRANSFER_COMPLETED:
        return USB_OK;
    case LIBUSB_TRANSFER_STALL:
        return USB_STALL;
    case LIBUSB_TRANSFER_OVERFLOW:
        return USB_BABBLE;
    default:
        return USB_ERROR;
    }
}

static uint8_t pipe_address(const struct pipe *p)
{
    unsigned n = (unsigned)(p - p->host->pipe);

    return (uint8_t)(n >= 16 ? 0x80 | (n - 16) : n);
}

/* Main thread, from libusb; the board lock is not held. */
static void transfer_done(struct libusb_transfer *t)
{
    struct pipe *p = t->user_data;
    struct host *h = p->host;
    pthread_mutex_t *lock = &h->usb.dev.list->lock;

    pthread_mutex_lock(lock);
    h->under_way--;
    if (t->status == LIBUSB_TRANSFER_NO_DEVICE && !h->gone) {
        h->gone = true;
        log_warning("the host's device behind '%s' has gone",
                    h->usb.dev.id ? h->usb.dev.id : "usb-host");
    }
    p->result = result_of(t->status);
    p->actual = (uint32_t)MAX_OF(t->actual_length, 0);
    p->given = 0;
    p->state = p->stale ? PIPE_IDLE : PIPE_DONE;
    p->stale = false;
    usb_wakeup(&h->usb, pipe_address(p));
    pthread_mutex_unlock(lock);
}

static enum usb_result submit(struct pipe *p)
{
    int r = libusb_submit_transfer(p->transfer);

    if (r < 0)
        return USB_ERROR;
    p->state = PIPE_BUSY;
    p->host->under_way++;
    return USB_NAK;
}

static bool pipe_ready(struct pipe *p)
{
    if (!p->transfer)
        p->transfer = libusb_alloc_transfer(0);
    if (!p->buffer)
        p->buffer = g_try_malloc(TRANSFER_MAX + LIBUSB_CONTROL_SETUP_SIZE);
    return p->transfer && p->buffer;
}

static void pipe_forget(struct pipe *p)
{
    if (p->state == PIPE_BUSY) {
        p->stale = true;
        libusb_cancel_transfer(p->transfer);
    } else {
        p->state = PIPE_IDLE;
    }
}

/* ---- endpoint 0 ---- */

static void interfaces_release(struct host *h)
{
    for (int i = 0; i < INTERFACES_MAX; i++) {
        if (h->claimed[i])
            libusb_release_interface(h->handle, i);
        h->claimed[i] = false;
    }
}

static bool interfaces_claim(struct host *h)
{
    struct libusb_config_descriptor *c = NULL;
    int r = libusb_get_active_config_descriptor(libusb_get_device(h->handle), &c);

    for (int i = 0; r == 0 && i < MIN_OF((int)c->bNumInterfaces, (int)INTERFACES_MAX); i++) {
        r = libusb_claim_interface(h->handle, i);
        h->claimed[i] = r == 0;
    }
    if (c)
        libusb_free_config_descriptor(c);
    return r == 0;
}

static enum usb_result configuration_set(struct host *h, int value)
{
    int now = 0;

    interfaces_release(h);
    if (libusb_get_configuration(h->handle, &now) != 0 ||
        (now != value && libusb_set_configuration(h->handle, value ? value : -1) != 0))
        return USB_STALL;
    h->usb.configuration = (uint8_t)value;
    return value == 0 || interfaces_claim(h) ? USB_OK : USB_STALL;
}

/* Requests the host's kernel has to know of; false: any other. */
static bool special_request(struct host *h, const struct usb_setup *s, enum usb_result *r)
{
    switch (s->type << 8 | s->request) {
    case REQ_SET_CONFIGURATION:
        *r = configuration_set(h, s->value & 0xff);
        return true;
    case TYPE_INTERFACE << 8 | REQ_SET_INTERFACE:
        *r = libusb_set_interface_alt_setting(h->handle, s->index & 0xff, s->value & 0xff) == 0
                 ? USB_OK
                 : USB_STALL;
        return true;
    case TYPE_ENDPOINT << 8 | REQ_CLEAR_FEATURE:
        if (s->value != FEATURE_HALT)
            return false;
        h->usb.halted &= ~usb_halt_bit((uint8_t)s->index);
        *r = libusb_clear_halt(h->handle, (unsigned char)s->index) == 0 ? USB_OK : USB_STALL;
        return true;
    }
    return false;
}

static bool same_request(const struct usb_setup *a, const struct usb_setup *b)
{
    return a->type == b->type && a->request == b->request && a->value == b->value &&
           a->index == b->index && a->length == b->length;
}

static enum usb_result host_control(struct usb_device *d, const struct usb_setup *s, uint8_t *data,
                                    uint32_t *len)
{
    struct host *h = host_of(d);
    struct pipe *p = &h->pipe[0];
    enum usb_result r;

    if (h->gone)
        return USB_ERROR;
    if (p->state != PIPE_IDLE && !same_request(&h->setup, s))
        pipe_forget(p); /* the guest has given that one up */
    if (p->state == PIPE_BUSY)
        return USB_NAK;
    if (p->state == PIPE_DONE) {
        p->state = PIPE_IDLE;
        if (p->result == USB_OK && (s->type & TYPE_IN)) {
            *len = MIN_OF(*len, p->actual);
            memcpy(data, p->buffer + LIBUSB_CONTROL_SETUP_SIZE, *len);
        }
        return p->result;
    }
    if (special_request(h, s, &r))
        return r;
    if (!pipe_ready(p))
        return USB_ERROR;
    h->setup = *s;
    libusb_fill_control_setup(p->buffer, s->type, s->request, s->value, s->index, (uint16_t)*len);
    if (!(s->type & TYPE_IN))
        memcpy(p->buffer + LIBUSB_CONTROL_SETUP_SIZE, data, *len);
    libusb_fill_control_transfer(p->transfer, h->handle, p->buffer, transfer_done, p, 0);
    return submit(p);
}

/* ---- the other endpoints ---- */

/* Attributes and packet size of an endpoint in the active configuration; -1: there is none. */
static int endpoint_type(struct host *h, uint8_t ep, uint32_t *packet)
{
    struct libusb_config_descriptor *c = NULL;
    int type = -1;

    if (libusb_get_active_config_descriptor(libusb_get_device(h->handle), &c) != 0)
        return -1;
    for (int i = 0; i < c->bNumInterfaces; i++) {
        for (int a = 0; a < c->interface[i].num_altsetting; a++) {
            const struct libusb_interface_descriptor *f = &c->interface[i].altsetting[a];
            for (int k = 0; k < f->bNumEndpoints; k++) {
                if (f->endpoint[k].bEndpointAddress != ep)
                    continue;
                type = f->endpoint[k].bmAttributes & 3;
                *packet = MAX_OF(f->endpoint[k].wMaxPacketSize & 0x7ffu, 1u);
            }
        }
    }
    libusb_free_config_descriptor(c);
    return type;
}

static enum usb_result transfer_begin(struct host *h, struct pipe *p, uint8_t ep,
                                      const uint8_t *data, uint32_t len)
{
    uint32_t packet = 1, size = MIN_OF(len, (uint32_t)TRANSFER_MAX);
    int type = endpoint_type(h, ep, &packet);

    if ((type != LIBUSB_TRANSFER_TYPE_BULK && type != LIBUSB_TRANSFER_TYPE_INTERRUPT) ||
        !pipe_ready(p))
        return USB_STALL;
    if (ep & 0x80) /* whole packets: what a device sends more than was asked for is kept */
        size =
            MIN_OF((size + packet - 1) / packet * packet, (uint32_t)TRANSFER_MAX / packet * packet);
    else
        memcpy(p->buffer, data, size);
    p->asked = size;
    if (type == LIBUSB_TRANSFER_TYPE_BULK)
        libusb_fill_bulk_transfer(p->transfer, h->handle, ep, p->buffer, (int)size, transfer_done,
                                  p, 0);
    else
        libusb_fill_interrupt_transfer(p->transfer, h->handle, ep, p->buffer, (int)size,
                                       transfer_done, p, 0);
    return submit(p);
}

/* What has come, or gone, since the guest asked first. */
static enum usb_result transfer_take(struct pipe *p, bool in, uint8_t *data, uint32_t len,
                                     uint32_t *moved)
{
    bool is_short = p->actual < p->asked;

    *moved = MIN_OF(len, p->actual - p->given);
    if (in)
        memcpy(data, p->buffer + p->given, *moved);
    p->given += *moved;
    if (p->given < p->actual && in)
        return USB_OK; /* the rest is for the next request */
    p->state = PIPE_IDLE;
    if (p->result != USB_OK)
        return p->result;
    return is_short || *moved == len ? USB_OK : USB_NAK;
}

static enum usb_result host_transfer(struct usb_device *d, uint8_t ep, uint8_t *data, uint32_t len,
                                     uint32_t *moved)
{
    struct host *h = host_of(d);
    struct pipe *p = &h->pipe[(ep & 15) + (ep & 0x80 ? 16 : 0)];
    enum usb_result r;

    if (h->gone)
        return USB_ERROR;
    if (p->state == PIPE_BUSY)
        return USB_NAK;
    if (p->state == PIPE_IDLE)
        return transfer_begin(h, p, ep, data, len);
    r = transfer_take(p, ep & 0x80, data, len, moved);
    if (r == USB_NAK) /* more is wanted than one transfer could bring */
        usb_wakeup(d, ep);
    return r;
}

/* ---- device ---- */

static bool host_takes_all(const struct usb_device *d)
{
    return true;
}

/* Only SET_ADDRESS is answered by the core, which looks at nothing in here. */
static const struct usb_descriptors *host_describe(struct usb_device *d, enum usb_speed speed)
{
    static const uint8_t device[18] = {18, DESC_DEVICE}, config[9] = {9, DESC_CONFIG, 9};
    static const char *const none[] = {NULL};
    static const struct usb_descriptors desc = {
        .device = device, .config = config, .strings = none};

    return &desc;
}

static void host_bus_reset(struct usb_device *d)
{
    struct host *h = host_of(d);

    for (unsigned i = 0; i < PIPES; i++)
        pipe_forget(&h->pipe[i]);
}

static void host_reset(struct device *dev)
{
    usb_device_bus_reset(container_of(dev, struct usb_device, dev));
}

static void host_drain(struct device *dev)
{
    struct host *h = container_of(dev, struct host, usb.dev);

    pthread_mutex_lock(&dev->list->lock);
    for (unsigned i = 0; i < PIPES; i++)
        if (h->pipe[i].state == PIPE_BUSY)
            pipe_forget(&h->pipe[i]);
    pthread_mutex_unlock(&dev->list->lock);
    while (h->under_way)
        if (libusb_handle_events(context) < 0)
            break;
}

static void host_free(struct host *h)
{
    for (unsigned i = 0; i < PIPES; i++) {
        libusb_free_transfer(h->pipe[i].transfer);
        g_free(h->pipe[i].buffer);
    }
    if (h->handle) {
        interfaces_release(h);
        libusb_close(h->handle);
    }
    g_free(h);
}

static void host_destroy(struct device *dev)
{
    struct host *h = container_of(dev, struct host, usb.dev);

    host_drain(dev);
    usb_device_unplug(&h->usb);
    host_free(h);
}

static const struct usb_device_ops host_ops = {
    .dev = {.type = "usb-host", .reset = host_reset, .drain = host_drain, .destroy = host_destroy},
    .describe = host_describe,
    .control = host_control,
    .takes_all = host_takes_all,
    .transfer = host_transfer,
    .bus_reset = host_bus_reset,
};

/* ---- finding it ---- */

static bool matches(libusb_device *dev, const struct usb_host_config *cfg)
{
    struct libusb_device_descriptor d;

    if (libusb_get_device_descriptor(dev, &d) != 0)
        return false;
    return (!cfg->vendor || d.idVendor == cfg->vendor) &&
           (!cfg->product || d.idProduct == cfg->product) &&
           (!cfg->bus || libusb_get_bus_number(dev) == cfg->bus) &&
           (!cfg->address || libusb_get_device_address(dev) == cfg->address);
}

static uint8_t speed_of(libusb_device *dev)
{
    int s = libusb_get_device_speed(dev);

    return s >= LIBUSB_SPEED_SUPER  ? USB_SUPER
           : s == LIBUSB_SPEED_HIGH ? USB_HIGH
           : s == LIBUSB_SPEED_LOW  ? USB_LOW
                                    : USB_FULL;
}

static bool device_open(struct host *h, const struct usb_host_config *cfg, GError **err)
{
    libusb_device **list = NULL;
    ssize_t n = libusb_get_device_list(context, &list);
    int r = LIBUSB_ERROR_NOT_FOUND;

    for (ssize_t i = 0; i < n && r == LIBUSB_ERROR_NOT_FOUND; i++) {
        if (!matches(list[i], cfg))
            continue;
        r = libusb_open(list[i], &h->handle);
        h->usb.speeds = speed_of(list[i]);
        if (r < 0)
            error_set(err, HANOK_ERROR_IO,
                      "the host's USB device cannot be opened: %s; /dev/bus/usb/%03u/%03u needs to "
                      "be writable",
                      libusb_strerror(r), libusb_get_bus_number(list[i]),
                      libusb_get_device_address(list[i]));
    }
    if (list)
        libusb_free_device_list(list, 1);
    if (r == LIBUSB_ERROR_NOT_FOUND)
        error_set(err, HANOK_ERROR_NOT_FOUND,
                  "the host has no such USB device; lsusb lists those it has");
    return r == 0;
}

struct usb_device *usb_host_new(struct usb_bus *bus, const char *path,
                                const struct usb_host_config *cfg, GError **err)
{
    struct host *h;
    struct usb_port *port;

    if (!context_open(err))
        return NULL;
    h = g_new0(struct host, 1);
    for (unsigned i = 0; i < PIPES; i++)
        h->pipe[i].host = h;
    if (!device_open(h, cfg, err) || !(port = usb_port_find(bus, path, h->usb.speeds, err))) {
        host_free(h);
        return NULL;
    }
    libusb_set_auto_detach_kernel_driver(h->handle, 1);
    usb_device_init(&h->usb, &host_ops, h->usb.speeds, "usb-host");
    usb_device_plug(&h->usb, port, cfg->id);
    return &h->usb;
}
