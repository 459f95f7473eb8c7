/* sys.h - what the system part of the software CPU shares between its own files.
 *
 * Everything here runs in the vcpu's thread unless noted.  Faults leave by cpu_raise*(), so each
 * function does its checks before it changes anything. */
#ifndef CPU_JIT_SYS_H
#define CPU_JIT_SYS_H

#include "bus/lapic.h"
#include "decode.h"

#define CR0_PE BIT64(0)
#define CR0_MP BIT64(1)
#define CR0_EM BIT64(2)
#define CR0_TS BIT64(3)
#define CR0_ET BIT64(4)
#define CR0_NE BIT64(5)
#define CR0_WP BIT64(16)
#define CR0_AM BIT64(18)
#define CR0_NW BIT64(29)
#define CR0_CD BIT64(30)
#define CR0_PG BIT64(31)

#define CR4_VME        BIT64(0)
#define CR4_PVI        BIT64(1)
#define CR4_TSD        BIT64(2)
#define CR4_DE         BIT64(3)
#define CR4_PSE        BIT64(4)
#define CR4_PAE        BIT64(5)
#define CR4_MCE        BIT64(6)
#define CR4_PGE        BIT64(7)
#define CR4_PCE        BIT64(8)
#define CR4_OSFXSR     BIT64(9)
#define CR4_OSXMMEXCPT BIT64(10)
#define CR4_UMIP       BIT64(11)
#define CR4_LA57       BIT64(12)
#define CR4_FSGSBASE   BIT64(16)
#define CR4_PCIDE      BIT64(17)
#define CR4_OSXSAVE    BIT64(18)
#define CR4_SMEP       BIT64(20)
#define CR4_SMAP       BIT64(21)
#define CR4_PKE        BIT64(22)

#define EFER_SCE   BIT64(0)
#define EFER_LME   BIT64(8)
#define EFER_LMA   BIT64(10)
#define EFER_NXE   BIT64(11)
#define EFER_FFXSR BIT64(14)

#define DR6_BS    BIT64(14)
#define DR6_BT    BIT64(15)
#define DR6_BD    BIT64(13)
#define DR6_FIXED 0xffff0ff0ull
#define DR7_GD    BIT64(13)
#define DR7_FIXED 0x400ull

/* Page-fault error code (SDM vol.3 4.7) */
#define PF_P    1u
#define PF_W    2u
#define PF_U    4u
#define PF_RSVD 8u
#define PF_I    16u
#define PF_PK   32u

/* System segment types (SDM vol.3 table 3-2) */
enum {
    DT_TSS16 = 1,
    DT_LDT = 2,
    DT_TSS16_BUSY = 3,
    DT_CALL16 = 4,
    DT_TASK_GATE = 5,
    DT_INT16 = 6,
    DT_TRAP16 = 7,
    DT_TSS32 = 9, /* also the 64-bit TSS */
    DT_TSS32_BUSY = 11,
    DT_CALL32 = 12, /* also the 64-bit call gate */
    DT_INT32 = 14,
    DT_TRAP32 = 15,
};

#define LAPIC_PAGE_DEFAULT 0xfee00000ull
#define APIC_BASE_ENABLE   BIT64(11)
#define APIC_BASE_X2       BIT64(10)
#define APIC_BASE_BSP      BIT64(8)

/* A descriptor as read from memory. */
struct desc {
    uint32_t lo, hi;
    uint64_t addr; /* where it was read (accessed/busy bit) */
};
static inline unsigned desc_type(const struct desc *d)
{
    return (d->hi >> 8) & 15;
}
static inline bool desc_is_segment(const struct desc *d)
{
    return d->hi & (1u << 12);
}
static inline unsigned desc_dpl(const struct desc *d)
{
    return (d->hi >> 13) & 3;
}
static inline bool desc_present(const struct desc *d)
{
    return d->hi & (1u << 15);
}
static inline bool desc_is_code(const struct desc *d)
{
    return desc_is_segment(d) && (d->hi & (1u << 11));
}
static inline bool desc_conforming(const struct desc *d)
{
    return d->hi & (1u << 10);
}

enum { TLB_CTX_SUPER, TLB_CTX_USER, TLB_CTX_SUPER_AC, TLB_CTX_ALIGN }; /* see mmu.c */
#define LARGE_PAGES 1024u
#define HUGE_PAGES  16u

