/* sys_msr.c - model-specific registers (SDM vol.4, APM vol.2 appendix A); unknown ones raise #GP.
 *
 * Most are plain storage in struct x86_state: a table says where and which bits may be written.
 * The rest is a switch. */
#include "sys.h"

#include "base/trace.h"

/* IA32_ARCH_CAPABILITIES (SDM vol.4 table 2-2): RDCL, L1D flush on VM entry, SSB, MDS, page size
 * change, TAA, SBDR and SSDP, FBSDP, PSDP, BHI, GDS, RFDS, ITS. */
#define NOT_AFFECTED                                                                               \
    (BIT64(0) | BIT64(3) | BIT64(4) | BIT64(5) | BIT64(6) | BIT64(8) | BIT64(13) | BIT64(14) |     \
     BIT64(15) | BIT64(20) | BIT64(26) | BIT64(27) | BIT64(62))

/* ---- storage with a mask of writable bits (others must be zero) ---- */

enum msr_check { CHECK_NONE, CHECK_CANONICAL };
struct msr_row {
    uint32_t msr;
    uint32_t offset; /* in struct x86_state */
    uint64_t writable;
    enum msr_check check;
};
#define ROW(n, field, mask, check)                                                                 \
    {                                                                                              \
        n, offsetof(struct x86_state, field), mask, check                                          \
    }
static const struct msr_row rows[] = {
    ROW(0x174, sysenter_cs, UINT64_MAX, CHECK_NONE),
    ROW(0x175, sysenter_esp, UINT64_MAX, CHECK_CANONICAL),
    ROW(0x176, sysenter_eip, UINT64_MAX, CHECK_CANONICAL),
    ROW(0x17a, mcg_status, 7, CHECK_NONE),
    ROW(0x17b, mcg_ctl, UINT64_MAX, CHECK_NONE),
    ROW(0x1d9, debugctl, 0x3, CHECK_NONE),
    ROW(0xc0000081, star, UINT64_MAX, CHECK_NONE),
    ROW(0xc0000082, lstar, UINT64_MAX, CHECK_CANONICAL),
    ROW(0xc0000083, cstar, UINT64_MAX, CHECK_CANONICAL),
    ROW(0xc0000084, sfmask, UINT64_MAX, CHECK_NONE),
    ROW(0xc0000100, seg[SEG_FS].base, UINT64_MAX, CHECK_CANONICAL),
    ROW(0xc0000101, seg[SEG_GS].base, UINT64_MAX, CHECK_CANONICAL),
    ROW(0xc0000102, kernel_gs_base, UINT64_MAX, CHECK_CANONICAL),
};

static const struct msr_row *row_find(uint32_t msr)
{
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].msr == msr)
            return &rows[i];
    return NULL;
}

/* ---- constants: read-only, or writes have no effect ---- */

struct msr_const {
    uint32_t msr;
    bool amd, ignore_writes;
    uint64_t value;
};
static const struct msr_const constants[] = {
    {0x000, false, true, 0},                      /* P5_MC_ADDR */
    {0x001, false, true, 0},                      /* P5_MC_TYPE */
    {0x017, false, false, 0},                     /* PLATFORM_ID */
    {0x02a, false, true, 0},                      /* EBL_CR_POWERON */
    {0x079, false, true, 0},                      /* BIOS_UPDT_TRIG */
    {0x08b, false, true, 0x100000000ull},         /* BIOS_SIGN_ID: microcode revision 1 */
    {0x0cd, false, true, 3},                      /* FSB_FREQ */
    {0x0ce, false, true, 0},                      /* PLATFORM_INFO */
    {0x0fe, false, false, 0x500 | X86_MTRR_VAR},  /* MTRRCAP: write-combining, fixed ranges */
    {0x140, false, true, 0},                      /* MISC_FEATURES_ENABLES */
    {0x179, false, false, 0x1000100 | 10},        /* MCG_CAP: 10 banks, MCG_CTL, recovery */
    {0x198, false, false, 0x400 | 1000ull << 32}, /* PERF_STATUS */
    {0x19a, false, true, 0},                      /* CLOCK_MODULATION */
    {0x1db, false, true, 0},                      /* LASTBRANCHFROMIP .. LASTINTTOIP */
    {0x1dc, false, true, 0},
    {0x1dd, false, true, 0},
    {0x1de, false, true, 0},
    {0xc0010010, true, true, 0},        /* SYSCFG */
    {0xc0010015, true, true, 1u << 24}, /* HWCR: the TSC counts at the P0 frequency */
    {0xc001001f, true, true, 0},        /* NB_CFG */
    {0xc0010055, true, true, 0},        /* INT_PENDING */
    {0xc0010058, true, true, 0},        /* MMIO_CONF_BASE */
    {0xc0010112, true, true, 0},        /* TSEG base */
    {0xc0010113, true, true, 0},        /* TSEG mask */
    {0xc0010114, true, true, 0x10},     /* VM_CR: SVM disabled */
    {0xc0010140, true, true, 0},        /* OSVW */
    {0xc0010141, true, true, 0},
    {0xc0011020, true, true, 0}, /* LS_CFG */
    {0xc0011022, true, true, 0}, /* DC_CFG */
    {0xc0011023, true, true, 0}, /* BU_CFG2 */
    {0xc0011029, true, true, 2}, /* DE_CFG: LFENCE serializes */
};

