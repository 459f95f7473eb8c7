/* op_branch.c - near control transfers: Jcc, JMP, CALL, RET, LOOPcc, JrCXZ.
 *
 * All end their block.  A direct branch leaves its successor for the loop (branch_to); an indirect
 * one leaves nothing and the loop looks st.rip up.  A relative target outside the CS limit or not
 * canonical faults when it is fetched. */
#include "op.h"

#define ALL_CONDITIONS(X)                                                                          \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

static inline void branch_to(struct jit_cpu *c, const struct insn *i, unsigned which)
{
    struct block *b = i->priv;
    c->next = b->link[which];
    c->link = &b->link[which];
}

/* A linked successor is entered without a turn through the loop: in 64-bit mode and where CS is
 * flat, so that no limit needs a look.  Where the compiler makes no sibling calls (little or no
 * optimization) the blocks nest, so the stack is looked at. */
static inline bool deep(const struct jit_cpu *c)
{
    uintptr_t sp;
    __asm__("mov %%rsp, %0" : "=r"(sp));
    return sp < c->stack_floor;
}
#define BRANCH_DIRECT(c, i, which)                                                                 \
    do {                                                                                           \
        struct block *from_ = (i)->priv, *to_ = from_->link[which];                                \
        if (likely(to_ && !interp_must_stop(c) && !deep(c))) {                                     \
            interp_enter((c), to_);                                                                \
            return to_->insn[0].fn((c), to_->insn);                                                \
        }                                                                                          \
        branch_to((c), (i), (which));                                                              \
    } while (0)

static inline uint64_t next_rip(const struct jit_cpu *c, const struct insn *i)
{
    return insn_rip(c, i) + i->len;
}

/* Outside 64-bit mode the operand size cuts the target. */
static inline uint64_t cut(const struct insn *i, uint64_t rip)
{
    return i->opsize == 2 ? (uint16_t)rip : i->opsize == 4 ? (uint32_t)rip : rip;
}

#define JCC_DIRECT(NAME, CC, TYPE)                                                                 \
    static void NAME##_##CC(struct jit_cpu *c, const struct insn *i)                               \
    {                                                                                              \
        uint64_t rip = next_rip(c, i);                                                             \
        if (cond_holds(c->fl, CC)) {                                                               \
            c->st.rip = (TYPE)(rip + (uint64_t)i->imm);                                            \
            BRANCH_DIRECT(c, i, 1);                                                                \
        } else {                                                                                   \
            c->st.rip = rip;                                                                       \
            BRANCH_DIRECT(c, i, 0);                                                                \
        }                                                                                          \
    }
#define JCC(CC)                                                                                    \
    JCC_DIRECT(jcc_wide, CC, uint64_t)                                                             \
    JCC_DIRECT(jcc_flat, CC, uint32_t)                                                             \
    static void jcc_cut_##CC(struct jit_cpu *c, const struct insn *i)                              \
    {                                                                                              \
        bool taken = cond_holds(c->fl, CC);                                                        \
        uint64_t rip = next_rip(c, i);                                                             \
        c->st.rip = taken ? cut(i, rip + (uint64_t)i->imm) : rip;                                  \
        branch_to(c, i, taken);                                                                    \
    }
ALL_CONDITIONS(JCC)

static void jmp_rel(struct jit_cpu *c, const struct insn *i)
{
    c->st.rip = next_rip(c, i) + (uint64_t)i->imm;
    BRANCH_DIRECT(c, i, 1);
}

static void jmp_rel_flat(struct jit_cpu *c, const struct insn *i)
{
    c->st.rip = (uint32_t)(next_rip(c, i) + (uint64_t)i->imm);
    BRANCH_DIRECT(c, i, 1);
}

static void jmp_rel_cut(struct jit_cpu *c, const struct insn *i)
{
    c->st.rip = cut(i, next_rip(c, i) + (uint64_t)i->imm);
    branch_to(c, i, 1);
}

/* Indirect branches and RET to a non-canonical address fault themselves (SDM vol.2, RET). */
static __attribute__((noinline, cold)) void odd_target(struct jit_cpu *c, const struct insn *i,
                                                       uint64_t target)
{
    c->cur = i;
    if (!canonical_ok(c, target))
        cpu_raise_error(c, EX_GP, 0);
}

static inline uint64_t checked(struct jit_cpu *c, const struct insn *i, uint64_t target)
{
    if (unlikely((uint64_t)((int64_t)(target << 16) >> 16) != target))
        odd_target(c, i, target);
    return target;
}

