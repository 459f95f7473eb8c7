/* virtio.c - status, features, reset, pause and breakage of a virtio device. */
#include "virtio.h"

#include "base/evloop.h"
#include "base/trace.h"

#include <assert.h>
#include <errno.h>
#include <glib.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

static void resume_timer_fn(void *opaque);

/* --- making and ending --- */

void virtio_dev_init(struct virtio_dev *d, const struct virtio_ops *ops,
                     const struct virtio_transport *t, const char *name, unsigned queues)
{
    assert(ops->config_len <= VIRTIO_CONFIG_BYTES_MAX);
    d->ops = ops;
    d->transport = t;
    d->name = name;
    d->queue = g_new0(struct virtq, queues);
    d->queue_count = queues;
    d->config_vector = VIRTIO_NO_VECTOR;
    d->host_features = BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_F_INDIRECT_DESC) |
                       BIT64(VIRTIO_F_EVENT_IDX) | BIT64(VIRTIO_F_RING_RESET);
}

/* Lets the queue work: the machine must run, the driver be ready, the function may do DMA. */
static void queue_run(struct virtq *q)
{
    struct virtio_dev *d = q->dev;

    if (!virtio_driver_ok(d))
        return;
    if (!virtio_running(d)) {
        virtio_defer_to_resume(d);
        return;
    }
    if (!d->transport->may_dma(d))
        return;
    if (q->kick)
        q->kick(q);
    else
        virtq_service(q);
}

static void queue_ready(void *opaque, int fd, uint32_t events)
{
    struct virtq *q = opaque;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) == sizeof(count))
        virtq_count(&q->kicks, count);
    else
        assert(errno == EAGAIN || errno == EINTR);
    virtq_count(&q->runs, 1);
    TRACE(virtio_kick, VIRTQ_TRACE " fd %d", VIRTQ_TRACE_ARGS(q), fd);
    queue_run(q);
}

struct virtq *virtio_queue(struct virtio_dev *d, unsigned index, unsigned size, struct evloop *loop,
                           bool (*service)(struct virtq *q), void (*kick)(struct virtq *q))
{
    struct virtq *q = &d->queue[index];

    assert(index < d->queue_count && !q->dev && (service || kick));
    virtq_init(q, d, (uint16_t)index, (uint16_t)size, loop ? loop : evloop_main());
    q->service = service;
    q->kick = kick;
    q->watch = evloop_fd_add(q->loop, q->kick_fd, EPOLLIN, queue_ready, q);
    return q;
}

static void map_changed(struct mem_listener *l, const struct guest_region *r)
{
    struct virtio_dev *d = container_of(l, struct virtio_dev, listener);
    __atomic_fetch_add(&d->map_gen, 1, __ATOMIC_RELEASE);
}

static const struct mem_listener_ops listener_ops = {
    .region_add = map_changed,
    .region_del = map_changed,
};

void virtio_dev_attach(struct virtio_dev *d, struct guest_mem *mem, const bool *vm_running,
                       struct vm_clock *clock)
{
    d->mem = mem;
    d->vm_running = vm_running;
    d->clock = clock;
    d->listener.ops = &listener_ops;
    guest_mem_listen(mem, &d->listener);
    d->resume_timer = timer_new(evloop_main(), clock, resume_timer_fn, d);
}

static void unwatch(void *opaque)
{
    struct virtq *q = opaque;

    evloop_fd_del(q->watch);
    q->watch = NULL;
}

void virtio_dev_fini(struct virtio_dev *d)
{
    for (unsigned i = 0; i < d->queue_count; i++) {
        struct virtq *q = &d->queue[i];
        if (!q->dev)
            continue; /* half-built */
        virtq_stop(q);
        evloop_call(q->loop, unwatch, q);
    }
    if (d->mem && d->ops->drain)
        d->ops->drain(d);
    if (d->mem)
        guest_mem_unlisten(d->mem, &d->listener);
    timer_free(d->resume_timer);
    for (unsigned i = 0; i < d->queue_count; i++) {
        if (d->queue[i].dev)
            virtq_fini(&d->queue[i]);
    }
    g_free(d->queue);
}

/* --- what any thread may say --- */

