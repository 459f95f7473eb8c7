/* ring.c - the split virtqueue (virtio 1.2 §2.7).  ring_chain.c turns heads into elements. */
#include "ring_internal.h"

#include "base/evloop.h"
#include "base/trace.h"

#include <assert.h>
#include <errno.h>
#include <glib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Ring memory is shared with the driver: each value is loaded or stored exactly once. */
static uint16_t ring_load(const uint8_t *p, int order)
{
    return __atomic_load_n((const uint16_t *)p, order);
}

static void ring_store(struct virtq *q, uint64_t gpa_offset_from_used, uint16_t v, int order)
{
    __atomic_store_n((uint16_t *)(q->used + gpa_offset_from_used), v, order);
    guest_mem_wrote(q->dev->mem, GPA(q->used_gpa.v + gpa_offset_from_used), sizeof(v));
}

enum {
    AVAIL_FLAGS = 0,
    AVAIL_IDX = 2,
    AVAIL_RING = 4, /* 2 bytes each, then used_event */
    USED_FLAGS = 0,
    USED_IDX = 2,
    USED_RING = 4, /* 8 bytes each, then avail_event */
    USED_ENTRY_BYTES = 8,
    AVAIL_NO_INTERRUPT = 1,
    USED_NO_NOTIFY = 1,
};

void virtq_init(struct virtq *q, struct virtio_dev *dev, uint16_t index, uint16_t size,
                struct evloop *loop)
{
    assert(size > 0 && size <= VIRTQ_SIZE_MAX && (size & (size - 1)) == 0);
    q->dev = dev;
    q->index = index;
    q->size_max = q->size = size;
    q->loop = loop;
    q->vector = VIRTIO_NO_VECTOR;
    q->gen = 1;
    q->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (q->kick_fd < 0)
        g_error("virtio: no event descriptor for a queue: %s", g_strerror(errno));
    pthread_mutex_init(&q->lock, NULL);
}

void virtq_fini(struct virtq *q)
{
    assert(!q->watch);
    close(q->kick_fd);
    pthread_mutex_destroy(&q->lock);
}

/* --- start and stop --- */

/* Resolves the three areas; each must lie in one piece of RAM. */
static bool map_locked(struct virtq *q)
{
    struct guest_mem *m = q->dev->mem;

    q->map_gen = __atomic_load_n(&q->dev->map_gen, __ATOMIC_ACQUIRE);
    q->desc = guest_mem_ptr(m, q->desc_gpa, (uint64_t)q->size * VRING_DESC_BYTES, false);
    q->avail = guest_mem_ptr(m, q->avail_gpa, AVAIL_RING + 2ull * q->size + 2, false);
    q->used = guest_mem_ptr(m, q->used_gpa, USED_RING + 8ull * q->size + 2, true);
    return q->desc && q->avail && q->used;
}

static bool aligned(const struct virtq *q)
{
    return q->desc_gpa.v % 16 == 0 && q->avail_gpa.v % 2 == 0 && q->used_gpa.v % 4 == 0;
}

bool virtq_start(struct virtq *q)
{
    pthread_mutex_lock(&q->lock);
    bool ok = aligned(q) && map_locked(q);
    q->live = ok;
    q->signalled_valid = false;
    q->notify_wanted = true;
    pthread_mutex_unlock(&q->lock);
    if (!ok)
        virtio_dev_broken(q->dev, "queue %u: a ring is misaligned or not in RAM", q->index);
    return ok;
}

void virtq_stop(struct virtq *q)
{
    pthread_mutex_lock(&q->lock);
    q->live = false;
    __atomic_store_n(&q->gen, q->gen + 1, __ATOMIC_RELEASE);
    q->inuse = 0;
    pthread_mutex_unlock(&q->lock);
}

