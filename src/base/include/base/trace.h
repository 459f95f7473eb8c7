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

#include <stdint.h>

enum trace_event {
#define X(name) TRACE_##name,
    TRACE_EVENTS(X)
#undef X
        TRACE_EVENT_COUNT
};

/* What is done with an event: TRACE_TO_*, 0 = nothing. */
enum { TRACE_TO_LOG = 1, TRACE_TO_RECORD = 2 };
extern uint8_t trace_enabled[TRACE_EVENT_COUNT];
void trace_emit(enum trace_event ev, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* To the log; pattern: glob.  Number of events it names. */
int trace_enable(const char *pattern);
int trace_disable(const char *pattern);
const char *trace_name(enum trace_event ev);

/* The recorder: the last events in memory, for whoever asks the machine what it is doing.  One
 * reader, in the main thread; writers never wait: what is not read in time is lost, and counted. */
struct trace_entry {
    uint64_t ns; /* host clock */
    int tid;
    enum trace_event event;
    char thread[16], text[128];
};
/* patterns: globs, NULL-terminated.  Begins anew when it runs already.  Number of events. */
int trace_record_start(const char *const *patterns);
void trace_record_stop(void);
/* The oldest entries not yet read, at most max; *lost: how many are gone since the last call. */
unsigned trace_record_read(struct trace_entry *out, unsigned max, uint64_t *lost);

#define TRACE(ev, ...)                                                                             \
    do {                                                                                           \
        if (unlikely(trace_enabled[TRACE_##ev]))                                                   \
            trace_emit(TRACE_##ev, __VA_ARGS__);                                                   \
    } while (0)

#endif
