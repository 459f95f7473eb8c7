/* The software chip set, driven as firmware and kernels drive it, without a CPU. */
#include "base/evloop.h"
#include "base/state.h"
#include "base/util.h"
#include "bus/device.h"
#include "bus/io.h"
#include "bus/irq.h"
#include "bus/lapic.h"

#include <glib.h>
#include <string.h>

#define CPUS 4

struct fake_cpu {
    int kicks, nmis, smis, inits, sipis;
    uint8_t sipi_vector;
};

struct board {
    struct device_list devices;
    struct io_space *pio, *mmio;
    struct vm_clock *clock;
    struct soft_irqchip *soft;
    struct irqchip *chip;
    struct lapic *lapic[CPUS];
    struct fake_cpu cpu[CPUS];
    struct irq_line line[IRQ_GSI_COUNT];
};

static uint64_t tsc_now;

static void cpu_kick(void *cpu)
{
    __atomic_fetch_add(&((struct fake_cpu *)cpu)->kicks, 1, __ATOMIC_RELAXED);
}
static void cpu_nmi(void *cpu)
{
    ((struct fake_cpu *)cpu)->nmis++;
}
static void cpu_smi(void *cpu)
{
    ((struct fake_cpu *)cpu)->smis++;
}
static void cpu_init(void *cpu)
{
    ((struct fake_cpu *)cpu)->inits++;
}
static void cpu_sipi(void *cpu, uint8_t vector)
{
    ((struct fake_cpu *)cpu)->sipis++;
    ((struct fake_cpu *)cpu)->sipi_vector = vector;
}
static uint64_t cpu_tsc(void *cpu)
{
    return tsc_now;
}
static uint64_t cpu_tsc_to_ns(void *cpu, uint64_t delta)
{
    return delta;
}
static const struct lapic_cpu_ops cpu_ops = {
    cpu_kick, cpu_nmi, cpu_smi, cpu_init, cpu_sipi, cpu_tsc, cpu_tsc_to_ns,
};

static struct board *board_new(void)
{
    struct board *b = g_new0(struct board, 1);
    device_list_init(&b->devices);
    b->pio = io_space_new("pio", 0x10000);
    b->mmio = io_space_new("mmio", 1ull << 52);
    b->clock = vm_clock_new();
    b->soft = soft_irqchip_new(b->clock, CPUS);
    b->chip = soft_irqchip_base(b->soft);
    soft_irqchip_plug(b->soft, &b->devices, b->pio, b->mmio);
    for (unsigned i = 0; i < CPUS; i++) {
        b->lapic[i] = soft_irqchip_lapic(b->soft, i);
        lapic_attach_cpu(b->lapic[i], i, &cpu_ops, &b->cpu[i]);
    }
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
        irq_connect(&b->line[i], b->chip, i);
    return b;
}

static void board_free(struct board *b)
{
    device_list_fini(&b->devices);
    soft_irqchip_free(b->soft);
    io_space_free(b->pio);
    io_space_free(b->mmio);
    vm_clock_free(b->clock);
    g_free(b);
}

static void outb(struct board *b, uint16_t port, uint8_t v)
{
    io_space_write(b->pio, port, 1, v);
}
static uint8_t inb(struct board *b, uint16_t port)
{
    return io_space_read(b->pio, port, 1);
}
static void apic_write(struct board *b, unsigned cpu, uint32_t off, uint32_t v)
{
    lapic_mmio_write(b->lapic[cpu], off, 4, v);
}
static uint32_t apic_read(struct board *b, unsigned cpu, uint32_t off)
{
    return lapic_mmio_read(b->lapic[cpu], off, 4);
}
static void apics_enable(struct board *b)
{
    for (unsigned i = 0; i < CPUS; i++)
        apic_write(b, i, 0xf0, 0x1ff);
}
static void ioapic_write(struct board *b, uint8_t reg, uint32_t v)
{
    io_space_write(b->mmio, 0xfec00000, 4, reg);
    io_space_write(b->mmio, 0xfec00010, 4, v);
}
static uint32_t ioapic_read(struct board *b, uint8_t reg)
{
    io_space_write(b->mmio, 0xfec00000, 4, reg);
    return io_space_read(b->mmio, 0xfec00010, 4);
}
static void rte_set(struct board *b, unsigned pin, uint32_t low, uint8_t dest)
{
    ioapic_write(b, 0x11 + 2 * pin, (uint32_t)dest << 24);
    ioapic_write(b, 0x10 + 2 * pin, low);
}
static void pic_init(struct board *b)
{
    static const uint8_t icw[2][4] = {{0x11, 0x20, 4, 1}, {0x11, 0x28, 2, 1}};
    for (int c = 0; c < 2; c++) {
        outb(b, c ? 0xa0 : 0x20, icw[c][0]);
        for (int i = 1; i < 4; i++)
            outb(b, c ? 0xa1 : 0x21, icw[c][i]);
    }
}

