/* scsi.c - the virtio SCSI host device (virtio 1.2 §5.6). */
#include "scsi.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

#include <glib.h>

/* Device configuration, §5.6.4. */
enum {
    CFG_NUM_QUEUES = 0,
    CFG_SEG_MAX = 4,
    CFG_MAX_SECTORS = 8,
    CFG_CMD_PER_LUN = 12,
    CFG_EVENT_BYTES = 16,
    CFG_SENSE_BYTES = 20,
    CFG_CDB_BYTES = 24,
    CFG_MAX_CHANNEL = 28,
    CFG_MAX_TARGET = 30,
    CFG_MAX_LUN = 32,
    CFG_BYTES = 36,
    SENSE_DEFAULT = 96,
    SENSE_MAX = 252,
    CDB_DEFAULT = 32,
    CONTROL_IOVS = 8,
};

static void get_config(struct virtio_dev *d, uint8_t *c)
{
    struct virtio_scsi *s = vscsi_of(d);

    le32_put(c + CFG_NUM_QUEUES, d->queue_count - VSCSI_REQUESTS);
    le32_put(c + CFG_SEG_MAX, d->queue[VSCSI_REQUESTS].size_max - 2u);
    le32_put(c + CFG_MAX_SECTORS, s->cfg.max_sectors);
    le32_put(c + CFG_CMD_PER_LUN, s->cfg.cmd_per_lun);
    le32_put(c + CFG_EVENT_BYTES, 16);
    le32_put(c + CFG_SENSE_BYTES, s->sense_bytes);
    le32_put(c + CFG_CDB_BYTES, s->cdb_bytes);
    le16_put(c + CFG_MAX_CHANNEL, 0);
    le16_put(c + CFG_MAX_TARGET, SCSI_TARGETS - 1);
    le32_put(c + CFG_MAX_LUN, SCSI_LUNS - 1);
}

static void set_config(struct virtio_dev *d, unsigned off, unsigned size, uint32_t val)
{
    struct virtio_scsi *s = vscsi_of(d);

    if (size != 4 || virtio_driver_ok(d)) /* requests of the old sizes may be under way */
        return;
    if (off == CFG_SENSE_BYTES && val <= SENSE_MAX)
        s->sense_bytes = val;
    else if (off == CFG_CDB_BYTES && val && val <= SCSI_CDB_MAX)
        s->cdb_bytes = val;
}

static void reset(struct virtio_dev *d)
{
    struct virtio_scsi *s = vscsi_of(d);

    vscsi_drop_parked(s);
    pthread_mutex_lock(&s->lock);
    s->events = 0;
    s->missed = false;
    pthread_mutex_unlock(&s->lock);
    s->sense_bytes = SENSE_DEFAULT;
    s->cdb_bytes = CDB_DEFAULT;
}

static void drain(struct virtio_dev *d)
{
    scsi_bus_drain(&vscsi_of(d)->bus);
}

static void resume(struct virtio_dev *d)
{
    vscsi_retry_parked(vscsi_of(d));
}

static void request_kick(struct virtq *q)
{
    struct virtio_scsi *s = vscsi_of(q->dev);

    scsi_bus_plug(&s->bus);
    virtq_service(q);
    scsi_bus_unplug(&s->bus);
    vscsi_notify_all(s); /* for what ended without the block layer */
}

static void event_kick(struct virtq *q)
{
    vscsi_events_send(vscsi_of(q->dev));
}

static void batch_end(struct scsi_bus *b)
{
    vscsi_notify_all(container_of(b, struct virtio_scsi, bus));
}

static void destroy(struct virtio_dev *d)
{
    struct virtio_scsi *s = vscsi_of(d);

    s->dying = true;
    vscsi_drop_parked(s);
    scsi_bus_fini(&s->bus);
    virtio_carrier_fini(&s->p);
    for (unsigned i = 0; i < MAX_OF(s->cfg.queues, 1u); i++)
        vscsi_queue_fini(&s->q[i]);
    for (unsigned i = 0; i < VSCSI_CONTROL_SIZE; i++)
        virtq_elem_free(&s->tmf[i].elem);
    virtq_elem_free(&s->event_elem);
    virtq_elem_free(&s->plain_elem);
    pthread_mutex_destroy(&s->lock);
    g_free(s->q);
    g_free(s->path);
    g_free(s);
}

