/* test_virtio_blk_io.c - what virtio-blk does with many requests: one submission for a kick,
 * neighbours joined, nothing allocated; and the write cache as the guest sees and switches it. */
#include "vt_blk.h"

#include "base/evloop.h"
#include "block/fault.h"
#include "virtio/stats.h"

#include <errno.h>
#include <stdlib.h>

enum { BIG_QUEUE = 256, F_CONFIG_WCE = 11, F_FLUSH = 9, CFG_WRITEBACK = 32 };

/* ---- a malloc that counts ---- */

static unsigned long allocations; /* atomic */

#if !defined(__SANITIZE_ADDRESS__)
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

void *malloc(size_t n)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_realloc(p, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    *out = __libc_memalign(align, n);
    return *out ? 0 : ENOMEM;
}
#define COUNTS_ALLOCATIONS true
#else
#define COUNTS_ALLOCATIONS false
#endif

/* ---- many requests at once ---- */

struct many {
    struct vt_blk f;
    uint64_t headers, statuses, data; /* BIG_QUEUE of each; data: 4 KiB each */
};

static void many_up(struct many *m, const char *node_json, const struct virtio_blk_config *extra)
{
    struct virtio_blk_config c = extra ? *extra : (struct virtio_blk_config){0};

    c.queue_size = BIG_QUEUE;
    vt_blk_set_up(&m->f, node_json, &c);
    vt_negotiate(&m->f.dev, F_ALL);
    vt_queue_open(&m->f.q, &m->f.dev, 0, BIG_QUEUE);
    vt_driver_ok(&m->f.dev);
    m->headers = vt_alloc(m->f.bus, 16 * BIG_QUEUE, 16);
    m->statuses = vt_alloc(m->f.bus, BIG_QUEUE, 1);
    m->data = vt_alloc(m->f.bus, 4096 * BIG_QUEUE, 4096);
}

static void add(struct many *m, unsigned slot, uint32_t type, uint64_t sector, uint64_t data,
                uint32_t len)
{
    struct vt_bus *b = m->f.bus;
    uint64_t header = m->headers + 16 * slot, status = m->statuses + slot;
    struct vt_buf bufs[] = {{header, 16, false}, {data, len, type == T_IN}, {status, 1, true}};

    vt_put(b, header, type, 8);
    vt_put(b, header + 8, sector, 8);
    vt_put(b, status, 0xee, 1);
    vt_add(&m->f.q, bufs, 3, false);
}

static void finish(struct many *m, unsigned count)
{
    vt_kick(&m->f.q);
    for (unsigned i = 0; i < count; i++)
        g_assert_true(vt_wait(&m->f.q, NULL, NULL));
}

static void all_ok(struct many *m, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        g_assert_cmpuint(vt_get(m->f.bus, m->statuses + i, 1), ==, 0);
}

static uint64_t fill(struct many *m, unsigned slot, uint8_t value)
{
    uint8_t page[4096];

    memset(page, value, sizeof(page));
    m->f.bus->mem_write(m->f.bus, m->data + 4096 * slot, page, sizeof(page));
    return m->data + 4096 * slot;
}

#define RAW_URING                                                                                  \
    "{\"driver\":\"raw\",\"node-name\":\"d0\",\"file\":{\"driver\":\"file\",\"aio\":\"io_uring\"," \
    "\"filename\":\"%s\"}}"

/* ---- joining ---- */

static struct {
    unsigned count;
    uint64_t offset[64], len[64];
} host;

static int record(void *opaque, const struct blk_host_io *io)
{
    unsigned i = __atomic_fetch_add(&host.count, 1, __ATOMIC_RELAXED);

    g_assert_cmpuint(i, <, 64);
    host.offset[i] = io->offset_bytes;
    host.len[i] = io->len_bytes;
    return 0;
}

static void recording(bool on)
{
    memset(&host, 0, sizeof(host));
    blk_fault_set(on ? record : NULL, NULL);
}

