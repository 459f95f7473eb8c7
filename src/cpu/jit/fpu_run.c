/* fpu_run.c - running a stub: checks before it, operands in and out, MXCSR and the x87 unit around
 * it.
 */
#include "fpu.h"
#include "op.h"

/* ---- operands ---- */

static inline void check_unit(struct jit_cpu *c, unsigned flags)
{
    if (flags & FPU_UNIT_SSE)
        fpu_check_sse(c);
    if (flags & FPU_UNIT_AVX)
        fpu_check_avx(c);
    if (flags & FPU_UNIT_AVX512)
        fpu_check_avx512(c);
    if (flags & FPU_UNIT_X87)
        fpu_check_x87(c);
    if (flags & FPU_UNIT_MMX)
        fpu_check_mmx(c);
    if ((flags & FPU_X87) && unlikely(fpu_of(c)->x87_unmasked) && !(flags & FPU_NO_WAIT))
        fpu_check_wait(c);
}

/* #GP for a misaligned operand; a misaligned one that is permitted goes through the scratch buffer,
 * because the host's instruction may not take it. */
static inline void check_align(struct jit_cpu *c, const struct fpu_op *op, uint64_t linear)
{
    if (likely(!(linear & op->align_mask)) || op->align == FPU_ALIGN_NEVER)
        return;
    if (op->align == FPU_ALIGN_ALWAYS || !(xs_get32(c, XS_MXCSR) & MXCSR_MM))
        cpu_raise_error(c, EX_GP, 0);
}

static inline uint64_t operand_base(struct jit_cpu *c, const struct insn *i)
{
    return c->mode == MODE_LONG64 && i->seg < SEG_FS ? 0 : c->st.seg[i->seg].base;
}

/* Flat segments in long mode are the common case; everything else goes the checked way. */
static inline uint64_t operand_linear(struct jit_cpu *c, const struct insn *i,
                                      const struct fpu_op *op, unsigned access)
{
    if (likely(c->mode == MODE_LONG64 && i->addrsize == 8 && i->seg != SEG_FS &&
               i->seg != SEG_GS)) {
        uint64_t ea = (uint64_t)(int64_t)i->disp;

        if (i->base < 16)
            ea += c->st.gpr[i->base];
        else if (i->base == 16)
            ea += insn_rip(c, i) + i->len;
        if (i->index < 16)
            ea += c->st.gpr[i->index] << i->scale_shift;
        if (likely((uint64_t)(((int64_t)(ea << 16)) >> 16) == ea &&
                   (uint64_t)(((int64_t)((ea + op->size) << 16)) >> 16) == ea + op->size)) {
            check_align(c, op, ea);
            return ea;
        }
    }
    if ((c->mode_key & KEY_FLAT) && i->seg < SEG_FS && i->seg != SEG_CS) {
        uint64_t ea = insn_ea(c, i);

        if (likely(ea + op->size <= 1ull << 32)) {
            check_align(c, op, ea);
            return ea;
        }
    }
    /* Alignment comes before canonical form: that is how the host does it. */
    check_align(c, op, insn_ea(c, i) + operand_base(c, i));
    return insn_linear(c, i, op->size, access);
}

/* ---- the stub call ---- */

static _Noreturn void stub_fault(struct jit_cpu *c, uint64_t trap)
{
    if (trap == EX_XM)
        cpu_raise(c, (c->st.cr4 & CR4_OSXMMEXCPT) ? EX_XM : EX_UD);
    if (trap == EX_UD)
        cpu_raise(c, EX_UD);
    fpu_check_wait(c);
    cpu_raise(c, EX_MF);
}

/* The host's MXCSR is only reloaded when the guest's differs: after the first instruction of a run
 * both are equal, and comparing costs a fifth of a reload. */
