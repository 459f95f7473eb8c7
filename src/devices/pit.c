/* pit.c - i8254: three counters computed from the clock, one timer for IRQ 0.
 *
 * Nothing counts: a counter remembers when it was loaded, and its value and output at any moment
 * follow from the ticks passed since.  Counter 0 wakes the main thread once per interrupt. */
#include "devices/pit.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/irq.h"

#include <glib.h>

#define PIT_HZ     1193182u
#define NS_PER_SEC 1000000000u
#define COUNTERS   3
#define SPEAKER    2
/* A divisor of 1 would be a million interrupts a second: they come no closer than this. */
#define IRQ_GAP_MIN_NS 25000u

/* Access mode bits of the control word: which bytes of a count are read and written. */
enum { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };

struct counter {
    uint32_t count;      /* 1..65536 (or 10000 in BCD); what was loaded */
    uint32_t next_count; /* modes 2, 3: loaded when the running cycle ends; 0 = none */
    uint64_t next_at_ns;
    uint64_t start_ns;     /* when count was loaded, while running */
    uint64_t paused_ticks; /* ticks passed, while the gate holds it */
    uint16_t latch;
    uint8_t latch_bytes; /* bytes of the latch still to be read */
    uint8_t status;
    bool status_latched;
    uint8_t mode; /* 0..5 */
    uint8_t access;
    bool bcd;
    bool gate;
    bool running;               /* start_ns is valid */
    bool loaded;                /* a count has been written since the control word */
    bool triggered;             /* modes 1, 5: a gate edge has started it */
    bool read_high, write_high; /* second byte of a pair is next */
    uint8_t write_low;
};

struct pit {
    struct device dev; /* first */
    struct io_region region, speaker_region;
    struct vm_clock *clock;
    struct timer *timer;
    struct irq_line irq;
    struct counter counter[COUNTERS];
    uint64_t irq_at_ns; /* next rising edge of counter 0's output; UINT64_MAX none */
    bool irq_enabled;
    uint8_t port61; /* bits 3:0 as written */
};

static uint64_t ns_to_ticks(uint64_t ns)
{
    return (unsigned __int128)ns * PIT_HZ / NS_PER_SEC;
}

/* Rounded up: at that time the tick has happened. */
static uint64_t ticks_to_ns(uint64_t ticks)
{
    return ((unsigned __int128)ticks * NS_PER_SEC + PIT_HZ - 1) / PIT_HZ;
}

static bool periodic(const struct counter *c)
{
    return c->mode == 2 || c->mode == 3;
}

static uint64_t counter_ticks(const struct counter *c, uint64_t now)
{
    return c->running ? ns_to_ticks(now - c->start_ns) : c->paused_ticks;
}

/* A count written to a running periodic counter waits for the end of the cycle. */
static void counter_sync(struct counter *c, uint64_t now)
{
    if (!c->next_count || (int64_t)(now - c->next_at_ns) < 0)
        return;
    c->count = c->next_count;
    c->start_ns = c->next_at_ns;
    c->next_count = 0;
}

static bool counter_out(struct counter *c, uint64_t now)
{
    uint64_t t;

    counter_sync(c, now);
    if (!c->loaded)
        return c->mode != 0;
    t = counter_ticks(c, now);
    switch (c->mode) {
    case 0:
        return t >= c->count;
    case 1:
        return !c->triggered || t >= c->count;
    case 2:
        return !c->gate || t % c->count != c->count - 1;
    case 3:
        return !c->gate || t % c->count < (c->count + 1) / 2;
    default: /* 4, 5: one low tick */
        return t != c->count || (c->mode == 5 && !c->triggered);
    }
}

static uint16_t to_bcd(uint32_t v)
{
    v %= 10000;
    return v / 1000 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10;
}

static uint32_t from_bcd(uint16_t v)
{
    return (v >> 12) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15);
}

