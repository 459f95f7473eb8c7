/* The flash chip by its commands: modes, programming, erasing, the way to the image, state. */
#include "base/props.h"
#include "block/block.h"
#include "devices/pflash.h"
#include "fixture.h"
#include "mem/layout.h"

#include <unistd.h>

enum { BASE = 0xffc00000u, BYTES = 64 * 1024 };

struct board {
    struct fixture *f;
    struct guest_mem *mem;
    struct blk_node *node;
    struct pflash *flash;
    char *path;
};

static struct blk_node *node_open(const char *path, bool ro)
{
    static unsigned count;
    g_autofree char *text = g_strdup_printf(
        "{\"driver\":\"raw\",\"node-name\":\"flash%u\",\"read-only\":%s,\"file\":{\"driver\":"
        "\"file\",\"filename\":\"%s\",\"read-only\":%s}}",
        count++, ro ? "true" : "false", path, ro ? "true" : "false");
    struct props *p = props_parse(text, NULL, NULL);
    GError *err = NULL;
    struct blk_node *n = blk_open(p, &err);
    g_assert_no_error(err);
    props_free(p);
    return n;
}

static void up(struct board *b, gconstpointer ro)
{
    struct pflash_config cfg = {.base = BASE, .name = "pflash1"};
    int fd = g_file_open_tmp("hanok-flash-XXXXXX", &b->path, NULL);
    g_autofree uint8_t *all = g_malloc(BYTES);
    memset(all, 0xa5, BYTES);
    memset(all + 0x2000, 0xff, 0x1000);
    g_assert_cmpint(write(fd, all, BYTES), ==, BYTES);
    close(fd);
    b->f = fixture_new();
    b->mem = guest_mem_new();
    b->node = cfg.node = node_open(b->path, ro != NULL);
    g_assert_cmpuint(pflash_bytes(b->node, NULL), ==, BYTES);
    b->flash = pflash_new(&b->f->devices, b->mem, b->f->mmio, b->f->clock, &b->f->req, &cfg, NULL);
    g_assert_nonnull(b->flash);
    reset_all(b->f);
    mem_layouts_apply(b->mem);
}

static void down(struct board *b, gconstpointer ro)
{
    fixture_free(b->f);
    blk_close(b->node);
    guest_mem_free(b->mem);
    unlink(b->path);
    g_free(b->path);
}

static void put(struct board *b, uint32_t off, uint8_t val)
{
    io_space_write(b->f->mmio, BASE + off, 1, val);
    mem_layouts_apply(b->mem);
}

static uint8_t get(struct board *b, uint32_t off)
{
    uint8_t v;
    if (guest_mem_read(b->mem, GPA(BASE + off), &v, 1) == 0)
        return v;
    return (uint8_t)io_space_read(b->f->mmio, BASE + off, 1);
}

static uint8_t in_image(struct board *b, uint32_t off)
{
    g_autofree char *data = NULL;
    gsize len = 0;
    for (struct device *d = b->f->devices.first; d; d = d->next)
        if (d->ops->drain)
            d->ops->drain(d);
    g_assert_true(g_file_get_contents(b->path, &data, &len, NULL));
    g_assert_cmpuint(len, ==, BYTES);
    return (uint8_t)data[off];
}

static void test_array_mode_is_rom(struct board *b, gconstpointer ro)
{
    const struct guest_region *r = guest_mem_find(b->mem, GPA(BASE));
    g_assert_cmpint(r->kind, ==, GUEST_ROM);
    g_assert_cmpuint(r->size_bytes, ==, BYTES);
    g_assert_cmphex(get(b, 0), ==, 0xa5);
}

/* How UEFI firmware tells flash from RAM and ROM. */
static void test_probe(struct board *b, gconstpointer ro)
{
    put(b, 0x10, 0x50);
    put(b, 0x10, 0x70);
    g_assert_null(guest_mem_find(b->mem, GPA(BASE)));
    g_assert_cmphex(get(b, 0x10), ==, 0x00);
    put(b, 0x10, 0xff);
    g_assert_cmphex(get(b, 0x10), ==, 0xa5);
    g_assert_nonnull(guest_mem_find(b->mem, GPA(BASE)));
}

