/* vcpu.c - the part of running a vcpu that does not depend on the accelerator: threads, the pause
 * protocol, and the one switch over what made the accelerator return.
 *
 * PAUSE PROTOCOL.  cpu_set_pause() clears `running` under the lock, raises every exit_request and
 * kicks; each thread clears its own exit_request BEFORE it looks at `running`, so a request it
 * swallowed was either a plain kick or is seen as running == false.  A thread that is not running
 * counts itself in `parked`; when all do, the pause is complete.  A vcpu after a triple fault or an
 * internal error stays parked across resumes, until it is reset or given a state. */
#include "accel.h"

#include "base/areas.h"
#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/ticks.h"
#include "base/trace.h"
#include "bus/io.h"
#include "bus/io_count.h"
#include "cpu/x86_state.h"

#include <assert.h>
#include <glib.h>
#include <signal.h>
#include <unistd.h>

static _Thread_local struct vcpu *current;

struct vcpu *vcpu_current(void)
{
    return current;
}

/* ---- I/O exits ---- */

/* Sizes other than 1, 2, 4 and 8 come from accesses that cross into the region; they are done in
 * the largest pieces that fit. */
static void io_piece(struct io_space *space, bool write, uint64_t addr, uint8_t *data, unsigned len)
{
    while (len) {
        unsigned size = len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
        uint64_t value = 0;
        if (write) {
            memcpy(&value, data, size);
            io_space_write(space, addr, size, value);
        } else {
            value = io_space_read(space, addr, size);
            memcpy(data, &value, size);
        }
        addr += size;
        data += size;
        len -= size;
    }
}

static void handle_io(struct vcpu *v, struct io_space *space)
{
    struct vcpu_io *io = &v->io;
    for (uint32_t i = 0; i < io->count; i++)
        io_piece(space, io->write, io->addr, io->data + (size_t)i * io->size, io->size);
}

/* ---- where its time goes ---- */

/* A sequence lock with one writer: on x86 plain stores, in order (SDM vol.3 9.2.2). */
void vcpu_at(struct vcpu *v, enum vcpu_place place)
{
    struct vcpu_times *t = &v->clock;
    uint64_t now = host_clock_ns();

    __atomic_store_n(&t->seq, t->seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&t->spent_ns[t->place], t->spent_ns[t->place] + now - t->since_ns,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&t->place, place, __ATOMIC_RELAXED);
    __atomic_store_n(&t->since_ns, now, __ATOMIC_RELAXED);
    __atomic_store_n(&t->seq, t->seq + 1, __ATOMIC_RELEASE);
}

