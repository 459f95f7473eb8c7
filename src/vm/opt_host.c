/* opt_host.c - options about this process: help, background, logs, sandbox, run-state policies. */
#include "opt_int.h"

#include "base/trace.h"

bool opt_help(struct vm_options *o, const char *arg, GError **err)
{
    return answer(o, help_options());
}

bool opt_version(struct vm_options *o, const char *arg, GError **err)
{
    return answer(
        o, g_strdup_printf("hanok-vm version %s (accepts QEMU's command line)\n", HANOK_VERSION));
}

bool opt_start_paused(struct vm_options *o, const char *arg, GError **err)
{
    o->cfg->start_paused = true;
    return true;
}

bool opt_no_reboot(struct vm_options *o, const char *arg, GError **err)
{
    o->cfg->no_reboot = true;
    o->cfg->on_reboot = ACTION_SHUTDOWN;
    return true;
}

bool opt_no_shutdown(struct vm_options *o, const char *arg, GError **err)
{
    o->cfg->no_shutdown = true;
    o->cfg->on_shutdown = ACTION_PAUSE;
    return true;
}

/* ---- -action ---- */

struct action_word {
    const char *name;
    enum vm_action action;
};

static bool pick_action(struct props *p, const char *key, const struct action_word *words, size_t n,
                        enum vm_action *out, GError **err)
{
    const char *names[8] = {NULL};
    unsigned pick = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        names[i] = words[i].name;
    }
    if (!props_pick(p, key, names, &pick, err)) {
        return false;
    }
    if (pick != UINT32_MAX) {
        *out = words[pick].action;
    }
    return true;
}

static const struct action_word watchdog_words[] = {
    {"reset", ACTION_RESET},           {"shutdown", ACTION_SHUTDOWN}, {"poweroff", ACTION_POWEROFF},
    {"pause", ACTION_PAUSE},           {"none", ACTION_NONE},         {"debug", ACTION_NONE},
    {"inject-nmi", ACTION_INJECT_NMI},
};

bool opt_action(struct vm_options *o, const char *arg, GError **err)
{
    static const struct action_word reboot[] = {{"reset", ACTION_RESET},
                                                {"shutdown", ACTION_SHUTDOWN}};
    static const struct action_word shutdown[] = {{"poweroff", ACTION_POWEROFF},
                                                  {"pause", ACTION_PAUSE}};
    static const struct action_word panic[] = {{"pause", ACTION_PAUSE},
                                               {"shutdown", ACTION_SHUTDOWN},
                                               {"exit-failure", ACTION_EXIT_FAILURE},
                                               {"none", ACTION_NONE}};
    struct vm_config *c = o->cfg;
    PROPS_AUTO p = props_parse(arg, NULL, err);
    if (!p || !pick_action(p, "reboot", reboot, ARRAY_SIZE(reboot), &c->on_reboot, err) ||
        !pick_action(p, "shutdown", shutdown, ARRAY_SIZE(shutdown), &c->on_shutdown, err) ||
        !pick_action(p, "panic", panic, ARRAY_SIZE(panic), &c->on_panic, err) ||
        !pick_action(p, "watchdog", watchdog_words, ARRAY_SIZE(watchdog_words), &c->on_watchdog,
                     err) ||
        !props_check_unused(p, "-action", NULL, err)) {
        return false;
    }
    c->no_reboot = c->on_reboot == ACTION_SHUTDOWN;
    c->no_shutdown = c->on_shutdown == ACTION_PAUSE;
    return true;
}

bool opt_watchdog_action(struct vm_options *o, const char *arg, GError **err)
{
    PROPS_AUTO p = props_new();
    props_set_str(p, "action", arg);
    return pick_action(p, "action", watchdog_words, ARRAY_SIZE(watchdog_words),
                       &o->cfg->on_watchdog, err);
}

bool opt_nodefaults(struct vm_options *o, const char *arg, GError **err)
{
    o->cfg->nodefaults = true;
    return true;
}

bool opt_no_user_config(struct vm_options *o, const char *arg, GError **err)
{
    return true; /* nothing is ever read */
}

bool opt_daemonize(struct vm_options *o, const char *arg, GError **err)
{
    o->daemonize = true;
    return true;
}

static bool set_path(char **slot, const char *arg, GError **err)
{
    if (!*arg) {
        return error_set(err, HANOK_ERROR_INVALID, "the name of a file is needed");
    }
    g_free(*slot);
    *slot = g_strdup(arg);
    return true;
}

bool opt_pidfile(struct vm_options *o, const char *arg, GError **err)
{
    return set_path(&o->pidfile, arg, err);
}

bool opt_log_file(struct vm_options *o, const char *arg, GError **err)
{
    return set_path(&o->log_file, arg, err);
}

bool opt_incoming(struct vm_options *o, const char *arg, GError **err)
{
    return set_path(&o->incoming, arg, err);
}

bool opt_loadvm(struct vm_options *o, const char *arg, GError **err)
{
    return set_path(&o->loadvm, arg, err);
}

bool opt_qtest(struct vm_options *o, const char *arg, GError **err)
{
    return set_path(&o->qtest, arg, err);
}

/* ---- -d, -trace, -msg ---- */

const struct debug_item debug_items[] = {
    {"exit", "vcpu_exit", "every exit of a CPU to the machine"},
    {"int", "vcpu_inject", "interrupts given to the CPUs"},
    {"exception", "jit_exception", "exceptions in the software CPU"},
    {"io", "io_*", "port and memory-mapped I/O"},
    {"irq", "irq_*", "interrupt lines and messages"},
    {"pci", "pci_*", "PCI configuration space"},
    {"virtio", "virtio_*", "virtio queues"},
    {"block", "blk_*", "disk requests"},
    {"net", "net_*", "network frames"},
    {"qmp", "qmp_*", "QMP commands and events"},
    {"cpu_reset", NULL, "registers of a CPU whose triple fault resets the machine"},
    {"guest_errors", NULL, "guests doing what no driver should"},
    {NULL},
};

