/* argv_dev.c - network cards, character devices, controllers, screens and the small devices. */
#include "argv_int.h"
#include "passt.h"

#include "base/util.h"

#include <string.h>

static json_t *device(const char *driver)
{
    json_t *o = json_object();
    json_str(o, "driver", driver);
    return o;
}

/* The rest of most devices: id, place. */
static void finish(struct argv *a, json_t *o, const struct dev_info *info)
{
    json_str(o, "id", info->alias.name);
    json_place(a->d, o, &info->address);
    argv_json(a, "-device", o);
}

/* ---- controllers ---- */

static void usb_controller(struct argv *a, const struct controller *c)
{
    static const char *const models[][2] = {{"qemu-xhci", "qemu-xhci"},
                                            {"nec-xhci", "nec-usb-xhci"},
                                            {"ehci", "usb-ehci"},
                                            {"ich9-ehci1", "ich9-usb-ehci1"},
                                            {"ich9-uhci1", "ich9-usb-uhci1"},
                                            {"ich9-uhci2", "ich9-usb-uhci2"},
                                            {"ich9-uhci3", "ich9-usb-uhci3"},
                                            {"piix3-uhci", "piix3-usb-uhci"},
                                            {"piix4-uhci", "piix4-usb-uhci"},
                                            {"pci-ohci", "pci-ohci"},
                                            {"vt82c686b-uhci", "vt82c686b-usb-uhci"}};
    const char *driver = "piix3-usb-uhci";
    if (word_is(c->model, "none")) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
        driver = word_is(c->model, models[i][0]) ? models[i][1] : driver;
    }
    json_t *o = device(driver);
    if (c->ports.set) {
        json_num(o, "p2", c->ports);
        json_num(o, "p3", c->ports);
    }
    if (c->master.startport.set) {
        g_autofree char *bus =
            c->index.v ? g_strdup_printf("usb%d.0", (int)c->index.v) : g_strdup("usb.0");
        json_str(o, "masterbus", bus);
        json_num(o, "firstport", c->master.startport);
        json_place(a->d, o, &c->info.address);
        argv_json(a, "-device", o);
        return;
    }
    finish(a, o, &c->info);
}

static void pci_controller(struct argv *a, const struct controller *c)
{
    json_t *o;
    if (c->index.v == 0) {
        return;
    }
    if (word_is(c->model, "pcie-root-port")) {
        o = device("pcie-root-port");
        json_num(o, "port", c->target.port);
        json_num(o, "chassis", c->target.chassis);
    } else if (word_is(c->model, "pci-bridge")) {
        o = device("pci-bridge");
        json_int(o, "chassis_nr", xml_num_or(c->target.chassis_nr, c->index.v));
    } else if (word_is(c->model, "dmi-to-pci-bridge")) {
        o = device("i82801b11-bridge");
    } else {
        o = device("pcie-pci-bridge");
    }
    if (c->target.hotplug) {
        json_object_set_new(o, "hotplug", json_boolean(word_is(c->target.hotplug, "on")));
    }
    finish(a, o, &c->info);
}

static void one_controller(struct argv *a, const struct controller *c)
{
    switch (c->type) {
    case CONTROLLER_PCI:
        pci_controller(a, c);
        break;
    case CONTROLLER_USB:
        usb_controller(a, c);
        break;
    case CONTROLLER_SCSI: {
        g_autofree char *driver = word_is(c->model, "lsilogic")
                                      ? g_strdup("lsi")
                                      : virtio_driver_name("virtio-scsi", c->model);
        json_t *o = device(driver);
        if (c->driver.iothread.set) {
            g_autofree char *name = g_strdup_printf("iothread%d", (int)c->driver.iothread.v);
            json_str(o, "iothread", name);
        }
        json_str(o, "id", c->info.alias.name);
        json_num(o, "num_queues", c->driver.queues);
        json_num(o, "cmd_per_lun", c->driver.cmd_per_lun);
        json_num(o, "max_sectors", c->driver.max_sectors);
        json_place(a->d, o, &c->info.address);
        argv_json(a, "-device", o);
        break;
    }
    case CONTROLLER_VIRTIO_SERIAL: {
        g_autofree char *driver = virtio_driver_name("virtio-serial", c->model);
        json_t *o = device(driver);
        json_virtio(o, c->driver.iommu, c->driver.ats, c->driver.packed);
        json_str(o, "id", c->info.alias.name);
        json_num(o, "max_ports", c->ports);
        json_num(o, "vectors", c->vectors);
        json_place(a->d, o, &c->info.address);
        argv_json(a, "-device", o);
        break;
    }
    case CONTROLLER_SATA:
        if (c->index.v || !domain_is_q35(a->d)) {
            finish(a, device("ahci"), &c->info);
        }
        break;
    default:
        break;
    }
}

