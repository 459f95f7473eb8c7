/* stats.c - numbers about a domain. */
#include "stats.h"

#include "cmd.h"

#include "base/util.h"
#include "manager/threads.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int64_t stats_balloon_kib(struct vm *vm, const struct domain *d)
{
    QMP_AUTO q = vm_qmp(vm, NULL);
    JSON_AUTO ret = NULL;
    if (q && qmp_call(q, "query-balloon", NULL, &ret, NULL)) {
        return json_integer_value(json_object_get(ret, "actual")) / 1024;
    }
    return domain_memory_kib(d);
}

static int64_t rss_kib(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)pid), *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return 0;
    }
    const char *at = strstr(text, "VmRSS:");
    return at ? g_ascii_strtoll(at + 6, NULL, 10) : 0;
}

json_t *stats_memory(struct vm *vm, GError **err)
{
    static const char *const names[][2] = {{"stat-swap-in", "swap_in"},
                                           {"stat-swap-out", "swap_out"},
                                           {"stat-major-faults", "major_fault"},
                                           {"stat-minor-faults", "minor_fault"},
                                           {"stat-free-memory", "unused"},
                                           {"stat-total-memory", "available"},
                                           {"stat-available-memory", "usable"},
                                           {"stat-disk-caches", "disk_caches"},
                                           {"stat-htlb-pgalloc", "hugetlb_pgalloc"},
                                           {"stat-htlb-pgfail", "hugetlb_pgfail"}};
    DOMAIN_AUTO d = vm_live(vm, err);
    QMP_AUTO q = d ? vm_qmp(vm, err) : NULL;
    JSON_AUTO ret = NULL;
    if (!q) {
        return NULL;
    }
    json_t *o = json_object();
    JSON_AUTO balloon = NULL;
    bool has = qmp_call(q, "query-balloon", NULL, &balloon, NULL);
    json_object_set_new(
        o, "actual",
        json_integer(has ? json_integer_value(json_object_get(balloon, "actual")) / 1024
                         : domain_memory_kib(d)));
    if (qmp_call(
            q, "qom-get",
            json_pack("{ssss}", "path", "/machine/peripheral/balloon0", "property", "guest-stats"),
            &ret, NULL)) {
        json_t *st = json_object_get(ret, "stats");
        for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
            json_t *v = json_object_get(st, names[i][0]);
            json_int_t n = json_integer_value(v);
            bool counter = strstr(names[i][0], "faults") || strstr(names[i][0], "pg");
            if (json_is_integer(v) && n >= 0) {
                json_object_set_new(o, names[i][1], json_integer(counter ? n : n / 1024));
            }
        }
        json_object_set_new(o, "last_update",
                            json_integer(json_integer_value(json_object_get(ret, "last-update"))));
    }
    json_object_set_new(o, "rss", json_integer(rss_kib(vm->pid)));
    return o;
}

/* ---- disks ---- */

/* Whether a query's entry is about this disk: QEMU says the object's path, hanok-vm the id. */
static bool is_of(json_t *entry, const struct disk *k)
{
    const char *qdev = json_string_value(json_object_get(entry, "qdev"));
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", k->info.alias.name);
    size_t len = strlen(path);
    return qdev && (!strcmp(qdev, k->info.alias.name) ||
                    (!strncmp(qdev, path, len) && (!qdev[len] || qdev[len] == '/')));
}

json_t *stats_block(struct qmp *q, const struct disk *k, GError **err)
{
    JSON_AUTO ret = NULL;
    json_t *one;
    size_t i;
    if (!qmp_call(q, "query-blockstats", NULL, &ret, err)) {
        return NULL;
    }
    json_array_foreach(ret, i, one)
    {
        if (is_of(one, k)) {
            return json_incref(json_object_get(one, "stats"));
        }
    }
    error_set(err, HANOK_ERROR_NOT_FOUND, "the machine does not know the disk '%s'", k->target.dev);
    return NULL;
}

static json_t *live_image(struct vm *vm, const struct disk *k)
{
    QMP_AUTO q = vm_qmp(vm, NULL);
    JSON_AUTO ret = NULL;
    json_t *one;
    size_t i;
    if (!q || !qmp_call(q, "query-block", NULL, &ret, NULL)) {
        return NULL;
    }
    json_array_foreach(ret, i, one)
    {
        if (is_of(one, k)) {
            return json_incref(json_object_get(json_object_get(one, "inserted"), "image"));
        }
    }
    return NULL;
}

static json_t *file_image(const char *path, GError **err)
{
    g_autofree char *tool = image_tool(), *out = NULL;
    char *argv[] = {tool, "info", "--output=json", (char *)path, NULL};
    if (!run_tool(argv, &out, err)) {
        return NULL;
    }
    json_t *o = json_loads(out, 0, NULL);
    if (!o) {
        error_set(err, HANOK_ERROR_IO, "%s does not answer with JSON", tool);
    }
    return o;
}

json_t *stats_image(struct vm *vm, const struct disk *k, GError **err)
{
    g_autofree char *path = disk_source_text(k);
    JSON_AUTO live = vm->active ? live_image(vm, k) : NULL;
    struct stat st = {0};
    if (!path) {
        error_set(err, HANOK_ERROR_NOT_FOUND, "there is no medium in '%s'", k->target.dev);
        return NULL;
    }
    JSON_AUTO info = live ? json_incref(live) : file_image(path, err);
    if (!info) {
        return NULL;
    }
    bool file = k->type == DISK_FILE && !stat(path, &st);
    return json_pack("{sIsIsI}", "capacity",
                     json_integer_value(json_object_get(info, "virtual-size")), "allocation",
                     file ? (json_int_t)st.st_blocks * 512
                          : json_integer_value(json_object_get(info, "actual-size")),
                     "physical",
                     file ? (json_int_t)st.st_size
                          : json_integer_value(json_object_get(info, "actual-size")));
}

