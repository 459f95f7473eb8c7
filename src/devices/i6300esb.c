/* i6300esb.c - a watchdog timer in two stages. */
#include "devices/watchdog.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"

#include <glib.h>

enum {
    CFG_CONTROL = 0x60, /* 16 bits: interrupt kind, clock, reboot off */
    CFG_LOCK = 0x68,    /* 8 bits: lock, enable, free running */
    CONTROL_INT = 0x03,
    CONTROL_INT_PIN = 0,
    CONTROL_1MHZ = 0x04,
    CONTROL_NO_REBOOT = 0x20,
    LOCK_LOCKED = 1,
    LOCK_ENABLE = 2,
    LOCK_FREE = 4,
    REG_PRELOAD1 = 0x00,
    REG_PRELOAD2 = 0x04,
    REG_STATUS = 0x08,
    REG_RELOAD = 0x0c,
    RELOAD_PING = 0x100,
    RELOAD_TIMED_OUT = 0x200,
    UNLOCK_FIRST = 0x80,
    UNLOCK_SECOND = 0x86,
    BYTES = 16,
    PRELOAD_MAX = 0xfffff,
};
#define PCI_CYCLE_NS 30u

struct esb {
    struct pci_dev pci; /* first */
    struct io_region region;
    struct vm_clock *clock;
    struct timer *timer;
    const struct board_requests *req;
    /* board lock */
    uint32_t preload[2];
    uint8_t unlock; /* how much of the sequence has been seen: 2: the next write counts */
    uint8_t stage;  /* 1 or 2 */
    uint8_t status; /* bit 0: stage 1 has expired */
    bool timed_out; /* the machine was reset by it: survives that reset */
    bool running;
    uint64_t due_ns;
};

static uint16_t control(const struct esb *e)
{
    return le16_get(e->pci.config + CFG_CONTROL);
}

static uint8_t lock_reg(const struct esb *e)
{
    return e->pci.config[CFG_LOCK];
}

static void irq_update(struct esb *e)
{
    pci_intx_set(&e->pci, (e->status & 1) && (control(e) & CONTROL_INT) == CONTROL_INT_PIN);
}

/* The preload counts cycles of a clock derived from PCI's 33 MHz: by 2^15, or by 2^5. */
static void stage_start(struct esb *e, unsigned stage)
{
    unsigned shift = control(e) & CONTROL_1MHZ ? 5 : 15;

    e->stage = (uint8_t)stage;
    e->running = true;
    e->due_ns =
        vm_clock_ns(e->clock) + (((uint64_t)e->preload[stage - 1] + 1) << shift) * PCI_CYCLE_NS;
    timer_set(e->timer, e->due_ns);
}

static void stop(struct esb *e)
{
    e->running = false;
    timer_cancel(e->timer);
}

static void expired(struct esb *e)
{
    if (e->stage == 1) {
        e->status |= 1;
        irq_update(e);
        stage_start(e, 2);
        return;
    }
    stop(e);
    if (!(control(e) & CONTROL_NO_REBOOT)) {
        e->timed_out = true;
        e->req->watchdog(e->req->opaque);
    }
    if (lock_reg(e) & LOCK_FREE)
        stage_start(e, 1);
}

static void timer_due(void *opaque)
{
    struct esb *e = opaque;

    pthread_mutex_lock(&e->pci.dev.list->lock);
    if (e->running && vm_clock_ns(e->clock) >= e->due_ns)
        expired(e);
    pthread_mutex_unlock(&e->pci.dev.list->lock);
}

/* ---- registers ---- */

static uint64_t mmio_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct esb *e = container_of(r, struct esb, region);

    return off == REG_RELOAD && e->timed_out ? RELOAD_TIMED_OUT : off == REG_STATUS ? e->status : 0;
}

static void unlocked_write(struct esb *e, uint64_t off, uint32_t val)
{
    switch (off) {
    case REG_PRELOAD1:
    case REG_PRELOAD2:
        e->preload[off == REG_PRELOAD2] = val & PRELOAD_MAX;
        break;
    case REG_STATUS:
        e->status &= (uint8_t)~val;
        irq_update(e);
        break;
    case REG_RELOAD:
        if (val & RELOAD_TIMED_OUT)
            e->timed_out = false;
        if ((val & RELOAD_PING) && (lock_reg(e) & LOCK_ENABLE))
            stage_start(e, 1);
        break;
    }
}