bool argv_controllers(struct argv *a)
{
    static const int order[] = {CONTROLLER_PCI, CONTROLLER_USB,  CONTROLLER_SCSI,
                                CONTROLLER_IDE, CONTROLLER_SATA, CONTROLLER_VIRTIO_SERIAL};
    for (unsigned k = 0; k < ARRAY_SIZE(order); k++) {
        for (unsigned i = 0; i < a->d->devices.controllers->len; i++) {
            const struct controller *c = a->d->devices.controllers->pdata[i];
            if (c->type == order[k]) {
                one_controller(a, c);
            }
        }
    }
    return true;
}

/* ---- network cards ---- */

static void json_forwards(json_t *o, const struct interface *n)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < n->forwards->len; i++) {
        const struct port_forward *f = n->forwards->pdata[i];
        for (unsigned j = 0; j < f->ranges->len; j++) {
            const struct port_range *r = f->ranges->pdata[j];
            int64_t start = xml_num_or(r->start, 0), end = xml_num_or(r->end, start),
                    to = xml_num_or(r->to, start);
            for (int64_t p = start; !word_is(r->exclude, "yes") && p <= end; p++) {
                char text[160];
                g_snprintf(text, sizeof(text), "%s:%s:%d-:%d", f->proto,
                           f->address ? f->address : "", (int)p, (int)(to + p - start));
                json_array_append_new(list, json_pack("{ss}", "str", text));
            }
        }
    }
    if (json_array_size(list)) {
        json_object_set(o, "hostfwd", list);
    }
    json_decref(list);
}

/* libvirt's, word by word */
static void json_passt(json_t *o, const struct interface *n, const char *dir)
{
    g_autofree char *socket = passt_socket(n, dir);
    json_str(o, "type", "stream");
    json_object_set_new(o, "addr", json_pack("{ssss}", "type", "unix", "path", socket));
    json_object_set_new(o, "server", json_false());
}

json_t *argv_net_backend(const struct interface *n, int fd, const char *dir, GError **err)
{
    json_t *o = json_object();
    g_autofree char *id = g_strdup_printf("host%s", n->info.alias.name);
    switch (n->type) {
    case NET_USER:
        if (passt_wanted(n)) {
            json_passt(o, n, dir);
            break;
        }
        json_str(o, "type", "user");
        for (unsigned i = 0; i < n->ips->len; i++) {
            const struct net_address *ip = n->ips->pdata[i];
            g_autofree char *net =
                g_strdup_printf("%s/%d", ip->address, (int)xml_num_or(ip->prefix, 24));
            json_str(o, word_is(ip->family, "ipv6") ? "ipv6-net" : "net", net);
        }
        json_forwards(o, n);
        break;
    case NET_BRIDGE:
    case NET_ETHERNET:
    case NET_NETWORK: {
        g_autofree char *number = g_strdup_printf("%d", fd);
        json_str(o, "type", "tap");
        json_str(o, "fd", number);
        break;
    }
    default:
        json_decref(o);
        error_set(err, HANOK_ERROR_UNSUPPORTED,
                  "line %u: an interface's type is user, bridge, ethernet or network here",
                  n->node.line);
        return NULL;
    }
    json_str(o, "id", id);
    return o;
}

static bool first_interface(const struct domain *d, const struct interface *n)
{
    return d->devices.interfaces->len && d->devices.interfaces->pdata[0] == n;
}

