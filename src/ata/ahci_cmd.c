/* ahci_cmd.c - a command from its slot to its FIS.
 *
 * Guest memory is read once: header, command FIS, packet, each piece list.  What lies outside RAM
 * ends the command as a host bus fatal error. */
#include "ahci_int.h"

#include "base/evloop.h"
#include "base/util.h"
#include "mem/guest_mem.h"

#include <errno.h>
#include <glib.h>

enum {
    HEADER_BYTES = 32,
    TABLE_PACKET = 0x40,
    TABLE_PIECES = 0x80,
    PIECE_BYTES = 16,
    FIS_H2D = 0x27,
    FIS_D2H = 0x34,
    FIS_SDB = 0xa1,
    FIS_PIO = 0x5f,
    AREA_PIO = 0x20,
    AREA_D2H = 0x40,
    AREA_SDB = 0x58,
    FIS_IRQ = 0x40,
    SRST = 0x04,
    TRIM_ENTRY = 8,
};
#define HEADER_ATAPI   BIT(5)
#define PIECE_LEN_MASK 0x3fffffu

static struct guest_mem *memory(const struct ahci_port *p)
{
    return p->hba->pci.bus->host->mem;
}

static uint64_t pair(uint32_t high, uint32_t low)
{
    return (uint64_t)high << 32 | low;
}

/* ---- to the guest ---- */

static void fis_put(struct ahci_port *p, unsigned area, const uint8_t *fis, unsigned len)
{
    if (p->cmd & CMD_FRE) /* nowhere to complain: real hardware has no more either */
        (void)guest_mem_write(memory(p), GPA(pair(p->fbu, p->fb) + area), fis, len);
}

static void registers_put(uint8_t *fis, uint64_t lba, uint16_t count, uint8_t device)
{
    fis[4] = (uint8_t)lba;
    fis[5] = (uint8_t)(lba >> 8);
    fis[6] = (uint8_t)(lba >> 16);
    fis[7] = device;
    fis[8] = (uint8_t)(lba >> 24);
    fis[9] = (uint8_t)(lba >> 32);
    fis[10] = (uint8_t)(lba >> 40);
    fis[12] = (uint8_t)count;
    fis[13] = (uint8_t)(count >> 8);
}

static void status_set(struct ahci_port *p, uint8_t status, uint8_t error)
{
    p->tfd = status | (uint32_t)error << 8;
}

void ahci_port_signature(struct ahci_port *p)
{
    uint8_t fis[20] = {FIS_D2H, 0, (uint8_t)p->tfd, 1};

    registers_put(fis, (uint64_t)ata_signature(&p->drive) << 8 | 1, 1, 0);
    fis_put(p, AREA_D2H, fis, sizeof(fis));
}

static void d2h(struct ahci_port *p, const struct ahci_slot *s, uint8_t status, uint8_t error)
{
    uint8_t fis[20] = {FIS_D2H, FIS_IRQ, status, error};

    status_set(p, status, error);
    registers_put(fis, s->op.lba, s->op.count, s->tf.device);
    fis_put(p, AREA_D2H, fis, sizeof(fis));
    ahci_port_raise(p, IS_DHR);
}

/* The FIS that comes before PIO data to the host, with the status after it. */
static void pio_setup(struct ahci_port *p, const struct ahci_slot *s, uint8_t status)
{
    uint8_t fis[20] = {FIS_PIO, FIS_IRQ | 0x20, ATA_DRDY | ATA_DRQ};

    status_set(p, status, 0);
    registers_put(fis, s->tf.lba, s->tf.count, s->tf.device);
    fis[15] = status;
    le16_put(fis + 16, (uint16_t)MIN_OF(s->op.len, 0xffffu));
    fis_put(p, AREA_PIO, fis, sizeof(fis));
    ahci_port_raise(p, IS_PS);
}

