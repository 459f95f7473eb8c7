/* help.c - the lists a user can ask for: -help, -device help, -machine help ... */
#include "opt_int.h"

#include "base/trace.h"
#include "chardev/chardev.h"
#include "cpu/vcpu.h"
#include "machine/machine.h"

static void wrap(GString *s, const char *text)
{
    enum { INDENT = 16, WIDTH = 96 };
    unsigned column = INDENT;
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    g_string_append_printf(s, "%*s", INDENT, "");
    for (char **w = words; *w; w++) {
        unsigned len = strlen(*w);
        if (column + len > WIDTH) {
            g_string_append_printf(s, "\n%*s", INDENT, "");
            column = INDENT;
        }
        g_string_append_printf(s, "%s ", *w);
        column += len + 1;
    }
    g_string_truncate(s, s->len - 1);
    g_string_append_c(s, '\n');
}

char *help_options(void)
{
    GString *s = g_string_new(
        "hanok-vm - one virtual x86-64 machine; accepts QEMU's command line\n"
        "usage: hanok-vm [options]\n"
        "\n"
        "Options may be written with one dash or two.  A value that is a list of key=value pairs\n"
        "takes ',,' for a comma; -device, -object, -netdev and -blockdev take JSON as well.\n"
        "\n");
    for (const struct option_desc *d = option_table; d->name; d++) {
        if (!d->help) {
            continue;
        }
        g_string_append_printf(s, "-%s%s%s\n", d->name, d->form ? " " : "", d->form ? d->form : "");
        wrap(s, d->help);
    }
    return g_string_free(s, FALSE);
}

char *help_devices(void)
{
    GString *s = g_string_new(NULL);
    for (const struct device_class *const *c = device_classes; *c; c++) {
        g_string_append_printf(s, "name \"%s\"", (*c)->name);
        if ((*c)->bus) {
            g_string_append_printf(s, ", bus %s", (*c)->bus);
        }
        if ((*c)->alias) {
            g_string_append_printf(s, ", alias \"%s\"", (*c)->alias);
        }
        if ((*c)->help) {
            g_string_append_printf(s, ", desc \"%s\"", (*c)->help);
        }
        g_string_append(s, (*c)->accepted_only ? " (accepted, not there yet)\n" : "\n");
    }
    return g_string_free(s, FALSE);
}

static const char *prop_type_word(enum prop_type t)
{
    switch (t) {
    case PROP_BOOL:
        return "bool";
    case PROP_U32:
        return "uint32";
    case PROP_U64:
        return "uint64";
    case PROP_SIZE:
        return "size";
    case PROP_ONOFFAUTO:
        return "OnOffAuto";
    case PROP_STR:
    case PROP_MAC:
    case PROP_DRIVE:
    case PROP_NETDEV:
    case PROP_CHARDEV:
    case PROP_LINK:
        return "str";
    }
    return "str";
}

char *help_device(const char *driver, GError **err)
{
    const struct device_class *c = device_class_find(driver);
    if (!c) {
        error_set(err, HANOK_ERROR_NOT_FOUND, "there is no device '%s'; -device help lists them",
                  driver);
        return NULL;
    }
    GString *s = g_string_new(NULL);
    g_string_append_printf(s, "%s options:\n", c->name);
    for (const struct prop_desc *p = c->props; p && p->name; p++) {
        g_string_append_printf(s, "  %s=<%s>", p->name, prop_type_word(p->type));
        if (p->help) {
            g_string_append_printf(s, " - %s", p->help);
        }
        if (p->fallback) {
            g_string_append_printf(s, " (default: %s)", p->fallback);
        }
        g_string_append_c(s, '\n');
    }
    return g_string_free(s, FALSE);
}

char *help_machines(void)
{
    GString *s = g_string_new("Supported machines are:\n");
    for (const struct machine_type *t = machine_types; t->name; t++) {
        if (t->alias) {
            g_string_append_printf(s, "%-20s %s (alias of %s)\n", t->alias, t->desc, t->name);
        }
        g_string_append_printf(s, "%-20s %s%s\n", t->name, t->desc,
                               t->is_default ? " (default)" : "");
    }
    return g_string_free(s, FALSE);
}

char *help_cpus(void)
{
    GString *s = g_string_new("Available CPUs:\n");
    for (const char *const *n = cpu_model_names(); *n; n++) {
        g_string_append_printf(s, "  %s\n", *n);
    }
    g_string_append(s, "\nRecognised features:\n ");
    unsigned column = 1;
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            const char *name = cpuid_bit_name(w, bit);
            if (!name) {
                continue;
            }
            if (column + strlen(name) + 1 > 78) {
                g_string_append(s, "\n ");
                column = 1;
            }
            g_string_append_printf(s, " %s", name);
            column += strlen(name) + 1;
        }
    }
    g_string_append_c(s, '\n');
    return g_string_free(s, FALSE);
}

char *help_accels(void)
{
    struct accel_info kvm = {0};
    accel_probe_kvm(&kvm);
    char *text = g_strdup_printf("Accelerators:\n"
                                 "jit   the software CPU, works everywhere (also called tcg)\n"
                                 "kvm   %s%s%s\n",
                                 kvm.usable ? "usable on this host" : "not usable on this host",
                                 kvm.why ? ": " : "", kvm.why ? kvm.why : "");
    g_free(kvm.why);
    return text;
}

char *help_netdevs(void)
{
    return g_strdup("Available netdev backend types:\nuser\ntap\n");
}

char *help_chardevs(void)
{
    GString *s = g_string_new("Available chardev backend types:\n");
    for (const char *const *n = chardev_backends(); *n; n++) {
        g_string_append_printf(s, "  %s\n", *n);
    }
    return g_string_free(s, FALSE);
}

char *help_objects(void)
{
    GString *s = g_string_new("List of user creatable objects:\n");
    for (const char *const *n = object_types; *n; n++) {
        g_string_append_printf(s, "  %s\n", *n);
    }
    return g_string_free(s, FALSE);
}

char *help_debug(void)
{
    GString *s = g_string_new("Log items (comma separated):\n");
    for (const struct debug_item *i = debug_items; i->name; i++) {
        g_string_append_printf(s, "%-16s %s\n", i->name, i->help);
    }
    g_string_append(s, "trace:PATTERN    trace points; -trace help lists them\n");
    return g_string_free(s, FALSE);
}

char *help_traces(void)
{
    GString *s = g_string_new(NULL);
    for (unsigned i = 0; i < TRACE_EVENT_COUNT; i++) {
        g_string_append_printf(s, "%s\n", trace_name(i));
    }
    return g_string_free(s, FALSE);
}
