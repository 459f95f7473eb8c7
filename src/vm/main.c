/* main.c - the life of one virtual machine's process, from the command line to the exit status. */
#include "options.h"
#include "process.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "chardev/chardev.h"
#include "cpu/vcpu.h"
#include "devtest/devtest.h"
#include "machine/machine.h"
#include "monitor/monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static int exit_status;

static void on_machine_exit(void *opaque, int status)
{
    exit_status = status;
    evloop_quit_main();
}

static void on_quit_key(void *opaque)
{
    machine_request_shutdown(opaque, CAUSE_HOST_UI);
}

/* ---- before the machine ---- */

static bool uses_stdio(const char *spec)
{
    return !strcmp(spec, "stdio") || g_str_has_prefix(spec, "stdio,") ||
           g_str_has_prefix(spec, "mon:stdio");
}

static bool check_combinations(struct vm_options *o, GError **err)
{
    if (o->incoming || o->loadvm) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "%s is not possible yet: saving, restoring and migrating machines come "
                         "with a later version",
                         o->incoming ? "-incoming" : "-loadvm");
    }
    bool terminal = false;
    for (unsigned i = 0; i < o->cfg->serials->len; i++) {
        terminal |= uses_stdio(g_ptr_array_index(o->cfg->serials, i));
    }
    for (unsigned i = 0; i < o->monitors->len; i++) {
        struct monitor_spec *m = g_ptr_array_index(o->monitors, i);
        terminal |= m->spec && uses_stdio(m->spec);
    }
    if (o->daemonize && terminal) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "-daemonize leaves the terminal, but a serial port or monitor wants it: "
                         "drop -nographic, or give -serial and -monitor elsewhere");
    }
    return true;
}

static bool start_logging(struct vm_options *o, GError **err)
{
    log_set_timestamps(o->timestamps);
    if (o->log_file && !log_set_file(o->log_file, err)) {
        return false;
    }
    if (o->log_guest_errors) {
        log_set_level(LOG_LEVEL_DEBUG);
    }
    for (unsigned i = 0; i < o->traces->len; i++) {
        trace_enable(g_ptr_array_index(o->traces, i));
    }
    if (o->process_name) {
        prctl(PR_SET_NAME, o->process_name, 0, 0, 0);
    }
    return true;
}

/* Opens -serial and -debugcon specs and leaves "chardev:ID" in their place, so that the board only
 * ever sees chardevs that exist. */
static bool open_specs(GPtrArray *specs, const char *prefix, GPtrArray *monitors, GError **err)
{
    for (unsigned i = 0; i < specs->len; i++) {
        const char *spec = g_ptr_array_index(specs, i);
        g_autofree char *id = g_strdup_printf("%s%u", prefix, i);
        if (!strcmp(spec, "none")) {
            continue;
        }
        bool mon = g_str_has_prefix(spec, "mon:");
        struct chardev *c = chardev_open_legacy(spec, id, false, err);
        if (!c) {
            g_prefix_error(err, "-%s %s: ", prefix, spec);
            return false;
        }
        if (mon) {
            struct monitor_spec *m = g_new0(struct monitor_spec, 1);
            m->chardev = g_strdup(chardev_id(c));
            m->mode = MONITOR_HMP;
            g_ptr_array_add(monitors, m);
        }
        g_free(g_ptr_array_index(specs, i));
        g_ptr_array_index(specs, i) = g_strdup_printf("chardev:%s", chardev_id(c));
    }
    return true;
}

static bool open_chardevs(struct vm_options *o, GError **err)
{
    for (unsigned i = 0; i < o->cfg->chardevs->len; i++) {
        if (!chardev_open(g_ptr_array_index(o->cfg->chardevs, i), err)) {
            return false;
        }
    }
    return open_specs(o->cfg->serials, "serial", o->monitors, err) &&
           open_specs(o->cfg->debugcons, "debugcon", o->monitors, err);
}

