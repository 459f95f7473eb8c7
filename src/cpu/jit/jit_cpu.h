/* jit_cpu.h - the software CPU's own view of one vcpu, shared by decode, interp, mmu, system and
 * fpu.
 *
 *   fetch (icache by physical page) -> struct insn -> handler -> next
 *
 * The interpreter is the reference for the translator: handlers are plain functions over struct
 * jit_cpu and one decoded instruction.  Files: decode.c      bytes -> struct insn (Zydis), operand
 * forms, icache per physical page interp.c      the loop: runs insns, takes events at block ends
 *   op_*.c        integer handlers                      sys_*.c   privileged and control-transfer
 * handlers fpu_*.c       x87/MMX/SSE/AVX on the host's own     mmu.c     page walk, TLB, slow-path
 * memory access
 *
 * RULES FOR HANDLERS
 *  1. On entry st.rip is the address of the NEXT instruction; cur is the insn being executed.
 *  2. Faults leave by cpu_raise()/cpu_raise_error()/cpu_page_fault(), which never return (longjmp
 * to the loop, which rewinds st.rip to cur's start).  So do all memory accesses before changing any
 * register: an instruction that faults must have changed nothing (REP strings: completed iterations
 * stay).
 *  3. A handler that may change mode, CS, paging, or the bytes being executed is selected with
 * ends_block.
 *  4. Flags: st.rflags is always complete and eager (computed on the host: same ISA, same undefined
 * bits).
 *  5. Guest memory only through the mem_* functions below. */
#ifndef CPU_JIT_CPU_H
#define CPU_JIT_CPU_H

#include "accel.h"
#include "base/util.h"
#include "mem/guest_mem.h"

#include <setjmp.h>

struct jit_cpu;
struct insn;
typedef void op_fn(struct jit_cpu *c, const struct insn *i);

#define NOREG 0xff

/* mode_key: all that decoding depends on.  Bits 2:0 are enum cpu_mode. */
enum {
    KEY_MODE_MASK = 7,
    KEY_CS32 = 8,  /* CS.D */
    KEY_SS32 = 16, /* SS.B */
    KEY_FLAT = 32, /* not in long mode: CS, DS, ES and SS all have base 0, limit 4 GiB - 1, grow up,
                      are present and (but CS) writable */
    KEY_CSZERO = 64 /* CS.base is 0 (always set in 64-bit mode) */
};

/* One decoded instruction, 64 bytes at most.  Immutable once published. */
struct insn {
    op_fn *fn;
    int64_t imm;  /* immediate, sign-extended; near branch: displacement; far: offset */
    int32_t disp; /* memory displacement (moffs: see imm) */
    uint8_t base, index, scale_shift, seg; /* memory operand: NOREG, 0..15, 16 = RIP-relative base;
                                              seg = SEG_x already defaulted */
    uint8_t reg, rm, vvvv; /* register operands: ModRM.reg, ModRM.rm (or the opcode's), VEX.vvvv;
                              with REX bits; 8-bit high registers are 16..19 (AH CH DH BH).
                              op_select_int reorders them to destination, source for its own */
    uint8_t len;           /* bytes, 1..15 */
    uint8_t opsize;        /* 1, 2, 4, 8 (effective operand size) */
    uint8_t addrsize;      /* 2, 4, 8 */
    uint8_t flags;         /* INSN_* */
    uint8_t aux;           /* handler's own: condition code, shift kind, imm8, selector... */
    uint16_t mnemonic;     /* ZydisMnemonic, for traces and the translator */
    uint8_t rep;           /* 0, 0xf2, 0xf3 */
    uint8_t bytes[15];     /* raw encoding: fpu_* patches and executes it; logs print it */
    uint16_t off;          /* decode.c: bytes from the start of the block */
    int32_t plain;         /* decode.c: what the selector returned, relative to op_select_int */
    void *priv;            /* fpu: the host stub for this encoding; branches: the block */
};
enum {
    INSN_MEM = 1, /* has a memory operand */
    INSN_LOCK = 2,
    INSN_END = 4, /* last of its block: rip/mode may be anything after it */
    INSN_STACK32 = 8,
    /* the memory operand's address needs no segment: base (may be NOREG with EA32), index, disp */
    INSN_EA64 = 16,   /* 64-bit [base + index + disp] */
    INSN_EA32 = 32,   /* 32-bit, in a flat segment outside long mode */
    INSN_EA_RIP = 64, /* 64-bit RIP-relative */
    INSN_FPU = 128    /* runs on the host's own units: priv is its struct fpu_op */
};

