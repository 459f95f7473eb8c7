/* tr_vec.c - vector, MMX and x87 instructions: executed as they are, with the guest's registers in
 * the host's units and only a memory operand or a general register renamed.
 *
 * Before the first one of a block (and after each call into C) the block asks whether the units
 * hold the guest's registers; when not, glue loads them.  Which instructions may run at all was
 * decided by the reviewed list of fpu_table.c; CR0, CR4 and XCR0 are part of the block's key.
 *
 * Exceptions: a misaligned operand, an unmasked SIMD or x87 exception arrive as signals and the
 * interpreter runs the instruction again (tr_run.c).
 *
 * x87 POINTERS.  FOP, FIP and FDP of the guest live in st.xsave, never in the host's unit.  FDP is
 * noted with each operand; FIP and FOP of a block's last data instruction when the block leaves,
 * or, when it stops half-way, by tr_x87_note(). */
#include "fpu.h"
#include "tr_emit.h"

enum tr_general tr_vector_general(const struct tr_insn *d)
{
    bool scalar = d->vex ? d->vpp >= 2 : d->i->rep != 0;

    if (d->map == 1) {
        switch (d->opcode) {
        case 0x2a:
            return scalar ? VEC_RM : VEC_NONE;
        case 0x2c:
        case 0x2d:
            return scalar ? VEC_REG : VEC_NONE;
        case 0x50:
        case 0xc5:
        case 0xd7:
            return VEC_REG;
        case 0x6e:
        case 0xc4:
            return VEC_RM;
        case 0x7e:
            return scalar ? VEC_NONE : VEC_RM_OUT;
        case 0x78: /* VCVTTSx2USI VCVTSx2USI */
        case 0x79:
            return d->evex && scalar ? VEC_REG : VEC_NONE;
        case 0x7b: /* VCVTUSI2Sx */
            return d->evex && scalar ? VEC_RM : VEC_NONE;
        case 0x92: /* KMOVx */
            return VEC_RM;
        case 0x93:
            return VEC_REG;
        default:
            return VEC_NONE;
        }
    }
    if (d->map == 2) /* VPBROADCASTx */
        return d->evex && d->opcode >= 0x7a && d->opcode <= 0x7c ? VEC_RM : VEC_NONE;
    if (d->map == 3) {
        if (d->opcode >= 0x14 && d->opcode <= 0x17)
            return VEC_RM_OUT;
        if (d->opcode == 0x20 || d->opcode == 0x22)
            return VEC_RM;
    }
    return VEC_NONE;
}

static bool is_x87(const struct tr_insn *d)
{
    return !d->vex && d->map == 0;
}

static bool vzero(const struct tr_insn *d)
{
    return d->vex && d->map == 1 && d->opcode == 0x77;
}

bool tr_vector_ok(const struct tr *t, const struct tr_insn *d)
{
    unsigned units = t->c->units, f;

    if (vzero(d))
        return t->code64 && (units & UNIT_AVX);
    f = d->fpu->flags;
    if ((f & FPU_UNIT_AVX512) && !(units & UNIT_AVX512))
        return false;
    if ((f & FPU_UNIT_SSE) && !(units & UNIT_SSE))
        return false;
    if ((f & FPU_UNIT_AVX) && !(units & UNIT_AVX))
        return false;
    if ((f & (FPU_UNIT_X87 | FPU_UNIT_MMX | FPU_X87)) && !(units & UNIT_X87))
        return false;
    if (f & FPU_LOADS_CW)
        return false;
    /* FNSTCW, FNSTSW; FNCLEX lowers FERR# */
    if ((f & FPU_NO_WAIT) && d->opcode == 0xdb)
        return false;
    return true;
}

/* ---- units ---- */

