/* cgroup.c - see cgroup.h. */
#include "cgroup.h"

#include "base/util.h"
#include "manager/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

const char *cgroup_root = "/sys/fs/cgroup";

enum { DEFAULT_PERIOD_US = 100000 };

struct limit {
    const char *controller, *file; /* "cpu", "cpu.shares" */
    char *group; /* of some of its threads, below the machine's; NULL: all of it */
    char *text;
};
struct limits {
    GArray *list; /* struct limit */
    bool v2;
};

static void limit_clear(void *p)
{
    struct limit *n = p;
    g_free(n->group);
    g_free(n->text);
}

static void put(struct limits *l, const char *controller, const char *file, const char *group,
                const char *fmt, ...) G_GNUC_PRINTF(5, 6);
static void put(struct limits *l, const char *controller, const char *file, const char *group,
                const char *fmt, ...)
{
    struct limit n = {.controller = controller, .file = file, .group = g_strdup(group)};
    va_list ap;
    va_start(ap, fmt);
    n.text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_array_append_val(l->list, n);
}

/* ---- processors ---- */

static void bandwidth(struct limits *l, const char *group, struct xml_num period_us,
                      struct xml_num quota_us)
{
    int64_t period = xml_num_or(period_us, DEFAULT_PERIOD_US), quota = xml_num_or(quota_us, -1);
    if (!period_us.set && !quota_us.set) {
        return;
    }
    if (!l->v2) {
        put(l, "cpu", "cpu.cfs_period_us", group, "%" G_GINT64_FORMAT, period);
        put(l, "cpu", "cpu.cfs_quota_us", group, "%" G_GINT64_FORMAT, quota);
    } else if (quota < 0) {
        put(l, "cpu", "cpu.max", group, "max %" G_GINT64_FORMAT, period);
    } else {
        put(l, "cpu", "cpu.max", group, "%" G_GINT64_FORMAT " %" G_GINT64_FORMAT, quota, period);
    }
}

/* shares and global_* are the machine's; period and quota each vcpu's, as libvirt has it. */
static void cpu_limits(struct limits *l, const struct domain *d)
{
    const struct cputune *t = &d->cputune;
    if (t->shares.set) {
        /* v2 weights: 1..10000 for 2..262144 shares */
        int64_t shares = MIN_OF(MAX_OF(t->shares.v, 2), 262144);
        put(l, "cpu", l->v2 ? "cpu.weight" : "cpu.shares", NULL, "%" G_GINT64_FORMAT,
            l->v2 ? 1 + (shares - 2) * 9999 / 262142 : shares);
    }
    bandwidth(l, NULL, t->global_period, t->global_quota);
    for (unsigned i = 0; i < domain_vcpus_max(d); i++) {
        g_autofree char *group = g_strdup_printf("vcpu%u", i);
        bandwidth(l, group, t->period, t->quota);
    }
    bandwidth(l, CGROUP_EMULATOR, t->emulator_period, t->emulator_quota);
    for (unsigned i = 0; i < (unsigned)xml_num_or(d->iothreads, 0); i++) {
        g_autofree char *group = g_strdup_printf("iothread%u", domain_iothread_id(d, i));
        bandwidth(l, group, t->iothread_period, t->iothread_quota);
    }
}

/* ---- disks ---- */

static bool device_number(const struct blkio_device *b, char out[32], GError **err)
{
    struct stat st;
    if (stat(b->path, &st) || !S_ISBLK(st.st_mode)) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "line %u: <blkiotune> is about block devices of the host, and '%s' is %s; "
                         "<iotune> limits any disk",
                         b->node.line, b->path, errno == ENOENT ? "not there" : "none");
    }
    g_snprintf(out, 32, "%u:%u", major(st.st_rdev), minor(st.st_rdev));
    return true;
}

static bool device_limits(struct limits *l, const struct blkio_device *b, GError **err)
{
    const struct {
        struct xml_num n;
        const char *v1, *v2;
    } rates[] = {{b->read_bytes_sec, "blkio.throttle.read_bps_device", "rbps"},
                 {b->write_bytes_sec, "blkio.throttle.write_bps_device", "wbps"},
                 {b->read_iops_sec, "blkio.throttle.read_iops_device", "riops"},
                 {b->write_iops_sec, "blkio.throttle.write_iops_device", "wiops"}};
    char number[32];
    errno = 0;
    if (!device_number(b, number, err)) {
        return false;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
        if (rates[i].n.set && l->v2) {
            put(l, "io", "io.max", NULL, "%s %s=%" G_GINT64_FORMAT, number, rates[i].v2,
                rates[i].n.v);
        } else if (rates[i].n.set) {
            put(l, "blkio", rates[i].v1, NULL, "%s %" G_GINT64_FORMAT, number, rates[i].n.v);
        }
    }
    if (b->weight.set) {
        put(l, l->v2 ? "io" : "blkio", l->v2 ? "io.bfq.weight" : "blkio.bfq.weight_device", NULL,
            "%s %" G_GINT64_FORMAT, number, b->weight.v);
    }
    return true;
}

