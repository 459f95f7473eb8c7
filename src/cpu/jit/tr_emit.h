/* tr_emit.h - host instructions as bytes; private to the translator.
 *
 * An operand is a register, memory at a register, or memory at an address below 2 GiB (where struct
 * jit_cpu and the cache live, tr_cache.c).  All functions write at t->p and advance it. */
#ifndef CPU_JIT_TR_EMIT_H
#define CPU_JIT_TR_EMIT_H

#include "tr.h"

#include <string.h>

static inline void e8(struct tr *t, uint8_t v)
{
    *t->p++ = v;
}
static inline void e32(struct tr *t, uint32_t v)
{
    memcpy(t->p, &v, 4);
    t->p += 4;
}
static inline void e64(struct tr *t, uint64_t v)
{
    memcpy(t->p, &v, 8);
    t->p += 8;
}
static inline uint32_t low32(const volatile void *p)
{
    return (uint32_t)(uintptr_t)p;
}

static inline struct opnd op_reg(unsigned reg)
{
    return (struct opnd){.kind = OP_REG, .reg = (uint8_t)reg};
}
static inline struct opnd op_at(unsigned reg)
{
    return (struct opnd){.kind = OP_AT, .reg = (uint8_t)reg};
}
/* What tr_operand() and tr_stack() have found.  The next thing emitted is the instruction that
 * accesses it: in direct memory it may fault. */
static inline struct opnd op_memory(struct tr *t)
{
    struct opnd o = t->direct ? t->operand : op_at(HR_S0);

    if (t->group)
        o.disp = t->in->at;
    if (t->direct)
        tr_note_fault(t);
    return o;
}
static inline struct opnd op_abs(const volatile void *p)
{
    return (struct opnd){.kind = OP_ABS, .abs = low32(p)};
}
/* For an instruction with that many bytes of immediate. */
static inline struct opnd op_near(const volatile void *p, uint8_t behind)
{
    return (struct opnd){.kind = OP_NEAR, .abs = low32(p), .behind = behind};
}
static inline struct opnd op_gpr(struct tr *t, unsigned guest)
{
    return op_abs(&t->c->st.gpr[guest]);
}

static inline void e_modrm_at(struct tr *t, unsigned reg, struct opnd rm)
{
    unsigned base = rm.reg & 7, mod = 2;

    if (rm.disp == 0 && base != 5)
        mod = 0;
    else if (rm.disp >= -128 && rm.disp < 128 && !rm.wide)
        mod = 1;
    e8(t, mod << 6 | reg | (rm.s0 ? 4 : base));
    if (rm.s0)
        e8(t, HR_S0 << 3 | base); /* SIB */
    else if (base == 4)
        e8(t, 0x24); /* no index */
    if (mod == 1)
        e8(t, (uint8_t)rm.disp);
    else if (mod == 2)
        e32(t, (uint32_t)rm.disp);
}
static inline void e_modrm(struct tr *t, unsigned reg, struct opnd rm)
{
    reg = (reg & 7) << 3;
    switch (rm.kind) {
    case OP_REG:
        e8(t, 0xc0 | reg | (rm.reg & 7));
        return;
    case OP_AT:
        e_modrm_at(t, reg, rm);
        return;
    case OP_ABS:
        e8(t, reg | 4);
        e8(t, 0x25);
        e32(t, rm.abs);
        return;
    case OP_NEAR:
        e8(t, reg | 5);
        e32(t, rm.abs - (uint32_t)tr_rx(t->cache, (uint32_t)(t->p + 4 - t->cache->rw)) - rm.behind);
        return;
    }
}
static inline unsigned rex_b(struct opnd rm)
{
    return rm.kind == OP_ABS || rm.kind == OP_NEAR ? 0 : rm.reg >> 3;
}
/* The prefix an operand needs, before all others. */
static inline void e_segment(struct tr *t, struct opnd rm)
{
    if (rm.gs)
        e8(t, 0x65);
}
enum { E_W = 1, E_BYTE = 2 /* byte registers: SPL..DIL need REX */ };
/* [pfx] [REX] map opcode ModRM; immediates are the caller's. */
static inline void e_op(struct tr *t, uint8_t pfx, unsigned how, unsigned map, uint8_t opcode,
                        unsigned reg, struct opnd rm)
{
    unsigned rex = (how & E_W ? 8 : 0) | (reg >> 3 & 1) << 2 | rex_b(rm);

    e_segment(t, rm);
    if (pfx)
        e8(t, pfx);
    if ((how & E_BYTE) &&
        ((reg >= 4 && reg < 8) || (rm.kind == OP_REG && rm.reg >= 4 && rm.reg < 8)))
        rex |= 0x40;
    if (rex)
        e8(t, 0x40 | rex);
    if (map)
        e8(t, 0x0f);
    if (map == 2)
        e8(t, 0x38);
    else if (map == 3)
        e8(t, 0x3a);
    e8(t, opcode);
    e_modrm(t, reg, rm);
}

