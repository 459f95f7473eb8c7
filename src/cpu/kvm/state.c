/* state.c - struct x86_state <-> KVM's get and set calls.
 *
 * ORDER of setting: registers and segments first (they say which mode the rest is checked in and
 * switch the local APIC on), then FPU, local APIC, MSRs (the APIC timer mode decides whether the
 * deadline MSR means anything), debug registers, pending events, and the run state last. */
#include "kvm.h"
#include "x86/model.h"

#include "base/error.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>

static struct x86_seg seg_from(const struct kvm_segment *k)
{
    return (struct x86_seg){
        .base = k->base,
        .limit = k->limit,
        .sel = k->selector,
        .attr = (uint32_t)k->type | (k->s ? SEG_S : 0) | (uint32_t)k->dpl << 5 |
                (k->present ? SEG_P : 0) | (k->avl ? SEG_AVL : 0) | (k->l ? SEG_L : 0) |
                (k->db ? SEG_DB : 0) | (k->g ? SEG_G : 0) | (k->unusable ? SEG_UNUSABLE : 0),
    };
}

static struct kvm_segment seg_to(const struct x86_seg *s)
{
    return (struct kvm_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->sel,
        .type = SEG_TYPE(s->attr),
        .present = (s->attr & SEG_P) != 0,
        .dpl = SEG_DPL(s->attr),
        .db = (s->attr & SEG_DB) != 0,
        .s = (s->attr & SEG_S) != 0,
        .l = (s->attr & SEG_L) != 0,
        .g = (s->attr & SEG_G) != 0,
        .avl = (s->attr & SEG_AVL) != 0,
        .unusable = (s->attr & SEG_UNUSABLE) != 0,
    };
}

/* KVM names the registers in the order of the architecture's encoding only partly. */
#define REGS(X)                                                                                    \
    X(rax, 0)                                                                                      \
    X(rcx, 1)                                                                                      \
    X(rdx, 2)                                                                                      \
    X(rbx, 3)                                                                                      \
    X(rsp, 4)                                                                                      \
    X(rbp, 5)                                                                                      \
    X(rsi, 6)                                                                                      \
    X(rdi, 7)                                                                                      \
    X(r8, 8)                                                                                       \
    X(r9, 9)                                                                                       \
    X(r10, 10)                                                                                     \
    X(r11, 11)                                                                                     \
    X(r12, 12)                                                                                     \
    X(r13, 13)                                                                                     \
    X(r14, 14)                                                                                     \
    X(r15, 15)

/* Segment registers and tables of struct kvm_sregs. */
#define SEGS(X)                                                                                    \
    X(es, seg[SEG_ES])                                                                             \
    X(cs, seg[SEG_CS])                                                                             \
    X(ss, seg[SEG_SS])                                                                             \
    X(ds, seg[SEG_DS])                                                                             \
    X(fs, seg[SEG_FS])                                                                             \
    X(gs, seg[SEG_GS])                                                                             \
    X(tr, tr)                                                                                      \
    X(ldt, ldt)

/* ---- get: these calls do not fail for a vcpu that exists ---- */

static void get(struct kvm_vcpu *k, unsigned long request, void *arg)
{
    int rc = ioctl(k->fd, request, arg);
    assert(rc >= 0);
    (void)rc;
}

static void get_registers(struct kvm_vcpu *k, struct x86_state *s)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    get(k, KVM_GET_REGS, &regs);
    get(k, KVM_GET_SREGS, &sregs);
#define X(name, index) s->gpr[index] = regs.name;
    REGS(X)
#undef X
#define X(name, field) s->field = seg_from(&sregs.name);
    SEGS(X)
