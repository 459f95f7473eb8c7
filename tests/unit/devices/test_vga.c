/* The VGA card by its registers and its picture: text, planes, 256 colours, linear depths, state.
 */
#include "bus/pci.h"
#include "devices/vga.h"
#include "display/console.h"
#include "fixture.h"
#include "mem/layout.h"

enum { LFB = 0x20000000, REGS = 0x30000000, VRAM = 1 << 20 };

struct board {
    struct fixture *f;
    struct pci_host host;
    struct guest_mem *mem;
    struct pci_dev *dev;
};

static unsigned route(struct pci_host *h, uint8_t slot, unsigned pin)
{
    return 16;
}

enum { WATCHED = 1, NO_VGA };

static void up(struct board *b, gconstpointer kind)
{
    struct vga_config cfg = {.vram_bytes = VRAM,
                             .width = 1152,
                             .height = 864,
                             .watched = GPOINTER_TO_INT(kind) == WATCHED,
                             .no_vga = GPOINTER_TO_INT(kind) == NO_VGA};
    b->f = fixture_new();
    b->mem = guest_mem_new();
    b->host.route_intx = route;
    pci_host_init(&b->host, &b->f->devices, b->f->pio, b->f->mmio, &b->f->chip, b->mem);
    cfg.req = &b->f->req;
    b->dev = vga_new(b->host.root, PCI_DEVFN(1, 0), &cfg, NULL);
    reset_all(b->f);
    pci_config_write(b->dev, 0x10, 4, LFB);
    pci_config_write(b->dev, 0x18, 4, REGS);
    pci_config_write(b->dev, PCI_COMMAND, 2, 3);
    mem_layouts_apply(b->mem);
}

static void down(struct board *b, gconstpointer watched)
{
    b->dev->dev.ops->destroy(&b->dev->dev);
    pci_host_fini(&b->host);
    fixture_free(b->f);
    guest_mem_free(b->mem);
}

static void indexed(struct board *b, uint16_t port, uint8_t index, uint8_t val)
{
    io_space_write(b->f->pio, port, 2, (uint16_t)(val << 8 | index));
}

static void attr(struct board *b, uint8_t index, uint8_t val)
{
    inb(b->f, 0x3da);
    outb(b->f, 0x3c0, index);
    outb(b->f, 0x3c0, val);
}

static void dispi(struct board *b, uint16_t index, uint16_t val)
{
    io_space_write(b->f->pio, 0x1ce, 2, index);
    io_space_write(b->f->pio, 0x1cf, 2, val);
}

static uint16_t dispi_get(struct board *b, uint16_t index)
{
    io_space_write(b->f->pio, 0x1ce, 2, index);
    return (uint16_t)io_space_read(b->f->pio, 0x1cf, 2);
}

static void color(struct board *b, uint8_t i, uint8_t r, uint8_t g, uint8_t bl)
{
    outb(b->f, 0x3c8, i);
    outb(b->f, 0x3c9, r);
    outb(b->f, 0x3c9, g);
    outb(b->f, 0x3c9, bl);
}

static uint32_t dot(unsigned x, unsigned y)
{
    const struct surface *s = console_surface(console_first());
    g_assert_cmpuint(x, <, s->width);
    g_assert_cmpuint(y, <, s->height);
    return s->pixels[y * s->width + x];
}

static void draw(void)
{
    console_refresh(console_first(), false);
}

