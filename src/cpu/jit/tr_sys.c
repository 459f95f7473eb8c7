/* tr_sys.c - the privileged instructions that kernels run most, where they cannot fault: CLI, STI,
 * SWAPGS, STAC and CLAC at CPL 0 (which is part of tr_key(), as are CR4.SMAP and CR4.TSD), PUSHF,
 * POPF, CLD, STD, RDTSC and RDTSCP, the page fault's address in CR2.
 *
 * IF, DF and the other system flags live in st.rflags, never in the host's. */
#include "tr_emit.h"

/* Opcodes of ordinary code: moves, arithmetic, the stack, near branches. */
static bool is_ordinary(uint8_t op)
{
    static const uint32_t set[8] = {
        0x3f3f3f3f, 0x3f3f3f3f, /* 00-3f: ADD .. CMP */
        0xffff0000, 0xffff0f08, /* 50-5f PUSH POP, 63 68 6a 6b, 70-7f Jcc */
        0x00ff3fff, 0xffff0300, /* 80-8d, 90-97, a8 a9, b0-bf */
        0x000f02cb, 0x40c00b00, /* c0 c1 c3 c6 c7 c9 d0-d3 e8 e9 eb f6 f7 fe */
    };
    return set[op >> 5] >> (op & 31) & 1;
}

bool tr_ordinary(const uint8_t *p)
{
    if (*p == 0x65 || *p == 0x66)
        p++;
    if ((*p & 0xf0) == 0x40)
        p++;
    if (*p == 0x0f) /* NOP, CMOV, Jcc, SETcc, MOVZX, MOVSX */
        return p[1] == 0x1f || (p[1] & 0xf0) == 0x40 || (p[1] & 0xe0) == 0x80 ||
               (p[1] & 0xf6) == 0xb6;
    return is_ordinary(*p);
}

/* STI's shadow is for HLT and the way back to user mode, which stay with the interpreter.  Before
 * ordinary code there is none: at most an interrupt that arrives this moment is taken one
 * instruction early. */
static bool sti_ok(const struct tr *t, const struct tr_insn *d)
{
    uintptr_t next = t->b->host + d->off + d->i->len;

    return !t->b->host2 && (next & (GUEST_PAGE_SIZE - 1)) <= GUEST_PAGE_SIZE - 4 &&
           tr_ordinary((const uint8_t *)next);
}

bool tr_sys_ok(const struct tr *t, const struct tr_insn *d)
{
    switch (d->op.kind) {
    case TK_STI:
        return t->code64 && t->c->cpl == 0 && sti_ok(t, d);
    case TK_STAC:
    case TK_CLAC: /* with CR4.SMAP there is the feature */
        return t->code64 && t->c->cpl == 0 && (t->c->st.cr4 & CR4_SMAP);
    case TK_RDTSC:
        if (d->has_modrm && !sys_has(t->c, FEAT_8000_0001_EDX, 27))
            return false;
        return !set_of(t->c)->host_mul && (t->c->cpl == 0 || !(t->c->st.cr4 & CR4_TSD));
    case TK_CLI:
        return t->c->cpl == 0;
    case TK_SWAPGS:
    case TK_CR2:
        return t->code64 && t->c->cpl == 0;
    case TK_PUSHF:
    case TK_POPF:
        return !d->p66;
    case TK_LODS:
    case TK_STOS:
    case TK_MOVS:
        return tr_element_ok(t, d);
    default:
        return true;
    }
}

/* AND (4) or OR (1) of the system flags. */
static void change(struct tr *t, unsigned how, uint32_t v)
{
    tr_flags_clobber(t);
    e_op(t, 0, 0, 0, 0x81, how, op_abs(&t->c->st.rflags));
    e32(t, v);
}

static void swapgs(struct tr *t)
{
    e_load64(t, HR_S0, &t->c->st.seg[SEG_GS].base);
    e_load64(t, HR_S1, &t->c->st.kernel_gs_base);
    e_store64(t, &t->c->st.seg[SEG_GS].base, HR_S1);
    e_store64(t, &t->c->st.kernel_gs_base, HR_S0);
}

