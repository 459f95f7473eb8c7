/* vt_board.c - a board without CPUs in the test's own process. */
#include "vt.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/state.h"
#include "bus/pci.h"
#include "mem/guest_mem.h"
#include "virtio/devices.h"

#include <errno.h>

#define MSI_VECTORS 64
#define SLOTS       4
#define SLOT_BASE   UINT64_C(0xfeb00000)

struct vt_board {
    struct vt_bus bus; /* first */
    struct device_list devices;
    struct io_space *pio, *mmio;
    struct irqchip chip;
    struct guest_mem *mem;
    struct ram_block *low, *high;
    struct pci_host pci;
    struct vm_clock *clock;
    struct virtio_mmio_slot slot[SLOTS];
    unsigned msi[MSI_VECTORS];
    bool gsi_level;
};

static void bus_out(struct vt_bus *b, uint16_t port, unsigned size, uint32_t val)
{
    io_space_write(((struct vt_board *)b)->pio, port, size, val);
}

static uint32_t bus_in(struct vt_bus *b, uint16_t port, unsigned size)
{
    return (uint32_t)io_space_read(((struct vt_board *)b)->pio, port, size);
}

static void bus_write(struct vt_bus *b, uint64_t addr, unsigned size, uint64_t val)
{
    io_space_write(((struct vt_board *)b)->mmio, addr, size, val);
}

static uint64_t bus_read(struct vt_bus *b, uint64_t addr, unsigned size)
{
    return io_space_read(((struct vt_board *)b)->mmio, addr, size);
}

static void bus_mem_write(struct vt_bus *b, uint64_t gpa, const void *data, size_t len)
{
    g_assert_cmpint(guest_mem_write(((struct vt_board *)b)->mem, GPA(gpa), data, len), ==, 0);
}

static void bus_mem_read(struct vt_bus *b, uint64_t gpa, void *data, size_t len)
{
    g_assert_cmpint(guest_mem_read(((struct vt_board *)b)->mem, GPA(gpa), data, len), ==, 0);
}

static void bus_pump(struct vt_bus *b)
{
    if (!g_main_context_iteration(NULL, FALSE))
        g_usleep(100); /* something may be with the kernel or a worker thread */
}

static void chip_set_gsi(struct irqchip *c, unsigned gsi, bool level)
{
    container_of(c, struct vt_board, chip)->gsi_level = level;
}

static void chip_send_msi(struct irqchip *c, uint64_t addr, uint32_t data)
{
    struct vt_board *b = container_of(c, struct vt_board, chip);
    if (data < MSI_VECTORS)
        __atomic_fetch_add(&b->msi[data], 1, __ATOMIC_RELAXED);
}

static const struct irqchip_ops chip_ops = {.set_gsi = chip_set_gsi, .send_msi = chip_send_msi};

static unsigned route_intx(struct pci_host *h, uint8_t slot, unsigned pin)
{
    return 16 + pin;
}

static void map_ram(struct vt_board *b)
{
    b->low = ram_block_new("low", VT_RAM_END, false, false, NULL);
    b->high = ram_block_new("high", VT_RAM_END, false, false, NULL);
    g_assert_nonnull(b->low);
    g_assert_nonnull(b->high);
    guest_mem_map(b->mem, GPA(0), b->low, 0, VT_RAM_SPLIT, GUEST_RAM);
    guest_mem_map(b->mem, GPA(VT_RAM_SPLIT), b->low, VT_RAM_SPLIT, VT_RAM_END - VT_RAM_SPLIT,
                  GUEST_RAM);
    guest_mem_map(b->mem, GPA(VT_RAM_HIGH), b->high, 0, VT_RAM_END, GUEST_RAM);
}

struct vt_board *vt_board_new(void)
{
    struct vt_board *b = g_new0(struct vt_board, 1);

    b->bus = (struct vt_bus){.out = bus_out,
                             .in = bus_in,
                             .write = bus_write,
                             .read = bus_read,
                             .mem_write = bus_mem_write,
                             .mem_read = bus_mem_read,
                             .pump = bus_pump,
                             .next_mem = 0x10000,
                             .next_mmio = 0xe0000000};
    device_list_init(&b->devices);
    b->pio = io_space_new("pio", 0x10000);
    b->mmio = io_space_new("mmio", UINT64_C(1) << 52);
    irqchip_init(&b->chip, &chip_ops);
    b->mem = guest_mem_new();
    map_ram(b);
    b->pci.route_intx = route_intx;
    pci_host_init(&b->pci, &b->devices, b->pio, b->mmio, &b->chip, b->mem);
    b->pci.route_intx = route_intx;
    b->clock = vm_clock_new();
    vt_board_resume(b);
    return b;
}

