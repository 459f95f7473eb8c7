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
    return &t->c->tlb[t->ctx].exec_id[tlb_exec_index(rip)];
}

static void expect_page(struct tr *t, struct tr_link *l, bool negated)
{
    l->id_at = (uint32_t)(t->p - t->cache->rw);
    l->id_negated = negated;
    e32(t, negated ? 1 : UINT32_MAX);
}

/* The disp32 of a place's minus has just been emitted. */
static uint32_t minus_at(const struct tr *t)
{
    return (uint32_t)(t->p - 4 - t->cache->rw);
}

uint32_t tr_expect_place(struct tr *t, int32_t page)
{
    e_load64(t, HR_S1, &t->cache->place[t->place].base);
    e_load64(t, HR_S0, &t->cache->place[0].minus);
    uint32_t at = minus_at(t);
    e_lea(t, true, HR_S1, HR_S1, HR_S0, 0, page);
    return at;
}

static int64_t page_distance(const struct tr_link *l)
{
    return (int64_t)(l->rip & ~(uint64_t)(GUEST_PAGE_SIZE - 1));
}

/* The same for code that runs anywhere: where the target's page is from the block's own. */
static void place_guards(struct tr *t, struct tr_ool *o, struct tr_link *l, bool poll)
{
    uint8_t *polled = NULL, *ok;

    if (poll) {
        e_load32(t, HR_S1, &t->c->tr.go);
        polled = e_jcc8(t, J8_JRCXZ);
    }
    l->place_at = tr_expect_place(t, (int32_t)page_distance(l));
    ok = e_jcc8(t, J8_JRCXZ);
    if (polled)
        e_here8(t, polled);
    o->from[0] = e_jmp(t, t->p);
    e_here8(t, ok);
}

/* Goes on when nobody asks to come out (poll) and the target's page is still the one that was
 * linked (check), else to o. */
static void guards(struct tr *t, struct tr_ool *o, struct tr_link *l, bool poll, bool check)
{
    uint8_t *polled = NULL, *ok;

    if (t->place && check) {
        place_guards(t, o, l, poll);
        return;
    }
    if (t->flags == TR_MEM) {
        if (poll) {
            e_op(t, 0, 0, 0, 0x83, 7, op_near(&t->c->tr.go, 1)), e8(t, 0); /* cmp dword [go], 0 */
            o->from[0] = e_jcc(t, CC_E, t->p);
        }
        if (check) {
            e_op(t, 0, 0, 0, 0x81, 7, op_near(exec_id(t, l->rip), 4)); /* cmp dword [id], imm32 */
            expect_page(t, l, false);
            o->from[1] = e_jcc(t, CC_NE, t->p);
        }
        return;
    }
    if (!poll && !check)
        return;
    if (poll)
        e_load32(t, HR_S1, &t->c->tr.go);
    if (check) {
        polled = poll ? e_jcc8(t, J8_JRCXZ) : NULL;
        e_load32(t, HR_S1, exec_id(t, l->rip));
    }
    e8(t, 0x8d), e8(t, 0x89); /* lea ecx, [rcx - id], or of go: - 1 */
    if (check)
        expect_page(t, l, true);
    else
        e32(t, UINT32_MAX);
    ok = e_jcc8(t, J8_JRCXZ);
    if (polled)
        e_here8(t, polled);
    o->from[0] = e_jmp(t, t->p);
    e_here8(t, ok);
}

/* Distances from a place's base may be negative. */
static bool is_back(uint64_t to, uint64_t from)
{
    return (int64_t)to <= (int64_t)from;
}

static bool same_page(const struct tr *t, uint64_t rip)
{
    return !t->b->host2 && !((rip ^ t->rip) & ~(GUEST_PAGE_SIZE - 1));
}

/* A jump is emitted and its link's stub put aside: site is the jump's rel32.  Where the guards
 * cannot say how far it is it always leaves. */
static void linked(struct tr *t, struct tr_ool *o, uint8_t *site)
{
    struct tr_link *l = &t->cache->link[o->link];

    if (!l->place_at || fits32((uint64_t)page_distance(l)))
        l->site = (uint32_t)(site - t->cache->rw);
    o->from[2] = site;
}

static uint32_t link_new(struct tr *t, uint64_t rip, bool from_mem)
{
    uint32_t n = tr_link_new(t->cache, rip, from_mem);

    t->cache->link[n].place = t->place;
    t->cache->link[n].form = (uint16_t)TR_KEY_FORM(t->key);
    return n;
}

