/* op_alu.c - ADD OR ADC SBB AND SUB XOR CMP TEST, INC DEC NEG NOT, in every form and size.
 *
 * Each operation is one host instruction between flag transfers; forms and address kinds are
 * expanded by macros because choosing at decode time is what makes the interpreter fast. */
#include "op.h"

/* FLAGS_NEW: flags only come out.  FLAGS_CARRY: CF goes in first (bit 8 of c->fl). */
#define FLAGS_NEW_IN        ""
#define FLAGS_NEW_BIND      "=&a"
#define FLAGS_NEW_INIT(c)   0
#define FLAGS_CARRY_IN      "btl $8, %k[fl]\n\t"
#define FLAGS_CARRY_BIND    "+&a"
#define FLAGS_CARRY_INIT(c) (c)->fl

#define BINARY_CALC(OP, BITS, MODE)                                                                \
    static inline uint##BITS##_t OP##_calc##BITS(struct jit_cpu *c, uint##BITS##_t d,              \
                                                 uint##BITS##_t s)                                 \
    {                                                                                              \
        uint32_t fl = FLAGS_##MODE##_INIT(c);                                                      \
        __asm__(FLAGS_##MODE##_IN #OP " %[s], %[d]" FLAGS_OUT                                      \
                : [d] "+q"(d), [fl] FLAGS_##MODE##_BIND(fl)                                        \
                : [s] "q"(s)                                                                       \
                : "cc");                                                                           \
        c->fl = (uint16_t)fl;                                                                      \
        return d;                                                                                  \
    }                                                                                              \
    static inline void OP##_locked##BITS(struct jit_cpu *c, mem_u##BITS *p, uint##BITS##_t s)      \
    {                                                                                              \
        uint32_t fl = FLAGS_##MODE##_INIT(c);                                                      \
        __asm__ volatile(FLAGS_##MODE##_IN "lock " #OP " %[s], %[d]" FLAGS_OUT                     \
                         : [d] "+m"(*p), [fl] FLAGS_##MODE##_BIND(fl)                              \
                         : [s] "q"(s)                                                              \
                         : "cc", "memory");                                                        \
        c->fl = (uint16_t)fl;                                                                      \
    }

/* Compares do not write; they share names with an empty locked form never selected. */
#define COMPARE_CALC(OP, BITS)                                                                     \
    static inline void OP##_calc##BITS(struct jit_cpu *c, uint##BITS##_t d, uint##BITS##_t s)      \
    {                                                                                              \
        uint32_t fl;                                                                               \
        __asm__(#OP " %[s], %[d]" FLAGS_OUT : [fl] "=&a"(fl) : [d] "q"(d), [s] "q"(s) : "cc");     \
        c->fl = (uint16_t)fl;                                                                      \
    }

#define BINARY_REG(OP, BITS)                                                                       \
    static void OP##_rr_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        SET##BITS(i->reg, OP##_calc##BITS(c, GET##BITS(i->reg), GET##BITS(i->rm)));                \
        NEXT;                                                                                      \
    }                                                                                              \
    static void OP##_ri_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        SET##BITS(i->reg, OP##_calc##BITS(c, GET##BITS(i->reg), (uint##BITS##_t)i->imm));          \
        NEXT;                                                                                      \
    }
#define BINARY_MEM(OP, BITS, EA)                                                                   \
    static void OP##_rm_##BITS##_##EA(struct jit_cpu *c, const struct insn *i)                     \
    {                                                                                              \
        uint##BITS##_t s = ld##BITS(c, i, ea_##EA(c, i, BITS / 8, ACC_READ));                      \
        SET##BITS(i->reg, OP##_calc##BITS(c, GET##BITS(i->reg), s));                               \
        NEXT;                                                                                      \
    }                                                                                              \
    static inline void OP##_store##BITS##_##EA(struct jit_cpu *c, const struct insn *i,            \
                                               uint##BITS##_t s)                                   \
    {                                                                                              \
        uint64_t lin = ea_##EA(c, i, BITS / 8, ACC_WRITE);                                         \
        mem_u##BITS *p = rmw##BITS(c, i, lin);                                                     \
        *p = OP##_calc##BITS(c, *p, s);                                                            \
        if (unlikely((void *)p == &c->rmw_buf))                                                    \
            op_rmw_end(c, i, lin, BITS / 8);                                                       \
    }                                                                                              \
    static void OP##_mr_##BITS##_##EA(struct jit_cpu *c, const struct insn *i)                     \
    {                                                                                              \
        OP##_store##BITS##_##EA(c, i, GET##BITS(i->reg));                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    static void OP##_mi_##BITS##_##EA(struct jit_cpu *c, const struct insn *i)                     \
    {                                                                                              \
        OP##_store##BITS##_##EA(c, i, (uint##BITS##_t)i->imm);                                     \
        NEXT;                                                                                      \
    }
#define BINARY_LOCK(OP, BITS)                                                                      \
    static void OP##_lock_##BITS(struct jit_cpu *c, const struct insn *i)                          \
    {                                                                                              \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        mem_u##BITS *p = lock##BITS(c, i, lin);                                                    \
        if (likely(p != NULL))                                                                     \
            OP##_locked##BITS(c, p, i->reg == NOREG ? (uint##BITS##_t)i->imm : GET##BITS(i->reg)); \
        else                                                                                       \
            op_locked_alone(c, i, lin, BITS / 8);                                                  \
        NEXT;                                                                                      \
    }
#define COMPARE_REG(OP, BITS)                                                                      \
    static void OP##_rr_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        OP##_calc##BITS(c, GET##BITS(i->reg), GET##BITS(i->rm));                                   \
        NEXT;                                                                                      \
    }                                                                                              \
    static void OP##_ri_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        OP##_calc##BITS(c, GET##BITS(i->reg), (uint##BITS##_t)i->imm);                             \
        NEXT;                                                                                      \
    }
