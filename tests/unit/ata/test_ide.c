/* IDE drives by their registers: detection, PIO, MULTIPLE, DMA, packets, resets, hostile lists. */
#include "cable.h"

static void up(struct cable *b, const void *unused)
{
    cable_up(b);
}

static void down(struct cable *b, const void *unused)
{
    cable_down(b);
}

static uint32_t mark_at(struct cable *b, uint64_t gpa)
{
    return le32_get(at(b, gpa));
}

/* ---- who is there ---- */

static void test_drives_leave_their_signatures(struct cable *b, const void *unused)
{
    outb(b->f, 0x3f6, 0x04);
    g_assert_cmphex(alt_status(b), ==, BSY);
    outb(b->f, 0x3f6, 0x00);
    g_assert_cmphex(idle(b), ==, 0x50);
    g_assert_cmphex(rd(b, 2) | rd(b, 3) << 8 | rd(b, 4) << 16 | rd(b, 5) << 24, ==, 0x00000101);
    wr(b, 6, DEV1);
    g_assert_cmphex(alt_status(b), ==, 0);
    g_assert_cmphex(rd(b, 4) | rd(b, 5) << 8, ==, 0xeb14);
    g_assert_cmphex(rd(b, 1), ==, 1);
    /* nobody at the second place of the second cable */
    outb(b->f, 0x176, 0xf0);
    outb(b->f, 0x172, 0x55);
    g_assert_cmphex(inb(b->f, 0x172), ==, 0);
    g_assert_cmphex(inb(b->f, 0x177), ==, 0);
    outb(b->f, 0x177, 0xec);
    g_assert_cmphex(inb(b->f, 0x177), ==, 0);
}

/* Drivers look for drives by writing registers and reading them back. */
static void test_registers_belong_to_each_drive(struct cable *b, const void *unused)
{
    command(b, DEV0, 0xf8, 0, 0); /* native max address changes drive 0's registers only */
    wr(b, 6, DEV1);
    g_assert_cmphex(rd(b, 3), ==, 0);
    wr(b, 2, 0x55);
    wr(b, 3, 0xaa);
    g_assert_cmphex(rd(b, 2), ==, 0x55);
    wr(b, 6, DEV0);
    g_assert_cmphex(rd(b, 3), ==, 0xaa); /* both hear what is written */
    wr(b, 3, 0x11);
    outb(b->f, 0x3f6, 0x80); /* what was there before */
    g_assert_cmphex(rd(b, 3), ==, 0xaa);
    wr(b, 3, 0x22); /* a write takes that back */
    g_assert_cmphex(rd(b, 3), ==, 0x22);
}

static void test_identify(struct cable *b, const void *unused)
{
    uint8_t id[512];
    int irqs = b->f->edges[14];
    command(b, DEV0, 0xec, 0, 0);
    g_assert_cmphex(idle(b), ==, 0x58);
    g_assert_cmpint(b->f->edges[14], ==, irqs + 1);
    g_assert_true(b->f->level[14]);
    rd(b, 7);
    g_assert_false(b->f->level[14]);
    data_in(b, id, 512);
    g_assert_cmphex(alt_status(b), ==, 0x50);
    g_assert_cmphex(io_space_read(b->f->pio, 0x1f0, 2), ==, 0xffff);
    g_assert_cmpuint(le32_get(id + 120), ==, DISK_SECTORS);
    g_assert_cmpuint(le64_get(id + 200), ==, DISK_SECTORS);
    g_assert_cmphex(le16_get(id + 2 * 93), ==, 0x6001); /* a parallel cable, not SATA */
    g_assert_cmphex(le16_get(id + 2 * 76) | le16_get(id + 2 * 222), ==, 0);
    command(b, DEV1, 0xec, 0, 0);
    g_assert_cmphex(idle(b) & ERR, ==, ERR);
    g_assert_cmphex(rd(b, 1), ==, 4);
    g_assert_cmphex(rd(b, 4) | rd(b, 5) << 8, ==, 0xeb14);
    command(b, DEV1, 0xa1, 0, 0);
    g_assert_cmphex(idle(b), ==, 0x58);
    data_in(b, id, 512);
    g_assert_cmphex(le16_get(id), ==, 0x85c0);
    g_assert_cmphex(le16_get(id + 2 * 93), ==, 0x6100);
}

