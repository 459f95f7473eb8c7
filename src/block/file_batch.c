/* file_batch.c - writes to the page cache, in batches.
 *
 * Most file systems cannot promise not to sleep in such a write, so io_uring hands each to a thread
 * of the kernel's, one after the other (they share the inode's lock), and each ends by itself: the
 * guest is woken for every one.  Here one worker takes what has gathered, writes it in order, and
 * ends it together, or in parts when it takes longer than waking the guest, so that both work at
 * the same time; of writes that must be on the disk (FUA) a whole batch costs one fdatasync.
 *
 * The writer leaves under the lock that the loop takes to fetch what has ended: after that it
 * touches nothing of the file's. */
#include "file.h"

#include "base/evloop.h"
#include "base/util.h"

#include <assert.h>
#include <errno.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#define BATCH_MAX  32u
#define PART_NS    50000u
#define PART_BYTES (64u * KiB) /* a request counts as at least an eighth of it */
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* File systems whose writes to the page cache io_uring does on the spot. */
bool batch_suits(const struct file *f)
{
    struct statfs fs;

    if (f->direct || f->is_blkdev)
        return false;
    return fstatfs(f->fd, &fs) < 0 ||
           (fs.f_type != XFS_SUPER_MAGIC && fs.f_type != BTRFS_SUPER_MAGIC);
}

static bool is_fua(const struct blk_req *req)
{
    return (req->flags & BLK_REQ_FUA) != 0;
}

/* From first up to, without, end: to the loop. */
static void done_locked(struct file *f, struct blk_req *first, const struct blk_req *end)
{
    uint64_t one = 1;

    for (struct blk_req *next; first != end; first = next) {
        next = first->next;
        first->next = f->done;
        f->done = first;
    }
    if (write(f->done_fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN);
}

/* All of the chain; the results in their ret.  Returns the part that is not yet handed to the loop,
 * at least one. */
static struct blk_req *write_all(struct file *f, struct blk_req *first)
{
    uint64_t since = host_clock_ns(), bytes = 0;
    bool fua = false;

    for (struct blk_req *req = first, *next; req; req = next) {
        uint32_t flags = req->flags;
        next = req->next;                     /* read before req is the loop's again */
        req->flags &= ~(uint32_t)BLK_REQ_FUA; /* once for all, below */
        file_req(req)->ret = file_sync(file_req(req)->node, req);
        req->flags = flags;
        fua |= is_fua(req);
        uint64_t now = host_clock_ns();
        bytes += MAX_OF(req->len_bytes, (uint64_t)PART_BYTES / 8);
        if (fua || !next || now - since < PART_NS || bytes < PART_BYTES)
            continue;
        pthread_mutex_lock(&f->lock);
        done_locked(f, first, next);
        pthread_mutex_unlock(&f->lock);
        first = next;
        since = now;
        bytes = 0;
    }
    if (fua)
        file_count_sync(file_req(first)->node);
    int r = fua && fdatasync(f->fd) < 0 ? -errno : 0;
    for (struct blk_req *req = first; r < 0 && req; req = req->next) {
        if (is_fua(req) && file_req(req)->ret == 0)
            file_req(req)->ret = r;
    }
    return first;
}

static struct blk_req *take_locked(struct file *f)
{
    struct blk_req *first = f->writes, *last = first;

    for (unsigned n = 1; n < BATCH_MAX && last->next; n++)
        last = last->next;
    f->writes = last->next;
    if (!f->writes)
        f->writes_tail = &f->writes;
    last->next = NULL;
    return first;
}

static void writer(struct blk_work *w)
{
    struct file *f = container_of(w, struct file, writer);

    pthread_mutex_lock(&f->lock);
    while (f->writes) {
        struct blk_req *first = take_locked(f);
        pthread_mutex_unlock(&f->lock);
        first = write_all(f, first);
        pthread_mutex_lock(&f->lock);
        done_locked(f, first, NULL);
    }
    f->writer_runs = false;
    pthread_mutex_unlock(&f->lock);
}

void batch_queue(struct file *f, struct blk_req *req)
{
    req->next = NULL;
    pthread_mutex_lock(&f->lock);
    *f->writes_tail = req;
    f->writes_tail = &req->next;
    pthread_mutex_unlock(&f->lock);
    if (!f->plugged)
        batch_start(f);
}

void batch_start(struct file *f)
{
    pthread_mutex_lock(&f->lock);
    bool start = f->writes && !f->writer_runs;
    f->writer_runs |= start;
    pthread_mutex_unlock(&f->lock);
    if (start) {
        f->writer.fn = writer;
        blk_workers_push_leaf(&f->writer);
    }
}