/* cmp byte [at], 0 and the call when it is; flags stay when they matter. */
static void when_zero(struct tr *t, const volatile void *at, uint32_t glue_at)
{
    uint8_t *live;

    if (t->flags == TR_HOST && t->in->live) {
        e_op(t, 0, 0, 1, 0xb6, HR_S1, op_abs(at)); /* movzx ecx, byte */
        uint8_t *load = e_jcc8(t, J8_JRCXZ);
        live = e_jcc8(t, J8_JMP);
        e_here8(t, load);
    } else {
        e_op(t, 0, 0, 0, 0x80, 7, op_abs(at));
        e8(t, 0);
        live = e_jcc8(t, J8_JNE);
    }
    e_call(t, glue(t, glue_at));
    e_here8(t, live);
}

static void want_units(struct tr *t, unsigned flags)
{
    bool vectors = !(flags & FPU_UNIT_X87) &&
                   (flags & (FPU_UNIT_SSE | FPU_UNIT_AVX | FPU_UNIT_AVX512 | FPU_MXCSR));

    if (vectors && !t->vec_known) {
        when_zero(t, &t->c->tr.vec_live, t->cache->glue.vec_load);
        t->vec_known = true;
    }
    if ((flags & (FPU_X87 | FPU_UNIT_X87 | FPU_UNIT_MMX)) && !t->x87_known) {
        tr_flags_clobber(t); /* this call does not keep them */
        when_zero(t, &t->c->x87_live, t->cache->glue.x87_load);
        t->x87_known = true;
    }
}

/* ---- x87 pointers ---- */

static bool has_pointers(const struct insn *i)
{
    return (i->flags & INSN_FPU) && (((const struct fpu_op *)i->priv)->flags & FPU_POINTERS);
}

void tr_x87_settle(struct tr *t)
{
    const struct insn *i;

    if (t->x87_last < 0)
        return;
    i = t->insn[t->x87_last].i;
    e_address(t, HR_S1, t->rip + t->insn[t->x87_last].off);
    e_store64(t, t->c->st.xsave + XS_FIP, HR_S1);
    e_op(t, 0x66, 0, 0, 0xc7, 0, op_abs(t->c->st.xsave + XS_FOP));
    e8(t, (uint8_t)((const struct fpu_op *)i->priv)->fop);
    e8(t, ((const struct fpu_op *)i->priv)->fop >> 8);
    t->x87_last = -1;
}

void tr_x87_note(struct jit_cpu *c, const struct tblock *t, unsigned index)
{
    for (unsigned n = t->kept_count; n-- > 0;) {
        const struct insn *i = &t->kept[n];
        if (i->off >= t->off[index] || !has_pointers(i))
            continue;
        xs_put64(c, XS_FIP, tr_block_rip(c->tr.cache, t) + i->off);
        xs_put16(c, XS_FOP, ((const struct fpu_op *)i->priv)->fop);
        return;
    }
}

/* ---- emitting ---- */

static void put(struct tr *t, const struct tr_insn *d, unsigned reg, struct opnd rm)
{
    if (d->evex) {
        rm.wide = true;
        e_segment(t, rm);
        tr_evex_prefix(t, d, reg, rm.reg);
        e_modrm(t, reg, rm);
    } else if (d->vex) {
        e_segment(t, rm);
        e8(t, 0xc4);
        e8(t, (reg & 8 ? 0 : 0x80) | 0x40 | (rex_b(rm) ? 0 : 0x20) | d->map);
        e8(t, d->w << 7 | (~d->vvvv & 15) << 3 | d->vl << 2 | d->vpp);
        e8(t, d->opcode);
        e_modrm(t, reg, rm);
    } else {
        uint8_t pfx = is_x87(d) ? 0 : d->i->rep ? d->i->rep : d->p66 ? 0x66 : 0;
        e_op(t, pfx, d->w ? E_W : 0, d->map, d->opcode, reg, rm);
    }
    memcpy(t->p, d->imm, d->imm_len);
    t->p += d->imm_len;
    /* A register number in the immediate has three bits outside 64-bit mode. */
    if (!t->code64 && d->vex && d->map == 3 && d->opcode >= 0x4a && d->opcode <= 0x4c)
        t->p[-1] &= 0x7f;
}

