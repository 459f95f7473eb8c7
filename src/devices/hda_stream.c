/* hda_stream.c - buffers walked at the rate of their format, as if samples went somewhere (§3.3.35,
 * §3.6.2).
 *
 * Where a stream is follows from the clock when somebody asks.  A timer wakes up at the end of a
 * list entry, or for the position buffer in memory, and not more often than each millisecond. */
#include "hda_int.h"

#include "base/evloop.h"
#include "base/state.h"

enum {
    REG_CTL = 0x00, /* status in the highest byte */
    REG_LPIB = 0x04,
    REG_CBL = 0x08,
    REG_LVI = 0x0c,
    REG_FORMAT = 0x10, /* FIFO size below it */
    REG_BDPL = 0x18,
    REG_BDPU = 0x1c,
    ENTRY_BYTES = 16,
    FIFO_BYTES = 0x100,
    STS_MASK = 0x1c,
    STS_FIFO_READY = 0x20,
    CTL_MASK = 0xf0001f,
    LOOP_MAX = 512,
    SILENCE_BYTES = 256,
};
#define TICK_MIN_NS UINT64_C(1000000)
#define TICK_MAX_NS UINT64_C(10000000)

static bool running(const struct hda_stream *s)
{
    return s->ctl & SD_RUN;
}

/* §3.7.1: base and factors of the rate, bits, channels. */
static uint64_t bytes_per_second(const struct hda_stream *s)
{
    static const uint8_t container[8] = {1, 2, 4, 4, 4, 4, 4, 4};
    uint64_t rate = s->fmt & BIT(14) ? 44100 : 48000;

    rate = rate * ((s->fmt >> 11 & 7) + 1u) / ((s->fmt >> 8 & 7) + 1u);
    return rate * ((s->fmt & 15) + 1u) * container[s->fmt >> 4 & 7];
}

static uint64_t bytes_since_base(const struct hda_stream *s)
{
    uint64_t ns = vm_clock_ns(s->hda->clock) - s->base_ns;

    return (uint64_t)((unsigned __int128)ns * bytes_per_second(s) / UINT64_C(1000000000));
}

static uint32_t position_now(const struct hda_stream *s)
{
    if (!running(s) || s->cbl == 0)
        return s->position;
    return (uint32_t)((s->position + bytes_since_base(s)) % s->cbl);
}

/* ---- walking the list ---- */

struct entry {
    uint64_t gpa;
    uint32_t len;
    bool interrupt;
};

static bool entry_read(const struct hda_stream *s, struct entry *e)
{
    uint8_t b[ENTRY_BYTES];
    uint64_t list = (uint64_t)s->bdpu << 32 | s->bdpl;

    if (guest_mem_read(s->hda->mem, GPA(list + (uint64_t)s->entry * ENTRY_BYTES), b, sizeof(b)))
        return false;
    *e = (struct entry){le64_get(b), le32_get(b + 8), b[12] & 1};
    return true;
}

static void silence(struct hda_stream *s, uint64_t gpa, uint32_t len)
{
    static const uint8_t none[SILENCE_BYTES];

    while (len) {
        uint32_t n = MIN_OF(len, (uint32_t)SILENCE_BYTES);
        if (guest_mem_write(s->hda->mem, GPA(gpa), none, n) != 0)
            return; /* not RAM: the sound is lost, as on hardware */
        gpa += n;
        len -= n;
    }
}

/* Moves on by so many bytes of the list. */
static void walk(struct hda_stream *s, uint64_t bytes)
{
    bool in = s->index < HDA_STREAMS_IN;
    struct entry e;

    for (unsigned n = 0; bytes && n < LOOP_MAX && entry_read(s, &e); n++) {
        uint32_t left = e.len > s->entry_pos ? e.len - s->entry_pos : 0;
        uint32_t step = (uint32_t)MIN_OF((uint64_t)left, bytes);
        if (in)
            silence(s, e.gpa + s->entry_pos, step);
        s->entry_pos += step;
        bytes -= step;
        if (s->entry_pos < e.len)
            return;
        s->entry_pos = 0;
        s->entry = s->entry >= s->lvi ? 0 : (uint8_t)(s->entry + 1);
        if (e.interrupt)
            s->sts |= SD_BCIS;
    }
}

/* Brings what is stored up to now. */
static void catch_up(struct hda_stream *s)
{
    uint64_t rate = bytes_per_second(s), bytes = bytes_since_base(s);

    if (s->cbl == 0 || bytes == 0)
        return;
    s->base_ns += (uint64_t)((unsigned __int128)bytes * UINT64_C(1000000000) / rate);
    s->position = (uint32_t)((s->position + bytes) % s->cbl);
    walk(s, MIN_OF(bytes, (uint64_t)s->cbl)); /* a late timer goes round once at most */
}

