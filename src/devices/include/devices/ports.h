/* ports.h - the small chips and test devices that are a port or two.
 *
 * Threads: board lock. */
#ifndef DEVICES_PORTS_H
#define DEVICES_PORTS_H

#include "bus/device.h"
#include "devices/board.h"

struct chardev;
struct io_space;
struct irqchip;

/* Port 0x92: A20 gate (bit 1) and fast reset (bit 0). */
bool port92_new(struct device_list *devices, struct io_space *pio,
                const struct board_requests *req);
/* Port 0xcf9: reset control (ICH9 §13.7.5); lies over the PCI config address register. */
bool reset_port_new(struct device_list *devices, struct io_space *pio,
                    const struct board_requests *req);
/* 8237 DMA controllers and page registers (0x00-0x0f, 0x80-0x8f, 0xc0-0xdf) as plain storage: no
 * device uses ISA DMA.  Port 0x80 (POST code) is among them. */
bool dma8237_new(struct device_list *devices, struct io_space *pio);
/* Bytes written to iobase (0xe9) go to the chardev; reads give readback (0xe9) so that guests can
 * probe it. */
bool debugcon_new(struct device_list *devices, struct io_space *pio, struct chardev *backend,
                  uint16_t iobase, uint8_t readback, const char *id, GError **err);
/* A write of v ends the process with status (v << 1) | 1. */
bool isa_debug_exit_new(struct device_list *devices, struct io_space *pio,
                        const struct board_requests *req, uint16_t iobase, unsigned iosize,
                        const char *id, GError **err);
/* kvm-unit-tests' pc-testdev: echo ports 0xe0-0xeb, IRQ lines at 0x2000, memory at 0xff000000. */
bool pc_testdev_new(struct device_list *devices, struct io_space *pio, struct io_space *mmio,
                    struct irqchip *irqchip, const char *id, GError **err);

#endif
