/* model.c - from the -cpu text to a struct cpu_model.
 *
 *   name -> row -> features; key=value in order; then +feature; then -feature (which wins)
 *
 * What cannot be had is dropped with one warning (check, the default) or refused (enforce). */
#include "model.h"
#include "hyperv.h"

#include "base/error.h"
#include "base/log.h"
#include "base/props.h"
#include "base/util.h"

#include <glib.h>
#include <stdlib.h>

/* Everything said about one CPU, before the accelerator has its say. */
struct spec {
    struct cpu_model *m;
    uint32_t minus[FEAT_WORD_COUNT], plus[FEAT_WORD_COUNT];
    uint32_t host_phys_bits;
    bool is_host; /* host, max */
    bool use_host_phys_bits, phys_bits_set, level_set, xlevel_set;
    bool check, enforce, migratable;
    bool hv_all; /* hv-passthrough */
};

static const char *const option_names[] = {
    "vendor",
    "family",
    "model",
    "stepping",
    "model-id",
    "phys-bits",
    "host-phys-bits",
    "kvm",
    "level",
    "xlevel",
    "enforce",
    "check",
    "migratable",
    "pmu",
    "l3-cache",
    "tsc-frequency",
    "host-phys-bits-limit",
    "min-level",
    "min-xlevel",
    "host-cache-info",
    "legacy-cache",
};

const char *const *cpu_model_names(void)
{
    static const char **names;
    static gsize once;
    if (g_once_init_enter(&once)) {
        names = g_new0(const char *, model_row_count + 3);
        names[0] = "host";
        names[1] = "max";
        for (unsigned i = 0; i < model_row_count; i++)
            names[i + 2] = model_rows[i].name;
        g_once_init_leave(&once, 1);
    }
    return names;
}

bool cpu_model_has(const struct cpu_model *m, enum cpuid_word w, unsigned bit)
{
    return (m->feat[w] & BIT(bit)) != 0;
}

bool cpu_model_is_amd(const struct cpu_model *m)
{
    return strcmp(m->vendor, "AuthenticAMD") == 0 || strcmp(m->vendor, "HygonGenuine") == 0;
}

uint32_t cpu_model_signature(const struct cpu_model *m)
{
    uint32_t family = MIN_OF(m->family, 15u), extended = m->family - family;
    return extended << 20 | (uint32_t)(m->model >> 4) << 16 | family << 8 |
           (uint32_t)(m->model & 15) << 4 | m->stepping;
}

void cpu_model_free(struct cpu_model *m)
{
    if (!m)
        return;
    g_free(m->name);
    g_free(m);
}

static void set_vendor(struct cpu_model *m, const char *vendor)
{
    static const struct {
        const char *shorthand, *id;
    } known[] = {{"intel", "GenuineIntel"}, {"amd", "AuthenticAMD"}, {"hygon", "HygonGenuine"}};
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcmp(vendor, known[i].shorthand) == 0)
            vendor = known[i].id;
    g_strlcpy(m->vendor, vendor, sizeof(m->vendor));
}

/* Parents first; a row with its own model number has its own stepping too. */
static void apply_row(struct cpu_model *m, const struct model_row *row)
{
    if (row->parent)
        apply_row(m, model_row_find(row->parent));
    feature_words_set(m->feat, row->add, true);
    feature_words_set(m->feat, row->remove, false);
    if (row->vendor)
        set_vendor(m, row->vendor);
    if (row->brand)
        g_strlcpy(m->brand, row->brand, sizeof(m->brand));
    m->family = row->family ? row->family : m->family;
    m->stepping = row->model || row->stepping ? row->stepping : m->stepping;
    m->model = row->model ? row->model : m->model;
    m->level = row->level ? row->level : m->level;
}

