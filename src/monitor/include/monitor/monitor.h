/* monitor.h - QMP servers and the human monitor.
 *
 * Any number of monitors; each QMP chardev connection has its own negotiation, event stream and
 * bounded output queue.  Threads: main.  The command table (name, argument schema, handler) is the
 * single source of query-commands and query-qmp-schema. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "base/types.h"

struct chardev;
struct machine;

enum monitor_mode { MONITOR_HMP, MONITOR_QMP, MONITOR_QMP_PRETTY };
bool monitor_add(struct machine *m, struct chardev *c, enum monitor_mode mode, GError **err);
void monitor_close_all(void);
/* One HMP line, output as new text (human-monitor-command); g_free. */
char *monitor_hmp(struct machine *m, const char *line);

#endif
