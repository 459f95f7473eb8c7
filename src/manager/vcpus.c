/* vcpus.c - processors plugged into a running machine and taken out of it. */
#include "manager/threads.h"
#include "manager/vm.h"
#include "place.h"

#include "base/util.h"

#include <string.h>

enum { UNPLUG_WAIT_MS = 20000 };
static const char peripheral[] = "/machine/peripheral/";

/* The machine's places for processors, lowest first; NULL: *err. */
static json_t *places(struct qmp *q, GError **err)
{
    json_auto_t *ret = NULL;
    if (!qmp_call(q, "query-hotpluggable-cpus", NULL, &ret, err)) {
        return NULL;
    }
    json_t *list = json_array();
    for (size_t i = json_array_size(ret); i > 0; i--) {
        json_array_append(list, json_array_get(ret, i - 1));
    }
    return list;
}

static const char *path_of(const json_t *place)
{
    return json_string_value(json_object_get(place, "qom-path"));
}

static bool can_go(const json_t *place)
{
    const char *path = path_of(place);
    return path && g_str_has_prefix(path, peripheral);
}

static bool plug(struct qmp *q, const json_t *place, unsigned number, GError **err)
{
    g_autofree char *id = g_strdup_printf("vcpu%u", number);
    json_t *a = json_pack("{sOss}", "driver", json_object_get(place, "type"), "id", id);
    json_object_update(a, json_object_get(place, "props"));
    return qmp_call(q, "device_add", a, NULL, err);
}

static bool unplug(struct qmp *q, const char *id, GError **err)
{
    if (!qmp_call(q, "device_del", json_pack("{ss}", "id", id), NULL, err)) {
        return false;
    }
    return qmp_wait_event(q, "DEVICE_DELETED", id, UNPLUG_WAIT_MS) ||
           error_set(err, HANOK_ERROR_BUSY,
                     "the guest does not let go of '%s'; it is asked, and may do so later", id);
}

static bool change(struct qmp *q, unsigned *have, unsigned n, GError **err)
{
    json_auto_t *list = places(q, err);
    size_t all = json_array_size(list);
    for (size_t i = 0; list && i < all && *have < n; i++) {
        if (!path_of(json_array_get(list, i))) {
            if (!plug(q, json_array_get(list, i), (unsigned)i, err)) {
                return false;
            }
            ++*have;
        }
    }
    for (size_t i = all; i > 0 && *have > n; i--) {
        const json_t *place = json_array_get(list, i - 1);
        if (can_go(place)) {
            if (!unplug(q, path_of(place) + strlen(peripheral), err)) {
                return false;
            }
            --*have;
        }
    }
    if (!list || *have == n) {
        return list != NULL;
    }
    return error_set(err, HANOK_ERROR_INVALID,
                     *have < n ? "the machine has places for %u vcpus, no more"
                               : "%u vcpus are left that the machine started with, and they stay; "
                                 "'setvcpus --config --hotpluggable' makes them such that can go, "
                                 "from its next start on",
                     *have);
}

/* What there is now, in the description of the running machine. */
static void note(struct qmp *q, struct domain *d, unsigned have)
{
    json_auto_t *list = places(q, NULL);
    if (json_array_size(list) != domain_vcpus_max(d)) { /* places of several processors */
        d->vcpu.current = (struct xml_num){.set = have != domain_vcpus_max(d), .v = have};
        return;
    }
    for (unsigned i = 0; i < domain_vcpus_max(d); i++) {
        const json_t *place = json_array_get(list, i);
        domain_vcpu_set(d, i, path_of(place) != NULL, !path_of(place) || can_go(place));
    }
}

bool vcpus_plug_in(const struct domain *d, struct qmp *q, GError **err)
{
    json_auto_t *list = NULL;
    for (unsigned i = 0; i < domain_vcpus_max(d); i++) {
        if (!domain_vcpu_plugged(d, i)) {
            continue;
        }
        list = list ? list : places(q, err);
        if (!list || !plug(q, json_array_get(list, i), i, err)) {
            return false;
        }
    }
    return true;
}

bool vm_set_vcpus(struct vm *vm, struct domain *d, unsigned n, GError **err)
{
    struct qmp *q = vm_qmp(vm, err);
    g_autoptr(GPtrArray) list = q ? vcpu_threads(q, err) : NULL;
    unsigned have = list ? list->len : 0;
    bool ok = list && change(q, &have, n, err) && place_vcpus(d, q, err);
    if (list) {
        note(q, d, have);
    }
    qmp_close(q);
    return ok;
}
