/* lun.c - luns: their lives, how tasks on them begin and end. */
#include "scsi_int.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

#include <errno.h>
#include <glib.h>

/* ---- ends of tasks ---- */

void scsi_end(struct scsi_task *t)
{
    g_free(t->pattern);
    t->pattern = NULL;
    t->ended(t);
}

/* Fixed format, SPC-4 §4.5.3. */
static void sense_put(uint8_t *b, uint8_t key, uint16_t asc)
{
    memset(b, 0, SCSI_SENSE_BYTES);
    b[0] = 0x70;
    b[2] = key;
    b[7] = SCSI_SENSE_BYTES - 8;
    be16_put(b + 12, asc);
}

void scsi_sense(struct scsi_task *t, uint8_t key, uint16_t asc)
{
    t->status = SCSI_CHECK_CONDITION;
    t->done_bytes = 0;
    sense_put(t->sense, key, asc);
}

void scsi_fail(struct scsi_task *t, uint8_t key, uint16_t asc)
{
    scsi_sense(t, key, asc);
    scsi_end(t);
}

void scsi_reply(struct scsi_task *t, const uint8_t *buf, uint32_t len, uint32_t allowed)
{
    uint32_t left = MIN_OF(len, allowed);

    if (t->to_host)
        left = 0;
    for (int i = 0; i < t->iov_count && left; i++) {
        uint32_t n = (uint32_t)MIN_OF((size_t)left, t->iov[i].iov_len);
        memcpy(t->iov[i].iov_base, buf, n);
        buf += n;
        left -= n;
        t->done_bytes += n;
    }
    scsi_end(t);
}

uint32_t scsi_received(struct scsi_task *t, uint8_t *buf, uint32_t len)
{
    uint32_t done = 0;

    for (int i = 0; t->to_host && i < t->iov_count && done < len; i++) {
        uint32_t n = (uint32_t)MIN_OF((size_t)(len - done), t->iov[i].iov_len);
        memcpy(buf + done, t->iov[i].iov_base, n);
        done += n;
    }
    t->done_bytes = done;
    return done;
}

/* ---- block requests ---- */

struct blk_node *scsi_node(struct scsi_lun *l)
{
    return l->cdrom ? l->cd.node : l->node;
}

static void failed_report(struct scsi_task *t, int errnum)
{
    if (errnum == ENOSPC || errnum == EDQUOT)
        scsi_fail(t, KEY_PROTECT, ASC_SPACE_FAILED);
    else
        scsi_fail(t, KEY_MEDIUM_ERROR, t->blk.op == BLK_READ ? ASC_READ_ERROR : ASC_WRITE_ERROR);
}

void scsi_failed(struct scsi_task *t, int errnum)
{
    struct scsi_lun *l = t->lun;

    switch (blk_errors_judge(&l->errors, t->blk.op != BLK_READ, errnum)) {
    case BLK_ERROR_IGNORE:
        scsi_end(t);
        break;
    case BLK_ERROR_STOP:
        l->bus->ops->park(t, errnum);
        break;
    case BLK_ERROR_REPORT:
        failed_report(t, errnum);
        break;
    }
}

static void task_done(struct blk_req *blk, int ret)
{
    struct scsi_task *t = container_of(blk, struct scsi_task, blk);

    if (ret < 0)
        scsi_failed(t, -ret);
    else if (!scsi_next_range(t))
        scsi_end(t);
}

void scsi_submit(struct scsi_task *t)
{
    struct scsi_lun *l = t->lun;
    struct scsi_bus *b = l->bus;

    t->blk.node = scsi_node(l);
    t->blk.done = task_done;
    if (b->plugging && !l->plugged) {
        l->plugged = true;
        l->plugged_next = b->plugged;
        b->plugged = l;
        blk_plug(t->blk.node);
    }
    blk_submit(&t->blk);
}

void scsi_transfer(struct scsi_task *t, uint64_t bytes)
{
    uint64_t left = bytes;
    int n = 0;

    while (left) {
        t->iov[n].iov_len = MIN_OF(t->iov[n].iov_len, left);
        left -= t->iov[n++].iov_len;
    }
    t->iov_count = n;
    t->done_bytes = (uint32_t)bytes;
    t->blk.len_bytes = bytes;
    t->blk.iov = t->iov;
    t->blk.iov_count = n;
    scsi_submit(t);
}

