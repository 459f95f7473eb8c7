/* timer.c - clocks and timers: one timerfd per loop, one heap per loop and clock.
 *
 * Most timers are moved or cancelled long before they fire (an APIC timer, a TCP timeout), so both
 * are lazy: a heap entry keeps the earliest time it was ever asked for (heap_ns) and the real
 * deadline is compared when that time comes.  Only an earlier deadline touches heap and timerfd.
 *
 * Invariants, under loop->lock:
 *  1. A pending timer is in its heap, and heap_ns <= deadline_ns (or not_before_ns).
 *  2. timer_fd is armed no later than the smallest heap_ns of all running clocks, or
 *     timer_dispatch() is running, which looks at everything and arms it at its end. */
#include "base/util.h"
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC  1000000000ull
#define NOT_PENDING UINT64_MAX
#define NOT_IN_HEAP SIZE_MAX

uint64_t host_clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* One atomic word, so that readers need no lock: bit 0 says running; the rest, signed, is host time
 * minus clock time while running, and the clock time while stopped.  While it is being stopped the
 * word is CLOCK_STOPPING, and readers wait for the time at which it stopped.
 *
 * The race, as a story: a vcpu reads the word (running) and loses its processor; the main thread
 * stops the clock.  Were the vcpu to go on with the host's time of now, it would see more than the
 * clock will show afterwards, and a timer that it starts would begin in the future.  So it looks at
 * the word once more after it has read the host's time. */
#define CLOCK_STOPPING INT64_MIN
struct vm_clock {
    int64_t word;
    pthread_mutex_t lock; /* start, stop, set; the list */
    struct timer_queue *queues;
};

static int64_t clock_word(int64_t ns, bool running)
{
    return (int64_t)((uint64_t)ns << 1) | running;
}

