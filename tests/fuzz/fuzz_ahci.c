/* fuzz_ahci.c - SATA drives under a driver made of noise: guest memory, registers, packets. */
#include "fuzz_input.h"

#include "hba.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct hba board;

/* A command near what drivers send, so that most get past the first checks. */
static void command(struct hba *b, struct input *in)
{
    unsigned slot = take(in, 1) & 7, port = take(in, 1) & 1 ? 2 : 0;
    uint8_t fis[20], cdb[12];

    ata_fis(fis, (uint8_t)take(in, 1), take(in, 6), (uint16_t)take(in, 2));
    fis[3] = (uint8_t)take(in, 1);
    fis[7] = (uint8_t)take(in, 1);
    command_put(b, slot, fis, (uint32_t)take(in, 2), take(in, 1) & 1);
    for (unsigned i = 0; i < sizeof(cdb); i++)
        cdb[i] = (uint8_t)take(in, 1);
    memcpy(at(b, TABLE + slot * 0x1000 + 0x40), cdb, sizeof(cdb));
    le32_put(at(b, LIST + slot * 32), le32_get(at(b, LIST + slot * 32)) ^ (uint32_t)take(in, 4));
    if (take(in, 1) & 1)
        reg_set(b, px(port, 0x34), BIT(slot));
    reg_set(b, px(port, 0x38), BIT(slot));
}

static void step(struct hba *b, struct input *in)
{
    static const uint32_t places[] = {LIST, FIS, TABLE, TABLE + 0x80, DATA};
    uint64_t gpa;

    switch (take(in, 1) % 8) {
    case 0:
        reg_set(b, (unsigned)take(in, 2) & 0x3fc, (uint32_t)take(in, 4));
        break;
    case 1:
        reg(b, (unsigned)take(in, 2) & 0x3fc);
        break;
    case 2:
        gpa = places[take(in, 1) % ARRAY_SIZE(places)] + (take(in, 2) & 0x3ff);
        le64_put(at(b, gpa), take(in, 8));
        break;
    case 3:
        port_up(b, take(in, 1) & 1 ? 2 : 0);
        break;
    case 4:
        ata_drive_eject(b->dev, 2, take(in, 1) & 1, NULL);
        ata_drive_insert(b->dev, 2, take(in, 1) & 1 ? b->images.disc : NULL, NULL);
        break;
    default:
        command(b, in);
    }
    for (int i = 0; i < 4; i++)
        g_main_context_iteration(NULL, FALSE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};

    if (!board.f)
        hba_up(&board);
    for (unsigned n = 0; n < 200 && in.left; n++)
        step(&board, &in);
    blk_drain(board.images.disk);
    blk_drain(board.images.disc);
    /* whatever has happened, a reset brings it back */
    reset_all(board.f);
    pci_config_write(board.dev, 0x24, 4, ABAR);
    pci_config_write(board.dev, PCI_COMMAND, 2, 7);
    port_up(&board, 0);
    ata_drive_insert(board.dev, 2, board.images.disc, NULL);
    ata(&board, 0xec, 0, 1, 512, false);
    if (le32_get(at(&board, DATA + 120)) != DISK_SECTORS)
        abort();
    return 0;
}
