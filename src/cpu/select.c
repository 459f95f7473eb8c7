/* select.c - which accelerator a machine gets, and why.
 *
 * A list ("kvm:jit") is tried in order.  Without one, KVM is taken where guests really run on the
 * processor; /dev/kvm that only emulates is not that (see kvm/probe.c). */
#include "accel.h"
#include "x86/model.h"

#include "base/error.h"
#include "base/log.h"
#include "base/props.h"

static const struct {
    const char *name;
    const struct accel_ops *ops;
    void (*features)(uint32_t allowed[FEAT_WORD_COUNT]);
} accels[] = {
    {"kvm", &kvm_accel, kvm_features},
    {"jit", &jit_accel, jit_features},
    {"tcg", &jit_accel, jit_features}, /* the name command lines use for "software CPU" */
};

static int accel_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(accels); i++)
        if (strcmp(accels[i].name, name) == 0)
            return (int)i;
    return -1;
}

void accel_features(const char *accel, uint32_t allowed[FEAT_WORD_COUNT])
{
    int i = accel_find(accel);
    memset(allowed, 0, FEAT_WORD_COUNT * sizeof(allowed[0]));
    if (i >= 0)
        accels[i].features(allowed);
}

static bool names_check(char *const *names, GError **err)
{
    const char *known[ARRAY_SIZE(accels)];
    for (size_t i = 0; i < ARRAY_SIZE(accels); i++)
        known[i] = accels[i].name;
    for (; *names; names++) {
        if (accel_find(*names) >= 0)
            continue;
        g_autofree char *near = error_nearest(*names, known, ARRAY_SIZE(known));
        return error_set(err, HANOK_ERROR_INVALID, "There is no accelerator '%s'; did you mean %s?",
                         *names, near);
    }
    return true;
}

enum { SOFT_PHYS_BITS = 40 }; /* unless memory needs more, or the user says so */

/* The widths of physical addresses a guest is told must reach its memory and devices. */
static bool check_phys_bits(struct cpu_model *m, uint64_t highest_gpa, bool chosen, GError **err)
{
    unsigned need = highest_gpa ? 64 - (unsigned)__builtin_clzll(highest_gpa) : 32;
    if (need <= m->phys_bits)
        return true;
    if (chosen || need > 52)
        return error_set(err, HANOK_ERROR_INVALID,
                         "The machine needs %u physical address bits, but the CPU has %u: "
                         "use less memory or a larger phys-bits.",
                         need, m->phys_bits);
    m->phys_bits = need;
    return true;
}

/* Options of an accelerator that came along for another one in the list are not an error. */
static bool check_props(struct props *p, GError **err)
{
    static const char *const known[] = {"accel", "kernel-irqchip", "thread", "tier",   "tb-size",
                                        "cosim", "perf",           "direct", "places", NULL};
    static const char *const no_effect[] = {"split-wx",        "one-insn-per-tb", "dirty-ring-size",
                                            "kvm-shadow-mem",  "notify-vmexit",   "notify-window",
                                            "eager-split-size"};
    const char *irqchip = "on";
    if (!p)
        return true;
    if (!props_get_str(p, "kernel-irqchip", &irqchip, err))
        return false;
    if (strcmp(irqchip, "on") != 0)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "kernel-irqchip=%s is not supported: KVM is used with its own interrupt "
                         "controllers (kernel-irqchip=on).",
                         irqchip);
    for (size_t i = 0; i < ARRAY_SIZE(no_effect); i++)
        if (props_has(p, no_effect[i]))
            log_warning("The accelerator option '%s' has no effect.", no_effect[i]);
    return props_check_unused(p, "-accel", known, err);
}

static struct cpu_set *try_accel(unsigned which, const struct cpu_config *cfg, GError **err)
{
    uint32_t allowed[FEAT_WORD_COUNT];
    accels[which].features(allowed);
    const char *spec = cfg->cpu_spec ? cfg->cpu_spec : "qemu64";
    struct cpu_model *m = cpu_model_parse(spec, allowed, err);
    if (!m)
        return NULL;
    bool chosen = strstr(spec, "phys-bits=") != NULL;
    /* The host's width says nothing about a processor in software; page tables for all of 46 bits
     * and more are beyond what firmware has room for. */
    if (!chosen && !strcmp(accels[which].ops->name, "jit"))
        m->phys_bits = MIN_OF(m->phys_bits, (uint32_t)SOFT_PHYS_BITS);
    if (!check_phys_bits(m, cfg->highest_gpa, chosen, err)) {
        cpu_model_free(m);
        return NULL;
    }
    return cpu_set_create(accels[which].ops, cfg, m, err);
}

/* Mistakes in what the user wrote do not go away with another accelerator. */
static bool worth_another_try(const GError *e)
{
    return !g_error_matches(e, HANOK_ERROR, HANOK_ERROR_INVALID);
}

static struct cpu_set *try_list(char *const *names, const struct cpu_config *cfg, char **why,
                                GError **err)
{
    g_autoptr(GString) failed = g_string_new(NULL);
    for (; *names; names++) {
        g_autoptr(GError) e = NULL;
        struct cpu_set *s = try_accel((unsigned)accel_find(*names), cfg, &e);
        if (s) {
            *why = failed->len
                       ? g_strdup_printf("Using %s, because %s", cpu_set_accel(s), failed->str)
                       : g_strdup_printf("Using %s, as asked.", cpu_set_accel(s));
            return s;
        }
        if (!names[1] || !worth_another_try(e)) {
            g_propagate_error(err, g_steal_pointer(&e));
            return NULL;
        }
        g_string_append_printf(failed, "%s%s cannot be used: %s", failed->len ? "; " : "", *names,
                               e->message);
    }
    error_set(err, HANOK_ERROR_INVALID, "The list of accelerators is empty.");
    return NULL;
}

static struct cpu_set *try_default(const struct cpu_config *cfg, char **why, GError **err)
{
    struct accel_info kvm;
    accel_probe_kvm(&kvm);
    char *list[] = {"jit", NULL, NULL};
    if (kvm.usable) {
        list[0] = "kvm";
        list[1] = "jit";
    }
    struct cpu_set *s = try_list(list, cfg, why, err);
    if (s && strcmp(cpu_set_accel(s), list[0]) == 0) {
        g_free(*why);
        *why = g_strdup_printf("Using %s: %s", cpu_set_accel(s), kvm.why);
    }
    g_free(kvm.why);
    return s;
}

struct cpu_set *cpu_set_new(const char *list, const struct cpu_config *cfg, char **why,
                            GError **err)
{
    *why = NULL;
    if (!check_props(cfg->accel_props, err))
        return NULL;
    if (!list)
        return try_default(cfg, why, err);
    g_auto(GStrv) names = g_strsplit(list, ":", -1);
    if (!names_check(names, err))
        return NULL;
    return try_list(names, cfg, why, err);
}
