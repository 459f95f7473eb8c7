/* fpu.c - running floating-point and vector instructions: checks, operands, the live x87 unit. */
#include "fpu.h"

#include "base/log.h"

#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#define FERR_GSI 13

void fpu_check_x87(struct jit_cpu *c)
{
    if (unlikely(c->st.cr0 & (CR0_EM | CR0_TS)))
        cpu_raise(c, EX_NM);
}

void fpu_check_mmx(struct jit_cpu *c)
{
    if (unlikely(c->st.cr0 & CR0_EM))
        cpu_raise(c, EX_UD);
    if (unlikely(c->st.cr0 & CR0_TS))
        cpu_raise(c, EX_NM);
}

void fpu_check_sse(struct jit_cpu *c)
{
    if (unlikely((c->st.cr0 & CR0_EM) || !(c->st.cr4 & CR4_OSFXSR)))
        cpu_raise(c, EX_UD);
    if (unlikely(c->st.cr0 & CR0_TS))
        cpu_raise(c, EX_NM);
}

void fpu_check_avx(struct jit_cpu *c)
{
    if (unlikely(!(c->st.cr4 & CR4_OSXSAVE) ||
                 (c->st.xcr0 & (XF_SSE | XF_AVX)) != (XF_SSE | XF_AVX)))
        cpu_raise(c, EX_UD);
    if (unlikely(c->st.cr0 & CR0_TS))
        cpu_raise(c, EX_NM);
}

/* ---- the x87 unit ---- */

void fpu_load_live(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);
    const uint32_t mxcsr = MXCSR_DEFAULT;

    memcpy(f->area, c->st.xsave, XS_XMM);
    memcpy(f->area + XS_MXCSR, &mxcsr, 4);
    __asm__ volatile("fxrstor64 %0" ::"m"(f->area));
    f->x87_live = true;
}

void fpu_sync_to_state(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);

    if (!f->x87_live)
        return;
    __asm__ volatile("fxsave64 %0" : "=m"(f->area));
    /* What the host's unit knows of instruction pointers is about stubs: the guest's are tracked in
     * st.xsave already. */
    memcpy(c->st.xsave + XS_FCW, f->area + XS_FCW, XS_FOP - XS_FCW);
    memcpy(c->st.xsave + XS_ST, f->area + XS_ST, XS_XMM - XS_ST);
    f->x87_live = false;
    /* Leave a clean unit behind: nothing pending, stack empty. */
    __asm__ volatile("fninit");
}

void fpu_sync_from_state(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);
    uint64_t bv = xs_get64(c, XS_HEADER);

    f->x87_live = false;
    f->fcs = f->fds = 0;
    if (!(bv & XF_X87))
        fpu_init_x87_area(c->st.xsave);
    if (!(bv & XF_SSE))
        memset(c->st.xsave + XS_XMM, 0, 256);
    if (!(bv & (XF_SSE | XF_AVX)) && !xs_get32(c, XS_MXCSR))
        xs_put32(c, XS_MXCSR, MXCSR_DEFAULT);
    if (!(bv & XF_AVX))
        memset(c->st.xsave + XS_YMMH, 0, 256);
    xs_put32(c, XS_MXCSR, xs_get32(c, XS_MXCSR) & f->mxcsr_mask);
    memset(c->st.xsave + XS_HEADER, 0, 64);
    xs_put64(c, XS_HEADER, XF_X87 | XF_SSE | XF_AVX);
    fpu_x87_replaced(c);
}

static bool exception_waits(struct jit_cpu *c)
{
    uint16_t sw;

    if (fpu_of(c)->x87_live)
        __asm__ volatile("fnstsw %0" : "=a"(sw));
    else
        sw = xs_get16(c, XS_FSW);
    return sw & FSW_ES;
}

/* With CR0.NE=0 the exception goes the PC/AT way (SDM vol.1 §8.7.2): FERR# raises IRQ13 and the
 * waiting instruction does not start before the handler has cleared the exception. */
void fpu_check_wait(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);

    if (likely(!f->x87_unmasked) || !exception_waits(c))
        return;
    if (c->st.cr0 & CR0_NE)
        cpu_raise(c, EX_MF);
    if (!f->ferr) {
        f->ferr = true;
        irq_set(&f->ferr_line, true);
    }
    cpu_restart(c);
}

void fpu_settle_ferr(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);

    if (likely(!f->ferr) || exception_waits(c))
        return;
    f->ferr = false;
    irq_set(&f->ferr_line, false);
}

void fpu_x87_replaced(struct jit_cpu *c)
{
    fpu_of(c)->x87_unmasked = (~xs_get16(c, XS_FCW) & 0x3f) != 0;
    fpu_settle_ferr(c);
}

/* ---- vcpu life ---- */

void fpu_cpu_init(struct jit_cpu *c)
{
    struct fpu *f = g_aligned_alloc0(1, sizeof(*f), 64);

    if (!fpu_stub_ref()) {
        log_error("cannot map memory for generated code: %s", strerror(errno));
        exit(1);
    }
    f->slot = fpu_stub_slot_new();
    irq_connect(&f->ferr_line, c->set->irqchip, FERR_GSI);
    f->mxcsr_mask = 0xffff;
    if (sys_has(c, FEAT_8000_0001_ECX, 7))
        f->mxcsr_mask |= MXCSR_MM;
    c->fpu = f;
    fpu_sync_from_state(c);
}

