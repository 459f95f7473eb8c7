/* qmp.c - connections to monitors and guest agents. */
#include "manager/qmp.h"

#include "base/evloop.h"
#include "base/util.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_MESSAGE = 32 * 1024 * 1024, MAX_EVENTS = 256, CALL_TIMEOUT_MS = 30000 };

struct qmp {
    int fd;
    GString *in;     /* bytes not yet a message */
    GQueue events;   /* json_t * */
    unsigned serial; /* of the last command */
    unsigned timeout_ms;
};

/* ---- bytes ---- */

static int connect_unix(const char *path, GError **err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path)) {
        error_set(err, HANOK_ERROR_INVALID, "the path '%s' is too long for a socket", path);
        return -1;
    }
    g_strlcpy(a.sun_path, path, sizeof(a.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a))) {
        error_errno(err, errno, "could not connect to '%s'", path);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

static bool send_all(int fd, const char *text, GError **err)
{
    size_t left = strlen(text);
    while (left) {
        ssize_t n = send(fd, text, left, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return error_errno(err, errno, "could not write to the monitor");
        }
        text += n;
        left -= (size_t)n;
    }
    return true;
}

static int64_t now_ms(void)
{
    return (int64_t)(host_clock_ns() / 1000000);
}

/* Reads more; false at the end, at the deadline (err kept NULL when quiet) or on error. */
static bool read_more(int fd, GString *in, int64_t deadline, bool quiet, GError **err)
{
    char buf[65536];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t left = MAX_OF(deadline - now_ms(), 0);
    int ready = poll(&p, 1, (int)MIN_OF(left, 600000));
    if (ready < 0 && errno == EINTR) {
        return true;
    }
    if (ready <= 0) {
        return quiet ? false
                     : error_set(err, HANOK_ERROR_BUSY, "the machine does not answer its monitor");
    }
    ssize_t n = read(fd, buf, sizeof(buf));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return true;
    }
    if (n <= 0) {
        return error_set(err, HANOK_ERROR_IO, "the machine closed its monitor");
    }
    if (in->len + (size_t)n > MAX_MESSAGE) {
        return error_set(err, HANOK_ERROR_IO, "the machine's monitor sends a message without end");
    }
    g_string_append_len(in, buf, n);
    return true;
}

/* The first line as an object, taken out of the buffer; NULL when none is complete.  Monitors write
 * one message a line. */
static json_t *take_message(GString *in)
{
    for (;;) {
        char *end = memchr(in->str, '\n', in->len);
        if (!end) {
            return NULL;
        }
        size_t len = (size_t)(end - in->str);
        json_t *o = json_loadb(in->str, len, 0, NULL);
        g_string_erase(in, 0, (gssize)len + 1);
        if (json_is_object(o)) {
            return o;
        }
        json_decref(o);
    }
}

static void keep_event(struct qmp *q, json_t *ev)
{
    g_queue_push_tail(&q->events, ev);
    if (g_queue_get_length(&q->events) > MAX_EVENTS) {
        json_decref(g_queue_pop_head(&q->events));
    }
}

static json_t *next_message(struct qmp *q, int64_t deadline, bool quiet, GError **err)
{
    for (;;) {
        json_t *o = take_message(q->in);
        if (o) {
            return o;
        }
        if (!read_more(q->fd, q->in, deadline, quiet, err)) {
            return NULL;
        }
    }
}

/* ---- commands ---- */

static bool refusal(const char *command, json_t *e, GError **err)
{
    const char *class = json_string_value(json_object_get(e, "class"));
    const char *desc = json_string_value(json_object_get(e, "desc"));
    bool absent = class && (!strcmp(class, "CommandNotFound") || !strcmp(class, "DeviceNotFound"));
    return error_set(err, absent ? HANOK_ERROR_NOT_FOUND : HANOK_ERROR_INVALID,
                     "the machine refuses %s: %s", command, desc ? desc : "it does not say why");
}

static char *command_text(const char *command, json_t *arguments, unsigned serial)
{
    json_t *o = json_pack("{ss}", "execute", command);
    if (arguments) {
        json_object_set_new(o, "arguments", arguments);
    }
    if (serial) {
        json_object_set_new(o, "id", json_integer(serial));
    }
    char *text = json_dumps(o, JSON_COMPACT);
    char *line = g_strconcat(text ? text : "{}", "\n", NULL);
    free(text);
    json_decref(o);
    return line;
}

bool qmp_call(struct qmp *q, const char *command, json_t *arguments, json_t **ret, GError **err)
{
    int64_t deadline = now_ms() + CALL_TIMEOUT_MS;
    g_autofree char *line = command_text(command, arguments, ++q->serial);
    if (!send_all(q->fd, line, err)) {
        return false;
    }
    for (;;) {
        json_t *o = next_message(q, deadline, false, err);
        if (!o) {
            return false;
        }
        if (json_object_get(o, "event")) {
            keep_event(q, o);
            continue;
        }
        json_t *e = json_object_get(o, "error"), *r = json_object_get(o, "return");
        if (json_integer_value(json_object_get(o, "id")) != q->serial) {
            json_decref(o); /* the answer to a command that was given up */
            continue;
        }
        if (r && ret) {
            *ret = json_incref(r);
        }
        bool ok = e ? refusal(command, e, err) : r != NULL;
        json_decref(o);
        return ok;
    }
}

