/* test_guest.c - runs a self-checking guest (tests/asm) on the software CPU.
 *
 * usage: test_guest IMAGE [CPUS] [CPU-TEXT] [churn] [ACCEL-OPTIONS]
 * ACCEL-OPTIONS: what stands behind "-accel jit,", as tier=jit
 * churn: again and again all vcpus are paused, their state is taken out, the processors are
 * reset, and the state is put back: the guest must not notice.
 * The smallest board that the images need: RAM, COM1, debug port, isa-debug-exit. */
#include "base/evloop.h"
#include "base/props.h"
#include "base/util.h"
#include "bus/io.h"
#include "cpu/vcpu.h"
#include "mem/guest_mem.h"

#include <elf.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>

#define RAM_BYTES    (64u << 20)
#define TIMEOUT_NS   30000000000ull
#define CHURN_NS     100000ull
#define CHURN_MAX_NS 20000000ull
#define VERDICT_NONE 0xffffffff

struct board {
    struct io_region exit_port, debug_port, com1;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct io_space *pio, *mmio;
    struct vm_clock *clock;
    struct cpu_set *cpus;
    GString *text;
    GMutex lock;
    uint32_t verdict; /* under lock */
    bool timed_out;
    struct timer *churn_timer;
    unsigned churns;
    uint64_t churn_ns, seen; /* time until the next; progress() at the last one */
};
static struct board board = {.verdict = VERDICT_NONE};
static const char *image, *cpu_text = "max", *accel_text = "";
static unsigned cpu_count = 1;
static bool with_churn;

static void finish(uint32_t verdict)
{
    g_mutex_lock(&board.lock);
    if (board.verdict == VERDICT_NONE)
        board.verdict = verdict;
    g_mutex_unlock(&board.lock);
    evloop_quit_main();
}

static uint64_t port_read(struct io_region *r, uint64_t off, unsigned size)
{
    return r == &board.com1 && off == 5 ? 0x60 : 0xff;
}

static void port_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    if (r == &board.exit_port) {
        finish((uint32_t)val);
    } else if (r == &board.debug_port) {
        g_mutex_lock(&board.lock);
        g_string_append_c(board.text, (char)val);
        g_mutex_unlock(&board.lock);
    }
}

static const struct io_ops port_ops = {.read = port_read, .write = port_write};

static void add_port(struct io_region *r, const char *name, uint64_t base, uint64_t size)
{
    *r = (struct io_region){.ops = &port_ops, .name = name, .size_bytes = size};
    io_space_add(board.pio, r, base);
}

static void on_triple_fault(void *opaque, unsigned cpu)
{
    g_mutex_lock(&board.lock);
    g_string_append_printf(board.text, "triple fault on vcpu %u\n", cpu);
    g_mutex_unlock(&board.lock);
    finish(2);
}

static void on_internal_error(void *opaque, unsigned cpu, const char *dump)
{
    g_mutex_lock(&board.lock);
    g_string_append(board.text, dump);
    g_mutex_unlock(&board.lock);
    finish(2);
}

static void on_timeout(void *opaque)
{
    board.timed_out = true;
    finish(2);
}

static void board_make(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *why = NULL;
    PROPS_AUTO accel = props_parse(accel_text, NULL, &err);
    g_assert_no_error(err);

    board.text = g_string_new(NULL);
    board.mem = guest_mem_new();
    board.ram = ram_block_new("ram", RAM_BYTES, false, false, &err);
    g_assert_no_error(err);
    guest_mem_map(board.mem, GPA(0), board.ram, 0, RAM_BYTES, GUEST_RAM);
    board.pio = io_space_new("pio", 0x10000);
    board.mmio = io_space_new("mmio", 1ull << 52);
    board.clock = vm_clock_new();
    add_port(&board.exit_port, "isa-debug-exit", 0xf4, 4);
    add_port(&board.debug_port, "debugcon", 0xe9, 1);
    add_port(&board.com1, "com1", 0x3f8, 8);
    struct cpu_config cfg = {
        .topology = {.cpus = cpu_count,
                     .maxcpus = cpu_count,
                     .sockets = 1,
                     .dies = 1,
                     .cores = cpu_count,
                     .threads = 1},
        .cpu_spec = cpu_text,
        .accel_props = accel,
        .highest_gpa = RAM_BYTES - 1,
        .mem = board.mem,
        .pio = board.pio,
        .mmio = board.mmio,
        .clock = board.clock,
        .events = {.triple_fault = on_triple_fault, .internal_error = on_internal_error},
    };
    board.cpus = cpu_set_new("jit", &cfg, &why, &err);
    g_assert_no_error(err);
    g_assert_nonnull(board.cpus);
}

/* Another number when a vcpu has run since the last time. */
static uint64_t progress(const struct x86_state *st)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < cpu_count; i++) {
        sum = sum * 31 + st[i].rip;
        for (unsigned r = 0; r < 16; r++)
            sum = sum * 31 + st[i].gpr[r];
    }
    return sum;
}