static inline void e_load64(struct tr *t, unsigned reg, const volatile void *p)
{
    e_op(t, 0, E_W, 0, 0x8b, reg, op_near(p, 0));
}
static inline void e_load32(struct tr *t, unsigned reg, const volatile void *p)
{
    e_op(t, 0, 0, 0, 0x8b, reg, op_near(p, 0));
}
static inline void e_store64(struct tr *t, const volatile void *p, unsigned reg)
{
    e_op(t, 0, E_W, 0, 0x89, reg, op_near(p, 0));
}
static inline void e_store32(struct tr *t, const volatile void *p, unsigned reg)
{
    e_op(t, 0, 0, 0, 0x89, reg, op_near(p, 0));
}
static inline void e_mov(struct tr *t, unsigned to, unsigned from)
{
    e_op(t, 0, E_W, 0, 0x89, from, op_reg(to));
}
static inline void e_mov32(struct tr *t, unsigned to, unsigned from)
{
    e_op(t, 0, 0, 0, 0x89, from, op_reg(to));
}
/* The shortest form of a 64-bit constant. */
static inline void e_const(struct tr *t, unsigned reg, uint64_t v)
{
    if (v <= UINT32_MAX) {
        if (reg >= 8)
            e8(t, 0x41);
        e8(t, 0xb8 | (reg & 7));
        e32(t, (uint32_t)v);
    } else if ((uint64_t)(int64_t)(int32_t)v == v) {
        e_op(t, 0, E_W, 0, 0xc7, 0, op_reg(reg));
        e32(t, (uint32_t)v);
    } else {
        e8(t, 0x48 | reg >> 3);
        e8(t, 0xb8 | (reg & 7));
        e64(t, v);
    }
}
static inline bool fits32(uint64_t v)
{
    return (uint64_t)(int64_t)(int32_t)v == v;
}
/* S1 = the low half of S0, shifted right by `by`: of the upper `by` bits of 32 nothing is known.
 * Flags may change. */
static inline void e_s1_shifted(struct tr *t, uint8_t by)
{
    if (t->cache->bmi2) { /* rorx ecx, edi */
        e8(t, 0xc4), e8(t, 0xe3), e8(t, 0x7b), e8(t, 0xf0), e8(t, 0xcf), e8(t, by);
        return;
    }
    e_mov32(t, HR_S1, HR_S0);
    e8(t, 0xc1), e8(t, 0xe9), e8(t, by); /* shr ecx */
}
/* rorx rcx, reg, DIRECT_CHUNK_SHIFT: cl = the chunk of an address */
static inline void e_s1_chunk(struct tr *t, unsigned reg)
{
    e8(t, 0xc4), e8(t, reg & 8 ? 0xc3 : 0xe3);
    e8(t, 0xfb), e8(t, 0xf0), e8(t, 0xc8 | (reg & 7)), e8(t, DIRECT_CHUNK_SHIFT);
}
/* lea to, [base + index << shift + disp]; HR_MEM: none.  Flags stay. */
static inline void e_lea(struct tr *t, bool w, unsigned to, unsigned base, unsigned index,
                         unsigned shift, int32_t disp)
{
    unsigned rex = (w ? 8 : 0) | (to >> 3 & 1) << 2;
    unsigned mod;

    if (index != HR_MEM)
        rex |= (index >> 3 & 1) << 1;
    if (base != HR_MEM)
        rex |= base >> 3 & 1;
    if (rex)
        e8(t, 0x40 | rex);
    e8(t, 0x8d);
    if (base == HR_MEM)
        mod = 0;
    else if (disp == 0 && (base & 7) != 5)
        mod = 0;
    else
        mod = disp >= -128 && disp < 128 ? 1 : 2;
    if (index == HR_MEM && base != HR_MEM && (base & 7) != 4) {
        e8(t, mod << 6 | (to & 7) << 3 | (base & 7));
    } else {
        e8(t, mod << 6 | (to & 7) << 3 | 4);
        e8(t,
           shift << 6 | (index == HR_MEM ? 4 : index & 7) << 3 | (base == HR_MEM ? 5 : base & 7));
    }
    if (base == HR_MEM || mod == 2)
        e32(t, (uint32_t)disp);
    else if (mod == 1)
        e8(t, (uint8_t)disp);
}
static inline void e_add_const(struct tr *t, unsigned reg, int64_t v)
{
    while (v) {
        int32_t part = (int32_t)(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v);
        e_lea(t, true, reg, reg, HR_MEM, 0, part);
        v -= part;
    }
}
/* reg = an address that the code names: from its place's base, or one that stays.  Flags stay. */
static inline void e_address(struct tr *t, unsigned reg, uint64_t linear)
{
    if (!t->place) {
        e_const(t, reg, linear);
        return;
    }
    e_load64(t, reg, &t->cache->place[t->place].base);
    e_add_const(t, reg, (int64_t)linear);
}
/* op reg, [S1 + abs] for the TLB: 2B SUB, 03 ADD, 3B CMP, 8B MOV */
static inline void e_at_s1(struct tr *t, uint8_t opcode, unsigned reg, uint32_t abs)
{
    e8(t, 0x48 | reg >> 3 << 2);
    e8(t, opcode);
    e8(t, 0x80 | (reg & 7) << 3 | HR_S1);
    e32(t, abs);
}
static inline void e_store_const32(struct tr *t, const volatile void *p, uint32_t v)
{
    e_op(t, 0, 0, 0, 0xc7, 0, op_near(p, 4));
    e32(t, v);
}

