/* op_stack.c - PUSH POP PUSHA POPA ENTER LEAVE (segment registers and flags are the system part's).
 */
#include "op.h"

/* ---- 64-bit mode, threaded ---- */

static void push_r64(struct jit_cpu *c, const struct insn *i)
{
    uint64_t sp = c->st.gpr[R_RSP] - 8;
    st64(c, i, sp, GET64(i->reg));
    c->st.gpr[R_RSP] = sp;
    NEXT;
}

static void push_i64(struct jit_cpu *c, const struct insn *i)
{
    uint64_t sp = c->st.gpr[R_RSP] - 8;
    st64(c, i, sp, (uint64_t)i->imm);
    c->st.gpr[R_RSP] = sp;
    NEXT;
}

static void push_m64(struct jit_cpu *c, const struct insn *i)
{
    uint64_t v = ld64(c, i, op_ea_other(c, i, 8, ACC_READ)), sp = c->st.gpr[R_RSP] - 8;
    st64(c, i, sp, v);
    c->st.gpr[R_RSP] = sp;
    NEXT;
}

static void pop_r64(struct jit_cpu *c, const struct insn *i)
{
    uint64_t sp = c->st.gpr[R_RSP], v = ld64(c, i, sp);
    c->st.gpr[R_RSP] = sp + 8;
    SET64(i->reg, v);
    NEXT;
}

static void leave64(struct jit_cpu *c, const struct insn *i)
{
    uint64_t bp = c->st.gpr[R_RBP], v = ld64(c, i, bp);
    c->st.gpr[R_RSP] = bp + 8;
    c->st.gpr[R_RBP] = v;
    NEXT;
}

/* ---- flat 32-bit stacks ---- */

static void push_r32(struct jit_cpu *c, const struct insn *i)
{
    uint32_t sp = GET32(R_RSP) - 4;
    st32(c, i, sp, GET32(i->reg));
    SET32(R_RSP, sp);
    NEXT;
}

static void push_i32(struct jit_cpu *c, const struct insn *i)
{
    uint32_t sp = GET32(R_RSP) - 4;
    st32(c, i, sp, (uint32_t)i->imm);
    SET32(R_RSP, sp);
    NEXT;
}

static void push_m32(struct jit_cpu *c, const struct insn *i)
{
    uint32_t v = ld32(c, i, op_ea_other(c, i, 4, ACC_READ)), sp = GET32(R_RSP) - 4;
    st32(c, i, sp, v);
    SET32(R_RSP, sp);
    NEXT;
}

static void pop_r32(struct jit_cpu *c, const struct insn *i)
{
    uint32_t sp = GET32(R_RSP), v = ld32(c, i, sp);
    SET32(R_RSP, sp + 4);
    SET32(i->reg, v);
    NEXT;
}

static void leave32(struct jit_cpu *c, const struct insn *i)
{
    uint32_t bp = GET32(R_RBP), v = ld32(c, i, bp);
    SET32(R_RSP, bp + 4);
    SET32(R_RBP, v);
    NEXT;
}

/* ---- any mode and size ---- */

static void op_push_r(struct jit_cpu *c, const struct insn *i)
{
    stack_push(c, reg_get(c, i->reg, i->opsize), i->opsize);
}

static void op_push_i(struct jit_cpu *c, const struct insn *i)
{
    stack_push(c, (uint64_t)i->imm, i->opsize);
}

static void op_push_m(struct jit_cpu *c, const struct insn *i)
{
    uint64_t lin = insn_linear(c, i, i->opsize, ACC_READ);
    stack_push(c,
               i->opsize == 2   ? mem_r16(c, lin)
               : i->opsize == 4 ? mem_r32(c, lin)
                                : mem_r64(c, lin),
               i->opsize);
}

static void op_pop_r(struct jit_cpu *c, const struct insn *i)
{
    uint64_t v = stack_pop(c, i->opsize);
    reg_set(c, i->reg, i->opsize, v);
}

/* An address that uses rSP sees it after the pop (SDM vol.2, POP). */
static void op_pop_m(struct jit_cpu *c, const struct insn *i)
{
    uint64_t v = stack_peek(c, 0, i->opsize), sp = c->st.gpr[R_RSP];

    stack_adjust(c, i->opsize);
    uint64_t ea = insn_ea(c, i), popped = c->st.gpr[R_RSP];
    c->st.gpr[R_RSP] = sp;
    uint64_t lin = seg_linear(c, i->seg, ea, i->opsize, ACC_WRITE);
    if (i->opsize == 2)
        mem_w16(c, lin, (uint16_t)v);
    else if (i->opsize == 4)
        mem_w32(c, lin, (uint32_t)v);
    else
        mem_w64(c, lin, v);
    c->st.gpr[R_RSP] = popped;
}

/* Where a value at `depth` bytes below rSP goes; all are checked before the first is written. */
static uint64_t below_sp(struct jit_cpu *c, unsigned depth, unsigned size)
{
    uint64_t sp = c->st.gpr[R_RSP] - depth;
    if (c->mode != MODE_LONG64)
        sp = (c->st.seg[SEG_SS].attr & SEG_DB) ? (uint32_t)sp : (uint16_t)sp;
    return seg_linear(c, SEG_SS, sp, size, ACC_WRITE);
}

static void write_sized(struct jit_cpu *c, uint64_t lin, uint64_t v, unsigned size)
{
    if (size == 2)
        mem_w16(c, lin, (uint16_t)v);
    else if (size == 4)
        mem_w32(c, lin, (uint32_t)v);
    else
        mem_w64(c, lin, v);
}