/* ---- PIO ---- */

static void test_pio_reads_with_an_interrupt_for_each_sector(struct cable *b, const void *unused)
{
    uint8_t s[512];
    int irqs = b->f->edges[14];
    command(b, DEV0, 0x20, 5, 200);
    for (unsigned i = 0; i < 200; i++) {
        g_assert_cmphex(idle(b), ==, 0x58);
        rd(b, 7);
        data_in(b, s, 512);
        g_assert_cmphex(le32_get(s), ==, IMAGE_MARK + 5 + i);
    }
    g_assert_cmphex(idle(b), ==, 0x50);
    g_assert_cmpint(b->f->edges[14], ==, irqs + 200);
    /* by 32 bits, and by an address in cylinders, heads and sectors */
    wr(b, 6, 0xa1);
    wr(b, 2, 1);
    wr(b, 3, 2);
    wr(b, 4, 1);
    wr(b, 5, 0);
    wr(b, 7, 0x20);
    g_assert_cmphex(idle(b), ==, 0x58);
    g_assert_cmphex(io_space_read(b->f->pio, 0x1f0, 4), ==, IMAGE_MARK + (16 + 1) * 63 + 1);
}

static void test_multiple_moves_blocks(struct cable *b, const void *unused)
{
    static uint8_t data[20 * 512], back[20 * 512];
    command(b, DEV0, 0xc4, 0, 1);
    g_assert_cmphex(idle(b) & ERR, ==, ERR); /* not set yet */
    command(b, DEV0, 0xc6, 0, 8);
    g_assert_cmphex(idle(b), ==, 0x50);
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 512);
    rd(b, 7);
    int irqs = b->f->edges[14];
    command(b, DEV0, 0xc5, 100, 20);
    for (unsigned i = 0; i < 20; i += 8) {
        g_assert_cmphex(idle(b), ==, 0x58);
        rd(b, 7);
        data_out(b, data + i * 512, MIN_OF(8, 20 - i) * 512);
    }
    g_assert_cmphex(idle(b), ==, 0x50);
    g_assert_cmpint(b->f->edges[14], ==,
                    irqs + 3); /* none before the first block, one at the end */
    command48(b, 0x40, 0x29, 100, 20);
    for (unsigned i = 0; i < 20; i += 8) {
        g_assert_cmphex(idle(b), ==, 0x58);
        rd(b, 7);
        data_in(b, back + i * 512, MIN_OF(8, 20 - i) * 512);
    }
    g_assert_cmpmem(data, sizeof(data), back, sizeof(back));
}

static void test_writes_larger_than_the_buffer_arrive(struct cable *b, const void *unused)
{
    enum { N = 300 };
    static uint8_t data[N * 512];
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i >> 9) ^ (uint8_t)i;
    command48(b, 0x40, 0x34, 1000, N);
    for (unsigned i = 0; i < N; i++) {
        g_assert_cmphex(idle(b), ==, 0x58);
        data_out(b, data + i * 512, 512);
    }
    g_assert_cmphex(idle(b), ==, 0x50);
    prd_list(b, N * 512, 0x10000);
    command48(b, 0x40, 0x25, 1000, N);
    bm_start(b, true);
    g_assert_cmphex(idle(b), ==, 0x50);
    g_assert_cmpmem(data, sizeof(data), at(b, DATA), sizeof(data));
}

