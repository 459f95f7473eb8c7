/* lab.c - the list of experiments, and running them. */
#include "lab_int.h"

#include "manager/store.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct experiment *const experiments[] = {
    &exp_sched, &exp_steal,  &exp_threads, &exp_memory,
    &exp_disk,  &exp_virtio, &exp_accel,   &exp_passthrough,
};

const char *const *lab_names(void)
{
    static const char *names[ARRAY_SIZE(experiments) + 1];
    for (unsigned i = 0; i < ARRAY_SIZE(experiments); i++) {
        names[i] = experiments[i]->name;
    }
    return names;
}

static const struct experiment *find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(experiments); i++) {
        if (!strcmp(experiments[i]->name, name)) {
            return experiments[i];
        }
    }
    return NULL;
}

const char *lab_title(const char *name, unsigned lang)
{
    const struct experiment *e = find(name);
    return e ? e->title[lang] : NULL;
}

/* ---- where things are ---- */

/* Beside this program (in a build), else by the path that installation gave it. */
static char *program(const char *variable, const char *name, const char *installed)
{
    const char *given = g_getenv(variable);
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = g_path_get_dirname(self ? self : ".");
    g_autofree char *beside = g_build_filename(dir, name, NULL);
    if (given) {
        return g_strdup(given);
    }
    return !access(beside, X_OK) ? g_steal_pointer(&beside)
                                 : g_build_filename(installed, name, NULL);
}

/* --guest, HANOK_CACHE, .cache/guest of the source tree around the build, the user's cache. */
static char *find_guest(const char *given)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = g_path_get_dirname(self ? self : ".");
    g_autofree char *tree = g_build_filename(dir, "..", ".cache", "guest", NULL);
    g_autofree char *cache = g_build_filename(g_get_user_cache_dir(), "hanok", "guest", NULL);
    const char *tries[] = {given, given ? NULL : g_getenv("HANOK_CACHE"), given ? NULL : tree,
                           given ? NULL : cache};
    for (unsigned i = 0; i < ARRAY_SIZE(tries); i++) {
        g_autofree char *kernel =
            tries[i] ? g_build_filename(tries[i], "lab-cloud", "vmlinuz", NULL) : NULL;
        if (kernel && !access(kernel, R_OK)) {
            return g_strdup(tries[i]);
        }
    }
    return NULL;
}

/* The last CPU this process may use: CPU 0 has most of the host's own work. */
static int default_pcpu(void)
{
    cpu_set_t set;
    int last = 0;
    if (!sched_getaffinity(0, sizeof(set), &set)) {
        for (int i = 0; i < CPU_SETSIZE; i++) {
            last = CPU_ISSET(i, &set) ? i : last;
        }
    }
    return last;
}

static bool may_use(int cpu)
{
    cpu_set_t set;
    return cpu >= 0 && cpu < CPU_SETSIZE && !sched_getaffinity(0, sizeof(set), &set) &&
           CPU_ISSET(cpu, &set);
}

static bool lab_open(struct lab *lab, const struct lab_options *o, GError **err)
{
    memset(lab, 0, sizeof(*lab));
    lab->opt = *o;
    lab->accel = o->accel ? o->accel : "jit";
    lab->pcpu = o->pcpu >= 0 ? o->pcpu : default_pcpu();
    lab->loops = g_ptr_array_new();
    lab->vm = program("HANOK_VM", "hanok-vm", HANOK_BINDIR);
    lab->native = program("HANOK_LAB_GUEST", "hanok-lab-guest", HANOK_LIBEXECDIR);
    lab->guest = find_guest(o->guest);
    lab->tmp = g_dir_make_tmp("hanok-lab-XXXXXX", err);
    if (!lab->tmp) {
        return false;
    }
    if (!may_use(lab->pcpu)) {
        return error_set(err, HANOK_ERROR_INVALID, "this process may not run on CPU %d", lab->pcpu);
    }
    if (o->raise && setpriority(PRIO_PROCESS, 0, -1)) {
        return error_errno(err, errno, "--raise needs root");
    }
    if (o->raise) {
        setpriority(PRIO_PROCESS, 0, 0);
    }
    if (!lab->guest) {
        return error_set(err, HANOK_ERROR_NOT_FOUND,
                         "the laboratory's guest is not there; 'make lab-guest' makes it, --guest "
                         "names another directory");
    }
    return true;
}

static void lab_close(struct lab *lab)
{
    for (unsigned i = lab->loops ? lab->loops->len : 0; i-- > 0;) {
        host_loop_stop(lab, GPOINTER_TO_INT(lab->loops->pdata[i]));
    }
    if (lab->loops) {
        g_ptr_array_free(lab->loops, TRUE);
    }
    if (lab->tmp) {
        g_autoptr(GDir) d = g_dir_open(lab->tmp, 0, NULL);
        for (const char *e = d ? g_dir_read_name(d) : NULL; e; e = g_dir_read_name(d)) {
            g_autofree char *path = g_build_filename(lab->tmp, e, NULL);
            if (g_unlink(path)) {
                store_remove_dir(path);
            }
        }
        g_rmdir(lab->tmp);
    }
    g_free(lab->tmp);
    g_free(lab->vm);
    g_free(lab->native);
    g_free(lab->guest);
}

