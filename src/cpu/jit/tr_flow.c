/* tr_flow.c - the stack, calls and returns, branches.
 *
 * A guest CALL is a host CALL: the guest's return address is pushed on the host's stack too, then
 * the host's own.  A guest RET compares the address it read from guest memory with the one that was
 * pushed and, when they agree, is a host RET, which the processor predicts.  It lands behind the
 * CALL, where the flags are in c->fl and the page of the return address is checked like that of any
 * other link.  When they do not agree one pair is dropped and the target is looked up.
 *
 * Backward transfers and everything indirect poll tr.go, so that each cycle has a poll. */
#include "tr_emit.h"

/* ---- leaving to a known address ---- */

static void stub(struct tr *t, uint32_t n)
{
    bool from_mem = t->cache->link[n].from_mem;

    e_store_const32(t, &t->c->tr.link, n);
    e_jmp(t, glue(t, from_mem ? t->cache->glue.exit_mem : t->cache->glue.exit_host));
}

static void stub_later(struct tr *t, struct tr_ool *o)
{
    t->cache->link[o->link].stub = (uint32_t)(t->p - t->cache->rw);
    stub(t, o->link);
}

static uint32_t *exec_id(struct tr *t, uint64_t rip)
{
    return &t->c->tlb[t->ctx].exec[(rip >> GUEST_PAGE_SHIFT) & (TLB_EXEC_SIZE - 1)].id;
}

/* Goes on when the target's page is still the one that was linked; returns the jump otherwise. */
static uint8_t *check_page(struct tr *t, struct tr_link *l)
{
    if (t->flags == TR_MEM) {
        e_op(t, 0, 0, 0, 0x81, 7, op_abs(exec_id(t, l->rip))); /* cmp dword [id], imm32 */
        l->id_at = (uint32_t)(t->p - t->cache->rw);
        e32(t, 0xffffffff);
        return e_jcc(t, CC_NE, t->p);
    }
    e_load32(t, HR_S1, exec_id(t, l->rip));
    e8(t, 0x8d), e8(t, 0x89); /* lea ecx, [rcx - id] */
    l->id_at = (uint32_t)(t->p - t->cache->rw);
    l->id_negated = true;
    e32(t, 1);
    uint8_t *ok = e_jcc8(t, J8_JRCXZ);
    uint8_t *out = e_jmp(t, t->p);
    e_here8(t, ok);
    return out;
}

static bool same_page(const struct tr *t, uint64_t rip)
{
    return !t->b->host2 && !((rip ^ t->rip) & ~(GUEST_PAGE_SIZE - 1));
}

void tr_leave_to(struct tr *t, uint64_t rip, bool poll, bool check)
{
    uint32_t n = tr_link_new(t->cache, rip, t->flags == TR_MEM);
    struct tr_link *l = &t->cache->link[n];
    uint8_t *polled = NULL, *checked = NULL, *site;

    if (poll) {
        e_load32(t, HR_S1, &t->c->tr.go);
        polled = e_jcc8(t, J8_JRCXZ);
    }
    if (check || !same_page(t, rip))
        checked = check_page(t, l);
    site = e_jmp(t, t->p);
    l->site = (uint32_t)(site - t->cache->rw);
    if (!polled && !checked) {
        struct tr_ool *o = tr_ool(t, stub_later);
        o->link = n;
        o->from[0] = site;
        return;
    }
    if (polled)
        e_here8(t, polled);
    if (checked)
        patch_rel(checked, t->p);
    patch_rel(site, t->p);
    l->stub = (uint32_t)(t->p - t->cache->rw);
    stub(t, n);
}

/* ---- leaving to an address in S0 ---- */

