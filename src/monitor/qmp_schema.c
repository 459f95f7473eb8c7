/* qmp_schema.c - checking values against types, and telling clients what the types are. */
#include "qmp.h"

const struct qmp_type qmp_str = {.kind = QMP_STR, .name = "str"};
const struct qmp_type qmp_int = {.kind = QMP_INT, .name = "int"};
const struct qmp_type qmp_num = {.kind = QMP_NUM, .name = "number"};
const struct qmp_type qmp_bool = {.kind = QMP_BOOL, .name = "bool"};
const struct qmp_type qmp_any = {.kind = QMP_ANY, .name = "any"};
static const struct qmp_member no_members[] = {{NULL}};
const struct qmp_type qmp_empty = {.kind = QMP_OBJECT, .name = "q_empty", .members = no_members};
const struct qmp_type qmp_strings = {.kind = QMP_ARRAY, .element = &qmp_str};
const struct qmp_type qmp_anys = {.kind = QMP_ARRAY, .element = &qmp_any};

/* ---- checking ---- */

static bool wrong(const char *what, const char *expected, GError **err)
{
    return error_set(err, HANOK_ERROR_INVALID, "Invalid parameter type for '%s', expected: %s",
                     what, expected);
}

static bool check_enum(const struct qmp_type *t, json_t *v, const char *what, GError **err)
{
    if (!json_is_string(v)) {
        return wrong(what, "string", err);
    }
    const char *text = json_string_value(v);
    if (g_strv_contains(t->values, text)) {
        return true;
    }
    g_autofree char *near = error_nearest(text, t->values, g_strv_length((char **)t->values));
    return error_set(err, HANOK_ERROR_INVALID,
                     "Parameter '%s' does not accept value '%s'; did you mean %s?", what, text,
                     near);
}

static bool check_members(const struct qmp_type *t, json_t *v, const char *what, GError **err)
{
    const char *key;
    json_t *item;
    if (!json_is_object(v)) {
        return wrong(what, "object", err);
    }
    for (const struct qmp_member *m = t->members; m->name; m++) {
        item = json_object_get(v, m->name);
        if (!item && !m->optional) {
            return error_set(err, HANOK_ERROR_INVALID, "Parameter '%s' is missing", m->name);
        }
        if (item && !qmp_check(m->type, item, m->name, err)) {
            return false;
        }
    }
    json_object_foreach(v, key, item)
    {
        const struct qmp_member *m = t->members;
        while (m->name && strcmp(m->name, key)) {
            m++;
        }
        if (!m->name && !t->open) {
            return error_set(err, HANOK_ERROR_INVALID, "Parameter '%s' is unexpected", key);
        }
    }
    return true;
}

static bool check_array(const struct qmp_type *t, json_t *v, const char *what, GError **err)
{
    size_t i;
    json_t *item;
    if (!json_is_array(v)) {
        return wrong(what, "array", err);
    }
    json_array_foreach(v, i, item)
    {
        if (!qmp_check(t->element, item, what, err)) {
            return false;
        }
    }
    return true;
}

bool qmp_check(const struct qmp_type *t, json_t *v, const char *what, GError **err)
{
    switch (t->kind) {
    case QMP_STR:
        return json_is_string(v) || wrong(what, "string", err);
    case QMP_INT:
        return json_is_integer(v) || wrong(what, "integer", err);
    case QMP_NUM:
        return json_is_number(v) || wrong(what, "number", err);
    case QMP_BOOL:
        return json_is_boolean(v) || wrong(what, "boolean", err);
    case QMP_ANY:
        return true;
    case QMP_ENUM:
        return check_enum(t, v, what, err);
    case QMP_OBJECT:
        return check_members(t, v, what, err);
    case QMP_ARRAY:
        return check_array(t, v, what, err);
    }
    return true;
}

/* ---- telling ---- */

struct teller {
    json_t *out;
    GHashTable *told; /* names of types already there */
};

static const char *builtin_json_type(enum qmp_kind k)
{
    static const char *const words[] = {[QMP_STR] = "string",
                                        [QMP_INT] = "int",
                                        [QMP_NUM] = "number",
                                        [QMP_BOOL] = "boolean",
                                        [QMP_ANY] = "value"};
    return words[k];
}

