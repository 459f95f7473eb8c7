/* op_misc.c - IN OUT, flag bits, BCD arithmetic, BOUND, NOPs and hints, fences, RDRAND RDSEED. */
#include "op.h"

#include "bus/io.h"

#include <sched.h>

/* ---- ports: aux = 1 when the port is DX; the size is the accumulator's ---- */

static uint16_t checked_port(struct jit_cpu *c, const struct insn *i)
{
    uint16_t port = i->aux ? GET16(R_RDX) : (uint8_t)i->imm;
    if (!sys_io_allowed(c, port, i->opsize))
        cpu_raise_error(c, EX_GP, 0);
    return port;
}

static void op_in(struct jit_cpu *c, const struct insn *i)
{
    uint16_t port = checked_port(c, i);
    reg_set(c, R_RAX, i->opsize, io_space_read(c->set->cfg.pio, port, i->opsize));
}

static void op_out(struct jit_cpu *c, const struct insn *i)
{
    uint16_t port = checked_port(c, i);
    io_space_write(c->set->cfg.pio, port, i->opsize, reg_get(c, R_RAX, i->opsize));
}

/* ---- flag bits ---- */

static void op_clc(struct jit_cpu *c, const struct insn *i)
{
    c->fl &= (uint16_t)~AF_CF;
    NEXT;
}
static void op_stc(struct jit_cpu *c, const struct insn *i)
{
    c->fl |= AF_CF;
    NEXT;
}
static void op_cmc(struct jit_cpu *c, const struct insn *i)
{
    c->fl ^= AF_CF;
    NEXT;
}
static void op_cld(struct jit_cpu *c, const struct insn *i)
{
    c->st.rflags &= ~(uint64_t)FL_DF;
    NEXT;
}
static void op_std(struct jit_cpu *c, const struct insn *i)
{
    c->st.rflags |= FL_DF;
    NEXT;
}
static void op_lahf(struct jit_cpu *c, const struct insn *i)
{
    SET8(16, (uint8_t)(c->fl >> 8));
    NEXT;
}
static void op_sahf(struct jit_cpu *c, const struct insn *i)
{
    c->fl = (uint16_t)((c->fl & AF_OF) | (((GET8(16) & (FL_ARITH & 0xff)) | 2) << 8));
    NEXT;
}
static void op_salc(struct jit_cpu *c, const struct insn *i)
{
    SET8(R_RAX, (c->fl & AF_CF) ? 0xff : 0);
    NEXT;
}

/* ---- BCD (SDM vol.2): the host has none of these in 64-bit mode ---- */

/* SF, ZF and PF of al, with the carries given; OF is undefined and cleared. */
static void bcd_flags(struct jit_cpu *c, uint8_t al, bool af, bool cf)
{
    uint32_t fl;
    __asm__("test %[v], %[v]" FLAGS_OUT : "=&a"(fl) : [v] "q"(al) : "cc");
    fl &= AF_PF | AF_ZF | AF_SF;
    c->fl = (uint16_t)(fl | 2u << 8 | (af ? (FL_AF << 8) : 0) | (cf ? AF_CF : 0));
    flags_to_state(c);
}

static void op_daa_das(struct jit_cpu *c, const struct insn *i)
{
    bool subtract = i->aux, cf = c->st.rflags & FL_CF, af = c->st.rflags & FL_AF;
    uint8_t old = GET8(R_RAX), al = old;
    bool low = (old & 15) > 9 || af, high = old > 0x99 || cf;
    bool borrow = false;

    if (low) {
        borrow = subtract ? old < 6 : false;
        al = (uint8_t)(subtract ? al - 6 : al + 6);
    }
    if (high)
        al = (uint8_t)(subtract ? al - 0x60 : al + 0x60);
    SET8(R_RAX, al);
    bcd_flags(c, al, low, high || (low && (cf || borrow)));
}

static void op_aaa_aas(struct jit_cpu *c, const struct insn *i)
{
    uint16_t ax = GET16(R_RAX);
    bool adjust = (ax & 15) > 9 || (c->st.rflags & FL_AF);

    if (adjust)
        ax = (uint16_t)(i->aux ? ax - 0x106 : ax + 0x106);
    ax &= 0xff0f;
    SET16(R_RAX, ax);
    bcd_flags(c, (uint8_t)ax, adjust, adjust);
}

