/* domain_defaults.c - the second stage: what a definition leaves out is filled in, as libvirt does.
 */
#include "manager/domain.h"

#include "base/util.h"

#include <string.h>

#define CANONICAL_Q35 "pc-q35-7.2"
#define CANONICAL_PC  "pc-i440fx-7.2"

static void set_str(char **to, const char *value)
{
    if (!*to) {
        *to = g_strdup(value);
    }
}

static void set_num(struct xml_num *to, int64_t value)
{
    if (!to->set) {
        xml_num_set(to, value);
    }
}

/* ---- sizes ---- */

static bool unit_factor(const char *unit, int64_t *factor)
{
    static const struct {
        const char *name;
        int64_t factor;
    } units[] = {
        {"b", 1},           {"bytes", 1},       {"KB", 1000},     {"k", 1 << 10},
        {"KiB", 1 << 10},   {"MB", 1000000},    {"M", 1 << 20},   {"MiB", 1 << 20},
        {"GB", 1000000000}, {"G", 1 << 30},     {"GiB", 1 << 30}, {"TB", 1000000000000},
        {"T", 1ll << 40},   {"TiB", 1ll << 40},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
        if (!g_ascii_strcasecmp(units[i].name, unit)) {
            *factor = units[i].factor;
            return true;
        }
    }
    return false;
}

/* To KiB, rounded up. */
static bool scale(struct scaled *s, const char *name, GError **err)
{
    int64_t factor = 1024, bytes;
    if (!s->value.set) {
        return true;
    }
    if (s->unit && !unit_factor(s->unit, &factor)) {
        return error_set(
            err, HANOK_ERROR_INVALID,
            "line %u: <%s> has the unit '%s'; units are b, KiB, MiB, GiB, TiB, KB, MB, "
            "GB and TB",
            s->node.line, name, s->unit);
    }
    if (__builtin_mul_overflow(s->value.v, factor, &bytes) || bytes > INT64_MAX - 1023) {
        return error_set(err, HANOK_ERROR_INVALID, "line %u: <%s> is too large", s->node.line,
                         name);
    }
    s->value.v = (bytes + 1023) / 1024;
    s->value.hex = 0;
    g_free(s->unit);
    s->unit = g_strdup("KiB");
    return true;
}

static bool memory_defaults(struct domain *d, GError **err)
{
    if (!scale(&d->memory, "memory", err) || !scale(&d->current_memory, "currentMemory", err) ||
        !scale(&d->max_memory, "maxMemory", err) ||
        !scale(&d->memtune.hard_limit, "hard_limit", err) ||
        !scale(&d->memtune.soft_limit, "soft_limit", err) ||
        !scale(&d->memtune.swap_hard_limit, "swap_hard_limit", err)) {
        return false;
    }
    if (!d->memory.value.set || !d->memory.value.v) {
        return error_set(err, HANOK_ERROR_INVALID, "the domain has no <memory>");
    }
    /* -m counts in MiB: whole ones, as libvirt rounds them. */
    d->memory.value.v = ALIGN_UP(d->memory.value.v, (int64_t)1024);
    if (!d->current_memory.value.set || d->current_memory.value.v > d->memory.value.v) {
        xml_num_set(&d->current_memory.value, d->memory.value.v);
    }
    set_str(&d->current_memory.unit, "KiB");
    return true;
}

/* ---- the machine ---- */

static void os_defaults(struct domain *d)
{
    struct os_def *os = &d->os;
    bool device_boot = false;
    if (!os->type.arch) {
        os->type.arch = "x86_64";
    }
    set_str(&os->type.type, "hvm");
    if (!os->type.machine || !strcmp(os->type.machine, "q35")) {
        g_free(os->type.machine);
        os->type.machine = g_strdup(CANONICAL_Q35);
    } else if (!strcmp(os->type.machine, "pc")) {
        g_free(os->type.machine);
        os->type.machine = g_strdup(CANONICAL_PC);
    }
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        device_boot =
            device_boot || ((struct disk *)d->devices.disks->pdata[i])->info.boot.order.set;
    }
    for (unsigned i = 0; i < d->devices.interfaces->len; i++) {
        struct interface *n = d->devices.interfaces->pdata[i];
        device_boot = device_boot || n->info.boot.order.set;
    }
    if (!os->boots->len && !device_boot) {
        struct boot_dev *b = g_new0(struct boot_dev, 1);
        b->dev = "hd";
        g_ptr_array_add(os->boots, b);
    }
}

