/* net.c - the virtio network device (virtio 1.2 §5.1). */
#include "net.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

#include <glib.h>

enum {
    CFG_MAC = 0,
    CFG_STATUS = 6,
    CFG_PAIRS = 8,
    CFG_MTU = 10,
    CFG_SPEED = 12,
    CFG_DUPLEX = 16,
    CFG_BYTES = 17,
    STATUS_LINK_UP = 1,
    STATUS_ANNOUNCE = 2,
};

static void get_config(struct virtio_dev *d, uint8_t *c)
{
    struct virtio_net *n = vnet_of(d);
    bool up = !n->cfg.backend || net_link_up(n->cfg.backend);

    pthread_mutex_lock(&n->lock);
    memcpy(c + CFG_MAC, n->filter.mac, 6);
    le16_put(c + CFG_STATUS,
             (uint16_t)((up ? STATUS_LINK_UP : 0) | (n->announce ? STATUS_ANNOUNCE : 0)));
    pthread_mutex_unlock(&n->lock);
    le16_put(c + CFG_PAIRS, (uint16_t)n->pairs);
    le16_put(c + CFG_MTU, n->cfg.mtu);
    le32_put(c + CFG_SPEED, n->cfg.speed_mbit ? n->cfg.speed_mbit : UINT32_MAX);
    c[CFG_DUPLEX] = n->cfg.speed_mbit ? 1 : 0xff;
}

static bool features_ok(struct virtio_dev *d, uint64_t f)
{
    /* What needs the control queue is not accepted without it (§5.1.3.1). */
    uint64_t needs_ctrl = BIT64(VNET_F_CTRL_RX) | BIT64(VNET_F_CTRL_VLAN) |
                          BIT64(VNET_F_GUEST_ANNOUNCE) | BIT64(VNET_F_MQ) | BIT64(VNET_F_CTRL_MAC);

    if ((f & needs_ctrl) && !(f & BIT64(VNET_F_CTRL_VQ)))
        return false;
    return !(f & BIT64(VNET_F_CTRL_RX_EXTRA)) || (f & BIT64(VNET_F_CTRL_VQ));
}

static unsigned ctrl_index(const struct virtio_net *n)
{
    if (!virtio_has(&n->p.dev, VNET_F_CTRL_VQ))
        return UINT32_MAX;
    return virtio_has(&n->p.dev, VNET_F_MQ) ? 2 * n->pairs : 2;
}

static bool service(struct virtq *q)
{
    struct virtio_net *n = vnet_of(q->dev);

    if (q->index == ctrl_index(n))
        return vnet_ctrl(n, q);
    return q->index % 2 && vnet_tx(n, q);
}

static void kick(struct virtq *q)
{
    struct virtio_net *n = vnet_of(q->dev);

    if (q->index != ctrl_index(n) && q->index % 2 == 0) {
        vnet_rx_kick(n);
        return;
    }
    virtq_service(q);
    virtq_notify(q);
}

static void reset(struct virtio_dev *d)
{
    vnet_filter_reset(vnet_of(d));
}

static void resume(struct virtio_dev *d)
{
    vnet_rx_kick(vnet_of(d));
}

static void destroy(struct virtio_dev *d)
{
    struct virtio_net *n = vnet_of(d);

    if (n->claimed)
        net_release(n->cfg.backend);
    virtio_carrier_fini(&n->p);
    virtq_elem_free(&n->rx_first);
    virtq_elem_free(&n->rx_more);
    virtq_elem_free(&n->tx);
    g_free(n->linear);
    pthread_mutex_destroy(&n->lock);
    g_free(n);
}

static const struct virtio_ops vops = {
    .type = 1,
    .config_len = CFG_BYTES,
    .get_config = get_config,
    .features_ok = features_ok,
    .reset = reset,
    .resume = resume,
    .destroy = destroy,
};

/* --- state --- */

static const struct state_field filter_fields[] = {
    STATE_BYTES(struct vnet_filter, mac),           STATE_BOOL(struct vnet_filter, promisc),
    STATE_BOOL(struct vnet_filter, allmulti),       STATE_BOOL(struct vnet_filter, alluni),
    STATE_BOOL(struct vnet_filter, nomulti),        STATE_BOOL(struct vnet_filter, nouni),
    STATE_BOOL(struct vnet_filter, nobcast),        STATE_BOOL(struct vnet_filter, uni_overflow),
    STATE_BOOL(struct vnet_filter, multi_overflow), STATE_U32(struct vnet_filter, uni_count),
    STATE_U32(struct vnet_filter, multi_count),     STATE_BYTES(struct vnet_filter, table),
    STATE_BYTES(struct vnet_filter, vlan),          STATE_END,
};
static const struct state_desc filter_state = {
    .name = "virtio-net-filter",
    .version = 1,
    .fields = filter_fields,
};

static bool post_load(void *obj, uint32_t version, GError **err)
{
    struct virtio_net *n = obj;

    if (n->pairs_used == 0 || n->pairs_used > n->pairs)
        return error_set(err, HANOK_ERROR_CORRUPT, "%u queue pairs in use", n->pairs_used);
    if (n->filter.uni_count > VNET_MAC_ENTRIES ||
        n->filter.multi_count > VNET_MAC_ENTRIES - n->filter.uni_count)
        return error_set(err, HANOK_ERROR_CORRUPT, "more addresses than the filter holds");
    n->rx_starved = true; /* look at what the backend has, on resume */
    return true;
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct virtio_net, p, virtio_carrier_state),
    STATE_STRUCT(struct virtio_net, filter, filter_state),
    STATE_U16(struct virtio_net, pairs_used),
    STATE_BOOL(struct virtio_net, announce),
    STATE_END,
};
static const struct state_desc net_state = {
    .name = "virtio-net",
    .version = 1,
    .fields = fields,
    .post_load = post_load,
};

