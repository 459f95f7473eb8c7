/* place.h - where a machine's threads may run. */
#ifndef MANAGER_PLACE_H
#define MANAGER_PLACE_H

#include "manager/domain.h"
#include "manager/qmp.h"

#include <sys/types.h>

/* Applies vcpupin, emulatorpin, iothreadpin and <vcpu cpuset> to a running process, and the limits
 * of <cputune> by cgroup. */
bool place_threads(const struct domain *d, pid_t pid, const char *dir, struct qmp *q, GError **err);
/* The vcpus' part of that: some may be new. */
bool place_vcpus(const struct domain *d, struct qmp *q, GError **err);

#endif
