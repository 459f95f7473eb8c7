/* test_stop.c - a guest that does not cooperate still stops, takes its NMI, sleeps for free, and
 * has its stores logged.
 *
 * 16-bit real-mode code at 0x1000 with interrupts off; no devices. */
#include "base/evloop.h"
#include "bus/io.h"
#include "cpu/vcpu.h"
#include "mem/guest_mem.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RAM_BYTES (4u << 20)
#define CODE      0x1000
#define NMI_CODE  0x2000
#define MARK      0x3000
#define SECOND_US 1000000

struct board {
    struct guest_mem *mem;
    struct ram_block *ram;
    struct io_space *pio, *mmio;
    struct vm_clock *clock;
    struct cpu_set *cpus;
};

static void board_make_with(struct board *b, unsigned cpus)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *why = NULL;

    b->mem = guest_mem_new();
    b->ram = ram_block_new("ram", RAM_BYTES, false, false, &err);
    g_assert_no_error(err);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, RAM_BYTES, GUEST_RAM);
    b->pio = io_space_new("pio", 0x10000);
    b->mmio = io_space_new("mmio", 1ull << 52);
    b->clock = vm_clock_new();
    struct cpu_config cfg = {
        .topology =
            {.cpus = cpus, .maxcpus = cpus, .sockets = cpus, .dies = 1, .cores = 1, .threads = 1},
        .highest_gpa = RAM_BYTES - 1,
        .mem = b->mem,
        .pio = b->pio,
        .mmio = b->mmio,
        .clock = b->clock,
    };
    b->cpus = cpu_set_new("jit", &cfg, &why, &err);
    g_assert_no_error(err);
    vm_clock_start(b->clock);
}

static void board_make(struct board *b)
{
    board_make_with(b, 1);
}

static void board_free(struct board *b)
{
    cpu_set_free(b->cpus);
    io_space_free(b->pio);
    io_space_free(b->mmio);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
    vm_clock_free(b->clock);
}

static void start(struct board *b, const uint8_t *code, size_t len)
{
    g_autoptr(GError) err = NULL;
    struct x86_state *st = g_aligned_alloc(1, sizeof(*st), 64);

    guest_mem_write(b->mem, GPA(CODE), code, len);
    vcpu_get_state(cpu_set_get(b->cpus, 0), st);
    for (unsigned i = 0; i < SEG_COUNT; i++) /* big real mode: the long REP walks 4 GiB */
        st->seg[i].limit = UINT32_MAX;
    st->seg[SEG_CS].base = 0;
    st->seg[SEG_CS].sel = 0;
    st->rip = CODE;
    st->rflags = 2;
    st->gpr[R_RSP] = 0x8000;
    vcpu_set_state(cpu_set_get(b->cpus, 0), st, &err);
    g_assert_no_error(err);
    g_aligned_free(st);
    cpu_set_resume(b->cpus);
}

static void pause_quickly(struct board *b)
{
    gint64 before = g_get_monotonic_time();

    cpu_set_pause(b->cpus);
    g_assert_cmpint(g_get_monotonic_time() - before, <, SECOND_US);
}

static const uint8_t spin[] = {0xeb, 0xfe};

/* Walks most of 4 GiB byte by byte, again and again: far more than a second of work. */
static const uint8_t long_rep[] = {0x66, 0x31, 0xf6,                    /* xor esi, esi */
                                   0x66, 0xb9, 0x00, 0x00, 0x00, 0x70,  /* mov ecx, 7<<28 */
                                   0x26, 0x67, 0xf3, 0xac, 0xeb, 0xf1}; /* rep lodsb; jmp */

static void test_spin_stops(void)
{
    struct board b;

    board_make(&b);
    for (unsigned i = 0; i < 20; i++) {
        start(&b, spin, sizeof(spin));
        g_usleep(1000);
        pause_quickly(&b);
    }
    board_free(&b);
}

static void test_long_rep_stops(void)
{
    struct board b;

    board_make(&b);
    start(&b, long_rep, sizeof(long_rep));
    g_usleep(20000);
    pause_quickly(&b);
    board_free(&b);
}