void vt_board_free(struct vt_board *b)
{
    vt_board_pause(b);
    device_list_fini(&b->devices);
    pci_host_fini(&b->pci);
    vm_clock_free(b->clock);
    guest_mem_free(b->mem);
    ram_block_free(b->low);
    ram_block_free(b->high);
    irqchip_fini(&b->chip);
    io_space_free(b->pio);
    io_space_free(b->mmio);
    g_free(b);
}

struct vt_bus *vt_board_bus(struct vt_board *b)
{
    return &b->bus;
}

struct pci_host *vt_board_pci(struct vt_board *b)
{
    return &b->pci;
}

struct guest_mem *vt_board_mem(struct vt_board *b)
{
    return b->mem;
}

struct vm_clock *vt_board_clock(struct vt_board *b)
{
    return b->clock;
}

void vt_board_place(struct vt_board *b, struct virtio_place *c, uint8_t devfn, const char *id)
{
    c->bus = vt_board_pci(b)->root;
    c->devfn = devfn;
    c->id = id;
    c->clock = vt_board_clock(b);
}

struct virtio_mmio_slot *vt_board_slot(struct vt_board *b, unsigned index)
{
    struct virtio_mmio_slot *s = &b->slot[index];

    g_assert_cmpuint(index, <, SLOTS);
    if (!s->devices)
        *s = (struct virtio_mmio_slot){.index = index,
                                       .base = SLOT_BASE + index * VIRTIO_MMIO_BYTES,
                                       .gsi = 16,
                                       .devices = &b->devices,
                                       .mmio = b->mmio,
                                       .irqchip = &b->chip,
                                       .mem = b->mem};
    return s;
}

struct device_list *vt_board_devices(struct vt_board *b)
{
    return &b->devices;
}

void vt_board_pause(struct vt_board *b)
{
    pthread_mutex_lock(&b->devices.lock);
    b->devices.vm_running = false;
    pthread_mutex_unlock(&b->devices.lock);
    vm_clock_stop(b->clock);
    device_list_drain(&b->devices);
}

void vt_board_resume(struct vt_board *b)
{
    pthread_mutex_lock(&b->devices.lock);
    b->devices.vm_running = true;
    pthread_mutex_unlock(&b->devices.lock);
    vm_clock_start(b->clock);
}

void vt_board_reset(struct vt_board *b)
{
    vt_board_pause(b);
    pthread_mutex_lock(&b->devices.lock);
    device_list_reset(&b->devices);
    pthread_mutex_unlock(&b->devices.lock);
    vt_board_resume(b);
}

unsigned vt_board_msi_count(struct vt_board *b, unsigned vector)
{
    return __atomic_load_n(&b->msi[vector], __ATOMIC_RELAXED);
}

bool vt_board_intx(struct vt_board *b)
{
    return b->gsi_level;
}

GBytes *vt_board_save(struct vt_board *b)
{
    struct state_writer *w = state_writer_new();
    size_t len;

    pthread_mutex_lock(&b->devices.lock);
    device_list_save(&b->devices, w);
    pthread_mutex_unlock(&b->devices.lock);
    const uint8_t *data = state_writer_data(w, &len);
    GByteArray *all = g_byte_array_new();
    uint64_t len64 = len;
    g_byte_array_append(all, (const guint8 *)&len64, sizeof(len64));
    g_byte_array_append(all, data, (guint)len);
    g_byte_array_append(all, ram_block_host(b->low), VT_RAM_END);
    g_byte_array_append(all, ram_block_host(b->high), VT_RAM_END);
    state_writer_free(w);
    return g_byte_array_free_to_bytes(all);
}

bool vt_board_load_devices(struct vt_board *b, const uint8_t *data, size_t len, GError **err)
{
    struct state_reader *r = state_reader_new(data, len, err);

    if (!r)
        return false;
    pthread_mutex_lock(&b->devices.lock);
    bool ok = device_list_load(&b->devices, r, err) && state_reader_finish(r, err);
    pthread_mutex_unlock(&b->devices.lock);
    state_reader_free(r);
    if (ok)
        pci_host_remap(&b->pci);
    return ok;
}

bool vt_board_load(struct vt_board *b, GBytes *state, GError **err)
{
    gsize all;
    const uint8_t *p = g_bytes_get_data(state, &all);
    uint64_t len;

    memcpy(&len, p, sizeof(len));
    g_assert_cmpuint(all, ==, sizeof(len) + len + 2 * VT_RAM_END);
    memcpy(ram_block_host(b->low), p + sizeof(len) + len, VT_RAM_END);
    memcpy(ram_block_host(b->high), p + sizeof(len) + len + VT_RAM_END, VT_RAM_END);
    return vt_board_load_devices(b, p + sizeof(len), len, err);
}

void vt_board_load_same(struct vt_board *b, GBytes *state)
{
    GError *err = NULL;

    vt_board_pause(b);
    g_assert_true(vt_board_load(b, state, &err));
    g_assert_no_error(err);
    g_autoptr(GBytes) again = vt_board_save(b);
    g_assert_true(g_bytes_equal(state, again));
}
