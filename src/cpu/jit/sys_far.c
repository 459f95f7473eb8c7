/* sys_far.c - far JMP, CALL and RET, through gates and between rings (SDM vol.3 5.8).
 *
 * A direct far pointer: offset in imm, selector in disp. */
#include "sys.h"

struct far_target {
    uint16_t sel;
    uint64_t offset;
};

static struct far_target far_operand(struct jit_cpu *c, const struct insn *i)
{
    struct far_target t;

    if (!(i->flags & INSN_MEM)) {
        t.sel = (uint16_t)i->disp;
        t.offset = i->opsize == 2 ? (uint16_t)i->imm : (uint32_t)i->imm;
        return t;
    }
    uint64_t at = insn_linear(c, i, i->opsize + 2, ACC_READ);
    if (i->opsize == 8)
        t.offset = mem_r64(c, at);
    else if (i->opsize == 4)
        t.offset = mem_r32(c, at);
    else
        t.offset = mem_r16(c, at);
    at += i->opsize;
    t.sel = mem_r16(c, code64(c) ? at : (uint32_t)at);
    return t;
}

/* Real and virtual-8086 mode. */
static void load_cs_plain(struct jit_cpu *c, uint16_t sel, uint64_t offset)
{
    if (offset > c->st.seg[SEG_CS].limit)
        raise_gp(c, 0);
    if (c->mode == MODE_VM86)
        seg_load_vm86(c, SEG_CS, sel);
    else
        seg_load_real(c, SEG_CS, sel);
    c->st.rip = offset;
    cpu_update_mode(c);
}

void sys_check_target(struct jit_cpu *c, const struct desc *d, uint64_t offset)
{
    bool l = long_mode(c) && (d->hi & (1u << 21));

    if (l ? !canonical(c, offset) : offset > desc_limit(d))
        raise_gp(c, 0);
}

/* L and D together are reserved in long mode. */
static void check_code_bits(struct jit_cpu *c, const struct desc *d, uint16_t sel)
{
    if (long_mode(c) && (d->hi & (1u << 21)) && (d->hi & (1u << 22)))
        raise_gp(c, sel & 0xfffc);
}

/* A code segment entered directly, without a gate. */
static void check_direct(struct jit_cpu *c, const struct desc *d, uint16_t sel)
{
    unsigned dpl = desc_dpl(d);

    if (desc_conforming(d) ? dpl > c->cpl : ((sel & 3u) > c->cpl || dpl != c->cpl))
        raise_gp(c, sel & 0xfffc);
    if (!desc_present(d))
        cpu_raise_error(c, EX_NP, sel & 0xfffc);
    check_code_bits(c, d, sel);
}

struct gate {
    uint16_t sel;
    uint64_t offset;
    unsigned params, size; /* size of one pushed item */
    struct desc code;
};

static void gate_read(struct jit_cpu *c, const struct desc *d, uint16_t sel, struct gate *g)
{
    if (desc_dpl(d) < c->cpl || desc_dpl(d) < (sel & 3u))
        raise_gp(c, sel & 0xfffc);
    if (!desc_present(d))
        cpu_raise_error(c, EX_NP, sel & 0xfffc);
    g->sel = (uint16_t)(d->lo >> 16);
    g->offset = d->lo & 0xffff;
    g->params = d->hi & 31;
    g->size = desc_type(d) == DT_CALL16 ? 2 : 4;
    if (g->size == 4)
        g->offset |= d->hi & 0xffff0000u;
    if (long_mode(c)) {
        uint64_t high = sys_read(c, d->addr + 8, 8);
        if ((high >> 40) & 0x1f)
            raise_gp(c, sel & 0xfffc);
        g->offset |= high << 32;
        g->size = 8;
        g->params = 0;
    }
    if ((g->sel & 0xfffc) == 0)
        raise_gp(c, 0);
    if (!desc_read(c, g->sel, &g->code) || !desc_is_code(&g->code) || desc_dpl(&g->code) > c->cpl)
        raise_gp(c, g->sel & 0xfffc);
    if (long_mode(c) && (g->code.hi & ((1u << 21) | (1u << 22))) != (1u << 21))
        raise_gp(c, g->sel & 0xfffc);
    if (!desc_present(&g->code))
        cpu_raise_error(c, EX_NP, g->sel & 0xfffc);
}

static void commit_cs(struct jit_cpu *c, struct desc *d, uint16_t sel, unsigned cpl, uint64_t rip)
{
    desc_set_accessed(c, d);
    sys_set_cs(c, d, sel, cpl);
    c->st.rip = rip;
    cpu_update_mode(c);
}