static int stop_errnum(struct scsi_bus *b)
{
    struct virtio_scsi *s = container_of(b, struct virtio_scsi, bus);

    pthread_mutex_lock(&s->lock);
    int errnum = s->parked ? s->parked_errnum : 0;
    pthread_mutex_unlock(&s->lock);
    return errnum;
}

static const struct virtio_ops vops = {
    .type = 8,
    .config_len = CFG_BYTES,
    .get_config = get_config,
    .set_config = set_config,
    .reset = reset,
    .drain = drain,
    .resume = resume,
    .destroy = destroy,
};
static const struct scsi_bus_ops bus_ops = {.park = vscsi_park,
                                            .stop_errnum = stop_errnum,
                                            .settle = vscsi_settle,
                                            .batch_end = batch_end,
                                            .event = vscsi_event};

/* ---- state ---- */

static void parked_save(struct state_writer *w, const void *obj)
{
    const struct virtio_scsi *s = obj;
    uint32_t n = 0;

    for (struct vscsi_req *r = s->parked; r; r = r->next)
        n++;
    state_put_u32(w, n);
    for (struct vscsi_req *r = s->parked; r; r = r->next)
        state_put_u32(w, r->elem.head | (uint32_t)r->elem.q->index << 16);
}

static bool parked_load(struct state_reader *r, void *obj, GError **err)
{
    struct virtio_scsi *s = obj;
    uint32_t n = state_get_u32(r);

    if (n > s->p.dev.queue_count * VIRTQ_SIZE_MAX)
        return error_set(err, HANOK_ERROR_CORRUPT, "too many parked commands");
    vscsi_drop_parked(s);
    if (s->sense_bytes > SENSE_MAX || s->cdb_bytes == 0 || s->cdb_bytes > SCSI_CDB_MAX)
        return error_set(err, HANOK_ERROR_CORRUPT, "its command sizes are not possible");
    while (n--) {
        uint32_t v = state_get_u32(r), queue = v >> 16;
        if (queue < VSCSI_REQUESTS || queue >= s->p.dev.queue_count ||
            !vscsi_refetch(s, queue, (uint16_t)v))
            return error_set(err, HANOK_ERROR_CORRUPT, "a parked command is not in guest memory");
    }
    return true;
}

static void events_save(struct state_writer *w, const void *obj)
{
    const struct virtio_scsi *s = obj;

    state_put_u32(w, s->events);
    for (unsigned i = 0; i < s->events; i++) {
        state_put_u32(w, s->event[i].event);
        state_put_u32(w, s->event[i].reason);
        state_put_bytes(w, s->event[i].address, VSCSI_LUN_BYTES);
    }
}

static bool events_load(struct state_reader *r, void *obj, GError **err)
{
    struct virtio_scsi *s = obj;
    uint32_t n = state_get_u32(r);

    if (n > VSCSI_EVENTS_MAX)
        return error_set(err, HANOK_ERROR_CORRUPT, "too many events");
    s->events = n;
    for (unsigned i = 0; i < n; i++) {
        s->event[i].event = state_get_u32(r);
        s->event[i].reason = state_get_u32(r);
        if (!state_get_bytes(r, s->event[i].address, VSCSI_LUN_BYTES))
            return error_set(err, HANOK_ERROR_CORRUPT, "an event is cut short");
    }
    return true;
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct virtio_scsi, p, virtio_carrier_state),
    STATE_U32(struct virtio_scsi, sense_bytes),
    STATE_U32(struct virtio_scsi, cdb_bytes),
    STATE_BOOL(struct virtio_scsi, missed),
    STATE_CUSTOM("events", events_save, events_load),
    STATE_CUSTOM("parked", parked_save, parked_load),
    STATE_END,
};
static const struct state_desc scsi_state = {.name = "virtio-scsi", .version = 1, .fields = fields};

