/* defaults.c - what a machine gets that was not asked for, unless -nodefaults.
 *
 * A network card with user networking; one serial port; with -nographic both that port and the
 * human monitor on this terminal; a VGA card where firmware starts or a VNC viewer may come.  There
 * is no default disk drive or sound. */
#include "opt_int.h"

#include "machine/machine.h"

static bool has_device(struct vm_options *o, const char *driver)
{
    for (unsigned i = 0; i < o->cfg->devices->len; i++) {
        const char *name = NULL;
        props_get_str(g_ptr_array_index(o->cfg->devices, i), "driver", &name, NULL);
        if (name && !strcmp(name, driver)) {
            return true;
        }
    }
    return false;
}

static void default_net(struct vm_options *o)
{
    struct props *p = props_new();
    props_set_str(p, "type", "user");
    props_set_str(p, "id", "net0");
    g_ptr_array_add(o->cfg->netdevs, p);
    add_device(
        o, json_pack("{sssssb}", "driver", "virtio-net-pci", "netdev", "net0", ANY_BUS_KEY, true));
}

/* A direct kernel boot on a serial console needs no card; firmware, and people who look, do. */
static void default_card(struct vm_options *o)
{
    static const char *const cards[] = {
        "VGA",     "virtio-vga", "virtio-gpu-pci",   "bochs-display",
        "qxl-vga", "ramfb",      "virtio-gpu-device"};
    bool looked_at = o->cfg->vnc || o->cfg->window ||
                     ((!o->cfg->kernel || o->cfg->firmware) && !o->cfg->nographic);
    for (size_t i = 0; i < ARRAY_SIZE(cards); i++) {
        looked_at = looked_at && !has_device(o, cards[i]);
    }
    if (looked_at && !o->vga_given) {
        const struct machine_type *t = chosen_machine(o);
        add_device(o, json_pack("{ss}", "driver", t && t->no_pci ? "virtio-gpu-device" : "VGA"));
    }
}

static void default_consoles(struct vm_options *o)
{
    bool serial = !o->serial_given && !has_device(o, "isa-serial");
    bool monitor = !o->monitor_given;
    if (!o->cfg->nographic) {
        if (serial) {
            g_ptr_array_add(o->cfg->serials, g_strdup("null"));
        }
        if (serial && !o->display_given && !has_device(o, "virtconsole")) {
            o->silent = true;
        }
        return;
    }
    if (serial) {
        g_ptr_array_add(o->cfg->serials, g_strdup(monitor ? "mon:stdio" : "stdio"));
    } else if (monitor) {
        struct monitor_spec *m = g_new0(struct monitor_spec, 1);
        m->spec = g_strdup("stdio");
        m->mode = MONITOR_HMP;
        g_ptr_array_add(o->monitors, m);
    }
}

const struct machine_type *chosen_machine(struct vm_options *o)
{
    const char *type = NULL;
    props_get_str(o->cfg->machine, "type", &type, NULL);
    for (const struct machine_type *t = machine_types; t->name; t++) {
        if (type ? !strcmp(t->name, type) || (t->alias && !strcmp(t->alias, type))
                 : t->is_default) {
            return t;
        }
    }
    return NULL;
}

/* "virtio-blk-pci" is "virtio-blk-device" where there is no PCI. */
void finish_devices(struct vm_options *o)
{
    const struct machine_type *t = chosen_machine(o);
    for (guint i = 0; i < o->cfg->devices->len; i++) {
        json_t *said = props_json(g_ptr_array_index(o->cfg->devices, i));
        const char *driver = json_string_value(json_object_get(said, "driver"));
        if (!json_object_get(said, ANY_BUS_KEY)) {
            continue;
        }
        json_object_del(said, ANY_BUS_KEY);
        if (t && t->no_pci && g_str_has_suffix(driver, "-pci")) {
            int stem = (int)(strlen(driver) - strlen("pci"));
            json_object_set_new(said, "driver", json_sprintf("%.*sdevice", stem, driver));
        }
    }
}

void apply_defaults(struct vm_options *o)
{
    const char *type = NULL;
    props_get_str(o->cfg->machine, "type", &type, NULL);
    if (o->cfg->nodefaults || (type && !strcmp(type, "none"))) {
        return;
    }
    if (!o->net_given) {
        default_net(o);
    }
    default_card(o);
    default_consoles(o);
}