static void places_read(struct vcpu *v, uint64_t out[VCPU_PLACES])
{
    struct vcpu_times *t = &v->clock;
    enum vcpu_place place;
    uint32_t seq;
    uint64_t since;

    do {
        seq = __atomic_load_n(&t->seq, __ATOMIC_ACQUIRE);
        for (unsigned i = 0; i < VCPU_PLACES; i++)
            out[i] = __atomic_load_n(&t->spent_ns[i], __ATOMIC_RELAXED);
        place = __atomic_load_n(&t->place, __ATOMIC_RELAXED);
        since = __atomic_load_n(&t->since_ns, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while ((seq & 1) || seq != __atomic_load_n(&t->seq, __ATOMIC_RELAXED));
    uint64_t now = host_clock_ns();
    if (since && now > since)
        out[place] += now - since;
}

/* The software CPU calls devices from inside run(): that time is the VMM's too. */
static void devices_to_vmm(struct vcpu *v, uint64_t place_ns[VCPU_PLACES])
{
    if (!v->set->soft || !v->io_counts)
        return;
    uint64_t ns = host_ticks_to_ns(__atomic_load_n(&v->io_counts->ticks, __ATOMIC_RELAXED));
    ns = MIN_OF(ns, place_ns[VCPU_IN_GUEST]);
    place_ns[VCPU_IN_GUEST] -= ns;
    place_ns[VCPU_IN_VMM] += ns;
}

void vcpu_stats(struct vcpu *v, struct vcpu_stats *out)
{
    *out = v->stats;
    places_read(v, out->place_ns);
    devices_to_vmm(v, out->place_ns);
}

const struct io_counts *vcpu_io_counts(const struct vcpu *v)
{
    return v->io_counts;
}

/* ---- the loop ---- */

static void stall(struct vcpu *v)
{
    pthread_mutex_lock(&v->set->lock);
    v->stalled = true;
    pthread_mutex_unlock(&v->set->lock);
}

/* In the vcpu's thread, which runs no guest code: the state stands still. */
static void report_triple_fault(struct vcpu *v)
{
    struct x86_state *state = g_aligned_alloc0(1, sizeof(*state), _Alignof(struct x86_state));

    v->set->ops->get_state(v, state);
    g_autofree char *registers = x86_state_format(state);
    log_debug("CPU %u had a triple fault\n%s", v->index, registers);
    g_aligned_free(state);
}

static void handle_exit(struct vcpu *v, enum vcpu_exit exit)
{
    const struct cpu_events *ev = &v->set->cfg.events;
    switch (exit) {
    case VCPU_EXIT_PIO:
        handle_io(v, v->set->cfg.pio);
        break;
    case VCPU_EXIT_MMIO:
        handle_io(v, v->set->cfg.mmio);
        break;
    case VCPU_EXIT_SHUTDOWN:
        stall(v);
        report_triple_fault(v);
        if (ev->triple_fault)
            ev->triple_fault(ev->opaque, v->index);
        break;
    case VCPU_EXIT_INTERNAL:
        stall(v);
        if (ev->internal_error)
            ev->internal_error(ev->opaque, v->index,
                               v->internal_error ? v->internal_error : "no details");
        break;
    case VCPU_EXIT_NONE:  /* kicked: the loop looks at requests */
    case VCPU_EXIT_HLT:   /* the accelerators wait themselves; back for a request */
    case VCPU_EXIT_DEBUG: /* no debugger is attached: go on */
    case VCPU_EXIT_COUNT:
        break;
    }
}

static void park(struct cpu_set *s, struct vcpu *v)
{
    enum vcpu_exit exit;
    while (s->ops->settle && (exit = s->ops->settle(v)) != VCPU_EXIT_NONE)
        handle_exit(v, exit);
    vcpu_at(v, VCPU_PAUSED);
    pthread_mutex_lock(&s->lock);
    if (++s->parked == s->present)
        pthread_cond_broadcast(&s->main_cond);
    while (!s->quitting && !v->leaving && (!s->running || v->stalled))
        pthread_cond_wait(&s->vcpu_cond, &s->lock);
    s->parked--;
    pthread_mutex_unlock(&s->lock);
    vcpu_at(v, VCPU_IN_VMM);
}

static void *vcpu_thread(void *opaque)
{
    struct vcpu *v = opaque;
    struct cpu_set *s = v->set;
    current = v;
    memory_area_add_stack();
    v->clock.since_ns = host_clock_ns();
    s->ops->vcpu_thread_start(v);
    pthread_mutex_lock(&s->lock);
    v->tid = gettid();
    v->io_counts = io_counts_mine();
    v->started = true;
    pthread_cond_broadcast(&s->main_cond);
    pthread_mutex_unlock(&s->lock);

    while (!__atomic_load_n(&s->quitting, __ATOMIC_SEQ_CST) &&
           !__atomic_load_n(&v->leaving, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&v->exit_request, 0, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&s->running, __ATOMIC_SEQ_CST) || v->stalled) {
            park(s, v);
            continue;
        }
        enum vcpu_exit exit = s->ops->run(v);
        v->stats.exits[exit]++;
        TRACE(vcpu_exit, "cpu %u exit %d", v->index, exit);
        handle_exit(v, exit);
    }
    return NULL;
}

void vcpu_kick(struct vcpu *v)
{
    __atomic_store_n(&v->exit_request, 1, __ATOMIC_SEQ_CST);
    v->set->ops->kick(v);
}

void vcpu_internal_error(struct vcpu *v, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_free(v->internal_error);
    v->internal_error = g_strdup_vprintf(fmt, ap);
    va_end(ap);
}

/* ---- pause, resume, reset ---- */

void cpu_set_resume(struct cpu_set *s)
{
    pthread_mutex_lock(&s->lock);
    if (!s->clock_on)
        s->ops->clock_started(s);
    s->clock_on = true;
    __atomic_store_n(&s->running, true, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&s->vcpu_cond);
    pthread_mutex_unlock(&s->lock);
}

static void stop_locked(struct cpu_set *s)
{
    if (!s->running)
        return;
    __atomic_store_n(&s->running, false, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < s->count; i++)
        vcpu_kick(s->vcpu[i]);
}

void cpu_set_stop_soon(struct cpu_set *s)
{
    pthread_mutex_lock(&s->lock);
    stop_locked(s);
    pthread_mutex_unlock(&s->lock);
}

void cpu_set_pause(struct cpu_set *s)
{
    assert(!current || current->set != s);
    pthread_mutex_lock(&s->lock);
    stop_locked(s);
    while (s->parked < s->present)
        pthread_cond_wait(&s->main_cond, &s->lock);
    if (s->clock_on)
        s->ops->clock_stopped(s);
    s->clock_on = false;
    pthread_mutex_unlock(&s->lock);
}

static void assert_paused(struct cpu_set *s)
{
    assert(!__atomic_load_n(&s->running, __ATOMIC_SEQ_CST));
}

static void unstall(struct vcpu *v)
{
    pthread_mutex_lock(&v->set->lock);
    v->stalled = false;
    pthread_mutex_unlock(&v->set->lock);
}

void cpu_set_reset(struct cpu_set *s)
{
    assert_paused(s);
    for (unsigned i = 0; i < s->count; i++) {
        if (!s->vcpu[i]->present)
            continue;
        s->ops->reset(s->vcpu[i]);
        unstall(s->vcpu[i]);
    }
}

void vcpu_get_state(struct vcpu *v, struct x86_state *out)
{
    assert_paused(v->set);
    v->set->ops->get_state(v, out);
}

bool vcpu_set_state(struct vcpu *v, const struct x86_state *in, GError **err)
{
    assert_paused(v->set);
    if (!v->set->ops->set_state(v, in, err))
        return false;
    unstall(v);
    return true;
}

bool cpu_set_has_smm(const struct cpu_set *s)
{
    return s->ops->smi != NULL;
}

void vcpu_smi(struct vcpu *v)
{
    v->set->ops->smi(v);
}

void vcpu_nmi(struct vcpu *v)
{
    v->set->ops->nmi(v);
}

unsigned vcpu_index(const struct vcpu *v)
{
    return v->index;
}

uint32_t vcpu_apic_id(const struct vcpu *v)
{
    return v->apic_id;
}

int vcpu_tid(const struct vcpu *v)
{
    return v->tid;
}

bool vcpu_halted(const struct vcpu *v)
{
    return __atomic_load_n(&v->halted, __ATOMIC_RELAXED);
}

const struct vcpu_counter *cpu_set_counters(const struct cpu_set *s)
{
    return s->ops->counter_names;
}

void vcpu_counters(struct vcpu *v, uint64_t out[VCPU_COUNTERS_MAX])
{
    memset(out, 0, VCPU_COUNTERS_MAX * sizeof(out[0]));
    if (v->set->ops->counters)
        v->set->ops->counters(v, out);
}

void native_stat_free(void *p)
{
    struct native_stat *s = p;
    g_free(s->name);
    g_free(s->value);
    g_free(s);
}

GPtrArray *cpu_set_native_stats(struct cpu_set *s, int index)
{
    return s->ops->native_stats ? s->ops->native_stats(s, index) : NULL;
}

/* ---- creation ---- */

const char *cpu_set_accel(const struct cpu_set *s)
{
    return s->ops->name;
}

bool cpu_set_wants_shared_ram(struct cpu_set *s)
{
    return s->ops->wants_shared_ram && s->ops->wants_shared_ram(s);
}

const struct cpu_model *cpu_set_model(const struct cpu_set *s)
{
    return s->model;
}

unsigned cpu_set_count(const struct cpu_set *s)
{
    return s->present;
}

struct vcpu *cpu_set_get(struct cpu_set *s, unsigned index)
{
    unsigned at = 0;

    assert(index < s->present);
    for (;; at++)
        if (s->vcpu[at]->present && index-- == 0)
            return s->vcpu[at];
}

/* One that is made, present or not. */
static struct vcpu *made_at(struct cpu_set *s, unsigned place)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->vcpu[i]->index == place)
            return s->vcpu[i];
    return NULL;
}

