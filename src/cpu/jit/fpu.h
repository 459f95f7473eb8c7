/* fpu.h - x87, MMX, SSE and AVX on the host's own units; private to fpu_*.c.
 *
 *   decode:  op_select_fpu -> rule table (fpu_table.c) -> struct fpu_op with a host stub
 * (fpu_stub.c) run:     checks (#UD #NM) -> memory operand to a host pointer -> stub -> store what
 * a slow page needs
 *
 * A stub is the guest's instruction with its memory operand rewritten to (%rsi) and its general
 * register to %rax, between loads and stores of just the vector registers it names.
 *
 * RULES
 *  1. XMM/YMM registers live in st.xsave between instructions.  The x87/MMX registers stay in the
 *     host's x87 unit while c->x87_live (C code of this program uses no long double and no MMX);
 *     their copy in st.xsave is stale then, except FOP/FIP/FDP, which are always tracked there.
 *     fpu_sync_to_state() ends that; interp_run() calls it before it returns.
 *  2. Host MXCSR outside a stub always has the default control bits; its sticky flags may be
 * anything.
 *  3. A stub may take SIGFPE (unmasked guest exception): the handler makes it return the trap
 * number. It can take no other signal: operands are checked first and features are the host's.
 *  4. Default deny: what is not in the rule table is not executed. */
#ifndef CPU_JIT_FPU_H
#define CPU_JIT_FPU_H

#include "sys.h"

#include "bus/irq.h"

#define XS_FCW       0
#define XS_FSW       2
#define XS_FTW       4
#define XS_FOP       6
#define XS_FIP       8
#define XS_FDP       16
#define XS_MXCSR     24
#define XS_MXCSRMASK 28
#define XS_ST        32
#define XS_XMM       160
#define XS_HEADER    512
#define XS_XCOMP     520
#define XS_YMMH      576
#define XS_LEGACY    512

#define XF_X87  1u
#define XF_SSE  2u
#define XF_AVX  4u
#define XF_PKRU (1u << 9)

#define XF_OPMASK_BIT 5
#define XF_HI16_BIT   7
#define XF_PKRU_BIT   9

#define FSW_ES 0x80u

#define MXCSR_DEFAULT 0x1f80u
#define MXCSR_CONTROL 0xffc0u
#define MXCSR_MM      (1u << 17)

enum {
    FPU_READ = 1,      /* reads its memory operand */
    FPU_WRITE = 2,     /* writes it */
    FPU_MXCSR = 4,     /* depends on MXCSR or sets its flags */
    FPU_X87 = 8,       /* needs the x87/MMX registers in the host unit */
    FPU_POINTERS = 16, /* x87 instruction that sets FIP/FDP/FOP */
    FPU_LOADS_CW = 32, /* FLDCW */
    FPU_UNIT_X87 = 64, /* which of the #UD/#NM rules apply */
    FPU_UNIT_MMX = 128,
    FPU_UNIT_SSE = 256,
    FPU_UNIT_AVX = 512,
    FPU_NO_WAIT = 1024, /* FN... forms: pending exceptions do not matter */
    FPU_FLAGS = 2048,   /* reads or writes the arithmetic flags */
    FPU_UNIT_AVX512 = 4096,
    FPU_MASKED = 8192, /* its memory operand is under an opmask */
};

typedef uint64_t fpu_stub_fn(struct jit_cpu *c, void *mem);

enum fpu_align {
    FPU_ALIGN_ALWAYS, /* #GP (MOVAPS and kin) */
    FPU_ALIGN_MM,     /* #GP unless MXCSR.MM lifts it */
    FPU_ALIGN_NEVER,  /* implementations differ (SHA): works */
};

/* How an opmask chooses among the elements of a memory operand (SDM vol.2 §2.7.5). */
enum fpu_mask_use {
    FPU_MASK_DIRECT, /* bit n is for element n */
    FPU_MASK_REPEAT, /* elements are broadcast: several bits for each */
    FPU_MASK_PACKED, /* compress, expand: as many elements as there are bits */
};
struct fpu_mask {
    uint8_t reg;         /* k1 to k7; 0: not masked */
    uint8_t use;         /* enum fpu_mask_use */
    uint8_t unit, count; /* bytes of a memory element, how many there are */
    uint8_t bits;        /* of the mask that count */
    bool faults;         /* masked-out elements fault all the same */
};

/* One host stub; immutable and shared by all vcpus; lives as long as the code area. */
struct fpu_op {
    fpu_stub_fn *code;
    uint16_t flags;
    uint16_t fop;
    uint8_t size;       /* of the memory operand */
    uint8_t align_mask; /* the host's instruction wants these address bits clear */
    uint8_t align;      /* enum fpu_align: what the guest is told when they are not */
    struct fpu_mask mask;
};

