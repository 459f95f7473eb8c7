/* passt.h - passt as a network card's other end: a process of the user's that moves its packets.
 *
 * It is started before the machine, listens on a socket in the machine's run directory and ends
 * when the machine closes that connection.  Spec: passt(1). */
#ifndef MANAGER_PASST_H
#define MANAGER_PASST_H

#include "manager/domain.h"

bool passt_wanted(const struct interface *n);
/* Where its socket is; the caller frees. */
char *passt_socket(const struct interface *n, const char *dir);
/* Returns when it listens.  Its own words when it cannot. */
bool passt_start(const struct interface *n, const char *dir, GError **err);
/* Ends one that no machine has connected to. */
void passt_end(const struct interface *n, const char *dir);

#endif
