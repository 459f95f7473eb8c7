/* file.c - the "file" driver: regular files and block devices of the host. */
#include "file.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/props.h"
#include "base/util.h"
#include "fault.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECT_ALIGN_MAX 4096u

enum { AIO_DEFAULT, AIO_THREADS, AIO_NATIVE, AIO_URING };

static void done_ready(void *opaque, int fd, uint32_t events);

/* --- requests (loop thread) --- */

void file_done(struct blk_req *req, int ret)
{
    bounce_end(file_req(req)->node->priv, req, ret, true);
    blk_complete(req, ret);
}

static void work_fn(struct blk_work *w)
{
    struct file_req *fr = container_of(w, struct file_req, work);
    struct blk_req *req = container_of((uint64_t *)fr, struct blk_req, driver);
    struct blk_node *n = fr->node;
    struct file *f = n->priv;
    uint64_t one = 1;

    fr->ret = file_sync(n, req);
    pthread_mutex_lock(&f->lock);
    req->next = f->done;
    f->done = req;
    /* Signalled under the lock: once it is free, the loop may end the request and the node. */
    if (write(f->done_fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN);
    pthread_mutex_unlock(&f->lock);
}

void file_to_worker(struct blk_req *req)
{
    struct file_req *fr = file_req(req);

    fr->work.fn = work_fn;
    blk_workers_push_leaf(&fr->work);
}

static void done_ready(void *opaque, int fd, uint32_t events)
{
    struct blk_node *n = opaque;
    struct file *f = n->priv;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN || errno == EINTR);
    pthread_mutex_lock(&f->lock);
    struct blk_req *req = f->done;
    f->done = NULL;
    pthread_mutex_unlock(&f->lock);
    while (req) {
        struct blk_req *next = req->next;
        file_done(req, file_req(req)->ret);
        req = next;
    }
    blk_batch_done(n);
}

static void ring_ready(void *opaque, int fd, uint32_t events)
{
    struct blk_node *n = opaque;

    uring_reap(n);
    blk_batch_done(n);
}

static void file_submit(struct blk_node *n, struct blk_req *req)
{
    struct file *f = n->priv;
    struct file_req *fr = file_req(req);
    bool transfer = req->op == BLK_READ || req->op == BLK_WRITE;
    bool unaligned = false;

    memset(fr, 0, sizeof(*fr));
    fr->node = n;
    if (n->no_flush) {
        req->flags &= ~(uint32_t)BLK_REQ_FUA;
        if (req->op == BLK_FLUSH) {
            blk_complete_later(n, req, 0);
            return;
        }
    }
    if (transfer && f->direct) {
        unaligned = ((req->offset_bytes | req->len_bytes) & (f->align - 1)) != 0;
        if (!unaligned && !blk_iov_aligned(req->iov, req->iov_count, f->align) &&
            !bounce_make(f, req, true)) {
            blk_complete_later(n, req, -ENOMEM);
            return;
        }
    }
    if (req->op == BLK_WRITE && !f->direct && !f->is_blkdev && !blk_fault_on() &&
        (f->batch_writes || (req->flags & BLK_REQ_FUA))) {
        batch_queue(f, req);
        return;
    }
    if (f->ring_ok && !unaligned && !blk_fault_on() && (transfer || req->op == BLK_FLUSH) &&
        req->iov_count <= IOV_MAX && req->len_bytes <= INT32_MAX)
        uring_queue(n, req);
    else
        file_to_worker(req);
}

static int file_sync_aligned(struct blk_node *n, struct blk_req *req)
{
    struct file *f = n->priv;
    struct file_req *fr = file_req(req);
    bool transfer = req->op == BLK_READ || req->op == BLK_WRITE;

    memset(fr, 0, sizeof(*fr));
    if (n->no_flush && req->op == BLK_FLUSH)
        return 0;
    if (transfer && f->direct && !blk_iov_aligned(req->iov, req->iov_count, f->align) &&
        !bounce_make(f, req, false))
        return -ENOMEM;
    int r = file_sync(n, req);
    bounce_end(f, req, r, false);
    return r;
}

static void file_plug(struct blk_node *n)
{
    struct file *f = n->priv;
    f->plugged++;
}

static void file_unplug(struct blk_node *n)
{
    struct file *f = n->priv;

    assert(f->plugged > 0);
    if (--f->plugged)
        return;
    batch_start(f);
    if (!f->ring_ok)
        return;
    uring_flush(n);
    /* What the page cache had is done already: no need to wait for the loop's next turn. */
    if (io_uring_cq_ready(&f->ring)) {
        uring_reap(n);
        blk_batch_done(n);
    }
}

