/* sys_segment.c - descriptors and segment registers (SDM vol.3 ch.3 and 5). */
#include "sys.h"

bool desc_read(struct jit_cpu *c, uint16_t sel, struct desc *out)
{
    uint64_t base = c->st.gdt.base;
    uint32_t limit = c->st.gdt.limit;

    if ((sel & 0xfffc) == 0)
        return false;
    if (sel & 4) {
        if (c->st.ldt.attr & SEG_UNUSABLE)
            return false;
        base = c->st.ldt.base;
        limit = c->st.ldt.limit;
    }
    if ((sel & 0xfff8u) + 7 > limit)
        return false;
    out->addr = base + (sel & 0xfff8);
    uint64_t raw = sys_read(c, out->addr, 8);
    out->lo = (uint32_t)raw;
    out->hi = (uint32_t)(raw >> 32);
    return true;
}

uint64_t desc_base(const struct desc *d)
{
    return (d->lo >> 16) | (d->hi & 0xff) << 16 | (d->hi & 0xff000000);
}

uint32_t desc_limit(const struct desc *d)
{
    uint32_t limit = (d->lo & 0xffff) | (d->hi & 0xf0000);
    return (d->hi & (1u << 23)) ? limit << 12 | 0xfff : limit;
}

void desc_to_seg(const struct desc *d, uint16_t sel, struct x86_seg *out)
{
    out->sel = sel;
    out->base = desc_base(d);
    out->limit = desc_limit(d);
    out->attr = (d->hi >> 8) & 0xf0ff;
}

void desc_set_accessed(struct jit_cpu *c, struct desc *d)
{
    if (d->hi & 0x100)
        return;
    d->hi |= 0x100;
    sys_write(c, d->addr + 4, d->hi, 4);
}

void seg_null_ss(struct jit_cpu *c, unsigned cpl)
{
    c->st.seg[SEG_SS] = (struct x86_seg){.sel = (uint16_t)cpl, .attr = SEG_UNUSABLE | cpl << 5};
}

/* Real mode changes selector and base only: limits set in protected mode stay ("unreal mode"). */
void seg_load_real(struct jit_cpu *c, unsigned seg, uint16_t sel)
{
    struct x86_seg *s = &c->st.seg[seg];

    s->sel = sel;
    s->base = (uint32_t)sel << 4;
    if (s->attr & SEG_UNUSABLE) {
        s->attr = 0x93;
        s->limit = 0xffff;
    }
}

void seg_load_vm86(struct jit_cpu *c, unsigned seg, uint16_t sel)
{
    c->st.seg[seg] =
        (struct x86_seg){.sel = sel, .base = (uint32_t)sel << 4, .limit = 0xffff, .attr = 0xf3};
}

void sys_set_cs(struct jit_cpu *c, const struct desc *d, uint16_t sel, unsigned cpl)
{
    desc_to_seg(d, (uint16_t)((sel & ~3u) | cpl), &c->st.seg[SEG_CS]);
    /* CPL is kept as SS.DPL (cpu_update_mode reads it there); conforming code and the moment
     * between CS and SS of a transfer need it told explicitly. */
    c->st.seg[SEG_SS].attr = (c->st.seg[SEG_SS].attr & ~0x60u) | cpl << 5;
}

void sys_check_ss(struct jit_cpu *c, uint16_t sel, unsigned cpl, uint8_t ex, struct x86_seg *out)
{
    uint32_t error = (sel & 0xfffcu) | sys_of(c)->ext;
    struct desc d;

    if ((sel & 0xfffc) == 0 || !desc_read(c, sel, &d) || (sel & 3) != cpl || desc_dpl(&d) != cpl ||
        !desc_is_segment(&d) || desc_is_code(&d) || !(d.hi & (1u << 9)))
        cpu_raise_error(c, ex, error);
    if (!desc_present(&d))
        cpu_raise_error(c, EX_SS, error);
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, out);
}

static void load_data(struct jit_cpu *c, unsigned seg, uint16_t sel)
{
    struct desc d;
    uint32_t error = sel & 0xfffc;

    if (error == 0) {
        /* The base survives a null load of FS/GS on some parts only; zero is always allowed. */
        c->st.seg[seg] = (struct x86_seg){.sel = sel, .attr = SEG_UNUSABLE};
        return;
    }
    if (!desc_read(c, sel, &d) || !desc_is_segment(&d))
        raise_gp(c, error);
    if (desc_is_code(&d) && !(d.hi & (1u << 9)))
        raise_gp(c, error);
    if (!(desc_is_code(&d) && desc_conforming(&d)) &&
        (desc_dpl(&d) < c->cpl || desc_dpl(&d) < (sel & 3u)))
        raise_gp(c, error);
    if (!desc_present(&d))
        cpu_raise_error(c, EX_NP, error);
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, &c->st.seg[seg]);
}

static void load_ss(struct jit_cpu *c, uint16_t sel)
{
    if ((sel & 0xfffc) == 0) {
        if (!code64(c) || c->cpl == 3 || (sel & 3) != c->cpl)
            raise_gp(c, 0);
        seg_null_ss(c, c->cpl);
        return;
    }
    sys_check_ss(c, sel, c->cpl, EX_GP, &c->st.seg[SEG_SS]);
}

