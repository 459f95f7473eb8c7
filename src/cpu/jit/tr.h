/* tr.h - the translator: warm blocks of decoded instructions become host code.
 *
 *   struct block (icache.c)  --warm-->  tr_translate()  -->  struct tblock in the code cache
 *     tr_scan.c   bytes -> fields, what an instruction reads and writes (tables)
 *     tr_block.c  one block: flag liveness, then one emitter per instruction, exits, entries
 *     tr_direct.c the same in memory that is mapped directly (direct.h)
 *     tr_mem.c    effective addresses and TLB probes       tr_int.c   integer instructions,
 * tr_string.c tr_element.c tr_group.c tr_sys.c tr_flow.c   stack, calls, returns, branches tr_vec.c
 * vector and x87 instructions tr_evex.c   EVEX prefixes apart and together tr_cache.c  the code
 * cache: space, lookup, links, dropping tr_glue.c   the few hand-made routines translated code and
 * C meet in tr_run.c    going in, coming out, misses, faults
 *
 * A block that is dropped or whose page is mapped elsewhere is never entered again, but its bytes
 * stay until the whole cache is emptied, which happens only outside translated code.
 *
 * REGISTERS.  Guest registers live in host registers (tr_reg):
 *   rax rdx rbx rbp rsi r8 r12-r15   themselves (implicit operands: MUL, DIV, CMPXCHG; REX-less AH)
 *   rcx -> r9, rdi -> r10, rsp -> r11
 *   r9 r10 r11                       memory (st.gpr): the ones compilers use least
 * and free for the translator:
 *   rdi (S0)  addresses: needs no REX, so [rdi] goes with AH
 *   rcx (S1)  JRCXZ, the one conditional jump that needs no flags; shift counts
 *   rsp       a real stack, of (guest return address, host return address) pairs
 *
 * FLAGS.  The guest's arithmetic flags are the host's (TR_HOST) or, when an inserted instruction
 * had to clobber them while live, in c->fl (TR_MEM).  A block has an entry for each.
 *
 * FAULTS.  An instruction changes nothing before all that can fault is done.  Whatever is not
 * ordinary (MMIO, a store to code, a page-crossing store, #DE, a misaligned MOVAPS) leaves the
 * state as it was before the instruction and has the interpreter run it: it is exact about
 * everything. */
#ifndef CPU_JIT_TR_H
#define CPU_JIT_TR_H

#include "op.h"
#include "sys.h"

/* Host registers by number. */
enum {
    HR_RAX,
    HR_S1, /* rcx */
    HR_RDX,
    HR_RBX,
    HR_RSP,
    HR_RBP,
    HR_RSI,
    HR_S0, /* rdi */
    HR_R8,
    HR_RCX,     /* r9: the guest's rcx */
    HR_RDI,     /* r10 */
    HR_SP,      /* r11: the guest's rsp */
    HR_MEM = 32 /* not in a register */
};

/* Arithmetic flags, in the translator's own order. */
#define TF_C   1u
#define TF_P   2u
#define TF_A   4u
#define TF_Z   8u
#define TF_S   16u
#define TF_O   32u
#define TF_ALL 63u

enum tr_flags { TR_HOST, TR_MEM };

