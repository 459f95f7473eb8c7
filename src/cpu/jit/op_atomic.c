/* op_atomic.c - XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B.
 *
 * On ordinary memory these are the host's own locked instructions, with or without LOCK: a locked
 * one is a correct unlocked one, and XCHG locks anyway.  Elsewhere (MMIO, page-crossing, pages
 * whose stores are watched) op_locked_alone runs the unlocked twin while nobody else runs. */
#include "op.h"

#define XCHG(BITS)                                                                                 \
    static void xchg_rr_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        uint##BITS##_t a = GET##BITS(i->reg), b = GET##BITS(i->rm);                                \
        SET##BITS(i->reg, b);                                                                      \
        SET##BITS(i->rm, a);                                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    static void xchg_alone_##BITS(struct jit_cpu *c, const struct insn *i)                         \
    {                                                                                              \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        uint##BITS##_t old = ld##BITS(c, i, lin);                                                  \
        st##BITS(c, i, lin, GET##BITS(i->reg));                                                    \
        SET##BITS(i->reg, old);                                                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    static void xchg_m_##BITS(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        mem_u##BITS *p = lock##BITS(c, i, lin);                                                    \
        if (likely(p != NULL)) {                                                                   \
            uint##BITS##_t v = GET##BITS(i->reg);                                                  \
            __asm__ volatile("xchg %[v], %[m]" : [v] "+q"(v), [m] "+m"(*p) : : "memory");          \
            SET##BITS(i->reg, v);                                                                  \
        } else {                                                                                   \
            op_locked_alone(c, i, lin, BITS / 8);                                                  \
        }                                                                                          \
        NEXT;                                                                                      \
    }
XCHG(8)
XCHG(16)
XCHG(32)
XCHG(64)

/* Operands are memory or register first, register second. */
#define XADD(BITS)                                                                                 \
    static inline uint##BITS##_t xadd_calc##BITS(struct jit_cpu *c, uint##BITS##_t d,              \
                                                 uint##BITS##_t s)                                 \
    {                                                                                              \
        uint32_t fl;                                                                               \
        __asm__("add %[s], %[d]" FLAGS_OUT : [d] "+q"(d), "=&a"(fl) : [s] "q"(s) : "cc");          \
        c->fl = (uint16_t)fl;                                                                      \
        return d;                                                                                  \
    }                                                                                              \
    static void xadd_rr_##BITS(struct jit_cpu *c, const struct insn *i)                            \
    {                                                                                              \
        uint##BITS##_t d = GET##BITS(i->reg), s = GET##BITS(i->rm);                                \
        SET##BITS(i->rm, d);                                                                       \
        SET##BITS(i->reg, xadd_calc##BITS(c, d, s));                                               \
        NEXT;                                                                                      \
    }                                                                                              \
    static void xadd_alone_##BITS(struct jit_cpu *c, const struct insn *i)                         \
    {                                                                                              \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        mem_u##BITS *p = rmw##BITS(c, i, lin);                                                     \
        uint##BITS##_t d = *p;                                                                     \
        *p = xadd_calc##BITS(c, d, GET##BITS(i->reg));                                             \
        if (unlikely((void *)p == &c->rmw_buf))                                                    \
            op_rmw_end(c, i, lin, BITS / 8);                                                       \
        SET##BITS(i->reg, d);                                                                      \
        NEXT;                                                                                      \
    }                                                                                              \
    static void xadd_m_##BITS(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        mem_u##BITS *p = lock##BITS(c, i, lin);                                                    \
        if (likely(p != NULL)) {                                                                   \
            uint32_t fl;                                                                           \
            uint##BITS##_t v = GET##BITS(i->reg);                                                  \
            __asm__ volatile("lock xadd %[v], %[m]" FLAGS_OUT                                      \
                             : [v] "+q"(v), [m] "+m"(*p), "=&a"(fl)                                \
                             :                                                                     \
                             : "cc", "memory");                                                    \
            SET##BITS(i->reg, v);                                                                  \
            c->fl = (uint16_t)fl;                                                                  \
        } else {                                                                                   \
            op_locked_alone(c, i, lin, BITS / 8);                                                  \
        }                                                                                          \
        NEXT;                                                                                      \
    }
XADD(8)
XADD(16)
XADD(32)
XADD(64)

/* The accumulator is rAX: 32-bit operands zero-extend only what is written (SDM vol.2, CMPXCHG).
 * A failed comparison still writes the old value back to memory. */
