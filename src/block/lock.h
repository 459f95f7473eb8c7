/* lock.h - image locking: two machines must not write one image.
 *
 *   device or tool --blk_set_perm()--> format --blk_set_perm()--> file --image_lock_set()--> host
 *
 * Open-file-description locks on single bytes, in the layout QEMU uses, so that each emulator sees
 * the other's: byte 100+p is read-locked by who uses permission p, byte 200+p by who does not let
 * others use it.  Nobody ever write-locks: a test for a write lock (F_OFD_GETLK) says whether
 * anybody holds the byte.  The locks end with the descriptor.
 *
 * Threads: main.  Errors: BUSY names the holder; `auto` goes on without locks, with a warning. */
#ifndef BLOCK_LOCK_H
#define BLOCK_LOCK_H

#include "block_int.h"

enum image_locking { LOCKING_AUTO, LOCKING_ON, LOCKING_OFF };

struct image_lock {
    /* immutable after open */
    int fd;
    const char *filename; /* for messages; lives as long as this */
    enum image_locking mode;
    /* main thread */
    unsigned used, unshared; /* BLK_PERM_*: what is locked now */
};

/* From what is held to these permissions; when refused, what was held stays. */
bool image_lock_set(struct image_lock *l, unsigned used, unsigned unshared, GError **err);

#endif
