/* loop.h - the inside of struct evloop, shared by evloop.c and timer.c.
 *
 * Lock order: vm_clock.lock -> evloop.lock.  Neither is held while a callback runs. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/evloop.h"

#include <glib.h>
#include <pthread.h>

/* All timers of one loop on one clock, as a binary heap. */
struct timer_queue {
    struct evloop *loop; /* immutable */
    /* under loop->lock */
    struct vm_clock *clock; /* NULL: host clock */
    bool unused;            /* its clock is gone; the next new clock takes it over */
    struct timer **heap;    /* ordered by heap_ns */
    size_t count, capacity, timers;
    uint64_t not_before_ns; /* while dispatching: what is armed now waits for the next round */
    struct timer_queue *next_in_loop;
    /* under clock->lock */
    struct timer_queue *next_in_clock;
};

struct defer_item {
    struct defer_item *next;
    evloop_fn *fn;
    void *opaque;
};

struct evloop {
    /* immutable */
    GMainContext *context;
    pthread_t thread;
    int tid; /* 0 for the main loop: its tid is the process id, which a daemonizing fork changes */
    GSource *source;
    int timer_fd;
    void *timer_fd_tag;
    /* any thread, atomic */
    bool quit;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t cond; /* timer callbacks done, thread started */
    struct defer_item *defer_first, **defer_last;
    struct timer_queue *queues;
    uint64_t armed_ns;    /* host time timer_fd is set to; UINT64_MAX: not armed */
    struct timer *firing; /* its callback is running now */
};

void timer_dispatch(struct evloop *loop);
void timer_queues_free(struct evloop *loop);

#endif
