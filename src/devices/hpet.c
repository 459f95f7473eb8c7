/* hpet.c - three comparators over one counter that is a function of the clock.
 *
 * The counter is read without a lock (it may be the guest's clock source): enabled state and offset
 * are published together under a sequence count.  Everything else is under the board lock. */
#include "devices/hpet.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/irq.h"

#include <glib.h>

#define TIMERS  3
#define TICK_NS (HPET_PERIOD_FS / 1000000u)
/* A period of one tick would be 100 million interrupts a second: they come no closer than this. */
#define GAP_MIN_NS 25000u

#define REG_ID      0x000
#define REG_CONFIG  0x010
#define REG_STATUS  0x020
#define REG_COUNTER 0x0f0
#define REG_TIMER0  0x100

#define CONFIG_ENABLE BIT64(0)
#define CONFIG_LEGACY BIT64(1)

#define TN_LEVEL        BIT64(1)
#define TN_ENABLE       BIT64(2)
#define TN_PERIODIC     BIT64(3)
#define TN_PERIODIC_CAP BIT64(4)
#define TN_64BIT_CAP    BIT64(5)
#define TN_SET_VALUE    BIT64(6)
#define TN_32BIT        BIT64(8)
#define TN_WRITABLE     0x3f4eull /* 13:8 route and 32-bit mode, 6, 3, 2, 1 */
#define TN_ROUTE(c)     (((c) >> 9) & 31)
/* I/O APIC pins a timer may use: 2, 8 and 16-23. */
#define ROUTE_CAP 0x00ff0104ull
#define TN_CAPS   (ROUTE_CAP << 32 | TN_PERIODIC_CAP | TN_64BIT_CAP)

struct hpet_timer {
    struct hpet *hpet;
    struct timer *timer;
    struct irq_line irq;
    uint64_t config;
    uint64_t comparator;
    uint64_t period; /* last value written in periodic mode */
    uint64_t fsb;
    uint64_t due_ns; /* UINT64_MAX: not armed */
};

struct hpet {
    struct device dev; /* first */
    struct io_region region;
    struct vm_clock *clock;
    struct hpet_legacy legacy;
    /* board lock */
    uint64_t config, status;
    struct hpet_timer timer[TIMERS];
    /* written under the board lock, read under the sequence count */
    uint32_t sequence;
    uint64_t offset_ticks; /* counter minus clock while enabled; the counter itself while halted */
};

static uint64_t clock_ticks(const struct hpet *h)
{
    return vm_clock_ns(h->clock) / TICK_NS;
}

static uint64_t counter(const struct hpet *h)
{
    return h->config & CONFIG_ENABLE ? clock_ticks(h) + h->offset_ticks : h->offset_ticks;
}

static uint64_t counter_lockless(const struct hpet *h)
{
    uint32_t before, after;
    uint64_t val;

    do {
        before = __atomic_load_n(&h->sequence, __ATOMIC_ACQUIRE);
        val = __atomic_load_n(&h->offset_ticks, __ATOMIC_RELAXED);
        if (__atomic_load_n(&h->config, __ATOMIC_RELAXED) & CONFIG_ENABLE)
            val += clock_ticks(h);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        after = __atomic_load_n(&h->sequence, __ATOMIC_RELAXED);
    } while (unlikely(before != after || (before & 1)));
    return val;
}

static void counter_publish(struct hpet *h, uint64_t config, uint64_t offset_ticks)
{
    __atomic_store_n(&h->sequence, h->sequence + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&h->config, config, __ATOMIC_RELAXED);
    __atomic_store_n(&h->offset_ticks, offset_ticks, __ATOMIC_RELAXED);
    __atomic_store_n(&h->sequence, h->sequence + 1, __ATOMIC_RELEASE);
}

static unsigned timer_index(const struct hpet_timer *t)
{
    return t - t->hpet->timer;
}

/* Is the comparator behind the counter?  Half of the range counts as behind. */
static bool comparator_passed(const struct hpet_timer *t, uint64_t now)
{
    return t->config & TN_32BIT ? (int32_t)(t->comparator - now) < 0
                                : (int64_t)(t->comparator - now) < 0;
}

