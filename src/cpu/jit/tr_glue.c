/* tr_glue.c - the routines between C and translated code, made once for each cache.
 *
 *   enter(code)    C calls it: guest registers in, on to the stack of return addresses, off
 *   exit_*         translated code jumps here: guest registers out, back to C behind enter()
 *   fill, interp, system   translated code calls them: registers out, C on C's own stack, registers
 * in stack[..]      a stack probe's second chance: the table; moves tlb_ctx.stack bail the
 * interpreter is to run an instruction
 *
 * C may leave a call by siglongjmp (guest faults): registers are in st by then and tr.ret_sp is
 * where the block had it, so nothing is lost.
 *
 * Vector registers are the guest's while tr.vec_live; before C runs they are saved, because C uses
 * them too. */
#include "fpu.h"
#include "tr_emit.h"

#include <glib.h>

static void registers_out(struct tr *t)
{
    for (unsigned g = 0; g < 16; g++)
        if (!in_memory(hreg(g)))
            e_store64(t, &t->c->st.gpr[g], hreg(g));
}

static void registers_in(struct tr *t)
{
    for (unsigned g = 0; g < 16; g++)
        if (!in_memory(hreg(g)))
            e_load64(t, hreg(g), &t->c->st.gpr[g]);
}

/* XSAVE or XRSTOR of the vector state; clobbers eax, edx. */
static void xsave_area(struct tr *t, unsigned how)
{
    e_load32(t, HR_RAX, &t->c->tr.vec_mask);
    e8(t, 0xba), e32(t, 0); /* mov edx, 0: flags stay */
    e_op(t, 0, E_W, 1, 0xae, how, op_abs(t->c->st.xsave));
}

/* Guest vector state to st.xsave, if it is live; after registers_out. */
static void vectors_out(struct tr *t)
{
    uint8_t *none;

    e_op(t, 0, 0, 0, 0x80, 7, op_abs(&t->c->tr.vec_live)), e8(t, 0); /* cmp byte, 0 */
    none = e_jcc8(t, J8_JE);
    xsave_area(t, 4);
    e_op(t, 0, E_W, 0, 0xc7, 0, op_abs(t->c->st.xsave + XS_HEADER)); /* all components valid */
    e32(t, t->c->tr.xstate_bv);
    e_op(t, 0, 0, 1, 0xae, 2, op_abs(&t->c->tr.mxcsr_plain)); /* ldmxcsr */
    if (t->c->tr.vec_mask & XF_AVX)
        e8(t, 0xc5), e8(t, 0xf8), e8(t, 0x77); /* vzeroupper: C uses SSE */
    e_op(t, 0, 0, 0, 0xc6, 0, op_abs(&t->c->tr.vec_live)), e8(t, 0);
    e_here8(t, none);
}

static void vectors_in(struct tr *t)
{
    xsave_area(t, 5);
    e_op(t, 0, 0, 0, 0xc6, 0, op_abs(&t->c->tr.vec_live)), e8(t, 1);
}

static void call_c(struct tr *t, const void *fn)
{
    e8(t, 0x48), e8(t, 0xb8), e64(t, (uint64_t)(uintptr_t)fn); /* movabs rax */
    e8(t, 0xff), e8(t, 0xd0);
}

static void push_reg(struct tr *t, unsigned r, bool pop)
{
    if (r >= 8)
        e8(t, 0x41);
    e8(t, (pop ? 0x58 : 0x50) | (r & 7));
}

static const uint8_t saved[6] = {HR_RBX, HR_RBP, 12, 13, 14, 15};

static void enter(struct tr *t)
{
    for (unsigned k = 0; k < 6; k++)
        push_reg(t, saved[k], false);
    e8(t, 0x48), e8(t, 0x83), e8(t, 0xec), e8(t, 8); /* sub rsp, 8: calls find it aligned */
    e_store64(t, &t->c->tr.c_sp, HR_RSP);
    e_store64(t, &t->c->tr.code, HR_S0);
    registers_in(t);
    e_load64(t, HR_RSP, &t->c->tr.ret_sp);
    e_op(t, 0, 0, 0, 0xff, 4, op_abs(&t->c->tr.code)); /* jmp [code] */
}

