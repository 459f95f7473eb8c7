/* sys_exception.c - faults, and the way through IVT and IDT into a handler (SDM vol.3 ch.6).
 *
 * sys_enter_handler() does one delivery and leaves by cpu_raise*() when that faults itself;
 * cpu_deliver() is the ring around it that turns such faults into double faults and shutdown.
 * Registers are committed only after the last push has succeeded. */
#include "direct.h"
#include "sys.h"

_Noreturn void cpu_raise(struct jit_cpu *c, uint8_t vector)
{
    c->fault.vector = vector;
    c->fault.has_error = false;
    c->fault.error = 0;
    siglongjmp(c->fault_jmp, 1);
}

_Noreturn void cpu_raise_error(struct jit_cpu *c, uint8_t vector, uint32_t error)
{
    c->fault.vector = vector;
    c->fault.has_error = true;
    c->fault.error = error;
    siglongjmp(c->fault_jmp, 1);
}

_Noreturn void cpu_page_fault(struct jit_cpu *c, uint64_t linear, uint32_t error)
{
    c->st.cr2 = linear;
    if (c->cpl == 3)
        direct_expect(c, linear);
    cpu_raise_error(c, EX_PF, error);
}

/* ---- stacks under construction ---- */

void frame_set(struct stack_frame *f, const struct x86_seg *ss, uint64_t sp, unsigned cpl,
               uint16_t error)
{
    *f = (struct stack_frame){
        .base = ss->base,
        .sp = sp,
        .mask = (ss->attr & SEG_DB) ? 0xffffffff : 0xffff,
        .limit = ss->limit,
        .attr = ss->attr,
        .cpl = cpl,
        .error = error,
    };
}

void frame_from_ss(struct jit_cpu *c, struct stack_frame *f)
{
    frame_set(f, &c->st.seg[SEG_SS], c->st.gpr[R_RSP], c->cpl, sys_of(c)->ext);
    if (code64(c)) {
        f->wide = true;
        f->base = 0;
        f->mask = UINT64_MAX;
    }
}

static bool frame_in_limit(const struct stack_frame *f, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;

    if ((f->attr & (SEG_S | 0xc)) == (SEG_S | 0x4)) /* expand-down data */
        return offset > f->limit && last <= ((f->attr & SEG_DB) ? 0xffffffffull : 0xffffull);
    return last <= f->limit;
}

static uint64_t frame_linear(struct jit_cpu *c, const struct stack_frame *f, uint64_t offset,
                             unsigned size)
{
    if (f->wide) {
        if (!canonical(c, offset) || !canonical(c, offset + size - 1))
            cpu_raise_error(c, EX_SS, f->error);
        return offset;
    }
    if (!frame_in_limit(f, offset, size))
        cpu_raise_error(c, EX_SS, f->error);
    return (uint32_t)(f->base + offset);
}

void frame_push(struct jit_cpu *c, struct stack_frame *f, uint64_t v, unsigned size)
{
    uint64_t sp = (f->sp - size) & f->mask;
    uint64_t linear = frame_linear(c, f, sp, size);

    if (f->cpl != c->cpl)
        sys_write(c, linear, v, size);
    else if (size == 8)
        mem_w64(c, linear, v);
    else if (size == 4)
        mem_w32(c, linear, (uint32_t)v);
    else
        mem_w16(c, linear, (uint16_t)v);
    f->sp = (f->sp & ~f->mask) | sp;
}

uint64_t frame_peek(struct jit_cpu *c, const struct stack_frame *f, uint64_t offset, unsigned size)
{
    uint64_t linear = frame_linear(c, f, (f->sp + offset) & f->mask, size);

    if (size == 8)
        return mem_r64(c, linear);
    if (size == 4)
        return mem_r32(c, linear);
    return mem_r16(c, linear);
}

uint64_t frame_pop(struct jit_cpu *c, struct stack_frame *f, unsigned size)
{
    uint64_t v = frame_peek(c, f, 0, size);

    f->sp = (f->sp & ~f->mask) | ((f->sp + size) & f->mask);
    return v;
}

/* ---- one delivery ---- */

struct event {
    uint8_t vector;
    bool has_error;
    uint32_t error;
    enum event_kind kind;
    uint64_t flags; /* to be pushed */
};

/* Error code for a fault that names the IDT entry. */
static uint32_t idt_error(struct jit_cpu *c, uint8_t vector)
{
    return vector * 8u + 2 + sys_of(c)->ext;
}

static uint32_t selector_error(struct jit_cpu *c, uint16_t sel)
{
    return (sel & 0xfffcu) | sys_of(c)->ext;
}

