/* diff_gen.c - random instructions over the whole encoding space, and states that make them
 * interesting.
 *
 * Opcode bytes are drawn uniformly per map, so rare instructions come as often as common ones; the
 * decoder then says what was drawn, and operands are steered at the data pages. */
#include "diff.h"

#include "diff_filter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FL_FIXED 0x202u /* IF and the always-one bit: what user mode cannot change */
#define FL_ARITH 0x8d5u
#define FL_DF    0x400u

struct diff_gen {
    uint64_t rng;
    enum diff_set set;
    const char *only;
    ZydisDecoder dec[2]; /* 64, 32 bits */
    uint8_t read_only[PAGE];
    uint8_t seen[ZYDIS_MNEMONIC_MAX_VALUE + 1];
    unsigned coverage;
};

/* One drawn instruction. */
struct draw {
    struct diff_case *t;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

/* xorshift64* */
static uint64_t rnd(struct diff_gen *g)
{
    g->rng ^= g->rng >> 12;
    g->rng ^= g->rng << 25;
    g->rng ^= g->rng >> 27;
    return g->rng * 0x2545f4914f6cdd1dull;
}
static unsigned below(struct diff_gen *g, unsigned n)
{
    return (unsigned)((rnd(g) >> 32) * n >> 32);
}
static bool percent(struct diff_gen *g, unsigned p)
{
    return below(g, 100) < p;
}

struct diff_gen *diff_gen_new(uint64_t seed, enum diff_set set, const char *only_mnemonic)
{
    struct diff_gen *g = calloc(1, sizeof(*g));

