/* uart.c - 16550A: registers, FIFOs, interrupt sources, and the line to a chardev. */
#include "devices/uart.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/irq.h"
#include "chardev/chardev.h"

#include <glib.h>

#define FIFO_BYTES 16
#define CLOCK_BAUD 115200u /* divisor 1 */

enum { IER_RX = 1, IER_TX = 2, IER_LINE = 4, IER_MODEM = 8 };
enum {
    IIR_MODEM = 0x0,
    IIR_NONE = 0x1,
    IIR_TX = 0x2,
    IIR_RX = 0x4,
    IIR_LINE = 0x6,
    IIR_TIMEOUT = 0xc,
    IIR_FIFO_ON = 0xc0
};
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_BREAK = 0x40, LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10 };
enum {
    LSR_DR = 1,
    LSR_OVERRUN = 2,
    LSR_PARITY = 4,
    LSR_FRAME = 8,
    LSR_BREAK = 0x10,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
    LSR_FIFO_ERROR = 0x80
};
#define LSR_ERRORS (LSR_OVERRUN | LSR_PARITY | LSR_FRAME | LSR_BREAK)
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };
/* A null modem whose other end is always there. */
#define MSR_LINE (MSR_CTS | MSR_DSR | MSR_DCD)

struct uart {
    struct device dev; /* first */
    struct io_region region;
    struct irq_line irq;
    struct vm_clock *clock;
    struct timer *rx_timer; /* character timeout */
    struct chardev_fe *fe;  /* NULL: nothing plugged in */
    /* board lock */
    uint8_t ier, fcr, lcr, mcr, scratch;
    uint8_t msr; /* deltas in 3:0, lines in 7:4 */
    uint16_t divisor;
    uint8_t rx[FIFO_BYTES], rx_flags[FIFO_BYTES]; /* flags: LSR errors of that byte */
    uint8_t rx_count;
    uint8_t tx[FIFO_BYTES];
    uint8_t tx_count;
    uint8_t line_errors; /* LSR errors not yet read */
    bool tx_empty_pending, rx_timeout_pending;
};