/* What an opcode is, from the tables of tr_scan.c. */
enum tr_kind {
    TK_INTERP, /* the interpreter runs it */
    TK_SYSTEM, /* it runs it too, and the block ends: anything may be different afterwards */
    TK_MODRM,  /* re-encoded with its operands mapped */
    TK_PLAIN,  /* copied: no operands but registers that stand for themselves */
    TK_ACC_IMM,
    TK_MOV_RI,
    TK_INCDEC32, /* 40..4F outside 64-bit mode */
    TK_XCHG_ACC,
    TK_BSWAP,
    TK_LEA,
    TK_MOFFS,
    TK_SHIFT_CL,
    TK_BT_REG, /* a bit offset in a register reaches beyond a memory operand */
    TK_SREG,   /* a segment register's selector into a general register */
    TK_CMPXCHGB,
    TK_PUSH_R,
    TK_PUSH_I,
    TK_PUSH_M,
    TK_POP_R,
    TK_POP_M,
    TK_LEAVE,
    TK_JCC,
    TK_JMP,
    TK_LOOP, /* LOOP, LOOPE, LOOPNE, JRCXZ */
    TK_JMP_M,
    TK_CALL,
    TK_CALL_M,
    TK_RET,
    TK_NOP,
    TK_VECTOR,
    TK_CLI,
    TK_CLD,
    TK_STD,
    TK_PUSHF,
    TK_LODS,
    TK_STOS,
    TK_MOVS,
    /* Not to be run ahead and then once more (cosim.c). */
    TK_SWAPGS,
    TK_RDTSC,
    /* The last of their block, where tr_sys_ok() says so. */
    TK_STI,
    TK_STAC,
    TK_CLAC,
    TK_POPF,
    TK_CR2, /* read */
};
enum { /* roles of ModRM operands that are general registers or memory */
       ROLE_REG_R = 1,
       ROLE_REG_W = 2,
       ROLE_RM_R = 4,
       ROLE_RM_W = 8,
       ROLE_BYTE = 16, /* both operands are bytes */
       ROLE_RM8 = 32,  /* the r/m operand is a byte, the other is not */
       ROLE_RM16 = 64,
       ROLE_RM32 = 128,
       ROLE_V_R = 256, /* VEX.vvvv is a general register: read, written */
       ROLE_V_W = 512,
};
struct tr_op {
    uint8_t kind;
    uint16_t roles;
    uint8_t reads, writes, maybe; /* flags; maybe: may be left as they were */
};

/* One instruction, taken apart. */
struct tr_insn {
    const struct insn *i;
    struct tr_op op;
    uint8_t index; /* in its block */
    bool keep;     /* C looks at *i later: tr_kept() */
    uint8_t pfx;   /* mandatory or operand-size prefix: 0, 66, F2, F3 */
    bool p66, lock, vex, w, high8;
    uint8_t rex, map, opcode, modrm;
    uint8_t vvvv, vl, vpp;
    bool evex;       /* vex is set too */
    uint8_t evex_p2; /* its last prefix byte */
    bool has_modrm;
    uint8_t reg, rm; /* with REX/VEX/EVEX bits */
    uint8_t size;    /* of general operands, 1 2 4 8 */
    uint8_t imm_len;
    const uint8_t *imm;
    uint8_t live;       /* flags that matter before it */
    uint8_t live_after; /* and after it */
    const struct fpu_op *fpu;
    uint16_t off; /* in the block */
    int16_t at;   /* of the operand, in the range its group has checked (tr_group.c) */
};

/* A way out of a block to a known address. */
struct tr_link {
    uint64_t rip;   /* target, from the place's base */
    uint16_t place; /* of the block, 0: it stays where it is */
    uint16_t form;  /* of the block: TR_KEY_FORM() */
    bool landing;   /* the target's address is in S0 */
    uint32_t
        place_at; /* cross-page with a place: offset of the disp32 of the target's minus, or 0 */
    struct tblock *to; /* linked: its successor in to->in is next_in */
    uint32_t next_in;
    uint32_t site;  /* offset of the rel32 in the cache */
    uint32_t stub;  /* offset of the stub it goes to when not linked */
    uint32_t id_at; /* cross-page: offset of the imm32 to hold the target page's id, or 0 */
    bool id_negated;
    bool from_mem; /* flags are in c->fl */
    bool falls;    /* the target comes right behind: NOPs instead of the jump */
};

struct tr_fault { /* a host instruction that may fault natively */
    uint32_t off; /* from the block's code, also when it was put aside */
    uint8_t insn, flags;
    int16_t sp_by; /* what the stack pointer lacks then */
};

struct tblock {
    uint64_t rip;     /* from the place's base */
    uint32_t key, id; /* id of its page, with a place 1; 0: dropped */
    uint16_t place;   /* 0: it stays where it is */
    struct block *src;
    struct tblock *next;       /* of the same src */
    uint32_t code, end;        /* offsets in the cache */
    uint32_t aside, aside_end; /* of what was put aside */
    uint32_t entry_host, entry_mem;
    uint32_t in; /* links that come here */
    uint8_t count;
    uint8_t ahead;  /* cosim.c: 1 + instructions that may run twice; 0: not counted yet */
    bool ahead_fpu; /* among them some of the vector and x87 units */
    uint8_t kept_count;
    uint16_t faults;
    struct insn *kept;      /* instructions that are looked at later: tr_kept() */
    struct tr_fault *fault; /* behind the struct's other tail data */
    uint16_t off[];         /* guest offset of each instruction, and of the next one */
};

