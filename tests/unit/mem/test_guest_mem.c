/* The guest-physical map: lookups, bounds, dirty log, code pages, listeners, discards. */
#include "base/util.h"
#include "mem/guest_mem.h"

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>

struct board {
    struct guest_mem *m;
    struct ram_block *ram, *rom;
    const struct guest_region *low, *high, *bios;
};

/* 1 MiB at 0, the next 1 MiB of the same block at 4 GiB, 64 KiB of ROM right below it. */
static void board_up(struct board *b, gconstpointer share)
{
    g_autoptr(GError) err = NULL;
    b->m = guest_mem_new();
    b->ram = ram_block_new("pc.ram", 2 * MiB, share != NULL, false, &err);
    g_assert_no_error(err);
    b->rom = ram_block_new("pc.bios", 64 * KiB, false, true, &err);
    g_assert_no_error(err);
    b->high = guest_mem_map(b->m, GPA(4 * GiB), b->ram, MiB, MiB, GUEST_RAM);
    b->low = guest_mem_map(b->m, GPA(0), b->ram, 0, MiB, GUEST_RAM);
    b->bios = guest_mem_map(b->m, GPA(4 * GiB - 64 * KiB), b->rom, 0, 64 * KiB, GUEST_ROM);
}

static void board_down(struct board *b, gconstpointer share)
{
    guest_mem_free(b->m);
    ram_block_free(b->ram);
    ram_block_free(b->rom);
}

static void test_find(struct board *b, gconstpointer share)
{
    g_assert_true(guest_mem_find(b->m, GPA(0)) == b->low);
    g_assert_true(guest_mem_find(b->m, GPA(MiB - 1)) == b->low);
    g_assert_null(guest_mem_find(b->m, GPA(MiB)));
    g_assert_null(guest_mem_find(b->m, GPA(4 * GiB - 64 * KiB - 1)));
    g_assert_true(guest_mem_find(b->m, GPA(4 * GiB - 1)) == b->bios);
    g_assert_true(guest_mem_find(b->m, GPA(4 * GiB)) == b->high);
    g_assert_null(guest_mem_find(b->m, GPA(4 * GiB + MiB)));
    g_assert_null(guest_mem_find(b->m, GPA(UINT64_MAX)));
    g_assert_cmpuint(guest_mem_ram_bytes(b->m), ==, 2 * MiB);
    g_assert_true(b->low->slot != b->high->slot && b->high->slot != b->bios->slot);
    g_assert_cmpint(b->low->fd >= 0, ==, share != NULL);
    g_assert_cmpuint(b->high->fd_offset_bytes, ==, MiB);
}

static void test_bounds(struct board *b, gconstpointer share)
{
    uint8_t buf[16] = "0123456789abcdef", back[16];
    g_assert_cmpint(guest_mem_write(b->m, GPA(MiB - 16), buf, 16), ==, 0);
    g_assert_cmpint(guest_mem_read(b->m, GPA(MiB - 16), back, 16), ==, 0);
    g_assert_cmpmem(buf, 16, back, 16);
    g_assert_cmpint(guest_mem_write(b->m, GPA(MiB - 15), buf, 16), ==, -EFAULT);
    g_assert_cmpint(guest_mem_read(b->m, GPA(MiB - 15), back, 16), ==, -EFAULT);
    g_assert_cmpint(guest_mem_read(b->m, GPA(UINT64_MAX - 3), back, 16), ==, -EFAULT);
    g_assert_cmpint(guest_mem_read(b->m, GPA(0), back, UINT64_MAX), ==, -EFAULT);
    g_assert_null(guest_mem_ptr(b->m, GPA(MiB - 15), 16, false));
    g_assert_null(guest_mem_ptr(b->m, GPA(0), UINT64_MAX, false));
    g_assert_true(guest_mem_ptr(b->m, GPA(4 * GiB), MiB, true) == ram_block_host(b->ram) + MiB);
}

static void test_failed_write_moves_nothing(struct board *b, gconstpointer share)
{
    uint8_t buf[32], back[16];
    memset(buf, 0xaa, sizeof(buf));
    g_assert_cmpint(guest_mem_write(b->m, GPA(MiB - 16), buf, 32), ==, -EFAULT);
    g_assert_cmpint(guest_mem_read(b->m, GPA(MiB - 16), back, 16), ==, 0);
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmpuint(back[i], ==, 0);
}

