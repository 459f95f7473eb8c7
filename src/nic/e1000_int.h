/* e1000_int.h - the controller as its files share it.
 *
 *   vCPU: e1000_regs.c --TDT--> timer on the machine's clock --> e1000_tx.c --> net backend
 *         e1000_rx.c <-- net backend (main loop)      e1000_irq.c: causes, masks, throttling
 *         e1000_nvm.c: EEPROM, PHY
 *
 * Threads: `lock` guards the registers and everything saved; it is taken by register handlers, in
 *          the main loop, and by a reset (order: board lock -> lock -> INTx or MSI-X).  It is never
 *          held while the backend is called.  A descriptor ring belongs to the main loop.
 * Spec:    "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (SDM),
 *          "Intel 82574 GbE Controller Family Datasheet" (DS). */
#ifndef NIC_E1000_INT_H
#define NIC_E1000_INT_H

#include "base/util.h"
#include "bus/pci.h"
#include "net/net.h"
#include "nic/e1000.h"

/* Registers, by byte offset (SDM §13, DS §10). */
enum {
    CTRL = 0x0000,
    STATUS = 0x0008,
    EECD = 0x0010,
    EERD = 0x0014,
    CTRL_EXT = 0x0018,
    MDIC = 0x0020,
    FCAL = 0x0028,
    FCAH = 0x002c,
    FCT = 0x0030,
    VET = 0x0038,
    ICR = 0x00c0,
    ITR = 0x00c4,
    ICS = 0x00c8,
    IMS = 0x00d0,
    IMC = 0x00d8,
    EIAC = 0x00dc,
    IAM = 0x00e0,
    IVAR = 0x00e4,
    EITR = 0x00e8,
    RCTL = 0x0100,
    TCTL = 0x0400,
    TIPG = 0x0410,
    LEDCTL = 0x0e00,
    EXTCNF_CTRL = 0x0f00,
    PBA = 0x1000,
    EEMNGCTL = 0x1010,
    PSRCTL = 0x2170,
    RX_RING = 0x2800, /* the second one 0x100 further */
    TX_RING = 0x3800,
    STATS = 0x4000,
    STATS_END = 0x4128,
    RXCSUM = 0x5000,
    RFCTL = 0x5008,
    MTA = 0x5200,
    RA = 0x5400, /* 16 pairs */
    VFTA = 0x5600,
    MRQC = 0x5818,
    FACTPS = 0x5b30,
    SWSM = 0x5b50,
    FWSM = 0x5b54,
    PBACLR = 0x5b68,
    RETA = 0x5c00,
    RSSRK = 0x5c80,
    REG_BYTES = 0x6000,
};
/* Within a ring's registers. */
enum { RING_BAL = 0x00, RING_BAH = 0x04, RING_LEN = 0x08, RING_HEAD = 0x10, RING_TAIL = 0x18 };
/* Statistics (SDM §13.7). */
enum {
    MPC = 0x4010,
    PRC64 = 0x405c, /* six classes by size */
    GPRC = 0x4074,
    BPRC = 0x4078,
    MPRC = 0x407c,
    GPTC = 0x4080,
    GORC = 0x4088,
    GOTC = 0x4090,
    RNBC = 0x40a0,
    ROC = 0x40ac,
    TOR = 0x40c0,
    TOT = 0x40c8,
    TPR = 0x40d0,
    TPT = 0x40d4,
    PTC64 = 0x40d8,
    MPTC = 0x40f0,
    BPTC = 0x40f4,
    TSCTC = 0x40f8,
    TSCTFC = 0x40fc,
};
enum {
    CTRL_SLU = BIT(6),
    CTRL_MASTER_OFF = BIT(2), /* 82574 */
    CTRL_RST = BIT(26),
    CTRL_VME = BIT(30),
    CTRL_PHY_RST = BIT(31),
    STATUS_LU = BIT(1),
    STATUS_MASTER = BIT(19), /* 82574 */
    CTRL_EXT_EE_RST = BIT(13),
    CTRL_EXT_EIAME = BIT(24),
    CTRL_EXT_IAME = BIT(27),
    CTRL_EXT_PBA_CLR = BIT(31),
};
/* Interrupt causes: ICR, ICS, IMS, IMC. */
enum {
    INT_TXDW = BIT(0),
    INT_TXQE = BIT(1),
    INT_LSC = BIT(2),
    INT_RXDMT0 = BIT(4),
    INT_RXO = BIT(6),
    INT_RXT0 = BIT(7),
    INT_MDAC = BIT(9),
    INT_TXD_LOW = BIT(15),
    INT_RXQ0 = BIT(20),
    INT_RXQ1 = BIT(21),
    INT_TXQ0 = BIT(22),
    INT_TXQ1 = BIT(23),
    INT_OTHER = BIT(24),
    INT_ASSERTED = BIT(31),
};
enum {
    E1000_VECTORS = 5,
    E1000_QUEUES = 2, /* 82540EM: one */
    E1000_NVM_WORDS = 64,
    E1000_PHY_PAGES = 8,
    E1000_FRAME_MAX = 64 * 1024 + 512, /* a TSO packet, headers included */
    E1000_RX_MAX = 16384,              /* longest frame it takes (SDM §3.2.4, long packets) */
};

