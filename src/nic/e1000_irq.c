/* e1000_irq.c - causes, masks, the INTx level, MSI-X vectors, and how often they may interrupt.
 *
 * Throttling (ITR, EITR) is kept as the earliest time of the next interrupt.  The packet and
 * absolute delay timers (RDTR, RADV, TIDV, TADV) are not: an interrupt they would hold back comes
 * at once, as it may. */
#include "e1000_int.h"

#include "base/evloop.h"

enum { OTHER_CAUSES = INT_LSC | INT_RXO | INT_MDAC | BIT(16) | BIT(17) | BIT(18) };
enum { IVAR_VALID = 8, THROTTLE_UNIT_NS = 256 };

/* Causes with an MSI-X vector of their own, in the order of IVAR's fields (DS §10.2.4.9). */
static const uint32_t vector_causes[] = {INT_RXQ0, INT_RXQ1, INT_TXQ0, INT_TXQ1, INT_OTHER};

static bool own_vectors(const struct e1000 *e)
{
    return e->model->pcie && msix_enabled(&e->pci);
}

/* True when slot may interrupt now; else the timer is set for when it may. */
static bool may_interrupt(struct e1000 *e, unsigned slot, uint32_t interval)
{
    uint64_t now = vm_clock_ns(e->clock);

    if (now < e->next_ns[slot]) {
        if (timer_deadline_ns(e->irq_timer) > e->next_ns[slot])
            timer_set(e->irq_timer, e->next_ns[slot]);
        return false;
    }
    e->next_ns[slot] = now + (uint64_t)(interval & 0xffff) * THROTTLE_UNIT_NS;
    return true;
}

static void intx_update(struct e1000 *e, uint32_t active)
{
    bool level = active != 0;

    if (level == e->intx_level || (level && !may_interrupt(e, 0, *e1000_reg(e, ITR))))
        return;
    e->intx_level = level;
    pci_intx_set(&e->pci, level);
}

static void send_vector(struct e1000 *e, unsigned field, uint32_t cause)
{
    unsigned entry = *e1000_reg(e, IVAR) >> (4 * field) & 15, vector = entry & 7;

    if (!(entry & IVAR_VALID) || vector >= E1000_VECTORS ||
        !may_interrupt(e, 1 + vector, *e1000_reg(e, EITR + 4 * vector)))
        return;
    e->causes_sent |= cause;
    msix_notify(&e->pci, vector);
    /* auto-mask and auto-clear (DS §7.4.5) */
    if (*e1000_reg(e, CTRL_EXT) & CTRL_EXT_EIAME)
        *e1000_reg(e, IMS) &= ~(*e1000_reg(e, IAM) & cause);
    if (*e1000_reg(e, EIAC) & cause)
        *e1000_reg(e, ICR) &= ~cause;
    if (!(*e1000_reg(e, ICR) & *e1000_reg(e, IMS) & cause))
        e->causes_sent &= ~cause;
}

void e1000_irq_update_locked(struct e1000 *e)
{
    uint32_t *icr = e1000_reg(e, ICR), active;

    if (e->model->pcie && (*icr & OTHER_CAUSES & *e1000_reg(e, IMS)))
        *icr |= INT_OTHER;
    active = *icr & *e1000_reg(e, IMS) & ~INT_ASSERTED;
    if (e->model->pcie)
        *icr = active ? *icr | INT_ASSERTED : *icr & ~INT_ASSERTED;
    if (!own_vectors(e)) {
        e->causes_sent = 0;
        intx_update(e, active);
        return;
    }
    intx_update(e, 0);
    e->causes_sent &= active;
    for (unsigned i = 0; i < ARRAY_SIZE(vector_causes); i++)
        if ((active & vector_causes[i]) && !(e->causes_sent & vector_causes[i]))
            send_vector(e, i, vector_causes[i]);
}

void e1000_cause_locked(struct e1000 *e, uint32_t causes)
{
    if (!e->model->pcie)
        causes &= 0x0001ffff;
    *e1000_reg(e, ICR) |= causes & ~INT_ASSERTED;
    /* A new event of a cause whose message is out sends another one. */
    e->causes_sent &= ~causes;
    e1000_irq_update_locked(e);
}

/* Reading clears.  The 82574 keeps causes that have not interrupted while others may (DS
 * §7.4.3: its line may be shared), and masks itself when told so. */
uint32_t e1000_icr_read_locked(struct e1000 *e)
{
    uint32_t icr = *e1000_reg(e, ICR);

    if (e->model->pcie && !(icr & INT_ASSERTED) && *e1000_reg(e, IMS) && !own_vectors(e))
        return icr;
    if ((icr & INT_ASSERTED) && (*e1000_reg(e, CTRL_EXT) & CTRL_EXT_IAME))
        *e1000_reg(e, IMS) &= ~*e1000_reg(e, IAM);
    *e1000_reg(e, ICR) = 0;
    e1000_irq_update_locked(e);
    return icr;
}

void e1000_irq_timer(void *opaque)
{
    struct e1000 *e = opaque;

    pthread_mutex_lock(&e->lock);
    e1000_irq_update_locked(e);
    pthread_mutex_unlock(&e->lock);
}
