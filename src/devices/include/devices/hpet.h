/* hpet.h - high precision event timers: 64-bit main counter at 100 MHz, three comparators.
 *
 * Threads: registers under the chip's own lock (counter reads are hot); timers in the main thread.
 * Spec:    IA-PC HPET specification 1.0a. */
#ifndef DEVICES_HPET_H
#define DEVICES_HPET_H

#include "bus/device.h"

#define HPET_BASE           0xfed00000ull
#define HPET_PERIOD_FS      10000000u   /* 10 ns */
#define HPET_EVENT_BLOCK_ID 0x8086a201u /* ACPI HPET table: Event Timer Block ID */

struct hpet;
struct io_space;
struct irqchip;
struct vm_clock;

/* Who loses IRQ 0 and IRQ 8 in legacy replacement mode. */
struct hpet_legacy {
    void *opaque;
    void (*irq0_enable)(void *opaque, bool on); /* the PIT, ours or KVM's */
    void (*irq8_enable)(void *opaque, bool on); /* the RTC */
};

struct hpet *hpet_new(struct device_list *devices, struct io_space *mmio, struct irqchip *irqchip,
                      struct vm_clock *clock, const struct hpet_legacy *legacy);

#endif
