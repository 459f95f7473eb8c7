/* sys_task.c - task state segments: inner stacks, and the hardware task switch (SDM vol.3 ch.7). */
#include "sys.h"

static bool tss_is_32(const struct jit_cpu *c)
{
    return SEG_TYPE(c->st.tr.attr) & 8;
}

static uint32_t tr_error(struct jit_cpu *c)
{
    return (c->st.tr.sel & 0xfffcu) | sys_of(c)->ext;
}

void tss_inner_stack(struct jit_cpu *c, unsigned cpl, uint16_t *ss, uint32_t *esp)
{
    const struct x86_seg *tr = &c->st.tr;
    bool wide = tss_is_32(c);
    uint32_t at = wide ? 4 + cpl * 8 : 2 + cpl * 4, len = wide ? 6 : 4;

    if (at + len - 1 > tr->limit)
        cpu_raise_error(c, EX_TS, tr_error(c));
    *esp = (uint32_t)sys_read(c, tr->base + at, wide ? 4 : 2);
    *ss = (uint16_t)sys_read(c, tr->base + at + (wide ? 4 : 2), 2);
}

uint64_t tss64_stack(struct jit_cpu *c, unsigned index)
{
    uint32_t at = 4 + index * 8;

    if (at + 7 > c->st.tr.limit)
        cpu_raise_error(c, EX_TS, tr_error(c));
    uint64_t sp = sys_read(c, c->st.tr.base + at, 8);
    if (!canonical(c, sp))
        cpu_raise_error(c, EX_SS, sys_of(c)->ext);
    return sp;
}

bool sys_io_allowed(struct jit_cpu *c, uint16_t port, unsigned size)
{
    const struct x86_seg *tr = &c->st.tr;

    if (c->mode == MODE_REAL || (c->mode != MODE_VM86 && c->cpl <= iopl(c)))
        return true;
    if (!tss_is_32(c) || tr->limit < 103)
        return false;
    uint32_t at = (uint32_t)sys_read(c, tr->base + 102, 2) + port / 8;
    /* Two bytes are always read, so the map needs a trailing one (SDM vol.1 19.5.2). */
    if (at + 1 > tr->limit)
        return false;
    uint32_t bits = (uint32_t)sys_read(c, tr->base + at, 2) >> (port % 8);
    return !(bits & ((1u << size) - 1));
}

/* ---- task switch ---- */

/* Everything a TSS of either width holds. */
struct task {
    uint32_t cr3, eip, eflags, gpr[8];
    uint16_t seg[SEG_COUNT], ldt;
    bool trap;
};

/* Order of the segment registers in a TSS: ES CS SS DS FS GS, as in enum SEG_*. */
static void task_load(struct jit_cpu *c, uint64_t base, bool wide, struct task *t)
{
    *t = (struct task){0};
    if (!wide) {
        t->eip = (uint32_t)sys_read(c, base + 14, 2);
        t->eflags = (uint32_t)sys_read(c, base + 16, 2);
        for (unsigned i = 0; i < 8; i++)
            t->gpr[i] = 0xffff0000u | (uint32_t)sys_read(c, base + 18 + i * 2, 2);
        for (unsigned i = 0; i < 4; i++)
            t->seg[i] = (uint16_t)sys_read(c, base + 34 + i * 2, 2);
        t->ldt = (uint16_t)sys_read(c, base + 42, 2);
        return;
    }
    t->cr3 = (uint32_t)sys_read(c, base + 28, 4);
    t->eip = (uint32_t)sys_read(c, base + 32, 4);
    t->eflags = (uint32_t)sys_read(c, base + 36, 4);
    for (unsigned i = 0; i < 8; i++)
        t->gpr[i] = (uint32_t)sys_read(c, base + 40 + i * 4, 4);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        t->seg[i] = (uint16_t)sys_read(c, base + 72 + i * 4, 2);
    t->ldt = (uint16_t)sys_read(c, base + 96, 2);
    t->trap = sys_read(c, base + 100, 1) & 1;
}

