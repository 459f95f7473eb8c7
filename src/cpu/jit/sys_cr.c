/* sys_cr.c - control and debug registers, and what follows from them: mode, CPL, TLB context
 * (SDM vol.3 2.5, 4.1, 9.8, 17.2). */
#include "sys.h"

/* ---- derived state ---- */

static enum cpu_mode current_mode(const struct x86_state *st)
{
    if (!(st->cr0 & CR0_PE))
        return MODE_REAL;
    if (st->rflags & FL_VM)
        return MODE_VM86;
    uint32_t cs = st->seg[SEG_CS].attr;
    if (st->efer & EFER_LMA)
        return (cs & SEG_L) ? MODE_LONG64 : MODE_COMPAT;
    return (cs & SEG_DB) ? MODE_PROT32 : MODE_PROT16;
}

static bool flat(const struct x86_seg *s, bool data)
{
    uint32_t want = SEG_P | SEG_S | (data ? 2u : 8u);

    if (s->base || s->limit != UINT32_MAX || (s->attr & SEG_UNUSABLE))
        return false;
    /* Data: writable, grows up; code: any. */
    return (s->attr & (data ? want | 0xc : want)) == want;
}

static uint32_t current_key(const struct x86_state *st, enum cpu_mode mode)
{
    uint32_t key = mode;

    if (st->seg[SEG_CS].attr & SEG_DB)
        key |= KEY_CS32;
    if (st->seg[SEG_SS].attr & SEG_DB)
        key |= KEY_SS32;
    if (mode == MODE_LONG64)
        return (mode | KEY_CSZERO);
    if (st->seg[SEG_CS].base == 0)
        key |= KEY_CSZERO;
    if (mode != MODE_REAL && mode != MODE_VM86 && flat(&st->seg[SEG_CS], false) &&
        flat(&st->seg[SEG_DS], true) && flat(&st->seg[SEG_ES], true) &&
        flat(&st->seg[SEG_SS], true))
        key |= KEY_FLAT;
    return key;
}

static unsigned current_context(struct jit_cpu *c)
{
    if (c->cpl == 3)
        return (c->st.cr0 & CR0_AM) && (c->st.rflags & FL_AC) ? TLB_CTX_ALIGN : TLB_CTX_USER;
    return (c->st.cr4 & CR4_SMAP) && (c->st.rflags & FL_AC) ? TLB_CTX_SUPER_AC : TLB_CTX_SUPER;
}

/* SDM vol.3 table 10-1, vol.1 13.2 */
static uint8_t current_units(const struct x86_state *st)
{
    uint8_t u = 0;

    if (st->cr0 & CR0_TS)
        return 0;
    if (!(st->cr0 & CR0_EM)) {
        u |= UNIT_X87 | UNIT_MMX;
        if (st->cr4 & CR4_OSFXSR)
            u |= UNIT_SSE;
    }
    if ((st->cr4 & CR4_OSXSAVE) && (st->xcr0 & 6) == 6)
        u |= UNIT_AVX;
    if ((st->cr4 & CR4_OSXSAVE) && (st->xcr0 & 0xe6) == 0xe6)
        u |= UNIT_AVX512;
    return u;
}

void cpu_update_mode(struct jit_cpu *c)
{
    const struct x86_state *st = &c->st;
    enum cpu_mode mode = current_mode(st);

    c->mode = mode;
    if (mode == MODE_REAL)
        c->cpl = 0;
    else if (mode == MODE_VM86)
        c->cpl = 3;
    else
        c->cpl = SEG_DPL(st->seg[SEG_SS].attr);
    c->mode_key = current_key(st, mode);
    c->smap_on = (st->cr4 & CR4_SMAP) && !(st->rflags & FL_AC) && c->cpl < 3;
    c->tlb_ctx = current_context(c);
    c->tlb_now = &c->tlb[c->tlb_ctx];
    c->units = current_units(st);
}

/* ---- CR0, CR3, CR4 ---- */

/* Switching paging on or off moves EFER.LMA along with EFER.LME. */
static void paging_switch(struct jit_cpu *c, uint64_t cr0)
{
    struct x86_state *st = &c->st;

    if (cr0 & CR0_PG) {
        if (st->efer & EFER_LME) {
            if (!(st->cr4 & CR4_PAE) || (st->seg[SEG_CS].attr & SEG_L) ||
                (SEG_TYPE(st->tr.attr) | 2) == DT_TSS16_BUSY)
                raise_gp(c, 0);
            st->efer |= EFER_LMA;
        } else if ((st->cr4 & CR4_PAE) && !mmu_pdptrs_load(c)) {
            raise_gp(c, 0);
        }
    } else {
        if ((st->cr4 & CR4_PCIDE) || code64(c))
            raise_gp(c, 0);
        st->efer &= ~EFER_LMA;
    }
}

void sys_write_cr0(struct jit_cpu *c, uint64_t v)
{
    struct x86_state *st = &c->st;
    const uint64_t known = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM |
                           CR0_NW | CR0_CD | CR0_PG;

    if (v >> 32)
        raise_gp(c, 0);
    v = (v & known) | CR0_ET;
    if (((v & CR0_PG) && !(v & CR0_PE)) || ((v & CR0_NW) && !(v & CR0_CD)))
        raise_gp(c, 0);
    uint64_t changed = v ^ st->cr0;
    if (changed & CR0_PG)
        paging_switch(c, v);
    else if ((changed & (CR0_CD | CR0_NW)) && (v & CR0_PG) && (st->cr4 & CR4_PAE) &&
             !long_mode(c) && !mmu_pdptrs_load(c))
        raise_gp(c, 0);
    st->cr0 = v;
    if (changed & (CR0_PG | CR0_WP | CR0_PE))
        mmu_flush_all(c);
    cpu_update_mode(c);
}