static void device_bits(struct ahci_port *p, unsigned slot, uint8_t status, uint8_t error)
{
    uint8_t fis[8] = {FIS_SDB, FIS_IRQ, status & 0x77, error};

    p->tfd = (p->tfd & ~0xff77u) | (status & 0x77u) | (uint32_t)error << 8;
    if (!error) { /* what failed stays active until software has read the log */
        p->sact &= ~BIT(slot);
        le32_put(fis + 4, BIT(slot));
    }
    fis_put(p, AREA_SDB, fis, sizeof(fis));
    ahci_port_raise(p, IS_SDB);
}

/* ---- the end of a command ---- */

static unsigned slot_index(const struct ahci_slot *s)
{
    return (unsigned)(s - s->port->slot);
}

static void transferred(struct ahci_slot *s, uint32_t bytes)
{
    uint8_t le[4];

    le32_put(le, bytes);
    (void)guest_mem_write(memory(s->port), GPA(s->header_gpa + 4), le, sizeof(le));
}

static void slot_release(struct ahci_slot *s)
{
    g_free(s->bounce);
    s->bounce = NULL;
    s->in_flight = false;
    s->port->taken &= ~BIT(slot_index(s));
}

/* Error registers and status of a finished command.  Board lock held. */
static void slot_end(struct ahci_slot *s, uint8_t error)
{
    struct ahci_port *p = s->port;
    unsigned i = slot_index(s);
    uint8_t status = ATA_DRDY | ATA_DSC | (error ? ATA_ERR : 0);

    slot_release(s);
    if (error && s->op.ncq) {
        p->drive.failed_tag = (uint8_t)i;
        p->drive.failed_error = error;
    }
    if (!error || !s->op.ncq)
        p->ci &= ~BIT(i);
    if (s->op.ncq)
        device_bits(p, i, status, error);
    else if (!error && s->op.pio && (s->op.kind == ATA_OP_DATA_IN || s->op.kind == ATA_OP_READ))
        pio_setup(p, s, status);
    else
        d2h(p, s, status, error);
    if (error) {
        p->failed = true;
        ahci_port_raise(p, IS_TFE);
    }
}

static void slot_bus_error(struct ahci_slot *s)
{
    struct ahci_port *p = s->port;

    slot_release(s);
    p->failed = true;
    status_set(p, ATA_DRDY | ATA_DSC | ATA_ERR, ATA_E_ABORT);
    ahci_port_raise(p, IS_HBF);
}

/* A packet ends with its reason in the count register: command and direction bits set. */
static void packet_end(struct ahci_slot *s, bool ok)
{
    struct ata_drive *d = &s->port->drive;
    uint32_t bytes = s->op.len;

    if (ok)
        transferred(s, s->op.kind == ATA_OP_DONE ? 0 : bytes);
    s->op = (struct ata_op){.kind = ATA_OP_DONE, .count = 3};
    slot_end(s, ok ? 0 : MAX_OF(mmc_error_register(d), (uint8_t)ATA_E_ABORT));
}

/* ---- data ---- */

static void iov_wrote(struct ahci_slot *s, uint32_t len)
{
    for (unsigned i = 0; i < s->iov_count && len; i++) {
        uint32_t n = (uint32_t)MIN_OF((size_t)len, s->iov[i].iov_len);
        guest_mem_wrote(memory(s->port), GPA(s->gpa[i]), n);
        len -= n;
    }
}

/* One piece of guest memory, cut where regions end.  False: not RAM, or no place in iov[]. */
static bool piece_add(struct ahci_slot *s, uint64_t gpa, uint32_t len, bool *full)
{
    while (len) {
        const struct guest_region *r = guest_mem_find(memory(s->port), GPA(gpa));
        if (!r || r->kind != GUEST_RAM)
            return false;
        uint32_t n = (uint32_t)MIN_OF((uint64_t)len, r->size_bytes - (gpa - r->gpa));
        if (s->iov_count == AHCI_IOV_MAX) {
            *full = true;
            return false;
        }
        s->gpa[s->iov_count] = gpa;
        s->iov[s->iov_count++] = (struct iovec){r->host + (gpa - r->gpa), n};
        gpa += n;
        len -= n;
    }
    return true;
}