static void test_pic_priority_and_eoi(void)
{
    struct board *b = board_new();
    pic_init(b);
    lapic_virtual_wire(b->lapic[0]);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    irq_set(&b->line[4], true);
    irq_set(&b->line[1], true);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, 256);
    g_assert_cmpint(lapic_pending(b->lapic[1]), ==, -1); /* its LINT0 is masked */
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x21);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1); /* 4 is below 1 */
    irq_set(&b->line[0], true);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x20); /* 0 nests over 1 */
    outb(b, 0x20, 0x0b);
    g_assert_cmphex(inb(b, 0x20), ==, 0x03); /* ISR */
    outb(b, 0x20, 0x20);
    outb(b, 0x20, 0x61); /* specific EOI of 1 */
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x24);
    outb(b, 0x20, 0x20);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, -1);
    board_free(b);
}

static void test_pic_cascade_mask_and_spurious(void)
{
    struct board *b = board_new();
    pic_init(b);
    lapic_virtual_wire(b->lapic[0]);
    outb(b, 0xa1, 0xff);
    irq_set(&b->line[12], true);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    outb(b, 0xa1, 0xef);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, 256);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x2c);
    outb(b, 0xa0, 0x20);
    outb(b, 0x20, 0x20);
    /* masked between request and acknowledge: nothing to deliver */
    irq_set(&b->line[5], true);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, 256);
    outb(b, 0x21, 0xff);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, -1);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    board_free(b);
}

static void test_pic_level_rotation_poll(void)
{
    struct board *b = board_new();
    pic_init(b);
    lapic_virtual_wire(b->lapic[0]);
    outb(b, 0x4d1, 0xff);
    g_assert_cmphex(inb(b, 0x4d1), ==, 0xde); /* 8 and 13 stay edge */
    irq_set(&b->line[10], true);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x2a);
    outb(b, 0xa0, 0x20);
    outb(b, 0x20, 0x20);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x2a); /* still asserted */
    irq_set(&b->line[10], false);
    outb(b, 0xa0, 0x20);
    outb(b, 0x20, 0x20);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, -1);
    outb(b, 0x20, 0xc3); /* 3 has lowest priority now, 4 highest */
    irq_set(&b->line[1], true);
    irq_set(&b->line[4], true);
    outb(b, 0x20, 0x0c); /* poll */
    g_assert_cmphex(inb(b, 0x20), ==, 0x84);
    outb(b, 0x20, 0xa0); /* rotate on EOI: 4 becomes lowest */
    outb(b, 0x20, 0x0c);
    g_assert_cmphex(inb(b, 0x20), ==, 0x81);
    outb(b, 0x20, 0x20);
    outb(b, 0x20, 0x0c);
    g_assert_cmphex(inb(b, 0x20), ==, 0x00);
    /* automatic EOI leaves nothing in service */
    outb(b, 0x20, 0x11);
    outb(b, 0x21, 0x20);
    outb(b, 0x21, 4);
    outb(b, 0x21, 3);
    irq_set(&b->line[4], false);
    irq_set(&b->line[4], true);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x24);
    outb(b, 0x20, 0x0b);
    g_assert_cmphex(inb(b, 0x20), ==, 0);
    board_free(b);
}

static void test_disabled_apic_passes_intr_through(void)
{
    struct board *b = board_new();
    pic_init(b);
    g_assert_true(lapic_base_set(b->lapic[0], 0xfee00100));
    irq_set(&b->line[3], true);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, 256);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x23);
    g_assert_cmphex(apic_read(b, 0, 0x30), ==, 0xffffffff);
    board_free(b);
}

static void test_ioapic_edge(void)
{
    struct board *b = board_new();
    apics_enable(b);
    g_assert_cmphex(ioapic_read(b, 1), ==, 0x00170020);
    rte_set(b, 14, 0x10081, 2);
    irq_pulse(&b->line[14]); /* masked: lost */
    rte_set(b, 14, 0x81, 2);
    g_assert_cmpint(lapic_pending(b->lapic[2]), ==, -1);
    irq_set(&b->line[14], true);
    irq_set(&b->line[14], false);
    irq_set(&b->line[14], true);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    g_assert_cmpint(lapic_pending(b->lapic[2]), ==, 0x81);
    g_assert_cmpint(b->cpu[2].kicks, >, 0);
    g_assert_cmpint(lapic_ack(b->lapic[2]), ==, 0x81);
    g_assert_cmpint(lapic_ack(b->lapic[2]), ==, -1);
    apic_write(b, 2, 0xb0, 0);
    /* GSI 0 arrives on pin 2 */
    rte_set(b, 2, 0x90, 1);
    irq_pulse(&b->line[0]);
    g_assert_cmpint(lapic_ack(b->lapic[1]), ==, 0x90);
    board_free(b);
}

