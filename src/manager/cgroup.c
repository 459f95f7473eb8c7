/* cgroup.c - see cgroup.h. */
#include "cgroup.h"

#include "base/util.h"
#include "manager/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"

enum { LIMITS_MAX = 8 };
struct limit {
    const char *controller, *file; /* "cpu", "cpu.shares" */
    char text[64];
};
struct limits {
    struct limit list[LIMITS_MAX];
    unsigned count;
    bool v2;
};

static void put(struct limits *l, const char *controller, const char *file, const char *fmt, ...)
    G_GNUC_PRINTF(4, 5);
static void put(struct limits *l, const char *controller, const char *file, const char *fmt, ...)
{
    struct limit *n = &l->list[l->count++];
    va_list ap;
    va_start(ap, fmt);
    g_vsnprintf(n->text, sizeof(n->text), fmt, ap);
    va_end(ap);
    n->controller = controller;
    n->file = file;
}

static void cpu_limits(struct limits *l, const struct cputune *t)
{
    int64_t period = xml_num_or(t->period, 100000), quota = xml_num_or(t->quota, -1);
    if (t->shares.set) {
        /* v2 weights: 1..10000 for 2..262144 shares */
        int64_t shares = MIN_OF(MAX_OF(t->shares.v, 2), 262144);
        put(l, "cpu", l->v2 ? "cpu.weight" : "cpu.shares", "%" G_GINT64_FORMAT,
            l->v2 ? 1 + (shares - 2) * 9999 / 262142 : shares);
    }
    if (!t->period.set && !t->quota.set) {
        return;
    }
    if (!l->v2) {
        put(l, "cpu", "cpu.cfs_period_us", "%" G_GINT64_FORMAT, period);
        put(l, "cpu", "cpu.cfs_quota_us", "%" G_GINT64_FORMAT, quota);
    } else if (quota < 0) {
        put(l, "cpu", "cpu.max", "max %" G_GINT64_FORMAT, period);
    } else {
        put(l, "cpu", "cpu.max", "%" G_GINT64_FORMAT " %" G_GINT64_FORMAT, quota, period);
    }
}

/* KiB in the definition.  Version 1 wants memory's limit before that of memory and swap. */
static void memory_limits(struct limits *l, const struct domain *d)
{
    const struct xml_num hard = d->memtune.hard_limit.value, soft = d->memtune.soft_limit.value,
                         swap = d->memtune.swap_hard_limit.value;
    if (hard.set) {
        put(l, "memory", l->v2 ? "memory.max" : "memory.limit_in_bytes", "%" G_GINT64_FORMAT,
            hard.v * 1024);
    }
    if (soft.set) {
        put(l, "memory", l->v2 ? "memory.high" : "memory.soft_limit_in_bytes", "%" G_GINT64_FORMAT,
            soft.v * 1024);
    }
    if (swap.set) {
        int64_t only = MAX_OF(swap.v - xml_num_or(hard, 0), 0);
        put(l, "memory", l->v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes",
            "%" G_GINT64_FORMAT, (l->v2 ? only : swap.v) * 1024);
    }
}

static void limits_of(const struct domain *d, struct limits *l)
{
    *l = (struct limits){.v2 = !access(ROOT "/cgroup.controllers", F_OK)};
    cpu_limits(l, &d->cputune);
    memory_limits(l, d);
}

static char *base_of(const struct limits *l, const struct limit *n)
{
    return l->v2 ? g_strdup(ROOT) : g_build_filename(ROOT, n->controller, NULL);
}

bool cgroup_possible(const struct domain *d, GError **err)
{
    struct limits l;
    limits_of(d, &l);
    for (unsigned i = 0; i < l.count; i++) {
        g_autofree char *base = base_of(&l, &l.list[i]);
        g_autofree char *file =
            l.v2 ? g_build_filename(base, "cgroup.subtree_control", NULL) : g_strdup(base);
        if (access(file, W_OK)) {
            return error_set(err, HANOK_ERROR_UNSUPPORTED,
                             "the limits of <cputune> and <memtune> need a cgroup that can be "
                             "written (%s: %s); leave them out, or start as root",
                             file, strerror(errno));
        }
    }
    return true;
}

static bool write_file(const char *dir, const char *name, const char *text, GError **err)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    FILE *f = fopen(path, "we");
    bool ok = f && fputs(text, f) >= 0;
    ok = f && !fclose(f) && ok;
    return ok || error_errno(err, errno, "could not write '%s' to '%s'", text, path);
}

/* The machine's group of a limit, made when it is not there. */
static char *group_of(const struct limits *l, const struct limit *n, const char *uuid, GError **err)
{
    g_autofree char *base = base_of(l, n), *enable = g_strconcat("+", n->controller, NULL);
    g_autofree char *parent = g_build_filename(base, "hanok", NULL);
    char *dir = g_build_filename(parent, uuid, NULL);
    bool ok = store_make_dirs(parent, 0755, err) &&
              (!l->v2 || (write_file(base, "cgroup.subtree_control", enable, err) &&
                          write_file(parent, "cgroup.subtree_control", enable, err))) &&
              store_make_dirs(dir, 0755, err);
    if (!ok) {
        g_clear_pointer(&dir, g_free);
    }
    return dir;
}

/* Noted before it is made: a kill in between leaves nothing that nobody knows. */
static bool note_groups(const struct domain *d, const struct limits *l, const char *run_dir,
                        GError **err)
{
    g_autofree char *note = g_build_filename(run_dir, "cgroup", NULL);
    g_autoptr(GString) text = g_string_new(NULL);
    for (unsigned i = 0; i < l->count; i++) {
        g_autofree char *base = base_of(l, &l->list[i]);
        g_string_append_printf(text, "%s/hanok/%s\n", base, d->uuid);
    }
    return store_replace_file(note, text->str, 0600, err);
}

bool cgroup_apply(const struct domain *d, pid_t pid, const char *run_dir, GError **err)
{
    struct limits l;
    char number[32];
    limits_of(d, &l);
    g_snprintf(number, sizeof(number), "%d", (int)pid);
    if (l.count && !note_groups(d, &l, run_dir, err)) {
        return false;
    }
    for (unsigned i = 0; i < l.count; i++) {
        g_autofree char *dir = group_of(&l, &l.list[i], d->uuid, err);
        if (!dir || !write_file(dir, l.list[i].file, l.list[i].text, err) ||
            !write_file(dir, "cgroup.procs", number, err)) {
            return false;
        }
    }
    return true;
}

void cgroup_remove(const char *run_dir)
{
    g_autofree char *note = g_build_filename(run_dir, "cgroup", NULL), *text = NULL;
    if (!g_file_get_contents(note, &text, NULL, NULL)) {
        return;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **dir = lines; *dir; dir++) {
        if (g_str_has_prefix(*dir, ROOT "/")) {
            rmdir(*dir);
        }
    }
}
