/* domstats.c - libvirt's flat list of numbers (virDomainListGetStats has the names). */
#include "cmd.h"
#include "snapshot.h"
#include "stats.h"

#include "base/util.h"
#include "manager/proc.h"
#include "manager/threads.h"

#include <stdlib.h>
#include <string.h>

struct target {
    struct vm *vm;
    struct qmp *q; /* NULL: it does not run */
    const struct domain *d;
    enum vm_state state;
    const char *reason;
    json_t *out;
};

static void put(struct target *t, const char *key, json_int_t v)
{
    json_object_set_new(t->out, key, json_integer(v));
}

/* fmt has one %u. */
static void set(struct target *t, const char *fmt, unsigned i, json_t *v)
{
    g_autofree char *number = g_strdup_printf("%u", i);
    GString *key = g_string_new(fmt);
    g_string_replace(key, "%u", number, 1);
    if (v) {
        json_object_set_new(t->out, key->str, v);
    }
    g_string_free(key, TRUE);
}

/* ---- state, cpu, balloon ---- */

static int reason_number(enum vm_state st, const char *reason)
{
    static const struct {
        enum vm_state state;
        const char *word;
        int number; /* VIR_DOMAIN_RUNNING_*, _PAUSED_*, _SHUTOFF_* */
    } known[] = {
        {VM_RUNNING, "booted", 1},    {VM_RUNNING, "unpaused", 5}, {VM_RUNNING, "wakeup", 8},
        {VM_PAUSED, "user", 1},       {VM_PAUSED, "I/O error", 5}, {VM_PAUSED, "starting up", 11},
        {VM_PAUSED, "watchdog", 6},   {VM_CRASHED, "panicked", 1}, {VM_SHUTOFF, "shutdown", 1},
        {VM_SHUTOFF, "destroyed", 2}, {VM_SHUTOFF, "crashed", 3},  {VM_SHUTOFF, "failed", 6}};
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
        if (known[i].state == st && !g_strcmp0(known[i].word, reason)) {
            return known[i].number;
        }
    }
    return 0; /* unknown */
}

static void add_state(struct target *t)
{
    static const int numbers[] = {0, 1, 3, 4, 5, 6, 7}; /* VIR_DOMAIN_* of enum vm_state */
    put(t, "state.state", numbers[t->state]);
    put(t, "state.reason", reason_number(t->state, t->reason));
}

static void add_cpu(struct target *t)
{
    uint64_t user = 0, system = 0;
    int cpu;
    if (t->vm->active && thread_times(t->vm->pid, 0, &user, &system, &cpu)) {
        put(t, "cpu.time", (json_int_t)(user + system));
        put(t, "cpu.user", (json_int_t)user);
        put(t, "cpu.system", (json_int_t)system);
    }
}

static void add_balloon(struct target *t)
{
    JSON_AUTO st = t->q ? stats_memory(t->vm, NULL) : NULL;
    const char *key;
    json_t *v;
    put(t, "balloon.current", domain_current_memory_kib(t->d));
    put(t, "balloon.maximum", domain_memory_kib(t->d));
    json_object_foreach(st, key, v)
    {
        g_autofree char *name =
            g_strdup_printf("balloon.%s", !strcmp(key, "actual")        ? "current"
                                          : !strcmp(key, "last_update") ? "last-update"
                                                                        : key);
        json_object_set(t->out, name, v);
    }
}

/* ---- vcpus, iothreads ---- */

/* The counters of its provider as libvirt shows KVM's: NAME.sum for what only grows, NAME.cur for
 * what is so now. */
static void add_vcpu_counters(struct target *t, unsigned index, const char *qom_path)
{
    JSON_AUTO list = NULL;
    json_t *result, *one;
    size_t i, k;
    if (!qmp_call(t->q, "query-stats", json_pack("{sss[s]}", "target", "vcpu", "vcpus", qom_path),
                  &list, NULL)) {
        return;
    }
    json_array_foreach(list, i, result)
    {
        json_array_foreach(json_object_get(result, "stats"), k, one)
        {
            const char *name = json_string_value(json_object_get(one, "name"));
            json_t *v = json_object_get(one, "value");
            bool now = json_is_boolean(v);
            if (!json_is_array(v)) {
                g_autofree char *key =
                    g_strdup_printf("vcpu.%u.%s.%s", index, name, now ? "cur" : "sum");
                json_object_set(t->out, key, v);
            }
        }
    }
}

