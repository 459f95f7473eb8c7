/* fpu_x87.c - the x87 instructions that cannot run as they are: waiting, initialising, and the
 * environment images, whose instruction pointers must be the guest's (SDM vol.1 §8.1.10). */
#include "fpu.h"

#include <string.h>

#define FCW_INIT    0x37f
#define FSW_TOP(sw) ((sw) >> 11 & 7)
#define FSW_B       0x8000
#define FSW_FLAGS   0x3f
#define TAG_VALID   0
#define TAG_ZERO    1
#define TAG_SPECIAL 2
#define TAG_EMPTY   3
#define ENV_MAX     28
#define REG_BYTES   10

void fpu_init_x87_area(uint8_t *xsave)
{
    const uint16_t cw = FCW_INIT;

    memset(xsave, 0, XS_MXCSR);
    memset(xsave + XS_ST, 0, XS_XMM - XS_ST);
    memcpy(xsave + XS_FCW, &cw, 2);
}

/* ES and B only say that an unmasked flag is set. */
static void settle_status(struct jit_cpu *c)
{
    uint16_t sw = xs_get16(c, XS_FSW) & ~(FSW_ES | FSW_B);

    if (sw & ~xs_get16(c, XS_FCW) & FSW_FLAGS)
        sw |= FSW_ES | FSW_B;
    xs_put16(c, XS_FSW, sw);
    fpu_x87_replaced(c);
}

void fpu_x87_loaded(struct jit_cpu *c)
{
    /* Bit 6 of the control word reads as one, bits 7, 13-15 as zero. */
    xs_put16(c, XS_FCW, (xs_get16(c, XS_FCW) & 0x1f7f) | 0x40);
    settle_status(c);
}

