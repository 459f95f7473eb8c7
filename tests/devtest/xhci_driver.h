/* xhci_driver.h - a small xHCI driver for tests: rings in the test's memory, commands, transfers.
 *
 * It can follow the rules or break each: every TRB and register is reachable. */
#ifndef TESTS_DEVTEST_XHCI_DRIVER_H
#define TESTS_DEVTEST_XHCI_DRIVER_H

#include "usb/devices.h"
#include "usb/hcd.h"
#include "vt.h"

#include "base/evloop.h"
#include "bus/pci.h"
#include "mem/guest_mem.h"

enum {
    XD_DEVFN = PCI_DEVFN(4, 0),
    XD_BAR = 0xe0000000,
    XD_TABLE = 0xe0010000,
    XD_OPER = XD_BAR + 0x40,
    XD_RUNTIME = XD_BAR + 0x1000,
    XD_DOORBELL = XD_BAR + 0x2000,
    XD_DCBAA = 0x10000,
    XD_COMMANDS = 0x11000,
    XD_ERST = 0x12000,
    XD_EVENTS = 0x13000,
    XD_EVENT_TRBS = 64,
    XD_INPUT = 0x14000,
    XD_CONTEXTS = 0x15000, /* 0x800 for each slot */
    XD_RINGS = 0x40000,    /* 0x1000 for each endpoint of a slot, 0x20000 for a slot */
    XD_DATA = 0x200000,
    XD_RING_TRBS = 255, /* then a link */
};

struct xd_ring {
    uint64_t base;
    unsigned at;
    uint32_t cycle;
};

struct xd {
    struct vt_board *board;
    struct vt_bus *bus;
    struct usb_buses buses;
    struct pci_dev *dev;
    struct xd_ring commands, ring[5][32];
    unsigned event_at;
    uint32_t event_cycle;
};

struct xd_event {
    uint64_t param;
    uint32_t status, control;
};

static inline uint32_t xd_get(struct xd *x, uint64_t at)
{
    return (uint32_t)x->bus->read(x->bus, at, 4);
}

static inline void xd_set(struct xd *x, uint64_t at, uint32_t v)
{
    x->bus->write(x->bus, at, 4, v);
}

static inline uint64_t xd_portsc(unsigned port)
{
    return XD_OPER + 0x400 + 16 * (port - 1);
}

static inline void xd_put(struct xd *x, struct xd_ring *r, uint64_t param, uint32_t status,
                          uint32_t control)
{
    uint64_t at = r->base + 16 * r->at;

    vt_put(x->bus, at, param, 8);
    vt_put(x->bus, at + 8, status, 4);
    vt_put(x->bus, at + 12, control | r->cycle, 4);
    if (++r->at == XD_RING_TRBS) {
        at += 16;
        vt_put(x->bus, at, r->base, 8);
        vt_put(x->bus, at + 12, 6u << 10 | 2 | r->cycle | (control & 0x10), 4);
        r->at = 0;
        r->cycle ^= 1;
    }
}

/* The next event, if there is one; moves the dequeue pointer. */
static inline bool xd_poll(struct xd *x, struct xd_event *e)
{
    uint64_t at = XD_EVENTS + 16 * x->event_at;
    uint32_t control = (uint32_t)vt_get(x->bus, at + 12, 4);

    if ((control & 1) != x->event_cycle)
        return false;
    *e = (struct xd_event){vt_get(x->bus, at, 8), (uint32_t)vt_get(x->bus, at + 8, 4), control};
    if (++x->event_at == XD_EVENT_TRBS) {
        x->event_at = 0;
        x->event_cycle ^= 1;
    }
    xd_set(x, XD_RUNTIME + 0x38, (uint32_t)(XD_EVENTS + 16 * x->event_at) | 8);
    xd_set(x, XD_RUNTIME + 0x3c, 0);
    return true;
}

static inline struct xd_event xd_wait(struct xd *x)
{
    struct xd_event e = {0};
    uint64_t end = host_clock_ns() + 20000000000ull;

    while (!xd_poll(x, &e)) {
        g_assert_cmpuint(host_clock_ns(), <, end);
        x->bus->pump(x->bus);
    }
    return e;
}

static inline unsigned xd_type(const struct xd_event *e)
{
    return e->control >> 10 & 63;
}

