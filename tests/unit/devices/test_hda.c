/* The sound controller by its registers: codecs found, verbs by ring and by hand, streams that
 * move. */
#include "fixture.h"

#include "bus/pci.h"
#include "devices/hda.h"
#include "mem/guest_mem.h"

enum {
    BAR = 0x10000000,
    GSI = 18,
    CORB = 0x1000,
    RIRB = 0x2000,
    LIST = 0x3000,
    POSITIONS = 0x4000,
    SOUND = 0x10000
};

struct board {
    struct fixture *f;
    struct pci_host host;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct pci_dev *hda;
    unsigned corb_wp;
};

static unsigned route(struct pci_host *h, uint8_t slot, unsigned pin)
{
    return GSI;
}

static uint32_t rd(struct board *b, unsigned off, unsigned size)
{
    return (uint32_t)io_space_read(b->f->mmio, BAR + off, size);
}

static void wr(struct board *b, unsigned off, unsigned size, uint32_t v)
{
    io_space_write(b->f->mmio, BAR + off, size, v);
}

static uint8_t *at(struct board *b, unsigned gpa)
{
    return ram_block_host(b->ram) + gpa;
}

static void board_up(struct board *b)
{
    *b = (struct board){.f = fixture_new(), .mem = guest_mem_new()};
    b->ram = ram_block_new("ram", 1 * MiB, false, false, NULL);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, 1 * MiB, GUEST_RAM);
    b->host.route_intx = route;
    pci_host_init(&b->host, &b->f->devices, b->f->pio, b->f->mmio, &b->f->chip, b->mem);
    b->hda = hda_new(b->host.root, PCI_DEVFN(27, 0), false, "s0", HDA_ICH9, b->f->clock, NULL);
    g_assert_true(hda_codec_add(b->hda, HDA_DUPLEX, 0, "c0", NULL));
    g_assert_true(hda_codec_add(b->hda, HDA_OUTPUT, HDA_CODECS, NULL, NULL));
    reset_all(b->f);
    pci_config_write(b->hda, PCI_BAR0, 4, BAR);
    pci_config_write(b->hda, PCI_COMMAND, 2, 6);
}

static void board_down(struct board *b)
{
    device_list_fini(&b->f->devices);
    pci_host_fini(&b->host);
    fixture_free(b->f);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
}

/* Out of reset, rings running, interrupts on. */
static void start(struct board *b)
{
    wr(b, 0x08, 4, 1);
    wr(b, 0x40, 4, CORB);
    wr(b, 0x50, 4, RIRB);
    wr(b, 0x4a, 2, 0x8000);
    g_assert_cmphex(rd(b, 0x4a, 2), ==, 0x8000);
    wr(b, 0x4a, 2, 0);
    g_assert_cmphex(rd(b, 0x4a, 2), ==, 0);
    wr(b, 0x58, 2, 0x8000);
    wr(b, 0x5a, 2, 1);
    wr(b, 0x5c, 1, 3);
    wr(b, 0x4c, 1, 2);
    wr(b, 0x20, 4, 0xc00000ff);
}

static void set_up(struct board *b, gconstpointer unused)
{
    board_up(b);
    start(b);
}

static void tear_down(struct board *b, gconstpointer unused)
{
    board_down(b);
}

/* One verb through the rings. */
static uint32_t ask(struct board *b, unsigned cad, unsigned nid, uint32_t verb)
{
    b->corb_wp = (b->corb_wp + 1) % 256;
    le32_put(at(b, CORB + 4 * b->corb_wp), (uint32_t)cad << 28 | nid << 20 | verb);
    wr(b, 0x48, 2, b->corb_wp);
    g_assert_cmpuint(rd(b, 0x4a, 2), ==, b->corb_wp);
    unsigned wp = rd(b, 0x58, 2);
    g_assert_cmpuint(le32_get(at(b, RIRB + 8 * wp + 4)), ==, cad);
    wr(b, 0x5d, 1, 5);
    return le32_get(at(b, RIRB + 8 * wp));
}