    assert(g);
    g->rng = seed * 0x9e3779b97f4a7c15ull + 1;
    g->set = set;
    g->only = only_mnemonic;
    ZydisDecoderInit(&g->dec[0], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecoderInit(&g->dec[1], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
    for (unsigned k = 0; k < PAGE; k++)
        g->read_only[k] = (uint8_t)rnd(g);
    return g;
}

void diff_gen_free(struct diff_gen *g)
{
    free(g);
}

unsigned diff_gen_coverage(const struct diff_gen *g)
{
    return g->coverage;
}

/* ---- encodings ---- */

uint64_t diff_components(void)
{
    static uint64_t components;

    if (!components)
        components = xsave_host_xcr0() & (7 | XSAVE_AVX512);
    return components;
}

uint8_t *diff_vector_byte(struct diff_state *s, unsigned n, unsigned k)
{
    const struct xsave_part *p = xsave_parts();

    if (n >= 16)
        return s->xsave + p[XSAVE_PART_HI16].offset + 64 * (n - 16) + k;
    if (k >= 32)
        return s->xsave + p[XSAVE_PART_ZMM_HI].offset + 32 * n + k - 32;
    return s->xsave + (k < 16 ? 160 + k : 576 + k - 16) + 16 * n;
}

struct bytes {
    uint8_t b[32];
    unsigned n;
};
static void put(struct bytes *e, uint8_t b)
{
    e->b[e->n++] = b;
}

static void put_prefixes(struct diff_gen *g, struct bytes *e, bool code32)
{
    static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x65};

    if (percent(g, 6))
        put(e, 0x67);
    if (percent(g, 5))
        put(e, segments[below(g, code32 ? 4 : 5)]);
    if (percent(g, 4))
        put(e, 0xf0);
    if (percent(g, 25))
        put(e, 0x66);
    if (percent(g, 25))
        put(e, percent(g, 50) ? 0xf2 : 0xf3);
}

static void put_vex(struct diff_gen *g, struct bytes *e, bool code32)
{
    unsigned map = 1 + below(g, 3);
    uint8_t high = code32 ? 0xc0 : (uint8_t)rnd(g) & 0xe0;
    uint8_t last = (uint8_t)rnd(g);

    if (percent(g, 40))
        last |= 0x78; /* vvvv = none */
    if (percent(g, 30) && map == 1) {
        put(e, 0xc5);
        put(e, (high & 0x80) | (code32 ? 0x40 : 0) | (last & 0x7f));
    } else {
        put(e, 0xc4);
        put(e, high | map);
        put(e, last);
    }
    put(e, (uint8_t)rnd(g));
}

static void put_evex(struct diff_gen *g, struct bytes *e, bool code32)
{
    unsigned map = 1 + below(g, 3), high = (unsigned)rnd(g) & 0xf0, vvvv = below(g, 16);
    unsigned mask = percent(g, 40) ? 0 : below(g, 8);
    unsigned flags = (percent(g, 30) ? 0x80 : 0) | below(g, 3) << 5 | (percent(g, 25) ? 0x10 : 0);

    if (code32)
        high |= 0xc0;
    if (percent(g, 4))
        flags |= 0x60;
    if (percent(g, 40))
        vvvv = 15;
    put(e, 0x62);
    put(e, (uint8_t)(high | map));
    put(e, (uint8_t)((rnd(g) & 0x83) | vvvv << 3 | (percent(g, 1) ? 0 : 4)));
    put(e, (uint8_t)(flags | (percent(g, vvvv == 15 ? 90 : 50) ? 8 : 0) | mask));
    put(e, (uint8_t)rnd(g));
}

static void put_legacy(struct diff_gen *g, struct bytes *e, bool code32)
{
    unsigned r = below(g, 100);

    put_prefixes(g, e, code32);
    if (!code32 && percent(g, 45))
        put(e, 0x40 | (uint8_t)below(g, 16));
    if (g->set == SET_FPU && r < 25) {
        put(e, 0xd8 + (uint8_t)below(g, 8));
        return;
    }
    if (r < (g->set == SET_FPU ? 26u : 50u)) {
        put(e, (uint8_t)rnd(g));
        return;
    }
    put(e, 0x0f);
    if (r >= 80)
        put(e, r >= 90 ? 0x3a : 0x38);
    put(e, (uint8_t)rnd(g));
}

static void put_tail(struct diff_gen *g, struct bytes *e)
{
    unsigned mod = percent(g, 40) ? 3 : below(g, 3);

    put(e, (uint8_t)(mod << 6 | (rnd(g) & 0x3f)));
    for (unsigned k = 0; k < 12; k++)
        put(e, percent(g, 10) ? 0xff * (uint8_t)below(g, 2) : (uint8_t)rnd(g));
}

static bool draw_try(struct diff_gen *g, struct draw *d)
{
    struct diff_case *t = d->t;
    struct bytes e = {.n = 0};

    t->code32 = percent(g, 25);
    if ((g->set & SET_EVEX) && percent(g, g->set == SET_EVEX ? 90 : 50))
        put_evex(g, &e, t->code32);
    else if (percent(g, g->set == SET_EVEX ? 100 : g->set & SET_INTEGER ? 3 : 30))
        put_vex(g, &e, t->code32);
    else
        put_legacy(g, &e, t->code32);
    put_tail(g, &e);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&g->dec[t->code32], e.b, 15, &d->z, d->op)))
        return false;
    if (!diff_wanted(&d->z, d->op, t->code32, g->set))
        return false;
    if (g->only && strcmp(g->only, ZydisMnemonicGetString(d->z.mnemonic)) != 0)
        return false;
    memset(t->bytes, 0xcc, sizeof(t->bytes));
    memcpy(t->bytes, e.b, 16);
    t->len = d->z.length;
    t->count = 1;
    return true;
}

/* ---- values ---- */

static uint64_t integer(struct diff_gen *g)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     0xffffffffffffffff,
                                     0xffffffff80000000,
                                     0xfffffffffffffffe,
                                     10,
                                     31,
                                     32,
                                     63,
                                     64};

    switch (below(g, 5)) {
    case 0:
        return edges[below(g, sizeof(edges) / sizeof(edges[0]))];
    case 1:
        return below(g, 300);
    case 2:
        return rnd(g) >> below(g, 64);
    default:
        return rnd(g);
    }
}

static uint32_t float32(struct diff_gen *g)
{
    static const uint32_t edges[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
                                     0xff800000, 0x7fc00000, 0x7f800001, 0xffc00001, 1,
                                     0x807fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000,
                                     0x5f000000, 0x3f000000, 0x40400000};

    if (percent(g, 50))
        return edges[below(g, sizeof(edges) / sizeof(edges[0]))];
    if (percent(g, 50)) { /* moderate exponents, so that sums do something */
        return (uint32_t)(rnd(g) & 0x807fffff) | (127 - 12 + below(g, 24)) << 23;
    }
    return (uint32_t)rnd(g);
}

