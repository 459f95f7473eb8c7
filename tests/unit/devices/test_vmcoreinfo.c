/* What a guest says of its crash notes: written by fw_cfg's DMA, kept, saved, gone after a reset.
 */
#include "devices/vmcoreinfo.h"
#include "fixture.h"
#include "mem/guest_mem.h"

enum { RAM = 1 << 20, COMMAND = 0x100, AT = 0x200, FILE_KEY = 0x20, BYTES = 16 };
enum { DMA_ERROR = 1, DMA_SELECT = 8, DMA_WRITE = 16 };

struct board {
    struct fixture *f;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct fw_cfg *fw_cfg;
};

static void up(struct board *b, gconstpointer data)
{
    b->f = fixture_new();
    b->mem = guest_mem_new();
    b->ram = ram_block_new("ram", RAM, false, false, NULL);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, RAM, GUEST_RAM);
    b->fw_cfg = fw_cfg_new(&b->f->devices, b->f->pio, b->mem);
    vmcoreinfo_new(&b->f->devices, b->fw_cfg, "notes");
}

static void down(struct board *b, gconstpointer data)
{
    fixture_free(b->f);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
}

static uint32_t dma_write(struct board *b, uint32_t len)
{
    uint8_t *ram = ram_block_host(b->ram);
    const uint32_t words[] = {FILE_KEY << 16 | DMA_SELECT | DMA_WRITE, len, 0, AT};
    uint32_t left;

    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        uint32_t be = GUINT32_TO_BE(words[i]);
        memcpy(ram + COMMAND + 4 * i, &be, 4);
    }
    io_space_write(b->f->pio, 0x518, 4, GUINT32_TO_BE(COMMAND));
    memcpy(&left, ram + COMMAND, 4);
    return GUINT32_FROM_BE(left);
}

static const uint8_t *file(struct board *b)
{
    size_t len;
    const uint8_t *p = fw_cfg_file(b->fw_cfg, VMCOREINFO_FILE, &len);

    g_assert_nonnull(p);
    g_assert_cmpuint(len, ==, BYTES);
    return p;
}

static void note(struct board *b, uint64_t gpa)
{
    uint8_t *at = (uint8_t *)ram_block_host(b->ram) + AT;

    le16_put(at, 0);
    le16_put(at + 2, 1);
    le32_put(at + 4, 1024);
    le64_put(at + 8, gpa);
}

static void test_written_and_kept(struct board *b, gconstpointer data)
{
    g_assert_cmpuint(le16_get(file(b)), ==, 1); /* the host takes ELF notes */
    g_assert_cmpuint(le16_get(file(b) + 2), ==, 0);
    note(b, 0x12345678);
    g_assert_cmpuint(dma_write(b, BYTES), ==, 0);
    g_assert_cmpuint(le16_get(file(b) + 2), ==, 1);
    g_assert_cmphex(le64_get(file(b) + 8), ==, 0x12345678);
    note(b, 0x9999);
    g_assert_cmpuint(dma_write(b, BYTES + 1), ==, DMA_ERROR); /* longer than the file */
    reset_all(b->f);
    g_assert_cmpuint(le16_get(file(b)), ==, 1);
    g_assert_cmphex(le64_get(file(b) + 8), ==, 0);
    g_assert_cmpuint(dma_write(b, BYTES), ==, 0); /* and can be written again */
    g_assert_cmphex(le64_get(file(b) + 8), ==, 0x9999);
}

static void test_state(struct board *b, gconstpointer data)
{
    struct board other;

    up(&other, NULL);
    note(b, 0xabcd000);
    g_assert_cmpuint(dma_write(b, BYTES), ==, 0);
    check_state_moves(b->f, other.f);
    g_assert_cmphex(le64_get(file(&other) + 8), ==, 0xabcd000);
    down(&other, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/vmcoreinfo/written-and-kept", struct board, NULL, up, test_written_and_kept, down);
    g_test_add("/vmcoreinfo/state", struct board, NULL, up, test_state, down);
    return g_test_run();
}
