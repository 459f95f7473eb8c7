/* lapic.c - accepting, prioritising and acknowledging interrupts; life cycle and saved state.
 *
 * lapic_pending() costs one load while nothing can be pending: everything that may make something
 * pending sets l->attention under the lock, and lapic_pending() itself clears it when it looked and
 * found nothing deliverable. */
#include "lapic_impl.h"

#include "base/error.h"
#include "base/util.h"

#include <glib.h>

static int highest_vector(const uint32_t *words)
{
    for (int i = 7; i >= 0; i--)
        if (words[i])
            return 32 * i + 31 - __builtin_clz(words[i]);
    return -1;
}

static void vector_set(uint32_t *words, uint8_t vector)
{
    words[vector / 32] |= BIT(vector % 32);
}

static void vector_clear(uint32_t *words, uint8_t vector)
{
    words[vector / 32] &= ~BIT(vector % 32);
}

static bool vector_test(const uint32_t *words, uint8_t vector)
{
    return words[vector / 32] & BIT(vector % 32);
}

void lapic_work_do(struct lapic *l, const struct lapic_work *w)
{
    if (w->kick && l->ops)
        l->ops->kick(l->cpu);
    if (w->send)
        apic_bus_send(l->chip, &w->msg, l);
    if (w->eoi_vector >= 0)
        apic_bus_eoi(l->chip, w->eoi_vector);
}

void lapic_attention_locked(struct lapic *l, struct lapic_work *w)
{
    __atomic_store_n(&l->attention, true, __ATOMIC_RELEASE);
    w->kick = true;
}

uint8_t lapic_ppr_locked(const struct lapic *l)
{
    uint8_t tpr = l->reg[REG_TPR];
    int isrv = highest_vector(&l->reg[REG_ISR]);

    if (isrv < 0 || (tpr & 0xf0) >= (isrv & 0xf0))
        return tpr;
    return isrv & 0xf0;
}

/* SDM vol.3 §11.5.3: errors add up unseen; the LVT entry fires for each new one. */
void lapic_error_locked(struct lapic *l, uint32_t esr_bit, struct lapic_work *w)
{
    uint32_t lvt = l->reg[REG_LVT_ERROR];
    bool first = !(l->esr_pending & esr_bit);

    l->esr_pending |= esr_bit;
    if (!first || (lvt & LVT_MASKED))
        return;
    /* An illegal vector in the error entry itself is one more error, and the end of it. */
    if ((lvt & 0xff) < 16)
        l->esr_pending |= ESR_RECEIVED_ILLEGAL_VECTOR;
    else
        lapic_accept_locked(l, lvt & 0xff, false, w);
}

void lapic_accept_locked(struct lapic *l, uint8_t vector, bool level, struct lapic_work *w)
{
    if (vector < 16) {
        lapic_error_locked(l, ESR_RECEIVED_ILLEGAL_VECTOR, w);
        return;
    }
    if (level)
        vector_set(&l->reg[REG_TMR], vector);
    else
        vector_clear(&l->reg[REG_TMR], vector);
    vector_set(&l->reg[REG_IRR], vector);
    lapic_attention_locked(l, w);
}

/* A local source fires: timer, error, performance counter, LINT pins. */
void lapic_local_locked(struct lapic *l, enum lapic_reg lvt, struct lapic_work *w)
{
    uint32_t v = l->reg[lvt];
    bool pin = lvt == REG_LVT_LINT0 || lvt == REG_LVT_LINT1;

    if ((v & LVT_MASKED) || !lapic_enabled(l) || !l->ops)
        return;
    if (lvt == REG_LVT_TIMER || lvt == REG_LVT_ERROR) {
        lapic_accept_locked(l, v & 0xff, false, w);
        return;
    }
    switch (LVT_MODE(v)) {
    case APIC_FIXED:
        if (pin && (v & LVT_LEVEL)) {
            if (v & LVT_REMOTE_IRR)
                return;
            l->reg[lvt] |= LVT_REMOTE_IRR;
        }
        lapic_accept_locked(l, v & 0xff, pin && (v & LVT_LEVEL), w);
        break;
    case APIC_SMI:
        l->ops->smi(l->cpu);
        break;
    case APIC_NMI:
        l->ops->nmi(l->cpu);
        break;
    case APIC_INIT:
        l->ops->init(l->cpu);
        break;
    case APIC_EXTINT:
        lapic_attention_locked(l, w);
        break;
    }
}

void lapic_lint0(struct lapic *l, bool level)
{
    struct lapic_work w = LAPIC_WORK_NONE;

    pthread_mutex_lock(&l->lock);
    if (l->lint0 != level) {
        l->lint0 = level;
        if (level && !lapic_enabled(l))
            lapic_attention_locked(l, &w); /* the pin is the CPU's INTR */
        else if (level)
            lapic_local_locked(l, REG_LVT_LINT0, &w);
    }
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
}

