/* cmd_stats.c - query-stats in QEMU's shape, and the recorder of trace events.
 *
 * Everything is collected as struct native_stat, which says what each number is: the values make
 * query-stats, the descriptions query-stats-schemas.  Provider "hanok" is what this program counts
 * (targets vm, vcpu, virtqueue), "kvm" what the kernel does (vm, vcpu). */
#include "commands.h"

#include "base/areas.h"
#include "base/trace.h"
#include "bus/io_count.h"
#include "bus/pci.h"
#include "cpu/vcpu.h"
#include "virtio/stats.h"

enum target { TARGET_VM, TARGET_VCPU, TARGET_VIRTQUEUE, TARGETS };
static const char *const target_names[TARGETS] = {"vm", "vcpu", "virtqueue"};

/* ---- collecting ---- */

static void add_list(GPtrArray *out, char *name, uint32_t flags, int exponent,
                     const uint64_t *values, unsigned count)
{
    struct native_stat *s = g_new0(struct native_stat, 1);
    s->name = name;
    s->flags = flags;
    s->exponent = (int16_t)exponent;
    s->count = count;
    s->value = g_memdup2(values, count * sizeof(*values));
    g_ptr_array_add(out, s);
}

static void add(GPtrArray *out, const char *name, uint32_t flags, uint64_t value)
{
    add_list(out, g_strdup(name), flags, flags & STAT_SECONDS ? -9 : 0, &value, 1);
}

static const char *const exit_names[VCPU_EXIT_COUNT] = {
    [VCPU_EXIT_NONE] = "kick_exits",          [VCPU_EXIT_PIO] = "returned_pio_exits",
    [VCPU_EXIT_MMIO] = "returned_mmio_exits", [VCPU_EXIT_HLT] = "halt_exits",
    [VCPU_EXIT_SHUTDOWN] = "shutdown_exits",  [VCPU_EXIT_INTERNAL] = "internal_error_exits",
    [VCPU_EXIT_DEBUG] = "debug_exits"};
static const char *const event_names[VCPU_EVENTS] = {[VCPU_EV_APIC] = "apic_exits",
                                                     [VCPU_EV_HYPERCALL] = "hypercalls",
                                                     [VCPU_EV_CPUID] = "cpuid_exits",
                                                     [VCPU_EV_RDMSR] = "msr_read_exits",
                                                     [VCPU_EV_WRMSR] = "msr_write_exits",
                                                     [VCPU_EV_IRQ] = "irq_injections",
                                                     [VCPU_EV_IRQ_WINDOW] = "irq_window_exits",
                                                     [VCPU_EV_NMI] = "nmi_injections"};
static const char *const place_names[VCPU_PLACES] = {[VCPU_IN_VMM] = "vmm_time",
                                                     [VCPU_IN_GUEST] = "guest_time",
                                                     [VCPU_HALTED] = "halted_time",
                                                     [VCPU_PAUSED] = "paused_time"};

struct cpu_sums {
    struct vcpu_stats stats;
    uint64_t io[IO_COUNT_SLOTS], pio, mmio, other;
    uint64_t counters[VCPU_COUNTERS_MAX];
};

static void sum_up(struct vcpu *v, struct cpu_sums *s)
{
    struct vcpu_stats st;
    uint64_t counters[VCPU_COUNTERS_MAX];
    const struct io_counts *io = vcpu_io_counts(v);
    vcpu_stats(v, &st);
    vcpu_counters(v, counters);
    for (unsigned i = 0; i < VCPU_EXIT_COUNT; i++) {
        s->stats.exits[i] += st.exits[i];
    }
    for (unsigned i = 0; i < VCPU_EVENTS; i++) {
        s->stats.events[i] += st.events[i];
    }
    for (unsigned i = 0; i < VCPU_PLACES; i++) {
        s->stats.place_ns[i] += st.place_ns[i];
    }
    for (unsigned i = 0; i < VCPU_COUNTERS_MAX; i++) {
        s->counters[i] += counters[i];
    }
    for (unsigned i = 0; io && i < io_count_slots(); i++) {
        uint64_t n = __atomic_load_n(&io->accesses[i], __ATOMIC_RELAXED);
        s->io[i] += n;
        *(g_str_has_prefix(io_count_name(i), "pio.") ? &s->pio : &s->mmio) += n;
    }
}

/* What stops the guest: the accesses, the instructions that need help, halts and kicks.  (Accesses
 * under KVM return from run() and are counted by the dispatch like all others.) */
