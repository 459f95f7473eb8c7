/* domain_addr.c - the places of devices: controllers that are implied, PCI, drive, virtio-serial
 * and USB addresses, in the order in which libvirt hands them out.
 *
 * PCI goes in two passes.  The first, on a scratch plan, finds out how many buses the devices need;
 * then the missing controllers are added to the domain, and the second pass gives every controller
 * and device its address. */
#include "manager/domain.h"

#include "base/util.h"

#include <string.h>

enum { MAX_BUSES = 256, SLOTS = 32 };

enum bus_kind { BUS_ABSENT, BUS_PCIE_ROOT, BUS_PCI_ROOT, BUS_ROOT_PORT, BUS_PCI_BRIDGE };

/* What kind of place a device wants. */
enum wish {
    WISH_PCIE,     /* behind a root port of its own, hot-pluggable */
    WISH_PCI,      /* a slot of a conventional bus */
    WISH_PORT,     /* a function of a multifunction slot on the root bus, shared with its like */
    WISH_ROOT_ONLY /* an integrated device of the root bus */
};

struct plan {
    bool q35, dry;
    unsigned n_buses;
    struct {
        enum bus_kind kind;
        uint8_t used[SLOTS]; /* functions taken */
        bool ports[SLOTS];   /* the slot holds root ports only */
    } bus[MAX_BUSES];
    GPtrArray *controllers; /* the domain's */
    GError **err;
};

/* ---- controllers ---- */

static struct controller *find_controller(const struct devices *v, int type, int64_t index)
{
    for (unsigned i = 0; i < v->controllers->len; i++) {
        struct controller *c = v->controllers->pdata[i];
        if (c->type == type && xml_num_or(c->index, 0) == index) {
            return c;
        }
    }
    return NULL;
}

/* In the order of indices among its kind. */
static struct controller *add_controller(struct devices *v, int type, int64_t index,
                                         const char *model)
{
    struct controller *c = xml_map_new(&controller_element);
    int at = (int)v->controllers->len;
    c->type = type;
    c->model = model;
    xml_num_set(&c->index, index);
    for (int i = (int)v->controllers->len - 1; i >= 0; i--) {
        const struct controller *other = v->controllers->pdata[i];
        if (other->type != type) {
            continue;
        }
        if (xml_num_or(other->index, 0) > index) {
            at = i;
        } else {
            at = i + 1;
            break;
        }
    }
    g_ptr_array_insert(v->controllers, at, c);
    return c;
}

static void need_controller(struct devices *v, int type, int64_t index, const char *model)
{
    if (!find_controller(v, type, index)) {
        add_controller(v, type, index, model);
    }
}

static bool find_numbered(const struct devices *v, int type, int64_t index)
{
    for (unsigned i = 0; i < v->controllers->len; i++) {
        const struct controller *c = v->controllers->pdata[i];
        if (c->type == type && c->index.set && c->index.v == index) {
            return true;
        }
    }
    return false;
}

static void number_controllers(struct devices *v)
{
    for (unsigned i = 0; i < v->controllers->len; i++) {
        struct controller *c = v->controllers->pdata[i];
        if (c->index.set) {
            continue;
        }
        int64_t index = 0;
        /* the companions of a USB 2 controller share its number */
        if (c->type != CONTROLLER_USB || !g_str_has_prefix(c->model ? c->model : "", "ich9-uhci")) {
            while (find_numbered(v, c->type, index)) {
                index++;
            }
        }
        xml_num_set(&c->index, index);
    }
}

static void disk_controllers(struct devices *v)
{
    for (unsigned i = 0; i < v->disks->len; i++) {
        const struct disk *k = v->disks->pdata[i];
        int64_t index =
            k->info.address.type == ADDRESS_DRIVE ? xml_num_or(k->info.address.controller, 0) : 0;
        if (k->target.bus == DISK_BUS_SCSI) {
            need_controller(v, CONTROLLER_SCSI, index, "lsilogic");
        } else if (k->target.bus == DISK_BUS_IDE) {
            need_controller(v, CONTROLLER_IDE, index, NULL);
        } else if (k->target.bus == DISK_BUS_SATA) {
            need_controller(v, CONTROLLER_SATA, index, NULL);
        } else if (k->target.bus == DISK_BUS_FDC) {
            need_controller(v, CONTROLLER_FDC, index, NULL);
        }
    }
}

