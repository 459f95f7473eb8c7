/* sys_iret.c - IRET in all modes, and writing EFLAGS (SDM vol.2 IRET, POPF; vol.3 20.2). */
#include "sys.h"

/* Bits POPF and IRET may change at the current CPL and IOPL. */
static uint64_t flags_mask(struct jit_cpu *c, unsigned size)
{
    uint64_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT;

    if (size != 2)
        mask |= FL_AC | FL_ID;
    if (c->cpl <= iopl(c))
        mask |= FL_IF;
    if (c->cpl == 0)
        mask |= FL_IOPL;
    return mask;
}

void sys_set_flags(struct jit_cpu *c, uint64_t v, uint64_t mask)
{
    uint64_t old = c->st.rflags;

    c->st.rflags = (old & ~mask) | (v & mask) | 2;
    if ((old ^ c->st.rflags) & (FL_AC | FL_VM))
        cpu_update_mode(c);
    if (c->st.rflags & FL_IF & ~old)
        sys_interrupts_opened(c);
    if (c->st.rflags & (FL_TF | FL_RF))
        sys_debug_update(c);
}

/* IF has become 1, or the priority has dropped: look whether something waits. */
void sys_interrupts_opened(struct jit_cpu *c)
{
    if (lapic_pending(c->lapic) != -1)
        pending_set(c, PENDING_KICK);
}

static void nmi_unblock(struct jit_cpu *c)
{
    c->st.nmi_masked = false;
    if (c->st.nmi_pending)
        pending_set(c, PENDING_KICK);
}

static void iret_real(struct jit_cpu *c, unsigned size)
{
    struct stack_frame f;

    frame_from_ss(c, &f);
    uint64_t rip = frame_pop(c, &f, size);
    uint16_t sel = (uint16_t)frame_pop(c, &f, size);
    uint64_t flags = frame_pop(c, &f, size);
    if (rip > c->st.seg[SEG_CS].limit)
        raise_gp(c, 0);
    c->st.gpr[R_RSP] = f.sp;
    seg_load_real(c, SEG_CS, sel);
    c->st.rip = rip;
    cpu_update_mode(c);
    sys_set_flags(c, flags, flags_mask(c, size) | (size == 4 ? FL_RF : 0));
}

/* The interrupt flag a virtual-8086 task sees is VIF when CR4.VME is on and IOPL < 3. */
static void vme_set_flags(struct jit_cpu *c, uint64_t flags)
{
    uint64_t vif = (flags & FL_IF) ? FL_VIF : 0;

    if ((flags & FL_TF) || ((flags & FL_IF) && (c->st.rflags & FL_VIP)))
        raise_gp(c, 0);
    sys_set_flags(c, (flags & ~(uint64_t)FL_VIF) | vif, FL_ARITH | FL_TF | FL_DF | FL_NT | FL_VIF);
}

static void iret_vm86(struct jit_cpu *c, unsigned size)
{
    struct stack_frame f;
    bool vme = iopl(c) < 3;

    if (vme && (!(c->st.cr4 & CR4_VME) || size != 2))
        raise_gp(c, 0);
    frame_from_ss(c, &f);
    uint64_t rip = frame_pop(c, &f, size);
    uint16_t sel = (uint16_t)frame_pop(c, &f, size);
    uint64_t flags = frame_pop(c, &f, size);
    if (rip > 0xffff)
        raise_gp(c, 0);
    if (vme)
        vme_set_flags(c, flags);
    c->st.gpr[R_RSP] = f.sp;
    seg_load_vm86(c, SEG_CS, sel);
    c->st.rip = rip;
    cpu_update_mode(c);
    if (!vme)
        sys_set_flags(c, flags, flags_mask(c, size) | (size == 4 ? FL_RF : 0));
}

static void iret_to_vm86(struct jit_cpu *c, struct stack_frame *f, uint64_t rip, uint16_t cs,
                         uint64_t flags)
{
    static const uint8_t order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint16_t sel[ARRAY_SIZE(order)];

    if (rip > 0xffff)
        raise_gp(c, 0);
    uint64_t sp = frame_pop(c, f, 4);
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
        sel[i] = (uint16_t)frame_pop(c, f, 4);
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
        seg_load_vm86(c, order[i], sel[i]);
    seg_load_vm86(c, SEG_CS, cs);
    c->st.rip = rip;
    c->st.gpr[R_RSP] = (uint32_t)sp;
    sys_set_flags(c, flags, flags_mask(c, 4) | FL_RF | FL_VM | FL_VIF | FL_VIP);
    cpu_update_mode(c);
}

static void iret_task(struct jit_cpu *c)
{
    struct desc d;
    uint16_t link = (uint16_t)sys_read(c, c->st.tr.base, 2);

    if ((link & 4) || !desc_read(c, link, &d) || desc_is_segment(&d) ||
        (desc_type(&d) != DT_TSS16_BUSY && desc_type(&d) != DT_TSS32_BUSY))
        cpu_raise_error(c, EX_TS, link & 0xfffc);
    sys_task_switch(c, link, &d, TASK_IRET, c->st.rip);
}

