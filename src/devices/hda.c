/* hda.c - the controller's registers, command and response rings, interrupt (§3.3, §4.4). */
#include "hda_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

#include <glib.h>

enum {
    BYTES = 0x4000,
    REG_GCAP = 0x00,
    REG_PAYLOAD = 0x04,
    REG_GCTL = 0x08,
    REG_WAKE = 0x0c, /* WAKEEN, STATESTS */
    REG_INTCTL = 0x20,
    REG_INTSTS = 0x24,
    REG_WALL_CLOCK = 0x30,
    REG_CORB_BASE = 0x40,
    REG_CORB_PTR = 0x48, /* write, read pointer */
    REG_CORB_CTL = 0x4c, /* control, status, size */
    REG_RIRB_BASE = 0x50,
    REG_RIRB_PTR = 0x58, /* write pointer, interrupt count */
    REG_RIRB_CTL = 0x5c,
    REG_IMMEDIATE = 0x60,
    REG_RESPONSE = 0x64,
    REG_IMMEDIATE_STS = 0x68,
    REG_DP_BASE = 0x70,
    REG_STREAMS = 0x80,
    STREAM_BYTES = 0x20,
    RING_ENTRIES = 256,
    GCTL_CRST = 1,
    GCTL_UNSOL = 0x100,
    RING_RUN = 2,
    RIRB_INT = 1,
    RIRB_STS_INT = 1,
    POINTER_RESET = 0x8000,
    SIZE_256 = 0x42,
    IMMEDIATE_BUSY = 1,
    IMMEDIATE_VALID = 2,
};
#define INT_GLOBAL     BIT(31)
#define INT_CONTROLLER BIT(30)
#define WALL_CLOCK_HZ  24000000u

static struct hda *hda_of(struct device *d)
{
    return container_of(d, struct hda, pci.dev);
}

/* ---- interrupt ---- */

static uint32_t intsts(const struct hda *h)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < HDA_STREAMS; i++)
        if ((h->stream[i].sts & SD_BCIS) && (h->stream[i].ctl & SD_IOCE))
            v |= BIT(i);
    if (((h->rirb_sts & RIRB_STS_INT) && (h->rirb_ctl & RIRB_INT)) || (h->statests & h->wakeen))
        v |= INT_CONTROLLER;
    return v & h->intctl ? v | INT_GLOBAL : v;
}

void hda_irq_update(struct hda *h)
{
    pci_intx_set(&h->pci, (h->intctl & INT_GLOBAL) && (intsts(h) & INT_GLOBAL));
}

/* ---- verbs ---- */

/* False: nobody has that address, and no response comes. */
static bool verb(struct hda *h, uint32_t v, uint32_t *response)
{
    struct hda_codec *c = v >> 28 < HDA_CODECS ? &h->codec[v >> 28] : NULL;

    if (!c || !c->present)
        return false;
    *response = hda_codec_verb(c, v >> 20 & 0x7f, v & 0xfffff);
    return true;
}

static void respond(struct hda *h, uint32_t response, unsigned cad)
{
    uint64_t base = (uint64_t)h->rirb_base[1] << 32 | h->rirb_base[0];
    uint8_t e[8];

    if (!(h->rirb_ctl & RING_RUN))
        return;
    h->rirb_wp = (h->rirb_wp + 1) % RING_ENTRIES;
    le32_put(e, response);
    le32_put(e + 4, cad);
    (void)guest_mem_write(h->mem, GPA(base + 8ull * h->rirb_wp), e, sizeof(e));
    if (++h->rirb_pending >= (h->rint_count & 0xff ? h->rint_count & 0xff : RING_ENTRIES)) {
        h->rirb_pending = 0;
        h->rirb_sts |= RIRB_STS_INT;
    }
}

static void corb_run(struct hda *h)
{
    uint64_t base = (uint64_t)h->corb_base[1] << 32 | h->corb_base[0];

    if (!(h->corb_ctl & RING_RUN) || !pci_bus_master(&h->pci) || !(h->gctl & GCTL_CRST) ||
        (h->corb_rp & POINTER_RESET))
        return;
    for (unsigned n = 0; n < RING_ENTRIES && h->corb_rp != h->corb_wp; n++) {
        uint32_t response = 0;
        uint8_t e[4];
        h->corb_rp = (h->corb_rp + 1) % RING_ENTRIES;
        if (guest_mem_read(h->mem, GPA(base + 4ull * h->corb_rp), e, sizeof(e)) != 0)
            break;
        if (verb(h, le32_get(e), &response))
            respond(h, response, e[3] >> 4);
    }
    if (h->rirb_pending) { /* nothing more comes: whoever waits hears of the last ones */
        h->rirb_pending = 0;
        h->rirb_sts |= RIRB_STS_INT;
    }
    hda_irq_update(h);
}

