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

static void name_chrs(struct devices *v)
{
    for (unsigned i = 0; i < v->serials->len; i++) {
        name_it(&((struct chr *)v->serials->pdata[i])->info, "serial%u", i);
    }
    for (unsigned i = 0; i < v->parallels->len; i++) {
        name_it(&((struct chr *)v->parallels->pdata[i])->info, "parallel%u", i);
    }
    for (unsigned i = 0; i < v->consoles->len; i++) {
        struct chr *c = v->consoles->pdata[i];
        if (i == 0 && c->target.type == CHR_TARGET_SERIAL && v->serials->len) {
            name_it(&c->info, "%s", ((struct chr *)v->serials->pdata[0])->info.alias.name);
        } else {
            name_it(&c->info, "console%u", i);
        }
    }
    for (unsigned i = 0; i < v->channels->len; i++) {
        name_it(&((struct chr *)v->channels->pdata[i])->info, "channel%u", i);
    }
}

#define NAME_LIST(list, type, fmt)                                                                 \
    for (unsigned i = 0; i < (list)->len; i++) {                                                   \
        name_it(&((struct type *)(list)->pdata[i])->info, fmt, i);                                 \
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
    NAME_LIST(v->filesystems, filesystem, "fs%u");
    NAME_LIST(v->interfaces, interface, "net%u");
    NAME_LIST(v->inputs, input, "input%u");
    NAME_LIST(v->tpms, tpm, "tpm%u");
    NAME_LIST(v->sounds, sound, "sound%u");
    NAME_LIST(v->videos, video, "video%u");
    NAME_LIST(v->hostdevs, hostdev, "hostdev%u");
    NAME_LIST(v->redirdevs, redirdev, "redir%u");
    NAME_LIST(v->hubs, hub, "hub%u");
    NAME_LIST(v->watchdogs, watchdog, "watchdog%u");
    NAME_LIST(v->rngs, rng, "rng%u");
    NAME_LIST(v->panics, panic, "panic%u");
    name_chrs(v);
    name_it(&v->memballoon.info, "balloon0");
    if (v->vsock.node.present) {
        name_it(&v->vsock.info, "vsock0");
    }
}
