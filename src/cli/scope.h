/* scope.h - what a change is for: the running machine, its definition, or both. */
#ifndef CLI_SCOPE_H
#define CLI_SCOPE_H

#include "cmd.h"

struct scope {
    bool live, config;
};

/* From --live, --config, --current, --persistent.  Without any: what runs, else the definition.
 * False: said. */
bool scope_read(struct cmd *c, const struct vm *vm, struct scope *s);

/* Loads, lets change() do its work, checks and stores: by compare-and-swap in the definition, under
 * the domain's lock in the description of the running machine. */
typedef bool change_fn(struct domain *d, void *opaque, GError **err);
bool scope_change_config(struct vm *vm, change_fn *change, void *opaque, GError **err);
bool scope_change_live(struct vm *vm, change_fn *change, void *opaque, GError **err);

#define SCOPE_OPTS                                                                                 \
    {"live", "the running machine", OPT_FLAG}, {"config", "the definition", OPT_FLAG},             \
        {"current", "what there is now (default)", OPT_FLAG},                                      \
    {                                                                                              \
        "persistent", "the definition, and the machine when it runs", OPT_FLAG                     \
    }

#endif
