/* fuzz_ide.c - IDE drives under a driver made of noise: registers, lists in memory, packets. */
#include "fuzz_input.h"

#include "cable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct cable board;

/* Near what drivers send, so that most get past the first checks. */
static void send(struct cable *b, struct input *in)
{
    unsigned how = (unsigned)take(in, 1);
    uint8_t features = (uint8_t)take(in, 1), cmd = (uint8_t)take(in, 1);
    uint64_t lba = take(in, 6) >> (how & 31);

    wr(b, 1, features);
    command48(b, (uint8_t)(how & 0xf0), cmd, lba, (uint16_t)(take(in, 2) >> (how & 15)));
    if (how & 1)
        outb(b->f, IDE_BM, (uint8_t)(1 | (how & 8)));
}

static void send_packet(struct cable *b, struct input *in)
{
    wr(b, 6, DEV1);
    wr(b, 1, (uint8_t)take(in, 1));
    wr(b, 4, (uint8_t)take(in, 1));
    wr(b, 5, (uint8_t)take(in, 1));
    wr(b, 7, 0xa0);
    for (unsigned i = 0; i < 12; i += 2)
        io_space_write(b->f->pio, 0x1f0, 2, take(in, 2));
}

static void step(struct cable *b, struct input *in)
{
    static const uint16_t ports[] = {0x1f0, 0x3f0, 0x170, 0x370, IDE_BM, IDE_BM + 8};
    uint16_t port = (uint16_t)(ports[take(in, 1) % ARRAY_SIZE(ports)] + (take(in, 1) & 7));
    unsigned bytes = 1u << (take(in, 1) % 3);

    switch (take(in, 1) % 8) {
    case 0:
        io_space_write(b->f->pio, port, bytes, take(in, 4));
        break;
    case 1:
        for (unsigned i = 0; i < 1 + (port & 1) * 256; i++)
            io_space_read(b->f->pio, port & 1 ? 0x1f0 : port, bytes);
        break;
    case 2:
        for (unsigned i = 0; i < 256; i++)
            io_space_write(b->f->pio, 0x1f0, 2, i);
        break;
    case 3:
        le64_put(at(b, PRD + (port & 7) * 8), take(in, 8));
        break;
    case 4:
        prd_list(b, 1024 * bytes * (port & 255), 64 + (uint32_t)take(in, 2));
        break;
    case 5:
        send_packet(b, in);
        break;
    case 6:
        ata_drive_eject(b->dev, 1, take(in, 1) & 1, NULL);
        ata_drive_insert(b->dev, 1, take(in, 1) & 1 ? b->images.disc : NULL, NULL);
        break;
    default:
        send(b, in);
    }
    for (int i = 0; i < 4; i++)
        g_main_context_iteration(NULL, FALSE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t id[512];

    if (!board.f)
        cable_up(&board);
    for (unsigned n = 0; n < 200 && in.left; n++)
        step(&board, &in);
    blk_drain(board.images.disk);
    blk_drain(board.images.disc);
    /* whatever has happened, a reset brings it back */
    reset_all(board.f);
    pci_config_write(board.dev, 0x20, 4, IDE_BM);
    pci_config_write(board.dev, PCI_COMMAND, 2, 5);
    ata_drive_insert(board.dev, 1, board.images.disc, NULL);
    command(&board, DEV0, 0xec, 0, 0);
    idle(&board);
    data_in(&board, id, sizeof(id));
    if (le32_get(id + 120) != DISK_SECTORS)
        abort();
    return 0;
}
