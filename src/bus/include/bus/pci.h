/* pci.h - PCI and PCI Express: functions, buses, bridges, BARs, capabilities, MSI-X.
 *
 *   pci_host (0xcf8 + ECAM) -> pci_bus pcie.0 -> pci_dev ... -> bridge/root port -> pci_bus ->
 * pci_dev
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

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bus;
struct pci_dev;
struct msix;

struct pci_dev_ops {
    struct device_ops dev; /* first */
    /* optional: see a config write after wmask has been applied */
    void (*config_written)(struct pci_dev *d, unsigned off, unsigned size);
    uint32_t (*config_read)(struct pci_dev *d, unsigned off, unsigned size); /* NULL: plain */
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
    struct pci_bar bar[PCI_BAR_COUNT];
    struct io_region *rom;
    struct msix *msix;
    uint8_t cap_tail;
    uint16_t ext_cap_tail;
    struct irq_line intx;
    bool intx_level;
    uint64_t dma_denied; /* count of DMA refused because bus mastering is off */
};

/* What a host bridge lends to its buses. */
struct pci_host {
    struct device_list *devices;
    struct io_space *pio, *mmio;
    struct irqchip *irqchip;
    struct guest_mem *mem;
    /* INTx pin (0..3, after bridge swizzling) of a root-bus slot -> GSI now */
    unsigned (*route_intx)(struct pci_host *h, uint8_t slot, unsigned pin);
    struct pci_bus *root;
};

struct pci_bus {
    struct pci_host *host;
    struct pci_dev *bridge;    /* NULL on the root bus */
    char *name;                /* "pcie.0", or the bridge's id */
    uint8_t number;            /* secondary bus number; the guest sets it */
    bool hotplug;              /* single-slot PCIe bus behind a root port */
    struct pci_dev *slot[256]; /* by devfn */
    struct pci_bus *next;      /* all buses of the host */
};

struct pci_bus *pci_bus_new(struct pci_host *h, struct pci_dev *bridge, const char *name);
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
uint8_t pci_cap_add(struct pci_dev *d, uint8_t cap_id, uint8_t len_bytes); /* returns its offset */
uint16_t pci_ext_cap_add(struct pci_dev *d, uint16_t cap_id, uint8_t ver, uint16_t len_bytes);
enum pcie_port_type { PCIE_ENDPOINT = 0, PCIE_ROOT_PORT = 4, PCIE_RC_INTEGRATED = 9 };
uint8_t pcie_cap_add(struct pci_dev *d, enum pcie_port_type type, uint8_t port);

/* MSI-X: table and PBA in one BAR of their own. */
bool msix_init(struct pci_dev *d, unsigned bar, unsigned vectors, GError **err);
void msix_fini(struct pci_dev *d);
bool msix_enabled(const struct pci_dev *d);
void msix_notify(struct pci_dev *d, unsigned vector); /* any thread; masked vectors go to the PBA */
void pci_intx_set(struct pci_dev *d, bool level);     /* honours command.INTx disable; any thread */
bool pci_bus_master(const struct pci_dev *d);

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
