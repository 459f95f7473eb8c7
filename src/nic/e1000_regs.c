/* e1000_regs.c - the register file: what can be written, what reading does, reset, counters. */
#include "e1000_int.h"

#include "base/evloop.h"
#include "base/trace.h"
#include "frame.h"

#include <glib.h>

enum { BOTH = 3, PCI_ONLY = 1, PCIE_ONLY = 2 };

/* Registers that keep what is written to them; the rest reads as it is and writes vanish, but for
 * those with a case of their own below. */
static const struct reg_rule {
    uint16_t first, last, models;
    uint32_t mask;
} rules[] = {
    {CTRL_EXT, CTRL_EXT, BOTH, ~(uint32_t)CTRL_EXT_EE_RST},
    {0x001c, 0x001c, BOTH, 0x0000ffff}, /* FLA */
    {FCAL, FCT, BOTH, UINT32_MAX},      /* with FEXTNVM between */
    {VET, VET, BOTH, 0xffff},
    {ITR, ITR, BOTH, 0xffff},
    {EIAC, EIAC, PCIE_ONLY, 0x01f00000},
    {IAM, IAM, PCIE_ONLY, UINT32_MAX},
    {IVAR, IVAR, PCIE_ONLY, 0x800fffff},
    {EITR, EITR + 16, PCIE_ONLY, 0xffff},
    {RCTL, RCTL, BOTH, 0x7fffffff},
    {0x0170, 0x017c, BOTH, UINT32_MAX}, /* FCTTV, TXCW, RXCW */
    {TCTL, TCTL, BOTH, 0x3fffffff},
    {TIPG, TIPG, BOTH, 0x3fffffff},
    {0x0458, 0x0458, BOTH, 0xffff}, /* AIT */
    {LEDCTL, LEDCTL, BOTH, UINT32_MAX},
    {EXTCNF_CTRL, EXTCNF_CTRL, PCIE_ONLY, 0xff},
    {0x0f08, 0x0f18, PCIE_ONLY, UINT32_MAX},
    {PBA, PBA, BOTH, 0xffff},
    {0x1008, 0x100c, BOTH, UINT32_MAX}, /* PBS, PBECCSTS */
    {0x2008, 0x2008, PCIE_ONLY, UINT32_MAX},
    {0x2160, 0x2168, BOTH, 0xffff}, /* FCRTL, FCRTH */
    {PSRCTL, PSRCTL, PCIE_ONLY, UINT32_MAX},
    {0x2410, 0x2430, BOTH, 0x1fff}, /* packet buffer pointers */
    {RX_RING + RING_BAL, RX_RING + RING_BAL, BOTH, ~15u},
    {RX_RING + RING_BAH, RX_RING + RING_BAH, BOTH, UINT32_MAX},
    {RX_RING + RING_LEN, RX_RING + RING_LEN, BOTH, 0x000fff80},
    {RX_RING + RING_HEAD, RX_RING + RING_TAIL, BOTH, 0xffff},
    {RX_RING + 0x20, RX_RING + 0x20, BOTH, 0xffff},     /* RDTR */
    {RX_RING + 0x28, RX_RING + 0x28, BOTH, UINT32_MAX}, /* RXDCTL */
    {RX_RING + 0x2c, RX_RING + 0x2c, BOTH, 0xffff},     /* RADV */
    {RX_RING + 0x100, RX_RING + 0x100, PCIE_ONLY, ~15u},
    {RX_RING + 0x104, RX_RING + 0x104, PCIE_ONLY, UINT32_MAX},
    {RX_RING + 0x108, RX_RING + 0x108, PCIE_ONLY, 0x000fff80},
    {RX_RING + 0x110, RX_RING + 0x118, PCIE_ONLY, 0xffff},
    {RX_RING + 0x120, RX_RING + 0x12c, PCIE_ONLY, UINT32_MAX},
    {0x2c00, 0x2c08, BOTH, 0xffff}, /* RSRPD, RAID */
    {0x3000, 0x3004, BOTH, UINT32_MAX},
    {0x3410, 0x3430, BOTH, 0x1fff},
    {TX_RING + RING_BAL, TX_RING + RING_BAL, BOTH, ~15u},
    {TX_RING + RING_BAH, TX_RING + RING_BAH, BOTH, UINT32_MAX},
    {TX_RING + RING_LEN, TX_RING + RING_LEN, BOTH, 0x000fff80},
    {TX_RING + RING_HEAD, TX_RING + RING_TAIL, BOTH, 0xffff},
    {TX_RING + 0x20, TX_RING + 0x30, BOTH, UINT32_MAX}, /* TIDV, TXDCTL, TADV, TSPMT */
    {TX_RING + 0x40, TX_RING + 0x40, PCIE_ONLY, UINT32_MAX},
    {TX_RING + 0x100, TX_RING + 0x100, PCIE_ONLY, ~15u},
    {TX_RING + 0x104, TX_RING + 0x104, PCIE_ONLY, UINT32_MAX},
    {TX_RING + 0x108, TX_RING + 0x108, PCIE_ONLY, 0x000fff80},
    {TX_RING + 0x110, TX_RING + 0x118, PCIE_ONLY, 0xffff},
    {TX_RING + 0x120, TX_RING + 0x140, PCIE_ONLY, UINT32_MAX},
    {RXCSUM, RXCSUM, BOTH, 0x0000ffff},
    {RFCTL, RFCTL, BOTH, 0x0003ffff},
    {MTA, MTA + 0x1fc, BOTH, UINT32_MAX},
    {RA, RA + 0x7c, BOTH, UINT32_MAX},
    {VFTA, VFTA + 0x1fc, BOTH, UINT32_MAX},
    {0x5800, 0x5810, BOTH, UINT32_MAX}, /* WUC, WUFC, WUS: kept, nothing wakes up */
    {MRQC, MRQC, PCIE_ONLY, UINT32_MAX},
    {0x5820, 0x5824, BOTH, UINT32_MAX},      /* MANC, MFVAL */
    {0x5838, 0x58a0, BOTH, UINT32_MAX},      /* IPAV, IP4AT, IP6AT, MDEF */
    {0x5900, 0x5a7c, BOTH, UINT32_MAX},      /* WUPL, WUPM */
    {0x5b00, 0x5b00, PCIE_ONLY, UINT32_MAX}, /* GCR */
    {0x5b64, PBACLR, PCIE_ONLY, UINT32_MAX},
    {RETA, RETA + 0x7c, PCIE_ONLY, UINT32_MAX},
    {RSSRK, RSSRK + 0x24, PCIE_ONLY, UINT32_MAX},
};

