/* place.c - affinities and limits of a machine's threads. */
#include "place.h"

#include "cgroup.h"

#include "base/util.h"
#include "manager/store.h"
#include "manager/threads.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_CPUS = 4096 };

unsigned host_cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_CONF);
    return n > 0 && n < MAX_CPUS ? (unsigned)n : 1;
}

/* ---- which thread is which ---- */

static void vcpu_thread_free(void *p)
{
    struct vcpu_thread *t = p;
    g_free(t->qom_path);
    g_free(t);
}

static gint by_index(gconstpointer a, gconstpointer b)
{
    return (*(struct vcpu_thread *const *)a)->index - (*(struct vcpu_thread *const *)b)->index;
}

GPtrArray *vcpu_threads(struct qmp *q, GError **err)
{
    json_t *ret = NULL, *one;
    size_t i;
    if (!qmp_call(q, "query-cpus-fast", NULL, &ret, err)) {
        return NULL;
    }
    GPtrArray *list = g_ptr_array_new_with_free_func(vcpu_thread_free);
    json_array_foreach(ret, i, one)
    {
        struct vcpu_thread *t = g_new0(struct vcpu_thread, 1);
        t->index = (int)json_integer_value(json_object_get(one, "cpu-index"));
        t->tid = (pid_t)json_integer_value(json_object_get(one, "thread-id"));
        t->qom_path = g_strdup(json_string_value(json_object_get(one, "qom-path")));
        g_ptr_array_add(list, t);
    }
    g_ptr_array_sort(list, by_index);
    json_decref(ret);
    return list;
}

pid_t iothread_tid(struct qmp *q, const char *id)
{
    json_t *ret = NULL, *one;
    size_t i;
    pid_t tid = 0;
    if (qmp_call(q, "query-iothreads", NULL, &ret, NULL)) {
        json_array_foreach(ret, i, one)
        {
            if (!g_strcmp0(json_string_value(json_object_get(one, "id")), id)) {
                tid = (pid_t)json_integer_value(json_object_get(one, "thread-id"));
            }
        }
    }
    json_decref(ret);
    return tid;
}

/* ---- affinities ---- */

bool thread_pin(pid_t tid, const char *cpuset, GError **err)
{
    unsigned n = host_cpus();
    unsigned long bits[MAX_CPUS / 64];
    cpu_set_t *set = CPU_ALLOC(n);
    size_t size = CPU_ALLOC_SIZE(n);
    bool ok = cpuset_parse(cpuset, n, bits, err);
    CPU_ZERO_S(size, set);
    for (unsigned i = 0; ok && i < n; i++) {
        if (bits[i / 64] >> (i % 64) & 1) {
            CPU_SET_S(i, size, set);
        }
    }
    if (ok && sched_setaffinity(tid, size, set)) {
        ok = error_errno(err, errno, "could not pin thread %d to CPUs %s", (int)tid, cpuset);
    }
    CPU_FREE(set);
    return ok;
}

char *thread_affinity(pid_t tid)
{
    unsigned n = host_cpus();
    unsigned long bits[MAX_CPUS / 64] = {0};
    size_t size = CPU_ALLOC_SIZE(MAX_CPUS);
    cpu_set_t *set = CPU_ALLOC(MAX_CPUS);
    bool ok = !sched_getaffinity(tid, size, set);
    for (unsigned i = 0; ok && i < n; i++) {
        bits[i / 64] |= CPU_ISSET_S(i, size, set) ? 1ul << (i % 64) : 0;
    }
    CPU_FREE(set);
    return ok ? cpuset_format(bits, n) : NULL;
}

typedef bool thread_fn(pid_t tid, const void *opaque, GError **err);

/* The threads of a process but its vcpus and iothreads. */
static bool each_other_thread(pid_t pid, struct qmp *q, thread_fn *fn, const void *opaque,
                              GError **err)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)pid);
    g_autoptr(GDir) d = g_dir_open(path, 0, NULL);
    g_autoptr(GPtrArray) vcpus = vcpu_threads(q, err);
    json_t *io = NULL, *one;
    size_t k;
    bool ok = vcpus != NULL;
    qmp_call(q, "query-iothreads", NULL, &io, NULL);
    for (const char *e = d ? g_dir_read_name(d) : NULL; ok && e; e = g_dir_read_name(d)) {
        pid_t tid = (pid_t)g_ascii_strtoll(e, NULL, 10);
        bool other = false;
        for (unsigned i = 0; i < vcpus->len; i++) {
            other = other || ((struct vcpu_thread *)vcpus->pdata[i])->tid == tid;
        }
        json_array_foreach(io, k, one)
        {
            other = other || json_integer_value(json_object_get(one, "thread-id")) == tid;
        }
        g_autoptr(GError) why = NULL;
        if (!other && !fn(tid, opaque, &why)) {
            g_autofree char *task = g_strdup_printf("%s/%s", path, e);
            if (!access(task, F_OK)) { /* a thread that has ended needs no place */
                g_propagate_error(err, g_steal_pointer(&why));
                ok = false;
            }
        }
    }
    json_decref(io);
    return ok;
}

