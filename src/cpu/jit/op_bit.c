/* op_bit.c - BT BTS BTR BTC, BSF BSR TZCNT LZCNT POPCNT, BMI1, BMI2, ADX, CRC32. */
#include "op.h"

/* ---- bit tests: by register or immediate, in a register or in memory ---- */

/* A register index reaches beyond the operand: it moves the address by whole operands. */
static uint64_t bit_linear(struct jit_cpu *c, const struct insn *i, unsigned size, unsigned access)
{
    if (i->reg == NOREG)
        return op_ea_other(c, i, size, access);
    unsigned bits = size * 8;
    uint64_t raw = reg_get(c, i->reg, size);
    int64_t index = size == 2 ? (int16_t)raw : size == 4 ? (int32_t)raw : (int64_t)raw;
    uint64_t ea = insn_ea(c, i) + (uint64_t)((index >> __builtin_ctz(bits)) * (int64_t)size);

    ea = i->addrsize == 8 ? ea : i->addrsize == 4 ? (uint32_t)ea : (uint16_t)ea;
    c->cur = i;
    return seg_linear(c, i->seg, ea, size, access);
}

#define BIT_INDEX(BITS) ((uint##BITS##_t)(i->reg == NOREG ? (uint64_t)i->imm : GET64(i->reg)))
#define BIT_ASM(OP, BITS, OPERAND, LOCK)                                                           \
    __asm__ volatile(FLAGS_IN LOCK #OP " %[n], %[d]" FLAGS_OUT                                     \
                     : [d] OPERAND, "+&a"(fl)                                                      \
                     : [n] "r"(n)                                                                  \
                     : "cc", "memory")
#define BIT_OP(OP, BITS)                                                                           \
    static void OP##_r_##BITS(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        uint##BITS##_t n = i->rm == NOREG ? (uint##BITS##_t)i->imm : GET##BITS(i->rm);             \
        uint##BITS##_t d = GET##BITS(i->reg);                                                      \
        BIT_ASM(OP, BITS, "+r"(d), "");                                                            \
        SET##BITS(i->reg, d);                                                                      \
        c->fl = (uint16_t)fl;                                                                      \
        NEXT;                                                                                      \
    }                                                                                              \
    static void OP##_m_##BITS(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        uint##BITS##_t n = BIT_INDEX(BITS);                                                        \
        uint64_t lin = bit_linear(c, i, BITS / 8, ACC_WRITE);                                      \
        mem_u##BITS *p = rmw##BITS(c, i, lin);                                                     \
        uint##BITS##_t d = *p;                                                                     \
        BIT_ASM(OP, BITS, "+r"(d), "");                                                            \
        *p = d;                                                                                    \
        if (unlikely((void *)p == &c->rmw_buf))                                                    \
            op_rmw_end(c, i, lin, BITS / 8);                                                       \
        c->fl = (uint16_t)fl;                                                                      \
        NEXT;                                                                                      \
    }                                                                                              \
    static void OP##_lock_##BITS(struct jit_cpu *c, const struct insn *i)                          \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        uint##BITS##_t n = BIT_INDEX(BITS) & (BITS - 1);                                           \
        uint64_t lin = bit_linear(c, i, BITS / 8, ACC_WRITE);                                      \
        mem_u##BITS *p = lock##BITS(c, i, lin);                                                    \
        if (likely(p != NULL)) {                                                                   \
            BIT_ASM(OP, BITS, "+m"(*p), "lock ");                                                  \
            c->fl = (uint16_t)fl;                                                                  \
        } else {                                                                                   \
            op_locked_alone(c, i, lin, BITS / 8);                                                  \
        }                                                                                          \
        NEXT;                                                                                      \
    }
#define BIT_TEST(BITS)                                                                             \
    static void bt_r_##BITS(struct jit_cpu *c, const struct insn *i)                               \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        uint##BITS##_t n = i->rm == NOREG ? (uint##BITS##_t)i->imm : GET##BITS(i->rm);             \
        uint##BITS##_t d = GET##BITS(i->reg);                                                      \
        BIT_ASM(bt, BITS, "+r"(d), "");                                                            \
        c->fl = (uint16_t)fl;                                                                      \
        NEXT;                                                                                      \
    }                                                                                              \
    static void bt_m_##BITS(struct jit_cpu *c, const struct insn *i)                               \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        uint##BITS##_t n = BIT_INDEX(BITS);                                                        \
        uint##BITS##_t d = ld##BITS(c, i, bit_linear(c, i, BITS / 8, ACC_READ));                   \
        BIT_ASM(bt, BITS, "+r"(d), "");                                                            \
        c->fl = (uint16_t)fl;                                                                      \
        NEXT;                                                                                      \
    }
