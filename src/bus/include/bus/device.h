/* device.h - what every device is to the board: a name, a reset, a state table.
 *
 * Embed struct device first (or through pci_dev/virtio_dev).  The board keeps all devices in one
 * list, in creation order: reset, drain, save and load walk it.
 *
 * Two tables describe what users may ask for: a const struct device_class per -device name in
 * machine/registry.c (visible, ordered, greppable; nothing runs before main). */
#ifndef BUS_DEVICE_H
#define BUS_DEVICE_H

#include "base/types.h"

#include <pthread.h>

struct state_desc;
struct state_reader;
struct state_writer;
struct device;
struct props;

struct device_ops {
    const char *type;                  /* "mc146818rtc" */
    void (*reset)(struct device *d);   /* board lock held, vCPUs paused; cold-reset values */
    void (*drain)(struct device *d);   /* board lock NOT held; after return nothing is in flight */
    void (*destroy)(struct device *d); /* frees d itself */
    const struct state_desc *state;    /* NULL: keeps nothing (says so by being NULL) */
};

struct device {
    const struct device_ops *ops;
    char *id;   /* user's id= or NULL; owned */
    char *path; /* unique instance name for state sections, e.g. "pcie.0/02.0"; owned */
    struct device *next;
    struct device_list *list;
};

/* All devices of one machine + the board lock.  Created by the machine before any device. */
struct device_list {
    pthread_mutex_t lock; /* THE board lock (recursive: no) */
    struct device *first, **last;
    bool vm_running; /* set by the machine with the board lock held */
};
void device_list_init(struct device_list *l);
void device_add(struct device_list *l, struct device *d, const struct device_ops *ops,
                const char *id, const char *path);
void device_remove(struct device_list *l, struct device *d); /* unlinks, frees id/path */
struct device *device_find(struct device_list *l, const char *id);

/* The four walks.  reset, save and load: board lock held, vCPUs paused; drain: lock NOT held. */
void device_list_reset(struct device_list *l);
void device_list_drain(struct device_list *l);
void device_list_save(struct device_list *l, struct state_writer *w);
bool device_list_load(struct device_list *l, struct state_reader *r, GError **err);
/* Destroys all devices, the youngest first (each destroy must device_remove() itself). */
void device_list_fini(struct device_list *l);

#endif
