/* hyperv.c - from -cpu hv-... to CPUID's bits and back. */
#include "hyperv.h"

#include "base/error.h"
#include "base/util.h"

#include <string.h>

enum { LEAF_VENDOR = 0x40000000, LEAF_LIMITS = 0x40000005, BUILD = 0x3839, VERSION = 10 << 16 };
enum { HYPERCALL_MSRS = BIT(5), CLUSTERS_64 = 64 };

/* TLFS 2.4: privileges (leaf 3 EAX), features (leaf 3 EDX), recommendations (leaf 4 EAX). */
static const struct {
    uint32_t privileges, features, recommended;
} rows[HV_BITS] = {
    [HV_RELAXED] = {0, 0, BIT(5)},
    [HV_VAPIC] = {BIT(4), 0, BIT(3)},
    [HV_VPINDEX] = {BIT(6), 0, 0},
    [HV_RUNTIME] = {BIT(0), 0, 0},
    [HV_CRASH] = {0, BIT(10), 0},
    [HV_TIME] = {BIT(1) | BIT(9), 0, 0},
    [HV_RESET] = {BIT(7), 0, 0},
    [HV_FREQUENCIES] = {BIT(11), BIT(8), 0},
    [HV_TLBFLUSH] = {0, 0, BIT(2) | BIT(11)},
    [HV_IPI] = {0, 0, BIT(10) | BIT(11)},
};

void hyperv_leaves(const struct cpu_model *m, unsigned cpus, struct cpuid_entry out[6])
{
    char vendor[13] = "Microsoft Hv";
    uint32_t has = m->feat[FEAT_HV];

    if (*m->hv_vendor) {
        memset(vendor, 0, sizeof(vendor));
        g_strlcpy(vendor, m->hv_vendor, sizeof(vendor));
    }
    for (unsigned i = 0; i < 6; i++)
        out[i] = (struct cpuid_entry){.leaf = LEAF_VENDOR + i, .subleaf = UINT32_MAX};
    out[0].eax = LEAF_LIMITS;
    out[0].ebx = le32_get(vendor);
    out[0].ecx = le32_get(vendor + 4);
    out[0].edx = le32_get(vendor + 8);
    out[1].eax = 0x31237648; /* "Hv#1": what follows is this interface */
    out[2].eax = BUILD;
    out[2].ebx = VERSION;
    out[3].eax = HYPERCALL_MSRS;
    for (unsigned b = 0; b < HV_BITS; b++) {
        if (!(has & BIT(b)))
            continue;
        out[3].eax |= rows[b].privileges;
        out[3].edx |= rows[b].features;
        out[4].eax |= rows[b].recommended;
    }
    out[4].ebx = has & BIT(HV_SPINLOCKS) ? m->hv_spinlocks : HV_SPINLOCKS_NEVER;
    out[5].eax = MAX_OF(cpus, (unsigned)CLUSTERS_64);
}

uint32_t hyperv_features_of(const struct cpuid_entry *leaf3, const struct cpuid_entry *leaf4)
{
    uint32_t has = leaf3->eax & HYPERCALL_MSRS ? BIT(HV_SPINLOCKS) : 0;

    for (unsigned b = 0; has && b < HV_BITS; b++)
        if (b != HV_SPINLOCKS && (leaf3->eax & rows[b].privileges) == rows[b].privileges &&
            (leaf3->edx & rows[b].features) == rows[b].features &&
            (leaf4->eax & rows[b].recommended) == rows[b].recommended)
            has |= BIT(b);
    return has;
}

bool hyperv_check(const struct cpu_model *m, GError **err)
{
    static const struct {
        enum hyperv_bit bit, needs;
        const char *name;
    } rules[] = {{HV_TLBFLUSH, HV_VPINDEX, "hv-tlbflush"}, {HV_IPI, HV_VPINDEX, "hv-ipi"}};

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if ((m->feat[FEAT_HV] & BIT(rules[i].bit)) && !(m->feat[FEAT_HV] & BIT(rules[i].needs)))
            return error_set(err, HANOK_ERROR_INVALID,
                             "-cpu %s names processors by their number: give %s too.",
                             rules[i].name, cpuid_bit_name(FEAT_HV, rules[i].needs));
    return true;
}
