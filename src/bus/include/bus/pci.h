/* pci.h - PCI and PCI Express: functions, buses, bridges, BARs, capabilities, MSI-X.
 *
 *   pci_host (0xcf8 + ECAM) -> pci_bus pcie.0 (pci.0) -> pci_dev ... -> bridge/root port -> pci_bus
 * -> pci_dev
 *
 * A device embeds struct pci_dev, calls pci_dev_init(), declares BARs and capabilities, then
 * pci_dev_plug().  Config space is 4 KiB (PCIe) per function; wmask says which bits the guest may
 * write, w1c which clear on writing 1.  BAR decoding follows the command register: regions are
 * added to and removed from the io spaces as the guest maps them.
 *
 * Owner:   the bus, until pci_dev_unplug().   Threads: config access under the board lock;
 * msix_notify any. Spec:    PCI Local Bus 3.0 §6, PCI Express Base 4.0 §7. */
#ifndef BUS_PCI_H
#define BUS_PCI_H

#include "bus/device.h"
#include "bus/io.h"
#include "bus/irq.h"

#define PCI_CONFIG_SIZE     4096
#define PCI_BAR_COUNT       6
#define PCI_DEVFN(slot, fn) ((uint8_t)(((slot) << 3) | (fn)))

/* Registers of the header that code outside the core names (PCI 3.0 §6.1, bridge spec 1.2 §3.2). */
enum {
    PCI_VENDOR = 0x00,
    PCI_DEVICE = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS = 0x0a, /* 16 bits: subclass, base class */
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_PRIMARY_BUS = 0x18,
    PCI_SECONDARY_BUS = 0x19,
    PCI_SUBORDINATE_BUS = 0x1a,
    PCI_IO_BASE = 0x1c,
    PCI_IO_LIMIT = 0x1d,
    PCI_MEM_BASE = 0x20,
    PCI_MEM_LIMIT = 0x22,
    PCI_PREF_BASE = 0x24,
    PCI_PREF_LIMIT = 0x26,
    PCI_PREF_BASE_HIGH = 0x28,
    PCI_PREF_LIMIT_HIGH = 0x2c,
    PCI_SUBSYS_VENDOR = 0x2c,
    PCI_ROM = 0x30,
    PCI_CAP_POINTER = 0x34,
    PCI_INT_LINE = 0x3c,
    PCI_INT_PIN = 0x3d,
    PCI_BRIDGE_CONTROL = 0x3e,
};
enum { PCI_CMD_IO = 1, PCI_CMD_MEM = 2, PCI_CMD_MASTER = 4, PCI_CMD_INTX_OFF = 0x400 };
enum { PCI_STATUS_INTX = 8, PCI_STATUS_CAPS = 0x10 };
enum { PCI_CAP_MSI = 0x05, PCI_CAP_VENDOR = 0x09, PCI_CAP_PCIE = 0x10, PCI_CAP_MSIX = 0x11 };

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bus;
struct pci_dev;
struct msix;
struct pci_rom;

struct pci_dev_ops {
    struct device_ops dev; /* first */
    /* optional: see a config write after wmask has been applied */
    void (*config_written)(struct pci_dev *d, unsigned off, unsigned size);
    /* NULL: plain; a hook that only knows some offsets calls pci_config_read_plain for the rest */
    uint32_t (*config_read)(struct pci_dev *d, unsigned off, unsigned size);
    /* optional: bar[i].mapped_at has changed (guest's write, reset, bridge window, unplug) */
    void (*bar_moved)(struct pci_dev *d, unsigned i);
};

struct pci_id {
    uint16_t vendor, device, subsys_vendor, subsys;
    uint8_t revision, prog_if, subclass, base_class;
};

struct pci_bar {
    enum pci_bar_kind kind;
    bool prefetch;
    struct io_region *region; /* size and ops by the device */
    uint64_t mapped_at;       /* UINT64_MAX when not decoded */
};