/* ---- tr_scan.c ---- */
void tr_scan(const struct jit_cpu *c, const struct insn *i, struct tr_insn *out);

/* ---- one translation ---- */
enum opnd_kind { OP_REG, OP_AT, OP_ABS, OP_NEAR /* the same from RIP, a byte less */ };
struct opnd {
    enum opnd_kind kind;
    uint8_t reg;
    bool wide;      /* OP_AT: four bytes of displacement (EVEX would scale one) */
    bool gs;        /* OP_AT: behind a GS prefix */
    bool s0;        /* OP_AT: S0 is added */
    uint8_t behind; /* OP_NEAR: bytes of the immediate */
    int32_t disp;
    uint32_t abs;
};
struct tr_known { /* a register that holds an address in a chunk: 1 + its class, or 0 */
    uint8_t class;
    uint16_t by; /* what is aside of where it was asked */
};
struct tr {
    struct jit_cpu *c;
    struct tr_cache *cache;
    struct block *b;
    const struct insn *from; /* its instructions */
    uint64_t rip;            /* of the block, from the place's base */
    uint16_t place;          /* of its page (tr_place.c), 0: the block stays where it is */
    uint32_t key;
    uint8_t ctx;
    bool code64;
    bool direct;         /* memory is where direct.h says: no TLB */
    uint8_t stack;       /* then: the class of RSP's chunk, or DIRECT_CLASSES: not known */
    bool plain;          /* by its table, nothing expected (tr_direct.c) */
    struct opnd operand; /* in direct memory, for op_memory() */
    struct tr_known known[16];
    uint32_t written;   /* registers, in this block */
    uint8_t *start, *p; /* writing here */
    enum tr_flags flags;
    bool vec_known, x87_known; /* checked since the last call into C */
    struct tr_insn *in;        /* being translated */
    unsigned count;
    unsigned faults;
    bool group;    /* S0 is the host address of a group's range: operands need no probe */
    int32_t sp_by; /* what the group's pushes and pops have not yet added to the stack pointer */
    struct tr_ool *ool; /* code to put behind the block */
    unsigned ools;
    int x87_last; /* instruction whose FIP is not yet noted, or -1 */
    /* as far as there are such */
    struct tr_insn insn[BLOCK_INSNS_MAX];
    struct tr_fault fault[BLOCK_INSNS_MAX * 4];
};

/* Code out of line: what the main path jumps to. */
struct tr_ool {
    uint8_t *from[3]; /* rel32 to patch, or NULL */
    void (*emit)(struct tr *t, struct tr_ool *o);
    uint8_t *back; /* where to go on */
    uint8_t *again;
    uint8_t *done; /* behind the instruction, when the interpreter may run it meanwhile, or NULL */
    enum tr_flags done_flags;
    bool vec_known, x87_known; /* what it began with */
    uint32_t desc;
    uint32_t link;
    uint64_t rip;
    uint8_t size, index;
    bool write, flag;
    bool relied; /* on its not having been taken */
    uint32_t at;
    struct { /* a group's slow form: how it is entered, and how the fast form ended */
        uint8_t last, flags, flags_after;
        bool vec_known, x87_known;
        int x87_last;
    } group;
};
#define TR_OOL_MAX 512
struct tr_ool *tr_ool(struct tr *t, void (*emit)(struct tr *, struct tr_ool *));

/* ---- tr_block.c ---- */
struct tblock *tr_translate(struct jit_cpu *c, struct block *b, uint32_t key, uint32_t id);
/* Flags: before an inserted instruction that clobbers them; before one that needs them. */
void tr_flags_clobber(struct tr *t);
void tr_flags_need(struct tr *t);
void tr_interp(struct tr *t); /* the interpreter runs t->in, then on */
void tr_bail(struct tr *t);   /* the interpreter runs t->in; does not come back */
void tr_note_fault(struct tr *t);
/* Instruction number index, if it is one that C may want to see: those that the interpreter runs,
 * those of the vector and x87 units with memory operands or pointers; else NULL. */
