/* xhci_int.h - the xHCI controller as its files share it; private to src/usb.
 *
 *   doorbell (vcpu) --> slot.kicked, kick timer --> xhci_run (main thread) --> commands, transfers
 *                                                     --> event ring --> interrupt
 *
 * Work stops where it is while an event ring has no room, and goes on when the guest moves its
 * dequeue pointer: no event is lost.  Rings are followed by copies of their entries; every loop
 * over guest memory has a bound. */
#ifndef USB_XHCI_INT_H
#define USB_XHCI_INT_H

#include "base/util.h"
#include "usb/hcd.h"
#include "usb_int.h"

enum {
    XHCI_SLOTS = 64,
    XHCI_INTRS = 16,
    XHCI_EPS = 31, /* by device context index - 1: 0 is endpoint 0, 1 is OUT 1, 2 is IN 1 */
    XHCI_PORTS = 2 * USB_PORTS_MAX,
    XHCI_SEGMENTS_LOG2 = 4,
    XHCI_SEGMENTS = 1 << XHCI_SEGMENTS_LOG2,
    XHCI_CHUNK = 65536, /* moved at once */
    XHCI_TD_TRBS = 256, /* a longer transfer descriptor is an error */
    XHCI_LINKS = 32,    /* link TRBs in a row */
    XHCI_CONTEXT = 32,
};

#define CMD_RUN      BIT(0)
#define CMD_RESET    BIT(1)
#define CMD_INTE     BIT(2)
#define STS_HALTED   BIT(0)
#define STS_HSE      BIT(2)
#define STS_EINT     BIT(3)
#define STS_PCD      BIT(4)
#define STS_HCE      BIT(12)
#define CRCR_RCS     BIT(0)
#define CRCR_STOP    BIT(1)
#define CRCR_ABORT   BIT(2)
#define CRCR_RUNNING BIT(3)
#define IMAN_IP      BIT(0)
#define IMAN_IE      BIT(1)
#define ERDP_BUSY    BIT(3)

/* PORTSC, §5.4.8 */
#define PORT_CCS         BIT(0)
#define PORT_PED         BIT(1)
#define PORT_PR          BIT(4)
#define PORT_PLS_SHIFT   5
#define PORT_PLS_MASK    (15u << PORT_PLS_SHIFT)
#define PORT_PP          BIT(9)
#define PORT_SPEED_SHIFT 10
#define PORT_SPEED_MASK  (15u << PORT_SPEED_SHIFT)
#define PORT_LWS         BIT(16)
#define PORT_CSC         BIT(17)
#define PORT_PEC         BIT(18)
#define PORT_WRC         BIT(19)
#define PORT_PRC         BIT(21)
#define PORT_PLC         BIT(22)
#define PORT_CHANGES     (0x7fu << 17)
#define PORT_WAKES       (7u << 25)
#define PORT_WPR         BIT(31)
enum {
    PLS_U0 = 0,
    PLS_U3 = 3,
    PLS_DISABLED = 4,
    PLS_RX_DETECT = 5,
    PLS_POLLING = 7,
    PLS_RESUME = 15
};

/* TRB types, table 6-91 */
enum {
    TRB_NORMAL = 1,
    TRB_SETUP = 2,
    TRB_DATA = 3,
    TRB_STATUS = 4,
    TRB_ISOCH = 5,
    TRB_LINK = 6,
    TRB_EVENT_DATA = 7,
    TRB_NOOP = 8,
    TRB_ENABLE_SLOT = 9,
    TRB_DISABLE_SLOT = 10,
    TRB_ADDRESS_DEVICE = 11,
    TRB_CONFIGURE_ENDPOINT = 12,
    TRB_EVALUATE_CONTEXT = 13,
    TRB_RESET_ENDPOINT = 14,
    TRB_STOP_ENDPOINT = 15,
    TRB_SET_DEQUEUE = 16,
    TRB_RESET_DEVICE = 17,
    TRB_NOOP_COMMAND = 23,
    TRB_TRANSFER_EVENT = 32,
    TRB_COMMAND_EVENT = 33,
    TRB_PORT_EVENT = 34,
    TRB_CONTROLLER_EVENT = 37,
    TRB_NEC_EVENT = 48,
    TRB_NEC_FIRMWARE = 49,
};
#define TRB_CYCLE  BIT(0)
#define TRB_TOGGLE BIT(1)
#define TRB_ISP    BIT(2)
#define TRB_CHAIN  BIT(4)
#define TRB_IOC    BIT(5)
#define TRB_IDT    BIT(6)
#define TRB_BEI    BIT(9)
#define TRB_BSR    BIT(9) /* address device: no SET_ADDRESS */
#define TRB_DC     BIT(9) /* configure endpoint: deconfigure */
#define TRB_DIR_IN BIT(16)
#define TRB_LEN    0x1ffffu

/* Completion codes, table 6-90 */
enum xhci_cc {
    CC_SUCCESS = 1,
    CC_DATA_BUFFER = 2,
    CC_BABBLE = 3,
    CC_TRANSACTION = 4,
    CC_TRB = 5,
    CC_STALL = 6,
    CC_BANDWIDTH = 8,
    CC_NO_SLOTS = 9,
    CC_SLOT_NOT_ENABLED = 11,
    CC_EP_NOT_ENABLED = 12,
    CC_SHORT_PACKET = 13,
    CC_PARAMETER = 17,
    CC_CONTEXT_STATE = 19,
    CC_RING_FULL = 21,
    CC_COMMAND_RING_STOPPED = 24,
    CC_STOPPED = 26,
};

