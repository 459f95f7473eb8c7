/* op_mov.c - MOV (general registers), MOVZX MOVSX MOVSXD, LEA, CMOVcc, SETcc, XLAT, BSWAP, MOVBE,
 * MOVNTI, MOVDIRI and the sign extensions in rAX. */
#include "op.h"

#define MOV_REG(BITS)                                                                              \
    static void mov_rr_##BITS(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        SET##BITS(i->reg, GET##BITS(i->rm));                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    static void mov_ri_##BITS(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        SET##BITS(i->reg, (uint##BITS##_t)i->imm);                                                 \
        NEXT;                                                                                      \
    }                                                                                              \
    static void movoff_rm_##BITS(struct jit_cpu *c, const struct insn *i)                          \
    {                                                                                              \
        uint64_t base = i->seg >= SEG_FS ? c->st.seg[i->seg].base : 0;                             \
        SET##BITS(i->reg, ld##BITS(c, i, base + (uint64_t)i->imm));                                \
        NEXT;                                                                                      \
    }                                                                                              \
    static void movoff_mr_##BITS(struct jit_cpu *c, const struct insn *i)                          \
    {                                                                                              \
        uint64_t base = i->seg >= SEG_FS ? c->st.seg[i->seg].base : 0;                             \
        st##BITS(c, i, base + (uint64_t)i->imm, GET##BITS(i->reg));                                \
        NEXT;                                                                                      \
    }
#define MOV_MEM(BITS, EA)                                                                          \
    static void mov_rm_##BITS##_##EA(struct jit_cpu *c, const struct insn *i)                      \
    {                                                                                              \
        SET##BITS(i->reg, ld##BITS(c, i, ea_##EA(c, i, BITS / 8, ACC_READ)));                      \
        NEXT;                                                                                      \
    }                                                                                              \
    static void mov_mr_##BITS##_##EA(struct jit_cpu *c, const struct insn *i)                      \
    {                                                                                              \
        st##BITS(c, i, ea_##EA(c, i, BITS / 8, ACC_WRITE), GET##BITS(i->reg));                     \
        NEXT;                                                                                      \
    }                                                                                              \
    static void mov_mi_##BITS##_##EA(struct jit_cpu *c, const struct insn *i)                      \
    {                                                                                              \
        st##BITS(c, i, ea_##EA(c, i, BITS / 8, ACC_WRITE), (uint##BITS##_t)i->imm);                \
        NEXT;                                                                                      \
    }
#define MOV_SIZE(BITS)                                                                             \
    MOV_REG(BITS)                                                                                  \
    MOV_MEM(BITS, 0) MOV_MEM(BITS, 1) MOV_MEM(BITS, 2) MOV_MEM(BITS, 3) MOV_MEM(BITS, 4)
MOV_SIZE(8)
MOV_SIZE(16)
MOV_SIZE(32)
MOV_SIZE(64)

/* name, destination bits, source bits, source type */
#define EXTENSIONS(X)                                                                              \
    X(zx16_8, 16, 8, uint8_t)                                                                      \
    X(zx32_8, 32, 8, uint8_t)                                                                      \
    X(zx32_16, 32, 16, uint16_t)                                                                   \
    X(sx16_8, 16, 8, int8_t)                                                                       \
    X(sx32_8, 32, 8, int8_t)                                                                       \
    X(sx64_8, 64, 8, int8_t)                                                                       \
    X(sx32_16, 32, 16, int16_t)                                                                    \
    X(sx64_16, 64, 16, int16_t)                                                                    \
    X(sx64_32, 64, 32, int32_t)
#define EXT_MEM(NAME, DST, SRC, TYPE, EA)                                                          \
    static void NAME##_rm_##EA(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        TYPE v = (TYPE)ld##SRC(c, i, ea_##EA(c, i, SRC / 8, ACC_READ));                            \
        SET##DST(i->reg, (uint##DST##_t)(int64_t)v);                                               \
        NEXT;                                                                                      \
    }
