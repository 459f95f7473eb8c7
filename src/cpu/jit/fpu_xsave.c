/* fpu_xsave.c - FXSAVE, the XSAVE family, MXCSR and XCR0 (SDM vol.1 chapters 10.5 and 13).
 *
 * All are emulated: the guest's XCR0 is not the host's, XSAVES is privileged, and instruction
 * pointers of the host's unit must not show.  A state component counts as in use exactly when its
 * contents differ from the initial configuration. */
#include "fpu.h"

#include <string.h>

#define XCOMP_COMPACTED BIT64(63)
#define LEGACY_BYTES    512u
#define HEADER_BYTES    64u

/* ---- memory images ---- */

/* A writable view of [linear, linear+len): guest RAM itself or a copy to be written back. */
struct image {
    uint8_t *p;
    uint64_t linear;
    unsigned len;
    bool copied;
    uint8_t copy[XSAVE_AREA_BYTES];
};

static void image_open(struct jit_cpu *c, struct image *m, uint64_t linear, unsigned len)
{
    m->linear = linear;
    m->len = len;
    m->p = mmu_rmw_ptr(c, linear, len);
    m->copied = m->p == NULL;
    if (!m->copied)
        return;
    fpu_probe_write(c, linear, len);
    mmu_read_slow(c, linear, m->copy, len, ACC_READ);
    m->p = m->copy;
}

static void image_close(struct jit_cpu *c, struct image *m)
{
    if (m->copied)
        mmu_write_slow(c, m->linear, m->copy, m->len, ACC_WRITE);
}

static uint64_t area_linear(struct jit_cpu *c, const struct insn *i, unsigned len, unsigned align,
                            unsigned access)
{
    uint64_t linear = insn_linear(c, i, len, access);

    if (linear & (align - 1))
        cpu_raise_error(c, EX_GP, 0);
    return linear;
}

static unsigned vector_count(const struct jit_cpu *c)
{
    return c->mode == MODE_LONG64 ? 16 : 8;
}

static bool is_wide(const struct insn *i)
{
    return i->aux & FPU_AUX_W;
}

/* ---- components to and from the standard format's legacy region ---- */

/* FIP and FDP are 64 bits with REX.W, otherwise 32 bits and a selector. */
static void put_x87(struct jit_cpu *c, const struct insn *i, uint8_t *p)
{
    struct fpu *f = fpu_of(c);

    memcpy(p, c->st.xsave, XS_MXCSR);
    memcpy(p + XS_ST, c->st.xsave + XS_ST, XS_XMM - XS_ST);
    if (is_wide(i))
        return;
    memset(p + XS_FIP + 4, 0, 4);
    memset(p + XS_FDP + 4, 0, 4);
    memcpy(p + XS_FIP + 4, &f->fcs, 2);
    memcpy(p + XS_FDP + 4, &f->fds, 2);
}

static void take_x87(struct jit_cpu *c, const struct insn *i, const uint8_t *p)
{
    struct fpu *f = fpu_of(c);

    memcpy(c->st.xsave, p, XS_MXCSR);
    c->st.xsave[XS_FTW + 1] = 0;
    xs_put16(c, XS_FOP, xs_get16(c, XS_FOP) & 0x7ff);
    for (unsigned k = 0; k < 8; k++) {
        memcpy(c->st.xsave + XS_ST + 16 * k, p + XS_ST + 16 * k, 10);
        memset(c->st.xsave + XS_ST + 16 * k + 10, 0, 6);
    }
    f->fcs = f->fds = 0;
    if (!is_wide(i)) {
        xs_put32(c, XS_FIP + 4, 0);
        xs_put32(c, XS_FDP + 4, 0);
        memcpy(&f->fcs, p + XS_FIP + 4, 2);
        memcpy(&f->fds, p + XS_FDP + 4, 2);
    }
    fpu_x87_loaded(c);
}

