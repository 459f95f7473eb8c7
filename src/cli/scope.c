/* scope.c - see scope.h. */
#include "scope.h"

bool scope_read(struct cmd *c, const struct vm *vm, struct scope *s)
{
    s->live = cmd_flag(c, "live");
    s->config = cmd_flag(c, "config");
    if (cmd_flag(c, "persistent")) {
        s->live = s->live || vm->active;
        s->config = true;
    }
    if (!s->live && !s->config) {
        s->live = vm->active;
        s->config = !vm->active;
    }
    if (s->live && !vm->active) {
        cmd_fail("domain '%s' is not running; --config changes its definition", vm->name);
        return false;
    }
    if (s->config && !vm->persistent) {
        cmd_fail("domain '%s' has no definition; --live changes the running machine", vm->name);
        return false;
    }
    return true;
}

bool scope_change_config(struct vm *vm, change_fn *change, void *opaque, GError **err)
{
    g_autofree char *before = store_read(vm->store, vm->name, err);
    DOMAIN_AUTO d = before ? domain_load(before, err) : NULL;
    return d && change(d, opaque, err) && domain_validate(d, err) &&
           vm_define(vm->store, d, before, err);
}

bool scope_change_live(struct vm *vm, change_fn *change, void *opaque, GError **err)
{
    struct store_lock *l = store_lock(vm->store, vm->name, err);
    DOMAIN_AUTO d = l ? vm_live(vm, err) : NULL;
    bool ok = d && change(d, opaque, err) && vm_write_live(vm, d, err);
    store_unlock(l);
    return ok;
}
