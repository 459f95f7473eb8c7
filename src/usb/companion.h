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

/* A device comes to port i of a companion, or leaves it (and is still in port->dev). */
void uhci_companion_attach(struct uhci *u, unsigned i, struct usb_port *port);
void uhci_companion_detach(struct uhci *u, unsigned i);
void uhci_companion_wakeup(struct uhci *u, unsigned i, struct usb_device *d);

/* False, with a sentence, when the bus is not an EHCI's or the ports are taken. */
bool ehci_companion_add(struct usb_bus *bus, unsigned first, struct uhci *u, GError **err);
void ehci_companion_remove(struct usb_bus *bus, struct uhci *u);

#endif
