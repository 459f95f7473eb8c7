/* fpu_emit.c - the bytes of one stub.
 *
 *     in:   rdi = struct jit_cpu *, rsi = memory operand
 *     load vector registers, general registers, flags; the instruction; store what it wrote
 *     out:  rax = 0 (a faulting stub returns the trap number instead)
 *
 * Every displacement is from rdi; vector registers keep their guest numbers, explicit general
 * registers become rax, implicit ones (RAX, RCX, RDX of PCMPxSTRx) keep theirs. */
#include "fpu_emit.h"

#include <string.h>

#define HOST_MEM_REG 6 /* rsi */
#define OFF_XSAVE    ((int32_t)offsetof(struct jit_cpu, st.xsave))
#define OFF_FLAGS    ((int32_t)offsetof(struct jit_cpu, st.rflags))
#define OFF_GPR(n)   ((int32_t)(offsetof(struct jit_cpu, st.gpr) + 8 * (n)))

static int32_t state_at(unsigned part, unsigned off)
{
    return OFF_XSAVE + (int32_t)(xsave_parts()[part].offset + off);
}

struct emit {
    uint8_t *p;
};

static void put(struct emit *e, unsigned n, const uint8_t *b)
{
    memcpy(e->p, b, n);
    e->p += n;
}
#define PUT(e, ...) put(e, sizeof((const uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__})

/* ModRM with base rdi and a 32-bit displacement. */
static void put_state_operand(struct emit *e, unsigned reg, int32_t disp)
{
    PUT(e, 0x80 | (reg & 7) << 3 | 7);
    put(e, 4, (const uint8_t *)&disp);
}

/* MOVUPS between xmm and the legacy area. */
static void put_xmm(struct emit *e, bool store, unsigned n)
{
    if (n >= 8)
        PUT(e, 0x44);
    PUT(e, 0x0f, store ? 0x11 : 0x10);
    put_state_operand(e, n, OFF_XSAVE + XS_XMM + 16 * (int32_t)n);
}

/* VMOVUPS low half, VINSERTF128/VEXTRACTF128 high half. */
static void put_ymm(struct emit *e, bool store, unsigned n)
{
    uint8_t r = n >= 8 ? 0 : 0x80;

    PUT(e, 0xc5, 0x78 | r, store ? 0x11 : 0x10);
    put_state_operand(e, n, OFF_XSAVE + XS_XMM + 16 * (int32_t)n);
    if (store)
        PUT(e, 0xc4, 0x63 | r, 0x7d, 0x19);
    else
        PUT(e, 0xc4, 0x63 | r, (~n & 0xf) << 3 | 5, 0x18);
    put_state_operand(e, n, OFF_XSAVE + XS_YMMH + 16 * (int32_t)n);
    PUT(e, 1);
}

/* EVEX prefix of an instruction with register n in ModRM.reg and a state operand; map: 1 is 0F, 3
 * is 0F3A; w_pp: EVEX.W and pp; vvvv as a register number. */
static void put_evex_prefix(struct emit *e, unsigned n, unsigned map, unsigned w_pp, unsigned vvvv,
                            unsigned length)
{
    PUT(e, 0x62, (n & 8 ? 0 : 0x80) | 0x60 | (n & 16 ? 0 : 0x10) | map,
        (~vvvv & 15) << 3 | 4 | w_pp, length << 5 | (vvvv & 16 ? 0 : 8));
}

/* Bits 511:256: VINSERTF64X4, VEXTRACTF64X4. */
static void put_zmm_high(struct emit *e, bool store, unsigned n)
{
    put_evex_prefix(e, n, 3, 0x81, store ? 0 : n, 2);
    PUT(e, store ? 0x1b : 0x1a);
    put_state_operand(e, n, state_at(XSAVE_PART_ZMM_HI, 32 * n));
    PUT(e, 1);
}

/* VMOVUPS of registers 16 to 31. */
static void put_high_register(struct emit *e, bool store, unsigned n, unsigned length)
{
    put_evex_prefix(e, n, 1, 0, 0, length);
    PUT(e, store ? 0x11 : 0x10);
    put_state_operand(e, n, state_at(XSAVE_PART_HI16, 64 * (n - 16)));
}

/* KMOVQ */
static void put_mask(struct emit *e, bool store, unsigned n)
{
    PUT(e, 0xc4, 0xe1, 0xf8, store ? 0x91 : 0x90);
    put_state_operand(e, n, state_at(XSAVE_PART_OPMASK, 8 * n));
}

