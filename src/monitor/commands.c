/* commands.c - the table of QMP commands and events, with the types of what goes in and out.
 *
 * The names and meanings are QEMU's QMP.  A result type lists every member its handler can send:
 * the tests hold the handlers to it. */
#include "commands.h"

#define MEMBERS(...)                                                                               \
    (const struct qmp_member[])                                                                    \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            NULL                                                                                   \
        }                                                                                          \
    }
#define OBJECT(var, qname, ...)                                                                    \
    static const struct qmp_type var = {                                                           \
        .kind = QMP_OBJECT, .name = qname, .members = MEMBERS(__VA_ARGS__)}
#define OPEN_OBJECT(var, qname, ...)                                                               \
    static const struct qmp_type var = {                                                           \
        .kind = QMP_OBJECT, .name = qname, .open = true, .members = MEMBERS(__VA_ARGS__)}
#define TAGGED_OBJECT(var, qname, tag_member, ...)                                                 \
    static const struct qmp_type var = {.kind = QMP_OBJECT,                                        \
                                        .name = qname,                                             \
                                        .open = true,                                              \
                                        .tag = tag_member,                                         \
                                        .members = MEMBERS(__VA_ARGS__)}
#define ENUM(var, qname, ...)                                                                      \
    static const char *const var##_values[] = {__VA_ARGS__, NULL};                                 \
    static const struct qmp_type var = {.kind = QMP_ENUM, .name = qname, .values = var##_values}
#define ARRAY(var, of) static const struct qmp_type var = {.kind = QMP_ARRAY, .element = &(of)}
#define NEED(n, t)                                                                                 \
    {                                                                                              \
        n, &(t), false                                                                             \
    }
#define MAY(n, t)                                                                                  \
    {                                                                                              \
        n, &(t), true                                                                              \
    }

/* ---- arguments ---- */
OBJECT(arg_capabilities, "q_obj_qmp_capabilities-arg", MAY("enable", qmp_strings));
OBJECT(arg_option, "q_obj_query-command-line-options-arg", MAY("option", qmp_str));
OBJECT(arg_hmp, "q_obj_human-monitor-command-arg", NEED("command-line", qmp_str),
       MAY("cpu-index", qmp_int));
ENUM(mig_cap_name, "MigrationCapability", "xbzrle", "rdma-pin-all", "auto-converge", "zero-blocks",
     "events", "postcopy-ram", "x-colo", "release-ram", "block", "return-path",
     "pause-before-switchover", "multifd", "dirty-bitmaps", "postcopy-blocktime",
     "late-block-activate", "x-ignore-shared", "validate-uuid", "background-snapshot",
     "zero-copy-send", "postcopy-preempt", "compress");
OBJECT(mig_cap, "MigrationCapabilityStatus", NEED("capability", mig_cap_name),
       NEED("state", qmp_bool));
ARRAY(mig_caps, mig_cap);
OBJECT(arg_mig_caps, "q_obj_migrate-set-capabilities-arg", NEED("capabilities", mig_caps));
ENUM(reboot_action, "RebootAction", "reset", "shutdown");
ENUM(shutdown_action, "ShutdownAction", "poweroff", "pause");
ENUM(panic_action, "PanicAction", "pause", "shutdown", "exit-failure", "none");
ENUM(watchdog_action, "WatchdogAction", "reset", "shutdown", "poweroff", "pause", "debug", "none",
     "inject-nmi");
OBJECT(arg_set_action, "q_obj_set-action-arg", MAY("reboot", reboot_action),
       MAY("shutdown", shutdown_action), MAY("panic", panic_action),
       MAY("watchdog", watchdog_action));
OBJECT(arg_watchdog, "q_obj_watchdog-set-action-arg", NEED("action", watchdog_action));
ENUM(expansion_type, "CpuModelExpansionType", "static", "full");
OPEN_OBJECT(cpu_model_info, "CpuModelInfo", NEED("name", qmp_str), MAY("props", qmp_any));
OBJECT(arg_expansion, "q_obj_query-cpu-model-expansion-arg", NEED("type", expansion_type),
       NEED("model", cpu_model_info));
OBJECT(arg_list_types, "q_obj_qom-list-types-arg", MAY("implements", qmp_str),
       MAY("abstract", qmp_bool));
OBJECT(arg_typename, "q_obj_typename-arg", NEED("typename", qmp_str));
OBJECT(arg_path, "q_obj_qom-list-arg", NEED("path", qmp_str));
OBJECT(arg_qom_get, "q_obj_qom-get-arg", NEED("path", qmp_str), NEED("property", qmp_str));
OBJECT(arg_qom_set, "q_obj_qom-set-arg", NEED("path", qmp_str), NEED("property", qmp_str),
       NEED("value", qmp_any));
OPEN_OBJECT(arg_device_add, "q_obj_device_add-arg", NEED("driver", qmp_str), MAY("bus", qmp_str),
            MAY("id", qmp_str));
OBJECT(arg_id, "q_obj_id-arg", NEED("id", qmp_str));
ENUM(object_type, "ObjectType", "iothread", "memory-backend-file", "memory-backend-memfd",
     "memory-backend-ram", "rng-builtin", "rng-random", "secret", "throttle-group");
TAGGED_OBJECT(arg_object_add, "ObjectOptions", "qom-type", NEED("qom-type", object_type),
              NEED("id", qmp_str));
ENUM(netdev_type, "NetClientDriver", "none", "nic", "user", "tap", "l2tpv3", "socket", "stream",
     "dgram", "vde", "bridge", "hubport", "netmap", "vhost-user", "vhost-vdpa");
TAGGED_OBJECT(arg_netdev_add, "Netdev", "type", NEED("id", qmp_str), NEED("type", netdev_type));
OBJECT(arg_balloon, "q_obj_balloon-arg", NEED("value", qmp_int));
OBJECT(arg_nodes, "q_obj_query-blockstats-arg", MAY("query-nodes", qmp_bool));
OBJECT(arg_flat, "q_obj_query-named-block-nodes-arg", MAY("flat", qmp_bool));
OBJECT(arg_block_resize, "q_obj_block_resize-arg", MAY("device", qmp_str),
       MAY("node-name", qmp_str), NEED("size", qmp_int));
ENUM(image_format, "ImageFormat", "ppm", "png");
OBJECT(arg_screendump, "q_obj_screendump-arg", NEED("filename", qmp_str), MAY("device", qmp_str),
       MAY("head", qmp_int), MAY("format", image_format));
OBJECT(arg_send_key, "q_obj_send-key-arg", NEED("keys", qmp_anys), MAY("hold-time", qmp_int));
OBJECT(arg_input_event, "q_obj_input-send-event-arg", MAY("device", qmp_str), MAY("head", qmp_int),
       NEED("events", qmp_anys));
OBJECT(arg_vnc_password, "q_obj_change-vnc-password-arg", NEED("password", qmp_str));
OBJECT(arg_set_password, "q_obj_set_password-arg", NEED("protocol", qmp_str),
       NEED("password", qmp_str), MAY("connected", qmp_str), MAY("display", qmp_str));
OBJECT(arg_expire_password, "q_obj_expire_password-arg", NEED("protocol", qmp_str),
       NEED("time", qmp_str), MAY("display", qmp_str));
OBJECT(arg_tray, "q_obj_blockdev-tray-arg", MAY("device", qmp_str), MAY("id", qmp_str),
       MAY("force", qmp_bool));
OBJECT(arg_insert_medium, "q_obj_blockdev-insert-medium-arg", MAY("device", qmp_str),
       MAY("id", qmp_str), NEED("node-name", qmp_str));
OBJECT(arg_throttle, "BlockIOThrottle", MAY("device", qmp_str), MAY("id", qmp_str),
       NEED("bps", qmp_int), NEED("bps_rd", qmp_int), NEED("bps_wr", qmp_int),
       NEED("iops", qmp_int), NEED("iops_rd", qmp_int), NEED("iops_wr", qmp_int),
       MAY("bps_max", qmp_int), MAY("bps_rd_max", qmp_int), MAY("bps_wr_max", qmp_int),
       MAY("iops_max", qmp_int), MAY("iops_rd_max", qmp_int), MAY("iops_wr_max", qmp_int),
       MAY("bps_max_length", qmp_int), MAY("bps_rd_max_length", qmp_int),
       MAY("bps_wr_max_length", qmp_int), MAY("iops_max_length", qmp_int),
       MAY("iops_rd_max_length", qmp_int), MAY("iops_wr_max_length", qmp_int),
       MAY("iops_size", qmp_int), MAY("group", qmp_str));
ENUM(blockdev_driver, "BlockdevDriver", "file", "host_cdrom", "host_device", "nbd", "null-aio",
     "null-co", "qcow2", "raw", "throttle");
TAGGED_OBJECT(arg_blockdev_add, "BlockdevOptions", "driver", NEED("driver", blockdev_driver),
              MAY("node-name", qmp_str));
OBJECT(arg_blockdev_del, "q_obj_blockdev-del-arg", NEED("node-name", qmp_str));
ENUM(data_format, "DataFormat", "utf8", "base64");
OBJECT(arg_ringbuf_read, "q_obj_ringbuf-read-arg", NEED("device", qmp_str), NEED("size", qmp_int),
       MAY("format", data_format));
OBJECT(arg_set_link, "q_obj_set_link-arg", NEED("name", qmp_str), NEED("up", qmp_bool));
OBJECT(arg_rx_filter, "q_obj_query-rx-filter-arg", MAY("name", qmp_str));

ENUM(stats_target, "StatsTarget", "vm", "vcpu", "virtqueue");
ENUM(stats_provider, "StatsProvider", "hanok", "kvm");
OBJECT(stats_request, "StatsRequest", NEED("provider", stats_provider), MAY("names", qmp_strings));
ARRAY(stats_requests, stats_request);
OBJECT(arg_stats, "StatsFilter", NEED("target", stats_target), MAY("providers", stats_requests),
       MAY("vcpus", qmp_strings));
OBJECT(arg_stats_schemas, "q_obj_query-stats-schemas-arg", MAY("provider", stats_provider));
OBJECT(arg_trace, "q_obj_x-trace-start-arg", NEED("events", qmp_strings));
OBJECT(arg_trace_read, "q_obj_x-trace-read-arg", MAY("max", qmp_int));

/* ---- results ---- */
OBJECT(stats_one, "Stats", NEED("name", qmp_str), NEED("value", qmp_any));
ARRAY(stats_many, stats_one);
OBJECT(stats_result, "StatsResult", NEED("provider", stats_provider), MAY("qom-path", qmp_str),
       NEED("stats", stats_many));
ARRAY(stats_results, stats_result);
ENUM(stats_type, "StatsType", "cumulative", "instant", "peak", "linear-histogram",
     "log2-histogram");
ENUM(stats_unit, "StatsUnit", "bytes", "seconds", "cycles", "boolean");
OBJECT(stats_schema_value, "StatsSchemaValue", NEED("name", qmp_str), NEED("type", stats_type),
       MAY("unit", stats_unit), MAY("base", qmp_int), NEED("exponent", qmp_int),
       MAY("bucket-size", qmp_int));
ARRAY(stats_schema_values, stats_schema_value);
OBJECT(stats_schema, "StatsSchema", NEED("provider", stats_provider), NEED("target", stats_target),
       NEED("stats", stats_schema_values));
ARRAY(stats_schemas, stats_schema);
OBJECT(memory_area, "MemoryArea", NEED("kind", qmp_str), NEED("address", qmp_int),
       NEED("size", qmp_int));
ARRAY(memory_area_list, memory_area);
OBJECT(trace_started, "TraceStarted", NEED("events", qmp_int));
OBJECT(trace_event, "TraceEvent", NEED("time", qmp_int), NEED("tid", qmp_int),
       NEED("thread", qmp_str), NEED("event", qmp_str), NEED("text", qmp_str));
ARRAY(trace_event_list, trace_event);
OBJECT(trace_batch, "TraceBatch", NEED("events", trace_event_list), NEED("lost", qmp_int));
OBJECT(version_triple, "VersionTriple", NEED("major", qmp_int), NEED("minor", qmp_int),
       NEED("micro", qmp_int));
OBJECT(version_info, "VersionInfo", NEED("qemu", version_triple), NEED("package", qmp_str));
OBJECT(name_entry, "CommandInfo", NEED("name", qmp_str));
ARRAY(name_entries, name_entry);
OBJECT(target_info, "TargetInfo", NEED("arch", qmp_str));
OBJECT(option_parameter, "CommandLineParameterInfo", NEED("name", qmp_str), NEED("type", qmp_str));
ARRAY(option_parameters, option_parameter);
OBJECT(option_info, "CommandLineOptionInfo", NEED("option", qmp_str),
       NEED("parameters", option_parameters));
ARRAY(option_infos, option_info);
OBJECT(migration_info, "MigrationInfo", MAY("status", qmp_str),
       MAY("blocked-reasons", qmp_strings));
OBJECT(migrate_params, "MigrateParameters", MAY("max-bandwidth", qmp_int));
OBJECT(vnc_info, "VncInfo", NEED("enabled", qmp_bool), MAY("host", qmp_str),
       MAY("service", qmp_str), MAY("family", qmp_str), MAY("auth", qmp_str),
       MAY("clients", qmp_anys), MAY("viewers", qmp_int));
ENUM(run_state_enum, "RunState", "debug", "inmigrate", "internal-error", "io-error", "paused",
     "postmigrate", "prelaunch", "finish-migrate", "restore-vm", "running", "save-vm", "shutdown",
     "suspended", "watchdog", "guest-panicked", "colo");
OBJECT(status_info, "StatusInfo", NEED("running", qmp_bool), NEED("singlestep", qmp_bool),
       NEED("status", run_state_enum));
OBJECT(name_info, "NameInfo", MAY("name", qmp_str));
OBJECT(uuid_info, "UuidInfo", NEED("UUID", qmp_str));
OBJECT(kvm_info, "KvmInfo", NEED("enabled", qmp_bool), NEED("present", qmp_bool));
OBJECT(machine_info, "MachineInfo", NEED("name", qmp_str), MAY("alias", qmp_str),
       MAY("is-default", qmp_bool), NEED("cpu-max", qmp_int), NEED("hotpluggable-cpus", qmp_bool),
       NEED("numa-mem-supported", qmp_bool), NEED("deprecated", qmp_bool),
       MAY("default-cpu-type", qmp_str), MAY("default-ram-id", qmp_str), NEED("acpi", qmp_bool));
ARRAY(machine_infos, machine_info);
OBJECT(current_machine, "CurrentMachineParams", NEED("wakeup-suspend-support", qmp_bool));
OBJECT(memory_info, "MemoryInfo", NEED("base-memory", qmp_int), MAY("plugged-memory", qmp_int));
OBJECT(iothread_info, "IOThreadInfo", NEED("id", qmp_str), NEED("thread-id", qmp_int),
       NEED("poll-max-ns", qmp_int), NEED("poll-grow", qmp_int), NEED("poll-shrink", qmp_int),
       NEED("aio-max-batch", qmp_int));
ARRAY(iothread_infos, iothread_info);
OBJECT(dump_info, "DumpQueryResult", NEED("status", qmp_str), NEED("completed", qmp_int),
       NEED("total", qmp_int));
OBJECT(cpu_props_type, "CpuInstanceProperties", MAY("node-id", qmp_int), MAY("socket-id", qmp_int),
       MAY("die-id", qmp_int), MAY("core-id", qmp_int), MAY("thread-id", qmp_int));
OBJECT(cpu_info, "CpuInfoFast", NEED("cpu-index", qmp_int), NEED("qom-path", qmp_str),
       NEED("thread-id", qmp_int), MAY("props", cpu_props_type), NEED("target", qmp_str),
       MAY("qom-type", qmp_str));
ARRAY(cpu_infos, cpu_info);
OPEN_OBJECT(jit_counters, "JitCounters", MAY("blocks-translated", qmp_int));
OBJECT(jit_cpu_info, "JitCpuInfo", NEED("cpu-index", qmp_int), NEED("counters", jit_counters));
ARRAY(jit_cpu_infos, jit_cpu_info);
OBJECT(jit_info, "JitInfo", NEED("accelerator", qmp_str), NEED("cpus", jit_cpu_infos));
OBJECT(readable_text, "HumanReadableText", NEED("human-readable-text", qmp_str));
OBJECT(hotplug_cpu, "HotpluggableCPU", NEED("type", qmp_str), NEED("vcpus-count", qmp_int),
       NEED("props", cpu_props_type), MAY("qom-path", qmp_str));
ARRAY(hotplug_cpus, hotplug_cpu);
OBJECT(cpu_definition, "CpuDefinitionInfo", NEED("name", qmp_str), MAY("migration-safe", qmp_bool),
       NEED("static", qmp_bool), MAY("unavailable-features", qmp_strings),
       NEED("typename", qmp_str), NEED("deprecated", qmp_bool));
ARRAY(cpu_definitions, cpu_definition);
OBJECT(expansion_info, "CpuModelExpansionInfo", NEED("model", cpu_model_info));
OBJECT(object_info, "ObjectTypeInfo", NEED("name", qmp_str), MAY("parent", qmp_str));
ARRAY(object_infos, object_info);
OBJECT(property_info, "ObjectPropertyInfo", NEED("name", qmp_str), NEED("type", qmp_str),
       MAY("description", qmp_str), MAY("default-value", qmp_any));
ARRAY(property_infos, property_info);
OBJECT(balloon_info, "BalloonInfo", NEED("actual", qmp_int));
OBJECT(chardev_info, "ChardevInfo", NEED("label", qmp_str), NEED("filename", qmp_str),
       NEED("frontend-open", qmp_bool));
ARRAY(chardev_infos, chardev_info);
OBJECT(image_type, "ImageInfo", NEED("filename", qmp_str), NEED("format", qmp_str),
       NEED("virtual-size", qmp_int), MAY("actual-size", qmp_int));
OBJECT(cache_type, "BlockdevCacheInfo", NEED("writeback", qmp_bool), NEED("direct", qmp_bool),
       NEED("no-flush", qmp_bool));
OPEN_OBJECT(node_type, "BlockDeviceInfo", NEED("file", qmp_str), MAY("node-name", qmp_str),
            NEED("ro", qmp_bool), NEED("drv", qmp_str), NEED("backing_file_depth", qmp_int),
            NEED("encrypted", qmp_bool), NEED("detect_zeroes", qmp_str), NEED("bps", qmp_int),
            NEED("bps_rd", qmp_int), NEED("bps_wr", qmp_int), NEED("iops", qmp_int),
            NEED("iops_rd", qmp_int), NEED("iops_wr", qmp_int), NEED("image", image_type),
            NEED("cache", cache_type), NEED("write_threshold", qmp_int));
ARRAY(node_types, node_type);
OBJECT(block_info, "BlockInfo", NEED("device", qmp_str), MAY("qdev", qmp_str),
       NEED("type", qmp_str), NEED("removable", qmp_bool), NEED("locked", qmp_bool),
       MAY("inserted", node_type), MAY("io-status", qmp_str), MAY("tray_open", qmp_bool));
ARRAY(block_infos, block_info);
OPEN_OBJECT(block_counters, "BlockDeviceStats", NEED("rd_bytes", qmp_int),
            NEED("wr_bytes", qmp_int), NEED("rd_operations", qmp_int),
            NEED("wr_operations", qmp_int), NEED("flush_operations", qmp_int),
            NEED("rd_total_time_ns", qmp_int), NEED("wr_total_time_ns", qmp_int),
            NEED("flush_total_time_ns", qmp_int));
OBJECT(block_stats, "BlockStats", MAY("device", qmp_str), MAY("qdev", qmp_str),
       MAY("node-name", qmp_str), NEED("stats", block_counters));
ARRAY(block_stats_list, block_stats);
OBJECT(pci_info, "PciInfo", NEED("bus", qmp_int), NEED("devices", qmp_anys));
ARRAY(pci_infos, pci_info);

static const char *const device_add_features[] = {"json-cli", "json-cli-hotplug", NULL};

const struct qmp_command qmp_commands[] = {
    {"qmp_capabilities", &arg_capabilities, NULL, cmd_qmp_capabilities},
    {"query-version", NULL, &version_info, cmd_query_version},
    {"query-commands", NULL, &name_entries, cmd_query_commands},
    {"query-events", NULL, &name_entries, cmd_query_events},
    {"query-qmp-schema", NULL, &qmp_anys, cmd_query_qmp_schema},
    {"query-target", NULL, &target_info, cmd_query_target},
    {"query-command-line-options", &arg_option, &option_infos, cmd_query_command_line_options},
    {"query-migrate-capabilities", NULL, &mig_caps, cmd_query_migrate_capabilities},
    {"migrate-set-capabilities", &arg_mig_caps, NULL, cmd_migrate_set_capabilities},
    {"query-migrate-parameters", NULL, &migrate_params, cmd_query_migrate_parameters},
    {"query-migrate", NULL, &migration_info, cmd_query_migrate},
    {"query-tpm-models", NULL, &qmp_strings, cmd_query_tpm_models},
    {"query-tpm-types", NULL, &qmp_strings, cmd_query_tpm_types},
    {"query-vnc", NULL, &vnc_info, cmd_query_vnc},
    {"human-monitor-command", &arg_hmp, &qmp_str, cmd_human_monitor_command},

    {"stop", NULL, NULL, cmd_stop},
    {"cont", NULL, NULL, cmd_cont},
    {"system_reset", NULL, NULL, cmd_system_reset},
    {"system_powerdown", NULL, NULL, cmd_system_powerdown},
    {"system_wakeup", NULL, NULL, cmd_system_wakeup},
    {"quit", NULL, NULL, cmd_quit},
    {"query-status", NULL, &status_info, cmd_query_status},
    {"query-name", NULL, &name_info, cmd_query_name},
    {"query-uuid", NULL, &uuid_info, cmd_query_uuid},
    {"query-kvm", NULL, &kvm_info, cmd_query_kvm},
    {"query-machines", NULL, &machine_infos, cmd_query_machines},
    {"query-current-machine", NULL, &current_machine, cmd_query_current_machine},
    {"set-action", &arg_set_action, NULL, cmd_set_action},
    {"watchdog-set-action", &arg_watchdog, NULL, cmd_watchdog_set_action},
    {"inject-nmi", NULL, NULL, cmd_inject_nmi},
    {"query-memory-size-summary", NULL, &memory_info, cmd_query_memory_size_summary},
    {"query-memory-devices", NULL, &qmp_anys, cmd_query_memory_devices},
    {"query-iothreads", NULL, &iothread_infos, cmd_query_iothreads},
    {"query-acpi-ospm-status", NULL, &qmp_anys, cmd_query_acpi_ospm_status},
    {"rtc-reset-reinjection", NULL, NULL, cmd_rtc_reset},
    {"query-jobs", NULL, &qmp_anys, cmd_query_jobs},
    {"query-block-jobs", NULL, &qmp_anys, cmd_query_block_jobs},
    {"query-dump", NULL, &dump_info, cmd_query_dump},

    {"query-cpus-fast", NULL, &cpu_infos, cmd_query_cpus_fast},
    {"query-jit", NULL, &jit_info, cmd_query_jit},
    {"x-query-jit", NULL, &readable_text, cmd_x_query_jit},
    {"query-stats", &arg_stats, &stats_results, cmd_query_stats},
    {"query-stats-schemas", &arg_stats_schemas, &stats_schemas, cmd_query_stats_schemas},
    {"x-query-memory-areas", NULL, &memory_area_list, cmd_query_memory_areas},
    {"x-trace-start", &arg_trace, &trace_started, cmd_trace_start},
    {"x-trace-read", &arg_trace_read, &trace_batch, cmd_trace_read},
    {"x-trace-stop", NULL, NULL, cmd_trace_stop},
    {"query-hotpluggable-cpus", NULL, &hotplug_cpus, cmd_query_hotpluggable_cpus},
    {"query-cpu-definitions", NULL, &cpu_definitions, cmd_query_cpu_definitions},
    {"query-cpu-model-expansion", &arg_expansion, &expansion_info, cmd_query_cpu_model_expansion},

    {"qom-list-types", &arg_list_types, &object_infos, cmd_qom_list_types},
    {"device-list-properties", &arg_typename, &property_infos, cmd_device_list_properties},
    {"qom-list-properties", &arg_typename, &property_infos, cmd_qom_list_properties},
    {"qom-list", &arg_path, &property_infos, cmd_qom_list},
    {"qom-get", &arg_qom_get, &qmp_any, cmd_qom_get},
    {"qom-set", &arg_qom_set, NULL, cmd_qom_set},
    {"device_add", &arg_device_add, NULL, cmd_device_add, device_add_features},
    {"device_del", &arg_id, NULL, cmd_device_del},
    {"object-add", &arg_object_add, NULL, cmd_object_add},
    {"object-del", &arg_id, NULL, cmd_object_del},
    {"netdev_add", &arg_netdev_add, NULL, cmd_netdev_add},
    {"netdev_del", &arg_id, NULL, cmd_netdev_del},
    {"balloon", &arg_balloon, NULL, cmd_balloon},
    {"query-balloon", NULL, &balloon_info, cmd_query_balloon},

    {"query-pci", NULL, &pci_infos, cmd_query_pci},
    {"query-block", NULL, &block_infos, cmd_query_block},
    {"query-blockstats", &arg_nodes, &block_stats_list, cmd_query_blockstats},
    {"query-named-block-nodes", &arg_flat, &node_types, cmd_query_named_block_nodes},
    {"block_resize", &arg_block_resize, NULL, cmd_block_resize},
    {"screendump", &arg_screendump, NULL, cmd_screendump},
    {"send-key", &arg_send_key, NULL, cmd_send_key},
    {"input-send-event", &arg_input_event, NULL, cmd_input_send_event},
    {"change-vnc-password", &arg_vnc_password, NULL, cmd_change_vnc_password},
    {"set_password", &arg_set_password, NULL, cmd_set_password},
    {"expire_password", &arg_expire_password, NULL, cmd_expire_password},
    {"eject", &arg_tray, NULL, cmd_eject},
    {"blockdev-open-tray", &arg_tray, NULL, cmd_eject},
    {"blockdev-close-tray", &arg_tray, NULL, cmd_blockdev_close_tray},
    {"blockdev-remove-medium", &arg_tray, NULL, cmd_blockdev_remove_medium},
    {"blockdev-insert-medium", &arg_insert_medium, NULL, cmd_blockdev_insert_medium},
    {"blockdev-add", &arg_blockdev_add, NULL, cmd_blockdev_add},
    {"blockdev-del", &arg_blockdev_del, NULL, cmd_blockdev_del},
    {"block_set_io_throttle", &arg_throttle, NULL, cmd_block_set_io_throttle},
    {"query-chardev", NULL, &chardev_infos, cmd_query_chardev},
    {"query-chardev-backends", NULL, &name_entries, cmd_query_chardev_backends},
    {"ringbuf-read", &arg_ringbuf_read, &qmp_str, cmd_ringbuf_read},
    {"set_link", &arg_set_link, NULL, cmd_set_link},
    {"query-rx-filter", &arg_rx_filter, &qmp_anys, cmd_query_rx_filter},
    {NULL},
};

/* ---- events ---- */
OPEN_OBJECT(ev_shutdown, "q_obj_SHUTDOWN-arg", NEED("guest", qmp_bool), NEED("reason", qmp_str));
OBJECT(ev_balloon, "q_obj_BALLOON_CHANGE-arg", NEED("actual", qmp_int));
OBJECT(ev_port, "q_obj_VSERPORT_CHANGE-arg", NEED("id", qmp_str), NEED("open", qmp_bool));
OBJECT(ev_deleted, "q_obj_DEVICE_DELETED-arg", MAY("device", qmp_str), NEED("path", qmp_str));
OBJECT(ospm_info, "ACPIOSTInfo", MAY("device", qmp_str), NEED("slot", qmp_str),
       NEED("slot-type", qmp_str), NEED("source", qmp_int), NEED("status", qmp_int));
OBJECT(ev_ost, "q_obj_ACPI_DEVICE_OST-arg", NEED("info", ospm_info));
OBJECT(ev_tray_moved, "q_obj_DEVICE_TRAY_MOVED-arg", NEED("device", qmp_str), NEED("id", qmp_str),
       NEED("tray-open", qmp_bool));
OPEN_OBJECT(ev_io_error, "q_obj_BLOCK_IO_ERROR-arg", NEED("device", qmp_str),
            MAY("node-name", qmp_str), NEED("operation", qmp_str), NEED("action", qmp_str),
            NEED("reason", qmp_str));
OPEN_OBJECT(ev_panicked, "q_obj_GUEST_PANICKED-arg", NEED("action", qmp_str));
OBJECT(ev_watchdog, "q_obj_WATCHDOG-arg", NEED("action", watchdog_action));
OPEN_OBJECT(ev_rtc, "q_obj_RTC_CHANGE-arg", NEED("offset", qmp_int));

const struct qmp_event qmp_events[] = {
    {"RESUME", NULL},
    {"STOP", NULL},
    {"SHUTDOWN", &ev_shutdown},
    {"RESET", &ev_shutdown},
    {"POWERDOWN", NULL},
    {"SUSPEND", NULL},
    {"WAKEUP", NULL},
    {"BALLOON_CHANGE", &ev_balloon},
    {"VSERPORT_CHANGE", &ev_port},
    {"DEVICE_DELETED", &ev_deleted},
    {"BLOCK_IO_ERROR", &ev_io_error},
    {"ACPI_DEVICE_OST", &ev_ost},
    {"DEVICE_TRAY_MOVED", &ev_tray_moved},
    {"GUEST_PANICKED", &ev_panicked},
    {"WATCHDOG", &ev_watchdog},
    {"RTC_CHANGE", &ev_rtc},
    {NULL},
};
