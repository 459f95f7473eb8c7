/* x86_state.c - one vcpu's architectural state: reset values, stream table, checks. */
#include "cpu/x86_state.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

#define CR0_PE  BIT64(0)
#define CR0_ET  BIT64(4)
#define CR0_NW  BIT64(29)
#define CR0_CD  BIT64(30)
#define CR0_PG  BIT64(31)
#define CR4_PAE BIT64(5)

#define EFER_LME BIT64(8)
#define EFER_LMA BIT64(10)

/* Offsets in the XSAVE area (SDM vol.1 §13.4) and the local APIC page (vol.3 table 11-1). */
#define XSAVE_FCW        0
#define XSAVE_FTW        4
#define XSAVE_MXCSR      24
#define XSAVE_BV         512
#define XSAVE_COMP_BV    520
#define XSAVE_HDR_END    576
#define XSAVE_COMPONENTS (3 | XSAVE_ALL_PARTS)
#define XCR0_KNOWN       0x3ff
#define LAPIC_VERSION    0x30
#define LAPIC_DFR        0xe0
#define LAPIC_SVR        0xf0
#define LAPIC_LVT        0x320

#define MISC_ENABLE_FAST_STRINGS BIT64(0)
#define MISC_ENABLE_NO_BTS       BIT64(11)
#define MISC_ENABLE_NO_PEBS      BIT64(12)
#define PAT_RESET                0x0007040600070406ull
#define MXCSR_RESET              0x1f80
#define DR6_RESET                0xffff0ff0ull
#define DR7_RESET                0x400
#define APIC_BASE_RESET          0xfee00000ull
#define APIC_BASE_ENABLE         BIT64(11)
#define APIC_BASE_X2APIC         BIT64(10)
#define APIC_BASE_BSP            BIT64(8)
#define KVM_POLL_CONTROL_RESET   1

#define ATTR_DATA (SEG_P | SEG_S | 3)  /* writable, accessed */
#define ATTR_CODE (SEG_P | SEG_S | 11) /* readable, accessed */
#define ATTR_LDT  (SEG_P | 2)
#define ATTR_TSS  (SEG_P | 11)

static void reset_segments(struct x86_state *s)
{
    for (int i = 0; i < SEG_COUNT; i++)
        s->seg[i] = (struct x86_seg){.limit = 0xffff, .attr = ATTR_DATA};
    s->seg[SEG_CS] =
        (struct x86_seg){.base = 0xffff0000, .limit = 0xffff, .attr = ATTR_CODE, .sel = 0xf000};
    s->ldt = (struct x86_seg){.limit = 0xffff, .attr = ATTR_LDT};
    s->tr = (struct x86_seg){.limit = 0xffff, .attr = ATTR_TSS};
    s->gdt = s->idt = (struct x86_dtr){.limit = 0xffff};
}

/* What reset and INIT have in common (SDM vol.3 table 9-1). */
static void reset_common(struct x86_state *s, bool bsp, uint32_t cpuid_signature)
{
    memset(s->gpr, 0, sizeof(s->gpr));
    s->gpr[R_RDX] = cpuid_signature;
    s->rip = 0xfff0;
    s->rflags = 2;
    reset_segments(s);
    s->cr2 = s->cr3 = s->cr4 = s->cr8 = 0;
    memset(s->dr, 0, sizeof(s->dr));
    s->dr[6] = DR6_RESET;
    s->dr[7] = DR7_RESET;
    s->efer = 0;
    s->tsc_deadline = 0;
    s->debugctl = 0;
    s->exception_pending = s->exception_has_error = s->nmi_pending = s->nmi_masked = false;
    s->smi_pending = s->in_smm = s->interrupt_injected = s->kvm_unhalted = s->pdpte_valid = false;
    s->exception_vector = s->interrupt_vector = s->int_shadow = 0;
    s->exception_error = 0;
    s->mp_state = bsp ? MP_RUNNABLE : MP_WAIT_SIPI;
    s->sipi_vector = 0;
    /* The paravirtual areas lie in memory the next kernel will use for something else. */
    s->kvm_system_time = s->kvm_steal_time = s->kvm_async_pf = s->kvm_pv_eoi = 0;
}