void sys_load_seg(struct jit_cpu *c, unsigned seg, uint16_t sel)
{
    if (c->mode == MODE_REAL)
        seg_load_real(c, seg, sel);
    else if (c->mode == MODE_VM86)
        seg_load_vm86(c, seg, sel);
    else if (seg == SEG_SS)
        load_ss(c, sel);
    else
        load_data(c, seg, sel);
    cpu_update_mode(c);
}

void seg_drop_inner_data(struct jit_cpu *c, unsigned cpl)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

    for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
        struct x86_seg *s = &c->st.seg[data[i]];
        bool conforming = (s->attr & 0xc) == 0xc;
        if (!(s->attr & SEG_UNUSABLE) && !conforming && SEG_DPL(s->attr) < cpl)
            *s = (struct x86_seg){.attr = SEG_UNUSABLE};
    }
}

/* ---- LAR, LSL, VERR, VERW, ARPL ---- */

uint16_t sys_rm16(struct jit_cpu *c, const struct insn *i)
{
    if (i->flags & INSN_MEM)
        return mem_r16(c, insn_linear(c, i, 2, ACC_READ));
    return (uint16_t)c->st.gpr[i->rm];
}

void sys_gpr_put(struct jit_cpu *c, unsigned reg, unsigned size, uint64_t v)
{
    if (size == 8)
        c->st.gpr[reg] = v;
    else if (size == 4)
        c->st.gpr[reg] = (uint32_t)v;
    else
        c->st.gpr[reg] = (c->st.gpr[reg] & ~0xffffull) | (v & 0xffff);
}

static void set_zf(struct jit_cpu *c, bool z)
{
    c->st.rflags = (c->st.rflags & ~(uint64_t)FL_ZF) | (z ? FL_ZF : 0);
}

static bool visible(struct jit_cpu *c, uint16_t sel, const struct desc *d)
{
    if (desc_is_code(d) && desc_conforming(d))
        return true;
    return desc_dpl(d) >= c->cpl && desc_dpl(d) >= (sel & 3u);
}

/* System descriptor types LAR (and, without gates, LSL) accept. */
static bool type_accepted(struct jit_cpu *c, const struct desc *d, bool gates)
{
    const uint32_t legacy =
        BIT(DT_TSS16) | BIT(DT_LDT) | BIT(DT_TSS16_BUSY) | BIT(DT_TSS32) | BIT(DT_TSS32_BUSY);
    const uint32_t wide = BIT(DT_LDT) | BIT(DT_TSS32) | BIT(DT_TSS32_BUSY);
    uint32_t ok = long_mode(c) ? wide : legacy;

    if (desc_is_segment(d))
        return true;
    if (gates)
        ok |= long_mode(c) ? BIT(DT_CALL32) : BIT(DT_CALL16) | BIT(DT_TASK_GATE) | BIT(DT_CALL32);
    return ok & BIT(desc_type(d));
}

static bool inspect(struct jit_cpu *c, const struct insn *i, bool gates, struct desc *d)
{
    if (!protected_mode(c))
        raise_ud(c);
    uint16_t sel = sys_rm16(c, i);
    bool ok = desc_read(c, sel, d) && type_accepted(c, d, gates) && visible(c, sel, d);
    set_zf(c, ok);
    return ok;
}

void sys_op_lar(struct jit_cpu *c, const struct insn *i)
{
    struct desc d;

    if (inspect(c, i, true, &d))
        sys_gpr_put(c, i->reg, i->opsize, d.hi & 0x00f0ff00);
}

void sys_op_lsl(struct jit_cpu *c, const struct insn *i)
{
    struct desc d;

    if (inspect(c, i, false, &d))
        sys_gpr_put(c, i->reg, i->opsize, desc_limit(&d));
}

static void verify(struct jit_cpu *c, const struct insn *i, bool write)
{
    struct desc d;

    if (!protected_mode(c))
        raise_ud(c);
    uint16_t sel = sys_rm16(c, i);
    bool ok = desc_read(c, sel, &d) && desc_is_segment(&d) && visible(c, sel, &d);
    bool rw = d.hi & (1u << 9);
    if (ok)
        ok = write ? !desc_is_code(&d) && rw : !desc_is_code(&d) || rw;
    set_zf(c, ok);
}

void sys_op_verr(struct jit_cpu *c, const struct insn *i)
{
    verify(c, i, false);
}

void sys_op_verw(struct jit_cpu *c, const struct insn *i)
{
    verify(c, i, true);
}

void sys_op_arpl(struct jit_cpu *c, const struct insn *i)
{
    if (!protected_mode(c))
        raise_ud(c);
    uint16_t dst, rpl = c->st.gpr[i->reg] & 3;
    if (i->flags & INSN_MEM) {
        dst = mem_r16(c, insn_linear(c, i, 2, ACC_READ));
    } else {
        dst = (uint16_t)c->st.gpr[i->rm];
    }
    bool raised = (dst & 3) < rpl;
    dst = raised ? (uint16_t)((dst & ~3u) | rpl) : dst;
    if (raised && (i->flags & INSN_MEM))
        mem_w16(c, insn_linear(c, i, 2, ACC_WRITE), dst);
    else if (raised)
        sys_gpr_put(c, i->rm, 2, dst);
    set_zf(c, raised);
}