/* Falls out of it when the target is not there. */
static void look_up(struct tr *t)
{
    const struct tr_jump *j = t->cache->jump;
    uint8_t *other, *page, *go;

    e_mov32(t, HR_S1, HR_S0);
    e8(t, 0xc1), e8(t, 0xe9), e8(t, 9);             /* shr ecx, 9 */
    e8(t, 0x31), e8(t, 0xf9);                       /* xor ecx, edi */
    e8(t, 0x81), e8(t, 0xe1), e32(t, TR_JUMPS - 1); /* and */
    e8(t, 0xc1), e8(t, 0xe1), e8(t, TR_JUMP_SHIFT); /* shl */
    e_at_s1(t, 0x3b, HR_S0, low32(&j->rip));
    other = e_jcc8(t, J8_JNE);
    e8(t, 0x8b), e8(t, 0xb9), e32(t, low32(&j->id_at)); /* mov edi, [rcx + ...] */
    e8(t, 0x8b), e8(t, 0x3f);                           /* mov edi, [rdi] */
    e8(t, 0x3b), e8(t, 0xb9), e32(t, low32(&j->id));
    page = e_jcc8(t, J8_JNE);
    e_op(t, 0, 0, 0, 0x83, 7, op_abs(&t->c->tr.go)), e8(t, 0);
    go = e_jcc8(t, J8_JE);
    e8(t, 0xff), e8(t, 0xa1), e32(t, low32(&j->code)); /* jmp [rcx + ...] */
    e_here8(t, page);
    e_here8(t, go);
    e_at_s1(t, 0x8b, HR_S0, low32(&j->rip));
    e_here8(t, other);
}

void tr_leave_indirect(struct tr *t)
{
    look_up(t);
    e_jmp(t, glue(t, t->cache->glue.exit_indirect));
}

/* The interpreter raises what a target that is not canonical raises. */
static void bail_later(struct tr *t, struct tr_ool *o)
{
    e8(t, 0xb8 | HR_S1), e32(t, o->desc);
    e_call(t, glue(t, t->cache->glue.bail));
}

static void check_canonical(struct tr *t)
{
    if (!t->code64)
        return;
    struct tr_ool *o = tr_ool(t, bail_later);
    o->desc = t->in->index;
    e_mov(t, HR_S1, HR_S0);
    e8(t, 0x48), e8(t, 0xc1), e8(t, 0xe1), e8(t, 16); /* shl rcx, 16 */
    e8(t, 0x48), e8(t, 0xc1), e8(t, 0xf9), e8(t, 16); /* sar rcx, 16 */
    e_op(t, 0, E_W, 0, 0x39, HR_S0, op_reg(HR_S1));
    o->from[0] = e_jcc(t, CC_NE, t->p);
}

void tr_bail(struct tr *t)
{
    tr_flags_clobber(t);
    e8(t, 0xb8 | HR_S1), e32(t, t->in->index);
    e_call(t, glue(t, t->cache->glue.bail));
}

/* ---- stack ---- */

static void move_sp(struct tr *t, int32_t by)
{
    if (t->group && t->in->op.kind != TK_RET) {
        t->sp_by += by;
        return;
    }
    e_lea(t, t->code64, HR_SP, HR_SP, HR_MEM, 0, by);
}

static void store_slot(struct tr *t, unsigned reg)
{
    e_op(t, 0, t->code64 ? E_W : 0, 0, 0x89, reg, op_s0(t));
}

static void push(struct tr *t, const struct tr_insn *d)
{
    int32_t n = (int32_t)stack_width(t);

    bool mem = d->i->flags & INSN_MEM;

    if (mem) {
        tr_operand(t, n, false, false);
        e_op(t, 0, t->code64 ? E_W : 0, 0, 0x8b, HR_S1, op_s0(t));
        e_store64(t, &t->c->tr.value, HR_S1);
    }
    tr_stack(t, HR_SP, -n, n, true);
    if (d->op.kind == TK_PUSH_R) {
        store_slot(t, e_get(t, hreg(opcode_reg(d)), HR_S1));
    } else if (d->op.kind == TK_PUSH_M && !mem) {
        store_slot(t, e_get(t, hreg(d->rm), HR_S1));
    } else if (mem) {
        e_load64(t, HR_S1, &t->c->tr.value);
        store_slot(t, HR_S1);
    } else {
        e_op(t, 0, t->code64 ? E_W : 0, 0, 0xc7, 0, op_s0(t));
        e32(t, (uint32_t)d->i->imm);
    }
    move_sp(t, -n);
}

static void pop(struct tr *t, const struct tr_insn *d)
{
    unsigned h = hreg(opcode_reg(d)), to = in_memory(h) || h == HR_SP ? HR_S1 : h;

    tr_stack(t, HR_SP, 0, stack_width(t), false);
    e_op(t, 0, t->code64 ? E_W : 0, 0, 0x8b, to, op_s0(t));
    if (h == HR_SP) {
        e_mov(t, HR_SP, HR_S1);
        return;
    }
    if (in_memory(h))
        e_store64(t, &t->c->st.gpr[h - HR_MEM], HR_S1);
    move_sp(t, (int32_t)stack_width(t));
}

