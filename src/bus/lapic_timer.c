/* lapic_timer.c - the local APIC's timer: one-shot, periodic, TSC deadline (SDM vol.3 §11.5.4).
 *
 * The bus clock is 1 GHz, so one undivided count is one nanosecond. */
#include "lapic_impl.h"

#include "base/util.h"

/* A guest may ask for a period of a few nanoseconds: interrupts come no closer than this, while the
 * current count still runs at the true rate. */
#define PERIOD_MIN_NS 50000u

enum timer_mode lapic_timer_mode(const struct lapic *l)
{
    return (l->reg[REG_LVT_TIMER] >> 17) & 3;
}

static unsigned divide_shift(uint32_t divide)
{
    unsigned v = (divide & 3) | ((divide >> 1) & 4);

    return (v + 1) & 7; /* 000 is 2, .. 110 is 128, 111 is 1 */
}

static uint64_t period_ns(const struct lapic *l)
{
    return (uint64_t)l->reg[REG_TIMER_INITIAL] << divide_shift(l->reg[REG_TIMER_DIVIDE]);
}

uint32_t lapic_timer_current(struct lapic *l)
{
    uint32_t initial = l->reg[REG_TIMER_INITIAL];
    uint64_t elapsed, counts;

    if (!l->timer_running || !initial)
        return 0;
    elapsed = vm_clock_ns(l->clock) - l->timer_start_ns;
    if ((int64_t)elapsed < 0) /* the clock was set back: a count that runs is never zero */
        elapsed = 0;
    counts = elapsed >> divide_shift(l->reg[REG_TIMER_DIVIDE]);
    if (lapic_timer_mode(l) == TIMER_PERIODIC)
        return initial - counts % initial;
    return counts >= initial ? 0 : initial - counts;
}

void lapic_timer_stop(struct lapic *l)
{
    l->timer_running = false;
    l->timer_deadline = 0;
    timer_cancel(l->timer);
}

static void timer_arm(struct lapic *l)
{
    l->timer_next_ns = l->timer_start_ns + period_ns(l);
    timer_set(l->timer, l->timer_next_ns);
}

/* Continues with current counts to go, at the divider that is set now. */
void lapic_timer_restore(struct lapic *l, uint32_t current)
{
    uint32_t initial = l->reg[REG_TIMER_INITIAL];
    unsigned shift = divide_shift(l->reg[REG_TIMER_DIVIDE]);

    if (!initial || lapic_timer_mode(l) > TIMER_PERIODIC || !current)
        return;
    current = MIN_OF(current, initial);
    l->timer_running = true;
    /* May wrap below zero on a young clock: all uses are differences. */
    l->timer_start_ns = vm_clock_ns(l->clock) - ((uint64_t)(initial - current) << shift);
    timer_arm(l);
}

void lapic_timer_set_initial(struct lapic *l, uint32_t count)
{
    if (lapic_timer_mode(l) == TIMER_DEADLINE)
        return;
    l->reg[REG_TIMER_INITIAL] = count;
    l->timer_running = count != 0;
    if (!count) {
        timer_cancel(l->timer);
        return;
    }
    l->timer_start_ns = vm_clock_ns(l->clock);
    timer_arm(l);
}

void lapic_timer_set_divide(struct lapic *l, uint32_t divide)
{
    uint32_t current = lapic_timer_current(l);

    l->reg[REG_TIMER_DIVIDE] = divide & 0xb;
    lapic_timer_restore(l, current);
}

/* Switching to or from deadline mode disarms the timer; between one-shot and periodic the count
 * goes on from where it was, and one that has ended stays ended. */
void lapic_timer_lvt_changed(struct lapic *l, uint32_t old_lvt, uint32_t old_current)
{
    enum timer_mode old = (old_lvt >> 17) & 3, now = lapic_timer_mode(l);

    if (old == now)
        return;
    if (old == TIMER_DEADLINE || now == TIMER_DEADLINE) {
        lapic_timer_stop(l);
        l->reg[REG_TIMER_INITIAL] = 0;
    } else {
        lapic_timer_restore(l, old_current);
    }
}

/* Arms for the deadline, or says that it has been reached. */
static bool deadline_reached(struct lapic *l)
{
    uint64_t now = l->ops->tsc(l->cpu), ns;

    if (now >= l->timer_deadline)
        return true;
    ns = l->ops->tsc_to_ns(l->cpu, l->timer_deadline - now);
    /* Rounding down must not turn into a busy loop of early wake-ups. */
    timer_set(l->timer, vm_clock_ns(l->clock) + MIN_OF(MAX_OF(ns, 1000), (uint64_t)INT64_MAX / 2));
    return false;
}

static void deadline_check(struct lapic *l, struct lapic_work *w)
{
    if (!l->timer_deadline || !deadline_reached(l))
        return;
    l->timer_deadline = 0;
    timer_cancel(l->timer);
    lapic_local_locked(l, REG_LVT_TIMER, w);
}

uint64_t lapic_deadline_get(struct lapic *l)
{
    uint64_t v;

    pthread_mutex_lock(&l->lock);
    v = l->timer_deadline;
    pthread_mutex_unlock(&l->lock);
    return v;
}

void lapic_deadline_set(struct lapic *l, uint64_t tsc)
{
    struct lapic_work w = LAPIC_WORK_NONE;

    pthread_mutex_lock(&l->lock);
    if (lapic_enabled(l) && lapic_timer_mode(l) == TIMER_DEADLINE) {
        l->timer_deadline = tsc;
        if (tsc)
            deadline_check(l, &w);
        else
            timer_cancel(l->timer);
    }
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
}

static void count_check(struct lapic *l, struct lapic_work *w)
{
    uint64_t now = vm_clock_ns(l->clock), period = period_ns(l), next;

    if (!l->timer_running || (int64_t)(now - l->timer_next_ns) < 0)
        return;
    if (lapic_timer_mode(l) == TIMER_ONESHOT) {
        l->timer_running = false;
    } else {
        /* Ticks that were missed are gone: the next is the first one in the future. */
        next = now + period - (now - l->timer_start_ns) % period;
        l->timer_next_ns = MAX_OF(next, now + PERIOD_MIN_NS);
        timer_set(l->timer, l->timer_next_ns);
    }
    lapic_local_locked(l, REG_LVT_TIMER, w);
}

/* Takes a tick that is due, whether or not the host's timer has told us yet. */
void lapic_timer_settle_locked(struct lapic *l, struct lapic_work *w)
{
    if (lapic_timer_mode(l) == TIMER_DEADLINE)
        deadline_check(l, w);
    else
        count_check(l, w);
}

static void timer_due(void *opaque)
{
    struct lapic *l = opaque;
    struct lapic_work w = LAPIC_WORK_NONE;

    pthread_mutex_lock(&l->lock);
    lapic_timer_settle_locked(l, &w);
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
}

void lapic_timer_init(struct lapic *l)
{
    l->timer = timer_new(evloop_main(), l->clock, timer_due, l);
}
