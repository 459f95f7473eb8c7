/* opt_char.c - -chardev, -serial, -monitor and their kin, and what is left of displays. */
#include "opt_int.h"

#include "chardev/chardev.h"

bool opt_chardev(struct vm_options *o, const char *arg, GError **err)
{
    static const char *const later[] = {"spicevmc",  "spiceport", "vc",      "udp",
                                        "websocket", "braille",   "msmouse", "wctablet",
                                        "parallel",  "parport",   "testdev", "qemu-vdagent",
                                        "dbus",      "memory",    "console", NULL};
    if (wants_help(arg)) {
        return answer(o, help_chardevs());
    }
    struct props *p = props_parse(arg, "backend", err);
    const char *backend = NULL, *id = NULL;
    if (!p) {
        return false;
    }
    g_ptr_array_add(o->cfg->chardevs, p);
    if (!props_get_str(p, "backend", &backend, err) || !props_get_id(p, &id, err)) {
        return false;
    }
    const char *const *names = chardev_backends();
    bool ours = backend && (g_strv_contains(names, backend) || !strcmp(backend, "tty"));
    if (!ours && backend && g_strv_contains(later, backend)) {
        log_warning("-chardev: the backend '%s' is accepted, but comes with a later version: "
                    "chardev '%s' is connected to nothing.",
                    backend, id ? id : "");
        struct props *instead = props_new();
        props_set_str(instead, "backend", "null");
        props_set_str(instead, "id", id ? id : "");
        g_ptr_array_index(o->cfg->chardevs, o->cfg->chardevs->len - 1) = instead;
        bool named = id && *id;
        props_free(p);
        return named || error_set(err, HANOK_ERROR_INVALID, "an id= is needed for a chardev");
    }
    if (!ours) {
        g_autofree char *near =
            error_nearest(backend ? backend : "", names, g_strv_length((char **)names));
        return error_set(err, HANOK_ERROR_INVALID, "there is no backend '%s'; did you mean %s?",
                         backend ? backend : "", near);
    }
    if (!id || !*id) {
        return error_set(err, HANOK_ERROR_INVALID, "an id= is needed for %s", backend);
    }
    return true;
}

bool opt_serial(struct vm_options *o, const char *arg, GError **err)
{
    if (o->cfg->serials->len >= 4 && strcmp(arg, "none")) {
        return error_set(err, HANOK_ERROR_INVALID, "a machine has at most four serial ports");
    }
    o->serial_given = true;
    if (g_str_has_prefix(arg, "mon:")) {
        o->monitor_given = true;
    }
    g_ptr_array_add(o->cfg->serials, g_strdup(arg));
    return true;
}

static bool add_monitor(struct vm_options *o, const char *chardev, const char *spec,
                        enum monitor_mode mode)
{
    struct monitor_spec *m = g_new0(struct monitor_spec, 1);
    m->chardev = g_strdup(chardev);
    m->spec = g_strdup(spec);
    m->mode = mode;
    g_ptr_array_add(o->monitors, m);
    return true;
}

static bool legacy_monitor(struct vm_options *o, const char *arg, enum monitor_mode mode)
{
    if (mode == MONITOR_HMP) {
        o->monitor_given = true;
    }
    if (!strcmp(arg, "none") || !strcmp(arg, "null")) {
        return true;
    }
    const char *id = g_str_has_prefix(arg, "chardev:") ? arg + 8 : NULL;
    return add_monitor(o, id, id ? NULL : arg, mode);
}

bool opt_monitor(struct vm_options *o, const char *arg, GError **err)
{
    return legacy_monitor(o, arg, MONITOR_HMP);
}

bool opt_qmp(struct vm_options *o, const char *arg, GError **err)
{
    return legacy_monitor(o, arg, MONITOR_QMP);
}

bool opt_qmp_pretty(struct vm_options *o, const char *arg, GError **err)
{
    return legacy_monitor(o, arg, MONITOR_QMP_PRETTY);
}

bool opt_mon(struct vm_options *o, const char *arg, GError **err)
{
    static const char *const modes[] = {"readline", "control", NULL};
    PROPS_AUTO p = props_parse(arg, "chardev", err);
    const char *chardev = NULL, *id = NULL;
    unsigned mode = 0;
    bool pretty = false;
    if (!p || !props_get_str(p, "chardev", &chardev, err) || !props_get_str(p, "id", &id, err) ||
        !props_pick(p, "mode", modes, &mode, err) || !props_get_bool(p, "pretty", &pretty, err) ||
        !props_check_unused(p, "-mon", NULL, err)) {
        return false;
    }
    if (!chardev) {
        return error_set(err, HANOK_ERROR_INVALID, "a chardev= is needed");
    }
    if (pretty && mode == 0) {
        return error_set(err, HANOK_ERROR_INVALID, "pretty=on is for mode=control");
    }
    o->monitor_given = true;
    return add_monitor(o, chardev, NULL,
                       mode == 0 ? MONITOR_HMP
                       : pretty  ? MONITOR_QMP_PRETTY
                                 : MONITOR_QMP);
}

bool opt_debugcon(struct vm_options *o, const char *arg, GError **err)
{
    g_ptr_array_add(o->cfg->debugcons, g_strdup(arg));
    return true;
}

bool opt_parallel(struct vm_options *o, const char *arg, GError **err)
{
    o->parallel_given = true;
    if (strcmp(arg, "none") && strcmp(arg, "null")) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "'%s': there is no parallel port; only none is possible", arg);
    }
    return true;
}

