/* op_string.c - MOVS CMPS STOS LODS SCAS INS OUTS with and without REP.
 *
 * A repeated instruction works in chunks that lie in one page of each operand.  Where both pages
 * are ordinary memory the chunk is the host's own repeated instruction, with the guest's element
 * size, so overlapping operands behave exactly alike; elsewhere the chunk is one element. Registers
 * are exact after each chunk: a fault or a kick finds the completed iterations done and rip on the
 * instruction. */
#include "op.h"

#include "bus/io.h"

struct str {
    struct jit_cpu *c;
    const struct insn *i;
    unsigned size;
    uint64_t mask;  /* of the address size */
    int64_t step;   /* +size or -size */
    uint64_t count; /* iterations left */
};

/* CHUNK returns the iterations it did (>= 1) or sets *stop (REPE/REPNE condition). */
typedef uint64_t chunk_fn(struct str *s, bool *stop);

static uint64_t index_get(const struct str *s, unsigned reg)
{
    return s->c->st.gpr[reg] & s->mask;
}

static void index_set(const struct str *s, unsigned reg, uint64_t v)
{
    if (s->mask == UINT16_MAX)
        *reg16(s->c, (uint8_t)reg) = (uint16_t)v;
    else
        s->c->st.gpr[reg] = v & s->mask;
}

static void advance(const struct str *s, unsigned reg, uint64_t n)
{
    index_set(s, reg, index_get(s, reg) + n * (uint64_t)s->step);
}

/* Linear address of the element at the index register; faults. */
static uint64_t source(const struct str *s)
{
    return seg_linear(s->c, s->i->seg, index_get(s, R_RSI), s->size, ACC_READ);
}

static uint64_t destination(const struct str *s, unsigned access)
{
    return seg_linear(s->c, SEG_ES, index_get(s, R_RDI), s->size, access);
}

/* Iterations from linear on that stay in its page, its segment and its index register. */
static uint64_t span(const struct str *s, unsigned seg, unsigned reg, uint64_t linear, uint64_t max)
{
    uint64_t bytes = GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1));
    uint64_t offset = index_get(s, reg);

    if (s->step < 0)
        return 0;
    if (s->mask - offset < bytes)
        bytes = s->mask - offset + 1;
    if (s->c->mode != MODE_LONG64) {
        const struct x86_seg *g = &s->c->st.seg[seg];
        bool down = (g->attr & 0xc) == 4;
        uint64_t last = !down ? g->limit : (g->attr & SEG_DB) ? UINT32_MAX : UINT16_MAX;
        if (last - offset < bytes)
            bytes = last - offset + 1;
    }
    return MIN_OF(max, bytes / s->size);
}

/* Host address of an element that may be reached without the slow path, or NULL. */
static void *host_for(const struct str *s, uint64_t linear, bool write)
{
    const struct tlb_ctx *t = s->c->tlb_now;
    const struct tlb_hot *e = (write ? t->wr : t->rd) + tlb_index(linear);
    return TLB_COVERS(e->tag, linear, s->size) ? (void *)(linear - e->tag + e->host) : NULL;
}

static uint64_t element_read(const struct str *s, uint64_t linear)
{
    switch (s->size) {
    case 1:
        return mem_r8(s->c, linear);
    case 2:
        return mem_r16(s->c, linear);
    case 4:
        return mem_r32(s->c, linear);
    default:
        return mem_r64(s->c, linear);
    }
}

static void element_write(const struct str *s, uint64_t linear, uint64_t v)
{
    switch (s->size) {
    case 1:
        mem_w8(s->c, linear, (uint8_t)v);
        break;
    case 2:
        mem_w16(s->c, linear, (uint16_t)v);
        break;
    case 4:
        mem_w32(s->c, linear, (uint32_t)v);
        break;
    default:
        mem_w64(s->c, linear, v);
    }
}

#define HOST_REP(size, INSN)                                                                       \
    switch (size) {                                                                                \
    case 1:                                                                                        \
        INSN("b");                                                                                 \
        break;                                                                                     \
    case 2:                                                                                        \
        INSN("w");                                                                                 \
        break;                                                                                     \
    case 4:                                                                                        \
        INSN("l");                                                                                 \
        break;                                                                                     \
    default:                                                                                       \
        INSN("q");                                                                                 \
    }

