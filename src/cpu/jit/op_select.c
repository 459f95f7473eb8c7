/* op_select.c - which file's selector answers for an integer instruction, and what they share. */
#include "op.h"

enum form op_form(struct decode_ctx *d)
{
    static const enum form two[3][3] = {
        {FORM_RR, FORM_RM, FORM_RI}, {FORM_MR, FORM_NONE, FORM_MI}, {FORM_NONE}};
    static const enum form one[3] = {FORM_R, FORM_M, FORM_I};
    int kind[2] = {-1, -1};
    uint8_t reg[2] = {0, 0};
    unsigned regs = 0;
    unsigned count = MIN_OF(d->z.operand_count_visible, 2);

    for (unsigned k = 0; k < count; k++) {
        const ZydisDecodedOperand *o = &d->op[k];
        switch (o->type) {
        case ZYDIS_OPERAND_TYPE_REGISTER:
            kind[k] = 0;
            reg[regs++] = decode_gpr(o->reg.value);
            break;
        case ZYDIS_OPERAND_TYPE_MEMORY:
            kind[k] = 1;
            break;
        case ZYDIS_OPERAND_TYPE_IMMEDIATE:
            kind[k] = 2;
            break;
        default:
            return FORM_NONE;
        }
    }
    if (count == 0)
        return FORM_NONE;
    d->out->reg = reg[0];
    d->out->rm = reg[1];
    if (d->op[0].size >= 8 && d->op[0].size <= 64)
        d->out->opsize = (uint8_t)(d->op[0].size / 8);
    return count == 1 ? one[kind[0]] : two[kind[0]][kind[1]];
}

enum ea_kind op_ea_kind(const struct decode_ctx *d)
{
    const struct insn *i = d->out;

    if ((i->flags & INSN_EA32) && i->base != NOREG)
        return i->index == NOREG ? EA_BASE32 : EA_INDEX32;
    if (!(i->flags & INSN_EA64))
        return EA_OTHER;
    return i->index == NOREG ? EA_BASE : EA_INDEX;
}

op_fn *op_threaded(struct decode_ctx *d, op_fn *fn)
{
    d->threaded = true;
    return fn;
}

op_fn *op_threaded_lock(struct decode_ctx *d, op_fn *fn, op_fn *unlocked)
{
    d->threaded = true;
    d->out->plain = op_relative(unlocked);
    return fn;
}

bool op_has(struct decode_ctx *d, enum cpuid_word w, unsigned bit)
{
    return sys_has(d->c, w, bit);
}

op_fn *op_select_int(struct decode_ctx *d)
{
    static op_select_fn *const all[] = {
        op_select_mov,    op_select_alu,    op_select_branch,  op_select_stack,
        op_select_shift,  op_select_muldiv, op_select_bit,     op_select_string,
        op_select_atomic, op_select_misc,   op_select_segment,
    };
    if (d->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
        d->z.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return NULL;
    for (unsigned k = 0; k < ARRAY_SIZE(all); k++) {
        op_fn *fn = all[k](d);
        if (fn != NULL)
            return fn;
    }
    return NULL;
}