static void add_vcpu(struct target *t, const struct vcpu_thread *v)
{
    unsigned n = (unsigned)v->index;
    uint64_t user = 0, system = 0;
    struct sched_numbers s;
    int cpu;
    thread_times(t->vm->pid, v->tid, &user, &system, &cpu);
    set(t, "vcpu.%u.state", n, json_integer(1)); /* VIR_VCPU_RUNNING: it is plugged in */
    set(t, "vcpu.%u.time", n, json_integer((json_int_t)(user + system)));
    if (proc_sched(t->vm->pid, v->tid, &s)) {
        set(t, "vcpu.%u.wait", n, json_integer((json_int_t)s.wait_ns));
        set(t, "vcpu.%u.delay", n, json_integer((json_int_t)s.delay_ns));
    }
    add_vcpu_counters(t, n, v->qom_path);
    g_autofree char *key = g_strdup_printf("vcpu.%u.halted.cur", n);
    json_t *halted = json_object_get(t->out, key);
    if (halted) {
        set(t, "vcpu.%u.halted", n, json_string(json_is_true(halted) ? "yes" : "no"));
        json_object_del(t->out, key);
    }
}

static void add_vcpus(struct target *t)
{
    g_autoptr(GPtrArray) list = t->q ? vcpu_threads(t->q, NULL) : NULL;
    put(t, "vcpu.current", list ? (json_int_t)list->len : (json_int_t)domain_vcpus(t->d));
    put(t, "vcpu.maximum", domain_vcpus_max(t->d));
    for (unsigned i = 0; list && i < list->len; i++) {
        add_vcpu(t, list->pdata[i]);
    }
}

static void add_iothreads(struct target *t)
{
    JSON_AUTO list = NULL;
    json_t *one;
    size_t i;
    if (!t->q || !qmp_call(t->q, "query-iothreads", NULL, &list, NULL)) {
        return;
    }
    put(t, "iothread.count", (json_int_t)json_array_size(list));
    json_array_foreach(list, i, one)
    {
        static const char *const keys[] = {"poll-max-ns", "poll-grow", "poll-shrink"};
        const char *id = json_string_value(json_object_get(one, "id"));
        for (unsigned k = 0; k < ARRAY_SIZE(keys); k++) {
            g_autofree char *key = g_strdup_printf(
                "iothread.%s.%s", id && g_str_has_prefix(id, "iothread") ? id + 8 : id, keys[k]);
            json_object_set(t->out, key, json_object_get(one, keys[k]));
        }
    }
}

/* ---- networks, disks ---- */

static void add_interfaces(struct target *t)
{
    static const char *const keys[][2] = {
        {"rx_bytes", "net.%u.rx.bytes"}, {"rx_packets", "net.%u.rx.pkts"},
        {"rx_errs", "net.%u.rx.errs"},   {"rx_drop", "net.%u.rx.drop"},
        {"tx_bytes", "net.%u.tx.bytes"}, {"tx_packets", "net.%u.tx.pkts"},
        {"tx_errs", "net.%u.tx.errs"},   {"tx_drop", "net.%u.tx.drop"}};
    JSON_AUTO queues = t->q ? snapshot_queues(t->q) : NULL;
    JSON_AUTO list = t->q ? stats_interfaces(t->d, queues) : NULL;
    json_t *one;
    size_t i;
    put(t, "net.count", (json_int_t)json_array_size(list));
    json_array_foreach(list, i, one)
    {
        set(t, "net.%u.name", (unsigned)i, json_incref(json_object_get(one, "name")));
        for (unsigned k = 0; k < ARRAY_SIZE(keys); k++) {
            set(t, keys[k][1], (unsigned)i, json_incref(json_object_get(one, keys[k][0])));
        }
    }
}

