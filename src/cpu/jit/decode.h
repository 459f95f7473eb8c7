/* decode.h - what selectors see while one instruction is decoded.
 *
 * What they choose is kept for other instructions of the same shape: see shape.h, rule 1. */
#ifndef CPU_JIT_DECODE_H
#define CPU_JIT_DECODE_H

#include "jit_cpu.h"

#include <Zydis/Zydis.h>

struct decode_ctx {
    struct jit_cpu *c;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    struct insn *
        out; /* generic fields (len, opsize, addrsize, memory operand, imm, bytes) already filled */
    enum cpu_mode mode;
    bool ends_block; /* selector sets: the block ends after this instruction */
    bool threaded;   /* op_select_int only: the handler goes on to the next instruction itself and
                        does not want st.rip and cur set (see op.h) */
};

/* Register number as struct insn wants it (AH..BH -> 16..19). */
uint8_t decode_gpr(ZydisRegister r);

#endif
