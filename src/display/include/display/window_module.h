/* window_module.h - the seam between hanok-vm and the loadable window on the host's desktop.
 *
 * The module knows its toolkit and nothing else of this project; it is loaded only when -display
 * asks for a window.  It owns a copy of the screen and one thread, which makes the window and
 * everything in it.
 *
 * Threads: start, resize, update and stop are called from the main thread; the callbacks come in
 * the module's thread and must only pass on what they are told. */
#ifndef DISPLAY_WINDOW_MODULE_H
#define DISPLAY_WINDOW_MODULE_H

#include <stdbool.h>
#include <stdint.h>

enum { WINDOW_MODULE_ABI = 1 };

enum window_button { /* as enum input_button */
                     WINDOW_LEFT = 1,
                     WINDOW_MIDDLE = 2,
                     WINDOW_RIGHT = 4,
                     WINDOW_WHEEL_UP = 8,
                     WINDOW_WHEEL_DOWN = 16,
                     WINDOW_SIDE = 32,
                     WINDOW_EXTRA = 64,
};

struct window_callbacks {
    void *opaque;
    void (*scancode)(void *opaque, uint32_t code, bool down); /* set 1; 0x80 | code when extended */
    /* buttons: all that are down; at a place of the guest's screen, or moved by so much */
    void (*pointer_at)(void *opaque, unsigned buttons, int x, int y);
    void (*pointer_by)(void *opaque, unsigned buttons, int dx, int dy);
    void (*visible)(void *opaque, bool on); /* shown, or minimized */
    void (*size)(void *opaque, unsigned width, unsigned height);
    void (*closed)(void *opaque);
};

struct window_start {
    const char *title;
    unsigned width, height;
    bool can_resize; /* the guest may follow the window's size; else the picture is scaled */
    bool full_screen;
    bool grab_with_shift; /* Ctrl-Alt-Shift instead of Ctrl-Alt */
    struct window_callbacks cb;
};

struct window;
struct window_module {
    unsigned abi;
    /* NULL: *why says what the toolkit said; it stays for good */
    struct window *(*start)(const struct window_start *s, const char **why);
    void (*resize)(struct window *w, unsigned width, unsigned height);
    /* pixels: the whole screen, 0x00RRGGBB */
    void (*update)(struct window *w, const uint32_t *pixels, unsigned x, unsigned y, unsigned width,
                   unsigned height);
    void (*absolute)(struct window *w, bool on); /* the guest takes positions: no grabbing */
    void (*stop)(struct window *w);
};

#define WINDOW_MODULE_SYMBOL "hanok_window_module"
extern const struct window_module hanok_window_module;

#endif
