/* ide.c - the PIIX3's IDE function: registers of its cables, bus master registers, state. */
#include "base/error.h"
#include "base/evloop.h"
#include "base/util.h"
#include "bus/irq.h"
#include "ide_int.h"

#include <assert.h>
#include <glib.h>

enum {
    R_DATA,
    R_ERROR, /* features when written */
    R_COUNT,
    R_LBA0,
    R_LBA1,
    R_LBA2,
    R_DEVICE,
    R_STATUS, /* command when written */
    BM_BYTES = 16,
    BM_CAPABLE = 0x60, /* the firmware's notes on what drives can do */
    TIMING = 0x40,     /* two registers of 16 bits; bit 15: the cable is decoded */
    SLAVE_TIMING = 0x44,
};

static const struct {
    uint16_t command, control;
    uint8_t irq;
} places[IDE_CHANNELS] = {{0x1f0, 0x3f6, 14}, {0x170, 0x376, 15}};

static struct ide *ide_of(struct pci_dev *d)
{
    return container_of(d, struct ide, pci);
}

void ide_irq_update(struct ide_channel *c)
{
    irq_set(&c->irq, c->irq_asked && !(c->control_reg & IDE_CTL_NO_IRQ));
}

/* ---- resets ---- */

static void units_come_back(struct ide_channel *c, unsigned units)
{
    for (unsigned i = 0; i < IDE_UNITS; i++) {
        if (!(units & BIT(i)) || !c->drive[i].present)
            continue;
        ata_drive_reset(&c->drive[i]);
        ide_signature(c, i);
    }
}

void ide_units_reset_finish(struct ide_channel *c)
{
    units_come_back(c, c->reset_units);
    c->reset_units = 0;
}

void ide_units_reset(struct ide_channel *c, unsigned units)
{
    bool active = units & BIT(c->unit);

    if (active)
        ide_abandon(c);
    if (!active || !c->in_flight) {
        units_come_back(c, units);
        return;
    }
    c->reset_units |= (uint8_t)units;
    for (unsigned i = 0; i < IDE_UNITS; i++)
        if (units & BIT(i))
            c->reg[i].status = ATA_BSY;
}

static void channel_reset(struct ide_channel *c)
{
    c->device = 0;
    c->irq_asked = false;
    memset(c->reg, 0, sizeof(c->reg));
    ide_units_reset(c, BIT(IDE_UNITS) - 1);
    ide_irq_update(c);
}

/* ---- task file ---- */

/* A drive that is not there drives no line: its registers read as zero. */
static uint8_t status_of(const struct ide_channel *c)
{
    unsigned unit = ide_selected(c);

    if (!c->drive[unit].present)
        return 0;
    return c->control_reg & IDE_CTL_RESET ? ATA_BSY : c->reg[unit].status;
}

static uint8_t register_read(struct ide_channel *c, unsigned reg)
{
    unsigned unit = ide_selected(c), old = c->control_reg & IDE_CTL_PREVIOUS ? 1 : 0;
    const struct ide_taskfile *t = &c->reg[unit];

    if (reg == R_STATUS) { /* looking at it takes the interrupt back */
        c->irq_asked = false;
        ide_irq_update(c);
        return status_of(c);
    }
    if (reg == R_DEVICE)
        return c->drive[0].present || c->drive[1].present ? c->device | 0xa0 : 0;
    if (!c->drive[unit].present)
        return 0;
    if (reg == R_ERROR)
        return t->error;
    return reg == R_COUNT ? t->count[old] : t->lba[old][reg - R_LBA0];
}

static void twice(uint8_t *now, uint8_t *before, uint8_t val)
{
    *before = *now;
    *now = val;
}

static void taskfile_write(struct ide_taskfile *t, unsigned reg, uint8_t val)
{
    if (reg == R_ERROR)
        twice(&t->feature[0], &t->feature[1], val);
    else if (reg == R_COUNT)
        twice(&t->count[0], &t->count[1], val);
    else
        twice(&t->lba[0][reg - R_LBA0], &t->lba[1][reg - R_LBA0], val);
}

static void register_write(struct ide_channel *c, unsigned reg, uint8_t val)
{
    if (c->control_reg & IDE_CTL_RESET)
        return;
    if (reg == R_STATUS) {
        ide_command(c, val);
        return;
    }
    if (ide_busy(c))
        return;
    c->control_reg &= (uint8_t)~IDE_CTL_PREVIOUS;
    if (reg == R_DEVICE) {
        c->device = val;
        return;
    }
    for (unsigned i = 0; i < IDE_UNITS; i++)
        taskfile_write(&c->reg[i], reg, val);
}

