/* Event loops, deferred work, clocks and timers. */
#include "base/evloop.h"
#include "base/util.h"

#include <glib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MS 1000000ull

static void quit_cb(void *opaque)
{
    evloop_quit_main();
}

struct fired {
    unsigned count;
    uint64_t at_ns;
};

static void fired_cb(void *opaque)
{
    struct fired *f = opaque;
    f->count++;
    f->at_ns = host_clock_ns();
}

/* Runs the main loop for a while. */
static void run_for(uint64_t ns)
{
    struct timer *t = timer_new(evloop_main(), NULL, quit_cb, NULL);
    timer_set(t, host_clock_ns() + ns);
    evloop_run_main();
    timer_free(t);
}

static void test_quit_before_run_is_kept(void)
{
    evloop_quit_main();
    evloop_run_main();
}

static void test_timer_fires_after_deadline_within_a_millisecond(void)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 10; i++) {
        struct fired f = {0};
        struct timer *t = timer_new(evloop_main(), NULL, fired_cb, &f);
        uint64_t deadline = host_clock_ns() + 2 * MS;
        timer_set(t, deadline);
        g_assert_true(timer_pending(t));
        g_assert_cmpuint(timer_deadline_ns(t), ==, deadline);
        run_for(5 * MS);
        g_assert_cmpuint(f.count, ==, 1);
        g_assert_cmpuint(f.at_ns, >=, deadline);
        g_assert_false(timer_pending(t));
        best = MIN_OF(best, f.at_ns - deadline);
        timer_free(t);
    }
    g_test_message("best lateness: %" G_GUINT64_FORMAT " ns", best);
    g_assert_cmpuint(best, <, MS); /* poll() with millisecond timeouts could not do this */
}

static void test_timer_moved_later_fires_once_and_late(void)
{
    struct fired f = {0};
    struct timer *t = timer_new(evloop_main(), NULL, fired_cb, &f);
    uint64_t start = host_clock_ns();
    timer_set(t, start + 2 * MS);
    timer_set(t, start + 8 * MS);
    run_for(12 * MS);
    g_assert_cmpuint(f.count, ==, 1);
    g_assert_cmpuint(f.at_ns, >=, start + 8 * MS);
    timer_free(t);
}

static void test_timer_moved_earlier_and_cancelled(void)
{
    struct fired a = {0}, b = {0};
    struct timer *ta = timer_new(evloop_main(), NULL, fired_cb, &a);
    struct timer *tb = timer_new(evloop_main(), NULL, fired_cb, &b);
    uint64_t start = host_clock_ns();
    timer_set(ta, start + 3600ull * 1000 * MS);
    timer_set(tb, start + 2 * MS);
    timer_set(ta, start + 2 * MS);
    timer_cancel(tb);
    run_for(6 * MS);
    g_assert_cmpuint(a.count, ==, 1);
    g_assert_cmpuint(b.count, ==, 0);
    timer_free(ta);
    timer_free(tb);
}

static void test_many_timers_fire_in_order(void)
{
    enum { N = 200 };
    struct fired f[N] = {0};
    struct timer *t[N];
    uint64_t start = host_clock_ns() + MS;
    for (int i = 0; i < N; i++) {
        t[i] = timer_new(evloop_main(), NULL, fired_cb, &f[i]);
        timer_set(t[i], start + (uint64_t)(i * 7919 % N) * 20000);
    }
    for (int i = 0; i < N; i += 3)
        timer_free(t[i]); /* holes in the heap */
    run_for(10 * MS);
    for (int i = 0; i < N; i++) {
        g_assert_cmpuint(f[i].count, ==, i % 3 != 0);
        for (int j = 0; j < N; j++)
            if (i % 3 && j % 3 && i * 7919 % N < j * 7919 % N)
                g_assert_cmpuint(f[i].at_ns, <=, f[j].at_ns);
        if (i % 3)
            timer_free(t[i]);
    }
}

struct rearm {
    struct timer *t;
    unsigned count;
};

static void rearm_past_cb(void *opaque)
{
    struct rearm *r = opaque;
    r->count++;
    timer_set(r->t, 1); /* long ago */
}

static void test_timer_always_in_the_past_does_not_hold_the_loop(void)
{
    struct rearm r = {0};
    r.t = timer_new(evloop_main(), NULL, rearm_past_cb, &r);
    timer_set(r.t, 1);
    run_for(2 * MS); /* returns: the other timer gets its turn */
    g_assert_cmpuint(r.count, >, 0);
    timer_free(r.t);
}