static void position_tell(struct hda_stream *s)
{
    struct hda *h = s->hda;
    uint64_t base = (uint64_t)h->dp_base[1] << 32 | (h->dp_base[0] & ~0x7fu);
    uint8_t le[4];

    if (!(h->dp_base[0] & 1))
        return;
    le32_put(le, s->position);
    (void)guest_mem_write(h->mem, GPA(base + 8 * s->index), le, sizeof(le));
}

static void timer_arm(struct hda_stream *s)
{
    uint64_t rate = bytes_per_second(s), wait = TICK_MAX_NS;
    struct entry e;

    if (entry_read(s, &e) && e.len > s->entry_pos)
        wait = (uint64_t)(e.len - s->entry_pos) * UINT64_C(1000000000) / rate + 1;
    wait = MAX_OF(MIN_OF(wait, TICK_MAX_NS), TICK_MIN_NS);
    timer_set(s->timer, vm_clock_ns(s->hda->clock) + wait);
}

void hda_stream_tick(void *opaque)
{
    struct hda_stream *s = opaque;
    pthread_mutex_t *lock = &s->hda->pci.dev.list->lock;

    pthread_mutex_lock(lock);
    if (running(s) && pci_bus_master(&s->hda->pci)) {
        catch_up(s);
        position_tell(s);
        hda_irq_update(s->hda);
    }
    if (running(s))
        timer_arm(s);
    pthread_mutex_unlock(lock);
}

/* ---- registers ---- */

uint32_t hda_stream_read(struct hda_stream *s, unsigned reg)
{
    switch (reg) {
    case REG_CTL:
        return s->ctl | (uint32_t)(s->sts | (running(s) ? STS_FIFO_READY : 0)) << 24;
    case REG_LPIB:
        return position_now(s);
    case REG_CBL:
        return s->cbl;
    case REG_LVI:
        return s->lvi;
    case REG_FORMAT:
        return FIFO_BYTES | (uint32_t)s->fmt << 16;
    case REG_BDPL:
        return s->bdpl;
    case REG_BDPU:
        return s->bdpu;
    }
    return 0;
}

void hda_stream_reset(struct hda_stream *s)
{
    uint32_t srst = s->ctl & SD_SRST;

    timer_cancel(s->timer);
    s->ctl = srst;
    s->sts = s->entry = 0;
    s->cbl = s->bdpl = s->bdpu = s->position = s->entry_pos = 0;
    s->lvi = s->fmt = 0;
}

static void control_write(struct hda_stream *s, uint32_t val)
{
    bool was = running(s);

    if (was)
        catch_up(s);
    s->ctl = val & CTL_MASK;
    if (s->ctl & SD_SRST) {
        hda_stream_reset(s);
    } else if (!was && running(s)) {
        s->base_ns = vm_clock_ns(s->hda->clock);
        timer_arm(s);
    } else if (was && !running(s)) {
        timer_cancel(s->timer);
    }
}

void hda_stream_write(struct hda_stream *s, unsigned reg, uint32_t val, uint32_t mask)
{
    uint32_t merged = (hda_stream_read(s, reg) & ~mask) | (val & mask);

    switch (reg) {
    case REG_CTL:
        s->sts &= (uint8_t) ~((val & mask) >> 24 & STS_MASK);
        if (mask & 0xffffff)
            control_write(s, merged);
        break;
    case REG_CBL:
        s->cbl = merged;
        break;
    case REG_LVI:
        s->lvi = merged & 0xff;
        break;
    case REG_FORMAT:
        if (running(s))
            catch_up(s);
        s->fmt = (uint16_t)(merged >> 16) & 0x7f7f;
        break;
    case REG_BDPL:
        s->bdpl = merged & ~0x7fu;
        break;
    case REG_BDPU:
        s->bdpu = merged;
        break;
    }
    if (s->cbl)
        s->position %= s->cbl;
}

/* ---- state ---- */

void hda_stream_loaded(struct hda_stream *s)
{
    s->lvi &= 0xff;
    s->fmt &= 0x7f7f;
    s->ctl &= CTL_MASK;
    s->sts &= STS_MASK;
    s->base_ns = MIN_OF(s->base_ns, vm_clock_ns(s->hda->clock));
    if (s->cbl)
        s->position %= s->cbl;
    if (running(s))
        timer_arm(s);
    else
        timer_cancel(s->timer);
}

static const struct state_field fields[] = {
    STATE_U32(struct hda_stream, ctl),       STATE_U8(struct hda_stream, sts),
    STATE_U32(struct hda_stream, cbl),       STATE_U16(struct hda_stream, lvi),
    STATE_U16(struct hda_stream, fmt),       STATE_U32(struct hda_stream, bdpl),
    STATE_U32(struct hda_stream, bdpu),      STATE_U32(struct hda_stream, position),
    STATE_U64(struct hda_stream, base_ns),   STATE_U8(struct hda_stream, entry),
    STATE_U32(struct hda_stream, entry_pos), STATE_END,
};
const struct state_desc hda_stream_state = {.name = "hda-stream", .version = 1, .fields = fields};