static void test_neighbours_are_joined(void)
{
    static const unsigned order[] = {3, 0, 1, 2, 9}; /* pages; the last touches nobody */
    struct many m;
    struct blk_stats s;
    uint8_t back[4096], want[4096];

    many_up(&m, RAW_FILE, NULL);
    recording(true);
    for (unsigned i = 0; i < 5; i++)
        add(&m, i, T_OUT, order[i] * 8, fill(&m, i, (uint8_t)(0x10 + order[i])), 4096);
    finish(&m, 5);
    all_ok(&m, 5);
    g_assert_cmpuint(host.count, ==, 2);
    unsigned big = host.len[0] > host.len[1] ? 0 : 1;
    g_assert_cmpuint(host.offset[big], ==, 0);
    g_assert_cmpuint(host.len[big], ==, 4 * 4096);
    recording(false);
    blk_stats(m.f.node, &s);
    g_assert_cmpuint(s.ops[BLK_WRITE], ==, 5);
    g_assert_cmpuint(s.merged[BLK_WRITE], ==, 3);
    g_assert_cmpuint(s.bytes[BLK_WRITE], ==, 5 * 4096);
    for (unsigned i = 0; i < 5; i++)
        add(&m, i, T_IN, order[i] * 8, fill(&m, i, 0), 4096);
    finish(&m, 5);
    for (unsigned i = 0; i < 5; i++) {
        m.f.bus->mem_read(m.f.bus, m.data + 4096 * i, back, 4096);
        memset(want, (int)(0x10 + order[i]), sizeof(want));
        g_assert_cmpmem(back, 4096, want, 4096);
    }
    vt_blk_tear_down(&m.f);
}

static void test_what_is_not_joined(void)
{
    struct many m;

    many_up(&m, RAW_FILE, NULL);
    recording(true); /* a read does not join a write, nor over a gap */
    add(&m, 0, T_OUT, 0, m.data, 4096);
    add(&m, 1, T_IN, 8, m.data + 4096, 4096);
    add(&m, 2, T_OUT, 16, m.data, 4096);
    add(&m, 3, T_OUT, 32, m.data, 4096);
    finish(&m, 4);
    all_ok(&m, 4);
    g_assert_cmpuint(host.count, ==, 4);
    recording(false);
    vt_blk_tear_down(&m.f);
    many_up(&m, RAW_FILE, &(struct virtio_blk_config){.no_merging = true});
    recording(true);
    add(&m, 0, T_OUT, 0, m.data, 4096);
    add(&m, 1, T_OUT, 8, m.data, 4096);
    finish(&m, 2);
    g_assert_cmpuint(host.count, ==, 2);
    recording(false);
    vt_blk_tear_down(&m.f);
}

static int bad_page(void *opaque, const struct blk_host_io *io)
{
    return io->offset_bytes <= 4096 && io->offset_bytes + io->len_bytes > 4096 ? -EIO : 0;
}

static void test_only_the_bad_part_of_a_joined_request_fails(void)
{
    struct many m;
    struct blk_stats s;

    many_up(&m, RAW_FILE, NULL);
    blk_fault_set(bad_page, NULL);
    for (unsigned i = 0; i < 3; i++)
        add(&m, i, T_OUT, i * 8, fill(&m, i, 1), 4096);
    finish(&m, 3);
    blk_fault_set(NULL, NULL);
    g_assert_cmpuint(vt_get(m.f.bus, m.statuses, 1), ==, 0);
    g_assert_cmpuint(vt_get(m.f.bus, m.statuses + 1, 1), ==, 1);
    g_assert_cmpuint(vt_get(m.f.bus, m.statuses + 2, 1), ==, 0);
    blk_stats(m.f.node, &s);
    g_assert_cmpuint(s.errors[BLK_WRITE], ==, 1);
    g_assert_cmpuint(s.ops[BLK_WRITE], ==, 2);
    vt_blk_tear_down(&m.f);
}

