/* domain_vcpus.c - how many processors a domain has, and which of them can be taken out.
 *
 * Without <vcpus>, the first <vcpu current=''> are there from the start and stay.  With it, those
 * that are enabled and hotpluggable='yes' are plugged in before the machine runs: they can go. */
#include "manager/domain.h"

#include "base/util.h"

unsigned domain_vcpus_max(const struct domain *d)
{
    return (unsigned)xml_num_or(d->vcpu.count, 1);
}

unsigned domain_vcpus(const struct domain *d)
{
    return (unsigned)xml_num_or(d->vcpu.current, domain_vcpus_max(d));
}

static struct vcpu_state *state_of(const struct domain *d, unsigned number)
{
    for (unsigned i = 0; i < d->vcpus.vcpus->len; i++) {
        struct vcpu_state *v = d->vcpus.vcpus->pdata[i];
        if (v->id.set && v->id.v == number) {
            return v;
        }
    }
    return NULL;
}

bool domain_vcpu_plugged(const struct domain *d, unsigned number)
{
    const struct vcpu_state *v = state_of(d, number);
    return v && word_is(v->enabled, "yes") && word_is(v->hotpluggable, "yes");
}

unsigned domain_vcpus_at_start(const struct domain *d)
{
    unsigned plugged = 0;
    for (unsigned i = 0; i < domain_vcpus_max(d); i++) {
        plugged += domain_vcpu_plugged(d, i);
    }
    return domain_vcpus(d) - plugged;
}

static void set_current(struct domain *d, unsigned n)
{
    d->vcpu.current = (struct xml_num){.set = n != domain_vcpus_max(d), .v = n};
}

void domain_vcpu_set(struct domain *d, unsigned number, bool enabled, bool can_go)
{
    struct vcpu_state *v = state_of(d, number);
    if (!v) {
        v = g_new0(struct vcpu_state, 1);
        v->node.present = true;
        xml_num_set(&v->id, number);
        g_ptr_array_insert(d->vcpus.vcpus, (int)MIN_OF(number, d->vcpus.vcpus->len), v);
    }
    d->vcpus.node.present = true;
    v->enabled = enabled ? "yes" : "no";
    v->hotpluggable = can_go ? "yes" : "no";
    v->order.set = false; /* by number */
    domain_vcpus_count(d);
}

void domain_vcpus_count(struct domain *d)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->vcpus.vcpus->len; i++) {
        n += word_is(((struct vcpu_state *)d->vcpus.vcpus->pdata[i])->enabled, "yes");
    }
    if (d->vcpus.vcpus->len) {
        set_current(d, n);
    }
}

bool domain_set_vcpus(struct domain *d, int64_t n, bool hotpluggable, GError **err)
{
    unsigned max = domain_vcpus_max(d), have = domain_vcpus(d);
    if (n < 1 || n > max) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' can have 1 to %u vcpus; --maximum --config changes that", d->name,
                         max);
    }
    if (!d->vcpus.vcpus->len && !hotpluggable) {
        set_current(d, (unsigned)n);
        return true;
    }
    for (unsigned i = 0; i < max; i++) { /* a list of all of them, as it is now */
        if (!state_of(d, i)) {
            domain_vcpu_set(d, i, i < have, i >= have);
        }
    }
    for (unsigned i = 1; i < max; i++) {
        bool on = i < n, stays = on && !hotpluggable && !domain_vcpu_plugged(d, i);
        domain_vcpu_set(d, i, on, !stays);
    }
    return true;
}
