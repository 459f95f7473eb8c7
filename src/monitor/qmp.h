/* qmp.h - the frame of the machine monitor: types, commands, events; private to src/monitor.
 *
 * One table of commands (qmp_commands in commands.c) with typed arguments and results is the single
 * source of argument checking, query-commands and query-qmp-schema; one list of events likewise.
 *
 *   bytes -> qmp_framer -> one JSON object -> session -> qmp_dispatch -> checked -> handler
 *
 * Threads: main.   Errors: handlers fill GError; the reply's class is GenericError unless the
 * handler sets call->error_class.   Spec: QEMU's QMP wire format, qmp-spec.txt. */
#ifndef MONITOR_QMP_H
#define MONITOR_QMP_H

#include "base/error.h"
#include "base/util.h"
#include "monitor/monitor.h"

#include <glib.h>
#include <jansson.h>
#include <string.h>

/* ---- types ---- */

enum qmp_kind { QMP_STR, QMP_INT, QMP_NUM, QMP_BOOL, QMP_ANY, QMP_ENUM, QMP_OBJECT, QMP_ARRAY };

struct qmp_member;
struct qmp_type {
    enum qmp_kind kind;
    const char *name;                 /* of enums and objects; arrays have none */
    const char *const *values;        /* QMP_ENUM, NULL-terminated */
    const struct qmp_member *members; /* QMP_OBJECT, ends with name == NULL */
    const struct qmp_type *element;   /* QMP_ARRAY */
    bool open;                        /* QMP_OBJECT: members not listed are let through */
    const char *tag;                  /* QMP_OBJECT: the enum member the others depend on */
};
struct qmp_member {
    const char *name;
    const struct qmp_type *type;
    bool optional;
};
extern const struct qmp_type qmp_str, qmp_int, qmp_num, qmp_bool, qmp_any, qmp_empty, qmp_strings,
    qmp_anys;

/* ---- commands and events ---- */

struct qmp_session;
struct qmp_call {
    struct machine *m;
    struct qmp_session *session;
    const char *error_class; /* of the reply if the handler fails; NULL = GenericError */
};
/* args matches the command's type; the result is a new reference, NULL with err set on failure. */
typedef json_t *qmp_handler(struct qmp_call *call, json_t *args, GError **err);

struct qmp_command {
    const char *name;
    const struct qmp_type *args; /* an object; NULL = none */
    const struct qmp_type *ret;  /* NULL = {} */
    qmp_handler *run;
    const char *const *features; /* NULL-terminated, may be NULL */
};
struct qmp_event {
    const char *name;
    const struct qmp_type *data; /* NULL = none */
};
extern const struct qmp_command qmp_commands[]; /* ends with name == NULL */
extern const struct qmp_event qmp_events[];

const struct qmp_command *qmp_command_find(const char *name);
bool qmp_check(const struct qmp_type *t, json_t *value, const char *what, GError **err);
json_t *qmp_schema(void);
/* One request object to one reply object ("return" or "error", and the id); never NULL. */
json_t *qmp_dispatch(struct machine *m, struct qmp_session *s, json_t *request);

json_t *qmp_ok(void);
json_t *qmp_fail(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3); /* returns NULL */
const char *qmp_text(json_t *args, const char *key);                      /* NULL when absent */
int64_t qmp_number(json_t *args, const char *key, int64_t absent);
bool qmp_flag(json_t *args, const char *key, bool absent);

/* ---- framing ---- */

#define QMP_REQUEST_MAX (1 * MiB)
#define QMP_DEPTH_MAX   64

/* Finds JSON objects by their structure, wherever packets and lines begin and end. */
struct qmp_framer {
    GByteArray *buf;
    size_t scanned;
    unsigned depth;
    bool in_string, escaped, started, skipping;
};
void qmp_framer_init(struct qmp_framer *f);
void qmp_framer_clear(struct qmp_framer *f);
/* Takes all bytes; for each complete object calls fn with it, for garbage with NULL and why.
 * obj is borrowed. */
typedef void qmp_object_fn(void *opaque, json_t *obj, const char *why);
void qmp_framer_feed(struct qmp_framer *f, const uint8_t *buf, size_t len, qmp_object_fn *fn,
                     void *opaque);

/* ---- sessions ---- */

bool qmp_session_add(struct machine *m, struct chardev *c, bool pretty, GError **err);
void qmp_broadcast(const char *name, json_t *data);
void qmp_close_all(void);
/* The qmp_capabilities command; false when done before. */
bool qmp_session_negotiate(struct qmp_session *s);

#endif