static inline uint64_t call_with_mxcsr(struct jit_cpu *c, const struct fpu_op *op, void *mem)
{
    uint32_t guest = xs_get32(c, XS_MXCSR), host = 0;
    const uint32_t plain = MXCSR_DEFAULT;
    uint64_t trap;

    __asm__ volatile("stmxcsr %0" : "=m"(host));
    if (host != guest)
        __asm__ volatile("ldmxcsr %0" ::"m"(guest));
    trap = op->code(c, mem);
    __asm__ volatile("stmxcsr %0" : "=m"(guest));
    xs_put32(c, XS_MXCSR, guest);
    if (unlikely((guest & (MXCSR_CONTROL | MXCSR_MM)) != MXCSR_DEFAULT))
        __asm__ volatile("ldmxcsr %0" ::"m"(plain));
    return trap;
}

static inline void run_stub(struct jit_cpu *c, const struct fpu_op *op, unsigned flags, void *mem)
{
    struct fpu *f = fpu_of(c);
    uint64_t trap;

    if ((flags & FPU_X87) && unlikely(!c->x87_live))
        fpu_load_live(c);
    if (flags & FPU_MXCSR)
        trap = call_with_mxcsr(c, op, mem);
    else
        trap = op->code(c, mem);
    if (unlikely(trap))
        stub_fault(c, trap);
    if (flags & FPU_NO_WAIT)
        fpu_settle_ferr(c);
    if (flags & FPU_LOADS_CW) {
        uint16_t cw;

        __asm__ volatile("fnstcw %0" : "=m"(cw));
        f->x87_unmasked = (~cw & 0x3f) != 0;
    }
}

/* Offset in CS of the instruction being run; FIP and FDP are offsets, not linear addresses. */
static inline void note_pointers(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op,
                                 unsigned flags)
{
    struct fpu *f = fpu_of(c);

    if (!(flags & FPU_POINTERS))
        return;
    xs_put16(c, XS_FOP, op->fop);
    xs_put64(c, XS_FIP, insn_rip(c, i));
    f->fcs = c->st.seg[SEG_CS].sel;
    if (i->flags & INSN_MEM) {
        xs_put64(c, XS_FDP, insn_ea(c, i));
        f->fds = c->st.seg[i->seg].sel;
    }
}

static inline void run_op_reg(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op,
                              unsigned flags)
{
    check_unit(c, flags);
    run_stub(c, op, flags, NULL);
    note_pointers(c, i, op, flags);
}

static inline void run_op_load(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op,
                               unsigned flags)
{
    struct fpu *f = fpu_of(c);
    uint64_t linear;
    const struct tlb_hot *e;
    void *mem;

    check_unit(c, flags);
    linear = operand_linear(c, i, op, ACC_READ);
    e = &c->tlb_now->rd[tlb_index(linear)];
    if (likely(TLB_COVERS(e->tag, linear, op->size) && !(linear & op->align_mask))) {
        mem = (void *)(linear - e->tag + e->host);
    } else {
        mmu_read_slow(c, linear, f->scratch, op->size, ACC_READ);
        mem = f->scratch;
    }
    run_stub(c, op, flags, mem);
    note_pointers(c, i, op, flags);
}

/* Raises what a write of [linear, linear+len) would raise, without writing. */
void fpu_probe_write(struct jit_cpu *c, uint64_t linear, unsigned len)
{
    mmu_translate(c, linear, ACC_WRITE);
    if ((linear ^ (linear + len - 1)) & ~0xfffull)
        mmu_translate(c, (linear + len - 1) & ~0xfffull, ACC_WRITE);
}

static inline void run_op_store(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op,
                                unsigned flags)
{
    struct fpu *f = fpu_of(c);
    uint64_t linear;
    const struct tlb_hot *e;

    check_unit(c, flags);
    linear = operand_linear(c, i, op, ACC_WRITE);
    e = &c->tlb_now->wr[tlb_index(linear)];
    if (likely(TLB_COVERS(e->tag, linear, op->size) && !(linear & op->align_mask))) {
        run_stub(c, op, flags, (void *)(linear - e->tag + e->host));
    } else {
        fpu_probe_write(c, linear, op->size);
        /* An unmasked x87 exception leaves the operand as it was. */
        if ((flags & FPU_X87) && f->x87_unmasked)
            mmu_read_slow(c, linear, f->scratch, op->size, ACC_READ);
        run_stub(c, op, flags, f->scratch);
        mmu_write_slow(c, linear, f->scratch, op->size, ACC_WRITE);
    }
    note_pointers(c, i, op, flags);
}

