/* interp.c - the loop: runs blocks, takes events between them, turns faults into deliveries. */
#include "cosim.h"

#define NESTING_BYTES (128 * KiB) /* of stack that nested blocks may take */

static _Thread_local struct jit_cpu *running;

struct jit_cpu *interp_running(void)
{
    return running;
}

/* st.rip goes back to the instruction that faulted; without one it is exact already. */
static void rewind_to_cur(struct jit_cpu *c)
{
    const struct block *b = c->block;

    if (!c->cur)
        return;
    c->st.rip = insn_rip(c, c->cur);
    if (b->insn && c->cur >= b->insn && c->cur < b->insn + b->count)
        c->instructions -= b->count - (unsigned)(c->cur - b->insn);
    c->cur = NULL;
}

/* False: triple fault. */
static bool take_fault(struct jit_cpu *c)
{
    flags_to_state(c);
    rewind_to_cur(c);
    c->next = NULL;
    c->link = NULL;
    bool ok = cpu_deliver(c, c->fault.vector, c->fault.has_error, c->fault.error, EV_EXCEPTION);
    flags_from_state(c);
    return ok;
}

#define LEFT_BY_RESTART 2 /* value of sigsetjmp; faults give 1 */

void cpu_restart(struct jit_cpu *c)
{
    siglongjmp(c->fault_jmp, LEFT_BY_RESTART);
}

/* After a handler left by longjmp; false: triple fault. */
static bool resume(struct jit_cpu *c, int how)
{
    if (unlikely(c->cosim != NULL))
        cosim_left(c, how);
    if (how != LEFT_BY_RESTART)
        return take_fault(c);
    flags_to_state(c);
    rewind_to_cur(c);
    c->next = NULL;
    c->link = NULL;
    return true;
}

static inline void run_block(struct jit_cpu *c, struct block *b)
{
    interp_enter(c, b);
    c->next = NULL;
    c->link = NULL;
    b->insn[0].fn(c, b->insn);
}

/* Between instructions: the rest of the program sees a complete state. */
static enum vcpu_exit take_events(struct jit_cpu *c)
{
    enum vcpu_exit exit = VCPU_EXIT_NONE;

    c->cur = NULL;
    flags_to_state(c);
    if (__atomic_load_n(&c->pending, __ATOMIC_ACQUIRE) & PENDING_CODE)
        icache_drain(c);
    c->single = false;
    if (__atomic_load_n(&c->pending, __ATOMIC_ACQUIRE)) {
        c->next = NULL;
        c->link = NULL;
        exit = cpu_take_events(c);
    }
    flags_from_state(c);
    return exit;
}

static inline bool beyond_limit(const struct jit_cpu *c, const struct block *b)
{
    return c->mode != MODE_LONG64 && c->st.rip + b->bytes - 1 > c->st.seg[SEG_CS].limit;
}

struct block *interp_find_fast(struct jit_cpu *c)
{
    struct block *const *jump = ((const struct icache_front *)c->icache)->jump;
    uint64_t linear = c->st.rip;

    if (!(c->mode_key & KEY_CSZERO))
        linear = (uint32_t)(linear + c->st.seg[SEG_CS].base);
    const struct tlb_exec *e = tlb_exec_slot(c, linear);
    if (unlikely(!TLB_COVERS(e->tag, linear, 1)))
        return NULL;
    uintptr_t host = linear - e->tag + e->host;
    struct block *b = jump[jump_cache_index(host)];
    if (likely(b && b->host == host && b->key == c->mode_key))
        return b;
    return NULL;
}

/* Successors in the same page need no lookup next time. */
static inline void note_link(struct jit_cpu *c, struct block *b)
{
    const struct block *from = c->block;
    if (b->page == from->page && !b->host2 && b->page &&
        b->host - from->host == c->st.rip - c->block_rip)
        *c->link = b;
}

static struct block *find(struct jit_cpu *c)
{
    struct block *b = interp_find_fast(c);

    if (unlikely(!b)) {
        c->cur = NULL;
        b = icache_lookup(c);
    }
    /* Linked blocks run past the translator's count. */
    if (c->link && !c->tr.cache)
        note_link(c, b);
    return b;
}

static __attribute__((noinline)) enum vcpu_exit loop(struct jit_cpu *c)
{
    const uint32_t *exit_request = &c->vcpu->exit_request;

    for (;;) {
        if (unlikely(interp_must_stop(c))) {
            enum vcpu_exit exit = take_events(c);
            if (exit != VCPU_EXIT_NONE)
                return exit;
            if (c->single) { /* first: its interrupt shadow and RF are used up already */
                run_block(c, icache_scratch(c));
                continue;
            }
            if (__atomic_load_n(exit_request, __ATOMIC_RELAXED))
                return exit;
        }
        struct block *b = c->next;
        if (!b)
            b = find(c);
        if (unlikely(beyond_limit(c, b))) {
            c->cur = NULL;
            b = icache_scratch(c);
        }
        if (c->tr.cache && likely(!c->tr.bail) && tr_run(c, b)) {
            c->next = NULL;
            c->link = NULL;
            continue;
        }
        c->tr.bail = false;
        if (c->tr.cache)
            TR_COUNT(c->tr.cache->stats.interpreted, 1);
        if (!b->insn)
            b = icache_decoded(c, b);
        run_block(c, b);
    }
}

enum vcpu_exit interp_run(struct jit_cpu *c)
{
    volatile enum vcpu_exit exit = VCPU_EXIT_SHUTDOWN; /* lives across the longjmp */

    running = c;
    c->stack_floor = (uintptr_t)__builtin_frame_address(0) - NESTING_BYTES;
    c->cur = NULL;
    c->next = NULL;
    c->link = NULL;
    flags_from_state(c);
    int how = sigsetjmp(c->fault_jmp, 0);
    if (how == 0 || resume(c, how)) {
        exit = loop(c);
        flags_to_state(c);
    }
    c->cur = NULL;
    running = NULL;
    fpu_sync_to_state(c);
    return exit;
}

int interp_run_to_fault(struct jit_cpu *c)
{
    volatile int vector = -1; /* lives across the longjmp */

    running = c;
    c->stack_floor = (uintptr_t)__builtin_frame_address(0) - NESTING_BYTES;
    c->cur = NULL;
    c->next = NULL;
    c->link = NULL;
    flags_from_state(c);
    int how = sigsetjmp(c->fault_jmp, 0);
    if (how == 1) {
        vector = c->fault.vector;
        rewind_to_cur(c);
    } else {
        if (how == LEFT_BY_RESTART)
            (void)resume(c, how);
        loop(c);
    }
    flags_to_state(c);
    c->cur = NULL;
    running = NULL;
    fpu_sync_to_state(c);
    return vector;
}

int interp_step(struct jit_cpu *c)
{
    volatile int vector = -1; /* lives across the longjmp */

    running = c;
    c->cur = NULL;
    flags_from_state(c);
    int how = sigsetjmp(c->fault_jmp, 0);
    if (how == 0) {
        run_block(c, icache_scratch(c));
    } else {
        if (how != LEFT_BY_RESTART)
            vector = c->fault.vector;
        rewind_to_cur(c);
    }
    flags_to_state(c);
    c->cur = NULL;
    running = NULL;
    fpu_sync_to_state(c);
    return vector;
}
