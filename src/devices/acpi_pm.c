/* acpi_pm.c - the power-management I/O block of the ICH9 and of the PIIX4.
 *
 * Registers are handled as aligned dwords with a byte mask, so every access width and split works
 * the same.  The PM timer and its overflow flag are functions of the clock. */
#include "devices/acpi_pm.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/irq.h"

#include <assert.h>
#include <glib.h>

#define PM_TIMER_HZ    3579545u
#define PM_TIMER_MASK  0xffffffu /* 24 bits: the FADT does not say 32 */
#define OVERFLOW_TICKS BIT64(23) /* the flag is set when the top bit toggles */
#define NS_PER_SEC     1000000000u

enum {
    STS_TIMER = 0x0001,
    STS_GLOBAL = 0x0020,
    STS_POWER = 0x0100,
    STS_RTC = 0x0400,
    STS_WAKE = 0x8000
};
#define STS_ALL 0x8d31u /* with bus master, sleep button and PCIe wake */
#define EN_ALL  0x4721u
enum { SMI_GLOBAL = 0x01, SMI_EOS = 0x02, SMI_APMC = 0x20 }; /* SMI_EN; APMC in SMI_STS, too */
enum { CNT_SCI_EN = 0x0001, CNT_SLP_EN = 0x2000 };
#define CNT_WRITABLE 0x1c03u /* SLP_TYP, BM_RLD, SCI_EN */
#define SLP_TYP(v)   (((v) >> 10) & 7)

/* TCO, offsets in the block (ICH9 §13.9) */
enum {
    TCO_RELOAD = 0x60,
    TCO_DATA = 0x62,
    TCO_STS1 = 0x64,
    TCO_STS2 = 0x66,
    TCO_CNT1 = 0x68,
    TCO_CNT2 = 0x6a,
    TCO_MESSAGE = 0x6c,
    TCO_TIMER = 0x72
};
#define TCO_HALT       BIT(11)
#define TCO_TIMEOUT    BIT(3) /* in STS1 */
#define TCO_SECOND     BIT(1) /* in STS2 */
#define TCO_TICK_NS    600000000ull
#define TCO_TIMER_MASK 0x3ffu

struct acpi_pm {
    struct device dev; /* first */
    struct io_region region, apm_region;
    struct io_space *pio;
    struct irqchip *irqchip;
    struct vm_clock *clock;
    struct timer *overflow_timer, *tco_timer;
    struct irq_line sci;
    const struct board_requests *req;
    enum acpi_pm_model model;
    /* board lock */
    uint16_t pm1_sts, pm1_en, pm1_cnt;
    uint64_t
        overflows_seen; /* toggles of the timer's top bit up to the last clearing of its flag */
    uint64_t gpe_sts, gpe_en;
    uint32_t smi_en, smi_sts;
    uint8_t apm_cmd, apm_data;
    uint16_t tco_initial, tco_cnt1, tco_cnt2, tco_sts1, tco_sts2;
    uint8_t tco_data[2], tco_message[4];
    uint64_t tco_due_ns;  /* next expiry while running */
    uint16_t tco_left;    /* ticks left while halted */
    uint8_t tco_timeouts; /* since the last reload */
    bool no_reboot;       /* the LPC bridge keeps it */
    bool smi_locked;      /* so is this */
};

static uint64_t pm_ticks(const struct acpi_pm *p)
{
    return (unsigned __int128)vm_clock_ns(p->clock) * PM_TIMER_HZ / NS_PER_SEC;
}

/* Brings the overflow flag up to date, drives the SCI, arms the timer if the flag would raise it.
 */
static void sci_update(struct acpi_pm *p)
{
    uint64_t toggles = pm_ticks(p) / OVERFLOW_TICKS;
    bool level;

    if (toggles != p->overflows_seen)
        p->pm1_sts |= STS_TIMER;
    level = (p->pm1_sts & p->pm1_en & EN_ALL) || (p->gpe_sts & p->gpe_en);
    irq_set(&p->sci, level && (p->pm1_cnt & CNT_SCI_EN));
    if ((p->pm1_en & STS_TIMER) && !(p->pm1_sts & STS_TIMER))
        timer_set(p->overflow_timer,
                  (unsigned __int128)(toggles + 1) * OVERFLOW_TICKS * NS_PER_SEC / PM_TIMER_HZ + 1);
    else
        timer_cancel(p->overflow_timer);
}

