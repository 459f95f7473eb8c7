/* sys_misc.c - the remaining privileged instructions: descriptor-table registers, TLB and cache
 * control, HLT, CPUID, hypercalls. */
#include "sys.h"

#include "base/trace.h"

#include <sched.h>

void sys_require_umip(struct jit_cpu *c)
{
    if ((c->st.cr4 & CR4_UMIP) && c->cpl != 0)
        raise_gp(c, 0);
}

/* ---- GDTR, IDTR ---- */

static void load_table(struct jit_cpu *c, const struct insn *i, struct x86_dtr *out)
{
    unsigned base_bytes = code64(c) ? 8 : 4;

    require_cpl0(c);
    uint64_t at = insn_linear(c, i, 2 + base_bytes, ACC_READ);
    uint16_t limit = mem_r16(c, at);
    at = code64(c) ? at + 2 : (uint32_t)(at + 2);
    uint64_t base = base_bytes == 8 ? mem_r64(c, at) : mem_r32(c, at);
    if (base_bytes == 4 && i->opsize == 2)
        base &= 0xffffff;
    if (!canonical(c, base))
        raise_gp(c, 0);
    out->base = base;
    out->limit = limit;
}

static void store_table(struct jit_cpu *c, const struct insn *i, const struct x86_dtr *t)
{
    unsigned base_bytes = code64(c) ? 8 : 4;
    uint8_t image[10];

    sys_require_umip(c);
    le16_put(image, t->limit);
    le64_put(image + 2, t->base);
    mmu_write_slow(c, insn_linear(c, i, 2 + base_bytes, ACC_WRITE), image, 2 + base_bytes,
                   ACC_WRITE);
}

void sys_op_lgdt(struct jit_cpu *c, const struct insn *i)
{
    load_table(c, i, &c->st.gdt);
}

void sys_op_lidt(struct jit_cpu *c, const struct insn *i)
{
    load_table(c, i, &c->st.idt);
}

void sys_op_sgdt(struct jit_cpu *c, const struct insn *i)
{
    store_table(c, i, &c->st.gdt);
}

void sys_op_sidt(struct jit_cpu *c, const struct insn *i)
{
    store_table(c, i, &c->st.idt);
}

/* ---- LDTR, TR ---- */

/* System descriptors are 16 bytes in long mode; the upper half's type field must be zero. */
static void system_seg(struct jit_cpu *c, const struct desc *d, uint16_t sel, struct x86_seg *out)
{
    uint64_t high = 0;

    if (long_mode(c)) {
        const struct x86_dtr *gdt = &c->st.gdt;
        if ((sel & 0xfff8u) + 15 > gdt->limit)
            raise_gp(c, sel & 0xfffc);
        high = sys_read(c, d->addr + 8, 8);
        if ((high >> 40) & 0x1f)
            raise_gp(c, sel & 0xfffc);
    }
    desc_to_seg(d, sel, out);
    out->base |= high << 32;
    if (!canonical(c, out->base))
        raise_gp(c, sel & 0xfffc);
}

static void system_desc(struct jit_cpu *c, uint16_t sel, uint32_t types, struct desc *d)
{
    if ((sel & 4) || !desc_read(c, sel, d) || desc_is_segment(d) || !(types & BIT(desc_type(d))))
        raise_gp(c, sel & 0xfffc);
    if (!desc_present(d))
        cpu_raise_error(c, EX_NP, sel & 0xfffc);
}

void sys_op_lldt(struct jit_cpu *c, const struct insn *i)
{
    struct x86_seg ldt;
    struct desc d;

    if (!protected_mode(c))
        raise_ud(c);
    require_cpl0(c);
    uint16_t sel = sys_rm16(c, i);
    if ((sel & 0xfffc) == 0) {
        c->st.ldt = (struct x86_seg){.sel = sel, .attr = SEG_UNUSABLE};
        return;
    }
    system_desc(c, sel, BIT(DT_LDT), &d);
    system_seg(c, &d, sel, &ldt);
    c->st.ldt = ldt;
}