#define COMPARE_MEM(OP, BITS, EA)                                                                  \
    static void OP##_rm_##BITS##_##EA(struct jit_cpu *c, const struct insn *i)                     \
    {                                                                                              \
        uint##BITS##_t s = ld##BITS(c, i, ea_##EA(c, i, BITS / 8, ACC_READ));                      \
        OP##_calc##BITS(c, GET##BITS(i->reg), s);                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    static void OP##_mr_##BITS##_##EA(struct jit_cpu *c, const struct insn *i)                     \
    {                                                                                              \
        uint##BITS##_t d = ld##BITS(c, i, ea_##EA(c, i, BITS / 8, ACC_READ));                      \
        OP##_calc##BITS(c, d, GET##BITS(i->reg));                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    static void OP##_mi_##BITS##_##EA(struct jit_cpu *c, const struct insn *i)                     \
    {                                                                                              \
        uint##BITS##_t d = ld##BITS(c, i, ea_##EA(c, i, BITS / 8, ACC_READ));                      \
        OP##_calc##BITS(c, d, (uint##BITS##_t)i->imm);                                             \
        NEXT;                                                                                      \
    }

#define BINARY_SIZE(OP, BITS, MODE)                                                                \
    BINARY_CALC(OP, BITS, MODE)                                                                    \
    BINARY_REG(OP, BITS)                                                                           \
    BINARY_MEM(OP, BITS, 0) BINARY_MEM(OP, BITS, 1) BINARY_MEM(OP, BITS, 2) BINARY_LOCK(OP, BITS)
#define BINARY(OP, MODE)                                                                           \
    BINARY_SIZE(OP, 8, MODE)                                                                       \
    BINARY_SIZE(OP, 16, MODE) BINARY_SIZE(OP, 32, MODE) BINARY_SIZE(OP, 64, MODE)
#define COMPARE_SIZE(OP, BITS)                                                                     \
    COMPARE_CALC(OP, BITS)                                                                         \
    COMPARE_REG(OP, BITS)                                                                          \
    COMPARE_MEM(OP, BITS, 0) COMPARE_MEM(OP, BITS, 1) COMPARE_MEM(OP, BITS, 2)
#define COMPARE(OP)                                                                                \
    COMPARE_SIZE(OP, 8) COMPARE_SIZE(OP, 16) COMPARE_SIZE(OP, 32) COMPARE_SIZE(OP, 64)

BINARY(add, NEW)
BINARY(or, NEW)
BINARY(adc, CARRY)
BINARY(sbb, CARRY)
BINARY(and, NEW)
BINARY(sub, NEW)
BINARY(xor, NEW)
COMPARE(cmp)
COMPARE(test)

struct binary_ops {
    op_fn *rr[4], *ri[4];
    op_fn *rm[EA_KINDS][4], *mr[EA_KINDS][4], *mi[EA_KINDS][4];
    op_fn *lock[4]; /* both memory forms */
};
#define BY_SIZE(NAME)                                                                              \
    {                                                                                              \
        NAME##_8, NAME##_16, NAME##_32, NAME##_64                                                  \
    }
#define BY_SIZE_EA1(NAME, EA)                                                                      \
    {                                                                                              \
        NAME##_8_##EA, NAME##_16_##EA, NAME##_32_##EA, NAME##_64_##EA                              \
    }
#define BY_SIZE_EA(NAME)                                                                           \
    {                                                                                              \
        BY_SIZE_EA1(NAME, 0), BY_SIZE_EA1(NAME, 1), BY_SIZE_EA1(NAME, 2), BY_SIZE_EA1(NAME, 2),    \
            BY_SIZE_EA1(NAME, 2)                                                                   \
    }
#define COMPARE_ROW(OP)                                                                            \
    .rr = BY_SIZE(OP##_rr), .ri = BY_SIZE(OP##_ri), .rm = BY_SIZE_EA(OP##_rm),                     \
    .mr = BY_SIZE_EA(OP##_mr), .mi = BY_SIZE_EA(OP##_mi)
#define BINARY_ROW(OP) COMPARE_ROW(OP), .lock = BY_SIZE(OP##_lock)

static const struct binary_ops ops_add = {BINARY_ROW(add)}, ops_or = {BINARY_ROW(or)},
                               ops_adc = {BINARY_ROW(adc)}, ops_sbb = {BINARY_ROW(sbb)},
                               ops_and = {BINARY_ROW(and)}, ops_sub = {BINARY_ROW(sub)},
                               ops_xor = {BINARY_ROW(xor)}, ops_cmp = {COMPARE_ROW(cmp)},
                               ops_test = {COMPARE_ROW(test)};

/* ---- one operand ---- */

/* Spelled out: clang 14 does not know the operand modifier for it. */
#define ASM_SUFFIX_8  "b"
#define ASM_SUFFIX_16 "w"
#define ASM_SUFFIX_32 "l"
#define ASM_SUFFIX_64 "q"
#define UNARY_CALC(OP, BITS, MODE)                                                                 \
    static inline uint##BITS##_t OP##_calc##BITS(struct jit_cpu *c, uint##BITS##_t d)              \
    {                                                                                              \
        uint32_t fl = FLAGS_##MODE##_INIT(c);                                                      \
        __asm__(FLAGS_##MODE##_IN #OP " %[d]" FLAGS_OUT                                            \
                : [d] "+q"(d), [fl] FLAGS_##MODE##_BIND(fl)                                        \
                :                                                                                  \
                : "cc");                                                                           \
        c->fl = (uint16_t)fl;                                                                      \
        return d;                                                                                  \
    }                                                                                              \
    static inline void OP##_locked##BITS(struct jit_cpu *c, mem_u##BITS *p)                        \
    {                                                                                              \
        uint32_t fl = FLAGS_##MODE##_INIT(c);                                                      \
        __asm__ volatile(FLAGS_##MODE##_IN "lock " #OP ASM_SUFFIX_##BITS " %[d]" FLAGS_OUT         \
                         : [d] "+m"(*p), [fl] FLAGS_##MODE##_BIND(fl)                              \
                         :                                                                         \
                         : "cc", "memory");                                                        \
        c->fl = (uint16_t)fl;                                                                      \
    }
#define NOT_CALC(BITS)                                                                             \
    static inline uint##BITS##_t not_calc##BITS(struct jit_cpu *c, uint##BITS##_t d)               \
    {                                                                                              \
        return (uint##BITS##_t) ~d;                                                                \
    }                                                                                              \
    static inline void not_locked##BITS(struct jit_cpu *c, mem_u##BITS *p)                         \
    {                                                                                              \
        __asm__ volatile("lock not" ASM_SUFFIX_##BITS " %[d]" : [d] "+m"(*p) : : "memory");        \
    }
#define UNARY_FORMS(OP, BITS)                                                                      \
    static void OP##_r_##BITS(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        SET##BITS(i->reg, OP##_calc##BITS(c, GET##BITS(i->reg)));                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    static void OP##_lock_##BITS(struct jit_cpu *c, const struct insn *i)                          \
    {                                                                                              \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        mem_u##BITS *p = lock##BITS(c, i, lin);                                                    \
        if (likely(p != NULL))                                                                     \
            OP##_locked##BITS(c, p);                                                               \
        else                                                                                       \
            op_locked_alone(c, i, lin, BITS / 8);                                                  \
        NEXT;                                                                                      \
    }
#define UNARY_MEM(OP, BITS, EA)                                                                    \
    static void OP##_m_##BITS##_##EA(struct jit_cpu *c, const struct insn *i)                      \
    {                                                                                              \
        uint64_t lin = ea_##EA(c, i, BITS / 8, ACC_WRITE);                                         \
        mem_u##BITS *p = rmw##BITS(c, i, lin);                                                     \
        *p = OP##_calc##BITS(c, *p);                                                               \
        if (unlikely((void *)p == &c->rmw_buf))                                                    \
            op_rmw_end(c, i, lin, BITS / 8);                                                       \
        NEXT;                                                                                      \
    }
#define UNARY_SIZE(OP, BITS)                                                                       \
    UNARY_FORMS(OP, BITS) UNARY_MEM(OP, BITS, 0) UNARY_MEM(OP, BITS, 1) UNARY_MEM(OP, BITS, 2)
#define UNARY(OP) UNARY_SIZE(OP, 8) UNARY_SIZE(OP, 16) UNARY_SIZE(OP, 32) UNARY_SIZE(OP, 64)
#define UNARY_CALCS(OP, MODE)                                                                      \
    UNARY_CALC(OP, 8, MODE)                                                                        \
    UNARY_CALC(OP, 16, MODE) UNARY_CALC(OP, 32, MODE) UNARY_CALC(OP, 64, MODE)

UNARY_CALCS(inc, CARRY)
UNARY_CALCS(dec, CARRY)
UNARY_CALCS(neg, NEW)
NOT_CALC(8)
NOT_CALC(16)
NOT_CALC(32)
NOT_CALC(64)
UNARY(inc)
UNARY(dec)
UNARY(neg)
UNARY(not )

struct unary_ops {
    op_fn *r[4], *m[EA_KINDS][4], *lock[4];
};
#define UNARY_ROW(OP)                                                                              \
    {                                                                                              \
        BY_SIZE(OP##_r), BY_SIZE_EA(OP##_m), BY_SIZE(OP##_lock)                                    \
    }
static const struct unary_ops ops_inc = UNARY_ROW(inc), ops_dec = UNARY_ROW(dec),
                              ops_neg = UNARY_ROW(neg), ops_not = UNARY_ROW(not );

/* ---- selecting ---- */

static const struct binary_ops *binary_for(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_ADD:
        return &ops_add;
    case ZYDIS_MNEMONIC_OR:
        return &ops_or;
    case ZYDIS_MNEMONIC_ADC:
        return &ops_adc;
    case ZYDIS_MNEMONIC_SBB:
        return &ops_sbb;
    case ZYDIS_MNEMONIC_AND:
        return &ops_and;
    case ZYDIS_MNEMONIC_SUB:
        return &ops_sub;
    case ZYDIS_MNEMONIC_XOR:
        return &ops_xor;
    case ZYDIS_MNEMONIC_CMP:
        return &ops_cmp;
    case ZYDIS_MNEMONIC_TEST:
        return &ops_test;
    default:
        return NULL;
    }
}

static const struct unary_ops *unary_for(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_INC:
        return &ops_inc;
    case ZYDIS_MNEMONIC_DEC:
        return &ops_dec;
    case ZYDIS_MNEMONIC_NEG:
        return &ops_neg;
    case ZYDIS_MNEMONIC_NOT:
        return &ops_not;
    default:
        return NULL;
    }
}

static op_fn *select_binary(struct decode_ctx *d, const struct binary_ops *ops)
{
    enum form form = op_form(d);
    unsigned size = size_index(d->out->opsize);
    enum ea_kind ea = op_ea_kind(d);
    op_fn *memory = NULL;

    switch (form) {
    case FORM_RR:
        return op_threaded(d, ops->rr[size]);
    case FORM_RI:
        return op_threaded(d, ops->ri[size]);
    case FORM_RM:
        return op_threaded(d, ops->rm[ea][size]);
    case FORM_MR:
        memory = ops->mr[ea][size];
        break;
    case FORM_MI:
        memory = ops->mi[ea][size];
        d->out->reg = NOREG; /* how the locked form tells the two apart */
        break;
    default:
        return NULL;
    }
    if (d->out->flags & INSN_LOCK)
        return op_threaded_lock(d, ops->lock[size], memory);
    return op_threaded(d, memory);
}

op_fn *op_select_alu(struct decode_ctx *d)
{
    const struct binary_ops *binary = binary_for(d->z.mnemonic);
    const struct unary_ops *unary = unary_for(d->z.mnemonic);

    if (binary)
        return select_binary(d, binary);
    if (!unary)
        return NULL;
    enum form form = op_form(d);
    unsigned size = size_index(d->out->opsize);
    if (form == FORM_R)
        return op_threaded(d, unary->r[size]);
    op_fn *memory = unary->m[op_ea_kind(d)][size];
    if (d->out->flags & INSN_LOCK)
        return op_threaded_lock(d, unary->lock[size], memory);
    return op_threaded(d, memory);
}