static void test_vm_clock_stands_still_while_stopped(void)
{
    struct vm_clock *c = vm_clock_new();
    g_assert_cmpuint(vm_clock_ns(c), ==, 0);
    vm_clock_set_ns(c, 1000 * MS);
    vm_clock_start(c);
    g_usleep(2000);
    g_assert_cmpuint(vm_clock_ns(c), >=, 1002 * MS);
    vm_clock_stop(c);
    uint64_t at = vm_clock_ns(c);
    g_usleep(2000);
    g_assert_cmpuint(vm_clock_ns(c), ==, at);
    vm_clock_start(c);
    g_assert_cmpuint(vm_clock_ns(c), >=, at);
    g_assert_cmpuint(vm_clock_ns(c), <, at + 1000 * MS);
    vm_clock_free(c);
}

struct clock_reader {
    struct vm_clock *clock;
    bool stop;      /* atomic */
    uint64_t backs; /* how often the clock went back */
};

static void *clock_reader_run(void *opaque)
{
    struct clock_reader *r = opaque;
    uint64_t last = 0;

    while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
        uint64_t now = vm_clock_ns(r->clock);
        r->backs += now < last;
        last = now;
    }
    return NULL;
}

/* Who reads the clock while another thread stops it must not see what comes after the stop. */
static void test_vm_clock_never_goes_back(void)
{
    struct clock_reader r = {.clock = vm_clock_new()};
    GThread *reader = g_thread_new("reader", clock_reader_run, &r);

    for (int i = 0; i < 200000; i++) {
        vm_clock_start(r.clock);
        vm_clock_stop(r.clock);
    }
    __atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
    g_thread_join(reader);
    g_assert_cmpuint(r.backs, ==, 0);
    vm_clock_free(r.clock);
}

/* A restored machine may have run longer than this host is up. */
static void test_vm_clock_ahead_of_host(void)
{
    struct vm_clock *c = vm_clock_new();
    uint64_t ahead = host_clock_ns() + 86400ull * 1000 * MS;
    struct fired f = {0};
    struct timer *t = timer_new(evloop_main(), c, fired_cb, &f);
    vm_clock_set_ns(c, ahead);
    timer_set(t, ahead + 2 * MS);
    run_for(4 * MS);
    g_assert_cmpuint(f.count, ==, 0);
    vm_clock_start(c);
    g_assert_cmpuint(vm_clock_ns(c), >=, ahead);
    run_for(5 * MS);
    g_assert_cmpuint(f.count, ==, 1);
    timer_free(t);
    vm_clock_free(c);
}

static void test_timer_waits_for_stopped_clock(void)
{
    struct vm_clock *c = vm_clock_new();
    struct fired f = {0};
    vm_clock_start(c);
    struct timer *t = timer_new(evloop_main(), c, fired_cb, &f);
    timer_set(t, vm_clock_ns(c) + 3 * MS);
    vm_clock_stop(c);
    run_for(8 * MS);
    g_assert_cmpuint(f.count, ==, 0);
    g_assert_true(timer_pending(t));
    vm_clock_start(c);
    run_for(8 * MS);
    g_assert_cmpuint(f.count, ==, 1);
    timer_free(t);
    vm_clock_free(c);
}

struct order {
    char text[16];
    unsigned n;
};
struct letter {
    struct order *o;
    char c;
};

static void letter_cb(void *opaque)
{
    struct letter *l = opaque;
    l->o->text[l->o->n++] = l->c;
}

static void test_deferred_work_keeps_order_and_can_be_forgotten(void)
{
    struct order o = {0};
    struct letter a = {&o, 'a'}, b = {&o, 'b'}, c = {&o, 'c'};
    struct evloop *loop = evloop_main();
    evloop_defer(loop, letter_cb, &a);
    evloop_defer(loop, letter_cb, &b);
    evloop_defer(loop, letter_cb, &c);
    evloop_defer(loop, letter_cb, &b);
    evloop_undefer(loop, letter_cb, &b);
    evloop_defer(loop, letter_cb, &a);
    evloop_defer(loop, quit_cb, NULL);
    evloop_run_main();
    g_assert_cmpstr(o.text, ==, "aca");
}

struct where {
    struct evloop *loop;
    bool inside;
    int tid;
};

static void where_cb(void *opaque)
{
    struct where *w = opaque;
    w->inside = evloop_is_current(w->loop);
    w->tid = gettid();
}