static void apply_host(struct spec *s, const uint32_t allowed[FEAT_WORD_COUNT])
{
    struct cpu_model *m = s->m;
    uint32_t signature;
    host_identity(m->vendor, &signature, m->brand, &s->host_phys_bits);
    m->family = (uint8_t)(((signature >> 8) & 15) + ((signature >> 20) & 0xff));
    m->model = (uint8_t)(((signature >> 4) & 15) | ((signature >> 12) & 0xf0));
    m->stepping = signature & 15;
    m->level = 0xd;
    memcpy(m->feat, allowed, sizeof(m->feat));
    m->feat[FEAT_HV] = 0; /* another hypervisor's: when asked for */
    /* Guests with 5-level kernels pay for a table level they do not need; only when asked for. */
    feature_words_set(m->feat, "la57", false);
    /* Each vendor says in its own way what a processor is not affected by. */
    if (cpu_model_is_amd(m))
        feature_words_set(m->feat, "arch-capabilities", false);
    else
        feature_words_set(m->feat, "srso-no tsa-sq-no tsa-l1-no", false);
    s->use_host_phys_bits = true;
}

static bool apply_name(struct spec *s, const char *name, const uint32_t allowed[FEAT_WORD_COUNT],
                       GError **err)
{
    g_autofree char *base =
        g_str_has_suffix(name, "-v1") ? g_strndup(name, strlen(name) - 3) : g_strdup(name);
    g_autofree char *plain = g_str_has_suffix(name, "-x86_64-cpu")
                                 ? g_strndup(name, strlen(name) - strlen("-x86_64-cpu"))
                                 : g_strdup(name);
    s->m->name = g_strdup(plain);
    if (strcmp(plain, "host") == 0 || strcmp(plain, "max") == 0) {
        s->is_host = true;
        apply_host(s, allowed);
        return true;
    }
    const struct model_row *row = model_row_find(plain);
    if (!row)
        row = model_row_find(base);
    if (!row) {
        const char *const *names = cpu_model_names();
        g_autofree char *near =
            error_nearest(name, names, g_strv_length((gchar **)(gpointer)names));
        return error_set(err, HANOK_ERROR_INVALID,
                         "There is no CPU model '%s'; did you mean %s? (-cpu help lists them.)",
                         name, near);
    }
    apply_row(s->m, row);
    /* Every model gets these where they can be had: they cost nothing and a guest under a
     * hypervisor expects them. */
    uint32_t extra[FEAT_WORD_COUNT] = {0};
    feature_words_set(extra, "x2apic arat tsc-adjust", true);
    if (s->m->level >= 6)
        for (unsigned w = 0; w < FEAT_WORD_COUNT; w++)
            s->m->feat[w] |= extra[w] & allowed[w];
    s->m->feat[FEAT_KVM] = allowed[FEAT_KVM];
    return true;
}

static bool unknown_feature(const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++)
        for (unsigned b = 0; b < 32; b++)
            if (cpuid_bit_name(w, b))
                g_ptr_array_add(names, (gpointer)cpuid_bit_name(w, b));
    for (size_t i = 0; i < ARRAY_SIZE(option_names); i++)
        g_ptr_array_add(names, (gpointer)option_names[i]);
    g_autofree char *near = error_nearest(name, (const char *const *)names->pdata, names->len);
    return error_set(err, HANOK_ERROR_INVALID,
                     "-cpu knows no feature or option '%s'; did you mean %s?", name, near);
}

static bool set_feature(struct spec *s, const char *name, bool on, bool sign, GError **err)
{
    enum cpuid_word w;
    unsigned bit;
    if (!cpuid_bit_find(name, &w, &bit)) {
        if (!feature_known_unsupported(name))
            return unknown_feature(name, err);
        if (on && s->check)
            log_warning("The CPU feature '%s' is not available here and is left out.", name);
        return true;
    }
    uint32_t both = BIT(bit);
    if (w == FEAT_KVM && bit == 0)
        both |= BIT(3) | BIT(24);      /* kvmclock has an old and a new interface and a promise */
    if (!on && (sign || w == FEAT_HV)) /* also what hv-passthrough would bring */
        s->minus[w] |= both;
    else if (on)
        s->plus[w] |= both;
    if (!sign && !on) {
        s->plus[w] &= ~both;
        s->m->feat[w] &= ~both;
    }
    return true;
}

static bool parse_number(const char *key, const char *value, uint64_t max, uint64_t *out,
                         GError **err)
{
    bool hex = g_ascii_strncasecmp(value, "0x", 2) == 0;
    guint64 n;
    if (!g_ascii_string_to_unsigned(hex ? value + 2 : value, hex ? 16 : 10, 0, max, &n, NULL))
        return error_set(err, HANOK_ERROR_INVALID,
                         "-cpu %s must be a number up to %" G_GUINT64_FORMAT ", not '%s'.", key,
                         max, value);
    *out = n;
    return true;
}

