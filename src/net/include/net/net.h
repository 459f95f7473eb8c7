/* net.h - packet backends: where a guest's Ethernet frames go (user/libslirp, tap, ...).
 *
 * A net_backend has one peer (the NIC).  Frames are plain Ethernet without FCS, at most 64 KiB +
 * headers.
 *
 * Threads: everything of one backend runs in its loop's thread (libslirp is not thread-safe: always
 * the main loop); net_send may be called from another thread only for tap. Errors:  opening fills
 * GError; a send that cannot be taken now returns 0 (peer's ready() follows). */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/types.h"

#include <sys/uio.h>

struct net_backend;
struct props;
struct evloop;

/* The NIC's side. */
struct net_peer_ops {
    bool (*can_receive)(void *nic);
    /* Returns len, or 0 when no buffer was free (backend keeps the frame and waits for
     * net_peer_ready). */
    size_t (*receive)(void *nic, const uint8_t *frame, size_t len);
    void (*ready)(void *nic); /* backend can take frames again after a 0 from net_send */
    void (*link)(void *nic, bool up);
};

/* p: one -netdev (type, id, hostfwd, ifname, fd, ...). */
struct net_backend *net_open(struct props *p, GError **err);
void net_close(struct net_backend *b); /* accepts NULL */
struct net_backend *net_find(const char *id);
const char *net_id(const struct net_backend *b);
const char *net_type(const struct net_backend *b);
bool net_claim(struct net_backend *b, const struct net_peer_ops *ops, void *nic, GError **err);
void net_release(struct net_backend *b);
unsigned net_queues(const struct net_backend *b); /* queue pairs its card should have; 0: any */
bool net_has_peer(const struct net_backend *b);   /* a NIC has claimed it */
size_t net_send(struct net_backend *b, const struct iovec *iov,
                int count);                 /* bytes taken, 0 = not now */
void net_peer_ready(struct net_backend *b); /* NIC has receive buffers again */
void net_set_link(struct net_backend *b, bool up);
bool net_link_up(const struct net_backend *b);
/* Frames to the NIC are made here, checksums included: nobody needs to check them. */
bool net_checksums_valid(const struct net_backend *b);
/* The address of a card that was given none: 52:54:00:12:34:56 and up.  Main thread. */
void net_default_mac(uint8_t mac[6]);
void net_foreach(void (*fn)(struct net_backend *b, void *opaque), void *opaque);
char *net_info(struct net_backend *b); /* one line for `info network`; free with g_free */

/* User networks only: the connection table, the table of neighbours (guests' hardware addresses and
 * what they call themselves; g_free; NULL for others), and one more forwarding. */
char *net_user_connections(struct net_backend *b);
char *net_user_neighbours(struct net_backend *b);
bool net_user_add_hostfwd(struct net_backend *b, const char *rule, GError **err);

#endif