/* ---- memory operands under an opmask ----
 *
 * In a page at hand the host's instruction does what the mask says.  Otherwise the elements that it
 * selects are moved one run after the other: the others neither fault nor are touched (SDM vol.2
 * §2.7.5), but for instructions without fault suppression. */

struct masked {
    uint64_t active; /* elements */
    uint64_t ea;     /* offset in the segment */
};

static uint64_t low_bits(unsigned n)
{
    return n >= 64 ? UINT64_MAX : BIT64(n) - 1;
}

static uint64_t active_elements(struct jit_cpu *c, const struct fpu_mask *m)
{
    uint64_t k = fpu_opmask(c, m->reg) & low_bits(m->bits), active = 0;

    switch ((enum fpu_mask_use)m->use) {
    case FPU_MASK_PACKED:
        return low_bits((unsigned)__builtin_popcountll(k));
    case FPU_MASK_REPEAT:
        for (unsigned at = 0; at < m->bits; at += m->count)
            active |= k >> at & low_bits(m->count);
        return active;
    default:
        return k;
    }
}

/* The next run of active elements: its first one, how many; false: none left. */
static bool next_run(uint64_t *active, unsigned *first, unsigned *count)
{
    uint64_t rest;

    if (!*active)
        return false;
    *first = (unsigned)__builtin_ctzll(*active);
    rest = ~(*active >> *first);
    *count = rest ? (unsigned)__builtin_ctzll(rest) : 64 - *first;
    *active &= ~(low_bits(*count) << *first);
    return true;
}

static struct masked masked_operand(struct jit_cpu *c, const struct insn *i,
                                    const struct fpu_op *op)
{
    struct masked m = {.ea = insn_ea(c, i), .active = active_elements(c, &op->mask)};

    if (op->mask.faults)
        m.active = low_bits(op->mask.count);
    if (m.active)
        check_align(c, op, m.ea + operand_base(c, i));
    return m;
}

/* The whole operand in a page at hand, or NULL. */
static void *masked_host(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op,
                         const struct masked *m, unsigned access)
{
    bool flat = c->mode == MODE_LONG64 || ((c->mode_key & KEY_FLAT) && i->seg < SEG_FS &&
                                           i->seg != SEG_CS && m->ea + op->size <= 1ull << 32);
    uint64_t linear = m->ea + operand_base(c, i);
    unsigned slot = tlb_index(linear);
    const struct tlb_hot *e = access == ACC_WRITE ? &c->tlb_now->wr[slot] : &c->tlb_now->rd[slot];

    return flat && TLB_COVERS(e->tag, linear, op->size) ? (void *)(linear - e->tag + e->host)
                                                        : NULL;
}

/* Of a run that leaves the canonical addresses those elements that do not may fault first. */
static uint64_t run_linear(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op,
                           const struct masked *m, unsigned first, unsigned count, unsigned access)
{
    const unsigned unit = op->mask.unit;
    uint64_t ea = m->ea + first * unit, last = ea + operand_base(c, i) + count * unit - 1;

    if (unlikely(c->mode == MODE_LONG64 && !canonical_ok(c, last)))
        for (unsigned n = 0; n < count; n++)
            mmu_translate(c, seg_linear(c, i->seg, ea + n * unit, unit, access), access);
    return seg_linear(c, i->seg, m->ea + first * op->mask.unit, count * op->mask.unit, access);
}

/* Alignment checks (#AC) are for operands of up to 8 bytes, not for pieces of longer ones. */
static unsigned run_step(const struct jit_cpu *c, const struct fpu_op *op, unsigned bytes)
{
    return c->tlb_ctx == TLB_CTX_ALIGN && op->size > 8 && bytes <= 8 ? 1 : bytes;
}

