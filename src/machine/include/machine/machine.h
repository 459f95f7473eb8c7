/* machine.h - one machine: board, CPUs, devices, and its run state.
 *
 * Owner:   main (src/vm).  Threads: main thread only, except machine_request_* (any thread).
 * Errors:  creation fills GError with a sentence for the user; guest-caused trouble becomes events.
 *
 * Run state (names as QMP's query-status):
 *   prelaunch -> running <-> paused;  running -> shutdown | internal-error | guest-panicked |
 * io-error running -> (reset) -> running */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "machine/config.h"

struct board;
struct machine;
struct device_list;
struct cpu_set;
struct guest_mem;
struct io_space;
struct irqchip;
struct machine_type;
struct pci_host;
struct vm_clock;
struct state_reader;
struct state_writer;

enum run_state {
    RUN_PRELAUNCH,
    RUN_RUNNING,
    RUN_PAUSED,
    RUN_SHUTDOWN,
    RUN_INTERNAL_ERROR,
    RUN_GUEST_PANICKED,
    RUN_IO_ERROR,
    RUN_INMIGRATE,
    RUN_WATCHDOG,
    RUN_SUSPENDED
};
const char *run_state_name(enum run_state s);

enum stop_cause {
    CAUSE_GUEST_SHUTDOWN,
    CAUSE_GUEST_RESET,
    CAUSE_GUEST_PANIC,
    CAUSE_HOST_QMP_QUIT,
    CAUSE_HOST_QMP_RESET,
    CAUSE_HOST_SIGNAL,
    CAUSE_HOST_UI,
    CAUSE_TRIPLE_FAULT,
    CAUSE_DEBUG_EXIT
};
const char *stop_cause_name(enum stop_cause c); /* QMP ShutdownCause spelling */

/* Events to whoever listens (monitor, event log); called in the main thread.  data is borrowed, may
 * be NULL. */
typedef void machine_event_fn(void *opaque, const char *name, json_t *data);

struct machine *machine_new(const struct vm_config *cfg, GError **err);
void machine_free(struct machine *m); /* pauses, drains, destroys; accepts NULL */
void machine_subscribe(struct machine *m, machine_event_fn *fn, void *opaque);
void machine_unsubscribe(struct machine *m, machine_event_fn *fn, void *opaque);
void machine_emit(struct machine *m, const char *name, json_t *data_stolen);

void machine_run(struct machine *m); /* emits RESUME */
void machine_pause(
    struct machine *m); /* stops vcpus, drains devices, stops the clock; emits STOP */
void machine_reset(struct machine *m,
                   enum stop_cause cause); /* also reloads the kernel; emits RESET */
bool machine_powerdown(struct machine *m); /* power button; emits POWERDOWN */
bool machine_wakeup(struct machine *m);    /* from S3; false when it does not sleep; emits WAKEUP */
enum run_state machine_run_state(const struct machine *m);

/* Any thread: asks the main loop to do it. */
void machine_request_reset(struct machine *m, enum stop_cause cause);
void machine_request_shutdown(struct machine *m, enum stop_cause cause);
void machine_request_exit(struct machine *m, int status);         /* isa-debug-exit */
void machine_request_stop(struct machine *m, enum run_state why); /* werror=stop and the like */

/* Set by the main program: called in the main thread when the process should end with status. */
void machine_set_exit_handler(struct machine *m, void (*fn)(void *opaque, int status),
                              void *opaque);

const struct vm_config *machine_config(const struct machine *m);
struct cpu_set *machine_cpus(struct machine *m);
struct device_list *machine_devices(struct machine *m);
struct guest_mem *machine_mem(struct machine *m);
struct pci_host *machine_pci(struct machine *m); /* NULL for "none" */
struct io_space *machine_pio(struct machine *m);
struct io_space *machine_mmio(struct machine *m);
struct irqchip *machine_irqchip(struct machine *m);
struct vm_clock *machine_clock(struct machine *m);
const struct machine_type *machine_type_of(const struct machine *m);
const char *machine_accel_sentence(const struct machine *m);

/* The whole machine's state (paused): the stream of base/state.h. */
bool machine_save(struct machine *m, struct state_writer *w, GError **err);
bool machine_load(struct machine *m, struct state_reader *r, GError **err);

/* -device NAME: the table users see in -device help, device-list-properties and qom-list-types. */
enum prop_type {
    PROP_STR,
    PROP_BOOL,
    PROP_U32,
    PROP_U64,
    PROP_SIZE,
    PROP_MAC,
    PROP_DRIVE,
    PROP_NETDEV,
    PROP_CHARDEV,
    PROP_ONOFFAUTO,
    PROP_LINK
};
struct prop_desc {
    const char *name;
    enum prop_type type;
    const char *fallback; /* default as text, NULL = none */
    const char *help;
};
struct device_class {
    const char *name;  /* "virtio-blk-pci" */
    const char *alias; /* may be NULL */
    const char *bus;   /* "PCI", "ISA", "virtio-serial-bus", "USB", NULL */
    const char *help;
    const struct prop_desc *props; /* ends with name == NULL; bus/addr/id are common */
    bool (*create)(struct machine *m, const struct device_class *cls, struct props *p,
                   GError **err);
    bool accepted_only; /* a later version brings it: accepted with a warning, no device appears */
};
extern const struct device_class *const device_classes[]; /* NULL-terminated */
const struct device_class *device_class_find(const char *name);
bool machine_device_add(struct machine *m, struct props *p, GError **err);
/* Asks the guest to let go of it; DEVICE_DELETED follows when it has. */
bool machine_device_del(struct machine *m, const char *id, GError **err);
/* "qemu64-x86_64-cpu"; where the processor at a place of the topology is in the object tree, NULL
 * when none is there; and what the guest has said of each place by _OST.  The caller frees. */
char *machine_cpu_type(const struct machine *m);
char *machine_cpu_path(struct machine *m, unsigned place);
json_t *machine_ospm_status(struct machine *m);
bool machine_object_add(struct machine *m, struct props *p, GError **err);
bool machine_object_del(struct machine *m, const char *id, GError **err);
/* A block node as -blockdev makes it; and its end, when nothing uses it. */
bool machine_blockdev_add(struct machine *m, struct props *p, GError **err);
bool machine_blockdev_del(struct machine *m, const char *node_name, GError **err);
/* The same for network back ends. */
bool machine_netdev_add(struct machine *m, struct props *p, GError **err);
bool machine_netdev_del(struct machine *m, const char *id, GError **err);
void machine_iothreads_foreach(struct machine *m, void (*fn)(const char *id, int tid, void *opaque),
                               void *opaque);

struct machine_type {
    const char *name, *alias, *desc;
    bool is_default;
    unsigned max_cpus;
    unsigned drives_per_bus;   /* on the buses "ide.N" of the board's controller */
    const struct board *board; /* NULL: an empty machine */
    bool no_pci;               /* nor other chips of a PC with PCI; virtio devices end in -device */
};
extern const struct machine_type machine_types[]; /* ends with name == NULL */

#endif