void virtio_dev_broken(struct virtio_dev *d, const char *fmt, ...)
{
    char text[160];
    va_list ap;

    if (__atomic_exchange_n(&d->broken, true, __ATOMIC_ACQ_REL))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    __atomic_fetch_add(&d->broken_count, 1, __ATOMIC_RELAXED);
    log_guest_limited(&d->broken_log, "%s: the guest broke the device: %s; it needs a reset",
                      d->name, text);
    uint8_t before = __atomic_fetch_or(&d->status, VIRTIO_STATUS_NEEDS_RESET, __ATOMIC_ACQ_REL);
    if (before & VIRTIO_STATUS_DRIVER_OK)
        virtio_config_changed(d);
}

void virtio_config_changed(struct virtio_dev *d)
{
    __atomic_fetch_add(&d->config_generation, 1, __ATOMIC_RELEASE);
    if (virtio_status(d) & VIRTIO_STATUS_DRIVER_OK)
        d->transport->config_irq(d);
}

void virtio_kick_all(struct virtio_dev *d)
{
    for (unsigned i = 0; i < d->queue_count; i++)
        virtq_self_kick(&d->queue[i]);
}

/* The machine's clock stands still while it is paused: a timer that is due now fires on resume. */
void virtio_defer_to_resume(struct virtio_dev *d)
{
    timer_set(d->resume_timer, d->clock ? vm_clock_ns(d->clock) : host_clock_ns());
}

static void resume_timer_fn(void *opaque)
{
    struct virtio_dev *d = opaque;

    if (!virtio_driver_ok(d))
        return;
    if (d->ops->resume)
        d->ops->resume(d);
    virtio_kick_all(d);
}

/* --- reset --- */

static bool any_inflight(const struct virtio_dev *d)
{
    for (unsigned i = 0; i < d->queue_count; i++) {
        if (__atomic_load_n(&d->queue[i].inflight, __ATOMIC_ACQUIRE))
            return true;
    }
    return false;
}

static void finish_reset(struct virtio_dev *d)
{
    d->resetting = d->legacy = d->early = false;
    d->guest_features = 0;
    d->config_vector = VIRTIO_NO_VECTOR;
    __atomic_store_n(&d->broken, false, __ATOMIC_RELEASE);
    __atomic_store_n(&d->status, 0, __ATOMIC_RELEASE);
}

void virtio_dev_reset(struct virtio_dev *d)
{
    /* Without DRIVER_OK nothing new is taken, whatever loop looks at a queue just now. */
    __atomic_fetch_and(&d->status, (uint8_t)~VIRTIO_STATUS_DRIVER_OK, __ATOMIC_ACQ_REL);
    for (unsigned i = 0; i < d->queue_count; i++)
        virtq_reset(&d->queue[i]);
    if (d->ops->reset)
        d->ops->reset(d);
    d->resetting = true;
    if (d->legacy || !any_inflight(d))
        finish_reset(d);
}

bool virtio_queue_resetting(struct virtio_dev *d, struct virtq *q)
{
    return __atomic_load_n(&q->inflight, __ATOMIC_ACQUIRE) != 0;
}

void virtio_queue_enable(struct virtio_dev *d, struct virtq *q)
{
    if (q->enabled || !(virtio_status(d) & VIRTIO_STATUS_FEATURES_OK) ||
        virtio_queue_resetting(d, q))
        return;
    q->enabled = true;
    if (virtio_driver_ok(d) && virtq_start(q)) /* after a queue reset */
        virtq_self_kick(q);
}

void virtio_queue_resize(struct virtq *q, uint32_t size)
{
    if (size > 0 && size <= q->size_max && (size & (size - 1)) == 0)
        q->size = (uint16_t)size;
}

void virtio_queue_reset(struct virtio_dev *d, struct virtq *q)
{
    virtq_reset(q);
    if (d->ops->queue_reset)
        d->ops->queue_reset(d, q);
}

uint8_t virtio_status_read(struct virtio_dev *d)
{
    if (d->resetting && !any_inflight(d))
        finish_reset(d);
    /* Still resetting: anything but 0 tells the driver to wait. */
    return virtio_status(d) | (d->resetting ? VIRTIO_STATUS_ACKNOWLEDGE : 0);
}

/* --- status and features (board lock) --- */

