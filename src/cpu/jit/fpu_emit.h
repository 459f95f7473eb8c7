/* fpu_emit.h - what a stub has to do, and its bytes; private to fpu_emit.c and fpu_stub.c. */
#ifndef CPU_JIT_FPU_EMIT_H
#define CPU_JIT_FPU_EMIT_H

#include "fpu.h"

#include <glib.h>

#define STUB_BYTES                                                                                 \
    384u /* more than the longest: five vector registers, flags, three general ones */

struct stub_gpr {
    uint8_t guest, host;
    bool in, out, narrow; /* narrow: the result is 16 bits */
};

/* All a stub's bytes depend on; compared bytewise, so it is zeroed before it is filled. */
struct stub_plan {
    uint8_t host[16]; /* the instruction, rewritten */
    uint8_t host_len, mandatory;
    /* By register number.  Written registers are stored whole: zmm_out where the guest has AVX-512,
     * because VEX and EVEX forms clear all bits above their result. */
    uint32_t xmm_in, ymm_in, zmm_in, xmm_out, ymm_out, zmm_out;
    uint8_t mask_in, mask_out; /* k registers */
    bool flags_in, flags_out, x87, is4;
    uint8_t gpr_count;
    struct stub_gpr gpr[3];
};

bool fpu_plan(struct stub_plan *s, const struct decode_ctx *d); /* false: cannot be done */
unsigned fpu_emit(const struct stub_plan *s, uint8_t *out);     /* bytes written, <= STUB_BYTES */

#endif
