/* verb_info.c - what is there, and how it is. */
#include "cmd.h"
#include "stats.h"

#include "base/util.h"
#include "manager/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- list ---- */

static bool in_list(struct cmd *c, const struct vm *vm, bool marked)
{
    bool all = cmd_flag(c, "all"), inactive = cmd_flag(c, "inactive");
    if (vm->active ? inactive && !all : !all && !inactive) {
        return false;
    }
    if ((cmd_flag(c, "persistent") && !vm->persistent) ||
        (cmd_flag(c, "transient") && vm->persistent)) {
        return false;
    }
    return !(cmd_flag(c, "autostart") && !marked) && !(cmd_flag(c, "no-autostart") && marked);
}

/* What is stored has its <uuid> right after its <name>: a list needs to read no more of it. */
static char *vm_uuid(struct vm *vm)
{
    static const char element[] = "</name>\n  <uuid>";
    g_autofree char *text = vm->active ? NULL : store_read(vm->store, vm->name, NULL);
    const char *at = text ? strstr(text, element) : NULL;
    const char *end = at ? strchr(at += strlen(element), '<') : NULL;
    g_autofree char *found = end ? g_strndup(at, (size_t)(end - at)) : NULL;
    if (found && uuid_ok(found)) {
        return g_steal_pointer(&found);
    }
    DOMAIN_AUTO d = vm_domain(vm, NULL);
    return g_strdup(d ? d->uuid : "");
}

static json_t *list_row(struct cmd *c, struct vm *vm, bool marked)
{
    const char *reason = NULL;
    enum vm_state st = vm->active ? vm_state(vm, &reason) : VM_SHUTOFF;
    json_t *o = json_pack("{ssss}", "name", vm->name, "state", vm_state_name(st));
    json_object_set_new(o, "id", vm->active ? json_integer(vm->id) : json_null());
    if (cmd_flag(c, "title")) {
        DOMAIN_AUTO d = vm_domain(vm, NULL);
        json_object_set_new(o, "title", json_string(d && d->title ? d->title : ""));
    }
    if (cmd_flag(c, "uuid") || c->json) {
        g_autofree char *uuid = vm_uuid(vm);
        json_object_set_new(o, "uuid", json_string(uuid));
        json_object_set_new(o, "persistent", json_boolean(vm->persistent));
        json_object_set_new(o, "autostart", json_boolean(marked));
    }
    return o;
}

static int print_words(json_t *rows, const char *key)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        g_autofree char *text = json_text(json_object_get(row, key));
        puts(text);
    }
    json_decref(rows);
    return 0;
}

static int do_list(struct cmd *c)
{
    static const struct column plain[] = {
        {"id", "Id"}, {"name", "Name"}, {"state", "State"}, {NULL}};
    static const struct column titled[] = {
        {"id", "Id"}, {"name", "Name"}, {"state", "State"}, {"title", "Title"}, {NULL}};
    struct store *s = cmd_store(c);
    if (!s) {
        return 1;
    }
    g_autoptr(GPtrArray) list = vm_list(s);
    json_t *rows = json_array();
    for (unsigned i = 0; i < list->len; i++) {
        struct vm *vm = list->pdata[i];
        bool ask = c->json || cmd_flag(c, "autostart") || cmd_flag(c, "no-autostart");
        g_autofree char *marker = ask ? store_path(s->autostart, vm->name, "") : NULL;
        bool marked = ask && g_file_test(marker, G_FILE_TEST_EXISTS);
        if (in_list(c, vm, marked)) {
            json_array_append_new(rows, list_row(c, vm, marked));
        }
    }
    if (!c->json && (cmd_flag(c, "name") || cmd_flag(c, "uuid") || cmd_flag(c, "id"))) {
        return print_words(rows, cmd_flag(c, "uuid") ? "uuid" : cmd_flag(c, "id") ? "id" : "name");
    }
    return cmd_table(c, cmd_flag(c, "title") ? titled : plain, rows);
}

/* ---- one domain ---- */

