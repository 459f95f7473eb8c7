/* intercept.c - tells the test of every interrupt, on its way to the board's own chip set.
 *
 * The chip set's ops table is replaced by one that reports and passes on.  One per process: the
 * lines call it with the chip alone. */
#include "internal.h"

#include "base/util.h"
#include "bus/irq.h"
#include "bus/pci.h"
#include "machine/machine.h"

static struct devtest *listener;
static const struct irqchip_ops *behind;
static struct irqchip_ops in_front;

static void set_gsi(struct irqchip *c, unsigned gsi, bool level)
{
    devtest_say(listener, "IRQ %s %u", level ? "raise" : "lower", gsi);
    behind->set_gsi(c, gsi, level);
}

static void send_msi(struct irqchip *c, uint64_t addr, uint32_t data)
{
    devtest_say(listener, "IRQ msi 0x%llx 0x%x", (unsigned long long)addr, data);
    behind->send_msi(c, addr, data);
}

bool devtest_intercept(struct devtest *t)
{
    struct irqchip *chip = machine_irqchip(t->machine);

    if (listener)
        return false;
    listener = t;
    behind = chip->ops;
    in_front = *behind;
    in_front.set_gsi = set_gsi;
    in_front.send_msi = send_msi;
    chip->ops = &in_front;
    return true;
}