/* Host instructions that can fault by themselves.  Of the newer ones hosts refuse some that the
 * decoder takes: the interpreter raises #UD then. */
static bool may_fault(const struct tr_insn *d)
{
    return d->vex || d->fpu->align_mask || (d->fpu->flags & (FPU_MXCSR | FPU_X87));
}

static void note(struct tr *t, const struct tr_insn *d)
{
    if (may_fault(d))
        tr_note_fault(t);
}

/* PCMPxSTRI: the index goes to ecx. */
static void index_to_rcx(struct tr *t, const struct tr_insn *d)
{
    if (d->map == 3 && (d->opcode == 0x61 || d->opcode == 0x63))
        e_mov32(t, HR_RCX, HR_S1);
}

static void with_memory(struct tr *t, const struct tr_insn *d)
{
    bool write = d->fpu->flags & FPU_WRITE;
    unsigned reg = d->reg;

    if (d->fpu->flags & FPU_POINTERS) {
        if (t->in->live)
            tr_flags_clobber(t);
        tr_linear(t, 0);
        e_store64(t, t->c->st.xsave + XS_FDP, HR_S0);
        tr_probe(t, d->fpu->size, write, false);
    } else {
        tr_operand(t, d->fpu->size, write, !d->fpu->align_mask && !(d->fpu->flags & FPU_MASKED));
    }
    if (d->op.reads)
        tr_flags_need(t);
    if (tr_vector_general(d) == VEC_REG) { /* CVTxx2SI */
        unsigned h = hreg(d->reg);
        note(t, d);
        put(t, d, in_memory(h) ? HR_S1 : h, op_memory(t));
        if (in_memory(h))
            e_store64(t, &t->c->st.gpr[h - HR_MEM], HR_S1);
        return;
    }
    note(t, d);
    put(t, d, is_x87(d) ? d->modrm >> 3 & 7 : reg, op_memory(t));
}

static void with_registers(struct tr *t, const struct tr_insn *d)
{
    unsigned h;

    if (d->op.reads)
        tr_flags_need(t);
    switch (tr_vector_general(d)) {
    case VEC_REG:
        h = hreg(d->reg);
        note(t, d);
        put(t, d, in_memory(h) ? HR_S1 : h, op_reg(d->rm));
        if (in_memory(h))
            e_store64(t, &t->c->st.gpr[h - HR_MEM], HR_S1);
        break;
    case VEC_RM:
        h = hreg(d->rm);
        /* EVEX forms that take a register have none with memory, or scale its displacement. */
        if (d->fpu->flags & FPU_UNIT_AVX512)
            h = e_get(t, h, HR_S1);
        note(t, d);
        put(t, d, d->reg, op_of(t, h));
        break;
    case VEC_RM_OUT:
        h = hreg(d->rm);
        note(t, d);
        put(t, d, d->reg, op_reg(in_memory(h) ? HR_S1 : h));
        if (in_memory(h))
            e_store64(t, &t->c->st.gpr[h - HR_MEM], HR_S1);
        break;
    default:
        note(t, d);
        if (is_x87(d))
            put(t, d, d->modrm >> 3 & 7, op_reg(d->modrm & 7));
        else
            put(t, d, d->reg, op_reg(d->rm));
    }
}

void tr_vector(struct tr *t)
{
    const struct tr_insn *d = t->in;

    if (vzero(d)) {
        want_units(t, FPU_UNIT_AVX);
        e8(t, 0xc5), e8(t, d->vl ? 0xfc : 0xf8), e8(t, 0x77);
        return;
    }
    want_units(t, d->fpu->flags);
    if (!d->has_modrm) { /* EMMS */
        note(t, d);
        e8(t, 0x0f), e8(t, d->opcode);
    } else if (d->i->flags & INSN_MEM) {
        with_memory(t, d);
    } else {
        with_registers(t, d);
    }
    index_to_rcx(t, d);
    if (d->op.writes)
        t->flags = TR_HOST;
    if (d->fpu->flags & FPU_POINTERS)
        t->x87_last = d->index;
}
