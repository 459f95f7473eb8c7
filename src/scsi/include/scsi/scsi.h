/* scsi.h - SCSI disks and CD-ROM drives without the cable they hang on.
 *
 *   adapter --scsi_start(task)--> lun: decodes the CDB --> blk_submit, or answers at once
 *                                   ... --> task->ended(task): status, sense, bytes
 *
 * An adapter embeds struct scsi_bus and, in each of its requests, struct scsi_task.  A task that
 * failed where werror=stop holds is given to park() instead of ended(); scsi_start() tries it
 * again.
 *
 * Owner:   the device list owns the luns; the adapter destroys those left when it goes.
 * Threads: scsi_start, ended, park and the bus's plug: the bus's loop.  Everything else: main.
 * Errors:  cold calls GError; a task ends with a SCSI status and sense data.
 * Spec:    SAM-5, SPC-4, SBC-3, MMC-5. */
#ifndef SCSI_SCSI_H
#define SCSI_SCSI_H

#include "block/on_error.h"
#include "bus/device.h"

struct evloop;
struct scsi_bus;
struct scsi_lun;

enum {
    SCSI_CDB_MAX = 32,
    SCSI_SENSE_BYTES = 18,
    SCSI_TARGETS = 256,
    SCSI_LUNS = 16384,
    SCSI_UNMAP_MAX = 64, /* ranges of one UNMAP */
};
enum scsi_status { SCSI_GOOD = 0x00, SCSI_CHECK_CONDITION = 0x02 };

struct scsi_task {
    struct blk_req blk; /* first */
    /* set by the adapter; valid until the end */
    struct scsi_lun *lun;
    uint8_t cdb[SCSI_CDB_MAX];
    struct iovec *iov; /* the data buffer */
    int iov_count;
    uint32_t room_bytes; /* its size */
    bool to_host;        /* the initiator sends data; else it receives */
    void (*ended)(struct scsi_task *t);
    /* the end */
    enum scsi_status status;
    uint8_t sense[SCSI_SENSE_BYTES];
    uint32_t done_bytes; /* transferred */
    bool overrun;        /* the command has more data than the buffer: nothing was done */
    /* the lun's, while it runs */
    unsigned range, ranges; /* UNMAP, WRITE SAME: the next one, all of them */
    uint8_t unmap[SCSI_UNMAP_MAX * 16];
    uint8_t *pattern; /* WRITE SAME of data; owned */
    struct iovec pattern_iov;
    uint64_t same_at, same_left; /* bytes */
};

enum scsi_event { SCSI_LUN_ADDED, SCSI_LUN_REMOVED, SCSI_LUN_RESIZED };

struct scsi_bus_ops {
    /* NULL: errors are always reported */
    void (*park)(struct scsi_task *t, int errnum);
    int (*stop_errnum)(struct scsi_bus *b);               /* of a parked task, 0: none; with park */
    void (*settle)(struct scsi_bus *b);                   /* main thread; see block/on_error.h */
    void (*batch_end)(struct scsi_bus *b);                /* loop; several tasks have ended */
    void (*event)(struct scsi_lun *l, enum scsi_event e); /* main thread; may be NULL */
};

struct scsi_bus {
    /* immutable */
    const struct scsi_bus_ops *ops;
    struct evloop *loop;
    struct device_list *devices;
    const char *path; /* of the adapter, for its luns' paths */
    /* loop; linked by number, ascending */
    struct scsi_lun *target[SCSI_TARGETS];
    bool plugging;
    struct scsi_lun *plugged;
};

void scsi_bus_fini(struct scsi_bus *b); /* destroys its luns */
/* Submissions between the two go to the host together. */
void scsi_bus_plug(struct scsi_bus *b);
void scsi_bus_unplug(struct scsi_bus *b); /* may call ended() */
void scsi_bus_drain(struct scsi_bus *b);  /* main thread; nothing is with the block layer then */
struct scsi_lun *scsi_lun_find(struct scsi_bus *b, unsigned id, unsigned lun);

void scsi_start(struct scsi_task *t);
void scsi_drop(struct scsi_task *t); /* a parked one that will not be started again */
/* For a target whose lun does not exist: INQUIRY and REPORT LUNS answer, the rest is refused. */
void scsi_start_no_lun(struct scsi_bus *b, unsigned id, struct scsi_task *t);

struct scsi_config {
    const char *id;
    unsigned target, lun;
    bool cdrom, removable, no_write_cache, share_rw, read_only;
    struct blk_node *node; /* NULL: a CD-ROM drive without a disc */
    const char *serial, *vendor, *product, *version, *device_id; /* NULL: defaults; copied */
    uint64_t wwn;                                                /* 0: none */
    uint16_t rotation_rate;                                      /* 1: not rotating; 0: not told */
    uint32_t logical_block_bytes, physical_block_bytes, discard_bytes; /* 0: the image's */
    enum blk_on_error rerror, werror;
    /* Main thread; may be NULL. */
    void (*on_error)(void *opaque, struct scsi_lun *l, bool is_write, int errnum,
                     enum blk_error_action action);
    void (*tray_moved)(void *opaque, const char *id, bool open);
    void *opaque;
};
/* Makes a lun and puts it on the bus; the initiator hears of it. */
struct scsi_lun *scsi_lun_new(struct scsi_bus *b, const struct scsi_config *cfg, GError **err);
/* NULL when d is none. */
struct scsi_lun *scsi_lun_of_device(struct device *d);
struct device *scsi_lun_device(struct scsi_lun *l);
struct scsi_bus *scsi_lun_bus(struct scsi_lun *l);
unsigned scsi_lun_target(const struct scsi_lun *l);
unsigned scsi_lun_number(const struct scsi_lun *l);
void scsi_lun_reset(struct scsi_lun *l);   /* any thread: logical unit reset */
void scsi_lun_resized(struct scsi_lun *l); /* main thread: the image has another size */

/* What monitors ask. */
struct scsi_lun_info {
    struct blk_node *node;
    bool cdrom, tray_open, locked;
};
void scsi_lun_info(struct scsi_lun *l, struct scsi_lun_info *out);
/* Host error of a task on its bus that waits for the machine to go on; 0: none. */
int scsi_lun_stop_errnum(struct scsi_lun *l);
/* As ata_drive_eject() and ata_drive_insert(). */
bool scsi_lun_eject(struct scsi_lun *l, bool force, GError **err);
bool scsi_lun_insert(struct scsi_lun *l, struct blk_node *node, GError **err);

#endif
