/* test_virtio_blk.c - virtio-blk under well-formed and hostile drivers. */
#include "vt_blk.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/props.h"
#include "block/block.h"
#include "bus/pci.h"
#include "mem/guest_mem.h"
#include "virtio/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void check_round_trip(struct vt_blk *f, uint64_t data, bool indirect)
{
    uint8_t pattern[8192], back[8192];
    uint32_t used;

    for (unsigned i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i * 7 + (i >> 8));
    f->bus->mem_write(f->bus, data, pattern, sizeof(pattern));
    g_assert_cmpuint(vt_blk_request(f, T_OUT, 5, data, sizeof(pattern), false, indirect, &used), ==,
                     0);
    g_assert_cmpuint(used, ==, 1);
    memset(back, 0, sizeof(back));
    f->bus->mem_write(f->bus, data, back, sizeof(back));
    g_assert_cmpuint(vt_blk_request(f, T_IN, 5, data, sizeof(back), true, indirect, &used), ==, 0);
    g_assert_cmpuint(used, ==, sizeof(back) + 1);
    f->bus->mem_read(f->bus, data, back, sizeof(back));
    g_assert_cmpmem(back, sizeof(back), pattern, sizeof(pattern));
    int fd = open(f->path, O_RDONLY);
    g_assert_cmpint(pread(fd, back, sizeof(back), 5 * 512), ==, sizeof(back));
    close(fd);
    g_assert_cmpmem(back, sizeof(back), pattern, sizeof(pattern));
}

static void test_round_trip(gconstpointer json)
{
    struct vt_blk f;

    vt_blk_set_up(&f, json, NULL);
    check_round_trip(&f, f.data, false);
    check_round_trip(&f, f.data, true);
    g_assert_cmpuint(vt_board_msi_count(f.board, 1), >, 0);
    vt_blk_tear_down(&f);
}

/* A buffer that lies half in one memory region, half in the next; and one above 4 GiB. */
static void test_region_border(void)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    check_round_trip(&f, VT_RAM_SPLIT - 4096, true);
    check_round_trip(&f, VT_RAM_HIGH + 4096, false);
    vt_blk_tear_down(&f);
}

static void test_config_and_id(void)
{
    struct vt_blk f;
    char id[21] = {0};

    vt_blk_set_up(&f, RAW_FILE, NULL);
    g_assert_cmpuint(vt_cfg(&f.dev, 0, 8), ==, DISK_BYTES / 512);
    g_assert_cmpuint(vt_cfg(&f.dev, 12, 4), ==, 254);
    g_assert_cmpuint(vt_cfg(&f.dev, 20, 4), ==, 512);
    g_assert_cmpuint(vt_cfg(&f.dev, 34, 2), ==, 1);
    g_assert_cmpuint(vt_blk_request(&f, T_GET_ID, 0, f.data, 20, true, false, NULL), ==, 0);
    f.bus->mem_read(f.bus, f.data, id, 20);
    g_assert_cmpstr(id, ==, "serial-1234");
    g_assert_cmpuint(vt_blk_request(&f, T_FLUSH, 0, 0, 0, false, false, NULL), ==, 0);
    g_assert_cmpuint(vt_blk_request(&f, 77, 0, 0, 0, false, false, NULL), ==, 2);
    vt_blk_tear_down(&f);
}

static void put_range(struct vt_blk *f, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    vt_put(f->bus, f->data, sector, 8);
    vt_put(f->bus, f->data + 8, sectors, 4);
    vt_put(f->bus, f->data + 12, flags, 4);
}

static void test_discard_and_write_zeroes(void)
{
    struct vt_blk f;
    uint8_t ones[4096], back[4096];
    struct stat before, after;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    memset(ones, 0xff, sizeof(ones));
    f.bus->mem_write(f.bus, f.data, ones, sizeof(ones));
    g_assert_cmpuint(vt_blk_request(&f, T_OUT, 8, f.data, 4096, false, false, NULL), ==, 0);
    g_assert_cmpuint(vt_blk_request(&f, T_OUT, 64, f.data, 4096, false, false, NULL), ==, 0);
    g_assert_cmpuint(vt_blk_request(&f, T_FLUSH, 0, 0, 0, false, false, NULL), ==, 0);
    g_assert_cmpint(stat(f.path, &before), ==, 0);
    put_range(&f, 8, 8, 0);
    g_assert_cmpuint(vt_blk_request(&f, T_WRITE_ZEROES, 0, f.data, 16, false, false, NULL), ==, 0);
    put_range(&f, 64, 8, 0);
    g_assert_cmpuint(vt_blk_request(&f, T_DISCARD, 0, f.data, 16, false, false, NULL), ==, 0);
    g_assert_cmpint(stat(f.path, &after), ==, 0);
    g_assert_cmpint(after.st_blocks, <, before.st_blocks);
    g_assert_cmpuint(vt_blk_request(&f, T_IN, 8, f.data, 4096, true, false, NULL), ==, 0);
    f.bus->mem_read(f.bus, f.data, back, sizeof(back));
    for (unsigned i = 0; i < sizeof(back); i++)
        g_assert_cmpuint(back[i], ==, 0);
    put_range(&f, 0, 8, 2); /* unknown flag */
    g_assert_cmpuint(vt_blk_request(&f, T_WRITE_ZEROES, 0, f.data, 16, false, false, NULL), ==, 2);
    put_range(&f, 0, 0xffffffff, 0); /* longer than offered */
    g_assert_cmpuint(vt_blk_request(&f, T_DISCARD, 0, f.data, 16, false, false, NULL), ==, 1);
    put_range(&f, DISK_BYTES / 512 - 1, 2, 0); /* past the end */
    g_assert_cmpuint(vt_blk_request(&f, T_WRITE_ZEROES, 0, f.data, 16, false, false, NULL), ==, 1);
    vt_blk_tear_down(&f);
}