static char *type_name(const struct qmp_type *t)
{
    if (t->kind != QMP_ARRAY) {
        return g_strdup(t->name);
    }
    g_autofree char *element = type_name(t->element);
    return g_strdup_printf("[%s]", element);
}

static char *tell_type(struct teller *s, const struct qmp_type *t);

static json_t *tell_members(struct teller *s, const struct qmp_type *t)
{
    json_t *list = json_array();
    for (const struct qmp_member *m = t->members; m->name; m++) {
        g_autofree char *type = tell_type(s, m->type);
        json_t *o = json_pack("{ssss}", "name", m->name, "type", type);
        if (m->optional) {
            json_object_set_new(o, "default", json_null());
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *describe(struct teller *s, const struct qmp_type *t, const char *name)
{
    json_t *o = json_pack("{ss}", "name", name);
    json_t *list = NULL;
    g_autofree char *element = NULL;
    switch (t->kind) {
    case QMP_ENUM:
        list = json_array();
        for (const char *const *v = t->values; *v; v++) {
            json_array_append_new(list, json_string(*v));
        }
        json_object_set_new(o, "meta-type", json_string("enum"));
        json_object_set_new(o, "values", list);
        break;
    case QMP_OBJECT:
        json_object_set_new(o, "meta-type", json_string("object"));
        json_object_set_new(o, "members", tell_members(s, t));
        if (t->tag) {
            json_object_set_new(o, "tag", json_string(t->tag));
            json_object_set_new(o, "variants", json_array());
        }
        break;
    case QMP_ARRAY:
        element = tell_type(s, t->element);
        json_object_set_new(o, "meta-type", json_string("array"));
        json_object_set_new(o, "element-type", json_string(element));
        break;
    default:
        json_object_set_new(o, "meta-type", json_string("builtin"));
        json_object_set_new(o, "json-type", json_string(builtin_json_type(t->kind)));
    }
    return o;
}

static char *tell_type(struct teller *s, const struct qmp_type *t)
{
    char *name = type_name(t ? t : &qmp_empty);
    if (g_hash_table_add(s->told, g_strdup(name))) {
        json_array_append_new(s->out, describe(s, t ? t : &qmp_empty, name));
    }
    return name;
}

json_t *qmp_schema(void)
{
    struct teller s = {.out = json_array(),
                       .told = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};
    for (const struct qmp_command *c = qmp_commands; c->name; c++) {
        g_autofree char *args = tell_type(&s, c->args), *ret = tell_type(&s, c->ret);
        json_t *o = json_pack("{ssssssss}", "name", c->name, "meta-type", "command", "arg-type",
                              args, "ret-type", ret);
        if (c->features) {
            json_t *list = json_array();
            for (const char *const *f = c->features; *f; f++) {
                json_array_append_new(list, json_string(*f));
            }
            json_object_set_new(o, "features", list);
        }
        json_array_append_new(s.out, o);
    }
    for (const struct qmp_event *e = qmp_events; e->name; e++) {
        g_autofree char *data = tell_type(&s, e->data);
        json_array_append_new(
            s.out, json_pack("{ssssss}", "name", e->name, "meta-type", "event", "arg-type", data));
    }
    g_hash_table_unref(s.told);
    return s.out;
}

/* ---- small readers for handlers, whose arguments are checked already ---- */

json_t *qmp_ok(void)
{
    return json_object();
}

json_t *qmp_fail(GError **err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_set(err, HANOK_ERROR_INVALID, "%s", text);
    return NULL;
}

const char *qmp_text(json_t *args, const char *key)
{
    return json_string_value(json_object_get(args, key));
}

int64_t qmp_number(json_t *args, const char *key, int64_t absent)
{
    json_t *v = json_object_get(args, key);
    return json_is_integer(v) ? json_integer_value(v) : absent;
}

bool qmp_flag(json_t *args, const char *key, bool absent)
{
    json_t *v = json_object_get(args, key);
    return json_is_boolean(v) ? json_is_true(v) : absent;
}
