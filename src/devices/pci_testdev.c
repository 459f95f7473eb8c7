/* pci_testdev.c - kvm-unit-tests' pci-testdev: three counted writes in each of two BARs. */
#include "devices/pci_testdev.h"
#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

#include <errno.h>
#include <glib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    TEST_COUNT = 3,
    NO_TEST = 0xff,
    MEM_BYTES = 4096,
    IO_BYTES = 256,
    DATA_MATCH = 0xfa,
    DATA_WILDCARD = 0xce,
    HDR_TEST = 0,
    HDR_COUNT = 12,
    HDR_BYTES = 48, /* name included */
};

static const char *const test_name[TEST_COUNT] = {"no-eventfd", "wildcard-eventfd",
                                                  "datamatch-eventfd"};

struct side { /* one BAR and its header */
    struct io_region region;
    struct testdev *dev;
    bool io;
    uint8_t test;   /* selected, or NO_TEST */
    uint32_t count; /* writes seen since */
    int fd;         /* signalled by the dispatcher or the kernel */
    bool armed;
    struct io_eventfd eventfd; /* while armed */
};

struct testdev {
    struct pci_dev pci; /* first */
    struct side mem, io;
};

static unsigned write_offset(const struct side *s)
{
    return (s->io ? IO_BYTES / 2 + TEST_COUNT : MEM_BYTES / 2) + s->test;
}

static struct io_space *side_space(const struct side *s)
{
    const struct pci_host *h = s->dev->pci.bus->host;
    return s->io ? h->pio : h->mmio;
}

static void side_collect(struct side *s)
{
    uint64_t n;

    if (s->armed && read(s->fd, &n, sizeof(n)) == sizeof(n))
        s->count += (uint32_t)n;
}

static void side_select(struct side *s, uint8_t test)
{
    if (s->armed)
        io_space_eventfd_del(side_space(s), &s->eventfd);
    side_collect(s);
    s->armed = false;
    s->count = 0;
    s->test = test < TEST_COUNT ? test : NO_TEST;
    if (s->test == NO_TEST || s->test == 0 || !s->region.added)
        return;
    s->eventfd = (struct io_eventfd){.addr = s->region.base + write_offset(s),
                                     .size = s->test == 2 ? 1 : 0,
                                     .match = s->test == 2,
                                     .data = DATA_MATCH,
                                     .fd = s->fd};
    s->armed = true;
    io_space_eventfd_add(side_space(s), &s->eventfd);
}

static void header_fill(struct side *s, uint8_t hdr[HDR_BYTES])
{
    memset(hdr, 0, HDR_BYTES);
    hdr[HDR_TEST] = s->test;
    if (s->test == NO_TEST)
        return;
    side_collect(s);
    hdr[1] = 1; /* width */
    le32_put(hdr + 4, write_offset(s));
    hdr[8] = s->test == 2 ? DATA_MATCH : DATA_WILDCARD;
    le32_put(hdr + HDR_COUNT, s->count);
    g_snprintf((char *)hdr + 16, HDR_BYTES - 16, "%s-%s", s->io ? "portio" : "mmio",
               test_name[s->test]);
}

static uint64_t testdev_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct side *s = container_of(r, struct side, region);
    uint8_t hdr[HDR_BYTES];
    uint64_t v = 0;

    if (off + size > HDR_BYTES)
        return 0;
    header_fill(s, hdr);
    memcpy(&v, hdr + off, size);
    return v;
}

static void testdev_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct side *s = container_of(r, struct side, region);

    if (off == HDR_TEST)
        side_select(s, (uint8_t)val);
    else if (s->test != NO_TEST && off == write_offset(s) &&
             (s->test != 2 || (uint8_t)val == DATA_MATCH))
        s->count++;
}

static const struct io_ops testdev_io_ops = {
    .read = testdev_read, .write = testdev_write, .min_size = 1, .max_size = 8};

