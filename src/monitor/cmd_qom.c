/* cmd_qom.c - types, devices and their properties, as far as clients look before and at the start.
 *
 * We have no run-time object model; the names below are a view of our tables for clients that ask
 * in those terms.  Devices appear at /machine/peripheral/ID. */
#include "commands.h"

#include "bus/pci.h"
#include "cpu/vcpu.h"
#include "virtio/devices.h"

#define PERIPHERAL "/machine/peripheral"

/* Types that are no -device of ours but that clients ask for by name. */
static const struct extra_type {
    const char *name, *parent;
    const char *const *props; /* name, type, name, type, ... NULL */
    bool is_device;
} extra_types[] = {
    {"tcg-accel", "accel", NULL, false},
    {"jit-accel", "accel", NULL, false},
    {"kvm-accel", "accel", NULL, false},
    {"none-machine", "machine", NULL, false},
    {"rng-random", "rng-backend", (const char *const[]){"filename", "string", NULL}, false},
    {"rng-builtin", "rng-backend", NULL, false},
    {"secret", "secret_common",
     (const char *const[]){"file", "string", "format", "QCryptoSecretFormat", NULL}, false},
    {"iothread", "object", NULL, false},
    {"throttle-group", "object", (const char *const[]){"limits", "ThrottleLimits", NULL}, false},
    {"memory-backend-ram", "memory-backend",
     (const char *const[]){"size", "int", "share", "bool", "prealloc", "bool", NULL}, false},
    {"memory-backend-file", "memory-backend",
     (const char *const[]){"size", "int", "share", "bool", "prealloc", "bool", "mem-path", "string",
                           NULL},
     false},
    {"memory-backend-memfd", "memory-backend",
     (const char *const[]){"size", "int", "share", "bool", "prealloc", "bool", NULL}, false},
    {"kvm-pit", "device", (const char *const[]){"lost_tick_policy", "LostTickPolicy", NULL}, true},
    {"ICH9-LPC", "device",
     (const char *const[]){"disable_s3", "uint8", "disable_s4", "uint8", NULL}, true},
    {"q35-pcihost", "device", (const char *const[]){"pci-hole64-size", "size", NULL}, true},
    {"max-x86_64-cpu", "device",
     (const char *const[]){"unavailable-features", "strList", "migratable", "bool", NULL}, true},
    {"qemu64-x86_64-cpu", "device", (const char *const[]){"unavailable-features", "strList", NULL},
     true},
};

static const struct extra_type *extra_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(extra_types); i++) {
        if (!strcmp(extra_types[i].name, name)) {
            return &extra_types[i];
        }
    }
    return NULL;
}

static void add_type(json_t *list, const char *name, const char *parent)
{
    json_array_append_new(list, json_pack("{ssss}", "name", name, "parent", parent));
}

