/* i8042.h - keyboard controller (ports 0x60, 0x64; IRQ 1, IRQ 12) with a PS/2 keyboard and mouse.
 *
 * Threads: board lock.
 * Spec:    IBM PS/2 Hardware Interface Technical Reference (keyboard controller, keyboard, mouse).
 */
#ifndef DEVICES_I8042_H
#define DEVICES_I8042_H

#include "bus/device.h"
#include "devices/board.h"

struct i8042;
struct io_space;
struct irqchip;

struct i8042 *i8042_new(struct device_list *devices, struct io_space *pio, struct irqchip *irqchip,
                        const struct board_requests *req);
/* Scancode set 1 or 2 as the guest has chosen is made from set-2 make codes: the display's input
 * layer sends these. extended = E0 prefix.  Any thread; drops keys when the queue is full. */
void i8042_key(struct i8042 *k, uint8_t set2_code, bool extended, bool down);

/* Right and down are positive, as is the wheel towards the user; buttons that are down: left 1,
 * right 2, middle 4.  Any thread. */
void i8042_mouse(struct i8042 *k, int dx, int dy, int dz, uint8_t buttons);

#endif