static void test_program_and_erase(struct board *b, gconstpointer ro)
{
    put(b, 0x2000, 0x10);
    put(b, 0x2000, 0x3c);
    g_assert_cmphex(get(b, 0x2000), ==, 0x80); /* ready */
    put(b, 0x2001, 0x40);
    put(b, 0x2001, 0x12);
    put(b, 0, 0xff);
    g_assert_cmphex(get(b, 0x2000), ==, 0x3c);
    g_assert_cmphex(get(b, 0x2001), ==, 0x12);
    put(b, 0x2000, 0x10); /* bits go to zero only */
    put(b, 0x2000, 0xf0);
    put(b, 0, 0xff);
    g_assert_cmphex(get(b, 0x2000), ==, 0x30);
    g_assert_cmphex(in_image(b, 0x2000), ==, 0x30);
    put(b, 0x1234, 0x20); /* erases its sector and no other */
    put(b, 0x1234, 0xd0);
    g_assert_cmphex(get(b, 0), ==, 0x80);
    put(b, 0, 0xff);
    g_assert_cmphex(get(b, 0x1000), ==, 0xff);
    g_assert_cmphex(get(b, 0x0fff), ==, 0xa5);
    g_assert_cmphex(in_image(b, 0x1fff), ==, 0xff);
    g_assert_cmphex(in_image(b, 0x2000), ==, 0x30);
    put(b, 0x2000, 0x20); /* an erase that is not confirmed */
    put(b, 0x2000, 0x00);
    g_assert_cmphex(get(b, 0) & 0x30, ==, 0x30);
    put(b, 0, 0x50);
    g_assert_cmphex(get(b, 0x2000), ==, 0x30);
}

static void test_buffered_program(struct board *b, gconstpointer ro)
{
    put(b, 0x2000, 0xe8);
    g_assert_cmphex(get(b, 0x2000), ==, 0x80);
    put(b, 0x2000, 3);
    for (uint8_t i = 0; i < 4; i++)
        put(b, 0x2000 + i, 0x10 + i);
    put(b, 0x2000, 0xd0);
    put(b, 0x2000, 0xff);
    g_assert_cmphex(get(b, 0x2003), ==, 0x13);
    g_assert_cmphex(get(b, 0x2004), ==, 0xff);
    put(b, 0, 0x98);
    g_assert_cmphex(get(b, 0x10), ==, 'Q');
    g_assert_cmphex(get(b, 0x27), ==, 16);
    g_assert_cmphex(get(b, BYTES - 1), ==, 0);
}

static void test_read_only_image(struct board *b, gconstpointer ro)
{
    put(b, 0x2000, 0x10);
    put(b, 0x2000, 0x3c);
    g_assert_cmphex(get(b, 0), ==, 0x90);
    put(b, 0, 0xff);
    put(b, 0, 0x20);
    put(b, 0, 0xd0);
    g_assert_cmphex(get(b, 0) & 0x20, ==, 0x20);
    put(b, 0, 0xff);
    g_assert_cmphex(get(b, 0x2000), ==, 0xff);
    g_assert_cmphex(in_image(b, 0), ==, 0xa5);
}

static void test_state(struct board *b, gconstpointer ro)
{
    struct board other = {0};
    put(b, 0x2000, 0x10);
    put(b, 0x2000, 0x3c); /* and stays in status mode */
    up(&other, ro);
    check_state_moves(b->f, other.f);
    mem_layouts_apply(other.mem);
    g_assert_cmphex(get(&other, 0), ==, 0x80);
    put(&other, 0, 0xff);
    g_assert_cmphex(get(&other, 0x2000), ==, 0x3c);
    g_assert_cmphex(in_image(&other, 0x2000), ==, 0x3c);
    down(&other, ro);
}

static void test_every_command_byte(struct board *b, gconstpointer ro)
{
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned second = 0; second < 256; second += 15) {
            put(b, 0x2fff, (uint8_t)first);
            put(b, 0x2fff, (uint8_t)second);
            io_space_write(b->f->mmio, BASE + 0x2ff8, 8, 0x1122334455667788);
            io_space_read(b->f->mmio, BASE + BYTES - 8, 8);
        }
    }
    reset_all(b->f);
    mem_layouts_apply(b->mem);
    g_assert_cmphex(get(b, 0x4000), ==, 0xa5);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, fn, ro)                                                                         \
    g_test_add("/pflash/" name, struct board, GINT_TO_POINTER(ro), up, fn, down)
    TEST("array", test_array_mode_is_rom, false);
    TEST("probe", test_probe, false);
    TEST("program", test_program_and_erase, false);
    TEST("buffered", test_buffered_program, false);
    TEST("read-only", test_read_only_image, true);
    TEST("state", test_state, false);
    TEST("commands", test_every_command_byte, false);
    return g_test_run();
}
