/* balloon.c - the virtio memory balloon (virtio 1.2 §5.5). */
#include "balloon.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

#include <glib.h>

enum {
    CFG_NUM_PAGES = 0,
    CFG_ACTUAL = 4,
    CFG_POISON = 12,
    CFG_BYTES = 16,
    QUEUE_SIZE = 128,
    QUEUES = 4,
};

#define CHANGE_INTERVAL_NS 1000000000ull

static void get_config(struct virtio_dev *d, uint8_t *c)
{
    struct virtio_balloon *b = vballoon_of(d);

    le32_put(c + CFG_NUM_PAGES, __atomic_load_n(&b->target_pages, __ATOMIC_RELAXED));
    le32_put(c + CFG_ACTUAL, __atomic_load_n(&b->actual_pages, __ATOMIC_RELAXED));
    le32_put(c + CFG_POISON, __atomic_load_n(&b->poison_value, __ATOMIC_RELAXED));
}

static void set_config(struct virtio_dev *d, unsigned off, unsigned size, uint32_t val)
{
    struct virtio_balloon *b = vballoon_of(d);

    if (size != 4)
        return;
    if (off == CFG_ACTUAL) {
        __atomic_store_n(&b->actual_pages, val, __ATOMIC_RELAXED);
        /* The guest writes this once per 256 pages; the owner hears of it once per second. */
        if (!timer_pending(b->change_timer))
            timer_set(b->change_timer, MAX_OF(host_clock_ns(), __atomic_load_n(&b->next_change_ns,
                                                                               __ATOMIC_RELAXED)));
    } else if (off == CFG_POISON) {
        __atomic_store_n(&b->poison_value, val, __ATOMIC_RELAXED);
    }
}

/* Which queue this is, with the features in use. */
static bool service(struct virtq *q)
{
    struct virtio_balloon *b = vballoon_of(q->dev);
    unsigned reporting = vballoon_stats_queue(b) ? 3 : 2;

    if (q->index == 0)
        return vballoon_inflate(b, q);
    if (q->index == 1)
        return vballoon_deflate(b, q);
    if (q == vballoon_stats_queue(b))
        return vballoon_stats(b, q);
    if (q->index == reporting && virtio_has(q->dev, VBALLOON_F_REPORTING))
        return vballoon_report(b, q);
    return false;
}

static void kick(struct virtq *q)
{
    virtq_service(q);
    virtq_notify(q);
}

static void change_timer(void *opaque)
{
    struct virtio_balloon *b = opaque;

    __atomic_store_n(&b->next_change_ns, host_clock_ns() + CHANGE_INTERVAL_NS, __ATOMIC_RELAXED);
    if (b->cfg.on_change)
        b->cfg.on_change(b->cfg.on_change_opaque, &b->p.device,
                         virtio_balloon_actual(&b->p.device));
}

static void reset(struct virtio_dev *d)
{
    struct virtio_balloon *b = vballoon_of(d);

    /* A new driver starts with all memory its own; the target stays the host's wish.  A held
     * statistics buffer is of an older generation now and never returned. */
    __atomic_store_n(&b->actual_pages, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&b->poison_value, 0, __ATOMIC_RELAXED);
}

static void activate(struct virtio_dev *d)
{
    vballoon_poll_arm(vballoon_of(d));
}

static void destroy(struct virtio_dev *d)
{
    struct virtio_balloon *b = vballoon_of(d);

    virtio_carrier_fini(&b->p);
    timer_free(b->poll_timer);
    timer_free(b->change_timer);
    virtq_elem_free(&b->elem);
    g_free(b);
}

static const struct virtio_ops vops = {
    .type = 5,
    .config_len = CFG_BYTES,
    .get_config = get_config,
    .set_config = set_config,
    .activate = activate,
    .reset = reset,
    .destroy = destroy,
};

/* --- state --- */

static void pre_save(void *obj)
{
    struct virtio_balloon *b = obj;

    if (b->stats_held && b->stats_gen != b->p.dev.queue[2].gen)
        b->stats_held = false;
}

static bool post_load(void *obj, uint32_t version, GError **err)
{
    struct virtio_balloon *b = obj;

    if (b->stats_held && b->stats_head >= b->p.dev.queue[2].size)
        return error_set(err, HANOK_ERROR_CORRUPT, "its statistics buffer is no buffer");
    b->stats_gen = b->p.dev.queue[2].gen;
    return true;
}

