/* tr_evex.c - EVEX prefixes (SDM vol.2 §2.7): taken apart, and put together again for the operands
 * that a translated instruction has.
 *
 *   62   R X B R' 0 m m m   W v v v v 1 p p   z L' L b V' a a a
 *
 * Vector and opmask registers stand for themselves.  A memory operand becomes [S0] without
 * displacement, so the scaled disp8 is gone.  Opmask, zeroing, length, broadcast and rounding stay
 * as they are: on a page at hand the host's own instruction does what the mask says.  A page that
 * is not at hand makes a masked operand the interpreter's (tr_fill), which looks at active elements
 * only.
 *
 * Bits that are inverted in the prefix are plain in struct tr_insn.  Outside 64-bit mode there are
 * eight registers: R, X, B, R', V' and the top bit of vvvv say nothing. */
#include "tr_emit.h"

#define REX_R_HIGH 0x10 /* R', in tr_insn.rex */
#define P2_V_HIGH  8    /* V', inverted */

const uint8_t *tr_evex_take(struct tr_insn *d, const uint8_t *p, bool code64)
{
    uint8_t p0 = (uint8_t)~p[1], p1 = p[2];

    d->vex = d->evex = true;
    d->map = p[1] & 7;
    if (code64)
        d->rex = p0 >> 5 | (p0 & REX_R_HIGH);
    d->w = p1 & 0x80;
    d->vvvv = ~p1 >> 3 & 15;
    d->vpp = p1 & 3;
    d->evex_p2 = code64 ? p[3] : p[3] | P2_V_HIGH;
    d->opcode = p[4];
    return p + 5;
}

void tr_evex_registers(struct tr_insn *d)
{
    if (d->rex & REX_R_HIGH)
        d->reg |= 16;
    if (d->evex && (d->modrm & 0xc0) == 0xc0 && (d->rex & 2))
        d->rm |= 16;
}

void tr_evex_prefix(struct tr *t, const struct tr_insn *d, unsigned reg, unsigned rm)
{
    e8(t, 0x62);
    e8(t, (reg & 8 ? 0 : 0x80) | (rm & 16 ? 0 : 0x40) | (rm & 8 ? 0 : 0x20) |
              (reg & 16 ? 0 : 0x10) | d->map);
    e8(t, d->w << 7 | (~d->vvvv & 15) << 3 | 4 | d->vpp);
    e8(t, d->evex_p2);
    e8(t, d->opcode);
}