static uint16_t counter_value(struct counter *c, uint64_t now)
{
    uint32_t wrap = c->bcd ? 10000 : 65536, v;
    uint64_t t;

    counter_sync(c, now);
    t = counter_ticks(c, now);
    if (!c->loaded || ((c->mode == 1 || c->mode == 5) && !c->triggered))
        v = c->count;
    else if (c->mode == 2)
        v = c->count - t % c->count;
    else if (c->mode == 3)
        v = (c->count & ~1u) - (2 * (t % c->count)) % MAX_OF(c->count & ~1u, 2u);
    else
        v = (c->count + wrap - t % wrap) % wrap;
    return c->bcd ? to_bcd(v) : (uint16_t)v;
}

static uint8_t counter_status(struct counter *c, uint64_t now)
{
    return counter_out(c, now) << 7 | (!c->loaded || c->next_count) << 6 | c->access << 4 |
           c->mode << 1 | c->bcd;
}

/* When counter 0's output next rises, at or after from. */
static uint64_t next_rise_ns(struct counter *c, uint64_t from)
{
    uint64_t t;

    counter_sync(c, from);
    if (!c->loaded || !c->running)
        return UINT64_MAX;
    t = ns_to_ticks(from - c->start_ns);
    if (periodic(c)) {
        uint64_t at = c->start_ns + ticks_to_ns((t / c->count + 1) * c->count);
        return at;
    }
    if (c->mode == 1 || c->mode == 5)
        return UINT64_MAX; /* counter 0 has no gate to trigger it */
    if (t >= c->count + (c->mode == 4))
        return UINT64_MAX;
    return c->start_ns + ticks_to_ns(c->count + (c->mode == 4));
}

static void irq_arm(struct pit *p, uint64_t from)
{
    p->irq_at_ns = next_rise_ns(&p->counter[0], from);
    if (p->irq_at_ns == UINT64_MAX || !p->irq_enabled)
        timer_cancel(p->timer);
    else
        timer_set(p->timer, p->irq_at_ns);
}

/* After counter 0 was programmed: the line follows the output, the timer its next rise. */
static void irq_update(struct pit *p, uint64_t now)
{
    irq_set(&p->irq, p->irq_enabled && counter_out(&p->counter[0], now));
    irq_arm(p, now);
}

static void irq_due(void *opaque)
{
    struct pit *p = opaque;
    uint64_t now;

    pthread_mutex_lock(&p->dev.list->lock);
    now = vm_clock_ns(p->clock);
    if (p->irq_enabled && p->irq_at_ns != UINT64_MAX && (int64_t)(now - p->irq_at_ns) >= 0) {
        irq_set(&p->irq, false);
        irq_set(&p->irq, true);
        /* Rises that were missed meanwhile are gone. */
        irq_arm(p, now);
        if (p->irq_at_ns != UINT64_MAX && p->irq_at_ns - now < IRQ_GAP_MIN_NS)
            timer_set(p->timer, p->irq_at_ns = now + IRQ_GAP_MIN_NS);
    }
    pthread_mutex_unlock(&p->dev.list->lock);
}

static void counter_load(struct counter *c, uint16_t val, uint64_t now)
{
    uint32_t count = c->bcd ? from_bcd(val) : val;

    if (!count)
        count = c->bcd ? 10000 : 65536;
    if (c->loaded && c->running && periodic(c)) {
        uint64_t t;
        counter_sync(c, now);
        t = counter_ticks(c, now);
        c->next_count = count;
        c->next_at_ns = c->start_ns + ticks_to_ns((t / c->count + 1) * c->count);
        return;
    }
    c->count = count;
    c->loaded = true;
    if (c->mode == 1 || c->mode == 5) /* waits for a trigger; a running shot goes on */
        return;
    c->paused_ticks = 0;
    c->running = c->gate;
    c->start_ns = now;
}

static void counter_control(struct counter *c, uint8_t val)
{
    uint8_t mode = val >> 1 & 7;

    c->access = val >> 4 & 3;
    c->mode = mode > 5 ? mode - 4 : mode; /* 6 and 7 are 2 and 3 */
    c->bcd = val & 1;
    c->loaded = c->running = c->triggered = false;
    c->read_high = c->write_high = false;
    c->latch_bytes = 0;
    c->status_latched = false;
    c->next_count = 0;
    c->paused_ticks = 0;
}