/* CALL looks at the stack before its target. */
static inline uint64_t checked_call(struct jit_cpu *c, const struct insn *i, uint64_t target)
{
    if (unlikely((uint64_t)((int64_t)(target << 16) >> 16) != target)) {
        c->cur = i;
        mmu_translate(c, seg_linear(c, SEG_SS, c->st.gpr[R_RSP] - 8, 8, ACC_WRITE), ACC_WRITE);
        odd_target(c, i, target);
    }
    return target;
}

static void jmp_r64(struct jit_cpu *c, const struct insn *i)
{
    c->st.rip = checked(c, i, GET64(i->reg));
}

static void jmp_m64(struct jit_cpu *c, const struct insn *i)
{
    c->st.rip = checked(c, i, ld64(c, i, op_ea_other(c, i, 8, ACC_READ)));
}

/* 64-bit mode: the return address goes below rsp, which moves only once it is written. */
static inline void push_next64(struct jit_cpu *c, const struct insn *i)
{
    uint64_t sp = c->st.gpr[R_RSP] - 8;
    st64(c, i, sp, next_rip(c, i));
    c->st.gpr[R_RSP] = sp;
}

static void call_rel64(struct jit_cpu *c, const struct insn *i)
{
    push_next64(c, i);
    c->st.rip = next_rip(c, i) + (uint64_t)i->imm;
    BRANCH_DIRECT(c, i, 1);
}

static void call_r64(struct jit_cpu *c, const struct insn *i)
{
    uint64_t target = checked_call(c, i, GET64(i->reg));
    push_next64(c, i);
    c->st.rip = target;
}

static void call_m64(struct jit_cpu *c, const struct insn *i)
{
    uint64_t target = checked_call(c, i, ld64(c, i, op_ea_other(c, i, 8, ACC_READ)));
    push_next64(c, i);
    c->st.rip = target;
}

static void ret64(struct jit_cpu *c, const struct insn *i)
{
    uint64_t sp = c->st.gpr[R_RSP];
    c->st.rip = checked(c, i, ld64(c, i, sp));
    c->st.gpr[R_RSP] = sp + 8 + (uint16_t)i->imm;
}

/* ---- flat 32-bit code and stack ---- */

static inline void push_next32(struct jit_cpu *c, const struct insn *i)
{
    uint32_t sp = GET32(R_RSP) - 4;
    st32(c, i, sp, (uint32_t)next_rip(c, i));
    SET32(R_RSP, sp);
}

static void call_rel32(struct jit_cpu *c, const struct insn *i)
{
    push_next32(c, i);
    c->st.rip = (uint32_t)(next_rip(c, i) + (uint64_t)i->imm);
    BRANCH_DIRECT(c, i, 1);
}

static void jmp_rm32(struct jit_cpu *c, const struct insn *i)
{
    bool mem = i->flags & INSN_MEM;
    c->st.rip = mem ? ld32(c, i, op_ea_other(c, i, 4, ACC_READ)) : GET32(i->reg);
}

static void call_rm32(struct jit_cpu *c, const struct insn *i)
{
    bool mem = i->flags & INSN_MEM;
    uint32_t target = mem ? ld32(c, i, op_ea_other(c, i, 4, ACC_READ)) : GET32(i->reg);
    push_next32(c, i);
    c->st.rip = target;
}

static void ret32(struct jit_cpu *c, const struct insn *i)
{
    uint32_t sp = GET32(R_RSP);
    c->st.rip = ld32(c, i, sp);
    SET32(R_RSP, sp + 4 + (uint16_t)i->imm);
}

/* ---- other modes: plain handlers ---- */

static uint64_t target_of(struct jit_cpu *c, const struct insn *i)
{
    if (!(i->flags & INSN_MEM))
        return reg_get(c, i->reg, i->opsize);
    uint64_t lin = insn_linear(c, i, i->opsize, ACC_READ);
    return i->opsize == 2 ? mem_r16(c, lin) : mem_r32(c, lin);
}

static void check_cs_limit(struct jit_cpu *c, uint64_t target)
{
    if (target > c->st.seg[SEG_CS].limit)
        cpu_raise_error(c, EX_GP, 0);
}

static void op_jmp_indirect(struct jit_cpu *c, const struct insn *i)
{
    c->st.rip = target_of(c, i);
}

static void op_call_relative(struct jit_cpu *c, const struct insn *i)
{
    uint64_t target = cut(i, c->st.rip + (uint64_t)i->imm);
    check_cs_limit(c, target);
    stack_push(c, c->st.rip, i->opsize);
    c->st.rip = target;
    branch_to(c, i, 1);
}

