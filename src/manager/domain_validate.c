/* domain_validate.c - the third stage: what cannot work, with the line that asks for it.
 *
 * Only what is wrong in itself is refused here; what one emulator lacks, it says itself at start.
 */
#include "manager/domain.h"

#include "base/util.h"

#include <string.h>

enum { MAX_VCPUS = 288, MAX_IOTHREADS = 64 };

#define BAD(node_, ...) bad(err, &(node_), __VA_ARGS__)

static bool bad(GError **err, const struct xml_node *n, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
static bool bad(GError **err, const struct xml_node *n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (n->line) {
        return error_set(err, HANOK_ERROR_INVALID, "line %u: %s", n->line, text);
    }
    return error_set(err, HANOK_ERROR_INVALID, "%s", text);
}

static bool plain_text(const char *text)
{
    return !text || !strpbrk(text, "\n\r");
}

/* ---- processors, memory ---- */

static bool check_cpuset(const struct xml_node *n, const char *text, GError **err)
{
    unsigned long bits[4096 / 64];
    g_autoptr(GError) why = NULL;
    if (text && !cpuset_parse(text, 4096, bits, &why)) {
        return bad(err, n, "%s", why->message);
    }
    return true;
}

/* Those that stay are the first ones: an emulator can be told no other. */
static bool check_vcpu_list(const struct domain *d, GError **err)
{
    unsigned stay = 0, seen[MAX_VCPUS] = {0};
    for (unsigned i = 0; i < d->vcpus.vcpus->len; i++) {
        const struct vcpu_state *v = d->vcpus.vcpus->pdata[i];
        if (!v->id.set || v->id.v >= domain_vcpus_max(d) || !v->enabled || seen[v->id.v]++) {
            return BAD(
                v->node,
                "<vcpus> has a <vcpu id='' enabled=''> for each, once, with id= from 0 to %u",
                domain_vcpus_max(d) - 1);
        }
        stay += word_is(v->enabled, "yes") && !word_is(v->hotpluggable, "yes");
    }
    for (unsigned i = 0; i < d->vcpus.vcpus->len; i++) {
        const struct vcpu_state *v = d->vcpus.vcpus->pdata[i];
        if (word_is(v->enabled, "yes") && !word_is(v->hotpluggable, "yes") && v->id.v >= stay) {
            return BAD(v->node,
                       "the vcpus of hotpluggable='no' must be the first ones, and vcpu %d is not",
                       (int)v->id.v);
        }
        if (!v->id.v && (!word_is(v->enabled, "yes") || word_is(v->hotpluggable, "yes"))) {
            return BAD(v->node, "vcpu 0 is always enabled, and cannot be hotpluggable");
        }
    }
    return true;
}

static bool check_vcpus(const struct domain *d, GError **err)
{
    int64_t max = xml_num_or(d->vcpu.count, 1), now = xml_num_or(d->vcpu.current, max);
    if (max < 1 || max > MAX_VCPUS) {
        return BAD(d->vcpu.node, "<vcpu> is a number from 1 to %d", MAX_VCPUS);
    }
    if (now < 1 || now > max) {
        return BAD(d->vcpu.node, "current='%d' is not between 1 and <vcpu>'s %d", (int)now,
                   (int)max);
    }
    if (!check_vcpu_list(d, err)) {
        return false;
    }
    const __typeof__(d->cpu.topology) *t = &d->cpu.topology;
    if (t->node.present) {
        int64_t product, sockets = xml_num_or(t->sockets, 0), cores = xml_num_or(t->cores, 0),
                         threads = xml_num_or(t->threads, 0), dies = xml_num_or(t->dies, 1);
        if (sockets < 1 || cores < 1 || threads < 1 || dies < 1) {
            return BAD(t->node, "<topology> needs sockets, cores and threads of at least 1");
        }
        if (__builtin_mul_overflow(sockets, dies, &product) ||
            __builtin_mul_overflow(product, cores, &product) ||
            __builtin_mul_overflow(product, threads, &product) || product != max) {
            return BAD(
                t->node,
                "the topology's product (sockets * dies * cores * threads) is not <vcpu>'s %d",
                (int)max);
        }
    }
    if (word_is(d->cpu.mode, "custom") && (!d->cpu.model.name || !*d->cpu.model.name)) {
        return BAD(d->cpu.node, "a <cpu mode='custom'> needs a <model>");
    }
    return check_cpuset(&d->vcpu.node, d->vcpu.cpuset, err);
}

static bool check_pins(const struct domain *d, GError **err)
{
    unsigned long seen[(MAX_VCPUS + 63) / 64] = {0};
    for (unsigned i = 0; i < d->cputune.vcpupins->len; i++) {
        const struct pin *p = d->cputune.vcpupins->pdata[i];
        if (!p->number.set || p->number.v >= domain_vcpus_max(d) || !p->cpuset) {
            return BAD(p->node,
                       "<vcpupin> needs vcpu= (0 to %u) and cpuset=", domain_vcpus_max(d) - 1);
        }
        if (seen[p->number.v / 64] >> (p->number.v % 64) & 1) {
            return BAD(p->node, "vcpu %d is pinned twice", (int)p->number.v);
        }
        seen[p->number.v / 64] |= 1ul << (p->number.v % 64);
        if (!check_cpuset(&p->node, p->cpuset, err)) {
            return false;
        }
    }
    if (d->cputune.emulatorpin.node.present &&
        !check_cpuset(&d->cputune.emulatorpin.node, d->cputune.emulatorpin.cpuset, err)) {
        return false;
    }
    for (unsigned i = 0; i < d->cputune.iothreadpins->len; i++) {
        const struct pin *p = d->cputune.iothreadpins->pdata[i];
        if (!p->number.set || !p->cpuset || !check_cpuset(&p->node, p->cpuset, err)) {
            return (err && *err) || BAD(p->node, "<iothreadpin> needs iothread= and cpuset=");
        }
    }
    if (xml_num_or(d->iothreads, 0) > MAX_IOTHREADS) {
        return BAD(d->node, "there are more than %d iothreads", MAX_IOTHREADS);
    }
    return true;
}

static bool has_iothread(const struct domain *d, int64_t id)
{
    for (unsigned i = 0; i < d->iothreadids.list->len; i++) {
        if (((struct iothread *)d->iothreadids.list->pdata[i])->id.v == id) {
            return true;
        }
    }
    return id >= 1 && id <= xml_num_or(d->iothreads, 0);
}

/* ---- disks ---- */

static bool check_network_source(const struct disk *k, GError **err)
{
    if (!k->source.protocol) {
        return BAD(k->source.node, "a network disk's <source> needs protocol='nbd'");
    }
    if (word_is(k->source.protocol, "nbd")) {
        const struct source_host *h = k->source.hosts->len == 1 ? k->source.hosts->pdata[0] : NULL;
        if (!h || !(word_is(h->transport, "unix") ? h->socket : h->name)) {
            return BAD(k->source.node, "an nbd <source> needs one <host name='' port=''/>, or "
                                       "<host transport='unix' socket=''/>");
        }
    }
    return true;
}

static bool check_disk_source(const struct disk *k, GError **err)
{
    g_autofree char *text = disk_source_text(k);
    bool removable = k->device == DISK_CDROM || k->device == DISK_FLOPPY;
    if (k->type == DISK_NETWORK) {
        return check_network_source(k, err);
    }
    if (!text && !removable) {
        return BAD(k->node, "the disk '%s' has no <source>", k->target.dev);
    }
    if (text && (k->type == DISK_FILE || k->type == DISK_BLOCK) && *text != '/') {
        return BAD(k->source.node, "the path '%s' of disk '%s' does not begin with '/'", text,
                   k->target.dev);
    }
    for (const struct backing_store *b = k->backing; b; b = b->next) {
        if (b->type && !b->format.type) {
            return BAD(b->node, "<backingStore> needs a <format type=''/>");
        }
    }
    return plain_text(text) ||
           BAD(k->source.node, "the source of '%s' contains a line break", k->target.dev);
}

static bool check_disk_place(const struct disk *k, GError **err)
{
    const struct address *a = &k->info.address;
    bool drive = k->target.bus != DISK_BUS_VIRTIO && k->target.bus != DISK_BUS_USB;
    if (a->type == ADDRESS_VIRTIO_MMIO && k->target.bus == DISK_BUS_VIRTIO) {
        return true;
    }
    if (a->type == ADDRESS_NONE || a->type == (drive                           ? ADDRESS_DRIVE
                                               : k->target.bus == DISK_BUS_USB ? ADDRESS_USB
                                                                               : ADDRESS_PCI)) {
        return true;
    }
    return BAD(a->node, "disk '%s' cannot have an address of this type", k->target.dev);
}

static bool check_disk(const struct domain *d, const struct disk *k, GError **err)
{
    if (!k->target.dev || disk_index(k->target.dev) < 0) {
        return BAD(k->node, "a <disk> needs a <target dev='vda'/> (vdX, sdX, hdX or fdX)");
    }
    if (k->device == DISK_CDROM && k->target.bus == DISK_BUS_VIRTIO) {
        return BAD(k->target.node, "a CD-ROM cannot be on bus='virtio'; use bus='sata'");
    }
    if (k->driver.iothread.set && !has_iothread(d, k->driver.iothread.v)) {
        return BAD(k->driver.node,
                   "disk '%s' uses iothread %d, which is not among the domain's "
                   "<iothreads>",
                   k->target.dev, (int)k->driver.iothread.v);
    }
    if (k->driver.iothread.set && k->target.bus != DISK_BUS_VIRTIO) {
        return BAD(k->driver.node, "only disks on bus='virtio' can have an iothread");
    }
    if (k->driver.queues.set && (k->driver.queues.v < 1 || k->driver.queues.v > 1024)) {
        return BAD(k->driver.node, "queues of disk '%s' is a number from 1 to 1024", k->target.dev);
    }
    if (word_is(k->driver.io, "native") && !word_is(k->driver.cache, "none") &&
        !word_is(k->driver.cache, "directsync")) {
        return BAD(k->driver.node, "io='native' needs cache='none' or cache='directsync'");
    }
    if (k->serial && strlen(k->serial) > 64) {
        return BAD(k->node, "the serial of disk '%s' is longer than 64 characters", k->target.dev);
    }
    return check_disk_source(k, err) && check_disk_place(k, err);
}

static bool check_disks(const struct domain *d, GError **err)
{
    for (unsigned i = 0; i < d->devices.disks->len; i++) {
        const struct disk *k = d->devices.disks->pdata[i];
        if (!check_disk(d, k, err)) {
            return false;
        }
        for (unsigned j = 0; j < i; j++) {
            const struct disk *other = d->devices.disks->pdata[j];
            const struct address *a = &k->info.address, *b = &other->info.address;
            if (!strcmp(other->target.dev, k->target.dev)) {
                return BAD(k->target.node, "there are two disks '%s'", k->target.dev);
            }
            if (a->type == ADDRESS_DRIVE && b->type == ADDRESS_DRIVE &&
                k->target.bus == other->target.bus && a->controller.v == b->controller.v &&
                a->bus.v == b->bus.v && a->target.v == b->target.v && a->unit.v == b->unit.v) {
                return BAD(k->node, "disks '%s' and '%s' have the same address", other->target.dev,
                           k->target.dev);
            }
        }
    }
    return true;
}

/* ---- network ---- */

static bool check_forward(const struct port_forward *f, GError **err)
{
    for (unsigned i = 0; i < f->ranges->len; i++) {
        const struct port_range *r = f->ranges->pdata[i];
        int64_t start = xml_num_or(r->start, 0), end = xml_num_or(r->end, start),
                to = xml_num_or(r->to, start);
        if (start < 1 || end > 65535 || end < start || to < 1 || to + (end - start) > 65535) {
            return BAD(r->node, "a <range> goes from start to end, ports between 1 and 65535");
        }
        if (end - start > 1023) {
            return BAD(r->node, "a <range> has at most 1024 ports");
        }
    }
    return true;
}

static bool check_interface(const struct interface *n, GError **err)
{
    if (!mac_ok(n->mac.address) || (g_ascii_xdigit_value(n->mac.address[1]) & 1)) {
        return BAD(n->mac.node, "'%s' is not a MAC address of one card, such as 52:54:00:12:34:56",
                   n->mac.address);
    }
    if (n->type == NET_NETWORK && !n->source.network) {
        return BAD(n->node, "<interface type='network'> needs <source network=''/>");
    }
    if (n->type == NET_BRIDGE && !n->source.bridge) {
        return BAD(n->node, "<interface type='bridge'> needs <source bridge=''/>");
    }
    if (n->target.dev && (strlen(n->target.dev) > 15 || strpbrk(n->target.dev, "/ \t\n,%"))) {
        return BAD(n->target.node, "'%s' is not a name of a network device", n->target.dev);
    }
    if (n->forwards->len && n->type != NET_USER) {
        return BAD(n->node, "<portForward> is for <interface type='user'>");
    }
    for (unsigned i = 0; i < n->forwards->len; i++) {
        if (!check_forward(n->forwards->pdata[i], err)) {
            return false;
        }
    }
    return true;
}

static bool check_interfaces(const struct domain *d, GError **err)
{
    for (unsigned i = 0; i < d->devices.interfaces->len; i++) {
        if (!check_interface(d->devices.interfaces->pdata[i], err)) {
            return false;
        }
    }
    return true;
}

/* ---- boot order ---- */

static bool check_boot(const struct domain *d, GError **err)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    const struct dev_info *infos[2];
    for (unsigned kind = 0; kind < 2; kind++) {
        GPtrArray *list = kind ? d->devices.interfaces : d->devices.disks;
        for (unsigned i = 0; i < list->len; i++) {
            infos[0] = &((struct disk *)list->pdata[i])->info;
            infos[1] = &((struct interface *)list->pdata[i])->info;
            const struct boot_order *b = &infos[kind]->boot;
            if (!b->order.set) {
                continue;
            }
            if (d->os.boots->len) {
                return BAD(b->node, "<boot order=''/> of a device and <os><boot dev=''/> exclude "
                                    "each other");
            }
            if (b->order.v < 1 || b->order.v > 1000 ||
                !g_hash_table_add(seen, GINT_TO_POINTER((int)b->order.v))) {
                return BAD(b->node, "boot order %d is not above 0, or given twice",
                           (int)b->order.v);
            }
        }
    }
    return true;
}