static void counter_latch(struct counter *c, uint64_t now)
{
    if (c->latch_bytes)
        return; /* the first latch stays until it is read */
    c->latch = counter_value(c, now);
    c->latch_bytes = c->access == ACCESS_BOTH ? 2 : 1;
}

static void control_write(struct pit *p, uint8_t val, uint64_t now)
{
    unsigned which = val >> 6;

    if (which == 3) { /* read-back: bits are active low */
        for (unsigned i = 0; i < COUNTERS; i++) {
            struct counter *c = &p->counter[i];
            if (!(val & BIT(i + 1)))
                continue;
            if (!(val & 0x20))
                counter_latch(c, now);
            if (!(val & 0x10) && !c->status_latched) {
                c->status = counter_status(c, now);
                c->status_latched = true;
            }
        }
    } else if (!(val & 0x30)) {
        counter_latch(&p->counter[which], now);
    } else {
        counter_control(&p->counter[which], val);
    }
}

static void counter_write(struct counter *c, uint8_t val, uint64_t now)
{
    switch (c->access) {
    case ACCESS_LOW:
        counter_load(c, val, now);
        break;
    case ACCESS_HIGH:
        counter_load(c, val << 8, now);
        break;
    case ACCESS_BOTH:
        c->write_high = !c->write_high;
        if (!c->write_high) {
            counter_load(c, c->write_low | val << 8, now);
            break;
        }
        c->write_low = val;
        /* In mode 0 the first byte stops the count. */
        if (c->mode == 0)
            c->loaded = c->running = false;
        break;
    }
}

static uint8_t counter_read(struct counter *c, uint64_t now)
{
    uint16_t v;
    bool high;

    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    if (c->latch_bytes) {
        high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->latch_bytes == 1);
        c->latch_bytes--;
        return high ? c->latch >> 8 : c->latch;
    }
    v = counter_value(c, now);
    high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->read_high);
    if (c->access == ACCESS_BOTH)
        c->read_high = !c->read_high;
    return high ? v >> 8 : v;
}

static void counter_gate(struct counter *c, bool gate, uint64_t now)
{
    bool rising = gate && !c->gate;

    if (gate == c->gate)
        return;
    counter_sync(c, now);
    if (!gate && c->mode != 1 && c->mode != 5) {
        c->paused_ticks = counter_ticks(c, now);
        c->running = false;
    } else if (rising && c->loaded) {
        bool restart = c->mode != 0 && c->mode != 4;
        c->start_ns = now - (restart ? 0 : ticks_to_ns(c->paused_ticks));
        c->running = true;
        c->triggered = true;
    }
    c->gate = gate;
}

static void pit_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct pit *p = container_of(r, struct pit, region);
    uint64_t now = vm_clock_ns(p->clock);

    if (off == 3)
        control_write(p, val, now);
    else
        counter_write(&p->counter[off], val, now);
    irq_update(p, now);
}

static uint64_t pit_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct pit *p = container_of(r, struct pit, region);

    return off == 3 ? 0xff : counter_read(&p->counter[off], vm_clock_ns(p->clock));
}

static void speaker_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct pit *p = container_of(r, struct pit, speaker_region);

    p->port61 = val & 0x0f;
    counter_gate(&p->counter[SPEAKER], val & 1, vm_clock_ns(p->clock));
}

/* Bit 4 is the refresh toggle (every 15 us), bit 5 the output of counter 2. */
static uint64_t speaker_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct pit *p = container_of(r, struct pit, speaker_region);
    uint64_t now = vm_clock_ns(p->clock);

    return p->port61 | (now / 15085 & 1) << 4 | counter_out(&p->counter[SPEAKER], now) << 5;
}

static const struct io_ops pit_ops = {pit_read, pit_write, 1, 1};
static const struct io_ops speaker_ops = {speaker_read, speaker_write, 1, 1};

void pit_irq_enable(struct pit *p, bool on)
{
    if (p->irq_enabled == on)
        return;
    p->irq_enabled = on;
    irq_update(p, vm_clock_ns(p->clock));
}

