/* snapshot.h - all numbers about one running machine at one moment, as one JSON object.
 *
 *   what hanok-vm counts (query-stats, query-blockstats)  --\
 *   what the kernel counts (/proc/PID/{stat,task,smaps})  ----> stats, top, Prometheus, the lab
 *   what the guest says (balloon, agent)                  --/
 *
 * Members are listed in docs/stats.md.  What nobody tells is left out, never zero.  The caller's;
 * one thread. */
#ifndef CLI_SNAPSHOT_H
#define CLI_SNAPSHOT_H

#include "manager/vm.h"

#include <jansson.h>

enum { SNAPSHOT_MEMORY = 1, SNAPSHOT_AGENT = 2 }; /* the slow parts */

json_t *snapshot_take(struct vm *vm, unsigned parts, GError **err);
/* The part that needs no domain: a process with a monitor.  guest_kib: its RAM. */
json_t *snapshot_process(struct qmp *q, pid_t pid, uint64_t guest_kib, unsigned parts);
/* What the virtqueues count; each with "device" and "queue". */
json_t *snapshot_queues(struct qmp *q);
/* One snapshot after another as Prometheus text; snapshots is an array. */
void snapshot_prometheus(json_t *snapshots);
/* For people. */
void snapshot_print(json_t *snapshot);

/* o[a][b] or 0. */
json_int_t snapshot_number(json_t *o, const char *a, const char *b);

#endif
