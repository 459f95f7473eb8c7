/* tr_mem.c - from a guest operand to a host address.
 *
 *   lea  S0, [operand]            linear
 *   rorx S1, S0, 8; and           16 bytes x (page mod 65536); without BMI2: mov, shr, and
 *   sub  S0, [S1 + tags]          offset in the page, if it is this page
 *   cmp  S0, 4096 - size; ja      another page, or across its end: out of line
 *   add  S0, [S1 + hosts]         host address
 *
 * The stack has a probe of its own, one page deep (tlb_ctx.stack): its page does not depend on the
 * address, so the load behind it need not wait for the index.  Misses fall back to the table in
 * glue code, which also moves the stack's page.
 *
 * Out of line, C fills the TLB and the probe is tried again.  When that cannot help (MMIO, a page
 * crossing), a load is done in C, or by glue when both pages are in the TLB, and its bytes put into
 * tr.bounce; anything else is run by the interpreter, which comes back behind the instruction
 * (stack and flow instructions: which translated code is left for). */
#include "tr_emit.h"

#define INDEX_SHIFT (GUEST_PAGE_SHIFT - 4) /* 16 bytes an entry */

static const struct tlb_hot *table(const struct tr *t, bool write)
{
    const struct tlb_ctx *x = &t->c->tlb[t->ctx];
    return write ? x->wr : x->rd;
}

/* ---- effective addresses ---- */

/* base + index + disp into S0 */
void tr_effective(struct tr *t, const struct insn *i, bool wide, int32_t disp)
{
    unsigned base = HR_MEM, index = HR_MEM;

    if (i->base < 16)
        base = e_get(t, hreg(i->base), HR_S0);
    if (i->index < 16)
        index = e_get(t, hreg(i->index), HR_S1);
    if (base == HR_MEM && index == HR_MEM)
        e_const(t, HR_S0, wide ? (uint64_t)(int64_t)disp : (uint32_t)disp);
    else if (index == HR_MEM && disp == 0 && wide) {
        if (base != HR_S0)
            e_mov(t, HR_S0, base);
    } else {
        e_lea(t, wide, HR_S0, base, index, i->scale_shift, disp);
    }
}

static void rip_relative(struct tr *t, int32_t add, bool wide)
{
    uint64_t linear = tr_next_rip(t) + (uint64_t)(int64_t)t->in->i->disp;

    e_address(t, HR_S0, wide || t->place ? linear + (uint64_t)(int64_t)add : (uint32_t)linear);
    if (!wide && t->place)
        e_mov32(t, HR_S0, HR_S0);
}

void tr_linear(struct tr *t, int32_t add)
{
    const struct insn *i = t->in->i;
    bool wide = i->addrsize == 8;

    if (i->base == 16)
        rip_relative(t, add, wide);
    else if (t->in->op.kind == TK_MOFFS)
        e_const(t, HR_S0, (uint64_t)i->imm);
    else
        tr_effective(t, i, wide, (int32_t)((uint32_t)i->disp + (uint32_t)add));
    if (i->seg >= SEG_FS && t->direct) {
        e_load64(t, HR_S1, &t->c->st.seg[i->seg].base);
        e_lea(t, true, HR_S0, HR_S0, HR_S1, 0, 0);
    } else if (i->seg >= SEG_FS) { /* outside 64-bit mode such operands are the interpreter's */
        tr_flags_clobber(t);
        e_op(t, 0, E_W, 0, 0x03, HR_S0, op_near(&t->c->st.seg[i->seg].base, 0));
    }
}

/* ---- probes ---- */

static void emit_index(struct tr *t)
{
    e_s1_shifted(t, INDEX_SHIFT);
    e8(t, 0x81), e8(t, 0xe1), e32(t, (TLB_SIZE - 1) << 4); /* and ecx */
}

/* cmp S0, 4096 - size; ja: returns the rel32 */
static uint8_t *emit_check(struct tr *t, unsigned size)
{
    e8(t, 0x48), e8(t, 0x81), e8(t, 0xff), e32(t, GUEST_PAGE_SIZE - size);
    return e_jcc(t, CC_A, t->p);
}

/* S0 = linear: calls C or glue, and goes on where it says. */
static void call_fill(struct tr *t, struct tr_ool *o)
{
    bool bounce = !(o->desc & (TR_DESC_WRITE | TR_DESC_NO_BOUNCE));
    bool in_place = !bounce && o->done;
    bool cross = bounce && TR_DESC_SIZE(o->desc) > 1 && TR_DESC_SIZE(o->desc) <= 8;
    const struct tr_glue *g = &t->cache->glue;
    uint8_t *retry;

    e8(t, 0xb8 | HR_S1), e32(t, o->desc | (in_place ? TR_DESC_IN_PLACE : 0));
    e_call(t, glue(t, cross ? g->cross[t->ctx] : g->fill));
    if (bounce || in_place) {
        retry = e_jcc8(t, J8_JRCXZ);
        if (in_place && o->done_flags == TR_HOST)
            e_flags_load(t);
        e_jmp(t, bounce ? o->back : o->done);
        e_here8(t, retry);
    }
    e_jmp(t, o->again);
}

/* S0 = linear - tag. */
static void probe_miss(struct tr *t, struct tr_ool *o)
{
    e_at_s1(t, 0x03, HR_S0, low32(&table(t, o->write)->tag));
    call_fill(t, o);
}