/* The source is read before the destination is looked at: its fault comes first. */
static uint64_t chunk_movs(struct str *s, bool *stop)
{
    uint64_t from = source(s), n = 1;
    void *src = host_for(s, from, false);
    uint64_t v = src ? 0 : element_read(s, from);
    uint64_t to = destination(s, ACC_WRITE);
    void *dst = host_for(s, to, true);

    if (src && dst)
        n = span(s, SEG_ES, R_RDI, to, span(s, s->i->seg, R_RSI, from, s->count));
    if (src && dst && n > 1) {
        uint64_t k = n;
#define HOST_MOVS(SUFFIX)                                                                          \
    __asm__ volatile("rep movs" SUFFIX : "+S"(src), "+D"(dst), "+c"(k) : : "memory")
        HOST_REP(s->size, HOST_MOVS)
    } else {
        n = 1;
        element_write(s, to, src ? element_read(s, from) : v);
    }
    advance(s, R_RSI, n);
    advance(s, R_RDI, n);
    return n;
}

static uint64_t chunk_stos(struct str *s, bool *stop)
{
    uint64_t to = destination(s, ACC_WRITE), n = 1, v = s->c->st.gpr[R_RAX];
    void *dst = host_for(s, to, true);

    if (dst)
        n = span(s, SEG_ES, R_RDI, to, s->count);
    if (dst && n > 1) {
        uint64_t k = n;
#define HOST_STOS(SUFFIX)                                                                          \
    __asm__ volatile("rep stos" SUFFIX : "+D"(dst), "+c"(k) : "a"(v) : "memory")
        HOST_REP(s->size, HOST_STOS)
    } else {
        n = 1;
        element_write(s, to, v);
    }
    advance(s, R_RDI, n);
    return n;
}

static uint64_t chunk_lods(struct str *s, bool *stop)
{
    reg_set(s->c, R_RAX, s->size, element_read(s, source(s)));
    advance(s, R_RSI, 1);
    return 1;
}

/* ---- comparing: flags come from the last element, ZF decides whether to go on ---- */

static uint16_t compare(unsigned size, uint64_t a, uint64_t b)
{
    uint32_t fl;

    switch (size) {
    case 1:
        __asm__("cmp %[b], %[a]" FLAGS_OUT
                : "=&a"(fl)
                : [a] "q"((uint8_t)a), [b] "q"((uint8_t)b)
                : "cc");
        break;
    case 2:
        __asm__("cmp %[b], %[a]" FLAGS_OUT
                : "=&a"(fl)
                : [a] "r"((uint16_t)a), [b] "r"((uint16_t)b)
                : "cc");
        break;
    case 4:
        __asm__("cmp %[b], %[a]" FLAGS_OUT
                : "=&a"(fl)
                : [a] "r"((uint32_t)a), [b] "r"((uint32_t)b)
                : "cc");
        break;
    default:
        __asm__("cmp %[b], %[a]" FLAGS_OUT : "=&a"(fl) : [a] "r"(a), [b] "r"(b) : "cc");
    }
    return (uint16_t)fl;
}

static void compared(struct str *s, uint16_t fl, bool *stop)
{
    s->c->fl = fl;
    flags_to_state(s->c);
    *stop = s->i->rep == 0xf3 ? !(fl & AF_ZF) : (fl & AF_ZF) != 0;
}

static uint64_t chunk_cmps(struct str *s, bool *stop)
{
    uint64_t from = source(s), n = 1;
    void *src = host_for(s, from, false);
    uint64_t a = src ? 0 : element_read(s, from);
    uint64_t to = destination(s, ACC_READ);
    void *dst = host_for(s, to, false);
    uint32_t fl;

    if (src && dst && s->i->rep)
        n = span(s, SEG_ES, R_RDI, to, span(s, s->i->seg, R_RSI, from, s->count));
    if (src && dst && n > 1) {
        uint64_t k = n;
#define HOST_REPE(SUFFIX)                                                                          \
    __asm__ volatile("repe cmps" SUFFIX FLAGS_OUT                                                  \
                     : "+S"(src), "+D"(dst), "+c"(k), "=&a"(fl)                                    \
                     :                                                                             \
                     : "cc", "memory")
#define HOST_REPNE(SUFFIX)                                                                         \
    __asm__ volatile("repne cmps" SUFFIX FLAGS_OUT                                                 \
                     : "+S"(src), "+D"(dst), "+c"(k), "=&a"(fl)                                    \
                     :                                                                             \
                     : "cc", "memory")
        if (s->i->rep == 0xf3) {
            HOST_REP(s->size, HOST_REPE)
        } else {
            HOST_REP(s->size, HOST_REPNE)
        }
        n -= k;
    } else {
        n = 1;
        a = src ? element_read(s, from) : a;
        fl = compare(s->size, a, element_read(s, to));
    }
    advance(s, R_RSI, n);
    advance(s, R_RDI, n);
    compared(s, (uint16_t)fl, stop);
    return n;
}

