/* verb_device.c - devices put into a domain and taken out of it. */
#include "scope.h"

#include "base/util.h"
#include "manager/device.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- in and out ---- */

struct attach {
    struct vm *vm;
    const char *xml;
    bool plug;
};

static bool insert(struct domain *d, void *opaque, GError **err)
{
    const struct attach *a = opaque;
    struct device dev = {0};
    unsigned controllers = d->devices.controllers->len;
    if (!device_parse(a->xml, &dev, err)) {
        return false;
    }
    if (!device_insert(d, &dev, err)) {
        device_clear(&dev);
        return false;
    }
    if (!a->plug) {
        return true;
    }
    if (d->devices.controllers->len > controllers) {
        /* the spare place for plugging in is not part of a running machine: look whether a bus is
         * new */
        for (unsigned i = 0; i < d->devices.controllers->len; i++) {
            const struct controller *k = d->devices.controllers->pdata[i];
            if (k->type == CONTROLLER_PCI && !k->info.alias.name) {
                g_autofree char *bus = g_strdup_printf("bus='0x%02x'", (unsigned)k->index.v);
                g_autofree char *all = domain_format(d, FORMAT_SECURE);
                if (strstr(all, bus)) {
                    return error_set(
                        err, HANOK_ERROR_BUSY,
                        "'%s' has no free pcie-root-port to plug into; add one with --config, and "
                        "start it again",
                        d->name);
                }
                xml_map_free(&controller_element,
                             g_ptr_array_remove_index(d->devices.controllers, i--));
            }
        }
    }
    domain_assign_aliases(d);
    return device_plug(a->vm, d, &dev, err);
}

static bool take_out(struct domain *d, void *opaque, GError **err)
{
    const struct attach *a = opaque;
    struct device want = {0}, found = {0};
    bool ok = device_parse(a->xml, &want, err) && device_remove(d, &want, &found, err) &&
              (!a->plug || device_unplug(a->vm, d, &found, err));
    device_clear(&want);
    device_clear(&found);
    return ok;
}

static int change(struct cmd *c, struct vm *vm, const char *xml, change_fn *fn, const char *done)
{
    g_autoptr(GError) err = NULL;
    struct scope s;
    if (!scope_read(c, vm, &s)) {
        return 1;
    }
    struct attach live = {vm, xml, true}, config = {vm, xml, false};
    if ((s.config && !scope_change_config(vm, fn, &config, &err)) ||
        (s.live && !scope_change_live(vm, fn, &live, &err))) {
        return cmd_error(&err);
    }
    cmd_say(c, "%s", done);
    return 0;
}

static int with_file(struct cmd *c, change_fn *fn, const char *done)
{
    g_autoptr(GError) err = NULL;
    VM_AUTO vm = cmd_vm(c);
    g_autofree char *text = vm ? read_input(cmd_str(c, "file"), &err) : NULL;
    if (!text) {
        return vm ? cmd_error(&err) : 1;
    }
    return change(c, vm, text, fn, done);
}

static int do_attach_device(struct cmd *c)
{
    return with_file(c, insert, "Device attached successfully");
}

static int do_detach_device(struct cmd *c)
{
    return with_file(c, take_out, "Device detached successfully");
}

/* ---- disks ---- */

static void attribute(GString *s, const char *name, const char *value)
{
    if (value) {
        g_autofree char *text = g_markup_escape_text(value, -1);
        g_string_append_printf(s, " %s='%s'", name, text);
    }
}

