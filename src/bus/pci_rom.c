/* pci_rom.c - expansion ROMs: code a card brings along for the firmware (PCI 3.0 §6.2.5.2, §6.3).
 *
 * The image is read through its BAR only; firmware copies it to RAM before it runs. */
#include "pci_internal.h"

#include "base/util.h"

#include <assert.h>
#include <glib.h>

enum { ROM_ENABLE = 1, ROM_BYTES_MIN = 2048 };

struct pci_rom {
    struct io_region region;
    uint8_t *data; /* region.size_bytes */
    uint64_t mapped_at;
};

static uint64_t rom_read(struct io_region *r, uint64_t off, unsigned size)
{
    const struct pci_rom *rom = container_of(r, struct pci_rom, region);
    uint64_t v = 0;

    memcpy(&v, rom->data + off, size);
    return v;
}

static void rom_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
}

static const struct io_ops rom_ops = {
    .read = rom_read, .write = rom_write, .min_size = 1, .max_size = 8};

void pci_rom_set(struct pci_dev *d, const void *image, size_t len_bytes)
{
    struct pci_rom *rom = g_new0(struct pci_rom, 1);
    size_t size = ROM_BYTES_MIN;

    assert(!d->is_bridge && !d->rom && d->bus && len_bytes <= PCI_ROM_BYTES_MAX);
    while (size < len_bytes)
        size *= 2;
    rom->data = g_malloc(size);
    memcpy(rom->data, image, len_bytes);
    memset(rom->data + len_bytes, 0xff, size - len_bytes);
    rom->mapped_at = PCI_UNMAPPED;
    rom->region =
        (struct io_region){.ops = &rom_ops, .name = "pci-rom", .size_bytes = size, .priority = -1};
    pthread_mutex_lock(&d->bus->host->devices->lock);
    d->rom = rom;
    le32_put(d->wmask + PCI_ROM, ~(uint32_t)(size - 1) | ROM_ENABLE);
    pthread_mutex_unlock(&d->bus->host->devices->lock);
}

size_t pci_rom_bytes(const struct pci_dev *d)
{
    return d->rom ? d->rom->region.size_bytes : 0;
}

void pci_rom_move(struct pci_dev *d, uint64_t addr)
{
    struct pci_rom *rom = d->rom;

    if (addr == rom->mapped_at)
        return;
    if (rom->mapped_at != PCI_UNMAPPED)
        io_space_del(d->bus->host->mmio, &rom->region);
    rom->mapped_at = addr;
    if (addr != PCI_UNMAPPED)
        io_space_add(d->bus->host->mmio, &rom->region, addr);
}

void pci_rom_free(struct pci_dev *d)
{
    if (!d->rom)
        return;
    g_free(d->rom->data);
    g_clear_pointer(&d->rom, g_free);
}