static void put_mxcsr(struct jit_cpu *c, uint8_t *p)
{
    memcpy(p + XS_MXCSR, c->st.xsave + XS_MXCSR, 4);
    memcpy(p + XS_MXCSRMASK, &fpu_of(c)->mxcsr_mask, 4);
}

static void check_mxcsr(struct jit_cpu *c, uint32_t v)
{
    if (v & ~fpu_of(c)->mxcsr_mask)
        cpu_raise_error(c, EX_GP, 0);
}

static uint32_t image_mxcsr(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p + XS_MXCSR, 4);
    return v;
}

/* ---- FXSAVE, MXCSR ---- */

static bool fx_skips_xmm(struct jit_cpu *c)
{
    return (c->st.efer & EFER_FFXSR) && c->cpl == 0 && c->mode == MODE_LONG64;
}

void fpu_op_fxsave(struct jit_cpu *c, const struct insn *i)
{
    struct image m;

    fpu_check_x87(c);
    image_open(c, &m, area_linear(c, i, LEGACY_BYTES, 16, ACC_WRITE), LEGACY_BYTES);
    fpu_sync_to_state(c);
    put_x87(c, i, m.p);
    put_mxcsr(c, m.p);
    if (!fx_skips_xmm(c))
        memcpy(m.p + XS_XMM, c->st.xsave + XS_XMM, 16 * vector_count(c));
    image_close(c, &m);
}

void fpu_op_fxrstor(struct jit_cpu *c, const struct insn *i)
{
    uint8_t in[LEGACY_BYTES];

    fpu_check_x87(c);
    mmu_read_slow(c, area_linear(c, i, LEGACY_BYTES, 16, ACC_READ), in, LEGACY_BYTES, ACC_READ);
    check_mxcsr(c, image_mxcsr(in));
    c->x87_live = false;
    take_x87(c, i, in);
    xs_put32(c, XS_MXCSR, image_mxcsr(in));
    if (!fx_skips_xmm(c))
        memcpy(c->st.xsave + XS_XMM, in + XS_XMM, 16 * vector_count(c));
}

static void check_mxcsr_insn(struct jit_cpu *c, const struct insn *i)
{
    if (i->aux & FPU_AUX_VEX)
        fpu_check_avx(c);
    else
        fpu_check_sse(c);
}

void fpu_op_ldmxcsr(struct jit_cpu *c, const struct insn *i)
{
    check_mxcsr_insn(c, i);
    uint32_t v = mem_r32(c, insn_linear(c, i, 4, ACC_READ));
    check_mxcsr(c, v);
    xs_put32(c, XS_MXCSR, v);
}

void fpu_op_stmxcsr(struct jit_cpu *c, const struct insn *i)
{
    check_mxcsr_insn(c, i);
    mem_w32(c, insn_linear(c, i, 4, ACC_WRITE), xs_get32(c, XS_MXCSR));
}

/* ---- XSAVE ---- */

static void check_xsave(struct jit_cpu *c)
{
    if (!(c->st.cr4 & CR4_OSXSAVE))
        cpu_raise(c, EX_UD);
    if (c->st.cr0 & CR0_TS)
        cpu_raise(c, EX_NM);
}

static bool all_zero(const uint8_t *p, unsigned len)
{
    uint64_t any = 0, v;

    for (unsigned k = 0; k < len; k += 8) {
        memcpy(&v, p + k, 8);
        any |= v;
    }
    return any == 0;
}

static bool x87_in_use(struct jit_cpu *c)
{
    return xs_get64(c, XS_FCW) != 0x37f || xs_get64(c, XS_FIP) || xs_get64(c, XS_FDP) ||
           !all_zero(c->st.xsave + XS_ST, XS_XMM - XS_ST);
}

/* ---- the components behind the legacy region ---- */

static uint8_t *part_state(struct jit_cpu *c, const struct xsave_part *p)
{
    return p->bit == XF_PKRU_BIT ? (uint8_t *)&c->st.pkru : c->st.xsave + p->offset;
}

