/* e1000_tx.c - from transmit descriptors to frames: gathering, checksums, tags, segmentation.
 *
 * A run takes a bounded number of descriptors and comes back for the rest.  The descriptor that
 * ends a packet stays at the head until the backend has taken all of it. */
#include "e1000_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/state.h"
#include "frame.h"
#include "mem/guest_mem.h"

enum { DESC_BYTES = 16, RUN_MAX = 256, FRAME_MIN = 60 };
enum { TCTL_EN = BIT(1), TCTL_PSP = BIT(3) };
enum { RCTL_LBM = 3 << 6 };
/* Commands of a descriptor (SDM §3.3.3 to §3.3.7). */
enum {
    CMD_EOP = BIT(0),
    CMD_IC = BIT(2),  /* legacy */
    CMD_TSE = BIT(2), /* extended */
    CMD_RS = BIT(3),
    CMD_DEXT = BIT(5),
    CMD_VLE = BIT(6),
    TUCMD_TCP = BIT(0),
    TUCMD_IP4 = BIT(1),
    TUCMD_TSE = BIT(2),
    OPT_IXSM = BIT(0),
    OPT_TXSM = BIT(1),
    STA_DD = BIT(0),
};
enum { DTYP_CONTEXT = 0, DTYP_DATA = 1 };

void e1000_tx_forget_locked(struct e1000 *e)
{
    for (unsigned i = 0; i < E1000_QUEUES; i++) {
        uint8_t *data = e->tx[i].data;
        e->tx[i] = (struct e1000_tx){.data = data};
    }
}

/* ---- one frame ---- */

/* False: the backend takes nothing now.  The lock is open meanwhile. */
static bool emit(struct e1000 *e, uint8_t *frame, size_t len)
{
    bool back = (*e1000_reg(e, RCTL) & RCTL_LBM) || e1000_phy_loopback_locked(e);
    size_t taken = len;
    uint32_t epoch = e->epoch;

    if (len < ETH_HEADER)
        return true;
    if (len < FRAME_MIN && (*e1000_reg(e, TCTL) & TCTL_PSP)) {
        memset(frame + len, 0, FRAME_MIN - len);
        len = FRAME_MIN;
    }
    pthread_mutex_unlock(&e->lock);
    struct iovec one = {frame, len};
    if (back)
        e1000_rx_loopback(e, frame, len);
    else if (e->backend)
        taken = net_send(e->backend, &one, 1);
    pthread_mutex_lock(&e->lock);
    if (taken && epoch == e->epoch)
        e1000_count_frame_locked(e, frame, len, false);
    return taken != 0;
}

static size_t tag_put(const struct e1000 *e, uint8_t *frame, size_t len, uint16_t tag)
{
    uint32_t type = e->reg[VET / 4];

    if (len < ETH_HEADER)
        return len;
    memmove(frame + 12 + VLAN_TAG, frame + 12, len - 12);
    frame[12] = (uint8_t)(type >> 8);
    frame[13] = (uint8_t)type;
    frame[14] = (uint8_t)(tag >> 8);
    frame[15] = (uint8_t)tag;
    return len + VLAN_TAG;
}

static void sums_put(const struct e1000_context *c, unsigned options, uint8_t *frame, size_t len)
{
    if (options & OPT_TXSM)
        frame_finish_sum(frame, len, c->tucss, c->tucse ? c->tucse + 1u : len, c->tucso,
                         !(c->command & TUCMD_TCP));
    if (options & OPT_IXSM)
        frame_finish_sum(frame, len, c->ipcss, c->ipcse ? c->ipcse + 1u : len, c->ipcso, false);
}

/* ---- segmentation (SDM §3.5) ---- */

