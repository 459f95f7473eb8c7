/* hcd.h - host controllers: xHCI, EHCI and UHCI as PCI functions.
 *
 *   guest: rings or schedules in memory --> controller (main thread) --> usb_transfer()
 *
 * Owner:   the PCI bus.   Threads: registers under the board lock; guest memory is walked in the
 * main thread, which takes it, and never more than a stated amount at a time. Spec:    xHCI 1.1;
 * EHCI 1.0; UHCI 1.1. */
#ifndef USB_HCD_H
#define USB_HCD_H

#include "bus/pci.h"
#include "usb/usb.h"

struct usb_hcd_place {
    struct pci_bus *bus;
    uint8_t devfn;
    bool multifunction;
    const char *id;
};

struct xhci_config {
    struct usb_hcd_place at;
    bool nec;        /* NEC's identity */
    unsigned p2, p3; /* ports for devices of USB 2 and 3; at most USB_PORTS_MAX */
    bool no_msix;
};
struct pci_dev *xhci_new(const struct xhci_config *cfg, struct usb_buses *buses, GError **err);

#endif