/* Periods that were missed are gone: the next match is the first one after now. */
static void comparator_advance(struct hpet_timer *t, uint64_t now)
{
    uint64_t late;

    if (!t->period)
        return;
    late = now - t->comparator;
    if (t->config & TN_32BIT)
        late = (uint32_t)late;
    t->comparator += (late / t->period + 1) * t->period;
    if (t->config & TN_32BIT)
        t->comparator = (uint32_t)t->comparator;
}

/* Arms for the next match.  After a match (fired) the same counter value matches again only when
 * the counter has come round, and a periodic timer keeps its distance. */
static void timer_arm(struct hpet_timer *t, bool fired)
{
    struct hpet *h = t->hpet;
    uint64_t now = counter(h), ticks, gap_ns = 0;

    if ((t->config & TN_PERIODIC) && (fired || comparator_passed(t, now)))
        comparator_advance(t, now);
    if (fired && (t->config & TN_PERIODIC))
        gap_ns = GAP_MIN_NS;
    fired &= !(t->config & TN_PERIODIC);
    ticks = t->comparator - now - fired;
    if (t->config & TN_32BIT)
        ticks = (uint32_t)ticks;
    if (!(h->config & CONFIG_ENABLE) || !(t->config & TN_ENABLE) ||
        ticks > INT64_MAX / 2 / TICK_NS) { /* in some hundred years */
        t->due_ns = UINT64_MAX;
        timer_cancel(t->timer);
        return;
    }
    t->due_ns = vm_clock_ns(h->clock) + MAX_OF((ticks + fired) * TICK_NS, gap_ns);
    timer_set(t->timer, t->due_ns);
}

/* The wire a timer drives now. */
static void timer_wire(struct hpet_timer *t)
{
    unsigned n = timer_index(t), gsi = TN_ROUTE(t->config);

    if ((t->hpet->config & CONFIG_LEGACY) && n < 2)
        gsi = n == 0 ? 0 : 8;
    else if (gsi >= IRQ_GSI_COUNT || !(ROUTE_CAP & BIT64(gsi)))
        gsi = 2; /* the guest chose nothing yet, or a pin it may not: never enabled, see fire */
    irq_connect(&t->irq, t->irq.chip, gsi);
    irq_set(&t->irq,
            (t->config & TN_LEVEL) && (t->config & TN_ENABLE) && (t->hpet->status & BIT64(n)));
}

static void timer_fire(struct hpet_timer *t)
{
    struct hpet *h = t->hpet;
    unsigned n = timer_index(t);
    bool routed =
        ((h->config & CONFIG_LEGACY) && n < 2) || (ROUTE_CAP & BIT64(TN_ROUTE(t->config)));

    if (t->config & TN_LEVEL)
        h->status |= BIT64(n);
    if (!(t->config & TN_ENABLE) || !routed)
        return;
    if (t->config & TN_LEVEL)
        irq_set(&t->irq, true);
    else
        irq_pulse(&t->irq);
}

static void timer_due(void *opaque)
{
    struct hpet_timer *t = opaque;
    struct hpet *h = t->hpet;

    pthread_mutex_lock(&h->dev.list->lock);
    if (vm_clock_ns(h->clock) >= t->due_ns) { /* else re-armed while we waited for the lock */
        timer_fire(t);
        timer_arm(t, true);
    }
    pthread_mutex_unlock(&h->dev.list->lock);
}

static void legacy_update(struct hpet *h)
{
    bool chips = !(h->config & CONFIG_LEGACY);

    if (h->legacy.irq0_enable)
        h->legacy.irq0_enable(h->legacy.opaque, chips);
    if (h->legacy.irq8_enable)
        h->legacy.irq8_enable(h->legacy.opaque, chips);
}

