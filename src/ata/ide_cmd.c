/* ide_cmd.c - one command on a cable: its data goes through the buffer, by PIO or bus master. */
#include "base/evloop.h"
#include "base/util.h"
#include "bus/irq.h"
#include "ide_int.h"
#include "mem/guest_mem.h"

#include <errno.h>

enum {
    C_DEVICE_RESET = 0x08,
    C_DIAGNOSTIC = 0x90,
    C_PACKET = 0xa0,
    C_NATIVE_MAX = 0xf8,
    FEATURE_DMA = 1,
    REASON_COMMAND = 1,
    REASON_TO_HOST = 2,
    PRD_BYTES = 8,
    PRD_LAST = 0x80,
};

static struct guest_mem *memory(const struct ide_channel *c)
{
    return c->ide->pci.bus->host->mem;
}

static struct ata_drive *drive(struct ide_channel *c)
{
    return &c->drive[c->unit];
}

static struct ide_taskfile *regs(struct ide_channel *c)
{
    return &c->reg[c->unit];
}

static bool is_packet(const struct ide_channel *c)
{
    return c->tf.command == C_PACKET;
}

/* The bus master's interrupt bit follows the line's rising edge. */
static void irq_raise(struct ide_channel *c)
{
    c->irq_asked = true;
    if (!(c->control_reg & IDE_CTL_NO_IRQ))
        c->bm_status |= BM_IRQ;
    ide_irq_update(c);
}

/* ---- the end ---- */

static void registers_put(struct ide_taskfile *t, uint64_t lba, uint16_t count)
{
    for (unsigned i = 0; i < 3; i++) {
        t->lba[0][i] = (uint8_t)(lba >> (8 * i));
        t->lba[1][i] = (uint8_t)(lba >> (8 * (i + 3)));
    }
    t->count[0] = (uint8_t)count;
    t->count[1] = (uint8_t)(count >> 8);
}

/* The end without an interrupt. */
static void end_quietly(struct ide_channel *c, uint8_t error)
{
    struct ide_taskfile *t = regs(c);

    c->phase = IDE_IDLE;
    t->error = error;
    t->status = ATA_DRDY | ATA_DSC | (error ? ATA_ERR : 0);
    if (is_packet(c))
        t->count[0] = REASON_COMMAND | REASON_TO_HOST;
}

static void finish(struct ide_channel *c, uint8_t error)
{
    end_quietly(c, error);
    irq_raise(c);
}

static void media_failed(struct ide_channel *c)
{
    bool read = c->op.kind == ATA_OP_READ;

    if (is_packet(c))
        mmc_media_error(drive(c));
    finish(c, is_packet(c) ? mmc_error_register(drive(c)) : read ? ATA_E_UNC : ATA_E_ABORT);
}

void ide_abandon(struct ide_channel *c)
{
    c->generation++;
    c->phase = IDE_IDLE;
    c->fill = c->at = c->to = 0;
}

void ide_signature(struct ide_channel *c, unsigned unit)
{
    const struct ata_drive *d = &c->drive[unit];

    registers_put(&c->reg[unit], (uint64_t)ata_signature(d) << 8 | 1, 1);
    c->reg[unit].error = 1; /* passed */
    c->reg[unit].status = d->cdrom ? 0 : ATA_DRDY | ATA_DSC;
}

/* ---- bus master ---- */

static bool dma_ready(const struct ide_channel *c)
{
    return (c->bm_command & BM_START) && pci_bus_master(&c->ide->pci);
}

enum prd_result { PRD_OK, PRD_SHORT, PRD_FAULT, PRD_STOPPED };

/* The list's next piece; the transfer ends with the last one. */
static enum prd_result prd_take(struct ide_channel *c)
{
    uint8_t e[PRD_BYTES];

    if (c->prd_last)
        return PRD_SHORT;
    if (guest_mem_read(memory(c), GPA(c->prd_next), e, sizeof(e)) != 0)
        return PRD_FAULT;
    c->prd_at = le32_get(e) & ~1u;
    c->prd_left = le16_get(e + 4) & 0xfffe;
    if (c->prd_left == 0)
        c->prd_left = 64 * KiB;
    c->prd_last = e[7] & PRD_LAST;
    c->prd_next += PRD_BYTES;
    return PRD_OK;
}