void x86_state_reset(struct x86_state *s, bool bsp, uint32_t cpuid_signature)
{
    memset(s, 0, sizeof(*s));
    reset_common(s, bsp, cpuid_signature);
    s->cr0 = CR0_CD | CR0_NW | CR0_ET;
    s->xcr0 = 1;
    s->pat = PAT_RESET;
    s->misc_enable = MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS;
    s->smbase = 0x30000;
    s->apic_base = APIC_BASE_RESET | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0);
    s->kvm_poll_control = KVM_POLL_CONTROL_RESET;
    le16_put(s->xsave + XSAVE_FCW, 0x40);
    s->xsave[XSAVE_FTW] = 0xff; /* abridged: eight valid zeros */
    le32_put(s->xsave + XSAVE_MXCSR, MXCSR_RESET);
    le64_put(s->xsave + XSAVE_BV, 3);
    le32_put(s->lapic + LAPIC_VERSION, 0x50014);
    le32_put(s->lapic + LAPIC_DFR, 0xffffffff);
    le32_put(s->lapic + LAPIC_SVR, 0xff);
    for (unsigned lvt = 0; lvt < 6; lvt++)
        le32_put(s->lapic + LAPIC_LVT + 16 * lvt, 0x10000);
}

void x86_state_init_signal(struct x86_state *s, bool bsp, uint32_t cpuid_signature)
{
    reset_common(s, bsp, cpuid_signature);
    s->cr0 = (s->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
}

/* ---- stream ---- */

static const struct state_field seg_fields[] = {
    STATE_U64(struct x86_seg, base),
    STATE_U32(struct x86_seg, limit),
    STATE_U32(struct x86_seg, attr),
    STATE_U16(struct x86_seg, sel),
    STATE_END,
};
static const struct state_desc seg_desc = {.name = "segment", .version = 1, .fields = seg_fields};

static const struct state_field dtr_fields[] = {
    STATE_U64(struct x86_dtr, base),
    STATE_U16(struct x86_dtr, limit),
    STATE_END,
};
static const struct state_desc dtr_desc = {.name = "table", .version = 1, .fields = dtr_fields};

static void state_pre_save(void *obj)
{
    struct x86_state *s = obj;

    for (unsigned i = 0; i < XSAVE_PARTS; i++)
        s->xsave_at[i] = xsave_parts()[i].offset;
}

/* Hosts differ in where components stand; streams of version 1 do not say and are taken as ours. */
static bool components_move(struct x86_state *s, uint32_t version, GError **err)
{
    uint8_t from[X86_XSAVE_MAX];

    if (version < 2)
        return true;
    memcpy(from, s->xsave, sizeof(from));
    memset(s->xsave + XSAVE_PARTS_AT, 0, sizeof(s->xsave) - XSAVE_PARTS_AT);
    for (unsigned i = 0; i < XSAVE_PARTS; i++) {
        const struct xsave_part *p = &xsave_parts()[i];

        if (s->xsave_at[i] < XSAVE_PARTS_AT || s->xsave_at[i] + p->size > X86_XSAVE_MAX)
            return error_set(err, HANOK_ERROR_CORRUPT, "an XSAVE component cannot be at offset %u",
                             s->xsave_at[i]);
        memcpy(s->xsave + p->offset, from + s->xsave_at[i], p->size);
    }
    return true;
}

static bool state_post_load(void *obj, uint32_t version, GError **err)
{
    return components_move(obj, version, err) && x86_state_validate(obj, err);
}

#define S struct x86_state
#define HYPERV(f, n)                                                                               \
    {                                                                                              \
        .name = #f, .kind = STATE_KIND_UINT, .offset = offsetof(S, f), .size = sizeof(uint64_t),   \
        .count = (n), .since = 3                                                                   \
    }
static const struct state_field x86_fields[] = {
    STATE_UINT_ARRAY(S, gpr),
    STATE_U64(S, rip),
    STATE_U64(S, rflags),
    STATE_STRUCT_ARRAY(S, seg, seg_desc),
    STATE_STRUCT(S, ldt, seg_desc),
    STATE_STRUCT(S, tr, seg_desc),
    STATE_STRUCT(S, gdt, dtr_desc),
    STATE_STRUCT(S, idt, dtr_desc),
    STATE_U64(S, cr0),
    STATE_U64(S, cr2),
    STATE_U64(S, cr3),
    STATE_U64(S, cr4),
    STATE_U64(S, cr8),
    STATE_U64(S, xcr0),
    STATE_UINT_ARRAY(S, dr),
    STATE_U64(S, efer),
    STATE_U64(S, star),
    STATE_U64(S, lstar),
    STATE_U64(S, cstar),
    STATE_U64(S, sfmask),
    STATE_U64(S, kernel_gs_base),
    STATE_U64(S, sysenter_cs),
    STATE_U64(S, sysenter_esp),
    STATE_U64(S, sysenter_eip),
    STATE_U64(S, pat),
    STATE_U64(S, tsc_aux),
    STATE_U64(S, misc_enable),
    STATE_U64(S, spec_ctrl),
    STATE_U64(S, xss),
    STATE_U64(S, pkru),
    STATE_U64(S, tsc_deadline),
    STATE_U64(S, tsc_adjust),
    STATE_U64(S, mtrr_def_type),
    STATE_UINT_ARRAY(S, mtrr_fixed),
    STATE_UINT_ARRAY(S, mtrr_base),
    STATE_UINT_ARRAY(S, mtrr_mask),
    STATE_U64(S, mcg_status),
    STATE_U64(S, mcg_ctl),
    STATE_UINT_ARRAY(S, mce_bank),
    STATE_U64(S, smbase),
    STATE_U64(S, feature_control),
    STATE_U64(S, debugctl),
    STATE_U64(S, kvm_wall_clock),
    STATE_U64(S, kvm_system_time),
    STATE_U64(S, kvm_steal_time),
    STATE_U64(S, kvm_async_pf),
    STATE_U64(S, kvm_pv_eoi),
    STATE_U64(S, kvm_poll_control),
    STATE_U64(S, apic_base),
    STATE_U64(S, tsc),
    STATE_U64(S, kvmclock_ns),
    STATE_BOOL(S, exception_pending),
    STATE_BOOL(S, exception_has_error),
    STATE_BOOL(S, nmi_pending),
    STATE_BOOL(S, nmi_masked),
    STATE_BOOL(S, smi_pending),
    STATE_BOOL(S, in_smm),
    STATE_BOOL(S, kvm_unhalted),
    STATE_BOOL(S, pdpte_valid),
    STATE_UINT_ARRAY(S, pdpte),
    STATE_BOOL(S, interrupt_injected),
    STATE_U8(S, exception_vector),
    STATE_U8(S, interrupt_vector),
    STATE_U8(S, int_shadow),
    STATE_U32(S, exception_error),
    STATE_U8(S, mp_state),
    STATE_U8(S, sipi_vector),
    STATE_BYTES(S, lapic),
    STATE_BYTES(S, xsave),
    {.name = "xsave_at",
     .kind = STATE_KIND_UINT,
     .offset = offsetof(S, xsave_at),
     .size = sizeof(uint16_t),
     .count = XSAVE_PARTS,
     .since = 2},
    HYPERV(hv_guest_os_id, 1),
    HYPERV(hv_hypercall, 1),
    HYPERV(hv_reference_tsc, 1),
    HYPERV(hv_crash, 5),
    HYPERV(hv_vp_assist, 1),
    HYPERV(hv_vp_runtime, 1),
    STATE_END,
};
#undef HYPERV
#undef S

const struct state_desc x86_state_desc = {
    .name = "vcpu",
    .version = 3,
    .min_version = 1,
    .fields = x86_fields,
    .pre_save = state_pre_save,
    .post_load = state_post_load,
};

/* ---- checks ---- */

static bool bad(GError **err, const char *what, uint64_t value)
{
    return error_set(err, HANOK_ERROR_CORRUPT, "%s cannot be 0x%" G_GINT64_MODIFIER "x", what,
                     value);
}

static bool canonical57(uint64_t a)
{
    return (uint64_t)((int64_t)(a << 7) >> 7) == a;
}

static bool check_control(const struct x86_state *s, GError **err)
{
    const uint64_t efer_known = 0xffff; /* SCE..TCE; what the model lacks is the CPU's business */
    if ((s->rflags & 2) == 0 || s->rflags >> 22)
        return bad(err, "RFLAGS", s->rflags);
    if (s->cr0 >> 32 || ((s->cr0 & CR0_PG) && !(s->cr0 & CR0_PE)) ||
        ((s->cr0 & CR0_NW) && !(s->cr0 & CR0_CD)))
        return bad(err, "CR0", s->cr0);
    if (s->cr4 >> 32)
        return bad(err, "CR4", s->cr4);
    if (s->cr8 > 15)
        return bad(err, "CR8", s->cr8);
    if (s->efer & ~efer_known)
        return bad(err, "EFER", s->efer);
    bool active = (s->efer & EFER_LMA) != 0;
    if (active != ((s->cr0 & CR0_PG) && (s->efer & EFER_LME)))
        return bad(err, "EFER (which contradicts CR0.PG)", s->efer);
    if (active && !(s->cr4 & CR4_PAE))
        return bad(err, "CR4 (long mode needs PAE)", s->cr4);
    if (s->dr[6] >> 32 || s->dr[7] >> 32)
        return bad(err, "DR6 or DR7", s->dr[6] >> 32 ? s->dr[6] : s->dr[7]);
    return true;
}

static bool check_segment(const struct x86_seg *g, const char *name, GError **err)
{
    const uint32_t known = 0xff | SEG_AVL | SEG_L | SEG_DB | SEG_G | SEG_UNUSABLE;
    if (g->attr & ~known)
        return bad(err, name, g->attr);
    if (!canonical57(g->base))
        return bad(err, name, g->base);
    return true;
}

static bool check_segments(const struct x86_state *s, GError **err)
{
    static const char *const names[SEG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    for (int i = 0; i < SEG_COUNT; i++)
        if (!check_segment(&s->seg[i], names[i], err))
            return false;
    const struct x86_seg *cs = &s->seg[SEG_CS];
    if ((cs->attr & SEG_L) && (cs->attr & SEG_DB))
        return bad(err, "the attribute of CS", cs->attr);
    if (!check_segment(&s->ldt, "LDTR", err) || !check_segment(&s->tr, "TR", err))
        return false;
    if (!canonical57(s->gdt.base) || !canonical57(s->idt.base))
        return bad(err, "a descriptor table's base", s->gdt.base);
    if (!canonical57(s->kernel_gs_base) || !canonical57(s->lstar) || !canonical57(s->cstar) ||
        !canonical57(s->sysenter_esp) || !canonical57(s->sysenter_eip))
        return bad(err, "an address in an MSR", s->kernel_gs_base);
    return true;
}

static bool memory_type_ok(uint8_t type, bool pat)
{
    return type == 0 || type == 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool check_memory_types(const struct x86_state *s, GError **err)
{
    for (unsigned i = 0; i < 8; i++)
        if (!memory_type_ok((uint8_t)(s->pat >> (8 * i)), true))
            return bad(err, "PAT", s->pat);
    if (s->mtrr_def_type & ~0xcffull || !memory_type_ok((uint8_t)s->mtrr_def_type, false))
        return bad(err, "the MTRR default type", s->mtrr_def_type);
    for (unsigned r = 0; r < X86_MTRR_FIXED; r++)
        for (unsigned i = 0; i < 8; i++)
            if (!memory_type_ok((uint8_t)(s->mtrr_fixed[r] >> (8 * i)), false))
                return bad(err, "a fixed MTRR", s->mtrr_fixed[r]);
    for (unsigned r = 0; r < X86_MTRR_VAR; r++)
        if (!memory_type_ok((uint8_t)s->mtrr_base[r], false))
            return bad(err, "a variable MTRR", s->mtrr_base[r]);
    return true;
}

/* The host loads this area with XRSTOR, which faults on what is refused here. */
static bool check_xsave(const struct x86_state *s, GError **err)
{
    if (!xsave_xcr0_valid(s->xcr0, XCR0_KNOWN))
        return bad(err, "XCR0", s->xcr0);
    /* Not a matter of XCR0: what a guest switched off again keeps its contents. */
    uint64_t bv = le64_get(s->xsave + XSAVE_BV);
    if (bv & ~(xsave_host_xcr0() & XSAVE_COMPONENTS))
        return bad(err, "XSTATE_BV (on this host)", bv);
    for (unsigned i = XSAVE_COMP_BV; i < XSAVE_HDR_END; i += 8)
        if (le64_get(s->xsave + i))
            return bad(err, "the reserved part of the XSAVE header", le64_get(s->xsave + i));
    uint32_t mxcsr = le32_get(s->xsave + XSAVE_MXCSR);
    if (mxcsr >> 16)
        return bad(err, "MXCSR", mxcsr);
    if (s->pkru >> 32)
        return bad(err, "PKRU", s->pkru);
    return true;
}

bool x86_state_validate(struct x86_state *s, GError **err)
{
    if (!check_control(s, err) || !check_segments(s, err) || !check_memory_types(s, err) ||
        !check_xsave(s, err))
        return false;
    if ((s->apic_base & APIC_BASE_X2APIC) && !(s->apic_base & APIC_BASE_ENABLE))
        return bad(err, "IA32_APIC_BASE", s->apic_base);
    if (s->mp_state > MP_HALTED)
        return bad(err, "the multiprocessor state", s->mp_state);
    if (s->exception_vector > 31)
        return bad(err, "a pending exception's vector", s->exception_vector);
    if (s->int_shadow > 3)
        return bad(err, "the interrupt shadow", s->int_shadow);
    return true;
}