static bool parse_bool(const char *key, const char *value, bool *out, GError **err)
{
    bool on = strcmp(value, "on") == 0 || strcmp(value, "yes") == 0 || strcmp(value, "true") == 0;
    if (!on && strcmp(value, "off") && strcmp(value, "no") && strcmp(value, "false"))
        return error_set(err, HANOK_ERROR_INVALID, "-cpu %s must be 'on' or 'off', not '%s'.", key,
                         value);
    *out = on;
    return true;
}

static bool set_text(struct spec *s, const char *key, const char *value, GError **err)
{
    size_t len = strlen(value);
    if (strcmp(key, "model-id") == 0) {
        g_strlcpy(s->m->brand, value, sizeof(s->m->brand));
        return true;
    }
    set_vendor(s->m, value);
    if (strlen(s->m->vendor) != 12 || len > 12)
        return error_set(err, HANOK_ERROR_INVALID,
                         "-cpu vendor must have twelve characters, such as 'GenuineIntel' or "
                         "'AuthenticAMD', not '%s'.",
                         value);
    return true;
}

static bool set_phys_bits(struct spec *s, uint64_t n, GError **err)
{
    if (n && (n < 32 || n > 52))
        return error_set(err, HANOK_ERROR_INVALID,
                         "-cpu phys-bits must lie between 32 and 52, not %u.", (unsigned)n);
    s->m->phys_bits = (uint32_t)n;
    s->phys_bits_set = n != 0;
    return true;
}

/* Unlike memory sizes, frequencies count in powers of 1000; 2.5G is usual. */
static bool set_frequency(struct spec *s, const char *value, GError **err)
{
    char *end = NULL;
    double hz = g_ascii_isdigit(*value) ? g_ascii_strtod(value, &end) : 0;
    char unit = hz > 0 ? g_ascii_toupper(*end) : 0;
    hz *= unit == 'K' ? 1e3 : unit == 'M' ? 1e6 : unit == 'G' ? 1e9 : 1;
    if (hz < 1e6 || hz > 1e11 || (unit && (!strchr("KMG", unit) || end[1])))
        return error_set(err, HANOK_ERROR_INVALID,
                         "-cpu tsc-frequency must lie between 1M and 100G (Hz), not '%s'.", value);
    s->m->tsc_khz = (uint64_t)(hz / 1000);
    return true;
}

/* true in *mine when key is one of the numbers. */
static bool set_number(struct spec *s, const char *key, const char *value, bool *mine, GError **err)
{
    static const struct {
        const char *key;
        uint64_t max;
    } numbers[] = {{"family", 0xff + 15},
                   {"model", 0xff},
                   {"stepping", 15},
                   {"phys-bits", 52},
                   {"level", 0x1f},
                   {"xlevel", 0x80000021},
                   {"min-level", 0x1f},
                   {"min-xlevel", 0x80000021},
                   {"host-phys-bits-limit", 52}};
    uint64_t n = 0;
    size_t i = 0;
    while (i < ARRAY_SIZE(numbers) && strcmp(key, numbers[i].key) != 0)
        i++;
    *mine = i < ARRAY_SIZE(numbers);
    if (!*mine)
        return true;
    if (!parse_number(key, value, numbers[i].max, &n, err))
        return false;
    switch (i) {
    case 0:
        s->m->family = (uint8_t)MIN_OF(n, 255u);
        break;
    case 1:
        s->m->model = (uint8_t)n;
        break;
    case 2:
        s->m->stepping = (uint8_t)n;
        break;
    case 3:
        return set_phys_bits(s, n, err);
    case 4:
        s->m->level = (uint32_t)n;
        s->level_set = true;
        break;
    case 5:
        s->m->xlevel = (uint32_t)n;
        s->xlevel_set = true;
        break;
    case 6:
        s->m->level = MAX_OF(s->m->level, (uint32_t)n);
        break;
    case 7:
        s->m->xlevel = MAX_OF(s->m->xlevel, (uint32_t)n);
        break;
    default:
        s->host_phys_bits = n ? MIN_OF(s->host_phys_bits, (uint32_t)n) : s->host_phys_bits;
    }
    return true;
}