/* Registers 8 and up exist in 64-bit mode only, elsewhere they are left alone. */
static unsigned part_bytes(const struct jit_cpu *c, const struct xsave_part *p)
{
    if (c->mode == MODE_LONG64 || p->bit == XF_OPMASK_BIT || p->bit == XF_PKRU_BIT)
        return p->size;
    return p->bit == XF_HI16_BIT ? 0 : p->size / 2;
}

/* comps: what a compacted area has; 0 for the standard format. */
static unsigned part_offset(const struct xsave_part *p, uint64_t comps)
{
    unsigned at = XSAVE_PARTS_AT;

    if (!comps)
        return p->offset;
    for (const struct xsave_part *q = xsave_parts(); q < p; q++)
        if (comps & BIT64(q->bit))
            at += q->size;
    return at;
}

static unsigned area_size(uint64_t rfbm, bool compact)
{
    unsigned size = XSAVE_PARTS_AT;

    for (unsigned k = 0; k < XSAVE_PARTS; k++) {
        const struct xsave_part *p = &xsave_parts()[k];

        if (rfbm & BIT64(p->bit))
            size = MAX_OF(size, part_offset(p, compact ? rfbm : 0) + p->size);
    }
    return size;
}

/* XINUSE (SDM vol.1 §13.6).  The x87 unit is back in st.xsave. */
static uint64_t in_use(struct jit_cpu *c)
{
    uint64_t use = 0;

    if (x87_in_use(c))
        use |= XF_X87;
    if (!all_zero(c->st.xsave + XS_XMM, 16 * 16))
        use |= XF_SSE;
    for (unsigned k = 0; k < XSAVE_PARTS; k++)
        if (!all_zero(part_state(c, &xsave_parts()[k]), xsave_parts()[k].size))
            use |= BIT64(xsave_parts()[k].bit);
    return use;
}

void fpu_export_state(struct jit_cpu *c)
{
    uint64_t bv;

    fpu_sync_to_state(c);
    bv = in_use(c) & fpu_of(c)->components;
    if (xs_get32(c, XS_MXCSR) != MXCSR_DEFAULT)
        bv |= XF_SSE;
    xs_put64(c, XS_HEADER, bv);
}

static uint64_t requested(struct jit_cpu *c)
{
    return (uint32_t)c->st.gpr[R_RAX] | c->st.gpr[R_RDX] << 32;
}

static void put_header_word(uint8_t *p, unsigned off, uint64_t v)
{
    memcpy(p + off, &v, 8);
}

static uint64_t header_word(const uint8_t *p, unsigned off)
{
    uint64_t v;

    memcpy(&v, p + off, 8);
    return v;
}

static void put_parts(struct jit_cpu *c, uint8_t *area, uint64_t write, uint64_t compacted)
{
    for (unsigned k = 0; k < XSAVE_PARTS; k++) {
        const struct xsave_part *p = &xsave_parts()[k];

        if (write & BIT64(p->bit))
            memcpy(area + part_offset(p, compacted), part_state(c, p), part_bytes(c, p));
    }
}

static void save_area(struct jit_cpu *c, const struct insn *i, uint64_t rfbm, bool compact,
                      bool skip_init)
{
    struct image m;
    unsigned size = area_size(rfbm, compact);
    uint64_t linear = area_linear(c, i, size, 64, ACC_WRITE);
    uint64_t write, use;

    image_open(c, &m, linear, size);
    fpu_sync_to_state(c);
    use = in_use(c);
    if (compact && xs_get32(c, XS_MXCSR) != MXCSR_DEFAULT)
        use |= XF_SSE;
    write = skip_init ? rfbm & use : rfbm; /* components whose data is stored */
    if (write & XF_X87)
        put_x87(c, i, m.p);
    if ((compact ? write & XF_SSE : rfbm & (XF_SSE | XF_AVX)) != 0)
        put_mxcsr(c, m.p);
    if (write & XF_SSE)
        memcpy(m.p + XS_XMM, c->st.xsave + XS_XMM, 16 * vector_count(c));
    put_parts(c, m.p, write, compact ? rfbm | XCOMP_COMPACTED : 0);
    if (compact) {
        put_header_word(m.p, XS_HEADER, rfbm & use);
        put_header_word(m.p, XS_XCOMP, rfbm | XCOMP_COMPACTED);
    } else {
        put_header_word(m.p, XS_HEADER, (header_word(m.p, XS_HEADER) & ~rfbm) | (rfbm & use));
    }
    image_close(c, &m);
}