json_t *qmp_event(struct qmp *q, int timeout_ms, GError **err)
{
    int64_t deadline = now_ms() + timeout_ms;
    json_t *ev = g_queue_pop_head(&q->events);
    while (!ev) {
        json_t *o = next_message(q, deadline, true, err);
        if (!o) {
            return NULL;
        }
        if (json_object_get(o, "event")) {
            ev = o;
        } else {
            json_decref(o);
        }
    }
    return ev;
}

bool qmp_wait_event(struct qmp *q, const char *name, const char *device, int timeout_ms)
{
    int64_t deadline = now_ms() + timeout_ms;
    while (now_ms() < deadline) {
        json_t *ev = qmp_event(q, (int)(deadline - now_ms()), NULL);
        if (!ev) {
            return false;
        }
        const char *what = json_string_value(json_object_get(ev, "event"));
        const char *about =
            json_string_value(json_object_get(json_object_get(ev, "data"), "device"));
        bool hit = what && !strcmp(what, name) && (!device || !g_strcmp0(about, device));
        json_decref(ev);
        if (hit) {
            return true;
        }
    }
    return false;
}

struct qmp *qmp_open(const char *path, unsigned timeout_ms, GError **err)
{
    int fd = connect_unix(path, err);
    if (fd < 0) {
        return NULL;
    }
    struct qmp *q = g_new0(struct qmp, 1);
    q->fd = fd;
    q->in = g_string_new(NULL);
    g_queue_init(&q->events);
    q->timeout_ms = timeout_ms;
    json_t *greeting = next_message(q, now_ms() + timeout_ms, false, err);
    bool ok = greeting && (json_object_get(greeting, "QMP") ||
                           error_set(err, HANOK_ERROR_IO, "'%s' is not a QMP monitor", path));
    json_decref(greeting);
    if (!ok || !qmp_call(q, "qmp_capabilities", NULL, NULL, err)) {
        qmp_close(q);
        return NULL;
    }
    return q;
}

void qmp_close(struct qmp *q)
{
    if (!q) {
        return;
    }
    close(q->fd);
    g_string_free(q->in, TRUE);
    for (json_t *ev = g_queue_pop_head(&q->events); ev; ev = g_queue_pop_head(&q->events)) {
        json_decref(ev);
    }
    g_free(q);
}

int qmp_fd(const struct qmp *q)
{
    return q->fd;
}

/* ---- guest agent ---- */

/* What an earlier client left half said is ended by 0xff; then the agent repeats a number of ours.
 */
static bool agent_sync(int fd, GString *in, int64_t deadline, GError **err)
{
    unsigned number = g_random_int_range(1, G_MAXINT32);
    g_autofree char *line = g_strdup_printf(
        "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%u}}\n", number);
    if (!send_all(fd, line, err)) {
        return false;
    }
    for (;;) {
        char *mark = memchr(in->str, 0xff, in->len);
        if (mark) {
            g_string_erase(in, 0, mark + 1 - in->str);
            json_t *o;
            while (!(o = take_message(in))) {
                if (!read_more(fd, in, deadline, false, err)) {
                    return false;
                }
            }
            bool hit = json_integer_value(json_object_get(o, "return")) == number;
            json_decref(o);
            if (hit) {
                return true;
            }
        } else if (!read_more(fd, in, deadline, false, err)) {
            return false;
        }
    }
}

bool agent_call(const char *path, const char *command, json_t *arguments, unsigned timeout_ms,
                json_t **ret, GError **err)
{
    g_autoptr(GString) in = g_string_new(NULL);
    g_autofree char *line = command_text(command, arguments, 0);
    int64_t deadline = now_ms() + timeout_ms;
    int fd = connect_unix(path, err);
    if (fd < 0) {
        return false;
    }
    bool ok = agent_sync(fd, in, deadline, err) && send_all(fd, line, err);
    json_t *o = NULL;
    while (ok && !(o = take_message(in))) {
        ok = read_more(fd, in, deadline, false, err);
    }
    close(fd);
    if (!ok) {
        g_clear_error(err);
        return error_set(err, HANOK_ERROR_BUSY,
                         "the guest agent does not answer; is qemu-guest-agent installed and "
                         "running in the guest?");
    }
    json_t *e = json_object_get(o, "error"), *r = json_object_get(o, "return");
    if (e) {
        const char *desc = json_string_value(json_object_get(e, "desc"));
        ok = error_set(err, HANOK_ERROR_INVALID, "the guest agent refuses %s: %s", command,
                       desc ? desc : "it does not say why");
    } else if (ret) {
        *ret = r ? json_incref(r) : json_null();
    }
    json_decref(o);
    return ok;
}