/* What sys_* keeps beyond struct x86_state. */
/* A page table that a walk went through, and the rights on the way there; see mmu_walk.c. */
struct walk_rights {
    bool writable, user, nx;
};
struct walk_memo {
    uint64_t span; /* 1 + what 2 MiB or 1 GiB of the address space it is for */
    uint64_t gen;
    uint64_t table;
    struct walk_rights rights;
};
#define WALK_PTS 256u /* for 2 MiB each */
#define WALK_PDS 16u  /* for 1 GiB each */
struct sys_cpu {
    uint8_t ext;          /* EXT bit for error codes while an event is being delivered */
    bool smi_halted;      /* the SMI being taken ended a HLT */
    bool smm_nmi_masked;  /* NMI blocking outside SMM, for RSM */
    bool shutdown;        /* the state cannot go on: leave as a triple fault does */
    bool init_held;       /* INIT came while in SMM */
    bool step_armed;      /* the instruction now running started with TF */
    bool alone;           /* the next instruction is a block of its own */
    uint64_t dr6_pending; /* trap conditions met by the instruction now running */
    uint64_t pdpte[4];
    uint64_t steal_last_ns;  /* run delay already told to the guest */
    bool steal_resync;       /* take the next run delay as the new zero */
    uint64_t steal_next_tsc; /* no look at schedstat before */
    int schedstat_fd;
    uint32_t signature; /* CPUID.1:EAX */
    bool intel;         /* vendor rules: SYSENTER in long mode, SYSCALL in compat mode, ... */
    unsigned phys_bits;
    uint64_t large[LARGE_PAGES]; /* 2 MiB pages of which pieces are in the TLB, + 1; see mmu.c */
    unsigned large_count;
    uint64_t huge[HUGE_PAGES]; /* 1 GiB pages */
    unsigned huge_count;       /* HUGE_PAGES + 1: more than that */
    uint64_t wfilter[256];     /* pages that may be writable through this TLB; see mmu.c */
    struct walk_memo pts[WALK_PTS], pds[WALK_PDS];
    uint64_t walk_gen;              /* of the memos that are true */
    const struct guest_region *ram; /* found last, until all is flushed, or NULL */
};
/* -accel jit,... (see tr_run.c) */
struct tr_options {
    bool off;            /* tier=interp */
    unsigned warm;       /* times a block is interpreted before it is translated */
    uint64_t code_bytes; /* tb-size, of each vcpu */
    bool cosim, perf;
    bool direct;          /* user programs' memory may be mapped directly (direct.h) */
    bool direct_always;   /* at once: for tests */
    uint64_t places_from; /* user code above runs at any address (tr_place.c) */
};
/* The accelerator's data of one machine: cpu_set->accel. */
struct jit_set {
    struct cpu_set *set;
    /* jit_sync.c */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    uint32_t waiters;          /* atomic: somebody sleeps on cond */
    struct jit_cpu *exclusive; /* atomic: runs alone */
    /* mmu.c: code bits change under this lock */
    pthread_mutex_t code_lock;
    unsigned revoking; /* vcpus that wait in mmu_code_revoke; under code_lock */
    /* jit_clock.c; written with all vcpus stopped */
    uint64_t wanted_khz;    /* 0: the host's */
    bool calibrated;        /* host_mul is known: from the first start on */
    uint64_t host_mul;      /* guest ticks per host tick, 32.32; 0: the same */
    uint64_t stopped_ticks; /* ticks spent stopped so far */
    uint64_t stopped_at;    /* while stopped: since when */
    bool running;
    uint64_t clock_tsc, clock_ns; /* kvmclock was clock_ns when the TSC was clock_tsc */
    int64_t kvmclock_offset;      /* kvmclock minus the machine's clock */
    struct mem_listener listener;
    struct tr_options tr;
    struct {
        uint64_t guest_os_id, hypercall, reference_tsc, crash[5]; /* atomic */
        pthread_mutex_t page_lock;                                /* the TSC page is written */
    } hv;
};
static inline struct jit_set *set_of(const struct jit_cpu *c)
{
    return c->set->accel;
}
static inline struct sys_cpu *sys_of(struct jit_cpu *c)
{
    return c->sys;
}
static inline bool long_mode(const struct jit_cpu *c)
{
    return c->st.efer & EFER_LMA;
}
static inline bool code64(const struct jit_cpu *c)
{
    return c->mode == MODE_LONG64;
}
static inline bool protected_mode(const struct jit_cpu *c)
{
    return c->mode != MODE_REAL && c->mode != MODE_VM86;
}
static inline unsigned iopl(const struct jit_cpu *c)
{
    return (c->st.rflags >> 12) & 3;
}
static inline bool canonical(const struct jit_cpu *c, uint64_t a)
{
    unsigned shift = (c->st.cr4 & CR4_LA57) ? 7 : 16;
    return (uint64_t)((int64_t)(a << shift) >> shift) == a;
}
static inline void pending_set(struct jit_cpu *c, uint32_t bits)
{
    __atomic_fetch_or(&c->pending, bits, __ATOMIC_SEQ_CST);
    __atomic_store_n(&c->tr.go, 0, __ATOMIC_SEQ_CST);
}
static inline void pending_clear(struct jit_cpu *c, uint32_t bits)
{
    __atomic_fetch_and(&c->pending, ~bits, __ATOMIC_SEQ_CST);
}
static inline _Noreturn void raise_gp(struct jit_cpu *c, uint32_t error)
{
    cpu_raise_error(c, EX_GP, error);
}
static inline _Noreturn void raise_ud(struct jit_cpu *c)
{
    cpu_raise(c, EX_UD);
}
static inline void require_cpl0(struct jit_cpu *c)
{
    if (c->cpl != 0)
        raise_gp(c, 0);
}

