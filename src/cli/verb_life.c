/* verb_life.c - the life of a machine: start to end, and what it says meanwhile. */
#include "life.h"

#include "base/evloop.h"
#include "base/util.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- start ---- */

static int do_start(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    if (!vm_start(vm, NULL, cmd_flag(c, "paused") ? VM_START_PAUSED : 0, &err)) {
        g_prefix_error(&err, "Domain '%s' did not start: ", vm->name);
        return cmd_error(&err);
    }
    cmd_say(c, "Domain '%s' started", vm->name);
    return cmd_flag(c, "console") ? console_attach(vm, NULL) : 0;
}

/* ---- commands of one QMP word ---- */

static int simple(struct cmd *c, const char *command, const char *done)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_active_vm(c);
    QMP_AUTO q = vm ? vm_monitor_or_say(vm) : NULL;
    if (!q) {
        return 1;
    }
    if (!qmp_call(q, command, NULL, NULL, &err)) {
        return cmd_error(&err);
    }
    cmd_say(c, "Domain '%s' %s", vm->name, done);
    return 0;
}

static int do_suspend(struct cmd *c)
{
    return simple(c, "stop", "suspended");
}

static int do_resume(struct cmd *c)
{
    return simple(c, "cont", "resumed");
}

static int do_reset(struct cmd *c)
{
    return simple(c, "system_reset", "was reset");
}

static int do_inject_nmi(struct cmd *c)
{
    return simple(c, "inject-nmi", "got an NMI");
}

static int do_wakeup(struct cmd *c)
{
    return simple(c, "system_wakeup", "successfully woken up");
}

/* ---- shutdown, reboot ---- */

static bool agent_asks(struct vm *vm, const char *mode, GError **err)
{
    g_autofree char *path = agent_socket(vm, err);
    g_autoptr(GError) why = NULL;
    JSON_AUTO ignored = NULL;
    /* a guest that goes down at once does not answer */
    if (!path || !agent_call(path, "guest-ping", NULL, 3000, &ignored, err)) {
        return false;
    }
    agent_call(path, "guest-shutdown", json_pack("{ss}", "mode", mode), 3000, NULL, &why);
    return true;
}

static bool wants_mode(struct cmd *c, const char *mode)
{
    const char *given = cmd_str(c, "mode");
    g_auto(GStrv) words = g_strsplit(given ? given : "acpi", ",", -1);
    return g_strv_contains((const char *const *)words, mode);
}

static int do_shutdown(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_active_vm(c);
    QMP_AUTO q = vm ? vm_monitor_or_say(vm) : NULL;
    if (!q) {
        return 1;
    }
    bool ok = wants_mode(c, "agent") && agent_asks(vm, "powerdown", &err);
    if (!ok && wants_mode(c, "acpi")) {
        g_clear_error(&err);
        ok = qmp_call(q, "system_powerdown", NULL, NULL, &err);
    }
    if (!ok) {
        return err ? cmd_error(&err)
                   : cmd_fail("--mode is acpi or agent, not '%s'", cmd_str(c, "mode"));
    }
    cmd_say(c, "Domain '%s' is being shutdown", vm->name);
    return 0;
}

static bool set_shutdown(struct qmp *q, const char *what, GError **err)
{
    return qmp_call(q, "set-action", json_pack("{ss}", "shutdown", what), NULL, err);
}

/* The power button; when the guest is off, it is started again in the same process.  Without a
 * daemon this is the work of the process that was asked. */
static bool reboot_by_button(struct vm *vm, struct qmp *q, int timeout_ms, GError **err)
{
    g_autoptr(GError) why = NULL;
    if (!set_shutdown(q, "pause", err) || !qmp_call(q, "system_powerdown", NULL, NULL, err)) {
        return false;
    }
    bool off = qmp_wait_event(q, "SHUTDOWN", NULL, timeout_ms);
    if (off &&
        (!qmp_call(q, "system_reset", NULL, NULL, err) || !qmp_call(q, "cont", NULL, NULL, err))) {
        return false;
    }
    set_shutdown(q, "poweroff", &why);
    return off || error_set(err, HANOK_ERROR_BUSY,
                            "the guest of '%s' has not reacted to its power button in %d s; "
                            "'hanok reset %s' does not ask it",
                            vm->name, timeout_ms / 1000, vm->name);
}

