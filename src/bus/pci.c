/* pci.c - one PCI function: config space, BARs, capabilities, INTx, reset, state. */
#include "pci_internal.h"

#include "base/error.h"
#include "base/state.h"
#include "base/trace.h"
#include "base/util.h"

#include <assert.h>
#include <glib.h>

enum {
    CMD_PARITY = 0x40,
    CMD_SERR = 0x100,
    STATUS_W1C = 0xf900, /* error bits, PCI 3.0 §6.2.3 */
    FIRST_CAP = 0x40,
    FIRST_EXT_CAP = 0x100, /* PCIe 4.0 §7.6.1 */
};

void pci_dev_init(struct pci_dev *d, const struct pci_dev_ops *ops, const struct pci_id *id)
{
    memset(d->config, 0, sizeof(d->config));
    memset(d->wmask, 0, sizeof(d->wmask));
    memset(d->w1c, 0, sizeof(d->w1c));
    d->ops = ops;
    d->cap_next_free = FIRST_CAP;
    d->ext_cap_next_free = FIRST_EXT_CAP;
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        d->bar[i].mapped_at = PCI_UNMAPPED;

    le16_put(d->config + PCI_VENDOR, id->vendor);
    le16_put(d->config + PCI_DEVICE, id->device);
    d->config[PCI_REVISION] = id->revision;
    d->config[PCI_REVISION + 1] = id->prog_if;
    d->config[PCI_CLASS] = id->subclass;
    d->config[PCI_CLASS + 1] = id->base_class;
    le16_put(d->config + PCI_SUBSYS_VENDOR, id->subsys_vendor);
    le16_put(d->config + PCI_SUBSYS_VENDOR + 2, id->subsys);
    le16_put(d->wmask + PCI_COMMAND,
             PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER | CMD_PARITY | CMD_SERR | PCI_CMD_INTX_OFF);
    le16_put(d->w1c + PCI_STATUS, STATUS_W1C);
    d->wmask[0x0c] = 0xff; /* cache line size */
    d->wmask[PCI_INT_LINE] = 0xff;
}

/* ---- BARs ---- */

static unsigned bar_count(const struct pci_dev *d)
{
    return d->is_bridge ? 2 : PCI_BAR_COUNT;
}

void pci_bar_set(struct pci_dev *d, unsigned bar, enum pci_bar_kind kind, bool prefetch,
                 struct io_region *r)
{
    uint8_t *reg = d->config + PCI_BAR0 + 4 * bar, *mask = d->wmask + PCI_BAR0 + 4 * bar;
    bool io = kind == PCI_BAR_IO, wide = kind == PCI_BAR_MEM64;
    uint64_t size = r->size_bytes;

    assert(bar + wide < bar_count(d) && d->bar[bar].kind == PCI_BAR_NONE);
    assert(size >= (io ? 4 : 16) && (size & (size - 1)) == 0);
    assert(size <= (io ? 256 : wide ? UINT64_C(1) << 40 : UINT64_C(1) << 31));
    d->bar[bar] = (struct pci_bar){
        .kind = kind, .prefetch = prefetch, .region = r, .mapped_at = PCI_UNMAPPED};
    /* The board's own chips win over a BAR the guest puts on top of them. */
    r->priority = -1;
    le32_put(reg, io ? 1 : (wide ? 4 : 0) | (prefetch ? 8 : 0));
    le32_put(mask, ~(uint32_t)(size - 1) & (io ? ~3u : ~15u));
    if (wide)
        le32_put(mask + 4, (uint32_t)(~(size - 1) >> 32));
}

static bool bar_reachable(const struct pci_dev *d, bool io, uint64_t addr, uint64_t size)
{
    for (struct pci_bus *bus = d->bus; bus->bridge; bus = bus->bridge->bus)
        if (!pci_bridge_forwards(bus->bridge, io, addr, size))
            return false;
    return true;
}