const struct insn *tr_kept(const struct tblock *t, unsigned index);
uint64_t tr_next_rip(const struct tr *t);

void tr_emit_insn(struct tr *t);
bool tr_is_flow(const struct tr_insn *d); /* branches, calls, returns */

/* ---- tr_group.c ---- */
/* Emits a group of instructions that begins at first; returns its last one, or first when there is
 * no group and nothing was emitted. */
unsigned tr_group(struct tr *t, unsigned first);
/* Put aside: o's instructions once more, each with a probe of its own or in plain form. */
void tr_again_plainly(struct tr *t, struct tr_ool *o);
uint32_t tr_writes(const struct tr_insn *d); /* general registers; all where nobody knows */

/* ---- tr_mem.c ---- */
/* S0 = linear address of the memory operand (plus add).  Clobbers S1; flags only with a segment. */
void tr_linear(struct tr *t, int32_t add);
/* S0 = linear -> S0 = host address for an access of size bytes. Clobbers S1 and flags. */
void tr_probe(struct tr *t, unsigned size, bool write, bool bounce);
/* The memory operand's host address in S0. */
void tr_operand(struct tr *t, unsigned size, bool write, bool bounce);
/* S0 = base + index + disp of an operand without a segment. */
void tr_effective(struct tr *t, const struct insn *i, bool wide, int32_t disp);
/* Checks that the range of size bytes at S0 lies in one page at hand: S0 = its host address; else
 * to o.  Clobbers S1 and flags. */
void tr_range(struct tr *t, struct tr_ool *o, unsigned size, bool write, bool stack);
bool tr_near_stack(int32_t lo, int32_t hi); /* from rsp: likely in its page */
/* S0 = host address of a stack slot at a host register + disp. */
void tr_stack(struct tr *t, unsigned base, int32_t disp, unsigned size, bool write);

/* ---- tr_direct.c: the same in direct memory ---- */
void tr_direct_operand(struct tr *t);
void tr_direct_stack(struct tr *t, unsigned base, int32_t disp);
void tr_direct_linear(struct tr *t); /* S0 = linear */
/* For a group whose range begins at i's base + index + disp.  False: it is better without one.  *o:
 * what is aside of it, or NULL. */
bool tr_direct_group(struct tr *t, const struct insn *i, int32_t disp, struct tr_ool **o);
void tr_direct_after(struct tr *t,
                     unsigned from); /* t->in is emitted, aside of it number from on */
/* RSP stays where it is relied on to be: asked at the block's begin, where that is needed; and
 * behind t->in when it has set RSP. */
void tr_direct_begin(struct tr *t);
void tr_direct_check_stack(struct tr *t);

/* ---- tr_int.c, tr_flow.c, tr_vec.c ---- */
void tr_int(struct tr *t);
bool tr_int_beyond_reach(const struct tr_insn *d); /* the interpreter's */
unsigned tr_int_size(const struct tr_insn *d);     /* of its memory operand */
/* REP MOVS and STOS with a way past the interpreter; false: not one of them. */
bool tr_rep(struct tr *t);
void tr_rep_make(struct tr *t); /* the routines for it, at t->p */
void tr_flow(struct tr *t);     /* TK_PUSH_R .. TK_RET */
void tr_element(struct tr *t);  /* TK_LODS .. TK_MOVS */
bool tr_element_ok(const struct tr *t, const struct tr_insn *d);
void tr_vector(struct tr *t);
void tr_sys(struct tr *t); /* TK_CLI .. */
bool tr_sys_ok(const struct tr *t, const struct tr_insn *d);
/* Are these opcodes of ordinary code: moves, arithmetic, the stack, near branches? (4 bytes) */
bool tr_ordinary(const uint8_t *p);
void tr_system_end(struct tr *t); /* the interpreter runs t->in, the block's last instruction */
/* General registers among the operands of a vector instruction. */
enum tr_general { VEC_NONE, VEC_REG, VEC_RM, VEC_RM_OUT };
enum tr_general tr_vector_general(const struct tr_insn *d);
bool tr_vector_ok(const struct tr *t, const struct tr_insn *in);
/* ---- tr_evex.c ---- */
/* p at the 62; returns where ModRM is. */
const uint8_t *tr_evex_take(struct tr_insn *d, const uint8_t *p, bool code64);
/* Adds what EVEX has to reg and rm, of which ModRM and R, B are known. */
void tr_evex_registers(struct tr_insn *d);
/* Prefix and opcode, for the registers or S0 that ModRM is going to name. */
void tr_evex_prefix(struct tr *t, const struct tr_insn *d, unsigned reg, unsigned rm);
/* The last x87 instruction's pointers: emitted; or noted when a block stops before index. */
void tr_x87_settle(struct tr *t);
void tr_x87_note(struct jit_cpu *c, const struct tblock *t, unsigned index);
/* S1 = 0 when the page that many bytes from the block's own is where the place says whose minus
 * tr_name_minus() names at what is returned.  Clobbers S0; flags stay. */
