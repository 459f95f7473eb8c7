/* Running vcpus, on every accelerator this host has: small real-mode guests that talk through a
 * port, and everything the machine does to a vcpu from outside.
 *
 * KVM is asked for by name, so it is tested also where it only emulates; it is skipped with a
 * reason where /dev/kvm is missing. */
#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/irq.h"
#include "cpu/vcpu.h"
#include "mem/guest_mem.h"

#include <glib.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RAM_BYTES (640 * KiB)
#define MMIO_GPA  0xb8000
#define CODE_GPA  0x1000
#define AP_GPA    0x8000
#define MARK_PORT 0x500 /* what the guest writes here is recorded */
#define STOP_PORT 0x504 /* a write asks for a stop, as a power button does */
#define KICK_PORT 0x600 /* ioeventfd */
#define MARKS_MAX 64
#define PATIENCE  (20ull * 1000 * 1000 * 1000)

/* ---- the guests: label_begin..label_end are copied to CODE_GPA ---- */

#define GUEST(name, body)                                                                          \
    extern const uint8_t name##_begin[], name##_end[];                                             \
    __asm__(".pushsection .rodata\n.code16\n" #name "_begin:\n" body "\n" #name                    \
            "_end:\n.code64\n.popsection\n")
#define MARK "mov $0x500, %dx\n"
#define HANG "1: cli\nhlt\njmp 1b\n"

GUEST(ports, MARK "mov $0x1234, %ax\nout %ax, %dx\n" /* 16 bits out */
                  "in (%dx), %eax\nout %eax, %dx\n"  /* 32 bits in, and back */
                  "mov $0x1100, %si\nmov $3, %cx\ncld\nrep outsb\n" HANG);
GUEST(mmio, "mov $0xb800, %ax\nmov %ax, %ds\nmovw $0xbeef, (0)\nmovb $0x77, (3)\n"
            "mov (4), %eax\n" MARK "out %eax, %dx\n" HANG);
GUEST(spin, "xor %eax, %eax\n2: inc %eax\nmov %eax, (0x2000)\njmp 2b\n");
GUEST(stop, "mov $0x504, %dx\nout %al, %dx\n" MARK "mov $0xaa, %al\nout %al, %dx\n" HANG);
GUEST(registers, "mov $0x11111111, %eax\nmov $0x22222222, %ebx\nmov $0x33333333, %ecx\n"
                 "mov $0x55555555, %esi\nmov $0x66666666, %edi\nmov $0x77777777, %ebp\n"
                 "mov $0x3000, %sp\nstc\n" MARK "out %eax, %dx\n"
                 /* stopped here, and moved */
                 "adc %ebx, %eax\nout %eax, %dx\nmov %ecx, %eax\nout %eax, %dx\nmov %esi, %eax\n"
                 "out %eax, %dx\nmov %edi, %eax\nout %eax, %dx\nmov %ebp, %eax\nout %eax, %dx\n"
                 "mov %esp, %eax\nout %eax, %dx\n" HANG);
/* vectors 0x40 and 2 (NMI) count in the mark port */
GUEST(interrupts, "xor %ax, %ax\nmov %ax, %ss\nmov $0x3000, %sp\n"
                  "mov $0x501, %dx\nmov $1, %al\n" MARK "out %al, %dx\n"
                  "sti\n3: hlt\nmov $0x50, %al\nout %al, %dx\njmp 3b\n"
                  ".org interrupts_begin + 0x80\nmov $0x40, %al\nout %al, %dx\n"
                  "mov $0x80b, %ecx\n"
                  "push %dx\nxor %eax, %eax\nxor %edx, %edx\nwrmsr\npop %dx\niret\n" /* EOI */
                  ".org interrupts_begin + 0xc0\nmov $0x02, %al\nout %al, %dx\niret\n");
GUEST(doorbell, "mov $0x600, %dx\nmov $7, %ax\nout %ax, %dx\n"
                "mov $0xb800, %ax\nmov %ax, %ds\nmovw $3, (0x10)\n" MARK "out %al, %dx\n" HANG);
GUEST(dirty, "mov $0x2000, %ax\nmov %ax, %ds\nmovb $1, (0x10)\nmov $0x5000, %ax\nmov %ax, %ds\n"
             "movb $1, (0xfff)\n" MARK "out %al, %dx\n" HANG);