static void test_addresses_beyond_the_end_are_errors(struct cable *b, const void *unused)
{
    command(b, DEV0, 0x20, DISK_SECTORS - 1, 2);
    g_assert_cmphex(idle(b), ==, 0x51);
    g_assert_cmphex(rd(b, 1), ==, 0x10);
    command48(b, 0x40, 0x25, UINT64_C(0xffffffffffff), 0);
    g_assert_cmphex(idle(b) & ERR, ==, ERR);
    command48(b, 0x40, 0x60, 0, 1); /* queues are SATA's */
    g_assert_cmphex(idle(b), ==, 0x51);
    command(b, DEV0, 0xf8, 0, 0);
    g_assert_cmphex(idle(b), ==, 0x50);
    g_assert_cmphex(rd(b, 3) | rd(b, 4) << 8 | rd(b, 5) << 16, ==, DISK_SECTORS - 1);
}

static void test_no_interrupt_while_they_are_off(struct cable *b, const void *unused)
{
    uint8_t id[512];
    outb(b->f, 0x3f6, 2);
    int irqs = b->f->edges[14];
    command(b, DEV0, 0xec, 0, 0);
    idle(b);
    data_in(b, id, 512);
    g_assert_cmpint(b->f->edges[14], ==, irqs);
    g_assert_cmphex(bm_status(b) & 4, ==, 0);
    outb(b->f, 0x3f6, 0); /* it was pending */
    g_assert_true(b->f->level[14]);
}

/* ---- DMA ---- */

static void test_dma_in_both_directions(struct cable *b, const void *unused)
{
    prd_list(b, 256 * 512, 3000); /* pieces that do not end with sectors */
    command(b, DEV0, 0xc8, 4000, 0);
    g_assert_cmphex(alt_status(b), ==, 0x58); /* waits for the bus master */
    bm_start(b, true);
    g_assert_cmphex(idle(b), ==, 0x50);
    for (unsigned i = 0; i < 256; i++)
        g_assert_cmphex(mark_at(b, DATA + i * 512), ==, IMAGE_MARK + 4000 + i);
    g_assert_cmphex(bm_status(b), ==, 4); /* interrupt, not active, no error */
    g_assert_true(b->f->level[14]);
    bm_clear(b);
    g_assert_cmphex(bm_status(b), ==, 0);
    /* started before the command, with a list that is too long */
    memset(at(b, DATA), 0x5a, 64 * 1024);
    prd_list(b, 4096, 4096);
    bm_start(b, false);
    command48(b, 0x40, 0x35, 10, 4);
    g_assert_cmphex(idle(b), ==, 0x50);
    g_assert_cmphex(bm_status(b), ==, 5);
    bm_clear(b);
    command(b, DEV0, 0x20, 13, 2);
    idle(b);
    uint8_t s[1024];
    data_in(b, s, 1024);
    g_assert_cmphex(le32_get(s), ==, 0x5a5a5a5a);
    g_assert_cmphex(le32_get(s + 512), ==, IMAGE_MARK + 14);
}

static void test_short_list_ends_without_interrupt(struct cable *b, const void *unused)
{
    prd_list(b, 512, 512);
    rd(b, 7);
    int irqs = b->f->edges[14];
    command(b, DEV0, 0xc8, 0, 4);
    bm_start(b, true);
    g_assert_cmphex(idle(b), ==, 0x50);
    g_assert_cmphex(bm_status(b), ==, 0);
    g_assert_cmpint(b->f->edges[14], ==, irqs);
    bm_clear(b);
    command(b, DEV0, 0xec, 0, 0); /* the drive lives */
    g_assert_cmphex(idle(b), ==, 0x58);
}

