/* scsi_int.h - a lun as the files of src/scsi share it.
 *
 * Threads: tasks in the bus's loop, monitors in the main thread; what both touch is under `lock`,
 * which is never held across blk_submit's completions or ended(). */
#ifndef SCSI_SCSI_INT_H
#define SCSI_SCSI_INT_H

#include "base/util.h"
#include "block/block.h"
#include "drive.h"
#include "scsi/scsi.h"

enum {
    KEY_NONE = 0,
    KEY_NOT_READY = 2,
    KEY_MEDIUM_ERROR = 3,
    KEY_ILLEGAL = 5,
    KEY_ATTENTION = 6,
    KEY_PROTECT = 7,
};
/* ASC and ASCQ, SPC-4 annex F. */
enum {
    ASC_NONE = 0x0000,
    ASC_WRITE_ERROR = 0x0c00,
    ASC_READ_ERROR = 0x1100,
    ASC_PARAMETER_LENGTH = 0x1a00,
    ASC_BAD_COMMAND = 0x2000,
    ASC_BAD_LBA = 0x2100,
    ASC_BAD_FIELD = 0x2400,
    ASC_NO_LUN = 0x2500,
    ASC_BAD_PARAMETER = 0x2600,
    ASC_WRITE_PROTECTED = 0x2700,
    ASC_SPACE_FAILED = 0x2707,
    ASC_POWER_ON = 0x2900,
    ASC_CAPACITY_CHANGED = 0x2a09,
    ASC_NOT_SAVED = 0x3900,
    ASC_NO_MEDIUM = 0x3a00,
};

enum { SCSI_SCRATCH_BYTES = 4096 };

/* Unit attentions that wait, the most important first. */
enum { UA_POWER_ON = 1, UA_CAPACITY = 2 };

struct scsi_lun {
    struct device dev; /* first */
    /* immutable */
    struct scsi_bus *bus;
    struct scsi_lun *next; /* loop: of the same target */
    unsigned target, number;
    bool cdrom, removable, read_only, claimed, default_cache, on_bus;
    struct blk_node *node; /* a disk's */
    uint32_t block_bytes, physical_bytes, discard_bytes;
    bool can_discard;
    char vendor[9], product[17], version[5], serial[37], device_id[65];
    uint64_t wwn;
    uint16_t rotation_rate;
    struct blk_errors errors;
    void (*on_error)(void *opaque, struct scsi_lun *l, bool is_write, int errnum,
                     enum blk_error_action action);
    void *opaque;
    struct ata_drive cd; /* a CD-ROM drive's; under lock */
    /* loop */
    struct scsi_lun *plugged_next;
    bool plugged;
    /* lock */
    pthread_mutex_t lock;
    uint64_t blocks;
    bool write_cache;
    uint8_t attention; /* UA_ bits */
    uint8_t scratch[SCSI_SCRATCH_BYTES];
};

static inline void be16_put(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void be32_put(uint8_t *p, uint32_t v)
{
    be16_put(p, v >> 16);
    be16_put(p + 2, v & 0xffff);
}
static inline void be64_put(uint8_t *p, uint64_t v)
{
    be32_put(p, (uint32_t)(v >> 32));
    be32_put(p + 4, (uint32_t)v);
}
static inline uint32_t be16_get(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}
static inline uint32_t be32_get(const uint8_t *p)
{
    return be16_get(p) << 16 | be16_get(p + 2);
}
static inline uint64_t be64_get(const uint8_t *p)
{
    return (uint64_t)be32_get(p) << 32 | be32_get(p + 4);
}

/* lun.c: ends of tasks */
void scsi_end(struct scsi_task *t);
void scsi_sense(struct scsi_task *t, uint8_t key, uint16_t asc); /* sets status and sense */
void scsi_fail(struct scsi_task *t, uint8_t key, uint16_t asc);  /* and ends it */
/* The first bytes of buf, as many as the initiator allows, has room for and there are; ends it. */
void scsi_reply(struct scsi_task *t, const uint8_t *buf, uint32_t len, uint32_t allowed);
/* Up to len bytes that the initiator sent; how many there were. */
uint32_t scsi_received(struct scsi_task *t, uint8_t *buf, uint32_t len);
/* t->blk but for its length and data: submits a transfer of the buffer's first bytes. */
void scsi_transfer(struct scsi_task *t, uint64_t bytes);
void scsi_submit(struct scsi_task *t); /* t->blk filled in but for node and done */
void scsi_failed(struct scsi_task *t, int errnum);
struct blk_node *scsi_node(struct scsi_lun *l);
void scsi_request_sense(struct scsi_task *t);
void scsi_batch_end(void *opaque); /* for blk_on_batch() of a lun's node */

/* bus.c */
void scsi_report_luns(struct scsi_bus *b, unsigned id, struct scsi_task *t);
void scsi_bus_add(struct scsi_lun *l);    /* main thread */
void scsi_bus_remove(struct scsi_lun *l); /* likewise; no task starts on it any more */

/* disk.c, cd.c */
void scsi_disk_start(struct scsi_task *t);
void scsi_cd_start(struct scsi_task *t);
bool scsi_cd_init(struct scsi_lun *l, const struct scsi_config *cfg, GError **err);
void scsi_cd_fini(struct scsi_lun *l);

/* pages.c: lock held; fill l->scratch, return how long it is, 0: there is no such page */
uint32_t scsi_inquiry_page(struct scsi_lun *l, uint8_t page);
uint32_t scsi_inquiry_standard(struct scsi_lun *l);
uint32_t scsi_mode_pages(struct scsi_lun *l, const uint8_t *cdb);

/* ranges.c: UNMAP and WRITE SAME, which are several requests */
void scsi_unmap_start(struct scsi_task *t);
void scsi_write_same_start(struct scsi_task *t);
bool scsi_next_range(struct scsi_task *t); /* true: submitted */

extern const struct state_desc scsi_lun_state;

#endif
