/* shape.c - where an instruction's displacement and immediate are: lengths by table, nothing else.
 *
 * SDM vol.2 §2.1-2.7 and appendix A.  Wrong or impossible encodings get some shape as well: Zydis
 * refuses them, so no template ever has it. */
#include "shape.h"

/* Bits 2:0: how long the immediate is. */
enum {
    IMM_NONE,
    IMM_8,
    IMM_16,
    IMM_Z,     /* 2 or 4 bytes by operand size */
    IMM_V,     /* 2, 4 or 8 */
    IMM_REL,   /* branch displacement: 4, outside 64-bit mode 2 or 4 */
    IMM_MOFFS, /* an address in the place of an immediate */
    IMM_MASK = 7,
    HAS_MODRM = 8,
    IMM_DECIDES = 16, /* the immediate's value is part of the shape */
    ODD = 32,         /* not remembered */
    PREFIX = 64,
    SPECIAL = 128 /* see layout_special */
};
#define M HAS_MODRM

#define ALU_ROW(n)                                                                                 \
    [n] = M, [(n) + 1] = M, [(n) + 2] = M, [(n) + 3] = M, [(n) + 4] = IMM_8, [(n) + 5] = IMM_Z

static const uint8_t map_one[256] = {
    ALU_ROW(0x00),
    ALU_ROW(0x08),
    [0x0f] = SPECIAL,
    ALU_ROW(0x10),
    ALU_ROW(0x18),
    ALU_ROW(0x20),
    [0x26] = PREFIX,
    ALU_ROW(0x28),
    [0x2e] = PREFIX,
    ALU_ROW(0x30),
    [0x36] = PREFIX,
    ALU_ROW(0x38),
    [0x3e] = PREFIX,
    [0x62] = SPECIAL,
    [0x63] = M,
    [0x64 ... 0x67] = PREFIX,
    [0x68] = IMM_Z,
    [0x69] = M | IMM_Z,
    [0x6a] = IMM_8,
    [0x6b] = M | IMM_8,
    [0x70 ... 0x7f] = IMM_8,
    [0x80] = M | IMM_8,
    [0x81] = M | IMM_Z,
    [0x82 ... 0x83] = M | IMM_8,
    [0x84 ... 0x8e] = M,
    [0x8f] = SPECIAL,
    [0x9a] = ODD, /* far pointer */
    [0xa0 ... 0xa3] = IMM_MOFFS,
    [0xa8] = IMM_8,
    [0xa9] = IMM_Z,
    [0xb0 ... 0xb7] = IMM_8,
    [0xb8 ... 0xbf] = IMM_V,
    [0xc0 ... 0xc1] = M | IMM_8,
    [0xc2] = IMM_16,
    [0xc4 ... 0xc5] = SPECIAL,
    [0xc6] = M | IMM_8,
    [0xc7] = M | IMM_Z,
    [0xc8] = ODD, /* ENTER: two immediates */
    [0xca] = IMM_16,
    [0xcd] = IMM_8,
    [0xd0 ... 0xd3] = M,
    [0xd4 ... 0xd5] = IMM_8,
    [0xd8 ... 0xdf] = M,
    [0xe0 ... 0xe7] = IMM_8,
    [0xe8 ... 0xe9] = IMM_REL,
    [0xea] = ODD, /* far pointer */
    [0xeb] = IMM_8,
    [0xf0] = PREFIX,
    [0xf2 ... 0xf3] = PREFIX,
    [0xf6 ... 0xf7] = SPECIAL,
    [0xfe ... 0xff] = M,
};

