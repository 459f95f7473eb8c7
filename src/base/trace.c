/* trace.c - named trace points; the list is base/trace_events.h. */
#include "base/trace.h"

#include "base/evloop.h"
#include "log_line.h"

#include <fnmatch.h>
#include <glib.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

uint8_t trace_enabled[TRACE_EVENT_COUNT];

static const char *const trace_names[TRACE_EVENT_COUNT] = {
#define X(name) [TRACE_##name] = #name,
    TRACE_EVENTS(X)
#undef X
};

const char *trace_name(enum trace_event ev)
{
    return trace_names[ev];
}

/* Both masks apply to each event that one of the patterns names. */
static int trace_switch(const char *const *patterns, uint8_t set, uint8_t clear)
{
    int switched = 0;
    for (int ev = 0; ev < TRACE_EVENT_COUNT; ev++) {
        for (const char *const *p = patterns; *p; p++) {
            if (fnmatch(*p, trace_names[ev], 0) == 0) {
                __atomic_fetch_or(&trace_enabled[ev], set, __ATOMIC_RELEASE);
                __atomic_fetch_and(&trace_enabled[ev], (uint8_t)~clear, __ATOMIC_RELEASE);
                switched++;
                break;
            }
        }
    }
    return switched;
}

int trace_enable(const char *pattern)
{
    return trace_switch((const char *const[]){pattern, NULL}, TRACE_TO_LOG, 0);
}

int trace_disable(const char *pattern)
{
    return trace_switch((const char *const[]){pattern, NULL}, 0, TRACE_TO_LOG);
}

/* ---- the recorder ---- */

#define RECORD_ENTRIES 16384u /* a power of two; 2.6 MiB, allocated when first used */

struct record_slot {
    uint64_t seq; /* number of the entry + 1; 0: being written */
    struct trace_entry entry;
};
/* Never freed: a writer may still be at it after the recorder was stopped. */
static struct record_slot *record;
static uint64_t record_head; /* atomic */
static uint64_t record_tail; /* reader */

int trace_record_start(const char *const *patterns)
{
    trace_record_stop();
    if (!record)
        __atomic_store_n(&record, g_new0(struct record_slot, RECORD_ENTRIES), __ATOMIC_RELEASE);
    record_tail = __atomic_load_n(&record_head, __ATOMIC_ACQUIRE);
    return trace_switch(patterns, TRACE_TO_RECORD, 0);
}

void trace_record_stop(void)
{
    trace_switch((const char *const[]){"*", NULL}, 0, TRACE_TO_RECORD);
}

static void record_add(enum trace_event ev, uint64_t now, const char *fmt, va_list ap)
{
    static _Thread_local char name[16];
    static _Thread_local int tid;
    struct record_slot *ring = __atomic_load_n(&record, __ATOMIC_ACQUIRE);
    if (!tid) {
        tid = gettid();
        pthread_getname_np(pthread_self(), name, sizeof(name));
    }
    uint64_t number = __atomic_fetch_add(&record_head, 1, __ATOMIC_ACQ_REL);
    struct record_slot *s = &ring[number % RECORD_ENTRIES];
    __atomic_store_n(&s->seq, 0, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    s->entry.ns = now;
    s->entry.tid = tid;
    s->entry.event = ev;
    memcpy(s->entry.thread, name, sizeof(name));
    vsnprintf(s->entry.text, sizeof(s->entry.text), fmt, ap);
    __atomic_store_n(&s->seq, number + 1, __ATOMIC_RELEASE);
}

unsigned trace_record_read(struct trace_entry *out, unsigned max, uint64_t *lost)
{
    uint64_t head = __atomic_load_n(&record_head, __ATOMIC_ACQUIRE);
    unsigned count = 0;
    *lost = 0;
    if (head - record_tail > RECORD_ENTRIES) {
        *lost = head - record_tail - RECORD_ENTRIES;
        record_tail += *lost;
    }
    while (count < max && record_tail < head) {
        struct record_slot *s = &record[record_tail % RECORD_ENTRIES];
        uint64_t seq = __atomic_load_n(&s->seq, __ATOMIC_ACQUIRE);
        if (seq < record_tail + 1) /* its writer is not done */
            break;
        out[count] = s->entry;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&s->seq, __ATOMIC_RELAXED) == record_tail + 1) {
            out[count].text[sizeof(out[count].text) - 1] = 0;
            count++;
        } else {
            ++*lost;
        }
        record_tail++;
    }
    return count;
}

void trace_emit(enum trace_event ev, const char *fmt, ...)
{
    char thread[16] = "?";
    uint64_t now = host_clock_ns();
    uint8_t to = __atomic_load_n(&trace_enabled[ev], __ATOMIC_ACQUIRE);
    va_list ap;
    if (to & TRACE_TO_RECORD) {
        va_start(ap, fmt);
        record_add(ev, now, fmt, ap);
        va_end(ap);
    }
    if (!(to & TRACE_TO_LOG))
        return;
    pthread_getname_np(pthread_self(), thread, sizeof(thread));
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_autofree char *line =
        g_strdup_printf("%" G_GUINT64_FORMAT ".%06u [%s] %s: %s", now / 1000000000u,
                        (unsigned)(now % 1000000000u / 1000), thread, trace_names[ev], text);
    log_line(line);
}
