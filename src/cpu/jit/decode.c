/* decode.c - bytes to struct insn: Zydis, the generic fields, and the selectors' choice of handler;
 * or all of it from a template (shape.h).
 *
 * Threads: any vcpu's; the Zydis decoders are constant after decode_init. */
#include "shape.h"

#include <pthread.h>

#define INSN_BYTES_MAX 15

/* One Zydis decoder per way of reading code. */
enum decoder { DEC_LONG64, DEC_COMPAT32, DEC_COMPAT16, DEC_LEGACY32, DEC_LEGACY16, DEC_REAL16 };
static ZydisDecoder decoders[6][2]; /* [..][SS.B] */
static pthread_once_t decoders_once = PTHREAD_ONCE_INIT;

static void decoders_make(void)
{
    static const ZydisMachineMode machine[6] = {
        [DEC_LONG64] = ZYDIS_MACHINE_MODE_LONG_64,
        [DEC_COMPAT32] = ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
        [DEC_COMPAT16] = ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
        [DEC_LEGACY32] = ZYDIS_MACHINE_MODE_LEGACY_32,
        [DEC_LEGACY16] = ZYDIS_MACHINE_MODE_LEGACY_16,
        [DEC_REAL16] = ZYDIS_MACHINE_MODE_REAL_16,
    };
    /* What the guest's CPU does not have reads as the NOP or older instruction it extends. */
    static const ZydisDecoderMode off[] = {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET,
                                           ZYDIS_DECODER_MODE_WBNOINVD, ZYDIS_DECODER_MODE_CLDEMOTE,
                                           ZYDIS_DECODER_MODE_KNC};
    for (unsigned k = 0; k < ARRAY_SIZE(decoders); k++) {
        for (unsigned big = 0; big < 2; big++) {
            ZydisStackWidth width = k == DEC_LONG64 ? ZYDIS_STACK_WIDTH_64
                                    : big           ? ZYDIS_STACK_WIDTH_32
                                                    : ZYDIS_STACK_WIDTH_16;
            ZydisDecoderInit(&decoders[k][big], machine[k], width);
            for (unsigned m = 0; m < ARRAY_SIZE(off); m++)
                ZydisDecoderEnableMode(&decoders[k][big], off[m], ZYAN_FALSE);
        }
    }
}

void decode_init(void)
{
    pthread_once(&decoders_once, decoders_make);
}

static const ZydisDecoder *decoder_for(uint32_t key)
{
    bool cs32 = key & KEY_CS32;
    enum decoder k = DEC_REAL16;

    switch ((enum cpu_mode)(key & KEY_MODE_MASK)) {
    case MODE_LONG64:
        k = DEC_LONG64;
        break;
    case MODE_COMPAT:
        k = cs32 ? DEC_COMPAT32 : DEC_COMPAT16;
        break;
    case MODE_PROT16:
    case MODE_PROT32:
        k = cs32 ? DEC_LEGACY32 : DEC_LEGACY16;
        break;
    case MODE_REAL:
        k = cs32 ? DEC_LEGACY32 : DEC_REAL16;
        break;
    case MODE_VM86:
        k = DEC_REAL16;
        break;
    }
    return &decoders[k][(key & KEY_SS32) != 0];
}

uint8_t decode_gpr(ZydisRegister r)
{
    if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
        return (uint8_t)(r - ZYDIS_REGISTER_AL);
    if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
        return (uint8_t)(16 + (r - ZYDIS_REGISTER_AH));
    if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_DIL)
        return (uint8_t)(4 + (r - ZYDIS_REGISTER_SPL));
    if (r >= ZYDIS_REGISTER_R8B && r <= ZYDIS_REGISTER_R15B)
        return (uint8_t)(8 + (r - ZYDIS_REGISTER_R8B));
    ZyanI8 id = ZydisRegisterGetId(r);
    return id < 0 ? NOREG : (uint8_t)id;
}

static uint8_t seg_of(ZydisRegister r)
{
    switch (r) {
    case ZYDIS_REGISTER_ES:
        return SEG_ES;
    case ZYDIS_REGISTER_CS:
        return SEG_CS;
    case ZYDIS_REGISTER_SS:
        return SEG_SS;
    case ZYDIS_REGISTER_FS:
        return SEG_FS;
    case ZYDIS_REGISTER_GS:
        return SEG_GS;
    default:
        return SEG_DS;
    }
}

