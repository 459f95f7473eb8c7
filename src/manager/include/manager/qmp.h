/* qmp.h - a client of one machine's monitor.
 *
 * Blocking, with deadlines; one thread.  Answers and events come from a process that a guest may
 * have taken over: sizes and depth are bounded.  Events that arrive while waiting for an answer are
 * kept in order (the last 256) until qmp_event() asks for them.  Owner: the caller, qmp_close(). */
#ifndef MANAGER_QMP_H
#define MANAGER_QMP_H

#include "base/error.h"

#include <jansson.h>

struct qmp;

/* Connects, reads the greeting, negotiates. */
struct qmp *qmp_open(const char *path, unsigned timeout_ms, GError **err);
void qmp_close(struct qmp *q); /* accepts NULL */
/* arguments is stolen, may be NULL.  *ret (may be NULL) gets the answer, to be freed.  A refusal by
 * the machine is an error with its words; NOT_FOUND when it does not know the command or the
 * device. */
bool qmp_call(struct qmp *q, const char *command, json_t *arguments, json_t **ret, GError **err);
/* The next event, or NULL when none came in time or (err set) the connection ended. */
json_t *qmp_event(struct qmp *q, int timeout_ms, GError **err);
/* Waits for an event of that name about that device (NULL: any). */
bool qmp_wait_event(struct qmp *q, const char *name, const char *device, int timeout_ms);
int qmp_fd(const struct qmp *q);

/* The same exchange with a guest agent on its socket (sync first, then one command). */
bool agent_call(const char *path, const char *command, json_t *arguments, unsigned timeout_ms,
                json_t **ret, GError **err);

#endif