/* `count` reads of len bytes in one kick, each followed by a gap as long. */
static void check_submissions(unsigned count, uint32_t len, unsigned expected)
{
    struct many m;
    struct blk_stats before, after;

    many_up(&m, RAW_URING, NULL);
    blk_stats(m.f.node, &before);
    for (unsigned i = 0; i < count; i++)
        add(&m, i, T_IN, i * len * 2 / 512, m.data + len * i, len);
    finish(&m, count);
    all_ok(&m, count);
    blk_stats(m.f.node, &after);
    if (before.submissions == after.submissions)
        g_test_skip("io_uring is not available here");
    else
        g_assert_cmpuint(after.submissions - before.submissions, ==, expected);
    vt_blk_tear_down(&m.f);
}

static void test_a_kick_is_one_submission(void)
{
    check_submissions(32, 4096, 1);
}

static void test_much_data_is_handed_over_in_parts(void)
{
    check_submissions(8, 65536, 4);
}

/* Enough of them for the writer to end in parts: all end, and each has written its own bytes. */
static void test_large_writes_all_arrive(void)
{
    enum { COUNT = 16, LEN = DISK_BYTES / COUNT };
    struct many m;
    uint8_t back[4096], want[4096];

    many_up(&m, RAW_URING, NULL);
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned page = 0; page < DISK_BYTES / 4096; page++)
            fill(&m, page, (uint8_t)(page + round));
        for (unsigned i = 0; i < COUNT; i++)
            add(&m, i, T_OUT, i * LEN / 512, m.data + LEN * i, LEN);
        finish(&m, COUNT);
        all_ok(&m, COUNT);
        for (unsigned page = 0; page < DISK_BYTES / 4096; page++)
            fill(&m, page, 0xff);
        for (unsigned i = 0; i < COUNT; i++)
            add(&m, i, T_IN, i * LEN / 512, m.data + LEN * i, LEN);
        finish(&m, COUNT);
        for (unsigned page = 0; page < DISK_BYTES / 4096; page++) {
            m.f.bus->mem_read(m.f.bus, m.data + 4096 * page, back, 4096);
            memset(want, (int)(uint8_t)(page + round), sizeof(want));
            g_assert_cmpmem(back, 4096, want, 4096);
        }
    }
    vt_blk_tear_down(&m.f);
}

static void test_counts(void)
{
    struct many m;
    struct virtio_queue_stats c;
    uint64_t done = 0;

    many_up(&m, RAW_FILE, NULL);
    for (unsigned i = 0; i < 32; i++)
        add(&m, i, T_IN, i * 16, m.data + 4096 * i, 512);
    finish(&m, 32);
    for (unsigned i = 0; i < 4; i++) {
        add(&m, i, T_IN, 0, m.data, 512);
        finish(&m, 1);
    }
    g_assert_cmpuint(virtio_queue_count(m.f.device), ==, 1);
    virtio_queue_stats(m.f.device, 0, &c);
    g_assert_cmpuint(c.kicks, ==, 5);
    g_assert_cmpuint(c.requests, ==, 36);
    g_assert_cmpuint(c.batches, >=, 5);
    g_assert_cmpuint(c.interrupts, >=, 1);
    g_assert_cmpuint(c.interrupts, <, 36);
    /* every read: 16 bytes of header for the device, 512 and a status byte for the guest */
    g_assert_cmpuint(c.out_bytes, ==, 36 * 16);
    g_assert_cmpuint(c.in_bytes, ==, 36 * 513);
    for (unsigned i = 0; i < VIRTIO_LATENCY_BUCKETS; i++)
        done += c.latency[i];
    g_assert_cmpuint(done, ==, 36);
    g_assert_cmpuint(c.latency_ns, >, 0);
    g_assert_cmpuint(c.inflight, ==, 0);
    vt_blk_tear_down(&m.f);
}