static unsigned fifo_depth(const struct uart *u)
{
    return u->fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

static unsigned rx_trigger(const struct uart *u)
{
    static const uint8_t level[4] = {1, 4, 8, 14};

    return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

static uint8_t pending_source(const struct uart *u)
{
    if ((u->ier & IER_LINE) && u->line_errors)
        return IIR_LINE;
    if ((u->ier & IER_RX) && u->rx_count >= rx_trigger(u))
        return IIR_RX;
    if ((u->ier & IER_RX) && u->rx_timeout_pending)
        return IIR_TIMEOUT;
    if ((u->ier & IER_TX) && u->tx_empty_pending)
        return IIR_TX;
    if ((u->ier & IER_MODEM) && (u->msr & 0x0f))
        return IIR_MODEM;
    return IIR_NONE;
}

/* OUT2 gates the interrupt on a PC's card, but not on the virtual ports guests have been written
 * for, so it does not here. */
static void irq_update(struct uart *u)
{
    irq_set(&u->irq, pending_source(u) != IIR_NONE);
}

/* Four characters of silence with data below the trigger level (PC16550D, FIFO interrupt mode). */
static void rx_timer_arm(struct uart *u)
{
    uint64_t char_ns = 10ull * 1000000000u * MAX_OF(u->divisor, 1) / CLOCK_BAUD;

    u->rx_timeout_pending = false;
    if (u->rx_count && (u->fcr & FCR_ENABLE))
        timer_set(u->rx_timer, vm_clock_ns(u->clock) + MIN_OF(4 * char_ns, 20000000u));
    else
        timer_cancel(u->rx_timer);
}

static void rx_timeout(void *opaque)
{
    struct uart *u = opaque;

    pthread_mutex_lock(&u->dev.list->lock);
    if (u->rx_count && (u->fcr & FCR_ENABLE)) {
        u->rx_timeout_pending = true;
        irq_update(u);
    }
    pthread_mutex_unlock(&u->dev.list->lock);
}

static void rx_put(struct uart *u, uint8_t byte, uint8_t flags)
{
    if (u->rx_count == fifo_depth(u)) {
        /* Without FIFOs the new byte replaces the old one; the FIFO keeps what it has. */
        u->line_errors |= LSR_OVERRUN;
        if (!(u->fcr & FCR_ENABLE))
            u->rx[0] = byte;
        return;
    }
    u->rx[u->rx_count] = byte;
    u->rx_flags[u->rx_count] = flags;
    if (u->rx_count++ == 0)
        u->line_errors |= flags;
}

static uint8_t rx_get(struct uart *u)
{
    uint8_t byte = u->rx[0];

    if (!u->rx_count)
        return 0;
    u->rx_count--;
    memmove(u->rx, u->rx + 1, u->rx_count);
    memmove(u->rx_flags, u->rx_flags + 1, u->rx_count);
    if (u->rx_count)
        u->line_errors |= u->rx_flags[0];
    rx_timer_arm(u);
    if (u->fe)
        chardev_accept_input(u->fe);
    return byte;
}

/* Gives the chardev what waits; an empty transmitter is an event. */
static void tx_flush(struct uart *u)
{
    size_t taken = u->tx_count;

    if (!u->tx_count)
        return;
    if (u->fe)
        taken = chardev_write(u->fe, u->tx, u->tx_count);
    u->tx_count -= taken;
    memmove(u->tx, u->tx + taken, u->tx_count);
    if (!u->tx_count)
        u->tx_empty_pending = true;
}

static void tx_put(struct uart *u, uint8_t byte)
{
    u->tx_empty_pending = false;
    if (u->mcr & MCR_LOOP) {
        rx_put(u, byte, 0);
        rx_timer_arm(u);
        u->tx_empty_pending = true;
        return;
    }
    if (u->tx_count == fifo_depth(u))
        u->tx_count--; /* written over a full transmitter: the last byte is lost */
    u->tx[u->tx_count++] = byte;
    tx_flush(u);
}

/* The modem lines as they are now; changes leave their delta bits. */
static void msr_update(struct uart *u)
{
    uint8_t lines = MSR_LINE, changed;

    if (u->mcr & MCR_LOOP)
        lines = (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
    changed = (u->msr ^ lines) & 0xf0;
    /* Ring is told at its trailing edge only. */
    if (changed & lines & MSR_RI)
        changed &= ~MSR_RI;
    u->msr = lines | (u->msr & 0x0f) | changed >> 4;
}

static void fcr_write(struct uart *u, uint8_t val)
{
    if ((val ^ u->fcr) & FCR_ENABLE)
        val |= FCR_CLEAR_RX | FCR_CLEAR_TX;
    if (val & FCR_CLEAR_RX) {
        u->rx_count = 0;
        u->line_errors &= ~(LSR_PARITY | LSR_FRAME | LSR_BREAK);
    }
    if ((val & FCR_CLEAR_TX) && u->tx_count) {
        u->tx_count = 0;
        u->tx_empty_pending = true;
    }
    u->fcr = val & FCR_ENABLE ? val & 0xc9 : 0;
    rx_timer_arm(u);
    if ((val & FCR_CLEAR_RX) && u->fe)
        chardev_accept_input(u->fe);
}

static void ier_write(struct uart *u, uint8_t val)
{
    /* Enabling the transmitter interrupt over an empty transmitter raises it. */
    if ((val & ~u->ier & IER_TX) && !u->tx_count)
        u->tx_empty_pending = true;
    u->ier = val & 0x0f;
}

static void mcr_write(struct uart *u, uint8_t val)
{
    bool left_loop = (u->mcr & ~val) & MCR_LOOP;

    u->mcr = val & 0x1f;
    msr_update(u);
    if (left_loop && u->fe)
        chardev_accept_input(u->fe);
}

static void uart_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct uart *u = container_of(r, struct uart, region);

    switch (off) {
    case 0:
        if (u->lcr & LCR_DLAB)
            u->divisor = (u->divisor & 0xff00) | val;
        else
            tx_put(u, val);
        break;
    case 1:
        if (u->lcr & LCR_DLAB)
            u->divisor = (u->divisor & 0x00ff) | val << 8;
        else
            ier_write(u, val);
        break;
    case 2:
        fcr_write(u, val);
        break;
    case 3:
        /* In loopback a break comes back. */
        if ((val & ~u->lcr & LCR_BREAK) && (u->mcr & MCR_LOOP))
            rx_put(u, 0, LSR_BREAK);
        u->lcr = val;
        break;
    case 4:
        mcr_write(u, val);
        break;
    case 7:
        u->scratch = val;
        break;
    }
    irq_update(u);
}

static uint8_t iir_read(struct uart *u)
{
    uint8_t source = pending_source(u);

    if (source == IIR_TX)
        u->tx_empty_pending = false;
    return source | (u->fcr & FCR_ENABLE ? IIR_FIFO_ON : 0);
}

static uint8_t lsr_read(struct uart *u)
{
    uint8_t val = u->line_errors | (u->rx_count ? LSR_DR : 0);

    if (!u->tx_count)
        val |= LSR_THRE | LSR_TEMT;
    for (unsigned i = 0; i < u->rx_count && (u->fcr & FCR_ENABLE); i++)
        if (u->rx_flags[i])
            val |= LSR_FIFO_ERROR;
    u->line_errors = 0;
    if (u->rx_count)
        u->rx_flags[0] = 0;
    return val;
}

static uint64_t uart_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct uart *u = container_of(r, struct uart, region);
    uint8_t val = 0;

    switch (off) {
    case 0:
        val = u->lcr & LCR_DLAB ? u->divisor & 0xff : rx_get(u);
        break;
    case 1:
        val = u->lcr & LCR_DLAB ? u->divisor >> 8 : u->ier;
        break;
    case 2:
        val = iir_read(u);
        break;
    case 3:
        val = u->lcr;
        break;
    case 4:
        val = u->mcr;
        break;
    case 5:
        val = lsr_read(u);
        break;
    case 6:
        val = u->msr;
        u->msr &= 0xf0;
        break;
    case 7:
        val = u->scratch;
        break;
    }
    irq_update(u);
    return val;
}

static const struct io_ops uart_ops = {uart_read, uart_write, 1, 1};

/* ---- the chardev's side, main thread ---- */

static size_t fe_can_read(void *fe)
{
    struct uart *u = fe;
    size_t room;

    pthread_mutex_lock(&u->dev.list->lock);
    room = u->mcr & MCR_LOOP ? 0 : fifo_depth(u) - u->rx_count;
    pthread_mutex_unlock(&u->dev.list->lock);
    return room;
}

static void fe_read(void *fe, const uint8_t *buf, size_t len)
{
    struct uart *u = fe;

    pthread_mutex_lock(&u->dev.list->lock);
    for (size_t i = 0; i < len; i++)
        rx_put(u, buf[i], 0);
    rx_timer_arm(u);
    irq_update(u);
    pthread_mutex_unlock(&u->dev.list->lock);
}

static void fe_event(void *fe, enum chardev_event ev)
{
    struct uart *u = fe;

    pthread_mutex_lock(&u->dev.list->lock);
    if (ev == CHARDEV_BREAK)
        rx_put(u, 0, LSR_BREAK);
    else if (ev == CHARDEV_WRITABLE || ev == CHARDEV_OPENED)
        tx_flush(u);
    irq_update(u);
    pthread_mutex_unlock(&u->dev.list->lock);
}

static const struct chardev_fe_ops fe_ops = {fe_can_read, fe_read, fe_event};

static void uart_reset(struct device *d)
{
    struct uart *u = container_of(d, struct uart, dev);

    u->ier = u->fcr = u->lcr = u->mcr = u->scratch = 0;
    u->msr = MSR_LINE;
    u->divisor = 12; /* 9600 */
    u->rx_count = u->tx_count = u->line_errors = 0;
    u->tx_empty_pending = false;
    rx_timer_arm(u);
    irq_update(u);
    if (u->fe)
        chardev_accept_input(u->fe);
}

static bool uart_post_load(void *obj, uint32_t version, GError **err)
{
    struct uart *u = obj;

    if (u->rx_count > fifo_depth(u) || u->tx_count > fifo_depth(u))
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "The saved state of a serial port has more bytes than its FIFO holds.");
    bool timed_out = u->rx_timeout_pending;
    rx_timer_arm(u);
    u->rx_timeout_pending = timed_out;
    irq_update(u);
    tx_flush(u);
    irq_update(u);
    return true;
}