static void test_ioapic_level_remote_irr(void)
{
    struct board *b = board_new();
    apics_enable(b);
    rte_set(b, 20, 0x8055, 0);
    irq_set(&b->line[20], true);
    g_assert_cmphex(ioapic_read(b, 0x10 + 40), ==, 0xc055);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x55);
    g_assert_cmphex(apic_read(b, 0, 0x180 + 0x20), ==, 1u << (0x55 - 0x40)); /* TMR */
    irq_set(&b->line[20], false);
    irq_set(&b->line[20], true);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1); /* in service */
    apic_write(b, 0, 0xb0, 0);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x55); /* still asserted: again */
    irq_set(&b->line[20], false);
    apic_write(b, 0, 0xb0, 0);
    g_assert_cmphex(ioapic_read(b, 0x10 + 40), ==, 0x8055);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, -1);
    /* directed EOI: broadcast off, the I/O APIC is told itself */
    apic_write(b, 0, 0xf0, 0x11ff);
    irq_set(&b->line[20], true);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x55);
    irq_set(&b->line[20], false);
    apic_write(b, 0, 0xb0, 0);
    g_assert_cmphex(ioapic_read(b, 0x10 + 40), ==, 0xc055);
    io_space_write(b->mmio, 0xfec00040, 4, 0x55);
    g_assert_cmphex(ioapic_read(b, 0x10 + 40), ==, 0x8055);
    /* the old way: edge and back clears remote IRR, a pending level fires on unmask */
    irq_set(&b->line[20], true);
    rte_set(b, 20, 0x10055, 0);
    rte_set(b, 20, 0x18055, 0);
    g_assert_cmphex(ioapic_read(b, 0x10 + 40), ==, 0x18055);
    board_free(b);
}

static void test_priorities_tpr_eoi(void)
{
    struct board *b = board_new();
    apics_enable(b);
    irqchip_send_msi(b->chip, 0xfee00000, 0x61);
    irqchip_send_msi(b->chip, 0xfee00000, 0x63);
    irqchip_send_msi(b->chip, 0xfee00000, 0x41);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x63);
    g_assert_cmphex(apic_read(b, 0, 0xa0), ==, 0x60);    /* PPR */
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1); /* same class waits */
    irqchip_send_msi(b->chip, 0xfee00000, 0x71);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x71);
    apic_write(b, 0, 0xb0, 0);
    apic_write(b, 0, 0xb0, 0);
    lapic_tpr_set(b->lapic[0], 0x60);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    lapic_tpr_set(b->lapic[0], 0x50);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x61);
    apic_write(b, 0, 0xb0, 0);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    apic_write(b, 0, 0x80, 0);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x41);
    board_free(b);
}

static void test_msi_modes(void)
{
    struct board *b = board_new();
    apics_enable(b);
    irqchip_send_msi(b->chip, 0xfee01000, 0x400); /* NMI */
    irqchip_send_msi(b->chip, 0xfee01000, 0x200); /* SMI */
    irqchip_send_msi(b->chip, 0xfee01000, 0x500); /* INIT */
    irqchip_send_msi(b->chip, 0xfee01000, 0x300); /* reserved */
    g_assert_cmpint(b->cpu[1].nmis, ==, 1);
    g_assert_cmpint(b->cpu[1].smis, ==, 1);
    g_assert_cmpint(b->cpu[1].inits, ==, 1);
    irqchip_send_msi(b->chip, 0xdee01000, 0x41);
    irqchip_send_msi(b->chip, 0x1fee01000, 0x41);
    irqchip_send_msi(b->chip, 0xfee07000, 0x41); /* nobody */
    for (int i = 0; i < CPUS; i++)
        g_assert_cmpint(lapic_pending(b->lapic[i]), ==, -1);
    irqchip_send_msi(b->chip, 0xfeeff000, 0x41); /* everybody */
    for (int i = 0; i < CPUS; i++)
        g_assert_cmpint(lapic_ack(b->lapic[i]), ==, 0x41);
    board_free(b);
}

static void icr(struct board *b, unsigned cpu, uint32_t dest, uint32_t low)
{
    apic_write(b, cpu, 0x310, dest << 24);
    apic_write(b, cpu, 0x300, low);
}

