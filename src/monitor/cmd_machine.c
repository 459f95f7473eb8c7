/* cmd_machine.c - run state and facts of the machine as a whole. */
#include "commands.h"

#include "bus/device.h"
#include "cpu/vcpu.h"
#include "mem/guest_mem.h"

const char *accel_name(struct machine *m)
{
    struct cpu_set *cpus = machine_cpus(m);
    return cpus ? cpu_set_accel(cpus) : "none";
}

json_t *cmd_stop(struct qmp_call *call, json_t *args, GError **err)
{
    machine_pause(call->m);
    return qmp_ok();
}

bool cont_possible(struct machine *m, GError **err)
{
    switch (machine_run_state(m)) {
    case RUN_SHUTDOWN:
    case RUN_INTERNAL_ERROR:
    case RUN_GUEST_PANICKED:
        return error_set(err, HANOK_ERROR_BUSY,
                         "The machine is in state '%s': it must be reset before it can go on",
                         run_state_name(machine_run_state(m)));
    default:
        return true;
    }
}

json_t *cmd_cont(struct qmp_call *call, json_t *args, GError **err)
{
    if (!cont_possible(call->m, err)) {
        return NULL;
    }
    machine_run(call->m);
    return qmp_ok();
}

json_t *cmd_system_reset(struct qmp_call *call, json_t *args, GError **err)
{
    machine_request_reset(call->m, CAUSE_HOST_QMP_RESET);
    return qmp_ok();
}

bool powerdown_possible(struct machine *m, GError **err)
{
    return machine_powerdown(m) ||
           error_set(err, HANOK_ERROR_UNSUPPORTED, "This machine has no power button");
}

json_t *cmd_system_powerdown(struct qmp_call *call, json_t *args, GError **err)
{
    return powerdown_possible(call->m, err) ? qmp_ok() : NULL;
}

json_t *cmd_system_wakeup(struct qmp_call *call, json_t *args, GError **err)
{
    return machine_wakeup(call->m) ? qmp_ok() : qmp_fail(err, "The machine is not asleep");
}

json_t *cmd_quit(struct qmp_call *call, json_t *args, GError **err)
{
    machine_request_shutdown(call->m, CAUSE_HOST_QMP_QUIT);
    return qmp_ok();
}

json_t *cmd_query_status(struct qmp_call *call, json_t *args, GError **err)
{
    enum run_state s = machine_run_state(call->m);
    return json_pack("{sssbsb}", "status", run_state_name(s), "running", s == RUN_RUNNING,
                     "singlestep", 0);
}

json_t *cmd_query_name(struct qmp_call *call, json_t *args, GError **err)
{
    const char *name = machine_config(call->m)->name;
    return name ? json_pack("{ss}", "name", name) : qmp_ok();
}

json_t *cmd_query_uuid(struct qmp_call *call, json_t *args, GError **err)
{
    const uint8_t *u = machine_config(call->m)->uuid;
    char text[37];
    char *at = text;
    for (unsigned i = 0; i < 16; i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;
        at += g_snprintf(at, text + sizeof(text) - at, dash ? "-%02x" : "%02x", u[i]);
    }
    return json_pack("{ss}", "UUID", text);
}

/* Before there are CPUs (-machine none), what would be taken is what the user named, if usable. */
json_t *cmd_query_kvm(struct qmp_call *call, json_t *args, GError **err)
{
    struct accel_info info = {0};
    const char *accels = machine_config(call->m)->accels;
    accel_probe_kvm(&info);
    g_free(info.why);
    bool enabled = machine_cpus(call->m) ? !strcmp(accel_name(call->m), "kvm")
                                         : info.usable && accels && g_str_has_prefix(accels, "kvm");
    return json_pack("{sbsb}", "enabled", enabled, "present", info.usable);
}

json_t *cmd_query_machines(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *list = json_array();
    for (const struct machine_type *t = machine_types; t->name; t++) {
        bool none = !strcmp(t->name, "none");
        json_t *o = json_pack("{sssisbsbsb}", "name", t->name, "cpu-max", (int)t->max_cpus,
                              "hotpluggable-cpus", !none, "numa-mem-supported", 0, "deprecated", 0);
        json_object_set_new(o, "acpi", json_boolean(!none));
        if (t->alias) {
            json_object_set_new(o, "alias", json_string(t->alias));
        }
        if (t->is_default) {
            json_object_set_new(o, "is-default", json_true());
        }
        if (!none) {
            json_object_set_new(o, "default-cpu-type", json_string("qemu64-x86_64-cpu"));
            json_object_set_new(o, "default-ram-id", json_string("pc.ram"));
        }
        json_array_append_new(list, o);
    }
    return list;
}