static void op_pusha(struct jit_cpu *c, const struct insn *i)
{
    unsigned size = i->opsize;

    for (unsigned k = 0; k < 8; k++)
        mmu_translate(c, below_sp(c, (k + 1) * size, size), ACC_WRITE);
    for (unsigned k = 0; k < 8; k++)
        write_sized(c, below_sp(c, (k + 1) * size, size), c->st.gpr[k], size);
    stack_adjust(c, -8 * (int64_t)size);
}

static void op_popa(struct jit_cpu *c, const struct insn *i)
{
    unsigned size = i->opsize;
    uint64_t v[8];

    for (unsigned k = 0; k < 8; k++)
        v[7 - k] = stack_peek(c, k * size, size);
    stack_adjust(c, 8 * (int64_t)size);
    for (unsigned k = 0; k < 8; k++)
        if (k != R_RSP)
            reg_set(c, (uint8_t)k, size, v[k]);
}

/* SDM vol.2, ENTER: imm = frame bytes, aux = nesting level */
static void op_enter(struct jit_cpu *c, const struct insn *i)
{
    unsigned size = i->opsize, level = i->aux & 31;
    bool wide = c->mode == MODE_LONG64, big = c->st.seg[SEG_SS].attr & SEG_DB;
    uint64_t mask = wide ? UINT64_MAX : big ? UINT32_MAX : UINT16_MAX;
    uint64_t frame = (c->st.gpr[R_RSP] - size) & mask, bp = c->st.gpr[R_RBP];

    write_sized(c, below_sp(c, size, size), bp, size);
    for (unsigned k = 1; k < level; k++) {
        uint64_t from = seg_linear(c, SEG_SS, (bp - k * size) & mask, size, ACC_READ);
        uint64_t v = size == 2 ? mem_r16(c, from) : size == 4 ? mem_r32(c, from) : mem_r64(c, from);
        write_sized(c, below_sp(c, (k + 1) * size, size), v, size);
    }
    if (level)
        write_sized(c, below_sp(c, (level + 1) * size, size), frame, size);
    unsigned down = size * (level + 1) + (uint16_t)i->imm;
    /* The new top must be writable, or ENTER faults as a whole. */
    mmu_translate(c, below_sp(c, down, size), ACC_WRITE);
    stack_adjust(c, -(int64_t)down);
    reg_set(c, R_RBP, size, frame);
}

static void op_leave(struct jit_cpu *c, const struct insn *i)
{
    bool big = c->st.seg[SEG_SS].attr & SEG_DB, wide = c->mode == MODE_LONG64;
    uint64_t mask = wide ? UINT64_MAX : big ? UINT32_MAX : UINT16_MAX;
    uint64_t bp = c->st.gpr[R_RBP] & mask;
    uint64_t lin = seg_linear(c, SEG_SS, bp, i->opsize, ACC_READ);
    uint64_t v = i->opsize == 2   ? mem_r16(c, lin)
                 : i->opsize == 4 ? mem_r32(c, lin)
                                  : mem_r64(c, lin);

    c->st.gpr[R_RSP] = (c->st.gpr[R_RSP] & ~mask) | ((bp + i->opsize) & mask);
    reg_set(c, R_RBP, i->opsize, v);
}

/* ---- selecting ---- */

static bool is_segment_operand(const struct decode_ctx *d)
{
    return d->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(d->op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

/* The handler for the stack as it is: 64-bit, flat 32-bit, or any. */
static op_fn *by_stack(struct decode_ctx *d, op_fn *wide, op_fn *flat, op_fn *any)
{
    unsigned size = d->out->opsize;

    if (d->mode == MODE_LONG64 && size == 8)
        return op_threaded(d, wide);
    if (op_flat_stack32(d) && size == 4)
        return op_threaded(d, flat);
    return any;
}

static op_fn *select_push(struct decode_ctx *d)
{
    if (is_segment_operand(d))
        return NULL;
    enum form form = op_form(d);

    d->out->opsize = d->z.operand_width / 8;
    if (form == FORM_M)
        return by_stack(d, push_m64, push_m32, op_push_m);
    d->out->seg = SEG_SS;
    if (form == FORM_I)
        return by_stack(d, push_i64, push_i32, op_push_i);
    return by_stack(d, push_r64, push_r32, op_push_r);
}

static op_fn *select_pop(struct decode_ctx *d)
{
    if (is_segment_operand(d))
        return NULL;
    enum form form = op_form(d);

    d->out->opsize = d->z.operand_width / 8;
    if (form == FORM_M)
        return op_pop_m;
    d->out->seg = SEG_SS;
    return by_stack(d, pop_r64, pop_r32, op_pop_r);
}

op_fn *op_select_stack(struct decode_ctx *d)
{
    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_PUSH:
        return select_push(d);
    case ZYDIS_MNEMONIC_POP:
        return select_pop(d);
    case ZYDIS_MNEMONIC_PUSHA:
    case ZYDIS_MNEMONIC_PUSHAD:
        d->out->opsize = d->z.mnemonic == ZYDIS_MNEMONIC_PUSHA ? 2 : 4;
        return op_pusha;
    case ZYDIS_MNEMONIC_POPA:
    case ZYDIS_MNEMONIC_POPAD:
        d->out->opsize = d->z.mnemonic == ZYDIS_MNEMONIC_POPA ? 2 : 4;
        return op_popa;
    case ZYDIS_MNEMONIC_ENTER:
        d->out->opsize = d->z.operand_width / 8;
        return op_enter;
    case ZYDIS_MNEMONIC_LEAVE:
        d->out->opsize = d->z.operand_width / 8;
        d->out->seg = SEG_SS;
        return by_stack(d, leave64, leave32, op_leave);
    default:
        return NULL;
    }
}
