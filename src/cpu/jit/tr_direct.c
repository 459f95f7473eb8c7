/* tr_direct.c - operands in memory that is mapped directly (direct.h), for user code.
 *
 * The general form finds what the chunk of an address lacks to its host address in a table:
 *
 *   rorx  S1, base, 40; movzx ecx, cl; mov S1, [S1 * 8 + delta]; lea S0, [base + S1 + disp]
 *
 * It touches no flags, but seven cycles pass before the access can begin.  So for the chunks that
 * programs use most there is a shorter one.  They share one distance, GS.base, and all that has to
 * be asked is whether the address is in the chunk that was expected, which nothing waits for:
 *
 *   rorx  S1, base, 40; cmp cl, [chunk]; jne aside;   gs: [base + disp]
 *
 * Programs in the lowest chunk have GS.base for that; for their stack the distance is loaded:
 *
 *   mov   S0, [stack_delta];   [base + S0 + disp]
 *
 * In the same block the next access by that register asks no more.  Aside is the instruction in the
 * general form; it comes back, unless somebody relied on the answer: then it leaves the block.
 *
 * What is expected is what the register points to when the block is translated, or for one that the
 * block has loaded before, where the program's heap is.  An address that is not what it seems -
 * beyond the chunk by its displacement, not canonical, not mapped - faults, see direct.c. */
#include "direct.h"
#include "tr_emit.h"

#define NONE      0xff
#define DRIFT_MAX (1 << 20) /* of a pointer that is moved, by one instruction of at most 40 */

/* S1 = what an address in the chunk of reg lacks to its host address. */
static void chunk_delta(struct tr *t, unsigned reg)
{
    e_s1_chunk(t, reg);
    e8(t, 0x0f), e8(t, 0xb6), e8(t, 0xc9);              /* movzx ecx, cl */
    e8(t, 0x48), e8(t, 0x8b), e8(t, 0x0c), e8(t, 0xcd); /* mov rcx, [rcx * 8 + ...] */
    e32(t, low32(t->c->tr.delta));
}

/* The operand is at reg + disp, by the table.  Where the displacement leads out of reg's chunk is
 * the guard of its window. */
static void by_table(struct tr *t, unsigned reg, int32_t disp)
{
    chunk_delta(t, reg);
    e_lea(t, true, HR_S0, reg, HR_S1, 0, disp);
    t->operand = (struct opnd){.kind = OP_AT, .reg = HR_S0};
}

void tr_direct_linear(struct tr *t)
{
    by_table(t, HR_S0, 0);
}

/* ---- what is expected ---- */

static unsigned class_of(const struct tr *t, uint64_t linear)
{
    for (unsigned k = 0; k < DIRECT_CLASSES; k++)
        if ((t->c->tr.classes >> k & 1) && linear >> DIRECT_CHUNK_SHIFT == t->c->tr.chunk[k])
            return k;
    return NONE;
}

/* RSP in a block that relies on where it is (below). */
static bool relied_on(const struct tr *t, unsigned guest)
{
    return guest == R_RSP && t->stack < DIRECT_CLASSES;
}

static unsigned expected(const struct tr *t, unsigned guest)
{
    if (relied_on(t, guest))
        return t->stack;
    if (t->plain)
        return NONE;
    if (guest < 16 && t->known[guest].class)
        return t->known[guest].class - 1u;
    if (guest < 16 && (guest == R_RSP || !(t->written >> guest & 1)))
        return class_of(t, t->c->st.gpr[guest]);
    for (unsigned k = DIRECT_LOW + 1; k-- > 0;) /* low memory, heap, libraries */
        if (t->c->tr.classes >> k & 1)
            return k;
    return NONE;
}

/* The flags that the question destroys have to be saved, or of no use. */
static bool may_ask(const struct tr *t)
{
    return t->flags == TR_MEM || !t->in->live;
}

static struct tr_ool *ask(struct tr *t, unsigned reg, unsigned class)
{
    struct tr_ool *o = tr_ool(t, tr_again_plainly);

    o->group.last = (uint8_t)t->in->index;
    o->group.flags = (uint8_t)t->flags;
    o->group.vec_known = t->vec_known;
    o->group.x87_known = t->x87_known;
    o->group.x87_last = t->x87_last;
    e_s1_chunk(t, reg);
    e_op(t, 0, 0, 0, 0x3a, HR_S1, op_near(&t->c->tr.chunk[class], 0)); /* cmp cl, [chunk] */
    o->from[0] = e_jcc(t, CC_NE, t->p);
    return o;
}

/* ---- operands ---- */

/* reg, which holds guest register `guest`, points into a chunk of class: known, or asked now;
 * false: it cannot be asked.  *o: what is aside, when it was asked. */
