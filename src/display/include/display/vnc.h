/* vnc.h - -vnc: the primary console for VNC viewers, their keys and pointers for the guest.
 *
 * The screen is looked at 30 times a second while somebody is connected, else not at all.
 *
 * Threads: main.   Errors: a sentence; among them that the module is not installed. */
#ifndef DISPLAY_VNC_H
#define DISPLAY_VNC_H

#include "base/types.h"

#include <glib.h>
#include <stdbool.h>

struct vnc_config {
    const char *where;    /* "HOST:DISPLAY", "HOST:DISPLAY" with to, "unix:PATH" */
    unsigned to;          /* try displays up to this one */
    const char *password; /* NULL: none */
    bool need_password;   /* password=on: set later */
    const char *name;     /* of the machine */
};

bool vnc_open(const struct vnc_config *cfg, GError **err);
void vnc_close(void);
/* False when there is no server.  family and host may be NULL. */
bool vnc_info(const char **host, unsigned *port, int *clients, bool *auth);
bool vnc_set_password(const char *password, GError **err);

#endif
