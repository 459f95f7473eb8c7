/* options.h - hanok-vm's command line, parsed: QEMU's spelling in, neutral structs out.
 *
 * One table (option_table in options.c) holds every option with its help text and handler; this and
 * the handlers are the only place that knows QEMU's history.  Parsing opens nothing and starts
 * nothing: it can be tested, and fuzzed, without side effects besides reading what -drive must
 * probe.
 *
 * Owner:   main; vm_options_free() frees all.   Threads: one, before any other exists.
 * Errors:  a sentence naming the option, and the nearest valid spelling where there is one. */
#ifndef VM_OPTIONS_H
#define VM_OPTIONS_H

#include "machine/config.h"
#include "monitor/monitor.h"

struct monitor_spec {
    char *chardev; /* id of a chardev, or NULL: */
    char *spec;    /* a legacy spelling, opened under the id compat_monitorN */
    enum monitor_mode mode;
};

enum sandbox_deny {
    SANDBOX_OBSOLETE = 1,
    SANDBOX_ELEVATE = 2,
    SANDBOX_ELEVATE_CHILDREN = 4,
    SANDBOX_SPAWN = 8,
    SANDBOX_RESOURCES = 16,
};

struct vm_options {
    struct vm_config *cfg;
    GPtrArray *monitors; /* struct monitor_spec */
    GPtrArray *traces;   /* char *: patterns of trace events */
    char *pidfile, *log_file, *process_name;
    char *incoming, *loadvm;
    char *qtest; /* chardev of the device test protocol */
    bool daemonize, timestamps, debug_threads, log_guest_errors;
    bool silent; /* no serial port, console or display: worth a warning when all else is right */
    bool sandbox;
    unsigned sandbox_deny; /* enum sandbox_deny */
    char *answer;          /* -help and friends: print this and exit 0 */
    /* while parsing: what the user has said, so that defaults stay away */
    bool accel_option, machine_accel, net_given, serial_given, monitor_given, display_given,
        vga_given, parallel_given;
    GPtrArray *drive_hints; /* struct props: what -drive says of the device to come */
    bool snapshot_all;
    unsigned nic_count, drive_count, compat_nics, compat_backends;
    struct props *compat_nic; /* -net nic waiting for its -net user */
    char *compat_backend;     /* id of the -net user/tap backend */
};

struct vm_options *vm_options_parse(int argc, char *const *argv, GError **err);
void vm_options_free(struct vm_options *o); /* accepts NULL */
bool vm_options_accel_was_given(const struct vm_options *o);

#endif