GUEST(fault, "ud2\n" HANG);
GUEST(sipi, "mov $0x1b, %ecx\nrdmsr\nor $0xc00, %eax\nwrmsr\n" /* x2APIC */
            "mov $0x830, %ecx\nmov $1, %edx\nmov $0x4500, %eax\nwrmsr\n"
            "mov $1, %edx\nmov $0x4608, %eax\nwrmsr\n" MARK "mov $0xb0, %al\nout %al, %dx\n" HANG);
GUEST(ap, MARK "mov $0xa0, %al\nout %al, %dx\n" HANG);
GUEST(odd, "mov $0xff, %ax\n.byte 0xf3, 0x0f, 0xb8, 0xd8\n" /* popcnt %ax, %bx */
      MARK "mov %bx, %ax\nout %ax, %dx\n" HANG);
GUEST(reset_rom, ".byte 0xea\n.word 0x1000, 0\n"); /* ljmp 0:CODE_GPA */

/* ---- the board ---- */

struct board {
    const char *accel;
    struct guest_mem *mem;
    struct ram_block *ram, *rom;
    const struct guest_region *ram_region;
    struct io_space *pio, *mmio;
    struct vm_clock *clock;
    struct cpu_set *cpus;
    struct io_region mark, stop_port, mmio_region;
    /* any thread, under lock */
    pthread_mutex_t lock;
    uint32_t marks[MARKS_MAX];
    unsigned mark_count;
    uint64_t mmio_off[8], mmio_val[8];
    unsigned mmio_writes;
    unsigned triple_faults, internal_errors;
    char *dump;
};

static uint64_t mark_read(struct io_region *r, uint64_t off, unsigned size)
{
    return 0xcafe0000 + size;
}

static void mark_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct board *b = container_of(r, struct board, mark);
    pthread_mutex_lock(&b->lock);
    if (b->mark_count < MARKS_MAX)
        b->marks[b->mark_count++] = (uint32_t)val;
    pthread_mutex_unlock(&b->lock);
}

static void stop_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    cpu_set_stop_soon(container_of(r, struct board, stop_port)->cpus);
}

static uint64_t window_read(struct io_region *r, uint64_t off, unsigned size)
{
    return 0x89abcdef >> (8 * (off & 3));
}

static void window_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct board *b = container_of(r, struct board, mmio_region);
    pthread_mutex_lock(&b->lock);
    if (b->mmio_writes < ARRAY_SIZE(b->mmio_off)) {
        b->mmio_off[b->mmio_writes] = off;
        b->mmio_val[b->mmio_writes++] = val;
    }
    pthread_mutex_unlock(&b->lock);
}

static const struct io_ops mark_ops = {.read = mark_read, .write = mark_write};
static const struct io_ops stop_ops = {.read = mark_read, .write = stop_write};
static const struct io_ops window_ops = {.read = window_read, .write = window_write};

static void on_triple_fault(void *opaque, unsigned cpu)
{
    struct board *b = opaque;
    __atomic_fetch_add(&b->triple_faults, 1, __ATOMIC_SEQ_CST);
}

static void on_internal_error(void *opaque, unsigned cpu, const char *dump)
{
    struct board *b = opaque;
    pthread_mutex_lock(&b->lock);
    g_free(b->dump);
    b->dump = g_strdup(dump);
    pthread_mutex_unlock(&b->lock);
    __atomic_fetch_add(&b->internal_errors, 1, __ATOMIC_SEQ_CST);
}

static void load_code(struct board *b, uint64_t gpa, const uint8_t *begin, const uint8_t *end)
{
    g_assert_cmpint(guest_mem_write(b->mem, GPA(gpa), begin, (uint64_t)(end - begin)), ==, 0);
}
#define LOAD(b, gpa, name) load_code(b, gpa, name##_begin, name##_end)