static void task_save(struct jit_cpu *c, uint64_t flags, uint64_t rip)
{
    const struct x86_state *st = &c->st;
    uint64_t base = st->tr.base;

    if (!tss_is_32(c)) {
        sys_write(c, base + 14, rip, 2);
        sys_write(c, base + 16, flags, 2);
        for (unsigned i = 0; i < 8; i++)
            sys_write(c, base + 18 + i * 2, st->gpr[i], 2);
        for (unsigned i = 0; i < 4; i++)
            sys_write(c, base + 34 + i * 2, st->seg[i].sel, 2);
        return;
    }
    sys_write(c, base + 32, rip, 4);
    sys_write(c, base + 36, flags, 4);
    for (unsigned i = 0; i < 8; i++)
        sys_write(c, base + 40 + i * 4, st->gpr[i], 4);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        sys_write(c, base + 72 + i * 4, st->seg[i].sel, 2);
}

/* Touches first and last byte for writing, so that the save cannot fault half-way. */
static void task_probe(struct jit_cpu *c, uint64_t base, unsigned len)
{
    mmu_translate(c, base, ACC_WRITE | ACC_IMPLICIT_SUPERVISOR);
    mmu_translate(c, base + len - 1, ACC_WRITE | ACC_IMPLICIT_SUPERVISOR);
}

static void set_busy(struct jit_cpu *c, uint16_t sel, bool busy)
{
    uint64_t at = c->st.gdt.base + (sel & 0xfff8) + 4;
    uint32_t hi = (uint32_t)sys_read(c, at, 4);

    sys_write(c, at, busy ? hi | 0x200 : hi & ~0x200u, 4);
}

static void load_ldt(struct jit_cpu *c, uint16_t sel)
{
    struct desc d;

    c->st.ldt = (struct x86_seg){.sel = sel, .attr = SEG_UNUSABLE};
    if ((sel & 0xfffc) == 0)
        return;
    if ((sel & 4) || !desc_read(c, sel, &d) || desc_is_segment(&d) || desc_type(&d) != DT_LDT ||
        !desc_present(&d))
        cpu_raise_error(c, EX_TS, sel & 0xfffc);
    desc_to_seg(&d, sel, &c->st.ldt);
}

static void load_task_cs(struct jit_cpu *c, uint16_t sel)
{
    struct desc d;
    unsigned rpl = sel & 3;

    if (!desc_read(c, sel, &d) || !desc_is_code(&d) ||
        (desc_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl))
        cpu_raise_error(c, EX_TS, sel & 0xfffc);
    if (!desc_present(&d))
        cpu_raise_error(c, EX_NP, sel & 0xfffc);
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, &c->st.seg[SEG_CS]);
}

static void load_task_data(struct jit_cpu *c, unsigned seg, uint16_t sel)
{
    struct desc d;

    if ((sel & 0xfffc) == 0)
        return;
    if (!desc_read(c, sel, &d) || !desc_is_segment(&d) ||
        (desc_is_code(&d) && !(d.hi & (1u << 9))) ||
        (!(desc_is_code(&d) && desc_conforming(&d)) &&
         (desc_dpl(&d) < c->cpl || desc_dpl(&d) < (sel & 3u))))
        cpu_raise_error(c, EX_TS, sel & 0xfffc);
    if (!desc_present(&d))
        cpu_raise_error(c, EX_NP, sel & 0xfffc);
    desc_set_accessed(c, &d);
    desc_to_seg(&d, sel, &c->st.seg[seg]);
}

/* Selectors are loaded first, as the architecture shows them to a handler when a descriptor turns
 * out bad; from here on faults belong to the new task. */
