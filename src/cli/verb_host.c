/* verb_host.c - what this host is and can. */
#include "host.h"

#include "base/util.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- accel ---- */

/* What hanok-vm -accel help says of kvm: *usable, and why in *why. */
static bool ask_emulator(bool *usable, char **why, GError **err)
{
    static const char yes[] = "usable on this host", no[] = "not usable on this host";
    g_autofree char *path = program_beside("hanok-vm"), *out = NULL;
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

static int do_accel(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *why = NULL;
    bool kvm = false;
    if (!ask_emulator(&kvm, &why, &err)) {
        return cmd_error(&err);
    }
    if (c->json) {
        return cmd_json(json_pack("{ssss}", "accel", kvm ? "kvm" : "jit", "why", why));
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

static int do_nodeinfo(struct cmd *c)
{
    static const struct column lines[] = {{"cpu-model", "CPU model:"},
                                          {"cpus", "CPU(s):"},
                                          {"mhz-text", "CPU frequency:"},
                                          {"sockets", "CPU socket(s):"},
                                          {"cores-per-socket", "Core(s) per socket:"},
                                          {"threads-per-core", "Thread(s) per core:"},
                                          {"numa-cells", "NUMA cell(s):"},
                                          {"memory-text", "Memory size:"},
                                          {NULL}};
    struct node_info n;
    read_node(&n);
    json_t *o = json_pack("{sssisisisisisisI}", "cpu-model", n.machine, "cpus", (int)n.cpus, "mhz",
                          (int)n.mhz, "sockets", (int)n.sockets, "cores-per-socket",
                          (int)n.cores_per_socket, "threads-per-core", (int)n.threads_per_core,
                          "numa-cells", (int)n.nodes, "memory-kib", (json_int_t)n.memory_kib);
    if (!c->json) {
        g_autofree char *mhz = g_strdup_printf("%u MHz", n.mhz);
        g_autofree char *memory = g_strdup_printf("%" G_GUINT64_FORMAT " KiB", n.memory_kib);
        json_object_set_new(o, "mhz-text", json_string(mhz));
        json_object_set_new(o, "memory-text", json_string(memory));
    }
    return cmd_lines(c, lines, 21, o);
}

/* ---- capabilities ---- */

bool kvm_usable(void)
{
    g_autofree char *why = NULL;
    bool kvm = false;
    return ask_emulator(&kvm, &why, NULL) && kvm;
}

static int do_capabilities(struct cmd *c)
{
    struct node_info n;
    g_autofree char *vm = program_beside("hanok-vm");
    bool kvm = kvm_usable();
    read_node(&n);
    if (c->json) {
        return cmd_json(json_pack("{sss[s]sss[ss*]}", "arch", "x86_64", "machines", "pc-q35-7.2",
                                  "emulator", vm ? vm : "", "domain-types", "qemu",
                                  kvm ? "kvm" : NULL));
    }
    printf("<capabilities>\n\n  <host>\n    <cpu>\n      <arch>x86_64</arch>\n"
           "      <topology sockets='%u' dies='1' cores='%u' threads='%u'/>\n    </cpu>\n"
           "    <power_management/>\n    <topology>\n      <cells num='1'>\n        <cell id='0'>\n"
           "          <memory unit='KiB'>%" G_GUINT64_FORMAT
           "</memory>\n        </cell>\n      </cells>\n"
           "    </topology>\n  </host>\n\n",
           n.sockets, n.cores_per_socket, n.threads_per_core, n.memory_kib);
    printf("  <guest>\n    <os_type>hvm</os_type>\n    <arch name='x86_64'>\n      "
           "<wordsize>64</wordsize>\n"
           "      <emulator>%s</emulator>\n      <machine maxCpus='288'>pc-q35-7.2</machine>\n"
           "      <machine canonical='pc-q35-7.2' maxCpus='288'>q35</machine>\n"
           "      <domain type='qemu'/>\n%s    </arch>\n    <features>\n      <acpi default='on' "
           "toggle='yes'/>\n"
           "      <apic default='on' toggle='no'/>\n      <cpuselection/>\n    </features>\n  "
           "</guest>\n\n"
           "</capabilities>\n",
           vm ? vm : "/usr/bin/hanok-vm", kvm ? "      <domain type='kvm'/>\n" : "");
    return 0;
}

/* ---- small ones ---- */

static int do_version(struct cmd *c)
{
    if (c->json) {
        return cmd_json(json_pack("{ss}", "version", HANOK_VERSION));
    }
    puts("hanok " HANOK_VERSION);
    return 0;
}

static int do_hostname(struct cmd *c)
{
    const char *name = g_get_host_name();
    if (c->json) {
        return cmd_json(json_pack("{ss}", "hostname", name));
    }
    puts(name);
    return 0;
}

static int do_uri(struct cmd *c)
{
    struct store *s = cmd_store(c);
    if (!s) {
        return 1;
    }
    const char *uri = s->system ? "qemu:///system" : "qemu:///session";
    if (c->json) {
        return cmd_json(json_pack("{ssssssssss}", "uri", uri, "definitions", s->config, "run",
                                  s->run, "log", s->log, "images", s->images));
    }
    puts(uri);
    return 0;
}

static const struct opt help_opts[] = {{"verb", "the verb to tell about", 0},
                                       {"words", "plain words, for completion", OPT_FLAG},
                                       {NULL}};

static const struct verb verbs[] = {
    {"accel", "which accelerator machines on this host would use, and why", true, do_accel, NULL,
     "hanok accel"},
    {"nodeinfo", "the host's processors and memory", true, do_nodeinfo, NULL,
     "hanok nodeinfo --json"},
    {"capabilities", "what the host offers, as XML", true, do_capabilities, NULL,
     "hanok capabilities"},
    {"domcapabilities", "what a domain can have here, as XML", true, domcapabilities_run,
     domcapabilities_opts, "hanok domcapabilities --virttype qemu"},
    {"hostname", "the host's name", true, do_hostname, NULL, "hanok hostname"},
    {"uri", "which connection is used, and where its files are (--json)", true, do_uri, NULL,
     "hanok uri"},
    {"version", "the version of this program", true, do_version, NULL, "hanok version"},
    {"help", "this list, or more about one verb", false, cmd_help, help_opts, "hanok help start"},
    {NULL}};
const struct verb_group host_verbs = {"Host", verbs};