/* What a context descriptor has set up (SDM §3.3.6). */
struct e1000_context {
    uint8_t ipcss, ipcso, tucss, tucso, header, command;
    uint16_t ipcse, tucse, mss;
    uint32_t payload;
};

/* A packet that is being gathered from a transmit ring. */
struct e1000_tx {
    /* under lock */
    struct e1000_context plain, tso;
    uint32_t len;  /* bytes in data */
    uint32_t sent; /* bytes of it that have left, while ready */
    bool started;  /* its first descriptor has been seen */
    bool ready;    /* whole: the descriptor at the head is its last */
    bool lost;     /* too long, or not in memory */
    bool segment, insert_tag;
    uint8_t options; /* POPTS: checksums to insert */
    uint16_t tag;
    uint8_t *data; /* E1000_FRAME_MAX + a tag; the main loop's */
};

struct e1000 {
    struct pci_dev pci; /* first */
    /* immutable */
    const struct e1000_model *model;
    struct vm_clock *clock;
    struct net_backend *backend;
    bool claimed;
    uint8_t mac[6];
    struct io_region mmio, io, flash;
    struct timer *tx_timer, *rx_timer, *irq_timer;
    /* main loop */
    uint8_t *segment; /* one segment on its way out */
    uint8_t *stage;   /* one frame on its way in */
    /* under lock */
    pthread_mutex_t lock;
    uint32_t reg[REG_BYTES / 4];
    uint16_t nvm[E1000_NVM_WORDS];
    uint16_t phy[E1000_PHY_PAGES * 32];
    uint32_t io_addr;
    bool link_up;       /* the wire */
    bool bmsr_link_low; /* latched until BMSR is read */
    bool rx_starved;    /* the backend holds a frame */
    struct e1000_tx tx[E1000_QUEUES];
    uint32_t epoch; /* counts resets: what was in flight before is forgotten */
    /* EEPROM at the bit level (SDM §5.3) */
    uint32_t ee_bits, ee_in;
    bool ee_do;
    /* interrupts */
    uint32_t causes_sent; /* MSI-X causes whose message is out */
    bool intx_level;
    uint64_t next_ns[1 + E1000_VECTORS]; /* earliest next interrupt: INTx, then each vector */
};

struct e1000_model {
    const char *name;
    struct pci_id id;
    uint16_t phy_id2;
    unsigned queues;
    bool pcie;
};

static inline struct e1000 *e1000_of(struct pci_dev *d)
{
    return container_of(d, struct e1000, pci);
}

static inline uint32_t *e1000_reg(struct e1000 *e, unsigned off)
{
    return &e->reg[off / 4];
}

/* e1000_regs.c */
extern const struct io_ops e1000_mmio_ops, e1000_io_ops, e1000_flash_ops;
void e1000_reset_locked(struct e1000 *e, bool power);
void e1000_count_locked(struct e1000 *e, unsigned off, uint64_t n); /* 32 bits; sticks at the top */
void e1000_count64_locked(struct e1000 *e, unsigned off, uint64_t n);
/* Packet, octet and size-class counters of one frame; size without FCS. */
void e1000_count_frame_locked(struct e1000 *e, const uint8_t *frame, size_t len, bool rx);
bool e1000_may_dma(const struct e1000 *e);

/* e1000_nvm.c */
void e1000_nvm_init(struct e1000 *e);
void e1000_nvm_load_mac_locked(struct e1000 *e);
void e1000_eecd_write_locked(struct e1000 *e, uint32_t val);
uint32_t e1000_eecd_read_locked(const struct e1000 *e);
void e1000_eerd_write_locked(struct e1000 *e, uint32_t val);
void e1000_mdic_write_locked(struct e1000 *e, uint32_t val);
void e1000_phy_reset_locked(struct e1000 *e);
bool e1000_phy_loopback_locked(const struct e1000 *e);

/* e1000_irq.c */
void e1000_cause_locked(struct e1000 *e, uint32_t causes);
void e1000_irq_update_locked(struct e1000 *e);
uint32_t e1000_icr_read_locked(struct e1000 *e);
void e1000_irq_timer(void *opaque);

/* A descriptor ring's registers, read once; false while they make no sense. */
struct e1000_ring {
    uint64_t base;
    unsigned count, head, tail, reg, bytes; /* bytes: of a descriptor */
};
bool e1000_ring_locked(struct e1000 *e, unsigned reg, unsigned bytes, struct e1000_ring *out);

/* e1000_tx.c */
void e1000_tx_run(void *opaque);
void e1000_tx_forget_locked(struct e1000 *e);
extern const struct state_desc e1000_tx_state;

/* e1000_rx.c */
extern const struct net_peer_ops e1000_peer_ops;
void e1000_rx_ready(void *opaque);
void e1000_rx_loopback(struct e1000 *e, const uint8_t *frame, size_t len);

#endif