void scsi_drop(struct scsi_task *t)
{
    g_free(t->pattern);
    t->pattern = NULL;
}

/* ---- beginnings ---- */

static uint16_t attention_take(struct scsi_lun *l)
{
    uint16_t asc = ASC_NONE;

    pthread_mutex_lock(&l->lock);
    if (l->attention & UA_POWER_ON)
        asc = ASC_POWER_ON;
    else if (l->attention & UA_CAPACITY)
        asc = ASC_CAPACITY_CHANGED;
    /* a reset makes the rest old news */
    l->attention &= (uint8_t) ~(asc == ASC_POWER_ON ? 0xffu : UA_CAPACITY);
    pthread_mutex_unlock(&l->lock);
    return asc;
}

/* Sense data goes with each status; here is only what nobody has been told yet (SPC-4 §6.39). */
void scsi_request_sense(struct scsi_task *t)
{
    uint16_t asc = t->lun ? attention_take(t->lun) : ASC_NO_LUN;
    uint8_t b[SCSI_SENSE_BYTES];

    sense_put(b, !t->lun ? KEY_ILLEGAL : asc ? KEY_ATTENTION : KEY_NONE, asc);
    scsi_reply(t, b, sizeof(b), t->cdb[4]);
}

void scsi_start(struct scsi_task *t)
{
    struct scsi_lun *l = t->lun;
    uint8_t command = t->cdb[0];
    uint16_t asc = ASC_NONE;

    t->status = SCSI_GOOD;
    t->done_bytes = 0;
    t->overrun = false;
    t->range = t->ranges = 0;
    t->same_left = 0;
    g_free(t->pattern); /* of a task that is tried again */
    t->pattern = NULL;
    if (command != 0x12 && command != 0xa0 && command != 0x03)
        asc = attention_take(l);
    if (asc)
        scsi_fail(t, KEY_ATTENTION, asc);
    else if (command == 0xa0)
        scsi_report_luns(l->bus, l->target, t);
    else if (l->cdrom)
        scsi_cd_start(t);
    else if (command == 0x03)
        scsi_request_sense(t);
    else
        scsi_disk_start(t);
}

/* ---- lives ---- */

static void size_read(struct scsi_lun *l)
{
    struct blk_limits now;

    blk_limits(l->node, &now);
    l->blocks = now.size_bytes / l->block_bytes;
}

void scsi_lun_reset(struct scsi_lun *l)
{
    pthread_mutex_lock(&l->lock);
    l->attention = UA_POWER_ON;
    __atomic_store_n(&l->write_cache, l->default_cache, __ATOMIC_RELAXED);
    if (l->cdrom) {
        ata_drive_reset(&l->cd);
        l->cd.attention = false; /* the reset's attention says enough */
    }
    pthread_mutex_unlock(&l->lock);
}

static void lun_reset(struct device *d)
{
    scsi_lun_reset(container_of(d, struct scsi_lun, dev));
}

void scsi_batch_end(void *opaque)
{
    struct scsi_lun *l = opaque;

    if (l->bus->ops->batch_end)
        l->bus->ops->batch_end(l->bus);
}

static void lun_destroy(struct device *d)
{
    struct scsi_lun *l = container_of(d, struct scsi_lun, dev);
    struct device_list *list = d->list;

    if (l->on_bus && l->bus->ops->event)
        l->bus->ops->event(l, SCSI_LUN_REMOVED);
    scsi_bus_remove(l);
    if (scsi_node(l) && (l->claimed || l->cd.claimed)) {
        blk_drain(scsi_node(l));
        blk_on_batch(scsi_node(l), NULL, NULL);
        blk_attach(scsi_node(l), evloop_main());
    }
    if (l->claimed)
        blk_release(l->node);
    if (l->cdrom)
        scsi_cd_fini(l);
    blk_errors_fini(&l->errors);
    if (list) {
        pthread_mutex_lock(&list->lock);
        device_remove(list, d);
        pthread_mutex_unlock(&list->lock);
    }
    pthread_mutex_destroy(&l->lock);
    g_free(l);
}

static void lun_drain(struct device *d)
{
    struct scsi_lun *l = container_of(d, struct scsi_lun, dev);

    if (scsi_node(l))
        blk_drain(scsi_node(l));
}