static void test_rom_and_crossing(struct board *b, gconstpointer share)
{
    uint8_t buf[8] = "hanokhan", back[8];
    uint64_t across = 4 * GiB - 4; /* half ROM, half RAM */
    g_assert_cmpint(guest_mem_write(b->m, GPA(across), buf, 8), ==, -EFAULT);
    g_assert_null(guest_mem_ptr(b->m, GPA(4 * GiB - 8), 8, true));
    g_assert_nonnull(guest_mem_ptr(b->m, GPA(4 * GiB - 8), 8, false));
    g_assert_cmpint(guest_mem_write_rom(b->m, GPA(across), buf, 8), ==, 0);
    g_assert_cmpint(guest_mem_read(b->m, GPA(across), back, 8), ==, 0);
    g_assert_cmpmem(buf, 8, back, 8);
}

static void assert_dirty(struct board *b, const struct guest_region *r, uint64_t word0,
                         uint64_t word3)
{
    uint64_t bits[4];
    g_assert_cmpint(guest_mem_dirty_sync(b->m, r, bits, 4), ==, 0);
    g_assert_cmphex(bits[0], ==, word0);
    g_assert_cmphex(bits[1] | bits[2], ==, 0);
    g_assert_cmphex(bits[3], ==, word3);
}

static void test_dirty_log(struct board *b, gconstpointer share)
{
    uint64_t bits[4];
    g_assert_cmpint(guest_mem_dirty_sync(b->m, b->low, bits, 4), ==, -EINVAL);
    guest_mem_dirty_log(b->m, true);
    guest_mem_dirty_log(b->m, true); /* counted */
    guest_mem_dirty_log(b->m, false);
    assert_dirty(b, b->low, 0, 0);
    uint8_t byte[2] = {1, 2};
    guest_mem_write(b->m, GPA(0x1fff), byte, 2);         /* pages 1 and 2 */
    guest_mem_wrote(b->m, GPA(MiB - 1), 1);              /* page 255 */
    guest_region_mark(b->low, 5 * GUEST_PAGE_SIZE + 17); /* the vCPU path */
    guest_mem_wrote(b->m, GPA(MiB - 1), 0);              /* nothing */
    assert_dirty(b, b->low, BIT64(1) | BIT64(2) | BIT64(5), BIT64(63));
    assert_dirty(b, b->low, 0, 0); /* sync cleared them */
    assert_dirty(b, b->high, 0, 0);
    guest_mem_wrote(b->m, GPA(4 * GiB), MiB);
    g_assert_cmpint(guest_mem_dirty_sync(b->m, b->high, bits, 4), ==, 0);
    g_assert_cmphex(bits[0] & bits[1] & bits[2] & bits[3], ==, UINT64_MAX);
    guest_mem_wrote(b->m, GPA(0), 1);
    guest_mem_dirty_log(b->m, false);
    g_assert_null(b->low->dirty);
    guest_region_mark(b->low, 0); /* harmless while off */
    guest_mem_dirty_log(b->m, true);
    assert_dirty(b, b->low, 0, 0); /* what an earlier log left over is gone */
    guest_mem_dirty_log(b->m, false);
}

struct spy {
    struct mem_listener l;
    unsigned adds, dels, log_on, log_off, syncs, discards, code_writes;
    uint64_t offset, len;
};

static void spy_add(struct mem_listener *l, const struct guest_region *r)
{
    container_of(l, struct spy, l)->adds++;
}
static void spy_del(struct mem_listener *l, const struct guest_region *r)
{
    container_of(l, struct spy, l)->dels++;
}
static void spy_log(struct mem_listener *l, const struct guest_region *r, bool on)
{
    struct spy *s = container_of(l, struct spy, l);
    s->log_on += on;
    s->log_off += !on;
}
static void spy_sync(struct mem_listener *l, const struct guest_region *r)
{
    container_of(l, struct spy, l)->syncs++;
    guest_region_mark(r, 7 * GUEST_PAGE_SIZE);
}
static void spy_discard(struct mem_listener *l, const struct guest_region *r, uint64_t offset,
                        uint64_t len)
{
    struct spy *s = container_of(l, struct spy, l);
    s->discards++;
    s->offset = offset;
    s->len = len;
}
static void spy_code(struct mem_listener *l, const struct guest_region *r, uint64_t offset,
                     uint64_t len)
{
    struct spy *s = container_of(l, struct spy, l);
    s->code_writes++;
    s->offset = offset;
    s->len = len;
}
static const struct mem_listener_ops spy_ops = {
    .region_add = spy_add,
    .region_del = spy_del,
    .log_change = spy_log,
    .log_sync = spy_sync,
    .discard = spy_discard,
    .code_written = spy_code,
};