static void test_nmi_reaches_spin(void)
{
    static const uint8_t handler[] = {0xc6, 0x06, 0x00,
                                      0x30, 0x5a, 0xcf}; /* mov [MARK], 5a; iret */
    static const uint8_t ivt[] = {NMI_CODE & 0xff, NMI_CODE >> 8, 0, 0};
    struct board b;
    uint8_t mark = 0;

    board_make(&b);
    guest_mem_write(b.mem, GPA(2 * 4), ivt, sizeof(ivt));
    guest_mem_write(b.mem, GPA(NMI_CODE), handler, sizeof(handler));
    start(&b, spin, sizeof(spin));
    vcpu_nmi(cpu_set_get(b.cpus, 0));
    for (unsigned i = 0; i < 1000 && mark != 0x5a; i++) {
        g_usleep(1000);
        guest_mem_read(b.mem, GPA(MARK), &mark, 1);
    }
    g_assert_cmphex(mark, ==, 0x5a);
    pause_quickly(&b);
    board_free(&b);
}

static void test_reset_ends_spin(void)
{
    struct board b;
    struct x86_state *st = g_aligned_alloc(1, sizeof(*st), 64);

    board_make(&b);
    start(&b, spin, sizeof(spin));
    pause_quickly(&b);
    cpu_set_reset(b.cpus);
    vcpu_get_state(cpu_set_get(b.cpus, 0), st);
    g_assert_cmphex(st->rip, ==, 0xfff0);
    g_assert_cmphex(st->seg[SEG_CS].base, ==, 0xffff0000);
    g_aligned_free(st);
    board_free(&b);
}

/* CPU time of one thread in clock ticks (utime + stime), from its stat line. */
static uint64_t thread_ticks(int tid)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/stat", tid);
    g_autofree char *text = NULL;
    unsigned long user = 0, sys = 0;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    const char *p = strrchr(text, ')');
    g_assert_nonnull(p);
    g_assert_cmpint(
        sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys), ==, 2);
    return user + sys;
}

static void test_halt_costs_nothing(void)
{
    static const uint8_t halt[] = {0xf4, 0xeb, 0xfd};
    struct board b;

    board_make(&b);
    start(&b, halt, sizeof(halt));
    g_usleep(20000);
    g_assert_true(vcpu_halted(cpu_set_get(b.cpus, 0)));
    uint64_t before = thread_ticks(vcpu_tid(cpu_set_get(b.cpus, 0)));
    g_usleep(500000);
    uint64_t used = thread_ticks(vcpu_tid(cpu_set_get(b.cpus, 0))) - before;
    /* Half a second is 50 ticks; an idle thread takes none, but let one straggle in. */
    g_assert_cmpuint(used, <=, 1);
    pause_quickly(&b);
    board_free(&b);
}

static bool keep_first(const struct guest_region *r, void *opaque)
{
    *(const struct guest_region **)opaque = r;
    return false;
}

/* Runs the guest for a moment with the dirty log on; the bits of the first 64 pages. */
static uint64_t run_logged(struct board *b, const struct guest_region *r)
{
    uint64_t bitmap[RAM_BYTES / GUEST_PAGE_SIZE / 64] = {0};

    cpu_set_resume(b->cpus);
    g_usleep(20000);
    pause_quickly(b);
    g_assert_cmpint(guest_mem_dirty_sync(b->mem, r, bitmap, G_N_ELEMENTS(bitmap)), ==, 0);
    return bitmap[0];
}

static void test_stores_are_logged(void)
{
    /* inc word [0x3000]; jmp: the same page all the time, so its translation is warm. */
    static const uint8_t store[] = {0xff, 0x06, 0x00, 0x30, 0xeb, 0xfa};
    const struct guest_region *r = NULL;
    uint64_t bitmap[RAM_BYTES / GUEST_PAGE_SIZE / 64] = {0};
    struct board b;

    board_make(&b);
    guest_mem_foreach(b.mem, keep_first, &r);
    start(&b, store, sizeof(store));
    g_usleep(5000);
    pause_quickly(&b);
    guest_mem_dirty_log(b.mem, true);
    guest_mem_dirty_sync(b.mem, r, bitmap, G_N_ELEMENTS(bitmap));
    for (unsigned i = 0; i < 3; i++) {
        uint64_t bits = run_logged(&b, r);
        g_assert_cmphex(bits, ==, 1u << (MARK >> GUEST_PAGE_SHIFT));
    }
    /* Nothing ran since: nothing is dirty. */
    memset(bitmap, 0, sizeof(bitmap));
    guest_mem_dirty_sync(b.mem, r, bitmap, G_N_ELEMENTS(bitmap));
    g_assert_cmphex(bitmap[0], ==, 0);
    guest_mem_dirty_log(b.mem, false);
    board_free(&b);
}

