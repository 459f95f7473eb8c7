/* trace.h - hanok trace: single requests and exits of a running machine, with their times.
 *
 *   x-trace-start -> x-trace-read, again and again -> events -> hops of one request
 *
 * A disk request is followed by what its events name: the doorbell's descriptor (io_kick) leads to
 * the queue, queue and head to the request, the request's address to the image's work, and back.
 * One thread. */
#ifndef CLI_TRACE_H
#define CLI_TRACE_H

#include "manager/qmp.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct trace_hop {
    uint64_t ns; /* host clock */
    int tid;
    char thread[16];
    char what[24]; /* "kick", "taken off the ring", ...; an exit: the event's name */
    char detail[128];
};

/* One followed request, or one exit (a single hop). */
struct trace_request {
    char name[64];
    GArray *hops; /* struct trace_hop, in the order of time */
    bool complete;
};

enum trace_kind { TRACE_DISK, TRACE_EXITS };

struct trace_run {
    enum trace_kind kind;
    uint64_t duration_ms;
    unsigned count;      /* ends when so many are complete; 0: only by time */
    GPtrArray *requests; /* struct trace_request, filled */
    uint64_t lost;       /* events that came faster than they were read */
};

/* Records until one of the two limits; what was incomplete then is dropped. */
bool trace_follow(struct qmp *q, struct trace_run *run, GError **err);
void trace_request_free(void *request);
/* A Chrome or Perfetto trace (Trace Event Format, JSON). */
json_t *trace_chrome(const struct trace_run *run, int pid);

#endif
