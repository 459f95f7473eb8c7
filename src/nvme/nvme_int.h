/* nvme_int.h - the controller as its files share it; private to src/nvme.
 *
 *   sq[i] --fetch--> nvme_req --> io.c or admin.c --> nvme_complete() --> cq[sq[i].cqid]
 *
 * A command is fetched only when its completion queue has room for its end, so that an end never
 * waits.  Commands come from one pool for the whole controller; the last NVME_ADMIN_RESERVED are
 * kept for the admin queue.
 *
 * A controller reset (CC.EN = 0) forgets all queues at once; commands still with the block layer
 * end silently, because their generation is not the controller's any more, and CSTS.RDY reads 1
 * until the last one has ended: so long guest memory may change.
 *
 * Lock order: board lock -> n->lock -> MSI-X, INTx.  Never held across blk_unplug().
 * Spec: NVM Express 1.4; figures are named where a layout comes from. */
#ifndef NVME_NVME_INT_H
#define NVME_NVME_INT_H

#include "base/util.h"
#include "block/block.h"
#include "bus/io.h"
#include "mem/guest_mem.h"
#include "nvme/nvme.h"

enum {
    NVME_REQS = 512,
    NVME_ADMIN_RESERVED = 16,
    NVME_IOV_MAX = 144, /* 129 pages, and some cut where regions end */
    NVME_ENTRIES_MAX = 2048,
    NVME_ENTRIES_MIN = 2,
    NVME_SQE_BYTES = 64,
    NVME_CQE_BYTES = 16,
    NVME_AERS_MAX = 4,
    NVME_EVENTS_MAX = 8,
    NVME_MIN_PAGE = 4096,
    NVME_MPS_MAX = 4, /* 64 KiB pages */
    NVME_MDTS_MAX = 7,
    NVME_IDENTIFY_BYTES = 4096,
    NVME_RANGES_BYTES = 4096, /* of one dataset management command */
    NVME_NSID = 1,
    NVME_ALL_NS = -1,
};

/* Registers, §3.1. */
enum {
    NVME_REG_CAP = 0x00,
    NVME_REG_VS = 0x08,
    NVME_REG_INTMS = 0x0c,
    NVME_REG_INTMC = 0x10,
    NVME_REG_CC = 0x14,
    NVME_REG_CSTS = 0x1c,
    NVME_REG_AQA = 0x24,
    NVME_REG_ASQ = 0x28,
    NVME_REG_ACQ = 0x30,
    NVME_DOORBELLS = 0x1000,
};
#define NVME_VERSION  0x00010400u
#define NVME_CC_EN    BIT(0)
#define NVME_CC_SHN   (3u << 14)
#define NVME_CSTS_RDY BIT(0)
#define NVME_CSTS_CFS BIT(1)
#define NVME_SHST     (3u << 2)

/* Status field without its phase bit: code, type << 8, do not retry (§4.6.1). */
enum nvme_status {
    NVME_DNR = 0x4000,
    NVME_OK = 0,
    NVME_BAD_OPCODE = 0x01 | NVME_DNR,
    NVME_BAD_FIELD = 0x02 | NVME_DNR,
    NVME_TRANSFER_ERROR = 0x04,
    NVME_INTERNAL_ERROR = 0x06,
    NVME_ABORTED_SQ_DELETED = 0x08,
    NVME_BAD_NAMESPACE = 0x0b | NVME_DNR,
    NVME_SEQUENCE_ERROR = 0x0c | NVME_DNR,
    NVME_BAD_PRP = 0x13 | NVME_DNR,
    NVME_WRITE_PROTECTED = 0x20 | NVME_DNR,
    NVME_BAD_LBA = 0x80 | NVME_DNR,
    NVME_CAPACITY_EXCEEDED = 0x81 | NVME_DNR,
    NVME_NO_SUCH_CQ = 0x100 | NVME_DNR,
    NVME_BAD_QID = 0x101 | NVME_DNR,
    NVME_BAD_QSIZE = 0x102 | NVME_DNR,
    NVME_TOO_MANY_AERS = 0x105 | NVME_DNR,
    NVME_BAD_VECTOR = 0x108 | NVME_DNR,
    NVME_BAD_LOG = 0x109 | NVME_DNR,
    NVME_BAD_QUEUE_DELETION = 0x10c | NVME_DNR,
    NVME_NOT_SAVEABLE = 0x10d | NVME_DNR,
    NVME_NOT_CHANGEABLE = 0x10e | NVME_DNR,
    NVME_WRITE_FAULT = 0x280,
    NVME_READ_ERROR = 0x281,
    NVME_PENDING = 0xffff, /* not a status: the end comes later */
};

struct nvme;

struct nvme_cmd { /* figure 104 */
    uint8_t opcode, flags;
    uint16_t cid;
    uint32_t nsid;
    uint64_t prp1, prp2;
    uint32_t dw[6]; /* dwords 10 to 15 */
    uint8_t raw[NVME_SQE_BYTES];
};

struct nvme_req {
    struct blk_req blk; /* first */
    struct nvme *n;
    struct nvme_req *next; /* free, or parked */
    uint32_t generation;
    uint16_t sqid;
    struct nvme_cmd cmd;
    uint32_t result; /* dword 0 of the completion */
    unsigned iov_count;
    unsigned range, ranges; /* dataset management: the next one, all of them */
    union {
        struct {
            struct iovec iov[NVME_IOV_MAX];
            uint64_t gpa[NVME_IOV_MAX];
        };
        uint8_t range_data[NVME_RANGES_BYTES];
    };
};