/* Where the config space says the BAR is, when it is decoded at all. */
static uint64_t bar_address(const struct pci_dev *d, unsigned i)
{
    const struct pci_bar *b = &d->bar[i];
    const uint8_t *reg = d->config + PCI_BAR0 + 4 * i;
    bool io = b->kind == PCI_BAR_IO;
    uint64_t size = b->region->size_bytes, limit = io ? UINT64_C(0x10000) : UINT64_C(0xffffffff);
    uint64_t addr;

    if (!(le16_get(d->config + PCI_COMMAND) & (io ? PCI_CMD_IO : PCI_CMD_MEM)))
        return PCI_UNMAPPED;
    addr = le32_get(reg) & ~(io ? UINT64_C(3) : UINT64_C(15));
    if (b->kind == PCI_BAR_MEM64) {
        addr |= (uint64_t)le32_get(reg + 4) << 32;
        limit = UINT64_C(1) << 52;
    }
    /* Never programmed, or all ones while it is being sized: nowhere.  (A 32-bit memory BAR that
     * would end at 4 GiB is the sizing pattern too.) */
    if (addr == 0 || addr >= limit || size > limit - addr)
        return PCI_UNMAPPED;
    return bar_reachable(d, io, addr, size) ? addr : PCI_UNMAPPED;
}

/* PCI 3.0 §6.2.5.2: decoded while both its own bit and the command register's say so. */
static uint64_t rom_address(const struct pci_dev *d)
{
    uint32_t reg = le32_get(d->config + PCI_ROM), addr = reg & ~0x7ffu;
    size_t size = pci_rom_bytes(d);

    if (!(reg & 1) || !(le16_get(d->config + PCI_COMMAND) & PCI_CMD_MEM) || addr == 0 ||
        size > UINT32_MAX - addr)
        return PCI_UNMAPPED;
    return bar_reachable(d, false, addr, size) ? addr : PCI_UNMAPPED;
}

static struct io_space *bar_space(const struct pci_dev *d, const struct pci_bar *b)
{
    return b->kind == PCI_BAR_IO ? d->bus->host->pio : d->bus->host->mmio;
}

static void bar_move(struct pci_dev *d, struct pci_bar *b, uint64_t addr)
{
    if (addr == b->mapped_at)
        return;
    if (b->mapped_at != PCI_UNMAPPED)
        io_space_del(bar_space(d, b), b->region);
    b->mapped_at = addr;
    if (addr != PCI_UNMAPPED)
        io_space_add(bar_space(d, b), b->region, addr);
    if (d->ops->bar_moved)
        d->ops->bar_moved(d, (unsigned)(b - d->bar));
}

void pci_bars_update(struct pci_dev *d)
{
    for (unsigned i = 0; i < bar_count(d); i++)
        if (d->bar[i].kind != PCI_BAR_NONE)
            bar_move(d, &d->bar[i], bar_address(d, i));
    if (d->rom)
        pci_rom_move(d, rom_address(d));
}

void pci_bars_unmap(struct pci_dev *d)
{
    for (unsigned i = 0; i < bar_count(d); i++)
        if (d->bar[i].kind != PCI_BAR_NONE)
            bar_move(d, &d->bar[i], PCI_UNMAPPED);
    if (d->rom)
        pci_rom_move(d, PCI_UNMAPPED);
}

/* ---- capabilities ---- */

uint8_t pci_cap_add(struct pci_dev *d, uint8_t cap_id, uint8_t len_bytes)
{
    unsigned at = d->cap_next_free, len = ALIGN_UP((unsigned)len_bytes, 4u);

    assert(len >= 4 && at + len <= PCI_CONVENTIONAL_SIZE);
    d->config[at] = cap_id;
    d->config[d->cap_tail ? d->cap_tail + 1u : PCI_CAP_POINTER] = (uint8_t)at;
    d->config[PCI_STATUS] |= PCI_STATUS_CAPS;
    d->cap_tail = (uint8_t)at;
    d->cap_next_free = (uint8_t)(at + len); /* 0 after a full space: the assert above sees it */
    assert(d->cap_next_free >= FIRST_CAP || at + len == PCI_CONVENTIONAL_SIZE);
    return (uint8_t)at;
}

uint16_t pci_ext_cap_add(struct pci_dev *d, uint16_t cap_id, uint8_t ver, uint16_t len_bytes)
{
    unsigned at = d->ext_cap_next_free, len = ALIGN_UP((unsigned)len_bytes, 4u);

    assert(d->express && len >= 4 && at + len <= PCI_CONFIG_SIZE);
    le32_put(d->config + at, cap_id | (uint32_t)ver << 16);
    if (d->ext_cap_tail) {
        uint32_t head = le32_get(d->config + d->ext_cap_tail);
        le32_put(d->config + d->ext_cap_tail, (head & 0xfffff) | (uint32_t)at << 20);
    }
    d->ext_cap_tail = (uint16_t)at;
    d->ext_cap_next_free = (uint16_t)(at + len);
    return (uint16_t)at;
}