static void test_out_of_range_is_an_io_error(void)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    g_assert_cmpuint(vt_blk_request(&f, T_IN, DISK_BYTES / 512, f.data, 512, true, false, NULL), ==,
                     1);
    g_assert_cmpuint(vt_blk_request(&f, T_IN, UINT64_MAX, f.data, 512, true, false, NULL), ==, 1);
    g_assert_cmpuint(vt_blk_request(&f, T_OUT, UINT64_MAX / 512, f.data, 512, false, false, NULL),
                     ==, 1);
    g_assert_cmpuint(vt_blk_request(&f, T_IN, 0, f.data, 511, true, false, NULL), ==, 1);
    check_round_trip(&f, f.data, false); /* and the device lives */
    vt_blk_tear_down(&f);
}

static void test_read_only(void)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, &(struct virtio_blk_config){.read_only = true});
    g_assert_true(f.dev.features & BIT64(5));
    g_assert_cmpuint(vt_blk_request(&f, T_OUT, 0, f.data, 512, false, false, NULL), ==, 1);
    g_assert_cmpuint(vt_blk_request(&f, T_IN, 0, f.data, 512, true, false, NULL), ==, 0);
    vt_blk_tear_down(&f);
}

/* Many requests in one kick: all complete, with fewer interrupts than requests. */
static void test_batch(void)
{
    struct vt_blk f;
    uint64_t status;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    status = vt_alloc(f.bus, QSIZE, 1);
    vt_blk_header(&f, T_IN, 0);
    for (unsigned i = 0; i < QSIZE; i++) {
        struct vt_buf b[] = {
            {f.header, 16, false}, {f.data + 512 * i, 512, true}, {status + i, 1, true}};
        vt_put(f.bus, status + i, 0xee, 1);
        vt_add(&f.q, b, 3, true);
    }
    vt_kick(&f.q);
    for (unsigned i = 0; i < QSIZE; i++)
        g_assert_true(vt_wait(&f.q, NULL, NULL));
    for (unsigned i = 0; i < QSIZE; i++)
        g_assert_cmpuint(vt_get(f.bus, status + i, 1), ==, 0);
    g_assert_cmpuint(vt_board_msi_count(f.board, 1), <, QSIZE);
    g_assert_cmpuint(vt_board_msi_count(f.board, 1), >, 0);
    vt_blk_tear_down(&f);
}

static void test_intx(void)
{
    struct vt_blk f;

    memset(&f, 0, sizeof(f));
    f.path = vt_blk_image(DISK_BYTES);
    g_autofree char *json = g_strdup_printf(RAW_FILE, f.path);
    f.node = vt_blk_node(json);
    vt_blk_board(&f, NULL);
    vt_dev_open(&f.dev, f.bus, DEVFN, false);
    vt_negotiate(&f.dev, F_ALL & ~BIT64(29));
    vt_queue_open(&f.q, &f.dev, 0, QSIZE);
    vt_driver_ok(&f.dev);
    g_assert_cmpuint(vt_blk_request(&f, T_IN, 0, f.data, 512, true, false, NULL), ==, 0);
    vt_pump(f.bus, 5);
    g_assert_true(vt_board_intx(f.board));
    g_assert_cmpuint(f.bus->read(f.bus, f.dev.isr, 1), ==, 1);
    g_assert_false(vt_board_intx(f.board));
    g_assert_cmpuint(f.bus->read(f.bus, f.dev.isr, 1), ==, 0);
    /* the driver may say that it wants no interrupt */
    vt_put(f.bus, f.q.avail, 1, 2);
    g_assert_cmpuint(vt_blk_request(&f, T_IN, 0, f.data, 512, true, false, NULL), ==, 0);
    vt_pump(f.bus, 5);
    g_assert_false(vt_board_intx(f.board));
    vt_blk_tear_down(&f);
}

/* --- what breaks the device, and nothing else --- */

typedef void hostile_fn(struct vt_blk *f);

