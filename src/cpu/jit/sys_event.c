/* sys_event.c - between two instructions: what is pending, and in which order it is taken
 * (SDM vol.3 table 6-2). */
#include "direct.h"
#include "sys.h"

#include "base/trace.h"

static bool waits_for_sipi(const struct jit_cpu *c)
{
    return c->st.mp_state == MP_WAIT_SIPI;
}

/* INIT keeps FPU, caches and most MSRs; the bootstrap processor starts over, others wait. */
static void take_init(struct jit_cpu *c)
{
    bool bsp = c->vcpu->index == 0;

    fpu_sync_to_state(c);
    x86_state_init_signal(&c->st, bsp, sys_of(c)->signature);
    fpu_sync_from_state(c);
    lapic_reset(c->lapic, true);
    c->st.apic_base = lapic_base_get(c->lapic);
    sys_of(c)->dr6_pending = 0;
    sys_of(c)->step_armed = false;
    sys_of(c)->shutdown = false;
    mmu_flush_all(c);
    cpu_update_mode(c);
}

static void take_sipi(struct jit_cpu *c)
{
    uint8_t vector = __atomic_load_n(&c->sipi_vector_async, __ATOMIC_ACQUIRE);

    if (c->st.mp_state != MP_WAIT_SIPI)
        return;
    c->st.seg[SEG_CS].sel = (uint16_t)(vector << 8);
    c->st.seg[SEG_CS].base = (uint64_t)vector << 12;
    c->st.rip = 0;
    c->st.mp_state = MP_RUNNABLE;
    cpu_update_mode(c);
}

static void take_async(struct jit_cpu *c, uint32_t p)
{
    struct x86_state *st = &c->st;

    if (p & PENDING_SMI)
        st->smi_pending = true;
    if (p & PENDING_NMI)
        st->nmi_pending = true;
    /* INIT waits while the processor is in SMM. */
    if ((p & PENDING_INIT) && st->in_smm) {
        sys_of(c)->init_held = true;
        p &= ~(uint32_t)PENDING_SIPI;
    } else if ((p & PENDING_INIT) || (sys_of(c)->init_held && !st->in_smm)) {
        sys_of(c)->init_held = false;
        take_init(c);
    }
    if (p & PENDING_SIPI)
        take_sipi(c);
    /* A kick that comes between the guest's last look at its lock and its HLT must not be lost:
     * it waits for the HLT, which with IF=0 nothing else would end. */
    if (p & PENDING_UNHALT)
        st->kvm_unhalted = true;
    if (st->kvm_unhalted && st->mp_state == MP_HALTED) {
        st->kvm_unhalted = false;
        st->mp_state = MP_RUNNABLE;
    }
}

static const uint32_t async_bits =
    PENDING_KICK | PENDING_NMI | PENDING_SMI | PENDING_INIT | PENDING_SIPI | PENDING_UNHALT;

void cpu_settle_events(struct jit_cpu *c)
{
    uint32_t p = __atomic_fetch_and(&c->pending, ~async_bits, __ATOMIC_SEQ_CST);

    take_async(c, p);
    pending_set(c, PENDING_KICK);
}

/* Trap-class #DB of the instruction that has just finished. MOV SS holds it back by one. */
static bool take_debug_traps(struct jit_cpu *c, bool *ok)
{
    struct sys_cpu *s = sys_of(c);
    uint64_t dr6 = s->dr6_pending | (s->step_armed ? DR6_BS : 0);

    if (!dr6)
        return false;
    s->step_armed = false;
    if (c->st.int_shadow == 2) {
        s->dr6_pending = dr6 & ~DR6_BS;
        return false;
    }
    s->dr6_pending = 0;
    *ok = sys_deliver_debug(c, dr6);
    return true;
}

/* An exception or interrupt that a state load brought along, already half-way in. */
static bool take_injected(struct jit_cpu *c, bool *ok)
{
    struct x86_state *st = &c->st;

    if (st->exception_pending) {
        st->exception_pending = false;
        *ok = cpu_deliver(c, st->exception_vector, st->exception_has_error, st->exception_error,
                          EV_EXCEPTION);
        return true;
    }
    if (st->interrupt_injected) {
        st->interrupt_injected = false;
        *ok = cpu_deliver(c, st->interrupt_vector, false, 0, EV_INTERRUPT);
        return true;
    }
    return false;
}