static void implied_controllers(struct domain *d)
{
    struct devices *v = &d->devices;
    bool q35 = domain_is_q35(d), serial_bus = false;
    bool pci = !domain_is_microvm(d);
    number_controllers(v);
    if (pci) {
        need_controller(v, CONTROLLER_USB, 0, q35 ? "qemu-xhci" : "piix3-uhci");
    }
    if (q35) {
        need_controller(v, CONTROLLER_SATA, 0, NULL);
    }
    if (pci) {
        need_controller(v, CONTROLLER_PCI, 0, q35 ? "pcie-root" : "pci-root");
    }
    disk_controllers(v);
    for (unsigned i = 0; i < v->channels->len; i++) {
        serial_bus =
            serial_bus || ((struct chr *)v->channels->pdata[i])->target.type == CHR_TARGET_VIRTIO;
    }
    for (unsigned i = 0; i < v->consoles->len; i++) {
        serial_bus =
            serial_bus || ((struct chr *)v->consoles->pdata[i])->target.type == CHR_TARGET_VIRTIO;
    }
    if (serial_bus) {
        need_controller(v, CONTROLLER_VIRTIO_SERIAL, 0, NULL);
    }
}

/* ---- the plan ---- */

static enum bus_kind kind_of_model(const char *model)
{
    static const struct {
        const char *model;
        enum bus_kind kind;
    } kinds[] = {{"pcie-root", BUS_PCIE_ROOT},      {"pci-root", BUS_PCI_ROOT},
                 {"pcie-root-port", BUS_ROOT_PORT}, {"pcie-to-pci-bridge", BUS_PCI_BRIDGE},
                 {"pci-bridge", BUS_PCI_BRIDGE},    {"dmi-to-pci-bridge", BUS_PCI_BRIDGE}};
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (word_is(model, kinds[i].model)) {
            return kinds[i].kind;
        }
    }
    return BUS_ABSENT;
}

static bool plan_take(struct plan *p, const struct address *a, bool port)
{
    int64_t bus = xml_num_or(a->bus, 0), slot = xml_num_or(a->slot, 0),
            function = xml_num_or(a->function, 0);
    if (bus >= MAX_BUSES || slot >= SLOTS || function >= 8 || xml_num_or(a->domain, 0)) {
        return error_set(p->err, HANOK_ERROR_INVALID, "line %u: this is no PCI address",
                         a->node.line);
    }
    if (p->bus[bus].kind == BUS_ABSENT) {
        return error_set(p->err, HANOK_ERROR_INVALID,
                         "line %u: there is no PCI bus %d; each <controller type='pci'> makes one",
                         a->node.line, (int)bus);
    }
    if (p->bus[bus].used[slot] >> function & 1) {
        return error_set(p->err, HANOK_ERROR_INVALID,
                         "line %u: the PCI address %02x:%02x.%x is taken twice", a->node.line,
                         (unsigned)bus, (unsigned)slot, (unsigned)function);
    }
    p->bus[bus].used[slot] |= 1 << function;
    p->bus[bus].ports[slot] = port;
    return true;
}

static void set_pci(struct address *a, unsigned bus, unsigned slot, unsigned function)
{
    a->node.present = true;
    a->type = ADDRESS_PCI;
    a->domain = (struct xml_num){true, 4, 0};
    a->bus = (struct xml_num){true, 2, bus};
    a->slot = (struct xml_num){true, 2, slot};
    a->function = (struct xml_num){true, 1, function};
}

static bool grow(struct plan *p, enum bus_kind kind)
{
    if (p->n_buses >= MAX_BUSES) {
        return error_set(p->err, HANOK_ERROR_INVALID, "there are more than %d PCI buses",
                         MAX_BUSES);
    }
    p->bus[p->n_buses++].kind = kind;
    return true;
}

static bool take_at(struct plan *p, struct address *a, unsigned bus, unsigned slot,
                    unsigned function)
{
    p->bus[bus].used[slot] |= 1 << function;
    if (!p->dry && a) {
        set_pci(a, bus, slot, function);
    }
    return true;
}