struct pci_dev {
    struct device dev; /* first */
    const struct pci_dev_ops *ops;
    struct pci_bus *bus;
    uint8_t devfn;
    bool is_bridge, multifunction, express;
    uint8_t config[PCI_CONFIG_SIZE], wmask[PCI_CONFIG_SIZE], w1c[PCI_CONFIG_SIZE];
    uint8_t *initial; /* config as it was at plug: what a reset goes back to; owned */
    struct pci_bar bar[PCI_BAR_COUNT];
    struct msix *msix;
    struct pci_rom *rom;   /* NULL: none */
    uint8_t cap_tail;      /* the last capability, whose "next" the next one fills; 0: none yet */
    uint8_t cap_next_free; /* where the next capability goes */
    uint8_t msi_cap;       /* offset of the MSI capability, 0: none */
    uint8_t pcie_cap;      /* offset of the PCI Express capability, 0: none */
    uint16_t ext_cap_tail, ext_cap_next_free;
    struct irq_line intx, intx_pic; /* IOAPIC pin of the PIRQ; ISA irq while the PIRQ is routed */
    bool intx_level;                /* what the device asks for; under host->intx_lock */
    uint64_t dma_denied;            /* count of DMA refused because bus mastering is off */
};

/* What a host bridge lends to its buses. */
struct pci_host {
    struct device_list *devices;
    struct io_space *pio, *mmio;
    struct irqchip *irqchip;
    struct guest_mem *mem;
    const char *root_name; /* set before pci_host_init(); NULL: "pcie.0" */
    /* INTx pin (0..3, after bridge swizzling) of a root-bus slot -> GSI now.  NULL: the chip set
     * only has the route below. */
    unsigned (*route_intx)(struct pci_host *h, uint8_t slot, unsigned pin);
    /* The same pin's ISA irq while the chip set also routes it to the 8259, or -1.  May be NULL. */
    int (*route_intx_pic)(struct pci_host *h, uint8_t slot, unsigned pin);
    void *route_opaque; /* for the two above */
    struct pci_bus *root, *buses;
    uint32_t config_addr; /* port 0xcf8 */
    struct io_region config_addr_region, config_data_region, ecam_region;
    /* Byte accesses at 0xcf9, inside the address register, belong to the chip set's reset control
     * (ICH9 §13.7.5): its region, set before pci_host_init(), or NULL.  Same lock as the host's. */
    struct io_region *reset_control;
    pthread_mutex_t intx_lock; /* order: board lock -> intx_lock -> irq router */
};

/* Fills in the host, makes the root bus and answers at ports 0xcf8/0xcfc.  ECAM stays off
 * until pci_host_ecam().  Routes are set by the caller before the first plug. */
void pci_host_init(struct pci_host *h, struct device_list *devices, struct io_space *pio,
                   struct io_space *mmio, struct irqchip *irqchip, struct guest_mem *mem);
void pci_host_fini(struct pci_host *h); /* all devices are gone */
/* That no function is hidden from guests by a missing function 0; once all devices of the command
 * line are there, because they may come in any order. */
bool pci_check_functions(const struct pci_host *h, GError **err);
/* buses: 0 (off), 64, 128 or 256.  Board lock held (or machine not yet running). */
void pci_host_ecam(struct pci_host *h, uint64_t base, unsigned buses);
/* Decodes every BAR anew from config space: after a state load. */
void pci_host_remap(struct pci_host *h);

struct pci_bus {
    struct pci_host *host;
    struct pci_dev *bridge;    /* NULL on the root bus */
    char *name;                /* "pcie.0", or the bridge's id */
    uint8_t number;            /* secondary bus number; the guest sets it */
    bool hotplug;              /* single-slot PCIe bus behind a root port */
    struct pci_dev *slot[256]; /* by devfn */
    struct pci_bus *next;      /* all buses of the host */
    /* optional: the bridge sees a function come (in) or go */
    void (*changed)(struct pci_bus *b, struct pci_dev *d, bool in);
};

