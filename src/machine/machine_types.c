/* machine_types.c - the names of machines.  Versions are names of one and the same board. */
#include "board.h"

#include "base/error.h"
#include "base/util.h"

#define Q35(version, max)                                                                          \
    {                                                                                              \
        "pc-q35-" version, NULL, "Standard PC (Q35 + ICH9, 2009)", false, max, 1, &board_q35,      \
            false                                                                                  \
    }
#define I440FX(version)                                                                            \
    {                                                                                              \
        "pc-i440fx-" version, NULL, "Standard PC (i440FX + PIIX, 1996)", false, 255, 2,            \
            &board_i440fx, false                                                                   \
    }

const struct machine_type machine_types[] = {
    {"pc-q35-7.2", "q35", "Standard PC (Q35 + ICH9, 2009)", true, 288, 1, &board_q35, false},
    Q35("2.4", 255),
    Q35("2.5", 255),
    Q35("2.6", 255),
    Q35("2.7", 255),
    Q35("2.8", 288),
    Q35("2.9", 288),
    Q35("2.10", 288),
    Q35("2.11", 288),
    Q35("2.12", 288),
    Q35("3.0", 288),
    Q35("3.1", 288),
    Q35("4.0", 288),
    Q35("4.0.1", 288),
    Q35("4.1", 288),
    Q35("4.2", 288),
    Q35("5.0", 288),
    Q35("5.1", 288),
    Q35("5.2", 288),
    Q35("6.0", 288),
    Q35("6.1", 288),
    Q35("6.2", 288),
    Q35("7.0", 288),
    Q35("7.1", 288),
    Q35("8.0", 288),
    Q35("8.1", 288),
    Q35("8.2", 288),
    {"pc-i440fx-7.2", "pc", "Standard PC (i440FX + PIIX, 1996)", false, 255, 2, &board_i440fx,
     false},
    I440FX("1.4"),
    I440FX("1.5"),
    I440FX("1.6"),
    I440FX("1.7"),
    I440FX("2.0"),
    I440FX("2.1"),
    I440FX("2.2"),
    I440FX("2.3"),
    I440FX("2.4"),
    I440FX("2.5"),
    I440FX("2.6"),
    I440FX("2.7"),
    I440FX("2.8"),
    I440FX("2.9"),
    I440FX("2.10"),
    I440FX("2.11"),
    I440FX("2.12"),
    I440FX("3.0"),
    I440FX("3.1"),
    I440FX("4.0"),
    I440FX("4.1"),
    I440FX("4.2"),
    I440FX("5.0"),
    I440FX("5.1"),
    I440FX("5.2"),
    I440FX("6.0"),
    I440FX("6.1"),
    I440FX("6.2"),
    I440FX("7.0"),
    I440FX("7.1"),
    I440FX("8.0"),
    I440FX("8.1"),
    I440FX("8.2"),
    {"microvm", NULL, "microvm (no PCI, virtio at memory addresses)", false, 288, 0, &board_microvm,
     true},
    {"none", NULL, "empty machine", false, 1, 0, NULL, false},
    {NULL, NULL, NULL, false, 0, 0, NULL, false},
};

const struct machine_type *machine_type_find(const struct vm_config *cfg, GError **err)
{
    const char *names[ARRAY_SIZE(machine_types)];
    const char *want = "q35";
    size_t n = 0;

    if (!props_get_str(cfg->machine, "type", &want, err))
        return NULL;
    for (const struct machine_type *t = machine_types; t->name; t++) {
        if (strcmp(t->name, want) == 0 || (t->alias && strcmp(t->alias, want) == 0))
            return t;
        names[n++] = t->alias ? t->alias : t->name;
    }
    g_autofree char *near = error_nearest(want, names, n);
    error_set(err, HANOK_ERROR_INVALID, "there is no machine type '%s'; did you mean %s?", want,
              near);
    return NULL;
}
