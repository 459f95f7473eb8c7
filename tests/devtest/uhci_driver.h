/* uhci_driver.h - an EHCI with one UHCI companion, and small drivers for both, for tests. */
#ifndef TESTS_DEVTEST_UHCI_DRIVER_H
#define TESTS_DEVTEST_UHCI_DRIVER_H

#include "usb/devices.h"
#include "usb/hcd.h"
#include "vt.h"

#include "base/evloop.h"
#include "bus/pci.h"

enum {
    UD_EHCI = PCI_DEVFN(0x1d, 7),
    UD_UHCI = PCI_DEVFN(0x1d, 0),
    UD_SPARE = PCI_DEVFN(0x1e, 0),
    UD_BAR = 0xe0000000,
    UD_IO = 0xc000,
    UD_PORT = 0x44, /* EHCI's first port register */
    UD_FRAMES = 0x10000,
    UD_QH = 0x12000,
    UD_TD = 0x13000,
    UD_SETUP = 0x14000,
    UD_DATA = 0x20000,
};

struct ud {
    struct vt_board *board;
    struct vt_bus *bus;
    struct usb_buses buses;
    struct usb_bus *bus_of;
};

/* Offsets from the operational registers; the capabilities lie below them. */
static inline uint32_t ud_ehci(struct ud *x, int off)
{
    return (uint32_t)x->bus->read(x->bus, (uint64_t)(UD_BAR + 0x20 + off), 4);
}

static inline void ud_ehci_set(struct ud *x, int off, uint32_t v)
{
    x->bus->write(x->bus, (uint64_t)(UD_BAR + 0x20 + off), 4, v);
}

static inline uint32_t ud_uhci(struct ud *x, unsigned off, unsigned size)
{
    return x->bus->in(x->bus, (uint16_t)(UD_IO + off), size);
}

static inline void ud_uhci_set(struct ud *x, unsigned off, unsigned size, uint32_t v)
{
    x->bus->out(x->bus, (uint16_t)(UD_IO + off), size, v);
}

static inline void ud_open(struct ud *x)
{
    static const struct usb_hcd_model models[] = {{"ehci", 0x8086, 0x293a, 3, 4},
                                                  {"uhci", 0x8086, 0x2934, 3, 1}};
    struct ehci_config ehci = {.model = &models[0]};
    struct uhci_config uhci = {.model = &models[1]};

    *x = (struct ud){.board = vt_board_new()};
    x->bus = vt_board_bus(x->board);
    x->buses = (struct usb_buses){.devices = vt_board_devices(x->board),
                                  .clock = vt_board_clock(x->board)};
    ehci.at = (struct usb_hcd_place){vt_board_pci(x->board)->root, UD_EHCI, false, "usb"};
    g_assert_nonnull(ehci_new(&ehci, &x->buses, NULL));
    x->bus_of = usb_bus_find(&x->buses, "usb.0");
    uhci.at = (struct usb_hcd_place){vt_board_pci(x->board)->root, UD_UHCI, true, NULL};
    uhci.master = x->bus_of;
    g_assert_nonnull(uhci_new(&uhci, &x->buses, NULL));
}

static inline void ud_map(struct ud *x)
{
    vt_config_write(x->bus, UD_EHCI, 0x10, 4, UD_BAR);
    vt_config_write(x->bus, UD_EHCI, 0x04, 2, 6);
    vt_config_write(x->bus, UD_UHCI, 0x20, 4, UD_IO);
    vt_config_write(x->bus, UD_UHCI, 0x04, 2, 5);
}

static inline struct usb_port *ud_port(struct ud *x, const char *path)
{
    struct usb_port *p = usb_port_find(x->bus_of, path, 0xf, NULL);
    g_assert_nonnull(p);
    return p;
}

static inline void ud_close(struct ud *x)
{
    vt_board_free(x->board);
}

/* Until the masked bits of a word have that value. */
static inline uint32_t ud_until(struct ud *x, uint64_t at, uint32_t mask, uint32_t value)
{
    uint64_t end = host_clock_ns() + 20000000000ull;

    while (((uint32_t)vt_get(x->bus, at, 4) & mask) != value) {
        g_assert_cmpuint(host_clock_ns(), <, end);
        x->bus->pump(x->bus);
    }
    return (uint32_t)vt_get(x->bus, at, 4);
}

static inline void ud_setup(struct ud *x, uint8_t type, uint8_t request, uint16_t value,
                            uint16_t index, uint16_t length)
{
    vt_put(x->bus, UD_SETUP,
           type | (uint64_t)request << 8 | (uint64_t)value << 16 | (uint64_t)index << 32 |
               (uint64_t)length << 48,
           8);
}

/* ---- UHCI ---- */

static inline void ud_td(struct ud *x, uint64_t link, uint64_t at, bool ioc, uint8_t pid,
                         unsigned address, unsigned ep, uint32_t len, uint64_t buffer)
{
    vt_put(x->bus, at, link ? link : 1, 4);
    vt_put(x->bus, at + 4, 0x18800000 | (ioc ? 1u << 24 : 0), 4);
    vt_put(x->bus, at + 8, pid | address << 8 | ep << 15 | ((len - 1) & 0x7ff) << 21, 4);
    vt_put(x->bus, at + 12, buffer, 4);
}

