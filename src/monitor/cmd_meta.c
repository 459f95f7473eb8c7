/* cmd_meta.c - commands about QMP itself, the program, and what it does not do yet. */
#include "commands.h"

#define VERSION_MAJOR 7
#define VERSION_MINOR 2

json_t *cmd_qmp_capabilities(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *enable = json_object_get(args, "enable");
    if (json_array_size(enable)) {
        return qmp_fail(err, "No QMP capability can be enabled: none is offered");
    }
    if (!qmp_session_negotiate(call->session)) {
        call->error_class = "CommandNotFound";
        return qmp_fail(err, "Capabilities negotiation is already complete, command ignored");
    }
    return qmp_ok();
}

/* The version is that of the interface we speak: clients compare it to know what they may send.
 * The package says who speaks. */
json_t *cmd_query_version(struct qmp_call *call, json_t *args, GError **err)
{
    return json_pack("{s{sisisi}ss}", "qemu", "major", VERSION_MAJOR, "minor", VERSION_MINOR,
                     "micro", 0, "package", "hanok-vm " HANOK_VERSION);
}

json_t *cmd_query_commands(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *list = json_array();
    for (const struct qmp_command *c = qmp_commands; c->name; c++) {
        json_array_append_new(list, json_pack("{ss}", "name", c->name));
    }
    return list;
}

json_t *cmd_query_events(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *list = json_array();
    for (const struct qmp_event *e = qmp_events; e->name; e++) {
        json_array_append_new(list, json_pack("{ss}", "name", e->name));
    }
    return list;
}

json_t *cmd_query_qmp_schema(struct qmp_call *call, json_t *args, GError **err)
{
    return qmp_schema();
}

json_t *cmd_query_target(struct qmp_call *call, json_t *args, GError **err)
{
    return json_pack("{ss}", "arch", "x86_64");
}

/* Groups of options a client may want to know before it writes a command line. */
static const struct {
    const char *option;
    const char *const parameters[10];
} option_groups[] = {
    {"sandbox", {"enable", "obsolete", "elevateprivileges", "spawn", "resourcecontrol", NULL}},
    {"smp-opts", {"cpus", "sockets", "dies", "cores", "threads", "maxcpus", NULL}},
    {"memory", {"size", "slots", "maxmem", NULL}},
    {"boot-opts", {"order", "once", "menu", "strict", "splash-time", "reboot-timeout", NULL}},
    {"name", {"guest", "process", "debug-threads", NULL}},
    {"rtc", {"base", "clock", "driftfix", NULL}},
    {"msg", {"timestamp", NULL}},
    {"overcommit", {"mem-lock", "cpu-pm", NULL}},
    {"machine", {"type", "accel", "hpet", "memory-backend", "kernel-irqchip", NULL}},
    {"action", {"reboot", "shutdown", "panic", "watchdog", NULL}},
};

json_t *cmd_query_command_line_options(struct qmp_call *call, json_t *args, GError **err)
{
    const char *only = qmp_text(args, "option");
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(option_groups); i++) {
        if (only && strcmp(only, option_groups[i].option)) {
            continue;
        }
        json_t *parameters = json_array();
        for (const char *const *p = option_groups[i].parameters; *p; p++) {
            json_array_append_new(parameters, json_pack("{ssss}", "name", *p, "type", "string"));
        }
        json_array_append_new(
            list, json_pack("{ssso}", "option", option_groups[i].option, "parameters", parameters));
    }
    if (only && !json_array_size(list)) {
        json_decref(list);
        return qmp_fail(err, "There is no option group '%s'", only);
    }
    return list;
}

/* ---- saving and moving machines comes with a later version: say so consistently ---- */

json_t *cmd_query_migrate_capabilities(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *list = json_array();
    json_array_append_new(list, json_pack("{sssb}", "capability", "events", "state", 1));
    return list;
}

json_t *cmd_migrate_set_capabilities(struct qmp_call *call, json_t *args, GError **err)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(args, "capabilities"), i, item)
    {
        const char *name = qmp_text(item, "capability");
        if (qmp_flag(item, "state", false) && strcmp(name, "events")) {
            return qmp_fail(err, "The migration capability '%s' is not there", name);
        }
    }
    return qmp_ok();
}

json_t *cmd_query_migrate_parameters(struct qmp_call *call, json_t *args, GError **err)
{
    return qmp_ok();
}

json_t *cmd_query_migrate(struct qmp_call *call, json_t *args, GError **err)
{
    return qmp_ok(); /* none has ever run */
}

json_t *cmd_query_tpm_models(struct qmp_call *call, json_t *args, GError **err)
{
    return json_array();
}

json_t *cmd_query_tpm_types(struct qmp_call *call, json_t *args, GError **err)
{
    return json_array();
}

json_t *cmd_human_monitor_command(struct qmp_call *call, json_t *args, GError **err)
{
    char *text = monitor_hmp(call->m, qmp_text(args, "command-line"));
    json_t *result = json_string(text);
    g_free(text);
    return result ? result : json_string("");
}

json_t *cmd_x_query_jit(struct qmp_call *call, json_t *args, GError **err)
{
    g_autofree char *text = monitor_hmp(call->m, "info jit");
    return json_pack("{ss}", "human-readable-text", text);
}