static bool reserve_port(struct plan *p, struct address *a)
{
    for (unsigned slot = 1; slot < SLOTS; slot++) {
        if (p->bus[0].used[slot] && !p->bus[0].ports[slot]) {
            continue;
        }
        for (unsigned f = 0; f < 8; f++) {
            if (p->bus[0].used[slot] >> f & 1) {
                continue;
            }
            p->bus[0].ports[slot] = true;
            take_at(p, a, 0, slot, f);
            if (!p->dry && f == 0) {
                a->multifunction = "on";
            }
            return true;
        }
    }
    return error_set(p->err, HANOK_ERROR_INVALID, "there is no slot left for a pcie-root-port");
}

static bool reserve_free_port_bus(struct plan *p, struct address *a)
{
    for (;;) {
        for (unsigned b = 1; b < p->n_buses; b++) {
            if (p->bus[b].kind == BUS_ROOT_PORT && !p->bus[b].used[0]) {
                return take_at(p, a, b, 0, 0);
            }
        }
        if (!p->dry) {
            return error_set(p->err, HANOK_ERROR_INVALID, "there is no free pcie-root-port");
        }
        if (!grow(p, BUS_ROOT_PORT)) {
            return false;
        }
    }
}

static bool reserve_slot(struct plan *p, struct address *a, enum bus_kind kind)
{
    for (unsigned b = 0; b < p->n_buses; b++) {
        for (unsigned slot = 1; p->bus[b].kind == kind && slot < SLOTS; slot++) {
            if (!p->bus[b].used[slot]) {
                return take_at(p, a, b, slot, 0);
            }
        }
    }
    return false;
}

static bool reserve_conventional(struct plan *p, struct address *a)
{
    if (reserve_slot(p, a, BUS_PCI_ROOT) || reserve_slot(p, a, BUS_PCI_BRIDGE)) {
        return true;
    }
    if (!p->q35 || !p->dry) {
        return error_set(p->err, HANOK_ERROR_INVALID,
                         "there is no PCI slot left; take devices away or add a <controller "
                         "type='pci' model='pci-bridge'/>");
    }
    /* the bridge sits behind a root port of its own */
    return reserve_free_port_bus(p, NULL) && grow(p, BUS_PCI_BRIDGE) &&
           reserve_slot(p, a, BUS_PCI_BRIDGE);
}

static bool reserve(struct plan *p, struct address *a, enum wish wish)
{
    if (a->type != ADDRESS_NONE) {
        return true; /* its own, taken already */
    }
    switch (wish) {
    case WISH_PORT:
        return reserve_port(p, a);
    case WISH_ROOT_ONLY:
        return reserve_slot(p, a, p->q35 ? BUS_PCIE_ROOT : BUS_PCI_ROOT);
    case WISH_PCI:
        return reserve_conventional(p, a);
    case WISH_PCIE:
        return p->q35 ? reserve_free_port_bus(p, a) : reserve_conventional(p, a);
    }
    return true;
}

/* ---- which device wants what ---- */

typedef bool visit_fn(struct plan *p, struct address *a, enum wish wish);

static enum wish wish_of_virtio(const char *model)
{
    return word_is(model, "virtio-transitional") ? WISH_PCI : WISH_PCIE;
}

static enum wish wish_of_net(const struct interface *n)
{
    const char *m = n->model.type ? n->model.type : "virtio";
    if (g_str_has_prefix(m, "virtio")) {
        return wish_of_virtio(m);
    }
    return !strcmp(m, "e1000e") || !strcmp(m, "igb") || !strcmp(m, "vmxnet3") ? WISH_PCIE
                                                                              : WISH_PCI;
}

static bool controller_is_pci_device(const struct controller *c, const struct plan *p)
{
    switch (c->type) {
    case CONTROLLER_USB:
        return !word_is(c->model, "none");
    case CONTROLLER_SCSI:
    case CONTROLLER_VIRTIO_SERIAL:
        return true;
    case CONTROLLER_SATA:
        return !(p->q35 && xml_num_or(c->index, 0) == 0);
    default:
        return false;
    }
}

static enum wish wish_of_controller(const struct controller *c)
{
    if (c->type == CONTROLLER_USB) {
        return word_is(c->model, "qemu-xhci") || word_is(c->model, "nec-xhci") ? WISH_PCIE
                                                                               : WISH_PCI;
    }
    if (c->type == CONTROLLER_SCSI && word_is(c->model, "lsilogic")) {
        return WISH_PCI;
    }
    if (c->type == CONTROLLER_SATA) {
        return WISH_PCI;
    }
    return wish_of_virtio(c->model);
}

