/* trace.h - named trace points that cost one predictable branch when off.
 *
 *     TRACE(blk_submit, "req %u op %s off %llu", id, name, off);
 *
 * The event names are the X-list in base/trace_events.h, so that `-trace help` lists them, a typo
 * does not compile, and docs/paths names them.  `-trace enable=PATTERN` turns events on; output
 * goes to the log file with a monotonic timestamp and thread name.  Any thread; no allocation when
 * off. */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "base/trace_events.h"
#include "base/util.h"

#include <stdbool.h>

enum trace_event {
#define X(name) TRACE_##name,
    TRACE_EVENTS(X)
#undef X
        TRACE_EVENT_COUNT
};

extern bool trace_enabled[TRACE_EVENT_COUNT];
void trace_emit(enum trace_event ev, const char *fmt, ...) PRINTF_LIKE(2, 3);
int trace_enable(const char *pattern); /* glob; number of events switched on */
const char *trace_name(enum trace_event ev);

#define TRACE(ev, ...)                                                                             \
    do {                                                                                           \
        if (unlikely(trace_enabled[TRACE_##ev]))                                                   \
            trace_emit(TRACE_##ev, __VA_ARGS__);                                                   \
    } while (0)

#endif