static bool is_task(const struct desc *d)
{
    return desc_type(d) == DT_TSS16 || desc_type(d) == DT_TSS32;
}

/* TSS or task gate as target of a far JMP or CALL; never in long mode. */
static void far_task(struct jit_cpu *c, uint16_t sel, struct desc *d, enum task_why why)
{
    if (desc_dpl(d) < c->cpl || desc_dpl(d) < (sel & 3u))
        raise_gp(c, sel & 0xfffc);
    if (desc_type(d) == DT_TASK_GATE) {
        if (!desc_present(d))
            cpu_raise_error(c, EX_NP, sel & 0xfffc);
        sel = (uint16_t)(d->lo >> 16);
        if ((sel & 4) || !desc_read(c, sel, d) || desc_is_segment(d) || !is_task(d))
            raise_gp(c, sel & 0xfffc);
    }
    sys_task_switch(c, sel, d, why, c->st.rip);
}

static void read_target(struct jit_cpu *c, uint16_t sel, struct desc *d)
{
    if ((sel & 0xfffc) == 0)
        raise_gp(c, 0);
    if (!desc_read(c, sel, d))
        raise_gp(c, sel & 0xfffc);
}

static bool is_call_gate(struct jit_cpu *c, const struct desc *d)
{
    return desc_type(d) == DT_CALL32 || (desc_type(d) == DT_CALL16 && !long_mode(c));
}

void sys_op_jmp_far(struct jit_cpu *c, const struct insn *i)
{
    struct far_target t = far_operand(c, i);
    struct desc d;

    if (!protected_mode(c)) {
        load_cs_plain(c, t.sel, t.offset);
        return;
    }
    read_target(c, t.sel, &d);
    if (desc_is_code(&d)) {
        check_direct(c, &d, t.sel);
        sys_check_target(c, &d, t.offset);
        commit_cs(c, &d, t.sel, c->cpl, t.offset);
        return;
    }
    if (!desc_is_segment(&d) && is_call_gate(c, &d)) {
        struct gate g;
        gate_read(c, &d, t.sel, &g);
        if (!desc_conforming(&g.code) && desc_dpl(&g.code) != c->cpl)
            raise_gp(c, g.sel & 0xfffc);
        sys_check_target(c, &g.code, g.offset);
        commit_cs(c, &g.code, g.sel, c->cpl, g.offset);
        return;
    }
    if (desc_is_segment(&d) || long_mode(c) || !(is_task(&d) || desc_type(&d) == DT_TASK_GATE))
        raise_gp(c, t.sel & 0xfffc);
    far_task(c, t.sel, &d, TASK_JUMP);
}

static void push_return(struct jit_cpu *c, struct stack_frame *f, unsigned size)
{
    frame_push(c, f, c->st.seg[SEG_CS].sel, size);
    frame_push(c, f, c->st.rip, size);
}

static void call_gate_inner(struct jit_cpu *c, struct gate *g)
{
    struct x86_state *st = &c->st;
    unsigned cpl = desc_dpl(&g->code);
    struct x86_seg ss = {.sel = (uint16_t)cpl, .attr = SEG_UNUSABLE | cpl << 5};
    struct stack_frame old, f;

    frame_from_ss(c, &old);
    if (g->size == 8) {
        f = (struct stack_frame){.wide = true, .mask = UINT64_MAX, .cpl = cpl};
        f.sp = tss64_stack(c, cpl);
    } else {
        uint16_t sel;
        uint32_t esp;
        tss_inner_stack(c, cpl, &sel, &esp);
        sys_check_ss(c, sel, cpl, EX_TS, &ss);
        frame_set(&f, &ss, esp, cpl, sel & 0xfffc);
    }
    frame_push(c, &f, st->seg[SEG_SS].sel, g->size);
    frame_push(c, &f, st->gpr[R_RSP], g->size);
    for (unsigned n = g->params; n-- > 0;)
        frame_push(c, &f, frame_peek(c, &old, (uint64_t)n * g->size, g->size), g->size);
    push_return(c, &f, g->size);
    sys_check_target(c, &g->code, g->offset);
    desc_set_accessed(c, &g->code);
    st->seg[SEG_SS] = ss;
    st->gpr[R_RSP] = f.sp;
    commit_cs(c, &g->code, g->sel, cpl, g->offset);
}

static void call_same_ring(struct jit_cpu *c, struct desc *d, uint16_t sel, uint64_t offset,
                           unsigned size)
{
    struct stack_frame f;

    frame_from_ss(c, &f);
    push_return(c, &f, size);
    sys_check_target(c, d, offset);
    desc_set_accessed(c, d);
    c->st.gpr[R_RSP] = f.sp;
    commit_cs(c, d, sel, c->cpl, offset);
}

