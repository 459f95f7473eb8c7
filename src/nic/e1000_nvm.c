/* e1000_nvm.c - the EEPROM (by register and bit by bit) and the PHY behind MDIO.
 *
 * Nothing writes to the EEPROM: its contents follow from the command line. */
#include "e1000_int.h"

enum {
    EECD_SK = BIT(0),
    EECD_CS = BIT(1),
    EECD_DI = BIT(2),
    EECD_DO = BIT(3),
    EECD_FWE = 3 << 4,
    EECD_REQ = BIT(6),
    EECD_GNT = BIT(7),
    EECD_PRES = BIT(8),
    EECD_AUTO_RD = BIT(9), /* 82574 */
};
/* Microwire (SDM §5.3.1): start bit, two bits of opcode, six of address, a dummy 0, 16 of data. */
enum { MW_COMMAND_BITS = 9, MW_READ = 6, MW_ADDRESS_BITS = 6 };

/* Words of the EEPROM (SDM §5.6, DS §6.1). */
enum {
    NVM_LED = 0x04,
    NVM_PBA = 0x08,
    NVM_CONTROL_1 = 0x0a,
    NVM_SUBSYS = 0x0b,
    NVM_SUBSYS_VENDOR = 0x0c,
    NVM_DEVICE = 0x0d,
    NVM_VENDOR = 0x0e,
    NVM_CONTROL_2 = 0x0f,
    NVM_ALT_MAC = 0x37,
    NVM_CHECKSUM = 0x3f,
    NVM_SUM = 0xbaba,
};

/* PHY registers (SDM §13.4.5, IEEE 802.3 clause 22). */
enum {
    BMCR = 0,
    BMSR = 1,
    PHY_ID1 = 2,
    PHY_ID2 = 3,
    ANAR = 4,
    ANLPAR = 5,
    ANER = 6,
    GBCR = 9,
    GBSR = 10,
    ESTATUS = 15,
    PSCR = 16,
    PSSR = 17,
    PHY_ISR = 19,
    EPSCR = 20,
    PHY_PAGE = 22,
    BMCR_RESET = 0x8000,
    BMCR_LOOPBACK = 0x4000,
    BMCR_RESTART = 0x0200,
    BMSR_LINK = 0x0004,
    BMSR_AN_DONE = 0x0020,
    PSSR_LINK = 0x0400,
    ISR_LINK = 0x0400,
    ISR_AN_DONE = 0x0800,
};
enum {
    MDIC_WRITE = BIT(26),
    MDIC_READ = BIT(27),
    MDIC_READY = BIT(28),
    MDIC_INT = BIT(29),
    MDIC_ERROR = BIT(30),
    PHY_ADDRESS = 1,
};

void e1000_nvm_init(struct e1000 *e)
{
    const struct pci_id *id = &e->model->id;
    uint16_t sum = 0, *w = e->nvm;

    memset(w, 0xff, sizeof(e->nvm));
    for (unsigned i = 0; i < 3; i++)
        w[i] = le16_get(e->mac + 2 * i);
    w[3] = 0;
    w[NVM_LED] = 0x8911; /* the meaning of its four LED fields is the default one */
    w[5] = 0x1000;       /* version 1.0 */
    w[NVM_PBA] = 0x1000;
    w[NVM_PBA + 1] = 0;
    w[NVM_CONTROL_1] = 0x6408;
    w[NVM_SUBSYS] = id->subsys;
    w[NVM_SUBSYS_VENDOR] = id->subsys_vendor;
    w[NVM_DEVICE] = id->device;
    w[NVM_VENDOR] = id->vendor;
    /* the 82540EM keeps its pause ability here, the 82574 whether there is management firmware */
    w[NVM_CONTROL_2] = e->model->pcie ? 0 : 0x3040;
    for (unsigned i = 0x10; i < NVM_ALT_MAC; i++)
        w[i] = 0; /* no wake-up, no management, no ASF */
    for (unsigned i = 0; i < NVM_CHECKSUM; i++)
        sum = (uint16_t)(sum + w[i]);
    w[NVM_CHECKSUM] = (uint16_t)(NVM_SUM - sum);
}

/* The first receive address comes from the EEPROM at each reset. */
void e1000_nvm_load_mac_locked(struct e1000 *e)
{
    *e1000_reg(e, RA) = e->nvm[0] | (uint32_t)e->nvm[1] << 16;
    *e1000_reg(e, RA + 4) = e->nvm[2] | BIT(31);
}

void e1000_eerd_write_locked(struct e1000 *e, uint32_t val)
{
    unsigned shift = e->model->pcie ? 2 : 8, done = e->model->pcie ? BIT(1) : BIT(4);
    unsigned word = (val & 0xffff) >> shift;

    if (!e->model->pcie)
        word &= 0xff;
    *e1000_reg(e, EERD) = val & (BIT(0) | 0xfffcu);
    if (val & 1) {
        uint16_t data = word < E1000_NVM_WORDS ? e->nvm[word] : 0xffff;
        *e1000_reg(e, EERD) = (val & 0xfffc & ~(done | 1)) | (uint32_t)data << 16 | done;
    }
}

/* ---- bit by bit ---- */

