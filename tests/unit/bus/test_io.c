/* Dispatch: who answers, how accesses are split, what nobody claims, and moving under load. */
#include "base/util.h"
#include "bus/io.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct ram_region {
    struct io_region region; /* first */
    uint8_t bytes[64];
    char log[256]; /* "r4@8 w1@3 ..." */
};

static uint64_t ram_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct ram_region *m = container_of(r, struct ram_region, region);
    uint64_t v = 0;
    size_t n = strlen(m->log);
    g_assert_cmpuint(off + size, <=, sizeof(m->bytes));
    memcpy(&v, m->bytes + off, size);
    if (n < sizeof(m->log) - 16)
        g_snprintf(m->log + n, sizeof(m->log) - n, "r%u@%u ", size, (unsigned)off);
    return v;
}

static void ram_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct ram_region *m = container_of(r, struct ram_region, region);
    size_t n = strlen(m->log);
    g_assert_cmpuint(off + size, <=, sizeof(m->bytes));
    memcpy(m->bytes + off, &val, size);
    if (n < sizeof(m->log) - 16)
        g_snprintf(m->log + n, sizeof(m->log) - n, "w%u@%u ", size, (unsigned)off);
}

static const struct io_ops any_ops = {.read = ram_read, .write = ram_write};
static const struct io_ops byte_ops = {ram_read, ram_write, 1, 1};
static const struct io_ops dword_ops = {ram_read, ram_write, 4, 4};

static void ram_init(struct ram_region *m, const struct io_ops *ops, uint64_t size, uint8_t fill)
{
    memset(m, 0, sizeof(*m));
    m->region.ops = ops;
    m->region.name = "ram";
    m->region.size_bytes = size;
    memset(m->bytes, fill, sizeof(m->bytes));
}

static void test_unclaimed_reads_ones(void)
{
    struct io_space *s = io_space_new("pio", 0x10000);
    g_assert_cmphex(io_space_read(s, 0x1234, 1), ==, 0xff);
    g_assert_cmphex(io_space_read(s, 0x1234, 4), ==, 0xffffffff);
    g_assert_cmphex(io_space_read(s, 0xffff, 4), ==, 0xffffffff);
    g_assert_cmphex(io_space_read(s, UINT64_MAX, 8), ==, UINT64_MAX);
    io_space_write(s, 0xffff, 4, 0);
    io_space_free(s);
}

static void test_split_to_max_size(void)
{
    struct io_space *s = io_space_new("pio", 0x10000);
    struct ram_region m;
    ram_init(&m, &byte_ops, 8, 0);
    io_space_add(s, &m.region, 0x100);
    io_space_write(s, 0x102, 4, 0x44332211);
    g_assert_cmpstr(m.log, ==, "w1@2 w1@3 w1@4 w1@5 ");
    m.log[0] = 0;
    g_assert_cmphex(io_space_read(s, 0x103, 2), ==, 0x3322);
    g_assert_cmpstr(m.log, ==, "r1@3 r1@4 ");
    io_space_del(s, &m.region);
    io_space_del(s, &m.region);
    g_assert_cmphex(io_space_read(s, 0x103, 2), ==, 0xffff);
    io_space_free(s);
}

static void test_unaligned_is_split_naturally(void)
{
    struct io_space *s = io_space_new("mmio", 1ull << 52);
    struct ram_region m;
    ram_init(&m, &any_ops, 64, 0);
    io_space_add(s, &m.region, 0xff000000);
    io_space_write(s, 0xff000003, 8, 0x8877665544332211);
    g_assert_cmpstr(m.log, ==, "w1@3 w4@4 w2@8 w1@10 ");
    g_assert_cmphex(io_space_read(s, 0xff000003, 8), ==, 0x8877665544332211);
    io_space_free(s);
}

static void test_narrow_read_widens_narrow_write_vanishes(void)
{
    struct io_space *s = io_space_new("mmio", 1ull << 52);
    struct ram_region m;
    ram_init(&m, &dword_ops, 64, 0);
    io_space_add(s, &m.region, 0x1000);
    io_space_write(s, 0x1008, 8, 0x8877665544332211);
    m.log[0] = 0;
    g_assert_cmphex(io_space_read(s, 0x100a, 1), ==, 0x33);
    g_assert_cmphex(io_space_read(s, 0x100a, 2), ==, 0x4433);
    g_assert_cmpstr(m.log, ==, "r4@8 r4@8 ");
    m.log[0] = 0;
    io_space_write(s, 0x1008, 2, 0);
    g_assert_cmpstr(m.log, ==, "");
    io_space_free(s);
}

static void test_crosses_from_region_into_nothing_and_next(void)
{
    struct io_space *s = io_space_new("pio", 0x10000);
    struct ram_region a, b;
    ram_init(&a, &any_ops, 2, 0xaa);
    ram_init(&b, &any_ops, 2, 0xbb);
    io_space_add(s, &a.region, 0x10);
    io_space_add(s, &b.region, 0x13);
    g_assert_cmphex(io_space_read(s, 0x11, 4), ==, 0xbbbbffaa);
    g_assert_cmphex(io_space_read(s, 0x0f, 2), ==, 0xaaff);
    io_space_free(s);
}