static uint64_t command_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct ide_channel *c = container_of(r, struct ide_channel, command);
    uint8_t bytes[4] = {0};

    if (off != R_DATA)
        return register_read(c, (unsigned)off) | UINT64_MAX << 8;
    ide_data_read(c, bytes, size);
    return le32_get(bytes);
}

static void command_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct ide_channel *c = container_of(r, struct ide_channel, command);
    uint8_t bytes[4];

    le32_put(bytes, (uint32_t)val);
    if (off == R_DATA)
        ide_data_write(c, bytes, size);
    else
        register_write(c, (unsigned)off, bytes[0]);
}

static const struct io_ops command_ops = {command_read, command_write, 1, 4};

static uint64_t control_read(struct io_region *r, uint64_t off, unsigned size)
{
    return status_of(container_of(r, struct ide_channel, control));
}

/* SRST holds both drives in reset; they come back with their signatures. */
static void control_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct ide_channel *c = container_of(r, struct ide_channel, control);
    bool was = c->control_reg & IDE_CTL_RESET, now = val & IDE_CTL_RESET;

    c->control_reg = (uint8_t)val;
    if (was != now)
        channel_reset(c);
    ide_irq_update(c);
}

static const struct io_ops control_ops = {control_read, control_write, 1, 1};

/* ---- bus master ---- */

static uint8_t bm_byte_read(const struct ide_channel *c, unsigned reg)
{
    if (reg == 0)
        return c->bm_command;
    if (reg == 2)
        return c->bm_status;
    return reg >= 4 ? (uint8_t)(c->bm_table >> (8 * (reg - 4))) : 0;
}

static void bm_command_write(struct ide_channel *c, uint8_t val)
{
    bool was = c->bm_command & BM_START, now = val & BM_START;

    c->bm_command = val & (BM_START | BM_TO_MEMORY);
    if (!was && now) {
        c->bm_status |= BM_ACTIVE;
        ide_dma_start(c);
    } else if (was && !now) {
        c->bm_status &= (uint8_t)~BM_ACTIVE; /* the command finds out */
    }
}

static void bm_byte_write(struct ide_channel *c, unsigned reg, uint8_t val)
{
    unsigned shift = 8 * (reg % 4);

    if (reg == 0) {
        bm_command_write(c, val);
    } else if (reg == 2) {
        c->bm_status = (uint8_t)((val & BM_CAPABLE) | (c->bm_status & BM_ACTIVE) |
                                 (c->bm_status & ~val & (BM_ERROR | BM_IRQ)));
    } else if (reg >= 4) {
        c->bm_table = ((c->bm_table & ~(0xffu << shift)) | (uint32_t)val << shift) & ~3u;
    }
}

static uint64_t bm_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct ide *d = container_of(r, struct ide, bm);
    uint64_t v = 0;

    for (uint64_t i = off; i < MIN_OF(off + size, (uint64_t)BM_BYTES); i++)
        v |= (uint64_t)bm_byte_read(&d->channel[i / 8], i % 8) << (8 * (i - off));
    return v;
}

static void bm_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct ide *d = container_of(r, struct ide, bm);

    for (uint64_t i = off; i < MIN_OF(off + size, (uint64_t)BM_BYTES); i++)
        bm_byte_write(&d->channel[i / 8], i % 8, (uint8_t)(val >> (8 * (i - off))));
}

static const struct io_ops bm_ops = {bm_read, bm_write, 1, 4};

/* ---- device ---- */

static void ide_reset(struct device *dev)
{
    struct ide *d = container_of(dev, struct ide, pci.dev);

    pci_dev_reset(&d->pci);
    for (unsigned i = 0; i < IDE_CHANNELS; i++) {
        struct ide_channel *c = &d->channel[i];
        c->control_reg = c->bm_command = c->bm_status = 0;
        c->bm_table = 0;
        channel_reset(c);
    }
}

static void ide_drain(struct device *dev)
{
    struct ide *d = container_of(dev, struct ide, pci.dev);

    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        for (unsigned k = 0; k < IDE_UNITS; k++)
            if (d->channel[i].drive[k].node)
                blk_drain(d->channel[i].drive[k].node);
}