static void test_listeners(struct board *b, gconstpointer share)
{
    struct spy s = {.l.ops = &spy_ops};
    static const struct mem_listener_ops none;
    struct mem_listener deaf = {.ops = &none};
    guest_mem_listen(b->m, &deaf);
    guest_mem_listen(b->m, &s.l);
    g_assert_cmpuint(s.adds, ==, 3); /* replayed */
    guest_mem_dirty_log(b->m, true);
    g_assert_cmpuint(s.log_on, ==, 3);
    assert_dirty(b, b->low, BIT64(7), 0); /* what the listener folded in */
    g_assert_cmpuint(s.syncs, ==, 1);
    guest_mem_unmap(b->m, b->bios);
    g_assert_cmpuint(s.dels, ==, 1);
    g_assert_null(guest_mem_find(b->m, GPA(4 * GiB - 1)));
    g_assert_true(guest_mem_find(b->m, GPA(4 * GiB)) == b->high);
    b->bios = guest_mem_map(b->m, GPA(MiB), b->rom, 0, 64 * KiB, GUEST_ROM);
    g_assert_cmpuint(s.adds, ==, 4);
    g_assert_cmpuint(s.log_on, ==, 4); /* a region mapped while logging is on logs too */
    guest_mem_dirty_log(b->m, false);
    g_assert_cmpuint(s.log_off, ==, 3);
    guest_mem_unlisten(b->m, &s.l);
    guest_mem_dirty_log(b->m, true);
    g_assert_cmpuint(s.log_on, ==, 4);
    guest_mem_dirty_log(b->m, false);
}

static void test_write_to_code_is_told(struct board *b, gconstpointer share)
{
    struct spy s = {.l.ops = &spy_ops};
    guest_mem_listen(b->m, &s.l);
    uint32_t v = 0xdeadbeef;
    guest_mem_write(b->m, GPA(0x3000), &v, 4);
    g_assert_cmpuint(s.code_writes, ==, 0);
    b->low->code[0] |= BIT64(3);
    guest_mem_write(b->m, GPA(0x2ffe), &v, 4);
    g_assert_cmpuint(s.code_writes, ==, 1);
    g_assert_cmphex(s.offset, ==, 0x2ffe);
    g_assert_cmpuint(s.len, ==, 4);
    guest_mem_write(b->m, GPA(0x4000), &v, 4);
    g_assert_cmpuint(s.code_writes, ==, 1);
    b->low->code[3] |= BIT64(63);
    guest_mem_wrote(b->m, GPA(0x8000), MiB - 0x8000);
    g_assert_cmpuint(s.code_writes, ==, 2);
    guest_mem_unlisten(b->m, &s.l);
}

/* Asking for huge pages changes nothing that is there. */
static void test_touched(struct board *b, gconstpointer share)
{
    uint8_t byte = 0x5a, back = 0;

    g_assert_cmpint(guest_mem_write(b->m, GPA(0x1234), &byte, 1), ==, 0);
    for (unsigned k = 0; k < 2; k++)
        for (uint64_t at = 0; at < b->low->size_bytes; at += GUEST_PAGE_SIZE)
            guest_region_touch(b->low, at);
    if (b->low->huge)
        g_assert_cmpuint(b->low->huge[0], !=, 0);
    else if (b->low->fd < 0)
        g_assert_null(b->low->huge);
    g_assert_cmpint(guest_mem_read(b->m, GPA(0x1234), &back, 1), ==, 0);
    g_assert_cmpuint(back, ==, byte);
}

static void test_discard(struct board *b, gconstpointer share)
{
    struct spy s = {.l.ops = &spy_ops};
    guest_mem_listen(b->m, &s.l);
    memset(b->low->host, 0x55, MiB);
    memset(b->high->host, 0x66, MiB);
    g_assert_cmpint(guest_mem_discard(b->m, GPA(0x10), 0x1000), ==, -EINVAL);
    g_assert_cmpint(guest_mem_discard(b->m, GPA(MiB - 0x1000), 0x2000), ==, -EFAULT);
    g_assert_cmpint(guest_mem_discard(b->m, GPA(4 * GiB - 0x1000), 0x1000), ==, -EFAULT);
    guest_mem_inhibit_discard(b->m, true);
    guest_mem_inhibit_discard(b->m, true);
    guest_mem_inhibit_discard(b->m, false);
    g_assert_cmpint(guest_mem_discard(b->m, GPA(0x1000), 0x1000), ==, -EBUSY);
    guest_mem_inhibit_discard(b->m, false);
    g_assert_cmpint(guest_mem_discard(b->m, GPA(4 * GiB + 0x2000), 0x3000), ==, 0);
    g_assert_cmpuint(s.discards, ==, 1);
    g_assert_cmphex(s.offset, ==, 0x2000);
    g_assert_cmphex(s.len, ==, 0x3000);
    g_assert_cmphex(b->high->host[0x1fff], ==, 0x66);
    g_assert_cmphex(b->high->host[0x2000], ==, 0);
    g_assert_cmphex(b->high->host[0x4fff], ==, 0);
    g_assert_cmphex(b->high->host[0x5000], ==, 0x66);
    g_assert_cmphex(b->low->host[0x2000], ==, 0x55);
    guest_mem_unlisten(b->m, &s.l);
}