static bool visit_take(struct plan *p, struct address *a, enum wish wish);

/* The companions of a USB 2 controller: four functions of one slot. */
static bool visit_usb2(struct plan *p, struct devices *v, struct controller *c, visit_fn *visit)
{
    static const struct {
        const char *model;
        unsigned function;
    } functions[] = {{"ich9-ehci1", 7}, {"ich9-uhci1", 0}, {"ich9-uhci2", 1}, {"ich9-uhci3", 2}};
    int function = -1;
    for (unsigned i = 0; i < ARRAY_SIZE(functions); i++) {
        function = word_is(c->model, functions[i].model) ? (int)functions[i].function : function;
    }
    if (function < 0 || c->info.address.type != ADDRESS_NONE || visit == visit_take) {
        return visit(p, &c->info.address, wish_of_controller(c));
    }
    c->info.address.multifunction = !p->dry && !function ? "on" : NULL;
    for (unsigned i = 0; i < v->controllers->len; i++) { /* a sibling that has its place */
        const struct controller *o = v->controllers->pdata[i];
        const struct address *a = &o->info.address;
        if (o != c && o->type == CONTROLLER_USB && o->index.v == c->index.v &&
            a->type == ADDRESS_PCI && !(p->bus[a->bus.v].used[a->slot.v] >> function & 1)) {
            return take_at(p, &c->info.address, a->bus.v, a->slot.v, function);
        }
    }
    unsigned slot = p->bus[0].used[0x1d] >> function & 1 ? 0x1a : 0x1d;
    if (!p->q35) {
        slot = 1;
        while (slot < SLOTS - 1 && p->bus[0].used[slot]) {
            slot++;
        }
    }
    return take_at(p, &c->info.address, 0, slot, function);
}

static bool visit_inputs_and_others(struct plan *p, struct devices *v, visit_fn *visit)
{
    for (unsigned i = 0; i < v->inputs->len; i++) {
        struct input *in = v->inputs->pdata[i];
        if (word_is(in->bus, "virtio") && !visit(p, &in->info.address, wish_of_virtio(in->model))) {
            return false;
        }
    }
    for (unsigned i = 0; i < v->serials->len; i++) {
        struct chr *c = v->serials->pdata[i];
        if (c->target.type == CHR_TARGET_PCI && !visit(p, &c->info.address, WISH_PCI)) {
            return false;
        }
    }
    return !v->vsock.node.present ||
           visit(p, &v->vsock.info.address, wish_of_virtio(v->vsock.model));
}

static bool visit_late(struct plan *p, struct devices *v, visit_fn *visit)
{
    bool ok = true;
    for (unsigned i = 0; ok && i < v->disks->len; i++) {
        struct disk *k = v->disks->pdata[i];
        ok = k->target.bus != DISK_BUS_VIRTIO ||
             visit(p, &k->info.address, wish_of_virtio(k->model));
    }
    for (unsigned i = 0; ok && i < v->hostdevs->len; i++) {
        struct hostdev *h = v->hostdevs->pdata[i];
        ok = word_is(h->type, "usb") || visit(p, &h->info.address, WISH_PCIE);
    }
    if (ok && !word_is(v->memballoon.model, "none")) {
        ok = visit(p, &v->memballoon.info.address, wish_of_virtio(v->memballoon.model));
    }
    for (unsigned i = 0; ok && i < v->rngs->len; i++) {
        struct rng *r = v->rngs->pdata[i];
        ok = visit(p, &r->info.address, wish_of_virtio(r->model));
    }
    for (unsigned i = 0; ok && i < v->watchdogs->len; i++) {
        struct watchdog *w = v->watchdogs->pdata[i];
        ok = !word_is(w->model, "i6300esb") || visit(p, &w->info.address, WISH_PCI);
    }
    for (unsigned i = 1; ok && i < v->videos->len; i++) {
        struct video *s = v->videos->pdata[i];
        ok = visit(p, &s->info.address, word_is(s->model.type, "virtio") ? WISH_PCIE : WISH_PCI);
    }
    return ok && visit_inputs_and_others(p, v, visit);
}