void fpu_op_xsave(struct jit_cpu *c, const struct insn *i)
{
    check_xsave(c);
    save_area(c, i, requested(c) & c->st.xcr0, false, false);
}

void fpu_op_xsaveopt(struct jit_cpu *c, const struct insn *i)
{
    check_xsave(c);
    save_area(c, i, requested(c) & c->st.xcr0, false, true);
}

void fpu_op_xsavec(struct jit_cpu *c, const struct insn *i)
{
    check_xsave(c);
    save_area(c, i, requested(c) & c->st.xcr0, true, true);
}

void fpu_op_xsaves(struct jit_cpu *c, const struct insn *i)
{
    check_xsave(c);
    if (c->cpl != 0)
        cpu_raise_error(c, EX_GP, 0);
    save_area(c, i, requested(c) & (c->st.xcr0 | c->st.xss), true, true);
}

/* ---- XRSTOR ---- */

static void check_standard_header(struct jit_cpu *c, const uint8_t *p)
{
    if ((header_word(p, XS_HEADER) & ~c->st.xcr0) || header_word(p, XS_XCOMP) ||
        header_word(p, XS_XCOMP + 8))
        cpu_raise_error(c, EX_GP, 0);
}

static void check_compact_header(struct jit_cpu *c, const uint8_t *p, uint64_t allowed)
{
    uint64_t comp = header_word(p, XS_XCOMP) & ~XCOMP_COMPACTED;

    if ((comp & ~allowed) || (header_word(p, XS_HEADER) & ~comp) || !sys_has(c, FEAT_D_1_EAX, 1) ||
        !all_zero(p + XS_HEADER + 16, HEADER_BYTES - 16))
        cpu_raise_error(c, EX_GP, 0);
}

static void restore_xmm(struct jit_cpu *c, bool present, const uint8_t *in)
{
    unsigned bytes = 16 * vector_count(c);

    if (present)
        memcpy(c->st.xsave + XS_XMM, in + XS_XMM, bytes);
    else
        memset(c->st.xsave + XS_XMM, 0, bytes);
}

/* Reads the components that are there, each to its standard place. */
static void read_parts(struct jit_cpu *c, uint64_t linear, uint64_t load, uint64_t compacted,
                       uint8_t *in)
{
    for (unsigned k = 0; k < XSAVE_PARTS; k++) {
        const struct xsave_part *p = &xsave_parts()[k];

        if ((load & BIT64(p->bit)) && part_bytes(c, p))
            mmu_read_slow(c, linear + part_offset(p, compacted), in + p->offset, part_bytes(c, p),
                          ACC_READ);
    }
}

static void restore_parts(struct jit_cpu *c, uint64_t rfbm, uint64_t bv, const uint8_t *in)
{
    for (unsigned k = 0; k < XSAVE_PARTS; k++) {
        const struct xsave_part *p = &xsave_parts()[k];

        if (!(rfbm & BIT64(p->bit)))
            continue;
        if (bv & BIT64(p->bit))
            memcpy(part_state(c, p), in + p->offset, part_bytes(c, p));
        else
            memset(part_state(c, p), 0, part_bytes(c, p));
    }
    if (rfbm & XF_PKRU) {
        c->st.pkru = (uint32_t)c->st.pkru;
        cpu_update_mode(c);
    }
}

static void restore_x87(struct jit_cpu *c, const struct insn *i, bool present, const uint8_t *in)
{
    c->x87_live = false;
    if (present) {
        take_x87(c, i, in);
        return;
    }
    fpu_init_x87_area(c->st.xsave);
    fpu_of(c)->fcs = fpu_of(c)->fds = 0;
    fpu_x87_replaced(c);
}

