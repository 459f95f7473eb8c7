/* regs.c - the controller's registers: enabling, resets, shutdown, doorbells (§3). */
#include "nvme_int.h"

#include "base/evloop.h"

/* 2048 entries, contiguous queues, 7.5 s to get ready, NVM commands, pages of 4 to 64 KiB */
#define CAP_LOW  ((NVME_ENTRIES_MAX - 1u) | BIT(16) | 15u << 24)
#define CAP_HIGH (BIT(5) | (unsigned)NVME_MPS_MAX << 20)

enum {
    SHST_BUSY = 1 << 2,
    EVENT_ERROR = 0,
    EVENT_BAD_DOORBELL = 0,
    EVENT_BAD_DOORBELL_VALUE = 1,
    LOG_ERROR = 1,
    CC_MASK = 0x00fffff1,
};

void nvme_fatal(struct nvme *n)
{
    n->csts |= NVME_CSTS_CFS;
}

/* ---- enabling and resets ---- */

static void queues_forget(struct nvme *n)
{
    memset(n->sq, 0, n->queues * sizeof(*n->sq));
    memset(n->cq, 0, n->queues * sizeof(*n->cq));
    n->aers = n->events = n->masked = 0;
}

static bool enable_ok(const struct nvme *n)
{
    unsigned css = n->cc >> 4 & 7, mps = n->cc >> 7 & 15, ams = n->cc >> 11 & 7;

    return css == 0 && mps <= NVME_MPS_MAX && ams == 0 && (n->aqa & 0xfff) >= 1 &&
           (n->aqa >> 16 & 0xfff) >= 1 && (n->aqa & 0xfff) < NVME_ENTRIES_MAX &&
           (n->aqa >> 16 & 0xfff) < NVME_ENTRIES_MAX;
}

static void enable(struct nvme *n)
{
    if (!enable_ok(n)) {
        nvme_fatal(n);
        return;
    }
    n->page_bytes = NVME_MIN_PAGE << (n->cc >> 7 & 15);
    if ((n->asq | n->acq) & (n->page_bytes - 1)) {
        nvme_fatal(n);
        return;
    }
    n->sq[0] = (struct nvme_sq){.live = true, .size = (n->aqa & 0xfff) + 1, .gpa = n->asq};
    n->cq[0] = (struct nvme_cq){.live = true,
                                .irq = true,
                                .phase = true,
                                .size = (n->aqa >> 16 & 0xfff) + 1,
                                .gpa = n->acq,
                                .users = 1};
    n->csts |= NVME_CSTS_RDY;
}

void nvme_reset_end_if_idle(struct nvme *n)
{
    if (!n->resetting || n->submitted)
        return;
    n->resetting = false;
    n->csts = 0;
    if (n->cc & NVME_CC_EN) /* a driver that did not wait */
        enable(n);
}

static void parked_drop(struct nvme *n)
{
    while (n->parked) {
        struct nvme_req *r = n->parked;
        n->parked = r->next;
        nvme_req_put(r);
    }
    n->retry = false;
}

void nvme_reset_begin(struct nvme *n)
{
    n->generation++;
    for (unsigned i = 1; i < n->queues; i++)
        if (n->sq[i].delete_by)
            nvme_req_put(n->sq[i].delete_by);
    queues_forget(n);
    parked_drop(n);
    nvme_features_reset(n);
    n->intms = 0;
    n->shutdown_wanted = false;
    n->resetting = true;
    nvme_irq_update(n);
    nvme_reset_end_if_idle(n);
}

static void cc_write(struct nvme *n, uint32_t val)
{
    uint32_t was = n->cc;

    n->cc = val & CC_MASK;
    if ((was & NVME_CC_EN) && !(val & NVME_CC_EN))
        nvme_reset_begin(n);
    else if (!(was & NVME_CC_EN) && (val & NVME_CC_EN) && !n->resetting)
        enable(n);
    if (!(was & NVME_CC_SHN) && (val & NVME_CC_SHN)) {
        n->csts = (n->csts & ~NVME_SHST) | SHST_BUSY;
        n->shutdown_wanted = true;
        nvme_kick(n);
    } else if (!(val & NVME_CC_SHN)) {
        n->csts &= ~NVME_SHST;
        n->shutdown_wanted = false;
    }
}

/* ---- doorbells ---- */