#undef X
    s->rip = regs.rip;
    s->rflags = regs.rflags | 2;
    s->gdt = (struct x86_dtr){sregs.gdt.base, sregs.gdt.limit};
    s->idt = (struct x86_dtr){sregs.idt.base, sregs.idt.limit};
    s->cr0 = sregs.cr0;
    s->cr2 = sregs.cr2;
    s->cr3 = sregs.cr3;
    s->cr4 = sregs.cr4;
    s->cr8 = sregs.cr8;
    s->efer = sregs.efer;
    s->apic_base = sregs.apic_base;
}

static void get_fpu(struct kvm_vcpu *k, struct x86_state *s)
{
    struct kvm_xcrs xcrs;
    get(k, KVM_GET_XSAVE, s->xsave);
    get(k, KVM_GET_XCRS, &xcrs);
    s->xcr0 = 1;
    for (uint32_t i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++)
        if (xcrs.xcrs[i].xcr == 0)
            s->xcr0 = xcrs.xcrs[i].value;
    /* Host-only bytes behind the legacy area carry the host's feature mask: not guest state. */
    memset(s->xsave + 464, 0, 48);
}

/* KVM's shadow bits are the other way round: 1 MOV SS, 2 STI. */
static uint8_t swap_shadow(uint8_t shadow)
{
    return (uint8_t)((shadow & 1) << 1 | (shadow >> 1 & 1));
}

static void get_events(struct kvm_vcpu *k, struct x86_state *s)
{
    struct kvm_vcpu_events ev;
    get(k, KVM_GET_VCPU_EVENTS, &ev);
    s->exception_pending = ev.exception.injected;
    s->exception_vector = ev.exception.nr & 31;
    s->exception_has_error = ev.exception.has_error_code != 0;
    s->exception_error = ev.exception.error_code;
    s->interrupt_injected = ev.interrupt.injected != 0;
    s->interrupt_vector = ev.interrupt.nr;
    s->int_shadow = swap_shadow(ev.interrupt.shadow);
    s->nmi_pending = ev.nmi.pending || ev.nmi.injected;
    s->nmi_masked = ev.nmi.masked != 0;
    s->smi_pending = ev.smi.pending != 0;
    s->in_smm = ev.smi.smm != 0;
    s->kvm_unhalted = s->pdpte_valid = false;
    s->sipi_vector = (uint8_t)ev.sipi_vector;
}

static void get_rest(struct kvm_vcpu *k, struct x86_state *s)
{
    struct kvm_debugregs dr;
    struct kvm_mp_state mp;
    get(k, KVM_GET_MP_STATE, &mp); /* first: it settles a pending INIT or SIPI */
    s->mp_state = mp.mp_state <= KVM_MP_STATE_HALTED ? (uint8_t)mp.mp_state : MP_RUNNABLE;
    get(k, KVM_GET_LAPIC, s->lapic);
    get(k, KVM_GET_DEBUGREGS, &dr);
    memcpy(s->dr, dr.db, sizeof(dr.db));
    s->dr[6] = dr.dr6;
    s->dr[7] = dr.dr7;
}

void kvm_state_get(struct vcpu *v, struct x86_state *out)
{
    struct kvm_vcpu *k = kvm_vcpu_of(v);
    memset(out, 0, sizeof(*out));
    get_rest(k, out);
    get_registers(k, out);
    get_fpu(k, out);
    get_events(k, out);
    kvm_msrs_get(k, out);
    out->kvmclock_ns = kvm_vm_of(v->set)->clock_ns;
}

/* ---- set: the kernel checks, and what it refuses is an error of the state ---- */

static bool set(struct kvm_vcpu *k, unsigned long request, void *arg, const char *what,
                GError **err)
{
    if (ioctl(k->fd, request, arg) >= 0)
        return true;
    return error_errno(err, errno, "KVM refuses the %s of vcpu %u", what, k->v->index);
}

