/* tr_run.c - going into translated code and coming out of it.
 *
 *   loop (interp.c) -> tr_run(block) -> enter(code) ... exit -> loop
 *
 * It comes out at a jump to what is not translated (tr.link names it, so that it can be linked), at
 * an address that only the run knew (link 0), at a poll, or because the interpreter is to run an
 * instruction (tr.fault_pc).  In each case the registers are in st and st.rip is exact. */
#include "cosim.h"
#include "direct.h"
#include "fpu.h"
#include "tr_emit.h"

#include "base/error.h"
#include "base/props.h"

#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define WARM    2u
#define DESC_PC 0xffffffffu /* tr.desc: look the instruction up by tr.fault_pc */

/* ---- faults of the host's own ---- */

static struct sigaction old_segv, old_bus, old_fpe, old_ill;
static pthread_once_t handlers = PTHREAD_ONCE_INIT;

/* Not ours: a stub's (it goes on from there), or a bug of ours.  Who wants to hear of that gets the
 * signal from the kernel, at the same instruction, with all the flags it asked for. */
static void pass_on(const struct sigaction *old, int sig, siginfo_t *info, void *ctx)
{
    if (old->sa_flags & SA_SIGINFO)
        old->sa_sigaction(sig, info, ctx);
    else
        sigaction(sig, old, NULL);
    if (info->si_code <= 0 && !(old->sa_flags & SA_SIGINFO)) /* sent: it will not happen again */
        raise(sig);
}

static const struct tr_fault *fault_at(const struct tr_cache *k, uint64_t pc)
{
    const struct tblock *t = tr_by_pc(k, pc);

    for (unsigned n = 0; t && n < t->faults; n++)
        if (t->fault[n].off == pc - tr_rx(k, t->code))
            return &t->fault[n];
    return NULL;
}

static void on_fault(int sig, siginfo_t *info, void *ctx)
{
    greg_t *regs = ((ucontext_t *)ctx)->uc_mcontext.gregs;
    struct jit_cpu *c = interp_running();
    struct tr_cache *k = c ? c->tr.cache : NULL;
    uint64_t pc = (uint64_t)regs[REG_RIP];

    if (k && pc - tr_rx(k, 0) < k->aside_used) {
        if (sig == SIGSEGV && tr_in_guard(k, (uint64_t)(uintptr_t)info->si_addr)) {
            regs[REG_RSP] = (greg_t)tr_ret_wrap(k, (uint64_t)regs[REG_RSP]);
            TR_COUNT(k->stats.ret_overflows, 1);
            return;
        }
        bool mapped = info->si_code > 0 && info->si_code != SI_KERNEL;
        if (sig == SIGSEGV && c->direct &&
            direct_fault(c, mapped ? (uintptr_t)info->si_addr : 0, regs[REG_ERR] & 2))
            return;
        const struct tr_fault *f = fault_at(k, pc);
        if (f && (sig != SIGBUS || info->si_code == SI_KERNEL)) {
            regs[REG_R11] += f->sp_by;
            c->tr.fault_pc = pc;
            c->tr.desc = DESC_PC;
            regs[REG_RIP] =
                (greg_t)tr_rx(k, f->flags == TR_HOST ? k->glue.exit_host : k->glue.exit_mem);
            TR_COUNT(k->stats.native_faults, 1);
            return;
        }
    }
    pass_on(sig == SIGSEGV  ? &old_segv
            : sig == SIGBUS ? &old_bus
            : sig == SIGILL ? &old_ill
                            : &old_fpe,
            sig, info, ctx);
}

static void handlers_install(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigaction(SIGSEGV, &sa, &old_segv);
    sigaction(SIGBUS, &sa, &old_bus); /* #SS: not canonical by rbp */
    sigaction(SIGFPE, &sa, &old_fpe);
    sigaction(SIGILL, &sa, &old_ill);
}

/* ---- calls from translated code ---- */

static struct tblock *caller(struct jit_cpu *c)
{
    struct tblock *t = tr_by_pc(c->tr.cache, c->tr.caller_pc - 1);