static uint64_t float64(struct diff_gen *g)
{
    static const uint64_t edges[] = {0,
                                     0x8000000000000000,
                                     0x3ff0000000000000,
                                     0xbff0000000000000,
                                     0x7ff0000000000000,
                                     0xfff0000000000000,
                                     0x7ff8000000000000,
                                     0x7ff0000000000001,
                                     1,
                                     0x800fffffffffffff,
                                     0x0010000000000000,
                                     0x7fefffffffffffff,
                                     0x41e0000000000000,
                                     0xc1e0000000200000,
                                     0x43e0000000000000,
                                     0x3fe0000000000000};

    if (percent(g, 50))
        return edges[below(g, sizeof(edges) / sizeof(edges[0]))];
    if (percent(g, 50))
        return (rnd(g) & 0x800fffffffffffff) | (uint64_t)(1023 - 30 + below(g, 60)) << 52;
    return rnd(g);
}

/* 80 bits: normal, zero, infinity, NaN, denormal, and what the unit calls unsupported. */
static void float80(struct diff_gen *g, uint8_t *to)
{
    static const uint16_t exponents[] = {0, 0x3fff, 0x7fff, 1, 0x7ffe, 0x401e, 0x403e, 0x3ffe};
    static const uint64_t mantissas[] = {0, 1ull << 63, 3ull << 62, ~0ull, 1, 0xc90fdaa22168c235};
    uint16_t e =
        percent(g, 50) ? exponents[below(g, 8)] : (uint16_t)(0x3fff - 40 + (int)below(g, 80));
    uint64_t m = percent(g, 40) ? mantissas[below(g, 6)] : rnd(g) | 1ull << 63;

    if (percent(g, 4))
        m = rnd(g);
    if (percent(g, 10))
        e = 0, m = percent(g, 50) ? 0 : rnd(g) >> 1;
    e |= (uint16_t)(below(g, 2) << 15);
    memcpy(to, &m, 8);
    memcpy(to + 8, &e, 2);
}

static void vector16(struct diff_gen *g, uint8_t *to)
{
    unsigned kind = below(g, 4);

    for (unsigned k = 0; k < 16; k += 4) {
        uint32_t v = kind == 0 ? float32(g) : (uint32_t)rnd(g);
        if (kind == 3)
            v = (uint32_t)integer(g);
        memcpy(to + k, &v, 4);
    }
    if (kind == 1)
        for (unsigned k = 0; k < 16; k += 8) {
            uint64_t v = float64(g);
            memcpy(to + k, &v, 8);
        }
    if (percent(g, 10))
        memset(to, percent(g, 50) ? 0 : 0xff, 16);
}

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, 2);
}
static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

static void x87_state(struct diff_gen *g, uint8_t *x)
{
    uint16_t cw = 0x37f, sw = (uint16_t)(below(g, 8) << 11);

    if (percent(g, 30))
        cw = (uint16_t)(0x40 | (below(g, 16) << 8) | (percent(g, 60) ? 0x3f : below(g, 64)));
    if (percent(g, 30))
        sw |= (uint16_t)(rnd(g) & 0x4700);
    if (percent(g, 15))
        sw |= (uint16_t)below(g, 0x80) & (percent(g, 80) ? cw | 0x40 : 0x7f);
    if (sw & ~cw & 0x3f)
        sw |= 0x8080;
    put16(x, cw);
    put16(x + 2, sw);
    x[4] = percent(g, 30) ? 0xff : (uint8_t)rnd(g);
    if (percent(g, 15))
        x[4] = 0;
    /* FIP, FDP, FOP stay zero: some hosts save them only with an exception pending. */
    for (unsigned k = 0; k < 8; k++)
        float80(g, x + 32 + 16 * k);
}

static void vector_part(struct diff_gen *g, uint8_t *x, unsigned part)
{
    const struct xsave_part *p = &xsave_parts()[part];

    for (unsigned k = 0; k < p->size; k += 16)
        vector16(g, x + p->offset + k);
}

