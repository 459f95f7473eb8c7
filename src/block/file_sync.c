/* file_sync.c - one request done with blocking system calls, to its end or its error. */
#include "file.h"

#include "base/util.h"
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SLICE_MAX  64
#define ZERO_BYTES (64 * KiB)

static _Alignas(4096) const uint8_t zeroes[ZERO_BYTES];

const struct iovec *file_req_iov(struct blk_req *req, int *count)
{
    struct file_req *fr = file_req(req);

    *count = fr->bounce ? 1 : req->iov_count;
    return fr->bounce ? &fr->one : req->iov;
}

static bool is_aligned(const struct file *f, uint64_t offset, uint64_t len)
{
    return ((offset | len) & (f->align - 1)) == 0;
}

static int rw_fd(const struct file *f, const struct blk_req *req, uint64_t progress)
{
    if (!f->direct || is_aligned(f, req->offset_bytes + progress, req->len_bytes - progress))
        return f->fd;
    return f->buffered_fd;
}

static int sync_rw(struct file *f, struct blk_req *req)
{
    struct file_req *fr = file_req(req);
    int flags = req->op == BLK_WRITE && (req->flags & BLK_REQ_FUA) ? RWF_DSYNC : 0;
    int count;
    const struct iovec *iov = file_req_iov(req, &count);

    while (fr->progress_bytes < req->len_bytes) {
        struct iovec part[SLICE_MAX];
        int parts;
        off_t at = (off_t)(req->offset_bytes + fr->progress_bytes);
        int fd = rw_fd(f, req, fr->progress_bytes);

        blk_iov_slice(iov, count, fr->progress_bytes, part, SLICE_MAX, &parts);
        ssize_t r = req->op == BLK_READ ? preadv2(fd, part, parts, at, 0)
                                        : pwritev2(fd, part, parts, at, flags);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0 && req->op == BLK_WRITE)
            return -ENOSPC;
        if (r == 0) { /* end of file: the image's rounded-up tail reads as zeroes */
            blk_iov_zero(iov, count, fr->progress_bytes);
            return 0;
        }
        fr->progress_bytes += (uint64_t)r;
    }
    return 0;
}

static int sync_fallocate(int fd, int mode, const struct blk_req *req)
{
    int r;
    do {
        r = fallocate(fd, mode, (off_t)req->offset_bytes, (off_t)req->len_bytes);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static bool not_offered(int err)
{
    return err == -EOPNOTSUPP || err == -ENOSYS || err == -ENOTTY || err == -EINVAL;
}

/* A discard is advice: a host that cannot do it has still done nothing wrong. */
static int sync_discard(struct file *f, struct blk_req *req)
{
    int r;

    if (__atomic_load_n(&f->punch_bad, __ATOMIC_RELAXED))
        return 0;
    if (f->is_blkdev) {
        uint64_t range[2] = {req->offset_bytes, req->len_bytes};
        r = ioctl(f->fd, BLKDISCARD, range) < 0 ? -errno : 0;
    } else {
        r = sync_fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, req);
    }
    if (!not_offered(r))
        return r;
    __atomic_store_n(&f->punch_bad, true, __ATOMIC_RELAXED);
    return 0;
}

static int write_zero_bytes(struct file *f, struct blk_req *req)
{
    uint64_t done = 0;

    while (done < req->len_bytes) {
        uint64_t n = MIN_OF(req->len_bytes - done, (uint64_t)ZERO_BYTES);
        uint64_t at = req->offset_bytes + done;
        int fd = f->direct && !is_aligned(f, at, n) ? f->buffered_fd : f->fd;
        ssize_t r = pwrite(fd, zeroes, n, (off_t)at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r < 0 ? -errno : -ENOSPC;
        done += (uint64_t)r;
    }
    return 0;
}

static int sync_write_zeroes(struct file *f, struct blk_req *req)
{
    int r = -EOPNOTSUPP;

    if ((req->flags & BLK_REQ_UNMAP) && !__atomic_load_n(&f->punch_bad, __ATOMIC_RELAXED)) {
        r = sync_fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, req);
        if (not_offered(r))
            __atomic_store_n(&f->punch_bad, true, __ATOMIC_RELAXED);
    }
    if (r < 0 && !__atomic_load_n(&f->zero_range_bad, __ATOMIC_RELAXED)) {
        r = sync_fallocate(f->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, req);
        if (not_offered(r))
            __atomic_store_n(&f->zero_range_bad, true, __ATOMIC_RELAXED);
    }
    if (not_offered(r))
        r = write_zero_bytes(f, req);
    if (r == 0 && (req->flags & BLK_REQ_FUA) && fdatasync(f->fd) < 0)
        r = -errno;
    return r;
}

int file_sync(struct blk_node *n, struct blk_req *req)
{
    struct file *f = n->priv;
    int fault = blk_fault_on() ? blk_fault_ask(n, req) : 0;

    if (fault < 0)
        return fault;
    switch (req->op) {
    case BLK_WRITE:
        if (req->flags & BLK_REQ_FUA)
            file_count_sync(n);
        return sync_rw(f, req);
    case BLK_READ:
        return sync_rw(f, req);
    case BLK_FLUSH:
        file_count_sync(n);
        return fdatasync(f->fd) < 0 ? -errno : 0;
    case BLK_DISCARD:
        return sync_discard(f, req);
    case BLK_WRITE_ZEROES:
        return sync_write_zeroes(f, req);
    }
    return -ENOTSUP;
}

/* Looking for the end of data costs the host a walk over all of it: the answer serves the next
 * questions too.  A hole punched meanwhile is then called data, which is slower, not wrong. */
static bool data_known(struct file *f, uint64_t offset, uint64_t *to)
{
    pthread_mutex_lock(&f->lock);
    bool known = offset >= f->data_from && offset < f->data_to;
    *to = f->data_to;
    pthread_mutex_unlock(&f->lock);
    return known;
}

static void remember_data(struct file *f, uint64_t from, uint64_t to)
{
    pthread_mutex_lock(&f->lock);
    f->data_from = from;
    f->data_to = to;
    pthread_mutex_unlock(&f->lock);
}

int file_status(struct blk_node *n, uint64_t offset, uint64_t len, bool holes,
                struct blk_status *out)
{
    struct file *f = n->priv;
    uint64_t end = offset + len, to;

    *out = (struct blk_status){.flags = BLK_STATUS_ALLOCATED | BLK_STATUS_OFFSET | BLK_STATUS_DATA,
                               .len_bytes = len,
                               .host_bytes = offset,
                               .host = n};
    if (data_known(f, offset, &to)) {
        out->len_bytes = MIN_OF(end, to) - offset;
        return 0;
    }
    off_t data = lseek(f->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno == ENXIO) { /* a hole up to the end, or behind it */
        out->flags ^= BLK_STATUS_DATA | BLK_STATUS_ZERO;
        return 0;
    }
    if (data < 0 || (uint64_t)data < offset)
        return 0; /* this host knows of no holes */
    if ((uint64_t)data > offset) {
        out->flags ^= BLK_STATUS_DATA | BLK_STATUS_ZERO;
        out->len_bytes = MIN_OF(end, (uint64_t)data) - offset;
        return 0;
    }
    off_t hole = lseek(f->fd, (off_t)offset, SEEK_HOLE);
    if (hole > (off_t)offset) {
        to = ALIGN_UP((uint64_t)hole, BLK_SECTOR_BYTES);
        remember_data(f, offset, to);
        out->len_bytes = MIN_OF(end, to) - offset;
    }
    return 0;
}