bool opt_nographic(struct vm_options *o, const char *arg, GError **err)
{
    o->cfg->nographic = true;
    return true;
}

/* What only one of QEMU's two windows knows is accepted by both names. */
static bool window_options(struct vm_options *o, const char *arg, GError **err)
{
    static const char *const known[] = {"type",     "full-screen", "window-close",
                                        "alt_grab", "grab-mod",    NULL};
    static const char *const accepted[] = {"show-cursor", "grab-on-hover", "zoom-to-fit",
                                           "show-tabs",   "show-menubar",  "ctrl_grab"};
    PROPS_AUTO p = props_parse(arg, "type", err);
    const char *gl = "off", *mod = NULL;
    if (!p || !props_get_str(p, "gl", &gl, err) || !props_get_str(p, "grab-mod", &mod, err)) {
        return false;
    }
    if (strcmp(gl, "off")) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED, "gl=%s is not possible; use gl=off", gl);
    }
    if (mod && strcmp(mod, "lshift-lctrl-lalt") && strcmp(mod, "lctrl-lalt")) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "grab-mod=%s is not possible; use lshift-lctrl-lalt", mod);
    }
    for (size_t i = 0; i < ARRAY_SIZE(accepted); i++) {
        props_mark_used(p, accepted[i]);
    }
    if (!props_check_unused(p, "-display", known, err)) {
        return false;
    }
    o->cfg->window = g_steal_pointer(&p);
    return true;
}

bool opt_display(struct vm_options *o, const char *arg, GError **err)
{
    static const char *const later[] = {"curses", "spice-app", "egl-headless",
                                        "dbus",   "cocoa",     NULL};
    g_autofree char *type = g_strndup(arg, strcspn(arg, ",="));
    o->display_given = true;
    if (wants_help(arg)) {
        return answer(
            o, g_strdup("Displays:\nnone       no graphical display\nvnc=WHERE  as -vnc WHERE\n"
                        "sdl        a window on the desktop; gtk is the same here\n"));
    }
    props_free(o->cfg->window);
    o->cfg->window = NULL;
    if (!strcmp(arg, "none")) {
        return true;
    }
    if (!strcmp(type, "sdl") || !strcmp(type, "gtk")) {
        return window_options(o, arg, err);
    }
    if (g_str_has_prefix(arg, "vnc=")) {
        return opt_vnc(o, arg + 4, err);
    }
    if (g_strv_contains(later, type)) {
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "the display '%s' is not possible: use none, and -nographic or -serial",
                         type);
    }
    return error_set(err, HANOK_ERROR_INVALID, "there is no display '%s'; did you mean 'none'?",
                     type);
}

bool opt_vnc(struct vm_options *o, const char *arg, GError **err)
{
    static const char *const known[] = {"vnc", "to", "password", "password-secret", NULL};
    static const char *const accepted[] = {"share",        "lossy",    "non-adaptive",
                                           "key-delay-ms", "audiodev", "power-control"};
    PROPS_AUTO p = props_parse(arg, "vnc", err);
    const char *where = NULL, *websocket = NULL;
    if (!p || !props_get_str(p, "vnc", &where, err) ||
        !props_get_str(p, "websocket", &websocket, err)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(accepted); i++) {
        props_mark_used(p, accepted[i]);
    }
    if (!where || !*where) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "where to listen is missing: HOST:DISPLAY, unix:PATH or none");
    }
    if (websocket) {
        log_warning("-vnc websocket=%s is accepted, but WebSocket viewers are answered at the VNC "
                    "port itself.",
                    websocket);
    }
    if (!props_check_unused(p, "-vnc", known, err)) {
        return false;
    }
    o->display_given = true;
    props_free(o->cfg->vnc);
    o->cfg->vnc = NULL;
    if (strcmp(where, "none")) {
        o->cfg->vnc = props_new();
        props_merge(o->cfg->vnc, p);
    }
    return true;
}

bool opt_vga(struct vm_options *o, const char *arg, GError **err)
{
    static const char *const others[] = {"cirrus", "vmware", "qxl", "tcx", "cg3", "xenfb", NULL};
    if (wants_help(arg)) {
        return answer(
            o,
            g_strdup("Graphics cards:\nstd    standard VGA\nvirtio virtio-vga\nnone   no card\n"));
    }
    o->vga_given = true;
    if (!strcmp(arg, "none")) {
        return true;
    }
    if (g_strv_contains(others, arg)) {
        log_warning("-vga %s is accepted, but that card comes with a later version: it is a "
                    "standard VGA.",
                    arg);
    } else if (strcmp(arg, "std") && strcmp(arg, "virtio")) {
        return error_set(err, HANOK_ERROR_INVALID,
                         "there is no card '%s'; did you mean 'std', 'virtio' or 'none'?", arg);
    }
    return add_device(o, json_pack("{ss}", "driver", strcmp(arg, "virtio") ? "VGA" : "virtio-vga"));
}

bool opt_audiodev(struct vm_options *o, const char *arg, GError **err)
{
    PROPS_AUTO p = props_parse(arg, "driver", err);
    const char *driver = NULL;
    if (!p || !props_get_str(p, "driver", &driver, err)) {
        return false;
    }
    if (driver && strcmp(driver, "none")) {
        log_warning("-audiodev %s is accepted, but there is no sound.", driver);
    }
    return true;
}
