/* hba.h - an AHCI controller on a board without CPUs, and what a driver does with it. */
#ifndef TESTS_ATA_HBA_H
#define TESTS_ATA_HBA_H

#include "ata/ahci.h"
#include "fixture.h"
#include "images.h"
#include "mem/guest_mem.h"

enum {
    ABAR = 0x10000000,
    LIST = 0x1000,
    FIS = 0x2000,
    TABLE = 0x3000, /* one per slot, 0x1000 apart: up to slot 7 */
    DATA = 0x20000,
    DISK_SECTORS = 4096,
};

struct hba {
    struct fixture *f;
    struct pci_host host;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct pci_dev *dev;
    struct images images;
    int trays;
};

static inline unsigned hba_route(struct pci_host *h, uint8_t slot, unsigned pin)
{
    return 16;
}

static inline void hba_tray(void *opaque, const char *id, bool open)
{
    ((struct hba *)opaque)->trays += open ? 1 : 100;
}

static inline uint32_t reg(struct hba *b, unsigned off)
{
    return (uint32_t)io_space_read(b->f->mmio, ABAR + off, 4);
}

static inline void reg_set(struct hba *b, unsigned off, uint32_t v)
{
    io_space_write(b->f->mmio, ABAR + off, 4, v);
}

static inline unsigned px(unsigned port, unsigned off)
{
    return 0x100 + port * 0x80 + off;
}

static inline void port_up(struct hba *b, unsigned port)
{
    reg_set(b, px(port, 0x00), LIST);
    reg_set(b, px(port, 0x08), FIS);
    reg_set(b, px(port, 0x10), UINT32_MAX);
    reg_set(b, px(port, 0x14), UINT32_MAX);
    reg_set(b, px(port, 0x18), 0x17);
}

static inline void hba_up(struct hba *b)
{
    b->f = fixture_new();
    b->f->devices.vm_running = true;
    vm_clock_start(b->f->clock);
    b->mem = guest_mem_new();
    b->ram = ram_block_new("ram", 2 * MiB, false, false, NULL);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, 2 * MiB, GUEST_RAM);
    b->host.route_intx = hba_route;
    pci_host_init(&b->host, &b->f->devices, b->f->pio, b->f->mmio, &b->f->chip, b->mem);
    b->dev = ahci_new(b->host.root, PCI_DEVFN(31, 2), false, NULL, b->f->clock, NULL);
    images_open(&b->images, DISK_SECTORS, 300);
    struct ata_drive_config disk = {.node = b->images.disk, .serial = "S1", .id = "d0"};
    struct ata_drive_config cd = {
        .node = b->images.disc, .cdrom = true, .id = "cd0", .tray_moved = hba_tray, .opaque = b};
    g_assert_true(ahci_attach(b->dev, 0, &disk, NULL));
    g_assert_true(ahci_attach(b->dev, 2, &cd, NULL));
    reset_all(b->f);
    pci_config_write(b->dev, 0x24, 4, ABAR);
    pci_config_write(b->dev, PCI_COMMAND, 2, 7);
    reg_set(b, 0x04, 0x80000002);
    port_up(b, 0);
}

static inline void hba_down(struct hba *b)
{
    b->dev->dev.ops->destroy(&b->dev->dev);
    pci_host_fini(&b->host);
    images_close(&b->images);
    fixture_free(b->f);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
}

static inline uint8_t *at(struct hba *b, uint64_t gpa)
{
    return ram_block_host(b->ram) + gpa;
}

/* Header, table and one piece of data for a command FIS. */
static inline void command_put(struct hba *b, unsigned slot, const uint8_t fis[20], uint32_t bytes,
                               bool write)
{
    uint8_t *head = at(b, LIST + slot * 32), *table = at(b, TABLE + slot * 0x1000);
    memset(head, 0, 32);
    le32_put(head, 5 | (write ? BIT(6) : 0) | (bytes ? BIT(16) : 0));
    le32_put(head + 8, TABLE + slot * 0x1000);
    memset(table, 0, 0x100);
    memcpy(table, fis, 20);
    le32_put(table + 0x80, DATA);
    le32_put(table + 0x8c, bytes ? bytes - 1 : 0);
}

static inline void ata_fis(uint8_t fis[20], uint8_t command, uint64_t lba, uint16_t count)
{
    memset(fis, 0, 20);
    fis[0] = 0x27;
    fis[1] = 0x80;
    fis[2] = command;
    fis[4] = (uint8_t)lba;
    fis[5] = (uint8_t)(lba >> 8);
    fis[6] = (uint8_t)(lba >> 16);
    fis[7] = 0x40;
    fis[8] = (uint8_t)(lba >> 24);
    fis[12] = (uint8_t)count;
    fis[13] = (uint8_t)(count >> 8);
}

/* Runs the main loop until the slots have left PxCI and PxSACT, or the port has an error. */
static inline void issue(struct hba *b, unsigned port, uint32_t slots, bool ncq)
{
    uint64_t end = host_clock_ns() + 5000000000ull;
    if (ncq)
        reg_set(b, px(port, 0x34), slots);
    reg_set(b, px(port, 0x38), slots);
    while (((reg(b, px(port, 0x38)) | (ncq ? reg(b, px(port, 0x34)) : 0)) & slots) &&
           !(reg(b, px(port, 0x10)) & (BIT(30) | BIT(29)))) {
        g_assert_cmpuint(host_clock_ns(), <, end);
        g_main_context_iteration(NULL, false);
    }
}

static inline void ata(struct hba *b, uint8_t command, uint64_t lba, uint16_t count, uint32_t bytes,
                       bool write)
{
    uint8_t fis[20];
    ata_fis(fis, command, lba, count);
    command_put(b, 0, fis, bytes, write);
    issue(b, 0, 1, false);
}

/* Sends a packet to the CD-ROM drive; true when it ended well. */
static inline bool packet(struct hba *b, const uint8_t cdb[12], uint32_t bytes)
{
    uint8_t fis[20];
    ata_fis(fis, 0xa0, 0, 0);
    command_put(b, 0, fis, bytes, false);
    memcpy(at(b, TABLE + 0x40), cdb, 12);
    port_up(b, 2);
    issue(b, 2, 1, false);
    bool ok = !(reg(b, px(2, 0x20)) & 1);
    if (!ok)
        reg_set(b, px(2, 0x18), 0x16);
    return ok;
}

#endif