static void test_priority_and_youngest_win(void)
{
    struct io_space *s = io_space_new("pio", 0x10000);
    struct ram_region low, high, late;
    ram_init(&low, &any_ops, 16, 1);
    ram_init(&high, &any_ops, 4, 2);
    ram_init(&late, &any_ops, 16, 3);
    high.region.priority = 1;
    io_space_add(s, &high.region, 0x104);
    io_space_add(s, &low.region, 0x100);
    g_assert_cmphex(io_space_read(s, 0x103, 1), ==, 1);
    g_assert_cmphex(io_space_read(s, 0x104, 1), ==, 2);
    g_assert_cmphex(io_space_read(s, 0x108, 1), ==, 1);
    io_space_add(s, &late.region, 0x108);
    g_assert_cmphex(io_space_read(s, 0x108, 1), ==, 3);
    g_assert_true(io_space_find(s, 0x104) == &high.region);
    io_space_del(s, &high.region);
    g_assert_cmphex(io_space_read(s, 0x104, 1), ==, 1);
    io_space_free(s);
}

static void test_first_byte_decides_for_the_whole_register(void)
{
    struct io_space *s = io_space_new("pio", 0x10000);
    struct ram_region config_address, reset;
    ram_init(&config_address, &dword_ops, 4, 0);
    ram_init(&reset, &byte_ops, 1, 7);
    reset.region.priority = 1;
    io_space_add(s, &config_address.region, 0xcf8);
    io_space_add(s, &reset.region, 0xcf9);
    io_space_write(s, 0xcf8, 4, 0x80001234);
    g_assert_cmphex(le32_get(config_address.bytes), ==, 0x80001234);
    g_assert_cmphex(reset.bytes[0], ==, 7);
    g_assert_cmphex(io_space_read(s, 0xcf9, 1), ==, 7);
    io_space_free(s);
}

static void test_region_beyond_the_limit_does_not_decode(void)
{
    struct io_space *s = io_space_new("pio", 0x10000);
    struct ram_region a, b;
    ram_init(&a, &any_ops, 16, 1);
    ram_init(&b, &any_ops, 16, 2);
    io_space_add(s, &a.region, 0xfff8);
    io_space_add(s, &b.region, UINT64_MAX - 3);
    g_assert_cmphex(io_space_read(s, 0xffff, 1), ==, 1);
    g_assert_cmphex(io_space_read(s, UINT64_MAX, 1), ==, 0xff);
    io_space_free(s);
}

