/* verb_tune.c - processors and memory: where and how much. */
#include "cmd.h"
#include "scope.h"
#include "stats.h"

#include "base/util.h"
#include "manager/threads.h"

#include <stdio.h>
#include <string.h>

enum { AGENT_MS = 10000 };

/* ---- pins ---- */

struct pin_change {
    int vcpu; /* -1: the emulator */
    const char *cpuset;
};

static bool set_pin(struct domain *d, void *opaque, GError **err)
{
    const struct pin_change *p = opaque;
    struct pin *pin = NULL;
    d->cputune.node.present = true;
    if (p->vcpu < 0) {
        pin = &d->cputune.emulatorpin;
    }
    for (unsigned i = 0; !pin && i < d->cputune.vcpupins->len; i++) {
        struct pin *one = d->cputune.vcpupins->pdata[i];
        pin = one->number.v == p->vcpu ? one : NULL;
    }
    if (!pin) {
        pin = g_new0(struct pin, 1);
        xml_num_set(&pin->number, p->vcpu);
        g_ptr_array_add(d->cputune.vcpupins, pin);
    }
    pin->node.present = true;
    g_free(pin->cpuset);
    pin->cpuset = g_strdup(p->cpuset);
    return true;
}

static bool pin_live(struct vm *vm, const struct pin_change *p, GError **err)
{
    QMP_AUTO q = vm_qmp(vm, err);
    if (!q) {
        return false;
    }
    if (p->vcpu < 0) {
        return emulator_pin(vm->pid, q, p->cpuset, err);
    }
    g_autoptr(GPtrArray) list = vcpu_threads(q, err);
    for (unsigned i = 0; list && i < list->len; i++) {
        const struct vcpu_thread *t = list->pdata[i];
        if (t->index == p->vcpu) {
            return thread_pin(t->tid, p->cpuset, err);
        }
    }
    return list &&
           error_set(err, HANOK_ERROR_NOT_FOUND, "domain '%s' has no vcpu %d", vm->name, p->vcpu);
}

static int apply_pin(struct cmd *c, struct vm *vm, struct pin_change *p)
{
    g_autoptr(GError) err = NULL;
    struct scope s;
    unsigned long bits[64];
    if (!scope_read(c, vm, &s)) {
        return 1;
    }
    if (!cpuset_parse(p->cpuset, MIN_OF(host_cpus(), 4096u), bits, &err) ||
        (s.live && (!pin_live(vm, p, &err) || !scope_change_live(vm, set_pin, p, &err))) ||
        (s.config && !scope_change_config(vm, set_pin, p, &err))) {
        return cmd_error(&err);
    }
    return 0;
}

static json_t *pin_rows(struct vm *vm, const struct domain *d, bool live, GError **err)
{
    json_t *rows = json_array();
    QMP_AUTO q = live ? vm_qmp(vm, err) : NULL;
    g_autoptr(GPtrArray) list = q ? vcpu_threads(q, err) : NULL;
    unsigned n = live ? (list ? list->len : 0) : domain_vcpus_max(d);
    if (live && !list) {
        json_decref(rows);
        return NULL;
    }
    for (unsigned i = 0; i < n; i++) {
        const struct vcpu_thread *t = live ? list->pdata[i] : NULL;
        g_autofree char *set = t ? thread_affinity(t->tid) : g_strdup(stats_pin(d, i));
        json_array_append_new(rows,
                              json_pack("{siss*}", "vcpu", t ? t->index : (int)i, "affinity", set));
    }
    return rows;
}

static int do_vcpupin(struct cmd *c)
{
    static const struct column columns[] = {{"vcpu", "VCPU"}, {"affinity", "CPU Affinity"}, {NULL}};
    g_autoptr(GError) err = NULL;
    int64_t vcpu = -1;
    VM_AUTO vm = cmd_vm(c);
    if (!vm || !cmd_number(c, "vcpu", &vcpu)) {
        return 1;
    }
    bool live = vm->active && !cmd_flag(c, "config");
    DOMAIN_AUTO d = live ? vm_live(vm, &err) : vm_definition(vm, &err);
    if (!d) {
        return cmd_error(&err);
    }
    if (cmd_str(c, "vcpu") && (vcpu < 0 || vcpu >= domain_vcpus_max(d))) {
        return cmd_fail("domain '%s' has vcpus 0 to %u", vm->name, domain_vcpus_max(d) - 1);
    }
    if (cmd_str(c, "cpulist")) {
        struct pin_change p = {(int)vcpu, cmd_str(c, "cpulist")};
        return cmd_str(c, "vcpu") ? apply_pin(c, vm, &p)
                                  : cmd_fail("vcpupin needs --vcpu to pin one");
    }
    json_t *rows = pin_rows(vm, d, live, &err), *row;
    size_t i;
    if (!rows) {
        return cmd_error(&err);
    }
    json_t *wanted = json_array();
    json_array_foreach(rows, i, row)
    {
        if (!cmd_str(c, "vcpu") || json_integer_value(json_object_get(row, "vcpu")) == vcpu) {
            json_array_append(wanted, row);
        }
    }
    json_decref(rows);
    return cmd_table(c, columns, wanted);
}

