/* tap.h - the host's end of a network card: a tap device, in a bridge or alone. */
#ifndef MANAGER_TAP_H
#define MANAGER_TAP_H

#include "manager/domain.h"

/* An open tap for the interface, to be inherited by the emulator; the device goes with the last
 * descriptor.  -1 and err. Needs root (or a tap that is the user's). */
int tap_open(struct interface *n, GError **err);
/* Whether the interface needs one at all. */
bool tap_wanted(const struct interface *n);

#endif
