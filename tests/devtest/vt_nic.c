/* vt_nic.c - see vt_nic.h. */
#include "vt_nic.h"

#include "base/props.h"
#include "bus/pci.h"
#include "net/net.h"
#include "nic/e1000.h"

const uint8_t nic_mac[6] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc};

void nic_map(struct nic *n)
{
    if (!n->regs) {
        n->regs = n->bus->next_mmio;
        n->table = n->regs + 0x40000;
        n->bus->next_mmio += 0x80000;
    }
    vt_config_write(n->bus, NIC_DEVFN, 0x10, 4, (uint32_t)n->regs);
    vt_config_write(n->bus, NIC_DEVFN, n->pcie ? 0x18 : 0x14, 4, PORTS);
    if (n->pcie) {
        vt_config_write(n->bus, NIC_DEVFN, 0x14, 4, (uint32_t)n->regs + 0x20000);
        vt_config_write(n->bus, NIC_DEVFN, 0x1c, 4, (uint32_t)n->table);
    }
    vt_config_write(n->bus, NIC_DEVFN, PCI_COMMAND, 2, 7);
}

void nic_board_up(struct nic *n)
{
    GError *err = NULL;

    n->board = vt_board_new();
    n->bus = vt_board_bus(n->board);
    struct e1000_config c = {.pcie = n->pcie,
                             .bus = vt_board_pci(n->board)->root,
                             .devfn = NIC_DEVFN,
                             .id = "net0",
                             .clock = vt_board_clock(n->board),
                             .backend = n->net};
    memcpy(c.mac, nic_mac, 6);
    n->pci = e1000_new(&c, &err);
    g_assert_no_error(err);
    n->tx_ring = vt_alloc(n->bus, RING * 16, 4096);
    n->rx_ring = vt_alloc(n->bus, RING * 32, 4096);
    n->tx_mem = vt_alloc(n->bus, 0x20000, 4096);
    n->rx_mem = vt_alloc(n->bus, RING * BUF, 4096);
}

/* Rings in place; RING - 1 buffers are the receiver's. */
void nic_start(struct nic *n)
{
    static const uint8_t zero[RING * 32];

    n->bus->mem_write(n->bus, n->tx_ring, zero, RING * 16);
    n->bus->mem_write(n->bus, n->rx_ring, zero, RING * 32);
    for (unsigned i = 0; i < RING; i++)
        vt_put(n->bus, n->rx_ring + 16 * i, n->rx_mem + (uint64_t)i * BUF, 8);
    n->tx_at = n->rx_at = 0;
    wr(n, CTRL, rd(n, CTRL) | BIT(6));
    wr(n, TDBAL, (uint32_t)n->tx_ring);
    wr(n, TDBAL + LEN, RING * 16);
    wr(n, RDBAL, (uint32_t)n->rx_ring);
    wr(n, RDBAL + LEN, RING * 16);
    wr(n, RDBAL + TAIL, RING - 1);
    wr(n, TCTL, BIT(1) | BIT(3));
    wr(n, RCTL, RCTL_ON);
}

void nic_set_up(struct nic *n, bool pcie, const char *netdev)
{
    GError *err = NULL;

    *n = (struct nic){.pcie = pcie};
    if (netdev) {
        PROPS_AUTO p = props_parse(netdev, "type", &err);
        n->net = net_open(p, &err);
        g_assert_no_error(err);
    }
    nic_board_up(n);
    nic_map(n);
    nic_start(n);
}

void nic_tear_down(struct nic *n)
{
    vt_board_free(n->board);
    net_close(n->net);
}

/* ---- descriptors ---- */

void tx_put(struct nic *n, uint64_t addr, uint32_t low, uint32_t high)
{
    uint64_t d = n->tx_ring + 16ull * n->tx_at;

    vt_put(n->bus, d, addr, 8);
    vt_put(n->bus, d + 8, low, 4);
    vt_put(n->bus, d + 12, high, 4);
    n->tx_at = (n->tx_at + 1) % RING;
}