static void test_what_a_driver_finds(struct board *b, gconstpointer unused)
{
    g_assert_cmphex(pci_config_read(b->hda, 0, 4), ==, 0x293e8086);
    g_assert_cmphex(pci_config_read(b->hda, 8, 4) >> 8, ==, 0x040300);
    g_assert_cmphex(rd(b, 0, 2), ==, 0x4401);
    g_assert_cmphex(rd(b, 0x02, 2), ==, 0x0100);
    g_assert_cmphex(rd(b, 0x0e, 2), ==, 3); /* two codecs have spoken up */
    wr(b, 0x0e, 2, 1);
    g_assert_cmphex(rd(b, 0x0e, 2), ==, 2);
    g_assert_cmphex(ask(b, 0, 0, 0xf0000), ==, 0x1af40022);
    g_assert_cmphex(ask(b, 1, 0, 0xf0000), ==, 0x1af40012);
    g_assert_cmphex(ask(b, 0, 0, 0xf0004), ==, 0x00010001);
    g_assert_cmphex(ask(b, 0, 1, 0xf0004), ==, 0x00020004);
    g_assert_cmphex(ask(b, 1, 1, 0xf0004), ==, 0x00020002);
    g_assert_cmphex(ask(b, 0, 1, 0xf0005), ==, 1);
    g_assert_cmphex(ask(b, 0, 3, 0xf0200), ==, 2);
    g_assert_cmphex(ask(b, 0, 3, 0xf1c00), ==, 0x01014010);
    g_assert_cmphex(ask(b, 0, 99, 0xf0009), ==, 0);
}

static void test_verbs_are_kept(struct board *b, gconstpointer unused)
{
    ask(b, 0, 2, 0x24011);
    g_assert_cmphex(ask(b, 0, 2, 0xa0000), ==, 0x4011);
    ask(b, 0, 2, 0x3b000 | 0x25);
    g_assert_cmphex(ask(b, 0, 2, 0xba000), ==, 0x25);
    ask(b, 0, 2, 0x70650);
    g_assert_cmphex(ask(b, 0, 2, 0xf0600), ==, 0x50);
    ask(b, 0, 1, 0x70503);
    g_assert_cmphex(ask(b, 0, 1, 0xf0500), ==, 0x33);
    ask(b, 0, 3, 0x71e77);
    g_assert_cmphex(ask(b, 0, 3, 0xf1c00), ==, 0x01774010);
    ask(b, 0, 1, 0x7ff00);
    g_assert_cmphex(ask(b, 0, 2, 0xa0000), ==, 0);
}

static void test_interrupt_and_immediate(struct board *b, gconstpointer unused)
{
    le32_put(at(b, CORB + 4), 0xf0000);
    wr(b, 0x48, 2, 1);
    g_assert_true(b->f->level[GSI]);
    g_assert_cmphex(rd(b, 0x24, 4), ==, 0xc0000000);
    wr(b, 0x5d, 1, 1);
    g_assert_false(b->f->level[GSI]);
    /* an address where nobody is: no response */
    le32_put(at(b, CORB + 8), 0xe00f0000);
    wr(b, 0x48, 2, 2);
    g_assert_cmpuint(rd(b, 0x58, 2), ==, 1);
    wr(b, 0x60, 4, 0x000f0004);
    wr(b, 0x68, 2, 1);
    g_assert_cmphex(rd(b, 0x68, 2), ==, 2);
    g_assert_cmphex(rd(b, 0x64, 4), ==, 0x00010001);
}

/* Two buffers of 4800 bytes at 48 kHz, stereo, 16 bits: 25 ms each. */
static void play(struct board *b, unsigned stream)
{
    unsigned sd = 0x80 + 0x20 * stream;

    for (unsigned i = 0; i < 2; i++) {
        le64_put(at(b, LIST + 16 * i), SOUND + 4800 * i);
        le32_put(at(b, LIST + 16 * i + 8), 4800);
        le32_put(at(b, LIST + 16 * i + 12), 1);
    }
    memset(at(b, SOUND), 0x55, 9600);
    wr(b, 0x70, 4, POSITIONS | 1);
    wr(b, sd + 0x08, 4, 9600);
    wr(b, sd + 0x0c, 2, 1);
    wr(b, sd + 0x12, 2, 0x0011);
    wr(b, sd + 0x18, 4, LIST);
    wr(b, sd, 4, 0x00100006);
}

static void run_until(struct board *b, unsigned sd)
{
    vm_clock_start(b->f->clock);
    for (int i = 0; i < 20000 && !(rd(b, sd + 3, 1) & 4); i++) {
        g_main_context_iteration(NULL, false);
        g_usleep(500);
    }
    vm_clock_stop(b->f->clock);
    g_assert_cmphex(rd(b, sd + 3, 1) & 4, ==, 4);
}