struct fpu {
    bool x87_unmasked; /* guest FCW lets some exception through: look for pending ones */
    uint16_t fcs, fds; /* selectors that go with FIP/FDP */
    bool ferr;         /* CR0.NE=0 and an exception waits: IRQ13 is up */
    struct irq_line ferr_line;
    uint32_t mxcsr_mask;
    uint64_t components;                  /* XSTATE_BV of all this guest can have */
    unsigned opmask_at, zmmh_at, hi16_at; /* in st.xsave */
    uint8_t scratch[64 + 16] __attribute__((aligned(64)));
    uint8_t area[512] __attribute__((aligned(64))); /* FXSAVE/FXRSTOR image for the host unit */
    size_t slot; /* this vcpu's own stub, for when the area is full */
};

static inline struct fpu *fpu_of(struct jit_cpu *c)
{
    return c->fpu;
}
static inline uint16_t xs_get16(const struct jit_cpu *c, unsigned off)
{
    uint16_t v;
    __builtin_memcpy(&v, c->st.xsave + off, 2);
    return v;
}
static inline uint32_t xs_get32(const struct jit_cpu *c, unsigned off)
{
    uint32_t v;
    __builtin_memcpy(&v, c->st.xsave + off, 4);
    return v;
}
static inline uint64_t xs_get64(const struct jit_cpu *c, unsigned off)
{
    uint64_t v;
    __builtin_memcpy(&v, c->st.xsave + off, 8);
    return v;
}
static inline void xs_put16(struct jit_cpu *c, unsigned off, uint16_t v)
{
    __builtin_memcpy(c->st.xsave + off, &v, 2);
}
static inline void xs_put32(struct jit_cpu *c, unsigned off, uint32_t v)
{
    __builtin_memcpy(c->st.xsave + off, &v, 4);
}
static inline void xs_put64(struct jit_cpu *c, unsigned off, uint64_t v)
{
    __builtin_memcpy(c->st.xsave + off, &v, 8);
}

/* ---- fpu.c ---- */
/* #UD and #NM by the control registers (SDM vol.3 §2.5, table 10-1) */
static inline void fpu_check_x87(struct jit_cpu *c)
{
    if (unlikely(c->st.cr0 & (CR0_EM | CR0_TS)))
        cpu_raise(c, EX_NM);
}

static inline void fpu_check_mmx(struct jit_cpu *c)
{
    if (unlikely(c->st.cr0 & CR0_EM))
        cpu_raise(c, EX_UD);
    if (unlikely(c->st.cr0 & CR0_TS))
        cpu_raise(c, EX_NM);
}

static inline void fpu_check_sse(struct jit_cpu *c)
{
    if (unlikely((c->st.cr0 & CR0_EM) || !(c->st.cr4 & CR4_OSFXSR)))
        cpu_raise(c, EX_UD);
    if (unlikely(c->st.cr0 & CR0_TS))
        cpu_raise(c, EX_NM);
}

static inline void fpu_check_avx(struct jit_cpu *c)
{
    if (unlikely(!(c->st.cr4 & CR4_OSXSAVE) ||
                 (c->st.xcr0 & (XF_SSE | XF_AVX)) != (XF_SSE | XF_AVX)))
        cpu_raise(c, EX_UD);
    if (unlikely(c->st.cr0 & CR0_TS))
        cpu_raise(c, EX_NM);
}

static inline void fpu_check_avx512(struct jit_cpu *c)
{
    const uint64_t need = XF_SSE | XF_AVX | XSAVE_AVX512;

    if (unlikely(!(c->st.cr4 & CR4_OSXSAVE) || (c->st.xcr0 & need) != need))
        cpu_raise(c, EX_UD);
    if (unlikely(c->st.cr0 & CR0_TS))
        cpu_raise(c, EX_NM);
}

static inline uint64_t fpu_opmask(struct jit_cpu *c, unsigned n)
{
    return xs_get64(c, fpu_of(c)->opmask_at + 8 * n);
}

void fpu_check_wait(struct jit_cpu *c);  /* a pending x87 exception: #MF or FERR# */
void fpu_settle_ferr(struct jit_cpu *c); /* after what may have cleared the exception */
void fpu_load_live(struct jit_cpu *c);   /* x87 registers to the host unit */

/* ---- fpu_run.c ---- */
void fpu_probe_write(struct jit_cpu *c, uint64_t linear, unsigned len);
op_fn fpu_run_uncached, fpu_op_ud;
/* The handler that runs d->out's stub. */
op_fn *fpu_run_select(struct decode_ctx *d, const struct fpu_op *op);