#define BIT_SIZES(OP) BIT_OP(OP, 16) BIT_OP(OP, 32) BIT_OP(OP, 64)
BIT_TEST(16)
BIT_TEST(32)
BIT_TEST(64)
BIT_SIZES(bts)
BIT_SIZES(btr)
BIT_SIZES(btc)

#define BY_WORD(NAME)                                                                              \
    {                                                                                              \
        NULL, NAME##_16, NAME##_32, NAME##_64                                                      \
    }

static op_fn *select_bit(struct decode_ctx *d, unsigned k)
{
    static op_fn *const r[4][4] = {BY_WORD(bt_r), BY_WORD(bts_r), BY_WORD(btr_r), BY_WORD(btc_r)};
    static op_fn *const m[4][4] = {BY_WORD(bt_m), BY_WORD(bts_m), BY_WORD(btr_m), BY_WORD(btc_m)};
    static op_fn *const lock[4][4] = {
        {NULL}, BY_WORD(bts_lock), BY_WORD(btr_lock), BY_WORD(btc_lock)};
    enum form form = op_form(d);
    unsigned size = size_index(d->out->opsize);

    if (form == FORM_RI)
        d->out->rm = NOREG;
    if (form == FORM_MI)
        d->out->reg = NOREG;
    if (form == FORM_RR || form == FORM_RI)
        return op_threaded(d, r[k][size]);
    if (d->out->flags & INSN_LOCK)
        return op_threaded_lock(d, lock[k][size], m[k][size]);
    return op_threaded(d, m[k][size]);
}

/* ---- scans and counts: the host decides what a zero source does to the destination ---- */
#define SCAN(OP, BITS)                                                                             \
    static inline void OP##_calc##BITS(struct jit_cpu *c, const struct insn *i, uint##BITS##_t s)  \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        uint64_t d = GET64(i->reg), w = s;                                                         \
        __asm__(FLAGS_IN #OP " %" SCAN_##BITS "[s], %" SCAN_##BITS "[d]" FLAGS_OUT                 \
                : [d] "+r"(d), "+&a"(fl)                                                           \
                : [s] "r"(w)                                                                       \
                : "cc");                                                                           \
        SET64(i->reg, d);                                                                          \
        c->fl = (uint16_t)fl;                                                                      \
    }                                                                                              \
    static void OP##_rr_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        OP##_calc##BITS(c, i, GET##BITS(i->rm));                                                   \
        NEXT;                                                                                      \
    }                                                                                              \
    static void OP##_rm_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        OP##_calc##BITS(c, i, ld##BITS(c, i, op_ea_other(c, i, BITS / 8, ACC_READ)));              \
        NEXT;                                                                                      \
    }
#define SCAN_16        "w"
#define SCAN_32        "k"
#define SCAN_64        "q"
#define SCAN_SIZES(OP) SCAN(OP, 16) SCAN(OP, 32) SCAN(OP, 64)
SCAN_SIZES(bsf)
SCAN_SIZES(bsr)
SCAN_SIZES(tzcnt)
SCAN_SIZES(lzcnt)
SCAN_SIZES(popcnt)

static op_fn *select_scan(struct decode_ctx *d, unsigned k)
{
    static op_fn *const fn[5][2][4] = {{BY_WORD(bsf_rr), BY_WORD(bsf_rm)},
                                       {BY_WORD(bsr_rr), BY_WORD(bsr_rm)},
                                       {BY_WORD(tzcnt_rr), BY_WORD(tzcnt_rm)},
                                       {BY_WORD(lzcnt_rr), BY_WORD(lzcnt_rm)},
                                       {BY_WORD(popcnt_rr), BY_WORD(popcnt_rm)}};
    bool mem = op_form(d) == FORM_RM;
    return op_threaded(d, fn[k][mem][size_index(d->out->opsize)]);
}

/* ---- VEX: reg = destination, vvvv and one register or memory operand ---- */

static inline uint32_t rm32(struct jit_cpu *c, const struct insn *i)
{
    return (i->flags & INSN_MEM) ? ld32(c, i, op_ea_other(c, i, 4, ACC_READ)) : GET32(i->rm);
}
static inline uint64_t rm64(struct jit_cpu *c, const struct insn *i)
{
    return (i->flags & INSN_MEM) ? ld64(c, i, op_ea_other(c, i, 8, ACC_READ)) : GET64(i->rm);
}