static void op_aam(struct jit_cpu *c, const struct insn *i)
{
    uint8_t base = (uint8_t)i->imm, al = GET8(R_RAX);

    if (base == 0)
        cpu_raise(c, EX_DE);
    SET16(R_RAX, (uint16_t)(al / base << 8 | al % base));
    bcd_flags(c, al % base, false, false);
}

static void op_aad(struct jit_cpu *c, const struct insn *i)
{
    uint16_t ax = GET16(R_RAX);
    uint8_t al = (uint8_t)((ax & 0xff) + (ax >> 8) * (uint8_t)i->imm);

    SET16(R_RAX, al);
    bcd_flags(c, al, false, false);
}

static void op_bound(struct jit_cpu *c, const struct insn *i)
{
    unsigned size = i->opsize;
    uint64_t lin = insn_linear(c, i, 2 * size, ACC_READ);
    int32_t lower, upper, index;

    if (size == 2) {
        lower = (int16_t)mem_r16(c, lin);
        upper = (int16_t)mem_r16(c, lin + 2);
        index = (int16_t)GET16(i->reg);
    } else {
        lower = (int32_t)mem_r32(c, lin);
        upper = (int32_t)mem_r32(c, lin + 4);
        index = (int32_t)GET32(i->reg);
    }
    if (index < lower || index > upper)
        cpu_raise(c, EX_BR);
}

/* ---- nothing, hints, order ---- */

static void op_nop(struct jit_cpu *c, const struct insn *i)
{
    NEXT;
}

/* A spinning vcpu gives its core away now and then: the lock's owner may wait for it. */
static void op_pause(struct jit_cpu *c, const struct insn *i)
{
    if (c->set->count > 1 && ++c->pauses % 32 == 0)
        sched_yield();
}

static void op_mfence(struct jit_cpu *c, const struct insn *i)
{
    __asm__ volatile("mfence" : : : "memory");
    NEXT;
}
static void op_lfence(struct jit_cpu *c, const struct insn *i)
{
    __asm__ volatile("lfence" : : : "memory");
    NEXT;
}
static void op_sfence(struct jit_cpu *c, const struct insn *i)
{
    __asm__ volatile("sfence" : : : "memory");
    NEXT;
}

/* Caches are coherent here; what remains is that the address must be readable. */
static void op_cache_line(struct jit_cpu *c, const struct insn *i)
{
    (void)ld8(c, i, op_ea_other(c, i, 1, ACC_READ));
    NEXT;
}

#define RANDOM(NAME, BITS)                                                                         \
    static void NAME##_##BITS(struct jit_cpu *c, const struct insn *i)                             \
    {                                                                                              \
        uint##BITS##_t v;                                                                          \
        bool ok;                                                                                   \
        __asm__ volatile(#NAME " %[v]" : [v] "=r"(v), "=@ccc"(ok));                                \
        SET##BITS(i->reg, v);                                                                      \
        c->fl = (uint16_t)(2u << 8 | (ok ? AF_CF : 0));                                            \
        NEXT;                                                                                      \
    }
RANDOM(rdrand, 16)
RANDOM(rdrand, 32)
RANDOM(rdrand, 64)
RANDOM(rdseed, 16)
RANDOM(rdseed, 32)
RANDOM(rdseed, 64)

/* ---- selecting ---- */

static op_fn *select_port(struct decode_ctx *d, bool in)
{
    const ZydisDecodedOperand *acc = &d->op[in ? 0 : 1], *port = &d->op[in ? 1 : 0];

    d->out->opsize = (uint8_t)(acc->size / 8);
    d->out->aux = port->type == ZYDIS_OPERAND_TYPE_REGISTER;
    d->ends_block = true;
    return in ? op_in : op_out;
}

static op_fn *select_random(struct decode_ctx *d, bool seed)
{
    static op_fn *const fn[2][4] = {{NULL, rdrand_16, rdrand_32, rdrand_64},
                                    {NULL, rdseed_16, rdseed_32, rdseed_64}};
    if (seed ? !op_has(d, FEAT_7_0_EBX, 18) : !op_has(d, FEAT_1_ECX, 30))
        return NULL;
    op_form(d);
    return op_threaded(d, fn[seed][size_index(d->out->opsize)]);
}

static op_fn *select_flag(struct decode_ctx *d)
{
    bool ah_ok = d->mode != MODE_LONG64 || op_has(d, FEAT_8000_0001_ECX, 0);

    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_CLC:
        return op_clc;
    case ZYDIS_MNEMONIC_STC:
        return op_stc;
    case ZYDIS_MNEMONIC_CMC:
        return op_cmc;
    case ZYDIS_MNEMONIC_CLD:
        return op_cld;
    case ZYDIS_MNEMONIC_STD:
        return op_std;
    case ZYDIS_MNEMONIC_LAHF:
        return ah_ok ? op_lahf : NULL;
    case ZYDIS_MNEMONIC_SAHF:
        return ah_ok ? op_sahf : NULL;
    case ZYDIS_MNEMONIC_SALC:
        return op_salc;
    default:
        return NULL;
    }
}

