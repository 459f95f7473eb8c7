/* Port 0x92, reset port, DMA storage, debugcon, isa-debug-exit, pc-testdev. */
#include "base/props.h"
#include "chardev/chardev.h"
#include "devices/ports.h"
#include "fixture.h"

static void test_port92(void)
{
    struct fixture *f = fixture_new();
    port92_new(&f->devices, f->pio, &f->req);
    g_assert_cmphex(inb(f, 0x92), ==, 0x02);
    outb(f, 0x92, 0x00);
    g_assert_false(f->a20);
    outb(f, 0x92, 0x02);
    g_assert_true(f->a20);
    outb(f, 0x92, 0x03);
    outb(f, 0x92, 0x03);
    g_assert_cmpint(f->resets, ==, 1); /* on the edge only */
    g_assert_cmpint(f->reset_cause, ==, BOARD_RESET_PORT92);
    fixture_free(f);
}

static uint64_t dword_read(struct io_region *r, uint64_t off, unsigned size)
{
    return 0x80000000;
}
static void dword_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    g_assert_cmphex(val, ==, 0x8000ffff);
}

static void test_reset_port(void)
{
    static const struct io_ops ops = {dword_read, dword_write, 4, 4};
    struct io_region address = {.ops = &ops, .size_bytes = 4};
    struct fixture *f = fixture_new();
    io_space_add(f->pio, &address, 0xcf8);
    reset_port_new(&f->devices, f->pio, &f->req);
    io_space_write(f->pio, 0xcf8, 4, 0x8000ffff); /* a config address does not reset */
    g_assert_cmpint(f->resets, ==, 0);
    outb(f, 0xcf9, 0x02);
    g_assert_cmpint(f->resets, ==, 0);
    g_assert_cmphex(inb(f, 0xcf9), ==, 0x02);
    outb(f, 0xcf9, 0x06);
    outb(f, 0xcf9, 0x06);
    g_assert_cmpint(f->resets, ==, 1);
    reset_all(f);
    g_assert_cmphex(inb(f, 0xcf9), ==, 0);
    fixture_free(f);
}

static void test_dma_storage(void)
{
    struct fixture *f = fixture_new();
    dma8237_new(&f->devices, f->pio);
    outb(f, 0x80, 0x42); /* POST code */
    g_assert_cmphex(inb(f, 0x80), ==, 0x42);
    outb(f, 0x0f, 1);
    outb(f, 0xdf, 2);
    g_assert_cmphex(inb(f, 0x0f), ==, 1);
    g_assert_cmphex(inb(f, 0xdf), ==, 2);
    g_assert_cmphex(inb(f, 0x10), ==, 0xff);
    io_space_write(f->pio, 0xde, 4, 0x04030201); /* runs over the end */
    g_assert_cmphex(inb(f, 0xdf), ==, 2);
    fixture_free(f);
}

static void test_debugcon(void)
{
    struct fixture *f = fixture_new();
    GError *err = NULL;
    struct props *p = props_parse("ringbuf,id=dbg,size=65536", "backend", &err);
    struct chardev *c;
    uint8_t buf[8];
    g_assert_no_error(err);
    c = chardev_open(p, &err);
    g_assert_no_error(err);
    props_free(p);
    g_assert_true(debugcon_new(&f->devices, f->pio, c, 0xe9, 0xe9, NULL, &err));
    g_assert_cmphex(inb(f, 0xe9), ==, 0xe9);
    for (const char *s = "boot"; *s; s++)
        outb(f, 0xe9, *s);
    g_assert_cmpuint(chardev_ringbuf_read(c, buf, sizeof(buf)), ==, 4);
    g_assert_cmpmem(buf, 4, "boot", 4);
    g_assert_false(debugcon_new(&f->devices, f->pio, c, 0x402, 0xe9, NULL, &err)); /* taken */
    g_assert_nonnull(err);
    g_clear_error(&err);
    fixture_free(f);
    chardev_close(c);
}