/* None, all, few, many. */
static void opmasks(struct diff_gen *g, uint8_t *to)
{
    for (unsigned k = 0; k < 8; k++) {
        uint64_t v = rnd(g);

        switch (below(g, 6)) {
        case 0:
            v = percent(g, 50) ? 0 : UINT64_MAX;
            break;
        case 1:
            v &= rnd(g) & rnd(g);
            break;
        case 2:
            v |= rnd(g) | rnd(g);
            break;
        case 3:
            v = UINT64_MAX << below(g, 64);
            break;
        default:
            break;
        }
        memcpy(to + 8 * k, &v, 8);
    }
}

static void fpu_state(struct diff_gen *g, uint8_t *x)
{
    uint32_t mxcsr = 0x1f80;

    memset(x, 0, XS_BYTES);
    x87_state(g, x);
    if (percent(g, 40))
        mxcsr |= (uint32_t)rnd(g) & 0x3f;
    if (percent(g, 25))
        mxcsr = (mxcsr & 0x1fbf) | ((uint32_t)rnd(g) & 0xe040);
    if (percent(g, 12))
        mxcsr = (uint32_t)rnd(g) & 0xffff;
    put32(x + 24, mxcsr);
    put32(x + 28, 0xffff);
    for (unsigned k = 0; k < 16; k++)
        vector16(g, x + 160 + 16 * k);
    vector_part(g, x, XSAVE_PART_AVX);
    if (diff_components() & XSAVE_AVX512) {
        vector_part(g, x, XSAVE_PART_ZMM_HI);
        vector_part(g, x, XSAVE_PART_HI16);
        opmasks(g, x + xsave_parts()[XSAVE_PART_OPMASK].offset);
    }
}

/* ---- operands ---- */

static uint64_t *gpr_of(struct diff_case *t, ZydisRegister r)
{
    ZyanI8 id = ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r));

    return id >= 0 && id < 16 ? &t->in.gpr[id] : NULL;
}

static uint64_t target_address(struct diff_gen *g, unsigned size)
{
    switch (below(g, 20)) {
    case 0: /* page crossing inside */
        return DATA_BASE + PAGE - below(g, size + 1);
    case 1: /* into the read-only page */
        return DATA_BASE + DATA_RW - below(g, size + 1) + below(g, 3) * below(g, 16);
    case 2: /* off the end */
        return DATA_BASE + DATA_BYTES - below(g, size + 1);
    case 3: /* nothing there, or not canonical */
        return percent(g, 50) ? DATA_BASE - below(g, 64) : 0x800000000000ull + below(g, 80);
    case 4:
    case 5:
    case 6:
        return DATA_BASE + 64 + below(g, DATA_RW - 1024);
    default:
        return DATA_BASE + 64 + (below(g, DATA_RW - 1024) & ~63u);
    }
}

static void aim_disp(struct draw *d, uint64_t value)
{
    const ZydisDecodedInstruction *z = &d->z;

    if (z->raw.disp.size >= 32)
        memcpy(d->t->bytes + z->raw.disp.offset, &value, z->raw.disp.size / 8);
}

static void aim_vsib(struct diff_gen *g, struct diff_case *t, ZydisRegister index)
{
    unsigned n = (unsigned)ZydisRegisterGetId(index) & 31;
    bool wide = percent(g, 50);

    for (unsigned k = 0; k < 64; k += wide ? 8 : 4) {
        int64_t v = (int64_t)below(g, 400) - (percent(g, 5) ? 4000 : 100);

        memcpy(diff_vector_byte(&t->in, n, k), &v, wide ? 8 : 4);
    }
}

static void aim(struct diff_gen *g, struct draw *d, const ZydisDecodedOperand *o)
{
    struct diff_case *t = d->t;
    unsigned size = o->size >= 8 ? o->size / 8 : 8;
    uint64_t target = target_address(g, size > 64 ? 64 : size);
    uint64_t *base = gpr_of(t, o->mem.base), *index = gpr_of(t, o->mem.index);
    uint64_t disp = (uint64_t)o->mem.disp.value, scaled = 0;
    /* SIB without base: Zydis 4.0 gives R13D for it with REX.B and a 32-bit address. */
    if ((d->z.attributes & ZYDIS_ATTRIB_HAS_SIB) && d->z.raw.modrm.mod == 0 &&
        d->z.raw.sib.base == 5) {
        base = NULL;
        disp = (uint64_t)d->z.raw.disp.value;
    }
    bool vsib = ZydisRegisterGetClass(o->mem.index) == ZYDIS_REGCLASS_XMM ||
                ZydisRegisterGetClass(o->mem.index) == ZYDIS_REGCLASS_YMM ||
                ZydisRegisterGetClass(o->mem.index) == ZYDIS_REGCLASS_ZMM;

    if (vsib) {
        aim_vsib(g, t, o->mem.index);
        index = NULL;
    }
    if (o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP) {
        aim_disp(d, target - (CODE_BASE + t->code_offset + t->len));
        return;
    }
    if (index && index != base) {
        *index = percent(g, 70) ? below(g, 256) : integer(g);
        scaled = *index * o->mem.scale;
    }
    if (base && index == base)
        *base = (target - disp) / (1 + o->mem.scale);
    else if (base)
        *base = target - disp - scaled;
    else
        aim_disp(d, target - scaled);
    if (d->z.address_width == 16)
        aim_disp(d, target);
}