static bool set_registers(struct kvm_vcpu *k, const struct x86_state *s, GError **err)
{
    struct kvm_regs regs = {.rip = s->rip, .rflags = s->rflags};
    struct kvm_sregs sregs = {
        .gdt = {.base = s->gdt.base, .limit = s->gdt.limit},
        .idt = {.base = s->idt.base, .limit = s->idt.limit},
        .cr0 = s->cr0,
        .cr2 = s->cr2,
        .cr3 = s->cr3,
        .cr4 = s->cr4,
        .cr8 = s->cr8,
        .efer = s->efer,
        .apic_base = s->apic_base,
    };
#define X(name, index) regs.name = s->gpr[index];
    REGS(X)
#undef X
#define X(name, field) sregs.name = seg_to(&s->field);
    SEGS(X)
#undef X
    return set(k, KVM_SET_SREGS, &sregs, "system registers", err) &&
           set(k, KVM_SET_REGS, &regs, "registers", err);
}

static bool set_fpu(struct kvm_vcpu *k, const struct x86_state *s, GError **err)
{
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = s->xcr0}};
    struct kvm_xsave *area = g_aligned_alloc0(1, sizeof(s->xsave), 64);
    memcpy(area, s->xsave, sizeof(s->xsave));
    /* A model without XSAVE has no XCR0 to set. */
    bool has_xsave = cpu_model_has(k->v->set->model, FEAT_1_ECX, 26);
    bool ok = (!has_xsave || set(k, KVM_SET_XCRS, &xcrs, "XCR0", err)) &&
              set(k, KVM_SET_XSAVE, area, "FPU state", err);
    g_aligned_free(area);
    return ok;
}

static bool set_events(struct kvm_vcpu *k, const struct x86_state *s, GError **err)
{
    struct kvm_vcpu_events ev = {
        .exception = {.injected = s->exception_pending,
                      .nr = s->exception_vector,
                      .has_error_code = s->exception_has_error,
                      .error_code = s->exception_error},
        .interrupt = {.injected = s->interrupt_injected,
                      .nr = s->interrupt_vector,
                      .shadow = swap_shadow(s->int_shadow)},
        .nmi = {.pending = s->nmi_pending, .masked = s->nmi_masked},
        .sipi_vector = s->sipi_vector,
        .smi = {.smm = s->in_smm, .pending = s->smi_pending},
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
                 KVM_VCPUEVENT_VALID_SIPI_VECTOR,
    };
    if (kvm_vm_of(k->v->set)->has_smm)
        ev.flags |= KVM_VCPUEVENT_VALID_SMM;
    return set(k, KVM_SET_VCPU_EVENTS, &ev, "pending events", err);
}

static bool set_debug(struct kvm_vcpu *k, const struct x86_state *s, GError **err)
{
    struct kvm_debugregs dr = {.dr6 = s->dr[6], .dr7 = s->dr[7]};
    memcpy(dr.db, s->dr, sizeof(dr.db));
    return set(k, KVM_SET_DEBUGREGS, &dr, "debug registers", err);
}

static bool set_lapic(struct kvm_vcpu *k, const struct x86_state *s, GError **err)
{
    struct kvm_lapic_state lapic;
    memcpy(lapic.regs, s->lapic, sizeof(lapic.regs));
    return set(k, KVM_SET_LAPIC, &lapic, "local APIC", err);
}

bool kvm_state_set(struct vcpu *v, const struct x86_state *in, GError **err)
{
    struct kvm_vcpu *k = kvm_vcpu_of(v);
    struct kvm_mp_state mp = {.mp_state = in->mp_state};
    if (!set_registers(k, in, err) || !set_fpu(k, in, err) || !set_lapic(k, in, err))
        return false;
    kvm_msrs_set(k, in);
    if (!set_debug(k, in, err) || !set_events(k, in, err) ||
        !set(k, KVM_SET_MP_STATE, &mp, "run state", err))
        return false;
    if (v->index == 0)
        kvm_vm_of(v->set)->clock_ns = in->kvmclock_ns;
    __atomic_store_n(&k->nmi_request, false, __ATOMIC_RELAXED);
    k->io_unfinished = false;
    return true;
}