static void chain_loop(struct vt_blk *f)
{
    vt_desc(&f->q, 0, f->header, 16, VT_NEXT, 1);
    vt_desc(&f->q, 1, f->data, 16, VT_NEXT, 0);
    vt_avail(&f->q, 0);
}
static void next_past_end(struct vt_blk *f)
{
    vt_desc(&f->q, 0, f->header, 16, VT_NEXT, QSIZE);
    vt_avail(&f->q, 0);
}
static void head_past_end(struct vt_blk *f)
{
    vt_avail(&f->q, 0x8000);
}
static void avail_jump(struct vt_blk *f)
{
    f->q.avail_idx = (uint16_t)(f->q.avail_idx + QSIZE);
    vt_avail(&f->q, 0);
}
static void buffer_in_hole(struct vt_blk *f)
{
    struct vt_buf b[] = {{f->header, 16, false}, {0x20000000, 512, true}, {f->status, 1, true}};
    vt_add(&f->q, b, 3, false);
}
static void buffer_at_mmio(struct vt_blk *f)
{
    struct vt_buf b[] = {{f->dev.common, 16, false}, {f->status, 1, true}};
    vt_add(&f->q, b, 2, false);
}
static void buffer_wraps(struct vt_blk *f)
{
    struct vt_buf b[] = {{UINT64_MAX - 4, 16, false}, {f->status, 1, true}};
    vt_add(&f->q, b, 2, false);
}
static void buffer_leaves_ram(struct vt_blk *f)
{
    struct vt_buf b[] = {
        {f->header, 16, false}, {VT_RAM_END - 512, 1024, true}, {f->status, 1, true}};
    vt_add(&f->q, b, 3, false);
}
static void out_after_in(struct vt_blk *f)
{
    struct vt_buf b[] = {{f->status, 1, true}, {f->header, 16, false}};
    vt_add(&f->q, b, 2, false);
}
static void no_header(struct vt_blk *f)
{
    struct vt_buf b[] = {{f->header, 15, false}, {f->status, 1, true}};
    vt_add(&f->q, b, 2, false);
}
static void no_status(struct vt_blk *f)
{
    struct vt_buf b[] = {{f->header, 16, false}};
    vt_add(&f->q, b, 1, false);
}
static void empty_status(struct vt_blk *f)
{
    struct vt_buf b[] = {{f->header, 16, false}, {f->status, 0, true}};
    vt_add(&f->q, b, 2, false);
}
static void indirect_size(struct vt_blk *f)
{
    vt_desc(&f->q, 0, f->data, 17, VT_INDIRECT, 0);
    vt_avail(&f->q, 0);
}
static void indirect_empty(struct vt_blk *f)
{
    vt_desc(&f->q, 0, f->data, 0, VT_INDIRECT, 0);
    vt_avail(&f->q, 0);
}
static void indirect_next(struct vt_blk *f)
{
    vt_desc(&f->q, 0, f->data, 16, VT_INDIRECT | VT_NEXT, 1);
    vt_avail(&f->q, 0);
}
static void indirect_nested(struct vt_blk *f)
{
    vt_put(f->bus, f->data, f->data, 8);
    vt_put(f->bus, f->data + 8, 16, 4);
    vt_put(f->bus, f->data + 12, VT_INDIRECT, 4);
    vt_desc(&f->q, 0, f->data, 16, VT_INDIRECT, 0);
    vt_avail(&f->q, 0);
}
static void indirect_in_hole(struct vt_blk *f)
{
    vt_desc(&f->q, 0, 0x20000000, 4096, VT_INDIRECT, 0);
    vt_avail(&f->q, 0);
}
static void indirect_huge(struct vt_blk *f)
{
    /* a table as large as RAM whose descriptors all continue */
    uint64_t table = VT_RAM_HIGH + 0x10000;
    for (unsigned i = 0; i < 4096; i++) {
        vt_put(f->bus, table + 16ull * i, f->header, 8);
        vt_put(f->bus, table + 16ull * i + 8, 1, 4);
        vt_put(f->bus, table + 16ull * i + 12, VT_NEXT | (uint64_t)(uint16_t)(i + 1) << 16, 4);
    }
    vt_desc(&f->q, 0, table, 16 * 4096, VT_INDIRECT, 0);
    vt_avail(&f->q, 0);
}
static void chain_over_4g(struct vt_blk *f)
{
    /* the same megabytes again and again */
    uint64_t table = VT_RAM_HIGH + 0x10000;
    for (unsigned i = 0; i < 260; i++) {
        vt_put(f->bus, table + 16ull * i, VT_RAM_HIGH, 8);
        vt_put(f->bus, table + 16ull * i + 8, VT_RAM_END, 4);
        vt_put(f->bus, table + 16ull * i + 12, VT_NEXT | (uint64_t)(uint16_t)(i + 1) << 16, 4);
    }
    vt_desc(&f->q, 0, table, 16 * 260, VT_INDIRECT, 0);
    vt_avail(&f->q, 0);
}