static bool has_explicit_memory(const struct draw *d)
{
    for (unsigned k = 0; k < d->z.operand_count_visible; k++)
        if (d->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY)
            return true;
    return false;
}

/* Memory that the encoding does not show: stack, strings, XLAT, MASKMOV. */
static void implicit_registers(struct diff_gen *g, struct draw *d)
{
    struct diff_case *t = d->t;

    t->in.gpr[4] = DATA_BASE + 512 + (below(g, DATA_RW - 1024) & ~7u);
    /* Which of two bad operands faults first is nobody's business */
    if (!has_explicit_memory(d) && percent(g, 5))
        t->in.gpr[4] = target_address(g, 8);
    switch (d->z.mnemonic) {
    case ZYDIS_MNEMONIC_XLAT:
        t->in.gpr[3] = target_address(g, 1);
        return;
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_LEAVE:
        t->in.gpr[5] = DATA_BASE + 512 + below(g, DATA_RW - 1024);
        return;
    default:
        break;
    }
    if (!diff_is_string(&d->z))
        return;
    t->in.gpr[6] = target_address(g, 8);
    t->in.gpr[7] = target_address(g, 8);
    t->in.gpr[1] = below(g, 40);
    if (percent(g, 30)) /* let comparisons find something */
        memset(t->data, 0x5a, DATA_RW);
    if (percent(g, 30))
        t->in.gpr[0] = 0x5a5a5a5a5a5a5a5a;
}

static void fill_state(struct diff_gen *g, struct draw *d)
{
    struct diff_case *t = d->t;

    for (unsigned k = 0; k < 16; k++)
        t->in.gpr[k] = integer(g);
    t->code_offset = 64 + below(g, PAGE - 256);
    t->in.rip = CODE_BASE + t->code_offset;
    t->in.rflags = FL_FIXED | (rnd(g) & FL_ARITH) | (percent(g, 20) ? FL_DF : 0);
    fpu_state(g, t->in.xsave);
    for (unsigned k = 0; k < DATA_RW; k += 8) {
        uint64_t v = rnd(g);
        memcpy(t->data + k, &v, 8);
    }
    memcpy(t->data + DATA_RW, g->read_only, PAGE);
}

/* Operands in memory should be floating-point numbers as often as registers are. */
static void flavour_memory(struct diff_gen *g, struct draw *d, const ZydisDecodedOperand *o)
{
    struct diff_case *t = d->t;

    for (unsigned at = 64; at + 64 <= DATA_RW; at += 64) {
        unsigned step = o->element_size == 80 ? 16 : 16;
        for (unsigned k = 0; k < 64; k += step) {
            if (o->element_size == 80)
                float80(g, t->data + at + k);
            else
                vector16(g, t->data + at + k);
        }
    }
}

/* Registers outside 64-bit mode have 32 bits and there are eight. */
static void narrow_registers(struct diff_case *t)
{
    for (unsigned k = 0; k < 8; k++)
        t->in.gpr[k] = (uint32_t)t->in.gpr[k];
}