static void run_masked_load(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op)
{
    struct fpu *f = fpu_of(c);
    struct masked m;
    unsigned first, count;
    void *mem;

    check_unit(c, op->flags);
    m = masked_operand(c, i, op);
    mem = masked_host(c, i, op, &m, ACC_READ);
    if (!mem) {
        mem = f->scratch;
        while (next_run(&m.active, &first, &count)) {
            uint64_t linear = run_linear(c, i, op, &m, first, count, ACC_READ);
            unsigned bytes = count * op->mask.unit, step = run_step(c, op, bytes);

            for (unsigned at = 0; at < bytes; at += step)
                mmu_read_slow(c, linear + at, f->scratch + first * op->mask.unit + at, step,
                              ACC_READ);
        }
    }
    run_stub(c, op, op->flags, mem);
}

static void run_masked_store(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op)
{
    struct fpu *f = fpu_of(c);
    unsigned first, count, unit = op->mask.unit;
    struct masked m;
    uint64_t left;
    void *mem;

    check_unit(c, op->flags);
    m = masked_operand(c, i, op);
    mem = masked_host(c, i, op, &m, ACC_WRITE);
    if (mem) {
        run_stub(c, op, op->flags, mem);
        return;
    }
    for (left = m.active; next_run(&left, &first, &count);)
        fpu_probe_write(c, run_linear(c, i, op, &m, first, count, ACC_WRITE), count * unit);
    run_stub(c, op, op->flags, f->scratch);
    for (left = active_elements(c, &op->mask); next_run(&left, &first, &count);) {
        uint64_t linear = run_linear(c, i, op, &m, first, count, ACC_WRITE);
        unsigned step = run_step(c, op, count * unit);

        for (unsigned at = 0; at < count * unit; at += step)
            mmu_write_slow(c, linear + at, f->scratch + first * unit + at, step, ACC_WRITE);
    }
}

/* ---- handlers ---- */

/* Threaded (op.h): they set cur, because they may fault, and leave st.rip alone.  The sets of flags
 * that common code is made of are constants, so that the compiler drops the questions. */
#define RUN(KIND, NAME, FLAGS)                                                                     \
    static void KIND##_##NAME(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        const struct fpu_op *op = i->priv;                                                         \
                                                                                                   \
        c->cur = i;                                                                                \
        run_op_##KIND(c, i, op, FLAGS);                                                            \
        NEXT;                                                                                      \
    }
#define SSE_INT   FPU_UNIT_SSE
#define SSE_FLOAT (FPU_UNIT_SSE | FPU_MXCSR)
#define AVX_INT   FPU_UNIT_AVX
#define AVX_FLOAT (FPU_UNIT_AVX | FPU_MXCSR)
#define AVX512    FPU_UNIT_AVX512
#define X87_DATA  (FPU_UNIT_X87 | FPU_X87 | FPU_POINTERS)
#define RUN_ALL(KIND)                                                                              \
    RUN(KIND, sse_int, SSE_INT)                                                                    \
    RUN(KIND, sse_float, SSE_FLOAT)                                                                \
    RUN(KIND, avx_int, AVX_INT)                                                                    \
    RUN(KIND, avx_float, AVX_FLOAT)                                                                \
    RUN(KIND, avx512, AVX512)                                                                      \
    RUN(KIND, x87, X87_DATA)                                                                       \
    RUN(KIND, any, op->flags)
RUN_ALL(reg)
RUN_ALL(load)
RUN_ALL(store)

static void load_masked(struct jit_cpu *c, const struct insn *i)
{
    c->cur = i;
    run_masked_load(c, i, i->priv);
    NEXT;
}

static void store_masked(struct jit_cpu *c, const struct insn *i)
{
    c->cur = i;
    run_masked_store(c, i, i->priv);
    NEXT;
}