static uint64_t exits_of(const struct cpu_sums *s)
{
    static const enum vcpu_event stopping[] = {VCPU_EV_APIC,  VCPU_EV_HYPERCALL,
                                               VCPU_EV_CPUID, VCPU_EV_RDMSR,
                                               VCPU_EV_WRMSR, VCPU_EV_IRQ_WINDOW};
    uint64_t n = s->pio + s->mmio;
    for (unsigned i = 0; i < ARRAY_SIZE(stopping); i++) {
        n += s->stats.events[stopping[i]];
    }
    for (unsigned i = 0; i < VCPU_EXIT_COUNT; i++) {
        n += i == VCPU_EXIT_PIO || i == VCPU_EXIT_MMIO ? 0 : s->stats.exits[i];
    }
    return n;
}

static void add_accelerator(GPtrArray *out, struct cpu_set *cpus, const struct cpu_sums *s)
{
    const struct vcpu_counter *name = cpu_set_counters(cpus);
    for (unsigned n = 0; name && name[n].name; n++) {
        g_autofree char *text = g_strdup_printf("%s_%s", cpu_set_accel(cpus), name[n].name);
        uint32_t unit = g_str_has_suffix(text, "-ns")      ? STAT_SECONDS
                        : g_str_has_suffix(text, "-bytes") ? STAT_BYTES
                                                           : 0;
        add(out, g_strdelimit(text, "-", '_'), STAT_CUMULATIVE | unit, s->counters[n]);
    }
}

static GPtrArray *cpu_stats(struct cpu_set *cpus, const struct cpu_sums *s)
{
    GPtrArray *out = g_ptr_array_new_with_free_func(native_stat_free);
    add(out, "exits", STAT_CUMULATIVE, exits_of(s));
    add(out, "pio_exits", STAT_CUMULATIVE, s->pio);
    add(out, "mmio_exits", STAT_CUMULATIVE, s->mmio);
    for (unsigned i = 0; i < VCPU_EXIT_COUNT; i++) {
        if (i != VCPU_EXIT_PIO && i != VCPU_EXIT_MMIO) {
            add(out, exit_names[i], STAT_CUMULATIVE, s->stats.exits[i]);
        }
    }
    for (unsigned i = 0; i < VCPU_EVENTS; i++) {
        add(out, event_names[i], STAT_CUMULATIVE, s->stats.events[i]);
    }
    for (unsigned i = 0; i < VCPU_PLACES; i++) {
        add(out, place_names[i], STAT_CUMULATIVE | STAT_SECONDS, s->stats.place_ns[i]);
    }
    for (unsigned i = 0; i < io_count_slots(); i++) {
        add(out, io_count_name(i), STAT_CUMULATIVE, s->io[i]);
    }
    add_accelerator(out, cpus, s);
    return out;
}

static GPtrArray *queue_stats(struct device *d, unsigned index)
{
    struct virtio_queue_stats q;
    virtio_queue_stats(d, index, &q);
    GPtrArray *out = g_ptr_array_new_with_free_func(native_stat_free);
    add(out, "kicks", STAT_CUMULATIVE, q.kicks);
    add(out, "batches", STAT_CUMULATIVE, q.batches);
    add(out, "requests", STAT_CUMULATIVE, q.requests);
    add(out, "out_bytes", STAT_CUMULATIVE | STAT_BYTES, q.out_bytes);
    add(out, "in_bytes", STAT_CUMULATIVE | STAT_BYTES, q.in_bytes);
    add(out, "interrupts", STAT_CUMULATIVE, q.interrupts);
    add(out, "interrupts_suppressed", STAT_CUMULATIVE, q.interrupts_suppressed);
    add(out, "latency_total", STAT_CUMULATIVE | STAT_SECONDS, q.latency_ns);
    add_list(out, g_strdup("latency"), STAT_LOG_HIST | STAT_SECONDS, -9, q.latency,
             VIRTIO_LATENCY_BUCKETS);
    add(out, "inflight", STAT_INSTANT, q.inflight);
    add(out, "size", STAT_INSTANT, q.size);
    return out;
}

/* ---- every list there is, one after the other ---- */

typedef void stats_fn(void *opaque, const char *provider, enum target t, const char *path,
                      GPtrArray *list);

struct visit {
    stats_fn *fn;
    void *opaque;
};

