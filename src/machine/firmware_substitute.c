/* firmware_substitute.c - leaves the machine as PC firmware would, then places the kernel.
 *
 * Runs at machine_new and after every reset when no firmware image is given.  In order:
 *   1. chip set: ECAM, PM block and SCI, PIRQ routing, RCBA; PCI addresses (pci_assign.c)
 *   2. 8259 pair at vectors 0x08/0x70 with IRQ 0 open, PIT channel 0 running
 *   3. ACPI tables by their loader commands, SMBIOS; e820
 *   4. real mode's leftovers: vectors, BIOS data area
 *   5. every vcpu's MTRRs; the first one's virtual-wire LAPIC
 *   6. the boot image, or a few instructions that say there is none
 *
 * Threads: main, vcpus paused. */
#include "board.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "bus/acpi.h"
#include "bus/fw_cfg.h"
#include "cpu/vcpu.h"
#include "mem/guest_mem.h"
#include "mem/layout.h"

enum {
    FSEG_BASE = 0xf0000,
    FSEG_STUBS = 0xfe000, /* real-mode code, above what tables may take */
    FSEG_SEGMENT = 0xf000,
    EBDA_SEGMENT = 0x9fc0,
    FACS_WAKING_VECTOR = 12,
    LAPIC_SVR = 0xf0,
    LAPIC_LVT0 = 0x350,
    LAPIC_LVT1 = 0x360,
};

/* ---- 1. chip set ---- */

static void chipset_setup(struct machine *m)
{
    m->board->firmware_setup(m);
    board_tables_follow(m);
    if (m->pci.root)
        pci_assign(&m->pci, &m->map.pci32, &m->map.pci64);
}

/* ---- 2. legacy interrupts and timer ----
 * Under an in-kernel irqchip nobody answers at these ports here: guests program those chips. */

static void legacy_irqs_setup(struct machine *m)
{
    static const struct {
        uint16_t port;
        uint8_t val;
    } script[] = {
        {0x20, 0x11},  {0xa0, 0x11},               /* ICW1: edge, cascade, ICW4 */
        {0x21, 0x08},  {0xa1, 0x70},               /* ICW2: vectors */
        {0x21, 0x04},  {0xa1, 0x02},               /* ICW3: the wire between them */
        {0x21, 0x01},  {0xa1, 0x01},               /* ICW4: 8086 mode */
        {0x21, 0xfa},  {0xa1, 0xff},               /* IRQ 0 and the cascade are open */
        {0x4d1, 0x0e},                             /* IRQ 9 (SCI), 10, 11 (PIRQs) by level */
        {0x43, 0x34},  {0x40, 0x00}, {0x40, 0x00}, /* channel 0: rate generator, 18.2 Hz */
    };

    for (size_t i = 0; i < ARRAY_SIZE(script); i++)
        io_space_write(m->pio, script[i].port, 1, script[i].val);
}

/* ---- 3. tables ---- */

struct placer {
    struct acpi_placer base; /* first */
    uint64_t high_top;       /* allocated downwards */
    uint64_t fseg_next;      /* allocated upwards */
};

static uint64_t place(struct acpi_placer *base, enum acpi_zone zone, uint64_t size, uint64_t align)
{
    struct placer *p = container_of(base, struct placer, base);
    uint64_t at;

    if (zone == ACPI_ZONE_FSEG) {
        at = ALIGN_UP(p->fseg_next, align);
        if (at + size > FSEG_STUBS)
            return UINT64_MAX;
        p->fseg_next = at + size;
        return at;
    }
    if (size > p->high_top || ALIGN_DOWN(p->high_top - size, align) < MiB)
        return UINT64_MAX;
    return p->high_top = ALIGN_DOWN(p->high_top - size, align);
}

/* ---- 4. real mode ---- */

/* Reached through the interrupt vector table at F000:0000 + (address - FSEG_BASE). */
static const uint8_t stub_iret[] = {0xcf};
static const uint8_t stub_irq_master[] = {0x50, 0xb0, 0x20, 0xe6,
                                          0x20, 0x58, 0xcf}; /* push ax; EOI; pop ax; iret */
static const uint8_t stub_irq_slave[] = {0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf};
/* push ax; push ds; xor ax, ax; mov ds, ax; inc dword [0x46c]; EOI; pop ds; pop ax; iret */
static const uint8_t stub_timer[] = {0x50, 0x1e, 0x31, 0xc0, 0x8e, 0xd8, 0x66, 0xff, 0x06,
                                     0x6c, 0x04, 0xb0, 0x20, 0xe6, 0x20, 0x1f, 0x58, 0xcf};