void tr_leave_to(struct tr *t, uint64_t rip, bool poll, bool check)
{
    struct tr_ool *o = tr_ool(t, stub_later);
    struct tr_link *l;

    o->link = link_new(t, rip, t->flags == TR_MEM);
    l = &t->cache->link[o->link];
    check |= !same_page(t, rip);
    if (poll && !check && t->flags == TR_HOST) { /* loops: one jump only */
        e_load32(t, HR_S1, &t->c->tr.go);
        uint8_t *polled = e_jcc8(t, J8_JRCXZ);
        linked(t, o, e_jmp(t, t->p));
        e_here8(t, polled);
        o->from[0] = e_jmp(t, t->p);
        return;
    }
    guards(t, o, l, poll, check);
    linked(t, o, e_jmp(t, t->p));
}

/* ---- leaving to an address in S0 ---- */

/* S1 = place in a table of jumps. */
static void mask_index(struct tr *t)
{
    e8(t, 0x81), e8(t, 0xe1), e32(t, TR_JUMPS - 1); /* and */
    e8(t, 0xc1), e8(t, 0xe1), e8(t, TR_JUMP_SHIFT); /* shl */
}

_Static_assert(TLB_EXEC_BITS == 16, "the index is taken by MOVZX");

/* S1 = host address for the target in S0, by the entry at S1.  What jumps out when it is not
 * there: miss[0] with S0 as it was; miss[1] and [2] (another page, or somebody asks to come out)
 * with the entry in S1. */
static void take_entry(struct tr *t, const struct tr_jump *j, uint8_t *miss[3])
{
    e_at_s1(t, 0x3b, HR_S0, low32(&j->rip));
    miss[0] = e_jcc(t, CC_NE, t->p);
    e8(t, 0x48), e8(t, 0xc1), e8(t, 0xef), e8(t, GUEST_PAGE_SHIFT); /* shr rdi */
    e8(t, 0x0f), e8(t, 0xb7), e8(t, 0xff);                          /* movzx edi, di */
    e8(t, 0x8b), e8(t, 0x3c), e8(t, 0xbd);                          /* mov edi, [rdi * 4 + ...] */
    e32(t, low32(t->c->tlb[t->ctx].exec_id));
    e8(t, 0x3b), e8(t, 0xb9), e32(t, low32(&j->id)); /* cmp edi, [rcx + ...] */
    miss[1] = e_jcc(t, CC_NE, t->p);
    e_op(t, 0, 0, 0, 0x83, 7, op_near(&t->c->tr.go, 1)), e8(t, 0);
    miss[2] = e_jcc(t, CC_E, t->p);
    e8(t, 0x8b), e8(t, 0x89), e32(t, low32(&j->code)); /* mov ecx, [rcx + ...] */
}

static void look_up(struct tr *t, uint8_t *miss[3])
{
    e_s1_shifted(t, 9);       /* tr_jump_index() */
    e8(t, 0x31), e8(t, 0xf9); /* xor ecx, edi */
    mask_index(t);
    take_entry(t, t->cache->jump, miss);
}

static void target_again(struct tr *t)
{
    e_at_s1(t, 0x8b, HR_S0, low32(&t->cache->jump->rip));
}

static void jump_found(struct tr *t)
{
    e8(t, 0xff), e8(t, 0xe1); /* jmp rcx */
}

void tr_leave_indirect(struct tr *t)
{
    uint8_t *miss[3];

    look_up(t, miss);
    jump_found(t);
    patch_rel(miss[1], t->p);
    patch_rel(miss[2], t->p);
    target_again(t);
    patch_rel(miss[0], t->p);
    e_jmp(t, glue(t, t->cache->glue.indirect[t->ctx]));
}

void tr_look_up_second(struct tr *t)
{
    const struct tr_jump *second = t->cache->second;
    uint8_t *miss[3];

    e_s1_shifted(t, 10);                /* tr_second_index() */
    e8(t, 0x31), e8(t, 0xf9);           /* xor ecx, edi */
    e8(t, 0xc1), e8(t, 0xe9), e8(t, 3); /* shr ecx */
    mask_index(t);
    take_entry(t, second, miss);
    jump_found(t);
    patch_rel(miss[1], t->p);
    patch_rel(miss[2], t->p);
    e_at_s1(t, 0x8b, HR_S0, low32(&second->rip));
    patch_rel(miss[0], t->p);
}

static void target_again_later(struct tr *t, struct tr_ool *o)
{
    target_again(t); /* and on, into what was put aside next */
}

/* The same in a block; put aside: where the target is not found. */
static struct tr_ool *look_up_here(struct tr *t, void (*emit)(struct tr *, struct tr_ool *))
{
    uint8_t *miss[3];
    struct tr_ool *o;

