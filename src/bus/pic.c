/* pic.c - the pair of 8259A interrupt controllers and the ELCR (ICH9 §13.4, §5.8).
 *
 * Master at 0x20, slave at 0xa0 on the master's input 2, edge/level control at 0x4d0. */
#include "irqchip.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

#include <glib.h>

enum { MASTER, SLAVE };
#define CASCADE_IRQ  2
#define SPURIOUS_IRQ 7

enum init_step { READY, WANT_ICW2, WANT_ICW3, WANT_ICW4 };

struct pic_chip {
    uint8_t irr, isr, imr;
    uint8_t line; /* input levels */
    uint8_t elcr; /* 1 = level triggered */
    uint8_t vector_base;
    uint8_t lowest; /* the input that has lowest priority; 7 after initialisation */
    uint8_t init_step;
    bool want_icw4, single;
    bool read_isr, poll;
    bool special_mask, auto_eoi, rotate_on_auto_eoi, special_nested;
};

struct pic_port {
    struct io_region region; /* first */
    struct pic *pic;
    unsigned chip;
};

struct pic {
    struct device dev; /* first */
    struct pic_port port[2], elcr_port[2];
    pthread_mutex_t lock;
    /* immutable */
    void (*intr)(void *opaque, bool level);
    void *intr_opaque;
    /* under lock */
    struct pic_chip chip[2];
    bool intr_level;
};

/* 0 (highest) .. 7 of the best set bit of mask, 8 when empty. */
static unsigned best_priority(const struct pic_chip *c, uint8_t mask)
{
    unsigned prio = 0;

    if (!mask)
        return 8;
    while (!(mask & BIT((c->lowest + 1 + prio) & 7)))
        prio++;
    return prio;
}

/* The input to be acknowledged now, or -1. */
static int chip_request(const struct pic_chip *c, bool master)
{
    unsigned prio = best_priority(c, c->irr & ~c->imr);
    uint8_t blocking = c->isr;

    if (prio == 8)
        return -1;
    if (c->special_mask)
        blocking &= ~c->imr;
    /* In special fully nested mode the slave may interrupt again while it is in service. */
    if (c->special_nested && master)
        blocking &= ~BIT(CASCADE_IRQ);
    return prio < best_priority(c, blocking) ? (int)((c->lowest + 1 + prio) & 7) : -1;
}

static void chip_set_line(struct pic_chip *c, unsigned irq, bool level)
{
    uint8_t bit = BIT(irq);

    if (c->elcr & bit)
        c->irr = level ? c->irr | bit : c->irr & ~bit;
    else if (level && !(c->line & bit))
        c->irr |= bit;
    c->line = level ? c->line | bit : c->line & ~bit;
}

static void pic_update_locked(struct pic *p)
{
    bool level;

    /* The cascade input follows the slave's INT: a request the slave withdrew is gone. */
    p->chip[MASTER].irr &= ~BIT(CASCADE_IRQ);
    if (chip_request(&p->chip[SLAVE], false) >= 0)
        p->chip[MASTER].irr |= BIT(CASCADE_IRQ);
    level = chip_request(&p->chip[MASTER], true) >= 0;
    if (level != p->intr_level) {
        p->intr_level = level;
        p->intr(p->intr_opaque, level);
    }
}

void pic_set_irq(struct pic *p, unsigned irq, bool level)
{
    pthread_mutex_lock(&p->lock);
    if (irq != CASCADE_IRQ) {
        chip_set_line(&p->chip[irq >> 3], irq & 7, level);
        pic_update_locked(p);
    }
    pthread_mutex_unlock(&p->lock);
}

static void chip_ack(struct pic_chip *c, unsigned irq)
{
    uint8_t bit = BIT(irq);

    if (!(c->elcr & bit))
        c->irr &= ~bit;
    if (!c->auto_eoi)
        c->isr |= bit;
    else if (c->rotate_on_auto_eoi)
        c->lowest = irq;
}

static uint8_t chip_ack_request(struct pic_chip *c, bool master)
{
    int irq = chip_request(c, master);

    if (irq < 0)
        return SPURIOUS_IRQ;
    chip_ack(c, irq);
    return irq;
}

int pic_ack(struct pic *p)
{
    int vector = -1;

    pthread_mutex_lock(&p->lock);
    if (p->intr_level) {
        uint8_t irq = chip_ack_request(&p->chip[MASTER], true);
        vector = p->chip[MASTER].vector_base + irq;
        if (irq == CASCADE_IRQ)
            vector = p->chip[SLAVE].vector_base + chip_ack_request(&p->chip[SLAVE], false);
        /* INTR drops with the acknowledge and rises again for what is left: a new edge. */
        p->intr_level = false;
        p->intr(p->intr_opaque, false);
        pic_update_locked(p);
    }
    pthread_mutex_unlock(&p->lock);
    return vector;
}

