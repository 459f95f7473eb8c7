/* shape.h - decoded instructions remembered by shape, so that most new code is decoded without
 * Zydis.
 *
 * The SHAPE of an instruction is all of its bytes but the displacement and the immediate, with the
 * mode_key it was read under.  A struct insn that Zydis and the selectors have made once is the
 * template for every later instruction of that shape: copied, with disp, imm and bytes put in.
 *
 * RULES
 *  1. A selector may look at the decoded operands, mode_key and the guest's CPUID, which never
 *     changes while the vcpu exists; at the value of a displacement or of an immediate only where
 *     shape_of keeps those bytes in the shape (it does for all of maps 0F, 0F38 and 0F3A but
 *     branches, double shifts and bit tests, because host stubs contain the immediate).
 *  2. What shape_of cannot place for certain, and what no selector took, is never remembered.
 *  3. A template enters only when Zydis puts disp and imm where shape_of does.  Both read that from
 *     bytes in the shape, so what held for the template holds for all that match it.
 *
 * Threads: a memo belongs to one vcpu's thread.  Where jit_cpu.shapes is NULL all is decoded anew.
 */
#ifndef CPU_JIT_SHAPE_H
#define CPU_JIT_SHAPE_H

#include "decode.h"
#include "op.h"

struct shape {
    bool known;                 /* false: one that is not remembered; nothing else is filled then */
    bool moffs;                 /* the displacement is imm too */
    uint8_t disp_at, disp_size; /* bytes to put in; size 0: none */
    uint8_t imm_at, imm_size;
    uint8_t len;
    uint32_t mode_key;
    uint64_t bytes[2]; /* of the instruction, then zeroes */
    uint64_t key[2];   /* the same, zero where disp and imm are */
};
void shape_of(struct shape *s, uint32_t mode_key, const struct fetch *f);

struct shape_memo;
struct shape_memo *shape_memo_new(void);
void shape_memo_free(struct shape_memo *m);
/* Makes *out from the template for what f begins with. False: none; *s is for shape_memo_put. */
bool shape_memo_get(struct shape_memo *m, uint32_t mode_key, const struct fetch *f, struct shape *s,
                    struct insn *out);
/* What Zydis and a selector made of it. */
void shape_memo_put(struct shape_memo *m, const struct shape *s, const ZydisDecodedInstruction *z,
                    const struct insn *in);

struct shape_stats {
    uint64_t hits, misses; /* misses: also what cannot be remembered */
    unsigned templates;
};
struct shape_stats shape_memo_stats(const struct shape_memo *m);

#endif