static void config_write(struct hpet *h, uint64_t val)
{
    uint64_t old = h->config, now = counter(h);

    val &= CONFIG_ENABLE | CONFIG_LEGACY;
    if ((old ^ val) & CONFIG_ENABLE)
        counter_publish(h, val, val & CONFIG_ENABLE ? now - clock_ticks(h) : now);
    else
        __atomic_store_n(&h->config, val, __ATOMIC_RELAXED);
    if ((old ^ val) & CONFIG_LEGACY)
        legacy_update(h);
    for (unsigned i = 0; i < TIMERS; i++) {
        timer_wire(&h->timer[i]);
        if ((old ^ val) & CONFIG_ENABLE)
            timer_arm(&h->timer[i], false);
    }
}

static void timer_config_write(struct hpet_timer *t, uint64_t val)
{
    t->config = (t->config & ~TN_WRITABLE) | (val & TN_WRITABLE);
    if (t->config & TN_32BIT) {
        t->comparator = (uint32_t)t->comparator;
        t->period = (uint32_t)t->period;
    }
    timer_wire(t);
    timer_arm(t, false);
}

/* HPET 1.0a §2.3.9.2.2: in periodic mode a write is the period; with Tn_VAL_SET, the comparator
 * too. */
static void comparator_write(struct hpet_timer *t, uint64_t val)
{
    if (t->config & TN_32BIT)
        val = (uint32_t)val;
    if (!(t->config & TN_PERIODIC) || (t->config & TN_SET_VALUE))
        t->comparator = val;
    if (t->config & TN_PERIODIC)
        t->period = val;
    t->config &= ~TN_SET_VALUE;
    timer_arm(t, false);
}

static void status_write(struct hpet *h, uint64_t val)
{
    h->status &= ~val;
    for (unsigned i = 0; i < TIMERS; i++)
        timer_wire(&h->timer[i]);
}

static uint64_t reg_read(struct hpet *h, uint64_t reg)
{
    struct hpet_timer *t;

    switch (reg) {
    case REG_ID:
        return (uint64_t)HPET_PERIOD_FS << 32 | HPET_EVENT_BLOCK_ID;
    case REG_CONFIG:
        return h->config;
    case REG_STATUS:
        return h->status;
    }
    if (reg < REG_TIMER0 || reg >= REG_TIMER0 + 0x20 * TIMERS)
        return 0;
    t = &h->timer[(reg - REG_TIMER0) / 0x20];
    switch (reg & 0x18) {
    case 0x00:
        return t->config | TN_CAPS;
    case 0x08:
        return t->comparator;
    case 0x10:
        return t->fsb;
    }
    return 0;
}

static void reg_write(struct hpet *h, uint64_t reg, uint64_t val)
{
    struct hpet_timer *t;

    switch (reg) {
    case REG_CONFIG:
        config_write(h, val);
        return;
    case REG_STATUS:
        status_write(h, val);
        return;
    case REG_COUNTER:
        if (!(h->config & CONFIG_ENABLE)) /* writes to a running counter are undefined: ignored */
            counter_publish(h, h->config, val);
        return;
    }
    if (reg < REG_TIMER0 || reg >= REG_TIMER0 + 0x20 * TIMERS)
        return;
    t = &h->timer[(reg - REG_TIMER0) / 0x20];
    switch (reg & 0x18) {
    case 0x00:
        timer_config_write(t, val);
        break;
    case 0x08:
        comparator_write(t, val);
        break;
    case 0x10:
        t->fsb = val;
        break;
    }
}

static uint64_t hpet_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct hpet *h = container_of(r, struct hpet, region);
    uint64_t val;

    if ((off & ~7ull) == REG_COUNTER)
        return counter_lockless(h) >> (8 * (off & 4));
    pthread_mutex_lock(&h->dev.list->lock);
    val = reg_read(h, off & ~7ull) >> (8 * (off & 4));
    pthread_mutex_unlock(&h->dev.list->lock);
    return val;
}

/* What the other half of a register is when one dword of it is written. */
static uint64_t reg_merge_base(struct hpet *h, uint64_t reg)
{
    if (reg == REG_STATUS) /* ones clear */
        return 0;
    if (reg == REG_COUNTER)
        return counter(h);
    return reg_read(h, reg);
}

