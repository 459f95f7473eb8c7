/* hotplug_cpu.c - processors that come and go: -device and device_add MODEL-x86_64-cpu.
 *
 *   device_add --> cpu_set_plug, then the guest is told (devices/cpu_hotplug.h)
 *   device_del --> the guest is asked; when it ejects, machine_grant_cpu_ejects() in the main
 * thread
 *
 * Each such processor is a device of the board with the user's id; those of -smp are not. */
#include "registry.h"

#include "base/error.h"
#include "base/util.h"
#include "cpu/vcpu.h"
#include "devices/cpu_hotplug.h"

#include <jansson.h>

struct cpu_device {
    struct device dev; /* first */
    unsigned place;
};

static void cpu_device_destroy(struct device *d)
{
    device_remove(d->list, d);
    g_free(container_of(d, struct cpu_device, dev));
}

static const struct device_ops cpu_device_ops = {.type = "cpu", .destroy = cpu_device_destroy};

unsigned machine_cpus_max(const struct machine *m)
{
    const struct cpu_topology *t = &m->cfg->topology;

    return MAX_OF(MAX_OF(t->cpus, t->maxcpus), 1u);
}

char *machine_cpu_type(const struct machine *m)
{
    const char *spec = m->cfg->cpu ? m->cfg->cpu : "qemu64";
    g_autofree char *model = g_strndup(spec, strcspn(spec, ","));

    return g_strconcat(model, CPU_DEVICE_SUFFIX, NULL);
}

static bool there(const struct machine *m, unsigned place)
{
    return m->cpus ? cpu_set_find(m->cpus, place) != NULL
                   : place < MAX_OF(m->cfg->topology.cpus, 1u);
}

static struct cpu_device *device_at(struct machine *m, unsigned place)
{
    for (struct device *d = m->devices.first; d; d = d->next) {
        struct cpu_device *c = container_of(d, struct cpu_device, dev);
        if (d->ops == &cpu_device_ops && c->place == place)
            return c;
    }
    return NULL;
}

char *machine_cpu_path(struct machine *m, unsigned place)
{
    struct cpu_device *c = device_at(m, place);

    if (!there(m, place))
        return NULL;
    return c && c->dev.id ? g_strconcat("/machine/peripheral/", c->dev.id, NULL)
                          : g_strdup_printf("/machine/unattached/device[%u]", place);
}

/* ---- the board's part ---- */

static void look_at_cpus(void *opaque)
{
    machine_request_ejects(opaque);
}

void machine_cpu_hotplug_build(struct machine *m)
{
    unsigned n = machine_cpus_max(m);
    g_autofree uint32_t *apic_id = g_new(uint32_t, n);
    struct cpu_hotplug_config cfg = {
        .cpus_max = n, .apic_id = apic_id, .pm = m->pm, .look = look_at_cpus, .opaque = m};

    for (unsigned i = 0; i < n; i++)
        apic_id[i] = cpu_apic_id(&m->cfg->topology, i);
    m->cpu_hotplug = cpu_hotplug_new(&m->devices, m->pio, &cfg);
    for (unsigned i = 0; i < n; i++)
        cpu_hotplug_set(m->cpu_hotplug, i, there(m, i), false);
}

unsigned machine_cpus_there(const struct machine *m, bool *out)
{
    unsigned n = 0;

    for (unsigned i = 0; i < machine_cpus_max(m); i++) {
        bool yes = there(m, i);
        n += yes;
        if (out)
            out[i] = yes;
    }
    return n;
}

/* ---- coming ---- */

const struct prop_desc props_cpu[] = {
    {"socket-id", PROP_U32, NULL, "place, as query-hotpluggable-cpus tells it"},
    {"die-id", PROP_U32, "0", "likewise"},
    {"core-id", PROP_U32, NULL, "likewise"},
    {"thread-id", PROP_U32, NULL, "likewise"},
    {"node-id", PROP_U32, NULL, "NUMA node; accepted"},
    {NULL, PROP_STR, NULL, NULL},
};

