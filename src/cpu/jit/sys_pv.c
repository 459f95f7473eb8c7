/* sys_pv.c - what a KVM guest finds beyond hardware: kvmclock, steal time, hypercalls
 * (Linux Documentation/virt/kvm/x86/{msr,hypercalls,cpuid}.rst). */
#include "sys.h"

#include "base/trace.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MSR_WALL_CLOCK_OLD  0x11
#define MSR_SYSTEM_TIME_OLD 0x12
#define MSR_WALL_CLOCK      0x4b564d00
#define MSR_SYSTEM_TIME     0x4b564d01
#define MSR_STEAL_TIME      0x4b564d03
#define MSR_POLL_CONTROL    0x4b564d05

/* Bits of CPUID 0x40000001 EAX */
#define PV_CLOCK_OLD    0
#define PV_CLOCK        3
#define PV_STEAL_TIME   5
#define PV_UNHALT       7
#define PV_POLL_CONTROL 12
#define PV_CLOCK_STABLE 24

#define STEAL_PERIOD_NS 1000000ull

struct pv_time_info {
    uint32_t version, pad0;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad[2];
};
#define PV_TIME_STABLE 1

struct pv_wall_clock {
    uint32_t version, sec, nsec;
};

struct pv_steal {
    uint64_t steal;
    uint32_t version, flags;
    uint8_t preempted, pad0[3];
    uint32_t pad[11];
};

/* ---- kvmclock ---- */

/* ns = ((ticks << shift) * mul) >> 32, with a right shift when shift is negative. */
static void time_scale(uint64_t khz, uint32_t *mul, int8_t *shift)
{
    uint64_t hz = khz * 1000, ns = 1000000000;
    int s = 0;

    while (hz > ns * 2 || hz >> 32) {
        hz >>= 1;
        s--;
    }
    while (hz <= ns) {
        hz <<= 1;
        s++;
    }
    *mul = (uint32_t)((ns << 32) / hz);
    *shift = (int8_t)s;
}

/* Guest memory for a shared structure, or NULL when the guest named something that is not RAM. */
static void *shared(struct jit_cpu *c, uint64_t gpa, unsigned len)
{
    return guest_mem_ptr(c->set->cfg.mem, GPA(gpa), len, true);
}

static bool offsets_equal(struct jit_cpu *c)
{
    for (unsigned i = 0; i < c->set->count; i++) {
        const struct jit_cpu *other = c->set->vcpu[i]->accel;
        if (other && other->tsc_offset != c->tsc_offset)
            return false;
    }
    return true;
}

/* Odd version: being written.  The guest retries until it sees the same even number twice. */
void pv_clock_update(struct jit_cpu *c)
{
    const struct jit_set *js = set_of(c);
    uint64_t gpa = c->st.kvm_system_time & ~1ull;
    volatile struct pv_time_info *p;
    uint32_t mul;
    int8_t shift;

    if (!(c->st.kvm_system_time & 1))
        return;
    p = shared(c, gpa, sizeof(*p));
    if (!p)
        return;
    time_scale(jit_tsc_khz(js), &mul, &shift);
    uint32_t version = (p->version | 1) + (p->version & 1 ? 2 : 0);
    p->version = version;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    p->tsc_timestamp = js->clock_tsc + c->tsc_offset;
    p->system_time = js->clock_ns;
    p->tsc_to_system_mul = mul;
    p->tsc_shift = shift;
    p->flags = sys_has(c, FEAT_KVM, PV_CLOCK_STABLE) && offsets_equal(c) ? PV_TIME_STABLE : 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    p->version = version + 1;
    guest_mem_wrote(c->set->cfg.mem, GPA(gpa), sizeof(*p));
}