struct nvme_sq {
    bool live;
    uint16_t cqid;
    uint32_t size, head, tail; /* in entries */
    uint64_t gpa;
    uint32_t in_flight;         /* fetched, not ended; AERs do not count */
    struct nvme_req *delete_by; /* the command that deletes it waits for in_flight = 0 */
};

struct nvme_cq {
    bool live, irq, phase;
    uint16_t vector;
    uint32_t size, head, tail;
    uint64_t gpa;
    uint32_t in_flight; /* commands whose end will be posted here */
    unsigned users;     /* submission queues */
    bool notify;        /* something was posted in this batch */
    bool stalled;       /* a command waits for room */
};

enum { /* features, figure 271; one 32-bit value each */
       NVME_F_ARBITRATION = 0x01,
       NVME_F_POWER = 0x02,
       NVME_F_TEMPERATURE = 0x04,
       NVME_F_ERROR_RECOVERY = 0x05,
       NVME_F_WRITE_CACHE = 0x06,
       NVME_F_QUEUES = 0x07,
       NVME_F_COALESCING = 0x08,
       NVME_F_VECTOR = 0x09,
       NVME_F_ATOMICITY = 0x0a,
       NVME_F_EVENTS = 0x0b,
       NVME_FEATURES = 0x0c,
};

struct nvme_event {
    uint8_t type, info, log;
};

struct nvme {
    struct pci_dev pci; /* first */
    /* immutable */
    struct nvme_config cfg;
    struct io_region regs;
    struct guest_mem *mem;
    char serial[NVME_SERIAL_MAX + 1];
    uint32_t block_bytes, physical_bytes;
    bool read_only, claimed, plugged;
    unsigned queues; /* admin included */
    struct timer *kick;
    struct blk_errors errors;
    pthread_mutex_t lock;
    /* lock */
    uint32_t cc, csts, aqa, intms;
    uint64_t asq, acq;
    uint64_t blocks; /* size of the namespace */
    uint32_t page_bytes, generation;
    struct nvme_sq *sq; /* queues of each */
    struct nvme_cq *cq;
    struct nvme_req *reqs, *free, *parked;
    unsigned fresh, free_count; /* reqs[fresh..] were never used; count includes them */
    unsigned submitted;         /* with the block layer, the shutdown's flush included */
    int parked_errnum;
    bool resetting, retry;
    bool shutdown_wanted, shutdown_busy;
    struct blk_req flush; /* the shutdown's */
    uint32_t feature[NVME_FEATURES];
    uint64_t uncoalesced[NVME_VECTORS_MAX / 64];
    uint16_t aer[NVME_AERS_MAX];
    uint8_t aers, events, masked; /* masked: event types that wait for their log page to be read */
    struct nvme_event event[NVME_EVENTS_MAX];
    bool resized; /* for the changed namespaces' log */
    uint8_t scratch[NVME_IDENTIFY_BYTES];
};

/* regs.c: board lock not needed; takes the lock */
extern const struct io_ops nvme_reg_ops;
void nvme_reset_begin(struct nvme *n);       /* lock held */
void nvme_reset_end_if_idle(struct nvme *n); /* lock held */
void nvme_fatal(struct nvme *n);             /* lock held: CSTS.CFS */

/* queue.c */
void nvme_kick(struct nvme *n);
void nvme_service(void *opaque);   /* main thread, lock not held */
void nvme_batch_end(void *opaque); /* likewise */
void nvme_irq_update(struct nvme *n);
struct nvme_req *nvme_req_get(struct nvme *n, bool admin); /* or NULL */
void nvme_req_put(struct nvme_req *r);
void nvme_complete(struct nvme_req *r, uint16_t status); /* lock held */
void nvme_event(struct nvme *n, uint8_t type, uint8_t info, uint8_t log);
void nvme_events_post(struct nvme *n);
uint32_t nvme_cq_room(const struct nvme_cq *q);
void nvme_cmd_decode(struct nvme_cmd *c, const uint8_t raw[NVME_SQE_BYTES]);

/* admin.c, features.c: NVME_PENDING or the status */
uint16_t nvme_admin(struct nvme_req *r);
uint16_t nvme_get_feature(struct nvme_req *r);
uint16_t nvme_set_feature(struct nvme_req *r);
void nvme_features_reset(struct nvme *n);
void nvme_sq_deleted(struct nvme *n, uint16_t sqid); /* its last command has ended */

/* identify.c: fill n->scratch; size of what is there, or 0 for a status */
uint16_t nvme_identify(struct nvme_req *r);
uint16_t nvme_get_log(struct nvme_req *r);

/* io.c */
uint16_t nvme_io(struct nvme_req *r);                            /* starts it */
uint16_t nvme_io_parse(struct nvme_req *r);                      /* everything but blk_submit */
void nvme_retry_parked(struct nvme *n);                          /* lock held, main thread */
void nvme_end_parked(struct nvme *n, int sqid, uint16_t status); /* sqid -1: all */
void nvme_settle(void *opaque);
void nvme_shutdown_flush(struct nvme *n);

/* prp.c: fills r->iov with len bytes of guest memory */
uint16_t nvme_map(struct nvme_req *r, uint64_t len);
uint16_t nvme_to_guest(struct nvme_req *r, const void *buf, uint32_t len);
uint16_t nvme_from_guest(struct nvme_req *r, void *buf, uint32_t len);
void nvme_wrote(struct nvme_req *r);

/* state.c */
extern const struct state_desc nvme_state;

#endif