/* While decoding: what a selector needs. op_select_* return the handler or NULL ("not mine"). */
struct decode_ctx;
typedef op_fn *op_select_fn(struct decode_ctx *d);
op_select_fn op_select_int, op_select_sys, op_select_fpu;

/* The TLB: three tables for each permission context, indexed by the low bits of the linear page.
 * What an access needs is 16 bytes, so that translated code gets there with one index; the rest of
 * a translation is kept beside it, for whoever fills or flushes.  A tag that matches nothing is
 * tlb_none(), which is 0 nearly everywhere: tables that were never touched cost no memory. */
struct tlb_hot {
    uint64_t tag;   /* linear page */
    uintptr_t host; /* of the page's first byte; RAM and ROM only */
};
struct tlb_page {
    uint64_t tag; /* linear page this slot is about, or tlb_none() */
    uint64_t phys_page;
    const struct guest_region *region;
    uint64_t
        slow_wtag;  /* a store is permitted, but takes the slow path: dirty log, code page, ROM */
    uint32_t flags; /* TLB_* of mmu.c */
    uint32_t page_shift;
};
struct tlb_exec {
    uint64_t tag;
    uintptr_t host;
    const struct guest_region *region;
    uint64_t phys_page;
    uint32_t flags;
};
#define TLB_BITS      16
#define TLB_SIZE      (1u << TLB_BITS)
#define TLB_EXEC_BITS 16
#define TLB_EXEC_SIZE (1u << TLB_EXEC_BITS)
#define TLB_CONTEXTS  4          /* see mmu.c; c->tlb_ctx says which */
#define TLB_WRITERS   (1u << 18) /* host pages that are told apart, see mmu.c */
struct tlb_log {
    uint32_t count;
    uint32_t slot[TLB_SIZE];
};
struct tlb_exec_log {
    uint32_t count;
    uint16_t slot[TLB_EXEC_SIZE];
};
struct tlb_ctx {
    struct tlb_hot stack; /* translated code: the page that the stack is in, writable */
    struct tlb_exec exec[TLB_EXEC_SIZE];
    uint32_t exec_id[TLB_EXEC_SIZE];    /* exec's page numbers (tr_cache.c); 0: not asked for */
    uint16_t exec_place[TLB_EXEC_SIZE]; /* and places (tr_place.c); 0: none */
    struct tr_place *place;             /* table of these; NULL without a translator */
    struct tlb_hot rd[TLB_SIZE], wr[TLB_SIZE];
    struct tlb_page page[TLB_SIZE];
    struct tlb_log log[2]; /* slots in use since the last flush: 0 any page, 1 global pages */
    uint16_t writer[TLB_WRITERS];    /* slot of the entry in wr that a host page has */
    struct tlb_exec_log exec_log[2]; /* the same for exec */
};

/* Where a page of code that runs at any address is now (tr_place.c); translated code reads it. */
struct tr_place {
    uint64_t base;  /* linear */
    uint64_t minus; /* -base while the exec TLB has it there, else 1 */
    uint64_t host;  /* base in direct memory (direct.h) */
};
#define PLACE_GONE 1u /* as minus */

struct icache;
struct block;
struct tr_cache;
struct cosim;

/* direct.h: linear addresses are cut into chunks of 1 TiB, by bits 47:40; the upper half is never
 * mapped. */
#define DIRECT_CHUNK_SHIFT 40
#define DIRECT_CHUNKS      256u
/* Kinds of chunks: of the stack and libraries; of position-independent programs; the lowest, of
 * others; the first kind with these. */
enum { DIRECT_HIGH, DIRECT_PROGRAM, DIRECT_LOW, DIRECT_STACK, DIRECT_CLASSES };
/* What translated code reads and writes at fixed addresses; see tr.h.  Vcpu's thread only, but for
 * `go`, which any thread may clear. */
