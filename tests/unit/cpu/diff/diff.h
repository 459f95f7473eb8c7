/* diff.h - the host CPU as oracle for the interpreter: one instruction, the same state, two
 * machines.
 *
 *   diff_gen.c     makes cases: an encoding, registers, flags, FPU state, memory
 *   diff_native.c  runs them on the host CPU in a forked child (sigreturn into the state, single
 *                  step out of it)
 *   diff_guest.c   runs them in the interpreter, on a guest whose page tables look like the child
 *   test_diff.c    compares
 *
 * Single instructions go through the interpreter one at a time; runs of up to RUN_MAX go through
 * its loop as blocks, so that what it keeps between instructions (flags, the x87 unit) is compared
 * too.
 *
 * Both sides see the same linear addresses:
 *
 *     CODE_BASE   1 page   read, execute      the instruction, then INT3s
 *     DATA_BASE   2 pages  read, write
 *                 1 page   read only
 *                 -        nothing
 */
#ifndef TESTS_CPU_DIFF_H
#define TESTS_CPU_DIFF_H

#include "cpu/xsave_layout.h"

#define CODE_BASE  0x10000000ull
#define DATA_BASE  0x20000000ull
#define PAGE       4096u
#define DATA_BYTES (3 * PAGE) /* the third page is read-only */
#define DATA_RW    (2 * PAGE)

#define XS_BYTES   XSAVE_AREA_BYTES
#define RUN_MAX    8    /* instructions of a run */
#define BYTES_MAX  128  /* of them, and some */
#define STEPS_MAX  4096 /* REP iterations and branches to themselves trap one by one */
#define TRAP_NONE  (-1)
#define SEL_CODE64 0x33
#define SEL_CODE32 0x23
#define SEL_DATA   0x2b

struct diff_state {
    uint64_t gpr[16], rip, rflags;
    uint8_t xsave[XS_BYTES] __attribute__((aligned(64)));
};

struct diff_case {
    uint8_t bytes[BYTES_MAX];
    uint8_t len;   /* of all instructions */
    uint8_t count; /* 1, or a run of instructions without branches */
    bool code32;
    uint32_t code_offset; /* of the instruction in its page */
    struct diff_state in;
    uint8_t data[DATA_BYTES];
};

struct diff_result {
    bool done; /* false: the child died or did not stop */
    int trap;  /* TRAP_NONE or the vector */
    uint64_t error, cr2;
    struct diff_state out;
    uint8_t data[DATA_BYTES];
};

/* ---- diff_native.c ---- */
struct diff_native;
struct diff_native *diff_native_new(unsigned max_cases);
void diff_native_free(struct diff_native *n);
struct diff_case *diff_native_cases(struct diff_native *n);
/* Runs cases [0, count); a case that kills the child is marked not done and skipped. */
void diff_native_run(struct diff_native *n, unsigned count);
const struct diff_result *diff_native_results(struct diff_native *n);

/* ---- diff_guest.c ---- */
struct diff_guest;
struct diff_guest *diff_guest_new(const char *accel_options); /* as in -accel jit,... */
void diff_guest_free(struct diff_guest *g);
void diff_guest_run(struct diff_guest *g, const struct diff_case *t, struct diff_result *out);
/* Runs it as a block of the loop, not step by step; not for branches. */
uint64_t diff_guest_direct_pages(const struct diff_guest *g); /* mapped so far */
void diff_guest_run_block(struct diff_guest *g, const struct diff_case *t, struct diff_result *out);

/* ---- diff_gen.c ---- */
/* SET_EVEX: EVEX encodings and opmask instructions. */
enum diff_set { SET_INTEGER = 1, SET_FPU = 2, SET_ALL = 3, SET_EVEX = 4 };
/* XSTATE_BV of the components that both sides have. */
uint64_t diff_components(void);
/* Byte k of vector register n. */
uint8_t *diff_vector_byte(struct diff_state *s, unsigned n, unsigned k);
struct diff_gen;
struct diff_gen *diff_gen_new(uint64_t seed, enum diff_set set, const char *only_mnemonic);
void diff_gen_free(struct diff_gen *g);
void diff_gen_case(struct diff_gen *g, struct diff_case *out);
/* A run of instructions with operands in registers or at fixed addresses. */
void diff_gen_run(struct diff_gen *g, struct diff_case *out);
/* Instructions (mnemonics) seen so far. */
unsigned diff_gen_coverage(const struct diff_gen *g);

#endif