static inline unsigned xd_code(const struct xd_event *e)
{
    return e->status >> 24;
}

/* The next event that is not a port's. */
static inline struct xd_event xd_wait_result(struct xd *x)
{
    struct xd_event e;

    do
        e = xd_wait(x);
    while (xd_type(&e) == 34);
    return e;
}

static inline void xd_none(struct xd *x)
{
    struct xd_event e;

    for (unsigned i = 0; i < 50; i++) {
        x->bus->pump(x->bus);
        g_assert_false(xd_poll(x, &e));
    }
}

/* A command; its completion code. */
static inline unsigned xd_command(struct xd *x, unsigned type, uint64_t param, uint32_t control,
                                  unsigned *slot)
{
    struct xd_event e;

    xd_put(x, &x->commands, param, 0, type << 10 | control);
    xd_set(x, XD_DOORBELL, 0);
    do
        e = xd_wait_result(x);
    while (xd_type(&e) != 33);
    if (slot)
        *slot = e.control >> 24;
    return xd_code(&e);
}

static inline void xd_start(struct xd *x)
{
    xd_set(x, XD_OPER, 2);
    xd_set(x, XD_OPER + 0x38, 64);
    xd_set(x, XD_OPER + 0x30, XD_DCBAA);
    x->commands = (struct xd_ring){.base = XD_COMMANDS, .cycle = 1};
    xd_set(x, XD_OPER + 0x18, XD_COMMANDS | 1);
    xd_set(x, XD_OPER + 0x1c, 0);
    vt_put(x->bus, XD_ERST, XD_EVENTS, 8);
    vt_put(x->bus, XD_ERST + 8, XD_EVENT_TRBS, 4);
    for (unsigned i = 0; i < XD_EVENT_TRBS; i++)
        vt_put(x->bus, XD_EVENTS + 16 * i + 12, 0, 4);
    for (unsigned i = 0; i <= XD_RING_TRBS; i++)
        vt_put(x->bus, XD_COMMANDS + 16 * i + 12, 0, 4);
    x->event_at = 0;
    x->event_cycle = 1;
    xd_set(x, XD_RUNTIME + 0x28, 1);
    xd_set(x, XD_RUNTIME + 0x38, XD_EVENTS);
    xd_set(x, XD_RUNTIME + 0x3c, 0);
    xd_set(x, XD_RUNTIME + 0x30, XD_ERST);
    xd_set(x, XD_RUNTIME + 0x34, 0);
    xd_set(x, XD_RUNTIME + 0x20, 2);
    xd_set(x, XD_OPER, 1 | 4);
}

static inline void xd_open(struct xd *x, const struct xhci_config *more)
{
    struct xhci_config cfg = more ? *more : (struct xhci_config){.p2 = 4, .p3 = 4};

    *x = (struct xd){.board = vt_board_new()};
    x->bus = vt_board_bus(x->board);
    x->buses = (struct usb_buses){.devices = vt_board_devices(x->board),
                                  .clock = vt_board_clock(x->board)};
    cfg.at.bus = vt_board_pci(x->board)->root;
    cfg.at.devfn = XD_DEVFN;
    cfg.at.id = "xhci";
    x->dev = xhci_new(&cfg, &x->buses, NULL);
    g_assert_nonnull(x->dev);
}

static inline void xd_map(struct xd *x)
{
    vt_config_write(x->bus, XD_DEVFN, 0x10, 4, XD_BAR);
    vt_config_write(x->bus, XD_DEVFN, 0x14, 4, 0);
    vt_config_write(x->bus, XD_DEVFN, 0x18, 4, XD_TABLE);
    vt_config_write(x->bus, XD_DEVFN, 0x04, 2, 6);
}

static inline struct usb_port *xd_connector(struct xd *x, const char *path)
{
    struct usb_port *p = usb_port_find(usb_bus_find(&x->buses, "xhci.0"), path, 0xf, NULL);
    g_assert_nonnull(p);
    return p;
}

static inline uint64_t xd_context(unsigned slot)
{
    return XD_CONTEXTS + 0x800 * (uint64_t)slot;
}

static inline void xd_input(struct xd *x, uint32_t drop, uint32_t add)
{
    for (unsigned i = 0; i < 0x420; i += 4)
        vt_put(x->bus, XD_INPUT + i, 0, 4);
    vt_put(x->bus, XD_INPUT, drop, 4);
    vt_put(x->bus, XD_INPUT + 4, add, 4);
}