json_t *argv_net_device(const struct domain *d, const struct interface *n)
{
    bool virtio = g_str_has_prefix(n->model.type, "virtio");
    g_autofree char *driver =
        virtio ? virtio_driver_name("virtio-net", n->model.type) : g_strdup(n->model.type);
    g_autofree char *netdev = g_strdup_printf("host%s", n->info.alias.name);
    json_t *o = device(driver);
    if (virtio) {
        json_str(o, "tx", word_is(n->driver.txmode, "iothread") ? "bh" : n->driver.txmode);
        json_virtio(o, n->driver.iommu, n->driver.ats, n->driver.packed);
        if (xml_num_or(n->driver.queues, 1) > 1) {
            json_object_set_new(o, "mq", json_true());
            json_int(o, "vectors", 2 * n->driver.queues.v + 2);
        }
        json_num(o, "rx_queue_size", n->driver.rx_queue_size);
        json_num(o, "tx_queue_size", n->driver.tx_queue_size);
        json_num(o, "host_mtu", n->mtu.size);
    }
    json_str(o, "netdev", netdev);
    json_str(o, "id", n->info.alias.name);
    json_str(o, "mac", n->mac.address);
    json_bootindex(d, o, &n->info, "network", first_interface(d, n));
    json_place(d, o, &n->info.address);
    if (n->info.rom.file) {
        json_str(o, "romfile", n->info.rom.file);
    } else if (word_is(n->info.rom.enabled, "no")) {
        json_str(o, "romfile", "");
    }
    return o;
}

bool argv_nets(struct argv *a)
{
    GPtrArray *fs = a->d->devices.filesystems;
    for (unsigned i = 0; i < fs->len; i++) {
        const struct filesystem *f = fs->pdata[i];
        if (word_is(f->driver.type, "virtiofs") || !f->source.dir || !f->target.dir) {
            return error_set(a->err, HANOK_ERROR_UNSUPPORTED,
                             "line %u: a <filesystem> is of type='mount' with <source dir=''/> and "
                             "<target dir=''/>",
                             f->node.line);
        }
        g_autofree char *path = argv_value(f->source.dir);
        argv_add(a, "-fsdev", "local,security_model=%s,id=fsdev-%s,path=%s%s",
                 word_is(f->accessmode, "squash") ? "none" : f->accessmode, f->info.alias.name,
                 path, f->readonly ? ",readonly=on" : "");
        g_autofree char *fsdev = g_strdup_printf("fsdev-%s", f->info.alias.name);
        json_t *o = device("virtio-9p-pci");
        json_str(o, "id", f->info.alias.name);
        json_str(o, "fsdev", fsdev);
        json_str(o, "mount_tag", f->target.dir);
        json_place(a->d, o, &f->info.address);
        argv_json(a, "-device", o);
    }
    for (unsigned i = 0; i < a->d->devices.interfaces->len; i++) {
        const struct interface *n = a->d->devices.interfaces->pdata[i];
        json_t *backend =
            argv_net_backend(n, a->o->net_fds ? a->o->net_fds[i] : 26 + (int)i, a->o->dir, a->err);
        if (!backend) {
            return false;
        }
        argv_json(a, "-netdev", backend);
        argv_json(a, "-device", argv_net_device(a->d, n));
    }
    return true;
}

/* ---- character devices ---- */

char *argv_channel_path(const struct chr *c, const char *dir)
{
    return c->source.path ? g_strdup(c->source.path)
                          : g_strdup_printf("%s/%s", dir,
                                            c->target.name ? c->target.name : c->info.alias.name);
}

static char *socket_options(const struct chr *c)
{
    bool bind = word_is(c->source.mode, "bind") || (c->type == CHR_UNIX && !c->source.path);
    bool telnet = word_is(c->protocol.type, "telnet");
    return g_strdup_printf("%s%s", telnet ? ",telnet=on" : "",
                           bind ? ",server=on,wait=off" : ",reconnect=1");
}