static void hpet_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct hpet *h = container_of(r, struct hpet, region);
    uint64_t reg = off & ~7ull, base;

    pthread_mutex_lock(&h->dev.list->lock);
    if (size == 4) {
        base = reg_merge_base(h, reg);
        val = off & 4 ? (base & 0xffffffff) | val << 32 : (base & ~0xffffffffull) | val;
    }
    reg_write(h, reg, val);
    pthread_mutex_unlock(&h->dev.list->lock);
}

static const struct io_ops hpet_ops = {hpet_read, hpet_write, 4, 8};

static void hpet_reset(struct device *d)
{
    struct hpet *h = container_of(d, struct hpet, dev);
    bool was_legacy = h->config & CONFIG_LEGACY;

    counter_publish(h, 0, 0);
    h->status = 0;
    for (unsigned i = 0; i < TIMERS; i++) {
        struct hpet_timer *t = &h->timer[i];
        t->config = t->period = t->fsb = 0;
        t->comparator = UINT64_MAX;
        timer_wire(t);
        timer_arm(t, false);
    }
    if (was_legacy)
        legacy_update(h);
}

static bool hpet_post_load(void *obj, uint32_t version, GError **err)
{
    struct hpet *h = obj;

    if ((h->config & ~(CONFIG_ENABLE | CONFIG_LEGACY)) || (h->status & ~7ull))
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "The saved state of the HPET contradicts itself.");
    legacy_update(h);
    for (unsigned i = 0; i < TIMERS; i++) {
        h->timer[i].config &= TN_WRITABLE;
        timer_wire(&h->timer[i]);
        timer_arm(&h->timer[i], false);
    }
    return true;
}

static const struct state_field hpet_timer_fields[] = {
    STATE_U64(struct hpet_timer, config),
    STATE_U64(struct hpet_timer, comparator),
    STATE_U64(struct hpet_timer, period),
    STATE_U64(struct hpet_timer, fsb),
    STATE_END,
};
static const struct state_desc hpet_timer_state = {
    .name = "hpet-timer", .version = 1, .fields = hpet_timer_fields};

static const struct state_field hpet_fields[] = {
    STATE_U64(struct hpet, config),
    STATE_U64(struct hpet, status),
    STATE_U64(struct hpet, offset_ticks),
    STATE_STRUCT_ARRAY(struct hpet, timer, hpet_timer_state),
    STATE_END,
};
static const struct state_desc hpet_state = {
    .name = "hpet", .version = 1, .fields = hpet_fields, .post_load = hpet_post_load};

static void hpet_destroy(struct device *d)
{
    struct hpet *h = container_of(d, struct hpet, dev);

    device_remove(d->list, d);
    for (unsigned i = 0; i < TIMERS; i++)
        timer_free(h->timer[i].timer);
    g_free(h);
}

static const struct device_ops hpet_device_ops = {
    .type = "hpet", .reset = hpet_reset, .destroy = hpet_destroy, .state = &hpet_state};

struct hpet *hpet_new(struct device_list *devices, struct io_space *mmio, struct irqchip *irqchip,
                      struct vm_clock *clock, const struct hpet_legacy *legacy)
{
    struct hpet *h = g_new0(struct hpet, 1);

    h->clock = clock;
    if (legacy)
        h->legacy = *legacy;
    for (unsigned i = 0; i < TIMERS; i++) {
        h->timer[i].hpet = h;
        h->timer[i].timer = timer_new(evloop_main(), clock, timer_due, &h->timer[i]);
        irq_connect(&h->timer[i].irq, irqchip, 2);
    }
    h->region = (struct io_region){.ops = &hpet_ops, .name = "hpet", .size_bytes = 0x400};
    device_add(devices, &h->dev, &hpet_device_ops, NULL, "hpet");
    hpet_reset(&h->dev);
    io_space_add(mmio, &h->region, HPET_BASE);
    return h;
}