/* Piece i of the list in guest memory. */
static bool piece_read(const struct ahci_slot *s, uint32_t i, uint64_t *gpa, uint32_t *len)
{
    uint8_t e[PIECE_BYTES];

    if (guest_mem_read(memory(s->port),
                       GPA(s->table_gpa + TABLE_PIECES + (uint64_t)i * PIECE_BYTES), e,
                       sizeof(e)) != 0)
        return false;
    *gpa = pair(le32_get(e + 4), le32_get(e)) & ~UINT64_C(1);
    *len = (le32_get(e + 12) & PIECE_LEN_MASK) + 1;
    return true;
}

/* Copies between the list's memory and a buffer: what iov[] is too small for. */
static bool pieces_copy(const struct ahci_slot *s, uint8_t *buf, uint32_t len, bool to_guest)
{
    for (uint32_t i = 0; i < s->prdtl && len; i++) {
        uint64_t gpa;
        uint32_t n;
        if (!piece_read(s, i, &gpa, &n))
            return false;
        n = MIN_OF(n, len);
        if ((to_guest ? guest_mem_write(memory(s->port), GPA(gpa), buf, n)
                      : guest_mem_read(memory(s->port), GPA(gpa), buf, n)) != 0)
            return false;
        buf += n;
        len -= n;
    }
    return len == 0;
}

/* Fills iov[] with the first len bytes the list describes, or makes a bounce buffer for them. */
bool ahci_pieces(struct ahci_port *p, struct ahci_slot *s, uint32_t len)
{
    uint32_t left = len;
    bool full = false;

    s->iov_count = 0;
    for (uint32_t i = 0; i < s->prdtl && left; i++) {
        uint64_t gpa;
        uint32_t n;
        if (!piece_read(s, i, &gpa, &n))
            return false;
        n = MIN_OF(n, left);
        if (!piece_add(s, gpa, n, &full))
            break;
        left -= n;
    }
    if (left == 0)
        return true;
    if (!full)
        return false;
    s->bounce = g_try_malloc(len);
    if (!s->bounce || (s->op.kind == ATA_OP_WRITE && !pieces_copy(s, s->bounce, len, false)))
        return false;
    s->iov[0] = (struct iovec){s->bounce, len};
    s->iov_count = 1;
    return true;
}

/* ---- block requests ---- */

static uint8_t error_of(const struct ahci_slot *s, int ret)
{
    if (ret == 0)
        return 0;
    return s->op.kind == ATA_OP_READ ? ATA_E_UNC : ATA_E_ABORT;
}

static void trim_step(struct ahci_slot *s);

static void media_done(struct blk_req *blk, int ret)
{
    struct ahci_slot *s = container_of(blk, struct ahci_slot, blk);
    struct ahci_port *p = s->port;
    pthread_mutex_t *lock = &p->hba->pci.dev.list->lock;
    bool packet = s->tf.command == 0xa0;

    pthread_mutex_lock(lock);
    if (s->generation != p->generation) { /* the port was reset: nobody waits for this */
        slot_release(s);
    } else if (s->op.kind == ATA_OP_TRIM && ret == 0) {
        trim_step(s);
    } else {
        bool in = ret == 0 && s->op.kind == ATA_OP_READ;
        if (in && s->bounce && !pieces_copy(s, s->bounce, s->op.len, true))
            ret = -EFAULT;
        else if (in && !s->bounce)
            iov_wrote(s, s->op.len);
        if (ret < 0 && packet)
            mmc_media_error(&p->drive);
        if (packet) {
            packet_end(s, ret == 0);
        } else {
            if (ret == 0 && s->op.len && !s->op.ncq)
                transferred(s, s->op.len);
            slot_end(s, error_of(s, ret));
        }
    }
    pthread_mutex_unlock(lock);
    ahci_port_run(p); /* a slot that waited for this one */
}

