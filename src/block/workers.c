/* workers.c - two small pools of threads for system calls that block.
 *
 * Leaf work (a file's system calls) waits for nobody; other work (a format's) may wait for leaf
 * work.  Each kind has its own threads: however many formats wait, what they wait for is done.
 * Threads start when there is more work than idle threads, up to WORKERS_MAX of a kind, and leave
 * after WORKER_IDLE_S without work: a machine whose disks run on io_uring pays for none of them. */
#include "block_int.h"

#include "base/areas.h"

#include <signal.h>
#include <time.h>

#define WORKERS_MAX   8
#define WORKER_IDLE_S 5

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    /* under lock */
    struct blk_work *first, **last;
    unsigned queued, threads, idle;
};

#define POOL_INIT(p)                                                                               \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, &(p).first, 0, 0, 0             \
    }
static struct pool leaf_pool = POOL_INIT(leaf_pool), format_pool = POOL_INIT(format_pool);

/* Caller holds p->lock; NULL when the thread should leave. */
static struct blk_work *next_work_locked(struct pool *p)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WORKER_IDLE_S;
    while (!p->first) {
        p->idle++;
        int r = pthread_cond_timedwait(&p->cond, &p->lock, &until);
        p->idle--;
        if (r && !p->first)
            return NULL;
    }
    struct blk_work *w = p->first;
    p->first = w->next;
    if (!p->first)
        p->last = &p->first;
    p->queued--;
    return w;
}

static void *worker(void *arg)
{
    struct pool *p = arg;
    struct blk_work *w;

    pthread_setname_np(pthread_self(), "block-worker");
    memory_area_add_stack();
    pthread_mutex_lock(&p->lock);
    while ((w = next_work_locked(p))) {
        pthread_mutex_unlock(&p->lock);
        w->fn(w);
        pthread_mutex_lock(&p->lock);
    }
    p->threads--;
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Caller holds p->lock. */
static void start_worker_locked(struct pool *p)
{
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t t;

    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    if (pthread_create(&t, &attr, worker, p) == 0)
        p->threads++;
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void push(struct pool *p, struct blk_work *w)
{
    struct blk_work *inline_work = NULL;

    w->next = NULL;
    pthread_mutex_lock(&p->lock);
    *p->last = w;
    p->last = &w->next;
    p->queued++;
    if (p->queued > p->idle && p->threads < WORKERS_MAX)
        start_worker_locked(p);
    if (p->threads == 0) /* the host gives no thread at all: slow, but the request must end */
        inline_work = next_work_locked(p);
    pthread_cond_signal(&p->cond);
    pthread_mutex_unlock(&p->lock);
    if (inline_work)
        inline_work->fn(inline_work);
}

void blk_workers_push(struct blk_work *w)
{
    push(&format_pool, w);
}

void blk_workers_push_leaf(struct blk_work *w)
{
    push(&leaf_pool, w);
}