static void test_hostile(gconstpointer fn)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    ((hostile_fn *)fn)(&f);
    vt_kick(&f.q);
    g_assert_true(vt_needs_reset(&f.dev));
    g_assert_cmpuint(vt_board_msi_count(f.board, 0), ==, 1); /* config interrupt */
    g_assert_cmpuint(vt_used_idx(&f.q), ==, 0);
    /* the driver resets, and everything works again */
    vt_blk_start(&f, F_ALL);
    check_round_trip(&f, f.data, false);
    vt_blk_tear_down(&f);
}

static const struct {
    const char *name;
    hostile_fn *fn;
} hostile[] = {
    {"chain-loop", chain_loop},
    {"next-past-end", next_past_end},
    {"head-past-end", head_past_end},
    {"avail-jump", avail_jump},
    {"buffer-in-hole", buffer_in_hole},
    {"buffer-at-mmio", buffer_at_mmio},
    {"buffer-wraps", buffer_wraps},
    {"buffer-leaves-ram", buffer_leaves_ram},
    {"out-after-in", out_after_in},
    {"no-header", no_header},
    {"no-status", no_status},
    {"empty-status", empty_status},
    {"indirect-size", indirect_size},
    {"indirect-empty", indirect_empty},
    {"indirect-next", indirect_next},
    {"indirect-nested", indirect_nested},
    {"indirect-in-hole", indirect_in_hole},
    {"indirect-huge", indirect_huge},
    {"chain-over-4g", chain_over_4g},
};

static void test_rings_outside_ram(void)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    vt_negotiate(&f.dev, F_ALL);
    f.bus->write(f.bus, f.dev.common + 0x16, 2, 0);
    f.bus->write(f.bus, f.dev.common + 0x20, 4, 0x20000000);
    f.bus->write(f.bus, f.dev.common + 0x1c, 2, 1);
    vt_driver_ok(&f.dev);
    g_assert_true(vt_needs_reset(&f.dev));
    vt_blk_start(&f, F_ALL);
    check_round_trip(&f, f.data, false);
    vt_blk_tear_down(&f);
}

static void test_negotiation_rules(void)
{
    struct vt_blk f;
    uint64_t offered;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    vt_reset(&f.dev);
    offered = vt_host_features(&f.dev);
    g_assert_true(offered & BIT64(32));
    vt_set_status(&f.dev, 3);
    vt_set_status(&f.dev, 11); /* FEATURES_OK without VERSION_1 */
    g_assert_cmphex(vt_status(&f.dev) & 8, ==, 0);
    f.bus->write(f.bus, f.dev.common + 8, 4, 1);
    f.bus->write(f.bus, f.dev.common + 12, 4, 0xffffffff); /* features nobody offered */
    vt_set_status(&f.dev, 11);
    g_assert_cmphex(vt_status(&f.dev) & 8, ==, 0);
    vt_set_status(&f.dev, 15); /* DRIVER_OK without FEATURES_OK */
    g_assert_cmphex(vt_status(&f.dev) & 4, ==, 0);
    /* a queue that does not exist has size 0 */
    f.bus->write(f.bus, f.dev.common + 0x16, 2, 0xffff);
    g_assert_cmpuint(f.bus->read(f.bus, f.dev.common + 0x18, 2), ==, 0);
    f.bus->write(f.bus, f.dev.common + 0x1c, 2, 1);
    /* sizes that are no power of two, or too large, are not taken */
    f.bus->write(f.bus, f.dev.common + 0x16, 2, 0);
    f.bus->write(f.bus, f.dev.common + 0x18, 2, 48);
    g_assert_cmpuint(f.bus->read(f.bus, f.dev.common + 0x18, 2), ==, 256);
    f.bus->write(f.bus, f.dev.common + 0x18, 2, 512);
    g_assert_cmpuint(f.bus->read(f.bus, f.dev.common + 0x18, 2), ==, 256);
    /* nor a vector the function does not have */
    f.bus->write(f.bus, f.dev.common + 0x1a, 2, 99);
    g_assert_cmphex(f.bus->read(f.bus, f.dev.common + 0x1a, 2), ==, 0xffff);
    vt_blk_tear_down(&f);
}

static void test_queue_reset(void)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    check_round_trip(&f, f.data, false);
    f.bus->write(f.bus, f.dev.common + 0x16, 2, 0);
    f.bus->write(f.bus, f.dev.common + 0x3a, 2, 1);
    g_assert_cmpuint(f.bus->read(f.bus, f.dev.common + 0x3a, 2), ==, 0);
    g_assert_cmpuint(f.bus->read(f.bus, f.dev.common + 0x1c, 2), ==, 0);
    vt_queue_open(&f.q, &f.dev, 0, 8);
    check_round_trip(&f, f.data, true);
    vt_blk_tear_down(&f);
}