static void media_submit(struct ahci_slot *s, enum blk_op op)
{
    s->blk.op = op;
    s->blk.flags = s->op.fua ? BLK_REQ_FUA : 0;
    s->blk.offset_bytes = s->op.offset_bytes;
    s->blk.len_bytes = op == BLK_FLUSH ? 0 : s->op.len;
    s->blk.iov = s->iov;
    s->blk.iov_count = op == BLK_FLUSH ? 0 : (int)s->iov_count;
    s->blk.done = media_done;
    s->blk.node = s->port->drive.node;
    s->in_flight = true;
    blk_submit(&s->blk);
}

/* The next range of a TRIM, or its end. */
static void trim_step(struct ahci_slot *s)
{
    uint64_t offset, len;

    while (s->trim_at < s->op.len) {
        const uint8_t *entry = s->trim + s->trim_at;
        s->trim_at += TRIM_ENTRY;
        if (!ata_trim_range(&s->port->drive, entry, &offset, &len))
            continue;
        s->blk.op = BLK_DISCARD;
        s->blk.flags = 0;
        s->blk.offset_bytes = offset;
        s->blk.len_bytes = len;
        s->blk.iov_count = 0;
        s->blk.done = media_done;
        s->blk.node = s->port->drive.node;
        s->in_flight = true;
        blk_submit(&s->blk);
        return;
    }
    slot_end(s, 0);
}

/* ---- the beginning ---- */

static bool buffer_to_guest(struct ahci_slot *s)
{
    struct ata_drive *d = &s->port->drive;

    if (!pieces_copy(s, d->buffer, s->op.len, true))
        return false;
    transferred(s, s->op.len);
    return true;
}

static void packet_start(struct ahci_slot *s)
{
    struct ahci_port *p = s->port;
    uint8_t cdb[16];

    if (guest_mem_read(memory(p), GPA(s->table_gpa + TABLE_PACKET), cdb, sizeof(cdb)) != 0) {
        slot_bus_error(s);
        return;
    }
    mmc_command(&p->drive, cdb, &s->op);
    if (s->op.kind == ATA_OP_READ) {
        if (ahci_pieces(p, s, s->op.len))
            media_submit(s, BLK_READ);
        else
            slot_bus_error(s);
    } else if (s->op.kind == ATA_OP_DATA_IN) {
        /* a shorter list takes what fits */
        uint32_t room = 0, n;
        uint64_t gpa;
        for (uint32_t i = 0; i < s->prdtl && room < s->op.len && piece_read(s, i, &gpa, &n); i++)
            room += n;
        s->op.len = MIN_OF(s->op.len, room);
        if (s->op.len && !pieces_copy(s, p->drive.buffer, s->op.len, true))
            slot_bus_error(s);
        else
            packet_end(s, true);
    } else {
        packet_end(s, s->op.kind != ATA_OP_FAIL);
    }
}

static void command_start(struct ahci_slot *s)
{
    struct ahci_port *p = s->port;

    ata_decode(&p->drive, &s->tf, &s->op);
    switch (s->op.kind) {
    case ATA_OP_READ:
    case ATA_OP_WRITE:
        if (!ahci_pieces(p, s, s->op.len))
            slot_bus_error(s);
        else
            media_submit(s, s->op.kind == ATA_OP_READ ? BLK_READ : BLK_WRITE);
        break;
    case ATA_OP_FLUSH:
        media_submit(s, BLK_FLUSH);
        break;
    case ATA_OP_TRIM:
        s->trim_at = 0;
        if (!pieces_copy(s, s->trim, s->op.len, false))
            slot_bus_error(s);
        else
            trim_step(s);
        break;
    case ATA_OP_DATA_IN:
        if (buffer_to_guest(s))
            slot_end(s, 0);
        else
            slot_bus_error(s);
        break;
    case ATA_OP_PACKET:
        packet_start(s);
        break;
    case ATA_OP_DATA_OUT:
    case ATA_OP_DONE:
        slot_end(s, 0);
        break;
    case ATA_OP_FAIL:
        slot_end(s, s->op.error);
        break;
    }
}