static void cpu_defaults(struct domain *d)
{
    struct cpu_def *c = &d->cpu;
    if (!c->mode) {
        bool implied = !c->model.name;
        c->mode = "custom";
        if (implied) {
            c->model.name = g_strdup("qemu64");
            c->model.fallback = "forbid";
            c->check = c->check ? c->check : "none";
        }
    }
    if (word_is(c->mode, "custom")) {
        c->match = c->match ? c->match : "exact";
        c->check = c->check ? c->check : "partial";
        c->model.fallback = c->model.fallback ? c->model.fallback : "allow";
    } else if (word_is(c->mode, "host-model")) {
        c->check = c->check ? c->check : "partial";
    } else {
        c->check = c->check ? c->check : "none";
        if (word_is(c->mode, "host-passthrough") && !c->migratable) {
            c->migratable = "on";
        }
    }
    for (unsigned i = 0; i < c->features->len; i++) {
        struct cpu_feature *f = c->features->pdata[i];
        f->policy = f->policy ? f->policy : "require";
    }
    if (c->topology.node.present) {
        set_num(&c->topology.dies, 1);
    }
}

static void machine_defaults(struct domain *d)
{
    set_num(&d->vcpu.count, 1);
    domain_vcpus_count(d);
    d->vcpu.placement = d->vcpu.placement ? d->vcpu.placement : "static";
    if (d->vcpu.current.set && d->vcpu.current.v == d->vcpu.count.v) {
        d->vcpu.current.set = false;
    }
    d->type = d->type ? d->type : "qemu";
    d->clock.offset = d->clock.offset ? d->clock.offset : "utc";
    d->on_poweroff = d->on_poweroff ? d->on_poweroff : "destroy";
    d->on_reboot = d->on_reboot ? d->on_reboot : "restart";
    d->on_crash = d->on_crash ? d->on_crash : "destroy";
    if (d->iothreadids.list->len > (unsigned)xml_num_or(d->iothreads, 0)) {
        xml_num_set(&d->iothreads, d->iothreadids.list->len);
    }
    os_defaults(d);
    cpu_defaults(d);
}

/* ---- disks ---- */

static int bus_of_target(const char *dev)
{
    static const struct {
        const char *prefix;
        int bus;
    } table[] = {{"vd", DISK_BUS_VIRTIO},
                 {"sd", DISK_BUS_SCSI},
                 {"hd", DISK_BUS_IDE},
                 {"fd", DISK_BUS_FDC},
                 {"ub", DISK_BUS_USB}};
    for (unsigned i = 0; dev && i < ARRAY_SIZE(table); i++) {
        if (g_str_has_prefix(dev, table[i].prefix)) {
            return table[i].bus;
        }
    }
    return DISK_BUS_VIRTIO;
}

static void disk_defaults(struct disk *k)
{
    k->type = k->type ? k->type : DISK_FILE;
    k->device = k->device ? k->device : DISK_DISK;
    set_str(&k->driver.name, "qemu");
    k->driver.type = k->driver.type ? k->driver.type : "raw";
    k->target.bus = k->target.bus ? k->target.bus : bus_of_target(k->target.dev);
    k->readonly = k->readonly || k->device == DISK_CDROM;
    if (word_is(k->source.protocol, "nbd")) {
        for (unsigned i = 0; i < k->source.hosts->len; i++) {
            struct source_host *h = k->source.hosts->pdata[i];
            if (!word_is(h->transport, "unix")) {
                set_str(&h->port, "10809");
            }
        }
    }
}

/* Disks of one bus stand together, in the order of their names. */
static void sort_disks(GPtrArray *disks)
{
    g_autoptr(GPtrArray) given = g_ptr_array_copy(disks, NULL, NULL);
    g_ptr_array_set_size(disks, 0);
    for (unsigned i = 0; i < given->len; i++) {
        struct disk *k = given->pdata[i];
        int at = -1;
        for (int j = (int)disks->len - 1; j >= 0; j--) {
            const struct disk *other = disks->pdata[j];
            if (other->target.bus != k->target.bus) {
                continue;
            }
            if (disk_index(other->target.dev) > disk_index(k->target.dev)) {
                at = j;
            } else if (at < 0) {
                at = j + 1;
            }
        }
        g_ptr_array_insert(disks, at < 0 ? (int)disks->len : at, k);
    }
}

/* ---- character devices ---- */

static void copy_chr(struct chr *to, const struct chr *from)
{
    to->type = from->type;
    g_free(to->source.path);
    to->source.path = g_strdup(from->source.path);
    to->source.mode = from->source.mode;
    to->source.append = from->source.append;
    to->source.node.present = from->source.node.present;
    g_free(to->source.host);
    to->source.host = g_strdup(from->source.host);
    g_free(to->source.service);
    to->source.service = g_strdup(from->source.service);
    to->protocol.type = from->protocol.type;
    to->protocol.node.present = from->protocol.node.present;
    g_free(to->log.file);
    to->log.file = g_strdup(from->log.file);
    to->log.append = from->log.append;
    to->log.node.present = from->log.node.present;
}