static void visit_queues(struct device *d, void *opaque)
{
    const struct visit *v = opaque;
    for (unsigned i = 0; i < virtio_queue_count(d); i++) {
        g_autofree char *dev = qdev_path(d), *path = g_strdup_printf("%s/queue[%u]", dev, i);
        g_autoptr(GPtrArray) list = queue_stats(d, i);
        v->fn(v->opaque, "hanok", TARGET_VIRTQUEUE, path, list);
    }
}

static void visit_native(const struct visit *v, struct cpu_set *cpus, int index, const char *path)
{
    g_autoptr(GPtrArray) list = cpu_set_native_stats(cpus, index);
    if (list) {
        v->fn(v->opaque, cpu_set_accel(cpus), index < 0 ? TARGET_VM : TARGET_VCPU, path, list);
    }
}

static void visit_cpus(const struct visit *v, struct cpu_set *cpus, enum target t)
{
    struct cpu_sums all = {0};
    for (unsigned i = 0; i < cpu_set_count(cpus); i++) {
        struct cpu_sums one = {0};
        g_autofree char *path = g_strdup_printf("/machine/unattached/device[%u]", i);
        sum_up(cpu_set_get(cpus, i), t == TARGET_VM ? &all : &one);
        if (t == TARGET_VCPU) {
            g_autoptr(GPtrArray) list = cpu_stats(cpus, &one);
            add(list, "halted", STAT_INSTANT | STAT_BOOLEAN, vcpu_halted(cpu_set_get(cpus, i)));
            v->fn(v->opaque, "hanok", t, path, list);
            visit_native(v, cpus, (int)i, path);
        }
    }
    if (t == TARGET_VM) {
        g_autoptr(GPtrArray) list = cpu_stats(cpus, &all);
        v->fn(v->opaque, "hanok", t, NULL, list);
        visit_native(v, cpus, -1, NULL);
    }
}

static void visit_all(struct machine *m, enum target t, stats_fn *fn, void *opaque)
{
    struct visit v = {fn, opaque};
    if (t == TARGET_VIRTQUEUE) {
        foreach_device(m, visit_queues, &v);
    } else if (machine_cpus(m)) {
        visit_cpus(&v, machine_cpus(m), t);
    }
}

/* ---- query-stats ---- */

struct query {
    json_t *args, *result;
};

static bool in_strings(json_t *list, const char *text)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        if (!g_strcmp0(json_string_value(one), text)) {
            return true;
        }
    }
    return false;
}

/* False: the provider is not asked for.  *names: those that are, NULL = all. */
static bool provider_wanted(json_t *args, const char *provider, json_t **names)
{
    json_t *list = json_object_get(args, "providers"), *one;
    size_t i;
    *names = NULL;
    json_array_foreach(list, i, one)
    {
        if (!g_strcmp0(qmp_text(one, "provider"), provider)) {
            *names = json_object_get(one, "names");
            return true;
        }
    }
    return !list;
}

static json_t *value_of(const struct native_stat *s)
{
    uint32_t type = s->flags & STAT_TYPE;
    if (s->count == 1 && type != STAT_LINEAR_HIST && type != STAT_LOG_HIST) {
        return (s->flags & STAT_UNIT) == STAT_BOOLEAN ? json_boolean(s->value[0] != 0)
                                                      : json_integer((json_int_t)s->value[0]);
    }
    json_t *list = json_array();
    for (unsigned i = 0; i < s->count; i++) {
        json_array_append_new(list, json_integer((json_int_t)s->value[i]));
    }
    return list;
}

static void append_values(void *opaque, const char *provider, enum target t, const char *path,
                          GPtrArray *list)
{
    struct query *q = opaque;
    json_t *names, *vcpus = json_object_get(q->args, "vcpus"), *stats;
    if (!provider_wanted(q->args, provider, &names) ||
        (t == TARGET_VCPU && vcpus && !in_strings(vcpus, path))) {
        return;
    }
    stats = json_array();
    for (unsigned i = 0; i < list->len; i++) {
        const struct native_stat *s = list->pdata[i];
        if (!names || in_strings(names, s->name)) {
            json_array_append_new(stats,
                                  json_pack("{ssso}", "name", s->name, "value", value_of(s)));
        }
    }
    json_t *one = json_pack("{ssso}", "provider", provider, "stats", stats);
    if (path) {
        json_object_set_new(one, "qom-path", json_string(path));
    }
    json_array_append_new(q->result, one);
}

