/* fault.h - makes the host's I/O fail, for tests of what happens then.
 *
 *     static int third_write(void *opaque, const struct blk_host_io *io) { ... return -EIO; }
 *     blk_fault_set(third_write, &state);   ... run ...   blk_fault_set(NULL, NULL);
 *
 * The hook sees every read, write, flush, discard and write-zeroes that the file driver is about to
 * give to the host, with its data, in the order of the system calls: it may let them pass (0), end
 * them with an error, record them, or end the process.  While a hook is set all requests take the
 * blocking way, whatever aio= says.
 *
 * Programs take one from the environment, read when the first file is opened (docs/disks.md):
 *     HANOK_IO_FAULT=nth=5,op=write,errno=28,then=error      (op: read write flush discard zeroes
 *                                                            any; then: error, exit)
 * Threads: set while nothing is in flight; the hook runs in any thread, several at once. */
#ifndef BLOCK_FAULT_H
#define BLOCK_FAULT_H

#include "block/block.h"

struct blk_host_io {
    enum blk_op op;
    uint64_t offset_bytes, len_bytes;
    const struct iovec *iov; /* READ, WRITE */
    int iov_count;
    bool fua; /* WRITE, WRITE_ZEROES: on the disk before it ends */
    const char *filename;
};

typedef int blk_fault_fn(void *opaque, const struct blk_host_io *io); /* 0 or -errno */
void blk_fault_set(blk_fault_fn *fn, void *opaque);                   /* NULL: none */

/* A ready-made hook: the nth (from 1) I/O of these operations ends with errnum, and so does every
 * later one unless `once`. */
struct blk_fail_nth {
    uint64_t nth;
    unsigned ops; /* BIT(BLK_WRITE) | ...; 0: all */
    int errnum;
    bool once, exit; /* exit: the process ends there, as if killed */
    uint64_t seen;   /* atomic: matching I/Os so far */
};
int blk_fault_fail_nth(void *opaque, const struct blk_host_io *io);

#endif