json_t *cmd_query_current_machine(struct qmp_call *call, json_t *args, GError **err)
{
    return json_pack("{sb}", "wakeup-suspend-support", 0);
}

static enum vm_action watchdog_action(const char *word)
{
    return !strcmp(word, "reset")        ? ACTION_RESET
           : !strcmp(word, "shutdown")   ? ACTION_SHUTDOWN
           : !strcmp(word, "poweroff")   ? ACTION_POWEROFF
           : !strcmp(word, "pause")      ? ACTION_PAUSE
           : !strcmp(word, "inject-nmi") ? ACTION_INJECT_NMI
                                         : ACTION_NONE;
}

json_t *cmd_watchdog_set_action(struct qmp_call *call, json_t *args, GError **err)
{
    struct vm_config *c = (struct vm_config *)machine_config(call->m);
    c->on_watchdog = watchdog_action(qmp_text(args, "action"));
    return qmp_ok();
}

/* The configuration is main's, handed to the machine as const; these policies are the one part of
 * it that may change while the machine lives. */
json_t *cmd_set_action(struct qmp_call *call, json_t *args, GError **err)
{
    const char *reboot = qmp_text(args, "reboot"), *shutdown = qmp_text(args, "shutdown"),
               *panic = qmp_text(args, "panic"), *watchdog = qmp_text(args, "watchdog");
    struct vm_config *c = (struct vm_config *)machine_config(call->m);
    if (reboot) {
        c->on_reboot = !strcmp(reboot, "reset") ? ACTION_RESET : ACTION_SHUTDOWN;
        c->no_reboot = c->on_reboot == ACTION_SHUTDOWN;
    }
    if (shutdown) {
        c->on_shutdown = !strcmp(shutdown, "pause") ? ACTION_PAUSE : ACTION_POWEROFF;
        c->no_shutdown = c->on_shutdown == ACTION_PAUSE;
    }
    if (panic) {
        c->on_panic = !strcmp(panic, "pause")      ? ACTION_PAUSE
                      : !strcmp(panic, "shutdown") ? ACTION_SHUTDOWN
                      : !strcmp(panic, "none")     ? ACTION_NONE
                                                   : ACTION_EXIT_FAILURE;
    }
    if (watchdog) {
        c->on_watchdog = watchdog_action(watchdog);
    }
    return qmp_ok();
}

json_t *cmd_inject_nmi(struct qmp_call *call, json_t *args, GError **err)
{
    struct cpu_set *cpus = machine_cpus(call->m);
    if (!cpus) {
        return qmp_fail(err, "This machine has no CPU to interrupt");
    }
    for (unsigned i = 0; i < cpu_set_count(cpus); i++) {
        vcpu_nmi(cpu_set_get(cpus, i));
    }
    return qmp_ok();
}

json_t *cmd_query_memory_size_summary(struct qmp_call *call, json_t *args, GError **err)
{
    return json_pack("{sIsI}", "base-memory", (json_int_t)machine_config(call->m)->ram_bytes,
                     "plugged-memory", (json_int_t)0);
}

json_t *cmd_query_memory_devices(struct qmp_call *call, json_t *args, GError **err)
{
    return json_array();
}

/* Ours sleep in the kernel instead of polling, hence the zeros. */
static void add_iothread(const char *id, int tid, void *opaque)
{
    json_array_append_new(opaque,
                          json_pack("{sssisisisisi}", "id", id, "thread-id", tid, "poll-max-ns", 0,
                                    "poll-grow", 0, "poll-shrink", 0, "aio-max-batch", 0));
}

json_t *cmd_query_iothreads(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *list = json_array();
    machine_iothreads_foreach(call->m, add_iothread, list);
    return list;
}

json_t *cmd_query_acpi_ospm_status(struct qmp_call *call, json_t *args, GError **err)
{
    return machine_ospm_status(call->m);
}

json_t *cmd_rtc_reset(struct qmp_call *call, json_t *args, GError **err)
{
    return qmp_ok(); /* no missed ticks are kept, so there are none to forget */
}

json_t *cmd_query_jobs(struct qmp_call *call, json_t *args, GError **err)
{
    return json_array();
}

json_t *cmd_query_block_jobs(struct qmp_call *call, json_t *args, GError **err)
{
    return json_array();
}

json_t *cmd_query_dump(struct qmp_call *call, json_t *args, GError **err)
{
    return json_pack("{sssIsI}", "status", "none", "completed", (json_int_t)0, "total",
                     (json_int_t)0);
}
