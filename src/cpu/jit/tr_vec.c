/* tr_vec.c - vector and x87 instructions. */
#include "fpu.h"
#include "tr_emit.h"

bool tr_vector_ok(const struct tr *t, const struct tr_insn *in)
{
    return false;
}

void tr_vector(struct tr *t)
{
}

void tr_x87_settle(struct tr *t)
{
}