/* Registers are out already. */
static void back_to_c(struct tr *t)
{
    e_load64(t, HR_RSP, &t->c->tr.c_sp);
    e8(t, 0x48), e8(t, 0x83), e8(t, 0xc4), e8(t, 8);
    for (unsigned k = 6; k-- > 0;)
        push_reg(t, saved[k], true);
    e8(t, 0xc3);
}

#define RET_DEPTH 4u /* pairs below the top that a return looks at */

/* S0 = target, which is not the top pair's.  A pair further down is taken when it matches: those
 * above it belong to calls that were left in another way (retpolines, longjmp, returns that were
 * interpreted).  Each of them is popped by a RET, which keeps the host's own predictor in step.
 * When none matches all stay: the call was interpreted, or another thread of the guest's runs. */
static void ret_miss(struct tr *t)
{
    uint8_t *found[RET_DEPTH], *none;

    for (unsigned k = 0; k < RET_DEPTH; k++) {
        /* cmp rdi, [rsp + 24 + 16 * k] */
        e8(t, 0x48), e8(t, 0x3b), e8(t, 0x7c), e8(t, 0x24), e8(t, (uint8_t)(24 + 16 * k));
        found[k] = e_jcc8(t, J8_JE);
    }
    none = e_jmp(t, t->p);
    for (unsigned k = RET_DEPTH; k-- > 0;) {
        e_here8(t, found[k]);
        e8(t, 0x48), e8(t, 0xc7), e8(t, 0x04), e8(t, 0x24); /* mov qword [rsp], behind the ret */
        e32(t, low32(t->p + 5 - t->cache->rw + t->cache->rx));
        e8(t, 0xc3);
        e8(t, 0x48), e8(t, 0x83), e8(t, 0xc4), e8(t, 8); /* add rsp, 8 */
    }
    e8(t, 0xc3);
    patch_rel(none, t->p);
    tr_leave_indirect(t);
}

static void exits(struct tr *t, struct tr_glue *g, uint8_t *rw)
{
    g->exit_host = (uint32_t)(t->p - rw);
    e_flags_save(t);
    g->exit_mem = (uint32_t)(t->p - rw);
    registers_out(t);
    e_store64(t, &t->c->tr.ret_sp, HR_RSP);
    vectors_out(t);
    back_to_c(t);

    g->exit_indirect = (uint32_t)(t->p - rw);
    e_store64(t, &t->c->st.rip, HR_S0);
    e_store_const32(t, &t->c->tr.link, 0);
    e_jmp(t, rw + g->exit_mem);
}

/* Called with S1 = desc: the instruction that is to be interpreted; does not return. */
static void bail(struct tr *t, uint8_t *rw)
{
    t->cache->glue.bail = (uint32_t)(t->p - rw);
    e8(t, 0x5f); /* pop rdi */
    e_store64(t, &t->c->tr.fault_pc, HR_S0);
    e_store32(t, &t->c->tr.desc, HR_S1);
    e_jmp(t, rw + t->cache->glue.exit_mem);
}

/* The common part of calls to C: rdi = argument, ecx = desc; tr.caller_pc and tr.ret_sp are set.
 * Comes back with C's answer in rax. */
static void into_c(struct tr *t, const void *fn)
{
    registers_out(t);
    e_store64(t, &t->c->tr.keep[2], HR_RSP);
    e_mov(t, HR_RSI, HR_S0);
    e_mov32(t, HR_RBX, HR_S1); /* survives the call, and xsave's use of edx */
    e_op(t, 0, 0, 1, 0xb6, HR_RAX, op_abs(&t->c->tr.vec_live)); /* movzx */
    e_op(t, 0, 0, 0, 0x88, HR_RAX, op_abs(&t->c->tr.vec_was_live));
    vectors_out(t);
    e_load64(t, HR_RSP, &t->c->tr.c_sp);
    e_const(t, HR_S0, (uint64_t)(uintptr_t)t->c);
    e_mov32(t, HR_RDX, HR_RBX);
    call_c(t, fn);
    e_load64(t, HR_RSP, &t->c->tr.keep[2]);
}