/* AT&T order: OP first, second, destination.  A: from r/m, V: from vvvv. */
#define VEX3(OP, BITS, FIRST, SECOND)                                                              \
    static void OP##_##BITS(struct jit_cpu *c, const struct insn *i)                               \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        uint##BITS##_t a = rm##BITS(c, i), v = GET##BITS(i->vvvv), d;                              \
        __asm__(FLAGS_IN #OP " %[" #FIRST "], %[" #SECOND "], %[d]" FLAGS_OUT                      \
                : [d] "=&r"(d), "+&a"(fl)                                                          \
                : [a] "r"(a), [v] "r"(v)                                                           \
                : "cc");                                                                           \
        SET##BITS(i->reg, d);                                                                      \
        c->fl = (uint16_t)fl;                                                                      \
        NEXT;                                                                                      \
    }
/* The destination is vvvv. */
#define VEX2(OP, BITS)                                                                             \
    static void OP##_##BITS(struct jit_cpu *c, const struct insn *i)                               \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        uint##BITS##_t a = rm##BITS(c, i), d;                                                      \
        __asm__(FLAGS_IN #OP " %[a], %[d]" FLAGS_OUT                                               \
                : [d] "=&r"(d), "+&a"(fl)                                                          \
                : [a] "r"(a)                                                                       \
                : "cc");                                                                           \
        SET##BITS(i->vvvv, d);                                                                     \
        c->fl = (uint16_t)fl;                                                                      \
        NEXT;                                                                                      \
    }
#define RORX(BITS)                                                                                 \
    static void rorx_##BITS(struct jit_cpu *c, const struct insn *i)                               \
    {                                                                                              \
        uint##BITS##_t a = rm##BITS(c, i);                                                         \
        unsigned n = i->imm & (BITS - 1);                                                          \
        SET##BITS(i->reg, n ? a >> n | a << (BITS - n) : a);                                       \
        NEXT;                                                                                      \
    }
#define VEX3_SIZES(OP, FIRST, SECOND)                                                              \
    VEX3(OP, 32, FIRST, SECOND)                                                                    \
    VEX3(OP, 64, FIRST, SECOND)
VEX3_SIZES(andn, a, v)
VEX3_SIZES(bextr, v, a)
VEX3_SIZES(bzhi, v, a)
VEX3_SIZES(pdep, a, v)
VEX3_SIZES(pext, a, v)
VEX3_SIZES(sarx, v, a)
VEX3_SIZES(shlx, v, a)
VEX3_SIZES(shrx, v, a)
VEX2(blsi, 32)
VEX2(blsi, 64)
VEX2(blsr, 32)
VEX2(blsr, 64)
VEX2(blsmsk, 32)
VEX2(blsmsk, 64)
RORX(32)
RORX(64)

/* MULX: vvvv = low, reg = high (which wins when they are the same) */
static void mulx_32(struct jit_cpu *c, const struct insn *i)
{
    uint64_t p = (uint64_t)rm32(c, i) * GET32(R_RDX);
    SET32(i->vvvv, p);
    SET32(i->reg, p >> 32);
    NEXT;
}
static void mulx_64(struct jit_cpu *c, const struct insn *i)
{
    unsigned __int128 p = (unsigned __int128)rm64(c, i) * GET64(R_RDX);
    SET64(i->vvvv, (uint64_t)p);
    SET64(i->reg, (uint64_t)(p >> 64));
    NEXT;
}

#define ADX(OP, BITS)                                                                              \
    static void OP##_##BITS(struct jit_cpu *c, const struct insn *i)                               \
    {                                                                                              \
        uint32_t fl = c->fl;                                                                       \
        uint##BITS##_t a = rm##BITS(c, i), d = GET##BITS(i->reg);                                  \
        __asm__(FLAGS_IN #OP " %[a], %[d]" FLAGS_OUT                                               \
                : [d] "+r"(d), "+&a"(fl)                                                           \
                : [a] "r"(a)                                                                       \
                : "cc");                                                                           \
        SET##BITS(i->reg, d);                                                                      \
        c->fl = (uint16_t)fl;                                                                      \
        NEXT;                                                                                      \
    }
ADX(adcx, 32)
ADX(adcx, 64)
ADX(adox, 32)
ADX(adox, 64)

