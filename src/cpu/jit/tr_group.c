/* tr_group.c - one probe for several accesses.
 *
 * Functions save registers on their way in and fetch them on their way out, read one member of a
 * struct after the other, keep locals side by side: neighbouring instructions whose operands lie at
 * known distances from one register.  Such a group checks the range of all of them once; then each
 * access is [S0 + distance].
 *
 *   plan   which instructions, and the range that they touch
 *   fast   the check, and the instructions without probes
 *   slow   put aside: the same instructions, each with its own probe.  It runs where the range is
 *          not in one page at hand, and it is what faults, crosses pages and fills the TLB.
 *
 * Both end in the same state.  Between the check and the last access nothing may clobber S0 or call
 * C: a TLB that changes meanwhile would not be seen. */
#include "fpu.h"
#include "tr_emit.h"

#include <glib.h>

#define RANGE_MAX 256 /* bytes; the longer, the more often it lies in two pages */

struct touch {
    uint8_t base, index, shift;
    int32_t disp;
    unsigned size;
    bool write;
};

struct plan {
    struct touch a; /* of the first instruction; .write: of any */
    unsigned last, members;
    int32_t lo, hi; /* relative to what base + index were at first */
    int32_t sp;     /* how far the stack pointer has moved since, where it is the base */
};

/* ---- what an instruction does ---- */

static bool stack_access(const struct tr *t, const struct tr_insn *d, struct touch *a)
{
    int32_t n = (int32_t)stack_width(t);
    bool push = d->op.kind == TK_PUSH_R || d->op.kind == TK_PUSH_I;

    if (d->p66 || (d->op.kind == TK_POP_R && opcode_reg(d) == R_RSP))
        return false;
    *a = (struct touch){
        .base = R_RSP, .index = NOREG, .disp = push ? -n : 0, .size = (unsigned)n, .write = push};
    return true;
}

static bool vector_access(const struct tr_insn *d, struct touch *a)
{
    const unsigned others = FPU_X87 | FPU_UNIT_X87 | FPU_UNIT_MMX | FPU_POINTERS;

    if (!d->fpu || (d->fpu->flags & others) || (!d->vex && d->map == 0))
        return false;
    a->size = d->fpu->size;
    a->write = d->fpu->flags & FPU_WRITE;
    return true;
}

/* Has d one operand in memory that a group may take? */
static bool access_of(const struct tr *t, const struct tr_insn *d, struct touch *a)
{
    const struct insn *i = d->i;

    switch (d->op.kind) {
    case TK_PUSH_R:
    case TK_PUSH_I:
    case TK_POP_R:
    case TK_RET:
        return stack_access(t, d, a);
    case TK_MODRM:
    case TK_SHIFT_CL:
    case TK_VECTOR:
        break;
    default:
        return false;
    }
    if (!(i->flags & INSN_MEM) || i->seg >= SEG_FS || i->base >= 16 ||
        i->addrsize != stack_width(t))
        return false;
    *a = (struct touch){
        .base = i->base, .index = i->index, .shift = i->scale_shift, .disp = i->disp};
    if (d->op.kind == TK_VECTOR)
        return vector_access(d, a);
    if (tr_int_beyond_reach(d))
        return false;
    a->size = tr_int_size(d);
    a->write = d->op.roles & ROLE_RM_W;
    return true;
}

static bool registers_keep_s0(const struct tr_insn *d)
{
    unsigned roles = d->op.roles;
    bool reg = (roles & (ROLE_REG_R | ROLE_REG_W)) && in_memory(hreg(d->reg));
    bool v = (roles & (ROLE_V_R | ROLE_V_W)) && in_memory(hreg(d->vvvv));
    bool rm = in_memory(hreg(d->rm)) && ((roles & ROLE_RM_W) || d->op.kind != TK_MODRM);

    return !tr_int_beyond_reach(d) && !rm && !(reg && v);
}

static bool lea_keeps_s0(const struct tr_insn *d)
{
    const struct insn *i = d->i;

    return i->base < 16 && !in_memory(hreg(i->base)) && d->size >= 4 && i->addrsize >= 4 &&
           !in_memory(hreg(d->reg));
}

/* Neither an access nor something that destroys S0. */
static bool passes(const struct tr_insn *d)
{
    struct touch unused;

    switch (d->op.kind) {
    case TK_LEA:
        return lea_keeps_s0(d);
    case TK_NOP:
    case TK_PLAIN:
    case TK_ACC_IMM:
    case TK_MOV_RI:
    case TK_INCDEC32:
    case TK_XCHG_ACC:
    case TK_BSWAP:
        return !tr_int_beyond_reach(d);
    case TK_MODRM:
    case TK_SHIFT_CL:
    case TK_BT_REG:
        return !(d->i->flags & INSN_MEM) && registers_keep_s0(d);
    case TK_VECTOR:
        return !(d->i->flags & INSN_MEM) && vector_access(d, &unused);
    default:
        return false;
    }
}