static bool add_chardev(struct argv *a, const struct chr *c)
{
    const char *alias = c->info.alias.name;
    g_autofree char *path = c->source.path ? argv_value(c->source.path) : NULL;
    g_autofree char *host = argv_value(c->source.host ? c->source.host : "");
    g_autofree char *service = argv_value(c->source.service ? c->source.service : "");
    g_autofree char *socket = socket_options(c);
    g_autoptr(GString) log = g_string_new(NULL);
    if (c->log.file) {
        g_autofree char *file = argv_value(c->log.file);
        g_string_append_printf(log, ",logfile=%s,logappend=%s", file,
                               word_is(c->log.append, "on") ? "on" : "off");
    }
    switch (c->type) {
    case CHR_PTY:
        argv_add(a, "-chardev", "pty,id=char%s%s", alias, log->str);
        return true;
    case CHR_FILE:
        argv_add(a, "-chardev", "file,id=char%s,path=%s%s%s", alias, path,
                 word_is(c->source.append, "on") ? ",append=on" : "", log->str);
        return true;
    case CHR_DEV:
        argv_add(a, "-chardev", "serial,id=char%s,path=%s%s", alias, path, log->str);
        return true;
    case CHR_PIPE:
        argv_add(a, "-chardev", "pipe,id=char%s,path=%s%s", alias, path, log->str);
        return true;
    case CHR_NULL:
    case CHR_STDIO:
    case CHR_VC:
        argv_add(a, "-chardev", "%s,id=char%s%s",
                 c->type == CHR_NULL    ? "null"
                 : c->type == CHR_STDIO ? "stdio"
                                        : "vc",
                 alias, log->str);
        return true;
    case CHR_UNIX: {
        g_autofree char *own = argv_channel_path(c, a->o->dir);
        g_autofree char *value = argv_value(own);
        argv_add(a, "-chardev", "socket,id=char%s,path=%s%s%s", alias, value, socket, log->str);
        return true;
    }
    case CHR_TCP:
        argv_add(a, "-chardev", "socket,id=char%s,host=%s,port=%s%s%s", alias, host, service,
                 socket, log->str);
        return true;
    case CHR_SPICEVMC:
        argv_add(a, "-chardev", "spicevmc,id=char%s,name=vdagent%s", alias, log->str);
        return true;
    default:
        return error_set(a->err, HANOK_ERROR_UNSUPPORTED,
                         "line %u: character devices of this type are not possible here; use pty, "
                         "file, unix or tcp",
                         c->node.line);
    }
}

static void chr_device(struct argv *a, const struct chr *c, const char *driver, bool index)
{
    json_t *o = device(driver);
    g_autofree char *chardev = g_strdup_printf("char%s", c->info.alias.name);
    if (c->info.address.type == ADDRESS_VIRTIO_SERIAL) {
        g_autofree char *bus =
            g_strdup_printf("virtio-serial%d.0", (int)c->info.address.controller.v);
        json_str(o, "bus", bus);
        if (c->info.address.port) {
            json_int(o, "nr", g_ascii_strtoll(c->info.address.port, NULL, 10));
        }
    }
    json_str(o, "chardev", chardev);
    json_str(o, "id", c->info.alias.name);
    if (index) {
        json_num(o, "index", c->target.port);
    } else if (c->info.address.type != ADDRESS_VIRTIO_SERIAL) {
        json_place(a->d, o, &c->info.address);
    }
    json_str(o, "name", c->target.name);
    argv_json(a, "-device", o);
}

bool argv_chrs(struct argv *a)
{
    struct devices *v = &a->d->devices;
    for (unsigned i = 0; i < v->serials->len; i++) {
        const struct chr *c = v->serials->pdata[i];
        bool isa = c->target.type == CHR_TARGET_ISA;
        if (!add_chardev(a, c)) {
            return false;
        }
        chr_device(a, c,
                   isa                                ? "isa-serial"
                   : c->target.type == CHR_TARGET_PCI ? "pci-serial"
                                                      : "usb-serial",
                   isa);
    }
    for (unsigned i = 0; i < v->parallels->len; i++) {
        if (!add_chardev(a, v->parallels->pdata[i])) {
            return false;
        }
        chr_device(a, v->parallels->pdata[i], "isa-parallel", false);
    }
    for (unsigned i = 0; i < v->channels->len; i++) {
        if (!add_chardev(a, v->channels->pdata[i])) {
            return false;
        }
        chr_device(a, v->channels->pdata[i], "virtserialport", false);
    }
    for (unsigned i = 0; i < v->consoles->len; i++) {
        const struct chr *c = v->consoles->pdata[i];
        if (c->target.type != CHR_TARGET_VIRTIO) {
            continue; /* the serial port's other side */
        }
        if (!add_chardev(a, c)) {
            return false;
        }
        chr_device(a, c, "virtconsole", false);
    }
    return true;
}