static void sq_doorbell(struct nvme *n, unsigned id, uint32_t val)
{
    if (id >= n->queues || !n->sq[id].live) {
        nvme_event(n, EVENT_ERROR, EVENT_BAD_DOORBELL, LOG_ERROR);
    } else if (val >= n->sq[id].size) {
        nvme_event(n, EVENT_ERROR, EVENT_BAD_DOORBELL_VALUE, LOG_ERROR);
    } else {
        n->sq[id].tail = val;
        nvme_kick(n);
    }
}

static void cq_doorbell(struct nvme *n, unsigned id, uint32_t val)
{
    if (id >= n->queues || !n->cq[id].live) {
        nvme_event(n, EVENT_ERROR, EVENT_BAD_DOORBELL, LOG_ERROR);
    } else if (val >= n->cq[id].size) {
        nvme_event(n, EVENT_ERROR, EVENT_BAD_DOORBELL_VALUE, LOG_ERROR);
    } else {
        n->cq[id].head = val;
        if (n->cq[id].stalled || n->events) {
            n->cq[id].stalled = false;
            nvme_kick(n);
        }
        nvme_irq_update(n);
    }
}

static void doorbell(struct nvme *n, unsigned index, uint32_t val)
{
    if (!(n->csts & NVME_CSTS_RDY) || n->resetting)
        return;
    val &= 0xffff;
    if (index & 1)
        cq_doorbell(n, index / 2, val);
    else
        sq_doorbell(n, index / 2, val);
}

/* ---- access ---- */

static uint32_t reg_read(const struct nvme *n, unsigned off)
{
    switch (off) {
    case NVME_REG_CAP:
        return CAP_LOW;
    case NVME_REG_CAP + 4:
        return CAP_HIGH;
    case NVME_REG_VS:
        return NVME_VERSION;
    case NVME_REG_INTMS:
    case NVME_REG_INTMC:
        return n->intms;
    case NVME_REG_CC:
        return n->cc;
    case NVME_REG_CSTS:
        return n->csts;
    case NVME_REG_AQA:
        return n->aqa;
    case NVME_REG_ASQ:
        return (uint32_t)n->asq;
    case NVME_REG_ASQ + 4:
        return (uint32_t)(n->asq >> 32);
    case NVME_REG_ACQ:
        return (uint32_t)n->acq;
    case NVME_REG_ACQ + 4:
        return (uint32_t)(n->acq >> 32);
    }
    return 0;
}

static uint64_t half_set(uint64_t was, bool high, uint32_t val)
{
    return high ? (was & UINT32_MAX) | (uint64_t)val << 32 : (was & ~(uint64_t)UINT32_MAX) | val;
}

static void reg_write(struct nvme *n, unsigned off, uint32_t val)
{
    switch (off) {
    case NVME_REG_INTMS:
    case NVME_REG_INTMC:
        n->intms = off == NVME_REG_INTMS ? n->intms | val : n->intms & ~val;
        nvme_irq_update(n);
        break;
    case NVME_REG_CC:
        cc_write(n, val);
        break;
    case NVME_REG_AQA:
        n->aqa = val & 0x0fff0fff;
        break;
    case NVME_REG_ASQ:
    case NVME_REG_ASQ + 4:
        n->asq = half_set(n->asq, off & 4, val) & ~UINT64_C(0xfff);
        break;
    case NVME_REG_ACQ:
    case NVME_REG_ACQ + 4:
        n->acq = half_set(n->acq, (off - NVME_REG_ACQ) & 4, val) & ~UINT64_C(0xfff);
        break;
    default:
        if (off >= NVME_DOORBELLS)
            doorbell(n, (off - NVME_DOORBELLS) / 4, val);
    }
}

static uint64_t mmio_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct nvme *n = container_of(r, struct nvme, regs);

    pthread_mutex_lock(&n->lock);
    uint32_t v = reg_read(n, (unsigned)off);
    pthread_mutex_unlock(&n->lock);
    return v;
}

static void mmio_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct nvme *n = container_of(r, struct nvme, regs);

    pthread_mutex_lock(&n->lock);
    reg_write(n, (unsigned)off, (uint32_t)val);
    pthread_mutex_unlock(&n->lock);
}

/* 64-bit accesses come in two halves, the low one first. */
const struct io_ops nvme_reg_ops = {mmio_read, mmio_write, 4, 4};
