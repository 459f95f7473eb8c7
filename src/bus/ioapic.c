/* ioapic.c - the I/O APIC at 0xfec00000: 24 pins, version 0x20 (82093AA plus the EOI register).
 *
 * Pin polarity is stored but does not matter: a line is asserted or not.  An edge on a masked pin
 * is lost, as on the chip; a level is looked at again when the entry changes or is acknowledged. */
#include "irqchip.h"

#include "base/error.h"
#include "base/state.h"
#include "base/util.h"

#include <glib.h>

#define IOAPIC_BASE    0xfec00000ull
#define IOAPIC_VERSION 0x20u

#define RTE_MODE(e)    (((e) >> 8) & 7)
#define RTE_LOGICAL    BIT64(11)
#define RTE_STATUS     BIT64(12)
#define RTE_REMOTE_IRR BIT64(14)
#define RTE_LEVEL      BIT64(15)
#define RTE_MASK       BIT64(16)
#define RTE_READ_ONLY  (RTE_STATUS | RTE_REMOTE_IRR)
/* Vector to mask, the 8-bit destination, and bits 55:49 as destination bits 14:8 (the extended
 * destination ID that hypervisors offer without interrupt remapping). */
#define RTE_VALID 0xfffe00000001ffffull

struct ioapic {
    struct device dev; /* first */
    struct io_region region;
    struct soft_irqchip *chip;
    pthread_mutex_t lock;
    /* under lock */
    uint8_t select;
    uint8_t id;
    uint32_t level; /* asserted pins */
    uint64_t rte[IRQ_GSI_COUNT];
};

static bool pin_send_locked(struct ioapic *io, unsigned pin)
{
    uint64_t e = io->rte[pin];
    struct apic_msg m = {
        .dest = (uint32_t)(e >> 56) | ((uint32_t)(e >> 49) & 0x7f) << 8,
        .vector = e & 0xff,
        .mode = RTE_MODE(e),
        .logical = e & RTE_LOGICAL,
        .level = (e & RTE_LEVEL) && RTE_MODE(e) <= APIC_LOWEST,
    };

    m.wide = m.dest > 0xff;
    return apic_bus_send(io->chip, &m, NULL) > 0;
}

/* A level-triggered pin that is asserted, unmasked and not in service asks for service. */
static void pin_service_locked(struct ioapic *io, unsigned pin)
{
    uint64_t e = io->rte[pin];

    if (!(e & RTE_LEVEL) || (e & (RTE_MASK | RTE_REMOTE_IRR)) || !(io->level & BIT(pin)))
        return;
    if (RTE_MODE(e) > APIC_LOWEST) {
        pin_send_locked(io, pin);
        return;
    }
    /* Set before sending: the target's EOI may come at once from its own thread, and waits for our
     * lock. */
    io->rte[pin] |= RTE_REMOTE_IRR;
    if (!pin_send_locked(io, pin))
        io->rte[pin] &= ~RTE_REMOTE_IRR;
}

void ioapic_set_pin(struct ioapic *io, unsigned pin, bool level)
{
    bool was;

    pthread_mutex_lock(&io->lock);
    was = io->level & BIT(pin);
    io->level = level ? io->level | BIT(pin) : io->level & ~BIT(pin);
    if (level && !was) {
        if (io->rte[pin] & RTE_LEVEL)
            pin_service_locked(io, pin);
        else if (!(io->rte[pin] & RTE_MASK))
            pin_send_locked(io, pin);
    }
    pthread_mutex_unlock(&io->lock);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
    pthread_mutex_lock(&io->lock);
    for (unsigned pin = 0; pin < IRQ_GSI_COUNT; pin++) {
        uint64_t e = io->rte[pin];
        if (!(e & RTE_REMOTE_IRR) || (e & 0xff) != vector)
            continue;
        io->rte[pin] &= ~RTE_REMOTE_IRR;
        pin_service_locked(io, pin);
    }
    pthread_mutex_unlock(&io->lock);
}

static void rte_write_locked(struct ioapic *io, unsigned pin, bool high, uint32_t val)
{
    uint64_t old = io->rte[pin];
    uint64_t e = high ? (old & 0xffffffff) | (uint64_t)val << 32 : (old & ~0xffffffffull) | val;

    e = (e & RTE_VALID & ~RTE_READ_ONLY) | (old & RTE_READ_ONLY);
    /* Remote IRR has a meaning for level triggering only; system software clears a stuck one by
     * switching to edge and back. */
    if (!(e & RTE_LEVEL))
        e &= ~RTE_REMOTE_IRR;
    io->rte[pin] = e;
    pin_service_locked(io, pin);
}