static int do_attach_disk(struct cmd *c)
{
    const char *source = cmd_str(c, "source"), *type = cmd_str(c, "type"),
               *mode = cmd_str(c, "mode");
    const char *sourcetype = cmd_str(c, "sourcetype");
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    g_autofree char *full = g_canonicalize_filename(source, NULL);
    bool block = sourcetype ? !strcmp(sourcetype, "block") : g_str_has_prefix(full, "/dev/");
    g_autoptr(GString) s = g_string_new("<disk");
    attribute(s, "type", block ? "block" : "file");
    attribute(s, "device", type ? type : "disk");
    g_string_append(s, "><driver");
    attribute(s, "name", cmd_str(c, "driver") ? cmd_str(c, "driver") : "qemu");
    attribute(s, "type", cmd_str(c, "subdriver"));
    attribute(s, "cache", cmd_str(c, "cache"));
    attribute(s, "io", cmd_str(c, "io"));
    attribute(s, "discard", cmd_str(c, "discard"));
    attribute(s, "detect_zeroes", cmd_str(c, "detect-zeroes"));
    attribute(s, "iothread", cmd_str(c, "iothread"));
    g_string_append(s, "/><source");
    attribute(s, block ? "dev" : "file", full);
    g_string_append(s, "/><target");
    attribute(s, "dev", cmd_str(c, "target"));
    attribute(s, "bus", cmd_str(c, "targetbus"));
    g_string_append(s, "/>");
    if (mode && strcmp(mode, "readonly") && strcmp(mode, "shareable")) {
        return cmd_fail("--mode is readonly or shareable, not '%s'", mode);
    }
    if (mode) {
        g_string_append_printf(s, "<%s/>", mode);
    }
    if (cmd_str(c, "serial")) {
        g_autofree char *serial = g_markup_escape_text(cmd_str(c, "serial"), -1);
        g_string_append_printf(s, "<serial>%s</serial>", serial);
    }
    g_string_append(s, "</disk>");
    if (cmd_flag(c, "print-xml")) {
        puts(s->str);
        return 0;
    }
    return change(c, vm, s->str, insert, "Disk attached successfully");
}

static int do_detach_disk(struct cmd *c)
{
    VM_AUTO vm = cmd_vm(c);
    DOMAIN_AUTO d = vm ? vm_domain(vm, NULL) : NULL;
    if (!vm) {
        return 1;
    }
    const struct disk *k = d ? domain_find_disk(d, cmd_str(c, "target")) : NULL;
    if (!k) {
        return cmd_fail("domain '%s' has no disk '%s'; 'hanok domblklist' lists them", vm->name,
                        cmd_str(c, "target"));
    }
    g_autofree char *xml =
        g_markup_printf_escaped("<disk><target dev='%s'/></disk>", k->target.dev);
    return change(c, vm, xml, take_out, "Disk detached successfully");
}

/* ---- network cards ---- */

static int do_attach_interface(struct cmd *c)
{
    const char *type = cmd_str(c, "type"), *source = cmd_str(c, "source");
    VM_AUTO vm = cmd_vm(c);
    if (!vm) {
        return 1;
    }
    g_autofree char *mac = cmd_str(c, "mac") ? g_strdup(cmd_str(c, "mac")) : mac_make();
    g_autoptr(GString) s = g_string_new("<interface");
    attribute(s, "type", type);
    g_string_append(s, "><mac");
    attribute(s, "address", mac); /* one for the definition and the machine */
    g_string_append(s, "/>");
    if (source) {
        g_string_append(s, "<source");
        attribute(s,
                  !strcmp(type, "bridge")    ? "bridge"
                  : !strcmp(type, "network") ? "network"
                                             : "dev",
                  source);
        g_string_append(s, "/>");
    }
    if (cmd_str(c, "target")) {
        g_string_append(s, "<target");
        attribute(s, "dev", cmd_str(c, "target"));
        g_string_append(s, "/>");
    }
    if (cmd_str(c, "model")) {
        g_string_append(s, "<model");
        attribute(s, "type", cmd_str(c, "model"));
        g_string_append(s, "/>");
    }
    g_string_append(s, "</interface>");
    if (cmd_flag(c, "print-xml")) {
        puts(s->str);
        return 0;
    }
    return change(c, vm, s->str, insert, "Interface attached successfully");
}

