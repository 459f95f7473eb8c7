/* e1000_rx.c - from the backend's frames to receive descriptors: filters, checksum reports, RSS.
 *
 * A frame that the ring has no room for stays with the backend until the tail moves. */
#include "e1000_int.h"

#include "base/evloop.h"
#include "base/log.h"
#include "frame.h"
#include "mem/guest_mem.h"

enum { FRAME_MIN = 60, FCS = 4, FRAME_USUAL = 1522, BUFFERS_MAX = 4 };
enum {
    RCTL_EN = BIT(1),
    RCTL_UPE = BIT(3),
    RCTL_MPE = BIT(4),
    RCTL_LPE = BIT(5),
    RCTL_RDMTS_SHIFT = 8,
    RCTL_DTYP_SPLIT = 1 << 10,
    RCTL_DTYP = 3 << 10,
    RCTL_MO_SHIFT = 12,
    RCTL_BAM = BIT(15),
    RCTL_BSIZE_SHIFT = 16,
    RCTL_VFE = BIT(18),
    RCTL_CFIEN = BIT(19),
    RCTL_CFI = BIT(20),
    RCTL_BSEX = BIT(25),
    RCTL_SECRC = BIT(26),
    RCTL_FLXBUF_SHIFT = 27, /* 82574 */
    RAH_AV = BIT(31),
    RXCSUM_IPOFL = BIT(8),
    RXCSUM_TUOFL = BIT(9),
    RXCSUM_PCSD = BIT(13),
    RFCTL_EXSTEN = BIT(15),
};
/* Status of the extended formats (DS §7.1.4.2); the legacy one has the first byte and the top. */
enum {
    ST_DD = BIT(0),
    ST_EOP = BIT(1),
    ST_IXSM = BIT(2),
    ST_VP = BIT(3),
    ST_UDPCS = BIT(4),
    ST_TCPCS = BIT(5),
    ST_IPCS = BIT(6),
    ST_PIF = BIT(7),
    ST_TCPE = BIT(29),
    ST_IPE = BIT(30),
};
enum { RSS_TCP4 = 1, RSS_IP4 = 2, RSS_TCP6 = 3, RSS_IP6 = 5 };

enum format { LEGACY, EXTENDED, SPLIT };

/* What is known of a frame when its descriptors are written. */
struct rx {
    const uint8_t *data;
    size_t len, header; /* header: bytes that go to the split format's first buffer; 0: no split */
    enum format format;
    unsigned queue, buffers;
    size_t size[BUFFERS_MAX];
    uint32_t status, mrq, hash;
    uint16_t tag, sum;
};

/* ---- filters (SDM §3.2.1, §10.1) ---- */

static bool vlan_passes(struct e1000 *e, const uint8_t *f, size_t len)
{
    uint32_t rctl = *e1000_reg(e, RCTL);
    unsigned id;

    if (!(rctl & RCTL_VFE) || len < ETH_HEADER + VLAN_TAG ||
        (unsigned)(f[12] << 8 | f[13]) != *e1000_reg(e, VET))
        return true;
    if ((rctl & RCTL_CFIEN) && (f[14] >> 4 & 1) != !!(rctl & RCTL_CFI))
        return false;
    id = (unsigned)(f[14] << 8 | f[15]) & 0xfff;
    return *e1000_reg(e, VFTA + 4 * (id >> 5)) >> (id & 31) & 1;
}

static bool address_passes(struct e1000 *e, const uint8_t *f)
{
    static const uint8_t shift[] = {4, 3, 2, 0};
    uint32_t rctl = *e1000_reg(e, RCTL), low = le32_get(f), high = le16_get(f + 4);

    if (frame_broadcast(f) && (rctl & RCTL_BAM))
        return true;
    if (rctl & (frame_multicast(f) ? RCTL_MPE : RCTL_UPE))
        return true;
    for (unsigned i = 0; i < 16; i++) {
        uint32_t ra_high = *e1000_reg(e, RA + 8 * i + 4);
        if ((ra_high & RAH_AV) && (ra_high & 0xffff) == high && *e1000_reg(e, RA + 8 * i) == low)
            return true;
    }
    if (!frame_multicast(f))
        return false;
    unsigned hash = (high >> shift[rctl >> RCTL_MO_SHIFT & 3]) & 0xfff;
    return *e1000_reg(e, MTA + 4 * (hash >> 5)) >> (hash & 31) & 1;
}

/* ---- what descriptors say of a frame ---- */

