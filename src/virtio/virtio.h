/* virtio.h - what every virtio device is, whatever carries it: status, features, queues, config.
 *
 *   RESET --ACKNOWLEDGE, DRIVER, features--> FEATURES_OK --queues--> DRIVER_OK --0--> RESET
 *                                                   \-- guest nonsense --> NEEDS_RESET --0--> RESET
 *
 * A device embeds struct virtio_carrier (carrier.h), which embeds this.
 *
 * Threads: status, features and queue setup under the board lock (vCPU thread); queues in their
 *          loop; virtio_dev_broken and virtio_config_changed from any thread.
 * Pause:   while the machine does not run, queues are not looked at; input from the host is
 *          refused.  virtio_defer_to_resume() has everything looked at again on resume.
 * Reset:   elements in flight may still be written by the host, so device_status reads as not 0
 *          until the last one is back (virtio 1.2 §2.4.1, §4.1.4.3.1).
 * Legacy:  a transitional device whose driver came through the legacy interface: no FEATURES_OK,
 *          queues may be used before DRIVER_OK, and a reset is complete at once, as such drivers
 *          do not wait (what is in flight then only lands in their buffers).
 * Spec:    virtio 1.2 §2, §3, and its notes on legacy interfaces. */
#ifndef VIRTIO_VIRTIO_H
#define VIRTIO_VIRTIO_H

#include "base/log.h"
#include "base/util.h"
#include "mem/guest_mem.h"
#include "ring.h"

enum {
    VIRTIO_STATUS_ACKNOWLEDGE = 1,
    VIRTIO_STATUS_DRIVER = 2,
    VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8,
    VIRTIO_STATUS_NEEDS_RESET = 0x40,
    VIRTIO_STATUS_FAILED = 0x80,
};
enum {
    VIRTIO_F_NOTIFY_ON_EMPTY = 24, /* legacy only, as is the next */
    VIRTIO_F_ANY_LAYOUT = 27,
    VIRTIO_F_INDIRECT_DESC = 28,
    VIRTIO_F_EVENT_IDX = 29,
    VIRTIO_F_VERSION_1 = 32,
    VIRTIO_F_RING_RESET = 40,
};
#define VIRTIO_NO_VECTOR        0xffff
#define VIRTIO_CONFIG_BYTES_MAX 256u

struct device_list;
struct timer;
struct vm_clock;
struct virtio_dev;

struct virtio_ops {
    uint16_t type;       /* virtio 1.2 §5: 1 net, 2 block, ... */
    unsigned config_len; /* bytes of device configuration */
    /* Fills in the whole configuration (board lock or any thread that tells of a change). */
    void (*get_config)(struct virtio_dev *d, uint8_t *cfg);
    /* optional: the driver wrote size bytes at off */
    void (*set_config)(struct virtio_dev *d, unsigned off, unsigned size, uint32_t val);
    /* optional: features that depend on each other; false = FEATURES_OK is not granted */
    bool (*features_ok)(struct virtio_dev *d, uint64_t features);
    /* optional: DRIVER_OK was set, or a state with it was loaded; queues are live */
    void (*activate)(struct virtio_dev *d);
    /* optional: back to power-on values; queues are stopped already.  Any thread: work that belongs
     * to a loop is deferred to it. */
    void (*reset)(struct virtio_dev *d);
    /* optional: one queue was reset on its own (RING_RESET) and is stopped; as above */
    void (*queue_reset)(struct virtio_dev *d, struct virtq *q);
    /* optional: main thread, board lock not held; after return no element is with the host */
    void (*drain)(struct virtio_dev *d);
    /* optional: the machine runs again; main thread */
    void (*resume)(struct virtio_dev *d);
    /* Main thread, drained: frees what the device owns and the struct itself. */
    void (*destroy)(struct virtio_dev *d);
};

/* What carries the device. */
struct virtio_transport {
    void (*queue_irq)(struct virtio_dev *d, uint16_t vector);
    void (*config_irq)(struct virtio_dev *d);
    bool (*may_dma)(struct virtio_dev *d);
};