static int do_detach_interface(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    const char *mac = cmd_str(c, "mac");
    VM_AUTO vm = cmd_vm(c);
    DOMAIN_AUTO d = vm ? vm_domain(vm, &err) : NULL;
    if (!d) {
        return vm ? cmd_error(&err) : 1;
    }
    if (!mac && d->devices.interfaces->len != 1) {
        return cmd_fail("domain '%s' has %u network cards; say which with --mac", vm->name,
                        d->devices.interfaces->len);
    }
    if (!mac) {
        mac = ((struct interface *)d->devices.interfaces->pdata[0])->mac.address;
    }
    g_autofree char *xml =
        g_markup_printf_escaped("<interface><mac address='%s'/></interface>", mac);
    return change(c, vm, xml, take_out, "Interface detached successfully");
}

/* ---- media, sizes ---- */

struct media {
    struct vm *vm; /* NULL: only the definition changes */
    const char *path, *source;
};

static bool set_medium(struct domain *d, void *opaque, GError **err)
{
    const struct media *m = opaque;
    struct disk *k = domain_find_disk(d, m->path);
    if (!k || (k->device != DISK_CDROM && k->device != DISK_FLOPPY)) {
        return error_set(err, HANOK_ERROR_NOT_FOUND, "domain '%s' has no drive '%s' for media",
                         d->name, m->path);
    }
    return m->vm ? device_change_medium(m->vm, d, k, m->source, err)
                 : (disk_set_source(k, m->source), true);
}

static int do_change_media(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    struct scope s;
    const char *source = cmd_str(c, "source");
    VM_AUTO vm = cmd_vm(c);
    if (!vm || !scope_read(c, vm, &s)) {
        return 1;
    }
    if (!source && !cmd_flag(c, "eject")) {
        return cmd_fail("change-media needs --source, or --eject");
    }
    g_autofree char *full =
        source && !cmd_flag(c, "eject") ? g_canonicalize_filename(source, NULL) : NULL;
    if (full && access(full, R_OK)) {
        return cmd_fail("'%s' cannot be read", full);
    }
    struct media config = {NULL, cmd_str(c, "path"), full}, live = {vm, config.path, full};
    if ((s.live && !scope_change_live(vm, set_medium, &live, &err)) ||
        (s.config && !scope_change_config(vm, set_medium, &config, &err))) {
        return cmd_error(&err);
    }
    cmd_say(c, full ? "Successfully inserted media." : "Successfully ejected media.");
    return 0;
}

static int do_blockresize(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    int64_t kib = 0;
    VM_AUTO vm = cmd_active_vm(c);
    DOMAIN_AUTO d = vm ? vm_live(vm, &err) : NULL;
    if (!d || !cmd_kib(c, "size", &kib)) {
        return err ? cmd_error(&err) : 1;
    }
    const struct disk *k = domain_find_disk(d, cmd_str(c, "path"));
    if (!k || !k->source.index.set) {
        return cmd_fail("domain '%s' has no disk '%s'; 'hanok domblklist' lists them", vm->name,
                        cmd_str(c, "path"));
    }
    QMP_AUTO q = vm_monitor_or_say(vm);
    g_autofree char *node = g_strdup_printf("libvirt-%d-format", (int)k->source.index.v);
    json_t *a = json_pack("{sssI}", "node-name", node, "size", (json_int_t)kib * 1024);
    if (!q || !qmp_call(q, "block_resize", a, NULL, &err)) {
        return q ? cmd_error(&err) : 1;
    }
    cmd_say(c, "Block device '%s' is resized", cmd_str(c, "path"));
    return 0;
}

static const struct opt device_opts[] = {
    DOMAIN_OPT,
    {"file", "the device's XML, - for standard input", OPT_REQUIRED},
    SCOPE_OPTS,
    {NULL}};
