/* board_requests.c - wishes of chips, vcpus and signal handlers, granted in the main thread.
 *
 * Whoever wants something notes it under the lock and wakes the main loop; the main loop grants it
 * once no board lock is held and no vcpu runs.  Of several wishes the most final one wins: exit,
 * internal error, shutdown, reset, sleep. */
#include "base/evloop.h"
#include "base/log.h"
#include "base/util.h"
#include "cpu/vcpu.h"
#include "devices/acpi_pm.h"
#include "machine_internal.h"

#include <jansson.h>

enum wish {
    WISH_EXIT = 1 << 0,
    WISH_INTERNAL_ERROR = 1 << 1,
    WISH_SHUTDOWN = 1 << 2,
    WISH_RESET = 1 << 3,
    WISH_SLEEP = 1 << 4,
    WISH_RTC_CHANGE = 1 << 5,
    WISH_EJECT = 1 << 6,
    WISH_PAUSE = 1 << 7,
    WISH_WAKE_CHECK = 1 << 8,
    WISH_REMAP = 1 << 9,
    WISH_WATCHDOG = 1 << 10,
    WISH_PANIC = 1 << 11,
    WISH_CRASH_LOADED = 1 << 12,
};

/* After these the vcpus do not go on as they are.  They stop at once: the one that asked (a write
 * to the sleep or reset register) must not execute another instruction. */
#define WISHES_THAT_STOP                                                                           \
    (WISH_EXIT | WISH_INTERNAL_ERROR | WISH_SHUTDOWN | WISH_RESET | WISH_SLEEP | WISH_PAUSE |      \
     WISH_REMAP)

struct wishes {
    unsigned set;
    bool waking; /* the main loop has been asked to look */
    enum stop_cause reset_cause, shutdown_cause;
    int exit_status;
    char *internal_dump;
    int64_t rtc_offset_s;
    enum run_state pause_state;
};

static struct wishes wishes_take(struct machine *m)
{
    struct wishes w;

    pthread_mutex_lock(&m->request_lock);
    w = *m->wishes;
    *m->wishes = (struct wishes){0};
    pthread_mutex_unlock(&m->request_lock);
    return w;
}

static void grant_reset(struct machine *m, enum stop_cause cause)
{
    bool end = m->cfg->no_reboot || m->cfg->on_reboot == ACTION_SHUTDOWN;

    if (end && cause == CAUSE_TRIPLE_FAULT)
        log_warning(
            "the guest had a triple fault, which ends it instead of rebooting; -d cpu_reset "
            "shows its registers");
    if (end)
        machine_shutdown(m, cause);
    else
        machine_reset(m, cause);
}

static void grant_internal_error(struct machine *m, char *dump)
{
    log_error("the guest cannot go on: %s", dump);
    g_free(dump);
    machine_stop(m, RUN_INTERNAL_ERROR);
}

static void grant(void *opaque)
{
    struct machine *m = opaque;
    struct wishes w = wishes_take(m);

    if (w.set & WISH_RTC_CHANGE)
        machine_emit(m, "RTC_CHANGE",
                     json_pack("{s:I, s:s}", "offset", (json_int_t)w.rtc_offset_s, "qom-path",
                               "/machine/unattached/device[0]"));
    if (w.set & WISH_REMAP)
        machine_remap(m);
    if (w.set & WISH_EJECT)
        machine_grant_ejects(m);
    if (w.set & WISH_CRASH_LOADED)
        machine_emit(m, "GUEST_CRASHLOADED", json_pack("{s:s}", "action", "run"));
    if (w.set & WISH_PANIC)
        machine_panicked(m);
    if (w.set & WISH_WATCHDOG)
        machine_watchdog_expired(m);
    if (w.set & WISH_EXIT) {
        machine_end(m, w.exit_status);
    } else if (w.set & WISH_INTERNAL_ERROR) {
        grant_internal_error(m, g_steal_pointer(&w.internal_dump));
    } else if (w.set & WISH_SHUTDOWN) {
        machine_shutdown(m, w.shutdown_cause);
    } else if (w.set & WISH_RESET) {
        grant_reset(m, w.reset_cause);
    } else if (w.set & WISH_SLEEP) {
        machine_suspend(m);
    } else if (w.set & WISH_PAUSE) {
        machine_stop(m, w.pause_state);
    } else if (w.set & WISH_WAKE_CHECK) {
        machine_wake_check(m);
    }
    g_free(w.internal_dump);
}

/* Ends the critical section that the caller began. */
static void wish_unlock(struct machine *m, enum wish wish)
{
    bool first = !m->wishes->waking;

    m->wishes->waking = true;
    m->wishes->set |= wish;
    pthread_mutex_unlock(&m->request_lock);
    if ((wish & WISHES_THAT_STOP) && m->cpus)
        cpu_set_stop_soon(m->cpus);
    if (first)
        evloop_defer(evloop_main(), grant, m);
}

void machine_request_reset(struct machine *m, enum stop_cause cause)
{
    pthread_mutex_lock(&m->request_lock);
    m->wishes->reset_cause = cause;
    wish_unlock(m, WISH_RESET);
}

