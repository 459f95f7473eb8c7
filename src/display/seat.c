/* seat.c - a viewer's looks at the screen, and what it types and points at. */
#include "seat.h"

#include "base/evloop.h"
#include "base/util.h"
#include "display/input.h"

enum { FRAME_NS = 33000000 };

/* ---- events: module's thread -> main ---- */

static void take_key(struct seat *s, const struct seat_event *e)
{
    const struct input_key *key;
    bool with_shift; /* viewers send the Shift key themselves */

    if (e->kind == SEAT_SCANCODE) {
        uint16_t code = (uint16_t)(e->code & 0x80 ? 0xe000 | (e->code & 0x7f) : e->code & 0x7f);
        key = input_key_by_code(code);
    } else {
        key = input_key_by_sym(e->code, &with_shift);
    }
    if (!key)
        return;
    s->held[(key->code & 0x7f) | (key->code & 0xe000 ? 0x80 : 0)] = e->down;
    input_key(key, e->down);
}

/* A viewer that has left cannot send the other half of what it pressed. */
static void let_go(struct seat *s)
{
    for (unsigned i = 0; i < ARRAY_SIZE(s->held); i++)
        if (s->held[i])
            take_key(s, &(struct seat_event){.kind = SEAT_SCANCODE, .code = i});
    if (s->held_buttons)
        input_buttons(0);
    s->held_buttons = 0;
}

static void take_pointer(struct seat *s, const struct seat_event *e)
{
    const struct surface *f = s->console ? console_surface(s->console) : NULL;

    if (e->kind == SEAT_MOVE) {
        if (e->x || e->y)
            input_move(e->x, e->y);
    } else if (f && input_absolute()) {
        input_move_to(
            (unsigned)(MAX_OF(e->x, 0) * (int64_t)INPUT_ABS_MAX / MAX_OF(f->width - 1, 1u)),
            (unsigned)(MAX_OF(e->y, 0) * (int64_t)INPUT_ABS_MAX / MAX_OF(f->height - 1, 1u)));
    } else if (s->have_last && (e->x != s->last_x || e->y != s->last_y)) {
        input_move(e->x - s->last_x, e->y - s->last_y);
    }
    if (e->kind == SEAT_POINTER) {
        s->have_last = true;
        s->last_x = e->x;
        s->last_y = e->y;
    }
    s->held_buttons = e->code;
    if (e->code != input_buttons_now())
        input_buttons(e->code);
}

static void frame_due(void *opaque)
{
    struct seat *s = opaque;

    if (!s->console || s->lookers == 0)
        return;
    console_refresh(s->console, false);
    if (s->looked)
        s->looked(s);
    timer_set(s->frame, host_clock_ns() + FRAME_NS);
}

static void take_lookers(struct seat *s, int count)
{
    bool first = s->lookers == 0 && count > 0;

    if (count < s->lookers)
        let_go(s);
    s->lookers = count;
    if (first && s->console) {
        console_refresh(s->console, true);
        timer_set(s->frame, host_clock_ns() + FRAME_NS);
    }
}

static void take(struct seat *s, const struct seat_event *e)
{
    switch (e->kind) {
    case SEAT_KEYSYM:
    case SEAT_SCANCODE:
        take_key(s, e);
        break;
    case SEAT_POINTER:
    case SEAT_MOVE:
        take_pointer(s, e);
        break;
    case SEAT_SIZE:
        if (s->console)
            console_wish_size(s->console, (unsigned)e->x, (unsigned)e->y);
        break;
    case SEAT_LOOKERS:
        take_lookers(s, e->x);
        break;
    case SEAT_CLOSED:
        if (s->closed)
            s->closed(s);
        break;
    }
}

static void events_take(void *opaque)
{
    struct seat *s = opaque;
    struct seat_event now[SEAT_EVENTS_MAX];
    unsigned n;

    pthread_mutex_lock(&s->lock);
    n = s->events;
    memcpy(now, s->event, n * sizeof(now[0]));
    s->events = 0;
    s->waking = false;
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < n; i++)
        take(s, &now[i]);
}

void seat_event(struct seat *s, const struct seat_event *e)
{
    bool wake;

    pthread_mutex_lock(&s->lock);
    if (s->events < SEAT_EVENTS_MAX)
        s->event[s->events++] = *e;
    else if (e->kind == SEAT_LOOKERS || e->kind == SEAT_CLOSED)
        s->event[SEAT_EVENTS_MAX - 1] = *e;
    wake = !s->waking;
    s->waking = true;
    pthread_mutex_unlock(&s->lock);
    if (wake)
        evloop_defer(evloop_main(), events_take, s);
}

/* ---- life ---- */

static void console_gone(struct console_viewer *v)
{
    container_of(v, struct seat, viewer)->console = NULL;
}

void seat_init(struct seat *s)
{
    pthread_mutex_init(&s->lock, NULL);
    s->console = console_first();
    s->viewer.gone = console_gone;
    s->frame = timer_new(evloop_main(), NULL, frame_due, s);
}

void seat_attach(struct seat *s)
{
    if (s->console)
        console_attach(s->console, &s->viewer);
}

void seat_detach(struct seat *s)
{
    if (s->console)
        console_detach(s->console, &s->viewer);
    s->console = NULL;
}

void seat_fini(struct seat *s)
{
    seat_detach(s);
    evloop_undefer(evloop_main(), events_take, s);
    timer_free(s->frame);
    pthread_mutex_destroy(&s->lock);
}
