/* commands.h - the handlers behind the command table, by file; private to src/monitor. */
#ifndef MONITOR_COMMANDS_H
#define MONITOR_COMMANDS_H

#include "qmp.h"

#include "machine/machine.h"

/* cmd_meta.c: about QMP and the program itself */
qmp_handler cmd_qmp_capabilities, cmd_query_version, cmd_query_commands, cmd_query_events,
    cmd_query_qmp_schema, cmd_query_target, cmd_query_command_line_options,
    cmd_query_migrate_capabilities, cmd_migrate_set_capabilities, cmd_query_migrate_parameters,
    cmd_query_migrate, cmd_query_tpm_models, cmd_query_tpm_types, cmd_human_monitor_command,
    cmd_x_query_jit;
/* cmd_machine.c: run state and facts of the machine */
qmp_handler cmd_stop, cmd_cont, cmd_system_reset, cmd_system_powerdown, cmd_system_wakeup, cmd_quit,
    cmd_query_status, cmd_query_name, cmd_query_uuid, cmd_query_kvm, cmd_query_machines,
    cmd_query_current_machine, cmd_set_action, cmd_watchdog_set_action, cmd_inject_nmi,
    cmd_query_memory_size_summary, cmd_query_memory_devices, cmd_query_iothreads,
    cmd_query_acpi_ospm_status, cmd_rtc_reset, cmd_query_jobs, cmd_query_block_jobs, cmd_query_dump;
/* cmd_cpu.c */
qmp_handler cmd_query_cpus_fast, cmd_query_hotpluggable_cpus, cmd_query_cpu_definitions,
    cmd_query_cpu_model_expansion, cmd_query_jit;
/* cmd_qom.c: types, devices and their properties */
qmp_handler cmd_qom_list_types, cmd_device_list_properties, cmd_qom_list_properties, cmd_qom_list,
    cmd_qom_get, cmd_qom_set, cmd_device_add, cmd_device_del, cmd_object_add, cmd_object_del,
    cmd_netdev_add, cmd_netdev_del, cmd_balloon, cmd_query_balloon;
/* cmd_dev.c: what the devices and back ends are doing */
qmp_handler cmd_query_pci, cmd_query_chardev, cmd_query_chardev_backends, cmd_ringbuf_read,
    cmd_set_link, cmd_query_rx_filter;
/* cmd_block.c: disks */
qmp_handler cmd_query_block, cmd_query_blockstats, cmd_query_named_block_nodes, cmd_block_resize,
    cmd_block_set_io_throttle, cmd_blockdev_add, cmd_blockdev_del;

/* cmd_tray.c */
qmp_handler cmd_eject, cmd_blockdev_close_tray, cmd_blockdev_remove_medium,
    cmd_blockdev_insert_medium;

/* cmd_stats.c: numbers, and the recorder of trace events */
qmp_handler cmd_query_stats, cmd_query_stats_schemas, cmd_trace_start, cmd_trace_read,
    cmd_trace_stop, cmd_query_memory_areas;

/* cmd_ui.c */
qmp_handler cmd_screendump, cmd_send_key, cmd_input_send_event, cmd_query_vnc,
    cmd_change_vnc_password, cmd_set_password, cmd_expire_password;
/* "ctrl-alt-delete" */
bool send_keys(const char *text, GError **err);

const char *accel_name(struct machine *m);
struct pci_bus;
struct device;
struct pci_dev;
char *qdev_path(struct device *d); /* the device's QOM path, as the qdev of a disk; g_free */
/* Calls fn for every function of every bus, buses in order of creation. */
void foreach_device(struct machine *m, void (*fn)(struct device *d, void *opaque), void *opaque);
void foreach_pci_dev(struct machine *m, void (*fn)(struct pci_dev *d, void *opaque), void *opaque);
/* The network device or backend that has this name; false when neither. */
bool set_link(struct machine *m, const char *name, bool up);
bool powerdown_possible(struct machine *m, GError **err);
bool cont_possible(struct machine *m, GError **err);

#endif