static void op_call_indirect(struct jit_cpu *c, const struct insn *i)
{
    uint64_t target = target_of(c, i);
    check_cs_limit(c, target);
    stack_push(c, c->st.rip, i->opsize);
    c->st.rip = target;
}

static void op_ret(struct jit_cpu *c, const struct insn *i)
{
    uint64_t target = stack_peek(c, 0, i->opsize);
    check_cs_limit(c, target);
    stack_adjust(c, i->opsize + (uint16_t)i->imm);
    c->st.rip = target;
}

/* ---- counters ---- */

/* aux: 0 LOOPNE, 1 LOOPE, 2 LOOP, 3 JrCXZ (opcodes E0..E3); rm: size of the counter. */
static void loop_any(struct jit_cpu *c, const struct insn *i)
{
    unsigned size = i->rm;
    uint64_t count = reg_get(c, R_RCX, size), rip = next_rip(c, i);
    bool zf = c->fl & AF_ZF, taken = count == 0;

    if (i->aux != 3) {
        count = size == 2 ? (uint16_t)(count - 1) : size == 4 ? (uint32_t)(count - 1) : count - 1;
        reg_set(c, R_RCX, size, count);
        taken = count != 0 && (i->aux == 2 || (i->aux == 1) == zf);
    }
    c->st.rip = taken ? cut(i, rip + (uint64_t)i->imm) : rip;
    branch_to(c, i, taken);
}

/* ---- selecting ---- */

/* KEY_FLAT says that CS reaches all 4 GiB too: no target can be outside it. */
static bool is_flat32(const struct decode_ctx *d)
{
    return d->out->opsize == 4 && op_flat_stack32(d);
}

static op_fn *select_jcc(struct decode_ctx *d, bool wide)
{
#define WIDE_ROW(CC) jcc_wide_##CC,
#define FLAT_ROW(CC) jcc_flat_##CC,
#define CUT_ROW(CC)  jcc_cut_##CC,
    static op_fn *const fn[3][16] = {
        {ALL_CONDITIONS(WIDE_ROW)}, {ALL_CONDITIONS(FLAT_ROW)}, {ALL_CONDITIONS(CUT_ROW)}};
    return op_threaded(d, fn[wide ? 0 : is_flat32(d) ? 1 : 2][d->z.opcode & 15]);
}

static op_fn *select_jmp(struct decode_ctx *d, bool wide, enum form form)
{
    if (form == FORM_I)
        return op_threaded(d, wide ? jmp_rel : is_flat32(d) ? jmp_rel_flat : jmp_rel_cut);
    if (!wide)
        return is_flat32(d) ? op_threaded(d, jmp_rm32) : op_jmp_indirect;
    return op_threaded(d, form == FORM_R ? jmp_r64 : jmp_m64);
}

static op_fn *select_call(struct decode_ctx *d, bool wide, enum form form)
{
    if (form != FORM_M)
        d->out->seg = SEG_SS;
    if (!wide && is_flat32(d))
        return op_threaded(d, form == FORM_I ? call_rel32 : call_rm32);
    if (!wide)
        return form == FORM_I ? op_call_relative : op_call_indirect;
    if (form == FORM_I)
        return op_threaded(d, call_rel64);
    return op_threaded(d, form == FORM_R ? call_r64 : call_m64);
}

static op_fn *select_loop(struct decode_ctx *d)
{
    d->out->aux = d->z.opcode & 3;
    d->out->rm = d->out->addrsize;
    return op_threaded(d, loop_any);
}

op_fn *op_select_branch(struct decode_ctx *d)
{
    bool wide = d->mode == MODE_LONG64;
    unsigned opsize = wide ? 8 : d->out->opsize;

    if (d->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
        d->z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return NULL;
    switch (d->z.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
        break;
    default:
        return NULL;
    }
    enum form form = op_form(d);
    d->out->opsize = (uint8_t)opsize;
    d->ends_block = true;
    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_JMP:
        return select_jmp(d, wide, form);
    case ZYDIS_MNEMONIC_CALL:
        return select_call(d, wide, form);
    case ZYDIS_MNEMONIC_RET:
        d->out->seg = SEG_SS;
        if (!wide)
            return is_flat32(d) ? op_threaded(d, ret32) : op_ret;
        return op_threaded(d, ret64);
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JRCXZ:
        return select_loop(d);
    default:
        break;
    }
    if (d->z.meta.category == ZYDIS_CATEGORY_COND_BR &&
        ((d->z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (d->z.opcode & 0xf0) == 0x70) ||
         (d->z.opcode_map == ZYDIS_OPCODE_MAP_0F && (d->z.opcode & 0xf0) == 0x80)))
        return select_jcc(d, wide);
    d->ends_block = false;
    return NULL;
}