static void note_caller(struct tr *t)
{
    e_store64(t, &t->c->tr.keep[0], HR_RAX);
    e_op(t, 0, E_W, 0, 0x8b, HR_RAX, op_reg(HR_RSP)); /* mov rax, rsp */
    e8(t, 0x48), e8(t, 0x83), e8(t, 0xc0), e8(t, 8);  /* add rax, 8 */
    e_store64(t, &t->c->tr.ret_sp, HR_RAX);
    e8(t, 0x48), e8(t, 0x8b), e8(t, 0x40), e8(t, 0xf8); /* mov rax, [rax - 8] */
    e_store64(t, &t->c->tr.caller_pc, HR_RAX);
    e_load64(t, HR_RAX, &t->c->tr.keep[0]);
}

/* S0 = linear, S1 = desc -> S1 = TR_FILL_AGAIN: try again with S0 as it was; TR_FILL_DONE; else S0
 * = where the bytes are. */
static uint8_t *fill(struct tr *t, uint8_t *rw)
{
    t->cache->glue.fill = (uint32_t)(t->p - rw);
    note_caller(t);
    uint8_t *inner = t->p;
    e_store64(t, &t->c->tr.keep[3], HR_S0);
    into_c(t, (const void *)tr_fill);
    e8(t, 0x48), e8(t, 0x83), e8(t, 0xf8), e8(t, TR_FILL_LEAVE); /* cmp rax */
    uint8_t *leave = e_jcc(t, CC_E, t->p);
    e_mov(t, HR_S1, HR_RAX);
    e_mov(t, HR_S0, HR_RAX);
    e_op(t, 0, 0, 0, 0x80, 7, op_abs(&t->c->tr.vec_was_live)), e8(t, 0);
    uint8_t *dead = e_jcc8(t, J8_JE);
    vectors_in(t);
    e_here8(t, dead);
    e_op(t, 0, E_W, 0, 0x85, HR_S1, op_reg(HR_S1)); /* test */
    uint8_t *there = e_jcc8(t, J8_JNE);
    e_load64(t, HR_S0, &t->c->tr.keep[3]);
    e_here8(t, there);
    registers_in(t);
    e8(t, 0xc3);
    patch_rel(leave, t->p);
    back_to_c(t);
    return inner;
}

/* S1 = number of the instruction. */
static void interp(struct tr *t, uint8_t *rw)
{
    t->cache->glue.interp = (uint32_t)(t->p - rw);
    note_caller(t);
    into_c(t, (const void *)tr_interp_one);
    e8(t, 0x85), e8(t, 0xc0); /* test eax, eax */
    uint8_t *leave = e_jcc8(t, J8_JNE);
    registers_in(t);
    e8(t, 0xc3);
    e_here8(t, leave);
    back_to_c(t);
}

/* S1 = number of the block's last instruction; goes on where C says. */
static void system_insn(struct tr *t, uint8_t *rw)
{
    t->cache->glue.system = (uint32_t)(t->p - rw);
    note_caller(t);
    into_c(t, (const void *)tr_system);
    e_load64(t, HR_RSP, &t->c->tr.ret_sp);            /* no way back */
    e_op(t, 0, E_W, 0, 0x85, HR_RAX, op_reg(HR_RAX)); /* test */
    uint8_t *leave = e_jcc8(t, J8_JE);
    e_store64(t, &t->c->tr.code, HR_RAX);
    registers_in(t);
    e_op(t, 0, 0, 0, 0xff, 4, op_abs(&t->c->tr.code)); /* jmp [code] */
    e_here8(t, leave);
    back_to_c(t);
}

/* add/sub/cmp/mov of a register and [rax + abs] */
static void at_rax(struct tr *t, uint8_t opcode, unsigned reg, uint32_t abs)
{
    e8(t, 0x48 | reg >> 3 << 2);
    e8(t, opcode);
    e8(t, 0x80 | (reg & 7) << 3 | HR_RAX);
    e32(t, abs);
}

/* mov eax, edi; shr, and: eax = place in a table of S0 + add's page */
static void index_to_rax(struct tr *t, int32_t add)
{
    if (add)
        e_lea(t, false, HR_RAX, HR_S0, HR_MEM, 0, add);
    else
        e_mov32(t, HR_RAX, HR_S0);
    e8(t, 0xc1), e8(t, 0xe8), e8(t, GUEST_PAGE_SHIFT - 4); /* shr eax */
    e8(t, 0x25), e32(t, (TLB_SIZE - 1) << 4);              /* and eax */
}