static struct board *board_with_room(const char *accel, unsigned cpus, unsigned max)
{
    struct board *b = g_new0(struct board, 1);
    g_autoptr(GError) err = NULL;
    g_autofree char *why = NULL;
    pthread_mutex_init(&b->lock, NULL);
    b->accel = accel;
    b->mem = guest_mem_new();
    b->ram = ram_block_new("ram", RAM_BYTES, false, false, NULL);
    b->rom = ram_block_new("rom", 64 * KiB, false, false, NULL);
    b->ram_region = guest_mem_map(b->mem, GPA(0), b->ram, 0, RAM_BYTES, GUEST_RAM);
    guest_mem_map(b->mem, GPA(4 * GiB - 64 * KiB), b->rom, 0, 64 * KiB, GUEST_ROM);
    guest_mem_write_rom(b->mem, GPA(4 * GiB - 16), reset_rom_begin,
                        (uint64_t)(reset_rom_end - reset_rom_begin));
    b->pio = io_space_new("pio", 0x10000);
    b->mmio = io_space_new("mmio", 1ull << 52);
    b->mark = (struct io_region){.ops = &mark_ops, .name = "mark", .size_bytes = 4};
    b->stop_port = (struct io_region){.ops = &stop_ops, .name = "stop", .size_bytes = 1};
    b->mmio_region = (struct io_region){.ops = &window_ops, .name = "window", .size_bytes = 0x1000};
    io_space_add(b->pio, &b->mark, MARK_PORT);
    io_space_add(b->pio, &b->stop_port, STOP_PORT);
    io_space_add(b->mmio, &b->mmio_region, MMIO_GPA);
    b->clock = vm_clock_new();
    struct cpu_config cfg = {
        .topology = {.cpus = cpus, .maxcpus = max, .sockets = 1, .cores = max, .threads = 1},
        .cpu_spec = "qemu64,check=off,+popcnt",
        .highest_gpa = 4 * GiB - 1,
        .mem = b->mem,
        .pio = b->pio,
        .mmio = b->mmio,
        .clock = b->clock,
        .events = {.triple_fault = on_triple_fault,
                   .internal_error = on_internal_error,
                   .opaque = b},
    };
    b->cpus = cpu_set_new(accel, &cfg, &why, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(cpu_set_accel(b->cpus), ==, accel);
    g_assert_nonnull(why);
    return b;
}

static struct board *board_new(const char *accel, unsigned cpus)
{
    return board_with_room(accel, cpus, cpus);
}

static void board_free(struct board *b)
{
    cpu_set_free(b->cpus);
    io_space_free(b->pio);
    io_space_free(b->mmio);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
    ram_block_free(b->rom);
    vm_clock_free(b->clock);
    g_free(b->dump);
    pthread_mutex_destroy(&b->lock);
    g_free(b);
}

static struct x86_state *state_of(struct board *b, unsigned cpu)
{
    struct x86_state *s = g_aligned_alloc0(1, sizeof(*s), 64);
    vcpu_get_state(cpu_set_get(b->cpus, cpu), s);
    return s;
}

static void give_state(struct board *b, unsigned cpu, struct x86_state *s)
{
    g_autoptr(GError) err = NULL;
    g_assert_true(vcpu_set_state(cpu_set_get(b->cpus, cpu), s, &err));
    g_assert_no_error(err);
}

static void run(struct board *b)
{
    vm_clock_start(b->clock);
    cpu_set_resume(b->cpus);
}

static void halt(struct board *b)
{
    cpu_set_pause(b->cpus);
    vm_clock_stop(b->clock);
}

static unsigned mark_count(struct board *b)
{
    pthread_mutex_lock(&b->lock);
    unsigned n = b->mark_count;
    pthread_mutex_unlock(&b->lock);
    return n;
}

static void wait_marks(struct board *b, unsigned n)
{
    uint64_t give_up = host_clock_ns() + PATIENCE;
    while (mark_count(b) < n && !__atomic_load_n(&b->internal_errors, __ATOMIC_SEQ_CST) &&
           host_clock_ns() < give_up)
        g_usleep(200);
    if (mark_count(b) < n) {
        halt(b);
        struct x86_state *s = state_of(b, 0);
        g_autofree char *text = x86_state_format(s);
        g_error("only %u of %u marks from the guest\n%s\n%s", mark_count(b), n, text,
                b->dump ? b->dump : "");
    }
}

static void assert_marks(struct board *b, const uint32_t *want, unsigned n)
{
    wait_marks(b, n);
    for (unsigned i = 0; i < n; i++)
        g_assert_cmphex(b->marks[i], ==, want[i]);
}
#define ASSERT_MARKS(b, ...)                                                                       \
    assert_marks(b, (const uint32_t[]){__VA_ARGS__},                                               \
                 sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* ---- tests; each gets the accelerator's name ---- */

static void test_reset_vector_and_ports(gconstpointer accel)
{
    struct board *b = board_new(accel, 1);
    LOAD(b, CODE_GPA, ports);
    guest_mem_write(b->mem, GPA(0x1100), "abc", 3);
    run(b);
    ASSERT_MARKS(b, 0x1234, 0xcafe0004, 'a', 'b', 'c');
    halt(b);
    board_free(b);
}

static void test_mmio(gconstpointer accel)
{
    struct board *b = board_new(accel, 1);
    LOAD(b, CODE_GPA, mmio);
    run(b);
    ASSERT_MARKS(b, 0x89abcdef);
    g_assert_cmpuint(b->mmio_writes, ==, 2);
    g_assert_cmphex(b->mmio_off[0], ==, 0);
    g_assert_cmphex(b->mmio_val[0], ==, 0xbeef);
    g_assert_cmphex(b->mmio_off[1], ==, 3);
    g_assert_cmphex(b->mmio_val[1], ==, 0x77);
    halt(b);
    board_free(b);
}

static uint32_t counter(struct board *b)
{
    return __atomic_load_n((uint32_t *)(void *)(ram_block_host(b->ram) + 0x2000), __ATOMIC_RELAXED);
}

static void wait_progress(struct board *b, uint32_t from)
{
    uint64_t give_up = host_clock_ns() + PATIENCE;
    while (counter(b) == from && host_clock_ns() < give_up)
        g_usleep(100);
    g_assert_cmpuint(counter(b), !=, from);
}

/* A guest that never exits by itself obeys. */
static void test_pause_and_resume_of_a_spinning_guest(gconstpointer accel)
{
    struct board *b = board_new(accel, 1);
    LOAD(b, CODE_GPA, spin);
    for (unsigned i = 0; i < 20; i++) {
        uint32_t before = counter(b);
        run(b);
        wait_progress(b, before);
        uint64_t start = host_clock_ns();
        halt(b);
        g_assert_cmpuint(host_clock_ns() - start, <, PATIENCE / 10);
        uint32_t stopped = counter(b);
        g_usleep(500);
        g_assert_cmpuint(counter(b), ==, stopped);
    }
    cpu_set_pause(b->cpus); /* again: nothing to do */
    struct vcpu_stats st;
    vcpu_stats(cpu_set_get(b->cpus, 0), &st);
    g_assert_cmpuint(st.place_ns[VCPU_IN_GUEST], >, 0);
    board_free(b);
}

static void test_stop_from_a_device_executes_nothing_more(gconstpointer accel)
{
    struct board *b = board_new(accel, 1);
    LOAD(b, CODE_GPA, stop);
    run(b);
    uint64_t give_up = host_clock_ns() + PATIENCE;
    struct vcpu_stats st = {0};
    g_usleep(20000);
    halt(b);
    vcpu_stats(cpu_set_get(b->cpus, 0), &st);
    g_assert_cmpuint(host_clock_ns(), <, give_up);
    g_assert_cmpuint(mark_count(b), ==, 0);
    struct x86_state *s = state_of(b, 0);
    /* the OUT is complete: RIP is behind it, not at it */
    g_assert_cmphex(s->rip, ==, CODE_GPA + 4);
    g_aligned_free(s);
    run(b);
    ASSERT_MARKS(b, 0xaa);
    halt(b);
    board_free(b);
}

static void assert_thread_name(struct board *b, unsigned cpu)
{
    g_autofree char *path =
        g_strdup_printf("/proc/self/task/%d/comm", vcpu_tid(cpu_set_get(b->cpus, cpu)));
    g_autofree char *name = NULL;
    g_autofree char *upper = g_ascii_strup(b->accel, -1);
    g_autofree char *want = g_strdup_printf("CPU %u/%s\n", cpu, upper);
    g_assert_true(g_file_get_contents(path, &name, NULL, NULL));
    g_assert_cmpstr(name, ==, want);
}

static void test_reset_runs_from_the_vector_again(gconstpointer accel)
{
    struct board *b = board_new(accel, 2);
    LOAD(b, CODE_GPA, ap);
    assert_thread_name(b, 0);
    assert_thread_name(b, 1);
    for (unsigned i = 1; i <= 3; i++) {
        run(b);
        wait_marks(b, i);
        halt(b);
        cpu_set_reset(b->cpus);
        struct x86_state *s = state_of(b, 0);
        g_assert_cmphex(s->seg[SEG_CS].base + s->rip, ==, 0xfffffff0);
        g_assert_cmpuint(s->mp_state, ==, MP_RUNNABLE);
        g_aligned_free(s);
        s = state_of(b, 1);
        g_assert_cmpuint(s->mp_state, ==, MP_WAIT_SIPI);
        g_aligned_free(s);
    }
    g_assert_cmpuint(mark_count(b), ==, 3); /* the AP never ran */
    board_free(b);
}

static void test_start_up_of_a_second_processor(gconstpointer accel)
{
    struct board *b = board_new(accel, 2);
    LOAD(b, CODE_GPA, sipi);
    LOAD(b, AP_GPA, ap);
    run(b);
    wait_marks(b, 2);
    g_assert_cmphex(b->marks[0] + b->marks[1], ==, 0xa0 + 0xb0);
    halt(b);
    board_free(b);
}

static void test_processors_come_go_and_come_again(gconstpointer accel)
{
    struct board *b = board_with_room(accel, 1, 3);
    g_autoptr(GError) err = NULL;
    LOAD(b, CODE_GPA, sipi);
    LOAD(b, AP_GPA, ap);
    g_assert_null(cpu_set_find(b->cpus, 1));
    for (unsigned round = 0; round < 3; round++) {
        /* place 2 comes first: places need not be taken in order */
        g_assert_true(cpu_set_plug(b->cpus, 2, &err));
        g_assert_true(cpu_set_plug(b->cpus, 1, &err));
        g_assert_no_error(err);
        g_assert_cmpuint(cpu_set_count(b->cpus), ==, 3);
        g_assert_cmpuint(vcpu_index(cpu_set_find(b->cpus, 1)), ==, 1);
        cpu_set_unplug(b->cpus, 2);
        g_assert_null(cpu_set_find(b->cpus, 2));
        g_assert_cmpuint(cpu_set_count(b->cpus), ==, 2);
        g_assert_cmpuint(vcpu_index(cpu_set_get(b->cpus, 1)), ==, 1);
        run(b);
        wait_marks(b, 2 * round + 2); /* the start-up message reaches the one that is there */
        halt(b);
        cpu_set_unplug(b->cpus, 1);
        g_assert_cmpuint(cpu_set_count(b->cpus), ==, 1);
        cpu_set_reset(b->cpus);
    }
    g_assert_cmpuint(mark_count(b), ==, 6);
    board_free(b);
}

static void vector(struct board *b, unsigned n, uint16_t offset)
{
    uint8_t entry[4] = {(uint8_t)offset, (uint8_t)(offset >> 8), 0, 0};
    guest_mem_write(b->mem, GPA(4 * n), entry, 4);
}

/* Switches the APIC to x2APIC mode, software-enabled, from outside. */
static void enable_apic(struct board *b)
{
    struct x86_state *s = state_of(b, 0);
    s->apic_base |= BIT64(10) | BIT64(11);
    le32_put(s->lapic + 0x20, 0);
    le32_put(s->lapic + 0xd0, 1); /* LDR of x2APIC id 0 */
    le32_put(s->lapic + 0xf0, 0x1ff);
    give_state(b, 0, s);
    g_aligned_free(s);
}

static void test_msi_route_and_nmi_wake_a_halted_vcpu(gconstpointer accel)
{
    struct board *b = board_new(accel, 1);
    LOAD(b, CODE_GPA, interrupts);
    vector(b, 0x40, CODE_GPA + 0x80);
    vector(b, 2, CODE_GPA + 0xc0);
    enable_apic(b);
    struct msi_route *route = msi_route_new(cpu_set_irqchip(b->cpus));
    msi_route_raise(route); /* not set up yet: nothing */
    msi_route_set(route, 0xfee00000, 0x40);
    run(b);
    ASSERT_MARKS(b, 1);
    g_usleep(1000);
    msi_route_raise(route);
    ASSERT_MARKS(b, 1, 0x40, 0x50);
    irqchip_send_msi(cpu_set_irqchip(b->cpus), 0xfee00000, 0x40);
    ASSERT_MARKS(b, 1, 0x40, 0x50, 0x40, 0x50);
    g_usleep(1000);
    vcpu_nmi(cpu_set_get(b->cpus, 0));
    ASSERT_MARKS(b, 1, 0x40, 0x50, 0x40, 0x50, 0x02, 0x50);
    halt(b);
    msi_route_set(route, 0xfee00000, 0x41);
    msi_route_set(route, 0xfee00000, 0x40);
    msi_route_raise(route); /* while stopped: kept */
    run(b);
    ASSERT_MARKS(b, 1, 0x40, 0x50, 0x40, 0x50, 0x02, 0x50, 0x40, 0x50);
    halt(b);
    msi_route_free(route);
    board_free(b);
}

static uint64_t drain_eventfd(int fd)
{
    uint64_t n = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, 2000) == 1)
        g_assert_cmpint(read(fd, &n, sizeof(n)), ==, sizeof(n));
    return n;
}