static void iret_protected(struct jit_cpu *c, unsigned size)
{
    struct x86_state *st = &c->st;
    bool from64 = code64(c);
    struct stack_frame f;
    struct x86_seg ss = st->seg[SEG_SS];
    struct desc d;

    if (st->rflags & FL_NT) {
        if (long_mode(c))
            raise_gp(c, 0);
        iret_task(c);
        return;
    }
    frame_from_ss(c, &f);
    uint64_t rip = frame_pop(c, &f, size);
    uint16_t sel = (uint16_t)frame_pop(c, &f, size);
    uint64_t flags = frame_pop(c, &f, size);
    if ((flags & FL_VM) && size == 4 && c->cpl == 0 && !long_mode(c)) {
        iret_to_vm86(c, &f, rip, sel, flags);
        return;
    }
    sys_return_cs(c, sel, &d);
    unsigned rpl = sel & 3;
    bool outer = rpl != c->cpl, to64 = long_mode(c) && (d.hi & (1u << 21));
    uint64_t sp = f.sp;
    if (outer || from64) {
        sp = frame_pop(c, &f, size);
        sys_return_ss(c, (uint16_t)frame_pop(c, &f, size), rpl, to64, &ss);
    }
    sys_check_target(c, &d, rip);
    desc_set_accessed(c, &d);

    uint64_t mask = flags_mask(c, size) | (size != 2 ? FL_RF : 0);
    if (c->cpl == 0 && size != 2)
        mask |= FL_VIF | FL_VIP;
    if (outer || from64) {
        st->seg[SEG_SS] = ss;
        sys_set_rsp(c, &ss, to64, sp);
    } else {
        st->gpr[R_RSP] = sp;
    }
    sys_set_cs(c, &d, sel, rpl);
    st->rip = rip;
    if (outer)
        seg_drop_inner_data(c, rpl);
    st->rflags = (st->rflags & ~(mask & FL_AC)) | (flags & mask & FL_AC);
    cpu_update_mode(c);
    sys_set_flags(c, flags, mask);
}

void sys_op_iret(struct jit_cpu *c, const struct insn *i)
{
    if (c->mode == MODE_REAL)
        iret_real(c, i->opsize);
    else if (c->mode == MODE_VM86)
        iret_vm86(c, i->opsize);
    else
        iret_protected(c, i->opsize);
    nmi_unblock(c);
}

/* ---- PUSHF, POPF, STI, CLI ---- */

void sys_op_pushf(struct jit_cpu *c, const struct insn *i)
{
    uint64_t flags = c->st.rflags & ~(uint64_t)(FL_RF | FL_VM);

    if (c->mode == MODE_VM86 && iopl(c) < 3) {
        if (!(c->st.cr4 & CR4_VME) || i->opsize != 2)
            raise_gp(c, 0);
        flags = (flags & ~(uint64_t)FL_IF) | FL_IOPL | ((flags & FL_VIF) ? FL_IF : 0);
    }
    stack_push(c, flags, i->opsize);
}

void sys_op_popf(struct jit_cpu *c, const struct insn *i)
{
    struct stack_frame f;
    bool vme = c->mode == MODE_VM86 && iopl(c) < 3;

    if (vme && (!(c->st.cr4 & CR4_VME) || i->opsize != 2))
        raise_gp(c, 0);
    frame_from_ss(c, &f);
    uint64_t flags = frame_pop(c, &f, i->opsize);
    if (vme) {
        vme_set_flags(c, flags);
        c->st.gpr[R_RSP] = f.sp;
        return;
    }
    uint64_t mask = flags_mask(c, i->opsize);
    if (c->mode == MODE_VM86)
        mask &= ~(uint64_t)FL_IOPL;
    c->st.gpr[R_RSP] = f.sp;
    c->st.rflags &= ~(uint64_t)FL_RF;
    sys_set_flags(c, flags, mask);
}

/* Virtual interrupt flag: VME in virtual-8086 mode, PVI in ring 3. */
static bool uses_vif(struct jit_cpu *c)
{
    if (c->mode == MODE_VM86)
        return c->st.cr4 & CR4_VME;
    return c->cpl == 3 && (c->st.cr4 & CR4_PVI);
}

void sys_op_cli(struct jit_cpu *c, const struct insn *i)
{
    if (c->mode == MODE_REAL || c->cpl <= iopl(c))
        c->st.rflags &= ~(uint64_t)FL_IF;
    else if (uses_vif(c))
        c->st.rflags &= ~(uint64_t)FL_VIF;
    else
        raise_gp(c, 0);
}

void sys_op_sti(struct jit_cpu *c, const struct insn *i)
{
    if (c->mode == MODE_REAL || c->cpl <= iopl(c)) {
        if (!(c->st.rflags & FL_IF)) {
            c->st.rflags |= FL_IF;
            sys_interrupts_opened(c);
            cpu_set_shadow(c, 1);
        }
    } else if (uses_vif(c) && !(c->st.rflags & FL_VIP)) {
        c->st.rflags |= FL_VIF;
    } else {
        raise_gp(c, 0);
    }
}