static const struct state_field uart_fields[] = {
    STATE_U8(struct uart, ier),
    STATE_U8(struct uart, fcr),
    STATE_U8(struct uart, lcr),
    STATE_U8(struct uart, mcr),
    STATE_U8(struct uart, scratch),
    STATE_U8(struct uart, msr),
    STATE_U16(struct uart, divisor),
    STATE_BYTES(struct uart, rx),
    STATE_BYTES(struct uart, rx_flags),
    STATE_U8(struct uart, rx_count),
    STATE_BYTES(struct uart, tx),
    STATE_U8(struct uart, tx_count),
    STATE_U8(struct uart, line_errors),
    STATE_BOOL(struct uart, tx_empty_pending),
    STATE_BOOL(struct uart, rx_timeout_pending),
    STATE_END,
};
static const struct state_desc uart_state = {
    .name = "isa-serial", .version = 1, .fields = uart_fields, .post_load = uart_post_load};

static void uart_destroy(struct device *d)
{
    struct uart *u = container_of(d, struct uart, dev);

    chardev_detach(u->fe);
    timer_free(u->rx_timer);
    irq_disconnect(&u->irq);
    device_remove(d->list, d);
    g_free(u);
}

static const struct device_ops uart_device_ops = {
    .type = "isa-serial", .reset = uart_reset, .destroy = uart_destroy, .state = &uart_state};

struct uart *uart_new(struct device_list *devices, struct io_space *pio, struct irqchip *irqchip,
                      struct vm_clock *clock, struct chardev *backend,
                      const struct uart_config *cfg, GError **err)
{
    struct uart *u;
    g_autofree char *path = g_strdup_printf("serial@%x", cfg->iobase);

    if (cfg->iobase > 0xfff8 || cfg->gsi > 15) {
        error_set(err, HANOK_ERROR_INVALID,
                  "A serial port cannot be at I/O port 0x%x with IRQ %u: ports end at 0xffff and "
                  "IRQs at 15.",
                  cfg->iobase, cfg->gsi);
        return NULL;
    }
    u = g_new0(struct uart, 1);
    u->clock = clock;
    u->rx_timer = timer_new(evloop_main(), clock, rx_timeout, u);
    irq_connect(&u->irq, irqchip, cfg->gsi);
    u->region = (struct io_region){
        .ops = &uart_ops, .name = "serial", .size_bytes = 8, .lock = &devices->lock};
    device_add(devices, &u->dev, &uart_device_ops, cfg->id, path);
    uart_reset(&u->dev);
    if (backend && !(u->fe = chardev_attach(backend, &fe_ops, u, err))) {
        uart_destroy(&u->dev);
        return NULL;
    }
    io_space_add(pio, &u->region, cfg->iobase);
    return u;
}
