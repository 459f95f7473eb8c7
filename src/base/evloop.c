/* evloop.c - event loops over GMainContext: descriptors, deferred work, threads.
 *
 * Each loop has one GSource of its own that carries the deferred-work queue and the timer
 * descriptor; every watched descriptor is a further GSource. */
#include "base/areas.h"
#include "base/error.h"
#include "base/util.h"
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* GLib's condition bits are poll's, and so are epoll's. */
G_STATIC_ASSERT(EPOLLIN == (int)G_IO_IN && EPOLLOUT == (int)G_IO_OUT);
G_STATIC_ASSERT(EPOLLERR == (int)G_IO_ERR && EPOLLHUP == (int)G_IO_HUP);

struct loop_source {
    GSource base;
    struct evloop *loop;
};

static gboolean loop_prepare(GSource *source, gint *timeout)
{
    struct evloop *loop = ((struct loop_source *)source)->loop;
    *timeout = -1;
    return __atomic_load_n(&loop->defer_first, __ATOMIC_ACQUIRE) != NULL;
}

static gboolean loop_check(GSource *source)
{
    struct evloop *loop = ((struct loop_source *)source)->loop;
    return __atomic_load_n(&loop->defer_first, __ATOMIC_ACQUIRE) != NULL ||
           g_source_query_unix_fd(source, loop->timer_fd_tag) != 0;
}

static struct defer_item *defer_pop(struct evloop *loop, struct defer_item **last_of_round)
{
    pthread_mutex_lock(&loop->lock);
    struct defer_item *d = loop->defer_first;
    if (d) {
        if (!*last_of_round)
            *last_of_round = container_of(loop->defer_last, struct defer_item, next);
        __atomic_store_n(&loop->defer_first, d->next, __ATOMIC_RELEASE);
        if (!d->next)
            loop->defer_last = &loop->defer_first;
    }
    pthread_mutex_unlock(&loop->lock);
    return d;
}

static gboolean loop_dispatch(GSource *source, GSourceFunc fn, gpointer opaque)
{
    struct evloop *loop = ((struct loop_source *)source)->loop;
    (void)fn, (void)opaque;
    /* Items are popped one at a time, so that evloop_undefer() finds those still waiting.  Work
     * deferred by these callbacks runs in the next round, so that descriptors are not starved. */
    struct defer_item *last = NULL, *d;
    while ((d = defer_pop(loop, &last)) != NULL) {
        bool end = d == last;
        evloop_fn *run = d->fn;
        void *arg = d->opaque;
        g_free(d);
        run(arg);
        if (end)
            break;
    }
    if (g_source_query_unix_fd(source, loop->timer_fd_tag))
        timer_dispatch(loop);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs loop_source_funcs = {
    .prepare = loop_prepare,
    .check = loop_check,
    .dispatch = loop_dispatch,
};

static struct evloop *loop_new(GMainContext *context)
{
    struct evloop *loop = g_new0(struct evloop, 1);
    loop->context = context;
    loop->defer_last = &loop->defer_first;
    loop->armed_ns = UINT64_MAX;
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->cond, NULL);
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->timer_fd < 0)
        g_error("cannot create a timer descriptor: %s", g_strerror(errno));
    loop->source = g_source_new(&loop_source_funcs, sizeof(struct loop_source));
    ((struct loop_source *)loop->source)->loop = loop;
    loop->timer_fd_tag = g_source_add_unix_fd(loop->source, loop->timer_fd, G_IO_IN);
    g_source_set_can_recurse(loop->source, TRUE);
    g_source_attach(loop->source, context);
    return loop;
}

struct evloop *evloop_main(void)
{
    static struct evloop *main_loop;
    static gsize once;
    if (g_once_init_enter(&once)) {
        main_loop = loop_new(g_main_context_ref(g_main_context_default()));
        main_loop->thread = pthread_self();
        assert(gettid() == getpid());
        g_once_init_leave(&once, 1);
    }
    return main_loop;
}

static void loop_run(struct evloop *loop)
{
    while (!__atomic_load_n(&loop->quit, __ATOMIC_ACQUIRE))
        g_main_context_iteration(loop->context, TRUE);
}

static void *loop_thread(void *opaque)
{
    struct evloop *loop = opaque;
    memory_area_add_stack();
    g_main_context_push_thread_default(loop->context);
    pthread_mutex_lock(&loop->lock);
    loop->tid = gettid();
    pthread_cond_broadcast(&loop->cond);
    pthread_mutex_unlock(&loop->lock);
    loop_run(loop);
    g_main_context_pop_thread_default(loop->context);
    return NULL;
}

struct evloop *evloop_new(const char *thread_name, GError **err)
{
    struct evloop *loop = loop_new(g_main_context_new());
    /* The lock keeps the new thread from running callbacks before loop->thread is known. */
    pthread_mutex_lock(&loop->lock);
    int rc = pthread_create(&loop->thread, NULL, loop_thread, loop);
    while (rc == 0 && loop->tid == 0)
        pthread_cond_wait(&loop->cond, &loop->lock);
    pthread_mutex_unlock(&loop->lock);
    if (rc) {
        error_errno(err, rc, "cannot start the thread '%s'", thread_name);
        loop->tid = 0;
        evloop_free(loop);
        return NULL;
    }
    char name[16]; /* the kernel's limit */
    g_strlcpy(name, thread_name, sizeof(name));
    pthread_setname_np(loop->thread, name);
    return loop;
}

