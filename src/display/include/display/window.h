/* window.h - -display sdl: the primary console in a window on the host's desktop.
 *
 * Keys go to the guest by their place on the keyboard.  Without a device that takes positions a
 * click catches the pointer; Ctrl-Alt-G lets it go (and catches it).  Ctrl-Alt-F fills the screen.
 *
 * Threads: main.   Errors: a sentence; among them that the module is not installed. */
#ifndef DISPLAY_WINDOW_H
#define DISPLAY_WINDOW_H

#include "base/types.h"

#include <glib.h>

struct window_config {
    const char *name; /* of the machine; NULL: it has none */
    bool full_screen, grab_with_shift;
    void (*closed)(void *opaque); /* the user closes it; NULL: it cannot be closed */
    void *opaque;
};

bool window_open(const struct window_config *cfg, GError **err);
void window_close(void);

#endif
