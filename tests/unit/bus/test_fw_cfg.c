/* fw_cfg: ports, directory, DMA with good and hostile commands. */
#include "base/state.h"
#include "base/util.h"
#include "bus/fw_cfg.h"
#include "mem/guest_mem.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <unistd.h>

struct board {
    struct device_list devices;
    struct io_space *pio;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct fw_cfg *f;
};

static struct board *board_new(void)
{
    struct board *b = g_new0(struct board, 1);
    device_list_init(&b->devices);
    b->pio = io_space_new("pio", 0x10000);
    b->mem = guest_mem_new();
    b->ram = ram_block_new("ram", MiB, false, false, NULL);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, MiB, GUEST_RAM);
    b->f = fw_cfg_new(&b->devices, b->pio, b->mem);
    return b;
}

static void board_free(struct board *b)
{
    device_list_fini(&b->devices);
    io_space_free(b->pio);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
    g_free(b);
}

static void take(struct board *b, uint16_t key, void *buf, size_t len)
{
    io_space_write(b->pio, 0x510, 2, key);
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = (uint8_t)io_space_read(b->pio, 0x511, 1);
}

/* Runs one DMA command at 0x1000; returns its control word afterwards. */
static uint32_t dma(struct board *b, uint32_t control, uint32_t len, uint64_t addr)
{
    struct {
        uint32_t control, len;
        uint64_t addr;
    } cmd = {GUINT32_TO_BE(control), GUINT32_TO_BE(len), GUINT64_TO_BE(addr)};
    g_assert_cmpint(guest_mem_write(b->mem, GPA(0x1000), &cmd, sizeof(cmd)), ==, 0);
    io_space_write(b->pio, 0x514, 4, 0);
    io_space_write(b->pio, 0x518, 4, GUINT32_TO_BE(0x1000));
    g_assert_cmpint(guest_mem_read(b->mem, GPA(0x1000), &cmd, 4), ==, 0);
    return GUINT32_FROM_BE(cmd.control);
}

static void test_items_by_port(void)
{
    struct board *b = board_new();
    uint8_t buf[8];
    fw_cfg_add_u16(b->f, FW_CFG_NB_CPUS, 3);
    take(b, FW_CFG_SIGNATURE, buf, 6);
    g_assert_cmpmem(buf, 6, "QEMU\0\0", 6);
    take(b, FW_CFG_NB_CPUS, buf, 4);
    g_assert_cmpmem(buf, 4, "\3\0\0\0", 4);
    take(b, 0x8000, buf, 2); /* not item 0 again: SeaBIOS would read "QE" as a count */
    g_assert_cmpmem(buf, 2, "\0\0", 2);
    take(b, 0x3ff0, buf, 2); /* nothing there: zeros */
    g_assert_cmpmem(buf, 2, "\0\0", 2);
    take(b, 0xffff, buf, 2);
    g_assert_cmpmem(buf, 2, "\0\0", 2);
    board_free(b);
}

static void test_directory_is_sorted_and_has_keys(void)
{
    struct board *b = board_new();
    uint8_t dir[4 + 2 * 64], buf[4];
    fw_cfg_add_file(b->f, "etc/zoo", "ZZZ", 3);
    fw_cfg_add_file(b->f, "etc/ant", "AA", 2);
    fw_cfg_add_file(b->f, "etc/zoo", "zzzz", 4); /* replaces */
    take(b, FW_CFG_FILE_DIR, dir, sizeof(dir));
    g_assert_cmpmem(dir, 12, "\0\0\0\2\0\0\0\2\0\x20\0\0", 12);
    g_assert_cmpstr((char *)dir + 12, ==, "etc/ant");
    g_assert_cmpmem(dir + 68, 8, "\0\0\0\4\0\x21\0\0", 8);
    g_assert_cmpstr((char *)dir + 76, ==, "etc/zoo");
    take(b, 0x21, buf, 4);
    g_assert_cmpmem(buf, 4, "zzzz", 4);
    board_free(b);
}