static const struct opt attach_disk_opts[] = {
    DOMAIN_OPT,
    {"source", "image or block device", OPT_REQUIRED},
    {"target", "its name in the machine: vdb", OPT_REQUIRED},
    {"targetbus", "virtio, scsi, sata, usb", OPT_NAMED},
    {"driver", "accepted: qemu", OPT_NAMED},
    {"subdriver", "the image's format: raw, qcow2", OPT_NAMED},
    {"cache", "none, writeback, writethrough, directsync, unsafe", OPT_NAMED},
    {"io", "threads, native, io_uring", OPT_NAMED},
    {"discard", "unmap or ignore", OPT_NAMED},
    {"detect-zeroes", "off, on, unmap", OPT_NAMED},
    {"iothread", "its number", OPT_NAMED},
    {"type", "disk, cdrom, floppy, lun", OPT_NAMED},
    {"mode", "readonly or shareable", OPT_NAMED},
    {"sourcetype", "file or block", OPT_NAMED},
    {"serial", "what the guest sees as serial number", OPT_NAMED},
    {"print-xml", "print the device's XML and do nothing", OPT_FLAG},
    SCOPE_OPTS,
    {NULL}};
static const struct opt detach_disk_opts[] = {
    DOMAIN_OPT, {"target", "target or source", OPT_REQUIRED}, SCOPE_OPTS, {NULL}};
static const struct opt attach_if_opts[] = {
    DOMAIN_OPT,
    {"type", "user, bridge, network", OPT_REQUIRED},
    {"source", "bridge or network", 0},
    {"target", "the tap's name", OPT_NAMED},
    {"mac", "its address", OPT_NAMED},
    {"model", "virtio", OPT_NAMED},
    {"print-xml", "print the device's XML and do nothing", OPT_FLAG},
    SCOPE_OPTS,
    {NULL}};
static const struct opt detach_if_opts[] = {
    DOMAIN_OPT, {"type", "accepted", 0}, {"mac", "its address", OPT_NAMED}, SCOPE_OPTS, {NULL}};
static const struct opt media_opts[] = {DOMAIN_OPT,
                                        {"path", "the drive: sda", OPT_REQUIRED},
                                        {"source", "the medium", 0},
                                        {"eject", "take it out", OPT_FLAG},
                                        {"insert", "accepted", OPT_FLAG},
                                        {"update", "accepted", OPT_FLAG},
                                        {"force", "accepted: it always is", OPT_FLAG},
                                        SCOPE_OPTS,
                                        {NULL}};
static const struct opt resize_opts[] = {DOMAIN_OPT,
                                         {"path", "target or source", OPT_REQUIRED},
                                         {"size", "KiB, or with a unit", OPT_REQUIRED},
                                         {NULL}};

static const struct verb verbs[] = {
    {"attach-device", "put a device in, from XML", false, do_attach_device, device_opts,
     "hanok attach-device web rng.xml --persistent"},
    {"detach-device", "take a device out", false, do_detach_device, device_opts,
     "hanok detach-device web rng.xml"},
    {"attach-disk", "put a disk in", false, do_attach_disk, attach_disk_opts,
     "hanok attach-disk web /srv/data.qcow2 vdb --subdriver qcow2 --config"},
    {"detach-disk", "take a disk out", false, do_detach_disk, detach_disk_opts,
     "hanok detach-disk web vdb"},
    {"attach-interface", "put a network card in", false, do_attach_interface, attach_if_opts,
     "hanok attach-interface web user --config"},
    {"detach-interface", "take a network card out", false, do_detach_interface, detach_if_opts,
     "hanok detach-interface web --mac 52:54:00:12:34:56"},
    {"change-media", "change or take out the medium of a drive", false, do_change_media, media_opts,
     "hanok change-media web sda /srv/tools.iso"},
    {"blockresize", "make a disk of a running machine larger", false, do_blockresize, resize_opts,
     "hanok blockresize web vda 20G"},
    {NULL}};
const struct verb_group device_verbs = {"Devices", verbs};
