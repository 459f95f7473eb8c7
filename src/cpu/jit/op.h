/* op.h - what the integer handlers, the decoder and the loop share; private to them.
 *
 * THREADED HANDLERS.  Most integer handlers are "threaded": each ends by calling the handler of the
 * next instruction (a sibling call, so a block runs as a chain of jumps), and the last entry of a
 * block returns to the loop or enters the next one.  Without optimization the calls nest, to a
 * bounded depth (op_branch.c).
 *
 *  1. While threaded code runs, st.rip and cur are stale: rip of an instruction is block_rip + off.
 *     A handler that is about to fault or to call anything that may sets cur (op_*_slow do).
 *  2. The arithmetic flags live in c->fl, as LAHF and SETO leave them in AX; flags_to_state and
 *     flags_from_state move them to and from st.rflags around plain handlers and the loop's exits.
 *  3. A handler must not let the address of a local escape (that would forbid the sibling call):
 *     slow paths are out-of-line functions that return values.
 *  4. When the running block is dropped, the entries after the current one are replaced by
 *     op_block_end (icache.c), so rule 1 of the contract holds even for self-modifying code. */
#ifndef CPU_JIT_OP_H
#define CPU_JIT_OP_H

#include "decode.h"

#define BLOCK_INSNS_MAX 40

/* The same code runs at many addresses (address space randomisation): the last ones are found. */
#define TR_ADDRESSES 6u

struct code_page;
struct tblock;

/* Decoded code that runs without looking up: starts at one address, ends at a control transfer, at
 * the end of the page, or after BLOCK_INSNS_MAX instructions. */
struct block {
    /* one cache line, which looking it up and going into its translation touch */
    uintptr_t host;         /* of the first byte */
    struct code_page *page; /* NULL: it is not kept */
    uintptr_t host2;        /* page-crossing instruction: of its first byte in page 2, or 0 */
    struct tblock *tr;      /* its translations, one for each linear address and key */
    uint32_t key;           /* mode_key */
    uint32_t sought;        /* for which address and key one was looked for in vain last, or 0 */
    uint16_t tr_tag[TR_ADDRESSES]; /* of the first ones in that list, in its order */
    uint16_t count, bytes;
    uint16_t heat;   /* times run by the interpreter, up to a point */
    bool cold;       /* cannot be translated */
    uint8_t decodes; /* times its instructions were wanted and not there */
    /* the rest */
    struct block *page_next, *bucket_next, *cross_next;
    struct code_page *page2;
    struct block *link[2]; /* same-page successors: not taken / taken; NULL = look up */
    struct insn *insn;     /* count + 1: the last is op_block_end; NULL: see icache_insns */
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct block) == 128, "two cache lines");

#define JUMP_CACHE_SIZE 16384u
static inline unsigned jump_cache_index(uintptr_t host)
{
    return (host ^ (host >> 12)) & (JUMP_CACHE_SIZE - 1);
}

/* struct icache begins with its jump cache. */
struct icache_front {
    struct block *jump[JUMP_CACHE_SIZE]; /* by host address; or NULL */
};

/* ---- icache.c ---- */
struct block *icache_lookup(struct jit_cpu *c); /* block at st.rip; may fault */
/* b's instructions, for the translator or to look at: decoded anew into a place that the next block
 * takes when they are not kept; NULL, and b is dropped, when its bytes have changed. */
const struct insn *icache_insns(struct jit_cpu *c, struct block *b);
/* The instruction at off in b, as its bytes are now. */
void icache_insn_at(struct jit_cpu *c, const struct block *b, unsigned off, struct insn *out);
/* What the interpreter is to run for b, which begins at st.rip: b or a copy.  May fault. */
struct block *icache_decoded(struct jit_cpu *c, struct block *b);
/* One instruction at st.rip, in a private block that nothing links to. */
struct block *icache_scratch(struct jit_cpu *c);
void icache_drain(struct jit_cpu *c); /* PENDING_CODE: what other threads have written */