static void test_lists_outside_memory_are_bus_errors(struct cable *b, const void *unused)
{
    prd_list(b, 512, 512);
    le32_put(at(b, PRD), 0xf0000000);
    command(b, DEV0, 0xc8, 0, 1);
    bm_start(b, true);
    g_assert_cmphex(idle(b), ==, 0x51);
    g_assert_cmphex(bm_status(b), ==, 6);
    bm_clear(b);
    io_space_write(b->f->pio, IDE_BM + 4, 4, 0xfffffffc);
    command(b, DEV0, 0xca, 0, 1);
    bm_start(b, false);
    g_assert_cmphex(idle(b), ==, 0x51);
    g_assert_cmphex(bm_status(b), ==, 6);
    bm_clear(b);
    prd_list(b, 512, 512); /* no bus mastering: waits, then works */
    pci_config_write(b->dev, PCI_COMMAND, 2, 1);
    bm_start(b, true);
    command(b, DEV0, 0xc8, 7, 1);
    g_assert_cmphex(alt_status(b), ==, 0x58);
    pci_config_write(b->dev, PCI_COMMAND, 2, 5);
    bm_clear(b);
    bm_start(b, true);
    g_assert_cmphex(idle(b), ==, 0x50);
    g_assert_cmphex(mark_at(b, DATA), ==, IMAGE_MARK + 7);
}

static void test_stopping_the_bus_master_ends_the_command(struct cable *b, const void *unused)
{
    prd_list(b, 2048 * 512, 0x10000);
    memset(at(b, DATA + 1024 * 512), 0, 16);
    command48(b, 0x40, 0x25, 0, 2048);
    bm_start(b, true);
    outb(b->f, IDE_BM, 0);
    g_assert_cmphex(idle(b), ==, 0x51);
    g_assert_cmphex(mark_at(b, DATA + 1024 * 512), ==, 0);
}

static void test_trim_by_dma(struct cable *b, const void *unused)
{
    uint8_t id[512], s[512];
    command(b, DEV0, 0xec, 0, 0);
    idle(b);
    data_in(b, id, 512);
    g_assert_cmphex(le16_get(id + 2 * 169), ==, 1);
    memset(at(b, DATA), 0, 512);
    le64_put(at(b, DATA), UINT64_C(8) << 48 | 2048);
    le64_put(at(b, DATA + 16),
             UINT64_C(0xffff) << 48 | UINT64_C(0xffffffffff)); /* beyond the end */
    le64_put(at(b, DATA + 24), UINT64_C(16) << 48 | 4096);
    prd_list(b, 512, 512);
    wr(b, 1, 0);
    wr(b, 1, 1);
    command48(b, 0x40, 0x06, 0, 1);
    bm_start(b, false);
    g_assert_cmphex(idle(b), ==, 0x50);
    static const unsigned lba[] = {2047, 2048, 2055, 4096, 4111, 4112};
    for (unsigned i = 0; i < ARRAY_SIZE(lba); i++) {
        bool gone = i != 0 && i != 5;
        command(b, DEV0, 0x20, lba[i], 1);
        g_assert_cmphex(idle(b), ==, 0x58);
        data_in(b, s, 512);
        g_assert_cmphex(le32_get(s), ==, gone ? 0 : IMAGE_MARK + lba[i]);
    }
}

static void test_flush_and_verify(struct cable *b, const void *unused)
{
    int irqs;
    rd(b, 7);
    irqs = b->f->edges[14];
    command(b, DEV0, 0xe7, 0, 0);
    g_assert_cmphex(idle(b), ==, 0x50);
    rd(b, 7);
    command48(b, 0x40, 0xea, 0, 0);
    g_assert_cmphex(idle(b), ==, 0x50);
    rd(b, 7);
    command(b, DEV0, 0x40, 8, 8);
    g_assert_cmphex(idle(b), ==, 0x50);
    g_assert_cmpint(b->f->edges[14], ==, irqs + 3);
}

/* ---- packets ---- */

static const uint8_t read10[12] = {0x28, 0, 0, 0, 0, 17, 0, 0, 40};
static const uint8_t sense[12] = {0x03, 0, 0, 0, 18};

/* The first command hears of the medium. */
static void attention(struct cable *b)
{
    static const uint8_t ready[12] = {0};
    packet(b, ready, 0, false);
    g_assert_cmphex(idle(b), ==, 0x51);
    packet(b, sense, 18, false);
    uint8_t s[18];
    g_assert_cmphex(idle(b), ==, 0x58);
    data_in(b, s, 18);
    g_assert_cmphex(idle(b), ==, 0x50);
    packet(b, ready, 0, false);
    g_assert_cmphex(idle(b), ==, 0x50);
}

