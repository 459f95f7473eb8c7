/* device.h - one device's XML, put into a domain or taken out, defined or running.
 *
 * A fragment is what <devices> may hold: <disk>, <interface>, ...  In a definition any device can
 * be put in; a running machine takes disks, network cards and random number sources, by its
 * monitor. Errors: sentences.  One thread. */
#ifndef MANAGER_DEVICE_H
#define MANAGER_DEVICE_H

#include "manager/vm.h"

enum device_kind {
    DEVICE_DISK,
    DEVICE_INTERFACE,
    DEVICE_CONTROLLER,
    DEVICE_RNG,
    DEVICE_INPUT,
    DEVICE_HOSTDEV,
    DEVICE_WATCHDOG,
    DEVICE_CHANNEL,
    DEVICE_SERIAL,
    DEVICE_SOUND,
    DEVICE_FILESYSTEM,
    DEVICE_KINDS
};

struct device {
    enum device_kind kind;
    void *data; /* struct disk, struct interface, ... */
};

bool device_parse(const char *text, struct device *out, GError **err);
void device_clear(struct device *dev);

/* Takes dev's data over when it succeeds; fills in defaults and an address. */
bool device_insert(struct domain *d, struct device *dev, GError **err);
/* The one that dev describes (target, MAC, alias, address), out of the domain; the caller frees it.
 */
bool device_remove(struct domain *d, const struct device *dev, struct device *out, GError **err);

/* Plugs a device of d (the running domain, dev already in it, with alias and address) into the
 * machine; everything is undone when a step fails. */
bool device_plug(struct vm *vm, struct domain *d, const struct device *dev, GError **err);
/* Asks the guest to give it up and waits for that. */
bool device_unplug(struct vm *vm, const struct domain *d, const struct device *dev, GError **err);

/* Takes the medium out of drive k of d (the running domain) and, unless path is NULL, puts that
 * image or device in.  One that cannot be opened leaves the old one where it is. */
bool device_change_medium(struct vm *vm, struct domain *d, struct disk *k, const char *path,
                          GError **err);
/* The file or device path is k's source now; NULL: none. */
void disk_set_source(struct disk *k, const char *path);

struct disk *domain_find_disk(const struct domain *d, const char *target_or_source);

#endif