static void test_call_runs_in_the_loops_thread(void)
{
    g_autoptr(GError) err = NULL;
    struct evloop *loop = evloop_new("iothread-test", &err);
    g_assert_no_error(err);
    struct where w = {.loop = loop};
    evloop_call(loop, where_cb, &w);
    g_assert_true(w.inside);
    g_assert_cmpint(w.tid, ==, evloop_tid(loop));
    g_assert_cmpint(w.tid, !=, gettid());
    g_assert_false(evloop_is_current(loop));
    evloop_free(loop);
    w = (struct where){.loop = evloop_main()};
    evloop_call(evloop_main(), where_cb, &w);
    g_assert_true(w.inside);
    g_assert_cmpint(evloop_tid(evloop_main()), ==, getpid());
}

struct cross {
    struct evloop *loop;
    struct timer *t;
    unsigned count; /* atomic */
};

static void cross_cb(void *opaque)
{
    struct cross *x = opaque;
    g_assert_true(evloop_is_current(x->loop));
    __atomic_fetch_add(&x->count, 1, __ATOMIC_RELAXED);
}

static void test_timers_set_from_other_threads(void)
{
    struct evloop *loop = evloop_new("iothread-test", NULL);
    struct cross x = {.loop = loop};
    x.t = timer_new(loop, NULL, cross_cb, &x);
    for (unsigned i = 1; i <= 200; i++) {
        timer_set(x.t, host_clock_ns() + i % 3 * 20000);
        uint64_t give_up = host_clock_ns() + 5000 * MS;
        while (__atomic_load_n(&x.count, __ATOMIC_RELAXED) < i && host_clock_ns() < give_up)
            g_usleep(10);
        g_assert_cmpuint(__atomic_load_n(&x.count, __ATOMIC_RELAXED), ==, i);
    }
    timer_set(x.t, host_clock_ns());
    timer_free(x.t); /* waits for a callback in flight */
    evloop_free(loop);
}

struct pipe_test {
    struct evloop_fd *w;
    char got[8];
    unsigned n;
    bool hup;
};

static void pipe_cb(void *opaque, int fd, uint32_t events)
{
    struct pipe_test *p = opaque;
    if (events & EPOLLIN)
        p->n += (unsigned)read(fd, p->got + p->n, 1);
    else if (events & EPOLLHUP)
        p->hup = true;
    if (p->hup || p->n == 2)
        evloop_quit_main();
}

static void test_descriptor_events_and_hangup(void)
{
    int fd[2];
    g_assert_cmpint(pipe(fd), ==, 0);
    struct pipe_test p = {0};
    p.w = evloop_fd_add(evloop_main(), fd[0], 0, pipe_cb, &p);
    g_assert_cmpint(write(fd[1], "xy", 2), ==, 2);
    run_for(2 * MS);
    g_assert_cmpuint(p.n, ==, 0); /* not asked for */
    evloop_fd_set_events(p.w, EPOLLIN);
    evloop_run_main();
    g_assert_cmpstr(p.got, ==, "xy");
    p.n = 0;
    evloop_fd_set_events(p.w, 0);
    close(fd[1]);
    evloop_run_main();
    g_assert_true(p.hup);
    evloop_fd_del(p.w);
    evloop_fd_del(NULL);
    close(fd[0]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/evloop/quit_before_run_is_kept", test_quit_before_run_is_kept);
    g_test_add_func("/evloop/timer_precise", test_timer_fires_after_deadline_within_a_millisecond);
    g_test_add_func("/evloop/timer_later", test_timer_moved_later_fires_once_and_late);
    g_test_add_func("/evloop/timer_earlier", test_timer_moved_earlier_and_cancelled);
    g_test_add_func("/evloop/timers_many", test_many_timers_fire_in_order);
    g_test_add_func("/evloop/timer_past", test_timer_always_in_the_past_does_not_hold_the_loop);
    g_test_add_func("/evloop/vm_clock", test_vm_clock_stands_still_while_stopped);
    g_test_add_func("/evloop/vm_clock_never_goes_back", test_vm_clock_never_goes_back);
    g_test_add_func("/evloop/vm_clock_ahead", test_vm_clock_ahead_of_host);
    g_test_add_func("/evloop/timer_clock_stopped", test_timer_waits_for_stopped_clock);
    g_test_add_func("/evloop/defer", test_deferred_work_keeps_order_and_can_be_forgotten);
    g_test_add_func("/evloop/call", test_call_runs_in_the_loops_thread);
    g_test_add_func("/evloop/timer_threads", test_timers_set_from_other_threads);
    g_test_add_func("/evloop/fd", test_descriptor_events_and_hangup);
    return g_test_run();
}
