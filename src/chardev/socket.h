/* socket.h - where a chardev socket lives: parsing, listening, connecting; private to src/chardev.
 *
 * Cold path; main thread.  Descriptors made here are close-on-exec and non-blocking. */
#ifndef CHARDEV_SOCKET_H
#define CHARDEV_SOCKET_H

#include "internal.h"

struct sock_addr_spec {
    char *path; /* unix; or NULL */
    bool abstract, tight;
    char *host, *port; /* tcp; or NULL */
    unsigned to;       /* highest port to try when listening, 0 = only port */
    int family;        /* AF_UNSPEC, AF_INET, AF_INET6 */
    int fd;            /* inherited, or -1 */
};

bool sock_addr_parse(struct sock_addr_spec *a, struct props *p, GError **err);
void sock_addr_free(struct sock_addr_spec *a);
int sock_listen(struct sock_addr_spec *a, GError **err);
/* async: does not wait; the descriptor becomes writable when the connection stands or failed. */
int sock_connect(struct sock_addr_spec *a, bool async, GError **err);
char *sock_addr_text(const struct sock_addr_spec *a); /* "unix:/path", "tcp:host:port", "fd:3" */
char *sock_peer_text(int fd);                         /* "127.0.0.1:43210", "" for unix */

#endif