/* ---- input, screens, sound ---- */

static void add_inputs(struct argv *a)
{
    for (unsigned i = 0; i < a->d->devices.inputs->len; i++) {
        const struct input *in = a->d->devices.inputs->pdata[i];
        if (word_is(in->bus, "usb")) {
            finish(a,
                   device(word_is(in->type, "keyboard") ? "usb-kbd"
                          : word_is(in->type, "mouse")  ? "usb-mouse"
                                                        : "usb-tablet"),
                   &in->info);
        } else if (word_is(in->bus, "virtio")) {
            g_autofree char *base = g_strdup_printf("virtio-%s", in->type);
            g_autofree char *driver = virtio_driver_name(base, in->model);
            finish(a, device(driver), &in->info);
        }
    }
}

static void add_graphics(struct argv *a, unsigned i)
{
    const struct graphics *g = a->d->devices.graphics->pdata[i];
    const struct graphics_listen *l = g->listens->len ? g->listens->pdata[0] : NULL;
    const char *host = l && l->address ? l->address : "127.0.0.1";
    g_autofree char *socket =
        l && word_is(l->type, "socket") && l->socket ? argv_value(l->socket) : NULL;
    int port = a->o->vnc_ports ? a->o->vnc_ports[i] : (int)xml_num_or(g->port, -1);
    if (port < 0) {
        port = 5900 + (int)i;
    }
    if (word_is(g->type, "vnc")) {
        g_autofree char *where =
            l && word_is(l->type, "none") ? g_strdup("none")
            : socket                      ? g_strdup_printf("unix:%s", socket)
                     : g_strdup_printf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port - 5900);
        argv_add(a, "-vnc", "%s%s%s%s,audiodev=audio1", where, g->passwd ? ",password=on" : "",
                 g->share_policy ? ",share=" : "", g->share_policy ? g->share_policy : "");
        if (g->keymap) {
            argv_add(a, "-k", "%s", g->keymap);
        }
    } else if (word_is(g->type, "spice")) {
        argv_add(a, "-spice", "port=%d,addr=%s,disable-ticketing=on%s%s,seamless-migration=on",
                 port, host, g->image.compression ? ",image-compression=" : "",
                 g->image.compression ? g->image.compression : "");
    } else {
        argv_add(a, "-display", "%s", g->type);
    }
}

static void add_video(struct argv *a, const struct video *s, bool first)
{
    const char *type = s->model.type;
    json_t *o;
    if (word_is(type, "none")) {
        return;
    }
    if (word_is(type, "virtio")) {
        bool gl = word_is(s->model.acceleration.accel3d, "yes");
        o = device(first ? (gl ? "virtio-vga-gl" : "virtio-vga")
                         : (gl ? "virtio-gpu-gl-pci" : "virtio-gpu-pci"));
        json_str(o, "id", s->info.alias.name);
        json_num(o, "max_outputs", s->model.heads);
    } else if (word_is(type, "qxl")) {
        o = device(first ? "qxl-vga" : "qxl");
        json_str(o, "id", s->info.alias.name);
        json_num(o, "max_outputs", s->model.heads);
        json_int(o, "ram_size", xml_num_or(s->model.ram, 65536) * 1024);
        json_int(o, "vram_size", xml_num_or(s->model.vram, 65536) * 1024);
        json_int(o, "vram64_size_mb", 0);
        json_int(o, "vgamem_mb", xml_num_or(s->model.vgamem, 16384) / 1024);
    } else {
        o = device(word_is(type, "vga")      ? "VGA"
                   : word_is(type, "bochs")  ? "bochs-display"
                   : word_is(type, "cirrus") ? "cirrus-vga"
                   : word_is(type, "ramfb")  ? "ramfb"
                                             : "vmware-svga");
        json_str(o, "id", s->info.alias.name);
        if (word_is(type, "vga")) {
            json_int(o, "vgamem_mb", xml_num_or(s->model.vram, 16384) / 1024);
        }
    }
    json_num(o, "xres", s->model.resolution.x);
    json_num(o, "yres", s->model.resolution.y);
    json_place(a->d, o, &s->info.address);
    argv_json(a, "-device", o);
}

