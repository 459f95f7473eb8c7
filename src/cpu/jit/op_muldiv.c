/* op_muldiv.c - MUL IMUL DIV IDIV.  The host multiplies and divides; what would make the host fault
 * (a quotient that does not fit) is found before. */
#include "op.h"

/* rDX:rAX := rAX * s.  The flags that are undefined are the host's: its flags are the guest's on
 * entry.  AX carries the flags, so the accumulator is loaded after them. */
#define MUL_ONE(OP, BITS, A, SUFFIX)                                                               \
    static void OP##1_calc##BITS(struct jit_cpu *c, uint##BITS##_t s)                              \
    {                                                                                              \
        uint64_t ax = c->fl, lo, hi;                                                               \
        __asm__(FLAGS_IN "mov" SUFFIX " %[a], %%" A "\n\t" #OP                                     \
                         " %[s]\n\tmov %%rax, %[lo]" FLAGS_OUT                                     \
                : "+&a"(ax), [lo] "=&r"(lo), "=&d"(hi)                                             \
                : [a] "r"(GET##BITS(R_RAX)), [s] "r"(s)                                            \
                : "cc");                                                                           \
        SET##BITS(R_RAX, (uint##BITS##_t)lo);                                                      \
        SET##BITS(R_RDX, (uint##BITS##_t)hi);                                                      \
        c->fl = (uint16_t)ax;                                                                      \
    }
#define MUL_ONE_BYTE(OP)                                                                           \
    static void OP##1_calc8(struct jit_cpu * c, uint8_t s)                                         \
    {                                                                                              \
        uint64_t ax = c->fl, lo;                                                                   \
        __asm__(FLAGS_IN "movb %[a], %%al\n\t" #OP " %[s]\n\tmov %%rax, %[lo]" FLAGS_OUT           \
                : "+&a"(ax), [lo] "=&r"(lo)                                                        \
                : [a] "q"(GET8(R_RAX)), [s] "q"(s)                                                 \
                : "cc");                                                                           \
        SET16(R_RAX, (uint16_t)lo);                                                                \
        c->fl = (uint16_t)ax;                                                                      \
    }
MUL_ONE_BYTE(mul)
MUL_ONE_BYTE(imul)
MUL_ONE(mul, 16, "ax", "w")
MUL_ONE(mul, 32, "eax", "l")
MUL_ONE(mul, 64, "rax", "q")
MUL_ONE(imul, 16, "ax", "w")
MUL_ONE(imul, 32, "eax", "l")
MUL_ONE(imul, 64, "rax", "q")

/* ---- division: check, then divide with the guest's flags in place ---- */

static bool div_fits(uint64_t hi, uint64_t lo, uint64_t s, unsigned bits)
{
    return s != 0 && hi < s;
}

static bool idiv_fits(uint64_t hi, uint64_t lo, uint64_t s, unsigned bits)
{
    unsigned shift = 64 - bits;
    int64_t h = (int64_t)(hi << shift) >> shift, l = (int64_t)(lo << shift) >> shift;
    int64_t d = (int64_t)(s << shift) >> shift;
    int64_t min = (int64_t)(1ull << 63) >> shift;

    if (d == 0)
        return false;
    if (h == l >> 63) /* the dividend fits one word: only its minimum over -1 overflows */
        return !(l == min && d == -1);
    /* Magnitudes: |q| <= max, or max + 1 when negative. */
    __int128 n = (__int128)((unsigned __int128)h << bits) |
                 (__int128)(lo & (bits == 64 ? UINT64_MAX : (1ull << bits) - 1));
    bool negative = (n < 0) != (d < 0);
    unsigned __int128 mag = n < 0 ? -(unsigned __int128)n : (unsigned __int128)n;
    uint64_t dm = d < 0 ? -(uint64_t)d : (uint64_t)d;
    unsigned __int128 q = mag / dm;
    return q <= (unsigned __int128)(uint64_t)~min + (negative ? 1 : 0);
}

#define DIV(OP, BITS, A, D, SUFFIX)                                                                \
    static void OP##_calc##BITS(struct jit_cpu *c, uint##BITS##_t s)                               \
    {                                                                                              \
        uint64_t ax = c->fl, quotient, remainder;                                                  \
        if (!OP##_fits(GET##BITS(R_RDX), GET##BITS(R_RAX), s, BITS))                               \
            cpu_raise(c, EX_DE);                                                                   \
        __asm__(FLAGS_IN "mov" SUFFIX " %[a], %%" A "\n\t" #OP                                     \
                         " %[s]\n\tmov %%rax, %[q]" FLAGS_OUT                                      \
                : "+&a"(ax), [q] "=&r"(quotient), "=d"(remainder)                                  \
                : [a] "r"(GET##BITS(R_RAX)), [s] "r"(s), "d"(GET64(R_RDX))                         \
                : "cc");                                                                           \
        SET##BITS(R_RAX, (uint##BITS##_t)quotient);                                                \
        SET##BITS(R_RDX, (uint##BITS##_t)remainder);                                               \
        c->fl = (uint16_t)ax;                                                                      \
    }
DIV(div, 16, "ax", "dx", "w")
DIV(div, 32, "eax", "edx", "l")
DIV(div, 64, "rax", "rdx", "q")
DIV(idiv, 16, "ax", "dx", "w")
DIV(idiv, 32, "eax", "edx", "l")
DIV(idiv, 64, "rax", "rdx", "q")

#define DIV_BYTE(OP)                                                                               \
    static void OP##_calc8(struct jit_cpu *c, uint8_t s)                                           \
    {                                                                                              \
        uint64_t ax = c->fl, out;                                                                  \
        if (!OP##_fits(GET16(R_RAX) >> 8, GET8(R_RAX), s, 8))                                      \
            cpu_raise(c, EX_DE);                                                                   \
        __asm__(FLAGS_IN "movw %[a], %%ax\n\t" #OP " %[s]\n\tmov %%rax, %[q]" FLAGS_OUT            \
                : "+&a"(ax), [q] "=&r"(out)                                                        \
                : [a] "r"(GET16(R_RAX)), [s] "q"(s)                                                \
                : "cc");                                                                           \
        SET16(R_RAX, (uint16_t)out);                                                               \
        c->fl = (uint16_t)ax;                                                                      \
    }
DIV_BYTE(div)
DIV_BYTE(idiv)

/* The helpers may raise, so cur is set for the register forms too. */
#define ONE_FORMS(NAME, CALC, BITS)                                                                \
    static void NAME##_r_##BITS(struct jit_cpu *c, const struct insn *i)                           \
    {                                                                                              \
        c->cur = i;                                                                                \
        CALC##BITS(c, GET##BITS(i->reg));                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    static void NAME##_m_##BITS(struct jit_cpu *c, const struct insn *i)                           \
    {                                                                                              \
        c->cur = i;                                                                                \
        CALC##BITS(c, ld##BITS(c, i, op_ea_other(c, i, BITS / 8, ACC_READ)));                      \
        NEXT;                                                                                      \
    }
#define ONE(NAME, CALC)                                                                            \
    ONE_FORMS(NAME, CALC, 8)                                                                       \
    ONE_FORMS(NAME, CALC, 16) ONE_FORMS(NAME, CALC, 32) ONE_FORMS(NAME, CALC, 64)
ONE(mul, mul1_calc)
ONE(imul, imul1_calc)
ONE(div, div_calc)
ONE(idiv, idiv_calc)

/* ---- IMUL with two and three operands ---- */
#define IMUL_CALC(BITS)                                                                            \
    static inline uint##BITS##_t imul_calc##BITS(struct jit_cpu *c, uint##BITS##_t d,              \
                                                 uint##BITS##_t s)                                 \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        __asm__(FLAGS_IN "imul %[s], %[d]" FLAGS_OUT                                               \
                : [d] "+r"(d), "+&a"(fl)                                                           \
                : [s] "r"(s)                                                                       \
                : "cc");                                                                           \
        c->fl = (uint16_t)fl;                                                                      \
        return d;                                                                                  \
    }                                                                                              \
    static void imul_rr_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        SET##BITS(i->reg, imul_calc##BITS(c, GET##BITS(i->reg), GET##BITS(i->rm)));                \
        NEXT;                                                                                      \
    }                                                                                              \
    static void imul_rm_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        uint##BITS##_t s = ld##BITS(c, i, op_ea_other(c, i, BITS / 8, ACC_READ));                  \
        SET##BITS(i->reg, imul_calc##BITS(c, GET##BITS(i->reg), s));                               \
        NEXT;                                                                                      \
    }                                                                                              \
    static void imul_rri_##BITS(struct jit_cpu *c, const struct insn *i)                           \
    {                                                                                              \
        SET##BITS(i->reg, imul_calc##BITS(c, GET##BITS(i->rm), (uint##BITS##_t)i->imm));           \
        NEXT;                                                                                      \
    }                                                                                              \
    static void imul_rmi_##BITS(struct jit_cpu *c, const struct insn *i)                           \
    {                                                                                              \
        uint##BITS##_t s = ld##BITS(c, i, op_ea_other(c, i, BITS / 8, ACC_READ));                  \
        SET##BITS(i->reg, imul_calc##BITS(c, s, (uint##BITS##_t)i->imm));                          \
        NEXT;                                                                                      \
    }
IMUL_CALC(16)
IMUL_CALC(32)
IMUL_CALC(64)

#define BY_SIZE(NAME)                                                                              \
    {                                                                                              \
        NAME##_8, NAME##_16, NAME##_32, NAME##_64                                                  \
    }
#define BY_WORD(NAME)                                                                              \
    {                                                                                              \
        NULL, NAME##_16, NAME##_32, NAME##_64                                                      \
    }

static op_fn *select_imul(struct decode_ctx *d)
{
    static op_fn *const two[2][4] = {BY_WORD(imul_rr), BY_WORD(imul_rm)};
    static op_fn *const three[2][4] = {BY_WORD(imul_rri), BY_WORD(imul_rmi)};
    bool mem = op_form(d) == FORM_RM;
    unsigned size = size_index(d->out->opsize);

    return op_threaded(d, d->z.operand_count_visible == 3 ? three[mem][size] : two[mem][size]);
}

op_fn *op_select_muldiv(struct decode_ctx *d)
{
    static op_fn *const one[4][2][4] = {{BY_SIZE(mul_r), BY_SIZE(mul_m)},
                                        {BY_SIZE(imul_r), BY_SIZE(imul_m)},
                                        {BY_SIZE(div_r), BY_SIZE(div_m)},
                                        {BY_SIZE(idiv_r), BY_SIZE(idiv_m)}};
    unsigned k;

    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_MUL:
        k = 0;
        break;
    case ZYDIS_MNEMONIC_IMUL:
        if (d->z.operand_count_visible > 1)
            return select_imul(d);
        k = 1;
        break;
    case ZYDIS_MNEMONIC_DIV:
        k = 2;
        break;
    case ZYDIS_MNEMONIC_IDIV:
        k = 3;
        break;
    default:
        return NULL;
    }
    bool mem = op_form(d) == FORM_M;
    return op_threaded(d, one[k][mem][size_index(d->out->opsize)]);
}