struct virtio_dev {
    /* immutable after the constructor */
    const struct virtio_ops *ops;
    const struct virtio_transport *transport;
    const char *name; /* for messages */
    struct guest_mem *mem;
    const bool *vm_running;
    struct vm_clock *clock;
    uint64_t host_features;
    struct virtq *queue;
    unsigned queue_count;
    struct timer *resume_timer;
    struct mem_listener listener;
    /* board lock */
    uint64_t guest_features;
    uint16_t config_vector;
    bool resetting;
    bool legacy; /* the driver uses the legacy interface */
    bool early;  /* and its queues before it has set DRIVER_OK */
    /* atomic */
    uint8_t status;
    uint8_t config_generation;
    bool broken;
    uint32_t map_gen;      /* changes when the memory map does */
    uint64_t broken_count; /* how often the guest managed to */
    struct log_ratelimit broken_log;
};

/* queues: their number; each is then set up by virtio_queue(). */
void virtio_dev_init(struct virtio_dev *d, const struct virtio_ops *ops,
                     const struct virtio_transport *t, const char *name, unsigned queues);
/* A queue with service() carries requests: virtq_service() pops them.  With kick() the device is
 * told of kicks instead, and calls virtq_service() itself if it has both. */
struct virtq *virtio_queue(struct virtio_dev *d, unsigned index, unsigned size, struct evloop *loop,
                           bool (*service)(struct virtq *q), void (*kick)(struct virtq *q));
/* Connects to the machine; before it the device has no memory.  clock may be NULL in tests. */
void virtio_dev_attach(struct virtio_dev *d, struct guest_mem *mem, const bool *vm_running,
                       struct vm_clock *clock);
void virtio_dev_fini(struct virtio_dev *d); /* main thread; drains */

static inline bool virtio_has(const struct virtio_dev *d, unsigned bit)
{
    return d->guest_features & BIT64(bit);
}
static inline uint8_t virtio_status(const struct virtio_dev *d)
{
    return __atomic_load_n(&d->status, __ATOMIC_ACQUIRE);
}
static inline bool virtio_driver_ok(const struct virtio_dev *d)
{
    return (virtio_status(d) & VIRTIO_STATUS_DRIVER_OK) &&
           !__atomic_load_n(&d->broken, __ATOMIC_ACQUIRE);
}
static inline bool virtio_running(const struct virtio_dev *d)
{
    return __atomic_load_n(d->vm_running, __ATOMIC_ACQUIRE);
}

/* The guest broke a rule: NEEDS_RESET, config interrupt, counter, rate-limited message. */
void virtio_dev_broken(struct virtio_dev *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
void virtio_config_changed(struct virtio_dev *d);
void virtio_defer_to_resume(struct virtio_dev *d); /* any thread */
void virtio_kick_all(struct virtio_dev *d);

/* For transports; board lock held. */
uint8_t virtio_status_read(struct virtio_dev *d);
void virtio_status_write(struct virtio_dev *d, uint8_t val);
void virtio_features_write(struct virtio_dev *d, unsigned half, uint32_t val);
void virtio_dev_reset(struct virtio_dev *d);
bool virtio_queue_resetting(struct virtio_dev *d, struct virtq *q);
void virtio_queue_enable(struct virtio_dev *d, struct virtq *q); /* when it may be */
void virtio_queue_resize(struct virtq *q, uint32_t size); /* ignored when it cannot have that */
void virtio_queue_reset(struct virtio_dev *d, struct virtq *q); /* one on its own */
void virtio_dev_drain(struct virtio_dev *d); /* main thread, board lock not held */

/* What the legacy interface offers: the low half, and what only it has. */
uint64_t virtio_legacy_features(const struct virtio_dev *d);
uint8_t virtio_legacy_status_read(struct virtio_dev *d);
void virtio_legacy_status_write(struct virtio_dev *d, uint8_t val);
void virtio_legacy_features_write(struct virtio_dev *d, uint32_t val);
/* A kick: drivers of old put requests into queues while they probe. */
void virtio_legacy_early(struct virtio_dev *d);

extern const struct state_desc virtio_dev_state;

#endif