/* mov si, text; 1: cs lodsb; test al, al; jz 3; mov ah, al; mov dx, 0x3fd; 2: in al, dx;
 * test al, 0x20; jz 2; mov dx, 0x3f8; mov al, ah; out dx, al; jmp 1; 3: cli; hlt; jmp 3 */
static const uint8_t stub_no_kernel[] = {
    0xbe, 0x00, 0xe1, 0x2e, 0xac, 0x84, 0xc0, 0x74, 0x12, 0x88, 0xc4, 0xba, 0xfd, 0x03, 0xec, 0xa8,
    0x20, 0x74, 0xfb, 0xba, 0xf8, 0x03, 0x88, 0xe0, 0xee, 0xeb, 0xe8, 0xfa, 0xf4, 0xeb, 0xfd};
static const char text_no_kernel[] = "No kernel to boot: start hanok-vm with -kernel FILE.\r\n";

/* mov dx, 0xcf9; mov al, 6; out dx, al; 1: cli; hlt; jmp 1 */
static const uint8_t stub_restart[] = {0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xfa, 0xf4, 0xeb, 0xfc};
/* At F000:FFF0, where a PC's firmware starts: guests jump there to restart (Linux: reboot=bios). */
static const uint8_t jump_restart[] = {0xea, 0x80, 0xe0, 0x00, 0xf0}; /* jmp f000:e080 */

enum {
    OFF_IRET = 0x00,
    OFF_MASTER = 0x10,
    OFF_SLAVE = 0x20,
    OFF_TIMER = 0x30,
    OFF_NO_KERNEL = 0x60,
    OFF_RESTART = 0x80,
    OFF_TEXT = 0x100,
    OFF_START = 0x1ff0, /* F000:FFF0 */
};

static bool real_mode_setup(struct machine *m)
{
    static const struct {
        unsigned off;
        const void *data;
        size_t len;
    } parts[] = {
        {OFF_IRET, stub_iret, sizeof(stub_iret)},
        {OFF_MASTER, stub_irq_master, sizeof(stub_irq_master)},
        {OFF_SLAVE, stub_irq_slave, sizeof(stub_irq_slave)},
        {OFF_TIMER, stub_timer, sizeof(stub_timer)},
        {OFF_NO_KERNEL, stub_no_kernel, sizeof(stub_no_kernel)},
        {OFF_RESTART, stub_restart, sizeof(stub_restart)},
        {OFF_START, jump_restart, sizeof(jump_restart)},
        {OFF_TEXT, text_no_kernel, sizeof(text_no_kernel)},
    };
    uint8_t low[0x500] = {0};
    bool ok = true;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        ok &= guest_mem_write(m->mem, GPA(FSEG_STUBS + parts[i].off), parts[i].data,
                              parts[i].len) == 0;
    for (unsigned v = 0; v < 256; v++) {
        unsigned stub = v == 0x08                ? OFF_TIMER
                        : v >= 0x09 && v <= 0x0f ? OFF_MASTER
                        : v >= 0x70 && v <= 0x77 ? OFF_SLAVE
                                                 : OFF_IRET;
        le16_put(low + 4 * v, (uint16_t)(FSEG_STUBS - FSEG_BASE + stub));
        le16_put(low + 4 * v + 2, FSEG_SEGMENT);
    }
    if (m->com_mask & 1)
        le16_put(low + 0x400, 0x3f8);
    if (m->com_mask & 2)
        le16_put(low + 0x402, 0x2f8);
    le16_put(low + 0x40e, EBDA_SEGMENT);
    le16_put(low + 0x413, EBDA_SEGMENT >> 6); /* KiB of base memory */
    ok &= guest_mem_write(m->mem, GPA(0), low, sizeof(low)) == 0;
    return ok && guest_mem_write(m->mem, GPA((uint64_t)EBDA_SEGMENT << 4), "\1", 1) == 0;
}

/* ---- 5. vcpus ---- */

/* SDM vol.3 §12.11: write-back, but uncached where devices are: the VGA hole, ECAM, the window. */
static void mtrr_setup(struct x86_state *s, const struct memory_map *map, unsigned phys_bits)
{
    uint64_t mask = (UINT64_C(1) << phys_bits) - 1;

    for (unsigned i = 0; i < X86_MTRR_FIXED; i++)
        s->mtrr_fixed[i] = i < 2    ? UINT64_C(0x0606060606060606)
                           : i == 2 ? 0
                                    : UINT64_C(0x0505050505050505);
    s->mtrr_base[0] = map->pci32.base; /* a power of two below 4 GiB */
    s->mtrr_mask[0] = (~(4 * GiB - map->pci32.base - 1) & mask) | 0x800;
    if (map->ecam.size_bytes) {
        s->mtrr_base[1] = map->ecam.base;
        s->mtrr_mask[1] = (~(map->ecam.size_bytes - 1) & mask) | 0x800;
    }
    s->mtrr_def_type = 0xc06;
}

