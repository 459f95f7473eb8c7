/* pit.h - i8254 interval timer (ports 0x40-0x43, IRQ 0) and port 0x61 (speaker, gate of counter 2).
 *
 * Not created when the accelerator brings its own (cpu_set_kernel_pit).
 * Threads: registers under the board lock; the counter 0 timer in the main thread.
 * Spec:    Intel 8254 data sheet (231164-005). */
#ifndef DEVICES_PIT_H
#define DEVICES_PIT_H

#include "bus/device.h"

struct io_space;
struct irqchip;
struct pit;
struct vm_clock;

struct pit *pit_new(struct device_list *devices, struct io_space *pio, struct irqchip *irqchip,
                    struct vm_clock *clock);
/* HPET legacy replacement takes IRQ 0 away from the PIT. */
void pit_irq_enable(struct pit *p, bool on);

#endif