    g_assert(t);
    return t;
}

static _Noreturn void to_interpreter(struct jit_cpu *c)
{
    c->tr.bail = 1;
    TR_COUNT(c->tr.cache->stats.bails, 1);
    cpu_restart(c);
}

/* Exceptions that take precedence over what the access itself may raise: alignment (CMPXCHG16B's
 * too), a pending x87 exception.  And under an opmask it is not known here what is accessed. */
static bool comes_first(struct jit_cpu *c, const struct insn *i, uint64_t linear)
{
    const struct fpu_op *op;

    if (!i || !(i->flags & INSN_FPU))
        return i && i->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B && linear % 16;
    op = i->priv;
    return (op->flags & FPU_MASKED) || (op->align_mask & linear) ||
           ((op->flags & FPU_X87) && fpu_of(c)->x87_unmasked);
}

static void done(struct jit_cpu *c, const struct insn *i)
{
}

static void run_alone(struct jit_cpu *c, const struct tblock *t, const struct insn *i)
{
    struct insn alone[2] = {*i, {.fn = done, .off = i->off}};

    c->block = t->src;
    c->block_rip = tr_block_rip(c->tr.cache, t);
    c->cur = i;
    c->st.rip = c->block_rip + i->off + i->len;
    alone[0].fn(c, alone);
    c->cur = NULL;
    c->block = NULL;
}

/* One instruction of t by the interpreter; false when translated code cannot go on behind it. */
static bool interpret(struct jit_cpu *c, const struct tblock *t, const struct insn *i,
                      unsigned index)
{
    uint64_t next = tr_block_rip(c->tr.cache, t) + i->off + i->len;
    uint32_t key = t->key;

    run_alone(c, t, i);
    /* Dropped by its own store, turned back (REP), or asked for. */
    if (t->id && c->st.rip == next && key == tr_key(c) && !interp_must_stop(c))
        return true;
    if (unlikely(c->cosim != NULL))
        cosim_stopped(c, index);
    return false;
}

/* In the middle of translated code, which knows that x87 registers are live. */
static uint64_t in_place(struct jit_cpu *c, const struct tblock *t, uint32_t desc)
{
    unsigned index = TR_DESC_INSN(desc);
    struct tr_cache *k = c->tr.cache;
    struct tr_again *a = &k->again[(t->code / 16 + index) % TR_AGAIN];
    bool x87 = c->x87_live;

    if (!(desc & TR_DESC_IN_PLACE))
        to_interpreter(c);
    if (a->of != t || a->index != index) {
        icache_insn_at(c, t->src, t->off[index], &a->insn);
        a->of = t;
        a->index = index;
    }
    if (a->insn.off + a->insn.len != t->off[index + 1]) {
        a->of = NULL;
        to_interpreter(c);
    }
    TR_COUNT(k->stats.interp_calls, 1);
    if (!interpret(c, t, &a->insn, index))
        return TR_FILL_LEAVE;
    if (x87 && !c->x87_live)
        tr_x87_load(c, 0, 0);
    return TR_FILL_DONE;
}

