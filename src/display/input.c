/* input.c - hands keys and pointer moves to the device that listens. */
#include "display/input.h"

#include <stddef.h>

static struct input_handler *handlers; /* the last one added first */
static unsigned buttons_down;

void input_add(struct input_handler *h)
{
    h->next = handlers;
    handlers = h;
}

void input_remove(struct input_handler *h)
{
    for (struct input_handler **at = &handlers; *at; at = &(*at)->next) {
        if (*at == h) {
            *at = h->next;
            return;
        }
    }
}

void input_key(const struct input_key *key, bool down)
{
    for (struct input_handler *h = handlers; h; h = h->next) {
        if (h->key) {
            h->key(h->opaque, key, down);
            return;
        }
    }
}

static struct input_handler *pointer(void)
{
    for (struct input_handler *h = handlers; h; h = h->next)
        if (h->move_to)
            return h;
    for (struct input_handler *h = handlers; h; h = h->next)
        if (h->move)
            return h;
    return NULL;
}

bool input_absolute(void)
{
    const struct input_handler *h = pointer();

    return h && h->move_to;
}

void input_move(int dx, int dy)
{
    for (struct input_handler *h = handlers; h; h = h->next) {
        if (h->move) {
            h->move(h->opaque, dx, dy);
            return;
        }
    }
}

void input_move_to(unsigned x, unsigned y)
{
    struct input_handler *h = pointer();

    if (h && h->move_to)
        h->move_to(h->opaque, x > INPUT_ABS_MAX ? INPUT_ABS_MAX : x,
                   y > INPUT_ABS_MAX ? INPUT_ABS_MAX : y);
}

void input_buttons(unsigned buttons)
{
    struct input_handler *h = pointer();

    buttons_down = buttons;
    if (h && h->buttons)
        h->buttons(h->opaque, buttons);
}

unsigned input_buttons_now(void)
{
    return buttons_down;
}
