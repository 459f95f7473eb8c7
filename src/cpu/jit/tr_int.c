/* tr_int.c - integer instructions: the same instruction with its registers renamed and its memory
 * operand at [S0].
 *
 * A guest register that lives in memory is read in place where the encoding allows it, else through
 * S1; what is written goes through S1 and back, always as 64 bits, so that a later load finds one
 * store to take it from. */
#include "tr_emit.h"

#include <glib.h>

/* Legacy prefix that is part of the opcode. */
static uint8_t mandatory(const struct tr_insn *d)
{
    bool needs = d->map == 1 ? d->opcode == 0xb8 || (d->opcode & 0xfe) == 0xbc
                             : d->map == 2 && (d->opcode == 0xf6 || (d->opcode & 0xfe) == 0xf0);
    return needs && (d->i->rep == 0xf3 || d->i->rep == 0xf2) ? d->i->rep : 0;
}

static bool is_divide(const struct tr_insn *d)
{
    return !d->vex && d->map == 0 && (d->opcode & 0xfe) == 0xf6 && (d->modrm >> 3 & 7) >= 6;
}

static void put_imm(struct tr *t, const struct tr_insn *d)
{
    memcpy(t->p, d->imm, d->imm_len);
    t->p += d->imm_len;
}

static void put_vex(struct tr *t, const struct tr_insn *d, unsigned reg, unsigned v, struct opnd rm)
{
    e_segment(t, rm);
    e8(t, 0xc4);
    e8(t, (reg & 8 ? 0 : 0x80) | 0x40 | (rex_b(rm) ? 0 : 0x20) | d->map);
    e8(t, d->w << 7 | (~v & 15) << 3 | d->vl << 2 | d->vpp);
    e8(t, d->opcode);
    e_modrm(t, reg, rm);
}

static void put(struct tr *t, const struct tr_insn *d, unsigned reg, unsigned v, struct opnd rm)
{
    unsigned how = (d->w ? E_W : 0);

    if (d->vex) {
        put_vex(t, d, reg, v, rm);
    } else {
        bool byte_reg = (d->op.roles & ROLE_BYTE) && (d->op.roles & (ROLE_REG_R | ROLE_REG_W));
        bool byte_rm = (d->op.roles & (ROLE_BYTE | ROLE_RM8)) && rm.kind == OP_REG;
        if (!d->high8 && ((byte_reg && reg >= 4) || (byte_rm && rm.reg >= 4)))
            how |= E_BYTE;
        if (is_divide(d))
            tr_note_fault(t);
        if (d->lock && rm.kind != OP_REG)
            e8(t, 0xf0);
        if (d->p66)
            e8(t, 0x66);
        e_op(t, mandatory(d), how, d->map, d->opcode, reg, rm);
    }
    put_imm(t, d);
}

unsigned tr_int_size(const struct tr_insn *d)
{
    return d->op.roles & ROLE_RM8    ? 1
           : d->op.roles & ROLE_RM16 ? 2
           : d->op.roles & ROLE_RM32 ? 4
                                     : d->size;
}

/* A write of less than 32 bits leaves the rest of the register. */
static bool partial(const struct tr_insn *d, unsigned size)
{
    return size < 4;
}

/* Host register that stands for a written guest register in memory: S1, loaded when it is read too
 * or only part of it is written. */
static unsigned through_s1(struct tr *t, unsigned h, bool reads)
{
    if (reads)
        e_load64(t, HR_S1, &t->c->st.gpr[h - HR_MEM]);
    return HR_S1;
}

static void store_back(struct tr *t, unsigned h)
{
    e_store64(t, &t->c->st.gpr[h - HR_MEM], HR_S1);
}

