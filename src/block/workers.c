/* workers.c - a small pool of threads for system calls that block.
 *
 * Threads start when there is more work than idle threads, up to WORKERS_MAX, and leave after
 * WORKER_IDLE_S without work: a machine whose disks run on io_uring pays for none of them. */
#include "block_int.h"

#include <signal.h>
#include <time.h>

#define WORKERS_MAX   8
#define WORKER_IDLE_S 5

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pool_cond = PTHREAD_COND_INITIALIZER;
/* under pool_lock */
static struct blk_work *first, **last = &first;
static unsigned queued, threads, idle;

/* Caller holds pool_lock; NULL when the thread should leave. */
static struct blk_work *next_work_locked(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WORKER_IDLE_S;
    while (!first) {
        idle++;
        int r = pthread_cond_timedwait(&pool_cond, &pool_lock, &until);
        idle--;
        if (r && !first)
            return NULL;
    }
    struct blk_work *w = first;
    first = w->next;
    if (!first)
        last = &first;
    queued--;
    return w;
}

static void *worker(void *arg)
{
    pthread_setname_np(pthread_self(), "block-worker");
    pthread_mutex_lock(&pool_lock);
    struct blk_work *w;
    while ((w = next_work_locked())) {
        pthread_mutex_unlock(&pool_lock);
        w->fn(w);
        pthread_mutex_lock(&pool_lock);
    }
    threads--;
    pthread_mutex_unlock(&pool_lock);
    return NULL;
}

/* Caller holds pool_lock. */
static void start_worker_locked(void)
{
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t t;

    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    if (pthread_create(&t, &attr, worker, NULL) == 0)
        threads++;
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void blk_workers_push(struct blk_work *w)
{
    struct blk_work *inline_work = NULL;

    w->next = NULL;
    pthread_mutex_lock(&pool_lock);
    *last = w;
    last = &w->next;
    queued++;
    if (queued > idle && threads < WORKERS_MAX)
        start_worker_locked();
    if (threads == 0) /* the host gives no thread at all: slow, but the request must end */
        inline_work = next_work_locked();
    pthread_cond_signal(&pool_cond);
    pthread_mutex_unlock(&pool_lock);
    if (inline_work)
        inline_work->fn(inline_work);
}
