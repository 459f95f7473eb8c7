/* irq.h - interrupt lines, MSIs, and the chip set that takes them.
 *
 *   device --irq_set(line, 1)--> irqchip (GSI) --> PIC + IOAPIC --> LAPIC --> vcpu
 *   device --msi_route_raise(route)-------------------------------> LAPIC --> vcpu
 *
 * Two chip sets exist behind one ops table: ours (bus/: pic, ioapic, lapic) and KVM's in-kernel
 * one. Lines may be shared (PCI INTx): each source has its own struct irq_line, the GSI's level is
 * the OR.
 *
 * Threads: irq_set and msi_route_raise from any thread, with or without the board lock held.
 * Lock order: board lock -> irq router -> pic -> ioapic -> lapic (leaf: then only vcpu kick). */
#ifndef BUS_IRQ_H
#define BUS_IRQ_H

#include "base/types.h"

#define IRQ_GSI_COUNT 24

struct irqchip;
struct msi_route;

struct irqchip_ops {
    void (*set_gsi)(struct irqchip *c, unsigned gsi, bool level); /* OR of all sources, on change */
    void (*send_msi)(struct irqchip *c, uint64_t addr, uint32_t data);
    /* A route is an MSI bound to one source for its lifetime; KVM gives it a GSI and an irqfd. */
    struct msi_route *(*route_new)(struct irqchip *c);
    void (*route_set)(struct msi_route *r, uint64_t addr, uint32_t data);
    void (*route_raise)(struct msi_route *r);
    void (*route_free)(struct msi_route *r);
};

struct irqchip {
    const struct irqchip_ops *ops;
    void *levels; /* router's per-GSI source counts; owned by irq.c */
};

/* Base of every route: a chip set with routes of its own embeds it first in its own struct. */
struct msi_route {
    struct irqchip *chip; /* set by msi_route_new */
};

void irqchip_init(struct irqchip *c, const struct irqchip_ops *ops);
void irqchip_fini(struct irqchip *c);

/* One source's wire to one GSI.  irq_connect may be called again to re-route (PIRQ change): the
 * level moves along. */
struct irq_line {
    struct irqchip *chip;
    unsigned gsi;
    bool level;
};
void irq_connect(struct irq_line *l, struct irqchip *c, unsigned gsi);
void irq_disconnect(struct irq_line *l); /* drops the level; the line may then be freed */
void irq_set(struct irq_line *l, bool level);
static inline void irq_pulse(struct irq_line *l)
{
    irq_set(l, true);
    irq_set(l, false);
}

void irqchip_send_msi(struct irqchip *c, uint64_t addr, uint32_t data);
struct msi_route *msi_route_new(struct irqchip *c); /* generic form when ops->route_new is NULL */
void msi_route_set(struct msi_route *r, uint64_t addr, uint32_t data);
void msi_route_raise(struct msi_route *r);
void msi_route_free(struct msi_route *r);

#endif