/* MUL, DIV, CMPXCHG and what is copied as it is: rax, rdx */
static uint32_t implicit_writes(const struct tr_insn *d)
{
    bool group3 = !d->vex && d->map == 0 && (d->opcode & 0xfe) == 0xf6 && (d->modrm >> 3 & 7) >= 4;
    bool cmpxchg = !d->vex && d->map == 1 && (d->opcode & 0xfe) == 0xb0;

    return group3 || cmpxchg ? 1u << R_RAX | 1u << R_RDX : 0;
}

/* General registers it writes; a high byte counts as its register. */
uint32_t tr_writes(const struct tr_insn *d)
{
    unsigned roles = d->op.roles, low = d->high8 ? 3 : 15;
    uint32_t w = 0;

    switch (d->op.kind) {
    case TK_PLAIN:
        return 1u << R_RAX | 1u << R_RDX;
    case TK_ACC_IMM:
        return 1u << R_RAX;
    case TK_XCHG_ACC:
        return 1u << R_RAX | 1u << opcode_reg(d);
    case TK_MOV_RI:
        return 1u << (opcode_reg(d) & low);
    case TK_INCDEC32:
    case TK_BSWAP:
        return 1u << opcode_reg(d);
    case TK_LEA:
        return 1u << d->reg;
    case TK_POP_R:
        return 1u << opcode_reg(d) | 1u << R_RSP;
    case TK_PUSH_R:
    case TK_PUSH_I:
    case TK_PUSH_M:
    case TK_RET:
        return 1u << R_RSP;
    case TK_NOP:
    case TK_JCC:
        return 0;
    case TK_MODRM:
    case TK_SHIFT_CL:
    case TK_BT_REG:
        break;
    case TK_VECTOR: /* PCMPxSTRI writes rcx */
        return tr_vector_general(d) == VEC_NONE ? 1u << R_RCX
                                                : 1u << (d->reg & 15) | 1u << (d->rm & 15);
    default:
        return UINT32_MAX;
    }
    if (roles & ROLE_REG_W)
        w |= 1u << d->reg | 1u << (d->reg & low);
    if ((roles & ROLE_RM_W) && !(d->i->flags & INSN_MEM))
        w |= 1u << d->rm | 1u << (d->rm & low);
    if (roles & ROLE_V_W)
        w |= 1u << d->vvvv;
    return w | implicit_writes(d);
}

/* ADD, SUB and LEA that move the stack pointer by a constant. */
static bool moves_sp(const struct tr *t, const struct tr_insn *d, int32_t *by)
{
    unsigned n = d->modrm >> 3 & 7;
    int64_t imm = d->i->imm;

    if (d->size != stack_width(t))
        return false;
    if (d->op.kind == TK_LEA && d->i->base == R_RSP && d->i->index == NOREG)
        imm = d->i->disp;
    else if (d->op.kind != TK_MODRM || d->vex || d->map != 0 || (n != 0 && n != 5) ||
             (d->opcode != 0x81 && d->opcode != 0x83))
        return false;
    else if (n == 5)
        imm = -imm;
    if (imm < -RANGE_MAX || imm > RANGE_MAX)
        return false;
    *by = (int32_t)imm;
    return true;
}

/* ---- plan ---- */

/* After d: are base and index still known? */
static bool still_known(const struct tr *t, const struct tr_insn *d, struct plan *p)
{
    uint32_t w = tr_writes(d), keys = 1u << p->a.base;
    int32_t by;

    if (p->a.index < 16)
        keys |= 1u << p->a.index;
    if (!(w & keys))
        return true;
    if (p->a.base != R_RSP || (w & keys) != 1u << R_RSP)
        return false;
    if (d->op.kind == TK_PUSH_R || d->op.kind == TK_PUSH_I)
        by = -(int32_t)stack_width(t);
    else if (d->op.kind == TK_POP_R)
        by = (int32_t)stack_width(t);
    else if (!moves_sp(t, d, &by))
        return false;
    p->sp += by;
    return true;
}

/* Takes d into the plan, if it fits. */
static bool take(struct plan *p, struct tr_insn *d, const struct touch *a)
{
    int32_t at = a->disp + (p->a.base == R_RSP ? p->sp : 0);

    if (a->base != p->a.base || a->index != p->a.index || a->shift != p->a.shift)
        return false;
    if (a->disp > INT32_MAX - 4096 || a->disp < INT32_MIN + 4096)
        return false;
    int32_t lo = MIN_OF(p->lo, at), hi = MAX_OF(p->hi, at + (int32_t)a->size);
    if ((int64_t)hi - lo > RANGE_MAX)
        return false;
    p->lo = lo;
    p->hi = hi;
    p->a.write |= a->write;
    p->last = d->index;
    p->members++;
    return true;
}