static void task_segments(struct jit_cpu *c, const struct task *t)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        c->st.seg[i] = (struct x86_seg){.sel = t->seg[i], .attr = SEG_UNUSABLE};
    c->st.seg[SEG_SS].attr |= (t->seg[SEG_CS] & 3u) << 5;
    if (c->st.rflags & FL_VM) {
        for (unsigned i = 0; i < SEG_COUNT; i++)
            seg_load_vm86(c, i, t->seg[i]);
        cpu_update_mode(c);
        load_ldt(c, t->ldt);
        return;
    }
    cpu_update_mode(c);
    load_ldt(c, t->ldt);
    load_task_cs(c, t->seg[SEG_CS]);
    sys_check_ss(c, t->seg[SEG_SS], t->seg[SEG_CS] & 3, EX_TS, &c->st.seg[SEG_SS]);
    cpu_update_mode(c);
    load_task_data(c, SEG_ES, t->seg[SEG_ES]);
    load_task_data(c, SEG_DS, t->seg[SEG_DS]);
    load_task_data(c, SEG_FS, t->seg[SEG_FS]);
    load_task_data(c, SEG_GS, t->seg[SEG_GS]);
    cpu_update_mode(c);
}

static void task_commit(struct jit_cpu *c, const struct task *t, bool wide)
{
    struct x86_state *st = &c->st;

    if (wide && (st->cr0 & CR0_PG)) {
        st->cr3 = t->cr3;
        if ((st->cr4 & CR4_PAE) && !mmu_pdptrs_load(c))
            cpu_raise_error(c, EX_TS, tr_error(c));
        mmu_flush_nonglobal(c);
    }
    st->rip = t->eip;
    st->rflags = (t->eflags & 0x3f7fd7) | 2;
    for (unsigned i = 0; i < 8; i++)
        st->gpr[i] = t->gpr[i];
    st->dr[7] &= ~0x55ull;
    st->cr0 |= CR0_TS;
    task_segments(c, t);
    if (t->trap) {
        sys_of(c)->dr6_pending |= DR6_BT;
        pending_set(c, PENDING_STEP);
    }
    if (st->rip > st->seg[SEG_CS].limit)
        cpu_raise_error(c, EX_GP, sys_of(c)->ext);
}

void sys_task_switch(struct jit_cpu *c, uint16_t sel, const struct desc *d, enum task_why why,
                     uint64_t return_rip)
{
    struct x86_state *st = &c->st;
    bool wide = desc_type(d) & 8, old_wide = tss_is_32(c);
    struct task t;

    if (!desc_present(d))
        cpu_raise_error(c, EX_NP, (sel & 0xfffcu) | sys_of(c)->ext);
    if (desc_limit(d) < (wide ? 103 : 43))
        cpu_raise_error(c, EX_TS, (sel & 0xfffcu) | sys_of(c)->ext);
    task_load(c, desc_base(d), wide, &t);
    task_probe(c, st->tr.base, old_wide ? 104 : 44);
    if (why == TASK_CALL || why == TASK_GATE)
        task_probe(c, desc_base(d), 2);

    uint64_t flags = why == TASK_IRET ? st->rflags & ~(uint64_t)FL_NT : st->rflags;
    if (why == TASK_JUMP || why == TASK_IRET)
        set_busy(c, st->tr.sel, false);
    task_save(c, flags, return_rip);
    if (why == TASK_CALL || why == TASK_GATE) {
        sys_write(c, desc_base(d), st->tr.sel, 2);
        t.eflags |= FL_NT;
    }
    if (why != TASK_IRET)
        set_busy(c, sel, true);
    desc_to_seg(d, sel, &st->tr);
    st->tr.attr |= 2; /* busy */
    task_commit(c, &t, wide);
}

void sys_task_gate(struct jit_cpu *c, uint16_t tss_sel, bool has_error, uint32_t error)
{
    struct desc d;
    uint32_t code = (tss_sel & 0xfffcu) | sys_of(c)->ext;

    if ((tss_sel & 4) || !desc_read(c, tss_sel, &d))
        raise_gp(c, code);
    if (desc_is_segment(&d) || (desc_type(&d) != DT_TSS16 && desc_type(&d) != DT_TSS32))
        raise_gp(c, code);
    sys_task_switch(c, tss_sel, &d, TASK_GATE, c->st.rip);
    if (has_error) {
        struct stack_frame f;
        frame_from_ss(c, &f);
        frame_push(c, &f, error, tss_is_32(c) ? 4 : 2);
        c->st.gpr[R_RSP] = f.sp;
    }
}