static int do_dominfo(struct cmd *c)
{
    static const struct column lines[] = {{"id", "Id:"},
                                          {"name", "Name:"},
                                          {"uuid", "UUID:"},
                                          {"os-type", "OS Type:"},
                                          {"state", "State:"},
                                          {"vcpus", "CPU(s):"},
                                          {"cpu-time", "CPU time:"},
                                          {"max-memory", "Max memory:"},
                                          {"used-memory", "Used memory:"},
                                          {"persistent", "Persistent:"},
                                          {"autostart-word", "Autostart:"},
                                          {"managed-save", "Managed save:"},
                                          {"security-model", "Security model:"},
                                          {"security-doi", "Security DOI:"},
                                          {NULL}};
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    DOMAIN_AUTO d = vm ? vm_domain(vm, &err) : NULL;
    if (!d) {
        return vm ? cmd_error(&err) : 1;
    }
    g_autofree char *marker = store_path(vm->store->autostart, vm->name, "");
    bool marked = g_file_test(marker, G_FILE_TEST_EXISTS);
    int64_t used = vm->active ? stats_balloon_kib(vm, d) : domain_current_memory_kib(d);
    json_t *o = json_object();
    json_object_set_new(o, "id", vm->active ? json_integer(vm->id) : json_null());
    json_object_set_new(o, "name", json_string(vm->name));
    json_object_set_new(o, "uuid", json_string(d->uuid));
    json_object_set_new(o, "os-type", json_string(d->os.type.type));
    json_object_set_new(o, "state", json_string(vm_state_name(vm_state(vm, NULL))));
    json_object_set_new(o, "vcpus", json_integer(domain_vcpus(d)));
    uint64_t user = 0, system = 0;
    int cpu;
    if (vm->active && thread_times(vm->pid, 0, &user, &system, &cpu)) {
        double seconds = (double)(user + system) / 1e9;
        g_autofree char *text = g_strdup_printf("%.1fs", seconds);
        json_object_set_new(o, "cpu-time", c->json ? json_real(seconds) : json_string(text));
    }
    if (c->json) {
        json_object_set_new(o, "max-memory-kib", json_integer(domain_memory_kib(d)));
        json_object_set_new(o, "used-memory-kib", json_integer(used));
        json_object_set_new(o, "autostart", json_boolean(marked));
        json_object_set_new(o, "emulator", json_string(d->devices.emulator));
        json_object_set_new(o, "pid", vm->active ? json_integer(vm->pid) : json_null());
    } else {
        g_autofree char *max = g_strdup_printf("%" G_GINT64_FORMAT " KiB", domain_memory_kib(d));
        g_autofree char *now = g_strdup_printf("%" G_GINT64_FORMAT " KiB", used);
        json_object_set_new(o, "max-memory", json_string(max));
        json_object_set_new(o, "used-memory", json_string(now));
        json_object_set_new(o, "autostart-word", json_string(marked ? "enable" : "disable"));
        json_object_set_new(o, "managed-save", json_string("no"));
        json_object_set_new(o, "security-model", json_string("none"));
        json_object_set_new(o, "security-doi", json_string("0"));
    }
    json_object_set_new(o, "persistent", json_boolean(vm->persistent));
    return cmd_lines(c, lines, 16, o);
}

static int do_domstate(struct cmd *c)
{
    const char *reason = NULL;
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    enum vm_state s = vm_state(vm, &reason);
    g_autofree char *last = vm->active ? NULL : vm_last_words(vm);
    if (c->json) {
        return cmd_json(
            json_pack("{ssssss*}", "state", vm_state_name(s), "reason", reason, "detail", last));
    }
    if (cmd_flag(c, "reason")) {
        printf("%s (%s)\n", vm_state_name(s), reason);
        if (last && *last && strncmp(last, "guest-", 6)) {
            printf("%s\n", last);
        }
    } else {
        puts(vm_state_name(s));
    }
    return 0;
}

static int do_domid(struct cmd *c)
{
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    if (c->json) {
        return cmd_json(json_pack("{so}", "id", vm->active ? json_integer(vm->id) : json_null()));
    }
    if (vm->active) {
        printf("%d\n", vm->id);
    } else {
        puts("-");
    }
    return 0;
}

static int do_domuuid(struct cmd *c)
{
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    g_autofree char *uuid = vm_uuid(vm);
    if (c->json) {
        return cmd_json(json_pack("{ss}", "uuid", uuid));
    }
    puts(uuid);
    return 0;
}

static int do_domname(struct cmd *c)
{
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    if (c->json) {
        return cmd_json(json_pack("{ss}", "name", vm->name));
    }
    puts(vm->name);
    return 0;
}