static const uint8_t map_0f[256] = {
    [0x00 ... 0x03] = M,
    [0x04] = ODD,
    [0x0a] = ODD,
    [0x0c] = ODD,
    [0x0d] = M,
    [0x0f] = ODD, /* 3DNow!: its opcode comes last */
    [0x10 ... 0x1f] = M,
    [0x20 ... 0x27] = ODD, /* control and debug registers: ModRM.mod does not count */
    [0x28 ... 0x2f] = M,
    [0x38 ... 0x3f] = ODD,
    [0x40 ... 0x6f] = M,
    [0x70 ... 0x73] = M | IMM_8 | IMM_DECIDES,
    [0x74 ... 0x76] = M,
    [0x78] = ODD, /* SSE4a: two immediates */
    [0x79 ... 0x7f] = M,
    [0x80 ... 0x8f] = IMM_REL,
    [0x90 ... 0x9f] = M,
    [0xa3] = M,
    [0xa4] = M | IMM_8,
    [0xa5] = M,
    [0xa6 ... 0xa7] = ODD,
    [0xab] = M,
    [0xac] = M | IMM_8,
    [0xad ... 0xb9] = M,
    [0xba] = M | IMM_8,
    [0xbb ... 0xc1] = M,
    [0xc2] = M | IMM_8 | IMM_DECIDES,
    [0xc3] = M,
    [0xc4 ... 0xc6] = M | IMM_8 | IMM_DECIDES,
    [0xc7] = M,
    [0xd0 ... 0xff] = M,
};
#undef M

/* While the bytes are read. */
struct layout {
    const uint8_t *b;
    unsigned at; /* the next byte */
    bool long64, op16, rex_w, evex;
    uint8_t addrsize;
};

/* The opcode and what leads to it in maps 1 to 3; how the rest is laid out. */
static inline uint8_t layout_map(struct layout *l, unsigned map)
{
    uint8_t op = l->b[l->at++];

    switch (map) {
    case 1:
        return map_0f[op];
    case 2:
        return HAS_MODRM;
    case 3:
        return HAS_MODRM | IMM_8 | IMM_DECIDES;
    default:
        return ODD;
    }
}

/* Bytes that open another map, or a group where the immediate hangs on ModRM.reg; `op` is behind
 * l->at already. */
static inline uint8_t layout_special(struct layout *l, uint8_t op)
{
    uint8_t next = l->b[l->at];
    bool extended = l->long64 || next >= 0xc0; /* else LES, LDS, BOUND */
    unsigned map;

    switch (op) {
    case 0x0f:
        map = next == 0x38 ? 2 : next == 0x3a ? 3 : 1;
        l->at += map != 1;
        return layout_map(l, map);
    case 0xc4:
        if (!extended)
            return HAS_MODRM;
        l->at += 2;
        return layout_map(l, next & 31);
    case 0xc5:
        if (!extended)
            return HAS_MODRM;
        l->at += 1;
        return layout_map(l, 1);
    case 0x62:
        if (!extended)
            return HAS_MODRM;
        l->evex = true;
        l->at += 3;
        return layout_map(l, next & 7);
    case 0x8f:
        return (next & 31) >= 8 ? ODD : HAS_MODRM; /* XOP, or POP */
    default:
        if (next & 0x30)
            return HAS_MODRM;
        return HAS_MODRM | (op == 0xf6 ? IMM_8 : IMM_Z); /* TEST */
    }
}

/* Prefixes and opcode. */
static inline uint8_t layout_opcode(struct layout *l)
{
    bool prefix66 = false, prefix67 = false;
    uint8_t op = l->b[l->at++], rest = map_one[op];

    while (rest & PREFIX) {
        prefix66 |= op == 0x66;
        prefix67 |= op == 0x67;
        if (l->at == 13)
            return ODD;
        op = l->b[l->at++];
        rest = map_one[op];
    }
    l->op16 ^= prefix66;
    if (prefix67)
        l->addrsize = l->addrsize == 4 ? 2 : 4;
    if (l->long64 && (op & 0xf0) == 0x40) {
        l->rex_w = op & 8;
        op = l->b[l->at++];
        rest = map_one[op];
        if ((rest & PREFIX) || (op & 0xf0) == 0x40)
            return ODD; /* a REX prefix that does not count */
    }
    return rest & SPECIAL ? layout_special(l, op) : rest;
}

