/* devices.h - the USB devices there are: keyboard, mouse, tablet, disk, hub, the host's.
 *
 * Each constructor plugs the device into a port that suits (usb_port_find with its speeds), or says
 * why not.  Owner: the device list.  Threads: main, board lock not held.
 * Spec: HID 1.11, HID usage tables 1.12; Mass storage bulk-only 1.0, SPC-3, SBC-3; USB 2.0 §11. */
#ifndef USB_DEVICES_H
#define USB_DEVICES_H

#include "usb/usb.h"

struct blk_node;

enum usb_hid_kind { USB_HID_TABLET, USB_HID_MOUSE, USB_HID_KEYBOARD };
enum { USB_HID_SPEEDS = USB_FULL | USB_HIGH };
struct usb_device *usb_hid_new(struct usb_port *p, enum usb_hid_kind kind, const char *id,
                               const char *serial);

enum { USB_STORAGE_SPEEDS = USB_FULL | USB_HIGH | USB_SUPER };
struct usb_storage_config {
    struct blk_node *node;
    bool removable, read_only, no_write_cache, share_rw;
    const char *serial; /* copied; NULL: a default */
    const char *id;
    uint32_t logical_block_bytes, physical_block_bytes; /* 0: the image's */
};
struct usb_device *usb_storage_new(struct usb_port *p, const struct usb_storage_config *cfg,
                                   GError **err);
struct blk_node *usb_storage_node(const struct device *d); /* NULL: it is something else */

enum { USB_HUB_SPEEDS = USB_FULL, USB_HUB_PORTS_DEFAULT = 8 };
struct usb_device *usb_hub_new(struct usb_port *p, unsigned ports, const char *id);

/* A device of the host, by what is not 0. */
struct usb_host_config {
    uint16_t vendor, product;
    uint8_t bus, address;
    const char *id;
};
/* path NULL: the first port that suits the device. */
struct usb_device *usb_host_new(struct usb_bus *bus, const char *path,
                                const struct usb_host_config *cfg, GError **err);

#endif