/* ---- running ---- */

static void describe(struct result *r, const struct experiment *e, const struct lab *lab)
{
    struct utsname u;
    uname(&u);
    r->o = json_pack("{sss[ss]s[ss]sssbsiss}", "name", e->name, "title", e->title[EN], e->title[KO],
                     "intro", e->intro[EN], e->intro[KO], "accel", lab->accel, "quick",
                     lab->opt.quick, "pcpu", lab->pcpu, "host", u.release);
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *when = g_date_time_format(now, "%Y-%m-%d %H:%M UTC");
    g_autofree char *load = NULL;
    g_file_get_contents("/proc/loadavg", &load, NULL, NULL);
    result_note(r,
                BOTH("Run on %s with -accel %s, host Linux %s, %ld CPUs, load average %.4s before "
                     "the experiment%s.",
                     "%s, -accel %s, 호스트 리눅스 %s, CPU %ld개, 실험 전 부하 평균 %.4s%s."),
                when, lab->accel, u.release, sysconf(_SC_NPROCESSORS_ONLN), load ? load : "?",
                lab->opt.quick ? " (--quick)" : "");
    if (lab->opt.raise) {
        result_note(
            r,
            BOTH("Machines and loops ran at nice %d, before the host's other programs.",
                 "가상 머신과 루프는 호스트의 다른 프로그램보다 우선하는 nice %d로 실행했습니다."),
            -15);
    }
}

/* A stale result would be taken for this run's. */
static void clear_dir(const char *dir)
{
    static const char *const ours[] = {".csv", ".svg", ".png", ".gp", "result.json"};
    g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
    for (const char *e = d ? g_dir_read_name(d) : NULL; e; e = g_dir_read_name(d)) {
        for (unsigned i = 0; i < ARRAY_SIZE(ours); i++) {
            g_autofree char *path = g_build_filename(dir, e, NULL);
            if (g_str_has_suffix(e, ours[i])) {
                g_unlink(path);
            }
        }
    }
    g_mkdir_with_parents(dir, 0755);
}

static bool run_one(struct lab *lab, const struct experiment *e, unsigned n, unsigned of,
                    GError **err)
{
    struct result r = {.name = e->name, .dir = g_build_filename(lab->opt.output, e->name, NULL)};
    g_autoptr(GError) why = NULL;
    fprintf(stderr, "[%u/%u] %s: %s\n%s\n", n, of, e->name, e->title[EN], e->intro[EN]);
    clear_dir(r.dir);
    describe(&r, e, lab);
    bool ok = e->run(lab, &r, &why);
    if (!ok) {
        result_note(&r,
                    BOTH("The experiment did not run to its end: %s",
                         "실험이 끝까지 실행되지 못했습니다: %s"),
                    why ? why->message : "?");
        g_propagate_prefixed_error(err, g_steal_pointer(&why), "%s: ", e->name);
    }
    json_object_set_new(r.o, "complete", json_boolean(ok));
    for (unsigned i = lab->loops->len; i-- > 0;) {
        host_loop_stop(lab, GPOINTER_TO_INT(lab->loops->pdata[i]));
    }
    ok = result_save(&r, ok ? err : NULL) && ok;
    json_decref(r.o);
    g_free(r.dir);
    return ok;
}

bool lab_run(const char *name, const struct lab_options *o, GError **err)
{
    const struct experiment *only = find(name);
    bool all = !strcmp(name, "all"), ok = true;
    struct lab lab;
    if (!all && !only) {
        g_autofree char *near = error_nearest(name, lab_names(), ARRAY_SIZE(experiments));
        return error_set(err, HANOK_ERROR_NOT_FOUND,
                         "there is no experiment '%s'%s%s%s; 'hanok lab list' shows them", name,
                         near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    if (lab_open(&lab, o, err)) {
        unsigned n = 0, of = all ? ARRAY_SIZE(experiments) : 1;
        for (unsigned i = 0; i < ARRAY_SIZE(experiments); i++) {
            g_autoptr(GError) why = NULL;
            if ((all || experiments[i] == only) && !run_one(&lab, experiments[i], ++n, of, &why)) {
                fprintf(stderr, "      %s\n", why ? why->message : "failed");
                if (err && !*err) {
                    g_propagate_error(err, g_steal_pointer(&why));
                }
                ok = false;
            }
        }
        ok = lab_report(o->output, ok ? err : NULL) && ok;
    } else {
        ok = false;
    }
    lab_close(&lab);
    return ok;
}
