/* e1000.h - Intel's gigabit Ethernet controllers: e1000 (82540EM, PCI) and e1000e (82574L, PCI
 * Express).
 *
 * Owner:   the PCI bus, until it is unplugged.   Threads: made and destroyed in the main thread;
 *          registers answer any vCPU, frames move in the main loop.
 * Errors:  GError when the backend is taken or the PCI place is.  A driver's nonsense stops its
 *          ring or costs its frame, nothing else. */
#ifndef NIC_E1000_H
#define NIC_E1000_H

#include "base/types.h"

struct net_backend;
struct pci_bus;
struct pci_dev;
struct vm_clock;

struct e1000_config {
    bool pcie; /* 82574L rather than 82540EM */
    struct pci_bus *bus;
    uint8_t devfn;
    bool multifunction;
    const char *id;
    struct vm_clock *clock;
    struct net_backend *backend; /* NULL: no peer, link up, frames vanish */
    uint8_t mac[6];
};
struct pci_dev *e1000_new(const struct e1000_config *cfg, GError **err);

#endif