static void immediate(struct hda *h, uint16_t sts)
{
    h->immediate_sts &= (uint16_t) ~(sts & IMMEDIATE_VALID);
    if ((sts & IMMEDIATE_BUSY) && verb(h, h->immediate, &h->response))
        h->immediate_sts |= IMMEDIATE_VALID;
}

/* ---- registers, as dwords with a mask ---- */

static uint32_t wall_clock(const struct hda *h)
{
    uint64_t ns = vm_clock_ns(h->clock) - h->clock_base_ns;

    return (uint32_t)((unsigned __int128)ns * WALL_CLOCK_HZ / UINT64_C(1000000000));
}

static uint32_t reg_read(struct hda *h, unsigned reg)
{
    switch (reg) {
    case REG_GCAP:
        return 0x01004401; /* version 1.0; 4 streams in, 4 out, 64-bit addresses */
    case REG_PAYLOAD:
        return 0x001d003c;
    case REG_GCTL:
        return h->gctl;
    case REG_WAKE:
        return h->wakeen | (uint32_t)h->statests << 16;
    case REG_PAYLOAD + 0x14: /* stream payload capabilities: the same */
        return 0x001d003c;
    case REG_INTCTL:
        return h->intctl;
    case REG_INTSTS:
        return intsts(h);
    case REG_WALL_CLOCK:
        return wall_clock(h);
    case REG_CORB_BASE:
    case REG_CORB_BASE + 4:
        return h->corb_base[(reg - REG_CORB_BASE) / 4];
    case REG_CORB_PTR:
        return h->corb_wp | (uint32_t)h->corb_rp << 16;
    case REG_CORB_CTL:
        return h->corb_ctl | SIZE_256 << 16;
    case REG_RIRB_BASE:
    case REG_RIRB_BASE + 4:
        return h->rirb_base[(reg - REG_RIRB_BASE) / 4];
    case REG_RIRB_PTR:
        return h->rirb_wp | (uint32_t)h->rint_count << 16;
    case REG_RIRB_CTL:
        return h->rirb_ctl | (uint32_t)h->rirb_sts << 8 | SIZE_256 << 16;
    case REG_IMMEDIATE:
        return h->immediate;
    case REG_RESPONSE:
        return h->response;
    case REG_IMMEDIATE_STS:
        return h->immediate_sts;
    case REG_DP_BASE:
    case REG_DP_BASE + 4:
        return h->dp_base[(reg - REG_DP_BASE) / 4];
    }
    return 0;
}

static void link_reset(struct hda *h)
{
    h->intctl = h->immediate = h->response = 0;
    h->wakeen = h->statests = h->corb_wp = h->corb_rp = h->rirb_wp = h->rint_count = 0;
    h->immediate_sts = 0;
    h->corb_ctl = h->rirb_ctl = h->rirb_sts = h->rirb_pending = 0;
    for (unsigned i = 0; i < 2; i++)
        h->corb_base[i] = h->rirb_base[i] = h->dp_base[i] = 0;
    for (unsigned i = 0; i < HDA_STREAMS; i++) {
        h->stream[i].ctl = 0;
        hda_stream_reset(&h->stream[i]);
    }
    h->clock_base_ns = vm_clock_ns(h->clock);
}

/* Leaving reset, codecs announce themselves (§4.3). */
static void gctl_write(struct hda *h, uint32_t val)
{
    bool was = h->gctl & GCTL_CRST, on = val & GCTL_CRST;

    h->gctl = val & (GCTL_CRST | GCTL_UNSOL);
    if (was && !on)
        link_reset(h);
    for (unsigned i = 0; !was && on && i < HDA_CODECS; i++) {
        if (!h->codec[i].present)
            continue;
        hda_codec_reset(&h->codec[i]);
        h->statests |= (uint16_t)BIT(i);
    }
}

static void pointer_write(struct hda *h, unsigned reg, uint32_t merged, uint32_t mask)
{
    if (reg == REG_CORB_PTR) {
        if (mask & 0xffff)
            h->corb_wp = merged & (RING_ENTRIES - 1);
        if ((mask & 0xff000000u) && (merged >> 16 & POINTER_RESET))
            h->corb_rp = POINTER_RESET; /* reads back until software clears it */
        else if (mask & 0xff000000u)
            h->corb_rp &= RING_ENTRIES - 1;
    } else {
        if ((mask & 0xff00) && (merged & POINTER_RESET))
            h->rirb_wp = 0;
        h->rint_count = merged >> 16 & 0xff;
    }
}