json_t *cmd_qom_list_types(struct qmp_call *call, json_t *args, GError **err)
{
    const char *implements = qmp_text(args, "implements");
    json_t *list = json_array();
    for (const struct device_class *const *c = device_classes; *c; c++) {
        if (implements && strcmp(implements, "device")) {
            break;
        }
        add_type(list, (*c)->name, "device");
        if ((*c)->alias) {
            add_type(list, (*c)->alias, "device");
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(extra_types); i++) {
        if (!implements || !strcmp(implements, extra_types[i].parent) ||
            !strcmp(implements, extra_types[i].name)) {
            add_type(list, extra_types[i].name, extra_types[i].parent);
        }
    }
    for (const struct machine_type *t = machine_types; t->name; t++) {
        g_autofree char *name = g_strdup_printf("%s-machine", t->name);
        if (strcmp(t->name, "none") && (!implements || !strcmp(implements, "machine"))) {
            add_type(list, name, "machine");
        }
    }
    return list;
}

static void add_prop(json_t *list, const char *name, const char *type, const char *help)
{
    json_t *o = json_pack("{ssss}", "name", name, "type", type);
    if (help) {
        json_object_set_new(o, "description", json_string(help));
    }
    json_array_append_new(list, o);
}

static const char *type_word(enum prop_type t)
{
    static const char *const words[] = {
        [PROP_STR] = "str",    [PROP_BOOL] = "bool",           [PROP_U32] = "uint32",
        [PROP_U64] = "uint64", [PROP_SIZE] = "size",           [PROP_MAC] = "str",
        [PROP_DRIVE] = "str",  [PROP_NETDEV] = "str",          [PROP_CHARDEV] = "str",
        [PROP_LINK] = "str",   [PROP_ONOFFAUTO] = "OnOffAuto",
    };
    return words[t];
}

static json_t *extra_props(const struct extra_type *t)
{
    json_t *list = json_array();
    for (const char *const *p = t->props; p && *p; p += 2) {
        add_prop(list, p[0], p[1], NULL);
    }
    add_prop(list, "type", "string", NULL);
    return list;
}

json_t *cmd_device_list_properties(struct qmp_call *call, json_t *args, GError **err)
{
    const char *name = qmp_text(args, "typename");
    const struct device_class *c = device_class_find(name);
    const struct extra_type *t = extra_find(name);
    if (t && t->is_device) {
        return extra_props(t);
    }
    if (!c) {
        /* what clients expect for a type that is not there: any other class ends their probing */
        call->error_class = "DeviceNotFound";
        return qmp_fail(err, "Device '%s' not found", name);
    }
    json_t *list = json_array();
    for (const struct prop_desc *p = c->props; p && p->name; p++) {
        add_prop(list, p->name, type_word(p->type), p->help);
    }
    if (c->bus && !strcmp(c->bus, "PCI")) {
        add_prop(list, "addr", "int32", "Slot and optional function number, example: 06.0 or 06");
        add_prop(list, "multifunction", "bool", "on/off");
    }
    add_prop(list, "type", "string", NULL);
    return list;
}

static bool is_machine_type(const char *name)
{
    for (const struct machine_type *t = machine_types; t->name; t++) {
        g_autofree char *full = g_strdup_printf("%s-machine", t->name);
        if (!strcmp(full, name)) {
            return true;
        }
    }
    return false;
}

/* Never DeviceNotFound here: a common manager crashes on it. */
json_t *cmd_qom_list_properties(struct qmp_call *call, json_t *args, GError **err)
{
    const char *name = qmp_text(args, "typename");
    const struct extra_type *t = extra_find(name);
    if (t) {
        return extra_props(t);
    }
    if (is_machine_type(name) || device_class_find(name)) {
        json_t *list = json_array();
        add_prop(list, "type", "string", NULL);
        return list;
    }
    return qmp_fail(err, "There is no type '%s'", name);
}

/* ---- objects of this machine ---- */

static void list_peripherals(struct machine *m, json_t *list)
{
    struct device_list *devices = machine_devices(m);
    for (struct device *d = devices ? devices->first : NULL; d; d = d->next) {
        if (d->id) {
            g_autofree char *type = g_strdup_printf("child<%s>", d->ops->type);
            add_prop(list, d->id, type, NULL);
        }
    }
}

json_t *cmd_qom_list(struct qmp_call *call, json_t *args, GError **err)
{
    const char *path = qmp_text(args, "path");
    json_t *list = json_array();
    if (!strcmp(path, PERIPHERAL)) {
        list_peripherals(call->m, list);
    } else if (!strcmp(path, "/machine")) {
        add_prop(list, "peripheral", "child<container>", NULL);
        add_prop(list, "unattached", "child<container>", NULL);
    }
    return list;
}

static struct device *balloon_at(struct machine *m, const char *path)
{
    struct device *d = virtio_balloon_find(machine_devices(m));
    const char *id = d ? d->id : NULL;
    if (!d || !g_str_has_prefix(path, "/machine/")) {
        return NULL;
    }
    const char *last = strrchr(path, '/') + 1;
    return id && strcmp(last, id) ? NULL : d;
}

static json_t *balloon_stats(struct device *d)
{
    static const char *const names[] = {
        [VIRTIO_BALLOON_STAT_SWAP_IN] = "stat-swap-in",
        [VIRTIO_BALLOON_STAT_SWAP_OUT] = "stat-swap-out",
        [VIRTIO_BALLOON_STAT_MAJOR_FAULTS] = "stat-major-faults",
        [VIRTIO_BALLOON_STAT_MINOR_FAULTS] = "stat-minor-faults",
        [VIRTIO_BALLOON_STAT_FREE] = "stat-free-memory",
        [VIRTIO_BALLOON_STAT_TOTAL] = "stat-total-memory",
        [VIRTIO_BALLOON_STAT_AVAILABLE] = "stat-available-memory",
        [VIRTIO_BALLOON_STAT_CACHES] = "stat-disk-caches",
        [VIRTIO_BALLOON_STAT_HUGETLB_ALLOC] = "stat-htlb-pgalloc",
        [VIRTIO_BALLOON_STAT_HUGETLB_FAIL] = "stat-htlb-pgfail",
    };
    struct virtio_balloon_stats s;
    virtio_balloon_get_stats(d, &s);
    json_t *stats = json_object();
    for (unsigned i = 0; i < VIRTIO_BALLOON_STAT_COUNT; i++) {
        if (s.value[i] != UINT64_MAX) { /* what the guest does not know is left out */
            json_object_set_new(stats, names[i], json_integer((json_int_t)s.value[i]));
        }
    }
    return json_pack("{sIso}", "last-update", (json_int_t)s.last_update_s, "stats", stats);
}

json_t *cmd_qom_get(struct qmp_call *call, json_t *args, GError **err)
{
    const char *path = qmp_text(args, "path"), *property = qmp_text(args, "property");
    struct device *balloon = balloon_at(call->m, path);
    if (balloon && !strcmp(property, "guest-stats")) {
        return balloon_stats(balloon);
    }
    if (balloon && !strcmp(property, "guest-stats-polling-interval")) {
        return json_integer(virtio_balloon_poll_interval(balloon));
    }
    return qmp_fail(err, "Property '%s' of '%s' cannot be read", property, path);
}

json_t *cmd_qom_set(struct qmp_call *call, json_t *args, GError **err)
{
    const char *path = qmp_text(args, "path"), *property = qmp_text(args, "property");
    struct device *balloon = balloon_at(call->m, path);
    int64_t value = qmp_number(args, "value", -1);
    if (!balloon || strcmp(property, "guest-stats-polling-interval")) {
        return qmp_fail(err, "Property '%s' of '%s' cannot be set", property, path);
    }
    if (value < 0 || value > UINT32_MAX) {
        return qmp_fail(err, "The polling interval must be a number of seconds, 0 to %u",
                        UINT32_MAX);
    }
    virtio_balloon_poll(balloon, value);
    return qmp_ok();
}

/* ---- changing the machine while it lives ---- */

/* A PCI function can only appear while the machine exists where the guest is told of it. */
static bool check_hotplug_bus(struct machine *m, json_t *args, GError **err)
{
    const struct device_class *c = device_class_find(qmp_text(args, "driver"));
    struct pci_host *h = machine_pci(m);
    const char *name = qmp_text(args, "bus");
    if (!c || !c->bus || strcmp(c->bus, "PCI") || !h) {
        return true; /* machine_device_add() has the better sentence */
    }
    struct pci_bus *bus = name ? pci_bus_find(h, name) : NULL;
    if (name && !bus) {
        return error_set(err, HANOK_ERROR_NOT_FOUND, "Bus '%s' not found", name);
    }
    if (!bus || !bus->hotplug) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "Bus '%s' does not support hotplugging: name the bus of a pcie-root-port",
                         name ? name : "pcie.0");
    }
    return true;
}

