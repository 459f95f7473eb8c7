/* props.c - user-given properties: parsing both spellings into one tree, and who asked for what.
 *
 * The tree is a JSON object.  Sub-objects are handed out as further struct props over the same
 * JSON, so that asking is remembered at every level. */
#include "base/props.h"

#include "base/error.h"
#include "base/util.h"

#include <inttypes.h>
#include <jansson.h>

#define DEPTH_MAX 32 /* of dotted keys; JSON has jansson's own limit */

struct props {
    json_t *obj;
    GHashTable *used;    /* set of keys asked for */
    GHashTable *subs;    /* key -> struct props */
    GHashTable *repeats; /* full dotted key -> json array of all its key=val strings; shared */
    char *prefix;        /* "file." for a sub; "" */
};

static void json_unref(gpointer j)
{
    json_decref(j);
}

static void props_unref(gpointer p)
{
    props_free(p);
}

static struct props *props_over(json_t *obj, GHashTable *repeats, const char *prefix)
{
    struct props *p = g_new0(struct props, 1);
    p->obj = json_incref(obj);
    p->used = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    p->subs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, props_unref);
    p->repeats = repeats ? g_hash_table_ref(repeats)
                         : g_hash_table_new_full(g_str_hash, g_str_equal, g_free, json_unref);
    p->prefix = g_strdup(prefix);
    return p;
}

struct props *props_from_json(json_t *obj)
{
    g_assert(json_is_object(obj));
    return props_over(obj, NULL, "");
}

struct props *props_new(void)
{
    json_t *obj = json_object();
    struct props *p = props_from_json(obj);
    json_decref(obj);
    return p;
}

void props_free(struct props *p)
{
    if (!p)
        return;
    g_hash_table_unref(p->subs);
    g_hash_table_unref(p->used);
    g_hash_table_unref(p->repeats);
    json_decref(p->obj);
    g_free(p->prefix);
    g_free(p);
}

void props_cleanup(struct props **p)
{
    props_free(*p);
}

/* ---- parsing ---- */

/* "a.b" was given where "a" is (or becomes) a plain value, as in file=x,file.locking=off: the
 * dotted spelling then stays one flat key of the object. */
static void set_leaf(json_t *obj, const char *key, json_t *value)
{
    json_t *old = json_object_get(obj, key);
    if (json_is_object(old)) {
        const char *sub;
        json_t *v;
        json_incref(old);
        json_object_foreach(old, sub, v)
        {
            g_autofree char *flat = g_strdup_printf("%s.%s", key, sub);
            json_object_set(obj, flat, v);
        }
        json_decref(old);
    }
    json_object_set_new(obj, key, value);
}

static void set_path(json_t *obj, const char *key, json_t *value)
{
    const char *dot = strchr(key, '.');
    for (int depth = 0; dot && depth < DEPTH_MAX; depth++) {
        g_autofree char *head = g_strndup(key, (size_t)(dot - key));
        json_t *sub = json_object_get(obj, head);
        if (sub && !json_is_object(sub))
            break;
        if (!sub) {
            sub = json_object();
            json_object_set_new(obj, head, sub);
        }
        obj = sub;
        key = dot + 1;
        dot = strchr(key, '.');
    }
    set_leaf(obj, key, value);
}

static void remember_repeat(struct props *p, const char *key, const char *value)
{
    json_t *all = g_hash_table_lookup(p->repeats, key);
    if (!all) {
        all = json_array();
        g_hash_table_insert(p->repeats, g_strdup(key), all);
    }
    json_array_append_new(all, json_string(value));
}

/* Up to a single comma; a doubled one is a literal comma.  Moves *at behind the separator. */
static char *take_value(const char **at)
{
    GString *s = g_string_new(NULL);
    const char *c = *at;
    for (; *c; c++) {
        if (*c == ',' && *++c != ',')
            break;
        g_string_append_c(s, *c);
    }
    *at = c;
    return g_string_free(s, FALSE);
}

static bool key_is_sane(const char *key)
{
    return *key && *key != '.' && key[strlen(key) - 1] != '.' && !strstr(key, "..");
}

static bool parse_pair(struct props *p, const char **at, const char *implied, bool first,
                       GError **err)
{
    size_t key_len = strcspn(*at, "=,");
    g_autofree char *key = NULL, *value = NULL;
    if ((*at)[key_len] == '=') {
        key = g_strndup(*at, key_len);
        *at += key_len + 1;
        value = take_value(at);
    } else if (first && implied) {
        key = g_strdup(implied);
        value = take_value(at);
    } else {
        key = take_value(at);
        value = g_strdup("on");
    }
    if (!key_is_sane(key))
        return error_set(err, HANOK_ERROR_INVALID,
                         "Expected 'key=value' instead of '%s' (a literal comma is written ',,').",
                         key);
    if (!g_utf8_validate(key, -1, NULL) || !g_utf8_validate(value, -1, NULL))
        return error_set(err, HANOK_ERROR_INVALID, "An option value is not valid UTF-8 text.");
    remember_repeat(p, key, value);
    set_path(p->obj, key, json_string(value));
    return true;
}