/* The chip has no reset; firmware leaves counter 0 as the 18.2 Hz tick, which is what is here. */
static void pit_reset(struct device *d)
{
    struct pit *p = container_of(d, struct pit, dev);
    uint64_t now = vm_clock_ns(p->clock);

    for (unsigned i = 0; i < COUNTERS; i++) {
        struct counter *c = &p->counter[i];
        *c = (struct counter){.count = 65536,
                              .mode = 3,
                              .access = ACCESS_BOTH,
                              .loaded = true,
                              .gate = i != SPEAKER,
                              .running = i != SPEAKER,
                              .start_ns = now};
    }
    p->port61 = 0;
    p->irq_enabled = true;
    irq_update(p, now);
}

static bool pit_post_load(void *obj, uint32_t version, GError **err)
{
    struct pit *p = obj;

    for (unsigned i = 0; i < COUNTERS; i++) {
        struct counter *c = &p->counter[i];
        if (c->mode > 5 || c->access > ACCESS_BOTH || c->latch_bytes > 2 || c->count < 1 ||
            c->count > 65536 || c->next_count > 65536)
            return error_set(err, HANOK_ERROR_CORRUPT,
                             "The saved state of timer counter %u contradicts itself.", i);
    }
    irq_set(&p->irq, p->irq_enabled && counter_out(&p->counter[0], vm_clock_ns(p->clock)));
    if (p->irq_at_ns != UINT64_MAX && p->irq_enabled)
        timer_set(p->timer, p->irq_at_ns);
    else
        timer_cancel(p->timer);
    return true;
}

static const struct state_field counter_fields[] = {
    STATE_U32(struct counter, count),           STATE_U32(struct counter, next_count),
    STATE_U64(struct counter, next_at_ns),      STATE_U64(struct counter, start_ns),
    STATE_U64(struct counter, paused_ticks),    STATE_U16(struct counter, latch),
    STATE_U8(struct counter, latch_bytes),      STATE_U8(struct counter, status),
    STATE_BOOL(struct counter, status_latched), STATE_U8(struct counter, mode),
    STATE_U8(struct counter, access),           STATE_BOOL(struct counter, bcd),
    STATE_BOOL(struct counter, gate),           STATE_BOOL(struct counter, running),
    STATE_BOOL(struct counter, loaded),         STATE_BOOL(struct counter, triggered),
    STATE_BOOL(struct counter, read_high),      STATE_BOOL(struct counter, write_high),
    STATE_U8(struct counter, write_low),        STATE_END,
};
static const struct state_desc counter_state = {
    .name = "i8254-counter", .version = 1, .fields = counter_fields};

static const struct state_field pit_fields[] = {
    STATE_STRUCT_ARRAY(struct pit, counter, counter_state),
    STATE_U64(struct pit, irq_at_ns),
    STATE_BOOL(struct pit, irq_enabled),
    STATE_U8(struct pit, port61),
    STATE_END,
};
static const struct state_desc pit_state = {
    .name = "i8254", .version = 1, .fields = pit_fields, .post_load = pit_post_load};

static void pit_destroy(struct device *d)
{
    struct pit *p = container_of(d, struct pit, dev);

    device_remove(d->list, d);
    timer_free(p->timer);
    g_free(p);
}

static const struct device_ops pit_device_ops = {
    .type = "isa-pit", .reset = pit_reset, .destroy = pit_destroy, .state = &pit_state};

struct pit *pit_new(struct device_list *devices, struct io_space *pio, struct irqchip *irqchip,
                    struct vm_clock *clock)
{
    struct pit *p = g_new0(struct pit, 1);

    p->clock = clock;
    p->timer = timer_new(evloop_main(), clock, irq_due, p);
    irq_connect(&p->irq, irqchip, 0);
    p->region =
        (struct io_region){.ops = &pit_ops, .name = "pit", .size_bytes = 4, .lock = &devices->lock};
    p->speaker_region = (struct io_region){
        .ops = &speaker_ops, .name = "speaker", .size_bytes = 1, .lock = &devices->lock};
    device_add(devices, &p->dev, &pit_device_ops, NULL, "pit");
    pit_reset(&p->dev);
    io_space_add(pio, &p->region, 0x40);
    io_space_add(pio, &p->speaker_region, 0x61);
    return p;
}