static void reg_write(struct hda *h, unsigned reg, uint32_t val, uint32_t mask)
{
    uint32_t merged = (reg_read(h, reg) & ~mask) | (val & mask);

    if (!(h->gctl & GCTL_CRST) && reg != REG_GCTL && reg != REG_WAKE)
        return;
    switch (reg) {
    case REG_GCTL:
        gctl_write(h, merged);
        break;
    case REG_WAKE:
        h->wakeen = merged & 0x7fff;
        h->statests &= (uint16_t) ~((val & mask) >> 16);
        break;
    case REG_INTCTL:
        h->intctl = merged & (INT_GLOBAL | INT_CONTROLLER | (BIT(HDA_STREAMS) - 1));
        break;
    case REG_CORB_BASE:
    case REG_CORB_BASE + 4:
        h->corb_base[(reg - REG_CORB_BASE) / 4] = reg & 4 ? merged : merged & ~0x7fu;
        break;
    case REG_RIRB_BASE:
    case REG_RIRB_BASE + 4:
        h->rirb_base[(reg - REG_RIRB_BASE) / 4] = reg & 4 ? merged : merged & ~0x7fu;
        break;
    case REG_CORB_PTR:
    case REG_RIRB_PTR:
        pointer_write(h, reg, merged, mask);
        break;
    case REG_CORB_CTL:
        h->corb_ctl = merged & 3;
        break;
    case REG_RIRB_CTL:
        h->rirb_ctl = merged & 7;
        h->rirb_sts &= (uint8_t) ~((val & mask) >> 8 & 5);
        break;
    case REG_IMMEDIATE:
        h->immediate = merged;
        break;
    case REG_IMMEDIATE_STS:
        immediate(h, (uint16_t)(val & mask));
        break;
    case REG_DP_BASE:
    case REG_DP_BASE + 4:
        h->dp_base[(reg - REG_DP_BASE) / 4] = reg & 4 ? merged : merged & ~0x7eu;
        break;
    }
    corb_run(h);
}

static bool stream_reg(unsigned reg)
{
    return reg >= REG_STREAMS && reg < REG_STREAMS + HDA_STREAMS * STREAM_BYTES;
}

static uint64_t mmio_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct hda *h = container_of(r, struct hda, region);
    unsigned reg = (unsigned)off & ~3u, at = reg - REG_STREAMS;
    uint32_t v = stream_reg(reg) ? hda_stream_read(&h->stream[at / STREAM_BYTES], at % STREAM_BYTES)
                                 : reg_read(h, reg);

    return v >> (8 * (off & 3));
}

static void mmio_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct hda *h = container_of(r, struct hda, region);
    unsigned reg = (unsigned)off & ~3u, at = reg - REG_STREAMS, shift = 8 * ((unsigned)off & 3);
    uint32_t mask = (size == 4 ? UINT32_MAX : BIT(8 * size) - 1) << shift;

    if (!stream_reg(reg))
        reg_write(h, reg, (uint32_t)val << shift, mask);
    else if (h->gctl & GCTL_CRST)
        hda_stream_write(&h->stream[at / STREAM_BYTES], at % STREAM_BYTES, (uint32_t)val << shift,
                         mask);
    hda_irq_update(h);
}

static const struct io_ops mmio_ops = {mmio_read, mmio_write, 1, 4};

/* ---- life ---- */

static void hda_reset(struct device *d)
{
    struct hda *h = hda_of(d);

    pci_dev_reset(&h->pci);
    h->gctl = 0;
    link_reset(h);
    for (unsigned i = 0; i < HDA_CODECS; i++)
        hda_codec_reset(&h->codec[i]);
    hda_irq_update(h);
}

static void timers_free(struct hda *h)
{
    for (unsigned i = 0; i < HDA_STREAMS; i++)
        timer_free(h->stream[i].timer);
}

static void hda_destroy(struct device *d)
{
    struct hda *h = hda_of(d);

    for (unsigned i = 0; i < HDA_CODECS; i++)
        if (h->codec[i].present)
            h->codec[i].dev.ops->destroy(&h->codec[i].dev);
    pci_dev_unplug(&h->pci);
    timers_free(h);
    g_free(h);
}