static void test_ipi_shorthands_init_sipi(void)
{
    struct board *b = board_new();
    apic_write(b, 0, 0xf0, 0x1ff);
    icr(b, 0, 0, 0xc4500); /* INIT to all but self, as test kernels start APs */
    icr(b, 0, 0, 0x8500);  /* INIT de-assert: nothing */
    icr(b, 0, 3, 0x4612);  /* SIPI to CPU 3 */
    g_assert_cmpint(b->cpu[0].inits, ==, 0);
    for (int i = 1; i < CPUS; i++)
        g_assert_cmpint(b->cpu[i].inits, ==, 1);
    g_assert_cmpint(b->cpu[3].sipis, ==, 1);
    g_assert_cmphex(b->cpu[3].sipi_vector, ==, 0x12);
    icr(b, 0, 0, 0xc4041);
    g_assert_cmpint(lapic_pending(b->lapic[1]), ==, -1); /* software-disabled: not accepted */
    apics_enable(b);
    icr(b, 0, 0, 0x84042); /* all including self */
    for (int i = 0; i < CPUS; i++)
        g_assert_cmpint(lapic_ack(b->lapic[i]), ==, 0x42);
    icr(b, 2, 0, 0x44052);
    g_assert_cmpint(lapic_ack(b->lapic[2]), ==, 0x52);
    icr(b, 1, 0, 0x44400); /* NMI to self */
    g_assert_cmpint(b->cpu[1].nmis, ==, 1);
    board_free(b);
}

static void test_logical_flat_and_cluster(void)
{
    struct board *b = board_new();
    apics_enable(b);
    for (int i = 0; i < CPUS; i++)
        apic_write(b, i, 0xd0, 1u << (24 + i));
    icr(b, 0, 0x0a, 0x4861);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    g_assert_cmpint(lapic_ack(b->lapic[1]), ==, 0x61);
    g_assert_cmpint(lapic_pending(b->lapic[2]), ==, -1);
    g_assert_cmpint(lapic_ack(b->lapic[3]), ==, 0x61);
    for (int i = 0; i < CPUS; i++) {
        apic_write(b, i, 0xe0, 0x0fffffff);
        apic_write(b, i, 0xd0, (uint32_t)((i / 2) << 4 | 1 << (i % 2)) << 24);
    }
    icr(b, 0, 0x13, 0x4871); /* cluster 1, both members */
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    g_assert_cmpint(lapic_ack(b->lapic[2]), ==, 0x71);
    g_assert_cmpint(lapic_ack(b->lapic[3]), ==, 0x71);
    icr(b, 0, 0xf2, 0x4881); /* member 2 of every cluster */
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    g_assert_cmpint(lapic_ack(b->lapic[1]), ==, 0x81);
    g_assert_cmpint(lapic_ack(b->lapic[3]), ==, 0x81);
    board_free(b);
}

static void test_lowest_priority(void)
{
    struct board *b = board_new();
    int got[CPUS] = {0};
    apics_enable(b);
    for (int i = 0; i < CPUS; i++)
        apic_write(b, i, 0xd0, 1u << (24 + i));
    apic_write(b, 0, 0x80, 0x20);
    apic_write(b, 1, 0x80, 0x10);
    apic_write(b, 2, 0x80, 0x30);
    apic_write(b, 3, 0x80, 0x40);
    irqchip_send_msi(b->chip, 0xfee0f00c, 0x151);
    g_assert_cmpint(lapic_ack(b->lapic[1]), ==, 0x51);
    /* CPU 1 has it in service, so it is the focus although it is busy now */
    for (int i = 0; i < CPUS; i++)
        apic_write(b, i, 0xf0, 0x1ff & ~0x200);
    irqchip_send_msi(b->chip, 0xfee0f00c, 0x151);
    apic_write(b, 1, 0xb0, 0);
    g_assert_cmpint(lapic_ack(b->lapic[1]), ==, 0x51);
    apic_write(b, 1, 0xb0, 0);
    /* equals take turns */
    for (int i = 0; i < CPUS; i++)
        apic_write(b, i, 0x80, 0);
    for (int n = 0; n < 8; n++) {
        irqchip_send_msi(b->chip, 0xfee0f00c, 0x160);
        for (int i = 0; i < CPUS; i++) {
            if (lapic_ack(b->lapic[i]) == 0x60) {
                got[i]++;
                apic_write(b, i, 0xb0, 0);
            }
        }
    }
    for (int i = 0; i < CPUS; i++)
        g_assert_cmpint(got[i], ==, 2);
    board_free(b);
}

static void test_errors(void)
{
    struct board *b = board_new();
    apics_enable(b);
    apic_write(b, 0, 0x370, 0xe0);
    icr(b, 0, 0, 0x4005); /* illegal vector sent */
    g_assert_cmphex(apic_read(b, 0, 0x280), ==, 0);
    apic_write(b, 0, 0x280, 0);
    g_assert_cmphex(apic_read(b, 0, 0x280), ==, 0x20);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0xe0);
    apic_write(b, 0, 0xb0, 0);
    irqchip_send_msi(b->chip, 0xfee00000, 0x05); /* illegal vector received */
    apic_read(b, 0, 0x3f0);                      /* no such register */
    apic_write(b, 0, 0x280, 0);
    g_assert_cmphex(apic_read(b, 0, 0x280), ==, 0xc0);
    apic_write(b, 0, 0x370, 0x05); /* the error entry itself is wrong: no recursion */
    apic_read(b, 0, 0x3f0);
    apic_write(b, 0, 0x280, 0);
    g_assert_cmphex(apic_read(b, 0, 0x280), ==, 0xc0);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0xe0); /* from the received vector */
    board_free(b);
}