/* A reset while requests are with the host: status shows 0 only when they are back. */
static void test_reset_with_requests_in_flight(void)
{
    struct vt_blk f;

    memset(&f, 0, sizeof(f));
    f.node = vt_blk_node("{\"driver\":\"null-co\",\"node-name\":\"n\",\"size\":1048576,"
                         "\"latency-ns\":50000000}");
    vt_blk_board(&f, NULL);
    vt_blk_start(&f, F_ALL);
    vt_blk_header(&f, T_IN, 0);
    struct vt_buf b[] = {{f.header, 16, false}, {f.data, 512, true}, {f.status, 1, true}};
    vt_add(&f.q, b, 3, false);
    vt_kick(&f.q);
    vt_pump(f.bus, 5);
    vt_set_status(&f.dev, 0);
    g_assert_cmphex(vt_status(&f.dev), !=, 0);
    vt_set_status(&f.dev, 1);
    vt_reset(&f.dev);
    g_assert_cmpuint(vt_used_idx(&f.q), ==, 0);
    vt_blk_start(&f, F_ALL);
    g_assert_cmpuint(vt_blk_request(&f, T_IN, 0, f.data, 512, true, false, NULL), ==, 0);
    vt_blk_tear_down(&f);
}

static void test_bus_master_off(void)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    vt_config_write(f.bus, DEVFN, 4, 2, 2);
    vt_blk_header(&f, T_IN, 0);
    struct vt_buf b[] = {{f.header, 16, false}, {f.data, 512, true}, {f.status, 1, true}};
    vt_add(&f.q, b, 3, false);
    vt_kick(&f.q);
    vt_pump(f.bus, 20);
    g_assert_cmpuint(vt_used_idx(&f.q), ==, 0);
    vt_config_write(f.bus, DEVFN, 4, 2, 6);
    g_assert_true(vt_wait(&f.q, NULL, NULL));
    vt_blk_tear_down(&f);
}

/* --- the ring's finer points --- */

/* The interrupt comes when the used index passes used_event, not before (§2.7.7.2). */
static void test_used_event(void)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    g_assert_true(f.dev.features & BIT64(29));
    g_assert_cmpuint(vt_blk_request(&f, T_FLUSH, 0, 0, 0, false, false, NULL), ==, 0);
    vt_pump(f.bus, 5);
    unsigned irqs = vt_board_msi_count(f.board, 1);
    vt_put(f.bus, f.q.avail + 4 + 2 * QSIZE, 3, 2); /* tell me of the fourth */
    for (unsigned i = 1; i < 6; i++) {
        g_assert_cmpuint(vt_blk_request(&f, T_FLUSH, 0, 0, 0, false, false, NULL), ==, 0);
        vt_pump(f.bus, 5);
        g_assert_cmpuint(vt_board_msi_count(f.board, 1), ==, irqs + (i >= 3));
    }
    /* the device asks for a kick of whatever comes next */
    g_assert_cmpuint(vt_get(f.bus, f.q.used + 4 + 8 * QSIZE, 2), ==, f.q.avail_idx);
    vt_blk_tear_down(&f);
}

/* The 16-bit indices go round. */
static void test_indices_wrap(void)
{
    struct vt_blk f;

    memset(&f, 0, sizeof(f));
    f.node = vt_blk_node("{\"driver\":\"null-co\",\"node-name\":\"n\",\"size\":1048576}");
    vt_blk_board(&f, NULL);
    vt_blk_start(&f, F_ALL);
    vt_blk_header(&f, T_IN, 0);
    struct vt_buf b[] = {{f.header, 16, false}, {f.data, 512, true}, {f.status, 1, true}};
    for (unsigned i = 0; i < 70000; i++) {
        uint32_t head = vt_add(&f.q, b, 3, false), got = 0;
        vt_kick(&f.q);
        g_assert_true(vt_wait(&f.q, &got, NULL));
        g_assert_cmpuint(got, ==, head);
    }
    g_assert_cmpuint(vt_used_idx(&f.q), ==, 70000 % 65536);
    vt_blk_tear_down(&f);
}

static bool page_is_dirty(struct vt_board *board, uint64_t gpa)
{
    struct guest_mem *m = vt_board_mem(board);
    const struct guest_region *r = guest_mem_find(m, GPA(gpa));
    size_t words = r->size_bytes / GUEST_PAGE_SIZE / 64;
    g_autofree uint64_t *bits = g_new0(uint64_t, words);
    uint64_t page = (gpa - r->gpa) / GUEST_PAGE_SIZE;

    g_assert_cmpint(guest_mem_dirty_sync(m, r, bits, words), ==, 0);
    return bits[page / 64] >> (page % 64) & 1;
}