static op_fn *select_bcd(struct decode_ctx *d)
{
    d->out->aux = d->z.mnemonic == ZYDIS_MNEMONIC_DAS || d->z.mnemonic == ZYDIS_MNEMONIC_AAS;
    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_DAA:
    case ZYDIS_MNEMONIC_DAS:
        return op_daa_das;
    case ZYDIS_MNEMONIC_AAA:
    case ZYDIS_MNEMONIC_AAS:
        return op_aaa_aas;
    case ZYDIS_MNEMONIC_AAM:
        return op_aam;
    case ZYDIS_MNEMONIC_AAD:
        return op_aad;
    case ZYDIS_MNEMONIC_BOUND:
        d->out->opsize = d->z.operand_width / 8;
        return op_bound;
    default:
        return NULL;
    }
}

static op_fn *select_hint(struct decode_ctx *d)
{
    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_NOP:
    case ZYDIS_MNEMONIC_ENDBR32:
    case ZYDIS_MNEMONIC_ENDBR64:
        return op_nop;
    case ZYDIS_MNEMONIC_MFENCE:
        return op_mfence;
    case ZYDIS_MNEMONIC_LFENCE:
        return op_lfence;
    case ZYDIS_MNEMONIC_SFENCE:
        return op_sfence;
    case ZYDIS_MNEMONIC_CLFLUSH:
        return op_has(d, FEAT_1_EDX, 19) ? op_cache_line : NULL;
    case ZYDIS_MNEMONIC_CLFLUSHOPT:
        return op_has(d, FEAT_7_0_EBX, 23) ? op_cache_line : NULL;
    case ZYDIS_MNEMONIC_CLWB:
        return op_has(d, FEAT_7_0_EBX, 24) ? op_cache_line : NULL;
    default:
        break;
    }
    bool prefetch = d->z.meta.category == ZYDIS_CATEGORY_PREFETCH ||
                    d->z.meta.category == ZYDIS_CATEGORY_PREFETCHWT1 ||
                    d->z.meta.category == ZYDIS_CATEGORY_WIDENOP;
    return prefetch ? op_nop : NULL;
}

op_fn *op_select_misc(struct decode_ctx *d)
{
    op_fn *fn;

    if (d->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return NULL;
    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_IN:
        return select_port(d, true);
    case ZYDIS_MNEMONIC_OUT:
        return select_port(d, false);
    case ZYDIS_MNEMONIC_PAUSE:
        return d->z.raw.rex.B ? op_select_xchg_r8(d) : op_pause;
    case ZYDIS_MNEMONIC_RDRAND:
        return select_random(d, false);
    case ZYDIS_MNEMONIC_RDSEED:
        return select_random(d, true);
    default:
        break;
    }
    fn = select_bcd(d);
    if (fn)
        return fn;
    fn = select_flag(d);
    if (!fn)
        fn = select_hint(d);
    return fn ? op_threaded(d, fn) : NULL;
}