static void leave(struct tr *t)
{
    tr_stack(t, HR_RBP, 0, stack_width(t), false);
    e_op(t, 0, t->code64 ? E_W : 0, 0, 0x8b, HR_S1, op_s0(t));
    e_lea(t, t->code64, HR_SP, HR_RBP, HR_MEM, 0, (int32_t)stack_width(t));
    e_mov(t, HR_RBP, HR_S1);
}

/* ---- calls ---- */

static uint64_t cut(const struct tr *t, uint64_t rip)
{
    return t->code64 ? rip : (uint32_t)rip;
}

static void push_host(struct tr *t, uint64_t v)
{
    if (fits32(v)) {
        e8(t, 0x68), e32(t, (uint32_t)v);
    } else {
        e_const(t, HR_S1, v);
        e8(t, 0x51); /* push rcx */
    }
}

/* Return address to the guest's stack. */
static void push_return(struct tr *t, uint64_t rip)
{
    int32_t n = (int32_t)stack_width(t);

    tr_stack(t, HR_SP, -n, n, true);
    if (!t->code64 || fits32(rip)) {
        e_op(t, 0, t->code64 ? E_W : 0, 0, 0xc7, 0, op_s0(t));
        e32(t, (uint32_t)rip);
    } else {
        e_const(t, HR_S1, rip);
        store_slot(t, HR_S1);
    }
    move_sp(t, -n);
}

/* Behind a host CALL: drops the guest's address and goes on there. */
static void landing(struct tr *t, uint64_t rip)
{
    t->flags = TR_MEM;
    e8(t, 0x48), e8(t, 0x8d), e8(t, 0x64), e8(t, 0x24), e8(t, 8); /* lea rsp, [rsp + 8] */
    tr_leave_to(t, rip, false, true);
}

/* The call's own link: what tr_leave_to makes, as a subroutine behind the block. */
static void call_target(struct tr *t, struct tr_ool *o)
{
    enum tr_flags was = t->flags;

    t->flags = o->flag ? TR_MEM : TR_HOST;
    tr_leave_to(t, o->rip, true, false);
    t->flags = was;
}

static void call_direct(struct tr *t)
{
    const struct tr_insn *d = t->in;
    uint64_t next = tr_next_rip(t), to = cut(t, next + (uint64_t)d->i->imm);

    push_return(t, next);
    push_host(t, next);
    if (same_page(t, to) && to > t->rip) {
        uint32_t n = tr_link_new(t->cache, to, t->flags == TR_MEM);
        struct tr_ool *o = tr_ool(t, stub_later);
        e_call(t, t->p);
        t->cache->link[n].site = (uint32_t)(t->p - 4 - t->cache->rw);
        o->link = n;
        o->from[0] = t->p - 4;
    } else {
        struct tr_ool *o = tr_ool(t, call_target);
        e_call(t, t->p);
        o->from[0] = t->p - 4;
        o->rip = to;
        o->flag = t->flags == TR_MEM;
    }
    landing(t, next);
}

/* S0 = target of an indirect branch. */
static void take_target(struct tr *t)
{
    const struct tr_insn *d = t->in;

    tr_flags_clobber(t);
    if (d->i->flags & INSN_MEM) {
        tr_operand(t, stack_width(t), false, true);
        e_op(t, 0, t->code64 ? E_W : 0, 0, 0x8b, HR_S0, op_s0(t));
    } else {
        unsigned h = hreg(d->rm);
        if (in_memory(h))
            e_load64(t, HR_S0, &t->c->st.gpr[h - HR_MEM]);
        else
            e_op(t, 0, t->code64 ? E_W : 0, 0, 0x89, h, op_reg(HR_S0));
    }
}

/* What was found is canonical. */
static void jump_other(struct tr *t, struct tr_ool *o)
{
    check_canonical(t);
    e_jmp(t, glue(t, t->cache->glue.exit_indirect));
}

static void jmp_indirect(struct tr *t)
{
    struct tr_ool *o;

    take_target(t);
    look_up(t);
    o = tr_ool(t, jump_other);
    o->from[0] = e_jmp(t, t->p);
}

