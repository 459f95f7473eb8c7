/* nbd_conn.c - the connection to an NBD server and the thread that serves it. */
#include "nbd.h"
#include "nbd_lib.h"

#include "base/error.h"
#include "base/evloop.h"
#include "base/log.h"
#include "base/util.h"

#include <assert.h>
#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_S 30u
#define RETRY_MS          500
#define RANGE_BYTES_MAX   (1u * GiB) /* of one zero or trim command: a length has 32 bits */
#define ZERO_BYTES        (64u * KiB)

static const uint8_t zeroes[ZERO_BYTES];

/* ---- connecting ---- */

static bool step(struct nbd_handle *h, int timeout_ms)
{
    unsigned dir = nbd_lib.aio_get_direction(h);
    struct pollfd p = {.fd = nbd_lib.aio_get_fd(h),
                       .events = (short)((dir & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                                         (dir & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0))};
    int r = poll(&p, 1, timeout_ms);

    if (r < 0)
        return errno == EINTR;
    if (p.revents & (POLLIN | POLLHUP | POLLERR))
        return nbd_lib.aio_notify_read(h) == 0;
    return !(p.revents & POLLOUT) || nbd_lib.aio_notify_write(h) == 0;
}

static struct nbd_handle *connect_to(const struct nbd_server *s, uint32_t timeout_s)
{
    struct nbd_handle *h = nbd_lib.create();
    uint64_t until = host_clock_ns() + timeout_s * 1000000000ull;

    if (!h)
        return NULL;
    int r = nbd_lib.set_export_name(h, s->export_name);
    if (r == 0)
        r = s->path ? nbd_lib.aio_connect_unix(h, s->path)
                    : nbd_lib.aio_connect_tcp(h, s->host, s->port);
    while (r == 0 && !nbd_lib.aio_is_ready(h)) {
        uint64_t now = host_clock_ns();
        if (now >= until)
            errno = ETIMEDOUT;
        if (now >= until || nbd_lib.aio_is_dead(h) || nbd_lib.aio_is_closed(h) ||
            !step(h, (int)((until - now) / 1000000) + 1))
            r = -1;
    }
    if (r < 0) {
        nbd_lib.close(h);
        return NULL;
    }
    return h;
}

static bool learn(struct nbd_disk *d, GError **err)
{
    int64_t size = nbd_lib.get_size(d->h),
            least = nbd_lib.get_block_size(d->h, LIBNBD_SIZE_MINIMUM),
            most = nbd_lib.get_block_size(d->h, LIBNBD_SIZE_MAXIMUM);

    if (size < 0)
        return error_set(err, HANOK_ERROR_INVALID, "The NBD server of '%s' tells no size.",
                         d->node->filename);
    d->size_bytes = ALIGN_DOWN((uint64_t)size, BLK_SECTOR_BYTES);
    d->block_bytes =
        least > BLK_SECTOR_BYTES && least <= 32768 ? (uint32_t)least : BLK_SECTOR_BYTES;
    d->transfer_bytes = most >= 65536 && most < 32 * (int64_t)MiB ? (uint32_t)most : 32 * MiB;
    d->read_only = nbd_lib.is_read_only(d->h) == 1;
    d->can_fua = nbd_lib.can_fua(d->h) == 1;
    d->can_flush = nbd_lib.can_flush(d->h) == 1;
    d->can_trim = nbd_lib.can_trim(d->h) == 1;
    d->can_zero = nbd_lib.can_zero(d->h) == 1;
    return true;
}

bool nbd_conn_open(struct nbd_disk *d, GError **err)
{
    uint32_t timeout = d->server.open_timeout_s ? d->server.open_timeout_s : CONNECT_TIMEOUT_S;

    if (!nbd_lib_load(err))
        return false;
    d->h = connect_to(&d->server, timeout);
    if (!d->h) {
        const char *why = nbd_lib.get_error();
        return error_set(err, HANOK_ERROR_IO, "Could not connect to the NBD server of '%s': %s.",
                         d->node->filename, why ? why : "it does not answer");
    }
    return learn(d, err);
}

static void disconnect(struct nbd_disk *d)
{
    nbd_lib.close(d->h);
    d->h = NULL;
}

/* The server is back only when it still has the same disk. */
static bool reconnect(struct nbd_disk *d)
{
    d->h = connect_to(&d->server, MAX_OF(d->server.reconnect_s, 1u));
    if (!d->h)
        return false;
    int64_t size = nbd_lib.get_size(d->h);
    if (size < 0 || (uint64_t)size < d->size_bytes ||
        (!d->node->read_only && nbd_lib.is_read_only(d->h) == 1)) {
        log_warning("'%s': the NBD server is back with another disk; its requests fail",
                    d->node->filename);
        disconnect(d);
        return false;
    }
    log_info("'%s': connected to the NBD server again", d->node->filename);
    d->lost_at_ns = 0;
    return true;
}

/* ---- the end of a request ---- */

static void end(struct nbd_disk *d, struct blk_req *req, int ret)
{
    struct nbd_req *nr = nbd_req(req);
    uint64_t one = 1;

    pthread_mutex_lock(&d->lock);
    nr->ret = ret;
    if (nr->sync) {
        nr->sync_done = true;
        pthread_cond_broadcast(&d->sync_done);
    } else {
        req->next = d->done;
        d->done = req;
        if (write(d->done_fd, &one, sizeof(one)) < 0)
            assert(errno == EAGAIN);
    }
    pthread_mutex_unlock(&d->lock);
}

static bool is_lost(int ret)
{
    return ret == -ENOTCONN || ret == -ESHUTDOWN || ret == -ECONNRESET || ret == -EPIPE;
}

static bool may_wait(const struct nbd_disk *d)
{
    return d->server.reconnect_s && (!d->lost_at_ns || host_clock_ns() - d->lost_at_ns <
                                                           d->server.reconnect_s * 1000000000ull);
}

static void put(struct blk_req **list, struct blk_req *req)
{
    req->next = *list;
    *list = req;
}

/* Perhaps inside a call into libnbd, which must not be called again here. */
static void all_commands_back(struct nbd_disk *d, struct blk_req *req)
{
    struct nbd_req *nr = nbd_req(req);

    if (nr->ret == 0 && nr->flush_after) {
        nr->flush_after = false;
        put(&d->flushes, req);
        return;
    }
    if (is_lost(nr->ret) && may_wait(d)) { /* again, when the server is back */
        put(&d->waiting, req);
        return;
    }
    end(d, req, is_lost(nr->ret) ? -EIO : nr->ret);
}

static void command_back(struct blk_req *req, int errnum)
{
    struct nbd_req *nr = nbd_req(req);

    if (errnum && nr->ret == 0)
        nr->ret = -errnum;
    if (--nr->pending == 0)
        all_commands_back(nr->d, req);
}

static int on_command(void *opaque, int *error)
{
    command_back(opaque, *error);
    return 1; /* libnbd forgets it */
}

/* A command was sent, or (cookie < 0) not. */
static void sent(struct blk_req *req, int64_t cookie)
{
    if (cookie < 0)
        command_back(req, nbd_lib.get_errno() ? nbd_lib.get_errno() : ENOTCONN);
}

/* ---- its beginning ---- */

#define COMPLETION(req) ((nbd_completion_callback){.callback = on_command, .user_data = (req)})

static void start_flush(struct nbd_disk *d, struct blk_req *req)
{
    nbd_req(req)->pending = 2;
    if (d->can_flush)
        sent(req, nbd_lib.aio_flush(d->h, COMPLETION(req), 0));
    else
        command_back(req, 0);
    command_back(req, 0);
}

static void start_transfer(struct nbd_disk *d, struct blk_req *req, uint32_t flags)
{
    uint64_t at = req->offset_bytes;

    for (int i = 0; i < req->iov_count; i++) {
        uint8_t *p = req->iov[i].iov_base;
        for (size_t left = req->iov[i].iov_len; left;) {
            size_t n = MIN_OF(left, (size_t)d->transfer_bytes);
            nbd_req(req)->pending++;
            if (req->op == BLK_READ)
                sent(req, nbd_lib.aio_pread(d->h, p, n, at, COMPLETION(req), 0));
            else
                sent(req, nbd_lib.aio_pwrite(d->h, p, n, at, COMPLETION(req), flags));
            p += n;
            at += n;
            left -= n;
        }
    }
}

static void start_range(struct nbd_disk *d, struct blk_req *req, uint32_t flags)
{
    bool trim = req->op == BLK_DISCARD, write = !trim && !d->can_zero;
    uint64_t at = req->offset_bytes, left = req->len_bytes;
    uint64_t most = write ? ZERO_BYTES : RANGE_BYTES_MAX;

    if (trim && !d->can_trim)
        return; /* a discard is advice */
    if (!trim && !write && !(req->flags & BLK_REQ_UNMAP))
        flags |= LIBNBD_CMD_FLAG_NO_HOLE;
    for (uint64_t n; left; at += n, left -= n) {
        n = MIN_OF(left, most);
        nbd_req(req)->pending++;
        if (trim)
            sent(req, nbd_lib.aio_trim(d->h, n, at, COMPLETION(req), flags));
        else if (write)
            sent(req, nbd_lib.aio_pwrite(d->h, zeroes, n, at, COMPLETION(req), flags));
        else
            sent(req, nbd_lib.aio_zero(d->h, n, at, COMPLETION(req), flags));
    }
}

static void start(struct nbd_disk *d, struct blk_req *req)
{
    struct nbd_req *nr = nbd_req(req);
    bool fua = (req->flags & BLK_REQ_FUA) && req->op != BLK_READ && !d->node->no_flush;
    uint32_t flags = fua && d->can_fua ? LIBNBD_CMD_FLAG_FUA : 0;

    nr->ret = 0;
    nr->flush_after = fua && !d->can_fua;
    if (req->op == BLK_FLUSH) {
        start_flush(d, req);
        return;
    }
    nr->pending = 1; /* ours, so that it does not end while commands are still being sent */
    if (req->op == BLK_READ || req->op == BLK_WRITE)
        start_transfer(d, req, flags);
    else
        start_range(d, req, flags);
    command_back(req, 0);
}

/* ---- the thread ---- */

static struct blk_req *take_queue(struct nbd_disk *d, bool *quit)
{
    pthread_mutex_lock(&d->lock);
    struct blk_req *first = d->queue;
    d->queue = NULL;
    d->queue_tail = &d->queue;
    *quit = d->quit;
    pthread_mutex_unlock(&d->lock);
    return first;
}

static void start_all(struct nbd_disk *d, struct blk_req *req)
{
    while (req) {
        struct blk_req *next = req->next;
        if (d->h)
            start(d, req);
        else if (may_wait(d))
            put(&d->waiting, req);
        else
            end(d, req, -EIO);
        req = next;
    }
}

static void start_flushes(struct nbd_disk *d)
{
    while (d->flushes) {
        struct blk_req *req = d->flushes;
        d->flushes = req->next;
        req->next = NULL;
        if (d->h)
            start_flush(d, req);
        else
            start_all(d, req); /* lost: all of it again, or an error */
    }
}

static void notice_loss(struct nbd_disk *d)
{
    if (!d->h || (!nbd_lib.aio_is_dead(d->h) && !nbd_lib.aio_is_closed(d->h)))
        return;
    log_warning("'%s': the connection to the NBD server is lost", d->node->filename);
    d->lost_at_ns = host_clock_ns();
    disconnect(d);
}

/* Waiting requests go again, or fail when the server stays away. */
static void revive(struct nbd_disk *d)
{
    struct blk_req *req;

    if (!d->waiting || (!d->h && may_wait(d) && !reconnect(d) && may_wait(d)))
        return;
    req = d->waiting;
    d->waiting = NULL;
    start_all(d, req);
}

static void wait_for_something(struct nbd_disk *d)
{
    unsigned dir = d->h ? nbd_lib.aio_get_direction(d->h) : 0;
    struct pollfd p[2] = {{.fd = d->wake_fd, .events = POLLIN},
                          {.fd = d->h ? nbd_lib.aio_get_fd(d->h) : -1, .events = POLLIN}};
    uint64_t count;

    if (dir & LIBNBD_AIO_DIRECTION_WRITE)
        p[1].events |= POLLOUT;
    if (poll(p, 2, d->waiting ? RETRY_MS : -1) < 0)
        return;
    if (p[0].revents && read(d->wake_fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN);
    if (p[1].revents & (POLLIN | POLLHUP | POLLERR))
        nbd_lib.aio_notify_read(d->h);
    else if (p[1].revents & POLLOUT)
        nbd_lib.aio_notify_write(d->h);
}

void *nbd_conn_thread(void *disk)
{
    struct nbd_disk *d = disk;
    bool quit = false;

    pthread_setname_np(pthread_self(), "nbd");
    for (;;) {
        struct blk_req *req = take_queue(d, &quit);
        if (quit)
            break;
        if (req && !d->h)
            reconnect(d);
        start_all(d, req);
        notice_loss(d);
        revive(d);
        start_flushes(d);
        wait_for_something(d);
        notice_loss(d);
    }
    if (d->h)
        nbd_lib.shutdown(d->h, 0);
    return NULL;
}

void nbd_conn_push(struct nbd_disk *d, struct blk_req *req)
{
    uint64_t one = 1;

    req->next = NULL;
    pthread_mutex_lock(&d->lock);
    *d->queue_tail = req;
    d->queue_tail = &req->next;
    pthread_mutex_unlock(&d->lock);
    if (write(d->wake_fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN);
}