static int do_vncdisplay(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_active_vm(c);
    DOMAIN_AUTO d = vm ? vm_live(vm, &err) : NULL;
    for (unsigned i = 0; d && i < d->devices.graphics->len; i++) {
        const struct graphics *g = d->devices.graphics->pdata[i];
        if (word_is(g->type, "vnc") && g->port.set && g->port.v >= 5900) {
            const char *host = g->listen ? g->listen : "127.0.0.1";
            if (c->json) {
                return cmd_json(json_pack("{sssi}", "host", host, "port", (int)g->port.v));
            }
            printf("%s:%d\n", strcmp(host, "0.0.0.0") ? host : "", (int)g->port.v - 5900);
            return 0;
        }
    }
    return vm ? cmd_fail("domain '%s' has no VNC display", vm->name) : 1;
}

/* ---- processors ---- */

static char *affinity_letters(const char *cpuset)
{
    unsigned n = host_cpus();
    unsigned long bits[64] = {0};
    GString *s = g_string_new(NULL);
    bool known = cpuset && cpuset_parse(cpuset, MIN_OF(n, 4096u), bits, NULL);
    for (unsigned i = 0; i < n; i++) {
        g_string_append_c(s, !known || (bits[i / 64] >> (i % 64) & 1) ? 'y' : '-');
    }
    return g_string_free(s, FALSE);
}

static json_t *vcpu_row(struct vm *vm, const struct vcpu_thread *t, enum vm_state st)
{
    uint64_t user = 0, system = 0;
    int cpu = -1;
    g_autofree char *set = thread_affinity(t->tid);
    thread_times(vm->pid, t->tid, &user, &system, &cpu);
    return json_pack("{sisisssfss*si}", "vcpu", t->index, "cpu", cpu, "state",
                     st == VM_RUNNING ? "running" : "offline", "cpu-time",
                     (double)(user + system) / 1e9, "affinity", set, "thread-id", (int)t->tid);
}

static json_t *vcpu_rows(struct vm *vm, GError **err)
{
    QMP_AUTO q = vm_qmp(vm, err);
    g_autoptr(GPtrArray) list = q ? vcpu_threads(q, err) : NULL;
    if (!list) {
        return NULL;
    }
    qmp_close(q);
    q = NULL;
    enum vm_state st = vm_state(vm, NULL);
    json_t *rows = json_array();
    for (unsigned i = 0; i < list->len; i++) {
        json_array_append_new(rows, vcpu_row(vm, list->pdata[i], st));
    }
    return rows;
}

static int vcpuinfo_inactive(struct cmd *c, struct vm *vm)
{
    g_autoptr(GError) err = NULL;
    DOMAIN_AUTO d = vm_definition(vm, &err);
    if (!d) {
        return cmd_error(&err);
    }
    json_t *rows = json_array();
    for (unsigned i = 0; i < domain_vcpus_max(d); i++) {
        json_array_append_new(rows,
                              json_pack("{siss}", "vcpu", (int)i, "affinity", stats_pin(d, i)));
    }
    if (c->json) {
        return cmd_json(rows);
    }
    for (unsigned i = 0; i < domain_vcpus_max(d); i++) {
        g_autofree char *letters = affinity_letters(stats_pin(d, i));
        printf("VCPU:           %u\nCPU:            N/A\nState:          N/A\nCPU time        N/A\n"
               "CPU Affinity:   %s\n\n",
               i, letters);
    }
    json_decref(rows);
    return 0;
}

static int do_vcpuinfo(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    if (!vm->active) {
        return vcpuinfo_inactive(c, vm);
    }
    json_t *rows = vcpu_rows(vm, &err), *row;
    size_t i;
    if (!rows) {
        return cmd_error(&err);
    }
    if (c->json) {
        return cmd_json(rows);
    }
    json_array_foreach(rows, i, row)
    {
        const char *set = json_string_value(json_object_get(row, "affinity"));
        g_autofree char *letters = affinity_letters(set);
        printf("VCPU:           %d\nCPU:            %d\nState:          %s\nCPU time:       %.1fs\n"
               "CPU Affinity:   %s\n\n",
               (int)json_integer_value(json_object_get(row, "vcpu")),
               (int)json_integer_value(json_object_get(row, "cpu")),
               json_string_value(json_object_get(row, "state")),
               json_real_value(json_object_get(row, "cpu-time")),
               cmd_flag(c, "pretty") && set ? set : letters);
    }
    json_decref(rows);
    return 0;
}

