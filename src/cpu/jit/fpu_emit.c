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

    for (unsigned n = 0; n < 16; n++) {
        if (s->ymm_in & 1u << n)
            put_ymm(&e, false, n);
        else if (s->xmm_in & 1u << n)
            put_xmm(&e, false, n);
    }
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
    for (unsigned n = 0; n < 16; n++) {
        if (s->ymm_out & 1u << n)
            put_ymm(&e, true, n);
        else if (s->xmm_out & 1u << n)
            put_xmm(&e, true, n);
    }
    if (s->ymm_in | s->ymm_out)
        PUT(&e, 0xc5, 0xf8, 0x77); /* vzeroupper */
    PUT(&e, 0x31, 0xc0, 0xc3);     /* xor eax,eax; ret */
    return e.p - out;
}

/* ---- planning ---- */

static int vector_number(ZydisRegister r)
{
    ZydisRegisterClass k = ZydisRegisterGetClass(r);

    if (k != ZYDIS_REGCLASS_XMM && k != ZYDIS_REGCLASS_YMM)
        return -1;
    return ZydisRegisterGetId(r);
}

static bool is_gpr(ZydisRegister r)
{
    ZydisRegisterClass k = ZydisRegisterGetClass(r);

    return k == ZYDIS_REGCLASS_GPR8 || k == ZYDIS_REGCLASS_GPR16 || k == ZYDIS_REGCLASS_GPR32 ||
           k == ZYDIS_REGCLASS_GPR64;
}

static void plan_vector(struct stub_plan *s, const ZydisDecodedInstruction *z,
                        const ZydisDecodedOperand *o)
{
    uint16_t bit = 1u << vector_number(o->reg.value);
    bool ymm = ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_YMM;
    bool vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

    /* Written registers are read too: many writes are partial, and a load costs next to nothing. */
    if (ymm)
        s->ymm_in |= bit;
    else
        s->xmm_in |= bit;
    if (!(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
        return;
    if (vex)
        s->ymm_out |= bit; /* VEX.128 zeroes the upper half: store that too */
    else
        s->xmm_out |= bit;
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

/* Which of the instruction's ModRM fields name vector, MMX or no registers, which the general
 * register that becomes rax, and which memory. */
static void encode(struct stub_plan *s, const struct decode_ctx *d, int gpr_part, bool w)
{
    const ZydisDecodedInstruction *z = &d->z;
    bool mem = d->out->flags & INSN_MEM;
    bool vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    bool r = vex ? !z->raw.vex.R : z->raw.rex.R, b = vex ? !z->raw.vex.B : z->raw.rex.B;
    uint8_t vvvv = z->raw.vex.vvvv & 15; /* as encoded: inverted */
    uint8_t modrm = z->raw.modrm.mod << 6 | z->raw.modrm.reg << 3 | z->raw.modrm.rm;
    struct emit e = {s->host};

    if (d->mode != MODE_LONG64)
        r = b = false, vvvv |= 8;
    if (mem) {
        modrm = (modrm & 0x38) | HOST_MEM_REG;
        b = false;
    }
    if (gpr_part == 1) {
        modrm &= ~0x38;
        r = false;
    } else if (gpr_part == 2) {
        modrm &= ~0x07;
        b = false;
    }
    if (vex) {
        PUT(&e, 0xc4, (r ? 0 : 0x80) | 0x40 | (b ? 0 : 0x20) | z->raw.vex.m_mmmm,
            w << 7 | vvvv << 3 | z->raw.vex.L << 2 | z->raw.vex.pp);
    } else {
        if (s->mandatory)
            PUT(&e, s->mandatory);
        if (w || r || b)
            PUT(&e, 0x40 | w << 3 | r << 2 | b);
        if (z->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
            PUT(&e, 0x0f);
        if (z->opcode_map == ZYDIS_OPCODE_MAP_0F38)
            PUT(&e, 0x38);
        if (z->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
            PUT(&e, 0x3a);
    }
    PUT(&e, z->opcode);
    if (z->attributes & ZYDIS_ATTRIB_HAS_MODRM)
        PUT(&e, modrm);
    for (int k = 0; k < 2; k++)
        if (z->raw.imm[k].size)
            put(&e, z->raw.imm[k].size / 8, d->out->bytes + z->raw.imm[k].offset);
    if (s->is4 && d->mode != MODE_LONG64)
        e.p[-1] &= 0x7f; /* a register number of three bits */
    s->host_len = e.p - s->host;
}

/* VEX.W selects 64-bit general registers in 64-bit mode and is ignored outside for those opcodes
 * that have such an operand (SDM vol.2: VMOVD/VMOVQ, VCVTSI2Sx, VCVTSx2SI). */
static bool effective_w(const struct decode_ctx *d, bool has_gpr)
{
    const ZydisDecodedInstruction *z = &d->z;
    bool movd = z->opcode_map == ZYDIS_OPCODE_MAP_0F && (z->opcode == 0x6e || z->opcode == 0x7e);
    if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return d->mode == MODE_LONG64 && z->raw.rex.W;
    if (d->mode != MODE_LONG64 &&
        (has_gpr || movd || z->opcode == 0x2a || z->opcode == 0x2c || z->opcode == 0x2d))
        return false;
    return z->raw.vex.W;
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
        if (vector_number(o->reg.value) >= 16)
            return false;
        s->is4 |= o->encoding == ZYDIS_OPERAND_ENCODING_IS4;
        if (vector_number(o->reg.value) >= 0)
            plan_vector(s, z, o);
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