static void report_sums(struct e1000 *e, struct rx *x, struct frame_layout *l)
{
    uint32_t rxcsum = *e1000_reg(e, RXCSUM);
    bool trusted = e->backend && net_checksums_valid(e->backend);

    if (!(rxcsum & (RXCSUM_IPOFL | RXCSUM_TUOFL))) {
        x->status |= ST_IXSM;
        return;
    }
    if (l->ip4 && (rxcsum & RXCSUM_IPOFL))
        x->status |= ST_IPCS | (l->ip_sum_ok ? 0 : ST_IPE);
    if (l->l4 == FRAME_L4_NONE || !l->l4_has_sum || !(rxcsum & RXCSUM_TUOFL))
        return;
    if (!trusted)
        frame_check_l4(x->data, l);
    x->status |= ST_TCPCS | (trusted || l->l4_sum_ok ? 0 : ST_TCPE);
    if (l->l4 == FRAME_L4_UDP)
        x->status |= ST_UDPCS;
}

/* Receive side scaling (DS §7.1.11): which hash, if any, and with it the queue. */
static void spread(struct e1000 *e, struct rx *x, const struct frame_layout *l)
{
    uint32_t mrqc = *e1000_reg(e, MRQC);
    bool tcp = l->l4 == FRAME_L4_TCP;
    unsigned type = 0;

    if (!e->model->pcie || (mrqc & 3) != 1)
        return;
    if (l->ip4)
        type = tcp && (mrqc & BIT(16)) ? RSS_TCP4 : mrqc & BIT(17) ? RSS_IP4 : 0;
    else if (l->ip6)
        type = tcp && (mrqc & BIT(18)) ? RSS_TCP6 : mrqc & BIT(20) ? RSS_IP6 : 0;
    if (!type)
        return;
    x->hash = frame_rss(x->data, l, type == RSS_TCP4 || type == RSS_TCP6,
                        (const uint8_t *)e1000_reg(e, RSSRK));
    const uint8_t *reta = (const uint8_t *)e1000_reg(e, RETA);
    x->queue = reta[x->hash & 127] >> 7;
    x->mrq = type | x->queue << 8;
}

static size_t header_bytes(const struct frame_layout *l)
{
    if (l->l4 != FRAME_L4_NONE)
        return l->payload;
    return l->ip4 || l->ip6 ? l->l4_at : 0;
}

/* The buffers of a descriptor, as the format has them. */
static void choose_format(struct e1000 *e, struct rx *x)
{
    uint32_t rctl = *e1000_reg(e, RCTL), ps = *e1000_reg(e, PSRCTL);
    bool extended = e->model->pcie && (*e1000_reg(e, RFCTL) & RFCTL_EXSTEN);
    unsigned code = rctl >> RCTL_BSIZE_SHIFT & 3, flex = rctl >> RCTL_FLXBUF_SHIFT & 15;

    x->format = extended ? EXTENDED : LEGACY;
    x->buffers = 1;
    if (extended && (rctl & RCTL_DTYP) == RCTL_DTYP_SPLIT) {
        x->format = SPLIT;
        x->buffers = 4;
        x->size[0] = (ps & 0x7f) * 128u;
        for (unsigned i = 1; i < 4; i++)
            x->size[i] = (ps >> (8 * i) & 0x3f) * 1024u;
    } else if (e->model->pcie && flex) {
        x->size[0] = flex * 1024u;
    } else if ((rctl & RCTL_BSEX) && code) {
        x->size[0] = 32768u >> code;
    } else {
        x->size[0] = 2048u >> code;
    }
    if (x->format != SPLIT || x->header > x->size[0] || x->size[1] == 0)
        x->header = 0;
}

static void describe(struct e1000 *e, struct rx *x)
{
    struct frame_layout l;
    uint32_t rxcsum = *e1000_reg(e, RXCSUM);
    unsigned from = rxcsum & 0xff; /* PCSS */

    frame_parse(x->data, x->len, &l);
    report_sums(e, x, &l);
    spread(e, x, &l);
    x->header = header_bytes(&l);
    choose_format(e, x);
    if (from < x->len && (x->format == LEGACY || !(rxcsum & RXCSUM_PCSD)))
        x->sum = frame_sum_fold(frame_sum(x->data + from, x->len - from, 0));
    if (!(rxcsum & RXCSUM_PCSD))
        x->hash = (uint32_t)l.ip_id | (uint32_t)x->sum << 16;
    if (!frame_broadcast(x->data) && frame_multicast(x->data))
        x->status |= ST_PIF; /* passed an inexact filter, maybe */
}

/* ---- writing ---- */

static size_t descriptor_holds(const struct rx *x)
{
    size_t n = 0;

    for (unsigned i = 0; i < x->buffers; i++)
        n += x->size[i];
    return n;
}