void sys_op_ltr(struct jit_cpu *c, const struct insn *i)
{
    struct x86_seg tr;
    struct desc d;

    if (!protected_mode(c))
        raise_ud(c);
    require_cpl0(c);
    uint16_t sel = sys_rm16(c, i);
    if ((sel & 0xfffc) == 0)
        raise_gp(c, 0);
    system_desc(c, sel, BIT(DT_TSS32) | (long_mode(c) ? 0 : BIT(DT_TSS16)), &d);
    system_seg(c, &d, sel, &tr);
    sys_write(c, d.addr + 4, d.hi | 0x200, 4);
    tr.attr |= 2;
    c->st.tr = tr;
}

static void store_selector(struct jit_cpu *c, const struct insn *i, uint16_t sel)
{
    if (!protected_mode(c))
        raise_ud(c);
    sys_require_umip(c);
    if (i->flags & INSN_MEM)
        mem_w16(c, insn_linear(c, i, 2, ACC_WRITE), sel);
    else
        sys_gpr_put(c, i->rm, i->opsize, sel);
}

void sys_op_sldt(struct jit_cpu *c, const struct insn *i)
{
    store_selector(c, i, c->st.ldt.sel);
}

void sys_op_str(struct jit_cpu *c, const struct insn *i)
{
    store_selector(c, i, c->st.tr.sel);
}

/* ---- TLB and caches ---- */

void sys_op_invlpg(struct jit_cpu *c, const struct insn *i)
{
    uint64_t linear = insn_ea(c, i);

    require_cpl0(c);
    if (!code64(c))
        linear = (uint32_t)(linear + c->st.seg[i->seg].base);
    else if (i->seg == SEG_FS || i->seg == SEG_GS)
        linear += c->st.seg[i->seg].base;
    if (canonical(c, linear))
        mmu_flush_page(c, linear);
}

void sys_op_invpcid(struct jit_cpu *c, const struct insn *i)
{
    if (!sys_has(c, FEAT_7_0_EBX, 10) || c->mode == MODE_REAL)
        raise_ud(c);
    require_cpl0(c);
    uint64_t type = c->st.gpr[i->reg];
    if (!code64(c))
        type = (uint32_t)type;
    uint64_t desc[2];
    mmu_read_slow(c, insn_linear(c, i, 16, ACC_READ), desc, 16, ACC_READ);
    if (type > 3 || (desc[0] & ~0xfffull))
        raise_gp(c, 0);
    if (type < 2 && !(c->st.cr4 & CR4_PCIDE) && desc[0])
        raise_gp(c, 0);
    if (type == 0) {
        if (!canonical(c, desc[1]))
            raise_gp(c, 0);
        mmu_flush_page(c, desc[1]);
    } else if (type == 2) {
        mmu_flush_all(c);
    } else {
        mmu_flush_nonglobal(c);
    }
}

/* Caches are coherent here: nothing to write back. */
void sys_op_wbinvd(struct jit_cpu *c, const struct insn *i)
{
    require_cpl0(c);
}

/* ---- waiting ---- */

void sys_op_hlt(struct jit_cpu *c, const struct insn *i)
{
    require_cpl0(c);
    c->st.mp_state = MP_HALTED;
    pending_set(c, PENDING_KICK);
}

static void require_monitor(struct jit_cpu *c)
{
    if (!sys_has(c, FEAT_1_ECX, 3) || c->cpl != 0)
        raise_ud(c);
    if ((uint32_t)c->st.gpr[R_RCX])
        raise_gp(c, 0);
}

void sys_op_monitor(struct jit_cpu *c, const struct insn *i)
{
    require_monitor(c);
}

/* Nobody watches the line: MWAIT may always return early, so it does, leaving the core to others.
 */
void sys_op_mwait(struct jit_cpu *c, const struct insn *i)
{
    require_monitor(c);
    sched_yield();
}

/* ---- AC under SMAP ---- */

static void set_ac(struct jit_cpu *c, bool on)
{
    if (!sys_has(c, FEAT_7_0_EBX, 20) || c->cpl != 0)
        raise_ud(c);
    c->st.rflags = on ? c->st.rflags | FL_AC : c->st.rflags & ~(uint64_t)FL_AC;
    cpu_update_mode(c);
}

void sys_op_clac(struct jit_cpu *c, const struct insn *i)
{
    set_ac(c, false);
}

void sys_op_stac(struct jit_cpu *c, const struct insn *i)
{
    set_ac(c, true);
}