static bool plan(struct tr *t, unsigned first, struct plan *p)
{
    struct touch a;

    if (!access_of(t, &t->insn[first], &a))
        return false;
    *p = (struct plan){.a = a, .lo = a.disp, .hi = a.disp};
    for (unsigned k = first; k < t->count; k++) {
        struct tr_insn *d = &t->insn[k];
        if (access_of(t, d, &a)) {
            int32_t at = a.disp + (p->a.base == R_RSP ? p->sp : 0);
            if (!take(p, d, &a))
                break;
            d->at = (int16_t)(at - p->a.disp); /* the first one's, for now */
        } else if (!passes(d)) {
            break;
        }
        if (d->op.kind == TK_RET || !still_known(t, d, p))
            break;
    }
    return p->members > 1;
}

/* ---- emitting ---- */

/* Before an instruction that looks at the stack pointer. */
static void settle_sp(struct tr *t)
{
    if (t->sp_by)
        e_lea(t, t->code64, HR_SP, HR_SP, HR_MEM, 0, t->sp_by);
    t->sp_by = 0;
}

/* Pushes and pops in a row move the stack pointer once. */
static bool leaves_sp(const struct tr_insn *d)
{
    bool push = d->op.kind == TK_PUSH_R && opcode_reg(d) != R_RSP;

    return push || d->op.kind == TK_PUSH_I || d->op.kind == TK_POP_R;
}

void tr_again_plainly(struct tr *t, struct tr_ool *o)
{
    unsigned last = o->group.last;
    uint8_t *back = o->back;
    enum tr_flags after = (enum tr_flags)o->group.flags_after;
    bool relied = o->relied;

    t->flags = (enum tr_flags)o->group.flags;
    t->vec_known = o->group.vec_known;
    t->x87_known = o->group.x87_known;
    t->x87_last = o->group.x87_last;
    t->plain = true;
    for (unsigned k = o->index; k <= last; k++) {
        t->in = &t->insn[k];
        tr_emit_insn(t);
    }
    t->plain = false;
    if (tr_is_flow(t->in))
        return;
    if (relied) {
        tr_x87_settle(t);
        tr_leave_to(t, tr_next_rip(t), false, false);
        return;
    }
    if (after == TR_HOST)
        tr_flags_need(t);
    else if (t->flags == TR_HOST)
        e_flags_save(t);
    e_jmp(t, back);
}

static void fast(struct tr *t, unsigned first, const struct plan *p)
{
    t->group = true;
    for (unsigned k = first; k <= p->last; k++) {
        t->in = &t->insn[k];
        if (!leaves_sp(t->in))
            settle_sp(t);
        t->in->at = (int16_t)(t->in->at + p->a.disp - p->lo);
        tr_emit_insn(t);
    }
    settle_sp(t);
    t->group = false;
}

unsigned tr_group(struct tr *t, unsigned first)
{
    const struct insn *i = t->in->i;
    struct plan p;
    struct tr_ool *o;

    if (!plan(t, first, &p))
        return first;
    struct insn operand = *i; /* PUSH, POP and RET have none of their own */
    operand.base = p.a.base;
    operand.index = p.a.index;
    operand.scale_shift = p.a.shift;
    if (t->direct) { /* what faults is run by the interpreter */
        if (!tr_direct_group(t, &operand, p.lo, &o))
            return first;
        if (o)
            o->group.last = (uint8_t)p.last;
        fast(t, first, &p);
        if (o) {
            o->back = t->p;
            o->group.flags_after = (uint8_t)t->flags;
        }
        return p.last;
    }
    if (t->in->live)
        tr_flags_clobber(t);
    o = tr_ool(t, tr_again_plainly);
    o->group.last = (uint8_t)p.last;
    o->group.flags = (uint8_t)t->flags;
    o->group.vec_known = t->vec_known;
    o->group.x87_known = t->x87_known;
    o->group.x87_last = t->x87_last;

    tr_effective(t, &operand, t->code64, p.lo);
    bool stack = p.a.base == R_RSP && p.a.index == NOREG && tr_near_stack(p.lo, p.hi);
    tr_range(t, o, (unsigned)(p.hi - p.lo), p.a.write, stack);
    fast(t, first, &p);
    o->back = t->p;
    o->group.flags_after = (uint8_t)t->flags;
    return p.last;
}
