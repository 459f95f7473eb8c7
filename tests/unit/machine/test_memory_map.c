/* Memory map: RAM accounted for to the byte, no overlaps, AMD's hole empty, from 2 MiB to 1 TiB. */
#include "base/util.h"
#include "memory_map.h"

#include <glib.h>

#define HT_BASE UINT64_C(0xfd00000000)
#define HT_END  UINT64_C(0x10000000000)

static const uint64_t sizes[] = {
    2 * MiB, 128 * MiB, 0xb0000000 - 4096,        0xb0000000,        3 * GiB,
    8 * GiB, 60 * GiB,  HT_BASE - 2 * GiB - 4096, HT_BASE - 2 * GiB, HT_BASE,
    TiB,     2 * TiB};

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a_size && b_size && a < b + b_size && b < a + a_size;
}

static void check_map(const struct memory_map *m, uint64_t ram)
{
    const struct acpi_range parts[] = {{0, m->low_bytes}, {m->high_base, m->high_bytes},
                                       m->ecam,           m->pci32,
                                       m->pci64,          {0xfec00000, 0x1400000}};
    g_assert_cmphex(m->low_bytes + m->high_bytes, ==, ram);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        for (size_t k = i + 1; k < ARRAY_SIZE(parts); k++)
            g_assert_false(
                overlap(parts[i].base, parts[i].size_bytes, parts[k].base, parts[k].size_bytes));
        if (parts[i].size_bytes)
            g_assert_cmphex(parts[i].base + parts[i].size_bytes - 1, <=,
                            MAX_OF(m->highest_gpa, UINT64_C(0xffffffff)));
        if (m->amd)
            g_assert_false(overlap(parts[i].base, parts[i].size_bytes, HT_BASE, HT_END - HT_BASE));
    }
}

static void check_e820(const struct memory_map *m, uint64_t ram)
{
    struct e820_entry e[E820_MAX];
    uint64_t usable = m->low_bytes - 64 * KiB, total = 0, end = 0;
    unsigned n = memory_map_e820(m, usable, e);
    g_assert_cmpuint(n, <=, E820_MAX);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmphex(e[i].base, >=, end);
        g_assert_cmphex(e[i].size_bytes, >, 0);
        end = e[i].base + e[i].size_bytes;
        if (e[i].type == E820_RAM)
            total += e[i].size_bytes;
    }
    /* Usable: all but the tables, the EBDA, and what hides behind VGA and BIOS. */
    g_assert_cmphex(total, ==, ram - 64 * KiB - (MiB - 0x9fc00));
}

static void test_every_size(gconstpointer amd)
{
    for (size_t i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
        struct memory_map m;
        uint64_t size = sizes[i / 2];
        g_test_message("%llu MiB", size / MiB);
        g_assert_true((i % 2 ? memory_map_plan_pc : memory_map_plan)(size, amd != NULL, &m, NULL));
        check_map(&m, size);
        check_e820(&m, size);
    }
}

static void test_split_is_where_a_q35_has_it(void)
{
    struct memory_map m;
    g_assert_true(memory_map_plan(0xb0000000 - 4096, false, &m, NULL));
    g_assert_cmphex(m.high_bytes, ==, 0);
    g_assert_true(memory_map_plan(0xb0000000, false, &m, NULL));
    g_assert_cmphex(m.low_bytes, ==, 0x80000000);
    g_assert_cmphex(m.high_base, ==, 4 * GiB);
    g_assert_cmphex(m.high_bytes, ==, 0x30000000);
}

/* Where SeaBIOS begins the window, too: the tables say it before firmware does it. */
static void test_window_of_a_pc_begins_above_its_memory(void)
{
    static const struct {
        uint64_t ram, low, window;
    } rows[] = {
        {128 * MiB, 128 * MiB, 2 * GiB},         {2 * GiB, 2 * GiB, 2 * GiB},
        {2 * GiB + MiB, 2 * GiB + MiB, 3 * GiB}, {0xe0000000 - MiB, 0xe0000000 - MiB, 0xe0000000},
        {0xe0000000, 3 * GiB, 3 * GiB},          {8 * GiB, 3 * GiB, 3 * GiB}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct memory_map m;
        g_assert_true(memory_map_plan_pc(rows[i].ram, false, &m, NULL));
        g_assert_cmphex(m.low_bytes, ==, rows[i].low);
        g_assert_cmphex(m.pci32.base, ==, rows[i].window);
        g_assert_cmphex(m.ecam.size_bytes, ==, 0);
    }
}

static void test_amd_moves_high_memory_above_the_hole(void)
{
    struct memory_map m;
    uint64_t last_that_fits = HT_BASE - 4 * GiB + 2 * GiB;
    g_assert_true(memory_map_plan(last_that_fits, true, &m, NULL));
    g_assert_cmphex(m.high_base, ==, 4 * GiB);
    g_assert_cmphex(m.pci64.base, >=, HT_END);
    g_assert_true(memory_map_plan(last_that_fits + 4096, true, &m, NULL));
    g_assert_cmphex(m.high_base, ==, HT_END);
    g_assert_true(memory_map_plan(last_that_fits + 4096, false, &m, NULL));
    g_assert_cmphex(m.high_base, ==, 4 * GiB);
}

static void test_small_machines_need_few_address_bits(void)
{
    struct memory_map m;
    g_assert_true(memory_map_plan(8 * GiB, false, &m, NULL));
    g_assert_cmphex(m.highest_gpa, <, UINT64_C(1) << 36);
}

static void test_nonsense_is_refused(void)
{
    struct memory_map m;
    GError *err = NULL;
    g_assert_false(memory_map_plan(0, false, &m, &err));
    g_clear_error(&err);
    g_assert_false(memory_map_plan(64 * MiB + 1, false, &m, &err));
    g_clear_error(&err);
    g_assert_false(memory_map_plan(UINT64_MAX & ~UINT64_C(4095), false, &m, &err));
    g_assert_nonnull(strstr(err->message, "at most"));
    g_clear_error(&err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/memory_map/intel", NULL, test_every_size);
    g_test_add_data_func("/memory_map/amd", "amd", test_every_size);
    g_test_add_func("/memory_map/split", test_split_is_where_a_q35_has_it);
    g_test_add_func("/memory_map/pc", test_window_of_a_pc_begins_above_its_memory);
    g_test_add_func("/memory_map/amd-hole", test_amd_moves_high_memory_above_the_hole);
    g_test_add_func("/memory_map/few-bits", test_small_machines_need_few_address_bits);
    g_test_add_func("/memory_map/nonsense", test_nonsense_is_refused);
    return g_test_run();
}