static int do_vcpucount(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    DOMAIN_AUTO def = vm ? vm_definition(vm, NULL) : NULL;
    DOMAIN_AUTO live = vm && vm->active ? vm_live(vm, &err) : NULL;
    if (!vm || (!def && !live)) {
        return vm ? cmd_error(&err) : 1;
    }
    bool maximum = cmd_flag(c, "maximum"),
         current = cmd_flag(c, "current") || cmd_flag(c, "active");
    if (!c->json && (maximum || current || cmd_flag(c, "live") || cmd_flag(c, "config"))) {
        const struct domain *d = cmd_flag(c, "config") ? def : live ? live : def;
        if (!d) {
            return cmd_fail("domain '%s' has no definition", vm->name);
        }
        printf("%u\n", maximum ? domain_vcpus_max(d) : domain_vcpus(d));
        return 0;
    }
    json_t *o = json_object();
    const struct {
        const struct domain *d;
        const char *word;
    } sides[] = {{def, "config"}, {live, "live"}};
    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 0; i < 2; i++) {
            if (!sides[i].d) {
                continue;
            }
            unsigned n = k ? domain_vcpus(sides[i].d) : domain_vcpus_max(sides[i].d);
            g_autofree char *key =
                g_strdup_printf("%s-%s", k ? "current" : "maximum", sides[i].word);
            json_object_set_new(o, key, json_integer(n));
            if (!c->json) {
                printf("%-12s %-12s %3u\n", k ? "current" : "maximum", sides[i].word, n);
            }
        }
    }
    if (c->json) {
        return cmd_json(o);
    }
    json_decref(o);
    return 0;
}

/* ---- memory ---- */

static int do_dommemstat(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    int64_t period = -1;
    VM_AUTO vm = cmd_active_vm(c);
    if (!vm || !cmd_number(c, "period", &period)) {
        return 1;
    }
    if (period >= 0) {
        QMP_AUTO q = vm_monitor_or_say(vm);
        if (!q) {
            return 1;
        }
        json_t *a = json_pack("{sssssI}", "path", "/machine/peripheral/balloon0", "property",
                              "guest-stats-polling-interval", "value", (json_int_t)period);
        return qmp_call(q, "qom-set", a, NULL, &err) ? 0 : cmd_error(&err);
    }
    json_t *o = stats_memory(vm, &err), *v;
    const char *key;
    if (!o) {
        return cmd_error(&err);
    }
    if (c->json) {
        return cmd_json(o);
    }
    json_object_foreach(o, key, v)
    {
        printf("%s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(v));
    }
    json_decref(o);
    return 0;
}

/* ---- all statistics ---- */

static const char *const domstats_group_words[] = {"state",     "cpu-total", "balloon",  "vcpu",
                                                   "interface", "block",     "iothread", NULL};

/* NULL: none was asked for, so all are shown. */
static GPtrArray *domstats_groups(struct cmd *c)
{
    GPtrArray *groups = NULL;
    for (const char *const *w = domstats_group_words; *w; w++) {
        if (cmd_flag(c, *w)) {
            groups = groups ? groups : g_ptr_array_new();
            g_ptr_array_add(groups, (gpointer)*w);
        }
    }
    return groups;
}

static bool domstats_listed(struct cmd *c, const struct vm *vm)
{
    if (cmd_flag(c, "list-active") != cmd_flag(c, "list-inactive") &&
        cmd_flag(c, "list-active") != vm->active) {
        return false;
    }
    return cmd_flag(c, "list-persistent") == cmd_flag(c, "list-transient") ||
           cmd_flag(c, "list-persistent") == vm->persistent;
}

static int do_domstats(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    struct store *s = cmd_store(c);
    if (!s) {
        return 1;
    }
    g_autoptr(GPtrArray) list = NULL, groups = domstats_groups(c);
    if (cmd_str(c, "domain")) {
        struct vm *vm = vm_find(s, cmd_str(c, "domain"), &err);
        if (!vm) {
            return cmd_error(&err);
        }
        list = g_ptr_array_new_with_free_func((GDestroyNotify)vm_free);
        g_ptr_array_add(list, vm);
    } else {
        list = vm_list(s);
    }
    json_t *all = json_array();
    for (unsigned i = 0; i < list->len; i++) {
        struct vm *vm = list->pdata[i];
        if (!domstats_listed(c, vm)) {
            continue;
        }
        json_array_append_new(
            all, json_pack("{ssso}", "domain", vm->name, "stats", stats_all(vm, groups)));
    }
    if (c->json) {
        return cmd_json(all);
    }
    size_t i;
    json_t *one, *v;
    const char *key;
    json_array_foreach(all, i, one)
    {
        printf("Domain: '%s'\n", json_string_value(json_object_get(one, "domain")));
        json_object_foreach(json_object_get(one, "stats"), key, v)
        {
            g_autofree char *text = json_text(v);
            printf("  %s=%s\n", key, text);
        }
        putchar('\n');
    }
    json_decref(all);
    return 0;
}

/* ---- disks ---- */

static const char *disk_type_word(const struct disk *k)
{
    static const char *const words[] = {"-", "file", "block", "network", "volume", "dir"};
    return words[k->type];
}

static const char *device_word(const struct disk *k)
{
    static const char *const words[] = {"-", "disk", "cdrom", "floppy", "lun"};
    return words[k->device];
}

static int do_domblklist(struct cmd *c)
{
    static const struct column plain[] = {{"target", "Target"}, {"source", "Source"}, {NULL}};
    static const struct column details[] = {
        {"type", "Type"}, {"device", "Device"}, {"target", "Target"}, {"source", "Source"}, {NULL}};
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    DOMAIN_AUTO d = !vm                       ? NULL
                    : cmd_flag(c, "inactive") ? vm_definition(vm, &err)
                                              : vm_domain(vm, &err);
    if (!d) {
        return vm ? cmd_error(&err) : 1;
    }
    json_t *rows = json_array();
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        const struct disk *k = d->devices.disks->pdata[i];
        g_autofree char *source = disk_source_text(k);
        json_t *o = json_pack("{ssssss}", "target", k->target.dev, "type", disk_type_word(k),
                              "device", device_word(k));
        json_object_set_new(o, "source", source ? json_string(source) : json_null());
        json_array_append_new(rows, o);
    }
    return cmd_table(c, cmd_flag(c, "details") ? details : plain, rows);
}

