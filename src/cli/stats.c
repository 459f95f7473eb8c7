/* stats.c - numbers about a domain. */
#include "stats.h"

#include "cmd.h"

#include "base/util.h"
#include "manager/proc.h"
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
    json_object_set_new(o, "rss", json_integer((json_int_t)proc_status_kib(vm->pid, "VmRSS")));
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

/* ---- networks ---- */

static bool tap_counter(const char *dev, const char *file, json_int_t *out)
{
    g_autofree char *path = g_strdup_printf("/sys/class/net/%s/statistics/%s", dev, file);
    g_autofree char *text = NULL;
    if (strchr(dev, '/') || !g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    *out = g_ascii_strtoll(text, NULL, 10);
    return true;
}

bool stats_tap(const char *dev, json_t *out)
{
    static const char *const files[][2] = {{"tx_bytes", "rx_bytes"}, {"tx_packets", "rx_packets"},
                                           {"tx_errors", "rx_errs"}, {"tx_dropped", "rx_drop"},
                                           {"rx_bytes", "tx_bytes"}, {"rx_packets", "tx_packets"},
                                           {"rx_errors", "tx_errs"}, {"rx_dropped", "tx_drop"}};
    for (unsigned i = 0; i < ARRAY_SIZE(files); i++) { /* what the host sends, the guest receives */
        json_int_t n;
        if (!tap_counter(dev, files[i][0], &n)) {
            return false;
        }
        json_object_set_new(out, files[i][1], json_integer(n));
    }
    return true;
}

/* Queues come in pairs, receiving first (virtio 1.2 5.1.2); each buffer has a header of 12 bytes.
 * An odd last one is for control. */
static void add_queue_counters(json_t *o, const char *device, json_t *queues)
{
    enum { NET_HEADER = 12 };
    json_int_t count[2] = {0}, bytes[2] = {0}, pairs = 0;
    json_t *q;
    size_t i;
    json_array_foreach(queues, i, q)
    {
        pairs += !g_strcmp0(device, json_string_value(json_object_get(q, "device")));
    }
    json_array_foreach(queues, i, q)
    {
        json_int_t index = json_integer_value(json_object_get(q, "queue"));
        if (g_strcmp0(device, json_string_value(json_object_get(q, "device"))) ||
            (pairs % 2 && index == pairs - 1)) {
            continue;
        }
        bool sends = index % 2;
        /* receive buffers are taken ahead of what comes: those that have come back count */
        json_int_t done = json_integer_value(json_object_get(q, "requests")) -
                          json_integer_value(json_object_get(q, "inflight"));
        json_int_t n = json_integer_value(json_object_get(q, sends ? "out_bytes" : "in_bytes"));
        count[sends] += done;
        bytes[sends] += MAX_OF(n - done * NET_HEADER, 0);
    }
    json_object_set_new(o, "rx_bytes", json_integer(bytes[0]));
    json_object_set_new(o, "rx_packets", json_integer(count[0]));
    json_object_set_new(o, "tx_bytes", json_integer(bytes[1]));
    json_object_set_new(o, "tx_packets", json_integer(count[1]));
}

json_t *stats_interfaces(const struct domain *d, json_t *queues)
{
    json_t *out = json_array();
    for (unsigned i = 0; i < d->devices.interfaces->len; i++) {
        const struct interface *n = d->devices.interfaces->pdata[i];
        json_t *o = json_object();
        json_object_set_new(o, "name",
                            json_string(n->target.dev ? n->target.dev : n->info.alias.name));
        if (!n->target.dev || !stats_tap(n->target.dev, o)) {
            add_queue_counters(o, n->info.alias.name, queues);
        }
        json_array_append_new(out, o);
    }
    return out;
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
