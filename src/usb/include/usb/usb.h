/* usb.h - USB devices, the ports they are plugged into, and buses.
 *
 *   controller (xHCI, EHCI, UHCI) --usb_transfer()--> usb_device --> ops->control, ops->transfer
 *   device has news --usb_wakeup()--> port's owner --> controller tries again
 *
 * A transfer never waits inside a device: what cannot go on says NAK, keeps nothing of the caller's
 * memory, and is tried again after usb_wakeup().  So endpoints can be stopped, reset and unplugged
 * at any time.
 *
 * Owner:   the device list; a controller that goes away destroys what is plugged into it.
 * Threads: board lock, unless said otherwise; transfers and wakeups in the main thread, resets of a
 * port in any.
 * Spec:    USB 2.0 §8, §9; USB 3.2 §9 for SuperSpeed descriptors. */
#ifndef USB_USB_H
#define USB_USB_H

#include "bus/device.h"

struct pci_dev;
struct usb_bus;
struct usb_device;
struct vm_clock;

enum usb_speed { USB_SPEED_LOW, USB_SPEED_FULL, USB_SPEED_HIGH, USB_SPEED_SUPER };
enum { USB_LOW = 1, USB_FULL = 2, USB_HIGH = 4, USB_SUPER = 8 }; /* masks of enum usb_speed */

enum usb_pid { USB_PID_SETUP = 0x2d, USB_PID_IN = 0x69, USB_PID_OUT = 0xe1 };

enum usb_result {
    USB_OK,     /* ended: everything moved, or (IN) a short packet came */
    USB_NAK,    /* *moved bytes went over, no more for now */
    USB_STALL,  /* the endpoint is halted, or a control request refused */
    USB_BABBLE, /* the device sent more than there is room for */
    USB_ERROR,  /* nobody answers */
};

enum {
    USB_EP0_BYTES = 4096, /* longest control transfer */
    USB_PORTS_MAX = 15,   /* of a controller, and of a hub */
    USB_DEPTH_MAX = 5,    /* hubs between a root port and a device */
    USB_ENDPOINTS = 16,
    USB_PATH_BYTES = 24,
};

struct usb_setup {
    uint8_t type, request;
    uint16_t value, index, length;
};

/* What a device says about itself at one speed. */
struct usb_descriptors {
    const uint8_t *device;      /* 18 bytes */
    const uint8_t *config;      /* wTotalLength is believed */
    const uint8_t *bos;         /* likewise; NULL: none */
    const char *const *strings; /* [0] is index 1; NULL-terminated */
};

struct usb_device_ops {
    struct device_ops dev; /* first */
    const struct usb_descriptors *(*describe)(struct usb_device *d, enum usb_speed speed);
    /* Requests the core does not answer: class, vendor, interface descriptors.  data: length bytes
     * from the host, or room for as many; *len comes back as what an IN request has.  NAK: asked
     * again with the same arguments after usb_wakeup(d, 0).  NULL: all are refused. */
    enum usb_result (*control)(struct usb_device *d, const struct usb_setup *s, uint8_t *data,
                               uint32_t *len);
    /* A device of the host takes standard requests itself as well; true: the core is done. */
    bool (*takes_all)(const struct usb_device *d);
    /* ep: address with 0x80 for IN.  NULL: no endpoint but 0. */
    enum usb_result (*transfer)(struct usb_device *d, uint8_t ep, uint8_t *data, uint32_t len,
                                uint32_t *moved);
    void (*configured)(struct usb_device *d); /* d->configuration has changed; may be NULL */
    void (*bus_reset)(struct usb_device *d);  /* may be NULL */
};

enum usb_ep0_stage { EP0_IDLE, EP0_IN_ASKED, EP0_IN, EP0_OUT, EP0_STAGES };