struct tr_state {
    uint32_t go;          /* 0: translated code leaves at its next poll */
    uint8_t vec_live;     /* vector registers and MXCSR are the guest's, st.xsave is stale */
    uint8_t vec_was_live; /* across a call into C */
    bool bail;            /* the next instruction is the interpreter's */
    bool direct;          /* user code finds memory by delta (direct.h), not by the TLB */
    bool left;            /* it came out by a jump to st.rip, through link */
    uint32_t link;        /* number of the link that was left through; 0: an indirect branch */
    uint64_t ret_sp;      /* stack of return addresses (tr_glue.c) */
    uint64_t ret_other;   /* the other one: kernel and user have one each */
    bool ret_kernel;      /* ret_sp is the kernel's */
    uint64_t c_sp;        /* C's stack */
    uint64_t code;        /* where to go in */
    uint64_t keep[4];
    uint64_t value;     /* across a probe: what is pushed */
    uint64_t target;    /* of a call that leaves */
    uint64_t callee;    /* the host address that is called */
    uint64_t caller_pc; /* what has called into C */
    uint64_t fault_pc;  /* non-zero: it left here because of the instruction in desc */
    uint32_t desc;
    /* Of XSAVE: the components in vector registers; that one, or with UNIT_AVX512 all there are. */
    uint32_t vec_mask, vec_basic, vec_all;
    uint32_t xstate_bv; /* XSTATE_BV of a complete image */
    uint32_t mxcsr_plain;
    uint8_t bounce[64] __attribute__((aligned(64)));
    uint64_t delta[256];           /* host address minus linear one, by bits 47:40 */
    uint8_t chunk[DIRECT_CLASSES]; /* bits 47:40; of absent ones what cannot do harm */
    uint8_t classes;               /* bits: those that are there */
    uint64_t stack_delta;          /* of DIRECT_STACK; that of the others is GS.base */
    /* Where translated code relies on RSP to be: the class, or DIRECT_CLASSES: nowhere; and by
     * chunk whether it is another one. */
    uint8_t stack_class;
    uint8_t elsewhere[256];
    struct tr_cache *cache;
    uint32_t key[TLB_CONTEXTS]; /* of the code that last ran in a context */
};

struct jit_cpu {
    struct x86_state st; /* live architectural state */

    /* loop */
    const struct insn *cur; /* NULL between instructions: st.rip is exact */
    uint64_t block_rip;     /* of the running block */
    struct block *block;
    struct block *next, **link; /* left by branches for the loop: successor, where to note it */
    uint64_t rmw_buf;           /* see op_rmw_begin */
    uint16_t fl;                /* arithmetic flags inside threaded code, see op.h */
    uintptr_t stack_floor;      /* blocks do not nest beyond here, see op_branch.c */
    uint32_t pauses;            /* PAUSE instructions so far */
    sigjmp_buf fault_jmp;       /* handlers leave here */
    struct vcpu *vcpu;
    struct cpu_set *set;
    struct lapic *lapic;
    struct icache *icache;
    struct shape_memo *shapes; /* shape.h */
    uint64_t instructions;
    uint8_t cpl;             /* cached: st.seg[SEG_SS] DPL rules; set by sys_* on every transfer */
    uint8_t mode;            /* enum cpu_mode */
    uint8_t tlb_ctx;         /* permission context: which TLB; refreshed by cpu_update_mode */
    bool smap_on;            /* CR4.SMAP && !EFLAGS.AC && CPL<3, refreshed by cpu_update_mode */
    uint32_t mode_key;       /* KEY_*: all that decoding depends on; part of the icache key */
    struct tlb_ctx *tlb_now; /* &tlb[context in force], set by cpu_update_mode */
    uint64_t tsc_offset;

    /* events; pending flags may be set from any thread (atomic), consumed by the loop */
    uint32_t pending; /* PENDING_* */
    uint8_t sipi_vector_async;
    bool single;   /* set by cpu_take_events: run exactly one insn, then call it again */
    bool in_guest; /* atomic: this thread may touch guest memory through its TLB */
    bool x87_live; /* x87 and MMX registers are in the host's unit; st.xsave's copy is stale */
    uint8_t units; /* UNIT_*: which instructions CR0, CR4 and XCR0 let run; part of tr_key() */

    /* what cpu_raise* left for the loop to hand to cpu_deliver */
    struct {
        uint32_t error;
        uint8_t vector;
        bool has_error;
    } fault;
    /* delivery of a fault in progress: double and triple faults */
    int delivering_vector; /* -1: none */

    void *fpu; /* fpu_*: host save area etc. */
    void *sys; /* sys_*: steal time, debug, ... */

    struct direct *direct; /* direct.h; NULL where there is none */
    struct cosim *cosim;   /* cosim=on: the translator's checker (cosim.h), else NULL */
    bool running_ahead;    /* the checker's interpreter runs: memory is not to be changed */