static int do_reboot(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    int64_t timeout = 120;
    VM_AUTO vm = cmd_active_vm(c);
    QMP_AUTO q = vm ? vm_monitor_or_say(vm) : NULL;
    if (!q || !cmd_number(c, "timeout", &timeout)) {
        return 1;
    }
    bool ok = wants_mode(c, "agent") && agent_asks(vm, "reboot", &err);
    if (!ok && wants_mode(c, "acpi")) {
        g_clear_error(&err);
        ok = reboot_by_button(vm, q, (int)MIN_OF(MAX_OF(timeout, 1), 86400) * 1000, &err);
    }
    if (!ok) {
        return err ? cmd_error(&err)
                   : cmd_fail("--mode is acpi or agent, not '%s'", cmd_str(c, "mode"));
    }
    cmd_say(c, "Domain '%s' is being rebooted", vm->name);
    return 0;
}

static int do_destroy(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_active_vm(c);
    if (!vm) {
        return 1;
    }
    if (!vm_destroy(vm, cmd_flag(c, "graceful"), &err)) {
        return cmd_error(&err);
    }
    cmd_say(c, "Domain '%s' destroyed", vm->name);
    return 0;
}

/* ---- log ---- */

static int do_log(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    g_autofree char *path = vm_log_path(vm), *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return cmd_fail("domain '%s' has no log: it was never started here", vm->name);
    }
    if (c->json) {
        g_autofree char *last = vm_last_words(vm);
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        return cmd_json(json_pack("{ssssss*}", "path", path, "text", valid, "last-end", last));
    }
    fputs(text, stdout);
    return 0;
}

/* ---- console ---- */

static int do_console(struct cmd *c)
{
    VM_AUTO vm = cmd_active_vm(c);
    return vm ? console_attach(vm, cmd_str(c, "devname")) : 1;
}

static int do_ttyconsole(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_active_vm(c);
    DOMAIN_AUTO d = vm ? vm_live(vm, &err) : NULL;
    if (!d) {
        return vm ? cmd_error(&err) : 1;
    }
    const struct chr *k = d->devices.consoles->len ? d->devices.consoles->pdata[0] : NULL;
    if (!k || k->type != CHR_PTY || !k->source.path) {
        return cmd_fail("domain '%s' has no console on a pty", vm->name);
    }
    if (c->json) {
        return cmd_json(json_pack("{ss}", "tty", k->source.path));
    }
    puts(k->source.path);
    return 0;
}

static const struct opt start_opts[] = {
    DOMAIN_OPT,
    {"console", "attach to its console", OPT_FLAG},
    {"paused", "leave its CPUs stopped", OPT_FLAG},
    {"force-boot", "accepted: there are no saved states yet", OPT_FLAG},
    {NULL}};
static const struct opt domain_opts[] = {DOMAIN_OPT, {NULL}};
static const struct opt mode_opts[] = {
    DOMAIN_OPT, {"mode", "acpi (default) or agent", OPT_NAMED}, {NULL}};
static const struct opt reboot_opts[] = {
    DOMAIN_OPT,
    {"mode", "acpi (default) or agent", OPT_NAMED},
    {"timeout", "seconds to wait for the guest (120)", OPT_NAMED},
    {NULL}};
static const struct opt destroy_opts[] = {
    DOMAIN_OPT, {"graceful", "only ask; do not kill", OPT_FLAG}, {NULL}};
static const struct opt console_opts[] = {
    DOMAIN_OPT,
    {"devname", "alias of another character device, such as serial1", 0},
    {"force", "accepted", OPT_FLAG},
    {"safe", "accepted", OPT_FLAG},
    {NULL}};

static const struct verb verbs[] = {
    {"start", "start a defined domain and wait until it runs", false, do_start, start_opts,
     "hanok start web --console"},
    {"shutdown", "press its power button", false, do_shutdown, mode_opts, "hanok shutdown web"},
    {"reboot", "let the guest shut down, and start it again", false, do_reboot, reboot_opts,
     "hanok reboot web"},
    {"reset", "press its reset button", false, do_reset, domain_opts, "hanok reset web"},
    {"destroy", "pull its plug", false, do_destroy, destroy_opts, "hanok destroy web"},
    {"suspend", "stop its CPUs", false, do_suspend, domain_opts, "hanok suspend web"},
    {"resume", "let its CPUs go on", false, do_resume, domain_opts, "hanok resume web"},
    {"dompmwakeup", "wake a sleeping guest", false, do_wakeup, domain_opts,
     "hanok dompmwakeup web"},
    {"inject-nmi", "send a non-maskable interrupt", false, do_inject_nmi, domain_opts,
     "hanok inject-nmi web"},
    {"console", "its serial console on this terminal (Ctrl-] leaves)", false, do_console,
     console_opts, "hanok console web"},
    {"ttyconsole", "the tty of its console", true, do_ttyconsole, domain_opts,
     "hanok ttyconsole web"},
    {"event", "follow its events", true, event_run, event_opts, "hanok event web --loop"},
    {"log", "what its process said", true, do_log, domain_opts, "hanok log web"},
    {NULL}};
const struct verb_group life_verbs = {"Life", verbs};