json_t *cmd_device_add(struct qmp_call *call, json_t *args, GError **err)
{
    struct cpu_set *cpus = machine_cpus(call->m);
    bool running = cpus && machine_run_state(call->m) == RUN_RUNNING;
    if (!check_hotplug_bus(call->m, args, err)) {
        return NULL;
    }
    PROPS_AUTO p = props_from_json(args);
    /* No CPU may be in the middle of an access while I/O regions appear. */
    if (running) {
        cpu_set_pause(cpus);
    }
    bool ok = machine_device_add(call->m, p, err);
    if (running) {
        cpu_set_resume(cpus);
    }
    return ok ? qmp_ok() : NULL;
}

json_t *cmd_device_del(struct qmp_call *call, json_t *args, GError **err)
{
    struct device_list *devices = machine_devices(call->m);
    const char *id = qmp_text(args, "id");
    const char *name = g_str_has_prefix(id, PERIPHERAL "/") ? id + strlen(PERIPHERAL "/") : id;
    if (!devices || !device_find(devices, name)) {
        call->error_class = "DeviceNotFound";
        return qmp_fail(err, "Device '%s' not found", id);
    }
    return machine_device_del(call->m, name, err) ? qmp_ok() : NULL;
}

json_t *cmd_object_add(struct qmp_call *call, json_t *args, GError **err)
{
    PROPS_AUTO p = props_from_json(args);
    return machine_object_add(call->m, p, err) ? qmp_ok() : NULL;
}

json_t *cmd_object_del(struct qmp_call *call, json_t *args, GError **err)
{
    return machine_object_del(call->m, qmp_text(args, "id"), err) ? qmp_ok() : NULL;
}

/* ---- back ends ---- */

json_t *cmd_netdev_add(struct qmp_call *call, json_t *args, GError **err)
{
    PROPS_AUTO p = props_from_json(args);
    return machine_netdev_add(call->m, p, err) ? qmp_ok() : NULL;
}

static json_t *ok_or_class(struct qmp_call *call, bool ok, GError **err)
{
    if (!ok && err && g_error_matches(*err, HANOK_ERROR, HANOK_ERROR_NOT_FOUND)) {
        call->error_class = "DeviceNotFound";
    }
    return ok ? qmp_ok() : NULL;
}

json_t *cmd_netdev_del(struct qmp_call *call, json_t *args, GError **err)
{
    return ok_or_class(call, machine_netdev_del(call->m, qmp_text(args, "id"), err), err);
}

/* ---- balloon ---- */

static struct device *need_balloon(struct qmp_call *call, GError **err)
{
    struct device *d = virtio_balloon_find(machine_devices(call->m));
    if (!d) {
        call->error_class = "DeviceNotActive";
        qmp_fail(err, "No balloon device has been activated");
    }
    return d;
}

json_t *cmd_balloon(struct qmp_call *call, json_t *args, GError **err)
{
    struct device *d = need_balloon(call, err);
    int64_t bytes = qmp_number(args, "value", 0);
    if (!d) {
        return NULL;
    }
    if (bytes <= 0) {
        return qmp_fail(err, "Parameter 'value' expects a size larger than 0");
    }
    return virtio_balloon_set_target(d, bytes, err) ? qmp_ok() : NULL;
}

json_t *cmd_query_balloon(struct qmp_call *call, json_t *args, GError **err)
{
    struct device *d = need_balloon(call, err);
    return d ? json_pack("{sI}", "actual", (json_int_t)virtio_balloon_actual(d)) : NULL;
}
