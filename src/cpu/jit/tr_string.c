/* tr_string.c - REP MOVS and REP STOS inside one page each, as the host's own.
 *
 * The routines are glue, one for each permission context and element size: they find both pages in
 * the TLB, check that the whole run lies in them and leave the copying to the host.  Whatever else
 * comes (DF, another page, MMIO, code pages) is the interpreter's, which does it page by page.
 * Short runs are the frequent ones: compilers and kernels use them for small copies. */
#include "tr_emit.h"

static bool is_movs(const struct tr_insn *d)
{
    return (d->opcode & 0xfe) == 0xa4;
}

static bool suits(const struct tr *t, const struct tr_insn *d)
{
    bool movs_or_stos = is_movs(d) || (d->opcode & 0xfe) == 0xaa;

    return t->code64 && !d->vex && d->map == 0 && !d->fpu && movs_or_stos && d->i->rep == 0xf3 &&
           d->i->addrsize == 8 && d->i->seg < SEG_FS;
}

bool tr_rep(struct tr *t)
{
    const struct tr_insn *d = t->in;
    unsigned size = d->opcode & 1 ? (d->w ? 3 : d->p66 ? 1 : 2) : 0;
    uint8_t *finished;

    if (!suits(t, d))
        return false;
    if (t->flags == TR_HOST)
        e_flags_save(t);
    t->flags = TR_MEM;
    e_call(t, glue(t, t->cache->glue.rep[t->ctx][!is_movs(d)][size]));
    finished = e_jcc8(t, J8_JRCXZ);
    tr_interp(t);
    e_here8(t, finished);
    return true;
}

/* ---- the routines ---- */

#define MISSES_MAX 6
struct misses {
    uint8_t *at[MISSES_MAX];
    unsigned count;
};

static void miss_if(struct tr *t, struct misses *m, unsigned cc)
{
    m->at[m->count++] = e_jcc(t, cc, t->p);
}

/* index = where the page of linear register `from` is in a table */
static void index_of(struct tr *t, unsigned index, unsigned from)
{
    e_mov32(t, index, from);
    e_op(t, 0, 0, 0, 0xc1, 5, op_reg(index));
    e8(t, GUEST_PAGE_SHIFT - 4);
    e_op(t, 0, 0, 0, 0x81, 4, op_reg(index));
    e32(t, (TLB_SIZE - 1) << 4);
}

/* opcode reg, [index + abs] */
static void at(struct tr *t, uint8_t opcode, unsigned reg, unsigned index, uint32_t abs)
{
    e8(t, 0x48 | reg >> 3 << 2 | index >> 3);
    e8(t, opcode);
    e8(t, 0x80 | (reg & 7) << 3 | (index & 7));
    e32(t, abs);
}

static void cmp_imm(struct tr *t, unsigned reg, uint32_t v)
{
    e_op(t, 0, E_W, 0, 0x81, 7, op_reg(reg));
    e32(t, v);
}

/* S1 = bytes; to = host address of [from, from + bytes). */
static void resolve(struct tr *t, struct misses *m, const struct tlb_hot *table, unsigned to,
                    unsigned from, unsigned index)
{
    index_of(t, index, from);
    e_mov(t, to, from);
    at(t, 0x2b, to, index, low32(&table->tag));
    cmp_imm(t, to, GUEST_PAGE_SIZE - 1);
    miss_if(t, m, CC_A);
    e_op(t, 0, E_W, 0, 0x01, to, op_reg(HR_S1)); /* add rcx, to */
    cmp_imm(t, HR_S1, GUEST_PAGE_SIZE);
    miss_if(t, m, CC_A);
    e_op(t, 0, E_W, 0, 0x29, to, op_reg(HR_S1));
    at(t, 0x03, to, index, low32(&table->host));
}

static void shift_s1(struct tr *t, unsigned kind, unsigned by)
{
    if (by) {
        e_op(t, 0, E_W, 0, 0xc1, kind, op_reg(HR_S1));
        e8(t, (uint8_t)by);
    }
}

static void host_rep(struct tr *t, bool stos, unsigned size)
{
    e8(t, 0xf3);
    if (size == 1)
        e8(t, 0x66);
    if (size == 3)
        e8(t, 0x48);
    e8(t, (stos ? 0xaa : 0xa4) | (size != 0));
}

/* Comes back with S1 = 0: done; 1: nothing has been done. Flags are free. */
static void routine(struct tr *t, const struct tlb_ctx *x, bool stos, unsigned size)
{
    struct misses m = {.count = 0};
    /* STOS needs rax: rdx and rsi take turns as index. */
    unsigned index = stos ? HR_RDX : HR_RAX;

    e_store64(t, &t->c->tr.keep[0], index);
    if (!stos)
        e_store64(t, &t->c->tr.keep[1], HR_RDX);
    e_op(t, 0, 0, 0, 0xf7, 0, op_abs(&t->c->st.rflags)); /* test dword, DF */
    e32(t, FL_DF);
    miss_if(t, &m, CC_NE);
    e_mov(t, HR_S1, HR_RCX);
    cmp_imm(t, HR_S1, GUEST_PAGE_SIZE >> size);
    miss_if(t, &m, CC_A);
    shift_s1(t, 4, size);
    if (!stos)
        resolve(t, &m, x->rd, HR_RDX, HR_RSI, index);
    resolve(t, &m, x->wr, HR_S0, HR_RDI, index);
    e_op(t, 0, E_W, 0, 0x01, HR_S1, op_reg(HR_RDI)); /* guest rdi, rsi: behind the run */
    if (!stos) {
        e_lea(t, true, HR_RAX, HR_RSI, HR_S1, 0, 0);
        e_mov(t, HR_RSI, HR_RDX);
    }
    shift_s1(t, 5, size);
    host_rep(t, stos, size);
    if (!stos)
        e_mov(t, HR_RSI, HR_RAX);
    e_op(t, 0, 0, 0, 0x31, HR_RCX, op_reg(HR_RCX)); /* guest rcx = 0, as rcx is now */
    e_load64(t, index, &t->c->tr.keep[0]);
    if (!stos)
        e_load64(t, HR_RDX, &t->c->tr.keep[1]);
    e8(t, 0xc3);
    for (unsigned n = 0; n < m.count; n++)
        patch_rel(m.at[n], t->p);
    e_load64(t, index, &t->c->tr.keep[0]);
    if (!stos)
        e_load64(t, HR_RDX, &t->c->tr.keep[1]);
    e_const(t, HR_S1, 1);
    e8(t, 0xc3);
}

void tr_rep_make(struct tr *t)
{
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        for (unsigned stos = 0; stos < 2; stos++) {
            for (unsigned size = 0; size < 4; size++) {
                t->cache->glue.rep[ctx][stos][size] = (uint32_t)(t->p - t->cache->rw);
                routine(t, &t->c->tlb[ctx], stos, size);
            }
        }
    }
}