static struct props *parse_json(const char *text, GError **err)
{
    json_error_t je;
    json_t *obj = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    if (!obj) {
        error_set(err, HANOK_ERROR_INVALID, "The JSON text is malformed at character %d: %s.",
                  je.position, je.text);
        return NULL;
    }
    struct props *p = props_from_json(obj);
    json_decref(obj);
    return p;
}

struct props *props_parse(const char *text, const char *implied, GError **err)
{
    if (*text == '{')
        return parse_json(text, err);
    struct props *p = props_new();
    const char *at = text;
    for (bool first = true; *at; first = false) {
        if (!parse_pair(p, &at, implied, first, err)) {
            props_free(p);
            return NULL;
        }
    }
    return p;
}

/* ---- reading ---- */

void props_mark_used(struct props *p, const char *key)
{
    g_hash_table_add(p->used, g_strdup(key));
}

/* The value of a key; a dotted one is looked for flat first, then through sub-objects. */
static json_t *lookup(struct props *p, const char *key)
{
    json_t *v = json_object_get(p->obj, key);
    const char *dot = strchr(key, '.');
    if (v || !dot) {
        props_mark_used(p, key);
        return v;
    }
    g_autofree char *head = g_strndup(key, (size_t)(dot - key));
    if (!json_is_object(json_object_get(p->obj, head)))
        return NULL;
    return lookup(props_get_sub(p, head), dot + 1);
}

bool props_has(struct props *p, const char *key)
{
    return lookup(p, key) != NULL;
}

static bool wrong_type(struct props *p, const char *key, const char *wanted, json_t *v,
                       GError **err)
{
    g_autofree char *shown = NULL;
    if (json_is_string(v)) {
        shown = g_strdup(json_string_value(v));
    } else {
        char *dump = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        shown = g_strdup(dump ? dump : "?");
        free(dump);
    }
    return error_set(err, HANOK_ERROR_INVALID, "'%s%s' must be %s, not '%s'.", p->prefix, key,
                     wanted, shown);
}

bool props_get_str(struct props *p, const char *key, const char **out, GError **err)
{
    json_t *v = lookup(p, key);
    if (!v)
        return true;
    if (!json_is_string(v))
        return wrong_type(p, key, "a string", v, err);
    *out = json_string_value(v);
    return true;
}

bool props_get_id(struct props *p, const char **out, GError **err)
{
    const char *id = NULL;
    if (!props_get_str(p, "id", &id, err))
        return false;
    if (!id)
        return true;
    bool ok = g_ascii_isalpha(*id);
    for (const char *c = id; ok && *c; c++)
        ok = g_ascii_isalnum(*c) || strchr("-._", *c);
    if (!ok)
        return error_set(err, HANOK_ERROR_INVALID,
                         "id=%s is not possible: an id is a letter, then letters, digits, '-', "
                         "'.' or '_'",
                         id);
    *out = id;
    return true;
}

bool props_get_bool(struct props *p, const char *key, bool *out, GError **err)
{
    static const char *const yes[] = {"on", "yes", "true", "y"};
    static const char *const no[] = {"off", "no", "false", "n"};
    json_t *v = lookup(p, key);
    if (!v)
        return true;
    if (json_is_boolean(v)) {
        *out = json_is_true(v);
        return true;
    }
    const char *text = json_is_string(v) ? json_string_value(v) : "";
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return wrong_type(p, key, "'on' or 'off'", v, err);
}

bool props_get_u64(struct props *p, const char *key, uint64_t *out, GError **err)
{
    static const char wanted[] = "a number (decimal, or hexadecimal with 0x)";
    json_t *v = lookup(p, key);
    if (!v)
        return true;
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *out = (uint64_t)json_integer_value(v);
        return true;
    }
    const char *text = json_is_string(v) ? json_string_value(v) : "";
    bool hex = g_ascii_strncasecmp(text, "0x", 2) == 0;
    guint64 n;
    if (hex ? !g_ascii_isxdigit(text[2]) : !g_ascii_isdigit(text[0]))
        return wrong_type(p, key, wanted, v, err);
    if (!g_ascii_string_to_unsigned(hex ? text + 2 : text, hex ? 16 : 10, 0, UINT64_MAX, &n, NULL))
        return wrong_type(p, key, wanted, v, err);
    *out = n;
    return true;
}

bool props_get_u32(struct props *p, const char *key, uint32_t *out, GError **err)
{
    uint64_t n = *out;
    if (!props_get_u64(p, key, &n, err))
        return false;
    if (n > UINT32_MAX)
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s%s' must be at most %" PRIu32 ", not %" PRIu64 ".", p->prefix, key,
                         UINT32_MAX, n);
    *out = (uint32_t)n;
    return true;
}

bool props_get_size(struct props *p, const char *key, uint64_t *out, GError **err)
{
    json_t *v = lookup(p, key);
    if (!v)
        return true;
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *out = (uint64_t)json_integer_value(v);
        return true;
    }
    if (!json_is_string(v))
        return wrong_type(p, key, "a size", v, err);
    if (parse_size(json_string_value(v), 0, out, err))
        return true;
    g_prefix_error(err, "'%s%s': ", p->prefix, key);
    return false;
}