/* Copies between the buffer and the memory the list describes. */
static enum prd_result prd_copy(struct ide_channel *c, uint8_t *buf, uint32_t len, bool to_guest)
{
    if (!dma_ready(c))
        return PRD_STOPPED;
    while (len) {
        enum prd_result r = c->prd_left ? PRD_OK : prd_take(c);
        uint32_t n = MIN_OF(len, c->prd_left);
        if (r != PRD_OK)
            return r;
        if ((to_guest ? guest_mem_write(memory(c), GPA(c->prd_at), buf, n)
                      : guest_mem_read(memory(c), GPA(c->prd_at), buf, n)) != 0)
            return PRD_FAULT;
        buf += n;
        len -= n;
        c->prd_at += n;
        c->prd_left -= n;
    }
    if (c->prd_last && c->prd_left == 0) /* used up: the bus master is done */
        c->bm_status &= (uint8_t)~BM_ACTIVE;
    return PRD_OK;
}

/* True when the data has moved.  A list that is too short stops the bus master, and nobody is told;
 * memory that is not there is its error, and the drive's (Bus Master IDE 1.0 §3.1).  One that was
 * stopped in the middle of a command cannot take it up again. */
static bool dma_moved(struct ide_channel *c, enum prd_result r)
{
    if (r == PRD_OK)
        return true;
    c->bm_status &= (uint8_t)~BM_ACTIVE;
    if (r == PRD_SHORT) {
        end_quietly(c, 0);
    } else {
        if (r == PRD_FAULT)
            c->bm_status |= BM_ERROR;
        finish(c, ATA_E_ABORT);
    }
    return false;
}

/* ---- pieces ---- */

static void piece_next(struct ide_channel *c);

/* How much the host moves before the next interrupt. */
static uint32_t block_bytes(struct ide_channel *c)
{
    uint32_t limit = c->tf.lba >> 8 & 0xffff;

    if (is_packet(c))
        return limit == 0 || limit == 0xffff ? 0xfffe : MAX_OF(limit & ~1u, 2u);
    if (ata_is_multiple(c->tf.command) && drive(c)->multiple)
        return drive(c)->multiple * (uint32_t)ATA_SECTOR;
    return ATA_SECTOR;
}

/* The host may move the next block of the buffer. */
static void block_offer(struct ide_channel *c, enum ide_phase phase, bool irq)
{
    struct ide_taskfile *t = regs(c);

    c->to = c->at + MIN_OF(c->fill - c->at, block_bytes(c));
    c->phase = (uint8_t)phase;
    t->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
    if (is_packet(c)) {
        t->count[0] = phase == IDE_IN ? REASON_TO_HOST : 0;
        t->lba[0][1] = (uint8_t)(c->to - c->at);
        t->lba[0][2] = (uint8_t)((c->to - c->at) >> 8);
    }
    if (irq)
        irq_raise(c);
}

static void request(struct ide_channel *c)
{
    c->phase = IDE_START;
    regs(c)->status = ATA_BSY | ATA_DRDY;
    timer_set(c->kick, vm_clock_ns(c->ide->clock));
}

static void dma_wait(struct ide_channel *c)
{
    c->phase = IDE_DMA_WAIT;
    regs(c)->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
}

/* What is in the buffer goes to the host. */
static void buffer_to_host(struct ide_channel *c)
{
    c->at = 0;
    if (!c->dma)
        block_offer(c, IDE_IN, true);
    else if (dma_moved(c, prd_copy(c, c->buffer, c->fill, true)))
        piece_next(c);
}

/* The next part of the transfer, or its end. */
static void piece_next(struct ide_channel *c)
{
    uint32_t left = c->op.len - c->done;

    if (left == 0) {
        finish(c, 0);
        return;
    }
    c->fill = MIN_OF(left, (uint32_t)IDE_BUFFER_BYTES);
    c->at = 0;
    if (c->op.kind == ATA_OP_READ)
        request(c);
    else if (!c->dma) /* only the first block comes without an interrupt */
        block_offer(c, IDE_OUT, c->done != 0);
    else if (dma_moved(c, prd_copy(c, c->buffer, c->fill, false)))
        request(c);
}

/* The data phase: now, or when the bus master is started. */
static void transfer_begin(struct ide_channel *c)
{
    if (c->dma && !dma_ready(c))
        dma_wait(c);
    else if (c->op.kind == ATA_OP_DATA_IN)
        buffer_to_host(c);
    else
        piece_next(c);
}

/* A reply that is there already. */
static void reply_begin(struct ide_channel *c)
{
    memcpy(c->buffer, drive(c)->buffer, c->op.len);
    c->fill = c->done = c->op.len;
    c->at = 0;
    transfer_begin(c);
}

void ide_dma_start(struct ide_channel *c)
{
    c->prd_next = c->bm_table;
    c->prd_left = 0;
    c->prd_last = false;
    if (c->phase == IDE_DMA_WAIT)
        transfer_begin(c);
}

/* ---- data register ---- */