/* rdx = S0 + add - the tag at rax; returns the jump for another page. */
static uint8_t *page_check(struct tr *t, uint32_t tags, int32_t add)
{
    e_lea(t, true, HR_RDX, HR_S0, HR_MEM, 0, add);
    at_rax(t, 0x2b, HR_RDX, tags);
    e8(t, 0x48), e8(t, 0x81), e8(t, 0xfa), e32(t, GUEST_PAGE_SIZE - 1); /* cmp rdx */
    return e_jcc(t, CC_A, t->p);
}

/* fill() for a load of 2 to 8 bytes that bounces: when it lies in two pages that are in the TLB,
 * the last 8 bytes of one and the first 8 of the other are put together here. */
static void cross(struct tr *t, struct tlb_ctx *x, uint8_t *rw)
{
    uint32_t tags = low32(&x->rd->tag), hosts = tags + 8;
    uint8_t *miss[3];

    e_store64(t, &t->c->tr.keep[0], HR_RAX);
    e_store64(t, &t->c->tr.keep[1], HR_RDX);
    e_mov32(t, HR_RAX, HR_S0);
    e8(t, 0x25), e32(t, GUEST_PAGE_SIZE - 1); /* and eax */
    e8(t, 0x0f), e8(t, 0xb6), e8(t, 0xd5);    /* movzx edx, ch: size */
    e8(t, 0x01), e8(t, 0xc2);                 /* add edx, eax */
    e8(t, 0x81), e8(t, 0xfa), e32(t, GUEST_PAGE_SIZE);
    miss[0] = e_jcc(t, CC_BE, t->p); /* in one page */
    index_to_rax(t, 0);
    miss[1] = page_check(t, tags, 0);
    at_rax(t, 0x8b, HR_RDX, hosts);
    e8(t, 0x48), e8(t, 0x8b), e8(t, 0x92), e32(t, GUEST_PAGE_SIZE - 8); /* mov rdx, [rdx + 4088] */
    e_store64(t, t->c->tr.bounce, HR_RDX);
    index_to_rax(t, GUEST_PAGE_SIZE);
    miss[2] = page_check(t, tags, GUEST_PAGE_SIZE);
    at_rax(t, 0x8b, HR_RDX, hosts);
    e8(t, 0x48), e8(t, 0x8b), e8(t, 0x12);                     /* mov rdx, [rdx] */
    e_mov32(t, HR_S1, HR_S0);                                  /* bits of the first 8 bytes */
    e8(t, 0x83), e8(t, 0xe1), e8(t, 7);                        /* that come before: */
    e8(t, 0xc1), e8(t, 0xe1), e8(t, 3);                        /* (linear mod 8) * 8 */
    e_op(t, 0, E_W, 1, 0xad, HR_RDX, op_abs(t->c->tr.bounce)); /* shrd [bounce], rdx, cl */
    e_const(t, HR_S0, (uint64_t)(uintptr_t)t->c->tr.bounce);
    e_mov(t, HR_S1, HR_S0); /* not TR_FILL_AGAIN */
    e_load64(t, HR_RAX, &t->c->tr.keep[0]);
    e_load64(t, HR_RDX, &t->c->tr.keep[1]);
    e8(t, 0xc3);
    for (unsigned n = 0; n < 3; n++)
        patch_rel(miss[n], t->p);
    e_load64(t, HR_RAX, &t->c->tr.keep[0]);
    e_load64(t, HR_RDX, &t->c->tr.keep[1]);
    e_jmp(t, rw + t->cache->glue.fill);
}

/* S0 = linear, S1 = desc -> S0 = host address.  A hit in the table of writable pages becomes the
 * stack's page. */