bool props_get_enum(struct props *p, const char *key, const char *const *names, unsigned *out,
                    GError **err)
{
    json_t *v = lookup(p, key);
    if (!v)
        return true;
    const char *text = json_is_string(v)  ? json_string_value(v)
                       : json_is_true(v)  ? "on"
                       : json_is_false(v) ? "off"
                                          : "";
    GString *valid = g_string_new(NULL);
    for (unsigned i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            g_string_free(valid, TRUE);
            return true;
        }
        g_string_append_printf(valid, "%s'%s'", i ? (names[i + 1] ? ", " : " or ") : "", names[i]);
    }
    g_autofree char *wanted = g_string_free(valid, FALSE);
    return wrong_type(p, key, wanted, v, err);
}

json_t *props_get_json(struct props *p, const char *key)
{
    return lookup(p, key);
}

json_t *props_get_list(struct props *p, const char *key)
{
    json_t *v = lookup(p, key);
    g_autofree char *full = g_strconcat(p->prefix, key, NULL);
    json_t *all = g_hash_table_lookup(p->repeats, full);
    if (!v || json_is_array(v))
        return v;
    if (all)
        return all;
    /* a.0=x,a.1=y, or a single JSON value: made once, kept with the repeats */
    all = json_array();
    for (unsigned i = 0; json_is_object(v); i++) {
        g_autofree char *index = g_strdup_printf("%u", i);
        json_t *item = json_object_get(v, index);
        if (!item)
            break;
        json_array_append(all, item);
    }
    if (!json_is_object(v) || json_array_size(all) != json_object_size(v)) {
        json_array_clear(all);
        json_array_append(all, v);
    }
    g_hash_table_insert(p->repeats, g_steal_pointer(&full), all);
    return all;
}

struct props *props_get_sub(struct props *p, const char *key)
{
    json_t *v = json_object_get(p->obj, key);
    if (!json_is_object(v))
        return NULL;
    struct props *sub = g_hash_table_lookup(p->subs, key);
    if (!sub) {
        g_autofree char *prefix = g_strdup_printf("%s%s.", p->prefix, key);
        sub = props_over(v, p->repeats, prefix);
        g_hash_table_insert(p->subs, g_strdup(key), sub);
    }
    return sub;
}

/* ---- changing ---- */

void props_set_str(struct props *p, const char *key, const char *value)
{
    g_hash_table_remove(p->repeats, key);
    set_path(p->obj, key, json_string(value));
}

static void merge_objects(json_t *into, json_t *from)
{
    const char *key;
    json_t *v;
    json_object_foreach(from, key, v)
    {
        json_t *old = json_object_get(into, key);
        if (json_is_object(old) && json_is_object(v))
            merge_objects(old, v);
        else if (json_is_object(v))
            json_object_set_new(into, key, json_deep_copy(v));
        else
            set_leaf(into, key, json_incref(v));
    }
}

void props_merge(struct props *into, struct props *from)
{
    GHashTableIter it;
    gpointer key, list;
    g_hash_table_iter_init(&it, from->repeats);
    while (g_hash_table_iter_next(&it, &key, &list)) {
        json_t *all = g_hash_table_lookup(into->repeats, key);
        if (all)
            json_array_extend(all, list);
        else
            g_hash_table_insert(into->repeats, g_strdup(key), json_deep_copy(list));
    }
    merge_objects(into->obj, from->obj);
}

json_t *props_json(struct props *p)
{
    return p->obj;
}

/* ---- what nobody asked for ---- */

static bool unused_error(struct props *p, const char *key, const char *what,
                         const char *const *known, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    GHashTableIter it;
    gpointer name;
    g_hash_table_iter_init(&it, p->used);
    while (g_hash_table_iter_next(&it, &name, NULL))
        g_ptr_array_add(names, name);
    for (; known && *known; known++)
        g_ptr_array_add(names, (gpointer)*known);
    if (names->len == 0)
        return error_set(err, HANOK_ERROR_INVALID, "%s takes no option '%s%s'.", what, p->prefix,
                         key);
    g_autofree char *near = error_nearest(key, (const char *const *)names->pdata, names->len);
    return error_set(err, HANOK_ERROR_INVALID, "%s has no option '%s%s'; did you mean %s?", what,
                     p->prefix, key, near);
}

bool props_check_unused(struct props *p, const char *what, const char *const *known, GError **err)
{
    const char *key;
    json_t *v;
    json_object_foreach(p->obj, key, v)
    {
        if (g_hash_table_contains(p->used, key) ||
            (known && g_strv_contains((const gchar *const *)known, key)))
            continue;
        struct props *sub = g_hash_table_lookup(p->subs, key);
        if (!sub)
            return unused_error(p, key, what, known, err);
        if (!props_check_unused(sub, what, NULL, err))
            return false;
    }
    return true;
}