static void enter_real(struct jit_cpu *c, const struct event *ev)
{
    struct x86_state *st = &c->st;
    struct stack_frame f;

    if (ev->vector * 4u + 3 > st->idt.limit)
        raise_gp(c, idt_error(c, ev->vector));
    uint32_t entry = (uint32_t)sys_read(c, st->idt.base + ev->vector * 4u, 4);
    frame_from_ss(c, &f);
    frame_push(c, &f, ev->flags & 0xffff, 2);
    frame_push(c, &f, st->seg[SEG_CS].sel, 2);
    frame_push(c, &f, st->rip, 2);
    st->gpr[R_RSP] = f.sp;
    seg_load_real(c, SEG_CS, (uint16_t)(entry >> 16));
    st->rip = entry & 0xffff;
    st->rflags &= ~(uint64_t)(FL_IF | FL_TF | FL_RF | FL_AC);
}

/* The handler's code segment: checks common to 32-bit and 64-bit delivery (SDM vol.3 6.12.1). */
static void handler_segment(struct jit_cpu *c, uint16_t sel, struct desc *d)
{
    if ((sel & 0xfffc) == 0)
        raise_gp(c, sys_of(c)->ext);
    if (!desc_read(c, sel, d) || !desc_is_code(d) || desc_dpl(d) > c->cpl)
        raise_gp(c, selector_error(c, sel));
    if (!desc_present(d))
        cpu_raise_error(c, EX_NP, selector_error(c, sel));
}

static void check_gate(struct jit_cpu *c, const struct event *ev, uint32_t hi)
{
    if (ev->kind == EV_SOFT_INT && ((hi >> 13) & 3) < c->cpl)
        raise_gp(c, idt_error(c, ev->vector));
    if (!(hi & (1u << 15)))
        cpu_raise_error(c, EX_NP, idt_error(c, ev->vector));
}

static void flags_on_entry(struct jit_cpu *c, bool interrupt_gate)
{
    c->st.rflags &= ~(uint64_t)(FL_TF | FL_NT | FL_RF | FL_VM);
    if (interrupt_gate)
        c->st.rflags &= ~(uint64_t)FL_IF;
}

static void enter_long(struct jit_cpu *c, const struct event *ev)
{
    struct x86_state *st = &c->st;
    uint64_t at = st->idt.base + ev->vector * 16u;
    struct stack_frame f = {.wide = true, .mask = UINT64_MAX, .error = sys_of(c)->ext};
    struct desc d;

    if (ev->vector * 16u + 15 > st->idt.limit)
        raise_gp(c, idt_error(c, ev->vector));
    uint64_t low = sys_read(c, at, 8), high = sys_read(c, at + 8, 8);
    uint32_t hi = (uint32_t)(low >> 32);
    unsigned type = (hi >> 8) & 0x1f, ist = hi & 7;
    if (type != DT_INT32 && type != DT_TRAP32)
        raise_gp(c, idt_error(c, ev->vector));
    check_gate(c, ev, hi);
    uint16_t sel = (uint16_t)(low >> 16);
    uint64_t target = (low & 0xffff) | (hi & 0xffff0000u) | high << 32;
    handler_segment(c, sel, &d);
    if ((d.hi & ((1u << 21) | (1u << 22))) != (1u << 21))
        raise_gp(c, selector_error(c, sel));

    unsigned cpl = desc_conforming(&d) ? c->cpl : desc_dpl(&d);
    if (ist)
        f.sp = tss64_stack(c, ist + 3);
    else
        f.sp = cpl < c->cpl ? tss64_stack(c, cpl) : st->gpr[R_RSP];
    f.sp &= ~15ull;
    f.cpl = cpl;
    frame_push(c, &f, st->seg[SEG_SS].sel, 8);
    frame_push(c, &f, st->gpr[R_RSP], 8);
    frame_push(c, &f, ev->flags, 8);
    frame_push(c, &f, st->seg[SEG_CS].sel, 8);
    frame_push(c, &f, st->rip, 8);
    if (ev->has_error)
        frame_push(c, &f, ev->error, 8);
    if (!canonical(c, target))
        raise_gp(c, sys_of(c)->ext);
    desc_set_accessed(c, &d);

    st->gpr[R_RSP] = f.sp;
    if (cpl != c->cpl)
        seg_null_ss(c, cpl);
    flags_on_entry(c, type == DT_INT32);
    sys_set_cs(c, &d, sel, cpl);
    st->rip = target;
}

/* Interrupt from virtual-8086 mode: the data segments are pushed and become null. */
static void push_vm86_segments(struct jit_cpu *c, struct stack_frame *f, unsigned size)
{
    frame_push(c, f, c->st.seg[SEG_GS].sel, size);
    frame_push(c, f, c->st.seg[SEG_FS].sel, size);
    frame_push(c, f, c->st.seg[SEG_DS].sel, size);
    frame_push(c, f, c->st.seg[SEG_ES].sel, size);
}