static void file_poll(struct blk_node *n)
{
    struct file *f = n->priv;
    struct pollfd p[2] = {{.fd = f->done_fd, .events = POLLIN},
                          {.fd = f->ring_ok ? f->ring.ring_fd : -1, .events = POLLIN}};

    batch_start(f);
    if (f->ring_ok)
        uring_flush(n);
    if (poll(p, 2, -1) < 0)
        return; /* EINTR: the caller asks again */
    if (p[1].revents)
        ring_ready(n, f->ring.ring_fd, EPOLLIN);
    if (p[0].revents)
        done_ready(n, f->done_fd, EPOLLIN);
}

/* --- opening (main thread) --- */

static int reopen(const char *path, bool *read_only, bool auto_read_only, int extra)
{
    int fd = open(path, (*read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | extra);

    if (fd < 0 && !*read_only && auto_read_only &&
        (errno == EACCES || errno == EROFS || errno == EPERM)) {
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | extra);
        *read_only = fd >= 0;
    }
    return fd;
}

static bool probe_kind(struct blk_node *n, struct file *f, GError **err)
{
    struct stat st;
    int sector;
    unsigned int physical;
    uint64_t size;

    if (fstat(f->fd, &st) < 0)
        return error_errno(err, errno, "Cannot examine '%s'", n->filename);
    f->logical_bytes = f->physical_bytes = BLK_SECTOR_BYTES;
    if (S_ISREG(st.st_mode)) {
        n->size_bytes = ALIGN_UP((uint64_t)st.st_size, BLK_SECTOR_BYTES);
        return true;
    }
    if (!S_ISBLK(st.st_mode))
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' is neither a regular file nor a block device.", n->filename);
    f->is_blkdev = true;
    if (ioctl(f->fd, BLKGETSIZE64, &size) < 0)
        return error_errno(err, errno, "Cannot get the size of '%s'", n->filename);
    n->size_bytes = ALIGN_DOWN(size, BLK_SECTOR_BYTES);
    if (f->direct && ioctl(f->fd, BLKSSZGET, &sector) == 0 && sector >= 512 && sector <= 4096)
        f->logical_bytes = (uint32_t)sector;
    if (ioctl(f->fd, BLKPBSZGET, &physical) == 0 && physical >= 512 && physical <= 64 * KiB)
        f->physical_bytes = physical;
    return true;
}

/* The smallest transfer O_DIRECT takes here; the kernel has no portable way to ask. */
static uint32_t probe_align(int fd)
{
    void *buf;
    uint32_t align = BLK_SECTOR_BYTES;

    if (posix_memalign(&buf, DIRECT_ALIGN_MAX, DIRECT_ALIGN_MAX))
        return DIRECT_ALIGN_MAX;
    while (align < DIRECT_ALIGN_MAX && pread(fd, buf, align, 0) < 0 && errno == EINVAL)
        align *= 2;
    free(buf);
    return align;
}

static bool open_direct(struct blk_node *n, struct file *f, GError **err)
{
    bool read_only = n->read_only;

    f->buffered_fd = f->fd;
    f->fd = reopen(n->filename, &read_only, false, O_DIRECT);
    if (f->fd < 0)
        return error_errno(err, errno,
                           "Cannot open '%s' with cache.direct=on (does its file system offer "
                           "O_DIRECT?)",
                           n->filename);
    f->align = probe_align(f->fd);
    return true;
}

static bool read_direct(struct props *p, bool *direct, GError **err)
{
    struct props *cache = props_get_sub(p, "cache");
    return !cache || props_get_bool(cache, "direct", direct, err);
}

static void open_engine(struct blk_node *n, struct file *f, unsigned aio)
{
    int e = 0;

    if (aio == AIO_THREADS || uring_open(f, &e))
        return;
    if (aio == AIO_DEFAULT)
        log_info("'%s': io_uring is not available here (%s); disk I/O runs in threads", n->filename,
                 g_strerror(e));
    else
        log_warning("'%s': aio=%s was asked for, but io_uring is not available here (%s); disk I/O "
                    "runs in threads",
                    n->filename, aio == AIO_NATIVE ? "native" : "io_uring", g_strerror(e));
}