/* ---- mmu.c: memory with CPL 0 rules, for descriptor tables, TSS and gates ---- */
uint64_t sys_read(struct jit_cpu *c, uint64_t linear, unsigned size);
void sys_write(struct jit_cpu *c, uint64_t linear, uint64_t v, unsigned size);
void mmu_init(struct jit_cpu *c);
/* After a store of len bytes inside one page: dirty log, code pages of all vcpus. */
void mmu_stored(struct jit_cpu *c, const struct guest_region *r, uint64_t offset, unsigned len);
/* Data breakpoints: such a page stays out of the TLB; sys_watch notes a match (sys_debug.c). */
/* ---- sys_debug.c ---- */
bool sys_stepping(const struct jit_cpu *c);
uint64_t sys_code_breakpoint(struct jit_cpu *c); /* DR6 bits of breakpoints at st.rip */
bool sys_watched_page(struct jit_cpu *c, uint64_t page);
void sys_watch(struct jit_cpu *c, uint64_t linear, unsigned len, bool write);
/* Page walk, mmu_walk.c.  Returns true with *out filled, or false with *error (page-fault code). */
struct walk {
    uint64_t phys;  /* of the byte */
    unsigned shift; /* 12, 21, 22, 30 */
    bool writable, user, nx, global, dirty;
};
/* set_bits: in the vcpu's thread; accessed and dirty bits are set. */
bool mmu_walk(struct jit_cpu *c, uint64_t linear, unsigned access, bool user, bool set_bits,
              struct walk *out, uint32_t *error);
bool mmu_walk_quick(struct jit_cpu *c, uint64_t linear, unsigned access, bool user,
                    struct walk *out);

/* ---- sys_segment.c ---- */
/* Reads a descriptor; false when the selector is null or beyond its table. */
bool desc_read(struct jit_cpu *c, uint16_t sel, struct desc *out);
void desc_to_seg(const struct desc *d, uint16_t sel, struct x86_seg *out);
uint64_t desc_base(const struct desc *d);
uint32_t desc_limit(const struct desc *d);
void desc_set_accessed(struct jit_cpu *c, struct desc *d);
void seg_load_real(struct jit_cpu *c, unsigned seg, uint16_t sel);
/* SS becomes the null selector with the given RPL (64-bit stack switches). */
void seg_null_ss(struct jit_cpu *c, unsigned cpl);
void seg_load_vm86(struct jit_cpu *c, unsigned seg, uint16_t sel);
/* Data segments that the new CPL may not keep become null (return to outer ring). */
void seg_drop_inner_data(struct jit_cpu *c, unsigned cpl);
/* #GP(0) when UMIP forbids the instruction at this CPL. */
void sys_require_umip(struct jit_cpu *c);
/* r/m16 operand; general register write of 2, 4 (zero-extending) or 8 bytes. */
uint16_t sys_rm16(struct jit_cpu *c, const struct insn *i);
void sys_gpr_put(struct jit_cpu *c, unsigned reg, unsigned size, uint64_t v);
/* Loads SS for the given CPL with vector `ex` for faults (stack switches use #TS, IRET #GP). */
void sys_check_ss(struct jit_cpu *c, uint16_t sel, unsigned cpl, uint8_t ex, struct x86_seg *out);
void sys_set_cs(struct jit_cpu *c, const struct desc *d, uint16_t sel, unsigned cpl);