static bool add_debug_item(struct vm_options *o, const char *item, GError **err)
{
    const char *names[ARRAY_SIZE(debug_items)];
    size_t n = 0;
    if (g_str_has_prefix(item, "trace:")) {
        g_ptr_array_add(o->traces, g_strdup(item + 6));
        return true;
    }
    for (const struct debug_item *i = debug_items; i->name; i++) {
        names[n++] = i->name;
        if (strcmp(item, i->name)) {
            continue;
        }
        if (i->trace_pattern) {
            g_ptr_array_add(o->traces, g_strdup(i->trace_pattern));
        } else {
            o->log_guest_errors = true;
        }
        return true;
    }
    g_autofree char *near = error_nearest(item, names, n);
    return error_set(err, HANOK_ERROR_INVALID,
                     "there is no item '%s'; did you mean %s? -d help lists all", item, near);
}

bool opt_debug(struct vm_options *o, const char *arg, GError **err)
{
    if (wants_help(arg)) {
        return answer(o, help_debug());
    }
    g_auto(GStrv) items = g_strsplit(arg, ",", -1);
    for (char **i = items; *i; i++) {
        if (!add_debug_item(o, *i, err)) {
            return false;
        }
    }
    return true;
}

static bool pattern_matches_any(const char *pattern)
{
    for (unsigned i = 0; i < TRACE_EVENT_COUNT; i++) {
        if (g_pattern_match_simple(pattern, trace_name(i))) {
            return true;
        }
    }
    return false;
}

static bool add_trace(struct vm_options *o, const char *pattern, GError **err)
{
    const char *names[TRACE_EVENT_COUNT];
    if (pattern_matches_any(pattern)) {
        g_ptr_array_add(o->traces, g_strdup(pattern));
        return true;
    }
    for (unsigned i = 0; i < TRACE_EVENT_COUNT; i++) {
        names[i] = trace_name(i);
    }
    g_autofree char *near = error_nearest(pattern, names, TRACE_EVENT_COUNT);
    return error_set(err, HANOK_ERROR_INVALID, "no trace point is called '%s'; did you mean %s?",
                     pattern, near);
}

static bool add_trace_file(struct vm_options *o, const char *path, GError **err)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) why = NULL;
    if (!g_file_get_contents(path, &text, NULL, &why)) {
        return error_set(err, HANOK_ERROR_IO, "could not read the events file '%s': %s", path,
                         why->message);
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        const char *pattern = g_strstrip(*l);
        if (*pattern && *pattern != '#' && !add_trace(o, pattern, err)) {
            return false;
        }
    }
    return true;
}

bool opt_trace(struct vm_options *o, const char *arg, GError **err)
{
    if (wants_help(arg)) {
        return answer(o, help_traces());
    }
    PROPS_AUTO p = props_parse(arg, "enable", err);
    const char *enable = NULL, *events = NULL, *file = NULL;
    if (!p || !props_get_str(p, "enable", &enable, err) ||
        !props_get_str(p, "events", &events, err) || !props_get_str(p, "file", &file, err) ||
        !props_check_unused(p, "-trace", NULL, err)) {
        return false;
    }
    return (!enable || add_trace(o, enable, err)) && (!events || add_trace_file(o, events, err)) &&
           (!file || set_path(&o->log_file, file, err));
}

bool opt_msg(struct vm_options *o, const char *arg, GError **err)
{
    bool guest_name = false;
    PROPS_AUTO p = props_parse(arg, "timestamp", err);
    return p && props_get_bool(p, "timestamp", &o->timestamps, err) &&
           props_get_bool(p, "guest-name", &guest_name, err) &&
           props_check_unused(p, "-msg", NULL, err) &&
           (!guest_name ||
            error_set(err, HANOK_ERROR_UNSUPPORTED, "guest-name=on is not possible"));
}

bool opt_overcommit(struct vm_options *o, const char *arg, GError **err)
{
    PROPS_AUTO p = props_parse(arg, NULL, err);
    return p && props_get_bool(p, "mem-lock", &o->cfg->mem_lock, err) &&
           props_get_bool(p, "cpu-pm", &o->cfg->cpu_pm, err) &&
           props_check_unused(p, "-overcommit", NULL, err);
}

bool opt_sandbox(struct vm_options *o, const char *arg, GError **err)
{
    static const char *const obsolete[] = {"allow", "deny", NULL};
    static const char *const words[] = {"allow", "deny", "children", NULL};
    PROPS_AUTO p = props_parse(arg, "enable", err);
    unsigned obs = 1, elevate = 0, spawn = 0, resources = 0;
    bool on = false;
    if (!p || !props_get_bool(p, "enable", &on, err) ||
        !props_pick(p, "obsolete", obsolete, &obs, err) ||
        !props_pick(p, "elevateprivileges", words, &elevate, err) ||
        !props_pick(p, "spawn", obsolete, &spawn, err) ||
        !props_pick(p, "resourcecontrol", obsolete, &resources, err) ||
        !props_check_unused(p, "-sandbox", NULL, err)) {
        return false;
    }
    o->sandbox = on;
    o->sandbox_deny = (obs ? SANDBOX_OBSOLETE : 0) | (elevate == 1 ? SANDBOX_ELEVATE : 0) |
                      (elevate == 2 ? SANDBOX_ELEVATE_CHILDREN : 0) | (spawn ? SANDBOX_SPAWN : 0) |
                      (resources ? SANDBOX_RESOURCES : 0);
    return true;
}