/* [S0] with a register operand. */
static void modrm_memory(struct tr *t, const struct tr_insn *d)
{
    unsigned roles = d->op.roles, reg = d->reg & 7, v = 0, back = 0;
    bool gpr = roles & (ROLE_REG_R | ROLE_REG_W);

    tr_operand(t, tr_int_size(d), roles & ROLE_RM_W, true);
    if (d->op.reads | (d->live_after & ~d->op.writes))
        if (d->op.reads | d->op.writes | d->op.maybe)
            tr_flags_need(t);
    if (gpr) {
        reg = hreg(d->reg);
        if (in_memory(reg)) {
            back = roles & ROLE_REG_W ? reg : 0;
            reg = through_s1(t, reg, (roles & ROLE_REG_R) || partial(d, d->size));
        }
    }
    if (roles & (ROLE_V_R | ROLE_V_W)) {
        v = hreg(d->vvvv);
        if (in_memory(v)) {
            unsigned m = v;
            v = HR_S1;
            if (roles & ROLE_V_R)
                e_load64(t, HR_S1, &t->c->st.gpr[m - HR_MEM]);
            else
                back = m;
        }
    }
    put(t, d, reg, v, op_memory(t));
    if (back)
        store_back(t, back);
}

/* XOR and SUB of a register with itself, which depend on nothing: so they stay where it lives in
 * memory. */
static bool zeroes(const struct tr_insn *d)
{
    unsigned alu = d->opcode & 0xf9; /* either direction, not of bytes */

    return !d->vex && d->map == 0 && (alu == 0x31 || alu == 0x29) && d->reg == d->rm &&
           d->size >= 4;
}

static void zero(struct tr *t, const struct tr_insn *d)
{
    put(t, d, HR_S1, 0, op_reg(HR_S1));
    store_back(t, hreg(d->rm));
}

/* ADD .. CMP and MOV that only read a register which lives in memory, into one that does not: the
 * opcode of the other direction reads it there. */
static bool reads_home(const struct tr_insn *d)
{
    bool alu = d->opcode < 0x40 && !(d->opcode & 6), mov = (d->opcode & 0xfe) == 0x88;

    return !d->vex && d->map == 0 && (alu || mov) && in_memory(hreg(d->reg)) &&
           !in_memory(hreg(d->rm));
}

static void read_home(struct tr *t, const struct tr_insn *d)
{
    struct tr_insn other = *d;

    other.opcode |= 2;
    put(t, &other, hreg(d->rm), 0, op_gpr(t, d->reg));
}

/* MOV of all of a register to one that lives in memory. */
static bool writes_home(const struct tr_insn *d)
{
    return !d->vex && d->map == 0 && d->opcode == 0x89 && d->size == 8 && in_memory(hreg(d->rm)) &&
           !in_memory(hreg(d->reg));
}

/* Two registers: either may live in memory, S0 and S1 are both free. */
static void modrm_registers(struct tr *t, const struct tr_insn *d)
{
    unsigned roles = d->op.roles, reg = d->reg & 7, rm = hreg(d->rm), v = 0;
    unsigned reg_home = 0, rm_home = 0, v_home = 0;

    if (in_memory(rm) && zeroes(d)) {
        zero(t, d);
        return;
    }
    if (reads_home(d)) {
        read_home(t, d);
        return;
    }
    if (writes_home(d)) {
        e_store64(t, &t->c->st.gpr[d->rm], hreg(d->reg));
        return;
    }
    if (roles & (ROLE_REG_R | ROLE_REG_W)) {
        reg = hreg(d->reg);
        if (in_memory(reg)) {
            reg_home = reg;
            if ((roles & ROLE_REG_R) || partial(d, d->size))
                e_load64(t, HR_S1, &t->c->st.gpr[reg - HR_MEM]);
            reg = HR_S1;
        }
    }
    if (roles & (ROLE_V_R | ROLE_V_W)) {
        v = hreg(d->vvvv);
        if (in_memory(v)) {
            v_home = v;
            v = reg_home ? HR_S0 : HR_S1;
            if (roles & ROLE_V_R)
                e_load64(t, v, &t->c->st.gpr[v_home - HR_MEM]);
        }
    }
    struct opnd o = op_of(t, rm);
    if (in_memory(rm) && ((roles & ROLE_RM_W) || d->op.kind == TK_BT_REG)) {
        rm_home = roles & ROLE_RM_W ? rm : 0;
        o = op_reg(HR_S0);
        if ((roles & ROLE_RM_R) || partial(d, tr_int_size(d)))
            e_load64(t, HR_S0, &t->c->st.gpr[rm - HR_MEM]);
    }
    put(t, d, reg, v, o);
    if (rm_home)
        e_store64(t, &t->c->st.gpr[rm_home - HR_MEM], HR_S0);
    if (v_home && (roles & ROLE_V_W)) /* MULX: of one register twice the upper half stays */
        e_store64(t, &t->c->st.gpr[v_home - HR_MEM], v);
    if (reg_home && (roles & ROLE_REG_W))
        e_store64(t, &t->c->st.gpr[reg_home - HR_MEM], reg);
}

