/* config.h - what a machine is made of, in neutral form.
 *
 * src/vm/ translates QEMU's spellings into this; nothing below knows the command line.  Lists keep
 * the user's order.  Owner: main; everything inside is owned by the struct (vm_config_free).  Cold,
 * one thread. */
#ifndef MACHINE_CONFIG_H
#define MACHINE_CONFIG_H

#include "base/props.h"
#include "base/types.h"
#include "cpu/cpuid.h"

#include <glib.h>

enum vm_action {
    ACTION_DEFAULT,
    ACTION_RESET,
    ACTION_SHUTDOWN,
    ACTION_POWEROFF,
    ACTION_PAUSE,
    ACTION_NONE,
    ACTION_INJECT_NMI,
    ACTION_EXIT_FAILURE
};

enum { CONFIG_SMBIOS_TYPES = 12 };

struct vm_config {
    char *name; /* -name guest= */
    uint8_t uuid[16];
    bool have_uuid;
    struct props *machine; /* -machine, all occurrences merged; "type" is the machine's name ("q35",
                              "none") */
    char *accels;          /* "kvm:jit" in order of trial, NULL = default */
    struct props *accel_props;
    char *cpu; /* -cpu text or NULL */
    struct cpu_topology topology;
    uint64_t ram_bytes, maxmem_bytes;
    unsigned mem_slots;
    char *kernel, *initrd, *append, *firmware;
    GPtrArray *firmware_dirs; /* char *: -L, searched before the system's */
    GPtrArray *objects;       /* struct props: qom-type, id, ... */
    GPtrArray *chardevs;      /* struct props: backend, id, ... */
    GPtrArray
        *blockdevs; /* struct props: driver, node-name, ... (-drive already turned into these) */
    GPtrArray *netdevs; /* struct props: type, id, ... */
    GPtrArray
        *devices; /* struct props: driver, id, bus, addr, ...  (-drive if=virtio, -nic, ... too) */
    GPtrArray *serials;                        /* char *: -serial specs in order, "none" included */
    GPtrArray *globals;                        /* struct props: driver, property, value */
    GPtrArray *debugcons;                      /* char *: -debugcon specs */
    struct props *rtc;                         /* base=, clock=, driftfix= */
    struct props *boot;                        /* order=, once=, menu=, strict= */
    struct props *vnc;                         /* "vnc": where, and its options; NULL: none */
    struct props *window;                      /* -display sdl: its options; NULL: none */
    struct props *smbios[CONFIG_SMBIOS_TYPES]; /* fields of a type (0, 1, 2, 3, 11); may be NULL */
    GPtrArray *fw_cfg;                         /* struct props: name, and string or file */
    bool nodefaults, no_hpet, start_paused, no_reboot, no_shutdown, nographic, mem_lock,
        mem_prealloc, cpu_pm;
    enum vm_action on_reboot, on_shutdown, on_panic, on_watchdog;
};

struct vm_config *vm_config_new(void); /* QEMU's defaults: 128 MiB, 1 cpu, q35 */
void vm_config_free(struct vm_config *c);

#endif