static void overflow_due(void *opaque)
{
    struct acpi_pm *p = opaque;

    pthread_mutex_lock(&p->dev.list->lock);
    sci_update(p);
    pthread_mutex_unlock(&p->dev.list->lock);
}

/* ---- TCO watchdog ---- */

static bool tco_running(const struct acpi_pm *p)
{
    return !(p->tco_cnt1 & TCO_HALT);
}

static uint16_t tco_count(const struct acpi_pm *p)
{
    uint64_t now = vm_clock_ns(p->clock);

    if (!tco_running(p))
        return p->tco_left;
    return p->tco_due_ns > now ? (p->tco_due_ns - now + TCO_TICK_NS - 1) / TCO_TICK_NS : 0;
}

static void tco_arm(struct acpi_pm *p, uint16_t ticks)
{
    p->tco_left = ticks;
    p->tco_due_ns = vm_clock_ns(p->clock) + MAX_OF(ticks, 2) * TCO_TICK_NS;
    if (tco_running(p))
        timer_set(p->tco_timer, p->tco_due_ns);
    else
        timer_cancel(p->tco_timer);
}

static void tco_due(void *opaque)
{
    struct acpi_pm *p = opaque;

    pthread_mutex_lock(&p->dev.list->lock);
    if (tco_running(p) && vm_clock_ns(p->clock) >= p->tco_due_ns) {
        p->tco_sts1 |= TCO_TIMEOUT;
        if (++p->tco_timeouts == 2) {
            p->tco_timeouts = 0;
            p->tco_sts2 |= TCO_SECOND;
            if (!p->no_reboot)
                p->req->watchdog(p->req->opaque);
        }
        tco_arm(p, p->tco_initial);
    }
    pthread_mutex_unlock(&p->dev.list->lock);
}

static void tco_control(struct acpi_pm *p, uint16_t cnt1)
{
    uint16_t left = tco_count(p);

    p->tco_cnt1 = cnt1 & 0x1f00; /* lock, halt, SMI and NMI bits */
    tco_arm(p, left);
}

static uint32_t tco_read(struct acpi_pm *p, unsigned reg)
{
    switch (reg) {
    case TCO_RELOAD:
        return tco_count(p) | p->tco_data[0] << 16 | (uint32_t)p->tco_data[1] << 24;
    case TCO_STS1:
        return p->tco_sts1 | (uint32_t)p->tco_sts2 << 16;
    case TCO_CNT1:
        return p->tco_cnt1 | (uint32_t)p->tco_cnt2 << 16;
    case TCO_MESSAGE:
        return le32_get(p->tco_message);
    case TCO_TIMER - 2: /* legacy IRQ register and the initial value */
        return (uint32_t)p->tco_initial << 16;
    }
    return 0;
}

static void tco_write(struct acpi_pm *p, unsigned reg, uint32_t val, uint32_t mask)
{
    uint32_t merged = (tco_read(p, reg) & ~mask) | (val & mask);

    switch (reg) {
    case TCO_RELOAD:
        if (mask & 0xffff) {
            p->tco_timeouts = 0;
            tco_arm(p, p->tco_initial); /* any value reloads */
        }
        p->tco_data[0] = merged >> 16;
        p->tco_data[1] = merged >> 24;
        break;
    case TCO_STS1:
        p->tco_sts1 &= ~(val & mask);
        p->tco_sts2 &= ~((val & mask) >> 16);
        break;
    case TCO_CNT1:
        if (mask & 0xffff)
            tco_control(p, merged);
        p->tco_cnt2 = merged >> 16;
        break;
    case TCO_MESSAGE:
        le32_put(p->tco_message, merged);
        break;
    case TCO_TIMER - 2:
        p->tco_initial = merged >> 16 & TCO_TIMER_MASK;
        break;
    }
}

/* ---- the block ---- */

static void sleep_enter(struct acpi_pm *p, unsigned type)
{
    switch (type) {
    case ACPI_PM_SLP_TYP_S5:
        p->req->shutdown(p->req->opaque);
        break;
    case ACPI_PM_SLP_TYP_S3:
        p->req->sleep(p->req->opaque, 3);
        break;
    case ACPI_PM_SLP_TYP_S4:
        p->req->sleep(p->req->opaque, 4);
        break;
    }
}

