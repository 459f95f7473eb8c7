/* pci_bridge.h - bridges to a conventional PCI bus of 32 slots: pcie-pci-bridge, behind a root port
 * or on the root bus, and pci-bridge, on another conventional bus.
 *
 * The bus is named after the bridge's id.  Nothing behind it can be plugged while the machine runs.
 *
 * Owner:   the bus.   Threads: registers under the board lock; constructor in the main thread.
 * Spec:    PCI-to-PCI Bridge Architecture 1.2; PCI Express to PCI/PCI-X Bridge 1.0. */
#ifndef DEVICES_PCI_BRIDGE_H
#define DEVICES_PCI_BRIDGE_H

#include "bus/pci.h"

struct pci_dev *pci_bridge_new(struct pci_bus *b, uint8_t devfn, bool express, bool multifunction,
                               const char *id, GError **err);

#endif