void virtq_reset(struct virtq *q)
{
    virtq_stop(q);
    q->enabled = false;
    q->size = q->size_max;
    q->vector = VIRTIO_NO_VECTOR;
    q->desc_gpa = q->avail_gpa = q->used_gpa = GPA(0);
    q->last_avail = q->used_idx = q->signalled_used = 0;
    q->signalled_valid = false;
}

/* Whether the queue may be touched now; follows a changed memory map. */
static bool usable_locked(struct virtq *q, const char **why)
{
    if (!q->live || __atomic_load_n(&q->dev->broken, __ATOMIC_ACQUIRE))
        return false;
    if (likely(q->map_gen == __atomic_load_n(&q->dev->map_gen, __ATOMIC_ACQUIRE)) || map_locked(q))
        return true;
    *why = "its ring is no longer in RAM";
    return false;
}

/* --- taking --- */

static int pop_locked(struct virtq *q, struct virtq_elem *e, const char **why)
{
    if (!usable_locked(q, why))
        return *why ? -EIO : 0;
    /* Acquire: the entries are read after the index that announces them. */
    uint16_t idx = ring_load(q->avail + AVAIL_IDX, __ATOMIC_ACQUIRE);
    uint16_t waiting = (uint16_t)(idx - q->last_avail);
    if (waiting == 0)
        return 0;
    if (waiting > q->size) {
        *why = "the available index jumped";
        return -EIO;
    }
    if (q->inuse >= q->size) {
        *why = "more buffers are available than the queue has";
        return -EIO;
    }
    uint16_t head =
        ring_load(q->avail + AVAIL_RING + 2u * (q->last_avail & (q->size - 1u)), __ATOMIC_RELAXED);
    *why = virtq_map_chain(q, head, e);
    if (*why)
        return -EIO;
    q->last_avail++;
    q->inuse++;
    virtq_count(&q->stats.requests, 1);
    virtq_count(&q->stats.out_bytes, e->out_bytes);
    e->popped_ns = host_clock_ns();
    __atomic_fetch_add(&q->inflight, 1, __ATOMIC_RELAXED);
    if (q->notify_wanted && virtio_has(q->dev, VIRTIO_F_EVENT_IDX))
        ring_store(q, USED_RING + 8ull * q->size, q->last_avail, __ATOMIC_RELAXED);
    return 1;
}

int virtq_pop(struct virtq *q, struct virtq_elem *e)
{
    const char *why = NULL;

    pthread_mutex_lock(&q->lock);
    int r = pop_locked(q, e, &why);
    pthread_mutex_unlock(&q->lock);
    if (r < 0)
        virtio_dev_broken(q->dev, "queue %u: %s", q->index, why);
    else if (r > 0)
        TRACE(virtio_pop, VIRTQ_TRACE " head %u out %u in %u", VIRTQ_TRACE_ARGS(q), e->head,
              e->out_bytes, e->in_bytes);
    return r;
}

bool virtq_refetch(struct virtq *q, uint16_t head, struct virtq_elem *e)
{
    const char *why = NULL;

    pthread_mutex_lock(&q->lock);
    bool ok = usable_locked(q, &why) && !(why = virtq_map_chain(q, head, e));
    e->popped_ns = host_clock_ns();
    if (ok)
        __atomic_fetch_add(&q->inflight, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&q->lock);
    if (why)
        virtio_dev_broken(q->dev, "queue %u: %s", q->index, why);
    return ok;
}

static void release(struct virtq *q)
{
    uint32_t before = __atomic_fetch_sub(&q->inflight, 1, __ATOMIC_RELEASE);
    assert(before > 0);
}

void virtq_rewind(struct virtq *q, uint32_t gen, uint16_t count)
{
    pthread_mutex_lock(&q->lock);
    if (q->live && gen == q->gen) {
        assert(q->inuse >= count);
        q->last_avail = (uint16_t)(q->last_avail - count);
        q->inuse = (uint16_t)(q->inuse - count);
    }
    pthread_mutex_unlock(&q->lock);
}

void virtq_unpop(struct virtq_elem *e)
{
    virtq_rewind(e->q, e->gen, 1);
    release(e->q);
}