/* LOCK is in the attributes; REP and segment prefixes matter to instructions with implied operands
 * too, so they are read from the prefix bytes: the last one of a group counts. */
static void decode_prefixes(struct decode_ctx *d)
{
    struct insn *out = d->out;

    out->seg = SEG_DS;
    for (unsigned k = 0; k < d->z.raw.prefix_count; k++) {
        uint8_t p = d->z.raw.prefixes[k].value;
        bool long64 = d->mode == MODE_LONG64;
        if (p == 0xf2 || p == 0xf3)
            out->rep = p;
        else if (p == 0x64)
            out->seg = SEG_FS;
        else if (p == 0x65)
            out->seg = SEG_GS;
        else if (!long64 && p == 0x26)
            out->seg = SEG_ES;
        else if (!long64 && p == 0x2e)
            out->seg = SEG_CS;
        else if (!long64 && p == 0x36)
            out->seg = SEG_SS;
        else if (!long64 && p == 0x3e)
            out->seg = SEG_DS;
    }
    if (d->z.attributes & ZYDIS_ATTRIB_HAS_LOCK)
        out->flags |= INSN_LOCK;
}

static bool memory_is_explicit(const ZydisDecodedOperand *o)
{
    return o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ||
           (o->encoding >= ZYDIS_OPERAND_ENCODING_DISP8 &&
            o->encoding <= ZYDIS_OPERAND_ENCODING_DISP16_32_32);
}

static uint8_t base_of(ZydisRegister r)
{
    if (r == ZYDIS_REGISTER_NONE)
        return NOREG;
    if (r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP || r == ZYDIS_REGISTER_IP)
        return 16;
    return decode_gpr(r);
}

/* SIB without base: Zydis 4.0 gives R13D for it with REX.B and a 32-bit address. */
static bool sib_without_base(const ZydisDecodedInstruction *z)
{
    return (z->attributes & ZYDIS_ATTRIB_HAS_SIB) && z->raw.modrm.mod == 0 && z->raw.sib.base == 5;
}