static void test_packets_move_what_the_host_allows(struct cable *b, const void *unused)
{
    static uint8_t all[40 * 2048];
    unsigned got = 0;
    attention(b);
    packet(b, read10, 5001, false);
    while ((idle(b) & DRQ) && got < sizeof(all)) {
        unsigned n = rd(b, 4) | rd(b, 5) << 8;
        g_assert_cmpuint(rd(b, 2), ==, 2); /* to the host */
        g_assert_cmpuint(n, <=, 5000);
        g_assert_cmpuint(n, >, 0);
        rd(b, 7);
        g_assert_false(b->f->level[14]);
        data_in(b, all + got, n);
        got += n;
    }
    g_assert_cmpuint(got, ==, sizeof(all));
    g_assert_cmphex(alt_status(b), ==, 0x50);
    g_assert_cmpuint(rd(b, 2), ==, 3);
    g_assert_true(b->f->level[14]); /* and one more for the end */
    for (unsigned i = 0; i < 40; i++)
        g_assert_cmphex(le32_get(all + i * 2048), ==, IMAGE_MARK + 17 + i);
}

static void test_packets_by_dma(struct cable *b, const void *unused)
{
    static const uint8_t inquiry[12] = {0x12, 0, 0, 0, 36};
    attention(b);
    prd_list(b, 40 * 2048, 0x4000);
    packet(b, read10, 0xfffe, true);
    bm_start(b, true);
    g_assert_cmphex(idle(b), ==, 0x50);
    for (unsigned i = 0; i < 40; i++)
        g_assert_cmphex(mark_at(b, DATA + i * 2048), ==, IMAGE_MARK + 17 + i);
    bm_clear(b);
    prd_list(b, 36, 36);
    bm_start(b, true);
    packet(b, inquiry, 36, true);
    g_assert_cmphex(idle(b), ==, 0x50);
    g_assert_cmphex(*at(b, DATA), ==, 5);
    g_assert_cmphex(bm_status(b), ==, 4);
}

static void test_bad_packets_leave_sense(struct cable *b, const void *unused)
{
    static const uint8_t beyond[12] = {0x28, 0, 0, 0, 0xff, 0, 0, 0, 1}, none[12] = {0xff};
    uint8_t s[18];
    attention(b);
    packet(b, none, 0, false);
    g_assert_cmphex(idle(b), ==, 0x51);
    g_assert_cmphex(rd(b, 1), ==, 0x54);
    packet(b, beyond, 2048, true);
    g_assert_cmphex(idle(b), ==, 0x51);
    packet(b, sense, 18, false);
    idle(b);
    data_in(b, s, 18);
    g_assert_cmphex(s[2], ==, 5);
    g_assert_cmphex(s[12], ==, 0x21);
    command(b, DEV0, 0xa0, 0, 0); /* disks take no packets */
    g_assert_cmphex(idle(b), ==, 0x51);
}

static void test_trays(struct cable *b, const void *unused)
{
    static const uint8_t eject[12] = {0x1b, 0, 0, 0, 2}, load[12] = {0x1b, 0, 0, 0, 3};
    struct ata_drive_info info;
    attention(b);
    packet(b, eject, 0, false);
    for (unsigned i = 0; i < 1000 && !b->trays; i++)
        g_main_context_iteration(NULL, false);
    g_assert_cmpint(b->trays, ==, 1);
    g_assert_cmpuint(ata_places(b->dev), ==, 4);
    g_assert_true(ata_drive_info(b->dev, 1, &info) && info.tray_open && info.cdrom);
    g_assert_cmpstr(info.id, ==, "cd0");
    g_assert_false(ata_drive_info(b->dev, 3, &info));
    packet(b, load, 0, false);
    g_assert_cmphex(idle(b) & BSY, ==, 0);
    g_assert_true(ata_drive_eject(b->dev, 1, true, NULL));
    packet(b, read10, 2048, false);
    g_assert_cmphex(idle(b) & ERR, ==, ERR);
    g_assert_true(ata_drive_insert(b->dev, 1, b->images.disc, NULL));
    attention(b);
}