static void test_ioeventfd(gconstpointer accel)
{
    struct board *b = board_new(accel, 1);
    LOAD(b, CODE_GPA, doorbell);
    int pio = eventfd(0, EFD_NONBLOCK), mmio = eventfd(0, EFD_NONBLOCK);
    struct io_eventfd e_pio = {.addr = KICK_PORT, .size = 2, .match = true, .data = 7, .fd = pio};
    struct io_eventfd e_mmio = {.addr = MMIO_GPA + 0x10, .size = 2, .fd = mmio};
    io_space_eventfd_add(b->pio, &e_pio);
    io_space_eventfd_add(b->mmio, &e_mmio);
    run(b);
    wait_marks(b, 1);
    g_assert_cmpuint(drain_eventfd(pio), ==, 1);
    g_assert_cmpuint(drain_eventfd(mmio), ==, 1);
    g_assert_cmpuint(b->mmio_writes, ==, 0);
    halt(b);
    io_space_eventfd_del(b->pio, &e_pio);
    io_space_eventfd_del(b->mmio, &e_mmio);
    cpu_set_reset(b->cpus);
    run(b);
    wait_marks(b, 2);
    g_assert_cmpuint(b->mmio_writes, ==, 1); /* back to the device */
    halt(b);
    close(pio);
    close(mmio);
    board_free(b);
}