uint32_t tr_expect_place(struct tr *t, int32_t page);
/* Leaves to a known address; poll: where translated code may be asked to come out. */
void tr_leave_to(struct tr *t, uint64_t rip, bool poll, bool check);
/* S0 = target address; flags are in c->fl. */
void tr_leave_indirect(struct tr *t);
/* Goes on where S0 leads when the second table of jumps knows that; S0 stays. */
void tr_look_up_second(struct tr *t);

/* ---- tr_cache.c ---- */
struct tr_glue { /* offsets in the cache */
    uint32_t enter, exit_host, exit_mem, exit_indirect, bail, fill, interp, system, vec_load,
        x87_load;
    uint32_t ret_miss[TLB_CONTEXTS];
    uint32_t indirect[TLB_CONTEXTS];  /* to S0: the second table, then out */
    uint32_t kept[TLB_CONTEXTS];      /* the same to tr.target */
    uint32_t cross[TLB_CONTEXTS];     /* loads of up to 8 bytes from two pages */
    uint32_t stack[TLB_CONTEXTS][2];  /* read, write */
    uint32_t rep[TLB_CONTEXTS][2][4]; /* MOVS, STOS; by size */
};
struct tr_jump { /* indirect targets by address */
    uint64_t rip;
    uint32_t code; /* its address */
    uint32_t id;   /* of its page */
};
#define TR_JUMP_SHIFT 4 /* of sizeof(struct tr_jump) */
#define TR_JUMPS      32768u
/* Written by the vcpu's thread by TR_COUNT, read by any. */
struct tr_stats {
    uint64_t blocks, insns, code_bytes, dropped, flushes, translate_ns;
    uint64_t exits, exits_indirect, fills, bounces, bails, interp_calls, system_calls,
        system_leaves, native_faults, ret_overflows, interpreted, direct_spaces, direct_faults,
        direct_pages;
};
#define TR_COUNT(counter, n)                                                                       \
    __atomic_store_n(&(counter), (counter) + (uint64_t)(n), __ATOMIC_RELAXED)