static const struct msr_const *constant_find(struct jit_cpu *c, uint32_t msr)
{
    for (unsigned i = 0; i < ARRAY_SIZE(constants); i++)
        if (constants[i].msr == msr && !(constants[i].amd && sys_of(c)->intel))
            return &constants[i];
    return NULL;
}

/* ---- MTRR and PAT ---- */

static bool memory_type_ok(uint8_t t)
{
    return t == 0 || t == 1 || (t >= 4 && t <= 6);
}

static uint64_t *mtrr_find(struct x86_state *st, uint32_t msr)
{
    if (msr >= 0x200 && msr < 0x200 + 2 * X86_MTRR_VAR)
        return (msr & 1) ? &st->mtrr_mask[(msr - 0x200) / 2] : &st->mtrr_base[(msr - 0x200) / 2];
    if (msr == 0x250)
        return &st->mtrr_fixed[0];
    if (msr == 0x258 || msr == 0x259)
        return &st->mtrr_fixed[1 + msr - 0x258];
    if (msr >= 0x268 && msr <= 0x26f)
        return &st->mtrr_fixed[3 + msr - 0x268];
    if (msr == 0x2ff)
        return &st->mtrr_def_type;
    return NULL;
}

static bool mtrr_value_ok(struct jit_cpu *c, uint32_t msr, uint64_t v)
{
    uint64_t high = ~(BIT64(sys_of(c)->phys_bits) - 1);

    if (msr == 0x2ff)
        return !(v & ~0xcffull) && memory_type_ok((uint8_t)v);
    if (msr >= 0x250) {
        for (unsigned i = 0; i < 8; i++)
            if (!memory_type_ok((uint8_t)(v >> (i * 8))))
                return false;
        return true;
    }
    if (msr & 1)
        return !(v & (high | 0x7ff));
    return !(v & (high | 0xf00)) && memory_type_ok((uint8_t)v);
}

static bool pat_value_ok(uint64_t v)
{
    for (unsigned i = 0; i < 8; i++) {
        uint8_t t = (uint8_t)(v >> (i * 8));
        if (!memory_type_ok(t) && t != 7)
            return false;
    }
    return true;
}

/* ---- TSC ---- */

/* TSC and TSC_ADJUST move together (SDM vol.3 17.17.3). */
static void tsc_shift(struct jit_cpu *c, uint64_t delta)
{
    c->tsc_offset += delta;
    c->st.tsc_adjust += delta;
    pv_clock_update(c);
    hv_tsc_page_update(set_of(c));
    lapic_deadline_set(c->lapic, lapic_deadline_get(c->lapic));
}

/* ---- EFER ---- */

bool sys_wrmsr_efer(struct jit_cpu *c, uint64_t v)
{
    struct x86_state *st = &c->st;
    uint64_t allowed = EFER_LMA;

    if (sys_has(c, FEAT_8000_0001_EDX, 11))
        allowed |= EFER_SCE;
    if (sys_has(c, FEAT_8000_0001_EDX, 29))
        allowed |= EFER_LME;
    if (sys_has(c, FEAT_8000_0001_EDX, 20))
        allowed |= EFER_NXE;
    if (sys_has(c, FEAT_8000_0001_EDX, 25))
        allowed |= EFER_FFXSR;
    if (v & ~allowed)
        return false;
    if (((v ^ st->efer) & EFER_LME) && (st->cr0 & CR0_PG))
        return false;
    v = (v & ~EFER_LMA) | (st->efer & EFER_LMA);
    bool flush = (v ^ st->efer) & EFER_NXE;
    st->efer = v;
    if (flush)
        mmu_flush_all(c);
    cpu_update_mode(c);
    return true;
}