static uint32_t reg_read_locked(const struct ioapic *io)
{
    unsigned sel = io->select;

    switch (sel) {
    case 0x00:
    case 0x02: /* arbitration id follows the id */
        return (uint32_t)io->id << 24;
    case 0x01:
        return (IRQ_GSI_COUNT - 1) << 16 | IOAPIC_VERSION;
    }
    if (sel >= 0x10 && sel < 0x10 + 2 * IRQ_GSI_COUNT)
        return io->rte[(sel - 0x10) / 2] >> (sel & 1 ? 32 : 0);
    return 0;
}

static uint64_t ioapic_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct ioapic *io = container_of(r, struct ioapic, region);
    uint32_t val = 0;

    pthread_mutex_lock(&io->lock);
    if ((off & 0xff) == 0x00)
        val = io->select;
    else if ((off & 0xff) == 0x10)
        val = reg_read_locked(io);
    pthread_mutex_unlock(&io->lock);
    return val;
}

static void ioapic_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct ioapic *io = container_of(r, struct ioapic, region);

    off &= 0xff;
    if (off == 0x40) {
        ioapic_eoi(io, val);
        return;
    }
    pthread_mutex_lock(&io->lock);
    if (off == 0x00) {
        io->select = val;
    } else if (off == 0x10 && size == 4) {
        if (io->select == 0x00)
            io->id = (val >> 24) & 0x0f;
        else if (io->select >= 0x10 && io->select < 0x10 + 2 * IRQ_GSI_COUNT)
            rte_write_locked(io, (io->select - 0x10) / 2, io->select & 1, val);
    }
    pthread_mutex_unlock(&io->lock);
}

static const struct io_ops ioapic_ops = {ioapic_read, ioapic_write, 1, 4};

static void ioapic_registers_reset(struct ioapic *io)
{
    io->select = 0;
    io->id = 0;
    for (unsigned pin = 0; pin < IRQ_GSI_COUNT; pin++)
        io->rte[pin] = RTE_MASK;
}

static void ioapic_reset(struct device *d)
{
    struct ioapic *io = container_of(d, struct ioapic, dev);

    pthread_mutex_lock(&io->lock);
    ioapic_registers_reset(io);
    pthread_mutex_unlock(&io->lock);
}

static bool ioapic_post_load(void *obj, uint32_t version, GError **err)
{
    struct ioapic *io = obj;

    if (io->level & ~(BIT(IRQ_GSI_COUNT) - 1) || io->id > 15)
        return error_set(err, HANOK_ERROR_CORRUPT,
                         "The saved state of the I/O APIC contradicts itself.");
    for (unsigned pin = 0; pin < IRQ_GSI_COUNT; pin++)
        io->rte[pin] &= RTE_VALID;
    return true;
}

static const struct state_field ioapic_fields[] = {
    STATE_U8(struct ioapic, select),
    STATE_U8(struct ioapic, id),
    STATE_U32(struct ioapic, level),
    STATE_UINT_ARRAY(struct ioapic, rte),
    STATE_END,
};
static const struct state_desc ioapic_state = {
    .name = "ioapic", .version = 1, .fields = ioapic_fields, .post_load = ioapic_post_load};

static void ioapic_unlist(struct device *d)
{
    device_remove(d->list, d);
}

static const struct device_ops ioapic_device_ops = {
    .type = "ioapic", .reset = ioapic_reset, .destroy = ioapic_unlist, .state = &ioapic_state};

struct ioapic *ioapic_new(struct soft_irqchip *s)
{
    struct ioapic *io = g_new0(struct ioapic, 1);

    pthread_mutex_init(&io->lock, NULL);
    io->chip = s;
    ioapic_registers_reset(io);
    return io;
}

void ioapic_plug(struct ioapic *io, struct device_list *devices, struct io_space *mmio)
{
    io->region = (struct io_region){.ops = &ioapic_ops, .name = "ioapic", .size_bytes = 0x1000};
    io_space_add(mmio, &io->region, IOAPIC_BASE);
    device_add(devices, &io->dev, &ioapic_device_ops, NULL, "ioapic");
}

void ioapic_free(struct ioapic *io)
{
    if (!io)
        return;
    if (io->dev.list)
        device_remove(io->dev.list, &io->dev);
    pthread_mutex_destroy(&io->lock);
    g_free(io);
}