void tr_range(struct tr *t, struct tr_ool *o, unsigned size, bool write, bool stack)
{
    const struct tlb_hot *e = stack ? &t->c->tlb[t->ctx].stack : table(t, write);

    if (stack) {
        e_op(t, 0, E_W, 0, 0x2b, HR_S0, op_near(&e->tag, 0));
        o->from[0] = emit_check(t, size);
        e_op(t, 0, E_W, 0, 0x03, HR_S0, op_near(&e->host, 0));
        return;
    }
    emit_index(t);
    e_at_s1(t, 0x2b, HR_S0, low32(&e->tag));
    o->from[0] = emit_check(t, size);
    e_at_s1(t, 0x03, HR_S0, low32(&e->host));
}

void tr_probe(struct tr *t, unsigned size, bool write, bool bounce)
{
    struct tr_ool *o;

    if (t->direct) {
        tr_direct_linear(t);
        return;
    }
    tr_flags_clobber(t);
    o = tr_ool(t, probe_miss);
    o->again = t->p;
    o->write = write;
    o->desc =
        t->in->index | size << 8 | (write ? TR_DESC_WRITE : 0) | (bounce ? 0 : TR_DESC_NO_BOUNCE);
    tr_range(t, o, size, write, false);
    o->back = t->p;
}

static void stack_miss(struct tr *t, struct tr_ool *o)
{
    e_op(t, 0, E_W, 0, 0x03, HR_S0, op_abs(&t->c->tlb[t->ctx].stack.tag));
    e8(t, 0xb8 | HR_S1), e32(t, o->desc);
    e_call(t, glue(t, t->cache->glue.stack[t->ctx][o->write]));
    e_jmp(t, o->back);
}

/* S0 = linear, near the stack pointer. */
static void stack_probe(struct tr *t, unsigned size, bool write)
{
    struct tr_ool *o;

    tr_flags_clobber(t);
    o = tr_ool(t, stack_miss);
    o->write = write;
    o->desc = t->in->index | size << 8 | (write ? TR_DESC_WRITE : 0) | TR_DESC_NO_BOUNCE;
    tr_range(t, o, size, write, true);
    o->back = t->p;
}

void tr_stack(struct tr *t, unsigned base, int32_t disp, unsigned size, bool write)
{
    if (t->group)
        return;
    if (t->direct) {
        tr_direct_stack(t, base, disp);
        return;
    }
    if (disp == 0)
        e_op(t, 0, t->code64 ? E_W : 0, 0, 0x89, base, op_reg(HR_S0));
    else
        e_lea(t, t->code64, HR_S0, base, HR_MEM, 0, disp);
    stack_probe(t, size, write);
}

#define NEAR_STACK 1024 /* bytes from rsp that are likely in its page */

bool tr_near_stack(int32_t lo, int32_t hi)
{
    return lo > -NEAR_STACK && hi < NEAR_STACK;
}

static bool near_stack(const struct insn *i)
{
    return i->base == R_RSP && i->index == NOREG && i->seg < SEG_FS &&
           tr_near_stack(i->disp, i->disp);
}

/* An address known now: its slot is too.  Aside: the ordinary way. */
static void fixed_miss(struct tr *t, struct tr_ool *o)
{
    e_const(t, HR_S0, o->rip);
    call_fill(t, o);
}

static void fixed_probe(struct tr *t, uint64_t linear, unsigned size, bool write, bool bounce)
{
    const struct tlb_hot *e = table(t, write) + tlb_index(linear);
    uint64_t page = linear & ~(GUEST_PAGE_SIZE - 1);
    struct tr_ool *o;

    tr_flags_clobber(t);
    o = tr_ool(t, fixed_miss);
    o->again = t->p;
    o->rip = linear;
    o->desc =
        t->in->index | size << 8 | (write ? TR_DESC_WRITE : 0) | (bounce ? 0 : TR_DESC_NO_BOUNCE);
    if (fits32(page)) {
        e_op(t, 0, E_W, 0, 0x81, 7, op_near(&e->tag, 4)); /* cmp qword, imm32 */
        e32(t, (uint32_t)page);
    } else {
        e_const(t, HR_S1, page);
        e_op(t, 0, E_W, 0, 0x39, HR_S1, op_near(&e->tag, 0));
    }
    o->from[0] = e_jcc(t, CC_NE, t->p);
    e_load64(t, HR_S0, &e->host);
    if (linear != page)
        e_lea(t, true, HR_S0, HR_S0, HR_MEM, 0, (int32_t)(linear - page));
    o->back = t->p;
}

static bool is_fixed(const struct tr *t, unsigned size, uint64_t *linear)
{
    const struct insn *i = t->in->i;

    if (i->seg >= SEG_FS || i->addrsize != 8 || i->base != 16 || t->place)
        return false;
    *linear = tr_next_rip(t) + (uint64_t)(int64_t)i->disp;
    return (*linear & (GUEST_PAGE_SIZE - 1)) <= GUEST_PAGE_SIZE - size;
}

void tr_operand(struct tr *t, unsigned size, bool write, bool bounce)
{
    uint64_t linear;

    if (t->group)
        return;
    if (t->direct) {
        tr_direct_operand(t);
        return;
    }
    if (is_fixed(t, size, &linear)) {
        fixed_probe(t, linear, size, write, bounce);
        return;
    }
    if (t->in->live)
        tr_flags_clobber(t); /* before S1 holds anything */
    tr_linear(t, 0);
    if (near_stack(t->in->i))
        stack_probe(t, size, write);
    else
        tr_probe(t, size, write, bounce);
}