json_t *cmd_query_stats(struct qmp_call *call, json_t *args, GError **err)
{
    struct query q = {.args = args, .result = json_array()};
    for (enum target t = 0; t < TARGETS; t++) {
        if (!g_strcmp0(target_names[t], qmp_text(args, "target"))) {
            visit_all(call->m, t, append_values, &q);
        }
    }
    return q.result;
}

/* ---- query-stats-schemas ---- */

static json_t *schema_of(const struct native_stat *s)
{
    static const char *const types[] = {"cumulative", "instant", "peak", "linear-histogram",
                                        "log2-histogram"};
    static const char *const units[] = {NULL, "bytes", "seconds", "cycles", "boolean"};
    uint32_t type = s->flags & STAT_TYPE, unit = (s->flags & STAT_UNIT) >> 4;
    json_t *o = json_pack("{sssssi}", "name", s->name, "type",
                          types[MIN_OF(type, (uint32_t)ARRAY_SIZE(types) - 1)], "exponent",
                          (int)s->exponent);
    if (unit && unit < ARRAY_SIZE(units)) {
        json_object_set_new(o, "unit", json_string(units[unit]));
    }
    if (s->exponent) {
        json_object_set_new(o, "base", json_integer((s->flags & STAT_BASE) == STAT_POW2 ? 2 : 10));
    }
    if (type == STAT_LINEAR_HIST) {
        json_object_set_new(o, "bucket-size", json_integer(s->bucket_size));
    }
    return o;
}

/* One entry for a provider and target, whichever of their lists came first. */
static void append_schema(void *opaque, const char *provider, enum target t, const char *path,
                          GPtrArray *list)
{
    struct query *q = opaque;
    const char *wanted = qmp_text(q->args, "provider");
    size_t i;
    json_t *one;
    if (wanted && strcmp(wanted, provider)) {
        return;
    }
    json_array_foreach(q->result, i, one)
    {
        if (!g_strcmp0(qmp_text(one, "provider"), provider) &&
            !g_strcmp0(qmp_text(one, "target"), target_names[t])) {
            return;
        }
    }
    json_t *values = json_array();
    for (unsigned n = 0; n < list->len; n++) {
        json_array_append_new(values, schema_of(list->pdata[n]));
    }
    json_array_append_new(q->result, json_pack("{ssssso}", "provider", provider, "target",
                                               target_names[t], "stats", values));
}

json_t *cmd_query_stats_schemas(struct qmp_call *call, json_t *args, GError **err)
{
    struct query q = {.args = args, .result = json_array()};
    for (enum target t = 0; t < TARGETS; t++) {
        visit_all(call->m, t, append_schema, &q);
    }
    return q.result;
}

/* ---- what memory is for ---- */

static void append_area(void *opaque, const char *kind, const void *at, size_t bytes)
{
    json_array_append_new(opaque, json_pack("{sssIsI}", "kind", kind, "address",
                                            (json_int_t)(uintptr_t)at, "size", (json_int_t)bytes));
}

json_t *cmd_query_memory_areas(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *list = json_array();
    memory_areas(append_area, list);
    return list;
}

/* ---- the recorder ---- */

json_t *cmd_trace_start(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *list = json_object_get(args, "events"), *one;
    g_autofree const char **patterns = g_new0(const char *, json_array_size(list) + 1);
    size_t i;
    json_array_foreach(list, i, one)
    {
        patterns[i] = json_string_value(one);
    }
    int n = trace_record_start(patterns);
    return n ? json_pack("{si}", "events", n)
             : qmp_fail(err, "No trace event has such a name; -trace help lists them");
}

json_t *cmd_trace_read(struct qmp_call *call, json_t *args, GError **err)
{
    int64_t max = qmp_number(args, "max", 4096);
    if (max < 1 || max > 16384) {
        return qmp_fail(err, "'max' is a number from 1 to 16384");
    }
    g_autofree struct trace_entry *e = g_new(struct trace_entry, (size_t)max);
    uint64_t lost;
    unsigned n = trace_record_read(e, (unsigned)max, &lost);
    json_t *list = json_array();
    for (unsigned i = 0; i < n; i++) {
        json_array_append_new(list, json_pack("{sIsissssss}", "time", (json_int_t)e[i].ns, "tid",
                                              e[i].tid, "thread", e[i].thread, "event",
                                              trace_name(e[i].event), "text", e[i].text));
    }
    return json_pack("{sosI}", "events", list, "lost", (json_int_t)lost);
}

json_t *cmd_trace_stop(struct qmp_call *call, json_t *args, GError **err)
{
    trace_record_stop();
    return qmp_ok();
}
