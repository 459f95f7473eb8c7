/* vm.h - a machine by name: defined, running, or both; its life without a daemon.
 *
 * A running machine is known by NAME.json in the run directory (process, start time, where its
 * sockets are) and domain.xml beside its sockets (the definition as it runs).  Both are written
 * before the emulator's first instruction, so that no kill of hanok leaves a machine nobody knows.
 * Whoever finds a process gone, or a different one under its number, clears up and notes why it
 * ended. Owner: the caller (vm_free).  One thread. */
#ifndef MANAGER_VM_H
#define MANAGER_VM_H

#include "manager/domain.h"
#include "manager/qmp.h"
#include "manager/store.h"

#include <sys/types.h>

struct vm {
    struct store *store;
    char *name;
    bool persistent; /* has a definition */
    bool active;     /* its process runs */
    /* of an active one */
    int id;
    pid_t pid;
    uint64_t start_time; /* field 22 of /proc/PID/stat: a pid alone is not an identity */
    char *dir;           /* sockets, domain.xml */
    bool qemu;           /* the emulator is not hanok-vm: one client per monitor */
    bool starting;       /* hanok start has not ended its work on it (yet, or ever) */
    bool destroying;
    gint64 since; /* seconds since 1970 */
};

enum vm_state {
    VM_NOSTATE,
    VM_RUNNING,
    VM_PAUSED,
    VM_SHUTDOWN,
    VM_SHUTOFF,
    VM_CRASHED,
    VM_SUSPENDED
};

/* By name, by id of a running one, by UUID. */
struct vm *vm_find(struct store *s, const char *what, GError **err);
GPtrArray *vm_list(struct store *s); /* struct vm *, sorted by name; freed with vm_free() */
void vm_free(struct vm *vm);         /* accepts NULL */
/* Reads the state files anew, as after taking the domain's lock. */
void vm_refresh(struct vm *vm);
bool vm_need_active(const struct vm *vm, GError **err);
bool vm_need_inactive(const struct vm *vm, GError **err);

/* *reason is a literal or lives until the next call. */
enum vm_state vm_state(struct vm *vm, const char **reason);
const char *vm_state_name(enum vm_state s);
/* Why it last ended, for people; NULL when it never ran since the host started. */
char *vm_last_words(struct vm *vm);

struct domain *vm_definition(struct vm *vm, GError **err); /* NOT_FOUND for a transient one */
struct domain *vm_live(struct vm *vm, GError **err);       /* of an active one */
struct domain *vm_domain(struct vm *vm, GError **err);     /* live when active */
bool vm_write_live(struct vm *vm, const struct domain *d, GError **err);

/* Stores a definition; takes the locks.  Replaces the one of that name and UUID.  expected as in
 * store_write(). */
bool vm_define(struct store *s, struct domain *d, const char *expected, GError **err);
bool vm_undefine(struct vm *vm, GError **err);
bool vm_rename(struct vm *vm, const char *to, GError **err);

enum { VM_START_PAUSED = 1, VM_START_TRANSIENT = 2, VM_START_FORCE = 4 };
/* Starts vm->name from its definition, or from d when it is transient.  Returns when the machine
 * reports that it runs; else says what its process said. */
bool vm_start(struct vm *vm, struct domain *d, unsigned flags, GError **err);
/* SIGTERM, and SIGKILL when that is not heard (graceful: an error instead). */
bool vm_destroy(struct vm *vm, bool graceful, GError **err);
bool vm_wait_end(struct vm *vm, int timeout_ms); /* until the process is gone */

struct qmp *vm_qmp(struct vm *vm, GError **err);
struct qmp *vm_qmp_follow(struct vm *vm, GError **err); /* for watching events */
char *vm_log_path(const struct vm *vm);

/* Internal to the library: files of a running machine. */
void vm_refresh_locked(struct vm *vm); /* the caller holds the domain's lock */
bool vm_write_status(struct vm *vm, GError **err);
void vm_forget(struct vm *vm, const char *reason, const char *text);
bool process_start_time(pid_t pid, uint64_t *out); /* false: no such process, or a zombie */

#endif