static bool place_read(struct machine *m, struct props *p, unsigned *out, GError **err)
{
    static const char *const needed[] = {"socket-id", "core-id", "thread-id"};
    struct cpu_place want = {0};

    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (!props_has(p, needed[i]))
            return error_set(err, HANOK_ERROR_INVALID,
                             "CPU %s is not set; query-hotpluggable-cpus lists the places",
                             needed[i]);
    if (!props_get_u32(p, "socket-id", &want.socket, err) ||
        !props_get_u32(p, "die-id", &want.die, err) ||
        !props_get_u32(p, "core-id", &want.core, err) ||
        !props_get_u32(p, "thread-id", &want.thread, err))
        return false;
    for (unsigned i = 0; i < machine_cpus_max(m); i++) {
        struct cpu_place have = cpu_place_of(&m->cfg->topology, i);
        if (memcmp(&have, &want, sizeof(have)) == 0) {
            *out = i;
            return true;
        }
    }
    return error_set(err, HANOK_ERROR_INVALID,
                     "this machine has no place for a CPU at socket %u, die %u, core %u, thread %u "
                     "(-smp maxcpus= makes more)",
                     want.socket, want.die, want.core, want.thread);
}

bool create_cpu(struct machine *m, const struct device_class *cls, struct props *p, GError **err)
{
    g_autofree char *type = machine_cpu_type(m);
    const char *driver = "", *id = NULL;
    unsigned place = 0;
    uint32_t node;

    if (!props_get_str(p, "driver", &driver, err) || !props_get_str(p, "id", &id, err) ||
        (props_has(p, "node-id") && !props_get_u32(p, "node-id", &node, err)))
        return false;
    if (strcmp(driver, type) != 0)
        return error_set(err, HANOK_ERROR_INVALID, "the processors of this machine are '%s'", type);
    if (!m->cpus)
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "this machine has no processors");
    if (!place_read(m, p, &place, err))
        return false;
    if (there(m, place))
        return error_set(err, HANOK_ERROR_BUSY, "CPU %u is there already", place);
    if (!cpu_set_plug(m->cpus, place, err))
        return false;
    struct cpu_device *c = g_new0(struct cpu_device, 1);
    g_autofree char *path = g_strdup_printf("cpu-%u", place);
    c->place = place;
    device_add(&m->devices, &c->dev, &cpu_device_ops, id, path);
    pthread_mutex_lock(&m->devices.lock);
    bool before = m->state == RUN_PRELAUNCH;
    cpu_hotplug_set(m->cpu_hotplug, place, true, m->resets > 0 && !before);
    pthread_mutex_unlock(&m->devices.lock);
    return !before || !m->resets || machine_make_again(m, err);
}

/* ---- going ---- */

bool machine_cpu_request_removal(struct machine *m, struct device *d)
{
    if (d->ops != &cpu_device_ops)
        return false;
    pthread_mutex_lock(&m->devices.lock);
    cpu_hotplug_request_removal(m->cpu_hotplug, container_of(d, struct cpu_device, dev)->place);
    pthread_mutex_unlock(&m->devices.lock);
    return true;
}

static json_t *ospm_info(struct machine *m, unsigned cpu, const struct cpu_hotplug_report *r)
{
    struct cpu_device *c = device_at(m, cpu);
    g_autofree char *slot = g_strdup_printf("%u", cpu);
    json_t *o = json_pack("{s:s, s:s, s:I, s:I}", "slot", slot, "slot-type", "CPU", "source",
                          (json_int_t)r->event, "status", (json_int_t)r->status);

    if (c && c->dev.id)
        json_object_set_new(o, "device", json_string(c->dev.id));
    return o;
}

json_t *machine_ospm_status(struct machine *m)
{
    json_t *list = json_array();

    for (unsigned i = 0; m->cpu_hotplug && i < machine_cpus_max(m); i++) {
        pthread_mutex_lock(&m->devices.lock);
        struct cpu_hotplug_report r = cpu_hotplug_report(m->cpu_hotplug, i);
        pthread_mutex_unlock(&m->devices.lock);
        json_array_append_new(list, ospm_info(m, i, &r));
    }
    return list;
}

void machine_grant_cpu_ejects(struct machine *m)
{
    for (unsigned i = 0; m->cpu_hotplug && i < machine_cpus_max(m); i++) {
        struct cpu_device *c = device_at(m, i);
        pthread_mutex_lock(&m->devices.lock);
        struct cpu_hotplug_report r = cpu_hotplug_report(m->cpu_hotplug, i);
        bool go = cpu_hotplug_ejecting(m->cpu_hotplug, i);
        if (go)
            cpu_hotplug_set(m->cpu_hotplug, i, !c, false); /* those of -smp stay */
        pthread_mutex_unlock(&m->devices.lock);
        if (r.fresh)
            machine_emit(m, "ACPI_DEVICE_OST", json_pack("{s:o}", "info", ospm_info(m, i, &r)));
        if (go && c) {
            cpu_set_unplug(m->cpus, i);
            machine_device_destroy(m, &c->dev);
        }
    }
}
