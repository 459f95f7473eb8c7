/* net_int.h - what the packet backends share with net.c and nobody else. */
#ifndef NET_INT_H
#define NET_INT_H

#include "net/net.h"

#define NET_FRAME_MAX (64 * 1024 + 256)

struct net_driver {
    const char *name;
    bool checksums_valid;
    bool (*open)(struct net_backend *b, struct props *p, GError **err);
    void (*close)(struct net_backend *b); /* must accept a half-open backend */
    size_t (*send)(struct net_backend *b, const struct iovec *iov, int count);
    void (*peer_ready)(struct net_backend *b);
    char *(*info)(struct net_backend *b); /* after "id: type=..,"; g_free */
};

struct net_backend {
    /* immutable after open */
    const struct net_driver *drv;
    char *id;
    void *priv;
    unsigned queues; /* a card with mq=on has so many; 0: as it likes */
    /* main thread */
    const struct net_peer_ops *ops;
    void *nic;
    bool link_up;
    struct net_backend *next;
};

extern const struct net_driver net_driver_user, net_driver_tap, net_driver_stream;

/* To the NIC: false when it has no buffer now (the caller keeps the frame until peer_ready). Frames
 * nobody can ever take (no NIC, link down) count as delivered. */
bool net_deliver(struct net_backend *b, const uint8_t *frame, size_t len);
/* Copies a scatter list of guest memory: what is parsed later must not change under the parser.
 * 0 when it does not fit. */
size_t net_linearize(const struct iovec *iov, int count, uint8_t *buf, size_t size);

#endif