struct pci_bus *pci_bus_new(struct pci_host *h, struct pci_dev *bridge, const char *name);
void pci_bus_free(struct pci_bus *b); /* empty; accepts NULL */
struct pci_bus *pci_bus_find(struct pci_host *h, const char *name);
/* addr: "2", "1f.3", "0x2.0x1" or NULL (first free slot). */
bool pci_addr_parse(struct pci_bus *b, const char *addr, uint8_t *devfn, GError **err);

void pci_dev_init(struct pci_dev *d, const struct pci_dev_ops *ops, const struct pci_id *id);
bool pci_dev_plug(struct pci_dev *d, struct pci_bus *b, uint8_t devfn, const char *id,
                  GError **err);
void pci_dev_unplug(struct pci_dev *d); /* removes from bus and device list; does not free */
void pci_dev_reset(
    struct pci_dev *d); /* command, BARs, MSI-X to reset values; for ops->dev.reset */
extern const struct state_desc
    pci_dev_state; /* config, BARs, MSI-X: put STATE_STRUCT(.., pci, pci_dev_state) first */

void pci_bar_set(struct pci_dev *d, unsigned bar, enum pci_bar_kind kind, bool prefetch,
                 struct io_region *r);
/* An expansion ROM: a copy of the image, padded to a power of two.  After the plug, once, not for
 * bridges; it goes when the function is unplugged. */
#define PCI_ROM_BYTES_MAX (16u << 20)
void pci_rom_set(struct pci_dev *d, const void *image, size_t len_bytes);
size_t pci_rom_bytes(const struct pci_dev *d); /* of its BAR; 0: there is none */
uint8_t pci_cap_add(struct pci_dev *d, uint8_t cap_id, uint8_t len_bytes); /* returns its offset */
uint16_t pci_ext_cap_add(struct pci_dev *d, uint16_t cap_id, uint8_t ver, uint16_t len_bytes);
enum pcie_port_type {
    PCIE_ENDPOINT = 0,
    PCIE_ROOT_PORT = 4,
    PCIE_TO_PCI_BRIDGE = 7,
    PCIE_RC_INTEGRATED = 9
};
uint8_t pcie_cap_add(struct pci_dev *d, enum pcie_port_type type, uint8_t port);

/* MSI-X: table and PBA in one BAR of their own. */
bool msix_init(struct pci_dev *d, unsigned bar, unsigned vectors, GError **err);
void msix_fini(struct pci_dev *d);
bool msix_enabled(const struct pci_dev *d);
void msix_notify(struct pci_dev *d, unsigned vector); /* any thread; masked vectors go to the PBA */
/* MSI with one vector.  Board lock held, so that the address does not change; a message that may
 * not be sent (off, no bus mastering) is lost. */
void msi_init(struct pci_dev *d);
bool msi_enabled(const struct pci_dev *d);
void msi_notify(struct pci_dev *d);
void pci_intx_set(struct pci_dev *d, bool level); /* honours command.INTx disable; any thread */
bool pci_bus_master(const struct pci_dev *d);

/* Type 1 header: windows, bus numbers, bridge control.  Call between pci_dev_init and plug; the bus
 * behind it is made by pci_bus_new(host, bridge, name) after the plug. */
void pci_bridge_init(struct pci_dev *d);
/* True when the bridge forwards [base, base+size) of that space downstream. */
bool pci_bridge_forwards(const struct pci_dev *d, bool io, uint64_t base, uint64_t size_bytes);

uint32_t pci_config_read_plain(const struct pci_dev *d, unsigned off, unsigned size);
uint32_t pci_config_read(struct pci_dev *d, unsigned off, unsigned size);
void pci_config_write(struct pci_dev *d, unsigned off, unsigned size, uint32_t val);
/* By bus number/devfn through bridges, as both access mechanisms do; all ones when nobody is there.
 */
uint32_t pci_host_read(struct pci_host *h, unsigned bus, unsigned devfn, unsigned off,
                       unsigned size);
void pci_host_write(struct pci_host *h, unsigned bus, unsigned devfn, unsigned off, unsigned size,
                    uint32_t v);
void pci_host_reroute_intx(struct pci_host *h); /* after PIRQ registers changed */

#endif