static void test_dirty_log(gconstpointer accel)
{
    struct board *b = board_new(accel, 1);
    uint64_t bits[3];
    LOAD(b, CODE_GPA, dirty);
    guest_mem_dirty_log(b->mem, true);
    run(b);
    wait_marks(b, 1);
    halt(b);
    g_assert_cmpint(guest_mem_dirty_sync(b->mem, b->ram_region, bits, 3), ==, 0);
    g_assert_cmphex(bits[0], ==, BIT64(0x20));
    g_assert_cmphex(bits[1], ==, BIT64(0x50 - 64));
    g_assert_cmphex(bits[2], ==, 0);
    cpu_set_reset(b->cpus);
    run(b); /* a page that was clean again is found again */
    wait_marks(b, 2);
    halt(b);
    g_assert_cmpint(guest_mem_dirty_sync(b->mem, b->ram_region, bits, 3), ==, 0);
    g_assert_cmphex(bits[0], ==, BIT64(0x20));
    guest_mem_dirty_log(b->mem, false);
    board_free(b);
}

static void wait_count(unsigned *count)
{
    uint64_t give_up = host_clock_ns() + PATIENCE;
    while (!__atomic_load_n(count, __ATOMIC_SEQ_CST) && host_clock_ns() < give_up)
        g_usleep(200);
}