/* SDM vol.3 §11.5.1: external interrupts through LINT0, NMI on LINT1. */
static void virtual_wire_setup(struct x86_state *s)
{
    le32_put(s->lapic + LAPIC_SVR, 0x1ff);
    le32_put(s->lapic + LAPIC_LVT0, 0x700);
    le32_put(s->lapic + LAPIC_LVT1, 0x400);
}

static void no_kernel_setup(struct x86_state *s)
{
    s->seg[SEG_CS].sel = FSEG_SEGMENT;
    s->seg[SEG_CS].base = FSEG_BASE;
    s->rip = FSEG_STUBS - FSEG_BASE + OFF_NO_KERNEL;
}

/* The real-mode start the guest asked for before it slept (ACPI 6.4 §5.2.10). */
static void wake_setup(struct x86_state *s, uint32_t vector)
{
    s->seg[SEG_CS].sel = (uint16_t)(vector >> 4);
    s->seg[SEG_CS].base = vector & 0xffff0;
    s->rip = vector & 0xf;
}

/* What the first vcpu starts with: the kernel (env), or the wake-up vector when env is NULL. */
static bool first_vcpu_setup(struct machine *m, struct x86_state *s, const struct boot_env *env,
                             uint32_t wake_vector, GError **err)
{
    struct boot_env with_cpu;

    virtual_wire_setup(s);
    if (!env) {
        wake_setup(s, wake_vector);
        return true;
    }
    if (!m->boot) {
        no_kernel_setup(s);
        return true;
    }
    with_cpu = *env;
    with_cpu.bsp = s;
    return boot_image_place(m->boot, &with_cpu, err);
}

static bool vcpus_setup(struct machine *m, const struct boot_env *env, uint32_t wake_vector,
                        GError **err)
{
    g_autofree struct x86_state *s = NULL;
    unsigned phys_bits = cpu_set_model(m->cpus)->phys_bits;
    void *raw = NULL;

    if (posix_memalign(&raw, 64, sizeof(*s)) != 0)
        return error_set(err, HANOK_ERROR_IO, "out of memory");
    s = raw;
    for (unsigned i = 0; i < cpu_set_count(m->cpus); i++) {
        struct vcpu *v = cpu_set_get(m->cpus, i);
        vcpu_get_state(v, s);
        mtrr_setup(s, &m->map, phys_bits);
        if (i == 0 && !first_vcpu_setup(m, s, env, wake_vector, err))
            return false;
        if (!vcpu_set_state(v, s, err))
            return false;
    }
    return true;
}

bool firmware_substitute_run(struct machine *m, GError **err)
{
    struct placer p = {.base = {.alloc = place, .mem = m->mem},
                       .high_top = m->map.low_bytes,
                       .fseg_next = FSEG_BASE};
    struct e820_entry e820[E820_MAX];
    struct acpi_placed placed;
    struct boot_env env = {.mem = m->mem,
                           .e820 = e820,
                           .ram_low_end = m->map.low_bytes,
                           .ram_high_base = m->map.high_base,
                           .ram_high_end = m->map.high_base + m->map.high_bytes};

    pthread_mutex_lock(&m->devices.lock);
    chipset_setup(m);
    mem_layouts_apply(m->mem);
    machine_map_settled(m);
    pthread_mutex_unlock(&m->devices.lock);
    legacy_irqs_setup(m);
    if (!acpi_load(m->fw_cfg, &p.base, &placed, err) || !smbios_load(m->fw_cfg, &p.base, err))
        return false;
    m->facs_gpa = placed.facs;
    env.rsdp_gpa = placed.rsdp;
    env.ram_low_usable = ALIGN_DOWN(p.high_top, UINT64_C(4096));
    env.e820_count = memory_map_e820(&m->map, env.ram_low_usable, e820);
    if (!real_mode_setup(m))
        return error_set(err, HANOK_ERROR_INVALID, "the machine has too little memory to start");
    return !m->cpus || vcpus_setup(m, &env, 0, err);
}

bool firmware_substitute_wake(struct machine *m, GError **err)
{
    uint8_t vector[4] = {0};

    if (guest_mem_read(m->mem, GPA(m->facs_gpa + FACS_WAKING_VECTOR), vector, sizeof(vector)) ||
        le32_get(vector) == 0 || le32_get(vector) >= MiB)
        return error_set(err, HANOK_ERROR_INVALID,
                         "the guest has left no real-mode wake-up vector");
    return !m->cpus || vcpus_setup(m, NULL, le32_get(vector), err);
}
