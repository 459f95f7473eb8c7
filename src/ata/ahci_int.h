/* ahci_int.h - the controller as its two files share it; private to src/ata.
 *
 * A slot is taken from PxCI in the main thread (ahci_port_run), becomes one block request (or
 * none), and ends in slot_end: FIS, PxIS, interrupt.  A request whose port was reset meanwhile ends
 * silently: its generation is not the port's any more. */
#ifndef ATA_AHCI_INT_H
#define ATA_AHCI_INT_H

#include "ata/ahci.h"
#include "block/block.h"
#include "bus/io.h"
#include "drive.h"

enum { AHCI_SLOTS = 32, AHCI_IOV_MAX = 256 };

/* Port registers, AHCI 1.3.1 §3.3. */
enum {
    PX_CLB = 0x00,
    PX_CLBU = 0x04,
    PX_FB = 0x08,
    PX_FBU = 0x0c,
    PX_IS = 0x10,
    PX_IE = 0x14,
    PX_CMD = 0x18,
    PX_TFD = 0x20,
    PX_SIG = 0x24,
    PX_SSTS = 0x28,
    PX_SCTL = 0x2c,
    PX_SERR = 0x30,
    PX_SACT = 0x34,
    PX_CI = 0x38,
    PX_BYTES = 0x80,
};
#define CMD_ST  BIT(0)
#define CMD_SUD BIT(1)
#define CMD_POD BIT(2)
#define CMD_CLO BIT(3)
#define CMD_FRE BIT(4)
#define CMD_FR  BIT(14)
#define CMD_CR  BIT(15)

#define IS_DHR BIT(0)
#define IS_PS  BIT(1)
#define IS_DS  BIT(2)
#define IS_SDB BIT(3)
#define IS_PC  BIT(6)
#define IS_IF  BIT(27)
#define IS_HBF BIT(29)
#define IS_TFE BIT(30)

struct ahci_port;

struct ahci_slot {
    struct blk_req blk; /* first */
    struct ahci_port *port;
    bool in_flight;
    uint32_t generation;
    struct ata_taskfile tf;
    struct ata_op op;
    uint64_t header_gpa, table_gpa;
    uint32_t prdtl;
    struct iovec iov[AHCI_IOV_MAX];
    uint64_t gpa[AHCI_IOV_MAX];
    unsigned iov_count;
    uint8_t *bounce; /* when the list has more pieces than iov[] */
    uint8_t trim[ATA_BUFFER_BYTES];
    uint32_t trim_at; /* next entry */
};

struct ahci_port {
    struct ahci *hba;
    unsigned index;
    struct ata_drive drive;
    struct ahci_slot *slot; /* AHCI_SLOTS of them, when there is a drive */
    struct timer *kick;     /* on the machine's clock: waits while it is stopped */
    /* board lock */
    uint32_t clb, clbu, fb, fbu, is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
    uint32_t generation; /* counts resets of the port */
    uint32_t taken;      /* slots that are with the drive */
    bool failed;         /* an error: no further command until ST is cleared */
    bool soft_reset;     /* SRST is set */
};

struct ahci {
    struct pci_dev pci; /* first */
    struct io_region mmio, index_data;
    struct vm_clock *clock;
    /* board lock */
    uint32_t ghc, is, index;
    uint32_t told; /* bits of is for which an MSI has been sent; not kept in states */
    struct ahci_port port[AHCI_PORTS];
};

/* ahci.c */
void ahci_irq_update(struct ahci *h);
void ahci_port_raise(struct ahci_port *p, uint32_t is_bits);

/* ahci_cmd.c */
void ahci_port_run(void *opaque);              /* the kick timer: takes commands; main thread */
void ahci_port_signature(struct ahci_port *p); /* D2H FIS after a reset */
bool ahci_pieces(struct ahci_port *p, struct ahci_slot *s, uint32_t len);

#endif