/* ---- resets, both drives, state ---- */

static void test_resets_in_the_middle_lose_the_command_only(struct cable *b, const void *unused)
{
    uint8_t id[512];
    prd_list(b, 2048 * 512, 0x10000);
    for (unsigned i = 0; i < 20; i++) {
        command48(b, 0x40, i & 1 ? 0x25 : 0x24, 0, 2048);
        if (i & 1)
            bm_start(b, true);
        for (unsigned k = 0; k < i / 2; k++)
            g_main_context_iteration(NULL, false);
        outb(b->f, 0x3f6, 4);
        outb(b->f, 0x3f6, 0);
        bm_clear(b);
        g_assert_cmphex(idle(b), ==, 0x50);
        g_assert_cmphex(rd(b, 4) | rd(b, 5) << 8, ==, 0);
        command(b, DEV0, 0xec, 0, 0);
        g_assert_cmphex(idle(b), ==, 0x58);
        data_in(b, id, 512);
        g_assert_cmpuint(le32_get(id + 120), ==, DISK_SECTORS);
    }
    attention(b);
    packet(b, read10, 0xfffe, false);
    wr(b, 7, 0x08); /* device reset, while it is busy */
    g_assert_cmphex(idle(b), ==, 0);
    g_assert_cmphex(rd(b, 4) | rd(b, 5) << 8, ==, 0xeb14);
    attention(b);
}

static void test_diagnostic_is_for_both(struct cable *b, const void *unused)
{
    command(b, DEV1, 0xa1, 0, 0);
    wr(b, 6, DEV1);
    wr(b, 7, 0x90);
    g_assert_cmphex(rd(b, 6) & 0x10, ==, 0);
    g_assert_cmphex(rd(b, 1), ==, 1);
    g_assert_cmphex(rd(b, 4), ==, 0);
    wr(b, 6, DEV1);
    g_assert_cmphex(rd(b, 4), ==, 0x14);
    g_assert_cmphex(alt_status(b) & DRQ, ==, 0);
}

static void test_one_drive_at_a_time(struct cable *b, const void *unused)
{
    uint8_t id[512];
    command(b, DEV0, 0x20, 0, 0);
    wr(b, 6, DEV1); /* busy: not heard */
    g_assert_cmphex(idle(b), ==, 0x58);
    wr(b, 6, DEV1); /* now it is: the data stays with the other one */
    g_assert_cmphex(io_space_read(b->f->pio, 0x1f0, 2), ==, 0xffff);
    command(b, DEV1, 0xa1, 0, 0);
    data_in(b, id, 512);
    g_assert_cmphex(le16_get(id), ==, 0x85c0);
    wr(b, 6, DEV0);
    g_assert_cmphex(alt_status(b), ==, 0x50); /* gave up */
}

static void test_odd_accesses_are_harmless(struct cable *b, const void *unused)
{
    for (unsigned size = 1; size <= 4; size *= 2) {
        for (unsigned off = 0; off < 8; off++) {
            io_space_write(b->f->pio, 0x1f0 + off, size, 0);
            io_space_read(b->f->pio, 0x1f0 + off, size);
        }
        for (unsigned off = 0; off < 16; off++) {
            io_space_write(b->f->pio, IDE_BM + off, size, 0);
            io_space_read(b->f->pio, IDE_BM + off, size);
        }
    }
    io_space_write(b->f->pio, IDE_BM, 4, 0x00660000);
    g_assert_cmphex(io_space_read(b->f->pio, IDE_BM, 4), ==, 0x00600000);
    io_space_write(b->f->pio, IDE_BM + 4, 4, 0xffffffff);
    g_assert_cmphex(io_space_read(b->f->pio, IDE_BM + 4, 4), ==, 0xfffffffc);
}