#define EXT(NAME, DST, SRC, TYPE)                                                                  \
    static void NAME##_rr(struct jit_cpu *c, const struct insn *i)                                 \
    {                                                                                              \
        TYPE v = (TYPE)GET##SRC(i->rm);                                                            \
        SET##DST(i->reg, (uint##DST##_t)(int64_t)v);                                               \
        NEXT;                                                                                      \
    }                                                                                              \
    EXT_MEM(NAME, DST, SRC, TYPE, 0)                                                               \
    EXT_MEM(NAME, DST, SRC, TYPE, 1)                                                               \
    EXT_MEM(NAME, DST, SRC, TYPE, 2)                                                               \
    EXT_MEM(NAME, DST, SRC, TYPE, 3)                                                               \
    EXT_MEM(NAME, DST, SRC, TYPE, 4)
EXTENSIONS(EXT)

/* ---- LEA: no segment, no access ---- */
#define LEA_SIZE(BITS)                                                                             \
    static void lea_##BITS##_0(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        SET##BITS(i->reg, (uint##BITS##_t)ea_0(c, i, 0, 0));                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    static void lea_##BITS##_1(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        SET##BITS(i->reg, (uint##BITS##_t)ea_1(c, i, 0, 0));                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    static void lea_##BITS##_2(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        SET##BITS(i->reg, (uint##BITS##_t)insn_ea(c, i));                                          \
        NEXT;                                                                                      \
    }
LEA_SIZE(16)
LEA_SIZE(32)
LEA_SIZE(64)

/* ---- conditions: aux is the condition code ---- */
#define ALL_CONDITIONS(X)                                                                          \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define CONDITIONAL(CC)                                                                            \
    static void setcc_r_##CC(struct jit_cpu *c, const struct insn *i)                              \
    {                                                                                              \
        SET8(i->reg, cond_holds(c->fl, CC));                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    static void cmov_rr_32_##CC(struct jit_cpu *c, const struct insn *i)                           \
    {                                                                                              \
        SET32(i->reg, cond_holds(c->fl, CC) ? GET32(i->rm) : GET32(i->reg));                       \
        NEXT;                                                                                      \
    }                                                                                              \
    static void cmov_rr_64_##CC(struct jit_cpu *c, const struct insn *i)                           \
    {                                                                                              \
        SET64(i->reg, cond_holds(c->fl, CC) ? GET64(i->rm) : GET64(i->reg));                       \
        NEXT;                                                                                      \
    }
ALL_CONDITIONS(CONDITIONAL)

static void setcc_m(struct jit_cpu *c, const struct insn *i)
{
    st8(c, i, op_ea_other(c, i, 1, ACC_WRITE), cond_holds(c->fl, i->aux));
    NEXT;
}

/* The load happens whether or not the condition holds; so does the 32-bit zero extension. */
#define CMOV_OTHER(BITS)                                                                           \
    static void cmov_rm_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        uint##BITS##_t v = ld##BITS(c, i, op_ea_other(c, i, BITS / 8, ACC_READ));                  \
        SET##BITS(i->reg, cond_holds(c->fl, i->aux) ? v : GET##BITS(i->reg));                      \
        NEXT;                                                                                      \
    }
CMOV_OTHER(16)
CMOV_OTHER(32)
CMOV_OTHER(64)
static void cmov_rr_16(struct jit_cpu *c, const struct insn *i)
{
    if (cond_holds(c->fl, i->aux))
        SET16(i->reg, GET16(i->rm));
    NEXT;
}

/* ---- the rest ---- */

static void op_xlat(struct jit_cpu *c, const struct insn *i)
{
    uint64_t ea = c->st.gpr[R_RBX] + GET8(R_RAX);
    ea = i->addrsize == 8 ? ea : i->addrsize == 4 ? (uint32_t)ea : (uint16_t)ea;
    SET8(R_RAX, mem_r8(c, seg_linear(c, i->seg, ea, 1, ACC_READ)));
}

static void bswap_32(struct jit_cpu *c, const struct insn *i)
{
    SET32(i->reg, __builtin_bswap32(GET32(i->reg)));
    NEXT;
}