struct usb_device {
    struct device dev; /* first */
    const struct usb_device_ops *ops;
    struct usb_port *port; /* NULL: not plugged in */
    uint8_t speeds;        /* mask of those it can do */
    const char *fw_name;   /* how firmware calls it: "storage", "usb-device" */
    /* board lock */
    uint8_t speed, address, configuration;
    uint8_t new_address; /* takes effect after the status stage */
    bool remote_wakeup;
    uint32_t halted; /* endpoints: OUT n in bit n, IN n in bit n + 16 */
    uint8_t stage;   /* enum usb_ep0_stage */
    struct usb_setup setup;
    uint32_t ep0_len, ep0_at;
    uint8_t ep0[USB_EP0_BYTES];
};

struct usb_port_ops {
    void (*attached)(struct usb_port *p); /* p->dev is there; decides p->dev->speed */
    void (*detached)(struct usb_port *p); /* p->dev is still there, for the last time */
    /* ep: with 0x80 for IN; d may hang on a hub below p */
    void (*wakeup)(struct usb_port *p, struct usb_device *d, uint8_t ep);
};

struct usb_port {
    const struct usb_port_ops *ops;
    void *owner; /* the controller or hub */
    struct usb_bus *bus;
    struct usb_port *parent;   /* the port of the hub this one belongs to; NULL: a root port */
    struct usb_device *hub;    /* that hub */
    unsigned index;            /* from 0, within its owner */
    uint8_t speeds;            /* mask */
    char path[USB_PATH_BYTES]; /* "1", or below a hub "1.2" */
    struct usb_device *dev;
    struct usb_port *next; /* of the bus */
};

struct usb_bus {
    char *name; /* "usb.0", "usb-bus.0" */
    struct pci_dev *controller;
    struct usb_port *ports;
    struct usb_bus *next;
    struct usb_buses *list;
};

/* All buses of one machine. */
struct usb_buses {
    struct usb_bus *first;
    struct device_list *devices;
    struct vm_clock *clock;
    unsigned unnamed; /* buses whose controller has no id */
};

/* core.c: ports and buses.  Main thread; the board lock as each says. */
/* id: the controller's; NULL: the next free "usb-bus.N".  Not locked. */
void usb_bus_init(struct usb_bus *b, struct usb_buses *list, struct pci_dev *controller,
                  const char *id);
/* Destroys the devices on it.  Not locked.  Accepts a bus that was never initialised. */
void usb_bus_fini(struct usb_bus *b);
struct usb_bus *usb_bus_find(struct usb_buses *list, const char *name); /* NULL: the first */
void usb_port_add(struct usb_bus *b, struct usb_port *p);
void usb_port_remove(struct usb_port *p); /* empty */
/* path NULL: the first free port that suits; false with a sentence when there is none. */
struct usb_port *usb_port_find(struct usb_bus *b, const char *path, uint8_t speeds, GError **err);
struct usb_port *usb_port_below(struct usb_device *hub, unsigned number); /* from 1; or NULL */

/* device.c */
/* Fills in d and adds it to the device list; not plugged in yet.  Not locked. */
void usb_device_init(struct usb_device *d, const struct usb_device_ops *ops, uint8_t speeds,
                     const char *fw_name);
/* Plugs d in and adds it to the device list as "BUS/PATH".  Not locked. */
void usb_device_plug(struct usb_device *d, struct usb_port *p, const char *id);
void usb_device_unplug(struct usb_device *d); /* out of the list, too; not locked */
bool usb_device_is(const struct device *d);
/* What a port does to its device: address 0, not configured. */
void usb_device_bus_reset(struct usb_device *d);
/* Any number of bytes for endpoint 0, else what the caller has.  ep 0..15. */
enum usb_result usb_transfer(struct usb_device *d, enum usb_pid pid, unsigned ep, uint8_t *data,
                             uint32_t len, uint32_t *moved);
void usb_wakeup(struct usb_device *d, uint8_t ep);
/* The fastest of a mask. */
enum usb_speed usb_speed_best(uint8_t mask);
/* With this address among p's device and what hangs on it; NULL: none. */
struct usb_device *usb_device_by_address(struct usb_port *p, uint8_t address);
extern const struct state_desc usb_device_state; /* put it first: STATE_STRUCT(.., usb, ..) */

/* standard.c: USB 2.0 §9.4 */
enum usb_result usb_control(struct usb_device *d, const struct usb_setup *s, uint8_t *data,
                            uint32_t *len);

#endif