static bool sure(struct tr *t, unsigned guest, unsigned reg, unsigned class, struct tr_ool **o)
{
    struct tr_known *known = guest < 16 ? &t->known[guest] : NULL;

    *o = NULL;
    if (relied_on(t, guest))
        return true;
    if (known && known->class) {
        t->ool[known->by].relied = true;
        return true;
    }
    if (!may_ask(t))
        return false;
    *o = ask(t, reg, class);
    if (known)
        *known = (struct tr_known){(uint8_t)(class + 1), (uint16_t)(*o - t->ool)};
    return true;
}

/* S0 = reg + disp in the stack's chunk, on the host. */
static void stack_at(struct tr *t, unsigned reg, int32_t disp)
{
    e_load64(t, HR_S1, &t->c->tr.stack_delta);
    e_lea(t, true, HR_S0, reg, HR_S1, 0, disp);
    t->operand = (struct opnd){.kind = OP_AT, .reg = HR_S0};
}

/* [reg + disp], where reg holds guest register `guest` (or 16: an address); false: by the table. */
static bool by_class(struct tr *t, unsigned guest, unsigned reg, int32_t disp)
{
    unsigned class = expected(t, guest);
    struct tr_ool *o;

    if (class == NONE || !sure(t, guest, reg, class, &o))
        return false;
    t->operand = (struct opnd){.kind = OP_AT, .reg = (uint8_t)reg, .disp = disp, .gs = true};
    if (class != DIRECT_STACK)
        return true;
    if (reg == HR_S0) {
        stack_at(t, reg, disp);
    } else {
        e_load64(t, HR_S0, &t->c->tr.stack_delta);
        t->operand.gs = false;
        t->operand.s0 = true;
    }
    return true;
}

static void at_register(struct tr *t, unsigned guest, int32_t disp)
{
    unsigned reg = e_get(t, hreg(guest), HR_S0);

    if (t->in->high8) { /* such an instruction can have no REX */
        e_mov(t, HR_S0, reg);
        reg = HR_S0;
    }
    if (!by_class(t, guest, reg, disp))
        by_table(t, reg, disp);
}

/* Relative to the block's own page, whose host address is known: its window has a guard of more
 * than a displacement on both sides. */
static void at_place(struct tr *t, int64_t rel)
{
    int32_t disp = (int32_t)(rel > INT32_MAX ? INT32_MAX : rel < INT32_MIN ? INT32_MIN : rel);

    e_load64(t, HR_S0, &t->cache->place[t->place].host);
    e_add_const(t, HR_S0, rel - disp);
    t->operand = (struct opnd){.kind = OP_AT, .reg = HR_S0, .disp = disp};
}

static void at_constant(struct tr *t, uint64_t linear)
{
    if (t->place) {
        at_place(t, (int64_t)linear);
        return;
    }
    e_const(t, HR_S0, linear);
    e_load64(t, HR_S1, &t->c->tr.delta[linear >> DIRECT_CHUNK_SHIFT & (DIRECT_CHUNKS - 1)]);
    e_lea(t, true, HR_S0, HR_S0, HR_S1, 0, 0);
    t->operand = (struct opnd){.kind = OP_AT, .reg = HR_S0};
}

void tr_direct_operand(struct tr *t)
{
    const struct insn *i = t->in->i;

    if (i->seg < SEG_FS && i->addrsize == 8 && i->base == 16) {
        at_constant(t, tr_next_rip(t) + (uint64_t)(int64_t)i->disp);
    } else if (i->seg >= SEG_FS || i->addrsize != 8 || i->base == NOREG) {
        tr_linear(t, 0);
        by_table(t, HR_S0, 0);
    } else if (i->index == NOREG) {
        at_register(t, i->base, i->disp);
    } else {
        tr_effective(t, i, true, i->disp);
        if (!by_class(t, 16, HR_S0, 0))
            by_table(t, HR_S0, 0);
    }
}

void tr_direct_stack(struct tr *t, unsigned base, int32_t disp)
{
    at_register(t, base == HR_SP ? R_RSP : R_RBP, disp);
}

bool tr_direct_group(struct tr *t, const struct insn *i, int32_t disp, struct tr_ool **o)
{
    bool indexed = i->index != NOREG;
    unsigned guest = indexed ? 16 : i->base, class = expected(t, guest);
    bool can = class != NONE &&
               (relied_on(t, guest) || may_ask(t) || (!indexed && t->known[i->base].class));
    unsigned reg = HR_S0;

    *o = NULL;
    if (!indexed && can && class != DIRECT_STACK)
        return false; /* each for itself is as good */
    if (indexed) {
        tr_effective(t, i, true, disp);
        disp = 0;
    } else {
        reg = e_get(t, hreg(i->base), HR_S0);
    }
    if (!can || !sure(t, guest, reg, class, o))
        by_table(t, reg, disp);
    else if (class == DIRECT_STACK)
        stack_at(t, reg, disp);
    else
        t->operand = (struct opnd){.kind = OP_AT, .reg = HR_S0, .gs = true};
    return true;
}

/* ---- what is known ---- */

