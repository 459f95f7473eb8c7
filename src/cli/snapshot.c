/* snapshot.c - collecting the numbers of snapshot.h. */
#include "snapshot.h"

#include "cmd.h"
#include "stats.h"

#include "base/evloop.h"
#include "base/util.h"
#include "manager/proc.h"
#include "manager/threads.h"

#include <string.h>

#define AGENT_MS 400u

json_int_t snapshot_number(json_t *o, const char *a, const char *b)
{
    json_t *v = json_object_get(o, a);
    return json_integer_value(b ? json_object_get(v, b) : v);
}

static void put(json_t *o, const char *key, uint64_t v)
{
    json_object_set_new(o, key, json_integer((json_int_t)v));
}

/* ---- what the machine counts ---- */

/* [{name, value}] to {name: value}. */
static json_t *flatten(json_t *stats)
{
    json_t *o = json_object(), *one;
    size_t i;
    json_array_foreach(stats, i, one)
    {
        json_object_set(o, json_string_value(json_object_get(one, "name")),
                        json_object_get(one, "value"));
    }
    return o;
}

static json_t *query_stats(struct qmp *q, const char *target)
{
    json_t *ret = NULL;
    return qmp_call(q, "query-stats", json_pack("{ss}", "target", target), &ret, NULL) ? ret : NULL;
}

/* Into each vcpu's object: "hanok" and "kvm", what these providers count. */
static void add_vcpu_counters(struct qmp *q, json_t *vcpus)
{
    JSON_AUTO list = query_stats(q, "vcpu");
    json_t *one, *v;
    size_t i, k;
    json_array_foreach(list, i, one)
    {
        const char *path = json_string_value(json_object_get(one, "qom-path"));
        json_array_foreach(vcpus, k, v)
        {
            if (!g_strcmp0(path, json_string_value(json_object_get(v, "qom_path")))) {
                json_object_set_new(v, json_string_value(json_object_get(one, "provider")),
                                    flatten(json_object_get(one, "stats")));
            }
        }
    }
}

json_t *snapshot_queues(struct qmp *q)
{
    JSON_AUTO list = query_stats(q, "virtqueue");
    json_t *out = json_array(), *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        json_t *o = flatten(json_object_get(one, "stats"));
        const char *path = json_string_value(json_object_get(one, "qom-path"));
        g_auto(GStrv) word = g_strsplit(path ? path : "", "/", -1);
        const char *index = strrchr(path ? path : "", '[');
        bool named = g_strv_length(word) > 3;
        json_object_set_new(o, "device", json_string(named ? word[3] : ""));
        put(o, "queue", index ? g_ascii_strtoull(index + 1, NULL, 10) : 0);
        json_array_append_new(out, o);
    }
    return out;
}

/* ---- what the kernel counts ---- */

static json_t *thread_object(const struct proc_thread *t)
{
    g_autofree char *cpus = thread_affinity(t->tid);
    json_t *o = json_pack("{sisssisssIsI}", "tid", (int)t->tid, "name", t->name, "cpu", t->cpu,
                          "affinity", cpus ? cpus : "", "user_ns", (json_int_t)t->user_ns,
                          "system_ns", (json_int_t)t->system_ns);
    put(o, "run_ns", t->sched.run_ns);
    put(o, "delay_ns", t->sched.delay_ns);
    put(o, "slices", t->sched.slices);
    return o;
}

static json_t *threads(pid_t pid, GPtrArray *vcpus, json_t *vcpu_list)
{
    g_autoptr(GArray) list = proc_threads(pid);
    json_t *out = json_array();
    for (unsigned i = 0; i < list->len; i++) {
        json_t *o = thread_object(&g_array_index(list, struct proc_thread, i));
        for (unsigned k = 0; vcpus && k < vcpus->len; k++) {
            const struct vcpu_thread *v = vcpus->pdata[k];
            if (v->tid == g_array_index(list, struct proc_thread, i).tid) {
                json_t *copy = json_copy(o);
                put(copy, "vcpu", (uint64_t)v->index);
                json_object_set_new(copy, "qom_path", json_string(v->qom_path));
                json_array_append_new(vcpu_list, copy);
                put(o, "vcpu", (uint64_t)v->index);
            }
        }
        json_array_append_new(out, o);
    }
    return out;
}