static void put_vector(struct emit *e, bool store, unsigned n, bool zmm, bool ymm)
{
    if (n >= 16) {
        put_high_register(e, store, n, zmm ? 2 : ymm ? 1 : 0);
        return;
    }
    if (zmm || ymm)
        put_ymm(e, store, n);
    else
        put_xmm(e, store, n);
    if (zmm)
        put_zmm_high(e, store, n);
}

static void put_vectors(struct emit *e, bool store, uint32_t xmm, uint32_t ymm, uint32_t zmm)
{
    for (uint32_t left = xmm | ymm | zmm; left; left &= left - 1) {
        unsigned n = (unsigned)__builtin_ctz(left);

        put_vector(e, store, n, zmm & 1u << n, ymm & 1u << n);
    }
}

static void put_masks(struct emit *e, bool store, uint8_t which)
{
    for (unsigned n = 0; n < 8; n++)
        if (which & 1u << n)
            put_mask(e, store, n);
}

static void put_gpr(struct emit *e, bool store, bool narrow, unsigned host, unsigned guest)
{
    if (narrow)
        PUT(e, 0x66, store ? 0x89 : 0x8b);
    else
        PUT(e, 0x48, store ? 0x89 : 0x8b);
    put_state_operand(e, host, OFF_GPR(guest));
}

#define ARITH_FLAGS FL_ARITH & 0xff, FL_ARITH >> 8 & 0xff, 0, 0 /* little-endian immediate */

/* mov eax,[flags]; and eax,arith; push rax; popfq */
static void put_flags_in(struct emit *e)
{
    PUT(e, 0x8b);
    put_state_operand(e, 0, OFF_FLAGS);
    PUT(e, 0x25, ARITH_FLAGS, 0x50, 0x9d);
}

/* pushfq; pop rax; and eax,arith; mov ecx,[flags]; and ecx,~arith; or eax,ecx; mov [flags],eax.
 * RFLAGS above bit 31 are zero. */
static void put_flags_out(struct emit *e)
{
    PUT(e, 0x9c, 0x58, 0x25, ARITH_FLAGS, 0x8b);
    put_state_operand(e, 1, OFF_FLAGS);
    PUT(e, 0x81, 0xe1, ~FL_ARITH & 0xff, ~FL_ARITH >> 8 & 0xff, 0xff, 0xff, 0x09, 0xc8, 0x89);
    put_state_operand(e, 0, OFF_FLAGS);
}

unsigned fpu_emit(const struct stub_plan *s, uint8_t *out)
{
    struct emit e = {out};

    put_vectors(&e, false, s->xmm_in, s->ymm_in, s->zmm_in);
    put_masks(&e, false, s->mask_in);
    if (s->flags_in)
        put_flags_in(&e);
    for (unsigned k = 0; k < s->gpr_count; k++)
        if (s->gpr[k].in)
            put_gpr(&e, false, false, s->gpr[k].host, s->gpr[k].guest);
    put(&e, s->host_len, s->host);
    for (unsigned k = 0; k < s->gpr_count; k++)
        if (s->gpr[k].out)
            put_gpr(&e, true, s->gpr[k].narrow, s->gpr[k].host, s->gpr[k].guest);
    if (s->flags_out)
        put_flags_out(&e);
    put_masks(&e, true, s->mask_out);
    put_vectors(&e, true, s->xmm_out, s->ymm_out, s->zmm_out);
    if (s->ymm_in | s->ymm_out | s->zmm_in | s->zmm_out)
        PUT(&e, 0xc5, 0xf8, 0x77); /* vzeroupper */
    PUT(&e, 0x31, 0xc0, 0xc3);     /* xor eax,eax; ret */
    return e.p - out;
}

/* ---- planning ---- */

static int vector_number(ZydisRegister r)
{
    ZydisRegisterClass k = ZydisRegisterGetClass(r);

    if (k != ZYDIS_REGCLASS_XMM && k != ZYDIS_REGCLASS_YMM && k != ZYDIS_REGCLASS_ZMM)
        return -1;
    return ZydisRegisterGetId(r);
}

static bool is_gpr(ZydisRegister r)
{
    ZydisRegisterClass k = ZydisRegisterGetClass(r);

    return k == ZYDIS_REGCLASS_GPR8 || k == ZYDIS_REGCLASS_GPR16 || k == ZYDIS_REGCLASS_GPR32 ||
           k == ZYDIS_REGCLASS_GPR64;
}

