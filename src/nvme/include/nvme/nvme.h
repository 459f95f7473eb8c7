/* nvme.h - an NVM Express controller with one namespace.
 *
 *   guest: entry in a submission queue, tail doorbell --> service() --> blk_submit
 *   done:  entry in the completion queue, one interrupt per queue and batch
 *
 * Owner:   the PCI bus owns the controller; the image outlives it.
 * Threads: constructor and monitor calls: main.  Registers: any vcpu, under the controller's own
 *          lock.  Commands start and end in the main thread.
 * Errors:  NULL + GError for the user; what a guest does wrong ends its command with a status, or
 *          stops the controller (CSTS.CFS) until it is reset.
 * Spec:    NVM Express 1.4. */
#ifndef NVME_NVME_H
#define NVME_NVME_H

#include "block/on_error.h"
#include "bus/pci.h"

struct vm_clock;

#define NVME_SERIAL_MAX      20u
#define NVME_QUEUE_PAIRS_MAX 511u
#define NVME_VECTORS_MAX     512u

struct nvme_config {
    struct pci_bus *bus;
    uint8_t devfn;
    bool multifunction;
    const char *id; /* the user's, or NULL; copied */
    struct vm_clock *clock;
    struct blk_node *node;
    const char *serial;                                 /* copied */
    unsigned queue_pairs;                               /* for I/O; 0: 64 */
    unsigned vectors;                                   /* MSI-X; 0: 65 */
    unsigned mdts;                                      /* most data: 4 KiB << mdts; 0: 7 */
    uint32_t logical_block_bytes, physical_block_bytes; /* 0: the image's */
    bool intel_id;                                      /* PCI ids of an Intel test device */
    bool no_write_cache, share_rw;
    enum blk_on_error rerror, werror;
    /* Main thread; required for stop; may be NULL. */
    void (*on_error)(void *opaque, struct pci_dev *d, bool is_write, int errnum,
                     enum blk_error_action action);
    void *on_error_opaque;
};

/* Makes and plugs it. */
struct pci_dev *nvme_new(const struct nvme_config *cfg, GError **err);
struct blk_node *nvme_node(struct device *d); /* NULL when d is no NVMe controller */
/* Host error (errno) of a command that waits for the machine to go on; 0: none. */
int nvme_stop_errnum(struct device *d);
void nvme_resized(struct device *d); /* the image has another size now */

#endif
