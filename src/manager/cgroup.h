/* cgroup.h - limits of a whole machine: <cputune> shares, period and quota, and <memtune>.
 *
 * The machine's process goes into a group of its own below "hanok", in version 2's one tree or in
 * version 1's trees of the controllers that are needed.  Which groups were made stands in the file
 * "cgroup" of the run directory, so that whoever finds the machine ended can remove them. */
#ifndef MANAGER_CGROUP_H
#define MANAGER_CGROUP_H

#include "manager/domain.h"

#include <sys/types.h>

/* Whether the limits of the definition can be set here; true when it has none. */
bool cgroup_possible(const struct domain *d, GError **err);
bool cgroup_apply(const struct domain *d, pid_t pid, const char *run_dir, GError **err);
void cgroup_remove(const char *run_dir); /* the process is gone */

#endif