static void channels_fini(struct ide *d, struct pci_host *h)
{
    for (unsigned i = 0; i < IDE_CHANNELS; i++) {
        struct ide_channel *c = &d->channel[i];
        io_space_del(h->pio, &c->command);
        io_space_del(h->pio, &c->control);
        timer_free(c->kick);
        irq_disconnect(&c->irq);
        for (unsigned k = 0; k < IDE_UNITS; k++)
            ata_drive_fini(&c->drive[k]);
    }
}

static void ide_destroy(struct device *dev)
{
    struct ide *d = container_of(dev, struct ide, pci.dev);

    ide_drain(dev);
    channels_fini(d, d->pci.bus->host);
    pci_dev_unplug(&d->pci);
    g_free(d);
}

/* ---- state ---- */

static bool command_possible(const struct ide_channel *c)
{
    const struct ata_op *op = &c->op;
    bool media = op->kind == ATA_OP_READ || op->kind == ATA_OP_WRITE;

    if (c->phase > IDE_DMA_WAIT || c->phase == IDE_MEDIA || c->unit >= IDE_UNITS ||
        c->fill > IDE_BUFFER_BYTES || c->to > c->fill || c->at > c->to ||
        op->kind > ATA_OP_PACKET || op->len > ATA_BYTES_MAX || c->done > op->len ||
        op->offset_bytes > INT64_MAX / 2)
        return false;
    if (c->phase == IDE_IDLE)
        return true;
    if (!c->drive[c->unit].present || (op->kind == ATA_OP_DATA_IN && op->len > ATA_BUFFER_BYTES))
        return false;
    if (c->phase == IDE_START && media && (c->fill == 0 || c->fill > op->len - c->done))
        return false;
    if (c->phase == IDE_OUT && (op->kind != ATA_OP_WRITE || c->fill > op->len - c->done))
        return false;
    if (c->phase == IDE_PACKET)
        return c->fill == IDE_PACKET_BYTES && c->to == c->fill && c->drive[c->unit].cdrom;
    if (c->phase == IDE_START)
        return media || op->kind == ATA_OP_FLUSH || op->kind == ATA_OP_TRIM;
    return media || op->kind == ATA_OP_DATA_IN || op->kind == ATA_OP_TRIM;
}

static bool channel_post_load(void *obj, uint32_t version, GError **err)
{
    struct ide_channel *c = obj;

    if (!command_possible(c)) {
        c->unit = c->phase = IDE_IDLE;
        return error_set(err, HANOK_ERROR_CORRUPT, "an IDE transfer is in an impossible state");
    }
    c->generation++;
    c->reset_units = 0;
    return true;
}

static bool ide_post_load(void *obj, uint32_t version, GError **err)
{
    struct ide *d = obj;

    for (unsigned i = 0; i < IDE_CHANNELS; i++) {
        struct ide_channel *c = &d->channel[i];
        if (c->phase == IDE_START)
            timer_set(c->kick, vm_clock_ns(d->clock));
        ide_irq_update(c);
    }
    return true;
}

static const struct state_field taskfile_fields[] = {
    STATE_BYTES(struct ide_taskfile, feature), STATE_BYTES(struct ide_taskfile, count),
    STATE_BYTES(struct ide_taskfile, lba),     STATE_U8(struct ide_taskfile, status),
    STATE_U8(struct ide_taskfile, error),      STATE_END,
};
static const struct state_desc taskfile_state = {
    .name = "ide-taskfile", .version = 1, .fields = taskfile_fields};
#define C_U8(f)   STATE_U8(struct ide_channel, f)
#define C_U32(f)  STATE_U32(struct ide_channel, f)
#define C_BOOL(f) STATE_BOOL(struct ide_channel, f)
static const struct state_field channel_fields[] = {
    STATE_STRUCT_ARRAY(struct ide_channel, drive, ata_drive_state),
    STATE_STRUCT_ARRAY(struct ide_channel, reg, taskfile_state),
    C_U8(device),
    C_U8(control_reg),
    C_BOOL(irq_asked),
    C_U8(unit),
    C_U8(phase),
    C_U32(op.kind),
    C_BOOL(op.pio),
    C_BOOL(op.fua),
    C_BOOL(op.lba48),
    STATE_U64(struct ide_channel, op.offset_bytes),
    C_U32(op.len),
    C_U8(tf.command),
    STATE_U64(struct ide_channel, tf.lba),
    C_BOOL(dma),
    C_U32(done),
    C_U32(fill),
    C_U32(at),
    C_U32(to),
    STATE_BYTES(struct ide_channel, buffer),
    C_U8(bm_command),
    C_U8(bm_status),
    C_U32(bm_table),
    C_U32(prd_next),
    C_U32(prd_at),
    C_U32(prd_left),
    C_BOOL(prd_last),
    STATE_END,
};
static const struct state_desc channel_state = {
    .name = "ide-channel", .version = 1, .fields = channel_fields, .post_load = channel_post_load};