/* ---- allocations ---- */

static void round_of_requests(struct many *m, unsigned skew)
{
    for (unsigned i = 0; i < 64; i++)
        add(m, i, i & 1 ? T_OUT : T_IN, (i * 37 % 200) * 8, m->data + 4096 * i + skew, 2048);
    finish(m, 64);
    all_ok(m, 64);
}

static void check_allocations(const char *node_json, unsigned skew)
{
    struct many m;

    if (!COUNTS_ALLOCATIONS) {
        g_test_skip("the sanitizer has the allocator");
        return;
    }
    many_up(&m, node_json, NULL);
    for (int i = 0; i < 20; i++)
        round_of_requests(&m, skew); /* GLib's poll lists, spare buffers, worker threads */
    unsigned long before = __atomic_load_n(&allocations, __ATOMIC_RELAXED);
    for (int i = 0; i < 20; i++)
        round_of_requests(&m, skew);
    unsigned long after = __atomic_load_n(&allocations, __ATOMIC_RELAXED);
    g_assert_cmpuint(before, >, 0);
    g_assert_cmpuint(after - before, ==, 0);
    vt_blk_tear_down(&m.f);
}

static void test_no_allocation_per_request(gconstpointer node_json)
{
    check_allocations(node_json, 0);
}

static void test_no_allocation_for_misaligned_memory(gconstpointer node_json)
{
    check_allocations(node_json, 8);
}

#define RAW_DIRECT                                                                                 \
    "{\"driver\":\"raw\",\"node-name\":\"d0\",\"cache\":{\"direct\":true},\"file\":{\"driver\":"   \
    "\"file\",\"cache\":{\"direct\":true},\"filename\":\"%s\"}}"

/* ---- write cache ---- */

static unsigned flushes_of_writes(struct many *m)
{
    struct blk_fail_nth none = {.nth = UINT64_MAX, .ops = BIT(BLK_FLUSH)};

    blk_fault_set(blk_fault_fail_nth, &none);
    add(m, 0, T_FLUSH, 0, m->data, 0);
    finish(m, 1);
    blk_fault_set(NULL, NULL);
    return (unsigned)none.seen;
}

static bool fua;

static int see_fua(void *opaque, const struct blk_host_io *io)
{
    fua |= io->op == BLK_WRITE && io->fua;
    return 0;
}

static bool write_is_through(struct many *m)
{
    fua = false;
    blk_fault_set(see_fua, NULL);
    add(m, 0, T_OUT, 0, m->data, 4096);
    finish(m, 1);
    all_ok(m, 1);
    blk_fault_set(NULL, NULL);
    return fua;
}

static void test_write_cache_as_the_guest_sees_it(void)
{
    struct many m;

    many_up(&m, RAW_FILE, NULL);
    g_assert_cmpuint(vt_cfg(&m.f.dev, CFG_WRITEBACK, 1), ==, 1);
    g_assert_false(write_is_through(&m));
    vt_cfg_write(&m.f.dev, CFG_WRITEBACK, 1, 0);
    g_assert_cmpuint(vt_cfg(&m.f.dev, CFG_WRITEBACK, 1), ==, 0);
    g_assert_true(write_is_through(&m));
    vt_cfg_write(&m.f.dev, CFG_WRITEBACK, 1, 1);
    g_assert_false(write_is_through(&m));
    g_assert_cmpuint(flushes_of_writes(&m), ==, 1);
    vt_blk_tear_down(&m.f);

    many_up(&m, RAW_FILE, &(struct virtio_blk_config){.no_write_cache = true});
    g_assert_cmpuint(vt_cfg(&m.f.dev, CFG_WRITEBACK, 1), ==, 0);
    g_assert_true(write_is_through(&m));
    vt_cfg_write(&m.f.dev, CFG_WRITEBACK, 1, 1);
    vt_reset(&m.f.dev); /* back to what the machine was told */
    g_assert_cmpuint(vt_cfg(&m.f.dev, CFG_WRITEBACK, 1), ==, 0);
    vt_blk_tear_down(&m.f);
}