uint64_t tr_fill(struct jit_cpu *c, uint64_t linear, uint32_t desc)
{
    unsigned size = TR_DESC_SIZE(desc);
    bool write = desc & TR_DESC_WRITE;
    struct tblock *t;
    const struct tlb_hot *e = (write ? c->tlb_now->wr : c->tlb_now->rd) + tlb_index(linear);
    uint64_t last = linear + size - 1;

    TR_COUNT(c->tr.cache->stats.fills, 1);
    if (write && (linear & (GUEST_PAGE_SIZE - 1)) > GUEST_PAGE_SIZE - size) {
        t = caller(c); /* no fill helps a store to two pages */
        c->cur = NULL;
        c->st.rip = tr_block_rip(c->tr.cache, t) + t->off[TR_DESC_INSN(desc)];
        tr_x87_note(c, t, TR_DESC_INSN(desc));
        return in_place(c, t, desc);
    }
    if (mmu_fill_quick(c, linear, write ? ACC_WRITE : ACC_READ) && TLB_COVERS(e->tag, linear, size))
        return TR_FILL_AGAIN;
    t = caller(c);
    c->cur = NULL;
    c->st.rip = tr_block_rip(c->tr.cache, t) + t->off[TR_DESC_INSN(desc)];
    tr_x87_note(c, t, TR_DESC_INSN(desc));
    if (comes_first(c, tr_kept(t, TR_DESC_INSN(desc)), linear))
        return in_place(c, t, desc);
    if (c->mode == MODE_LONG64 ? !canonical_ok(c, linear) || !canonical_ok(c, last)
                               : last > UINT32_MAX)
        return in_place(c, t, desc);
    mmu_translate(c, linear, write ? ACC_WRITE : ACC_READ);
    if (TLB_COVERS(e->tag, linear, size))
        return TR_FILL_AGAIN;
    if (desc & (TR_DESC_WRITE | TR_DESC_NO_BOUNCE))
        return in_place(c, t, desc);
    mmu_read_slow(c, linear, c->tr.bounce, size, ACC_READ);
    TR_COUNT(c->tr.cache->stats.bounces, 1);
    return (uint64_t)(uintptr_t)c->tr.bounce;
}

uint64_t tr_x87_load(struct jit_cpu *c, uint64_t unused, uint32_t desc)
{
    fpu_load_live(c);
    fpu_of(c)->fcs = c->st.seg[SEG_CS].sel;
    return 0;
}

uint64_t tr_interp_one(struct jit_cpu *c, uint64_t unused, uint32_t index)
{
    struct tblock *t = caller(c);

    TR_COUNT(c->tr.cache->stats.interp_calls, 1);
    return !interpret(c, t, tr_kept(t, index), index);
}

/* ---- in and out ---- */

/* The emitters know 64-bit code, and 32-bit code in flat segments. */
static bool knows_mode(const struct jit_cpu *c)
{
    const uint32_t need = KEY_FLAT | KEY_CS32 | KEY_SS32;
    return c->mode == MODE_LONG64 || (c->mode_key & need) == need;
}

static bool can_run(const struct jit_cpu *c, const struct block *b)
{
    return b->page && c->tlb_ctx != TLB_CTX_ALIGN && !b->cold && knows_mode(c);
}

/* The number of the page at linear under key, which the exec TLB knows from now on; 0: there are no
 * more. */
static uint32_t page_id(struct jit_cpu *c, uint64_t linear, uint32_t key)
{
    uint32_t *id = &c->tlb_now->exec_id[tlb_exec_index(linear)];

    linear &= ~(GUEST_PAGE_SIZE - 1);
    if (!*id)
        *id = key & TR_KEY_MOVES
                  ? tr_place_enter(c, linear, key)
                  : tr_page_id(c->tr.cache, linear, tlb_exec_slot(c, linear)->host, key);
    return *id;
}

/* The same for st.rip's page. */
static uint32_t entry_for(struct jit_cpu *c, uint32_t key)
{
    if ((c->tr.key[c->tlb_ctx] ^ key) & ~TR_KEY_MOVES) {
        if (c->tr.direct && c->tlb_ctx == TLB_CTX_USER && !tr_stack_there(c))
            direct_stack_elsewhere(c);
        mmu_flush_exec_ids(c, c->tlb_ctx);
        c->tr.key[c->tlb_ctx] = key;
    }
    return page_id(c, c->st.rip, key);
}

static void choose_vectors(struct jit_cpu *c)
{
    c->tr.vec_mask = c->units & UNIT_AVX512 ? c->tr.vec_all : c->tr.vec_basic;
}

/* A return in kernel mode never takes a user program's return address for its own: what lies behind
 * it is translated for user mode. */