void diff_gen_case(struct diff_gen *g, struct diff_case *t)
{
    struct draw d = {.t = t};

    while (!draw_try(g, &d))
        ;
    if (!g->seen[d.z.mnemonic]) {
        g->seen[d.z.mnemonic] = 1;
        g->coverage++;
    }
    fill_state(g, &d);
    implicit_registers(g, &d);
    for (unsigned k = 0; k < d.z.operand_count; k++) {
        const ZydisDecodedOperand *o = &d.op[k];

        if (o->type != ZYDIS_OPERAND_TYPE_MEMORY ||
            o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
            continue;
        aim(g, &d, o);
        if (diff_is_fpu(&d.z))
            flavour_memory(g, &d, o);
    }
    if (t->code32)
        narrow_registers(t);
}

/* Exceptions would end every second run. */
static void mask_exceptions(struct diff_case *t)
{
    t->in.xsave[0] |= 0x3f;
    t->in.xsave[2] &= 0x7f;
    t->in.xsave[3] &= 0x7f;
    t->in.xsave[24] |= 0x80;
    t->in.xsave[25] |= 0x1f;
}

#define NEIGHBOUR_BASE 3 /* rbx */

/* Does d move the base or the stack pointer to where the host may have something of its own? */
static bool strays(const struct draw *d)
{
    for (unsigned k = 0; k < d->z.operand_count; k++) {
        const ZydisDecodedOperand *o = &d->op[k];
        if (o->type != ZYDIS_OPERAND_TYPE_REGISTER ||
            !(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) || o->size <= 16 ||
            d->z.mnemonic == ZYDIS_MNEMONIC_INC || d->z.mnemonic == ZYDIS_MNEMONIC_DEC)
            continue;
        ZydisRegister r =
            ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, o->reg.value);
        bool hidden = o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN; /* PUSH, POP */
        if (r == ZYDIS_REGISTER_RBX || (r == ZYDIS_REGISTER_RSP && !hidden))
            return true;
    }
    return false;
}

/* Instructions of real code often have operands next to each other, or are pushes and pops in a
 * row. True: d is one of those now. */
static bool make_neighbour(struct diff_gen *g, struct draw *d, bool code32)
{
    const ZydisDecodedInstruction *z = &d->z;

    if (percent(g, 15)) {
        uint8_t reg = (uint8_t)below(g, 7);

        d->t->bytes[0] = (percent(g, 50) ? 0x50 : 0x58) | (reg < 4 ? reg : reg + 1);
        d->t->len = 1;
        return true;
    }
    if (!(z->attributes & ZYDIS_ATTRIB_HAS_MODRM) || z->raw.disp.size != 8 ||
        z->raw.modrm.rm == 4 || z->address_width != (code32 ? 32 : 64) ||
        z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
        return false;
    for (unsigned k = 0; k < z->operand_count; k++)
        if (d->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            ZydisRegisterGetId(d->op[k].mem.base) >= 8)
            return false;
    uint8_t *modrm = d->t->bytes + z->raw.modrm.offset;
    *modrm = (*modrm & ~7) | NEIGHBOUR_BASE;
    d->t->bytes[z->raw.disp.offset] = (uint8_t)(below(g, 128) - 64);
    return true;
}

void diff_gen_run(struct diff_gen *g, struct diff_case *t)
{
    static struct diff_case one;
    struct draw d = {.t = &one};
    unsigned count = 2 + below(g, RUN_MAX - 1);
    bool code32 = percent(g, 25), neighbours = percent(g, 50);

    memset(t->bytes, 0xcc, sizeof(t->bytes));
    t->len = 0;
    t->count = 0;
    t->code32 = code32;
    fill_state(g, &(struct draw){.t = t});
    mask_exceptions(t);
    while (t->count < count) {
        if (!draw_try(g, &d) || one.code32 != code32 || !diff_runs(&d.z, d.op) ||
            (neighbours && strays(&d)))
            continue;
        one.code_offset = t->code_offset + t->len;
        bool neighbour = neighbours && make_neighbour(g, &d, code32);
        for (unsigned k = 0; k < d.z.operand_count && !neighbour; k++)
            if (d.op[k].type == ZYDIS_OPERAND_TYPE_MEMORY)
                aim(g, &d, &d.op[k]);
        memcpy(t->bytes + t->len, one.bytes, one.len);
        t->len += one.len;
        t->count++;
    }
    t->in.gpr[4] = DATA_BASE + 512;
    if (neighbours) {
        t->in.gpr[NEIGHBOUR_BASE] = target_address(g, 64);
        if (percent(g, 20))
            t->in.gpr[4] = DATA_BASE + PAGE + 8 * below(g, 16) - 64;
    }
    if (code32)
        narrow_registers(t);
}