/* Those of hv-... that are no switches; true in *mine when key is one. */
static bool set_hyperv(struct spec *s, const char *key, const char *value, bool *mine, GError **err)
{
    enum { TRIES_MIN = 0xfff };
    uint64_t n = 0;

    *mine = true;
    if (strcmp(key, "hv-passthrough") == 0)
        return parse_bool(key, value, &s->hv_all, err);
    if (strcmp(key, "hv-vendor-id") == 0) {
        if (strlen(value) > 12)
            return error_set(err, HANOK_ERROR_INVALID,
                             "-cpu hv-vendor-id has at most twelve characters, not '%s'.", value);
        g_strlcpy(s->m->hv_vendor, value, sizeof(s->m->hv_vendor));
        return true;
    }
    *mine =
        strcmp(key, "hv-spinlocks") == 0 && strcmp(value, "on") != 0 && strcmp(value, "off") != 0;
    if (!*mine)
        return true;
    if (!parse_number(key, value, UINT32_MAX, &n, err))
        return false;
    if (n < TRIES_MIN)
        return error_set(err, HANOK_ERROR_INVALID, "-cpu hv-spinlocks must be at least 0x%x.",
                         TRIES_MIN);
    s->m->hv_spinlocks = (uint32_t)n;
    s->plus[FEAT_HV] |= BIT(HV_SPINLOCKS);
    return true;
}

static bool set_option(struct spec *s, const char *key, const char *value, GError **err)
{
    const struct {
        const char *key;
        bool *target;
    } switches[] = {
        {"kvm", &s->m->kvm_leaves},
        {"enforce", &s->enforce},
        {"check", &s->check},
        {"migratable", &s->migratable},
        {"host-phys-bits", &s->use_host_phys_bits},
    };
    bool mine = false, on = false;
    g_autofree char *plain = g_strdelimit(g_strdup(key), "_", '-');
    for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
        if (strcmp(plain, switches[i].key) == 0)
            return parse_bool(plain, value, switches[i].target, err);
    if (strcmp(plain, "vendor") == 0 || strcmp(plain, "model-id") == 0)
        return set_text(s, plain, value, err);
    if (strcmp(plain, "tsc-frequency") == 0)
        return set_frequency(s, value, err);
    if (!set_number(s, plain, value, &mine, err))
        return false;
    if (mine)
        return true;
    if (g_str_has_prefix(plain, "hv-") && !set_hyperv(s, plain, value, &mine, err))
        return false;
    if (mine)
        return true;
    if (g_str_has_prefix(plain, "hv-") && feature_known_unsupported(plain) &&
        !cpuid_bit_find(plain, &(enum cpuid_word){0}, &(unsigned){0})) {
        /* some of these take numbers or names */
        if (strcmp(value, "off") != 0 && s->check)
            log_warning("The CPU feature '%s' is not available here and is left out.", key);
        return true;
    }
    if (!parse_bool(plain, value, &on, err))
        return cpuid_bit_find(plain, &(enum cpuid_word){0}, &(unsigned){0})
                   ? false
                   : (g_clear_error(err), unknown_feature(key, err));
    if (strcmp(plain, "l3-cache") == 0 || strcmp(plain, "host-cache-info") == 0 ||
        strcmp(plain, "legacy-cache") == 0) {
        if (on != (strcmp(plain, "l3-cache") == 0) && s->check)
            log_warning("-cpu %s=%s has no effect here.", plain, value);
        return true;
    }
    return set_feature(s, plain, on, false, err);
}

static bool apply_word(struct spec *s, const char *word, GError **err)
{
    if (*word == '+' || *word == '-')
        return set_feature(s, word + 1, *word == '+', true, err);
    const char *eq = strchr(word, '=');
    g_autofree char *key = eq ? g_strndup(word, (size_t)(eq - word)) : g_strdup(word);
    return set_option(s, key, eq ? eq + 1 : "on", err);
}