/* Instructions with arithmetic flags: those are in st.rflags around plain handlers only. */
static void plain_reg(struct jit_cpu *c, const struct insn *i)
{
    const struct fpu_op *op = i->priv;

    run_op_reg(c, i, op, op->flags);
}

static void plain_load(struct jit_cpu *c, const struct insn *i)
{
    const struct fpu_op *op = i->priv;

    run_op_load(c, i, op, op->flags);
}

enum operand { OPERAND_NONE, OPERAND_LOAD, OPERAND_STORE };

op_fn *fpu_run_select(struct decode_ctx *d, const struct fpu_op *op)
{
    static const struct {
        unsigned flags;
        op_fn *fn[3];
    } special[] = {
        {SSE_INT, {reg_sse_int, load_sse_int, store_sse_int}},
        {SSE_FLOAT, {reg_sse_float, load_sse_float, store_sse_float}},
        {AVX_INT, {reg_avx_int, load_avx_int, store_avx_int}},
        {AVX_FLOAT, {reg_avx_float, load_avx_float, store_avx_float}},
        {AVX512, {reg_avx512, load_avx512, store_avx512}},
        {X87_DATA, {reg_x87, load_x87, store_x87}},
    };
    static op_fn *const any[3] = {reg_any, load_any, store_any};
    enum operand o = OPERAND_NONE;

    if (d->out->flags & INSN_MEM)
        o = op->flags & FPU_WRITE ? OPERAND_STORE : OPERAND_LOAD;
    d->out->priv = (void *)op;
    d->out->flags |= INSN_FPU;
    if (op->flags & FPU_MASKED)
        return op_threaded(d, o == OPERAND_LOAD ? load_masked : store_masked);
    if (op->flags & FPU_FLAGS) /* none of them stores to memory */
        return o == OPERAND_LOAD ? plain_load : plain_reg;
    for (unsigned k = 0; k < ARRAY_SIZE(special); k++)
        if (special[k].flags == (op->flags & ~(unsigned)(FPU_READ | FPU_WRITE)))
            return op_threaded(d, special[k].fn[o]);
    return op_threaded(d, any[o]);
}

static bool redecode(struct decode_ctx *d, const struct insn *i)
{
    ZydisMachineMode machine = ZYDIS_MACHINE_MODE_LEGACY_16;
    ZydisDecoder dec;

    if (d->mode == MODE_LONG64)
        machine = ZYDIS_MACHINE_MODE_LONG_64;
    else if (d->c->mode_key & KEY_CS32)
        machine = ZYDIS_MACHINE_MODE_LEGACY_32;
    d->out = (struct insn *)i; /* only read */
    return ZYAN_SUCCESS(ZydisDecoderInit(&dec, machine,
                                         machine == ZYDIS_MACHINE_MODE_LONG_64
                                             ? ZYDIS_STACK_WIDTH_64
                                             : ZYDIS_STACK_WIDTH_32)) &&
           ZYAN_SUCCESS(ZydisDecoderDecodeFull(&dec, i->bytes, i->len, &d->z, d->op));
}

/* The shared area is full (a guest can make any number of encodings): decode and build anew. */
void fpu_run_uncached(struct jit_cpu *c, const struct insn *i)
{
    struct decode_ctx d = {.c = c, .mode = c->mode};
    struct fpu_op op;

    if (!redecode(&d, i) || !fpu_stub_build_slot(fpu_of(c), &d, &op))
        cpu_raise(c, EX_UD);
    if (!(i->flags & INSN_MEM))
        run_op_reg(c, i, &op, op.flags);
    else if (op.flags & FPU_MASKED)
        (op.flags & FPU_WRITE ? run_masked_store : run_masked_load)(c, i, &op);
    else if (op.flags & FPU_WRITE)
        run_op_store(c, i, &op, op.flags);
    else
        run_op_load(c, i, &op, op.flags);
}

void fpu_op_ud(struct jit_cpu *c, const struct insn *i)
{
    cpu_raise(c, EX_UD);
}