/* ---- fpu_stub.c ---- */
bool fpu_stub_ref(void); /* the code area exists from the first vcpu to the last */
void fpu_stub_unref(void);
/* The stub for what d decoded (its mnemonic has a native rule). */
enum fpu_stub_result { FPU_STUB_OK, FPU_STUB_FULL, FPU_STUB_IMPOSSIBLE };
enum fpu_stub_result fpu_stub_get(const struct decode_ctx *d, const struct fpu_op **out);
/* The same in the vcpu's own slot, good until its next call. */
bool fpu_stub_build_slot(struct fpu *f, const struct decode_ctx *d, struct fpu_op *out);
size_t fpu_stub_slot_new(void);

/* ---- fpu_table.c ---- */
enum fpu_kind {
    FPU_NATIVE = 1,
    FPU_NATIVE_UNALIGNED, /* legacy form without the 16-byte alignment rule */
    FPU_NATIVE_MXCSR,     /* uses MXCSR though its exception class does not say so */
    FPU_NATIVE_MMX,       /* MMX instruction without an MMX operand */
    FPU_X87_DATA,
    FPU_X87_CONTROL, /* does not wait, does not touch FIP/FDP/FOP */
    FPU_X87_LOAD_CW,
    FPU_EMULATED
};
struct fpu_rule {
    uint8_t kind;
    op_fn *fn; /* FPU_EMULATED */
};
const struct fpu_rule *fpu_rule_find(const ZydisDecodedInstruction *z);
/* Does the guest's CPUID have what this instruction needs? */
bool fpu_feature_ok(struct jit_cpu *c, const ZydisDecodedInstruction *z);

/* ---- fpu_evex.c ---- */
const struct fpu_rule *fpu_rule_find_evex(ZydisMnemonic m);
/* Fills in how the opmask applies to the memory operand; false: it has no opmask. */
bool fpu_mask_plan(struct fpu_mask *out, const struct decode_ctx *d);

/* ---- fpu_x87.c ---- */
op_fn fpu_op_fwait, fpu_op_fninit, fpu_op_fnstenv, fpu_op_fldenv, fpu_op_fnsave, fpu_op_frstor,
    fpu_op_x87_nop;
void fpu_mmx_transition(struct jit_cpu *c); /* on st.xsave: TOP 0, all tags valid */
void fpu_init_x87_area(uint8_t *xsave);
void fpu_x87_replaced(struct jit_cpu *c); /* the control word in st.xsave was written */
void fpu_x87_loaded(struct jit_cpu *c);   /* the whole x87 part came from guest memory */

/* ---- fpu_xsave.c ---- */
op_fn fpu_op_fxsave, fpu_op_fxrstor, fpu_op_ldmxcsr, fpu_op_stmxcsr, fpu_op_xsave, fpu_op_xsaveopt,
    fpu_op_xsavec, fpu_op_xsaves, fpu_op_xrstor, fpu_op_xrstors, fpu_op_xgetbv, fpu_op_xsetbv;

bool fpu_xcr0_valid(struct jit_cpu *c, uint64_t v);

/* ---- fpu_mem.c ---- */
/* insn.aux of emulated instructions. */
enum {
    FPU_AUX_VEX = 1,
    FPU_AUX_L = 2,
    FPU_AUX_W = 4, /* REX.W */
    FPU_AUX_STORE = 8,
    FPU_AUX_DATA64 = 16,
    FPU_AUX_INDEX64 = 32,
    FPU_AUX_L2 = 64, /* EVEX: 512 bits */
    FPU_AUX_EVEX = 128
};
/* A vector register and where its parts are in the state. */
struct fpu_vec {
    uint8_t b[64];
};
struct fpu_vec fpu_vec_get(struct jit_cpu *c, unsigned n);
void fpu_vec_put(struct jit_cpu *c, unsigned n, const struct fpu_vec *v);
void fpu_load_element(struct jit_cpu *c, uint64_t linear, uint8_t *to, unsigned size);
void fpu_store_element(struct jit_cpu *c, uint64_t linear, const uint8_t *from, unsigned size);
/* Linear address of the element that a vector index selects. */
uint64_t fpu_element_linear(struct jit_cpu *c, const struct insn *i, const struct fpu_vec *index,
                            unsigned n, unsigned size, unsigned access);
/* Packs what an emulated handler needs from the decoder into d->out; false: #UD. */
bool fpu_prepare_emulated(struct decode_ctx *d);
op_fn fpu_op_maskmovq, fpu_op_maskmovdqu, fpu_op_vmaskmov, fpu_op_gather, fpu_op_vzeroupper,
    fpu_op_vzeroall;

/* ---- fpu_scatter.c ---- */
op_fn fpu_op_evex_gather, fpu_op_evex_scatter;

#endif