static void test_dma_reads_and_skips(void)
{
    struct board *b = board_new();
    char buf[8] = "";
    fw_cfg_add_file(b->f, "x", "0123456789", 10);
    g_assert_cmphex(io_space_read(b->pio, 0x514, 4), ==, GUINT32_TO_BE(0x51454d55));
    g_assert_cmphex(dma(b, 0x20u << 16 | 8 | 4, 3, 0), ==, 0); /* select, skip 3 */
    g_assert_cmphex(dma(b, 2, 4, 0x2000), ==, 0);
    guest_mem_read(b->mem, GPA(0x2000), buf, 4);
    g_assert_cmpmem(buf, 4, "3456", 4);
    g_assert_cmphex(dma(b, 2, 8, 0x2000), ==, 0); /* past the end: zeros */
    guest_mem_read(b->mem, GPA(0x2000), buf, 8);
    g_assert_cmpmem(buf, 8, "789\0\0\0\0\0", 8);
    board_free(b);
}

static void test_hostile_dma_fails_and_ends(void)
{
    struct board *b = board_new();
    g_assert_cmphex(dma(b, 0x00u << 16 | 8 | 2, UINT32_MAX, 0x2000), ==, 1);
    g_assert_cmphex(dma(b, 0x00u << 16 | 8 | 2, 4, MiB - 2), ==, 1);
    g_assert_cmphex(dma(b, 0x00u << 16 | 8 | 2, 4, UINT64_MAX - 1), ==, 1);
    g_assert_cmphex(dma(b, 0x00u << 16 | 8 | 16, 4, 0x2000), ==, 1); /* no item takes writes */
    g_assert_cmphex(dma(b, 0x00u << 16 | 8 | 4, UINT32_MAX, 0), ==, 0);
    g_assert_cmphex(dma(b, 2, 4, 0x2000), ==, 0); /* the cursor stopped at the end */
    io_space_write(b->pio, 0x514, 4, 0xffffffff); /* command outside memory: nothing happens */
    io_space_write(b->pio, 0x518, 4, 0xffffffff);
    io_space_write(b->pio, 0x514, 8, UINT64_MAX);
    board_free(b);
}

static void test_part_of_a_file_is_read_when_asked_for(void)
{
    struct board *b = board_new();
    g_autofree char *path = NULL;
    char buf[8] = "";
    int fd = g_file_open_tmp("fw_cfg-XXXXXX", &path, NULL);
    g_assert_cmpint(write(fd, "0123456789", 10), ==, 10);
    fw_cfg_add_part(b->f, FW_CFG_KERNEL_DATA, fd, 2, 8);
    take(b, FW_CFG_KERNEL_DATA, buf, 3);
    g_assert_cmpmem(buf, 3, "234", 3);
    g_assert_cmphex(dma(b, 2, 8, 0x2000), ==, 0); /* goes on, and past the end: zeros */
    guest_mem_read(b->mem, GPA(0x2000), buf, 8);
    g_assert_cmpmem(buf, 8, "56789\0\0\0", 8);
    g_assert_cmpint(ftruncate(fd, 4), ==, 0);
    g_assert_cmphex(dma(b, FW_CFG_KERNEL_DATA << 16 | 8 | 2, 8, 0x2000), ==, 1);
    take(b, FW_CFG_KERNEL_DATA, buf, 4);
    g_assert_cmpmem(buf, 4, "23\0\0", 4);
    close(fd);
    g_unlink(path);
    board_free(b);
}

static void test_state_keeps_the_cursor(void)
{
    struct board *b = board_new(), *to = board_new();
    struct state_writer *w = state_writer_new();
    uint8_t buf[2];
    size_t len;
    take(b, FW_CFG_SIGNATURE, buf, 2);
    device_list_save(&b->devices, w);
    const uint8_t *data = state_writer_data(w, &len);
    struct state_reader *r = state_reader_new(data, len, NULL);
    g_assert_true(device_list_load(&to->devices, r, NULL));
    g_assert_cmpint(io_space_read(to->pio, 0x511, 1), ==, 'M');
    state_reader_free(r);
    state_writer_free(w);
    device_list_reset(&to->devices);
    g_assert_cmpint(io_space_read(to->pio, 0x511, 1), ==, 'Q');
    board_free(b);
    board_free(to);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fw_cfg/items", test_items_by_port);
    g_test_add_func("/fw_cfg/directory", test_directory_is_sorted_and_has_keys);
    g_test_add_func("/fw_cfg/dma", test_dma_reads_and_skips);
    g_test_add_func("/fw_cfg/dma-hostile", test_hostile_dma_fails_and_ends);
    g_test_add_func("/fw_cfg/part-of-a-file", test_part_of_a_file_is_read_when_asked_for);
    g_test_add_func("/fw_cfg/state", test_state_keeps_the_cursor);
    return g_test_run();
}
