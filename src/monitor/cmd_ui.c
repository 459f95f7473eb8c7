/* cmd_ui.c - the screen, keys and pointers: screendump, send-key, input-send-event, VNC. */
#include "commands.h"

#include "base/evloop.h"
#include "display/console.h"
#include "display/input.h"
#include "display/vnc.h"

enum { HOLD_MS = 100, KEYS_MAX = 32, HOLD_MS_MAX = 60000 };

json_t *cmd_screendump(struct qmp_call *call, json_t *args, GError **err)
{
    const char *format = qmp_text(args, "format");
    struct console *c = console_first();

    if (!c) {
        return qmp_fail(err, "There is no graphics card whose screen could be saved");
    }
    return console_dump(c, qmp_text(args, "filename"), format && !strcmp(format, "png"), err)
               ? qmp_ok()
               : NULL;
}

/* ---- keys held for a while ---- */

struct held {
    struct timer *timer;
    const struct input_key *key[KEYS_MAX];
    unsigned count;
};

static void held_release(void *opaque)
{
    struct held *h = opaque;

    for (unsigned i = h->count; i > 0; i--) {
        input_key(h->key[i - 1], false);
    }
    timer_free(h->timer);
    g_free(h);
}

static void keys_press(const struct input_key *const *key, unsigned count, int64_t hold_ms)
{
    struct held *h = g_new0(struct held, 1);

    h->count = count;
    for (unsigned i = 0; i < count; i++) {
        h->key[i] = key[i];
        input_key(key[i], true);
    }
    h->timer = timer_new(evloop_main(), NULL, held_release, h);
    timer_set(h->timer, host_clock_ns() + (uint64_t)hold_ms * 1000000);
}

/* {"type":"qcode","data":"a"} or {"type":"number","data":30} */
static const struct input_key *key_value(json_t *value, GError **err)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    json_t *data = json_object_get(value, "data");
    const struct input_key *key = NULL;

    if (type && !strcmp(type, "qcode") && json_is_string(data)) {
        key = input_key_by_name(json_string_value(data));
    } else if (type && !strcmp(type, "number") && json_is_integer(data)) {
        json_int_t n = json_integer_value(data);
        key = n > 0 && n < 0x100 ? input_key_by_code((uint16_t)(n & 0x80 ? 0xe000 | (n & 0x7f) : n))
                                 : NULL;
    }
    if (!key) {
        g_autofree char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        qmp_fail(err, "There is no key %s", text ? text : "");
    }
    return key;
}

json_t *cmd_send_key(struct qmp_call *call, json_t *args, GError **err)
{
    const struct input_key *key[KEYS_MAX] = {NULL};
    json_t *keys = json_object_get(args, "keys"), *value;
    int64_t hold = qmp_number(args, "hold-time", HOLD_MS);
    unsigned count = 0;
    size_t i;

    if (hold < 0 || hold > HOLD_MS_MAX) {
        return qmp_fail(err, "Parameter 'hold-time' expects milliseconds up to %d", HOLD_MS_MAX);
    }
    json_array_foreach(keys, i, value)
    {
        if (count == KEYS_MAX) {
            return qmp_fail(err, "At most %d keys can be pressed at once", KEYS_MAX);
        }
        if (!(key[count++] = key_value(value, err))) {
            return NULL;
        }
    }
    keys_press(key, count, hold);
    return qmp_ok();
}

bool send_keys(const char *text, GError **err)
{
    g_auto(GStrv) names = g_strsplit(text, "-", KEYS_MAX);
    const struct input_key *key[KEYS_MAX] = {NULL};
    unsigned count = 0;

    for (char **n = names; *n; n++) {
        key[count] = input_key_by_name(*n);
        if (!key[count++]) {
            qmp_fail(err, "There is no key '%s'", *n);
            return false;
        }
    }
    keys_press(key, count, HOLD_MS);
    return true;
}

/* ---- single events ---- */

static unsigned button_of(const char *name)
{
    static const struct {
        const char *name;
        unsigned bit;
    } buttons[] = {
        {"left", INPUT_LEFT},         {"middle", INPUT_MIDDLE},         {"right", INPUT_RIGHT},
        {"wheel-up", INPUT_WHEEL_UP}, {"wheel-down", INPUT_WHEEL_DOWN}, {"side", INPUT_SIDE},
        {"extra", INPUT_EXTRA}};

    for (size_t i = 0; name && i < ARRAY_SIZE(buttons); i++) {
        if (!strcmp(buttons[i].name, name)) {
            return buttons[i].bit;
        }
    }
    return 0;
}