/* Descriptors the frame takes: the header buffer is left alone from the second one on. */
static size_t descriptors_needed(const struct rx *x)
{
    size_t each = descriptor_holds(x), rest = x->len, more = each;

    if (each == 0)
        return SIZE_MAX;
    if (x->header) {
        more = each - x->size[0];
        rest = x->len - x->header;
        each = more;
    }
    return rest <= each ? 1 : 1 + (rest - each + more - 1) / more;
}

/* Fills the buffers of one descriptor from *at on; how much went where is in part[]. */
static void fill(struct e1000 *e, const struct rx *x, const uint8_t *d, size_t *at, size_t part[])
{
    bool first = *at == 0;

    for (unsigned i = 0; i < BUFFERS_MAX; i++) {
        part[i] = 0;
        if (i >= x->buffers || (x->header && i == 0 && !first))
            continue;
        size_t room = x->header && i == 0 ? x->header : x->size[i];
        part[i] = MIN_OF(room, x->len - *at);
        if (part[i] && guest_mem_write(e->pci.bus->host->mem, GPA(le64_get(d + 8 * i)),
                                       x->data + *at, part[i]))
            log_guest("%s: a receive buffer outside of memory", e->model->name);
        *at += part[i];
    }
}

/* The status goes last: the driver looks at it first. */
static void desc_write(struct e1000 *e, uint64_t gpa, const uint8_t *d, unsigned bytes,
                       unsigned status_at, unsigned status_bytes)
{
    struct guest_mem *mem = e->pci.bus->host->mem;
    unsigned after = status_at + status_bytes;

    (void)!guest_mem_write(mem, GPA(gpa), d, status_at);
    (void)!guest_mem_write(mem, GPA(gpa + after), d + after, bytes - after);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    (void)!guest_mem_write(mem, GPA(gpa + status_at), d + status_at, status_bytes);
}

static void write_back(struct e1000 *e, const struct rx *x, uint64_t gpa, uint8_t *d,
                       const size_t part[], bool last)
{
    uint32_t status = last ? x->status | ST_DD | ST_EOP : ST_DD;
    uint16_t tag = last ? x->tag : 0;

    if (x->format == LEGACY) {
        le16_put(d + 8, (uint16_t)part[0]);
        le16_put(d + 10, x->sum);
        d[12] = (uint8_t)(status & ~(uint32_t)ST_UDPCS);
        d[13] = (uint8_t)(status >> 24);
        le16_put(d + 14, tag);
        desc_write(e, gpa, d, 16, 12, 1);
        return;
    }
    le32_put(d, x->mrq);
    le32_put(d + 4, x->hash);
    le32_put(d + 8, status);
    le16_put(d + 12, (uint16_t)part[0]);
    le16_put(d + 14, tag);
    if (x->format == EXTENDED) {
        desc_write(e, gpa, d, 16, 8, 4);
        return;
    }
    le16_put(d + 16, x->header ? (uint16_t)(0x8000 | x->header) : 0);
    for (unsigned i = 1; i < BUFFERS_MAX; i++)
        le16_put(d + 16 + 2 * i, (uint16_t)part[i]);
    le64_put(d + 24, 0);
    desc_write(e, gpa, d, 32, 8, 4);
}

static bool descriptors_write(struct e1000 *e, struct rx *x, struct e1000_ring *r)
{
    size_t at = 0, part[BUFFERS_MAX];
    uint8_t d[32];

    do {
        uint64_t gpa = r->base + (uint64_t)r->head * r->bytes;
        if (guest_mem_read(e->pci.bus->host->mem, GPA(gpa), d, r->bytes)) {
            log_guest("%s: the receive ring is outside of memory: stopped", e->model->name);
            *e1000_reg(e, RCTL) &= ~(uint32_t)RCTL_EN;
            return false;
        }
        fill(e, x, d, &at, part);
        write_back(e, x, gpa, d, part, at == x->len);
        r->head = (r->head + 1) % r->count;
    } while (at < x->len);
    *e1000_reg(e, r->reg + RING_HEAD) = r->head;
    return true;
}

static void raise_causes(struct e1000 *e, const struct rx *x, const struct e1000_ring *r)
{
    unsigned left = (r->tail + r->count - r->head) % r->count;
    unsigned few = r->count >> (1 + (*e1000_reg(e, RCTL) >> RCTL_RDMTS_SHIFT & 3));

    e1000_cause_locked(e, INT_RXT0 | (left <= few ? INT_RXDMT0 : 0) |
                              (e->model->pcie ? (uint32_t)INT_RXQ0 << x->queue : 0));
}

enum rx_result { RX_TAKEN, RX_WAIT };

static enum rx_result deliver(struct e1000 *e, struct rx *x)
{
    struct e1000_ring r;