/* 80 x 25 cells of 8 x 16, an identity palette, plane access as a BIOS leaves it. */
static void text_mode(struct board *b)
{
    outb(b->f, 0x3c2, 0x67);
    indexed(b, 0x3c4, 1, 0x01);
    indexed(b, 0x3c4, 2, 0x03);
    indexed(b, 0x3c4, 4, 0x02);
    indexed(b, 0x3ce, 5, 0x10);
    indexed(b, 0x3ce, 6, 0x0e);
    indexed(b, 0x3ce, 8, 0xff);
    indexed(b, 0x3d4, 0x11, 0);
    indexed(b, 0x3d4, 1, 79);
    indexed(b, 0x3d4, 7, 0x02);
    indexed(b, 0x3d4, 9, 0x0f);
    indexed(b, 0x3d4, 0x0a, 0x20);
    indexed(b, 0x3d4, 0x12, 0x8f);
    indexed(b, 0x3d4, 0x13, 40);
    for (uint8_t i = 0; i < 16; i++) {
        attr(b, i, i);
        color(b, i, i * 4, 63 - i * 4, i);
    }
    inb(b->f, 0x3da);
    outb(b->f, 0x3c0, 0x20);
    /* a glyph for 'X' (0x58): only its first line is set; into plane 2, as a BIOS loads fonts */
    indexed(b, 0x3c4, 2, 0x04);
    indexed(b, 0x3c4, 4, 0x06);
    indexed(b, 0x3ce, 5, 0x00);
    indexed(b, 0x3ce, 6, 0x04);
    io_space_write(b->f->mmio, 0xa0000 + 0x58 * 32, 1, 0xf0);
    indexed(b, 0x3c4, 2, 0x03);
    indexed(b, 0x3c4, 4, 0x02);
    indexed(b, 0x3ce, 5, 0x10);
    indexed(b, 0x3ce, 6, 0x0e);
}

static void test_text(struct board *b, gconstpointer unused)
{
    text_mode(b);
    io_space_write(b->f->mmio, 0xb8000 + 2 * (80 + 3), 2, 0x1258); /* row 1, column 3 */
    draw();
    g_assert_cmpuint(console_surface(console_first())->width, ==, 640);
    g_assert_cmpuint(console_surface(console_first())->height, ==, 400);
    uint32_t fg = dot(24, 16), bg = dot(28, 16);
    g_assert_cmphex(fg >> 16, ==, 0x20); /* the red of colour 2 */
    g_assert_cmphex(bg >> 16, ==, 0x10); /* colour 1 */
    g_assert_cmphex(dot(24, 17), ==, bg);
    g_assert_cmphex(dot(23, 16), !=, bg);
    g_assert_cmphex(io_space_read(b->f->mmio, 0xb8000 + 2 * (80 + 3), 2), ==, 0x1258);
    /* a change of one cell redraws it; a new palette redraws all */
    io_space_write(b->f->mmio, 0xb8000 + 2 * (80 + 3), 1, 0x20);
    draw();
    g_assert_cmphex(dot(24, 16), ==, bg);
    color(b, 1, 63, 0, 0);
    draw();
    g_assert_cmphex(dot(24, 16), ==, 0xff0000);
}

static void test_write_modes_and_latches(struct board *b, gconstpointer unused)
{
    struct fixture *f = b->f;
    outb(f, 0x3c2, 0x67);
    indexed(b, 0x3ce, 6, 0x05);
    indexed(b, 0x3c4, 4, 0x06);
    indexed(b, 0x3c4, 2, 0x0f);
    indexed(b, 0x3ce, 8, 0xff);
    io_space_write(f->mmio, 0xa0010, 1, 0x0f); /* mode 0: all planes */
    indexed(b, 0x3ce, 0, 0x05);
    indexed(b, 0x3ce, 1, 0x0f);
    io_space_write(f->mmio, 0xa0011, 1, 0); /* set/reset: planes 0 and 2 */
    indexed(b, 0x3ce, 1, 0);
    for (uint8_t p = 0; p < 4; p++) {
        indexed(b, 0x3ce, 4, p);
        g_assert_cmphex(io_space_read(f->mmio, 0xa0010, 1), ==, 0x0f);
        g_assert_cmphex(io_space_read(f->mmio, 0xa0011, 1), ==, p % 2 ? 0 : 0xff);
    }
    io_space_read(f->mmio, 0xa0011, 1); /* latches */
    indexed(b, 0x3ce, 5, 1);
    io_space_write(f->mmio, 0xa0020, 1, 0x77); /* mode 1 copies them */
    indexed(b, 0x3ce, 5, 2);
    indexed(b, 0x3ce, 8, 0xf0);
    io_space_read(f->mmio, 0xa0020, 1);
    io_space_write(f->mmio, 0xa0020, 1, 0x02); /* mode 2: colour 2 in the left half */
    indexed(b, 0x3ce, 5, 8);                   /* read mode 1: where is colour 2? */
    indexed(b, 0x3ce, 2, 2);
    indexed(b, 0x3ce, 7, 0x0f);
    g_assert_cmphex(io_space_read(f->mmio, 0xa0020, 1), ==, 0xf0);
    indexed(b, 0x3ce, 2, 5);
    g_assert_cmphex(io_space_read(f->mmio, 0xa0020, 1), ==, 0x0f);
    indexed(b, 0x3ce, 5, 3); /* mode 3: the data is the mask */
    indexed(b, 0x3ce, 8, 0xff);
    indexed(b, 0x3ce, 0, 0x08);
    io_space_read(f->mmio, 0xa0020, 1);
    io_space_write(f->mmio, 0xa0020, 1, 0x01);
    indexed(b, 0x3ce, 5, 0);
    indexed(b, 0x3ce, 4, 3);
    g_assert_cmphex(io_space_read(f->mmio, 0xa0020, 1), ==, 0x01);
    /* rotate and XOR */
    indexed(b, 0x3ce, 0, 0);
    indexed(b, 0x3ce, 3, 0x18 | 1);
    io_space_read(f->mmio, 0xa0020, 1);
    io_space_write(f->mmio, 0xa0020, 1, 0x03);
    g_assert_cmphex(io_space_read(f->mmio, 0xa0020, 1), ==, 0x80);
}