static uint64_t fd_count(int fd)
{
    uint64_t v = 0;
    return read(fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

static void test_eventfd_matches_size_and_data(void)
{
    struct io_space *s = io_space_new("mmio", 1ull << 52);
    struct ram_region m;
    int fd = eventfd(0, EFD_NONBLOCK), any = eventfd(0, EFD_NONBLOCK);
    struct io_eventfd e = {.addr = 0x2000, .size = 2, .match = true, .data = 5, .fd = fd};
    struct io_eventfd w = {.addr = 0x2004, .fd = any};
    ram_init(&m, &any_ops, 64, 0);
    io_space_add(s, &m.region, 0x2000);
    io_space_eventfd_add(s, &w);
    io_space_eventfd_add(s, &e);
    io_space_write(s, 0x2000, 2, 5);
    io_space_write(s, 0x2000, 2, 5);
    g_assert_cmpuint(fd_count(fd), ==, 2);
    g_assert_cmpstr(m.log, ==, "");
    io_space_write(s, 0x2000, 2, 6);
    io_space_write(s, 0x2000, 4, 5);
    g_assert_cmpstr(m.log, ==, "w2@0 w4@0 ");
    io_space_write(s, 0x2004, 1, 9);
    io_space_write(s, 0x2004, 8, 9);
    g_assert_cmpuint(fd_count(any), ==, 2);
    io_space_eventfd_del(s, &e);
    io_space_write(s, 0x2000, 2, 5);
    g_assert_cmpuint(fd_count(fd), ==, 0);
    g_assert_cmpuint(m.bytes[0], ==, 5);
    io_space_free(s);
    close(fd);
    close(any);
}

struct counting_listener {
    struct io_eventfd_listener base; /* first */
    int adds, dels;
};

static void count_add(struct io_eventfd_listener *l, bool pio, const struct io_eventfd *e)
{
    g_assert_true(pio);
    container_of(l, struct counting_listener, base)->adds++;
}

static void count_del(struct io_eventfd_listener *l, bool pio, const struct io_eventfd *e)
{
    container_of(l, struct counting_listener, base)->dels++;
}

static void test_listener_hears_old_and_new_eventfds(void)
{
    struct io_space *s = io_space_new("pio", 0x10000);
    struct counting_listener l = {.base = {count_add, count_del}};
    struct io_eventfd a = {.addr = 0x10, .fd = -1}, b = {.addr = 0x20, .fd = -1};
    io_space_eventfd_add(s, &a);
    io_space_eventfd_listen(s, &l.base);
    g_assert_cmpint(l.adds, ==, 1);
    io_space_eventfd_add(s, &b);
    io_space_eventfd_del(s, &a);
    io_space_eventfd_del(s, &a);
    g_assert_cmpint(l.adds, ==, 2);
    g_assert_cmpint(l.dels, ==, 1);
    io_space_free(s);
}

static pthread_mutex_t board = PTHREAD_MUTEX_INITIALIZER;

static uint64_t locked_read(struct io_region *r, uint64_t off, unsigned size)
{
    g_assert_cmpint(pthread_mutex_trylock(&board), ==, EBUSY);
    return 0x5a;
}

static const struct io_ops locked_ops = {locked_read, NULL, 1, 1};

static void test_lock_is_held_in_handlers(void)
{
    struct io_space *s = io_space_new("pio", 0x10000);
    struct io_region r = {.ops = &locked_ops, .size_bytes = 1, .lock = &board};
    io_space_add(s, &r, 0x70);
    g_assert_cmphex(io_space_read(s, 0x70, 1), ==, 0x5a);
    io_space_write(s, 0x70, 1, 1); /* no write handler: vanishes */
    g_assert_cmpint(pthread_mutex_trylock(&board), ==, 0);
    pthread_mutex_unlock(&board);
    io_space_free(s);
}

/* A handler that moves its own region, as a BAR write through ECAM does. */
struct mover {
    struct io_region region; /* first */
    struct io_space *space;
};

static void mover_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct mover *m = container_of(r, struct mover, region);
    io_space_del(m->space, r);
    io_space_add(m->space, r, val);
}

static uint64_t mover_read(struct io_region *r, uint64_t off, unsigned size)
{
    return off;
}

static const struct io_ops mover_ops = {mover_read, mover_write, 4, 4};

static void *hammer(void *opaque)
{
    struct io_space *s = opaque;
    for (int i = 0; i < 200000; i++) {
        uint64_t v = io_space_read(s, 0x1000 + 4 * (i % 8), 4);
        g_assert_true(v == 0xffffffff || v == 4u * (i % 8));
    }
    return NULL;
}

static void test_moves_while_others_dispatch(void)
{
    struct io_space *s = io_space_new("mmio", 1ull << 52);
    struct mover m = {.region = {.ops = &mover_ops, .size_bytes = 64}, .space = s};
    GThread *t[3];
    io_space_add(s, &m.region, 0x1000);
    for (int i = 0; i < 3; i++)
        t[i] = g_thread_new("hammer", hammer, s);
    for (int i = 0; i < 2000; i++) {
        io_space_write(s, 0x1000, 4, 0x8000);
        io_space_write(s, 0x8000, 4, 0x1000);
    }
    for (int i = 0; i < 3; i++)
        g_thread_join(t[i]);
    io_space_free(s);
}

static void dump_line(void *opaque, const char *text)
{
    g_string_append_printf(opaque, "%s\n", text);
}

static void test_dump(void)
{
    struct io_space *s = io_space_new("pio", 0x10000);
    g_autoptr(GString) out = g_string_new(NULL);
    struct ram_region a, b;
    ram_init(&a, &any_ops, 16, 1);
    ram_init(&b, &any_ops, 1, 1);
    b.region.name = "top";
    b.region.priority = 1;
    io_space_add(s, &a.region, 0x60);
    io_space_add(s, &b.region, 0x64);
    io_space_dump(s, dump_line, out);
    g_assert_cmpstr(out->str, ==,
                    "0060-0063 (prio 0): ram\n0064-0064 (prio 1): top\n0065-006f (prio 0): ram\n");
    io_space_free(s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/io/unclaimed-reads-ones", test_unclaimed_reads_ones);
    g_test_add_func("/io/split-to-max-size", test_split_to_max_size);
    g_test_add_func("/io/unaligned", test_unaligned_is_split_naturally);
    g_test_add_func("/io/narrow", test_narrow_read_widens_narrow_write_vanishes);
    g_test_add_func("/io/crossing", test_crosses_from_region_into_nothing_and_next);
    g_test_add_func("/io/priority", test_priority_and_youngest_win);
    g_test_add_func("/io/first-byte-decides", test_first_byte_decides_for_the_whole_register);
    g_test_add_func("/io/limit", test_region_beyond_the_limit_does_not_decode);
    g_test_add_func("/io/eventfd", test_eventfd_matches_size_and_data);
    g_test_add_func("/io/eventfd-listener", test_listener_hears_old_and_new_eventfds);
    g_test_add_func("/io/lock", test_lock_is_held_in_handlers);
    g_test_add_func("/io/move-under-load", test_moves_while_others_dispatch);
    g_test_add_func("/io/dump", test_dump);
    return g_test_run();
}