static void enter_gate(struct jit_cpu *c, const struct event *ev, uint32_t lo, uint32_t hi)
{
    struct x86_state *st = &c->st;
    unsigned type = (hi >> 8) & 0x1f, size = (type & 8) ? 4 : 2;
    uint16_t sel = (uint16_t)(lo >> 16);
    uint32_t target = (lo & 0xffff) | (size == 4 ? hi & 0xffff0000u : 0);
    bool vm86 = st->rflags & FL_VM;
    struct x86_seg ss = st->seg[SEG_SS];
    struct stack_frame f;
    struct desc d;

    handler_segment(c, sel, &d);
    unsigned cpl = desc_conforming(&d) ? c->cpl : desc_dpl(&d);
    if (vm86 && cpl != 0)
        raise_gp(c, selector_error(c, sel));
    if (cpl < c->cpl) {
        uint16_t ss_sel;
        uint32_t esp;
        tss_inner_stack(c, cpl, &ss_sel, &esp);
        sys_check_ss(c, ss_sel, cpl, EX_TS, &ss);
        frame_set(&f, &ss, esp, cpl, (uint16_t)selector_error(c, ss_sel));
        if (vm86)
            push_vm86_segments(c, &f, size);
        frame_push(c, &f, st->seg[SEG_SS].sel, size);
        frame_push(c, &f, st->gpr[R_RSP], size);
    } else {
        frame_from_ss(c, &f);
    }
    frame_push(c, &f, ev->flags, size);
    frame_push(c, &f, st->seg[SEG_CS].sel, size);
    frame_push(c, &f, st->rip, size);
    if (ev->has_error)
        frame_push(c, &f, ev->error, size);
    if (target > desc_limit(&d))
        raise_gp(c, sys_of(c)->ext);
    desc_set_accessed(c, &d);

    st->gpr[R_RSP] = f.sp;
    st->seg[SEG_SS] = ss;
    if (vm86) {
        static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
        for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
            st->seg[data[i]] = (struct x86_seg){.attr = SEG_UNUSABLE};
    }
    flags_on_entry(c, !(type & 1));
    sys_set_cs(c, &d, sel, cpl);
    st->rip = target;
}

static void enter_protected(struct jit_cpu *c, const struct event *ev)
{
    struct x86_state *st = &c->st;

    if (ev->vector * 8u + 7 > st->idt.limit)
        raise_gp(c, idt_error(c, ev->vector));
    uint64_t gate = sys_read(c, st->idt.base + ev->vector * 8u, 8);
    uint32_t lo = (uint32_t)gate, hi = (uint32_t)(gate >> 32);
    switch ((hi >> 8) & 0x1f) {
    case DT_INT16:
    case DT_TRAP16:
    case DT_INT32:
    case DT_TRAP32:
        check_gate(c, ev, hi);
        enter_gate(c, ev, lo, hi);
        return;
    case DT_TASK_GATE:
        check_gate(c, ev, hi);
        sys_task_gate(c, (uint16_t)(lo >> 16), ev->has_error, ev->error);
        return;
    default:
        raise_gp(c, idt_error(c, ev->vector));
    }
}

/* Faults push RF=1, so that the restarted instruction does not hit its breakpoint again; traps and
 * interrupts push it as it is (SDM vol.3 17.3.1.1). */
static bool pushes_rf(uint8_t vector, enum event_kind kind)
{
    return kind == EV_EXCEPTION && vector != EX_DB && vector != EX_BP && vector != EX_OF &&
           vector != EX_DF && vector != EX_MC;
}

void sys_enter_handler(struct jit_cpu *c, uint8_t vector, bool has_error, uint32_t error,
                       enum event_kind kind)
{
    struct event ev = {vector, has_error, error, kind, c->st.rflags};

    sys_of(c)->ext = kind != EV_SOFT_INT;
    if (pushes_rf(vector, kind))
        ev.flags |= FL_RF;
    if (!(c->st.cr0 & CR0_PE))
        enter_real(c, &ev);
    else if (long_mode(c))
        enter_long(c, &ev);
    else
        enter_protected(c, &ev);
    sys_of(c)->ext = 0;
    sys_of(c)->step_armed = false;
    c->st.int_shadow = 0;
    cpu_update_mode(c);
}

/* ---- double and triple faults (SDM vol.3 table 6-5) ---- */

static bool contributory(uint8_t vector)
{
    return vector == EX_DE || (vector >= EX_TS && vector <= EX_GP) || vector == EX_CP;
}

static bool makes_double(uint8_t first, uint8_t second)
{
    if (first == EX_PF)
        return second == EX_PF || contributory(second);
    return contributory(first) && contributory(second);
}