struct vcpu *cpu_set_find(struct cpu_set *s, unsigned place)
{
    struct vcpu *v = made_at(s, place);

    return v && v->present ? v : NULL;
}

struct irqchip *cpu_set_irqchip(struct cpu_set *s)
{
    return s->irqchip;
}

struct soft_irqchip *cpu_set_soft_irqchip(struct cpu_set *s)
{
    return s->soft;
}

bool cpu_set_kernel_pit(const struct cpu_set *s)
{
    return s->kernel_pit;
}

void cpu_set_save(struct cpu_set *s, struct state_writer *w)
{
    assert_paused(s);
    if (s->ops->save)
        s->ops->save(s, w);
}

bool cpu_set_load(struct cpu_set *s, struct state_reader *r, GError **err)
{
    assert_paused(s);
    return !s->ops->load || s->ops->load(s, r, err);
}

static bool thread_start(struct vcpu *v, GError **err)
{
    /* Signals are the main thread's; accelerators unblock what they need. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&v->thread, NULL, vcpu_thread, v);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        return error_errno(err, rc, "cannot start the thread of vcpu %u", v->index);
    g_autofree char *name = g_strdup_printf("CPU %u/%s", v->index, v->set->ops->thread_tag);
    pthread_setname_np(v->thread, name);
    pthread_mutex_lock(&v->set->lock);
    while (!v->started)
        pthread_cond_wait(&v->set->main_cond, &v->set->lock);
    pthread_mutex_unlock(&v->set->lock);
    return true;
}

static bool vcpu_make(struct cpu_set *s, unsigned place, GError **err)
{
    struct vcpu *v = g_new0(struct vcpu, 1);

    v->set = s;
    v->index = place;
    v->apic_id = cpu_apic_id(&s->cfg.topology, place);
    v->cpuid_count = cpuid_build(s->model, &s->cfg.topology, place, v->cpuid);
    if (!s->ops->vcpu_init(v, err)) {
        s->ops->vcpu_fini(v);
        g_free(v);
        return false;
    }
    s->vcpu[s->count] = v; /* whole before others can see it */
    __atomic_store_n(&s->count, s->count + 1, __ATOMIC_RELEASE);
    return true;
}