json_t *stats_interface(struct vm *vm, const char *which, GError **err)
{
    DOMAIN_AUTO d = vm_live(vm, err);
    QMP_AUTO q = d ? vm_qmp(vm, err) : NULL;
    if (!q) {
        return NULL;
    }
    JSON_AUTO queues = snapshot_queues(q);
    JSON_AUTO list = stats_interfaces(d, queues);
    for (unsigned i = 0; i < d->devices.interfaces->len; i++) {
        const struct interface *n = d->devices.interfaces->pdata[i];
        if (!g_strcmp0(n->target.dev, which) || !g_strcmp0(n->info.alias.name, which) ||
            (n->mac.address && !g_ascii_strcasecmp(n->mac.address, which))) {
            return json_incref(json_array_get(list, i));
        }
    }
    error_set(err, HANOK_ERROR_NOT_FOUND,
              "domain '%s' has no network card '%s'; 'hanok domiflist %s' lists them", vm->name,
              which, vm->name);
    return NULL;
}

static void add_block(struct target *t, unsigned i)
{
    static const char *const names[][2] = {
        {"block.%u.rd.reqs", "rd_operations"},     {"block.%u.rd.bytes", "rd_bytes"},
        {"block.%u.rd.times", "rd_total_time_ns"}, {"block.%u.wr.reqs", "wr_operations"},
        {"block.%u.wr.bytes", "wr_bytes"},         {"block.%u.wr.times", "wr_total_time_ns"},
        {"block.%u.fl.reqs", "flush_operations"},  {"block.%u.fl.times", "flush_total_time_ns"}};
    static const char *const sizes[][2] = {{"block.%u.allocation", "allocation"},
                                           {"block.%u.capacity", "capacity"},
                                           {"block.%u.physical", "physical"}};
    const struct disk *k = t->d->devices.disks->pdata[i];
    g_autofree char *path = disk_source_text(k);
    JSON_AUTO st = t->q ? stats_block(t->q, k, NULL) : NULL;
    JSON_AUTO image = path && t->q ? stats_image(t->vm, k, NULL) : NULL;
    set(t, "block.%u.name", i, json_string(k->target.dev));
    set(t, "block.%u.path", i, path ? json_string(path) : NULL);
    for (unsigned n = 0; st && n < ARRAY_SIZE(names); n++) {
        set(t, names[n][0], i, json_incref(json_object_get(st, names[n][1])));
    }
    for (unsigned n = 0; image && n < ARRAY_SIZE(sizes); n++) {
        set(t, sizes[n][0], i, json_incref(json_object_get(image, sizes[n][1])));
    }
}

static void add_blocks(struct target *t)
{
    put(t, "block.count", t->d->devices.disks->len);
    for (unsigned i = 0; i < t->d->devices.disks->len; i++) {
        add_block(t, i);
    }
}

/* ---- all ---- */

static bool wanted(GPtrArray *groups, const char *word)
{
    return !groups || g_ptr_array_find_with_equal_func(groups, word, g_str_equal, NULL);
}

json_t *stats_all(struct vm *vm, GPtrArray *groups)
{
    static const struct {
        const char *word;
        void (*add)(struct target *t);
    } parts[] = {{"state", add_state},          {"cpu-total", add_cpu},
                 {"balloon", add_balloon},      {"vcpu", add_vcpus},
                 {"interface", add_interfaces}, {"block", add_blocks},
                 {"iothread", add_iothreads}};
    DOMAIN_AUTO d = vm_domain(vm, NULL);
    QMP_AUTO q = vm->active ? vm_qmp(vm, NULL) : NULL;
    struct target t = {.vm = vm, .q = q, .d = d, .out = json_object()};
    t.state = vm_state(vm, &t.reason);
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        bool needs_domain = i >= 2;
        if (wanted(groups, parts[i].word) && (d || !needs_domain)) {
            parts[i].add(&t);
        }
    }
    return t.out;
}
