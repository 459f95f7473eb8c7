/* jit_sync.c - how vcpu threads wait for, stop and wake each other.
 *
 * in_guest says "this thread may read and write guest memory through its TLB".  It is false while a
 * vcpu is halted, parked, or waits here for another one; whoever wants something revoked need not
 * wait for such a vcpu, because jit_enter_guest() serves all requests before it runs on.
 *
 * The race, as a story: VCPU0 asks VCPU1 to flush (sets PENDING_TLB_FLUSH), then reads in_guest.
 * VCPU1 comes back from a halt: sets in_guest, then reads pending.  Both are sequentially
 * consistent, so either VCPU0 sees in_guest and waits for the acknowledgement (the bit cleared), or
 * VCPU1 sees the bit and flushes before its first instruction.
 *
 * Deadlock: a waiting vcpu has in_guest false, so two that wait for each other both go on. */
#include "sys.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static void notify(struct jit_set *js)
{
    if (!__atomic_load_n(&js->waiters, __ATOMIC_SEQ_CST))
        return;
    pthread_mutex_lock(&js->lock);
    pthread_cond_broadcast(&js->cond);
    pthread_mutex_unlock(&js->lock);
}

static void serve_flush(struct jit_cpu *c)
{
    if (!(__atomic_load_n(&c->pending, __ATOMIC_SEQ_CST) & PENDING_TLB_FLUSH))
        return;
    mmu_flush_all(c);
    pending_clear(c, PENDING_TLB_FLUSH);
    notify(set_of(c));
}

static struct jit_cpu *exclusive_owner(struct jit_set *js)
{
    return __atomic_load_n(&js->exclusive, __ATOMIC_SEQ_CST);
}

void jit_enter_guest(struct jit_cpu *c)
{
    struct jit_set *js = set_of(c);

    for (;;) {
        /* Before in_guest: a request that comes later must not be lost. */
        pending_clear(c, PENDING_STOP);
        __atomic_store_n(&c->in_guest, true, __ATOMIC_SEQ_CST);
        if (likely(!exclusive_owner(js) || exclusive_owner(js) == c))
            break;
        __atomic_store_n(&c->in_guest, false, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&js->waiters, 1, __ATOMIC_SEQ_CST);
        pthread_mutex_lock(&js->lock);
        pthread_cond_broadcast(&js->cond);
        while (exclusive_owner(js))
            pthread_cond_wait(&js->cond, &js->lock);
        pthread_mutex_unlock(&js->lock);
        __atomic_fetch_sub(&js->waiters, 1, __ATOMIC_SEQ_CST);
    }
    serve_flush(c);
}

void jit_leave_guest(struct jit_cpu *c)
{
    __atomic_store_n(&c->in_guest, false, __ATOMIC_SEQ_CST);
    notify(set_of(c));
}

void jit_safepoint(struct jit_cpu *c)
{
    serve_flush(c);
    if (!(__atomic_load_n(&c->pending, __ATOMIC_SEQ_CST) & PENDING_STOP))
        return;
    jit_leave_guest(c);
    jit_enter_guest(c);
}

void jit_flush_wait(struct cpu_set *s, struct jit_cpu *self, struct jit_cpu *target)
{
    struct jit_set *js = s->accel;

    jit_wake(target, PENDING_TLB_FLUSH);
    if (!__atomic_load_n(&target->in_guest, __ATOMIC_SEQ_CST))
        return;
    if (self)
        jit_leave_guest(self);
    __atomic_fetch_add(&js->waiters, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&js->lock);
    while (__atomic_load_n(&target->in_guest, __ATOMIC_SEQ_CST) &&
           (__atomic_load_n(&target->pending, __ATOMIC_SEQ_CST) & PENDING_TLB_FLUSH))
        pthread_cond_wait(&js->cond, &js->lock);
    pthread_mutex_unlock(&js->lock);
    __atomic_fetch_sub(&js->waiters, 1, __ATOMIC_SEQ_CST);
    if (self)
        jit_enter_guest(self);
}

/* ---- running alone ---- */

static bool others_stopped(struct jit_cpu *c)
{
    for (unsigned i = 0; i < c->set->count; i++) {
        struct jit_cpu *other = c->set->vcpu[i]->accel;
        if (other != c && __atomic_load_n(&other->in_guest, __ATOMIC_SEQ_CST))
            return false;
    }
    return true;
}

static void exclusive_begin(struct jit_cpu *c)
{
    struct jit_set *js = set_of(c);
    struct jit_cpu *none = NULL;

    /* Somebody else first: wait for our turn as a stopped vcpu. */
    while (!__atomic_compare_exchange_n(&js->exclusive, &none, c, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
        jit_leave_guest(c);
        jit_enter_guest(c);
        none = NULL;
    }
    for (unsigned i = 0; i < c->set->count; i++)
        if (c->set->vcpu[i]->accel != c)
            pending_set(c->set->vcpu[i]->accel, PENDING_STOP);
    __atomic_fetch_add(&js->waiters, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&js->lock);
    while (!others_stopped(c))
        pthread_cond_wait(&js->cond, &js->lock);
    pthread_mutex_unlock(&js->lock);
    __atomic_fetch_sub(&js->waiters, 1, __ATOMIC_SEQ_CST);
}

static void exclusive_end(struct jit_cpu *c)
{
    struct jit_set *js = set_of(c);

    pthread_mutex_lock(&js->lock);
    __atomic_store_n(&js->exclusive, NULL, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&js->cond);
    pthread_mutex_unlock(&js->lock);
}

void cpu_exclusive(struct jit_cpu *c, void (*fn)(struct jit_cpu *c, void *arg), void *arg)
{
    sigjmp_buf outer;

    if (c->set->count == 1) {
        fn(c, arg);
        return;
    }
    exclusive_begin(c);
    memcpy(&outer, &c->fault_jmp, sizeof(outer));
    int left = sigsetjmp(c->fault_jmp, 0); /* by a fault, or to begin again */
    if (!left)
        fn(c, arg);
    memcpy(&c->fault_jmp, &outer, sizeof(outer));
    exclusive_end(c);
    if (left)
        siglongjmp(c->fault_jmp, left);
}

/* ---- halting ---- */

static void futex(uint32_t *word, int op, uint32_t value)
{
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void jit_wake(struct jit_cpu *c, uint32_t bits)
{
    pending_set(c, bits);
    if (__atomic_load_n(&c->vcpu->halted, __ATOMIC_SEQ_CST))
        futex(&c->pending, FUTEX_WAKE, 1);
}

/* PENDING_STEP says nothing about the outside; all other bits end the wait. */
void jit_halt_wait(struct jit_cpu *c)
{
    __atomic_store_n(&c->vcpu->halted, true, __ATOMIC_SEQ_CST);
    for (;;) {
        uint32_t p = __atomic_load_n(&c->pending, __ATOMIC_SEQ_CST);
        if ((p & ~(uint32_t)PENDING_STEP) ||
            __atomic_load_n(&c->vcpu->exit_request, __ATOMIC_SEQ_CST))
            break;
        futex(&c->pending, FUTEX_WAIT, p);
    }
    __atomic_store_n(&c->vcpu->halted, false, __ATOMIC_SEQ_CST);
}
