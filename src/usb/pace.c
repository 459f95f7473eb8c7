/* pace.c - when EHCI and UHCI look at their schedules. */
#include "pace.h"

#include "base/util.h"

enum {
    FRAME_NS = 1000000,
    EIGHTH_NS = FRAME_NS / 8,
    CATCH_UP = 8,
    QUICK_LOOKS = 64, /* an eighth apart */
    FRAME_LOOKS = 48, /* then a frame apart */
};

void usb_pace_init(struct usb_pace *p, struct vm_clock *clock, evloop_fn *run, void *opaque)
{
    p->clock = clock;
    p->timer = timer_new(evloop_main(), clock, run, opaque);
}

void usb_pace_fini(struct usb_pace *p)
{
    timer_free(p->timer);
}

void usb_pace_start(struct usb_pace *p, uint64_t frame)
{
    if (p->running)
        return;
    p->running = true;
    p->start_ns = vm_clock_ns(p->clock);
    p->first = p->done = frame;
    usb_pace_hurry(p);
}

void usb_pace_stop(struct usb_pace *p)
{
    if (!p->running)
        return;
    p->first = p->done = usb_pace_eighths(p) / 8;
    p->running = false;
    timer_cancel(p->timer);
}

uint64_t usb_pace_eighths(const struct usb_pace *p)
{
    uint64_t now = vm_clock_ns(p->clock);

    return p->first * 8 + (p->running && now > p->start_ns ? (now - p->start_ns) / EIGHTH_NS : 0);
}

/* At least the present frame each time, so that what waits in it moves on. */
unsigned usb_pace_take(struct usb_pace *p, uint64_t *from)
{
    uint64_t now = usb_pace_eighths(p) / 8;

    if (p->done > now)
        p->done = now;
    if (now - p->done >= CATCH_UP)
        p->done = now - CATCH_UP + 1;
    *from = p->done;
    p->done = now + 1;
    return (unsigned)(now + 1 - *from);
}

void usb_pace_next(struct usb_pace *p, bool moved)
{
    uint64_t wait;

    if (!p->running)
        return;
    p->quiet = moved ? 0 : MIN_OF(p->quiet + 1, QUICK_LOOKS + FRAME_LOOKS);
    wait = p->quiet < QUICK_LOOKS                 ? EIGHTH_NS
           : p->quiet < QUICK_LOOKS + FRAME_LOOKS ? FRAME_NS
                                                  : CATCH_UP * FRAME_NS;
    timer_set(p->timer, vm_clock_ns(p->clock) + wait);
}

void usb_pace_hurry(struct usb_pace *p)
{
    p->quiet = 0;
    if (p->running)
        timer_set(p->timer, vm_clock_ns(p->clock));
}

static const struct state_field pace_fields[] = {
    STATE_BOOL(struct usb_pace, running), STATE_U64(struct usb_pace, start_ns),
    STATE_U64(struct usb_pace, first),    STATE_U64(struct usb_pace, done),
    STATE_U32(struct usb_pace, quiet),    STATE_END,
};
const struct state_desc usb_pace_state = {.name = "usb-pace", .version = 1, .fields = pace_fields};