void sys_write_cr3(struct jit_cpu *c, uint64_t v)
{
    struct x86_state *st = &c->st;
    uint64_t old = st->cr3;

    if (long_mode(c)) {
        if (st->cr4 & CR4_PCIDE)
            v &= ~BIT64(63);
        if (v >> sys_of(c)->phys_bits)
            raise_gp(c, 0);
    }
    st->cr3 = v;
    if ((st->cr0 & CR0_PG) && (st->cr4 & CR4_PAE) && !long_mode(c) && !mmu_pdptrs_load(c)) {
        st->cr3 = old;
        raise_gp(c, 0);
    }
    mmu_flush_nonglobal(c);
}

/* CR4 bits the guest may set, from its CPUID. */
static uint64_t cr4_allowed(struct jit_cpu *c)
{
    static const struct {
        enum cpuid_word word;
        uint8_t bit;
        uint64_t cr4;
    } rows[] = {
        {FEAT_1_EDX, 1, CR4_VME | CR4_PVI},
        {FEAT_1_EDX, 4, CR4_TSD},
        {FEAT_1_EDX, 2, CR4_DE},
        {FEAT_1_EDX, 3, CR4_PSE},
        {FEAT_1_EDX, 6, CR4_PAE},
        {FEAT_1_EDX, 7, CR4_MCE},
        {FEAT_1_EDX, 13, CR4_PGE},
        {FEAT_1_EDX, 24, CR4_OSFXSR},
        {FEAT_1_EDX, 25, CR4_OSXMMEXCPT},
        {FEAT_1_ECX, 17, CR4_PCIDE},
        {FEAT_1_ECX, 26, CR4_OSXSAVE},
        {FEAT_7_0_EBX, 0, CR4_FSGSBASE},
        {FEAT_7_0_EBX, 7, CR4_SMEP},
        {FEAT_7_0_EBX, 20, CR4_SMAP},
        {FEAT_7_0_ECX, 2, CR4_UMIP},
        {FEAT_7_0_ECX, 16, CR4_LA57},
    };
    uint64_t ok = CR4_PCE;

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (sys_has(c, rows[i].word, rows[i].bit))
            ok |= rows[i].cr4;
    return ok;
}

void sys_write_cr4(struct jit_cpu *c, uint64_t v)
{
    struct x86_state *st = &c->st;
    uint64_t changed = v ^ st->cr4;
    const uint64_t translation = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_LA57;

    if (v & ~cr4_allowed(c))
        raise_gp(c, 0);
    if (long_mode(c) && (!(v & CR4_PAE) || (changed & CR4_LA57)))
        raise_gp(c, 0);
    if ((changed & v & CR4_PCIDE) && (!long_mode(c) || (st->cr3 & 0xfff)))
        raise_gp(c, 0);
    bool pdptrs = (v & CR4_PAE) && (changed & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP)) &&
                  (st->cr0 & CR0_PG) && !long_mode(c);
    if (pdptrs && !mmu_pdptrs_load(c))
        raise_gp(c, 0);
    st->cr4 = v;
    if ((changed & translation) || (changed & CR4_PCIDE))
        mmu_flush_all(c);
    cpu_update_mode(c);
}

void sys_op_mov_to_cr(struct jit_cpu *c, const struct insn *i)
{
    uint64_t v = c->st.gpr[i->rm];

    if (!code64(c))
        v = (uint32_t)v;
    require_cpl0(c);
    switch (i->reg) {
    case 0:
        sys_write_cr0(c, v);
        return;
    case 2:
        c->st.cr2 = v;
        return;
    case 3:
        sys_write_cr3(c, v);
        return;
    case 4:
        sys_write_cr4(c, v);
        return;
    case 8:
        if (v & ~15ull)
            raise_gp(c, 0);
        lapic_tpr_set(c->lapic, (uint8_t)(v << 4));
        sys_interrupts_opened(c);
        return;
    default:
        raise_ud(c);
    }
}

void sys_op_mov_from_cr(struct jit_cpu *c, const struct insn *i)
{
    uint64_t v;

    switch (i->reg) {
    case 0:
        v = c->st.cr0;
        break;
    case 2:
        v = c->st.cr2;
        break;
    case 3:
        v = c->st.cr3;
        break;
    case 4:
        v = c->st.cr4;
        break;
    case 8:
        v = lapic_tpr_get(c->lapic) >> 4;
        break;
    default:
        raise_ud(c);
    }
    require_cpl0(c);
    c->st.gpr[i->rm] = code64(c) ? v : (uint32_t)v;
}

void sys_op_clts(struct jit_cpu *c, const struct insn *i)
{
    require_cpl0(c);
    c->st.cr0 &= ~CR0_TS;
    cpu_update_mode(c);
}

void sys_op_lmsw(struct jit_cpu *c, const struct insn *i)
{
    require_cpl0(c);
    uint64_t v = sys_rm16(c, i) & 15;
    /* PE can be set but not cleared. */
    sys_write_cr0(c, (c->st.cr0 & ~14ull) | v);
}

void sys_op_smsw(struct jit_cpu *c, const struct insn *i)
{
    sys_require_umip(c);
    if (i->flags & INSN_MEM)
        mem_w16(c, insn_linear(c, i, 2, ACC_WRITE), (uint16_t)c->st.cr0);
    else
        sys_gpr_put(c, i->rm, i->opsize, c->st.cr0);
}