static void packet_received(struct ide_channel *c)
{
    struct ata_drive *d = drive(c);

    mmc_command(d, c->buffer, &c->op);
    c->done = 0;
    if (d->tray_news)
        timer_set(c->kick, vm_clock_ns(c->ide->clock));
    if (c->op.kind == ATA_OP_READ)
        transfer_begin(c);
    else if (c->op.kind == ATA_OP_DATA_IN)
        reply_begin(c);
    else
        finish(c, c->op.kind == ATA_OP_FAIL ? c->op.error : 0);
}

/* The host has moved all of a block. */
static void block_moved(struct ide_channel *c)
{
    if (c->phase == IDE_PACKET)
        packet_received(c);
    else if (c->at < c->fill)
        block_offer(c, (enum ide_phase)c->phase, true);
    else if (c->phase == IDE_OUT)
        request(c);
    else if (c->done < c->op.len)
        piece_next(c);
    else if (is_packet(c))
        finish(c, 0);
    else /* the last block of PIO data ends without an interrupt */
        end_quietly(c, 0);
}

void ide_data_read(struct ide_channel *c, uint8_t *out, unsigned n)
{
    memset(out, 0xff, n);
    if (c->phase != IDE_IN || c->unit != ide_selected(c))
        return;
    n = MIN_OF(n, c->to - c->at);
    memcpy(out, c->buffer + c->at, n);
    c->at += n;
    if (c->at == c->to)
        block_moved(c);
}

void ide_data_write(struct ide_channel *c, const uint8_t *in, unsigned n)
{
    if ((c->phase != IDE_OUT && c->phase != IDE_PACKET) || c->unit != ide_selected(c))
        return;
    n = MIN_OF(n, c->to - c->at);
    memcpy(c->buffer + c->at, in, n);
    c->at += n;
    if (c->at == c->to)
        block_moved(c);
}

/* ---- the main thread's part ---- */

static void submit(struct ide_channel *c);

static void request_done(struct blk_req *req, int ret)
{
    struct ide_channel *c = container_of(req, struct ide_channel, blk);
    pthread_mutex_t *lock = &c->ide->pci.dev.list->lock;

    pthread_mutex_lock(lock);
    c->in_flight = false;
    if (c->blk_generation != c->generation || c->phase != IDE_MEDIA) {
        if (c->reset_units)
            ide_units_reset_finish(c);
    } else if (ret < 0) {
        media_failed(c);
    } else if (c->op.kind == ATA_OP_TRIM) {
        submit(c);
    } else if (c->op.kind == ATA_OP_FLUSH) {
        finish(c, 0);
    } else {
        c->done += c->fill;
        if (c->op.kind == ATA_OP_READ)
            buffer_to_host(c);
        else
            piece_next(c);
    }
    pthread_mutex_unlock(lock);
    ide_run(c); /* a command that waited for this one to end */
}

/* The next range of a TRIM; false: that was the last. */
static bool trim_take(struct ide_channel *c)
{
    uint64_t offset, len;

    while (c->at + 8 <= c->fill) {
        const uint8_t *entry = c->buffer + c->at;
        c->at += 8;
        if (!ata_trim_range(drive(c), entry, &offset, &len))
            continue;
        c->blk.offset_bytes = offset;
        c->blk.len_bytes = len;
        return true;
    }
    return false;
}

static bool blk_prepare(struct ide_channel *c)
{
    static const enum blk_op ops[] = {[ATA_OP_READ] = BLK_READ,
                                      [ATA_OP_WRITE] = BLK_WRITE,
                                      [ATA_OP_FLUSH] = BLK_FLUSH,
                                      [ATA_OP_TRIM] = BLK_DISCARD};
    bool data = c->op.kind == ATA_OP_READ || c->op.kind == ATA_OP_WRITE;

    c->iov = (struct iovec){c->buffer, c->fill};
    c->blk.op = ops[c->op.kind];
    c->blk.flags = c->op.fua ? BLK_REQ_FUA : 0;
    c->blk.offset_bytes = data ? c->op.offset_bytes + c->done : 0;
    c->blk.len_bytes = data ? c->fill : 0;
    c->blk.iov = &c->iov;
    c->blk.iov_count = data;
    c->blk.done = request_done;
    return c->op.kind != ATA_OP_TRIM || trim_take(c);
}

static void submit(struct ide_channel *c)
{
    struct ata_drive *d = drive(c);

    if (!d->node) { /* the disc has been taken out */
        media_failed(c);
        return;
    }
    if (!blk_prepare(c)) {
        finish(c, 0);
        return;
    }
    c->blk.node = d->node;
    c->blk_generation = c->generation;
    c->in_flight = true;
    c->phase = IDE_MEDIA;
    blk_submit(&c->blk);
}

