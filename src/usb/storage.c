/* storage.c - a disk behind the bulk-only transport (USB mass storage class, bulk-only 1.0).
 *
 *   command wrapper (OUT) --> stick_command() --> data (IN or OUT) --> status wrapper (IN)
 *                                   buffer <--> one block request at a time
 *
 * Data passes through one buffer.  While a block request is under way the endpoints say NAK, and
 * its end wakes them.  After a reset the buffer belongs to the old request until that has ended:
 * the next command waits for it. */
#include "block/block.h"
#include "stick.h"
#include "usb/devices.h"
#include "usb_int.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

enum {
    BUFFER_BYTES = 128 * 1024,
    IN_EP = 0x81,
    OUT_EP = 0x02,
    CBW_BYTES = 31,
    CSW_BYTES = 13,
    CBW_SIGNATURE = 0x43425355,
    CSW_SIGNATURE = 0x53425355,
    BULK_ONLY_RESET = 0xff,
    GET_MAX_LUN = 0xfe,
};
enum { CSW_PASSED, CSW_FAILED, CSW_PHASE_ERROR };
enum stage { STAGE_COMMAND, STAGE_IN, STAGE_OUT, STAGE_STATUS, STAGES };

struct storage {
    struct usb_device usb; /* first */
    /* immutable */
    struct blk_node *node;
    bool claimed;
    const char *strings[4];
    struct usb_descriptors desc;
    /* board lock */
    struct stick disk;
    struct blk_req blk;
    struct iovec iov;
    bool in_flight;
    uint32_t generation, blk_generation; /* counts resets; of the request under way */
    uint8_t stage, status;
    uint32_t tag, expected; /* bytes the host has announced and not yet moved */
    uint8_t kind;           /* enum stick_kind */
    bool fua;
    uint64_t media_at, media_left; /* what block requests still have to do */
    uint32_t unmap_next;
    uint32_t buffer_at, buffer_len; /* IN: not yet sent is at..len; OUT: taken is 0..len */
    uint8_t buffer[BUFFER_BYTES];
};

/* ---- descriptors ---- */

#define DEVICE_DESC(version, packet)                                                               \
    {                                                                                              \
        18, DESC_DEVICE, U16(version), 0, 0, 0, (packet), U16(0x46f4), U16(0x0001), U16(0), 1, 2,  \
            3, 1                                                                                   \
    }
#define INTERFACE_DESC        9, DESC_INTERFACE, 0, 0, 2, 8, 6, 0x50, 0 /* SCSI, bulk-only */
#define BULK_DESC(ep, packet) 7, DESC_ENDPOINT, (ep), 2, U16(packet), 0
#define CONFIG_DESC(packet)                                                                        \
    {                                                                                              \
        9, DESC_CONFIG, U16(32), 1, 1, 0, 0xc0, 0, INTERFACE_DESC, BULK_DESC(IN_EP, packet),       \
            BULK_DESC(OUT_EP, packet)                                                              \
    }
#define COMPANION_DESC 6, DESC_COMPANION, 15, 0, 0, 0
static const uint8_t device_2[] = DEVICE_DESC(0x0200, 64), device_3[] = DEVICE_DESC(0x0300, 9);
static const uint8_t config_full[] = CONFIG_DESC(64), config_high[] = CONFIG_DESC(512);
static const uint8_t config_super[] = {9,
                                       DESC_CONFIG,
                                       U16(44),
                                       1,
                                       1,
                                       0,
                                       0xc0,
                                       0,
                                       INTERFACE_DESC,
                                       BULK_DESC(IN_EP, 1024),
                                       COMPANION_DESC,
                                       BULK_DESC(OUT_EP, 1024),
                                       COMPANION_DESC};
/* USB 2.0 extension, then SuperSpeed: full, high and super speed, works at full speed. */
static const uint8_t bos[] = {5, DESC_BOS, U16(22),         2, 7, DESC_CAPABILITY, 2, 0, 0,     0,
                              0, 10,       DESC_CAPABILITY, 3, 0, U16(0x0e),       1, 0, U16(0)};