/* PCIe 4.0 §7.5.3: version 2, so all of it is there whatever the port type. */
uint8_t pcie_cap_add(struct pci_dev *d, enum pcie_port_type type, uint8_t port)
{
    uint8_t *c, *w;

    d->pcie_cap = pci_cap_add(d, PCI_CAP_PCIE, 0x3c);
    d->express = true;
    c = d->config + d->pcie_cap;
    w = d->wmask + d->pcie_cap;
    le16_put(c + 0x02, 2 | type << 4);
    le32_put(c + 0x04, 1u << 15);      /* device caps: role-based error reporting */
    le16_put(w + 0x08, 0x78ff & ~0x8); /* device control; no phantom functions, no aux power */
    le16_put(d->w1c + d->pcie_cap + 0x0a, 0xf);
    if (type != PCIE_RC_INTEGRATED) {
        le32_put(c + 0x0c, 1 | 1 << 4 | (uint32_t)port << 24); /* 2.5 GT/s, x1 */
        le16_put(w + 0x10, 0x0fc3 & ~0x30);                    /* link control */
        le16_put(c + 0x12, 1 | 1 << 4);
        le32_put(c + 0x2c, 1 << 1); /* link caps 2: 2.5 GT/s */
        le16_put(c + 0x30, 1);      /* target speed */
    }
    return d->pcie_cap;
}

/* ---- config access ---- */

uint32_t pci_config_read_plain(const struct pci_dev *d, unsigned off, unsigned size)
{
    uint32_t v = 0;

    assert((size == 1 || size == 2 || size == 4) && off + size <= PCI_CONFIG_SIZE);
    if (off + size > pci_config_limit(d))
        return size == 4 ? UINT32_MAX : (1u << (8 * size)) - 1;
    memcpy(&v, d->config + off, size);
    if (off <= PCI_STATUS && off + size > PCI_STATUS &&
        __atomic_load_n(&d->intx_level, __ATOMIC_RELAXED))
        v |= (uint32_t)PCI_STATUS_INTX << (8 * (PCI_STATUS - off));
    return v;
}

uint32_t pci_config_read(struct pci_dev *d, unsigned off, unsigned size)
{
    return d->ops->config_read ? d->ops->config_read(d, off, size)
                               : pci_config_read_plain(d, off, size);
}

void pci_config_write(struct pci_dev *d, unsigned off, unsigned size, uint32_t val)
{
    uint16_t control = le16_get(d->config + PCI_BRIDGE_CONTROL);

    assert((size == 1 || size == 2 || size == 4) && off + size <= PCI_CONFIG_SIZE);
    if (off + size > pci_config_limit(d))
        return;
    for (unsigned i = 0; i < size; i++, val >>= 8) {
        uint8_t mask = d->wmask[off + i], byte = (uint8_t)val;
        d->config[off + i] =
            (uint8_t)(((d->config[off + i] & ~mask) | (byte & mask)) & ~(byte & d->w1c[off + i]));
    }
    if (pci_overlaps(off, size, PCI_COMMAND, 2)) {
        pci_intx_update(d);
        pci_bars_update(d);
    } else if (pci_overlaps(off, size, PCI_BAR0, 4 * bar_count(d)) ||
               (d->rom && pci_overlaps(off, size, PCI_ROM, 4))) {
        pci_bars_update(d);
    }
    if (d->is_bridge)
        pci_bridge_written(d, off, size, control);
    if (d->msix)
        msix_config_written(d);
    if (d->ops->config_written)
        d->ops->config_written(d, off, size);
}

bool pci_bus_master(const struct pci_dev *d)
{
    return d->config[PCI_COMMAND] & PCI_CMD_MASTER;
}

/* ---- INTx ---- */

static void intx_drive_locked(struct pci_dev *d)
{
    bool level = d->intx_level && !(le16_get(d->config + PCI_COMMAND) & PCI_CMD_INTX_OFF);

    if (d->intx.chip)
        irq_set(&d->intx, level);
    if (d->intx_pic.chip)
        irq_set(&d->intx_pic, level);
}

void pci_intx_update(struct pci_dev *d)
{
    pthread_mutex_lock(&d->bus->host->intx_lock);
    intx_drive_locked(d);
    pthread_mutex_unlock(&d->bus->host->intx_lock);
}