static bool drifts(const struct tr_insn *d, unsigned *guest)
{
    unsigned n = d->modrm >> 3 & 7;

    if (d->size != 8)
        return false;
    if (d->op.kind == TK_LEA) {
        *guest = d->reg;
        return d->i->base == d->reg && d->i->index == NOREG && d->i->addrsize == 8 &&
               d->i->disp > -DRIFT_MAX && d->i->disp < DRIFT_MAX;
    }
    *guest = d->rm;
    return d->op.kind == TK_MODRM && !d->vex && d->map == 0 && !(d->i->flags & INSN_MEM) &&
           (d->opcode == 0x81 || d->opcode == 0x83) && (n == 0 || n == 5) &&
           d->i->imm > -DRIFT_MAX && d->i->imm < DRIFT_MAX;
}

/* ---- the stack pointer ---- */

/* Code for a stack in a certain chunk asks nothing where it uses RSP.  It is entered with RSP there
 * only (tr_key), and leaves when something else than a small constant changes it and it is not
 * there any more.  Constants add up, but not far: a block that moves RSP by some has an access by
 * it, too, which faults outside of the window, or asks at its begin.  So between two looks are two
 * blocks at most, 80 steps of DRIFT_MAX, a fraction of a window's guard. */

#define ACCESS_MAX (1 << 20) /* displacement of an access that says where RSP is */

static bool moves_stack(const struct tr_insn *d)
{
    unsigned guest;

    return drifts(d, &guest) && guest == R_RSP;
}

static bool accesses_stack(const struct tr_insn *d)
{
    const struct insn *i = d->i;

    switch (d->op.kind) {
    case TK_PUSH_R:
    case TK_PUSH_I:
    case TK_PUSH_M:
    case TK_POP_R:
    case TK_CALL:
    case TK_CALL_M:
    case TK_RET:
        return true;
    case TK_MODRM:
        return (i->flags & INSN_MEM) && i->base == R_RSP && i->index == NOREG && i->seg < SEG_FS &&
               i->addrsize == 8 && i->disp > -ACCESS_MAX && i->disp < ACCESS_MAX;
    default:
        return false;
    }
}

static void stack_is_elsewhere(struct tr *t, struct tr_ool *o)
{
    if (o->flag)
        e_flags_save(t);
    e_address(t, HR_S0, o->rip);
    e_jmp(t, glue(t, t->cache->glue.exit_indirect));
}

/* Leaves for rip when RSP is not in its chunk.  Clobbers S1; flags stay. */
static void ask_for_stack(struct tr *t, uint64_t rip)
{
    struct tr_ool *o = tr_ool(t, stack_is_elsewhere);

    o->flag = t->flags == TR_HOST;
    o->rip = rip;
    e_s1_chunk(t, HR_SP);
    e8(t, 0x0f), e8(t, 0xb6), e8(t, 0xc9); /* movzx ecx, cl */
    e8(t, 0x0f), e8(t, 0xb6), e8(t, 0x89); /* movzx ecx, byte [rcx + ...] */
    e32(t, low32(t->c->tr.elsewhere));
    uint8_t *there = e_jcc8(t, J8_JRCXZ);
    o->from[0] = e_jmp(t, t->p);
    e_here8(t, there);
}

void tr_direct_begin(struct tr *t)
{
    bool moves = false;

    for (unsigned k = 0; k < t->count; k++) {
        if (accesses_stack(&t->insn[k]))
            return;
        moves |= moves_stack(&t->insn[k]);
    }
    if (moves)
        ask_for_stack(t, t->rip);
}

void tr_direct_check_stack(struct tr *t)
{
    const struct tr_insn *d = t->in;
    bool by_c = d->op.kind == TK_INTERP || d->op.kind == TK_SYSTEM; /* which asks itself */
    bool pop = d->op.kind == TK_POP_R && opcode_reg(d) == R_RSP;

    if (!(tr_writes(d) >> R_RSP & 1) || by_c || tr_is_flow(d) || moves_stack(d) ||
        (accesses_stack(d) && d->op.kind != TK_MODRM && !pop))
        return;
    tr_x87_settle(t);
    ask_for_stack(t, tr_next_rip(t));
}

/* What was put aside for t->in comes back behind it; a group's comes back behind the group. */
static void back_here(struct tr *t, unsigned from)
{
    for (unsigned k = from; k < t->ools && !t->group; k++) {
        if (t->ool[k].emit != tr_again_plainly)
            continue;
        t->ool[k].back = t->p;
        t->ool[k].group.flags_after = (uint8_t)t->flags;
    }
}

void tr_direct_after(struct tr *t, unsigned from)
{
    uint32_t w = tr_writes(t->in);
    unsigned kind = t->in->op.kind, guest;

    back_here(t, from);
    if (drifts(t->in, &guest))
        w &= ~(1u << guest);
    if (kind == TK_PUSH_R || kind == TK_PUSH_I || kind == TK_PUSH_M ||
        (kind == TK_POP_R && opcode_reg(t->in) != R_RSP))
        w &= ~(1u << R_RSP);
    t->written |= w;
    for (unsigned g = 0; g < 16; g++)
        if (w >> g & 1)
            t->known[g].class = 0;
}