/* ---- flash: a write to ROM changes what the next instruction may see ---- */

struct flash {
    struct io_region region; /* first */
    struct board *board;
    uint64_t written;
};

static void flash_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct flash *f = (struct flash *)r;
    f->written = val;
    cpu_set_stop_soon(f->board->cpus);
}

/* Runs code that writes once to the flash, on a board of that many processors, until it has
 * stopped; the value written, and where the processor stands. */
static uint64_t run_to_rom_write(unsigned cpus, const uint8_t *code, size_t len, uint64_t *rip)
{
    static const struct io_ops ops = {.write = flash_write};
    struct x86_state *st = g_aligned_alloc(1, sizeof(*st), 64);
    struct ram_block *rom = ram_block_new("rom", 4096, false, false, NULL);
    struct board b;

    board_make_with(&b, cpus);
    struct flash f = {.region = {.ops = &ops, .name = "flash", .size_bytes = 4096}, .board = &b};
    const struct guest_region *r = guest_mem_map(b.mem, GPA(RAM_BYTES), rom, 0, 4096, GUEST_ROM);
    io_space_add(b.mmio, &f.region, RAM_BYTES);
    start(&b, code, len);
    while (!__atomic_load_n(&f.written, __ATOMIC_ACQUIRE))
        g_usleep(1000);
    cpu_set_pause(b.cpus);
    g_assert_cmphex(ram_block_host(rom)[0], ==, 0);
    vcpu_get_state(cpu_set_get(b.cpus, 0), st);
    *rip = st->rip;
    g_aligned_free(st);
    io_space_del(b.mmio, &f.region);
    guest_mem_unmap(b.mem, r);
    board_free(&b);
    ram_block_free(rom);
    return f.written;
}

static void test_a_write_to_rom_is_the_last_before_a_stop(void)
{
    static const uint8_t code[] = {
        0x66, 0xbb, 0x00, 0x00, 0x40, 0x00, /* mov ebx, 0x400000 */
        0x67, 0xc6, 0x03, 0x55,             /* mov byte [ebx], 0x55 */
        0x67, 0x8a, 0x0b, /* mov cl, [ebx]: in the same block, not to be reached */
        0xeb, 0xfe,       /* jmp $ */
    };
    uint64_t rip = 0;

    g_assert_cmphex(run_to_rom_write(1, code, sizeof(code), &rip), ==, 0x55);
    g_assert_cmphex(rip, ==, CODE + 10);
}

/* Beside another processor the locked instruction runs alone, and begins again there. */
static void test_a_locked_write_to_rom_is_no_fault(void)
{
    static const uint8_t code[] = {
        0x66, 0xbb, 0x00, 0x00, 0x40, 0x00,       /* mov ebx, 0x400000 */
        0x67, 0xf0, 0x66, 0x0f, 0xba, 0x2b, 0x03, /* lock bts dword [ebx], 3 */
        0xeb, 0xfe,                               /* jmp $ */
    };

    for (unsigned cpus = 1; cpus <= 2; cpus++) {
        uint64_t rip = 0;
        g_assert_cmphex(run_to_rom_write(cpus, code, sizeof(code), &rip), ==, 8);
        g_assert_cmphex(rip, ==, CODE + 13);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stop/spin", test_spin_stops);
    g_test_add_func("/stop/long-rep", test_long_rep_stops);
    g_test_add_func("/stop/nmi", test_nmi_reaches_spin);
    g_test_add_func("/stop/reset", test_reset_ends_spin);
    g_test_add_func("/stop/idle", test_halt_costs_nothing);
    g_test_add_func("/stop/dirty-log", test_stores_are_logged);
    g_test_add_func("/stop/rom-write", test_a_write_to_rom_is_the_last_before_a_stop);
    g_test_add_func("/stop/locked-rom-write", test_a_locked_write_to_rom_is_no_fault);
    return g_test_run();
}
