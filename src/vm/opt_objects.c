/* opt_objects.c - -device, -object, -global, -fw_cfg and -smbios. */
#include "opt_int.h"

bool opt_device(struct vm_options *o, const char *arg, GError **err)
{
    if (wants_help(arg)) {
        return answer(o, help_devices());
    }
    struct props *p = props_parse(arg, "driver", err);
    const char *driver = NULL;
    if (!p) {
        return false;
    }
    g_ptr_array_add(o->cfg->devices, p);
    if (!props_get_str(p, "driver", &driver, err)) {
        return false;
    }
    if (!driver || !*driver) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "the name of a device is missing; -device help lists them");
    }
    if (json_object_get(props_json(p), "help") || json_object_get(props_json(p), "?")) {
        char *text = help_device(driver, err);
        return text && answer(o, text);
    }
    return true;
}

const char *const object_types[] = {
    "rng-random",
    "rng-builtin",
    "secret",
    "iothread",
    "memory-backend-ram",
    "memory-backend-file",
    "memory-backend-memfd",
    "throttle-group",
    NULL,
};

bool opt_object(struct vm_options *o, const char *arg, GError **err)
{
    if (wants_help(arg)) {
        return answer(o, help_objects());
    }
    struct props *p = props_parse(arg, "qom-type", err);
    const char *type = NULL, *id = NULL;
    if (!p) {
        return false;
    }
    g_ptr_array_add(o->cfg->objects, p);
    if (!props_get_str(p, "qom-type", &type, err) || !props_get_id(p, &id, err)) {
        return false;
    }
    if (!type || !g_strv_contains(object_types, type)) {
        g_autofree char *near =
            error_nearest(type ? type : "", object_types, g_strv_length((char **)object_types));
        return error_set(err, HANOK_ERROR_INVALID, "there is no object type '%s'; did you mean %s?",
                         type ? type : "", near);
    }
    if (!id || !*id) {
        return error_set(err, HANOK_ERROR_INVALID, "an id= is needed for %s", type);
    }
    return true;
}

/* driver=D,property=P,value=V, or D.P=V where D may hold no dot and V anything. */
bool opt_global(struct vm_options *o, const char *arg, GError **err)
{
    const char *equals = strchr(arg, '='), *dot = strchr(arg, '.');
    if (dot && equals && dot < equals) {
        g_autofree char *driver = g_strndup(arg, dot - arg);
        g_autofree char *property = g_strndup(dot + 1, equals - dot - 1);
        struct props *p = props_new();
        props_set_str(p, "driver", driver);
        props_set_str(p, "property", property);
        props_set_str(p, "value", equals + 1);
        g_ptr_array_add(o->cfg->globals, p);
        return true;
    }
    struct props *p = props_parse(arg, NULL, err);
    if (!p) {
        return false;
    }
    g_ptr_array_add(o->cfg->globals, p);
    if (!props_has(p, "driver") || !props_has(p, "property") || !props_has(p, "value")) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s': DRIVER.PROPERTY=VALUE or driver=,property=,value= is needed", arg);
    }
    return props_check_unused(p, "-global", NULL, err);
}

bool opt_fw_cfg(struct vm_options *o, const char *arg, GError **err)
{
    PROPS_AUTO p = props_parse(arg, "name", err);
    const char *name = NULL, *string = NULL, *file = NULL;
    if (!p || !props_get_str(p, "name", &name, err) || !props_get_str(p, "string", &string, err) ||
        !props_get_str(p, "file", &file, err) || !props_check_unused(p, "-fw_cfg", NULL, err)) {
        return false;
    }
    if (!name || !*name || !string == !file) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "a name= and either file= or string= are needed");
    }
    if (strlen(name) > 55) {
        return error_set(err, HANOK_ERROR_INVALID, "the name '%s' is longer than 55 bytes", name);
    }
    if (!g_str_has_prefix(name, "opt/")) {
        log_warning(
            "-fw_cfg: names that do not begin with 'opt/' may clash with the machine's own.");
    }
    struct props *copy = props_new();
    props_merge(copy, p);
    g_ptr_array_add(o->cfg->fw_cfg, copy);
    return true;
}

bool opt_smbios(struct vm_options *o, const char *arg, GError **err)
{
    static const struct {
        uint32_t type;
        const char *const keys[8];
    } tables[] = {
        {0, {"vendor", "version", "date", "release", "uefi"}},
        {1, {"manufacturer", "product", "version", "serial", "uuid", "sku", "family"}},
        {2, {"manufacturer", "product", "version", "serial", "asset", "location"}},
        {3, {"manufacturer", "version", "serial", "asset", "sku"}},
        {11, {"value"}},
    };
    PROPS_AUTO p = props_parse(arg, NULL, err);
    uint32_t type = UINT32_MAX;
    size_t row = 0;
    if (!p) {
        return false;
    }
    if (props_has(p, "file")) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "file= is not possible: give the fields of a type one by one");
    }
    if (!props_get_u32(p, "type", &type, err)) {
        return false;
    }
    while (row < ARRAY_SIZE(tables) && tables[row].type != type) {
        row++;
    }
    if (row == ARRAY_SIZE(tables)) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "what can be set is type=0 (firmware), 1 (system), 2 (board), 3 (chassis) "
                         "and 11 (strings)");
    }
    for (const char *const *k = tables[row].keys; *k; k++) {
        props_mark_used(p, *k);
    }
    if (!props_check_unused(p, "-smbios", NULL, err)) {
        return false;
    }
    if (!o->cfg->smbios[type]) {
        o->cfg->smbios[type] = props_new();
    }
    props_merge(o->cfg->smbios[type], p);
    return true;
}

bool opt_usb(struct vm_options *o, const char *arg, GError **err)
{
    props_set_str(o->cfg->machine, "usb", "on");
    return true;
}

bool opt_usbdevice(struct vm_options *o, const char *arg, GError **err)
{
    static const struct {
        const char *name, *driver;
    } devices[] = {{"tablet", "usb-tablet"}, {"mouse", "usb-mouse"}, {"keyboard", "usb-kbd"}};

    for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
        if (!strcmp(arg, devices[i].name)) {
            return opt_usb(o, NULL, err) &&
                   add_device(o, json_pack("{ss}", "driver", devices[i].driver));
        }
    }
    return error_set(
        err, HANOK_ERROR_INVALID,
        "there is no USB device '%s'; give tablet, mouse or keyboard, or -device usb-... "
        "for others",
        arg);
}
