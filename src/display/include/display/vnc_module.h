/* vnc_module.h - the seam between hanok-vm and the loadable VNC server.
 *
 * The module knows LibVNCServer and nothing else of this project; it is loaded only when -vnc is
 * given.  It owns a copy of the screen and one thread, in which clients are served: a slow client
 * delays other viewers, never the guest.
 *
 * Threads: start, resize, update and stop are called from the main thread; the callbacks come in
 * the module's thread and must only pass on what they are told. */
#ifndef DISPLAY_VNC_MODULE_H
#define DISPLAY_VNC_MODULE_H

#include <stdbool.h>
#include <stdint.h>

enum { VNC_MODULE_ABI = 3 };

/* The pointer, as console.h has it. */
struct vnc_cursor {
    bool visible;
    int x, y; /* its top left corner */
    unsigned width, height, hot_x, hot_y;
    const uint32_t *argb; /* premultiplied; lent for the call; NULL: as before */
};

struct vnc_callbacks {
    void *opaque;
    void (*keysym)(void *opaque, uint32_t keysym, bool down);
    void (*scancode)(void *opaque, uint32_t code, bool down); /* set 1; 0x80 | code when extended */
    void (*pointer)(void *opaque, unsigned rfb_buttons, int x, int y);
    void (*clients)(void *opaque, int count);
    /* a viewer wishes for another size (SetDesktopSize); resize() may follow */
    void (*desktop_size)(void *opaque, unsigned width, unsigned height);
};

struct vnc_start {
    int listen_fd;               /* bound and listening; the module closes it */
    const char *name, *password; /* password NULL: none asked; copied */
    bool need_password;          /* and nobody gets in before one is set */
    unsigned width, height;
    bool can_resize; /* else viewers are told that it is not possible */
    struct vnc_callbacks cb;
};

struct vnc_server;
struct vnc_module {
    unsigned abi;
    struct vnc_server *(*start)(const struct vnc_start *s); /* NULL: out of memory */
    void (*resize)(struct vnc_server *v, unsigned width, unsigned height);
    /* pixels: the whole screen, 0x00RRGGBB */
    void (*update)(struct vnc_server *v, const uint32_t *pixels, unsigned x, unsigned y,
                   unsigned width, unsigned height);
    void (*cursor)(struct vnc_server *v, const struct vnc_cursor *c); /* at most 64 x 64 */
    void (*set_password)(struct vnc_server *v, const char *password);
    void (*stop)(struct vnc_server *v);
};

#define VNC_MODULE_SYMBOL "hanok_vnc_module"
extern const struct vnc_module hanok_vnc_module;

#endif
