/* cmd_tray.c - drives with a tray: eject, and the steps it is made of. */
#include "commands.h"

#include "ata/drives.h"
#include "block/block.h"
#include "bus/pci.h"
#include "scsi/scsi.h"

struct tray_search {
    const char *id, *device;
    struct pci_dev *controller;
    unsigned place;
    struct scsi_lun *lun; /* instead of the two */
};

static void look_at(struct pci_dev *d, void *opaque)
{
    struct tray_search *s = opaque;
    struct ata_drive_info info;

    for (unsigned i = 0; i < ata_places(d) && !s->controller; i++) {
        if (!ata_drive_info(d, i, &info)) {
            continue;
        }
        const char *node = info.node ? blk_node_name(info.node) : NULL;
        if ((s->id && info.id && !strcmp(s->id, info.id)) ||
            (s->device && node && !strcmp(s->device, node))) {
            s->controller = d;
            s->place = i;
        }
    }
}

static void look_for_lun(struct machine *m, struct tray_search *s)
{
    struct device_list *all = machine_devices(m);
    struct scsi_lun_info info;
    for (struct device *d = all ? all->first : NULL; d && !s->lun; d = d->next) {
        struct scsi_lun *l = scsi_lun_of_device(d);
        if (!l) {
            continue;
        }
        scsi_lun_info(l, &info);
        const char *node = info.node ? blk_node_name(info.node) : NULL;
        if ((s->id && d->id && !strcmp(s->id, d->id)) ||
            (s->device && node && !strcmp(s->device, node))) {
            s->lun = l;
        }
    }
}

static bool tray_find(struct qmp_call *call, json_t *args, struct tray_search *s, GError **err)
{
    s->id = qmp_text(args, "id");
    s->device = qmp_text(args, "device");
    if (!s->id && !s->device) {
        qmp_fail(err, "Parameter 'id' is missing");
        return false;
    }
    foreach_pci_dev(call->m, look_at, s);
    if (!s->controller) {
        look_for_lun(call->m, s);
    }
    if (!s->controller && !s->lun) {
        call->error_class = "DeviceNotFound";
        qmp_fail(err, "Device '%s' not found", s->id ? s->id : s->device);
    }
    return s->controller || s->lun;
}

static bool tray_open(struct tray_search *s, bool force, GError **err)
{
    return s->lun ? scsi_lun_eject(s->lun, force, err)
                  : ata_drive_eject(s->controller, s->place, force, err);
}

static bool tray_close(struct tray_search *s, struct blk_node *node, GError **err)
{
    return s->lun ? scsi_lun_insert(s->lun, node, err)
                  : ata_drive_insert(s->controller, s->place, node, err);
}

json_t *cmd_eject(struct qmp_call *call, json_t *args, GError **err)
{
    struct tray_search s = {0};

    if (!tray_find(call, args, &s, err) || !tray_open(&s, qmp_flag(args, "force", false), err)) {
        return NULL;
    }
    return qmp_ok();
}

json_t *cmd_blockdev_close_tray(struct qmp_call *call, json_t *args, GError **err)
{
    struct tray_search s = {0};

    if (!tray_find(call, args, &s, err) || !tray_close(&s, NULL, err)) {
        return NULL;
    }
    return qmp_ok();
}

json_t *cmd_blockdev_remove_medium(struct qmp_call *call, json_t *args, GError **err)
{
    struct tray_search s = {0};
    bool closed;

    if (!tray_find(call, args, &s, err)) {
        return NULL;
    }
    if (s.lun) {
        struct scsi_lun_info info;
        scsi_lun_info(s.lun, &info);
        closed = info.cdrom && !info.tray_open;
    } else {
        struct ata_drive_info info;
        closed = ata_drive_info(s.controller, s.place, &info) && info.cdrom && !info.tray_open;
    }
    if (closed) {
        return qmp_fail(err, "Tray of device '%s' is not open", s.id ? s.id : s.device);
    }
    return tray_open(&s, true, err) ? qmp_ok() : NULL;
}

json_t *cmd_blockdev_insert_medium(struct qmp_call *call, json_t *args, GError **err)
{
    const char *name = qmp_text(args, "node-name");
    struct blk_node *node = blk_find(name);
    struct tray_search s = {0};

    if (!tray_find(call, args, &s, err)) {
        return NULL;
    }
    if (!node) {
        return qmp_fail(err, "Node '%s' not found", name);
    }
    return tray_close(&s, node, err) ? qmp_ok() : NULL;
}