static void decode_memory(struct decode_ctx *d, const ZydisDecodedOperand *o)
{
    struct insn *out = d->out;

    out->flags |= INSN_MEM;
    out->base = base_of(o->mem.base);
    out->index = base_of(o->mem.index);
    out->scale_shift = o->mem.scale > 1 ? (uint8_t)__builtin_ctz(o->mem.scale) : 0;
    out->seg = seg_of(o->mem.segment);
    out->disp = (int32_t)o->mem.disp.value;
    if (sib_without_base(&d->z)) {
        out->base = NOREG;
        out->disp = (int32_t)d->z.raw.disp.value;
    }
    if (o->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
        out->imm = o->mem.disp.value; /* moffs: 64 bits in long mode */
}

/* Addresses that handlers compute inline. */
static uint8_t address_flag(const struct decode_ctx *d)
{
    const struct insn *i = d->out;
    bool vector_index = i->index != NOREG && i->index > 15;

    if (i->seg >= SEG_FS || vector_index || !(i->flags & INSN_MEM))
        return 0;
    if (d->mode == MODE_LONG64)
        return i->addrsize != 8 || i->base == NOREG ? 0 : i->base == 16 ? INSN_EA_RIP : INSN_EA64;
    return (d->c->mode_key & KEY_FLAT) && i->seg != SEG_CS && i->addrsize == 4 ? INSN_EA32 : 0;
}

static void decode_operands(struct decode_ctx *d)
{
    struct insn *out = d->out;
    bool have_imm = false;

    for (unsigned k = 0; k < d->z.operand_count; k++) {
        const ZydisDecodedOperand *o = &d->op[k];
        switch (o->type) {
        case ZYDIS_OPERAND_TYPE_REGISTER:
            if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
                out->reg = decode_gpr(o->reg.value);
            else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ||
                     o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
                out->rm = decode_gpr(o->reg.value);
            else if (o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD)
                out->vvvv = decode_gpr(o->reg.value);
            break;
        case ZYDIS_OPERAND_TYPE_MEMORY:
            if (memory_is_explicit(o))
                decode_memory(d, o);
            break;
        case ZYDIS_OPERAND_TYPE_POINTER:
            out->imm = o->ptr.offset;
            out->disp = o->ptr.segment;
            break;
        case ZYDIS_OPERAND_TYPE_IMMEDIATE:
            if (have_imm) {
                out->aux = (uint8_t)o->imm.value.u;
                break;
            }
            out->imm = o->imm.value.s;
            have_imm = true;
            break;
        default:
            break;
        }
    }
}

static void decode_generic(struct decode_ctx *d, const uint8_t *bytes)
{
    struct insn *out = d->out;

    out->len = d->z.length;
    out->opsize = d->z.operand_width / 8;
    out->addrsize = d->z.address_width / 8;
    out->mnemonic = (uint16_t)d->z.mnemonic;
    out->base = out->index = out->reg = out->rm = out->vvvv = NOREG;
    if (d->mode != MODE_LONG64 && (d->c->mode_key & KEY_SS32))
        out->flags |= INSN_STACK32;
    memcpy(out->bytes, bytes, out->len);
    decode_prefixes(d);
    decode_operands(d);
    out->flags |= address_flag(d);
}

/* ---- what is not an instruction ---- */

static void op_undefined(struct jit_cpu *c, const struct insn *i)
{
    cpu_raise(c, EX_UD);
}

static void op_too_long(struct jit_cpu *c, const struct insn *i)
{
    cpu_raise_error(c, EX_GP, 0);
}

/* ---- plain handlers, as entries of threaded code ---- */

static inline void plain_call(struct jit_cpu *c, const struct insn *i)
{
    c->cur = i;
    c->st.rip = insn_rip(c, i) + i->len;
    flags_to_state(c);
    insn_plain(i)(c, i);
    flags_from_state(c);
}

static void op_plain(struct jit_cpu *c, const struct insn *i)
{
    plain_call(c, i);
    NEXT;
}

static void op_plain_end(struct jit_cpu *c, const struct insn *i)
{
    plain_call(c, i);
}

void op_block_end(struct jit_cpu *c, const struct insn *i)
{
    c->st.rip = insn_rip(c, i);
}

static void set_handler(struct decode_ctx *d, op_fn *fn)
{
    struct insn *out = d->out;

    if (d->ends_block)
        out->flags |= INSN_END;
    if (d->threaded) {
        out->fn = fn;
        return;
    }
    out->plain = op_relative(fn);
    out->fn = d->ends_block ? op_plain_end : op_plain;
}

/* By Zydis and the selectors. What they make of a shape becomes its template (s may be NULL). */
static __attribute__((noinline)) enum decode_result
decode_anew(struct jit_cpu *c, const struct fetch *f, const struct shape *s, struct insn *out)
{
    struct decode_ctx d; /* large: Zydis fills z and all of op */
    op_fn *fn = NULL;
    bool selected;

    d.c = c;
    d.out = out;
    d.mode = (enum cpu_mode)c->mode;
    d.ends_block = d.threaded = false;
    memset(out, 0, sizeof(*out));
    ZyanStatus st = ZydisDecoderDecodeFull(decoder_for(c->mode_key), f->bytes,
                                           MIN_OF(f->avail, INSN_BYTES_MAX), &d.z, d.op);
    if (st == ZYDIS_STATUS_NO_MORE_DATA && f->avail < INSN_BYTES_MAX)
        return DECODE_MORE;
    if (st == ZYDIS_STATUS_NO_MORE_DATA || st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
        fn = op_too_long;
    } else if (ZYAN_SUCCESS(st)) {
        decode_generic(&d, f->bytes);
        fn = op_select_int(&d);
        if (!fn)
            fn = op_select_sys(&d);
        if (!fn)
            fn = op_select_fpu(&d);
    }
    selected = fn && fn != op_too_long;
    if (!selected) {
        out->len = MAX_OF(out->len, 1);
        d.ends_block = true;
        d.threaded = false;
        if (!fn)
            fn = op_undefined;
    }
    set_handler(&d, fn);
    if (s && selected)
        shape_memo_put(c->shapes, s, &d.z, out);
    return DECODE_OK;
}

enum decode_result decode_insn(struct jit_cpu *c, const struct fetch *f, struct insn *out,
                               bool *ends_block)
{
    enum decode_result r = DECODE_OK;
    struct shape s;

    if (!c->shapes)
        r = decode_anew(c, f, NULL, out);
    else if (!shape_memo_get(c->shapes, c->mode_key, f, &s, out))
        r = decode_anew(c, f, &s, out);
    *ends_block = r == DECODE_OK && (out->flags & INSN_END);
    return r;
}
