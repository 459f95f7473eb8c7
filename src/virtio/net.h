/* net.h - virtio-net's parts: the device (net.c), frames (net_io.c), control queue (net_ctrl.c).
 *
 *   receiveq0 transmitq0 ... receiveqN-1 transmitqN-1 controlq    (controlq is 2 without MQ)
 *
 * Frames of the backend are plain Ethernet.  Towards the guest no offload but checked checksums;
 * from the guest partial checksums are completed here (a cheap native loop, where the guest's own
 * may be translated code).  Segmentation offload is not offered.
 *
 * Threads: frames and control queue in the main loop, as the backend demands; filter under `lock`
 *          (a reset comes from a vCPU).
 * Spec:    virtio 1.2 §5.1. */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include "carrier.h"
#include "net/net.h"

#define VNET_PAIRS_MAX   16u
#define VNET_HEADER      12u
#define VNET_HEADER_OLD  10u /* the legacy interface's, unless buffers are merged */
#define VNET_FRAME_MAX   (64 * 1024 + 256)
#define VNET_ELEM_IOVS   160u
#define VNET_MAC_ENTRIES 64u

enum {
    VNET_F_CSUM = 0,
    VNET_F_GUEST_CSUM = 1,
    VNET_F_MTU = 3,
    VNET_F_MAC = 5,
    VNET_F_MRG_RXBUF = 15,
    VNET_F_STATUS = 16,
    VNET_F_CTRL_VQ = 17,
    VNET_F_CTRL_RX = 18,
    VNET_F_CTRL_VLAN = 19,
    VNET_F_CTRL_RX_EXTRA = 20,
    VNET_F_GUEST_ANNOUNCE = 21,
    VNET_F_MQ = 22,
    VNET_F_CTRL_MAC = 23,
    VNET_F_SPEED_DUPLEX = 63,
};

struct vnet_filter {
    uint8_t mac[6];
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    bool uni_overflow, multi_overflow;
    uint32_t uni_count, multi_count; /* the table holds the unicast ones first */
    uint8_t table[VNET_MAC_ENTRIES * 6];
    uint8_t vlan[4096 / 8];
};

struct virtio_net {
    struct virtio_carrier p; /* first */
    /* immutable */
    struct virtio_net_config cfg;
    unsigned pairs;
    uint8_t default_mac[6];
    bool claimed;
    /* main loop */
    struct virtq_elem rx_first, rx_more, tx;
    bool rx_starved;
    uint64_t rx_dropped, tx_dropped;
    uint8_t *linear; /* a frame whose checksum is completed; made on first use */
    /* under lock */
    pthread_mutex_t lock;
    struct vnet_filter filter;
    uint16_t pairs_used;
    bool announce;
};

static inline struct virtio_net *vnet_of(struct virtio_dev *d)
{
    return container_of(d, struct virtio_net, p.dev);
}

static inline unsigned vnet_header_bytes(const struct virtio_net *n)
{
    return n->p.dev.legacy && !virtio_has(&n->p.dev, VNET_F_MRG_RXBUF) ? VNET_HEADER_OLD
                                                                       : VNET_HEADER;
}

/* net_io.c */
bool vnet_tx(struct virtio_net *n, struct virtq *q); /* one frame; false: nothing, or not now */
void vnet_rx_kick(struct virtio_net *n);
extern const struct net_peer_ops vnet_peer_ops;
/* net_ctrl.c */
void vnet_filter_reset(struct virtio_net *n);
bool vnet_filter_passes(struct virtio_net *n, const uint8_t *frame, size_t len);
bool vnet_ctrl(struct virtio_net *n, struct virtq *q);

#endif