static void jump_kept(struct tr *t, struct tr_ool *o)
{
    e_load64(t, HR_S0, &t->c->tr.target);
    tr_leave_indirect(t);
}

static void call_indirect(struct tr *t)
{
    uint64_t next = tr_next_rip(t);
    struct tr_ool *o;

    take_target(t);
    check_canonical(t);
    e_store64(t, &t->c->tr.target, HR_S0);
    push_return(t, next);
    push_host(t, next);
    o = tr_ool(t, jump_kept);
    e_call(t, t->p);
    o->from[0] = t->p - 4;
    landing(t, next);
}

/* S0 = target, which is not what was pushed last. */
static void ret_other(struct tr *t, struct tr_ool *o)
{
    check_canonical(t);
    move_sp(t, (int32_t)o->at);
    e_jmp(t, glue(t, t->cache->glue.ret_miss));
}

static void ret(struct tr *t)
{
    const struct tr_insn *d = t->in;
    int32_t drop = (int32_t)stack_width(t) + (d->opcode == 0xc2 ? (uint16_t)d->i->imm : 0);
    struct tr_ool *o;

    tr_flags_clobber(t);
    tr_stack(t, HR_SP, 0, stack_width(t), false);
    e_op(t, 0, t->code64 ? E_W : 0, 0, 0x8b, HR_S0, op_s0(t));
    e8(t, 0x48), e8(t, 0x3b), e8(t, 0x7c), e8(t, 0x24), e8(t, 8); /* cmp rdi, [rsp + 8] */
    o = tr_ool(t, ret_other);
    o->index = d->index;
    o->at = (uint32_t)drop;
    o->from[0] = e_jcc(t, CC_NE, t->p);
    move_sp(t, drop);
    e8(t, 0xc3);
}

/* ---- branches ---- */

static void jcc(struct tr *t)
{
    const struct tr_insn *d = t->in;
    uint64_t next = tr_next_rip(t), to = cut(t, next + (uint64_t)d->i->imm);
    unsigned cc = d->opcode & 15;

    tr_flags_need(t);
    if (same_page(t, to) && to > t->rip) {
        uint32_t n = tr_link_new(t->cache, to, false);
        struct tr_ool *o = tr_ool(t, stub_later);
        uint8_t *site = e_jcc(t, cc, t->p);
        t->cache->link[n].site = (uint32_t)(site - t->cache->rw);
        o->link = n;
        o->from[0] = site;
    } else {
        uint8_t *past = e_jcc(t, cc ^ 1, t->p);
        tr_leave_to(t, to, to <= t->rip + d->off, false);
        patch_rel(past, t->p);
    }
    tr_leave_to(t, next, false, false);
}

static void jmp(struct tr *t)
{
    const struct tr_insn *d = t->in;
    uint64_t to = cut(t, tr_next_rip(t) + (uint64_t)d->i->imm);

    tr_leave_to(t, to, to <= t->rip + d->off, false);
}

/* Sizes that need more than this file has: 16-bit pushes, pops and branches. */
static bool odd(const struct tr *t, const struct tr_insn *d)
{
    if (d->p66 && d->op.kind != TK_JCC && d->op.kind != TK_JMP)
        return true;
    return d->p66 && !t->code64;
}

void tr_flow(struct tr *t)
{
    const struct tr_insn *d = t->in;

    if (odd(t, d)) {
        if (d->op.kind < TK_JCC)
            tr_interp(t);
        else
            tr_bail(t);
        return;
    }
    switch (d->op.kind) {
    case TK_PUSH_R:
    case TK_PUSH_I:
    case TK_PUSH_M:
        push(t, d);
        break;
    case TK_POP_R:
        pop(t, d);
        break;
    case TK_LEAVE:
        leave(t);
        break;
    case TK_JCC:
        jcc(t);
        break;
    case TK_JMP:
        jmp(t);
        break;
    case TK_JMP_M:
        jmp_indirect(t);
        break;
    case TK_CALL:
        call_direct(t);
        break;
    case TK_CALL_M:
        call_indirect(t);
        break;
    case TK_RET:
        ret(t);
        break;
    default:
        tr_interp(t); /* POP to memory */
    }
}
