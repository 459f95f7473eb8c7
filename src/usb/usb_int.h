/* usb_int.h - what the files of this folder share beside the contract; private to src/usb. */
#ifndef USB_USB_INT_H
#define USB_USB_INT_H

#include "base/types.h"
#include "usb/usb.h"

#include <glib.h>
#include <string.h>

/* USB 2.0 §9.4, table 9-4; USB 3.2 table 9-5 */
enum {
    REQ_GET_STATUS = 0,
    REQ_CLEAR_FEATURE = 1,
    REQ_SET_FEATURE = 3,
    REQ_SET_ADDRESS = 5,
    REQ_GET_DESCRIPTOR = 6,
    REQ_GET_CONFIGURATION = 8,
    REQ_SET_CONFIGURATION = 9,
    REQ_GET_INTERFACE = 10,
    REQ_SET_INTERFACE = 11,
    REQ_SET_SEL = 0x30,
    REQ_SET_ISOCH_DELAY = 0x31,
};
enum {
    DESC_DEVICE = 1,
    DESC_CONFIG = 2,
    DESC_STRING = 3,
    DESC_INTERFACE = 4,
    DESC_ENDPOINT = 5,
    DESC_QUALIFIER = 6,
    DESC_OTHER_SPEED = 7,
    DESC_BOS = 15,
    DESC_CAPABILITY = 16,
    DESC_HID = 0x21,
    DESC_REPORT = 0x22,
    DESC_HUB = 0x29,
    DESC_COMPANION = 0x30,
};
enum { TYPE_IN = 0x80, TYPE_CLASS = 0x20, TYPE_INTERFACE = 1, TYPE_ENDPOINT = 2, TYPE_OTHER = 3 };

/* The bit of usb_device.halted. */
static inline uint32_t usb_halt_bit(uint8_t ep)
{
    return 1u << ((ep & 15) + (ep & 0x80 ? 16 : 0));
}

/* hub.c: whether the hub lets anything through to that port of its own. */
bool usb_hub_port_enabled(const struct usb_port *p);

/* Little-endian 16 bits inside a descriptor table. */
#define U16(v) (uint8_t)(v), (uint8_t)((v) >> 8)

#endif
