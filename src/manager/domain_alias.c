/* domain_alias.c - the ids of devices in a running machine: virtio-disk0, net0, serial0, ... */
#include "manager/domain.h"

#include <string.h>

static void name_it(struct dev_info *info, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void name_it(struct dev_info *info, const char *fmt, ...)
{
    if (info->alias.name) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    info->alias.name = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    info->alias.node.present = true;
}

static void name_disk(struct disk *k, bool lsi)
{
    const struct address *a = &k->info.address;
    int index = disk_index(k->target.dev);
    unsigned controller = a->controller.v, bus = a->bus.v, target = a->target.v, unit = a->unit.v;
    switch (k->target.bus) {
    case DISK_BUS_VIRTIO:
        name_it(&k->info, "virtio-disk%d", index);
        break;
    case DISK_BUS_USB:
        name_it(&k->info, "usb-disk%d", index);
        break;
    case DISK_BUS_SCSI:
        if (lsi) {
            name_it(&k->info, "scsi%u-%u-%u", controller, bus, unit);
        } else {
            name_it(&k->info, "scsi%u-%u-%u-%u", controller, bus, target, unit);
        }
        break;
    case DISK_BUS_IDE:
        name_it(&k->info, "ide%u-%u-%u", controller, bus, unit);
        break;
    case DISK_BUS_FDC:
        name_it(&k->info, "fdc%u-%u-%u", controller, bus, unit);
        break;
    default:
        name_it(&k->info, "sata%u-%u-%u", controller, bus, unit);
    }
}

static void name_controller(struct controller *c, bool q35)
{
    unsigned index = c->index.v;
    switch (c->type) {
    case CONTROLLER_PCI:
        name_it(&c->info, index == 0 && q35 ? "pcie.%u" : "pci.%u", index);
        break;
    case CONTROLLER_USB:
        if (index) {
            name_it(&c->info, "usb%u", index);
        } else {
            name_it(&c->info, "usb");
        }
        break;
    case CONTROLLER_SCSI:
        name_it(&c->info, "scsi%u", index);
        break;
    case CONTROLLER_IDE:
    case CONTROLLER_SATA:
        if (index == 0) {
            name_it(&c->info, "ide");
        } else {
            name_it(&c->info, c->type == CONTROLLER_IDE ? "ide%u" : "sata%u", index);
        }
        break;
    case CONTROLLER_VIRTIO_SERIAL:
        name_it(&c->info, "virtio-serial%u", index);
        break;
    default:
        name_it(&c->info, "fdc%u", index);
    }
}

static bool taken(GPtrArray *list, size_t info_offset, const char *name)
{
    for (unsigned i = 0; i < list->len; i++) {
        const struct dev_info *info = (const void *)((char *)list->pdata[i] + info_offset);
        if (!g_strcmp0(info->alias.name, name)) {
            return true;
        }
    }
    return false;
}

/* PREFIX0, PREFIX1, ...: by position, but never a name that another one has (one that was plugged
 * in after others went). */
static void name_list(GPtrArray *list, size_t info_offset, const char *prefix)
{
    for (unsigned i = 0; i < list->len; i++) {
        struct dev_info *info = (void *)((char *)list->pdata[i] + info_offset);
        char name[48];
        unsigned n = i;
        if (info->alias.name) {
            continue;
        }
        do {
            g_snprintf(name, sizeof(name), "%s%u", prefix, n++);
        } while (taken(list, info_offset, name));
        name_it(info, "%s", name);
    }
}

#define NAME_LIST(list, type, prefix) name_list(list, offsetof(struct type, info), prefix)

static void name_chrs(struct devices *v)
{
    struct chr *first = v->consoles->len ? v->consoles->pdata[0] : NULL;
    NAME_LIST(v->serials, chr, "serial");
    NAME_LIST(v->parallels, chr, "parallel");
    if (first && first->target.type == CHR_TARGET_SERIAL && v->serials->len) {
        name_it(&first->info, "%s", ((struct chr *)v->serials->pdata[0])->info.alias.name);
    }
    NAME_LIST(v->consoles, chr, "console");
    NAME_LIST(v->channels, chr, "channel");
}

void domain_assign_aliases(struct domain *d)
{
    struct devices *v = &d->devices;
    bool lsi = false;
    for (unsigned i = 0; i < v->controllers->len; i++) {
        struct controller *c = v->controllers->pdata[i];
        name_controller(c, domain_is_q35(d));
        lsi = lsi || (c->type == CONTROLLER_SCSI && word_is(c->model, "lsilogic"));
    }
    for (unsigned i = 0; i < v->disks->len; i++) {
        name_disk(v->disks->pdata[i], lsi);
    }
    NAME_LIST(v->filesystems, filesystem, "fs");
    NAME_LIST(v->interfaces, interface, "net");
    NAME_LIST(v->inputs, input, "input");
    NAME_LIST(v->tpms, tpm, "tpm");
    NAME_LIST(v->sounds, sound, "sound");
    NAME_LIST(v->videos, video, "video");
    NAME_LIST(v->hostdevs, hostdev, "hostdev");
    NAME_LIST(v->redirdevs, redirdev, "redir");
    NAME_LIST(v->hubs, hub, "hub");
    NAME_LIST(v->watchdogs, watchdog, "watchdog");
    NAME_LIST(v->rngs, rng, "rng");
    NAME_LIST(v->panics, panic, "panic");
    name_chrs(v);
    name_it(&v->memballoon.info, "balloon0");
    if (v->vsock.node.present) {
        name_it(&v->vsock.info, "vsock0");
    }
}