/* ---- sys_task.c ---- */
enum task_why { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_GATE };
void sys_task_switch(struct jit_cpu *c, uint16_t sel, const struct desc *d, enum task_why why,
                     uint64_t return_rip);
/* Delivery through a task gate: switch, then the error code goes on the new stack. */
void sys_task_gate(struct jit_cpu *c, uint16_t tss_sel, bool has_error, uint32_t error);
/* Reads SS:SP for an inner ring from the current TSS; faults #TS. */
void tss_inner_stack(struct jit_cpu *c, unsigned cpl, uint16_t *ss, uint32_t *esp);
uint64_t tss64_stack(struct jit_cpu *c, unsigned index); /* 0-2 RSPn, 4-10 IST1-7 as index+3 */

/* ---- sys_exception.c ---- */
/* Enters the handler for vector; faults leave by cpu_raise*.  kind EV_SOFT_INT checks gate DPL. */
void sys_enter_handler(struct jit_cpu *c, uint8_t vector, bool has_error, uint32_t error,
                       enum event_kind kind);
/* #DB of the trap class: DR6 bits first. */
bool sys_deliver_debug(struct jit_cpu *c, uint64_t dr6);

/* A stack under construction: addresses relative to a segment, committed by the caller. */
struct stack_frame {
    uint64_t base; /* linear base of the stack segment */
    uint64_t sp, mask;
    uint32_t limit, attr;
    bool wide; /* 64-bit mode: no limit checks, canonical */
    unsigned cpl;
    uint16_t error; /* of the #SS when the frame does not fit */
};
void frame_from_ss(struct jit_cpu *c, struct stack_frame *f);
void frame_set(struct stack_frame *f, const struct x86_seg *ss, uint64_t sp, unsigned cpl,
               uint16_t error);
void frame_push(struct jit_cpu *c, struct stack_frame *f, uint64_t v, unsigned size);
uint64_t frame_pop(struct jit_cpu *c, struct stack_frame *f, unsigned size);
uint64_t frame_peek(struct jit_cpu *c, const struct stack_frame *f, uint64_t offset, unsigned size);

/* ---- sys_far.c: what IRET shares with far RET ---- */
void sys_check_target(struct jit_cpu *c, const struct desc *d, uint64_t offset);
void sys_return_cs(struct jit_cpu *c, uint16_t sel, struct desc *d);
void sys_return_ss(struct jit_cpu *c, uint16_t sel, unsigned rpl, bool to64, struct x86_seg *out);
void sys_set_rsp(struct jit_cpu *c, const struct x86_seg *ss, bool to64, uint64_t sp);

/* ---- sys_event.c ---- */
/* Paused: moves what other threads have asked for into the architectural state. */
void cpu_settle_events(struct jit_cpu *c);

/* ---- sys_iret.c ---- */
void sys_set_flags(struct jit_cpu *c, uint64_t v, uint64_t mask);
/* IF has become 1 or the priority has dropped: makes the loop look for interrupts. */
void sys_interrupts_opened(struct jit_cpu *c);

/* ---- sys_cr.c ---- */
void sys_write_cr0(struct jit_cpu *c, uint64_t v);
void sys_write_cr3(struct jit_cpu *c, uint64_t v);
void sys_write_cr4(struct jit_cpu *c, uint64_t v);
void sys_debug_update(struct jit_cpu *c); /* DR7/TF/RF changed: PENDING_STEP */

/* ---- sys_msr.c ---- */
bool sys_has_spec_ctrl(struct jit_cpu *c);
bool sys_rdmsr(struct jit_cpu *c, uint32_t msr, uint64_t *v);
bool sys_wrmsr(struct jit_cpu *c, uint32_t msr, uint64_t v);
bool sys_wrmsr_efer(struct jit_cpu *c, uint64_t v);

/* ---- sys_pv.c: KVM's paravirtual clock, steal time and hypercalls ---- */
bool pv_rdmsr(struct jit_cpu *c, uint32_t msr, uint64_t *v, bool *known);
bool pv_wrmsr(struct jit_cpu *c, uint32_t msr, uint64_t v, bool *known);
void pv_thread_start(struct jit_cpu *c); /* in the vcpu's thread */
void pv_fini(struct jit_cpu *c);
void pv_steal_update(struct jit_cpu *c);
void pv_clock_update(struct jit_cpu *c);
void pv_hypercall(struct jit_cpu *c);

