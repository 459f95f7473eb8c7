/* op_shift.c - SHL SHR SAR ROL ROR RCL RCR, SHLD SHRD.
 *
 * The guest's flags go into the host's before the instruction and come out after it, so counts of
 * zero, rotates that keep most flags, and all that the manuals leave undefined are the host's own.
 */
#include "op.h"

#define SHIFT_CALC(OP, BITS)                                                                       \
    static inline uint##BITS##_t OP##_calc##BITS(struct jit_cpu *c, uint##BITS##_t d, uint8_t n)   \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        __asm__(FLAGS_IN #OP " %%cl, %[d]" FLAGS_OUT : [d] "+q"(d), "+&a"(fl) : "c"(n) : "cc");    \
        c->fl = (uint16_t)fl;                                                                      \
        return d;                                                                                  \
    }
#define SHIFT_REG(OP, BITS, HOW, COUNT)                                                            \
    static void OP##_r##HOW##_##BITS(struct jit_cpu *c, const struct insn *i)                      \
    {                                                                                              \
        SET##BITS(i->reg, OP##_calc##BITS(c, GET##BITS(i->reg), COUNT));                           \
        NEXT;                                                                                      \
    }
#define SHIFT_MEM(OP, BITS, HOW, COUNT)                                                            \
    static void OP##_m##HOW##_##BITS(struct jit_cpu *c, const struct insn *i)                      \
    {                                                                                              \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        mem_u##BITS *p = rmw##BITS(c, i, lin);                                                     \
        *p = OP##_calc##BITS(c, *p, COUNT);                                                        \
        if (unlikely((void *)p == &c->rmw_buf))                                                    \
            op_rmw_end(c, i, lin, BITS / 8);                                                       \
        NEXT;                                                                                      \
    }
#define SHIFT_SIZE(OP, BITS)                                                                       \
    SHIFT_CALC(OP, BITS)                                                                           \
    SHIFT_REG(OP, BITS, i, (uint8_t)i->imm)                                                        \
    SHIFT_REG(OP, BITS, c, GET8(R_RCX))                                                            \
    SHIFT_MEM(OP, BITS, i, (uint8_t)i->imm)                                                        \
    SHIFT_MEM(OP, BITS, c, GET8(R_RCX))
#define SHIFT(OP) SHIFT_SIZE(OP, 8) SHIFT_SIZE(OP, 16) SHIFT_SIZE(OP, 32) SHIFT_SIZE(OP, 64)

SHIFT(shl)
SHIFT(shr)
SHIFT(sar)
SHIFT(rol)
SHIFT(ror)
SHIFT(rcl)
SHIFT(rcr)

struct shift_ops {
    op_fn *ri[4], *rc[4], *mi[4], *mc[4];
};
#define BY_SIZE(NAME)                                                                              \
    {                                                                                              \
        NAME##_8, NAME##_16, NAME##_32, NAME##_64                                                  \
    }
#define SHIFT_ROW(OP)                                                                              \
    {                                                                                              \
        BY_SIZE(OP##_ri), BY_SIZE(OP##_rc), BY_SIZE(OP##_mi), BY_SIZE(OP##_mc)                     \
    }
static const struct shift_ops shift_ops[] = {SHIFT_ROW(shl), SHIFT_ROW(shr), SHIFT_ROW(sar),
                                             SHIFT_ROW(rol), SHIFT_ROW(ror), SHIFT_ROW(rcl),
                                             SHIFT_ROW(rcr)};

/* ---- double shifts: reg or memory by reg, count imm or CL; aux = 1: count in CL ---- */
#define DOUBLE_CALC(OP, BITS)                                                                      \
    static inline uint##BITS##_t OP##_calc##BITS(struct jit_cpu *c, uint##BITS##_t d,              \
                                                 uint##BITS##_t s, uint8_t n)                      \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        __asm__(FLAGS_IN #OP " %%cl, %[s], %[d]" FLAGS_OUT                                         \
                : [d] "+r"(d), "+&a"(fl)                                                           \
                : [s] "r"(s), "c"(n)                                                               \
                : "cc");                                                                           \
        c->fl = (uint16_t)fl;                                                                      \
        return d;                                                                                  \
    }                                                                                              \
    static void OP##_r_##BITS(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        uint8_t n = i->aux ? GET8(R_RCX) : (uint8_t)i->imm;                                        \
        SET##BITS(i->reg, OP##_calc##BITS(c, GET##BITS(i->reg), GET##BITS(i->rm), n));             \
        NEXT;                                                                                      \
    }                                                                                              \
    static void OP##_m_##BITS(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        uint8_t n = i->aux ? GET8(R_RCX) : (uint8_t)i->imm;                                        \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        mem_u##BITS *p = rmw##BITS(c, i, lin);                                                     \
        *p = OP##_calc##BITS(c, *p, GET##BITS(i->reg), n);                                         \
        if (unlikely((void *)p == &c->rmw_buf))                                                    \
            op_rmw_end(c, i, lin, BITS / 8);                                                       \
        NEXT;                                                                                      \
    }
#define DOUBLE(OP) DOUBLE_CALC(OP, 16) DOUBLE_CALC(OP, 32) DOUBLE_CALC(OP, 64)
DOUBLE(shld)
DOUBLE(shrd)

static op_fn *select_double(struct decode_ctx *d, bool right)
{
    static op_fn *const fn[2][2][4] = {
        {{NULL, shld_r_16, shld_r_32, shld_r_64}, {NULL, shld_m_16, shld_m_32, shld_m_64}},
        {{NULL, shrd_r_16, shrd_r_32, shrd_r_64}, {NULL, shrd_m_16, shrd_m_32, shrd_m_64}}};
    bool mem = op_form(d) == FORM_MR;

    d->out->aux = d->op[2].type == ZYDIS_OPERAND_TYPE_REGISTER;
    return op_threaded(d, fn[right][mem][size_index(d->out->opsize)]);
}

op_fn *op_select_shift(struct decode_ctx *d)
{
    unsigned k;

    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
        k = 0;
        break;
    case ZYDIS_MNEMONIC_SHR:
        k = 1;
        break;
    case ZYDIS_MNEMONIC_SAR:
        k = 2;
        break;
    case ZYDIS_MNEMONIC_ROL:
        k = 3;
        break;
    case ZYDIS_MNEMONIC_ROR:
        k = 4;
        break;
    case ZYDIS_MNEMONIC_RCL:
        k = 5;
        break;
    case ZYDIS_MNEMONIC_RCR:
        k = 6;
        break;
    case ZYDIS_MNEMONIC_SHLD:
        return select_double(d, false);
    case ZYDIS_MNEMONIC_SHRD:
        return select_double(d, true);
    default:
        return NULL;
    }
    enum form form = op_form(d);
    unsigned size = size_index(d->out->opsize);
    const struct shift_ops *ops = &shift_ops[k];
    bool by_cl = d->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER;

    if (!by_cl && d->op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        d->out->imm = d->op[1].imm.value.s;
    if (form == FORM_RR || form == FORM_RI)
        return op_threaded(d, (by_cl ? ops->rc : ops->ri)[size]);
    return op_threaded(d, (by_cl ? ops->mc : ops->mi)[size]);
}