/* What the device writes is in the dirty log: data, status byte, used ring. */
static void test_writes_are_logged(void)
{
    struct vt_blk f;
    uint64_t data[3] = {VT_RAM_HIGH + 0x10000, VT_RAM_HIGH + 0x20000, VT_RAM_HIGH + 0x30000};

    vt_blk_set_up(&f, RAW_FILE, NULL);
    guest_mem_dirty_log(vt_board_mem(f.board), true);
    vt_blk_header(&f, T_IN, 0);
    struct vt_buf b[] = {
        {f.header, 16, false}, {data[0], 512, true}, {data[1], 512, true}, {f.status, 1, true}};
    vt_add(&f.q, b, 4, false);
    page_is_dirty(f.board, f.status); /* forget what the test itself wrote */
    page_is_dirty(f.board, data[0]);
    vt_kick(&f.q);
    g_assert_true(vt_wait(&f.q, NULL, NULL));
    g_assert_true(page_is_dirty(f.board, f.q.used));
    guest_mem_dirty_log(vt_board_mem(f.board), false);
    /* once more for each page: a sync takes the whole region's bits */
    for (unsigned i = 0; i < 3; i++) {
        guest_mem_dirty_log(vt_board_mem(f.board), true);
        vt_avail(&f.q, 0);
        page_is_dirty(f.board, f.status);
        page_is_dirty(f.board, data[0]);
        vt_kick(&f.q);
        g_assert_true(vt_wait(&f.q, NULL, NULL));
        g_assert_cmpint(page_is_dirty(f.board, data[i]), ==, i < 2);
        guest_mem_dirty_log(vt_board_mem(f.board), false);
    }
    vt_blk_tear_down(&f);
}

/* Registers through PCI config space, for those who cannot map BARs (§4.1.4.9). */
static void test_config_window(void)
{
    struct vt_blk f;
    unsigned cap = 0;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    for (unsigned c = vt_config_read(f.bus, DEVFN, 0x34, 1); c;
         c = vt_config_read(f.bus, DEVFN, c + 1, 1)) {
        if (vt_config_read(f.bus, DEVFN, c, 1) == 9 && vt_config_read(f.bus, DEVFN, c + 3, 1) == 5)
            cap = c;
    }
    g_assert_cmpuint(cap, !=, 0);
    vt_config_write(f.bus, DEVFN, cap + 4, 1, 4);
    vt_config_write(f.bus, DEVFN, cap + 8, 4, 0x14);
    vt_config_write(f.bus, DEVFN, cap + 12, 4, 1);
    g_assert_cmphex(vt_config_read(f.bus, DEVFN, cap + 16, 1), ==, 15);
    vt_config_write(f.bus, DEVFN, cap + 16, 1, 0); /* resets the device */
    g_assert_cmphex(vt_status(&f.dev), ==, 0);
    /* windows that are none */
    vt_config_write(f.bus, DEVFN, cap + 8, 4, 0xfffffff0);
    vt_config_read(f.bus, DEVFN, cap + 16, 4);
    vt_config_write(f.bus, DEVFN, cap + 8, 4, 0x3ffe);
    vt_config_write(f.bus, DEVFN, cap + 12, 4, 4);
    vt_config_write(f.bus, DEVFN, cap + 16, 4, 0xffffffff);
    vt_config_write(f.bus, DEVFN, cap + 4, 1, 1);
    vt_config_read(f.bus, DEVFN, cap + 16, 4);
    vt_blk_start(&f, F_ALL);
    check_round_trip(&f, f.data, false);
    vt_blk_tear_down(&f);
}

/* --- pause, save, load --- */

static void test_pause_drains(void)
{
    struct vt_blk f;

    memset(&f, 0, sizeof(f));
    f.node = vt_blk_node("{\"driver\":\"null-co\",\"node-name\":\"n\",\"size\":1048576,"
                         "\"latency-ns\":20000000}");
    vt_blk_board(&f, NULL);
    vt_blk_start(&f, F_ALL);
    vt_blk_header(&f, T_IN, 0);
    struct vt_buf b[] = {{f.header, 16, false}, {f.data, 512, true}, {f.status, 1, true}};
    vt_add(&f.q, b, 3, false);
    vt_kick(&f.q);
    vt_board_pause(f.board);
    g_assert_cmpuint(vt_used_idx(&f.q), ==, 1);
    /* a kick while paused waits for the resume */
    vt_add(&f.q, b, 3, false);
    vt_kick(&f.q);
    vt_pump(f.bus, 50);
    g_assert_cmpuint(vt_used_idx(&f.q), ==, 1);
    vt_board_resume(f.board);
    f.q.last_used = 1;
    g_assert_true(vt_wait(&f.q, NULL, NULL));
    vt_blk_tear_down(&f);
}

