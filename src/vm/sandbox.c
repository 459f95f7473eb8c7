/* sandbox.c - system calls a running machine has no business with are refused by the kernel.
 *
 * A list of what is denied rather than of what is allowed: libraries below us (resolver, io_uring,
 * allocator) change what they call, and a false denial kills a guest.  A denied call ends the
 * process, which is what an exploited process deserves; clone3 alone answers ENOSYS, so that the C
 * library makes threads with clone, whose flags a filter can see.
 *
 * It is entered when everything is open and before the first guest instruction. */
#include "options.h"
#include "process.h"

#include "base/error.h"
#include "base/util.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>

/* Never needed, whatever the user allows. */
static const char *const always[] = {
    "reboot",
    "swapon",
    "swapoff",
    "syslog",
    "mount",
    "umount",
    "umount2",
    "kexec_load",
    "kexec_file_load",
    "ptrace",
    "init_module",
    "finit_module",
    "delete_module",
    "pivot_root",
    "chroot",
    "acct",
    "quotactl",
    "add_key",
    "request_key",
    "keyctl",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "open_by_handle_at",
    "process_vm_readv",
    "process_vm_writev",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "sethostname",
    "setdomainname",
    "vhangup",
    "iopl",
    "ioperm",
    "lookup_dcookie",
    "name_to_handle_at",
};
static const char *const obsolete[] = {
    "readdir",      "_sysctl",  "bdflush",    "create_module", "get_kernel_syms",
    "query_module", "sgetmask", "ssetmask",   "sysfs",         "uselib",
    "ustat",        "vm86",     "modify_ldt", "afs_syscall",   "getpmsg",
    "putpmsg",      "security", "tuxcall",    "nfsservctl",
};
static const char *const elevate[] = {
    "setuid",    "setgid",    "setpgid",  "setsid",   "setreuid",  "setregid",
    "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset",
};
static const char *const spawn[] = {"fork", "vfork", "execve", "execveat"};
static const char *const resources[] = {
    "setpriority",   "sched_setparam", "sched_setscheduler", "sched_setaffinity",
    "sched_setattr", "setrlimit",      "ioprio_set",
};

static int deny_all(scmp_filter_ctx ctx, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int nr = seccomp_syscall_resolve_name(names[i]);
        if (nr == __NR_SCMP_ERROR) {
            continue; /* an older library does not know it: then nobody can deny it */
        }
        int rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, nr, 0);
        if (rc < 0 && rc != -EDOM) { /* EDOM: not a call of this architecture */
            return rc;
        }
    }
    return 0;
}

static int deny_new_processes(scmp_filter_ctx ctx)
{
    int rc = deny_all(ctx, spawn, ARRAY_SIZE(spawn));
    if (!rc) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    }
    return rc ? rc : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static int build(scmp_filter_ctx ctx, unsigned deny)
{
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    rc = rc ? rc : deny_all(ctx, always, ARRAY_SIZE(always));
    if (!rc && (deny & SANDBOX_OBSOLETE)) {
        rc = deny_all(ctx, obsolete, ARRAY_SIZE(obsolete));
    }
    if (!rc && (deny & SANDBOX_ELEVATE)) {
        rc = deny_all(ctx, elevate, ARRAY_SIZE(elevate));
    }
    if (!rc && (deny & SANDBOX_SPAWN)) {
        rc = deny_new_processes(ctx);
    }
    if (!rc && (deny & SANDBOX_RESOURCES)) {
        rc = deny_all(ctx, resources, ARRAY_SIZE(resources));
    }
    return rc;
}

bool sandbox_enter(unsigned deny, GError **err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
        return error_errno(err, errno, "-sandbox: could not give up new privileges");
    }
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (!ctx) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "-sandbox: the filter could not be made");
    }
    int rc = build(ctx, deny);
    if (!rc) {
        rc = seccomp_load(ctx);
    }
    seccomp_release(ctx);
    return !rc || error_errno(err, -rc, "-sandbox: the system call filter could not be set");
}