/* ---- making ---- */

static const struct virtio_type type = VIRTIO_TYPE("virtio-scsi", scsi_state);

static bool check_config(const struct virtio_scsi_config *c, GError **err)
{
    if (c->queues > VSCSI_QUEUES_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "num_queues= is at most %d.", VSCSI_QUEUES_MAX);
    if (c->queue_size && (c->queue_size < 4 || c->queue_size > VIRTQ_SIZE_MAX ||
                          (c->queue_size & (c->queue_size - 1))))
        return error_set(err, HANOK_ERROR_INVALID,
                         "virtqueue_size= must be a power of two from 4 to %u.", VIRTQ_SIZE_MAX);
    return true;
}

static void make_queues(struct virtio_scsi *s)
{
    unsigned queues = MAX_OF(s->cfg.queues, 1u);
    unsigned size = s->cfg.queue_size ? s->cfg.queue_size : 256;

    virtio_queue(&s->p.dev, VSCSI_CONTROL, VSCSI_CONTROL_SIZE, s->loop, vscsi_control, NULL);
    virtio_queue(&s->p.dev, VSCSI_EVENTS, VSCSI_CONTROL_SIZE, s->loop, NULL, event_kick);
    s->q = g_new0(struct vscsi_queue, queues);
    for (unsigned i = 0; i < queues; i++) {
        vscsi_queue_init(&s->q[i], size);
        virtio_queue(&s->p.dev, VSCSI_REQUESTS + i, size, s->loop, vscsi_service, request_kick);
    }
    virtq_elem_alloc(&s->event_elem, CONTROL_IOVS);
    virtq_elem_alloc(&s->plain_elem, CONTROL_IOVS);
    for (unsigned i = 0; i < VSCSI_CONTROL_SIZE; i++)
        virtq_elem_alloc(&s->tmf[i].elem, CONTROL_IOVS);
}

struct device *virtio_scsi_new(const struct virtio_scsi_config *cfg, GError **err)
{
    struct virtio_scsi *s;

    if (!check_config(cfg, err))
        return NULL;
    s = g_new0(struct virtio_scsi, 1);
    s->cfg = *cfg;
    s->cfg.max_sectors = cfg->max_sectors ? cfg->max_sectors : 65535;
    s->cfg.cmd_per_lun = cfg->cmd_per_lun ? cfg->cmd_per_lun : 128;
    s->loop = cfg->loop ? cfg->loop : evloop_main();
    s->sense_bytes = SENSE_DEFAULT;
    s->cdb_bytes = CDB_DEFAULT;
    pthread_mutex_init(&s->lock, NULL);
    virtio_carrier_init(&s->p, &type, &cfg->place, &vops, MAX_OF(cfg->queues, 1u) + VSCSI_REQUESTS);
    make_queues(s);
    s->bus = (struct scsi_bus){
        .ops = &bus_ops, .loop = s->loop, .devices = virtio_place_devices(&cfg->place)};
    s->p.dev.host_features |= (cfg->no_hotplug ? 0 : BIT64(VSCSI_F_HOTPLUG)) |
                              (cfg->no_param_change ? 0 : BIT64(VSCSI_F_CHANGE));
    if (!virtio_carrier_plug(&s->p, &s->cfg.place, err)) {
        virtio_carrier_destroy(&s->p.device);
        return NULL;
    }
    s->path = g_strdup(s->p.device.path);
    s->bus.path = s->path;
    s->cfg.place.id = NULL; /* the caller's */
    return &s->p.device;
}

struct scsi_bus *virtio_scsi_bus(struct device *d)
{
    return virtio_is(d, &type) ? &container_of(d, struct virtio_scsi, p.device)->bus : NULL;
}