static void bswap_64(struct jit_cpu *c, const struct insn *i)
{
    SET64(i->reg, __builtin_bswap64(GET64(i->reg)));
    NEXT;
}

/* Undefined by the manuals; processors clear the register. */
static void bswap_16(struct jit_cpu *c, const struct insn *i)
{
    SET16(i->reg, 0);
    NEXT;
}

#define MOVBE(BITS)                                                                                \
    static void movbe_rm_##BITS(struct jit_cpu *c, const struct insn *i)                           \
    {                                                                                              \
        uint##BITS##_t v = ld##BITS(c, i, op_ea_other(c, i, BITS / 8, ACC_READ));                  \
        SET##BITS(i->reg, __builtin_bswap##BITS(v));                                               \
        NEXT;                                                                                      \
    }                                                                                              \
    static void movbe_mr_##BITS(struct jit_cpu *c, const struct insn *i)                           \
    {                                                                                              \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        st##BITS(c, i, lin, __builtin_bswap##BITS(GET##BITS(i->reg)));                             \
        NEXT;                                                                                      \
    }
MOVBE(16)
MOVBE(32)
MOVBE(64)

static void cbw(struct jit_cpu *c, const struct insn *i)
{
    SET16(R_RAX, (uint16_t)(int8_t)GET8(R_RAX));
    NEXT;
}
static void cwde(struct jit_cpu *c, const struct insn *i)
{
    SET32(R_RAX, (uint32_t)(int16_t)GET16(R_RAX));
    NEXT;
}
static void cdqe(struct jit_cpu *c, const struct insn *i)
{
    SET64(R_RAX, (uint64_t)(int32_t)GET32(R_RAX));
    NEXT;
}
static void cwd(struct jit_cpu *c, const struct insn *i)
{
    SET16(R_RDX, (int16_t)GET16(R_RAX) < 0 ? UINT16_MAX : 0);
    NEXT;
}
static void cdq(struct jit_cpu *c, const struct insn *i)
{
    SET32(R_RDX, (int32_t)GET32(R_RAX) < 0 ? UINT32_MAX : 0);
    NEXT;
}
static void cqo(struct jit_cpu *c, const struct insn *i)
{
    SET64(R_RDX, (int64_t)GET64(R_RAX) < 0 ? UINT64_MAX : 0);
    NEXT;
}

/* ---- selecting ---- */

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
        BY_SIZE_EA1(NAME, 0), BY_SIZE_EA1(NAME, 1), BY_SIZE_EA1(NAME, 2), BY_SIZE_EA1(NAME, 3),    \
            BY_SIZE_EA1(NAME, 4)                                                                   \
    }

static op_fn *select_mov(struct decode_ctx *d)
{
    static op_fn *const rr[] = BY_SIZE(mov_rr), *const ri[] = BY_SIZE(mov_ri),
                        *const off_rm[] = BY_SIZE(movoff_rm), *const off_mr[] = BY_SIZE(movoff_mr);
    static op_fn *const rm[EA_KINDS][4] = BY_SIZE_EA(mov_rm),
                        *const mr[EA_KINDS][4] = BY_SIZE_EA(mov_mr),
                        *const mi[EA_KINDS][4] = BY_SIZE_EA(mov_mi);
    const ZydisDecodedOperand *o = d->op;

    /* Control, debug and segment registers are the system part's. */
    for (unsigned k = 0; k < 2; k++) {
        ZydisRegisterClass class = o[k].type == ZYDIS_OPERAND_TYPE_REGISTER
                                       ? ZydisRegisterGetClass(o[k].reg.value)
                                       : ZYDIS_REGCLASS_GPR64;
        if (class < ZYDIS_REGCLASS_GPR8 || class > ZYDIS_REGCLASS_GPR64)
            return NULL;
    }
    enum form form = op_form(d);
    unsigned size = size_index(d->out->opsize);
    enum ea_kind ea = op_ea_kind(d);
    bool moffs64 = (d->out->flags & INSN_MEM) && d->z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
                   d->z.opcode >= 0xa0 && d->z.opcode <= 0xa3 && d->out->addrsize == 8;
    switch (form) {
    case FORM_RR:
        return op_threaded(d, rr[size]);
    case FORM_RI:
        return op_threaded(d, ri[size]);
    case FORM_RM:
        return op_threaded(d, moffs64 ? off_rm[size] : rm[ea][size]);
    case FORM_MR:
        return op_threaded(d, moffs64 ? off_mr[size] : mr[ea][size]);
    case FORM_MI:
        return op_threaded(d, mi[ea][size]);
    default:
        return NULL;
    }
}

