/* 16550A against a socket: registers, FIFOs, interrupts, loopback, a peer that does not read. */
#include "base/props.h"
#include "chardev/chardev.h"
#include "devices/uart.h"
#include "fixture.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 0x3f8
enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static uint8_t in(struct fixture *f, unsigned reg)
{
    return inb(f, PORT + reg);
}

static void out(struct fixture *f, unsigned reg, uint8_t v)
{
    outb(f, PORT + reg, v);
}

/* peer: the other end of the line, or NULL for a port with nothing plugged in. */
static struct fixture *uart_fixture(int *peer, struct chardev **c)
{
    struct fixture *f = fixture_new();
    struct uart_config cfg = {.iobase = PORT, .gsi = 4};
    struct chardev *backend = NULL;
    GError *err = NULL;
    if (peer) {
        static unsigned n;
        int fds[2];
        g_autofree char *text = NULL;
        struct props *p;
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), ==, 0);
        text = g_strdup_printf("socket,id=uart%u,fd=%d", n++, fds[0]);
        p = props_parse(text, "backend", &err);
        g_assert_no_error(err);
        backend = chardev_open(p, &err);
        g_assert_no_error(err);
        props_free(p);
        *peer = fds[1];
        *c = backend;
    }
    uart_new(&f->devices, f->pio, &f->chip, f->clock, backend, &cfg, &err);
    g_assert_no_error(err);
    vm_clock_start(f->clock);
    return f;
}

static void uart_fixture_free(struct fixture *f, int peer, struct chardev *c)
{
    fixture_free(f);
    if (c)
        chardev_close(c);
    if (peer >= 0)
        close(peer);
}

static void pump(unsigned ms)
{
    uint64_t end = host_clock_ns() + ms * 1000000ull;
    while (host_clock_ns() < end)
        if (!g_main_context_iteration(NULL, false))
            g_usleep(200);
}

static void test_reset_values_and_scratch(void)
{
    struct fixture *f = uart_fixture(NULL, NULL);
    g_assert_cmphex(in(f, IER), ==, 0);
    g_assert_cmphex(in(f, IIR), ==, 0x01);
    g_assert_cmphex(in(f, LSR), ==, 0x60);
    g_assert_cmphex(in(f, MSR), ==, 0xb0);
    out(f, SCR, 0x5a);
    g_assert_cmphex(in(f, SCR), ==, 0x5a);
    out(f, LCR, 0x80);
    out(f, 0, 0x01);
    out(f, 1, 0x02);
    g_assert_cmphex(in(f, 0), ==, 0x01);
    g_assert_cmphex(in(f, 1), ==, 0x02);
    out(f, LCR, 0x03);
    out(f, IER, 0xff);
    g_assert_cmphex(in(f, IER), ==, 0x0f);
    out(f, 2, 0x01);
    g_assert_cmphex(in(f, IIR) & 0xc0, ==, 0xc0);
    out(f, 0, 'x'); /* nobody there: taken and gone */
    g_assert_cmphex(in(f, LSR), ==, 0x60);
    uart_fixture_free(f, -1, NULL);
}

static void test_transmit_and_thre_interrupt(void)
{
    struct chardev *c;
    int peer, was;
    char buf[16];
    struct fixture *f = uart_fixture(&peer, &c);
    out(f, IER, 0x02); /* over an empty transmitter: interrupt at once */
    g_assert_true(f->level[4]);
    g_assert_cmphex(in(f, IIR), ==, 0x02);
    g_assert_false(f->level[4]); /* reading it took it away */
    was = f->edges[4];
    out(f, 0, 'h');
    out(f, 0, 'i');
    g_assert_cmpint(f->edges[4], >, was);
    pump(5);
    g_assert_cmpint(read(peer, buf, sizeof(buf)), ==, 2);
    g_assert_cmpmem(buf, 2, "hi", 2);
    out(f, IER, 0);
    g_assert_false(f->level[4]);
    out(f, IER, 2); /* enabling again raises again */
    g_assert_true(f->level[4]);
    uart_fixture_free(f, peer, c);
}

static void test_receive_fifo_trigger_and_timeout(void)
{
    struct chardev *c;
    int peer;
    struct fixture *f = uart_fixture(&peer, &c);
    out(f, LCR, 0x83);
    out(f, 0, 1);
    out(f, 1, 0);
    out(f, LCR, 0x03);
    out(f, 2, 0x81); /* FIFO, trigger at 8 */
    out(f, IER, 0x01);
    g_assert_cmpint(write(peer, "abc", 3), ==, 3);
    pump(30);
    g_assert_true(f->level[4]); /* below the trigger, but silence followed */
    g_assert_cmphex(in(f, IIR), ==, 0xcc);
    g_assert_cmphex(in(f, 0), ==, 'a');
    g_assert_false(f->level[4]);
    g_assert_cmpint(write(peer, "defghijklmnopqrstuvwxyz", 23), ==, 23);
    pump(30);
    g_assert_cmphex(in(f, IIR), ==, 0xc4);
    for (char want = 'b'; want <= 'z'; want++) {
        for (int i = 0; i < 100 && !(in(f, LSR) & 1); i++)
            pump(1);
        g_assert_cmpint(in(f, 0), ==, want);
    }
    g_assert_cmphex(in(f, LSR), ==, 0x60);
    g_assert_cmphex(in(f, 0), ==, 0);
    uart_fixture_free(f, peer, c);
}