static void test_windows_and_decoding(struct board *b, gconstpointer unused)
{
    outb(b->f, 0x3c2, 0x67);
    indexed(b, 0x3ce, 6, 0x0c); /* only 0xb8000 */
    g_assert_cmphex(io_space_read(b->f->mmio, 0xa0000, 1), ==, 0xff);
    g_assert_cmphex(io_space_read(b->f->mmio, 0xb0000, 1), ==, 0xff);
    g_assert_cmphex(io_space_read(b->f->mmio, 0xb8000, 1), ==, 0x00);
    g_assert_cmphex(inb(b->f, 0x3b4), ==, 0xff); /* colour: the monochrome address is silent */
    outb(b->f, 0x3c2, 0x66);
    g_assert_cmphex(inb(b->f, 0x3d4), ==, 0xff);
    pci_config_write(b->dev, PCI_COMMAND, 2, 0);
    g_assert_null(io_space_find(b->f->mmio, 0xb8000));
    g_assert_null(io_space_find(b->f->pio, 0x3c0));
}

static void test_mode_13h(struct board *b, gconstpointer unused)
{
    outb(b->f, 0x3c2, 0x63);
    indexed(b, 0x3c4, 2, 0x0f);
    indexed(b, 0x3c4, 4, 0x0e);
    indexed(b, 0x3ce, 5, 0x40);
    indexed(b, 0x3ce, 6, 0x05);
    indexed(b, 0x3d4, 1, 79);
    indexed(b, 0x3d4, 7, 0x02);
    indexed(b, 0x3d4, 9, 0x41);
    indexed(b, 0x3d4, 0x12, 0x8f);
    indexed(b, 0x3d4, 0x13, 40);
    indexed(b, 0x3d4, 0x17, 0xa3);
    indexed(b, 0x3d4, 0x18, 0xff);
    indexed(b, 0x3d4, 7, 0x12);
    inb(b->f, 0x3da);
    outb(b->f, 0x3c0, 0x20);
    color(b, 77, 63, 32, 0);
    io_space_write(b->f->mmio, 0xa0000 + 320 + 5, 1, 77);
    draw();
    g_assert_cmphex(dot(10, 2), ==, 0xff8200);
    g_assert_cmphex(dot(11, 3), ==, 0xff8200);
    g_assert_cmphex(dot(12, 2), ==, 0);
    g_assert_cmphex(dot(10, 4), ==, 0);
}

static void linear(struct board *b, uint16_t w, uint16_t h, uint16_t bpp)
{
    dispi(b, 4, 0);
    dispi(b, 1, w);
    dispi(b, 2, h);
    dispi(b, 3, bpp);
    dispi(b, 4, 0x41);
}

