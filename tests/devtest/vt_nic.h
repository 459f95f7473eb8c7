/* vt_nic.h - a small driver of the e1000 and e1000e for tests: one ring each way, looped back.
 *
 *     struct nic n;
 *     nic_set_up(&n, false, NULL);   ... nic_send(), nic_receive() ...   nic_tear_down(&n); */
#ifndef TESTS_DEVTEST_VT_NIC_H
#define TESTS_DEVTEST_VT_NIC_H

#include "vt.h"

enum { NIC_DEVFN = 5 << 3, RING = 16, BUF = 2048, FCS = 4, PORTS = 0xc000 };
enum {
    CTRL = 0x0,
    STATUS = 0x8,
    EECD = 0x10,
    EERD = 0x14,
    CTRL_EXT = 0x18,
    MDIC = 0x20,
    ICR = 0xc0,
    ITR = 0xc4,
    ICS = 0xc8,
    IMS = 0xd0,
    IMC = 0xd8,
    EIAC = 0xdc,
    IAM = 0xe0,
    IVAR = 0xe4,
    RCTL = 0x100,
    TCTL = 0x400,
    PSRCTL = 0x2170,
    RDBAL = 0x2800,
    TDBAL = 0x3800,
    LEN = 8,
    HEAD = 0x10,
    TAIL = 0x18,
    GPRC = 0x4074,
    GPTC = 0x4080,
    TOTL = 0x40c8,
    RXCSUM = 0x5000,
    RFCTL = 0x5008,
    MTA = 0x5200,
    RAL = 0x5400,
    VFTA = 0x5600,
    MRQC = 0x5818,
    RETA = 0x5c00,
    RSSRK = 0x5c80,
};
#define RCTL_ON   (BIT(1) | BIT(15) | BIT(26) | 1u << 6) /* EN, BAM, SECRC, loopback */
#define CMD_LAST  0x0bu                                  /* EOP, IFCS, RS */
#define CMD_DATA  (CMD_LAST | 0x20u)
#define INT_LSC   BIT(2)
#define INT_RXT0  BIT(7)
#define INT_TXDW  BIT(0)
#define INT_RXQ0  BIT(20)
#define INT_TXQ0  BIT(22)
#define INT_OTHER BIT(24)

extern const uint8_t nic_mac[6];

struct nic {
    struct vt_board *board;
    struct vt_bus *bus;
    struct net_backend *net;
    struct pci_dev *pci;
    bool pcie;
    uint64_t regs, table;
    uint64_t tx_ring, rx_ring, tx_mem, rx_mem;
    unsigned tx_at, rx_at;
};

static inline uint32_t rd(struct nic *n, unsigned off)
{
    return (uint32_t)n->bus->read(n->bus, n->regs + off, 4);
}

static inline void wr(struct nic *n, unsigned off, uint32_t v)
{
    n->bus->write(n->bus, n->regs + off, 4, v);
}

/* netdev: what -netdev takes, or NULL. */
void nic_set_up(struct nic *n, bool pcie, const char *netdev);
void nic_tear_down(struct nic *n);
void nic_board_up(struct nic *n); /* the card on a new board */
void nic_map(struct nic *n);      /* BARs, bus mastering */
void nic_start(struct nic *n);    /* rings in place; all buffers but one are the receiver's */
void tx_put(struct nic *n, uint64_t addr, uint32_t low, uint32_t high);
void tx_go(struct nic *n); /* and waits until the ring is empty */
void nic_send(struct nic *n, const uint8_t *frame, size_t len);
bool nic_received(struct nic *n);
/* The next legacy descriptor: its length; its buffer is copied to out. */
size_t nic_receive(struct nic *n, uint8_t *out, uint64_t *desc);

void frame_make(uint8_t *f, size_t len, const uint8_t dst[6]);
/* Ethernet, IPv4, TCP or UDP; its checksums as a driver leaves them (length counted or not). */
void ip_make(uint8_t *f, size_t payload, bool tcp, bool count_length);
/* A context descriptor for such a frame. */
void context_put(struct nic *n, bool tcp, unsigned command, unsigned header, unsigned mss,
                 unsigned payload);
uint16_t sum16(const uint8_t *p, size_t len, uint32_t start);
uint32_t pseudo_sum(const uint8_t *f, unsigned proto, size_t len);

#endif
