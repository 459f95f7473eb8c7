/* scsi.h - a disk as SCSI commands mean it, as far as a USB stick needs; private to
 * src/usb.
 *
 *   command block --> scsi_command() --> struct scsi_op: what to transfer, or how it ended
 *
 * Nothing here does I/O: whoever has the bus moves the data.
 *
 * Threads: board lock.   Spec: SPC-3, SBC-3. */
#ifndef USB_SCSI_H
#define USB_SCSI_H

#include "base/types.h"

enum { SCSI_REPLY_BYTES = 512, SCSI_SERIAL_BYTES = 32 };

enum scsi_kind {
    SCSI_FAIL,  /* sense data says why */
    SCSI_DONE,  /* no data */
    SCSI_REPLY, /* len bytes of disk->reply for the host */
    SCSI_TAKE,  /* len bytes from the host, which mean nothing here */
    SCSI_READ,  /* media */
    SCSI_WRITE,
    SCSI_FLUSH,
    SCSI_UNMAP, /* len bytes of block descriptors from the host */
};

struct scsi_op {
    enum scsi_kind kind;
    bool fua;
    uint64_t offset_bytes, bytes; /* READ, WRITE: on the medium; less than 4 GiB */
    uint32_t len;                 /* REPLY, TAKE, UNMAP */
};

struct scsi_disk {
    /* immutable */
    uint64_t size_bytes; /* of the medium */
    uint32_t block_bytes, physical_bytes;
    bool removable, read_only, can_unmap;
    char serial[SCSI_SERIAL_BYTES + 1];
    /* board lock */
    uint8_t key, asc, ascq;
    bool write_cache, stopped;
    uint8_t reply[SCSI_REPLY_BYTES];
};

void scsi_disk_reset(struct scsi_disk *d);
/* cdb: 16 bytes, zeroes beyond the command's length. */
void scsi_command(struct scsi_disk *d, const uint8_t cdb[16], struct scsi_op *op);
/* A block request failed: errnum as the host says it. */
void scsi_media_failed(struct scsi_disk *d, int errnum, bool write);
/* Range i of UNMAP's parameter list; false: there is no such range. */
bool scsi_unmap_range(const struct scsi_disk *d, const uint8_t *list, uint32_t len, unsigned i,
                      uint64_t *offset_bytes, uint64_t *bytes);

#endif
