/* scsi.h - virtio-scsi's parts: the device (scsi.c), commands (scsi_req.c), task management and
 * events (scsi_ctrl.c).
 *
 *   request queue --> vscsi_req --scsi_start()--> src/scsi ... ended --> response, used entry
 *   control queue --> aborts and resets: answered when the commands they name have ended
 *   event queue   <-- luns that come, go and change
 *
 * Requests live in per-queue arrays, as many as the queue has entries: nothing is allocated per
 * command.
 *
 * Threads: all queues in one loop; events come from the main thread, under `lock`.
 * Spec:    virtio 1.2 §5.6. */
#ifndef VIRTIO_SCSI_H
#define VIRTIO_SCSI_H

#include "block/block.h"
#include "carrier.h"
#include "scsi/scsi.h"

enum {
    VSCSI_CONTROL = 0,
    VSCSI_EVENTS = 1,
    VSCSI_REQUESTS = 2, /* the first request queue */
    VSCSI_QUEUES_MAX = 64,
    VSCSI_SLACK_IOVS = 16,
    VSCSI_CONTROL_SIZE = 64, /* at most so many waiting aborts and resets */
    VSCSI_EVENTS_MAX = 16,
    VSCSI_LUN_BYTES = 8,
};
enum { VSCSI_F_HOTPLUG = 1, VSCSI_F_CHANGE = 2 };

/* Responses, §5.6.6.1 and .2. */
enum {
    VSCSI_OK = 0,
    VSCSI_OVERRUN = 1,
    VSCSI_ABORTED = 2,
    VSCSI_BAD_TARGET = 3,
    VSCSI_RESET = 4,
    VSCSI_FAILURE = 9,
    VSCSI_FUNCTION_SUCCEEDED = 10,
    VSCSI_FUNCTION_REJECTED = 11,
    VSCSI_INCORRECT_LUN = 12,
};

struct virtio_scsi;

/* An abort or a reset that waits for commands to end. */
struct vscsi_tmf {
    struct virtq_elem elem;
    bool used;
    unsigned waits;
    uint8_t response;
};

struct vscsi_req {
    struct scsi_task task; /* first */
    struct virtio_scsi *s;
    struct virtq_elem elem;
    struct iovec *data; /* the elem's buffers without header and response */
    uint64_t tag;
    uint8_t address[VSCSI_LUN_BYTES];
    bool busy;
    uint8_t ended_by;      /* VSCSI_ABORTED, VSCSI_RESET: what the response will be */
    struct vscsi_tmf *tmf; /* and who waits for it */
    struct vscsi_req *next;
};

struct vscsi_queue {
    struct vscsi_req *reqs; /* size_max of them */
    struct iovec *iov;      /* scatter lists and data lists, cap each */
    uint64_t *gpa;
    unsigned cap, fresh; /* reqs[fresh..] were never used */
    struct vscsi_req *free;
};

struct vscsi_event {
    uint32_t event, reason;
    uint8_t address[VSCSI_LUN_BYTES];
};

struct virtio_scsi {
    struct virtio_carrier p; /* first */
    /* immutable */
    struct virtio_scsi_config cfg;
    struct evloop *loop;
    struct scsi_bus bus;
    char *path;
    struct vscsi_queue *q; /* of the request queues */
    struct virtq_elem event_elem, plain_elem;
    struct vscsi_tmf tmf[VSCSI_CONTROL_SIZE];
    bool dying;
    /* board lock */
    uint32_t sense_bytes, cdb_bytes; /* the driver's choice */
    /* loop */
    uint64_t notify; /* queues with new used entries, one bit each */
    /* lock */
    pthread_mutex_t lock;
    struct vscsi_req *parked, *recycled;
    int parked_errnum;
    struct vscsi_event event[VSCSI_EVENTS_MAX];
    unsigned events;
    bool missed;
};

static inline struct virtio_scsi *vscsi_of(struct virtio_dev *d)
{
    return container_of(d, struct virtio_scsi, p.dev);
}

/* scsi_req.c */
void vscsi_queue_init(struct vscsi_queue *q, unsigned size);
void vscsi_queue_fini(struct vscsi_queue *q);
bool vscsi_service(struct virtq *q);
void vscsi_notify_all(struct virtio_scsi *s);
void vscsi_finish(struct vscsi_req *r, uint8_t response);
void vscsi_park(struct scsi_task *t, int errnum);
void vscsi_settle(struct scsi_bus *b);
void vscsi_retry_parked(struct virtio_scsi *s);
void vscsi_drop_parked(struct virtio_scsi *s);
bool vscsi_refetch(struct virtio_scsi *s, unsigned queue, uint16_t head);
/* The lun an address names, or NULL; *target: its target, or -1 when that is no address. */
struct scsi_lun *vscsi_lun(struct virtio_scsi *s, const uint8_t address[VSCSI_LUN_BYTES],
                           int *target);

/* scsi_ctrl.c */
bool vscsi_control(struct virtq *q);
void vscsi_tmf_step(struct virtio_scsi *s, struct vscsi_tmf *m); /* one of its commands has ended */
void vscsi_event(struct scsi_lun *l, enum scsi_event e);
void vscsi_events_send(struct virtio_scsi *s);

#endif
