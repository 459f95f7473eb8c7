/* tr_sys.c - the privileged instructions that kernels run most, where they cannot fault: CLI and
 * SWAPGS at CPL 0 (which is part of tr_key()), PUSHFQ, CLD, STD.
 *
 * IF, DF and the other system flags live in st.rflags, never in the host's. */
#include "tr_emit.h"

bool tr_sys_ok(const struct tr *t, const struct tr_insn *d)
{
    switch (d->op.kind) {
    case TK_CLI:
        return t->c->cpl == 0;
    case TK_SWAPGS:
        return t->code64 && t->c->cpl == 0;
    case TK_PUSHF:
        return t->code64 && !d->p66;
    default:
        return true;
    }
}

/* AND (4) or OR (1) of the system flags. */
static void change(struct tr *t, unsigned how, uint32_t v)
{
    tr_flags_clobber(t);
    e_op(t, 0, 0, 0, 0x81, how, op_abs(&t->c->st.rflags));
    e32(t, v);
}

static void swapgs(struct tr *t)
{
    e_load64(t, HR_S0, &t->c->st.seg[SEG_GS].base);
    e_load64(t, HR_S1, &t->c->st.kernel_gs_base);
    e_store64(t, &t->c->st.seg[SEG_GS].base, HR_S1);
    e_store64(t, &t->c->st.kernel_gs_base, HR_S0);
}

/* The host's arithmetic flags and the guest's others; RF and VM read as 0. */
static void pushf(struct tr *t)
{
    tr_flags_need(t);
    e8(t, 0x9c), e8(t, 0x59); /* pushfq; pop rcx */
    e_store32(t, &t->c->tr.value, HR_S1);
    tr_flags_clobber(t);
    e_op(t, 0, 0, 0, 0x81, 4, op_abs(&t->c->tr.value));
    e32(t, FL_ARITH);
    tr_stack(t, HR_SP, -8, 8, true);
    e_load32(t, HR_S1, &t->c->st.rflags);
    e_op(t, 0, 0, 0, 0x81, 4, op_reg(HR_S1));
    e32(t, ~(FL_ARITH | FL_RF | FL_VM));
    e_op(t, 0, 0, 0, 0x0b, HR_S1, op_abs(&t->c->tr.value));
    e_op(t, 0, E_W, 0, 0x89, HR_S1, op_s0(t));
    e_lea(t, true, HR_SP, HR_SP, HR_MEM, 0, -8);
}

void tr_sys(struct tr *t)
{
    switch (t->in->op.kind) {
    case TK_CLI:
        change(t, 4, ~FL_IF);
        break;
    case TK_CLD:
        change(t, 4, ~FL_DF);
        break;
    case TK_STD:
        change(t, 1, FL_DF);
        break;
    case TK_SWAPGS:
        swapgs(t);
        break;
    default:
        pushf(t);
    }
}
