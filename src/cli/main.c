/* main.c - hanok: the manager's command line.  This version knows the host, not yet machines.
 *
 * It talks to the emulator only as anybody can: by its command line. */
#include "base/error.h"
#include "base/log.h"
#include "base/util.h"

#include <glib.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static int fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static int fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_error("%s", text);
    return 1;
}

static int print_json(json_t *o)
{
    json_dumpf(o, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(o);
    return 0;
}

/* ---- accel ---- */

/* The emulator next to this program, else the one in PATH. */
static char *emulator_path(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = self ? g_path_get_dirname(self) : g_strdup(".");
    char *beside = g_build_filename(dir, "hanok-vm", NULL);
    if (g_file_test(beside, G_FILE_TEST_IS_EXECUTABLE)) {
        return beside;
    }
    g_free(beside);
    return g_find_program_in_path("hanok-vm");
}

/* What hanok-vm -accel help says of kvm: *usable, and why in *why. */
static bool ask_emulator(bool *usable, char **why, GError **err)
{
    static const char yes[] = "usable on this host", no[] = "not usable on this host";
    g_autofree char *path = emulator_path(), *out = NULL;
    char *argv[] = {path, "-accel", "help", NULL};
    int status = 0;
    if (!path) {
        return error_set(err, HANOK_ERROR_NOT_FOUND,
                         "hanok-vm is neither beside hanok nor in PATH");
    }
    if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, NULL, &status, err) ||
        !g_spawn_check_wait_status(status, err)) {
        g_prefix_error(err, "asking '%s': ", path);
        return false;
    }
    g_auto(GStrv) lines = g_strsplit(out, "\n", -1);
    for (char **l = lines; *l; l++) {
        const char *rest = g_str_has_prefix(*l, "kvm ") ? *l + strspn(*l + 3, " ") + 3 : NULL;
        if (rest && (g_str_has_prefix(rest, yes) || g_str_has_prefix(rest, no))) {
            *usable = g_str_has_prefix(rest, yes);
            rest += strlen(*usable ? yes : no);
            *why = g_strdup(*rest == ':' ? rest + 2 : "");
            return true;
        }
    }
    return error_set(err, HANOK_ERROR_UNSUPPORTED, "'%s' does not say whether it can use KVM",
                     path);
}

static int do_accel(bool json)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *why = NULL;
    bool kvm = false;
    if (!ask_emulator(&kvm, &why, &err)) {
        return fail("%s", err->message);
    }
    if (json) {
        return print_json(json_pack("{ssss}", "accel", kvm ? "kvm" : "jit", "why", why));
    }
    if (kvm) {
        printf("kvm: %s\n", *why ? why : "usable on this host");
    } else {
        printf("jit: the software CPU, because KVM is not usable: %s\n", why);
    }
    return 0;
}

/* ---- nodeinfo ---- */

struct node_info {
    char machine[65];
    unsigned cpus, mhz, sockets, cores_per_socket, threads_per_core, nodes;
    uint64_t memory_kib;
};

static long read_number(const char *path, long absent)
{
    g_autofree char *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? strtol(text, NULL, 10) : absent;
}

/* Entries of a /sys directory that are PREFIX followed by a number. */
static unsigned count_numbered(const char *dir, const char *prefix)
{
    g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
    unsigned n = 0;
    for (const char *name = d ? g_dir_read_name(d) : NULL; name; name = g_dir_read_name(d)) {
        size_t len = strlen(prefix);
        n += g_str_has_prefix(name, prefix) && g_ascii_isdigit(name[len]);
    }
    return n;
}

static void read_topology(struct node_info *n)
{
    g_autoptr(GHashTable) packages = g_hash_table_new(NULL, NULL);
    g_autoptr(GHashTable) cores = g_hash_table_new(NULL, NULL);
    for (unsigned cpu = 0; cpu < n->cpus; cpu++) {
        g_autofree char *base = g_strdup_printf("/sys/devices/system/cpu/cpu%u/topology/", cpu);
        g_autofree char *package_path = g_strconcat(base, "physical_package_id", NULL);
        g_autofree char *core_path = g_strconcat(base, "core_id", NULL);
        long package = read_number(package_path, 0), core = read_number(core_path, cpu);
        g_hash_table_add(packages, GINT_TO_POINTER(package + 1));
        g_hash_table_add(cores, GINT_TO_POINTER((package + 1) * 65536 + core + 1));
    }
    n->sockets = MAX_OF(g_hash_table_size(packages), 1u);
    n->cores_per_socket = MAX_OF(g_hash_table_size(cores) / n->sockets, 1u);
    n->threads_per_core = MAX_OF(n->cpus / (n->sockets * n->cores_per_socket), 1u);
}