    struct tr_state tr; /* what translated code and its glue keep here; see tr.h */
    struct tlb_ctx tlb[TLB_CONTEXTS];
};
enum {
    PENDING_KICK = 1, /* lapic_pending() may say something */
    PENDING_NMI = 2,
    PENDING_SMI = 4,
    PENDING_INIT = 8,
    PENDING_SIPI = 16,
    PENDING_TLB_FLUSH =
        32, /* another thread wants this vcpu's TLB empty (map or dirty-log change) */
    PENDING_STOP = 64,
    PENDING_UNHALT = 512, /* KVM_HC_KICK_CPU ends a HLT without an interrupt */
    PENDING_CODE = 256,   /* icache.c: another thread wrote to decoded code; the loop takes it */
    PENDING_STEP = 128, /* own thread only: TF, RF, interrupt shadow or DR7 want cpu_take_events */
};
enum { UNIT_X87 = 1, UNIT_MMX = 2, UNIT_SSE = 4, UNIT_AVX = 8, UNIT_AVX512 = 16 };
enum cpu_mode { MODE_REAL, MODE_VM86, MODE_PROT16, MODE_PROT32, MODE_COMPAT, MODE_LONG64 };

enum {
    EX_DE,
    EX_DB,
    EX_NMI,
    EX_BP,
    EX_OF,
    EX_BR,
    EX_UD,
    EX_NM,
    EX_DF,
    EX_TS = 10,
    EX_NP,
    EX_SS,
    EX_GP,
    EX_PF,
    EX_MF = 16,
    EX_AC,
    EX_MC,
    EX_XM,
    EX_CP = 21
};
#define FL_CF    1u
#define FL_PF    4u
#define FL_AF    16u
#define FL_ZF    64u
#define FL_SF    128u
#define FL_TF    256u
#define FL_IF    512u
#define FL_DF    1024u
#define FL_OF    2048u
#define FL_IOPL  0x3000u
#define FL_NT    0x4000u
#define FL_RF    0x10000u
#define FL_VM    0x20000u
#define FL_AC    0x40000u
#define FL_VIF   0x80000u
#define FL_VIP   0x100000u
#define FL_ID    0x200000u
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

/* ---- sys_exception.c: faults, never return ---- */
_Noreturn void cpu_raise(struct jit_cpu *c, uint8_t vector); /* no error code */
_Noreturn void cpu_raise_error(struct jit_cpu *c, uint8_t vector, uint32_t error);
_Noreturn void cpu_page_fault(struct jit_cpu *c, uint64_t linear, uint32_t error);
/* Leaves the running instruction undone; it runs again after pending events (interp.c). */
_Noreturn void cpu_restart(struct jit_cpu *c);
/* Delivers through the IDT/IVT now (loop context; may itself fault -> double -> triple).
 * kind: what the architecture distinguishes when pushing RIP and checking DPL. */
enum event_kind { EV_EXCEPTION, EV_INTERRUPT, EV_NMI, EV_SOFT_INT, EV_ICEBP };
bool cpu_deliver(struct jit_cpu *c, uint8_t vector, bool has_error, uint32_t error,
                 enum event_kind kind); /* false: triple fault */
/* Takes what is pending and deliverable (SMI, NMI, INIT, interrupt, single-step).
 * THE LOOP: at every block end `if (c->pending)` call it; when it returns anything but
 * VCPU_EXIT_NONE, or vcpu->exit_request is set, return that from interp_run; when c->single is set
 * afterwards run exactly ONE instruction (one REP iteration counts as part of it) and call it
 * again.  After longjmp to fault_jmp: rewind st.rip to cur's start, then cpu_deliver(c,
 * c->fault.vector, c->fault.has_error, c->fault.error, EV_EXCEPTION); false = VCPU_EXIT_SHUTDOWN.
 * Long REPs look at c->pending now and then and leave with st.rip on themselves. */
enum vcpu_exit cpu_take_events(struct jit_cpu *c);
/* STI (1), MOV SS / POP SS (2): no interrupts until the next instruction has run. */
void cpu_set_shadow(struct jit_cpu *c, uint8_t kind);
/* Recomputes cpl, mode, mode_key (KEY_*), tlb_now, smap_on after CR0/CR4/EFER/CS/SS/EFLAGS changes
 * and, outside long mode, after loads of DS and ES (KEY_FLAT). */
void cpu_update_mode(struct jit_cpu *c);

/* ---- mmu.c: paging ---- */
enum access { ACC_READ = 0, ACC_WRITE = 1, ACC_EXEC = 2 };
#define ACC_IMPLICIT_SUPERVISOR                                                                    \
    4 /* descriptor tables, TSS, page-fault delivery pushes: CPL 0 rules */