static const struct disk *need_disk(struct cmd *c, const struct domain *d)
{
    const char *what = cmd_str(c, "device");
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        const struct disk *k = d->devices.disks->pdata[i];
        g_autofree char *source = disk_source_text(k);
        if (!what || !strcmp(k->target.dev, what) || !g_strcmp0(source, what)) {
            return k;
        }
    }
    cmd_fail("domain '%s' has no disk '%s'; 'hanok domblklist' lists them", d->name,
             what ? what : "");
    return NULL;
}

static int do_domblkstat(struct cmd *c)
{
    static const char *const names[][2] = {{"rd_operations", "rd_req"},
                                           {"rd_bytes", "rd_bytes"},
                                           {"wr_operations", "wr_req"},
                                           {"wr_bytes", "wr_bytes"},
                                           {"flush_operations", "flush_operations"},
                                           {"rd_total_time_ns", "rd_total_times"},
                                           {"wr_total_time_ns", "wr_total_times"},
                                           {"flush_total_time_ns", "flush_total_times"}};
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_active_vm(c);
    DOMAIN_AUTO d = vm ? vm_live(vm, &err) : NULL;
    const struct disk *k = d ? need_disk(c, d) : NULL;
    if (!k) {
        return d || !vm ? 1 : cmd_error(&err);
    }
    QMP_AUTO q = vm_monitor_or_say(vm);
    JSON_AUTO st = q ? stats_block(q, k, &err) : NULL;
    if (!st) {
        return q ? cmd_error(&err) : 1;
    }
    json_t *o = json_object();
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        json_t *v = json_object_get(st, names[i][0]);
        if (v) {
            json_object_set(o, names[i][1], v);
            if (!c->json) {
                printf("%s %s %" JSON_INTEGER_FORMAT "\n", k->target.dev, names[i][1],
                       json_integer_value(v));
            }
        }
    }
    if (c->json) {
        return cmd_json(o);
    }
    json_decref(o);
    return 0;
}