static bool vcpu_join_in(struct vcpu *v, GError **err)
{
    struct cpu_set *s = v->set;

    pthread_mutex_lock(&s->lock);
    v->present = true;
    s->present++;
    pthread_mutex_unlock(&s->lock);
    if (thread_start(v, err))
        return true;
    pthread_mutex_lock(&s->lock);
    v->present = false;
    s->present--;
    pthread_mutex_unlock(&s->lock);
    return false;
}

static bool vcpus_start(struct cpu_set *s, GError **err)
{
    unsigned count = MAX_OF(s->cfg.topology.cpus, 1u);

    s->vcpu = g_new0(struct vcpu *, MAX_OF(count, s->cfg.topology.maxcpus));
    for (unsigned i = 0; i < count; i++)
        if (!vcpu_make(s, i, err))
            return false;
    for (unsigned i = 0; i < count; i++)
        if (!vcpu_join_in(s->vcpu[i], err))
            return false;
    return true;
}

bool cpu_set_plug(struct cpu_set *s, unsigned place, GError **err)
{
    struct vcpu *v = made_at(s, place);

    assert_paused(s);
    assert(place < s->cfg.topology.maxcpus && !(v && v->present));
    if (!v && !vcpu_make(s, place, err))
        return false;
    v = made_at(s, place);
    s->ops->reset(v);
    unstall(v);
    return vcpu_join_in(v, err);
}

void cpu_set_unplug(struct cpu_set *s, unsigned place)
{
    struct vcpu *v = made_at(s, place);

    assert_paused(s);
    assert(v && v->present && place > 0);
    pthread_mutex_lock(&s->lock);
    __atomic_store_n(&v->leaving, true, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&s->vcpu_cond);
    pthread_mutex_unlock(&s->lock);
    pthread_join(v->thread, NULL);
    pthread_mutex_lock(&s->lock);
    v->leaving = v->started = v->present = false;
    s->present--;
    pthread_mutex_unlock(&s->lock);
    s->ops->reset(v);
    if (s->ops->unplugged)
        s->ops->unplugged(v);
}

void cpu_set_free(struct cpu_set *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    __atomic_store_n(&s->quitting, true, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&s->vcpu_cond);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->count; i++) {
        if (!s->vcpu[i]->started)
            continue;
        vcpu_kick(s->vcpu[i]);
        pthread_join(s->vcpu[i]->thread, NULL);
    }
    for (unsigned i = 0; i < s->count; i++) {
        s->ops->vcpu_fini(s->vcpu[i]);
        g_free(s->vcpu[i]->internal_error);
        g_free(s->vcpu[i]);
    }
    s->ops->fini(s);
    g_free(s->vcpu);
    cpu_model_free(s->model);
    pthread_cond_destroy(&s->vcpu_cond);
    pthread_cond_destroy(&s->main_cond);
    pthread_mutex_destroy(&s->lock);
    g_free(s);
}

struct cpu_set *cpu_set_create(const struct accel_ops *ops, const struct cpu_config *cfg,
                               struct cpu_model *model, GError **err)
{
    struct cpu_set *s = g_new0(struct cpu_set, 1);
    host_ticks_init();
    s->ops = ops;
    s->cfg = *cfg;
    s->model = model;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->vcpu_cond, NULL);
    pthread_cond_init(&s->main_cond, NULL);
    if (!ops->init(s, err) || !vcpus_start(s, err)) {
        cpu_set_free(s);
        return NULL;
    }
    return s;
}
