/* ehci_int.h - the EHCI controller as its files share it; private to src/usb. */
#ifndef USB_EHCI_INT_H
#define USB_EHCI_INT_H

#include "companion.h"
#include "pace.h"

#include "base/util.h"

enum { EHCI_CHUNK = 5 * 4096 };

#define ECMD_RUN      BIT(0)
#define ECMD_RESET    BIT(1)
#define ECMD_PERIODIC BIT(4)
#define ECMD_ASYNC    BIT(5)
#define ECMD_DOORBELL BIT(6)
#define ESTS_INT      BIT(0)
#define ESTS_ERROR    BIT(1)
#define ESTS_PORT     BIT(2)
#define ESTS_ROLLOVER BIT(3)
#define ESTS_HSE      BIT(4)
#define ESTS_ADVANCE  BIT(5)
#define ESTS_HALTED   BIT(12)
#define ESTS_PERIODIC BIT(14)
#define ESTS_ASYNC    BIT(15)

struct ehci_port {
    uint32_t portsc;
    /* immutable once all companions are there */
    struct uhci *companion; /* NULL: none */
    unsigned companion_port;
};

struct ehci {
    struct pci_dev pci; /* first */
    struct io_region mmio;
    struct usb_bus bus;
    struct usb_port usb_port[EHCI_PORTS];
    struct usb_pace pace;
    unsigned companions;
    /* board lock */
    uint32_t cmd, sts, intr, periodic_base, async_at, configured;
    struct ehci_port port[EHCI_PORTS];
    uint8_t chunk[EHCI_CHUNK];
};

/* ehci.c */
void ehci_irq_update(struct ehci *e);
void ehci_raise(struct ehci *e, uint32_t sts);
/* The device at an address, on the ports this controller owns and has enabled. */
struct usb_device *ehci_device(struct ehci *e, uint8_t address);

/* ehci_sched.c: false: the schedule cannot be followed.  *moved: something has happened. */
bool ehci_async_run(struct ehci *e, bool *moved);
bool ehci_frame_run(struct ehci *e, uint32_t frame, bool *moved);

#endif