/* ---- with the machine ---- */

static bool open_monitors(struct vm_options *o, struct machine *m, GError **err)
{
    for (unsigned i = 0; i < o->monitors->len; i++) {
        struct monitor_spec *s = g_ptr_array_index(o->monitors, i);
        g_autofree char *id = g_strdup_printf("compat_monitor%u", i);
        struct chardev *c = s->chardev
                                ? chardev_find(s->chardev)
                                : chardev_open_legacy(s->spec, id, s->mode == MONITOR_HMP, err);
        if (!c && s->chardev) {
            return error_set(
                err, HANOK_ERROR_NOT_FOUND,
                "the monitor's chardev '%s' does not exist; -chardev ...,id=%s makes it",
                s->chardev, s->chardev);
        }
        if (!c || !monitor_add(m, c, s->mode, err)) {
            g_prefix_error(err, "monitor: ");
            return false;
        }
    }
    return true;
}

/* Which accelerator, and why: only news when the user left it to us or did not get the first wish.
 */
static void say_accelerator(struct vm_options *o, struct machine *m)
{
    struct cpu_set *cpus = machine_cpus(m);
    const char *sentence = machine_accel_sentence(m);
    if (!cpus || !sentence) {
        return;
    }
    if (!vm_options_accel_was_given(o)) {
        fprintf(stderr, "hanok-vm: %s\n", sentence);
        return;
    }
    g_autofree char *first = g_strndup(o->cfg->accels, strcspn(o->cfg->accels, ":"));
    const char *wish = !strcmp(first, "tcg") ? "jit" : first;
    if (strcmp(wish, cpu_set_accel(cpus))) {
        log_warning("%s", sentence);
    }
}

static bool start(struct vm_options *o, struct machine *m, GError **err)
{
    machine_set_exit_handler(m, on_machine_exit, NULL);
    chardev_set_quit_handler(on_quit_key, m);
    if (!open_monitors(o, m, err)) {
        return false;
    }
    if (o->cfg->mem_lock && mlockall(MCL_CURRENT | MCL_FUTURE)) {
        return error_errno(err, errno, "-overcommit mem-lock=on: could not lock the memory");
    }
    signals_attach(m);
    exit_report_attach(m);
    if (o->sandbox && !sandbox_enter(o->sandbox_deny, err)) {
        return false;
    }
    if (o->qtest && !devtest_start(m, o->qtest, err)) {
        return false;
    }
    bool boots = !o->cfg->start_paused && machine_cpus(m);
    if (o->silent) {
        log_warning("Nothing will show what the guest says: add -nographic, or -serial stdio.");
    }
    say_accelerator(o, m);
    daemon_ready();
    if (boots) {
        machine_run(m);
    }
    return true;
}

static bool run(struct vm_options *o, GError **err)
{
    if (!check_combinations(o, err) || !start_logging(o, err) ||
        (o->daemonize && !daemon_fork(err)) || (o->pidfile && !pidfile_create(o->pidfile, err)) ||
        !exit_report_open(err) || !open_chardevs(o, err) || !signals_init(err)) {
        return false;
    }
    struct machine *m = machine_new(o->cfg, err);
    bool ok = m && start(o, m, err);
    if (ok) {
        evloop_run_main();
    }
    monitor_close_all();
    machine_free(m);
    return ok;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    log_init("hanok-vm");
    struct vm_options *o = vm_options_parse(argc, argv, &err);
    if (!o) {
        log_error("%s", err->message);
        return 1;
    }
    if (o->answer) {
        fputs(o->answer, stdout);
        vm_options_free(o);
        return fflush(stdout) ? 1 : 0;
    }
    bool ok = run(o, &err);
    chardev_close_all();
    if (!ok) {
        log_error("%s", err->message);
    }
    pidfile_remove();
    vm_options_free(o);
    return ok ? exit_status : 1;
}