static void add_sound(struct argv *a, const struct sound *s)
{
    static const char *const models[][2] = {{"ich9", "ich9-intel-hda"}, {"ich6", "intel-hda"},
                                            {"ich7", "intel-hda"},      {"ac97", "AC97"},
                                            {"es1370", "ES1370"},       {"sb16", "sb16"},
                                            {"usb", "usb-audio"},       {"pcspk", "isa-pcspk"}};
    const char *driver = "intel-hda";
    for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
        driver = word_is(s->model, models[i][0]) ? models[i][1] : driver;
    }
    finish(a, device(driver), &s->info);
    if (strstr(driver, "hda")) {
        g_autofree char *bus = g_strdup_printf("%s.0", s->info.alias.name);
        g_autofree char *id = g_strdup_printf("%s-codec0", s->info.alias.name);
        g_autofree char *codec =
            g_strdup_printf("hda-%s", s->codec.type ? s->codec.type : "duplex");
        argv_json(a, "-device",
                  json_pack("{ssssss sI ss}", "driver", codec, "id", id, "bus", bus, "cad",
                            (json_int_t)0, "audiodev", "audio1"));
    }
}

bool argv_screens(struct argv *a)
{
    struct devices *v = &a->d->devices;
    for (unsigned i = 0; i < v->hubs->len; i++) {
        finish(a, device("usb-hub"), &((struct hub *)v->hubs->pdata[i])->info);
    }
    add_inputs(a);
    for (unsigned i = 0; i < v->audios->len; i++) {
        const struct audio *s = v->audios->pdata[i];
        g_autofree char *id = g_strdup_printf("audio%d", (int)xml_num_or(s->id, 1));
        const char *type = word_is(s->type, "pulseaudio") ? "pa"
                           : word_is(s->type, "file")     ? "wav"
                                                          : s->type;
        argv_json(a, "-audiodev", json_pack("{ssss}", "id", id, "driver", type ? type : "none"));
    }
    for (unsigned i = 0; i < v->graphics->len; i++) {
        add_graphics(a, i);
    }
    for (unsigned i = 0; i < v->videos->len; i++) {
        add_video(a, v->videos->pdata[i], i == 0);
    }
    for (unsigned i = 0; i < v->sounds->len; i++) {
        add_sound(a, v->sounds->pdata[i]);
    }
    return true;
}

/* ---- the small devices ---- */

static bool add_hostdev(struct argv *a, const struct hostdev *h)
{
    const struct hostdev_address *s = &h->source.address;
    char text[64];
    json_t *o;
    if (word_is(h->type, "pci")) {
        o = device("vfio-pci");
        g_snprintf(text, sizeof(text), "%04x:%02x:%02x.%x", (unsigned)xml_num_or(s->domain, 0),
                   (unsigned)xml_num_or(s->bus, 0), (unsigned)xml_num_or(s->slot, 0),
                   (unsigned)xml_num_or(s->function, 0));
        json_str(o, "host", text);
        json_str(o, "id", h->info.alias.name);
        json_bootindex(a->d, o, &h->info, NULL, false);
        json_place(a->d, o, &h->info.address);
    } else if (word_is(h->type, "usb") && s->bus.set && s->device.set) {
        o = device("usb-host");
        json_num(o, "hostbus", s->bus);
        json_num(o, "hostaddr", s->device);
        json_str(o, "id", h->info.alias.name);
        json_place(a->d, o, &h->info.address);
    } else {
        return error_set(
            a->err, HANOK_ERROR_UNSUPPORTED,
            "line %u: a <hostdev> is of type='pci', or of type='usb' with <address bus='' "
            "device=''/>",
            h->node.line);
    }
    argv_json(a, "-device", o);
    return true;
}