/* The bit that a number in a register names: in the word of memory that it lies in. */
static void bt_memory(struct tr *t, const struct tr_insn *d)
{
    unsigned h = hreg(d->reg), log2 = d->w ? 3 : 2;
    bool write = d->op.roles & ROLE_RM_W;

    if (d->live)
        tr_flags_clobber(t);
    tr_linear(t, 0);
    unsigned number = e_get(t, h, HR_S1);
    e_op(t, 0, E_W, 0, d->w ? 0x8b : 0x63, HR_S1, op_reg(number)); /* movsxd of 32 bits */
    e_op(t, 0, E_W, 0, 0xc1, 7, op_reg(HR_S1)), e8(t, (uint8_t)(log2 + 3));
    e_lea(t, true, HR_S0, HR_S0, HR_S1, log2, 0);
    tr_probe(t, 1u << log2, write, !write);
    e_mov32(t, HR_S1, e_get(t, h, HR_S1));
    e_op(t, 0, 0, 0, 0x83, 4, op_reg(HR_S1)), e8(t, (uint8_t)((8u << log2) - 1));
    if (d->live_after & ~d->op.writes) {
        e_store64(t, &t->c->tr.value, HR_S1);
        tr_flags_need(t);
        e_load64(t, HR_S1, &t->c->tr.value);
    }
    if (!write)
        e_op(t, 0, d->w ? E_W : 0, 0, 0x8b, HR_S0, op_memory(t));
    struct opnd o = write ? op_memory(t) : op_reg(HR_S0);
    if (d->lock)
        e8(t, 0xf0);
    e_op(t, 0, d->w ? E_W : 0, 1, d->opcode, HR_S1, o);
}

static void from_sreg(struct tr *t, const struct tr_insn *d)
{
    unsigned h = hreg(d->rm), to = in_memory(h) ? HR_S1 : h;

    e_op(t, 0, 0, 1, 0xb7, to, op_abs(&t->c->st.seg[d->modrm >> 3 & 7].sel)); /* movzx, word */
    if (in_memory(h))
        store_back(t, h);
}

/* ---- AH, CH, DH, BH ---- */

static bool is_high(const struct tr_insn *d, unsigned n)
{
    return !(d->rex & 0x40) && n >= 4 && n < 8;
}

/* The encoding of byte register n without REX; 4 and more for a low one that has none.  The guest's
 * rcx is in S1 meanwhile, which is the host's rcx, when CH is among the operands. */
static unsigned byte_number(const struct tr_insn *d, unsigned n, bool ch)
{
    return is_high(d, n) || (ch && n == R_RCX) ? n : hreg(n) < 4 ? hreg(n) : HR_MEM;
}

static bool of_rcx(const struct tr_insn *d, unsigned n)
{
    return n == R_RCX || (is_high(d, n) && n - 4 == R_RCX);
}

static bool byte_reg(const struct tr_insn *d)
{
    return (d->op.roles & ROLE_BYTE) && (d->op.roles & (ROLE_REG_R | ROLE_REG_W));
}

