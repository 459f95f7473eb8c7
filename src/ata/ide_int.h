/* ide_int.h - a cable as the two files of the IDE controller share it; private to src/ata.
 *
 * Both drives of a cable hear what is written to the task file, each answers from its own; the
 * device register says which one.  One command runs at a time (phase, op, tf, buffer):
 *
 *   ide_command() -> START -> MEDIA -> IN ... -> IDLE        PIO read, 64 KiB of media at a time
 *                 -> OUT ... -> START -> MEDIA -> ... IDLE    PIO write
 *                 -> DMA_WAIT until the bus master starts -> as above, without IN and OUT
 *
 * Media requests start in the main thread (the kick timer).  One whose command was reset away ends
 * silently (its generation is not the channel's); until it has, the drives stay busy, for it may
 * still write to the buffer. */
#ifndef ATA_IDE_INT_H
#define ATA_IDE_INT_H

#include "ata/ide.h"
#include "block/block.h"
#include "bus/io.h"
#include "drive.h"

enum { IDE_BUFFER_BYTES = 64 * 1024, IDE_PACKET_BYTES = 12 };

enum ide_phase {
    IDE_IDLE,
    IDE_START,    /* a media request waits for the main thread */
    IDE_MEDIA,    /* it is with the block layer: never in a saved state */
    IDE_IN,       /* the host reads the buffer */
    IDE_OUT,      /* the host fills the buffer */
    IDE_PACKET,   /* the host writes the bytes of a packet */
    IDE_DMA_WAIT, /* a DMA command waits for the bus master's start bit */
};

struct ide;

/* A drive's own registers; [1] is what was written before (48-bit commands). */
struct ide_taskfile {
    uint8_t feature[2], count[2], lba[2][3], status, error;
};

struct ide_channel {
    struct ide *ide;
    struct ata_drive drive[IDE_UNITS];
    struct io_region command, control;
    struct irq_line irq;
    struct timer *kick; /* on the machine's clock */
    struct blk_req blk;
    struct iovec iov;
    uint32_t blk_generation;
    bool in_flight;
    /* board lock */
    struct ide_taskfile reg[IDE_UNITS];
    uint8_t device, control_reg;
    bool irq_asked;
    uint8_t reset_units; /* drives that come out of their reset when nothing is in flight */
    /* the command */
    uint8_t unit; /* whose it is */
    uint8_t phase;
    struct ata_op op;
    struct ata_taskfile tf;
    bool dma;              /* its data goes through the bus master */
    uint32_t done;         /* bytes of op.len that have been in the buffer */
    uint32_t fill, at, to; /* buffer: valid bytes, host's position, end of this DRQ block */
    uint32_t generation;   /* counts commands that were given up */
    uint8_t buffer[IDE_BUFFER_BYTES];
    /* bus master */
    uint8_t bm_command, bm_status;
    uint32_t bm_table;
    uint32_t prd_next, prd_at, prd_left; /* the list's position */
    bool prd_last;
};

struct ide {
    struct pci_dev pci; /* first */
    struct io_region bm;
    struct vm_clock *clock;
    struct ide_channel channel[IDE_CHANNELS];
};

enum { BM_START = 1, BM_TO_MEMORY = 8, BM_ACTIVE = 1, BM_ERROR = 2, BM_IRQ = 4 };
enum { IDE_CTL_NO_IRQ = 0x02, IDE_CTL_RESET = 0x04, IDE_CTL_PREVIOUS = 0x80 };

static inline unsigned ide_selected(const struct ide_channel *c)
{
    return c->device >> 4 & 1;
}

static inline bool ide_busy(const struct ide_channel *c)
{
    return c->phase == IDE_START || c->phase == IDE_MEDIA || c->reset_units;
}

/* ide.c */
void ide_irq_update(struct ide_channel *c);
/* Resets the drives of the mask as soon as nothing is in flight: signature, no command. */
void ide_units_reset(struct ide_channel *c, unsigned units);
void ide_units_reset_finish(struct ide_channel *c);

/* ide_cmd.c */
void ide_command(struct ide_channel *c, uint8_t command);
void ide_data_read(struct ide_channel *c, uint8_t *out, unsigned n);
void ide_data_write(struct ide_channel *c, const uint8_t *in, unsigned n);
void ide_dma_start(struct ide_channel *c);
void ide_signature(struct ide_channel *c, unsigned unit);
void ide_abandon(struct ide_channel *c); /* forgets the command that runs */
void ide_run(void *opaque);              /* the kick timer */

#endif