static void choose_ret_stack(struct jit_cpu *c)
{
    uint64_t sp = c->tr.ret_sp;

    if (likely(c->tr.ret_kernel == (c->cpl != 3)))
        return;
    c->tr.ret_sp = c->tr.ret_other;
    c->tr.ret_other = sp;
    c->tr.ret_kernel = !c->tr.ret_kernel;
}

/* Is the instruction at st.rip, whose bytes are at hand, ordinary? */
static bool ordinary_follows(struct jit_cpu *c)
{
    const struct tlb_exec *e = tlb_exec_slot(c, c->st.rip);

    if (c->mode != MODE_LONG64 || !TLB_COVERS(e->tag, c->st.rip, 4))
        return false;
    return tr_ordinary((const uint8_t *)(c->st.rip - e->tag + e->host));
}

/* An interrupt shadow (STI) or RF (IRET from an exception) costs a step of its own in the loop.
 * When nothing waits that it could hold back, and what follows is ordinary code, it can go: at most
 * an interrupt that arrives this moment is taken one instruction early.  HLT and the way back to
 * user mode are where that would matter. */
static void end_step(struct jit_cpu *c)
{
    if (__atomic_load_n(&c->pending, __ATOMIC_RELAXED) != PENDING_STEP || (c->st.rflags & FL_TF) ||
        (c->st.dr[7] & 0xff) || c->st.int_shadow == 2 || sys_of(c)->alone ||
        sys_of(c)->dr6_pending || !ordinary_follows(c))
        return;
    c->st.int_shadow = 0;
    c->st.rflags &= ~(uint64_t)FL_RF;
    pending_clear(c, PENDING_STEP);
}

uint64_t tr_system(struct jit_cpu *c, uint64_t unused, uint32_t index)
{
    struct tr_cache *k = c->tr.cache;
    struct tblock *t = caller(c);

    TR_COUNT(k->stats.system_calls, 1);
    run_alone(c, t, tr_kept(t, index));
    if (__atomic_load_n(&c->pending, __ATOMIC_RELAXED))
        end_step(c);
    struct block *b = unlikely(c->cosim != NULL) ? NULL : interp_find_fast(c);
    if (b && !b->host2 && can_run(c, b) && !k->full) {
        uint32_t key = tr_key(c);
        struct tblock *to = entry_for(c, key) ? tr_find(b, c->st.rip, key) : NULL;
        if (to && !interp_must_stop(c)) {
            choose_vectors(c);
            choose_ret_stack(c);
            return tr_rx(k, to->entry_mem);
        }
    }
    TR_COUNT(k->stats.system_leaves, 1);
    return 0;
}

/* What has been translated for other addresses has to be worth another time; for this one, in
 * memory of the other kind, it was already. */
static unsigned runs_before(struct jit_cpu *c, struct block *b, uint32_t key)
{
    const struct tr_cache *k = c->tr.cache;

    if (!b->tr)
        return k->warm;
    if (k->stats.direct_spaces && (key & TR_KEY_DIRECT) &&
        tr_find(b, c->st.rip, key & ~(TR_KEY_DIRECT | TR_KEY_STACK(7) | TR_KEY_CLASSES(15))))
        return 0;
    return k->warm * 8;
}

static struct tblock *translation(struct jit_cpu *c, struct block *b, uint32_t key, uint32_t id)
{
    struct tblock *t = NULL;

    uint64_t home = tr_home(c->st.rip, key);
    uint32_t sought = ((uint32_t)(home >> GUEST_PAGE_SHIFT) * 0x9e3779b9u ^ key) | 1;

    if (b->sought != sought) {
        t = tr_find(b, c->st.rip, key);
        if (t || b->cold)
            return t;
        b->sought = sought;
    }
    if (b->heat < runs_before(c, b, key)) {
        b->heat++;
        return NULL;
    }
    b->sought = 0;
    t = tr_translate(c, b, key, id);
    if (!t && !c->tr.cache->full)
        b->cold = true;
    b->heat = 0;
    return t;
}