static void pm1_cnt_write(struct acpi_pm *p, uint16_t val)
{
    p->pm1_cnt = val & CNT_WRITABLE;
    sci_update(p);
    if (val & CNT_SLP_EN)
        sleep_enter(p, SLP_TYP(val));
}

static void pm1_sts_clear(struct acpi_pm *p, uint16_t bits)
{
    p->pm1_sts &= ~bits;
    if (bits & STS_TIMER)
        p->overflows_seen = pm_ticks(p) / OVERFLOW_TICKS;
}

static uint32_t ich9_read(struct acpi_pm *p, unsigned reg)
{
    switch (reg) {
    case ACPI_PM_OFF_GPE0:
        return p->gpe_sts;
    case ACPI_PM_OFF_GPE0 + 4:
        return p->gpe_sts >> 32;
    case ACPI_PM_OFF_GPE0 + 8:
        return p->gpe_en;
    case ACPI_PM_OFF_GPE0 + 12:
        return p->gpe_en >> 32;
    case ACPI_PM_OFF_SMI_EN:
        return p->smi_en;
    case ACPI_PM_OFF_SMI_STS:
        return p->smi_sts;
    }
    return reg >= ACPI_PM_OFF_TCO ? tco_read(p, reg) : 0;
}

/* Status in the low half, enable in the high one, as of PM1; 16 bits each (82371AB §7.2.4). */
static uint32_t piix4_read(struct acpi_pm *p, unsigned reg)
{
    return reg == ACPI_PM_OFF_GPE_PIIX4
               ? (uint32_t)(p->gpe_sts & 0xffff) | (uint32_t)(p->gpe_en & 0xffff) << 16
               : 0;
}

static uint32_t block_read(struct acpi_pm *p, unsigned reg)
{
    switch (reg) {
    case ACPI_PM_OFF_PM1_EVT:
        sci_update(p);
        return p->pm1_sts | (uint32_t)p->pm1_en << 16;
    case ACPI_PM_OFF_PM1_CNT:
        return p->pm1_cnt;
    case ACPI_PM_OFF_TMR:
        return pm_ticks(p) & PM_TIMER_MASK;
    }
    return p->model == ACPI_PM_ICH9 ? ich9_read(p, reg) : piix4_read(p, reg);
}

static void ich9_write(struct acpi_pm *p, unsigned reg, uint32_t val, uint32_t mask)
{
    uint32_t merged = (ich9_read(p, reg) & ~mask) | (val & mask);

    switch (reg) {
    case ACPI_PM_OFF_GPE0:
        p->gpe_sts &= ~(uint64_t)(val & mask);
        break;
    case ACPI_PM_OFF_GPE0 + 4:
        p->gpe_sts &= ~((uint64_t)(val & mask) << 32);
        break;
    case ACPI_PM_OFF_GPE0 + 8:
        p->gpe_en = (p->gpe_en & ~0xffffffffull) | merged;
        break;
    case ACPI_PM_OFF_GPE0 + 12:
        p->gpe_en = (p->gpe_en & 0xffffffff) | (uint64_t)merged << 32;
        break;
    case ACPI_PM_OFF_SMI_EN:
        p->smi_en = merged | (p->smi_locked ? p->smi_en & SMI_GLOBAL : 0);
        break;
    case ACPI_PM_OFF_SMI_STS:
        p->smi_sts &= ~(val & mask);
        break;
    default:
        if (reg >= ACPI_PM_OFF_TCO)
            tco_write(p, reg, val, mask);
    }
}

static void piix4_write(struct acpi_pm *p, unsigned reg, uint32_t val, uint32_t mask)
{
    if (reg != ACPI_PM_OFF_GPE_PIIX4)
        return;
    p->gpe_sts &= ~(uint64_t)(val & mask & 0xffff);
    p->gpe_en = ((piix4_read(p, reg) & ~mask) | (val & mask)) >> 16;
}

static void block_write(struct acpi_pm *p, unsigned reg, uint32_t val, uint32_t mask)
{
    uint32_t merged;

    switch (reg) {
    case ACPI_PM_OFF_PM1_EVT:
        merged = (block_read(p, reg) & ~mask) | (val & mask);
        pm1_sts_clear(p, val & mask & STS_ALL);
        p->pm1_en = merged >> 16 & EN_ALL;
        break;
    case ACPI_PM_OFF_PM1_CNT:
        if (mask & 0xffff)
            pm1_cnt_write(p, (uint16_t)((p->pm1_cnt & ~mask) | (val & mask)));
        return;
    default:
        if (p->model == ACPI_PM_ICH9)
            ich9_write(p, reg, val, mask);
        else
            piix4_write(p, reg, val, mask);
    }
    sci_update(p);
}