/* ---- machine check banks: present, never report anything ---- */

#define MCE_BANKS 10

static bool mce_write(struct jit_cpu *c, unsigned index, uint64_t v)
{
    if (index % 4 == 0 && v != 0 && v != UINT64_MAX && v != (UINT64_MAX & ~BIT64(10)))
        return false;
    if (index % 4 == 1 && v != 0)
        return false;
    c->st.mce_bank[index] = v;
    return true;
}

/* ---- read ---- */

static bool read_special(struct jit_cpu *c, uint32_t msr, uint64_t *v)
{
    struct x86_state *st = &c->st;

    switch (msr) {
    case 0x10:
        *v = sys_tsc(c);
        return true;
    case 0x1b:
        *v = lapic_base_get(c->lapic);
        return true;
    case 0x3a:
        *v = st->feature_control;
        return true;
    case 0x3b:
        *v = st->tsc_adjust;
        return sys_has(c, FEAT_7_0_EBX, 1);
    case 0x48:
        *v = st->spec_ctrl;
        return sys_has_spec_ctrl(c);
    case 0x9e:
        *v = st->smbase;
        return st->in_smm;
    case 0x10a:
        *v = NOT_AFFECTED;
        return sys_has(c, FEAT_7_0_EDX, 29);
    case 0x1a0:
        *v = st->misc_enable;
        return true;
    case 0x277:
        *v = st->pat;
        return true;
    case 0x6e0:
        *v = lapic_deadline_get(c->lapic);
        return sys_has(c, FEAT_1_ECX, 24);
    case 0xda0:
        *v = st->xss;
        return sys_has(c, FEAT_D_1_EAX, 3);
    case 0xc0000080:
        *v = st->efer;
        return true;
    case 0xc0000103:
        *v = st->tsc_aux;
        return sys_has(c, FEAT_8000_0001_EDX, 27) || sys_has(c, FEAT_7_0_ECX, 22);
    default:
        return false;
    }
}

bool sys_rdmsr(struct jit_cpu *c, uint32_t msr, uint64_t *v)
{
    const struct msr_row *row = row_find(msr);
    const struct msr_const *k = constant_find(c, msr);
    uint64_t *mtrr = mtrr_find(&c->st, msr);
    bool known = false;

    if (row) {
        *v = *(const uint64_t *)((const char *)&c->st + row->offset);
        return true;
    }
    if (k) {
        *v = k->value;
        return true;
    }
    if (mtrr) {
        *v = *mtrr;
        return sys_has(c, FEAT_1_EDX, 12);
    }
    if (msr >= 0x400 && msr < 0x400 + MCE_BANKS * 4) {
        *v = c->st.mce_bank[msr - 0x400];
        return true;
    }
    if (msr >= 0x800 && msr <= 0x8ff)
        return lapic_msr_read(c->lapic, msr, v);
    if (msr >> 16 == HV_MSR_SPACE)
        return hv_rdmsr(c, msr, v);
    bool ok = pv_rdmsr(c, msr, v, &known);
    return known ? ok : read_special(c, msr, v);
}

/* ---- write ---- */

static bool write_apic_base(struct jit_cpu *c, uint64_t v)
{
    if ((v >> sys_of(c)->phys_bits) || !lapic_base_set(c->lapic, v))
        return false;
    c->st.apic_base = lapic_base_get(c->lapic);
    /* The page under the APIC has changed its nature. */
    mmu_flush_all(c);
    return true;
}

static bool write_special(struct jit_cpu *c, uint32_t msr, uint64_t v)
{
    struct x86_state *st = &c->st;

    switch (msr) {
    case 0x10:
        tsc_shift(c, v - sys_tsc(c));
        return true;
    case 0x1b:
        return write_apic_base(c, v);
    case 0x3a:
        if (st->feature_control & 1)
            return false; /* locked */
        st->feature_control = v;
        return true;
    case 0x3b:
        if (!sys_has(c, FEAT_7_0_EBX, 1))
            return false;
        tsc_shift(c, v - st->tsc_adjust);
        return true;
    case 0x48:
        if (!sys_has_spec_ctrl(c) || (v & ~7ull))
            return false;
        st->spec_ctrl = v;
        return true;
    case 0x49:
        return sys_has_spec_ctrl(c) && !(v & ~1ull);
    case 0x1a0:
        st->misc_enable = v;
        return true;
    case 0x277:
        if (!pat_value_ok(v))
            return false;
        st->pat = v;
        return true;
    case 0x6e0:
        if (!sys_has(c, FEAT_1_ECX, 24))
            return false;
        lapic_deadline_set(c->lapic, v);
        return true;
    case 0xda0:
        return sys_has(c, FEAT_D_1_EAX, 3) && v == 0;
    case 0xc0000080:
        return sys_wrmsr_efer(c, v);
    case 0xc0000103:
        if (v >> 32 || !(sys_has(c, FEAT_8000_0001_EDX, 27) || sys_has(c, FEAT_7_0_ECX, 22)))
            return false;
        st->tsc_aux = v;
        return true;
    default:
        return false;
    }
}