static const struct state_field stats_fields[] = {
    STATE_U64(struct virtio_balloon_stats, last_update_s),
    STATE_UINT_ARRAY(struct virtio_balloon_stats, value),
    STATE_END,
};
static const struct state_desc stats_state = {
    .name = "virtio-balloon-stats",
    .version = 1,
    .fields = stats_fields,
};
static const struct state_field fields[] = {
    STATE_STRUCT(struct virtio_balloon, p, virtio_carrier_state),
    STATE_U32(struct virtio_balloon, target_pages),
    STATE_U32(struct virtio_balloon, actual_pages),
    STATE_U32(struct virtio_balloon, poison_value),
    STATE_BOOL(struct virtio_balloon, stats_held),
    STATE_U16(struct virtio_balloon, stats_head),
    STATE_STRUCT(struct virtio_balloon, stats, stats_state),
    STATE_END,
};
static const struct state_desc balloon_state = {
    .name = "virtio-balloon",
    .version = 1,
    .fields = fields,
    .pre_save = pre_save,
    .post_load = post_load,
};

/* --- making --- */

static const struct virtio_type type = VIRTIO_TYPE("virtio-balloon", balloon_state);

struct device *virtio_balloon_new(const struct virtio_balloon_config *cfg, GError **err)
{
    struct virtio_balloon *b = g_new0(struct virtio_balloon, 1);
    uint64_t f = BIT64(VBALLOON_F_STATS);

    b->cfg = *cfg;
    vballoon_stats_forget(b);
    b->poll_timer = timer_new(evloop_main(), cfg->place.clock, vballoon_poll_timer, b);
    b->change_timer = timer_new(evloop_main(), NULL, change_timer, b);
    virtq_elem_alloc(&b->elem, VBALLOON_ELEM_IOVS);
    virtio_carrier_init(&b->p, &type, &cfg->place, &vops, QUEUES);
    for (unsigned i = 0; i < QUEUES; i++)
        virtio_queue(&b->p.dev, i, QUEUE_SIZE, evloop_main(), service, kick);
    if (cfg->deflate_on_oom)
        f |= BIT64(VBALLOON_F_DEFLATE_ON_OOM);
    if (cfg->page_poison)
        f |= BIT64(VBALLOON_F_PAGE_POISON);
    if (cfg->free_page_reporting)
        f |= BIT64(VBALLOON_F_REPORTING);
    b->p.dev.host_features |= f;
    if (!virtio_carrier_plug(&b->p, &cfg->place, err)) {
        virtio_carrier_destroy(&b->p.device);
        return NULL;
    }
    b->cfg.place.id = NULL; /* the caller's string */
    return &b->p.device;
}

/* --- what the machine asks and says --- */

static struct virtio_balloon *balloon_of_device(struct device *d)
{
    g_assert(virtio_is(d, &type));
    return container_of(d, struct virtio_balloon, p.device);
}

struct device *virtio_balloon_find(struct device_list *l)
{
    for (struct device *d = l->first; d; d = d->next) {
        if (virtio_is(d, &type))
            return d;
    }
    return NULL;
}

static uint64_t ram_pages(const struct virtio_balloon *b)
{
    uint64_t bytes = b->cfg.ram_bytes ? b->cfg.ram_bytes : guest_mem_ram_bytes(b->p.dev.mem);

    return bytes >> VBALLOON_PAGE_SHIFT;
}

bool virtio_balloon_set_target(struct device *d, uint64_t guest_bytes, GError **err)
{
    struct virtio_balloon *b = balloon_of_device(d);
    uint64_t have = ram_pages(b), want = guest_bytes >> VBALLOON_PAGE_SHIFT;

    if (guest_bytes == 0)
        return error_set(err, HANOK_ERROR_INVALID, "The balloon's target size must not be 0.");
    uint64_t pages = want < have ? have - want : 0;
    __atomic_store_n(&b->target_pages, (uint32_t)MIN_OF(pages, (uint64_t)UINT32_MAX),
                     __ATOMIC_RELAXED);
    virtio_config_changed(&b->p.dev);
    return true;
}

uint64_t virtio_balloon_actual(struct device *d)
{
    struct virtio_balloon *b = balloon_of_device(d);
    uint64_t taken = __atomic_load_n(&b->actual_pages, __ATOMIC_RELAXED), have = ram_pages(b);

    return (taken < have ? have - taken : 0) << VBALLOON_PAGE_SHIFT;
}

void virtio_balloon_poll(struct device *d, uint32_t interval_s)
{
    struct virtio_balloon *b = balloon_of_device(d);

    b->poll_interval_s = interval_s;
    vballoon_poll_arm(b);
}

uint32_t virtio_balloon_poll_interval(struct device *d)
{
    return balloon_of_device(d)->poll_interval_s;
}

void virtio_balloon_get_stats(struct device *d, struct virtio_balloon_stats *out)
{
    *out = balloon_of_device(d)->stats;
}