static bool has_ch(const struct tr_insn *d)
{
    return !(d->rex & 0x40) &&
           ((byte_reg(d) && d->reg == 5) || (!(d->i->flags & INSN_MEM) && d->rm == 5));
}

/* MOVZX, MOVSX: through S1. */
static void high_byte_extended(struct tr *t, const struct tr_insn *d)
{
    unsigned reg = hreg(d->reg);

    e8(t, 0x0f), e8(t, d->opcode), e8(t, 0xc0 | HR_S1 << 3 | d->rm);
    e_op(t, 0, d->w ? E_W : 0, 0, d->opcode == 0xbe && d->w ? 0x63 : 0x89,
         d->opcode == 0xbe && d->w ? reg : HR_S1, op_reg(d->opcode == 0xbe && d->w ? HR_S1 : reg));
}

/* Only rax, rdx, rbx and S1 have their high byte within reach, and only without REX. A source that
 * is extended is first copied to S1; other forms are encoded when nothing asks for REX. */
static void high_byte(struct tr *t, const struct tr_insn *d)
{
    unsigned roles = d->op.roles;
    bool mem = d->i->flags & INSN_MEM, ch = has_ch(d), back = false;

    if (mem) {
        tr_operand(t, 1, roles & ROLE_RM_W, true);
        if (d->op.reads)
            tr_flags_need(t);
    }
    if (ch)
        e_mov(t, HR_S1, HR_RCX);
    if (!mem && (roles & ROLE_RM8)) {
        high_byte_extended(t, d);
    } else if (mem) {
        put(t, d, d->reg, 0, op_memory(t)); /* the raw number, and [rdi] needs no REX */
        back = roles & ROLE_REG_W;
    } else if (!(roles & (ROLE_REG_R | ROLE_REG_W))) {
        put(t, d, d->reg & 7, 0, op_reg(d->rm));
        back = roles & ROLE_RM_W;
    } else {
        put(t, d, byte_number(d, d->reg, ch), 0, op_reg(byte_number(d, d->rm, ch)));
        back = ((roles & ROLE_REG_W) && of_rcx(d, d->reg)) ||
               ((roles & ROLE_RM_W) && of_rcx(d, d->rm));
    }
    if (ch && back)
        e_mov(t, HR_RCX, HR_S1);
}

/* Whether high_byte can do it. */
static bool high_byte_ok(const struct tr_insn *d)
{
    bool mem = d->i->flags & INSN_MEM;

    if (d->op.kind != TK_MODRM || d->lock)
        return false;
    if (!mem && (d->op.roles & ROLE_RM8))
        return d->map == 1 && !in_memory(hreg(d->reg)) && d->size >= 4;
    if (mem || !(d->op.roles & (ROLE_REG_R | ROLE_REG_W)))
        return true;
    return byte_number(d, d->reg, has_ch(d)) < 8 && byte_number(d, d->rm, has_ch(d)) < 8;
}

/* ---- one by one ---- */

static void acc_imm(struct tr *t, const struct tr_insn *d)
{
    if (d->p66)
        e8(t, 0x66);
    if (d->w)
        e8(t, 0x48);
    e8(t, d->opcode);
    put_imm(t, d);
}

static void mov_ri(struct tr *t, const struct tr_insn *d)
{
    unsigned guest = opcode_reg(d), h = hreg(guest);
    uint64_t v = 0;

    memcpy(&v, d->imm, d->imm_len);
    if (d->size >= 4) {
        if (in_memory(h) && fits32(v)) {
            e_op(t, 0, E_W, 0, 0xc7, 0, op_gpr(t, guest));
            e32(t, (uint32_t)v);
            return;
        }
        e_const(t, in_memory(h) ? HR_S1 : h, v);
        if (in_memory(h))
            store_back(t, h);
        return;
    }
    unsigned to = in_memory(h) ? through_s1(t, h, true) : h;
    if (d->size == 2) {
        e_op(t, 0x66, 0, 0, 0xc7, 0, op_reg(to));
        e8(t, (uint8_t)v), e8(t, (uint8_t)(v >> 8));
    } else {
        e_op(t, 0, to >= 4 ? E_BYTE : 0, 0, 0xc6, 0, op_reg(to));
        e8(t, (uint8_t)v);
    }
    if (in_memory(h))
        store_back(t, h);
}