void evloop_free(struct evloop *loop)
{
    if (!loop)
        return;
    if (loop->tid) {
        __atomic_store_n(&loop->quit, true, __ATOMIC_RELEASE);
        g_main_context_wakeup(loop->context);
        pthread_join(loop->thread, NULL);
    }
    g_source_destroy(loop->source);
    g_source_unref(loop->source);
    g_main_context_unref(loop->context);
    timer_queues_free(loop);
    close(loop->timer_fd);
    while (loop->defer_first) {
        struct defer_item *d = loop->defer_first;
        loop->defer_first = d->next;
        g_free(d);
    }
    pthread_cond_destroy(&loop->cond);
    pthread_mutex_destroy(&loop->lock);
    g_free(loop);
}

int evloop_tid(const struct evloop *loop)
{
    return loop->tid ? loop->tid : getpid();
}

bool evloop_is_current(const struct evloop *loop)
{
    return pthread_equal(loop->thread, pthread_self());
}

void evloop_run_main(void)
{
    struct evloop *loop = evloop_main();
    assert(evloop_is_current(loop));
    loop_run(loop);
    __atomic_store_n(&loop->quit, false, __ATOMIC_RELEASE);
}

void evloop_quit_main(void)
{
    struct evloop *loop = evloop_main();
    __atomic_store_n(&loop->quit, true, __ATOMIC_RELEASE);
    g_main_context_wakeup(loop->context);
}

struct evloop_fd {
    GSource base;
    int fd;
    void *tag;
    evloop_fd_fn *fn;
    void *opaque;
};

static gboolean fd_dispatch(GSource *source, GSourceFunc fn, gpointer opaque)
{
    struct evloop_fd *w = (struct evloop_fd *)source;
    (void)fn, (void)opaque;
    uint32_t events = g_source_query_unix_fd(source, w->tag);
    if (events)
        w->fn(w->opaque, w->fd, events);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs fd_source_funcs = {.dispatch = fd_dispatch};

struct evloop_fd *evloop_fd_add(struct evloop *loop, int fd, uint32_t events, evloop_fd_fn *fn,
                                void *opaque)
{
    GSource *source = g_source_new(&fd_source_funcs, sizeof(struct evloop_fd));
    struct evloop_fd *w = (struct evloop_fd *)source;
    w->fd = fd;
    w->fn = fn;
    w->opaque = opaque;
    w->tag = g_source_add_unix_fd(source, fd, (GIOCondition)(events | G_IO_ERR | G_IO_HUP));
    g_source_set_can_recurse(source, TRUE);
    g_source_attach(source, loop->context);
    return w;
}

void evloop_fd_set_events(struct evloop_fd *w, uint32_t events)
{
    g_source_modify_unix_fd(&w->base, w->tag, (GIOCondition)(events | G_IO_ERR | G_IO_HUP));
}

void evloop_fd_del(struct evloop_fd *w)
{
    if (!w)
        return;
    g_source_destroy(&w->base);
    g_source_unref(&w->base);
}

void evloop_defer(struct evloop *loop, evloop_fn *fn, void *opaque)
{
    struct defer_item *d = g_new(struct defer_item, 1);
    *d = (struct defer_item){.fn = fn, .opaque = opaque};
    pthread_mutex_lock(&loop->lock);
    __atomic_store_n(loop->defer_last, d, __ATOMIC_RELEASE);
    loop->defer_last = &d->next;
    pthread_mutex_unlock(&loop->lock);
    if (!evloop_is_current(loop))
        g_main_context_wakeup(loop->context);
}

void evloop_undefer(struct evloop *loop, evloop_fn *fn, void *opaque)
{
    pthread_mutex_lock(&loop->lock);
    struct defer_item **at = &loop->defer_first;
    while (*at) {
        struct defer_item *d = *at;
        if (d->fn == fn && d->opaque == opaque) {
            *at = d->next;
            g_free(d);
        } else {
            at = &d->next;
        }
    }
    loop->defer_last = at;
    pthread_mutex_unlock(&loop->lock);
}

struct call {
    evloop_fn *fn;
    void *opaque;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void call_run(void *opaque)
{
    struct call *c = opaque;
    c->fn(c->opaque);
    pthread_mutex_lock(&c->lock);
    c->done = true;
    pthread_cond_signal(&c->cond);
    pthread_mutex_unlock(&c->lock);
}

void evloop_call(struct evloop *loop, evloop_fn *fn, void *opaque)
{
    if (evloop_is_current(loop)) {
        fn(opaque);
        return;
    }
    struct call c = {.fn = fn, .opaque = opaque};
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.cond, NULL);
    evloop_defer(loop, call_run, &c);
    pthread_mutex_lock(&c.lock);
    while (!c.done)
        pthread_cond_wait(&c.cond, &c.lock);
    pthread_mutex_unlock(&c.lock);
    pthread_cond_destroy(&c.cond);
    pthread_mutex_destroy(&c.lock);
}
