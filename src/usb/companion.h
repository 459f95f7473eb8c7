/* companion.h - EHCI and the UHCI controllers that serve its ports' slower devices; private to
 * src/usb.
 *
 *   device plugged into an EHCI port --owner bit--> EHCI itself, or port i of a companion
 *
 * Threads: board lock, but for add and remove (main, not locked).   Spec: EHCI 1.0 §4.2. */
#ifndef USB_COMPANION_H
#define USB_COMPANION_H

#include "usb/hcd.h"
#include "usb_int.h"

struct uhci;

/* Both kinds of controller, to their PCI bus. */
static inline struct pci_id usb_hcd_pci_id(const struct usb_hcd_model *m, uint8_t prog_if)
{
    return (struct pci_id){.vendor = m->vendor,
                           .device = m->device,
                           .subsys_vendor = 0x1af4,
                           .subsys = 0x1100,
                           .revision = m->revision,
                           .prog_if = prog_if,
                           .subclass = 0x03,
                           .base_class = 0x0c};
}
/* Their root ports, in order. */
static inline void usb_hcd_ports_add(struct usb_bus *bus, struct usb_port *port, unsigned count,
                                     const struct usb_port_ops *ops, void *owner, uint8_t speeds)
{
    for (unsigned i = 0; i < count; i++) {
        port[i].ops = ops;
        port[i].owner = owner;
        port[i].index = i;
        port[i].speeds = speeds;
        usb_port_add(bus, &port[i]);
    }
}

/* A device comes to port i of a companion, or leaves it (and is still in port->dev). */
void uhci_companion_attach(struct uhci *u, unsigned i, struct usb_port *port);
void uhci_companion_detach(struct uhci *u, unsigned i);
void uhci_companion_wakeup(struct uhci *u, unsigned i, struct usb_device *d);

/* False, with a sentence, when the bus is not an EHCI's or the ports are taken. */
bool ehci_companion_add(struct usb_bus *bus, unsigned first, struct uhci *u, GError **err);
void ehci_companion_remove(struct usb_bus *bus, struct uhci *u);

#endif
