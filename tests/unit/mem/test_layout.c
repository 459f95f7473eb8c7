/* Movable parts of the memory map: what comes, what goes, what may not lie where something is. */
#include "base/util.h"
#include "mem/layout.h"

#include <glib.h>

struct board {
    struct guest_mem *m;
    struct ram_block *ram, *rom;
    struct mem_layout a, b;
};

static void board_up(struct board *b, gconstpointer unused)
{
    b->m = guest_mem_new();
    b->ram = ram_block_new("pc.ram", 2 * MiB, false, false, NULL);
    b->rom = ram_block_new("pc.bios", 64 * KiB, false, false, NULL);
    guest_mem_map(b->m, GPA(0), b->ram, 0, 640 * KiB, GUEST_RAM);
    mem_layout_add(b->m, &b->a);
    mem_layout_add(b->m, &b->b);
}

static void board_down(struct board *b, gconstpointer unused)
{
    mem_layout_remove(b->m, &b->a);
    mem_layout_remove(b->m, &b->b);
    guest_mem_free(b->m);
    ram_block_free(b->ram);
    ram_block_free(b->rom);
}

static void test_nothing_moves_before_apply(struct board *b, gconstpointer unused)
{
    struct mem_piece p = {MiB, 64 * KiB, b->ram, MiB, GUEST_RAM};
    g_assert_true(mem_layout_set(&b->a, &p, 1));
    g_assert_false(mem_layout_set(&b->a, &p, 1));
    g_assert_null(guest_mem_find(b->m, GPA(MiB)));
    mem_layouts_apply(b->m);
    const struct guest_region *r = guest_mem_find(b->m, GPA(MiB));
    g_assert_nonnull(r);
    g_assert_true(r->movable);
    mem_layouts_apply(b->m); /* what stays is not taken out and put back */
    g_assert_true(guest_mem_find(b->m, GPA(MiB)) == r);
    g_assert_true(mem_layout_set(&b->a, NULL, 0));
    mem_layouts_apply(b->m);
    g_assert_null(guest_mem_find(b->m, GPA(MiB)));
}

static void test_touching_pieces_are_one_region(struct board *b, gconstpointer unused)
{
    struct mem_piece p[3] = {{MiB, 16 * KiB, b->ram, MiB, GUEST_RAM},
                             {MiB + 16 * KiB, 16 * KiB, b->ram, MiB + 16 * KiB, GUEST_RAM},
                             {MiB + 32 * KiB, 16 * KiB, b->ram, MiB + 32 * KiB, GUEST_ROM}};
    mem_layout_set(&b->a, p, 3);
    mem_layouts_apply(b->m);
    g_assert_cmpuint(guest_mem_find(b->m, GPA(MiB))->size_bytes, ==, 32 * KiB);
    g_assert_cmpint(guest_mem_find(b->m, GPA(MiB + 32 * KiB))->kind, ==, GUEST_ROM);
    g_assert_nonnull(guest_mem_ptr(b->m, GPA(MiB + 15 * KiB), 4 * KiB, true));
}

static void test_two_layouts_swap_places(struct board *b, gconstpointer unused)
{
    struct mem_piece ram = {MiB, 64 * KiB, b->ram, MiB, GUEST_RAM};
    struct mem_piece rom = {2 * MiB, 64 * KiB, b->rom, 0, GUEST_ROM};
    mem_layout_set(&b->a, &ram, 1);
    mem_layout_set(&b->b, &rom, 1);
    mem_layouts_apply(b->m);
    ram.gpa = 2 * MiB;
    rom.gpa = MiB;
    mem_layout_set(&b->a, &ram, 1);
    mem_layout_set(&b->b, &rom, 1);
    mem_layouts_apply(b->m);
    g_assert_cmpint(guest_mem_find(b->m, GPA(MiB))->kind, ==, GUEST_ROM);
    g_assert_cmpint(guest_mem_find(b->m, GPA(2 * MiB))->kind, ==, GUEST_RAM);
}

static void test_what_lies_over_memory_is_not_shown(struct board *b, gconstpointer unused)
{
    struct mem_piece over = {0x90000, 128 * KiB, b->ram, MiB, GUEST_RAM};
    struct mem_piece wraps = {UINT64_MAX - 64 * KiB + 1, 64 * KiB, b->rom, 0, GUEST_ROM};
    mem_layout_set(&b->a, &over, 1);
    mem_layout_set(&b->b, &wraps, 1);
    mem_layouts_apply(b->m);
    g_assert_null(guest_mem_find(b->m, GPA(0xa0000)));
    g_assert_null(guest_mem_find(b->m, GPA(UINT64_MAX)));
    g_assert_false(guest_mem_find(b->m, GPA(0x90000))->movable);
}

static void test_hide_all_then_apply(struct board *b, gconstpointer unused)
{
    struct mem_piece p = {MiB, 64 * KiB, b->ram, MiB, GUEST_RAM};
    mem_layout_set(&b->a, &p, 1);
    mem_layouts_apply(b->m);
    mem_layouts_hide_all(b->m);
    g_assert_null(guest_mem_find(b->m, GPA(MiB)));
    mem_layouts_apply(b->m);
    g_assert_nonnull(guest_mem_find(b->m, GPA(MiB)));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, fn) g_test_add("/layout/" name, struct board, NULL, board_up, fn, board_down)
    TEST("apply", test_nothing_moves_before_apply);
    TEST("join", test_touching_pieces_are_one_region);
    TEST("swap", test_two_layouts_swap_places);
    TEST("overlap", test_what_lies_over_memory_is_not_shown);
    TEST("hide-all", test_hide_all_then_apply);
    return g_test_run();
}