/* Tells about a tray that the guest moved; the board lock is not held. */
static void tray_tell(struct ide_channel *c, struct ata_drive *d)
{
    pthread_mutex_t *lock = &c->ide->pci.dev.list->lock;
    bool news, open;

    pthread_mutex_lock(lock);
    news = d->tray_news;
    open = d->tray_open;
    d->tray_news = false;
    pthread_mutex_unlock(lock);
    if (news && d->tray_moved)
        d->tray_moved(d->opaque, d->id, open);
}

void ide_run(void *opaque)
{
    struct ide_channel *c = opaque;
    struct device_list *list = c->ide->pci.dev.list;

    pthread_mutex_lock(&list->lock);
    if (c->phase == IDE_START && !c->in_flight) {
        if (list->vm_running)
            submit(c);
        else /* the clock is about to stop, or to start */
            timer_set(c->kick, vm_clock_ns(c->ide->clock));
    }
    pthread_mutex_unlock(&list->lock);
    for (unsigned i = 0; i < IDE_UNITS; i++)
        tray_tell(c, &c->drive[i]);
}

/* ---- the beginning ---- */

static void taskfile_make(const struct ide_channel *c, uint8_t command, struct ata_taskfile *tf)
{
    const struct ide_taskfile *t = &c->reg[c->unit];

    tf->command = command;
    tf->device = c->device;
    tf->features = (uint16_t)(t->feature[0] | t->feature[1] << 8);
    tf->count = (uint16_t)(t->count[0] | t->count[1] << 8);
    tf->lba = 0;
    for (unsigned i = 0; i < 3; i++)
        tf->lba |= (uint64_t)t->lba[0][i] << (8 * i) | (uint64_t)t->lba[1][i] << (8 * (i + 3));
}

/* Both drives of the cable take part in this one; drive 0 answers. */
static void diagnostic(struct ide_channel *c)
{
    for (unsigned i = 0; i < IDE_UNITS; i++)
        if (c->drive[i].present)
            ide_signature(c, i);
    c->device = 0;
    irq_raise(c);
}

static void packet_begin(struct ide_channel *c)
{
    struct ide_taskfile *t = regs(c);

    c->dma = c->tf.features & FEATURE_DMA;
    c->at = 0;
    c->to = c->fill = IDE_PACKET_BYTES;
    c->phase = IDE_PACKET;
    t->count[0] = REASON_COMMAND;
    t->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
}

static void registers_end(struct ide_channel *c, uint8_t error)
{
    registers_put(regs(c), c->op.lba, c->op.count);
    if (c->tf.command == C_NATIVE_MAX && !error) /* 28 bits: the top ones are in the device */
        c->device = (uint8_t)((c->device & 0xf0) | (c->op.lba >> 24 & 15));
    finish(c, error);
}

static void command_start(struct ide_channel *c)
{
    c->done = 0;
    c->dma = !c->op.pio;
    switch (c->op.kind) {
    case ATA_OP_READ:
    case ATA_OP_WRITE:
        if (c->op.ncq) /* queues are SATA's */
            finish(c, ATA_E_ABORT);
        else
            transfer_begin(c);
        break;
    case ATA_OP_TRIM:
        transfer_begin(c);
        break;
    case ATA_OP_FLUSH:
        c->dma = false;
        c->fill = 0;
        request(c);
        break;
    case ATA_OP_DATA_IN:
        reply_begin(c);
        break;
    case ATA_OP_PACKET:
        packet_begin(c);
        break;
    case ATA_OP_DONE:
        registers_end(c, 0);
        break;
    case ATA_OP_FAIL:
        registers_end(c, c->op.error);
        break;
    case ATA_OP_DATA_OUT: /* no command of these drives */
        finish(c, ATA_E_ABORT);
        break;
    }
}

void ide_command(struct ide_channel *c, uint8_t command)
{
    unsigned unit = ide_selected(c);
    struct ata_drive *d = &c->drive[unit];

    if (command == C_DEVICE_RESET && d->present && d->cdrom) { /* even while busy */
        ide_units_reset(c, BIT(unit));
        return;
    }
    if (ide_busy(c) || (!d->present && command != C_DIAGNOSTIC))
        return; /* nobody hears */
    ide_abandon(c);
    c->control_reg &= (uint8_t)~IDE_CTL_PREVIOUS;
    c->irq_asked = false;
    ide_irq_update(c);
    if (command == C_DIAGNOSTIC) {
        diagnostic(c);
        return;
    }
    if (unit != c->unit && (regs(c)->status & ATA_DRQ)) /* the other one gives up */
        regs(c)->status = ATA_DRDY | ATA_DSC;
    c->unit = (uint8_t)unit;
    taskfile_make(c, command, &c->tf);
    regs(c)->error = 0;
    ata_decode(d, &c->tf, &c->op);
    command_start(c);
}