static op_fn *select_extension(struct decode_ctx *d)
{
    struct ext_row {
        ZydisMnemonic mnemonic;
        unsigned dst, src;
        op_fn *rr, *rm[EA_KINDS];
    };
#define ROW(M, D, S, NAME)                                                                         \
    {                                                                                              \
        ZYDIS_MNEMONIC_##M, D, S, NAME##_rr,                                                       \
        {                                                                                          \
            NAME##_rm_0, NAME##_rm_1, NAME##_rm_2, NAME##_rm_3, NAME##_rm_4                        \
        }                                                                                          \
    }
#define MOV_ROW(M, D, S, BITS)                                                                     \
    {                                                                                              \
        ZYDIS_MNEMONIC_##M, D, S, mov_rr_##BITS,                                                   \
        {                                                                                          \
            mov_rm_##BITS##_0, mov_rm_##BITS##_1, mov_rm_##BITS##_2, mov_rm_##BITS##_3,            \
                mov_rm_##BITS##_4                                                                  \
        }                                                                                          \
    }
    /* A zero extension to 64 bits is one to 32; equal sizes are plain moves. */
    static const struct ext_row rows[] = {
        ROW(MOVZX, 16, 8, zx16_8),    ROW(MOVZX, 32, 8, zx32_8),   ROW(MOVZX, 64, 8, zx32_8),
        ROW(MOVZX, 32, 16, zx32_16),  ROW(MOVZX, 64, 16, zx32_16), MOV_ROW(MOVZX, 16, 16, 16),
        ROW(MOVSX, 16, 8, sx16_8),    ROW(MOVSX, 32, 8, sx32_8),   ROW(MOVSX, 64, 8, sx64_8),
        ROW(MOVSX, 32, 16, sx32_16),  ROW(MOVSX, 64, 16, sx64_16), MOV_ROW(MOVSX, 16, 16, 16),
        ROW(MOVSXD, 64, 32, sx64_32), MOV_ROW(MOVSXD, 32, 32, 32), MOV_ROW(MOVSXD, 16, 16, 16),
        MOV_ROW(MOVSXD, 16, 32, 16),
    };
    enum form form = op_form(d);
    for (unsigned k = 0; k < ARRAY_SIZE(rows); k++) {
        const struct ext_row *r = &rows[k];
        if (r->mnemonic == d->z.mnemonic && r->dst == d->op[0].size && r->src == d->op[1].size)
            return op_threaded(d, form == FORM_RR ? r->rr : r->rm[op_ea_kind(d)]);
    }
    return NULL;
}

static op_fn *select_lea(struct decode_ctx *d)
{
    static op_fn *const fn[4][EA_KINDS] = {{NULL},
                                           {lea_16_0, lea_16_1, lea_16_2, lea_16_2, lea_16_2},
                                           {lea_32_0, lea_32_1, lea_32_2, lea_32_0, lea_32_1},
                                           {lea_64_0, lea_64_1, lea_64_2}};
    op_form(d);
    return op_threaded(d, fn[size_index(d->out->opsize)][op_ea_kind(d)]);
}