    describe(e, x);
    if (!e1000_ring_locked(e, RX_RING + 0x100 * x->queue, x->format == SPLIT ? 32 : 16, &r)) {
        e1000_count_locked(e, MPC, 1);
        return RX_TAKEN;
    }
    size_t need = descriptors_needed(x);
    if (need > r.count - 1) {
        e1000_count_locked(e, MPC, 1); /* no ring of this size ever holds it */
        return RX_TAKEN;
    }
    if ((r.tail + r.count - r.head) % r.count < need) {
        e1000_count_locked(e, RNBC, 1);
        e->rx_starved = true;
        return RX_WAIT;
    }
    size_t frame = x->len - (*e1000_reg(e, RCTL) & RCTL_SECRC ? 0 : FCS);
    if (descriptors_write(e, x, &r)) {
        e1000_count_frame_locked(e, x->data, frame, true);
        raise_causes(e, x, &r);
    }
    return RX_TAKEN;
}

/* Copies the frame to the stage: padded to Ethernet's least, without its tag, with its FCS. */
static void stage(struct e1000 *e, struct rx *x, const uint8_t *frame, size_t len)
{
    uint8_t *s = e->stage;
    bool tagged = len >= ETH_HEADER + VLAN_TAG && (*e1000_reg(e, CTRL) & CTRL_VME) &&
                  (unsigned)(frame[12] << 8 | frame[13]) == *e1000_reg(e, VET);
    size_t skip = tagged ? VLAN_TAG : 0;

    memcpy(s, frame, 12);
    memcpy(s + 12, frame + 12 + skip, len - 12 - skip);
    len -= skip;
    if (len < FRAME_MIN) {
        memset(s + len, 0, FRAME_MIN - len);
        len = FRAME_MIN;
    }
    if (tagged) {
        x->status |= ST_VP;
        x->tag = (uint16_t)(frame[14] << 8 | frame[15]);
    }
    if (!(*e1000_reg(e, RCTL) & RCTL_SECRC)) {
        le32_put(s + len, frame_crc(s, len));
        len += FCS;
    }
    x->data = s;
    x->len = len;
}

static enum rx_result receive_locked(struct e1000 *e, const uint8_t *frame, size_t len)
{
    struct rx x = {.data = NULL};
    uint32_t rctl = *e1000_reg(e, RCTL);

    /* No driver, no carrier: lost, as on a wire into a machine that is switched off. */
    if (!(rctl & RCTL_EN) || !e1000_may_dma(e) || len < ETH_HEADER)
        return RX_TAKEN;
    if (len + FCS > (rctl & RCTL_LPE ? E1000_RX_MAX : FRAME_USUAL)) {
        e1000_count_locked(e, ROC, 1);
        return RX_TAKEN;
    }
    if (!vlan_passes(e, frame, len) || !address_passes(e, frame))
        return RX_TAKEN;
    stage(e, &x, frame, len);
    return deliver(e, &x);
}

/* ---- the backend's side ---- */

static bool nic_can_receive(void *nic)
{
    struct e1000 *e = nic;

    if (e->pci.bus->host->devices->vm_running)
        return true;
    pthread_mutex_lock(&e->lock);
    e->rx_starved = true;
    timer_set(e->rx_timer, vm_clock_ns(e->clock)); /* fires when the clock runs again */
    pthread_mutex_unlock(&e->lock);
    return false;
}

static size_t nic_receive(void *nic, const uint8_t *frame, size_t len)
{
    struct e1000 *e = nic;

    pthread_mutex_lock(&e->lock);
    enum rx_result r = receive_locked(e, frame, len);
    pthread_mutex_unlock(&e->lock);
    return r == RX_WAIT ? 0 : len;
}

void e1000_rx_loopback(struct e1000 *e, const uint8_t *frame, size_t len)
{
    nic_receive(e, frame, len);
}

void e1000_rx_ready(void *opaque)
{
    struct e1000 *e = opaque;

    pthread_mutex_lock(&e->lock);
    bool starved = e->rx_starved;
    e->rx_starved = false;
    pthread_mutex_unlock(&e->lock);
    if (starved && e->backend)
        net_peer_ready(e->backend);
}

static void nic_ready(void *nic)
{
    struct e1000 *e = nic;
    timer_set(e->tx_timer, vm_clock_ns(e->clock));
}

static void nic_link(void *nic, bool up)
{
    struct e1000 *e = nic;

    pthread_mutex_lock(&e->lock);
    e->link_up = up;
    if (!up)
        e->bmsr_link_low = true;
    e->phy[19] |= 0x0400; /* PHY interrupt status: link changed */
    e1000_cause_locked(e, INT_LSC);
    pthread_mutex_unlock(&e->lock);
}

const struct net_peer_ops e1000_peer_ops = {
    .can_receive = nic_can_receive,
    .receive = nic_receive,
    .ready = nic_ready,
    .link = nic_link,
};