static bool hda_post_load(void *obj, uint32_t version, GError **err)
{
    struct hda *h = obj;

    h->corb_wp &= RING_ENTRIES - 1;
    h->rirb_wp &= RING_ENTRIES - 1;
    h->corb_rp &= POINTER_RESET | (RING_ENTRIES - 1);
    h->clock_base_ns = MIN_OF(h->clock_base_ns, vm_clock_ns(h->clock));
    for (unsigned i = 0; i < HDA_STREAMS; i++)
        hda_stream_loaded(&h->stream[i]);
    hda_irq_update(h);
    return true;
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct hda, pci, pci_dev_state),
    STATE_U32(struct hda, gctl),
    STATE_U32(struct hda, intctl),
    STATE_UINT_ARRAY(struct hda, corb_base),
    STATE_UINT_ARRAY(struct hda, rirb_base),
    STATE_UINT_ARRAY(struct hda, dp_base),
    STATE_U32(struct hda, immediate),
    STATE_U32(struct hda, response),
    STATE_U16(struct hda, wakeen),
    STATE_U16(struct hda, statests),
    STATE_U16(struct hda, corb_wp),
    STATE_U16(struct hda, corb_rp),
    STATE_U16(struct hda, rirb_wp),
    STATE_U16(struct hda, rint_count),
    STATE_U16(struct hda, immediate_sts),
    STATE_U8(struct hda, corb_ctl),
    STATE_U8(struct hda, rirb_ctl),
    STATE_U8(struct hda, rirb_sts),
    STATE_U8(struct hda, rirb_pending),
    STATE_U64(struct hda, clock_base_ns),
    STATE_STRUCT_ARRAY(struct hda, stream, hda_stream_state),
    STATE_STRUCT_ARRAY(struct hda, codec, hda_codec_state),
    STATE_END,
};
static const struct state_desc hda_state = {
    .name = "intel-hda", .version = 1, .fields = fields, .post_load = hda_post_load};

#define HDA_OPS(name)                                                                              \
    {                                                                                              \
        .dev = {.type = (name), .reset = hda_reset, .destroy = hda_destroy, .state = &hda_state }  \
    }
static const struct pci_dev_ops ich6_ops = HDA_OPS("intel-hda"),
                                ich9_ops = HDA_OPS("ich9-intel-hda");

struct pci_dev *hda_new(struct pci_bus *b, uint8_t devfn, bool multifunction, const char *id,
                        enum hda_model model, struct vm_clock *clock, GError **err)
{
    struct pci_id ids = {.vendor = 0x8086,
                         .device = model == HDA_ICH6 ? 0x2668 : 0x293e,
                         .subsys_vendor = 0x1af4,
                         .subsys = 0x1100,
                         .revision = model == HDA_ICH6 ? 1 : 3,
                         .subclass = 0x03,
                         .base_class = 0x04};
    struct hda *h = g_new0(struct hda, 1);

    h->clock = clock;
    h->mem = b->host->mem;
    for (unsigned i = 0; i < HDA_STREAMS; i++) {
        h->stream[i].hda = h;
        h->stream[i].index = i;
        h->stream[i].timer = timer_new(evloop_main(), clock, hda_stream_tick, &h->stream[i]);
    }
    pci_dev_init(&h->pci, model == HDA_ICH6 ? &ich6_ops : &ich9_ops, &ids);
    h->pci.multifunction = multifunction;
    h->pci.config[PCI_INT_PIN] = 1;
    h->pci.config[0x40] = 1; /* HDCTL: not AC'97 */
    h->region = (struct io_region){
        .ops = &mmio_ops, .name = "hda", .size_bytes = BYTES, .lock = &b->host->devices->lock};
    pci_bar_set(&h->pci, 0, PCI_BAR_MEM32, false, &h->region);
    if (pci_dev_plug(&h->pci, b, devfn, id, err))
        return &h->pci;
    timers_free(h);
    g_free(h);
    return NULL;
}

bool hda_is(const struct pci_dev *d)
{
    return d->ops == &ich6_ops || d->ops == &ich9_ops;
}

bool hda_codec_add(struct pci_dev *d, enum hda_codec_kind kind, unsigned cad, const char *id,
                   GError **err)
{
    struct hda *h = container_of(d, struct hda, pci);
    struct hda_codec *c;

    if (cad == HDA_CODECS)
        for (cad = 0; cad < HDA_CODECS && h->codec[cad].present; cad++)
            ;
    if (cad >= HDA_CODECS || h->codec[cad].present)
        return error_set(err, HANOK_ERROR_BUSY,
                         "a sound controller has codecs at the addresses 0 to %u, one each",
                         HDA_CODECS - 1);
    c = &h->codec[cad];
    g_autofree char *path = g_strdup_printf("%s/codec%u", d->dev.path, cad);
    c->hda = h;
    c->kind = kind;
    c->present = true;
    hda_codec_reset(c);
    pthread_mutex_lock(&d->dev.list->lock);
    device_add(d->dev.list, &c->dev, &hda_codec_ops[kind], id, path);
    pthread_mutex_unlock(&d->dev.list->lock);
    return true;
}