static const struct state_field ide_fields[] = {
    STATE_STRUCT(struct ide, pci, pci_dev_state),
    STATE_STRUCT_ARRAY(struct ide, channel, channel_state),
    STATE_END,
};
static const struct state_desc ide_state = {
    .name = "piix3-ide", .version = 1, .fields = ide_fields, .post_load = ide_post_load};
static const struct pci_dev_ops ide_ops = {
    .dev = {.type = "piix3-ide",
            .reset = ide_reset,
            .drain = ide_drain,
            .destroy = ide_destroy,
            .state = &ide_state},
};

/* ---- making ---- */

static void channel_init(struct ide *d, unsigned i)
{
    struct ide_channel *c = &d->channel[i];
    struct pci_host *h = d->pci.bus->host;

    c->ide = d;
    c->kick = timer_new(evloop_main(), d->clock, ide_run, c);
    irq_connect(&c->irq, h->irqchip, places[i].irq);
    c->command = (struct io_region){
        .ops = &command_ops, .name = "ide", .size_bytes = 8, .lock = &h->devices->lock};
    c->control = (struct io_region){
        .ops = &control_ops, .name = "ide-control", .size_bytes = 1, .lock = &h->devices->lock};
    io_space_add(h->pio, &c->command, places[i].command);
    io_space_add(h->pio, &c->control, places[i].control);
    channel_reset(c);
}

struct pci_dev *ide_new(struct pci_bus *bus, uint8_t devfn, bool multifunction, const char *id,
                        struct vm_clock *clock, GError **err)
{
    static const struct pci_id ids = {.vendor = 0x8086,
                                      .device = 0x7010,
                                      .subsys_vendor = 0x1af4,
                                      .subsys = 0x1100,
                                      .prog_if = 0x80, /* the old ports, and a bus master */
                                      .subclass = 0x01,
                                      .base_class = 0x01};
    struct ide *d;

    if (io_space_find(bus->host->pio, places[0].command)) {
        error_set(err, HANOK_ERROR_BUSY, "a machine has one IDE controller, and it has it already");
        return NULL;
    }
    d = g_new0(struct ide, 1);
    d->clock = clock;
    d->bm = (struct io_region){.ops = &bm_ops,
                               .name = "ide-dma",
                               .size_bytes = BM_BYTES,
                               .lock = &bus->host->devices->lock};
    pci_dev_init(&d->pci, &ide_ops, &ids);
    d->pci.multifunction = multifunction;
    le32_put(d->pci.config + TIMING, 0x80008000); /* stored: both cables are always decoded */
    le32_put(d->pci.wmask + TIMING, UINT32_MAX);
    d->pci.wmask[SLAVE_TIMING] = 0xff;
    pci_bar_set(&d->pci, 4, PCI_BAR_IO, false, &d->bm);
    if (!pci_dev_plug(&d->pci, bus, devfn, id, err)) {
        g_free(d);
        return NULL;
    }
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        channel_init(d, i);
    return &d->pci;
}

bool ide_is(const struct pci_dev *d)
{
    return d->ops == &ide_ops;
}

struct ata_drive *ide_drive(struct pci_dev *d, unsigned place)
{
    return &ide_of(d)->channel[place / IDE_UNITS].drive[place % IDE_UNITS];
}

bool ide_unit_taken(const struct pci_dev *d, unsigned channel, unsigned unit)
{
    return container_of(d, const struct ide, pci)->channel[channel].drive[unit].present;
}

bool ide_attach(struct pci_dev *d, unsigned channel, unsigned unit,
                const struct ata_drive_config *cfg, GError **err)
{
    struct ide_channel *c = &ide_of(d)->channel[channel];
    struct ata_drive *v = &c->drive[unit];

    assert(!v->present);
    v->parallel = true;
    v->unit = unit;
    if (!ata_drive_init(v, cfg, err)) {
        ata_drive_fini(v);
        return false;
    }
    channel_reset(c);
    return true;
}
