/* opt_int.h - what the option handlers share; private to src/vm. */
#ifndef VM_OPT_INT_H
#define VM_OPT_INT_H

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "options.h"

#include <jansson.h>
#include <string.h>

enum option_arg { ARG_NONE, ARG_TEXT };

typedef bool option_fn(struct vm_options *o, const char *arg, GError **err);

struct option_desc {
    const char *name;
    enum option_arg arg;
    const char *form;  /* "[type=]NAME[,prop=value]" for the help text */
    const char *help;  /* NULL: an alias, not listed */
    option_fn *handle; /* NULL: see the next two */
    const char *warn;  /* accepted, has no effect yet: says so */
    const char *refuse;
};
extern const struct option_desc option_table[]; /* ends with name == NULL */

/* handlers, by file */
option_fn opt_machine, opt_accel, opt_enable_kvm, opt_cpu, opt_smp, opt_memory, opt_mem_prealloc,
    opt_kernel, opt_initrd, opt_append, opt_bios, opt_firmware_dir, opt_name, opt_uuid, opt_rtc,
    opt_boot, opt_smbios, opt_fw_cfg, opt_global, opt_object, opt_device, opt_no_hpet, opt_usb,
    opt_usbdevice; /* opt_machine.c, opt_objects.c */
option_fn opt_blockdev, opt_drive, opt_snapshot, opt_hda, opt_hdb, opt_hdc, opt_hdd, opt_cdrom,
    opt_pflash;                         /* opt_block.c */
option_fn opt_netdev, opt_nic, opt_net; /* opt_net.c */
option_fn opt_chardev, opt_serial, opt_monitor, opt_qmp, opt_qmp_pretty, opt_mon, opt_parallel,
    opt_debugcon, opt_nographic, opt_display, opt_vnc, opt_vga, opt_audiodev; /* opt_char.c */
option_fn opt_help, opt_version, opt_start_paused, opt_no_reboot, opt_no_shutdown, opt_action,
    opt_watchdog_action, opt_nodefaults, opt_no_user_config, opt_daemonize, opt_pidfile,
    opt_log_file, opt_debug, opt_trace, opt_msg, opt_overcommit, opt_sandbox, opt_incoming,
    opt_loadvm, opt_qtest; /* opt_host.c */

/* Parses "arg" into properties and appends them to a list of the configuration. */
bool append_props(GPtrArray *list, const char *arg, const char *implied, GError **err);
/* True for "help" and "?". */
bool wants_help(const char *arg);
/* Sets o->answer once; text is taken. */
bool answer(struct vm_options *o, char *text);
/* One of names[] or a sentence; *out keeps its value when key is absent. */
bool props_pick(struct props *p, const char *key, const char *const *names, unsigned *out,
                GError **err);
bool add_device(struct vm_options *o, json_t *obj_stolen);
void apply_defaults(struct vm_options *o);
void finish_drives(struct vm_options *o);
bool finish_compat_net(struct vm_options *o, GError **err);

/* help.c */
char *help_options(void);
char *help_devices(void);
char *help_device(const char *driver, GError **err);
char *help_machines(void);
char *help_cpus(void);
char *help_accels(void);
char *help_netdevs(void);
char *help_chardevs(void);
char *help_objects(void);
char *help_debug(void);
char *help_traces(void);
extern const char *const object_types[];
extern const char *const netdev_types[];

struct debug_item {
    const char *name, *trace_pattern, *help; /* pattern NULL: guest errors in the log */
};
extern const struct debug_item debug_items[];

/* defaults.c: the machine that will be made; NULL when there is none of that name. */
const struct machine_type *chosen_machine(struct vm_options *o);
/* After all options: devices that we chose get names that the board has.  A device with this key
 * (until then) is such a one. */
#define ANY_BUS_KEY "any-bus"
void finish_devices(struct vm_options *o);

#endif
