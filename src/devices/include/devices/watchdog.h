/* watchdog.h - the i6300ESB's watchdog timer as a PCI function.
 *
 *   preload 1 --> stage 1 --expired: interrupt--> preload 2 --> stage 2 --expired-->
 * req->watchdog()
 *
 * Software unlocks each register write with 0x80, 0x86 at RELOAD, and keeps the machine alive by
 * writing RELOAD's bit 8.  (The ICH9's own watchdog, TCO, is in acpi_pm.h.)
 *
 * Owner:   the bus.   Threads: registers under the board lock; the timer in the main thread.
 * Spec:    Intel 6300ESB I/O Controller Hub data sheet, chapter 16. */
#ifndef DEVICES_WATCHDOG_H
#define DEVICES_WATCHDOG_H

#include "bus/pci.h"
#include "devices/board.h"

struct vm_clock;

struct pci_dev *i6300esb_new(struct pci_bus *b, uint8_t devfn, bool multifunction, const char *id,
                             struct vm_clock *clock, const struct board_requests *req,
                             GError **err);

#endif