    look_up(t, miss);
    o = tr_ool(t, target_again_later);
    o->from[0] = miss[1];
    o->from[1] = miss[2];
    o = tr_ool(t, emit);
    o->from[0] = miss[0];
    return o;
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
    e_op(t, 0, t->code64 ? E_W : 0, 0, 0x89, reg, op_memory(t));
}

static void push(struct tr *t, const struct tr_insn *d)
{
    int32_t n = (int32_t)stack_width(t);

    bool mem = d->i->flags & INSN_MEM;

    if (mem) {
        tr_operand(t, n, false, false);
        e_op(t, 0, t->code64 ? E_W : 0, 0, 0x8b, HR_S1, op_memory(t));
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
        e_op(t, 0, t->code64 ? E_W : 0, 0, 0xc7, 0, op_memory(t));
        e32(t, (uint32_t)d->i->imm);
    }
    move_sp(t, -n);
}

static void pop(struct tr *t, const struct tr_insn *d)
{
    unsigned h = hreg(opcode_reg(d)), to = in_memory(h) || h == HR_SP ? HR_S1 : h;

    tr_stack(t, HR_SP, 0, stack_width(t), false);
    e_op(t, 0, t->code64 ? E_W : 0, 0, 0x8b, to, op_memory(t));
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
    e_op(t, 0, t->code64 ? E_W : 0, 0, 0x8b, HR_S1, op_memory(t));
    e_lea(t, t->code64, HR_SP, HR_RBP, HR_MEM, 0, (int32_t)stack_width(t));
    e_mov(t, HR_RBP, HR_S1);
}

/* ---- calls ---- */

static uint64_t cut(const struct tr *t, uint64_t rip)
{
    return t->code64 ? rip : (uint32_t)rip;
}

