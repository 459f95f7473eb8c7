/* trace.c - named trace points; the list is base/trace_events.h. */
#include "base/trace.h"

#include "base/evloop.h"
#include "log_line.h"

#include <fnmatch.h>
#include <glib.h>
#include <pthread.h>
#include <stdarg.h>

bool trace_enabled[TRACE_EVENT_COUNT];

static const char *const trace_names[TRACE_EVENT_COUNT] = {
#define X(name) [TRACE_##name] = #name,
    TRACE_EVENTS(X)
#undef X
};

const char *trace_name(enum trace_event ev)
{
    return trace_names[ev];
}

int trace_enable(const char *pattern)
{
    int switched = 0;
    for (int ev = 0; ev < TRACE_EVENT_COUNT; ev++) {
        if (fnmatch(pattern, trace_names[ev], 0) != 0)
            continue;
        trace_enabled[ev] = true;
        switched++;
    }
    return switched;
}

void trace_emit(enum trace_event ev, const char *fmt, ...)
{
    char thread[16] = "?";
    pthread_getname_np(pthread_self(), thread, sizeof(thread));
    uint64_t now = host_clock_ns();
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_autofree char *line =
        g_strdup_printf("%" G_GUINT64_FORMAT ".%06u [%s] %s: %s", now / 1000000000u,
                        (unsigned)(now % 1000000000u / 1000), thread, trace_names[ev], text);
    log_line(line);
}
