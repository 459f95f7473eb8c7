/* cable.h - an IDE controller on a board without CPUs, and what a driver does with its registers.
 */
#ifndef TESTS_ATA_CABLE_H
#define TESTS_ATA_CABLE_H

#include "ata/ide.h"
#include "fixture.h"
#include "images.h"
#include "mem/guest_mem.h"

/* Disk: channel 0, unit 0.  CD-ROM: channel 0, unit 1.  An empty CD-ROM drive: channel 1, unit 0.
 */
enum {
    IDE_BM = 0xc000,
    PRD = 0x1000,
    DATA = 0x20000,
    RAM_BYTES = 2 * MiB,
    DISK_SECTORS = 8192,
    DISC_SECTORS = 300,
    BSY = 0x80,
    DRDY = 0x40,
    DRQ = 0x08,
    ERR = 0x01,
    DEV0 = 0xe0, /* LBA addresses */
    DEV1 = 0xf0,
};

struct cable {
    struct fixture *f;
    struct pci_host host;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct pci_dev *dev;
    struct images images;
    int trays;
};

static inline void cable_tray(void *opaque, const char *id, bool open)
{
    ((struct cable *)opaque)->trays += open ? 1 : 100;
}

static inline void cable_up(struct cable *b)
{
    b->f = fixture_new();
    b->f->devices.vm_running = true;
    vm_clock_start(b->f->clock);
    b->mem = guest_mem_new();
    b->ram = ram_block_new("ram", RAM_BYTES, false, false, NULL);
    guest_mem_map(b->mem, GPA(0), b->ram, 0, RAM_BYTES, GUEST_RAM);
    pci_host_init(&b->host, &b->f->devices, b->f->pio, b->f->mmio, &b->f->chip, b->mem);
    b->dev = ide_new(b->host.root, PCI_DEVFN(1, 1), false, NULL, b->f->clock, NULL);
    images_open(&b->images, DISK_SECTORS, DISC_SECTORS);
    struct ata_drive_config disk = {.node = b->images.disk, .serial = "S1", .id = "d0"};
    struct ata_drive_config cd = {
        .node = b->images.disc, .cdrom = true, .id = "cd0", .tray_moved = cable_tray, .opaque = b};
    struct ata_drive_config empty = {.cdrom = true, .id = "cd1"};
    g_assert_true(ide_attach(b->dev, 0, 0, &disk, NULL));
    g_assert_true(ide_attach(b->dev, 0, 1, &cd, NULL));
    g_assert_true(ide_attach(b->dev, 1, 0, &empty, NULL));
    reset_all(b->f);
    pci_config_write(b->dev, 0x20, 4, IDE_BM);
    pci_config_write(b->dev, PCI_COMMAND, 2, 5);
}

static inline void cable_down(struct cable *b)
{
    b->dev->dev.ops->destroy(&b->dev->dev);
    pci_host_fini(&b->host);
    images_close(&b->images);
    fixture_free(b->f);
    guest_mem_free(b->mem);
    ram_block_free(b->ram);
}

static inline uint8_t *at(struct cable *b, uint64_t gpa)
{
    return ram_block_host(b->ram) + gpa;
}

static inline uint8_t rd(struct cable *b, unsigned reg)
{
    return inb(b->f, (uint16_t)(0x1f0 + reg));
}

static inline void wr(struct cable *b, unsigned reg, uint8_t v)
{
    outb(b->f, (uint16_t)(0x1f0 + reg), v);
}

static inline uint8_t alt_status(struct cable *b)
{
    return inb(b->f, 0x3f6);
}

/* Runs the main loop until the selected drive is not busy; its status. */
static inline uint8_t idle(struct cable *b)
{
    uint64_t end = host_clock_ns() + 20000000000ull;
    while (alt_status(b) & BSY) {
        g_assert_cmpuint(host_clock_ns(), <, end);
        g_main_context_iteration(NULL, false);
    }
    return alt_status(b);
}

/* The registers of a 28-bit command, then the command. */
static inline void command(struct cable *b, uint8_t device, uint8_t cmd, uint32_t lba,
                           uint8_t count)
{
    wr(b, 6, (uint8_t)(device | (lba >> 24 & 15)));
    wr(b, 2, count);
    wr(b, 3, (uint8_t)lba);
    wr(b, 4, (uint8_t)(lba >> 8));
    wr(b, 5, (uint8_t)(lba >> 16));
    wr(b, 7, cmd);
}

static inline void command48(struct cable *b, uint8_t device, uint8_t cmd, uint64_t lba,
                             uint16_t count)
{
    wr(b, 6, device);
    wr(b, 2, (uint8_t)(count >> 8));
    wr(b, 3, (uint8_t)(lba >> 24));
    wr(b, 4, (uint8_t)(lba >> 32));
    wr(b, 5, (uint8_t)(lba >> 40));
    wr(b, 2, (uint8_t)count);
    wr(b, 3, (uint8_t)lba);
    wr(b, 4, (uint8_t)(lba >> 8));
    wr(b, 5, (uint8_t)(lba >> 16));
    wr(b, 7, cmd);
}

static inline void data_in(struct cable *b, void *out, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 2)
        le16_put((uint8_t *)out + i, (uint16_t)io_space_read(b->f->pio, 0x1f0, 2));
}

static inline void data_out(struct cable *b, const void *in, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 2)
        io_space_write(b->f->pio, 0x1f0, 2, le16_get((const uint8_t *)in + i));
}

static inline void packet(struct cable *b, const uint8_t cdb[12], uint16_t limit, bool dma)
{
    wr(b, 6, DEV1);
    wr(b, 1, dma);
    wr(b, 4, (uint8_t)limit);
    wr(b, 5, (uint8_t)(limit >> 8));
    wr(b, 7, 0xa0);
    g_assert_cmphex(alt_status(b) & (BSY | DRQ), ==, DRQ);
    g_assert_cmpuint(rd(b, 2), ==, 1);
    data_out(b, cdb, 12);
}

/* A list of pieces of piece bytes each, over len bytes at DATA. */
static inline void prd_list(struct cable *b, uint32_t len, uint32_t piece)
{
    uint8_t *e = at(b, PRD);
    for (uint32_t done = 0; done < len; done += piece, e += 8) {
        uint32_t n = MIN_OF(piece, len - done);
        le32_put(e, DATA + done);
        le32_put(e + 4, (n & 0xffff) | (done + n >= len ? 0x80000000u : 0));
    }
    io_space_write(b->f->pio, IDE_BM + 4, 4, PRD);
}

static inline uint8_t bm_status(struct cable *b)
{
    return inb(b->f, IDE_BM + 2);
}

static inline void bm_clear(struct cable *b)
{
    outb(b->f, IDE_BM, 0);
    outb(b->f, IDE_BM + 2, 6);
}

static inline void bm_start(struct cable *b, bool to_memory)
{
    outb(b->f, IDE_BM, (uint8_t)(1 | (to_memory ? 8 : 0)));
}

#endif
