/* evloop.h - event loops, timers and deferred work: one loop per thread that serves devices.
 *
 * An evloop wraps a GMainContext: the main thread's loop is the default context (so GLib users such
 * as QMP share it); each -object iothread owns a further one.
 *
 * Owner:   whoever called evloop_new(); the main loop lives as long as the process.
 * Threads: add/remove/modify functions and evloop_defer() may be called from any thread; callbacks
 *          run in the loop's own thread, one at a time.  evloop_call() blocks the caller until the
 *          callback has run in the loop's thread (direct call when already there).
 * Units:   all times are nanoseconds. */
#ifndef BASE_EVLOOP_H
#define BASE_EVLOOP_H

#include "base/types.h"

struct evloop;

struct evloop *evloop_main(void);
struct evloop *evloop_new(const char *thread_name, GError **err); /* starts the thread */
void evloop_free(struct evloop *loop);                            /* joins; accepts NULL */
int evloop_tid(const struct evloop *loop);
bool evloop_is_current(const struct evloop *loop);
void evloop_run_main(void);  /* until evloop_quit_main() */
void evloop_quit_main(void); /* any thread; also safe before run */

/* File descriptors.  events is a mask of EPOLLIN/EPOLLOUT (errors and hang-ups are always told). */
struct evloop_fd;
typedef void evloop_fd_fn(void *opaque, int fd, uint32_t events);
struct evloop_fd *evloop_fd_add(struct evloop *loop, int fd, uint32_t events, evloop_fd_fn *fn,
                                void *opaque);
void evloop_fd_set_events(struct evloop_fd *w, uint32_t events);
void evloop_fd_del(struct evloop_fd *w); /* accepts NULL; after return fn is not called again
                                            (when called from the loop's own thread) */

/* Deferred work ("bottom half"): fn runs once in the loop's thread. */
typedef void evloop_fn(void *opaque);
void evloop_defer(struct evloop *loop, evloop_fn *fn, void *opaque);
/* Forgets what is still waiting for this pair, e.g. before opaque is freed (loop's own thread). */
void evloop_undefer(struct evloop *loop, evloop_fn *fn, void *opaque);
void evloop_call(struct evloop *loop, evloop_fn *fn, void *opaque);

/* Clocks.  The host clock is CLOCK_MONOTONIC.  A vm clock is the host clock minus the time the
 * machine was stopped; devices use it, so that a paused guest's timers stand still.  It never goes
 * back, for any thread, but by vm_clock_set_ns(). */
struct vm_clock;
uint64_t host_clock_ns(void);
struct vm_clock *vm_clock_new(void); /* starts stopped, at 0 */
void vm_clock_free(struct vm_clock *c);
uint64_t vm_clock_ns(const struct vm_clock *c); /* any thread, lock-free */
void vm_clock_start(struct vm_clock *c);
void vm_clock_stop(struct vm_clock *c);
void vm_clock_set_ns(struct vm_clock *c, uint64_t ns); /* state load, while stopped */

/* Timers with an absolute deadline on a clock (NULL = host clock), precise to microseconds (timerfd
 * underneath).  A timer embedded in a device must be deleted before the device is freed. */
struct timer;
/* A timer on a stopped vm clock waits.  timer_free() from another thread waits for a callback that
 * is running, so the caller must not hold a lock the callback takes. */
struct timer *timer_new(struct evloop *loop, struct vm_clock *clock, evloop_fn *fn, void *opaque);
void timer_free(struct timer *t);                      /* accepts NULL */
void timer_set(struct timer *t, uint64_t deadline_ns); /* (re)arm; any thread; cheap when later
                                                          than what is armed */
void timer_cancel(struct timer *t);
bool timer_pending(const struct timer *t);
uint64_t timer_deadline_ns(const struct timer *t); /* UINT64_MAX when not pending */

#endif
