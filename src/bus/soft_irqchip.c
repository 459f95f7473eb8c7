/* soft_irqchip.c - the chip set in user space: GSI wiring, the APIC bus, MSI. */
#include "irqchip.h"

#include "base/log.h"
#include "base/util.h"

#include <assert.h>
#include <glib.h>
#include <inttypes.h>

#define ISA_IRQ_COUNT    16
#define TIMER_IRQ        0
#define CASCADE_IRQ      2
#define IOAPIC_INTR_PIN  0
#define IOAPIC_TIMER_PIN 2

struct soft_irqchip {
    struct irqchip base; /* first */
    /* immutable */
    struct pic *pic;
    struct ioapic *ioapic;
    struct lapic **lapic;
    unsigned lapic_count;
    /* atomic: where the search for the next lowest-priority target starts */
    unsigned round_robin;
    /* under the router's lock */
    bool gsi_level[IRQ_GSI_COUNT];
};

/* GSI 0 is ISA IRQ 0, on I/O APIC pin 2 as the MADT's override says; GSI 2 shares that pin. */
static void set_gsi(struct irqchip *c, unsigned gsi, bool level)
{
    struct soft_irqchip *s = container_of(c, struct soft_irqchip, base);
    unsigned pin = gsi == TIMER_IRQ ? IOAPIC_TIMER_PIN : gsi;

    s->gsi_level[gsi] = level;
    if (gsi < ISA_IRQ_COUNT)
        pic_set_irq(s->pic, gsi, level);
    if (pin == IOAPIC_TIMER_PIN)
        level = s->gsi_level[TIMER_IRQ] || s->gsi_level[CASCADE_IRQ];
    ioapic_set_pin(s->ioapic, pin, level);
}

/* SDM vol.3 §11.11. Address bits 11:5 carry destination bits 14:8 where the guest was told that it
 * may use them. */
static void send_msi(struct irqchip *c, uint64_t addr, uint32_t data)
{
    struct soft_irqchip *s = container_of(c, struct soft_irqchip, base);
    struct apic_msg m = {
        .dest = ((addr >> 12) & 0xff) | ((addr >> 5) & 0x7f) << 8,
        .vector = data & 0xff,
        .mode = (data >> 8) & 7,
        .logical = addr & BIT(2),
        .redirect = addr & BIT(3),
        .level = data & BIT(15),
    };

    if (addr >> 20 != 0xfee) {
        log_guest("an MSI to address 0x%" PRIx64 ", which is not an interrupt address, is dropped",
                  addr);
        return;
    }
    m.wide = m.dest > 0xff;
    apic_bus_send(s, &m, NULL);
}

/* The PIC's INTR reaches every CPU's LINT0, and pin 0 of the I/O APIC.  pic lock held. */
static void pic_intr(void *opaque, bool level)
{
    struct soft_irqchip *s = opaque;

    for (unsigned i = 0; i < s->lapic_count; i++)
        lapic_lint0(s->lapic[i], level);
    ioapic_set_pin(s->ioapic, IOAPIC_INTR_PIN, level);
}

int apic_bus_pic_ack(struct soft_irqchip *s)
{
    return pic_ack(s->pic);
}

void apic_bus_eoi(struct soft_irqchip *s, uint8_t vector)
{
    ioapic_eoi(s->ioapic, vector);
}

/* One of the matching CPUs: the focus if there is one, else the least busy, taking turns. */
static unsigned send_lowest(struct soft_irqchip *s, const struct apic_msg *m)
{
    unsigned start = __atomic_fetch_add(&s->round_robin, 1, __ATOMIC_RELAXED) % s->lapic_count;
    struct lapic *best = NULL;
    uint8_t best_priority = 0;

    for (unsigned n = 0; n < s->lapic_count; n++) {
        struct lapic *l = s->lapic[(start + n) % s->lapic_count];
        uint8_t priority;
        bool focus;
        if (!lapic_matches(l, m) || !lapic_arbitrate(l, m->vector, &priority, &focus))
            continue;
        if (!best || focus || priority < best_priority) {
            best = l;
            best_priority = priority;
        }
        if (focus)
            break;
    }
    return best && lapic_deliver(best, m);
}

unsigned apic_bus_send(struct soft_irqchip *s, const struct apic_msg *m, struct lapic *self)
{
    unsigned accepted = 0;

    if (m->shorthand == APIC_SELF)
        return lapic_deliver(self, m);
    if (m->shorthand == APIC_DEST && (m->mode == APIC_LOWEST || m->redirect))
        return send_lowest(s, m);
    for (unsigned i = 0; i < s->lapic_count; i++) {
        struct lapic *l = s->lapic[i];
        if (m->shorthand == APIC_OTHERS && l == self)
            continue;
        if (m->shorthand == APIC_DEST ? lapic_matches(l, m) : lapic_on_bus(l))
            accepted += lapic_deliver(l, m);
    }
    return accepted;
}

static const struct irqchip_ops soft_ops = {.set_gsi = set_gsi, .send_msi = send_msi};

struct soft_irqchip *soft_irqchip_new(struct vm_clock *clock, unsigned cpu_count_max)
{
    struct soft_irqchip *s = g_new0(struct soft_irqchip, 1);

    assert(cpu_count_max > 0);
    irqchip_init(&s->base, &soft_ops);
    s->ioapic = ioapic_new(s);
    s->pic = pic_new(pic_intr, s);
    s->lapic = g_new0(struct lapic *, cpu_count_max);
    s->lapic_count = cpu_count_max;
    for (unsigned i = 0; i < cpu_count_max; i++)
        s->lapic[i] = lapic_new(s, clock, i);
    return s;
}

void soft_irqchip_free(struct soft_irqchip *s)
{
    if (!s)
        return;
    pic_free(s->pic);
    ioapic_free(s->ioapic);
    for (unsigned i = 0; i < s->lapic_count; i++)
        lapic_free(s->lapic[i]);
    g_free(s->lapic);
    irqchip_fini(&s->base);
    g_free(s);
}

void soft_irqchip_plug(struct soft_irqchip *s, struct device_list *devices, struct io_space *pio,
                       struct io_space *mmio)
{
    pic_plug(s->pic, devices, pio);
    ioapic_plug(s->ioapic, devices, mmio);
}

struct irqchip *soft_irqchip_base(struct soft_irqchip *s)
{
    return &s->base;
}

struct lapic *soft_irqchip_lapic(struct soft_irqchip *s, unsigned index)
{
    return index < s->lapic_count ? s->lapic[index] : NULL;
}