bool cpu_deliver(struct jit_cpu *c, uint8_t vector, bool has_error, uint32_t error,
                 enum event_kind kind)
{
    sigjmp_buf outer;
    /* Changed between sigsetjmp and siglongjmp, hence volatile. */
    volatile uint8_t vec = vector;
    volatile bool with_error = has_error;
    volatile uint32_t err = error;
    volatile enum event_kind how = kind;
    volatile bool ok = false;

    memcpy(&outer, &c->fault_jmp, sizeof(outer));
    for (;;) {
        c->delivering_vector = how == EV_EXCEPTION ? vec : -1;
        if (sigsetjmp(c->fault_jmp, 0) == 0) {
            sys_enter_handler(c, vec, with_error, err, how);
            ok = true;
            break;
        }
        sys_of(c)->ext = 0;
        if (c->delivering_vector == EX_DF)
            break;
        if (c->delivering_vector >= 0 && makes_double(vec, c->fault.vector)) {
            vec = EX_DF;
            with_error = true;
            err = 0;
        } else {
            vec = c->fault.vector;
            with_error = c->fault.has_error;
            err = c->fault.error;
        }
        how = EV_EXCEPTION;
    }
    c->delivering_vector = -1;
    memcpy(&c->fault_jmp, &outer, sizeof(outer));
    return ok;
}

bool sys_deliver_debug(struct jit_cpu *c, uint64_t dr6)
{
    c->st.dr[6] = (c->st.dr[6] & ~0xfull) | dr6;
    c->st.dr[7] &= ~DR7_GD;
    return cpu_deliver(c, EX_DB, false, 0, EV_EXCEPTION);
}

/* ---- INT n and friends ---- */

/* The fault of a software interrupt is reported at the instruction itself: the loop rewinds. */
void sys_op_int3(struct jit_cpu *c, const struct insn *i)
{
    sys_enter_handler(c, EX_BP, false, 0, EV_SOFT_INT);
}

void sys_op_into(struct jit_cpu *c, const struct insn *i)
{
    if (code64(c))
        raise_ud(c);
    if (c->st.rflags & FL_OF)
        sys_enter_handler(c, EX_OF, false, 0, EV_SOFT_INT);
}

void sys_op_icebp(struct jit_cpu *c, const struct insn *i)
{
    c->st.dr[7] &= ~DR7_GD;
    sys_enter_handler(c, EX_DB, false, 0, EV_ICEBP);
}

/* VME: the TSS holds a bit per vector below the I/O bitmap; 0 = through the real-mode IVT. */
static bool vme_redirected(struct jit_cpu *c, uint8_t vector)
{
    const struct x86_seg *tr = &c->st.tr;

    if ((SEG_TYPE(tr->attr) | 2) != DT_TSS32_BUSY || tr->limit < 103)
        return false;
    uint32_t map = (uint32_t)sys_read(c, tr->base + 102, 2);
    if (map < 32 || map - 32 + vector / 8 > tr->limit)
        return false;
    uint64_t byte = sys_read(c, tr->base + map - 32 + vector / 8, 1);
    return !(byte & (1u << (vector % 8)));
}

static void enter_vm86_ivt(struct jit_cpu *c, uint8_t vector)
{
    struct x86_state *st = &c->st;
    struct stack_frame f;
    uint64_t flags = st->rflags;
    uint32_t entry = mem_r32(c, vector * 4u);

    if (iopl(c) < 3) {
        flags = (flags & ~(uint64_t)FL_IF) | FL_IOPL;
        if (flags & FL_VIF)
            flags |= FL_IF;
    }
    frame_from_ss(c, &f);
    frame_push(c, &f, flags & 0xffff, 2);
    frame_push(c, &f, st->seg[SEG_CS].sel, 2);
    frame_push(c, &f, st->rip, 2);
    st->gpr[R_RSP] = f.sp;
    seg_load_vm86(c, SEG_CS, (uint16_t)(entry >> 16));
    st->rip = entry & 0xffff;
    st->rflags &= ~(uint64_t)(FL_TF | FL_NT | FL_AC | (iopl(c) < 3 ? FL_VIF : FL_IF));
    cpu_update_mode(c);
}

void sys_op_int(struct jit_cpu *c, const struct insn *i)
{
    uint8_t vector = (uint8_t)i->imm;

    if (c->mode == MODE_VM86) {
        if ((c->st.cr4 & CR4_VME) && vme_redirected(c, vector)) {
            enter_vm86_ivt(c, vector);
            return;
        }
        if (iopl(c) < 3)
            raise_gp(c, 0);
    }
    sys_enter_handler(c, vector, false, 0, EV_SOFT_INT);
}

void sys_op_ud(struct jit_cpu *c, const struct insn *i)
{
    raise_ud(c);
}