static int do_domblkinfo(struct cmd *c)
{
    static const struct column lines[] = {{"capacity", "Capacity:"},
                                          {"allocation", "Allocation:"},
                                          {"physical", "Physical:"},
                                          {NULL}};
    static const struct column table[] = {{"target", "Target"},
                                          {"capacity", "Capacity"},
                                          {"allocation", "Allocation"},
                                          {"physical", "Physical"},
                                          {NULL}};
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    DOMAIN_AUTO d = vm ? vm_domain(vm, &err) : NULL;
    if (!d) {
        return vm ? cmd_error(&err) : 1;
    }
    if (cmd_flag(c, "all")) {
        json_t *rows = json_array();
        for (unsigned i = 0; i < d->devices.disks->len; i++) {
            const struct disk *k = d->devices.disks->pdata[i];
            json_t *o = k->source.file || k->source.dev ? stats_image(vm, k, &err) : json_object();
            if (!o) {
                json_decref(rows);
                return cmd_error(&err);
            }
            json_object_set_new(o, "target", json_string(k->target.dev));
            json_array_append_new(rows, o);
        }
        return cmd_table(c, table, rows);
    }
    if (!cmd_str(c, "device")) {
        return cmd_fail("domblkinfo needs --device (a target such as vda), or --all");
    }
    const struct disk *k = need_disk(c, d);
    json_t *o = k ? stats_image(vm, k, &err) : NULL;
    if (!o) {
        return k ? cmd_error(&err) : 1;
    }
    return cmd_lines(c, lines, 16, o);
}

/* ---- network cards ---- */

static int do_domiflist(struct cmd *c)
{
    static const struct column columns[] = {
        {"interface", "Interface"}, {"type", "Type"}, {"source", "Source"},
        {"model", "Model"},         {"mac", "MAC"},   {NULL}};
    static const char *const types[] = {"-",        "user",   "network",  "bridge",
                                        "ethernet", "direct", "vhostuser"};
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    DOMAIN_AUTO d = !vm                       ? NULL
                    : cmd_flag(c, "inactive") ? vm_definition(vm, &err)
                                              : vm_domain(vm, &err);
    if (!d) {
        return vm ? cmd_error(&err) : 1;
    }
    json_t *rows = json_array();
    for (unsigned i = 0; i < d->devices.interfaces->len; i++) {
        const struct interface *n = d->devices.interfaces->pdata[i];
        const char *source = n->source.network  ? n->source.network
                             : n->source.bridge ? n->source.bridge
                                                : n->source.dev;
        const char *dev = n->target.dev ? n->target.dev : vm->active ? n->info.alias.name : NULL;
        json_t *o = json_pack("{ssssss}", "type", types[n->type], "model", n->model.type, "mac",
                              n->mac.address);
        json_object_set_new(o, "interface", dev ? json_string(dev) : json_null());
        json_object_set_new(o, "source", source ? json_string(source) : json_null());
        json_array_append_new(rows, o);
    }
    return cmd_table(c, columns, rows);
}

static int do_domifstat(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    const char *dev = cmd_str(c, "interface"), *key;
    VM_AUTO vm = cmd_active_vm(c);
    json_t *o = vm ? stats_interface(vm, dev, &err) : NULL, *v;
    if (!o) {
        return vm ? cmd_error(&err) : 1;
    }
    if (c->json) {
        return cmd_json(o);
    }
    json_object_foreach(o, key, v)
    {
        if (json_is_integer(v)) {
            printf("%s %s %" JSON_INTEGER_FORMAT "\n", dev, key, json_integer_value(v));
        }
    }
    json_decref(o);
    return 0;
}

static const struct opt list_opts[] = {{"all", "also those that do not run", OPT_FLAG},
                                       {"inactive", "only those that do not run", OPT_FLAG},
                                       {"persistent", "only those with a definition", OPT_FLAG},
                                       {"transient", "only those without", OPT_FLAG},
                                       {"autostart", "only those marked", OPT_FLAG},
                                       {"no-autostart", "only those not marked", OPT_FLAG},
                                       {"name", "only names", OPT_FLAG},
                                       {"uuid", "only UUIDs", OPT_FLAG},
                                       {"id", "only ids", OPT_FLAG},
                                       {"table", "as a table (it is one)", OPT_FLAG},
                                       {"title", "with titles", OPT_FLAG},
                                       {NULL}};
static const struct opt domain_opts[] = {DOMAIN_OPT, {NULL}};
static const struct opt state_opts[] = {DOMAIN_OPT, {"reason", "and why", OPT_FLAG}, {NULL}};
static const struct opt vcpuinfo_opts[] = {
    DOMAIN_OPT, {"pretty", "affinity as a list", OPT_FLAG}, {NULL}};