static struct storage *storage_of(struct usb_device *d)
{
    return container_of(d, struct storage, usb);
}

static const struct usb_descriptors *storage_describe(struct usb_device *d, enum usb_speed speed)
{
    struct storage *s = storage_of(d);

    s->desc = (struct usb_descriptors){
        .device = speed == USB_SPEED_SUPER ? device_3 : device_2,
        .config = speed == USB_SPEED_SUPER  ? config_super
                  : speed == USB_SPEED_HIGH ? config_high
                                            : config_full,
        .bos = speed == USB_SPEED_SUPER ? bos : NULL,
        .strings = s->strings,
    };
    return &s->desc;
}

/* ---- block requests ---- */

static void blk_done(struct blk_req *req, int ret);

static void submit(struct storage *s, enum blk_op op, uint64_t offset, uint64_t bytes)
{
    bool data = op == BLK_READ || op == BLK_WRITE;

    s->iov = (struct iovec){s->buffer, data ? bytes : 0};
    s->blk.op = op;
    s->blk.flags = op == BLK_WRITE && (s->fua || !s->disk.write_cache) ? BLK_REQ_FUA : 0;
    s->blk.offset_bytes = offset;
    s->blk.len_bytes = bytes;
    s->blk.iov = &s->iov;
    s->blk.iov_count = data;
    s->blk.done = blk_done;
    s->blk.node = s->node;
    s->in_flight = true;
    s->blk_generation = s->generation;
    blk_submit(&s->blk);
}

static void fill(struct storage *s)
{
    uint32_t n = (uint32_t)MIN_OF(s->media_left, (uint64_t)BUFFER_BYTES);

    s->buffer_at = s->buffer_len = 0;
    submit(s, BLK_READ, s->media_at, n);
}

static void spill(struct storage *s)
{
    submit(s, BLK_WRITE, s->media_at, s->buffer_len);
}

/* The next range of UNMAP, or its end. */
static void unmap_step(struct storage *s)
{
    uint64_t offset, bytes;

    while (stick_unmap_range(&s->disk, s->buffer, s->buffer_len, s->unmap_next, &offset, &bytes)) {
        s->unmap_next++;
        if (bytes) {
            submit(s, BLK_DISCARD, offset, bytes);
            return;
        }
    }
    s->kind = STICK_DONE;
}

static void command_failed(struct storage *s)
{
    s->status = CSW_FAILED;
    s->kind = STICK_FAIL;
    s->media_left = 0;
    s->buffer_at = s->buffer_len = 0;
}

static void request_ended(struct storage *s, int ret)
{
    uint64_t bytes = s->blk.len_bytes;

    if (ret < 0) {
        stick_media_failed(&s->disk, -ret, s->blk.op != BLK_READ);
        command_failed(s);
        return;
    }
    switch (s->kind) {
    case STICK_READ:
        s->buffer_len = (uint32_t)bytes;
        break;
    case STICK_WRITE:
        s->buffer_len = 0;
        break;
    case STICK_UNMAP:
        unmap_step(s);
        return;
    default:
        return;
    }
    s->media_at += bytes;
    s->media_left -= bytes;
}

static void blk_done(struct blk_req *req, int ret)
{
    struct storage *s = container_of(req, struct storage, blk);
    pthread_mutex_t *lock = &s->usb.dev.list->lock;

    pthread_mutex_lock(lock);
    s->in_flight = false;
    if (s->blk_generation == s->generation)
        request_ended(s, ret);
    usb_wakeup(&s->usb, IN_EP);
    usb_wakeup(&s->usb, OUT_EP);
    pthread_mutex_unlock(lock);
}

/* ---- the transport ---- */