struct vm_clock *vm_clock_new(void)
{
    struct vm_clock *c = g_new0(struct vm_clock, 1);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void vm_clock_free(struct vm_clock *c)
{
    if (!c)
        return;
    for (struct timer_queue *q = c->queues; q; q = q->next_in_clock) {
        pthread_mutex_lock(&q->loop->lock);
        assert(q->timers == 0);
        q->clock = NULL;
        q->unused = true; /* stays in the loop's list, which a dispatch may be walking */
        pthread_mutex_unlock(&q->loop->lock);
    }
    pthread_mutex_destroy(&c->lock);
    g_free(c);
}

static int64_t clock_word_get(const struct vm_clock *c)
{
    int64_t word;

    while ((word = __atomic_load_n(&c->word, __ATOMIC_ACQUIRE)) == CLOCK_STOPPING)
        sched_yield();
    return word;
}

static uint64_t clock_at(const struct vm_clock *c, uint64_t host_ns)
{
    if (!c)
        return host_ns;
    int64_t word = clock_word_get(c);
    return word & 1 ? host_ns - (uint64_t)(word >> 1) : (uint64_t)(word >> 1);
}

uint64_t vm_clock_ns(const struct vm_clock *c)
{
    for (;;) {
        int64_t word = clock_word_get(c);
        if (!(word & 1))
            return (uint64_t)(word >> 1);
        uint64_t host = host_clock_ns();
        __builtin_ia32_lfence(); /* the time is read before the word is */
        if (likely(__atomic_load_n(&c->word, __ATOMIC_ACQUIRE) == word))
            return host - (uint64_t)(word >> 1);
    }
}

/* When the clock will show ns; UINT64_MAX while it stands still. */
static uint64_t clock_to_host(const struct vm_clock *c, uint64_t ns)
{
    if (!c)
        return ns;
    int64_t word = clock_word_get(c);
    if (!(word & 1))
        return UINT64_MAX;
    __int128 host = (__int128)ns + (word >> 1);
    return host < 0 ? 0 : host > INT64_MAX ? INT64_MAX : (uint64_t)host;
}

struct timer {
    /* immutable */
    struct timer_queue *queue;
    evloop_fn *fn;
    void *opaque;
    /* written under loop->lock, read anywhere */
    uint64_t deadline_ns;
    /* under loop->lock */
    uint64_t heap_ns;
    size_t heap_index;
};

static void heap_put(struct timer_queue *q, size_t i, struct timer *t)
{
    q->heap[i] = t;
    t->heap_index = i;
}

static void heap_up(struct timer_queue *q, size_t i)
{
    struct timer *t = q->heap[i];
    while (i > 0 && q->heap[(i - 1) / 2]->heap_ns > t->heap_ns) {
        heap_put(q, i, q->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(q, i, t);
}

static void heap_down(struct timer_queue *q, size_t i)
{
    struct timer *t = q->heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= q->count)
            break;
        if (child + 1 < q->count && q->heap[child + 1]->heap_ns < q->heap[child]->heap_ns)
            child++;
        if (q->heap[child]->heap_ns >= t->heap_ns)
            break;
        heap_put(q, i, q->heap[child]);
        i = child;
    }
    heap_put(q, i, t);
}

static void heap_insert(struct timer_queue *q, struct timer *t, uint64_t ns)
{
    assert(q->count < q->capacity); /* timer_new() made room */
    t->heap_ns = ns;
    q->heap[q->count] = t;
    heap_up(q, q->count++);
}

static void heap_remove(struct timer_queue *q, struct timer *t)
{
    size_t i = t->heap_index;
    struct timer *last = q->heap[--q->count];
    t->heap_index = NOT_IN_HEAP;
    if (last == t)
        return;
    heap_put(q, i, last);
    heap_up(q, i);
    heap_down(q, last->heap_index);
}

static void arm_locked(struct evloop *loop)
{
    uint64_t next = UINT64_MAX;
    for (struct timer_queue *q = loop->queues; q; q = q->next_in_loop)
        if (q->count)
            next = MIN_OF(next, clock_to_host(q->clock, q->heap[0]->heap_ns));
    if (next >= loop->armed_ns)
        return; /* fires early at worst, and arms again then */
    loop->armed_ns = next;
    next = MIN_OF(next, (uint64_t)INT64_MAX);
    struct itimerspec its = {
        .it_value = {.tv_sec = (time_t)(next / NS_PER_SEC), .tv_nsec = (long)(next % NS_PER_SEC)}};
    if (next == 0)
        its.it_value.tv_nsec = 1; /* all zero would disarm */
    int rc = timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
    assert(rc == 0);
    (void)rc;
}

static void fire_locked(struct evloop *loop, struct timer *t)
{
    evloop_fn *fn = t->fn;
    void *opaque = t->opaque;
    __atomic_store_n(&t->deadline_ns, NOT_PENDING, __ATOMIC_RELAXED);
    loop->firing = t;
    pthread_mutex_unlock(&loop->lock);
    fn(opaque); /* may free t */
    pthread_mutex_lock(&loop->lock);
    loop->firing = NULL;
    pthread_cond_broadcast(&loop->cond);
}

/* Runs what is due on one clock, each timer at most once: one that is armed for the past again and
 * again must not keep the others, and the loop, from their turn. */
static void queue_dispatch_locked(struct timer_queue *q, uint64_t host_now)
{
    if (clock_to_host(q->clock, 0) == UINT64_MAX)
        return; /* stopped */
    uint64_t now = clock_at(q->clock, host_now);
    uint64_t outer = q->not_before_ns; /* a callback may run the loop */
    q->not_before_ns = now + 1;
    while (q->count > 0 && q->heap[0]->heap_ns <= now) {
        struct timer *t = q->heap[0];
        heap_remove(q, t);
        if (t->deadline_ns <= now)
            fire_locked(q->loop, t);
        else if (t->deadline_ns != NOT_PENDING)
            heap_insert(q, t, t->deadline_ns);
    }
    q->not_before_ns = outer;
}

void timer_dispatch(struct evloop *loop)
{
    uint64_t expirations;
    ssize_t n = read(loop->timer_fd, &expirations, sizeof(expirations));
    (void)n; /* EAGAIN: another thread has re-armed it meanwhile */
    uint64_t now = host_clock_ns();
    pthread_mutex_lock(&loop->lock);
    loop->armed_ns = UINT64_MAX;
    for (struct timer_queue *q = loop->queues; q; q = q->next_in_loop)
        queue_dispatch_locked(q, now);
    arm_locked(loop);
    pthread_mutex_unlock(&loop->lock);
}

void timer_queues_free(struct evloop *loop)
{
    for (struct timer_queue *q = loop->queues, *next; q; q = next) {
        next = q->next_in_loop;
        assert(q->timers == 0);
        if (q->clock) {
            pthread_mutex_lock(&q->clock->lock);
            struct timer_queue **at = &q->clock->queues;
            while (*at != q)
                at = &(*at)->next_in_clock;
            *at = q->next_in_clock;
            pthread_mutex_unlock(&q->clock->lock);
        }
        g_free(q->heap);
        g_free(q);
    }
}

static void clock_queues_arm(struct vm_clock *c)
{
    for (struct timer_queue *q = c->queues; q; q = q->next_in_clock) {
        pthread_mutex_lock(&q->loop->lock);
        arm_locked(q->loop);
        pthread_mutex_unlock(&q->loop->lock);
    }
}

void vm_clock_start(struct vm_clock *c)
{
    pthread_mutex_lock(&c->lock);
    if (!(c->word & 1)) {
        int64_t ns = c->word >> 1;
        __atomic_store_n(&c->word, clock_word((int64_t)host_clock_ns() - ns, true),
                         __ATOMIC_RELEASE);
        clock_queues_arm(c);
    }
    pthread_mutex_unlock(&c->lock);
}

void vm_clock_stop(struct vm_clock *c)
{
    pthread_mutex_lock(&c->lock);
    int64_t word = c->word;
    if (word & 1) {
        __atomic_store_n(&c->word, CLOCK_STOPPING, __ATOMIC_SEQ_CST);
        int64_t ns = (int64_t)host_clock_ns() - (word >> 1);
        __atomic_store_n(&c->word, clock_word(ns, false), __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&c->lock);
}

void vm_clock_set_ns(struct vm_clock *c, uint64_t ns)
{
    pthread_mutex_lock(&c->lock);
    assert(!(c->word & 1));
    __atomic_store_n(&c->word, clock_word((int64_t)ns, false), __ATOMIC_RELEASE);
    pthread_mutex_unlock(&c->lock);
}

/* The loop's queue for this clock, made or taken over on first use.  clock->lock held if clock. */
static struct timer_queue *queue_get_locked(struct evloop *loop, struct vm_clock *clock)
{
    struct timer_queue *spare = NULL;
    for (struct timer_queue *q = loop->queues; q; q = q->next_in_loop) {
        if (q->unused)
            spare = q;
        else if (q->clock == clock)
            return q;
    }
    struct timer_queue *q = spare;
    if (!q) {
        q = g_new0(struct timer_queue, 1);
        q->loop = loop;
        q->next_in_loop = loop->queues;
        loop->queues = q;
    }
    q->unused = false;
    q->clock = clock;
    q->next_in_clock = NULL;
    if (clock) {
        q->next_in_clock = clock->queues;
        clock->queues = q;
    }
    return q;
}

struct timer *timer_new(struct evloop *loop, struct vm_clock *clock, evloop_fn *fn, void *opaque)
{
    struct timer *t = g_new0(struct timer, 1);
    t->fn = fn;
    t->opaque = opaque;
    t->deadline_ns = NOT_PENDING;
    t->heap_index = NOT_IN_HEAP;
    if (clock)
        pthread_mutex_lock(&clock->lock);
    pthread_mutex_lock(&loop->lock);
    struct timer_queue *q = t->queue = queue_get_locked(loop, clock);
    if (++q->timers > q->capacity) {
        q->capacity = MAX_OF(8u, q->capacity * 2);
        q->heap = g_renew(struct timer *, q->heap, q->capacity);
    }
    pthread_mutex_unlock(&loop->lock);
    if (clock)
        pthread_mutex_unlock(&clock->lock);
    return t;
}

void timer_free(struct timer *t)
{
    if (!t)
        return;
    struct evloop *loop = t->queue->loop;
    pthread_mutex_lock(&loop->lock);
    while (loop->firing == t && !evloop_is_current(loop))
        pthread_cond_wait(&loop->cond, &loop->lock);
    if (t->heap_index != NOT_IN_HEAP)
        heap_remove(t->queue, t);
    t->queue->timers--;
    pthread_mutex_unlock(&loop->lock);
    g_free(t);
}

void timer_set(struct timer *t, uint64_t deadline_ns)
{
    struct timer_queue *q = t->queue;
    pthread_mutex_lock(&q->loop->lock);
    __atomic_store_n(&t->deadline_ns, deadline_ns, __ATOMIC_RELAXED);
    uint64_t heap_ns = MAX_OF(deadline_ns, q->not_before_ns);
    if (deadline_ns != NOT_PENDING && (t->heap_index == NOT_IN_HEAP || heap_ns < t->heap_ns)) {
        if (t->heap_index != NOT_IN_HEAP)
            heap_remove(q, t);
        heap_insert(q, t, heap_ns);
        if (q->heap[0] == t)
            arm_locked(q->loop);
    }
    pthread_mutex_unlock(&q->loop->lock);
}

void timer_cancel(struct timer *t)
{
    timer_set(t, NOT_PENDING);
}

bool timer_pending(const struct timer *t)
{
    return timer_deadline_ns(t) != NOT_PENDING;
}

uint64_t timer_deadline_ns(const struct timer *t)
{
    return __atomic_load_n(&t->deadline_ns, __ATOMIC_RELAXED);
}