static void chip_icw1(struct pic_chip *c, uint8_t val)
{
    c->irr &= c->elcr; /* edge latches are cleared */
    c->isr = 0;
    c->imr = 0;
    c->lowest = 7;
    c->want_icw4 = val & 1;
    c->single = val & 2;
    c->read_isr = c->poll = false;
    c->special_mask = c->auto_eoi = c->rotate_on_auto_eoi = c->special_nested = false;
    c->init_step = WANT_ICW2;
}

static void chip_ocw2(struct pic_chip *c, uint8_t val)
{
    unsigned op = val >> 5, irq = val & 7, prio;

    switch (op) {
    case 0: /* stop rotating on automatic EOI */
    case 4:
        c->rotate_on_auto_eoi = op == 4;
        break;
    case 1: /* non-specific EOI, 5: and rotate */
    case 5:
        prio = best_priority(c, c->special_mask ? c->isr & ~c->imr : c->isr);
        if (prio == 8)
            break;
        irq = (c->lowest + 1 + prio) & 7;
        c->isr &= ~BIT(irq);
        if (op == 5)
            c->lowest = irq;
        break;
    case 3: /* specific EOI, 7: and rotate */
    case 7:
        c->isr &= ~BIT(irq);
        if (op == 7)
            c->lowest = irq;
        break;
    case 6:
        c->lowest = irq;
        break;
    }
}

static void chip_ocw3(struct pic_chip *c, uint8_t val)
{
    if (val & 0x04)
        c->poll = true;
    if (val & 0x02)
        c->read_isr = val & 1;
    if (val & 0x40)
        c->special_mask = val & 0x20;
}

static void chip_write_data(struct pic_chip *c, uint8_t val)
{
    switch (c->init_step) {
    case READY:
        c->imr = val;
        break;
    case WANT_ICW2:
        c->vector_base = val & 0xf8;
        c->init_step = !c->single ? WANT_ICW3 : c->want_icw4 ? WANT_ICW4 : READY;
        break;
    case WANT_ICW3: /* the wiring is fixed on a PC */
        c->init_step = c->want_icw4 ? WANT_ICW4 : READY;
        break;
    case WANT_ICW4:
        c->special_nested = val & 0x10;
        c->auto_eoi = val & 0x02;
        c->init_step = READY;
        break;
    }
}

static void pic_port_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct pic_port *port = container_of(r, struct pic_port, region);
    struct pic *p = port->pic;
    struct pic_chip *c = &p->chip[port->chip];

    pthread_mutex_lock(&p->lock);
    if (off == 1)
        chip_write_data(c, val);
    else if (val & 0x10)
        chip_icw1(c, val);
    else if (val & 0x08)
        chip_ocw3(c, val);
    else
        chip_ocw2(c, val);
    pic_update_locked(p);
    pthread_mutex_unlock(&p->lock);
}

/* A poll command makes the next read an acknowledge: bit 7 says that there was a request. */
static uint8_t chip_poll(struct pic_chip *c, bool master)
{
    int irq = chip_request(c, master);

    c->poll = false;
    if (irq < 0)
        return 0;
    chip_ack(c, irq);
    return 0x80 | irq;
}

static uint64_t pic_port_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct pic_port *port = container_of(r, struct pic_port, region);
    struct pic *p = port->pic;
    struct pic_chip *c = &p->chip[port->chip];
    uint8_t val;

    pthread_mutex_lock(&p->lock);
    if (c->poll) {
        val = chip_poll(c, port->chip == MASTER);
        pic_update_locked(p);
    } else if (off == 1) {
        val = c->imr;
    } else {
        val = c->read_isr ? c->isr : c->irr;
    }
    pthread_mutex_unlock(&p->lock);
    return val;
}

/* IRQ 0, 1, 2, 8 and 13 are always edge triggered (ICH9 §13.4.10, §13.4.11). */
static const uint8_t elcr_mask[2] = {0xf8, 0xde};

static void elcr_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct pic_port *port = container_of(r, struct pic_port, region);
    struct pic *p = port->pic;
    struct pic_chip *c = &p->chip[port->chip];
    uint8_t changed;

    pthread_mutex_lock(&p->lock);
    changed = c->elcr;
    c->elcr = val & elcr_mask[port->chip];
    changed ^= c->elcr;
    /* An input that becomes level triggered requests what its line says; one that becomes edge
     * triggered waits for an edge. */
    c->irr = (c->irr & ~changed) | (changed & c->elcr & c->line);
    pic_update_locked(p);
    pthread_mutex_unlock(&p->lock);
}

