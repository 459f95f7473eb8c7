/* qmp_dispatch.c - one request in, one reply out. */
#include "qmp.h"

#include "base/trace.h"

const struct qmp_command *qmp_command_find(const char *name)
{
    for (const struct qmp_command *c = qmp_commands; c->name; c++) {
        if (!strcmp(c->name, name)) {
            return c;
        }
    }
    return NULL;
}

static json_t *error_reply(const char *class, const char *text)
{
    return json_pack("{s{ssss}}", "error", "class", class, "desc", text);
}

static json_t *check_request(json_t *request)
{
    const char *key;
    json_t *v;
    json_object_foreach(request, key, v)
    {
        if (strcmp(key, "execute") && strcmp(key, "arguments") && strcmp(key, "id")) {
            g_autofree char *text = g_strdup_printf("QMP input member '%s' is unexpected", key);
            return error_reply("GenericError", text);
        }
    }
    if (!json_is_string(json_object_get(request, "execute"))) {
        return error_reply("GenericError", "QMP input lacks member 'execute', a string");
    }
    v = json_object_get(request, "arguments");
    if (v && !json_is_object(v)) {
        return error_reply("GenericError", "QMP input member 'arguments' must be an object");
    }
    return NULL;
}

static json_t *unknown_command(const char *name)
{
    g_autofree char *text = g_strdup_printf("The command %s has not been found", name);
    return error_reply("CommandNotFound", text);
}

static json_t *run(struct qmp_call *call, const struct qmp_command *c, json_t *args)
{
    g_autoptr(GError) err = NULL;
    json_t *result = NULL;
    if (qmp_check(c->args ? c->args : &qmp_empty, args, "arguments", &err)) {
        result = c->run(call, args, &err);
    }
    if (!result) {
        return error_reply(call->error_class ? call->error_class : "GenericError",
                           err ? err->message : "the command failed");
    }
    return json_pack("{so}", "return", result);
}

json_t *qmp_dispatch(struct machine *m, struct qmp_session *s, json_t *request)
{
    json_t *id = json_object_get(request, "id");
    json_t *reply = check_request(request);
    if (!reply) {
        const char *name = json_string_value(json_object_get(request, "execute"));
        const struct qmp_command *c = qmp_command_find(name);
        json_t *args = json_object_get(request, "arguments");
        json_t *none = args ? NULL : json_object();
        struct qmp_call call = {.m = m, .session = s};
        TRACE(qmp_command, "%s", name);
        reply = c ? run(&call, c, args ? args : none) : unknown_command(name);
        json_decref(none);
    }
    if (id) {
        json_object_set(reply, "id", id);
    }
    return reply;
}