/* ---- character devices ---- */

static bool check_chr(const struct chr *c, const char *what, GError **err)
{
    bool path = c->type == CHR_FILE || c->type == CHR_DEV || c->type == CHR_PIPE;
    if (path && !c->source.path) {
        return BAD(c->node, "this <%s> needs <source path=''/>", what);
    }
    if ((c->type == CHR_TCP || c->type == CHR_UDP) && !c->source.service) {
        return BAD(c->node, "this <%s> needs <source host='' service=''/>", what);
    }
    if (c->source.path && !plain_text(c->source.path)) {
        return BAD(c->source.node, "the path contains a line break");
    }
    return true;
}

static bool check_chrs(const struct domain *d, GError **err)
{
    static const char *const words[] = {"serial", "parallel", "console", "channel"};
    GPtrArray *const lists[] = {d->devices.serials, d->devices.parallels, d->devices.consoles,
                                d->devices.channels};
    for (unsigned k = 0; k < ARRAY_SIZE(lists); k++) {
        for (unsigned i = 0; i < lists[k]->len; i++) {
            if (!check_chr(lists[k]->pdata[i], words[k], err)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- the rest ---- */

static bool check_os(const struct domain *d, GError **err)
{
    const struct os_def *os = &d->os;
    if (strcmp(os->type.type, "hvm")) {
        return BAD(os->type.node, "the <type> is hvm: full machines, not '%s'", os->type.type);
    }
    if (!word_is(os->type.arch, "x86_64") && !word_is(os->type.arch, "i686")) {
        return BAD(os->type.node, "machines here are x86_64");
    }
    if (strpbrk(os->type.machine, ", \t\n")) {
        return BAD(os->type.node, "'%s' is not a name of a machine", os->type.machine);
    }
    if ((os->initrd || (os->cmdline && *os->cmdline)) && !os->kernel) {
        return BAD(os->node, "<initrd> and <cmdline> need a <kernel>");
    }
    if (os->firmware && os->loader.path) {
        return BAD(os->loader.node, "firmware='%s' chooses the loader; leave <loader> out",
                   os->firmware);
    }
    return true;
}

static bool check_words(const struct domain *d, GError **err)
{
    for (unsigned i = 0; i < d->cpu.features->len; i++) {
        const struct cpu_feature *f = d->cpu.features->pdata[i];
        if (!f->name || !*f->name || strpbrk(f->name, ",=+ \t\n")) {
            return BAD(f->node, "a <feature> needs a name");
        }
    }
    if (d->cpu.model.name && strpbrk(d->cpu.model.name, ",= \t\n")) {
        return BAD(d->cpu.model.node, "'%s' is not a name of a CPU model", d->cpu.model.name);
    }
    for (unsigned i = 0; i < d->clock.timers->len; i++) {
        const struct timer_def *t = d->clock.timers->pdata[i];
        if (!t->name) {
            return BAD(t->node, "a <timer> needs a name");
        }
    }
    for (unsigned i = 0; i < d->devices.rngs->len; i++) {
        const struct rng *r = d->devices.rngs->pdata[i];
        if (!r->backend.model || word_is(r->backend.model, "egd")) {
            return BAD(r->node, "an <rng> needs <backend model='random'>/dev/urandom</backend> or "
                                "<backend model='builtin'/>");
        }
    }
    for (unsigned i = 0; i < d->devices.graphics->len; i++) {
        const struct graphics *g = d->devices.graphics->pdata[i];
        if (!g->type) {
            return BAD(g->node, "<graphics> needs a type");
        }
        if (g->port.set && g->port.v != -1 && word_is(g->type, "vnc") &&
            (g->port.v < 5900 || g->port.v > 65535)) {
            return BAD(g->node, "a VNC port is between 5900 and 65535, or -1");
        }
    }
    return true;
}

bool domain_validate(const struct domain *d, GError **err)
{
    if (!uuid_ok(d->uuid)) {
        return BAD(d->node, "'%s' is not a UUID", d->uuid);
    }
    if (d->title && !plain_text(d->title)) {
        return BAD(d->node, "the <title> is one line");
    }
    if (!plain_text(d->devices.emulator) || *d->devices.emulator != '/') {
        return BAD(d->devices.node, "<emulator> is a program with its full path");
    }
    return check_vcpus(d, err) && check_pins(d, err) && check_os(d, err) && check_disks(d, err) &&
           check_interfaces(d, err) && check_boot(d, err) && check_chrs(d, err) &&
           check_words(d, err);
}