static uint64_t elcr_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct pic_port *port = container_of(r, struct pic_port, region);

    return port->pic->chip[port->chip].elcr;
}

static const struct io_ops pic_port_ops = {pic_port_read, pic_port_write, 1, 1};
static const struct io_ops elcr_ops = {elcr_read, elcr_write, 1, 1};

static void pic_reset(struct device *d)
{
    struct pic *p = container_of(d, struct pic, dev);

    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < 2; i++) {
        uint8_t line = p->chip[i].line; /* belongs to whoever drives it */
        p->chip[i] = (struct pic_chip){.lowest = 7, .line = line};
    }
    pic_update_locked(p);
    pthread_mutex_unlock(&p->lock);
}

static bool pic_post_load(void *obj, uint32_t version, GError **err)
{
    struct pic *p = obj;

    for (int i = 0; i < 2; i++) {
        struct pic_chip *c = &p->chip[i];
        if (c->lowest > 7 || c->init_step > WANT_ICW4 || (c->vector_base & 7) ||
            (c->elcr & ~elcr_mask[i]))
            return error_set(err, HANOK_ERROR_CORRUPT,
                             "The saved state of interrupt controller %d contradicts itself.", i);
    }
    pthread_mutex_lock(&p->lock);
    p->intr_level = false;
    p->intr(p->intr_opaque, false);
    pic_update_locked(p);
    pthread_mutex_unlock(&p->lock);
    return true;
}

static const struct state_field pic_chip_fields[] = {
    STATE_U8(struct pic_chip, irr),
    STATE_U8(struct pic_chip, isr),
    STATE_U8(struct pic_chip, imr),
    STATE_U8(struct pic_chip, line),
    STATE_U8(struct pic_chip, elcr),
    STATE_U8(struct pic_chip, vector_base),
    STATE_U8(struct pic_chip, lowest),
    STATE_U8(struct pic_chip, init_step),
    STATE_BOOL(struct pic_chip, want_icw4),
    STATE_BOOL(struct pic_chip, single),
    STATE_BOOL(struct pic_chip, read_isr),
    STATE_BOOL(struct pic_chip, poll),
    STATE_BOOL(struct pic_chip, special_mask),
    STATE_BOOL(struct pic_chip, auto_eoi),
    STATE_BOOL(struct pic_chip, rotate_on_auto_eoi),
    STATE_BOOL(struct pic_chip, special_nested),
    STATE_END,
};
static const struct state_desc pic_chip_state = {
    .name = "i8259-chip", .version = 1, .fields = pic_chip_fields};

static const struct state_field pic_fields[] = {
    STATE_STRUCT_ARRAY(struct pic, chip, pic_chip_state),
    STATE_END,
};
static const struct state_desc pic_state = {
    .name = "i8259", .version = 1, .fields = pic_fields, .post_load = pic_post_load};

/* The chip set owns the PIC: leaving the list is all there is to do. */
static void pic_unlist(struct device *d)
{
    device_remove(d->list, d);
}

static const struct device_ops pic_device_ops = {
    .type = "i8259", .reset = pic_reset, .destroy = pic_unlist, .state = &pic_state};

struct pic *pic_new(void (*intr)(void *opaque, bool level), void *opaque)
{
    struct pic *p = g_new0(struct pic, 1);

    pthread_mutex_init(&p->lock, NULL);
    p->intr = intr;
    p->intr_opaque = opaque;
    p->chip[MASTER].lowest = p->chip[SLAVE].lowest = 7;
    return p;
}

void pic_plug(struct pic *p, struct device_list *devices, struct io_space *pio)
{
    static const uint16_t base[2] = {0x20, 0xa0}, elcr_base[2] = {0x4d0, 0x4d1};

    for (unsigned i = 0; i < 2; i++) {
        p->port[i] =
            (struct pic_port){.region = {.ops = &pic_port_ops, .name = "i8259", .size_bytes = 2},
                              .pic = p,
                              .chip = i};
        p->elcr_port[i] = (struct pic_port){
            .region = {.ops = &elcr_ops, .name = "elcr", .size_bytes = 1}, .pic = p, .chip = i};
        io_space_add(pio, &p->port[i].region, base[i]);
        io_space_add(pio, &p->elcr_port[i].region, elcr_base[i]);
    }
    device_add(devices, &p->dev, &pic_device_ops, NULL, "i8259");
}

void pic_free(struct pic *p)
{
    if (!p)
        return;
    if (p->dev.list)
        device_remove(p->dev.list, &p->dev);
    pthread_mutex_destroy(&p->lock);
    g_free(p);
}