void sys_op_call_far(struct jit_cpu *c, const struct insn *i)
{
    struct far_target t = far_operand(c, i);
    struct desc d;

    if (!protected_mode(c)) {
        struct stack_frame f;
        frame_from_ss(c, &f);
        push_return(c, &f, i->opsize);
        if (t.offset > c->st.seg[SEG_CS].limit)
            raise_gp(c, 0);
        c->st.gpr[R_RSP] = f.sp;
        load_cs_plain(c, t.sel, t.offset);
        return;
    }
    read_target(c, t.sel, &d);
    if (desc_is_code(&d)) {
        check_direct(c, &d, t.sel);
        call_same_ring(c, &d, t.sel, t.offset, i->opsize);
        return;
    }
    if (!desc_is_segment(&d) && is_call_gate(c, &d)) {
        struct gate g;
        gate_read(c, &d, t.sel, &g);
        if (!desc_conforming(&g.code) && desc_dpl(&g.code) < c->cpl)
            call_gate_inner(c, &g);
        else
            call_same_ring(c, &g.code, g.sel, g.offset, g.size);
        return;
    }
    if (desc_is_segment(&d) || long_mode(c) || !(is_task(&d) || desc_type(&d) == DT_TASK_GATE))
        raise_gp(c, t.sel & 0xfffc);
    far_task(c, t.sel, &d, TASK_CALL);
}

/* ---- returns ---- */

void sys_return_cs(struct jit_cpu *c, uint16_t sel, struct desc *d)
{
    unsigned rpl = sel & 3, dpl;

    read_target(c, sel, d);
    dpl = desc_dpl(d);
    if (!desc_is_code(d) || rpl < c->cpl || (desc_conforming(d) ? dpl > rpl : dpl != rpl))
        raise_gp(c, sel & 0xfffc);
    if (!desc_present(d))
        cpu_raise_error(c, EX_NP, sel & 0xfffc);
    check_code_bits(c, d, sel);
}

/* SS of a return: null is fine for 64-bit code outside ring 3. */
void sys_return_ss(struct jit_cpu *c, uint16_t sel, unsigned rpl, bool to64, struct x86_seg *out)
{
    if ((sel & 0xfffc) == 0 && to64 && rpl != 3 && (sel & 3u) == rpl)
        *out = (struct x86_seg){.sel = sel, .attr = SEG_UNUSABLE | rpl << 5};
    else if ((sel & 0xfffc) == 0)
        raise_gp(c, 0);
    else
        sys_check_ss(c, sel, rpl, EX_GP, out);
}

void sys_set_rsp(struct jit_cpu *c, const struct x86_seg *ss, bool to64, uint64_t sp)
{
    if (to64)
        c->st.gpr[R_RSP] = sp;
    else if (ss->attr & SEG_DB)
        c->st.gpr[R_RSP] = (uint32_t)sp;
    else
        c->st.gpr[R_RSP] = (c->st.gpr[R_RSP] & ~0xffffull) | (sp & 0xffff);
}

void sys_op_ret_far(struct jit_cpu *c, const struct insn *i)
{
    unsigned size = i->opsize;
    uint64_t release = (uint16_t)i->imm;
    struct stack_frame f;
    struct desc d;

    frame_from_ss(c, &f);
    uint64_t rip = frame_pop(c, &f, size);
    uint16_t sel = (uint16_t)frame_pop(c, &f, size);
    f.sp = (f.sp & ~f.mask) | ((f.sp + release) & f.mask);
    if (!protected_mode(c)) {
        load_cs_plain(c, sel, rip);
        c->st.gpr[R_RSP] = f.sp;
        return;
    }
    sys_return_cs(c, sel, &d);
    unsigned rpl = sel & 3;
    bool to64 = long_mode(c) && (d.hi & (1u << 21));
    if (rpl == c->cpl) {
        sys_check_target(c, &d, rip);
        desc_set_accessed(c, &d);
        c->st.gpr[R_RSP] = f.sp;
        commit_cs(c, &d, sel, rpl, rip);
        return;
    }
    struct x86_seg ss;
    uint64_t sp = frame_pop(c, &f, size);
    uint16_t ss_sel = (uint16_t)frame_pop(c, &f, size);
    sys_return_ss(c, ss_sel, rpl, to64, &ss);
    sys_check_target(c, &d, rip);
    desc_set_accessed(c, &d);
    c->st.seg[SEG_SS] = ss;
    sys_set_rsp(c, &ss, to64, sp + release);
    commit_cs(c, &d, sel, rpl, rip);
    seg_drop_inner_data(c, rpl);
    cpu_update_mode(c);
}