/* A FIS that writes the control register: SRST on, then off, resets the drive (SATA 2.6 §11.4). */
static void control_start(struct ahci_slot *s, uint8_t control)
{
    struct ahci_port *p = s->port;

    p->ci &= ~BIT(slot_index(s));
    slot_release(s);
    if (control & SRST) {
        p->soft_reset = true;
    } else if (p->soft_reset) {
        p->soft_reset = false;
        ata_drive_reset(&p->drive);
        p->tfd = 0x0100 | (p->drive.cdrom ? 0 : ATA_DRDY | ATA_DSC);
        ahci_port_signature(p);
    }
}

static void taskfile_take(const uint8_t *fis, struct ata_taskfile *tf)
{
    tf->command = fis[2];
    tf->device = fis[7];
    tf->features = (uint16_t)(fis[3] | fis[11] << 8);
    tf->count = (uint16_t)(fis[12] | fis[13] << 8);
    tf->lba = fis[4] | (uint64_t)fis[5] << 8 | (uint64_t)fis[6] << 16 | (uint64_t)fis[8] << 24 |
              (uint64_t)fis[9] << 32 | (uint64_t)fis[10] << 40;
}

static void slot_start(struct ahci_slot *s)
{
    struct ahci_port *p = s->port;
    uint8_t head[HEADER_BYTES], fis[20];

    s->generation = p->generation;
    s->header_gpa = pair(p->clbu, p->clb) + (uint64_t)slot_index(s) * HEADER_BYTES;
    p->taken |= BIT(slot_index(s));
    if (guest_mem_read(memory(p), GPA(s->header_gpa), head, sizeof(head)) != 0) {
        slot_bus_error(s);
        return;
    }
    s->prdtl = le32_get(head) >> 16;
    s->table_gpa = pair(le32_get(head + 12), le32_get(head + 8) & ~0x7fu);
    if (guest_mem_read(memory(p), GPA(s->table_gpa), fis, sizeof(fis)) != 0) {
        slot_bus_error(s);
        return;
    }
    if (fis[0] != FIS_H2D) {
        s->op = (struct ata_op){.kind = ATA_OP_FAIL};
        slot_end(s, ATA_E_ABORT);
    } else if (!(fis[1] & 0x80)) {
        control_start(s, fis[15]);
    } else {
        taskfile_take(fis, &s->tf);
        command_start(s);
    }
}

/* A queued command may join others; anything else waits until the drive is idle, and holds up what
 * comes later. */
static bool may_start(struct ahci_port *p, unsigned i)
{
    return !p->slot[i].in_flight && (p->taken == 0 || (p->sact & BIT(i)));
}

void ahci_port_run(void *opaque)
{
    struct ahci_port *p = opaque;
    struct device_list *list = p->hba->pci.dev.list;
    bool tray = false;

    pthread_mutex_lock(&list->lock);
    while (list->vm_running && pci_bus_master(&p->hba->pci) && (p->cmd & CMD_ST) && !p->failed) {
        uint32_t waiting = p->ci & ~p->taken;
        unsigned i = waiting ? (unsigned)__builtin_ctz(waiting) : AHCI_SLOTS;
        if (i == AHCI_SLOTS || !may_start(p, i))
            break;
        slot_start(&p->slot[i]);
    }
    tray = p->drive.tray_news;
    p->drive.tray_news = false;
    pthread_mutex_unlock(&list->lock);
    if (tray && p->drive.tray_moved)
        p->drive.tray_moved(p->drive.opaque, p->drive.id, p->drive.tray_open);
}