static void test_linear_depths(struct board *b, gconstpointer unused)
{
    static const struct {
        uint16_t bpp;
        uint32_t bytes, rgb;
    } rows[] = {{15, 0x7c1f, 0xff00ff},
                {16, 0x07e0, 0x00ff00},
                {24, 0x123456, 0x123456},
                {32, 0x00abcdef, 0xabcdef}};
    g_assert_cmphex(dispi_get(b, 0), ==, 0xb0c5);
    g_assert_cmpuint(dispi_get(b, 0xa), ==, VRAM / 65536);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned size = (rows[i].bpp + 7) / 8;
        linear(b, 320, 200, rows[i].bpp);
        guest_mem_write(b->mem, GPA(LFB + size * (320 * 7 + 9)), &rows[i].bytes, size);
        draw();
        g_assert_cmpuint(console_surface(console_first())->width, ==, 320);
        g_assert_cmphex(dot(9, 7), ==, rows[i].rgb);
        g_assert_cmphex(dot(8, 7), ==, 0);
    }
    linear(b, 320, 200, 8);
    dispi(b, 4, 0x61); /* 8-bit palette */
    color(b, 200, 1, 2, 3);
    guest_mem_write(b->mem, GPA(LFB + 3), "\xc8", 1);
    draw();
    g_assert_cmphex(dot(3, 0), ==, 0x010203);
    /* panning, and the same memory through the window */
    dispi(b, 9, 5);
    io_space_write(b->f->mmio, 0xa0000 + 320 * 5 + 1, 1, 200);
    draw();
    g_assert_cmphex(dot(1, 0), ==, 0x010203);
}

static void test_geometry_stays_in_memory(struct board *b, gconstpointer unused)
{
    linear(b, 65535, 65535, 32);
    draw();
    g_assert_cmpuint(dispi_get(b, 1) * dispi_get(b, 2) * 4u, <=, VRAM);
    dispi(b, 6, 0xffff);
    dispi(b, 8, 0xffff);
    dispi(b, 9, 0xffff);
    draw();
    for (uint16_t i = 0; i < 20; i++)
        dispi(b, i, 0xffff);
    draw();
    linear(b, 0, 0, 3);
    draw();
    dispi(b, 4, 2); /* what can there be? */
    g_assert_cmpuint(dispi_get(b, 1), >=, 1920);
    g_assert_cmpuint(dispi_get(b, 3), ==, 32);
}

static unsigned changed_lines;
static void count_resized(struct console_viewer *v, const struct surface *s)
{
}
static void count_changed(struct console_viewer *v, const struct surface *s, const struct rect *r)
{
    changed_lines += r->height;
}

static void test_only_dirty_lines_are_drawn(struct board *b, gconstpointer watched)
{
    struct console_viewer v = {count_resized, count_changed, NULL, NULL};
    linear(b, 320, 200, 32);
    draw();
    console_attach(console_first(), &v);
    changed_lines = 0;
    draw();
    g_assert_cmpuint(changed_lines, ==, 0); /* a still screen costs nothing */
    guest_mem_write(b->mem, GPA(LFB + 1280 * 100), "x", 1);
    draw();
    g_assert_cmpuint(changed_lines, >=, 1);
    g_assert_cmpuint(changed_lines, <=, 8); /* one page */
    g_assert_cmphex(dot(0, 100), ==, 'x');
    console_detach(console_first(), &v);
}

static void test_registers_by_memory(struct board *b, gconstpointer unused)
{
    io_space_write(b->f->mmio, REGS + 0x502, 2, 640);
    g_assert_cmpuint(io_space_read(b->f->mmio, REGS + 0x502, 2), ==, 640);
    g_assert_cmpuint(dispi_get(b, 1), ==, 640);
    io_space_write(b->f->mmio, REGS + 0x400 + 4, 1, 2);
    io_space_write(b->f->mmio, REGS + 0x400 + 5, 1, 9);
    outb(b->f, 0x3c4, 2);
    g_assert_cmphex(inb(b->f, 0x3c5), ==, 9);
    g_assert_cmphex(io_space_read(b->f->mmio, REGS + 0x604, 4), ==, 0x1e1e1e1e);
}

static void test_state(struct board *b, gconstpointer watched)
{
    struct board other = {0};
    text_mode(b);
    io_space_write(b->f->mmio, 0xb8000, 2, 0x1258);
    draw();
    uint32_t want = dot(0, 0);
    up(&other, watched);
    check_state_moves(b->f, other.f);
    down(b, watched);
    draw();
    g_assert_cmphex(dot(0, 0), ==, want);
    down(&other, watched);
    memset(b, 0, sizeof(*b));
    up(b, watched); /* for the tear-down */
}