static void test_transfer_goes_on_after_loading(struct cable *b, const void *unused)
{
    struct cable c = {0};
    uint8_t s[512];
    cable_up(&c);
    vm_clock_stop(b->f->clock);
    vm_clock_stop(c.f->clock);
    clock_to(c.f, vm_clock_ns(b->f->clock));
    vm_clock_start(b->f->clock);
    command(b, DEV0, 0xc6, 0, 4);
    command(b, DEV0, 0xc4, 50, 12);
    g_assert_cmphex(idle(b), ==, 0x58);
    data_in(b, s, 512);
    vm_clock_stop(b->f->clock);
    clock_to(c.f, vm_clock_ns(b->f->clock));
    check_state_moves(b->f, c.f);
    vm_clock_start(c.f->clock);
    for (unsigned i = 1; i < 12; i++) {
        g_assert_cmphex(idle(&c), ==, 0x58);
        data_in(&c, s, 512);
        g_assert_cmphex(le32_get(s), ==, IMAGE_MARK + 50 + i);
    }
    g_assert_cmphex(idle(&c), ==, 0x50);
    cable_down(&c);
}

static void poke(struct fixture *f)
{
    for (unsigned i = 0; i < 40; i++)
        io_space_read(f->pio, 0x1f0, 2);
    for (unsigned i = 0; i < 8; i++)
        inb(f, (uint16_t)(0x1f0 + i));
    for (unsigned i = 0; i < 4; i++)
        g_main_context_iteration(NULL, false);
}

static void test_hostile_states_are_refused_or_harmless(struct cable *b, const void *unused)
{
    command(b, DEV0, 0x20, 50, 12);
    idle(b);
    check_state_hostile(b->f, poke);
    reset_all(b->f);
    command(b, DEV0, 0x20, 50, 1);
    g_assert_cmphex(idle(b), ==, 0x58);
}

static void test_a_machine_has_one(struct cable *b, const void *unused)
{
    GError *err = NULL;
    g_assert_null(ide_new(b->host.root, PCI_DEVFN(2, 0), false, NULL, b->f->clock, &err));
    g_assert_nonnull(strstr(err->message, "one IDE controller"));
    g_clear_error(&err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, fn) g_test_add("/ide/" name, struct cable, NULL, up, fn, down)
    TEST("signatures", test_drives_leave_their_signatures);
    TEST("registers", test_registers_belong_to_each_drive);
    TEST("identify", test_identify);
    TEST("pio", test_pio_reads_with_an_interrupt_for_each_sector);
    TEST("multiple", test_multiple_moves_blocks);
    TEST("large-writes", test_writes_larger_than_the_buffer_arrive);
    TEST("beyond", test_addresses_beyond_the_end_are_errors);
    TEST("nien", test_no_interrupt_while_they_are_off);
    TEST("dma", test_dma_in_both_directions);
    TEST("dma-short", test_short_list_ends_without_interrupt);
    TEST("dma-errors", test_lists_outside_memory_are_bus_errors);
    TEST("dma-stop", test_stopping_the_bus_master_ends_the_command);
    TEST("trim", test_trim_by_dma);
    TEST("flush", test_flush_and_verify);
    TEST("packet-pio", test_packets_move_what_the_host_allows);
    TEST("packet-dma", test_packets_by_dma);
    TEST("packet-errors", test_bad_packets_leave_sense);
    TEST("trays", test_trays);
    TEST("resets", test_resets_in_the_middle_lose_the_command_only);
    TEST("diagnostic", test_diagnostic_is_for_both);
    TEST("selection", test_one_drive_at_a_time);
    TEST("odd-accesses", test_odd_accesses_are_harmless);
    TEST("state", test_transfer_goes_on_after_loading);
    TEST("hostile-state", test_hostile_states_are_refused_or_harmless);
    TEST("single", test_a_machine_has_one);
    return g_test_run();
}