bool lapic_on_bus(const struct lapic *l)
{
    return l->ops && lapic_enabled(l);
}

bool lapic_matches(const struct lapic *l, const struct apic_msg *m)
{
    uint32_t ldr = lapic_reg(l, REG_LDR), id = lapic_reg(l, REG_ID);

    if (!lapic_on_bus(l))
        return false;
    if (m->dest == (m->wide ? 0xffffffff : 0xff))
        return true;
    if (!m->logical)
        return lapic_x2apic(l) ? m->dest == l->apic_id : m->dest == id >> 24;
    if (lapic_x2apic(l))
        return m->dest >> 16 == ldr >> 16 && (m->dest & ldr & 0xffff);
    if (m->dest > 0xff)
        return false;
    ldr >>= 24;
    if (lapic_reg(l, REG_DFR) >> 28 == 0xf)
        return ldr & m->dest;
    /* Cluster model: high nibble names the cluster (15: all), low nibble the members. */
    return (m->dest >> 4 == 0xf || m->dest >> 4 == ldr >> 4) && (ldr & m->dest & 0xf);
}

bool lapic_arbitrate(struct lapic *l, uint8_t vector, uint8_t *priority, bool *focus)
{
    bool takes_part;
    int irrv;

    pthread_mutex_lock(&l->lock);
    takes_part = lapic_software_enabled(l);
    *priority = lapic_ppr_locked(l);
    irrv = highest_vector(&l->reg[REG_IRR]);
    if (irrv > *priority)
        *priority = irrv & 0xf0;
    *focus = !(l->reg[REG_SVR] & SVR_NO_FOCUS) &&
             (vector_test(&l->reg[REG_ISR], vector) || vector_test(&l->reg[REG_IRR], vector));
    pthread_mutex_unlock(&l->lock);
    return takes_part;
}

bool lapic_deliver(struct lapic *l, const struct apic_msg *m)
{
    struct lapic_work w = LAPIC_WORK_NONE;
    bool accepted = true;

    switch (m->mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        pthread_mutex_lock(&l->lock);
        accepted = lapic_enabled(l) && lapic_software_enabled(l);
        if (accepted)
            lapic_accept_locked(l, m->vector, m->level, &w);
        pthread_mutex_unlock(&l->lock);
        break;
    case APIC_SMI:
        l->ops->smi(l->cpu);
        break;
    case APIC_NMI:
        l->ops->nmi(l->cpu);
        break;
    case APIC_INIT:
        l->ops->init(l->cpu);
        break;
    case APIC_SIPI:
        l->ops->sipi(l->cpu, m->vector);
        break;
    case APIC_EXTINT:
        pthread_mutex_lock(&l->lock);
        l->extint_message = true;
        lapic_attention_locked(l, &w);
        pthread_mutex_unlock(&l->lock);
        break;
    default:
        accepted = false;
    }
    lapic_work_do(l, &w);
    return accepted;
}

static bool extint_open_locked(const struct lapic *l)
{
    uint32_t lvt = l->reg[REG_LVT_LINT0];

    if (!l->lint0)
        return false;
    if (!lapic_enabled(l) || l->extint_message)
        return true;
    return !(lvt & LVT_MASKED) && LVT_MODE(lvt) == APIC_EXTINT;
}

static int pending_locked(const struct lapic *l)
{
    int irrv;

    if (extint_open_locked(l))
        return 256;
    if (!lapic_enabled(l))
        return -1;
    irrv = highest_vector(&l->reg[REG_IRR]);
    return irrv >= 0 && (irrv & 0xf0) > (lapic_ppr_locked(l) & 0xf0) ? irrv : -1;
}

const bool *lapic_attention(const struct lapic *l)
{
    return &l->attention;
}

int lapic_pending(struct lapic *l)
{
    int vector;

    if (likely(!__atomic_load_n(&l->attention, __ATOMIC_ACQUIRE)))
        return -1;
    pthread_mutex_lock(&l->lock);
    vector = pending_locked(l);
    if (vector < 0)
        __atomic_store_n(&l->attention, false, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&l->lock);
    return vector;
}

int lapic_ack(struct lapic *l)
{
    int vector;

    pthread_mutex_lock(&l->lock);
    vector = pending_locked(l);
    if (vector == 256) {
        l->extint_message = false;
    } else if (vector >= 0) {
        vector_clear(&l->reg[REG_IRR], vector);
        vector_set(&l->reg[REG_ISR], vector);
    }
    pthread_mutex_unlock(&l->lock);
    return vector == 256 ? apic_bus_pic_ack(l->chip) : vector;
}