static void microwire_clock(struct e1000 *e, bool di)
{
    if (e->ee_bits == 0 && !di)
        return; /* waiting for the start bit */
    if (e->ee_bits < MW_COMMAND_BITS)
        e->ee_in = e->ee_in << 1 | di;
    e->ee_bits++;
    e->ee_do = false;
    if (e->ee_bits <= MW_COMMAND_BITS || (e->ee_in >> MW_ADDRESS_BITS) != MW_READ)
        return;
    unsigned bit = (e->ee_bits - MW_COMMAND_BITS - 1) % 16;
    unsigned word = e->ee_in + (e->ee_bits - MW_COMMAND_BITS - 1) / 16; /* reads go on */
    e->ee_do = e->nvm[word % E1000_NVM_WORDS] >> (15 - bit) & 1;
}

void e1000_eecd_write_locked(struct e1000 *e, uint32_t val)
{
    uint32_t old = *e1000_reg(e, EECD);

    *e1000_reg(e, EECD) = val & (EECD_SK | EECD_CS | EECD_DI | EECD_FWE | EECD_REQ);
    if (!(val & EECD_CS)) {
        e->ee_bits = e->ee_in = 0;
        e->ee_do = true; /* not driven: ready */
    } else if (!e->model->pcie && (val & EECD_SK) && !(old & EECD_SK)) {
        microwire_clock(e, val & EECD_DI);
    }
}

uint32_t e1000_eecd_read_locked(const struct e1000 *e)
{
    uint32_t v = e->reg[EECD / 4] | EECD_PRES;

    if (v & EECD_REQ)
        v |= EECD_GNT;
    if (e->model->pcie)
        v |= EECD_AUTO_RD;
    return e->ee_do ? v | EECD_DO : v;
}

/* ---- PHY ---- */

void e1000_phy_reset_locked(struct e1000 *e)
{
    uint16_t *p = e->phy;

    memset(e->phy, 0, sizeof(e->phy));
    p[BMCR] = 0x1140; /* auto-negotiation, full duplex, 1000 Mbit/s */
    p[BMSR] = 0x7949;
    p[PHY_ID1] = 0x0141;
    p[PHY_ID2] = e->model->phy_id2;
    p[ANAR] = 0x0de1;
    p[ANLPAR] = 0x4de1; /* the partner can do all of that, and has acknowledged */
    p[ANER] = 0x0001;
    p[GBCR] = 0x0300;
    p[GBSR] = 0x7c00;
    p[ESTATUS] = 0x3000;
    p[PSCR] = 0x0060;
    p[PSSR] = 0xa800; /* 1000 Mbit/s, full duplex, resolved */
    p[EPSCR] = 0x0d60;
    p[PHY_ISR] = e->link_up ? ISR_LINK | ISR_AN_DONE : 0;
    e->bmsr_link_low = false;
}

bool e1000_phy_loopback_locked(const struct e1000 *e)
{
    return e->phy[BMCR] & BMCR_LOOPBACK;
}

/* IEEE registers are the same on every page; the rest is the page's own. */
static unsigned phy_index(const struct e1000 *e, unsigned reg)
{
    unsigned page = e->model->pcie && reg > ESTATUS && reg != PHY_PAGE ? e->phy[PHY_PAGE] : 0;
    return (page % E1000_PHY_PAGES) * 32 + reg;
}

static uint16_t phy_read(struct e1000 *e, unsigned index)
{
    uint16_t v = e->phy[index];

    if (index == BMSR) {
        if (e->link_up && !e->bmsr_link_low)
            v |= BMSR_LINK | BMSR_AN_DONE;
        e->bmsr_link_low = false;
    } else if (index == PSSR && e->link_up) {
        v |= PSSR_LINK;
    } else if (index == PHY_ISR) {
        e->phy[index] = 0;
    }
    return v;
}

static void phy_write(struct e1000 *e, unsigned index, uint16_t v)
{
    static const uint32_t read_only = BIT(BMSR) | BIT(PHY_ID1) | BIT(PHY_ID2) | BIT(ANLPAR) |
                                      BIT(ANER) | BIT(8) | BIT(GBSR) | BIT(ESTATUS) | BIT(PSSR) |
                                      BIT(PHY_ISR) | BIT(21);

    if (index < 32 && (read_only >> index & 1))
        return;
    if (index != BMCR) {
        e->phy[index] = v;
    } else if (v & BMCR_RESET) {
        e1000_phy_reset_locked(e);
    } else {
        /* negotiation takes no time; the result is what was there before */
        e->phy[BMCR] = v & (uint16_t)~BMCR_RESTART;
        if (v & BMCR_RESTART && e->link_up)
            e->phy[PHY_ISR] |= ISR_AN_DONE;
    }
}

void e1000_mdic_write_locked(struct e1000 *e, uint32_t val)
{
    unsigned index = phy_index(e, val >> 16 & 31);
    bool there = (val >> 21 & 31) == PHY_ADDRESS;

    val &= ~(MDIC_READY | MDIC_ERROR);
    if (!there)
        val |= MDIC_ERROR;
    else if (val & MDIC_READ)
        val = (val & 0xffff0000) | phy_read(e, index);
    else if (val & MDIC_WRITE)
        phy_write(e, index, (uint16_t)val);
    *e1000_reg(e, MDIC) = val | MDIC_READY;
    if (val & MDIC_INT)
        e1000_cause_locked(e, INT_MDAC);
}
