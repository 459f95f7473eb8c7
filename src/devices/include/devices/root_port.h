/* root_port.h - pcie-root-port: a PCI Express root port with one hot-pluggable slot.
 *
 * The bus behind it is named after the port's id.  Plugging and unplugging while the machine runs
 * is told to the guest by the slot registers (PCIe 4.0 §7.5.3.9-11) and INTx; a guest that powers
 * the slot off has agreed to a removal: eject() is called, and root_port_ejecting() says so.
 *
 * Owner:   the bus.   Threads: registers under the board lock; constructors in the main thread. */
#ifndef DEVICES_ROOT_PORT_H
#define DEVICES_ROOT_PORT_H

#include "bus/pci.h"

struct root_port_config {
    const char *id;
    uint8_t port;     /* link capabilities */
    uint16_t chassis; /* 1.. unique per machine when not 0 */
    uint16_t slot;    /* physical slot number */
    bool multifunction, no_hotplug;
    /* board lock held; the function in the slot may now be unplugged (not inside the call) */
    void (*eject)(void *opaque);
    void *opaque;
};
struct pci_dev *root_port_new(struct pci_bus *b, uint8_t devfn, const struct root_port_config *cfg,
                              GError **err);
/* The user wants the slot's function out: presses the attention button.  False when the port or
 * the guest cannot hear it now. */
bool root_port_request_eject(struct pci_dev *port, GError **err); /* board lock held */
/* The guest has powered off the slot and something still sits in it. */
bool root_port_ejecting(struct pci_dev *port);

#endif