static void test_base_transitions(void)
{
    struct board *b = board_new();
    struct lapic *l = b->lapic[1];
    uint64_t v;
    g_assert_cmphex(lapic_base_get(b->lapic[0]), ==, 0xfee00900);
    g_assert_cmphex(lapic_base_get(l), ==, 0xfee00800);
    g_assert_false(lapic_base_set(l, 0xfee00801));         /* reserved */
    g_assert_false(lapic_base_set(l, 0xfee00400));         /* EXTD without EN */
    g_assert_false(lapic_base_set(l, 1ull << 52 | 0x800)); /* beyond the address width */
    g_assert_false(lapic_msr_read(l, 0x802, &v));          /* not in x2APIC mode */
    g_assert_true(lapic_base_set(l, 0xfee00c00));          /* to x2APIC */
    g_assert_false(lapic_base_set(l, 0xfee00800));         /* back is not allowed */
    g_assert_true(lapic_base_set(l, 0xfee00000));          /* off */
    g_assert_false(lapic_base_set(l, 0xfee00c00));         /* off to x2APIC is not allowed */
    g_assert_true(lapic_base_set(l, 0xfee00800));
    g_assert_cmphex(lapic_mmio_read(l, 0xf0, 4), ==, 0xff); /* the registers were lost */
    lapic_set_features(l, false, false, 36);
    g_assert_false(lapic_base_set(l, 0xfee00c00));
    g_assert_false(lapic_base_set(l, 0x1000000800));
    board_free(b);
}

static void test_x2apic_msrs(void)
{
    struct board *b = board_new();
    uint64_t v;
    for (int i = 0; i < CPUS; i++) {
        g_assert_true(lapic_base_set(b->lapic[i], lapic_base_get(b->lapic[i]) | 0x400));
        g_assert_true(lapic_msr_write(b->lapic[i], 0x80f, 0x1ff));
    }
    g_assert_true(lapic_msr_read(b->lapic[2], 0x802, &v));
    g_assert_cmphex(v, ==, 2);
    g_assert_true(lapic_msr_read(b->lapic[2], 0x80d, &v));
    g_assert_cmphex(v, ==, 4);
    g_assert_false(lapic_msr_write(b->lapic[0], 0x802, 0)); /* read-only */
    g_assert_false(lapic_msr_write(b->lapic[0], 0x80b, 1)); /* EOI takes 0 */
    g_assert_false(lapic_msr_read(b->lapic[0], 0x80b, &v)); /* write-only */
    g_assert_false(lapic_msr_write(b->lapic[0], 0x828, 1)); /* ESR takes 0 */
    g_assert_false(lapic_msr_read(b->lapic[0], 0x80e, &v)); /* no DFR */
    g_assert_false(lapic_msr_write(b->lapic[0], 0x808, 0x100));
    g_assert_false(lapic_msr_write(b->lapic[0], 0x808, 1ull << 32));
    g_assert_false(lapic_msr_write(b->lapic[0], 0x830, 1ull << 12));
    g_assert_false(lapic_msr_write(b->lapic[0], 0x8ff, 0));
    g_assert_true(
        lapic_msr_write(b->lapic[0], 0x835, 0x15700)); /* status bits: ignored, no fault */
    g_assert_true(lapic_msr_read(b->lapic[0], 0x835, &v));
    g_assert_cmphex(v, ==, 0x10700);
    g_assert_false(lapic_msr_write(b->lapic[0], 0x835, 1u << 20));
    g_assert_true(lapic_msr_write(b->lapic[0], 0x830, 3ull << 32 | 0x51));
    g_assert_cmpint(lapic_ack(b->lapic[3]), ==, 0x51);
    g_assert_true(lapic_msr_write(b->lapic[0], 0x830, 0x6ull << 32 | 0x852)); /* logical 1, 2 */
    g_assert_cmpint(lapic_ack(b->lapic[1]), ==, 0x52);
    g_assert_cmpint(lapic_ack(b->lapic[2]), ==, 0x52);
    g_assert_true(lapic_msr_write(b->lapic[0], 0x830, 0xffull << 32 | 0x53)); /* CPU 255 */
    g_assert_true(lapic_msr_write(b->lapic[0], 0x83f, 0x61));                 /* self IPI */
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x61);
    g_assert_true(lapic_msr_write(b->lapic[0], 0x830, 0xffffffffull << 32 | 0x71));
    for (int i = 0; i < CPUS; i++)
        g_assert_cmpint(lapic_ack(b->lapic[i]), ==, 0x71);
    g_assert_cmphex(lapic_mmio_read(b->lapic[0], 0x20, 4), ==, UINT64_MAX);
    board_free(b);
}