static void test_save_and_load_in_a_new_machine(void)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    check_round_trip(&f, f.data, false);
    vt_board_pause(f.board);
    g_autoptr(GBytes) first = vt_board_save(f.board);
    vt_board_free(f.board);

    struct vt_queue q = f.q;
    struct vt_dev dev = f.dev;
    uint64_t header = f.header, data = f.data, status = f.status;
    vt_blk_board(&f, NULL);
    vt_board_load_same(f.board, first);
    vt_board_resume(f.board);

    f.q = q;
    f.dev = dev;
    f.dev.bus = f.bus;
    f.q.dev = &f.dev;
    f.header = header;
    f.data = data;
    f.status = status;
    f.bus->next_mem = 0x400000;
    check_round_trip(&f, f.data, true);
    vt_blk_tear_down(&f);
}

/* Every single damaged byte of the stream is refused or harmless. */
static void test_load_of_damaged_state(void)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    check_round_trip(&f, f.data, false);
    vt_board_pause(f.board);
    g_autoptr(GBytes) saved = vt_board_save(f.board);
    gsize all;
    const uint8_t *p = g_bytes_get_data(saved, &all);
    uint64_t len;
    memcpy(&len, p, sizeof(len));
    g_autofree uint8_t *copy = g_malloc(len);
    unsigned refused = 0;
    for (uint64_t i = 0; i < len; i++) {
        g_autoptr(GError) err = NULL;
        memcpy(copy, p + sizeof(len), len);
        copy[i] ^= (uint8_t)(1u << (i % 8)) | 0x80;
        if (!vt_board_load_devices(f.board, copy, len, &err)) {
            g_assert_nonnull(err);
            refused++;
        }
    }
    g_assert_cmpuint(refused, >, 20);
    g_assert_true(vt_board_load(f.board, saved, NULL));
    vt_board_resume(f.board);
    check_round_trip(&f, f.data, false);
    vt_blk_tear_down(&f);
}

static void test_machine_reset(void)
{
    struct vt_blk f;

    vt_blk_set_up(&f, RAW_FILE, NULL);
    check_round_trip(&f, f.data, false);
    vt_board_reset(f.board);
    g_assert_cmphex(vt_config_read(f.bus, DEVFN, 4, 2), ==, 0);
    vt_blk_start(&f, F_ALL);
    g_assert_cmphex(vt_status(&f.dev), ==, 15);
    check_round_trip(&f, f.data, false);
    vt_blk_tear_down(&f);
}

/* Unplugged with requests at the host: they end first, and nobody is told of them. */
static void test_unplug_in_flight(void)
{
    struct vt_blk f;

    memset(&f, 0, sizeof(f));
    f.node = vt_blk_node("{\"driver\":\"null-co\",\"node-name\":\"n\",\"size\":1048576,"
                         "\"latency-ns\":20000000}");
    vt_blk_board(&f, NULL);
    vt_blk_start(&f, F_ALL);
    vt_blk_header(&f, T_IN, 0);
    struct vt_buf b[] = {{f.header, 16, false}, {f.data, 512, true}, {f.status, 1, true}};
    vt_add(&f.q, b, 3, false);
    vt_kick(&f.q);
    vt_pump(f.bus, 5);
    f.device->ops->destroy(f.device);
    g_assert_cmphex(vt_config_read(f.bus, DEVFN, 0, 4), ==, 0xffffffff);
    g_assert_cmpuint(vt_used_idx(&f.q), ==, 0);
    vt_kick(&f.q); /* nobody there */
    g_assert_true(blk_claim(f.node, "somebody else", NULL));
    blk_release(f.node);
    vt_blk_tear_down(&f);
}

/* --- errors of the image --- */

struct error_log {
    struct vt_board *board;
    struct device *dev;
    unsigned calls;
    int errnum;
    enum blk_error_action action;
};

static void on_error(void *opaque, struct device *d, bool is_write, int errnum,
                     enum blk_error_action action)
{
    struct error_log *l = opaque;

    l->dev = d;
    l->calls++;
    l->errnum = errnum;
    l->action = action;
    if (action == BLK_ERROR_STOP)
        vt_board_pause(l->board);
}

/* The request waits while the machine is stopped, survives a save, and succeeds on resume. */
static void test_stop_on_error_parks_the_request(void)
{
    struct vt_blk f;
    struct error_log log = {0};
    GError *err = NULL;

    /* the image shrinks under the device: writes past the limit fail with EFBIG */
    vt_blk_set_up(&f, RAW_THREADS,
                  &(struct virtio_blk_config){
                      .werror = BLK_ON_ERROR_STOP, .on_error = on_error, .on_error_opaque = &log});
    log.board = f.board;
    struct rlimit old, small;
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &old), ==, 0);
    small = old;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
    vt_blk_header(&f, T_OUT, 100);
    struct vt_buf b[] = {{f.header, 16, false}, {f.data, 512, false}, {f.status, 1, true}};
    vt_add(&f.q, b, 3, false);
    vt_kick(&f.q);
    for (int i = 0; i < 5000 && !log.calls; i++)
        vt_pump(f.bus, 1);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &old), ==, 0);
    g_assert_cmpuint(log.calls, ==, 1);
    g_assert_cmpint(log.errnum, ==, EFBIG);
    g_assert_cmpint(log.action, ==, BLK_ERROR_STOP);
    g_assert_cmpuint(vt_used_idx(&f.q), ==, 0);
    g_assert_cmpint(virtio_blk_stop_errnum(log.dev), ==, EFBIG);

    g_autoptr(GBytes) saved = vt_board_save(f.board);
    g_assert_true(vt_board_load(f.board, saved, &err));
    g_assert_no_error(err);
    g_autoptr(GBytes) again = vt_board_save(f.board);
    g_assert_true(g_bytes_equal(saved, again));
    vt_board_resume(f.board);
    g_assert_true(vt_wait(&f.q, NULL, NULL));
    g_assert_cmpuint(vt_get(f.bus, f.status, 1), ==, 0);
    g_assert_cmpint(virtio_blk_stop_errnum(log.dev), ==, 0);
    vt_blk_tear_down(&f);
}