static const struct state_field fields[] = {
    STATE_BOOL(struct scsi_lun, write_cache),
    STATE_U8(struct scsi_lun, attention),
    STATE_STRUCT(struct scsi_lun, cd, ata_drive_state),
    STATE_END,
};
static bool lun_post_load(void *obj, uint32_t version, GError **err)
{
    struct scsi_lun *l = obj;

    l->attention &= UA_POWER_ON | UA_CAPACITY;
    return true;
}

const struct state_desc scsi_lun_state = {
    .name = "scsi-lun", .version = 1, .fields = fields, .post_load = lun_post_load};

#define LUN_OPS(name)                                                                              \
    {                                                                                              \
        .type = (name), .reset = lun_reset, .drain = lun_drain, .destroy = lun_destroy,            \
        .state = &scsi_lun_state,                                                                  \
    }
static const struct device_ops disk_ops = LUN_OPS("scsi-hd"), cd_ops = LUN_OPS("scsi-cd");

/* ---- making ---- */

static void told(void *opaque, bool is_write, int errnum, enum blk_error_action action)
{
    struct scsi_lun *l = opaque;

    l->on_error(l->opaque, l, is_write, errnum, action);
}

static void settle(void *opaque)
{
    struct scsi_lun *l = opaque;

    if (l->bus->ops->settle)
        l->bus->ops->settle(l->bus);
}

static bool text_set(char *out, size_t room, const char *text, char pad, const char *key,
                     GError **err)
{
    size_t n = strlen(text);

    if (n > room - 1)
        return error_set(err, HANOK_ERROR_INVALID, "%s= has at most %zu bytes", key, room - 1);
    memset(out, pad, room - 1);
    memcpy(out, text, n);
    out[room - 1] = 0;
    return true;
}

static bool texts_set(struct scsi_lun *l, const struct scsi_config *c, GError **err)
{
    const char *product = c->product ? c->product : c->cdrom ? "HANOK CD-ROM" : "HANOK HARDDISK";

    return text_set(l->vendor, sizeof(l->vendor), c->vendor ? c->vendor : "HANOK", ' ', "vendor",
                    err) &&
           text_set(l->product, sizeof(l->product), product, ' ', "product", err) &&
           text_set(l->version, sizeof(l->version), c->version ? c->version : "1.0", ' ', "ver",
                    err) &&
           text_set(l->serial, sizeof(l->serial), c->serial ? c->serial : "", 0, "serial", err) &&
           text_set(l->device_id, sizeof(l->device_id),
                    c->device_id ? c->device_id
                    : c->serial  ? c->serial
                    : c->id      ? c->id
                                 : "",
                    0, "device_id", err);
}

static bool blocks_set(struct scsi_lun *l, const struct scsi_config *c, GError **err)
{
    struct blk_limits now;
    uint32_t lo, ph;

    blk_limits(c->node, &now);
    lo = c->logical_block_bytes ? c->logical_block_bytes : now.logical_block_bytes;
    ph = MAX_OF(c->physical_block_bytes ? c->physical_block_bytes : now.physical_block_bytes, lo);
    if (lo < 512 || lo > 4096 || (lo & (lo - 1)) || (ph & (ph - 1)) || ph / lo > 32768)
        return error_set(err, HANOK_ERROR_INVALID,
                         "logical_block_size must be 512, 1024, 2048 or 4096, and "
                         "physical_block_size a power of two not below it");
    if (lo < now.logical_block_bytes)
        return error_set(err, HANOK_ERROR_INVALID,
                         "this disk's blocks have %u bytes: logical_block_size cannot be less",
                         now.logical_block_bytes);
    if (c->discard_bytes % lo)
        return error_set(err, HANOK_ERROR_INVALID,
                         "discard_granularity must be a multiple of the logical block size");
    l->block_bytes = lo;
    l->physical_bytes = ph;
    l->discard_bytes = c->discard_bytes ? c->discard_bytes : lo;
    l->read_only = c->read_only || now.read_only;
    l->can_discard = now.can_discard && !l->read_only;
    return true;
}

static bool disk_set(struct scsi_lun *l, const struct scsi_config *c, GError **err)
{
    g_autofree char *user = g_strdup_printf("scsi-hd device '%s'", c->id ? c->id : "(no id)");

    if (!c->node)
        return error_set(err, HANOK_ERROR_INVALID, "a disk needs drive=");
    if (!blocks_set(l, c, err) || !blk_claim_shared(c->node, user, c->share_rw, err))
        return false;
    l->node = c->node;
    l->claimed = true;
    blk_attach(l->node, l->bus->loop);
    blk_on_batch(l->node, scsi_batch_end, l);
    size_read(l);
    return true;
}

