/* blk.c - the virtio block device (virtio 1.2 §5.2). */
#include "blk.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

#include <assert.h>
#include <glib.h>

/* Device configuration, §5.2.4. */
enum {
    CFG_CAPACITY = 0,
    CFG_SEG_MAX = 12,
    CFG_BLK_SIZE = 20,
    CFG_PHYSICAL_EXP = 24,
    CFG_MIN_IO = 26,
    CFG_OPT_IO = 28,
    CFG_WRITEBACK = 32,
    CFG_NUM_QUEUES = 34,
    CFG_MAX_DISCARD = 36,
    CFG_MAX_DISCARD_SEG = 40,
    CFG_DISCARD_ALIGN = 44,
    CFG_MAX_WZ = 48,
    CFG_MAX_WZ_SEG = 52,
    CFG_WZ_MAY_UNMAP = 56,
    CFG_BYTES = 60,
};

static void get_config(struct virtio_dev *d, uint8_t *c)
{
    struct virtio_blk *b = vblk_of(d);
    struct blk_limits now;
    uint32_t unit = b->limits.logical_block_bytes;

    blk_limits(b->cfg.node, &now);
    le64_put(c + CFG_CAPACITY, now.size_bytes / unit * unit / 512);
    le32_put(c + CFG_SEG_MAX, d->queue[0].size_max - 2);
    le32_put(c + CFG_BLK_SIZE, unit);
    c[CFG_PHYSICAL_EXP] = (uint8_t)__builtin_ctz(MAX_OF(b->limits.physical_block_bytes / unit, 1u));
    le16_put(c + CFG_MIN_IO, (uint16_t)(b->cfg.min_io_bytes / unit));
    le32_put(c + CFG_OPT_IO, b->cfg.opt_io_bytes / unit);
    c[CFG_WRITEBACK] = __atomic_load_n(&b->write_cache, __ATOMIC_RELAXED);
    le16_put(c + CFG_NUM_QUEUES, (uint16_t)d->queue_count);
    le32_put(c + CFG_MAX_DISCARD, b->cfg.max_discard_sectors);
    le32_put(c + CFG_MAX_DISCARD_SEG, 1);
    le32_put(c + CFG_DISCARD_ALIGN, MAX_OF(b->cfg.discard_bytes, unit) / 512);
    le32_put(c + CFG_MAX_WZ, b->cfg.max_zeroes_sectors);
    le32_put(c + CFG_MAX_WZ_SEG, 1);
    c[CFG_WZ_MAY_UNMAP] = 1;
}

static void set_config(struct virtio_dev *d, unsigned off, unsigned size, uint32_t val)
{
    struct virtio_blk *b = vblk_of(d);

    if (off == CFG_WRITEBACK && size == 1 && virtio_has(d, VBLK_F_CONFIG_WCE))
        __atomic_store_n(&b->write_cache, val & 1, __ATOMIC_RELAXED);
}

static bool default_write_cache(const struct virtio_blk *b)
{
    return !b->cfg.no_write_cache;
}

/* Without CONFIG_WCE, a driver that cannot flush gets write-through (§5.2.6.2). */
static void activate(struct virtio_dev *d)
{
    if (!virtio_has(d, VBLK_F_CONFIG_WCE))
        __atomic_store_n(&vblk_of(d)->write_cache,
                         default_write_cache(vblk_of(d)) && virtio_has(d, VBLK_F_FLUSH),
                         __ATOMIC_RELAXED);
}

static void reset(struct virtio_dev *d)
{
    struct virtio_blk *b = vblk_of(d);

    vblk_drop_parked(b);
    __atomic_store_n(&b->write_cache, default_write_cache(b), __ATOMIC_RELAXED);
}

static void drain(struct virtio_dev *d)
{
    blk_drain(vblk_of(d)->cfg.node);
}

static void resume(struct virtio_dev *d)
{
    vblk_retry_parked(vblk_of(d));
}

static void kick(struct virtq *q)
{
    struct virtio_blk *b = vblk_of(q->dev);

    blk_plug(b->cfg.node);
    b->q[q->index].part_bytes = 0;
    virtq_service(q);
    vblk_batch_submit(&b->q[q->index]);
    blk_unplug(b->cfg.node);
    vblk_notify_all(b); /* for what ended without the block layer */
}

