/* sys_hyperv.c - what a guest of Hyper-V finds beyond hardware: its MSRs, the hypercall page, the
 * reference counter and its page, hypercalls for spinning, interrupts and TLBs.
 *
 *   guest: GUEST_OS_ID, then HYPERCALL | 1 --> two instructions in its page --VMCALL-->
 * hv_hypercall guest: REFERENCE_TSC | 1 --> its page: time = (TSC * scale >> 64) + offset, in 100
 * ns
 *
 * The reference counter is kvmclock in other units: both stand still with the machine, and move
 * with its state.  A page holds as long as all processors have the same TSC; else its sequence
 * is 0, and the guest reads the counter's MSR.
 *
 * Threads: MSRs of the whole machine are atomic; the vcpu that writes them acts on the change.
 * Spec: Hypervisor Top Level Functional Specification 6.0b: ch. 3 (hypercalls), 7 (processors),
 * 10.6 (APIC), 12.7 (time), appendices A, C, F. */
#include "sys.h"
#include "x86/hyperv.h"

#include "base/trace.h"

#include <sched.h>
#include <time.h>

enum {
    MSR_GUEST_OS_ID = 0x40000000,
    MSR_HYPERCALL,
    MSR_VP_INDEX,
    MSR_RESET,
    MSR_VP_RUNTIME = 0x40000010,
    MSR_TIME_REF_COUNT = 0x40000020,
    MSR_REFERENCE_TSC,
    MSR_TSC_FREQUENCY,
    MSR_APIC_FREQUENCY,
    MSR_EOI = 0x40000070,
    MSR_ICR,
    MSR_TPR,
    MSR_VP_ASSIST,
    MSR_CRASH_P0 = 0x40000100,
    MSR_CRASH_CTL = 0x40000105,
};
enum { ENABLE = BIT(0), HYPERCALL_LOCKED = BIT(1), RESET = BIT(0) };
#define CRASH_NOTIFY  BIT64(63)
#define APIC_TIMER_HZ 1000000000ull /* of our local APIC, undivided */
#define NS_PER_UNIT   100u

/* TLFS 12.7.3.2 */
struct tsc_page {
    uint32_t sequence, reserved;
    uint64_t scale;
    int64_t offset;
};

static bool has(const struct jit_cpu *c, enum hyperv_bit bit)
{
    return c->set->model->feat[FEAT_HV] & BIT(bit);
}

bool hv_shown(const struct jit_cpu *c)
{
    return c->set->model->feat[FEAT_HV] != 0;
}

/* ---- time ---- */

/* Units of 100 ns per tick, as a fraction of 2^64; 0: too slow a TSC for that. */
static uint64_t scale_of(const struct jit_set *js)
{
    const uint64_t units_per_ms = 10000;
    uint64_t khz = jit_tsc_khz(js);

    if (khz <= units_per_ms)
        return 0;
    return (uint64_t)(((unsigned __int128)units_per_ms << 64) / khz);
}

static uint64_t units(uint64_t ticks, uint64_t scale)
{
    return (uint64_t)(((unsigned __int128)ticks * scale) >> 64);
}

static uint64_t offset_of(const struct jit_set *js, uint64_t tsc_offset, uint64_t scale)
{
    return js->clock_ns / NS_PER_UNIT - units(js->clock_tsc + tsc_offset, scale);
}

/* By the page's own arithmetic: a guest may compare both. */
static uint64_t reference_time(struct jit_cpu *c)
{
    const struct jit_set *js = set_of(c);
    uint64_t scale = scale_of(js);

    if (!scale)
        return jit_kvmclock_ns(js) / NS_PER_UNIT;
    return units(sys_tsc(c), scale) + offset_of(js, c->tsc_offset, scale);
}