/* ---- decode.c ---- */
struct fetch {
    const uint8_t *bytes; /* at the instruction */
    unsigned avail;       /* bytes that may be read, all in one page unless `crosses` */
    bool crosses;         /* bytes is a 15-byte copy from two pages */
};
enum decode_result { DECODE_OK, DECODE_MORE };
/* Fills *out; DECODE_MORE when the instruction does not end within avail bytes. Undecodable bytes
 * become an instruction that raises #UD (or #GP when longer than 15 bytes). */
enum decode_result decode_insn(struct jit_cpu *c, const struct fetch *f, struct insn *out,
                               bool *ends_block);
void decode_init(void);
op_fn op_block_end;

/* ---- interp.c ---- */
/* The block at st.rip through TLB and jump cache, else NULL. */
struct block *interp_find_fast(struct jit_cpu *c);
struct jit_cpu *interp_running(void); /* the vcpu whose loop this thread is in, or NULL */
static inline void flags_to_state(struct jit_cpu *c)
{
    c->st.rflags = (c->st.rflags & ~(uint64_t)FL_ARITH) | (c->fl >> 8 & (FL_ARITH & 0xff)) |
                   (uint64_t)(c->fl & 1) << 11;
}
static inline void flags_from_state(struct jit_cpu *c)
{
    c->fl = (uint16_t)((c->st.rflags & 0xff) << 8 | (c->st.rflags >> 11 & 1));
}
/* Asked at block ends: events, or somebody wants this vcpu out. */
static inline bool interp_must_stop(const struct jit_cpu *c)
{
    return __atomic_load_n(&c->pending, __ATOMIC_RELAXED) |
           __atomic_load_n(&c->vcpu->exit_request, __ATOMIC_RELAXED);
}
/* What the loop keeps about the block that is about to run at st.rip. */
static inline void interp_enter(struct jit_cpu *c, struct block *b)
{
    c->block = b;
    c->block_rip = c->st.rip;
    c->instructions += b->count;
}
static inline uint64_t insn_rip(const struct jit_cpu *c, const struct insn *i)
{
    return c->block_rip + i->off;
}
static inline op_fn *insn_plain(const struct insn *i)
{
    return (op_fn *)((uintptr_t)op_select_int + (intptr_t)i->plain);
}
static inline int32_t op_relative(op_fn *fn)
{
    return (int32_t)((intptr_t)fn - (intptr_t)op_select_int);
}

#define NEXT return i[1].fn(c, i + 1)

/* ---- registers ---- */
static inline uint8_t *reg8(struct jit_cpu *c, uint8_t n)
{
    /* n 16..19 are the high bytes of registers 0..3 */
    return (uint8_t *)c->st.gpr + ((n << 3 & 0x7f) + (n >> 4));
}
static inline uint16_t *reg16(struct jit_cpu *c, uint8_t n)
{
    return (uint16_t *)&c->st.gpr[n];
}
#define GET8(n)  (*reg8(c, n))
#define GET16(n) (*reg16(c, n))
#define GET32(n) ((uint32_t)c->st.gpr[n])
#define GET64(n) (c->st.gpr[n])
/* A 32-bit result clears the upper half; the others leave the rest alone. */
#define SET8(n, v)  (*reg8(c, n) = (v))
#define SET16(n, v) (*reg16(c, n) = (v))
#define SET32(n, v) (c->st.gpr[n] = (uint32_t)(v))
#define SET64(n, v) (c->st.gpr[n] = (v))

/* Sized by a run-time size (slower handlers). */
uint64_t reg_get(struct jit_cpu *c, uint8_t n, unsigned size);
void reg_set(struct jit_cpu *c, uint8_t n, unsigned size, uint64_t v);

static inline bool canonical_ok(const struct jit_cpu *c, uint64_t a)
{
    unsigned shift = (c->st.cr4 & BIT64(12)) ? 7 : 16; /* CR4.LA57 */
    return (uint64_t)((int64_t)(a << shift) >> shift) == a;
}

