/* op_segment.c - MOV, PUSH and POP of segment registers, LDS LES LFS LGS LSS.
 *
 * sys_load_seg does the checks; what it may change (stack width, flatness) ends the block. */
#include "op.h"

/* reg = the segment register for all of these, or the general register of LxS (aux = segment). */
static void op_mov_from_seg(struct jit_cpu *c, const struct insn *i)
{
    uint16_t sel = c->st.seg[i->reg].sel;

    if (i->flags & INSN_MEM)
        mem_w16(c, insn_linear(c, i, 2, ACC_WRITE), sel);
    else
        reg_set(c, i->rm, i->opsize, sel);
}

static void load(struct jit_cpu *c, unsigned seg, uint16_t sel)
{
    sys_load_seg(c, seg, sel);
    if (seg == SEG_SS)
        cpu_set_shadow(c, 2);
}

static void op_mov_to_seg(struct jit_cpu *c, const struct insn *i)
{
    uint16_t sel =
        (i->flags & INSN_MEM) ? mem_r16(c, insn_linear(c, i, 2, ACC_READ)) : GET16(i->rm);
    load(c, i->reg, sel);
}

static void op_push_seg(struct jit_cpu *c, const struct insn *i)
{
    stack_push(c, c->st.seg[i->reg].sel, i->opsize);
}

/* The stack pointer moves by the width SS had before. */
static void op_pop_seg(struct jit_cpu *c, const struct insn *i)
{
    uint16_t sel = (uint16_t)stack_peek(c, 0, i->opsize);
    uint64_t sp = c->st.gpr[R_RSP];

    stack_adjust(c, i->opsize);
    uint64_t popped = c->st.gpr[R_RSP];
    c->st.gpr[R_RSP] = sp;
    load(c, i->reg, sel);
    c->st.gpr[R_RSP] = popped;
}

static void op_load_far_pointer(struct jit_cpu *c, const struct insn *i)
{
    unsigned size = i->opsize;
    uint64_t lin = insn_linear(c, i, size + 2, ACC_READ);
    uint64_t offset = size == 2 ? mem_r16(c, lin) : size == 4 ? mem_r32(c, lin) : mem_r64(c, lin);

    sys_load_seg(c, i->aux, mem_r16(c, lin + size));
    reg_set(c, i->reg, size, offset);
}

/* ---- selecting ---- */

static bool is_segment(const ZydisDecodedOperand *o)
{
    return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

static op_fn *select_mov(struct decode_ctx *d)
{
    d->out->opsize = d->z.operand_width / 8;
    if (is_segment(&d->op[1])) {
        d->out->reg = decode_gpr(d->op[1].reg.value);
        if (d->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
            d->out->opsize = (uint8_t)(d->op[0].size / 8);
        return op_mov_from_seg;
    }
    if (!is_segment(&d->op[0]))
        return NULL;
    d->out->reg = decode_gpr(d->op[0].reg.value);
    d->ends_block = true;
    return op_mov_to_seg;
}

static op_fn *select_far_pointer(struct decode_ctx *d, unsigned seg)
{
    d->out->opsize = (uint8_t)(d->op[0].size / 8);
    d->out->reg = decode_gpr(d->op[0].reg.value);
    d->out->aux = (uint8_t)seg;
    d->ends_block = true;
    return op_load_far_pointer;
}

static op_fn *select_stack(struct decode_ctx *d, bool pop)
{
    if (!is_segment(&d->op[0]))
        return NULL;
    d->out->reg = decode_gpr(d->op[0].reg.value);
    d->out->opsize = d->z.operand_width / 8;
    d->ends_block = pop;
    return pop ? op_pop_seg : op_push_seg;
}

op_fn *op_select_segment(struct decode_ctx *d)
{
    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        return select_mov(d);
    case ZYDIS_MNEMONIC_PUSH:
        return select_stack(d, false);
    case ZYDIS_MNEMONIC_POP:
        return select_stack(d, true);
    case ZYDIS_MNEMONIC_LDS:
        return select_far_pointer(d, SEG_DS);
    case ZYDIS_MNEMONIC_LES:
        return select_far_pointer(d, SEG_ES);
    case ZYDIS_MNEMONIC_LFS:
        return select_far_pointer(d, SEG_FS);
    case ZYDIS_MNEMONIC_LGS:
        return select_far_pointer(d, SEG_GS);
    case ZYDIS_MNEMONIC_LSS:
        return select_far_pointer(d, SEG_SS);
    default:
        return NULL;
    }
}
