/* user_fwd.h - port forwarding rules of the user network, from their text.  Main thread. */
#ifndef NET_USER_FWD_H
#define NET_USER_FWD_H

#include "base/types.h"

#include <netinet/in.h>

struct Slirp;
struct props;

struct user_fwd {
    struct Slirp *slirp;
    struct in_addr guest_default; /* who is meant when a rule names no guest */
};

bool user_fwd_add_all(const struct user_fwd *f, struct props *p, GError **err);
bool user_fwd_add(const struct user_fwd *f, const char *rule, GError **err); /* one hostfwd */

#endif