static void test_block_too_large_is_an_error(void)
{
    g_autoptr(GError) err = NULL;
    g_assert_null(ram_block_new("big", 1ull << 62, false, false, &err));
    g_assert_nonnull(err);
    ram_block_free(NULL);
}

/* A 1 TiB guest is only a reservation. */
static void test_terabyte_guest_costs_nothing(void)
{
    g_autoptr(GError) err = NULL;
    struct guest_mem *m = guest_mem_new();
    struct ram_block *b = ram_block_new("pc.ram", TiB, false, false, &err);
    if (!b) {
        g_test_skip(err->message); /* vm.overcommit_memory=2 or an address-space limit */
        guest_mem_free(m);
        return;
    }
    guest_mem_map(m, GPA(0), b, 0, TiB, GUEST_RAM);
    uint8_t byte = 1;
    g_assert_cmpint(guest_mem_write(m, GPA(TiB - 1), &byte, 1), ==, 0);
    guest_mem_free(m);
    ram_block_free(b);
}

static void add(const char *name, void (*fn)(struct board *, gconstpointer))
{
    static int shared = 1;
    g_autofree char *priv = g_strdup_printf("/guest_mem/private/%s", name);
    g_autofree char *shar = g_strdup_printf("/guest_mem/shared/%s", name);
    g_test_add(priv, struct board, NULL, board_up, fn, board_down);
    g_test_add(shar, struct board, &shared, board_up, fn, board_down);
}

static void test_memory_in_a_file(void)
{
    GError *err = NULL;
    g_autofree char *dir = g_dir_make_tmp("hanok-ram-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "pc.ram", NULL), *text = NULL;
    gsize len = 0;
    struct ram_block *b = ram_block_in_file("pc.ram", 2 * MiB, dir, false, true, &err);
    g_assert_no_error(err);
    g_assert_cmpint(ram_block_host(b)[2 * MiB - 1], ==, 0);
    ram_block_free(b);
    g_assert_cmpint(g_rmdir(dir), ==, 0); /* the file had no name */
    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);

    b = ram_block_in_file("pc.ram", 2 * MiB, path, true, false, &err);
    g_assert_no_error(err);
    memcpy(ram_block_host(b) + MiB, "seen outside", 12);
    g_assert_true(g_file_get_contents(path, &text, &len, NULL));
    g_assert_cmpuint(len, ==, 2 * MiB);
    g_assert_cmpmem(text + MiB, 12, "seen outside", 12);
    ram_block_free(b);

    g_assert_null(ram_block_in_file("pc.ram", 2 * MiB, path, false, false, &err));
    g_assert_nonnull(strstr(err->message, "share=on uses what is in it"));
    g_clear_error(&err);
    g_assert_null(ram_block_in_file("pc.ram", 2 * MiB, "/dev/null/x", true, false, &err));
    g_assert_nonnull(strstr(err->message, "memory in '/dev/null/x'"));
    g_clear_error(&err);
    g_unlink(path);
    g_rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("find", test_find);
    add("bounds", test_bounds);
    add("failed_write_moves_nothing", test_failed_write_moves_nothing);
    add("rom_and_crossing", test_rom_and_crossing);
    add("dirty_log", test_dirty_log);
    add("listeners", test_listeners);
    add("write_to_code_is_told", test_write_to_code_is_told);
    add("touched", test_touched);
    add("discard", test_discard);
    g_test_add_func("/guest_mem/block_too_large", test_block_too_large_is_an_error);
    g_test_add_func("/guest_mem/terabyte", test_terabyte_guest_costs_nothing);
    g_test_add_func("/ram/in-a-file", test_memory_in_a_file);
    return g_test_run();
}