static void stage_after_command(struct storage *s, bool in, const struct stick_op *op)
{
    bool out_data = op->kind == STICK_WRITE || op->kind == STICK_TAKE || op->kind == STICK_UNMAP;
    uint64_t bytes = op->kind == STICK_READ || op->kind == STICK_WRITE ? op->bytes : op->len;
    bool data = op->kind == STICK_READ || op->kind == STICK_REPLY || out_data;

    s->stage = s->expected == 0 ? STAGE_STATUS : in ? STAGE_IN : STAGE_OUT;
    if (op->kind == STICK_FAIL)
        command_failed(s);
    /* the host means another direction, or less than the command would move (§6.7) */
    if (data &&
        (s->expected == 0 || out_data == in || (bytes > s->expected && op->kind != STICK_REPLY))) {
        command_failed(s);
        s->status = CSW_PHASE_ERROR;
    }
}

static enum usb_result command_take(struct storage *s, const uint8_t *data, uint32_t len,
                                    uint32_t *moved)
{
    uint8_t cdb[16] = {0};
    struct stick_op op;

    if (s->in_flight)
        return USB_NAK;
    if (len != CBW_BYTES || le32_get(data) != CBW_SIGNATURE || data[13] != 0 || data[14] == 0 ||
        data[14] > sizeof(cdb))
        return USB_STALL;
    *moved = len;
    s->tag = le32_get(data + 4);
    s->expected = le32_get(data + 8);
    memcpy(cdb, data + 15, data[14]);
    stick_command(&s->disk, cdb, &op);
    s->kind = op.kind;
    s->fua = op.fua;
    s->status = CSW_PASSED;
    s->media_at = op.offset_bytes;
    s->media_left = op.kind == STICK_READ || op.kind == STICK_WRITE ? op.bytes : 0;
    s->unmap_next = 0;
    s->buffer_at = s->buffer_len = 0;
    stage_after_command(s, data[12] & 0x80, &op);
    if (s->kind == STICK_REPLY) {
        s->buffer_len = MIN_OF(op.len, s->expected);
        memcpy(s->buffer, s->disk.reply, s->buffer_len);
    } else if (s->kind == STICK_FLUSH) {
        submit(s, BLK_FLUSH, 0, 0);
    } else if (s->kind == STICK_READ) {
        fill(s);
    }
    return USB_OK;
}

static void data_over(struct storage *s)
{
    s->stage = STAGE_STATUS;
    usb_wakeup(&s->usb, IN_EP);
}

static enum usb_result data_in(struct storage *s, uint8_t *data, uint32_t len, uint32_t *moved)
{
    while (*moved < len && s->expected) {
        uint32_t n = MIN_OF(len - *moved, s->buffer_len - s->buffer_at);
        if (s->in_flight)
            return USB_NAK;
        if (n == 0 && s->media_left == 0)
            break; /* less than the host asked for: a short packet */
        memcpy(data + *moved, s->buffer + s->buffer_at, n);
        *moved += n;
        s->buffer_at += n;
        s->expected -= n;
        if (s->buffer_at == s->buffer_len && s->media_left)
            fill(s);
    }
    if (s->expected == 0 || *moved < len)
        data_over(s);
    return USB_OK;
}

/* What the host sends beyond what the command takes is dropped; it shows in the residue. */
static enum usb_result data_out(struct storage *s, const uint8_t *data, uint32_t len,
                                uint32_t *moved)
{
    bool kept = s->kind == STICK_WRITE || s->kind == STICK_UNMAP;
    uint32_t dropped;

    while (*moved < len && kept) {
        uint64_t want = s->kind == STICK_WRITE ? s->media_left : UINT16_MAX;
        uint32_t room = (uint32_t)MIN_OF(want, (uint64_t)BUFFER_BYTES) - s->buffer_len, n;
        if (s->in_flight)
            return USB_NAK;
        n = MIN_OF(MIN_OF(len - *moved, room), s->expected);
        if (n == 0)
            break;
        memcpy(s->buffer + s->buffer_len, data + *moved, n);
        *moved += n;
        s->buffer_len += n;
        s->expected -= n;
        if (s->kind == STICK_WRITE && n == room)
            spill(s);
        kept = s->kind == STICK_WRITE || s->kind == STICK_UNMAP;
    }
    dropped = MIN_OF(len - *moved, s->expected);
    s->expected -= s->kind == STICK_TAKE ? dropped : 0;
    *moved = len;
    if (s->expected == 0 || (dropped && s->kind != STICK_TAKE)) {
        if (s->kind == STICK_UNMAP && !s->in_flight)
            unmap_step(s);
        data_over(s);
    }
    return USB_OK;
}