static void test_playing_moves_on(struct board *b, gconstpointer unused)
{
    unsigned sd = 0x80 + 0x20 * 4;

    play(b, 4);
    clock_to(b->f, vm_clock_ns(b->f->clock) + 10000000);
    g_assert_cmpuint(rd(b, sd + 4, 4), ==, 1920); /* 10 ms */
    run_until(b, sd);
    g_assert_true(b->f->level[GSI]);
    g_assert_cmphex(rd(b, 0x24, 4) & 0xff, ==, 0x10);
    g_assert_cmpuint(le32_get(at(b, POSITIONS + 8 * 4)), <, 9600);
    g_assert_cmphex(at(b, SOUND)[0], ==, 0x55); /* played, not changed */
    wr(b, sd + 3, 1, 4);
    g_assert_false(b->f->level[GSI]);
    wr(b, sd, 4, 0);
    unsigned stands = rd(b, sd + 4, 4);
    clock_to(b->f, vm_clock_ns(b->f->clock) + 1000000000);
    g_assert_cmpuint(rd(b, sd + 4, 4), ==, stands);
    wr(b, sd, 1, 1); /* stream reset */
    g_assert_cmphex(rd(b, sd, 1), ==, 1);
    g_assert_cmpuint(rd(b, sd + 8, 4), ==, 0);
}

static void test_recording_is_silence(struct board *b, gconstpointer unused)
{
    play(b, 0);
    run_until(b, 0x80);
    for (unsigned i = 0; i < 4800; i++)
        g_assert_cmphex(at(b, SOUND)[i], ==, 0);
}

/* Lists that are nowhere, empty or without end; rings that are not RAM. */
static void test_hostile_driver(struct board *b, gconstpointer unused)
{
    for (unsigned s = 0; s < 8; s++) {
        unsigned sd = 0x80 + 0x20 * s;
        wr(b, sd + 0x08, 4, s & 1 ? 1 : UINT32_MAX);
        wr(b, sd + 0x0c, 2, 0xffff);
        wr(b, sd + 0x12, 2, 0xffff);
        wr(b, sd + 0x18, 4, s & 2 ? 0xfffffff0 : LIST); /* a list of zeroes */
        wr(b, sd, 4, 0x001fff1e);
    }
    vm_clock_start(b->f->clock);
    for (int i = 0; i < 50; i++) {
        g_main_context_iteration(NULL, false);
        g_usleep(500);
    }
    vm_clock_stop(b->f->clock);
    wr(b, 0x40, 4, 0xfffffff0);
    wr(b, 0x50, 4, 0xfffffff0);
    wr(b, 0x48, 2, 200);
    for (unsigned off = 0; off < 0x200; off += 4) {
        wr(b, off, 4, 0xa5a5a5a5);
        rd(b, off, 4);
    }
    wr(b, 0x08, 4, 0);
    b->corb_wp = 0;
    start(b);
    g_assert_cmphex(ask(b, 0, 0, 0xf0000), ==, 0x1af40022);
}

static void test_state_moves(struct board *b, gconstpointer unused)
{
    struct board other;

    board_up(&other);
    ask(b, 0, 2, 0x24011);
    play(b, 4);
    check_state_moves(b->f, other.f);
    clock_to(other.f, vm_clock_ns(b->f->clock) + 10000000);
    g_assert_cmpuint(rd(&other, 0x104, 4), ==, 1920);
    board_down(&other);
}

static void poke(struct fixture *f)
{
    for (unsigned off = 0; off < 0x180; off += 4)
        io_space_read(f->mmio, BAR + off, 4);
    g_main_context_iteration(NULL, false);
}

static void test_hostile_state(struct board *b, gconstpointer unused)
{
    play(b, 0);
    check_state_hostile(b->f, poke);
}

static void test_addresses_are_checked(struct board *b, gconstpointer unused)
{
    GError *err = NULL;

    g_assert_false(hda_codec_add(b->hda, HDA_MICRO, 0, NULL, &err));
    g_clear_error(&err);
    g_assert_false(hda_codec_add(b->hda, HDA_MICRO, 16, NULL, &err));
    g_clear_error(&err);
    g_assert_true(hda_codec_add(b->hda, HDA_MICRO, 14, NULL, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name, fn) g_test_add("/hda/" name, struct board, NULL, set_up, fn, tear_down)
    T("what-a-driver-finds", test_what_a_driver_finds);
    T("verbs", test_verbs_are_kept);
    T("interrupt-and-immediate", test_interrupt_and_immediate);
    T("playing", test_playing_moves_on);
    T("recording", test_recording_is_silence);
    T("hostile-driver", test_hostile_driver);
    T("state-moves", test_state_moves);
    T("hostile-state", test_hostile_state);
    T("addresses", test_addresses_are_checked);
    return g_test_run();
}