#define CMPXCHG(BITS)                                                                              \
    static inline bool cmpxchg_compare##BITS(struct jit_cpu *c, uint##BITS##_t d)                  \
    {                                                                                              \
        uint32_t fl;                                                                               \
        __asm__("cmp %[d], %[a]" FLAGS_OUT                                                         \
                : "=&a"(fl)                                                                        \
                : [a] "q"(GET##BITS(R_RAX)), [d] "q"(d)                                            \
                : "cc");                                                                           \
        c->fl = (uint16_t)fl;                                                                      \
        return fl & AF_ZF;                                                                         \
    }                                                                                              \
    static void cmpxchg_rr_##BITS(struct jit_cpu *c, const struct insn *i)                         \
    {                                                                                              \
        uint##BITS##_t d = GET##BITS(i->reg);                                                      \
        if (cmpxchg_compare##BITS(c, d)) {                                                         \
            SET##BITS(i->reg, GET##BITS(i->rm));                                                   \
        } else {                                                                                   \
            SET##BITS(R_RAX, d);                                                                   \
        }                                                                                          \
        NEXT;                                                                                      \
    }                                                                                              \
    static void cmpxchg_alone_##BITS(struct jit_cpu *c, const struct insn *i)                      \
    {                                                                                              \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        mem_u##BITS *p = rmw##BITS(c, i, lin);                                                     \
        uint##BITS##_t d = *p;                                                                     \
        bool equal = cmpxchg_compare##BITS(c, d);                                                  \
        *p = equal ? GET##BITS(i->reg) : d;                                                        \
        if (unlikely((void *)p == &c->rmw_buf))                                                    \
            op_rmw_end(c, i, lin, BITS / 8);                                                       \
        if (!equal)                                                                                \
            SET##BITS(R_RAX, d);                                                                   \
        NEXT;                                                                                      \
    }                                                                                              \
    static void cmpxchg_m_##BITS(struct jit_cpu *c, const struct insn *i)                          \
    {                                                                                              \
        uint64_t lin = op_ea_other(c, i, BITS / 8, ACC_WRITE);                                     \
        mem_u##BITS *p = lock##BITS(c, i, lin);                                                    \
        if (likely(p != NULL)) {                                                                   \
            uint64_t ax = GET64(R_RAX), old;                                                       \
            __asm__ volatile("lock cmpxchg %[s], %[m]\n\tmov %%rax, %[old]" FLAGS_OUT              \
                             : [m] "+m"(*p), "+&a"(ax), [old] "=&r"(old)                           \
                             : [s] "q"(GET##BITS(i->reg))                                          \
                             : "cc", "memory");                                                    \
            c->fl = (uint16_t)ax;                                                                  \
            if (!(ax & AF_ZF))                                                                     \
                SET##BITS(R_RAX, (uint##BITS##_t)old);                                             \
        } else {                                                                                   \
            op_locked_alone(c, i, lin, BITS / 8);                                                  \
        }                                                                                          \
        NEXT;                                                                                      \
    }
CMPXCHG(8)
CMPXCHG(16)
CMPXCHG(32)
CMPXCHG(64)

/* ---- CMPXCHG8B, CMPXCHG16B: only ZF changes ---- */

static inline void set_zf(struct jit_cpu *c, bool zf)
{
    c->fl = (uint16_t)((c->fl & ~AF_ZF) | (zf ? AF_ZF : 0));
}

static void cmpxchg8b_finish(struct jit_cpu *c, bool equal, uint64_t old)
{
    if (!equal) {
        SET32(R_RAX, old);
        SET32(R_RDX, old >> 32);
    }
    set_zf(c, equal);
}

static void cmpxchg8b_alone(struct jit_cpu *c, const struct insn *i)
{
    uint64_t lin = op_ea_other(c, i, 8, ACC_WRITE);
    mem_u64 *p = rmw64(c, i, lin);
    uint64_t old = *p, expect = (uint64_t)GET32(R_RDX) << 32 | GET32(R_RAX);
    bool equal = old == expect;

    *p = equal ? (uint64_t)GET32(R_RCX) << 32 | GET32(R_RBX) : old;
    if (unlikely((void *)p == &c->rmw_buf))
        op_rmw_end(c, i, lin, 8);
    cmpxchg8b_finish(c, equal, old);
    NEXT;
}

static void cmpxchg8b_m(struct jit_cpu *c, const struct insn *i)
{
    uint64_t lin = op_ea_other(c, i, 8, ACC_WRITE);
    mem_u64 *p = lock64(c, i, lin);

    if (likely(p != NULL)) {
        uint64_t old = (uint64_t)GET32(R_RDX) << 32 | GET32(R_RAX);
        uint64_t new = (uint64_t)GET32(R_RCX) << 32 | GET32(R_RBX);
        bool equal;
        __asm__ volatile("lock cmpxchg %[s], %[m]"
                         : [m] "+m"(*p), "+a"(old), "=@ccz"(equal)
                         : [s] "r"(new)
                         : "memory");
        cmpxchg8b_finish(c, equal, old);
    } else {
        op_locked_alone(c, i, lin, 8);
    }
    NEXT;
}

static void cmpxchg16b_finish(struct jit_cpu *c, bool equal, uint64_t lo, uint64_t hi)
{
    if (!equal) {
        SET64(R_RAX, lo);
        SET64(R_RDX, hi);
    }
    set_zf(c, equal);
}

/* Its operand must be aligned, so it never crosses a page. */
static uint64_t cmpxchg16b_linear(struct jit_cpu *c, const struct insn *i)
{
    c->cur = i;
    uint64_t lin = insn_linear(c, i, 16, ACC_WRITE);
    if (lin & 15)
        cpu_raise_error(c, EX_GP, 0);
    return lin;
}

static void cmpxchg16b_alone(struct jit_cpu *c, const struct insn *i)
{
    uint64_t lin = cmpxchg16b_linear(c, i);
    uint64_t lo = ld64(c, i, lin), hi = ld64(c, i, lin + 8);
    bool equal = lo == GET64(R_RAX) && hi == GET64(R_RDX);

    st64(c, i, lin, equal ? GET64(R_RBX) : lo);
    st64(c, i, lin + 8, equal ? GET64(R_RCX) : hi);
    cmpxchg16b_finish(c, equal, lo, hi);
    NEXT;
}

static void cmpxchg16b_m(struct jit_cpu *c, const struct insn *i)
{
    uint64_t lin = cmpxchg16b_linear(c, i);
    unsigned __int128 *p = op_lock_begin(c, i, lin, 16);

    if (likely(p != NULL)) {
        uint64_t lo = GET64(R_RAX), hi = GET64(R_RDX);
        bool equal;
        __asm__ volatile("lock cmpxchg16b %[m]"
                         : [m] "+m"(*p), "+a"(lo), "+d"(hi), "=@ccz"(equal)
                         : "b"(GET64(R_RBX)), "c"(GET64(R_RCX))
                         : "memory");
        cmpxchg16b_finish(c, equal, lo, hi);
    } else {
        op_locked_alone(c, i, lin, 16);
    }
    NEXT;
}

/* ---- selecting ---- */

#define BY_SIZE(NAME)                                                                              \
    {                                                                                              \
        NAME##_8, NAME##_16, NAME##_32, NAME##_64                                                  \
    }
struct atomic_ops {
    op_fn *rr[4], *m[4], *alone[4];
};
static const struct atomic_ops ops_xchg = {BY_SIZE(xchg_rr), BY_SIZE(xchg_m), BY_SIZE(xchg_alone)},
                               ops_xadd = {BY_SIZE(xadd_rr), BY_SIZE(xadd_m), BY_SIZE(xadd_alone)},
                               ops_cmpxchg = {BY_SIZE(cmpxchg_rr), BY_SIZE(cmpxchg_m),
                                              BY_SIZE(cmpxchg_alone)};

static op_fn *select_atomic(struct decode_ctx *d, const struct atomic_ops *ops)
{
    enum form form = op_form(d);
    unsigned size = size_index(d->out->opsize);

    if (form == FORM_RR)
        return op_threaded(d, ops->rr[size]);
    return op_threaded_lock(d, ops->m[size], ops->alone[size]);
}

/* F3 REX.B 90 is no PAUSE: the processor exchanges (Zydis 4.0 says PAUSE). */
op_fn *op_select_xchg_r8(struct decode_ctx *d)
{
    static op_fn *const rr[4] = BY_SIZE(xchg_rr);
    unsigned size = d->z.raw.rex.W ? 8 : d->z.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE ? 2 : 4;
    d->out->reg = R_RAX;
    d->out->rm = R_R8;
    return op_threaded(d, rr[size_index(size)]);
}

op_fn *op_select_atomic(struct decode_ctx *d)
{
    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_XCHG:
        return select_atomic(d, &ops_xchg);
    case ZYDIS_MNEMONIC_XADD:
        return select_atomic(d, &ops_xadd);
    case ZYDIS_MNEMONIC_CMPXCHG:
        return select_atomic(d, &ops_cmpxchg);
    case ZYDIS_MNEMONIC_CMPXCHG8B:
        return op_threaded_lock(d, cmpxchg8b_m, cmpxchg8b_alone);
    case ZYDIS_MNEMONIC_CMPXCHG16B:
        return op_has(d, FEAT_1_ECX, 13) ? op_threaded_lock(d, cmpxchg16b_m, cmpxchg16b_alone)
                                         : NULL;
    default:
        return NULL;
    }
}