static enum usb_result status_give(struct storage *s, uint8_t *data, uint32_t len, uint32_t *moved)
{
    if (s->in_flight)
        return USB_NAK;
    if (len < CSW_BYTES)
        return USB_BABBLE;
    le32_put(data, CSW_SIGNATURE);
    le32_put(data + 4, s->tag);
    le32_put(data + 8, s->expected);
    data[12] = s->status;
    *moved = CSW_BYTES;
    s->stage = STAGE_COMMAND;
    return USB_OK;
}

static enum usb_result storage_transfer(struct usb_device *d, uint8_t ep, uint8_t *data,
                                        uint32_t len, uint32_t *moved)
{
    struct storage *s = storage_of(d);

    if (ep == IN_EP)
        return s->stage == STAGE_IN       ? data_in(s, data, len, moved)
               : s->stage == STAGE_STATUS ? status_give(s, data, len, moved)
               : s->stage == STAGE_OUT    ? USB_STALL
                                          : USB_NAK;
    if (ep != OUT_EP)
        return USB_STALL;
    /* a host that has given up on a command begins the next without reading its status */
    return s->stage == STAGE_OUT ? data_out(s, data, len, moved)
                                 : command_take(s, data, len, moved);
}

static void storage_bus_reset(struct usb_device *d)
{
    struct storage *s = storage_of(d);

    s->generation++;
    s->stage = STAGE_COMMAND;
    s->kind = STICK_DONE;
    s->expected = 0;
    s->media_left = 0;
    s->buffer_at = s->buffer_len = 0;
    stick_reset(&s->disk);
}

static enum usb_result storage_control(struct usb_device *d, const struct usb_setup *setup,
                                       uint8_t *data, uint32_t *len)
{
    if (setup->type == (TYPE_CLASS | TYPE_INTERFACE) && setup->request == BULK_ONLY_RESET) {
        storage_bus_reset(d);
        return USB_OK;
    }
    if (setup->type == (TYPE_IN | TYPE_CLASS | TYPE_INTERFACE) && setup->request == GET_MAX_LUN) {
        *len = MIN_OF(*len, 1u);
        data[0] = 0;
        return USB_OK;
    }
    return USB_STALL;
}

/* ---- device ---- */

static void storage_reset(struct device *dev)
{
    usb_device_bus_reset(container_of(dev, struct usb_device, dev));
}

static void storage_drain(struct device *dev)
{
    blk_drain(container_of(dev, struct storage, usb.dev)->node);
}

static void storage_destroy(struct device *dev)
{
    struct storage *s = container_of(dev, struct storage, usb.dev);

    storage_drain(dev);
    if (s->claimed)
        blk_release(s->node);
    usb_device_unplug(&s->usb);
    g_free(s);
}

static bool storage_post_load(void *obj, uint32_t version, GError **err)
{
    struct storage *s = obj;

    if (s->stage >= STAGES || s->kind > STICK_UNMAP || s->buffer_len > BUFFER_BYTES ||
        s->buffer_at > s->buffer_len || s->media_at > s->disk.size_bytes ||
        s->media_left > s->disk.size_bytes - s->media_at ||
        (s->kind == STICK_WRITE && (s->disk.read_only || s->buffer_len > s->media_left)) ||
        (s->kind == STICK_UNMAP && (s->disk.read_only || s->buffer_len > UINT16_MAX)))
        return error_set(err, HANOK_ERROR_CORRUPT, "its transfer contradicts itself");
    s->generation++;
    return true;
}

static const struct state_field disk_fields[] = {
    STATE_U8(struct stick, key),
    STATE_U8(struct stick, asc),
    STATE_U8(struct stick, ascq),
    STATE_BOOL(struct stick, stopped),
    STATE_END,
};
static const struct state_desc disk_state = {
    .name = "scsi-disk", .version = 1, .fields = disk_fields};
