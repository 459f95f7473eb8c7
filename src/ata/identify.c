/* identify.c - what drives say about themselves (ATA8-ACS §7.16, §7.17). */
#include "drive.h"

#include "base/util.h"
#include "block/block.h"

enum { QUEUE_DEPTH = 32 };

static void word(struct ata_drive *d, unsigned n, uint16_t v)
{
    le16_put(d->buffer + 2 * n, v);
}

/* Text has its bytes swapped in each word. */
static void text(struct ata_drive *d, unsigned n, const char *s)
{
    for (unsigned i = 0; s[i] && s[i + 1]; i += 2, n++)
        word(d, n, (uint16_t)((uint8_t)s[i] << 8 | (uint8_t)s[i + 1]));
}

static void common(struct ata_drive *d)
{
    memset(d->buffer, 0, ATA_SECTOR);
    text(d, 10, d->serial);
    text(d, 23, d->version);
    text(d, 27, d->model);
    word(d, 53, 0x0006); /* words 64-70 and 88 count */
    word(d, 63, 0x0007); /* multiword DMA 0-2 */
    word(d, 64, 0x0003); /* PIO 3, 4 */
    word(d, 65, 120);    /* cycle times, ns */
    word(d, 66, 120);
    word(d, 67, 120);
    word(d, 68, 120);
    word(d, 80, 0x01f0); /* ATA/ATAPI-4 to ATA8 */
    word(d, 88, 0x203f); /* Ultra DMA 0-5, mode 5 chosen */
    if (d->parallel)
        word(d, 93, d->unit ? 0x6100 : 0x6001); /* 80-conductor cable, which drive */
    else
        word(d, 222, 0x101f); /* serial transport, SATA 1.0a to 2.6 */
}

void ata_identify(struct ata_drive *d)
{
    uint64_t n = ata_sectors(d), cylinders = MIN_OF(n / (16 * 63), UINT64_C(16383));
    uint32_t lba28 = (uint32_t)MIN_OF(n, UINT64_C(0xfffffff));
    unsigned log_per_phys = (unsigned)__builtin_ctz(d->physical_bytes / ATA_SECTOR);
    struct blk_limits l;

    blk_limits(d->node, &l);
    common(d);
    word(d, 0, 0x0040); /* fixed disk */
    word(d, 1, (uint16_t)cylinders);
    word(d, 3, 16);
    word(d, 6, 63);
    word(d, 47, 0x8010); /* 16 sectors per MULTIPLE block */
    word(d, 49, 0x0f00); /* DMA, LBA, IORDY */
    word(d, 50, 0x4000);
    word(d, 53, 0x0007);
    word(d, 54, (uint16_t)cylinders);
    word(d, 55, 16);
    word(d, 56, 63);
    le32_put(d->buffer + 2 * 57, (uint32_t)(cylinders * 16 * 63));
    word(d, 59, d->multiple ? 0x100 | d->multiple : 0);
    le32_put(d->buffer + 2 * 60, lba28);
    if (!d->parallel) {
        word(d, 75, QUEUE_DEPTH - 1);
        word(d, 76, 0x0106); /* NCQ, SATA 1.5 and 3 Gb/s */
    }
    word(d, 82, 0x4060); /* write cache, look-ahead, NOP */
    word(d, 83, 0x7400); /* flush, flush ext, 48-bit addresses */
    word(d, 84, 0x4060); /* FUA writes, general purpose logging */
    word(d, 85, (uint16_t)(0x4000 | (d->write_cache ? 0x20 : 0) | (d->read_ahead ? 0x40 : 0)));
    word(d, 86, 0x3400);
    word(d, 87, 0x4060);
    le64_put(d->buffer + 2 * 100, n);
    word(d, 106, (uint16_t)(0x4000 | (log_per_phys ? 0x2000 | log_per_phys : 0)));
    word(d, 217, 1); /* no rotation */
    if (l.can_discard && !d->read_only) {
        word(d, 105, ATA_BUFFER_BYTES / ATA_SECTOR);
        word(d, 169, 1);
    }
}

void ata_identify_packet(struct ata_drive *d)
{
    common(d);
    word(d, 0, 0x85c0); /* ATAPI, CD-ROM, removable, 12-byte packets */
    word(d, 49, 0x0f00);
    word(d, 73, 5); /* ATAPI CD-ROM */
    if (!d->parallel)
        word(d, 76, 0x0006);
    word(d, 82, 0x4210); /* packets, device reset */
    word(d, 83, 0x4000);
    word(d, 84, 0x4000);
    word(d, 85, 0x4210);
    word(d, 87, 0x4000);
}