/* The processors' common offset from the machine's TSC; false: they have not the same one. */
static bool common_offset(const struct jit_set *js, uint64_t *out)
{
    const struct cpu_set *s = js->set;

    for (unsigned i = 0; i < s->count; i++) {
        const struct jit_cpu *c = s->vcpu[i]->accel;
        if (c && i == 0)
            *out = c->tsc_offset;
        else if (!c || c->tsc_offset != *out)
            return false;
    }
    return s->count > 0;
}

static void tsc_page_write(struct jit_set *js, uint64_t gpa)
{
    struct guest_mem *mem = js->set->cfg.mem;
    volatile struct tsc_page *p = guest_mem_ptr(mem, GPA(gpa), sizeof(*p), true);
    uint64_t scale = scale_of(js), tsc_offset = 0;

    if (!p)
        return;
    uint32_t next = p->sequence + 1;
    if (next == 0 || next == UINT32_MAX) /* both mean something else */
        next = 1;
    p->sequence = 0; /* not to be used while it changes */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (scale && common_offset(js, &tsc_offset)) {
        p->scale = scale;
        p->offset = (int64_t)offset_of(js, tsc_offset, scale);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        p->sequence = next;
    }
    guest_mem_wrote(mem, GPA(gpa), sizeof(*p));
}

void hv_tsc_page_update(struct jit_set *js)
{
    uint64_t msr = __atomic_load_n(&js->hv.reference_tsc, __ATOMIC_SEQ_CST);

    if (!(msr & ENABLE))
        return;
    pthread_mutex_lock(&js->hv.page_lock);
    tsc_page_write(js, msr & ~UINT64_C(0xfff));
    pthread_mutex_unlock(&js->hv.page_lock);
}