static void test_triple_fault_is_told_once_and_reset_recovers(gconstpointer accel)
{
    struct board *b = board_new(accel, 1);
    LOAD(b, CODE_GPA, fault);
    /* Protected mode, where an IDT without room for any vector lets no exception be delivered. */
    struct x86_state *s = state_of(b, 0);
    s->cr0 |= 1;
    s->idt.limit = 0;
    s->seg[SEG_CS] = (struct x86_seg){.limit = 0xffff, .attr = SEG_P | SEG_S | 11, .sel = 8};
    s->rip = CODE_GPA;
    give_state(b, 0, s);
    g_aligned_free(s);
    run(b);
    wait_count(&b->triple_faults);
    g_assert_cmpuint(b->triple_faults, ==, 1);
    halt(b);
    run(b); /* stays where it is */
    g_usleep(5000);
    g_assert_cmpuint(b->triple_faults, ==, 1);
    halt(b);
    LOAD(b, CODE_GPA, ap);
    cpu_set_reset(b->cpus);
    run(b);
    ASSERT_MARKS(b, 0xa0);
    halt(b);
    board_free(b);
}

/* Where KVM only emulates, an instruction it does not know ends in a readable dump. */
static void test_unemulated_instruction_is_reported(gconstpointer accel)
{
    struct board *b = board_new(accel, 1);
    LOAD(b, CODE_GPA, odd);
    run(b);
    uint64_t give_up = host_clock_ns() + PATIENCE;
    while (!mark_count(b) && !__atomic_load_n(&b->internal_errors, __ATOMIC_SEQ_CST) &&
           host_clock_ns() < give_up)
        g_usleep(200);
    halt(b);
    if (mark_count(b)) {
        g_assert_cmphex(b->marks[0], ==, 8);
    } else {
        g_assert_cmpuint(b->internal_errors, ==, 1);
        g_assert_nonnull(strstr(b->dump, "KVM stopped vcpu 0: it met an instruction"));
        g_assert_nonnull(strstr(b->dump, "RIP=0000000000001003"));
        g_assert_nonnull(strstr(b->dump, "Code=f3 0f b8 d8"));
    }
    board_free(b);
}