static bool pin_other(pid_t tid, const void *cpuset, GError **err)
{
    return thread_pin(tid, cpuset, err);
}

bool emulator_pin(pid_t pid, struct qmp *q, const char *cpuset, GError **err)
{
    return each_other_thread(pid, q, pin_other, cpuset, err);
}

bool thread_times(pid_t pid, pid_t tid, uint64_t *user_ns, uint64_t *system_ns, int *cpu)
{
    g_autofree char *path = tid ? g_strdup_printf("/proc/%d/task/%d/stat", (int)pid, (int)tid)
                                : g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *text = NULL;
    unsigned long long user = 0, system = 0;
    long tick = sysconf(_SC_CLK_TCK);
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    const char *at = strrchr(text, ')');
    if (!at || sscanf(at + 1,
                      " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d "
                      "%*d %*u %*u %*d %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*d %d",
                      &user, &system, cpu) != 3) {
        return false;
    }
    *user_ns = user * (1000000000ull / (unsigned long)tick);
    *system_ns = system * (1000000000ull / (unsigned long)tick);
    return true;
}

/* ---- all of it ---- */

static const char *pin_of(const struct domain *d, GPtrArray *pins, unsigned number)
{
    for (unsigned i = 0; i < pins->len; i++) {
        const struct pin *p = pins->pdata[i];
        if (p->number.v == number) {
            return p->cpuset;
        }
    }
    return d->vcpu.cpuset;
}

bool place_vcpus(const struct domain *d, struct qmp *q, GError **err)
{
    g_autoptr(GPtrArray) vcpus = vcpu_threads(q, err);
    for (unsigned i = 0; vcpus && i < vcpus->len; i++) {
        const struct vcpu_thread *t = vcpus->pdata[i];
        const char *set = pin_of(d, d->cputune.vcpupins, (unsigned)t->index);
        g_autofree char *group = g_strdup_printf("vcpu%d", t->index);
        if ((set && !thread_pin(t->tid, set, err)) || !cgroup_thread(d, group, t->tid, err)) {
            g_prefix_error(err, "vcpu %d: ", t->index);
            return false;
        }
    }
    return vcpus != NULL;
}

static bool place_iothreads(const struct domain *d, struct qmp *q, GError **err)
{
    for (unsigned i = 0; i < (unsigned)xml_num_or(d->iothreads, 0); i++) {
        g_autofree char *id = g_strdup_printf("iothread%u", domain_iothread_id(d, i));
        pid_t tid = iothread_tid(q, id);
        const char *set = NULL;
        for (unsigned k = 0; k < d->cputune.iothreadpins->len; k++) {
            const struct pin *p = d->cputune.iothreadpins->pdata[k];
            set = p->number.v == domain_iothread_id(d, i) ? p->cpuset : set;
        }
        if (tid && ((set && !thread_pin(tid, set, err)) || !cgroup_thread(d, id, tid, err))) {
            return false;
        }
    }
    return true;
}

static bool limit_other(pid_t tid, const void *d, GError **err)
{
    return cgroup_thread(d, CGROUP_EMULATOR, tid, err);
}

bool place_threads(const struct domain *d, pid_t pid, const char *dir, struct qmp *q, GError **err)
{
    const char *emulator =
        d->cputune.emulatorpin.cpuset ? d->cputune.emulatorpin.cpuset : d->vcpu.cpuset;
    const struct cputune *t = &d->cputune;
    bool limited = t->emulator_period.set || t->emulator_quota.set;
    return (!emulator || emulator_pin(pid, q, emulator, err)) && cgroup_apply(d, pid, dir, err) &&
           (!limited || each_other_thread(pid, q, limit_other, d, err)) && place_vcpus(d, q, err) &&
           place_iothreads(d, q, err);
}
