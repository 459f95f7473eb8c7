/* cgroup.h - limits of a machine and of its threads: <cputune>, <memtune> and <blkiotune>.
 *
 * The machine's process goes into a group of its own below "hanok", in version 2's one tree or in
 * version 1's trees of the controllers that are needed; threads with a limit of their own into
 * groups below that ("vcpu0", "emulator", "iothread1": threaded ones in version 2).  Which groups
 * were made stands in the file "cgroup" of the run directory, so that whoever finds the machine
 * ended can remove them. */
#ifndef MANAGER_CGROUP_H
#define MANAGER_CGROUP_H

#include "manager/domain.h"

#include <sys/types.h>

#define CGROUP_EMULATOR "emulator"

extern const char *cgroup_root; /* where the kernel's tree is; a test sets its own */

/* Whether the limits of the definition can be set here; true when it has none. */
bool cgroup_possible(const struct domain *d, GError **err);
/* Makes the groups, sets the limits, moves the process. */
bool cgroup_apply(const struct domain *d, pid_t pid, const char *run_dir, GError **err);
/* Moves a thread to that group, when the definition limits it. */
bool cgroup_thread(const struct domain *d, const char *group, pid_t tid, GError **err);
void cgroup_remove(const char *run_dir); /* the process is gone */

#endif