static bool blkio_limits(struct limits *l, const struct domain *d, GError **err)
{
    if (d->blkiotune.weight.set) {
        put(l, l->v2 ? "io" : "blkio", l->v2 ? "io.bfq.weight" : "blkio.bfq.weight", NULL,
            l->v2 ? "default %" G_GINT64_FORMAT : "%" G_GINT64_FORMAT, d->blkiotune.weight.v);
    }
    for (unsigned i = 0; i < d->blkiotune.devices->len; i++) {
        if (!device_limits(l, d->blkiotune.devices->pdata[i], err)) {
            return false;
        }
    }
    return true;
}

/* ---- memory ---- */

/* KiB in the definition.  Version 1 wants memory's limit before that of memory and swap. */
static void memory_limits(struct limits *l, const struct domain *d)
{
    const struct xml_num hard = d->memtune.hard_limit.value, soft = d->memtune.soft_limit.value,
                         swap = d->memtune.swap_hard_limit.value;
    if (hard.set) {
        put(l, "memory", l->v2 ? "memory.max" : "memory.limit_in_bytes", NULL, "%" G_GINT64_FORMAT,
            hard.v * 1024);
    }
    if (soft.set) {
        put(l, "memory", l->v2 ? "memory.high" : "memory.soft_limit_in_bytes", NULL,
            "%" G_GINT64_FORMAT, soft.v * 1024);
    }
    if (swap.set) {
        int64_t only = MAX_OF(swap.v - xml_num_or(hard, 0), 0);
        put(l, "memory", l->v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes", NULL,
            "%" G_GINT64_FORMAT, (l->v2 ? only : swap.v) * 1024);
    }
}

static bool limits_of(const struct domain *d, struct limits *l, GError **err)
{
    g_autofree char *file = g_build_filename(cgroup_root, "cgroup.controllers", NULL);
    *l = (struct limits){.list = g_array_new(FALSE, FALSE, sizeof(struct limit)),
                         .v2 = !access(file, F_OK)};
    g_array_set_clear_func(l->list, limit_clear);
    cpu_limits(l, d);
    memory_limits(l, d);
    return blkio_limits(l, d, err);
}

static void limits_end(struct limits *l)
{
    g_array_unref(l->list);
}

static const struct limit *limit_at(const struct limits *l, unsigned i)
{
    return &g_array_index(l->list, struct limit, i);
}

/* ---- groups ---- */

static char *base_of(const struct limits *l, const struct limit *n)
{
    return l->v2 ? g_strdup(cgroup_root) : g_build_filename(cgroup_root, n->controller, NULL);
}

static char *path_of(const struct limits *l, const struct limit *n, const struct domain *d,
                     const char *group)
{
    g_autofree char *base = base_of(l, n);
    return g_build_filename(base, "hanok", d->uuid, group, NULL);
}

static bool reachable(const struct limits *l, const struct limit *n, GError **err)
{
    g_autofree char *base = base_of(l, n);
    g_autofree char *file =
        l->v2 ? g_build_filename(base, "cgroup.subtree_control", NULL) : g_strdup(base);
    return !access(file, W_OK) ||
           error_set(err, HANOK_ERROR_UNSUPPORTED,
                     "the limits of <cputune>, <memtune> and <blkiotune> need a cgroup that can be "
                     "written (%s: %s); leave them out, or start as root",
                     file, strerror(errno));
}

bool cgroup_possible(const struct domain *d, GError **err)
{
    struct limits l;
    bool ok = limits_of(d, &l, err);
    for (unsigned i = 0; ok && i < l.list->len; i++) {
        ok = reachable(&l, limit_at(&l, i), err);
    }
    limits_end(&l);
    return ok;
}