static void plan_vector(struct stub_plan *s, const struct decode_ctx *d,
                        const ZydisDecodedOperand *o)
{
    uint32_t bit = 1u << vector_number(o->reg.value);
    ZydisRegisterClass k = ZydisRegisterGetClass(o->reg.value);

    /* Written registers are read too: many writes are partial, and a load costs next to nothing. */
    if (k == ZYDIS_REGCLASS_ZMM)
        s->zmm_in |= bit;
    else if (k == ZYDIS_REGCLASS_YMM)
        s->ymm_in |= bit;
    else
        s->xmm_in |= bit;
    if (!(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
        return;
    if (d->z.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        s->xmm_out |= bit;
    else if (sys_has(d->c, FEAT_7_0_EBX, 16)) /* AVX-512: VEX forms clear bits 511:256 */
        s->zmm_out |= bit;
    else
        s->ymm_out |= bit; /* VEX.128 zeroes the upper half: store that too */
}

static void plan_mask(struct stub_plan *s, const struct decode_ctx *d, const ZydisDecodedOperand *o)
{
    uint8_t bit = (uint8_t)(1u << ZydisRegisterGetId(o->reg.value));

    if (o->encoding == ZYDIS_OPERAND_ENCODING_MASK && o->reg.value == ZYDIS_REGISTER_K0)
        return; /* no mask */
    s->mask_in |= bit;
    if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
        s->mask_out |= bit;
}

static bool plan_gpr(struct stub_plan *s, const ZydisDecodedOperand *o, int *modrm_part)
{
    struct stub_gpr *g = &s->gpr[s->gpr_count];
    unsigned id = ZydisRegisterGetId(o->reg.value);

    if (s->gpr_count == G_N_ELEMENTS(s->gpr))
        return false;
    *g = (struct stub_gpr){.guest = id, .host = id};
    if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG ||
        o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
        if (*modrm_part)
            return false;
        *modrm_part = o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG ? 1 : 2;
        g->host = 0;
    } else if (id > 2) {
        return false; /* only rax, rcx, rdx are free in a stub */
    }
    g->in = (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
    g->out = (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    g->narrow = o->size == 16;
    s->gpr_count++;
    return true;
}

/* The instruction's fields as its stub has them: ModRM with memory at (%rsi) and the explicit
 * general register as rax. */
struct fields {
    uint8_t modrm, vvvv; /* vvvv as encoded: inverted */
    bool r, b, w;        /* extensions of ModRM.reg and ModRM.rm */
    bool high_r, x;      /* EVEX: the same for registers 16 and up */
};

static struct fields fields_of(const struct decode_ctx *d, int gpr_part, bool w)
{
    const ZydisDecodedInstruction *z = &d->z;
    bool vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    struct fields f = {.w = w, .vvvv = z->raw.vex.vvvv & 15};

    f.modrm = z->raw.modrm.mod << 6 | z->raw.modrm.reg << 3 | z->raw.modrm.rm;
    f.r = vex ? !z->raw.vex.R : z->raw.rex.R;
    f.b = vex ? !z->raw.vex.B : z->raw.rex.B;
    if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX) {
        f.r = !z->raw.evex.R;
        f.b = !z->raw.evex.B;
        f.x = !z->raw.evex.X;
        f.high_r = !z->raw.evex.R2;
        f.vvvv = z->raw.evex.vvvv & 15;
    }
    if (d->mode != MODE_LONG64)
        f.r = f.b = f.high_r = f.x = false, f.vvvv |= 8;
    if (d->out->flags & INSN_MEM) {
        f.modrm = (f.modrm & 0x38) | HOST_MEM_REG;
        f.b = f.x = false;
    }
    if (gpr_part == 1) {
        f.modrm &= ~0x38;
        f.r = f.high_r = false;
    } else if (gpr_part == 2) {
        f.modrm &= ~0x07;
        f.b = f.x = false;
    }
    return f;
}

static void encode_prefix(struct emit *e, const struct stub_plan *s, const struct decode_ctx *d,
                          const struct fields *f)
{
    const ZydisDecodedInstruction *z = &d->z;
    bool v2 = d->mode != MODE_LONG64 || z->raw.evex.V2;

    switch (z->encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_VEX:
        PUT(e, 0xc4, (f->r ? 0 : 0x80) | 0x40 | (f->b ? 0 : 0x20) | z->raw.vex.m_mmmm,
            f->w << 7 | f->vvvv << 3 | z->raw.vex.L << 2 | z->raw.vex.pp);
        return;
    case ZYDIS_INSTRUCTION_ENCODING_EVEX:
        PUT(e, 0x62,
            (f->r ? 0 : 0x80) | (f->x ? 0 : 0x40) | (f->b ? 0 : 0x20) | (f->high_r ? 0 : 0x10) |
                z->raw.evex.mmm,
            f->w << 7 | f->vvvv << 3 | 4 | z->raw.evex.pp,
            z->raw.evex.z << 7 | z->raw.evex.L2 << 6 | z->raw.evex.L << 5 | z->raw.evex.b << 4 |
                v2 << 3 | z->raw.evex.aaa);
        return;
    default:
        break;
    }
    if (s->mandatory)
        PUT(e, s->mandatory);
    if (f->w || f->r || f->b)
        PUT(e, 0x40 | f->w << 3 | f->r << 2 | f->b);
    if (z->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
        PUT(e, 0x0f);
    if (z->opcode_map == ZYDIS_OPCODE_MAP_0F38)
        PUT(e, 0x38);
    if (z->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
        PUT(e, 0x3a);
}

static void encode(struct stub_plan *s, const struct decode_ctx *d, int gpr_part, bool w)
{
    const ZydisDecodedInstruction *z = &d->z;
    struct fields f = fields_of(d, gpr_part, w);
    struct emit e = {s->host};

    encode_prefix(&e, s, d, &f);
    PUT(&e, z->opcode);
    if (z->attributes & ZYDIS_ATTRIB_HAS_MODRM)
        PUT(&e, f.modrm);
    for (int k = 0; k < 2; k++)
        if (z->raw.imm[k].size)
            put(&e, z->raw.imm[k].size / 8, d->out->bytes + z->raw.imm[k].offset);
    if (s->is4 && d->mode != MODE_LONG64)
        e.p[-1] &= 0x7f; /* a register number of three bits */
    s->host_len = e.p - s->host;
}

/* Opcodes whose W chooses between 32 and 64 bits of an integer, also in memory: VMOVD/VMOVQ,
 * VCVT(U)SI2Sx, VCVT(T)Sx2SI, and with EVEX VPINSRx, VPEXTRx. */
static bool sized_by_w(const ZydisDecodedInstruction *z, unsigned pp)
{
    bool evex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;

    if (z->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
        return evex && (z->opcode == 0x16 || z->opcode == 0x22);
    if (z->opcode_map != ZYDIS_OPCODE_MAP_0F)
        return false;
    switch (z->opcode) {
    case 0x6e:
    case 0x7e:
        return pp == 1;
    case 0x7b:
        return evex && pp >= 2;
    default:
        return z->opcode == 0x2a || z->opcode == 0x2c || z->opcode == 0x2d;
    }
}

/* VEX.W and EVEX.W of such opcodes are ignored outside 64-bit mode (SDM vol.2). */
static bool effective_w(const struct decode_ctx *d, bool has_gpr)
{
    const ZydisDecodedInstruction *z = &d->z;
    bool evex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;

    if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return d->mode == MODE_LONG64 && z->raw.rex.W;
    if (d->mode != MODE_LONG64 && (has_gpr || sized_by_w(z, evex ? z->raw.evex.pp : z->raw.vex.pp)))
        return false;
    return evex ? z->raw.evex.W : z->raw.vex.W;
}

static uint8_t mandatory_prefix(const ZydisDecodedInstruction *z)
{
    for (unsigned k = 0; k < z->raw.prefix_count; k++)
        if (z->raw.prefixes[k].type == ZYDIS_PREFIX_TYPE_MANDATORY)
            return z->raw.prefixes[k].value;
    return 0;
}

bool fpu_plan(struct stub_plan *s, const struct decode_ctx *d)
{
    const ZydisDecodedInstruction *z = &d->z;
    int gpr_part = 0;

    memset(s, 0, sizeof(*s));
    for (unsigned k = 0; k < z->operand_count; k++) {
        const ZydisDecodedOperand *o = &d->op[k];

        if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        s->is4 |= o->encoding == ZYDIS_OPERAND_ENCODING_IS4;
        if (vector_number(o->reg.value) >= 0)
            plan_vector(s, d, o);
        else if (ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_MASK)
            plan_mask(s, d, o);
        else if (ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_MMX)
            s->x87 = true;
        else if (is_gpr(o->reg.value) && !plan_gpr(s, o, &gpr_part))
            return false;
    }
    if (z->cpu_flags) {
        uint32_t wr = z->cpu_flags->modified | z->cpu_flags->set_0 | z->cpu_flags->set_1 |
                      z->cpu_flags->undefined;

        s->flags_out = (wr & FL_ARITH) != 0;
        s->flags_in = (z->cpu_flags->tested & FL_ARITH) != 0 ||
                      (s->flags_out && z->opcode >= 0xd8 && z->opcode <= 0xdf);
    }
    s->mandatory = mandatory_prefix(z);
    encode(s, d, gpr_part, effective_w(d, s->gpr_count != 0));
    return true;
}