static void chr_source_defaults(struct chr *c)
{
    c->type = c->type ? c->type : CHR_PTY;
    if ((c->type == CHR_UNIX && c->source.path) || c->type == CHR_TCP) {
        c->source.mode = c->source.mode ? c->source.mode : "connect";
    }
    if (c->type == CHR_TCP && !c->protocol.type) {
        c->protocol.type = "raw";
    }
}

static void serial_defaults(struct chr *c, unsigned port)
{
    chr_source_defaults(c);
    if (!c->target.type || c->target.type == CHR_TARGET_SERIAL) {
        c->target.type = CHR_TARGET_ISA;
    }
    set_num(&c->target.port, port);
    set_str(&c->target.model.name, c->target.type == CHR_TARGET_PCI   ? "pci-serial"
                                   : c->target.type == CHR_TARGET_USB ? "usb-serial"
                                                                      : "isa-serial");
}

static void console_defaults(struct devices *v)
{
    /* The first console and the first serial port are one thing seen from two sides. */
    if (!v->serials->len && v->consoles->len) {
        struct chr *console = v->consoles->pdata[0];
        if (!console->target.type || console->target.type == CHR_TARGET_SERIAL) {
            struct chr *serial = xml_map_new(&chr_serial_element);
            chr_source_defaults(console);
            copy_chr(serial, console);
            serial_defaults(serial, 0);
            g_ptr_array_add(v->serials, serial);
        }
    } else if (v->serials->len && !v->consoles->len) {
        g_ptr_array_add(v->consoles, xml_map_new(&chr_console_element));
    }
    for (unsigned i = 0; i < v->consoles->len; i++) {
        struct chr *c = v->consoles->pdata[i];
        c->target.type = c->target.type ? c->target.type : CHR_TARGET_SERIAL;
        set_num(&c->target.port, i);
        if (i == 0 && c->target.type == CHR_TARGET_SERIAL && v->serials->len) {
            copy_chr(c, v->serials->pdata[0]);
        }
        chr_source_defaults(c);
    }
}

static void chr_defaults(struct devices *v)
{
    for (unsigned i = 0; i < v->serials->len; i++) {
        serial_defaults(v->serials->pdata[i], i);
    }
    for (unsigned i = 0; i < v->parallels->len; i++) {
        struct chr *c = v->parallels->pdata[i];
        chr_source_defaults(c);
        set_num(&c->target.port, i);
    }
    console_defaults(v);
    for (unsigned i = 0; i < v->channels->len; i++) {
        struct chr *c = v->channels->pdata[i];
        c->target.type = c->target.type ? c->target.type : CHR_TARGET_VIRTIO;
        chr_source_defaults(c);
        if (c->type == CHR_SPICEVMC) {
            set_str(&c->target.name, "com.redhat.spice.0");
        }
    }
}

/* ---- input, sound, screens ---- */

static void add_ps2(struct devices *v, const char *type)
{
    for (unsigned i = 0; i < v->inputs->len; i++) {
        const struct input *in = v->inputs->pdata[i];
        if (word_is(in->type, type) && word_is(in->bus, "ps2")) {
            return;
        }
    }
    struct input *in = xml_map_new(&input_element);
    in->type = type;
    in->bus = "ps2";
    g_ptr_array_add(v->inputs, in);
}

static void graphics_defaults(struct graphics *g)
{
    if (!word_is(g->type, "vnc") && !word_is(g->type, "spice")) {
        return;
    }
    const struct graphics_listen *first = g->listens->len ? g->listens->pdata[0] : NULL;
    bool socket = g->socket || (first && !word_is(first->type, "address"));
    if (!socket) {
        if (!g->port.set || g->port.v == -1) {
            g->autoport = g->autoport ? g->autoport : "yes";
            if (word_is(g->type, "vnc")) {
                xml_num_set(&g->port, -1);
            } else {
                g->port.set = false;
            }
        } else if (!g->autoport) {
            g->autoport = "no";
        }
    }
    if (!g->listens->len) {
        struct graphics_listen *l = g_new0(struct graphics_listen, 1);
        l->type = g->socket ? "socket" : "address";
        l->address = g_strdup(g->listen);
        l->socket = g_strdup(g->socket);
        g_ptr_array_add(g->listens, l);
    } else if (!g->listen && word_is(first->type, "address") && first->address) {
        g->listen = g_strdup(first->address);
    }
}

