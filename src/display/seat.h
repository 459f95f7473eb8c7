/* seat.h - where one kind of viewer sits: in front of the primary console, with keys and a pointer.
 *
 *   console --resized, changed--> the viewer's module      (main thread)
 *   module's thread --seat_event()--> queue --> input, console   (main thread)
 *
 * The screen is looked at 30 times a second while somebody looks, else not at all.  A viewer that
 * floods loses events, not memory.
 *
 * Owner:   vnc.c, window.c.   Threads: main, except seat_event() from any. */
#ifndef DISPLAY_SEAT_H
#define DISPLAY_SEAT_H

#include "base/types.h"
#include "display/console.h"

#include <pthread.h>

enum { SEAT_EVENTS_MAX = 512 };

enum seat_event_kind {
    SEAT_KEYSYM,   /* code: X11's */
    SEAT_SCANCODE, /* code: set 1, 0x80 added when extended */
    SEAT_POINTER,  /* code: INPUT_* buttons; at x, y of the screen */
    SEAT_MOVE,     /* code: the same; moved by x, y */
    SEAT_SIZE,     /* the viewer wishes for x by y */
    SEAT_LOOKERS,  /* x look now; when one has left, what is held down is let go */
    SEAT_CLOSED,   /* the viewer wants to leave */
};

struct seat_event {
    enum seat_event_kind kind;
    uint32_t code;
    bool down;
    int x, y;
};

struct seat {
    struct console_viewer viewer;   /* its resized() and changed() are the owner's */
    void (*closed)(struct seat *s); /* may be NULL */
    void (*looked)(struct seat *s); /* after each look; may be NULL */
    struct console *console;        /* NULL: there is none, or it is gone */
    int lookers;
    /* main thread */
    struct timer *frame;
    int last_x, last_y;
    bool have_last;
    bool held[256]; /* keys, by set 1 code with 0x80 added when extended */
    unsigned held_buttons;
    /* under lock */
    pthread_mutex_t lock;
    struct seat_event event[SEAT_EVENTS_MAX];
    unsigned events;
    bool waking;
};

void seat_init(struct seat *s); /* of the primary console, which need not be there */
void seat_attach(struct seat *s);
/* The module is about to stop: no more calls of resized() and changed(). */
void seat_detach(struct seat *s);
void seat_fini(struct seat *s); /* the module has stopped; accepts what was not attached */
void seat_event(struct seat *s, const struct seat_event *e);

/* module.c: FILE from $HANOK_MODULES, the installed place, or beside the program; what it is for
 * messages.  The symbol begins with an unsigned, its ABI. */
const void *display_module_load(const char *file, const char *symbol, unsigned abi,
                                const char *what, GError **err);

#endif
