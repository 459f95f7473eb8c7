/* fpu_mem.c - vector instructions whose memory accesses depend on data: masked moves and gathers.
 *
 * Only the elements a mask selects are touched, one by one; a store checks all of them first, a
 * gather keeps the elements it has loaded when a later one faults (SDM vol.2, VGATHER). */
#include "fpu.h"

#include <string.h>

struct vec {
    uint8_t b[32];
};

static struct vec vec_get(const struct jit_cpu *c, unsigned n)
{
    struct vec v;

    memcpy(v.b, c->st.xsave + XS_XMM + 16 * n, 16);
    memcpy(v.b + 16, c->st.xsave + XS_YMMH + 16 * n, 16);
    return v;
}

static void vec_put(struct jit_cpu *c, unsigned n, const struct vec *v)
{
    memcpy(c->st.xsave + XS_XMM + 16 * n, v->b, 16);
    memcpy(c->st.xsave + XS_YMMH + 16 * n, v->b + 16, 16);
}

bool fpu_prepare_emulated(struct decode_ctx *d)
{
    const ZydisDecodedInstruction *z = &d->z;
    struct insn *out = d->out;
    bool vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

    out->aux = (vex ? FPU_AUX_VEX : 0) | (vex && z->raw.vex.L ? FPU_AUX_L : 0);
    if (!vex && d->mode == MODE_LONG64 && z->raw.rex.W)
        out->aux |= FPU_AUX_W;
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VPGATHERDQ:
        out->aux |= FPU_AUX_DATA64;
        break;
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
        out->aux |= FPU_AUX_DATA64 | FPU_AUX_INDEX64;
        break;
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERQD:
        out->aux |= FPU_AUX_INDEX64;
        break;
    default:
        break;
    }
    if (d->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
        out->aux |= FPU_AUX_STORE;
    return true;
}

/* ---- byte masks: MASKMOVQ, MASKMOVDQU ---- */

static void store_masked_bytes(struct jit_cpu *c, const struct insn *i, const uint8_t *data,
                               const uint8_t *mask, unsigned len)
{
    uint64_t off = c->st.gpr[7 /* rdi */];

    if (i->addrsize == 4)
        off = (uint32_t)off;
    else if (i->addrsize == 2)
        off = (uint16_t)off;
    uint64_t linear = seg_linear(c, i->seg, off, len, ACC_WRITE);
    fpu_probe_write(c, linear, len); /* whatever the mask says, as AMD's do */
    for (unsigned k = 0; k < len; k++)
        if (mask[k] & 0x80)
            mem_w8(c, linear + k, data[k]);
}

void fpu_op_maskmovdqu(struct jit_cpu *c, const struct insn *i)
{
    struct vec data, mask;

    if (i->aux & FPU_AUX_VEX)
        fpu_check_avx(c);
    else
        fpu_check_sse(c);
    data = vec_get(c, i->reg);
    mask = vec_get(c, i->rm);
    store_masked_bytes(c, i, data.b, mask.b, 16);
}

void fpu_op_maskmovq(struct jit_cpu *c, const struct insn *i)
{
    uint8_t regs[8][8];

    fpu_check_mmx(c);
    fpu_check_wait(c);
    fpu_sync_to_state(c);
    /* MMn is the n-th physical register; ST(0) is number TOP. */
    unsigned top = xs_get16(c, XS_FSW) >> 11 & 7;
    for (unsigned n = 0; n < 8; n++)
        memcpy(regs[n], c->st.xsave + XS_ST + 16 * ((n - top) & 7), 8);
    fpu_mmx_transition(c); /* even when the store faults */
    store_masked_bytes(c, i, regs[i->reg], regs[i->rm], 8);
}

/* ---- element masks: VMASKMOV, VPMASKMOV ---- */

static inline unsigned vec_bytes(const struct insn *i)
{
    return i->aux & FPU_AUX_L ? 32 : 16;
}

static void load_element(struct jit_cpu *c, uint64_t linear, uint8_t *to, unsigned size)
{
    if (size == 8) {
        uint64_t v = mem_r64(c, linear);
        memcpy(to, &v, 8);
    } else {
        uint32_t v = mem_r32(c, linear);
        memcpy(to, &v, 4);
    }
}

