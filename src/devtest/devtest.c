/* devtest.c - the connection: lines in, lines out.  docs/devtest.md has the commands. */
#include "internal.h"

#include "base/error.h"
#include "base/evloop.h"
#include "chardev/chardev.h"
#include "machine/machine.h"

#include <stdarg.h>

#define INPUT_CHUNK 65536
#define OUT_MAX     (16u << 20) /* no more commands are read while so many answers wait */

static void flush_out(void *opaque)
{
    struct devtest *t = opaque;

    g_mutex_lock(&t->lock);
    size_t n = chardev_write(t->fe, (const uint8_t *)t->out->str, t->out->len);
    g_string_erase(t->out, 0, (gssize)n);
    g_mutex_unlock(&t->lock);
}

void devtest_say(struct devtest *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_mutex_lock(&t->lock);
    g_string_append_vprintf(t->out, fmt, ap);
    g_string_append_c(t->out, '\n');
    g_mutex_unlock(&t->lock);
    va_end(ap);
    if (evloop_is_current(evloop_main()))
        flush_out(t);
    else
        evloop_defer(evloop_main(), flush_out, t);
}

static size_t fe_can_read(void *fe)
{
    struct devtest *t = fe;

    g_mutex_lock(&t->lock);
    bool room = t->out->len < OUT_MAX;
    g_mutex_unlock(&t->lock);
    return room ? INPUT_CHUNK : 0;
}

static void take_byte(struct devtest *t, char c)
{
    if (c == '\r')
        return;
    if (c != '\n') {
        t->too_long |= t->line->len >= DEVTEST_LINE_MAX;
        if (!t->too_long)
            g_string_append_c(t->line, c);
        return;
    }
    if (t->too_long)
        devtest_say(t, "FAIL the line is too long");
    else if (t->line->len)
        devtest_command(t, t->line->str);
    t->too_long = false;
    g_string_truncate(t->line, 0);
}

static void fe_read(void *fe, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        take_byte(fe, (char)buf[i]);
}

static void fe_event(void *fe, enum chardev_event ev)
{
    struct devtest *t = fe;

    if (ev == CHARDEV_WRITABLE) {
        flush_out(t);
        chardev_accept_input(t->fe);
    } else if (ev == CHARDEV_CLOSED) { /* the next peer starts with a new line */
        g_string_truncate(t->line, 0);
        g_mutex_lock(&t->lock);
        g_string_truncate(t->out, 0);
        g_mutex_unlock(&t->lock);
    }
}

static const struct chardev_fe_ops fe_ops = {
    .can_read = fe_can_read,
    .read = fe_read,
    .event = fe_event,
};

bool devtest_start(struct machine *m, const char *chardev_spec, GError **err)
{
    if (!machine_mmio(m))
        return error_set(err, HANOK_ERROR_INVALID, "-qtest needs a machine with a board");
    struct chardev *c = chardev_open_legacy(chardev_spec, "qtest", false, err);
    if (!c)
        return false;
    /* Lives as long as the process, as the interrupt lines that may call into it do. */
    static struct devtest instance;
    struct devtest *t = &instance;
    t->machine = m;
    t->line = g_string_new(NULL);
    t->out = g_string_new(NULL);
    g_mutex_init(&t->lock);
    t->fe = chardev_attach(c, &fe_ops, t, err);
    if (!t->fe)
        return false;
    /* With processors the main program starts it, when all else is ready. */
    if (!machine_config(m)->start_paused && !machine_cpus(m))
        machine_run(m);
    return true;
}