static json_t *memory(struct qmp *q, pid_t pid, uint64_t guest_kib)
{
    JSON_AUTO areas = NULL;
    struct memory_picture p;
    qmp_call(q, "x-query-memory-areas", NULL, &areas, NULL);
    if (!memory_picture(pid, areas, guest_kib, &p)) {
        return json_object();
    }
    json_t *o = json_object(), *rss = json_object(), *pss = json_object();
    for (unsigned i = 0; i < MEMORY_PARTS; i++) {
        put(rss, memory_part_names[i], p.rss_kib[i]);
        put(pss, memory_part_names[i], p.pss_kib[i]);
    }
    json_object_set_new(o, "rss_kib", rss);
    json_object_set_new(o, "pss_kib", pss);
    put(o, "rss_total_kib", p.rss_total_kib);
    put(o, "pss_total_kib", p.pss_total_kib);
    put(o, "swap_total_kib", p.swap_total_kib);
    put(o, "guest_ram_kib", guest_kib);
    put(o, "page_tables_kib", p.page_tables_kib);
    put(o, "kernel_stacks_kib", p.kernel_stacks_kib);
    return o;
}

json_t *snapshot_process(struct qmp *q, pid_t pid, uint64_t guest_kib, unsigned parts)
{
    g_autoptr(GPtrArray) vcpus = vcpu_threads(q, NULL);
    json_t *o = json_object(), *list = json_array();
    uint64_t user = 0, system = 0;
    int cpu;
    put(o, "time_ns", host_clock_ns());
    put(o, "pid", (uint64_t)pid);
    if (thread_times(pid, 0, &user, &system, &cpu)) {
        json_object_set_new(
            o, "cpu",
            json_pack("{sIsI}", "user_ns", (json_int_t)user, "system_ns", (json_int_t)system));
    }
    json_object_set_new(o, "threads", threads(pid, vcpus, list));
    add_vcpu_counters(q, list);
    json_object_set_new(o, "vcpus", list);
    json_object_set_new(o, "queues", snapshot_queues(q));
    if (parts & SNAPSHOT_MEMORY) {
        json_object_set_new(o, "memory", memory(q, pid, guest_kib));
    }
    return o;
}

/* ---- what a domain adds: names of disks and networks, the guest's own numbers ---- */

static json_t *disks(struct qmp *q, const struct domain *d, bool cache)
{
    json_t *out = json_array();
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        const struct disk *k = d->devices.disks->pdata[i];
        g_autofree char *path = disk_source_text(k);
        JSON_AUTO st = stats_block(q, k, NULL);
        uint64_t cached = 0, size = 0;
        json_t *o = st ? json_copy(st) : json_object();
        json_object_set_new(o, "target", json_string(k->target.dev));
        if (path) {
            json_object_set_new(o, "path", json_string(path));
        }
        if (cache && path && k->type == DISK_FILE && file_cached(path, &cached, &size)) {
            put(o, "cached_bytes", cached);
            put(o, "file_bytes", size);
        }
        json_array_append_new(out, o);
    }
    return out;
}

/* The guest's processors in ticks since it started, as its /proc/stat has them. */
static json_t *guest_cpu(struct vm *vm)
{
    static const char *const keys[] = {"user",   "nice", "system",  "idle",
                                       "iowait", "irq",  "softirq", "steal"};
    g_autofree char *path = agent_socket(vm, NULL);
    JSON_AUTO ret = NULL;
    json_t *one;
    size_t i;
    if (!path || !agent_call(path, "guest-get-cpustats", NULL, AGENT_MS, &ret, NULL)) {
        return NULL;
    }
    json_t *o = json_object();
    for (unsigned k = 0; k < ARRAY_SIZE(keys); k++) {
        json_int_t sum = 0;
        json_array_foreach(ret, i, one)
        {
            sum += json_integer_value(json_object_get(one, keys[k]));
        }
        json_object_set_new(o, keys[k], json_integer(sum));
    }
    return o;
}

json_t *snapshot_take(struct vm *vm, unsigned parts, GError **err)
{
    DOMAIN_AUTO d = vm_live(vm, err);
    QMP_AUTO q = d ? vm_qmp(vm, err) : NULL;
    if (!q) {
        return NULL;
    }
    json_t *o = snapshot_process(q, vm->pid, (uint64_t)domain_memory_kib(d), parts);
    json_object_set_new(o, "domain", json_string(vm->name));
    json_object_set_new(o, "id", json_integer(vm->id));
    json_object_set_new(o, "state", json_string(vm_state_name(vm_state(vm, NULL))));
    json_object_set_new(o, "disks", disks(q, d, parts & SNAPSHOT_MEMORY));
    json_object_set_new(o, "interfaces", stats_interfaces(d, json_object_get(o, "queues")));
    json_t *guest = stats_memory(vm, NULL);
    if (guest) {
        json_object_set_new(o, "guest_memory", guest);
    }
    json_t *cpu = parts & SNAPSHOT_AGENT ? guest_cpu(vm) : NULL;
    if (cpu) {
        json_object_set_new(o, "guest_cpu", cpu);
    }
    return o;
}