static int do_emulatorpin(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    if (cmd_str(c, "cpulist")) {
        struct pin_change p = {-1, cmd_str(c, "cpulist")};
        return apply_pin(c, vm, &p);
    }
    DOMAIN_AUTO d = vm_domain(vm, &err);
    if (!d) {
        return cmd_error(&err);
    }
    const char *defined =
        d->cputune.emulatorpin.cpuset ? d->cputune.emulatorpin.cpuset : stats_pin(d, UINT_MAX);
    g_autofree char *set = vm->active ? thread_affinity(vm->pid) : g_strdup(defined);
    if (c->json) {
        return cmd_json(json_pack("{ss*}", "affinity", set));
    }
    printf("emulator: CPU Affinity\n----------------------------------\n       *: %s\n",
           set ? set : "-");
    return 0;
}

/* ---- how many ---- */

static bool set_vcpus(struct domain *d, void *opaque, GError **err)
{
    return domain_set_vcpus(d, *(int64_t *)opaque, false, err);
}

static bool set_hot_vcpus(struct domain *d, void *opaque, GError **err)
{
    return domain_set_vcpus(d, *(int64_t *)opaque, true, err);
}

static bool set_max_vcpus(struct domain *d, void *opaque, GError **err)
{
    int64_t n = *(int64_t *)opaque;
    unsigned now = domain_vcpus(d);
    if (d->cpu.topology.node.present) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' has a <topology>; change both with 'hanok edit %s'", d->name,
                         d->name);
    }
    xml_num_set(&d->vcpu.count, n);
    while (d->vcpus.vcpus->len > n && n > 0) {
        g_ptr_array_remove_index(d->vcpus.vcpus, d->vcpus.vcpus->len - 1);
    }
    d->vcpu.current = (struct xml_num){.set = now < n, .v = MIN_OF(now, n)};
    return true;
}

struct live_vcpus {
    struct vm *vm;
    int64_t n;
    GError *why; /* how many there are is written down whether it worked or not */
};

static bool set_live_vcpus(struct domain *d, void *opaque, GError **err)
{
    struct live_vcpus *l = opaque;
    if (l->n < 1 || l->n > domain_vcpus_max(d)) {
        return set_vcpus(d, &l->n, err); /* says what is wrong */
    }
    vm_set_vcpus(l->vm, d, (unsigned)l->n, &l->why);
    return true;
}

static bool change_live_vcpus(struct vm *vm, int64_t n, GError **err)
{
    struct live_vcpus l = {vm, n, NULL};
    bool ok = scope_change_live(vm, set_live_vcpus, &l, err);
    if (ok && l.why) {
        g_propagate_error(err, l.why);
        return false;
    }
    g_clear_error(&l.why);
    return ok;
}

/* How many have a lower number: agents list them in no order. */
static int64_t rank_of(const json_t *list, const json_t *vcpu)
{
    json_int_t own = json_integer_value(json_object_get(vcpu, "logical-id"));
    int64_t below = 0;
    size_t i;
    json_t *other;
    json_array_foreach(list, i, other)
    {
        below += json_integer_value(json_object_get(other, "logical-id")) < own;
    }
    return below;
}

/* Puts processors on- or offline inside the guest, by its agent. */
static bool set_guest_vcpus(struct vm *vm, int64_t n, GError **err)
{
    g_autofree char *path = agent_socket(vm, err);
    json_auto_t *list = NULL;
    json_t *wanted = json_array(), *one;
    size_t i;
    bool ok = path && agent_call(path, "guest-get-vcpus", NULL, AGENT_MS, &list, err);
    if (ok && (n < 1 || (size_t)n > json_array_size(list))) {
        ok = error_set(err, HANOK_ERROR_INVALID, "the guest has %zu vcpus", json_array_size(list));
    }
    json_array_foreach(list, i, one)
    {
        bool may_go = json_is_true(json_object_get(one, "can-offline"));
        bool online = rank_of(list, one) < n || !may_go;
        json_array_append_new(wanted,
                              json_pack("{sOsb}", "logical-id", json_object_get(one, "logical-id"),
                                        "online", online));
    }
    if (!ok) {
        json_decref(wanted);
        return false;
    }
    return agent_call(path, "guest-set-vcpus", json_pack("{so}", "vcpus", wanted), AGENT_MS, NULL,
                      err);
}

