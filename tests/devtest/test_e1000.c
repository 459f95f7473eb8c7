/* test_e1000.c - both Intel cards by their registers and rings, mostly looped back to themselves.
 */
#include "vt_nic.h"

#include "bus/pci.h"
#include "net/net.h"

/* ---- EEPROM, PHY, ports ---- */

static uint16_t eerd(struct nic *n, unsigned word)
{
    wr(n, EERD, 1 | word << (n->pcie ? 2 : 8));
    uint32_t v = rd(n, EERD);
    g_assert_true(v & (n->pcie ? BIT(1) : BIT(4)));
    return (uint16_t)(v >> 16);
}

static uint16_t microwire(struct nic *n, unsigned word)
{
    uint32_t in = 6u << 6 | word, base = BIT(6) | BIT(1);
    uint16_t v = 0;

    wr(n, EECD, BIT(6));
    g_assert_true(rd(n, EECD) & BIT(7));
    wr(n, EECD, base);
    for (int i = 8; i >= 0; i--) {
        uint32_t di = in >> i & 1 ? BIT(2) : 0;
        wr(n, EECD, base | di);
        wr(n, EECD, base | di | BIT(0));
        wr(n, EECD, base | di);
    }
    for (int i = 0; i < 16; i++) {
        wr(n, EECD, base | BIT(0));
        v = (uint16_t)(v << 1 | (rd(n, EECD) >> 3 & 1));
        wr(n, EECD, base);
    }
    wr(n, EECD, 0);
    return v;
}

static void test_nvm(gconstpointer pcie)
{
    struct nic n;
    uint16_t sum = 0;

    nic_set_up(&n, pcie != NULL, NULL);
    for (unsigned i = 0; i < 64; i++) {
        sum = (uint16_t)(sum + eerd(&n, i));
        if (!n.pcie)
            g_assert_cmphex(microwire(&n, i), ==, eerd(&n, i));
    }
    g_assert_cmphex(sum, ==, 0xbaba);
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmphex(eerd(&n, i), ==, le16_get(nic_mac + 2 * i));
    g_assert_cmphex(eerd(&n, 0x3fff), ==, eerd(&n, n.pcie ? 0x3fff : 0xff)); /* beyond the end */
    g_assert_cmphex(rd(&n, RAL), ==, le32_get(nic_mac));
    g_assert_cmphex(rd(&n, RAL + 4), ==, 0x80000000u | le16_get(nic_mac + 4));
    /* the same registers by I/O ports, and where the 82542 had them */
    n.bus->out(n.bus, PORTS, 4, RAL);
    g_assert_cmphex(n.bus->in(n.bus, PORTS + 4, 4), ==, le32_get(nic_mac));
    g_assert_cmphex(rd(&n, 0x40), ==, le32_get(nic_mac));
    n.bus->out(n.bus, PORTS, 4, RAL + 8);
    n.bus->out(n.bus, PORTS + 4, 4, 0x12345678);
    g_assert_cmphex(rd(&n, RAL + 8), ==, 0x12345678);
    n.bus->out(n.bus, PORTS, 4, 0xfffffffc);
    n.bus->out(n.bus, PORTS + 4, 4, 1);
    g_assert_cmphex(n.bus->in(n.bus, PORTS + 4, 4), ==, 0);
    nic_tear_down(&n);
}

static uint16_t phy(struct nic *n, unsigned reg)
{
    wr(n, MDIC, BIT(27) | 1u << 21 | reg << 16);
    g_assert_cmphex(rd(n, MDIC) & (BIT(28) | BIT(30)), ==, BIT(28));
    return (uint16_t)rd(n, MDIC);
}

static void phy_set(struct nic *n, unsigned reg, uint16_t v)
{
    wr(n, MDIC, BIT(26) | 1u << 21 | reg << 16 | v);
}

static void test_phy_and_link(gconstpointer pcie)
{
    struct nic n;

    nic_set_up(&n, pcie != NULL, "user,id=n0");
    g_assert_cmphex(phy(&n, 2), ==, 0x0141);
    g_assert_cmphex(phy(&n, 3), ==, n.pcie ? 0x0cb1 : 0x0c20);
    phy_set(&n, 2, 0xffff);
    g_assert_cmphex(phy(&n, 2), ==, 0x0141);
    phy_set(&n, 4, 0x0061);
    g_assert_cmphex(phy(&n, 4), ==, 0x0061);
    phy_set(&n, 0, 0x8000);
    g_assert_cmphex(phy(&n, 4), ==, 0x0de1);
    wr(&n, MDIC, BIT(27) | 9u << 21); /* nobody there */
    g_assert_true(rd(&n, MDIC) & BIT(30));
    g_assert_true(rd(&n, STATUS) & 2);
    g_assert_true(phy(&n, 1) & 4);

    rd(&n, ICR);
    wr(&n, IMS, INT_LSC);
    net_set_link(n.net, false);
    g_assert_true(vt_board_intx(n.board));
    g_assert_true(rd(&n, ICR) & INT_LSC);
    g_assert_false(vt_board_intx(n.board));
    g_assert_false(rd(&n, STATUS) & 2);
    net_set_link(n.net, true);
    g_assert_true(rd(&n, STATUS) & 2);
    g_assert_false(phy(&n, 1) & 4); /* latched */
    g_assert_true(phy(&n, 1) & 4);
    nic_tear_down(&n);
}

