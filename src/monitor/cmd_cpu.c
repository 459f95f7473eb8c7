/* cmd_cpu.c - CPUs: which exist, which could, and what models offer. */
#include "commands.h"

#include "cpu/vcpu.h"

static json_t *cpu_props(const struct cpu_topology *t, unsigned index)
{
    struct cpu_place p = cpu_place_of(t, index);
    json_t *o = json_pack("{sisisi}", "thread-id", (int)p.thread, "core-id", (int)p.core,
                          "socket-id", (int)p.socket);
    if (t->dies > 1) {
        json_object_set_new(o, "die-id", json_integer(p.die));
    }
    return o;
}

json_t *cmd_query_cpus_fast(struct qmp_call *call, json_t *args, GError **err)
{
    struct cpu_set *cpus = machine_cpus(call->m);
    json_t *list = json_array();
    g_autofree char *type = machine_cpu_type(call->m);
    for (unsigned i = 0; cpus && i < cpu_set_count(cpus); i++) {
        struct vcpu *v = cpu_set_get(cpus, i);
        unsigned place = vcpu_index(v);
        g_autofree char *path = machine_cpu_path(call->m, place);
        json_array_append_new(list,
                              json_pack("{sisisssssoss}", "cpu-index", (int)place, "thread-id",
                                        vcpu_tid(v), "qom-path", path, "target", "x86_64", "props",
                                        cpu_props(&machine_config(call->m)->topology, place),
                                        "qom-type", type));
    }
    return list;
}

static json_t *counters_of(struct cpu_set *cpus, unsigned index)
{
    const struct vcpu_counter *name = cpu_set_counters(cpus);
    uint64_t value[VCPU_COUNTERS_MAX];
    json_t *o = json_object();
    vcpu_counters(cpu_set_get(cpus, index), value);
    for (unsigned n = 0; name && name[n].name; n++) {
        json_object_set_new(o, name[n].name, json_integer((json_int_t)value[n]));
    }
    return o;
}

json_t *cmd_query_jit(struct qmp_call *call, json_t *args, GError **err)
{
    struct cpu_set *cpus = machine_cpus(call->m);
    json_t *list = json_array();
    for (unsigned i = 0; cpus && i < cpu_set_count(cpus); i++) {
        json_array_append_new(list, json_pack("{siso}", "cpu-index",
                                              (int)vcpu_index(cpu_set_get(cpus, i)), "counters",
                                              counters_of(cpus, i)));
    }
    return json_pack("{ssso}", "accelerator", accel_name(call->m), "cpus", list);
}

json_t *cmd_query_hotpluggable_cpus(struct qmp_call *call, json_t *args, GError **err)
{
    const struct vm_config *c = machine_config(call->m);
    json_t *list = json_array();
    if (!machine_cpus(call->m)) {
        json_decref(list);
        return qmp_fail(err, "This machine has no CPUs");
    }
    g_autofree char *type = machine_cpu_type(call->m);
    for (unsigned i = c->topology.maxcpus; i-- > 0;) {
        g_autofree char *path = machine_cpu_path(call->m, i);
        json_t *o = json_pack("{sssiso}", "type", type, "vcpus-count", 1, "props",
                              cpu_props(&c->topology, i));
        if (path) {
            json_object_set_new(o, "qom-path", json_string(path));
        }
        json_array_append_new(list, o);
    }
    return list;
}

/* ---- models ---- */

static const char *accel_for_models(struct machine *m)
{
    const char *accels = machine_config(m)->accels;
    if (machine_cpus(m)) {
        return accel_name(m);
    }
    struct accel_info info = {0};
    accel_probe_kvm(&info);
    g_free(info.why);
    return info.usable && accels && g_str_has_prefix(accels, "kvm") ? "kvm" : "jit";
}

/* Features the model has and the accelerator cannot give. */
static json_t *missing_features(const struct cpu_model *m, const uint32_t *allowed)
{
    json_t *list = json_array();
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            const char *name = cpuid_bit_name(w, bit);
            if (name && (m->feat[w] & ~allowed[w] & BIT(bit))) {
                json_array_append_new(list, json_string(name));
            }
        }
    }
    return list;
}

json_t *cmd_query_cpu_definitions(struct qmp_call *call, json_t *args, GError **err)
{
    uint32_t allowed[FEAT_WORD_COUNT] = {0}, all[FEAT_WORD_COUNT];
    memset(all, 0xff, sizeof(all));
    accel_features(accel_for_models(call->m), allowed);
    json_t *list = json_array();
    for (const char *const *n = cpu_model_names(); *n; n++) {
        bool whatever = !strcmp(*n, "max") || !strcmp(*n, "host");
        struct cpu_model *m = whatever ? NULL : cpu_model_parse(*n, all, NULL);
        g_autofree char *type = g_strdup_printf("%s-x86_64-cpu", *n);
        json_array_append_new(list, json_pack("{sssssbsbsbso}", "name", *n, "typename", type,
                                              "static", 0, "migration-safe", !whatever,
                                              "deprecated", 0, "unavailable-features",
                                              m ? missing_features(m, allowed) : json_array()));
        cpu_model_free(m);
    }
    return list;
}

/* "NAME,feature=on,..." from a CpuModelInfo; properties that are no features are left out. */
static char *model_spec(json_t *model)
{
    GString *spec = g_string_new(qmp_text(model, "name"));
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(model, "props"), key, v)
    {
        enum cpuid_word w;
        unsigned bit;
        if (json_is_boolean(v) && cpuid_bit_find(key, &w, &bit)) {
            g_string_append_printf(spec, ",%s=%s", key, json_is_true(v) ? "on" : "off");
        }
    }
    return g_string_free(spec, FALSE);
}

json_t *cmd_query_cpu_model_expansion(struct qmp_call *call, json_t *args, GError **err)
{
    json_t *model = json_object_get(args, "model");
    const char *name = qmp_text(model, "name"), *accel = accel_for_models(call->m);
    uint32_t allowed[FEAT_WORD_COUNT] = {0};
    if (!strcmp(name, "host") && strcmp(accel, "kvm")) {
        return qmp_fail(err, "The CPU model 'host' is KVM's, and KVM is not in use");
    }
    g_autofree char *spec = model_spec(model);
    accel_features(accel, allowed);
    /* "base" is what an earlier static expansion answered: features alone, on nothing */
    if (!strcmp(name, "base")) {
        return json_pack("{sO}", "model", model);
    }
    struct cpu_model *m = cpu_model_parse(spec, allowed, err);
    if (!m) {
        return NULL;
    }
    json_t *props = json_object();
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            const char *feature = cpuid_bit_name(w, bit);
            if (feature) {
                bool on = m->feat[w] & allowed[w] & BIT(bit);
                json_object_set_new(props, feature, json_boolean(on));
            }
        }
    }
    json_object_set_new(props, "vendor", json_string(m->vendor));
    json_object_set_new(props, "family", json_integer(m->family));
    json_object_set_new(props, "model", json_integer(m->model));
    json_object_set_new(props, "stepping", json_integer(m->stepping));
    bool full = !strcmp(qmp_text(args, "type"), "full");
    json_t *result = json_pack("{s{ssso}}", "model", "name", full ? name : "base", "props", props);
    cpu_model_free(m);
    return result;
}