/* ModRM and SIB; bytes of displacement. SDM vol.2 tables 2-1 to 2-3. */
static inline unsigned layout_modrm(struct layout *l)
{
    static const uint8_t size16[4] = {0, 1, 2, 0}, size32[4] = {0, 1, 4, 0};
    uint8_t modrm = l->b[l->at++];
    unsigned mod = modrm >> 6, rm = modrm & 7;

    if (mod == 3)
        return 0;
    if (l->addrsize == 2)
        return mod == 0 && rm == 6 ? 2 : size16[mod];
    if (rm == 4)
        rm = l->b[l->at++] & 7;
    return mod == 0 && rm == 5 ? 4 : size32[mod];
}

static inline unsigned imm_bytes(const struct layout *l, uint8_t rest)
{
    static const uint8_t size[8][4] = {
        /* [kind][operand size] */
        [IMM_8] = {1, 1, 1, 1}, [IMM_16] = {2, 2, 2, 2},  [IMM_Z] = {2, 4, 4, 4},
        [IMM_V] = {2, 4, 8, 8}, [IMM_REL] = {2, 4, 4, 4}, [IMM_MOFFS] = {0}};
    unsigned kind = rest & IMM_MASK;

    if (l->op16 && l->long64 && kind == IMM_REL)
        return 4;
    return size[kind][l->rex_w * 2 | !l->op16];
}

/* The first n of 16 bytes: low and high half. */
static const uint8_t ones[32] = {[0 ... 15] = 0xff};
static inline uint64_t mask_low(unsigned n)
{
    return le64_get(ones + 16 - n);
}
static inline uint64_t mask_high(unsigned n)
{
    return le64_get(ones + 24 - n);
}

void shape_of(struct shape *s, uint32_t mode_key, const struct fetch *f)
{
    enum cpu_mode mode = (enum cpu_mode)(mode_key & KEY_MODE_MASK);
    bool code32 = (mode_key & KEY_CS32) && mode != MODE_VM86;
    uint8_t b[24]; /* prefixes and opcode of a bad instruction may seem to go on beyond 16 */
    struct layout l = {.b = b, .long64 = mode == MODE_LONG64};

    memset(b, 0, sizeof(b));
    if (likely(f->avail >= 16))
        memcpy(b, f->bytes, 16);
    else
        memcpy(b, f->bytes, f->avail);
    l.op16 = !l.long64 && !code32;
    l.addrsize = l.long64 ? 8 : code32 ? 4 : 2;
    uint8_t rest = layout_opcode(&l);
    unsigned disp = rest & HAS_MODRM ? layout_modrm(&l) : 0, imm = imm_bytes(&l, rest);
    s->moffs = (rest & IMM_MASK) == IMM_MOFFS;
    if (unlikely(s->moffs))
        disp = l.addrsize;
    unsigned len = l.at + disp + imm;
    s->known = !(rest & ODD) && len <= MIN_OF(f->avail, 15u);
    if (!s->known)
        return;
    s->mode_key = mode_key;
    s->len = (uint8_t)len;
    s->disp_at = (uint8_t)l.at;
    s->imm_at = (uint8_t)(l.at + disp);
    /* EVEX scales a short displacement. */
    s->disp_size = (uint8_t)(l.evex && disp == 1 ? 0 : disp);
    s->imm_size = (uint8_t)(rest & IMM_DECIDES ? 0 : imm);
    s->bytes[0] = le64_get(b) & mask_low(len);
    s->bytes[1] = le64_get(b + 8) & mask_high(len);
    /* All but disp and imm, which follow each other. */
    unsigned from = s->disp_size ? s->disp_at : s->imm_at, to = s->imm_at + s->imm_size;
    s->key[0] = s->bytes[0] & ~(mask_low(to) ^ mask_low(from));
    s->key[1] = s->bytes[1] & ~(mask_high(to) ^ mask_high(from));
}