/* Linear -> physical with all checks; raises #PF.  Fills the TLB. */
gpa_t mmu_translate(struct jit_cpu *c, uint64_t linear, unsigned access);
/* Fills the TLB where that changes and raises nothing and costs little; false: mmu_translate. */
bool mmu_fill_quick(struct jit_cpu *c, uint64_t linear, unsigned access);
/* The same without raising (debuggers, traces); false when not mapped. */
bool mmu_probe(struct jit_cpu *c, uint64_t linear, unsigned access, gpa_t *out);
bool mmu_is_apic_page(const struct jit_cpu *c, uint64_t phys);
/* May stores go to a page of RAM without a look?  From now on who forbids it asks this vcpu. */
bool mmu_may_write(struct jit_cpu *c, const struct guest_region *r, uint64_t offset);
void mmu_flush_all(struct jit_cpu *c);       /* incl. global */
void mmu_flush_nonglobal(struct jit_cpu *c); /* CR3 write */
void mmu_flush_page(struct jit_cpu *c, uint64_t linear);
/* The code that runs in a context has another mode_key now: its code pages have other numbers. */
/* One page of code has no number any more, and its place does not say that it is there. */
void mmu_exec_number_forget(struct tlb_ctx *t, unsigned slot);
void mmu_flush_exec_ids(struct jit_cpu *c, unsigned ctx);
bool mmu_pdptrs_load(struct jit_cpu *c); /* PAE CR3 write; false: #GP */

/* Slow paths: any alignment, page crossing, MMIO, ROM, dirty log, code pages. */
void mmu_read_slow(struct jit_cpu *c, uint64_t linear, void *buf, unsigned len, unsigned access);
void mmu_write_slow(struct jit_cpu *c, uint64_t linear, const void *buf, unsigned len,
                    unsigned access);
/* A host pointer to len bytes at linear that may be used for read-modify-write with host LOCK
 * instructions: one page, RAM, writable, dirty/code already handled; NULL when the slow
 * (all-vcpus-stopped) way is needed. */
void *mmu_rmw_ptr(struct jit_cpu *c, uint64_t linear, unsigned len);
/* Before the icache reads a page's bytes for the first time, it
 *   takes the lock, enters the page into its table, calls mmu_code_mark() and gives the lock back;
 *   when that said false, it calls mmu_code_revoke(), which waits for the others' acknowledgement.
 * From then on each store to the page is followed by icache_invalidate() for every vcpu.  True says
 * that the bit was set and nobody is still waiting for revoked entries, of this page or another: a
 * bit alone could be one that a third vcpu with a writable entry does not yet know of.
 * Under the same lock a code bit is cleared, after a look into every vcpu's table. */
void mmu_code_lock(struct jit_cpu *c);
void mmu_code_unlock(struct jit_cpu *c);
bool mmu_code_mark(struct jit_cpu *c, const struct guest_region *r, uint64_t offset);
void mmu_code_revoke(struct jit_cpu *c, const struct guest_region *r, uint64_t offset);
/* Runs fn with every other vcpu stopped (split locks, MMIO locks, cross-page cmpxchg16b). */
void cpu_exclusive(struct jit_cpu *c, void (*fn)(struct jit_cpu *c, void *arg), void *arg);

static inline unsigned tlb_index(uint64_t linear)
{
    return (linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1);
}
static inline unsigned tlb_exec_index(uint64_t linear)
{
    return (linear >> GUEST_PAGE_SHIFT) & (TLB_EXEC_SIZE - 1);
}
static inline struct tlb_exec *tlb_exec_slot(struct jit_cpu *c, uint64_t linear)
{
    return &c->tlb_now->exec[tlb_exec_index(linear)];
}
/* What a tag holds that matches no address: a page that lives in another slot. */
static inline uint64_t tlb_none(unsigned slot)
{
    return slot ? 0 : GUEST_PAGE_SIZE;
}
/* One comparison for page and crossing: linear - tag is the offset in the page when they agree. */
#define TLB_COVERS(tag, linear, size) (((linear) - (tag)) <= GUEST_PAGE_SIZE - (size))

/* Guest operands have any alignment. */
typedef uint8_t mem_u8;
typedef uint16_t mem_u16 __attribute__((aligned(1), may_alias));
typedef uint32_t mem_u32 __attribute__((aligned(1), may_alias));
typedef uint64_t mem_u64 __attribute__((aligned(1), may_alias));