static bool file_open(struct blk_node *n, struct props *p, GError **err)
{
    static const char *const aio_names[] = {"auto", "threads", "native", "io_uring", NULL};
    static const char *const locking_names[] = {"auto", "on", "off", NULL};
    struct file *f = n->priv = g_new0(struct file, 1);
    const char *path = NULL;
    unsigned aio = AIO_DEFAULT, locking = 0;

    f->fd = f->buffered_fd = f->done_fd = -1;
    f->align = 1;
    f->pending_tail = &f->pending;
    f->writes_tail = &f->writes;
    pthread_mutex_init(&f->lock, NULL);
    if (!props_get_str(p, "filename", &path, err) ||
        !props_get_enum(p, "aio", aio_names, &aio, err) ||
        !props_get_enum(p, "locking", locking_names, &locking, err) ||
        !read_direct(p, &f->direct, err) || !blk_fault_from_environment(err))
        return false;
    if (!path || !*path)
        return error_set(err, HANOK_ERROR_INVALID, "A file node needs filename=.");
    if (aio == AIO_NATIVE && !f->direct)
        return error_set(err, HANOK_ERROR_INVALID,
                         "aio=native needs cache.direct=on (cache=none or directsync).");
    n->filename = g_strdup(g_str_has_prefix(path, "file:") ? path + 5 : path);
    f->fd = reopen(n->filename, &n->read_only, n->auto_read_only, 0);
    if (f->fd < 0)
        return error_errno(err, errno, "Could not open '%s'", n->filename);
    if (!probe_kind(n, f, err))
        return false;
    f->lock_state = (struct image_lock){.fd = f->fd, .filename = n->filename, .mode = locking};
    if (f->direct && !open_direct(n, f, err))
        return false;
    f->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (f->done_fd < 0)
        return error_errno(err, errno, "Cannot create an event descriptor");
    f->batch_writes = batch_suits(f);
    open_engine(n, f, aio);
    return true;
}

static void file_close(struct blk_node *n)
{
    struct file *f = n->priv;

    if (!f)
        return;
    evloop_fd_del(f->ring_watch);
    evloop_fd_del(f->done_watch);
    uring_close(f);
    bounce_free_spares(f);
    if (f->done_fd >= 0)
        close(f->done_fd);
    if (f->fd >= 0)
        close(f->fd);
    if (f->buffered_fd >= 0)
        close(f->buffered_fd);
    pthread_mutex_destroy(&f->lock);
    g_free(f);
}

static void file_limits(struct blk_node *n, struct blk_limits *out)
{
    struct file *f = n->priv;

    out->logical_block_bytes = f->logical_bytes;
    out->physical_block_bytes = f->physical_bytes;
    out->direct = f->direct;
}

static bool file_resize(struct blk_node *n, uint64_t size_bytes, GError **err)
{
    struct file *f = n->priv;

    if (!f->is_blkdev && ftruncate(f->fd, (off_t)size_bytes) < 0)
        return error_errno(err, errno, "Cannot resize '%s'", n->filename);
    if (f->is_blkdev) {
        uint64_t size;
        if (ioctl(f->fd, BLKGETSIZE64, &size) < 0)
            return error_errno(err, errno, "Cannot get the size of '%s'", n->filename);
        if (size_bytes > size)
            return error_set(err, HANOK_ERROR_INVALID,
                             "The block device '%s' has only %" PRIu64 " bytes.", n->filename,
                             size);
        size_bytes = size;
    }
    __atomic_store_n(&n->size_bytes, ALIGN_UP(size_bytes, BLK_SECTOR_BYTES), __ATOMIC_RELAXED);
    return true;
}

static bool file_lock(struct blk_node *n, unsigned used, unsigned unshared, GError **err)
{
    struct file *f = n->priv;
    return image_lock_set(&f->lock_state, used, unshared, err);
}

static void file_attach(struct blk_node *n, struct evloop *loop)
{
    struct file *f = n->priv;

    evloop_fd_del(f->ring_watch);
    evloop_fd_del(f->done_watch);
    f->ring_watch = NULL;
    if (f->ring_ok)
        f->ring_watch = evloop_fd_add(loop, f->ring.ring_fd, EPOLLIN, ring_ready, n);
    f->done_watch = evloop_fd_add(loop, f->done_fd, EPOLLIN, done_ready, n);
}

static int file_flush_sync(struct blk_node *n)
{
    struct blk_req req = {.op = BLK_FLUSH, .node = n};
    return file_sync(n, &req);
}

const struct blk_driver blk_driver_file = {
    .name = "file",
    .open = file_open,
    .close = file_close,
    .limits = file_limits,
    .resize = file_resize,
    .lock = file_lock,
    .attach = file_attach,
    .flush_sync = file_flush_sync,
    .submit = file_submit,
    .sync = file_sync_aligned,
    .status = file_status,
    .plug = file_plug,
    .unplug = file_unplug,
    .poll = file_poll,
};