static void stack_probe(struct tr *t, struct tlb_ctx *x, bool write, uint8_t *inner)
{
    uint32_t tags = low32(&(write ? x->wr : x->rd)->tag), hosts = tags + 8;
    uint32_t wtags = low32(&x->wr->tag);
    uint8_t *again, *miss[2], *keep;

    note_caller(t);
    again = t->p;
    e_store64(t, &t->c->tr.keep[0], HR_RAX);
    e_store64(t, &t->c->tr.keep[1], HR_S1);
    index_to_rax(t, 0);
    e8(t, 0x0f), e8(t, 0xb6), e8(t, 0xcd); /* movzx ecx, ch */
    at_rax(t, 0x2b, HR_S0, tags);
    e8(t, 0x48), e8(t, 0x81), e8(t, 0xff), e32(t, GUEST_PAGE_SIZE - 1); /* cmp rdi */
    miss[0] = e_jcc8(t, 0x77);                                          /* ja */
    e8(t, 0x01), e8(t, 0xf9);                                           /* add ecx, edi */
    e8(t, 0x81), e8(t, 0xf9), e32(t, GUEST_PAGE_SIZE);                  /* cmp ecx */
    miss[1] = e_jcc8(t, 0x77);
    at_rax(t, 0x8b, HR_S1, tags);
    at_rax(t, 0x3b, HR_S1, wtags);
    keep = e_jcc8(t, J8_JNE);
    e_store64(t, &x->stack.tag, HR_S1);
    at_rax(t, 0x8b, HR_S1, wtags + 8);
    e_store64(t, &x->stack.host, HR_S1);
    e_here8(t, keep);
    at_rax(t, 0x03, HR_S0, hosts);
    e_load64(t, HR_RAX, &t->c->tr.keep[0]);
    e8(t, 0xc3);
    e_here8(t, miss[0]);
    e_here8(t, miss[1]);
    at_rax(t, 0x03, HR_S0, tags);
    e_load64(t, HR_RAX, &t->c->tr.keep[0]);
    e_load64(t, HR_S1, &t->c->tr.keep[1]);
    e8(t, 0x51); /* push rcx */
    e_call(t, inner);
    e8(t, 0x59); /* pop rcx */
    e_jmp(t, again);
}

static void vec_load(struct tr *t, uint8_t *rw)
{
    t->cache->glue.vec_load = (uint32_t)(t->p - rw);
    e_store64(t, &t->c->tr.keep[0], HR_RAX);
    e_store64(t, &t->c->tr.keep[1], HR_RDX);
    vectors_in(t);
    e_load64(t, HR_RAX, &t->c->tr.keep[0]);
    e_load64(t, HR_RDX, &t->c->tr.keep[1]);
    e8(t, 0xc3);
}

/* Does not keep flags. */
static void x87_load(struct tr *t, uint8_t *rw)
{
    t->cache->glue.x87_load = (uint32_t)(t->p - rw);
    note_caller(t);
    into_c(t, (const void *)tr_x87_load);
    e_op(t, 0, 0, 0, 0x80, 7, op_abs(&t->c->tr.vec_was_live)), e8(t, 0);
    uint8_t *dead = e_jcc8(t, J8_JE);
    vectors_in(t);
    e_here8(t, dead);
    registers_in(t);
    e8(t, 0xc3);
}

static void indirect(struct tr *t, uint8_t *rw)
{
    struct tr_glue *g = &t->cache->glue;

    g->kept[t->ctx] = (uint32_t)(t->p - rw);
    e_load64(t, HR_S0, &t->c->tr.target);
    g->indirect[t->ctx] = (uint32_t)(t->p - rw);
    tr_look_up_second(t);
    e_jmp(t, rw + g->exit_indirect);
}

void tr_glue_make(struct jit_cpu *c, struct tr_cache *k)
{
    struct tr t = {.c = c, .cache = k, .p = k->rw, .code64 = true};

    enter(&t);
    exits(&t, &k->glue, k->rw);
    bail(&t, k->rw);
    uint8_t *inner = fill(&t, k->rw);
    interp(&t, k->rw);
    system_insn(&t, k->rw);
    vec_load(&t, k->rw);
    x87_load(&t, k->rw);
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        t.ctx = (uint8_t)ctx;
        indirect(&t, k->rw);
        k->glue.ret_miss[ctx] = (uint32_t)(t.p - k->rw);
        ret_miss(&t);
        k->glue.cross[ctx] = (uint32_t)(t.p - k->rw);
        cross(&t, &c->tlb[ctx], k->rw);
        for (unsigned write = 0; write < 2; write++) {
            k->glue.stack[ctx][write] = (uint32_t)(t.p - k->rw);
            stack_probe(&t, &c->tlb[ctx], write, inner);
        }
    }
    tr_rep_make(&t);
    k->first = k->used = ALIGN_UP((uint32_t)(t.p - k->rw), 64);
}
