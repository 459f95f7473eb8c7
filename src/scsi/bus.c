/* bus.c - who is at which address, and what all luns of a bus do together. */
#include "scsi_int.h"

#include "base/evloop.h"

enum { LUN_BYTES = 8, LUNS_TOLD = (SCSI_SCRATCH_BYTES - 8) / LUN_BYTES };

struct scsi_lun *scsi_lun_find(struct scsi_bus *b, unsigned id, unsigned lun)
{
    struct scsi_lun *l = id < SCSI_TARGETS ? b->target[id] : NULL;

    while (l && l->number != lun)
        l = l->next;
    return l;
}

/* In the loop's thread, so that no command is looking. */
static void link_in(void *opaque)
{
    struct scsi_lun *l = opaque, **at = &l->bus->target[l->target];

    while (*at && (*at)->number < l->number)
        at = &(*at)->next;
    l->next = *at;
    *at = l;
}

static void unlink_it(void *opaque)
{
    struct scsi_lun *l = opaque, **at = &l->bus->target[l->target];

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
}

void scsi_bus_add(struct scsi_lun *l)
{
    evloop_call(l->bus->loop, link_in, l);
    l->on_bus = true;
}

void scsi_bus_remove(struct scsi_lun *l)
{
    if (l->on_bus)
        evloop_call(l->bus->loop, unlink_it, l);
    l->on_bus = false;
}

void scsi_bus_fini(struct scsi_bus *b)
{
    for (unsigned i = 0; i < SCSI_TARGETS; i++)
        while (b->target[i])
            b->target[i]->dev.ops->destroy(&b->target[i]->dev);
}

void scsi_bus_drain(struct scsi_bus *b)
{
    for (unsigned i = 0; i < SCSI_TARGETS; i++)
        for (struct scsi_lun *l = b->target[i]; l; l = l->next)
            if (scsi_node(l))
                blk_drain(scsi_node(l));
}

void scsi_bus_plug(struct scsi_bus *b)
{
    b->plugging = true;
}

void scsi_bus_unplug(struct scsi_bus *b)
{
    b->plugging = false;
    while (b->plugged) {
        struct scsi_lun *l = b->plugged;
        b->plugged = l->plugged_next;
        l->plugged = false;
        blk_unplug(scsi_node(l));
    }
}

/* SPC-4 §6.33; numbers below 256 are peripheral addresses, others flat ones. */
void scsi_report_luns(struct scsi_bus *b, unsigned id, struct scsi_task *t)
{
    uint8_t buf[SCSI_SCRATCH_BYTES] = {0};
    uint32_t n = 0;

    if (t->cdb[2] > 2 || be32_get(t->cdb + 6) < 16) {
        scsi_fail(t, KEY_ILLEGAL, ASC_BAD_FIELD);
        return;
    }
    if (t->cdb[2] != 1 && !scsi_lun_find(b, id, 0)) /* there is always a lun 0 to ask */
        n++;
    for (struct scsi_lun *l = b->target[id]; l && t->cdb[2] != 1 && n < LUNS_TOLD; l = l->next, n++)
        be16_put(buf + 8 + LUN_BYTES * n, l->number < 256 ? l->number : 0x4000 | l->number);
    be32_put(buf, n * LUN_BYTES);
    scsi_reply(t, buf, 8 + n * LUN_BYTES, be32_get(t->cdb + 6));
}

void scsi_start_no_lun(struct scsi_bus *b, unsigned id, struct scsi_task *t)
{
    uint8_t none[36] = {0x7f, 0, 5, 2, 31}; /* nothing there, and never will be */

    t->lun = NULL;
    t->status = SCSI_GOOD;
    t->done_bytes = 0;
    t->overrun = false;
    t->pattern = NULL;
    if (t->cdb[0] == 0xa0)
        scsi_report_luns(b, id, t);
    else if (t->cdb[0] == 0x12 && !(t->cdb[1] & 1))
        scsi_reply(t, none, sizeof(none), be16_get(t->cdb + 3));
    else if (t->cdb[0] == 0x03)
        scsi_request_sense(t);
    else
        scsi_fail(t, KEY_ILLEGAL, ASC_NO_LUN);
}