/* Where the 82542 had them: all its successors answer there, too (SDM §13.2). */
static const struct {
    uint16_t first, last, to;
} aliases[] = {
    {0x0040, 0x00bc, RA},
    {0x0108, 0x0108, RX_RING + 0x20},
    {0x0110, 0x0118, RX_RING},
    {0x0120, 0x0128, RX_RING + RING_HEAD},
    {0x0200, 0x03fc, MTA},
    {0x0420, 0x0428, TX_RING},
    {0x0430, 0x0440, TX_RING + RING_HEAD},
    {0x0600, 0x07fc, VFTA},
};

static unsigned canonical(unsigned off)
{
    if (off == 0x0160 || off == 0x0168) /* FCRTH, FCRTL: the other way round */
        return off == 0x0160 ? 0x2168 : 0x2160;
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (off >= aliases[i].first && off <= aliases[i].last)
            return aliases[i].to + off - aliases[i].first;
    return off;
}

static uint32_t writable(const struct e1000 *e, unsigned off)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (off >= rules[i].first && off <= rules[i].last)
            return rules[i].models & (e->model->pcie ? PCIE_ONLY : PCI_ONLY) ? rules[i].mask : 0;
    return 0;
}

bool e1000_may_dma(const struct e1000 *e)
{
    bool master = !(e->model->pcie && (e->reg[CTRL / 4] & CTRL_MASTER_OFF));
    return master && pci_bus_master(&e->pci);
}

bool e1000_ring_locked(struct e1000 *e, unsigned reg, unsigned bytes, struct e1000_ring *out)
{
    const uint32_t *r = e1000_reg(e, reg);

    out->reg = reg;
    out->bytes = bytes;
    out->base = r[RING_BAL / 4] | (uint64_t)r[RING_BAH / 4] << 32;
    out->count = r[RING_LEN / 4] / bytes;
    out->head = r[RING_HEAD / 4];
    out->tail = r[RING_TAIL / 4];
    return out->head < out->count && out->tail < out->count;
}

/* ---- reset ---- */