void fpu_cpu_fini(struct jit_cpu *c)
{
    if (!c->fpu)
        return;
    irq_disconnect(&fpu_of(c)->ferr_line);
    g_aligned_free(c->fpu);
    c->fpu = NULL;
    fpu_stub_unref();
}

/* ---- operands ---- */

static inline void check_unit(struct jit_cpu *c, unsigned flags)
{
    if (flags & FPU_UNIT_SSE)
        fpu_check_sse(c);
    if (flags & FPU_UNIT_AVX)
        fpu_check_avx(c);
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
            ea += c->st.rip;
        if (i->index < 16)
            ea += c->st.gpr[i->index] << i->scale_shift;
        if (likely((uint64_t)(((int64_t)(ea << 16)) >> 16) == ea &&
                   (uint64_t)(((int64_t)((ea + op->size) << 16)) >> 16) == ea + op->size)) {
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

static inline void run_stub(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op,
                            void *mem)
{
    struct fpu *f = fpu_of(c);
    uint64_t trap;

    if ((op->flags & FPU_X87) && unlikely(!f->x87_live))
        fpu_load_live(c);
    if (op->flags & FPU_MXCSR)
        trap = call_with_mxcsr(c, op, mem);
    else
        trap = op->code(c, mem);
    if (unlikely(trap))
        stub_fault(c, trap);
    if (op->flags & FPU_NO_WAIT)
        fpu_settle_ferr(c);
    if (op->flags & FPU_LOADS_CW) {
        uint16_t cw;

        __asm__ volatile("fnstcw %0" : "=m"(cw));
        f->x87_unmasked = (~cw & 0x3f) != 0;
    }
}

/* Offset in CS of the instruction being run; FIP and FDP are offsets, not linear addresses. */
static inline void note_pointers(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op)
{
    struct fpu *f = fpu_of(c);

    if (!(op->flags & FPU_POINTERS))
        return;
    xs_put16(c, XS_FOP, op->fop);
    xs_put64(c, XS_FIP, c->st.rip - i->len);
    f->fcs = c->st.seg[SEG_CS].sel;
    if (i->flags & INSN_MEM) {
        xs_put64(c, XS_FDP, insn_ea(c, i));
        f->fds = c->st.seg[i->seg].sel;
    }
}

static inline void run_op_reg(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op)
{
    check_unit(c, op->flags);
    run_stub(c, i, op, NULL);
    note_pointers(c, i, op);
}

static inline void run_op_load(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op)
{
    struct fpu *f = fpu_of(c);
    uint64_t linear;
    struct tlb_entry *e;
    void *mem;

    check_unit(c, op->flags);
    linear = operand_linear(c, i, op, ACC_READ);
    e = tlb_slot(c, linear);
    if (likely(TLB_HIT(e->read_tag, linear, op->size) && !(linear & op->align_mask))) {
        mem = (void *)(linear + e->addend);
    } else {
        mmu_read_slow(c, linear, f->scratch, op->size, ACC_READ);
        mem = f->scratch;
    }
    run_stub(c, i, op, mem);
    note_pointers(c, i, op);
}

/* Raises what a write of [linear, linear+len) would raise, without writing. */
void fpu_probe_write(struct jit_cpu *c, uint64_t linear, unsigned len)
{
    mmu_translate(c, linear, ACC_WRITE);
    if ((linear ^ (linear + len - 1)) & ~0xfffull)
        mmu_translate(c, (linear + len - 1) & ~0xfffull, ACC_WRITE);
}

static inline void run_op_store(struct jit_cpu *c, const struct insn *i, const struct fpu_op *op)
{
    struct fpu *f = fpu_of(c);
    uint64_t linear;
    struct tlb_entry *e;

    check_unit(c, op->flags);
    linear = operand_linear(c, i, op, ACC_WRITE);
    e = tlb_slot(c, linear);
    if (likely(TLB_HIT(e->write_tag, linear, op->size) && !(linear & op->align_mask))) {
        run_stub(c, i, op, (void *)(linear + e->addend));
    } else {
        fpu_probe_write(c, linear, op->size);
        /* An unmasked x87 exception leaves the operand as it was. */
        if ((op->flags & FPU_X87) && f->x87_unmasked)
            mmu_read_slow(c, linear, f->scratch, op->size, ACC_READ);
        run_stub(c, i, op, f->scratch);
        mmu_write_slow(c, linear, f->scratch, op->size, ACC_WRITE);
    }
    note_pointers(c, i, op);
}

void fpu_run_reg(struct jit_cpu *c, const struct insn *i)
{
    run_op_reg(c, i, i->priv);
}

void fpu_run_load(struct jit_cpu *c, const struct insn *i)
{
    run_op_load(c, i, i->priv);
}

void fpu_run_store(struct jit_cpu *c, const struct insn *i)
{
    run_op_store(c, i, i->priv);
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
        run_op_reg(c, i, &op);
    else if (op.flags & FPU_WRITE)
        run_op_store(c, i, &op);
    else
        run_op_load(c, i, &op);
}

void fpu_op_ud(struct jit_cpu *c, const struct insn *i)
{
    cpu_raise(c, EX_UD);
}
