/* stick.h - a disk as SCSI commands mean it, as far as a USB stick needs; private to
 * src/usb.
 *
 *   command block --> stick_command() --> struct stick_op: what to transfer, or how it ended
 *
 * Nothing here does I/O: whoever has the bus moves the data.
 *
 * Threads: board lock.   Spec: SPC-3, SBC-3. */
#ifndef USB_STICK_H
#define USB_STICK_H

#include "base/types.h"

enum { STICK_REPLY_BYTES = 512, STICK_SERIAL_BYTES = 32 };

enum stick_kind {
    STICK_FAIL,  /* sense data says why */
    STICK_DONE,  /* no data */
    STICK_REPLY, /* len bytes of disk->reply for the host */
    STICK_TAKE,  /* len bytes from the host, which mean nothing here */
    STICK_READ,  /* media */
    STICK_WRITE,
    STICK_FLUSH,
    STICK_UNMAP, /* len bytes of block descriptors from the host */
};

struct stick_op {
    enum stick_kind kind;
    bool fua;
    uint64_t offset_bytes, bytes; /* READ, WRITE: on the medium; less than 4 GiB */
    uint32_t len;                 /* REPLY, TAKE, UNMAP */
};

struct stick {
    /* immutable */
    uint64_t size_bytes; /* of the medium */
    uint32_t block_bytes, physical_bytes;
    bool removable, read_only, can_unmap;
    char serial[STICK_SERIAL_BYTES + 1];
    /* board lock */
    uint8_t key, asc, ascq;
    bool write_cache, stopped;
    uint8_t reply[STICK_REPLY_BYTES];
};

void stick_reset(struct stick *d);
/* cdb: 16 bytes, zeroes beyond the command's length. */
void stick_command(struct stick *d, const uint8_t cdb[16], struct stick_op *op);
/* A block request failed: errnum as the host says it. */
void stick_media_failed(struct stick *d, int errnum, bool write);
/* Range i of UNMAP's parameter list; false: there is no such range. */
bool stick_unmap_range(const struct stick *d, const uint8_t *list, uint32_t len, unsigned i,
                       uint64_t *offset_bytes, uint64_t *bytes);

#endif