static uint64_t pm_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct acpi_pm *p = container_of(r, struct acpi_pm, region);

    return block_read(p, off & ~3u) >> (8 * (off & 3));
}

static void pm_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct acpi_pm *p = container_of(r, struct acpi_pm, region);
    unsigned shift = 8 * (off & 3);
    uint32_t mask = size == 4 ? UINT32_MAX : (BIT(8 * size) - 1) << shift;

    block_write(p, off & ~3u, (uint32_t)val << shift, mask);
}

/* APM control (0xb2) and status (0xb3). */
static void apm_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct acpi_pm *p = container_of(r, struct acpi_pm, apm_region);

    if (off == 1) {
        p->apm_data = val;
        return;
    }
    p->apm_cmd = val;
    if (val == ACPI_PM_CMD_ENABLE)
        p->pm1_cnt |= CNT_SCI_EN;
    else if (val == ACPI_PM_CMD_DISABLE)
        p->pm1_cnt &= ~CNT_SCI_EN;
    sci_update(p);
    if (p->req->smi && (~p->smi_en & (SMI_GLOBAL | SMI_APMC)) == 0) {
        p->smi_sts |= SMI_APMC;
        p->req->smi(p->req->opaque);
    }
}

static uint64_t apm_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct acpi_pm *p = container_of(r, struct acpi_pm, apm_region);

    return off == 1 ? p->apm_data : p->apm_cmd;
}

static const struct io_ops pm_ops = {pm_read, pm_write, 1, 4};
static const struct io_ops apm_ops = {apm_read, apm_write, 1, 1};

void acpi_pm_map(struct acpi_pm *p, uint16_t base, bool enabled)
{
    if (p->region.added && enabled && p->region.base == base)
        return;
    io_space_del(p->pio, &p->region);
    if (enabled)
        io_space_add(p->pio, &p->region, base);
}

uint16_t acpi_pm_base(const struct acpi_pm *p)
{
    return p->region.added ? (uint16_t)p->region.base : 0;
}

void acpi_pm_set_sci(struct acpi_pm *p, unsigned gsi)
{
    assert(gsi < IRQ_GSI_COUNT);
    irq_connect(&p->sci, p->irqchip, gsi);
}

void acpi_pm_no_reboot(struct acpi_pm *p, bool on)
{
    p->no_reboot = on;
}

void acpi_pm_smi_lock(struct acpi_pm *p, bool on)
{
    p->smi_locked = on;
}

void acpi_pm_power_button(struct acpi_pm *p)
{
    p->pm1_sts |= STS_POWER;
    sci_update(p);
}

void acpi_pm_gpe_raise(struct acpi_pm *p, unsigned bit)
{
    assert(bit < 64);
    p->gpe_sts |= BIT64(bit);
    sci_update(p);
}

void acpi_pm_rtc_alarm(struct acpi_pm *p)
{
    p->pm1_sts |= STS_RTC;
    sci_update(p);
}

void acpi_pm_woke(struct acpi_pm *p)
{
    p->pm1_sts |= STS_WAKE;
    sci_update(p);
}

bool acpi_pm_wake_allowed(const struct acpi_pm *p)
{
    return (p->pm1_sts & p->pm1_en & (STS_POWER | STS_RTC)) || (p->gpe_sts & p->gpe_en);
}

static void pm_reset(struct device *d)
{
    struct acpi_pm *p = container_of(d, struct acpi_pm, dev);

    p->pm1_sts = p->pm1_en = p->pm1_cnt = 0;
    p->overflows_seen = pm_ticks(p) / OVERFLOW_TICKS;
    p->gpe_sts = p->gpe_en = 0;
    /* Without SMM as if set up: firmware then installs no handler. */
    p->smi_en = p->req->smi ? SMI_EOS : SMI_EOS | SMI_APMC;
    p->smi_sts = 0;
    p->apm_cmd = p->apm_data = 0;
    p->tco_initial = 4;
    p->tco_cnt1 = TCO_HALT;
    p->tco_cnt2 = 0x08;
    p->tco_timeouts = 0;
    p->tco_sts1 = p->tco_sts2 = 0;
    memset(p->tco_data, 0, sizeof(p->tco_data));
    memset(p->tco_message, 0, sizeof(p->tco_message));
    tco_arm(p, p->tco_initial);
    sci_update(p);
}

