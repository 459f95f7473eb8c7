/* console.h - a screen between the graphics card that draws it and the viewers that show it.
 *
 *   viewer's timer --> console_refresh() --> card's update() --> console_changed(rect) --> viewers
 *
 * Nothing is drawn while nobody looks: the card is asked only by refresh.  Pixels are 32 bits,
 * 0x00RRGGBB, and belong to the console.
 *
 * Owner:   the card makes and frees its console; viewers attach to it.
 * Threads: main.  The card's update() takes the board lock itself. */
#ifndef DISPLAY_CONSOLE_H
#define DISPLAY_CONSOLE_H

#include "base/types.h"

#include <glib.h>

struct console;

struct surface {
    unsigned width, height;
    uint32_t *pixels; /* width * height, no padding */
};

struct rect {
    unsigned x, y, width, height;
};

/* The pointer as the guest has it, where viewers show it themselves and it is not in the picture.
 */
struct cursor {
    bool visible;
    int x, y; /* its top left corner on the screen */
    unsigned width, height, hot_x, hot_y;
    const uint32_t *argb; /* premultiplied; lent for the call; NULL: as before */
};

struct console_source {
    /* Brings the surface up to date; all: also what it believes to be unchanged. */
    void (*update)(void *opaque, struct console *c, bool all);
    /* A viewer would like another size: the guest is asked.  NULL: it cannot be. */
    void (*wish_size)(void *opaque, unsigned width, unsigned height);
    void *opaque;
};

struct console_viewer {
    void (*resized)(struct console_viewer *v, const struct surface *s);
    void (*changed)(struct console_viewer *v, const struct surface *s, const struct rect *r);
    /* NULL: it needs the pointer in the picture. */
    void (*cursor)(struct console_viewer *v, const struct cursor *c);
    /* The console goes away.  May be NULL. */
    void (*gone)(struct console_viewer *v);
    struct console_viewer *next;
};

enum { CONSOLE_WIDTH_MAX = 8192, CONSOLE_HEIGHT_MAX = 8192 };

struct console *console_new(const struct console_source *source); /* 640 x 480, black */
void console_free(struct console *c);                             /* accepts NULL */
struct console *console_first(void);                              /* the primary one, or NULL */
const struct surface *console_surface(const struct console *c);

/* For the card, inside update(). */
void console_resize(struct console *c, unsigned width, unsigned height);
void console_changed(struct console *c, const struct rect *r);
/* Whether all viewers show the pointer themselves; it then belongs to console_cursor() alone. */
bool console_cursor_apart(const struct console *c);
void console_cursor(struct console *c, const struct cursor *cursor);

void console_attach(struct console *c, struct console_viewer *v); /* told of the size at once */
void console_detach(struct console *c, struct console_viewer *v);
void console_refresh(struct console *c, bool all);
bool console_can_resize(const struct console *c);
/* False: not this card, or not this size.  The guest decides whether and when it follows. */
bool console_wish_size(struct console *c, unsigned width, unsigned height);

/* A picture file: PPM (P6), or PNG.  Written whole or not at all. */
bool console_dump(struct console *c, const char *path, bool png, GError **err);
/* The same bytes in memory. */
GByteArray *surface_ppm(const struct surface *s);
GByteArray *surface_png(const struct surface *s);

#endif
