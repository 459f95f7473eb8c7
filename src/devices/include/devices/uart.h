/* uart.h - 16550A serial port (isa-serial).
 *
 *   guest OUT -> tx ring (bounded) -> chardev_write;   chardev input -> rx FIFO -> guest IN
 *
 * Output never blocks: what the chardev does not take stays in the tx ring, and THRE stays clear
 * while the ring is full, so the guest waits as it would for a slow line.
 *
 * Threads: registers under the board lock (vCPUs); input and timers in the main thread.
 * Spec:    National Semiconductor PC16550D data sheet. */
#ifndef DEVICES_UART_H
#define DEVICES_UART_H

#include "bus/device.h"

struct chardev;
struct io_space;
struct irqchip;
struct uart;
struct vm_clock;

struct uart_config {
    uint16_t iobase; /* 0x3f8, 0x2f8, 0x3e8, 0x2e8 */
    unsigned gsi;    /* 4, 3, 4, 3 */
    const char *id;  /* user's id or NULL */
};

/* backend may be NULL: a port with nothing plugged in. */
struct uart *uart_new(struct device_list *devices, struct io_space *pio, struct irqchip *irqchip,
                      struct vm_clock *clock, struct chardev *backend,
                      const struct uart_config *cfg, GError **err);

#endif
