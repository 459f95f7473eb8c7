/* console.c - surfaces and who looks at them. */
#include "display/console.h"

#include "base/util.h"

#include <assert.h>
#include <glib.h>

struct console {
    struct console_source source;
    struct surface surface;
    struct console_viewer *viewers;
    struct console *next;
};

static struct console *consoles;

static void surface_make(struct surface *s, unsigned width, unsigned height)
{
    g_free(s->pixels);
    s->width = width;
    s->height = height;
    s->pixels = g_new0(uint32_t, (size_t)width * height);
}

struct console *console_new(const struct console_source *source)
{
    struct console *c = g_new0(struct console, 1), **at = &consoles;

    c->source = *source;
    surface_make(&c->surface, 640, 480);
    while (*at)
        at = &(*at)->next;
    *at = c;
    return c;
}

void console_free(struct console *c)
{
    if (!c)
        return;
    for (struct console_viewer *v = c->viewers, *next; v; v = next) {
        next = v->next;
        if (v->gone)
            v->gone(v);
    }
    for (struct console **at = &consoles; *at; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    g_free(c->surface.pixels);
    g_free(c);
}

struct console *console_first(void)
{
    return consoles;
}

const struct surface *console_surface(const struct console *c)
{
    return &c->surface;
}

void console_resize(struct console *c, unsigned width, unsigned height)
{
    assert(width > 0 && width <= CONSOLE_WIDTH_MAX && height > 0 && height <= CONSOLE_HEIGHT_MAX);
    if (width == c->surface.width && height == c->surface.height)
        return;
    surface_make(&c->surface, width, height);
    for (struct console_viewer *v = c->viewers; v; v = v->next)
        v->resized(v, &c->surface);
}

void console_changed(struct console *c, const struct rect *r)
{
    assert(r->x + r->width <= c->surface.width && r->y + r->height <= c->surface.height);
    if (!r->width || !r->height)
        return;
    for (struct console_viewer *v = c->viewers; v; v = v->next)
        v->changed(v, &c->surface, r);
}

bool console_cursor_apart(const struct console *c)
{
    for (const struct console_viewer *v = c->viewers; v; v = v->next)
        if (!v->cursor)
            return false;
    return c->viewers != NULL;
}

void console_cursor(struct console *c, const struct cursor *cursor)
{
    for (struct console_viewer *v = c->viewers; v; v = v->next)
        if (v->cursor)
            v->cursor(v, cursor);
}

void console_attach(struct console *c, struct console_viewer *v)
{
    v->next = c->viewers;
    c->viewers = v;
    v->resized(v, &c->surface);
}

void console_detach(struct console *c, struct console_viewer *v)
{
    for (struct console_viewer **at = &c->viewers; *at; at = &(*at)->next) {
        if (*at == v) {
            *at = v->next;
            return;
        }
    }
}

void console_refresh(struct console *c, bool all)
{
    c->source.update(c->source.opaque, c, all);
}

bool console_can_resize(const struct console *c)
{
    return c->source.wish_size != NULL;
}

bool console_wish_size(struct console *c, unsigned width, unsigned height)
{
    if (!c->source.wish_size || width == 0 || width > CONSOLE_WIDTH_MAX || height == 0 ||
        height > CONSOLE_HEIGHT_MAX)
        return false;
    c->source.wish_size(c->source.opaque, width, height);
    return true;
}