/* ---- sys_hyperv.c: what a guest of Hyper-V finds ---- */
#define HV_MSR_SPACE 0x4000             /* the upper half of their numbers */
bool hv_shown(const struct jit_cpu *c); /* CPUID tells of it */
bool hv_rdmsr(struct jit_cpu *c, uint32_t msr, uint64_t *v);
bool hv_wrmsr(struct jit_cpu *c, uint32_t msr, uint64_t v);
bool hv_takes_hypercalls(const struct jit_cpu *c);
void hv_hypercall(struct jit_cpu *c);
void hv_tsc_page_update(struct jit_set *js); /* the relation of TSC and time has changed */
void hv_reset(struct jit_cpu *c);
void hv_state_get(struct jit_cpu *c, struct x86_state *out);
void hv_state_set(struct jit_cpu *c, const struct x86_state *in);

/* ---- sys_smm.c ---- */
void smm_enter(struct jit_cpu *c);
/* Where a processor in SMM finds that address: SMRAM that is hidden lies elsewhere. */
uint64_t smm_find(struct jit_cpu *c, uint64_t phys);
static inline uint64_t smm_phys(struct jit_cpu *c, uint64_t phys)
{
    return likely(!c->st.in_smm) ? phys : smm_find(c, phys);
}
op_fn sys_op_rsm;

/* ---- jit_sync.c: waiting for, stopping and waking other vcpus ---- */
void jit_enter_guest(struct jit_cpu *c);
void jit_leave_guest(struct jit_cpu *c);
/* Serves flush and stop requests; called by the owner between instructions. */
void jit_safepoint(struct jit_cpu *c);
/* Asks target to flush its TLB and waits until it has, or is outside guest code (it flushes on the
 * way back).  self: the calling vcpu, which counts as stopped meanwhile, or NULL. */
void jit_flush_wait(struct cpu_set *s, struct jit_cpu *self, struct jit_cpu *target);
void jit_wake(struct jit_cpu *c, uint32_t bits); /* any thread: sets pending bits, ends a halt */
void jit_halt_wait(struct jit_cpu *c);           /* until something is pending */

/* ---- jit_clock.c: one guest clock for all vcpus ---- */
void jit_clock_init(struct jit_set *js, uint64_t wanted_khz);
uint64_t jit_tsc_now(const struct jit_set *js); /* guest TSC before per-vcpu offsets */
uint64_t jit_tsc_khz(const struct jit_set *js); /* any thread; waits like host_ticks_khz() */
void jit_clock_stop(struct jit_set *js);
void jit_clock_start(struct jit_set *js);
uint64_t jit_kvmclock_ns(const struct jit_set *js);
uint64_t jit_tsc_to_ns(const struct jit_set *js, uint64_t ticks);

/* ---- handlers, one line per file of the table in sys_select.c ---- */
op_fn sys_op_jmp_far, sys_op_call_far, sys_op_ret_far, sys_op_iret;
op_fn sys_op_int3, sys_op_int, sys_op_into, sys_op_icebp, sys_op_ud;
op_fn sys_op_mov_from_cr, sys_op_mov_to_cr, sys_op_mov_from_dr, sys_op_mov_to_dr, sys_op_clts,
    sys_op_lmsw, sys_op_smsw;
op_fn sys_op_rdmsr, sys_op_wrmsr, sys_op_rdtsc, sys_op_rdtscp, sys_op_rdpmc, sys_op_rdpid;
op_fn sys_op_syscall, sys_op_sysret, sys_op_sysenter, sys_op_sysexit, sys_op_swapgs,
    sys_op_rdfsbase, sys_op_rdgsbase, sys_op_wrfsbase, sys_op_wrgsbase;
op_fn sys_op_invlpg, sys_op_invpcid, sys_op_wbinvd, sys_op_monitor, sys_op_mwait, sys_op_hlt,
    sys_op_sti, sys_op_cli, sys_op_pushf, sys_op_popf, sys_op_clac, sys_op_stac, sys_op_lgdt,
    sys_op_lidt, sys_op_sgdt, sys_op_sidt, sys_op_lldt, sys_op_ltr, sys_op_str, sys_op_sldt,
    sys_op_vmcall, sys_op_cpuid;
op_fn sys_op_lar, sys_op_lsl, sys_op_verr, sys_op_verw, sys_op_arpl;

#endif