static void be16_put(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static uint32_t be32_get(const uint8_t *p)
{
    return __builtin_bswap32(le32_get(p));
}

static bool segment_possible(const struct e1000_context *c, size_t len)
{
    size_t ip = c->ipcss + (c->command & TUCMD_IP4 ? 20u : 40u);
    size_t l4 = c->tucss + (c->command & TUCMD_TCP ? 20u : 8u);

    return c->mss && c->header >= ETH_HEADER && c->header < len && ip <= c->header &&
           l4 <= c->header && c->tucso + 2u <= c->header && c->ipcso + 2u <= c->header &&
           c->tucss >= c->ipcss;
}

/* The headers of the segment that starts `off` bytes into the payload. */
static void segment_headers(const struct e1000_context *c, unsigned options, uint8_t *f, size_t len,
                            size_t off, bool last)
{
    uint8_t *ip = f + c->ipcss, *l4 = f + c->tucss;

    if (c->command & TUCMD_IP4) {
        be16_put(ip + 2, len - c->ipcss);
        be16_put(ip + 4, (size_t)(ip[4] << 8 | ip[5]) + off / c->mss);
    } else {
        be16_put(ip + 4, len - c->ipcss - 40);
    }
    if (c->command & TUCMD_TCP) {
        le32_put(l4 + 4, __builtin_bswap32(be32_get(l4 + 4) + (uint32_t)off));
        if (!last)
            l4[13] &= (uint8_t) ~(0x01 | 0x08); /* FIN and PSH go with the last */
    } else {
        be16_put(l4 + 4, len - c->tucss);
    }
    /* The driver has left the pseudo header's sum without a length. */
    if (options & OPT_TXSM) {
        uint8_t *at = f + c->tucso;
        uint64_t sum = (uint64_t)(at[0] << 8 | at[1]) + len - c->tucss;
        be16_put(at, (uint16_t)~frame_sum_fold(sum));
    }
    sums_put(c, options, f, len);
}

/* False: the backend takes nothing now, or the device was reset meanwhile. */
static bool send_segments(struct e1000 *e, struct e1000_tx *t)
{
    const struct e1000_context c = t->tso;
    size_t payload = t->len - c.header, off;
    uint32_t epoch = e->epoch;

    while ((off = t->sent) < payload) {
        size_t n = MIN_OF((size_t)c.mss, payload - off), len = c.header + n;
        memcpy(e->segment, t->data, c.header);
        memcpy(e->segment + c.header, t->data + c.header + off, n);
        segment_headers(&c, t->options, e->segment, len, off, off + n == payload);
        if (t->insert_tag)
            len = tag_put(e, e->segment, len, t->tag);
        bool taken = emit(e, e->segment, len);
        if (epoch != e->epoch || !taken)
            return false;
        t->sent += (uint32_t)n;
    }
    e1000_count_locked(e, TSCTC, 1);
    return true;
}

/* ---- packets ---- */

/* Its last descriptor is here: finishes what needs no segmentation, once. */
static void packet_whole(struct e1000 *e, struct e1000_tx *t)
{
    t->ready = true;
    t->sent = 0;
    if (t->segment && !segment_possible(&t->tso, t->len)) {
        e1000_count_locked(e, TSCTFC, 1);
        t->lost = true;
    }
    if (t->segment || t->lost)
        return;
    sums_put(&t->plain, t->options, t->data, t->len);
    if (t->insert_tag)
        t->len = (uint32_t)tag_put(e, t->data, t->len, t->tag);
}

static bool packet_send(struct e1000 *e, struct e1000_tx *t)
{
    uint32_t epoch = e->epoch;
    bool done = t->lost || (t->segment ? send_segments(e, t) : emit(e, t->data, t->len));

    if (!done || epoch != e->epoch)
        return false;
    t->started = t->ready = t->lost = t->insert_tag = t->segment = false;
    t->len = t->sent = 0;
    t->options = 0;
    return true;
}

/* ---- descriptors ---- */

static void context_load(struct e1000_tx *t, const uint8_t *d)
{
    struct e1000_context c = {.ipcss = d[0],
                              .ipcso = d[1],
                              .ipcse = le16_get(d + 2),
                              .tucss = d[4],
                              .tucso = d[5],
                              .tucse = le16_get(d + 6),
                              .payload = le32_get(d + 8) & 0xfffff,
                              .command = d[11],
                              .header = d[13],
                              .mss = le16_get(d + 14)};

    if (c.command & TUCMD_TSE)
        t->tso = c;
    else
        t->plain = c;
}

static void gather(struct e1000 *e, struct e1000_tx *t, const uint8_t *d, size_t len)
{
    uint64_t gpa = le64_get(d);

    if (t->lost || len == 0)
        return;
    if (t->len + len > E1000_FRAME_MAX ||
        guest_mem_read(e->pci.bus->host->mem, GPA(gpa), t->data + t->len, len)) {
        log_guest("%s: a transmit descriptor with too many bytes, or none of memory",
                  e->model->name);
        t->lost = true;
        return;
    }
    t->len += (uint32_t)len;
}

static void tag_take(const struct e1000 *e, struct e1000_tx *t, const uint8_t *d)
{
    if (!(d[11] & CMD_VLE) || !(e->reg[CTRL / 4] & CTRL_VME))
        return;
    t->insert_tag = true;
    t->tag = le16_get(d + 14);
}

static void legacy_data(struct e1000 *e, struct e1000_tx *t, const uint8_t *d)
{
    gather(e, t, d, le16_get(d + 8));
    t->started = true;
    t->segment = false;
    if (!(d[11] & CMD_EOP))
        return;
    if (d[11] & CMD_IC)
        frame_finish_sum(t->data, t->len, d[13], t->len, d[10], false);
    tag_take(e, t, d);
}

static void extended_data(struct e1000 *e, struct e1000_tx *t, const uint8_t *d)
{
    if (!t->started) {
        t->options = d[13];
        t->segment = d[11] & CMD_TSE;
        t->started = true;
    }
    tag_take(e, t, d);
    gather(e, t, d, le32_get(d + 8) & 0xfffff);
}

/* Takes the descriptor at the head; false: it stays there. */
static bool take_descriptor(struct e1000 *e, struct e1000_tx *t, const uint8_t *d)
{
    unsigned type = le32_get(d + 8) >> 20 & 15;

    if (t->ready)
        return packet_send(e, t);
    if (!(d[11] & CMD_DEXT)) {
        legacy_data(e, t, d);
    } else if (type == DTYP_DATA) {
        extended_data(e, t, d);
    } else {
        if (type == DTYP_CONTEXT)
            context_load(t, d);
        return true;
    }
    if (!(d[11] & CMD_EOP))
        return true;
    packet_whole(e, t);
    return packet_send(e, t);
}

/* The interrupt causes of what has been done. */
static uint32_t write_back(struct e1000 *e, unsigned queue, uint64_t gpa, uint8_t *d)
{
    if (!(d[11] & CMD_RS))
        return 0;
    d[12] |= STA_DD;
    (void)!guest_mem_write(e->pci.bus->host->mem, GPA(gpa + 12), d + 12, 1);
    return INT_TXDW | (e->model->pcie ? (uint32_t)INT_TXQ0 << queue : 0);
}

static void stop_transmitter(struct e1000 *e)
{
    log_guest("%s: the transmit ring is outside of memory: stopped", e->model->name);
    *e1000_reg(e, TCTL) &= ~(uint32_t)TCTL_EN;
}

/* False: nothing more to do now. */
static bool queue_step(struct e1000 *e, unsigned queue, uint32_t *causes)
{
    struct e1000_ring r;
    uint8_t d[DESC_BYTES];
    uint32_t epoch = e->epoch;

    if (!e1000_may_dma(e) || !(*e1000_reg(e, TCTL) & TCTL_EN) ||
        !e1000_ring_locked(e, TX_RING + 0x100 * queue, DESC_BYTES, &r) || r.head == r.tail)
        return false;
    uint64_t gpa = r.base + (uint64_t)r.head * DESC_BYTES;
    if (guest_mem_read(e->pci.bus->host->mem, GPA(gpa), d, sizeof(d))) {
        stop_transmitter(e);
        return false;
    }
    if (!take_descriptor(e, &e->tx[queue], d) || epoch != e->epoch)
        return false;
    *causes |= write_back(e, queue, gpa, d);
    r.head = (r.head + 1) % r.count;
    *e1000_reg(e, r.reg + RING_HEAD) = r.head;
    if (r.head == *e1000_reg(e, r.reg + RING_TAIL))
        *causes |= INT_TXQE;
    return true;
}

void e1000_tx_run(void *opaque)
{
    struct e1000 *e = opaque;

    pthread_mutex_lock(&e->lock);
    for (unsigned q = 0; q < e->model->queues; q++) {
        uint32_t causes = 0, epoch = e->epoch;
        unsigned n = 0;
        while (n < RUN_MAX && queue_step(e, q, &causes))
            n++;
        if (n == RUN_MAX)
            timer_set(e->tx_timer, vm_clock_ns(e->clock));
        if (causes && epoch == e->epoch)
            e1000_cause_locked(e, causes);
    }
    pthread_mutex_unlock(&e->lock);
}

/* ---- state ---- */

static const struct state_field context_fields[] = {
    STATE_U8(struct e1000_context, ipcss),
    STATE_U8(struct e1000_context, ipcso),
    STATE_U8(struct e1000_context, tucss),
    STATE_U8(struct e1000_context, tucso),
    STATE_U8(struct e1000_context, header),
    STATE_U8(struct e1000_context, command),
    STATE_U16(struct e1000_context, ipcse),
    STATE_U16(struct e1000_context, tucse),
    STATE_U16(struct e1000_context, mss),
    STATE_U32(struct e1000_context, payload),
    STATE_END,
};
static const struct state_desc context_state = {
    .name = "context", .version = 1, .fields = context_fields};

static void data_save(struct state_writer *w, const void *obj)
{
    const struct e1000_tx *t = obj;

    state_put_u32(w, t->len);
    state_put_bytes(w, t->data, t->len);
}

static bool data_load(struct state_reader *r, void *obj, GError **err)
{
    struct e1000_tx *t = obj;
    uint32_t len = state_get_u32(r);

    t->len = 0;
    if (len > E1000_FRAME_MAX + VLAN_TAG || !state_get_bytes(r, t->data, len))
        return error_set(err, HANOK_ERROR_CORRUPT, "a packet of %u bytes in the transmitter", len);
    t->len = len;
    return true;
}

static bool tx_post_load(void *obj, uint32_t version, GError **err)
{
    struct e1000_tx *t = obj;

    if (t->ready && t->segment && !t->lost &&
        (!segment_possible(&t->tso, t->len) || t->sent > t->len - t->tso.header))
        return error_set(err, HANOK_ERROR_CORRUPT, "segments that cannot be made");
    return true;
}

static const struct state_field tx_fields[] = {
    STATE_STRUCT(struct e1000_tx, plain, context_state),
    STATE_STRUCT(struct e1000_tx, tso, context_state),
    STATE_CUSTOM("data", data_save, data_load),
    STATE_U32(struct e1000_tx, sent),
    STATE_BOOL(struct e1000_tx, started),
    STATE_BOOL(struct e1000_tx, ready),
    STATE_BOOL(struct e1000_tx, lost),
    STATE_BOOL(struct e1000_tx, segment),
    STATE_BOOL(struct e1000_tx, insert_tag),
    STATE_U8(struct e1000_tx, options),
    STATE_U16(struct e1000_tx, tag),
    STATE_END,
};
const struct state_desc e1000_tx_state = {
    .name = "e1000-tx", .version = 1, .fields = tx_fields, .post_load = tx_post_load};