/* CRC32: rm holds the source register or memory of aux bytes; the result is 32 bits wide. */
static void op_crc32(struct jit_cpu *c, const struct insn *i)
{
    bool mem = i->flags & INSN_MEM;
    uint64_t lin = mem ? op_ea_other(c, i, i->aux, ACC_READ) : 0, crc = GET32(i->reg);
    uint8_t b;
    uint16_t w;
    uint32_t l;
    uint64_t q;

    switch (i->aux) {
    case 1:
        b = mem ? ld8(c, i, lin) : GET8(i->rm);
        __asm__("crc32b %[s], %k[d]" : [d] "+r"(crc) : [s] "q"(b));
        break;
    case 2:
        w = mem ? ld16(c, i, lin) : GET16(i->rm);
        __asm__("crc32w %[s], %k[d]" : [d] "+r"(crc) : [s] "r"(w));
        break;
    case 4:
        l = mem ? ld32(c, i, lin) : GET32(i->rm);
        __asm__("crc32l %[s], %k[d]" : [d] "+r"(crc) : [s] "r"(l));
        break;
    default:
        q = mem ? ld64(c, i, lin) : GET64(i->rm);
        __asm__("crc32q %[s], %q[d]" : [d] "+r"(crc) : [s] "r"(q));
        break;
    }
    SET32(i->reg, crc);
    NEXT;
}

/* ---- selecting ---- */

struct vex_row {
    ZydisMnemonic mnemonic;
    enum cpuid_word word;
    unsigned bit;
    op_fn *fn[2];
};
#define VEX_ROW(M, BIT, NAME)                                                                      \
    {                                                                                              \
        ZYDIS_MNEMONIC_##M, FEAT_7_0_EBX, BIT,                                                     \
        {                                                                                          \
            NAME##_32, NAME##_64                                                                   \
        }                                                                                          \
    }
static const struct vex_row vex_rows[] = {
    VEX_ROW(ANDN, 3, andn), VEX_ROW(BEXTR, 3, bextr),   VEX_ROW(BLSI, 3, blsi),
    VEX_ROW(BLSR, 3, blsr), VEX_ROW(BLSMSK, 3, blsmsk), VEX_ROW(BZHI, 8, bzhi),
    VEX_ROW(PDEP, 8, pdep), VEX_ROW(PEXT, 8, pext),     VEX_ROW(SARX, 8, sarx),
    VEX_ROW(SHLX, 8, shlx), VEX_ROW(SHRX, 8, shrx),     VEX_ROW(RORX, 8, rorx),
    VEX_ROW(MULX, 8, mulx), VEX_ROW(ADCX, 19, adcx),    VEX_ROW(ADOX, 19, adox),
};

static op_fn *select_vex(struct decode_ctx *d)
{
    for (unsigned k = 0; k < ARRAY_SIZE(vex_rows); k++) {
        const struct vex_row *r = &vex_rows[k];
        if (r->mnemonic != d->z.mnemonic)
            continue;
        if (!op_has(d, r->word, r->bit))
            return NULL;
        return op_threaded(d, r->fn[d->op[0].size == 64]);
    }
    return NULL;
}

op_fn *op_select_bit(struct decode_ctx *d)
{
    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_BT:
        return select_bit(d, 0);
    case ZYDIS_MNEMONIC_BTS:
        return select_bit(d, 1);
    case ZYDIS_MNEMONIC_BTR:
        return select_bit(d, 2);
    case ZYDIS_MNEMONIC_BTC:
        return select_bit(d, 3);
    case ZYDIS_MNEMONIC_BSF:
        return select_scan(d, 0);
    case ZYDIS_MNEMONIC_BSR:
        return select_scan(d, 1);
    case ZYDIS_MNEMONIC_TZCNT: /* without BMI1, without LZCNT: the prefix means nothing */
        return select_scan(d, op_has(d, FEAT_7_0_EBX, 3) ? 2 : 0);
    case ZYDIS_MNEMONIC_LZCNT:
        return select_scan(d, op_has(d, FEAT_8000_0001_ECX, 5) ? 3 : 1);
    case ZYDIS_MNEMONIC_POPCNT:
        return op_has(d, FEAT_1_ECX, 23) ? select_scan(d, 4) : NULL;
    case ZYDIS_MNEMONIC_CRC32:
        if (!op_has(d, FEAT_1_ECX, 20))
            return NULL;
        op_form(d);
        d->out->aux = (uint8_t)(d->op[1].size / 8);
        return op_threaded(d, op_crc32);
    default:
        return select_vex(d);
    }
}