static void test_loopback_modem_and_break(void)
{
    struct fixture *f = uart_fixture(NULL, NULL);
    out(f, MCR, 0x10); /* loop: all lines drop */
    g_assert_cmphex(in(f, MSR), ==, 0x0b);
    g_assert_cmphex(in(f, MSR), ==, 0x00);
    out(f, MCR, 0x1f);
    g_assert_cmphex(in(f, MSR), ==, 0xfb); /* RI rising is no event */
    out(f, IER, 0x08);
    out(f, MCR, 0x1b);
    g_assert_true(f->level[4]);
    g_assert_cmphex(in(f, IIR), ==, 0x00);
    g_assert_cmphex(in(f, MSR), ==, 0xb4); /* its trailing edge is */
    g_assert_false(f->level[4]);
    out(f, IER, 0x04);
    out(f, 0, 'q');
    g_assert_cmphex(in(f, LSR), ==, 0x61);
    out(f, 0, 'r'); /* no FIFO: overrun */
    g_assert_cmphex(in(f, IIR), ==, 0x06);
    g_assert_cmphex(in(f, LSR), ==, 0x63);
    g_assert_cmphex(in(f, LSR), ==, 0x61);
    g_assert_cmphex(in(f, 0), ==, 'r');
    out(f, 2, 0x01);
    for (int i = 0; i < 20; i++)
        out(f, 0, i);
    g_assert_cmphex(in(f, LSR), ==, 0x63);
    for (int i = 0; i < 16; i++)
        g_assert_cmphex(in(f, 0), ==, i);
    out(f, LCR, 0x43);
    g_assert_cmphex(in(f, LSR), ==, 0xf1); /* break, and an error in the FIFO */
    g_assert_cmphex(in(f, LSR), ==, 0x61);
    g_assert_cmphex(in(f, 0), ==, 0);
    out(f, 0, 1);
    out(f, 2, 0x03); /* clears the receiver */
    g_assert_cmphex(in(f, LSR), ==, 0x60);
    uart_fixture_free(f, -1, NULL);
}

static void test_peer_that_does_not_read(void)
{
    struct chardev *c;
    int peer, sent = 0;
    static uint8_t buf[1 << 16];
    uint64_t got = 0;
    struct fixture *f = uart_fixture(&peer, &c);
    chardev_set_queue_limit(c, 1024);
    out(f, 2, 0x01);
    while ((in(f, LSR) & 0x20) && sent < 8 << 20)
        out(f, 0, sent++);
    g_assert_cmpint(sent, <, 8 << 20); /* THRE went away: the guest waits */
    for (int i = 0; i < 100; i++)
        out(f, 0, 0); /* a guest that does not wait loses bytes, nothing else */
    for (int i = 0; i < 200 && !(in(f, LSR) & 0x20); i++) {
        ssize_t n;
        while ((n = read(peer, buf, sizeof(buf))) > 0)
            got += n;
        pump(2);
    }
    g_assert_cmphex(in(f, LSR) & 0x60, ==, 0x60); /* there is room again */
    for (int i = 0; i < 20; i++) {
        ssize_t n;
        while ((n = read(peer, buf, sizeof(buf))) > 0)
            got += n;
        pump(2);
    }
    g_assert_cmpuint(got, >=, sent - 16);
    uart_fixture_free(f, peer, c);
}

static void test_bad_place_is_refused(void)
{
    struct fixture *f = fixture_new();
    struct uart_config cfg = {.iobase = 0xfffc, .gsi = 4};
    GError *err = NULL;
    g_assert_null(uart_new(&f->devices, f->pio, &f->chip, f->clock, NULL, &cfg, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    fixture_free(f);
}

static void poke(struct fixture *f)
{
    for (int i = 0; i < 20; i++)
        in(f, i % 8);
    out(f, 0, 'x');
}

static void test_state(void)
{
    struct fixture *a = uart_fixture(NULL, NULL), *b = uart_fixture(NULL, NULL);
    out(a, MCR, 0x1b);
    out(a, 2, 0xc1);
    out(a, IER, 0x0f);
    out(a, 0, 'z');
    check_state_moves(a, b);
    g_assert_cmphex(in(b, 0), ==, 'z');
    check_state_hostile(a, poke);
    uart_fixture_free(a, -1, NULL);
    uart_fixture_free(b, -1, NULL);
}

static void test_random(void)
{
    struct fixture *f = uart_fixture(NULL, NULL);
    for (int i = 0; i < 200000; i++) {
        uint32_t v = g_test_rand_int();
        if (v & 0x100)
            out(f, v % 8, v >> 16);
        else
            in(f, v % 8);
    }
    reset_all(f);
    g_assert_cmphex(in(f, LSR), ==, 0x60);
    uart_fixture_free(f, -1, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/uart/reset-values", test_reset_values_and_scratch);
    g_test_add_func("/uart/transmit", test_transmit_and_thre_interrupt);
    g_test_add_func("/uart/receive", test_receive_fifo_trigger_and_timeout);
    g_test_add_func("/uart/loopback", test_loopback_modem_and_break);
    g_test_add_func("/uart/slow-peer", test_peer_that_does_not_read);
    g_test_add_func("/uart/bad-place", test_bad_place_is_refused);
    g_test_add_func("/uart/state", test_state);
    g_test_add_func("/uart/random", test_random);
    return g_test_run();
}