void tx_go(struct nic *n)
{
    wr(n, TDBAL + TAIL, n->tx_at);
    for (unsigned i = 0; i < 2000 && rd(n, TDBAL + HEAD) != n->tx_at; i++)
        n->bus->pump(n->bus);
    g_assert_cmpuint(rd(n, TDBAL + HEAD), ==, n->tx_at);
}

void nic_send(struct nic *n, const uint8_t *frame, size_t len)
{
    n->bus->mem_write(n->bus, n->tx_mem, frame, len);
    tx_put(n, n->tx_mem, (uint32_t)len | CMD_LAST << 24, 0);
    tx_go(n);
}

bool nic_received(struct nic *n)
{
    return vt_get(n->bus, n->rx_ring + 16ull * n->rx_at + 12, 1) & 1;
}

/* The next legacy descriptor: its length; its buffer is copied to out. */
size_t nic_receive(struct nic *n, uint8_t *out, uint64_t *desc)
{
    uint64_t at = n->rx_ring + 16ull * n->rx_at;

    for (unsigned i = 0; i < 20000 && !nic_received(n); i++)
        n->bus->pump(n->bus);
    g_assert_true(nic_received(n));
    *desc = vt_get(n->bus, at + 8, 8);
    size_t len = *desc & 0xffff;
    n->bus->mem_read(n->bus, n->rx_mem + (uint64_t)n->rx_at * BUF, out, MIN_OF(len, (size_t)BUF));
    vt_put(n->bus, at + 8, 0, 8);
    wr(n, RDBAL + TAIL, n->rx_at);
    n->rx_at = (n->rx_at + 1) % RING;
    return len;
}

void frame_make(uint8_t *f, size_t len, const uint8_t dst[6])
{
    memcpy(f, dst, 6);
    memcpy(f + 6, nic_mac, 6);
    f[12] = 0x88;
    f[13] = 0xb5;
    for (size_t i = 14; i < len; i++)
        f[i] = (uint8_t)(i * 7);
}

uint16_t sum16(const uint8_t *p, size_t len, uint32_t start)
{
    uint32_t s = start;

    for (size_t i = 0; i < len; i++)
        s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return (uint16_t)s;
}

uint32_t pseudo_sum(const uint8_t *f, unsigned proto, size_t len)
{
    return sum16(f + 26, 8, 0) + proto + (uint32_t)len;
}

/* Ethernet, IPv4, TCP or UDP; its checksums as a driver leaves them (length counted or not). */
void ip_make(uint8_t *f, size_t payload, bool tcp, bool count_length)
{
    size_t l4 = (tcp ? 20 : 8) + payload, total = 20 + l4;

    frame_make(f, 34 + l4, nic_mac);
    f[12] = 8;
    f[13] = 0;
    memcpy(f + 14,
           (uint8_t[]){0x45,
                       0,
                       (uint8_t)(total >> 8),
                       (uint8_t)total,
                       0x12,
                       0x34,
                       0,
                       0,
                       64,
                       tcp ? 6 : 17,
                       0,
                       0,
                       10,
                       0,
                       2,
                       15,
                       10,
                       0,
                       2,
                       2},
           20);
    uint16_t s = sum16(NULL, 0, pseudo_sum(f, tcp ? 6 : 17, count_length ? l4 : 0));
    if (tcp) {
        memcpy(f + 34,
               (uint8_t[]){4, 1, 4, 2, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 9, 0x50, 0x19, 1, 1}, 16);
        memset(f + 50, 0, 4);
    } else {
        memcpy(f + 34, (uint8_t[]){4, 1, 4, 2, (uint8_t)(l4 >> 8), (uint8_t)l4, 0, 0}, 8);
    }
    f[tcp ? 50 : 40] = (uint8_t)(s >> 8);
    f[tcp ? 51 : 41] = (uint8_t)s;
}

void context_put(struct nic *n, bool tcp, unsigned command, unsigned header, unsigned mss,
                 unsigned payload)
{
    uint64_t words =
        14u | 24u << 8 | (uint64_t)33 << 16 | (uint64_t)34 << 32 | (uint64_t)(tcp ? 50 : 40) << 40;

    tx_put(n, words, payload | (0x20u | 2u | tcp | command) << 24, header << 8 | mss << 16);
}
