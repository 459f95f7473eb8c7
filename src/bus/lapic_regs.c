/* lapic_regs.c - the register file as the guest sees it: the xAPIC page and the x2APIC MSRs. */
#include "lapic_impl.h"

#include "base/util.h"

#define MSR_BASE 0x800u

enum access_kind { NONE = 0, RO = 1, WO = 2, RW = 3 };

/* Who exists where (SDM vol.3 tables 11-1 and 11-6). */
static enum access_kind xapic_access(unsigned reg)
{
    switch (reg) {
    case REG_VERSION:
    case REG_APR:
    case REG_PPR:
    case REG_RRD:
    case REG_ISR ... REG_IRR + 7:
    case REG_TIMER_CURRENT:
        return RO;
    case REG_EOI:
        return WO;
    case REG_ID:
    case REG_TPR:
    case REG_LDR ... REG_SVR:
    case REG_ESR:
    case REG_ICR ... REG_TIMER_INITIAL:
    case REG_TIMER_DIVIDE:
        return RW;
    }
    return NONE;
}

static enum access_kind x2apic_access(unsigned reg)
{
    switch (reg) {
    case REG_ID:
    case REG_LDR:
        return RO;
    case REG_SELF_IPI:
        return WO;
    case REG_APR:
    case REG_RRD:
    case REG_DFR:
    case REG_ICR_HIGH:
        return NONE;
    }
    return xapic_access(reg);
}

/* Bits software may set; writing others is ignored by xAPIC and #GP in x2APIC mode. */
static uint32_t writable_bits(const struct lapic *l, unsigned reg)
{
    switch (reg) {
    case REG_ID:
    case REG_LDR:
        return 0xff000000;
    case REG_DFR:
        return 0xf0000000;
    case REG_TPR:
    case REG_SELF_IPI:
        return 0xff;
    case REG_SVR:
        return 0x13ff;
    case REG_ICR:
        return 0x000ccfff;
    case REG_ICR_HIGH:
        return lapic_x2apic(l) ? 0xffffffff : 0xff000000;
    case REG_LVT_TIMER:
        return l->has_deadline ? 0x000700ff : 0x000300ff;
    case REG_LVT_THERMAL:
    case REG_LVT_PERF:
        return 0x000107ff;
    case REG_LVT_LINT0:
    case REG_LVT_LINT1:
        return 0x0001a7ff;
    case REG_LVT_ERROR:
        return 0x000100ff;
    case REG_TIMER_DIVIDE:
        return 0x0000000b;
    case REG_EOI:
    case REG_ESR:
        return 0;
    }
    return 0xffffffff;
}

/* Status bits of the LVT are read-only, not reserved: x2APIC ignores writes to them (SDM
 * vol.3 11.5.1); Linux does write them when it hands the machine back at power-off. */
static uint32_t readonly_bits(unsigned reg)
{
    switch (reg) {
    case REG_LVT_LINT0:
    case REG_LVT_LINT1:
        return LVT_DELIVERY_STATUS | LVT_REMOTE_IRR;
    case REG_LVT_TIMER:
    case REG_LVT_THERMAL:
    case REG_LVT_PERF:
    case REG_LVT_ERROR:
        return LVT_DELIVERY_STATUS;
    }
    return 0;
}

static uint32_t reg_read_locked(struct lapic *l, unsigned reg, struct lapic_work *w)
{
    switch (reg) {
    case REG_PPR:
        return lapic_ppr_locked(l);
    case REG_APR:
        return lapic_ppr_locked(l); /* not arbitrated for: one message, one winner */
    case REG_TIMER_CURRENT:
        /* Who sees zero has the interrupt, however late the host's timer is. */
        lapic_timer_settle_locked(l, w);
        return lapic_timer_current(l);
    }
    return l->reg[reg];
}

/* SDM vol.3 §11.6.1: what ICR combinations send. */
static void icr_send_locked(struct lapic *l, uint32_t low, uint32_t high, struct lapic_work *w)
{
    bool wide = lapic_x2apic(l);
    struct apic_msg m = {
        .dest = wide ? high : high >> 24,
        .vector = low & 0xff,
        .mode = (low >> 8) & 7,
        .shorthand = (low >> 18) & 3,
        .logical = low & BIT(11),
        .wide = wide,
    };
    bool level = low & BIT(15), assert_level = low & BIT(14);

    /* The INIT level de-assert only synchronised arbitration ids, long ago. */
    if (m.mode == APIC_INIT && level && !assert_level)
        return;
    if (m.mode <= APIC_LOWEST && m.vector < 16) {
        lapic_error_locked(l, ESR_SEND_ILLEGAL_VECTOR, w);
        return;
    }
    if (m.mode == APIC_EXTINT || m.mode == 3)
        return;
    /* A CPU cannot INIT or start itself; SMI and NMI to oneself work on real chips. */
    if ((m.mode == APIC_INIT || m.mode == APIC_SIPI) &&
        (m.shorthand == APIC_SELF || m.shorthand == APIC_ALL))
        return;
    w->send = true;
    w->msg = m;
}

static void svr_write_locked(struct lapic *l, uint32_t val)
{
    l->reg[REG_SVR] = val;
    if (!(val & SVR_ENABLE)) /* SDM vol.3 §11.4.7.2 */
        for (unsigned r = REG_LVT_TIMER; r <= REG_LVT_ERROR; r++)
            l->reg[r] |= LVT_MASKED;
}

