/* accel.c - the software CPU as an accelerator: one struct jit_cpu per vcpu behind struct
 * accel_ops.
 *
 *   vcpu thread: run() -> interp_run() until an exit; HLT waits here on a futex, so that an idle
 *   guest costs nothing; everything else that only vcpu.c can decide is returned.
 *
 * Threads: see accel.h.  Other threads reach a running vcpu only through pending bits (jit_wake).
 */
#include "direct.h"
#include "shape.h"
#include "tr.h"

#include "base/areas.h"
#include "base/error.h"
#include "base/evloop.h"
#include "base/trace.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SIGSTACK_BYTES (64 * KiB)

static inline struct jit_cpu *jit_of(struct vcpu *v)
{
    return v->accel;
}

/* ---- what the local APIC does to its vcpu (any thread) ---- */

static void apic_kick(void *cpu)
{
    jit_wake(cpu, PENDING_KICK);
}

static void apic_nmi(void *cpu)
{
    jit_wake(cpu, PENDING_NMI);
}

static void apic_smi(void *cpu)
{
    jit_wake(cpu, PENDING_SMI);
}

static void apic_init(void *cpu)
{
    jit_wake(cpu, PENDING_INIT);
}

static void apic_sipi(void *cpu, uint8_t vector)
{
    struct jit_cpu *c = cpu;

    __atomic_store_n(&c->sipi_vector_async, vector, __ATOMIC_RELEASE);
    jit_wake(c, PENDING_SIPI);
}

static uint64_t apic_tsc(void *cpu)
{
    return sys_tsc(cpu);
}

static uint64_t apic_tsc_to_ns(void *cpu, uint64_t delta)
{
    return jit_tsc_to_ns(set_of(cpu), delta);
}

static const struct lapic_cpu_ops apic_ops = {
    .kick = apic_kick,
    .nmi = apic_nmi,
    .smi = apic_smi,
    .init = apic_init,
    .sipi = apic_sipi,
    .tsc = apic_tsc,
    .tsc_to_ns = apic_tsc_to_ns,
};

/* ---- memory map listener: main thread with vcpus paused, except code_written and log_sync ---- */

static struct jit_set *set_of_listener(struct mem_listener *l)
{
    return container_of(l, struct jit_set, listener);
}

static void flush_everyone(struct jit_set *js)
{
    for (unsigned i = 0; i < js->set->count; i++)
        if (js->set->vcpu[i] && js->set->vcpu[i]->accel)
            jit_flush_wait(js->set, NULL, js->set->vcpu[i]->accel);
}

static void on_region_add(struct mem_listener *l, const struct guest_region *r)
{
    flush_everyone(set_of_listener(l));
}

/* Code decoded from the region must go too, and with it the host pointers that it holds. */
static void on_region_del(struct mem_listener *l, const struct guest_region *r)
{
    struct jit_set *js = set_of_listener(l);

    flush_everyone(js);
    for (unsigned i = 0; i < js->set->count; i++)
        if (js->set->vcpu[i] && js->set->vcpu[i]->accel)
            icache_flush(js->set->vcpu[i]->accel);
}

static void on_log_change(struct mem_listener *l, const struct guest_region *r, bool on)
{
    flush_everyone(set_of_listener(l));
}

static void on_code_written(struct mem_listener *l, const struct guest_region *r, uint64_t offset,
                            uint64_t len)
{
    struct jit_set *js = set_of_listener(l);

    for (unsigned i = 0; i < js->set->count; i++)
        if (js->set->vcpu[i] && js->set->vcpu[i]->accel)
            icache_invalidate(js->set->vcpu[i]->accel, r, offset, len);
}

/* Stores under a dirty log mark each page as they happen, so there is nothing to fold in on
 * log_sync, and discarded pages keep their host address, so the TLBs stay right. */
static const struct mem_listener_ops listener_ops = {
    .region_add = on_region_add,
    .region_del = on_region_del,
    .log_change = on_log_change,
    .code_written = on_code_written,
};