static void test_multiqueue_in_an_io_thread(void)
{
    struct vt_blk f;
    GError *err = NULL;
    struct evloop *loop = evloop_new("iothread-test", &err);
    struct vt_queue second;

    g_assert_no_error(err);
    vt_blk_set_up(&f, RAW_FILE, &(struct virtio_blk_config){.queues = 2, .loop = loop});
    vt_negotiate(&f.dev, F_ALL);
    g_assert_true(f.dev.features & BIT64(12));
    g_assert_cmpuint(vt_cfg(&f.dev, 34, 2), ==, 2);
    vt_queue_open(&f.q, &f.dev, 0, QSIZE);
    vt_queue_open(&second, &f.dev, 1, QSIZE);
    vt_driver_ok(&f.dev);
    check_round_trip(&f, f.data, false);
    f.q = second;
    check_round_trip(&f, f.data, true);
    /* reset storms while the other thread works */
    for (int i = 0; i < 50; i++) {
        vt_blk_header(&f, T_IN, 0);
        struct vt_buf b[] = {{f.header, 16, false}, {f.data, 4096, true}, {f.status, 1, true}};
        for (int k = 0; k < 5; k++)
            vt_add(&f.q, b, 3, true);
        vt_kick(&f.q);
        vt_blk_start(&f, F_ALL);
    }
    check_round_trip(&f, f.data, false);
    vt_blk_tear_down(&f);
    evloop_free(loop);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/virtio-blk/round-trip/default", RAW_FILE, test_round_trip);
    g_test_add_data_func("/virtio-blk/round-trip/threads", RAW_THREADS, test_round_trip);
    g_test_add_func("/virtio-blk/region-border", test_region_border);
    g_test_add_func("/virtio-blk/config-and-id", test_config_and_id);
    g_test_add_func("/virtio-blk/discard-and-write-zeroes", test_discard_and_write_zeroes);
    g_test_add_func("/virtio-blk/out-of-range", test_out_of_range_is_an_io_error);
    g_test_add_func("/virtio-blk/read-only", test_read_only);
    g_test_add_func("/virtio-blk/batch", test_batch);
    g_test_add_func("/virtio-blk/intx", test_intx);
    for (unsigned i = 0; i < ARRAY_SIZE(hostile); i++) {
        g_autofree char *name = g_strdup_printf("/virtio-blk/hostile/%s", hostile[i].name);
        g_test_add_data_func(name, (gconstpointer)hostile[i].fn, test_hostile);
    }
    g_test_add_func("/virtio-blk/hostile/rings-outside-ram", test_rings_outside_ram);
    g_test_add_func("/virtio-blk/negotiation-rules", test_negotiation_rules);
    g_test_add_func("/virtio-blk/queue-reset", test_queue_reset);
    g_test_add_func("/virtio-blk/reset-in-flight", test_reset_with_requests_in_flight);
    g_test_add_func("/virtio-blk/bus-master-off", test_bus_master_off);
    g_test_add_func("/virtio-blk/used-event", test_used_event);
    g_test_add_func("/virtio-blk/indices-wrap", test_indices_wrap);
    g_test_add_func("/virtio-blk/writes-are-logged", test_writes_are_logged);
    g_test_add_func("/virtio-blk/config-window", test_config_window);
    g_test_add_func("/virtio-blk/pause-drains", test_pause_drains);
    g_test_add_func("/virtio-blk/save-load", test_save_and_load_in_a_new_machine);
    g_test_add_func("/virtio-blk/load-damaged", test_load_of_damaged_state);
    g_test_add_func("/virtio-blk/machine-reset", test_machine_reset);
    g_test_add_func("/virtio-blk/unplug-in-flight", test_unplug_in_flight);
    g_test_add_func("/virtio-blk/stop-on-error", test_stop_on_error_parks_the_request);
    g_test_add_func("/virtio-blk/multiqueue-iothread", test_multiqueue_in_an_io_thread);
    return g_test_run();
}