void machine_request_shutdown(struct machine *m, enum stop_cause cause)
{
    pthread_mutex_lock(&m->request_lock);
    m->wishes->shutdown_cause = cause;
    wish_unlock(m, WISH_SHUTDOWN);
}

void machine_request_exit(struct machine *m, int status)
{
    pthread_mutex_lock(&m->request_lock);
    if (!(m->wishes->set & WISH_EXIT)) /* the first status counts */
        m->wishes->exit_status = status;
    wish_unlock(m, WISH_EXIT);
}

void machine_request_stop(struct machine *m, enum run_state why)
{
    pthread_mutex_lock(&m->request_lock);
    m->wishes->pause_state = why;
    wish_unlock(m, WISH_PAUSE);
}

void machine_request_internal_error(struct machine *m, unsigned cpu, const char *dump)
{
    pthread_mutex_lock(&m->request_lock);
    if (!m->wishes->internal_dump)
        m->wishes->internal_dump = g_strdup_printf("CPU %u stopped\n%s", cpu, dump);
    wish_unlock(m, WISH_INTERNAL_ERROR);
}

void machine_map_settled(struct machine *m)
{
    pthread_mutex_lock(&m->request_lock);
    m->wishes->set &= ~(unsigned)WISH_REMAP;
    pthread_mutex_unlock(&m->request_lock);
}

void machine_request_wake_check(struct machine *m)
{
    pthread_mutex_lock(&m->request_lock);
    wish_unlock(m, WISH_WAKE_CHECK);
}

void machine_request_ejects(struct machine *m)
{
    pthread_mutex_lock(&m->request_lock);
    wish_unlock(m, WISH_EJECT);
}

/* ---- what chips call, board lock held ---- */

/* The instruction that asked is the guest's last one. */
static void vcpus_hold(struct machine *m)
{
    if (m->cpus)
        cpu_set_stop_soon(m->cpus);
}

static void board_reset_wanted(void *opaque, enum board_reset_cause cause)
{
    vcpus_hold(opaque);
    machine_request_reset(opaque, CAUSE_GUEST_RESET);
}

static void board_shutdown_wanted(void *opaque)
{
    vcpus_hold(opaque);
    machine_request_shutdown(opaque, CAUSE_GUEST_SHUTDOWN);
}

static void board_sleep_wanted(void *opaque, unsigned state)
{
    struct machine *m = opaque;

    if (state == 4) { /* suspend to disk ends as power-off does: the image is on the disk */
        board_shutdown_wanted(m);
        return;
    }
    vcpus_hold(m);
    pthread_mutex_lock(&m->request_lock);
    wish_unlock(m, WISH_SLEEP);
}

static void board_debug_exit(void *opaque, int status)
{
    vcpus_hold(opaque);
    machine_request_exit(opaque, status);
}

static void board_watchdog_expired(void *opaque)
{
    struct machine *m = opaque;

    pthread_mutex_lock(&m->request_lock);
    wish_unlock(m, WISH_WATCHDOG);
}

static void board_panicked(void *opaque, bool crash_kernel)
{
    struct machine *m = opaque;

    pthread_mutex_lock(&m->request_lock);
    wish_unlock(m, crash_kernel ? WISH_CRASH_LOADED : WISH_PANIC);
}

static void board_rtc_changed(void *opaque, int64_t offset_s)
{
    struct machine *m = opaque;

    pthread_mutex_lock(&m->request_lock);
    m->wishes->rtc_offset_s = offset_s;
    wish_unlock(m, WISH_RTC_CHANGE);
}

/* The next instruction may lie in what changes. */
static void board_map_changed(void *opaque)
{
    struct machine *m = opaque;

    vcpus_hold(m);
    pthread_mutex_lock(&m->request_lock);
    wish_unlock(m, WISH_REMAP);
}

static void board_smi(void *opaque)
{
    struct vcpu *v = vcpu_current();

    if (v)
        vcpu_smi(v);
}

void machine_smm_begin(struct machine *m)
{
    if (!m->smm_wanted || !m->cpus)
        return;
    if (cpu_set_has_smm(m->cpus))
        m->requests.smi = board_smi;
    else
        log_warning("-machine smm=on is accepted, but system management mode is not to be had with "
                    "KVM here: -accel jit has it.");
}

void machine_requests_init(struct machine *m)
{
    m->wishes = g_new0(struct wishes, 1);
    m->requests = (struct board_requests){
        .opaque = m,
        .reset = board_reset_wanted,
        .shutdown = board_shutdown_wanted,
        .sleep = board_sleep_wanted,
        .debug_exit = board_debug_exit,
        .rtc_change = board_rtc_changed,
        .map_changed = board_map_changed,
        .watchdog = board_watchdog_expired,
        .panicked = board_panicked,
    };
}

void machine_requests_fini(struct machine *m)
{
    evloop_undefer(evloop_main(), grant, m);
    g_free(m->wishes->internal_dump);
    g_free(m->wishes);
}