static const struct state_field storage_fields[] = {
    STATE_STRUCT(struct storage, usb, usb_device_state),
    STATE_STRUCT(struct storage, disk, disk_state),
    STATE_U8(struct storage, stage),
    STATE_U8(struct storage, status),
    STATE_U32(struct storage, tag),
    STATE_U32(struct storage, expected),
    STATE_U8(struct storage, kind),
    STATE_BOOL(struct storage, fua),
    STATE_U64(struct storage, media_at),
    STATE_U64(struct storage, media_left),
    STATE_U32(struct storage, unmap_next),
    STATE_U32(struct storage, buffer_at),
    STATE_U32(struct storage, buffer_len),
    STATE_BYTES(struct storage, buffer),
    STATE_END,
};
static const struct state_desc storage_state = {
    .name = "usb-storage", .version = 1, .fields = storage_fields, .post_load = storage_post_load};

static const struct usb_device_ops storage_ops = {
    .dev = {.type = "usb-storage",
            .reset = storage_reset,
            .drain = storage_drain,
            .destroy = storage_destroy,
            .state = &storage_state},
    .describe = storage_describe,
    .control = storage_control,
    .transfer = storage_transfer,
    .bus_reset = storage_bus_reset,
};

static bool size_ok(uint32_t bytes)
{
    return bytes >= 512 && bytes <= 32768 && (bytes & (bytes - 1)) == 0;
}

static bool disk_init(struct stick *d, const struct usb_storage_config *cfg, GError **err)
{
    struct blk_limits l;

    blk_limits(cfg->node, &l);
    d->block_bytes = cfg->logical_block_bytes ? cfg->logical_block_bytes : l.logical_block_bytes;
    d->physical_bytes =
        cfg->physical_block_bytes ? cfg->physical_block_bytes : l.physical_block_bytes;
    d->physical_bytes = MAX_OF(d->physical_bytes, d->block_bytes);
    if (!size_ok(d->block_bytes) || !size_ok(d->physical_bytes) ||
        d->block_bytes < l.logical_block_bytes)
        return error_set(err, HANOK_ERROR_INVALID,
                         "logical_block_size=%u, physical_block_size=%u: powers of two from 512 to "
                         "32768, the first at least the image's %u",
                         d->block_bytes, d->physical_bytes, l.logical_block_bytes);
    d->size_bytes = l.size_bytes / d->block_bytes * d->block_bytes;
    if (d->size_bytes == 0)
        return error_set(err, HANOK_ERROR_INVALID, "the image is smaller than a block");
    d->removable = cfg->removable;
    d->read_only = cfg->read_only || l.read_only;
    d->can_unmap = l.can_discard && !d->read_only;
    d->write_cache = l.write_cache && !cfg->no_write_cache;
    g_strlcpy(d->serial, cfg->serial ? cfg->serial : "1", sizeof(d->serial));
    return true;
}

struct usb_device *usb_storage_new(struct usb_port *p, const struct usb_storage_config *cfg,
                                   GError **err)
{
    struct storage *s = g_new0(struct storage, 1);
    const char *user = cfg->id ? cfg->id : "usb-storage";

    s->node = cfg->node;
    if (!disk_init(&s->disk, cfg, err) || !blk_claim_shared(s->node, user, cfg->share_rw, err)) {
        g_free(s);
        return NULL;
    }
    s->claimed = true;
    s->strings[0] = "Hanok";
    s->strings[1] = "USB Disk";
    s->strings[2] = s->disk.serial;
    usb_device_init(&s->usb, &storage_ops, USB_STORAGE_SPEEDS, "storage");
    usb_device_plug(&s->usb, p, cfg->id);
    return &s->usb;
}

struct blk_node *usb_storage_node(const struct device *d)
{
    return d->ops == &storage_ops.dev ? container_of(d, const struct storage, usb.dev)->node : NULL;
}
