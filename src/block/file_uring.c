/* file_uring.c - the io_uring engine: reads, writes and flushes, one ring per file.
 *
 * The ring may do these three operations and nothing else (restrictions are registered before it
 * is enabled), because what a ring does is not seen by seccomp filters. */
#include "file.h"

#include "base/trace.h"
#include "base/util.h"

#include <assert.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool restrict_ring(struct io_uring *ring)
{
    static const uint8_t ops[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC};
    struct io_uring_restriction r[ARRAY_SIZE(ops)];

    memset(r, 0, sizeof(r));
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
        r[i].opcode = IORING_RESTRICTION_SQE_OP;
        r[i].sqe_op = ops[i];
    }
    /* By system call: Debian 12's liburing.so lacks the two wrappers. */
    return syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, r,
                   ARRAY_SIZE(r)) == 0 &&
           syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) ==
               0;
}

bool uring_open(struct file *f, int *errnum)
{
    int r = io_uring_queue_init(FILE_RING_ENTRIES, &f->ring, IORING_SETUP_R_DISABLED);

    if (r < 0) {
        *errnum = -r;
        return false;
    }
    if (!restrict_ring(&f->ring)) {
        io_uring_queue_exit(&f->ring);
        *errnum = ENOTSUP;
        return false;
    }
    io_uring_ring_dontfork(&f->ring);
    f->ring_ok = true;
    return true;
}

void uring_close(struct file *f)
{
    if (f->ring_ok)
        io_uring_queue_exit(&f->ring);
    f->ring_ok = false;
}

static void prep(struct file *f, struct blk_req *req, struct io_uring_sqe *sqe)
{
    int count;
    const struct iovec *iov = file_req_iov(req, &count);

    if (req->op == BLK_FLUSH || (req->flags & BLK_REQ_FUA))
        file_count_sync(file_req(req)->node);
    if (req->op == BLK_FLUSH)
        io_uring_prep_fsync(sqe, f->fd, IORING_FSYNC_DATASYNC);
    else if (req->op == BLK_READ)
        io_uring_prep_readv(sqe, f->fd, iov, (unsigned)count, req->offset_bytes);
    else
        io_uring_prep_writev2(sqe, f->fd, iov, (unsigned)count, req->offset_bytes,
                              req->flags & BLK_REQ_FUA ? RWF_DSYNC : 0);
    io_uring_sqe_set_data(sqe, req);
}

static bool queue_now(struct file *f, struct blk_req *req)
{
    struct io_uring_sqe *sqe = f->in_ring < FILE_RING_ENTRIES ? io_uring_get_sqe(&f->ring) : NULL;

    if (!sqe)
        return false;
    prep(f, req, sqe);
    TRACE(uring_queue, "req %u blk %p", req->id, (void *)req);
    f->in_ring++;
    f->unsubmitted++;
    return true;
}

void uring_queue(struct blk_node *n, struct blk_req *req)
{
    struct file *f = n->priv;

    if (f->pending || !queue_now(f, req)) {
        req->next = NULL;
        *f->pending_tail = req;
        f->pending_tail = &req->next;
        return;
    }
    if (!f->plugged)
        uring_flush(n);
}

void uring_flush(struct blk_node *n)
{
    struct file *f = n->priv;

    while (f->pending) {
        struct blk_req *req = f->pending, *next = req->next;
        if (!queue_now(f, req))
            break;
        f->pending = next;
        if (!next)
            f->pending_tail = &f->pending;
    }
    while (f->unsubmitted) {
        int r = io_uring_submit(&f->ring);
        if (r == -EINTR)
            continue;
        TRACE(uring_submit, "entries %d", r);
        __atomic_fetch_add(&n->stats.submissions, r > 0, __ATOMIC_RELAXED);
        if (r <= 0) /* EAGAIN, EBUSY: completions make room; uring_reap() comes back here */
            break;
        f->unsubmitted -= MIN_OF((unsigned)r, f->unsubmitted);
    }
}

static void finish(struct file *f, struct blk_req *req, int res)
{
    struct file_req *fr = file_req(req);

    if (res == -EAGAIN || res == -EINTR) {
        file_to_worker(req);
    } else if (res < 0) {
        file_done(req, res);
    } else if (req->op == BLK_FLUSH || (uint64_t)res == req->len_bytes) {
        file_done(req, 0);
    } else { /* short: a worker goes on, or finds the end of the file */
        fr->progress_bytes = (uint64_t)res;
        file_to_worker(req);
    }
}

void uring_reap(struct blk_node *n)
{
    struct file *f = n->priv;
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&f->ring, &cqe) == 0) {
        struct blk_req *req = io_uring_cqe_get_data(cqe);
        int res = cqe->res;

        io_uring_cqe_seen(&f->ring, cqe);
        TRACE(uring_reap, "req %u res %d blk %p", req->id, res, (void *)req);
        assert(f->in_ring > 0);
        f->in_ring--;
        finish(f, req, res);
    }
    if (f->pending || f->unsubmitted)
        uring_flush(n);
}