/* ---- domstats ---- */

static void set(json_t *o, const char *fmt, unsigned i, json_t *v)
{
    char key[64];
    g_snprintf(key, sizeof(key), fmt, i);
    json_object_set_new(o, key, v);
}

static void add_vcpus(struct vm *vm, struct qmp *q, const struct domain *d, json_t *o, bool running)
{
    g_autoptr(GPtrArray) list = vcpu_threads(q, NULL);
    json_object_set_new(o, "vcpu.current", json_integer(list ? list->len : 0));
    json_object_set_new(o, "vcpu.maximum", json_integer(domain_vcpus_max(d)));
    for (unsigned i = 0; list && i < list->len; i++) {
        const struct vcpu_thread *t = list->pdata[i];
        uint64_t user = 0, system = 0;
        int cpu;
        thread_times(vm->pid, t->tid, &user, &system, &cpu);
        set(o, "vcpu.%u.state", (unsigned)t->index, json_integer(running));
        set(o, "vcpu.%u.time", (unsigned)t->index, json_integer((json_int_t)(user + system)));
    }
}

static void add_blocks(struct vm *vm, struct qmp *q, const struct domain *d, json_t *o)
{
    static const char *const names[][2] = {
        {"block.%u.rd.reqs", "rd_operations"},     {"block.%u.rd.bytes", "rd_bytes"},
        {"block.%u.rd.times", "rd_total_time_ns"}, {"block.%u.wr.reqs", "wr_operations"},
        {"block.%u.wr.bytes", "wr_bytes"},         {"block.%u.wr.times", "wr_total_time_ns"},
        {"block.%u.fl.reqs", "flush_operations"},  {"block.%u.fl.times", "flush_total_time_ns"}};
    json_object_set_new(o, "block.count", json_integer(d->devices.disks->len));
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        const struct disk *k = d->devices.disks->pdata[i];
        g_autofree char *path = disk_source_text(k);
        JSON_AUTO st = stats_block(q, k, NULL);
        JSON_AUTO image = path ? stats_image(vm, k, NULL) : NULL;
        set(o, "block.%u.name", i, json_string(k->target.dev));
        if (path) {
            set(o, "block.%u.path", i, json_string(path));
        }
        for (unsigned n = 0; st && n < ARRAY_SIZE(names); n++) {
            set(o, names[n][0], i,
                json_integer(json_integer_value(json_object_get(st, names[n][1]))));
        }
        if (image) {
            set(o, "block.%u.allocation", i, json_incref(json_object_get(image, "allocation")));
            set(o, "block.%u.capacity", i, json_incref(json_object_get(image, "capacity")));
            set(o, "block.%u.physical", i, json_incref(json_object_get(image, "physical")));
        }
    }
}

json_t *stats_all(struct vm *vm)
{
    json_t *o = json_object();
    enum vm_state st = vm_state(vm, NULL);
    /* libvirt's numbers of states */
    static const int numbers[] = {0, 1, 3, 4, 5, 6, 7};
    DOMAIN_AUTO d = vm_domain(vm, NULL);
    QMP_AUTO q = vm->active ? vm_qmp(vm, NULL) : NULL;
    uint64_t user = 0, system = 0;
    int cpu;
    json_object_set_new(o, "state.state", json_integer(numbers[st]));
    if (vm->active && thread_times(vm->pid, 0, &user, &system, &cpu)) {
        json_object_set_new(o, "cpu.time", json_integer((json_int_t)(user + system)));
        json_object_set_new(o, "cpu.user", json_integer((json_int_t)user));
        json_object_set_new(o, "cpu.system", json_integer((json_int_t)system));
    }
    if (d) {
        json_object_set_new(o, "balloon.current", json_integer(domain_current_memory_kib(d)));
        json_object_set_new(o, "balloon.maximum", json_integer(domain_memory_kib(d)));
    }
    if (!q || !d) {
        return o;
    }
    JSON_AUTO balloon = NULL;
    if (qmp_call(q, "query-balloon", NULL, &balloon, NULL)) {
        json_object_set_new(
            o, "balloon.current",
            json_integer(json_integer_value(json_object_get(balloon, "actual")) / 1024));
    }
    json_object_set_new(o, "balloon.rss", json_integer(rss_kib(vm->pid)));
    add_vcpus(vm, q, d, o, st == VM_RUNNING);
    json_object_set_new(o, "net.count", json_integer(d->devices.interfaces->len));
    add_blocks(vm, q, d, o);
    return o;
}

const char *stats_pin(const struct domain *d, unsigned vcpu)
{
    for (unsigned i = 0; i < d->cputune.vcpupins->len; i++) {
        const struct pin *p = d->cputune.vcpupins->pdata[i];
        if (p->number.v == vcpu) {
            return p->cpuset;
        }
    }
    if (d->vcpu.cpuset) {
        return d->vcpu.cpuset;
    }
    static char all[32];
    unsigned n = host_cpus();
    g_snprintf(all, sizeof(all), n > 1 ? "0-%u" : "%u", n - 1);
    return all;
}