void e1000_reset_locked(struct e1000 *e, bool power)
{
    uint32_t *r = e->reg;

    e->epoch++;
    memset(e->reg, 0, sizeof(e->reg));
    memset(e->next_ns, 0, sizeof(e->next_ns));
    r[CTRL / 4] = 0x00140240;
    r[STATUS / 4] = e->model->pcie ? 0x00080681 : 0x00000681; /* full duplex, 1000 Mbit/s */
    r[CTRL_EXT / 4] = 0;
    r[VET / 4] = 0x8100;
    r[LEDCTL / 4] = 0x07061302;
    r[PBA / 4] = e->model->pcie ? 0x00140014 : 0x00100030;
    r[EEMNGCTL / 4] = BIT(18) | BIT(19); /* configuration is done */
    r[0x5820 / 4] = e->model->pcie ? 0 : BIT(0);
    r[0x3840 / 4] = r[0x3940 / 4] = 0x403;
    e->ee_bits = e->ee_in = 0;
    e->ee_do = true;
    e1000_nvm_load_mac_locked(e);
    e1000_tx_forget_locked(e);
    if (power)
        e1000_phy_reset_locked(e);
    e->io_addr = 0;
    e1000_irq_update_locked(e);
}

/* ---- counters ---- */

void e1000_count_locked(struct e1000 *e, unsigned off, uint64_t n)
{
    uint32_t *r = e1000_reg(e, off);
    *r = n > UINT32_MAX - *r ? UINT32_MAX : *r + (uint32_t)n;
}

void e1000_count64_locked(struct e1000 *e, unsigned off, uint64_t n)
{
    uint32_t *r = e1000_reg(e, off);
    uint64_t v = r[0] | (uint64_t)r[1] << 32;

    v = n > UINT64_MAX - v ? UINT64_MAX : v + n;
    r[0] = (uint32_t)v;
    r[1] = (uint32_t)(v >> 32);
}

static unsigned size_class(size_t bytes)
{
    static const uint16_t up_to[] = {64, 127, 255, 511, 1023};
    unsigned i = 0;

    while (i < ARRAY_SIZE(up_to) && bytes > up_to[i])
        i++;
    return i;
}

void e1000_count_frame_locked(struct e1000 *e, const uint8_t *frame, size_t len, bool rx)
{
    size_t wire = len + 4;

    e1000_count_locked(e, rx ? TPR : TPT, 1);
    e1000_count64_locked(e, rx ? TOR : TOT, wire);
    e1000_count_locked(e, rx ? GPRC : GPTC, 1);
    e1000_count64_locked(e, rx ? GORC : GOTC, wire);
    e1000_count_locked(e, (rx ? PRC64 : PTC64) + 4 * size_class(wire), 1);
    if (frame_broadcast(frame))
        e1000_count_locked(e, rx ? BPRC : BPTC, 1);
    else if (frame_multicast(frame))
        e1000_count_locked(e, rx ? MPRC : MPTC, 1);
}

/* Reading clears; of a 64-bit counter, reading the upper half clears both (SDM §13.7). */
static uint32_t counter_read(struct e1000 *e, unsigned off)
{
    static const uint16_t wide[] = {GORC, GOTC, TOR, TOT};
    uint32_t v = *e1000_reg(e, off);

    for (size_t i = 0; i < ARRAY_SIZE(wide); i++) {
        if (off == wide[i])
            return v;
        if (off == wide[i] + 4u)
            *e1000_reg(e, wide[i]) = 0;
    }
    *e1000_reg(e, off) = 0;
    return v;
}

/* ---- register access ---- */

static uint32_t status_read(const struct e1000 *e)
{
    uint32_t v = e->reg[STATUS / 4];

    if (e->link_up && (e->reg[CTRL / 4] & CTRL_SLU))
        v |= STATUS_LU;
    return e->model->pcie && (e->reg[CTRL / 4] & CTRL_MASTER_OFF) ? v & ~STATUS_MASTER : v;
}

static uint32_t reg_read(struct e1000 *e, unsigned off)
{
    uint32_t v = *e1000_reg(e, off);

    switch (off) {
    case STATUS:
        return status_read(e);
    case EECD:
        return e1000_eecd_read_locked(e);
    case ICR:
        return e1000_icr_read_locked(e);
    case ICS:
        return e->model->pcie ? *e1000_reg(e, ICR) : 0;
    case IMC:
        return 0;
    case SWSM: /* reading takes the semaphore */
        if (e->model->pcie)
            *e1000_reg(e, SWSM) |= 1;
        return v;
    default:
        return off >= STATS && off < STATS_END ? counter_read(e, off) : v;
    }
}