static uint8_t *save_board(struct board *b, size_t *len)
{
    struct state_writer *w = state_writer_new();
    struct x86_state *s = state_of(b, 0);
    state_save(w, &x86_state_desc, "0", s);
    cpu_set_save(b->cpus, w);
    const uint8_t *data = state_writer_data(w, len);
    uint8_t *copy = g_memdup2(data, *len);
    state_writer_free(w);
    g_aligned_free(s);
    return copy;
}

static void load_board(struct board *b, const uint8_t *data, size_t len, bool chips)
{
    g_autoptr(GError) err = NULL;
    struct state_reader *r = state_reader_new(data, len, &err);
    struct x86_state *s = g_aligned_alloc0(1, sizeof(*s), 64);
    g_assert_no_error(err);
    bool ok =
        state_load(r, &x86_state_desc, "0", s, &err) && (!chips || cpu_set_load(b->cpus, r, &err));
    g_assert_no_error(err);
    g_assert_true(ok);
    give_state(b, 0, s);
    g_aligned_free(s);
    state_reader_free(r);
}

/* Runs half of a program on one accelerator and the rest on another (or the same). */
static void move_between(const char *from, const char *to)
{
    struct board *a = board_new(from, 1);
    LOAD(a, CODE_GPA, registers);
    run(a);
    wait_marks(a, 1);
    g_assert_cmphex(a->marks[0], ==, 0x11111111);
    halt(a);
    struct x86_state *s = state_of(a, 0);
    /* Wherever the pause came: go back to just behind the first OUT. */
    s->rip =
        CODE_GPA +
        (uint64_t)((const uint8_t *)memmem(registers_begin, 200, "\x66\xef", 2) - registers_begin) +
        2;
    s->gpr[R_RAX] = 0x11111111;
    s->rflags |= 1;
    s->mp_state = MP_RUNNABLE;
    s->xsave[160] = 0x5a; /* XMM0 */
    s->xsave[512] |= 3;
    s->lstar = 0xffffffff81000040;
    s->mtrr_def_type = 0xc06;
    s->dr[0] = 0x1234;
    give_state(a, 0, s);
    g_aligned_free(s);
    size_t len;
    g_autofree uint8_t *stream = save_board(a, &len);
    board_free(a);

    struct board *b = board_new(to, 1);
    LOAD(b, CODE_GPA, registers);
    load_board(b, stream, len, strcmp(from, to) == 0);
    s = state_of(b, 0);
    g_assert_cmphex(s->xsave[160], ==, 0x5a);
    g_assert_cmphex(s->lstar, ==, 0xffffffff81000040);
    g_assert_cmphex(s->mtrr_def_type, ==, 0xc06);
    g_assert_cmphex(s->dr[0], ==, 0x1234);
    g_assert_cmphex(s->gpr[R_RBX], ==, 0x22222222);
    g_aligned_free(s);
    run(b);
    ASSERT_MARKS(b, 0x33333334, 0x33333333, 0x55555555, 0x66666666, 0x77777777, 0x3000);
    halt(b);
    board_free(b);
}

static bool kvm_there;

static void test_state_survives_save_and_load(gconstpointer accel)
{
    move_between(accel, accel);
}

static void test_state_moves_between_accelerators(void)
{
    if (!kvm_there) {
        g_test_skip("/dev/kvm cannot be opened");
        return;
    }
    move_between("kvm", "jit");
    move_between("jit", "kvm");
}

