/* host_none.c - this build has no libusb. */
#include "base/error.h"
#include "usb/devices.h"

struct usb_device *usb_host_new(struct usb_bus *bus, const char *path,
                                const struct usb_host_config *cfg, GError **err)
{
    error_set(err, HANOK_ERROR_UNSUPPORTED,
              "this build cannot reach the host's USB devices: it was made without libusb-1.0");
    return NULL;
}