static void incdec32(struct tr *t, const struct tr_insn *d)
{
    e_op(t, d->p66 ? 0x66 : 0, 0, 0, 0xff, d->opcode >> 3 & 1, op_reg(hreg(d->opcode & 7)));
}

static void xchg_acc(struct tr *t, const struct tr_insn *d)
{
    unsigned h = hreg(opcode_reg(d));
    unsigned how = d->w ? E_W : 0;
    uint8_t pfx = d->p66 ? 0x66 : 0;

    if (!in_memory(h)) {
        e_op(t, pfx, how, 0, 0x87, HR_RAX, op_reg(h));
        return;
    }
    through_s1(t, h, true);
    e_op(t, pfx, how, 0, 0x87, HR_RAX, op_reg(HR_S1));
    store_back(t, h);
}

static void bswap(struct tr *t, const struct tr_insn *d)
{
    unsigned guest = opcode_reg(d), h = hreg(guest);
    unsigned r = e_get(t, h, HR_S1);

    if (d->p66) /* undefined, but the same as on the host */
        e8(t, 0x66);
    if (d->w || r >= 8)
        e8(t, 0x40 | d->w << 3 | r >> 3);
    e8(t, 0x0f), e8(t, 0xc8 | (r & 7));
    if (in_memory(h))
        store_back(t, h);
}

static void lea(struct tr *t, const struct tr_insn *d)
{
    const struct insn *i = d->i;
    unsigned h = hreg(d->reg);
    bool wide = i->addrsize == 8 && d->w;

    if (i->base != 16 && d->size >= 4 && i->addrsize >= 4 && !in_memory(h)) {
        unsigned base = i->base < 16 ? e_get(t, hreg(i->base), HR_S0) : HR_MEM;
        unsigned index = i->index < 16 ? e_get(t, hreg(i->index), HR_S1) : HR_MEM;
        e_lea(t, wide, h, base, index, i->scale_shift, i->disp);
        return;
    }
    struct insn flat = *i;
    flat.seg = SEG_DS; /* a segment prefix says nothing here */
    t->in->i = &flat;
    tr_linear(t, 0);
    t->in->i = i;
    if (in_memory(h) && d->size == 2) {
        e_op(t, 0x66, 0, 0, 0x89, HR_S0, op_gpr(t, d->reg));
    } else if (in_memory(h)) {
        if (d->size == 4)
            e_mov32(t, HR_S0, HR_S0);
        e_store64(t, &t->c->st.gpr[h - HR_MEM], HR_S0);
    } else {
        e_op(t, d->size == 2 ? 0x66 : 0, d->w ? E_W : 0, 0, 0x89, HR_S0, op_reg(h));
    }
}

static void moffs(struct tr *t, const struct tr_insn *d)
{
    bool store = d->opcode & 2;
    unsigned byte = d->opcode & 1 ? 1 : 0;

    tr_linear(t, 0);
    tr_probe(t, d->size, store, true);
    e_op(t, d->p66 ? 0x66 : 0, d->w ? E_W : 0, 0, (store ? 0x88 : 0x8a) + byte, HR_RAX,
         op_memory(t));
}

static void shift_cl(struct tr *t, const struct tr_insn *d)
{
    bool has_reg = d->op.roles & ROLE_REG_R, mem = d->i->flags & INSN_MEM;
    unsigned reg = has_reg ? hreg(d->reg) : d->reg & 7, rm = hreg(d->rm);
    struct opnd o = op_reg(rm);

    if (mem) {
        tr_operand(t, d->size, true, false);
    } else if (in_memory(rm)) {
        e_load64(t, HR_S0, &t->c->st.gpr[rm - HR_MEM]);
        o = op_reg(HR_S0);
    }
    if (d->op.reads | d->live_after)
        tr_flags_need(t);
    e_mov32(t, HR_S1, HR_RCX);
    put(t, d, reg, 0, mem ? op_memory(t) : o);
    if (!mem && in_memory(rm))
        e_store64(t, &t->c->st.gpr[rm - HR_MEM], HR_S0);
}