/* A link whose guards ask for no page stays in its own. */
static bool leads_to(const struct jit_cpu *c, const struct tr_link *l, const struct tblock *t)
{
    if (l->form != TR_KEY_FORM(t->key))
        return false;
    if (!l->place || !t->place)
        return l->place == t->place && l->rip == t->rip;
    if (!l->place_at && l->place != t->place)
        return false;
    return l->landing ? (l->rip & (GUEST_PAGE_SIZE - 1)) == t->rip
                      : tr_link_rip(c->tr.cache, l) == c->st.rip;
}

/* What led here goes here directly from now on. */
static void remember(struct jit_cpu *c, struct tblock *t, uint32_t link, uint32_t id)
{
    struct tr_cache *k = c->tr.cache;

    if (link) {
        struct tr_link *l = &k->link[link];
        if (l->to == t || !leads_to(c, l, t))
            return;
        tr_link_clear(c, link);
        tr_link_set(c, link, t);
        return;
    }
    tr_jump_set(k, t, c->st.rip, id);
}

/* An instruction that accesses what is not mapped directly. */
static void missed(struct jit_cpu *c, const struct tblock *t, unsigned index)
{
    struct insn i;

    icache_insn_at(c, t->src, t->off[index], &i);
    c->block_rip = tr_block_rip(c->tr.cache, t); /* for what is relative to RIP */
    uint64_t linear = c->st.gpr[R_RSP];
    if (i.flags & INSN_MEM)
        linear = insn_ea(c, &i) + (i.seg >= SEG_FS ? c->st.seg[i.seg].base : 0);
    direct_missed(c, linear);
}

static void came_out(struct jit_cpu *c)
{
    struct tr_cache *k = c->tr.cache;

    TR_COUNT(k->stats.exits, 1);
    if (c->tr.fault_pc) {
        unsigned index = c->tr.desc;
        /* A call's return address may be the first byte of the next block. */
        struct tblock *t = tr_by_pc(k, c->tr.fault_pc - (index != DESC_PC));
        bool faulted = index == DESC_PC;
        if (faulted)
            index = fault_at(k, c->tr.fault_pc)->insn;
        c->st.rip = tr_block_rip(k, t) + t->off[index];
        tr_x87_note(c, t, index);
        if (faulted && (t->key & TR_KEY_DIRECT))
            missed(c, t, index);
        c->tr.fault_pc = 0;
        c->tr.bail = 1;
        c->tr.link = 0;
        c->tr.left = false;
    } else if (c->tr.link) {
        const struct tr_link *l = &k->link[c->tr.link];
        if (!l->landing)
            c->st.rip = tr_link_rip(k, l);
        c->tr.left = true;
    } else {
        TR_COUNT(k->stats.exits_indirect, 1);
        c->tr.left = true;
    }
}

bool tr_takes(const struct jit_cpu *c)
{
    return c->tr.cache && !c->cosim && c->tlb_ctx != TLB_CTX_ALIGN && knows_mode(c);
}

bool tr_run(struct jit_cpu *c, struct block *b)
{
    struct tr_cache *k = c->tr.cache;
    uint32_t key = tr_key(c), link = c->tr.link;
    bool left = c->tr.left;

    c->tr.left = false;
    c->tr.link = 0;
    if (!can_run(c, b))
        return false;
    if (unlikely(set_of(c)->tr.direct_always) && direct_now(c))
        key = tr_key(c);
    if (unlikely(k->full)) { /* numbers of links mean nothing after that */
        tr_cache_flush(c);
        left = false;
    }
    uint32_t id = entry_for(c, key);
    if (unlikely(b->host2)) { /* icache_lookup has just seen that it is there */
        uint64_t next = c->st.rip + GUEST_PAGE_SIZE;
        struct tlb_exec *second = tlb_exec_slot(c, next);
        if (!TLB_COVERS(second->tag, next, 1))
            return false;
        if (!page_id(c, next, key))
            return false;
    }
    if (unlikely(!id))
        return false;
    if (key & TR_KEY_DIRECT)
        direct_expected(c);
    struct tblock *t = translation(c, b, key, id);
    if (!t)
        return false;
    if (left && likely(!c->cosim))
        remember(c, t, link, id);
    if (!__atomic_load_n(&c->tr.go, __ATOMIC_RELAXED)) {
        __atomic_store_n(&c->tr.go, 1, __ATOMIC_SEQ_CST);
        if (unlikely(interp_must_stop(c)))
            return true;
    }
    c->cur = NULL;
    c->block = NULL;
    choose_vectors(c);
    choose_ret_stack(c);
    void (*enter)(uint64_t) = (void (*)(uint64_t))(uintptr_t)tr_rx(k, k->glue.enter);
    c->tr.link = 0;
    if (unlikely(c->cosim != NULL))
        cosim_before(c, t);
    enter(tr_rx(k, t->entry_mem));
    came_out(c);
    if (unlikely(c->cosim != NULL))
        cosim_after(c);
    return true;
}