static void testdev_reset(struct device *dev)
{
    struct testdev *t = container_of(dev, struct testdev, pci.dev);

    side_select(&t->mem, NO_TEST);
    side_select(&t->io, NO_TEST);
    pci_dev_reset(&t->pci);
}

static void side_close(struct side *s)
{
    if (s->fd >= 0)
        close(s->fd);
}

static void testdev_free(struct testdev *t)
{
    side_close(&t->mem);
    side_close(&t->io);
    g_free(t);
}

static void testdev_destroy(struct device *dev)
{
    struct testdev *t = container_of(dev, struct testdev, pci.dev);

    side_select(&t->mem, NO_TEST);
    side_select(&t->io, NO_TEST);
    pci_dev_unplug(&t->pci);
    testdev_free(t);
}

static void testdev_pre_save(void *obj)
{
    struct testdev *t = obj;

    side_collect(&t->mem);
    side_collect(&t->io);
}

/* Arms the selected test again at the BAR's present place; the count goes on. */
static void side_resume(struct side *s)
{
    uint32_t count;

    side_collect(s);
    count = s->count;
    side_select(s, s->test);
    s->count = s->test == NO_TEST ? 0 : count;
}

static void testdev_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct testdev *t = container_of(d, struct testdev, pci);

    side_resume(&t->mem); /* the BAR may have moved: the eventfd goes along */
    side_resume(&t->io);
}

static bool testdev_post_load(void *obj, uint32_t version, GError **err)
{
    struct testdev *t = obj;

    side_resume(&t->mem);
    side_resume(&t->io);
    return true;
}

static const struct state_field testdev_fields[] = {
    STATE_STRUCT(struct testdev, pci, pci_dev_state),
    STATE_U8(struct testdev, mem.test),
    STATE_U32(struct testdev, mem.count),
    STATE_U8(struct testdev, io.test),
    STATE_U32(struct testdev, io.count),
    STATE_END,
};
static const struct state_desc testdev_state = {.name = "pci-testdev",
                                                .version = 1,
                                                .fields = testdev_fields,
                                                .pre_save = testdev_pre_save,
                                                .post_load = testdev_post_load};
static const struct pci_dev_ops testdev_ops = {
    .dev = {.type = "pci-testdev",
            .reset = testdev_reset,
            .destroy = testdev_destroy,
            .state = &testdev_state},
    .config_written = testdev_config_written,
};

static void side_init(struct testdev *t, struct side *s, bool io, pthread_mutex_t *lock)
{
    s->dev = t;
    s->io = io;
    s->test = NO_TEST;
    s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    s->region = (struct io_region){.ops = &testdev_io_ops,
                                   .name = io ? "pci-testdev-io" : "pci-testdev-mem",
                                   .size_bytes = io ? IO_BYTES : MEM_BYTES,
                                   .lock = lock};
}

struct pci_dev *pci_testdev_new(struct pci_bus *b, uint8_t devfn, const char *id, GError **err)
{
    static const struct pci_id ids = {.vendor = 0x1b36,
                                      .device = 0x0005,
                                      .subsys_vendor = 0x1af4,
                                      .subsys = 0x1100,
                                      .base_class = 0xff};
    struct testdev *t = g_new0(struct testdev, 1);

    side_init(t, &t->mem, false, &b->host->devices->lock);
    side_init(t, &t->io, true, &b->host->devices->lock);
    if (t->mem.fd < 0 || t->io.fd < 0) {
        error_errno(err, errno, "cannot make an eventfd for pci-testdev");
        testdev_free(t);
        return NULL;
    }
    pci_dev_init(&t->pci, &testdev_ops, &ids);
    pci_bar_set(&t->pci, 0, PCI_BAR_MEM32, false, &t->mem.region);
    pci_bar_set(&t->pci, 1, PCI_BAR_IO, false, &t->io.region);
    if (pci_dev_plug(&t->pci, b, devfn, id, err))
        return &t->pci;
    testdev_free(t);
    return NULL;
}