static void mmio_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct esb *e = container_of(r, struct esb, region);

    if (off == REG_RELOAD && val == UNLOCK_FIRST) {
        e->unlock = 1;
    } else if (off == REG_RELOAD && val == UNLOCK_SECOND && e->unlock == 1) {
        e->unlock = 2;
    } else {
        if (e->unlock == 2)
            unlocked_write(e, off, (uint32_t)val);
        e->unlock = 0;
    }
}

static const struct io_ops mmio_ops = {mmio_read, mmio_write, 2, 4};

/* Once locked, the lock register stays as it is until a reset. */
static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct esb *e = container_of(d, struct esb, pci);

    irq_update(e);
    if (lock_reg(e) & LOCK_LOCKED)
        d->wmask[CFG_LOCK] = 0;
    if ((lock_reg(e) & LOCK_ENABLE) && !e->running && off <= CFG_LOCK && off + size > CFG_LOCK)
        stage_start(e, 1);
    else if (!(lock_reg(e) & LOCK_ENABLE))
        stop(e);
}

/* ---- life ---- */

static void lock_open(struct esb *e)
{
    e->pci.wmask[CFG_LOCK] = LOCK_LOCKED | LOCK_ENABLE | LOCK_FREE;
}

static void esb_reset(struct device *d)
{
    struct esb *e = container_of(d, struct esb, pci.dev);

    stop(e);
    lock_open(e);
    pci_dev_reset(&e->pci);
    e->preload[0] = e->preload[1] = PRELOAD_MAX;
    e->unlock = e->status = 0;
    e->stage = 1;
    irq_update(e);
}

static void esb_destroy(struct device *d)
{
    struct esb *e = container_of(d, struct esb, pci.dev);

    pci_dev_unplug(&e->pci);
    timer_free(e->timer);
    g_free(e);
}

static bool esb_post_load(void *obj, uint32_t version, GError **err)
{
    struct esb *e = obj;

    e->preload[0] &= PRELOAD_MAX;
    e->preload[1] &= PRELOAD_MAX;
    if (e->stage < 1 || e->stage > 2 || e->unlock > 2)
        return error_set(err, HANOK_ERROR_CORRUPT, "the watchdog is in no stage");
    lock_open(e);
    if (lock_reg(e) & LOCK_LOCKED)
        e->pci.wmask[CFG_LOCK] = 0;
    if (e->running)
        timer_set(e->timer, e->due_ns);
    else
        timer_cancel(e->timer);
    irq_update(e);
    return true;
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct esb, pci, pci_dev_state),
    STATE_UINT_ARRAY(struct esb, preload),
    STATE_U8(struct esb, unlock),
    STATE_U8(struct esb, stage),
    STATE_U8(struct esb, status),
    STATE_BOOL(struct esb, timed_out),
    STATE_BOOL(struct esb, running),
    STATE_U64(struct esb, due_ns),
    STATE_END,
};
static const struct state_desc esb_state = {
    .name = "i6300esb", .version = 1, .fields = fields, .post_load = esb_post_load};
static const struct pci_dev_ops esb_ops = {
    .dev = {.type = "i6300esb", .reset = esb_reset, .destroy = esb_destroy, .state = &esb_state},
    .config_written = config_written,
};

struct pci_dev *i6300esb_new(struct pci_bus *b, uint8_t devfn, bool multifunction, const char *id,
                             struct vm_clock *clock, const struct board_requests *req, GError **err)
{
    static const struct pci_id ids = {
        .vendor = 0x8086, .device = 0x25ab, .subclass = 0x80, .base_class = 0x08};
    struct esb *e = g_new0(struct esb, 1);

    e->clock = clock;
    e->req = req;
    e->stage = 1;
    e->preload[0] = e->preload[1] = PRELOAD_MAX;
    e->timer = timer_new(evloop_main(), clock, timer_due, e);
    pci_dev_init(&e->pci, &esb_ops, &ids);
    e->pci.multifunction = multifunction;
    e->pci.config[PCI_INT_PIN] = 1;
    le16_put(e->pci.wmask + CFG_CONTROL, CONTROL_INT | CONTROL_1MHZ | CONTROL_NO_REBOOT);
    lock_open(e);
    e->region = (struct io_region){
        .ops = &mmio_ops, .name = "i6300esb", .size_bytes = BYTES, .lock = &b->host->devices->lock};
    pci_bar_set(&e->pci, 0, PCI_BAR_MEM32, false, &e->region);
    if (pci_dev_plug(&e->pci, b, devfn, id, err))
        return &e->pci;
    timer_free(e->timer);
    g_free(e);
    return NULL;
}