/* The stack beyond stack_push/stack_pop: read at a depth, then move the pointer. */
uint64_t stack_peek(struct jit_cpu *c, unsigned depth, unsigned size);
void stack_adjust(struct jit_cpu *c, int64_t bytes);

/* ---- flags ---- */
#define FLAGS_OUT "\n\tlahf\n\tseto %%al"
#define FLAGS_IN  "addb $0x7f, %%al\n\tsahf\n\t"
#define AF_CF     0x0100u /* positions in c->fl */
#define AF_PF     0x0400u
#define AF_ZF     0x4000u
#define AF_SF     0x8000u
#define AF_OF     0x0001u
static inline bool cond_holds(uint16_t fl, unsigned cc)
{
    bool r = false;
    switch (cc >> 1) {
    case 0:
        r = fl & AF_OF;
        break;
    case 1:
        r = fl & AF_CF;
        break;
    case 2:
        r = fl & AF_ZF;
        break;
    case 3:
        r = fl & (AF_CF | AF_ZF);
        break;
    case 4:
        r = fl & AF_SF;
        break;
    case 5:
        r = fl & AF_PF;
        break;
    case 6:
        r = (fl >> 15 ^ fl) & 1;
        break;
    default:
        r = ((fl >> 15 ^ fl) & 1) | (fl & AF_ZF);
        break;
    }
    return r ^ (cc & 1);
}

/* ---- memory ---- */
uint64_t op_load_slow(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size);
void op_store_slow(struct jit_cpu *c, const struct insn *i, uint64_t linear, uint64_t v,
                   unsigned size);
/* Where a read-modify-write happens: host memory, or c->rmw_buf, which op_rmw_end writes back. */
void *op_rmw_begin(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size);
void op_rmw_end(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size);
/* The operand of a LOCKed instruction; NULL when it must run alone: then call op_locked_alone. */
void *op_lock_begin(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size);
/* Runs the unlocked handler (insn_plain) of i with every other vcpu stopped. */
void op_locked_alone(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size);