/* What this vcpu's thread has used of processors; any thread. */
static uint64_t thread_units(struct jit_cpu *c)
{
    struct timespec t = {0};
    clockid_t clock;

    if (!c->vcpu->started || pthread_getcpuclockid(c->vcpu->thread, &clock) != 0)
        return 0;
    clock_gettime(clock, &t);
    return ((uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec) / NS_PER_UNIT;
}

/* ---- the local APIC by MSRs ---- */

enum { X2_TPR = 0x808, X2_EOI = 0x80b, X2_ICR = 0x830, REG_EOI = 0xb0, REG_ICR = 0x300 };
#define BASE_X2APIC BIT64(10)

static bool x2apic(struct jit_cpu *c)
{
    return lapic_base_get(c->lapic) & BASE_X2APIC;
}

static bool eoi(struct jit_cpu *c)
{
    if (x2apic(c))
        return lapic_msr_write(c->lapic, X2_EOI, 0);
    lapic_mmio_write(c->lapic, REG_EOI, 4, 0);
    return true;
}

static bool icr_write(struct jit_cpu *c, uint64_t v)
{
    if (x2apic(c))
        return lapic_msr_write(c->lapic, X2_ICR, v);
    lapic_mmio_write(c->lapic, REG_ICR + 0x10, 4, v >> 32);
    lapic_mmio_write(c->lapic, REG_ICR, 4, (uint32_t)v);
    return true;
}

static uint64_t icr_read(struct jit_cpu *c)
{
    uint64_t v = 0;

    if (x2apic(c)) {
        lapic_msr_read(c->lapic, X2_ICR, &v);
        return v;
    }
    return (uint32_t)lapic_mmio_read(c->lapic, REG_ICR, 4) |
           lapic_mmio_read(c->lapic, REG_ICR + 0x10, 4) << 32;
}

static bool apic_write(struct jit_cpu *c, uint32_t msr, uint64_t v)
{
    bool ok = true;

    if (msr == MSR_EOI)
        ok = eoi(c);
    else if (msr == MSR_ICR)
        ok = icr_write(c, v);
    else if (v > 0xff)
        return false;
    else
        lapic_tpr_set(c->lapic, (uint8_t)v);
    sys_interrupts_opened(c);
    return ok;
}

/* ---- MSRs ---- */

/* VMCALL or VMMCALL, as the vendor has it, and a return. */
static bool hypercall_page(struct jit_cpu *c, uint64_t v)
{
    struct jit_set *js = set_of(c);
    const uint8_t code[] = {0x0f, 0x01, sys_of(c)->intel ? 0xc1 : 0xd9, 0xc3};
    uint64_t now = __atomic_load_n(&js->hv.hypercall, __ATOMIC_SEQ_CST);

    /* TLFS 3.13: without an identity the page stays off; a locked one stays where it is. */
    if ((now & HYPERCALL_LOCKED) || !__atomic_load_n(&js->hv.guest_os_id, __ATOMIC_SEQ_CST))
        return true;
    if ((v & ENABLE) &&
        guest_mem_write(c->set->cfg.mem, GPA(v & ~UINT64_C(0xfff)), code, sizeof(code)) != 0)
        return false;
    __atomic_store_n(&js->hv.hypercall, v, __ATOMIC_SEQ_CST);
    return true;
}

static bool identify(struct jit_set *js, uint64_t v)
{
    __atomic_store_n(&js->hv.guest_os_id, v, __ATOMIC_SEQ_CST);
    if (!v)
        __atomic_fetch_and(&js->hv.hypercall, ~(uint64_t)ENABLE, __ATOMIC_SEQ_CST);
    return true;
}

static bool reference_page(struct jit_set *js, uint64_t v)
{
    if ((v & ENABLE) &&
        !guest_mem_ptr(js->set->cfg.mem, GPA(v & ~UINT64_C(0xfff)), sizeof(struct tsc_page), true))
        return false;
    __atomic_store_n(&js->hv.reference_tsc, v, __ATOMIC_SEQ_CST);
    hv_tsc_page_update(js);
    return true;
}

static bool crash(struct jit_cpu *c, uint64_t v)
{
    struct jit_set *js = set_of(c);
    uint64_t info[5];

    if (!(v & CRASH_NOTIFY))
        return true;
    for (unsigned i = 0; i < ARRAY_SIZE(info); i++)
        info[i] = __atomic_load_n(&js->hv.crash[i], __ATOMIC_RELAXED);
    if (c->set->cfg.events.crashed)
        c->set->cfg.events.crashed(c->set->cfg.events.opaque, info);
    return true;
}

/* Leaves the guest as a triple fault does: the machine is reset, or does what it does instead. */
static bool reset_machine(struct jit_cpu *c, uint64_t v)
{
    if (v & RESET) {
        sys_of(c)->shutdown = true;
        pending_set(c, PENDING_KICK);
    }
    return true;
}

bool hv_wrmsr(struct jit_cpu *c, uint32_t msr, uint64_t v)
{
    struct jit_set *js = set_of(c);

    if (!hv_shown(c))
        return false;
    if (msr >= MSR_CRASH_P0 && msr < MSR_CRASH_CTL && has(c, HV_CRASH)) {
        __atomic_store_n(&js->hv.crash[msr - MSR_CRASH_P0], v, __ATOMIC_RELAXED);
        return true;
    }
    switch (msr) {
    case MSR_GUEST_OS_ID:
        return identify(js, v);
    case MSR_HYPERCALL:
        return hypercall_page(c, v);
    case MSR_RESET:
        return has(c, HV_RESET) && reset_machine(c, v);
    case MSR_REFERENCE_TSC:
        return has(c, HV_TIME) && reference_page(js, v);
    case MSR_EOI:
    case MSR_ICR:
    case MSR_TPR:
        return has(c, HV_VAPIC) && apic_write(c, msr, v);
    case MSR_VP_ASSIST: /* the page is read by nobody: every EOI is wanted */
        c->st.hv_vp_assist = v;
        return true;
    case MSR_CRASH_CTL:
        return has(c, HV_CRASH) && crash(c, v);
    default:
        return false;
    }
}

static bool read_clock(struct jit_cpu *c, uint32_t msr, uint64_t *v)
{
    switch (msr) {
    case MSR_VP_RUNTIME:
        *v = c->st.hv_vp_runtime + thread_units(c);
        return has(c, HV_RUNTIME);
    case MSR_TIME_REF_COUNT:
        *v = reference_time(c);
        return has(c, HV_TIME);
    case MSR_REFERENCE_TSC:
        *v = __atomic_load_n(&set_of(c)->hv.reference_tsc, __ATOMIC_SEQ_CST);
        return has(c, HV_TIME);
    case MSR_TSC_FREQUENCY:
        *v = jit_tsc_khz(set_of(c)) * 1000;
        return has(c, HV_FREQUENCIES);
    case MSR_APIC_FREQUENCY:
        *v = APIC_TIMER_HZ;
        return has(c, HV_FREQUENCIES);
    default:
        return false;
    }
}

bool hv_rdmsr(struct jit_cpu *c, uint32_t msr, uint64_t *v)
{
    struct jit_set *js = set_of(c);

    *v = 0;
    if (!hv_shown(c))
        return false;
    if (msr >= MSR_CRASH_P0 && msr < MSR_CRASH_CTL) {
        *v = __atomic_load_n(&js->hv.crash[msr - MSR_CRASH_P0], __ATOMIC_RELAXED);
        return has(c, HV_CRASH);
    }
    switch (msr) {
    case MSR_GUEST_OS_ID:
        *v = __atomic_load_n(&js->hv.guest_os_id, __ATOMIC_SEQ_CST);
        return true;
    case MSR_HYPERCALL:
        *v = __atomic_load_n(&js->hv.hypercall, __ATOMIC_SEQ_CST);
        return true;
    case MSR_VP_INDEX:
        *v = c->vcpu->index;
        return has(c, HV_VPINDEX);
    case MSR_RESET:
        return has(c, HV_RESET);
    case MSR_ICR:
        *v = icr_read(c);
        return has(c, HV_VAPIC);
    case MSR_TPR:
        *v = lapic_tpr_get(c->lapic);
        return has(c, HV_VAPIC);
    case MSR_VP_ASSIST:
        *v = c->st.hv_vp_assist;
        return true;
    case MSR_CRASH_CTL:
        *v = CRASH_NOTIFY;
        return has(c, HV_CRASH);
    default:
        return read_clock(c, msr, v);
    }
}

/* ---- hypercalls ---- */

enum {
    CALL_FLUSH_SPACE = 0x02,
    CALL_FLUSH_LIST = 0x03,
    CALL_LONG_SPIN = 0x08,
    CALL_SEND_IPI = 0x0b,
    CALL_FLUSH_SPACE_EX = 0x13,
    CALL_FLUSH_LIST_EX = 0x14,
    CALL_SEND_IPI_EX = 0x15,
};
enum hv_status {
    HV_OK = 0,
    HV_BAD_CODE = 2,
    HV_BAD_INPUT = 3,
    HV_BAD_ALIGNMENT = 4,
    HV_BAD_PARAMETER = 5,
};
enum { BANKS = 64, SET_SPARSE = 0, SET_ALL = 1 };

/* TLFS 3.7, 3.8: the control word, and input in registers (fast) or in memory. */
struct call {
    uint16_t code;
    bool fast;
    unsigned varhead, count, start; /* quadwords of the variable header; repetitions */
    uint64_t input, output;
};

/* Processors by number, in banks of 64; all: each of them. */
struct vp_set {
    bool all;
    uint64_t bank[BANKS];
};

static bool vp_in(const struct vp_set *s, unsigned index)
{
    return s->all || (index / 64 < BANKS && (s->bank[index / 64] >> index % 64 & 1));
}

static bool input_read(struct jit_cpu *c, const struct call *k, uint64_t off, void *out, size_t len)
{
    return guest_mem_read(c->set->cfg.mem, GPA(k->input + off), out, len) == 0;
}

/* TLFS 7.8.7.3: format, the banks there are, and these; off: of the format in the input. */
static enum hv_status sparse_set(struct jit_cpu *c, const struct call *k, uint64_t off,
                                 struct vp_set *s)
{
    uint64_t head[2], banks = 0;
    unsigned n = 0;

    if (k->fast)
        return HV_BAD_INPUT;
    if (!input_read(c, k, off, head, sizeof(head)))
        return HV_BAD_ALIGNMENT;
    if (head[0] == SET_ALL) {
        s->all = true;
        return HV_OK;
    }
    if (head[0] != SET_SPARSE)
        return HV_BAD_PARAMETER;
    banks = head[1];
    if ((unsigned)__builtin_popcountll(banks) != k->varhead)
        return HV_BAD_INPUT;
    for (unsigned b = 0; b < BANKS; b++)
        if ((banks >> b & 1) && !input_read(c, k, off + sizeof(head) + 8 * n++, &s->bank[b], 8))
            return HV_BAD_ALIGNMENT;
    return HV_OK;
}

static void send(struct jit_cpu *c, const struct vp_set *s, uint8_t vector)
{
    for (unsigned i = 0; i < c->set->count; i++) {
        const struct vcpu *v = c->set->vcpu[i];
        uint64_t dest = x2apic(c) ? (uint64_t)v->apic_id << 32 : (uint64_t)v->apic_id << 56;
        if (vp_in(s, v->index))
            icr_write(c, dest | vector); /* fixed, by id, edge */
    }
    sys_interrupts_opened(c);
}

static enum hv_status call_ipi(struct jit_cpu *c, const struct call *k)
{
    struct vp_set s = {.all = false};
    uint64_t in[2] = {k->input, k->output}; /* fast: the same two words */
    enum hv_status status = HV_OK;

    if (!k->fast && !input_read(c, k, 0, in, k->code == CALL_SEND_IPI ? 16 : 8))
        return HV_BAD_ALIGNMENT;
    if (k->code == CALL_SEND_IPI_EX)
        status = sparse_set(c, k, 8, &s);
    else
        s.bank[0] = in[1];
    if (status != HV_OK)
        return status;
    uint32_t vector = (uint32_t)in[0];
    if (vector < 16 || vector > 255 || in[0] >> 32)
        return HV_BAD_PARAMETER;
    send(c, &s, (uint8_t)vector);
    return HV_OK;
}

/* Whatever address space and pages it names: all that these processors remember. */
static enum hv_status call_flush(struct jit_cpu *c, const struct call *k)
{
    enum { ALL_PROCESSORS = BIT(0) };
    struct vp_set s = {.all = false};
    uint64_t in[3] = {0};
    bool ex = k->code == CALL_FLUSH_SPACE_EX || k->code == CALL_FLUSH_LIST_EX;
    enum hv_status status;

    if (k->fast)
        return HV_BAD_INPUT;
    if (!input_read(c, k, 0, in, ex ? 16 : 24))
        return HV_BAD_ALIGNMENT;
    if (ex && (status = sparse_set(c, k, 16, &s)) != HV_OK)
        return status;
    s.bank[0] |= in[2];
    s.all |= (in[1] & ALL_PROCESSORS) != 0;
    for (unsigned i = 0; i < c->set->count; i++) {
        struct jit_cpu *other = c->set->vcpu[i]->accel;
        if (other != c && vp_in(&s, other->vcpu->index))
            jit_flush_wait(c->set, c, other);
    }
    if (vp_in(&s, c->vcpu->index))
        mmu_flush_all(c);
    return HV_OK;
}

static enum hv_status call_do(struct jit_cpu *c, const struct call *k)
{
    bool list = k->code == CALL_FLUSH_LIST || k->code == CALL_FLUSH_LIST_EX;

    if (list ? k->start >= k->count : k->count || k->start)
        return HV_BAD_INPUT;
    switch (k->code) {
    case CALL_LONG_SPIN:
        sched_yield();
        return HV_OK;
    case CALL_SEND_IPI:
    case CALL_SEND_IPI_EX:
        return has(c, HV_IPI) ? call_ipi(c, k) : HV_BAD_CODE;
    case CALL_FLUSH_SPACE:
    case CALL_FLUSH_LIST:
    case CALL_FLUSH_SPACE_EX:
    case CALL_FLUSH_LIST_EX:
        return has(c, HV_TLBFLUSH) ? call_flush(c, k) : HV_BAD_CODE;
    default:
        return HV_BAD_CODE;
    }
}

bool hv_takes_hypercalls(const struct jit_cpu *c)
{
    return hv_shown(c) && __atomic_load_n(&set_of(c)->hv.guest_os_id, __ATOMIC_SEQ_CST);
}

static uint64_t pair(const struct jit_cpu *c, unsigned high, unsigned low)
{
    return (uint64_t)(uint32_t)c->st.gpr[high] << 32 | (uint32_t)c->st.gpr[low];
}

void hv_hypercall(struct jit_cpu *c)
{
    uint64_t *r = c->st.gpr, control = code64(c) ? r[R_RCX] : pair(c, R_RDX, R_RAX);
    struct call k = {
        .code = (uint16_t)control,
        .fast = control >> 16 & 1,
        .varhead = control >> 17 & 0x3ff,
        .count = control >> 32 & 0xfff,
        .start = control >> 48 & 0xfff,
        .input = code64(c) ? r[R_RDX] : pair(c, R_RBX, R_RCX),
        .output = code64(c) ? r[R_R8] : pair(c, R_RDI, R_RSI),
    };

    vcpu_count(c->vcpu, VCPU_EV_HYPERCALL);
    TRACE(vcpu_hypercall, "cpu %u number %u", c->vcpu->index, k.code);
    enum hv_status status = !k.fast && k.input % 8 ? HV_BAD_ALIGNMENT : call_do(c, &k);
    uint64_t result = (uint64_t)status | (uint64_t)(status == HV_OK ? k.count : 0) << 32;
    if (code64(c)) {
        r[R_RAX] = result;
    } else {
        r[R_RAX] = (uint32_t)result;
        r[R_RDX] = result >> 32;
    }
}

/* ---- state ---- */

void hv_reset(struct jit_cpu *c)
{
    struct jit_set *js = set_of(c);

    if (c->vcpu->index != 0)
        return;
    js->hv.guest_os_id = js->hv.hypercall = js->hv.reference_tsc = 0;
    memset(js->hv.crash, 0, sizeof(js->hv.crash));
}

void hv_state_get(struct jit_cpu *c, struct x86_state *out)
{
    const struct jit_set *js = set_of(c);

    out->hv_guest_os_id = js->hv.guest_os_id;
    out->hv_hypercall = js->hv.hypercall;
    out->hv_reference_tsc = js->hv.reference_tsc;
    memcpy(out->hv_crash, js->hv.crash, sizeof(out->hv_crash));
    out->hv_vp_runtime = c->st.hv_vp_runtime + thread_units(c);
}

/* Pages are in the guest's memory as they were; the TSC's is written anew when clocks start. */
void hv_state_set(struct jit_cpu *c, const struct x86_state *in)
{
    struct jit_set *js = set_of(c);

    c->st.hv_vp_runtime = in->hv_vp_runtime - thread_units(c);
    if (c->vcpu->index != 0)
        return;
    js->hv.guest_os_id = in->hv_guest_os_id;
    js->hv.hypercall = in->hv_hypercall;
    js->hv.reference_tsc = in->hv_reference_tsc;
    memcpy(js->hv.crash, in->hv_crash, sizeof(js->hv.crash));
}