/* A LINT pin in level mode may fire again after EOI if its line is still up. */
static void lint_eoi_locked(struct lapic *l, uint8_t vector, struct lapic_work *w)
{
    for (enum lapic_reg r = REG_LVT_LINT0; r <= REG_LVT_LINT1; r++) {
        if (!(l->reg[r] & LVT_REMOTE_IRR) || (l->reg[r] & 0xff) != vector)
            continue;
        l->reg[r] &= ~LVT_REMOTE_IRR;
        if (r == REG_LVT_LINT0 && l->lint0)
            lapic_local_locked(l, r, w);
    }
}

void lapic_eoi_locked(struct lapic *l, struct lapic_work *w)
{
    int vector = highest_vector(&l->reg[REG_ISR]);

    if (vector < 0)
        return;
    vector_clear(&l->reg[REG_ISR], vector);
    if (vector_test(&l->reg[REG_TMR], vector)) {
        lint_eoi_locked(l, vector, w);
        if (!(l->reg[REG_SVR] & SVR_NO_EOI_BROADCAST))
            w->eoi_vector = vector;
    }
    if (highest_vector(&l->reg[REG_IRR]) >= 0)
        lapic_attention_locked(l, w);
}

uint8_t lapic_tpr_get(struct lapic *l)
{
    return lapic_reg(l, REG_TPR);
}

void lapic_tpr_set(struct lapic *l, uint8_t tpr)
{
    struct lapic_work w = LAPIC_WORK_NONE;

    pthread_mutex_lock(&l->lock);
    if (tpr < l->reg[REG_TPR] && highest_vector(&l->reg[REG_IRR]) >= 0)
        lapic_attention_locked(l, &w);
    l->reg[REG_TPR] = tpr;
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
}

/* In x2APIC mode the id is the CPU's and the logical id follows from it (SDM vol.3 §11.12.10.2). */
void lapic_x2apic_ids_locked(struct lapic *l)
{
    l->reg[REG_ID] = l->apic_id;
    l->reg[REG_LDR] = (l->apic_id >> 4) << 16 | BIT(l->apic_id & 0xf);
}

/* Power-up and INIT values (SDM vol.3 §11.4.7.1). */
static void registers_reset_locked(struct lapic *l, bool keep_id)
{
    uint32_t id = keep_id ? l->reg[REG_ID] : l->apic_id << 24;

    lapic_timer_stop(l);
    memset(l->reg, 0, sizeof(l->reg));
    l->reg[REG_ID] = id;
    l->reg[REG_VERSION] = LAPIC_VERSION;
    l->reg[REG_DFR] = 0xffffffff;
    l->reg[REG_SVR] = 0xff;
    for (enum lapic_reg r = REG_LVT_TIMER; r <= REG_LVT_ERROR; r++)
        l->reg[r] = LVT_MASKED;
    l->esr_pending = 0;
    l->extint_message = false;
    if (lapic_x2apic(l))
        lapic_x2apic_ids_locked(l);
    __atomic_store_n(&l->attention, true, __ATOMIC_RELEASE);
}

void lapic_reset(struct lapic *l, bool init)
{
    pthread_mutex_lock(&l->lock);
    if (!init)
        l->base = BASE_DEFAULT | BASE_ENABLE | (l->index == 0 ? BASE_BSP : 0);
    registers_reset_locked(l, init);
    pthread_mutex_unlock(&l->lock);
}

void lapic_virtual_wire(struct lapic *l)
{
    struct lapic_work w = LAPIC_WORK_NONE;

    pthread_mutex_lock(&l->lock);
    l->reg[REG_SVR] = SVR_ENABLE | 0xff;
    l->reg[REG_LVT_LINT0] = APIC_EXTINT << 8;
    l->reg[REG_LVT_LINT1] = APIC_NMI << 8;
    lapic_attention_locked(l, &w);
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
}

uint64_t lapic_base_get(struct lapic *l)
{
    return __atomic_load_n(&l->base, __ATOMIC_RELAXED);
}

/* SDM vol.3 §11.12.5: the four states of EN and EXTD, and which steps fault. */
static bool base_step_allowed(uint64_t from, uint64_t to)
{
    const uint64_t both = BASE_ENABLE | BASE_X2APIC;

    if ((to & both) == BASE_X2APIC)
        return false;
    if ((from & both) == 0)
        return (to & both) != both;
    if ((from & both) == both)
        return (to & both) != BASE_ENABLE;
    return true;
}