static bool features_acceptable(struct virtio_dev *d)
{
    uint64_t f = d->guest_features;

    return (d->legacy || ((f & BIT64(VIRTIO_F_VERSION_1)) && !(f & ~d->host_features))) &&
           (!d->ops->features_ok || d->ops->features_ok(d, f));
}

void virtio_features_write(struct virtio_dev *d, unsigned half, uint32_t val)
{
    if (half > 1 || d->resetting || (virtio_status(d) & VIRTIO_STATUS_FEATURES_OK))
        return;
    uint64_t mask = 0xffffffffull << (32 * half);
    d->guest_features = (d->guest_features & ~mask) | (uint64_t)val << (32 * half);
}

static void go_live(struct virtio_dev *d)
{
    for (unsigned i = 0; i < d->queue_count; i++) {
        if (d->queue[i].enabled && !virtq_start(&d->queue[i]))
            return;
    }
    if (d->ops->activate)
        d->ops->activate(d);
    virtio_kick_all(d);
}

void virtio_status_write(struct virtio_dev *d, uint8_t val)
{
    uint8_t old = virtio_status_read(d);

    if (val == 0) {
        virtio_dev_reset(d);
        return;
    }
    if (d->resetting)
        return;
    uint8_t set = val &
                  (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK |
                   VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_FAILED) &
                  ~old;
    /* Bits are only ever added (§2.1.1), and some only when they are true. */
    if ((set & VIRTIO_STATUS_FEATURES_OK) && !features_acceptable(d))
        set &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    if ((set & VIRTIO_STATUS_DRIVER_OK) &&
        !(d->legacy ? features_acceptable(d) : (old | set) & VIRTIO_STATUS_FEATURES_OK))
        set &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
    __atomic_fetch_or(&d->status, set, __ATOMIC_ACQ_REL);
    if (set & VIRTIO_STATUS_DRIVER_OK)
        go_live(d);
}

/* --- the same by the legacy interface --- */

uint64_t virtio_legacy_features(const struct virtio_dev *d)
{
    return (uint32_t)d->host_features | BIT64(VIRTIO_F_NOTIFY_ON_EMPTY) |
           BIT64(VIRTIO_F_ANY_LAYOUT);
}

uint8_t virtio_legacy_status_read(struct virtio_dev *d)
{
    uint8_t hidden = VIRTIO_STATUS_NEEDS_RESET | (d->early ? VIRTIO_STATUS_DRIVER_OK : 0);

    return virtio_status_read(d) & (uint8_t)~hidden;
}

void virtio_legacy_status_write(struct virtio_dev *d, uint8_t val)
{
    if (val) {
        if (d->resetting) /* by a modern driver, that was before */
            finish_reset(d);
        d->legacy = true;
        if (val & VIRTIO_STATUS_DRIVER_OK)
            d->early = false;
    }
    virtio_status_write(d, val & (uint8_t)~VIRTIO_STATUS_FEATURES_OK);
}

void virtio_legacy_features_write(struct virtio_dev *d, uint32_t val)
{
    if (!(virtio_status(d) & VIRTIO_STATUS_DRIVER_OK))
        d->guest_features = val & virtio_legacy_features(d);
}

void virtio_legacy_early(struct virtio_dev *d)
{
    if (!d->legacy || (virtio_status(d) & VIRTIO_STATUS_DRIVER_OK) ||
        !(virtio_status(d) & VIRTIO_STATUS_DRIVER))
        return;
    d->early = true;
    virtio_status_write(d, VIRTIO_STATUS_DRIVER_OK);
}

/* --- drain (main thread, board lock not held) --- */

static void queue_run_last(void *opaque)
{
    struct virtq *q = opaque;

    /* The vCPUs stand still: what is available is all there will be.  Twice, because another
     * device's DMA may be what made a buffer available. */
    for (int round = 0; round < 2 && q->service && !virtq_empty(q); round++) {
        if (q->kick)
            q->kick(q);
        else
            virtq_service(q);
    }
}

void virtio_dev_drain(struct virtio_dev *d)
{
    if (virtio_driver_ok(d) && d->transport->may_dma(d)) {
        for (unsigned i = 0; i < d->queue_count; i++)
            evloop_call(d->queue[i].loop, queue_run_last, &d->queue[i]);
    }
    if (d->ops->drain)
        d->ops->drain(d);
}