/* A busy host may not let a vcpu run at all between two churns; it gets more time then. */
static void churn_later(uint64_t seen)
{
    bool ran = seen != board.seen;

    board.seen = seen;
    board.churn_ns = ran ? CHURN_NS : MIN_OF(board.churn_ns * 2, CHURN_MAX_NS);
    timer_set(board.churn_timer, host_clock_ns() + board.churn_ns);
}

static void churn(void *opaque)
{
    struct x86_state *st = g_aligned_alloc(cpu_count, sizeof(*st), 64);

    vm_clock_stop(board.clock);
    cpu_set_pause(board.cpus);
    for (unsigned i = 0; i < cpu_count; i++)
        vcpu_get_state(cpu_set_get(board.cpus, i), &st[i]);
    cpu_set_reset(board.cpus);
    for (unsigned i = 0; i < cpu_count; i++) {
        g_autoptr(GError) err = NULL;
        g_assert_true(x86_state_validate(&st[i], &err));
        g_assert_true(vcpu_set_state(cpu_set_get(board.cpus, i), &st[i], &err));
        g_assert_no_error(err);
    }
    uint64_t seen = progress(st);
    g_aligned_free(st);
    vm_clock_start(board.clock);
    cpu_set_resume(board.cpus);
    board.churns++;
    churn_later(seen);
}

static void board_free(void)
{
    cpu_set_free(board.cpus);
    io_space_del(board.pio, &board.exit_port);
    io_space_del(board.pio, &board.debug_port);
    io_space_del(board.pio, &board.com1);
    io_space_free(board.pio);
    io_space_free(board.mmio);
    guest_mem_free(board.mem);
    ram_block_free(board.ram);
    vm_clock_free(board.clock);
    g_string_free(board.text, TRUE);
}

static uint32_t load_elf(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *file = NULL;
    gsize len = 0;

    g_file_get_contents(image, &file, &len, &err);
    g_assert_no_error(err);
    const Elf32_Ehdr *e = (const void *)file;
    g_assert_cmpmem(e->e_ident, 4, ELFMAG, 4);
    g_assert_cmpint(e->e_ident[EI_CLASS], ==, ELFCLASS32);
    for (unsigned i = 0; i < e->e_phnum; i++) {
        const Elf32_Phdr *p = (const void *)(file + e->e_phoff + i * e->e_phentsize);
        if (p->p_type != PT_LOAD)
            continue;
        g_assert_cmpuint(p->p_offset + p->p_filesz, <=, len);
        g_assert_cmpint(
            guest_mem_write(board.mem, GPA(p->p_paddr), file + p->p_offset, p->p_filesz), ==, 0);
    }
    return e->e_entry;
}

/* Multiboot 1 machine state: flat 32-bit protected mode, paging off. */
static void enter(uint32_t entry)
{
    g_autoptr(GError) err = NULL;
    struct x86_state *st = g_aligned_alloc(1, sizeof(*st), 64);

    vcpu_get_state(cpu_set_get(board.cpus, 0), st);
    st->cr0 = 0x11;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        st->seg[i] = (struct x86_seg){.limit = UINT32_MAX, .attr = 0xc093, .sel = 0x10};
    st->seg[SEG_CS].attr = 0xc09b;
    st->seg[SEG_CS].sel = 8;
    st->rip = entry;
    st->gpr[R_RAX] = 0x2badb002;
    st->gpr[R_RBX] = 0;
    vcpu_set_state(cpu_set_get(board.cpus, 0), st, &err);
    g_assert_no_error(err);
    g_aligned_free(st);
}

static void run_image(void)
{
    g_autofree char *text = NULL;

    board_make();
    enter(load_elf());
    struct timer *t = timer_new(evloop_main(), NULL, on_timeout, NULL);
    timer_set(t, host_clock_ns() + TIMEOUT_NS);
    vm_clock_start(board.clock);
    cpu_set_resume(board.cpus);
    if (with_churn) {
        board.churn_timer = timer_new(evloop_main(), NULL, churn, NULL);
        timer_set(board.churn_timer, host_clock_ns() + CHURN_NS);
    }
    evloop_run_main();
    timer_free(board.churn_timer);
    cpu_set_pause(board.cpus);
    timer_free(t);
    text = g_strdup(board.text->str);
    if (board.verdict != 0 || board.timed_out) {
        for (unsigned i = 0; i < cpu_count; i++) {
            struct x86_state *st = g_aligned_alloc(1, sizeof(*st), 64);
            vcpu_get_state(cpu_set_get(board.cpus, i), st);
            g_autofree char *dump = x86_state_format(st);
            g_test_message("vcpu %u\n%s", i, dump);
            g_aligned_free(st);
        }
    }
    board_free();
    g_test_message("guest: %s (%u times interrupted)", text, board.churns);
    g_assert_false(board.timed_out);
    g_assert_cmpuint(board.verdict, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(argc, >=, 2);
    image = argv[1];
    if (argc > 2)
        cpu_count = (unsigned)g_ascii_strtoull(argv[2], NULL, 10);
    if (argc > 3)
        cpu_text = argv[3];
    for (int k = 4; k < argc; k++) {
        if (!strcmp(argv[k], "churn"))
            with_churn = true;
        else
            accel_text = argv[k];
    }
    g_test_add_func("/cpu/guest", run_image);
    return g_test_run();
}