static void ctrl_write(struct e1000 *e, uint32_t val)
{
    if (val & CTRL_RST) {
        e1000_reset_locked(e, false);
        return;
    }
    if (val & CTRL_PHY_RST)
        e1000_phy_reset_locked(e);
    *e1000_reg(e, CTRL) = val & ~(CTRL_RST | CTRL_PHY_RST);
}

static void tail_written(struct e1000 *e, unsigned off)
{
    bool tx = off >= TX_RING;

    if (tx)
        timer_set(e->tx_timer, vm_clock_ns(e->clock));
    else if (e->rx_starved)
        timer_set(e->rx_timer, vm_clock_ns(e->clock));
}

static void plain_write(struct e1000 *e, unsigned off, uint32_t val)
{
    uint32_t mask = writable(e, off);

    *e1000_reg(e, off) = (*e1000_reg(e, off) & ~mask) | (val & mask);
    if (off == CTRL_EXT && (val & CTRL_EXT_EE_RST))
        e1000_nvm_load_mac_locked(e);
    if (off == TCTL || (off & ~0x100u) == TX_RING + RING_TAIL)
        tail_written(e, TX_RING);
    if (off == RCTL || (off & ~0x100u) == RX_RING + RING_TAIL)
        tail_written(e, RX_RING);
}

static void reg_write(struct e1000 *e, unsigned off, uint32_t val)
{
    switch (off) {
    case CTRL:
    case CTRL + 4: /* a duplicate */
        ctrl_write(e, val);
        break;
    case EECD:
        e1000_eecd_write_locked(e, val);
        break;
    case EERD:
        e1000_eerd_write_locked(e, val);
        break;
    case MDIC:
        e1000_mdic_write_locked(e, val);
        break;
    case ICR: /* writing ones clears (DS §10.2.4.1); the 82540EM's is for reading */
        if (e->model->pcie)
            *e1000_reg(e, ICR) &= ~val;
        e1000_irq_update_locked(e);
        break;
    case ICS:
        e1000_cause_locked(e, val);
        break;
    case IMS:
        *e1000_reg(e, IMS) |= val & ~INT_ASSERTED;
        e1000_irq_update_locked(e);
        break;
    case IMC:
        *e1000_reg(e, IMS) &= ~val;
        e1000_irq_update_locked(e);
        break;
    case SWSM:
        *e1000_reg(e, SWSM) = e->model->pcie ? val & 3 : 0;
        break;
    default:
        plain_write(e, off, val);
    }
}

static uint64_t mmio_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct e1000 *e = container_of(r, struct e1000, mmio);
    unsigned at = canonical((unsigned)off);
    uint32_t v = at < REG_BYTES ? reg_read(e, at == CTRL + 4 ? CTRL : at) : 0;

    TRACE(nic_reg, "%s read %05x = %08x", e->model->name, (unsigned)off, v);
    return v;
}

static void mmio_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct e1000 *e = container_of(r, struct e1000, mmio);
    unsigned at = canonical((unsigned)off);

    TRACE(nic_reg, "%s write %05x = %08x", e->model->name, (unsigned)off, (uint32_t)val);
    if (at < REG_BYTES)
        reg_write(e, at, (uint32_t)val);
}

/* IOADDR, IODATA (SDM §13.1.2) */
static uint64_t io_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct e1000 *e = container_of(r, struct e1000, io);

    if (off == 0)
        return e->io_addr;
    return off == 4 && e->io_addr < e->mmio.size_bytes ? mmio_read(&e->mmio, e->io_addr, 4) : 0;
}

static void io_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct e1000 *e = container_of(r, struct e1000, io);

    if (off == 0)
        e->io_addr = (uint32_t)val & ~3u;
    else if (off == 4 && e->io_addr < e->mmio.size_bytes)
        mmio_write(&e->mmio, e->io_addr, 4, val);
}

/* No flash chip is fitted. */
static uint64_t flash_read(struct io_region *r, uint64_t off, unsigned size)
{
    return UINT64_MAX;
}

static void flash_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
}

const struct io_ops e1000_mmio_ops = {
    .read = mmio_read, .write = mmio_write, .min_size = 4, .max_size = 4};
const struct io_ops e1000_io_ops = {
    .read = io_read, .write = io_write, .min_size = 4, .max_size = 4};
const struct io_ops e1000_flash_ops = {
    .read = flash_read, .write = flash_write, .min_size = 1, .max_size = 4};