static void restore_area(struct jit_cpu *c, const struct insn *i, uint64_t allowed,
                         bool only_compact)
{
    uint8_t in[XSAVE_AREA_BYTES];
    uint64_t rfbm = requested(c) & allowed;
    uint64_t linear = area_linear(c, i, LEGACY_BYTES + HEADER_BYTES, 64, ACC_READ);
    uint64_t bv, xcomp;
    bool compact;
    uint32_t mxcsr;

    mmu_read_slow(c, linear, in, LEGACY_BYTES + HEADER_BYTES, ACC_READ);
    bv = header_word(in, XS_HEADER);
    xcomp = header_word(in, XS_XCOMP);
    compact = xcomp & XCOMP_COMPACTED;
    if (compact)
        check_compact_header(c, in, allowed);
    else if (only_compact)
        cpu_raise_error(c, EX_GP, 0);
    else
        check_standard_header(c, in);
    read_parts(c, linear, rfbm & bv, compact ? xcomp : 0, in);
    /* The standard form loads MXCSR whatever XSTATE_BV says (SDM vol.1 §13.8.1); the compacted one
     * treats it as part of SSE state (§13.8.2). */
    mxcsr = compact && !(bv & XF_SSE) ? MXCSR_DEFAULT : image_mxcsr(in);
    if (rfbm & (compact ? XF_SSE : XF_SSE | XF_AVX)) {
        check_mxcsr(c, mxcsr);
        xs_put32(c, XS_MXCSR, mxcsr);
    }
    if (rfbm & XF_X87)
        restore_x87(c, i, bv & XF_X87, in);
    if (rfbm & XF_SSE)
        restore_xmm(c, bv & XF_SSE, in);
    restore_parts(c, rfbm, bv, in);
}

void fpu_op_xrstor(struct jit_cpu *c, const struct insn *i)
{
    check_xsave(c);
    restore_area(c, i, c->st.xcr0, false);
}

void fpu_op_xrstors(struct jit_cpu *c, const struct insn *i)
{
    check_xsave(c);
    if (c->cpl != 0)
        cpu_raise_error(c, EX_GP, 0);
    restore_area(c, i, c->st.xcr0 | c->st.xss, true);
}

/* ---- XCR0 ---- */

static void put_edx_eax(struct jit_cpu *c, uint64_t v)
{
    c->st.gpr[R_RAX] = (uint32_t)v;
    c->st.gpr[R_RDX] = v >> 32;
}

void fpu_op_xgetbv(struct jit_cpu *c, const struct insn *i)
{
    uint32_t index = (uint32_t)c->st.gpr[R_RCX];

    if (!(c->st.cr4 & CR4_OSXSAVE))
        cpu_raise(c, EX_UD);
    if (index == 0) {
        put_edx_eax(c, c->st.xcr0);
    } else if (index == 1 && sys_has(c, FEAT_D_1_EAX, 2)) {
        fpu_sync_to_state(c);
        put_edx_eax(c, c->st.xcr0 & in_use(c));
    } else {
        cpu_raise_error(c, EX_GP, 0);
    }
}

bool fpu_xcr0_valid(struct jit_cpu *c, uint64_t v)
{
    uint32_t r[4];

    sys_cpuid(c, 0xd, 0, r);
    return xsave_xcr0_valid(v, r[0] | (uint64_t)r[3] << 32);
}

void fpu_op_xsetbv(struct jit_cpu *c, const struct insn *i)
{
    uint64_t v = requested(c);

    if (!(c->st.cr4 & CR4_OSXSAVE))
        cpu_raise(c, EX_UD);
    if (c->cpl != 0 || (uint32_t)c->st.gpr[R_RCX] != 0 || !fpu_xcr0_valid(c, v))
        cpu_raise_error(c, EX_GP, 0);
    c->st.xcr0 = v;
    cpu_update_mode(c);
}