/* The one queue's first descriptor. */
static inline void ud_uhci_queue(struct ud *x, uint64_t td)
{
    vt_put(x->bus, UD_QH + 4, td, 4);
}

static inline void ud_uhci_start(struct ud *x)
{
    ud_uhci_set(x, 0, 2, 2);
    vt_put(x->bus, UD_QH, 1, 4);
    vt_put(x->bus, UD_QH + 4, 1, 4);
    for (unsigned i = 0; i < 1024; i++)
        vt_put(x->bus, UD_FRAMES + 4 * i, UD_QH | 2, 4);
    ud_uhci_set(x, 8, 2, UD_FRAMES & 0xffff);
    ud_uhci_set(x, 10, 2, UD_FRAMES >> 16);
    ud_uhci_set(x, 0x10, 2, 0x200);
    ud_uhci_set(x, 0x10, 2, 0);
    ud_uhci_set(x, 0x10, 2, 4);
    ud_uhci_set(x, 0, 2, 0xc1);
}

/* A control transfer; the status bits of the descriptor that ended it (0: well). */
static inline uint32_t ud_uhci_control(struct ud *x, unsigned address, uint8_t type,
                                       uint8_t request, uint16_t value, uint16_t index,
                                       uint16_t length)
{
    uint64_t td = UD_TD;
    bool in = type & 0x80;
    unsigned count = 0;

    ud_setup(x, type, request, value, index, length);
    ud_td(x, (td + 32) | 4, td, false, 0x2d, address, 0, 8, UD_SETUP);
    if (length) {
        td = UD_TD + 32 * ++count;
        ud_td(x, (td + 32) | 4, td, false, in ? 0x69 : 0xe1, address, 0, length, UD_DATA);
    }
    td = UD_TD + 32 * ++count;
    ud_td(x, 0, td, true, length && in ? 0xe1 : 0x69, address, 0, 0, UD_DATA);
    ud_uhci_queue(x, UD_TD);
    for (unsigned i = 0; i <= count; i++) {
        uint32_t status = ud_until(x, UD_TD + 32 * i + 4, 0x00800000, 0) >> 16 & 0xff;
        if (status)
            return status;
    }
    return 0;
}

/* ---- EHCI ---- */

/* pid: 0 OUT, 1 IN, 2 SETUP */
static inline void ud_qtd(struct ud *x, uint64_t at, uint64_t next, unsigned pid, bool ioc,
                          uint32_t len, uint64_t buffer)
{
    vt_put(x->bus, at, next, 4);
    vt_put(x->bus, at + 4, 1, 4);
    vt_put(x->bus, at + 12, buffer, 4);
    for (unsigned i = 1; i < 5; i++)
        vt_put(x->bus, at + 12 + 4 * i, (buffer & ~0xfffull) + 4096 * i, 4);
    vt_put(x->bus, at + 8, 0x80 | pid << 8 | 3u << 10 | (uint32_t)ioc << 15 | len << 16, 4);
}

static inline void ud_ehci_queue(struct ud *x, uint64_t qh, uint64_t link, unsigned address,
                                 unsigned ep, unsigned smask, uint64_t qtd)
{
    vt_put(x->bus, qh + 24, 0x40, 4); /* halted while it changes */
    vt_put(x->bus, qh, link, 4);
    vt_put(x->bus, qh + 4, address | ep << 8 | 2u << 12 | 1u << 14 | 1u << 15 | 64u << 16, 4);
    vt_put(x->bus, qh + 8, smask | 1u << 30, 4);
    vt_put(x->bus, qh + 16, qtd, 4);
    vt_put(x->bus, qh + 20, 1, 4);
    vt_put(x->bus, qh + 24, 0, 4);
}

static inline void ud_ehci_start(struct ud *x)
{
    ud_ehci_set(x, 0, 2);
    ud_ehci_set(x, 0x40, 1);
    ud_ehci_queue(x, UD_QH, UD_QH | 2, 0, 0, 0, 1);
    ud_ehci_set(x, 0x18, UD_QH);
    ud_ehci_set(x, UD_PORT, 0x1102); /* reset, and its end */
    ud_ehci_set(x, UD_PORT, 0x1000);
    ud_ehci_set(x, 0, 0x80021);
}

/* A control transfer; the status bits of the descriptor that ended it (0: well). */
static inline uint32_t ud_ehci_control(struct ud *x, unsigned address, uint8_t type,
                                       uint8_t request, uint16_t value, uint16_t index,
                                       uint16_t length)
{
    bool in = type & 0x80;
    unsigned count = 0;

    ud_setup(x, type, request, value, index, length);
    ud_qtd(x, UD_TD, UD_TD + 64, 2, false, 8, UD_SETUP);
    if (length) {
        count++;
        ud_qtd(x, UD_TD + 64, UD_TD + 128, in, false, length, UD_DATA);
    }
    count++;
    ud_qtd(x, UD_TD + 64 * count, 1, !length || !in, true, 0, UD_DATA);
    ud_ehci_queue(x, UD_QH, UD_QH | 2, address, 0, 0, UD_TD);
    for (unsigned i = 0; i <= count; i++) {
        uint32_t status = ud_until(x, UD_TD + 64 * i + 8, 0x80, 0) & 0xff;
        if (status)
            return status;
    }
    return 0;
}

#endif