/* ---- jumps; addresses are where t->p writes ---- */

/* The rel32 ends where t->p is afterwards; returns where it stands. */
static inline uint8_t *e_jmp(struct tr *t, uint8_t *to)
{
    e8(t, 0xe9);
    e32(t, (uint32_t)(to - (t->p + 4)));
    return t->p - 4;
}
static inline uint8_t *e_jcc(struct tr *t, unsigned cc, uint8_t *to)
{
    e8(t, 0x0f);
    e8(t, 0x80 | cc);
    e32(t, (uint32_t)(to - (t->p + 4)));
    return t->p - 4;
}
static inline void e_call(struct tr *t, uint8_t *to)
{
    e8(t, 0xe8);
    e32(t, (uint32_t)(to - (t->p + 4)));
}
static inline void patch32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, 4);
}
static inline void patch_rel(uint8_t *at, const uint8_t *to)
{
    int32_t v = (int32_t)(to - (at + 4));
    memcpy(at, &v, 4);
}
static inline uint8_t *glue(const struct tr *t, uint32_t off)
{
    return t->cache->rw + off;
}
/* jcc forward by a byte displacement, to be set by e_here8. */
static inline uint8_t *e_jcc8(struct tr *t, uint8_t opcode)
{
    e8(t, opcode);
    e8(t, 0);
    return t->p - 1;
}
static inline void e_here8(struct tr *t, uint8_t *at)
{
    *at = (uint8_t)(t->p - (at + 1));
}
#define CC_C     2
#define CC_E     4
#define CC_NE    5
#define CC_BE    6
#define CC_A     7
#define J8_JRCXZ 0xe3
#define J8_JMP   0xeb
#define J8_JE    0x74
#define J8_JNE   0x75

/* c->fl <-> host flags, as LAHF and SETO have it. Clobber S1. */
static inline void e_flags_save(struct tr *t)
{
    e_mov(t, HR_S1, HR_RAX);
    e8(t, 0x9f);                           /* lahf */
    e8(t, 0x0f), e8(t, 0x90), e8(t, 0xc0); /* seto al */
    e_op(t, 0x66, 0, 0, 0x89, HR_RAX, op_near(&t->c->fl, 0));
    e_mov(t, HR_RAX, HR_S1);
}
static inline void e_flags_load(struct tr *t)
{
    e_mov(t, HR_S1, HR_RAX);
    e_op(t, 0, 0, 1, 0xb7, HR_RAX, op_near(&t->c->fl, 0)); /* movzx eax, word */
    e8(t, 0x04), e8(t, 0x7f);                              /* add al, 0x7f */
    e8(t, 0x9e);                                           /* sahf */
    e_mov(t, HR_RAX, HR_S1);
}

/* The host register of a guest register, HR_MEM + number for those in memory. */
static inline unsigned hreg(unsigned guest)
{
    static const uint8_t map[16] = {HR_RAX, HR_RCX, HR_RDX, HR_RBX,     HR_SP,       HR_RBP,
                                    HR_RSI, HR_RDI, HR_R8,  HR_MEM + 9, HR_MEM + 10, HR_MEM + 11,
                                    12,     13,     14,     15};
    return map[guest & 15];
}
/* The register that the opcode's low bits name. */
static inline unsigned opcode_reg(const struct tr_insn *d)
{
    return (d->opcode & 7) | (d->rex & 1 ? 8 : 0);
}
/* Bytes of a stack slot, and of an address. */
static inline unsigned stack_width(const struct tr *t)
{
    return t->code64 ? 8 : 4;
}
static inline bool in_memory(unsigned h)
{
    return h >= HR_MEM;
}
/* h itself, or scratch with the register's value loaded into it. */
static inline unsigned e_get(struct tr *t, unsigned h, unsigned scratch)
{
    if (!in_memory(h))
        return h;
    e_load64(t, scratch, &t->c->st.gpr[h - HR_MEM]);
    return scratch;
}
static inline struct opnd op_of(struct tr *t, unsigned h)
{
    return in_memory(h) ? op_gpr(t, h - HR_MEM) : op_reg(h);
}

#endif
