/* pci_internal.h - what the files of the PCI core share and nobody else sees. */
#ifndef BUS_PCI_INTERNAL_H
#define BUS_PCI_INTERNAL_H

#include "bus/pci.h"

struct state_reader;
struct state_writer;

#define PCI_CONVENTIONAL_SIZE 256u
#define PCI_UNMAPPED          UINT64_MAX

static inline bool pci_overlaps(unsigned off, unsigned size, unsigned reg, unsigned reg_size)
{
    return off < reg + reg_size && reg < off + size;
}

/* How much of the config space the function answers for. */
static inline unsigned pci_config_limit(const struct pci_dev *d)
{
    return d->express ? PCI_CONFIG_SIZE : PCI_CONVENTIONAL_SIZE;
}

void pci_bars_update(struct pci_dev *d);     /* decode this function's BARs as config says now */
void pci_bars_unmap(struct pci_dev *d);      /* decode none */
void pci_bus_bars_update(struct pci_bus *b); /* every function on and behind b */
void pci_intx_update(struct pci_dev *d);     /* drive the lines as level and command say now */
void pci_intx_route(struct pci_dev *d);      /* (re)connect the lines to what the pin routes to */
void pci_intx_off(struct pci_dev *d);        /* disconnect */

void pci_rom_move(struct pci_dev *d, uint64_t addr); /* d->rom is set; PCI_UNMAPPED: nowhere */
void pci_rom_free(struct pci_dev *d);

struct pci_bus *pci_bridge_bus(const struct pci_dev *d); /* behind it, or NULL */
void pci_bridge_changed(struct pci_dev *d);              /* windows or bus numbers may be new */
void pci_bridge_written(struct pci_dev *d, unsigned off, unsigned size, uint16_t control_before);

void msix_config_written(struct pci_dev *d); /* message control or bus mastering changed */
void msix_reset(struct pci_dev *d);
void msix_save(struct state_writer *w, const struct pci_dev *d);
bool msix_load(struct state_reader *r, struct pci_dev *d, GError **err);

#endif