static void test_driver_without_flush_gets_write_through(void)
{
    struct many m;

    many_up(&m, RAW_FILE, NULL);
    vt_negotiate(&m.f.dev, F_ALL & ~(BIT64(F_CONFIG_WCE) | BIT64(F_FLUSH)));
    vt_queue_open(&m.f.q, &m.f.dev, 0, BIG_QUEUE);
    vt_driver_ok(&m.f.dev);
    g_assert_true(write_is_through(&m));
    vt_blk_tear_down(&m.f);
}

static void test_unsafe_never_waits_for_the_disk(void)
{
    struct many m;

    many_up(&m,
            "{\"driver\":\"raw\",\"node-name\":\"d0\",\"cache\":{\"no-flush\":true},\"file\":{"
            "\"driver\":\"file\",\"cache\":{\"no-flush\":true},\"filename\":\"%s\"}}",
            &(struct virtio_blk_config){.no_write_cache = true});
    g_assert_false(write_is_through(&m));
    g_assert_cmpuint(flushes_of_writes(&m), ==, 0);
    vt_blk_tear_down(&m.f);
}

static void test_resize_tells_the_guest(void)
{
    struct many m;
    GError *err = NULL;
    unsigned before = 0;

    many_up(&m, RAW_FILE, NULL);
    before = vt_board_msi_count(m.f.board, 0);
    g_assert_cmpuint(vt_cfg(&m.f.dev, 0, 8), ==, DISK_BYTES / 512);
    g_assert_true(blk_resize(m.f.node, 2 * DISK_BYTES, &err));
    virtio_blk_resized(m.f.device);
    g_assert_cmpuint(vt_cfg(&m.f.dev, 0, 8), ==, 2 * DISK_BYTES / 512);
    g_assert_cmpuint(vt_board_msi_count(m.f.board, 0), >, before);
    add(&m, 0, T_OUT, DISK_BYTES / 512, m.data, 4096); /* the new part is there */
    finish(&m, 1);
    all_ok(&m, 1);
    vt_blk_tear_down(&m.f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-blk-io/joined", test_neighbours_are_joined);
    g_test_add_func("/virtio-blk-io/not-joined", test_what_is_not_joined);
    g_test_add_func("/virtio-blk-io/bad-part", test_only_the_bad_part_of_a_joined_request_fails);
    g_test_add_func("/virtio-blk-io/one-submission", test_a_kick_is_one_submission);
    g_test_add_func("/virtio-blk-io/parts", test_much_data_is_handed_over_in_parts);
    g_test_add_func("/virtio-blk-io/large-writes", test_large_writes_all_arrive);
    g_test_add_func("/virtio-blk-io/counts", test_counts);
    g_test_add_data_func("/virtio-blk-io/no-allocation/io_uring", RAW_FILE,
                         test_no_allocation_per_request);
    g_test_add_data_func("/virtio-blk-io/no-allocation/threads", RAW_THREADS,
                         test_no_allocation_per_request);
    g_test_add_data_func("/virtio-blk-io/no-allocation/direct", RAW_DIRECT,
                         test_no_allocation_per_request);
    g_test_add_data_func("/virtio-blk-io/no-allocation/misaligned", RAW_DIRECT,
                         test_no_allocation_for_misaligned_memory);
    g_test_add_func("/virtio-blk-io/write-cache", test_write_cache_as_the_guest_sees_it);
    g_test_add_func("/virtio-blk-io/no-flush-feature",
                    test_driver_without_flush_gets_write_through);
    g_test_add_func("/virtio-blk-io/unsafe", test_unsafe_never_waits_for_the_disk);
    g_test_add_func("/virtio-blk-io/resize", test_resize_tells_the_guest);
    return g_test_run();
}