/* --- making --- */

static const struct virtio_type type = VIRTIO_TYPE("virtio-net", net_state);

static bool queue_size_ok(unsigned size)
{
    return size == 0 || (size >= 64 && size <= VIRTQ_SIZE_MAX && (size & (size - 1)) == 0);
}

static bool check_config(const struct virtio_net_config *c, GError **err)
{
    if (c->queue_pairs > VNET_PAIRS_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "queues= is at most %u.", VNET_PAIRS_MAX);
    if (c->queue_pairs > 1 && c->no_ctrl_vq)
        return error_set(err, HANOK_ERROR_INVALID, "mq=on needs ctrl_vq=on.");
    if (!queue_size_ok(c->rx_queue_size) || !queue_size_ok(c->tx_queue_size))
        return error_set(err, HANOK_ERROR_INVALID,
                         "rx_queue_size= and tx_queue_size= must be powers of two from 64 to %u.",
                         VIRTQ_SIZE_MAX);
    if (c->mtu && c->mtu < 68)
        return error_set(err, HANOK_ERROR_INVALID, "host_mtu= must be at least 68.");
    if (c->have_mac && (c->mac[0] & 1))
        return error_set(err, HANOK_ERROR_INVALID, "mac= must not be a multicast address.");
    return true;
}

static uint64_t features(const struct virtio_net *n)
{
    const struct virtio_net_config *c = &n->cfg;
    uint64_t f = BIT64(VNET_F_MAC) | BIT64(VNET_F_STATUS) | BIT64(VNET_F_CSUM);

    if (c->backend && net_checksums_valid(c->backend))
        f |= BIT64(VNET_F_GUEST_CSUM);
    if (!c->no_mrg_rxbuf)
        f |= BIT64(VNET_F_MRG_RXBUF);
    if (c->mtu)
        f |= BIT64(VNET_F_MTU);
    if (c->speed_mbit)
        f |= BIT64(VNET_F_SPEED_DUPLEX);
    if (c->no_ctrl_vq)
        return f;
    f |= BIT64(VNET_F_CTRL_VQ) | BIT64(VNET_F_CTRL_RX) | BIT64(VNET_F_CTRL_VLAN) |
         BIT64(VNET_F_CTRL_RX_EXTRA) | BIT64(VNET_F_CTRL_MAC);
    if (!c->no_guest_announce)
        f |= BIT64(VNET_F_GUEST_ANNOUNCE);
    if (n->pairs > 1)
        f |= BIT64(VNET_F_MQ);
    return f;
}

static void choose_mac(struct virtio_net *n)
{
    if (n->cfg.have_mac)
        memcpy(n->default_mac, n->cfg.mac, 6);
    else
        net_default_mac(n->default_mac);
}

static bool setup(struct virtio_net *n, GError **err)
{
    const struct virtio_net_config *c = &n->cfg;

    if (c->backend) {
        n->claimed = net_claim(c->backend, &vnet_peer_ops, n, err);
        if (!n->claimed)
            return false;
    }
    for (unsigned i = 0; i < n->p.dev.queue_count; i++) {
        unsigned size = i % 2 ? c->tx_queue_size : c->rx_queue_size;
        if (i == 2 * n->pairs)
            size = 64;
        virtio_queue(&n->p.dev, i, size ? size : 256, evloop_main(), service, kick);
    }
    n->p.dev.host_features |= features(n);
    return virtio_carrier_plug(&n->p, &c->place, err);
}

struct device *virtio_net_new(const struct virtio_net_config *cfg, GError **err)
{
    if (!check_config(cfg, err))
        return NULL;
    struct virtio_net *n = g_new0(struct virtio_net, 1);
    n->cfg = *cfg;
    n->pairs = MAX_OF(cfg->queue_pairs, 1u);
    pthread_mutex_init(&n->lock, NULL);
    virtq_elem_alloc(&n->rx_first, VNET_ELEM_IOVS);
    virtq_elem_alloc(&n->rx_more, VNET_ELEM_IOVS);
    virtq_elem_alloc(&n->tx, VNET_ELEM_IOVS);
    choose_mac(n);
    vnet_filter_reset(n);
    virtio_carrier_init(&n->p, &type, &cfg->place, &vops, 2 * n->pairs + !cfg->no_ctrl_vq);
    if (!setup(n, err)) {
        virtio_carrier_destroy(&n->p.device);
        return NULL;
    }
    n->cfg.place.id = NULL; /* the caller's string */
    return &n->p.device;
}

static struct virtio_net *net_of_device(struct device *d)
{
    return virtio_is(d, &type) ? container_of(d, struct virtio_net, p.device) : NULL;
}

bool virtio_net_mac(struct device *d, uint8_t mac[6])
{
    struct virtio_net *n = net_of_device(d);

    if (!n)
        return false;
    pthread_mutex_lock(&n->lock);
    memcpy(mac, n->filter.mac, 6);
    pthread_mutex_unlock(&n->lock);
    return true;
}

void virtio_net_announce(struct device *d)
{
    struct virtio_net *n = net_of_device(d);

    if (!n || !virtio_has(&n->p.dev, VNET_F_GUEST_ANNOUNCE))
        return;
    pthread_mutex_lock(&n->lock);
    n->announce = true;
    pthread_mutex_unlock(&n->lock);
    virtio_config_changed(&n->p.dev);
}
