/* fpu_mem.c - vector instructions whose memory accesses depend on data: masked moves and gathers.
 *
 * Only the elements a mask selects are touched, one by one; a store checks all of them first, a
 * gather keeps the elements it has loaded when a later one faults (SDM vol.2, VGATHER). */
#include "fpu.h"

#include <string.h>

struct fpu_vec fpu_vec_get(struct jit_cpu *c, unsigned n)
{
    struct fpu_vec v;

    if (n >= 16) {
        memcpy(v.b, c->st.xsave + fpu_of(c)->hi16_at + 64 * (n - 16), 64);
        return v;
    }
    memcpy(v.b, c->st.xsave + XS_XMM + 16 * n, 16);
    memcpy(v.b + 16, c->st.xsave + XS_YMMH + 16 * n, 16);
    memcpy(v.b + 32, c->st.xsave + fpu_of(c)->zmmh_at + 32 * n, 32);
    return v;
}

void fpu_vec_put(struct jit_cpu *c, unsigned n, const struct fpu_vec *v)
{
    if (n >= 16) {
        memcpy(c->st.xsave + fpu_of(c)->hi16_at + 64 * (n - 16), v->b, 64);
        return;
    }
    memcpy(c->st.xsave + XS_XMM + 16 * n, v->b, 16);
    memcpy(c->st.xsave + XS_YMMH + 16 * n, v->b + 16, 16);
    memcpy(c->st.xsave + fpu_of(c)->zmmh_at + 32 * n, v->b + 32, 32);
}

bool fpu_prepare_emulated(struct decode_ctx *d)
{
    const ZydisDecodedInstruction *z = &d->z;
    struct insn *out = d->out;
    bool vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

    out->aux = (vex ? FPU_AUX_VEX : 0) | (vex && z->raw.vex.L ? FPU_AUX_L : 0);
    if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX) {
        out->aux =
            FPU_AUX_EVEX | (z->raw.evex.L ? FPU_AUX_L : 0) | (z->raw.evex.L2 ? FPU_AUX_L2 : 0);
        out->vvvv = z->raw.evex.aaa;
    }
    if (!vex && d->mode == MODE_LONG64 && z->raw.rex.W)
        out->aux |= FPU_AUX_W;
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VPGATHERDQ:
    case ZYDIS_MNEMONIC_VSCATTERDPD:
    case ZYDIS_MNEMONIC_VPSCATTERDQ:
        out->aux |= FPU_AUX_DATA64;
        break;
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
    case ZYDIS_MNEMONIC_VSCATTERQPD:
    case ZYDIS_MNEMONIC_VPSCATTERQQ:
        out->aux |= FPU_AUX_DATA64 | FPU_AUX_INDEX64;
        break;
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VSCATTERQPS:
    case ZYDIS_MNEMONIC_VPSCATTERQD:
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
    struct fpu_vec data, mask;

    if (i->aux & FPU_AUX_VEX)
        fpu_check_avx(c);
    else
        fpu_check_sse(c);
    data = fpu_vec_get(c, i->reg);
    mask = fpu_vec_get(c, i->rm);
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

void fpu_load_element(struct jit_cpu *c, uint64_t linear, uint8_t *to, unsigned size)
{
    if (size == 8) {
        uint64_t v = mem_r64(c, linear);
        memcpy(to, &v, 8);
    } else {
        uint32_t v = mem_r32(c, linear);
        memcpy(to, &v, 4);
    }
}

void fpu_store_element(struct jit_cpu *c, uint64_t linear, const uint8_t *from, unsigned size)
{
    if (size == 8)
        mem_w64(c, linear, le64_get(from));
    else
        mem_w32(c, linear, le32_get(from));
}

static bool any_selected(const struct fpu_vec *mask, unsigned bytes, unsigned size)
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
    struct fpu_vec mask, data = {{0}};

    fpu_check_avx(c);
    mask = fpu_vec_get(c, i->vvvv);
    if (any_selected(&mask, bytes, size))
        linear = insn_linear(c, i, bytes, store ? ACC_WRITE : ACC_READ);
    if (store)
        data = fpu_vec_get(c, i->reg);
    for (unsigned k = 0; k < bytes; k += size) {
        if (!(mask.b[k + size - 1] & 0x80))
            continue;
        if (store)
            fpu_probe_write(c, linear + k, size);
        else
            fpu_load_element(c, linear + k, data.b + k, size);
    }
    if (!store) {
        fpu_vec_put(c, i->reg, &data);
        return;
    }
    for (unsigned k = 0; k < bytes; k += size)
        if (mask.b[k + size - 1] & 0x80)
            fpu_store_element(c, linear + k, data.b + k, size);
}

/* ---- gathers ---- */

uint64_t fpu_element_linear(struct jit_cpu *c, const struct insn *i, const struct fpu_vec *index,
                            unsigned n, unsigned size, unsigned access)
{
    int64_t k = i->aux & FPU_AUX_INDEX64 ? (int64_t)le64_get(index->b + 8 * n)
                                         : (int32_t)le32_get(index->b + 4 * n);
    uint64_t off = (uint64_t)(int64_t)i->disp + ((uint64_t)k << i->scale_shift);

    if (i->base != NOREG)
        off += c->st.gpr[i->base];
    if (i->addrsize == 4)
        off = (uint32_t)off;
    return seg_linear(c, i->seg, off, size, access);
}

void fpu_op_gather(struct jit_cpu *c, const struct insn *i)
{
    bool wide_index = i->aux & FPU_AUX_INDEX64;
    unsigned size = i->aux & FPU_AUX_DATA64 ? 8 : 4;
    unsigned count = vec_bytes(i) / (wide_index ? 8 : size);
    struct fpu_vec index, mask, data;

    fpu_check_avx(c);
    if (i->reg == i->vvvv || i->reg == i->index || i->vvvv == i->index)
        cpu_raise(c, EX_UD);
    index = fpu_vec_get(c, i->index);
    mask = fpu_vec_get(c, i->vvvv);
    data = fpu_vec_get(c, i->reg);
    for (unsigned k = 0; k < count; k++) {
        if (mask.b[k * size + size - 1] & 0x80)
            fpu_load_element(c, fpu_element_linear(c, i, &index, k, size, ACC_READ),
                             data.b + k * size, size);
        memset(mask.b + k * size, 0, size);
        fpu_vec_put(c, i->reg, &data);
        fpu_vec_put(c, i->vvvv, &mask);
    }
    memset(mask.b, 0, sizeof(mask.b));
    memset(data.b + count * size, 0, sizeof(data.b) - count * size);
    fpu_vec_put(c, i->reg, &data);
    fpu_vec_put(c, i->vvvv, &mask);
}

/* ---- VZERO ---- */

static unsigned vec_count(const struct jit_cpu *c)
{
    return c->mode == MODE_LONG64 ? 16 : 8;
}

static void clear_upper(struct jit_cpu *c)
{
    memset(c->st.xsave + XS_YMMH, 0, 16 * vec_count(c));
    memset(c->st.xsave + fpu_of(c)->zmmh_at, 0, 32 * vec_count(c));
}

void fpu_op_vzeroupper(struct jit_cpu *c, const struct insn *i)
{
    fpu_check_avx(c);
    clear_upper(c);
}

void fpu_op_vzeroall(struct jit_cpu *c, const struct insn *i)
{
    fpu_check_avx(c);
    clear_upper(c);
    memset(c->st.xsave + XS_XMM, 0, 16 * vec_count(c));
}
