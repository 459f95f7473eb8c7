/* net_io.c - frames between virtio-net's rings and the backend.  Main loop. */
#include "net.h"

#include <glib.h>

enum { HDR_NEEDS_CSUM = 1, HDR_DATA_VALID = 2, ETH_HEADER = 14 };

struct net_header {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
_Static_assert(sizeof(struct net_header) == VNET_HEADER, "header layout");

/* --- guest to host --- */

/* The Internet checksum (RFC 1071) of what follows csum_start, completed in place. */
static bool finish_checksum(uint8_t *frame, size_t len, const struct net_header *h)
{
    size_t start = h->csum_start, at = start + h->csum_offset;
    uint64_t sum = 0;

    if (start >= len || at + 2 > len)
        return false;
    for (size_t i = start; i + 1 < len; i += 2)
        sum += (uint32_t)frame[i] << 8 | frame[i + 1];
    if ((len - start) & 1)
        sum += (uint32_t)frame[len - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    uint16_t csum = (uint16_t)~sum;
    if (csum == 0)
        csum = 0xffff; /* UDP's 0 means none; for TCP both are the same number */
    frame[at] = (uint8_t)(csum >> 8);
    frame[at + 1] = (uint8_t)csum;
    return true;
}

/* Takes the header off the front; the rest of the readable iovecs is the frame. */
static unsigned frame_iov(struct virtq_elem *e, size_t skip, struct iovec **iov)
{
    unsigned i = 0;

    while (skip >= e->iov[i].iov_len && i + 1 < e->out_count)
        skip -= e->iov[i++].iov_len;
    e->iov[i].iov_base = (char *)e->iov[i].iov_base + skip;
    e->iov[i].iov_len -= skip;
    *iov = e->iov + i;
    return e->out_count - i;
}

static bool send_linear(struct virtio_net *n, const struct net_header *h, size_t len, size_t *sent)
{
    if (!n->linear)
        n->linear = g_malloc(VNET_FRAME_MAX);
    virtq_copy_out(&n->tx, vnet_header_bytes(n), n->linear, len);
    if (!finish_checksum(n->linear, len, h))
        return false;
    struct iovec one = {n->linear, len};
    *sent = net_send(n->cfg.backend, &one, 1);
    return true;
}

/* False: the backend takes nothing now. */
static bool send_frame(struct virtio_net *n)
{
    struct virtq_elem *e = &n->tx;
    struct net_header h;
    struct iovec *iov;
    size_t head = vnet_header_bytes(n), len = e->out_bytes - head, sent = 0;

    virtq_copy_out(e, 0, &h, head);
    bool csum = (h.flags & HDR_NEEDS_CSUM) && virtio_has(&n->p.dev, VNET_F_CSUM);
    if (len < ETH_HEADER || len > VNET_FRAME_MAX || h.gso_type) {
        n->tx_dropped++;
        return true;
    }
    if (!n->cfg.backend)
        return true;
    if (csum) {
        if (!send_linear(n, &h, len, &sent)) {
            n->tx_dropped++;
            return true;
        }
    } else {
        unsigned count = frame_iov(e, head, &iov);
        sent = net_send(n->cfg.backend, iov, (int)count);
    }
    return sent != 0;
}

bool vnet_tx(struct virtio_net *n, struct virtq *q)
{
    struct virtq_elem *e = &n->tx;

    if (virtq_pop(q, e) <= 0)
        return false;
    if (e->out_bytes < vnet_header_bytes(n) || e->in_count) {
        virtio_dev_broken(&n->p.dev, "a transmit buffer without header, or a writable one");
        virtq_detach(e);
        return false;
    }
    if (!send_frame(n)) {
        virtq_unpop(e); /* peer's ready() brings us back */
        return false;
    }
    virtq_push(e, 0);
    return true;
}

static void nic_ready(void *nic)
{
    struct virtio_net *n = nic;

    for (unsigned i = 1; i < 2 * n->pairs; i += 2)
        virtq_self_kick(&n->p.dev.queue[i]);
}

/* --- host to guest --- */

/* Flows stay on one queue; which, is any function of addresses and ports (§5.1.6.5.6). */
static struct virtq *pick_queue(struct virtio_net *n, const uint8_t *frame, size_t len)
{
    unsigned pairs = __atomic_load_n(&n->pairs_used, __ATOMIC_RELAXED);
    uint32_t h = 0;

    if (pairs > 1 && len >= 38) { /* IPv4 without options: addresses at 26, ports at 34 */
        h = le32_get(frame + 26) ^ le32_get(frame + 30) ^ le32_get(frame + 34);
        h *= 0x9e3779b1u;
        h >>= 16;
    }
    return &n->p.dev.queue[2 * (h % pairs)];
}

/* A buffer for `left` more bytes.  0 = none there (the driver will kick). */
static int pop_rx(struct virtio_net *n, struct virtq *q, struct virtq_elem *e)
{
    int r = virtq_pop(q, e);

    if (r == 0) {
        virtq_want_kicks(q, true);
        r = virtq_pop(q, e); /* one may have come before the driver saw the wish */
    }
    if (r == 0)
        n->rx_starved = true;
    else if (q->notify_wanted)
        virtq_want_kicks(q, false);
    return r;
}

enum rx_result { RX_DONE, RX_WAIT, RX_DROP };

static enum rx_result bad_buffer(struct virtio_net *n, struct virtq_elem *e)
{
    virtio_dev_broken(&n->p.dev, "a receive buffer that is too small or readable");
    virtq_detach(e);
    return RX_DROP;
}

/* Further buffers of one frame, filled as slots 1..; returns how many, or -1 - enum rx_result. */
static int rx_merge(struct virtio_net *n, struct virtq *q, const uint8_t *frame, size_t len)
{
    uint16_t used = 0;

    while (len) {
        int r = used < q->size_max ? pop_rx(n, q, &n->rx_more) : -1;
        if (r <= 0) {
            virtq_rewind(q, n->rx_first.gen, used);
            return -1 - (r == 0 ? RX_WAIT : RX_DROP);
        }
        if (!n->rx_more.in_bytes || n->rx_more.out_count) {
            bad_buffer(n, &n->rx_more);
            return -1 - RX_DROP;
        }
        size_t here = virtq_copy_in(&n->rx_more, 0, frame, len);
        frame += here;
        len -= here;
        virtq_fill(&n->rx_more, (uint32_t)here, ++used);
    }
    return used;
}

static enum rx_result rx_frame(struct virtio_net *n, const uint8_t *frame, size_t len)
{
    struct virtq *q = pick_queue(n, frame, len);
    struct virtq_elem *e = &n->rx_first;
    struct net_header h = {.num_buffers = 1};
    uint32_t head = vnet_header_bytes(n);
    int more = 0;

    int r = pop_rx(n, q, e);
    if (r <= 0)
        return r == 0 ? RX_WAIT : RX_DROP;
    if (e->in_bytes < head || e->out_count)
        return bad_buffer(n, e);
    size_t here = virtq_copy_in(e, head, frame, len);
    if (here < len && !virtio_has(&n->p.dev, VNET_F_MRG_RXBUF)) {
        virtq_unpop(e);
        return RX_DROP; /* the driver's buffers are too small for this frame */
    }
    if (here < len) {
        more = rx_merge(n, q, frame + here, len - here);
        if (more < 0) {
            virtq_unpop(e);
            return (enum rx_result)(-1 - more);
        }
        h.num_buffers = (uint16_t)(1 + more);
    }
    if (virtio_has(&n->p.dev, VNET_F_GUEST_CSUM) && net_checksums_valid(n->cfg.backend))
        h.flags = HDR_DATA_VALID;
    virtq_copy_in(e, 0, &h, head);
    virtq_fill(e, (uint32_t)(head + here), 0);
    virtq_publish(q, (uint16_t)(1 + more));
    virtq_notify(q);
    return RX_DONE;
}

static bool nic_can_receive(void *nic)
{
    struct virtio_net *n = nic;

    if (virtio_running(&n->p.dev))
        return true;
    n->rx_starved = true;
    virtio_defer_to_resume(&n->p.dev);
    return false;
}

static size_t nic_receive(void *nic, const uint8_t *frame, size_t len)
{
    struct virtio_net *n = nic;

    /* No driver: the frame is lost, as on a wire into a machine that is switched off. */
    if (!virtio_driver_ok(&n->p.dev) || !n->p.dev.transport->may_dma(&n->p.dev) ||
        len < ETH_HEADER || len > VNET_FRAME_MAX || !vnet_filter_passes(n, frame, len))
        return len;
    switch (rx_frame(n, frame, len)) {
    case RX_WAIT:
        return 0;
    case RX_DROP:
        n->rx_dropped++;
        break;
    case RX_DONE:
        break;
    }
    return len;
}

static void nic_link(void *nic, bool up)
{
    struct virtio_net *n = nic;
    virtio_config_changed(&n->p.dev);
}

void vnet_rx_kick(struct virtio_net *n)
{
    if (!n->rx_starved || !n->cfg.backend)
        return;
    n->rx_starved = false;
    net_peer_ready(n->cfg.backend);
}

const struct net_peer_ops vnet_peer_ops = {
    .can_receive = nic_can_receive,
    .receive = nic_receive,
    .ready = nic_ready,
    .link = nic_link,
};