static void cmpxchgb(struct tr *t, const struct tr_insn *d)
{
    tr_operand(t, d->w ? 16 : 8, true, false);
    if (d->live_after & ~TF_Z)
        tr_flags_need(t);
    e_mov(t, HR_S1, HR_RCX);
    if (d->w) {
        tr_note_fault(t); /* misaligned */
        t->in->keep = true;
    }
    struct opnd o = op_memory(t);
    if (d->lock)
        e8(t, 0xf0);
    e_op(t, 0, d->w ? E_W : 0, 1, 0xc7, 1, o);
}

/* ---- ---- */

/* What cannot be encoded with the registers as they are. */
bool tr_int_beyond_reach(const struct tr_insn *d)
{
    if (d->high8)
        return !high_byte_ok(d);
    if (d->op.kind == TK_SHIFT_CL)
        return (d->op.roles & ROLE_REG_R) && in_memory(hreg(d->reg));
    if (d->op.kind == TK_BT_REG && (d->i->flags & INSN_MEM))
        return d->i->addrsize != 8 || d->size < 4;
    if (d->op.kind == TK_SREG)
        return (d->i->flags & INSN_MEM) || d->size < 4;
    /* MULX from memory: S0 is the address, and there is one other */
    if ((d->i->flags & INSN_MEM) && (d->op.roles & ROLE_REG_W) && (d->op.roles & ROLE_V_W))
        return in_memory(hreg(d->reg)) && in_memory(hreg(d->vvvv));
    /* XCHG and CMPXCHG of one register with itself in memory */
    return !(d->i->flags & INSN_MEM) && (d->op.roles & ROLE_REG_W) && (d->op.roles & ROLE_RM_W) &&
           in_memory(hreg(d->reg)) && d->reg == d->rm;
}

static void modrm(struct tr *t, const struct tr_insn *d)
{
    if (d->high8)
        high_byte(t, d);
    else if (d->i->flags & INSN_MEM)
        modrm_memory(t, d);
    else
        modrm_registers(t, d);
}

void tr_int(struct tr *t)
{
    const struct tr_insn *d = t->in;
    bool touches = d->op.reads | d->op.writes | d->op.maybe;

    if (tr_int_beyond_reach(d)) {
        tr_interp(t);
        return;
    }
    if (touches && !(d->i->flags & INSN_MEM) && (d->op.reads | (d->live_after & ~d->op.writes)))
        tr_flags_need(t);
    switch (d->op.kind) {
    case TK_BT_REG:
        if (d->i->flags & INSN_MEM)
            bt_memory(t, d);
        else
            modrm(t, d);
        break;
    case TK_SREG:
        from_sreg(t, d);
        break;
    case TK_MODRM:
        modrm(t, d);
        break;
    case TK_PLAIN:
        memcpy(t->p, d->i->bytes, d->i->len);
        t->p += d->i->len;
        break;
    case TK_ACC_IMM:
        acc_imm(t, d);
        break;
    case TK_MOV_RI:
        mov_ri(t, d);
        break;
    case TK_INCDEC32:
        incdec32(t, d);
        break;
    case TK_XCHG_ACC:
        xchg_acc(t, d);
        break;
    case TK_BSWAP:
        bswap(t, d);
        break;
    case TK_LEA:
        lea(t, d);
        break;
    case TK_MOFFS:
        moffs(t, d);
        break;
    case TK_SHIFT_CL:
        shift_cl(t, d);
        break;
    case TK_CMPXCHGB:
        cmpxchgb(t, d);
        break;
    default:
        g_assert_not_reached();
    }
    if (touches)
        t->flags = TR_HOST;
}