static void test_debug_exit(void)
{
    struct fixture *f = fixture_new();
    GError *err = NULL;
    g_assert_true(isa_debug_exit_new(&f->devices, f->pio, &f->req, 0xf4, 4, NULL, &err));
    g_assert_no_error(err);
    io_space_write(f->pio, 0xf4, 4, 0);
    g_assert_cmpint(f->exit_status, ==, 1);
    io_space_write(f->pio, 0xf4, 1, 38);
    g_assert_cmpint(f->exit_status, ==, 77);
    io_space_write(f->pio, 0xf4, 4, UINT32_MAX);
    g_assert_cmpint(f->exit_status, ==, -1);
    g_assert_false(isa_debug_exit_new(&f->devices, f->pio, &f->req, 0xfffe, 4, NULL, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    fixture_free(f);
}

static void test_pc_testdev(void)
{
    struct fixture *f = fixture_new();
    GError *err = NULL;
    g_assert_true(pc_testdev_new(&f->devices, f->pio, f->mmio, &f->chip, NULL, &err));
    g_assert_false(pc_testdev_new(&f->devices, f->pio, f->mmio, &f->chip, NULL, &err));
    g_clear_error(&err);
    io_space_write(f->pio, 0xe0, 4, 0x12345678);
    g_assert_cmphex(io_space_read(f->pio, 0xe0, 4), ==, 0x12345678);
    g_assert_cmphex(io_space_read(f->pio, 0xe2, 2), ==, 0x1234);
    g_assert_cmphex(io_space_read(f->pio, 0xe1, 1), ==, 0x56);
    g_assert_cmphex(io_space_read(f->pio, 0xe8, 4), ==, 0x12345678);
    outb(f, 0xe9, 0);
    g_assert_cmphex(io_space_read(f->pio, 0xe0, 4), ==, 0x12340078);
    io_space_write(f->pio, 0xe4, 4, 0x123000);
    outb(f, 0x200e, 1);
    g_assert_true(f->level[14]);
    outb(f, 0x200e, 0);
    g_assert_false(f->level[14]);
    outb(f, 0x2017, 1);
    g_assert_true(f->level[23]);
    io_space_write(f->mmio, 0xff000ffd, 8, 0x1122334455667788);
    g_assert_cmphex(io_space_read(f->mmio, 0xff000ffd, 8), ==, 0x1122334455667788);
    io_space_write(f->mmio, 0xff00fffc, 8, UINT64_MAX); /* half beyond the end */
    g_assert_cmphex(io_space_read(f->mmio, 0xff00fffc, 4), ==, 0xffffffff);
    reset_all(f);
    g_assert_false(f->level[23]);
    fixture_free(f);
}

static struct fixture *all_fixture(void)
{
    struct fixture *f = fixture_new();
    port92_new(&f->devices, f->pio, &f->req);
    reset_port_new(&f->devices, f->pio, &f->req);
    dma8237_new(&f->devices, f->pio);
    isa_debug_exit_new(&f->devices, f->pio, &f->req, 0xf4, 4, NULL, NULL);
    pc_testdev_new(&f->devices, f->pio, f->mmio, &f->chip, NULL, NULL);
    return f;
}

static void test_state(void)
{
    struct fixture *a = all_fixture(), *b = all_fixture();
    outb(a, 0x92, 0);
    outb(a, 0xcf9, 0x0a);
    outb(a, 0x87, 0x33);
    outb(a, 0x2003, 1);
    io_space_write(a->pio, 0xe0, 4, 0xdeadbeef);
    io_space_write(a->mmio, 0xff001000, 8, 0xdeadbeef);
    check_state_moves(a, b);
    g_assert_cmphex(inb(b, 0x87), ==, 0x33);
    g_assert_true(b->level[3]);
    fixture_free(a);
    fixture_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ports/port92", test_port92);
    g_test_add_func("/ports/reset-port", test_reset_port);
    g_test_add_func("/ports/dma", test_dma_storage);
    g_test_add_func("/ports/debugcon", test_debugcon);
    g_test_add_func("/ports/debug-exit", test_debug_exit);
    g_test_add_func("/ports/pc-testdev", test_pc_testdev);
    g_test_add_func("/ports/state", test_state);
    return g_test_run();
}