/* Every device that is on PCI, in libvirt's order. */
static bool visit_devices(struct plan *p, struct devices *v, visit_fn *visit)
{
    bool ok = true;
    for (unsigned i = 0; ok && i < v->filesystems->len; i++) {
        struct filesystem *f = v->filesystems->pdata[i];
        ok = visit(p, &f->info.address, WISH_PCIE);
    }
    for (unsigned i = 0; ok && i < v->interfaces->len; i++) {
        struct interface *n = v->interfaces->pdata[i];
        ok = visit(p, &n->info.address, wish_of_net(n));
    }
    for (unsigned i = 0; ok && i < v->sounds->len; i++) {
        struct sound *s = v->sounds->pdata[i];
        if (!word_is(s->model, "usb") && !word_is(s->model, "sb16") &&
            !word_is(s->model, "pcspk")) {
            ok = visit(p, &s->info.address, WISH_PCI);
        }
    }
    for (unsigned i = 0; ok && i < v->controllers->len; i++) {
        struct controller *c = v->controllers->pdata[i];
        if (controller_is_pci_device(c, p)) {
            ok = c->type == CONTROLLER_USB ? visit_usb2(p, v, c, visit)
                                           : visit(p, &c->info.address, wish_of_controller(c));
        }
    }
    return ok && visit_late(p, v, visit);
}

static bool visit_reserve(struct plan *p, struct address *a, enum wish wish)
{
    return reserve(p, a, wish);
}

static bool visit_take(struct plan *p, struct address *a, enum wish wish)
{
    if (a->type == ADDRESS_PCI && a->slot.set) {
        if (!plan_take(p, a, false)) {
            return false;
        }
        set_pci(a, a->bus.v, a->slot.v, xml_num_or(a->function, 0));
    } else if (a->type == ADDRESS_PCI) { /* <address type='pci'/>: any place */
        a->type = ADDRESS_NONE;
    }
    return true;
}

/* ---- fixed places ---- */

static bool fix(struct plan *p, struct address *a, unsigned slot, unsigned function)
{
    if (a->type == ADDRESS_NONE && !(p->bus[0].used[slot] >> function & 1)) {
        take_at(p, a, 0, slot, function);
    }
    return true;
}

/* What sits on fixed places of the board: ICH9's functions, the first screen. */
static void fix_board(struct plan *p, struct devices *v)
{
    struct address scratch = {.type = ADDRESS_NONE};
    struct controller *sata = find_controller(v, CONTROLLER_SATA, 0);
    struct controller *ide = find_controller(v, CONTROLLER_IDE, 0);
    if (p->q35) {
        p->bus[0].used[0x1f] |= 1 | 1 << 3; /* LPC, SMBus */
        fix(p, sata ? &sata->info.address : &scratch, 0x1f, 2);
        for (unsigned i = 0; i < v->sounds->len; i++) {
            struct sound *s = v->sounds->pdata[i];
            if (word_is(s->model, "ich9")) {
                fix(p, &s->info.address, 0x1b, 0);
                break;
            }
        }
    } else {
        p->bus[0].used[1] |= 1 | 1 << 3; /* PIIX3 ISA, power management */
        fix(p, ide ? &ide->info.address : &scratch, 1, 1);
        for (unsigned i = 0; i < v->controllers->len; i++) {
            struct controller *c = v->controllers->pdata[i];
            if (c->type == CONTROLLER_USB && word_is(c->model, "piix3-uhci") && !c->index.v) {
                fix(p, &c->info.address, 1, 2);
            }
        }
    }
    struct video *first = v->videos->len ? v->videos->pdata[0] : NULL;
    if (first && !word_is(first->model.type, "none") && first->info.address.type == ADDRESS_NONE) {
        unsigned slot = p->q35 ? 1 : 2;
        fix(p, &first->info.address, p->bus[0].used[slot] ? slot + 1 : slot, 0);
    } else if (!p->q35 && !first) {
        p->bus[0].used[2] |= 1; /* left free for a screen */
    }
}

static bool take_controllers(struct plan *p, struct devices *v)
{
    for (unsigned i = 0; i < v->controllers->len; i++) {
        const struct controller *c = v->controllers->pdata[i];
        if (c->type != CONTROLLER_PCI) {
            continue;
        }
        enum bus_kind kind = kind_of_model(c->model);
        if (c->index.v >= MAX_BUSES || kind == BUS_ABSENT) {
            return error_set(p->err, HANOK_ERROR_UNSUPPORTED,
                             "line %u: PCI controllers are pcie-root, pcie-root-port, "
                             "pcie-to-pci-bridge, pci-root and pci-bridge, with an index below %d",
                             c->node.line, MAX_BUSES);
        }
        if (p->bus[c->index.v].kind != BUS_ABSENT) {
            return error_set(p->err, HANOK_ERROR_INVALID,
                             "line %u: there are two PCI controllers with index %d", c->node.line,
                             (int)c->index.v);
        }
        p->bus[c->index.v].kind = kind;
        p->n_buses = MAX_OF(p->n_buses, (unsigned)c->index.v + 1);
    }
    return true;
}