static bool take_nmi(struct jit_cpu *c, bool *ok)
{
    struct x86_state *st = &c->st;

    if (!st->nmi_pending || st->nmi_masked || st->int_shadow == 2)
        return false;
    st->nmi_pending = false;
    st->mp_state = MP_RUNNABLE;
    vcpu_count(c->vcpu, VCPU_EV_NMI);
    *ok = cpu_deliver(c, EX_NMI, false, 0, EV_NMI);
    st->nmi_masked = true;
    return true;
}

static bool take_interrupt(struct jit_cpu *c, bool *ok)
{
    struct x86_state *st = &c->st;

    if (lapic_pending(c->lapic) == -1)
        return false;
    if (!(st->rflags & FL_IF) || st->int_shadow) {
        vcpu_count(c->vcpu, VCPU_EV_IRQ_WINDOW);
        return false;
    }
    int vector = lapic_ack(c->lapic);
    if (vector < 0)
        return false;
    pv_steal_update(c);
    direct_tick(c);
    st->mp_state = MP_RUNNABLE;
    vcpu_count(c->vcpu, VCPU_EV_IRQ);
    TRACE(vcpu_inject, "cpu %u vector %d", c->vcpu->index, vector);
    *ok = cpu_deliver(c, (uint8_t)vector, false, 0, EV_INTERRUPT);
    return true;
}

/* One event at most, the most urgent; false when nothing can be taken. */
static bool take_one(struct jit_cpu *c, bool *ok)
{
    if (c->st.smi_pending && !c->st.in_smm) {
        c->st.smi_pending = false;
        sys_of(c)->smi_halted = c->st.mp_state == MP_HALTED;
        c->st.mp_state = MP_RUNNABLE;
        smm_enter(c);
        return true;
    }
    return take_debug_traps(c, ok) || take_injected(c, ok) || take_nmi(c, ok) ||
           take_interrupt(c, ok);
}

/* Prepares the next instruction: shadow, RF and TF count for exactly one. */
static bool arm_step(struct jit_cpu *c, bool *ok)
{
    struct sys_cpu *s = sys_of(c);

    if (likely(!sys_stepping(c) && !s->alone)) {
        pending_clear(c, PENDING_STEP);
        return false;
    }
    if ((c->st.dr[7] & 0xff) && !(c->st.rflags & FL_RF) && c->st.int_shadow != 2) {
        uint64_t hit = sys_code_breakpoint(c);
        if (hit) {
            *ok = sys_deliver_debug(c, hit);
            return true;
        }
    }
    s->alone = false;
    s->step_armed = c->st.rflags & FL_TF;
    c->st.int_shadow = 0;
    c->st.rflags &= ~(uint64_t)FL_RF;
    c->single = true;
    pending_set(c, PENDING_STEP);
    return false;
}

enum vcpu_exit cpu_take_events(struct jit_cpu *c)
{
    bool ok = true;

    c->single = false;
    if (c->pending & (PENDING_TLB_FLUSH | PENDING_STOP))
        jit_safepoint(c);
    /* Left for the loop to see: it asks exit_request after this call. */
    if (__atomic_load_n(&c->vcpu->exit_request, __ATOMIC_ACQUIRE))
        return VCPU_EXIT_NONE;
    for (;;) {
        uint32_t p = __atomic_fetch_and(&c->pending, ~async_bits, __ATOMIC_SEQ_CST);
        take_async(c, p);
        if (waits_for_sipi(c))
            return VCPU_EXIT_HLT;
        bool took = take_one(c, &ok);
        if (!ok || sys_of(c)->shutdown)
            return VCPU_EXIT_SHUTDOWN;
        if (took)
            continue;
        if (c->st.mp_state == MP_HALTED)
            return VCPU_EXIT_HLT;
        if (!arm_step(c, &ok))
            break;
        if (!ok)
            return VCPU_EXIT_SHUTDOWN;
    }
    /* A kick for the loop may have come and gone with the bits taken above. */
    if (__atomic_load_n(&c->vcpu->exit_request, __ATOMIC_SEQ_CST))
        pending_set(c, PENDING_KICK);
    return VCPU_EXIT_NONE;
}
