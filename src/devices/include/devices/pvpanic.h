/* pvpanic.h - one byte by which a guest tells that it has panicked.
 *
 *   read: the events that are understood     write: bit 0 panicked, bit 1 a crash kernel takes over
 *
 * As a port (ACPI device QEMU0001) and as a PCI function.  req->panicked() notes what was told.
 *
 * Owner:   the device list, or the bus.   Threads: board lock. */
#ifndef DEVICES_PVPANIC_H
#define DEVICES_PVPANIC_H

#include "bus/pci.h"
#include "devices/board.h"

#define PVPANIC_PORT 0x505

enum { PVPANIC_PANICKED = 1, PVPANIC_CRASH_LOADED = 2 };

/* events: which bits are offered. */
bool pvpanic_isa_new(struct device_list *devices, struct io_space *pio,
                     const struct board_requests *req, uint16_t port, uint8_t events,
                     const char *id, GError **err);
struct pci_dev *pvpanic_pci_new(struct pci_bus *b, uint8_t devfn, bool multifunction,
                                const char *id, const struct board_requests *req, uint8_t events,
                                GError **err);

#endif