static bool take_controller_places(struct plan *p, struct devices *v)
{
    for (unsigned i = 0; i < v->controllers->len; i++) {
        struct controller *c = v->controllers->pdata[i];
        struct address *a = &c->info.address;
        if (c->type == CONTROLLER_PCI && a->type == ADDRESS_PCI && a->slot.set) {
            if (!plan_take(p, a, word_is(c->model, "pcie-root-port"))) {
                return false;
            }
            set_pci(a, a->bus.v, a->slot.v, xml_num_or(a->function, 0));
        } else if (c->type == CONTROLLER_SATA || c->type == CONTROLLER_IDE) {
            if (!controller_is_pci_device(c, p) && !visit_take(p, a, WISH_ROOT_ONLY)) {
                return false;
            }
        }
    }
    return true;
}

static bool plan_begin(struct plan *p, struct domain *d)
{
    struct devices *v = &d->devices;
    p->q35 = domain_is_q35(d);
    if (!take_controllers(p, v) || !take_controller_places(p, v) ||
        !visit_devices(p, v, visit_take)) {
        return false;
    }
    struct video *first = v->videos->len ? v->videos->pdata[0] : NULL;
    if (first && !visit_take(p, &first->info.address, WISH_ROOT_ONLY)) {
        return false;
    }
    fix_board(p, v);
    return true;
}

static bool place_controllers(struct plan *p, struct devices *v)
{
    for (unsigned i = 0; i < v->controllers->len; i++) {
        struct controller *c = v->controllers->pdata[i];
        if (c->type != CONTROLLER_PCI || c->index.v == 0) {
            continue;
        }
        bool port = word_is(c->model, "pcie-root-port");
        bool to_pci = word_is(c->model, "pcie-to-pci-bridge");
        if (!reserve(p, &c->info.address, port ? WISH_PORT : to_pci ? WISH_PCIE : WISH_PCI)) {
            return false;
        }
        if (!p->dry && port) {
            const struct address *a = &c->info.address;
            if (!c->model_name.name) {
                c->model_name.name = g_strdup("pcie-root-port");
            }
            if (!c->target.chassis.set) {
                xml_num_set(&c->target.chassis, c->index.v);
            }
            if (!c->target.port.set) {
                c->target.port = (struct xml_num){true, 1, a->slot.v << 3 | a->function.v};
            }
            c->target.port.hex = c->target.port.v > 15 ? 2 : 1;
        } else if (!p->dry && to_pci && !c->model_name.name) {
            c->model_name.name = g_strdup("pcie-pci-bridge");
        }
    }
    return true;
}

static bool assign_pci(struct domain *d, GError **err)
{
    struct devices *v = &d->devices;
    g_autofree struct plan *first = g_new0(struct plan, 1), *second = g_new0(struct plan, 1);
    struct address spare = {.type = ADDRESS_NONE};
    first->dry = true;
    first->err = second->err = err;
    if (!plan_begin(first, d) || !place_controllers(first, v) ||
        !visit_devices(first, v, visit_reserve) ||
        !reserve(first, &spare, WISH_PCIE)) { /* one place stays free for plugging in */
        return false;
    }
    for (unsigned b = 1; b < first->n_buses; b++) {
        if (first->bus[b].kind != BUS_ABSENT && !find_controller(v, CONTROLLER_PCI, b)) {
            add_controller(v, CONTROLLER_PCI, b,
                           first->bus[b].kind == BUS_ROOT_PORT ? "pcie-root-port"
                                                               : "pcie-to-pci-bridge");
        }
    }
    return plan_begin(second, d) && place_controllers(second, v) &&
           visit_devices(second, v, visit_reserve);
}

