/* tr_element.c - LODS, STOS and MOVS without REP: one element, where DF is clear.  With DF set,
 * which is rare, the interpreter runs them. */
#include "tr_emit.h"

bool tr_element_ok(const struct tr *t, const struct tr_insn *d)
{
    return d->i->addrsize == stack_width(t) && (d->op.kind == TK_STOS || d->i->seg < SEG_FS);
}

static void backwards(struct tr *t, struct tr_ool *o)
{
    tr_interp(t);
    e_jmp(t, o->back);
}

/* S0 = host address of the element at a host register. */
static void at(struct tr *t, unsigned index, bool write, bool bounce)
{
    e_op(t, 0, t->code64 ? E_W : 0, 0, 0x89, index, op_reg(HR_S0));
    tr_probe(t, t->in->size, write, bounce);
}

/* MOV between a register and S0's element: 8A load, 88 store. */
static void move(struct tr *t, uint8_t opcode, unsigned reg)
{
    const struct tr_insn *d = t->in;

    e_op(t, d->size == 2 ? 0x66 : 0, d->size == 8 ? E_W : 0, 0, opcode | (d->size > 1), reg,
         op_memory(t));
}

static void advance(struct tr *t, unsigned index)
{
    e_lea(t, t->code64, index, index, HR_MEM, 0, t->in->size);
}

void tr_element(struct tr *t)
{
    struct tr_ool *o;

    tr_x87_settle(t);
    t->vec_known = t->x87_known = false; /* the interpreter may have run it */
    tr_flags_clobber(t);
    o = tr_ool(t, backwards);
    e_op(t, 0, 0, 0, 0xf7, 0, op_abs(&t->c->st.rflags)); /* test dword */
    e32(t, FL_DF);
    o->from[0] = e_jcc(t, CC_NE, t->p);
    switch (t->in->op.kind) {
    case TK_LODS:
        at(t, HR_RSI, false, true);
        move(t, 0x8a, HR_RAX);
        advance(t, HR_RSI);
        break;
    case TK_STOS:
        at(t, HR_RDI, true, false);
        move(t, 0x88, HR_RAX);
        advance(t, HR_RDI);
        break;
    default: /* a missing destination has all of it done again, so the source must be memory */
        at(t, HR_RSI, false, false);
        move(t, 0x8a, HR_S1);
        e_store64(t, &t->c->tr.value, HR_S1);
        at(t, HR_RDI, true, false);
        e_load64(t, HR_S1, &t->c->tr.value);
        move(t, 0x88, HR_S1);
        advance(t, HR_RSI);
        advance(t, HR_RDI);
    }
    o->back = t->p;
}