#define OP_MEMORY(bits)                                                                            \
    static inline uint##bits##_t ld##bits(struct jit_cpu *c, const struct insn *i, uint64_t lin)   \
    {                                                                                              \
        const struct tlb_hot *e = &c->tlb_now->rd[tlb_index(lin)];                                 \
        if (likely(TLB_COVERS(e->tag, lin, bits / 8)))                                             \
            return *(volatile mem_u##bits *)(lin - e->tag + e->host);                              \
        return (uint##bits##_t)op_load_slow(c, i, lin, bits / 8);                                  \
    }                                                                                              \
    static inline void st##bits(struct jit_cpu *c, const struct insn *i, uint64_t lin,             \
                                uint##bits##_t v)                                                  \
    {                                                                                              \
        const struct tlb_hot *e = &c->tlb_now->wr[tlb_index(lin)];                                 \
        if (likely(TLB_COVERS(e->tag, lin, bits / 8)))                                             \
            *(volatile mem_u##bits *)(lin - e->tag + e->host) = v;                                 \
        else                                                                                       \
            op_store_slow(c, i, lin, v, bits / 8);                                                 \
    }                                                                                              \
    static inline mem_u##bits *rmw##bits(struct jit_cpu *c, const struct insn *i, uint64_t lin)    \
    {                                                                                              \
        const struct tlb_hot *e = &c->tlb_now->wr[tlb_index(lin)];                                 \
        if (likely(TLB_COVERS(e->tag, lin, bits / 8)))                                             \
            return (mem_u##bits *)(lin - e->tag + e->host);                                        \
        return op_rmw_begin(c, i, lin, bits / 8);                                                  \
    }                                                                                              \
    static inline mem_u##bits *lock##bits(struct jit_cpu *c, const struct insn *i, uint64_t lin)   \
    {                                                                                              \
        const struct tlb_hot *e = &c->tlb_now->wr[tlb_index(lin)];                                 \
        if (likely(TLB_COVERS(e->tag, lin, bits / 8)))                                             \
            return (mem_u##bits *)(lin - e->tag + e->host);                                        \
        return op_lock_begin(c, i, lin, bits / 8);                                                 \
    }
OP_MEMORY(8)
OP_MEMORY(16)
OP_MEMORY(32)
OP_MEMORY(64)

/* Effective address kinds that handlers are specialised for. */
enum ea_kind {
    EA_BASE, /* 64-bit, flat */
    EA_INDEX,
    EA_OTHER,
    EA_BASE32, /* flat 32-bit code; moves only, the rest takes EA_OTHER */
    EA_INDEX32,
    EA_KINDS
};
uint64_t op_ea_segmented(struct jit_cpu *c, const struct insn *i, unsigned size, unsigned access);
/* Any memory operand. */
static inline uint64_t op_ea_other(struct jit_cpu *c, const struct insn *i, unsigned size,
                                   unsigned access)
{
    uint64_t a = (uint64_t)(int64_t)i->disp;

    if (i->flags & INSN_EA64) {
        a += c->st.gpr[i->base];
        return i->index == NOREG ? a : a + (c->st.gpr[i->index] << i->scale_shift);
    }
    if (i->flags & INSN_EA_RIP)
        return insn_rip(c, i) + i->len + a;
    if (i->flags & INSN_EA32) {
        if (i->base != NOREG)
            a += c->st.gpr[i->base];
        if (i->index != NOREG)
            a += c->st.gpr[i->index] << i->scale_shift;
        return (uint32_t)a;
    }
    return op_ea_segmented(c, i, size, access);
}

static inline uint64_t ea_0(struct jit_cpu *c, const struct insn *i, unsigned size, unsigned access)
{
    return c->st.gpr[i->base] + (int64_t)i->disp;
}
static inline uint64_t ea_1(struct jit_cpu *c, const struct insn *i, unsigned size, unsigned access)
{
    return c->st.gpr[i->base] + (c->st.gpr[i->index] << i->scale_shift) + (int64_t)i->disp;
}
static inline uint64_t ea_2(struct jit_cpu *c, const struct insn *i, unsigned size, unsigned access)
{
    return op_ea_other(c, i, size, access);
}

static inline uint64_t ea_3(struct jit_cpu *c, const struct insn *i, unsigned size, unsigned access)
{
    return (uint32_t)ea_0(c, i, size, access);
}
static inline uint64_t ea_4(struct jit_cpu *c, const struct insn *i, unsigned size, unsigned access)
{
    return (uint32_t)ea_1(c, i, size, access);
}

/* ---- selecting ---- */
enum form { FORM_NONE, FORM_R, FORM_M, FORM_I, FORM_RR, FORM_RI, FORM_RM, FORM_MR, FORM_MI };
/* Puts the visible operands in order (out->reg = first register, out->rm = second) and says what
 * they are; opsize becomes that of the first operand. */
enum form op_form(struct decode_ctx *d);
enum ea_kind op_ea_kind(const struct decode_ctx *d);
/* 0, 1, 2, 3 for 1, 2, 4, 8 bytes. */
static inline unsigned size_index(unsigned size)
{
    return (unsigned)__builtin_ctz(size);
}
/* Marks the handler as threaded, with `alone` as its unlocked twin when LOCK is present. */
op_fn *op_threaded(struct decode_ctx *d, op_fn *fn);
op_fn *op_threaded_lock(struct decode_ctx *d, op_fn *fn, op_fn *unlocked);
/* Outside long mode: a 32-bit stack in a flat segment. */
static inline bool op_flat_stack32(const struct decode_ctx *d)
{
    uint32_t need = KEY_FLAT | KEY_SS32;
    return d->mode != MODE_LONG64 && (d->c->mode_key & need) == need;
}
bool op_has(struct decode_ctx *d, enum cpuid_word w, unsigned bit);

op_select_fn op_select_xchg_r8;
op_select_fn op_select_alu, op_select_shift, op_select_muldiv, op_select_mov, op_select_bit,
    op_select_branch, op_select_stack, op_select_string, op_select_atomic, op_select_segment,
    op_select_misc;

#endif