/* Runs the main loop until the CPU has something pending or a second has passed. */
static int wait_pending(struct board *b, unsigned cpu)
{
    uint64_t end = host_clock_ns() + 1000000000ull;
    int v;
    while ((v = lapic_pending(b->lapic[cpu])) < 0 && host_clock_ns() < end)
        if (!g_main_context_iteration(NULL, false))
            g_usleep(100);
    return v;
}

static void test_timer_oneshot_and_periodic(void)
{
    struct board *b = board_new();
    uint32_t left;
    vm_clock_start(b->clock);
    apics_enable(b);
    apic_write(b, 0, 0x3e0, 0xb); /* divide by 1 */
    apic_write(b, 0, 0x320, 0x31);
    apic_write(b, 0, 0x380, 2000000); /* 2 ms */
    left = apic_read(b, 0, 0x390);
    g_assert_cmpuint(left, >, 0);
    g_assert_cmpuint(left, <=, 2000000);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    g_assert_cmpint(wait_pending(b, 0), ==, 0x31);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x31);
    g_assert_cmpuint(apic_read(b, 0, 0x390), ==, 0);
    apic_write(b, 0, 0xb0, 0);
    apic_write(b, 0, 0x320, 0x20032);
    apic_write(b, 0, 0x3e0, 0x3); /* divide by 16 */
    apic_write(b, 0, 0x380, 100000);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(wait_pending(b, 0), ==, 0x32);
        g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x32);
        apic_write(b, 0, 0xb0, 0);
    }
    apic_write(b, 0, 0x380, 1); /* hostile period of 16 ns: bounded, still alive */
    for (int i = 0; i < 50; i++) {
        g_assert_cmpint(wait_pending(b, 0), ==, 0x32);
        lapic_ack(b->lapic[0]);
        apic_write(b, 0, 0xb0, 0);
    }
    apic_write(b, 0, 0x380, 0);
    g_assert_cmpuint(apic_read(b, 0, 0x390), ==, 0);
    board_free(b);
}

/* A clock that only moves when told to, and no main loop: what registers say must not wait for it.
 */
static void test_timer_mode_changes(void)
{
    struct board *b = board_new();
    vm_clock_set_ns(b->clock, 5000);
    apics_enable(b);
    apic_write(b, 0, 0x3e0, 0xb);
    apic_write(b, 0, 0x320, 0x20031); /* periodic */
    apic_write(b, 0, 0x380, 1000000);
    vm_clock_set_ns(b->clock, 5000 + 2400000);
    apic_write(b, 0, 0x320, 0x31); /* one-shot: goes on where it was */
    g_assert_cmpuint(apic_read(b, 0, 0x390), ==, 600000);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x31);
    apic_write(b, 0, 0xb0, 0);
    vm_clock_set_ns(b->clock, 5000 + 2600000);
    apic_write(b, 0, 0x320, 0x20031); /* and back */
    g_assert_cmpuint(apic_read(b, 0, 0x390), ==, 400000);
    apic_write(b, 0, 0x320, 0x31);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    vm_clock_set_ns(b->clock, 5000 + 3000000);
    /* Zero to see is an interrupt to get. */
    g_assert_cmpuint(apic_read(b, 0, 0x390), ==, 0);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x31);
    apic_write(b, 0, 0xb0, 0);
    apic_write(b, 0, 0x320, 0x20031); /* has ended: stays so */
    vm_clock_set_ns(b->clock, 5000 + 9000000);
    g_assert_cmpuint(apic_read(b, 0, 0x390), ==, 0);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    /* What fell due does so by the entry of that time. */
    apic_write(b, 0, 0x320, 0x31);
    apic_write(b, 0, 0x380, 1000);
    vm_clock_set_ns(b->clock, 5000 + 9001000);
    apic_write(b, 0, 0x320, 0x10032);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x31);
    board_free(b);
}

