/* qmp_framer.c - cutting a byte stream into JSON objects.
 *
 * A scanner that knows only brackets and strings finds where an object ends in one pass, so that a
 * request arriving byte by byte costs no more than one arriving whole; jansson then parses it.
 * After garbage everything up to the next line end is skipped, which is where people and scripts
 * start anew. */
#include "qmp.h"

void qmp_framer_init(struct qmp_framer *f)
{
    memset(f, 0, sizeof(*f));
    f->buf = g_byte_array_new();
}

void qmp_framer_clear(struct qmp_framer *f)
{
    g_clear_pointer(&f->buf, g_byte_array_unref);
}

static void restart(struct qmp_framer *f)
{
    g_byte_array_set_size(f->buf, 0);
    f->depth = 0;
    f->in_string = f->escaped = f->started = false;
}

static void garbage(struct qmp_framer *f, const char *why, qmp_object_fn *fn, void *opaque)
{
    restart(f);
    f->skipping = true;
    fn(opaque, NULL, why);
}

/* Brackets and strings; true when the byte ends the outermost object. */
static bool step(struct qmp_framer *f, uint8_t b)
{
    if (f->in_string) {
        if (f->escaped) {
            f->escaped = false;
        } else if (b == '\\') {
            f->escaped = true;
        } else if (b == '"') {
            f->in_string = false;
        }
        return false;
    }
    switch (b) {
    case '"':
        f->in_string = true;
        return false;
    case '{':
    case '[':
        f->depth++;
        return false;
    case '}':
    case ']':
        return --f->depth == 0;
    default:
        return false;
    }
}

static void deliver(struct qmp_framer *f, qmp_object_fn *fn, void *opaque)
{
    json_error_t e;
    json_t *obj = json_loadb((const char *)f->buf->data, f->buf->len, JSON_REJECT_DUPLICATES, &e);
    restart(f);
    if (!obj) {
        g_autofree char *why = g_strdup_printf("JSON parse error, %s", e.text);
        fn(opaque, NULL, why);
        return;
    }
    fn(opaque, obj, NULL);
    json_decref(obj);
}

static void feed_byte(struct qmp_framer *f, uint8_t b, qmp_object_fn *fn, void *opaque)
{
    if (f->skipping) {
        f->skipping = b != '\n';
        return;
    }
    if (!f->started) {
        /* 0xff: what clients send to get a parser out of any state */
        if (b == ' ' || b == '\t' || b == '\r' || b == '\n' || b == 0xff) {
            return;
        }
        if (b != '{') {
            garbage(f, "JSON parse error, a request must be an object", fn, opaque);
            f->skipping = b != '\n';
            return;
        }
        f->started = true;
    }
    g_byte_array_append(f->buf, &b, 1);
    bool whole = step(f, b);
    if (f->depth > QMP_DEPTH_MAX) {
        garbage(f, "JSON parse error, nested too deeply", fn, opaque);
    } else if (whole) {
        deliver(f, fn, opaque);
    } else if (f->buf->len >= QMP_REQUEST_MAX) {
        garbage(f, "JSON parse error, the request is too large", fn, opaque);
    }
}

void qmp_framer_feed(struct qmp_framer *f, const uint8_t *buf, size_t len, qmp_object_fn *fn,
                     void *opaque)
{
    for (size_t i = 0; i < len; i++) {
        feed_byte(f, buf[i], fn, opaque);
    }
}