#define MEM_ACCESSORS(bits)                                                                        \
    static inline uint##bits##_t mem_r##bits(struct jit_cpu *c, uint64_t lin)                      \
    {                                                                                              \
        const struct tlb_hot *e = &c->tlb_now->rd[tlb_index(lin)];                                 \
        uint##bits##_t v;                                                                          \
        if (likely(TLB_COVERS(e->tag, lin, sizeof(v))))                                            \
            return *(volatile mem_u##bits *)(lin - e->tag + e->host);                              \
        mmu_read_slow(c, lin, &v, sizeof(v), ACC_READ);                                            \
        return v;                                                                                  \
    }                                                                                              \
    static inline void mem_w##bits(struct jit_cpu *c, uint64_t lin, uint##bits##_t v)              \
    {                                                                                              \
        const struct tlb_hot *e = &c->tlb_now->wr[tlb_index(lin)];                                 \
        if (likely(TLB_COVERS(e->tag, lin, sizeof(v))))                                            \
            *(volatile mem_u##bits *)(lin - e->tag + e->host) = v;                                 \
        else                                                                                       \
            mmu_write_slow(c, lin, &v, sizeof(v), ACC_WRITE);                                      \
    }
MEM_ACCESSORS(8)
MEM_ACCESSORS(16)
MEM_ACCESSORS(32)
MEM_ACCESSORS(64)

/* Effective address -> linear with segment checks (limit, type, canonical: #GP or #SS).
 * decode-independent slow form; interp has the inlined fast form for flat segments. */
uint64_t seg_linear(struct jit_cpu *c, unsigned seg, uint64_t offset, unsigned len,
                    unsigned access);
uint64_t insn_ea(struct jit_cpu *c, const struct insn *i); /* offset within the segment */
uint64_t insn_linear(struct jit_cpu *c, const struct insn *i, unsigned len, unsigned access);

/* Stack in the current stack size (SS.B / long mode); checks then commits: push faults change
 * nothing. */
void stack_push(struct jit_cpu *c, uint64_t v, unsigned size);
uint64_t stack_pop(struct jit_cpu *c, unsigned size);

/* ---- op_*.c / sys_*.c shared by name ---- */
void sys_load_seg(struct jit_cpu *c, unsigned seg,
                  uint16_t sel); /* MOV/POP/Lxx Sreg: all checks, faults */
bool sys_io_allowed(struct jit_cpu *c, uint16_t port, unsigned size); /* IOPL, TSS bitmap */
void sys_cpuid(struct jit_cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
bool sys_has(struct jit_cpu *c, enum cpuid_word w, unsigned bit); /* guest CPUID has the feature */
uint64_t sys_tsc(struct jit_cpu *c);

/* ---- fpu_*.c ---- */
void fpu_cpu_init(struct jit_cpu *c);
void fpu_cpu_fini(struct jit_cpu *c);
/* Guest FPU registers live in st.xsave between handlers unless fpu_live (see fpu.c); these make it
 * so. */
void fpu_sync_to_state(struct jit_cpu *c);
/* The same for a state that leaves this accelerator: XSTATE_BV names only what is in use, so that
 * another one which lacks a component takes it. */
void fpu_export_state(struct jit_cpu *c);
void fpu_sync_from_state(struct jit_cpu *c);

/* ---- interp.c / decode.c ---- */
enum vcpu_exit interp_run(struct jit_cpu *c);
/* One instruction without events and delivery: the vector it raised (details in c->fault; rip is on
 * it again) or -1. */
int interp_step(struct jit_cpu *c);
/* Runs until an exit is asked for (-1) or something faults (the same as interp_step's answer). */
int interp_run_to_fault(struct jit_cpu *c);
struct icache *icache_new(struct jit_cpu *c);
void icache_free(struct icache *ic);
void icache_flush(struct jit_cpu *c); /* everything of this vcpu */
/* Bytes [offset, offset+len) of r have changed: drop c's instructions that overlap them.  Called by
 * the mmu (any vcpu's thread) and for device writes (any thread) once per vcpu; when c is the
 * caller itself its running block ends after the current instruction.  True when c still holds code
 * in a page that was touched (then the region's code bit stays). */
bool icache_invalidate(struct jit_cpu *c, const struct guest_region *r, uint64_t offset,
                       uint64_t len);
/* c has stored to a code page in which no vcpu holds code: its code bit may go, if that is still so
 * between blocks. */
void icache_retire(struct jit_cpu *c, const struct guest_region *r, uint64_t offset);

#endif