/* ---- life cycle ---- */

static bool jit_init(struct cpu_set *s, GError **err)
{
    struct jit_set *js = g_new0(struct jit_set, 1);

    s->accel = js;
    js->set = s;
    if (!tr_options_read(&js->tr, s->cfg.accel_props, MAX_OF(s->cfg.topology.maxcpus, 1), err)) {
        g_free(js);
        s->accel = NULL;
        return false;
    }
    pthread_mutex_init(&js->lock, NULL);
    pthread_cond_init(&js->cond, NULL);
    pthread_mutex_init(&js->code_lock, NULL);
    pthread_mutex_init(&js->hv.page_lock, NULL);
    jit_clock_init(js, s->model->tsc_khz);
    s->soft = soft_irqchip_new(s->cfg.clock, MAX_OF(s->cfg.topology.maxcpus, s->count));
    s->irqchip = soft_irqchip_base(s->soft);
    js->listener.ops = &listener_ops;
    guest_mem_listen(s->cfg.mem, &js->listener);
    return true;
}

/* What user programs touch is mapped once more (direct.h). */
static bool jit_wants_shared_ram(struct cpu_set *s)
{
    const struct jit_set *js = s->accel;

    return js->tr.direct && !js->tr.off && !js->tr.cosim;
}

static void jit_fini(struct cpu_set *s)
{
    struct jit_set *js = s->accel;

    if (!js)
        return;
    guest_mem_unlisten(s->cfg.mem, &js->listener);
    soft_irqchip_free(s->soft);
    s->soft = NULL;
    s->irqchip = NULL;
    pthread_mutex_destroy(&js->code_lock);
    pthread_mutex_destroy(&js->hv.page_lock);
    pthread_cond_destroy(&js->cond);
    pthread_mutex_destroy(&js->lock);
    g_free(js);
    s->accel = NULL;
}

static bool pae_paging(const struct x86_state *st)
{
    return (st->cr0 & CR0_PG) && (st->cr4 & CR4_PAE) && !(st->efer & EFER_LMA);
}

static void after_state_change(struct jit_cpu *c)
{
    const struct x86_state *st = &c->st;

    mmu_flush_all(c);
    icache_flush(c);
    if (st->pdpte_valid)
        memcpy(sys_of(c)->pdpte, st->pdpte, sizeof(st->pdpte));
    else if (pae_paging(st))
        mmu_pdptrs_load(c);
    cpu_update_mode(c);
    fpu_sync_from_state(c);
    sys_debug_update(c);
    pending_set(c, PENDING_KICK);
}

static void jit_reset(struct vcpu *v)
{
    struct jit_cpu *c = jit_of(v);
    struct sys_cpu *s = sys_of(c);

    x86_state_reset(&c->st, v->index == 0, s->signature);
    lapic_reset(c->lapic, false);
    c->st.apic_base = lapic_base_get(c->lapic);
    /* one that joins later counts as the others do */
    c->tsc_offset = v->set->count && v->set->vcpu[0] != v ? jit_of(v->set->vcpu[0])->tsc_offset
                                                          : 0 - jit_tsc_now(set_of(c));
    __atomic_store_n(&c->pending, 0, __ATOMIC_SEQ_CST);
    c->delivering_vector = -1;
    s->step_armed = s->init_held = s->shutdown = false;
    s->dr6_pending = 0;
    s->steal_next_tsc = 0;
    hv_reset(c);
    after_state_change(c);
}

static void learn_model(struct jit_cpu *c)
{
    struct sys_cpu *s = sys_of(c);
    const struct cpu_model *m = c->set->model;
    uint32_t out[4];

    s->intel = strcmp(m->vendor, "AuthenticAMD") != 0 && strcmp(m->vendor, "HygonGenuine") != 0;
    s->phys_bits = CLAMP(m->phys_bits, 32, 52);
    sys_cpuid(c, 1, 0, out);
    s->signature = out[0];
}

