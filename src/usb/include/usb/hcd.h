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
    bool nec;             /* NEC's identity */
    unsigned p2, p3;      /* ports for devices of USB 2 and 3; at most USB_PORTS_MAX */
    bool no_msi, no_msix; /* messages that are not offered */
};
struct pci_dev *xhci_new(const struct xhci_config *cfg, struct usb_buses *buses, GError **err);

enum { UHCI_PORTS = 2, EHCI_PORTS = 6 };

/* Which of the chips with an EHCI or UHCI in them: its identity. */
struct usb_hcd_model {
    const char *name; /* "ich9-usb-uhci1" */
    uint16_t vendor, device;
    uint8_t revision, pin; /* interrupt pin from 1 */
};

struct ehci_config {
    struct usb_hcd_place at;
    const struct usb_hcd_model *model;
};
struct pci_dev *ehci_new(const struct ehci_config *cfg, struct usb_buses *buses, GError **err);

/* master: the bus of an EHCI whose ports first and first + 1 serve slower devices through this one;
 * NULL: it has a bus of its own. */
struct uhci_config {
    struct usb_hcd_place at;
    const struct usb_hcd_model *model;
    struct usb_bus *master;
    unsigned first;
};
struct pci_dev *uhci_new(const struct uhci_config *cfg, struct usb_buses *buses, GError **err);

#endif