/* An instruction that C runs in the place of its translation, decoded anew. */
struct tr_again {
    const struct tblock *of;
    unsigned index;
    struct insn insn;
};
#define TR_AGAIN  64u
#define TR_PLACES 32768u
struct tr_cache {
    struct tr_jump jump[TR_JUMPS];    /* first: at a low address */
    struct tr_jump second[TR_JUMPS];  /* what others have driven out of their places there */
    struct tr_place place[TR_PLACES]; /* place[0]: base 0, of what stays where it is */
    struct tr_places *places;         /* what else is known of them */
    struct tr_again again[TR_AGAIN];
    struct tr_glue glue;
    uint8_t *rw, *rx;
    uint32_t bytes, used, first;
    uint32_t aside, aside_used; /* the upper half holds what is rarely run */
    uint32_t written;           /* bytes since rw's pages were let go */
    uint8_t *ret_stack;         /* mapping of two stacks, each with its guard page first */
    uint64_t ret_top[2];        /* user's, kernel's */
    uint8_t *tblocks;           /* the structs, one behind the other */
    size_t tblock_used, tblock_bytes;
    bool full;             /* to be emptied */
    bool bmi2;             /* the host has it */
    struct tblock **block; /* in order of code */
    uint32_t blocks, blocks_max;
    uint32_t *grain;      /* tr_by_pc's index */
    struct tr_link *link; /* link[0] is none */
    uint32_t links, links_max;
    struct tr_page *page; /* hash table of code pages' ids */
    uint32_t pages, page_mask;
    uint32_t next_id;
    unsigned warm;
    void *perf; /* FILE of perf=on, or NULL */
    struct tr_stats stats;
};
struct tr_cache *tr_cache_new(struct jit_cpu *c);
void tr_cache_free(struct tr_cache *k);
void tr_cache_flush(struct jit_cpu *c); /* not from translated code */
/* Id of the code page (linear, host) under key; never 0. */
uint32_t tr_page_id(struct tr_cache *k, uint64_t linear_page, uintptr_t host_page, uint32_t key);
/* False when the cache has no room for so many bytes: it is emptied at the next chance. */
bool tr_cache_room(struct tr_cache *k, uint32_t bytes);
struct tblock *tr_tblock_new(struct tr_cache *k, size_t bytes);
void tr_add(struct tr_cache *k, struct tblock *tb);
void tr_perf_note(struct tr_cache *k, uint32_t from, uint32_t to, const char *what, uint64_t rip);
struct tblock *tr_find(struct block *b, uint64_t rip, uint32_t key);
struct tblock *tr_by_pc(const struct tr_cache *k, uint64_t pc);
uint32_t tr_link_new(struct tr_cache *k, uint64_t rip, bool from_mem);
void tr_link_set(struct jit_cpu *c, uint32_t n, struct tblock *to);
void tr_link_clear(struct jit_cpu *c, uint32_t n);
void tr_name_minus(struct tr_cache *k, uint32_t at, unsigned place);
static inline unsigned tr_jump_index(uint64_t rip)
{
    return ((uint32_t)rip >> 9 ^ (uint32_t)rip) & (TR_JUMPS - 1);
}
static inline unsigned tr_second_index(uint64_t rip)
{
    return ((uint32_t)rip >> 10 ^ (uint32_t)rip) >> 3 & (TR_JUMPS - 1);
}
void tr_jump_set(struct tr_cache *k, const struct tblock *t, uint64_t rip, uint32_t id);
/* An entry that no target finds: none of rip is looked for at its index.  (Zero is an address that
 * guests jump to.) */
static inline void tr_jump_empty(struct tr_jump *j, unsigned index)
{
    *j = (struct tr_jump){.rip = index ? 0 : 1};
}
void *tr_low_alloc(size_t bytes); /* zeroed, below 2 GiB; NULL when there is none; munmap */
bool tr_in_guard(const struct tr_cache *k, uint64_t addr);   /* the return stack has run over */
uint64_t tr_ret_wrap(const struct tr_cache *k, uint64_t sp); /* where it goes on then */
void tr_drop(struct jit_cpu *c, struct block *b);            /* all translations of b */
static inline uint64_t tr_rx(const struct tr_cache *k, uint32_t off)
{
    return (uint64_t)(uintptr_t)k->rx + off;
}

/* Where a block is now. */
static inline uint64_t tr_block_rip(const struct tr_cache *k, const struct tblock *t)
{
    return k->place[t->place].base + t->rip;
}
static inline uint64_t tr_link_rip(const struct tr_cache *k, const struct tr_link *l)
{
    return k->place[l->place].base + l->rip;
}

/* ---- tr_place.c ---- */
struct tr_places *tr_places_new(void);
void tr_places_free(struct tr_places *p);
bool tr_places_any(const struct tr_cache *k);
void tr_places_forget(struct tr_cache *k); /* the exec TLB knows none any more */
/* The page of code at linear, which the exec TLB has under key: gives it a place there.  Its id, or
 * 0: there are no more until the cache is emptied. */
uint32_t tr_place_enter(struct jit_cpu *c, uint64_t linear, uint32_t key);
/* A block of it is dropped: addresses that lead there are not known any more. */
void tr_place_drop(struct jit_cpu *c, unsigned place);
/* tr.delta has changed. */
void tr_places_moved(struct jit_cpu *c);

/* ---- tr_stats.c: any thread; see vcpu_counters() ---- */
void tr_counters(struct vcpu *v, uint64_t out[VCPU_COUNTERS_MAX]);
extern const struct vcpu_counter tr_counter_names[];