static bool jit_vcpu_init(struct vcpu *v, GError **err)
{
    struct jit_cpu *c = tr_low_alloc(sizeof(*c));

    if (!c)
        return error_errno(err, ENOMEM, "Cannot allocate vcpu %u", v->index);
    memory_area_add("jit-tables", c, sizeof(*c));
    c->sys = g_new0(struct sys_cpu, 1);
    c->vcpu = v;
    c->set = v->set;
    c->delivering_vector = -1;
    sys_of(c)->schedstat_fd = -1;
    learn_model(c);
    c->lapic = soft_irqchip_lapic(v->set->soft, v->index);
    lapic_set_features(c->lapic, sys_has(c, FEAT_1_ECX, 21), sys_has(c, FEAT_1_ECX, 24),
                       sys_of(c)->phys_bits);
    fpu_cpu_init(c);
    c->icache = icache_new(c);
    c->shapes = shape_memo_new();
    mmu_init(c);
    if (!set_of(c)->tr.off && !tr_init(c))
        return error_errno(err, errno, "Cannot map memory for the code of vcpu %u", v->index);
    cpu_update_mode(c);
    v->accel = c;
    lapic_attach_cpu(c->lapic, v->apic_id, &apic_ops, c);
    jit_reset(v);
    return true;
}

/* The local APIC is off, which takes it off the bus; other threads may still hold a pointer. */
static void jit_unplugged(struct vcpu *v)
{
    lapic_base_set(jit_of(v)->lapic, lapic_base_get(jit_of(v)->lapic) & ~APIC_BASE_ENABLE);
}

static void jit_vcpu_fini(struct vcpu *v)
{
    struct jit_cpu *c = jit_of(v);

    if (!c)
        return;
    lapic_attach_cpu(c->lapic, v->apic_id, NULL, NULL);
    icache_free(c->icache);
    shape_memo_free(c->shapes);
    fpu_cpu_fini(c);
    pv_fini(c);
    tr_fini(c);
    g_free(c->sys);
    memory_area_del(c);
    munmap(c, sizeof(*c));
    v->accel = NULL;
}

/* Guest code may leave the stack pointer of a fault handler anywhere, so handlers get their own
 * stack; asynchronous signals belong to the main thread. */
static void jit_thread_start(struct vcpu *v)
{
    static _Thread_local stack_t stack;
    sigset_t block;

    direct_flush(v->accel); /* GS.base is this thread's own */
    stack.ss_size = SIGSTACK_BYTES;
    stack.ss_sp =
        mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp != MAP_FAILED)
        sigaltstack(&stack, NULL);
    sigfillset(&block);
    sigdelset(&block, SIGSEGV);
    sigdelset(&block, SIGBUS);
    sigdelset(&block, SIGFPE);
    sigdelset(&block, SIGILL);
    sigdelset(&block, SIGTRAP);
    sigdelset(&block, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &block, NULL);
    pv_thread_start(jit_of(v));
}

/* ---- running ---- */

static enum vcpu_exit jit_run(struct vcpu *v)
{
    struct jit_cpu *c = jit_of(v);
    enum vcpu_exit exit;

    do {
        jit_enter_guest(c);
        vcpu_at(v, VCPU_IN_GUEST);
        exit = interp_run(c);
        vcpu_at(v, exit == VCPU_EXIT_HLT ? VCPU_HALTED : VCPU_IN_VMM);
        jit_leave_guest(c);
        v->stats.instructions = c->instructions;
        if (exit == VCPU_EXIT_HLT) {
            v->stats.exits[VCPU_EXIT_HLT]++;
            TRACE(vcpu_halt, "cpu %u", v->index);
            jit_halt_wait(c);
            vcpu_at(v, VCPU_IN_VMM);
        }
    } while (exit == VCPU_EXIT_HLT && !__atomic_load_n(&v->exit_request, __ATOMIC_ACQUIRE));
    return exit == VCPU_EXIT_HLT ? VCPU_EXIT_NONE : exit;
}