static void poke(struct fixture *f)
{
    for (uint16_t port = 0x3b0; port < 0x3e0; port++)
        outb(f, port, inb(f, port));
    io_space_write(f->mmio, 0xa0000, 8, io_space_read(f->mmio, 0xa0000, 8));
    draw();
}

static void test_hostile_state(struct board *b, gconstpointer watched)
{
    check_state_hostile(b->f, poke);
}

static void test_edid(struct board *b, gconstpointer watched)
{
    uint8_t e[128], sum = 0;

    for (unsigned i = 0; i < sizeof(e); i += 2)
        le16_put(e + i, (uint16_t)io_space_read(b->f->mmio, REGS + i, 2));
    for (unsigned i = 0; i < sizeof(e); i++) {
        g_assert_cmphex(io_space_read(b->f->mmio, REGS + i, 1), ==, e[i]);
        sum = (uint8_t)(sum + e[i]);
    }
    g_assert_cmpuint(sum, ==, 0);
    g_assert_cmphex(le64_get(e), ==, 0x00ffffffffffff00);
    g_assert_cmpuint(e[56] | (e[58] >> 4) << 8, ==, 1152);
    g_assert_cmpuint(e[59] | (e[61] >> 4) << 8, ==, 864);
    g_assert_cmphex(io_space_read(b->f->mmio, REGS + 128, 4), ==, 0);
}

/* bochs-display: memory and display interface by BARs, and nothing where a VGA card is. */
static void test_without_vga(struct board *b, gconstpointer kind)
{
    struct board other = {0};

    g_assert_cmphex(pci_config_read_plain(b->dev, PCI_CLASS, 2), ==, 0x0380);
    g_assert_null(io_space_find(b->f->pio, 0x3c0));
    g_assert_null(io_space_find(b->f->pio, 0x1ce));
    g_assert_null(io_space_find(b->f->mmio, 0xa0000));
    io_space_write(b->f->mmio, REGS + 0x404, 1, 2); /* no VGA registers either */
    g_assert_cmphex(io_space_read(b->f->mmio, REGS + 0x404, 1), ==, 0);
    g_assert_cmphex(io_space_read(b->f->mmio, REGS + 0x500, 2), ==, 0xb0c5);
    guest_mem_write(b->mem, GPA(LFB), "\x11\x22\x33\x00", 4);
    draw();
    g_assert_cmphex(dot(0, 0), ==, 0); /* no mode is set */
    io_space_write(b->f->mmio, REGS + 0x502, 2, 320);
    io_space_write(b->f->mmio, REGS + 0x504, 2, 200);
    io_space_write(b->f->mmio, REGS + 0x506, 2, 32);
    io_space_write(b->f->mmio, REGS + 0x508, 2, 0xc1); /* on, linear, memory kept */
    draw();
    g_assert_cmpuint(console_surface(console_first())->width, ==, 320);
    g_assert_cmpuint(console_surface(console_first())->height, ==, 200);
    g_assert_cmphex(dot(0, 0), ==, 0x332211);
    up(&other, kind);
    check_state_moves(b->f, other.f);
    down(b, kind);
    draw();
    g_assert_cmphex(dot(0, 0), ==, 0x332211);
    reset_all(other.f);
    draw();
    g_assert_cmphex(dot(0, 0), ==, 0);
    down(&other, kind);
    memset(b, 0, sizeof(*b));
    up(b, kind);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, fn, watched)                                                                    \
    g_test_add("/vga/" name, struct board, GINT_TO_POINTER(watched), up, fn, down)
    TEST("text", test_text, false);
    TEST("planes", test_write_modes_and_latches, false);
    TEST("windows", test_windows_and_decoding, false);
    TEST("mode-13h", test_mode_13h, false);
    TEST("linear", test_linear_depths, false);
    TEST("geometry", test_geometry_stays_in_memory, false);
    TEST("dirty", test_only_dirty_lines_are_drawn, true);
    TEST("mmio", test_registers_by_memory, false);
    TEST("edid", test_edid, false);
    TEST("without-vga", test_without_vga, NO_VGA);
    TEST("state", test_state, false);
    TEST("hostile-state", test_hostile_state, false);
    return g_test_run();
}
