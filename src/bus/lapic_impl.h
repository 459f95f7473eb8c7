/* lapic_impl.h - the local APIC's insides, shared by lapic.c, lapic_regs.c and lapic_timer.c.
 *
 * reg[] has the layout of the register page (and of KVM_GET_LAPIC): one 32-bit register per 16
 * bytes, index = offset >> 4. */
#ifndef BUS_LAPIC_IMPL_H
#define BUS_LAPIC_IMPL_H

#include "base/util.h"
#include "irqchip.h"

enum lapic_reg {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_APR = 0x09,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_RRD = 0x0c,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SVR = 0x0f,
    REG_ISR = 0x10, /* 8 each */
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR = 0x30,
    REG_ICR_HIGH = 0x31,
    REG_LVT_TIMER = 0x32,
    REG_LVT_THERMAL = 0x33,
    REG_LVT_PERF = 0x34,
    REG_LVT_LINT0 = 0x35,
    REG_LVT_LINT1 = 0x36,
    REG_LVT_ERROR = 0x37,
    REG_TIMER_INITIAL = 0x38,
    REG_TIMER_CURRENT = 0x39,
    REG_TIMER_DIVIDE = 0x3e,
    REG_SELF_IPI = 0x3f,
    REG_COUNT = 0x40
};

#define BASE_BSP                    BIT64(8)
#define BASE_X2APIC                 BIT64(10)
#define BASE_ENABLE                 BIT64(11)
#define BASE_DEFAULT                0xfee00000ull
#define SVR_ENABLE                  BIT(8)
#define SVR_NO_FOCUS                BIT(9)
#define SVR_NO_EOI_BROADCAST        BIT(12)
#define LVT_DELIVERY_STATUS         BIT(12)
#define LVT_MASKED                  BIT(16)
#define LVT_LEVEL                   BIT(15)
#define LVT_REMOTE_IRR              BIT(14)
#define LVT_MODE(v)                 (((v) >> 8) & 7)
#define ESR_SEND_ILLEGAL_VECTOR     BIT(5)
#define ESR_RECEIVED_ILLEGAL_VECTOR BIT(6)
#define ESR_ILLEGAL_REGISTER        BIT(7)
/* Version 0x14, six LVT entries, EOI-broadcast suppression. */
#define LAPIC_VERSION (0x14u | 5u << 16 | BIT(24))

enum timer_mode { TIMER_ONESHOT, TIMER_PERIODIC, TIMER_DEADLINE, TIMER_RESERVED };

struct lapic {
    /* immutable after attach */
    struct soft_irqchip *chip;
    struct vm_clock *clock;
    unsigned index;
    uint32_t apic_id;
    const struct lapic_cpu_ops *ops; /* NULL: no CPU in this socket */
    void *cpu;
    bool has_x2apic, has_deadline;
    uint64_t base_reserved;

    pthread_mutex_t lock;
    /* written under lock, read anywhere (atomic) */
    bool attention; /* lapic_pending() may find something */
    uint64_t base;
    /* under lock; ID, LDR, DFR are also read lock-free to match destinations */
    uint32_t reg[REG_COUNT];
    uint32_t esr_pending; /* shows in ESR after the next write to it */
    bool lint0;           /* level of the PIC's INTR */
    bool extint_message;  /* an ExtINT came over the bus and waits for its INTA */
    /* timer */
    struct timer *timer;
    bool timer_running;      /* one-shot or periodic count in progress */
    uint64_t timer_start_ns; /* when the count was at its initial value */
    uint64_t timer_next_ns;  /* when it next reaches zero */
    uint64_t timer_deadline; /* IA32_TSC_DEADLINE, 0 = disarmed */
};

/* What is left to do after the lock has been dropped. */
struct lapic_work {
    bool kick;
    bool send;
    struct apic_msg msg;
    int eoi_vector; /* -1: none */
};
#define LAPIC_WORK_NONE ((struct lapic_work){.eoi_vector = -1})
void lapic_work_do(struct lapic *l, const struct lapic_work *w);

static inline bool lapic_enabled(const struct lapic *l)
{
    return __atomic_load_n(&l->base, __ATOMIC_RELAXED) & BASE_ENABLE;
}
static inline bool lapic_x2apic(const struct lapic *l)
{
    return __atomic_load_n(&l->base, __ATOMIC_RELAXED) & BASE_X2APIC;
}
static inline uint32_t lapic_reg(const struct lapic *l, enum lapic_reg r)
{
    return __atomic_load_n(&l->reg[r], __ATOMIC_RELAXED);
}
static inline bool lapic_software_enabled(const struct lapic *l)
{
    return lapic_reg(l, REG_SVR) & SVR_ENABLE;
}

/* lapic.c */
void lapic_attention_locked(struct lapic *l, struct lapic_work *w);
void lapic_accept_locked(struct lapic *l, uint8_t vector, bool level, struct lapic_work *w);
void lapic_local_locked(struct lapic *l, enum lapic_reg lvt, struct lapic_work *w);
void lapic_error_locked(struct lapic *l, uint32_t esr_bit, struct lapic_work *w);
void lapic_eoi_locked(struct lapic *l, struct lapic_work *w);
uint8_t lapic_ppr_locked(const struct lapic *l);
void lapic_x2apic_ids_locked(struct lapic *l);

/* lapic_timer.c: all locked */
enum timer_mode lapic_timer_mode(const struct lapic *l);
void lapic_timer_init(struct lapic *l);
void lapic_timer_settle_locked(struct lapic *l, struct lapic_work *w);
void lapic_timer_stop(struct lapic *l);
void lapic_timer_lvt_changed(struct lapic *l, uint32_t old_lvt, uint32_t old_current);
void lapic_timer_set_initial(struct lapic *l, uint32_t count);
void lapic_timer_set_divide(struct lapic *l, uint32_t divide);
uint32_t lapic_timer_current(struct lapic *l);
void lapic_timer_restore(struct lapic *l, uint32_t current);

#endif