/* The date at which kvmclock was zero. */
static void wall_clock_write(struct jit_cpu *c, uint64_t gpa)
{
    struct pv_wall_clock w = {.version = 0};
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ns =
        (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec - jit_kvmclock_ns(set_of(c));
    if (guest_mem_read(c->set->cfg.mem, GPA(gpa), &w.version, sizeof(w.version)))
        return;
    w.version = (w.version | 1) + 1;
    w.sec = (uint32_t)(ns / 1000000000ull);
    w.nsec = (uint32_t)(ns % 1000000000ull);
    guest_mem_write(c->set->cfg.mem, GPA(gpa), &w, sizeof(w));
}

/* ---- steal time ---- */

void pv_thread_start(struct jit_cpu *c)
{
    pv_fini(c); /* the thread of a vcpu that comes again is another */
    sys_of(c)->schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

void pv_fini(struct jit_cpu *c)
{
    if (sys_of(c)->schedstat_fd >= 0)
        close(sys_of(c)->schedstat_fd);
    sys_of(c)->schedstat_fd = -1;
}

/* Second number: nanoseconds this thread was runnable but waited for a core. */
static bool run_delay(struct jit_cpu *c, uint64_t *ns)
{
    char text[96];
    ssize_t n = pread(sys_of(c)->schedstat_fd, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return false;
    text[n] = 0;
    char *end;
    strtoull(text, &end, 10);
    *ns = strtoull(end, NULL, 10);
    return true;
}

void pv_steal_update(struct jit_cpu *c)
{
    struct sys_cpu *s = sys_of(c);
    uint64_t gpa = c->st.kvm_steal_time & ~63ull, now_ns, tsc;
    volatile struct pv_steal *p;

    if (!(c->st.kvm_steal_time & 1))
        return;
    tsc = jit_tsc_now(set_of(c));
    if (tsc < s->steal_next_tsc)
        return;
    s->steal_next_tsc = tsc + jit_tsc_khz(set_of(c)) * STEAL_PERIOD_NS / 1000000;
    if (!run_delay(c, &now_ns))
        return;
    uint64_t delta = s->steal_resync ? 0 : now_ns - s->steal_last_ns;
    s->steal_resync = false;
    s->steal_last_ns = now_ns;
    p = shared(c, gpa, sizeof(*p));
    if (!p || !delta)
        return;
    p->version |= 1;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    p->steal += delta;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    p->version++;
    guest_mem_wrote(c->set->cfg.mem, GPA(gpa), sizeof(*p));
}

static bool steal_enable(struct jit_cpu *c, uint64_t v)
{
    struct pv_steal zero = {0};

    if (v & 0x3e)
        return false;
    c->st.kvm_steal_time = v;
    if (!(v & 1))
        return true;
    /* Time before the guest asked is not its loss. */
    if (!run_delay(c, &sys_of(c)->steal_last_ns))
        sys_of(c)->steal_last_ns = 0;
    guest_mem_write(c->set->cfg.mem, GPA(v & ~63ull), &zero, sizeof(zero));
    return true;
}

/* ---- MSRs ---- */

struct pv_msr {
    uint32_t msr;
    uint8_t feature;
    uint32_t offset;
};
static const struct pv_msr pv_msrs[] = {
    {MSR_WALL_CLOCK_OLD, PV_CLOCK_OLD, offsetof(struct x86_state, kvm_wall_clock)},
    {MSR_SYSTEM_TIME_OLD, PV_CLOCK_OLD, offsetof(struct x86_state, kvm_system_time)},
    {MSR_WALL_CLOCK, PV_CLOCK, offsetof(struct x86_state, kvm_wall_clock)},
    {MSR_SYSTEM_TIME, PV_CLOCK, offsetof(struct x86_state, kvm_system_time)},
    {MSR_STEAL_TIME, PV_STEAL_TIME, offsetof(struct x86_state, kvm_steal_time)},
    {MSR_POLL_CONTROL, PV_POLL_CONTROL, offsetof(struct x86_state, kvm_poll_control)},
};

static const struct pv_msr *pv_find(struct jit_cpu *c, uint32_t msr)
{
    for (unsigned i = 0; i < ARRAY_SIZE(pv_msrs); i++)
        if (pv_msrs[i].msr == msr && c->set->model->kvm_leaves &&
            sys_has(c, FEAT_KVM, pv_msrs[i].feature))
            return &pv_msrs[i];
    return NULL;
}

bool pv_rdmsr(struct jit_cpu *c, uint32_t msr, uint64_t *v, bool *known)
{
    const struct pv_msr *m = pv_find(c, msr);

    *known = m != NULL;
    if (m)
        *v = *(const uint64_t *)((const char *)&c->st + m->offset);
    return *known;
}

bool pv_wrmsr(struct jit_cpu *c, uint32_t msr, uint64_t v, bool *known)
{
    const struct pv_msr *m = pv_find(c, msr);

    *known = m != NULL;
    if (!m)
        return false;
    if (msr == MSR_STEAL_TIME)
        return steal_enable(c, v);
    if (msr == MSR_POLL_CONTROL && (v & ~1ull))
        return false;
    *(uint64_t *)((char *)&c->st + m->offset) = v;
    if (m->offset == offsetof(struct x86_state, kvm_system_time))
        pv_clock_update(c);
    if (m->offset == offsetof(struct x86_state, kvm_wall_clock))
        wall_clock_write(c, v);
    return true;
}

/* ---- hypercalls ---- */

#define HC_VAPIC_POLL_IRQ 1
#define HC_KICK_CPU       5
#define HC_ENOSYS         1000
#define HC_EPERM          1

static uint64_t hc_kick_cpu(struct jit_cpu *c, uint32_t apic_id)
{
    for (unsigned i = 0; i < c->set->count; i++)
        if (c->set->vcpu[i]->apic_id == apic_id)
            jit_wake(c->set->vcpu[i]->accel, PENDING_UNHALT);
    sched_yield();
    return 0;
}

void pv_hypercall(struct jit_cpu *c)
{
    uint64_t nr = c->st.gpr[R_RAX], a1 = c->st.gpr[R_RCX], result;

    vcpu_count(c->vcpu, VCPU_EV_HYPERCALL);
    TRACE(vcpu_hypercall, "cpu %u number %u", c->vcpu->index, (uint32_t)nr);
    if (!code64(c)) {
        nr = (uint32_t)nr;
        a1 = (uint32_t)a1;
    }
    if (c->cpl != 0)
        result = (uint64_t)-HC_EPERM;
    else if (nr == HC_VAPIC_POLL_IRQ)
        result = 0;
    else if (nr == HC_KICK_CPU && sys_has(c, FEAT_KVM, PV_UNHALT))
        result = hc_kick_cpu(c, (uint32_t)a1);
    else
        result = (uint64_t)-HC_ENOSYS;
    c->st.gpr[R_RAX] = code64(c) ? result : (uint32_t)result;
}