void fpu_op_fwait(struct jit_cpu *c, const struct insn *i)
{
    if ((c->st.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        cpu_raise(c, EX_NM);
    fpu_check_wait(c);
}

void fpu_op_x87_nop(struct jit_cpu *c, const struct insn *i)
{
    fpu_check_x87(c);
}

/* st.xsave keeps the registers in stack order: a new TOP means another order. */
static void rotate_registers(struct jit_cpu *c, unsigned old_top, unsigned new_top)
{
    uint8_t old[8][16];

    if (old_top == new_top)
        return;
    memcpy(old, c->st.xsave + XS_ST, sizeof(old));
    for (unsigned k = 0; k < 8; k++)
        memcpy(c->st.xsave + XS_ST + 16 * k, old[(k + new_top - old_top) & 7], 16);
}

/* The registers keep their values, all are tagged empty. */
static void x87_init(struct jit_cpu *c)
{
    struct fpu *f = fpu_of(c);

    rotate_registers(c, FSW_TOP(xs_get16(c, XS_FSW)), 0);
    xs_put16(c, XS_FCW, FCW_INIT);
    memset(c->st.xsave + XS_FSW, 0, XS_MXCSR - XS_FSW);
    f->fcs = f->fds = 0;
    fpu_x87_replaced(c);
}

void fpu_op_fninit(struct jit_cpu *c, const struct insn *i)
{
    fpu_check_x87(c);
    fpu_sync_to_state(c);
    x87_init(c);
}

void fpu_mmx_transition(struct jit_cpu *c)
{
    uint16_t sw = xs_get16(c, XS_FSW);

    rotate_registers(c, FSW_TOP(sw), 0);
    xs_put16(c, XS_FSW, sw & ~0x3800);
    c->st.xsave[XS_FTW] = 0xff;
}

/* ---- environment images ---- */

/* st is ST(n) as FXSAVE keeps it. */
static unsigned full_tag(const uint8_t *st)
{
    uint64_t mantissa;
    uint16_t exponent;

    memcpy(&mantissa, st, 8);
    memcpy(&exponent, st + 8, 2);
    exponent &= 0x7fff;
    if (exponent == 0)
        return mantissa == 0 ? TAG_ZERO : TAG_SPECIAL;
    if (exponent == 0x7fff || !(mantissa >> 63))
        return TAG_SPECIAL;
    return TAG_VALID;
}

static uint16_t full_tags(const struct jit_cpu *c)
{
    unsigned top = FSW_TOP(xs_get16(c, XS_FSW));
    uint8_t used = c->st.xsave[XS_FTW];
    uint16_t tags = 0;

    for (unsigned phys = 0; phys < 8; phys++) {
        const uint8_t *st = c->st.xsave + XS_ST + 16 * ((phys - top) & 7);
        unsigned tag = used & 1u << phys ? full_tag(st) : TAG_EMPTY;

        tags |= tag << 2 * phys;
    }
    return tags;
}

static void set_full_tags(struct jit_cpu *c, uint16_t tags)
{
    uint8_t used = 0;

    for (unsigned phys = 0; phys < 8; phys++)
        if ((tags >> 2 * phys & 3) != TAG_EMPTY)
            used |= 1u << phys;
    c->st.xsave[XS_FTW] = used;
    c->st.xsave[XS_FTW + 1] = 0;
}

static bool linear_pointers(const struct jit_cpu *c)
{
    return c->mode == MODE_REAL || c->mode == MODE_VM86;
}

static unsigned env_size(const struct insn *i)
{
    return i->opsize == 2 ? ENV_MAX / 2 : ENV_MAX;
}

/* The seven fields of the image; each takes 2 or 4 bytes (SDM vol.1 figures 8-9..8-12). */
static void env_build(struct jit_cpu *c, const struct insn *i, uint8_t *out)
{
    struct fpu *f = fpu_of(c);
    uint32_t ip = (uint32_t)xs_get64(c, XS_FIP), dp = (uint32_t)xs_get64(c, XS_FDP);
    uint32_t fop = xs_get16(c, XS_FOP) & 0x7ff;
    bool wide = i->opsize != 2;
    uint32_t high = wide ? 0xffff0000 : 0;
    uint32_t w[7] = {high | xs_get16(c, XS_FCW), high | xs_get16(c, XS_FSW), high | full_tags(c)};

    if (linear_pointers(c)) {
        ip += f->fcs << 4;
        dp += f->fds << 4;
        w[3] = high | (ip & 0xffff);
        w[4] = (wide ? ip >> 16 << 12 : (ip >> 16 & 15) << 12) | fop;
        w[5] = high | (dp & 0xffff);
        w[6] = wide ? dp >> 16 << 12 : (dp >> 16 & 15) << 12;
    } else {
        w[3] = ip;
        w[4] = f->fcs | fop << 16;
        w[5] = dp;
        w[6] = high | f->fds;
    }
    for (unsigned k = 0; k < 7; k++)
        memcpy(out + (wide ? 4 : 2) * k, &w[k], wide ? 4 : 2);
}

static void env_take(struct jit_cpu *c, const struct insn *i, const uint8_t *in)
{
    struct fpu *f = fpu_of(c);
    bool wide = i->opsize != 2;
    uint32_t w[7] = {0};
    uint32_t fop;

    for (unsigned k = 0; k < 7; k++)
        memcpy(&w[k], in + (wide ? 4 : 2) * k, wide ? 4 : 2);
    xs_put16(c, XS_FCW, w[0]);
    xs_put16(c, XS_FSW, w[1]);
    set_full_tags(c, w[2]);
    if (linear_pointers(c)) {
        fop = w[4] & 0x7ff;
        xs_put64(c, XS_FIP, (w[3] & 0xffff) | (w[4] >> 12 << 16));
        xs_put64(c, XS_FDP, (w[5] & 0xffff) | (w[6] >> 12 << 16));
        f->fcs = f->fds = 0;
    } else {
        fop = wide ? w[4] >> 16 & 0x7ff : 0;
        xs_put64(c, XS_FIP, w[3]);
        xs_put64(c, XS_FDP, w[5]);
        f->fcs = w[4];
        f->fds = w[6];
    }
    xs_put16(c, XS_FOP, fop);
    fpu_x87_loaded(c);
}

static void write_checked(struct jit_cpu *c, const struct insn *i, const uint8_t *image,
                          unsigned len)
{
    mmu_write_slow(c, insn_linear(c, i, len, ACC_WRITE), image, len, ACC_WRITE);
}

void fpu_op_fnstenv(struct jit_cpu *c, const struct insn *i)
{
    uint8_t image[ENV_MAX];

    fpu_check_x87(c);
    fpu_sync_to_state(c);
    env_build(c, i, image);
    write_checked(c, i, image, env_size(i));
    xs_put16(c, XS_FCW, xs_get16(c, XS_FCW) | FSW_FLAGS);
    settle_status(c);
}

void fpu_op_fldenv(struct jit_cpu *c, const struct insn *i)
{
    uint8_t image[ENV_MAX];
    unsigned len = env_size(i), top;

    fpu_check_x87(c);
    fpu_check_wait(c);
    mmu_read_slow(c, insn_linear(c, i, len, ACC_READ), image, len, ACC_READ);
    fpu_sync_to_state(c);
    top = FSW_TOP(xs_get16(c, XS_FSW));
    env_take(c, i, image);
    rotate_registers(c, top, FSW_TOP(xs_get16(c, XS_FSW)));
}

void fpu_op_fnsave(struct jit_cpu *c, const struct insn *i)
{
    uint8_t image[ENV_MAX + 8 * REG_BYTES];
    unsigned env = env_size(i);

    fpu_check_x87(c);
    fpu_sync_to_state(c);
    env_build(c, i, image);
    for (unsigned k = 0; k < 8; k++)
        memcpy(image + env + REG_BYTES * k, c->st.xsave + XS_ST + 16 * k, REG_BYTES);
    write_checked(c, i, image, env + 8 * REG_BYTES);
    x87_init(c);
}

void fpu_op_frstor(struct jit_cpu *c, const struct insn *i)
{
    uint8_t image[ENV_MAX + 8 * REG_BYTES];
    unsigned env = env_size(i), len = env + 8 * REG_BYTES;

    fpu_check_x87(c);
    fpu_check_wait(c);
    mmu_read_slow(c, insn_linear(c, i, len, ACC_READ), image, len, ACC_READ);
    fpu_sync_to_state(c);
    for (unsigned k = 0; k < 8; k++) {
        memcpy(c->st.xsave + XS_ST + 16 * k, image + env + REG_BYTES * k, REG_BYTES);
        memset(c->st.xsave + XS_ST + 16 * k + REG_BYTES, 0, 6);
    }
    env_take(c, i, image);
}
