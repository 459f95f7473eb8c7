/* net_ctrl.c - virtio-net's control queue and the receive filter it sets (virtio 1.2 §5.1.6.5). */
#include "net.h"

enum {
    CLASS_RX = 0,
    CLASS_MAC = 1,
    CLASS_VLAN = 2,
    CLASS_ANNOUNCE = 3,
    CLASS_MQ = 4,
    MAC_TABLE_SET = 0,
    MAC_ADDR_SET = 1,
    VLAN_ADD = 0,
    VLAN_DEL = 1,
    ACK_OK = 0,
    ACK_ERR = 1,
    CTRL_DATA_MAX = 4096, /* two full tables are far below */
};

void vnet_filter_reset(struct virtio_net *n)
{
    pthread_mutex_lock(&n->lock);
    memset(&n->filter, 0, sizeof(n->filter));
    memcpy(n->filter.mac, n->default_mac, 6);
    n->filter.promisc = true; /* until a driver says what it wants */
    n->pairs_used = 1;
    n->announce = false;
    pthread_mutex_unlock(&n->lock);
}

static bool in_table(const struct vnet_filter *f, unsigned first, unsigned count,
                     const uint8_t *mac)
{
    for (unsigned i = first; i < first + count; i++) {
        if (!memcmp(f->table + 6 * i, mac, 6))
            return true;
    }
    return false;
}

static bool vlan_passes(struct virtio_net *n, const uint8_t *frame, size_t len)
{
    unsigned id;

    if (!virtio_has(&n->p.dev, VNET_F_CTRL_VLAN) || len < 16 || frame[12] != 0x81 || frame[13])
        return true;
    id = ((unsigned)frame[14] << 8 | frame[15]) & 0xfff;
    return n->filter.vlan[id / 8] & BIT(id % 8);
}

static bool passes_locked(struct virtio_net *n, const uint8_t *frame, size_t len)
{
    const struct vnet_filter *f = &n->filter;
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    if (f->promisc)
        return true;
    if (!vlan_passes(n, frame, len))
        return false;
    if (frame[0] & 1) {
        if (!memcmp(frame, all, 6))
            return !f->nobcast;
        if (f->nomulti)
            return false;
        return f->allmulti || f->multi_overflow || in_table(f, f->uni_count, f->multi_count, frame);
    }
    if (f->nouni)
        return false;
    return f->alluni || f->uni_overflow || !memcmp(frame, f->mac, 6) ||
           in_table(f, 0, f->uni_count, frame);
}

bool vnet_filter_passes(struct virtio_net *n, const uint8_t *frame, size_t len)
{
    pthread_mutex_lock(&n->lock);
    bool ok = passes_locked(n, frame, len);
    pthread_mutex_unlock(&n->lock);
    return ok;
}

/* --- commands; data is our copy --- */

static bool ctrl_rx(struct virtio_net *n, uint8_t cmd, const uint8_t *data, size_t len)
{
    struct vnet_filter *f = &n->filter;
    bool *modes[] = {&f->promisc, &f->allmulti, &f->alluni, &f->nomulti, &f->nouni, &f->nobcast};

    if (cmd >= ARRAY_SIZE(modes) || len != 1)
        return false;
    *modes[cmd] = data[0] != 0;
    return true;
}

/* One of the two tables: a count, then addresses.  What does not fit makes the filter wider. */
static bool read_table(struct vnet_filter *f, const uint8_t **data, size_t *len, uint32_t *count,
                       bool *overflow)
{
    unsigned used = f->uni_count;

    if (*len < 4)
        return false;
    uint32_t n = le32_get(*data);
    *data += 4;
    *len -= 4;
    if (n > *len / 6)
        return false;
    *overflow = n > VNET_MAC_ENTRIES - used;
    *count = *overflow ? 0 : n;
    if (!*overflow)
        memcpy(f->table + 6 * used, *data, 6 * (size_t)n);
    *data += 6 * (size_t)n;
    *len -= 6 * (size_t)n;
    return true;
}

static bool ctrl_mac(struct virtio_net *n, uint8_t cmd, const uint8_t *data, size_t len)
{
    struct vnet_filter f = n->filter;

    if (cmd == MAC_ADDR_SET && len == 6) {
        memcpy(n->filter.mac, data, 6);
        return true;
    }
    if (cmd != MAC_TABLE_SET)
        return false;
    f.uni_count = f.multi_count = 0;
    if (!read_table(&f, &data, &len, &f.uni_count, &f.uni_overflow) ||
        !read_table(&f, &data, &len, &f.multi_count, &f.multi_overflow) || len)
        return false;
    n->filter = f;
    return true;
}

static bool ctrl_vlan(struct virtio_net *n, uint8_t cmd, const uint8_t *data, size_t len)
{
    if (len != 2 || le16_get(data) > 4095 || cmd > VLAN_DEL)
        return false;
    unsigned id = le16_get(data);
    if (cmd == VLAN_ADD)
        n->filter.vlan[id / 8] |= (uint8_t)BIT(id % 8);
    else
        n->filter.vlan[id / 8] &= (uint8_t)~BIT(id % 8);
    return true;
}

static bool ctrl_mq(struct virtio_net *n, uint8_t cmd, const uint8_t *data, size_t len)
{
    if (cmd != 0 || len != 2 || !virtio_has(&n->p.dev, VNET_F_MQ) || le16_get(data) == 0 ||
        le16_get(data) > n->pairs)
        return false;
    __atomic_store_n(&n->pairs_used, le16_get(data), __ATOMIC_RELAXED);
    return true;
}

static bool dispatch_locked(struct virtio_net *n, const uint8_t *data, size_t len)
{
    uint8_t class = data[0], cmd = data[1];

    data += 2;
    len -= 2;
    switch (class) {
    case CLASS_RX:
        return ctrl_rx(n, cmd, data, len);
    case CLASS_MAC:
        return ctrl_mac(n, cmd, data, len);
    case CLASS_VLAN:
        return ctrl_vlan(n, cmd, data, len);
    case CLASS_ANNOUNCE:
        if (cmd != 0 || !n->announce)
            return false;
        n->announce = false;
        return true;
    case CLASS_MQ:
        return ctrl_mq(n, cmd, data, len);
    default:
        return false;
    }
}

bool vnet_ctrl(struct virtio_net *n, struct virtq *q)
{
    struct virtq_elem *e = &n->tx;
    uint8_t data[CTRL_DATA_MAX], ack = ACK_ERR;

    if (virtq_pop(q, e) <= 0)
        return false;
    if (e->out_bytes < 2 || e->in_bytes < 1) {
        virtio_dev_broken(&n->p.dev, "a control command without command or acknowledgement");
        virtq_detach(e);
        return false;
    }
    if (e->out_bytes <= sizeof(data)) {
        size_t len = virtq_copy_out(e, 0, data, sizeof(data));
        pthread_mutex_lock(&n->lock);
        ack = dispatch_locked(n, data, len) ? ACK_OK : ACK_ERR;
        pthread_mutex_unlock(&n->lock);
    }
    virtq_copy_in(e, 0, &ack, 1);
    virtq_push(e, 1);
    return true;
}
