/* threads.h - the threads of a running machine: which vcpu is which, and where each may run. */
#ifndef MANAGER_THREADS_H
#define MANAGER_THREADS_H

#include "manager/domain.h"
#include "manager/qmp.h"

#include <sys/types.h>

struct vcpu_thread {
    int index;
    pid_t tid;
    char *qom_path;
};

/* struct vcpu_thread *, by index. */
GPtrArray *vcpu_threads(struct qmp *q, GError **err);
/* Thread ids of iothreads by name "iothreadN"; 0 when there is none. */
pid_t iothread_tid(struct qmp *q, const char *id);
unsigned host_cpus(void);
bool thread_pin(pid_t tid, const char *cpuset, GError **err);
/* The list as "0-3"; NULL on error. */
char *thread_affinity(pid_t tid);
/* All threads of the process that are neither a vcpu nor an iothread. */
bool emulator_pin(pid_t pid, struct qmp *q, const char *cpuset, GError **err);
/* Nanoseconds on a CPU, and the CPU it was last on. */
bool thread_times(pid_t pid, pid_t tid, uint64_t *user_ns, uint64_t *system_ns, int *cpu);

/* Plugs processors into a running machine, or asks the guest for those that were plugged in, until
 * there are n; new ones go where <cputune> says.  d (the running domain) says how many there are
 * afterwards, also when it fails half-way. */
struct vm;
/* Before it runs: the processors of <vcpus> that can go. */
bool vcpus_plug_in(const struct domain *d, struct qmp *q, GError **err);
bool vm_set_vcpus(struct vm *vm, struct domain *d, unsigned n, GError **err);

#endif
