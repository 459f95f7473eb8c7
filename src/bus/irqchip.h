/* irqchip.h - how the parts of the software chip set talk; private to src/bus.
 *
 *   gsi --> pic (0..15) --INTR--> lint0 of every lapic, and ioapic pin 0
 *       \-> ioapic (gsi 0 on pin 2) --apic_msg--> apic_bus_send --> lapic
 *
 * Lock order: router -> pic -> ioapic -> lapic.  Calls upwards (lapic asks the PIC for its vector,
 * an EOI goes to the IOAPIC) are made with no lapic lock held. */
#ifndef BUS_IRQCHIP_H
#define BUS_IRQCHIP_H

#include "base/evloop.h"
#include "bus/device.h"
#include "bus/io.h"
#include "bus/lapic.h"

/* Delivery modes of LVT, ICR, RTE and MSI (SDM vol.3 §11.5.1, §11.6.1). */
enum apic_mode {
    APIC_FIXED = 0,
    APIC_LOWEST = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_SIPI = 6,
    APIC_EXTINT = 7
};
enum apic_shorthand { APIC_DEST, APIC_SELF, APIC_ALL, APIC_OTHERS };

/* A message on the (virtual) APIC bus. */
struct apic_msg {
    uint32_t dest;
    uint8_t vector, mode;
    uint8_t shorthand;
    bool logical;
    bool wide;     /* dest is a 32-bit x2APIC one: 0xff is a CPU, not a broadcast */
    bool level;    /* level triggered: EOI goes to the IOAPIC */
    bool redirect; /* MSI redirection hint: one of the matching CPUs is enough */
};

struct pic;
struct pic *pic_new(void (*intr)(void *opaque, bool level), void *opaque);
void pic_free(struct pic *p);
void pic_plug(struct pic *p, struct device_list *devices, struct io_space *pio);
void pic_set_irq(struct pic *p, unsigned irq, bool level);
int pic_ack(struct pic *p); /* INTA cycle: vector, or -1 when INTR has gone away */

struct ioapic;
struct ioapic *ioapic_new(struct soft_irqchip *s);
void ioapic_free(struct ioapic *io);
void ioapic_plug(struct ioapic *io, struct device_list *devices, struct io_space *mmio);
void ioapic_set_pin(struct ioapic *io, unsigned pin, bool level);
void ioapic_eoi(struct ioapic *io, uint8_t vector); /* EOI broadcast of a level interrupt */

struct lapic *lapic_new(struct soft_irqchip *s, struct vm_clock *clock, unsigned index);
void lapic_free(struct lapic *l);
void lapic_lint0(struct lapic *l, bool level);
bool lapic_on_bus(const struct lapic *l); /* has a CPU and is not switched off */
/* Matching is lock-free (a guest that moves an APIC while it is being addressed gets either). */
bool lapic_matches(const struct lapic *l, const struct apic_msg *m);
/* For lowest priority: false when it cannot take part; *focus = already has this vector. */
bool lapic_arbitrate(struct lapic *l, uint8_t vector, uint8_t *priority, bool *focus);
bool lapic_deliver(struct lapic *l, const struct apic_msg *m); /* false: not accepted */

/* The number of CPUs that accepted; self is for shorthands and may be NULL. */
unsigned apic_bus_send(struct soft_irqchip *s, const struct apic_msg *m, struct lapic *self);
void apic_bus_eoi(struct soft_irqchip *s, uint8_t vector);
int apic_bus_pic_ack(struct soft_irqchip *s);

#endif