static bool write_file(const char *dir, const char *name, const char *text, GError **err)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    FILE *f = fopen(path, "we");
    bool ok = f && fputs(text, f) >= 0;
    int why = errno;
    ok = f && !fclose(f) && ok;
    if (!f && why == ENOENT && strstr(name, "bfq")) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "<weight> of <blkiotune> needs the I/O scheduler BFQ ('modprobe bfq', and "
                         "'bfq' into /sys/block/DEVICE/queue/scheduler); %s is not there",
                         path);
    }
    return ok || error_errno(err, errno, "could not write '%s' to '%s'", text, path);
}

/* A group for some of the machine's threads: version 2 wants to be told that it is one. */
static bool make_thread_group(const struct limits *l, const char *dir, const char *parent,
                              GError **err)
{
    bool fresh = access(dir, F_OK) != 0;
    return store_make_dirs(dir, 0755, err) &&
           (!l->v2 || ((!fresh || write_file(dir, "cgroup.type", "threaded", err)) &&
                       write_file(parent, "cgroup.subtree_control", "+cpu", err)));
}

/* The group of a limit, made when it is not there. */
static char *group_of(const struct limits *l, const struct limit *n, const struct domain *d,
                      GError **err)
{
    g_autofree char *base = base_of(l, n), *enable = g_strconcat("+", n->controller, NULL);
    g_autofree char *parent = g_build_filename(base, "hanok", NULL);
    g_autofree char *whole = path_of(l, n, d, NULL);
    char *dir = path_of(l, n, d, n->group);
    bool ok = store_make_dirs(parent, 0755, err) &&
              (!l->v2 || (write_file(base, "cgroup.subtree_control", enable, err) &&
                          write_file(parent, "cgroup.subtree_control", enable, err))) &&
              store_make_dirs(whole, 0755, err) &&
              (!n->group || make_thread_group(l, dir, whole, err));
    if (!ok) {
        g_clear_pointer(&dir, g_free);
    }
    return dir;
}

/* Noted before it is made, the deepest first: a kill in between leaves nothing that nobody knows.
 */
static bool note_groups(const struct domain *d, const struct limits *l, const char *run_dir,
                        GError **err)
{
    g_autofree char *note = g_build_filename(run_dir, "cgroup", NULL);
    g_autoptr(GString) text = g_string_new(NULL), whole = g_string_new(NULL);
    for (unsigned i = 0; i < l->list->len; i++) {
        const struct limit *n = limit_at(l, i);
        g_autofree char *parent = path_of(l, n, d, NULL), *dir = path_of(l, n, d, n->group);
        g_string_append_printf(whole, "%s\n", parent);
        if (n->group) {
            g_string_append_printf(text, "%s\n", dir);
        }
    }
    g_string_append(text, whole->str);
    return store_replace_file(note, text->str, 0600, err);
}

bool cgroup_apply(const struct domain *d, pid_t pid, const char *run_dir, GError **err)
{
    struct limits l;
    char number[32];
    g_snprintf(number, sizeof(number), "%d", (int)pid);
    bool ok = limits_of(d, &l, err) && (!l.list->len || note_groups(d, &l, run_dir, err));
    for (unsigned i = 0; ok && i < l.list->len; i++) {
        const struct limit *n = limit_at(&l, i);
        g_autofree char *dir = group_of(&l, n, d, err), *whole = path_of(&l, n, d, NULL);
        ok = dir && write_file(dir, n->file, n->text, err) &&
             write_file(whole, "cgroup.procs", number, err);
    }
    limits_end(&l);
    return ok;
}

bool cgroup_thread(const struct domain *d, const char *group, pid_t tid, GError **err)
{
    struct limits l;
    char number[32];
    bool ok = limits_of(d, &l, err);
    g_snprintf(number, sizeof(number), "%d", (int)tid);
    for (unsigned i = 0; ok && i < l.list->len; i++) {
        const struct limit *n = limit_at(&l, i);
        if (n->group && !strcmp(n->group, group)) {
            g_autofree char *dir = path_of(&l, n, d, group);
            ok = write_file(dir, l.v2 ? "cgroup.threads" : "tasks", number, err);
            break; /* its other limits are in the same group */
        }
    }
    limits_end(&l);
    return ok;
}

void cgroup_remove(const char *run_dir)
{
    g_autofree char *note = g_build_filename(run_dir, "cgroup", NULL), *text = NULL;
    if (!g_file_get_contents(note, &text, NULL, NULL)) {
        return;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **dir = lines; *dir; dir++) {
        if (g_str_has_prefix(*dir, cgroup_root)) {
            rmdir(*dir);
        }
    }
}