static op_fn *select_conditional(struct decode_ctx *d, bool cmov)
{
#define SET_ROW(CC)    setcc_r_##CC,
#define CMOV32_ROW(CC) cmov_rr_32_##CC,
#define CMOV64_ROW(CC) cmov_rr_64_##CC,
    static op_fn *const set_r[16] = {ALL_CONDITIONS(SET_ROW)};
    static op_fn *const cmov_32[16] = {ALL_CONDITIONS(CMOV32_ROW)};
    static op_fn *const cmov_64[16] = {ALL_CONDITIONS(CMOV64_ROW)};
    enum form form = op_form(d);
    unsigned cc = d->z.opcode & 15, size = d->out->opsize;

    d->out->aux = (uint8_t)cc;
    if (!cmov)
        return op_threaded(d, form == FORM_R ? set_r[cc] : setcc_m);
    if (form == FORM_RR)
        return op_threaded(d, size == 8 ? cmov_64[cc] : size == 4 ? cmov_32[cc] : cmov_rr_16);
    return op_threaded(d, size == 8 ? cmov_rm_64 : size == 4 ? cmov_rm_32 : cmov_rm_16);
}

static op_fn *select_movbe(struct decode_ctx *d)
{
    static op_fn *const rm[4] = {NULL, movbe_rm_16, movbe_rm_32, movbe_rm_64};
    static op_fn *const mr[4] = {NULL, movbe_mr_16, movbe_mr_32, movbe_mr_64};
    if (!op_has(d, FEAT_1_ECX, 22))
        return NULL;
    enum form form = op_form(d);
    return op_threaded(d, (form == FORM_RM ? rm : mr)[size_index(d->out->opsize)]);
}

static op_fn *select_bswap(struct decode_ctx *d)
{
    op_form(d);
    return op_threaded(d, d->out->opsize == 8   ? bswap_64
                          : d->out->opsize == 4 ? bswap_32
                                                : bswap_16);
}

static op_fn *select_store_hint(struct decode_ctx *d, bool has)
{
    static op_fn *const mr[EA_KINDS][2] = {[EA_BASE] = {mov_mr_32_0, mov_mr_64_0},
                                           [EA_INDEX] = {mov_mr_32_1, mov_mr_64_1},
                                           [EA_OTHER] = {mov_mr_32_2, mov_mr_64_2},
                                           [EA_BASE32] = {mov_mr_32_3, mov_mr_64_3},
                                           [EA_INDEX32] = {mov_mr_32_4, mov_mr_64_4}};
    if (!has)
        return NULL;
    op_form(d);
    return op_threaded(d, mr[op_ea_kind(d)][d->out->opsize == 8]);
}

op_fn *op_select_mov(struct decode_ctx *d)
{
    bool map0f = d->z.opcode_map == ZYDIS_OPCODE_MAP_0F;

    if (d->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return NULL;
    if (map0f && (d->z.opcode & 0xf0) == 0x40)
        return select_conditional(d, true);
    if (map0f && (d->z.opcode & 0xf0) == 0x90)
        return select_conditional(d, false);
    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        return select_mov(d);
    case ZYDIS_MNEMONIC_MOVZX:
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
        return select_extension(d);
    case ZYDIS_MNEMONIC_LEA:
        return select_lea(d);
    case ZYDIS_MNEMONIC_MOVBE:
        return select_movbe(d);
    case ZYDIS_MNEMONIC_BSWAP:
        return select_bswap(d);
    case ZYDIS_MNEMONIC_MOVNTI:
        return select_store_hint(d, op_has(d, FEAT_1_EDX, 26));
    case ZYDIS_MNEMONIC_MOVDIRI:
        return select_store_hint(d, op_has(d, FEAT_7_0_ECX, 27));
    case ZYDIS_MNEMONIC_XLAT:
        return op_xlat;
    case ZYDIS_MNEMONIC_CBW:
        return op_threaded(d, cbw);
    case ZYDIS_MNEMONIC_CWDE:
        return op_threaded(d, cwde);
    case ZYDIS_MNEMONIC_CDQE:
        return op_threaded(d, cdqe);
    case ZYDIS_MNEMONIC_CWD:
        return op_threaded(d, cwd);
    case ZYDIS_MNEMONIC_CDQ:
        return op_threaded(d, cdq);
    case ZYDIS_MNEMONIC_CQO:
        return op_threaded(d, cqo);
    default:
        return NULL;
    }
}
