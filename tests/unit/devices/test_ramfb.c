/* The picture that firmware keeps in RAM: through fw_cfg's DMA to the screen, changes by line, what
 * is no picture, reset, state. */
#include "devices/ramfb.h"
#include "display/console.h"
#include "fixture.h"
#include "mem/guest_mem.h"

enum { RAM = 1 << 20, COMMAND = 0x100, FILE_AT = 0x200, PIXELS = 0x1000, WIDTH = 32, HEIGHT = 20 };
enum { DMA_ERROR = 1, DMA_SKIP = 4, DMA_SELECT = 8, DMA_READ = 2, DMA_WRITE = 16 };
enum { XR24 = 0x34325258 };

struct board {
    struct fixture *f;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct fw_cfg *fw_cfg;
    struct console_viewer viewer;
    struct rect told; /* of all changes since it was cleared */
    unsigned tellings;
};

static void resized(struct console_viewer *v, const struct surface *s)
{
}

static void changed(struct console_viewer *v, const struct surface *s, const struct rect *r)
{
    struct board *b = container_of(v, struct board, viewer);

    b->told = *r;
    b->tellings++;
}

static void up(struct board *b, gconstpointer data)
{
    b->f = fixture_new();
    b->mem = guest_mem_new();
    b->ram = ram_block_new("ram", RAM, false, false, NULL);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, RAM, GUEST_RAM);
    b->fw_cfg = fw_cfg_new(&b->f->devices, b->f->pio, b->mem);
    ramfb_new(&b->f->devices, b->fw_cfg, b->mem, NULL);
    b->viewer = (struct console_viewer){.resized = resized, .changed = changed};
    console_attach(console_first(), &b->viewer);
}

static void down(struct board *b, gconstpointer data)
{
    console_detach(console_first(), &b->viewer);
    fixture_free(b->f);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
}

static void be32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(p, &v, 4);
}

/* One DMA command; what it leaves in its control word. */
static uint32_t dma(struct board *b, uint32_t control, uint32_t len)
{
    uint8_t *ram = ram_block_host(b->ram);
    uint32_t left;

    be32(ram + COMMAND, control);
    be32(ram + COMMAND + 4, len);
    be32(ram + COMMAND + 8, 0);
    be32(ram + COMMAND + 12, FILE_AT);
    io_space_write(b->f->pio, 0x518, 4, GUINT32_TO_BE(COMMAND));
    memcpy(&left, ram + COMMAND, 4);
    return GUINT32_FROM_BE(left);
}

/* The file is the only one: its key is the first. */
static uint32_t write_file(struct board *b, uint64_t gpa, uint32_t format, unsigned width,
                           unsigned height, uint32_t line_bytes)
{
    uint8_t *at = (uint8_t *)ram_block_host(b->ram) + FILE_AT;
    const uint32_t words[] = {
        (uint32_t)(gpa >> 32), (uint32_t)gpa, format, 0, width, height, line_bytes};

    for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
        be32(at + 4 * i, words[i]);
    return dma(b, 0x20u << 16 | DMA_SELECT | DMA_WRITE, sizeof(words));
}

static uint32_t *pixel(struct board *b, unsigned line_bytes, unsigned x, unsigned y)
{
    return (uint32_t *)(ram_block_host(b->ram) + PIXELS + y * line_bytes) + x;
}

static void look(struct board *b)
{
    b->told = (struct rect){0};
    b->tellings = 0;
    console_refresh(console_first(), false);
}

static void picture_and_changes(struct board *b, gconstpointer data)
{
    const struct surface *s = console_surface(console_first());

    *pixel(b, 256, 3, 2) = 0xff123456; /* the top byte is no color */
    g_assert_cmpuint(write_file(b, PIXELS, XR24, WIDTH, HEIGHT, 256), ==, 0);
    look(b);
    g_assert_cmpuint(s->width, ==, WIDTH);
    g_assert_cmpuint(s->height, ==, HEIGHT);
    g_assert_cmphex(s->pixels[2 * WIDTH + 3], ==, 0x123456);
    g_assert_cmpuint(b->told.height, ==, HEIGHT);
    look(b);
    g_assert_cmpuint(b->tellings, ==, 0); /* a still picture is not told of */
    *pixel(b, 256, 31, 7) = 1;
    *pixel(b, 256, 0, 8) = 2;
    *pixel(b, 256, 40, 9) = 3; /* beside the picture */
    look(b);
    g_assert_cmpuint(b->tellings, ==, 1);
    g_assert_cmpuint(b->told.y, ==, 7);
    g_assert_cmpuint(b->told.height, ==, 2);
    *pixel(b, 256, 5, HEIGHT - 1) = 4;
    look(b);
    g_assert_cmpuint(b->told.y, ==, HEIGHT - 1);
    g_assert_cmphex(s->pixels[(HEIGHT - 1) * WIDTH + 5], ==, 4);
}

static void lines_without_gaps(struct board *b, gconstpointer data)
{
    const struct surface *s = console_surface(console_first());

    *pixel(b, WIDTH * 4, 1, 1) = 9;
    g_assert_cmpuint(write_file(b, PIXELS, XR24, WIDTH, HEIGHT, 0), ==, 0);
    look(b);
    g_assert_cmphex(s->pixels[WIDTH + 1], ==, 9);
}