void pci_intx_set(struct pci_dev *d, bool level)
{
    pthread_mutex_lock(&d->bus->host->intx_lock);
    __atomic_store_n(&d->intx_level, level, __ATOMIC_RELAXED);
    intx_drive_locked(d);
    pthread_mutex_unlock(&d->bus->host->intx_lock);
}

void pci_intx_off(struct pci_dev *d)
{
    pthread_mutex_lock(&d->bus->host->intx_lock);
    irq_disconnect(&d->intx);
    irq_disconnect(&d->intx_pic);
    pthread_mutex_unlock(&d->bus->host->intx_lock);
}

void pci_intx_route(struct pci_dev *d)
{
    struct pci_host *h = d->bus->host;
    unsigned pin = d->config[PCI_INT_PIN] - 1u, slot = d->devfn >> 3;
    int isa;

    if (!d->config[PCI_INT_PIN])
        return;
    /* Each bridge rotates the pins by the slot behind it (bridge spec 1.2 §9.1). */
    for (struct pci_bus *b = d->bus; b->bridge; b = b->bridge->bus) {
        pin = (pin + slot) % 4;
        slot = b->bridge->devfn >> 3;
    }
    isa = h->route_intx_pic ? h->route_intx_pic(h, (uint8_t)slot, pin) : -1;
    pthread_mutex_lock(&h->intx_lock);
    if (h->route_intx)
        irq_connect(&d->intx, h->irqchip, h->route_intx(h, (uint8_t)slot, pin));
    if (isa >= 0)
        irq_connect(&d->intx_pic, h->irqchip, (unsigned)isa);
    else
        irq_disconnect(&d->intx_pic);
    intx_drive_locked(d);
    pthread_mutex_unlock(&h->intx_lock);
}

/* ---- reset and state ---- */

void pci_dev_reset(struct pci_dev *d)
{
    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
        if (d->wmask[i] | d->w1c[i])
            d->config[i] = d->initial[i];
    msix_reset(d);
    pci_intx_set(d, false);
    pci_bars_update(d);
    if (d->is_bridge)
        pci_bridge_changed(d);
}

static void config_save(struct state_writer *w, const void *obj)
{
    const struct pci_dev *d = obj;

    state_put_u32(w, pci_config_limit(d));
    state_put_bytes(w, d->config, pci_config_limit(d));
}

/* Only what a guest can change comes from the stream; the rest says whether it is the same device.
 */
static bool config_load(struct state_reader *r, void *obj, GError **err)
{
    struct pci_dev *d = obj;
    unsigned limit = pci_config_limit(d);
    g_autofree uint8_t *in = g_malloc0(PCI_CONFIG_SIZE);

    if (state_get_u32(r) != limit || !state_get_bytes(r, in, limit))
        return error_set(err, HANOK_ERROR_CORRUPT, "its config space has another size");
    for (unsigned i = 0; i < FIRST_CAP; i++) {
        uint8_t fixed = (uint8_t) ~(d->wmask[i] | d->w1c[i]);
        if (i == PCI_STATUS)
            fixed &= (uint8_t)~PCI_STATUS_INTX;
        if ((in[i] ^ d->config[i]) & fixed)
            return error_set(err, HANOK_ERROR_CORRUPT,
                             "its config space differs at byte 0x%x: saved from another device", i);
    }
    for (unsigned i = 0; i < limit; i++) {
        uint8_t mask = d->wmask[i] | d->w1c[i];
        d->config[i] = (uint8_t)((d->config[i] & ~mask) | (in[i] & mask));
    }
    return true;
}

static void msix_field_save(struct state_writer *w, const void *obj)
{
    msix_save(w, obj);
}

static bool msix_field_load(struct state_reader *r, void *obj, GError **err)
{
    return msix_load(r, obj, err);
}

static bool pci_dev_post_load(void *obj, uint32_t version, GError **err)
{
    struct pci_dev *d = obj;

    pci_intx_update(d);
    pci_bars_update(d);
    /* A bridge loads before what is behind it or after: either way its windows count last. */
    if (d->is_bridge)
        pci_bridge_changed(d);
    if (d->msix)
        msix_config_written(d);
    return true;
}

static const struct state_field pci_dev_fields[] = {
    STATE_CUSTOM("config", config_save, config_load),
    STATE_CUSTOM("msix", msix_field_save, msix_field_load),
    STATE_BOOL(struct pci_dev, intx_level),
    STATE_END,
};
const struct state_desc pci_dev_state = {
    .name = "pci",
    .version = 1,
    .fields = pci_dev_fields,
    .post_load = pci_dev_post_load,
};