/* c->fl's arithmetic flags and the others, of which RF and VM read as 0. */
static void pushf(struct tr *t)
{
    const uint8_t *fl = (const uint8_t *)&t->c->fl; /* OF, and the low byte of the others */
    int32_t n = (int32_t)stack_width(t);

    tr_flags_clobber(t);
    tr_stack(t, HR_SP, -n, n, true);
    e_load32(t, HR_S1, &t->c->st.rflags);
    e_op(t, 0, 0, 0, 0x81, 4, op_reg(HR_S1)); /* and */
    e32(t, ~(FL_ARITH | FL_RF | FL_VM));
    e_op(t, 0, 0, 0, 0x0a, HR_S1, op_abs(fl + 1));   /* or cl */
    e_op(t, 0, 0, 0, 0xf6, 0, op_abs(fl)), e8(t, 1); /* test byte */
    uint8_t *none = e_jcc8(t, J8_JE);
    e_op(t, 0, 0, 0, 0x81, 1, op_reg(HR_S1)), e32(t, FL_OF); /* or */
    e_here8(t, none);
    e_op(t, 0, t->code64 ? E_W : 0, 0, 0x89, HR_S1, op_memory(t));
    e_lea(t, t->code64, HR_SP, HR_SP, HR_MEM, 0, -n);
}

static void popf_by_c(struct tr *t, struct tr_ool *o)
{
    tr_system_end(t);
}

/* Where it would change more than arithmetic flags the interpreter does it all. */
static void popf(struct tr *t)
{
    const uint32_t others = FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_AC | FL_ID;
    int32_t n = (int32_t)stack_width(t);
    struct tr_ool *o = tr_ool(t, popf_by_c);

    tr_stack(t, HR_SP, 0, n, false);
    e_op(t, 0, 0, 0, 0x8b, HR_S1, op_memory(t));
    e_mov32(t, HR_S0, HR_S1);
    e_op(t, 0, 0, 0, 0x33, HR_S0, op_abs(&t->c->st.rflags)); /* xor */
    e_op(t, 0, 0, 0, 0xf7, 0, op_reg(HR_S0));                /* test */
    e32(t, others);
    o->from[0] = e_jcc(t, CC_NE, t->p);
    /* to c->fl's form: OF, and the low byte above it */
    e_mov32(t, HR_S0, HR_S1);
    e_op(t, 0, 0, 0, 0xc1, 5, op_reg(HR_S0)), e8(t, 11); /* shr */
    e_op(t, 0, 0, 0, 0x83, 4, op_reg(HR_S0)), e8(t, 1);  /* and */
    e_op(t, 0, 0, 0, 0x81, 4, op_reg(HR_S1)), e32(t, FL_ARITH & 0xff);
    e_op(t, 0, 0, 0, 0x83, 1, op_reg(HR_S1)), e8(t, 2); /* or: always set */
    e_op(t, 0, 0, 0, 0xc1, 4, op_reg(HR_S1)), e8(t, 8); /* shl */
    e_op(t, 0, 0, 0, 0x09, HR_S0, op_reg(HR_S1));
    e_op(t, 0x66, 0, 0, 0x89, HR_S1, op_abs(&t->c->fl));
    t->flags = TR_MEM;
    e_lea(t, t->code64, HR_SP, HR_SP, HR_MEM, 0, n);
    tr_leave_to(t, tr_next_rip(t), false, false);
}

static void sti_by_c(struct tr *t, struct tr_ool *o)
{
    tr_system_end(t);
}

