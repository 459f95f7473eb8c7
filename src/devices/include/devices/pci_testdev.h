/* pci_testdev.h - kvm-unit-tests' pci-testdev (1b36:0005): counts writes, with and without eventfd.
 *
 * BAR0: 4 KiB memory, BAR1: 256 bytes I/O; each starts with a header that names one of three tests
 * and the offset, width and data of the write it counts.
 *
 * Owner: the bus.   Threads: board lock. */
#ifndef DEVICES_PCI_TESTDEV_H
#define DEVICES_PCI_TESTDEV_H

#include "bus/pci.h"

struct pci_dev *pci_testdev_new(struct pci_bus *b, uint8_t devfn, const char *id, GError **err);

#endif