bool lapic_base_set(struct lapic *l, uint64_t val)
{
    struct lapic_work w = LAPIC_WORK_NONE;
    uint64_t old;

    if (val & l->base_reserved)
        return false;
    pthread_mutex_lock(&l->lock);
    old = l->base;
    if (!base_step_allowed(old, val)) {
        pthread_mutex_unlock(&l->lock);
        return false;
    }
    __atomic_store_n(&l->base, val, __ATOMIC_RELAXED);
    if ((old ^ val) & BASE_ENABLE) {
        registers_reset_locked(l, false);
    } else if ((val & ~old) & BASE_X2APIC) {
        lapic_x2apic_ids_locked(l);
        l->reg[REG_ICR_HIGH] = 0;
    }
    lapic_attention_locked(l, &w);
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
    return true;
}

void lapic_state_get(struct lapic *l, uint8_t regs[1024], uint64_t *base)
{
    struct lapic_work w = LAPIC_WORK_NONE;

    pthread_mutex_lock(&l->lock);
    /* A one-shot count that has reached zero cannot be told from one that never ran. */
    if (l->ops)
        lapic_timer_settle_locked(l, &w);
    memset(regs, 0, 1024);
    for (unsigned i = 0; i < REG_COUNT; i++)
        le32_put(regs + 16 * i, l->reg[i]);
    le32_put(regs + 16 * REG_PPR, lapic_ppr_locked(l));
    le32_put(regs + 16 * REG_TIMER_CURRENT, lapic_timer_current(l));
    *base = l->base;
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
}

/* Nothing in the page is an index or a size: any bits are a state, once the fixed ones are forced.
 */
static void state_force_locked(struct lapic *l)
{
    l->reg[REG_VERSION] = LAPIC_VERSION;
    l->reg[REG_IRR] &= 0xffff0000;
    l->reg[REG_ISR] &= 0xffff0000;
    l->reg[REG_TMR] &= 0xffff0000;
    l->reg[REG_TPR] &= 0xff;
    l->reg[REG_TIMER_DIVIDE] &= 0xb;
    l->reg[REG_PPR] = l->reg[REG_TIMER_CURRENT] = 0;
    if (lapic_x2apic(l))
        lapic_x2apic_ids_locked(l);
    else
        l->reg[REG_ID] &= 0xff000000;
    if (!l->has_deadline && lapic_timer_mode(l) == TIMER_DEADLINE)
        l->reg[REG_LVT_TIMER] = LVT_MASKED;
}

bool lapic_state_set(struct lapic *l, const uint8_t regs[1024], uint64_t base, GError **err)
{
    struct lapic_work w = LAPIC_WORK_NONE;
    uint32_t current = le32_get(regs + 16 * REG_TIMER_CURRENT);

    if ((base & l->base_reserved) || (base & (BASE_ENABLE | BASE_X2APIC)) == BASE_X2APIC)
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "The saved APIC base 0x%llx is not a state of a local APIC.",
                         (unsigned long long)base);
    pthread_mutex_lock(&l->lock);
    lapic_timer_stop(l);
    __atomic_store_n(&l->base, base, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < REG_COUNT; i++)
        l->reg[i] = le32_get(regs + 16 * i);
    state_force_locked(l);
    l->esr_pending = 0;
    l->extint_message = false;
    lapic_timer_restore(l, current);
    lapic_attention_locked(l, &w);
    pthread_mutex_unlock(&l->lock);
    lapic_work_do(l, &w);
    return true;
}

void lapic_attach_cpu(struct lapic *l, uint32_t apic_id, const struct lapic_cpu_ops *ops, void *cpu)
{
    l->apic_id = apic_id;
    l->cpu = cpu;
    l->ops = ops;
    lapic_reset(l, false);
}

void lapic_set_features(struct lapic *l, bool x2apic, bool tsc_deadline, unsigned phys_bits)
{
    l->has_x2apic = x2apic;
    l->has_deadline = tsc_deadline;
    l->base_reserved = 0x2ff | (x2apic ? 0 : BASE_X2APIC) | ~((1ull << phys_bits) - 1);
}

struct lapic *lapic_new(struct soft_irqchip *s, struct vm_clock *clock, unsigned index)
{
    struct lapic *l = g_new0(struct lapic, 1);

    l->chip = s;
    l->clock = clock;
    l->index = index;
    l->apic_id = index;
    pthread_mutex_init(&l->lock, NULL);
    lapic_set_features(l, true, true, 52);
    lapic_timer_init(l);
    lapic_reset(l, false);
    return l;
}

void lapic_free(struct lapic *l)
{
    if (!l)
        return;
    timer_free(l->timer);
    pthread_mutex_destroy(&l->lock);
    g_free(l);
}