static const struct opt vcpucount_opts[] = {DOMAIN_OPT,
                                            {"maximum", "only the maximum", OPT_FLAG},
                                            {"active", "only those switched on", OPT_FLAG},
                                            {"live", "of the running machine", OPT_FLAG},
                                            {"config", "of the definition", OPT_FLAG},
                                            {"current", "those switched on, now", OPT_FLAG},
                                            {NULL}};
static const struct opt memstat_opts[] = {
    DOMAIN_OPT,
    {"period", "seconds between the guest's reports", OPT_NAMED},
    {"live", "accepted", OPT_FLAG},
    {NULL}};
static const struct opt domstats_opts[] = {
    {"domain", "one domain; all when left out", 0},
    {"state", "state.*", OPT_FLAG},
    {"cpu-total", "cpu.*", OPT_FLAG},
    {"balloon", "balloon.*", OPT_FLAG},
    {"vcpu", "vcpu.*", OPT_FLAG},
    {"interface", "net.*", OPT_FLAG},
    {"block", "block.*", OPT_FLAG},
    {"iothread", "iothread.*", OPT_FLAG},
    {"list-active", "only running ones", OPT_FLAG},
    {"list-inactive", "only those that do not run", OPT_FLAG},
    {"list-persistent", "only those with a definition", OPT_FLAG},
    {"list-transient", "only those without", OPT_FLAG},
    {"raw", "accepted: numbers always are", OPT_FLAG},
    {"enforce", "accepted: groups that do not exist are refused anyway", OPT_FLAG},
    {"nowait", "accepted: nothing here waits for another command", OPT_FLAG},
    {NULL}};
static const struct opt blklist_opts[] = {DOMAIN_OPT,
                                          {"inactive", "of the definition", OPT_FLAG},
                                          {"details", "with types", OPT_FLAG},
                                          {NULL}};
static const struct opt blk_opts[] = {DOMAIN_OPT,
                                      {"device", "target or source of a disk", 0},
                                      {"human", "accepted", OPT_FLAG},
                                      {NULL}};
static const struct opt blkinfo_opts[] = {DOMAIN_OPT,
                                          {"device", "target or source of a disk", 0},
                                          {"all", "every disk", OPT_FLAG},
                                          {"human", "accepted", OPT_FLAG},
                                          {NULL}};
static const struct opt iflist_opts[] = {
    DOMAIN_OPT, {"inactive", "of the definition", OPT_FLAG}, {NULL}};
static const struct opt ifstat_opts[] = {
    DOMAIN_OPT, {"interface", "its name, alias or hardware address", OPT_REQUIRED}, {NULL}};

static const struct verb verbs[] = {
    {"list", "the domains", true, do_list, list_opts, "hanok list --all"},
    {"dominfo", "one domain in short", true, do_dominfo, domain_opts, "hanok dominfo web"},
    {"domstate", "whether it runs, and why (not)", true, do_domstate, state_opts,
     "hanok domstate web --reason"},
    {"domid", "its number while it runs", true, do_domid, domain_opts, "hanok domid web"},
    {"domuuid", "its UUID", true, do_domuuid, domain_opts, "hanok domuuid web"},
    {"domname", "its name", true, do_domname, domain_opts, "hanok domname 3"},
    {"vncdisplay", "where its VNC display is", true, do_vncdisplay, domain_opts,
     "hanok vncdisplay web"},
    {"vcpuinfo", "its virtual CPUs and where they run", true, do_vcpuinfo, vcpuinfo_opts,
     "hanok vcpuinfo web"},
    {"vcpucount", "how many virtual CPUs it has", true, do_vcpucount, vcpucount_opts,
     "hanok vcpucount web"},
    {"dommemstat", "its memory, as the guest sees it", true, do_dommemstat, memstat_opts,
     "hanok dommemstat web"},
    {"domstats", "all its statistics", true, do_domstats, domstats_opts, "hanok domstats web"},
    {"domblklist", "its disks", true, do_domblklist, blklist_opts,
     "hanok domblklist web --details"},
    {"domblkinfo", "sizes of a disk", true, do_domblkinfo, blkinfo_opts,
     "hanok domblkinfo web vda"},
    {"domblkstat", "what a disk has done", true, do_domblkstat, blk_opts,
     "hanok domblkstat web vda"},
    {"domiflist", "its network cards", true, do_domiflist, iflist_opts, "hanok domiflist web"},
    {"domifstat", "what a network card has carried", true, do_domifstat, ifstat_opts,
     "hanok domifstat web net0"},
    {NULL}};
const struct verb_group info_verbs = {"Information", verbs};