/* ---- CPUID ---- */

bool sys_has(struct jit_cpu *c, enum cpuid_word w, unsigned bit)
{
    return cpu_model_has(c->set->model, w, bit);
}

bool sys_has_spec_ctrl(struct jit_cpu *c)
{
    return sys_has(c, FEAT_7_0_EDX, 26) || sys_has(c, FEAT_8000_0008_EBX, 14);
}

static const struct cpuid_entry *cpuid_find(struct jit_cpu *c, uint32_t leaf, uint32_t subleaf)
{
    const struct vcpu *v = c->vcpu;

    for (unsigned n = 0; n < v->cpuid_count; n++)
        if (v->cpuid[n].leaf == leaf &&
            (v->cpuid[n].subleaf == subleaf || v->cpuid[n].subleaf == UINT32_MAX))
            return &v->cpuid[n];
    return NULL;
}

static uint32_t max_leaf(struct jit_cpu *c, uint32_t base)
{
    const struct cpuid_entry *e = cpuid_find(c, base, 0);

    return e ? e->eax : 0;
}

/* Leaf 0xd EBX: bytes needed for the components now enabled in XCR0, in the standard format and
 * (subleaf 1) compacted. */
static uint32_t xsave_bytes(struct jit_cpu *c, bool compact)
{
    uint32_t size = 576;

    for (unsigned n = 2; n < 63; n++) {
        const struct cpuid_entry *e = cpuid_find(c, 0xd, n);
        if (e && (c->st.xcr0 & BIT64(n)))
            size = compact ? size + e->eax : MAX_OF(size, e->ebx + e->eax);
    }
    return size;
}

static void cpuid_dynamic(struct jit_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    bool apic = c->st.apic_base & APIC_BASE_ENABLE;

    if (leaf == 1) {
        out[2] &= ~BIT(27);
        if (c->st.cr4 & CR4_OSXSAVE)
            out[2] |= BIT(27);
        if (!apic)
            out[3] &= ~BIT(9);
    } else if (leaf == 0xd && (subleaf == 0 || (subleaf == 1 && out[1]))) {
        out[1] = xsave_bytes(c, subleaf);
    } else if (leaf == 0x80000001) {
        if (!apic)
            out[3] &= ~BIT(9);
        if (sys_of(c)->intel && !code64(c))
            out[3] &= ~BIT(11); /* SYSCALL shows in 64-bit mode only */
    }
}

void sys_cpuid(struct jit_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    uint32_t top = max_leaf(c, leaf & 0xffff0000);

    memset(out, 0, 4 * sizeof(out[0]));
    if (leaf > top && (leaf & 0xffff0000) != 0x40000000) {
        /* Intel answers with its highest basic leaf, AMD with zeros. */
        if (!sys_of(c)->intel)
            return;
        leaf = max_leaf(c, 0);
    }
    const struct cpuid_entry *e = cpuid_find(c, leaf, subleaf);
    if (!e)
        return;
    out[0] = e->eax;
    out[1] = e->ebx;
    out[2] = e->ecx;
    out[3] = e->edx;
    cpuid_dynamic(c, leaf, subleaf, out);
}

void sys_op_cpuid(struct jit_cpu *c, const struct insn *i)
{
    uint32_t out[4];

    vcpu_count(c->vcpu, VCPU_EV_CPUID);
    TRACE(vcpu_cpuid, "cpu %u leaf 0x%x", c->vcpu->index, (uint32_t)c->st.gpr[R_RAX]);
    sys_cpuid(c, (uint32_t)c->st.gpr[R_RAX], (uint32_t)c->st.gpr[R_RCX], out);
    c->st.gpr[R_RAX] = out[0];
    c->st.gpr[R_RBX] = out[1];
    c->st.gpr[R_RCX] = out[2];
    c->st.gpr[R_RDX] = out[3];
}

/* ---- hypercalls ---- */

void sys_op_vmcall(struct jit_cpu *c, const struct insn *i)
{
    bool hyperv = hv_takes_hypercalls(c);

    if ((!c->set->model->kvm_leaves && !hyperv) || !protected_mode(c) || (hyperv && c->cpl != 0))
        raise_ud(c);
    if (hyperv)
        hv_hypercall(c);
    else
        pv_hypercall(c);
}