enum { EP_DISABLED, EP_RUNNING, EP_HALTED, EP_STOPPED, EP_ERROR };
enum { SLOT_ENABLED, SLOT_DEFAULT, SLOT_ADDRESSED, SLOT_CONFIGURED };
enum {
    EPT_INVALID,
    EPT_ISOCH_OUT,
    EPT_BULK_OUT,
    EPT_INT_OUT,
    EPT_CONTROL,
    EPT_ISOCH_IN,
    EPT_BULK_IN,
    EPT_INT_IN
};

struct xhci_trb {
    uint64_t param;
    uint32_t status, control;
    uint64_t at; /* where it was read */
};

struct xhci_ring {
    uint64_t dequeue;
    bool cycle;
};

struct xhci_ep {
    uint8_t type, state;
    bool tried;    /* the transfer at the dequeue pointer has begun: the device has said NAK */
    uint32_t done; /* bytes of it that have moved */
    struct xhci_ring ring;
};

struct xhci_slot {
    bool enabled;
    uint8_t state, port; /* port: from 1 */
    uint32_t route;      /* port numbers of hubs, a nibble each */
    uint64_t context;    /* the device context */
    uint16_t intr;
    uint32_t kicked; /* endpoints that want a look, by device context index */
    struct xhci_ep ep[XHCI_EPS];
};

struct xhci_segment {
    uint64_t base;
    uint32_t trbs;
};

struct xhci_intr {
    uint32_t iman, imod, erstsz;
    uint64_t erstba, erdp;
    struct xhci_segment segment[XHCI_SEGMENTS];
    uint32_t segments; /* 0: no event ring */
    uint32_t at_segment, at_trb;
    bool cycle;
};

struct xhci_port {
    uint32_t portsc;
    bool news; /* an event is due */
    /* immutable */
    uint8_t speeds; /* mask */
    uint8_t connector;
};

struct xhci_td {
    unsigned count;
    uint32_t bytes;
    struct xhci_ring after;
    struct xhci_trb trb[XHCI_TD_TRBS];
};

struct xhci {
    struct pci_dev pci; /* first */
    struct io_region mmio;
    struct usb_bus bus;
    struct usb_port connector[USB_PORTS_MAX];
    struct vm_clock *clock;
    struct timer *kick;
    unsigned p2, p3, ports;
    bool nec;
    /* board lock */
    uint32_t usbcmd, usbsts, dnctrl, config, command_high;
    uint64_t crcr_pointer, dcbaap, mfindex_start_ns;
    bool command_running, command_stopped; /* stopped: the event is due */
    struct xhci_ring command;
    struct xhci_port port[XHCI_PORTS];
    struct xhci_slot slot[XHCI_SLOTS];
    struct xhci_intr intr[XHCI_INTRS];
    struct xhci_td td;
    uint8_t chunk[XHCI_CHUNK];
};

static inline unsigned trb_type(uint32_t control)
{
    return control >> 10 & 63;
}

/* xhci.c */
bool xhci_running(const struct xhci *x);
void xhci_kick(struct xhci *x); /* soon in the main thread: xhci_run */
/* The guest has broken it: nothing more happens until it is reset. */
void xhci_die(struct xhci *x, const char *why);
struct guest_mem *xhci_memory(struct xhci *x);

/* xhci_event.c */
enum xhci_fetch { FETCH_NONE, FETCH_TRB, FETCH_BAD };
/* The next TRB that is not a link, and the pointer beyond it. */
enum xhci_fetch xhci_ring_next(struct xhci *x, struct xhci_ring *r, struct xhci_trb *out);
void xhci_intr_open(struct xhci *x, unsigned n); /* ERSTBA was written */
void xhci_erdp_written(struct xhci *x, unsigned n);
uint32_t xhci_event_room(struct xhci *x, unsigned n, uint32_t *size);
/* control: without type and cycle; interrupt: unless blocked */
void xhci_event(struct xhci *x, unsigned n, unsigned type, uint64_t param, uint32_t status,
                uint32_t control, bool interrupt);
void xhci_irq_update(struct xhci *x);

/* xhci_cmd.c */
bool xhci_commands_run(struct xhci *x); /* true: there may be more */
void xhci_slot_free(struct xhci *x, unsigned slot);
struct usb_device *xhci_slot_device(struct xhci *x, const struct xhci_slot *s);
/* Changes an endpoint's state and shows it in the device context. */
void xhci_ep_show(struct xhci *x, struct xhci_slot *s, unsigned ep, unsigned state);

/* xhci_xfer.c */
bool xhci_slot_run(struct xhci *x, unsigned slot, uint32_t *budget); /* true: more to do */
void xhci_ep_stopped_event(struct xhci *x, unsigned slot, unsigned ep);

/* xhci_port.c */
extern const struct usb_port_ops xhci_port_ops;
void xhci_ports_reset(struct xhci *x);
void xhci_port_write(struct xhci *x, unsigned n, uint32_t val);
void xhci_port_events(struct xhci *x);
struct usb_port *xhci_port_connector(struct xhci *x, unsigned number); /* from 1; NULL */

#endif