/* Levels follow from what is shown, unless the user set them. */
static void settle_levels(struct spec *s)
{
    struct cpu_model *m = s->m;
    uint32_t level = m->level, xlevel = 0x80000008;
    if (m->feat[FEAT_7_0_EBX] | m->feat[FEAT_7_0_ECX] | m->feat[FEAT_7_0_EDX])
        level = MAX_OF(level, 7u);
    if (m->feat[FEAT_1_ECX] & BIT(26))
        level = MAX_OF(level, 0xdu);
    if (m->feat[FEAT_8000_0001_ECX] & BIT(22))
        xlevel = 0x8000001e;
    if (m->feat[FEAT_8000_0021_EAX] | m->feat[FEAT_8000_0021_ECX])
        xlevel = 0x80000021;
    if (!s->level_set)
        m->level = level;
    if (!s->xlevel_set)
        m->xlevel = MAX_OF(m->xlevel, xlevel);
}

static void settle_widths(struct spec *s)
{
    struct cpu_model *m = s->m;
    if (!s->phys_bits_set)
        m->phys_bits = s->use_host_phys_bits                   ? s->host_phys_bits
                       : m->feat[FEAT_8000_0001_EDX] & BIT(29) ? 40
                                                               : 36;
    m->linear_bits = m->feat[FEAT_7_0_ECX] & BIT(16) ? 57 : 48;
    m->xcr0_mask = 0;
    if (m->feat[FEAT_1_ECX] & BIT(26)) {
        m->xcr0_mask = 3;
        if (m->feat[FEAT_1_ECX] & BIT(28))
            m->xcr0_mask |= 4;
        if (m->feat[FEAT_7_0_EBX] & BIT(16))
            m->xcr0_mask |= 0xe0;
        if (m->feat[FEAT_7_0_ECX] & BIT(3))
            m->xcr0_mask |= 0x200;
    }
}

static bool report_missing(struct spec *s, const uint32_t missing[FEAT_WORD_COUNT], GError **err)
{
    g_autoptr(GString) list = g_string_new(NULL);
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++)
        for (unsigned b = 0; b < 32; b++)
            if ((missing[w] & BIT(b)) && cpuid_bit_name(w, b))
                g_string_append_printf(list, "%s%s", list->len ? ", " : "", cpuid_bit_name(w, b));
    if (!list->len)
        return true;
    if (s->enforce)
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "The CPU model '%s' needs features that cannot be had here: %s.",
                         s->m->name, list->str);
    if (s->check)
        log_warning("The CPU model '%s' goes without features that cannot be had here: %s.",
                    s->m->name, list->str);
    return true;
}

static bool settle(struct spec *s, const uint32_t allowed[FEAT_WORD_COUNT], GError **err)
{
    struct cpu_model *m = s->m;
    uint32_t missing[FEAT_WORD_COUNT];
    if (s->is_host && s->migratable)
        feature_words_set(m->feat, "invtsc", false);
    if (s->hv_all)
        m->feat[FEAT_HV] = allowed[FEAT_HV];
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++) {
        uint32_t wanted = (m->feat[w] | s->plus[w]) & ~s->minus[w];
        missing[w] = wanted & ~allowed[w];
        m->feat[w] = wanted & allowed[w];
    }
    m->hypervisor = m->feat[FEAT_1_ECX] & BIT(31);
    feature_prune(m->feat);
    if (!m->kvm_leaves)
        m->feat[FEAT_KVM] = 0;
    settle_levels(s);
    settle_widths(s);
    return report_missing(s, missing, err) && hyperv_check(m, err);
}

struct cpu_model *cpu_model_parse(const char *text, const uint32_t allowed[FEAT_WORD_COUNT],
                                  GError **err)
{
    struct spec s = {.m = g_new0(struct cpu_model, 1), .check = true, .migratable = true};
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    char vendor[13], brand[49];
    uint32_t signature;
    host_identity(vendor, &signature, brand, &s.host_phys_bits);
    s.m->kvm_leaves = true;
    s.m->hv_spinlocks = HV_SPINLOCKS_NEVER;
    bool ok = words[0] && apply_name(&s, words[0], allowed, err);
    feature_words_set(s.m->feat, "hypervisor", true);
    for (unsigned i = 1; ok && words[i]; i++)
        ok = !*words[i] || apply_word(&s, words[i], err);
    if (!ok || !settle(&s, allowed, err)) {
        cpu_model_free(s.m);
        return NULL;
    }
    return s.m;
}
