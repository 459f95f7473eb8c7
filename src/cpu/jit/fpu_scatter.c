/* fpu_scatter.c - AVX-512 gathers and scatters: one element after the other from the lowest, with
 * the opmask bit of each cleared when it is done, so that a fault leaves what can be continued
 * (SDM vol.2, VPGATHER and VPSCATTER, EVEX forms). */
#include "fpu.h"

#include <string.h>

struct shape {
    unsigned size, count; /* of data elements */
    unsigned mask_at;     /* the opmask, in st.xsave */
};

static struct shape shape_of(struct jit_cpu *c, const struct insn *i)
{
    unsigned bytes = i->aux & FPU_AUX_L2 ? 64 : i->aux & FPU_AUX_L ? 32 : 16;
    unsigned size = i->aux & FPU_AUX_DATA64 ? 8 : 4;
    unsigned widest = i->aux & (FPU_AUX_DATA64 | FPU_AUX_INDEX64) ? 8 : 4;

    return (struct shape){
        .size = size, .count = bytes / widest, .mask_at = fpu_of(c)->opmask_at + 8u * i->vvvv};
}

static void gather_one(struct jit_cpu *c, const struct insn *i, const struct shape *s,
                       struct fpu_vec *data, uint64_t linear, unsigned k)
{
    fpu_load_element(c, linear, data->b + k * s->size, s->size);
    /* With the first element the bits above the result go, whatever the others do. */
    memset(data->b + s->count * s->size, 0, sizeof(data->b) - s->count * s->size);
    fpu_vec_put(c, i->reg, data);
}

static void each_element(struct jit_cpu *c, const struct insn *i, bool scatter)
{
    struct shape s = shape_of(c, i);
    struct fpu_vec index, data;

    fpu_check_avx512(c);
    if (!scatter && i->reg == i->index)
        cpu_raise(c, EX_UD);
    index = fpu_vec_get(c, i->index);
    data = fpu_vec_get(c, i->reg);
    for (unsigned k = 0; k < s.count; k++) {
        uint64_t mask = xs_get64(c, s.mask_at), linear;

        if (!(mask & BIT64(k)))
            continue;
        linear = fpu_element_linear(c, i, &index, k, s.size, scatter ? ACC_WRITE : ACC_READ);
        if (scatter)
            fpu_store_element(c, linear, data.b + k * s.size, s.size);
        else
            gather_one(c, i, &s, &data, linear, k);
        xs_put64(c, s.mask_at, mask & ~BIT64(k));
    }
    if (!scatter) {
        memset(data.b + s.count * s.size, 0, sizeof(data.b) - s.count * s.size);
        fpu_vec_put(c, i->reg, &data);
    }
    xs_put64(c, s.mask_at, 0);
}

void fpu_op_evex_gather(struct jit_cpu *c, const struct insn *i)
{
    each_element(c, i, false);
}

void fpu_op_evex_scatter(struct jit_cpu *c, const struct insn *i)
{
    each_element(c, i, true);
}