static bool pm_post_load(void *obj, uint32_t version, GError **err)
{
    struct acpi_pm *p = obj;

    if (p->model == ACPI_PM_PIIX4) {
        p->gpe_sts &= 0xffff;
        p->gpe_en &= 0xffff;
    }
    p->tco_initial &= TCO_TIMER_MASK;
    p->tco_left &= TCO_TIMER_MASK;
    p->tco_timeouts &= 1;
    if (tco_running(p))
        timer_set(p->tco_timer, p->tco_due_ns);
    else
        timer_cancel(p->tco_timer);
    sci_update(p);
    return true;
}

static const struct state_field pm_fields[] = {
    STATE_U16(struct acpi_pm, pm1_sts),
    STATE_U16(struct acpi_pm, pm1_en),
    STATE_U16(struct acpi_pm, pm1_cnt),
    STATE_U64(struct acpi_pm, overflows_seen),
    STATE_U64(struct acpi_pm, gpe_sts),
    STATE_U64(struct acpi_pm, gpe_en),
    STATE_U32(struct acpi_pm, smi_en),
    STATE_U32(struct acpi_pm, smi_sts),
    STATE_U8(struct acpi_pm, apm_cmd),
    STATE_U8(struct acpi_pm, apm_data),
    STATE_U16(struct acpi_pm, tco_initial),
    STATE_U16(struct acpi_pm, tco_cnt1),
    STATE_U16(struct acpi_pm, tco_cnt2),
    STATE_U16(struct acpi_pm, tco_sts1),
    STATE_U16(struct acpi_pm, tco_sts2),
    STATE_BYTES(struct acpi_pm, tco_data),
    STATE_BYTES(struct acpi_pm, tco_message),
    STATE_U64(struct acpi_pm, tco_due_ns),
    STATE_U16(struct acpi_pm, tco_left),
    STATE_U8(struct acpi_pm, tco_timeouts),
    STATE_END,
};
static const struct state_desc pm_state = {
    .name = "ich9-pm", .version = 1, .fields = pm_fields, .post_load = pm_post_load};

static void pm_destroy(struct device *d)
{
    struct acpi_pm *p = container_of(d, struct acpi_pm, dev);

    device_remove(d->list, d);
    timer_free(p->overflow_timer);
    timer_free(p->tco_timer);
    g_free(p);
}

static const struct device_ops pm_device_ops = {
    .type = "ich9-pm", .reset = pm_reset, .destroy = pm_destroy, .state = &pm_state};
static const struct device_ops piix4_device_ops = {
    .type = "piix4-pm", .reset = pm_reset, .destroy = pm_destroy, .state = &pm_state};

struct acpi_pm *acpi_pm_new(struct device_list *devices, struct io_space *pio,
                            struct irqchip *irqchip, struct vm_clock *clock,
                            const struct board_requests *req, enum acpi_pm_model model)
{
    const struct device_ops *ops = model == ACPI_PM_ICH9 ? &pm_device_ops : &piix4_device_ops;
    struct acpi_pm *p = g_new0(struct acpi_pm, 1);

    p->pio = pio;
    p->irqchip = irqchip;
    p->clock = clock;
    p->req = req;
    p->no_reboot = true;
    p->model = model;
    p->overflow_timer = timer_new(evloop_main(), clock, overflow_due, p);
    p->tco_timer = timer_new(evloop_main(), clock, tco_due, p);
    irq_connect(&p->sci, irqchip, 9);
    p->region = (struct io_region){.ops = &pm_ops,
                                   .name = "acpi-pm",
                                   .size_bytes = model == ACPI_PM_ICH9 ? ACPI_PM_BLOCK_BYTES
                                                                       : ACPI_PM_BLOCK_BYTES / 2,
                                   .lock = &devices->lock};
    p->apm_region =
        (struct io_region){.ops = &apm_ops, .name = "apm", .size_bytes = 2, .lock = &devices->lock};
    device_add(devices, &p->dev, ops, NULL, ops->type);
    pm_reset(&p->dev);
    io_space_add(pio, &p->apm_region, ACPI_PM_SMI_CMD);
    return p;
}