static void test_default_is_honest(void)
{
    struct accel_info kvm;
    accel_probe_kvm(&kvm);
    g_test_message("kvm: %s", kvm.why);
    g_assert_true(g_str_has_suffix(kvm.why, "."));
    g_assert_true(kvm_there || !kvm.usable);
    uint64_t ns = 0;
    g_autofree char *unmeasured = NULL;
    bool measured = accel_kvm_measure(&ns, &unmeasured);
    g_assert_true(measured == (unmeasured == NULL));
    g_test_message("%u ns per instruction", (unsigned)ns);
    g_assert_true(!kvm.usable || (measured && ns < 250));
    struct board *b = g_new0(struct board, 1);
    b->mem = guest_mem_new();
    b->pio = io_space_new("pio", 0x10000);
    b->mmio = io_space_new("mmio", 1ull << 52);
    b->clock = vm_clock_new();
    pthread_mutex_init(&b->lock, NULL);
    struct cpu_config cfg = {.topology = {.cpus = 1, .maxcpus = 1},
                             .highest_gpa = TiB,
                             .mem = b->mem,
                             .pio = b->pio,
                             .mmio = b->mmio,
                             .clock = b->clock};
    g_autoptr(GError) err = NULL;
    g_autofree char *why = NULL;
    b->cpus = cpu_set_new(NULL, &cfg, &why, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(cpu_set_accel(b->cpus), ==, kvm.usable ? "kvm" : "jit");
    kvm.why[20] = 0; /* the rest has a time in it */
    g_assert_nonnull(strstr(why, kvm.why));
    g_assert_cmpuint(cpu_set_model(b->cpus)->phys_bits, >=, 41); /* reaches highest_gpa */
    g_free(kvm.why);
    cpu_set_free(b->cpus);
    cfg.cpu_spec = "max"; /* QEMU's width for a processor in software, not the host's */
    cfg.highest_gpa = 4 * GiB - 1;
    g_autofree char *again = NULL;
    b->cpus = cpu_set_new("jit", &cfg, &again, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(cpu_set_model(b->cpus)->phys_bits, ==, 40);
    cpu_set_free(b->cpus);
    cfg.highest_gpa = TiB;
    b->cpus = NULL;
    const struct {
        const char *accel, *cpu, *says;
    } bad[] = {{"kmv", "max", "'kvm'"},
               {"jit", "nosuch", "no CPU model"},
               {"jit", "max,phys-bits=36", "phys-bits"},
               {"", "max", "accelerator"}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autoptr(GError) e = NULL;
        g_autofree char *text = NULL;
        cfg.cpu_spec = bad[i].cpu;
        g_assert_null(cpu_set_new(bad[i].accel, &cfg, &text, &e));
        g_assert_nonnull(strstr(e->message, bad[i].says));
    }
    board_free(b);
}

static void skipped(gconstpointer accel)
{
    g_test_skip("/dev/kvm cannot be opened");
}

static void add(const char *name, GTestDataFunc fn)
{
    g_autofree char *jit = g_strdup_printf("/vcpu/jit/%s", name);
    g_autofree char *kvm = g_strdup_printf("/vcpu/kvm/%s", name);
    g_test_add_data_func(jit, "jit", fn);
    g_test_add_data_func(kvm, "kvm", kvm_there ? fn : skipped);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    kvm_there = access("/dev/kvm", R_OK | W_OK) == 0;
    add("reset_vector_and_ports", test_reset_vector_and_ports);
    add("mmio", test_mmio);
    add("pause_and_resume", test_pause_and_resume_of_a_spinning_guest);
    add("stop_from_a_device", test_stop_from_a_device_executes_nothing_more);
    add("reset", test_reset_runs_from_the_vector_again);
    add("second_processor", test_start_up_of_a_second_processor);
    add("come_and_go", test_processors_come_go_and_come_again);
    add("msi_and_nmi", test_msi_route_and_nmi_wake_a_halted_vcpu);
    add("ioeventfd", test_ioeventfd);
    add("dirty_log", test_dirty_log);
    add("triple_fault", test_triple_fault_is_told_once_and_reset_recovers);
    add("unemulated", test_unemulated_instruction_is_reported);
    add("save_and_load", test_state_survives_save_and_load);
    g_test_add_func("/vcpu/move", test_state_moves_between_accelerators);
    g_test_add_func("/vcpu/default", test_default_is_honest);
    return g_test_run();
}
