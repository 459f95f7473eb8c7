/* qmp_session.c - connected clients: greeting, negotiation, replies, events.
 *
 * A session belongs to one connection.  A listening socket gets a new session for every client; any
 * other chardev has one for as long as it lives.  Output waits in the chardev's bounded queue; a
 * client of a socket that lets it fill up is dropped, other chardevs lose whole messages until
 * there is room. */
#include "qmp.h"

#include "base/evloop.h"
#include "base/log.h"
#include "base/trace.h"
#include "chardev/chardev.h"

#define OUTPUT_MAX (8 * MiB)

struct qmp_session {
    struct machine *m;
    struct chardev *c;
    struct chardev_fe *fe;
    struct qmp_framer framer;
    bool pretty, owned /* the chardev is one client's connection */, negotiated, connected, dropped;
    GByteArray *tail; /* rest of a message the chardev took in part */
};

static GPtrArray *sessions;

static void session_free(struct qmp_session *s)
{
    g_ptr_array_remove(sessions, s);
    chardev_detach(s->fe);
    if (s->owned) {
        chardev_close(s->c);
    }
    qmp_framer_clear(&s->framer);
    g_byte_array_unref(s->tail);
    g_free(s);
}

static void drop_later(void *opaque)
{
    /* It may have gone by itself meanwhile. */
    if (sessions && g_ptr_array_find(sessions, opaque, NULL)) {
        session_free(opaque);
    }
}

static void flush_tail(struct qmp_session *s)
{
    size_t n = chardev_write(s->fe, s->tail->data, s->tail->len);
    g_byte_array_remove_range(s->tail, 0, n);
}

static void send_json(struct qmp_session *s, json_t *obj_stolen)
{
    size_t flags = s->pretty ? JSON_INDENT(4) : 0;
    char *text = json_dumps(obj_stolen, flags);
    json_decref(obj_stolen);
    if (text && !s->dropped && s->connected && !s->tail->len) {
        g_byte_array_append(s->tail, (const uint8_t *)text, strlen(text));
        g_byte_array_append(s->tail, (const uint8_t *)"\r\n", 2);
        flush_tail(s);
        if (s->tail->len && s->owned) {
            log_warning("A QMP client does not read what it asked for and is disconnected.");
            s->dropped = true;
            evloop_defer(evloop_main(), drop_later, s);
        }
    }
    free(text);
}

static void send_greeting(struct qmp_session *s)
{
    const struct qmp_command *c = qmp_command_find("query-version");
    json_t *version = c->run(NULL, NULL, NULL);
    send_json(s, json_pack("{s{soso}}", "QMP", "version", version, "capabilities", json_array()));
}

bool qmp_session_negotiate(struct qmp_session *s)
{
    if (!s || s->negotiated) { /* no session: a caller inside the program */
        return false;
    }
    s->negotiated = true;
    return true;
}

static json_t *not_negotiated(json_t *request)
{
    json_t *reply = json_pack("{s{ssss}}", "error", "class", "CommandNotFound", "desc",
                              "Expecting capabilities negotiation with 'qmp_capabilities'");
    json_t *id = json_object_get(request, "id");
    if (id) {
        json_object_set(reply, "id", id);
    }
    return reply;
}

static void on_object(void *opaque, json_t *obj, const char *why)
{
    struct qmp_session *s = opaque;
    if (!obj) {
        send_json(s, json_pack("{s{ssss}}", "error", "class", "GenericError", "desc", why));
        return;
    }
    const char *name = json_string_value(json_object_get(obj, "execute"));
    if (!s->negotiated && (!name || strcmp(name, "qmp_capabilities"))) {
        send_json(s, not_negotiated(obj));
        return;
    }
    send_json(s, qmp_dispatch(s->m, s, obj));
}

static size_t session_can_read(void *opaque)
{
    struct qmp_session *s = opaque;
    /* A client that does not read its replies is not listened to. */
    return s->tail->len || s->dropped ? 0 : 4096;
}

static void session_read(void *opaque, const uint8_t *buf, size_t len)
{
    struct qmp_session *s = opaque;
    qmp_framer_feed(&s->framer, buf, len, on_object, s);
}

static void session_opened(struct qmp_session *s)
{
    s->connected = true;
    s->negotiated = false;
    g_byte_array_set_size(s->tail, 0);
    qmp_framer_clear(&s->framer);
    qmp_framer_init(&s->framer);
    send_greeting(s);
}

static void session_event(void *opaque, enum chardev_event ev)
{
    struct qmp_session *s = opaque;
    switch (ev) {
    case CHARDEV_OPENED:
        session_opened(s);
        break;
    case CHARDEV_CLOSED:
        s->connected = s->negotiated = false;
        if (s->owned) {
            session_free(s);
        }
        break;
    case CHARDEV_WRITABLE:
        if (s->tail->len) {
            flush_tail(s);
            chardev_accept_input(s->fe);
        }
        break;
    default:
        break;
    }
}

static const struct chardev_fe_ops session_ops = {
    .can_read = session_can_read, .read = session_read, .event = session_event};

static struct qmp_session *session_new(struct machine *m, struct chardev *c, bool pretty,
                                       bool owned, GError **err)
{
    struct qmp_session *s = g_new0(struct qmp_session, 1);
    s->m = m;
    s->c = c;
    s->pretty = pretty;
    s->owned = owned;
    s->tail = g_byte_array_new();
    qmp_framer_init(&s->framer);
    g_ptr_array_add(sessions, s);
    chardev_set_queue_limit(c, OUTPUT_MAX);
    s->fe = chardev_attach(c, &session_ops, s, err);
    if (!s->fe) {
        session_free(s);
        return NULL;
    }
    chardev_set_open(s->fe, true);
    return s;
}

/* ---- listening sockets ---- */

struct listener {
    struct machine *m;
    bool pretty;
};
static GPtrArray *listeners;

static void new_client(void *opaque, struct chardev *client)
{
    struct listener *l = opaque;
    session_new(l->m, client, l->pretty, true, NULL);
}

bool qmp_session_add(struct machine *m, struct chardev *c, bool pretty, GError **err)
{
    if (!sessions) {
        sessions = g_ptr_array_new();
        listeners = g_ptr_array_new_with_free_func(g_free);
    }
    struct listener *l = g_new0(struct listener, 1);
    *l = (struct listener){.m = m, .pretty = pretty};
    g_ptr_array_add(listeners, l);
    return chardev_serve_many(c, new_client, l) || session_new(m, c, pretty, false, err);
}

/* ---- events ---- */

void qmp_broadcast(const char *name, json_t *data)
{
    gint64 us = g_get_real_time();
    TRACE(qmp_event, "%s", name);
    for (unsigned i = 0; sessions && i < sessions->len; i++) {
        struct qmp_session *s = g_ptr_array_index(sessions, i);
        if (!s->negotiated) {
            continue;
        }
        json_t *ev = json_pack("{s{sIsI}ss}", "timestamp", "seconds", (json_int_t)(us / 1000000),
                               "microseconds", (json_int_t)(us % 1000000), "event", name);
        if (data) {
            json_object_set(ev, "data", data);
        }
        send_json(s, ev);
    }
}

void qmp_close_all(void)
{
    while (sessions && sessions->len) {
        session_free(g_ptr_array_index(sessions, sessions->len - 1));
    }
    g_clear_pointer(&sessions, g_ptr_array_unref);
    g_clear_pointer(&listeners, g_ptr_array_unref);
}
