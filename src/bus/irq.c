/* irq.c - the router: sources' levels are ORed per GSI, and MSI routes in their generic form. */
#include "bus/irq.h"

#include "base/trace.h"
#include "base/util.h"

#include <assert.h>
#include <glib.h>
#include <inttypes.h>
#include <pthread.h>

/* The lock is held while the chip set is told, so that it sees edges in their true order. */
struct router {
    pthread_mutex_t lock;
    unsigned high[IRQ_GSI_COUNT]; /* sources that drive the GSI high */
};

/* For chip sets without routes of their own (ours). */
struct plain_route {
    struct msi_route base; /* first */
    pthread_mutex_t lock;  /* set and raise may come from different threads */
    uint64_t addr;
    uint32_t data;
};

void irqchip_init(struct irqchip *c, const struct irqchip_ops *ops)
{
    struct router *r = g_new0(struct router, 1);

    pthread_mutex_init(&r->lock, NULL);
    c->ops = ops;
    c->levels = r;
}

void irqchip_fini(struct irqchip *c)
{
    struct router *r = c->levels;

    if (!r)
        return;
    pthread_mutex_destroy(&r->lock);
    g_free(r);
    c->levels = NULL;
}

static void source_set_locked(struct irqchip *c, unsigned gsi, bool level)
{
    struct router *r = c->levels;

    if (level) {
        if (r->high[gsi]++ > 0)
            return;
    } else {
        assert(r->high[gsi] > 0);
        if (--r->high[gsi] > 0)
            return;
    }
    TRACE(irq_gsi, "gsi %u level %d", gsi, level);
    c->ops->set_gsi(c, gsi, level);
}

void irq_connect(struct irq_line *l, struct irqchip *c, unsigned gsi)
{
    struct router *r;

    assert(gsi < IRQ_GSI_COUNT);
    assert(!l->chip || l->chip == c);
    r = c->levels;
    pthread_mutex_lock(&r->lock);
    if (!l->chip) {
        if (l->level)
            source_set_locked(c, gsi, true);
    } else if (l->level && l->gsi != gsi) {
        source_set_locked(c, l->gsi, false);
        source_set_locked(c, gsi, true);
    }
    l->gsi = gsi;
    l->chip = c;
    pthread_mutex_unlock(&r->lock);
}

void irq_disconnect(struct irq_line *l)
{
    struct router *r;

    if (!l->chip)
        return;
    r = l->chip->levels;
    pthread_mutex_lock(&r->lock);
    if (l->level)
        source_set_locked(l->chip, l->gsi, false);
    l->level = false;
    pthread_mutex_unlock(&r->lock);
    l->chip = NULL;
}

void irq_set(struct irq_line *l, bool level)
{
    struct router *r;

    if (!l->chip) {
        l->level = level;
        return;
    }
    /* Only this source's driver changes l->level, so an unchanged level needs no lock. */
    if (__atomic_load_n(&l->level, __ATOMIC_RELAXED) == level)
        return;
    r = l->chip->levels;
    pthread_mutex_lock(&r->lock);
    if (l->level != level) {
        __atomic_store_n(&l->level, level, __ATOMIC_RELAXED);
        source_set_locked(l->chip, l->gsi, level);
    }
    pthread_mutex_unlock(&r->lock);
}

void irqchip_send_msi(struct irqchip *c, uint64_t addr, uint32_t data)
{
    TRACE(irq_msi, "addr 0x%" PRIx64 " data 0x%x", addr, data);
    c->ops->send_msi(c, addr, data);
}

struct msi_route *msi_route_new(struct irqchip *c)
{
    struct plain_route *r;

    if (c->ops->route_new) {
        struct msi_route *own = c->ops->route_new(c);
        if (own)
            own->chip = c;
        return own;
    }
    r = g_new0(struct plain_route, 1);
    r->base.chip = c;
    pthread_mutex_init(&r->lock, NULL);
    return &r->base;
}

void msi_route_set(struct msi_route *r, uint64_t addr, uint32_t data)
{
    struct plain_route *p = container_of(r, struct plain_route, base);

    if (r->chip->ops->route_new) {
        r->chip->ops->route_set(r, addr, data);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->addr = addr;
    p->data = data;
    pthread_mutex_unlock(&p->lock);
}

void msi_route_raise(struct msi_route *r)
{
    struct plain_route *p = container_of(r, struct plain_route, base);
    uint64_t addr;
    uint32_t data;

    if (r->chip->ops->route_new) {
        r->chip->ops->route_raise(r);
        return;
    }
    pthread_mutex_lock(&p->lock);
    addr = p->addr;
    data = p->data;
    pthread_mutex_unlock(&p->lock);
    irqchip_send_msi(r->chip, addr, data);
}

void msi_route_free(struct msi_route *r)
{
    struct plain_route *p;

    if (!r)
        return;
    if (r->chip->ops->route_new) {
        r->chip->ops->route_free(r);
        return;
    }
    p = container_of(r, struct plain_route, base);
    pthread_mutex_destroy(&p->lock);
    g_free(p);
}