static bool write_row(struct jit_cpu *c, const struct msr_row *row, uint64_t v)
{
    if (v & ~row->writable)
        return false;
    if (row->check == CHECK_CANONICAL && !canonical(c, v))
        return false;
    *(uint64_t *)((char *)&c->st + row->offset) = v;
    return true;
}

bool sys_wrmsr(struct jit_cpu *c, uint32_t msr, uint64_t v)
{
    const struct msr_row *row = row_find(msr);
    const struct msr_const *k = constant_find(c, msr);
    uint64_t *mtrr = mtrr_find(&c->st, msr);
    bool known = false;

    if (row)
        return write_row(c, row, v);
    if (k)
        return k->ignore_writes;
    if (mtrr) {
        if (!sys_has(c, FEAT_1_EDX, 12) || !mtrr_value_ok(c, msr, v))
            return false;
        *mtrr = v;
        return true;
    }
    if (msr >= 0x400 && msr < 0x400 + MCE_BANKS * 4)
        return mce_write(c, msr - 0x400, v);
    if (msr >= 0x800 && msr <= 0x8ff) {
        bool ok = lapic_msr_write(c->lapic, msr, v);
        sys_interrupts_opened(c);
        return ok;
    }
    if (msr >> 16 == HV_MSR_SPACE)
        return hv_wrmsr(c, msr, v);
    bool ok = pv_wrmsr(c, msr, v, &known);
    return known ? ok : write_special(c, msr, v);
}

/* ---- instructions ---- */

static void put_edx_eax(struct jit_cpu *c, uint64_t v)
{
    c->st.gpr[R_RAX] = (uint32_t)v;
    c->st.gpr[R_RDX] = v >> 32;
}

void sys_op_rdmsr(struct jit_cpu *c, const struct insn *i)
{
    uint64_t v = 0;

    require_cpl0(c);
    vcpu_count(c->vcpu, VCPU_EV_RDMSR);
    TRACE(vcpu_msr, "cpu %u read 0x%x", c->vcpu->index, (uint32_t)c->st.gpr[R_RCX]);
    if (!sys_rdmsr(c, (uint32_t)c->st.gpr[R_RCX], &v))
        raise_gp(c, 0);
    put_edx_eax(c, v);
}

void sys_op_wrmsr(struct jit_cpu *c, const struct insn *i)
{
    uint64_t v = (uint32_t)c->st.gpr[R_RAX] | c->st.gpr[R_RDX] << 32;

    require_cpl0(c);
    vcpu_count(c->vcpu, VCPU_EV_WRMSR);
    TRACE(vcpu_msr, "cpu %u write 0x%x", c->vcpu->index, (uint32_t)c->st.gpr[R_RCX]);
    if (!sys_wrmsr(c, (uint32_t)c->st.gpr[R_RCX], v))
        raise_gp(c, 0);
}

static void require_tsc(struct jit_cpu *c)
{
    if ((c->st.cr4 & CR4_TSD) && c->cpl != 0)
        raise_gp(c, 0);
}

void sys_op_rdtsc(struct jit_cpu *c, const struct insn *i)
{
    require_tsc(c);
    put_edx_eax(c, sys_tsc(c));
}

void sys_op_rdtscp(struct jit_cpu *c, const struct insn *i)
{
    if (!sys_has(c, FEAT_8000_0001_EDX, 27))
        raise_ud(c);
    require_tsc(c);
    put_edx_eax(c, sys_tsc(c));
    c->st.gpr[R_RCX] = (uint32_t)c->st.tsc_aux;
}

void sys_op_rdpid(struct jit_cpu *c, const struct insn *i)
{
    if (!sys_has(c, FEAT_7_0_ECX, 22))
        raise_ud(c);
    c->st.gpr[i->rm] = (uint32_t)c->st.tsc_aux;
}

/* No performance counters are offered, so every index is invalid. */
void sys_op_rdpmc(struct jit_cpu *c, const struct insn *i)
{
    raise_gp(c, 0);
}