struct motion {
    int dx, dy;
    int64_t x, y; /* -1: not said */
};

static bool event_run(json_t *e, struct motion *m, GError **err)
{
    const char *type = json_string_value(json_object_get(e, "type"));
    json_t *data = json_object_get(e, "data");
    const char *axis = json_string_value(json_object_get(data, "axis"));
    json_int_t value = json_integer_value(json_object_get(data, "value"));
    bool down = json_is_true(json_object_get(data, "down")), y = axis && !strcmp(axis, "y");

    if (type && !strcmp(type, "key")) {
        const struct input_key *key = key_value(json_object_get(data, "key"), err);
        if (key) {
            input_key(key, down);
        }
        return key != NULL;
    }
    if (type && !strcmp(type, "btn")) {
        unsigned bit = button_of(json_string_value(json_object_get(data, "button")));
        if (bit) {
            input_buttons(down ? input_buttons_now() | bit : input_buttons_now() & ~bit);
            return true;
        }
    } else if (type && !strcmp(type, "rel") && axis && value >= -32768 && value <= 32767) {
        *(y ? &m->dy : &m->dx) += (int)value;
        return true;
    } else if (type && !strcmp(type, "abs") && axis && value >= 0 && value <= INPUT_ABS_MAX) {
        *(y ? &m->y : &m->x) = value;
        return true;
    }
    g_autofree char *text = json_dumps(e, JSON_COMPACT);
    qmp_fail(err, "There is no input event %s", text ? text : "");
    return false;
}

json_t *cmd_input_send_event(struct qmp_call *call, json_t *args, GError **err)
{
    static int64_t last_x, last_y;
    struct motion m = {.x = -1, .y = -1};
    json_t *e;
    size_t i;

    json_array_foreach(json_object_get(args, "events"), i, e)
    {
        if (!event_run(e, &m, err)) {
            return NULL;
        }
    }
    if (m.dx || m.dy) {
        input_move(m.dx, m.dy);
    }
    if (m.x >= 0 || m.y >= 0) {
        last_x = m.x >= 0 ? m.x : last_x;
        last_y = m.y >= 0 ? m.y : last_y;
        input_move_to((unsigned)last_x, (unsigned)last_y);
    }
    return qmp_ok();
}

/* ---- VNC ---- */

json_t *cmd_query_vnc(struct qmp_call *call, json_t *args, GError **err)
{
    const char *host = NULL;
    unsigned port = 0;
    int clients = 0;
    bool auth = false;

    if (!vnc_info(&host, &port, &clients, &auth)) {
        return json_pack("{sb}", "enabled", 0);
    }
    json_t *list = json_array(); /* of whom: the server keeps no names */
    return json_pack("{sbsssosssssosi}", "enabled", 1, "host", *host ? host : "0.0.0.0", "service",
                     json_sprintf("%u", port), "family", port ? "ipv4" : "unix", "auth",
                     auth ? "vnc" : "none", "clients", list, "viewers", clients);
}

json_t *cmd_change_vnc_password(struct qmp_call *call, json_t *args, GError **err)
{
    return vnc_set_password(qmp_text(args, "password"), err) ? qmp_ok() : NULL;
}

json_t *cmd_set_password(struct qmp_call *call, json_t *args, GError **err)
{
    const char *protocol = qmp_text(args, "protocol");

    if (strcmp(protocol, "vnc")) {
        return qmp_fail(err, "There is no %s server", protocol);
    }
    return vnc_set_password(qmp_text(args, "password"), err) ? qmp_ok() : NULL;
}

/* Accepted for clients that always say it: a password is valid until it is changed. */
json_t *cmd_expire_password(struct qmp_call *call, json_t *args, GError **err)
{
    const char *time = qmp_text(args, "time");

    if (strcmp(time, "never") && strcmp(time, "now")) {
        return qmp_fail(err, "Passwords that expire at '%s' are not possible: use never or now",
                        time);
    }
    if (!strcmp(time, "now")) {
        g_autofree char *none = g_uuid_string_random(); /* nobody can say it */
        return vnc_set_password(none, err) ? qmp_ok() : NULL;
    }
    return qmp_ok();
}