/* A count that runs is saved as one that runs, whatever the clock has done to it. */
static void test_timer_saved_when_the_clock_was_set_back(void)
{
    struct board *b = board_new();
    uint8_t regs[1024];
    uint64_t base;
    g_autoptr(GError) err = NULL;

    vm_clock_set_ns(b->clock, 9000000);
    apics_enable(b);
    apic_write(b, 0, 0x3e0, 0xb);
    apic_write(b, 0, 0x320, 0x31);
    apic_write(b, 0, 0x380, 2000);
    vm_clock_set_ns(b->clock, 5000);
    lapic_state_get(b->lapic[0], regs, &base);
    lapic_reset(b->lapic[0], false);
    g_assert_true(lapic_state_set(b->lapic[0], regs, base, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(apic_read(b, 0, 0x390), ==, 2000);
    vm_clock_set_ns(b->clock, 5000 + 2000);
    g_assert_cmpuint(apic_read(b, 0, 0x390), ==, 0);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x31);
    board_free(b);
}

static void test_timer_deadline(void)
{
    struct board *b = board_new();
    vm_clock_start(b->clock);
    apics_enable(b);
    tsc_now = 1000;
    lapic_deadline_set(b->lapic[0], 500); /* not in deadline mode: ignored */
    g_assert_cmpuint(lapic_deadline_get(b->lapic[0]), ==, 0);
    apic_write(b, 0, 0x320, 0x40041);
    apic_write(b, 0, 0x380, 77);
    g_assert_cmpuint(apic_read(b, 0, 0x380), ==, 0);
    lapic_deadline_set(b->lapic[0], 500); /* in the past: at once */
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x41);
    apic_write(b, 0, 0xb0, 0);
    lapic_deadline_set(b->lapic[0], 200000);
    g_assert_cmpuint(lapic_deadline_get(b->lapic[0]), ==, 200000);
    g_usleep(1000);
    g_main_context_iteration(NULL, false);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1); /* the TSC has not got there */
    tsc_now = 200000;
    g_assert_cmpint(wait_pending(b, 0), ==, 0x41);
    g_assert_cmpuint(lapic_deadline_get(b->lapic[0]), ==, 0);
    lapic_deadline_set(b->lapic[0], 1u << 30);
    apic_write(b, 0, 0x320, 0x41); /* leaving the mode disarms */
    g_assert_cmpuint(lapic_deadline_get(b->lapic[0]), ==, 0);
    board_free(b);
}