/* ---- frames ---- */

static void test_loopback(gconstpointer pcie)
{
    struct nic n;
    uint8_t f[1514], in[BUF];
    uint64_t d;

    nic_set_up(&n, pcie != NULL, NULL);
    frame_make(f, sizeof(f), nic_mac);
    for (unsigned i = 0; i < 2 * RING; i++) { /* around both rings */
        nic_send(&n, f, 100 + i);
        g_assert_cmpuint(nic_receive(&n, in, &d), ==, 100 + i);
        g_assert_cmpmem(in, 100 + i, f, 100 + i);
        g_assert_cmphex(d >> 32 & 0xff, ==, 7); /* DD, EOP, no checksum looked at */
    }
    g_assert_cmpuint(rd(&n, GPTC), ==, 2 * RING);
    g_assert_cmpuint(rd(&n, GPTC), ==, 0); /* reading clears */
    g_assert_cmpuint(rd(&n, GPRC), ==, 2 * RING);
    g_assert_cmpuint(rd(&n, TOTL), ==, 2 * RING * 104 + RING * (2 * RING - 1));
    /* with the FCS: that of "123456789" at the end of the frame is not known, so check residue */
    wr(&n, RCTL, RCTL_ON & ~BIT(26));
    nic_send(&n, f, 42); /* padded to 60 */
    g_assert_cmpuint(nic_receive(&n, in, &d), ==, 60 + FCS);
    g_assert_cmphex(in[41], ==, f[41]);
    g_assert_cmphex(in[42], ==, 0);
    uint32_t crc = UINT32_MAX;
    for (unsigned i = 0; i < 64; i++) {
        crc ^= in[i];
        for (unsigned k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    g_assert_cmphex(crc, ==, 0xdebb20e3); /* what remains of any frame with its CRC */
    /* one packet in three descriptors, one of them empty */
    n.bus->mem_write(n.bus, n.tx_mem, f, 300);
    wr(&n, RCTL, RCTL_ON);
    tx_put(&n, n.tx_mem, 100 | 2u << 24, 0);
    tx_put(&n, 0x7fffffffffffull, 0 | 2u << 24, 0);
    tx_put(&n, n.tx_mem + 100, 200 | CMD_LAST << 24, 0);
    tx_go(&n);
    g_assert_cmpuint(nic_receive(&n, in, &d), ==, 300);
    g_assert_cmpmem(in, 300, f, 300);
    g_assert_true(vt_get(n.bus, n.tx_ring + 16ull * ((n.tx_at + RING - 1) % RING) + 12, 1) & 1);
    nic_tear_down(&n);
}

static void test_long_frames_and_several_buffers(gconstpointer pcie)
{
    struct nic n;
    uint8_t *f = g_malloc(9000), in[BUF];
    uint64_t d;

    nic_set_up(&n, pcie != NULL, NULL);
    frame_make(f, 9000, nic_mac);
    nic_send(&n, f, 9000); /* too long without LPE */
    g_assert_false(nic_received(&n));
    wr(&n, RCTL, RCTL_ON | BIT(5));
    nic_send(&n, f, 9000);
    for (unsigned i = 0; i < 5; i++) {
        size_t len = nic_receive(&n, in, &d);
        g_assert_cmpuint(len, ==, i < 4 ? BUF : 9000 - 4 * BUF);
        g_assert_cmpmem(in, len, f + i * BUF, len);
        g_assert_cmphex(d >> 32 & 2, ==, i < 4 ? 0 : 2);
    }
    /* more than the ring ever holds: lost, and the next one comes */
    wr(&n, RCTL, RCTL_ON | BIT(5) | 3u << 16); /* 256 bytes a buffer */
    nic_send(&n, f, 9000);
    nic_send(&n, f, 200);
    g_assert_cmpuint(nic_receive(&n, in, &d), ==, 200);
    nic_tear_down(&n);
    g_free(f);
}

static void test_filters(gconstpointer pcie)
{
    struct nic n;
    static const uint8_t other[6] = {0x52, 0x54, 0, 1, 2, 3},
                         all[6] = {255, 255, 255, 255, 255, 255},
                         group[6] = {0x01, 0, 0x5e, 0, 0, 0xfb};
    uint8_t f[64], in[BUF];
    uint64_t d;

    nic_set_up(&n, pcie != NULL, NULL);
    frame_make(f, sizeof(f), other);
    nic_send(&n, f, sizeof(f));
    g_assert_false(nic_received(&n));
    wr(&n, RCTL, RCTL_ON | BIT(3)); /* unicast promiscuous */
    nic_send(&n, f, sizeof(f));
    nic_receive(&n, in, &d);
    wr(&n, RCTL, RCTL_ON);
    wr(&n, RAL + 8 * 15, le32_get(other));
    wr(&n, RAL + 8 * 15 + 4, le16_get(other + 4) | BIT(31));
    nic_send(&n, f, sizeof(f));
    nic_receive(&n, in, &d);
    frame_make(f, sizeof(f), all);
    nic_send(&n, f, sizeof(f));
    nic_receive(&n, in, &d);
    wr(&n, RCTL, RCTL_ON & ~BIT(15));
    nic_send(&n, f, sizeof(f));
    g_assert_false(nic_received(&n));
    wr(&n, RCTL, RCTL_ON);
    frame_make(f, sizeof(f), group);
    nic_send(&n, f, sizeof(f));
    g_assert_false(nic_received(&n));
    wr(&n, MTA + 4 * 0x7d, BIT(16)); /* 0xfb00 >> 4 = 0xfb0: word 0x7d, bit 0x10 */
    nic_send(&n, f, sizeof(f));
    nic_receive(&n, in, &d);
    g_assert_true(d >> 32 & 0x80); /* PIF: the hash is not exact */
    wr(&n, MTA + 4 * 0x7d, 0);
    wr(&n, RCTL, RCTL_ON | BIT(4)); /* all multicast */
    nic_send(&n, f, sizeof(f));
    nic_receive(&n, in, &d);
    g_assert_false(nic_received(&n));
    nic_tear_down(&n);
}

static void test_vlan(gconstpointer pcie)
{
    struct nic n;
    uint8_t f[100], in[BUF];
    uint64_t d;

    nic_set_up(&n, pcie != NULL, NULL);
    frame_make(f, sizeof(f), nic_mac);
    n.bus->mem_write(n.bus, n.tx_mem, f, sizeof(f));
    tx_put(&n, n.tx_mem, sizeof(f) | (CMD_LAST | 0x40) << 24, 0x6123u << 16);
    tx_go(&n);
    g_assert_cmpuint(nic_receive(&n, in, &d), ==, sizeof(f)); /* VME off: no tag put in */
    wr(&n, CTRL, rd(&n, CTRL) | BIT(30));
    tx_put(&n, n.tx_mem, sizeof(f) | (CMD_LAST | 0x40) << 24, 0x6123u << 16);
    tx_go(&n);
    g_assert_cmpuint(nic_receive(&n, in, &d), ==, sizeof(f)); /* put in, taken out */
    g_assert_true(d >> 32 & 8);
    g_assert_cmphex(d >> 48, ==, 0x6123);
    g_assert_cmpmem(in, sizeof(f), f, sizeof(f));
    wr(&n, RCTL, RCTL_ON | BIT(18)); /* by VLAN */
    tx_put(&n, n.tx_mem, sizeof(f) | (CMD_LAST | 0x40) << 24, 0x6123u << 16);
    tx_go(&n);
    g_assert_false(nic_received(&n));
    wr(&n, VFTA + 4 * 9, BIT(3)); /* 0x123 */
    tx_put(&n, n.tx_mem, sizeof(f) | (CMD_LAST | 0x40) << 24, 0x6123u << 16);
    tx_go(&n);
    nic_receive(&n, in, &d);
    nic_tear_down(&n);
}

/* ---- checksums and segments ---- */

static void sums_good(const uint8_t *f, size_t len, bool tcp)
{
    g_assert_cmphex(sum16(f + 14, 20, 0), ==, 0xffff);
    g_assert_cmphex(sum16(f + 34, len - 34, pseudo_sum(f, tcp ? 6 : 17, len - 34)), ==, 0xffff);
}

static void test_checksums(gconstpointer pcie)
{
    struct nic n;
    uint8_t f[300], in[BUF];
    uint64_t d;

    nic_set_up(&n, pcie != NULL, NULL);
    wr(&n, RXCSUM, 0x300);
    for (int tcp = 0; tcp < 2; tcp++) {
        size_t len = 34 + (tcp ? 20 : 8) + 101;
        ip_make(f, 101, tcp, true);
        n.bus->mem_write(n.bus, n.tx_mem, f, len);
        context_put(&n, tcp, 0, 0, 0, 0);
        tx_put(&n, n.tx_mem, (uint32_t)len | 1u << 20 | CMD_DATA << 24, 3u << 8);
        tx_go(&n);
        g_assert_cmpuint(nic_receive(&n, in, &d), ==, len);
        sums_good(in, len, tcp);
        g_assert_cmphex(d >> 32 & 0xff, ==, 0x63); /* IP and L4 looked at */
        g_assert_cmphex(d >> 40 & 0xff, ==, 0);
        /* the driver's own, wrong ones: seen on the way in */
        tx_put(&n, n.tx_mem, (uint32_t)len | CMD_LAST << 24, 0);
        tx_go(&n);
        nic_receive(&n, in, &d);
        g_assert_cmphex(d >> 40 & 0xff, ==, 0x60);
    }
    /* a legacy descriptor's checksum over [CSS, end) at CSO */
    ip_make(f, 100, false, true);
    n.bus->mem_write(n.bus, n.tx_mem, f, 142);
    tx_put(&n, n.tx_mem, 142 | 40u << 16 | (CMD_LAST | 4) << 24, 34u << 8);
    tx_go(&n);
    nic_receive(&n, in, &d);
    g_assert_cmphex(sum16(in + 34, 108, pseudo_sum(in, 17, 108)), ==, 0xffff);
    nic_tear_down(&n);
}

static void test_segmentation(gconstpointer pcie)
{
    struct nic n;
    uint8_t f[54 + 2500], in[BUF];
    uint64_t d;

    nic_set_up(&n, pcie != NULL, NULL);
    wr(&n, RXCSUM, 0x300);
    ip_make(f, 2500, true, false);
    n.bus->mem_write(n.bus, n.tx_mem, f, sizeof(f));
    context_put(&n, true, 4, 54, 1000, 2500);
    tx_put(&n, n.tx_mem, 54 | 1u << 20 | 0x26u << 24, 3u << 8); /* the header alone: TSE */
    tx_put(&n, n.tx_mem + 54, 2500 | 1u << 20 | (CMD_DATA | 4) << 24, 0);
    tx_go(&n);
    for (unsigned i = 0; i < 3; i++) {
        size_t payload = i < 2 ? 1000 : 500;
        g_assert_cmpuint(nic_receive(&n, in, &d), ==, 54 + payload);
        g_assert_cmpuint((in[16] << 8) + in[17], ==, 40 + payload);
        g_assert_cmphex((in[18] << 8) + in[19], ==, 0x1234 + i);
        g_assert_cmphex(__builtin_bswap32(le32_get(in + 38)), ==, 0xffffff00u + 1000 * i);
        g_assert_cmphex(in[47], ==, i < 2 ? 0x10 : 0x19); /* PSH and FIN with the last */
        g_assert_cmpmem(in + 54, payload, f + 54 + 1000 * i, payload);
        sums_good(in, 54 + payload, true);
        g_assert_cmphex(d >> 40 & 0xff, ==, 0);
    }
    g_assert_false(nic_received(&n));
    nic_tear_down(&n);
}

/* ---- interrupts ---- */

static void test_interrupts(gconstpointer pcie)
{
    struct nic n;
    uint8_t f[64], in[BUF];
    uint64_t d;

    nic_set_up(&n, pcie != NULL, NULL);
    rd(&n, ICR);
    wr(&n, ICS, INT_LSC);
    g_assert_false(vt_board_intx(n.board)); /* masked */
    wr(&n, IMS, INT_LSC | INT_RXT0);
    g_assert_true(vt_board_intx(n.board));
    wr(&n, IMC, INT_LSC);
    g_assert_false(vt_board_intx(n.board));
    g_assert_cmphex(rd(&n, IMS), ==, INT_RXT0);
    wr(&n, IMS, INT_LSC);
    g_assert_cmphex(rd(&n, ICR), ==, INT_LSC | (n.pcie ? BIT(31) | INT_OTHER : 0));
    g_assert_cmphex(rd(&n, ICR), ==, 0);
    g_assert_false(vt_board_intx(n.board));
    frame_make(f, sizeof(f), nic_mac);
    nic_send(&n, f, sizeof(f));
    nic_receive(&n, in, &d);
    g_assert_true(vt_board_intx(n.board));
    g_assert_true((rd(&n, ICR) & (INT_RXT0 | INT_TXDW)) == (INT_RXT0 | INT_TXDW));
    /* throttled: the second one comes later, but it comes */
    wr(&n, ITR, 0xffff);
    wr(&n, ICS, INT_LSC);
    g_assert_true(vt_board_intx(n.board));
    rd(&n, ICR);
    wr(&n, ICS, INT_LSC);
    for (unsigned i = 0; i < 200000 && !vt_board_intx(n.board); i++)
        n.bus->pump(n.bus);
    g_assert_true(vt_board_intx(n.board));
    wr(&n, CTRL, rd(&n, CTRL) | BIT(26)); /* a reset takes all of it back */
    g_assert_false(vt_board_intx(n.board));
    g_assert_cmphex(rd(&n, IMS), ==, 0);
    nic_tear_down(&n);
}

static void msix_on(struct nic *n)
{
    unsigned cap = vt_config_read(n->bus, NIC_DEVFN, PCI_CAP_POINTER, 1);

    while (cap && vt_config_read(n->bus, NIC_DEVFN, cap, 1) != PCI_CAP_MSIX)
        cap = vt_config_read(n->bus, NIC_DEVFN, cap + 1, 1);
    g_assert_cmpuint(cap, !=, 0);
    g_assert_cmpuint(vt_config_read(n->bus, NIC_DEVFN, cap + 4, 4) & 7, ==, 3);
    for (unsigned i = 0; i < 5; i++) {
        n->bus->write(n->bus, n->table + 16 * i, 8, 0xfee00000);
        n->bus->write(n->bus, n->table + 16 * i + 8, 4, 20 + i);
        n->bus->write(n->bus, n->table + 16 * i + 12, 4, 0);
    }
    vt_config_write(n->bus, NIC_DEVFN, cap + 2, 2, 0x8000);
}

static unsigned vector(struct nic *n, unsigned i)
{
    return vt_board_msi_count(n->board, 20 + i);
}

static void test_msix(void)
{
    struct nic n;
    uint8_t f[64], in[BUF];
    uint64_t d;

    nic_set_up(&n, true, NULL);
    msix_on(&n);
    rd(&n, ICR);
    wr(&n, IVAR, 8 | 0 | 9u << 8 | 10u << 16 | BIT(31)); /* rx 0, tx 1, other 2 */
    wr(&n, EIAC, INT_RXQ0);
    wr(&n, CTRL_EXT, BIT(24)); /* auto-mask */
    wr(&n, IAM, INT_TXQ0);
    wr(&n, IMS, INT_RXQ0 | INT_TXQ0 | INT_OTHER | INT_LSC);
    frame_make(f, sizeof(f), nic_mac);
    nic_send(&n, f, sizeof(f));
    nic_receive(&n, in, &d);
    g_assert_cmpuint(vector(&n, 0), ==, 1);
    g_assert_cmpuint(vector(&n, 1), ==, 1);
    g_assert_cmpuint(vector(&n, 2), ==, 0);
    g_assert_false(vt_board_intx(n.board));
    g_assert_false(rd(&n, ICS) & INT_RXQ0);         /* cleared by itself */
    g_assert_true(rd(&n, ICS) & INT_TXQ0);          /* not that one */
    g_assert_cmphex(rd(&n, IMS) & INT_TXQ0, ==, 0); /* but masked */
    g_assert_cmphex(rd(&n, IMS) & INT_RXQ0, !=, 0);
    nic_send(&n, f, sizeof(f));
    nic_receive(&n, in, &d);
    g_assert_cmpuint(vector(&n, 0), ==, 2);
    g_assert_cmpuint(vector(&n, 1), ==, 1);
    wr(&n, IMS, INT_TXQ0); /* pending: comes at once */
    g_assert_cmpuint(vector(&n, 1), ==, 2);
    wr(&n, ICS, INT_LSC);
    g_assert_cmpuint(vector(&n, 2), ==, 1);
    g_assert_true(rd(&n, ICR) & INT_OTHER);
    wr(&n, IVAR, 0xff); /* no such vector */
    wr(&n, ICS, INT_RXQ0);
    g_assert_cmpuint(vector(&n, 0), ==, 2);
    nic_tear_down(&n);
}

/* ---- the 82574's receive formats ---- */

static uint32_t ext_status(struct nic *n, uint64_t d)
{
    for (unsigned i = 0; i < 20000 && !(vt_get(n->bus, d + 8, 4) & 1); i++)
        n->bus->pump(n->bus);
    return (uint32_t)vt_get(n->bus, d + 8, 4);
}

/* The verification suite of the Toeplitz hash: 66.9.149.187:2794 -> 161.142.100.80:1766. */
static const uint8_t rss_key[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
                                    0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                    0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
                                    0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

static void test_extended_and_rss(void)
{
    struct nic n;
    uint8_t f[100];

    nic_set_up(&n, true, NULL);
    for (unsigned i = 0; i < 10; i++)
        wr(&n, RSSRK + 4 * i, le32_get(rss_key + 4 * i));
    wr(&n, RFCTL, BIT(15));
    wr(&n, RXCSUM, 0x2300);
    wr(&n, MRQC, 1 | BIT(16) | BIT(17));
    ip_make(f, 40, true, true);
    memcpy(f + 26, (uint8_t[]){66, 9, 149, 187, 161, 142, 100, 80}, 8);
    memcpy(f + 34, (uint8_t[]){2794 >> 8, 2794 & 255, 1766 >> 8, 1766 & 255}, 4);
    nic_send(&n, f, 94);
    uint32_t st = ext_status(&n, n.rx_ring);
    g_assert_cmphex(st & 3, ==, 3);
    g_assert_cmphex(vt_get(n.bus, n.rx_ring, 4), ==, 1); /* TCP over IPv4, queue 0 */
    g_assert_cmphex(vt_get(n.bus, n.rx_ring + 4, 4), ==, 0x51ccc178);
    g_assert_cmpuint(vt_get(n.bus, n.rx_ring + 12, 2), ==, 94);
    g_assert_cmphex(st >> 29, ==, 3); /* its checksums are not those of these addresses */
    /* the second queue: RETA says so */
    uint64_t ring1 = vt_alloc(n.bus, RING * 16, 4096);
    for (unsigned i = 0; i < RING; i++)
        vt_put(n.bus, ring1 + 16 * i, n.rx_mem + (uint64_t)i * BUF, 8);
    wr(&n, RDBAL + 0x100, (uint32_t)ring1);
    wr(&n, RDBAL + 0x100 + LEN, RING * 16);
    wr(&n, RDBAL + 0x100 + TAIL, RING - 1);
    wr(&n, RETA + (0x78 & ~3u), 0x80808080);
    nic_send(&n, f, 94);
    g_assert_cmphex(ext_status(&n, ring1) & 3, ==, 3);
    g_assert_cmphex(vt_get(n.bus, ring1, 4), ==, 1 | 1 << 8);
    nic_tear_down(&n);
}

static void test_packet_split(void)
{
    struct nic n;
    uint8_t f[54 + 1400], in[BUF];

    nic_set_up(&n, true, NULL);
    wr(&n, RFCTL, BIT(15));
    wr(&n, PSRCTL, 1 | 1 << 8 | 1 << 16 | 1 << 24); /* 128 bytes, then three of 1 KiB */
    wr(&n, RDBAL + TAIL, 7);
    wr(&n, RCTL, RCTL_ON | 1u << 10);
    for (unsigned i = 0; i < 8; i++)
        for (unsigned k = 0; k < 4; k++)
            vt_put(n.bus, n.rx_ring + 32 * i + 8 * k, n.rx_mem + i * 4096 + k * 1024, 8);
    ip_make(f, 1400, true, true);
    nic_send(&n, f, sizeof(f));
    g_assert_cmphex(ext_status(&n, n.rx_ring) & 3, ==, 3);
    g_assert_cmpuint(vt_get(n.bus, n.rx_ring + 12, 2), ==, 54);
    g_assert_cmphex(vt_get(n.bus, n.rx_ring + 16, 2), ==, 0x8000 | 54);
    g_assert_cmpuint(vt_get(n.bus, n.rx_ring + 18, 2), ==, 1024);
    g_assert_cmpuint(vt_get(n.bus, n.rx_ring + 20, 2), ==, 1400 - 1024);
    g_assert_cmpuint(vt_get(n.bus, n.rx_ring + 22, 2), ==, 0);
    n.bus->mem_read(n.bus, n.rx_mem, in, 54);
    g_assert_cmpmem(in, 54, f, 54);
    n.bus->mem_read(n.bus, n.rx_mem + 1024, in, 1400);
    g_assert_cmpmem(in, 1400, f + 54, 1400);
    /* no headers known: one buffer after the other */
    frame_make(f, 300, nic_mac);
    nic_send(&n, f, 300);
    g_assert_cmphex(ext_status(&n, n.rx_ring + 32) & 3, ==, 3);
    g_assert_cmpuint(vt_get(n.bus, n.rx_ring + 32 + 12, 2), ==, 128);
    g_assert_cmphex(vt_get(n.bus, n.rx_ring + 32 + 16, 2), ==, 0);
    g_assert_cmpuint(vt_get(n.bus, n.rx_ring + 32 + 18, 2), ==, 172);
    nic_tear_down(&n);
}

/* ---- with a network behind it ---- */

static void arp(struct nic *n)
{
    uint8_t f[42] = {0};

    memset(f, 0xff, 6);
    memcpy(f + 6, nic_mac, 6);
    memcpy(f + 12, (uint8_t[]){8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, 10);
    memcpy(f + 22, nic_mac, 6);
    memcpy(f + 28, (uint8_t[]){10, 0, 2, 15}, 4);
    memcpy(f + 38, (uint8_t[]){10, 0, 2, 2}, 4);
    nic_send(n, f, sizeof(f));
}

static void check_arp(struct nic *n)
{
    uint8_t in[BUF];
    uint64_t d;

    g_assert_cmpuint(nic_receive(n, in, &d), >=, 60);
    g_assert_cmpmem(in, 6, nic_mac, 6);
    g_assert_cmpmem(in + 28, 4, ((uint8_t[]){10, 0, 2, 2}), 4);
}

static void test_user_network(gconstpointer pcie)
{
    struct nic n;

    nic_set_up(&n, pcie != NULL, "user,id=n0");
    wr(&n, RCTL, RCTL_ON & ~(3u << 6));
    arp(&n);
    check_arp(&n);
    /* no free buffer: the answer waits for one */
    wr(&n, RDBAL + TAIL, n.rx_at);
    arp(&n);
    vt_pump(n.bus, 50);
    g_assert_false(nic_received(&n));
    wr(&n, RDBAL + TAIL, (n.rx_at + RING - 1) % RING);
    check_arp(&n);
    /* paused: nothing moves until it goes on */
    vt_board_pause(n.board);
    vt_put(n.bus, n.tx_ring + 16ull * n.tx_at, n.tx_mem, 8);
    vt_put(n.bus, n.tx_ring + 16ull * n.tx_at + 8, 42 | CMD_LAST << 24, 8);
    n.tx_at = (n.tx_at + 1) % RING;
    wr(&n, TDBAL + TAIL, n.tx_at);
    vt_pump(n.bus, 50);
    g_assert_cmpuint(rd(&n, TDBAL + HEAD), !=, n.tx_at);
    vt_board_resume(n.board);
    check_arp(&n);
    nic_tear_down(&n);
}

static void test_save_load(gconstpointer pcie)
{
    struct nic n;
    uint8_t f[200], in[BUF];
    uint64_t d;

    nic_set_up(&n, pcie != NULL, NULL);
    frame_make(f, sizeof(f), nic_mac);
    n.bus->mem_write(n.bus, n.tx_mem, f, sizeof(f));
    tx_put(&n, n.tx_mem, 120 | 2u << 24, 0); /* half a packet */
    tx_go(&n);
    wr(&n, IMS, INT_LSC);
    wr(&n, ICS, INT_LSC);
    vt_board_pause(n.board);
    g_autoptr(GBytes) first = vt_board_save(n.board);
    struct nic old = n;
    vt_board_free(n.board);
    nic_board_up(&n);
    vt_board_load_same(n.board, first);
    g_assert_true(vt_board_intx(n.board));
    vt_board_resume(n.board);
    n.regs = old.regs;
    n.tx_at = old.tx_at;
    n.rx_at = old.rx_at;
    tx_put(&n, n.tx_mem + 120, 80 | CMD_LAST << 24, 0);
    tx_go(&n);
    g_assert_cmpuint(nic_receive(&n, in, &d), ==, 200);
    g_assert_cmpmem(in, 200, f, 200);
    nic_tear_down(&n);
}

/* Whatever the saved bytes say, a load is refused or taken, and a reset brings the card back. */
static void test_hostile_state(gconstpointer pcie)
{
    struct nic n;

    nic_set_up(&n, pcie != NULL, NULL);
    vt_board_pause(n.board);
    g_autoptr(GBytes) saved = vt_board_save(n.board);
    const uint8_t *p = g_bytes_get_data(saved, NULL);
    size_t len = (size_t)le64_get(p);
    for (size_t i = 0; i < len; i += i % 23 + 17) {
        g_autofree uint8_t *copy = g_memdup2(p + 8, len);
        GError *err = NULL;
        copy[i] ^= 0xff;
        vt_board_load_devices(n.board, copy, len, &err);
        g_clear_error(&err);
        vt_board_resume(n.board);
        vt_pump(n.bus, 2);
        vt_board_reset(n.board);
        vt_board_pause(n.board);
    }
    vt_board_resume(n.board);
    nic_map(&n);
    g_assert_cmphex(rd(&n, RAL), ==, le32_get(nic_mac));
    nic_tear_down(&n);
}

/* ---- hostile drivers ---- */

static void h_tx_ring_nowhere(struct nic *n)
{
    wr(n, TDBAL, 0x70000000);
    wr(n, TDBAL + TAIL, 5);
}
static void h_tx_tail_beyond(struct nic *n)
{
    wr(n, TDBAL + TAIL, 0xffff);
}
static void h_tx_no_ring(struct nic *n)
{
    wr(n, TDBAL + LEN, 0);
    wr(n, TDBAL + TAIL, 3);
}
static void h_tx_buffer_nowhere(struct nic *n)
{
    tx_put(n, UINT64_MAX - 10, 1000 | CMD_LAST << 24, 0);
    wr(n, TDBAL + TAIL, n->tx_at);
}
static void h_tx_endless(struct nic *n)
{
    for (unsigned i = 0; i < RING - 1; i++)
        tx_put(n, n->tx_mem, 0xfffff | 1u << 20 | 0x22u << 24, 0);
    wr(n, TDBAL + TAIL, n->tx_at);
}
static void h_tx_mss_zero(struct nic *n)
{
    context_put(n, true, 4, 54, 0, 1000);
    tx_put(n, n->tx_mem, 1000 | 1u << 20 | (CMD_DATA | 4) << 24, 3u << 8);
    wr(n, TDBAL + TAIL, n->tx_at);
}
static void h_tx_header_beyond(struct nic *n)
{
    context_put(n, true, 4, 255, 100, 1000);
    tx_put(n, n->tx_mem, 100 | 1u << 20 | (CMD_DATA | 4) << 24, 3u << 8);
    wr(n, TDBAL + TAIL, n->tx_at);
}
static void h_tx_sum_beyond(struct nic *n)
{
    tx_put(n, 0xffffffffffffffffull, 0x22u << 24, 0);
    tx_put(n, n->tx_mem, 60 | 1u << 20 | CMD_DATA << 24, 3u << 8);
    tx_put(n, n->tx_mem, 60 | 255u << 16 | (CMD_LAST | 4) << 24, 255u << 8);
    wr(n, TDBAL + TAIL, n->tx_at);
}
static void h_tx_one_byte_segments(struct nic *n)
{
    context_put(n, true, 4, 54, 1, 0);
    tx_put(n, n->tx_mem, 60000 | 1u << 20 | (CMD_DATA | 4) << 24, 3u << 8);
    wr(n, TDBAL + TAIL, n->tx_at);
}
static void rx_one(struct nic *n)
{
    uint8_t f[64];

    frame_make(f, sizeof(f), nic_mac);
    n->bus->mem_write(n->bus, n->tx_mem, f, sizeof(f));
    tx_put(n, n->tx_mem, sizeof(f) | CMD_LAST << 24, 0);
    wr(n, TDBAL + TAIL, n->tx_at);
}
static void h_rx_ring_nowhere(struct nic *n)
{
    wr(n, RDBAL + 4, 0xffffffff);
    rx_one(n);
}
static void h_rx_buffer_nowhere(struct nic *n)
{
    vt_put(n->bus, n->rx_ring, UINT64_MAX - 20, 8);
    rx_one(n);
}
static void h_rx_head_beyond(struct nic *n)
{
    wr(n, RDBAL + HEAD, 0xffff);
    rx_one(n);
}
static void h_rx_no_buffers(struct nic *n)
{
    wr(n, RFCTL, BIT(15));
    wr(n, PSRCTL, 0);
    wr(n, RCTL, RCTL_ON | 1u << 10);
    rx_one(n);
}
static void h_reset_meanwhile(struct nic *n)
{
    rx_one(n);
    wr(n, CTRL, BIT(26));
}

static const struct {
    const char *name;
    void (*fn)(struct nic *n);
} hostile[] = {
    {"tx-ring-nowhere", h_tx_ring_nowhere},
    {"tx-tail-beyond", h_tx_tail_beyond},
    {"tx-no-ring", h_tx_no_ring},
    {"tx-buffer-nowhere", h_tx_buffer_nowhere},
    {"tx-endless", h_tx_endless},
    {"tx-mss-zero", h_tx_mss_zero},
    {"tx-header-beyond", h_tx_header_beyond},
    {"tx-sum-beyond", h_tx_sum_beyond},
    {"tx-one-byte-segments", h_tx_one_byte_segments},
    {"rx-ring-nowhere", h_rx_ring_nowhere},
    {"rx-buffer-nowhere", h_rx_buffer_nowhere},
    {"rx-head-beyond", h_rx_head_beyond},
    {"rx-no-buffers", h_rx_no_buffers},
    {"reset-meanwhile", h_reset_meanwhile},
};

static void test_hostile(gconstpointer which)
{
    unsigned i = GPOINTER_TO_UINT(which);

    for (unsigned pcie = 0; pcie < 2; pcie++) {
        struct nic n;
        uint8_t f[100], in[BUF];
        uint64_t d;
        nic_set_up(&n, pcie, NULL);
        hostile[i].fn(&n);
        vt_pump(n.bus, 30);
        wr(&n, CTRL, BIT(26)); /* a driver that starts over finds a working card */
        nic_start(&n);
        frame_make(f, sizeof(f), nic_mac);
        nic_send(&n, f, sizeof(f));
        g_assert_cmpuint(nic_receive(&n, in, &d), ==, sizeof(f));
        nic_tear_down(&n);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(gconstpointer pcie);
    } both[] = {
        {"nvm", test_nvm},
        {"phy-and-link", test_phy_and_link},
        {"loopback", test_loopback},
        {"long-frames", test_long_frames_and_several_buffers},
        {"filters", test_filters},
        {"vlan", test_vlan},
        {"checksums", test_checksums},
        {"segmentation", test_segmentation},
        {"interrupts", test_interrupts},
        {"user-network", test_user_network},
        {"save-load", test_save_load},
        {"hostile-state", test_hostile_state},
    };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(both); i++) {
        g_autofree char *name =
            g_strdup_printf("/%s/%s", i & 1 ? "e1000e" : "e1000", both[i / 2].name);
        g_test_add_data_func(name, i & 1 ? "" : NULL, both[i / 2].fn);
    }
    g_test_add_func("/e1000e/msix", test_msix);
    g_test_add_func("/e1000e/extended-and-rss", test_extended_and_rss);
    g_test_add_func("/e1000e/packet-split", test_packet_split);
    for (unsigned i = 0; i < ARRAY_SIZE(hostile); i++) {
        g_autofree char *name = g_strdup_printf("/e1000/hostile/%s", hostile[i].name);
        g_test_add_data_func(name, GUINT_TO_POINTER(i), test_hostile);
    }
    return g_test_run();
}