/* Where an interrupt waits the interpreter does it all. */
static void sti(struct tr *t)
{
    struct tr_ool *o = tr_ool(t, sti_by_c);

    tr_flags_clobber(t);
    e_op(t, 0, 0, 0, 0xf7, 0, op_abs(&t->c->st.rflags)); /* test dword, IF */
    e32(t, FL_IF);
    uint8_t *open = e_jcc8(t, J8_JNE);
    e_const(t, HR_S0, (uint64_t)(uintptr_t)lapic_attention(t->c->lapic));
    e_op(t, 0, 0, 0, 0x80, 7, op_at(HR_S0)), e8(t, 0); /* cmp byte, 0 */
    o->from[0] = e_jcc(t, CC_NE, t->p);
    change(t, 1, FL_IF);
    e_here8(t, open);
    tr_leave_to(t, tr_next_rip(t), false, false);
}

/* What cpu_update_mode() makes of EFLAGS.AC at CPL 0 with CR4.SMAP.  The block that follows runs in
 * the other context. */
static void set_ac(struct tr *t, bool on)
{
    struct jit_cpu *c = t->c;
    uint8_t was = t->ctx, ctx = on ? TLB_CTX_SUPER_AC : TLB_CTX_SUPER;

    if (on)
        change(t, 1, FL_AC);
    else
        change(t, 4, ~FL_AC);
    e_op(t, 0, 0, 0, 0xc6, 0, op_abs(&c->smap_on)), e8(t, !on);
    e_op(t, 0, 0, 0, 0xc6, 0, op_abs(&c->tlb_ctx)), e8(t, ctx);
    e_op(t, 0, E_W, 0, 0xc7, 0, op_abs(&c->tlb_now)), e32(t, low32(&c->tlb[ctx]));
    t->ctx = ctx;
    tr_leave_to(t, tr_next_rip(t), false, false);
    t->ctx = was;
}

/* sys_tsc(); the fence as in jit_clock.c. */
static void rdtsc(struct tr *t)
{
    tr_flags_clobber(t);
    e8(t, 0x0f), e8(t, 0xae), e8(t, 0xe8); /* lfence */
    e8(t, 0x0f), e8(t, 0x31);
    e_op(t, 0, E_W, 0, 0xc1, 4, op_reg(HR_RDX)), e8(t, 32);
    e_op(t, 0, E_W, 0, 0x09, HR_RDX, op_reg(HR_RAX));
    e_const(t, HR_S0, (uint64_t)(uintptr_t)&set_of(t->c)->stopped_ticks);
    e_op(t, 0, E_W, 0, 0x2b, HR_RAX, op_at(HR_S0));
    e_op(t, 0, E_W, 0, 0x03, HR_RAX, op_abs(&t->c->tsc_offset));
    e_mov(t, HR_RDX, HR_RAX);
    e_op(t, 0, E_W, 0, 0xc1, 5, op_reg(HR_RDX)), e8(t, 32);
    e_mov32(t, HR_RAX, HR_RAX);
    if (t->in->has_modrm) /* RDTSCP */
        e_load32(t, HR_RCX, &t->c->st.tsc_aux);
}

/* The block ends with it only because other control registers are read by the same opcode. */
static void read_cr2(struct tr *t)
{
    unsigned h = hreg(t->in->rm);

    e_load64(t, in_memory(h) ? HR_S1 : h, &t->c->st.cr2);
    if (in_memory(h))
        e_store64(t, &t->c->st.gpr[h - HR_MEM], HR_S1);
    tr_leave_to(t, tr_next_rip(t), false, false);
}

void tr_sys(struct tr *t)
{
    switch (t->in->op.kind) {
    case TK_RDTSC:
        rdtsc(t);
        break;
    case TK_STI:
        sti(t);
        break;
    case TK_STAC:
        set_ac(t, true);
        break;
    case TK_CLAC:
        set_ac(t, false);
        break;
    case TK_CR2:
        read_cr2(t);
        break;
    case TK_CLI:
        change(t, 4, ~FL_IF);
        break;
    case TK_CLD:
        change(t, 4, ~FL_DF);
        break;
    case TK_STD:
        change(t, 1, FL_DF);
        break;
    case TK_SWAPGS:
        swapgs(t);
        break;
    case TK_POPF:
        popf(t);
        break;
    default:
        pushf(t);
    }
}