/* ---- life ---- */

#define CODE_MIB_ALL 512u /* what all vcpus' code may take below 2 GiB */

bool tr_options_read(struct tr_options *o, struct props *p, unsigned vcpus, GError **err)
{
    static const char *const tiers[] = {"auto", "interp", "jit", NULL};
    static const char *const when[] = {"off", "on", "always", NULL};
    static const uint64_t from[] = {UINT64_MAX, BIT64(32), 0};
    unsigned tier = 0, direct = 1, places = 1;
    unsigned limit = MAX_OF(CODE_MIB_ALL / vcpus, 1);
    uint64_t mib = MIN_OF(128, limit);

    *o = (struct tr_options){
        .warm = WARM, .code_bytes = mib * MiB, .direct = true, .places_from = from[places]};
    if (!p)
        return true;
    if (!props_get_enum(p, "tier", tiers, &tier, err) || !props_get_u64(p, "tb-size", &mib, err) ||
        !props_get_enum(p, "direct", when, &direct, err) ||
        !props_get_enum(p, "places", when, &places, err) ||
        !props_get_bool(p, "cosim", &o->cosim, err) || !props_get_bool(p, "perf", &o->perf, err))
        return false;
    o->off = tier == 1;
    o->direct = direct > 0;
    o->direct_always = direct == 2;
    o->places_from = from[places];
    if (tier == 2)
        o->warm = 0;
    if (mib < 1 || mib > limit)
        return error_set(err, HANOK_ERROR_INVALID,
                         "tb-size must be from 1 to %u MiB with %u vcpus: it is the size of each "
                         "vcpu's translated code.",
                         limit, vcpus);
    o->code_bytes = mib * MiB;
    return true;
}

bool tr_init(struct jit_cpu *c)
{
    c->tr.mxcsr_plain = MXCSR_DEFAULT;
    const struct fpu *f = fpu_of(c);

    c->tr.vec_basic = XF_SSE | (sys_has(c, FEAT_1_ECX, 28) ? XF_AVX : 0);
    /* Of AVX-512 only what VEX forms clear. */
    c->tr.vec_basic |= f->components & BIT64(xsave_parts()[XSAVE_PART_ZMM_HI].bit);
    c->tr.vec_all = c->tr.vec_basic | (f->components & XSAVE_AVX512);
    c->tr.vec_mask = c->tr.vec_basic;
    c->tr.xstate_bv = (uint32_t)f->components;
    c->tr.cache = tr_cache_new(c);
    if (!c->tr.cache)
        return false;
    if (set_of(c)->tr.cosim && !(c->cosim = cosim_new(c)))
        return false;
    c->tr.ret_sp = c->tr.cache->ret_top[0];
    c->tr.ret_other = c->tr.cache->ret_top[1];
    direct_init(c);
    pthread_once(&handlers, handlers_install);
    return true;
}

void tr_fini(struct jit_cpu *c)
{
    direct_fini(c);
    cosim_free(c->cosim);
    c->cosim = NULL;
    tr_cache_free(c->tr.cache);
    c->tr.cache = NULL;
}