static int do_setvcpus(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    int64_t n = 0;
    struct scope s;
    VM_AUTO vm = cmd_vm(c);
    if (!vm || !cmd_number(c, "count", &n) || !scope_read(c, vm, &s)) {
        return 1;
    }
    if (cmd_flag(c, "guest")) {
        return vm_need_active(vm, &err) && set_guest_vcpus(vm, n, &err) ? 0 : cmd_error(&err);
    }
    if (cmd_flag(c, "maximum")) {
        if (s.live) {
            return cmd_fail("the maximum is changed in the definition: add --config");
        }
        return scope_change_config(vm, set_max_vcpus, &n, &err) ? 0 : cmd_error(&err);
    }
    change_fn *change = cmd_flag(c, "hotpluggable") ? set_hot_vcpus : set_vcpus;
    if (cmd_flag(c, "hotpluggable") && !s.config) {
        return cmd_fail("what is plugged into a running machine can go anyway; --hotpluggable is "
                        "for --config");
    }
    if ((s.live && !change_live_vcpus(vm, n, &err)) ||
        (s.config && !scope_change_config(vm, change, &n, &err))) {
        return cmd_error(&err);
    }
    return 0;
}

/* ---- memory ---- */

static bool set_current(struct domain *d, void *opaque, GError **err)
{
    int64_t kib = *(int64_t *)opaque;
    if (kib < 1024 || kib > domain_memory_kib(d)) {
        return error_set(err, HANOK_ERROR_INVALID, "'%s' can have 1024 to %" G_GINT64_FORMAT " KiB",
                         d->name, domain_memory_kib(d));
    }
    xml_num_set(&d->current_memory.value, kib);
    return true;
}

static bool set_maximum(struct domain *d, void *opaque, GError **err)
{
    int64_t kib = *(int64_t *)opaque;
    if (kib < 1024) {
        return error_set(err, HANOK_ERROR_INVALID, "a machine has at least 1024 KiB");
    }
    kib = ALIGN_UP(kib, (int64_t)1024);
    xml_num_set(&d->memory.value, kib);
    xml_num_set(&d->current_memory.value, MIN_OF(domain_current_memory_kib(d), kib));
    return true;
}

static bool balloon_to(struct vm *vm, int64_t kib, GError **err)
{
    QMP_AUTO q = vm_qmp(vm, err);
    return q &&
           qmp_call(q, "balloon", json_pack("{sI}", "value", (json_int_t)kib * 1024), NULL, err);
}

static int do_setmem(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    int64_t kib = 0;
    struct scope s;
    VM_AUTO vm = cmd_vm(c);
    if (!vm || !cmd_kib(c, "size", &kib) || !scope_read(c, vm, &s)) {
        return 1;
    }
    if ((s.live &&
         (!scope_change_live(vm, set_current, &kib, &err) || !balloon_to(vm, kib, &err))) ||
        (s.config && !scope_change_config(vm, set_current, &kib, &err))) {
        return cmd_error(&err);
    }
    return 0;
}

static int do_setmaxmem(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    int64_t kib = 0;
    VM_AUTO vm = cmd_vm(c);
    if (!vm || !cmd_kib(c, "size", &kib)) {
        return 1;
    }
    if (vm->active && !cmd_flag(c, "config")) {
        return cmd_fail(
            "the maximum of a running machine cannot change; --config changes its definition");
    }
    return scope_change_config(vm, set_maximum, &kib, &err) ? 0 : cmd_error(&err);
}

static const struct opt vcpupin_opts[] = {DOMAIN_OPT,
                                          {"vcpu", "its number", 0},
                                          {"cpulist", "host CPUs, such as 0-1,^1", 0},
                                          SCOPE_OPTS,
                                          {NULL}};
static const struct opt emulatorpin_opts[] = {
    DOMAIN_OPT, {"cpulist", "host CPUs", 0}, SCOPE_OPTS, {NULL}};
static const struct opt setvcpus_opts[] = {
    DOMAIN_OPT,
    {"count", "how many", OPT_REQUIRED},
    {"maximum", "the maximum, in the definition", OPT_FLAG},
    {"guest", "on- and offline, by the guest's agent", OPT_FLAG},
    {"hotpluggable", "in the definition: all but the first can be taken out while it runs",
     OPT_FLAG},
    SCOPE_OPTS,
    {NULL}};
static const struct opt setmem_opts[] = {
    DOMAIN_OPT, {"size", "KiB, or with a unit", OPT_REQUIRED}, SCOPE_OPTS, {NULL}};

static const struct verb verbs[] = {{"vcpupin", "show or set where virtual CPUs run", true,
                                     do_vcpupin, vcpupin_opts, "hanok vcpupin web 0 1"},
                                    {"emulatorpin", "show or set where the other threads run", true,
                                     do_emulatorpin, emulatorpin_opts, "hanok emulatorpin web 0"},
                                    {"setvcpus", "change how many virtual CPUs it has", false,
                                     do_setvcpus, setvcpus_opts, "hanok setvcpus web 2 --live"},
                                    {"setmem", "change how much memory it may use now", false,
                                     do_setmem, setmem_opts, "hanok setmem web 512M"},
                                    {"setmaxmem", "change how much memory it has", false,
                                     do_setmaxmem, setmem_opts, "hanok setmaxmem web 2G --config"},
                                    {NULL}};
const struct verb_group tune_verbs = {"Processors and memory", verbs};
