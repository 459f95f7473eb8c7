/* tr_scan.c - a decoded instruction's bytes taken apart once more, and the tables that say how its
 * opcode is translated.
 *
 * The decoder has already said what is legal and what the guest's CPUID has: whatever raises #UD
 * has INSN_END and never comes here.  An opcode that no table names is the interpreter's.
 *
 * Flags: `writes` are set whatever they were; `maybe` may be left alone (a shift count of zero,
 * bits the architecture leaves undefined and processors leave alone). */
#include "fpu.h"
#include "tr.h"

#include <pthread.h>

static struct tr_op one[256], two[256], three38[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define RW_RM  (ROLE_RM_R | ROLE_RM_W)
#define RW_REG (ROLE_REG_R | ROLE_REG_W)

static const uint8_t cc_reads[8] = {TF_O, TF_C, TF_Z,        TF_C | TF_Z,
                                    TF_S, TF_P, TF_S | TF_O, TF_Z | TF_S | TF_O};

static void row(struct tr_op *t, unsigned op, unsigned kind, unsigned roles, unsigned reads,
                unsigned writes)
{
    t[op] = (struct tr_op){.kind = (uint8_t)kind,
                           .roles = (uint16_t)roles,
                           .reads = (uint8_t)reads,
                           .writes = (uint8_t)writes};
}

/* ADD OR ADC SBB AND SUB XOR CMP: 00..3F */
static void alu_rows(void)
{
    for (unsigned k = 0; k < 8; k++) {
        unsigned reads = k == 2 || k == 3 ? TF_C : 0, cmp = k == 7;
        unsigned to_rm = ROLE_REG_R | (cmp ? ROLE_RM_R : RW_RM);
        unsigned to_reg = ROLE_RM_R | (cmp ? ROLE_REG_R : RW_REG);

        row(one, k * 8 + 0, TK_MODRM, to_rm | ROLE_BYTE, reads, TF_ALL);
        row(one, k * 8 + 1, TK_MODRM, to_rm, reads, TF_ALL);
        row(one, k * 8 + 2, TK_MODRM, to_reg | ROLE_BYTE, reads, TF_ALL);
        row(one, k * 8 + 3, TK_MODRM, to_reg, reads, TF_ALL);
        row(one, k * 8 + 4, TK_ACC_IMM, ROLE_BYTE, reads, TF_ALL);
        row(one, k * 8 + 5, TK_ACC_IMM, 0, reads, TF_ALL);
    }
}

static void string_rows(void)
{
    for (unsigned k = 0; k < 2; k++) {
        unsigned byte = k ? 0 : ROLE_BYTE;
        row(one, 0xa4 + k, TK_MOVS, byte, 0, 0);
        row(one, 0xaa + k, TK_STOS, byte, 0, 0);
        row(one, 0xac + k, TK_LODS, byte, 0, 0);
    }
}

static void one_rows(void)
{
    alu_rows();
    for (unsigned k = 0; k < 16; k++)
        row(one, 0x40 + k, TK_INCDEC32, 0, 0, TF_ALL & ~TF_C);
    for (unsigned k = 0; k < 8; k++) {
        row(one, 0x50 + k, TK_PUSH_R, 0, 0, 0);
        row(one, 0x58 + k, TK_POP_R, 0, 0, 0);
        row(one, 0x90 + k, TK_XCHG_ACC, 0, 0, 0);
        row(one, 0xb0 + k, TK_MOV_RI, ROLE_BYTE, 0, 0);
        row(one, 0xb8 + k, TK_MOV_RI, 0, 0, 0);
    }
    row(one, 0x63, TK_MODRM, ROLE_REG_W | ROLE_RM_R | ROLE_RM32, 0, 0); /* MOVSXD */
    row(one, 0x68, TK_PUSH_I, 0, 0, 0);
    row(one, 0x6a, TK_PUSH_I, 0, 0, 0);
    row(one, 0x69, TK_MODRM, ROLE_REG_W | ROLE_RM_R, 0, TF_C | TF_O);
    row(one, 0x6b, TK_MODRM, ROLE_REG_W | ROLE_RM_R, 0, TF_C | TF_O);
    for (unsigned k = 0; k < 16; k++)
        row(one, 0x70 + k, TK_JCC, 0, cc_reads[k >> 1], 0);
    row(one, 0x84, TK_MODRM, ROLE_REG_R | ROLE_RM_R | ROLE_BYTE, 0, TF_ALL);
    row(one, 0x85, TK_MODRM, ROLE_REG_R | ROLE_RM_R, 0, TF_ALL);
    row(one, 0x86, TK_MODRM, RW_REG | RW_RM | ROLE_BYTE, 0, 0);
    row(one, 0x87, TK_MODRM, RW_REG | RW_RM, 0, 0);
    row(one, 0x88, TK_MODRM, ROLE_REG_R | ROLE_RM_W | ROLE_BYTE, 0, 0);
    row(one, 0x89, TK_MODRM, ROLE_REG_R | ROLE_RM_W, 0, 0);
    row(one, 0x8a, TK_MODRM, ROLE_REG_W | ROLE_RM_R | ROLE_BYTE, 0, 0);
    row(one, 0x8b, TK_MODRM, ROLE_REG_W | ROLE_RM_R, 0, 0);
    row(one, 0x8c, TK_SREG, 0, 0, 0);
    row(one, 0x8d, TK_LEA, 0, 0, 0);
    row(one, 0x8f, TK_POP_M, 0, 0, 0);
    row(one, 0x98, TK_PLAIN, 0, 0, 0);
    row(one, 0x99, TK_PLAIN, 0, 0, 0);
    row(one, 0x9c, TK_PUSHF, 0, TF_ALL, 0);
    row(one, 0x9d, TK_POPF, 0, 0, TF_ALL);
    row(one, 0x9e, TK_PLAIN, 0, 0, TF_ALL & ~TF_O); /* SAHF */
    row(one, 0x9f, TK_PLAIN, 0, TF_ALL & ~TF_O, 0);
    row(one, 0xf5, TK_PLAIN, 0, TF_C, TF_C);
    row(one, 0xf8, TK_PLAIN, 0, 0, TF_C);
    row(one, 0xf9, TK_PLAIN, 0, 0, TF_C);
    row(one, 0xfa, TK_CLI, 0, 0, 0);
    row(one, 0xfb, TK_STI, 0, 0, 0);
    row(one, 0xfc, TK_CLD, 0, 0, 0);
    row(one, 0xfd, TK_STD, 0, 0, 0);
    for (unsigned k = 0; k < 4; k++)
        row(one, 0xa0 + k, TK_MOFFS, k & 1 ? 0 : ROLE_BYTE, 0, 0);
    string_rows();
    row(one, 0xa8, TK_ACC_IMM, ROLE_BYTE, 0, TF_ALL);
    row(one, 0xa9, TK_ACC_IMM, 0, 0, TF_ALL);
    row(one, 0xc2, TK_RET, 0, 0, 0);
    row(one, 0xc3, TK_RET, 0, 0, 0);
    row(one, 0xc9, TK_LEAVE, 0, 0, 0);
    row(one, 0xe0, TK_LOOP, 0, TF_Z, 0);
    row(one, 0xe1, TK_LOOP, 0, TF_Z, 0);
    row(one, 0xe2, TK_LOOP, 0, 0, 0);
    row(one, 0xe3, TK_LOOP, 0, 0, 0);
    row(one, 0xe8, TK_CALL, 0, 0, 0);
    row(one, 0xe9, TK_JMP, 0, 0, 0);
    row(one, 0xeb, TK_JMP, 0, 0, 0);
}

static void two_rows(void)
{
    row(two, 0x0d, TK_NOP, 0, 0, 0); /* PREFETCH */
    for (unsigned k = 0x18; k < 0x20; k++)
        row(two, k, TK_NOP, 0, 0, 0);
    for (unsigned k = 0; k < 16; k++) {
        row(two, 0x40 + k, TK_MODRM, RW_REG | ROLE_RM_R, cc_reads[k >> 1], 0);
        row(two, 0x80 + k, TK_JCC, 0, cc_reads[k >> 1], 0);
        row(two, 0x90 + k, TK_MODRM, ROLE_RM_W | ROLE_BYTE, cc_reads[k >> 1], 0);
    }
    row(two, 0x31, TK_RDTSC, 0, 0, 0);
    row(two, 0xa3, TK_BT_REG, ROLE_REG_R | ROLE_RM_R, 0, TF_C);
    row(two, 0xab, TK_BT_REG, ROLE_REG_R | RW_RM, 0, TF_C);
    row(two, 0xb3, TK_BT_REG, ROLE_REG_R | RW_RM, 0, TF_C);
    row(two, 0xbb, TK_BT_REG, ROLE_REG_R | RW_RM, 0, TF_C);
    row(two, 0xa4, TK_MODRM, ROLE_REG_R | RW_RM, 0, TF_C | TF_P | TF_Z | TF_S); /* SHLD imm */
    row(two, 0xac, TK_MODRM, ROLE_REG_R | RW_RM, 0, TF_C | TF_P | TF_Z | TF_S);
    row(two, 0xa5, TK_SHIFT_CL, ROLE_REG_R | RW_RM, 0, 0);
    row(two, 0xad, TK_SHIFT_CL, ROLE_REG_R | RW_RM, 0, 0);
    row(two, 0xaf, TK_MODRM, RW_REG | ROLE_RM_R, 0, TF_C | TF_O);
    row(two, 0xb0, TK_MODRM, ROLE_REG_R | RW_RM | ROLE_BYTE, 0, TF_ALL); /* CMPXCHG */
    row(two, 0xb1, TK_MODRM, ROLE_REG_R | RW_RM, 0, TF_ALL);
    row(two, 0xb6, TK_MODRM, ROLE_REG_W | ROLE_RM_R | ROLE_RM8, 0, 0);
    row(two, 0xb7, TK_MODRM, ROLE_REG_W | ROLE_RM_R | ROLE_RM16, 0, 0);
    row(two, 0xbe, TK_MODRM, ROLE_REG_W | ROLE_RM_R | ROLE_RM8, 0, 0);
    row(two, 0xbf, TK_MODRM, ROLE_REG_W | ROLE_RM_R | ROLE_RM16, 0, 0);
    row(two, 0xb8, TK_MODRM, ROLE_REG_W | ROLE_RM_R, 0, TF_ALL);     /* POPCNT */
    row(two, 0xbc, TK_MODRM, RW_REG | ROLE_RM_R, 0, TF_Z);           /* BSF, TZCNT */
    row(two, 0xbd, TK_MODRM, RW_REG | ROLE_RM_R, 0, TF_Z);           /* BSR, LZCNT */
    row(two, 0xc0, TK_MODRM, RW_REG | RW_RM | ROLE_BYTE, 0, TF_ALL); /* XADD */
    row(two, 0xc1, TK_MODRM, RW_REG | RW_RM, 0, TF_ALL);
    row(two, 0xc3, TK_MODRM, ROLE_REG_R | ROLE_RM_W, 0, 0); /* MOVNTI */
    for (unsigned k = 0; k < 8; k++)
        row(two, 0xc8 + k, TK_BSWAP, 0, 0, 0);
    two[0xbc].maybe = two[0xbd].maybe = TF_ALL & ~TF_Z;
    two[0xaf].maybe = one[0x69].maybe = one[0x6b].maybe = TF_P | TF_A | TF_Z | TF_S;
}

static void tables_make(void)
{
    one_rows();
    two_rows();
    row(three38, 0xf0, TK_MODRM, ROLE_REG_W | ROLE_RM_R, 0, 0); /* MOVBE */
    row(three38, 0xf1, TK_MODRM, ROLE_REG_R | ROLE_RM_W, 0, 0);
}

/* ---- groups, where ModRM.reg is part of the opcode ---- */

static void group1(struct tr_op *o, unsigned n, unsigned roles)
{
    bool cmp = n == 7;

    *o = (struct tr_op){.kind = TK_MODRM,
                        .roles = (uint16_t)(roles | ROLE_RM_R | (cmp ? 0 : ROLE_RM_W)),
                        .reads = n == 2 || n == 3 ? TF_C : 0,
                        .writes = TF_ALL};
}

/* imm: the count, or -1 for CL. */
static void group2(struct tr_op *o, unsigned n, unsigned roles, int imm)
{
    *o = (struct tr_op){.kind = imm < 0 ? TK_SHIFT_CL : TK_MODRM,
                        .roles = (uint16_t)(roles | RW_RM)};
    if (n == 2 || n == 3)
        o->reads = TF_C;
    if (imm > 0)
        o->writes = n >= 4 ? TF_C | TF_P | TF_Z | TF_S | TF_O | TF_A : TF_C | TF_O;
    o->maybe = TF_ALL & ~o->writes;
}

static void group3(struct tr_op *o, unsigned n, unsigned roles)
{
    static const uint8_t writes[8] = {TF_ALL, TF_ALL, 0, TF_ALL, TF_C | TF_O, TF_C | TF_O, 0, 0};

    *o = (struct tr_op){.kind = TK_MODRM,
                        .roles = (uint16_t)(roles | ROLE_RM_R | (n == 2 || n == 3 ? ROLE_RM_W : 0)),
                        .writes = writes[n]};
    if (n >= 4)
        o->maybe = TF_ALL & ~o->writes;
}

static void group5(struct tr_op *o, unsigned n)
{
    static const uint8_t kind[8] = {TK_MODRM, TK_MODRM,  TK_CALL_M, TK_INTERP,
                                    TK_JMP_M, TK_INTERP, TK_PUSH_M, TK_INTERP};

    *o = (struct tr_op){.kind = kind[n]};
    if (n < 2) {
        o->roles = RW_RM;
        o->writes = TF_ALL & ~TF_C;
    }
}

static void one_groups(struct tr_insn *d)
{
    struct tr_op *o = &d->op;
    unsigned n = d->modrm >> 3 & 7;

    switch (d->opcode) {
    case 0x80:
    case 0x82:            /* the same, outside 64-bit mode */
        d->opcode = 0x80; /* as it is emitted */
        group1(o, n, ROLE_BYTE);
        break;
    case 0x81:
    case 0x83:
        group1(o, n, 0);
        break;
    case 0xc0:
    case 0xc1: {
        bool byte = !(d->opcode & 1); /* REX.W says nothing then */
        group2(o, n, byte ? ROLE_BYTE : 0, d->imm[0] & (d->w && !byte ? 63 : 31));
        break;
    }
    case 0xd0:
    case 0xd1:
        group2(o, n, d->opcode & 1 ? 0 : ROLE_BYTE, 1);
        break;
    case 0xd2:
    case 0xd3:
        group2(o, n, d->opcode & 1 ? 0 : ROLE_BYTE, -1);
        break;
    case 0xc6:
    case 0xc7:
        if (n == 0)
            *o = (struct tr_op){.kind = TK_MODRM,
                                .roles = ROLE_RM_W | (d->opcode & 1 ? 0 : ROLE_BYTE)};
        break;
    case 0xf6:
    case 0xf7:
        group3(o, n, d->opcode & 1 ? 0 : ROLE_BYTE);
        break;
    case 0xfe:
        if (n < 2)
            group5(o, n);
        o->roles |= ROLE_BYTE;
        break;
    case 0xff:
        group5(o, n);
        break;
    default:
        break;
    }
}

static void two_groups(struct tr_insn *d)
{
    unsigned n = d->modrm >> 3 & 7;

    if (d->opcode == 0x01 && d->modrm == 0xf8)
        d->op.kind = TK_SWAPGS;
    else if (d->opcode == 0x01 && d->modrm == 0xf9) /* RDTSCP */
        d->op.kind = TK_RDTSC;
    else if (d->opcode == 0x20 && d->reg == 2)
        d->op.kind = TK_CR2;
    else if (d->opcode == 0x01 && (d->modrm == 0xca || d->modrm == 0xcb))
        d->op.kind = d->modrm == 0xca ? TK_CLAC : TK_STAC;
    else if (d->opcode == 0xba && n >= 4) /* BT BTS BTR BTC imm8 */
        d->op = (struct tr_op){.kind = TK_MODRM,
                               .roles = n == 4 ? ROLE_RM_R : RW_RM,
                               .writes = TF_C,
                               .maybe = TF_ALL & ~TF_C};
    else if (d->opcode == 0xc7 && n == 1 && (d->modrm & 0xc0) != 0xc0)
        d->op = (struct tr_op){.kind = TK_CMPXCHGB, .writes = TF_Z};
    else if (d->opcode == 0xae && (d->modrm & 0xc0) == 0xc0 && n >= 5 && !d->i->rep && !d->p66)
        d->op.kind = TK_PLAIN; /* LFENCE MFENCE SFENCE */
    /* TZCNT and LZCNT define CF too. */
    if ((d->opcode == 0xbc || d->opcode == 0xbd) && d->i->rep == 0xf3)
        d->op.writes |= TF_C, d->op.maybe &= ~TF_C;
    if ((d->opcode == 0xa4 || d->opcode == 0xac) && !(d->imm[0] & (d->w ? 63 : 31)))
        d->op.writes = 0; /* shifts by nothing */
    if (d->opcode == 0xb8 && d->i->rep != 0xf3)
        d->op.kind = TK_INTERP;
}

/* ADCX, ADOX, CRC32, MOVBE and the VEX-encoded general instructions */
static void three_rows(struct tr_insn *d)
{
    if (d->vex || d->map != 2)
        return;
    d->op = three38[d->opcode];
    if (d->opcode == 0xf6 && d->i->rep == 0xf3)
        d->op = (struct tr_op){TK_MODRM, RW_REG | ROLE_RM_R, TF_O, TF_O, 0};
    else if (d->opcode == 0xf6 && d->p66)
        d->op = (struct tr_op){TK_MODRM, RW_REG | ROLE_RM_R, TF_C, TF_C, 0};
    else if ((d->opcode & 0xfe) == 0xf0 && d->i->rep == 0xf2) /* CRC32: a 32-bit result */
        d->op =
            (struct tr_op){TK_MODRM, RW_REG | ROLE_RM_R | (d->opcode & 1 ? 0 : ROLE_RM8), 0, 0, 0};
}

/* BMI1, BMI2 */
static void vex_general(struct tr_insn *d)
{
    const unsigned szoc = TF_S | TF_Z | TF_O | TF_C, rest = TF_A | TF_P;
    struct tr_op *o = &d->op;
    unsigned from_rm = ROLE_REG_W | ROLE_RM_R;

    if (d->map == 3 && d->opcode == 0xf0) { /* RORX */
        *o = (struct tr_op){TK_MODRM, (uint16_t)from_rm, 0, 0, 0};
        return;
    }
    if (d->map != 2)
        return;
    switch (d->opcode) {
    case 0xf2: /* ANDN */
        *o = (struct tr_op){TK_MODRM, (uint16_t)(from_rm | ROLE_V_R), 0, szoc, rest};
        break;
    case 0xf3: /* BLSR BLSMSK BLSI: vvvv is the destination */
        *o = (struct tr_op){TK_MODRM, ROLE_RM_R | ROLE_V_W, 0, szoc, rest};
        break;
    case 0xf5: /* BZHI; PDEP, PEXT */
        *o = (struct tr_op){TK_MODRM, (uint16_t)(from_rm | ROLE_V_R), 0, d->vpp == 0 ? szoc : 0,
                            d->vpp == 0 ? rest : 0};
        break;
    case 0xf6: /* MULX: rdx is itself */
        *o = (struct tr_op){TK_MODRM, (uint16_t)(from_rm | ROLE_V_W), 0, 0, 0};
        break;
    case 0xf7: /* BEXTR; SHLX SARX SHRX */
        *o = (struct tr_op){TK_MODRM, (uint16_t)(from_rm | ROLE_V_R), 0,
                            d->vpp == 0 ? TF_Z | TF_C | TF_O : 0, d->vpp == 0 ? TF_S | rest : 0};
        break;
    default:
        break;
    }
}

/* ---- bytes ---- */

static bool one_has_modrm(uint8_t op)
{
    if (op < 0x40)
        return (op & 7) < 4;
    return op == 0x62 || op == 0x63 || op == 0x69 || op == 0x6b || (op >= 0x80 && op < 0x90) ||
           (op & 0xfe) == 0xc0 || (op >= 0xc4 && op < 0xc8) || (op >= 0xd0 && op < 0xd4) ||
           (op >= 0xd8 && op < 0xe0) || (op & 0xfe) == 0xf6 || op >= 0xfe;
}

static bool two_has_modrm(uint8_t op)
{
    return !((op >= 5 && op < 0x0c) || op == 0x0e || (op >= 0x30 && op < 0x38) || op == 0x77 ||
             (op & 0xf0) == 0x80 || (op >= 0xa0 && op < 0xa3) || (op >= 0xa8 && op < 0xab) ||
             (op >= 0xc8 && op < 0xd0));
}

static const uint8_t *take_vex(struct tr_insn *d, const uint8_t *p)
{
    uint8_t b0 = *p++, b1 = *p++, last = b1;

    d->vex = true;
    d->map = 1;
    d->rex = b1 & 0x80 ? 0 : 4;
    if (b0 == 0xc4) {
        last = *p++;
        d->map = b1 & 31;
        d->rex |= (b1 & 0x40 ? 0 : 2) | (b1 & 0x20 ? 0 : 1);
        d->w = last & 0x80;
    }
    d->vvvv = ~last >> 3 & 15;
    d->vl = last >> 2 & 1;
    d->vpp = last & 3;
    d->opcode = *p++;
    return p;
}

static const uint8_t *take_opcode(struct tr_insn *d, const uint8_t *p)
{
    d->opcode = *p++;
    if (d->opcode != 0x0f)
        return p;
    d->map = 1;
    d->opcode = *p++;
    if (d->opcode == 0x38 || d->opcode == 0x3a) {
        d->map = d->opcode == 0x38 ? 2 : 3;
        d->opcode = *p++;
    }
    return p;
}

static const uint8_t *skip_operand(const struct tr_insn *d, const uint8_t *p)
{
    unsigned mod = d->modrm >> 6, rm = d->modrm & 7;

    if (mod == 3)
        return p;
    if (d->i->addrsize == 2)
        return p + (mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0);
    if (rm == 4) {
        uint8_t sib = *p++;
        if (mod == 0 && (sib & 7) == 5)
            return p + 4;
    } else if (mod == 0 && rm == 5) {
        return p + 4;
    }
    return p + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

/* REX counts only right before the opcode. */
static const uint8_t *take_prefixes(struct tr_insn *d, const uint8_t *p, bool code64)
{
    for (;; p++) {
        if (code64 && (*p & 0xf0) == 0x40) {
            d->rex = *p;
            continue;
        }
        switch (*p) {
        case 0x66:
            d->p66 = true;
            break;
        case 0xf0:
            d->lock = true;
            break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
        case 0x67:
        case 0xf2:
        case 0xf3:
            break;
        default:
            d->w = d->rex & 8;
            return p;
        }
        d->rex = 0;
    }
}

/* COMISx, PTEST, PCMPxSTRx, FCOMI set flags, FCMOV reads them. */
static void classify_vector(struct tr_insn *d)
{
    d->op = (struct tr_op){.kind = TK_VECTOR};
    if (!d->fpu || !(d->fpu->flags & FPU_FLAGS))
        return;
    bool x87 = !d->vex && d->map == 0;
    if (x87 && (d->opcode == 0xda || d->opcode == 0xdb) && (d->modrm >> 3 & 7) < 4)
        d->op.reads = TF_C | TF_Z | TF_P;
    else
        d->op.writes = TF_ALL;
}

/* VEX.W and EVEX.W where they do not choose the size of a general register (PCMPESTRx: eax, edx).
 */
static bool wide_matters(const struct tr_insn *d)
{
    if (!d->fpu)
        return false;
    if (d->evex || d->opcode == 0x92 || d->opcode == 0x93) /* KMOV */
        return tr_vector_general(d) == VEC_NONE;
    if (d->map == 1)
        return !(d->opcode == 0x2a || d->opcode == 0x2c || d->opcode == 0x2d || d->opcode == 0x6e ||
                 d->opcode == 0x7e);
    if (d->map != 3)
        return true;
    return d->opcode < 0x14 || (d->opcode > 0x22 && d->opcode != 0x60 && d->opcode != 0x61);
}

static void classify(struct tr_insn *d)
{
    if (d->fpu || (d->vex && d->map == 1 && d->opcode == 0x77)) {
        classify_vector(d);
    } else if (d->vex) {
        vex_general(d);
    } else if (d->map == 0) {
        d->op = one[d->opcode];
        one_groups(d);
    } else if (d->map == 1) {
        d->op = two[d->opcode];
        two_groups(d);
    } else {
        three_rows(d);
    }
}

/* AH..BH: byte registers 4..7 without any REX. */
static bool uses_high8(const struct tr_insn *d)
{
    unsigned roles = d->op.roles, rm_byte = roles & (ROLE_BYTE | ROLE_RM8);
    bool rm_reg = (d->modrm & 0xc0) == 0xc0;

    if (d->vex || (d->rex & 0x40))
        return false;
    if (d->op.kind == TK_MOV_RI)
        return (roles & ROLE_BYTE) && (d->opcode & 7) >= 4;
    if (!d->has_modrm)
        return false;
    return (rm_byte && rm_reg && (d->modrm & 7) >= 4) ||
           ((roles & ROLE_BYTE) && (roles & (ROLE_REG_R | ROLE_REG_W)) && (d->modrm >> 3 & 7) >= 4);
}

void tr_scan(const struct jit_cpu *c, const struct insn *i, struct tr_insn *out)
{
    bool code64 = c->mode == MODE_LONG64;
    const uint8_t *p;

    pthread_once(&once, tables_make);
    *out = (struct tr_insn){.i = i};
    if (i->flags & INSN_FPU)
        out->fpu = i->priv;
    p = take_prefixes(out, i->bytes, code64);
    bool vex = (*p == 0xc4 || *p == 0xc5) && (code64 || (p[1] & 0xc0) == 0xc0);
    bool evex = *p == 0x62 && (code64 || (p[1] & 0xc0) == 0xc0);
    p = evex ? tr_evex_take(out, p, code64) : vex ? take_vex(out, p) : take_opcode(out, p);
    if (!code64) { /* eight registers, of 32 bits */
        out->rex = 0;
        out->vvvv &= 7;
        out->w = out->w && wide_matters(out);
    }
    out->has_modrm = out->vex        ? !(out->map == 1 && out->opcode == 0x77)
                     : out->map == 0 ? one_has_modrm(out->opcode)
                     : out->map == 1 ? two_has_modrm(out->opcode)
                                     : true;
    if (out->has_modrm) {
        out->modrm = *p++;
        out->reg = (out->modrm >> 3 & 7) | (out->rex & 4 ? 8 : 0);
        out->rm = (out->modrm & 7) | (out->rex & 1 ? 8 : 0);
        tr_evex_registers(out);
        p = skip_operand(out, p);
    }
    out->imm = p;
    out->imm_len = (uint8_t)(i->bytes + i->len - p);
    classify(out);
    out->size = out->op.roles & ROLE_BYTE ? 1 : out->w ? 8 : out->p66 ? 2 : 4;
    if (out->vex || (out->map == 2 && out->opcode == 0xf6))
        out->size = out->w ? 8 : 4;
    if (!code64 && out->map == 0 && out->opcode == 0x63)
        out->op.kind = TK_INTERP; /* ARPL */
    if (!out->vex && out->map == 0 && out->opcode == 0x90) {
        if (i->rep == 0xf3)
            out->op.kind = TK_INTERP; /* PAUSE */
        else if (!(out->rex & 1))
            out->op.kind = TK_NOP;
    }
    if (out->op.kind >= TK_LODS && out->op.kind <= TK_MOVS && i->rep)
        out->op.kind = TK_INTERP;
    if (out->op.kind == TK_LOOP && i->addrsize == 2)
        out->op.kind = TK_INTERP;
    out->high8 = uses_high8(out);
    if (out->lock && !(i->flags & INSN_MEM))
        out->op.kind = TK_INTERP;
}