static void batch_end(void *opaque)
{
    vblk_notify_all(opaque);
}

static void destroy(struct virtio_dev *d)
{
    struct virtio_blk *b = vblk_of(d);

    vblk_drop_parked(b);
    virtio_carrier_fini(&b->p);
    if (b->claimed) {
        blk_on_batch(b->cfg.node, NULL, NULL);
        blk_attach(b->cfg.node, evloop_main());
        blk_release(b->cfg.node);
    }
    for (unsigned i = 0; b->q && i < MAX_OF(b->cfg.queues, 1u); i++)
        vblk_queue_fini(&b->q[i]);
    g_free(b->q);
    blk_errors_fini(&b->errors);
    pthread_mutex_destroy(&b->lock);
    g_free(b);
}

static const struct virtio_ops vops = {
    .type = 2,
    .config_len = CFG_BYTES,
    .get_config = get_config,
    .set_config = set_config,
    .activate = activate,
    .reset = reset,
    .drain = drain,
    .resume = resume,
    .destroy = destroy,
};

/* --- state --- */

static void parked_save(struct state_writer *w, const void *obj)
{
    const struct virtio_blk *b = obj;
    uint32_t n = 0;

    for (struct vblk_req *r = b->parked; r; r = r->next)
        n++;
    state_put_u32(w, n);
    for (struct vblk_req *r = b->parked; r; r = r->next)
        state_put_u32(w, r->elem.head | (uint32_t)r->elem.q->index << 16);
}

static bool parked_load(struct state_reader *r, void *obj, GError **err)
{
    struct virtio_blk *b = obj;
    uint32_t n = state_get_u32(r);

    if (n > b->p.dev.queue_count * VIRTQ_SIZE_MAX)
        return error_set(err, HANOK_ERROR_CORRUPT, "too many parked requests");
    vblk_drop_parked(b);
    while (n--) {
        uint32_t v = state_get_u32(r);
        if (v >> 16 >= b->p.dev.queue_count || !vblk_refetch(b, v >> 16, (uint16_t)v))
            return error_set(err, HANOK_ERROR_CORRUPT, "a parked request is not in guest memory");
    }
    return true;
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct virtio_blk, p, virtio_carrier_state),
    STATE_BOOL(struct virtio_blk, write_cache),
    STATE_CUSTOM("parked", parked_save, parked_load),
    STATE_END,
};
static const struct state_desc blk_state = {
    .name = "virtio-blk",
    .version = 1,
    .fields = fields,
};

/* --- making --- */

static const struct virtio_type type = VIRTIO_TYPE("virtio-blk", blk_state);

static bool check_config(const struct virtio_blk_config *c, GError **err)
{
    if (c->queues > VBLK_QUEUES_MAX)
        return error_set(err, HANOK_ERROR_INVALID, "num-queues= is at most %u.", VBLK_QUEUES_MAX);
    if (c->queue_size && (c->queue_size < 4 || c->queue_size > VIRTQ_SIZE_MAX ||
                          (c->queue_size & (c->queue_size - 1))))
        return error_set(err, HANOK_ERROR_INVALID,
                         "queue-size= must be a power of two from 4 to %u.", VIRTQ_SIZE_MAX);
    return true;
}

static bool check_blocks(struct virtio_blk *b, GError **err)
{
    struct blk_limits *l = &b->limits;
    uint32_t least = l->logical_block_bytes;

    if (b->cfg.logical_block_bytes)
        l->logical_block_bytes = b->cfg.logical_block_bytes;
    if (b->cfg.physical_block_bytes)
        l->physical_block_bytes = b->cfg.physical_block_bytes;
    l->physical_block_bytes = MAX_OF(l->physical_block_bytes, l->logical_block_bytes);
    uint32_t lo = l->logical_block_bytes, ph = l->physical_block_bytes;
    if (lo < 512 || lo > 32768 || (lo & (lo - 1)) || ph > 2 * MiB || (ph & (ph - 1)))
        return error_set(err, HANOK_ERROR_INVALID,
                         "logical_block_size and physical_block_size must be powers of two from "
                         "512 to 32768 (physical: 2M).");
    if (lo < least)
        return error_set(err, HANOK_ERROR_INVALID,
                         "This disk's blocks have %u bytes: logical_block_size cannot be less.",
                         least);
    if ((b->cfg.min_io_bytes | b->cfg.opt_io_bytes) % lo || b->cfg.min_io_bytes / lo > UINT16_MAX)
        return error_set(
            err, HANOK_ERROR_INVALID,
            "min_io_size and opt_io_size must be multiples of the logical block size.");
    if (b->cfg.discard_bytes % lo)
        return error_set(err, HANOK_ERROR_INVALID,
                         "discard_granularity must be a multiple of the logical block size.");
    return true;
}