static bool place_check(struct scsi_bus *b, const struct scsi_config *c, GError **err)
{
    if (c->target >= SCSI_TARGETS || c->lun >= SCSI_LUNS)
        return error_set(err, HANOK_ERROR_INVALID, "scsi-id= is at most %d, lun= at most %d",
                         SCSI_TARGETS - 1, SCSI_LUNS - 1);
    if (scsi_lun_find(b, c->target, c->lun))
        return error_set(err, HANOK_ERROR_BUSY, "there is already a device at scsi-id=%u, lun=%u",
                         c->target, c->lun);
    return true;
}

static void errors_set(struct scsi_lun *l, const struct scsi_config *c)
{
    bool may_stop = c->on_error && l->bus->ops->park;

    l->on_error = c->on_error;
    l->opaque = c->opaque;
    l->errors = (struct blk_errors){.rerror = may_stop ? c->rerror : BLK_ON_ERROR_REPORT,
                                    .werror = may_stop ? c->werror : BLK_ON_ERROR_REPORT,
                                    .told = c->on_error ? told : NULL,
                                    .settle = settle,
                                    .opaque = l};
    blk_errors_init(&l->errors);
}

struct scsi_lun *scsi_lun_new(struct scsi_bus *b, const struct scsi_config *cfg, GError **err)
{
    g_autofree char *path = g_strdup_printf("%s/%u:%u", b->path, cfg->target, cfg->lun);
    struct scsi_lun *l;

    if (!place_check(b, cfg, err))
        return NULL;
    l = g_new0(struct scsi_lun, 1);
    l->bus = b;
    l->target = cfg->target;
    l->number = cfg->lun;
    l->cdrom = cfg->cdrom;
    l->removable = cfg->removable || cfg->cdrom;
    l->wwn = cfg->wwn;
    l->rotation_rate = cfg->rotation_rate;
    l->default_cache = l->write_cache = !cfg->no_write_cache;
    l->attention = UA_POWER_ON;
    pthread_mutex_init(&l->lock, NULL);
    errors_set(l, cfg);
    if (!texts_set(l, cfg, err) ||
        !(cfg->cdrom ? scsi_cd_init(l, cfg, err) : disk_set(l, cfg, err))) {
        lun_destroy(&l->dev);
        return NULL;
    }
    pthread_mutex_lock(&b->devices->lock);
    device_add(b->devices, &l->dev, cfg->cdrom ? &cd_ops : &disk_ops, cfg->id, path);
    pthread_mutex_unlock(&b->devices->lock);
    scsi_bus_add(l);
    if (b->ops->event)
        b->ops->event(l, SCSI_LUN_ADDED);
    return l;
}

/* ---- questions ---- */

struct scsi_lun *scsi_lun_of_device(struct device *d)
{
    return d->ops == &disk_ops || d->ops == &cd_ops ? container_of(d, struct scsi_lun, dev) : NULL;
}

struct device *scsi_lun_device(struct scsi_lun *l)
{
    return &l->dev;
}

struct scsi_bus *scsi_lun_bus(struct scsi_lun *l)
{
    return l->bus;
}

unsigned scsi_lun_target(const struct scsi_lun *l)
{
    return l->target;
}

unsigned scsi_lun_number(const struct scsi_lun *l)
{
    return l->number;
}

void scsi_lun_resized(struct scsi_lun *l)
{
    pthread_mutex_lock(&l->lock);
    if (!l->cdrom) {
        size_read(l);
        l->attention |= UA_CAPACITY;
    }
    pthread_mutex_unlock(&l->lock);
    if (!l->cdrom && l->bus->ops->event)
        l->bus->ops->event(l, SCSI_LUN_RESIZED);
}

void scsi_lun_info(struct scsi_lun *l, struct scsi_lun_info *out)
{
    pthread_mutex_lock(&l->lock);
    *out = (struct scsi_lun_info){scsi_node(l), l->cdrom, l->cd.tray_open, l->cd.locked};
    pthread_mutex_unlock(&l->lock);
}

int scsi_lun_stop_errnum(struct scsi_lun *l)
{
    return l->bus->ops->stop_errnum ? l->bus->ops->stop_errnum(l->bus) : 0;
}