static void jit_kick(struct vcpu *v)
{
    jit_wake(jit_of(v), PENDING_KICK);
}

static void jit_nmi(struct vcpu *v)
{
    jit_wake(jit_of(v), PENDING_NMI);
}

static void jit_smi(struct vcpu *v)
{
    jit_wake(jit_of(v), PENDING_SMI);
}

/* ---- state ---- */

static void jit_get_state(struct vcpu *v, struct x86_state *out)
{
    struct jit_cpu *c = jit_of(v);
    struct sys_cpu *s = sys_of(c);
    uint64_t dr6 = s->dr6_pending | (s->step_armed ? DR6_BS : 0);

    cpu_settle_events(c);
    fpu_export_state(c);
    *out = c->st;
    out->pdpte_valid = pae_paging(out);
    memcpy(out->pdpte, s->pdpte, sizeof(out->pdpte));
    /* The host's XSAVE stores what the host has; the guest owns only what its XCR0 names. */
    le64_put(out->xsave + 512, le64_get(out->xsave + 512) & (out->xcr0 | 3));
    out->cr8 = lapic_tpr_get(c->lapic) >> 4;
    lapic_state_get(c->lapic, out->lapic, &out->apic_base);
    out->tsc = sys_tsc(c);
    out->tsc_deadline = lapic_deadline_get(c->lapic);
    out->kvmclock_ns = jit_kvmclock_ns(set_of(c));
    hv_state_get(c, out);
    if (dr6 && !out->exception_pending) {
        out->dr[6] |= dr6;
        out->exception_pending = true;
        out->exception_has_error = false;
        out->exception_error = 0;
        out->exception_vector = EX_DB;
    }
}

static bool jit_set_state(struct vcpu *v, const struct x86_state *in, GError **err)
{
    struct jit_cpu *c = jit_of(v);
    struct sys_cpu *s = sys_of(c);
    struct jit_set *js = set_of(c);

    if (!lapic_state_set(c->lapic, in->lapic, in->apic_base, err))
        return false;
    c->st = *in;
    c->tsc_offset = in->tsc - jit_tsc_now(js);
    s->step_armed = s->init_held = s->shutdown = false;
    s->dr6_pending = 0;
    /* Steal time goes on from the guest's count; what happened before the load is not added. */
    s->steal_last_ns = 0;
    s->steal_next_tsc = 0;
    s->steal_resync = true;
    lapic_deadline_set(c->lapic, in->tsc_deadline);
    hv_state_set(c, in);
    if (v->index == 0)
        js->kvmclock_offset = (int64_t)(in->kvmclock_ns - vm_clock_ns(v->set->cfg.clock));
    __atomic_store_n(&c->pending, 0, __ATOMIC_SEQ_CST);
    after_state_change(c);
    return true;
}

static void jit_clock_stopped(struct cpu_set *s)
{
    jit_clock_stop(s->accel);
}

static void jit_clock_started(struct cpu_set *s)
{
    jit_clock_start(s->accel);
}

const struct accel_ops jit_accel = {
    .name = "jit",
    .thread_tag = "JIT",
    .init = jit_init,
    .fini = jit_fini,
    .vcpu_init = jit_vcpu_init,
    .vcpu_thread_start = jit_thread_start,
    .vcpu_fini = jit_vcpu_fini,
    .unplugged = jit_unplugged,
    .run = jit_run,
    .kick = jit_kick,
    .reset = jit_reset,
    .get_state = jit_get_state,
    .set_state = jit_set_state,
    .nmi = jit_nmi,
    .smi = jit_smi,
    .counter_names = tr_counter_names,
    .counters = tr_counters,
    .wants_shared_ram = jit_wants_shared_ram,
    .clock_stopped = jit_clock_stopped,
    .clock_started = jit_clock_started,
};