static void lvt_write_locked(struct lapic *l, unsigned reg, uint32_t val, struct lapic_work *w)
{
    uint32_t old = l->reg[reg], current = 0;

    if (reg == REG_LVT_TIMER) { /* what fell due until now did so by the old entry */
        lapic_timer_settle_locked(l, w);
        current = lapic_timer_current(l);
    }
    if (!lapic_software_enabled(l))
        val |= LVT_MASKED;
    if (val & LVT_LEVEL)
        val |= old & LVT_REMOTE_IRR;
    l->reg[reg] = val;
    if (reg == REG_LVT_TIMER)
        lapic_timer_lvt_changed(l, old, current);
    /* Unmasking a LINT0 whose line is up: ExtINT and level modes see it, an edge has passed. */
    if (reg == REG_LVT_LINT0 && l->lint0 &&
        (LVT_MODE(val) == APIC_EXTINT || (LVT_MODE(val) == APIC_FIXED && (val & LVT_LEVEL))))
        lapic_local_locked(l, reg, w);
}

static void reg_write_locked(struct lapic *l, unsigned reg, uint32_t val, struct lapic_work *w)
{
    switch (reg) {
    case REG_EOI:
        lapic_eoi_locked(l, w);
        break;
    case REG_TPR:
        l->reg[REG_TPR] = val;
        lapic_attention_locked(l, w);
        break;
    case REG_SVR:
        svr_write_locked(l, val);
        lapic_attention_locked(l, w);
        break;
    case REG_DFR:
        l->reg[REG_DFR] = val | 0x0fffffff;
        break;
    case REG_ESR:
        l->reg[REG_ESR] = l->esr_pending;
        l->esr_pending = 0;
        break;
    case REG_ICR:
        l->reg[REG_ICR] = val;
        icr_send_locked(l, val, l->reg[REG_ICR_HIGH], w);
        break;
    case REG_LVT_TIMER ... REG_LVT_ERROR:
        lvt_write_locked(l, reg, val, w);
        break;
    case REG_TIMER_INITIAL:
        lapic_timer_settle_locked(l, w);
        lapic_timer_set_initial(l, val);
        break;
    case REG_TIMER_DIVIDE:
        lapic_timer_settle_locked(l, w);
        lapic_timer_set_divide(l, val);
        break;
    case REG_SELF_IPI:
        icr_send_locked(l, APIC_SELF << 18 | (val & 0xff), 0, w);
        break;
    default: /* ID, LDR, ICR_HIGH */
        l->reg[reg] = val;
    }
}

uint64_t lapic_mmio_read(struct lapic *l, uint32_t off, unsigned size)
{
    struct lapic_work w = LAPIC_WORK_NONE;
    unsigned reg = (off & 0xfff) >> 4;
    uint32_t val = 0;

    if (!lapic_enabled(l) || lapic_x2apic(l))
        return UINT64_MAX;
    pthread_mutex_lock(&l->lock);
    if (reg >= REG_COUNT || xapic_access(reg) == NONE)
        lapic_error_locked(l, ESR_ILLEGAL_REGISTER, &w);
    else if ((off & 0xc) == 0 && xapic_access(reg) != WO)
        val = reg_read_locked(l, reg, &w);
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
    return val >> (8 * (off & 3));
}

void lapic_mmio_write(struct lapic *l, uint32_t off, unsigned size, uint64_t val)
{
    struct lapic_work w = LAPIC_WORK_NONE;
    unsigned reg = (off & 0xfff) >> 4;

    /* Registers take aligned dwords; anything else is undefined and does nothing here. */
    if (!lapic_enabled(l) || lapic_x2apic(l) || (off & 0xf) || size < 4)
        return;
    pthread_mutex_lock(&l->lock);
    if (reg >= REG_COUNT || !(xapic_access(reg) & WO))
        lapic_error_locked(l, ESR_ILLEGAL_REGISTER, &w);
    else
        reg_write_locked(l, reg, val & writable_bits(l, reg), &w);
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
}

bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *val)
{
    struct lapic_work w = LAPIC_WORK_NONE;
    unsigned reg = msr - MSR_BASE;

    if (!lapic_x2apic(l) || reg >= REG_COUNT || !(x2apic_access(reg) & RO))
        return false;
    pthread_mutex_lock(&l->lock);
    *val = reg_read_locked(l, reg, &w);
    if (reg == REG_ICR)
        *val |= (uint64_t)l->reg[REG_ICR_HIGH] << 32;
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
    return true;
}

bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t val)
{
    struct lapic_work w = LAPIC_WORK_NONE;
    unsigned reg = msr - MSR_BASE;

    if (!lapic_x2apic(l) || reg >= REG_COUNT || !(x2apic_access(reg) & WO))
        return false;
    if ((uint32_t)val & ~(writable_bits(l, reg) | readonly_bits(reg)) ||
        (reg != REG_ICR && val >> 32))
        return false;
    val &= ~(uint64_t)readonly_bits(reg);
    pthread_mutex_lock(&l->lock);
    if (reg == REG_ICR)
        l->reg[REG_ICR_HIGH] = val >> 32;
    reg_write_locked(l, reg, val, &w);
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
    return true;
}