static uint64_t features(const struct virtio_blk *b)
{
    const struct virtio_blk_config *c = &b->cfg;
    uint64_t f = BIT64(VBLK_F_SEG_MAX) | BIT64(VBLK_F_BLK_SIZE) | BIT64(VBLK_F_TOPOLOGY) |
                 BIT64(VBLK_F_FLUSH);

    if (!c->no_config_wce)
        f |= BIT64(VBLK_F_CONFIG_WCE);
    if (c->queues > 1)
        f |= BIT64(VBLK_F_MQ);
    if (b->limits.read_only)
        return f | BIT64(VBLK_F_RO);
    if (b->limits.can_discard && !c->no_discard)
        f |= BIT64(VBLK_F_DISCARD);
    if (b->limits.can_write_zeroes && !c->no_write_zeroes)
        f |= BIT64(VBLK_F_WRITE_ZEROES);
    return f;
}

static bool claim(struct virtio_blk *b, GError **err)
{
    g_autofree char *user =
        g_strdup_printf("virtio-blk device '%s'", b->cfg.place.id ? b->cfg.place.id : "(no id)");

    b->claimed = blk_claim_shared(b->cfg.node, user, b->cfg.share_rw, err);
    return b->claimed;
}

static bool setup(struct virtio_blk *b, GError **err)
{
    unsigned size = b->cfg.queue_size ? b->cfg.queue_size : 256;

    if (!check_blocks(b, err) || !claim(b, err))
        return false;
    blk_attach(b->cfg.node, b->loop);
    blk_on_batch(b->cfg.node, batch_end, b);
    b->q = g_new0(struct vblk_queue, b->p.dev.queue_count);
    for (unsigned i = 0; i < b->p.dev.queue_count; i++) {
        vblk_queue_init(&b->q[i], size);
        virtio_queue(&b->p.dev, i, size, b->loop, vblk_service, kick);
    }
    b->p.dev.host_features |= features(b);
    return virtio_carrier_plug(&b->p, &b->cfg.place, err);
}

struct device *virtio_blk_new(const struct virtio_blk_config *cfg, GError **err)
{
    if (!check_config(cfg, err))
        return NULL;
    struct virtio_blk *b = g_new0(struct virtio_blk, 1);
    b->cfg = *cfg;
    if (!b->cfg.max_discard_sectors)
        b->cfg.max_discard_sectors = VBLK_DISCARD_MAX;
    if (!b->cfg.max_zeroes_sectors)
        b->cfg.max_zeroes_sectors = VBLK_DISCARD_MAX;
    b->loop = cfg->loop ? cfg->loop : evloop_main();
    blk_limits(cfg->node, &b->limits);
    b->limits.read_only |= cfg->read_only;
    b->write_cache = default_write_cache(b);
    if (cfg->serial)
        memcpy(b->serial, cfg->serial, strnlen(cfg->serial, VIRTIO_BLK_SERIAL_MAX));
    pthread_mutex_init(&b->lock, NULL);
    vblk_errors_init(b);
    virtio_carrier_init(&b->p, &type, &cfg->place, &vops, MAX_OF(cfg->queues, 1u));
    if (!setup(b, err)) {
        virtio_carrier_destroy(&b->p.device);
        return NULL;
    }
    b->cfg.place.id = b->cfg.serial = NULL; /* the caller's strings */
    return &b->p.device;
}

struct blk_node *virtio_blk_node(struct device *d)
{
    if (!virtio_is(d, &type))
        return NULL;
    return container_of(d, struct virtio_blk, p.device)->cfg.node;
}

void virtio_blk_resized(struct device *d)
{
    if (virtio_is(d, &type))
        virtio_config_changed(&container_of(d, struct virtio_blk, p.device)->p.dev);
}