/* Whatever is written: nothing is read outside RAM, and the screen shows nothing. */
static void what_is_no_picture(struct board *b, gconstpointer data)
{
    static const struct {
        uint64_t gpa;
        uint32_t format, width, height, line_bytes;
    } bad[] = {
        {PIXELS, 0x36314752, WIDTH, HEIGHT, 256}, /* another format */
        {PIXELS, XR24, 0, HEIGHT, 256},
        {PIXELS, XR24, 100000, HEIGHT, 0},
        {PIXELS, XR24, WIDTH, 0x80000000, 256},
        {PIXELS, XR24, WIDTH, HEIGHT, WIDTH * 4 - 4}, /* lines that overlap */
        {PIXELS + 1, XR24, WIDTH, HEIGHT, 256},
        {RAM - 256 * (HEIGHT - 1) - WIDTH * 4 + 4, XR24, WIDTH, HEIGHT, 256}, /* past RAM's end */
        {0xfffffffffffffff0, XR24, WIDTH, HEIGHT, 0xfffffffc},
    };
    const struct surface *s = console_surface(console_first());

    memset(ram_block_host(b->ram) + PIXELS, 0x55, RAM - PIXELS);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        g_assert_cmpuint(write_file(b, PIXELS, XR24, WIDTH, HEIGHT, 256), ==, 0);
        look(b);
        g_assert_cmphex(s->pixels[0], ==, 0x555555);
        g_assert_cmpuint(write_file(b, bad[i].gpa, bad[i].format, bad[i].width, bad[i].height,
                                    bad[i].line_bytes),
                         ==, 0);
        look(b);
        g_assert_cmphex(s->pixels[0], ==, 0);
        g_assert_cmpuint(s->width, ==, WIDTH);
    }
    /* the last place in RAM */
    g_assert_cmpuint(write_file(b, RAM - 256 * (HEIGHT - 1) - WIDTH * 4, XR24, WIDTH, HEIGHT, 256),
                     ==, 0);
    look(b);
    g_assert_cmphex(s->pixels[0], ==, 0x555555);
}

/* Writes beyond the file, and to what cannot be written, are errors and change nothing. */
static void file_bounds(struct board *b, gconstpointer data)
{
    g_assert_cmpuint(write_file(b, PIXELS, XR24, WIDTH, HEIGHT, 0), ==, 0);
    g_assert_cmpuint(dma(b, DMA_WRITE, 1), ==, DMA_ERROR); /* the cursor is at the end */
    g_assert_cmpuint(dma(b, 0x20u << 16 | DMA_SELECT | DMA_WRITE, 29), ==, DMA_ERROR);
    g_assert_cmpuint(dma(b, 0x20u << 16 | DMA_SELECT | DMA_SKIP, 24), ==, 0);
    g_assert_cmpuint(dma(b, DMA_WRITE, 8), ==, DMA_ERROR);
    g_assert_cmpuint(dma(b, DMA_WRITE, 4), ==, 0); /* in pieces is fine */
    g_assert_cmpuint(dma(b, (uint32_t)FW_CFG_ID << 16 | DMA_SELECT | DMA_WRITE, 4), ==, DMA_ERROR);
    g_assert_cmpuint(dma(b, 0x3000u << 16 | DMA_SELECT | DMA_WRITE, 4), ==, DMA_ERROR);
    memset(ram_block_host(b->ram) + FILE_AT, 0, 28);
    g_assert_cmpuint(dma(b, 0x20u << 16 | DMA_SELECT | DMA_READ, 28), ==, 0);
    uint8_t width[4];
    be32(width, WIDTH);
    g_assert_cmpmem(ram_block_host(b->ram) + FILE_AT + 16, 4, width, 4);
}

static void reset_and_state(struct board *b, gconstpointer data)
{
    const struct surface *s = console_surface(console_first());

    *pixel(b, WIDTH * 4, 0, 0) = 7;
    g_assert_cmpuint(write_file(b, PIXELS, XR24, WIDTH, HEIGHT, 0), ==, 0);
    struct state_writer *w = state_writer_new();
    size_t len;
    device_list_save(&b->f->devices, w);
    const uint8_t *bytes = state_writer_data(w, &len);
    reset_all(b->f);
    look(b);
    g_assert_cmphex(s->pixels[0], ==, 0);
    g_assert_cmpuint(dma(b, 0x20u << 16 | DMA_SELECT | DMA_READ, 28), ==, 0);
    for (unsigned i = 0; i < 28; i++)
        g_assert_cmphex(ram_block_host(b->ram)[FILE_AT + i], ==, 0);
    struct state_reader *r = state_reader_new(bytes, len, NULL);
    g_assert_true(device_list_load(&b->f->devices, r, NULL));
    state_reader_free(r);
    state_writer_free(w);
    look(b);
    g_assert_cmphex(s->pixels[0], ==, 7);
}

#define ADD(name) g_test_add("/ramfb/" #name, struct board, NULL, up, name, down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(picture_and_changes);
    ADD(lines_without_gaps);
    ADD(what_is_no_picture);
    ADD(file_bounds);
    ADD(reset_and_state);
    return g_test_run();
}