static void test_lapic_state_moves(void)
{
    struct board *a = board_new(), *b = board_new();
    uint8_t regs[1024], again[1024];
    uint64_t base, base_again;
    GError *err = NULL;
    apics_enable(a);
    irqchip_send_msi(a->chip, 0xfee01000, 0x61);
    irqchip_send_msi(a->chip, 0xfee01000, 0xc071);
    g_assert_cmpint(lapic_ack(a->lapic[1]), ==, 0x71);
    apic_write(a, 1, 0x80, 0x20);
    apic_write(a, 1, 0x320, 0x20033);
    apic_write(a, 1, 0x380, 5000);
    lapic_state_get(a->lapic[1], regs, &base);
    g_assert_true(lapic_state_set(b->lapic[1], regs, base, &err));
    lapic_state_get(b->lapic[1], again, &base_again);
    g_assert_cmphex(base, ==, base_again);
    g_assert_cmpmem(regs, sizeof(regs), again, sizeof(again));
    apic_write(b, 1, 0xb0, 0);
    g_assert_cmpint(lapic_ack(b->lapic[1]), ==, 0x61);
    memset(regs, 0xff, sizeof(regs)); /* hostile */
    g_assert_false(lapic_state_set(b->lapic[1], regs, 0xfee00400, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    g_assert_true(lapic_state_set(b->lapic[1], regs, 0xfee00800, &err));
    lapic_pending(b->lapic[1]);
    for (uint32_t off = 0; off < 0x1000; off += 16)
        lapic_mmio_write(b->lapic[1], off, 4, lapic_mmio_read(b->lapic[1], off, 4));
    board_free(a);
    board_free(b);
}

static void test_devices_save_and_load(void)
{
    struct board *a = board_new(), *b = board_new();
    struct state_writer *w = state_writer_new(), *w2 = state_writer_new();
    struct state_reader *r;
    const uint8_t *data, *data2;
    size_t len, len2;
    GError *err = NULL;
    pic_init(a);
    outb(a, 0x21, 0x40);
    outb(a, 0x4d0, 0x20);
    irq_set(&a->line[4], true);
    apics_enable(a);
    apics_enable(b);
    rte_set(a, 20, 0x8055, 0);
    irq_set(&a->line[20], true);
    device_list_save(&a->devices, w);
    data = state_writer_data(w, &len);
    r = state_reader_new(data, len, &err);
    g_assert_no_error(err);
    g_assert_true(device_list_load(&b->devices, r, &err));
    g_assert_no_error(err);
    device_list_save(&b->devices, w2);
    data2 = state_writer_data(w2, &len2);
    g_assert_cmpmem(data, len, data2, len2);
    /* the devices drive their lines again: no second edge, the level is in service already */
    lapic_virtual_wire(b->lapic[0]);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, 0x24);
    irq_set(&b->line[4], true);
    irq_set(&b->line[20], true);
    g_assert_cmpint(lapic_ack(b->lapic[0]), ==, -1);
    state_reader_free(r);
    state_writer_free(w);
    state_writer_free(w2);
    board_free(a);
    board_free(b);
}

/* Any bytes at any register: nothing may crash, hang, or deliver a vector below 16. */
static void test_random_writes(void)
{
    struct board *b = board_new();
    apics_enable(b);
    for (int n = 0; n < 200000; n++) {
        unsigned cpu = g_test_rand_int_range(0, CPUS);
        uint32_t v = (uint32_t)g_test_rand_int();
        int got;
        switch (g_test_rand_int_range(0, 8)) {
        case 0:
            lapic_mmio_write(b->lapic[cpu], v & 0xfff, 1u << (v >> 30), g_test_rand_int());
            break;
        case 1:
            lapic_mmio_write(b->lapic[cpu], v & 0xff0, 4, (uint32_t)g_test_rand_int());
            break;
        case 2:
            lapic_msr_write(b->lapic[cpu], 0x800 + (v & 0xff), (uint32_t)g_test_rand_int());
            break;
        case 3:
            ioapic_write(b, v, (uint32_t)g_test_rand_int());
            break;
        case 4:
            outb(b, (v & 0x80 ? 0xa0 : 0x20) + (v & 1), v >> 8);
            break;
        case 5:
            irq_set(&b->line[v % IRQ_GSI_COUNT], v & 0x100);
            break;
        case 6:
            irqchip_send_msi(b->chip, 0xfee00000 | (v & 0xfffff), (uint32_t)g_test_rand_int());
            break;
        case 7:
            if (v % 64 == 0)
                lapic_base_set(b->lapic[cpu], 0xfee00000 | (v >> 20));
            break;
        }
        got = lapic_ack(b->lapic[cpu]);
        g_assert_true(got < 256);
        lapic_mmio_write(b->lapic[cpu], 0xb0, 4, 0);
    }
    board_free(b);
}

/* Senders in threads, one receiver: every vector that is sent is seen. */
static void *storm(void *opaque)
{
    struct board *b = opaque;
    for (int i = 0; i < 20000; i++)
        irqchip_send_msi(b->chip, 0xfee00000, 0x20 + i % 0xd0);
    return NULL;
}

static void test_delivery_from_threads(void)
{
    struct board *b = board_new();
    GThread *t[3];
    int acks = 0;
    apics_enable(b);
    for (int i = 0; i < 3; i++)
        t[i] = g_thread_new("storm", storm, b);
    for (int i = 0; i < 100000; i++) {
        if (lapic_pending(b->lapic[0]) >= 0 && lapic_ack(b->lapic[0]) >= 0) {
            acks++;
            apic_write(b, 0, 0xb0, 0);
        }
    }
    for (int i = 0; i < 3; i++)
        g_thread_join(t[i]);
    while (lapic_ack(b->lapic[0]) >= 0) {
        acks++;
        apic_write(b, 0, 0xb0, 0);
    }
    g_assert_cmpint(acks, >=, 0xd0);
    g_assert_cmpint(lapic_pending(b->lapic[0]), ==, -1);
    board_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pic/priority-eoi", test_pic_priority_and_eoi);
    g_test_add_func("/pic/cascade-mask-spurious", test_pic_cascade_mask_and_spurious);
    g_test_add_func("/pic/level-rotation-poll", test_pic_level_rotation_poll);
    g_test_add_func("/lapic/disabled-passes-intr", test_disabled_apic_passes_intr_through);
    g_test_add_func("/ioapic/edge", test_ioapic_edge);
    g_test_add_func("/ioapic/level-remote-irr", test_ioapic_level_remote_irr);
    g_test_add_func("/lapic/priorities", test_priorities_tpr_eoi);
    g_test_add_func("/lapic/msi-modes", test_msi_modes);
    g_test_add_func("/lapic/ipi", test_ipi_shorthands_init_sipi);
    g_test_add_func("/lapic/logical", test_logical_flat_and_cluster);
    g_test_add_func("/lapic/lowest-priority", test_lowest_priority);
    g_test_add_func("/lapic/errors", test_errors);
    g_test_add_func("/lapic/base-transitions", test_base_transitions);
    g_test_add_func("/lapic/x2apic", test_x2apic_msrs);
    g_test_add_func("/lapic/timer", test_timer_oneshot_and_periodic);
    g_test_add_func("/lapic/timer-mode-changes", test_timer_mode_changes);
    g_test_add_func("/lapic/timer-saved-when-the-clock-was-set-back",
                    test_timer_saved_when_the_clock_was_set_back);
    g_test_add_func("/lapic/deadline", test_timer_deadline);
    g_test_add_func("/lapic/state", test_lapic_state_moves);
    g_test_add_func("/irqchip/save-load", test_devices_save_and_load);
    g_test_add_func("/irqchip/random", test_random_writes);
    g_test_add_func("/irqchip/threads", test_delivery_from_threads);
    return g_test_run();
}
