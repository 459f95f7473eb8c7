/* process.h - the process around the machine: background, pid file, sandbox, signals.
 *
 * Threads: main, in the order main.c calls them.  Errors: GError with a sentence. */
#ifndef VM_PROCESS_H
#define VM_PROCESS_H

#include "base/types.h"

struct machine;

/* -daemonize: forks.  The parent never returns: it waits until daemon_ready() (exit status 0) or
 * the child's end (1; the child has said why on the stderr both share).  Before any thread exists.
 */
bool daemon_fork(GError **err);
void daemon_ready(void); /* leaves terminal and directory; no-op without daemon_fork() */

/* Creates, locks and fills the file; it is removed by pidfile_remove(). */
bool pidfile_create(const char *path, GError **err);
void pidfile_remove(void);

/* Where the manager asks for it (the environment's HANOK_EXIT_REPORT names a file), the SHUTDOWN
 * event's data is written there: why the machine ends.  Opened before the sandbox closes. */
bool exit_report_open(GError **err);
void exit_report_attach(struct machine *m);

/* SIGINT, SIGTERM and SIGHUP become an orderly end of the machine.  Called before its threads
 * exist, so that they inherit the blocked mask; signals_attach() tells which machine. */
bool signals_init(GError **err);
void signals_attach(struct machine *m);

/* deny: enum sandbox_deny.  From here on for all threads, for good. */
bool sandbox_enter(unsigned deny, GError **err);

#endif