/* Without PCI: the machine has a place for each. */
static bool visit_mmio(struct plan *p, struct address *a, enum wish wish)
{
    if (a->type == ADDRESS_NONE) {
        a->type = ADDRESS_VIRTIO_MMIO;
    } else if (a->type == ADDRESS_PCI) {
        return error_set(p->err, HANOK_ERROR_INVALID,
                         "machine microvm has no PCI: take <address type='pci'/> away");
    }
    return true;
}

static bool assign_mmio(struct domain *d, GError **err)
{
    struct plan p = {.err = err};
    return visit_devices(&p, &d->devices, visit_mmio);
}

/* ---- drives, ports ---- */

static void assign_drive(struct disk *k)
{
    struct address *a = &k->info.address;
    int index = disk_index(k->target.dev);
    unsigned per_controller = 0;
    switch (k->target.bus) {
    case DISK_BUS_SATA:
        per_controller = 6;
        break;
    case DISK_BUS_IDE:
        per_controller = 4;
        break;
    case DISK_BUS_SCSI:
        per_controller = 7;
        break;
    case DISK_BUS_FDC:
        per_controller = 2;
        break;
    default:
        return;
    }
    if (a->type != ADDRESS_NONE || index < 0) {
        return;
    }
    unsigned unit = index % per_controller;
    a->node.present = true;
    a->type = ADDRESS_DRIVE;
    xml_num_set(&a->controller, index / per_controller);
    xml_num_set(&a->bus, k->target.bus == DISK_BUS_IDE ? unit / 2 : 0);
    xml_num_set(&a->target, 0);
    xml_num_set(&a->unit, k->target.bus == DISK_BUS_IDE ? unit % 2 : unit);
}

static void assign_channels(struct devices *v)
{
    unsigned next = 1;
    for (unsigned i = 0; i < v->channels->len; i++) {
        struct chr *c = v->channels->pdata[i];
        struct address *a = &c->info.address;
        if (c->target.type != CHR_TARGET_VIRTIO || a->type != ADDRESS_NONE) {
            continue;
        }
        bool taken = true;
        while (taken) {
            taken = false;
            for (unsigned j = 0; j < v->channels->len; j++) {
                const struct address *o = &((struct chr *)v->channels->pdata[j])->info.address;
                taken = taken || (o->port && g_ascii_strtoull(o->port, NULL, 10) == next);
            }
            next += taken;
        }
        a->node.present = true;
        a->type = ADDRESS_VIRTIO_SERIAL;
        xml_num_set(&a->controller, 0);
        xml_num_set(&a->bus, 0);
        a->port = g_strdup_printf("%u", next++);
    }
}

static void assign_usb(struct address *a, unsigned *next)
{
    if (a->type != ADDRESS_NONE) {
        return;
    }
    a->node.present = true;
    a->type = ADDRESS_USB;
    xml_num_set(&a->bus, 0);
    a->port = g_strdup_printf("%u", (*next)++);
}

static void usb_taken(const struct address *a, unsigned *next)
{
    unsigned port = a->type == ADDRESS_USB && a->port ? g_ascii_strtoull(a->port, NULL, 10) : 0;
    *next = MAX_OF(*next, MIN_OF(port, 4096u) + 1);
}

static void assign_usb_ports(struct devices *v)
{
    unsigned next = 1;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < v->disks->len; i++) {
            struct disk *k = v->disks->pdata[i];
            if (k->target.bus == DISK_BUS_USB) {
                pass ? assign_usb(&k->info.address, &next) : usb_taken(&k->info.address, &next);
            }
        }
        for (unsigned i = 0; i < v->inputs->len; i++) {
            struct input *in = v->inputs->pdata[i];
            if (word_is(in->bus, "usb")) {
                pass ? assign_usb(&in->info.address, &next) : usb_taken(&in->info.address, &next);
            }
        }
        for (unsigned i = 0; i < v->redirdevs->len; i++) {
            struct redirdev *r = v->redirdevs->pdata[i];
            pass ? assign_usb(&r->info.address, &next) : usb_taken(&r->info.address, &next);
        }
    }
}

bool domain_assign_addresses(struct domain *d, GError **err)
{
    struct devices *v = &d->devices;
    for (unsigned i = 0; i < v->disks->len; i++) {
        assign_drive(v->disks->pdata[i]);
    }
    implied_controllers(d);
    if (!(domain_is_microvm(d) ? assign_mmio(d, err) : assign_pci(d, err))) {
        return false;
    }
    assign_channels(v);
    assign_usb_ports(v);
    return true;
}