/* An endpoint of an input context, with a fresh ring. */
static inline void xd_input_ep(struct xd *x, unsigned slot, unsigned dci, unsigned type,
                               unsigned packet)
{
    uint64_t at = XD_INPUT + 32 * (dci + 1), ring = XD_RINGS + 0x20000 * slot + 0x1000 * dci;

    x->ring[slot][dci] = (struct xd_ring){.base = ring, .cycle = 1};
    for (unsigned i = 0; i <= XD_RING_TRBS; i++)
        vt_put(x->bus, ring + 16 * i + 12, 0, 4);
    vt_put(x->bus, at + 4, 3u << 1 | type << 3 | packet << 16, 4);
    vt_put(x->bus, at + 8, ring | 1, 8);
}

/* Reset of the port, slot, address; the slot. */
static inline unsigned xd_address(struct xd *x, unsigned port, unsigned speed, uint32_t route)
{
    unsigned slot = 0;

    g_assert_cmpuint(xd_command(x, 9, 0, 0, &slot), ==, 1);
    g_assert_cmpuint(slot, <, 5);
    vt_put(x->bus, XD_DCBAA + 8 * slot, xd_context(slot), 8);
    xd_input(x, 0, 3);
    vt_put(x->bus, XD_INPUT + 32, route | speed << 20 | 1u << 27, 4);
    vt_put(x->bus, XD_INPUT + 36, port << 16, 4);
    xd_input_ep(x, slot, 1, 4, 64);
    g_assert_cmpuint(xd_command(x, 11, XD_INPUT, slot << 24, NULL), ==, 1);
    return slot;
}

static inline void xd_ring_bell(struct xd *x, unsigned slot, unsigned dci)
{
    xd_set(x, XD_DOORBELL + 4 * slot, dci);
}

/* A control transfer with its data at XD_DATA; the completion code, and how much came. */
static inline unsigned xd_control(struct xd *x, unsigned slot, uint8_t type, uint8_t request,
                                  uint16_t value, uint16_t index, uint16_t length, unsigned *got)
{
    struct xd_ring *r = &x->ring[slot][1];
    bool in = type & 0x80;
    struct xd_event e;
    unsigned left = 0;

    xd_put(x, r,
           type | (uint64_t)request << 8 | (uint64_t)value << 16 | (uint64_t)index << 32 |
               (uint64_t)length << 48,
           8, 2u << 10 | 0x40 | (length ? in ? 3u : 2u : 0u) << 16);
    if (length)
        xd_put(x, r, XD_DATA, length, 3u << 10 | 0x24 | (uint32_t)in << 16);
    xd_put(x, r, 0, 0, 4u << 10 | 0x20 | (uint32_t)(!length || !in) << 16);
    xd_ring_bell(x, slot, 1);
    if (length) {
        e = xd_wait_result(x);
        g_assert_cmpuint(xd_type(&e), ==, 32);
        left = e.status & 0xffffff;
        if (xd_code(&e) != 1 && xd_code(&e) != 13)
            return xd_code(&e);
    }
    if (got)
        *got = length - left;
    e = xd_wait_result(x);
    return xd_code(&e);
}

/* After a stall of endpoint 0: reset it and go on behind what is in its ring. */
static inline void xd_recover(struct xd *x, unsigned slot, unsigned dci)
{
    struct xd_ring *r = &x->ring[slot][dci];

    g_assert_cmpuint(xd_command(x, 14, 0, slot << 24 | dci << 16, NULL), ==, 1);
    g_assert_cmpuint(
        xd_command(x, 16, (r->base + 16 * r->at) | r->cycle, slot << 24 | dci << 16, NULL), ==, 1);
}

/* One bulk or interrupt transfer of a single TRB; its event. */
static inline struct xd_event xd_transfer(struct xd *x, unsigned slot, unsigned dci, uint64_t at,
                                          uint32_t len)
{
    xd_put(x, &x->ring[slot][dci], at, len, 1u << 10 | 0x24);
    xd_ring_bell(x, slot, dci);
    return xd_wait_result(x);
}

static inline void xd_close(struct xd *x)
{
    vt_board_free(x->board);
}

#endif