static uint64_t chunk_scas(struct str *s, bool *stop)
{
    uint64_t v = element_read(s, destination(s, ACC_READ));
    advance(s, R_RDI, 1);
    compared(s, compare(s->size, s->c->st.gpr[R_RAX], v), stop);
    return 1;
}

/* ---- I/O ---- */

static uint64_t chunk_ins(struct str *s, bool *stop)
{
    uint64_t to = destination(s, ACC_WRITE);
    /* The port must not be read when the store would fault. */
    mmu_translate(s->c, to, ACC_WRITE);
    mmu_translate(s->c, to + s->size - 1, ACC_WRITE);
    element_write(s, to, io_space_read(s->c->set->cfg.pio, *reg16(s->c, R_RDX), s->size));
    advance(s, R_RDI, 1);
    return 1;
}

static uint64_t chunk_outs(struct str *s, bool *stop)
{
    uint64_t v = element_read(s, source(s));
    io_space_write(s->c->set->cfg.pio, *reg16(s->c, R_RDX), s->size, v);
    advance(s, R_RSI, 1);
    return 1;
}

/* ---- the repetition ---- */

static inline void repeat(struct jit_cpu *c, const struct insn *i, chunk_fn *chunk)
{
    struct str s = {.c = c, .i = i, .size = i->opsize, .count = 1};
    bool stop = false;

    s.mask = i->addrsize == 8 ? UINT64_MAX : i->addrsize == 4 ? UINT32_MAX : UINT16_MAX;
    s.step = (c->st.rflags & FL_DF) ? -(int64_t)s.size : (int64_t)s.size;
    if (!i->rep) {
        chunk(&s, &stop);
        return;
    }
    for (;;) {
        s.count = index_get(&s, R_RCX);
        if (s.count == 0)
            return;
        if (c->single)
            s.count = 1;
        uint64_t done = chunk(&s, &stop);
        uint64_t left = index_get(&s, R_RCX) - done;
        index_set(&s, R_RCX, left);
        if (stop || left == 0)
            return;
        if (c->single || interp_must_stop(c)) {
            c->st.rip = insn_rip(c, i);
            return;
        }
    }
}

#define STRING_OP(NAME)                                                                            \
    static void op_##NAME(struct jit_cpu *c, const struct insn *i)                                 \
    {                                                                                              \
        repeat(c, i, chunk_##NAME);                                                                \
    }
STRING_OP(movs)
STRING_OP(stos)
STRING_OP(lods)
STRING_OP(cmps)
STRING_OP(scas)

/* The port is checked even when there is nothing to repeat. */
#define IO_STRING_OP(NAME)                                                                         \
    static void op_##NAME(struct jit_cpu *c, const struct insn *i)                                 \
    {                                                                                              \
        if (!sys_io_allowed(c, GET16(R_RDX), i->opsize))                                           \
            cpu_raise_error(c, EX_GP, 0);                                                          \
        repeat(c, i, chunk_##NAME);                                                                \
    }
IO_STRING_OP(ins)
IO_STRING_OP(outs)

op_fn *op_select_string(struct decode_ctx *d)
{
    op_fn *fn;

    if (d->z.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT ||
        d->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return NULL;
    switch (d->z.opcode & 0xfe) {
    case 0xa4:
        fn = op_movs;
        break;
    case 0xa6:
        fn = op_cmps;
        break;
    case 0xaa:
        fn = op_stos;
        break;
    case 0xac:
        fn = op_lods;
        break;
    case 0xae:
        fn = op_scas;
        break;
    case 0x6c:
        fn = op_ins;
        break;
    case 0x6e:
        fn = op_outs;
        break;
    default:
        return NULL;
    }
    bool io = fn == op_ins || fn == op_outs;
    unsigned size = d->z.operand_width / 8;
    if (!(d->z.opcode & 1))
        size = 1;
    else if (io && size > 4)
        size = 4;
    d->out->opsize = (uint8_t)size;
    d->ends_block = io || d->out->rep;
    return fn;
}