static void video_defaults(struct video *v, bool first)
{
    v->model.type = v->model.type ? v->model.type : "vga";
    if (word_is(v->model.type, "none")) {
        return;
    }
    if (word_is(v->model.type, "qxl")) {
        set_num(&v->model.ram, 65536);
        set_num(&v->model.vram, 65536);
        set_num(&v->model.vgamem, 16384);
    } else if (word_is(v->model.type, "vga") || word_is(v->model.type, "cirrus") ||
               word_is(v->model.type, "bochs") || word_is(v->model.type, "vmvga")) {
        set_num(&v->model.vram, 16384);
    }
    set_num(&v->model.heads, 1);
    if (first && !v->model.primary) {
        v->model.primary = "yes";
    }
}

static void screen_defaults(struct devices *v)
{
    bool spice = false;
    for (unsigned i = 0; i < v->graphics->len; i++) {
        struct graphics *g = v->graphics->pdata[i];
        graphics_defaults(g);
        spice = spice || word_is(g->type, "spice");
    }
    if (v->graphics->len && !v->videos->len) {
        g_ptr_array_add(v->videos, xml_map_new(&video_element));
    }
    for (unsigned i = 0; i < v->videos->len; i++) {
        video_defaults(v->videos->pdata[i], i == 0);
    }
    if (!v->audios->len) {
        struct audio *a = g_new0(struct audio, 1);
        xml_num_set(&a->id, 1);
        a->type = spice ? "spice" : "none";
        g_ptr_array_add(v->audios, a);
    }
}

static void input_defaults(struct devices *v)
{
    for (unsigned i = 0; i < v->inputs->len; i++) {
        struct input *in = v->inputs->pdata[i];
        if (!in->bus) {
            in->bus = word_is(in->type, "tablet") ? "usb" : "ps2";
        }
    }
    add_ps2(v, "mouse");
    add_ps2(v, "keyboard");
}

/* ---- the rest ---- */

static void interface_defaults(struct interface *n)
{
    n->type = n->type ? n->type : NET_USER;
    if (!n->mac.address) {
        n->mac.address = mac_make();
    }
    set_str(&n->model.type, "virtio");
    for (unsigned i = 0; i < n->forwards->len; i++) {
        struct port_forward *f = n->forwards->pdata[i];
        f->proto = f->proto ? f->proto : "tcp";
    }
}

static void other_defaults(struct devices *v)
{
    if (!v->memballoon.model) {
        v->memballoon.model = "virtio";
    }
    for (unsigned i = 0; i < v->rngs->len; i++) {
        struct rng *r = v->rngs->pdata[i];
        r->model = r->model ? r->model : "virtio";
        if (word_is(r->backend.model, "random")) {
            set_str(&r->backend.path, "/dev/urandom");
        }
    }
    for (unsigned i = 0; i < v->watchdogs->len; i++) {
        struct watchdog *w = v->watchdogs->pdata[i];
        w->action = w->action ? w->action : "reset";
    }
    for (unsigned i = 0; i < v->panics->len; i++) {
        struct panic *p = v->panics->pdata[i];
        p->model = p->model ? p->model : "isa";
    }
    for (unsigned i = 0; i < v->filesystems->len; i++) {
        struct filesystem *f = v->filesystems->pdata[i];
        f->type = f->type ? f->type : "mount";
        f->accessmode = f->accessmode ? f->accessmode : "passthrough";
    }
    for (unsigned i = 0; i < v->hostdevs->len; i++) {
        struct hostdev *h = v->hostdevs->pdata[i];
        h->mode = h->mode ? h->mode : "subsystem";
        h->managed = h->managed ? h->managed : "no";
    }
    if (v->vsock.node.present && !v->vsock.model) {
        v->vsock.model = "virtio";
    }
}

char *program_beside(const char *name)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = self ? g_path_get_dirname(self) : g_strdup(".");
    char *beside = g_build_filename(dir, name, NULL);
    if (g_file_test(beside, G_FILE_TEST_IS_EXECUTABLE)) {
        return beside;
    }
    g_free(beside);
    return g_find_program_in_path(name);
}

bool domain_post_parse(struct domain *d, GError **err)
{
    struct devices *v = &d->devices;
    v->node.present = true;
    if (!domain_name_ok(d->name, err) || !memory_defaults(d, err)) {
        return false;
    }
    if (!d->uuid) {
        d->uuid = uuid_make();
    }
    if (!v->emulator) {
        v->emulator = program_beside("hanok-vm");
        set_str(&v->emulator, "/usr/bin/hanok-vm");
    }
    for (unsigned i = 0; i < v->disks->len; i++) {
        disk_defaults(v->disks->pdata[i]);
    }
    sort_disks(v->disks);
    machine_defaults(d);
    for (unsigned i = 0; i < v->interfaces->len; i++) {
        interface_defaults(v->interfaces->pdata[i]);
    }
    chr_defaults(v);
    input_defaults(v);
    screen_defaults(v);
    other_defaults(v);
    return domain_assign_addresses(d, err);
}
