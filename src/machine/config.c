/* config.c - making and freeing the neutral description of a machine. */
#include "machine/config.h"
#include "base/util.h"

struct vm_config *vm_config_new(void)
{
    struct vm_config *c = g_new0(struct vm_config, 1);
    GDestroyNotify free_props = (GDestroyNotify)props_free;
    c->machine = props_new();
    c->accel_props = props_new();
    c->rtc = props_new();
    c->boot = props_new();
    c->topology = (struct cpu_topology){
        .cpus = 1, .maxcpus = 1, .sockets = 1, .dies = 1, .cores = 1, .threads = 1};
    c->ram_bytes = c->maxmem_bytes = 128 * MiB;
    c->objects = g_ptr_array_new_with_free_func(free_props);
    c->chardevs = g_ptr_array_new_with_free_func(free_props);
    c->blockdevs = g_ptr_array_new_with_free_func(free_props);
    c->netdevs = g_ptr_array_new_with_free_func(free_props);
    c->devices = g_ptr_array_new_with_free_func(free_props);
    c->globals = g_ptr_array_new_with_free_func(free_props);
    c->fw_cfg = g_ptr_array_new_with_free_func(free_props);
    c->firmware_dirs = g_ptr_array_new_with_free_func(g_free);
    c->serials = g_ptr_array_new_with_free_func(g_free);
    c->debugcons = g_ptr_array_new_with_free_func(g_free);
    return c;
}

void vm_config_free(struct vm_config *c)
{
    if (!c) {
        return;
    }
    GPtrArray *lists[] = {c->objects, c->chardevs, c->blockdevs, c->netdevs,   c->devices,
                          c->globals, c->fw_cfg,   c->serials,   c->debugcons, c->firmware_dirs};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        g_ptr_array_unref(lists[i]);
    }
    char *strings[] = {c->name, c->accels, c->cpu, c->kernel, c->initrd, c->append, c->firmware};
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
        g_free(strings[i]);
    }
    struct props *props[] = {c->machine, c->accel_props, c->rtc, c->boot, c->vnc, c->window};
    for (size_t i = 0; i < ARRAY_SIZE(props); i++) {
        props_free(props[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(c->smbios); i++) {
        props_free(c->smbios[i]);
    }
    g_free(c);
}
