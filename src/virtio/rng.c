/* rng.c - the virtio entropy device (virtio 1.2 §5.4): random bytes from the host, at a bounded
 * rate.
 *
 * Everything happens in the main loop.  A request that comes when the period's bytes are used up
 * stays in the ring until the next period. */
#include "carrier.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/random.h>
#include <unistd.h>

#define REQUEST_MAX    (64 * KiB) /* more is answered in part, as the device may (§5.4.6.2) */
#define PERIOD_DEFAULT 65536u
#define CHUNK          256u /* getrandom() gives so many without interruption */
#define NS_PER_MS      1000000ull

struct virtio_rng {
    struct virtio_carrier p; /* first */
    /* immutable */
    uint64_t max_bytes;
    uint64_t period_ns;
    int fd; /* -1: getrandom() */
    struct timer *period;
    /* main loop */
    struct virtq_elem elem;
    uint64_t left_bytes; /* of this period */
    bool source_failed;
};

static struct virtio_rng *rng_of(struct virtio_dev *d)
{
    return container_of(d, struct virtio_rng, p.dev);
}

/* Up to len bytes from the source; 0: nothing there now. */
static size_t source_read(struct virtio_rng *r, uint8_t *buf, size_t len)
{
    if (r->fd >= 0 && !r->source_failed) {
        ssize_t n = read(r->fd, buf, len);
        if (n > 0)
            return (size_t)n;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        log_warning("virtio-rng: its source %s; random bytes come from the host's kernel now",
                    n ? g_strerror(errno) : "has ended");
        r->source_failed = true;
    }
    ssize_t n = getrandom(buf, len, GRND_NONBLOCK);
    return n > 0 ? (size_t)n : 0;
}

static uint32_t fill(struct virtio_rng *r, uint32_t want)
{
    uint8_t buf[CHUNK];
    uint32_t done = 0;

    while (done < want) {
        size_t n = source_read(r, buf, MIN_OF((size_t)(want - done), sizeof(buf)));
        if (n == 0)
            break;
        virtq_copy_in(&r->elem, done, buf, n);
        done += (uint32_t)n;
    }
    explicit_bzero(buf, sizeof(buf));
    return done;
}

static void wait_for_period(struct virtio_rng *r)
{
    if (!timer_pending(r->period))
        timer_set(r->period,
                  (r->p.dev.clock ? vm_clock_ns(r->p.dev.clock) : host_clock_ns()) + r->period_ns);
}

static void period_ends(void *opaque)
{
    struct virtio_rng *r = opaque;

    r->left_bytes = r->max_bytes;
    virtq_self_kick(&r->p.dev.queue[0]);
}

static bool service(struct virtq *q)
{
    struct virtio_rng *r = rng_of(q->dev);

    if (virtq_pop(q, &r->elem) <= 0)
        return false;
    if (r->elem.out_count) {
        virtio_dev_broken(q->dev, "a readable buffer");
        virtq_detach(&r->elem);
        return false;
    }
    uint32_t want = (uint32_t)MIN_OF((uint64_t)r->elem.in_bytes, REQUEST_MAX);
    if (r->max_bytes)
        want = (uint32_t)MIN_OF((uint64_t)want, r->left_bytes);
    uint32_t done = fill(r, want);
    if (done == 0 && r->elem.in_bytes) { /* period used up, or the source is dry */
        virtq_unpop(&r->elem);
        wait_for_period(r);
        return false;
    }
    if (r->max_bytes) {
        r->left_bytes -= done;
        wait_for_period(r);
    }
    virtq_push(&r->elem, done);
    return true;
}

static void kick(struct virtq *q)
{
    virtq_service(q);
    virtq_notify(q);
}

static void activate(struct virtio_dev *d)
{
    struct virtio_rng *r = rng_of(d);

    if (r->max_bytes && r->left_bytes < r->max_bytes)
        wait_for_period(r);
}

static void destroy(struct virtio_dev *d)
{
    struct virtio_rng *r = rng_of(d);

    virtio_carrier_fini(&r->p);
    timer_free(r->period);
    virtq_elem_free(&r->elem);
    if (r->fd >= 0)
        close(r->fd);
    g_free(r);
}

static const struct virtio_ops vops = {
    .type = 4,
    .activate = activate,
    .destroy = destroy,
};

static bool post_load(void *obj, uint32_t version, GError **err)
{
    struct virtio_rng *r = obj;

    r->left_bytes = MIN_OF(r->left_bytes, r->max_bytes);
    return true;
}

static const struct state_field fields[] = {
    STATE_STRUCT(struct virtio_rng, p, virtio_carrier_state),
    STATE_U64(struct virtio_rng, left_bytes),
    STATE_END,
};
static const struct state_desc rng_state = {
    .name = "virtio-rng",
    .version = 1,
    .fields = fields,
    .post_load = post_load,
};
static const struct virtio_type type = VIRTIO_TYPE("virtio-rng", rng_state);

static bool open_source(struct virtio_rng *r, const char *filename, GError **err)
{
    r->fd = -1;
    if (!filename || !strcmp(filename, "/dev/urandom"))
        return true;
    r->fd = open(filename, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return r->fd >= 0 ||
           error_errno(err, errno, "Cannot open the source of random bytes '%s'", filename);
}

struct device *virtio_rng_new(const struct virtio_rng_config *cfg, GError **err)
{
    struct virtio_rng *r = g_new0(struct virtio_rng, 1);

    if (!open_source(r, cfg->filename, err)) {
        g_free(r);
        return NULL;
    }
    r->max_bytes = r->left_bytes = cfg->max_bytes;
    r->period_ns = (cfg->period_ms ? cfg->period_ms : PERIOD_DEFAULT) * NS_PER_MS;
    r->period = timer_new(evloop_main(), cfg->place.clock, period_ends, r);
    virtq_elem_alloc(&r->elem, 64);
    virtio_carrier_init(&r->p, &type, &cfg->place, &vops, 1);
    virtio_queue(&r->p.dev, 0, 8, evloop_main(), service, kick);
    if (!virtio_carrier_plug(&r->p, &cfg->place, err)) {
        virtio_carrier_destroy(&r->p.device);
        return NULL;
    }
    return &r->p.device;
}
