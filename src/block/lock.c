/* lock.c - image locking: two machines must not write one image.
 *
 * Open-file-description locks on single bytes, in the layout QEMU uses, so that each emulator sees
 * the other's locks: byte 100+p is share-locked by who uses permission p, byte 200+p by who does
 * not let others use it.  Permissions: 0 consistent read, 1 write, 2 write unchanged, 3 resize. */
#include "block_int.h"

#include "base/error.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>

#define LOCK_USED_BASE     100
#define LOCK_UNSHARED_BASE 200
#define PERM_READ          BIT(0)
#define PERM_WRITE         BIT(1)
#define PERM_RESIZE        BIT(3)
#define PERM_COUNT         4

static int lock_byte(int fd, int cmd, short type, off_t byte)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int r;

    do {
        r = fcntl(fd, cmd, &l);
    } while (r < 0 && errno == EINTR);
    if (r < 0)
        return -errno;
    return cmd == F_OFD_GETLK && l.l_type != F_UNLCK ? -EAGAIN : 0;
}

static int take_and_check(int fd, unsigned used, unsigned unshared)
{
    for (unsigned p = 0; p < PERM_COUNT; p++) {
        int r = 0;
        if (used & BIT(p))
            r = lock_byte(fd, F_OFD_SETLK, F_RDLCK, LOCK_USED_BASE + p);
        if (r == 0 && (unshared & BIT(p)))
            r = lock_byte(fd, F_OFD_SETLK, F_RDLCK, LOCK_UNSHARED_BASE + p);
        if (r < 0)
            return r;
    }
    for (unsigned p = 0; p < PERM_COUNT; p++) {
        int r = 0;
        if (used & BIT(p))
            r = lock_byte(fd, F_OFD_GETLK, F_WRLCK, LOCK_UNSHARED_BASE + p);
        if (r == 0 && (unshared & BIT(p)))
            r = lock_byte(fd, F_OFD_GETLK, F_WRLCK, LOCK_USED_BASE + p);
        if (r < 0)
            return r;
    }
    return 0;
}

bool blk_file_lock(int fd, const char *filename, bool write, bool force_share, GError **err)
{
    unsigned used = PERM_READ, unshared = PERM_WRITE | PERM_RESIZE;

    if (force_share)
        return true;
    if (write)
        used |= PERM_WRITE | PERM_RESIZE;
    int r = take_and_check(fd, used, unshared);
    if (r == -EAGAIN || r == -EACCES)
        return error_set(err, HANOK_ERROR_BUSY,
                         "The image '%s' is in use by another process; stop it, or open the image "
                         "with read-only=on and force-share=on.",
                         filename);
    return true; /* file systems without locks (ENOLCK, EINVAL): nothing to be had */
}