/* --- giving back --- */

/* The data has landed: tell the memory before the used ring tells the driver. */
static void announce_data(const struct virtq_elem *e, uint32_t written_bytes)
{
    for (unsigned i = e->out_count; i < e->out_count + e->in_count && written_bytes; i++) {
        uint32_t n = (uint32_t)MIN_OF((uint64_t)written_bytes, (uint64_t)e->iov[i].iov_len);
        guest_mem_wrote(e->q->dev->mem, GPA(e->gpa[i]), n);
        written_bytes -= n;
    }
}

static void count_done_locked(struct virtq *q, const struct virtq_elem *e, uint32_t written_bytes)
{
    uint64_t ns = host_clock_ns() - e->popped_ns;
    unsigned bucket = ns ? 64u - (unsigned)__builtin_clzll(ns) : 0;

    virtq_count(&q->stats.in_bytes, written_bytes);
    virtq_count(&q->stats.latency_ns, ns);
    virtq_count(&q->stats.latency[MIN_OF(bucket, VIRTIO_LATENCY_BUCKETS - 1u)], 1);
}

static void put_used_locked(struct virtq *q, uint16_t head, uint32_t len, uint16_t slot)
{
    uint64_t off =
        USED_RING + (uint64_t)USED_ENTRY_BYTES * ((uint16_t)(q->used_idx + slot) & (q->size - 1u));
    uint32_t entry[2] = {head, len};

    memcpy(q->used + off, entry, sizeof(entry));
    guest_mem_wrote(q->dev->mem, GPA(q->used_gpa.v + off), sizeof(entry));
}

static void publish_locked(struct virtq *q, uint16_t count)
{
    uint16_t before = q->used_idx;

    q->used_idx = (uint16_t)(q->used_idx + count);
    /* Release: whoever sees the index sees the entries and the data. */
    ring_store(q, USED_IDX, q->used_idx, __ATOMIC_RELEASE);
    /* Past the last signalled point again: comparing with it would lie (§2.7.7.2). */
    if ((uint16_t)(q->used_idx - q->signalled_used) < (uint16_t)(q->used_idx - before))
        q->signalled_valid = false;
}

void virtq_fill(struct virtq_elem *e, uint32_t written_bytes, uint16_t slot)
{
    struct virtq *q = e->q;
    const char *why = NULL;

    announce_data(e, written_bytes);
    pthread_mutex_lock(&q->lock);
    if (e->gen == q->gen && usable_locked(q, &why)) {
        put_used_locked(q, e->head, written_bytes, slot);
        count_done_locked(q, e, written_bytes);
    }
    pthread_mutex_unlock(&q->lock);
    release(q);
    TRACE(virtio_push, VIRTQ_TRACE " head %u len %u", VIRTQ_TRACE_ARGS(q), e->head, written_bytes);
}

void virtq_publish(struct virtq *q, uint16_t count)
{
    const char *why = NULL;

    pthread_mutex_lock(&q->lock);
    if (usable_locked(q, &why) && count <= q->inuse) {
        publish_locked(q, count);
        q->inuse = (uint16_t)(q->inuse - count);
    }
    pthread_mutex_unlock(&q->lock);
}

void virtq_push(struct virtq_elem *e, uint32_t written_bytes)
{
    struct virtq *q = e->q;
    const char *why = NULL;

    announce_data(e, written_bytes);
    pthread_mutex_lock(&q->lock);
    if (e->gen == q->gen && usable_locked(q, &why)) {
        put_used_locked(q, e->head, written_bytes, 0);
        publish_locked(q, 1);
        q->inuse--;
        count_done_locked(q, e, written_bytes);
    }
    pthread_mutex_unlock(&q->lock);
    release(q);
    TRACE(virtio_push, VIRTQ_TRACE " head %u len %u", VIRTQ_TRACE_ARGS(q), e->head, written_bytes);
}