json_t *argv_rng_object(const struct rng *r)
{
    g_autofree char *id = g_strdup_printf("obj%s", r->info.alias.name);
    if (word_is(r->backend.model, "builtin")) {
        return json_pack("{ssss}", "qom-type", "rng-builtin", "id", id);
    }
    return json_pack("{ssssss}", "qom-type", "rng-random", "id", id, "filename", r->backend.path);
}

json_t *argv_rng_device(const struct domain *d, const struct rng *r)
{
    g_autofree char *driver = virtio_driver_name("virtio-rng", r->model);
    g_autofree char *object = g_strdup_printf("obj%s", r->info.alias.name);
    json_t *o = device(driver);
    json_virtio(o, r->driver.iommu, r->driver.ats, r->driver.packed);
    json_str(o, "rng", object);
    json_str(o, "id", r->info.alias.name);
    if (r->rate.bytes.set) {
        json_num(o, "max-bytes", r->rate.bytes);
        json_int(o, "period", xml_num_or(r->rate.period, 1000));
    }
    json_place(d, o, &r->info.address);
    return o;
}

static void add_balloon(struct argv *a)
{
    const struct memballoon *b = &a->d->devices.memballoon;
    if (word_is(b->model, "none")) {
        return;
    }
    g_autofree char *driver = virtio_driver_name("virtio-balloon", b->model);
    json_t *o = device(driver);
    json_virtio(o, b->driver.iommu, b->driver.ats, b->driver.packed);
    json_str(o, "id", b->info.alias.name);
    if (b->autodeflate) {
        json_object_set_new(o, "deflate-on-oom", json_boolean(word_is(b->autodeflate, "on")));
    }
    if (b->free_page_reporting) {
        json_object_set_new(o, "free-page-reporting",
                            json_boolean(word_is(b->free_page_reporting, "on")));
    }
    json_place(a->d, o, &b->info.address);
    argv_json(a, "-device", o);
}

static void add_redirs(struct argv *a)
{
    for (unsigned i = 0; i < a->d->devices.redirdevs->len; i++) {
        const struct redirdev *r = a->d->devices.redirdevs->pdata[i];
        g_autofree char *chardev = g_strdup_printf("char%s", r->info.alias.name);
        argv_add(a, "-chardev", "spicevmc,id=%s,name=usbredir", chardev);
        json_t *o = device("usb-redir");
        json_str(o, "chardev", chardev);
        finish(a, o, &r->info);
    }
}

bool argv_others(struct argv *a)
{
    struct devices *v = &a->d->devices;
    for (unsigned i = 0; i < v->watchdogs->len; i++) {
        const struct watchdog *w = v->watchdogs->pdata[i];
        if (!word_is(w->model, "itco")) {
            finish(a, device(w->model ? w->model : "i6300esb"), &w->info);
        }
        argv_add(a, "-watchdog-action", "%s", word_is(w->action, "dump") ? "pause" : w->action);
    }
    add_redirs(a);
    for (unsigned i = 0; i < v->hostdevs->len; i++) {
        if (!add_hostdev(a, v->hostdevs->pdata[i])) {
            return false;
        }
    }
    add_balloon(a);
    for (unsigned i = 0; i < v->rngs->len; i++) {
        argv_json(a, "-object", argv_rng_object(v->rngs->pdata[i]));
        argv_json(a, "-device", argv_rng_device(a->d, v->rngs->pdata[i]));
    }
    return true;
}

/* Behind -sandbox, where libvirt has them. */
void argv_panics(struct argv *a)
{
    struct devices *v = &a->d->devices;
    for (unsigned i = 0; i < v->panics->len; i++) {
        const struct panic *p = v->panics->pdata[i];
        argv_json(a, "-device", device(word_is(p->model, "pvpanic") ? "pvpanic-pci" : "pvpanic"));
    }
    if (v->vsock.node.present) {
        g_autofree char *driver = virtio_driver_name("vhost-vsock", v->vsock.model);
        json_t *o = device(driver);
        json_str(o, "id", v->vsock.info.alias.name);
        json_num(o, "guest-cid", v->vsock.cid.address);
        json_place(a->d, o, &v->vsock.info.address);
        argv_json(a, "-device", o);
    }
}