static void store_element(struct jit_cpu *c, uint64_t linear, const uint8_t *from, unsigned size)
{
    if (size == 8)
        mem_w64(c, linear, le64_get(from));
    else
        mem_w32(c, linear, le32_get(from));
}

static bool any_selected(const struct vec *mask, unsigned bytes, unsigned size)
{
    for (unsigned k = size - 1; k < bytes; k += size)
        if (mask->b[k] & 0x80)
            return true;
    return false;
}

void fpu_op_vmaskmov(struct jit_cpu *c, const struct insn *i)
{
    unsigned bytes = vec_bytes(i), size = i->aux & FPU_AUX_DATA64 ? 8 : 4;
    bool store = i->aux & FPU_AUX_STORE;
    uint64_t linear = 0;
    struct vec mask, data = {{0}};

    fpu_check_avx(c);
    mask = vec_get(c, i->vvvv);
    if (any_selected(&mask, bytes, size))
        linear = insn_linear(c, i, bytes, store ? ACC_WRITE : ACC_READ);
    if (store)
        data = vec_get(c, i->reg);
    for (unsigned k = 0; k < bytes; k += size) {
        if (!(mask.b[k + size - 1] & 0x80))
            continue;
        if (store)
            fpu_probe_write(c, linear + k, size);
        else
            load_element(c, linear + k, data.b + k, size);
    }
    if (!store) {
        vec_put(c, i->reg, &data);
        return;
    }
    for (unsigned k = 0; k < bytes; k += size)
        if (mask.b[k + size - 1] & 0x80)
            store_element(c, linear + k, data.b + k, size);
}

/* ---- gathers ---- */

static uint64_t element_linear(struct jit_cpu *c, const struct insn *i, int64_t index,
                               unsigned size)
{
    uint64_t off = (uint64_t)(int64_t)i->disp + ((uint64_t)index << i->scale_shift);

    if (i->base != NOREG)
        off += c->st.gpr[i->base];
    if (i->addrsize == 4)
        off = (uint32_t)off;
    return seg_linear(c, i->seg, off, size, ACC_READ);
}

static int64_t index_of(const struct vec *v, unsigned n, bool wide)
{
    return wide ? (int64_t)le64_get(v->b + 8 * n) : (int32_t)le32_get(v->b + 4 * n);
}

void fpu_op_gather(struct jit_cpu *c, const struct insn *i)
{
    bool wide_index = i->aux & FPU_AUX_INDEX64;
    unsigned size = i->aux & FPU_AUX_DATA64 ? 8 : 4;
    unsigned count = vec_bytes(i) / (wide_index ? 8 : size);
    struct vec index, mask, data;

    fpu_check_avx(c);
    if (i->reg == i->vvvv || i->reg == i->index || i->vvvv == i->index)
        cpu_raise(c, EX_UD);
    index = vec_get(c, i->index);
    mask = vec_get(c, i->vvvv);
    data = vec_get(c, i->reg);
    for (unsigned k = 0; k < count; k++) {
        if (mask.b[k * size + size - 1] & 0x80)
            load_element(c, element_linear(c, i, index_of(&index, k, wide_index), size),
                         data.b + k * size, size);
        memset(mask.b + k * size, 0, size);
        vec_put(c, i->reg, &data);
        vec_put(c, i->vvvv, &mask);
    }
    memset(mask.b, 0, sizeof(mask.b));
    memset(data.b + count * size, 0, sizeof(data.b) - count * size);
    vec_put(c, i->reg, &data);
    vec_put(c, i->vvvv, &mask);
}

/* ---- VZERO ---- */

static unsigned vec_count(const struct jit_cpu *c)
{
    return c->mode == MODE_LONG64 ? 16 : 8;
}

void fpu_op_vzeroupper(struct jit_cpu *c, const struct insn *i)
{
    fpu_check_avx(c);
    memset(c->st.xsave + XS_YMMH, 0, 16 * vec_count(c));
}

void fpu_op_vzeroall(struct jit_cpu *c, const struct insn *i)
{
    fpu_check_avx(c);
    memset(c->st.xsave + XS_YMMH, 0, 16 * vec_count(c));
    memset(c->st.xsave + XS_XMM, 0, 16 * vec_count(c));
}