/* ... and to the host's; S1 holds it already, or it fits in 32 bits. */
static void push_host(struct tr *t, uint64_t v)
{
    if (t->place) {
        e8(t, 0x51); /* push rcx */
    } else if (fits32(v)) {
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
    if (!t->place && (!t->code64 || fits32(rip))) {
        e_op(t, 0, t->code64 ? E_W : 0, 0, 0xc7, 0, op_memory(t));
        e32(t, (uint32_t)rip);
    } else {
        e_address(t, HR_S1, rip);
        store_slot(t, HR_S1);
    }
    move_sp(t, -n);
}

static void landing_later(struct tr *t, struct tr_ool *o)
{
    t->cache->link[o->link].stub = (uint32_t)(t->p - t->cache->rw);
    e_store64(t, &t->c->st.rip, HR_S0);
    stub(t, o->link);
}

/* Of code that runs anywhere, which may have been elsewhere when it was called: S0 and S1, the
 * address that the guest returns to, say where. */
static void landing_anywhere(struct tr *t, uint64_t rip)
{
    struct tr_ool *o = tr_ool(t, landing_later);
    struct tr_link *l;

    o->link = link_new(t, rip, true);
    l = &t->cache->link[o->link];
    l->landing = true;
    e_op(t, 0, E_W, 0, 0x03, HR_S1, op_near(&t->cache->place[0].minus, 0));
    l->place_at = minus_at(t);
    e8(t, 0x48), e8(t, 0x81), e8(t, 0xf9), e32(t, rip & (GUEST_PAGE_SIZE - 1)); /* cmp rcx */
    o->from[0] = e_jcc(t, CC_NE, t->p);
    linked(t, o, e_jmp(t, t->p));
}

/* Behind a host CALL: drops the guest's address and goes on there. */
static void landing(struct tr *t, uint64_t rip)
{
    t->flags = TR_MEM;
    e8(t, 0x59); /* pop rcx */
    if (t->place)
        landing_anywhere(t, rip);
    else
        tr_leave_to(t, rip, false, true);
}

/* A call that leaves translated code all the same has a landing. */
static void call_later(struct tr *t, struct tr_ool *o)
{
    e_call(t, t->p);
    uint8_t *call = t->p - 4;
    e_jmp(t, o->back);
    patch_rel(call, t->p);
    patch_rel(o->from[2], t->p);
    stub_later(t, o);
}

static void call_direct(struct tr *t)
{
    const struct tr_insn *d = t->in;
    uint64_t next = tr_next_rip(t), to = cut(t, next + (uint64_t)d->i->imm);
    bool near = same_page(t, to);
    struct tr_ool *o;

    push_return(t, next);
    push_host(t, next);
    o = tr_ool(t, call_later);
    o->link = link_new(t, to, t->flags == TR_MEM);
    guards(t, o, &t->cache->link[o->link], is_back(to, t->rip), !near);
    e_call(t, t->p);
    linked(t, o, t->p - 4);
    o->back = t->p;
    landing(t, next);
}

/* S0 = target of an indirect branch. */
static void take_target(struct tr *t)
{
    const struct tr_insn *d = t->in;

    tr_flags_clobber(t);
    if (d->i->flags & INSN_MEM) {
        tr_operand(t, stack_width(t), false, true);
        e_op(t, 0, t->code64 ? E_W : 0, 0, 0x8b, HR_S0, op_memory(t));
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
    e_jmp(t, glue(t, t->cache->glue.indirect[t->ctx]));
}

static void jmp_indirect(struct tr *t)
{
    take_target(t);
    look_up_here(t, jump_other);
    jump_found(t);
}

/* The call is going to leave from glue. */
static void call_other(struct tr *t, struct tr_ool *o)
{
    check_canonical(t);
    e_store64(t, &t->c->tr.target, HR_S0);
    e_store_const32(t, &t->c->tr.callee, (uint32_t)tr_rx(t->cache, t->cache->glue.kept[t->ctx]));
    e_jmp(t, o->back);
}

/* What is to be called is looked up before anything is pushed. */
static void call_indirect(struct tr *t)
{
    uint64_t next = tr_next_rip(t);
    struct tr_ool *o;

    take_target(t);
    o = look_up_here(t, call_other);
    e_store32(t, &t->c->tr.callee, HR_S1);
    o->back = t->p;
    push_return(t, next);
    push_host(t, next);
    e_op(t, 0, 0, 0, 0xff, 2, op_near(&t->c->tr.callee, 0));
    landing(t, next);
}

/* S0 = target, which is not what was pushed last. */
static void ret_other(struct tr *t, struct tr_ool *o)
{
    check_canonical(t);
    move_sp(t, (int32_t)o->at);
    e_jmp(t, glue(t, t->cache->glue.ret_miss[t->ctx]));
}

static void ret(struct tr *t)
{
    const struct tr_insn *d = t->in;
    int32_t drop = (int32_t)stack_width(t) + (d->opcode == 0xc2 ? (uint16_t)d->i->imm : 0);
    struct tr_ool *o;

    tr_flags_clobber(t);
    tr_stack(t, HR_SP, 0, stack_width(t), false);
    e_op(t, 0, t->code64 ? E_W : 0, 0, 0x8b, HR_S0, op_memory(t));
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
    if (same_page(t, to) && !is_back(to, t->rip)) {
        uint32_t n = link_new(t, to, false);
        struct tr_ool *o = tr_ool(t, stub_later);
        uint8_t *site = e_jcc(t, cc, t->p);
        t->cache->link[n].site = (uint32_t)(site - t->cache->rw);
        o->link = n;
        o->from[0] = site;
    } else {
        uint8_t *past = e_jcc(t, cc ^ 1, t->p);
        tr_leave_to(t, to, is_back(to, t->rip + d->off), false);
        patch_rel(past, t->p);
    }
    tr_leave_to(t, next, false, false);
}

static void jmp(struct tr *t)
{
    const struct tr_insn *d = t->in;
    uint64_t to = cut(t, tr_next_rip(t) + (uint64_t)d->i->imm);

    tr_leave_to(t, to, is_back(to, t->rip + d->off), false);
}

/* LOOP, LOOPE, LOOPNE, JRCXZ: flags stay. */
static void loop(struct tr *t)
{
    const struct tr_insn *d = t->in;
    uint64_t next = tr_next_rip(t), to = cut(t, next + (uint64_t)d->i->imm);
    bool wide = d->i->addrsize == 8, back = is_back(to, t->rip + d->off),
         if_zero = d->opcode == 0xe3;
    uint8_t *zero, *other = NULL;

    if (d->op.reads)
        tr_flags_need(t);
    if (!if_zero)
        e_lea(t, wide, HR_RCX, HR_RCX, HR_MEM, 0, -1);
    e_op(t, 0, wide ? E_W : 0, 0, 0x89, HR_RCX, op_reg(HR_S1));
    zero = e_jcc8(t, J8_JRCXZ);
    if (d->op.reads)
        other = e_jcc8(t, d->opcode & 1 ? J8_JNE : J8_JE);
    tr_leave_to(t, if_zero ? next : to, !if_zero && back, false);
    e_here8(t, zero);
    if (other)
        e_here8(t, other);
    tr_leave_to(t, if_zero ? to : next, if_zero && back, false);
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
    case TK_LOOP:
        loop(t);
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