static unsigned cpu_mhz(void)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL)) {
        return 0;
    }
    const char *at = strstr(text, "cpu MHz");
    at = at ? strchr(at, ':') : NULL;
    return at ? (unsigned)g_ascii_strtod(at + 1, NULL) : 0;
}

static void read_node(struct node_info *n)
{
    struct utsname u;
    memset(n, 0, sizeof(*n));
    if (!uname(&u)) {
        g_strlcpy(n->machine, u.machine, sizeof(n->machine));
    }
    n->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    n->mhz = cpu_mhz();
    n->nodes = MAX_OF(count_numbered("/sys/devices/system/node", "node"), 1u);
    n->memory_kib = (uint64_t)sysconf(_SC_PHYS_PAGES) * (sysconf(_SC_PAGESIZE) / 1024);
    read_topology(n);
}

static int do_nodeinfo(bool json)
{
    struct node_info n;
    read_node(&n);
    if (json) {
        return print_json(json_pack("{sssisisisisisisI}", "cpu-model", n.machine, "cpus",
                                    (int)n.cpus, "mhz", (int)n.mhz, "sockets", (int)n.sockets,
                                    "cores-per-socket", (int)n.cores_per_socket, "threads-per-core",
                                    (int)n.threads_per_core, "numa-cells", (int)n.nodes,
                                    "memory-kib", (json_int_t)n.memory_kib));
    }
    printf("CPU model:           %s\n"
           "CPU(s):              %u\n"
           "CPU frequency:       %u MHz\n"
           "CPU socket(s):       %u\n"
           "Core(s) per socket:  %u\n"
           "Thread(s) per core:  %u\n"
           "NUMA cell(s):        %u\n"
           "Memory size:         %" G_GUINT64_FORMAT " KiB\n",
           n.machine, n.cpus, n.mhz, n.sockets, n.cores_per_socket, n.threads_per_core, n.nodes,
           n.memory_kib);
    return 0;
}

/* ---- verbs ---- */

static int do_version(bool json)
{
    if (json) {
        return print_json(json_pack("{ss}", "version", HANOK_VERSION));
    }
    puts("hanok " HANOK_VERSION);
    return 0;
}

static int do_help(bool json);

static const struct verb {
    const char *name, *help;
    bool json;
    int (*run)(bool json);
} verbs[] = {
    {"accel", "which accelerator machines on this host would use, and why", true, do_accel},
    {"nodeinfo", "the host's processors and memory", true, do_nodeinfo},
    {"version", "the version of this program", true, do_version},
    {"help", "this list", false, do_help},
};

static int do_help(bool json)
{
    puts("hanok - virtual machines on this host\nusage: hanok VERB [--json]\n");
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        printf("  %-10s %s%s\n", verbs[i].name, verbs[i].help, verbs[i].json ? " (--json)" : "");
    }
    puts("\nMachines are started with hanok-vm in this version; images are made with hanok-img.");
    return 0;
}

static int run_verb(int argc, char **argv)
{
    const char *names[ARRAY_SIZE(verbs)];
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        names[i] = verbs[i].name;
        if (strcmp(verbs[i].name, argv[1])) {
            continue;
        }
        bool json = verbs[i].json && argc > 2 && !strcmp(argv[2], "--json");
        if (argc > 2 + json) {
            return fail("%s takes no '%s'%s", argv[1], argv[2 + json],
                        verbs[i].json ? ", only --json" : "");
        }
        return verbs[i].run(json);
    }
    g_autofree char *near = error_nearest(argv[1], names, ARRAY_SIZE(names));
    return fail("there is no verb '%s'; did you mean %s? 'hanok help' lists them", argv[1], near);
}

int main(int argc, char **argv)
{
    log_init("hanok");
    if (argc < 2) {
        return fail("a verb is missing; 'hanok help' lists them");
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        return do_help(false);
    }
    if (!strcmp(argv[1], "--version")) {
        return do_version(false);
    }
    return run_verb(argc, argv);
}
