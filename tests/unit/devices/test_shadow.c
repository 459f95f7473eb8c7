/* The first megabyte: PAM modes of every segment, the firmware image, SMRAM, state. */
#include "devices/shadow.h"
#include "fixture.h"
#include "mem/layout.h"

struct board {
    struct fixture *f;
    struct guest_mem *mem;
    struct ram_block *ram, *bios;
    struct shadow *shadow;
    unsigned changes;
};

static void on_change(void *opaque)
{
    container_of(opaque, struct fixture, req)->resets++;
}

static void board_up(struct board *b, gconstpointer with_bios)
{
    b->f = fixture_new();
    b->f->req.opaque = &b->f->req;
    b->f->req.map_changed = on_change;
    b->mem = guest_mem_new();
    b->ram = ram_block_new("pc.ram", 2 * MiB, false, false, NULL);
    b->bios = with_bios ? ram_block_new("pc.bios", 256 * KiB, false, false, NULL) : NULL;
    for (unsigned i = 0; b->bios && i < 256; i++)
        memset(ram_block_host(b->bios) + i * KiB, (int)i, KiB);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, 640 * KiB, GUEST_RAM);
    b->shadow = shadow_new(&b->f->devices, b->mem, b->f->mmio, b->ram, b->bios, true, &b->f->req);
    reset_all(b->f);
    mem_layouts_apply(b->mem);
}

static void board_down(struct board *b, gconstpointer with_bios)
{
    fixture_free(b->f);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
    ram_block_free(b->bios);
}

static void steer(struct board *b, uint8_t all, bool smram)
{
    uint8_t pam[SHADOW_PAM_COUNT] = {(uint8_t)(all & 0x30), all, all, all, all, all, all};
    shadow_update(b->shadow, pam, smram);
    mem_layouts_apply(b->mem);
}

static int byte_at(struct board *b, uint64_t gpa)
{
    uint8_t v;
    return guest_mem_read(b->mem, GPA(gpa), &v, 1) == 0 ? v : -1;
}

static void test_firmware_lies_in_both_places(struct board *b, gconstpointer unused)
{
    g_assert_cmpint(byte_at(b, 4 * GiB - 256 * KiB), ==, 0);
    g_assert_cmpint(byte_at(b, 4 * GiB - 1), ==, 255);
    g_assert_cmpint(byte_at(b, 0xe0000), ==, 128);
    g_assert_cmpint(byte_at(b, 0xfffff), ==, 255);
    g_assert_cmpint(byte_at(b, 0xc0000), ==, -1);
    g_assert_cmpint(guest_mem_write(b->mem, GPA(0xf0000), "x", 1), !=, 0);
}

static void test_pam_modes(struct board *b, gconstpointer unused)
{
    steer(b, 0x33, false);
    for (uint64_t at = 0xc0000; at < MiB; at += 16 * KiB)
        g_assert_cmpint(guest_mem_write(b->mem, GPA(at), "\x5a", 1), ==, 0);
    steer(b, 0x11, false); /* read only */
    g_assert_cmpint(byte_at(b, 0xc4000), ==, 0x5a);
    g_assert_cmpint(guest_mem_write(b->mem, GPA(0xc4000), "x", 1), !=, 0);
    steer(b, 0, false);
    g_assert_cmpint(byte_at(b, 0xc4000), ==, -1);
    g_assert_cmpint(byte_at(b, 0xf0000), ==, 192);
    /* writes go to RAM while reads show the firmware */
    steer(b, 0x22, false);
    io_space_write(b->f->mmio, 0xf0000, 4, 0x11223344);
    g_assert_cmpint(byte_at(b, 0xf0000), ==, 192);
    steer(b, 0x33, false);
    g_assert_cmpint(byte_at(b, 0xf0000), ==, 0x44);
    steer(b, 0, false);
    io_space_write(b->f->mmio, 0xf0000, 1, 0x99); /* and nowhere in this mode */
    steer(b, 0x33, false);
    g_assert_cmpint(byte_at(b, 0xf0000), ==, 0x44);
}

static void test_each_register_field_steers_its_segment(struct board *b, gconstpointer unused)
{
    for (unsigned seg = 0; seg < 13; seg++) {
        uint8_t pam[SHADOW_PAM_COUNT] = {0};
        uint64_t base = seg == 12 ? 0xf0000 : 0xc0000 + seg * 0x4000ull;
        pam[seg == 12 ? 0 : 1 + seg / 2] = seg == 12 || seg % 2 ? 0x30 : 0x03;
        shadow_update(b->shadow, pam, false);
        mem_layouts_apply(b->mem);
        for (uint64_t at = 0xc0000; at < 0xf0000; at += 0x4000)
            g_assert_cmpint(guest_mem_write(b->mem, GPA(at), "x", 1) == 0, ==, at == base);
        g_assert_cmpint(guest_mem_write(b->mem, GPA(0xfffff), "x", 1) == 0, ==, seg == 12);
    }
}

static void test_smram_opens(struct board *b, gconstpointer unused)
{
    g_assert_cmpint(byte_at(b, 0xa0000), ==, -1);
    steer(b, 0, true);
    g_assert_cmpint(guest_mem_write(b->mem, GPA(0xbffff), "s", 1), ==, 0);
    steer(b, 0, false);
    g_assert_cmpint(byte_at(b, 0xbffff), ==, -1);
}

static void test_only_a_change_stops_the_machine(struct board *b, gconstpointer unused)
{
    int before;
    steer(b, 0x33, false);
    before = b->f->resets;
    steer(b, 0x33, false);
    g_assert_cmpint(b->f->resets, ==, before);
    steer(b, 0x31, false);
    g_assert_cmpint(b->f->resets, ==, before + 1);
}

static void test_hidden_memory_is_saved(struct board *b, gconstpointer with_bios)
{
    struct board other = {0};
    board_up(&other, with_bios);
    steer(b, 0x33, true);
    guest_mem_write(b->mem, GPA(0xa1234), "video", 5);
    guest_mem_write(b->mem, GPA(0xd0000), "shadow", 6);
    steer(b, 0, false);
    check_state_moves(b->f, other.f);
    steer(&other, 0x33, true);
    g_assert_cmpint(byte_at(&other, 0xa1234), ==, 'v');
    g_assert_cmpint(byte_at(&other, 0xd0005), ==, 'w');
    board_down(&other, with_bios);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, fn, bios)                                                                       \
    g_test_add("/shadow/" name, struct board, GINT_TO_POINTER(bios), board_up, fn, board_down)
    TEST("firmware", test_firmware_lies_in_both_places, true);
    TEST("pam", test_pam_modes, true);
    TEST("segments", test_each_register_field_steers_its_segment, false);
    TEST("smram", test_smram_opens, true);
    TEST("changes", test_only_a_change_stops_the_machine, true);
    TEST("state", test_hidden_memory_is_saved, true);
    return g_test_run();
}