void virtq_detach(struct virtq_elem *e)
{
    release(e->q);
}

void virtq_push_head(struct virtq *q, uint32_t gen, uint16_t head)
{
    const char *why = NULL;

    pthread_mutex_lock(&q->lock);
    if (gen == q->gen && usable_locked(q, &why) && q->inuse > 0) {
        put_used_locked(q, head, 0, 0);
        publish_locked(q, 1);
        q->inuse--;
    }
    pthread_mutex_unlock(&q->lock);
}

/* --- notifications, both ways --- */

static bool driver_wants_irq_locked(struct virtq *q)
{
    const char *why = NULL;

    if (!usable_locked(q, &why))
        return false;
    /* The used index must be visible before the driver's wish is read (§2.7.7.2, §2.7.10). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (virtio_has(q->dev, VIRTIO_F_NOTIFY_ON_EMPTY) && q->inuse == 0 &&
        ring_load(q->avail + AVAIL_IDX, __ATOMIC_RELAXED) == q->last_avail)
        return true;
    if (!virtio_has(q->dev, VIRTIO_F_EVENT_IDX))
        return !(ring_load(q->avail + AVAIL_FLAGS, __ATOMIC_RELAXED) & AVAIL_NO_INTERRUPT);
    uint16_t event = ring_load(q->avail + AVAIL_RING + 2u * q->size, __ATOMIC_RELAXED);
    uint16_t old = q->signalled_used, new = q->used_idx;
    bool valid = q->signalled_valid;
    q->signalled_used = new;
    q->signalled_valid = true;
    return !valid || (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

void virtq_notify(struct virtq *q)
{
    pthread_mutex_lock(&q->lock);
    bool irq = driver_wants_irq_locked(q);
    uint16_t vector = q->vector;
    virtq_count(irq ? &q->stats.interrupts : &q->stats.interrupts_suppressed, 1);
    pthread_mutex_unlock(&q->lock);
    if (!irq)
        return;
    TRACE(virtio_notify, VIRTQ_TRACE " vector %u", VIRTQ_TRACE_ARGS(q), vector);
    q->dev->transport->queue_irq(q->dev, vector);
}

bool virtq_empty(struct virtq *q)
{
    const char *why = NULL;

    pthread_mutex_lock(&q->lock);
    bool empty = !usable_locked(q, &why) ||
                 ring_load(q->avail + AVAIL_IDX, __ATOMIC_ACQUIRE) == q->last_avail;
    pthread_mutex_unlock(&q->lock);
    return empty;
}

void virtq_want_kicks(struct virtq *q, bool on)
{
    const char *why = NULL;

    pthread_mutex_lock(&q->lock);
    q->notify_wanted = on;
    if (usable_locked(q, &why)) {
        if (!virtio_has(q->dev, VIRTIO_F_EVENT_IDX))
            ring_store(q, USED_FLAGS, on ? 0 : USED_NO_NOTIFY, __ATOMIC_RELAXED);
        else if (on)
            ring_store(q, USED_RING + 8ull * q->size, q->last_avail, __ATOMIC_RELAXED);
        /* The wish must be visible before the caller looks for what came meanwhile. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(&q->lock);
}

void virtq_guest_kick(struct virtq *q)
{
    uint64_t one = 1;

    if (write(q->kick_fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN); /* the counter is already far above zero */
}

void virtq_self_kick(struct virtq *q)
{
    __atomic_fetch_add(&q->self_kicks, 1, __ATOMIC_RELAXED);
    virtq_guest_kick(q);
}

void virtq_service(struct virtq *q)
{
    unsigned left = q->size_max, before;

    do {
        before = left;
        virtq_want_kicks(q, false);
        while (left && q->service(q))
            left--;
        virtq_want_kicks(q, true);
        if (virtq_empty(q) || left == before) /* done, or the device takes no more for now */
            return;
    } while (left);
    /* A driver that adds as fast as we take does not own the loop: others get their turn. */
    virtq_self_kick(q);
}