/* ---- tr_glue.c ---- */
void tr_glue_make(struct jit_cpu *c, struct tr_cache *k);

/* ---- tr_run.c ---- */
#define TR_KEY_DIRECT (1u << 20)
#define TR_KEY_MOVES  (1u << 21) /* code that runs at any address */
#define TR_KEY_STACK(class)                                                                        \
    ((uint32_t)(class) << 22) /* with DIRECT: where RSP is relied on to be */
#define TR_KEY_CLASSES(bits) ((uint32_t)(bits) << 25) /* with DIRECT: what pointers may lead to */
#define TR_KEY_FORM(key)     ((key) >> 20)
#define TR_KEY_STACK_OF(key) ((key) >> 22 & 7)
/* Is RSP where code for directly mapped memory relies on it to be? */
static inline bool tr_stack_there(const struct jit_cpu *c)
{
    unsigned k = c->tr.stack_class;

    return k == DIRECT_CLASSES || c->st.gpr[R_RSP] >> DIRECT_CHUNK_SHIFT == c->tr.chunk[k];
}
static inline uint32_t tr_key_direct(const struct jit_cpu *c)
{
    if (!c->tr.direct || c->tlb_ctx != TLB_CTX_USER || c->mode != MODE_LONG64 || !tr_stack_there(c))
        return 0;
    return TR_KEY_DIRECT | TR_KEY_STACK(c->tr.stack_class) | TR_KEY_CLASSES(c->tr.classes);
}
/* User programs above 4 GiB are position-independent: the next process has them elsewhere. */
static inline bool tr_moves(const struct jit_cpu *c)
{
    return c->tlb_ctx == TLB_CTX_USER && c->mode == MODE_LONG64 &&
           c->st.rip >= set_of(c)->tr.places_from && !(c->st.rip >> 47);
}
/* The part of an address that a translation under key depends on. */
static inline uint64_t tr_home(uint64_t rip, uint32_t key)
{
    return key & TR_KEY_MOVES ? rip & (GUEST_PAGE_SIZE - 1) : rip;
}
static inline uint32_t tr_key(const struct jit_cpu *c)
{
    return c->mode_key | (uint32_t)c->tlb_ctx << 8 | (uint32_t)c->units << 12 |
           (uint32_t)(c->cpl == 0) << 17 | (c->st.cr4 & CR4_SMAP ? 1u << 18 : 0) |
           (c->st.cr4 & CR4_TSD ? 1u << 19 : 0) | (tr_moves(c) ? TR_KEY_MOVES : 0) |
           tr_key_direct(c);
}
struct props;
/* p may be NULL: the defaults. */
bool tr_options_read(struct tr_options *o, struct props *p, unsigned vcpus, GError **err);
/* Is what is run now translated when it is warm?  Not with cosim=on, which wants to see all. */
bool tr_takes(const struct jit_cpu *c);
/* Runs from st.rip as far as translated code goes; false when nothing is translated there. */
bool tr_run(struct jit_cpu *c, struct block *b);
bool tr_init(struct jit_cpu *c);
void tr_fini(struct jit_cpu *c);
/* Called by glue: a TLB miss at linear (TR_FILL_*, else where the bytes are); one instruction by
 * the interpreter (non-zero: leave translated code). */
enum { TR_FILL_AGAIN, TR_FILL_DONE /* the interpreter has run it */, TR_FILL_LEAVE /* and ... */ };
uint64_t tr_fill(struct jit_cpu *c, uint64_t linear, uint32_t desc);
uint64_t tr_x87_load(struct jit_cpu *c, uint64_t unused, uint32_t desc);
uint64_t tr_interp_one(struct jit_cpu *c, uint64_t unused, uint32_t index);
/* The same for the last instruction of a block: the host address to go on at, or 0 to leave. */
uint64_t tr_system(struct jit_cpu *c, uint64_t unused, uint32_t index);
/* desc of tr_fill */
#define TR_DESC_INSN(d)   ((d)&0xff)
#define TR_DESC_SIZE(d)   ((d) >> 8 & 0xff)
#define TR_DESC_WRITE     (1u << 16)
#define TR_DESC_NO_BOUNCE (1u << 17)
#define TR_DESC_IN_PLACE  (1u << 18) /* it knows TR_FILL_DONE */

#endif
